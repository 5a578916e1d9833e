"""What one pass tells of a column's order: exact values while they are few, else counted cells.

Two kinds of cells are known of many values: equally wide ones (:mod:`grids`) and ones that grow
with the size of the value (:mod:`radix`). Every order statistic lies in one cell of each, so what
is read off them has a bound that holds for certain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.foundation.correlations import Ranks, ranks_of
from parquetry.foundation.distinct import Frequent
from parquetry.foundation.grids import Grid
from parquetry.foundation.profile_kinds import Planned
from parquetry.foundation.profile_results import Outliers, Quantiles
from parquetry.foundation.radix import DIGITS, Bracket, Histogram, from_keys, key_of, known
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Order:
    """The order of a column's values that are not NaN, as far as it is known.

    Attributes
    ----------
    values : ndarray or None
        Distinct values, rising, where all are known; with ``counts``.
    counts : ndarray or None
    grid : Grid
        Else the finite values in equally wide cells.
    radix : Histogram
        And all values by their leading bits.
    below : int
        Infinities below.
    ties : ndarray of int64
        How often, at least, some finite values are there.
    """

    values: FloatArray | None
    counts: IntArray | None
    grid: Grid
    radix: Histogram | None
    below: int
    ties: IntArray

    @property
    def exact(self) -> bool:
        """Whether every value is known."""
        return self.values is not None

    @property
    def count(self) -> int:
        """Values that are not NaN."""
        if self.counts is not None:
            return int(self.counts.sum())
        return self.radix.count if self.radix is not None else int(self.grid.counts.sum())


def order_of(planned: Planned, frequent: Frequent, grid: Grid | None, radix: Histogram | None, below: int) -> Order:
    """The best that is known of a measured column."""
    values, counts = _floats(planned, frequent.keys), frequent.counts
    ties = counts[np.isfinite(values)]
    if frequent.exact:
        ordered = np.argsort(values, kind="stable")
        return Order(values[ordered], counts[ordered], grid or _NONE, radix, below, ties)
    if radix is not None and radix.values is not None:
        values, held = np.unique(radix.values, return_counts=True)
        return Order(values, held.astype(np.int64), grid or _NONE, radix, below, ties)
    return Order(None, None, grid or _NONE, radix, below, ties)


_NONE = Grid(math.inf, -math.inf, 0, 0, np.zeros(0, dtype=np.int64))


def _floats(planned: Planned, keys: npt.NDArray[np.uint64]) -> FloatArray:
    if planned.kind in ("float", "decimal"):
        return keys.view(np.float64)
    return keys.astype(np.float64) if str(planned.type) == "uint64" else keys.view(np.int64).astype(np.float64)


# --- quantiles ------------------------------------------------------------------------------
def sketched(order: Order, q: Sequence[float]) -> Quantiles:
    """Quantiles from what is known, and what each may be wrong by at most."""
    found = [_quantile(order, share) for share in q]
    return Quantiles(tuple(q), tuple(v for v, _ in found), tuple(e for _, e in found))


def _quantile(order: Order, q: float) -> tuple[float, float]:
    if not order.count:
        return math.nan, math.nan
    rank = q * (order.count - 1)
    if order.values is not None and order.counts is not None:
        ends = np.cumsum(order.counts)
        places = np.searchsorted(ends, [math.floor(rank), math.ceil(rank)], side="right")
        low, high = (float(order.values[i]) for i in places)
        return (low if low == high else low + (high - low) * (rank - math.floor(rank))), 0.0
    low, middle, high = _interval(order, rank)
    return middle, max(high - middle, middle - low) if math.isfinite(middle) else 0.0


def _interval(order: Order, rank: float) -> tuple[float, float, float]:
    """The quantile's bounds and its likeliest place, by the narrower of the two kinds of cells."""
    inside = rank - order.below
    finite = int(order.grid.counts.sum())
    if inside < 0 or inside > finite - 1:
        end = -math.inf if inside < 0 else math.inf
        return end, end, end
    low, middle, high = _in_cells(order.grid.edges, order.grid.counts, inside)
    low, high = max(low, order.grid.low), min(high, order.grid.high)
    radix = order.radix
    if radix is not None and radix.bins is not None:
        others = _in_cells(_radix_edges(radix), known(radix.counts), rank)
        if others[2] - others[0] < high - low:
            middle = others[1]
        low, high = max(low, others[0]), min(high, others[2])
    return low, min(max(middle, low), high), high


def _in_cells(edges: FloatArray, counts: IntArray, rank: float) -> tuple[float, float, float]:
    ends = np.cumsum(counts)
    first = int(np.searchsorted(ends, math.floor(rank), side="right"))
    last = int(np.searchsorted(ends, math.ceil(rank), side="right"))
    low, high = float(edges[first]), float(edges[last + 1])
    within = (rank - (ends[first] - counts[first]) + 0.5) / counts[first]
    return low, low + (float(edges[first + 1]) - low) * min(1.0, within), high


def _radix_edges(radix: Histogram) -> FloatArray:
    """Lower ends of the occupied cells, and the last one's upper end; a cell ends where the next one begins."""
    bins = known(radix.bins).astype(np.uint64)
    shift = np.uint64(64 - DIGITS)
    lows = np.maximum(from_keys(bins << shift), radix.low)
    return np.append(lows, radix.high)


def bracket(order: Order, column: int, rank: int) -> Bracket | None:
    """The equally wide cell that holds a rank, as the keys to look into; None for an infinity."""
    counts = order.grid.counts
    inside = rank - order.below
    if not 0 <= inside < int(counts.sum()):
        return None
    ends = np.cumsum(counts)
    i = int(np.searchsorted(ends, inside, side="right"))
    low, high = (float(edge) for edge in order.grid.edges[i : i + 2])
    if not math.isfinite(high):
        return None
    # -0.0 counts as 0.0, and its key lies below.
    least = key_of(-0.0 if low == 0 else low)
    most = key_of(-0.0 if high == 0 else high) - 1
    return Bracket(column, least, most, order.below + int(ends[i] - counts[i]), int(counts[i]))


# --- ranks, outliers, bins ------------------------------------------------------------------
def ranks(order: Order) -> Ranks:
    """Ranks of the finite values: exact, or by the kind of cells that tells more."""
    if order.values is not None and order.counts is not None:
        finite = np.isfinite(order.values)
        return ranks_of(order.values[finite], order.counts[finite])
    grid = order.grid
    uniform = (math.ldexp(1.0, -grid.exponent), grid.start)
    even = ranks_of(grid.edges[:-1], grid.counts, ties=order.ties, uniform=uniform)
    radix = order.radix
    if radix is None or radix.bins is None:
        return even
    lows = from_keys(known(radix.bins).astype(np.uint64) << np.uint64(64 - DIGITS))
    finite = np.isfinite(lows) | (lows == -np.inf)
    lows, counts = lows[finite], known(radix.counts)[finite]
    if np.isneginf(lows[:1]).any():
        lows, counts = lows[1:], counts[1:]
    grown = ranks_of(lows, counts, ties=order.ties)
    return even if even.error <= grown.error else grown


def outliers(order: Order, lower: float, upper: float) -> Outliers | None:
    """Values beyond the fences around two quartiles."""
    reach = 1.5 * (upper - lower)
    low, high = lower - reach, upper + reach
    if not math.isfinite(reach):
        return None
    if order.values is not None and order.counts is not None:
        beyond = (order.values < low) | (order.values > high)
        return Outliers(low, high, int(order.counts[beyond].sum()), 0)
    edges, counts = order.grid.edges, order.grid.counts
    total, unsure = float(order.count - counts.sum()), 0  # infinities lie beyond
    for i in np.flatnonzero(counts):
        left, right, n = float(edges[i]), float(edges[i + 1]), int(counts[i])
        # Between the extremes alone: the outer cells reach further than any value.
        left, right = max(left, order.grid.low), min(right, order.grid.high)
        if right < low or left > high:
            total += n
        elif left < low or right > high:
            share = (max(0.0, low - left) + max(0.0, right - high)) / (right - left) if right > left else 0.0
            total, unsure = total + n * share, unsure + n
    return Outliers(low, high, round(total), unsure)


def even_edges(order: Order, parts: int) -> FloatArray:
    """Edges of at most so many bins of about equally many finite values; at least one bin."""
    if order.values is not None and order.counts is not None:
        finite = np.isfinite(order.values)
        edges, counts = order.values[finite], order.counts[finite]
        edges = np.append(edges, edges[-1:])
    else:
        edges, counts = order.grid.edges, order.grid.counts
    if not len(counts):
        return np.array([0.0, 1.0])
    ends = np.cumsum(counts)
    wanted = ends[-1] * np.arange(1, parts) / parts
    inner = np.unique(edges[np.searchsorted(ends, wanted, side="left") + 1])
    inner = inner[(inner > edges[0]) & (inner < edges[-1])]
    last: Any = edges[-1] if edges[-1] > edges[0] else np.nextafter(edges[0], np.inf)
    return np.concatenate([edges[:1], inner, [last]])
