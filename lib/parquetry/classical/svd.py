"""TruncatedSVD: from products where they fit, else by a search for the leading directions."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD

from parquetry.classical.eigenspace import Leading, leading
from parquetry.classical.inputs import float_type, in_type
from parquetry.classical.refusals import refuse_weights
from parquetry.classical.scatter import Scatter, ScatterState
from parquetry.classical.spectrum import RESOLVED, refined, root, singular, stretches
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.reduction import FAN_IN
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_MOST_PRODUCTS = 1_024  # features up to which all products take one pass, and less time than several passes
_LEARNED = ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_")


@fitter(
    TruncatedSVD,
    passes="1 (2 if ill-conditioned); beyond 1,024 features n_iter + 2 at most",
    exact="the exact decomposition to 1e-9; beyond 1,024 features as near as n_iter takes it, or nearer",
    matrices=True,
)
def fit_truncated_svd(svd: Any, view: View, fitting: Fitting) -> Asking:
    """The largest singular values of X, not centered, and their right vectors; X dense or sparse.

    Up to 1,024 features both algorithms give the exact decomposition (``n_iter``, ``tol`` and
    ``random_state`` change nothing). Beyond, ``"randomized"`` searches in ``n_iter + 1`` passes at
    most, in the space of all of them, so it comes nearer to the exact result than as many power
    iterations; ``"arpack"`` searches until the residual is 1e-11 of the largest eigenvalue. One
    more pass measures what was found. ``random_state=None`` stands for the seed 0, so that two
    fits are equal. Vectors are signed as scikit-learn signs them.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.decomposition.TruncatedSVD.html
    """
    checked(svd, svd._validate_params)
    refuse_weights(svd, view)
    require_numbers(svd, view)
    rows, width = view.dataset.num_rows, view.width
    _check_components(svd, rows, width)
    dtype = float_type(view)
    if width <= _MOST_PRODUCTS and 8 * width * width * FAN_IN <= fitting.memory:
        found = yield from _by_products(svd, view, rows)
    else:
        most = svd.n_iter + 1 if svd.algorithm == "randomized" else None
        found = yield from leading(svd, view, fitting, svd.n_components, most_passes=most, centered=False)
    svd.components_, svd.singular_values_ = found.vectors[:rows], found.values[:rows]
    svd.explained_variance_ = found.variance[:rows]
    with np.errstate(invalid="ignore", divide="ignore"):
        svd.explained_variance_ratio_ = svd.explained_variance_ / found.total_variance
    set_inputs(svd, view)
    in_type(svd, dtype, _LEARNED)
    return svd


def _check_components(svd: Any, rows: int, width: int) -> None:
    if width < 2:
        raise BadParameter(
            "TruncatedSVD: X has 1 feature(s).", why="There is nothing to reduce.", fix="Give it two columns or more."
        )
    limit = width if svd.algorithm == "randomized" else min(rows, width) - 1
    if svd.n_components > limit:
        raise BadParameter(
            f"TruncatedSVD: n_components={svd.n_components} must be at most {limit} with algorithm={svd.algorithm!r}.",
            why=f"There are {rows:,} rows of {width:,} columns.",
            fix="Ask for fewer components.",
        )


def _by_products(svd: Any, view: View, rows: int) -> Generator[list[Any], list[Any], Leading]:
    names, wanted = shown_names(view), svd.n_components
    (state,) = yield [Pass(Scatter("TruncatedSVD", names), view)]
    factor = root(state.products)
    values, vectors = singular(_with_mean(factor, state))
    if stretches(state.products, values, vectors)[: min(wanted, rows)].max() > RESOLVED:
        factor = yield from refined("TruncatedSVD", names, view, state, factor)
        values, vectors = singular(_with_mean(factor, state))
    values, vectors = values[:wanted], vectors[:wanted]
    along = factor @ vectors.T
    variance = (along * along).sum(axis=0) / rows
    return Leading(
        values, np.ascontiguousarray(vectors), variance, float(np.trace(state.products)) / rows, state.mean[0]
    )


def _with_mean(factor: FloatArray, state: ScatterState) -> FloatArray:
    """A factor of the products that are not centered, without ever adding the mean's square to them."""
    return np.vstack([factor, np.sqrt(state.weight[0]) * (state.mean[0] + state.rest[0])])
