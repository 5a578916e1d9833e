"""XGBoost's estimators, fitted by gangs: against XGBoost's own fit, on each engine, and with bad input."""

from __future__ import annotations

import os
import pickle
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import xgboost as xgb
from sklearn.base import clone
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parquetry.boosting import Gang
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    GangLost,
    NonFiniteValues,
    StepNotPicklable,
    TaskFailed,
    TooBigForOneNode,
)

Write = Callable[..., Path]
FEATURES = ["a", "b", "c", "whole"]
SMALL = {"n_estimators": 6, "max_depth": 3}


def table(n: int = 1200, *, fine: bool = False, seed: int = 0) -> pa.Table:
    """Numbers with gaps, an integer, labels, a price, weights; few distinct values unless ``fine``."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3))
    x = x if fine else np.round(x * 20) / 20
    whole = rng.integers(0, 7, n)
    score = x[:, 0] * x[:, 1] + (whole > 3) + 0.5 * rng.normal(size=n)
    gaps = rng.random(n) < 0.1
    return pa.table(
        {
            "a": x[:, 0],
            "b": x[:, 1],
            "c": pa.array(np.where(gaps, 0.0, x[:, 2]), mask=gaps),
            "whole": whole,
            "label": (score > 0.5).astype(np.int64),
            "kind": np.digitize(score, [0.0, 1.0]),
            "price": np.exp(score / 2),
            "weight": rng.uniform(0.5, 2.0, n),
        }
    )


@pytest.fixture
def folder(write_parquet: Write) -> Path:
    return write_parquet(table(), files=2, row_group_size=170)


def fit(estimator: Any, data: Any, engine: Any, target: Any = "label", **arguments: Any) -> Any:
    return pqy.fit(estimator, data, target=target, features=FEATURES, engine=engine, **{"gang": 2} | arguments)


def own(estimator: Any, data: Any, target: Any = "label", weight: str | None = None) -> tuple[Any, pd.DataFrame]:
    frame = pqy.open_dataset(data).to_pandas()
    weights = {} if weight is None else {"sample_weight": frame[weight]}
    return clone(estimator).set_params(n_jobs=1).fit(frame[FEATURES], frame[target], **weights), frame


def raw(model: Any) -> bytes:
    return bytes(model.get_booster().save_raw())


# --- against XGBoost's own fit --------------------------------------------------------------------
CASES = {
    "plain": (xgb.XGBClassifier(**SMALL), "label"),
    "three classes": (xgb.XGBClassifier(**SMALL), "kind"),
    "balanced": (xgb.XGBClassifier(scale_pos_weight=3.0, base_score=0.3, **SMALL), "label"),
    "constrained": (xgb.XGBClassifier(monotone_constraints={"whole": 1}, **SMALL), "label"),
    "interactions": (xgb.XGBClassifier(interaction_constraints=[["a", "b"], ["c", "whole"]], **SMALL), "label"),
    "a value for missing": (xgb.XGBClassifier(missing=0.0, **SMALL), "label"),
    "dart": (xgb.XGBClassifier(booster="dart", **SMALL), "label"),
    "exact, on one node": (xgb.XGBClassifier(tree_method="exact", **SMALL), "label"),
    "a forest": (xgb.XGBRFClassifier(subsample=1.0, **SMALL), "label"),
    "price": (xgb.XGBRegressor(**SMALL), "price"),
    "tweedie": (xgb.XGBRegressor(objective="reg:tweedie", tweedie_variance_power=1.2, **SMALL), "price"),
    "two prices": (xgb.XGBRegressor(**SMALL), ["price", "weight"]),
    "weighted features": (
        xgb.XGBRegressor(feature_weights=[1.0, 1.0, 0.0, 1.0], colsample_bytree=0.5, random_state=1, **SMALL),
        "price",
    ),
    "numbers as categories": (
        xgb.XGBRegressor(feature_types=["q", "q", "q", "c"], enable_categorical=True, max_cat_to_onehot=1, **SMALL),
        "price",
    ),
    "a forest of prices": (xgb.XGBRFRegressor(subsample=1.0, **SMALL), "price"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_xgboost_itself_would_fit(case: str, folder: Path, local: Any) -> None:
    """Few distinct values: the same bins, and so the same trees, whose sums differ in their last digits."""
    estimator, target = CASES[case]
    weight = "weight" if case in ("plain", "price") else None
    gang = None if "one node" in case else 2
    ours = fit(estimator, folder, local, target, sample_weight=weight, gang=gang)
    theirs, frame = own(estimator, folder, target, weight)
    x = frame[FEATURES]
    method = "predict_proba" if hasattr(theirs, "classes_") else "predict"
    found, expected = (getattr(m, method)(x) for m in (ours, theirs))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    # A split between two of equal gain may fall either way.
    assert np.mean(np.abs(found - expected) < 1e-4) > 0.97
    assert set(vars(theirs)) | {"fit_report_"} == set(vars(ours))
    assert ours.n_features_in_ == 4
    assert ours.feature_names_in_.tolist() == FEATURES
    assert ours.get_booster().feature_types == theirs.get_booster().feature_types
    if hasattr(theirs, "classes_"):
        assert ours.classes_.tolist() == theirs.classes_.tolist()
        assert ours.objective == theirs.objective
    assert ours.n_estimators == estimator.n_estimators
    assert ours.callbacks is None


def test_auc_equals_that_of_a_single_process(write_parquet: Write, local: Any) -> None:
    """Thousands of distinct values: our quantiles against XGBoost's own."""
    folder = write_parquet(table(12_000, fine=True), files=1, row_group_size=1500)
    estimator = xgb.XGBClassifier(n_estimators=15, max_depth=4)
    ours = fit(estimator, folder, local)
    theirs, frame = own(estimator, folder)
    fresh = table(8_000, fine=True, seed=1).to_pandas()
    scores = [roc_auc_score(fresh["label"], m.predict_proba(fresh[FEATURES])[:, 1]) for m in (ours, theirs)]
    assert abs(scores[0] - scores[1]) < 0.002
    assert len(np.unique(frame["a"])) > 10_000


def test_the_same_bytes_from_every_engine(folder: Path, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    data = pqy.open_dataset(folder)
    train, validation = data.split(test=0.25)
    estimator = xgb.XGBClassifier(n_estimators=30, max_depth=3, early_stopping_rounds=2, subsample=0.8)
    models = [
        fit(estimator, train, engine, validation=validation, sample_weight="weight")
        for engine in (local, dask_engine, spark_engine)
    ]
    first = models[0]
    assert "world=2" in first.fit_report_["steps"][0]["why"]
    for other in models[1:]:
        assert raw(other) == raw(first)
        assert other.evals_result_ == first.evals_result_
        assert other.best_iteration == first.best_iteration
    again = fit(estimator, train, local, validation=validation, sample_weight="weight")
    assert raw(again) == raw(first)


def test_a_plain_model_comes_back(folder: Path, local: Any) -> None:
    estimator = xgb.XGBRegressor(**SMALL)
    before = estimator.get_params()
    model = fit(estimator, folder, local, "price")
    assert type(model) is xgb.XGBRegressor
    assert estimator.get_params() == before
    assert not hasattr(estimator, "_Booster")
    x = pqy.open_dataset(folder).to_pandas()[FEATURES]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(x), model.predict(x))
    assert model.get_booster().attributes() == {}


# --- validation, metrics, objectives --------------------------------------------------------------
def test_early_stopping_and_history(folder: Path, local: Any) -> None:
    data = pqy.open_dataset(folder)
    train, validation = data.split(test=0.3)
    estimator = xgb.XGBClassifier(
        n_estimators=80, max_depth=4, learning_rate=0.6, early_stopping_rounds=3, eval_metric=["auc", "logloss"]
    )
    model = fit(estimator, train, local, validation=validation)
    t, v = train.to_pandas(), validation.to_pandas()
    theirs = clone(estimator).fit(t[FEATURES], t["label"], eval_set=[(v[FEATURES], v["label"])], verbose=False)
    history = model.evals_result()["validation_0"]
    assert list(history) == ["auc", "logloss"]
    assert len(history["logloss"]) == model.best_iteration + 4 < 80
    np.testing.assert_allclose(history["logloss"][:3], theirs.evals_result()["validation_0"]["logloss"][:3], rtol=2e-3)
    np.testing.assert_allclose(model.best_score, min(history["logloss"]))
    # A validation set of fewer blocks than ranks: each rank takes its share of the rows of every block.
    small = fit(estimator, train, local, validation=validation.sample(40), gang=Gang(world=3))
    assert small.best_iteration >= 0


def squared(y: Any, predicted: Any) -> Any:
    return predicted - y, np.ones_like(y)


def far_off(y: Any, predicted: Any) -> float:
    return float(np.mean(np.abs(predicted - y) > 0.5))


def test_objectives_and_metrics_of_ones_own(folder: Path, local: Any) -> None:
    estimator = xgb.XGBRegressor(objective=squared, eval_metric=far_off, base_score=1.0, **SMALL)
    model = fit(estimator, folder, local, "price", validation=folder)
    plain = fit(xgb.XGBRegressor(base_score=1.0, **SMALL), folder, local, "price")
    x = pqy.open_dataset(folder).to_pandas()[FEATURES]
    np.testing.assert_allclose(model.predict(x), plain.predict(x), atol=1e-5)
    (history,) = (
        model.evals_result_["validation_0"].values()
        if len(model.evals_result_["validation_0"]) == 1
        else (model.evals_result_["validation_0"]["far_off"],)
    )
    assert len(history) == 6
    assert history[-1] < history[0]


def test_categories_are_the_same_for_all_ranks(write_parquet: Write, local: Any) -> None:
    """Texts and dictionaries whose values differ from block to block, one of them in one block only."""
    rng = np.random.default_rng(0)
    n = 600
    places = np.array(["coast", "hills", "town"])[rng.integers(0, 3, n)]
    places[:3] = "abroad"
    y = (places == "hills") * 2.0 + rng.normal(size=n)
    holes = rng.random(n) < 0.1
    kinds = pa.array(places[::-1]).dictionary_encode()
    data = pa.table({"place": pa.array(places, mask=holes), "kind": kinds, "x": rng.normal(size=n).round(1), "y": y})
    folder = write_parquet(data, files=2, row_group_size=100)
    model = pqy.fit(
        xgb.XGBRegressor(enable_categorical=True, max_cat_to_onehot=1, **SMALL),
        folder,
        target="y",
        engine=local,
        gang=2,
    )
    frame = pqy.open_dataset(folder).to_pandas()
    x = frame[["place", "kind", "x"]].astype({"place": "category", "kind": "category"})
    theirs = clone(model).fit(x, frame["y"])
    assert model.get_booster().feature_types == ["c", "c", "float"]
    assert np.mean(np.abs(model.predict(x) - theirs.predict(x)) < 1e-3) > 0.9
    scores = pqy.evaluate(model, folder, target="y", engine=local)
    assert scores["r2"] > 0.3
    unseen = write_parquet(data.set_column(0, "place", pa.array(["moon"] * n)), "unseen")
    with pytest.raises(BadParameter, match="'place' holds 'moon', a category not in the training set"):
        pqy.evaluate(model, unseen, target="y", engine=local)


def test_rankers_keep_queries_together(write_parquet: Write, local: Any) -> None:
    rng = np.random.default_rng(0)
    query = np.repeat(np.arange(40), rng.integers(5, 25, 40))
    n = len(query)
    x = np.round(rng.normal(size=(n, 2)), 1)
    grade = np.digitize(x[:, 0] + 0.3 * rng.normal(size=n), [-0.5, 0.5])
    data = pa.table({"x": x[:, 0], "z": x[:, 1], "grade": grade, "query": query})
    folder = write_parquet(data, files=1, row_group_size=37)
    estimator = xgb.XGBRanker(lambdarank_pair_method="topk", lambdarank_num_pair_per_sample=3, **SMALL)
    model = pqy.fit(estimator, folder, target="grade", group="query", validation=folder, engine=local, gang=2)
    theirs = clone(estimator).fit(data.select(["x", "z"]).to_pandas(), grade, qid=query)
    frame = data.to_pandas()[["x", "z"]]
    assert np.corrcoef(model.predict(frame), theirs.predict(frame))[0, 1] > 0.99
    assert "ndcg@3" in model.evals_result_["validation_0"]
    with pytest.raises(BadParameter, match=r"ranks within queries.*group="):
        pqy.fit(estimator, folder, target="grade", features=["x"], engine=local)
    mixed = write_parquet(data.set_column(3, "query", pa.array(query[::-1])), "mixed")
    with pytest.raises(BadParameter, match="not in ascending order"):
        pqy.fit(estimator, mixed, target="grade", group="query", engine=local)


def test_what_a_sparse_x_leaves_out_is_missing(write_parquet: Write, local: Any) -> None:
    rng = np.random.default_rng(0)
    words = np.array(["oak", "ash", "elm", "yew", "fir"])
    texts = [" ".join(words[rng.integers(0, 5, 4)]) for _ in range(400)]
    label = np.array([int("oak oak" in t or "elm" in t) for t in texts])
    folder = write_parquet({"text": texts, "label": label})
    estimator = make_pipeline(CountVectorizer(), xgb.XGBClassifier(**SMALL))
    model = pqy.fit(estimator, folder, target="label", engine=local, gang=2)
    theirs = clone(estimator).fit(texts, label)
    np.testing.assert_allclose(model.predict_proba(texts), theirs.predict_proba(texts), atol=1e-4)


def test_it_ends_a_pipeline_and_predicts_on_the_engine(folder: Path, local: Any, tmp_path: Path) -> None:
    last = xgb.XGBClassifier(early_stopping_rounds=2, **SMALL)
    model = fit(make_pipeline(StandardScaler(), last), folder, local, validation=folder)
    assert len(model[-1].evals_result_["validation_0"]["logloss"]) == 6
    frame = pqy.open_dataset(folder).to_pandas()
    written = pqy.predict(model, folder, to=tmp_path / "out", method="predict_proba", engine=local).to_pandas()
    np.testing.assert_array_equal(written.to_numpy(dtype=np.float32), model.predict_proba(frame[FEATURES]))
    scores = pqy.evaluate(model, folder, target="label", engine=local)
    np.testing.assert_allclose(scores["roc_auc"], roc_auc_score(frame["label"], written["probability_1"]))


# --- losses ---------------------------------------------------------------------------------------
def parent_of(process: int) -> int:
    """A rank's process was forked by a nursery, which the worker has started."""
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


class Killer:
    """An objective that kills the process of rank 1, or its worker, in the fourth round, once."""

    def __init__(self, mark: Path, where: str) -> None:
        self.mark, self.where, self.calls = str(mark), where, 0

    def __call__(self, y: Any, predicted: Any) -> Any:
        self.calls += 1
        if len(y) > 100 and self.calls == 4 and not os.path.exists(self.mark):
            from xgboost import collective

            if collective.get_rank() == 1:
                Path(self.mark).touch()
                os.kill(os.getpid() if self.where == "rank" else parent_of(os.getppid()), signal.SIGKILL)
        return predicted - y, np.ones_like(y)


@pytest.mark.parametrize("where", ["rank", "worker"])
def test_a_lost_rank_on_each_engine(
    folder: Path, local: Any, tmp_path: Path, where: str, request: pytest.FixtureRequest
) -> None:
    """A rank's process is killed, or the worker beside it: a clear error; with leave to, on from the checkpoint."""
    import cloudpickle

    if request.module.__name__ not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(request.module)
    whole = fit(xgb.XGBRegressor(objective=squared, base_score=1.0, **SMALL), folder, local, "price")
    engines = ("local",) if where == "rank" else ("dask", "spark")
    for name in engines:
        engine = local if name == "local" else request.getfixturevalue(f"{name}_engine")
        mark = tmp_path / f"{name}-{where}"
        estimator = xgb.XGBRegressor(objective=Killer(mark, where), base_score=1.0, **SMALL)
        gang = Gang(world=2, retries=1, checkpoint=str(tmp_path / f"{name}.ubj"), checkpoint_every=2)
        model = fit(estimator, folder, engine, "price", gang=gang)
        assert mark.exists()
        assert raw(model) == raw(whole)
        assert not (tmp_path / f"{name}.ubj").exists()


def breaks_on_one_rank(y: Any, predicted: Any) -> Any:
    from xgboost import collective

    if collective.get_rank() == 1:
        raise ValueError("not like this")
    return predicted - y, np.ones_like(y)


def test_an_error_on_one_rank_is_told(folder: Path, local: Any) -> None:
    """The others wait for it inside XGBoost, and are ended."""
    estimator = xgb.XGBRegressor(objective=breaks_on_one_rank, base_score=1.0, **SMALL)
    with pytest.raises(TaskFailed, match=r"(?s)rank 1: a task raised ValueError: not like this.*breaks_on_one_rank"):
        fit(estimator, folder, local, "price")


def test_a_lost_rank_is_named(folder: Path, local: Any, tmp_path: Path) -> None:
    estimator = xgb.XGBRegressor(objective=Killer(tmp_path / "mark", "rank"), base_score=1.0, **SMALL)
    with pytest.raises(GangLost, match=r"fit-XGBRegressor-gang: the process of rank 1 of 2 was killed .*in round 3"):
        fit(estimator, folder, local, "price")


# --- bad input ------------------------------------------------------------------------------------
WRONG = {
    "unknown": (xgb.XGBClassifier(max_dept=3), {}, BadParameter, r"no parameter 'max_dept'.*Did you mean 'max_depth'"),
    "a native name": (xgb.XGBClassifier(nthread=2), {}, BadParameter, "no parameter 'nthread'.*Did you mean 'n_jobs'"),
    "no number of trees": (xgb.XGBClassifier(n_estimators=-1), {}, BadParameter, "would train no tree"),
    "no ranks": (xgb.XGBClassifier(), {"gang": 0}, BadParameter, "gang=: world=0 .* processes .* from 1 on"),
    "range": (xgb.XGBClassifier(max_depth=-3), {}, BadParameter, "value -3 for Parameter max_depth"),
    "objective": (xgb.XGBClassifier(objective="binary:bogus"), {}, BadParameter, "Unknown objective function"),
    "no target": (xgb.XGBClassifier(), {"target": None}, BadParameter, "needs a target"),
    "no rows to stop on": (xgb.XGBClassifier(early_stopping_rounds=3), {}, BadParameter, r"Pass validation="),
    "all cores": (xgb.XGBClassifier(n_jobs=-1), {}, BadParameter, "n_jobs=-1 does not say"),
    "a device": (xgb.XGBClassifier(device="cuda"), {}, BadParameter, "A gang trains on CPUs"),
    "too many ranks": (xgb.XGBClassifier(), {"gang": 100}, BadParameter, r"only \d+ blocks"),
    "too little memory": (xgb.XGBClassifier(), {"memory": 10_000}, TooBigForOneNode, "each of 2 ranks would hold"),
    "a gang for a scaler": (StandardScaler(), {"target": None}, BadParameter, "no part of StandardScaler takes it"),
    "a gang for a linear booster": (xgb.XGBClassifier(booster="gblinear"), {}, BadParameter, "gang= was given"),
    "group for a classifier": (
        xgb.XGBClassifier(**SMALL),
        {"group": "kind"},
        BadParameter,
        "does not rank within queries",
    ),
    "a lock": (
        xgb.XGBClassifier(callbacks=[open(os.devnull)]),  # noqa: SIM115
        {},
        StepNotPicklable,
        "cannot be sent|cannot be cloned",
    ),
    "files": (
        xgb.XGBClassifier(callbacks=[xgb.callback.TrainingCheckPoint("somewhere")]),
        {},
        BadParameter,
        "checkpoint_every",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_told(case: str, folder: Path, local: Any) -> None:
    estimator, arguments, error, told = WRONG[case]
    with pytest.raises(error, match=told):
        fit(estimator, folder, local, **arguments)


def test_targets_that_cannot_be(write_parquet: Write, local: Any) -> None:
    rng = np.random.default_rng(0)
    n = 300
    holes = np.arange(n) == 123
    data = {
        "x": rng.normal(size=n),
        "one": np.ones(n),
        "late": np.where(np.arange(n) < n - 1, 2, 3),
        "words": np.array(["no", "yes"])[rng.integers(0, 2, n)],
        "holes": pa.array(rng.normal(size=n), mask=holes),
        "from one": rng.integers(1, 3, n),
        "endless": np.where(holes, np.inf, 0.0),
    }
    folder = write_parquet(data, files=1, row_group_size=100)

    def bad(kind: Any, target: str, features: Any = ("x",), **more: Any) -> Any:
        return pqy.fit(kind(**SMALL), folder, target=target, features=features, engine=local, **more)

    with pytest.raises(DegenerateColumn, match="one class only"):
        bad(xgb.XGBClassifier, "one")
    with pytest.raises(DegenerateColumn, match=r"no other value than 1\.0"):
        bad(xgb.XGBRegressor, "one")
    with pytest.raises(NonFiniteValues, match=r"'holes' holds NaN.*row group 1, row 23"):
        bad(xgb.XGBRegressor, "holes")
    with pytest.raises(NonFiniteValues, match=r"'endless' holds infinity.*row group 1, row 23"):
        bad(xgb.XGBRegressor, "x", ["endless"])
    for target in ("words", "from one"):
        with pytest.raises(BadParameter, match=r"the numbers from 0 on.*LabelEncoder"):
            bad(xgb.XGBClassifier, target)
    # A class that only one rank has is known to all.
    model = pqy.fit(
        xgb.XGBClassifier(**SMALL),
        write_parquet({"x": data["x"], "y": (np.arange(n) >= 250).astype(int)}, "apart", files=1, row_group_size=100),
        target="y",
        engine=local,
        gang=3,
    )
    assert model.n_classes_ == 2
