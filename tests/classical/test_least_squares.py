"""LinearRegression and Ridge: coefficients of 0 or more, means far from zero, columns of uneven scales."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

import parquetry as pqy
from regressions import FEATURES, assert_same_model, fit_both, nearly_collinear, table, uneven_scales, well


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


@pytest.mark.parametrize("shape", [well, uneven_scales, nearly_collinear], ids=lambda f: f.__name__)
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("target", ["z", ["y", "z"]], ids=str)
@pytest.mark.parametrize(
    "estimator",
    [
        LinearRegression(positive=True),
        LinearRegression(positive=True, fit_intercept=False),
        Ridge(alpha=5.0, positive=True),
        Ridge(alpha=5.0, positive=True, solver="lbfgs", fit_intercept=False),
    ],
    ids=str,
)
def test_coefficients_of_0_or_more(
    local: Any, rows: Any, shape: Any, weight: str | None, target: Any, estimator: Any
) -> None:
    ours, theirs = fit_both(estimator, rows(shape), local, target=target, weight=weight)
    assert_same_model(ours, theirs, 1e-6)
    assert np.asarray(ours.coef_).min() >= 0
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


def test_a_mean_far_from_zero_costs_no_digit(local: Any, write_parquet: Any) -> None:
    found = table()
    columns = {name: found[name].to_numpy() + (1e9 if name in FEATURES else 0.0) for name in (*FEATURES, "y")}
    data = pqy.open_dataset(write_parquet(pa.table(columns), row_group_size=90))
    frame = data.to_pandas()
    for estimator in (LinearRegression(), Ridge(alpha=10.0), Ridge(alpha=3.0, positive=True, tol=1e-10)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        # The same rows moved to zero, which floats of this size allow without rounding.
        theirs = clone(estimator).fit(frame[FEATURES] - 1e9, frame["y"])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6 if estimator.positive else 1e-12)


def test_uneven_scales_need_one_pass(local: Any, rows: Any) -> None:
    data = rows(uneven_scales)
    frame = data.to_pandas()
    for estimator in (LinearRegression(), Ridge(alpha=1e-6), Ridge(alpha=1e-6, fit_intercept=False)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        theirs = clone(estimator).fit(frame[FEATURES], frame["y"])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10)
        assert ours.fit_report_["passes"] == 1
