"""RidgeClassifier against scikit-learn's own fit of the same rows, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, ParquetryError
from regressions import FEATURES, SHAPES, assert_same_model, far, fit_both, nearly_collinear, table, well

ESTIMATORS = [
    RidgeClassifier(),
    RidgeClassifier(alpha=0.1, class_weight="balanced", solver="svd"),
    RidgeClassifier(alpha=20.0, fit_intercept=False, solver="svd"),
]


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("target", ["two", "four", ["flag", "mark"]], ids=str)
@pytest.mark.parametrize("weight", [None, "weight"])
def test_parity(local: Any, rows: Any, shape: Any, estimator: Any, target: Any, weight: str | None) -> None:
    data = rows(shape)
    ours, theirs = fit_both(estimator, data, local, target=target, weight=weight)
    hard = shape is nearly_collinear or (shape is far and not estimator.fit_intercept)
    assert_same_model(ours, theirs, 1e-8 if hard else 1e-9)
    x = data.to_pandas()[FEATURES]
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 2
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("target", ["two", "four", ["flag", "mark"]], ids=str)
def test_coefficients_of_0_or_more(local: Any, rows: Any, target: Any) -> None:
    data = rows()
    for estimator in (RidgeClassifier(positive=True), RidgeClassifier(positive=True, class_weight="balanced")):
        ours, theirs = fit_both(estimator, data, local, target=target, weight="weight")
        assert_same_model(ours, theirs, 1e-6)
        assert ours.coef_.min() >= 0
        assert ours.fit_report_["placement"] == "distributed"


def test_class_weights_by_name(local: Any, rows: Any) -> None:
    data = rows()
    ours, theirs = fit_both(RidgeClassifier(class_weight={10: 5.0, 30: 0.0}), data, local, target="four")
    assert_same_model(ours, theirs)
    with pytest.raises(BadParameter, match="class_weight names 'maybe'"):
        pqy.fit(RidgeClassifier(class_weight={"maybe": 2.0}), data, target="two", features=FEATURES, engine=local)


@pytest.mark.parametrize(
    "labels", [[True, False], [2.0, 1.0], ["b", "a"], [5, 5], [-1, 1]], ids=["bool", "float", "text", "one", "signs"]
)
def test_kinds_of_labels(local: Any, write_parquet: Any, labels: list[Any]) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    label = [labels[int(v > 0)] for v in x + rng.normal(size=200)]
    data = pqy.open_dataset(write_parquet(pa.table({"x": x, "label": label}), row_group_size=30))
    frame = data.to_pandas()
    ours = pqy.fit(RidgeClassifier(), data, target="label", engine=local)
    theirs = RidgeClassifier().fit(frame[["x"]], frame["label"].to_numpy())
    assert_same_model(ours, theirs)
    np.testing.assert_array_equal(ours.predict(frame[["x"]]), theirs.predict(frame[["x"]]))


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, rows: Any) -> None:
    data, bits = rows(), []
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(
            RidgeClassifier(class_weight="balanced"),
            data,
            target="four",
            features=FEATURES,
            sample_weight="weight",
            engine=engine,
        )
        bits.append([model.coef_.tobytes(), model.intercept_.tobytes(), model.classes_.tolist()])
    assert bits[0] == bits[1] == bits[2]


def test_sparse_features(local: Any, houses: Any) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), RidgeClassifier(alpha=2.0))
    ours = pqy.fit(pipeline, data, target="place", features=["rooms"], engine=local)
    theirs = RidgeClassifier(alpha=2.0).fit(ours[0].transform(frame[["rooms"]]).toarray(), frame["place"].to_numpy())
    assert_same_model(ours[1], theirs)


def test_ill_conditioned_fits_are_refined(local: Any, write_parquet: Any) -> None:
    found = table()
    x = np.asarray(found["x0"]) + 1e-5 * np.asarray(found["x3"])
    data = pqy.open_dataset(write_parquet(found.set_column(4, "x4", pa.array(x)), row_group_size=90))
    estimator = RidgeClassifier(alpha=1e-9)
    ours = pqy.fit(estimator, data, target="four", features=[*FEATURES[:3], "x4"], engine=local)
    frame = data.to_pandas()
    theirs = clone(estimator).set_params(solver="svd").fit(frame[[*FEATURES[:3], "x4"]], frame["four"])
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8)
    assert ours.fit_report_["passes"] > 2


@pytest.mark.parametrize(
    ("estimator", "target", "error", "message"),
    [
        (RidgeClassifier(alpha=-1.0), "two", BadParameter, "alpha"),
        (RidgeClassifier(solver="lbfgs"), "two", BadParameter, "positive=True only"),
        (RidgeClassifier(alpha=np.ones(3)), "four", BadParameter, "3 penalties for 4 targets"),
        (RidgeClassifier(), ["four", "flag"], BadParameter, "[Mm]ulti"),
        (RidgeClassifier(), (), BadParameter, "needs a target"),
    ],
    ids=str,
)
def test_bad_parameters(
    local: Any, rows: Any, estimator: Any, target: Any, error: type[ParquetryError], message: str
) -> None:
    with pytest.raises(error, match=message):
        pqy.fit(estimator, rows(), target=target or None, features=FEATURES, engine=local)


def test_bad_rows(local: Any, write_parquet: Any) -> None:
    x = np.arange(300.0)
    label = np.where(x > 100, "a", "b").astype(object)
    missing = label.copy()
    missing[7] = None
    folder = write_parquet(pa.table({"x": x, "gap": np.where(x == 3, np.inf, x), "label": label, "missing": missing}))
    with pytest.raises(NonFiniteValues, match="'gap' holds infinity"):
        pqy.fit(RidgeClassifier(), folder, target="label", features=["gap"], engine=local)
    with pytest.raises(NonFiniteValues, match="'missing' holds a missing value"):
        pqy.fit(RidgeClassifier(), folder, target="missing", features=["x"], engine=local)
    with pytest.raises((BadParameter, DegenerateColumn), match="weight"):
        pqy.fit(
            RidgeClassifier(class_weight={"a": 0.0, "b": 0.0}), folder, target="label", features=["x"], engine=local
        )
