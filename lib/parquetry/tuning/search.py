"""scikit-learn's searches over parameters: grid, random, and successive halving of both; and Hyperband."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from inspect import signature
from itertools import count
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics._scorer import _MultimetricScorer
from sklearn.model_selection import GridSearchCV, ParameterGrid, ParameterSampler, RandomizedSearchCV
from sklearn.model_selection._search_successive_halving import HalvingGridSearchCV, HalvingRandomSearchCV
from sklearn.model_selection._validation import _insert_error_scores

from parquetry.classical.gram_search import fit_gram_search, searches_on_gram
from parquetry.errors import BadParameter, did_you_mean
from parquetry.features.surrogate import checked
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.tuning.contest import Contest, Outcome, check_names, checked_failures, evaluated
from parquetry.tuning.hyperband import Hyperband
from parquetry.tuning.journal import Journal
from parquetry.tuning.scores import check_scorers
from parquetry.tuning.splits import Dealer, is_dealt_by_number, read_dealer
from parquetry.view import View

OTHER_SPLITTER = "cv= is a splitter of its own, which may look at the rows themselves."
_BY_RESOURCE = (HalvingGridSearchCV, HalvingRandomSearchCV, Hyperband)


@fitter(
    GridSearchCV,
    RandomizedSearchCV,
    HalvingGridSearchCV,
    HalvingRandomSearchCV,
    Hyperband,
    passes="1 or 2 for linear models; about 10 for logistic regressions; others as their fits",
    exact="same folds and ranks; scores to 1e-9 where the fits are the same",
    matrices=False,
    single_node="each fit, several at once, where the rows fit a worker and the model is neither linear nor "
    "logistic; the search where cv= is a splitter of one's own",
)
def fit_search(search: Any, view: View, fitting: Fitting) -> Asking:
    """Search parameters by cross-validation, on the folds that scikit-learn's splitter gives.

    Linear models on Gram matrices and logistic regressions are fitted together in the same passes,
    also behind transformers, which are fitted once a fold. Other fits run on one worker each, by
    the estimator's own code, while the rows fit there; beyond that, and from 4 million values of X
    on for scikit-learn's classes that have a distributed fit, they are distributed fits, a few at a
    time, whose passes share their reads. Then rows come in the dataset's order, and times are a
    fit's share of its group's. So are boosted models with ``group=``, ``validation=`` or ``gang=``, or
    on columns of text, at any size. ``fit_report_`` says which road was taken, and why.

    The best candidate is fitted again by its own distributed fit, where it has one. ``n_jobs`` and
    ``pre_dispatch`` change nothing: the engine has its workers.

    Source: https://scikit-learn.org/stable/modules/grid_search.html
    """
    check_scorers(search, search.scoring)
    checked(search, search._validate_params)
    _check_resource(search)
    try:
        first = _first_candidates(search)
        check_names(search, search.estimator, first)
        if fitting.search.groups is None and fitting.search.order is None and searches_on_gram(search, first):
            return (yield from fit_gram_search(search, view, first, fitting))
        if is_dealt_by_number(search.cv, search):
            return (yield from _searched(search, view, fitting))
    finally:
        vars(search).pop("_run_search", None)
    return (yield from _gathered(search, view, fitting))


def _gathered(search: Any, view: View, fitting: Fitting) -> Asking:
    if fitting.search.columns or fitting.search.resume:
        raise BadParameter(
            f"{type(search).__name__}: {OTHER_SPLITTER}",
            why="groups=, order= and resume= go with scikit-learn's own splitters.",
            fix="Take one of those, or a list of (train, test) row numbers.",
        )
    return (yield from fitting.gather(search, view, OTHER_SPLITTER))


def _check_resource(search: Any) -> None:
    known = ["n_samples", *search.estimator.get_params()]
    if type(search) in _BY_RESOURCE and search.resource not in known:
        raise BadParameter(
            f"{type(search).__name__}: resource={search.resource!r} is no parameter of "
            f"{type(search.estimator).__name__}.",
            why="It is 'n_samples', or a whole-number parameter that makes a fit longer.",
            fix=did_you_mean(search.resource, known),
        )


def _first_candidates(search: Any) -> list[dict[str, Any]]:
    """All candidates of a grid or a random search; of a random halving search one of each distribution.

    Raises
    ------
    BadParameter
        There is none.
    """
    found: list[dict[str, Any]] = checked(search, lambda: list(_sampled(search)))
    if not found:
        raise BadParameter(f"{type(search).__name__}: the grid is empty.", fix="Give parameters and their values.")
    return found


def _sampled(search: Any) -> Any:
    if isinstance(search, GridSearchCV | HalvingGridSearchCV):
        return ParameterGrid(search.param_grid)
    given = search.param_distributions
    if isinstance(search, RandomizedSearchCV):
        sampler = ParameterSampler(given, search.n_iter, random_state=search.random_state)
        # Drawn once: with random_state=None another draw would be another search.
        search._run_search = _RunOnce(list(sampler))
        return search._run_search.candidates
    each = [given] if isinstance(given, dict) else given
    return [params for part in each for params in ParameterSampler(part, 1, random_state=0)]


class _RunOnce:
    """Stands in for ``_run_search``: candidates that are drawn already."""

    def __init__(self, candidates: list[dict[str, Any]]) -> None:
        self.candidates = candidates

    def __call__(self, evaluate_candidates: Any) -> None:
        evaluate_candidates(self.candidates)


def _searched(search: Any, view: View, fitting: Fitting) -> Asking:
    scorers, refit_metric = checked(search, search._get_scorers)
    dealer = yield from read_dealer(search, search.estimator, search.cv, view, fitting.search, fitting.memory)
    contest = _contest(search, scorers, dealer, view, fitting)
    results, outcomes = yield from _rounds(search, contest, dealer)
    first = outcomes[0]["test_scores"]
    search.multimetric_ = isinstance(first, dict)
    if callable(search.scoring) and search.multimetric_:
        checked(search, lambda: search._check_refit_for_multimetric(first))
        refit_metric = search.refit
    _choose(search, results, refit_metric)
    if search.refit:
        yield from _refitted(search, view, fitting)
    search.scorer_ = scorers._scorers if isinstance(scorers, _MultimetricScorer) else scorers
    search.cv_results_ = results
    return search


def _contest(search: Any, scorers: Any, dealer: Dealer, view: View, fitting: Fitting) -> Contest:
    common = (view.dataset.fingerprint, view.features, view.target, view.sample_weight, view.steps, search.scoring)
    return Contest(
        search,
        clone(search.estimator),
        view,
        fitting,
        scorers,
        search.error_score,
        search.return_train_score,
        view.sample_weight is not None and checked(search, search._check_scorers_accept_sample_weight),
        keep_models=False,
        verbose=search.verbose,
        journal=Journal(
            fitting.search.resume,
            (common, search.return_train_score, str(search.error_score), *fitting.options.told),
        ),
        codes=dealer.codes,
    )


# --- rounds ---------------------------------------------------------------------------------
class _Round(Exception):  # no error: how a search that is run again says what it wants next
    """Candidates that a search wants evaluated now."""

    def __init__(self, candidates: list[dict[str, Any]], cv: Any, more: dict[str, Any]) -> None:
        super().__init__()
        self.candidates, self.cv, self.more = candidates, cv, more


class _NoCallbacks:
    """Takes the place of scikit-learn's callbacks."""

    def subcontext(self, **_: Any) -> _NoCallbacks:
        return self

    def call_on_fit_task_begin(self, **_: Any) -> _NoCallbacks:
        return self

    call_on_fit_task_end = call_on_fit_task_begin


def _rounds(
    search: Any, contest: Contest, dealer: Dealer
) -> Generator[list[Any], list[Any], tuple[dict[str, Any], list[Outcome]]]:
    """All rounds of a search: its ``cv_results_``, and what every fit came to.

    scikit-learn's own ``_run_search`` decides on the rounds. It is run from the start for each of
    them, and given the results of those before.
    """
    _prepare(search, dealer)
    candidates: list[dict[str, Any]] = []
    outcomes: list[Outcome] = []
    more: dict[str, list[Any]] = {}
    known: list[dict[str, Any]] = []
    try:
        while (wanted := checked(search, lambda: _next_round(search, known))) is not None:
            splits = dealer.splits(wanted.cv)
            _check_splits(search, splits)
            found = yield from evaluated(contest, wanted.candidates, splits)
            checked_failures(contest, found)
            if callable(search.scoring):
                _insert_error_scores(found, search.error_score)
            candidates += wanted.candidates
            outcomes += found
            for name, values in wanted.more.items():
                more.setdefault(name, []).extend(values)
            known.append(search._format_results(candidates, search.n_splits_, outcomes, more))
    finally:
        vars(search).pop("_generate_candidate_params", None)
    return known[-1], outcomes


def _prepare(search: Any, dealer: Dealer) -> None:
    """What scikit-learn's ``fit`` sets before the first round."""
    x = np.broadcast_to(np.zeros((1, 1)), (dealer.rows, 1))
    search._checked_cv_orig = dealer.cv
    search._n_samples_orig = dealer.rows
    checked(search, lambda: search._check_input_parameters(X=x, y=dealer.y, split_params={"groups": dealer.groups}))
    search.n_splits_ = checked(search, lambda: dealer.cv.get_n_splits(x, dealer.y, groups=dealer.groups))
    if type(search) in _BY_RESOURCE:
        drawn = checked(search, lambda: list(search._generate_candidate_params()))
        search._generate_candidate_params = lambda: drawn


def _next_round(search: Any, known: Sequence[dict[str, Any]]) -> _Round | None:
    """The first round that has no results yet; None where the search is done."""
    numbers = count()

    def evaluate(candidates: Any, cv: Any = None, more_results: Any = None, **_: Any) -> Any:
        number = next(numbers)
        if number < len(known):
            return known[number]
        raise _Round(list(candidates), cv, more_results or {})

    verbose, search.verbose = search.verbose, 0  # each round would print those before it again
    try:
        told = "callback_ctx" in signature(search._run_search).parameters
        search._run_search(evaluate, **({"callback_ctx": _NoCallbacks()} if told else {}))
    except _Round as wanted:
        return wanted
    finally:
        search.verbose = verbose
    return None


def _check_splits(search: Any, splits: Sequence[Any]) -> None:
    if len(splits) != search.n_splits_ or not splits:
        raise BadParameter(
            f"{type(search).__name__}: cv= gives {len(splits)} splits and says {search.n_splits_}.",
            fix="Give at least one (train, test) pair.",
        )
    for k, split in enumerate(splits):
        if not split.train.size or not split.test.size:
            raise BadParameter(
                f"{type(search).__name__}: split {k} has {split.train.size:,} rows to learn from and "
                f"{split.test.size:,} to be scored on.",
                fix="Take fewer folds, or more rows (min_resources for halving).",
            )


# --- the best -------------------------------------------------------------------------------
def _choose(search: Any, results: dict[str, Any], refit_metric: Any) -> None:
    """Set ``best_index_``, ``best_params_`` and ``best_score_``, where scikit-learn does."""
    if search.refit or not search.multimetric_:
        search.best_index_ = checked(search, lambda: search._select_best_index(search.refit, refit_metric, results))
        if isinstance(search, _BY_RESOURCE):
            search.best_score_ = results["mean_test_score"][search.best_index_]
        elif not callable(search.refit):
            search.best_score_ = results[f"mean_test_{refit_metric}"][search.best_index_]
        search.best_params_ = results["params"][search.best_index_]


def _refitted(search: Any, view: View, fitting: Fitting) -> Generator[list[Any], list[Any], None]:
    """Fit the best candidate on all rows."""
    best = clone(search.estimator).set_params(**clone(search.best_params_, safe=False))
    inside = Fitting(fitting.memory, fitting.path, fitting.reports, options=fitting.options, search=fitting.search)
    started = time.time()
    search.best_estimator_ = yield from inside.step(best, view, "best_estimator_")
    search.refit_time_ = time.time() - started
    if hasattr(search.best_estimator_, "feature_names_in_"):
        search.feature_names_in_ = search.best_estimator_.feature_names_in_
