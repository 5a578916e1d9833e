"""PowerTransformer against scikit-learn's own fit, and against the likelihood itself."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import stats
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, PowerTransformer

import parity
import parquetry as pqy
from learned import assert_same_features
from parquetry.errors import BadParameter, DegenerateColumn, NegativeValues, NonFiniteValues, WrongColumnType

N = 900


def columns() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(4)
    return {
        "normal": rng.normal(size=N),
        "skewed": rng.lognormal(0, 2, N),
        "large": rng.gamma(2.0, size=N) * 1e6,
        "below zero": -rng.gamma(1.3, size=N),
        "both sides": rng.uniform(-5, 20, N),
        "whole": rng.integers(0, 9, N).astype(float),
        "outlier": np.r_[rng.normal(size=N - 1) * 1e-3, 1e3],
        "gaps": np.where(rng.random(N) < 0.2, np.nan, rng.exponential(size=N)),
        "constant": np.full(N, 0.1),
        "mostly zero": np.where(rng.random(N) < 0.5, 0.0, rng.lognormal(3, 1, N)),
        "far": rng.lognormal(0, 60, N),
    }


POSITIVE = ["skewed", "large", "gaps", "far"]


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("method", ["yeo-johnson", "box-cox"])
def test_equals_scikit_learn(method, standardize, write_parquet, local):
    folder = write_parquet(columns(), files=2, row_group_size=151)
    chosen = POSITIVE if method == "box-cox" else list(columns())
    transformer = PowerTransformer(method, standardize=standardize)
    ours, theirs, x = parity.fit_both(transformer, folder, local, features=chosen)
    assert_same_features(ours, theirs, rtol=1e-6)
    parity.assert_same_output(ours, theirs, x, rtol=1e-6)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == (2 if method == "box-cox" else 3)


def test_no_lambda_is_less_likely_than_scikit_learns(write_parquet, local):
    data = columns()
    folder = write_parquet({c: data[c] for c in ("skewed", "both sides", "below zero")}, row_group_size=151)
    ours, theirs, x = parity.fit_both(PowerTransformer(), folder, local)
    for mine, other, name in zip(ours.lambdas_, theirs.lambdas_, x.columns, strict=True):
        values = x[name].to_numpy()
        assert stats.yeojohnson_llf(mine, values) >= stats.yeojohnson_llf(other, values) - 1e-9


def test_float32_gives_float32(write_parquet, local):
    ours, theirs, _ = parity.fit_both(PowerTransformer(), write_parquet(parity.numbers("narrow")), local)
    assert ours.lambdas_.dtype == theirs.lambdas_.dtype == np.float32
    np.testing.assert_allclose(ours.lambdas_, theirs.lambdas_, atol=2e-3)


def test_many_columns_share_passes(write_parquet, local):
    table = {f"c{i}": np.random.default_rng(i).gamma(1.0 + i % 5, size=60) for i in range(130)}
    ours, theirs, _ = parity.fit_both(PowerTransformer(standardize=False), write_parquet(table), local)
    np.testing.assert_allclose(ours.lambdas_, theirs.lambdas_, atol=2e-6)
    assert ours.fit_report_["passes"] == 3


def test_a_lambda_leaves_something_of_the_column(write_parquet, local):
    """At the likelihood's own maximum, far below zero, all of this column would be the same number."""
    values = 1_000 + np.random.default_rng(0).exponential(size=700)
    model = pqy.fit(PowerTransformer(standardize=False), write_parquet({"a": values}), engine=local)
    assert -6 < model.lambdas_[0] < 6
    assert len(np.unique(model.transform(values[:, None]))) > 10


def test_constant_with_gaps_is_left_as_it_is(write_parquet, local):
    model = pqy.fit(PowerTransformer(), write_parquet({"a": [2.0] * 9 + [np.nan], "b": np.arange(10.0)}), engine=local)
    assert model.lambdas_[0] == 1.0
    assert np.nanmax(np.abs(model.transform([[2.0, 3.0]])[:, 0])) < 1e-12


def test_of_a_target(write_parquet, local):
    data = columns()
    folder = write_parquet({**data, "y": np.exp(data["normal"])}, row_group_size=151)
    regressor = TransformedTargetRegressor(LinearRegression(), transformer=PowerTransformer("box-cox"))
    ours, theirs, x = parity.fit_both(regressor, folder, local, target="y", features=["normal"])
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-5)
    assert ours.fit_report_["placement"] == "distributed"


def test_behind_a_sparse_step(write_parquet, local):
    folder = write_parquet(columns())
    with pytest.raises(WrongColumnType, match="sparse"):
        pqy.fit(make_pipeline(KBinsDiscretizer(), PowerTransformer()), folder, features=["normal"], engine=local)


POSITIONED = {"good": pa.array([1.0, 2.0, 3.0, 4.0]), "bad": pa.array([1.0, 2.0, 0.0, -1.0])}
BAD = {
    "not positive": (POSITIONED, "box-cox", NegativeValues, "'bad' holds a value that is not positive.*row 2"),
    "constant": ({"a": [1.0, 2.0], "b": [3.0, 3.0]}, "box-cox", DegenerateColumn, "'b' is constant"),
    "empty": ({"a": [1.0, 2.0], "b": [np.nan, np.nan]}, "yeo-johnson", DegenerateColumn, "'b' has no value"),
    "infinity": ({"a": [1.0, np.inf]}, "yeo-johnson", NonFiniteValues, "'a' holds infinity.*row 1"),
    "method": ({"a": [1.0, 2.0]}, "log", BadParameter, "method"),
    "text": ({"a": ["x", "y"]}, "yeo-johnson", WrongColumnType, "'a' is string"),
}


@pytest.mark.parametrize(("table", "method", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(table, method, kind, says, write_parquet, local):
    with pytest.raises(kind, match=says):
        pqy.fit(PowerTransformer(method), write_parquet(table, files=1), engine=local)
