"""How good clusters are, streaming: what ``evaluate`` computes for a clusterer.

Everything but the silhouette is exact, in two passes; the silhouette compares each row with every
other, so it is taken over rows drawn by a hash of their place, and the result says how many.

Definitions: https://scikit-learn.org/stable/modules/clustering.html#clustering-performance-evaluation
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.base import is_classifier, is_clusterer, is_regressor
from sklearn.metrics import silhouette_score
from sklearn.utils import get_tags
from sklearn.utils.validation import check_is_fitted

from parquetry.block_cache import Arrays, float_arrays
from parquetry.classical.points import Chunk, chunks
from parquetry.classical.row_weights import RowWeights
from parquetry.classical.seeding import luck
from parquetry.classical.top_rows import TopRows, merged, offered
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fitting import Pass, drive
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal, shown_names
from parquetry.reduction import Reduction
from parquetry.through import apply
from parquetry.view import Batch, FloatArray, View

SILHOUETTE_ROWS = 5_000
_MOST_CLUSTERS = 100_000
_SALT = "silhouette"


def evaluate_clusters(model: Any, view: View, engine: Any, *, silhouette_rows: int = SILHOUETTE_ROWS) -> dict[str, Any]:
    """The metrics of a fitted clusterer or mixture over a view, in the space that its last step sees.

    Parameters
    ----------
    model : fitted clusterer or mixture with ``predict``, or a Pipeline that ends in one
    view : View
        Weights count as repeated rows, but for the silhouette.
    engine : Engine
    silhouette_rows : int, default 5_000
        Rows in the sample for the silhouette; the time grows with their square.

    Returns
    -------
    dict
        ``rows``; ``clusters`` (that hold a row) and ``sizes`` (rows by label); ``inertia`` where the
        model has centers; ``calinski_harabasz``, ``davies_bouldin``, ``silhouette`` and
        ``silhouette_rows`` where there are two clusters or more; for a mixture ``log_likelihood``
        (mean over rows), ``aic`` and ``bic``.
    """
    _require_clusters(model)
    last = model
    while hasattr(last, "steps"):
        for _, step in last.steps[:-1]:
            view = view.through(step or "passthrough")
        last = last.steps[-1][1]
    checked(last, lambda: check_is_fitted(last))
    seen = view.cached(_Labelled(last))
    found: dict[str, Any] = drive(_measured(last, seen, silhouette_rows), engine, verb="evaluate")
    return found


def _require_clusters(model: Any) -> None:
    name = type(model).__name__
    if is_regressor(model) or is_classifier(model):
        raise BadParameter(f"evaluate: {name} needs a target.", fix="Pass target='column'.")
    if not (is_clusterer(model) or get_tags(model).estimator_type == "density_estimator"):
        raise BadParameter(f"{name} neither predicts numbers nor classes nor clusters.", fix="Pass a predictor.")
    if not hasattr(model, "predict"):
        raise BadParameter(
            f"{name} cannot tell the cluster of a row that it has not been fitted on.",
            why="It has no predict.",
            fix="Use KMeans, BisectingKMeans, MiniBatchKMeans or GaussianMixture.",
        )


@dataclass(frozen=True, eq=False)
class _Labelled:
    """What the passes keep: the floats, and each row's ``label`` and log-likelihood."""

    model: Any

    def __call__(self, batch: Batch) -> Arrays:
        arrays = float_arrays(batch)
        matrix = batch.matrix
        stored = matrix.data if hasattr(matrix, "tocsr") else matrix
        if not np.isfinite(stored).all():
            # predict would only say that there is one: the reduction finds out where the first stands.
            return {**arrays, "label": np.zeros(batch.num_rows, dtype=np.int64)}
        labels = np.asarray(apply(self.model, "predict", batch.X))
        if hasattr(self.model, "lower_bound_"):
            arrays["likelihood"] = np.asarray(apply(self.model, "score_samples", batch.X), dtype=np.float64)
        return {**arrays, "label": labels.astype(np.int64)}


@dataclass
class ClusterMoments:
    """Of each cluster; arrays by label, and means less the shift.

    Attributes
    ----------
    counts : ndarray of shape (n_labels,)
        Rows, int64.
    weights : ndarray of shape (n_labels,)
    means : ndarray of shape (n_labels, n_features)
    spread : ndarray of shape (n_labels,)
        Weighted sum of squared distances to the cluster's mean.
    likelihood : float
        Weighted sum of the rows' log-likelihoods.
    sample : TopRows
        Rows drawn for the silhouette, with their labels.
    first_bad : Position or None
    """

    counts: Any
    weights: FloatArray
    means: FloatArray
    spread: FloatArray
    likelihood: float
    sample: TopRows
    first_bad: Position | None = None

    def grown(self, count: int) -> ClusterMoments:
        """The same with room for more labels."""
        more = count - len(self.counts)
        if more <= 0:
            return self
        grown: dict[str, Any] = {
            name: np.concatenate([values, np.zeros((more, *values.shape[1:]), values.dtype)])
            for name, values in vars(self).items()
            if name in ("counts", "weights", "means", "spread")
        }
        return replace(self, **grown)


class Spread(Reduction[ClusterMoments, ClusterMoments]):
    """Weight, mean and spread of each cluster, merged pairwise; and the sample.

    Parameters
    ----------
    shift : ndarray of shape (n_features,)
        Near the rows; zeros for sparse X.
    rows : int
        In the sample.
    names : sequence of str
        The columns' names, for errors.
    """

    label = "clusters"

    def __init__(self, shift: FloatArray, rows: int, names: Any) -> None:
        self.shift, self.rows, self.names = shift, rows, tuple(names)

    def partial(self, batch: Any) -> ClusterMoments:
        labels = batch.arrays["label"]
        total = self._nothing(_label_count(labels))
        start = 0
        for chunk in chunks(batch, self.shift):
            here = labels[start : start + chunk.size]
            start += chunk.size
            total = self.merge(total, self._chunk(chunk, here))
        if "likelihood" in batch.arrays:
            total.likelihood = float(batch.arrays["likelihood"] @ _ones_or(batch.weights, batch.num_rows))
        if not np.isfinite(total.spread).all():
            total.first_bad = first_non_finite(batch, batch.floats, nan=True)
        return total

    def merge(self, left: ClusterMoments, right: ClusterMoments) -> ClusterMoments:
        count = max(len(left.counts), len(right.counts))
        left, right = left.grown(count), right.grown(count)
        weights = left.weights + right.weights
        share = np.divide(right.weights, weights, out=np.zeros(count), where=weights > 0)
        delta = right.means - left.means
        return ClusterMoments(
            left.counts + right.counts,
            weights,
            left.means + delta * share[:, None],
            left.spread + right.spread + (delta**2).sum(axis=1) * left.weights * share,
            left.likelihood + right.likelihood,
            merged(left.sample, right.sample, self.rows),
            earliest([left.first_bad, right.first_bad]),
        )

    def finish(self, state: ClusterMoments) -> ClusterMoments:
        if state.first_bad is not None:
            raise refusal(state.first_bad, self.names, "evaluate")
        return state

    def _nothing(self, count: int) -> ClusterMoments:
        width = len(self.shift)
        return ClusterMoments(
            np.zeros(count, dtype=np.int64),
            np.zeros(count),
            np.zeros((count, width)),
            np.zeros(count),
            0.0,
            TopRows.none(width),
        )

    def _chunk(self, chunk: Chunk, labels: Any) -> ClusterMoments:
        found = self._nothing(_label_count(labels))
        count, weights = len(found.counts), _ones_or(chunk.weights, chunk.size)
        shares = np.zeros((count, chunk.size))
        shares[labels, np.arange(chunk.size)] = weights
        sums = chunk.points.sums(shares)
        found.counts, found.weights = np.bincount(labels, minlength=count), sums[:, -1]
        heavy = found.weights > 0
        np.divide(sums[:, :-1], sums[:, -1:], out=found.means, where=heavy[:, None])
        distances = chunk.points.distances(found.means, labels) * weights
        found.spread = np.asarray(np.bincount(labels, distances, minlength=count))
        found.sample = offered(found.sample, chunk, luck(chunk, _SALT), self.rows, labels)
        return found


class MeanDistances(Reduction[FloatArray, FloatArray]):
    """Weighted sums of the rows' distances to their own cluster's mean, shape ``(n_labels,)``."""

    label = "mean-distances"

    def __init__(self, shift: FloatArray, means: FloatArray) -> None:
        self.shift, self.means = shift, means

    def partial(self, batch: Any) -> FloatArray:
        labels, start = batch.arrays["label"], 0
        total: FloatArray = np.zeros(len(self.means))
        for chunk in chunks(batch, self.shift):
            here = labels[start : start + chunk.size]
            start += chunk.size
            distances = np.sqrt(chunk.points.distances(self.means, here)) * _ones_or(chunk.weights, chunk.size)
            total = total + np.bincount(here, distances, minlength=len(total))
        return total

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return left + right


def _measured(last: Any, view: View, silhouette_rows: int) -> Generator[list[Any], list[Any], dict[str, Any]]:
    shift = _shift(last, view)
    works = [Pass(Spread(shift, silhouette_rows, shown_names(view)), view)]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights("evaluate", view.sample_weight), view))
    found, *_ = yield works
    weight = float(found.weights.sum())
    metrics: dict[str, Any] = {
        "rows": int(found.counts.sum()),
        "clusters": int(np.count_nonzero(found.counts)),
        "sizes": found.counts.tolist(),
    }
    centers = getattr(last, "cluster_centers_", None)
    if centers is not None:
        away = ((found.means + shift - centers[: len(found.means)]) ** 2).sum(axis=1)
        metrics["inertia"] = float((found.spread + found.weights * away).sum())
    heavy = found.weights > 0
    if np.count_nonzero(heavy) > 1:
        (distances,) = yield [Pass(MeanDistances(shift, found.means), view)]
        metrics["calinski_harabasz"] = calinski_harabasz(found.weights[heavy], found.means[heavy], found.spread[heavy])
        metrics["davies_bouldin"] = davies_bouldin(distances[heavy] / found.weights[heavy], found.means[heavy])
        metrics |= _silhouette(found.sample)
    if hasattr(last, "lower_bound_"):
        metrics |= _information(last, found.likelihood, weight)
    return metrics


def calinski_harabasz(weights: FloatArray, means: FloatArray, spread: FloatArray) -> float:
    """The ratio of the dispersion between clusters to that within them, from the clusters' moments."""
    between = float(weights @ ((means - weights @ means / weights.sum()) ** 2).sum(axis=1))
    within, count = float(spread.sum()), len(weights)
    return 1.0 if within == 0 else between * (float(weights.sum()) - count) / (within * (count - 1.0))


def davies_bouldin(distances: FloatArray, means: FloatArray) -> float:
    """The mean over clusters of the worst ratio of sizes to distance, from mean distances and means."""
    apart = cdist(means, means)
    if np.allclose(distances, 0) or np.allclose(apart, 0):
        return 0.0
    apart[apart == 0] = np.inf
    return float(((distances[:, None] + distances) / apart).max(axis=1).mean())


def _silhouette(sample: TopRows) -> dict[str, Any]:
    count = len(sample.keys)
    if not 2 <= len(np.unique(sample.labels)) < count:
        return {}
    return {"silhouette": float(silhouette_score(sample.x, sample.labels)), "silhouette_rows": count}


def _information(model: Any, likelihood: float, weight: float) -> dict[str, float]:
    free = model._n_parameters()
    return {
        "log_likelihood": likelihood / weight,
        "aic": -2 * likelihood + 2 * free,
        "bic": -2 * likelihood + free * float(np.log(weight)),
    }


def _shift(last: Any, view: View) -> FloatArray:
    """A point near the rows: the mean of the centers, or of the first rows."""
    batch = next(iter(view.head_batches(1024)))
    if hasattr(batch.matrix, "tocsr"):
        return np.zeros(view.width)
    centers = getattr(last, "cluster_centers_", getattr(last, "means_", None))
    near = np.asarray((batch.matrix if centers is None else centers), dtype=np.float64).mean(axis=0)
    return np.where(np.isfinite(near), near, 0.0)


def _label_count(labels: Any) -> int:
    if labels.min() < 0 or labels.max() >= _MOST_CLUSTERS:
        raise BadParameter(
            f"evaluate: the model gives the label {int(labels.min())}.", fix="Labels count from 0, a cluster each."
        )
    return int(labels.max()) + 1


def _ones_or(weights: FloatArray | None, rows: int) -> FloatArray:
    return np.ones(rows) if weights is None else weights
