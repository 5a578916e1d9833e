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
    results: list[Any] = [None] * len(works)
    alone = list(range(len(works)))
    if len(works) > 1:
        try:
            results = yield from together([guarded(work(len(works)), raising=raising) for work in works])
            # What is too big for a share of the memory may fit all of it.
            alone = [i for i, r in enumerate(results) if isinstance(r, Trouble) and isinstance(r.error, MemoryError)]
        except Exception:  # noqa: BLE001, S110 (of a pass that several shared: which it was is seen when each is alone)
            pass
    for i in alone:
        results[i] = yield from guarded(works[i](1), raising=raising)
    return results


def guarded(asking: Asking, *, raising: bool) -> Asking:
    """The same work, whose failure is its result."""
    try:
        return (yield from asking)
    except Exception as error:
        if raising:
            raise
        return Trouble.of(error)
