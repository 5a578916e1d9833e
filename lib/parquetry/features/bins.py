"""KBinsDiscretizer: equal widths, exact quantiles of all rows, or k-means of each column; sample weights."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder
from sklearn.utils import check_array

from parquetry.block_cache import column_arrays
from parquetry.classical.kmeans import require_rows
from parquetry.classical.lloyd import Geometry, Run, lloyd
from parquetry.classical.refusals import require_dense
from parquetry.classical.row_weights import RowWeights
from parquetry.errors import BadParameter
from parquetry.features.quantile_columns import column_quantiles, kept, require_quantiles, weighted_quantiles
from parquetry.features.row_wise import stand_in
from parquetry.features.splines import HasWeight
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting, Pass, together
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_WHO = "KBinsDiscretizer"
_WEIGHTED_METHODS = ("inverted_cdf", "averaged_inverted_cdf")
_TOL, _MAX_ITER = 1e-4, 300  # those of the KMeans that scikit-learn takes here
_NARROWEST = 1e-8


@fitter(
    KBinsDiscretizer,
    passes="1 (quantile: 1 to about 6; kmeans: 1 and 1 an iteration)",
    exact="equal to subsample=None, whatever subsample is; kmeans and weighted quantiles to 1e-9",
    matrices=True,
)
def fit_k_bins(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Bin edges of each column, from all rows.

    ``subsample`` and ``random_state`` are not used: where scikit-learn estimates the edges from
    ``subsample`` rows drawn with replacement, these are the edges that its sample estimates. For
    ``strategy="kmeans"`` all columns' iterations share their passes.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.KBinsDiscretizer.html
    """
    n_bins = _require_sound(estimator, view)
    seen = check_array(stand_in(view), dtype="numeric", ensure_all_finite=False).dtype
    kind = seen if seen.kind == "f" else np.dtype(np.float64)
    if estimator.strategy == "quantile":
        require_quantiles(estimator, view, fitting, int(n_bins.max()) + 1)
        least, most, edges = yield from _by_quantiles(estimator, view, n_bins, kind)
    else:
        least, most, edges = yield from _by_extremes(estimator, view, n_bins, kind)
    _set_edges(estimator, n_bins, least == most, edges)
    _set_encoder(estimator, estimator.dtype or seen)
    set_inputs(estimator, view)
    return estimator


def _require_sound(estimator: Any, view: View) -> Any:
    """Refuse what is wrong whatever the rows hold; gives the number of bins of each column."""
    require_dense(estimator, view)
    checked(estimator, estimator._validate_params)
    n_bins = checked(estimator, lambda: estimator._validate_n_bins(view.width))
    if estimator.strategy == "kmeans":
        require_rows(_WHO, view, "n_bins", int(n_bins.max()))
    weighted = view.sample_weight is not None
    if weighted and estimator.strategy == "quantile" and estimator.quantile_method not in _WEIGHTED_METHODS:
        raise BadParameter(
            f"{_WHO}: quantile_method={estimator.quantile_method!r} takes no sample weights.",
            why="With strategy='quantile' only 'averaged_inverted_cdf' and 'inverted_cdf' do.",
            fix="Choose one of them, or leave sample_weight out.",
        )
    return n_bins


# --- edges ----------------------------------------------------------------------------------
def _by_quantiles(estimator: Any, view: View, n_bins: Any, kind: Any) -> Any:
    """Extremes and edges of each column from its quantiles."""
    levels = [np.linspace(0, 100, n + 1) for n in n_bins]
    method = estimator.quantile_method
    if view.sample_weight is None:
        found = yield from column_quantiles(view, _WHO, [p / 100 for p in levels], method=method, nan=False)
        ends = np.array([f.found[[0, -1]] for f in found])
        return ends[:, 0], ends[:, 1], [np.asarray(f.linear(kind), dtype=np.float64) for f in found]
    # Rows of no weight count where a column is looked at for being constant, as in scikit-learn.
    view = kept(view)
    more = [Pass(Moments(_WHO, shown_names(view), nan=False, squares=False), view)]
    average = method == "averaged_inverted_cdf"
    edges, (moments,) = yield from weighted_quantiles(view, _WHO, levels, average=average, more=more)
    return moments.minimum, moments.maximum, [e.astype(kind) for e in edges]


def _by_extremes(estimator: Any, view: View, n_bins: Any, kind: Any) -> Any:
    """Extremes and edges of each column at equal distances, or between the centers of its k-means."""
    names, weighted = shown_names(view), view.sample_weight is not None
    works = [Pass(Moments(_WHO, names, nan=False), view)]
    if weighted:
        masked = Moments(_WHO, names, values=HasWeight(), squares=False)
        works += [Pass(masked, view), Pass(RowWeights(_WHO, str(view.sample_weight)), view)]
    moments, *more = yield works
    ends = more[0] if weighted else moments
    least, most = ends.minimum.astype(kind), ends.maximum.astype(kind)
    edges = [np.linspace(a, b, n + 1) for a, b, n in zip(least, most, n_bins, strict=True)]
    if estimator.strategy == "uniform":
        return least, most, edges
    varying = np.flatnonzero(least != most).tolist()
    searches = [_centers(view, j, edges[j], moments) for j in varying]
    found = yield from together(searches)
    for j, centers in zip(varying, found, strict=True):
        inner = (centers[1:] + centers[:-1]) * 0.5
        edges[j] = np.r_[least[j], inner.astype(kind), most[j]]
    return least, most, edges


def _centers(view: View, j: int, uniform: FloatArray, moments: Any) -> Asking:
    """Sorted centers of a column's k-means, which starts in the middle of equal bins."""
    mean = moments.mean[j : j + 1]
    start = (uniform[1:] + uniform[:-1]).astype(np.float64)[:, None] * 0.5
    rows = replace(view.select([j]), target=(), target_step=None).cached(column_arrays)
    run = Run(start - mean)
    tol = float(moments.m2[j] / moments.count[j]) * _TOL
    yield from lloyd(Geometry(rows, mean), [run], tol=tol, max_iter=_MAX_ITER)
    return np.sort(run.centers[:, 0] + mean[0])


# --- what is learned ------------------------------------------------------------------------
def _set_edges(estimator: Any, n_bins: Any, constant: Any, edges: list[FloatArray]) -> None:
    """``bin_edges_`` and ``n_bins_``, with scikit-learn's warnings of bins that are not kept."""
    kept = np.zeros(len(edges), dtype=object)
    for j, own in enumerate(edges):
        if constant[j]:
            _warn(f"Feature {j} is constant and will be replaced with 0.")
            kept[j], n_bins[j] = np.array([-np.inf, np.inf]), 1
            continue
        kept[j] = own
        if estimator.strategy != "uniform":
            kept[j] = own[np.ediff1d(own, to_begin=np.inf) > _NARROWEST]
        if len(kept[j]) - 1 != n_bins[j]:
            _warn(
                f"Bins whose width are too small (i.e., <= {_NARROWEST:g}) in feature {j} are removed. "
                "Consider decreasing the number of bins."
            )
            n_bins[j] = len(kept[j]) - 1
    estimator.bin_edges_, estimator.n_bins_ = kept, n_bins


def _set_encoder(estimator: Any, dtype: Any) -> None:
    """The encoder behind the bins, which ``transform`` uses."""
    if estimator.encode == "ordinal":
        return
    categories = [np.arange(n) for n in estimator.n_bins_]
    sparse = estimator.encode == "onehot"
    encoder = OneHotEncoder(categories=categories, sparse_output=sparse, dtype=dtype)
    estimator._encoder = encoder.fit(np.zeros((1, len(categories))))


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)
