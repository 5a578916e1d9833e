"""CatBoost: its own fit on one worker, told so; predictions and scores on every engine."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier, CatBoostRanker, CatBoostRegressor
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType

SMALL = {"iterations": 6, "depth": 3}
FEATURES = ["a", "b", "word"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(5)
    n = 600
    frame = pd.DataFrame(rng.normal(size=(n, 2)), columns=["a", "b"])
    frame.loc[rng.random(n) < 0.1, "b"] = np.nan
    frame["word"] = rng.choice(["oak", "ash", "elm"], n)
    frame.loc[rng.random(n) < 0.1, "word"] = None
    signal = frame.a + (frame.word == "oak") + rng.normal(size=n) / 3
    frame["label"] = np.where(signal > 0, "yes", "no")
    frame["y"], frame["w"] = signal, rng.uniform(0.5, 2, n)
    frame["query"], frame["grade"] = np.arange(n) // 10, np.clip(signal + 2, 0, 4).astype(int)
    return frame


@pytest.fixture
def data(write_parquet: Any, frame: pd.DataFrame) -> pqy.Dataset:
    return pqy.open_dataset(write_parquet(frame, row_group_size=130))


def test_it_is_catboosts_own_fit_and_serves_on_every_engine(
    local, dask_engine, spark_engine, data, frame, tmp_path: Path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    train, valid = data.split(test=0.3, seed=0)
    estimator = CatBoostClassifier(**SMALL, use_best_model=False, cat_features=["word"])
    given = {"target": "label", "features": FEATURES, "sample_weight": "w", "validation": valid}
    model = pqy.fit(estimator, train, engine=local, **given)
    seen, kept = (d.to_pandas().fillna({"word": "nan"}) for d in (train, valid))
    own = CatBoostClassifier(**SMALL, use_best_model=False, cat_features=["word"], allow_writing_files=False)
    own.fit(seen[FEATURES], seen.label, sample_weight=seen.w, eval_set=(kept[FEATURES], kept.label), verbose=False)
    whole = frame[FEATURES].fillna({"word": "nan"})
    np.testing.assert_array_equal(model.predict_proba(whole), own.predict_proba(whole))
    assert model.get_params() == estimator.get_params()
    assert model.fit_report_["placement"] == "single-node"
    assert "its own Spark package" in model.fit_report_["steps"][0]["why"]
    assert not (tmp_path / "catboost_info").exists()
    again = pickle.loads(pickle.dumps(model))  # CatBoost keeps no report in its pickle
    for i, engine in enumerate((local, dask_engine, spark_engine)):
        written = pqy.predict(again, data, to=tmp_path / str(i), engine=engine).to_pandas()["prediction"]
        assert written.tolist() == own.predict(whole).tolist()
        scores = pqy.evaluate(again, data, target="label", engine=engine)
        assert scores["accuracy"] == pytest.approx((own.predict(whole) == frame.label).mean())


def test_regressor_ranker_and_pipeline(local, data, frame):
    whole = frame.fillna({"word": "nan"})
    model = pqy.fit(CatBoostRegressor(**SMALL), data, target="y", features=FEATURES, engine=local)
    own = CatBoostRegressor(**SMALL, cat_features=["word"], allow_writing_files=False, verbose=False)
    np.testing.assert_array_equal(
        model.predict(whole[FEATURES]), own.fit(whole[FEATURES], whole.y).predict(whole[FEATURES])
    )
    ranker = pqy.fit(CatBoostRanker(**SMALL), data, target="grade", features=FEATURES, group="query", engine=local)
    assert np.corrcoef(ranker.predict(whole[FEATURES]), frame.grade)[0, 1] > 0.5
    piped = make_pipeline(SimpleImputer(), CatBoostClassifier(**SMALL, class_weights=[1.0, 2.0]))
    fitted = pqy.fit(piped, data, target="label", features=["a", "b"], engine=local)
    assert pqy.evaluate(fitted, data, target="label", engine=local)["accuracy"] > 0.7
    assert fitted.fit_report_["placement"] == "mixed"


def test_refusals(local, frame, data, write_parquet):
    with pytest.raises(TooBigForOneNode, match="LGBMRegressor or XGBRegressor"):
        pqy.fit(CatBoostRegressor(), data, target="y", features=FEATURES, engine=local, memory=1000)
    with pytest.raises(BadParameter, match="Maximum tree depth is 16"):
        pqy.fit(CatBoostRegressor(depth=99), data, target="y", features=FEATURES, engine=local)
    with pytest.raises(BadParameter, match="gang= was given"):
        pqy.fit(CatBoostRegressor(), data, target="y", features=FEATURES, engine=local, gang=2)
    bad = frame.assign(y=np.where(frame.index == 7, np.nan, frame.y), when=pd.Timestamp("2026-01-01"))
    dated = pqy.open_dataset(write_parquet(bad, "bad"))
    with pytest.raises(NonFiniteValues, match="'y' holds NaN"):
        pqy.fit(CatBoostRegressor(**SMALL), dated, target="y", features=FEATURES, engine=local)
    with pytest.raises(WrongColumnType, match="'when' is timestamp"):
        pqy.fit(CatBoostRegressor(**SMALL), dated, target="w", features=["when"], engine=local)
