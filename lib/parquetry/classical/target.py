"""TransformedTargetRegressor: the target goes through a transformer, then the regressor is fitted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression

from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import View


@dataclass(frozen=True, eq=False)
class TransformTarget:
    """A view's target step: y through a fitted transformer, back in its own shape."""

    transformer: Any

    def __call__(self, y: Any) -> Any:
        values = np.asarray(y, dtype=np.float64)
        column = values.reshape(-1, 1) if values.ndim == 1 else values
        transformed = np.asarray(self.transformer.transform(column))
        return transformed.ravel() if transformed.shape[1] == 1 else transformed


@fitter(
    TransformedTargetRegressor,
    passes="its transformer's and its regressor's",
    exact="as its parts",
    matrices=False,
    single_node="as its parts",
)
def fit_transformed_target(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Fit the target's transformer on y, then the regressor on the transformed y.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.compose.TransformedTargetRegressor.html
    """
    estimator._validate_params()
    y = view.target_as_features()
    sample = next(iter(y.head_batches(64))).matrix
    # scikit-learn's own checks and its own choice of transformer, on the first values.
    estimator._fit_transformer(sample)
    estimator._training_dim = 1 if len(view.target) == 1 else 2
    if estimator.transformer is not None:
        by_array = replace(y, steps=(_AsArray(),), step_names=None)
        estimator.transformer_ = yield from fitting.step(clone(estimator.transformer), by_array, "target")
    regressor = clone(estimator.regressor) if estimator.regressor is not None else LinearRegression()
    seen = replace(view, target_step=TransformTarget(estimator.transformer_))
    estimator.regressor_ = yield from fitting.step(regressor, seen, "regressor")
    if hasattr(estimator.regressor_, "feature_names_in_"):
        estimator.feature_names_in_ = estimator.regressor_.feature_names_in_
    return estimator


@dataclass(frozen=True, eq=False)
class _AsArray:
    """A view's step that forgets names: scikit-learn gives the target's transformer an array."""

    def __call__(self, x: Any) -> Any:
        return x.matrix
