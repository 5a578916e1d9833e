"""What scikit-learn says of a linear classifier's or machine's parameters, before any row is read."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, is_sparse, require_numbers, surrogate, zeros
from parquetry.view import View

_ROWS = 4


def settled(estimator: Any, view: View, **changes: Any) -> Any:
    """The estimator fitted by scikit-learn on four rows: its checks, its warnings, its types.

    Parameters
    ----------
    estimator : LogisticRegression, LogisticRegressionCV, LinearSVC or LinearSVR
    view : View
    changes
        Parameters of the stand-in that the four rows are fitted with.

    Raises
    ------
    BadParameter
        In scikit-learn's words.
    """
    require_numbers(estimator, view)
    checked(estimator, estimator._validate_params)
    if len(view.target) > 1:
        raise BadParameter(
            f"{type(estimator).__name__} takes one target, not {len(view.target)}.",
            fix="Fit one model a target, or put it into a MultiOutputClassifier or MultiOutputRegressor.",
        )
    own = {"class_weight": None} if hasattr(estimator, "class_weight") else {}
    stand_in = clone(estimator).set_params(max_iter=1, verbose=0, **own, **changes)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        checked(estimator, lambda: stand_in.fit(_four_rows(view), np.arange(_ROWS) % 2))
    for warning in caught:
        # Of parameters, not of the four rows.
        if warning.category in (FutureWarning, UserWarning):
            warnings.warn(warning.message, warning.category, stacklevel=2)
    return stand_in


def _four_rows(view: View) -> Any:
    if is_sparse(view):
        return zeros(view, _ROWS)
    return surrogate(view, [_zero_and_one(view, i) for i in range(view.width)])


def _zero_and_one(view: View, i: int) -> list[Any]:
    plain = not view.steps and pa.types.is_boolean(view.dataset.full_schema.field(view.features[i]).type)
    return [False, True] * (_ROWS // 2) if plain else [0, 1] * (_ROWS // 2)
