"""Lloyd's iterations of k-means: one pass over the rows an iteration, many runs in the same pass.

S. P. Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28 (1982).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parquetry.classical.points import Chunk, Router, chunks
from parquetry.classical.top_rows import TopRows, merged, offered
from parquetry.fitting import Pass
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View


@dataclass
class Run:
    """One run of Lloyd's iterations; centers are less the mean of all rows.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
    node : int or None, default None
        The leaf whose rows take part; None for all rows.
    n_iter : int
        Iterations done.
    """

    centers: FloatArray
    node: int | None = None
    n_iter: int = 0
    done: bool = False
    sums: FloatArray | None = field(default=None, repr=False)


@dataclass(frozen=True, eq=False)
class Geometry:
    """What the passes of one fit share.

    Parameters
    ----------
    view : View
        Cached.
    mean : ndarray of shape (n_features,)
        Subtracted from every row; zeros for sparse X.
    router : Router or None, default None
        Sorts rows into leaves, for runs that have a ``node``.
    """

    view: View
    mean: FloatArray
    router: Router | None = None


class ClusterSums(Reduction[list[FloatArray], list[FloatArray]]):
    """For each run the sums of the rows nearest to each center, weighted, and their weights.

    Gives one array of shape ``(n_clusters, n_features + 1)`` a run.
    """

    label = "lloyd"

    def __init__(self, geometry: Geometry, runs: Sequence[Run]) -> None:
        self.mean, self.router = geometry.mean, geometry.router
        self.parts = tuple((run.centers, run.node) for run in runs)

    def partial(self, batch: Any) -> list[FloatArray]:
        state = [np.zeros((len(c), len(self.mean) + 1)) for c, _ in self.parts]
        for chunk in chunks(batch, self.mean, self.router):
            for i, (centers, node) in enumerate(self.parts):
                for piece in chunk.of(node).pieces(len(centers)):
                    state[i] += piece.points.nearest_sums(centers, piece.weights)
        return state

    def merge(self, left: list[FloatArray], right: list[FloatArray]) -> list[FloatArray]:
        for i, other in enumerate(right):
            left[i] += other
        return left


class Farthest(Reduction[list[TopRows], list[TopRows]]):
    """For each run the rows farthest from their centers, as many as it has empty clusters."""

    label = "relocate"

    def __init__(self, geometry: Geometry, runs: Sequence[Run], counts: Sequence[int]) -> None:
        self.mean, self.router = geometry.mean, geometry.router
        self.parts = tuple((run.centers, run.node, count) for run, count in zip(runs, counts, strict=True))

    def partial(self, batch: Any) -> list[TopRows]:
        state = [TopRows.none(len(self.mean)) for _ in self.parts]
        for chunk in chunks(batch, self.mean, self.router):
            for i, (centers, node, count) in enumerate(self.parts):
                for piece in chunk.of(node).pieces(len(centers)):
                    labels, _ = piece.points.nearest_labels(centers)
                    distances = piece.points.distances(centers, labels)
                    state[i] = offered(state[i], piece, distances, count, labels)
        return state

    def merge(self, left: list[TopRows], right: list[TopRows]) -> list[TopRows]:
        return [merged(a, b, count) for a, b, (_, _, count) in zip(left, right, self.parts, strict=True)]


def lloyd(
    geometry: Geometry, runs: Sequence[Run], *, tol: float, max_iter: int
) -> Generator[list[Any], list[Any], None]:
    """Iterate each run until its centers stand still, by scikit-learn's rules; the runs share the passes.

    A run ends when no row has changed its cluster, when the squared shift of all its centers is at
    most ``tol``, or after ``max_iter`` iterations. Rows of a cluster are summed in the same order
    in every pass, so that no row has changed exactly where no sum has.
    """
    active = list(runs)
    while active:
        (found,) = yield [Pass(ClusterSums(geometry, active), geometry.view)]
        updated = [sums.copy() for sums in found]
        yield from _relocated(geometry, active, updated)
        for run, sums, moved in zip(active, found, updated, strict=True):
            centers = _averaged(moved)
            shift = float(((centers - run.centers) ** 2).sum())
            still = run.sums is not None and np.array_equal(run.sums, sums)
            run.centers, run.sums = centers, sums
            run.n_iter += 1
            run.done = still or shift <= tol or run.n_iter >= max_iter
        active = [run for run in active if not run.done]


def _relocated(
    geometry: Geometry, runs: Sequence[Run], updated: list[FloatArray]
) -> Generator[list[Any], list[Any], None]:
    """Give each empty cluster a row of those farthest from their centers, in one more pass where there are any."""
    empty = [np.flatnonzero(sums[:, -1] == 0) for sums in updated]
    lacking = [i for i, places in enumerate(empty) if len(places)]
    if not lacking:
        return
    wanted = Farthest(geometry, [runs[i] for i in lacking], [len(empty[i]) for i in lacking])
    (found,) = yield [Pass(wanted, geometry.view)]
    for i, far in zip(lacking, found, strict=True):
        _relocate(updated[i], empty[i], far)


def _relocate(sums: FloatArray, empty: Any, far: TopRows) -> None:
    if not len(far.keys) or far.keys[0] == 0:
        return  # more clusters than distinct rows: there is nowhere to go
    for cluster, x, weight, label in zip(empty, far.dense, far.weights, far.labels, strict=False):
        row = np.append(x, 1.0) * weight
        sums[label] -= row
        sums[cluster] = row


def _averaged(sums: FloatArray) -> FloatArray:
    """Centers from sums; what stays empty goes where scikit-learn puts it, with the heaviest cluster.

    As there, the heaviest cluster's sum stands for its center if it comes later: a place far from all rows.
    """
    weights, centers = sums[:, -1], sums[:, :-1].copy()
    heaviest = int(np.argmax(weights))
    for cluster, weight in enumerate(weights):
        if weight > 0:
            centers[cluster] *= 1.0 / weight
        else:
            centers[cluster] = centers[heaviest]
    return centers


# --- what is known of the rows once the centers stand ------------------------------------------
@dataclass
class Assigned:
    """What a run's clusters hold.

    Attributes
    ----------
    counts : ndarray of shape (n_clusters,)
        Rows of each cluster, int64.
    inertia : ndarray of shape (n_clusters,)
        Weighted sum of squared distances to the center.
    labels : list of ndarray
        The cluster of each row, in order, where they were asked for.
    """

    counts: Any
    inertia: FloatArray
    labels: list[Any]


class Assign(Reduction[list[Assigned], list[Assigned]]):
    """The last step: each row's cluster, and the inertia without cancellation.

    Parameters
    ----------
    geometry : Geometry
    runs : sequence of Run
    labels : bool
        Whether the labels of all rows are wanted.
    """

    label = "assign"

    def __init__(self, geometry: Geometry, runs: Sequence[Run], *, labels: bool) -> None:
        self.mean, self.router, self.labels = geometry.mean, geometry.router, labels
        self.parts = tuple((run.centers, run.node) for run in runs)

    def partial(self, batch: Any) -> list[Assigned]:
        state = [Assigned(np.zeros(len(c), dtype=np.int64), np.zeros(len(c)), []) for c, _ in self.parts]
        for chunk in chunks(batch, self.mean, self.router):
            for total, (centers, node) in zip(state, self.parts, strict=True):
                for piece in chunk.of(node).pieces(len(centers)):
                    self._add(total, piece, centers)
        return state

    def merge(self, left: list[Assigned], right: list[Assigned]) -> list[Assigned]:
        for mine, other in zip(left, right, strict=True):
            mine.counts += other.counts
            mine.inertia += other.inertia
            mine.labels += other.labels
        return left

    def _add(self, total: Assigned, piece: Chunk, centers: FloatArray) -> None:
        labels, _ = piece.points.nearest_labels(centers)
        distances = piece.points.distances(centers, labels)
        if piece.weights is not None:
            distances = distances * piece.weights
        total.counts += np.bincount(labels, minlength=len(centers))
        total.inertia += np.bincount(labels, distances, minlength=len(centers))
        if self.labels:
            total.labels.append(labels.astype(np.min_scalar_type(len(centers) - 1)))


def joined_labels(assigned: Assigned) -> Any:
    """All labels as scikit-learn's ``labels_``: int32, shape ``(n_rows,)``."""
    return np.concatenate([part.astype(np.int32) for part in assigned.labels])
