"""The transformers before a pipeline's last step, fitted once for all candidates that share them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from parquetry.fitting import Asking, Fitting
from parquetry.tuning.contest import Contest
from parquetry.tuning.journal import digest
from parquetry.tuning.trouble import Trouble, all_or_each
from parquetry.view import View

_KEPT = 4  # heads a split


@dataclass(frozen=True, eq=False)
class Head:
    """A fitted head.

    Attributes
    ----------
    fitted : Pipeline
        As the fitted candidate holds it.
    in_training : Pipeline
        What the rows of the fit go through on their way to the last step; mostly the same.
    """

    fitted: Pipeline
    in_training: Pipeline


class Heads:
    """Fitted heads of pipelines, by their parameters and split; those used longest ago are let go.

    Parameters
    ----------
    contest : Contest
    views : sequence of View
        The rows that each split learns from.
    """

    def __init__(self, contest: Contest, views: Sequence[View]) -> None:
        self.contest, self.views = contest, views
        self._known: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def of(self, jobs: Sequence[tuple[Any, int]]) -> Generator[list[Any], list[Any], list[Any]]:
        """The Head of each estimator on each split, its trouble, or None where it has no head."""
        keys = [None if head_of(est) is None else (digest(head_of(est)), k) for est, k in jobs]
        missing = {
            key: (head_of(est), k)
            for key, (est, k) in zip(keys, jobs, strict=True)
            if key is not None and key not in self._known
        }
        works = [partial(self._fit, head, k) for head, k in missing.values()]
        fitted = yield from all_or_each(works, raising=self.contest.error_score == "raise")
        self._known.update(zip(missing, fitted, strict=True))
        found = [None if key is None else self._known[key] for key in keys]
        while len(self._known) > _KEPT * len(self.views):
            self._known.popitem(last=False)
        return found

    def _fit(self, head: Any, k: int, share: int) -> Asking:
        fitting = Fitting(
            self.contest.fitting.memory // share, self.contest.fitting.path, options=self.contest.fitting.options
        )
        view = self.views[k]
        fitted = yield from fitting.step(clone(head), unweighted(view), "head")
        return Head(fitted, fitting.in_training(fitted))


def head_of(estimator: Any) -> Any:
    """The steps of a pipeline before its last one, as a pipeline; None where there are none."""
    if type(estimator) is not Pipeline or len(estimator.steps) < 2:
        return None
    return Pipeline(estimator.steps[:-1])


def last_of(estimator: Any) -> Any:
    """The last step of a pipeline; any other estimator itself."""
    return estimator.steps[-1][1] if type(estimator) is Pipeline else estimator


def behind(view: View, head: Head | None) -> View:
    """Rows of a fit as its last step gets them: where an encoder is cross-fitted, with what the other folds told."""
    if head is None:
        return view
    for _, step in head.in_training.steps:
        if step is not None and step != "passthrough":
            view = view.through(step)
    return view


def joined(estimator: Any, head: Head | None, last: Any) -> Any:
    """The pipeline with its fitted steps."""
    if type(estimator) is not Pipeline or isinstance(last, Trouble):
        return last
    whole = clone(estimator)
    whole.steps = [*(head.fitted.steps if head is not None else []), (estimator.steps[-1][0], last)]
    return whole


def unweighted(view: View) -> View:
    """What comes before a pipeline's last step gets no weights."""
    return replace(view, sample_weight=None)
