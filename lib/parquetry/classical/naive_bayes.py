"""Naive Bayes: Gaussian, multinomial, Bernoulli, complement and categorical.

The classes come from a pass over the target alone, everything else from one pass over X.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.utils.multiclass import unique_labels

from parquetry.classical.class_counts import CategoryCounts, ClassCounts
from parquetry.classical.inputs import float_type, in_type
from parquetry.classical.labels import Classes, encoded, learn_classes
from parquetry.classical.refusals import require_dense, require_memory
from parquetry.classical.scatter import Scatter, ScatterState
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View

_PASSES = "2 (the first over the target alone)"
_FEWER = "Use fewer features or classes, or allow more with memory=."


@fitter(GaussianNB, passes=_PASSES, exact="means and variances to 1e-12", matrices=True)
def fit_gaussian_nb(model: Any, view: View, fitting: Fitting) -> Asking:
    """Mean and variance of each feature in each class, weighted if asked.

    As in scikit-learn, ``var_smoothing`` is a share of the largest variance of a feature over all
    rows, whatever they weigh, and a class without weight has a mean of 0 and no variance.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.naive_bayes.GaussianNB.html
    """
    checked(model, model._validate_params)
    require_dense(model, view)
    classes, seen = yield from learn_one_target(model, view)
    count, names = len(classes.values), shown_names(view)
    what = f"{view.width:,} features of {count:,} classes"
    require_memory(model, fitting, 3 * 8 * view.width * count, what, _FEWER)
    dtype = float_type(view)
    priors = _gaussian_priors(model, count)
    works = [Pass(Scatter("GaussianNB", names, classes=count, kind="spread"), seen)]
    if view.sample_weight is not None:
        works.append(Pass(Moments("GaussianNB", names, extremes=False), seen))
    state, *unweighted = yield works
    variance = unweighted[0].variance if unweighted else _total_variance(state)
    _set_gaussian(model, state, classes, variance, priors)
    set_inputs(model, view)
    in_type(model, dtype, ("theta_", "var_", "class_count_", "class_prior_", "epsilon_"))
    return model


@fitter(
    MultinomialNB,
    BernoulliNB,
    ComplementNB,
    passes=_PASSES,
    exact="counts equal, weighted sums to 1e-12",
    matrices=True,
)
def fit_discrete_nb(model: Any, view: View, fitting: Fitting) -> Asking:
    """Feature counts of each class, weighted if asked, X dense or sparse; the rest is scikit-learn's own code.

    Source: https://scikit-learn.org/stable/modules/naive_bayes.html
    """
    checked(model, model._validate_params)
    require_numbers(model, view)
    classes, seen = yield from learn_one_target(model, view)
    alpha = _prepared(model, view, classes)
    count, names, who = len(classes.values), shown_names(view), type(model).__name__
    require_memory(model, fitting, 8 * view.width * count, f"{view.width:,} features of {count:,} classes", _FEWER)
    binary = isinstance(model, BernoulliNB)
    reduction = ClassCounts(who, names, count, threshold=model.binarize if binary else None, negative=binary)
    (sums,) = yield [Pass(reduction, seen)]
    model.class_count_, model.feature_count_ = sums.weight, sums.features
    if isinstance(model, ComplementNB):
        model.feature_all_ = model.feature_count_.sum(axis=0)
    model._update_feature_log_prob(alpha)
    model._update_class_log_prior(class_prior=model.class_prior)
    return model


@fitter(CategoricalNB, passes=_PASSES, exact="counts equal, weighted sums to 1e-12", matrices=True)
def fit_categorical_nb(model: Any, view: View, _fitting: Fitting) -> Asking:
    """How often each feature has each category code in each class; the rest is scikit-learn's own code.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.naive_bayes.CategoricalNB.html
    """
    checked(model, model._validate_params)
    require_dense(model, view)
    classes, seen = yield from learn_one_target(model, view)
    alpha = _prepared(model, view, classes)
    checked(model, lambda: model._validate_n_categories(np.zeros((1, view.width), dtype=int), model.min_categories))
    (sums,) = yield [Pass(CategoryCounts("CategoricalNB", shown_names(view), len(classes.values)), seen)]
    largest = np.array([[counts.shape[1] - 1 for counts in sums.features]])
    model.n_categories_ = model._validate_n_categories(largest, model.min_categories)
    model.class_count_ = sums.weight
    model.category_count_ = [
        np.pad(counts, [(0, 0), (0, max(0, int(wide) - counts.shape[1]))])
        for counts, wide in zip(sums.features, model.n_categories_, strict=True)
    ]
    model._update_feature_log_prob(alpha)
    model._update_class_log_prior(class_prior=model.class_prior)
    return model


def learn_one_target(
    model: Any, view: View, *, least: int = 1
) -> Generator[list[Any], list[Any], tuple[Classes, View]]:
    """The classes of the only target, and the view with their codes in its place."""
    if len(view.target) > 1:
        raise BadParameter(
            f"{type(model).__name__} takes one target, not {len(view.target)}.",
            fix="Fit a model for each target.",
        )
    found = yield from learn_classes(model, view, least=least)
    return found[0], encoded(view, found)


def _gaussian_priors(model: Any, count: int) -> Any:
    """The given priors, checked in scikit-learn's words, or None."""
    if model.priors is None:
        return None
    priors = np.asarray(model.priors, dtype=np.float64)
    wrong = ""
    if len(priors) != count:
        wrong = f"Number of priors must match number of classes: {len(priors)} for {count}."
    elif not np.isclose(priors.sum(), 1.0):
        wrong = "The sum of the priors should be 1."
    elif (priors < 0).any():
        wrong = "Priors must be non-negative."
    if wrong:
        raise BadParameter(f"GaussianNB: {wrong}", fix="Mend priors=, or leave it out.")
    return priors


def _total_variance(state: ScatterState) -> Any:
    _, apart = state.overall()
    return (state.products.sum(axis=0) + state.weight @ (apart * apart)) / state.weight.sum()


def _set_gaussian(model: Any, state: ScatterState, classes: Classes, variance: Any, priors: Any) -> None:
    model.classes_ = unique_labels(classes.values)
    model.epsilon_ = model.var_smoothing * np.max(variance)
    # scikit-learn lets a weight of nearly nothing count as none.
    heavy = ~np.isclose(state.weight, 0.0)[:, None]
    model.theta_ = np.where(heavy, state.mean + state.rest, 0.0)
    spread = np.divide(state.products, state.weight[:, None], out=np.zeros_like(state.products), where=heavy)
    model.var_ = np.clip(spread, 0.0, None) + model.epsilon_
    model.class_count_ = state.weight
    model.class_prior_ = state.weight / state.weight.sum() if priors is None else priors


def _prepared(model: Any, view: View, classes: Classes) -> Any:
    """Names and classes set, ``class_prior`` checked; gives the smoothing, by scikit-learn's own checks."""
    set_inputs(model, view)
    model.classes_ = unique_labels(classes.values)
    model.class_count_ = classes.weights
    checked(model, lambda: model._update_class_log_prior(class_prior=model.class_prior))
    return checked(model, model._check_alpha)
