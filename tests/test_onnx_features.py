"""Encoders and selections in ONNX: the graph says of every row what scikit-learn says."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SelectFwe, SelectKBest, f_regression
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

import parity
import parquetry as pqy
from parquetry import artefact
from parquetry.errors import NotExportable

KNOWN = {"handle_unknown": "use_encoded_value", "unknown_value": -3}
NUMBERS = ["x0", "x1", "x2"]


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    table = parity.texts(300)
    found = table.to_pandas().drop(columns=["day", "flag", "sure"])
    numbers = pd.DataFrame({name: rng.normal(size=300) for name in NUMBERS})
    return found.join(numbers).assign(y=2 * numbers["x1"] + rng.normal(size=300), up=numbers["x1"] > 0)


def with_news(x: pd.DataFrame) -> pd.DataFrame:
    """Some rows with categories and gaps that the fit has not seen."""
    changed = x.copy()
    for name, value in (("word", "larch"), ("whole", 77), ("number", 77.0), ("level", 7.5)):
        if name in changed:
            changed.loc[changed.index[:4], name] = value
    return changed


MODELS: dict[str, tuple[Any, list[str], str]] = {
    "ordinal": (OrdinalEncoder(**KNOWN), ["word", "whole"], "y"),
    "ordinal, gaps": (OrdinalEncoder(encoded_missing_value=-1, **KNOWN), ["gappy", "number", "level"], "y"),
    "ordinal, rare": (OrdinalEncoder(max_categories=3, encoded_missing_value=9, **KNOWN), ["gappy", "level"], "y"),
    "target": (TargetEncoder(), ["word", "gappy", "number", "level"], "y"),
    "target of two classes": (TargetEncoder(), ["gappy", "whole"], "up"),
    "target of many": (TargetEncoder(), ["gappy", "whole"], "word"),
}


@pytest.mark.parametrize(("encoder", "features", "target"), MODELS.values(), ids=MODELS.keys())
def test_encoders(encoder: Any, features: list[str], target: str, tmp_path: Path) -> None:
    rows = frame()
    x = rows[features]
    # A constant beside them: the encoder has to find its columns.
    model = make_pipeline(make_column_transformer((encoder, features), remainder="passthrough"), LinearRegression())
    if target != "y":
        model = model.set_params(linearregression=LogisticRegression(max_iter=1000))
    whole = x.assign(x0=rows["x0"])
    model.fit(whole, rows[target])
    graph = artefact.load_onnx(_saved(model, tmp_path))
    for given in (whole, with_news(whole)):
        expected, found = model.predict(given), np.ravel(graph.predict(given))
        if target == "y":
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
        else:
            assert found.tolist() == expected.tolist()


def test_an_unknown_category_fails_where_the_encoder_says_so(tmp_path: Path) -> None:
    rows = frame()
    model = make_pipeline(OrdinalEncoder(), LinearRegression()).fit(rows[["word"]], rows["y"])
    graph = artefact.load_onnx(_saved(model, tmp_path))
    np.testing.assert_allclose(np.ravel(graph.predict(rows[["word"]])), model.predict(rows[["word"]]), rtol=1e-4)
    with pytest.raises(Exception, match=r"(?i)out of|index|bounds"):
        graph.predict(with_news(rows[["word"]]))


SELECTIONS: dict[str, Any] = {
    "k best": make_pipeline(SelectKBest(f_regression, k=1), LinearRegression()),
    "the first alone": make_pipeline(SelectFromModel(LinearRegression(), threshold=-1, max_features=1)),
    "fwe": make_pipeline(StandardScaler(), SelectFwe(f_regression), LinearRegression()),
    "from a model": make_pipeline(SelectFromModel(LinearRegression()), LinearRegression()),
    "eliminated": make_pipeline(StandardScaler(), RFE(LinearRegression()), LinearRegression()),
    "which predicts": RFE(LinearRegression(), n_features_to_select=2),
    "which predicts, in a pipeline": make_pipeline(StandardScaler(), RFECV(LinearRegression())),
    "classes": make_pipeline(RFE(LogisticRegression())),
}


@pytest.mark.parametrize("model", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_selections(model: Any, tmp_path: Path) -> None:
    rows = frame()
    x = rows[NUMBERS]
    model.fit(x, rows["up" if "Logistic" in str(model) else "y"])
    path = _saved(model, tmp_path)
    graph = artefact.load_onnx(path)
    expected = model.predict(x) if hasattr(model, "predict") else model.transform(x)
    found = graph.predict(x) if hasattr(model, "predict") else graph.run(x)["transformed"]
    if expected.dtype == bool:
        assert np.ravel(found).tolist() == expected.tolist()
    else:
        np.testing.assert_allclose(np.ravel(found), np.ravel(expected), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(_own(artefact.load(path), x), _own(model, x))


def test_what_has_no_form_is_said(tmp_path: Path, write_parquet: Any, local: Any) -> None:
    rows = frame()
    folder = write_parquet(rows)
    with pytest.raises(NotExportable, match="labels, and the inputs of an ONNX model are features"):
        _saved(pqy.fit(LabelEncoder(), folder, features=["x0"], target="word", engine=local), tmp_path)
    none = make_pipeline(SelectFwe(f_regression, alpha=0.0), LinearRegression())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        none[0].fit(rows[NUMBERS], rows["y"])
        none[-1].fit(rows[["x0"]], rows["y"])
    with pytest.raises(NotExportable, match="It has selected no column"):
        _saved(none, tmp_path)


def _own(model: Any, x: Any) -> Any:
    return model.transform(x) if hasattr(model, "transform") else model.predict(x)


def _saved(model: Any, place: Path) -> Path:
    return artefact.save(model, place / "model")
