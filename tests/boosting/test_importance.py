"""Importances of features, against the boosters' and scikit-learn's own; and boosted models as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xgboost as xgb
from sklearn.linear_model import LinearRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parquetry.agreement import agreement
from parquetry.boosting import importances
from parquetry.errors import BadParameter, NotExportable

Write = Callable[..., Path]
FEATURES = ["strong", "weak", "none"]


@pytest.fixture
def folder(write_parquet: Write) -> Path:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(900, 3))
    score = 2 * x[:, 0] + 0.5 * x[:, 1] + 0.3 * rng.normal(size=900)
    data = dict(zip(FEATURES, x.T, strict=True))
    return write_parquet({**data, "y": score, "label": (score > 0).astype(int), "kind": np.digitize(score, [-1, 1])})


def fitted(folder: Path, estimator: Any, target: str) -> tuple[Any, Any]:
    frame = pqy.open_dataset(folder).to_pandas()
    return estimator.fit(frame[FEATURES], frame[target]), frame


SMALL = {"n_estimators": 8, "max_depth": 3, "n_jobs": 1}


def test_what_the_trees_say(folder: Path) -> None:
    model, _ = fitted(folder, xgb.XGBClassifier(**SMALL), "label")
    found = importances(model, kinds=["gain", "weight"])
    for kind, scores in found.items():
        own = model.get_booster().get_score(importance_type=kind)
        assert scores == {name: own.get(name, 0.0) for name in scores}
        assert sorted(scores) == sorted(FEATURES)
        assert list(scores.values()) == sorted(scores.values(), reverse=True)


@pytest.mark.parametrize("target", ["label", "kind", "y"])
def test_shap_values_are_the_boosters_own(folder: Path, local: Any, target: str) -> None:
    estimator = xgb.XGBRegressor(**SMALL) if target == "y" else xgb.XGBClassifier(**SMALL)
    model, frame = fitted(folder, estimator, target)
    values = model.get_booster().predict(xgb.DMatrix(frame[FEATURES]), pred_contribs=True)
    expected = np.abs(values[..., :-1]).mean(axis=0)
    expected = expected.sum(axis=0) if expected.ndim == 2 else expected
    found = importances(model, folder, kinds="shap", engine=local)["shap"]
    np.testing.assert_allclose([found[n] for n in FEATURES], expected, rtol=1e-5)
    assert next(iter(found)) == "strong"


def test_shuffling_tells_of_any_model(folder: Path, local: Any) -> None:
    line, _ = fitted(folder, make_pipeline(StandardScaler(), LinearRegression()), "y")
    found = importances(line, folder, kinds=["permutation"], target="y", engine=local)["permutation"]
    # The loss grows by twice the squared coefficient times the variance of the column.
    np.testing.assert_allclose([found["strong"], found["weak"]], [8.0, 0.5], rtol=0.12)
    assert abs(found["none"]) < 0.01
    model, frame = fitted(folder, xgb.XGBClassifier(**SMALL), "label")
    found = importances(model, folder, kinds=["permutation"], target="label", repeats=2, engine=local)["permutation"]
    mixed = frame[FEATURES].assign(strong=np.random.default_rng(1).permutation(frame["strong"]))
    grown = [log_loss(frame["label"], model.predict_proba(x)) for x in (mixed, frame[FEATURES])]
    np.testing.assert_allclose(found["strong"], grown[0] - grown[1], rtol=0.2)
    assert found == importances(model, folder, kinds=["permutation"], target="label", repeats=2)["permutation"]


def test_what_cannot_be_told(folder: Path, local: Any) -> None:
    model, _ = fitted(folder, LinearRegression(), "y")
    for arguments, told in (
        ({"kinds": ["gains"]}, "Did you mean 'gain'"),
        ({"kinds": ["shap"]}, "Pass data="),
        ({"kinds": ["permutation"], "data": folder}, "Pass target="),
        ({"kinds": ["gain"]}, "does not tell 'gain'"),
        ({"kinds": ["shap"], "data": folder}, "no SHAP values of LinearRegression"),
    ):
        with pytest.raises(BadParameter, match=told):
            importances(model, **arguments)


# --- ONNX -----------------------------------------------------------------------------------------
@pytest.mark.parametrize("target", ["label", "kind", "y"])
def test_a_boosted_model_agrees_with_its_onnx(folder: Path, local: Any, tmp_path: Path, target: str) -> None:
    estimator = xgb.XGBRegressor(**SMALL) if target == "y" else xgb.XGBClassifier(early_stopping_rounds=2, **SMALL)
    more = {} if target == "y" else {"validation": folder}
    model = pqy.fit(estimator, folder, target=target, features=FEATURES, gang=1, engine=local, **more)
    pqy.save(model, tmp_path / "model")
    counted = agreement(tmp_path / "model", folder, model=model, engine=local)
    assert counted["rows"] == 900
    assert counted["disagreements"] == 0
    assert counted["max_absolute"] < 1e-5


def test_what_has_no_onnx_form_says_why(write_parquet: Write, local: Any) -> None:
    words = np.array(["a", "b", "c"])[np.arange(300) % 3]
    data = {"word": pa.array(words), "y": np.arange(300.0)}
    model = pqy.fit(
        xgb.XGBRegressor(enable_categorical=True, **SMALL),
        write_parquet(data, "words"),
        target="y",
        engine=local,
        gang=1,
    )
    from parquetry.exporting import to_onnx

    with pytest.raises(NotExportable, match="splits on categories have no ONNX form"):
        to_onnx(model, {"word": "string"})
