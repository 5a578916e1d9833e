"""RidgeCV and RidgeClassifierCV: all penalties on all folds, or leaving out each row."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import is_classifier
from sklearn.linear_model import RidgeClassifierCV, RidgeCV

from parquetry.classical.folds import OTHER_FOLDS, Folds, row_folds, splits_by_row
from parquetry.classical.gram import GramState
from parquetry.classical.gram_folds import BatchPart, fold_grams
from parquetry.classical.held_out import SCORES, HeldOut, LinearPath, all_squared_errors, centered_chunks, score
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.leave_one_out import LeaveOneOut
from parquetry.classical.linear import Targets, gram_of, over, ridge_coef
from parquetry.classical.moment_rows import set_intercept
from parquetry.classical.ridge_classifier import Signs, learn_signs, set_classifier
from parquetry.classical.ridge_path import ridge_path
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_STORED = "store_cv_results=True keeps a value for each row and penalty."
_ELSE = "store_cv_results=True; cv= other than a number or an unshuffled KFold; "


@fitter(
    RidgeCV,
    passes="2 (leave one out); 1 with cv= (+1 for an absolute error, up to +4 if ill-conditioned)",
    exact="same penalty; scores and solution to 1e-9",
    matrices=True,
    single_node=_ELSE + "scoring= other than R² and mean errors; no more rows than features",
)
def fit_ridge_cv(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge regression with the penalty that predicts best, leaving out each row or each fold.

    Sample weights count in fitting and in the scores, as they do in scikit-learn. ``gcv_mode`` changes
    nothing.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.RidgeCV.html
    """
    alphas = _checked_alphas(estimator, view)
    why = _reason_to_gather(estimator, view, SCORES)
    if why:
        return (yield from fitting.gather(estimator, view, why))
    if estimator.cv is None:
        yield from _fit_leaving_one_out(estimator, view, fitting, alphas)
        return estimator  # in float64: scikit-learn keeps that of a frame of float32 here
    folds = yield from row_folds(estimator, view, estimator.cv)
    grams = yield from fold_grams(estimator, view, fitting, folds)
    paths = _paths(estimator, grams.others, view.width, alphas)
    scoring = estimator.scoring or "r2"
    if scoring == "neg_mean_absolute_error":
        (sums,) = yield [Pass(HeldOut(folds, paths), view)]
        errors = sums[1]
    else:
        errors = yield from all_squared_errors(view, folds, grams, paths)
    scores = np.stack([score(scoring, e, s, view.width) for e, s in zip(errors, grams.folds, strict=True)])
    yield from _refit(estimator, grams.total, view, alphas, scores.mean(axis=(0, 1)))
    return in_linear_type(estimator, view)


@fitter(
    RidgeClassifierCV,
    passes="3 (leave one out); 3 or 4 with cv= (up to +4 if ill-conditioned)",
    exact="same penalty; scores and solution to 1e-9",
    matrices=True,
    single_node=_ELSE + "scoring= other than None (or accuracy with cv=); no more rows than features",
)
def fit_ridge_classifier_cv(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge classification with the penalty that predicts best, leaving out each row or each fold.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.RidgeClassifierCV.html
    """
    alphas = _checked_alphas(estimator, view)
    why = _reason_to_gather(estimator, view, () if estimator.cv is None else ("accuracy",))
    if why:
        return (yield from fitting.gather(estimator, view, why))
    seen, signs, classes = yield from learn_signs(estimator, view)
    if estimator.cv is None:
        yield from _fit_leaving_one_out(estimator, seen, fitting, alphas, signs)
        return in_linear_type(estimator, view)
    n_classes = None if signs.several else len(classes[0].values)
    folds = yield from row_folds(estimator, seen, estimator.cv, n_classes=n_classes)
    grams = yield from fold_grams(estimator, seen, fitting, folds, targets=signs)
    paths = _paths(estimator, grams.others, view.width, alphas)
    absent = np.stack([s.products.diagonal()[view.width :] == 0 for s in grams.others])
    (scores,) = yield [Pass(_HeldOutAccuracy(folds, paths, signs, absent), seen)]
    yield from _refit(estimator, grams.total, seen, alphas, scores.mean(axis=0), signs)
    return in_linear_type(estimator, view)


def _checked_alphas(estimator: Any, view: View) -> npt.NDArray[Any]:
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    name = type(estimator).__name__
    alphas = np.atleast_1d(np.asarray(estimator.alphas))
    least = "0 or more" if estimator.cv is not None else "above 0"
    if alphas.ndim != 1 or not len(alphas) or alphas.dtype.kind not in "iuf":
        raise BadParameter(f"{name}: alphas={estimator.alphas!r} is no list of numbers.", fix="Pass some penalties.")
    if not np.isfinite(alphas).all() or alphas.min() < 0 or (estimator.cv is None and alphas.min() == 0):
        raise BadParameter(f"{name}: alphas={alphas.tolist()!r} must be {least}.", fix="Change those that are not.")
    if estimator.cv is not None:
        for option in ("store_cv_results", "alpha_per_target"):
            if getattr(estimator, option, False):
                raise BadParameter(f"{name}: {option}=True works with cv=None only.", fix="Leave one of them out.")
    return alphas


def _reason_to_gather(estimator: Any, view: View, scores: tuple[str, ...]) -> str:
    if estimator.store_cv_results:
        return _STORED
    if estimator.scoring is not None and not (isinstance(estimator.scoring, str) and estimator.scoring in scores):
        return f"scoring={estimator.scoring!r} needs the predictions of all rows at once."
    if not splits_by_row(estimator.cv, by_class=is_classifier(estimator) and len(view.target) == 1):
        return OTHER_FOLDS
    if estimator.cv is None and view.dataset.num_rows <= view.width:
        return "With no more rows than features, leave-one-out works on products of rows."
    return ""


def _fit_leaving_one_out(
    estimator: Any,
    view: View,
    fitting: Fitting,
    alphas: npt.NDArray[Any],
    targets: Targets | None = None,
) -> Generator[list[Any], list[Any], None]:
    penalties = alphas.astype(np.float64)
    gram = yield from gram_of(estimator, view, fitting, targets=targets)
    width, fit_intercept = view.width, estimator.fit_intercept
    (sums,) = yield [Pass(over(targets, LeaveOneOut(gram, width, penalties, fit_intercept=fit_intercept)), view)]
    if estimator.scoring is None:
        # scikit-learn divides the weighted squares by the number of rows, not by their weight.
        scores = -sums[0] / gram.rows
    else:
        absolute = estimator.scoring == "neg_mean_absolute_error"
        scores = score(estimator.scoring, sums[int(absolute)], gram, width)
    if getattr(estimator, "alpha_per_target", False) and len(scores) > 1:
        best = _best(scores)
        estimator.alpha_ = penalties[best]
        estimator.best_score_ = scores[np.arange(len(scores)), best]
    else:
        mean = scores.mean(axis=0)
        chosen = int(_best(mean))
        estimator.alpha_ = float(alphas[chosen])
        estimator.best_score_ = mean[chosen] if estimator.scoring is None else float(mean[chosen])
    yield from _set_solution(estimator, gram, view, targets)


def _best(scores: FloatArray) -> Any:
    """Where the first of the highest scores stands; what is not a number comes last, as in scikit-learn's search."""
    return np.argmax(np.where(np.isnan(scores), -np.inf, scores), axis=-1)


def _paths(estimator: Any, states: tuple[GramState, ...], width: int, alphas: npt.NDArray[Any]) -> list[LinearPath]:
    penalties = alphas.astype(np.float64)
    return [ridge_path(s, width, penalties, fit_intercept=estimator.fit_intercept) for s in states]


def _refit(
    estimator: Any,
    total: GramState,
    view: View,
    alphas: npt.NDArray[Any],
    scores: FloatArray,
    targets: Targets | None = None,
) -> Generator[list[Any], list[Any], None]:
    best = int(_best(scores))
    estimator.alpha_, estimator.best_score_ = alphas[best], scores[best]
    yield from _set_solution(estimator, total, view, targets)


def _set_solution(
    estimator: Any, gram: GramState, view: View, targets: Targets | None
) -> Generator[list[Any], list[Any], None]:
    count = len(gram.mean) - view.width
    alphas = np.broadcast_to(np.asarray(estimator.alpha_, dtype=np.float64), (count,))
    coef = yield from ridge_coef(gram, view, alphas, fit_intercept=estimator.fit_intercept, targets=targets)
    estimator.coef_ = np.ascontiguousarray(coef.T)
    if is_classifier(estimator):
        set_classifier(estimator, gram, view)
        return
    if count == 1:
        estimator.coef_ = estimator.coef_[0]
    set_intercept(estimator, gram, view.width)
    set_inputs(estimator, view)


class _HeldOutAccuracy(Reduction[FloatArray, FloatArray]):
    """The weighted share of each fold's rows that the models of the other folds get right, by penalty.

    Parameters
    ----------
    folds : Folds
    paths : list of LinearPath
        One a fold; their targets are the signs of the classes.
    signs : Signs
    absent : ndarray of bool, shape (n_folds, n_signs)
        The classes that a fold's model has never seen.
    """

    label = "held-out-accuracy"

    def __init__(self, folds: Folds, paths: list[LinearPath], signs: Signs, absent: Any) -> None:
        self.folds, self.paths, self.signs, self.absent = folds, paths, signs, absent

    def partial(self, batch: Any) -> FloatArray:
        width, _, alphas = self.paths[0].coef.shape
        counts = np.zeros((len(self.paths), 1 + alphas))
        for k, rows in self.folds.parts(batch):
            part, path = BatchPart(batch, rows), self.paths[k]
            coef = path.coef.reshape(width, -1)
            weights = np.ones(part.num_rows) if part.weights is None else part.weights
            counts[k, 0] += weights.sum()
            signs = np.stack(self.signs.of(part)) > 0
            beside = 2 * coef.shape[1]
            for here, x in centered_chunks(part, path.mean[:width], path.rest[:width], beside=beside):
                decision = (coef.T @ x).reshape(*path.coef.shape[1:], -1) + path.mean[width:, None, None]
                # Added up row by row: a product of matrices rounds its rows differently, and would break ties.
                counts[k, 1:] += (self._right(decision, signs[:, here], k) * weights[here]).sum(axis=-1)
        return counts

    def _right(self, decision: FloatArray, signs: Any, k: int) -> npt.NDArray[np.bool_]:
        if len(signs) == 1 or self.signs.several:
            right = ((decision > 0) == signs[:, None, :]).all(axis=0)
        else:
            decision[self.absent[k]] = -np.inf
            right = decision.argmax(axis=0) == signs.argmax(axis=0)
        return np.asarray(right)

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        left += right
        return left

    def finish(self, state: FloatArray) -> FloatArray:
        return np.asarray(state[:, 1:] / state[:, :1])
