"""QuantileTransformer: exact quantiles of all rows, however many are wanted."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.preprocessing import QuantileTransformer

from parquetry.classical.inputs import float_type
from parquetry.classical.refusals import first_below_zero
from parquetry.errors import BadParameter, NegativeValues
from parquetry.features.quantile_columns import column_quantiles, kept, require_quantiles
from parquetry.features.surrogate import checked, is_sparse, require_numbers, zeros
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import Position, earliest, shown_names
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import View


@fitter(
    QuantileTransformer,
    passes="1 (few rows) to about 6",
    exact="equal to subsample=None to the last bit, whatever subsample is: the quantiles of all rows",
    matrices=True,
)
def fit_quantile_transformer(transformer: Any, view: View, fitting: Fitting) -> Asking:
    """``n_quantiles`` exact quantiles of each column over all rows, NaN left out; sparse X too.

    ``subsample`` and ``random_state`` are not used: where scikit-learn estimates the quantiles from
    ``subsample`` rows, these are the quantiles that its sample estimates.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.QuantileTransformer.html
    """
    require_numbers(transformer, view)
    _require_sound(transformer)
    _settle(transformer, view)
    rows, sparse = view.dataset.num_rows, is_sparse(view)
    _warn(transformer, rows, sparse=sparse)
    transformer.n_quantiles_ = max(1, min(transformer.n_quantiles, rows))
    require_quantiles(transformer, view, fitting, transformer.n_quantiles_)
    transformer.references_ = np.linspace(0, 1, transformer.n_quantiles_, endpoint=True)
    zeros_count = not (sparse and transformer.ignore_implicit_zeros)
    view = kept(view)
    more = [Pass(_NotNegative(shown_names(view)), view)] if sparse and zeros_count else []
    # NumPy takes percents, and divides: the same rounding, the same ranks.
    q = transformer.references_ * 100 / 100
    found = yield from column_quantiles(view, "QuantileTransformer", q, zeros=zeros_count, more=more)
    dtype = float_type(view)
    columns = [f.linear(dtype) for f in found]
    if sparse:
        # A column that stores nothing has zeros for quantiles.
        columns = [np.nan_to_num(c, nan=0.0) for c in columns]
    transformer.quantiles_ = np.ascontiguousarray(np.transpose(columns))
    return transformer


def _require_sound(transformer: Any) -> None:
    checked(transformer, transformer._validate_params)
    if transformer.subsample is not None and transformer.n_quantiles > transformer.subsample:
        raise BadParameter(
            f"QuantileTransformer: n_quantiles={transformer.n_quantiles} is more than subsample="
            f"{transformer.subsample}.",
            why="The number of quantiles cannot be greater than the number of samples used.",
            fix="Use fewer quantiles, or subsample=None.",
        )


def _settle(transformer: Any, view: View) -> None:
    """Names and checks of scikit-learn's own ``fit``, without what it would say of the stand-in."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checked(transformer, lambda: transformer.fit(zeros(view)))


def _warn(transformer: Any, rows: int, *, sparse: bool) -> None:
    if transformer.n_quantiles > rows:
        warnings.warn(
            f"n_quantiles ({transformer.n_quantiles}) is greater than the total number of samples ({rows}). "
            "n_quantiles is set to n_samples.",
            UserWarning,
            stacklevel=2,
        )
    if transformer.ignore_implicit_zeros and not sparse:
        warnings.warn(
            "'ignore_implicit_zeros' takes effect only with sparse matrix. This parameter has no effect.",
            UserWarning,
            stacklevel=2,
        )


class _NotNegative(Reduction[Position | None, None]):
    """Refuses values below zero."""

    label = "not-negative"

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = names

    def partial(self, batch: Any) -> Position | None:
        return first_below_zero(batch)

    def merge(self, left: Position | None, right: Position | None) -> Position | None:
        return earliest([left, right])

    def finish(self, state: Position | None) -> None:
        if state is not None:
            raise NegativeValues(
                f"QuantileTransformer: column {self.names[state.column]!r} holds {state.what}, first in {state.path}, "
                f"row group {state.row_group}, row {state.row}.",
                why="QuantileTransformer only accepts non-negative sparse matrices.",
                fix="Pass ignore_implicit_zeros=True, or make X dense.",
            )
