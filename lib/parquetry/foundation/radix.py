"""Radix histograms: the passes by which exact quantiles are found, digit by digit.

A float64's bits, with the sign turned so that they are ordered as the values are, form a 64-bit
key. The first pass counts its top 16 bits; each further pass looks only into the intervals that
hold a wanted rank. Radix selection: Knuth, "The Art of Computer Programming" 3, 5.2.5.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.foundation.positions import Values, features
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray

KeyArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]

_STATE_VALUES = 2**20  # values that a state may hold, over all columns
_COLUMN_VALUES = 2**16  # values that it may hold of one column
_FEWEST_VALUES = 256
DIGITS = 16  # bits that the first pass resolves
_LATER_DIGITS = 12  # bits that a further pass resolves: enough, with arrays that a cache holds
_SIGN = np.uint64(1 << 63)
_TOP = 3 if sys.byteorder == "little" else 0  # where a float64's top 16 bits lie among its four


# --- keys -----------------------------------------------------------------------------------
def to_keys(values: FloatArray) -> KeyArray:
    """Unsigned integers in the order of the values (-0.0 just below 0.0; not for NaN)."""
    bits = np.ascontiguousarray(values).view(np.int64)
    return bits.view(np.uint64) ^ ((bits >> 63).view(np.uint64) | _SIGN)


def from_keys(keys: KeyArray) -> FloatArray:
    """The values of keys."""
    signs = (keys >> np.uint64(63)).astype(np.int64) - 1
    return (keys ^ (signs.view(np.uint64) | _SIGN)).view(np.float64)


def key_of(value: float) -> int:
    """The key of one value."""
    return int(to_keys(np.array([value]))[0])


# --- the first pass -------------------------------------------------------------------------
@dataclass
class Histogram:
    """What the first pass knows of one column.

    Attributes
    ----------
    count : int
        Values that are not NaN.
    low, high : float
        The extremes.
    values : ndarray or None
        All of them, while they are few.
    bins, counts : ndarray or None
        Else the occupied top digits in order, and how many values each has.
    """

    count: int
    low: float
    high: float
    values: FloatArray | None
    bins: IntArray | None = None
    counts: IntArray | None = None


class FirstHistogram(Reduction[list[Histogram], list[Histogram]]):
    """The first pass: few values as they are, many as a histogram of their top 16 bits.

    Parameters
    ----------
    values : callable, default features
        Gives a batch's columns as 1-D float arrays; picklable. NaN is left out.
    """

    label = "quantiles"

    def __init__(self, values: Values = features) -> None:
        self.values = values

    def partial(self, batch: Batch) -> list[Histogram]:
        columns = self.values(batch)
        cap = cap_of(len(columns))
        return [_histogram(column, cap) for column in columns]

    def merge(self, left: list[Histogram], right: list[Histogram]) -> list[Histogram]:
        cap = cap_of(len(left))
        return [_merged(a, b, cap) for a, b in zip(left, right, strict=True)]


def _histogram(column: FloatArray, cap: int) -> Histogram:
    values = np.ascontiguousarray(column, dtype=np.float64)
    low = float(values.min()) if len(values) else 0.0
    if np.isnan(low):
        values = values[~np.isnan(values)]
        low = float(values.min()) if len(values) else 0.0
    if not len(values):
        return Histogram(0, np.inf, -np.inf, np.empty(0))
    high = float(values.max())
    if len(values) <= cap:
        return Histogram(len(values), low, high, values.copy())
    return Histogram(len(values), low, high, None, *_binned(values))


def _binned(values: FloatArray) -> tuple[IntArray, IntArray]:
    """Occupied top digits of keys in order, and their counts."""
    raw = np.bincount(values.view(np.uint16)[_TOP::4], minlength=1 << DIGITS)
    half = 1 << (DIGITS - 1)
    # Negative floats come with the sign bit set, and in falling order.
    dense = np.concatenate([raw[half:][::-1], raw[:half]])
    bins = np.flatnonzero(dense)
    return bins, dense[bins]


def _merged(left: Histogram, right: Histogram, cap: int) -> Histogram:
    count, low, high = left.count + right.count, min(left.low, right.low), max(left.high, right.high)
    if left.values is not None and right.values is not None and count <= cap:
        return Histogram(count, low, high, np.concatenate([left.values, right.values]))
    dense = np.zeros(1 << DIGITS, dtype=np.int64)
    for side in (left, right):
        if side.values is not None:
            bins, counts = _binned(side.values)
        else:
            bins, counts = known(side.bins), known(side.counts)
        dense[bins] += counts
    occupied = np.flatnonzero(dense)
    return Histogram(count, low, high, None, occupied, dense[occupied])


# --- the further passes ---------------------------------------------------------------------
@dataclass(frozen=True)
class Bracket:
    """A closed interval of keys that holds at least one wanted rank of a column.

    Parameters
    ----------
    column : int
    low, high : int
        Keys.
    below : int
        Values of the column below the interval.
    count : int
        Values in it.
    """

    column: int
    low: int
    high: int
    below: int
    count: int

    @property
    def shift(self) -> int:
        """How many low bits a pass leaves open: the interval has at most 2**12 cells."""
        return max(0, (self.high - self.low).bit_length() - _LATER_DIGITS)


@dataclass
class Cells:
    """What a further pass knows of a bracket: its values' keys, or occupied cells in order.

    Attributes
    ----------
    keys : ndarray or None
        The keys of all values, where they are few.
    cells, counts : ndarray or None
    sample : ndarray or None
        One key of each cell.
    pure : ndarray or None
        Whether all values of the cell have that key.
    """

    keys: KeyArray | None
    cells: IntArray | None = None
    counts: IntArray | None = None
    sample: KeyArray | None = None
    pure: npt.NDArray[np.bool_] | None = None


class LaterHistogram(Reduction[list[Cells], list[Cells]]):
    """A further pass: what lies in each bracket, in finer cells or value by value.

    Parameters
    ----------
    brackets : sequence of Bracket
    values : callable
        As in the first pass.
    """

    label = "quantiles"

    def __init__(self, brackets: Sequence[Bracket], values: Values) -> None:
        self.brackets, self.values = tuple(brackets), values
        self.cap = cap_of(len(self.brackets))

    def partial(self, batch: Batch) -> list[Cells]:
        columns = self.values(batch)
        return [self._inside(columns[b.column], b) for b in self.brackets]

    def merge(self, left: list[Cells], right: list[Cells]) -> list[Cells]:
        return [_merged_cells(a, b) for a, b in zip(left, right, strict=True)]

    def _inside(self, column: FloatArray, bracket: Bracket) -> Cells:
        values = np.ascontiguousarray(column, dtype=np.float64)
        low, high = np.uint64(bracket.low), np.uint64(bracket.high)
        if bracket.low >> 48 == bracket.high >> 48:
            # One look at the top 16 bits, as they are stored, rules out most values.
            top = from_keys(np.array([low])).view(np.uint16)[_TOP]
            values = values[values.view(np.uint16)[_TOP::4] == top]
        keys = to_keys(values)
        keys = keys[(keys >= low) & (keys <= high)]
        if bracket.count <= self.cap:
            return Cells(keys)
        cells = ((keys - low) >> np.uint64(bracket.shift)).astype(np.int64)
        return _celled(cells, np.ones(len(cells), dtype=np.int64), keys, np.ones(len(cells), dtype=np.bool_))


def _merged_cells(left: Cells, right: Cells) -> Cells:
    if left.keys is not None and right.keys is not None:
        return Cells(np.concatenate([left.keys, right.keys]))
    return _celled(
        np.concatenate([known(left.cells), known(right.cells)]),
        np.concatenate([known(left.counts), known(right.counts)]),
        np.concatenate([known(left.sample), known(right.sample)]),
        np.concatenate([known(left.pure), known(right.pure)]),
    )


def _celled(cells: IntArray, counts: IntArray, keys: KeyArray, pure: npt.NDArray[np.bool_]) -> Cells:
    """Entries of the same cell put together."""
    # A bincount's weights are floats, which hold counts exactly up to 2**53.
    dense = np.bincount(cells, weights=counts, minlength=1 << _LATER_DIGITS).astype(np.int64)
    sample = np.zeros(1 << _LATER_DIGITS, dtype=np.uint64)
    sample[cells] = keys
    unmixed = np.ones(1 << _LATER_DIGITS, dtype=np.bool_)
    unmixed[cells[~pure | (sample[cells] != keys)]] = False
    occupied = np.flatnonzero(dense)
    return Cells(None, occupied, dense[occupied], sample[occupied], unmixed[occupied])


def cap_of(parts: int) -> int:
    """How many values of one part a state of so many parts may hold."""
    return min(_COLUMN_VALUES, max(_FEWEST_VALUES, _STATE_VALUES // max(1, parts)))


def known(array: npt.NDArray[Any] | None) -> npt.NDArray[Any]:
    """An array of a state that holds cells; one that holds values has none."""
    if array is None:
        raise TypeError("The state holds values, not cells.")
    return array
