"""predict and evaluate: every row once, in order, and scikit-learn's own metrics, on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics
from sklearn.cluster import KMeans
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, OutputExists, UnknownColumn, WrongColumnType

NUMBERS = ["area", "rooms", "age"]


def pipeline() -> Any:
    columns = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), NUMBERS),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["place"]),
        ]
    )
    return make_pipeline(columns, LinearRegression())


@pytest.fixture
def model(local: Any, houses: Path) -> Any:
    train, _ = pqy.open_dataset(houses).split(test=0.3, seed=1)
    return pqy.fit(pipeline(), train, target="price", engine=local)


def test_regression_metrics_are_scikit_learns(engine: Any, model: Any, houses: Path) -> None:
    _, test = pqy.open_dataset(houses).split(test=0.3, seed=1)
    frame = test.to_pandas()
    truth, guess = frame["price"], model.predict(frame)
    scores = pqy.evaluate(model, test, target="price", engine=engine)
    expected = {
        "r2": metrics.r2_score(truth, guess),
        "rmse": metrics.root_mean_squared_error(truth, guess),
        "mae": metrics.mean_absolute_error(truth, guess),
        "mape": metrics.mean_absolute_percentage_error(truth, guess),
        "median_absolute_error": metrics.median_absolute_error(truth, guess),
    }
    assert scores["rows"] == len(frame)
    assert {name: scores[name] for name in expected} == pytest.approx(expected, rel=1e-11)


def test_weighted_regression_metrics(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    columns = {"x": rng.normal(size=700), "y": rng.normal(size=700), "z": rng.normal(size=700), "w": rng.random(700)}
    data = pqy.open_dataset(write_parquet(pa.table(columns)))
    frame = data.to_pandas()
    targets = ["y", "z"]
    model = pqy.fit(LinearRegression(), data, target=targets, features=["x"], sample_weight="w", engine=local)
    scores = pqy.evaluate(model, data, target=targets, sample_weight="w", engine=local)
    truth, guess, weight = frame[targets], model.predict(frame[["x"]]), frame["w"]
    assert scores["r2"] == pytest.approx(metrics.r2_score(truth, guess, sample_weight=weight), rel=1e-9)
    assert scores["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, guess, sample_weight=weight))
    assert scores["mae"] == pytest.approx(metrics.mean_absolute_error(truth, guess, sample_weight=weight))
    assert scores["mape"] == pytest.approx(
        metrics.mean_absolute_percentage_error(truth, guess, sample_weight=weight), rel=1e-9
    )
    assert scores["median_absolute_error"] == pytest.approx(
        metrics.median_absolute_error(truth, guess, sample_weight=weight), rel=1e-9
    )


def test_constant_target_at_test_time(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(50.0), "y": [*np.zeros(25), *np.ones(25)]})))
    model = pqy.fit(DummyRegressor(strategy="constant", constant=1.0), data, target="y", engine=local)
    ones = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(50.0), "y": np.ones(50)}), "ones"))
    assert pqy.evaluate(model, ones, target="y", engine=local)["r2"] == 1.0
    zeros = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(50.0), "y": np.zeros(50)}), "zeros"))
    assert pqy.evaluate(model, zeros, target="y", engine=local)["r2"] == 0.0


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=5000), LinearSVC()], ids=str)
def test_classification_metrics_are_scikit_learns(engine: Any, houses: Path, classifier: Any) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    features = ["area", "rooms", "price"]
    model = pqy.fit(make_pipeline(StandardScaler(), classifier), data, target="place", features=features, engine=engine)
    truth, guess = frame["place"], model.predict(frame[features])
    scores = pqy.evaluate(model, data, target="place", engine=engine)
    macro: dict[str, Any] = {"average": "macro", "zero_division": 0}
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(truth, guess))
    assert scores["balanced_accuracy"] == pytest.approx(metrics.balanced_accuracy_score(truth, guess))
    assert scores["precision"] == pytest.approx(metrics.precision_score(truth, guess, **macro))
    assert scores["recall"] == pytest.approx(metrics.recall_score(truth, guess, **macro))
    assert scores["f1"] == pytest.approx(metrics.f1_score(truth, guess, **macro))
    assert scores["confusion_matrix"] == metrics.confusion_matrix(truth, guess).tolist()
    if hasattr(model, "predict_proba"):
        expected = metrics.log_loss(truth, model.predict_proba(frame[features]))
        assert scores["log_loss"] == pytest.approx(expected, rel=1e-9)


def test_predictions_are_every_row_in_order(engine: Any, model: Any, houses: Path, tmp_path: Path) -> None:
    _, test = pqy.open_dataset(houses).split(test=0.3, seed=1)
    written = pqy.predict(model, test, to=tmp_path / "out", keys=["price", "place"], engine=engine)
    expected = test.to_pandas()
    found = written.to_pandas()
    assert list(found.columns) == ["price", "place", "prediction"]
    assert found["price"].tolist() == expected["price"].tolist()
    assert found["place"].tolist() == expected["place"].tolist()
    np.testing.assert_allclose(found["prediction"], model.predict(expected), rtol=1e-12)
    with pytest.raises(OutputExists):
        pqy.predict(model, test, to=tmp_path / "out", engine=engine)
    again = pqy.predict(model, test, to=tmp_path / "out", engine=engine, mode="overwrite")
    assert again.num_rows == len(expected)
    assert again.columns == ("prediction",)


def test_other_methods(local: Any, houses: Path, model: Any, tmp_path: Path) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    steps = pqy.predict(model[:-1], data, to=tmp_path / "steps", features=[*NUMBERS, "place"], method="transform")
    assert list(steps.columns) == list(model[:-1].get_feature_names_out())
    np.testing.assert_allclose(steps.to_pandas(), model[:-1].transform(frame), rtol=1e-12)
    classes = pqy.fit(LogisticRegression(max_iter=5000), data, target="place", features=["area", "rooms"], engine=local)
    shares = pqy.predict(classes, data, to=tmp_path / "shares", method="predict_proba", engine=local)
    assert list(shares.columns) == ["probability_coast", "probability_hills", "probability_town"]
    np.testing.assert_allclose(shares.to_pandas(), classes.predict_proba(frame[["area", "rooms"]]), rtol=1e-9)
    names = pqy.predict(classes, data, to=tmp_path / "names", engine=local).to_pandas()["prediction"]
    assert names.tolist() == classes.predict(frame[["area", "rooms"]]).tolist()


def test_bad_input(local: Any, houses: Path, model: Any, tmp_path: Path, write_parquet: Any) -> None:
    data = pqy.open_dataset(houses)
    with pytest.raises(BadParameter, match="no method 'predict_proba'"):
        pqy.predict(model, data, to=tmp_path / "a", method="predict_proba", engine=local)
    with pytest.raises(UnknownColumn, match="no key column 'idd'"):
        pqy.predict(model, data, to=tmp_path / "a", keys=["idd"], engine=local)
    with pytest.raises(UnknownColumn, match="no feature column 'age'"):
        pqy.predict(
            model, pqy.open_dataset(write_parquet(data.to_pandas().drop(columns="age"), "no-age")), to=tmp_path / "a"
        )
    area = pqy.fit(LinearRegression(), data, target="price", features=["area"], engine=local)
    with pytest.raises(WrongColumnType, match="target 'place' is string"):
        pqy.evaluate(area, data, target="place", engine=local)
    with pytest.raises(BadParameter, match="neither predicts numbers nor classes"):
        pqy.evaluate(KMeans(), data, target="price", features=["area"], engine=local)
    gap = pqy.open_dataset(
        write_parquet(data.to_pandas().assign(price=lambda f: f["price"].where(f.index != 700)), "gap")
    )
    with pytest.raises(
        NonFiniteValues, match=r"evaluate: column 'price' holds NaN.*part-1.parquet, row group 2, row 0"
    ):
        pqy.evaluate(model, gap, target="price", engine=local)
    assert not (tmp_path / "a").exists()


def test_unseen_class_is_named(local: Any, houses: Path, write_parquet: Any) -> None:
    data = pqy.open_dataset(houses)
    model = pqy.fit(LogisticRegression(max_iter=5000), data, target="place", features=["area"], engine=local)
    other = pqy.open_dataset(write_parquet(data.to_pandas().assign(place="moon"), "moon"))
    with pytest.raises(WrongColumnType, match="never seen: 'moon'"):
        pqy.evaluate(model, other, target="place", engine=local)


def test_columns_in_another_order_are_refused(local: Any, houses: Path, model: Any, tmp_path: Path) -> None:
    with pytest.raises(BadParameter, match="Columns in another order"):
        pqy.predict(model, houses, to=tmp_path / "a", features=["rooms", "area", "age", "place"], engine=local)


def test_a_chosen_threshold_counts(local: Any, houses: Path, write_parquet: Any) -> None:
    from sklearn.model_selection import FixedThresholdClassifier

    frame = pqy.open_dataset(houses).to_pandas().assign(town=lambda f: (f["place"] == "town").astype(int))
    town = pqy.open_dataset(write_parquet(frame, "town"))
    model = FixedThresholdClassifier(LogisticRegression(), threshold=0.1).fit(frame[["area"]], frame["town"])
    scores = pqy.evaluate(model, town, target="town", features=["area"], engine=local)
    expected = metrics.confusion_matrix(frame["town"], model.predict(frame[["area"]]))
    assert scores["confusion_matrix"] == expected.tolist()
