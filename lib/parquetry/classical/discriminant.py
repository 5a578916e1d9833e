"""Linear and quadratic discriminant analysis from class means and products within classes.

The classes come from a pass over the target alone, the products from one pass over X.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.covariance import shrunk_covariance
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.utils.multiclass import unique_labels

from parquetry.classical.inputs import float_type, in_type
from parquetry.classical.labels import Classes
from parquetry.classical.naive_bayes import learn_one_target
from parquetry.classical.refusals import refuse_weights, require_dense, require_memory
from parquetry.classical.scatter import Scatter, ScatterState
from parquetry.classical.shrinkage import covariances, total_covariance
from parquetry.classical.spectrum import RESOLVED, refined, root, singular
from parquetry.errors import BadParameter, DegenerateColumn
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_PASSES = "2 (the first over the target alone); 3 with shrinkage='auto'"
_SINGLE = "covariance_estimator="
_FEWER = "Use fewer features (PCA first) or classes, or allow more with memory=."


@fitter(
    LinearDiscriminantAnalysis,
    passes=f"{_PASSES} or if ill-conditioned",
    exact="the same solution to 1e-9; scalings_ up to the sign of each column",
    matrices=True,
    single_node=_SINGLE,
)
def fit_lda(model: Any, view: View, fitting: Fitting) -> Asking:
    """Linear discriminant analysis by each of scikit-learn's solvers.

    The sign of each column of ``scalings_`` (so of each column that ``transform`` gives) is the
    decomposition's own, there and here, and may differ. With ``solver="svd"`` a column that is
    constant in every class counts as constant whatever the rounding of its mean says.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.discriminant_analysis.LinearDiscriminantAnalysis.html
    """
    checked(model, model._validate_params)
    refuse_weights(model, view)
    require_dense(model, view)
    _check_solver(model)
    if model.covariance_estimator is not None:
        return (yield from fitting.gather(model, view, "covariance_estimator= needs all rows of a class."))
    classes, seen = yield from learn_one_target(model, view)
    _check_rows(classes)
    components = _most_components(model, view.width, len(classes.values))
    priors = _lda_priors(model, classes)
    each = model.shrinkage == "auto" or (model.priors is not None and (model.solver != "svd" or model.store_covariance))
    seen = seen.cached() if model.shrinkage == "auto" else seen
    state = yield from _scattered(model, seen, fitting, len(classes.values), each=each)
    model.classes_, model.priors_ = unique_labels(classes.values), priors
    model.means_ = state.mean + state.rest
    model._max_components = components
    yield from _solve_lda(model, seen, state)
    if len(classes.values) == 2:
        model.coef_ = np.ascontiguousarray(model.coef_[1:] - model.coef_[:1])
        model.intercept_ = model.intercept_[1:] - model.intercept_[:1]
    model._n_features_out = components
    set_inputs(model, view)
    _narrow_lda(model, float_type(view))
    return model


def _narrow_lda(model: Any, dtype: Any) -> None:
    """The attributes that scikit-learn keeps in the type of X."""
    names = ["means_", "priors_"]
    if model.solver == "svd":
        names += ["xbar_", "coef_", "intercept_", "scalings_", "explained_variance_ratio_"]
    elif len(model.classes_) == 2:
        names += ["coef_", "intercept_"]
    in_type(model, dtype, names)


@fitter(
    QuadraticDiscriminantAnalysis,
    passes=_PASSES,
    exact="covariances to 1e-9; rotations_ up to the sign of each column",
    matrices=True,
    single_node=_SINGLE,
)
def fit_qda(model: Any, view: View, fitting: Fitting) -> Asking:
    """Quadratic discriminant analysis: mean and covariance of each class, and its axes.

    The sign of each column of ``rotations_`` is the decomposition's own, there and here. Variances
    along the axes come from products: one below 1e-7 of its features' own has less than 9 digits.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis.html
    """
    checked(model, model._validate_params)
    refuse_weights(model, view)
    require_dense(model, view)
    _check_solver(model)
    if model.covariance_estimator is not None:
        return (yield from fitting.gather(model, view, "covariance_estimator= needs all rows of a class."))
    classes, seen = yield from learn_one_target(model, view, least=2)
    _check_class_sizes(model, classes, view.width)
    seen = seen.cached() if model.shrinkage == "auto" else seen
    state = yield from _scattered(model, seen, fitting, len(classes.values), each=True)
    model.classes_ = np.unique(classes.values)
    model.means_ = state.mean + state.rest
    model.priors_ = classes.counts / classes.counts.sum() if model.priors is None else np.array(model.priors)
    if model.solver == "svd":
        axes = [_axes(model, products, int(n)) for products, n in zip(state.products, classes.counts, strict=True)]
    else:
        found = yield from covariances("QuadraticDiscriminantAnalysis", seen, state, model.shrinkage)
        axes = [_eigen_axes(covariance) for covariance in found.classes]
    model.scalings_, model.rotations_, covariance = (list(part) for part in zip(*axes, strict=True))
    if model.store_covariance:
        model.covariance_ = covariance
    _check_rank(model, classes, view.width)
    set_inputs(model, view)
    kept = ["means_", "scalings_", "rotations_", "covariance_"] if model.solver == "svd" else ["means_"]
    in_type(model, float_type(view), kept)
    return model


def _scattered(
    model: Any, view: View, fitting: Fitting, classes: int, *, each: bool
) -> Generator[list[Any], list[Any], ScatterState]:
    width, who = view.width, type(model).__name__
    matrices = classes if each else 1
    what = f"{matrices:,} times the products of {width:,} features"
    require_memory(model, fitting, 8 * width * (width * matrices + 2 * classes), what, _FEWER)
    kind: Any = "each" if each else "within"
    (state,) = yield [Pass(Scatter(who, shown_names(view), classes=classes, kind=kind), view)]
    return state  # type: ignore[no-any-return]


# --- linear ---------------------------------------------------------------------------------
def _solve_lda(model: Any, view: View, state: ScatterState) -> Generator[list[Any], list[Any], None]:
    who = "LinearDiscriminantAnalysis"
    if state.products.ndim == 3:
        found = yield from covariances(who, view, state, model.shrinkage)
        within, total = np.tensordot(model.priors_, found.classes, axes=1), found.total
        state = replace(state, products=state.products.sum(axis=0))
    else:
        within, total = state.products / state.weight.sum(), total_covariance(state)
        if model.shrinkage is not None:
            within, total = shrunk_covariance(within, model.shrinkage), shrunk_covariance(total, model.shrinkage)
    if model.solver != "svd" or model.store_covariance:
        model.covariance_ = within
    if model.solver == "svd":
        yield from _solve_svd(model, view, state)
        return
    if model.solver == "lsqr":
        model.coef_ = linalg.lstsq(within, model.means_.T)[0].T
    else:
        _solve_eigen(model, within, total)
    model.intercept_ = -0.5 * np.diag(model.means_ @ model.coef_.T) + np.log(model.priors_)


def _solve_eigen(model: Any, within: FloatArray, total: FloatArray) -> None:
    try:
        values, vectors = linalg.eigh(total - within, within)
    except linalg.LinAlgError as error:
        raise DegenerateColumn(
            "LinearDiscriminantAnalysis: the covariance within classes has no inverse.",
            why=f"Some features are constant in every class, or are combinations of others ({error}).",
            fix="Use solver='svd', or shrinkage='auto'.",
        ) from error
    ratio = np.sort(values / values.sum())[::-1][: model._max_components]
    model.explained_variance_ratio_ = ratio
    model.scalings_ = vectors[:, np.argsort(values)[::-1]]
    model.coef_ = model.means_ @ model.scalings_ @ model.scalings_.T


def _solve_svd(model: Any, view: View, state: ScatterState) -> Generator[list[Any], list[Any], None]:
    """First the axes within classes, scaled to 1, then the axes between the classes along them."""
    rows, priors = state.weight.sum(), model.priors_
    values, vectors, scale = yield from _within_axes(model, view, state)
    scalings = (vectors / scale).T / values
    _, apart = state.overall()
    middle = priors @ apart
    share = 1.0 if len(priors) == 1 else 1.0 / (len(priors) - 1)
    between = (np.sqrt(rows * priors * share)[:, None] * (apart - middle)) @ scalings
    _, lengths, turn = linalg.svd(between, full_matrices=False)
    with np.errstate(invalid="ignore"):
        ratio = lengths**2 / (lengths**2).sum()
    model.explained_variance_ratio_ = ratio[: model._max_components]
    model.scalings_ = scalings @ turn.T[:, : int((lengths > model.tol * lengths[0]).sum())]
    model.xbar_ = priors @ model.means_
    coef = (apart - middle) @ model.scalings_
    model.coef_ = coef @ model.scalings_.T
    model.intercept_ = -0.5 * (coef**2).sum(axis=1) + np.log(priors) - model.xbar_ @ model.coef_.T


def _within_axes(
    model: Any, view: View, state: ScatterState
) -> Generator[list[Any], list[Any], tuple[FloatArray, FloatArray, FloatArray]]:
    """Singular values above ``tol`` of X scaled within classes, their vectors as rows, and the scale."""
    rows, least = state.weight.sum(), np.finfo(float).eps * np.abs(model.means_).max(axis=0)
    squares = np.diag(state.products)
    constant = squares <= rows * least**2
    scale = np.where(constant, 1.0, np.sqrt(np.clip(squares, 0.0, None) / rows))
    products = np.where(constant | constant[:, None], 0.0, state.products)
    state = replace(state, products=products)
    factor = root(products)
    values, vectors = singular(factor / scale / np.sqrt(rows))
    kept = values[: int(rows)] > model.tol
    if kept.any() and values[: len(kept)][kept].min() < 1.0 / np.sqrt(RESOLVED):
        names = shown_names(view)
        factor = yield from refined(type(model).__name__, names, view, state, factor, classes=len(state.weight))
        values, vectors = singular(np.where(constant, 0.0, factor) / scale / np.sqrt(rows))
        kept = values[: int(rows)] > model.tol
    if not kept.any():
        raise DegenerateColumn(
            "LinearDiscriminantAnalysis: no feature varies within the classes.",
            why="There is no spread to compare the classes' means with.",
            fix="Check that the target is not among the features, or lower tol=.",
        )
    return values[: len(kept)][kept], vectors[: len(kept)][kept], scale


def _lda_priors(model: Any, classes: Classes) -> FloatArray:
    """Given, or the classes' shares of the rows; made to add up to 1, with scikit-learn's warning."""
    counts = classes.counts
    priors = counts / counts.sum() if model.priors is None else np.asarray(model.priors, dtype=np.float64)
    if len(priors) != len(counts) or (priors < 0).any():
        raise BadParameter(
            f"LinearDiscriminantAnalysis: priors must be non-negative, one of each of the {len(counts)} classes.",
            fix="Mend priors=, or leave it out.",
        )
    if abs(priors.sum() - 1.0) > 1e-5:
        warnings.warn("The priors do not sum to 1. Renormalizing", UserWarning, stacklevel=2)
        priors = priors / priors.sum()
    return priors


def _most_components(model: Any, width: int, classes: int) -> int:
    most = min(classes - 1, width)
    if model.n_components is not None and model.n_components > most:
        raise BadParameter(
            f"LinearDiscriminantAnalysis: n_components={model.n_components} is above {most}.",
            why=f"It cannot be larger than min(n_features, n_classes - 1); there are {width} and {classes}.",
            fix="Ask for fewer components.",
        )
    return most if model.n_components is None else int(model.n_components)


def _check_solver(model: Any) -> None:
    who = type(model).__name__
    if model.solver == "svd" and model.shrinkage is not None:
        raise BadParameter(f"{who}: shrinkage does not work with solver='svd'.", fix="Use solver='eigen'.")
    if model.solver == "svd" and model.covariance_estimator is not None:
        raise BadParameter(f"{who}: covariance_estimator does not work with solver='svd'.", fix="Use solver='eigen'.")
    if model.covariance_estimator is not None and model.shrinkage is not None and model.shrinkage != 0:
        raise BadParameter(f"{who}: both shrinkage and covariance_estimator are given.", fix="Give one of them.")


def _check_rows(classes: Classes) -> None:
    if int(classes.counts.sum()) == len(classes.values):
        raise DegenerateColumn(
            f"LinearDiscriminantAnalysis: there are as many classes as rows: {len(classes.values):,}.",
            why="A class of one sample has no spread.",
            fix="Check that the target is the right column.",
        )


# --- quadratic ------------------------------------------------------------------------------
def _axes(model: Any, products: FloatArray, rows: int) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """Variances along the axes of a class, regularized, the axes as columns, and the covariance."""
    values, vectors = singular(root(products))
    scaling = (1 - model.reg_param) * values[:rows] ** 2 / rows + model.reg_param
    rotation = vectors[:rows].T
    return scaling, rotation, scaling * rotation @ rotation.T if model.store_covariance else None


def _eigen_axes(covariance: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    values, vectors = linalg.eigh(covariance)
    order = np.argsort(values)[::-1]
    return values[order], vectors[:, order], covariance


def _check_class_sizes(model: Any, classes: Classes, width: int) -> None:
    """Too few rows of a class are known from the counts, before X is read."""
    for label, count in zip(classes.values.tolist(), classes.counts.tolist(), strict=True):
        if count == 1 or (model.solver == "svd" and count < width):
            raise DegenerateColumn(
                f"QuadraticDiscriminantAnalysis: class {label!r} has {count:,} rows for {width:,} features.",
                why="Its covariance is ill defined.",
                fix="Use solver='eigen' with shrinkage='auto', or fewer features.",
            )


def _check_rank(model: Any, classes: Classes, width: int) -> None:
    for label, scaling in zip(classes.values.tolist(), model.scalings_, strict=True):
        if int((scaling > model.tol).sum()) < width:
            parameter = "shrinkage" if model.solver == "eigen" else "reg_param"
            raise DegenerateColumn(
                f"QuadraticDiscriminantAnalysis: the covariance of class {label!r} is not of full rank.",
                why=f"Its least variance along an axis is {float(scaling.min()):.3g}, not above tol={model.tol:g}.",
                fix=f"Raise {parameter}, or leave out collinear features.",
            )
