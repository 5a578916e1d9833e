"""What a job reads: Parquet and Delta as they are, CSV and TSV (one file or many) converted to Parquet once.

The conversion is careful rather than clever: the header gives the names, every value is read as
text first, and a column gets the narrowest type that all of its values have. Nothing is guessed
from a sample and no line is skipped.
"""

from __future__ import annotations

import csv
import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import DatasetNotFound, EmptyDataset, MalformedText, OutputNotWritable, SchemaDrift

if TYPE_CHECKING:
    from parquetry.config import JobConfig
    from parquetry.run import Run

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
_SUFFIXES = (".csv", ".tsv", ".gz")
ROWS_A_GROUP = 65_536
_TESTS_A_QUERY = 1_000  # a very wide file would make an expression without end
_DELIMITERS = (",", ";", "\t", "|")
_LINE = re.compile(r"CSV Error on Line: (\d+)\n(?:Original Line: ?(.*)\n)?((?:.*\n)*?)\s*Possible")

# A column's type is the first one that all of its values pass; $ stands for the value. A number
# that begins with a zero (a post code) is text; an integer beyond 64 bits is a double.
_NUMBER = r"[+-]?(0|[1-9]\d*|(0|[1-9]\d*)?\.\d*)([eE][+-]?\d+)?|(?i:[+-]?(nan|inf|infinity))"
_TESTS = (
    ("BIGINT", r"regexp_full_match($, '[+-]?(0|[1-9]\d{0,17})')"),
    ("DOUBLE", f"regexp_full_match($, '{_NUMBER}') AND try_cast($ AS DOUBLE) IS NOT NULL"),
    ("BOOLEAN", "lower($) IN ('true', 'false')"),
    ("DATE", r"regexp_full_match($, '\d{4}-\d{2}-\d{2}') AND try_cast($ AS DATE) IS NOT NULL"),
    ("TIMESTAMP", r"regexp_matches($, '^\d{4}-\d{2}-\d{2}[ T]\d') AND try_cast($ AS TIMESTAMP) IS NOT NULL"),
)


@dataclass(frozen=True)
class Layout:
    """How a text table is written, where its file does not say so itself.

    Parameters
    ----------
    delimiter : str
    names : tuple of str
        The columns' names: the file has no header line.
    quotes : bool, default True
        Whether quotation marks enclose values; False where they are a part of the text.
    """

    delimiter: str
    names: tuple[str, ...]
    quotes: bool = True


@dataclass(frozen=True)
class Converted:
    """What a conversion did: every row that came in went out."""

    path: Path
    rows: int
    types: dict[str, str]


def open_input(
    source: str | os.PathLike[str], scratch: str | os.PathLike[str], layout: Layout | None = None
) -> Dataset:
    """Open a job's input.

    Parameters
    ----------
    source : path or URL
        Parquet (file, folder, glob), a Delta table, or CSV or TSV, also gzipped: a file, or a
        folder or glob of files with one header, whose rows follow each other in order of name.
    scratch : path
        A folder for what has to be converted; ``rows.parquet`` is written there. The name is the
        same for every input, so the same rows are split the same way wherever they came from.
    layout : Layout, default None
        Of a text table without a header; its file may have any name.

    Returns
    -------
    Dataset
        Over the source, or over the converted copy (whose ``uri`` is still the source's name).

    Raises
    ------
    MalformedText
        A line does not fit the header, or is not UTF-8.
    SchemaDrift
        Two text files have other columns.
    DatasetNotFound, EmptyDataset, NotParquet, …
        As :func:`parquetry.open_dataset` does.
    """
    if layout is None and not _is_text(os.fspath(source)):
        return open_dataset(source)
    target = Path(scratch) / "rows.parquet"
    converted = convert(source, target, layout)
    return replace(open_dataset(converted.path), uri=os.fspath(source))


def open_job_input(config: JobConfig, run: Run, *, default: str) -> Dataset:
    """The data of a job: its ``--input``, else the catalogue's set ``default``; noted in the run."""
    from parquetry import catalogue

    if config.input is not None:
        run.origin(f"{config.input}, given by the user")
        dataset = open_input(config.input, run.path("input"))
    else:
        found = catalogue.find(default, seed=config.seed)
        run.origin(f"{found.entry.title}: {found.origin}", synthetic=found.synthetic, units=found.entry.units)
        dataset = open_input(found.path, run.path("input"), None if found.synthetic else found.entry.layout)
    if dataset.ignored:
        run.note(f"{len(dataset.ignored)} files beside the data are not Parquet and were left out.")
    run.event("input", rows=dataset.num_rows, columns=len(dataset.columns), row_groups=len(dataset.blocks))
    return dataset


def convert(source: str | os.PathLike[str], target: Path, layout: Layout | None = None) -> Converted:
    """Convert CSV or TSV files to one Parquet file with row groups of 65,536 rows.

    Without a layout the first line names the columns, and shows the delimiter.

    Raises
    ------
    MalformedText, SchemaDrift, DatasetNotFound, EmptyDataset, OutputNotWritable
    """
    with _local_copies(os.fspath(source), target.parent) as files:
        form = layout or _common_header(files)
        records = 0
        for file in files:
            try:
                records += _count_records(file.path, form) - (layout is None)
            except (OSError, EOFError, zlib.error) as error:
                raise MalformedText(
                    f"{file.name} cannot be read to its end.", why=f"{error}.", fix="Fetch it again."
                ) from error
        if records < 1:
            raise EmptyDataset(f"{source} has {'a header and ' * (layout is None)}no rows.", fix="Check the file.")
        rows, types = _write(files, form, target, header=layout is None)
    if rows != records:
        target.unlink()
        raise MalformedText(
            f"{source}: {records:,} rows in, but {rows:,} rows out.",
            why="Every row must be accounted for, and blank lines or stray quotation marks make them uncountable.",
            fix="Remove blank lines and close every quotation mark.",
        )
    return Converted(target, rows, types)


@dataclass(frozen=True)
class _TextFile:
    """A text file on this machine, and the name under which the user knows it."""

    path: Path
    name: str


def _is_text(source: str) -> bool:
    """Whether a source is text: by its own suffix, or by that of all files in a folder or glob."""
    if source.lower().endswith(TEXT_SUFFIXES):
        return True
    filesystem, path = storage.resolve(source)
    if path.lower().endswith(storage.PARQUET_SUFFIXES):
        return False
    _, files = storage.list_files(filesystem, path)
    return bool(files) and all(f.lower().endswith(TEXT_SUFFIXES) for f in files)


@contextmanager
def _local_copies(source: str, scratch: Path) -> Iterator[list[_TextFile]]:
    """The files themselves where they are local, else copies of them in the scratch folder for the time being."""
    filesystem, path = storage.resolve(source)
    _, files = storage.list_files(filesystem, path)
    if not files:
        raise DatasetNotFound(f"There is no file in {source}.", fix="Check the path.")
    try:
        scratch.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputNotWritable(f"{scratch} cannot be written.", why=str(error)) from error
    copies: list[Path] = []
    found = []
    try:
        for i, file in enumerate(files):
            original = Path(file)
            suffixes = "".join(s for s in original.suffixes if s.lower() in _SUFFIXES)
            copy = scratch / f".input-{i}{suffixes}"
            if not storage.is_local(filesystem):
                copies.append(copy)
                with filesystem.open_input_stream(file, compression=None) as remote, copy.open("wb") as local:
                    while piece := remote.read(2**22):
                        local.write(piece)
            elif storage.has_wildcard(file):
                copies.append(copy)
                copy.symlink_to(original)  # DuckDB would take the name for a pattern
            else:
                copy = original
            found.append(_TextFile(copy, source if len(files) == 1 else file))
        yield found
    finally:
        for copy in copies:
            copy.unlink(missing_ok=True)


def _common_header(files: list[_TextFile]) -> Layout:
    """The column names and the delimiter that all files have."""
    found = Layout(*_header(files[0].path, files[0].name))
    for file in files[1:]:
        other = Layout(*_header(file.path, file.name))
        if other != found:
            raise SchemaDrift(
                f"{file.name} has the columns {list(other.names)}, and {files[0].name} has {list(found.names)}.",
                why="The files of one input must have the same header.",
                fix="Mend the file, or convert them one by one.",
            )
    return found


def _open_bytes(path: Path) -> Any:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else path.open("rb")


def _header(path: Path, source: Any) -> tuple[str, tuple[str, ...]]:
    """Delimiter and column names, from the first line."""
    try:
        with _open_bytes(path) as file:
            line = file.readline(2**20).decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _malformed(source, 1, f"It is not UTF-8: {error.reason}.") from error
    except (OSError, EOFError) as error:
        raise _malformed(source, 1, f"It cannot be read: {error}.") from error
    if not line.strip():
        raise EmptyDataset(f"{source} has no header line.", fix="The first line must name the columns.")
    if "\0" in line:
        raise _malformed(source, 1, "It is not text.")
    tabs = ".tsv" in (s.lower() for s in path.suffixes)
    delimiter = "\t" if tabs else max(_DELIMITERS, key=lambda d: len(next(csv.reader([line], delimiter=d))))
    names = [n.strip() or f"column_{i}" for i, n in enumerate(next(csv.reader([line], delimiter=delimiter)))]
    lowered = [n.lower() for n in names]
    twice = next((n for n in names if lowered.count(n.lower()) > 1), None)
    if twice is not None:
        raise _malformed(source, 1, f"The column name {twice!r} stands there more than once.")
    return delimiter, tuple(names)


def _count_records(path: Path, form: Layout) -> int:
    """Records in the file, counted apart from the parser that converts it."""
    lines, quoted = 0, False
    with _open_bytes(path) as file:
        for line in file:
            lines += not line.isspace()
            quoted = quoted or b'"' in line
    if not (quoted and form.quotes):
        return lines
    with _open_bytes(path) as file, io.TextIOWrapper(file, "utf-8", errors="replace", newline="") as text:
        csv.field_size_limit(2**31 - 1)
        return sum(1 for record in csv.reader(text, delimiter=form.delimiter) if record)


def _write(files: list[_TextFile], form: Layout, target: Path, *, header: bool) -> tuple[int, dict[str, str]]:
    import duckdb

    names, mark = form.names, _literal('"' if form.quotes else "")

    def read(paths: Sequence[_TextFile]) -> str:
        spec = ", ".join(f"{_literal(n)}: 'VARCHAR'" for n in names)
        return (
            f"read_csv([{', '.join(_literal(str(f.path)) for f in paths)}], auto_detect=false, "
            f"header={str(header).lower()}, columns={{{spec}}}, delim={_literal(form.delimiter)}, quote={mark}, "
            f"escape={mark}, nullstr='', strict_mode=true, null_padding=false, max_line_size=16777216)"
        )

    try:
        with duckdb.connect() as connection:
            types = _types(connection, read(files), names)
            cast = ", ".join(f"CAST({_name(n)} AS {t}) AS {_name(n)}" for n, t in types.items())
            reader = connection.sql(f"SELECT {cast} FROM {read(files)}").to_arrow_reader(ROWS_A_GROUP)  # noqa: S608
            return _write_groups(reader, target), types
    except duckdb.Error as error:
        target.unlink(missing_ok=True)
        for file in files:
            # The parser counts lines from the first file's first: alone, each tells its own.
            with duckdb.connect() as connection:
                try:
                    connection.sql(f"SELECT count(COLUMNS(*)) FROM {read([file])}").fetchall()  # noqa: S608 (quoted)
                except duckdb.Error as own:
                    raise _from_duckdb(file.name, str(own)) from own
        raise _from_duckdb(files[0].name, str(error)) from error


def _types(connection: Any, read: str, names: Sequence[str]) -> dict[str, str]:
    tests = [
        f"coalesce(bool_and({test.replace('$', f'trim({_name(n)})')}) FILTER ({_name(n)} IS NOT NULL), false)"
        for n in names
        for _, test in _TESTS
    ]
    verdicts: list[bool] = []
    for start in range(0, len(tests), _TESTS_A_QUERY):
        part = tests[start : start + _TESTS_A_QUERY]
        verdicts.extend(connection.sql(f"SELECT {', '.join(part)} FROM {read}").fetchall()[0])  # noqa: S608 (quoted)
    kinds = [kind for kind, _ in _TESTS]
    return {
        name: next((k for k, passed in zip(kinds, verdicts[i * len(kinds) :], strict=False) if passed), "VARCHAR")
        for i, name in enumerate(names)
    }


def _write_groups(reader: pa.RecordBatchReader, target: Path) -> int:
    """Write batches of any size as row groups of exactly 65,536 rows, the last one shorter."""
    rows = 0
    with pq.ParquetWriter(target, reader.schema, compression="zstd") as writer:
        waiting: list[pa.RecordBatch] = []
        for batch in reader:
            waiting.append(batch)
            rows += batch.num_rows
            if sum(b.num_rows for b in waiting) >= ROWS_A_GROUP:
                table = pa.Table.from_batches(waiting)
                whole = table.num_rows // ROWS_A_GROUP * ROWS_A_GROUP
                writer.write_table(table.slice(0, whole), row_group_size=ROWS_A_GROUP)
                waiting = table.slice(whole).to_batches()
        if waiting:
            writer.write_table(pa.Table.from_batches(waiting), row_group_size=ROWS_A_GROUP)
    return rows


def _from_duckdb(source: Any, text: str) -> MalformedText:
    match = _LINE.search(text)
    if match is None:
        return MalformedText(f"{source} cannot be read.", why=text.splitlines()[0], fix="Check the file's format.")
    line, original, reason = match.groups()
    shown = f" It reads {original[:80]!r}." if original else ""
    # An open quotation mark makes the parser show more lines of the file before its reason.
    last = reason.strip().splitlines()[-1] if reason.strip() else "It does not fit the header"
    return _malformed(source, int(line), f"{last.rstrip('.')}.{shown}")


def _malformed(source: Any, line: int, why: str) -> MalformedText:
    return MalformedText(
        f"{source}, line {line:,} cannot be read.", why=why, fix="Mend the line, or save the file again as UTF-8 CSV."
    )


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
