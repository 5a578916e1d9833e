"""LightGBM in a gang: its own model at one rank, the same bytes on every engine at two, and what is refused."""

from __future__ import annotations

import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

import cloudpickle
import lightgbm
import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from scipy import sparse
from sklearn.compose import make_column_transformer
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.boosting import Gang
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    GangLost,
    NonFiniteValues,
    TooBigForOneNode,
    UnknownColumn,
    WrongColumnType,
)

SMALL = {"n_estimators": 8, "num_leaves": 7, "verbose": -1}
EQUAL = {"deterministic": True, "force_col_wise": True, "n_jobs": 1}
PLAIN = ["a", "b", "c", "few"]


def rows(n: int = 1_200) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.normal(size=(n, 3)), columns=["a", "b", "c"])
    frame["few"] = rng.integers(0, 5, n)
    frame.loc[rng.random(n) < 0.1, "b"] = np.nan
    frame["word"] = rng.choice(["oak", "ash", "elm", "yew"], n)
    frame.loc[rng.random(n) < 0.05, "word"] = None
    signal = frame.a + (frame.word == "oak") - (frame.few == 2) + rng.normal(size=n) / 2
    frame["label"] = np.where(signal > 0.3, "yes", "no")
    frame["three"] = pd.cut(signal, 3, labels=False)
    frame["y"] = signal * 3 + 10
    frame["w"] = rng.uniform(0, 2, n)
    frame["query"] = np.arange(n) // 9
    frame["grade"] = np.clip((signal + 2).astype(int), 0, 4)
    return frame


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return rows()


@pytest.fixture
def data(write_parquet: Any, frame: pd.DataFrame) -> pqy.Dataset:
    return pqy.open_dataset(write_parquet(frame, row_group_size=130))


def own_fit(estimator: Any, x: pd.DataFrame, y: Any, **more: Any) -> Any:
    """LightGBM's own fit, with texts as pandas categories."""
    texts = x.select_dtypes(exclude="number").columns
    estimator.set_params(**EQUAL)
    return estimator.fit(x.astype(dict.fromkeys(texts, "category")), y, **more)


def text_of(model: Any) -> str:
    text: str = model.booster_.model_to_string()
    return text


@pytest.mark.parametrize(
    ("kind", "options", "features", "target", "weight"),
    [
        (LGBMClassifier, {}, [*PLAIN, "word"], "label", None),
        (LGBMClassifier, {"class_weight": "balanced", "subsample_for_bin": 700}, PLAIN, "three", "w"),
        (LGBMClassifier, {"class_weight": {"yes": 3.0}, "is_unbalance": False}, PLAIN, "label", None),
        (LGBMRegressor, {"categorical_feature": ["few"], "subsample_for_bin": 500}, PLAIN, "y", "w"),
        (LGBMRegressor, {"monotone_constraints": [1, 0, 0, 0], "random_state": 4, "subsample": 0.5}, PLAIN, "y", None),
    ],
)  # fmt: skip
def test_one_rank_is_lightgbms_own_fit_to_the_last_bit(local, data, frame, kind, options, features, target, weight):
    model = pqy.fit(
        kind(**SMALL, **options), data, target=target, features=features, sample_weight=weight, engine=local, gang=1
    )
    given = {} if weight is None else {"sample_weight": frame[weight]}
    if "categorical_feature" in options:
        given["categorical_feature"] = options.pop("categorical_feature")
    own = own_fit(kind(**SMALL, **options), frame[features], frame[target], **given)
    assert text_of(model) == text_of(own)
    for name in ("n_features_in_", "n_features_", "best_iteration_", "objective_", "n_iter_", "evals_result_"):
        assert getattr(model, name) == getattr(own, name), name
    np.testing.assert_array_equal(model.feature_names_in_, own.feature_names_in_)
    if kind is LGBMClassifier:
        assert model.classes_.tolist() == own.classes_.tolist()
        assert model._class_map == own._class_map
        assert model._class_weight == own._class_weight
    texts = frame[features].astype({"word": "category"}) if "word" in features else frame[features]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(texts), own.predict(texts))
    assert model.fit_report_["placement"] == "distributed"
    assert "world=1" in model.fit_report_["steps"][0]["why"]


def test_the_bins_of_a_split_are_based_on_lightgbms_own_draw(local, data):
    train, _ = data.split(test=0.4, seed=3)
    options = {**SMALL, "subsample_for_bin": 300}
    model = pqy.fit(LGBMRegressor(**options), train, target="y", features=PLAIN, engine=local, gang=1)
    seen = train.to_pandas()
    assert len(seen) > 600
    assert text_of(model) == text_of(LGBMRegressor(**options, **EQUAL).fit(seen[PLAIN], seen.y))


def test_sparse_x_and_early_stopping_are_lightgbms_own(local, data, frame):
    words = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), ["word", "few"]), remainder="passthrough")
    fitted = pqy.fit(
        make_pipeline(words, LGBMRegressor(**SMALL)), data, features=[*PLAIN, "word"], target="y", engine=local, gang=1
    )
    x = sparse.csr_matrix(fitted[0].transform(frame[[*PLAIN, "word"]]))
    assert text_of(fitted[1]) == text_of(LGBMRegressor(**SMALL, **EQUAL).fit(x, frame.y))
    assert not hasattr(fitted[1], "feature_names_in_")
    train, valid = data.split(test=0.3, seed=1)
    options = {**SMALL, "n_estimators": 200, "learning_rate": 0.5, "metric": ["l1", "l2"]}
    model = pqy.fit(
        LGBMRegressor(**options, early_stopping_round=5), train, features=PLAIN, target="y", validation=valid,
        engine=local, gang=1,
    )  # fmt: skip
    seen, kept = train.to_pandas(), valid.to_pandas()
    own = LGBMRegressor(**options, **EQUAL).fit(
        seen[PLAIN], seen.y, eval_X=kept[PLAIN], eval_y=kept.y, callbacks=[lightgbm.early_stopping(5, verbose=False)]
    )
    assert model.best_iteration_ == own.best_iteration_ < 100
    assert model.evals_result_ == own.evals_result_
    assert model.best_score_ == own.best_score_
    assert model.booster_.predict(kept[PLAIN]).tolist() == own.booster_.predict(kept[PLAIN]).tolist()


def away(y_true: Any, y_pred: Any) -> tuple[str, float, bool]:
    return "away", float(np.abs(y_true - y_pred).mean()), False


def squares(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
    return y_pred - y_true, np.ones_like(y_true)


def test_the_same_bytes_on_every_engine(local, dask_engine, spark_engine, data, tmp_path: Path):
    train, valid = data.split(test=0.3, seed=1)
    features, engines = [*PLAIN, "word"], (local, dask_engine, spark_engine)
    given = {"target": "label", "features": features, "validation": valid, "gang": 2}
    found = [pqy.fit(LGBMClassifier(**SMALL, early_stopping_round=3), train, engine=e, **given) for e in engines]
    texts = [text_of(m) for m in found]
    assert texts[0] == texts[1] == texts[2]
    assert found[0].evals_result_ == found[1].evals_result_ == found[2].evals_result_
    assert "world=2" in found[2].fit_report_["steps"][0]["why"]
    own = found[0].predict(valid.to_pandas()[features].astype({"word": "category"})).tolist()
    for i, engine in enumerate(engines):
        written = pqy.predict(found[0], valid, to=tmp_path / str(i), engine=engine).to_pandas()
        assert written["prediction"].tolist() == own


def test_two_ranks_are_as_good_as_one_and_predict_texts(local, data, frame):
    features = [*PLAIN, "word"]
    model = pqy.fit(LGBMClassifier(**SMALL), data, target="label", features=features, engine=local, gang=2)
    own = own_fit(LGBMClassifier(**SMALL), frame[features], frame.label)
    x = frame[features].astype({"word": "category"})
    areas = [roc_auc_score(frame.label, m.predict_proba(x)[:, 1]) for m in (model, own)]
    assert abs(areas[0] - areas[1]) < 5e-3  # eight small trees of few rows
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = pqy.evaluate(model, data, target="label", engine=local)
    assert scores["roc_auc"] == pytest.approx(areas[0], abs=1e-12)
    assert scores["accuracy"] == pytest.approx((model.predict(x) == frame.label).mean())


def test_a_ranker_and_a_class_that_a_rank_does_not_see(local, data, frame, write_parquet):
    queries = {"target": "grade", "features": PLAIN, "group": "query", "engine": local}
    one = pqy.fit(LGBMRanker(**SMALL), data, gang=1, **queries)
    own = LGBMRanker(**SMALL, **EQUAL).fit(frame[PLAIN], frame.grade, group=np.bincount(frame["query"]))
    assert text_of(one) == text_of(own)
    two = pqy.fit(LGBMRanker(**SMALL), data, gang=2, validation=data, **queries)
    assert np.corrcoef(two.predict(frame[PLAIN]), own.predict(frame[PLAIN]))[0, 1] > 0.9
    assert "ndcg@1" in two.evals_result_["valid_0"]
    by_class = pqy.open_dataset(write_parquet(frame.sort_values("three"), "sorted", row_group_size=100))
    model = pqy.fit(LGBMClassifier(**SMALL), by_class, target="three", features=PLAIN, engine=local, gang=2)
    own = LGBMClassifier(**SMALL, **EQUAL).fit(frame[PLAIN], frame.three)
    accuracy = [float((m.predict(frame[PLAIN]) == frame.three).mean()) for m in (model, own)]
    assert abs(accuracy[0] - accuracy[1]) < 0.03


def test_a_lost_gang_goes_on_from_its_checkpoint(local, data, frame, tmp_path: Path):
    def breaks(y_true: Any, y_pred: Any) -> tuple[str, float, bool]:
        import os

        flag = tmp_path / "calls"
        calls = int(flag.read_text()) if flag.exists() else 0
        flag.write_text(str(calls + 1))
        if calls == 5:
            os._exit(9)
        return away(y_true, y_pred)

    train, valid = data.split(test=0.3, seed=1)
    given = {"target": "y", "features": PLAIN, "validation": valid, "engine": local}
    whole = pqy.fit(LGBMRegressor(**SMALL, metric=away), train, gang=2, **given)
    gang = Gang(world=2, checkpoint=str(tmp_path / "trees"), checkpoint_every=2, retries=1)
    model = pqy.fit(LGBMRegressor(**SMALL, metric=breaks), train, gang=gang, **given)
    assert int((tmp_path / "calls").read_text()) == SMALL["n_estimators"] + 2
    assert "started 2 times" in model.fit_report_["steps"][0]["why"]
    assert model.n_iter_ == SMALL["n_estimators"]
    np.testing.assert_allclose(
        model.evals_result_["valid_0"]["away"], whole.evals_result_["valid_0"]["away"], rtol=1e-9
    )
    np.testing.assert_allclose(model.predict(frame[PLAIN]), whole.predict(frame[PLAIN]), rtol=1e-9)
    assert not (tmp_path / "trees").exists()


def test_a_rank_that_dies_leaves_nobody_waiting_inside_lightgbm(local, dask_engine, spark_engine, data, frame):
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    last = float(frame.y.iloc[-1])

    def dies(y_true: Any, y_pred: Any) -> tuple[Any, Any]:
        import os
        import signal

        if y_pred.any() and abs(y_true[-1] - last) < 1e-3:  # the last rank, in its second round
            os.kill(os.getpid(), signal.SIGKILL)
        return squares(y_true, y_pred)

    for engine in (local, dask_engine, spark_engine):
        with pytest.raises(GangLost, match=r"(signal 9|is gone|broke off)"):
            pqy.fit(LGBMRegressor(**SMALL, objective=dies), data, target="y", features=PLAIN, engine=engine, gang=2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_leafs": 7}, BadParameter, "Did you mean 'num_leaf'"),
        ({"num_leaves": 1}, BadParameter, r"it must hold that \(num_leaves\) > \(1\)"),
        ({"objective": "l3"}, BadParameter, "Unknown objective type name: l3"),
        ({"metric": "aucc"}, BadParameter, "Did you mean 'auc'"),
        ({"monotone_constraints": [1]}, BadParameter, "monotone_constraints"),
        ({"categorical_feature": ["fwe"]}, UnknownColumn, "Did you mean 'few'"),
        ({"machines": "1.2.3.4:5"}, BadParameter, "set by the gang"),
        ({"tree_learner": "feature"}, BadParameter, "all rows in every process"),
        ({"early_stopping_rounds": 3}, BadParameter, "Pass validation="),
        ({"n_estimators": 0}, BadParameter, "grows no tree"),
        ({"n_jobs": -1}, BadParameter, "how many threads"),
        ({"num_threads": 0}, BadParameter, "how many threads"),
    ],
)
def test_bad_parameters_are_told_before_any_work(local, data, options, error, message):
    with pytest.raises(error, match=message):
        pqy.fit(LGBMRegressor(**{**SMALL, **options}), data, target="y", features=PLAIN, engine=local, gang=1)


def test_bad_rows_are_told_with_their_place(local, frame, write_parquet):
    bad = frame[:300].copy()
    bad["constant"] = np.append(np.full(150, 7.0), np.full(150, 7.0))
    bad.loc[217, "y"] = np.nan
    bad["when"] = pd.Timestamp("2026-01-01")
    data = pqy.open_dataset(write_parquet(bad, "bad"))
    fit = lambda estimator, **more: pqy.fit(estimator, data, engine=local, **{"features": PLAIN, "gang": 2, **more})  # noqa: E731
    with pytest.raises(NonFiniteValues, match=r"'y' holds NaN, first in .*part-1.*row group 0, row 67"):
        fit(LGBMRegressor(), target="y")
    with pytest.raises(DegenerateColumn, match="no other value"):
        fit(LGBMRegressor(), target="constant")
    with pytest.raises(DegenerateColumn, match="one class only"):
        fit(LGBMClassifier(), target="constant")
    with pytest.raises(WrongColumnType, match="'when' is timestamp"):
        fit(LGBMRegressor(), target="w", features=[*PLAIN, "when"])
    with pytest.raises(BadParameter, match="Pass group="):
        fit(LGBMRanker(), target="grade")
    with pytest.raises(BadParameter, match="only 4 blocks"):
        fit(LGBMRegressor(), target="w", gang=9)
    with pytest.raises(BadParameter, match="no class of the training rows"):
        fit(
            LGBMClassifier(),
            target="query",
            validation=pqy.open_dataset(write_parquet(bad.assign(query=99), "strange")),
        )
    with pytest.raises(TooBigForOneNode, match="each of 2 ranks would hold"):
        fit(LGBMRegressor(), target="w", memory=1_000)
    odd = pqy.open_dataset(write_parquet(bad.rename(columns={"a": "a[0]"}), "odd"))
    with pytest.raises(BadParameter, match="special JSON characters"):
        pqy.fit(LGBMRegressor(), odd, target="w", features=["a[0]"], engine=local, gang=1)
    with pytest.raises(BadParameter, match=r"refuses: .*label"):
        fit(LGBMRegressor(objective="poisson"), target="a", features=["b", "c"])


def test_linear_trees_are_honestly_gathered(local, data):
    model = pqy.fit(LGBMRegressor(**SMALL, linear_tree=True), data, target="y", features=PLAIN, engine=local)
    assert model.fit_report_["placement"] == "single-node"
    assert "linear_tree=True keeps every row" in model.fit_report_["steps"][0]["why"]
