"""SelectKBest and its kin against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.feature_selection import (
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, DegenerateColumn, NegativeValues, NonFiniteValues, WrongColumnType
from parquetry.features import mutual, univariate

N = 500
FEATURES = [f"x{i}" for i in range(5)]


def table(**changes):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(N, 5))
    y = 2 * x[:, 0] - x[:, 1] + rng.normal(size=N)
    label = np.where(y > 1, "high", np.where(y < -1, "low", "middle"))
    columns = {f"x{i}": x[:, i] for i in range(5)}
    counts = {"n0": rng.poisson(3 + (y > 0)), "n1": rng.poisson(2, N), "n2": rng.integers(0, 2, N)}
    words = rng.choice(["ash", "oak", "yew"], N)
    return pa.table({**columns, **counts, "y": y, "label": label, "sign": y > 0, "word": words, **changes})


@pytest.fixture
def folder(write_parquet):
    return write_parquet(table(), files=3, row_group_size=37)


SELECTORS = {
    "k best": (SelectKBest(k=2), "label"),
    "two classes": (SelectKBest(f_classif, k=3), "sign"),
    "all": (SelectKBest(k="all"), "label"),
    "percentile": (SelectPercentile(percentile=40), "label"),
    "fpr": (SelectFpr(), "label"),
    "fdr": (SelectFdr(f_regression), "y"),
    "fwe": (SelectFwe(f_regression), "y"),
    "generic": (GenericUnivariateSelect(f_regression, mode="k_best", param=2), "y"),
    "correlation": (SelectKBest(r_regression, k=2), "y"),
    "not centered": (SelectKBest(partial(f_regression, center=False), k=2), "y"),
    "not finite": (SelectKBest(partial(r_regression, force_finite=False, center=False), k=2), "y"),
}


@pytest.mark.parametrize(("selector", "target"), SELECTORS.values(), ids=SELECTORS.keys())
def test_equals_scikit_learn(selector, target, folder, local):
    ours, theirs, x = parity.fit_both(selector, folder, local, features=FEATURES, target=target)
    parity.assert_same_learned(ours, theirs, 1e-9)
    parity.assert_same_output(ours, theirs, x)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == (1 if target == "y" else 2)


def test_counts(folder, local):
    for target in ("label", "sign"):
        ours, theirs, x = parity.fit_both(
            SelectKBest(chi2, k=2), folder, local, features=["n0", "n1", "n2"], target=target
        )
        parity.assert_same_learned(ours, theirs, 1e-9)
        parity.assert_same(ours.transform(x), theirs.transform(x), "transform")


@pytest.mark.parametrize(("score", "target"), [(chi2, "label"), (f_classif, "label"), (f_regression, "y")])
def test_sparse(score, target, folder, local):
    pipeline = make_pipeline(OneHotEncoder(), SelectKBest(score, k=2))
    ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=["word", "n2"], target=target)
    parity.assert_same_learned(ours[1], theirs[1], 1e-9)
    assert ours.fit_report_["placement"] == "distributed"


def test_far_from_zero_and_constant(write_parquet, local):
    rng = np.random.default_rng(0)
    near = table()
    far = {f"x{i}": 1e9 + near.column(f"x{i}").to_numpy() for i in range(4)}
    folder = write_parquet(table(**far, x4=np.full(N, 0.1), y=1e9 + rng.normal(size=N)), row_group_size=37)
    frame = pqy.open_dataset(folder).to_pandas()
    x = frame[FEATURES] - frame[FEATURES].iloc[0]
    for score, target in ((f_classif, "label"), (f_regression, "y")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ours = pqy.fit(SelectKBest(score, k=2), folder, features=FEATURES, target=target, engine=local)
            y = frame["y"] - 1e9 if target == "y" else frame[target]
            theirs = SelectKBest(score, k=2).fit(x, y)
        np.testing.assert_allclose(ours.scores_, theirs.scores_, rtol=1e-6)
        np.testing.assert_allclose(ours.pvalues_, theirs.pvalues_, rtol=1e-6)
    with pytest.warns(UserWarning, match=r"Features \[4\] are constant"):
        pqy.fit(SelectKBest(k=2), folder, features=FEATURES, target="label", engine=local)


def test_mutual_information_of_few_rows_is_scikit_learns(folder, local):
    for score, target in ((mutual_info_classif, "label"), (mutual_info_regression, "y")):
        selector = SelectKBest(partial(score, random_state=0), k=2)
        ours, theirs, x = parity.fit_both(selector, folder, local, features=FEATURES, target=target)
        parity.assert_same_learned(ours, theirs)
        parity.assert_same_output(ours, theirs, x)
        assert ours.fit_report_["placement"] == "single-node"
        assert "nearest neighbors" in ours.fit_report_["steps"][0]["why"]


def test_mutual_information_of_many_rows_is_told_to_be_another_estimate(write_parquet, local, monkeypatch):
    monkeypatch.setattr(mutual, "MOST_ROWS", 100)
    monkeypatch.setattr(univariate, "MOST_ROWS", 100)
    rng = np.random.default_rng(1)
    n, shared = 6000, 0.8
    a, noise = rng.normal(size=n), rng.normal(size=n)
    y = shared * a + np.sqrt(1 - shared**2) * noise
    rows = pa.table({"a": 1e9 + a, "b": noise, "c": rng.normal(size=n), "d": np.full(n, 3.0), "y": y, "up": a > 0})
    folder = write_parquet(rows, row_group_size=700)
    with pytest.warns(UserWarning, match="estimated by 32 bins"):
        ours = pqy.fit(
            SelectKBest(mutual_info_regression, k=1), folder, features=["a", "b", "c", "d"], target="y", engine=local
        )
    # Of two normal variables it is known.
    np.testing.assert_allclose(ours.scores_, [-np.log(0.6), -np.log(0.8), 0, 0], atol=0.05)
    assert ours.get_support().tolist() == [True, False, False, False]
    assert ours.pvalues_ is None
    assert "not by nearest neighbors" in ours.fit_report_["steps"][0]["why"]
    monkeypatch.setattr(univariate, "MOST_ROWS", 10_000)
    with pytest.warns(UserWarning, match="estimated by 32 bins"):  # few rows, and less memory
        ours = pqy.fit(
            SelectKBest(mutual_info_classif, k=1),
            folder,
            features=["a", "c"],
            target="up",
            engine=local,
            memory="300KiB",
        )
    np.testing.assert_allclose(ours.scores_, [np.log(2), 0], atol=0.02)


def score_of_ones_own(x, y):
    return np.abs(np.corrcoef(x.T, y)[:-1, -1])


def test_a_function_of_ones_own_falls_back(folder, local):
    selector = SelectKBest(score_of_ones_own, k=2)
    ours, theirs, _ = parity.fit_both(selector, folder, local, features=FEATURES, target="y")
    parity.assert_same_learned(ours, theirs)
    assert ours.fit_report_["placement"] == "single-node"


def test_in_a_pipeline(folder, local):
    pipeline = make_pipeline(SelectKBest(f_regression, k=2), LinearRegression())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, features=FEATURES, target="y")
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9, atol=1e-9)


def gap(values, at, what):
    changed = values.to_numpy().astype(float)
    changed[at] = what
    return changed


BAD = {
    "no target": (SelectKBest(k=2), {"target": None}, {}, BadParameter, "needs one target"),
    "parameter": (SelectKBest(k=-1), {}, {}, BadParameter, "'k' parameter"),
    "one class": (SelectKBest(k=2), {"target": "one"}, {}, DegenerateColumn, "one class only"),
    "words": (SelectKBest(f_regression, k=2), {"target": "label"}, {}, WrongColumnType, "is string, not a number"),
    "feature": (SelectKBest(k=2), {"features": ["x0", "word"]}, {}, WrongColumnType, "'word' is string"),
    "weights": (SelectKBest(k=2), {"sample_weight": "n0"}, {}, BadParameter, "sample"),
    "NaN": (SelectKBest(k=2), {}, {"x1": np.nan}, NonFiniteValues, "column 'x1' holds NaN, first in .*group 1, row 8"),
    "target": (
        SelectKBest(f_regression, k=2),
        {"target": "y"},
        {"y": np.inf},
        NonFiniteValues,
        "column 'y' holds infinity, first in .*group 1, row 8",
    ),
    "negative": (
        SelectKBest(chi2, k=2),
        {"features": ["n0", "n1"]},
        {"n1": -1.0},
        NegativeValues,
        "SelectKBest: column 'n1' holds a value below zero, first in .*group 1, row 8",
    ),
}


@pytest.mark.parametrize(("selector", "arguments", "spoilt", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(selector, arguments, spoilt, kind, says, write_parquet, local):
    changes = {name: gap(table().column(name), 45, what) for name, what in spoilt.items()}
    folder = write_parquet(table(one=np.ones(N, dtype=int), **changes), row_group_size=37)
    with pytest.raises(kind, match=says):
        pqy.fit(clone(selector), folder, engine=local, **{"features": FEATURES, "target": "label", **arguments})


def test_more_features_wanted_than_there_are(folder, local):
    with pytest.warns(UserWarning, match="k=9 is greater than n_features=5"):
        model = pqy.fit(SelectKBest(k=9), folder, features=FEATURES, target="label", engine=local)
    assert model.get_support().all()
