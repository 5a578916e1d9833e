"""Random splits and random features: against scikit-learn's own trees, or by what their chances must be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import is_classifier
from sklearn.ensemble import (
    ExtraTreesRegressor,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
)

import parquetry as pqy
from tree_parity import (
    FEATURES,
    K,
    assert_consistent,
    assert_identical,
    continuous,
    fit_both,
)

RANDOM = {
    "tree": DecisionTreeRegressor(splitter="random", max_depth=6, random_state=2),
    "extra tree": ExtraTreeRegressor(max_depth=6, random_state=2),
    "some features": DecisionTreeRegressor(max_features=2, max_depth=6, random_state=2),
    "one feature": ExtraTreeClassifier(max_features=1, max_depth=8, random_state=2),
    "classes": DecisionTreeClassifier(max_features="sqrt", random_state=2),
}


@pytest.mark.parametrize("case", RANDOM)
def test_random_trees_grown_from_rows_are_scikit_learns_own(
    local: Any, tree_data: Any, trees_grow: Any, case: str
) -> None:
    trees_grow("rows")
    target = "c" if is_classifier(RANDOM[case]) else "y"
    ours, theirs = fit_both(RANDOM[case], tree_data(missing=case != "extra tree"), local, target)
    assert_identical(ours.tree_, theirs.tree_)


@pytest.mark.parametrize(("way", "missing"), [("histograms", True), ("histograms and rows", False)])
@pytest.mark.parametrize("case", ["best", *RANDOM])
def test_nodes_hold_what_their_thresholds_send_there(
    local: Any, tree_data: Any, trees_grow: Any, case: str, missing: bool, way: str
) -> None:
    trees_grow(way)
    columns = continuous(1_500, missing=missing)
    estimator = RANDOM.get(case, DecisionTreeRegressor(max_depth=6))
    target = "c" if is_classifier(estimator) else "y"
    data = tree_data(columns)
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight="weight", engine=local)
    frame = data.to_pandas()
    y = (frame["c"] == 0) if target == "c" else frame["y"]
    assert ours.tree_.node_count > 20
    assert_consistent(ours.tree_, frame[FEATURES], y.to_numpy().astype(float), frame["weight"].to_numpy())


def test_random_thresholds_are_uniform_between_the_extremes(local: Any, tree_data: Any, trees_grow: Any) -> None:
    trees_grow("histograms")
    n = 600
    rng = np.random.default_rng(0)
    data = tree_data({"x0": rng.permutation(np.arange(n) % 100).astype(float), "y": rng.normal(size=n)})
    forest = ExtraTreesRegressor(300, max_depth=1, random_state=0)
    model = pqy.fit(forest, data, target="y", features=["x0"], engine=local)
    roots = np.sort([tree.tree_.threshold[0] for tree in model.estimators_])
    assert roots[0] >= 0
    assert roots[-1] < 99
    # Kolmogorov's distance: above 1.95/sqrt(300) by chance once in a thousand.
    assert np.abs(roots / 99 - (np.arange(300) + 0.5) / 300).max() < 0.113


def test_features_are_drawn_evenly_and_constant_ones_passed_over(local: Any, tree_data: Any, trees_grow: Any) -> None:
    trees_grow("histograms")
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.integers(0, 50, 600).astype(float) for i in range(K)}
    columns["x3"] = np.full(600, 2.0)
    columns["y"] = rng.normal(size=600)
    forest = RandomForestRegressor(200, max_depth=1, max_features=1, random_state=0)
    model = pqy.fit(forest, tree_data(columns), target="y", features=FEATURES, engine=local)
    counts = np.bincount([tree.tree_.feature[0] for tree in model.estimators_], minlength=K)
    assert counts[3] == 0
    # The draw that hits the constant column is made again: 50 each, and 6 is a standard deviation.
    assert np.abs(counts[[0, 1, 2, 4]] - 50).max() < 25
    assert all(tree.tree_.node_count == 3 for tree in model.estimators_)
