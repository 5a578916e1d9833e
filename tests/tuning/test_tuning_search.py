"""Searches against scikit-learn's own on the same rows, by each road."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import Lasso, LogisticRegression, Ridge, SGDClassifier
from sklearn.metrics import fbeta_score, make_scorer
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    KFold,
    RandomizedSearchCV,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import parquetry as pqy
from parquetry.one_thread import one_thread
from parquetry.tuning import Hyperband, PartialFits, contest
from searches import FEATURES, STREAMED, assert_same_search, rows, search_both

TREE = DecisionTreeClassifier(random_state=0)
BAYES = {"var_smoothing": [1e-9, 0.1, 1.0]}
LABELS = ["accuracy", "balanced_accuracy", "matthews_corrcoef", "f1", "precision", "recall_macro", "jaccard_weighted"]
SHARES = ["neg_log_loss", "neg_brier_score", "roc_auc", "average_precision"]
OF_THREE = ["accuracy", "f1_macro", "f1_micro", "precision_weighted", "roc_auc_ovr", "roc_auc_ovr_weighted"]
ERRORS = [
    "r2",
    "explained_variance",
    "neg_mean_squared_error",
    "neg_root_mean_squared_error",
    "neg_mean_absolute_error",
    "neg_mean_absolute_percentage_error",
    "neg_median_absolute_error",
    "neg_max_error",
]


def share_first(model: Any, x: Any, y: Any) -> dict[str, float]:
    """A scorer of one's own, of several scores."""
    return {"right": model.score(x, y), "first": float(np.mean(y == y[0]))}


def best_is_last(results: Any) -> int:
    return len(results["params"]) - 1


@pytest.fixture
def data(write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(rows(), files=3, row_group_size=70)


@pytest.mark.parametrize(
    ("search", "target", "given"),
    [
        (GridSearchCV(TREE, {"max_depth": [1, 2, 5]}, return_train_score=True), "kind", {}),
        (GridSearchCV(TREE, {"max_depth": [1, 2]}, scoring=[*LABELS, *SHARES], refit="f1"), "late", {}),
        (GridSearchCV(TREE, {"max_depth": [1, 2]}, scoring=make_scorer(fbeta_score, beta=2), refit=False), "late", {}),
        (GridSearchCV(TREE, {"max_depth": [1, 2]}, scoring=share_first, refit="right"), "late", {}),
        (GridSearchCV(TREE, {"max_depth": [3, 2]}, refit=best_is_last), "late", {"sample_weight": "mass"}),
        (RandomizedSearchCV(SVC(), {"C": loguniform(0.1, 10)}, n_iter=3, random_state=5, cv=3), "late", {}),
        (
            GridSearchCV(
                make_pipeline(
                    ColumnTransformer([("scaled", StandardScaler(), ["p", "q"])], remainder="passthrough"), TREE
                ),
                {
                    "columntransformer__scaled__with_mean": [True, False],
                    "decisiontreeclassifier": [TREE, SVC()],
                },
                cv=3,
            ),
            "late",
            {},
        ),
    ],
    ids=["tree", "scores", "own scorer", "own scores", "function", "random", "pipeline"],
)
def test_fits_on_workers(local: Any, data: Path, search: Any, target: str, given: Any) -> None:
    ours, theirs = search_both(search, data, local, target, **given)
    assert_same_search(ours, theirs, 1e-12)
    report = next(r for r in ours.fit_report_["steps"] if r["step"] == type(search).__name__)
    assert report["placement"] == "single-node"
    assert "each by the estimator's own code on one worker" in report["why"]


@pytest.mark.parametrize(
    ("search", "target", "given"),
    [
        (GridSearchCV(GaussianNB(), BAYES, scoring=[*LABELS, *SHARES], refit="roc_auc"), "late", {}),
        (GridSearchCV(GaussianNB(), BAYES, scoring=OF_THREE, refit="f1_macro", return_train_score=True), "kind", {}),
        (GridSearchCV(GaussianNB(), BAYES, cv=3), "kind", {"sample_weight": "mass"}),
        (GridSearchCV(GaussianNB(), BAYES, scoring=make_scorer(fbeta_score, beta=2), cv=3), "late", {}),
        (
            GridSearchCV(
                make_pipeline(StandardScaler(), GaussianNB()),
                {"standardscaler__with_std": [True, False], "gaussiannb__var_smoothing": [1e-9, 1.0]},
                cv=3,
            ),
            "late",
            {},
        ),
        (
            GridSearchCV(
                DecisionTreeRegressor(), {"max_depth": [1, 2]}, scoring=ERRORS, refit="r2", cv=KFold(2, shuffle=False)
            ),
            "y",
            {"sample_weight": "mass"},
        ),
    ],
    ids=["two classes", "three", "weighted", "own scorer", "pipeline", "errors"],
)
def test_distributed_fits(local: Any, data: Path, search: Any, target: str, given: Any) -> None:
    ours, theirs = search_both(search, data, local, target, memory=STREAMED, **given)
    loose = isinstance(search.estimator, DecisionTreeRegressor)
    if not loose:
        assert_same_search(ours, theirs)
    else:
        # Binned splits differ from exhaustive ones on a few rows.
        assert ours.cv_results_.keys() == theirs.cv_results_.keys()
        for name in ERRORS:
            near = (ours.cv_results_[f"mean_test_{name}"], theirs.cv_results_[f"mean_test_{name}"])
            np.testing.assert_allclose(*near, rtol=0.05, atol=0.02)
    assert ours.fit_report_["placement"] == "distributed"


@pytest.mark.parametrize(
    ("search", "target", "given", "passes"),
    [
        (GridSearchCV(LogisticRegression(tol=1e-9), {"C": [0.1, 1.0, 9.0]}, scoring="neg_log_loss"), "late", {}, 16),
        (
            GridSearchCV(
                LogisticRegression(tol=1e-9),
                [{"C": [0.1, 1.0]}, {"fit_intercept": [False]}, {"l1_ratio": [1.0], "solver": ["saga"]}],
                scoring=["neg_log_loss", "accuracy", "roc_auc_ovr"],
                refit="neg_log_loss",
                cv=3,
            ),
            "kind",
            {"sample_weight": "mass"},
            30,
        ),
        (
            GridSearchCV(LogisticRegression(tol=1e-9, class_weight="balanced"), {"C": [0.1, 1.0]}, scoring=SHARES,
                         refit="roc_auc", cv=3),
            "late",
            {},
            16,
        ),
        (
            GridSearchCV(
                make_pipeline(StandardScaler(), LogisticRegression(tol=1e-9)),
                {"standardscaler__with_std": [True, False], "logisticregression__C": [0.1, 1.0]},
                scoring="neg_log_loss",
                return_train_score=True,
                cv=3,
            ),
            "late",
            {},
            30,
        ),
        (
            GridSearchCV(
                make_pipeline(StandardScaler(), Ridge()),
                {"ridge__alpha": [0.1, 1.0, 50.0], "ridge__fit_intercept": [True, False]},
                scoring=ERRORS,
                refit="r2",
                return_train_score=True,
            ),
            "y",
            {},
            8,
        ),
        (GridSearchCV(Lasso(), {"alpha": [0.01, 0.1]}, cv=KFold(3, shuffle=True, random_state=0)), "y", {}, 5),
    ],
    ids=["logistic", "three classes", "balanced", "scaled logistic", "scaled ridge", "shuffled lasso"],
)  # fmt: skip
def test_candidates_in_the_same_passes(
    local: Any, data: Path, search: Any, target: str, given: Any, passes: int
) -> None:
    ours, theirs = search_both(search, data, local, target, memory="1GiB", **given)
    assert_same_search(ours, theirs, 1e-4 if "saga" in str(search.param_grid) else 1e-6)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] <= passes
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-6)


@pytest.mark.parametrize(
    ("search", "memory"),
    [
        (HalvingGridSearchCV(TREE, {"max_depth": [1, 2, 3, 4, 5, 6, 7]}, random_state=0), None),
        (HalvingRandomSearchCV(TREE, {"max_depth": [1, 2, 3, 4, 5, 6, 7]}, random_state=0, factor=2), None),
        (HalvingGridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 0.01, 0.1, 1]}, cv=3, random_state=0), STREAMED),
        (
            HalvingGridSearchCV(
                RandomForestClassifier(random_state=0),
                {"max_depth": [1, 2, 3]},
                resource="n_estimators",
                max_resources=9,
                aggressive_elimination=True,
                cv=2,
            ),
            None,
        ),
    ],
    ids=["grid", "random", "distributed", "trees"],
)
def test_halving(local: Any, data: Path, search: Any, memory: Any) -> None:
    ours, theirs = search_both(search, data, local, "late", memory=memory)
    assert_same_search(ours, theirs)
    assert ours.n_resources_ == theirs.n_resources_


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, data: Path) -> None:
    learner = PartialFits(SGDClassifier(loss="log_loss", random_state=0), chunk_rows=64)
    searches = (
        (GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, scoring="neg_log_loss"), None),
        (
            Hyperband(learner, {"estimator__alpha": [0.1, 1e-3]}, resource="calls", max_resources=2, factor=2, cv=2),
            None,
        ),
        (GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1.0]}, cv=2, scoring="roc_auc"), STREAMED),
    )
    for search, memory in searches:
        bits = []
        for engine in (local, dask_engine, spark_engine):
            found = pqy.fit(search, data, target="late", features=FEATURES, engine=engine, memory=memory)
            names = [n for n in found.cv_results_ if "test_score" in n]
            bits.append([found.cv_results_[n].tobytes() for n in names] + [found.best_index_])
        assert bits[0] == bits[1] == bits[2], search


def test_many_rows_are_not_copied_to_workers(local: Any, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contest, "_FEW_VALUES", 600)
    cases = [
        (GaussianNB(), {"var_smoothing": [0.1]}, "distributed"),
        (make_pipeline(StandardScaler(), GaussianNB()), {"gaussiannb__var_smoothing": [0.1]}, "distributed"),
        (make_pipeline(StandardScaler(), SVC()), {"svc__C": [1.0]}, "single-node"),
        (SGDClassifier(random_state=0), {"alpha": [0.1]}, "single-node"),
        (AdaBoostClassifier(GaussianNB(), n_estimators=2), {"n_estimators": [2]}, "single-node"),
    ]
    for estimator, grid, placement in cases:
        ours, theirs = search_both(GridSearchCV(estimator, grid, cv=2, refit=False), data, local, "late")
        assert_same_search(ours, theirs)
        assert ours.fit_report_["placement"] == placement


def test_a_search_within_a_pipeline(local: Any, data: Path) -> None:
    frame = pqy.open_dataset(data).to_pandas()
    pipeline = make_pipeline(StandardScaler(), GridSearchCV(TREE, {"max_depth": [1, 3]}, cv=3))
    ours = pqy.fit(pipeline, data, target="late", features=FEATURES, engine=local)
    theirs = pipeline.fit(frame[FEATURES], frame["late"])
    assert_same_search(ours[1], theirs[1])


@pytest.mark.parametrize("memory", [None, STREAMED])
def test_progress_tells_the_best_score_so_far(data: Path, memory: Any, capsys: Any) -> None:
    with pqy.open_engine("local", workers=1, progress=True) as engine:
        search = GridSearchCV(GaussianNB(), BAYES, cv=3)
        pqy.fit(search, data, target="late", features=FEATURES, engine=engine, memory=memory)
        assert engine.progress.note == ""
    assert re.search(r"best 0\.\d+ of 2/3", capsys.readouterr().err)


def test_prefixes_are_fitted_once_a_fold(local: Any, data: Path, tmp_path: Path) -> None:
    class Logged(StandardScaler):  # type: ignore[misc]
        def fit(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
            with open(tmp_path / "fits", "a") as file:
                file.write(".")
            return super().fit(x, y)

    search = GridSearchCV(make_pipeline(Logged(), TREE), {"decisiontreeclassifier__max_depth": [1, 2, 3, 4]}, cv=3)
    with pqy.open_engine("local", workers=1) as engine:
        pqy.fit(search, data, target="late", features=FEATURES, engine=engine)
    assert (tmp_path / "fits").read_text() == "." * (3 + 1)


def test_histogram_boosting_with_shared_bins(local: Any, data: Path) -> None:
    model = HistGradientBoostingClassifier(max_iter=2, max_leaf_nodes=5, random_state=0)
    grid = [{"max_bins": [10, 255], "early_stopping": [True, False]}, {"learning_rate": [0.2, 0.5]}]
    with one_thread():
        ours, theirs = search_both(GridSearchCV(model, grid, cv=2, return_train_score=True), data, local, "late")
    assert_same_search(ours, theirs)
    found = pqy.cross_validate(model, data, target="late", features=FEATURES, cv=2, return_estimator=True, engine=local)
    assert not any("_bin_data" in vars(estimator) for estimator in found["estimator"])
