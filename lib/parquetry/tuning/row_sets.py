"""Some of a dataset's rows by their numbers: small to send, and as a part of the dataset."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.folds import IntArray
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.rows import RowFilter, combined_mask

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RowSet:
    """Numbers of rows, in their order; a bit a row where they rise, as those of most folds do.

    Attributes
    ----------
    content : bytes
    size : int
        How many numbers there are.
    total : int
        How many rows the dataset has.
    rising : bool
    """

    content: bytes
    size: int
    total: int
    rising: bool

    @classmethod
    def of(cls, numbers: Any, total: int) -> RowSet:
        """The set of numbers in ``[0, total)``."""
        numbers = np.asarray(numbers)
        if numbers.dtype == np.bool_:
            numbers = np.flatnonzero(numbers)
        rising = bool((np.diff(numbers) > 0).all())
        if rising:
            mask = np.zeros(total, dtype=np.bool_)
            mask[numbers] = True
            return cls(_packed(mask), len(numbers), total, rising)
        content = zlib.compress(numbers.astype("<u8" if total > 2**32 else "<u4").tobytes(), 1)
        return cls(content, len(numbers), total, rising)

    @property
    def numbers(self) -> IntArray:
        """In their order, shape ``(size,)``."""
        if self.rising:
            return np.flatnonzero(self.mask)
        found = np.frombuffer(zlib.decompress(self.content), dtype="<u8" if self.total > 2**32 else "<u4")
        return found.astype(np.int64)

    @property
    def mask(self) -> BoolArray:
        """Which rows are in the set, shape ``(total,)``."""
        if self.rising:
            return _unpacked(self.content, self.total)
        mask = np.zeros(self.total, dtype=np.bool_)
        mask[self.numbers] = True
        return mask

    @property
    def digest(self) -> str:
        """What tells it from other sets."""
        return hashlib.sha256(f"{self.size}/{self.total}/{self.rising}/".encode() + self.content).hexdigest()


@dataclass(frozen=True)
class ListedRows(RowFilter):
    """Keeps the rows that are listed, a bit for each row of a row group.

    Parameters
    ----------
    bits : dict of (str, int) to bytes
        By file and row group.
    """

    bits: Mapping[tuple[str, int], bytes] = field(default_factory=dict, compare=False, repr=False)

    def mask(self, file: str, row_group: int, num_rows: int) -> BoolArray:
        content = self.bits.get((file, row_group))
        return np.zeros(num_rows, dtype=np.bool_) if content is None else _unpacked(content, num_rows)


def part_of(dataset: Dataset, rows: RowSet) -> Dataset:
    """The part of a dataset that holds these rows, in the dataset's order.

    Raises
    ------
    BadParameter
        A row is in the set twice.
    """
    mask = rows.mask
    if int(np.count_nonzero(mask)) != rows.size:
        raise BadParameter(
            "cv= puts a row into a fold more than once.",
            why="Each row of a part of the data is read once.",
            fix="Deal out every row at most once, or allow more memory for fits on one worker with memory=.",
        )
    bits = {
        (block.name, block.row_group): _packed(inside) for block, inside in _by_block(dataset, mask) if inside.any()
    }
    return replace(dataset, row_filters=(*dataset.row_filters, ListedRows(f"listed/{rows.digest}", 0, 0, bits=bits)))


@dataclass(frozen=True, eq=False)
class ListedFolds:
    """Sorts rows into folds by a list; it answers like :class:`~parquetry.classical.folds.Folds`.

    Parameters
    ----------
    count : int
        How many folds there are.
    by_block : dict of int to bytes
        The folds of a block's rows; 0 for rows that a filter leaves out.
    """

    count: int
    by_block: Mapping[int, bytes]

    @classmethod
    def of_tests(cls, dataset: Dataset, tests: list[RowSet]) -> ListedFolds:
        """Folds that are each other's complements, from the rows that each holds out."""
        folds = np.zeros(tests[0].total, dtype=np.uint16)
        for k, test in enumerate(tests):
            folds[test.mask] = k
        parts = _by_block(dataset, folds)
        return cls(len(tests), {block.index: zlib.compress(part.tobytes(), 1) for block, part in parts})

    def of(self, batch: Any) -> IntArray:
        """The fold of each row of a batch, shape ``(n_rows,)``."""
        stored = np.frombuffer(zlib.decompress(self.by_block[batch.block.index]), dtype=np.uint16)
        folds: IntArray = stored[batch.rows].astype(np.int64)
        return folds

    def parts(self, batch: Any) -> list[tuple[int, slice | IntArray]]:
        """Each fold's rows of a batch: a slice where they stand together, else their positions."""
        folds = self.of(batch)
        found: list[tuple[int, slice | IntArray]] = []
        for k in np.unique(folds).tolist():
            here = np.flatnonzero(folds == k)
            together = int(here[-1]) - int(here[0]) == len(here) - 1
            found.append((k, slice(int(here[0]), int(here[-1]) + 1) if together else here))
        return found


def _by_block(dataset: Dataset, values: npt.NDArray[Any]) -> list[tuple[Any, npt.NDArray[Any]]]:
    """A value for each row of a dataset as an array for each block; zero for rows that are left out."""
    found, start = [], 0
    for block in dataset.blocks:
        inside = combined_mask(dataset.row_filters, block.name, block.row_group, block.num_rows)
        count = block.num_rows if inside is None else int(np.count_nonzero(inside))
        own = values[start : start + count]
        if inside is not None:
            part = np.zeros(block.num_rows, dtype=values.dtype)
            part[inside] = own
            own = part
        found.append((block, own))
        start += count
    return found


def _packed(mask: BoolArray) -> bytes:
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def _unpacked(content: bytes, count: int) -> BoolArray:
    bits = np.frombuffer(zlib.decompress(content), dtype=np.uint8)
    return np.unpackbits(bits, count=count).view(np.bool_)
