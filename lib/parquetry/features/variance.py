"""VarianceThreshold from moments: one pass, dense or sparse."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.feature_selection import VarianceThreshold

from parquetry.errors import DegenerateColumn
from parquetry.features.max_abs import SparseExtremes
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View


@fitter(VarianceThreshold, passes="1", exact="variances to 1e-12", matrices=False)  # it hands on values as they are
def fit_variance_threshold(selector: Any, view: View, _fitting: Fitting) -> Asking:
    """Variance of each column, NaN left out; sparse X too.

    At a threshold of zero the range decides with it, as in scikit-learn: rounding makes no column vary.

    Raises
    ------
    DegenerateColumn
        No column varies enough.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_selection.VarianceThreshold.html
    """
    require_numbers(selector, view)
    checked(selector, selector._validate_params)
    sparse, ranged = is_sparse(view), selector.threshold == 0
    moments = Pass(Moments("VarianceThreshold", shown_names(view), extremes=ranged and not sparse), view)
    works = [moments, Pass(SparseExtremes(view.width), view)] if sparse and ranged else [moments]
    found, *more = yield works
    variances = found.variance
    if ranged:
        least, most = (more[0].least, more[0].most) if sparse else (found.minimum, found.maximum)
        # With NaN in it, a column has no range to scikit-learn.
        span = np.where(found.count == found.rows, most - least, np.nan)
        variances = np.fmin(variances, span)
    selector.variances_ = variances
    set_inputs(selector, view)
    if not (variances > selector.threshold).any():
        rows = " (X contains only one sample)" if view.dataset.num_rows == 1 else ""
        raise DegenerateColumn(
            f"VarianceThreshold: no feature in X meets the variance threshold {selector.threshold:.5f}{rows}.",
            why=f"The largest variance is {np.nanmax(variances, initial=0.0):.6g}.",
            fix="Lower threshold, or leave the columns out.",
        )
    return selector
