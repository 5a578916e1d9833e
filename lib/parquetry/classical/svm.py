"""LinearSVC and LinearSVR: the objectives of scikit-learn's liblinear, minimized in a few passes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC, LinearSVR

from parquetry.classical.labels import Classes, class_weights, encoded, learn_classes
from parquetry.classical.logistic import warn_of_trouble
from parquetry.classical.logistic_penalty import Form, Terms
from parquetry.classical.logistic_settled import settled
from parquetry.classical.logistic_start import LogisticArrays
from parquetry.classical.svm_ground import MATRIX, MarginGround, prepared_margins
from parquetry.classical.svm_kinks import KinkFound, search_kinks
from parquetry.classical.svm_losses import Margin, TargetArrays
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

CRAMMER_SINGER = "multi_class='crammer_singer' has a solver for rows in memory only."
WIDE = f"A loss with kinks is minimized over at most {MATRIX:,} features on several nodes."
NEGATIVE = "With epsilon below 0 liblinear's result depends on its own steps."


@fitter(
    LinearSVC,
    passes="3 on up to 32,768 rows (hinge: 2), else 4 to 8 (hinge: 3 to 10; sparse up to 256 MiB: 4, one of them in "
    "one task); 10 to 100 with thousands of features beyond that",
    exact="same optimum to 1e-6",
    matrices=True,
    single_node=f"multi_class='crammer_singer'; loss='hinge' of more than {MATRIX:,} features",
)
def fit_linear_svc(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Linear support vector classification, one class against the rest.

    Minimizes liblinear's own objective, ``penalty + C * sum(weight * loss)``, with the intercept
    penalized as liblinear does (``intercept_scaling``). All classes share every pass. ``dual`` and
    ``random_state`` change nothing: there is one optimum. With more than two classes ``class_weight``
    weighs a class in its own model only, where it stands against the rest, as in liblinear.

    The squared hinge is minimized by Newton's method from the solution of a sample; ``tol`` bounds
    the error of the coefficients (of standardized features, relative to the largest one, or to 1)
    by about ``1e-4 * tol``: 1e-8 by default. The hinge is minimized exactly: the rows near the margin
    are brought to the driver, an interior point method finds the optimum with the other rows
    on the sides where they are, and another pass proves that they are there. So the dual problem's
    optimum is met to 1e-8, whatever ``tol`` is. Where more rows lie on their margins than the driver
    takes, the hinge is smoothed instead, ever less until the coefficients settle to that digit.
    Features of few values, booleans say, may leave a hinge with an optimum of whole numbers, where two classes have
    the very same score: which of them ``predict`` then names is a matter of the last bit, there and here.
    Sparse rows of up to 256 MiB (and a twelfth of the memory) are brought into one task for the squared
    hinge, which takes the steps there; a pass over all rows proves the minimum.
    ``max_iter`` bounds the passes after the first one, and ``n_iter_`` counts them, not the steps within.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.svm.LinearSVC.html
    """
    settled(estimator, view)
    if estimator.multi_class == "crammer_singer":
        return (yield from fitting.gather(estimator, view, CRAMMER_SINGER))
    kinked = estimator.loss == "hinge"
    if kinked and view.width > MATRIX:
        return (yield from fitting.gather(estimator, view, WIDE))
    (classes,) = yield from learn_classes(estimator, view, least=2)
    margin = _margin_of(estimator, classes)
    arrays = partial(LogisticArrays, n_classes=len(classes.values))
    lasso = estimator.penalty == "l1"
    ground = yield from prepared_margins(
        _form(estimator), encoded(view, [classes]), margin, arrays, fitting, lasso=lasso
    )
    terms = Terms(float(estimator.C), float(lasso))
    coef, intercept = yield from _searched(estimator, ground, terms, fitting, kinked=kinked)
    estimator.classes_ = classes.values
    estimator.coef_ = coef
    estimator.intercept_ = intercept if estimator.fit_intercept else 0.0
    set_inputs(estimator, view)
    return estimator


@fitter(
    LinearSVR,
    passes="2 on up to 32,768 rows (losses with kinks: 1), else 2 to 6 (sparse up to 256 MiB: 3, one of them in one "
    "task); 10 to 100 with thousands of features beyond that",
    exact="same optimum to 1e-6",
    matrices=True,
    single_node=f"epsilon < 0; loss='epsilon_insensitive' of more than {MATRIX:,} features",
)
def fit_linear_svr(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Linear support vector regression.

    Minimizes liblinear's own objective, ``penalty + C * sum(weight * loss)``, with the intercept
    penalized as liblinear does. Squared losses and losses with kinks are minimized as
    :func:`fit_linear_svc` says, and ``tol`` and ``max_iter`` mean the same.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.svm.LinearSVR.html
    """
    settled(estimator, view)
    if estimator.epsilon < 0:
        return (yield from fitting.gather(estimator, view, NEGATIVE))
    kinked = estimator.loss == "epsilon_insensitive"
    if kinked and view.width > MATRIX:
        return (yield from fitting.gather(estimator, view, WIDE))
    margin = Margin(None, None, float(estimator.epsilon))
    arrays = partial(TargetArrays, n_classes=0)
    ground = yield from prepared_margins(_form(estimator), view, margin, arrays, fitting)
    coef, intercept = yield from _searched(estimator, ground, Terms(float(estimator.C), 0.0), fitting, kinked=kinked)
    estimator.coef_ = coef.ravel()
    estimator.intercept_ = intercept if estimator.fit_intercept else 0.0
    set_inputs(estimator, view)
    return estimator


def _margin_of(estimator: Any, classes: Classes) -> Margin:
    """Two classes make one model, more make one each."""
    (vector,) = checked(estimator, lambda: class_weights([classes], estimator.class_weight))
    plain = estimator.class_weight is None
    if len(vector) == 2:
        return Margin(np.array([1]), None if plain else vector[None, :])
    # liblinear weighs a class where it is told from the rest, and the rest by 1.
    own = np.where(np.eye(len(vector), dtype=bool), vector, 1.0)
    return Margin(np.arange(len(vector)), None if plain else own)


def _form(estimator: Any) -> Form:
    scaling = float(estimator.intercept_scaling) if estimator.fit_intercept else None
    name, tol, most = type(estimator).__name__, float(estimator.tol), int(estimator.max_iter)
    return Form(name, bool(estimator.fit_intercept), scaling, tol, most)


def _searched(estimator: Any, ground: MarginGround, terms: Terms, fitting: Fitting, *, kinked: bool) -> Any:
    """Coefficients ``(n_models, n_features)`` and intercepts ``(n_models,)``; sets ``n_iter_``."""
    found: Any
    if kinked:
        found = yield from search_kinks(ground, terms)
        _warn_of_gaps(type(estimator).__name__, found)
    else:
        found = yield from ground.search_squared(terms, fitting)
        warn_of_trouble(type(estimator).__name__, found)
    estimator.n_iter_ = max(f.iterations for f in found)
    both = [ground.original(f, terms) for f in found]
    coef: FloatArray = np.concatenate([coef for coef, _ in both])
    return np.ascontiguousarray(coef), np.concatenate([intercept for _, intercept in both])


def _warn_of_gaps(who: str, found: list[KinkFound]) -> None:
    late = [f for f in found if f.late]
    if late:
        share = f" in {len(late)} of {len(found)} models" if len(found) > 1 else ""
        worst = max(f.gap for f in late)
        warnings.warn(
            f"{who} did not converge{share}: after {late[0].iterations} passes its rows still cross their margins, and "
            f"by {worst:.1e} of the objective. Raise max_iter, or lower C.",
            ConvergenceWarning,
            stacklevel=2,
        )
