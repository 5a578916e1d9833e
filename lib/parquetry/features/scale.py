"""StandardScaler and MinMaxScaler from moments: one pass."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.base import clone
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.preprocessing._data import _handle_zeros_in_scale, _is_constant_feature

from parquetry.errors import DegenerateColumn
from parquetry.features.surrogate import checked, is_sparse, require_numbers, surrogate, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments, MomentsState
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View


@fitter(StandardScaler, passes="1", exact="means, variances and scales to 1e-12", matrices=True)
def fit_standard_scaler(scaler: Any, view: View, _fitting: Fitting) -> Asking:
    """Mean and variance of each column, NaN left out, weighted if asked, sparse X too.

    A column is constant where scikit-learn's own test of rounding error says so.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.StandardScaler.html
    """
    require_numbers(scaler, view)
    weighted = view.sample_weight is not None
    weights = np.ones(2) if weighted else None
    checked(scaler, lambda: scaler.fit(zeros(view), sample_weight=weights))
    names = shown_names(view)
    reduction = Moments("StandardScaler", names, weighted=weighted, squares=scaler.with_std, extremes=False)
    (moments,) = yield [Pass(reduction, view)]
    # Where a dense X is neither centered nor scaled, scikit-learn counts rows whatever they weigh.
    by_weight = weighted and (scaler.with_mean or scaler.with_std or is_sparse(view))
    _set_standard(scaler, moments, weighted=by_weight)
    return scaler


def _set_standard(scaler: Any, moments: MomentsState, *, weighted: bool) -> None:
    if weighted and not moments.weight.any() and moments.count.any():
        raise DegenerateColumn(
            "StandardScaler: the sample weights add up to zero.", why="No row counts.", fix="Mend the weight column."
        )
    seen = (moments.weight if weighted else moments.count).astype(np.asarray(scaler.n_samples_seen_).dtype)
    scaler.n_samples_seen_ = seen[0] if seen.max() == seen.min() else seen
    if scaler.mean_ is not None:
        scaler.mean_ = moments.mean_or_nan
    if scaler.with_std:
        scaler.var_ = moments.variance
        constant = _is_constant_feature(scaler.var_, scaler.mean_, scaler.n_samples_seen_)
        scaler.scale_ = _handle_zeros_in_scale(np.sqrt(scaler.var_), copy=False, constant_mask=constant)


@fitter(MinMaxScaler, passes="1", exact="equal to the last bit", matrices=True)
def fit_min_max_scaler(scaler: Any, view: View, _fitting: Fitting) -> Asking:
    """Smallest and largest value of each column, NaN left out.

    Once the extremes are known, scikit-learn's own ``fit`` on them alone sets every attribute.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.MinMaxScaler.html
    """
    require_numbers(scaler, view)
    checked(scaler, lambda: scaler.fit(zeros(view)))
    reduction = Moments("MinMaxScaler", shown_names(view), squares=False)
    (moments,) = yield [Pass(reduction, view)]
    low, high = (np.where(moments.count > 0, side, np.nan) for side in (moments.minimum, moments.maximum))
    x = np.stack([low, high]).astype(_seen_type(scaler, view, moments))
    with warnings.catch_warnings():
        # NumPy warns of a column without any value; scikit-learn's own fit would, too.
        warnings.simplefilter("ignore", RuntimeWarning)
        scaler.fit(x if view.names is None else pd.DataFrame(x, columns=list(view.names)))
    scaler.n_samples_seen_ = moments.rows
    return scaler


def _seen_type(scaler: Any, view: View, moments: MomentsState) -> Any:
    """The float type in which scikit-learn would see X: float32 where all of X is that narrow."""
    if view.steps:
        return np.float64
    kinds = [view.dataset.full_schema.field(f).type for f in view.features]
    columns = [
        [False if pa.types.is_boolean(kind) else 0] + [None] * bool(some < moments.rows)
        for kind, some in zip(kinds, moments.count, strict=True)
    ]
    return clone(scaler).fit(surrogate(view, columns)).data_min_.dtype
