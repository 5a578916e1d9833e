"""Least squares on Gram matrices: LinearRegression and Ridge, usually in one pass.

A Gram matrix squares the condition number. Where that would cost digits, the solution is
refined: another pass computes the gradient at the solution and the same factors give the
correction (corrected semi-normal equations: Björck, "Stability analysis of the method of
semi-normal equations", 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.linear_model import LinearRegression, Ridge

from parquetry.classical.gram import Gram, GramState, is_sparse, split_columns
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.reduction import FAN_IN, Reduction
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View

_REFINE_ABOVE = 1e6  # squared condition number: below it a pass leaves less than 1e-9 of error
_MAX_REFINEMENTS = 4
_REFINED = 1e-13  # relative size of a correction after which no digit is left to gain

Solver = Callable[[FloatArray], FloatArray]


@fitter(
    LinearRegression,
    passes="1 (up to 5 if ill-conditioned)",
    exact="same solution to 1e-9",
    matrices=True,
    single_node="positive=True",
)
def fit_linear_regression(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ordinary least squares: the minimum-norm solution with scikit-learn's own cut-off ``tol``.

    ``singular_`` comes from the Gram matrix: exact to 1e-8 of the largest singular value.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.LinearRegression.html
    """
    estimator._validate_params()
    if estimator.positive:
        return (yield from fitting.gather(estimator, view, "positive=True needs non-negative least squares."))
    gram = yield from _gram(estimator, view, fitting, centered=estimator.fit_intercept)
    width = view.width
    values, vectors = linalg.eigh(gram.products[:width, :width])
    kept = _kept(values, estimator.tol)

    def solve(right: FloatArray) -> FloatArray:
        return np.asarray(vectors[:, kept] @ ((vectors[:, kept].T @ right) / values[kept, None]))

    condition = float(values[-1] / values[kept].min()) if kept.any() else 1.0
    coef = yield from _solved(solve, gram, view, condition, np.zeros(len(view.target)))
    estimator.singular_ = np.sqrt(np.clip(values[::-1][: min(width, gram.rows)], 0.0, None))
    estimator.rank_ = int(np.count_nonzero(kept))
    _set_solution(estimator, view, gram, coef)
    return estimator


@fitter(
    Ridge,
    passes="1 (up to 5 if ill-conditioned)",
    exact="same solution to 1e-9",
    matrices=True,
    single_node="positive=True",
)
def fit_ridge(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge regression: minimizes ``||y - Xw||² + alpha ||w||²``, a penalty for all or one a target.

    Every solver name is accepted; all reach the one optimum, which is computed in closed form.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.Ridge.html
    """
    estimator._validate_params()
    if estimator.positive:
        return (yield from fitting.gather(estimator, view, "positive=True needs a bounded solver."))
    if estimator.solver == "lbfgs":
        raise BadParameter("Ridge(solver='lbfgs') works with positive=True only.", fix="Use solver='auto'.")
    alphas = _penalties(estimator.alpha, len(view.target))
    gram = yield from _gram(estimator, view, fitting, centered=True)
    solve, condition, complete = _ridge_solver(gram.products[: view.width, : view.width], alphas)
    if estimator.fit_intercept:
        coef = yield from _solved(solve, gram, view, condition, alphas)
    elif complete:
        coef = _through_origin(solve, gram, alphas, view.width)
    else:
        coef = _shortest_through_origin(gram, alphas, view.width)
    estimator.n_iter_ = None
    estimator.solver_ = "cholesky" if estimator.solver == "auto" else estimator.solver
    _set_solution(estimator, view, gram, coef)
    return estimator


class Gradient(Reduction[FloatArray, FloatArray]):
    """``X'W(y - Xw - b)`` at a given solution, every column centered by its mean over all rows.

    Parameters
    ----------
    coef : ndarray of shape (n_features, n_targets)
    mean : ndarray of shape (n_features + n_targets,)
        What Gram found; zeros where no intercept is fitted.
    """

    label = "refinement"

    def __init__(self, coef: FloatArray, mean: FloatArray) -> None:
        self.coef, self.mean = coef, mean

    def partial(self, batch: Batch) -> FloatArray:
        if is_sparse(batch):
            return self._sparse(batch)
        x = np.stack(batch.floats) - self.mean[: len(self.coef), None]
        return np.asarray(x @ self._residual(batch, self.coef.T @ x).T)

    def _sparse(self, batch: Batch) -> FloatArray:
        """The same without filling the gaps: ``X'r - mean * sum(r)``, and full columns like dense ones."""
        split = split_columns(batch.matrix)
        coef, mean = self.coef[split.sparse_at], self.mean[split.sparse_at]
        full = split.full - self.mean[split.full_at, None]
        fitted = (split.sparse @ coef).T - (mean @ coef)[:, None] + self.coef[split.full_at].T @ full
        residual = self._residual(batch, fitted)
        gradient = np.empty_like(self.coef)
        gradient[split.sparse_at] = split.sparse.T @ residual.T - np.outer(mean, residual.sum(axis=1))
        gradient[split.full_at] = full @ residual.T
        return gradient

    def _residual(self, batch: Batch, fitted: FloatArray) -> FloatArray:
        """Weighted, of shape ``(n_targets, n_rows)``."""
        residual = np.stack(batch.y_floats) - self.mean[len(self.coef) :, None] - fitted
        return residual if batch.weights is None else residual * batch.weights

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return left + right


def _gram(
    estimator: Any, view: View, fitting: Fitting, *, centered: bool
) -> Generator[list[Any], list[Any], GramState]:
    name = type(estimator).__name__
    view.require_numeric(estimator)
    size = 8 * (view.width + len(view.target) + 1) ** 2
    if size * FAN_IN > fitting.memory:
        raise TooBigForOneNode(
            f"{name}: {view.width:,} features need {size / 2**30:.2f} GiB for their Gram matrix, "
            f"and {FAN_IN} of them meet in a merge; {fitting.memory / 2**30:.2f} GiB are allowed.",
            why="Least squares holds all products of two features.",
            fix="Use fewer features (max_categories= of OneHotEncoder, PCA), or allow more with memory=.",
        )
    (gram,) = yield [Pass(Gram(name, shown_names(view), view.target, centered=centered), view)]
    return gram  # type: ignore[no-any-return]


def _ridge_solver(products: FloatArray, alphas: FloatArray) -> tuple[Solver, float, bool]:
    """``(products + alpha I)^-1`` for each target's alpha, its condition, and whether it is a true inverse."""
    values, vectors = linalg.eigh(products)
    # Without a penalty a direction that the data do not have gets the coefficient 0.
    usable = _kept(values, 0.0)[:, None] | (alphas[None, :] > 0)
    penalized = np.maximum(values, 0.0)[:, None] + alphas[None, :]
    scale = np.divide(1.0, penalized, out=np.zeros_like(penalized), where=usable)

    def solve(right: FloatArray) -> FloatArray:
        return np.asarray(vectors @ (scale * (vectors.T @ right)))

    condition = float((values[-1] + alphas.max()) / penalized[usable].min()) if usable.any() else 1.0
    return solve, condition, bool(usable.all())


def _through_origin(solve: Solver, gram: GramState, alphas: FloatArray, width: int) -> FloatArray:
    """Ridge without an intercept, from centered products: the mean enters by its rank-one update.

    Adding it to the products first would bury them where the mean is far from zero (Sherman &
    Morrison, 1950).
    """
    mean, target_mean = gram.mean[:width], gram.mean[width:]
    free = solve(gram.products[:width, width:])
    along = solve(np.repeat(mean[:, None], len(alphas), axis=1))
    update = gram.weight * (target_mean - mean @ free) / (1.0 + gram.weight * (mean @ along))
    return free + along * update


def _shortest_through_origin(gram: GramState, alphas: FloatArray, width: int) -> FloatArray:
    """The same where the centered products have no inverse: the solution of least norm."""
    mean, target_mean = gram.mean[:width], gram.mean[width:]
    solve, _, _ = _ridge_solver(gram.products[:width, :width] + gram.weight * np.outer(mean, mean), alphas)
    return solve(gram.products[:width, width:] + gram.weight * np.outer(mean, target_mean))


def _solved(
    solve: Solver, gram: GramState, view: View, condition: float, alphas: FloatArray
) -> Generator[list[Any], list[Any], FloatArray]:
    """Coefficients of shape ``(n_features, n_targets)``, refined where the condition asks for it."""
    width = view.width
    coef = solve(gram.products[:width, width:])
    for _ in range(_MAX_REFINEMENTS if condition > _REFINE_ABOVE else 0):
        (gradient,) = yield [Pass(Gradient(coef, gram.mean), view)]
        correction = solve(gradient - coef * alphas)
        coef = coef + correction
        if np.abs(correction).max() <= _REFINED * np.abs(coef).max():
            break
    return coef


def _kept(values: FloatArray, tol: float) -> Any:
    """Which eigenvalues count: singular values above ``tol`` of the largest, and above rounding."""
    if not len(values) or values[-1] <= 0:
        return np.zeros(len(values), dtype=bool)
    rounding = len(values) * np.finfo(float).eps
    return values > max(tol**2, rounding) * values[-1]


def _penalties(alpha: Any, n_targets: int) -> FloatArray:
    alphas = np.atleast_1d(np.asarray(alpha, dtype=np.float64)).ravel()
    if len(alphas) not in (1, n_targets):
        raise BadParameter(f"Ridge: {len(alphas)} penalties for {n_targets} targets.", fix="Pass one, or one a target.")
    return np.broadcast_to(alphas, (n_targets,)).copy()


def _set_solution(estimator: Any, view: View, gram: GramState, coef: FloatArray) -> None:
    width = view.width
    single = len(view.target) == 1
    estimator.n_features_in_ = width
    if view.names is not None:
        estimator.feature_names_in_ = np.asarray(view.names, dtype=object)
    estimator.coef_ = np.ascontiguousarray(coef[:, 0] if single else coef.T)
    if not estimator.fit_intercept:
        estimator.intercept_ = 0.0
        return
    intercept = gram.mean[width:] - gram.mean[:width] @ coef
    estimator.intercept_ = float(intercept[0]) if single else intercept
