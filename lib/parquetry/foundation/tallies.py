"""Tallies: how much weight lies at each value of a column, in order, in bounded memory.

Values are taken as 64-bit keys in their order (:mod:`parquetry.foundation.radix`). A tally holds
every distinct key while they are few; above its cap, the cells of the finest grid over the keys
that has no more of them occupied. A cell knows the least and the greatest key in it: one whose
keys are all the same is as exact as a key.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.fitting import Pass
from parquetry.foundation.positions import Values
from parquetry.foundation.radix import KeyArray, from_keys, to_keys
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, View

MassArray = npt.NDArray[Any]

CAP = 2**16
"""Most cells of one column, unless told otherwise."""
NO_CAP = sys.maxsize
_MOST_RUNS = 64  # joined one by one they would be copied over and over; too many cost more than they save
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass
class Tally:
    """Keys, or cells of keys, in rising order without overlap.

    Attributes
    ----------
    low, high : ndarray of uint64, shape (n_cells,)
        The least and the greatest key of each; the same array where all are single keys.
    mass : ndarray, shape (n_cells,)
        How many rows each has, or how much weight; never zero.
    """

    low: KeyArray
    high: KeyArray
    mass: MassArray

    def __len__(self) -> int:
        return len(self.low)

    @property
    def exact(self) -> npt.NDArray[np.bool_]:
        """Which cells hold one key only."""
        return np.equal(self.low, self.high)


@dataclass
class Tallied:
    """A tally that is being collected: parts that are joined when they are asked for.

    Attributes
    ----------
    runs : list of Tally
    shift : int
        Keys that agree but for so many low bits share a cell.
    """

    runs: list[Tally]
    shift: int = 0


def tally(values: FloatArray, weights: FloatArray | None = None) -> Tally:
    """The tally of a column, one cell a distinct value (-0.0 counts as 0.0; not for NaN).

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
    weights : ndarray of shape (n_rows,), default None
        Rows without weight are left out; None counts rows.
    """
    if weights is None:
        keys = np.sort(to_keys(values + 0.0))
        starts = starts_of(keys)
        counts = np.diff(np.append(starts, len(keys)))
        keys = keys if len(starts) == len(keys) else keys[starts]
        return Tally(keys, keys, counts.astype(np.min_scalar_type(int(counts.max(initial=0)))))
    kept = weights != 0
    if not kept.all():
        values, weights = values[kept], weights[kept]
    keys = to_keys(values + 0.0)
    order = np.argsort(keys)
    return grouped(keys[order], None, weights[order].astype(np.float64), None)


def tallied(values: FloatArray, weights: FloatArray | None = None, cap: int = CAP) -> Tallied:
    """The beginning of a tally that is collected from many parts."""
    return _within(Tallied([tally(values, weights)]), cap)


def added(left: Tallied, right: Tallied, cap: int = CAP) -> Tallied:
    """Both together; joined only when they would become too large."""
    both = Tallied(left.runs + right.runs, max(left.shift, right.shift))
    if len(both.runs) > _MOST_RUNS:
        both = Tallied([_joined(both)], both.shift)
    return _within(both, cap)


def collected(state: Tallied, shift: int = 0) -> Tally:
    """All parts as one tally, its cells at least as coarse as ``shift``."""
    if len(state.runs) == 1 and shift <= state.shift:
        return state.runs[0]
    return _joined(Tallied(state.runs, max(shift, state.shift)))


def grouped(low: KeyArray, high: KeyArray | None, mass: MassArray, cells: KeyArray | None) -> Tally:
    """Rising entries with neighbors of one cell put together; None stands for ``low``."""
    starts = starts_of(low if cells is None else cells)
    if len(starts) == len(low):
        return Tally(low, low if high is None else high, mass)
    # Small types, which counts are kept in, would overflow.
    sums = np.add.reduceat(mass, starts, dtype=np.float64 if mass.dtype.kind == "f" else np.int64)
    least = low[starts]
    if high is None and cells is None:
        return Tally(least, least, sums)
    return Tally(least, np.maximum.reduceat(low if high is None else high, starts), sums)


# --- quantiles ------------------------------------------------------------------------------
class Tallies(Reduction[list[Tallied], list[Tally]]):
    """The tally of each column.

    Parameters
    ----------
    values : callable
        Gives a batch's columns as 1-D float arrays without NaN; picklable.
    cap : int
        Most cells of one column.
    """

    label = "tallies"

    def __init__(self, values: Values, cap: int = CAP) -> None:
        self.values, self.cap = values, cap

    def partial(self, batch: Batch) -> list[Tallied]:
        return [tallied(column, batch.weights, self.cap) for column in self.values(batch)]

    def merge(self, left: list[Tallied], right: list[Tallied]) -> list[Tallied]:
        return [added(a, b, self.cap) for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[Tallied]) -> list[Tally]:
        return [collected(t) for t in state]


class TalliesInside(Reduction[list[Tallied], list[Tally]]):
    """The tally of what lies in each of some closed intervals of keys.

    Parameters
    ----------
    intervals : sequence of (column, low, high)
    values : callable
        As in the first pass.
    """

    label = "tallies"

    def __init__(self, intervals: Sequence[tuple[int, int, int]], values: Values, cap: int = CAP) -> None:
        self.intervals, self.values, self.cap = tuple(intervals), values, cap

    def partial(self, batch: Batch) -> list[Tallied]:
        columns, weights = self.values(batch), batch.weights
        found = []
        for column, low, high in self.intervals:
            ends = from_keys(np.array([low, high], dtype=np.uint64))
            inside = (columns[column] >= ends[0]) & (columns[column] <= ends[1])
            part = None if weights is None else weights[inside]
            found.append(tallied(columns[column][inside], part, self.cap))
        return found

    def merge(self, left: list[Tallied], right: list[Tallied]) -> list[Tallied]:
        return [added(a, b, self.cap) for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[Tallied]) -> list[Tally]:
        return [collected(t) for t in state]


def quantiles(
    first: Sequence[Tally], view: View, *, q: Sequence[float], values: Values, cap: int = CAP
) -> Generator[list[Any], list[Any], FloatArray]:
    """Exact quantiles of weighted columns: 0 further passes (few distinct values) to 5, mostly 1.

    The least value that has at least the share ``q`` of the weight at or below it; where it has
    that share exactly, the mean of it and of the next value: NumPy's "averaged_inverted_cdf" for
    equal weights, and what scikit-learn takes for a weighted median.
    Source: Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996).

    Parameters
    ----------
    first : sequence of Tally
        One a column, from :class:`Tallies` over the same view.
    view : View
    q : sequence of float in [0, 1]
    values : callable
        As in the first pass.
    cap : int
        Most cells of one interval.

    Returns
    -------
    ndarray of shape (n_columns, n_q)
        NaN where a column has no weight.
    """
    searches = [[_Search(column, tally, share) for share in q] for column, tally in enumerate(first)]
    pending = [s for row in searches for s in row if s.interval is not None]
    while pending:
        wanted = sorted({s.interval for s in pending if s.interval is not None})
        (found,) = yield [Pass(TalliesInside(wanted, values, cap), view)]
        inside = dict(zip(wanted, found, strict=True))
        for search in pending:
            if search.interval is not None:
                search.look(inside[search.interval])
        pending = [s for s in pending if s.interval is not None]
    return np.array([[s.value for s in row] for row in searches])


class _Search:
    """One quantile of one column: found, or in an interval of keys that must be looked into."""

    def __init__(self, column: int, tally: Tally, q: float) -> None:
        self.column, self.value = column, float("nan")
        self.interval: tuple[int, int, int] | None = None
        self._below = 0.0
        self._next: float | None = None
        total = float(np.cumsum(tally.mass, dtype=np.float64)[-1]) if len(tally) else 0.0
        # At q = 0 that is the first value that has any weight.
        self._rank = max(q * total, float(np.nextafter(0.0, 1.0)))
        if total > 0:
            self.look(tally)

    def look(self, tally: Tally) -> None:
        """Find the rank among cells that hold all the weight above what is known to be below."""
        ends = self._below + np.cumsum(tally.mass, dtype=np.float64)
        # Weights add up in another order than before: the last bits may place the rank past the end.
        i = min(int(np.searchsorted(ends, self._rank)), len(ends) - 1)
        after = _value(tally.low[i + 1]) if i + 1 < len(tally) else self._next
        if ends[i] - self._rank <= _EPSILON:
            self._found(_value(tally.high[i]), after)
        elif tally.low[i] == tally.high[i]:
            self._found(_value(tally.low[i]), None)
        else:
            self._below, self._next = float(ends[i - 1]) if i else self._below, after
            self.interval = (self.column, int(tally.low[i]), int(tally.high[i]))

    def _found(self, value: float, after: float | None) -> None:
        self.value, self.interval = value if after is None else (value + after) / 2, None


def _value(key: Any) -> float:
    return float(from_keys(np.array([key], dtype=np.uint64))[0])


# --- how parts are joined -------------------------------------------------------------------
def _joined(state: Tallied) -> Tally:
    low = np.concatenate([run.low for run in state.runs])
    exact = all(run.high is run.low for run in state.runs)
    mass = np.concatenate([run.mass for run in state.runs])
    order = np.argsort(low, kind="stable")  # of runs that are in order already: it merges them
    low = low[order]
    high = None if exact else np.concatenate([run.high for run in state.runs])[order]
    return grouped(low, high, mass[order], low >> np.uint64(state.shift) if state.shift else None)


def _within(state: Tallied, cap: int) -> Tallied:
    """The same, coarser where it has more than twice ``cap`` entries."""
    if sum(map(len, state.runs)) <= 2 * cap:
        return state
    whole = _joined(state)
    shift = _shift_for(whole.low, cap)
    if shift > state.shift:
        whole = grouped(whole.low, whole.high, whole.mass, whole.low >> np.uint64(shift))
    return Tallied([whole], max(shift, state.shift))


def _shift_for(keys: KeyArray, cap: int) -> int:
    """The fewest low bits without which rising keys make at most ``cap`` cells."""
    apart = keys[1:] ^ keys[:-1]
    # Neighbors share a cell when the highest bit in which they differ is left out. A float may
    # round it up by one: the grid is then coarser than it need be, never too fine.
    _, bits = np.frexp(apart.astype(np.float64))
    splits = np.bincount(bits, minlength=66)
    cells = 1 + np.cumsum(splits[::-1])[::-1][1:]  # cells[s]: as many, without the s lowest bits
    return min(63, int(np.argmax(cells <= cap)))


def starts_of(values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where each group of equal neighbors begins."""
    if not len(values):
        return np.empty(0, dtype=np.int64)
    return np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
