"""Linear models and logistic regressions: many candidates fitted in the same passes.

Candidates that share the transformers before them are fitted together on each split: linear models
from one Gram matrix, logistic regressions as columns of one matrix product. Where splits are folds
that are each other's complement, logistic regressions of all folds are columns of one product too.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from dataclasses import astuple, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from parquetry.classical.elastic_net import holds_gram
from parquetry.classical.gram_search import GRAM_MODELS, check_gram_model, from_gram
from parquetry.classical.linear import gram_of
from parquetry.classical.logistic import classes_of, form_of, set_coefficients, terms_of, warn_of_trouble
from parquetry.classical.logistic_ground import Ground, prepared
from parquetry.classical.logistic_penalty import Terms
from parquetry.classical.logistic_settled import settled
from parquetry.classical.logistic_solver import Found
from parquetry.errors import ParquetryError, TooBigForOneNode
from parquetry.features.surrogate import set_inputs
from parquetry.fitting import Asking, Fitting, together
from parquetry.tuning.contest import Contest, Outcomes, without_fitter
from parquetry.tuning.heads import Heads, behind, head_of, joined, last_of
from parquetry.tuning.journal import digest
from parquetry.tuning.row_sets import ListedFolds
from parquetry.tuning.splits import Split, partition
from parquetry.tuning.streamed_fits import TOGETHER, Fitted, scored, split_views
from parquetry.tuning.trouble import Trouble, all_or_each, guarded
from parquetry.tuning.worker_fits import on_workers
from parquetry.view import View

Models = Generator[list[Any], list[Any], list[Any]]
"""Fitted models, or their trouble, in order."""


def can_be_batched(contest: Contest, candidates: Sequence[dict[str, Any]]) -> bool:
    """Whether every candidate ends in a model that is fitted together with others."""
    for params in candidates:
        estimator = contest.candidate(params)
        last, head = last_of(estimator), head_of(estimator)
        logistic = type(last) is LogisticRegression and not getattr(last, "_skl_callbacks", None)
        if logistic and len(contest.view.target) != 1:
            return False
        if not logistic and (type(last) not in GRAM_MODELS or holds_gram(last)):
            return False
        if head is not None and without_fitter(head) is not None:
            return False
    return True


def batched(contest: Contest, candidates: Sequence[dict[str, Any]], splits: Sequence[Split]) -> Outcomes:
    """Every candidate on every split; by the next road where their matrices are too many for the memory."""
    estimators = [contest.candidate(params) for params in candidates]
    digests = [(split.train.digest, split.test.digest) for split in splits]
    keys = [contest.journal.key(estimator, own) for estimator in estimators for own in digests]
    known = [contest.journal.find(key) for key in keys]
    if None not in known:
        return known  # type: ignore[return-value]
    views = split_views(contest.view, splits)
    try:
        if _share_folds(contest, estimators, splits):
            fitted = yield from _over_folds(contest, estimators, splits, views)
            outcomes = yield from scored(contest, [f for row in fitted for f in row])
        else:
            outcomes = yield from _split_by_split(contest, estimators, views)
        for key, outcome in zip(keys, outcomes, strict=True):
            contest.journal.add(key, outcome)
        return outcomes
    except TooBigForOneNode:
        if not contest.fits_one_worker:
            raise
        contest.fitting.report.placement = "single-node"
        contest.fitting.report.why = "X is too wide for its products; each fit is on one worker, several at once."
        return (yield from on_workers(contest, candidates, splits))


def _split_by_split(contest: Contest, estimators: Sequence[Any], views: Sequence[tuple[View, View]]) -> Outcomes:
    """Candidates in groups that share what comes before their last step, each group at once on each split."""
    groups: dict[str, list[int]] = {}
    for i, estimator in enumerate(estimators):
        groups.setdefault(digest(head_of(estimator)), []).append(i)
    found: list[Any] = [None] * len(estimators)
    for members in groups.values():
        rows = yield from _group(contest, [estimators[i] for i in members], views)
        outcomes = yield from scored(contest, [f for row in rows for f in row])
        for j, i in enumerate(members):
            found[i] = outcomes[j * len(views) : (j + 1) * len(views)]
    return [outcome for row in found for outcome in row]


def _group(
    contest: Contest, estimators: Sequence[Any], views: Sequence[tuple[View, View]]
) -> Generator[list[Any], list[Any], list[list[Fitted]]]:
    """Estimators with one head, fitted on each split; a row an estimator."""
    raising = contest.error_score == "raise"
    heads = Heads(contest, [train for train, _ in views])
    rows: list[list[Fitted]] = [[] for _ in estimators]
    for start in range(0, len(views), TOGETHER):
        part = range(start, min(start + TOGETHER, len(views)))
        began = time.perf_counter()
        before = yield from heads.of([(estimators[0], k) for k in part])
        works = [
            partial(_fitted, contest, [clone(last_of(e)) for e in estimators], behind(views[k][0], head))
            for k, head in zip(part, before, strict=True)
            if not isinstance(head, Trouble)
        ]
        answers = iter((yield from all_or_each(works, raising=raising)))
        seconds = (time.perf_counter() - began) / (len(part) * len(estimators))
        for k, head in zip(part, before, strict=True):
            models = head if isinstance(head, Trouble) else next(answers)
            for i, estimator in enumerate(estimators):
                model = models if isinstance(models, Trouble) else joined(estimator, head, models[i])
                _raise_too_big(model)
                rows[i].append(Fitted(model, *views[k], seconds))
    return rows


def _raise_too_big(model: Any) -> None:
    """A matter of all candidates, and not of one."""
    if isinstance(model, Trouble) and isinstance(model.error, TooBigForOneNode):
        raise model.error


def _fitted(contest: Contest, models: list[Any], view: View, share: int) -> Models:
    """Models of the rows of a view, those of a kind at once."""
    fitting = Fitting(contest.fitting.memory // share, contest.fitting.path, options=contest.fitting.options)
    raising = contest.error_score == "raise"
    logistic = [i for i, model in enumerate(models) if type(model) is LogisticRegression]
    linear = [i for i in range(len(models)) if i not in set(logistic)]
    works = []
    if linear:
        works.append(_linear([models[i] for i in linear], view, fitting, raising=raising))
    if logistic:
        works.append(_logistic([models[i] for i in logistic], view, fitting, raising=raising))
    answers = yield from together(works)
    found: list[Any] = [None] * len(models)
    for i, model in zip([*linear, *logistic], [m for answer in answers for m in answer], strict=True):
        found[i] = model
    return found


# --- linear models --------------------------------------------------------------------------
def _linear(models: list[Any], view: View, fitting: Fitting, *, raising: bool) -> Models:
    gram = yield from gram_of(models[0], view, fitting)

    def fit(model: Any) -> Asking:
        check_gram_model(model, view)
        return (yield from from_gram(model, gram, view))

    return (yield from together([guarded(fit(model), raising=raising) for model in models]))


# --- logistic regressions -------------------------------------------------------------------
def _logistic(models: list[Any], view: View, fitting: Fitting, *, raising: bool) -> Models:
    found: list[Any] = [None] * len(models)
    for members, likes in _alike(models, view, found, raising=raising):
        group = [models[i] for i in members]
        classes, ground = yield from _ground(group, view, fitting, None)
        terms = [terms_of(model) for model in group]
        solved = yield from _solved(ground, terms, ground.starts(terms))
        warn_of_trouble("LogisticRegression", solved)
        for i, like, term, search in zip(members, likes, terms, solved, strict=True):
            found[i] = _dressed(models[i], ground, search, term, classes, like, view)
    return found


def _alike(models: list[Any], view: View, found: list[Any], *, raising: bool) -> list[tuple[list[int], list[Any]]]:
    """Models that share all but their penalty, with what scikit-learn makes of each; of others the trouble."""
    groups: dict[str, tuple[list[int], list[Any]]] = {}
    for i, model in enumerate(models):
        try:
            like = settled(model, view)
        except ParquetryError as error:
            if raising:
                raise
            found[i] = Trouble.of(error)
            continue
        form = form_of(model)
        key = digest((astuple(form), model.class_weight))
        members, likes = groups.setdefault(key, ([], []))
        members.append(i)
        likes.append(like)
    return list(groups.values())


def _ground(
    group: list[Any], view: View, fitting: Fitting, folds: Any
) -> Generator[list[Any], list[Any], tuple[Any, Ground]]:
    lasso = any(terms_of(model).l1_ratio > 0 for model in group)
    classes, weighted, seen = yield from classes_of(group[0], view)
    ground = yield from prepared(form_of(group[0]), seen, classes, weighted, fitting, lasso=lasso, folds=folds)
    return classes, ground


def _solved(
    ground: Ground, terms: Sequence[Terms], starts: Sequence[Any]
) -> Generator[list[Any], list[Any], list[Found]]:
    """Every model's search, as many at once as the memory holds."""
    found: list[Found] = []
    step = ground.most_at_once()
    for first in range(0, len(terms), step):
        group = slice(first, first + step)
        found += yield from ground.solve(terms[group], starts[group])
    return found


def _dressed(model: Any, ground: Ground, search: Found, terms: Terms, classes: Any, like: Any, view: View) -> Any:
    """A model with all that it has learned."""
    model.classes_ = classes.values
    model.n_iter_ = np.array([search.iterations], dtype=np.asarray(like.n_iter_).dtype)
    set_coefficients(model, *ground.original(search, terms), like=like)
    set_inputs(model, view)
    return model


def _share_folds(contest: Contest, estimators: Sequence[Any], splits: Sequence[Split]) -> bool:
    """Whether all folds' logistic regressions can be columns of one product.

    Every class must be in the rows that each fold learns from, and class weights must be the same in all.
    """
    plain = all(type(e) is LogisticRegression and e.class_weight != "balanced" for e in estimators)
    if not plain or contest.codes is None or not partition(list(splits)):
        return False
    counts = np.bincount(contest.codes)
    held = [np.bincount(contest.codes[split.test.mask], minlength=len(counts)) for split in splits]
    return bool(all((counts - own > 0).all() for own in held))


def _over_folds(
    contest: Contest, estimators: Sequence[Any], splits: Sequence[Split], views: Sequence[tuple[View, View]]
) -> Generator[list[Any], list[Any], list[list[Fitted]]]:
    """All estimators on all folds in the same passes; a row an estimator."""
    view, fitting, began = contest.view, contest.fitting, time.perf_counter()
    folds = ListedFolds.of_tests(view.dataset, [split.test for split in splits])
    models: list[Any] = [None] * len(estimators)
    rows: list[list[Any]] = [[None] * len(splits) for _ in estimators]
    for members, likes in _alike(list(estimators), view, models, raising=contest.error_score == "raise"):
        group = [estimators[i] for i in members]
        classes, ground = yield from _ground(group, view, fitting, folds)
        grid = [terms_of(model) for model in group]
        starts = [start[:1] for start in ground.starts(grid)]
        terms = [replace(term, fold=k) for k in range(len(splits)) for term in grid]
        solved = yield from _solved(ground, terms, starts * len(splits))
        warn_of_trouble("LogisticRegression", solved)
        for j, (term, search) in enumerate(zip(terms, solved, strict=True)):
            k, i = divmod(j, len(grid))
            rows[members[i]][k] = _dressed(clone(group[i]), ground, search, term, classes, likes[i], view)
    seconds = (time.perf_counter() - began) / (len(estimators) * len(splits))
    return [
        [Fitted(model if model is not None else row[k], *views[k], seconds) for k in range(len(splits))]
        for model, row in zip(models, rows, strict=True)
    ]
