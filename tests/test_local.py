"""The local engine's map: what runs, waits and is done stays bounded, and ends when the map ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from conftest import WORKERS
from parquetry.errors import EngineLost, TaskFailed

WINDOW = 4 * WORKERS


@dataclass(frozen=True)
class Noted:
    """Leaves a file for each item, in this process or in another one."""

    folder: Path
    holds_gil: bool
    broken: int = -1

    def __call__(self, item: int) -> int:
        (self.folder / str(item)).touch()
        if item == self.broken:
            raise ValueError("broken on purpose")
        return item

    def count(self) -> int:
        return len(list(self.folder.iterdir()))


def settled(task: Noted) -> int:
    time.sleep(0.3)
    return task.count()


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def noted(request: pytest.FixtureRequest, tmp_path: Path) -> Noted:
    return Noted(tmp_path, request.param)


def test_a_slow_consumer_is_waited_for(local: Any, noted: Noted) -> None:
    results = local.map(noted, range(100), label="slow-consumer")
    for taken in range(1, 4):
        assert next(results) == taken - 1
        assert settled(noted) <= taken + WINDOW
    assert list(results) == list(range(3, 100))


def test_a_slow_first_item_is_waited_for(local: Any) -> None:
    started: list[int] = []
    full = threading.Event()

    def task(item: int) -> int:
        started.append(item)
        if len(started) == WINDOW:
            full.set()
        if item == 0:
            assert full.wait(60)
            time.sleep(0.2)
            return len(started)
        return item

    assert next(local.map(task, range(100), label="slow-first")) == WINDOW


def test_an_error_ends_the_rest(local: Any, noted: Noted) -> None:
    task = Noted(noted.folder, noted.holds_gil, broken=3)
    with pytest.raises(TaskFailed, match="broken on purpose"):
        list(local.map(task, range(100), label="broken"))
    count = task.count()
    assert count <= 4 + WINDOW
    assert settled(task) == count


def test_a_closed_map_leaves_nothing_running(local: Any, noted: Noted) -> None:
    results = local.map(noted, range(100), label="closed")
    next(results)
    results.close()
    count = noted.count()
    assert count <= 1 + WINDOW
    assert settled(noted) == count


def test_a_map_that_is_closed_waits_for_what_runs(local: Any) -> None:
    ended = []

    def task(item: int) -> None:
        time.sleep(0.2 * (item > 0))
        ended.append(item)

    results = local.map(task, range(100), label="closed")
    next(results)
    results.close()
    count = len(ended)
    time.sleep(0.3)
    assert len(ended) == count < 100


def test_one_item_runs_in_the_callers_thread(local: Any) -> None:
    """A single-node fit may take hours: Ctrl-C must reach it."""
    assert list(local.map(lambda _: threading.current_thread(), [1], label="one")) == [threading.main_thread()]


def test_blas_and_openmp_keep_to_one_thread(local: Any) -> None:
    import scipy.linalg  # noqa: F401 (loads BLAS)
    import sklearn.cluster  # noqa: F401 (loads OpenMP)
    from threadpoolctl import threadpool_info

    def threads(_: int) -> list[int]:
        return [library["num_threads"] for library in threadpool_info()]

    before = threads(0)
    for found in local.map(threads, range(6), label="threads"):
        assert set(found) == {1}
    assert threads(0) == before


@dataclass(frozen=True)
class Dies:
    holds_gil: bool = True

    def __call__(self, item: int) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_process_that_dies_is_a_typed_error(local: Any) -> None:
    with pytest.raises(EngineLost, match="dies: a worker process died"):
        list(local.map(Dies(), range(3), label="dies"))


def test_joblib_may_be_used_between_two_results(local: Any, tmp_path: Path) -> None:
    from joblib import Parallel, delayed

    results = local.map(Noted(tmp_path, holds_gil=True), range(20), label="between")
    assert next(results) == 0
    assert Parallel(2)(delayed(abs)(i) for i in (-1, -2)) == [1, 2]
    assert list(results) == list(range(1, 20))
