"""Fine histograms that need no range beforehand: cells as wide as a power of two.

Cells lie at whole multiples of their width, so two grids of different width are put together
without any error: the finer one's cells are whole parts of the coarser one's. The width is the
least at which the values' range has no more than so many cells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parquetry.foundation.profile_loops import grid_counts
from parquetry.view import FloatArray

CELLS = 4096
"""Most cells of one column."""
_FINEST = -1000


@dataclass(frozen=True)
class Grid:
    """Counts of finite values.

    Attributes
    ----------
    low, high : float
        The extremes; ``inf`` and ``-inf`` without values.
    exponent : int
        A cell is ``2**exponent`` wide.
    start : int
        The first cell begins at ``start * 2**exponent``.
    counts : ndarray of int64
    """

    low: float
    high: float
    exponent: int
    start: int
    counts: npt.NDArray[np.int64]

    @property
    def edges(self) -> FloatArray:
        """Shape ``(n_cells + 1,)``; exact."""
        numbers = self.start + np.arange(len(self.counts) + 1, dtype=np.int64)
        return np.ldexp(numbers.astype(np.float64), self.exponent)


EMPTY = Grid(math.inf, -math.inf, _FINEST, 0, np.zeros(0, dtype=np.int64))


def grid_of(values: FloatArray, low: float, high: float) -> Grid:
    """The grid of a column whose finite values lie in ``[low, high]``; others are left out."""
    if not low <= high:
        return EMPTY
    exponent = _exponent(low, high)
    start, stop = _cell(low, exponent), _cell(high, exponent)
    counts = np.zeros(stop - start + 1, dtype=np.int64)
    grid_counts(values, math.ldexp(1.0, -exponent), start, counts)
    return Grid(low, high, exponent, start, counts)


def merged(left: Grid, right: Grid) -> Grid:
    """The grid of both; the same whatever the order in which many are merged."""
    if not len(left.counts) or not len(right.counts):
        return left if len(left.counts) else right
    low, high = min(left.low, right.low), max(left.high, right.high)
    exponent = _exponent(low, high)
    start, stop = _cell(low, exponent), _cell(high, exponent)
    counts = np.zeros(stop - start + 1, dtype=np.int64)
    for side in (left, right):
        part = coarser(side, exponent)
        counts[part.start - start : part.start - start + len(part.counts)] += part.counts
    return Grid(low, high, exponent, start, counts)


def coarser(grid: Grid, exponent: int) -> Grid:
    """The same values in cells ``2**exponent`` wide."""
    shift = min(63, exponent - grid.exponent)
    if shift <= 0 or not len(grid.counts):
        return grid
    cells = (grid.start + np.arange(len(grid.counts), dtype=np.int64)) >> shift
    counts = np.zeros(int(cells[-1] - cells[0]) + 1, dtype=np.int64)
    np.add.at(counts, cells - cells[0], grid.counts)
    return Grid(grid.low, grid.high, exponent, int(cells[0]), counts)


def at_most(grid: Grid, cells: int, *, finest: int = _FINEST) -> Grid:
    """The finest coarser grid of at most so many cells, none narrower than ``2**finest``."""
    grid = coarser(grid, finest)
    shift, last = 0, grid.start + len(grid.counts) - 1
    while (last >> shift) - (grid.start >> shift) >= cells:
        shift += 1
    return coarser(grid, grid.exponent + shift)


def _exponent(low: float, high: float) -> int:
    """The least width at which ``[low, high]`` has at most ``CELLS`` cells, numbered within 53 bits."""
    largest = math.frexp(max(abs(low), abs(high)))[1]
    least = max(_FINEST, largest - 53) if low or high else _FINEST
    span = high / 2 - low / 2
    exponent = max(least, math.frexp(span)[1] + 1 - CELLS.bit_length() - 2 if span else least)
    while _cell(high, exponent) - _cell(low, exponent) + 1 > CELLS:
        exponent += 1
    return exponent


def _cell(value: float, exponent: int) -> int:
    scaled = math.ldexp(value, -exponent)
    # As the compiled loop: what is too small for the scale keeps its sign.
    return -1 if scaled == 0 and value < 0 else math.floor(scaled)
