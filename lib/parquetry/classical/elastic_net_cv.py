"""LassoCV, ElasticNetCV and their multi-task forms: all penalties on all folds from one pass."""

from __future__ import annotations

from functools import partial
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.linear_model import ElasticNetCV, LassoCV, MultiTaskElasticNetCV, MultiTaskLassoCV
from sklearn.linear_model._coordinate_descent import _alpha_grid
from sklearn.utils.validation import check_scalar

from parquetry.classical.elastic_net import GIVEN_GRAM, check_targets, holds_gram
from parquetry.classical.folds import OTHER_FOLDS, row_folds, splits_by_row
from parquetry.classical.gram import GramState
from parquetry.classical.gram_folds import fold_grams
from parquetry.classical.held_out import LinearPath, all_squared_errors
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.moment_rows import fit_on_moments, moment_rows
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import FloatArray, View


@fitter(
    LassoCV,
    ElasticNetCV,
    MultiTaskLassoCV,
    MultiTaskElasticNetCV,
    passes="1 (2 where a model fits almost exactly)",
    exact="same steps of coordinate descent on each fold; mse_path_ to 1e-9",
    matrices=True,
    single_node="cv= other than a number or an unshuffled KFold; precompute= an array",
)
def fit_elastic_net_cv(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Cross-validated L1 and L2 penalties, by scikit-learn's own coordinate descent on moment rows.

    Sample weights count in fitting and in the error of each fold, as they do in scikit-learn.

    Source: https://scikit-learn.org/stable/modules/linear_model.html#elastic-net
    """
    checked(estimator, estimator._validate_params)
    _check(estimator, view)
    if holds_gram(estimator):
        return (yield from fitting.gather(estimator, view, GIVEN_GRAM))
    if not splits_by_row(estimator.cv, by_class=False):
        return (yield from fitting.gather(estimator, view, OTHER_FOLDS))
    folds = yield from row_folds(estimator, view, estimator.cv)
    grams = yield from fold_grams(estimator, view, fitting, folds)
    ratios = np.atleast_1d(estimator.l1_ratio) if hasattr(estimator, "l1_ratio") else [1]
    grids = checked(estimator, lambda: _grids(estimator, ratios, grams.total, view.width))
    paths = [_path(estimator, state, view.width, ratios, grids) for state in grams.others]
    squares = yield from all_squared_errors(view, folds, grams, paths)
    errors = (squares / np.array([s.weight for s in grams.folds])[:, None, None]).mean(axis=1)
    # (n_folds, n_l1_ratios · n_alphas) in scikit-learn's order of axes.
    errors = np.ascontiguousarray(errors.reshape(len(errors), len(grids), -1).transpose(1, 2, 0))
    estimator.mse_path_ = np.squeeze(errors)
    _refit(estimator, grams.total, view, ratios, grids, errors.mean(axis=2))
    return in_linear_type(estimator, view)


def _check(estimator: Any, view: View) -> None:
    several = estimator._is_multitask()
    check_targets(estimator, view, several=several)
    name = type(estimator).__name__
    if len(view.target) > 1 and not several:
        raise BadParameter(f"{name} has {len(view.target)} targets.", fix=f"Use MultiTask{name}, or one target.")
    if not isinstance(estimator.alphas, Integral):
        for i, alpha in enumerate(estimator.alphas):
            checked(estimator, partial(check_scalar, alpha, f"alphas[{i}]", target_type=Real, min_val=0.0))


def _grids(estimator: Any, ratios: Any, total: GramState, width: int) -> list[FloatArray]:
    """The penalties of each l1_ratio, from the largest to the smallest."""
    if not isinstance(estimator.alphas, Integral):
        return [np.sort(estimator.alphas)[::-1]] * len(ratios)
    crossed = total.products[:width, width:]
    if not estimator.fit_intercept:
        crossed = crossed + total.weight * np.outer(total.mean[:width], total.mean[width:])
    return [
        _alpha_grid(
            None,
            None,
            Xy=crossed,
            l1_ratio=ratio,
            eps=estimator.eps,
            n_alphas=estimator.alphas,
            sample_weight=np.array([total.weight]),
            positive=getattr(estimator, "positive", False),
        )
        for ratio in ratios
    ]


def _path(estimator: Any, state: GramState, width: int, ratios: Any, grids: list[FloatArray]) -> LinearPath:
    """The models of all l1_ratios and penalties, one after another along the last axis."""
    x, y = moment_rows(state, width, fit_intercept=estimator.fit_intercept)
    settings = estimator.get_params()
    for name in ("fit_intercept", "cv", "n_jobs", "alphas", "l1_ratio"):
        settings.pop(name, None)
    if y.ndim > 1:
        settings["precompute"] = False  # there is no multi-task descent on a Gram matrix
    elif settings["precompute"] == "auto":
        settings["precompute"] = state.rows > width
    found = []
    for ratio, alphas in zip(ratios, grids, strict=True):
        given = {"l1_ratio": ratio} if hasattr(estimator, "l1_ratio") else {}
        _, coefs, _ = estimator.path(x, y, alphas=alphas, **given, **settings)
        found.append(coefs[:, None] if coefs.ndim == 2 else coefs.swapaxes(0, 1))
    return LinearPath.of(np.concatenate(found, axis=2), state, fit_intercept=estimator.fit_intercept)


def _refit(
    estimator: Any, total: GramState, view: View, ratios: Any, grids: list[FloatArray], errors: FloatArray
) -> None:
    """Choose the penalty of least error, and fit it on all rows."""
    # scikit-learn's choice among equals: the first l1_ratio, and there the largest penalty.
    i, j = np.unravel_index(np.argmin(errors), errors.shape)
    estimator.alpha_ = grids[i][j]
    if hasattr(estimator, "l1_ratio"):
        estimator.l1_ratio_ = ratios[i]
    by_hand = not isinstance(estimator.alphas, Integral)
    estimator.alphas_ = np.asarray(grids[0] if by_hand or len(grids) == 1 else grids)
    model = estimator._get_estimator()
    common = model.get_params().keys() & estimator.get_params().keys()
    model.set_params(**{name: value for name, value in estimator.get_params().items() if name in common})
    model.alpha, model.l1_ratio = grids[i][j], ratios[i]
    if getattr(model, "precompute", False) == "auto":
        model.precompute = False
    fit_on_moments(model, total, view)
    for name in ("coef_", "intercept_", "dual_gap_", "n_iter_"):
        setattr(estimator, name, getattr(model, name))
    set_inputs(estimator, view)
