"""Lars and LassoLars from one Gram matrix: one pass."""

from __future__ import annotations

from typing import Any

from sklearn.linear_model import Lars, LassoLars

from parquetry.classical.elastic_net import GIVEN_GRAM, holds_gram
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.linear import gram_of
from parquetry.classical.moment_rows import fit_on_moments
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import View


@fitter(
    Lars,
    LassoLars,
    passes="1",
    exact="same path to 1e-9",
    matrices=True,
    single_node="jitter=; precompute= an array",
)
def fit_lars(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Least angle regression, by scikit-learn's own steps on moment rows.

    Source: https://scikit-learn.org/stable/modules/linear_model.html#least-angle-regression
    """
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    name = type(estimator).__name__
    if view.sample_weight is not None:
        raise BadParameter(f"{name} takes no sample weights.", fix="Leave sample_weight out, or use Lasso.")
    if estimator.jitter is not None:
        return (yield from fitting.gather(estimator, view, "jitter= adds noise to each row's target."))
    if holds_gram(estimator):
        return (yield from fitting.gather(estimator, view, GIVEN_GRAM))
    gram = yield from gram_of(estimator, view, fitting)
    fit_on_moments(estimator, gram, view)
    return in_linear_type(estimator, view, ("alphas_", "coef_path_"))
