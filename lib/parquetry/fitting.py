"""fit: plain estimators in, plain fitted estimators out, whatever the engine.

Fitters are generators that ask for passes over the data. What several of them ask for at the
same moment (the branches of a ColumnTransformer, say) is answered by one read of the data.
"""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry import registry
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.fit_checks import (
    check_picklable,
    check_view,
    class_name,
    cloned,
    make_view,
    require_estimator,
    validation_rows,
)
from parquetry.one_thread import one_thread
from parquetry.reduction import Bundle, Cached, PassTask, Reduction, bundles
from parquetry.single_node import check_gathered, check_steps, no_fitter
from parquetry.view import Batch, View

if TYPE_CHECKING:
    from parquetry.boosting.gang import Gang
    from parquetry.engine import Engine

Asking = Generator[list[Any], list[Any], Any]
"""What a Fitter is: yields lists of work, is sent the list of results, returns the fitted estimator."""


@dataclass(frozen=True, eq=False)
class Pass:
    """Work: one reduction over the rows of a view."""

    reduction: Reduction[Any, Any]
    view: View


@dataclass(frozen=True, eq=False)
class Gather:
    """Work: the rows brought to one worker, and the estimator's own ``fit`` called there."""

    estimator: Any
    view: View


@dataclass(frozen=True)
class Note:
    """No work: what stands behind the labels on the console from now on, as the best score so far."""

    text: str


class Work(ABC):
    """Any other work: it is given the engine."""

    @abstractmethod
    def run(self, engine: Engine, verb: str) -> Any:
        """Do it; ``verb`` begins the label of what is scheduled."""


@dataclass
class StepReport:
    """How one estimator was fitted."""

    step: str
    estimator: str
    placement: str = "distributed"
    why: str = ""
    passes: int = 0


@dataclass
class Options:
    """Arguments of ``fit`` that only some estimators understand; taking one notes that it was used.

    Parameters
    ----------
    group : str or None
        The column of query ids; it is the view's ``group`` too.
    validation : Dataset or None
    gang : Gang, int or None
    """

    group: str | None = None
    validation: Dataset | None = None
    gang: Any = None
    used: set[str] = field(default_factory=set)

    def take(self, name: str) -> Any:
        """The option of this name, or None."""
        self.used.add(name)
        return getattr(self, name)

    @property
    def given(self) -> bool:
        """Whether there is any."""
        return any(getattr(self, name) is not None for name in ("group", "validation", "gang"))

    @property
    def told(self) -> tuple[Any, ...]:
        """What models depend on: two fits with the same are the same."""
        validation = None if self.validation is None else self.validation.fingerprint
        return self.group, validation, getattr(self.gang, "world", self.gang)

    def check(self, estimator: Any) -> None:
        """The same before any work is scheduled, where no part of an estimator takes options; and a gang's size."""
        parts = [estimator, *(estimator.get_params().values() if hasattr(estimator, "get_params") else ())]
        if not any(map(registry.is_optional, parts)):
            self.check_used(class_name(estimator))
        if self.gang is not None:
            from parquetry.boosting.gang import Gang

            Gang.of(self.gang)

    def check_used(self, who: str) -> None:
        """Raise BadParameter for an option that was given and that no step has taken."""
        for name in ("group", "validation", "gang"):
            if getattr(self, name) is not None and name not in self.used:
                raise BadParameter(
                    f"{name}= was given, and no part of {who} takes it.",
                    why="Left out silently, it would seem to have been used.",
                    fix="Leave it out, or fit a boosted model."
                    + (" group= is for rankers; the folds' groups are named with groups=." if name == "group" else ""),
                )


def fit(
    estimator: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    engine: Engine | str | None = None,
    memory: str | int | None = None,
    group: str | None = None,
    validation: Dataset | str | os.PathLike[str] | None = None,
    gang: Gang | int | None = None,
    groups: str | None = None,
    order: str | None = None,
    resume: str | os.PathLike[str] | None = None,
) -> Any:
    """Fit a scikit-learn estimator or pipeline on Parquet data of any size.

    Parameters
    ----------
    estimator : scikit-learn estimator
        Cloned first; the caller's object is never changed.
    data : Dataset, path or URL
    target : str or sequence of str, default None
        The column(s) of y; None for transformers and clustering.
    features : sequence of str, default None
        The columns of X, in order; None for all but target and weight.
    sample_weight : str, default None
        The column of weights, passed to the last step.
    engine : Engine or what ``open_engine`` takes, default None
        None is the local engine.
    memory : str or int, default None
        Most bytes (``"4GiB"``) that a single-node fit may take; None is the engine's own bound.
    group : str, default None
        The column of query ids, for rankers: equal ids stand next to each other. (The groups of a
        search's folds are ``groups``.)
    validation : Dataset, path or URL, default None
        Rows with the same columns on which a boosted model is scored after each round, and stops early.
    gang : Gang or int, default None
        How many processes train a boosted model together (``world``), and what happens when one is
        lost; see :class:`parquetry.boosting.Gang`. In a search ``group``, ``validation`` and ``gang``
        hold for each candidate's fit on each split, as for the last one on all rows.
    groups, order : str, default None
        For searches (``GridSearchCV`` …): the column of the folds' groups, whose rows stay together
        (``GroupKFold``), and the column by which rows are in order before they are dealt into folds.
        Neither is a feature, unless named. (The queries of a ranker are ``group``.)
    resume : path, default None
        For searches: a folder in which finished fits are noted, and found again.

    Returns
    -------
    estimator
        A fitted estimator of the same class with scikit-learn's own learned attributes, and
        ``fit_report_``, a plain dict: placement, passes, rows and seconds, a row for each step.

    Raises
    ------
    UnknownColumn, WrongColumnType, DegenerateColumn, EmptyDataset, TooBigForOneNode
        Before any work is scheduled.
    NonFiniteValues
        NaN or infinity where the estimator refuses them, with column and first position.
    """
    from parquetry.engine import borrowed_engine, parse_bytes

    started = time.perf_counter()
    require_estimator(estimator)
    search = SearchOptions(groups, order, None if resume is None else os.fspath(resume))
    search.check(estimator)
    view = make_view(
        data, target=target, features=features, sample_weight=sample_weight, group=group, beside=search.columns
    )
    check_view(view, estimator)
    check_picklable(estimator)
    fresh = cloned(estimator)
    options = Options(group, validation_rows(validation, view), gang)
    options.check(fresh)
    with borrowed_engine(engine) as running:
        budget = running.memory if memory is None else parse_bytes(memory)
        check_steps(fresh, view, budget)
        fitting = Fitting(budget, options=options, search=search)
        reads: list[int] = []
        asking = _observed(fitting.step(fresh, view, class_name(fresh)), lambda asked: reads.append(_reads(asked)))
        model = drive(asking, running, verb="fit")
        options.check_used(class_name(fresh))
        seconds = time.perf_counter() - started
        model.fit_report_ = _report(view, running, fitting.reports, sum(reads), seconds)
    return model


@dataclass(frozen=True)
class SearchOptions:
    """What a search over parameters is told beside its own parameters; see ``fit``."""

    groups: str | None = None
    order: str | None = None
    resume: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are named."""
        return tuple(c for c in (self.groups, self.order) if c is not None)

    def check(self, estimator: Any) -> None:
        """Raise BadParameter where there is no search that would look at them."""
        from sklearn.model_selection._search import BaseSearchCV

        given = [name for name, value in asdict(self).items() if value is not None]
        parts = [estimator, *(estimator.get_params() if hasattr(estimator, "get_params") else {}).values()]
        if given and not any(isinstance(part, BaseSearchCV) for part in parts):
            raise BadParameter(
                f"{given[0]}= is for searches, and {class_name(estimator)} is none.",
                fix="Leave it out, or pass a GridSearchCV or the like."
                + (" The queries of a ranker are named with group=." if given[0] == "groups" else ""),
            )


class Fitting:
    """One estimator of a call of ``fit``: finds the Fitters of its parts, falls back, reports.

    Parameters
    ----------
    memory : int
        Most bytes that a single-node fit may take.
    path : tuple of str, default ()
        The names of the steps that lead to this one.
    reports : list of StepReport, default None
        Where the reports of all steps are collected.
    stand_ins : dict, default None
        Where what stands in for fitted transformers is collected.
    options : Options, default None
        What only some estimators understand.
    search : SearchOptions, default SearchOptions()
    """

    def __init__(
        self,
        memory: int,
        path: tuple[str, ...] = (),
        reports: list[StepReport] | None = None,
        stand_ins: dict[int, tuple[Any, Any]] | None = None,
        options: Options | None = None,
        search: SearchOptions | None = None,
    ) -> None:
        self.memory, self.path = memory, path
        self.options = Options() if options is None else options
        self.search = search or SearchOptions()
        self.reports: list[StepReport] = [] if reports is None else reports
        self._stand_ins: dict[int, tuple[Any, Any]] = {} if stand_ins is None else stand_ins
        self.report = StepReport("/".join(path), "")
        self._has_parts = False

    def step(self, estimator: Any, view: View, name: str) -> Asking:
        """Fit one estimator by its Fitter, or by the single-node fallback."""
        self._has_parts = True
        inside = Fitting(
            self.memory,
            (*self.path, name),
            self.reports,
            stand_ins=self._stand_ins,
            options=self.options,
            search=self.search,
        )
        inside.report.estimator = class_name(estimator)
        entry = registry.find(estimator)
        if entry is None:
            work = inside.gather(estimator, view, no_fitter(estimator))
        else:
            work = entry.fit(estimator, view, inside)

        def notice(asked: list[Any]) -> None:
            inside.report.passes += any(isinstance(w, (Pass, Gather, Work)) for w in asked)

        fitted = yield from _observed(work, notice)
        # What is made of others is told by the reports of its parts.
        if not inside._has_parts:
            self.reports.append(inside.report)
        return fitted

    def stand_in(self, fitted: Any, other: Any) -> None:
        """Let ``other`` stand in for a fitted transformer while later steps are fitted.

        Parameters
        ----------
        fitted : fitted transformer
        other : parquetry.through.InTraining
            What gives the rows of the fit the values that scikit-learn's ``fit_transform`` gives them.
        """
        self._stand_ins[id(fitted)] = (fitted, other)  # the transformer stays alive: its id is not given to another

    def in_training(self, fitted: Any) -> Any:
        """The transformer that the rows of the fit go through on their way to later steps; mostly itself."""
        from parquetry.composing import with_parts

        if id(fitted) in self._stand_ins:
            return self._stand_ins[id(fitted)][1]
        return with_parts(fitted, self.in_training) if self._stand_ins else fitted

    def gather(self, estimator: Any, view: View, why: str) -> Asking:
        """Bring the rows to one worker, if they fit, and call the estimator's own ``fit`` there."""
        check_gathered(estimator, view, self.memory, why)
        self.report.placement, self.report.why = "single-node", why
        (fitted,) = yield [Gather(estimator, view)]
        return fitted


def together(askings: Sequence[Asking]) -> Generator[list[Any], list[Any], list[Any]]:
    """Run several Fitters in step, so that what they ask for at one moment shares one read."""
    results: list[Any] = [None] * len(askings)
    pending: dict[int, list[Any]] = {}

    def advance(i: int, answers: list[Any] | None) -> None:
        try:
            pending[i] = next(askings[i]) if answers is None else askings[i].send(answers)
        except StopIteration as stop:
            pending.pop(i, None)
            results[i] = stop.value

    for i in range(len(askings)):
        advance(i, None)
    while pending:
        order = list(pending)
        answers = yield [work for i in order for work in pending[i]]
        start = 0
        for i in order:
            count = len(pending[i])
            advance(i, answers[start : start + count])
            start += count
    return results


def drive(asking: Asking, engine: Engine, *, verb: str) -> Any:
    """Answer a Fitter's questions on an engine until it returns."""
    answers: list[Any] | None = None
    failure: Exception | None = None
    number = 0
    # BLAS with several threads may sum in another order: one thread, for the same bits anywhere.
    with one_thread():
        while True:
            try:
                works = asking.send(answers) if failure is None else asking.throw(failure)  # type: ignore[arg-type]
            except StopIteration as stop:
                return stop.value
            number += any(not isinstance(work, Note) for work in works)
            answers, failure = None, None
            try:
                answers = _answer(works, engine, verb, number)
            except Exception as error:  # noqa: BLE001 (raised again by a Fitter that does not look at it)
                failure = error  # a Fitter of several fits may go on without the one that failed


def run_pass(engine: Engine, works: Sequence[tuple[Reduction[Any, Any], View]], *, label: str) -> list[Any]:
    """Several reductions over the same rows in one read; their results, in order.

    Raises
    ------
    EmptyDataset
        There is no row.
    """
    first = works[0][1].dataset
    for _, view in works:
        view.dataset.require_rows()
    if any(view.dataset.row_filters != first.row_filters for _, view in works):
        first, works = _apart(works)
    columns = tuple(dict.fromkeys(c for _, view in works for c in view.columns))
    stored = tuple(dict.fromkeys(c for _, view in works if view.prepare is None for c in view.columns))
    # The list of blocks stays here: each worker gets only the bundle that it works on.
    shipped = {id(view): replace(view, dataset=None) for _, view in works}  # type: ignore[arg-type]
    parts = tuple((reduction, shipped[id(view)]) for reduction, view in works)
    cached = {
        i: Cached(view.dataset.select(view.columns).reader(), view.cache_key)
        for i, (_, view) in enumerate(works)
        if view.prepare is not None
    }
    limits = [view.batch_rows for _, view in works if view.prepare is None and view.batch_rows is not None]
    task = PassTask(first.select(stored).reader(batch_rows=min(limits, default=None)), parts, cached)
    states = engine.reduce(task, task.merge, bundles(first, columns), label=label)
    with one_thread():
        return [reduction.finish(state) for (reduction, _), state in zip(works, states, strict=True)]


def _apart(works: Sequence[tuple[Reduction[Any, Any], View]]) -> tuple[Dataset, list[tuple[Reduction[Any, Any], View]]]:
    """The rows of all of several parts of a dataset; each view then takes its own of them.

    Folds are parts of one dataset: their passes share a read of it.
    """
    first = works[0][1].dataset
    if any(view.dataset.blocks != first.blocks for _, view in works):
        raise ValueError("Passes that share a read are over parts of one dataset.")
    own = {id(view): replace(view, row_filters=view.dataset.row_filters) for _, view in works}
    return replace(first, row_filters=()), [(reduction, own[id(view)]) for reduction, view in works]


@dataclass(frozen=True)
class _GatherTask:
    """Reads all bundles in order and calls the estimator's own ``fit``."""

    reader: Any
    view: View
    estimator: Any

    def __call__(self, bundle_list: Sequence[Bundle]) -> Any:
        x, arguments = gathered_rows(self.reader, self.view, bundle_list, self.estimator)
        return self.estimator.fit(x, **arguments)


def gathered_rows(reader: Any, view: View, bundle_list: Sequence[Bundle], estimator: Any) -> tuple[Any, dict[str, Any]]:
    """X of all rows as an estimator's own ``fit`` takes it, and ``y`` and ``sample_weight`` where there are any."""
    from parquetry.through import takes_texts

    xs, ys, weights = [], [], []
    for block in (block for bundle in bundle_list for block in bundle):
        for table, rows in reader.read(block):
            batch = Batch(table, rows, block, view)
            xs.append(batch.named_X)
            ys += [batch.y] if view.target else []
            weights += [] if view.sample_weight is None else [batch.weights]
            del batch, table  # what was read goes as soon as X is made of it
    x = _stack(xs)
    if hasattr(x, "columns") and len(x.columns) == 1 and takes_texts(estimator):
        x = x.iloc[:, 0]
    arguments: dict[str, Any] = {"y": _stack(ys)} if view.target else {}
    if view.sample_weight is not None:
        arguments["sample_weight"] = _stack(weights)
    return x, arguments


def _answer(works: list[Any], engine: Engine, verb: str, number: int) -> list[Any]:
    results: list[Any] = [None] * len(works)
    passes = [(i, w) for i, w in enumerate(works) if isinstance(w, Pass)]
    if passes:
        label = f"{verb}-{'+'.join(dict.fromkeys(_label(w) for _, w in passes))}-pass-{number}"
        for part in _by_data(passes):
            found = run_pass(engine, [(w.reduction, w.view) for _, w in part], label=label)
            for (i, _), result in zip(part, found, strict=True):
                results[i] = result
    for i, work in enumerate(works):
        if isinstance(work, Gather):
            view = work.view
            columns = view.columns
            reader = view.dataset.select(columns).reader(batch_rows=view.batch_rows)
            shipped = replace(view, dataset=None)  # type: ignore[arg-type]
            task = _GatherTask(reader, shipped, work.estimator)
            label = f"{verb}-{class_name(work.estimator)}-single-node"
            results[i] = next(iter(engine.map(task, [bundles(view.dataset, columns)], label=label)))
        elif isinstance(work, Work):
            results[i] = work.run(engine, verb)
        elif isinstance(work, Note):
            engine.progress.note = work.text
    return results


def _by_data(passes: list[tuple[int, Pass]]) -> list[list[tuple[int, Pass]]]:
    """Passes that can share a read, together: rows for validation may be another dataset than those of the fit."""
    parts: dict[tuple[str, Any], list[tuple[int, Pass]]] = {}
    for i, work in passes:
        dataset = work.view.dataset
        parts.setdefault((dataset.uri, dataset.blocks), []).append((i, work))
    return list(parts.values())


def _label(work: Pass) -> str:
    return str(getattr(work.reduction, "label", type(work.reduction).__name__))


def _stack(parts: list[Any]) -> Any:
    if hasattr(parts[0], "iloc"):
        import pandas as pd

        return pd.concat(parts, ignore_index=True)
    if hasattr(parts[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(parts).tocsr()
    return np.concatenate(parts)


def _observed(asking: Asking, notice: Callable[[list[Any]], None]) -> Asking:
    """The same questions and answers, with a look at each list of work on its way."""
    try:
        asked = next(asking)
        while True:
            notice(asked)
            try:
                answers = yield asked
            except Exception as error:  # noqa: BLE001 (handed on)
                asked = asking.throw(error)
            else:
                asked = asking.send(answers)
    except StopIteration as stop:
        return stop.value


def _reads(asked: list[Any]) -> int:
    """How often the data are read for a list of work: passes share one read."""
    passes = [(i, w) for i, w in enumerate(asked) if isinstance(w, Pass)]
    return len(_by_data(passes)) + sum(isinstance(w, (Gather, Work)) for w in asked)


def _report(view: View, engine: Engine, reports: list[StepReport], passes: int, seconds: float) -> dict[str, Any]:
    placements = {r.placement for r in reports if r.passes}
    schema = view.dataset.full_schema
    return {
        "placement": "mixed" if len(placements) > 1 else next(iter(placements), "distributed"),
        "steps": [asdict(r) for r in reports],
        "passes": passes,
        "rows": view.dataset.num_rows,
        "seconds": round(seconds, 3),
        "engine": engine.name,
        "parallelism": engine.parallelism,
        "inputs": {name: str(schema.field(name).type) for name in view.features},
        "target": list(view.target),
        "sample_weight": view.sample_weight,
        "data": view.dataset.uri,
        "fingerprint": view.dataset.fingerprint,
    }
