"""Works that go on where one of them fails."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from parquetry.fitting import Asking, together


@dataclass(frozen=True)
class Trouble:
    """What came of a fit or a score that failed.

    Attributes
    ----------
    trace : str
        The traceback, as scikit-learn keeps it.
    error : Exception
    """

    trace: str
    error: Exception

    @classmethod
    def of(cls, error: Exception) -> Trouble:
        """The error that is being handled."""
        return cls(traceback.format_exc(), error)


def all_or_each(
    works: Sequence[Callable[[int], Asking]], *, raising: bool
) -> Generator[list[Any], list[Any], list[Any]]:
    """The results of several works in step; where one fails, of each by itself, or its trouble.

    Parameters
    ----------
    works : sequence of callables
        Each takes among how many the memory is shared, and begins the work.
    raising : bool
        Whether an error is raised.
    """
    if len(works) > 1:
        try:
            return (yield from together([guarded(work(len(works)), raising=raising) for work in works]))
        except Exception:
            # A pass failed that several shared: which of them it was is seen when each is alone.
            if raising:
                raise
    results = []
    for work in works:
        result = yield from guarded(work(1), raising=raising)
        results.append(result)
    return results


def guarded(asking: Asking, *, raising: bool) -> Asking:
    """The same work, whose failure is its result."""
    try:
        return (yield from asking)
    except Exception as error:
        if raising:
            raise
        return Trouble.of(error)
