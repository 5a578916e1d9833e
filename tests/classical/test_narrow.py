"""Linear models of float32 features: learned attributes in the float type that scikit-learn gives them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    ElasticNetCV,
    Lars,
    Lasso,
    LassoCV,
    LassoLars,
    LinearRegression,
    MultiTaskLasso,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
)
from sklearn.model_selection import GridSearchCV

import parquetry as pqy
from regressions import FEATURES, assert_same_model, fit_both, table

CASES: dict[str, tuple[Any, Any]] = {
    "least squares": (LinearRegression(), "y"),
    "through the origin": (LinearRegression(fit_intercept=False), ["y", "z"]),
    "positive": (LinearRegression(positive=True), "y"),
    "ridge": (Ridge(), ["y", "z"]),
    "positive ridge": (Ridge(positive=True), "y"),
    "ridge without intercept": (Ridge(fit_intercept=False), "y"),
    "ridge, one left out": (RidgeCV([1.0, 30.0]), "y"),
    "ridge by folds": (RidgeCV([1.0, 30.0], cv=3), "y"),
    "ridge classifier": (RidgeClassifier(), "four"),
    "ridge classifier, one left out": (RidgeClassifierCV([1.0, 30.0]), "two"),
    "lasso": (Lasso(0.1), "y"),
    "elastic net": (ElasticNet(0.1, fit_intercept=False), "y"),
    "several tasks": (MultiTaskLasso(0.1), ["y", "z"]),
    "lasso by folds": (LassoCV(alphas=4, cv=3), "y"),
    "elastic net by folds": (ElasticNetCV(alphas=3, l1_ratio=[0.3, 0.9], cv=3), "y"),
    "least angles": (Lars(), "y"),
    "lasso by least angles": (LassoLars(0.01), "y"),
    "evidence": (BayesianRidge(compute_score=True), "y"),
}


def narrow(columns: list[str]) -> pa.Table:
    rows = table()
    return pa.table({k: rows[k].cast(pa.float32()) if k in columns else rows[k] for k in rows.column_names})


@pytest.mark.parametrize(("estimator", "target"), CASES.values(), ids=CASES.keys())
def test_float32(local: Any, write_parquet: Any, estimator: Any, target: Any) -> None:
    data = pqy.open_dataset(write_parquet(narrow(FEATURES), files=2, row_group_size=90))
    ours, theirs = fit_both(estimator, data, local, target=target)
    leaves_one_out = isinstance(estimator, RidgeCV) and estimator.cv is None
    assert theirs.coef_.dtype == (np.float64 if leaves_one_out else np.float32)
    # scikit-learn adds up in float32, and stops its own steps where that leaves no more digits.
    assert_same_model(ours, theirs, 2e-3, apart=("n_iter_", "eps_", "scores_", "dual_gap_"))
    for name in ("scores_", "dual_gap_"):
        mine, other = getattr(ours, name, None), getattr(theirs, name, None)
        assert (type(mine), getattr(mine, "dtype", None)) == (type(other), getattr(other, "dtype", None))


def test_one_wide_column_makes_all_wide(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(narrow(FEATURES[1:])))
    assert_same_model(*fit_both(Ridge(), data, local, target="y"))


def test_a_search_leaves_the_best_model_narrow(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(narrow(FEATURES)))
    frame = data.to_pandas()
    search = GridSearchCV(Ridge(), {"alpha": [1.0, 30.0]}, cv=3)
    ours = pqy.fit(search, data, target="y", features=FEATURES, engine=local)
    theirs = search.fit(frame[FEATURES], frame["y"])
    assert ours.fit_report_["placement"] == "distributed"
    assert_same_model(ours.best_estimator_, theirs.best_estimator_, 1e-4)
