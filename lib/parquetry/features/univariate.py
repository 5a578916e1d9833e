"""Univariate selection: SelectKBest and its kin, by scores that one pass over the rows tells."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special, stats
from sklearn.feature_selection import (
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)
from sklearn.feature_selection._univariate_selection import _chisquare
from sklearn.preprocessing._data import _is_constant_feature

from parquetry.classical.class_counts import ClassCounts
from parquetry.classical.labels import encoded, learn_classes
from parquetry.classical.refusals import refuse_weights, require_memory
from parquetry.classical.scatter import Scatter
from parquetry.errors import BadParameter, WrongColumnType
from parquetry.features.correlation import ClassSpread, Correlated, Correlation
from parquetry.features.mutual import MOST_ROWS, mutual_information, why_gathered
from parquetry.features.surrogate import checked, is_sparse, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.single_node import gathered_bytes
from parquetry.view import FloatArray, View, is_numeric

Scores = Generator[list[Any], list[Any], Any]
_OWN = "A score function of one's own takes all rows at once."


@dataclass(frozen=True)
class _Job:
    """What a score function works on."""

    selector: Any
    view: View
    fitting: Fitting
    settings: dict[str, Any]

    @property
    def who(self) -> str:
        return type(self.selector).__name__


@fitter(
    SelectKBest,
    SelectPercentile,
    SelectFpr,
    SelectFdr,
    SelectFwe,
    GenericUnivariateSelect,
    passes="1; by classes 2 (the first over the target alone); mutual information of many rows about 5",
    exact="scores and p-values to 1e-9; mutual information of more than 100,000 rows: another estimate, by bins",
    matrices=True,
    single_node="a score_func of one's own; mutual information of up to 100,000 rows",
)
def fit_univariate_selector(selector: Any, view: View, fitting: Fitting) -> Asking:
    """The score of each feature, dense or sparse, and its p-value; the choice is scikit-learn's own code.

    ``f_classif``, ``f_regression``, ``r_regression`` and ``chi2`` (or ``functools.partial`` of
    them) are those of all rows, from centered sums: a mean of 1e9 with a deviation of 1 comes out right where
    scikit-learn's own sums of squares lose it. ``mutual_info_classif`` and
    ``mutual_info_regression`` are scikit-learn's own up to 100,000 rows, on one worker; beyond, see
    :mod:`parquetry.features.mutual`.

    Source: https://scikit-learn.org/stable/modules/feature_selection.html#univariate-feature-selection
    """
    refuse_weights(selector, view)
    checked(selector, selector._validate_params)
    function, settings = _unwrapped(selector.score_func)
    score = _SCORES.get(function)
    if score is None:
        return (yield from fitting.gather(selector, view, _OWN))
    require_numbers(selector, view)
    _require_target(selector, view, function)
    few = view.dataset.num_rows <= MOST_ROWS and gathered_bytes(view) <= fitting.memory
    if function in _MUTUAL and (few or set(settings) - {"random_state", "n_jobs"}):
        return (yield from fitting.gather(selector, view, why_gathered(view)))
    shape = (view.dataset.num_rows, view.width)
    checked(selector, lambda: selector._check_params(np.broadcast_to(0.0, shape), None))
    found = yield from score(_Job(selector, view, fitting, settings))
    if isinstance(found, tuple):
        selector.scores_, selector.pvalues_ = found
    else:
        selector.scores_, selector.pvalues_ = found, None
    set_inputs(selector, view)
    return selector


def _unwrapped(function: Any) -> tuple[Any, dict[str, Any]]:
    """The function inside ``functools.partial``, and the keywords that it is given."""
    settings: dict[str, Any] = {}
    while isinstance(function, functools.partial) and not function.args:
        settings = {**function.keywords, **settings}
        function = function.func
    return function, settings


def _require_target(selector: Any, view: View, function: Any) -> None:
    who = type(selector).__name__
    if len(view.target) != 1:
        raise BadParameter(
            f"{who} needs one target, not {len(view.target)}.",
            why=f"{function.__name__} scores the features against it.",
            fix="Pass target='column'.",
        )
    stored = view.dataset.full_schema.field(view.target[0]).type
    numbers = function in (f_regression, r_regression, mutual_info_regression) and view.target_step is None
    if numbers and not is_numeric(stored):
        raise WrongColumnType(
            f"{who}: the target {view.target[0]!r} is {stored}, not a number.",
            why=f"{function.__name__} is for numbers.",
            fix="Name a numeric column, or score with f_classif.",
        )


# --- scores ---------------------------------------------------------------------------------
def _f_classif(job: _Job) -> Scores:
    counts, mean, apart, rests = yield from _by_class(job)
    n, k = counts.sum(), len(counts)
    there = counts[:, None] * 1.0
    middle = (there * apart).sum(axis=0) / n
    between = (there * (apart - middle) ** 2).sum(axis=0)
    within = rests.sum(axis=0)
    constant = _is_constant_feature((between + within) / n, mean + middle, n)
    between[constant] = within[constant] = 0.0
    with np.errstate(invalid="ignore", divide="ignore"):
        f = (between / (k - 1)) / (within / (n - k))
    if constant.any():
        warnings.warn(f"Features {np.flatnonzero(constant)} are constant.", UserWarning, stacklevel=2)
    return f, special.fdtrc(k - 1, n - k, f)


def _by_class(job: _Job) -> Generator[list[Any], list[Any], tuple[Any, FloatArray, FloatArray, FloatArray]]:
    """Rows of each class; each feature's mean in the first, how far the others are apart, the squared deviations."""
    (classes,) = yield from learn_classes(job.selector, job.view, least=2)
    seen, count = encoded(job.view, [classes]), len(classes.values)
    what = f"{job.view.width:,} features of {count:,} classes"
    fix = "Use fewer features or classes, or allow more with memory=."
    require_memory(job.selector, job.fitting, 3 * 8 * job.view.width * count, what, fix)
    names = shown_names(job.view)
    if is_sparse(job.view):
        (spread,) = yield [Pass(ClassSpread(job.who, names, count), seen)]
        return classes.counts, spread.means[0], spread.means - spread.means[0], spread.rests
    (state,) = yield [Pass(Scatter(job.who, names, classes=count, kind="spread"), seen)]
    apart = (state.mean - state.mean[0]) + (state.rest - state.rest[0])
    return classes.counts, state.mean[0], apart, state.products


def _chi2(job: _Job) -> Scores:
    (classes,) = yield from learn_classes(job.selector, job.view)
    count = len(classes.values)
    reduction = ClassCounts(job.who, shown_names(job.view), count, negative=False)
    (sums,) = yield [Pass(reduction, encoded(job.view, [classes]))]
    shares = sums.weight / sums.weight.sum()
    if count == 1:  # scikit-learn then sees a second class without rows
        shares, sums.features = np.append(shares, 0.0), np.vstack([sums.features, np.zeros_like(sums.features)])
    expected = np.outer(shares, sums.features.sum(axis=0))
    return _chisquare(sums.features.copy(), expected)


def _r_regression(job: _Job) -> Scores:
    found = yield from _correlations(job)
    return _finite(found.coefficients, **_kept(job, "force_finite"))


def _f_regression(job: _Job) -> Scores:
    found = yield from _correlations(job)
    finite = job.settings.get("force_finite", True)
    squared = _finite(found.coefficients, force_finite=finite) ** 2
    freedom = job.view.dataset.num_rows - (2 if job.settings.get("center", True) else 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        f = squared / (1 - squared) * freedom
        p = stats.f.sf(f, 1, freedom)
    if finite:
        f = np.where(np.isinf(f), np.finfo(np.float64).max, f)
        p = np.where(np.isnan(f), 1.0, p)
        f = np.where(np.isnan(f), 0.0, f)
    return f, p


def _correlations(job: _Job) -> Generator[list[Any], list[Any], Correlated]:
    center = bool(job.settings.get("center", True))
    names = shown_names(job.view)
    (found,) = yield [Pass(Correlation(job.who, names, job.view.target, centered=center), job.view)]
    return found  # type: ignore[no-any-return]


def _finite(coefficients: FloatArray, *, force_finite: bool = True) -> FloatArray:
    return np.where(np.isnan(coefficients), 0.0, coefficients) if force_finite else coefficients


def _kept(job: _Job, *names: str) -> dict[str, Any]:
    return {name: job.settings[name] for name in names if name in job.settings}


def _mutual_classif(job: _Job) -> Scores:
    (classes,) = yield from learn_classes(job.selector, job.view)
    view = encoded(job.view, [classes])
    return (yield from mutual_information(job.selector, view, job.fitting, classes=len(classes.values)))


def _mutual_regression(job: _Job) -> Scores:
    return (yield from mutual_information(job.selector, job.view, job.fitting, classes=None))


_MUTUAL = (mutual_info_classif, mutual_info_regression)
_SCORES: dict[Any, Callable[[_Job], Scores]] = {
    f_classif: _f_classif,
    f_regression: _f_regression,
    r_regression: _r_regression,
    chi2: _chi2,
    mutual_info_classif: _mutual_classif,
    mutual_info_regression: _mutual_regression,
}
