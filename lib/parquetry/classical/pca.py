"""PCA, exact: principal components from one pass of products, a second one where digits ask for it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.decomposition._pca import _infer_dimension

from parquetry.classical.eigenspace import Leading, leading
from parquetry.classical.inputs import float_type, in_type
from parquetry.classical.refusals import refuse_weights, require_memory
from parquetry.classical.scatter import Scatter, ScatterState
from parquetry.classical.spectrum import RESOLVED, refined, root, singular, stretches
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.reduction import FAN_IN
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_MOST_PRODUCTS = 4_096  # features up to which taking all products apart is quick
_LEARNED = (
    "components_",
    "explained_variance_",
    "explained_variance_ratio_",
    "singular_values_",
    "mean_",
    "noise_variance_",
)


@fitter(
    PCA,
    passes="1 (2 if ill-conditioned; more beyond 4,096 features)",
    exact="the full decomposition to 1e-9, whatever the solver",
    matrices=True,
)
def fit_pca(pca: Any, view: View, fitting: Fitting) -> Asking:
    """Principal components of dense or sparse X, the same whichever ``svd_solver`` is named.

    ``"randomized"`` and ``"arpack"`` too give the exact decomposition, so ``tol``,
    ``iterated_power``, ``n_oversamples`` and ``random_state`` change nothing. Only beyond 4,096
    features, or where the products of all features exceed the memory budget, a few components
    (less than a quarter of the features) are searched for, until nothing changes or with a
    ConvergenceWarning.
    Components are signed as scikit-learn signs them: the largest loading is positive; where two
    loadings are equally large but for rounding, the sign is a matter of rounding there and here.
    Components of equal variance, or of none, are one of many equally right choices.
    Columns far from zero lose no digit: there scikit-learn's ``"covariance_eigh"``, its default for many rows,
    does, and a share of the variance (``n_components=0.9``) may keep other components than its ``"full"`` and ours.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.decomposition.PCA.html
    """
    checked(pca, pca._validate_params)
    refuse_weights(pca, view)
    require_numbers(pca, view)
    rows, width = view.dataset.num_rows, view.width
    solver = _solver(pca, rows, width, sparse=is_sparse(view))
    wanted = _wanted(pca, solver, rows, width)
    dtype = float_type(view)
    wide = width > _MOST_PRODUCTS or 8 * width * width * FAN_IN > fitting.memory
    if wide and _is_whole(wanted) and 0 < wanted < width / 4:
        found = yield from leading(pca, view, fitting, wanted, most_passes=None, centered=True)
        _set_leading(pca, found, rows, width)
    else:
        require_memory(
            pca,
            fitting,
            8 * width * width,
            f"the products of {width:,} features",
            "Ask for a few components (n_components=50), use fewer features, or allow more with memory=.",
        )
        state, values, vectors = yield from _decomposed(view, wanted)
        _set_components(pca, state, values, vectors, solver, wanted, rows)
    pca._fit_svd_solver = solver
    pca.n_samples_ = rows
    set_inputs(pca, view)
    in_type(pca, dtype, _LEARNED)
    return pca


def _decomposed(
    view: View, wanted: Any
) -> Generator[list[Any], list[Any], tuple[ScatterState, FloatArray, FloatArray]]:
    """Moments, singular values of the centered X and components, refined where the products fall short."""
    names = shown_names(view)
    (state,) = yield [Pass(Scatter("PCA", names), view)]
    factor = root(state.products)
    values, vectors = singular(factor)
    kept = _kept(wanted, values, view.dataset.num_rows)
    stretch = stretches(state.products, values, vectors)
    needed = stretch[:kept].max(initial=0.0)
    if kept < len(values) and values[kept:].any():
        # The noise is the mean of what is left out: its largest part decides on its digits.
        needed = max(needed, stretch[kept])
    if needed > RESOLVED:
        factor = yield from refined("PCA", names, view, state, factor)
        values, vectors = singular(factor)
    return state, values, vectors


def _set_components(
    pca: Any, state: ScatterState, values: FloatArray, vectors: FloatArray, solver: str, wanted: Any, rows: int
) -> None:
    if solver != "covariance_eigh":
        values, vectors = values[:rows], vectors[:rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = values**2 / (rows - 1)
        ratio = variance / variance.sum()
    kept = _kept(wanted, values, rows)
    pca.n_components_ = kept
    pca.mean_ = state.mean[0] + state.rest[0]
    pca.components_ = np.ascontiguousarray(vectors[:kept])
    pca.explained_variance_, pca.explained_variance_ratio_ = variance[:kept].copy(), ratio[:kept].copy()
    pca.singular_values_ = values[:kept].copy()
    pca.noise_variance_ = variance[kept:].mean() if kept < min(rows, vectors.shape[1]) else 0.0


def _set_leading(pca: Any, found: Leading, rows: int, width: int) -> None:
    kept = len(found.values)
    variance = found.values**2 / (rows - 1)
    total = found.total_variance * rows / (rows - 1)
    pca.n_components_ = kept
    pca.mean_, pca.components_ = found.mean, found.vectors
    pca.explained_variance_, pca.explained_variance_ratio_ = variance, variance / total
    pca.singular_values_ = found.values
    left = min(rows, width) - kept
    pca.noise_variance_ = (total - variance.sum()) / left if left else 0.0


def _solver(pca: Any, rows: int, width: int, *, sparse: bool) -> str:
    """The solver that scikit-learn would choose: it decides on what ``n_components`` may be."""
    solver = str(pca.svd_solver)
    if sparse and solver not in ("auto", "arpack", "covariance_eigh"):
        raise BadParameter(
            f"PCA(svd_solver={solver!r}) does not take sparse X.",
            why="scikit-learn's own fit refuses it.",
            fix="Use svd_solver='auto', or TruncatedSVD.",
        )
    if solver != "auto":
        return solver
    if sparse:
        return "arpack"
    if width <= 1_000 and rows >= 10 * width:
        return "covariance_eigh"
    few = min(rows, width) if pca.n_components is None else pca.n_components
    if max(rows, width) <= 500 or few == "mle":
        return "full"
    return "randomized" if 1 <= few < 0.8 * min(rows, width) else "full"


def _wanted(pca: Any, solver: str, rows: int, width: int) -> Any:
    """``n_components``, checked as scikit-learn's solver checks it."""
    most = min(rows, width)
    if pca.n_components is None:
        return most - (solver == "arpack")
    wanted = pca.n_components
    iterative = solver in ("arpack", "randomized")
    if wanted == "mle":
        if iterative or rows < width:
            raise BadParameter(
                f"PCA: n_components='mle' does not work with svd_solver={solver!r} here.",
                why=f"It needs the full decomposition, and as many rows ({rows:,}) as columns ({width:,}).",
                fix="Use svd_solver='full', or a number.",
            )
        return wanted
    least, limit = int(iterative), most - (solver == "arpack")
    if not least <= wanted <= limit:
        raise BadParameter(
            f"PCA: n_components={wanted!r} must be between {least} and {limit} with svd_solver={solver!r}.",
            why=f"There are {rows:,} rows of {width:,} columns.",
            fix="Ask for fewer components, or use svd_solver='full'.",
        )
    return wanted


def _is_whole(wanted: Any) -> bool:
    return not isinstance(wanted, str) and int(wanted) == wanted


def _kept(wanted: Any, values: FloatArray, rows: int) -> Any:
    """How many components are kept: a number, all that explain a share of the variance, or the likeliest."""
    variance = values[:rows] ** 2 / max(rows - 1, 1)
    if wanted == "mle":
        return _infer_dimension(variance, rows)
    if 0 < wanted < 1:
        shares = np.cumsum(variance / variance.sum())
        return np.searchsorted(shares, wanted, side="right") + 1
    return wanted
