"""Moment rows: a few rows with the second moments of many.

Least squares with any penalty sees its rows through their second moments alone. As many rows as
there are columns can have the same moments, so scikit-learn's own ``fit`` on those few rows takes
the same steps to the same solution as on all rows.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from parquetry.classical.gram import GramState
from parquetry.classical.spectrum import root
from parquetry.features.surrogate import checked, set_inputs
from parquetry.view import FloatArray, View


def moment_rows(gram: GramState, width: int, *, fit_intercept: bool) -> tuple[FloatArray, FloatArray]:
    """X and y of a few rows whose mean squares and products are those of all rows.

    Parameters
    ----------
    gram : GramState
        Centered, whether an intercept is fitted or not.
    width : int
        How many features there are.
    fit_intercept : bool
        Moments about the mean; else about zero.

    Returns
    -------
    X : ndarray of shape (n_moment_rows, n_features)
    y : ndarray of shape (n_moment_rows,) or (n_moment_rows, n_targets)
    """
    rows = root(gram.products)
    if not fit_intercept:
        rows = np.vstack([rows, math.sqrt(gram.weight) * gram.mean])
    rows *= math.sqrt(len(rows) / gram.weight)
    y = rows[:, width:]
    return np.asfortranarray(rows[:, :width]), np.asfortranarray(y[:, 0] if y.shape[1] == 1 else y)


def summed(gram: GramState, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Moment rows whose sums of squares, not their means, are those of all rows."""
    share = math.sqrt(gram.weight / len(x))
    return x * share, y * share


def fit_on_moments(estimator: Any, gram: GramState, view: View, *, per_row: bool = True, **arguments: Any) -> None:
    """Fit scikit-learn's own estimator on moment rows, and set its intercept and names.

    Parameters
    ----------
    estimator : linear model
        It has ``fit_intercept``; its objective is one of second moments.
    gram : GramState
    view : View
    per_row : bool, default True
        The objective takes the mean of the squared errors; False: their sum.
    **arguments
        For ``fit``.
    """
    fit_intercept, width = estimator.fit_intercept, view.width
    x, y = moment_rows(gram, width, fit_intercept=fit_intercept)
    if not per_row:
        x, y = summed(gram, x, y)
    estimator.fit_intercept = False
    checked(estimator, lambda: estimator.fit(x, y, **arguments))
    estimator.fit_intercept = fit_intercept
    set_intercept(estimator, gram, width)
    set_inputs(estimator, view)


def set_intercept(estimator: Any, gram: GramState, width: int) -> None:
    """``intercept_`` from ``coef_`` and the means, as scikit-learn sets it."""
    target_mean = gram.mean[width:]
    estimator._set_intercept(gram.mean[:width], target_mean[0] if estimator.coef_.ndim == 1 else target_mean)
