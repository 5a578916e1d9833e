"""MaxAbsScaler from the extremes of every column: one pass, dense or sparse."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.preprocessing import MaxAbsScaler

from parquetry.classical.inputs import float_type
from parquetry.features.surrogate import checked, is_sparse, require_numbers, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import shown_names
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View


@fitter(MaxAbsScaler, passes="1", exact="equal to the last bit", matrices=True)
def fit_max_abs_scaler(scaler: Any, view: View, _fitting: Fitting) -> Asking:
    """Largest absolute value of each column, NaN left out; sparse X too.

    scikit-learn's own ``fit`` on those values alone sets every attribute.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.MaxAbsScaler.html
    """
    require_numbers(scaler, view)
    checked(scaler, lambda: scaler.fit(zeros(view)))
    least, most = yield from extremes(view, "MaxAbsScaler")
    x = np.fmax(np.abs(least), np.abs(most)).reshape(1, -1).astype(float_type(view))
    with warnings.catch_warnings():
        # NumPy warns of a column without any value; scikit-learn's own fit would, too.
        warnings.simplefilter("ignore", RuntimeWarning)
        scaler.fit(x if view.names is None else pd.DataFrame(x, columns=list(view.names)))
    scaler.n_samples_seen_ = view.dataset.num_rows
    return scaler


def extremes(view: View, who: str) -> Any:
    """Smallest and largest value of each column by one pass, NaN left out; NaN for a column without values.

    A Fitter yields from it. Zeros that a sparse X does not store count.
    """
    names = shown_names(view)
    if not is_sparse(view):
        (moments,) = yield [Pass(Moments(who, names, squares=False), view)]
        seen = moments.count > 0
        return np.where(seen, moments.minimum, np.nan), np.where(seen, moments.maximum, np.nan)
    finite = Moments(who, names, squares=False, extremes=False)
    _, found = yield [Pass(finite, view), Pass(SparseExtremes(view.width), view)]
    return found.least, found.most


@dataclass
class Extremes:
    """Of the columns of a sparse X.

    Attributes
    ----------
    rows : int
    stored : ndarray of int64
        How many values each column stores, NaN too.
    least, most : ndarray
        NaN where there is no value.
    """

    rows: int
    stored: Any
    least: FloatArray
    most: FloatArray


class SparseExtremes(Reduction[Extremes, Extremes]):
    """Smallest and largest value of each column of a sparse X, zeros included, NaN left out.

    Parameters
    ----------
    width : int
    """

    label = "extremes"

    def __init__(self, width: int) -> None:
        self.width = width

    def partial(self, batch: Batch) -> Extremes:
        matrix = batch.matrix.tocsr()
        least, most = np.full(self.width, np.nan), np.full(self.width, np.nan)
        np.fmin.at(least, matrix.indices, matrix.data)
        np.fmax.at(most, matrix.indices, matrix.data)
        stored = np.bincount(matrix.indices, minlength=self.width)
        return Extremes(batch.num_rows, stored, least, most)

    def merge(self, left: Extremes, right: Extremes) -> Extremes:
        least, most = np.fmin(left.least, right.least), np.fmax(left.most, right.most)
        return Extremes(left.rows + right.rows, left.stored + right.stored, least, most)

    def finish(self, state: Extremes) -> Extremes:
        gap = state.stored < state.rows
        state.least = np.where(gap, np.fmin(state.least, 0.0), state.least)
        state.most = np.where(gap, np.fmax(state.most, 0.0), state.most)
        return state
