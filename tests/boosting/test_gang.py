"""Gangs of processes: which rank reads what, and that nothing hangs whoever is lost."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parquetry as pqy
from parquetry.boosting import Gang, nursery
from parquetry.boosting.gang import GangWork, dealt
from parquetry.errors import BadParameter, GangLost, NotEnoughSlots, TaskFailed
from parquetry.fit_checks import make_view

Write = Callable[..., Path]


@pytest.fixture
def view(write_parquet: Write) -> Any:
    numbers = np.arange(1000.0)
    return make_view(
        write_parquet({"a": numbers, "y": numbers}, files=2, row_group_size=150), target="y", features=None
    )


def run(engine: Any, view: Any, training: Any, world: int = 2, **gang: Any) -> Any:
    return GangWork("Toy", training, {"train": view}, Gang(world=world, **gang)).run(engine, "fit")


# --- which rank reads what ------------------------------------------------------------------------
@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_ranks_read_consecutive_blocks_all_of_them_once(view: Any, world: int) -> None:
    parts = dealt(view.dataset, world)
    assert len(parts) == world
    assert [b.index for part in parts for b in part] == [b.index for b in view.dataset.blocks]
    rows = [sum(b.num_rows for b in part) for part in parts]
    assert min(rows) > 0
    assert max(rows) - 1000 / world <= 150


def test_a_split_counts_its_own_rows(view: Any) -> None:
    """Blocks of which no row is left are nobody's."""
    few = view.dataset.sample(3)
    parts = dealt(few, 2)
    assert all(parts)
    assert sum(len(part) for part in parts) <= 3


# --- results and errors ---------------------------------------------------------------------------
def _sums(rank: Any) -> Any:
    own = sum(float(b.y_floats[0].sum()) for b in rank.batches("train"))
    return rank.all_gather(f"{rank.rank} {own}"), rank.threads


def test_every_rank_reads_its_rows_and_meets_the_others(local: Any, view: Any) -> None:
    outcome = run(local, view, _sums)
    (first, threads), second = outcome.results
    assert second == (first, threads)
    assert threads == 1
    assert sum(float(m.split()[1]) for m in first) == 499_500.0
    assert [m.split()[0] for m in first] == ["0", "1"]


def _raises(rank: Any) -> None:
    if rank.rank == 1:
        raise pqy.ParquetryError("Rank 1 does not like it.")
    rank.all_gather("waits for rank 1")


def _breaks(rank: Any) -> None:
    if rank.rank == 1:
        print("a last word")
        raise ZeroDivisionError
    rank.all_gather("waits for rank 1")


def _needs_more(rank: Any) -> None:
    import no_such_package  # noqa: F401  # type: ignore[import-not-found]


def test_a_package_that_workers_lack_is_named(local: Any, view: Any) -> None:
    with pytest.raises(TaskFailed, match=r"The workers have no module 'no_such_package'.*boosting"):
        run(local, view, _needs_more)


def test_the_error_of_the_rank_that_failed_is_told(local: Any, view: Any) -> None:
    with pytest.raises(pqy.ParquetryError, match="Rank 1 does not like it"):
        run(local, view, _raises)
    with pytest.raises(TaskFailed, match=r"(?s)rank 1: a task raised ZeroDivisionError.*_breaks"):
        run(local, view, _breaks)


def test_what_cannot_be_is_refused_before_it_starts(local: Any, view: Any) -> None:
    with pytest.raises(BadParameter, match=r"world=9 ranks, and only 8 blocks.*Lower world to 8"):
        run(local, view, _sums, world=9)
    for wrong in ({"world": 0}, {"retries": -1}, {"silence": 0}, {"checkpoint_every": 0}, {"world": 1.5}):
        with pytest.raises(BadParameter, match="is out of range"):
            Gang(**wrong)


def test_a_gang_that_finds_no_room_says_so(dask_engine: Any, view: Any) -> None:
    with pytest.raises(NotEnoughSlots, match="needs 3 slots at once; the cluster has 2"):
        run(dask_engine, view, _sums, world=3)


# --- losses ---------------------------------------------------------------------------------------
@dataclass
class _Killed:
    """Rank 1's process ends without a word in round 3."""

    once: str = ""

    def __call__(self, rank: Any) -> str:
        rank.done(3)
        if rank.rank == 1 and not (self.once and os.path.exists(self.once)):
            if self.once:
                Path(self.once).touch()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)
        return rank.all_gather(f"start {rank.start}")[0]


def test_a_rank_that_is_killed_ends_the_gang_with_its_name(local: Any, view: Any) -> None:
    with pytest.raises(GangLost, match=r"rank 1 of 2 was killed by signal 9 .* in round 3.*Gang\(retries"):
        run(local, view, _Killed())


def test_a_gang_starts_again_where_it_may(local: Any, view: Any, tmp_path: Path) -> None:
    outcome = run(local, view, _Killed(str(tmp_path / "once")), retries=1)
    assert outcome.results == ["start 1", "start 1"]
    assert outcome.starts == 2


def _falls_silent(rank: Any) -> None:
    if rank.rank == 1:
        os.kill(os.getpid(), signal.SIGSTOP)
    rank.all_gather("waits for rank 1")


def test_a_rank_that_falls_silent_is_taken_for_lost(local: Any, view: Any) -> None:
    with pytest.raises(GangLost, match="rank 1 of 2 gave no sign of life for 2 seconds"):
        run(local, view, _falls_silent, silence=1.6)


def test_a_nursery_that_is_gone_is_replaced(local: Any, view: Any) -> None:
    assert run(local, view, _sums).starts == 1
    for known in nursery._nurseries.values():
        known._process.kill()
    assert run(local, view, _sums).starts == 1


def test_no_process_is_left(local: Any, view: Any) -> None:
    def told(rank: Any) -> int:
        return os.getpid()

    for process in run(local, view, told).results:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
