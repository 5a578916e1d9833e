"""Rows of an engine's frame put in order of a number, by all workers: none of them needs all rows.

The frame is written as the engine gives it. Where that is more than one worker should sort, each
bundle of it is sorted by itself; how many rows fall on which numbers is counted meanwhile. From
the counts come ranges of the number of about one size, and each is then gathered from the sorted
bundles (whose statistics tell which row groups to read), sorted, and written.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.reduction import Bundle, bundles

if TYPE_CHECKING:
    from parquetry.engine import Engine

RANGE_BYTES = 64 * 2**20
"""About how many bytes of rows a worker sorts at a time."""
_EVERYTHING = (-(2**63), 2**63 - 1)
Range = tuple[int, int]


@dataclass(frozen=True)
class NumberedRows:
    """Committed rows in order of a number, in files that each hold one range of it.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    number : str
        The column of whole numbers.
    ranges : tuple of (int, int)
        Lowest and highest number, both included, in order and apart.
    paths : tuple of tuple of str
        The files of each range.
    """

    filesystem: pafs.FileSystem
    number: str
    ranges: tuple[Range, ...]
    paths: tuple[tuple[str, ...], ...]

    def between(self, low: int, high: int) -> pa.Table | None:
        """The rows from one number to another, both included, in order; None where there are none at all."""
        first = bisect_left(self.ranges, low, key=lambda r: r[1])
        last = bisect_right(self.ranges, high, key=lambda r: r[0])
        paths = [path for group in self.paths[first:last] for path in group]
        return _read(self.filesystem, paths, self.number, (low, high)) if paths else None


def write_numbered(engine: Engine, frame: Any, path: str, *, number: str) -> NumberedRows:
    """Commit a frame in order of a column of whole numbers.

    Parameters
    ----------
    engine : Engine
    frame : narwhals or native frame, or Dataset
    path : path or URL
        Every worker must reach it.
    number : str
        The column of numbers, int64 and without nulls.
    """
    output = CommittedWrite(path, "fail")
    loose, sorted_ = (f"{path.rstrip('/')}.{name}-{output.token}" for name in ("loose", "sorted"))
    try:
        rows = engine.write(frame, loose)
        if rows.nbytes <= RANGE_BYTES:
            source, ranges = rows, [_EVERYTHING]
        else:
            source, ranges = _sorted_bundles(engine, rows, sorted_, number)
        paths = tuple(dict.fromkeys(b.path for b in source.blocks))
        found: list[list[Part]] = []

        def write(writer: PartWriter) -> list[Part]:
            task = _RangeTask(source.filesystem, paths, number, writer)
            found.extend(engine.map(task, list(enumerate(ranges)), label="sort-ranges"))
            return [part for parts in found for part in parts]

        output.run(rows.schema, write)
    finally:
        for folder in (loose, sorted_):
            filesystem, place = storage.resolve(folder)
            with suppress(OSError):
                filesystem.delete_dir(place)
    files = tuple(tuple(f"{output.folder}/{part.path}" for part in parts) for parts in found)
    return NumberedRows(output.filesystem, number, tuple(ranges), files)


def _sorted_bundles(engine: Engine, rows: Dataset, path: str, number: str) -> tuple[Dataset, list[Range]]:
    """The rows with each bundle sorted by itself, and the ranges to gather from them."""
    row_bytes = max(1.0, rows.nbytes / rows.num_rows)
    wanted = max(1, int(RANGE_BYTES / row_bytes))
    cell = max(1, wanted // 8)
    counts: Counter[int] = Counter()

    def write(writer: PartWriter) -> list[Part]:
        task = _BundleTask(rows.reader(), number, cell, RANGE_BYTES, writer)
        parts: list[Part] = []
        for written, cells in engine.map(task, list(enumerate(bundles(rows, rows.columns))), label="sort-bundles"):
            parts += written
            counts.update(cells)
        return parts

    CommittedWrite(path, "fail").run(rows.schema, write)
    return open_dataset(path), _ranges(counts, cell, wanted)


def _ranges(counts: Counter[int], cell: int, wanted: int) -> list[Range]:
    """Ranges of about the wanted number of rows, from the rows in each cell of numbers."""
    found: list[Range] = []
    start = rows = 0
    for place in sorted(counts):
        start = place if not rows else start
        rows += counts[place]
        if rows >= wanted:
            found.append((start * cell, (place + 1) * cell - 1))
            rows = 0
    if rows:
        found.append((start * cell, (max(counts) + 1) * cell - 1))
    return found


@dataclass(frozen=True)
class _BundleTask:
    """Sorts the rows of a bundle, a share of them at a time; counts the rows in each cell of numbers."""

    reader: Any
    number: str
    cell: int
    share: int
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Bundle]) -> tuple[list[Part], Counter[int]]:
        index, bundle = numbered
        counts: Counter[int] = Counter()

        def tables() -> Iterator[pa.Table]:
            waiting: list[pa.Table] = []
            for table in self.reader.read_all(bundle):
                cells, rows = np.unique(table.column(self.number).to_numpy() // self.cell, return_counts=True)
                counts.update(dict(zip(cells.tolist(), rows.tolist(), strict=True)))
                waiting.append(table)
                if sum(t.nbytes for t in waiting) >= self.share:
                    yield pa.concat_tables(waiting).sort_by(self.number)
                    waiting = []
            if waiting:
                yield pa.concat_tables(waiting).sort_by(self.number)

        return self.writer.write(index, tables()), counts


@dataclass(frozen=True)
class _RangeTask:
    """Gathers the rows of a range from all files, and writes them in order."""

    filesystem: pafs.FileSystem
    paths: tuple[str, ...]
    number: str
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Range]) -> list[Part]:
        index, chosen = numbered
        if not self.paths:
            return []
        return self.writer.write(index, [_read(self.filesystem, self.paths, self.number, chosen).sort_by(self.number)])


def _read(filesystem: pafs.FileSystem, paths: Sequence[str], number: str, chosen: Range) -> pa.Table:
    """The rows of some files whose number lies in a range; row groups without any are not read."""
    low, high = chosen
    where = (pads.field(number) >= low) & (pads.field(number) <= high)
    return pads.dataset(list(paths), filesystem=filesystem, format="parquet").to_table(filter=where, use_threads=False)
