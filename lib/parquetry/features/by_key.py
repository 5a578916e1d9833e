"""Columns that are made from the rows of the same key, in an order: lags, windows; added to the rows where they stand.

Only what decides travels: two 64-bit hashes of the keys, the order as whole numbers (or text), the
row's number, and the values that are looked at. They are dealt into buckets by key, each bucket is
sorted and worked on by one worker, and what it has made is dealt back to the rows that it belongs
to. The rows themselves stay in order. Buckets come from the footers and the hashes alone and every
engine runs the same functions over them, so the results are the same to the last bit.
"""

from __future__ import annotations

import posixpath
import uuid
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType
from parquetry.foundation.cleaning.keyed import KEYS, _hashes, _ordered, row_numbers
from parquetry.foundation.cleaning.learning import scratch_folder
from parquetry.foundation.cleaning.step import ROWS_A_BLOCK, missing_in
from parquetry.reduction import Bundle, bundles
from parquetry.relational_windows import ROW
from parquetry.view import is_numeric

if TYPE_CHECKING:
    from parquetry.engine import Engine

IntArray = npt.NDArray[np.int64]
Piece = tuple[int, str, int, int]
"""A bucket (or a bundle), and the rows that wait for it: a file, a row group, how many rows."""

BUCKET_BYTES = 128 * 2**20
_SORT_FACTOR = 4  # a bucket as read, sorted, worked on, and what is made of it


class Work(ABC):
    """What is made of the rows of some keys; it is picklable."""

    @abstractmethod
    def columns(self, schema: pa.Schema) -> list[pa.Field]:
        """The new columns of a table with this schema."""

    @abstractmethod
    def __call__(self, table: pa.Table, starts: IntArray, ends: IntArray) -> dict[str, Any]:
        """The new columns of rows in order of key, then order.

        Parameters
        ----------
        table : pyarrow.Table
            The values, under their names.
        starts, ends : ndarray of int64
            For each row where its key's rows begin and end.
        """


def add_by_key(
    data: Dataset,
    values: Sequence[str],
    *,
    by: Sequence[str],
    order: Sequence[str],
    work: Work,
    to: str,
    engine: Engine,
    mode: str,
    label: str,
) -> Dataset:
    """All rows in their order with new columns, committed as a table.

    Parameters
    ----------
    data : Dataset
    values : sequence of str
        The columns that ``work`` looks at.
    by, order : sequence of str
        Rows of equal keys belong together (a missing key is a key of its own), in this order; rows of equal order as
        they stand in the data.
    work : Work
    to : str
    engine : Engine
    mode : {"fail", "append", "overwrite"}
    label : str
        What the work is called in dashboards.

    Raises
    ------
    TooBigForOneNode
        The rows of one bucket, or of one key, do not fit one worker.
    """
    new = work.columns(data.schema)
    require_new([f.name for f in new], data)
    output = CommittedWrite(to, mode)
    needed = data.select(list(dict.fromkeys((*by, *order, *values))))
    parts = bundles(data, data.columns)
    with scratch_folder(to, output.token) as scratch:
        filesystem, folder = storage.resolve(scratch)
        filesystem.create_dir(folder, recursive=True)
        buckets = max(1, -(-_staged_bytes(needed) // BUCKET_BYTES))
        files = ScratchFiles(filesystem, folder)
        stage = _Stage(needed.reader(), tuple(by), tuple(order), tuple(values), buckets, files)
        staged = _dealt(engine.map(stage, list(parts), label=f"{label}-keys"))
        _require_room(staged, needed, engine.memory)
        owners = _Owners.of(parts)
        made = _Bucket(files, len(order), tuple(values), work, tuple(new), owners)
        patches = _dealt(engine.map(made, [staged[b] for b in sorted(staged)], label=label))

        def write(writer: PartWriter) -> Iterator[Part]:
            task = _Join(data.reader(), files, tuple(new), writer)
            items = [(i, bundle, patches.get(i, [])) for i, bundle in enumerate(parts)]
            for found in engine.map(task, items, label=f"{label}-write"):
                yield from found

        output.run(pa.schema([*data.schema, *new]), write)
    return open_dataset(to)


def require_new(names: Sequence[str], data: Dataset) -> None:
    """Raise BadParameter where a new column's name is taken, or given twice."""
    taken = [n for i, n in enumerate(names) if n in data.columns or n in names[:i]]
    if taken:
        raise BadParameter(
            f"There is a column {taken[0]!r} already.",
            why="A new column does not replace another one.",
            fix="Leave it out with data.select([...]), or name each measure once.",
        )


def require_keys(data: Dataset, by: Sequence[str], order: Sequence[str], values: Sequence[str]) -> None:
    """Raise where columns are not there, or cannot be keys, an order or values.

    Raises
    ------
    UnknownColumn, BadParameter, WrongColumnType
    """
    for role, names in (("key column", by), ("order column", order), ("column", values)):
        if isinstance(names, str):
            raise BadParameter(f"{names!r} is one string.", fix=f"Pass a list: [{names!r}].")
        data.require(names, role)
    if not by or not values:
        raise BadParameter(f"There is no {'key' if not by else 'column to look at'}.", fix="Name one or more columns.")
    for name in (*by, *order):
        kind = data.full_schema.field(name).type
        if pa.types.is_nested(kind) or (name in order and (pa.types.is_decimal(kind) or pa.types.is_binary(kind))):
            raise WrongColumnType(
                f"Column {name!r} is {kind}, which gives no {'order' if name in order else 'key'}.",
                fix="Name another column, or cast it first.",
            )


def require_number_columns(data: Dataset, values: Sequence[str], who: str) -> None:
    """Raise WrongColumnType for the first of some columns that holds no numbers."""
    for name in values:
        kind = data.full_schema.field(name).type
        if not is_numeric(kind):
            raise WrongColumnType(f"{who}: column {name!r} is {kind}, not a number.", fix="Name numeric columns.")


@dataclass(frozen=True)
class ScratchFiles:
    """Files that one set of tasks writes and the next reads, a row group for each reader."""

    filesystem: pafs.FileSystem
    folder: str

    def write(self, groups: Sequence[tuple[int, pa.Table]]) -> list[Piece]:
        """One file with a row group for each table."""
        kept = [(key, table) for key, table in groups if table.num_rows]
        if not kept:
            return []
        path = posixpath.join(self.folder, f"{uuid.uuid4().hex}.parquet")
        with pq.ParquetWriter(path, kept[0][1].schema, filesystem=self.filesystem, compression="zstd") as writer:
            for _, table in kept:
                writer.write_table(table, row_group_size=table.num_rows)
        return [(key, path, i, table.num_rows) for i, (key, table) in enumerate(kept)]

    def read(self, pieces: Sequence[Piece]) -> pa.Table:
        """The row groups of several files as one table."""
        tables = []
        for _, path, group, _ in pieces:
            with pq.ParquetFile(path, filesystem=self.filesystem) as file:
                tables.append(file.read_row_group(group, use_threads=False))
        return pa.concat_tables(tables).combine_chunks()


@dataclass(frozen=True)
class _Stage:
    """Writes what decides about the rows of a bundle, dealt into buckets by key."""

    reader: Any
    by: tuple[str, ...]
    order: tuple[str, ...]
    values: tuple[str, ...]
    buckets: int
    files: ScratchFiles

    def __call__(self, bundle: Bundle) -> list[Piece]:
        tables = [self._staged(table, block, rows) for block in bundle for table, rows in self.reader.read(block)]
        if not tables:
            return []
        table = pa.concat_tables(tables).combine_chunks()
        bucket = bucket_of(table.column(KEYS[0]).to_numpy(), self.buckets)
        order = np.argsort(bucket, kind="stable")
        edges = np.searchsorted(bucket[order], np.arange(self.buckets + 1))
        return self.files.write(
            [(b, table.take(pa.array(order[edges[b] : edges[b + 1]]))) for b in np.flatnonzero(np.diff(edges)).tolist()]
        )

    def _staged(self, table: pa.Table, block: Any, rows: IntArray) -> pa.Table:
        keys = [_whole(table.column(name)) for name in self.by]
        columns: dict[str, Any] = {name: _hashes(keys, table.num_rows, i) for i, name in enumerate(KEYS)}
        columns[ROW] = pa.array(row_numbers(block, rows))
        for i, name in enumerate(self.order):
            column = _whole(table.column(name))
            missing = missing_in(column)
            if missing.any():
                row = int(np.argmax(missing))
                raise NonFiniteValues(
                    f"Order column {name!r} holds a missing value, first in {block.where}, row {int(rows[row])}.",
                    why="A row without it has no place in the order.",
                    fix="Drop those rows, or fill them.",
                )
            _, columns[f"order{i}"] = _ordered(column)
        for i, name in enumerate(self.values):
            columns[f"value{i}"] = _whole(table.column(name))
        return pa.table(columns)


@dataclass(frozen=True)
class _Bucket:
    """Sorts the rows of some keys, lets the work look at them, and deals what it makes to the bundles of its rows."""

    files: ScratchFiles
    orders: int
    values: tuple[str, ...]
    work: Work
    new: tuple[pa.Field, ...]
    owners: _Owners

    def __call__(self, pieces: Sequence[Piece]) -> list[Piece]:
        table = self.files.read(pieces)
        names = [*KEYS, *(f"order{i}" for i in range(self.orders)), ROW]
        table = table.sort_by([(name, "ascending") for name in names]).combine_chunks()
        starts, ends = _edges(table)
        seen = pa.table({name: table.column(f"value{i}") for i, name in enumerate(self.values)})
        made = self.work(seen, starts, ends)
        rows = table.column(ROW).to_numpy()
        found = pa.table({ROW: rows, **{f.name: _as(made[f.name], f.type) for f in self.new}})
        owner = self.owners.of_rows(rows)
        order = np.lexsort((rows, owner))
        bundle, first = np.unique(owner[order], return_index=True)
        last = np.append(first[1:], len(order))
        groups = zip(bundle.tolist(), first.tolist(), last.tolist(), strict=True)
        return self.files.write([(b, found.take(pa.array(order[i:j]))) for b, i, j in groups])


@dataclass(frozen=True)
class _Owners:
    """Which bundle each row belongs to: the blocks' positions, and the bundle of each."""

    blocks: IntArray
    bundles: IntArray

    @classmethod
    def of(cls, parts: Sequence[Bundle]) -> _Owners:
        pairs = sorted((block.index, i) for i, bundle in enumerate(parts) for block in bundle)
        return cls(np.array([b for b, _ in pairs], dtype=np.int64), np.array([i for _, i in pairs], dtype=np.int64))

    def of_rows(self, rows: IntArray) -> IntArray:
        return np.asarray(self.bundles[np.searchsorted(self.blocks, rows // ROWS_A_BLOCK)])


@dataclass(frozen=True)
class _Join:
    """Writes the rows of a bundle with what was made for them."""

    reader: Any
    files: ScratchFiles
    new: tuple[pa.Field, ...]
    writer: PartWriter

    def __call__(self, item: tuple[int, Bundle, list[Piece]]) -> list[Part]:
        index, bundle, pieces = item
        return self.writer.write(index, self._tables(bundle, pieces))

    def _tables(self, bundle: Bundle, pieces: list[Piece]) -> Iterator[pa.Table]:
        if not pieces:
            return
        patch = self.files.read(pieces).sort_by(ROW)
        known = patch.column(ROW).to_numpy()
        for block in bundle:
            for table, rows in self.reader.read(block):
                found = patch.take(pa.array(np.searchsorted(known, row_numbers(block, rows))))
                columns = [*table.columns, *(found.column(f.name) for f in self.new)]
                yield pa.table(columns, schema=pa.schema([*table.schema, *self.new]))


def bucket_of(keys: IntArray, buckets: int) -> IntArray:
    """Each key's bucket, by the upper bits of its hash."""
    high = keys.view(np.uint64) >> np.uint64(32)
    return np.asarray((high * np.uint64(buckets)) >> np.uint64(32), dtype=np.int64)


def _edges(table: pa.Table) -> tuple[IntArray, IntArray]:
    new = np.zeros(table.num_rows, dtype=bool)
    new[:1] = True
    for name in KEYS:
        values = table.column(name).to_numpy()
        new[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    return first[group], np.append(first[1:], table.num_rows)[group]


def _dealt(found: Iterator[list[Piece]]) -> dict[int, list[Piece]]:
    pieces: dict[int, list[Piece]] = defaultdict(list)
    for part in found:
        for piece in part:
            pieces[piece[0]].append(piece)
    return dict(pieces)


def _staged_bytes(needed: Dataset) -> int:
    return int(max(needed.nbytes, 0) + needed.num_rows * 8 * (3 + len(needed.columns)))


def _require_room(staged: dict[int, list[Piece]], needed: Dataset, memory: int) -> None:
    rows = max((sum(piece[3] for piece in pieces) for pieces in staged.values()), default=0)
    width = _staged_bytes(needed) / max(1, needed.num_rows)
    if rows * width * _SORT_FACTOR > memory:
        raise TooBigForOneNode(
            f"{needed.uri}: {rows:,} rows of the same keys take about {rows * width * _SORT_FACTOR / 2**30:.2f} GiB on "
            f"one worker; {memory / 2**30:.2f} GiB are allowed.",
            why="All rows of a key are put in order on one worker.",
            fix="Name more keys, or give the workers more memory.",
        )


def _whole(column: pa.ChunkedArray) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _as(values: Any, kind: pa.DataType) -> Any:
    return values if values.type == kind else values.cast(kind)
