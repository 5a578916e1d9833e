"""LinearRegression and Ridge against scikit-learn's own fit of the same rows, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parity import assert_same_learned
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType

N, K = 900, 6
FEATURES = [f"x{i}" for i in range(K)]


def well(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K))


def far_from_zero(rng: np.random.Generator) -> np.ndarray:
    return 1e9 + rng.normal(size=(N, K))


def nearly_collinear(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 5] = x[:, 0] + 1e-4 * rng.normal(size=N)
    return x


def collinear(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 5] = x[:, 0] - 2 * x[:, 1]
    return x


def constant_column(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 3] = 7.25
    return x


def uneven_scales(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K)) * 10.0 ** np.arange(-2, 4)


DATA = [well, far_from_zero, nearly_collinear, collinear, constant_column, uneven_scales]
ESTIMATORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    Ridge(alpha=100.0, fit_intercept=False),
    Ridge(alpha=1e-3, solver="svd"),
]


@pytest.fixture
def linear_data(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    def make(shape: Callable[[np.random.Generator], np.ndarray] = well) -> pqy.Dataset:
        rng = np.random.default_rng(5)
        x = shape(rng)
        centered = x - x.mean(axis=0)
        columns = {f"x{i}": x[:, i] for i in range(K)}
        columns["y"] = centered @ np.arange(1, K + 1) + 3 + rng.normal(size=N)
        columns["z"] = centered @ np.arange(K, 0, -1) - 1 + rng.normal(size=N)
        columns["weight"] = rng.uniform(0.0, 3.0, N)
        return pqy.open_dataset(write_parquet(pa.table(columns), shape.__name__, files=3, row_group_size=120))

    return make


def assert_same_fit(ours: Any, theirs: Any, x: Any, tolerance: float = 1e-9) -> None:
    """Coefficients, intercepts and predictions within ``tolerance`` of their size."""
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=tolerance, atol=tolerance * np.abs(theirs.coef_).max())
    expected = theirs.predict(x)
    np.testing.assert_allclose(ours.predict(x), expected, rtol=0, atol=tolerance * np.abs(np.asarray(x)).max())
    assert ours.n_features_in_ == theirs.n_features_in_
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_)


@pytest.mark.parametrize("shape", DATA, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_parity(local: Any, linear_data: Any, shape: Any, estimator: Any) -> None:
    data = linear_data(shape)
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
    theirs = clone(estimator).fit(frame[FEATURES], frame["y"])
    # Where columns are nearly collinear, scikit-learn's own digits end at eps times the condition.
    hard = shape in (nearly_collinear, far_from_zero)
    assert_same_fit(ours, theirs, frame[FEATURES], tolerance=1e-7 if hard else 1e-9)
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(alpha=2.0), Ridge(alpha=[1.0, 50.0])], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_targets_on_every_engine(engine: Any, linear_data: Any, estimator: Any, weighted: bool) -> None:
    data = linear_data()
    frame = data.to_pandas()
    weight = "weight" if weighted else None
    ours = pqy.fit(estimator, data, target=["y", "z"], features=FEATURES, sample_weight=weight, engine=engine)
    theirs = clone(estimator).fit(frame[FEATURES], frame[["y", "z"]], frame["weight"] if weighted else None)
    assert_same_fit(ours, theirs, frame[FEATURES])
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


def test_rank_and_singular_values(local: Any, linear_data: Any) -> None:
    for shape in (well, collinear, constant_column):
        data = linear_data(shape)
        frame = data.to_pandas()
        ours = pqy.fit(LinearRegression(), data, target="y", features=FEATURES, engine=local)
        theirs = LinearRegression().fit(frame[FEATURES], frame["y"])
        assert ours.rank_ == theirs.rank_
        np.testing.assert_allclose(ours.singular_, theirs.singular_, atol=2e-8 * theirs.singular_[0])


def test_ill_conditioned_fits_take_refinement_passes_and_say_so(local: Any, linear_data: Any) -> None:
    data = linear_data(nearly_collinear)
    model = pqy.fit(LinearRegression(), data, target="y", features=FEATURES, engine=local)
    assert 2 <= model.fit_report_["passes"] <= 5


def test_fewer_rows_than_features(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({**{f"x{i}": rng.normal(size=5) for i in range(9)}, "y": rng.normal(size=5)})
    data = pqy.open_dataset(write_parquet(table, row_group_size=2))
    frame = data.to_pandas()
    ours = pqy.fit(LinearRegression(), data, target="y", engine=local)
    theirs = LinearRegression().fit(frame.drop(columns="y"), frame["y"])
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8, atol=1e-10)


def test_sparse_features(engine: Any, houses: Path) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), Ridge(alpha=0.5))
    ours = pqy.fit(pipeline, data, target="price", features=["place", "rooms"], engine=engine)
    theirs = clone(pipeline).fit(frame[["place", "rooms"]], frame["price"])
    assert sparse.issparse(ours[0].transform(frame[["place", "rooms"]]))
    # scikit-learn's sparse solver is iterative: its own tolerance is 1e-4.
    np.testing.assert_allclose(ours[-1].coef_, theirs[-1].coef_, rtol=1e-3, atol=1e-3 * np.abs(theirs[-1].coef_).max())


@pytest.mark.parametrize("weight", [None, "weight"])
def test_positive(local: Any, linear_data: Any, weight: str | None) -> None:
    data = linear_data(uneven_scales)
    frame = data.to_pandas()
    weights = None if weight is None else frame[weight]
    for estimator in (
        LinearRegression(positive=True),
        LinearRegression(positive=True, fit_intercept=False),
        Ridge(alpha=5.0, positive=True),
    ):
        for target in ("y", ["y", "z"]):
            ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=local)
            theirs = clone(estimator).fit(frame[FEATURES], frame[target], weights)
            assert_same_fit(ours, theirs, frame[FEATURES], tolerance=1e-6)
            assert_same_learned(ours, theirs, rtol=1e-6)
            assert ours.fit_report_["placement"] == "distributed"
            assert np.asarray(ours.coef_).min() >= 0


def test_a_mean_far_from_zero_costs_no_digit(local: Any, linear_data: Any) -> None:
    data = linear_data(far_from_zero)
    frame = data.to_pandas()
    for estimator in (LinearRegression(), Ridge(alpha=10.0)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        # The same rows moved to zero, which floats of this size allow without rounding.
        theirs = clone(estimator).fit(frame[FEATURES] - 1e9, frame["y"])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-12)


def test_uneven_scales_need_one_pass(local: Any, linear_data: Any) -> None:
    data = linear_data(uneven_scales)
    frame = data.to_pandas()
    for estimator in (LinearRegression(), Ridge(alpha=1e-6), Ridge(alpha=1e-6, fit_intercept=False)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        theirs = clone(estimator).fit(frame[FEATURES], frame["y"])
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10)
        assert ours.fit_report_["passes"] == 1


def test_non_finite_values_are_named_with_their_first_position(engine: Any, write_parquet: Any) -> None:
    x = np.arange(500.0)
    x[[333, 420]] = [np.inf, np.nan]
    folder = write_parquet(pa.table({"x": x, "y": np.arange(500.0) ** 0.5}))
    with pytest.raises(NonFiniteValues, match=r"'x' holds infinity.*part-1.parquet, row group 0, row 83") as caught:
        pqy.fit(LinearRegression(), folder, target="y", engine=engine)
    assert caught.value.fix


def test_missing_targets_are_refused(local: Any, write_parquet: Any) -> None:
    folder = write_parquet(pa.table({"x": np.arange(300.0), "y": pa.array([None, *np.arange(299.0)])}))
    with pytest.raises(NonFiniteValues, match=r"column 'y' holds NaN.*row 0"):
        pqy.fit(LinearRegression(), folder, target="y", engine=local)


def test_bad_weights(local: Any, write_parquet: Any) -> None:
    n = 300
    columns = {"x": np.arange(float(n)), "y": np.arange(float(n)) ** 2, "w": np.linspace(-1, 1, n), "zero": np.zeros(n)}
    folder = write_parquet(pa.table({**columns, "text": ["a"] * n}))
    for weight in ("w", "zero"):
        with pytest.raises(BadParameter, match="sample weights must be non-negative and not all zero"):
            pqy.fit(LinearRegression(), folder, target="y", features=["x"], sample_weight=weight, engine=local)
    with pytest.raises(WrongColumnType, match="weight column 'text' is not numeric"):
        pqy.fit(LinearRegression(), folder, target="y", features=["x"], sample_weight="text", engine=local)


def test_text_features_are_refused_before_any_work(local: Any, houses: Path) -> None:
    with pytest.raises(WrongColumnType, match="LinearRegression: Column 'place' is string") as caught:
        pqy.fit(LinearRegression(), houses, target="price", engine=local)
    assert "OneHotEncoder" in caught.value.fix


def test_parameters(local: Any, linear_data: Any) -> None:
    data = linear_data()
    for estimator, message in (
        (Ridge(alpha=[1.0, 2.0, 3.0]), "3 penalties for 1 targets"),
        (Ridge(solver="lbfgs"), "lbfgs"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)


def test_too_many_features_for_the_memory(local: Any, linear_data: Any) -> None:
    with pytest.raises(TooBigForOneNode, match="6 features need"):
        pqy.fit(LinearRegression(), linear_data(), target="y", features=FEATURES, engine=local, memory=1000)
