"""cross_validate: scikit-learn's function, on Parquet of any size."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import clone
from sklearn.metrics import check_scoring
from sklearn.model_selection._validation import (
    _aggregate_score_dicts,
    _insert_error_scores,
    _normalize_score_results,
)

from parquetry.dataset import Dataset
from parquetry.engine import borrowed_engine, parse_bytes
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fit_checks import check_picklable, check_view, make_view, validation_rows
from parquetry.fitting import Fitting, Options, SearchOptions, drive
from parquetry.tuning.contest import Contest, Outcome, check_names, checked_failures, evaluated
from parquetry.tuning.journal import Journal
from parquetry.tuning.scores import check_scorers
from parquetry.tuning.search import OTHER_SPLITTER
from parquetry.tuning.splits import Split, is_dealt_by_number, read_dealer
from parquetry.view import View

if TYPE_CHECKING:
    from parquetry.boosting.gang import Gang
    from parquetry.engine import Engine

log = logging.getLogger("parquetry.tuning")


def cross_validate(
    estimator: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    group: str | None = None,
    validation: Dataset | str | os.PathLike[str] | None = None,
    gang: Gang | int | None = None,
    groups: str | None = None,
    order: str | None = None,
    scoring: Any = None,
    cv: Any = None,
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: Any = np.nan,
    verbose: int = 0,
    engine: Engine | str | None = None,
    memory: str | int | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> dict[str, Any]:
    """Fit an estimator on each of several parts of the data, and score it on the rest.

    The folds are those that scikit-learn's splitter gives the rows in the dataset's order. Fits go
    the roads of a search: see ``GridSearchCV`` in the table of what runs where. Which road it was is
    told to the log ``parquetry.tuning`` (a job's console), as the dict holds scores alone.

    Parameters
    ----------
    estimator : scikit-learn estimator
        A search, too: its parameters are then chosen anew on each fold.
    data : Dataset, path or URL
    target, features, sample_weight, group, validation, gang, engine, memory
        As for ``fit``. Fits take the weights; scores do not, as in scikit-learn.
    groups, order : str, default None
        The column of the folds' groups; the column by which rows are in order before they are dealt.
    scoring, cv, return_train_score, return_estimator, return_indices, error_score, verbose
        As for scikit-learn's function of this name.
    resume : path, default None
        A folder in which finished fits are noted, and found again.

    Returns
    -------
    dict
        scikit-learn's: arrays of shape ``(n_splits,)`` under ``test_score`` (or ``test_<name>``),
        ``fit_time``, ``score_time`` and, if asked for, ``train_…``, ``estimator`` and ``indices``.

    Raises
    ------
    BadParameter, UnknownColumn, WrongColumnType, NonFiniteValues, TooBigForOneNode
        With what to do about it.

    Source: https://scikit-learn.org/stable/modules/cross_validation.html
    """
    owner = CrossValidation()
    if return_estimator and resume is not None:
        raise BadParameter("return_estimator=True does not go with resume=.", why="Only scores are noted.")
    check_scorers(owner, scoring)
    if not is_dealt_by_number(cv, owner):
        raise BadParameter(f"cross_validate: {OTHER_SPLITTER}", fix="Take one of scikit-learn's, or row numbers.")
    options = SearchOptions(groups, order, None if resume is None else os.fspath(resume))
    view = make_view(
        data, target=target, features=features, sample_weight=sample_weight, group=group, beside=options.columns
    )
    check_view(view, estimator)
    check_picklable(estimator)
    boosting = Options(group, validation_rows(validation, view), gang)
    boosting.check(estimator)
    check_names(owner, estimator, [{}])
    scorer = checked(owner, lambda: check_scoring(estimator, scoring=scoring, raise_exc=error_score == "raise"))
    with borrowed_engine(engine) as running:
        fitting = Fitting(running.memory if memory is None else parse_bytes(memory), options=boosting, search=options)
        common = (view.dataset.fingerprint, view.features, view.target, view.sample_weight, scoring)
        journal = Journal(options.resume, (common, return_train_score, str(error_score), *boosting.told))
        works = _splits_and_outcomes(
            owner, clone(estimator), view, fitting, scorer, cv, error_score, return_train_score, return_estimator,
            verbose, journal,
        )  # fmt: skip
        splits, outcomes = drive(works, running, verb="cross-validate")
        boosting.check_used(type(estimator).__name__)
    log.info("cross_validate: %s. %s", fitting.report.placement, fitting.report.why)
    if callable(scoring):
        _insert_error_scores(outcomes, error_score)
    found = _results(outcomes, train=return_train_score, models=return_estimator)
    if return_indices:
        found["indices"] = {
            "train": tuple(split.train.numbers for split in splits),
            "test": tuple(split.test.numbers for split in splits),
        }
    return found


class CrossValidation:
    """Names the work in errors."""


CrossValidation.__name__ = "cross_validate"


def _splits_and_outcomes(
    owner: Any,
    estimator: Any,
    view: View,
    fitting: Fitting,
    scorer: Any,
    cv: Any,
    error_score: Any,
    train: bool,
    models: bool,
    verbose: int,
    journal: Journal,
) -> Generator[list[Any], list[Any], tuple[list[Split], list[Outcome]]]:
    dealer = yield from read_dealer(owner, estimator, cv, view, fitting.search, fitting.memory)
    splits = dealer.splits()
    contest = Contest(
        owner, estimator, view, fitting, scorer, error_score, train, score_weights=False, keep_models=models,
        verbose=verbose, journal=journal, codes=dealer.codes,
    )  # fmt: skip
    outcomes = yield from evaluated(contest, [{}], splits)
    checked_failures(contest, outcomes)
    return splits, outcomes


def _results(outcomes: list[Outcome], *, train: bool, models: bool) -> dict[str, Any]:
    found = _aggregate_score_dicts(outcomes)
    out = {"fit_time": found["fit_time"], "score_time": found["score_time"]}
    if models:
        out["estimator"] = found["estimator"]
    kinds = ("test", "train") if train else ("test",)
    scores = {kind: _normalize_score_results(found[f"{kind}_scores"]) for kind in kinds}
    for name in scores["test"]:
        out |= {f"{kind}_{name}": scores[kind][name] for kind in kinds}
    return out
