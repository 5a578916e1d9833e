"""Keys that must be unique, over any number of rows in bounded memory.

Each task leaves 128-bit hashes of its rows' keys beside the table; ranges of hashes are then
looked through one by one, and of rows with one key all but the first are named. Only the pieces
that hold such rows are written anew. Rows that a table holds already, when others are added to it,
come before all of these and are left as they are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from numba import njit

from parquetry.errors import SchemaDrift
from parquetry.rows import GOLDEN, finalized

if TYPE_CHECKING:
    from parquetry.dataset import Block, Dataset
    from parquetry.engine import Engine
    from parquetry.reading import Reader

_KEYS: pa.Schema = pa.schema([("key", pa.int32()), ("a", pa.uint64()), ("b", pa.uint64()), ("row", pa.int64())])
_DOUBLES: pa.Schema = pa.schema([("bundle", pa.int64()), ("row", pa.int64()), ("key", pa.int32())])
_ROWS_A_GROUP = 2**16
KEYS_A_RANGE = 2_000_000
"""Keys that one task sorts: about 100 MB."""


@njit(cache=True, nogil=True)
def _hashed(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int32], seed: np.uint64) -> npt.NDArray[np.uint64]:
    """FNV-1a of each text, from a seed."""
    out = np.empty(len(offsets) - 1, dtype=np.uint64)
    for i in range(len(offsets) - 1):
        value = seed
        for j in range(offsets[i], offsets[i + 1]):
            value = (value ^ np.uint64(data[j])) * np.uint64(0x100000001B3)
        out[i] = value
    return out


def hashes(columns: Sequence[pa.ChunkedArray]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Two independent 64-bit hashes of each row of some columns without nulls."""
    out = []
    for seed in (0xCBF29CE484222325, 0x9AE16A3B2F90404F):
        total = np.zeros(len(columns[0]), dtype=np.uint64)
        for column in columns:
            texts = column.combine_chunks().cast(pa.string())
            data, offsets = _buffers(texts)
            one = finalized(_hashed(data, offsets, np.uint64(seed)) + np.diff(offsets).astype(np.uint64))
            total = finalized(total * GOLDEN + one + np.uint64(1))
        out.append(total)
    return out[0], out[1]


def _buffers(texts: pa.Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int32]]:
    _, offsets, data = texts.buffers()
    ends = np.frombuffer(offsets, dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    return np.frombuffer(data if data is not None else b"", dtype=np.uint8), ends


def keyed(table: pa.Table, keys: Sequence[tuple[str, ...]], first_row: int) -> pa.Table:
    """The hashes of a table's keys, with the rows' numbers; rows with a null in a key are left out."""
    parts = [_KEYS.empty_table()]
    for number, key in enumerate(keys):
        columns = [table.column(name) for name in key]
        whole = np.ones(table.num_rows, dtype=bool)
        for column in columns:
            if column.null_count:
                whole &= pc.is_valid(column).to_numpy()
        at = np.flatnonzero(whole)
        a, b = hashes([c if len(at) == table.num_rows else c.filter(pa.array(whole)) for c in columns])
        parts.append(pa.table([np.full(len(at), number, np.int32), a, b, at + first_row], schema=_KEYS))
    return pa.concat_tables(parts)


@dataclass(frozen=True)
class KeyFiles:
    """Where the hashes of one write lie: in its folder, under names that are no data.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    folder, token : str
    present : int
        How many files there are of rows that the table holds already.
    """

    filesystem: pafs.FileSystem
    folder: str
    token: str
    present: int = 0

    def _path(self, kind: str, number: int) -> str:
        return posixpath.join(self.folder, f"_{kind}-{number:08d}-{self.token}-.parquet")

    def write_keys(self, bundle: int, keys: Sequence[pa.Table], kind: str = "keys") -> int:
        """Keep a bundle's hashes in order; gives how many. ``kind`` is ``"present"`` for those of present rows."""
        table = pa.concat_tables(keys).sort_by("a") if keys else _KEYS.empty_table()
        pq.write_table(table, self._path(kind, bundle), filesystem=self.filesystem, row_group_size=_ROWS_A_GROUP)
        return int(table.num_rows)

    def find_doubles(self, task: tuple[int, int, int, int]) -> list[int]:
        """Look through a range of hashes of all bundles; keep the rows that come later, and name their bundles."""
        number, bundles, low, high = task
        parts = [_DOUBLES.append(pa.field("a", pa.uint64())).append(pa.field("b", pa.uint64())).empty_table()]
        files = [("present", i) for i in range(self.present)] + [("keys", i) for i in range(bundles)]
        for kind, bundle in files:
            within = (pc.field("a") >= pa.scalar(low, pa.uint64())) & (pc.field("a") <= pa.scalar(high, pa.uint64()))
            found = pq.read_table(
                self._path(kind, bundle), filesystem=self.filesystem, partitioning=None, use_threads=False,
                filters=within,
            )  # fmt: skip
            # Present rows come first, and none of them is ever taken out.
            column = pa.array(np.full(found.num_rows, -1 if kind == "present" else bundle, dtype=np.int64))
            parts.append(pa.table({"bundle": column, **{n: found[n] for n in ("row", "key", "a", "b")}}))
        order = [(n, "ascending") for n in ("key", "a", "b", "bundle", "row")]
        table = pa.concat_tables(parts).sort_by(order)
        if table.num_rows < 2:
            doubles = np.zeros(table.num_rows, dtype=bool)
        else:
            same = [table[n].to_numpy()[1:] == table[n].to_numpy()[:-1] for n in ("key", "a", "b")]
            doubles = np.concatenate([[False], same[0] & same[1] & same[2]]) & (table["bundle"].to_numpy() >= 0)
        later = (
            table.filter(pa.array(doubles))
            .select(_DOUBLES.names)
            .sort_by([("bundle", "ascending"), ("row", "ascending")])
        )
        pq.write_table(later, self._path("doubles", number), filesystem=self.filesystem, row_group_size=_ROWS_A_GROUP)
        return sorted(set(later["bundle"].to_pylist()))

    def doubles(self, bundle: int, ranges: int) -> dict[int, int]:
        """The rows of one bundle that are not the first with their key, and which key."""
        found: dict[int, int] = {}
        for number in range(ranges):
            table = pq.read_table(
                self._path("doubles", number), filesystem=self.filesystem, partitioning=None, use_threads=False,
                filters=pc.field("bundle") == bundle,
            )  # fmt: skip
            for row, key in zip(table["row"].to_pylist(), table["key"].to_pylist(), strict=True):
                found[row] = min(key, found.get(row, key))
        return found

    def remove(self, bundles: int, ranges: int) -> None:
        """Remove them all."""
        counts = {"present": self.present, "keys": bundles, "doubles": ranges}
        for path in (self._path(kind, i) for kind, count in counts.items() for i in range(count)):
            if self.filesystem.get_file_info(path).type == pafs.FileType.File:
                self.filesystem.delete_file(path)


def hash_ranges(keys: int, bundles: int) -> list[tuple[int, int, int, int]]:
    """Ranges of hashes of about ``KEYS_A_RANGE`` keys each, as tasks of ``find_doubles``."""
    count = max(1, -(-keys // KEYS_A_RANGE))
    edges = [2**64 * i // count for i in range(count + 1)]
    return [(i, bundles, edges[i], edges[i + 1] - 1) for i in range(count)]


@dataclass(frozen=True)
class PresentTask:
    """Leaves the hashes of the keys of one block that a table holds already; gives how many."""

    reader: Reader
    files: KeyFiles
    keys: tuple[tuple[str, ...], ...]

    def __call__(self, numbered: tuple[int, Block]) -> int:
        index, block = numbered
        hashes, first = [], 0
        for table, _ in self.reader.read(block):
            hashes.append(keyed(table, self.keys, first))
            first += table.num_rows
        return self.files.write_keys(index, hashes, "present")


def keep_present(
    dataset: Dataset, schema: pa.Schema, files: KeyFiles, keys: Sequence[tuple[str, ...]], engine: Engine
) -> tuple[KeyFiles, int]:
    """The hashes of a table's own keys kept beside it: the files with them, and how many hashes.

    Raises
    ------
    SchemaDrift
        A column of a key is not in the table, or of another type there.
    """
    columns = list(dict.fromkeys(name for key in keys for name in key))
    for name in columns:
        own = dataset.schema.field(name).type if name in dataset.schema.names else None
        if own != schema.field(name).type:
            raise SchemaDrift(
                f"{name!r} must be unique; the table has it as {own or 'no column'}, not as {schema.field(name).type}.",
                why="Rows that are added are compared with those that are there.",
                fix="Mend the contract, or write to another table.",
            )
    files = replace(files, present=len(dataset.blocks))
    task = PresentTask(dataset.select(columns).reader(), files, tuple(keys))
    return files, sum(engine.map(task, list(enumerate(dataset.blocks)), label="ingest-present"))
