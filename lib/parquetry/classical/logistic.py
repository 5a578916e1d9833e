"""LogisticRegression: scikit-learn's own objective, minimized by Newton's method in a few passes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from parquetry.classical.labels import class_weights, encoded, learn_classes
from parquetry.classical.logistic_ground import Ground, prepared
from parquetry.classical.logistic_penalty import Form, Terms
from parquetry.classical.logistic_settled import settled
from parquetry.classical.logistic_solver import Found
from parquetry.classical.logistic_task import fits_one_task, solved_in_one_task
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

CALLBACKS = "Callbacks watch the iterations of scikit-learn's own solver."


@fitter(
    LogisticRegression,
    passes="3 on up to 32,768 rows, else 4 to 6 (sparse up to 256 MiB: 4, one of them in one task); "
    "10 to 100 where wide beyond that, or ill-conditioned",
    exact="same optimum to 1e-6",
    matrices=True,
    single_node="callbacks",
)
def fit_logistic_regression(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Logistic regression, binary or multinomial, with an L2, L1, elastic net or no penalty.

    Minimizes scikit-learn's own objective, ``C * sum(weight * loss) + penalty``. Every solver's name
    is accepted; all reach the one optimum, and ``liblinear`` penalizes the intercept, as it does in
    scikit-learn. The first pass over the features keeps the rows in the block cache and takes a
    sample of them (at most 32,768 rows and 32 MiB). The model of the sample is the start, and Newton
    steps over all rows follow. Their second derivatives are exact with up to 256 coefficients
    (features times classes); with more they are the sample's, corrected by each pass's gradient, and
    exact ones are asked for (up to 2,048 coefficients) where those do not suffice.

    Sparse features are wide: their model would take many cheap passes. Where all rows take up to 256 MiB
    (and a twelfth of the memory), one task maps them from the block cache and takes the steps there; a pass
    over all rows proves the minimum, and ``fit_report_`` says it.

    ``tol`` bounds the error of the coefficients (of standardized features, relative to the largest
    one, or to 1) by about ``1e-4 * tol``: 1e-8 by default. Beyond 2,048 coefficients that error is
    estimated by the model of the sample, and may be larger where features are nearly collinear.
    ``max_iter`` bounds the passes after the first one, and ``n_iter_`` counts them, not the steps within: it is 1
    where the sample is all of the rows, since one pass proves the minimum that was found on it. ``warm_start``
    changes nothing: the estimator is cloned, and the optimum is the same from any start.

    Without a penalty, classes that are perfectly separable have no optimum: the search ends with a
    ConvergenceWarning as soon as every row is told apart. Multinomial intercepts add up to 0, also
    where ``saga`` leaves some other sum, which changes no probability. An L1 penalty on an even
    number of classes, or on collinear features, may leave an optimum that is not unique.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.linear_model.LogisticRegression.html
    """
    if getattr(estimator, "_skl_callbacks", None):
        return (yield from fitting.gather(estimator, view, CALLBACKS))
    stand_in = settled(estimator, view)
    terms = terms_of(estimator)
    classes, weighted, seen = yield from classes_of(estimator, view)
    ground = yield from prepared(form_of(estimator), seen, classes, weighted, fitting, lasso=terms.l1_ratio > 0)
    starts = ground.starts([terms])
    if fits_one_task(ground):
        solved = yield from solved_in_one_task(ground, partial(_solution, terms=terms, start=starts[0][0]), fitting)
        starts = [(solved,)]
    (found,) = yield from ground.solve([terms], starts)
    warn_of_trouble(type(estimator).__name__, [found])
    estimator.classes_ = classes.values
    estimator.n_iter_ = np.array([found.iterations], dtype=np.asarray(stand_in.n_iter_).dtype)
    set_coefficients(estimator, *ground.original(found, terms), like=stand_in)
    set_inputs(estimator, view)
    return estimator


def terms_of(estimator: Any) -> Terms:
    """The penalty, as scikit-learn reads ``penalty``, ``C`` and ``l1_ratio``."""
    penalty = estimator.penalty
    if penalty is None:
        return Terms(np.inf, 0.0)
    ratios = {"l1": 1.0, "l2": 0.0}
    return Terms(float(estimator.C), ratios.get(penalty, float(estimator.l1_ratio or 0.0)))


def form_of(estimator: Any) -> Form:
    """What of an estimator's parameters is the same for all penalties."""
    penalized = estimator.solver == "liblinear" and estimator.fit_intercept
    return Form(
        type(estimator).__name__,
        bool(estimator.fit_intercept),
        float(estimator.intercept_scaling) if penalized else None,
        float(estimator.tol),
        int(estimator.max_iter),
    )


def classes_of(estimator: Any, view: View) -> Any:
    """The classes, the weight of each, and the view with class codes as its target: one pass."""
    (classes,) = yield from learn_classes(estimator, view, least=2)
    if estimator.solver == "liblinear" and len(classes.values) > 2:
        raise BadParameter(
            f"{type(estimator).__name__}: solver='liblinear' does not fit {len(classes.values)} classes.",
            why="It tells two classes apart; scikit-learn refuses it, too.",
            fix="Use another solver, or OneVsRestClassifier.",
        )
    (vector,) = checked(estimator, lambda: class_weights([classes], estimator.class_weight))
    return classes, vector, encoded(view, [classes], estimator.class_weight)


def set_coefficients(estimator: Any, coef: FloatArray, intercept: FloatArray, *, like: Any) -> None:
    """Set ``coef_`` and ``intercept_`` in the types that scikit-learn gives them."""
    estimator.coef_ = np.ascontiguousarray(coef, dtype=like.coef_.dtype)
    scalar = not isinstance(like.intercept_, np.ndarray)
    estimator.intercept_ = like.intercept_ if scalar else intercept.astype(like.intercept_.dtype)


def warn_of_trouble(who: str, found: list[Found]) -> None:
    """A ConvergenceWarning where a search has not converged."""
    separable = [f for f in found if f.trouble == "separable"]
    late = [f for f in found if f.trouble in ("iterations", "stalled")]
    share = f" in {len(separable or late)} of {len(found)} fits" if len(found) > 1 else ""
    if separable:
        warnings.warn(
            f"{who}: the classes are perfectly separable along some direction that no penalty holds{share}, so that "
            "the coefficients have no finite optimum. The search ended where every row is told apart or nothing is "
            "left to gain. Choose a finite C, and look whether every class has weight.",
            ConvergenceWarning,
            stacklevel=2,
        )
    if late:
        worst = max(late, key=lambda f: f.steepness)
        warnings.warn(
            f"{who} did not converge{share}: after {worst.iterations} iterations the largest component of the mean "
            f"gradient is {worst.steepness:.1e} (standardized features). Raise max_iter, or lower C.",
            ConvergenceWarning,
            stacklevel=2,
        )


def _solution(ground: Ground, terms: Terms, start: FloatArray) -> FloatArray:
    return ground.sample_solution(terms, start)
