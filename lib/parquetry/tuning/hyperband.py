"""Hyperband: successive halving from several starting points, as a search with scikit-learn's interface.

Source: Li, Jamieson, DeSalvo, Rostamizadeh & Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization", Journal of Machine Learning Research 18 (2018).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.metrics import get_scorer_names
from sklearn.model_selection import ParameterSampler
from sklearn.model_selection._search import BaseSearchCV
from sklearn.model_selection._search_successive_halving import _SubsampleMetaSplitter
from sklearn.model_selection._split import _yields_constant_splits
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import _num_samples


@dataclass(frozen=True)
class Rung:
    """One round of a bracket.

    Attributes
    ----------
    bracket, number : int
    candidates : int
        How many are fitted.
    resources : int
        What each is given.
    """

    bracket: int
    number: int
    candidates: int
    resources: int


class Hyperband(BaseSearchCV):
    """Random search that gives most of its time to the candidates that do best with little.

    Each bracket draws candidates, gives each a small share of ``max_resources``, keeps the best
    ``1 / factor`` of them, gives those ``factor`` times as much, and so on. The first bracket begins
    with many candidates and little, the last one with few and all.

    It is an estimator of its own: scikit-learn's ``fit`` works in memory, ``parquetry.fit`` on
    Parquet with any engine.

    Parameters
    ----------
    estimator : estimator
        With :class:`~parquetry.tuning.PartialFits` around it, what learns by ``partial_fit``.
    param_distributions : dict or list of dicts
        As for ``RandomizedSearchCV``.
    resource : str, default "n_samples"
        Rows, or a whole-number parameter that makes a fit longer: ``"n_estimators"``, ``"max_iter"``,
        ``"calls"`` of PartialFits.
    max_resources : int or "auto", default "auto"
        What the best candidates are given; "auto" is all rows.
    min_resources : int, default 1
        What a candidate is given at least; for rows at least ``2 * n_splits``, and for a classifier
        that times the number of classes.
    factor : int, default 3
    scoring, n_jobs, refit, cv, verbose, error_score, return_train_score
        As for ``RandomizedSearchCV``; of one score.
    random_state : int, RandomState or None, default None

    Attributes
    ----------
    cv_results_ : dict
        As for halving searches, with ``bracket`` beside ``iter`` and ``n_resources``.
    rungs_ : list of Rung
    best_estimator_, best_index_, best_params_, best_score_, scorer_, n_splits_, refit_time_
        As for ``RandomizedSearchCV``; the best of those that were given most.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **{k: v for k, v in BaseSearchCV._parameter_constraints.items() if k != "pre_dispatch"},
        "scoring": [StrOptions(set(get_scorer_names())), callable, None],
        "param_distributions": [dict, list],
        "resource": [str],
        "max_resources": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "min_resources": [Interval(Integral, 1, None, closed="left")],
        "factor": [Interval(Real, 2, None, closed="left")],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        estimator: Any,
        param_distributions: Any,
        *,
        resource: str = "n_samples",
        max_resources: int | str = "auto",
        min_resources: int = 1,
        factor: int = 3,
        scoring: Any = None,
        n_jobs: int | None = None,
        refit: Any = True,
        cv: Any = 5,
        verbose: int = 0,
        random_state: Any = None,
        error_score: Any = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            scoring=scoring,
            n_jobs=n_jobs,
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )
        self.param_distributions = param_distributions
        self.resource = resource
        self.max_resources = max_resources
        self.min_resources = min_resources
        self.factor = factor
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any = None, **params: Any) -> Hyperband:
        """Search in memory; see ``parquetry.fit`` for Parquet."""
        self._n_samples_orig = _num_samples(X)
        super().fit(X, y, **params)
        return self

    def _check_input_parameters(self, X: Any, y: Any, split_params: Any) -> None:
        if not _yields_constant_splits(self._checked_cv_orig):
            raise ValueError("cv= must give the same folds each time: set its random_state to an int.")
        rows = self.resource == "n_samples"
        if not rows and self.resource not in self.estimator.get_params():
            raise ValueError(f"resource={self.resource!r} is no parameter of {type(self.estimator).__name__}.")
        if not rows and self.max_resources == "auto":
            raise ValueError("max_resources='auto' is for rows: say how much the best candidates are given.")
        self.max_resources_ = _num_samples(X) if self.max_resources == "auto" else int(self.max_resources)
        least = 1
        if rows:
            least = 2 * self._checked_cv_orig.get_n_splits(X, y, **split_params)
            least *= len(np.unique(y)) if is_classifier(self.estimator) else 1
        self.min_resources_ = max(self.min_resources, least)
        if self.min_resources_ > self.max_resources_:
            raise ValueError(f"min_resources={self.min_resources_} is more than max_resources={self.max_resources_}.")
        self.rungs_ = list(rungs(self.min_resources_, self.max_resources_, self.factor))

    def _generate_candidate_params(self) -> list[dict[str, Any]]:
        """The candidates of all brackets, in order."""
        n = sum(rung.candidates for rung in self.rungs_ if rung.number == 0)
        drawn = list(ParameterSampler(self.param_distributions, n, random_state=self.random_state))
        # A small grid is drawn without repeats and runs out: the later brackets then begin with it again.
        return [drawn[i % len(drawn)] for i in range(n)]

    def _run_search(self, evaluate_candidates: Any) -> None:
        candidates = self._generate_candidate_params()
        if any(self.resource in params for params in candidates):
            raise ValueError(f"{self.resource!r} is the resource, and cannot be searched.")
        kept: list[dict[str, Any]] = []
        done = 0
        for rung in self.rungs_:
            if rung.number == 0:
                kept, candidates = candidates[: rung.candidates], candidates[rung.candidates :]
            kept = kept[: rung.candidates]
            results = self._evaluate(evaluate_candidates, kept, rung)
            scores = np.asarray(results["mean_test_score"][done : done + len(kept)])
            done += len(kept)
            # The best first; a failed one comes last, and of equals the earlier one is kept.
            kept = [kept[i] for i in np.argsort(-np.where(np.isnan(scores), -np.inf, scores), kind="stable")]

    def _evaluate(self, evaluate_candidates: Any, kept: list[dict[str, Any]], rung: Rung) -> Any:
        more = {"bracket": [rung.bracket], "iter": [rung.number], "n_resources": [rung.resources]}
        more_results = {name: value * len(kept) for name, value in more.items()}
        if self.resource != "n_samples":
            given = [{**params, self.resource: rung.resources} for params in kept]
            return evaluate_candidates(given, more_results=more_results)
        cv = _SubsampleMetaSplitter(
            base_cv=self._checked_cv_orig,
            fraction=rung.resources / self._n_samples_orig,
            subsample_test=True,
            random_state=self.random_state,
        )
        return evaluate_candidates(kept, cv, more_results=more_results)

    @staticmethod
    def _select_best_index(refit: Any, refit_metric: str, results: Any) -> int:
        """The best of those that were given most."""
        if callable(refit):
            return int(BaseSearchCV._select_best_index(refit, refit_metric, results))
        most = np.flatnonzero(results["n_resources"] == np.max(results["n_resources"]))
        scores = np.asarray(results["mean_test_score"])[most]
        return int(most[0] if np.isnan(scores).all() else most[np.nanargmax(scores)])


def rungs(least: int, most: int, factor: float) -> Iterator[Rung]:
    """The rounds of all brackets, from the one with most candidates to the one with fewest.

    Parameters
    ----------
    least, most : int
        What a candidate is given at least, and at most.
    factor : float
    """
    highest = 0
    while least * factor ** (highest + 1) <= most:
        highest += 1
    for bracket, s in enumerate(range(highest, -1, -1)):
        candidates = ceil((highest + 1) / (s + 1) * factor**s)
        for i in range(s + 1):
            yield Rung(bracket, i, max(1, int(candidates / factor**i)), int(most / factor ** (s - i)))
