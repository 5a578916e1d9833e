"""What the passes of :mod:`.ranks` count: a column's values in cells of their keys, few values as they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parquetry.block_cache import CachedBatch
from parquetry.foundation.positions import Values, features
from parquetry.foundation.radix import DIGITS, IntArray, KeyArray, cap_of, key_of
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns, FloatArray

_CHUNK = 32_768  # keys that a core's own cache holds, with the cells that they go to
_BINS = 1 << DIGITS
_ZERO = np.uint64(key_of(0.0))
_NO_KEYS: KeyArray = np.empty(0, dtype=np.uint64)
_NO_WEIGHTS: FloatArray = np.empty(0)


@dataclass
class Cells:
    """A column's values in order, as far as they are told apart.

    Attributes
    ----------
    low, high : ndarray of uint64
        The keys of each cell's extremes; equal where it holds a single value.
    count : ndarray of int64
        Its values.
    mass : ndarray of float
        The sum of their weights; ``count`` where there are none.
    """

    low: KeyArray
    high: KeyArray
    count: IntArray
    mass: FloatArray

    @property
    def total(self) -> float:
        """The sum of all weights; without weights the number of values."""
        return float(np.cumsum(self.mass)[-1]) if len(self.mass) else 0.0

    def with_zeros(self, zeros: int) -> Cells:
        """The same with so many zeros more: a sparse column does not store them."""
        at = np.flatnonzero((self.low <= _ZERO) & (self.high >= _ZERO))
        if len(at):
            count, mass = self.count.copy(), self.mass.copy()
            count[at[0]] += zeros
            mass[at[0]] += zeros
            return Cells(self.low, self.high, count, mass)
        i = int(np.searchsorted(self.low, _ZERO))
        low, high = np.insert(self.low, i, _ZERO), np.insert(self.high, i, _ZERO)
        return Cells(low, high, np.insert(self.count, i, zeros), np.insert(self.mass, i, float(zeros)))


@dataclass
class Part:
    """A state of one column: occupied cells by their number, and keys that are kept as they are.

    Attributes
    ----------
    index, count, mass, low, high : ndarray
        Of the occupied cells.
    keys, weights : ndarray
        The keys; their weights, empty where there are none.
    stored : int
        How many values the column stores, whatever they are.
    """

    index: IntArray
    count: IntArray
    mass: FloatArray
    low: KeyArray
    high: KeyArray
    keys: KeyArray
    weights: FloatArray
    stored: int = 0

    def cells(self) -> Cells:
        """Both together, in order."""
        weighted = len(self.weights) > 0
        order = np.argsort(self.keys, kind="stable") if weighted else None
        keys = np.sort(self.keys) if order is None else self.keys[order]
        first = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])[: len(keys)]
        counts = np.diff(np.r_[first, len(keys)])
        masses = np.add.reduceat(self.weights[order], first) if weighted else counts.astype(np.float64)
        low, high = np.r_[self.low, keys[first]], np.r_[self.high, keys[first]]
        count, mass = np.r_[self.count, counts], np.r_[self.mass, masses]
        order = np.argsort(low, kind="stable")
        return Cells(low[order], high[order], count[order], mass[order])


class _Dense:
    """All cells of one column while a state is made."""

    def __init__(self, size: int, *, weighted: bool) -> None:
        self.count = np.zeros(size, dtype=np.int64)
        self.mass = np.zeros(size if weighted else 0)
        self.low, self.high = np.empty(size, dtype=np.uint64), np.empty(size, dtype=np.uint64)

    def add(self, part: Part) -> None:
        """The cells of a state, added to these."""
        i = part.index
        fresh = self.count[i] == 0
        self.low[i] = np.where(fresh, part.low, np.minimum(self.low[i], part.low))
        self.high[i] = np.where(fresh, part.high, np.maximum(self.high[i], part.high))
        self.count[i] += part.count
        if len(self.mass):
            self.mass[i] += part.mass

    def part(self, keys: KeyArray, weights: FloatArray, stored: int) -> Part:
        """The occupied cells, beside kept keys."""
        i = np.flatnonzero(self.count)
        count = self.count[i]
        mass = self.mass[i] if len(self.mass) else count.astype(np.float64)
        return Part(i, count, mass, self.low[i], self.high[i], keys, weights, stored)


@dataclass
class FirstCells:
    """What the first pass gives.

    Attributes
    ----------
    rows : int
    columns : list of Part
    """

    rows: int
    columns: list[Part]


class FirstCounts(Reduction[FirstCells, FirstCells]):
    """The first pass: few values as they are, many in bins of their keys' top 16 bits. NaN is left out.

    Parameters
    ----------
    values : callable, default features
        Gives a batch's columns as 1-D float arrays; picklable. Of a sparse X the stored values are counted.
    weighted : bool, default False
        Weight the rows by the view's sample weight; those without weight are left out.
    """

    label = "quantiles"

    def __init__(self, values: Values = features, *, weighted: bool = False) -> None:
        self.values, self.weighted = values, weighted

    def partial(self, batch: Batch) -> FirstCells:
        weights = batch.weights if self.weighted else None
        columns, width = _columns(batch, self.values)
        cap = cap_of(width)
        return FirstCells(batch.num_rows, [self._part(c, weights, cap) for c in columns])

    def merge(self, left: FirstCells, right: FirstCells) -> FirstCells:
        cap = cap_of(len(left.columns))
        merged = [self._merged(a, b, cap) for a, b in zip(left.columns, right.columns, strict=True)]
        return FirstCells(left.rows + right.rows, merged)

    def _part(self, column: FloatArray, weights: FloatArray | None, cap: int) -> Part:
        from parquetry.foundation.rank_kernels import binned

        if len(column) <= cap:
            parts = [(k.copy(), w.copy()) for k, w in _keyed(column, weights)]
            keys = np.concatenate([k for k, _ in parts]) if parts else _NO_KEYS
            kept = np.concatenate([w for _, w in parts]) if parts else _NO_WEIGHTS
            return _kept(keys, kept, len(column))
        dense = _Dense(_BINS, weighted=self.weighted)
        for keys, kept in _keyed(column, weights):
            binned(keys, kept, dense.count, dense.mass, dense.low, dense.high)
        return dense.part(_NO_KEYS, _NO_WEIGHTS, len(column))

    def _merged(self, left: Part, right: Part, cap: int) -> Part:
        from parquetry.foundation.rank_kernels import binned

        stored = left.stored + right.stored
        if not len(left.index) and not len(right.index) and len(left.keys) + len(right.keys) <= cap:
            return _kept(np.r_[left.keys, right.keys], np.r_[left.weights, right.weights], stored)
        dense = _Dense(_BINS, weighted=self.weighted)
        for side in (left, right):
            dense.add(side)
            binned(side.keys, side.weights, dense.count, dense.mass, dense.low, dense.high)
        return dense.part(_NO_KEYS, _NO_WEIGHTS, stored)


@dataclass(frozen=True)
class Brackets:
    """Disjoint intervals of a column's keys in order, each with the same top 16 bits throughout.

    Attributes
    ----------
    low, high : ndarray of uint64
    shift : ndarray of uint64
        How many low bits a cell leaves open.
    offset : ndarray of int64
        Where a bracket's cells begin; -1 where its values are kept.
    size : int
        Cells of all of them.
    """

    low: KeyArray
    high: KeyArray
    shift: KeyArray
    offset: IntArray
    size: int

    @cached_property
    def table(self) -> IntArray:
        """For each value of the top 16 bits, the first bracket that has it or a higher one."""
        tops = (self.low >> np.uint64(64 - DIGITS)).astype(np.int64)
        return np.searchsorted(tops, np.arange(_BINS + 1)).astype(np.int64)


class LaterCounts(Reduction[list[Part], list[Cells]]):
    """A further pass: what lies in each bracket of each column, in finer cells or value by value.

    Parameters
    ----------
    brackets : sequence of Brackets
        One a column.
    values, weighted
        As in the first pass.
    """

    label = "quantiles"

    def __init__(self, brackets: Sequence[Brackets], values: Values, *, weighted: bool) -> None:
        self.brackets, self.values, self.weighted = tuple(brackets), values, weighted

    def partial(self, batch: Batch) -> list[Part]:
        weights = batch.weights if self.weighted else None
        columns, _ = _columns(batch, self.values)
        return [self._part(c, weights, b) for c, b in zip(columns, self.brackets, strict=True)]

    def merge(self, left: list[Part], right: list[Part]) -> list[Part]:
        return [self._merged(*sides) for sides in zip(left, right, self.brackets, strict=True)]

    def finish(self, state: list[Part]) -> list[Cells]:
        return [part.cells() for part in state]

    def _part(self, column: FloatArray, weights: FloatArray | None, brackets: Brackets) -> Part:
        from parquetry.foundation.rank_kernels import placed

        if not len(brackets.low):
            return _kept(_NO_KEYS, _NO_WEIGHTS, 0)
        dense = _Dense(brackets.size, weighted=self.weighted)
        out, kept = np.empty(_CHUNK, dtype=np.uint64), np.empty(_CHUNK if self.weighted else 0)
        parts = []
        table, b = brackets.table, brackets
        for keys, own in _keyed(column, weights):
            n = placed(
                keys, own, table, b.low, b.high, b.shift, b.offset,
                dense.count, dense.mass, dense.low, dense.high, out, kept,
            )  # fmt: skip
            if n:
                parts.append((out[:n].copy(), kept[:n].copy()))
        keys = np.concatenate([k for k, _ in parts]) if parts else _NO_KEYS
        return dense.part(keys, np.concatenate([w for _, w in parts]) if parts else _NO_WEIGHTS, 0)

    def _merged(self, left: Part, right: Part, brackets: Brackets) -> Part:
        keys, weights = np.r_[left.keys, right.keys], np.r_[left.weights, right.weights]
        if not len(left.index) and not len(right.index):
            return _kept(keys, weights, 0)
        dense = _Dense(brackets.size, weighted=self.weighted)
        dense.add(left)
        dense.add(right)
        return dense.part(keys, weights, 0)


def _kept(keys: KeyArray, weights: FloatArray, stored: int) -> Part:
    none = np.empty(0, dtype=np.int64)
    return Part(none, none, _NO_WEIGHTS, _NO_KEYS, _NO_KEYS, keys, weights, stored)


def _columns(batch: Any, values: Values) -> tuple[Iterator[FloatArray] | list[FloatArray], int]:
    """A batch's columns and their number; of a sparse X only what is stored."""
    if values is features and _is_sparse(batch):
        matrix = batch.matrix.tocsc()
        ends = matrix.indptr
        return (matrix.data[ends[j] : ends[j + 1]] for j in range(matrix.shape[1])), matrix.shape[1]
    columns = values(batch)
    return columns, len(columns)


def _is_sparse(batch: Any) -> bool:
    if isinstance(batch, CachedBatch):  # its matrix would have to be put together first
        return "X.data" in batch.arrays
    return not isinstance(batch.X, Columns) and hasattr(batch.matrix, "tocsc")


def _keyed(column: FloatArray, weights: FloatArray | None) -> Iterator[tuple[KeyArray, FloatArray]]:
    """A column's keys and their weights, a chunk at a time, in memory that is used again."""
    from parquetry.foundation.rank_kernels import ordered

    keys = np.empty(min(_CHUNK, len(column)), dtype=np.uint64)
    kept = _NO_WEIGHTS if weights is None else np.empty(len(keys))
    for start in range(0, len(column), _CHUNK):
        part = np.ascontiguousarray(column[start : start + _CHUNK], dtype=np.float64)
        own = _NO_WEIGHTS if weights is None else np.ascontiguousarray(weights[start : start + _CHUNK])
        n = ordered(part.view(np.uint64), own, keys, kept)
        yield keys[:n], kept[:n]
