"""GaussianMixture: expectation-maximization over all rows, a pass an iteration."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.cluster import kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.mixture._gaussian_mixture import _compute_precision_cholesky, _compute_precision_cholesky_from_precisions

from parquetry.classical.em import Gaussians, Lots, Nearest, SharedSums, ShareSums, Sharing, maximized
from parquetry.classical.kmeans import float_type, look, require_rows, rows_alone, tolerance
from parquetry.classical.lloyd import Geometry, Run, lloyd
from parquetry.classical.seeding import Draw, Start, candidates, clustered, seeds
from parquetry.classical.top_rows import TopRows
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import MomentsState
from parquetry.reduction import FAN_IN
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_KMEANS_TOL, _KMEANS_ITER = 1e-4, 300  # KMeans' own defaults, with which scikit-learn starts


@fitter(
    GaussianMixture,
    passes="1 an iteration, and those of its start (kmeans: those of KMeans)",
    exact="1e-6 from the same start; starts are drawn by hash",
    matrices=True,
)
def fit_gaussian_mixture(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """A mixture of Gaussians by expectation-maximization: scikit-learn's steps, stopping rule and attributes.

    From given ``weights_init``, ``means_init`` and ``precisions_init`` the steps are scikit-learn's own,
    with less rounding: rows are centered. Other starts draw rows by a hash of their place instead of by
    a random generator: ``init_params="kmeans"`` starts from :class:`~sklearn.cluster.KMeans` as it is
    fitted here, ``"k-means++"`` from rows drawn by k-means||, ``"random_from_data"`` from uniformly drawn
    rows, ``"random"`` from hashed shares. All ``n_init`` runs share the passes.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.mixture.GaussianMixture.html
    """
    who = "GaussianMixture"
    _check(who, estimator, view, fitting)
    view = rows_alone(view)
    starting = _Starting(estimator)
    geometry, moments, drawn = yield from look(who, view, starting.first_draws())
    runs = yield from starting.runs(geometry, moments, drawn)
    if estimator.max_iter:
        yield from _iterated(estimator, geometry, runs)
    _set_mixture(estimator, geometry, runs)
    return estimator


@dataclass
class _Mixture:
    """One run: the present parameters, and how the bound has risen."""

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray | None
    cholesky: FloatArray
    bounds: list[Any] = field(default_factory=list)
    converged: bool = False

    @property
    def bound(self) -> Any:
        return self.bounds[-1] if self.bounds else -np.inf


def _check(who: str, estimator: Any, view: View, fitting: Fitting) -> None:
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    if view.sample_weight is not None:
        raise BadParameter(f"{who} takes no sample weights.", fix="Leave sample_weight out.")
    if is_sparse(view):
        raise BadParameter(f"{who} takes no sparse X.", fix="Put a TruncatedSVD before it.")
    require_rows(who, view, "n_components", max(2, estimator.n_components))
    width = view.width
    checked(estimator, lambda: estimator._check_parameters(np.zeros((1, width)), xp=np))
    if estimator.max_iter == 0 and estimator.precisions_init is not None:
        raise BadParameter(f"{who}: precisions_init with max_iter=0 leaves no covariances.", fix="Raise max_iter.")
    size = 8 * estimator.n_init * estimator.n_components * width
    size *= width if estimator.covariance_type == "full" else 1
    if size * FAN_IN > fitting.memory:
        raise TooBigForOneNode(
            f"{who}: {estimator.n_components:,} covariances of {width:,} features take {size / 2**30:.2f} GiB, and "
            f"{FAN_IN} sets of them meet in a merge; {fitting.memory / 2**30:.2f} GiB are allowed.",
            fix="Use covariance_type='diag', fewer features (PCA), or allow more with memory=.",
        )


def _iterated(estimator: Any, geometry: Geometry, runs: list[_Mixture]) -> Generator[list[Any], list[Any], None]:
    kind, rows = estimator.covariance_type, geometry.view.dataset.num_rows
    active = runs
    while active:
        sharings = [Gaussians(kind, run.weights, run.means, run.cholesky) for run in active]
        (found,) = yield [Pass(SharedSums(geometry.mean, kind, sharings), geometry.view)]
        for run, sharing, sums in zip(active, sharings, found, strict=True):
            new = maximized(kind, sums, sharing.centers, geometry.mean, estimator.reg_covar)
            run.weights, run.means, run.covariances = new.weights / new.weights.sum(), new.means, new.covariances
            run.cholesky = _cholesky(estimator, new.covariances)
            bound = np.float64(sums.likelihood / rows)
            run.converged = bool(abs(bound - run.bound) < estimator.tol)
            run.bounds.append(bound)
        active = [run for run in active if not run.converged and len(run.bounds) < estimator.max_iter]


def _cholesky(estimator: Any, covariances: FloatArray) -> FloatArray:
    found = checked(estimator, lambda: _compute_precision_cholesky(covariances, estimator.covariance_type))
    return np.asarray(found)


def _set_mixture(estimator: Any, geometry: Geometry, runs: Sequence[_Mixture]) -> None:
    best = runs[0]
    for run in runs[1:]:
        if run.bound > best.bound:
            best = run
    if not best.converged and estimator.max_iter:
        last = best.bounds[-1] - best.bounds[-2] if len(best.bounds) > 1 else np.inf
        warnings.warn(
            f"Best performing initialization did not converge: the last of {len(best.bounds)} iterations still "
            f"changed the lower bound by {last:.3g}, and tol={estimator.tol}. Try different init parameters, or "
            "increase max_iter, tol, or check for degenerate data.",
            ConvergenceWarning,
            stacklevel=2,
        )
    given = (estimator.weights_init, estimator.means_init, estimator.precisions_init)
    own = float_type(geometry.view)
    wide = np.result_type(own, *[part.dtype for part in given if part is not None])
    # scikit-learn keeps full covariances in X's own type, whatever was given.
    square = own if estimator.covariance_type == "full" else wide
    middle, spread = (best.weights, best.means + geometry.mean), (best.covariances, best.cholesky)
    parts = [*(part.astype(wide) for part in middle), *(np.asarray(part).astype(square) for part in spread)]
    estimator._set_parameters(tuple(parts))
    set_inputs(estimator, geometry.view)
    estimator.converged_ = best.converged
    estimator.n_iter_ = len(best.bounds)
    estimator.lower_bound_, estimator.lower_bounds_ = best.bound, best.bounds


# --- the start ----------------------------------------------------------------------------------
class _Starting:
    """The first parameters of each run."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator
        self.how, self.count, self.kind = estimator.init_params, estimator.n_components, estimator.covariance_type
        given = (estimator.weights_init, estimator.means_init, estimator.precisions_init)
        self.complete = all(part is not None for part in given)
        self.seeds = seeds(estimator.random_state, estimator.n_init)
        self.starts = [Start(seed, self.count, salt="mixture") for seed in self.seeds]

    def first_draws(self) -> list[Draw]:
        """What the first pass draws."""
        if self.complete or self.how == "random":
            return []
        if self.how == "random_from_data":
            return [Draw(f"mixture-{seed}", self.count) for seed in self.seeds]
        return [start.draw(0) for start in self.starts]

    def runs(
        self, geometry: Geometry, moments: MomentsState, drawn: list[TopRows]
    ) -> Generator[list[Any], list[Any], list[_Mixture]]:
        """The runs, in as many passes as their start takes."""
        if self.complete:
            return [self._run(None, geometry.mean)]  # every start would be the same
        if self.how == "random":
            zeros = np.zeros((self.count, geometry.view.width))
            return (yield from self._by_shares(geometry, [Lots(f"mixture-{seed}", zeros) for seed in self.seeds]))
        if self.how == "random_from_data":
            return (yield from self._by_rows(geometry, [top.dense for top in drawn]))
        for start, top in zip(self.starts, drawn, strict=True):
            start.take(top)
        cells = yield from candidates(geometry, self.starts)
        if self.how == "k-means++":
            return (
                yield from self._by_rows(
                    geometry, [self._chosen(s, c) for s, c in zip(self.starts, cells, strict=True)]
                )
            )
        runs = [Run(clustered(c, self.count, s.seed)) for c, s in zip(cells, self.starts, strict=True)]
        yield from lloyd(geometry, runs, tol=tolerance(moments, _KMEANS_TOL), max_iter=_KMEANS_ITER)
        return (yield from self._by_shares(geometry, [Nearest(run.centers) for run in runs]))

    def _chosen(self, start: Start, cells: FloatArray) -> FloatArray:
        """Rows among the candidates, by k-means++ weighted with the candidates' cells."""
        known = np.asarray(start.candidates)
        if len(known) <= self.count:
            return np.resize(known, (self.count, known.shape[1]))
        rows, _ = kmeans_plusplus(known, self.count, sample_weight=cells[:, -1], random_state=start.seed)
        return np.asarray(rows)

    def _by_shares(
        self, geometry: Geometry, sharings: Sequence[Sharing]
    ) -> Generator[list[Any], list[Any], list[_Mixture]]:
        (found,) = yield [Pass(SharedSums(geometry.mean, self.kind, sharings), geometry.view)]
        rows, runs = geometry.view.dataset.num_rows, []
        for sharing, sums in zip(sharings, found, strict=True):
            new = maximized(self.kind, sums, sharing.centers, geometry.mean, self.estimator.reg_covar)
            runs.append(self._run(replace(new, weights=new.weights / rows), geometry.mean))
        return runs

    def _by_rows(self, geometry: Geometry, chosen: list[FloatArray]) -> Generator[list[Any], list[Any], list[_Mixture]]:
        """Each component begins with one row: its share of all rows is tiny, its variance is ``reg_covar``."""
        second = None
        if self.kind == "tied":
            # scikit-learn's tied covariance counts the products of all rows, whatever their shares.
            zeros = np.zeros((self.count, geometry.view.width))
            ((sums,),) = yield [Pass(SharedSums(geometry.mean, "tied", [Lots("", zeros)]), geometry.view)]
            second = sums.second
        return [self._from_rows(geometry, rows, second) for rows in chosen]

    def _from_rows(self, geometry: Geometry, rows: FloatArray, second: FloatArray | None) -> _Mixture:
        count, width = rows.shape
        n_rows, mean = geometry.view.dataset.num_rows, geometry.mean
        ones = np.ones(count)
        if second is not None:
            raw = second + n_rows * np.outer(mean, mean)
            sums = ShareSums(0.0, ones, rows + mean, raw)
            new = maximized("tied", sums, rows, np.zeros(width), self.estimator.reg_covar)
            new = replace(new, means=new.means - mean)
        else:
            squares = np.zeros((count, width, width)) if self.kind == "full" else rows * rows
            first = np.zeros((count, width)) if self.kind == "full" else rows
            new = maximized(self.kind, ShareSums(0.0, ones, first, squares), rows, mean, self.estimator.reg_covar)
        return self._run(replace(new, weights=new.weights / n_rows), mean)

    def _run(self, found: Any, mean: FloatArray) -> _Mixture:
        """A run from what was found (Parameters, or None) and what was given, which has precedence."""
        given = self.estimator
        if given.precisions_init is not None:
            cholesky = _compute_precision_cholesky_from_precisions(given.precisions_init, self.kind, xp=np)
        else:
            cholesky = _cholesky(given, found.covariances)
        weights = given.weights_init if given.weights_init is not None else found.weights
        means = given.means_init - mean if given.means_init is not None else found.means
        return _Mixture(weights, means, None if found is None else found.covariances, cholesky)
