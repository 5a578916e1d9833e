"""SelectFromModel, RFE and RFECV against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Lasso, LinearRegression, LogisticRegression, Ridge
from sklearn.model_selection import KFold, ShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, WrongColumnType
from parquetry.features import model_selection

N = 300
FEATURES = [f"x{i}" for i in range(5)]
LOGISTIC = LogisticRegression(C=0.5, tol=1e-10, max_iter=5000)


def table():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N, 5))
    y = 2 * x[:, 0] - x[:, 1] + 0.3 * x[:, 3] + rng.normal(size=N)
    label = np.where(y > 1, "high", np.where(y < -1, "low", "middle"))
    return pa.table(
        {**{f"x{i}": x[:, i] for i in range(5)}, "y": y, "label": label, "w": rng.uniform(0, 2, N), "word": label}
    )


@pytest.fixture
def folder(write_parquet):
    return write_parquet(table(), files=2, row_group_size=37)


def assert_same_choice(ours, theirs, x, rtol=1e-6):
    """What was learned, but for the inner model's own counts of iterations; and what comes out."""
    for name in ("support_", "ranking_", "n_features_", "n_features_in_", "max_features_", "feature_names_in_"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            parity.assert_same(getattr(ours, name), getattr(theirs, name), name)
    assert hasattr(ours.estimator_, "feature_names_in_") == hasattr(theirs.estimator_, "feature_names_in_")
    parity.assert_same_output(ours, theirs, x)
    np.testing.assert_allclose(ours.estimator_.coef_, theirs.estimator_.coef_, rtol=1e-4, atol=rtol)


FROM_MODEL = {
    "mean": (SelectFromModel(LinearRegression()), "y"),
    "median": (SelectFromModel(LOGISTIC, threshold="0.5*median", max_features=2), "label"),
    "norm": (SelectFromModel(LOGISTIC, norm_order=2), "label"),
    "zero": (SelectFromModel(Lasso(0.1)), "y"),
    "number": (SelectFromModel(Ridge(), threshold=0.2), "y"),
    "function": (SelectFromModel(Ridge(), max_features=lambda x: x.shape[1] // 2, threshold=-np.inf), "y"),
}


@pytest.mark.parametrize(("selector", "target"), FROM_MODEL.values(), ids=FROM_MODEL.keys())
def test_select_from_model(selector, target, folder, local):
    ours, theirs, x = parity.fit_both(selector, folder, local, features=FEATURES, target=target)
    assert_same_choice(ours, theirs, x)
    np.testing.assert_allclose(ours.threshold_, theirs.threshold_, rtol=1e-6)
    assert ours.fit_report_["placement"] == "distributed"


def test_weights_reach_the_model(folder, local):
    ours, theirs, x = parity.fit_both(
        SelectFromModel(Ridge()), folder, local, features=FEATURES, target="y", sample_weight="w"
    )
    assert_same_choice(ours, theirs, x)


def test_prefit(folder, local):
    frame = pqy.open_dataset(folder).to_pandas()
    fitted = FrozenEstimator(LinearRegression().fit(frame[FEATURES], frame["y"]))
    ours = pqy.fit(SelectFromModel(fitted, prefit=True), folder, features=FEATURES, target="y", engine=local)
    theirs = SelectFromModel(fitted, prefit=True).fit(frame[FEATURES], frame["y"])
    assert ours.get_support().tolist() == theirs.get_support().tolist()
    with pytest.raises(BadParameter, match="the estimator is not fitted"):
        pqy.fit(SelectFromModel(Ridge(), prefit=True), folder, features=FEATURES, target="y", engine=local)


ELIMINATED = {
    "half": (RFE(LinearRegression()), "y"),
    "two at a time": (RFE(LOGISTIC, n_features_to_select=1, step=2), "label"),
    "shares": (RFE(Ridge(), n_features_to_select=0.4, step=0.3), "y"),
    "classes": (RFE(LinearSVC(tol=1e-10, max_iter=100_000), n_features_to_select=2), "label"),
    "getter": (RFE(make_pipeline(StandardScaler(), Ridge()), importance_getter="named_steps.ridge.coef_"), "y"),
}


@pytest.mark.parametrize(("selector", "target"), ELIMINATED.values(), ids=ELIMINATED.keys())
def test_rfe(selector, target, folder, local):
    ours, theirs, x = parity.fit_both(selector, folder, local, features=FEATURES, target=target)
    if hasattr(theirs.estimator_, "coef_"):
        assert_same_choice(ours, theirs, x, 1e-5)
        predicted, expected = ours.predict(x), theirs.predict(x)
        assert np.mean(predicted == expected) > 0.99 if target == "label" else np.allclose(predicted, expected)
    assert ours.ranking_.tolist() == theirs.ranking_.tolist()
    assert ours.fit_report_["placement"] == "distributed"


VALIDATED = {
    "default": (RFECV(LinearRegression()), "y"),
    "classes": (RFECV(LOGISTIC, cv=3, min_features_to_select=3), "label"),
    "errors": (RFECV(Ridge(), cv=KFold(3, shuffle=True, random_state=1), scoring="neg_mean_absolute_error"), "y"),
    "roots": (RFECV(Ridge(), cv=3, step=2, scoring="neg_root_mean_squared_error"), "y"),
}


@pytest.mark.parametrize(("selector", "target"), VALIDATED.values(), ids=VALIDATED.keys())
def test_rfecv(selector, target, folder, local):
    ours, theirs, x = parity.fit_both(selector, folder, local, features=FEATURES, target=target)
    assert_same_choice(ours, theirs, x, 1e-5)
    assert list(ours.cv_results_) == list(theirs.cv_results_)
    for name, values in theirs.cv_results_.items():
        parity.assert_same(ours.cv_results_[name], values, name, 1e-6)
    assert ours.fit_report_["placement"] == "distributed"


def test_what_wants_all_rows_at_once_says_so(folder, local):
    for selector in (
        RFECV(Ridge(), cv=3, scoring="neg_max_error"),
        RFECV(Ridge(), cv=ShuffleSplit(2, random_state=0)),
        SequentialFeatureSelector(LinearRegression(), n_features_to_select=2),
    ):
        ours, theirs, _ = parity.fit_both(selector, folder, local, features=FEATURES, target="y")
        assert ours.get_support().tolist() == theirs.get_support().tolist()
        assert ours.fit_report_["placement"] == "single-node"


def test_many_rows_are_dealt_out_by_hash(folder, local, monkeypatch):
    monkeypatch.setattr(model_selection, "MOST_DEALT", 100)
    with pytest.warns(UserWarning, match="hash of the row's place"):
        ours = pqy.fit(RFECV(Ridge(), cv=3), folder, features=FEATURES, target="y", engine=local)
    assert {0, 1} <= set(np.flatnonzero(ours.support_).tolist())
    scores = [ours.cv_results_[f"split{i}_test_score"] for i in range(3)]
    assert not np.array_equal(scores[0], scores[1])
    assert np.all(np.array(scores)[:, -1] > 0.6)


def test_in_a_pipeline(folder, local):
    pipeline = make_pipeline(StandardScaler(), SelectFromModel(Ridge()), RFE(Ridge(), n_features_to_select=1), Ridge())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, features=FEATURES, target="y")
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9, atol=1e-9)


BAD = {
    "no importances": (RFE(make_pipeline(Ridge())), {}, BadParameter, "should have `coef_`"),
    "none either": (SelectFromModel(StandardScaler()), {}, BadParameter, "should have `coef_`"),
    "threshold": (SelectFromModel(Ridge(), threshold="most"), {}, BadParameter, "Expected threshold"),
    "scoring": (RFECV(Ridge(), scoring="best"), {}, BadParameter, "'best' is not a valid scoring value"),
    "one feature": (RFE(Ridge()), {"features": ["x0"]}, BadParameter, "minimum of 2"),
    "text": (RFE(Ridge()), {"features": ["x0", "word"]}, WrongColumnType, "'word' is string"),
    "no target": (RFE(Ridge()), {"target": None}, BadParameter, "target"),
    "step": (RFE(Ridge(), step=0), {}, BadParameter, "'step' parameter"),
}


@pytest.mark.parametrize(("selector", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(selector, arguments, kind, says, folder, local):
    with pytest.raises(kind, match=says):
        pqy.fit(clone(selector), folder, engine=local, **{"features": FEATURES, "target": "y", **arguments})


def test_more_features_wanted_than_there_are(folder, local):
    with pytest.warns(UserWarning, match="no feature selection"):
        model = pqy.fit(RFE(Ridge(), n_features_to_select=9), folder, features=FEATURES, target="y", engine=local)
    assert model.support_.all()
