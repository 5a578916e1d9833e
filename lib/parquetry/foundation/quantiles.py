"""Exact quantiles of columns of any length, in a few passes over bounded state.

The first pass keeps few values as they are and counts many by their leading bits; further passes
narrow the interval around each wanted rank until it holds few values, or only one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.fitting import Pass
from parquetry.foundation.positions import Values, features
from parquetry.foundation.radix import (
    DIGITS,
    Bracket,
    Cells,
    FirstHistogram,
    Histogram,
    IntArray,
    LaterHistogram,
    from_keys,
    key_of,
    known,
)
from parquetry.view import FloatArray, View

Hint = Callable[[int, int], Bracket | None]

__all__ = ["FirstHistogram", "Quantiles", "exact_quantiles", "refine"]


@dataclass(frozen=True)
class Quantiles:
    """Order statistics around each wanted quantile of each column, NaN where it has no value.

    Iterating gives one array a column: ``values``.

    Attributes
    ----------
    q : tuple of float
    count : ndarray of shape (n_columns,)
        Values that are not NaN.
    lower, upper : ndarray of shape (n_columns, n_q)
        The order statistics at the ranks below and above ``q * (count - 1)``.
    fraction : ndarray of shape (n_columns, n_q)
        Where the quantile lies between them, in [0, 1).
    """

    q: tuple[float, ...]
    count: IntArray
    lower: FloatArray
    upper: FloatArray
    fraction: FloatArray

    @property
    def values(self) -> FloatArray:
        """Shape ``(n_columns, n_q)``: ``numpy.nanmedian`` for 0.5, else ``numpy.nanquantile``."""
        halves = np.array([q == 0.5 for q in self.q])
        return np.where(halves, self.middle, self.linear)

    @property
    def middle(self) -> FloatArray:
        """The mean of ``lower`` and ``upper``, as NumPy's median takes it."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.where(self.fraction == 0.0, self.lower, (self.lower + self.upper) / 2)

    @property
    def linear(self) -> FloatArray:
        """Linear interpolation, from the nearer end, as ``numpy.quantile`` does it.

        Between two that are the same, and at a rank of its own, an infinity is itself; NumPy makes NaN of it.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            gap = self.upper - self.lower
            far = self.upper - gap * (1 - self.fraction)
            between = np.where(self.fraction >= 0.5, far, self.lower + gap * self.fraction)
        return np.where((self.fraction == 0.0) | (self.lower == self.upper), self.lower, between)

    def __iter__(self) -> Iterator[FloatArray]:
        return iter(self.values)


def exact_quantiles(
    view: View, *, q: Sequence[float] = (0.5,), values: Values = features
) -> Generator[list[Any], list[Any], Quantiles]:
    """Exact quantiles of columns, by 1 pass (few rows) to 6, mostly 3; a Fitter yields from it.

    Parameters
    ----------
    view : View
    q : sequence of float in [0, 1], default (0.5,)
    values : callable, default features
        Gives a batch's columns as 1-D float arrays; picklable. NaN is left out.
    """
    (first,) = yield [Pass(FirstHistogram(values), view)]
    return (yield from refine(first, view, q=q, values=values))


def refine(
    first: list[Histogram],
    view: View,
    *,
    q: Sequence[float] = (0.5,),
    values: Values = features,
    hint: Hint | None = None,
) -> Generator[list[Any], list[Any], Quantiles]:
    """From the result of a :class:`FirstHistogram`, run beside other reductions, to the quantiles.

    ``hint`` gives, for a column and a rank, a bracket that something else is known to tell, or None:
    the one with fewer values is looked into.
    """
    count = np.array([h.count for h in first], dtype=np.int64)
    virtual = np.asarray(q, dtype=np.float64)[None, :] * (np.maximum(count, 1) - 1)[:, None]
    lower = np.floor(virtual).astype(np.int64)
    fraction = virtual - lower
    upper = np.where(fraction > 0, lower + 1, lower)
    search = _Search(first, [sorted({*lo, *up}) for lo, up in zip(lower.tolist(), upper.tolist(), strict=True)], hint)
    while search.open:
        brackets = search.brackets()
        (found,) = yield [Pass(LaterHistogram(brackets, values), view)]
        search.learn(brackets, found)
    return Quantiles(tuple(q), count, search.at(lower), search.at(upper), fraction)


class _Search:
    """The wanted ranks of each column: found, or in a bracket that is still open."""

    def __init__(self, first: list[Histogram], wanted: list[list[int]], hint: Hint | None) -> None:
        self.found: dict[tuple[int, int], float] = {}
        self.open: dict[tuple[int, int], Bracket] = {}
        for column, (histogram, ranks) in enumerate(zip(first, wanted, strict=True)):
            ordered = None if histogram.values is None else np.sort(histogram.values)
            for rank in ranks if histogram.count else ():
                if ordered is not None:
                    self.found[column, rank] = float(ordered[rank])
                else:
                    brackets = [_first_bracket(column, rank, histogram)]
                    told = None if hint is None else hint(column, rank)
                    brackets += [] if told is None else [told]
                    self._place(column, rank, min(brackets, key=lambda b: b.count))

    def brackets(self) -> list[Bracket]:
        """The open brackets, each once, in a fixed order."""
        return sorted(set(self.open.values()), key=lambda b: (b.column, b.low))

    def learn(self, brackets: list[Bracket], found: list[Cells]) -> None:
        """Take what a pass has found in the brackets."""
        by_bracket = dict(zip(brackets, found, strict=True))
        for (column, rank), bracket in list(self.open.items()):
            cells = by_bracket[bracket]
            if cells.keys is not None:
                key = np.partition(cells.keys, rank - bracket.below)[rank - bracket.below]
                self._place(column, rank, Bracket(column, int(key), int(key), 0, 1))
            else:
                self._place(column, rank, _narrowed(bracket, rank, cells))

    def at(self, ranks: IntArray) -> FloatArray:
        """The order statistics at ranks of shape ``(n_columns, n_q)``; -0.0 becomes 0.0."""
        out = np.full(ranks.shape, np.nan)
        for (i, j), rank in np.ndenumerate(ranks):
            out[i, j] = self.found.get((i, int(rank)), np.nan)
        return out + 0.0

    def _place(self, column: int, rank: int, bracket: Bracket) -> None:
        if bracket.low == bracket.high:
            self.open.pop((column, rank), None)
            self.found[column, rank] = float(from_keys(np.array([bracket.low], dtype=np.uint64))[0])
        else:
            self.open[column, rank] = bracket


def _first_bracket(column: int, rank: int, histogram: Histogram) -> Bracket:
    counts = known(histogram.counts)
    ends = np.cumsum(counts)
    i = int(np.searchsorted(ends, rank, side="right"))
    low = int(known(histogram.bins)[i]) << (64 - DIGITS)
    high = low + (1 << (64 - DIGITS)) - 1
    # Which zero NumPy gives as an extreme is chance; the bracket must hold both.
    least = key_of(-0.0 if histogram.low == 0 else histogram.low)
    most = key_of(0.0 if histogram.high == 0 else histogram.high)
    return Bracket(column, max(low, least), min(high, most), int(ends[i] - counts[i]), int(counts[i]))


def _narrowed(bracket: Bracket, rank: int, cells: Cells) -> Bracket:
    counts = known(cells.counts)
    ends = np.cumsum(counts)
    i = int(np.searchsorted(ends, rank - bracket.below, side="right"))
    if known(cells.pure)[i]:
        low = high = int(known(cells.sample)[i])
    else:
        low = bracket.low + (int(known(cells.cells)[i]) << bracket.shift)
        high = min(bracket.high, low + (1 << bracket.shift) - 1)
    return Bracket(bracket.column, low, high, bracket.below + int(ends[i] - counts[i]), int(counts[i]))
