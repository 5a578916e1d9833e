"""Symptoms of row groups: empty, huge, skewed or small ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from parquetry.foundation.findings import FIX, GROUP_SECONDS, SCAN_BYTES, Finding, Folder, first_files, in_files, size

HUGE_GROUP = 512 * 2**20
"""Uncompressed bytes of a row group that one reader should not have to hold."""
SMALL_GROUP_ROWS, SMALL_GROUP = 10_000, 4 * 2**20
SKEW = 8
"""A row group this many times the median one keeps a worker busy while the others wait."""


def groups(folder: Folder) -> Iterator[Finding]:
    """Row groups without rows, too large, much larger than the rest, or too small."""
    every = [(f.path, g) for f in folder.files for g in f.groups]
    empty = [(p, g) for p, g in every if not g.rows]
    paths = {f.path for f in folder.files if f.rows}
    inside = [(p, g) for p, g in empty if p in paths]
    if inside:
        yield Finding(
            "empty-blocks",
            "problem",
            f"{len(inside):,} row groups in {in_files(len({p for p, _ in inside}))} hold no rows.",
            "They are tasks without work, and some readers stumble over them.",
            f"Write the files again: {FIX}",
            seconds=len(inside) * GROUP_SECONDS[folder.local],
            count=len(inside),
            files=first_files(p for p, _ in inside),
        )
    filled = [(p, g) for p, g in every if g.rows]
    yield from _huge_groups(filled)
    yield from _skewed_groups(filled)
    yield from _small_groups(filled, folder)


def _huge_groups(groups: list[tuple[str, Any]]) -> Iterator[Finding]:
    huge = [(p, g) for p, g in groups if g.nbytes > HUGE_GROUP]
    if huge:
        most = max(g.nbytes for _, g in huge)
        yield Finding(
            "huge-row-groups",
            "problem",
            f"{len(huge):,} of {len(groups):,} row groups are larger than {size(HUGE_GROUP)} uncompressed, "
            f"the largest {size(most)}.",
            f"A reader that holds a row group needs {size(most)} or more, and no more than {len(groups):,} tasks "
            "can run at once.",
            f"Cut them: {FIX}",
            seconds=max(0.0, (most - HUGE_GROUP) / SCAN_BYTES),
            nbytes=most,
            count=len(huge),
            files=first_files(p for p, _ in huge),
        )


def _skewed_groups(groups: list[tuple[str, Any]]) -> Iterator[Finding]:
    if len(groups) < 4:
        return
    sizes = sorted(g.nbytes for _, g in groups)
    median, total = sizes[len(sizes) // 2], sum(sizes)
    skewed = [(p, g) for p, g in groups if g.nbytes > SKEW * max(median, SMALL_GROUP)]
    if skewed and sizes[-1] <= HUGE_GROUP:
        seconds = (sizes[-1] - median) / SCAN_BYTES
        yield Finding(
            "skewed-row-groups",
            "problem",
            f"The largest row group has {size(sizes[-1])} uncompressed, {sizes[-1] / max(median, 1):.0f} times the "
            f"median of {size(median)}, and {sizes[-1] / total:.0%} of all bytes.",
            f"The worker that gets it is {seconds:.2g} s behind the others, which wait.",
            f"Write even ones: {FIX}",
            seconds=seconds,
            nbytes=sizes[-1],
            count=len(skewed),
            files=first_files(p for p, _ in skewed),
        )


def _small_groups(groups: list[tuple[str, Any]], folder: Folder) -> Iterator[Finding]:
    of_file = Counter(p for p, _ in groups)
    small = [(p, g) for p, g in groups if of_file[p] > 1 and g.rows < SMALL_GROUP_ROWS and g.nbytes < SMALL_GROUP]
    touched = {p for p, _ in small}
    # A file's last row group is what was left over.
    if len(small) <= len(touched):
        return
    rows, nbytes = sum(g.rows for _, g in small), sum(g.nbytes for _, g in small)
    excess = len(small) - max(len(touched), rows // SMALL_GROUP_ROWS, nbytes // SMALL_GROUP)
    seconds = max(0, excess) * GROUP_SECONDS[folder.local]
    yield Finding(
        "small-row-groups",
        "problem",
        f"{len(small):,} row groups have fewer than {SMALL_GROUP_ROWS:,} rows: {rows // len(small):,} on average.",
        f"Each is a task, a seek and statistics of its own: about {seconds:.2g} s more a reading, "
        "and text compresses worse.",
        f"Write larger ones: {FIX}",
        seconds=seconds,
        count=len(small),
        files=first_files(p for p, _ in small),
    )
