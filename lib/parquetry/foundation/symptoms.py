"""What makes a folder of Parquet slow or unsafe to read: each symptom, its cost, and its mend.

Everything is told from footers. Costs are estimates with the constants below, which are stated so
that anyone can put in those of a store of his own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from parquetry.foundation.file_facts import FileFacts
from parquetry.foundation.findings import (
    FIX,
    NAMED,
    Finding,
    Folder,
    first_files,
    in_files,
    size,
)
from parquetry.foundation.symptoms_groups import groups
from parquetry.foundation.symptoms_order import order

TARGET_FILE = 128 * 2**20
"""Stored bytes of a file that is worth its opening."""
SMALL_FILE = 16 * 2**20


def judged(folder: Folder) -> list[Finding]:
    """Every finding, problems first."""
    found = [finding for rule in _RULES for finding in rule(folder)]
    return sorted(found, key=lambda f: f.severity != "problem")


# --- files ----------------------------------------------------------------------------------
def _unreadable(folder: Folder) -> Iterator[Finding]:
    bad = folder.unreadable
    if bad:
        reasons = "; ".join(u.error.fact for u in bad[:NAMED])
        yield Finding(
            "unreadable-files",
            "problem",
            f"{in_files(len(bad))} cannot be read: {reasons}{'; …' if len(bad) > NAMED else ''}",
            "Nothing that reads the folder as one table can be relied on: it fails, or leaves rows out.",
            "Write them again, or take them away; --fix refuses to leave rows out.",
            nbytes=sum(u.size for u in bad),
            count=len(bad),
            files=first_files(u.path for u in bad),
        )


def _small_files(folder: Folder) -> Iterator[Finding]:
    # Empty files have a finding of their own.
    small = [f for f in folder.files if f.size < SMALL_FILE and f.rows]
    total = sum(f.size for f in small)
    ideal = max(1, -(-total // TARGET_FILE))
    if len(small) < 2 or len(small) < 2 * ideal:
        return
    excess = len(small) - ideal
    seconds = excess * folder.open_seconds
    footers = sum(f.footer for f in small) * excess // len(small)
    yield Finding(
        "small-files",
        "problem",
        f"{len(small):,} of {in_files(len(folder.files))} are smaller than {size(SMALL_FILE)}: "
        f"{size(total // len(small))} on average, where {ideal:,} of {size(TARGET_FILE)} would do.",
        f"{excess:,} files more are listed and opened at every reading: about {seconds:.2g} s, "
        f"and {size(footers)} of footers.",
        f"Compact them: {FIX}",
        seconds=seconds,
        nbytes=footers,
        count=len(small),
        files=first_files(f.path for f in small),
    )


def _empty_files(folder: Folder) -> Iterator[Finding]:
    empty = [f for f in folder.files if not f.rows]
    if empty and len(folder.files) > 1:
        yield Finding(
            "empty-files",
            "problem",
            f"{in_files(len(empty))} without rows.",
            f"Each is opened for nothing: about {len(empty) * folder.open_seconds:.2g} s a reading.",
            f"Remove them: {FIX}",
            seconds=len(empty) * folder.open_seconds,
            nbytes=sum(f.size for f in empty),
            count=len(empty),
            files=first_files(f.path for f in empty),
        )


def _lying_about(folder: Folder) -> Iterator[Finding]:
    for kind, found, what in (
        ("stray-files", folder.stray, "among the data, not Parquet"),
        ("leftovers", folder.leftovers, "left behind by writes that did not end"),
    ):
        if found:
            nbytes = sum(n for _, n in found)
            yield Finding(
                kind,
                "problem",
                f"{in_files(len(found))} {what}.",
                f"They take {size(nbytes)}; readers that take every file of the folder stumble over them.",
                "Look at them, and take them away.",
                nbytes=nbytes,
                count=len(found),
                files=first_files(p for p, _ in found),
            )


# --- schema and encoding --------------------------------------------------------------------
def differences(schema: pa.Schema, usual: pa.Schema) -> list[str]:
    """In what a schema differs from the usual one, column by column."""
    lost = [f"{f.name!r} is missing" for f in usual if f.name not in schema.names]
    other = [
        f"{f.name!r} is {f.type}, not {usual.field(f.name).type}"
        for f in schema
        if usual.names.count(f.name) == 1 and usual.field(f.name).type != f.type
    ]
    more = [f"{f.name!r} is there in addition ({f.type})" for f in schema if f.name not in usual.names]
    twice = [f"{n!r} is there {k} times" for n, k in Counter(schema.names).items() if k > 1]
    return [*lost, *other, *more, *twice]


def usual_schema(files: Sequence[FileFacts]) -> pa.Schema:
    """The schema that most files have; of equally many, the first file's."""
    shapes = _shapes(files)
    most = Counter(shapes).most_common(1)[0][0]
    return files[shapes.index(most)].schema


def _mixed_schemas(folder: Folder) -> Iterator[Finding]:
    if not folder.files:
        return
    usual = usual_schema(folder.files)
    common = _shape(usual)
    others = (f for f, s in zip(folder.files, _shapes(folder.files), strict=True) if s != common)
    odd = [(f.path, found) for f in others if (found := differences(f.schema, usual))]
    most = Counter(folder.partitions.values()).most_common(1)
    for path, keys in folder.partitions.items():
        if keys != most[0][0]:
            odd.append((path, [f"it lies in the partition folders {list(keys)}, not {list(most[0][0])}"]))
    if not odd:
        return
    told = "; ".join(f"{p}: {', '.join(d[:3])}{', …' if len(d) > 3 else ''}" for p, d in odd[:NAMED])
    yield Finding(
        "mixed-schemas",
        "problem",
        f"{len(odd):,} of {in_files(len(folder.files))} with other columns than the rest. {told}"
        f"{'; …' if len(odd) > NAMED else ''}.",
        "Readers fail in the middle, leave columns out, or change types from run to run.",
        "--fix TO writes one schema wherever no value is lost; else write those files again.",
        count=len(odd),
        files=first_files(p for p, _ in odd),
    )


def _codecs(folder: Folder) -> Iterator[Finding]:
    held: Counter[str] = Counter()
    touched: dict[str, list[str]] = {}
    for f in folder.files:
        held.update(f.codecs)
        for codec in f.codecs:
            touched.setdefault(codec, []).append(f.path)
    total = sum(held.values())
    if len(held) > 1:
        shares = ", ".join(f"{c} {n / total:.0%} of the bytes" if total else c for c, n in held.most_common())
        rare = min(held, key=lambda c: held[c])
        yield Finding(
            "mixed-codecs",
            "problem",
            f"Column chunks are compressed in {len(held)} ways: {shares}.",
            "Size and speed differ from file to file, and every reader needs all of the codecs.",
            f"Write them in one way: {FIX}",
            count=len(touched[rare]),
            files=first_files(touched[rare]),
        )
    elif held["UNCOMPRESSED"] > SMALL_FILE:
        yield Finding(
            "uncompressed",
            "note",
            f"Nothing is compressed: {size(held['UNCOMPRESSED'])}.",
            "Zstandard takes a half or less of it as a rule, and the disk or the network is what readers wait for.",
            f"Compress: {FIX}",
            nbytes=held["UNCOMPRESSED"] // 2,
            count=len(folder.files),
        )


def _statistics(folder: Folder) -> Iterator[Finding]:
    lacking: Counter[str] = Counter()
    for f in folder.files:
        lacking.update(f.no_statistics)
    if lacking:
        touched = [f for f in folder.files if f.no_statistics]
        columns = ", ".join(f"{c!r}" for c, _ in lacking.most_common(NAMED))
        stored = sum(g.stored for f in touched for g in f.groups)
        yield Finding(
            "missing-statistics",
            "problem",
            f"{in_files(len(touched))} without statistics of {len(lacking)} columns ({columns}"
            f"{', …' if len(lacking) > NAMED else ''}).",
            f"No filter on them can skip a row group: {size(stored)} are read for however few rows.",
            f"Write them with statistics: {FIX}",
            nbytes=stored,
            count=len(touched),
            files=first_files(f.path for f in touched),
        )


def _page_index(folder: Folder) -> Iterator[Finding]:
    without = [f for f in folder.files if f.rows and not f.page_index]
    if without:
        yield Finding(
            "no-page-index",
            "note",
            f"{in_files(len(without))} without a page index.",
            "A filter can skip whole row groups, but no pages inside one. Few readers use it; Spark and DuckDB do.",
            "Where selective filters matter: write with write_page_index=True.",
            count=len(without),
            files=first_files(f.path for f in without),
        )


def _dictionaries(folder: Folder) -> Iterator[Finding]:
    wasted: Counter[str] = Counter()
    for f in folder.files:
        wasted.update(f.dictionaries)
    if wasted:
        columns = ", ".join(f"{c!r} ({size(n)})" for c, n in wasted.most_common(NAMED))
        yield Finding(
            "dictionary-fallback",
            "note",
            f"The dictionaries of {len(wasted)} columns do not pay: {columns}{', …' if len(wasted) > NAMED else ''}.",
            "The values are nearly all distinct: the writer fills a dictionary, gives up, and stores both.",
            "Write those columns with use_dictionary=False.",
            nbytes=sum(wasted.values()),
            count=len(wasted),
        )


def _shapes(files: Sequence[FileFacts]) -> list[tuple[tuple[str, str], ...]]:
    """The shape of each file's schema; files share schemas, so each is worked out once."""
    found = {id(f.schema): f.schema for f in files}
    shapes = {key: _shape(schema) for key, schema in found.items()}
    return [shapes[id(f.schema)] for f in files]


def _shape(schema: pa.Schema) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((f.name, str(f.type)) for f in schema))


_RULES: tuple[Callable[[Folder], Iterator[Finding]], ...] = (
    _unreadable,
    _mixed_schemas,
    _empty_files,
    _small_files,
    groups,
    _codecs,
    _statistics,
    _lying_about,
    order,
    _page_index,
    _dictionaries,
)
