"""What the tests of trees share: data of few and of many values, and comparison with scikit-learn's own trees.

Up to a few thousand rows scikit-learn itself is asked; the fixture ``trees_grow`` turns that off, so that
small data go the way of large ones: by histograms alone, or with rows brought home.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone

import parquetry as pqy
from parquetry.classical.tree_samples import Bootstrap

N, K = 1_200, 5
FEATURES = [f"x{i}" for i in range(K)]
WAYS = {"histograms": (0.0, True), "entries": (0.0, False), "histograms and rows": (0.4, True), "rows": (1e9, False)}
"""How much rows may outweigh histograms to come home; whether few rows fill whole histograms, too."""


@pytest.fixture
def trees_grow(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Send small data the way on which trees of large ones grow: one of ``WAYS``."""
    from parquetry.classical import tree_growth, tree_histograms, trees

    def use(way: str) -> None:
        monkeypatch.setattr(trees, "SMALL_ROWS", 0)
        gain, whole = WAYS[way]
        monkeypatch.setattr(tree_growth, "GATHER_GAIN", gain)
        monkeypatch.setattr(tree_growth, "STATE_BYTES", 2**20)
        if whole:
            monkeypatch.setattr(tree_histograms, "SPARSE_BELOW", 1e9)

    return use


@pytest.fixture
def tree_data(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    """Write columns, by default those of ``few_values``, to two files of small row groups."""

    def make(columns: dict[str, Any] | None = None, *, rows: int = 170, **options: Any) -> pqy.Dataset:
        table = pa.table(few_values(**options) if columns is None else columns)
        return pqy.open_dataset(write_parquet(table, f"rows{rows}", files=2, row_group_size=rows))

    return make


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


def drawn(data: pqy.Dataset, seed: int, bootstrap: Bootstrap, weights: Any = None) -> Any:
    """How often a tree draws each row."""
    counts, start = [], 0
    for block in data.blocks:
        own = None if weights is None else weights[start : start + block.num_rows]
        counts.append(bootstrap.counts(seed, block, np.arange(block.num_rows), own))
        start += block.num_rows
    return np.concatenate(counts).astype(float)
