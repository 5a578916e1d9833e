"""Lasso, ElasticNet and their multi-task forms from one Gram matrix: one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import ElasticNet, Lasso, MultiTaskElasticNet, MultiTaskLasso

from parquetry.classical.gram import GramState
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.linear import gram_of
from parquetry.classical.moment_rows import fit_on_moments
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import View

_PRECOMPUTED = "precompute= an array"


@fitter(
    Lasso,
    ElasticNet,
    MultiTaskLasso,
    MultiTaskElasticNet,
    passes="1",
    exact="same steps of coordinate descent; 1e-6 at a tight tol",
    matrices=True,
    single_node=_PRECOMPUTED,
)
def fit_elastic_net(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Least squares with L1 and L2 penalties, by scikit-learn's own coordinate descent on moment rows.

    ``n_iter_``, ``dual_gap_`` and the warning where it has not converged are scikit-learn's own.
    With sparse X its own sweep is another one, so the two agree to ``tol`` only.

    Source: https://scikit-learn.org/stable/modules/linear_model.html#elastic-net
    """
    checked(estimator, estimator._validate_params)
    check_targets(estimator, view, several=isinstance(estimator, MultiTaskElasticNet))
    if holds_gram(estimator):
        return (yield from fitting.gather(estimator, view, GIVEN_GRAM))
    gram = yield from gram_of(estimator, view, fitting)
    elastic_net_of(estimator, gram, view)
    return in_linear_type(estimator, view)


def elastic_net_of(estimator: Any, gram: GramState, view: View) -> None:
    """Fit one of the family from a centered Gram state."""
    fit_on_moments(estimator, gram, view)
    if hasattr(estimator, "eps_"):
        # The multi-task tolerance is the one number that is a sum over rows.
        estimator.eps_ *= gram.rows / (len(gram.mean) + (not estimator.fit_intercept))


GIVEN_GRAM = "precompute= holds a Gram matrix, which has to be compared with the rows."


def holds_gram(estimator: Any) -> bool:
    """Whether ``precompute`` is a matrix."""
    return not isinstance(getattr(estimator, "precompute", False), bool | str | np.bool_)


def check_targets(estimator: Any, view: View, *, several: bool) -> None:
    """Raise BadParameter where a multi-task estimator has one target, before any work."""
    require_numbers(estimator, view)
    name = type(estimator).__name__
    if several and len(view.target) == 1:
        raise BadParameter(
            f"{name} has one target only.",
            why="Its penalty ties several targets together.",
            fix=f"Use {name.removeprefix('MultiTask')}, or pass target=[…].",
        )
