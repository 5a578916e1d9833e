"""SimpleImputer: mean, exact median, most frequent value or a constant, from reductions."""

from __future__ import annotations

import warnings
from collections.abc import Generator
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone
from sklearn.impute import SimpleImputer
from sklearn.impute._base import _safe_min
from sklearn.utils._mask import _get_mask
from sklearn.utils._missing import is_pandas_na, is_scalar_nan

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs, surrogate, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import ColumnCounts, Counts
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Values, earliest, features, refusal, shown_names
from parquetry.foundation.presence import ColumnPresence, Presence
from parquetry.foundation.quantiles import FirstHistogram, refine
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View, is_numeric

_NUMBERS_ONLY = ("mean", "median")


def _saw_floats(imputer: Any) -> bool:
    """Whether X was float64 to scikit-learn: only then is a matrix the same as a frame of numbers.

    Integers stay integers in a frame, and a null among booleans is an object of its own.
    """
    return getattr(imputer, "_fit_dtype", None) == np.float64


@fitter(
    SimpleImputer,
    passes="1 (median: 1 to 6, mostly 3)",
    exact="equal; means to 1e-12",
    matrices=_saw_floats,
    single_node="a function as strategy; sparse X",
)
def fit_simple_imputer(imputer: Any, view: View, fitting: Fitting) -> Asking:
    """The statistic of each column over its values that are not missing.

    scikit-learn's own imputer is fitted on a few rows in which a column has a missing value where
    the data has one, and nothing else where the data has nothing else; so types, indicators and
    empty columns are its own. The statistics are then replaced by those of all rows.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.impute.SimpleImputer.html
    """
    checked(imputer, imputer._validate_params)
    if callable(imputer.strategy):
        why = "SimpleImputer with a function as its strategy needs whole columns."
        return (yield from fitting.gather(imputer, view, why))
    if is_sparse(view):
        return (yield from fitting.gather(imputer, view, "SimpleImputer on sparse input is not distributed."))
    _require_sound(imputer, view)
    found = yield from _statistics(imputer, view)
    for i, value in enumerate(found):
        if value is not None:
            imputer.statistics_[i] = value
    set_inputs(imputer, view)
    return imputer


class Unmarked:
    """X's columns, with the value that marks missing ones turned into NaN.

    Parameters
    ----------
    marker : float
    """

    def __init__(self, marker: float) -> None:
        self.marker = marker

    def __call__(self, batch: Batch) -> list[FloatArray]:
        return [np.where(column == self.marker, np.nan, column) for column in batch.floats]


def _require_sound(imputer: Any, view: View) -> None:
    """Refuse what is wrong whatever the rows hold."""
    if imputer.strategy in _NUMBERS_ONLY:
        require_numbers(imputer, view)
        checked(imputer, lambda: clone(imputer).fit(zeros(view)))
    elif imputer.strategy == "constant" and not view.steps:
        kinds = [view.dataset.full_schema.field(f).type for f in view.features]
        texts = all(pa.types.is_string(kind) for kind in kinds)
        numbers = all(is_numeric(k) and not (pa.types.is_boolean(k) or pa.types.is_decimal(k)) for k in kinds)
        if texts or numbers:
            sample = [["text" if texts else 1.0]] * len(kinds)
            x = surrogate(view, sample) if texts else np.ones((1, len(kinds)))
            checked(imputer, lambda: clone(imputer).fit(x))


def _statistics(imputer: Any, view: View) -> Generator[list[Any], list[Any], list[Any]]:
    """Fits on the surrogate; gives each column's statistic, or None where the surrogate's holds."""
    marker = _marker(imputer.missing_values)
    values: Values = features if marker is None else Unmarked(marker)
    names = shown_names(view)
    presence = Pass(Presence(marker), view)
    if imputer.strategy == "mean":
        moments = Moments("SimpleImputer", names, values=values, squares=False, extremes=False)
        there, sums = yield [presence, Pass(moments, view)]
        _fit_surrogate(imputer, view, there)
        return [m if n else None for m, n in zip(sums.mean_or_nan, sums.count, strict=True)]
    if imputer.strategy == "median":
        there, first = yield [presence, Pass(FirstHistogram(values), view)]
        _fit_surrogate(imputer, view, there)
        quantiles = yield from refine(first, view, values=values)
        return [m[0] if n else None for m, n in zip(quantiles, quantiles.count, strict=True)]
    if imputer.strategy == "most_frequent":
        there, columns = yield [presence, Pass(Counts("SimpleImputer", names), view)]
        _fit_surrogate(imputer, view, there)
        return [_most_frequent(column, imputer.missing_values) for column in columns]
    (there,) = yield [presence]
    _fit_surrogate(imputer, view, there)
    return [None] * len(there)


def _marker(missing_values: Any) -> Any:
    """The number or text that marks missing values; None where null or NaN does."""
    return None if _is_nan(missing_values) else missing_values


def _is_nan(missing_values: Any) -> bool:
    return bool(is_scalar_nan(missing_values) or is_pandas_na(missing_values))


def _fit_surrogate(imputer: Any, view: View, there: list[ColumnPresence]) -> None:
    columns = [_few_values(column) for column in there]
    x = surrogate(view, columns)
    try:
        with warnings.catch_warnings():
            # Columns without any value are reported by transform, as in scikit-learn.
            warnings.simplefilter("ignore", RuntimeWarning)
            checked(imputer, lambda: imputer.fit(x))
    except BadParameter as error:
        at = None
        if "contains NaN" in str(error):
            at = earliest([c.missing_at for c in there])
        elif "contains infinity" in str(error):
            at = earliest([c.infinite_at for c in there])
        if at is None:
            raise
        raise refusal(at, shown_names(view), "SimpleImputer") from error


def _few_values(column: ColumnPresence) -> list[Any]:
    """One of each kind of value that the column holds."""
    known = [v for v in (column.example, column.marked) if v is not None]
    missing = [None] * column.null + [float("nan")] * column.nan
    return known + missing + [float("inf")] * (column.infinite_at is not None)


def _most_frequent(column: ColumnCounts, missing_values: Any) -> Any:
    """The most frequent value that is not missing, the smallest of several; None if there is none."""
    values, counts = column.complete()
    objects = _as_objects(values)
    kept = ~np.asarray(_get_mask(objects, missing_values), dtype=bool)
    if not kept.any():
        return None
    best = kept & (counts == counts[kept].max())
    return _safe_min(objects[best].tolist())


def _as_objects(values: Any) -> Any:
    """Values as the elements that pandas gives: a null makes floats of integers, and stays None elsewhere."""
    out = np.empty(len(values), dtype=object)
    out[:] = values if isinstance(values, list) else values.to_pandas().tolist()
    return out
