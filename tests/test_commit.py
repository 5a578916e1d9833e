"""Committed writes: whole or not at all, whoever writes and whatever goes wrong."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

import parquetry as pqy
from parquetry import commit
from parquetry.commit import CommittedWrite
from parquetry.errors import OutputExists, OutputNotWritable, TaskFailed, WriteConflict, WrongColumnType

ROWS = 1_000


@pytest.fixture
def folder(write_parquet: Callable[..., Path]) -> Path:
    """Rows 0 … 999 in 2 files of 5 row groups."""
    return write_parquet({"id": np.arange(ROWS), "name": [f"n{i}" for i in range(ROWS)]})


@pytest.fixture
def many_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A task for each row group, so that several workers write."""
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 1)


def ids(dataset: Any) -> list[int]:
    return [i for table in dataset.batches() for i in table.column("id").to_pylist()]


def content(path: Path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def settled(path: Path) -> dict[str, bytes]:
    """The content once tasks that were under way when a write failed have ended."""
    before = content(path)
    for _ in range(50):
        time.sleep(0.2)
        after = content(path)
        if after == before and not any("-0000-" in name and name not in before for name in after):
            return after
        before = after
    return before


# --- writing on every engine --------------------------------------------------------------------
@pytest.mark.usefixtures("many_bundles")
def test_dataset_is_written_whole_and_in_order(engine: Any, folder: Path, tmp_path: Path) -> None:
    written = engine.write(pqy.open_dataset(folder), str(tmp_path / "out"))
    assert ids(written) == list(range(ROWS))
    assert written.schema.names == ["id", "name"]
    named = {a["path"] for a in pa.table(DeltaTable(str(tmp_path / "out")).get_add_actions()).to_pylist()}
    assert {p.name for p in (tmp_path / "out").iterdir()} == {*named, "_delta_log"}, "nothing is left beside the table"


@pytest.mark.usefixtures("many_bundles")
def test_modes(engine: Any, folder: Path, tmp_path: Path) -> None:
    train, test = pqy.open_dataset(folder).split(test=0.3)
    path = str(tmp_path / "out")
    engine.write(train, path)
    with pytest.raises(OutputExists):
        engine.write(test, path)
    assert ids(engine.write(test, path, mode="append")) == [*ids(train), *ids(test)]
    assert ids(engine.write(test, path, mode="overwrite")) == ids(test)
    assert [pqy.open_dataset(path, version=v).num_rows for v in range(3)] == [train.num_rows, ROWS, test.num_rows]


def test_frame_of_the_engine(engine: Any, folder: Path, tmp_path: Path) -> None:
    import narwhals as nw

    frame = engine.scan(pqy.open_dataset(folder)).filter(nw.col("id") >= 900).select("id", twice=nw.col("id") * 2)
    written = engine.write(frame, str(tmp_path / "out"))
    assert sorted(ids(written)) == list(range(900, ROWS))
    assert sorted(written.to_pandas()["twice"]) == list(range(1_800, 2 * ROWS, 2))


@pytest.mark.parametrize("kind", ["arrow", "pandas"])
def test_frame_in_memory(local: Any, tmp_path: Path, kind: str) -> None:
    table = pa.table({"id": [3, 1, 2], "s": ["a", None, "c"]})
    written = local.write(table if kind == "arrow" else table.to_pandas(), tmp_path / "out")
    assert written.to_pandas()["id"].tolist() == [3, 1, 2]
    assert written.schema.names == ["id", "s"]


def test_no_rows(engine: Any, tmp_path: Path) -> None:
    none = pa.table({"id": pa.array([], pa.int64())})
    assert engine.write(none, str(tmp_path / "out")).num_rows == 0
    assert engine.write(pa.table({"id": [1]}), str(tmp_path / "out"), mode="append").num_rows == 1


def test_a_table_may_be_overwritten_with_its_own_rows(engine: Any, folder: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    old = engine.write(pqy.open_dataset(folder), path)
    expected = ids(old.split()[0])
    assert ids(engine.write(old.split()[0], path, mode="overwrite")) == expected


def test_overwrite_may_change_the_columns(local: Any, folder: Path, tmp_path: Path) -> None:
    data = pqy.open_dataset(folder)
    local.write(data, tmp_path / "out")
    assert local.write(data.select(["id"]), tmp_path / "out", mode="overwrite").schema.names == ["id"]


def test_files_and_row_groups_stay_bounded(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "ROWS_A_GROUP", 100)
    monkeypatch.setattr(commit, "_ROWS_A_FILE", 400)
    written = local.write(pa.table({"id": np.arange(1_050)}), tmp_path / "out")
    assert [b.num_rows for b in written.blocks] == [100] * 10 + [50]
    assert len({b.path for b in written.blocks}) == 3
    assert ids(written) == list(range(1_050))


# --- types --------------------------------------------------------------------------------------
KEPT = {
    "bool": (pa.array([True, None, False]), pa.bool_()),
    "int8": (pa.array([-1, None, 3], pa.int8()), pa.int8()),
    "uint8": (pa.array([255, None, 0], pa.uint8()), pa.int16()),
    "uint16": (pa.array([65_535, None, 0], pa.uint16()), pa.int32()),
    "uint32": (pa.array([2**32 - 1, None, 0], pa.uint32()), pa.int64()),
    "uint64": (pa.array([2**63 - 1, None, 0], pa.uint64()), pa.int64()),
    "float16": (pa.array(np.array([0.5, 1, 2], np.float16)), pa.float32()),
    "date": (pa.array([dt.date(2026, 1, 2), None, dt.date(1900, 1, 1)]), pa.date32()),
    "naive": (
        pa.array([1_767_323_045_000_006, None, -2_208_988_800_000_000], pa.timestamp("us")),
        pa.timestamp("us"),
    ),
    "zoned": (
        pa.array([dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC), None, None], pa.timestamp("ms", tz="Europe/Berlin")),
        pa.timestamp("us", tz="UTC"),
    ),
    "nanoseconds": (pa.array([1_000, None, 2_000], pa.timestamp("ns")), pa.timestamp("us")),
    "decimal": (pa.array([Decimal("1.23"), None, Decimal("-9.99")]), pa.decimal128(3, 2)),
    "dictionary": (pa.array(["a", None, "b"]).dictionary_encode(), pa.string()),
    "large text": (pa.array(["a", None, "b"], pa.large_string()), pa.string()),
    "binary": (pa.array([b"a", None, b"\x00"]), pa.binary()),
    "fixed binary": (pa.array([b"ab", None, b"cd"], pa.binary(2)), pa.binary()),
    "null": (pa.nulls(3), pa.string()),
    "list": (pa.array([[1], None, []], pa.list_(pa.int64())), pa.list_(pa.int64())),
}


@pytest.mark.parametrize("name", KEPT)
def test_values_survive(local: Any, tmp_path: Path, name: str) -> None:
    values, stored = KEPT[name]
    written = local.write(pa.table({"v": values}), tmp_path / "out")
    back = pa.concat_tables(written.batches()).column("v")
    if not pa.types.is_nested(stored):
        assert back.type == stored
    expected = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    assert back.to_pylist() == expected.to_pylist()


@pytest.mark.parametrize("values", [pa.array([dt.time(1)]), pa.array([dt.timedelta(1)])])
def test_types_that_no_table_holds_are_refused_at_once(local: Any, tmp_path: Path, values: pa.Array) -> None:
    with pytest.raises(WrongColumnType, match="'v'") as caught:
        local.write(pa.table({"v": values}), tmp_path / "out")
    assert caught.value.fix
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("values", [pa.array([2**64 - 1], pa.uint64()), pa.array([1], pa.timestamp("ns"))])
def test_values_that_do_not_fit_are_never_bent(local: Any, tmp_path: Path, values: pa.Array) -> None:
    with pytest.raises((pa.ArrowInvalid, pqy.ParquetryError)):
        local.write(pa.table({"v": values}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- what goes wrong ----------------------------------------------------------------------------
def fails_at_the_end() -> Any:
    """A model that breaks on the rows of the last block; a local class travels with its code."""

    class FailsAtTheEnd:
        def predict(self, x: Any) -> Any:
            values = np.asarray(x)[:, 0]
            if values.max() == 999:
                raise RuntimeError("broken on purpose")
            return values * 2.0

    return FailsAtTheEnd()


@pytest.mark.usefixtures("many_bundles")
@pytest.mark.parametrize("mode", ["fail", "overwrite", "append"])
def test_a_failed_write_leaves_the_old_table_and_no_stray_file(
    engine: Any, folder: Path, tmp_path: Path, mode: str
) -> None:
    path = tmp_path / "out"
    if mode != "fail":
        engine.write(pa.table({"prediction": [1.0, 2.0]}), str(path))
    before = content(path) if path.exists() else None
    with pytest.raises(TaskFailed, match="broken on purpose"):
        pqy.predict(fails_at_the_end(), folder, to=path, features=["id"], engine=engine, mode=mode)
    if before is None:
        assert not path.exists() or settled(path) == {}
    else:
        assert settled(path) == before
        assert pqy.open_dataset(path).to_pandas()["prediction"].tolist() == [1.0, 2.0]


def test_a_task_that_ends_after_its_write_has_failed_removes_its_file(tmp_path: Path) -> None:
    """A worker on another machine cannot be stopped: it has to notice by itself."""
    output = CommittedWrite(tmp_path / "out", "fail")
    schema = pa.schema([("id", pa.int64())])
    started, go_on = threading.Event(), threading.Event()

    def slow_tables() -> Any:
        yield pa.table({"id": [1]})
        started.set()
        go_on.wait(30)
        yield pa.table({"id": [2]})

    def write(writer: Any) -> Any:
        late.append(pool.submit(writer.write, 0, slow_tables()))
        started.wait(30)
        raise RuntimeError("another task failed")

    late: list[Any] = []
    with ThreadPoolExecutor() as pool:
        with pytest.raises(RuntimeError, match="another task"):
            output.run(schema, write)
        go_on.set()
        with pytest.raises(WriteConflict, match="given up"):
            late[0].result(30)
        with pytest.raises(WriteConflict, match="given up"):
            output.writer(schema).write(1, [pa.table({"id": [3]})])
    assert not (tmp_path / "out").exists() or content(tmp_path / "out") == {}


KILLED = """
import os, signal, sys
import pyarrow as pa
from parquetry.commit import CommittedWrite
path, mode = sys.argv[1:]
def write(writer):
    parts = writer.write(0, [pa.table({"id": [7, 8, 9]})])
    os.kill(os.getpid(), signal.SIGKILL)
CommittedWrite(path, mode).run(pa.schema([("id", pa.int64())]), write)
"""


def killed_write(path: Path, mode: str) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), mode], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert any(p.name.startswith("part-") for p in path.iterdir()), "it was killed after it had written"


def test_a_killed_write_leaves_readers_with_the_old_version(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "out"
    local.write(pa.table({"id": [1, 2]}), path)
    before = content(path)
    killed_write(path, "overwrite")
    after = content(path)
    assert {name: after[name] for name in before} == before
    assert ids(pqy.open_dataset(path)) == [1, 2]
    assert ids(local.write(pa.table({"id": [3]}), path, mode="append")) == [1, 2, 3]


def test_a_killed_first_write_does_not_stand_in_the_way_of_the_next(local: Any, tmp_path: Path) -> None:
    killed_write(tmp_path / "out", "fail")
    assert ids(local.write(pa.table({"id": [1]}), tmp_path / "out")) == [1]


@pytest.mark.parametrize("columns", [{"id": [1]}, {"id": [1], "s": ["a"], "more": [1]}, {"id": [1.5], "s": ["a"]}])
def test_append_of_other_columns_is_refused_before_the_work(
    local: Any, tmp_path: Path, columns: dict[str, Any]
) -> None:
    path = tmp_path / "out"
    local.write(pa.table({"id": [1], "s": ["a"]}), path)
    before = content(path)
    output = CommittedWrite(path, "append")
    with pytest.raises(WrongColumnType, match="other columns") as caught:
        output.run(pa.table(columns).schema, lambda _: pytest.fail("work was scheduled"))
    assert caught.value.fix
    assert content(path) == before


@pytest.mark.parametrize("mode", ["append", "overwrite"])
def test_partitioned_tables_are_left_alone(local: Any, tmp_path: Path, mode: str) -> None:
    path = tmp_path / "out"
    write_deltalake(str(path), pa.table({"id": [1, 2], "k": ["a", "b"]}), partition_by=["k"])
    before = content(path)
    with pytest.raises(OutputExists, match="partitioned"):
        local.write(pa.table({"id": [3], "k": ["a"]}), path, mode=mode)
    assert content(path) == before


def test_a_refused_log_is_a_typed_error(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deltalake.transaction.create_table_with_add_actions", full)
    with pytest.raises(OutputNotWritable, match="No space left"):
        local.write(pa.table({"id": [1]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


# --- two writers --------------------------------------------------------------------------------
def race(path: Path, mode: str) -> list[Any]:
    """Two writes of the same table that both have their files ready before either commits."""
    ready = threading.Barrier(2)

    def write(value: int) -> Any:
        def parts(writer: Any) -> Any:
            made = writer.write(0, [pa.table({"id": [value] * 100})])
            ready.wait(30)
            return made

        try:
            CommittedWrite(path, mode).run(pa.schema([("id", pa.int64())]), parts)
        except WriteConflict as error:
            return error
        return value

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(write, [1, 2]))


@pytest.mark.parametrize("attempt", range(3))
def test_two_first_writers(tmp_path: Path, attempt: int) -> None:
    results = race(tmp_path / "out", "fail")
    assert all(r.fix for r in results if isinstance(r, WriteConflict))
    winners = [r for r in results if isinstance(r, int)]
    assert len(winners) == 1
    assert ids(pqy.open_dataset(tmp_path / "out")) == winners * 100
    assert len(list((tmp_path / "out").glob("part-*"))) == 1, "the loser's files are gone"


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_two_writers_of_a_table(local: Any, tmp_path: Path, mode: str, attempt: int) -> None:
    local.write(pa.table({"id": [0]}), tmp_path / "out")
    results = race(tmp_path / "out", mode)
    winners = [r for r in results if isinstance(r, int)]
    assert winners
    found = ids(pqy.open_dataset(tmp_path / "out"))
    if mode == "append":
        assert sorted(found) == sorted([0, *winners * 100])
    else:
        assert found in [[w] * 100 for w in winners], "one of them, and never a mix"


def test_commits_are_plain_delta(local: Any, tmp_path: Path) -> None:
    """Another reader of Delta tables sees the same rows and their number."""
    local.write(pa.table({"id": [1, 2, 3]}), tmp_path / "out")
    (log,) = (tmp_path / "out" / "_delta_log").glob("*.json")
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    added = [a["add"] for a in actions if "add" in a]
    assert [json.loads(a["stats"])["numRecords"] for a in added] == [3]
    assert [a["size"] for a in added] == [os.path.getsize(tmp_path / "out" / a["path"]) for a in added]
