"""Dask's own matters: what is sent to workers and left on the scheduler."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from distributed import Client, LocalCluster

import parquetry as pqy
from parquetry.engine import Member
from parquetry.engines import dask_workers
from parquetry.errors import EngineUnreachable, TaskFailed, UnknownColumn


@pytest.fixture(autouse=True)
def _functions_travel_by_value() -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def in_process() -> Iterator[Client]:
    """A caller's client whose workers are threads of this process."""
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        yield client


def plugins(client: Client) -> list[str]:
    def names(dask_scheduler: Any) -> list[str]:
        return [*dask_scheduler.worker_plugins, *dask_scheduler.plugins]

    found: list[str] = client.run_on_scheduler(names)
    return found


def variables(client: Client) -> list[str]:
    def names(dask_scheduler: Any) -> list[str]:
        return list(dask_scheduler.extensions["variables"].variables)

    found: list[str] = client.run_on_scheduler(names)
    return found


def refuse(_: int) -> None:
    raise UnknownColumn("There is no column 'q'.", fix="Name another.")


# --- the library on its way -----------------------------------------------------------------------
def test_workers_that_have_the_library_are_sent_nothing(in_process: Client) -> None:
    """An upload would load the library a second time, and its errors would be of other classes."""
    before = (list(sys.path), sys.modules["parquetry"].__file__, plugins(in_process))
    for _ in range(2):
        with pqy.open_engine(in_process) as engine, pytest.raises(UnknownColumn):
            list(engine.map(refuse, [1], label="refuse"))
    assert (list(sys.path), sys.modules["parquetry"].__file__, plugins(in_process)) == before


def test_workers_that_lack_it_are_sent_it_once(dask_scheduler: str) -> None:
    counts = []
    for _ in range(3):
        with pqy.open_engine(dask_scheduler) as engine:
            assert list(engine.map(abs, [-1], label="abs")) == [1]
            counts.append(plugins(engine.client))
    assert counts[0].count(dask_workers.PLUGIN) == 2, "one for workers, one of the scheduler's own"
    assert counts[0] == counts[1] == counts[2]


def test_another_version_is_refused(in_process: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_workers, "library_digest", lambda: "another")
    before = list(sys.path)
    with pytest.raises(EngineUnreachable, match=r"The worker inproc://.* runs another version of this library"):
        pqy.open_engine(in_process)
    assert sys.path == before


def test_another_python_is_refused_before_anything_is_sent(in_process: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = in_process.get_versions()
    (address,) = answer["workers"]
    answer["workers"][address]["host"]["python"] = "3.9.1.final.0"
    monkeypatch.setattr(in_process, "get_versions", lambda: answer)
    for name in ("run", "run_on_scheduler", "register_plugin", "submit"):
        monkeypatch.setattr(in_process, name, lambda *_, **__: pytest.fail("something was sent"))
    with pytest.raises(EngineUnreachable, match=r"The worker inproc://.* runs Python 3\.9\.1") as caught:
        pqy.open_engine(in_process)
    assert f"Python 3.{sys.version_info.minor}" in caught.value.fix


# --- a cluster of our own -------------------------------------------------------------------------
def test_a_script_without_a_guard_is_told_about_it(tmp_path: Path) -> None:
    """Each worker process imports the script: there it meets ``open_engine`` again."""
    script = tmp_path / "fit.py"
    script.write_text("import parquetry as pqy\npqy.open_engine('dask', workers=1)\nprint('opened')\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "UnguardedScript: A worker process of the Dask engine came upon open_engine('dask')" in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("parquetry.errors.EngineLost: The worker processes of the Dask engine ended")
    assert "below `if __name__ == '__main__':`" in last


# --- gangs --------------------------------------------------------------------------------------------
def test_a_gang_leaves_nothing_on_the_scheduler(dask_engine: Any) -> None:
    def meet(member: Member) -> list[list[str]]:
        rounds = []
        for turn in range(4):
            time.sleep(0.05 * (member.rank == turn % 2))
            rounds.append(member.all_gather(f"{turn}/{member.rank}"))
        return rounds

    expected = [[f"{turn}/0", f"{turn}/1"] for turn in range(4)]
    assert dask_engine.gang(meet, 2, label="gang") == [expected, expected]
    assert nothing_left(dask_engine.client)


def test_a_gang_that_fails_leaves_nothing_either(dask_engine: Any) -> None:
    """Also where a member comes to the meeting only after the gang has been given up."""

    def fail(member: Member) -> None:
        member.all_gather("here")
        if member.rank == 1:
            raise ValueError("broken on purpose")
        time.sleep(0.5)
        member.all_gather("too late")

    started = time.monotonic()
    with pytest.raises(TaskFailed, match="broken on purpose"):
        dask_engine.gang(fail, 2, label="gang")
    # Its worker is free again soon: nobody waits for a member that has ended.
    assert list(dask_engine.map(abs, range(8), label="abs")) == list(range(8))
    assert time.monotonic() - started < 40
    time.sleep(0.6)
    assert nothing_left(dask_engine.client)


def nothing_left(client: Client) -> bool:
    """Removal is a message without an answer: a moment later it has been taken."""
    for _ in range(200):
        if not variables(client):
            return True
        time.sleep(0.05)
    return False
