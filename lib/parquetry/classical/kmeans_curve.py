"""kmeans_curve: k-means for several numbers of clusters in the same passes, to choose one by a curve."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.pipeline import Pipeline

from parquetry.classical.kmeans import (
    look,
    number_of_starts,
    require_room,
    require_rows,
    rows_alone,
    set_clusters,
    tolerance,
)
from parquetry.classical.lloyd import Assign, Run, lloyd
from parquetry.classical.seeding import Draw, Start, candidates, clustered, seeds
from parquetry.dataset import Dataset
from parquetry.engine import Engine, borrowed_engine, parse_bytes
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers
from parquetry.fit_checks import check_picklable, check_view, make_view
from parquetry.fitting import Fitting, Pass, drive
from parquetry.view import View


@dataclass(frozen=True)
class KMeansCurve:
    """k-means by the number of clusters.

    Attributes
    ----------
    ks : tuple of int
        Numbers of clusters, ascending.
    inertia : tuple of float
        Of the best run for each.
    calinski_harabasz : tuple of float
        The same clusterings' ratio of dispersion between clusters to that within, about their centers;
        higher is better. NaN for one cluster. Rows count by their weight.
    elbow : int
        The number of clusters where the curve of the inertia bends most: farthest below the line
        between its ends. V. Satopää et al., "Finding a 'kneedle' in a haystack", ICDCSW (2011).
    models : dict of int to estimator
        Fitted; ``labels_`` is left out.
    """

    ks: tuple[int, ...]
    inertia: tuple[float, ...]
    calinski_harabasz: tuple[float, ...]
    elbow: int
    models: dict[int, Any]


def kmeans_curve(
    estimator: Any,
    data: Dataset | str | os.PathLike[str],
    ks: Sequence[int] = range(2, 11),
    *,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    engine: Engine | str | None = None,
    memory: str | int | None = None,
) -> KMeansCurve:
    """Fit k-means for several numbers of clusters; all of them, and all their starts, share the passes.

    Parameters
    ----------
    estimator : KMeans, or a Pipeline that ends in one
        Its ``n_clusters`` does not matter. Steps before it are fitted once.
    data : Dataset, path or URL
    ks : sequence of int, default 2 to 10
    features : sequence of str, default None
        The columns of X, in order; None for all but the weight.
    sample_weight, engine, memory
        As ``fit`` takes them.

    Returns
    -------
    KMeansCurve

    Raises
    ------
    BadParameter
        The estimator is no KMeans, its ``init`` is an array or a function, or ``ks`` makes no sense.
    """
    view = make_view(data, target=None, features=features, sample_weight=sample_weight)
    wanted = _checked_ks(ks)
    model = clone(estimator)
    _require_kmeans(model.steps[-1][1] if isinstance(model, Pipeline) else model)
    check_view(view, model)
    check_picklable(model)
    with borrowed_engine(engine) as running:
        fitting = Fitting(running.memory if memory is None else parse_bytes(memory))
        found: KMeansCurve = drive(_curve(model, view, fitting, wanted), running, verb="curve")
    return found


def _checked_ks(ks: Sequence[int]) -> tuple[int, ...]:
    wanted = tuple(sorted({int(k) for k in ks}))
    if not wanted or wanted[0] < 1:
        raise BadParameter(f"kmeans_curve: ks={list(ks)} are no numbers of clusters.", fix="Pass range(2, 11), say.")
    return wanted


def _require_kmeans(estimator: Any) -> None:
    name = type(estimator).__name__
    if type(estimator) is not KMeans:
        raise BadParameter(f"kmeans_curve: {name} is no KMeans.", fix="Pass KMeans(), or a Pipeline that ends in it.")
    checked(estimator, estimator._validate_params)
    if not isinstance(estimator.init, str):
        raise BadParameter(
            "kmeans_curve: given centers are for one number of clusters.", fix="Pass init='k-means++' or 'random'."
        )


def _curve(
    model: Any, view: View, fitting: Fitting, ks: tuple[int, ...]
) -> Generator[list[Any], list[Any], KMeansCurve]:
    before: list[tuple[str, Any]] = []
    last = model
    if isinstance(model, Pipeline):
        for name, step in model.steps[:-1]:
            fitted = step if step in (None, "passthrough") else (yield from fitting.step(step, view, name))
            before.append((name, fitted))
            view = view.through(fitted)
        last = model.steps[-1][1]
    found, total, rows = yield from _runs(last, rows_alone(view), fitting, ks)
    models = {}
    for k, kmeans in found.items():
        models[k] = Pipeline([*before, (model.steps[-1][0], kmeans)]) if before else kmeans
    inertia = tuple(kmeans.inertia_ for kmeans in found.values())
    scores = tuple(_calinski_harabasz(value, total, rows, k) for k, value in zip(ks, inertia, strict=True))
    return KMeansCurve(ks, inertia, scores, elbow(ks, inertia), models)


def _runs(
    kmeans: Any, view: View, fitting: Fitting, ks: tuple[int, ...]
) -> Generator[list[Any], list[Any], tuple[dict[int, Any], float, float]]:
    """A fitted KMeans for each k, the inertia of one cluster for all rows, and the rows' weight."""
    who, most = "KMeans", ks[-1]
    require_numbers(kmeans, view)
    require_rows(who, view, "k", most)
    n_init = number_of_starts(kmeans)
    require_room(who, view, sum(ks) * n_init, fitting.memory)
    # One set of candidates a start does for every k: the first k rows of a random draw are one, too.
    starts = [Start(seed, most, salt="curve") for seed in seeds(kmeans.random_state, n_init)]
    random = kmeans.init == "random"
    draws = [Draw(f"curve-{s.seed}", most) if random else s.draw(0) for s in starts]
    geometry, moments, drawn = yield from look(who, view, draws)
    if random:
        runs = [[Run(top.dense[:k]) for top in drawn] for k in ks]
    else:
        for start, top in zip(starts, drawn, strict=True):
            start.take(top)
        cells = yield from candidates(geometry, starts)
        runs = [[Run(clustered(c, k, s.seed)) for c, s in zip(cells, starts, strict=True)] for k in ks]
    flat = [run for group in runs for run in group]
    yield from lloyd(geometry, flat, tol=tolerance(moments, kmeans.tol), max_iter=kmeans.max_iter)
    # One cluster more, about the weighted mean: its inertia is what the others divide up.
    whole = Run(_whole(flat[0]))
    (assigned,) = yield [Pass(Assign(geometry, [*flat, whole], labels=False), view)]
    fitted = {}
    for i, k in enumerate(ks):
        group = assigned[i * n_init : (i + 1) * n_init]
        best = int(np.argmin([float(one.inertia.sum()) for one in group]))
        fitted[k] = clone(kmeans).set_params(n_clusters=k)
        fitted[k]._tol, fitted[k]._n_init, fitted[k]._algorithm = tolerance(moments, kmeans.tol), n_init, "lloyd"
        set_clusters(fitted[k], geometry, runs[i][best], group[best])
    return fitted, float(assigned[-1].inertia.sum()), _weight(flat[0])


def _whole(run: Run) -> Any:
    sums = np.asarray(run.sums).sum(axis=0)
    return sums[None, :-1] / sums[-1]


def _weight(run: Run) -> float:
    return float(np.asarray(run.sums)[:, -1].sum())


def _calinski_harabasz(inertia: float, total: float, weight: float, k: int) -> float:
    if k == 1 or inertia == 0:
        return float("nan")
    return (total - inertia) / (k - 1) * (weight - k) / inertia


def elbow(ks: Sequence[int], inertia: Sequence[float]) -> int:
    """The k at which the curve lies farthest below the line between its ends; the first of equals."""
    x, y = np.asarray(ks, dtype=float), np.asarray(inertia, dtype=float)
    wide, high = max(x[-1] - x[0], 1.0), y[0] - y[-1]
    if high <= 0:
        return int(ks[0])
    return int(ks[int(np.argmax((x[-1] - x) / wide - (y - y[-1]) / high))])
