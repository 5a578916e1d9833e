"""Least squares on Gram matrices: LinearRegression and Ridge, usually in one pass.

A Gram matrix squares the condition number. Where that would cost digits, the solution is
refined: another pass computes the gradient at the solution and the same factors give the
correction (corrected semi-normal equations: Björck, "Stability analysis of the method of
semi-normal equations", 1987).
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Protocol

import numpy as np
from scipy import linalg
from sklearn.linear_model import LinearRegression, Ridge

from parquetry.classical.gram import Gram, GramState, is_sparse, split_columns
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.moment_rows import fit_on_moments
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


class Targets(Protocol):
    """Targets that are made of a view's own targets on the way into a reduction."""

    @property
    def count(self) -> int:
        """How many there are."""

    def over(self, reduction: Reduction[Any, Any]) -> Reduction[Any, Any]:
        """The reduction, seeing these targets."""


@fitter(
    LinearRegression,
    passes="1 (up to 5 if ill-conditioned)",
    exact="same solution to 1e-9",
    matrices=True,
)
def fit_linear_regression(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ordinary least squares: the minimum-norm solution with scikit-learn's own cut-off ``tol``.

    ``singular_`` comes from the Gram matrix: exact to 1e-8 of the largest singular value.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.LinearRegression.html
    """
    estimator._validate_params()
    if estimator.positive:
        yield from _fit_positive(estimator, view, fitting)
    else:
        gram = yield from gram_of(estimator, view, fitting, centered=estimator.fit_intercept)
        yield from least_squares_of(estimator, gram, view)
    return in_linear_type(estimator, view)


def least_squares_of(estimator: Any, gram: GramState, view: View) -> Asking:
    """LinearRegression from a Gram state: centered, or raw where no intercept is fitted."""
    width = view.width
    products, no_penalty = gram.products[:width, :width], np.zeros(len(view.target))
    values, vectors = linalg.eigh(products)
    kept = _kept(values, estimator.tol)

    def shortest(right: FloatArray) -> FloatArray:
        return np.asarray(vectors[:, kept] @ ((vectors[:, kept].T @ right) / values[kept, None]))

    factored = _factored(products, no_penalty) if kept.all() else None
    condition = float(values[-1] / values[kept].min()) if kept.any() else 1.0
    solve, condition = factored or (shortest, condition)
    coef = yield from _solved(solve, gram, view, condition, no_penalty)
    estimator.singular_ = np.sqrt(np.clip(values[::-1][: min(width, gram.rows)], 0.0, None))
    estimator.rank_ = int(np.count_nonzero(kept))
    _set_solution(estimator, view, gram, coef)
    return estimator


@fitter(
    Ridge,
    passes="1 (up to 5 if ill-conditioned)",
    exact="same solution to 1e-9 (positive=True: the same steps)",
    matrices=True,
)
def fit_ridge(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge regression: minimizes ``||y - Xw||² + alpha ||w||²``, a penalty for all or one a target.

    Every solver name is accepted; all reach the one optimum, which is computed in closed form.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.Ridge.html
    """
    estimator._validate_params()
    penalties(estimator, len(view.target))
    if estimator.positive:
        yield from _fit_positive(estimator, view, fitting)
    else:
        gram = yield from gram_of(estimator, view, fitting)
        yield from ridge_of(estimator, gram, view)
    return in_linear_type(estimator, view)


def ridge_of(estimator: Any, gram: GramState, view: View) -> Asking:
    """Ridge from a centered Gram state."""
    alphas = penalties(estimator, len(view.target))
    coef = yield from ridge_coef(gram, view, alphas, fit_intercept=estimator.fit_intercept)
    estimator.n_iter_ = None
    estimator.solver_ = "cholesky" if estimator.solver == "auto" else estimator.solver
    _set_solution(estimator, view, gram, coef)
    return estimator


def _fit_positive(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Coefficients of 0 or more, by scikit-learn's own solver on moment rows."""
    gram = yield from gram_of(estimator, view, fitting)
    fit_on_moments(estimator, gram, view, per_row=False)
    return estimator


def ridge_coef(
    gram: GramState, view: View, alphas: FloatArray, *, fit_intercept: bool, targets: Targets | None = None
) -> Generator[list[Any], list[Any], FloatArray]:
    """Ridge's coefficients from centered products, refined by further passes where that is needed.

    Parameters
    ----------
    gram : GramState
        Centered, whether an intercept is fitted or not.
    view : View
    alphas : ndarray of shape (n_targets,)
    fit_intercept : bool
    targets : Targets or None, default None
        None for the view's own.

    Returns
    -------
    ndarray of shape (n_features, n_targets)
    """
    width = view.width
    solve, condition, complete = _ridge_solver(gram.products[:width, :width], alphas)
    if fit_intercept:
        return (yield from _solved(solve, gram, view, condition, alphas, targets))
    if complete:
        return _through_origin(solve, gram, alphas, width)
    return _shortest_through_origin(gram, alphas, width)


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


def gram_of(
    estimator: Any,
    view: View,
    fitting: Fitting,
    *,
    centered: bool = True,
    targets: Targets | None = None,
) -> Generator[list[Any], list[Any], GramState]:
    """The Gram state of a view's rows, where it fits the memory.

    Parameters
    ----------
    estimator : object
        Named in errors.
    view : View
    fitting : Fitting
    centered : bool, default True
        False keeps raw products.
    targets : Targets or None, default None
        None for the view's own.

    Raises
    ------
    TooBigForOneNode
        Before any work.
    """
    name = type(estimator).__name__
    view.require_numeric(estimator)
    require_room(name, view, fitting.memory, targets=targets)
    (gram,) = yield [Pass(over(targets, Gram(name, shown_names(view), view.target, centered=centered)), view)]
    return gram  # type: ignore[no-any-return]


def over(targets: Targets | None, reduction: Reduction[Any, Any]) -> Reduction[Any, Any]:
    """The reduction over these targets; over a view's own for None."""
    return reduction if targets is None else targets.over(reduction)


def require_room(who: str, view: View, memory: int, *, targets: Targets | None = None, states: int = 1) -> None:
    """Raise TooBigForOneNode where the Gram matrices that meet in a merge would not fit.

    Parameters
    ----------
    who : str
        The estimator, for the error.
    view : View
    memory : int
        Most bytes that they may take.
    targets : Targets or None, default None
        None for the view's own.
    states : int, default 1
        How many matrices one part of the data holds: one a fold, say.
    """
    size = 8 * (view.width + (len(view.target) if targets is None else targets.count) + 1) ** 2 * states
    if size * FAN_IN > memory:
        matrices = "their Gram matrix" if states == 1 else f"{states} Gram matrices"
        raise TooBigForOneNode(
            f"{who}: {view.width:,} features need {size / 2**30:.2f} GiB for {matrices}, "
            f"and {FAN_IN} of them meet in a merge; {memory / 2**30:.2f} GiB are allowed.",
            why="Least squares holds all products of two features.",
            fix="Use fewer features (max_categories= of OneHotEncoder, PCA), or allow more with memory=.",
        )


def _ridge_solver(products: FloatArray, alphas: FloatArray) -> tuple[Solver, float, bool]:
    """``(products + alpha I)^-1`` for each target's alpha, its condition, and whether it is a true inverse."""
    factored = _factored(products, alphas)
    if factored is not None:
        return *factored, True
    values, vectors = linalg.eigh(products)
    # Without a penalty a direction that the data do not have gets the coefficient 0.
    usable = usable_directions(values)[:, None] | (alphas[None, :] > 0)
    penalized = np.maximum(values, 0.0)[:, None] + alphas[None, :]
    scale = np.divide(1.0, penalized, out=np.zeros_like(penalized), where=usable)

    def solve(right: FloatArray) -> FloatArray:
        return np.asarray(vectors @ (scale * (vectors.T @ right)))

    condition = float((values[-1] + alphas.max()) / penalized[usable].min()) if usable.any() else 1.0
    return solve, condition, bool(usable.all())


def _factored(products: FloatArray, alphas: FloatArray) -> tuple[Solver, float] | None:
    """The same by Cholesky's factors of columns of unit length, which no scale can make ill-conditioned.

    None where a direction is lost in rounding.
    """
    factors, condition = [], 1.0
    for alpha in np.unique(alphas).tolist():
        scale = np.sqrt(products.diagonal() + alpha)
        if not (scale > 0).all():
            return None
        matrix = (products + alpha * np.eye(len(products))) / np.outer(scale, scale)
        factor, failed = linalg.lapack.dpotrf(matrix)
        if failed:
            return None
        reciprocal, _ = linalg.lapack.dpocon(factor, linalg.norm(matrix, 1))
        if reciprocal < 100 * len(matrix) * np.finfo(float).eps:
            return None
        condition = max(condition, 1.0 / float(reciprocal))
        factors.append((alphas == alpha, factor, scale[:, None]))

    def solve(right: FloatArray) -> FloatArray:
        solution = np.empty_like(right)
        for columns, factor, scale in factors:
            solution[:, columns] = linalg.cho_solve((factor, False), right[:, columns] / scale) / scale
        return solution

    return solve, condition


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
    solve: Solver, gram: GramState, view: View, condition: float, alphas: FloatArray, targets: Targets | None = None
) -> Generator[list[Any], list[Any], FloatArray]:
    """Coefficients of shape ``(n_features, n_targets)``, refined where the condition asks for it."""
    width = view.width
    coef = solve(gram.products[:width, width:])
    for _ in range(_MAX_REFINEMENTS if condition > _REFINE_ABOVE else 0):
        (gradient,) = yield [Pass(over(targets, Gradient(coef, gram.mean)), view)]
        correction = solve(gradient - coef * alphas)
        coef = coef + correction
        if np.abs(correction).max() <= _REFINED * np.abs(coef).max():
            break
    return coef


def usable_directions(values: FloatArray) -> Any:
    """Which eigenvalues (in ascending order) are more than rounding."""
    return _kept(values, 0.0)


def _kept(values: FloatArray, tol: float) -> Any:
    """Which eigenvalues count: singular values above ``tol`` of the largest, and above rounding."""
    if not len(values) or values[-1] <= 0:
        return np.zeros(len(values), dtype=bool)
    rounding = len(values) * np.finfo(float).eps
    return values > max(tol**2, rounding) * values[-1]


def penalties(estimator: Any, n_targets: int) -> FloatArray:
    """``alpha`` of Ridge or RidgeClassifier as one penalty a target.

    Raises
    ------
    BadParameter
        There are too many or too few, or the solver works with ``positive=True`` only.
    """
    name = type(estimator).__name__
    if estimator.solver == "lbfgs" and not estimator.positive:
        raise BadParameter(f"{name}(solver='lbfgs') works with positive=True only.", fix="Use solver='auto'.")
    alphas = np.atleast_1d(np.asarray(estimator.alpha, dtype=np.float64)).ravel()
    if len(alphas) not in (1, n_targets):
        raise BadParameter(
            f"{name}: {len(alphas)} penalties for {n_targets} targets.",
            fix="Pass one, or one a target.",
        )
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
    estimator.intercept_ = intercept[0] if single else intercept
