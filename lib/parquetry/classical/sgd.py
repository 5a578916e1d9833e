"""Stochastic gradient descent: SGD, Perceptron and PassiveAggressive, by partial_fit in block order."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.utils.multiclass import unique_labels

from parquetry.classical.kmeans import float_type
from parquetry.classical.labels import Classes, class_weights, encoded, learn_classes
from parquetry.classical.row_weights import RowWeights
from parquetry.classical.sequential import PIECE_ROWS, Batches, Piece, Walk, pieces, report_sequential
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass, together
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Finite, shown_names, targets
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_NO_WEIGHT = 1e-300  # a row of no weight moves nothing, and counts as a step
_ALONE = "learning_rate='adaptive'; early_stopping=True"
_ALONE_TOO = f"{_ALONE}; average="
_EXACT = "equal with shuffle=False, tol=None and no L1; else another order of rows"


@fitter(
    SGDClassifier,
    Perceptron,
    PassiveAggressiveClassifier,
    passes="1, and 1 an epoch",
    exact=_EXACT,
    matrices=True,
    single_node=_ALONE_TOO,
    placement="sequential",
)
def fit_sgd_classifier(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Gradient steps row by row, on one worker that streams the blocks: ``partial_fit`` in block order.

    The steps are scikit-learn's own code. What differs from its ``fit`` on all rows at once:

    - ``shuffle=True`` shuffles within pieces of 16,384 consecutive rows, not all rows. Where the rows
      are sorted (by class, by time), shuffle the data set first.
    - The objective that ``tol`` and ``n_iter_no_change`` watch is taken over each piece before its
      steps, not before each step; so ``n_iter_`` may differ by an epoch or so. With several classes
      all of them go on until each has stopped improving; ``fit`` stops them one by one.
    - The cumulative L1 penalty begins anew with each piece.
    - ``class_weight="balanced"`` counts the classes of all rows, as ``fit`` does.

    With ``shuffle=False``, ``tol=None`` and no L1 the result is that of ``fit``. An adaptive learning
    rate, early stopping (which sets rows aside) and a classifier's averages (which ``partial_fit`` does
    not continue) need ``fit`` itself: these fall back to one node.

    Source: https://scikit-learn.org/stable/modules/sgd.html
    """
    why = _begin(estimator, view)
    if why:
        return (yield from fitting.gather(estimator, view, why))
    (classes,), _ = yield from together([learn_classes(estimator, view, least=2), _look(estimator, view)])
    n_classes = len(classes.values)
    by_code = copy.copy(estimator)
    by_code.class_weight = _by_code(estimator, classes)
    walker = _Walker(by_code, n_classes, float_type(view), PIECE_ROWS)
    (fitted,) = yield [Walk(walker, encoded(view, [classes]).cached(), type(estimator).__name__)]
    fitted.class_weight = estimator.class_weight
    fitted.classes_ = unique_labels(classes.values)
    return _finished(fitted, view, fitting)


@fitter(
    SGDRegressor,
    PassiveAggressiveRegressor,
    passes="1, and 1 an epoch",
    exact=_EXACT,
    matrices=True,
    single_node=_ALONE,
    placement="sequential",
)
def fit_sgd_regressor(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """The same for a regression target; see :func:`fit_sgd_classifier`.

    Source: https://scikit-learn.org/stable/modules/sgd.html
    """
    why = _begin(estimator, view)
    if why:
        return (yield from fitting.gather(estimator, view, why))
    if len(view.target) != 1:
        raise BadParameter(f"{type(estimator).__name__} takes one target, not {len(view.target)}.")
    yield from _look(estimator, view, target=True)
    walker = _Walker(copy.copy(estimator), None, float_type(view), PIECE_ROWS)
    (fitted,) = yield [Walk(walker, view.cached(), type(estimator).__name__)]
    return _finished(fitted, view, fitting)


def _begin(estimator: Any, view: View) -> str:
    """Check the parameters; why ``fit`` itself is needed, or nothing."""
    checked(estimator, estimator._validate_params)
    checked(estimator, estimator._more_validate_params)
    require_numbers(estimator, view)
    if view.sample_weight is not None and type(estimator).__name__.startswith("PassiveAggressive"):
        raise BadParameter(f"{type(estimator).__name__} takes no sample weights.", fix="Leave sample_weight out.")
    if estimator.early_stopping:
        return "early_stopping=True sets rows aside, which partial_fit cannot."
    if estimator.average and is_classifier(estimator):
        return "With average= a classifier's partial_fit does not go on where the last call ended."
    if estimator.learning_rate == "adaptive":
        return "An adaptive learning rate is not kept between calls of partial_fit."
    return ""


def _look(estimator: Any, view: View, *, target: bool = False) -> Generator[list[Any], list[Any], None]:
    """Refuse what is not finite, and weights that make no sense, with their position."""
    who = type(estimator).__name__
    works = [Pass(Moments(who, shown_names(view), nan=False, squares=False, extremes=False), view)]
    if target:
        works.append(Pass(Finite(who, view.target, values=targets), view))
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), view))
    yield works


def _by_code(estimator: Any, classes: Classes) -> dict[int, float] | None:
    if estimator.class_weight is None:
        return None
    (weights,) = class_weights([classes], estimator.class_weight, by_rows=True)
    return {code: float(weight) for code, weight in enumerate(weights)}


def _finished(fitted: Any, view: View, fitting: Fitting) -> Any:
    set_inputs(fitted, view)
    report_sequential(fitting, fitted.n_iter_)
    if fitted.tol is not None and fitted.n_iter_ == fitted.max_iter:
        warnings.warn(
            "Maximum number of iteration reached before convergence. Consider increasing max_iter to improve the fit.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return fitted


@dataclass(frozen=True, eq=False)
class _Walker:
    """Epochs of ``partial_fit`` until the objective stands still.

    Parameters
    ----------
    estimator : not fitted
    n_classes : int, or None for a regressor
        The target holds class codes.
    kind : dtype
        In which scikit-learn would see X.
    rows : int
        In a piece.
    """

    estimator: Any
    n_classes: int | None
    kind: Any
    rows: int

    def __call__(self, batches: Batches) -> Any:
        model = copy.copy(self.estimator)
        progress = _Progress(model, self.n_classes)
        epochs = 0
        while epochs < model.max_iter and not progress.stopped:
            for piece in pieces(batches(), self.rows):
                self._step(model, progress, piece)
            epochs += 1
            progress.end_epoch()
        model.n_iter_ = epochs
        return model

    def _step(self, model: Any, progress: _Progress, piece: Piece) -> None:
        x, y = piece.x.astype(self.kind, copy=False), piece.y
        arguments: dict[str, Any] = {}
        if piece.weights is not None:
            arguments["sample_weight"] = piece.weights if piece.weights.any() else np.full(piece.size, _NO_WEIGHT)
        if self.n_classes is not None:
            arguments["classes"] = np.arange(float(self.n_classes))
        if progress.watching:
            progress.add(x, y)
        try:
            model.partial_fit(x, y, **arguments)
        except ValueError as error:
            raise BadParameter(
                f"{type(model).__name__}: {error}",
                why="scikit-learn's own partial_fit refuses it.",
                fix="Put a StandardScaler before it, or lower eta0.",
            ) from error


class _Progress:
    """scikit-learn's stopping rule, on the objective of each piece before its steps."""

    def __init__(self, model: Any, n_classes: int | None) -> None:
        self.model, self.n_classes = model, n_classes
        self.watching = model.tol is not None
        count = 1 if n_classes is None or n_classes == 2 else n_classes
        self.best, self.idle = np.full(count, np.inf), np.zeros(count, dtype=int)
        self.done = np.zeros(count, dtype=bool)
        self.total, self.rows = np.zeros(count), 0

    @property
    def stopped(self) -> bool:
        return bool(self.done.all())

    def add(self, x: Any, y: Any) -> None:
        """Take a piece before its steps."""
        model, rows = self.model, x.shape[0]
        coef = np.atleast_2d(_steps_own(model, "coef", (len(self.best), x.shape[1])))
        scores = x @ coef.T + _steps_own(model, "intercept", len(self.best))
        self.total += losses(model, _signs(y, self.n_classes), scores).sum(axis=0)
        if model.penalty is not None and model.learning_rate not in ("pa1", "pa2"):
            ratio = {"l2": 0.0, "l1": 1.0}.get(model.penalty, model.l1_ratio)
            norms = (1 - ratio) * 0.5 * (coef**2).sum(axis=1) + ratio * np.abs(coef).sum(axis=1)
            self.total += rows * model.alpha * norms
        self.rows += rows

    def end_epoch(self) -> None:
        """Count the epochs that have brought nothing."""
        if not self.watching:
            return
        mean = self.total / self.rows
        self.idle = np.where(mean > self.best - self.model.tol, self.idle + 1, 0)
        self.best = np.minimum(self.best, mean)
        self.done |= self.idle >= self.model.n_iter_no_change
        self.total, self.rows = np.zeros_like(self.total), 0


def _steps_own(model: Any, name: str, shape: Any) -> Any:
    """The coefficients that the steps move; those that a user sees may be averages."""
    own = getattr(model, f"_standard_{name}", None) if model.average else getattr(model, f"{name}_", None)
    return np.zeros(shape) if own is None else own


def _signs(y: Any, n_classes: int | None) -> FloatArray:
    """The target of each problem: as it is, or 1 for the class and -1 for the others."""
    if n_classes is None:
        return np.asarray(y)[:, None]
    codes = np.arange(1, 2) if n_classes == 2 else np.arange(n_classes)
    return np.where(np.asarray(y)[:, None] == codes, 1.0, -1.0)


def losses(model: Any, y: FloatArray, scores: FloatArray) -> FloatArray:
    """The loss of each row and problem; classes are 1 and -1.

    Source: https://scikit-learn.org/stable/modules/sgd.html#mathematical-formulation
    """
    name = {"PassiveAggressiveClassifier": "hinge", "PassiveAggressiveRegressor": "epsilon_insensitive"}.get(
        type(model).__name__, model.loss
    )
    if name in ("hinge", "squared_hinge", "perceptron"):
        short = np.maximum((0.0 if name == "perceptron" else 1.0) - y * scores, 0.0)
        return np.asarray(short**2 if name == "squared_hinge" else short)
    if name == "log_loss":
        return np.logaddexp(0.0, -y * scores)
    if name == "modified_huber":
        margin = y * scores
        return np.where(margin >= -1, np.maximum(1 - margin, 0.0) ** 2, -4.0 * margin)
    away = np.abs(y - scores)
    if name == "squared_error":
        return 0.5 * away**2
    if name == "huber":
        return np.where(away <= model.epsilon, 0.5 * away**2, model.epsilon * (away - 0.5 * model.epsilon))
    beyond = np.maximum(away - model.epsilon, 0.0)
    return np.asarray(beyond**2 if name == "squared_epsilon_insensitive" else beyond)
