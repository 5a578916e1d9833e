"""SplineTransformer: knots from extremes or exact quantiles, weighted too."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import SplineTransformer

from parquetry.classical.inputs import float_type
from parquetry.classical.row_weights import RowWeights
from parquetry.features.quantile_columns import column_quantiles, refusing, require_quantiles, weighted_quantiles
from parquetry.features.row_wise import stand_in
from parquetry.features.surrogate import checked, is_sparse, require_numbers, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import features, shown_names
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View

_WHO = "SplineTransformer"


@fitter(
    SplineTransformer,
    passes="1 (knots='quantile': 1 to about 6)",
    exact="equal; interpolated and weighted quantiles to 1e-12",
    matrices=True,
)
def fit_spline_transformer(spline: Any, view: View, fitting: Fitting) -> Asking:
    """Knots at equal distances, at exact quantiles of all rows, or as given; sample weights as in scikit-learn.

    Once the knots are known, scikit-learn's own ``fit`` makes the splines of them. Infinity is always
    refused; scikit-learn lets it through, and makes knots of NaN, with ``handle_missing="zeros"``.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.SplineTransformer.html
    """
    require_numbers(spline, view)
    few = min(2, view.dataset.num_rows)
    x = zeros(view, few) if is_sparse(view) or view.steps else stand_in(view)[:few]
    checked(spline, lambda: spline.fit(x))
    knots = yield from _knots(spline, view, fitting)
    if knots is None:
        return spline

    def known(*_: Any, **__: Any) -> Any:
        return knots

    spline._get_base_knot_positions = known
    try:
        checked(spline, lambda: spline.fit(x))
    finally:
        del spline._get_base_knot_positions
    return spline


def _knots(spline: Any, view: View, fitting: Fitting) -> Any:
    """Knots of shape ``(n_knots, n_features)``, or None where they are given."""
    nan, weighted = spline.handle_missing == "zeros", view.sample_weight is not None
    if not isinstance(spline.knots, str):
        finite = Pass(refusing(view, _WHO, shown_names(view), nan=nan), view)
        yield [finite, Pass(RowWeights(_WHO, str(view.sample_weight)), view)] if weighted else [finite]
        return None
    if spline.knots == "quantile":
        require_quantiles(spline, view, fitting, spline.n_knots)
        percent = 100 * np.linspace(start=0, stop=1, num=spline.n_knots, dtype=np.float64)
        if weighted:
            found, _ = yield from weighted_quantiles(view, _WHO, [percent] * view.width, average=False, nan=nan)
            return np.transpose(found)
        found = yield from column_quantiles(view, _WHO, percent / 100, nan=nan)
        return np.transpose([f.linear(float_type(view)) for f in found])
    least, most = yield from _extremes(view, nan=nan)
    least, most = np.nan_to_num(least, nan=0.0), np.nan_to_num(most, nan=0.0)
    return np.linspace(start=least, stop=most, num=spline.n_knots, endpoint=True, dtype=np.float64)


def _extremes(view: View, *, nan: bool) -> Any:
    """Smallest and largest value of each column over the rows with a weight; NaN for a column without a value."""
    names, weight = shown_names(view), view.sample_weight
    values = features if weight is None else HasWeight()
    works = [
        Pass(Moments(_WHO, names, values=values, squares=False), view),
        Pass(refusing(view, _WHO, names, nan=nan), view),
    ]
    if weight is not None:
        works.append(Pass(RowWeights(_WHO, weight), view))
    moments, *_ = yield works
    seen = moments.count > 0
    return np.where(seen, moments.minimum, np.nan), np.where(seen, moments.maximum, np.nan)


class HasWeight:
    """X's columns, NaN in the rows whose weight is zero."""

    def __call__(self, batch: Batch) -> list[FloatArray]:
        none = np.asarray(batch.weights) == 0
        return [np.where(none, np.nan, column) for column in batch.floats] if none.any() else batch.floats
