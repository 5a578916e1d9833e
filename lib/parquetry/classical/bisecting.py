"""BisectingKMeans: one cluster after another is split in two, several splits in the same passes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.cluster import BisectingKMeans
from sklearn.cluster._bisect_k_means import _BisectingTree

from parquetry.classical.kmeans import (
    LABEL_ROWS,
    float_type,
    look,
    require_room,
    require_rows,
    rows_alone,
    set_labels,
    warn_of_empty,
)
from parquetry.classical.lloyd import Assign, Assigned, Geometry, Run, lloyd
from parquetry.classical.points import Router, chunks
from parquetry.classical.seeding import Draw, DrawRows, Start, candidates, clustered, seeds
from parquetry.classical.top_rows import TopRows
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_BETTER = 1 - 1e-6  # scikit-learn's own margin between two starts of one split


@fitter(
    BisectingKMeans,
    passes="those of a KMeans of 2 clusters for each level of the tree",
    exact="same splits from the same starts, which are drawn by hash",
    matrices=True,
    single_node="a function as init",
)
def fit_bisecting_kmeans(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Bisecting k-means: scikit-learn's order of splits, each a k-means of two clusters over a leaf's rows.

    A leaf's split depends on its own rows alone: its first centers are drawn by a hash that knows the
    leaf's place in the tree, not when its turn comes. So all leaves that may be split next share their
    passes, and the tree is the one that splitting one at a time would give. A split that turns out not
    to be needed is dropped. Rows find their leaf anew in every pass, by the centers on their way down.

    First centers, ``labels_`` and ``_n_threads`` are as :func:`~parquetry.classical.kmeans.fit_kmeans` has them.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.cluster.BisectingKMeans.html
    """
    who = "BisectingKMeans"
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    require_rows(who, view, "n_clusters", estimator.n_clusters)
    if callable(estimator.init):
        return (yield from fitting.gather(estimator, view, "A function as init is given all rows of a cluster."))
    require_room(who, view, 2 * estimator.n_clusters * estimator.n_init, fitting.memory)
    view = rows_alone(view)
    splitter = _Splitter(estimator)
    root = _Node(0, "", np.zeros(view.width), 0.0, view.dataset.num_rows)
    first = splitter.draws([root]) if estimator.n_clusters > 1 else []
    geometry, moments, drawn = yield from look(who, view, first)
    root.center = moments.mean - geometry.mean
    inner: list[_Node] = []
    while len(inner) < estimator.n_clusters - 1:
        leaf = max(root.leaves(), key=lambda node: node.score)
        if not leaf.children:
            here = Geometry(view, geometry.mean, _router(inner))
            wanted = _next_leaves(root, estimator.n_clusters - 1 - len(inner))
            yield from splitter.split(here, wanted, drawn if leaf is root else None)
        leaf.split = True
        for child in leaf.children:
            child.number = 2 * len(inner) + 1 + (child is leaf.children[1])
        inner.append(leaf)
    yield from _set_tree(estimator, Geometry(view, geometry.mean, _router(inner)), root, fitting)
    return estimator


@dataclass(eq=False)
class _Node:
    """A cluster; ``children`` are known before it is really split."""

    number: int
    path: str
    center: FloatArray
    score: float
    count: int
    children: tuple[_Node, ...] = ()
    split: bool = False

    def leaves(self) -> Iterator[_Node]:
        """The leaves from left to right."""
        if not self.split:
            yield self
            return
        for child in self.children:
            yield from child.leaves()


def _next_leaves(root: _Node, most: int) -> list[_Node]:
    """The leaves whose turn may come: those of the highest scores, as many as there are splits to do."""
    ranked = sorted(root.leaves(), key=lambda node: -node.score)[:most]
    return [node for node in ranked if not node.children]


def _router(inner: Sequence[_Node]) -> Router:
    splits = []
    for node in inner:
        left, right = node.children
        splits.append((node.number, np.stack([left.center, right.center]), left.number, right.number))
    return Router(tuple(splits))


class _Splitter:
    """Splits several leaves in the same passes."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.seeds = seeds(estimator.random_state, estimator.n_init)

    def draws(self, nodes: Sequence[_Node]) -> list[Draw]:
        """What the first pass of a split draws: every node's starts, one after another."""
        if self.estimator.init == "random":
            return [Draw(f"bisect-{s}-{node.path}", 2, None, node.number) for node in nodes for s in self.seeds]
        return [start.draw(0) for start in self._starts(nodes)]

    def split(
        self, geometry: Geometry, nodes: list[_Node], drawn: list[TopRows] | None
    ) -> Generator[list[Any], list[Any], None]:
        """Give each node its children."""
        for node in nodes:
            if not node.count:
                node.children = tuple(_Node(-1, node.path + side, node.center, 0.0, 0) for side in "lr")
        nodes = [node for node in nodes if node.count]
        if not nodes:
            return
        if drawn is None:
            (drawn,) = yield [Pass(DrawRows(geometry, self.draws(nodes)), geometry.view)]
        runs = yield from self._first_runs(geometry, nodes, drawn)
        yield from lloyd(geometry, runs, tol=self.estimator.tol, max_iter=self.estimator.max_iter)
        (found,) = yield [Pass(Assign(geometry, runs, labels=False), geometry.view)]
        for i, node in enumerate(nodes):
            mine = slice(i * len(self.seeds), (i + 1) * len(self.seeds))
            self._choose(node, runs[mine], found[mine])

    def _starts(self, nodes: Sequence[_Node]) -> list[Start]:
        return [Start(s, 2, node.number, node.path) for node in nodes for s in self.seeds]

    def _first_runs(
        self, geometry: Geometry, nodes: list[_Node], drawn: list[TopRows]
    ) -> Generator[list[Any], list[Any], list[Run]]:
        starts = self._starts(nodes)
        if self.estimator.init == "random":
            pairs = [np.resize(top.dense, (2, top.x.shape[1])) for top in drawn]
        else:
            for start, top in zip(starts, drawn, strict=True):
                start.take(top)
            cells = yield from candidates(geometry, starts)
            pairs = [clustered(c, 2, start.seed) for c, start in zip(cells, starts, strict=True)]
        return [Run(pair, start.node) for pair, start in zip(pairs, starts, strict=True)]

    def _choose(self, node: _Node, runs: Sequence[Run], found: Sequence[Assigned]) -> None:
        best = 0
        for i in range(1, len(runs)):
            if found[i].inertia.sum() < found[best].inertia.sum() * _BETTER:
                best = i
        counts = found[best].counts
        scores = found[best].inertia if self.estimator.bisecting_strategy == "biggest_inertia" else counts
        node.children = tuple(
            _Node(-1, node.path + side, runs[best].centers[j], scores[j], int(counts[j])) for j, side in enumerate("lr")
        )


class _Leaves(Reduction[Assigned, Assigned]):
    """Each row's leaf, and the inertia about the leaves' centers."""

    label = "leaves"

    def __init__(self, geometry: Geometry, leaves: Sequence[_Node], *, labels: bool) -> None:
        self.mean, self.router, self.labels = geometry.mean, geometry.router, labels
        self.centers = np.stack([leaf.center for leaf in leaves])
        self.places = np.zeros(max(leaf.number for leaf in leaves) + 1, dtype=np.intp)
        self.places[[leaf.number for leaf in leaves]] = np.arange(len(leaves))

    def partial(self, batch: Any) -> Assigned:
        count = len(self.centers)
        total = Assigned(np.zeros(count, dtype=np.int64), np.zeros(count), [])
        for chunk in chunks(batch, self.mean, self.router):
            labels = self.places[chunk.leaves]
            distances = chunk.points.distances(self.centers, labels)
            if chunk.weights is not None:
                distances = distances * chunk.weights
            total.counts += np.bincount(labels, minlength=count)
            total.inertia += np.bincount(labels, distances, minlength=count)
            if self.labels:
                total.labels.append(labels.astype(np.min_scalar_type(count - 1)))
        return total

    def merge(self, left: Assigned, right: Assigned) -> Assigned:
        left.counts += right.counts
        left.inertia += right.inertia
        left.labels += right.labels
        return left


def _set_tree(
    estimator: Any, geometry: Geometry, root: _Node, fitting: Fitting
) -> Generator[list[Any], list[Any], None]:
    view, leaves = geometry.view, list(root.leaves())
    labels = view.dataset.num_rows <= LABEL_ROWS
    (assigned,) = yield [Pass(_Leaves(geometry, leaves, labels=labels), view)]
    warn_of_empty(assigned, estimator.n_clusters)
    kind = float_type(view)
    set_inputs(estimator, view)
    estimator.cluster_centers_ = (np.stack([leaf.center for leaf in leaves]) + geometry.mean).astype(kind)
    estimator._n_features_out = len(leaves)
    estimator._n_threads = 1
    estimator._X_mean = geometry.mean.astype(kind)
    estimator._bisecting_tree = _plain_tree(root, kind, iter(range(len(leaves))))
    estimator.inertia_ = float(assigned.inertia.sum())
    set_labels(estimator, view, assigned, fitting)


def _plain_tree(node: _Node, kind: Any, labels: Iterator[int]) -> Any:
    """scikit-learn's own tree, which its ``predict`` walks down."""
    plain = _BisectingTree(center=node.center.astype(kind), indices=None, score=node.score)
    if node.split:
        plain.left, plain.right = (_plain_tree(child, kind, labels) for child in node.children)
    else:
        plain.label = next(labels)
    return plain
