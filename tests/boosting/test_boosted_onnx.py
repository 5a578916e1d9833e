"""Boosted models as ONNX: every row is answered as the library answers it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from catboost import CatBoostClassifier, CatBoostRegressor
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry import artefact
from parquetry.agreement import agreement
from parquetry.errors import NotExportable
from parquetry.exporting import to_onnx

TREES = {"n_estimators": 12, "verbose": -1, "min_child_samples": 5, "n_jobs": 1}
CAT = {"iterations": 12, "depth": 3, "verbose": False, "allow_writing_files": False}
NUMBERS = ["a", "few", "gaps"]


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(9)
    n = 500
    frame = pd.DataFrame({"a": rng.normal(size=n).astype(np.float32).astype(float), "few": rng.integers(0, 9, n)})
    frame["gaps"] = np.where(rng.random(n) < 0.3, np.nan, np.round(rng.normal(size=n), 1))
    frame["word"] = rng.choice(["oak", "ash", "elm"], n)
    signal = frame.a + (frame.few == 3) - (frame.word == "oak") + frame.gaps.fillna(0.4)
    frame["label"], frame["three"] = np.where(signal > 0, "yes", "no"), np.digitize(signal, [-0.5, 0.5])
    frame["y"], frame["count"], frame["sure"] = signal * 5, np.exp(signal / 2), signal > 0.2
    return frame


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (LGBMClassifier(**TREES), "label"),
        (LGBMClassifier(**TREES, categorical_feature=[1]), "three"),
        (LGBMClassifier(**TREES, objective="multiclassova"), "three"),
        (LGBMClassifier(**TREES, boosting_type="rf", subsample=0.7, subsample_freq=1), "sure"),
        (LGBMRegressor(**TREES, use_missing=False), "y"),
        (LGBMRegressor(**TREES, objective="tweedie"), "count"),
        (LGBMRegressor(**TREES, objective="l1", reg_sqrt=True), "y"),
        (LGBMRanker(**TREES), "three"),
        (CatBoostClassifier(**CAT), "label"),
        (CatBoostClassifier(**CAT, nan_mode="Max"), "three"),
        (CatBoostRegressor(**CAT), "y"),
        (CatBoostRegressor(**CAT, loss_function="Poisson"), "count"),
    ],
)
def test_onnx_says_what_the_model_says(local, write_parquet, frame, tmp_path: Path, estimator: Any, target: str):
    x = frame[NUMBERS]
    group = {"group": [len(x)]} if isinstance(estimator, LGBMRanker) else {}
    model = estimator.fit(x, frame[target], **group)
    model.fit_report_ = {"inputs": {"a": "double", "few": "int64", "gaps": "double"}}
    saved = pqy.save(model, tmp_path / "model")
    found = agreement(saved, write_parquet(x), model=model, engine=local)
    # Tenths are no float32: ONNX sees another number, which stands on the other side of a threshold that is one.
    assert found["disagreements"] == 0
    assert found["rows"] - found["rounded"] > 400
    if target == "label":
        assert artefact.load_onnx(saved).predict(x).tolist() == np.asarray(model.predict(x)).ravel().tolist()


def test_in_a_pipeline_and_refusals(local, write_parquet, frame, tmp_path: Path):
    data = pqy.open_dataset(write_parquet(frame[[*NUMBERS, "word", "label"]]))
    words = make_column_transformer((OneHotEncoder(), ["word"]), remainder="passthrough")
    model = pqy.fit(make_pipeline(words, LGBMClassifier(**TREES)), data, target="label", engine=local, gang=1)
    saved = pqy.save(model, tmp_path / "model")
    assert agreement(saved, data, model=model, engine=local)["disagreements"] == 0
    cat = CatBoostClassifier(**CAT, cat_features=["word"]).fit(frame[["a", "word"]], frame.label)
    with pytest.raises(NotExportable, match="knows no categorical columns"):
        to_onnx(cat, {"a": "double", "word": "string"})
    odd = LGBMRegressor(**TREES, zero_as_missing=True).fit(frame[["few"]] - 4, frame.y)
    with pytest.raises(NotExportable, match="zero_as_missing"):
        to_onnx(odd, {"few": str(pa.float64())})
