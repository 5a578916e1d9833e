"""ONNX against scikit-learn over whole data sets."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

import parquetry as pqy
from parquetry import artefact
from parquetry.agreement import Agreement, agreement
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.onnx_model import OnnxModel

ROWS = 1_200
NUMBERS, TEXTS = ["area", "size (k$)"], ["place", "kind"]
WHOLE = "rooms"


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(7)
    area = rng.normal(50, 20, ROWS)
    place = rng.choice(["coast", "hills", "Zürich", "rare", "rarer"], ROWS, p=[0.5, 0.3, 0.17, 0.02, 0.01])
    return pd.DataFrame(
        {
            "area": np.where(rng.random(ROWS) < 0.1, np.nan, area),
            "size (k$)": rng.exponential(size=ROWS),
            WHOLE: rng.integers(1, 7, ROWS),
            "place": pd.array(np.where(rng.random(ROWS) < 0.1, None, place), dtype="str"),
            "kind": pd.array(rng.choice(["old", "new"], ROWS), dtype="str"),
            "price": 1e5 + 2e3 * np.abs(area) + 1e4 * rng.random(ROWS),
        }
    )


@pytest.fixture
def data(frame: pd.DataFrame, write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(pa.Table.from_pandas(frame, preserve_index=False), files=3, row_group_size=150)


def columns(**imputer: Any) -> ColumnTransformer:
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(strategy="median", **imputer), StandardScaler()), NUMBERS),
            ("texts", OneHotEncoder(handle_unknown="ignore"), [*TEXTS, WHOLE]),
        ]
    )


def filled(strategy: str, **encoder: Any) -> ColumnTransformer:
    texts = make_pipeline(SimpleImputer(strategy=strategy), OneHotEncoder(**encoder))
    return ColumnTransformer([("texts", texts, TEXTS)], remainder=SimpleImputer())


def logs() -> ColumnTransformer:
    return ColumnTransformer([("log", FunctionTransformer(np.log1p), ["size (k$)"]), ("same", "passthrough", [WHOLE])])


def target_log(regressor: Any) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(regressor, func=np.log1p, inverse_func=np.expm1)


def target_scaled(scaler: Any) -> TransformedTargetRegressor:
    return TransformedTargetRegressor(Ridge(), transformer=scaler)


RARE = {"handle_unknown": "infrequent_if_exist", "min_frequency": 40}
REGRESSORS = {
    "column transformer": lambda: make_pipeline(columns(), LinearRegression()),
    "indicator": lambda: make_pipeline(columns(add_indicator=True), Ridge()),
    "infrequent": lambda: make_pipeline(filled("most_frequent", **RARE), Ridge()),
    "infrequent, first dropped": lambda: make_pipeline(filled("constant", drop="first", **RARE), Ridge()),
    "strict encoder": lambda: make_pipeline(filled("most_frequent", handle_unknown="error"), Ridge()),
    "functions": lambda: make_pipeline(logs(), Ridge()),
    "target log around": lambda: target_log(make_pipeline(columns(), Ridge())),
    "target log inside": lambda: make_pipeline(columns(), target_log(Ridge())),
    "target standardized": lambda: make_pipeline(columns(), target_scaled(StandardScaler())),
    "target in a range": lambda: make_pipeline(columns(), target_scaled(MinMaxScaler())),
    "mean": lambda: make_pipeline(columns(), DummyRegressor()),
    "mean of logs": lambda: target_log(DummyRegressor()),
    "forest": lambda: make_pipeline(columns(), RandomForestRegressor(10, random_state=0)),
}
NUMERIC = {
    "no column transformer": lambda: make_pipeline(SimpleImputer(), MinMaxScaler(clip=True), Ridge()),
    "one-hot first": lambda: make_pipeline(OneHotEncoder(handle_unknown="ignore", max_categories=5), Ridge()),
    "union": lambda: make_pipeline(
        SimpleImputer(),
        FeatureUnion([("a", StandardScaler()), ("b", MinMaxScaler())], transformer_weights={"a": 2.0}),
        Ridge(),
    ),
    "union first": lambda: make_pipeline(
        FeatureUnion([("a", SimpleImputer()), ("b", SimpleImputer(strategy="median", add_indicator=True))]), Ridge()
    ),
    "boosting alone": lambda: HistGradientBoostingRegressor(max_iter=20, random_state=0),
}
CLASSIFIERS = {
    "logistic": lambda: make_pipeline(columns(), LogisticRegression()),
    "forest": lambda: make_pipeline(columns(), RandomForestClassifier(10, random_state=0)),
    "prior": lambda: make_pipeline(columns(), DummyClassifier()),
    "no probabilities": lambda: make_pipeline(columns(), RidgeClassifier()),
}
LABELS = {
    "text": lambda price: np.where(price > price.median(), "dear", "cheap"),
    "bool": lambda price: (price > price.median()).to_numpy(),
    "three numbers": lambda price: pd.qcut(price, 3, labels=False).to_numpy() + 5,
}


def saved(model: Any, frame: pd.DataFrame, y: Any, path: Path, features: list[str]) -> Path:
    types = {f.name: str(f.type) for f in pa.Schema.from_pandas(frame[features], preserve_index=False)}
    model.fit(frame[features], y)
    model.fit_report_ = {"inputs": types, "target": ["price"], "placement": "distributed", "steps": []}
    return artefact.save(model, path)


@pytest.mark.parametrize("name", REGRESSORS)
def test_regressors_agree(name: str, frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any) -> None:
    model = REGRESSORS[name]()
    path = saved(model, frame, frame["price"], tmp_path / "m", [*NUMBERS, WHOLE, *TEXTS])
    found = agreement(path, data, model=model, engine=local)
    assert found["rows"] == ROWS
    assert (found["disagreements"], found["first"]) == (0, None), found
    assert found["max_relative"] < 1e-5, found


@pytest.mark.parametrize("name", NUMERIC)
def test_models_that_do_not_begin_with_a_column_transformer_agree(
    name: str, frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any
) -> None:
    model = NUMERIC[name]()
    features = [WHOLE, "kind"] if name == "one-hot first" else [*NUMBERS, WHOLE]
    path = saved(model, frame, frame["price"], tmp_path / "m", features)
    found = agreement(path, data, model=model, engine=local)
    assert (found["rows"], found["disagreements"]) == (ROWS, 0), found


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_classifiers_agree(name: str, labels: str, frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any) -> None:
    model, y = CLASSIFIERS[name](), LABELS[labels](frame["price"])
    path = saved(model, frame, y, tmp_path / "m", [*NUMBERS, WHOLE, *TEXTS])
    found = agreement(path, data, model=model, engine=local)
    assert (found["rows"], found["disagreements"]) == (ROWS, 0), found
    own = artefact.load_onnx(path).predict(frame)
    assert own.dtype.kind == ("O" if labels == "text" else "b" if labels == "bool" else "i")
    assert np.mean(own == model.predict(frame[[*NUMBERS, WHOLE, *TEXTS]])) > 0.999


def test_several_targets_agree(frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any) -> None:
    model = make_pipeline(columns(), Ridge())
    y = np.column_stack([frame["price"], -1e-3 * frame["price"]])
    path = saved(model, frame, y, tmp_path / "m", [*NUMBERS, WHOLE, *TEXTS])
    found = agreement(path, data, model=model, engine=local)
    assert found["disagreements"] == 0
    assert found["scale"][0] > 500 * found["scale"][1] > 0
    assert artefact.load_onnx(path).predict(frame).shape == (ROWS, 2)


def test_the_saved_model_is_compared_where_none_is_given(
    frame: pd.DataFrame, data: Path, tmp_path: Path, engine: Any
) -> None:
    model = make_pipeline(
        ColumnTransformer([("scaled", StandardScaler(), ["size (k$)"]), ("texts", OneHotEncoder(), ["kind", WHOLE])]),
        Ridge(),
    )
    path = saved(model, frame, frame["price"], tmp_path / "m", ["size (k$)", "kind", WHOLE])
    train, test = pqy.open_dataset(data).split(test=0.3, seed=1)
    found = agreement(path, test, engine=engine)
    assert found["rows"] == test.num_rows == ROWS - train.num_rows
    assert found["disagreements"] == 0


def test_a_wrong_model_is_counted_and_its_first_row_named(
    frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any
) -> None:
    features = [*NUMBERS, WHOLE, *TEXTS]
    path = saved(make_pipeline(columns(), Ridge()), frame, frame["price"], tmp_path / "m", features)
    # Differs from the saved one where there are six rooms, and nowhere else.
    other = make_pipeline(columns(), Ridge()).fit(frame[features], frame["price"])
    names = list(other[0].get_feature_names_out())
    other[1].coef_ = other[1].coef_.copy()
    other[1].coef_[names.index("texts__rooms_6")] += 1.0
    other.fit_report_ = {"inputs": dict.fromkeys(features, "double")}
    found = agreement(path, data, model=other, engine=local)
    wrong = np.flatnonzero(frame[WHOLE] == 6)
    assert found["disagreements"] == len(wrong)
    assert found["max_absolute"] == pytest.approx(1.0, abs=0.05)
    first = int(wrong[0])
    assert (found["first"]["row_group"], found["first"]["row"]) == (first // 150, first % 150)
    assert found["first"]["file"].endswith("part-0.parquet")


def test_rounding_of_inputs_is_told_from_disagreement(
    write_parquet: Callable[..., Path], tmp_path: Path, local: Any
) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"time": rng.normal(1e9, 100.0, ROWS)})
    data = write_parquet(pa.Table.from_pandas(frame, preserve_index=False), files=2, row_group_size=100)
    model = make_pipeline(StandardScaler(), LinearRegression())
    path = saved(model, frame, (frame["time"] - 1e9) + rng.normal(size=ROWS), tmp_path / "m", ["time"])
    found = agreement(path, data, model=model, engine=local)
    # float32 holds 1e9 to the nearest 64: most rows are off by far more than the tolerance.
    assert found["rounded"] > ROWS / 2
    assert found["disagreements"] == 0
    assert 1.0 < found["max_absolute"] <= 33.0


TREES = {
    "forest": lambda: RandomForestRegressor(10, random_state=0),
    "boosting": lambda: HistGradientBoostingRegressor(max_iter=20, random_state=0),
}
FAULTS = {
    "strict branches": ("nodes_modes", lambda mode: b"BRANCH_LT" if mode == b"BRANCH_LEQ" else mode),
    "leaves off by a thousandth": ("target_weights", lambda weight: weight * 1.001),
    "thresholds off by a hundredth": ("nodes_values", lambda threshold: threshold + 0.01),
}


def gridded(write_parquet: Callable[..., Path]) -> tuple[pd.DataFrame, Path]:
    """Two decimals a value, so that a tree's thresholds fall on values: the hard case for float32."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({name: np.round(rng.uniform(-120, -110, ROWS), 2) for name in ("lat", "lon")})
    frame.loc[::9, "lat"] = np.nan
    frame["price"] = 1e5 + 1e4 * np.sin(frame["lat"].fillna(-115)) + 1e3 * frame["lon"] + rng.normal(0, 500, ROWS)
    return frame, write_parquet(pa.Table.from_pandas(frame, preserve_index=False), "grid", row_group_size=150)


def tree_model(name: str) -> Any:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), TREES[name]())


@pytest.mark.parametrize("name", TREES)
def test_rounded_inputs_explain_all_that_trees_differ_in(
    name: str, write_parquet: Callable[..., Path], tmp_path: Path, local: Any
) -> None:
    frame, data = gridded(write_parquet)
    model = tree_model(name)
    path = saved(model, frame, frame["price"], tmp_path / "m", ["lat", "lon"])
    found = agreement(path, data, model=model, engine=local)
    assert found["disagreements"] == 0, found
    assert found["rounded"] > 0, "the data no longer holds the hard case"
    as_float32 = model.predict(frame[["lat", "lon"]].astype(np.float32).astype(np.float64))
    got = artefact.load_onnx(path).predict(frame)
    np.testing.assert_allclose(got, as_float32, rtol=found["rtol"])


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", TREES)
def test_faults_in_trees_are_not_taken_for_rounding(
    name: str, fault: str, write_parquet: Callable[..., Path], tmp_path: Path, local: Any
) -> None:
    frame, data = gridded(write_parquet)
    model = tree_model(name)
    path = saved(model, frame, frame["price"], tmp_path / "m", ["lat", "lon"])
    proto = onnx.load_from_string((path / "model.onnx").read_bytes())
    attribute, change = FAULTS[fault]
    node = next(n for n in proto.graph.node if n.op_type.startswith("TreeEnsemble"))
    values = next(a for a in node.attribute if a.name == attribute)
    field = values.strings if attribute == "nodes_modes" else values.floats
    field[:] = [change(value) for value in field]

    rtol = agreement(path, data, model=model, engine=local)["rtol"]
    view = make_view(data, target=None, features=["lat", "lon"])
    changed = Agreement(model, proto.SerializeToString(), rtol, np.array([1.0]))
    (found,) = run_pass(local, [(changed, view)], label="agreement")
    # Exactly the rows where the changed graph leaves the model's answer to float32 inputs.
    rows = frame[["lat", "lon"]]
    got = OnnxModel(proto.SerializeToString()).predict(rows).astype(np.float64)
    own, own32 = model.predict(rows), model.predict(rows.astype(np.float32).astype(np.float64))
    off = (np.abs(got - own) > rtol * np.abs(own)) & (np.abs(got - own32) > rtol * np.abs(own32))
    assert found.disagreements == off.sum() > 0


def test_a_graph_that_has_been_changed_shows(frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any) -> None:
    features = [*NUMBERS, WHOLE, *TEXTS]
    model = make_pipeline(columns(), LogisticRegression())
    path = saved(model, frame, LABELS["text"](frame["price"]), tmp_path / "m", features)
    proto = onnx.load_from_string((path / "model.onnx").read_bytes())
    node = next(n for n in proto.graph.node if n.op_type == "LinearClassifier")
    weights = next(a for a in node.attribute if a.name == "intercepts")
    weights.floats[:] = [-v for v in weights.floats]
    view = make_view(data, target=None, features=features)
    changed = Agreement(model, proto.SerializeToString(), 1e-6, np.ones(2))
    (found,) = run_pass(local, [(changed, view)], label="agreement")
    assert found.disagreements > ROWS / 2


def test_nulls_where_training_had_none_agree(
    frame: pd.DataFrame, write_parquet: Callable[..., Path], tmp_path: Path, local: Any
) -> None:
    complete = frame.dropna().reset_index(drop=True)
    model = make_pipeline(columns(), Ridge())
    path = saved(model, complete, complete["price"], tmp_path / "m", [*NUMBERS, WHOLE, *TEXTS])
    holes = frame.assign(
        kind=frame["kind"].where(frame.index % 5 > 0), place=frame["place"].replace("rare", "never seen")
    )
    data = write_parquet(pa.Table.from_pandas(holes, preserve_index=False), "holes")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = agreement(path, data, model=model, engine=local)
    assert (found["rows"], found["disagreements"]) == (ROWS, 0)


def test_large_whole_categories_stay_whole(write_parquet: Callable[..., Path], tmp_path: Path, local: Any) -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"key": rng.integers(0, 5, ROWS) + 2**40, "x": rng.normal(size=ROWS)})
    data = write_parquet(pa.Table.from_pandas(frame, preserve_index=False))
    model = make_pipeline(ColumnTransformer([("key", OneHotEncoder(), ["key"])], remainder="passthrough"), Ridge())
    path = saved(model, frame, (frame["key"] - 2**40) + frame["x"], tmp_path / "m", ["key", "x"])
    found = agreement(path, data, model=model, engine=local)
    assert (found["rows"], found["disagreements"]) == (ROWS, 0), found


def test_a_transformer_has_nothing_to_compare(frame: pd.DataFrame, data: Path, tmp_path: Path, local: Any) -> None:
    path = saved(columns(), frame, frame["price"], tmp_path / "m", [*NUMBERS, WHOLE, *TEXTS])
    with pytest.raises(BadParameter, match="predicts nothing"):
        agreement(path, data, model=columns(), engine=local)
