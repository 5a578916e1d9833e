"""MiniBatchKMeans: mini-batches in block order, on one worker that streams the blocks."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.cluster import MiniBatchKMeans
from sklearn.cluster._kmeans import _labels_inertia, _mini_batch_step
from sklearn.utils import check_random_state
from sklearn.utils.extmath import row_norms

from parquetry.classical.kmeans import (
    LABEL_ROWS,
    float_type,
    given_centers,
    look,
    number_of_starts,
    require_room,
    require_rows,
    rows_alone,
    set_labels,
    tolerance,
)
from parquetry.classical.lloyd import Assign, Geometry, Run
from parquetry.classical.seeding import Draw, seeds
from parquetry.classical.sequential import Batches, Piece, Walk, pieces, report_sequential
from parquetry.classical.top_rows import TopRows
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.registry import fitter
from parquetry.view import FloatArray, View


@fitter(
    MiniBatchKMeans,
    passes="3, and 1 an epoch",
    exact="scikit-learn's own steps over other mini-batches",
    matrices=True,
    placement="sequential",
)
def fit_mini_batch_kmeans(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Mini-batch k-means by scikit-learn's own steps, on one worker that streams the blocks.

    Mini-batches are consecutive rows in block order, over and over, as ``partial_fit`` would get them;
    scikit-learn's ``fit`` draws them at random. Where the rows are sorted, shuffle the data set first.
    Sample weights go into the steps; ``fit`` draws by them instead. Stopping rules, reassignment of
    small clusters and ``n_iter_`` are those of ``fit``.

    First centers come from ``init_size`` rows drawn over the whole data set by a hash of their place,
    a draw for each of ``n_init`` and one more to compare them on; a function as ``init`` gets such rows.
    ``labels_`` and ``inertia_`` (``compute_labels=True``) take one pass more, on all workers;
    ``labels_`` is left out as :func:`~parquetry.classical.kmeans.fit_kmeans` says.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.cluster.MiniBatchKMeans.html
    """
    who = "MiniBatchKMeans"
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    require_rows(who, view, "n_clusters", estimator.n_clusters)
    view, rows = rows_alone(view), view.dataset.num_rows
    n_init = number_of_starts(estimator, default=3)
    estimator._batch_size = min(estimator.batch_size, rows)
    estimator._init_size = _init_size(estimator, rows)
    # The rows drawn for first centers stay sparse where X is.
    rows_drawn = 0 if is_sparse(view) else (n_init + 1) * estimator._init_size
    require_room(who, view, estimator.n_clusters, fitting.memory, rows_drawn)
    draws = []
    if isinstance(estimator.init, str) or callable(estimator.init):
        own = seeds(estimator.random_state, n_init + 1)
        draws = [Draw(f"mini-batch-{seed}-{i}", estimator._init_size) for i, seed in enumerate(own)]
    geometry, moments, drawn = yield from look(who, view, draws)
    estimator._n_init, estimator._tol = n_init, tolerance(moments, estimator.tol)
    centers = _first_centers(estimator, geometry, drawn)
    (walked,) = yield [Walk(_Walker(estimator, centers, geometry.mean, rows), view, who)]
    _set_centers(estimator, geometry, walked)
    report_sequential(fitting, estimator.n_iter_, "mini-batches")
    yield from _set_labels(estimator, geometry, walked, fitting)
    return estimator


def _init_size(estimator: Any, rows: int) -> int:
    """Rows drawn for first centers, as scikit-learn counts them."""
    size = 3 * estimator._batch_size if estimator.init_size is None else estimator.init_size
    return min(rows, 3 * estimator.n_clusters if size < estimator.n_clusters else int(size))


def _first_centers(estimator: Any, geometry: Geometry, drawn: list[TopRows]) -> FloatArray:
    """The best of ``n_init`` starts on the rows drawn to compare them."""
    if not drawn:
        return given_centers(estimator, geometry.view.width) - geometry.mean
    random_state = check_random_state(estimator.random_state)
    compared, best, least = drawn[0].x, None, np.inf
    for top in drawn[1:]:
        weights, norms = np.ones(top.x.shape[0]), row_norms(top.x, squared=True)
        begin = partial(estimator._init_centroids, top.x, norms, estimator.init, random_state, weights)
        centers = checked(estimator, begin)
        _, inertia = _labels_inertia(compared, np.ones(compared.shape[0]), np.ascontiguousarray(centers))
        if inertia < least:
            best, least = centers, inertia
    return np.asarray(best)


@dataclass(frozen=True)
class _Walked:
    """What the walk found.

    Parameters
    ----------
    centers : ndarray of shape (n_clusters, n_features)
        Less the mean of all rows.
    seen : int
        Rows seen, those of every epoch.
    learned : dict
        Attributes of scikit-learn's own.
    """

    centers: FloatArray
    seen: int
    learned: dict[str, Any]


@dataclass(frozen=True, eq=False)
class _Walker:
    """Steps until scikit-learn's rules say that it is enough.

    Parameters
    ----------
    estimator : MiniBatchKMeans, not fitted
    centers : ndarray of shape (n_clusters, n_features)
    mean : ndarray of shape (n_features,)
        Of all rows; zeros for sparse X.
    rows : int
        Of the data set.
    """

    estimator: Any
    centers: FloatArray
    mean: FloatArray
    rows: int

    def __call__(self, batches: Batches) -> _Walked:
        model = copy.copy(self.estimator)
        size = model._batch_size
        model._counts = np.zeros(model.n_clusters)
        model._ewa_inertia = model._ewa_inertia_min = None
        model._no_improvement = model._n_since_last_reassign = 0
        random_state = check_random_state(model.random_state)
        centers, seen, steps = np.ascontiguousarray(self.centers), 0, 0
        most = max(1, model.max_iter * self.rows // size)
        stopped = False
        while not stopped:
            for piece in pieces(batches(), size):
                new, inertia = self._step(model, piece, centers, random_state)
                shift = float(((new - centers) ** 2).sum()) if model._tol > 0 else 0.0
                centers, seen, steps = new, seen + piece.size, steps + 1
                model._batch_size = piece.size
                stopped = model._mini_batch_convergence(steps - 1, most, self.rows, shift, inertia) or steps >= most
                if stopped:
                    break
        names = ("_counts", "_ewa_inertia", "_ewa_inertia_min", "_no_improvement", "_n_since_last_reassign")
        return _Walked(centers, seen, {"n_steps_": steps, **{name: getattr(model, name) for name in names}})

    def _step(self, model: Any, piece: Piece, centers: FloatArray, random_state: Any) -> tuple[FloatArray, float]:
        """The centers after a mini-batch, and its inertia as of rows that weigh 1 on average."""
        x = piece.x if hasattr(piece.x, "tocsr") else piece.x - self.mean
        weights = np.ones(piece.size) if piece.weights is None else np.ascontiguousarray(piece.weights)
        new = np.empty_like(centers)
        inertia = _mini_batch_step(
            x,
            weights,
            centers,
            new,
            model._counts,
            random_state,
            random_reassign=model._random_reassign(),
            reassignment_ratio=model.reassignment_ratio,
        )
        total = float(weights.sum())
        return new, inertia * (piece.size / total) if total else 0.0


def _set_centers(estimator: Any, geometry: Geometry, walked: _Walked) -> None:
    view, kind = geometry.view, float_type(geometry.view)
    for name, value in walked.learned.items():
        setattr(estimator, name, value)
    set_inputs(estimator, view)
    estimator.cluster_centers_ = (walked.centers + geometry.mean).astype(kind)
    estimator._counts = estimator._counts.astype(kind)
    estimator._n_features_out, estimator._n_threads = estimator.n_clusters, 1
    estimator.n_iter_ = math.ceil(walked.seen / view.dataset.num_rows)


def _set_labels(
    estimator: Any, geometry: Geometry, walked: _Walked, fitting: Fitting
) -> Generator[list[Any], list[Any], None]:
    view = geometry.view
    if not estimator.compute_labels:
        estimator.inertia_ = estimator._ewa_inertia * view.dataset.num_rows
        return
    labels = view.dataset.num_rows <= LABEL_ROWS
    ((assigned,),) = yield [Pass(Assign(geometry, [Run(walked.centers)], labels=labels), view)]
    estimator.inertia_ = float(assigned.inertia.sum())
    set_labels(estimator, view, assigned, fitting)
