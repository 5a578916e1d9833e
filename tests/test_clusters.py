"""Clusters of separate processes whose Python does not have this library: the same bits."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cloudpickle
import pytest

import parquetry as pqy
from parquetry.engine import Member
from parquetry.errors import BadParameter, TaskFailed, UnknownColumn
from parquetry.testing import digests, write_mixed_table


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mixed_table(tmp_path_factory.mktemp("clusters") / "mixed", rows=4_000)


@pytest.fixture(scope="module")
def expected(table: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    with pqy.open_engine("local", workers=1) as engine:
        return digests(engine, table, tmp_path_factory.mktemp("local"))


def check(address: str, table: Path, scratch: Path, expected: dict[str, str]) -> None:
    """The library comes along, results have the same bits, members meet, errors keep their type."""
    with pqy.open_engine(address) as engine:
        assert engine.parallelism == 2
        for home in engine.map(_home, [0, 1], label="home"):
            assert Path(home).resolve().parent != Path(pqy.__file__).resolve().parent
        assert digests(engine, table, scratch) == expected
        assert engine.gang(_meet, 2, label="gang") == [["0", "1"], ["0", "1"]]
        with pytest.raises(UnknownColumn, match="no column 'q'"):
            list(engine.map(_refuse, [1], label="refuse"))


def test_dask_scheduler(dask_scheduler: str, table: Path, expected: dict[str, str], tmp_path: Path) -> None:
    check(dask_scheduler, table, tmp_path, expected)


def test_spark_connect(connect_server: str, table: Path, expected: dict[str, str], tmp_path: Path) -> None:
    # In a process of its own: one process has either classic sessions or Connect's.
    script = (
        "import cloudpickle, json, sys; from pathlib import Path; import test_clusters as tests\n"
        "cloudpickle.register_pickle_by_value(tests)\n"
        "address, table, scratch, expected = sys.argv[1:]\n"
        "tests.check(address, Path(table), Path(scratch), json.loads(expected)); print('checked')"
    )
    command = [sys.executable, "-c", script, connect_server, str(table), str(tmp_path), json.dumps(expected)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert done.stdout.strip() == "checked", done.stderr[-3000:]


def test_an_existing_client_is_left_open(dask_scheduler: str, table: Path) -> None:
    from distributed import Client

    with Client(dask_scheduler) as client:
        with pqy.open_engine(client) as engine:
            assert list(engine.map(abs, [-1], label="abs")) == [1]
        assert client.status == "running"


def test_an_existing_session_is_left_open(spark_engine: Any) -> None:
    with pqy.open_engine(spark_engine.session) as engine:
        assert list(engine.map(abs, [-1], label="abs")) == [1]
    assert spark_engine.session.range(3).count() == 3


def _home(_: int) -> str:
    import parquetry

    return str(parquetry.__file__)


def _meet(member: Member) -> list[str]:
    return member.all_gather(str(member.rank))


def _refuse(_: int) -> None:
    raise UnknownColumn("There is no column 'q'.", fix="Name another.")


@pytest.fixture(autouse=True)
def _functions_travel_by_value() -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("cluster", ["dask_scheduler", "spark_engine"])
def test_a_module_that_the_workers_lack_is_named(
    cluster: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "of_my_own.py").write_text("def double(item):\n    return 2 * item\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    of_my_own = importlib.import_module("of_my_own")
    found = request.getfixturevalue(cluster)
    with pqy.open_engine(found if isinstance(found, str) else found.session) as engine:
        with pytest.raises(TaskFailed, match="no module 'of_my_own'") as caught:
            list(engine.map(of_my_own.double, [1], label="double"))
        assert "--py-files" in caught.value.fix


@pytest.mark.parametrize("setting", [{"workers": 2}, {"memory": "1GiB"}], ids=["workers", "memory"])
def test_settings_that_would_be_ignored_are_refused(dask_engine: Any, setting: dict[str, Any]) -> None:
    for where in (dask_engine.client, "tcp://127.0.0.1:1", "sc://127.0.0.1:1"):
        with pytest.raises(BadParameter, match=f"{next(iter(setting))}=.* cannot be set"):
            pqy.open_engine(where, **setting)


def test_a_master_with_its_own_cores_takes_no_workers() -> None:
    with pytest.raises(BadParameter, match="workers=3 cannot be set"):
        pqy.open_engine("local[2]", workers=3)


def test_work_reads_well_in_the_spark_ui_and_the_dask_dashboard(spark_engine: Any, dask_engine: Any) -> None:
    label = "fit-LinearRegression-pass-7"
    for engine in (spark_engine, dask_engine):
        assert engine.reduce(abs, max, [1, -2], label=label) == 2
    jobs = spark_engine.session.sparkContext._jsc.sc().statusStore().jobsList(None)
    assert f"Some({label})" in {jobs.apply(i).description().toString() for i in range(jobs.size())}
    seen = dask_engine.client.run_on_scheduler(lambda dask_scheduler: [e[0] for e in dask_scheduler.transition_log])
    assert any(str(key).startswith(f"{label}-") for key in seen)
