"""RobustScaler: exact medians and quantile ranges of all columns."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats
from sklearn.preprocessing import RobustScaler
from sklearn.preprocessing._data import _handle_zeros_in_scale

from parquetry.classical.inputs import float_type
from parquetry.features.quantile_columns import column_quantiles, refusing, require_quantiles
from parquetry.features.surrogate import checked, require_numbers, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View


@fitter(RobustScaler, passes="1 (few rows) to 6, mostly 2 or 3", exact="equal to the last bit", matrices=True)
def fit_robust_scaler(scaler: Any, view: View, fitting: Fitting) -> Asking:
    """Median and quantile range of each column, exact over all rows, NaN left out; sparse X too.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.RobustScaler.html
    """
    require_numbers(scaler, view)
    checked(scaler, lambda: scaler.fit(zeros(view)))
    if not (scaler.with_centering or scaler.with_scaling):
        yield [Pass(refusing(view, "RobustScaler", shown_names(view), nan=True), view)]
        return scaler
    low, high = scaler.quantile_range
    require_quantiles(scaler, view, fitting, 3)
    found = yield from column_quantiles(view, "RobustScaler", np.array([50.0, low, high]) / 100)
    dtype = float_type(view)
    if scaler.with_centering:
        # NumPy's median: the mean of the two values in the middle.
        scaler.center_ = np.array([f.middle(0, dtype) for f in found], dtype=dtype)
    if scaler.with_scaling:
        ends = np.array([f.linear(dtype)[1:] for f in found])
        scaler.scale_ = _handle_zeros_in_scale(ends[:, 1] - ends[:, 0], copy=False)
        if scaler.unit_variance:
            scaler.scale_ = scaler.scale_ / (stats.norm.ppf(high / 100.0) - stats.norm.ppf(low / 100.0))
    return scaler
