"""DummyRegressor and DummyClassifier: the baselines that every model should beat."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.dummy import DummyClassifier, DummyRegressor

from parquetry.classical.labels import class_values
from parquetry.classical.row_weights import RowWeights
from parquetry.errors import BadParameter, DegenerateColumn
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import ColumnCounts, Counts
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Finite, refusal, targets
from parquetry.foundation.quantiles import FirstHistogram, refine
from parquetry.registry import fitter
from parquetry.view import View

_WEIGHTLESS = "sample_weight with strategy='median' or 'quantile'"


@fitter(
    DummyRegressor,
    passes="1 (median, quantile: 1 to 6, mostly 3)",
    exact="equal; means to 1e-12",
    matrices=True,
    single_node=_WEIGHTLESS,
)
def fit_dummy_regressor(dummy: Any, view: View, fitting: Fitting) -> Asking:
    """The mean, median or quantile of each target, exact; or a given constant.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.dummy.DummyRegressor.html
    """
    checked(dummy, dummy._validate_params)
    _require_target(dummy, view)
    y = _target_stand_in(view)
    checked(dummy, lambda: dummy.fit(np.zeros((len(y), 1)), y))
    strategy, weighted = dummy.strategy, view.sample_weight is not None
    if weighted and strategy in ("median", "quantile"):
        return (yield from fitting.gather(dummy, view, f"A weighted {strategy} needs all rows in order."))
    finite = Finite("DummyRegressor", view.target, values=targets)
    if strategy == "mean":
        moments = Moments(
            "DummyRegressor", view.target, values=targets, nan=False, weighted=weighted, squares=False, extremes=False
        )
        (found,) = yield [Pass(moments, view)]
        if not found.weight.all():
            raise DegenerateColumn(
                "DummyRegressor: the sample weights add up to zero.",
                why="No row counts.",
                fix="Mend the weight column.",
            )
        dummy.constant_ = found.mean_or_nan.reshape(1, -1).astype(dummy.constant_.dtype)
    elif strategy == "constant":
        yield [Pass(finite, view)]
    else:
        _, first = yield [Pass(finite, view), Pass(FirstHistogram(targets), view)]
        # A quantile takes scikit-learn's road by percent: the same rounding, the same rank.
        q = 0.5 if strategy == "median" else dummy.quantile * 100.0 / 100
        quantiles = yield from refine(first, view, q=(q,), values=targets)
        chosen = quantiles.middle if strategy == "median" else quantiles.linear
        dummy.constant_ = chosen.reshape(1, -1).astype(dummy.constant_.dtype)
    set_inputs(dummy, view)
    return dummy


@fitter(DummyClassifier, passes="1", exact="equal; weighted priors to 1e-12", matrices=True)
def fit_dummy_classifier(dummy: Any, view: View, _fitting: Fitting) -> Asking:
    """The classes of each target and their share of the rows, or of the sample weight.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.dummy.DummyClassifier.html
    """
    checked(dummy, dummy._validate_params)
    _require_target(dummy, view)
    if dummy.strategy == "constant" and dummy.constant is None:
        raise BadParameter("DummyClassifier: strategy='constant' needs a constant.", fix="Pass constant=.")
    weighted = view.sample_weight is not None
    counts = Counts("DummyClassifier", view.target, target=True, weighted=weighted)
    works = [Pass(counts, view)]
    if weighted:
        works.append(Pass(RowWeights("DummyClassifier", str(view.sample_weight)), view))
    columns, *_ = yield works
    for column in columns:
        if column.missing_at is not None:
            raise refusal(column.missing_at, view.target, "DummyClassifier")
    y = _classes_stand_in(view, columns)
    checked(dummy, lambda: dummy.fit(np.zeros((len(y), 1)), y))
    priors = [column.counts / column.counts.sum() for column in columns]
    dummy.class_prior_ = priors[0] if len(priors) == 1 else priors
    set_inputs(dummy, view)
    return dummy


def _require_target(dummy: Any, view: View) -> None:
    if not view.target:
        raise BadParameter(f"{type(dummy).__name__} needs a target.", fix="Pass target='column'.")


def _target_stand_in(view: View) -> Any:
    """Two rows of zeros in the target's form and type."""
    y = next(iter(view.head_batches(2))).y
    return np.zeros((2, *y.shape[1:]), dtype=y.dtype)


def _classes_stand_in(view: View, columns: list[ColumnCounts]) -> Any:
    """Every class of each target at least once, in the target's form and type."""
    rows = max(len(column.values) for column in columns)
    parts = []
    for i, column in enumerate(columns):
        part = class_values(view, i, column)
        parts.append(part[np.arange(rows) % len(part)])
    return parts[0] if len(parts) == 1 else np.column_stack(parts)
