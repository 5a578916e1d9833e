"""fit: pipelines and column transformers against scikit-learn's own fit, placement, budgets."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor, make_column_selector
from sklearn.decomposition import FactorAnalysis
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Lars, Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, QuantileTransformer, StandardScaler
from sklearn.tree import DecisionTreeRegressor

import parquetry as pqy
from parquetry.errors import BadParameter, StepNotPicklable, TooBigForOneNode

NUMBERS = ["area", "rooms", "age"]
FEATURES = [*NUMBERS, "place"]


def numbers() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def columns(**settings: Any) -> ColumnTransformer:
    words = OneHotEncoder(handle_unknown="ignore")
    return ColumnTransformer([("numbers", numbers(), NUMBERS), ("words", words, ["place"])], **settings)


PIPELINES = {
    "column transformer": make_pipeline(columns(), LinearRegression()),
    "by dtype": make_pipeline(
        ColumnTransformer(
            [
                ("numbers", numbers(), make_column_selector(dtype_include="number")),
                ("words", OneHotEncoder(sparse_output=False), make_column_selector(dtype_exclude="number")),
            ]
        ),
        LinearRegression(),
    ),
    "remainder": make_pipeline(
        ColumnTransformer(
            [("words", OneHotEncoder(drop="first"), ["place"]), ("gone", "drop", ["age"])],
            remainder=MinMaxScaler(),
        ),
        Ridge(),
    ),
    "passthrough": make_pipeline(
        ColumnTransformer([("area", "passthrough", ["area"]), ("rooms", MinMaxScaler(), [1])]), LinearRegression()
    ),
    "forced sparse": make_pipeline(columns(sparse_threshold=1.0), Ridge(alpha=0.1, solver="sparse_cg", tol=1e-12)),
    "steps that do nothing": Pipeline([("a", "passthrough"), ("columns", columns()), ("b", None), ("fit", Ridge())]),
    "union": make_pipeline(
        ColumnTransformer([("n", SimpleImputer(), NUMBERS)]),
        FeatureUnion([("standard", StandardScaler()), ("unit", MinMaxScaler()), ("gone", "drop")]),
        LinearRegression(),
    ),
    "frames between steps": make_pipeline(
        ColumnTransformer([("n", SimpleImputer(), NUMBERS)]).set_output(transform="pandas"),
        ColumnTransformer([("some", StandardScaler(), make_column_selector(pattern="area|rooms"))]),
        LinearRegression(),
    ),
    "log target": TransformedTargetRegressor(
        make_pipeline(columns(), LinearRegression()), func=np.log1p, inverse_func=np.expm1
    ),
    "scaled target": TransformedTargetRegressor(make_pipeline(columns(), Ridge()), transformer=StandardScaler()),
    "function": make_pipeline(
        ColumnTransformer([("log", FunctionTransformer(np.log1p), ["area", "rooms"])]), LinearRegression()
    ),
    "baseline": DummyRegressor(),
}


def predictions(model: Any, x: pd.DataFrame) -> np.ndarray:
    return np.asarray(model.predict(x), dtype=float)


@pytest.mark.parametrize("name", PIPELINES)
def test_parity_with_scikit_learn(local: Any, houses: Path, name: str) -> None:
    pipeline, data = PIPELINES[name], pqy.open_dataset(houses)
    frame = data.to_pandas()
    ours = pqy.fit(pipeline, data, target="price", features=FEATURES, engine=local)
    theirs = clone(pipeline).fit(frame[FEATURES], frame["price"])
    np.testing.assert_allclose(predictions(ours, frame[FEATURES]), predictions(theirs, frame[FEATURES]), rtol=1e-9)
    assert type(ours) is type(theirs)
    if hasattr(theirs, "feature_names_in_"):
        assert list(ours.feature_names_in_) == list(theirs.feature_names_in_)


@pytest.mark.parametrize("name", ["column transformer", "forced sparse", "scaled target"])
def test_the_same_bits_on_every_engine(engine: Any, local: Any, houses: Path, name: str) -> None:
    data = pqy.open_dataset(houses)
    here = pqy.fit(PIPELINES[name], data, target="price", features=FEATURES, engine=local)
    there = pqy.fit(PIPELINES[name], data, target="price", features=FEATURES, engine=engine)
    frame = data.to_pandas()[FEATURES]
    assert predictions(here, frame).tobytes() == predictions(there, frame).tobytes()


def test_branches_share_their_passes(local: Any, houses: Path) -> None:
    labels: list[str] = []
    reduce = local.reduce
    local.reduce = lambda *args, label, **more: labels.append(label) or reduce(*args, label=label, **more)
    pqy.fit(PIPELINES["column transformer"], houses, target="price", features=FEATURES, engine=local)
    # Imputer and encoder share the first pass; 1,000 rows need no second one for the median.
    assert len(labels) == 3
    assert labels[-1] == "fit-LinearRegression-pass-3"


def test_single_node_fallback_is_said_and_equal(engine: Any, houses: Path) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    boosting = GradientBoostingRegressor(n_estimators=5, random_state=0)
    model = pqy.fit(make_pipeline(columns(), boosting), data, target="price", features=FEATURES, engine=engine)
    theirs = make_pipeline(columns(), clone(boosting)).fit(frame[FEATURES], frame["price"])
    np.testing.assert_allclose(predictions(model, frame[FEATURES]), predictions(theirs, frame[FEATURES]), rtol=1e-9)
    report = model.fit_report_
    assert report["placement"] == "mixed"
    by_name = {step["estimator"]: step for step in report["steps"]}
    assert by_name["GradientBoostingRegressor"]["placement"] == "single-node"
    assert "no distributed fit for GradientBoostingRegressor" in by_name["GradientBoostingRegressor"]["why"]
    assert by_name["StandardScaler"]["placement"] == "distributed"


def test_over_budget_is_refused_with_alternatives(local: Any, houses: Path) -> None:
    with pytest.raises(TooBigForOneNode, match=r"KNeighborsRegressor needs about .* GiB") as caught:
        pqy.fit(KNeighborsRegressor(), houses, target="price", features=["area"], engine=local, memory="10KB")
    assert "LinearRegression" in caught.value.fix
    assert "memory=" in caught.value.fix


@pytest.fixture
def idle(local: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An engine on which nothing may be scheduled."""
    for name in ("map", "reduce"):
        monkeypatch.setattr(local, name, lambda *_, **__: pytest.fail("work was scheduled"))
    return local


def many(early: Any) -> Pipeline:
    return Pipeline([("early", early), ("nothing", "passthrough"), ("neighbors", KNeighborsRegressor())])


@pytest.mark.parametrize(
    ("pipeline", "width"),
    [
        (many(StandardScaler()), 2),
        (many(make_pipeline(StandardScaler(), MinMaxScaler())), 2),
        (many(SimpleImputer()), 1),
        (make_pipeline(StandardScaler(), many(MinMaxScaler())), 2),
        (make_pipeline(StandardScaler(), FactorAnalysis(), Ridge()), 2),
        (TransformedTargetRegressor(many(StandardScaler()), transformer=StandardScaler()), 2),
    ],
    ids=["one-to-one", "nested", "unknown width", "last of all", "in the middle", "transformed target"],
)
def test_a_late_step_over_budget_is_refused_before_any_pass(
    idle: Any, houses: Path, pipeline: Pipeline, width: int
) -> None:
    least = 3 * 1_000 * 8 * (width + 2)
    fit = partial(pqy.fit, pipeline, houses, target="price", features=["area", "rooms"], engine=idle)
    with pytest.raises(TooBigForOneNode, match=r"needs at least .* GiB on one worker") as caught:
        fit(memory=least - 1)
    assert "LinearRegression" in caught.value.fix
    with pytest.raises(pytest.fail.Exception, match="work was scheduled"):
        fit(memory=least)


@pytest.mark.parametrize(
    "estimator",
    [
        KNeighborsRegressor(),
        make_pipeline(StandardScaler(), KNeighborsRegressor()),
        make_pipeline(StandardScaler(), make_pipeline(MinMaxScaler(), KNeighborsRegressor())),
    ],
    ids=["alone", "last", "last of the last"],
)
def test_weights_for_a_fit_that_takes_none_are_refused_before_any_pass(idle: Any, houses: Path, estimator: Any) -> None:
    with pytest.raises(BadParameter, match=r"KNeighborsRegressor\.fit takes no sample_weight") as caught:
        pqy.fit(estimator, houses, target="price", features=["area"], sample_weight="rooms", engine=idle)
    assert caught.value.fix


@pytest.mark.parametrize(
    "last", [MinMaxScaler(), OneHotEncoder(), SimpleImputer(), FunctionTransformer(), Nystroem(), Lars()], ids=str
)
def test_weights_that_the_last_step_would_not_look_at_are_refused(houses, idle, last):
    given = {"target": "price", "features": ["area"], "sample_weight": "rooms", "engine": idle}
    for estimator in (last, make_pipeline(StandardScaler(), last)):
        with pytest.raises(BadParameter, match=rf"{type(last).__name__} takes no sample weights") as caught:
            pqy.fit(estimator, houses, **given)
        assert "Leave sample_weight out" in caught.value.fix


def test_weights_for_a_step_that_is_gathered(local: Any, houses: Path) -> None:
    """Those whose fit takes them, and those that hand on what they get, are fitted as scikit-learn does."""
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    x, y, w = frame[["area"]], frame["price"], frame["rooms"]
    for estimator in (DecisionTreeRegressor(max_depth=2), GridSearchCV(Lasso(), {"alpha": [1.0, 9.0]}, cv=2)):
        pipeline = make_pipeline(QuantileTransformer(n_quantiles=9), estimator)
        name = type(estimator).__name__.lower()
        ours = pqy.fit(pipeline, data, target="price", features=["area"], sample_weight="rooms", engine=local)
        theirs = clone(pipeline).fit(x, y, **{f"{name}__sample_weight": w})
        np.testing.assert_allclose(predictions(ours, x), predictions(theirs, x), rtol=1e-9)


def test_subclasses_are_fitted_by_their_own_code(local: Any, houses: Path) -> None:
    class Doubled(LinearRegression):
        def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
            super().fit(x, y, sample_weight)
            self.coef_ = 2 * self.coef_
            return self

    plain = pqy.fit(LinearRegression(), houses, target="price", features=["area"], engine=local)
    doubled = pqy.fit(Doubled(), houses, target="price", features=["area"], engine=local)
    np.testing.assert_allclose(doubled.coef_, 2 * plain.coef_, rtol=1e-9)


def test_report_is_plain(local: Any, houses: Path) -> None:
    import json

    model = pqy.fit(PIPELINES["column transformer"], houses, target="price", engine=local)
    report = json.loads(json.dumps(model.fit_report_))
    assert report["rows"] == 1_000
    assert report["engine"] == "local"
    assert report["target"] == ["price"]
    assert report["inputs"] == {"area": "double", "rooms": "int64", "age": "double", "place": "string"}
    assert len(report["fingerprint"]) == 64


def test_classifiers_and_transformers_by_fallback(local: Any, houses: Path) -> None:
    data = pqy.open_dataset(houses)
    model = pqy.fit(LogisticRegression(max_iter=2000), data, target="place", features=["area", "rooms"], engine=local)
    assert list(model.classes_) == ["coast", "hills", "town"]
    scaler = pqy.fit(StandardScaler(), data, features=["area"], engine=local)
    np.testing.assert_allclose(scaler.mean_, data.to_pandas()[["area"]].mean(), rtol=1e-12)


def test_a_step_that_cannot_travel_is_named(local: Any, houses: Path) -> None:
    lock = threading.Lock()

    def locked(x: Any) -> Any:
        with lock:
            return x

    pipeline = make_pipeline(FunctionTransformer(locked), LinearRegression())
    with pytest.raises(StepNotPicklable, match="'functiontransformer' cannot be sent"):
        pqy.fit(pipeline, houses, target="price", features=["area"], engine=local)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"target": "price", "features": ["area", "price"]}, "'price' is both a feature and the target"),
        ({"target": "price", "features": ["area", "area"]}, "named twice"),
        ({"target": "price", "features": "area"}, "is one string"),
        ({"target": "price", "features": []}, "no feature column left"),
        ({"features": ["area"]}, "needs a target"),
        ({"target": "price", "features": ["area"], "memory": "lots"}, "is not a size"),
    ],
)
def test_arguments_are_checked(local: Any, houses: Path, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        pqy.fit(LinearRegression(), houses, engine=local, **arguments)


def test_an_estimator_that_cannot_be_cloned(local: Any, houses: Path) -> None:
    with houses.joinpath("part-0.parquet").open("rb") as file:
        pipeline = make_pipeline(FunctionTransformer(np.log1p, kw_args={"where": file}), LinearRegression())
        with pytest.raises(StepNotPicklable, match="cannot be"):
            pqy.fit(pipeline, houses, target="price", features=["area"], engine=local)


def test_weights_go_to_the_last_step_alone(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(3)
    columns = {"x": rng.normal(size=400), "y": rng.normal(size=400), "w": rng.uniform(0.1, 9.0, 400)}
    data = pqy.open_dataset(write_parquet(columns))
    frame = data.to_pandas()
    pipeline = make_pipeline(StandardScaler(), Ridge(alpha=50.0))
    ours = pqy.fit(pipeline, data, target="y", features=["x"], sample_weight="w", engine=local)
    theirs = clone(pipeline).fit(frame[["x"]], frame["y"], ridge__sample_weight=frame["w"])
    np.testing.assert_allclose(ours[0].mean_, theirs[0].mean_, rtol=1e-12)
    np.testing.assert_allclose(ours[1].coef_, theirs[1].coef_, rtol=1e-9)
