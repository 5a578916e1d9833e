"""Exact order statistics at many ranks, weighted or not, of columns of any length, dense or sparse.

As in :mod:`.quantiles`, each pass narrows the interval of keys around each wanted rank; but all intervals of a
column are looked into at once, so that a thousand quantiles take hardly longer than three. Radix selection:
Knuth, "The Art of Computer Programming" 3, 5.2.5.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.fitting import Pass
from parquetry.foundation.positions import Values, features
from parquetry.foundation.radix import IntArray, KeyArray, from_keys, key_of
from parquetry.foundation.rank_counts import Brackets, Cells, FirstCells, FirstCounts, LaterCounts
from parquetry.view import FloatArray, View

__all__ = ["FirstCounts", "Positions", "Wanted", "column_cells", "order_statistics", "positions"]

MOST_CELLS = 2**18
"""Cells that a state may hold, over all columns."""
MOST_KEPT = 2**21
"""Values that all states of a pass may hold together."""
_MOST_BITS, _FEWEST_BITS = 12, 2
_ZERO = np.uint64(key_of(0.0))
# method: alpha, beta of Hyndman & Fan, "Sample quantiles in statistical packages", The American Statistician 50 (1996)
_PLOTTING = {
    "interpolated_inverted_cdf": (0.0, 1.0),
    "hazen": (0.5, 0.5),
    "weibull": (0.0, 0.0),
    "median_unbiased": (1 / 3.0, 1 / 3.0),
    "normal_unbiased": (3 / 8.0, 3 / 8.0),
}


@dataclass(frozen=True)
class Wanted:
    """Which values of a column are wanted: by the weight of all values up to each of them.

    Attributes
    ----------
    at : ndarray of float of shape (n_wanted,)
        The smallest value is wanted up to which the weights (each 1 where there are none) reach this sum.
    beyond : ndarray of bool of shape (n_wanted,)
        Whether they must exceed it; where they never do, the last value is given.
    """

    at: FloatArray
    beyond: npt.NDArray[np.bool_]

    @classmethod
    def ranks(cls, ranks: Any) -> Wanted:
        """Order statistics by rank, counted from 0."""
        at = np.asarray(ranks, dtype=np.float64) + 1.0
        return cls(at, np.zeros(len(at), dtype=np.bool_))


@dataclass(frozen=True)
class Positions:
    """Where quantiles of a column lie between its order statistics.

    Attributes
    ----------
    lower, upper : ndarray of int64
    fraction : ndarray of float
    """

    lower: IntArray
    upper: IntArray
    fraction: FloatArray

    @property
    def wanted(self) -> Wanted:
        """The order statistics: the lower ones, then the upper ones."""
        return Wanted.ranks(np.r_[self.lower, self.upper])

    def between(self, found: FloatArray, dtype: Any = np.float64) -> FloatArray:
        """The quantiles from the order statistics, from the nearer one, as NumPy interpolates them."""
        lower, upper = found[: len(self.lower)].astype(dtype), found[len(self.lower) :].astype(dtype)
        gap = upper - lower
        near = upper - gap * (1 - self.fraction)
        quantiles: FloatArray = np.where(self.fraction >= 0.5, near, lower + gap * self.fraction)
        return quantiles


def positions(q: Any, count: int, method: str = "linear") -> Positions:
    """Where ``numpy.quantile`` finds the quantiles of so many values.

    Parameters
    ----------
    q : array-like of float in [0, 1]
    count : int
        At least 1.
    method : str, default "linear"
        One of the nine methods of Hyndman & Fan, by NumPy's names.
    """
    q = np.asarray(q, dtype=np.float64)
    if method in ("inverted_cdf", "closest_observation"):
        place = count * q - 1 - (0.5 if method == "closest_observation" else 0.0)
        down = np.floor(place)
        stay = place == down
        if method == "closest_observation":
            stay &= down % 2 == 1  # of two that are equally near, the one with the even number
        rank = np.clip(np.where(stay, down, down + 1), 0, count - 1).astype(np.int64)
        return Positions(rank, rank, np.zeros(len(q)))
    if method == "linear":
        place = (count - 1) * q
    elif method == "averaged_inverted_cdf":
        place = count * q - 1
    else:
        alpha, beta = _PLOTTING[method]
        place = count * q + (alpha + q * (1 - alpha - beta)) - 1
    down = np.floor(place)
    fraction = place - down
    if method == "averaged_inverted_cdf":
        fraction = np.where(fraction == 0, 0.5, 1.0)
    lower = np.clip(down, 0, count - 1).astype(np.int64)
    upper = np.where(place < 0, 0, np.minimum(down + 1, count - 1)).astype(np.int64)
    return Positions(lower, upper, fraction)


def column_cells(first: FirstCells, *, zeros: bool = True) -> list[Cells]:
    """Each column's cells after the first pass; ``zeros`` says whether what a sparse X does not store counts."""
    cells = [part.cells() for part in first.columns]
    if not zeros:
        return cells
    return [
        c if part.stored == first.rows else c.with_zeros(first.rows - part.stored)
        for c, part in zip(cells, first.columns, strict=True)
    ]


def order_statistics(
    cells: Sequence[Cells],
    wanted: Sequence[Wanted],
    view: View,
    *,
    values: Values = features,
    weighted: bool = False,
    zeros: Sequence[int] | None = None,
) -> Generator[list[Any], list[Any], list[FloatArray]]:
    """From the first pass to the values at the wanted ranks of each column, in up to about 5 passes more.

    Parameters
    ----------
    cells : sequence of Cells
        From :func:`column_cells`.
    wanted : sequence of Wanted
        One a column.
    view : View
    values, weighted
        As in :class:`FirstCounts`.
    zeros : sequence of int or None, default None
        How many zeros each column has that are not stored.

    Returns
    -------
    list of ndarray
        One value for each wanted one, NaN where the column has no value; -0.0 becomes 0.0.
    """
    searches = [_Search(w) for w in wanted]
    for search, known in zip(searches, cells, strict=True):
        search.learn(known)
    while any(len(search.low) for search in searches):
        (found,) = yield [Pass(LaterCounts(_brackets(searches), values, weighted=weighted), view)]
        for j, (search, known) in enumerate(zip(searches, found, strict=True)):
            inside = bool(((search.low <= _ZERO) & (search.high >= _ZERO)).any())
            search.learn(known.with_zeros(zeros[j]) if zeros is not None and zeros[j] and inside else known)
    return [search.found + 0.0 for search in searches]


class _Search:
    """The wanted values of one column: found, or in a bracket that is still open."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.found = np.full(len(wanted.at), np.nan)
        self.low, self.high = np.zeros(1, dtype=np.uint64), np.full(1, 2**64 - 1, dtype=np.uint64)
        self.below, self.count = np.zeros(1), np.zeros(1, dtype=np.int64)
        self.where = np.zeros(len(wanted.at), dtype=np.int64)  # each one's bracket; -1 once it is found

    def learn(self, cells: Cells) -> None:
        """Take what a pass has found in the brackets."""
        open_ = np.flatnonzero(self.where >= 0)
        if not len(cells.low) or not len(open_):
            self.low = self.low[:0]  # a column without values
            return
        bracket = self.where[open_]
        starts = np.searchsorted(cells.low, self.low)
        stops = np.searchsorted(cells.low, self.high, side="right")
        ends = np.cumsum(cells.mass)
        before = np.where(starts > 0, ends[starts - 1], 0.0)
        rest = self.wanted.at[open_] - self.below[bracket] + before[bracket]
        reached = np.searchsorted(ends, rest)
        i = np.where(self.wanted.beyond[open_], np.searchsorted(ends, rest, side="right"), reached)
        i = np.clip(i, starts[bracket], stops[bracket] - 1)
        below = self.below[bracket] + (ends[i] - cells.mass[i] - before[bracket])
        done = cells.low[i] == cells.high[i]
        self.found[open_[done]] = from_keys(cells.low[i[done]])
        self.where[open_[done]] = -1
        chosen, first, place = np.unique(i[~done], return_index=True, return_inverse=True)
        self.low, self.high, self.count = cells.low[chosen], cells.high[chosen], cells.count[chosen]
        self.below = below[~done][first]
        self.where[open_[~done]] = place


def _brackets(searches: Sequence[_Search]) -> list[Brackets]:
    """The open brackets of all columns: the lightest are read value by value, the others share the cells."""
    counts = np.concatenate([search.count[: len(search.low)] for search in searches])
    order = np.argsort(counts, kind="stable")
    kept = np.zeros(len(counts), dtype=np.bool_)
    kept[order] = np.cumsum(counts[order]) <= MOST_KEPT
    bits = int(np.log2(MOST_CELLS / max(1, int((~kept).sum()))))
    bits = min(_MOST_BITS, max(_FEWEST_BITS, bits))
    out, start = [], 0
    for search in searches:
        n = len(search.low)
        out.append(_column_brackets(search.low, search.high, kept[start : start + n], bits))
        start += n
    return out


def _column_brackets(low: KeyArray, high: KeyArray, kept: npt.NDArray[np.bool_], bits: int) -> Brackets:
    lengths = [int(span).bit_length() for span in high - low]
    shift = np.array([max(0, n - bits) for n in lengths], dtype=np.uint64)
    sizes = np.where(kept, 0, ((high - low) >> shift).astype(np.int64) + 1)
    offset = np.where(kept, -1, np.cumsum(sizes) - sizes)
    return Brackets(low, high, shift, offset, int(sizes.sum()))
