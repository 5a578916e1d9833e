"""Symptoms of order: row groups that belie it, or have none that filters could use."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pyarrow as pa

from parquetry.foundation.findings import FIX, SCAN_BYTES, Finding, Folder, size

_MANY = 8  # row groups from which their order is worth a word


def order(folder: Folder) -> Iterator[Finding]:
    """Row groups out of the order that a file states, and those that overlap in every column."""
    ranges = _all_ranges(folder)
    for f in folder.files:
        first = f.sorted_by[0] if f.sorted_by else None
        if first is not None and not _in_order([r for r in f.ranges.get(first, []) if r]):
            yield Finding(
                "broken-order",
                "problem",
                f"{f.path} says that it is sorted by {first!r}, and its row groups are not.",
                "Readers that believe it give wrong results in joins and searches.",
                f"Write it again: {FIX}",
                count=1,
                files=(f.path,),
            )
    depths = {name: d for name, found in ranges.items() if (d := _depth(found)) is not None}
    times = [n for n in depths if _is_time(folder, n)]
    stored = sum(f.size for f in folder.files)
    if depths and not any(share < 0.3 for share in depths.values()):
        name = min(times or depths, key=lambda n: depths[n])
        in_vain = round(stored * (depths[name] - 1 / len(ranges[name])))
        yield Finding(
            "overlapping-row-groups",
            "note",
            f"The {len(ranges[name]):,} row groups are in no column's order: one value of {name!r} may lie in "
            f"{depths[name]:.0%} of them.",
            f"A filter on it skips little: about {size(in_vain)} are read in vain.",
            f"Where filters matter, write the rows sorted by a column that they name, such as {name!r}.",
            seconds=in_vain / SCAN_BYTES,
            nbytes=in_vain,
            count=len(ranges[name]),
        )


def _all_ranges(folder: Folder) -> dict[str, list[tuple[Any, Any]]]:
    """Each column's ranges over all row groups; only of columns with one type and enough row groups."""
    kinds: dict[str, set[str]] = {}
    out: dict[str, list[tuple[Any, Any]]] = {}
    for f in folder.files:
        for name, found in f.ranges.items():
            kinds.setdefault(name, set()).add(str(f.schema.field(name).type))
            out.setdefault(name, []).extend(r for r in found if r is not None)
    return {n: r for n, r in out.items() if len(kinds[n]) == 1 and len(r) >= _MANY and any(a != b for a, b in r)}


def _depth(ranges: list[tuple[Any, Any]]) -> float | None:
    """The share of row groups that one of the column's values may lie in, on average."""
    try:
        lows, highs = sorted(a for a, _ in ranges), sorted(b for _, b in ranges)
    except TypeError:
        return None  # values that have no order
    if lows[0] == highs[-1]:
        return None
    inside = sum(bisect_right(lows, v) - bisect_left(highs, v) for v in (*lows, *highs))
    return inside / (2 * len(ranges) ** 2)


def _in_order(ranges: list[tuple[Any, Any]]) -> bool:
    return all(a[1] <= b[0] for a, b in pairwise(ranges))


def _is_time(folder: Folder, name: str) -> bool:
    kind = next(f.schema.field(name).type for f in folder.files if name in f.schema.names)
    return bool(pa.types.is_temporal(kind))
