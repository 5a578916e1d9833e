"""Exact quantiles of X's columns, dense or sparse: what RobustScaler, QuantileTransformer and others learn from."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.block_cache import column_arrays
from parquetry.classical.refusals import require_memory
from parquetry.classical.row_weights import RowWeights
from parquetry.features.surrogate import is_sparse
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Finite, shown_names
from parquetry.foundation.radix import cap_of
from parquetry.foundation.rank_counts import Cells, FirstCells, FirstCounts
from parquetry.foundation.ranks import Positions, Wanted, column_cells, order_statistics, positions
from parquetry.view import FloatArray, View

_ENTRY_BYTES = 12  # of a sparse X: a number and its column
_CACHED_VALUES = 2**20  # beyond, a first pass does not hold all values, and several follow
Asked = Generator[list[Any], list[Any], Any]


@dataclass(frozen=True)
class ColumnQuantiles:
    """The order statistics around each wanted quantile of one column.

    Attributes
    ----------
    positions : Positions
    found : ndarray
        Lower ones, then upper ones; NaN for a column without values.
    """

    positions: Positions
    found: FloatArray

    def linear(self, dtype: Any = np.float64) -> FloatArray:
        """The quantiles, interpolated between values of a type."""
        return self.positions.between(self.found, dtype)

    def middle(self, i: int, dtype: Any) -> Any:
        """The mean of the two order statistics around the quantile ``i``; the one, where it is exact."""
        lower, upper = self.found[[i, len(self.positions.lower) + i]].astype(dtype)
        return lower if self.positions.fraction[i] == 0 else np.mean([lower, upper], dtype=dtype)


def kept(view: View) -> View:
    """The view for a search of several passes: cached, where the first pass cannot hold all values."""
    if view.prepare is not None:
        return view
    view = replace(view, target=(), target_step=None)
    return view.cached(column_arrays) if view.dataset.num_rows * view.width > _CACHED_VALUES else view


def require_quantiles(estimator: Any, view: View, fitting: Fitting, number: int) -> None:
    """Raise TooBigForOneNode where so many quantiles of all columns, or what a pass keeps for them, would not fit."""
    stored = view.row_bytes / _ENTRY_BYTES / view.width if is_sparse(view) else 1.0
    values = min(view.dataset.num_rows * min(1.0, stored), cap_of(view.width))
    what = f"{number:,} quantiles of {view.width:,} columns, and the values that they are found among,"
    fix = "Use fewer columns or quantiles, or allow more with memory=."
    require_memory(estimator, fitting, int(8 * view.width * max(values, number)), what, fix)


def column_quantiles(
    view: View,
    who: str,
    q: Any,
    *,
    method: str = "linear",
    nan: bool = True,
    zeros: bool = True,
    more: Sequence[Pass] = (),
) -> Asked:
    """Exact quantiles of every column by 1 pass (few rows) to about 6; a Fitter yields from it.

    Parameters
    ----------
    view : View
    who : str
        The estimator, for errors.
    q : array-like, or a list of one a column
        In [0, 1].
    method : str, default "linear"
        As :func:`~parquetry.foundation.ranks.positions` takes it.
    nan : bool, default True
        Whether NaN is allowed (and left out); infinity never is.
    zeros : bool, default True
        Whether zeros count that a sparse X does not store.
    more : sequence of Pass, default ()
        What else runs beside the first pass; its results are not given.

    Returns
    -------
    list of ColumnQuantiles
    """
    view = kept(view)
    first, cells, _ = yield from first_cells(view, who, nan=nan, zeros=zeros, more=more)
    levels = q if isinstance(q, list) else [q] * len(cells)
    places = [positions(own, max(1, int(c.total)), method) for own, c in zip(levels, cells, strict=True)]
    implicit = [first.rows - part.stored for part in first.columns] if zeros else None
    found = yield from order_statistics(cells, [p.wanted for p in places], view, zeros=implicit)
    return [ColumnQuantiles(p, f) for p, f in zip(places, found, strict=True)]


def first_cells(
    view: View, who: str, *, nan: bool, zeros: bool = True, weighted: bool = False, more: Sequence[Pass] = ()
) -> Generator[list[Any], list[Any], tuple[FirstCells, list[Cells], list[Any]]]:
    """The first pass over all columns, with the refusal of what is not finite, and of weights that make no sense.

    Gives the pass's own result, each column's cells, and the results of ``more``.
    """
    names = shown_names(view)
    works = [Pass(FirstCounts(weighted=weighted), view), Pass(refusing(view, who, names, nan=nan), view)]
    if weighted:
        works.append(Pass(RowWeights(who, str(view.sample_weight)), view))
    first, *others = yield [*works, *more]
    return first, column_cells(first, zeros=zeros), others[len(works) - 1 :]


def refusing(view: View, who: str, names: Sequence[str], *, nan: bool) -> Any:
    """A reduction that refuses infinity in X, and NaN unless ``nan`` allows it."""
    if is_sparse(view):
        return Moments(who, names, nan=nan, squares=False, extremes=False)
    return Finite(who, names, nan=not nan)


def weighted_quantiles(
    view: View, who: str, levels: Sequence[FloatArray], *, average: bool, nan: bool = False, more: Sequence[Pass] = ()
) -> Asked:
    """scikit-learn's weighted percentiles of every column; a Fitter yields from it.

    Parameters
    ----------
    view : View
        With a sample weight.
    who : str
    levels : sequence of ndarray
        Percents, one array a column.
    average : bool
        Whether the mean of two values is taken where the weights up to one are the wanted part exactly; the sums
        of weights that are no whole numbers are rounded, in scikit-learn too, and may miss it.
    nan : bool, default False
        Whether NaN is allowed; its row does not count then.
    more : sequence of Pass, default ()
        What else runs beside the first pass.

    Returns
    -------
    list of ndarray, list
        The percentiles, and the results of ``more``.
    """
    view = kept(view)
    _, cells, others = yield from first_cells(view, who, nan=nan, weighted=True, more=more)
    wanted = [_weighted(c.total, percent) for c, percent in zip(cells, levels, strict=True)]
    found = yield from order_statistics(cells, wanted, view, weighted=True)
    halves = [(f[: len(p)], f[len(p) :]) for f, p in zip(found, levels, strict=True)]
    return [(lower + upper) / 2 if average else lower for lower, upper in halves], others


def _weighted(total: float, percent: FloatArray) -> Wanted:
    at = percent / 100 * total
    at = np.where(at == 0, np.nextafter(at, at + 1), at)
    beyond = np.repeat([False, True], len(at))
    return Wanted(np.r_[at, at], beyond)
