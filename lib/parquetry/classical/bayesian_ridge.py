"""BayesianRidge from one Gram matrix: one pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import BayesianRidge

from parquetry.classical.inputs import in_linear_type
from parquetry.classical.linear import gram_of
from parquetry.classical.moment_rows import fit_on_moments
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import View


@fitter(BayesianRidge, passes="1", exact="same steps; 1e-6 at a tight tol", matrices=True)
def fit_bayesian_ridge(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge regression with the penalty and the noise found by evidence, by scikit-learn's own steps.

    Moment rows stand for all rows; their common weight says how many those are.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.BayesianRidge.html
    """
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    if len(view.target) > 1:
        raise BadParameter(f"BayesianRidge has {len(view.target)} targets.", fix="Fit one for each target.")
    gram = yield from gram_of(estimator, view, fitting)
    width, given = view.width, estimator.alpha_init
    if given is None:
        # scikit-learn's own first guess needs the variance of y, which moment rows do not show.
        estimator.alpha_init = 1.0 / (gram.products[width, width] / gram.weight + np.finfo(np.float64).eps)
    count = width + 1 + (not estimator.fit_intercept)
    fit_on_moments(estimator, gram, view, sample_weight=np.full(count, gram.weight / count))
    estimator.alpha_init = given
    if estimator.fit_intercept:
        estimator.X_offset_ = gram.mean[:width].copy()
    return in_linear_type(estimator, view, ("X_offset_", "X_scale_", "scores_", "alpha_", "lambda_", "sigma_"))
