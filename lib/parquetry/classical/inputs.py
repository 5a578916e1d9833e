"""Which float type scikit-learn would see in X, and learned attributes in that type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.utils import check_array

from parquetry.features.surrogate import surrogate
from parquetry.view import View

_LINEAR = ("coef_", "intercept_", "singular_", "dual_gap_")


def float_type(view: View) -> Any:
    """float32 where all of X is that narrow, else float64; steps hand on float64."""
    if view.steps:
        return np.dtype(np.float64)
    if any(view.dataset.full_schema.field(f).type == pa.float64() for f in view.features):
        return np.dtype(np.float64)
    kinds = [view.dataset.full_schema.field(f).type for f in view.features]
    x = surrogate(view, [[False] if pa.types.is_boolean(kind) else [0] for kind in kinds])
    return check_array(x, dtype=[np.float64, np.float32]).dtype


def in_linear_type(estimator: Any, view: View, more: Sequence[str] = ()) -> Any:
    """A fitted linear model with ``coef_`` and all that is learned beside it in scikit-learn's float type.

    Parameters
    ----------
    estimator : fitted linear model
    view : View
    more : sequence of str, default ()
        Learned attributes that only this estimator has.
    """
    in_type(estimator, float_type(view), (*_LINEAR, *more))
    return estimator


def in_type(estimator: Any, dtype: Any, names: Sequence[str]) -> None:
    """Bring learned attributes to a float type, as scikit-learn would have learned them.

    All sums are made in float64; only the result is rounded.
    """
    for name in names:
        value = getattr(estimator, name, None)
        if isinstance(value, np.ndarray):
            setattr(estimator, name, value.astype(dtype, copy=False))
        elif isinstance(value, list):
            setattr(estimator, name, [v.astype(dtype, copy=False) for v in value])
        elif isinstance(value, np.floating):
            setattr(estimator, name, dtype.type(value))
