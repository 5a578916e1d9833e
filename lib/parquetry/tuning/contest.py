"""What all fits of a search share, and the choice of the road that they take."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline

from parquetry import registry
from parquetry.errors import BadParameter, TooBigForOneNode, did_you_mean
from parquetry.fitting import Fitting
from parquetry.single_node import gathered_bytes, scaling_names
from parquetry.tuning.journal import Journal
from parquetry.tuning.splits import Split
from parquetry.view import View

_FEW_VALUES = 2**22
"""With fewer values of X (32 MiB) a fit on one worker takes less time than passes over all of them do."""

Outcome = dict[str, Any]
"""What a fit came to, under the names of scikit-learn's ``_fit_and_score``."""
Outcomes = Generator[list[Any], list[Any], list[Outcome]]
"""One a candidate and split, candidate by candidate."""


@dataclass(frozen=True)
class Contest:
    """What the fits of a search, or of a cross-validation, have in common.

    Parameters
    ----------
    owner : object
        The search; named in errors.
    estimator : estimator
    view : View
    fitting : Fitting
    scorer : callable
        As scikit-learn's ``_get_scorers`` gives it.
    error_score : "raise" or float
    train_scores : bool
    score_weights : bool
        Whether scores take the sample weights.
    keep_models : bool
        Whether fitted estimators are wanted.
    verbose : int
    journal : Journal
    codes : ndarray of int of shape (n_rows,) or None
        The class of each row, where there are classes.
    """

    owner: Any
    estimator: Any
    view: View
    fitting: Fitting
    scorer: Any
    error_score: Any
    train_scores: bool
    score_weights: bool
    keep_models: bool
    verbose: int
    journal: Journal
    codes: Any

    @property
    def name(self) -> str:
        """The owner's name, for errors and labels."""
        return type(self.owner).__name__

    @cached_property
    def fits_one_worker(self) -> bool:
        """Whether all rows, and a fit of them, fit one worker."""
        return gathered_bytes(self.view) <= self.fitting.memory

    def candidate(self, params: dict[str, Any]) -> Any:
        """The estimator with a candidate's parameters."""
        return clone(self.estimator).set_params(**clone(params, safe=False))


def evaluated(contest: Contest, candidates: Sequence[dict[str, Any]], splits: Sequence[Split]) -> Outcomes:
    """Fit and score every candidate on every split, by the cheapest road there is.

    Linear models on Gram matrices and logistic regressions are fitted together in the same passes.
    What else fits a worker's memory is fitted there, several at once; and what does not by
    distributed fits that share their reads. So are those of scikit-learn's classes that are fitted
    distributed, from some size on: a copy of the rows for each fit then costs more than passes do.
    And so are boosted models, where their own ``fit`` is not all that is asked for.

    Raises
    ------
    TooBigForOneNode
        The rows do not fit one worker, and a part of the estimator has no distributed fit.
    """
    from parquetry.tuning.batched_fits import batched, can_be_batched
    from parquetry.tuning.streamed_fits import streamed
    from parquetry.tuning.worker_fits import on_workers

    report = contest.fitting.report
    if can_be_batched(contest, candidates):
        report.why = "Candidates are fitted together, in the same passes."
        return (yield from batched(contest, candidates, splits))
    beyond = _beyond_own_fit(contest, candidates)
    if contest.fits_one_worker and not beyond and not _streams_well(contest, candidates):
        fits = f"{len(candidates) * len(splits)} fits ({len(candidates)} candidates on {len(splits)} splits)"
        report.placement = "single-node"
        report.why = f"{fits}, each by the estimator's own code on one worker, several at once: the rows fit there."
        return (yield from on_workers(contest, candidates, splits))
    if not contest.fits_one_worker:
        _require_distributed(contest, candidates)
    report.why = "Each candidate is a distributed fit on each split; a few at a time share their reads."
    return (yield from streamed(contest, candidates, splits))


def _beyond_own_fit(contest: Contest, candidates: Sequence[dict[str, Any]]) -> bool:
    """Whether boosted models are to be fitted as their own ``fit`` on gathered rows would not.

    It knows nothing of ``group=`` (which rankers must have), ``validation=`` and ``gang=``, and
    refuses columns of text.
    """
    given, texts = contest.fitting.options.given, not contest.view.numeric
    for estimator in map(contest.candidate, candidates):
        # Within a selector, too.
        boosted = [part for part in (estimator, *estimator.get_params().values()) if registry.is_optional(part)]
        ranks = any(type(part).__name__.endswith("Ranker") for part in boosted)
        # Behind a pipeline's transformers there are no columns of text any more.
        if boosted and (given or ranks or (texts and type(estimator) is not Pipeline)):
            return True
    return False


def _streams_well(contest: Contest, candidates: Sequence[dict[str, Any]]) -> bool:
    """Whether distributed fits take less time, though the rows fit one worker.

    The boosters of other packages train on all cores at once, one after another; what walks through
    the rows in order does so on one worker anyway. Both are better off side by side.
    """
    view = contest.view
    if view.dataset.num_rows * view.width < _FEW_VALUES:
        return False
    return all(_passes_only(contest.candidate(params)) for params in candidates)


def _passes_only(estimator: Any) -> bool:
    """Whether an estimator, and all that it is made of, is fitted by distributed passes."""
    return all(
        entry is not None and entry.placement == "distributed" and entry.kind.__module__.startswith("sklearn.")
        for entry in map(registry.find, _all_parts(estimator))
    )


def check_names(owner: Any, estimator: Any, candidates: Sequence[dict[str, Any]]) -> None:
    """Refuse a parameter that the estimator does not have, before any work.

    Raises
    ------
    BadParameter
        With the nearest name.
    """
    try:
        clone(estimator)
    except RuntimeError as error:
        raise BadParameter(
            f"{type(owner).__name__}: {type(estimator).__name__} cannot be cloned.",
            why=f"{error}.",
            fix="Give it no list that its constructor copies (CatBoost takes columns of text for categories anyway).",
        ) from error
    good: set[Any] = set()
    for params in candidates:
        names = frozenset(params)
        plain = not any(hasattr(value, "get_params") for value in params.values())
        if plain and names in good:
            continue
        copy = clone(estimator)
        try:
            copy.set_params(**clone(params, safe=False))
        except (ValueError, AttributeError, TypeError) as error:
            raise _unknown(owner, estimator, params, error) from error
        for part in _all_parts(copy):
            entry = registry.find(part)
            if entry is not None and entry.check is not None:  # boosters take any name, and only warn of it
                entry.check(part)
        good.add(names)


def _unknown(owner: Any, estimator: Any, params: dict[str, Any], error: Exception) -> BadParameter:
    known = clone(estimator).get_params()
    for name in params:
        if name not in known:
            deeper = [n for n in known if n.endswith(f"__{name}")]
            return BadParameter(
                f"{type(owner).__name__}: {type(estimator).__name__} has no parameter {name!r}.",
                why=_why_unknown(estimator, name, error),
                fix=f"Did you mean {deeper[0]!r}?" if deeper else did_you_mean(name, known),
            )
    return BadParameter(f"{type(owner).__name__}: {error}", fix="Change the parameter grid.")


def _why_unknown(estimator: Any, name: str, error: Exception) -> str:
    steps = [step for step, _ in getattr(estimator, "steps", ())]
    if steps and name.partition("__")[0] not in steps:
        return f"Its steps are {', '.join(map(repr, steps))}."
    return " ".join(str(error).partition(". Valid")[0].split())


def _require_distributed(contest: Contest, candidates: Sequence[dict[str, Any]]) -> None:
    for params in candidates:
        missing = without_fitter(contest.candidate(params))
        if missing is not None:
            needed, allowed = gathered_bytes(contest.view) / 2**30, contest.fitting.memory / 2**30
            raise TooBigForOneNode(
                f"{contest.name}: a fit of {type(missing).__name__} needs about {needed:.2f} GiB on one worker; "
                f"{allowed:.2f} GiB are allowed.",
                why=f"There is no distributed fit for {type(missing).__name__}.",
                fix="Search on data.sample(n=…), allow more with memory=, or use a class that scales: "
                f"{scaling_names()}.",
            )


def without_fitter(estimator: Any) -> Any:
    """A part of an estimator that has no distributed fit, or None."""
    return next((part for part in _all_parts(estimator) if registry.find(part) is None), None)


def _all_parts(estimator: Any) -> Iterator[Any]:
    """An estimator and all of it that is fitted by a Fitter of its own."""
    if estimator is None or isinstance(estimator, str):
        return
    yield estimator
    for attribute in ("steps", "transformer_list", "transformers"):
        for part in getattr(estimator, attribute, ()):
            yield from _all_parts(part[1])
    if isinstance(estimator, BaseSearchCV | FixedThresholdClassifier | TransformedTargetRegressor):
        yield from _all_parts(getattr(estimator, "estimator", getattr(estimator, "regressor", None)))


def failed(contest: Contest, trace: str, seconds: float, rows: int) -> Outcome:
    """What a fit that failed comes to, as scikit-learn notes it."""
    scorers = getattr(contest.scorer, "_scorers", None)
    score = contest.error_score if scorers is None else dict.fromkeys(scorers, contest.error_score)
    out: Outcome = {"fit_error": trace, "test_scores": score, "n_test_samples": rows}
    if contest.train_scores:
        out["train_scores"] = score if scorers is None else dict(score)
    return {**out, "fit_time": seconds, "score_time": 0.0}


def checked_failures(contest: Contest, outcomes: Sequence[Outcome]) -> None:
    """Warn of fits that failed, with their tracebacks, as scikit-learn does.

    Raises
    ------
    BadParameter
        All have failed.
    """
    from sklearn.model_selection._validation import _warn_or_raise_about_fit_failures

    try:
        _warn_or_raise_about_fit_failures(list(outcomes), contest.error_score)
    except ValueError as error:
        traces = str(error).partition("details about the failures:\n")[2]
        raise BadParameter(
            f"{contest.name}: all of the {len(outcomes)} fits failed.",
            why="It is very likely that the model is misconfigured; error_score='raise' stops at the first.",
            fix=f"\n{traces}",
        ) from error


def best_so_far(found: Sequence[Outcome | None], n_splits: int) -> str:
    """The best mean score of the candidates that are done, in words for the console.

    Parameters
    ----------
    found : sequence of Outcome or None
        Candidate by candidate; None for a fit that is not done.
    n_splits : int
    """
    each = [found[i : i + n_splits] for i in range(0, len(found), n_splits)]
    whole = [[_first(o["test_scores"]) for o in part if o is not None] for part in each if None not in part]
    best = max((s for s in map(np.mean, whole) if np.isfinite(s)), default=None)
    return "" if best is None else f"best {best:.4g} of {len(whole)}/{len(each)} candidates"


def _first(scores: Any) -> float:
    value = next(iter(scores.values())) if isinstance(scores, dict) else scores
    return float(value) if isinstance(value, int | float | np.number) else float("nan")
