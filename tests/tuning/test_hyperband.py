"""Hyperband and PartialFits: in memory, on one worker, and distributed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.cluster import MiniBatchKMeans
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import SGDClassifier, SGDRegressor
from sklearn.model_selection import KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeClassifier

import parquetry as pqy
from parquetry.errors import BadParameter
from parquetry.tuning import Hyperband, PartialFits
from parquetry.tuning.hyperband import Rung, rungs
from searches import FEATURES, STREAMED, assert_same_search, rows, search_both

TREE = DecisionTreeClassifier(random_state=0)
LEARNER = PartialFits(SGDClassifier(loss="log_loss", random_state=0), chunk_rows=64)
ALPHA = {"estimator__alpha": loguniform(1e-6, 1.0)}


@pytest.fixture
def data(write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(rows(), files=3, row_group_size=70)


def test_brackets_are_those_of_the_paper() -> None:
    found = list(rungs(1, 81, 3))
    by_bracket = [[(r.candidates, r.resources) for r in found if r.bracket == b] for b in range(5)]
    assert by_bracket[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert by_bracket[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert by_bracket[4] == [(5, 81)]
    assert list(rungs(5, 7, 3)) == [Rung(0, 0, 1, 7)]


@pytest.mark.parametrize(
    ("search", "memory"),
    [
        (Hyperband(TREE, {"max_depth": [1, 2, 3, 4, 5, 6, 7]}, min_resources=60, cv=2, random_state=0), None),
        (Hyperband(GaussianNB(), {"var_smoothing": loguniform(1e-9, 1)}, min_resources=60, cv=2, random_state=0),
         STREAMED),
        (Hyperband(RandomForestClassifier(random_state=0), {"max_depth": [1, 2, 3, 4]}, resource="n_estimators",
                   max_resources=9, cv=2, random_state=0, return_train_score=True), None),
        (Hyperband(LEARNER, ALPHA, resource="calls", max_resources=9, cv=2, random_state=0), None),
        (Hyperband(LEARNER, ALPHA, resource="calls", max_resources=9, cv=2, random_state=0), STREAMED),
    ],
    ids=["rows", "distributed", "trees", "calls", "calls, distributed"],
)  # fmt: skip
def test_the_same_as_in_memory(local: Any, data: Path, search: Any, memory: Any) -> None:
    ours, theirs = search_both(search, data, local, "late", memory=memory)
    assert_same_search(ours, theirs)
    results = ours.cv_results_
    assert {"bracket", "iter", "n_resources"} <= results.keys()
    most = results["n_resources"] == results["n_resources"].max()
    assert ours.best_score_ == results["mean_test_score"][most].max()
    assert most[ours.best_index_]
    for bracket in np.unique(results["bracket"]):
        own = results["bracket"] == bracket
        best = [results["mean_test_score"][own & (results["iter"] == i)] for i in np.unique(results["iter"][own])]
        assert [len(b) for b in best] == sorted((len(b) for b in best), reverse=True)


def test_bad_parameters(local: Any, data: Path) -> None:
    cases = [
        (Hyperband(TREE, {"max_depth": [1]}, resource="n_estimators", max_resources=3), "no parameter of"),
        (Hyperband(TREE, {"max_dept": [1]}), "Did you mean 'max_depth'"),
        (Hyperband(TREE, {"max_depth": [1]}, resource="max_depth", max_resources=3), "cannot be searched"),
        (Hyperband(TREE, {"max_depth": [1]}, resource="max_leaf_nodes"), "say how much"),
        (Hyperband(TREE, {"max_depth": [1]}, min_resources=700), "more than max_resources=600"),
        (Hyperband(TREE, {"max_depth": [1]}, factor=1), "'factor' parameter of Hyperband"),
        (Hyperband(TREE, {"max_depth": [1]}, cv=KFold(2, shuffle=True)), "the same folds each time"),
    ]
    for search, message in cases:
        with pytest.raises(BadParameter, match=message):
            pqy.fit(search, data, target="late", features=FEATURES, engine=local)


@pytest.mark.parametrize(
    ("estimator", "target", "weight"),
    [
        (PartialFits(SGDClassifier(random_state=0), calls=3, chunk_rows=100), "kind", None),
        (PartialFits(SGDClassifier(random_state=0), calls=25, chunk_rows=250), "late", "mass"),
        (PartialFits(SGDRegressor(random_state=0), calls=4, chunk_rows=1000), "y", None),
        (PartialFits(MiniBatchKMeans(3, random_state=0, n_init=1), calls=6, chunk_rows=100), None, None),
    ],
    ids=["some of the rows", "several epochs", "numbers", "clusters"],
)
def test_partial_fits_streams_the_same_chunks(
    local: Any, data: Path, estimator: Any, target: str | None, weight: str | None
) -> None:
    frame = pqy.open_dataset(data).to_pandas()
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=local)
    given = {} if weight is None else {"sample_weight": frame[weight].to_numpy()}
    theirs = clone(estimator).fit(frame[FEATURES], None if target is None else frame[target], **given)
    np.testing.assert_array_equal(ours.predict(frame[FEATURES]), theirs.predict(frame[FEATURES]))
    assert list(ours.feature_names_in_) == FEATURES
    learned = "cluster_centers_" if target is None else "coef_"
    np.testing.assert_allclose(getattr(ours.estimator_, learned), getattr(theirs.estimator_, learned), rtol=1e-12)
    assert ours.fit_report_["placement"] == "sequential"


def test_partial_fits_refuses_other_parameters(local: Any, data: Path) -> None:
    for estimator in (PartialFits(SGDClassifier(), calls=0), PartialFits(TREE)):
        with pytest.raises(BadParameter, match="PartialFits"):
            pqy.fit(estimator, data, target="late", features=FEATURES, engine=local)
