"""Trees and forests against scikit-learn's own fit of the same rows.

Up to a few thousand rows scikit-learn itself is asked; ``distributed`` turns that off, so that
small data go the way of large ones: by histograms alone, or with rows brought home.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from onnxruntime import InferenceSession
from skl2onnx import to_onnx
from sklearn.base import clone, is_classifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import SVC, NuSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
    export_text,
)
from sklearn.utils import compute_sample_weight

import parquetry as pqy
from parquetry.classical import tree_codes, tree_growth, tree_histograms, tree_oob, trees
from parquetry.classical.tree_samples import Bootstrap
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForDriver, TooBigForOneNode, WrongColumnType

N, K = 1_200, 5
FEATURES = [f"x{i}" for i in range(K)]
WAYS = {"histograms": (0.0, True), "entries": (0.0, False), "histograms and rows": (0.4, True), "rows": (1e9, False)}
"""How much rows may outweigh histograms to come home; whether few rows go into arrays, too."""


@pytest.fixture
def distributed(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Send small data the way of large ones."""

    def use(way: str) -> None:
        monkeypatch.setattr(trees, "SMALL_ROWS", 0)
        gain, built = WAYS[way]
        monkeypatch.setattr(tree_growth, "GATHER_GAIN", gain)
        monkeypatch.setattr(tree_growth, "STATE_BYTES", 2**20)
        if built:
            monkeypatch.setattr(tree_histograms, "SPARSE_BELOW", 1e9)

    return use


def few_values(n: int = N, seed: int = 3, *, missing: bool = False) -> dict[str, Any]:
    """Columns of 6 to 60 distinct values, targets that depend on them, and weights."""
    rng = np.random.default_rng(seed)
    x = np.column_stack([rng.integers(0, levels, n) for levels in (60, 40, 25, 6, 12)]).astype(float)
    unit = x / x.max(axis=0)
    score = unit @ [2.0, -1.5, 1.0, 0.5, 0.3] + unit[:, 0] * unit[:, 1] + rng.normal(0, 0.3, n)
    x *= [1.0, 0.1, 1e3, 1e-2, 1.0]
    x[:, 4] -= 7.0
    if missing:
        x[rng.random(n) < 0.15, 0] = np.nan
        x[(score > 1.2) & (rng.random(n) < 0.5), 2] = np.nan
    columns: dict[str, Any] = {f"x{i}": x[:, i] for i in range(K)}
    columns["y"] = 5 + 3 * score
    columns["z"] = 100 * score**2 + rng.normal(0, 20, n)
    columns["c"] = np.digitize(score, np.quantile(score, [0.2, 0.7]))
    columns["d"] = np.where(unit[:, 0] + rng.normal(0, 0.3, n) > 0.6, "yes", "no")
    columns["weight"] = rng.uniform(0, 2, n) * (rng.random(n) > 0.1)
    columns["whole"] = rng.integers(0, 4, n).astype(float)
    return columns


@pytest.fixture
def tree_data(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    def make(columns: dict[str, Any] | None = None, *, rows: int = 170, **options: Any) -> pqy.Dataset:
        table = pa.table(few_values(**options) if columns is None else columns)
        return pqy.open_dataset(write_parquet(table, f"rows{rows}", files=2, row_group_size=rows))

    return make


def fit_both(estimator: Any, data: pqy.Dataset, engine: Any, target: Any, weight: str | None = None) -> tuple[Any, Any]:
    """Our fit, and scikit-learn's own fit of the same rows."""
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=engine)
    weights = None if weight is None else frame[weight].to_numpy()
    return ours, clone(estimator).fit(frame[FEATURES], frame[target].to_numpy(), sample_weight=weights)


def gain(tree: Any, node: int) -> float:
    """By how much a node's split lowers the impurity."""
    left, right = tree.children_left[node], tree.children_right[node]
    if left < 0:
        return 0.0
    weight = tree.weighted_n_node_samples
    return float(
        tree.impurity[node]
        - weight[left] / weight[node] * tree.impurity[left]
        - weight[right] / weight[node] * tree.impurity[right]
    )


def assert_same_tree(ours: Any, theirs: Any, tolerance: float = 1e-9) -> int:
    """The same splits, thresholds, values, impurities and weights, node by node from the root.

    Where two features are equally good scikit-learn lets chance decide; there the gains must be
    equal, and what lies below is not compared. Returns the number of nodes that were.
    """
    compared, pending = 0, [(0, 0)]
    while pending:
        i, j = pending.pop()
        compared += 1
        assert ours.n_node_samples[i] == theirs.n_node_samples[j]
        for name in ("weighted_n_node_samples", "impurity", "value"):
            mine, other = getattr(ours, name)[i], getattr(theirs, name)[j]
            np.testing.assert_allclose(mine, other, rtol=tolerance, atol=tolerance, err_msg=name)
        same = ours.feature[i] == theirs.feature[j] and np.isclose(ours.threshold[i], theirs.threshold[j], rtol=1e-12)
        if not same:
            np.testing.assert_allclose(gain(ours, i), gain(theirs, j), rtol=1e-6, atol=1e-12)
        elif theirs.children_left[j] >= 0:
            assert ours.missing_go_to_left[i] == theirs.missing_go_to_left[j]
            pending += [(ours.children_left[i], theirs.children_left[j])]
            pending += [(ours.children_right[i], theirs.children_right[j])]
        else:
            assert ours.children_left[i] == ours.children_right[i] == -1
    return compared


def assert_identical(ours: Any, theirs: Any) -> None:
    """The same arrays: also the numbers of the nodes."""
    assert ours.node_count == theirs.node_count
    assert ours.max_depth == theirs.max_depth
    for name in ("children_left", "children_right", "feature", "n_node_samples"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)
        assert getattr(ours, name).dtype == getattr(theirs, name).dtype
    for name in ("threshold", "impurity", "weighted_n_node_samples", "value"):
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-9, atol=1e-9, err_msg=name)
        assert getattr(ours, name).shape == getattr(theirs, name).shape


def assert_consistent(tree: Any, x: Any, y: Any, weights: Any = None) -> None:
    """Every node's count, weight and mean are those of the rows that its own thresholds send there."""
    x = np.asarray(x, dtype=np.float32)
    weights = np.ones(len(x)) if weights is None else weights
    passed = tree.decision_path(x).toarray().astype(bool)
    np.testing.assert_array_equal((passed & (weights > 0)[:, None]).sum(axis=0), tree.n_node_samples)
    np.testing.assert_allclose(weights @ passed, tree.weighted_n_node_samples, rtol=1e-9)
    np.testing.assert_allclose(
        (weights * y) @ passed / tree.weighted_n_node_samples, tree.value[:, 0, 0], rtol=1e-9, atol=1e-9
    )


# --- one tree -------------------------------------------------------------------------------
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", CASES)
def test_one_tree_is_scikit_learns_own(local: Any, tree_data: Any, distributed: Any, case: str, way: str) -> None:
    distributed(way)
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


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", BEST_FIRST)
def test_order_of_growth_and_pruning(local: Any, tree_data: Any, distributed: Any, case: str, way: str) -> None:
    distributed(way)
    target = "c" if is_classifier(BEST_FIRST[case]) else "y"
    ours, theirs = fit_both(BEST_FIRST[case], tree_data(), local, target, "weight")
    assert theirs.tree_.node_count >= 3
    assert_identical(ours.tree_, theirs.tree_)


@pytest.mark.parametrize("way", WAYS)
def test_constant_columns_one_class_and_pure_nodes(local: Any, tree_data: Any, distributed: Any, way: str) -> None:
    distributed(way)
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
def test_sparse_features(local: Any, tree_data: Any, distributed: Any, way: str) -> None:
    distributed(way)
    data = tree_data()
    frame = data.to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), DecisionTreeRegressor(max_depth=4, random_state=0))
    ours = pqy.fit(pipeline, data, target="y", features=["x3", "x4"], engine=local)
    theirs = clone(pipeline).fit(frame[["x3", "x4"]], frame["y"])
    assert_same_tree(ours[-1].tree_, theirs[-1].tree_)


def test_small_chunks_states_and_groups_of_trees_change_nothing(
    local: Any, tree_data: Any, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed("histograms")
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


def test_one_block(local: Any, tree_data: Any, distributed: Any) -> None:
    distributed("histograms")
    ours, theirs = fit_both(DecisionTreeRegressor(max_depth=5), tree_data(rows=10_000), local, "y")
    assert_same_tree(ours.tree_, theirs.tree_)


def test_a_mean_far_above_the_deviation(local: Any, tree_data: Any, distributed: Any) -> None:
    """scikit-learn's own variances are noise there: it is asked about the same targets without the offset."""
    columns = few_values()
    plain = np.round(columns["y"] * 2**20) / 2**20
    columns["y"] = plain + 2.0**30
    for way in WAYS:
        distributed(way)
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


# --- random splits and features -------------------------------------------------------------
RANDOM = {
    "tree": DecisionTreeRegressor(splitter="random", max_depth=6, random_state=2),
    "extra tree": ExtraTreeRegressor(max_depth=6, random_state=2),
    "some features": DecisionTreeRegressor(max_features=2, max_depth=6, random_state=2),
    "one feature": ExtraTreeClassifier(max_features=1, max_depth=8, random_state=2),
    "classes": DecisionTreeClassifier(max_features="sqrt", random_state=2),
}


@pytest.mark.parametrize("case", RANDOM)
def test_random_trees_grown_from_rows_are_scikit_learns_own(
    local: Any, tree_data: Any, distributed: Any, case: str
) -> None:
    distributed("rows")
    target = "c" if is_classifier(RANDOM[case]) else "y"
    ours, theirs = fit_both(RANDOM[case], tree_data(missing=case != "extra tree"), local, target)
    assert_identical(ours.tree_, theirs.tree_)


def continuous(n: int = 3_000, *, missing: bool = False) -> dict[str, Any]:
    rng = np.random.default_rng(11)
    x = np.column_stack(
        [
            rng.normal(size=n),
            rng.lognormal(size=n),
            rng.uniform(size=n) * 1e6,
            rng.standard_cauchy(n),
            np.where(rng.random(n) < 0.6, 0.0, rng.normal(size=n)),
        ]
    )
    score = x[:, 0] + np.log(x[:, 1]) + x[:, 2] / 5e5 + np.sign(x[:, 3]) + x[:, 4] * x[:, 0]
    if missing:
        x[rng.random(n) < 0.1, 1] = np.nan
    columns: dict[str, Any] = {f"x{i}": x[:, i] for i in range(K)}
    noise = rng.normal(0, 0.5, n)
    return {**columns, "y": score + noise, "c": (score + noise > 1.5).astype(int), "weight": rng.uniform(0, 2, n)}


@pytest.mark.parametrize("way", ["histograms", "entries", "histograms and rows"])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("case", ["best", *RANDOM])
def test_nodes_hold_what_their_thresholds_send_there(
    local: Any, tree_data: Any, distributed: Any, case: str, missing: bool, way: str
) -> None:
    distributed(way)
    columns = continuous(1_500, missing=missing)
    estimator = RANDOM.get(case, DecisionTreeRegressor(max_depth=6))
    target = "c" if is_classifier(estimator) else "y"
    data = tree_data(columns)
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight="weight", engine=local)
    frame = data.to_pandas()
    y = (frame["c"] == 0) if target == "c" else frame["y"]
    assert ours.tree_.node_count > 20
    assert_consistent(ours.tree_, frame[FEATURES], y.to_numpy().astype(float), frame["weight"].to_numpy())


def test_random_thresholds_are_uniform_between_the_extremes(local: Any, tree_data: Any, distributed: Any) -> None:
    distributed("histograms")
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


def test_features_are_drawn_evenly_and_constant_ones_passed_over(local: Any, tree_data: Any, distributed: Any) -> None:
    distributed("histograms")
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


# --- forests --------------------------------------------------------------------------------
def drawn(data: pqy.Dataset, seed: int, bootstrap: Bootstrap, weights: Any = None) -> Any:
    """How often a tree draws each row."""
    counts, start = [], 0
    for block in data.blocks:
        own = None if weights is None else weights[start : start + block.num_rows]
        counts.append(bootstrap.counts(seed, block, np.arange(block.num_rows), own))
        start += block.num_rows
    return np.concatenate(counts).astype(float)


FORESTS: dict[str, tuple[Any, Any, str | None]] = {
    "classes": (RandomForestClassifier(max_features=None), "c", None),
    "classes, odds": (RandomForestClassifier(max_features=None, class_weight="balanced"), "c", "weight"),
    "subsamples": (RandomForestClassifier(max_features=None, class_weight="balanced_subsample"), "c", None),
    "two targets": (RandomForestClassifier(max_features=None, class_weight="balanced"), ["c", "e"], None),
    "numbers": (RandomForestRegressor(max_samples=0.4), "y", None),
    "numbers, odds": (RandomForestRegressor(), ["y", "z"], "weight"),
    "no bootstrap": (RandomForestClassifier(max_features=None, bootstrap=False, class_weight="balanced"), "c", "whole"),
    "extra": (ExtraTreesClassifier(max_features=None), "c", None),
}


@pytest.mark.parametrize("way", ["histograms", "histograms and rows"])
@pytest.mark.parametrize("case", FORESTS)
def test_each_tree_is_scikit_learns_own_on_its_sample(
    local: Any, tree_data: Any, distributed: Any, case: str, way: str
) -> None:
    distributed(way)
    columns = few_values(missing=case == "classes")
    columns["e"] = (columns["d"] == "yes").astype(int)
    forest, target, weight = FORESTS[case]
    forest = forest.set_params(n_estimators=2, max_depth=5, min_samples_leaf=4, random_state=5)
    data = tree_data(columns)
    ours, theirs = fit_both(forest, data, local, target, weight)
    frame = data.to_pandas()
    for tree, other in zip(ours.estimators_, theirs.estimators_, strict=True):
        assert tree.get_params() == other.get_params()
        if case == "extra":
            assert_consistent(tree.tree_, frame[FEATURES], (frame["c"] == 0).to_numpy().astype(float))
            continue
        odds = theirs._sample_weight
        counts = odds
        if forest.bootstrap:
            total = N if odds is None else odds.sum()
            bootstrap = Bootstrap(theirs._n_samples_bootstrap, total, weighted=odds is not None)
            counts = drawn(data, tree.random_state, bootstrap, odds)
            if getattr(forest, "class_weight", None) == "balanced_subsample":
                indices = np.repeat(np.arange(N), counts.astype(int))
                counts = counts * compute_sample_weight("balanced", frame[target], indices=indices)
        own = clone(other).set_params(max_features=None, class_weight=None) if is_classifier(forest) else clone(other)
        own.fit(frame[FEATURES], frame[target].to_numpy(), sample_weight=counts)
        assert_same_tree(tree.tree_, own.tree_)
    assert ours.fit_report_["placement"] == "distributed"


def test_counts_are_poisson_and_odds_are_weights(tree_data: Any) -> None:
    data = tree_data({"x0": np.zeros(40_000)}, rows=5_000)
    counts = drawn(data, 7, Bootstrap(40_000, 40_000, weighted=False))
    expected = 40_000 * np.exp(-1) / np.array([1, 1, 2, 6, 24])
    found = np.bincount(counts.astype(int), minlength=5)[:5]
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected)).all()
    assert np.abs(np.corrcoef(counts, drawn(data, 8, Bootstrap(40_000, 40_000, weighted=False)))[0, 1]) < 0.02
    weights = np.repeat([0.0, 1.0, 3.0, 200.0], 10_000)
    counts = drawn(data, 7, Bootstrap(2 * int(weights.sum()), weights.sum(), weighted=True), weights).reshape(4, -1)
    np.testing.assert_allclose(counts.mean(axis=1), [0, 2, 6, 400], rtol=0.03)
    np.testing.assert_allclose(counts.var(axis=1), [0, 2, 6, 400], rtol=0.08)
    assert drawn(data, 7, Bootstrap(100 * 40_000, 40_000, weighted=False)).mean() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("target", ["c", "y", ["y", "z"], ["e", "f"]], ids=str)
def test_out_of_bag_score(local: Any, tree_data: Any, distributed: Any, target: Any) -> None:
    distributed("histograms and rows")
    columns = few_values(missing=True)
    columns["e"], columns["f"] = (columns["d"] == "yes").astype(int), (columns["c"] == 1).astype(int)
    kind = RandomForestRegressor if "y" in target else RandomForestClassifier
    forest = kind(30, max_depth=4, oob_score=True, random_state=0)
    data = tree_data(columns)
    ours, theirs = fit_both(forest, data, local, target)
    x = data.to_pandas()[FEATURES].to_numpy().astype(np.float32)
    total: Any = 0.0
    seen = np.zeros(N)
    for tree in ours.estimators_:
        out = drawn(data, tree.random_state, Bootstrap(N, N, weighted=False)) == 0
        predicted = ours._get_oob_predictions(tree, x)
        total = total + predicted * out[:, None, None]
        seen += out
    expected = (total / np.maximum(seen, 1)[:, None, None]).squeeze()
    name = "oob_prediction_" if "y" in target else "oob_decision_function_"
    assert getattr(ours, name).shape == getattr(theirs, name).shape
    np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-12, atol=1e-12)
    assert ours.oob_score_ == pytest.approx(theirs.oob_score_, abs=0.05)


def test_out_of_bag_score_is_scikit_learns_of_the_same_predictions(
    local: Any, tree_data: Any, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

    distributed("histograms")
    data = tree_data()
    frame = data.to_pandas()
    few = RandomForestClassifier(2, max_depth=4, oob_score=True, random_state=0)
    with pytest.warns(UserWarning, match="do not have OOB scores"):
        model = pqy.fit(few, data, target="c", features=FEATURES, engine=local)
    assert model.oob_score_ == accuracy_score(frame["c"], model.oob_decision_function_.argmax(axis=1))
    own = RandomForestClassifier(20, max_depth=4, oob_score=balanced_accuracy_score, random_state=0)
    model = pqy.fit(own, data, target="c", features=FEATURES, engine=local)
    assert model.oob_score_ == balanced_accuracy_score(frame["c"], model.oob_decision_function_.argmax(axis=1))
    numbers = RandomForestRegressor(20, max_depth=4, oob_score=True, random_state=0)
    model = pqy.fit(numbers, data, target=["y", "z"], features=FEATURES, engine=local)
    assert model.oob_score_ == pytest.approx(r2_score(frame[["y", "z"]], model.oob_prediction_), rel=1e-12)
    monkeypatch.setattr(tree_oob, "MOST_NUMBERS", 100)
    large = pqy.fit(numbers, data, target=["y", "z"], features=FEATURES, engine=local)
    assert large.oob_score_ == model.oob_score_
    assert not hasattr(large, "oob_prediction_")
    with pytest.raises(BadParameter, match="oob_score is a function, which needs all"):
        pqy.fit(own, data, target="c", features=FEATURES, engine=local)


@pytest.mark.parametrize("way", ["histograms", "histograms and rows"])
def test_continuous_features_cost_little(local: Any, tree_data: Any, distributed: Any, way: str) -> None:
    """At most 255 thresholds a feature: within 0.015 of scikit-learn's own accuracy and R² on other rows."""
    distributed(way)
    columns = continuous(6_000)
    data = tree_data({k: v[:4_000] for k, v in columns.items()}, rows=700)
    x = pa.table({f: columns[f][4_000:] for f in FEATURES}).to_pandas()
    for estimator in (
        DecisionTreeClassifier(max_depth=6, random_state=0),
        DecisionTreeRegressor(max_depth=7, random_state=0),
        RandomForestClassifier(20, max_depth=8, random_state=0),
        RandomForestRegressor(10, max_depth=7, max_features=0.5, random_state=0),
        ExtraTreesRegressor(20, max_depth=8, random_state=0),
    ):
        target = "c" if is_classifier(estimator) else "y"
        ours, theirs = fit_both(estimator, data, local, target)
        scores = [m.score(x, columns[target][4_000:]) for m in (ours, theirs)]
        assert scores[0] > scores[1] - 0.015, (estimator, scores)
        if hasattr(estimator, "n_estimators"):
            np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=0.05)


# --- what comes out -------------------------------------------------------------------------
ALL = [
    DecisionTreeClassifier(max_depth=4),
    ExtraTreeClassifier(max_depth=4),
    RandomForestClassifier(3, max_depth=4),
    ExtraTreesClassifier(3, max_depth=4),
    DecisionTreeRegressor(max_depth=4),
    ExtraTreeRegressor(max_depth=4),
    RandomForestRegressor(3, max_depth=4),
    ExtraTreesRegressor(3, max_depth=4),
]
UNKNOWN = {"tree_", "estimators_", "fit_report_"}


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_all_attributes_and_methods(local: Any, tree_data: Any, distributed: Any, estimator: Any) -> None:
    distributed("histograms and rows")
    for target in ("d" if is_classifier(estimator) else "y", ["c", "e"] if is_classifier(estimator) else ["y", "z"]):
        columns = few_values(600)
        columns["e"] = (columns["d"] == "yes").astype(int)
        data = tree_data(columns, rows=100 + len(target))
        ours, theirs = fit_both(clone(estimator).set_params(random_state=3), data, local, target)
        learned = {k for k in vars(theirs) if k.endswith("_")}
        assert {k for k in vars(ours) if k.endswith("_")} == learned | {"fit_report_"}
        for name in sorted(learned - UNKNOWN):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert type(mine) is type(other), name
            assert str(mine) == str(other), name
        x = data.to_pandas()[FEATURES]
        for name in ("predict", "predict_proba", "apply"):
            if hasattr(theirs, name):
                mine, other = getattr(ours, name)(x), getattr(theirs, name)(x)
                assert type(mine) is type(other)
                for a, b in zip(mine, other, strict=True) if isinstance(mine, list) else [(mine, other)]:
                    assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).predict(x), ours.predict(x))
        path = ours.decision_path(x)
        path = path[0] if isinstance(path, tuple) else path
        assert path.sum() > 600
        importances = ours.feature_importances_
        assert importances.sum() == pytest.approx(1)
        tree = ours if hasattr(ours, "tree_") else ours.estimators_[0]
        assert f"x{tree.tree_.feature[0]}" in export_text(tree, feature_names=FEATURES).splitlines()[0]


@pytest.mark.parametrize("estimator", [ALL[0], ALL[4], ALL[2], ALL[6]], ids=lambda e: type(e).__name__)
def test_onnx_agrees_with_predict(local: Any, tree_data: Any, distributed: Any, estimator: Any) -> None:
    distributed("histograms")
    target = "c" if is_classifier(estimator) else "y"
    data = tree_data()
    model = pqy.fit(clone(estimator).set_params(random_state=0), data, target=target, features=FEATURES, engine=local)
    frame = data.to_pandas()[FEATURES]
    x = frame.to_numpy().astype(np.float32)
    content = to_onnx(model, x[:1]).SerializeToString()
    (first, *_) = InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"X": x})
    np.testing.assert_allclose(np.ravel(first), model.predict(frame), rtol=1e-5)


def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, tree_data: Any, distributed: Any
) -> None:
    distributed("histograms and rows")
    data = tree_data(continuous(1_500, missing=True), rows=250)
    estimators = [
        (RandomForestRegressor(4, max_depth=3, max_features=2, oob_score=True, random_state=0), "y"),
        (RandomForestClassifier(4, max_depth=3, class_weight="balanced_subsample", random_state=0), "c"),
    ]
    for estimator, target in estimators:
        found = set()
        for engine in (local, dask_engine, spark_engine):
            model = pqy.fit(estimator, data, target=target, features=FEATURES, engine=engine)
            assert model.fit_report_["placement"] == "distributed"
            stream = io.BytesIO()
            pickle.dump([[t.tree_ for t in model.estimators_], getattr(model, "oob_score_", 0)], stream)
            found.add(stream.getvalue())
        assert len(found) == 1


# --- what goes to a single node -------------------------------------------------------------
def test_few_rows_are_scikit_learns_own_fit(local: Any, tree_data: Any) -> None:
    data = tree_data(continuous(1_000))
    for estimator in (DecisionTreeRegressor(max_features=2), RandomForestRegressor(3, oob_score=True)):
        ours, theirs = fit_both(estimator.set_params(random_state=0), data, local, "y", "weight")
        x = data.to_pandas()[FEATURES]
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        (report,) = ours.fit_report_["steps"]
        assert report["placement"] == "single-node"
        assert "fit of 1,000 rows is exact" in report["why"]


@pytest.mark.parametrize(
    ("estimator", "target", "why"),
    [
        (DecisionTreeRegressor(criterion="absolute_error", max_depth=2), "y", "absolute_error"),
        (RandomForestRegressor(2, criterion="poisson", max_depth=2), "z2", "poisson"),
        (DecisionTreeClassifier(monotonic_cst=[1, 0, 0, 0, 0]), "d", "monotonic_cst"),
        (RandomForestClassifier(2, class_weight="balanced_subsample"), ["c", "e"], "balanced_subsample"),
    ],
    ids=["absolute error", "poisson", "monotonic", "subsamples of two targets"],
)
def test_what_falls_back_says_why(
    local: Any, tree_data: Any, distributed: Any, estimator: Any, target: Any, why: str
) -> None:
    distributed("histograms")
    columns = few_values(300)
    columns["e"], columns["z2"] = (columns["d"] == "yes").astype(int), np.abs(columns["z"])
    data = tree_data(columns)
    ours, theirs = fit_both(estimator.set_params(random_state=0), data, local, target)
    x = data.to_pandas()[FEATURES]
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert why in report["why"]


def test_over_budget_the_error_names_what_scales(local: Any, tree_data: Any) -> None:
    data = tree_data()
    for estimator, target, relatives in (
        (SVC(), "c", ("Nystroem", "LinearSVC")),
        (NuSVR(), "y", ("Nystroem", "LinearSVR")),
        (HistGradientBoostingClassifier(), "c", ("RandomForestClassifier", "ExtraTreesClassifier")),
        (HistGradientBoostingRegressor(), "y", ("RandomForestRegressor", "xgboost")),
    ):
        with pytest.raises(TooBigForOneNode, match=type(estimator).__name__) as caught:
            pqy.fit(estimator, data, target=target, features=FEATURES, engine=local, memory="10KB")
        assert all(name in caught.value.fix for name in relatives)


def test_more_nodes_than_the_memory_holds(local: Any, tree_data: Any, distributed: Any) -> None:
    distributed("histograms")
    with pytest.raises(TooBigForDriver, match=r"its trees have more than .* nodes") as caught:
        pqy.fit(DecisionTreeRegressor(), tree_data(), target="y", features=FEATURES, engine=local, memory="10KB")
    assert "max_depth" in caught.value.fix


def test_too_many_features_and_classes_for_histograms(
    local: Any, tree_data: Any, distributed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    distributed("histograms")
    monkeypatch.setattr(trees, "_NODE_BYTES", 1_000)
    model = pqy.fit(DecisionTreeClassifier(max_depth=2), tree_data(), target="c", features=FEATURES, engine=local)
    assert "too many features or classes" in model.fit_report_["steps"][0]["why"]


# --- bad input ------------------------------------------------------------------------------
@pytest.mark.parametrize("few", [True, False])
def test_bad_parameters_and_targets(local: Any, tree_data: Any, distributed: Any, few: bool) -> None:
    if not few:
        distributed("histograms")
    columns = few_values(300)
    columns["minus"], columns["zero"], columns["e"] = columns["weight"] - 1, np.zeros(300), columns["c"][::-1].copy()
    data = tree_data(columns)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (DecisionTreeClassifier(max_depth=0), {"target": "c"}, "max_depth"),
        (DecisionTreeClassifier(class_weight={"a": 1.0}), {"target": "c"}, "class_weight"),
        (RandomForestClassifier(oob_score=True, bootstrap=False), {"target": "c"}, "only available if bootstrap"),
        (RandomForestRegressor(bootstrap=False, max_samples=0.5), {"target": "y"}, "bootstrap=False"),
        (RandomForestClassifier(oob_score=True), {"target": ["c", "e"]}, "cannot be used to compute OOB"),
        (DecisionTreeRegressor(max_features="all"), {"target": "y"}, "max_features"),
        (DecisionTreeClassifier(), {}, "needs a target"),
        (DecisionTreeRegressor(), {"target": "y", "sample_weight": "minus"}, "non-negative and not all zero"),
        (DecisionTreeClassifier(), {"target": "c", "sample_weight": "zero"}, "non-negative and not all zero"),
    ]
    if not few:
        empty = RandomForestRegressor(50, max_samples=1, random_state=0)
        cases.append((empty, {"target": "y"}, "holds no row of any weight"))
    for estimator, arguments, message in cases:
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, features=FEATURES, engine=local, **arguments)
    with pytest.raises(WrongColumnType, match="holds fractions"):
        pqy.fit(DecisionTreeClassifier(), data, target="y", features=FEATURES, engine=local)
    with pytest.raises(WrongColumnType, match="'d' is string"):
        pqy.fit(DecisionTreeClassifier(), data, target="c", features=["d"], engine=local)


def test_values_that_are_refused_are_named(local: Any, tree_data: Any, distributed: Any) -> None:
    distributed("histograms")
    for value, what, estimator in (
        (np.inf, "holds infinity", DecisionTreeRegressor()),
        (1e39, "too large for float32", RandomForestRegressor(2)),
        (np.nan, "holds NaN", ExtraTreeRegressor(splitter="best")),
    ):
        columns = few_values(400)
        columns["x2"][[333, 350]] = value
        data = tree_data(columns, rows=100 + len(what))
        with pytest.raises(NonFiniteValues, match=rf"'x2'.* {what}.*part-1.parquet"):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
