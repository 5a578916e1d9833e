"""One tree against scikit-learn's own fit of the same rows, however it grows; the same bits on every engine."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.ensemble import (
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
)

import parquetry as pqy
from parquetry.classical import tree_codes, tree_growth, tree_histograms, trees
from parquetry.classical.tree_kernels import compiled
from parquetry.classical.tree_states import NodeState
from tree_parity import (
    FEATURES,
    WAYS,
    assert_identical,
    assert_same_tree,
    continuous,
    few_values,
    fit_both,
)

CASES: dict[str, tuple[Any, Any, str | None]] = {
    "gini": (DecisionTreeClassifier(max_depth=5), "c", None),
    "gini, weights": (DecisionTreeClassifier(max_depth=5, min_samples_leaf=4), "c", "weight"),
    "gini, whole weights": (DecisionTreeClassifier(max_depth=5, min_samples_leaf=0.01), "d", "whole"),
    "entropy": (DecisionTreeClassifier(criterion="entropy", max_depth=4), "d", None),
    "log loss, weights": (DecisionTreeClassifier(criterion="log_loss", max_depth=4), "c", "weight"),
    "balanced": (DecisionTreeClassifier(max_depth=4, class_weight="balanced"), "c", "weight"),
    "class weights": (DecisionTreeClassifier(max_depth=4, class_weight={0: 3.0, 1: 0.5, 2: 1.0}), "c", None),
    "a class without weight": (DecisionTreeClassifier(max_depth=4, class_weight={0: 0.0, 1: 1.0, 2: 1.0}), "c", None),
    "two targets": (DecisionTreeClassifier(max_depth=4, class_weight=None), ["c", "e"], "whole"),
    "two targets, balanced": (DecisionTreeClassifier(max_depth=4, class_weight="balanced"), ["c", "e"], None),
    "squared error": (DecisionTreeRegressor(max_depth=6), "y", None),
    "squared error, weights": (DecisionTreeRegressor(max_depth=5, min_samples_split=0.02), "y", "weight"),
    "squared error, two targets": (DecisionTreeRegressor(max_depth=5), ["y", "z"], "whole"),
    "to the end": (DecisionTreeRegressor(), "y", None),
    "least samples": (DecisionTreeRegressor(min_samples_leaf=30, min_samples_split=90), "y", None),
    "least weight": (DecisionTreeRegressor(min_weight_fraction_leaf=0.04), "y", "weight"),
    "least weight, classes": (DecisionTreeClassifier(min_weight_fraction_leaf=0.04), "c", None),
    "least decrease": (DecisionTreeRegressor(min_impurity_decrease=0.05), "y", None),
    "least decrease, classes": (DecisionTreeClassifier(min_impurity_decrease=0.003), "c", "weight"),
}


SUMS = ["gini", "gini, weights", "balanced", "two targets", "squared error, two targets", "least weight", "to the end"]
"""One case for each kind of what is added up; the other parameters are the same however a tree grows."""


@pytest.mark.parametrize(
    ("case", "way"), [(case, way) for case in CASES for way in WAYS if way == "histograms" or case in SUMS]
)
def test_one_tree_is_scikit_learns_own(local: Any, tree_data: Any, trees_grow: Any, case: str, way: str) -> None:
    trees_grow(way)
    columns = few_values(missing=case in ("gini", "entropy", "squared error", "to the end"))
    columns["e"] = (columns["d"] == "yes").astype(int)
    estimator, target, weight = CASES[case]
    ours, theirs = fit_both(estimator.set_params(random_state=0), tree_data(columns), local, target, weight)
    compared = assert_same_tree(ours.tree_, theirs.tree_)
    assert compared >= min(theirs.tree_.node_count, 15)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "distributed"
    assert report["passes"] >= (2 if "rows" in way else theirs.tree_.max_depth)


BEST_FIRST = {
    "leaves": DecisionTreeRegressor(max_leaf_nodes=17, random_state=0),
    "leaves and depth": DecisionTreeRegressor(max_leaf_nodes=40, max_depth=6, random_state=0),
    "two leaves": DecisionTreeRegressor(max_leaf_nodes=2, random_state=0),
    "pruned": DecisionTreeRegressor(max_depth=7, ccp_alpha=0.02, random_state=0),
    "classes": DecisionTreeClassifier(max_leaf_nodes=9, min_samples_leaf=20, random_state=0),
    "classes, pruned": DecisionTreeClassifier(min_samples_leaf=20, ccp_alpha=0.004, random_state=0),
}


@pytest.mark.parametrize("way", ["histograms", "histograms and rows"])
@pytest.mark.parametrize("case", BEST_FIRST)
def test_order_of_growth_and_pruning(local: Any, tree_data: Any, trees_grow: Any, case: str, way: str) -> None:
    trees_grow(way)
    target = "c" if is_classifier(BEST_FIRST[case]) else "y"
    ours, theirs = fit_both(BEST_FIRST[case], tree_data(), local, target, "weight")
    assert theirs.tree_.node_count >= 3
    assert_identical(ours.tree_, theirs.tree_)


@pytest.mark.parametrize("way", WAYS)
def test_constant_columns_one_class_and_pure_nodes(local: Any, tree_data: Any, trees_grow: Any, way: str) -> None:
    trees_grow(way)
    columns = few_values(300)
    columns["x1"], columns["x3"] = np.full(300, 0.1), np.full(300, np.nan)
    columns["one"], columns["step"] = np.full(300, 4), np.where(columns["x0"] > 30, 0.25, 0.75)
    data = tree_data(columns)
    ours, theirs = fit_both(DecisionTreeClassifier(random_state=0), data, local, "one")
    assert ours.tree_.node_count == 1
    assert_identical(ours.tree_, theirs.tree_)
    ours, theirs = fit_both(DecisionTreeRegressor(random_state=0), data, local, "step")
    assert ours.tree_.node_count == 3
    assert_identical(ours.tree_, theirs.tree_)
    ours, theirs = fit_both(DecisionTreeRegressor(max_depth=3, random_state=0), data, local, "y")
    assert_same_tree(ours.tree_, theirs.tree_)


@pytest.mark.parametrize("way", ["histograms", "rows"])
def test_sparse_features(local: Any, tree_data: Any, trees_grow: Any, way: str) -> None:
    trees_grow(way)
    data = tree_data()
    frame = data.to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), DecisionTreeRegressor(max_depth=4, random_state=0))
    ours = pqy.fit(pipeline, data, target="y", features=["x3", "x4"], engine=local)
    theirs = clone(pipeline).fit(frame[["x3", "x4"]], frame["y"])
    assert_same_tree(ours[-1].tree_, theirs[-1].tree_)


def test_small_chunks_states_and_groups_of_trees_change_nothing(
    local: Any, tree_data: Any, trees_grow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees_grow("histograms")
    data = tree_data(missing=True)
    estimator = RandomForestClassifier(3, max_depth=4, random_state=0)

    def grown() -> bytes:
        model = pqy.fit(estimator, data, target="c", features=FEATURES, engine=local)
        return pickle.dumps([tree.tree_ for tree in model.estimators_])

    expected = grown()
    monkeypatch.setenv("PARQUETRY_CACHE_SIZE", "0")
    monkeypatch.setattr(tree_codes, "CHUNK_ROWS", 50)
    assert grown() == expected
    monkeypatch.setattr(tree_histograms, "SPARSE_BELOW", 0)
    assert grown() == expected
    monkeypatch.setattr(tree_growth, "STATES_BYTES", 1)  # a node a pass
    monkeypatch.setattr(trees, "_NODES", 100)
    assert grown() == expected


def test_one_block(local: Any, tree_data: Any, trees_grow: Any) -> None:
    trees_grow("histograms")
    ours, theirs = fit_both(DecisionTreeRegressor(max_depth=5), tree_data(rows=10_000), local, "y")
    assert_same_tree(ours.tree_, theirs.tree_)


def test_a_mean_far_above_the_deviation(local: Any, tree_data: Any, trees_grow: Any) -> None:
    """scikit-learn's own variances are noise there: it is asked about the same targets without the offset."""
    columns = few_values()
    plain = np.round(columns["y"] * 2**20) / 2**20
    columns["y"] = plain + 2.0**30
    for way in WAYS:
        trees_grow(way)
        ours = pqy.fit(
            DecisionTreeRegressor(max_depth=5),
            tree_data(columns, rows=150 + len(way)),
            target="y",
            features=FEATURES,
            engine=local,
        )
        theirs = DecisionTreeRegressor(max_depth=5).fit(np.column_stack([columns[f] for f in FEATURES]), plain)
        ours.tree_.value[...] -= 2.0**30
        assert_same_tree(ours.tree_, theirs.tree_, tolerance=1e-7)


def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, tree_data: Any, trees_grow: Any
) -> None:
    trees_grow("histograms and rows")
    data = tree_data(continuous(1_500, missing=True), rows=250)
    forest = RandomForestRegressor(4, max_depth=3, max_features=2, oob_score=True, random_state=0)
    found = set()
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(forest, data, target="y", features=FEATURES, engine=engine)
        assert model.fit_report_["placement"] == "distributed"
        stream = io.BytesIO()
        pickle.dump([[t.tree_ for t in model.estimators_], model.oob_score_], stream)
        found.add(stream.getvalue())
    assert len(found) == 1


@pytest.mark.parametrize("kind", [np.int32, np.int64, np.float64])
def test_states_travel_whole(kind: Any) -> None:
    rng = np.random.default_rng(0)
    few = rng.poisson(rng.lognormal(size=(5_000, 3)) ** 2).astype(kind)
    assert few.max() > 255
    for cells in (few, 1_000 * few, few[:0]):
        blank = lambda like=cells: NodeState(np.zeros_like(like))  # noqa: E731
        state = NodeState(cells.copy())
        back = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(state))))
        state.add(back, cells.size, blank)
        back.settle(blank)
        np.testing.assert_array_equal(back.cells, cells)
        np.testing.assert_array_equal(state.cells, 2 * cells)
        assert back.cells.dtype == kind
    assert pickle.loads(pickle.dumps(NodeState())).cells is None
    assert (len(pickle.dumps(NodeState(few))) < few.size) == (kind is not np.float64)


def test_loops_are_compiled_where_nothing_can_be_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read-only install, and no folder of the user's own."""
    from numba.core.caching import CacheImpl

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])

    def more(value):  # type: ignore[no-untyped-def]
        return value + 1

    assert compiled(more)(1) == 2
