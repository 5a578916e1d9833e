"""GridSearchCV and RandomizedSearchCV over linear models against scikit-learn's own search."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, MultiTaskLasso, Ridge
from sklearn.model_selection import GridSearchCV, KFold, RandomizedSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parity import assert_same
from parquetry.errors import BadParameter
from regressions import FEATURES, assert_same_model, far, table, uneven_scales, well

ALPHAS = [0.01, 1.0, 50.0]
SEARCHES = [
    GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=5),
    GridSearchCV(Ridge(), {"alpha": ALPHAS, "fit_intercept": [True, False]}, cv=KFold(3), return_train_score=True),
    GridSearchCV(Ridge(), [{"alpha": ALPHAS}, {"positive": [True]}], scoring="neg_mean_absolute_error", cv=3),
    GridSearchCV(LinearRegression(), {"fit_intercept": [True, False]}, scoring="neg_root_mean_squared_error"),
    GridSearchCV(Lasso(), {"alpha": [0.3, 0.03], "positive": [True, False]}, cv=3, return_train_score=True),
    GridSearchCV(ElasticNet(tol=1e-8), {"alpha": [0.3, 0.03], "l1_ratio": [0.1, 0.9]}, cv=4, refit=False),
    RandomizedSearchCV(Ridge(), {"alpha": loguniform(1e-3, 1e3)}, n_iter=6, random_state=3, cv=3),
]


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


def assert_same_search(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    """All that a search learns, but for the times."""
    assert ours.cv_results_.keys() == theirs.cv_results_.keys()
    for name, values in theirs.cv_results_.items():
        if name.endswith("_time"):
            assert np.isnan(ours.cv_results_[name]).all()
        elif name.startswith("param"):
            assert str(ours.cv_results_[name]) == str(values), name
        else:
            assert_same(ours.cv_results_[name], values, name, rtol)
    for name in ("best_index_", "best_params_", "n_splits_", "multimetric_"):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert ours.scorer_._sign == theirs.scorer_._sign if hasattr(theirs.scorer_, "_sign") else True
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=rtol)
    assert hasattr(ours, "best_estimator_") == hasattr(theirs, "best_estimator_")
    learned = {name for name in vars(theirs) if name.endswith("_") and not name.startswith("_")}
    assert learned <= set(vars(ours))


@pytest.mark.parametrize("shape", [well, uneven_scales], ids=lambda f: f.__name__)
@pytest.mark.parametrize("search", SEARCHES, ids=lambda s: f"{type(s).__name__} of {s.estimator}")
@pytest.mark.parametrize("weight", [None, "mass"])
def test_parity(local: Any, rows: Any, shape: Any, search: Any, weight: str | None) -> None:
    data = rows(shape)
    frame = data.to_pandas()
    target = ["y", "z"] if search.cv == 3 else "y"
    ours = pqy.fit(search, data, target=target, features=FEATURES, sample_weight=weight, engine=local)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given = {} if weight is None else {"sample_weight": frame[weight].to_numpy()}
        theirs = clone(search).fit(frame[FEATURES].copy(), frame[target].copy(), **given)
    loose = isinstance(search.param_grid, list) if isinstance(search, GridSearchCV) else False
    assert_same_search(ours, theirs, 1e-6 if loose else 1e-8)
    if search.refit:
        apart = ("dual_gap_", "singular_", "intercept_")
        assert_same_model(ours.best_estimator_, theirs.best_estimator_, 1e-7, apart=apart)
        np.testing.assert_allclose(ours.predict(frame[FEATURES]), theirs.predict(frame[FEATURES]), rtol=1e-6)
    report = ours.fit_report_
    assert report["placement"] == "distributed"
    assert report["passes"] == 1 + (search.scoring == "neg_mean_absolute_error")


def test_far_from_zero_behind_a_scaler_and_several_tasks(local: Any, rows: Any) -> None:
    data = rows(far)
    frame = data.to_pandas()
    for search, target in (
        (GridSearchCV(Ridge(), {"alpha": ALPHAS}), "y"),
        (GridSearchCV(MultiTaskLasso(), {"alpha": [0.1, 0.5]}), ["y", "z"]),
    ):
        pipeline = make_pipeline(StandardScaler(), search)
        ours = pqy.fit(pipeline, data, target=target, features=FEATURES, engine=local)
        theirs = clone(pipeline).fit(frame[FEATURES], frame[target])
        assert_same_search(ours[1], theirs[1])
        assert ours[1].best_estimator_.n_iter_ == theirs[1].best_estimator_.n_iter_


def test_a_function_chooses_the_best(local: Any, rows: Any) -> None:
    search = GridSearchCV(Ridge(), {"alpha": ALPHAS}, refit=lambda results: len(results["params"]) - 1)
    ours = pqy.fit(search, rows(), target="y", features=FEATURES, engine=local)
    assert ours.best_index_ == 2
    assert ours.best_params_ == {"alpha": 50.0}
    assert not hasattr(ours, "best_score_")


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, rows: Any) -> None:
    data, bits = rows(), []
    search = GridSearchCV(ElasticNet(), {"alpha": [0.1, 0.3], "l1_ratio": [0.2, 0.8]}, cv=3)
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(search, data, target="y", features=FEATURES, sample_weight="weight", engine=engine)
        bits.append([model.cv_results_["mean_test_score"].tobytes(), model.best_estimator_.coef_.tobytes()])
    assert bits[0] == bits[1] == bits[2]


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(Ridge(), {"alpha": ALPHAS}, scoring=["r2", "neg_max_error"], refit="r2"),
        GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=KFold(3, shuffle=True, random_state=0)),
        GridSearchCV(Ridge(), {"alpha": ALPHAS}, scoring="neg_mean_absolute_error", return_train_score=True),
    ],
    ids=["several scores", "shuffled", "absolute training errors"],
)
def test_what_gram_matrices_cannot_score_is_scored_row_by_row(local: Any, rows: Any, search: Any) -> None:
    data = rows()
    frame = data.to_pandas()
    ours = pqy.fit(search, data, target="y", features=FEATURES, engine=local)
    theirs = clone(search).fit(frame[FEATURES], frame["y"])
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-9)
    assert ours.best_params_ == theirs.best_params_
    assert ours.fit_report_["placement"] == "distributed"


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (GridSearchCV(Ridge(), {"alhpa": ALPHAS}), "alhpa"),
        (GridSearchCV(Ridge(), {"alpha": [-1.0]}), "'alpha' parameter of Ridge"),
        (GridSearchCV(Ridge(), {"solver": ["lbfgs"]}), "positive=True only"),
        (GridSearchCV(Ridge(), {"alpha": ALPHAS}, cv=10_000), "cv=10000"),
        (GridSearchCV(Ridge(), {"alpha": ALPHAS}, refit=lambda results: 99), "best_index_"),
        (GridSearchCV(MultiTaskLasso(), {"alpha": ALPHAS}), "one target only"),
    ],
    ids=["misspelled", "negative", "solver", "folds", "index", "tasks"],
)
def test_bad_parameters(local: Any, rows: Any, search: Any, message: str) -> None:
    with pytest.raises((BadParameter, IndexError), match=message):
        pqy.fit(search, rows(), target="y", features=FEATURES, engine=local)


def test_an_exact_fit_measures_its_errors_row_by_row(local: Any, write_parquet: Any) -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    data = pqy.open_dataset(write_parquet(pa.table({**columns, "y": x @ [1.0, 2.0, 3.0]}), row_group_size=50))
    frame = data.to_pandas()
    search = GridSearchCV(Ridge(), {"alpha": [1e-3, 1e-1]}, scoring="neg_mean_squared_error", cv=3)
    ours = pqy.fit(search, data, target="y", engine=local)
    theirs = clone(search).fit(frame[["x0", "x1", "x2"]], frame["y"])
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-6)
    assert ours.fit_report_["passes"] == 2
