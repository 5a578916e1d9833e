"""Distributed fits of candidates on splits, a few in step, so that their passes share a read.

They are all driven from one place: each asks for its passes, and none waits for another's workers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from parquetry.errors import ParquetryError, TooBigForOneNode
from parquetry.fitting import Asking, Fitting, Note, Work, gathered_rows
from parquetry.metrics.ranking import EXACT_SCORES
from parquetry.reduction import FAN_IN, bundles
from parquetry.single_node import gathered_bytes
from parquetry.tuning.contest import Contest, Outcome, Outcomes, best_so_far, failed
from parquetry.tuning.heads import Heads, behind, joined, last_of
from parquetry.tuning.row_sets import part_of
from parquetry.tuning.scores import scores_of, streamed_scores, weighted
from parquetry.tuning.splits import Split
from parquetry.tuning.trouble import Trouble, all_or_each
from parquetry.view import View

TOGETHER = 8
"""So many fits share their reads at most; each has its share of the memory."""
_MOST_SCORED = 64


@dataclass
class Fitted:
    """A fitted candidate, or its trouble, on one split.

    Attributes
    ----------
    model : estimator or Trouble
    train, test : View
        Its split's rows, before any step of its own.
    seconds : float
        Its share of the time of the fits that shared reads.
    """

    model: Any
    train: View
    test: View
    seconds: float


def streamed(contest: Contest, candidates: Sequence[dict[str, Any]], splits: Sequence[Split]) -> Outcomes:
    """Every candidate on every split."""
    views = split_views(contest.view, splits)
    heads = Heads(contest, [train for train, _ in views])
    digests = [(split.train.digest, split.test.digest) for split in splits]
    jobs = [(params, k) for params in candidates for k in range(len(splits))]
    keys = [contest.journal.key(contest.candidate(params), digests[k]) for params, k in jobs]
    found: list[Any] = [contest.journal.find(key) for key in keys]
    missing = [i for i, outcome in enumerate(found) if outcome is None]
    for start in range(0, len(missing), TOGETHER):
        group = missing[start : start + TOGETHER]
        fitted = yield from _fitted_group(contest, [jobs[i] for i in group], views, heads)
        outcomes = yield from scored(contest, fitted)
        for i, outcome in zip(group, outcomes, strict=True):
            found[i] = outcome
            contest.journal.add(keys[i], outcome)
        yield [Note(best_so_far(found, len(splits)))]
    yield [Note("")]
    return found


def split_views(view: View, splits: Sequence[Split]) -> list[tuple[View, View]]:
    """The rows of each split as parts of a view: ``(train, test)``."""
    parts = [(part_of(view.dataset, s.train), part_of(view.dataset, s.test)) for s in splits]
    return [(replace(view, dataset=train), replace(view, dataset=test)) for train, test in parts]


def _fitted_group(
    contest: Contest, jobs: Sequence[tuple[dict[str, Any], int]], views: Sequence[tuple[View, View]], heads: Heads
) -> Generator[list[Any], list[Any], list[Fitted]]:
    """Candidates fitted in step; each by itself where that fails."""
    started = time.perf_counter()
    candidates = [(contest.candidate(params), k) for params, k in jobs]
    before = yield from heads.of(candidates)

    def fit(candidate: Any, k: int, head: Any, share: int) -> Asking:
        fitting = Fitting(contest.fitting.memory // share, contest.fitting.path, options=contest.fitting.options)
        last = last_of(candidate)
        if last is None or last == "passthrough":
            return joined(candidate, head, last)
        fitted = yield from fitting.step(last, behind(views[k][0], head), type(last).__name__)
        return joined(candidate, head, fitted)

    works = [
        partial(fit, *job, head) for job, head in zip(candidates, before, strict=True) if not isinstance(head, Trouble)
    ]
    fitted = iter((yield from all_or_each(works, raising=contest.error_score == "raise")))
    models = [head if isinstance(head, Trouble) else next(fitted) for head in before]
    seconds = (time.perf_counter() - started) / len(jobs)
    return [Fitted(model, *views[k], seconds) for model, (_, k) in zip(models, jobs, strict=True)]


# --- scores ---------------------------------------------------------------------------------
def scored(contest: Contest, fitted: Sequence[Fitted]) -> Outcomes:
    """What each fit comes to: its scores on the rows that it has not seen, and on its own if asked for."""
    started = time.perf_counter()
    good = [f for f in fitted if not isinstance(f.model, Trouble)]
    tests = yield from _scores(contest, [(f.model, f.test) for f in good])
    score_seconds = (time.perf_counter() - started) / max(1, len(good))
    trains = (yield from _scores(contest, [(f.model, f.train) for f in good])) if contest.train_scores else []
    answers = iter(range(len(good)))
    outcomes: list[Outcome] = []
    for f in fitted:
        rows = f.test.dataset.num_rows
        if isinstance(f.model, Trouble):
            outcomes.append(failed(contest, f.model.trace, f.seconds, rows))
            continue
        i = next(answers)
        outcome: Outcome = {"fit_error": None, "test_scores": tests[i], "n_test_samples": rows}
        outcome |= {"train_scores": trains[i]} if contest.train_scores else {}
        outcome |= {"estimator": f.model} if contest.keep_models else {}
        outcomes.append({**outcome, "fit_time": f.seconds, "score_time": score_seconds})
    return outcomes


def _scores(contest: Contest, pairs: Sequence[tuple[Any, View]]) -> Generator[list[Any], list[Any], list[Any]]:
    """The scores of models over views: streamed where they can be, else on one worker."""
    wanted = streamed_scores(contest.scorer, contest.estimator, len(contest.view.target))
    several = hasattr(contest.scorer, "_scorers")
    found: list[Any] = []
    step = _at_once(contest, wanted)
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        answers: Sequence[Any] = [None] * len(part)
        if wanted is not None:
            works = [partial(_streamed, model, weighted(v, by=contest.score_weights), wanted) for model, v in part]
            answers = yield from all_or_each(works, raising=False)
        for (model, view), answer in zip(part, answers, strict=True):
            if answer is None or isinstance(answer, Trouble):
                found.append((yield from _on_one_worker(contest, model, view, answer)))
            else:
                found.append(answer if several else answer["score"])
    return found


def _streamed(model: Any, view: View, wanted: Any, _share: int) -> Asking:
    return (yield from scores_of(model, view, wanted))


def _at_once(contest: Contest, wanted: Any) -> int:
    """How many models are scored in a pass: of those that are ranked all scores are held."""
    if wanted is None or not any(each.ranked for each in wanted.values()):
        return _MOST_SCORED
    held = 16 * FAN_IN * min(contest.view.dataset.num_rows, EXACT_SCORES)
    return max(1, min(_MOST_SCORED, contest.fitting.memory // (4 * held)))


def _on_one_worker(
    contest: Contest, model: Any, view: View, trouble: Trouble | None
) -> Generator[list[Any], list[Any], Any]:
    """The scorer's own answer, given all rows of a fold at once.

    Raises
    ------
    TooBigForOneNode
        They do not fit one worker.
    """
    if isinstance(trouble, Trouble) and isinstance(trouble.error, ParquetryError) and not view.numeric:
        return _instead(contest, trouble)  # a model's own code would refuse columns of text before anything else
    needed = gathered_bytes(view)
    if needed > contest.fitting.memory:
        if trouble is not None:
            return _instead(contest, trouble)
        raise TooBigForOneNode(
            f"{contest.name}: the scorer {contest.scorer!r} needs a fold's rows at once, about "
            f"{needed / 2**30:.2f} GiB; {contest.fitting.memory / 2**30:.2f} GiB are allowed.",
            why="It is no score that adds up over rows.",
            fix="Name one of scikit-learn's scores, as 'accuracy' or 'r2', or allow more with memory=.",
        )
    (scores,) = yield [ScoreOnWorker(contest, model, view)]
    return scores


def _instead(contest: Contest, trouble: Trouble) -> Any:
    """What stands for a score that failed, as in scikit-learn; the error itself where that is asked for."""
    if contest.error_score == "raise":
        raise trouble.error
    warnings.warn(
        "Scoring failed. The score on this train-test partition for these parameters will be set to "
        f"{contest.error_score}. Details: \n{trouble.trace}",
        UserWarning,
        stacklevel=2,
    )
    scorers = getattr(contest.scorer, "_scorers", None)
    return contest.error_score if scorers is None else dict.fromkeys(scorers, contest.error_score)


class ScoreOnWorker(Work):
    """A scorer's own answer for a model, on one worker."""

    def __init__(self, contest: Contest, model: Any, view: View) -> None:
        self.contest, self.model, self.view = contest, model, view

    def run(self, engine: Any, verb: str) -> Any:
        contest, view = self.contest, self.view
        reader = view.dataset.select(view.columns).reader(batch_rows=view.batch_rows)
        task = _ScoreTask(
            reader,
            replace(view, dataset=None),  # type: ignore[arg-type]
            self.model,
            contest.scorer,
            contest.error_score,
            contest.score_weights,
        )
        label = f"{verb}-{contest.name}-scores"
        return next(iter(engine.map(task, [bundles(view.dataset, view.columns)], label=label)))


@dataclass(frozen=True)
class _ScoreTask:
    reader: Any
    view: View
    model: Any
    scorer: Any
    error_score: Any
    score_weights: bool

    def __call__(self, bundle_list: Any) -> Any:
        from sklearn.model_selection._validation import _score

        x, arguments = gathered_rows(self.reader, self.view, bundle_list, self.model)
        weights = arguments.get("sample_weight")
        params = {"sample_weight": weights} if self.score_weights and weights is not None else {}
        return _score(self.model, x, arguments.get("y"), self.scorer, params, self.error_score)
