"""Fits on one worker each: the estimator's own code on the rows of a split, several at once.

A worker reads the rows once for all fits that it is given. Transformers that stand before the last
step of a pipeline are fitted once for all candidates that share them.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from sklearn.base import clone

from parquetry.fitting import Work, gathered_rows
from parquetry.reduction import Bundle, bundles
from parquetry.single_node import check_weights_taken, gathered_bytes
from parquetry.tuning.contest import Contest, Outcome, Outcomes, best_so_far
from parquetry.tuning.journal import digest
from parquetry.tuning.shared_bins import SharedBins, binned_part
from parquetry.tuning.splits import Split

if TYPE_CHECKING:
    from parquetry.engine import Engine

_MANY_VALUES = 2**20
"""With more values of X processes are worth their start; threads share the interpreter."""
_KEPT_SECONDS = 300.0
_PREFIX_SHARE = 8


@dataclass(frozen=True)
class Fit:
    """One candidate on one split.

    Parameters
    ----------
    params : dict or None
    candidate, split : int
        Their numbers.
    rows : Split
    key : str
        In the journal.
    """

    params: dict[str, Any] | None
    candidate: int
    split: int
    rows: Split
    key: str


def on_workers(contest: Contest, candidates: Sequence[dict[str, Any]], splits: Sequence[Split]) -> Outcomes:
    """Every candidate on every split, each fit a task."""
    check_weights_taken(contest.estimator, weighted=contest.view.sample_weight is not None)
    split_keys = [(split.train.digest, split.test.digest) for split in splits]
    fits = [
        Fit(params, i, k, split, contest.journal.key(contest.candidate(params), split_keys[k]))
        for i, params in enumerate(candidates)
        for k, split in enumerate(splits)
    ]
    answers: list[list[Outcome]] = yield [FitsOnWorkers(contest, fits, len(splits))]
    return answers[0]


class FitsOnWorkers(Work):
    """Many fits as tasks of an engine; those that the journal has are not done again."""

    def __init__(self, contest: Contest, fits: Sequence[Fit], n_splits: int) -> None:
        self.contest, self.fits, self.n_splits = contest, fits, n_splits

    def run(self, engine: Engine, verb: str) -> list[Outcome]:
        contest = self.contest
        found = [contest.journal.find(fit.key) for fit in self.fits]
        missing = [i for i, outcome in enumerate(found) if outcome is None]
        task = self._task()
        size = max(1, min(engine.parallelism, int(engine.memory // max(1, gathered_bytes(contest.view)))))
        # Where the memory holds fewer fits than there are workers, no more than those are handed out at once.
        step = len(missing) if size == engine.parallelism else size
        label = f"{verb}-{contest.name}-{type(contest.estimator).__name__}"
        try:
            for start in range(0, len(missing), max(1, step)):
                wave = missing[start : start + step]
                results = engine.map(task, [self.fits[i] for i in wave], label=label)
                for i, outcome in zip(wave, results, strict=True):
                    found[i] = outcome
                    contest.journal.add(self.fits[i].key, outcome)
                    engine.progress.note = best_so_far(found, self.n_splits)
        finally:
            engine.progress.note = ""
            task.rows.forget()
        return found  # type: ignore[return-value]

    def _task(self) -> FitTask:
        contest, view = self.contest, self.contest.view
        reader = view.dataset.select(view.columns).reader(batch_rows=view.batch_rows)
        shipped = replace(view, dataset=None)  # type: ignore[arg-type]
        blocks = tuple(bundles(view.dataset, view.columns))
        rows = Rows(uuid.uuid4().hex, reader, shipped, blocks, contest.fitting.memory // _PREFIX_SHARE)
        return FitTask(
            rows,
            contest.estimator,
            contest.scorer,
            contest.error_score,
            contest.train_scores,
            contest.score_weights,
            contest.keep_models,
            contest.verbose,
            self.n_splits,
            view.dataset.num_rows * view.width > _MANY_VALUES,
        )


@dataclass(frozen=True)
class FitTask:
    """Fits and scores one candidate on one split by scikit-learn's own function.

    Parameters
    ----------
    rows : Rows
    estimator, scorer, error_score, train_scores, score_weights, keep_models, verbose
        As in :class:`~parquetry.tuning.contest.Contest`.
    n_splits : int
    holds_gil : bool
        Whether processes are worth their start.
    """

    rows: Rows
    estimator: Any
    scorer: Any
    error_score: Any
    train_scores: bool
    score_weights: bool
    keep_models: bool
    verbose: int
    n_splits: int
    holds_gil: bool

    def __call__(self, fit: Fit) -> Outcome:
        from sklearn.model_selection._validation import _fit_and_score

        loaded = self.rows.loaded(self.estimator)
        estimator = clone(self.estimator)
        shared = _share_prefix(estimator, fit, loaded)
        binned = _share_bins(estimator, fit, loaded, shared)
        weights = loaded.arguments.get("sample_weight")
        outcome: Outcome = _fit_and_score(
            estimator,
            loaded.x,
            loaded.arguments.get("y"),
            scorer=self.scorer,
            train=fit.rows.train.numbers,
            test=fit.rows.test.numbers,
            verbose=self.verbose,
            parameters=fit.params,
            fit_params={} if weights is None else {_weight_name(estimator): weights},
            score_params={"sample_weight": weights} if self.score_weights and weights is not None else {},
            return_train_score=self.train_scores,
            return_n_test_samples=True,
            return_times=True,
            return_estimator=self.keep_models,
            split_progress=(fit.split, self.n_splits),
            error_score=self.error_score,
        )
        if self.keep_models and shared is not None:
            outcome["estimator"].memory = None
        if binned is not None:
            vars(binned).pop("_bin_data", None)
        return outcome


def _weight_name(estimator: Any) -> str:
    """The name under which the last step's ``fit`` gets the weights."""
    prefix = ""
    while hasattr(estimator, "steps"):
        name, estimator = estimator.steps[-1]
        prefix += f"{name}__"
    return f"{prefix}sample_weight"


def _share_bins(estimator: Any, fit: Fit, loaded: Loaded, shared: Prefixes | None) -> Any:
    """Have histogram gradient boosting look for its bins; the estimator that will, or None."""
    binned = binned_part(estimator)
    if binned is None or (shared is None and binned is not estimator):
        return None

    def path() -> tuple[str, ...]:
        return (fit.rows.train.digest,) if shared is None else shared.path

    binned._bin_data = SharedBins(binned, path, loaded.prefix, loaded.add_prefix)
    return binned


def _share_prefix(estimator: Any, fit: Fit, loaded: Loaded) -> Prefixes | None:
    """Have a pipeline look for its transformers among those that were fitted on the same rows before."""
    from sklearn.pipeline import Pipeline

    if type(estimator) is not Pipeline or estimator.memory is not None or len(estimator.steps) < 2:
        return None
    if fit.params is not None and "memory" in fit.params:
        return None
    shared = Prefixes(loaded, fit.rows.train.digest)
    estimator.memory = shared
    return shared


class Prefixes:
    """What a pipeline takes for a joblib Memory: transformers by themselves and what came before.

    Parameters
    ----------
    loaded : Loaded
    rows : str
        The digest of the rows that are fitted.
    """

    def __init__(self, loaded: Loaded, rows: str) -> None:
        self.loaded = loaded
        self.path: tuple[str, ...] = (rows,)

    def cache(self, function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        """A function of a transformer and its rows that looks before it fits."""

        def found_or_fitted(transformer: Any, *args: Any, **kwargs: Any) -> Any:
            self.path = (*self.path, digest(transformer))
            known = self.loaded.prefix(self.path)
            if known is None:
                known = function(transformer, *args, **kwargs)
                self.loaded.add_prefix(self.path, known)
            return known

        return found_or_fitted


class Loaded:
    """All rows of a search in a worker's memory, and what transformers made of them.

    Parameters
    ----------
    x : frame or array
    arguments : dict
        ``y`` and ``sample_weight``, where there are any.
    room : int
        Most bytes of transformed rows that are kept.
    """

    def __init__(self, x: Any, arguments: dict[str, Any], room: int) -> None:
        self.x, self.arguments, self.room = x, arguments, room
        self._prefixes: OrderedDict[tuple[str, ...], tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def prefix(self, path: tuple[str, ...]) -> Any:
        """``(rows, transformer)`` as they were fitted before, or None."""
        with self._lock:
            if path not in self._prefixes:
                return None
            self._prefixes.move_to_end(path)
            return self._prefixes[path][0]

    def add_prefix(self, path: tuple[str, ...], fitted: Any) -> None:
        """Keep them while there is room; what was used longest ago goes first."""
        size = _bytes_of(fitted[0])
        with self._lock:
            self._prefixes[path] = (fitted, size)
            while sum(s for _, s in self._prefixes.values()) > self.room and self._prefixes:
                self._prefixes.popitem(last=False)


def _bytes_of(x: Any) -> int:
    if hasattr(x, "memory_usage"):
        return int(x.memory_usage(deep=True).sum())
    if hasattr(x, "data") and hasattr(x, "indptr"):
        return int(x.data.nbytes + x.indices.nbytes + x.indptr.nbytes)
    return int(getattr(x, "nbytes", 0))


_held: dict[str, Any] = {}  # the rows of one search at a time
_holding = threading.Lock()


@dataclass(frozen=True)
class Rows:
    """How a worker gets the rows of a search: read once, and forgotten when no more fits come.

    Parameters
    ----------
    token : str
        The search's own.
    reader, view, blocks
    room : int
        As in :class:`Loaded`.
    """

    token: str
    reader: Any
    view: Any
    blocks: tuple[Bundle, ...]
    room: int

    def loaded(self, estimator: Any) -> Loaded:
        """The rows; other fits in the same process wait while they are read."""
        with _holding:
            if _held.get("token") != self.token:
                _held.clear()
                _held.update(token=self.token, rows=Loaded(*self._read(estimator), self.room))
            self._keep_for_a_while()
            rows: Loaded = _held["rows"]
            return rows

    def forget(self) -> None:
        """Let this process's rows go."""
        with _holding:
            self._let_go()

    def _read(self, estimator: Any) -> tuple[Any, dict[str, Any]]:
        return gathered_rows(self.reader, self.view, self.blocks, estimator)

    def _keep_for_a_while(self) -> None:
        # A worker process lives on after the search: it must not hold the rows for good.
        if "timer" in _held:
            _held["timer"].cancel()
        timer = threading.Timer(_KEPT_SECONDS, self.forget)
        timer.daemon = True
        timer.start()
        _held["timer"] = timer

    def _let_go(self) -> None:
        if _held.get("token") == self.token:
            with suppress(KeyError):
                _held["timer"].cancel()
            _held.clear()
