"""KMeans: Lloyd's iterations over all rows, from k-means||, random rows or given centers."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import _is_arraylike_not_scalar

from parquetry.block_cache import column_arrays
from parquetry.classical.lloyd import Assign, Assigned, Geometry, Run, joined_labels, lloyd
from parquetry.classical.row_weights import RowWeights
from parquetry.classical.seeding import OVERSAMPLING, ROUNDS, Draw, DrawRows, Start, candidates, clustered, seeds
from parquetry.classical.top_rows import TopRows
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs, surrogate
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments, MomentsState
from parquetry.foundation.positions import shown_names
from parquetry.reduction import FAN_IN
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

LABEL_ROWS = 10_000_000
"""Above so many rows ``labels_`` is left out: what comes back to the driver is bounded."""

_SAME_INERTIA = 1e-11  # what the order of adding leaves between two permutations of one clustering


@fitter(
    KMeans,
    passes="1 an iteration, and 2 (k-means||: 6)",
    exact="same centers from the same init; k-means++ is drawn as k-means||",
    matrices=True,
    single_node="a function as init",
)
def fit_kmeans(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """k-means by Lloyd's iterations: scikit-learn's steps, stopping rules and relocation of empty clusters.

    From a given ``init`` the centers, labels, inertia and number of iterations are scikit-learn's own.
    ``init="k-means++"`` is drawn as k-means|| (see :mod:`parquetry.classical.seeding`) and
    ``init="random"`` by a hash of each row's place, from ``random_state``: other rows than
    scikit-learn draws, and the same ones on every engine. All ``n_init`` runs share the passes;
    ``algorithm="elkan"`` takes the same steps. Empty clusters go to the rows farthest from their
    centers, farthest first, ties by the order of rows.

    ``labels_`` (int32, one a row) is left out above ``LABEL_ROWS`` rows, and the report says so;
    ``predict`` gives them. ``_n_threads`` is 1, so that predicting on a worker takes one core.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.cluster.KMeans.html
    """
    who = "KMeans"
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    require_rows(who, view, "n_clusters", estimator.n_clusters)
    if callable(estimator.init):
        return (yield from fitting.gather(estimator, view, "A function as init is given all rows."))
    n_init = number_of_starts(estimator)
    require_room(who, view, estimator.n_clusters * n_init, fitting.memory)
    view = rows_alone(view)
    drawn = _first_draws(estimator, n_init)
    geometry, moments, found = yield from look(who, view, [d for d, _ in drawn])
    runs = yield from _first_runs(estimator, geometry, [s for _, s in drawn], found)
    tol = tolerance(moments, estimator.tol)
    yield from lloyd(geometry, runs, tol=tol, max_iter=estimator.max_iter)
    run, assigned = yield from best_run(geometry, runs, labels=view.dataset.num_rows <= LABEL_ROWS)
    estimator._tol, estimator._n_init = tol, n_init
    estimator._algorithm = "lloyd" if estimator.n_clusters == 1 else estimator.algorithm
    set_clusters(estimator, geometry, run, assigned)
    set_labels(estimator, view, assigned, fitting)
    return estimator


# --- before the first pass ----------------------------------------------------------------------
def require_rows(who: str, view: View, parameter: str, count: int) -> None:
    """Raise BadParameter where there are fewer rows than clusters."""
    rows = view.dataset.num_rows
    if rows < count:
        raise BadParameter(
            f"{who}: {parameter}={count:,} and only {rows:,} rows.",
            why="Each cluster needs at least one row.",
            fix=f"Lower {parameter}.",
        )


def require_room(who: str, view: View, n_clusters: int, memory: int, drawn: int | None = None) -> None:
    """Raise TooBigForOneNode where the centers, and the rows drawn for them, would not fit in memory.

    ``drawn`` counts those rows; None is what k-means|| draws.
    """
    rows = n_clusters + (ROUNDS * OVERSAMPLING * n_clusters if drawn is None else drawn)
    size = 8 * rows * (view.width + 1)
    if size * FAN_IN > memory:
        raise TooBigForOneNode(
            f"{who}: {n_clusters:,} centers of {view.width:,} features, and the rows drawn for them, take "
            f"{size / 2**30:.2f} GiB, and {FAN_IN} sets of them meet in a merge; {memory / 2**30:.2f} GiB are allowed.",
            why="Centers are dense.",
            fix="Use fewer clusters or starts (n_init), or features (PCA, TruncatedSVD), or allow more with memory=.",
        )


def number_of_starts(estimator: Any, default: int = 10) -> int:
    """``n_init`` as scikit-learn reads it, with its warnings; ``default`` is its ``"auto"`` for random starts."""
    given = _is_arraylike_not_scalar(estimator.init)
    if getattr(estimator, "algorithm", "") == "elkan" and estimator.n_clusters == 1:
        warnings.warn(
            "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
            RuntimeWarning,
            stacklevel=2,
        )
    if estimator.n_init == "auto":
        random = callable(estimator.init) or (isinstance(estimator.init, str) and estimator.init == "random")
        return default if random else 1
    if given and estimator.n_init != 1:
        warnings.warn(
            f"Explicit initial center position passed: performing only one init in {type(estimator).__name__} "
            f"instead of n_init={estimator.n_init}.",
            RuntimeWarning,
            stacklevel=2,
        )
    return 1 if given else int(estimator.n_init)


def rows_alone(view: View) -> View:
    """The rows without a target, cached."""
    return replace(view, target=(), target_step=None).cached(column_arrays)


def given_centers(estimator: Any, width: int) -> FloatArray:
    """``init`` as an array, checked as scikit-learn does it."""
    centers = checked(estimator, lambda: check_array(estimator.init, dtype=np.float64, copy=True, order="C"))
    shape = (estimator.n_clusters, width)
    if centers.shape != shape:
        raise BadParameter(
            f"{type(estimator).__name__}: init has the shape {centers.shape}; {shape} is needed.",
            fix="Pass one center a cluster, one value a feature.",
        )
    return np.asarray(centers)


# --- the first pass -----------------------------------------------------------------------------
def look(
    who: str, view: View, draws: Sequence[Draw] = ()
) -> Generator[list[Any], list[Any], tuple[Geometry, MomentsState, list[TopRows]]]:
    """The first pass: moments, weights, and what is drawn before any distance is known.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    view : View
        Cached.
    draws : sequence of Draw

    Returns
    -------
    Geometry, MomentsState (not weighted), list of TopRows (less the mean)
    """
    moments = Moments(who, shown_names(view), nan=False, extremes=False)
    works = [Pass(moments, view)]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), view))
    if draws:
        works.append(Pass(DrawRows(Geometry(view, np.zeros(view.width)), draws), view))
    found = yield works
    # Sparse rows are not centered: scikit-learn does not do it either.
    sparse = is_sparse(view)
    mean = np.zeros(view.width) if sparse else found[0].mean
    drawn = found[-1] if draws else []
    for top in drawn:
        top.x = top.x if sparse else top.x - mean
    return Geometry(view, mean), found[0], drawn


def tolerance(moments: MomentsState, tol: float) -> float:
    """scikit-learn's: ``tol`` times the mean of the columns' variances, whatever the rows weigh."""
    return float(np.mean(moments.variance) * tol) if tol else 0.0


def _first_draws(estimator: Any, n_init: int) -> list[tuple[Draw, Start]]:
    """What each start draws in the first pass; nothing where the centers are given."""
    if not isinstance(estimator.init, str):
        return []
    starts = [Start(seed, estimator.n_clusters) for seed in seeds(estimator.random_state, n_init)]
    if estimator.init == "random":
        return [(Draw(f"random-{s.seed}", estimator.n_clusters), s) for s in starts]
    return [(s.draw(0), s) for s in starts]


def _first_runs(
    estimator: Any, geometry: Geometry, starts: list[Start], drawn: list[TopRows]
) -> Generator[list[Any], list[Any], list[Run]]:
    if not starts:
        return [Run(given_centers(estimator, geometry.view.width) - geometry.mean)]
    if estimator.init == "random":
        return [Run(top.dense) for top in drawn]
    for start, top in zip(starts, drawn, strict=True):
        start.take(top)
    cells = yield from candidates(geometry, starts)
    return [Run(clustered(c, estimator.n_clusters, s.seed)) for c, s in zip(cells, starts, strict=True)]


# --- the last pass ------------------------------------------------------------------------------
def best_run(
    geometry: Geometry, runs: list[Run], *, labels: bool
) -> Generator[list[Any], list[Any], tuple[Run, Assigned]]:
    """The run of least inertia, the first of those that found the same clusters; and its rows."""
    chosen = 0
    if len(runs) > 1:
        (found,) = yield [Pass(Assign(geometry, runs, labels=False), geometry.view)]
        totals = [float(f.inertia.sum()) for f in found]
        for i, total in enumerate(totals):
            if total < totals[chosen] * (1 - _SAME_INERTIA):
                chosen = i
        if not labels:
            return runs[chosen], found[chosen]
    ((assigned,),) = yield [Pass(Assign(geometry, [runs[chosen]], labels=labels), geometry.view)]
    return runs[chosen], assigned


def set_clusters(estimator: Any, geometry: Geometry, run: Run, assigned: Assigned) -> None:
    """Set what scikit-learn's own fit would have learned, but for the labels."""
    view = geometry.view
    warn_of_empty(assigned, estimator.n_clusters)
    set_inputs(estimator, view)
    estimator.cluster_centers_ = (run.centers + geometry.mean).astype(float_type(view))
    estimator._n_features_out = len(estimator.cluster_centers_)
    estimator._n_threads = 1
    estimator.inertia_ = float(assigned.inertia.sum())
    estimator.n_iter_ = run.n_iter


def warn_of_empty(assigned: Assigned, n_clusters: int) -> None:
    """Warn as scikit-learn does where a cluster holds no row."""
    found = int(np.count_nonzero(assigned.counts))
    if found < n_clusters:
        warnings.warn(
            f"Number of distinct clusters ({found}) found smaller than n_clusters ({n_clusters}). "
            "Possibly due to duplicate points in X.",
            ConvergenceWarning,
            stacklevel=2,
        )


def set_labels(estimator: Any, view: View, assigned: Assigned, fitting: Fitting) -> None:
    """Set ``labels_`` where the rows are few enough; else the report says why not."""
    if view.dataset.num_rows <= LABEL_ROWS:
        estimator.labels_ = joined_labels(assigned)
    else:
        left_out = f"labels_ is left out above {LABEL_ROWS:,} rows; predict gives them."
        fitting.report.why = f"{fitting.report.why} {left_out}".strip()


def float_type(view: View) -> Any:
    """The float type in which scikit-learn would see X: float32 where all of X is that narrow."""
    if view.steps:
        return np.float64
    kinds = [view.dataset.full_schema.field(f).type for f in view.features]
    sample = surrogate(view, [[False] if pa.types.is_boolean(kind) else [0] for kind in kinds])
    return check_array(sample, dtype=[np.float64, np.float32]).dtype
