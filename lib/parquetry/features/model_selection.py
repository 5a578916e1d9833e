"""SelectFromModel, RFE and RFECV: features chosen by what a model makes of them, each model by its own Fitter."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin, RegressorMixin, clone, is_classifier
from sklearn.exceptions import NotFittedError
from sklearn.feature_selection import RFE, RFECV, SelectFromModel
from sklearn.feature_selection._base import _get_feature_importances
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils.validation import check_is_fitted

from parquetry.classical.labels import ClassCodes, learn_classes
from parquetry.errors import BadParameter
from parquetry.features.crossfit import MOST_DEALT, DealtFolds, FoldFilter, dealt_folds
from parquetry.features.fold_scores import KINDS, FoldScores
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.registry import fitter
from parquetry.view import Columns, View

_AS_ESTIMATOR = "as its estimator"


@fitter(SelectFromModel, passes=_AS_ESTIMATOR, exact=_AS_ESTIMATOR, matrices=True, single_node=_AS_ESTIMATOR)
def fit_select_from_model(selector: Any, view: View, fitting: Fitting) -> Asking:
    """The model within is fitted by its own Fitter; threshold and choice are scikit-learn's own code.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_selection.SelectFromModel.html
    """
    checked(selector, selector._validate_params)
    shape = (view.dataset.num_rows, view.width)
    checked(selector, lambda: selector._check_max_features(np.broadcast_to(0.0, shape)))
    if selector.prefit:
        selector.estimator_ = copy.deepcopy(_prefit(selector))
        fitting.report.why = "prefit=True: nothing is fitted."
    else:
        selector.estimator_ = yield from fitting.step(clone(selector.estimator), view, "estimator")
    names = getattr(selector.estimator_, "feature_names_in_", view.names)
    if names is not None:
        selector.feature_names_in_ = np.asarray(names, dtype=object)
    checked(selector, selector._get_support_mask)
    return selector


@fitter(
    RFE,
    passes="its estimator's, each time that features are eliminated",
    exact=_AS_ESTIMATOR,
    matrices=True,
    single_node=_AS_ESTIMATOR,
)
def fit_rfe(selector: Any, view: View, fitting: Fitting) -> Asking:
    """The model within is fitted anew, by its own Fitter, on the features that are left.

    Only the columns of those features are read. As in scikit-learn, the model within sees arrays without names.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_selection.RFE.html
    """
    _require(selector, view)
    (support, ranking, estimator), _ = yield from _eliminated(selector, selector.n_features_to_select, view, fitting)
    selector.support_, selector.ranking_, selector.estimator_ = support, ranking, estimator
    selector.n_features_ = support.sum()
    set_inputs(selector, view)
    return selector


@fitter(
    RFECV,
    passes="those of RFE for each fold and once more, and 1 a fold for all scores",
    exact="as its estimator; the same folds up to 10,000,000 rows",
    matrices=True,
    single_node="scoring= other than accuracy, r2 and mean errors; cv= that leaves rows out or repeats them",
)
def fit_rfecv(selector: Any, view: View, fitting: Fitting) -> Asking:
    """For each fold the features are eliminated on the other folds' rows, and each step's model is scored on its own.

    Every model is fitted by its own Fitter; a fold's models are scored together, in one pass. Up
    to 10 million rows the folds are those of scikit-learn's own splitter; beyond, a hash of each
    row's place deals the rows out, and a warning says so.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_selection.RFECV.html
    """
    _require(selector, view)
    checked(selector, selector._get_scorer)
    kind = _score_kind(selector)
    if kind is None:
        why = f"scoring={selector.scoring!r} takes all rows of a fold at once."
        return (yield from fitting.gather(selector, view, why))
    folds = yield from _folds(selector, view)
    if folds is None:
        return (yield from fitting.gather(selector, view, "cv= leaves rows out, or repeats them."))
    least = min(selector.min_features_to_select, view.width)
    if selector.min_features_to_select > view.width:
        warnings.warn(
            f"Found min_features_to_select={selector.min_features_to_select} > n_features={view.width}. "
            "There will be no feature selection and all features will be kept.",
            UserWarning,
            stacklevel=2,
        )
    found = []
    for k in range(folds.count):
        train, test = (replace(view, dataset=FoldFilter.kept(view.dataset, folds, k, inside=i)) for i in (False, True))
        _, steps = yield from _eliminated(selector, least, train, fitting)
        models = [(model, columns) for model, columns, _, _ in steps]
        (scores,) = yield [Pass(FoldScores(kind, models), _nameless(replace(test, sample_weight=None)))]
        found.append((scores, steps))
    best = _set_results(selector, found)
    (support, ranking, estimator), _ = yield from _eliminated(selector, best, view, fitting)
    selector.support_, selector.ranking_, selector.estimator_ = support, ranking, estimator
    selector.n_features_ = support.sum()
    set_inputs(selector, view)
    return selector


def _prefit(selector: Any) -> Any:
    try:
        check_is_fitted(selector.estimator)
    except NotFittedError as error:
        raise BadParameter(
            "SelectFromModel: prefit=True, and the estimator is not fitted.",
            why="fit works on a clone, which forgets what was learned, unless the estimator is frozen.",
            fix="Pass FrozenEstimator(model), or leave prefit out.",
        ) from error
    return selector.estimator


def _require(selector: Any, view: View) -> None:
    checked(selector, selector._validate_params)
    require_numbers(selector, view)
    if not view.target:
        raise BadParameter(f"{type(selector).__name__} needs a target.", fix="Pass target='column'.")
    if view.width < 2:
        raise BadParameter(
            f"{type(selector).__name__}: X has {view.width} feature(s), and a minimum of 2 is required.",
            why="There is nothing to eliminate.",
            fix="Name more features.",
        )


@dataclass(frozen=True, eq=False)
class _AsArray:
    """A view's step that forgets names."""

    def __call__(self, x: Any) -> Any:
        if isinstance(x, Columns):
            return x.matrix
        return x.to_numpy() if hasattr(x, "iloc") else x


def _nameless(view: View) -> View:
    if view.steps and view.names is None:
        return view
    return replace(view, steps=(*view.steps, _AsArray()), step_names=None)


Eliminated = tuple[tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64], Any], list[tuple[Any, Any, Any, Any]]]


def _eliminated(
    selector: Any, to_select: Any, view: View, fitting: Fitting
) -> Generator[list[Any], list[Any], Eliminated]:
    """Support, ranking and last model; and of each step the model, its columns, the support and the ranking."""
    n = view.width
    support, ranking = np.ones(n, dtype=bool), np.ones(n, dtype=int)
    target, step = _wanted(to_select, n), _step(selector, n)
    steps = []
    while support.sum() > target:
        columns = np.flatnonzero(support)
        model = yield from _fitted(selector, columns, view, fitting)
        steps.append((model, columns, support.copy(), ranking.copy()))
        worth = checked(selector, partial(_get_feature_importances, model, selector.importance_getter, "square"))
        worst = np.ravel(np.argsort(worth, kind="stable"))[: min(step, int(support.sum()) - target)]
        support[columns[worst]] = False
        ranking[~support] += 1
    columns = np.flatnonzero(support)
    model = yield from _fitted(selector, columns, view, fitting)
    steps.append((model, columns, support, ranking))
    return (support, ranking, model), steps


def _fitted(selector: Any, columns: npt.NDArray[np.int64], view: View, fitting: Fitting) -> Asking:
    chosen = _nameless(view.select([int(i) for i in columns]))
    return (yield from fitting.step(clone(selector.estimator), chosen, f"{len(columns)} features"))


def _wanted(asked: Any, n: int) -> int:
    if asked is None:
        return n // 2
    if not isinstance(asked, Integral):
        return int(n * asked)
    if int(asked) > n:
        warnings.warn(
            f"Found n_features_to_select={asked} > n_features={n}. There will be no feature selection and all "
            "features will be kept.",
            UserWarning,
            stacklevel=2,
        )
    return int(asked)


def _step(selector: Any, n: int) -> int:
    return int(max(1, selector.step * n)) if 0.0 < selector.step < 1.0 else int(selector.step)


def _score_kind(selector: Any) -> str | None:
    """How models are scored, or None where a scorer wants all rows."""
    if selector.scoring is not None:
        return selector.scoring if isinstance(selector.scoring, str) and selector.scoring in KINDS else None
    own = getattr(type(selector.estimator), "score", None)
    if own is ClassifierMixin.score:
        return "accuracy"
    return "r2" if own is RegressorMixin.score else None


def _folds(selector: Any, view: View) -> Generator[list[Any], list[Any], Any]:
    by_class = is_classifier(selector.estimator)
    seen = view
    if by_class:
        (classes,) = yield from learn_classes(selector, view)
        seen = replace(view, target_step=ClassCodes((classes.values,)))
    y = np.array([0, 1]) if by_class else np.array([0.5, 1.5, 2.5])
    cv = checked(selector, lambda: check_cv(selector.cv, y, classifier=by_class))
    if view.dataset.num_rows > MOST_DEALT:
        if type(cv) not in (KFold, StratifiedKFold):
            return None
        by_hash = f"RFECV: beyond {MOST_DEALT:,} rows the folds go by a hash of the row's place."
        warnings.warn(by_hash, UserWarning, stacklevel=2)
        return DealtFolds.by_hash(cv.n_splits, view.dataset)
    return (yield from dealt_folds(selector, cv, seen, whole=False))


def _set_results(selector: Any, found: list[tuple[Any, list[tuple[Any, Any, Any, Any]]]]) -> int:
    """Set ``cv_results_``; the best number of features, the smallest of several."""
    scores = np.array([scores for scores, _ in found])[:, ::-1]
    counts = np.array([len(columns) for _, columns, _, _ in found[0][1]])[::-1]
    supports = np.array([[s for _, _, s, _ in steps] for _, steps in found])[:, ::-1]
    rankings = np.array([[r for _, _, _, r in steps] for _, steps in found])[:, ::-1]
    selector.cv_results_ = {
        "mean_test_score": scores.mean(axis=0),
        "std_test_score": scores.std(axis=0),
        **{f"split{i}_test_score": own for i, own in enumerate(scores)},
        **{f"split{i}_ranking": own for i, own in enumerate(rankings)},
        **{f"split{i}_support": own for i, own in enumerate(supports)},
        "n_features": counts,
    }
    return int(counts[np.argmax(scores.sum(axis=0))])
