"""LogisticRegressionCV: all penalties and folds searched in the same passes."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegressionCV

from parquetry.classical.folds import row_folds, splits_by_row
from parquetry.classical.logistic import CALLBACKS, classes_of, form_of, set_coefficients, warn_of_trouble
from parquetry.classical.logistic_ground import Ground, prepared
from parquetry.classical.logistic_penalty import Terms
from parquetry.classical.logistic_settled import settled
from parquetry.classical.logistic_solver import Found
from parquetry.classical.logistic_sums import chunks
from parquetry.errors import BadParameter
from parquetry.features.surrogate import set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_SCORINGS = {"warn": "accuracy", None: "accuracy", "accuracy": "accuracy", "neg_log_loss": "neg_log_loss"}
_EPSILON = float(np.finfo(np.float64).eps)  # scikit-learn's floor in its log loss


@fitter(
    LogisticRegressionCV,
    passes="about 10 for all penalties and folds together",
    exact="same optima to 1e-6",
    matrices=True,
    single_node="cv other than a number, KFold or StratifiedKFold without shuffle; scoring other than accuracy "
    "or neg_log_loss; callbacks",
)
def fit_logistic_regression_cv(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Logistic regression with ``C`` (and ``l1_ratio``) chosen by cross-validation.

    Every model of the grid leaves out its fold within the passes that all share: as columns of one
    matrix product. Each reaches its own optimum, so paths and scores are those of scikit-learn with
    a tight ``tol``; ``n_iter_`` counts a model's passes. The last model is refitted from the mean of
    its folds' models. Objective, ``tol`` and ``max_iter`` are as for ``LogisticRegression``.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.LogisticRegressionCV.html
    """
    why = _not_by_row(estimator)
    if why:
        return (yield from fitting.gather(estimator, view, why))
    stand_in = settled(estimator, view, cv=2, Cs=1, n_jobs=None)
    grid = _grid_of(estimator)
    classes, weighted, seen = yield from classes_of(estimator, view)
    folds = yield from row_folds(estimator, seen, estimator.cv, n_classes=len(classes.values))
    lasso = any(t.l1_ratio > 0 for t in grid.terms)
    ground = yield from prepared(form_of(estimator), seen, classes, weighted, fitting, lasso=lasso, folds=folds)
    terms = [Terms(t.c, t.l1_ratio, fold) for fold in range(folds.count) for t in grid.terms]
    found = yield from _solved(ground, grid, terms)
    warn_of_trouble(type(estimator).__name__, found)
    paths = _Paths(ground, grid, terms, found)
    scores = yield from _scored(ground, terms, found, _SCORINGS[estimator.scoring])
    paths.scores = scores.reshape(folds.count, len(grid.l1_ratios), len(grid.cs))
    estimator.classes_ = classes.values
    best = yield from _refitted(estimator, paths) if estimator.refit else _averaged(estimator, paths)
    set_coefficients(estimator, *best, like=stand_in)
    _set_paths(estimator, paths)
    set_inputs(estimator, view)
    return estimator


@dataclass(frozen=True)
class Grid:
    """The penalties that are tried.

    Parameters
    ----------
    cs : ndarray of shape (n_cs,)
    l1_ratios : sequence
        As given; ``[None]`` where none were.
    given : bool
        Whether they were.
    terms : tuple of Terms
        ``C`` runs fastest.
    """

    cs: Any
    l1_ratios: Sequence[Any]
    given: bool
    terms: tuple[Terms, ...]


class _Paths:
    """All models of the grid, in arrays by fold, L1 ratio and C."""

    def __init__(self, ground: Ground, grid: Grid, terms: Sequence[Terms], found: Sequence[Found]) -> None:
        self.ground, self.grid = ground, grid
        each = len(grid.l1_ratios) * len(grid.cs)
        shape = (len(terms) // each, len(grid.l1_ratios), len(grid.cs))
        flat = [ground.original(f, t) for f, t in zip(found, terms, strict=True)]
        both = [np.column_stack([c, b]) if ground.form.intercept else c for c, b in flat]
        self.coefs = np.stack(both).reshape(*shape, ground.rows, both[0].shape[1])
        self.points = np.stack([f.point for f in found]).reshape(*shape, -1)
        self.iterations = np.array([f.iterations for f in found], dtype=np.int32).reshape(shape)
        self.scores: FloatArray = np.zeros(0)


def _not_by_row(estimator: Any) -> str:
    """Why the fit needs all rows at one place; "" where it does not."""
    if getattr(estimator, "_skl_callbacks", None):
        return CALLBACKS
    if not splits_by_row(estimator.cv):
        return f"cv={estimator.cv!r} deals out rows in a way that only all of them together show."
    if callable(estimator.scoring) or estimator.scoring not in _SCORINGS:
        return f"scoring={estimator.scoring!r} is no sum over rows."
    return ""


def _grid_of(estimator: Any) -> Grid:
    """The grid, as scikit-learn reads ``penalty``, ``Cs`` and ``l1_ratios``."""
    cs = np.logspace(-4, 4, estimator.Cs) if isinstance(estimator.Cs, int | np.integer) else np.asarray(estimator.Cs)
    if cs.ndim != 1 or not len(cs) or not (cs > 0).all():
        raise BadParameter(f"{type(estimator).__name__}: Cs={estimator.Cs!r} must be positive numbers.")
    given = estimator.l1_ratios is not None and not isinstance(estimator.l1_ratios, str)
    l1_ratios = list(estimator.l1_ratios) if given else [None]
    fixed = {"l1": 1.0, "l2": 0.0}.get(estimator.penalty)
    terms = [Terms(float(c), float(r or 0.0) if fixed is None else fixed) for r in l1_ratios for c in cs]
    return Grid(cs, l1_ratios, given, tuple(terms))


def _solved(ground: Ground, grid: Grid, terms: Sequence[Terms]) -> Generator[list[Any], list[Any], list[Found]]:
    """Every model's search, as many at once as the memory holds; folds share where they start."""
    starts = ground.starts(grid.terms)
    found: list[Found] = []
    step = ground.most_at_once()
    for first in range(0, len(terms), step):
        group = range(first, min(first + step, len(terms)))
        searching = ground.solve([terms[i] for i in group], [starts[i % len(starts)][:1] for i in group])
        found += yield from searching
    return found


def _scored(
    ground: Ground, terms: Sequence[Terms], found: Sequence[Found], scoring: str
) -> Generator[list[Any], list[Any], FloatArray]:
    points = np.stack([f.point for f in found]).reshape(len(found), ground.rows, -1)
    held_out = np.array([t.fold for t in terms])
    (sums,) = yield [Pass(HeldOutScores(ground.scale.cached(points), held_out, scoring), ground.view)]
    scores: FloatArray = sums[0] / sums[1]
    return scores


class HeldOutScores(Reduction[FloatArray, FloatArray]):
    """Each model's score on the fold that it has not seen: sums of scores and of weights, ``(2, n_models)``.

    Parameters
    ----------
    coefs : ndarray of shape (n_models, n_rows_of_coefs, n_features + 1)
    held_out : ndarray of int of shape (n_models,)
    scoring : {"accuracy", "neg_log_loss"}
    """

    label = "held-out-scores"

    def __init__(self, coefs: FloatArray, held_out: Any, scoring: str) -> None:
        self.coefs, self.held_out, self.scoring = np.ascontiguousarray(coefs), held_out, scoring

    def partial(self, batch: Any) -> FloatArray:
        models, rows, width = self.coefs.shape
        sums = np.zeros((2, models))
        for chunk in chunks(batch, width + 2 * models * rows, weights=_score_weights(batch)):
            weights = np.ones(len(chunk.codes)) if chunk.weights is None else chunk.weights
            for fold in np.unique(chunk.folds):
                own, here = np.flatnonzero(self.held_out == fold), np.flatnonzero(chunk.folds == fold)
                part = chunk.take(here)
                scores = part.scores(self.coefs[own].reshape(-1, width)).reshape(len(own), rows, -1)
                # A matrix product's rounding differs by the model's place: equal scores must stay equal.
                sums[0, own] += (self._scores(scores, part.codes.astype(np.intp)) * weights[here]).sum(axis=-1)
                sums[1, own] += weights[here].sum()
        return sums

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return left + right

    def _scores(self, scores: FloatArray, codes: Any) -> FloatArray:
        """Each row's share in the score, shape ``(n_models, n_rows)``."""
        if self.scoring == "accuracy":
            chosen = scores[:, 0] > 0 if scores.shape[1] == 1 else scores.argmax(axis=1)
            return np.asarray(chosen == codes, dtype=np.float64)
        if scores.shape[1] == 1:
            share = 1.0 / (1.0 + np.exp(np.minimum((1.0 - 2.0 * codes) * scores[:, 0], 700.0)))
        else:
            powers = np.exp(scores - scores.max(axis=1, keepdims=True))
            share = powers[:, codes, np.arange(len(codes))] / powers.sum(axis=1)
        return np.asarray(np.log(np.clip(share, _EPSILON, 1.0 - _EPSILON)))


def _score_weights(batch: Any) -> Any:
    """The sample weights; class weights are for fitting alone."""
    arrays = batch.arrays
    return arrays.get("score_w", None if batch.view.weight_step is not None else arrays.get("w"))


def _refitted(estimator: Any, paths: _Paths) -> Generator[list[Any], list[Any], tuple[FloatArray, FloatArray]]:
    """The model of all rows with the penalty of the best mean score."""
    ground, grid = paths.ground, paths.grid
    # scikit-learn's order: of equal scores the first C counts, and its first L1 ratio.
    by_c = paths.scores.sum(axis=0).T
    c, ratio = np.unravel_index(np.argmax(by_c), by_c.shape)
    terms = grid.terms[int(ratio) * len(grid.cs) + int(c)]
    start = paths.points[:, ratio, c].mean(axis=0)
    if ground.form.intercept_scaling is not None:
        # scikit-learn leaves intercept_scaling out of its last fit; so it is 1 there.
        ground = replace(ground, form=replace(ground.form, intercept_scaling=1.0))
    (found,) = yield from ground.solve([terms], [(start,)])
    warn_of_trouble(type(estimator).__name__, [found])
    estimator.C_, estimator.l1_ratio_ = [grid.cs[c]], [grid.l1_ratios[int(ratio)]]
    return ground.original(found, terms)


def _averaged(estimator: Any, paths: _Paths) -> Generator[list[Any], list[Any], tuple[FloatArray, FloatArray]]:
    """The mean of each fold's best model."""
    yield from ()
    grid, rows = paths.grid, paths.ground.rows
    by_c = np.swapaxes(paths.scores, 1, 2)
    best = [np.unravel_index(np.argmax(s), s.shape) for s in by_c]
    mean = np.mean([paths.coefs[i, ratio, c] for i, (c, ratio) in enumerate(best)], axis=0)
    estimator.C_ = [np.mean([grid.cs[c] for c, _ in best])]
    mixed = estimator.penalty == "elasticnet" or (estimator.penalty == "deprecated" and _is_mixed(grid))
    estimator.l1_ratio_ = [np.mean([grid.l1_ratios[int(ratio)] for _, ratio in best]) if mixed else 0.0]
    return (mean[:, :-1], mean[:, -1]) if paths.ground.form.intercept else (mean, np.zeros(rows))


def _is_mixed(grid: Grid) -> bool:
    """Whether scikit-learn calls the penalty an elastic net."""
    ratios = np.asarray([t.l1_ratio for t in grid.terms])
    return not ((ratios == 0).all() or (ratios == 1).all())


def _set_paths(estimator: Any, paths: _Paths) -> None:
    """Set scores, paths and choices in scikit-learn's shapes, those of its legacy or those to come."""
    grid, legacy = paths.grid, estimator.use_legacy_attributes
    estimator.Cs_ = grid.cs
    estimator.l1_ratios_ = np.asarray(grid.l1_ratios)
    if not legacy:
        estimator.C_, ratio = float(estimator.C_[0]), estimator.l1_ratio_[0]
        fixed = 1.0 if estimator.penalty == "l1" else 0.0
        estimator.l1_ratio_ = float(ratio) if grid.given else fixed
        estimator.coefs_paths_, estimator.scores_, estimator.n_iter_ = paths.coefs, paths.scores, paths.iterations
        return
    rows = paths.ground.rows
    estimator.C_, estimator.l1_ratio_ = (np.tile(v, rows) for v in (estimator.C_, estimator.l1_ratio_))
    drop = 0 if not grid.given else slice(None)
    # By fold, C and L1 ratio; the last one only where ratios were given.
    coefs = np.moveaxis(paths.coefs, (3, 0, 2, 1), (0, 1, 2, 3))[:, :, :, drop]
    scores = np.swapaxes(paths.scores, 1, 2)[:, :, drop]
    named = estimator.classes_[-rows:]
    estimator.coefs_paths_ = dict(zip(named, coefs, strict=True))
    estimator.scores_ = {k: scores.copy() for k in named}
    estimator.n_iter_ = np.swapaxes(paths.iterations, 1, 2)[None][:, :, :, drop]
