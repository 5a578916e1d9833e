"""BisectingKMeans: scikit-learn's tree where the splits are clear, and a proper tree where they are not."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.cluster import BisectingKMeans, KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.classical import bisecting as module
from parquetry.errors import BadParameter, NonFiniteValues

PLACES = np.array([[0, 0], [1, 0], [14, 10], [16, 10], [14, 13], [-40, 30], [-44, 31], [-40, 50], [70, -60]])
FEATURES = ["x0", "x1"]


@pytest.fixture
def nested(write_parquet: Callable[..., Path]) -> tuple[pqy.Dataset, np.ndarray]:
    """Clusters of clusters: whatever the start, each best split is the same."""
    rng = np.random.default_rng(0)
    chosen = rng.choice(len(PLACES), 900, p=[0.2, 0.05, 0.05, 0.25, 0.1, 0.05, 0.1, 0.1, 0.1])
    x = PLACES[chosen] + 0.05 * rng.normal(size=(900, 2))
    table = pa.table({"x0": x[:, 0], "x1": x[:, 1], "w": rng.integers(0, 4, 900) * 0.5})
    return pqy.open_dataset(write_parquet(table, files=2, row_group_size=170)), x


@pytest.fixture
def cloud(write_parquet: Callable[..., Path]) -> tuple[pqy.Dataset, np.ndarray]:
    x = np.random.default_rng(1).normal(size=(600, 3))
    return pqy.open_dataset(write_parquet(pa.table({f"x{i}": c for i, c in enumerate(x.T)}), row_group_size=90)), x


def nodes(tree: Any) -> Iterator[Any]:
    yield tree
    if tree.left is not None:
        yield from nodes(tree.left)
        yield from nodes(tree.right)


@pytest.mark.parametrize("init", ["random", "k-means++"])
@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_parity(local: Any, nested: Any, k: int, init: str, weight: str | None) -> None:
    data, _ = nested
    frame = data.to_pandas()
    estimator = BisectingKMeans(k, init=init, n_init=8, random_state=0, tol=0)
    ours = pqy.fit(estimator, data, features=FEATURES, sample_weight=weight, engine=local)
    theirs = clone(estimator).fit(frame[FEATURES], sample_weight=None if weight is None else frame[weight])
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    # Left and right are drawn by lot: clusters are compared by their centers.
    order, other = (np.lexsort(m.cluster_centers_.T.round(6)) for m in (ours, theirs))
    np.testing.assert_allclose(ours.cluster_centers_[order], theirs.cluster_centers_[other], rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.argsort(order)[ours.labels_], np.argsort(other)[theirs.labels_])
    np.testing.assert_array_equal(ours.predict(frame[FEATURES]), ours.labels_)
    for name in (n for n in vars(theirs) if n.endswith("_")):
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name
        assert getattr(getattr(ours, name), "dtype", None) == getattr(getattr(theirs, name), "dtype", None), name


@pytest.mark.parametrize("strategy", ["biggest_inertia", "largest_cluster"])
def test_every_split_is_a_k_means_of_its_own_rows(local: Any, cloud: Any, strategy: str) -> None:
    data, x = cloud
    estimator = BisectingKMeans(7, random_state=3, tol=0, bisecting_strategy=strategy)
    model = pqy.fit(estimator, data, engine=local)
    shifted = x - model._X_mean
    members = {id(model._bisecting_tree): np.arange(len(x))}
    inner, leaves = [], []
    for node in nodes(model._bisecting_tree):
        rows = members[id(node)]
        if node.left is None:
            leaves.append(node)
            assert (model.labels_[rows] == node.label).all()
            continue
        inner.append(node)
        pair = np.stack([node.left.center, node.right.center])
        again = KMeans(2, init=pair, n_init=1, tol=0).fit(shifted[rows])
        np.testing.assert_allclose(again.cluster_centers_, pair, atol=1e-9)
        members[id(node.left)], members[id(node.right)] = rows[again.labels_ == 0], rows[again.labels_ == 1]
    for node in [*inner[1:], *leaves]:
        rows = shifted[members[id(node)]]
        expected = ((rows - node.center) ** 2).sum() if strategy == "biggest_inertia" else len(rows)
        np.testing.assert_allclose(node.score, expected, rtol=1e-9)
    # Always the leaf of the highest score was split.
    assert min(node.score for node in inner[1:]) >= max(node.score for node in leaves)
    assert [leaf.label for leaf in leaves] == list(range(7))
    np.testing.assert_allclose(model.cluster_centers_, [leaf.center + model._X_mean for leaf in leaves])


@pytest.mark.parametrize("init", ["random", "k-means++"])
def test_several_splits_at_once_are_those_of_one_at_a_time(
    local: Any, cloud: Any, init: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = cloud
    estimator = BisectingKMeans(8, init=init, random_state=2, max_iter=5)
    fast = pqy.fit(estimator, data, engine=local)
    monkeypatch.setattr(module, "_next_leaves", lambda root, most: [max(root.leaves(), key=lambda n: n.score)])
    slow = pqy.fit(estimator, data, engine=local)
    assert fast.fit_report_["passes"] < slow.fit_report_["passes"]
    assert fast.cluster_centers_.tobytes() == slow.cluster_centers_.tobytes()
    assert fast.labels_.tobytes() == slow.labels_.tobytes()


def test_the_same_bits_on_every_engine(cloud: Any, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    data, _ = cloud
    models = [
        pqy.fit(BisectingKMeans(3, random_state=1, max_iter=2), data, engine=engine)
        for engine in (local, dask_engine, spark_engine)
    ]
    assert len({m.cluster_centers_.tobytes() + m.labels_.tobytes() for m in models}) == 1


def test_sparse_rows(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(5)
    words = pa.table({"a": rng.choice(list("abc"), 300, p=[0.6, 0.3, 0.1]), "b": rng.choice(list("xy"), 300)})
    data = pqy.open_dataset(write_parquet(words))
    estimator = make_pipeline(OneHotEncoder(), BisectingKMeans(4, n_init=20, random_state=0))
    ours, theirs = pqy.fit(estimator, data, engine=local), clone(estimator).fit(data.to_pandas())
    np.testing.assert_allclose(ours[-1].inertia_, theirs[-1].inertia_)
    np.testing.assert_array_equal(ours.predict(data.to_pandas()), ours[-1].labels_)


def test_fewer_distinct_rows_than_clusters(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(pa.table({"x": np.repeat([0.0, 4.0, 8.0, 20.0], 40)})))
    for init in ("random", "k-means++"):
        with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(4\) found smaller than n_clusters \(7\)"):
            model = pqy.fit(BisectingKMeans(7, init=init, random_state=0), data, engine=local)
        assert model.inertia_ == 0
        assert model.cluster_centers_.shape == (7, 1)
        assert set(np.unique(model.cluster_centers_[model.labels_])) == {0.0, 4.0, 8.0, 20.0}


def test_a_function_as_init_falls_back(local: Any, cloud: Any) -> None:
    data, x = cloud
    estimator = BisectingKMeans(3, init=lambda x, k, random_state: x[:k])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours, theirs = pqy.fit(estimator, data, engine=local), clone(estimator).fit(x)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.fit_report_["placement"] == "single-node"


def test_bad_input(local: Any, cloud: Any, write_parquet: Any) -> None:
    data, _ = cloud
    for estimator, message in (
        (BisectingKMeans(601), "n_clusters=601 and only 600 rows"),
        (BisectingKMeans(3, bisecting_strategy="smallest"), "bisecting_strategy"),
        (BisectingKMeans(3, n_init=0), "n_init"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, engine=local)
    hole = write_parquet(pa.table({"x": np.where(np.arange(300) == 250, np.nan, 1.0)}), "hole")
    with pytest.raises(NonFiniteValues, match=r"BisectingKMeans: column 'x' holds NaN.*row group 1, row 0"):
        pqy.fit(BisectingKMeans(2), hole, engine=local)
