"""Searches over linear models on Gram matrices: all candidates on all folds in one pass."""

from __future__ import annotations

import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import ElasticNet, Lasso, LinearRegression, MultiTaskElasticNet, MultiTaskLasso, Ridge
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures

from parquetry.classical.elastic_net import check_targets, elastic_net_of, holds_gram
from parquetry.classical.folds import Folds, row_folds, splits_by_row
from parquetry.classical.gram import GramState
from parquetry.classical.gram_folds import FoldGrams, fold_grams
from parquetry.classical.held_out import SCORES, HeldOut, LinearPath, all_squared_errors, score, squared_errors
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.linear import least_squares_of, penalties, ridge_of
from parquetry.classical.moment_rows import fit_on_moments, moment_rows, summed
from parquetry.classical.ridge_path import ridge_path
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.view import FloatArray, View

GRAM_MODELS = (LinearRegression, Ridge, Lasso, ElasticNet, MultiTaskLasso, MultiTaskElasticNet)
"""What is fitted from a Gram matrix alone."""
_ABSOLUTE = "neg_mean_absolute_error"


def fit_gram_search(search: Any, view: View, candidates: Sequence[dict[str, Any]], fitting: Fitting) -> Asking:
    """Search the parameters of a linear model on Gram matrices; one state a fold answers all candidates.

    All candidates are fitted together, so the times in ``cv_results_`` are NaN: not measured. Training
    scores come from Gram matrices alone; an error below 1e-6 of the target's variation has few digits.

    Source: https://scikit-learn.org/stable/modules/grid_search.html
    """
    models, traces = _models(search, candidates, view)
    good = [i for i, trace in enumerate(traces) if trace is None]
    folds = yield from row_folds(search, view, search.cv)
    grams = yield from fold_grams(search, view, fitting, folds)
    test, train = yield from _scores(search, [models[i] for i in good], view, folds, grams)
    search.scorer_, _ = search._get_scorers()
    search.multimetric_, search.n_splits_ = False, folds.count
    _set_results(search, candidates, [_spread(search, scores, traces, good) for scores in (test, train)], traces)
    if search.refit:
        yield from _refit(search, grams.total, view)
    return search


def searches_on_gram(search: Any, candidates: Sequence[dict[str, Any]]) -> bool:
    """Whether the candidates are linear models whose scores come from Gram matrices, on folds by row."""
    if type(search.estimator) not in GRAM_MODELS or not isinstance(search, GridSearchCV | RandomizedSearchCV):
        return False
    if search.scoring is not None and not (isinstance(search.scoring, str) and search.scoring in SCORES):
        return False
    if search.scoring == _ABSOLUTE and search.return_train_score:
        return False  # absolute errors on the training rows need each fold's rows again for each fold
    given = [search.estimator.get_params(), *candidates]
    return splits_by_row(search.cv, by_class=False) and not any(holds_gram(_Given(params)) for params in given)


class _Given:
    """Parameters as attributes."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.__dict__.update(params)


def _models(search: Any, candidates: Sequence[dict[str, Any]], view: View) -> tuple[list[Any], list[str | None]]:
    """Each candidate with its parameters checked, and the traceback of each that is refused."""
    models, traces, last = [], [], None
    for candidate in candidates:
        model, trace = None, None
        try:
            model = clone(search.estimator)
            checked(search, partial(model.set_params, **clone(candidate, safe=False)))
            check_gram_model(model, view)
        except BadParameter as error:
            if search.error_score == "raise":
                raise
            trace, last = traceback.format_exc(), error
        models.append(model)
        traces.append(trace)
    if last is not None and None not in traces:
        raise last
    return models, traces


def check_gram_model(model: Any, view: View) -> None:
    """Raise BadParameter for a parameter that the model does not take."""
    checked(model, model._validate_params)
    check_targets(model, view, several=isinstance(model, MultiTaskElasticNet))
    if isinstance(model, Ridge):
        penalties(model, len(view.target))


def _spread(search: Any, scores: Any, traces: list[str | None], good: list[int]) -> Any:
    """Scores of all candidates, those that failed among them."""
    if scores is None:
        return None
    instead = np.nan if search.error_score == "raise" else float(search.error_score)
    spread = np.full((len(traces), scores.shape[1]), instead)
    spread[good] = scores
    return spread


def _scores(
    search: Any, models: list[Any], view: View, folds: Folds, grams: FoldGrams
) -> Generator[list[Any], list[Any], tuple[FloatArray, FloatArray | None]]:
    """Scores of shape ``(n_candidates, n_folds)`` on the folds held out and, if asked for, on all others."""
    scoring, width = search.scoring or "r2", view.width
    test = np.empty((len(models), folds.count))
    train = np.empty_like(test) if search.return_train_score else None
    for fit_intercept in (True, False):
        # An intercept is a matter of the path, not of the model: a path for those with, and one for those without.
        chosen = [i for i, model in enumerate(models) if model.fit_intercept == fit_intercept]
        if not chosen:
            continue
        group = [models[i] for i in chosen]
        paths = [_path(group, state, width, fit_intercept=fit_intercept) for state in grams.others]
        if scoring == _ABSOLUTE:
            (sums,) = yield [Pass(HeldOut(folds, paths), view)]
            errors = sums[1]
        else:
            errors = yield from all_squared_errors(view, folds, grams, paths)
        for k, (path, state, others) in enumerate(zip(paths, grams.folds, grams.others, strict=True)):
            test[chosen, k] = score(scoring, errors[k], state, width).mean(axis=0)
            if train is not None:
                train[chosen, k] = score(scoring, squared_errors(others, path), others, width).mean(axis=0)
    return test, train


def _path(models: list[Any], state: GramState, width: int, *, fit_intercept: bool) -> LinearPath:
    """All candidates that do (or do not) fit an intercept, fitted to the rows of a state."""
    targets = len(state.mean) - width
    coef = np.empty((width, targets, len(models)))
    closed = [i for i, m in enumerate(models) if type(m) is Ridge and not m.positive and np.ndim(m.alpha) == 0]
    if closed:
        alphas = np.array([float(models[i].alpha) for i in closed])
        coef[:, :, closed] = ridge_path(state, width, alphas, fit_intercept=fit_intercept).coef
    rest = [i for i in range(len(models)) if i not in set(closed)]
    if rest:
        x, y = moment_rows(state, width, fit_intercept=fit_intercept)
    for i in rest:
        model = clone(models[i]).set_params(fit_intercept=False)
        rows = summed(state, x, y) if isinstance(model, Ridge | LinearRegression) else (x, y)
        checked(model, partial(model.fit, *rows))
        coef[:, :, i] = np.atleast_2d(model.coef_).T
    return LinearPath.of(coef, state, fit_intercept=fit_intercept)


def _set_results(
    search: Any, candidates: Sequence[dict[str, Any]], scores: list[FloatArray], traces: list[str | None]
) -> None:
    test, train = scores
    out = []
    for i in range(len(candidates)):
        for k in range(test.shape[1]):
            fitted = {"fit_time": np.nan, "score_time": np.nan, "test_scores": test[i, k], "fit_error": traces[i]}
            out.append(fitted if train is None else {**fitted, "train_scores": train[i, k]})
    checked(search, lambda: _warn_or_raise_about_fit_failures(out, search.error_score))
    search.cv_results_ = search._format_results(list(candidates), test.shape[1], out)
    search.best_index_ = checked(search, lambda: search._select_best_index(search.refit, "score", search.cv_results_))
    if not callable(search.refit):
        search.best_score_ = search.cv_results_["mean_test_score"][search.best_index_]
    search.best_params_ = search.cv_results_["params"][search.best_index_]


def _refit(search: Any, total: GramState, view: View) -> Generator[list[Any], list[Any], None]:
    """Fit the best candidate on all rows, from the state that is there already."""
    started = time.time()
    best = clone(search.estimator).set_params(**clone(search.best_params_, safe=False))
    search.best_estimator_ = yield from from_gram(best, total, view)
    search.refit_time_ = time.time() - started
    if hasattr(best, "feature_names_in_"):
        search.feature_names_in_ = best.feature_names_in_


def from_gram(model: Any, total: GramState, view: View) -> Asking:
    """One of ``GRAM_MODELS`` fitted from a Gram state of its rows; the model itself is changed."""
    if isinstance(model, ElasticNet):
        elastic_net_of(model, total, view)
    elif model.positive:
        fit_on_moments(model, total, view, per_row=False)
    elif isinstance(model, Ridge):
        yield from ridge_of(model, total, view)
    else:
        yield from least_squares_of(model, total if model.fit_intercept else _raw(total), view)
    return in_linear_type(model, view)


def _raw(gram: GramState) -> GramState:
    """The products about zero."""
    products = gram.products + gram.weight * np.outer(gram.mean, gram.mean)
    return replace(gram, products=products, mean=np.zeros_like(gram.mean), rest=np.zeros_like(gram.mean))
