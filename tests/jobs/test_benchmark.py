"""The benchmark job, at tiny sizes: that its results are whole and honest, never that anything is fast."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parquetry as pqy
from parquetry.benchmarking import results, sets
from parquetry.benchmarking.contenders import CONTENDERS
from parquetry.benchmarking.measuring import Measurement, TreeMemory, measure, measure_import
from parquetry.benchmarking.results import Goal
from parquetry.benchmarking.rows import ROWS
from parquetry.benchmarking.worker import Order

psutil = pytest.importorskip("psutil")

JOB = Path(__file__).parents[2] / "jobs" / "scale" / "benchmark.py"
QUICK = ("scan", "ours-local", "pandas-sklearn")


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> sets.BenchmarkSet:
    monkeypatch.setattr(sets, "ROW_GROUP", 400)
    monkeypatch.setattr(sets, "WARM_UP_ROWS", 200)
    return sets.generate(tmp_path / "data", 5_000, 3)


def order(data: sets.BenchmarkSet, row: str, contender: str) -> Order:
    return Order(row, contender, data, repeat=2, workers=1, memory=None)


def take(data: sets.BenchmarkSet, row: str, contender: str, tmp_path: Path, timeout: float = 120.0) -> Measurement:
    return measure(order(data, row, contender), timeout=timeout, log=tmp_path / "log")


def measurement(contender: str, *seconds: float, status: str = "ok", **more: Any) -> Measurement:
    return Measurement("linear", contender, 100, status, seconds, **more)


# --- the data ----------------------------------------------------------------------------------
def test_set_has_several_files_of_whole_row_groups(tiny: sets.BenchmarkSet) -> None:
    groups = [pq.read_metadata(f) for f in tiny.files]
    sizes = [m.row_group(i).num_rows for m in groups for i in range(m.num_row_groups)]
    assert len(tiny.files) >= 2
    assert sizes == [400] * 12 + [200]
    assert pq.read_metadata(tiny.files[0]).row_group(0).column(0).compression == "ZSTD"
    assert pqy.open_dataset(tiny.path).columns == ("x0", "x1", "x2", "y", "label")


def test_set_depends_on_the_seed_alone(tmp_path: Path) -> None:
    def digest(folder: str, seed: int) -> str:
        made = sets.generate(tmp_path / folder, 1_000, 2, seed=seed)
        return hashlib.sha256(b"".join(Path(f).read_bytes() for f in made.files)).hexdigest()

    assert digest("a", 0) == digest("b", 0) != digest("c", 1)


def test_set_is_made_once(tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    before = [Path(f).stat().st_mtime_ns for f in tiny.files]
    again = sets.generate(tmp_path / "data", 5_000, 3)
    assert again == tiny
    assert [Path(f).stat().st_mtime_ns for f in again.files] == before


def test_half_made_set_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(sets, "_write_file", fails)
    with pytest.raises(pqy.errors.OutputNotWritable, match="No space left"):
        sets.generate(tmp_path, 1_000, 2)
    assert list(tmp_path.iterdir()) == []


def test_own_rows_are_copied_whole(houses: Path, tmp_path: Path) -> None:
    data = sets.copy(tmp_path, pqy.open_dataset(houses), target="price", exclude=["age"], codec="snappy")
    assert (data.features, data.rows) == (("area", "rooms"), 1_000)
    copied = pq.read_table(data.path)
    assert copied.schema.types == [pa.float64()] * 3 + [pa.int64()]
    expected = pqy.open_dataset(houses).to_pandas(limit=None)["price"].to_numpy()
    np.testing.assert_array_equal(copied["price"].to_numpy(), expected)


# --- measuring ---------------------------------------------------------------------------------
# A tree's thresholds are chosen among bins, a forest's rows by another draw.
LOOSE = {"logistic": 1e-5, "power": 1e-5, "tree": 0.1, "forest": 0.3, "xgboost": 0.05, "lightgbm": 0.05}


# A search is a hundred fits, and its scores are compared in its own tests.
@pytest.mark.parametrize("row", [row for row in ROWS if row != "search"])
def test_contenders_give_the_same_answers(row: str, tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    kind = ROWS[row].data
    data = tiny if kind == "numbers" else sets.GENERATORS[kind](tmp_path / "data", 3_000)
    measured = [take(data, row, name, tmp_path) for name in QUICK]
    assert [(m.status, m.error) for m in measured] == [("ok", "")] * 3
    assert all(len(m.seconds) == 2 and m.driver_mib > 10 and m.sum_mib >= m.driver_mib for m in measured)
    scan, ours, pandas = results.compare(measured)
    assert scan.difference is None
    assert pandas.difference is not None
    assert pandas.difference < LOOSE.get(row, 1e-9)
    assert pandas.opposite == "ours-local"
    assert pandas.to_opposite == pytest.approx(pandas.measured.median / ours.measured.median)


@pytest.mark.parametrize("contender", ["ours-dask", "dask-ml"])
def test_workers_are_measured_apart(contender: str, tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    found = take(tiny, "standardize", contender, tmp_path)
    assert (found.status, found.error) == ("ok", "")
    assert found.worker_mib > 10
    assert found.sum_mib > max(found.driver_mib, found.worker_mib)


def peer(folder: Path, body: str) -> str:
    """An environment of its own, whose ydata-profiling is a few lines."""
    package = folder / "site" / "ydata_profiling"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(body)
    python = folder / "python"
    start = f"import sys; sys.path.insert(0, {str(package.parent)!r}); sys.argv = sys.argv[1:]"
    run = "exec(sys.argv[1]) if sys.argv[0] == '-c' else __import__('runpy').run_path(sys.argv[0], run_name='__main__')"
    (folder / "start.py").write_text(f"{start}\nsys.argv = [a for a in sys.argv if a != '-I']\n{run}\n")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {folder / "start.py"} "$@"\n')
    python.chmod(0o755)
    return str(python)


PEER = """
class ProfileReport:
    def __init__(self, frame, minimal, progress_bar):
        print("a banner")
        self.variables = {n: {**frame[n].describe()} for n in frame}
    def get_description(self):
        return self
"""


def test_peer_of_another_environment(tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    ours = take(tiny, "profile", "ours-local", tmp_path)
    asked = replace(order(tiny, "profile", "ydata"), peer_python=peer(tmp_path / "own", PEER))
    found = measure(asked, timeout=60, log=tmp_path / "log")
    assert (found.status, found.error, len(found.seconds)) == ("ok", "", 2)
    assert found.answer == pytest.approx(ours.answer, rel=1e-9)
    assert found.worker_mib > 10
    broken = replace(asked, peer_python=peer(tmp_path / "broken", "raise ImportError('no wheel')"))
    found = measure(broken, timeout=60, log=tmp_path / "log")
    assert (found.status, found.error) == ("failed", "RuntimeError: ImportError: no wheel")


@pytest.mark.parametrize(
    ("python", "why"),
    [(None, "environment of its own"), (sys.executable, "has not both"), ("nowhere/python", "cannot be run")],
)
def test_peer_that_is_not_installed_is_named(python: str | None, why: str, tiny: Any, tmp_path: Path) -> None:
    asked = replace(order(tiny, "profile", "ydata"), peer_python=python)
    found = measure(asked, timeout=60, log=tmp_path / "log")
    assert found.status == "not installed"
    assert why in found.error
    assert "pip install ydata-profiling" in found.error
    assert results.failure_table([found])[1] == [["profile", "ydata", found.error]]
    assert results.main_table(results.compare([found]))[1][0][-1] == "NOT INSTALLED"


def test_failure_is_reported_and_leaves_nothing(tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    first = Path(tiny.files[0])
    table = pq.read_table(first)
    x0 = table["x0"].to_numpy().copy()
    x0[7] = np.nan
    pq.write_table(table.set_column(0, "x0", pa.array(x0)), first, row_group_size=400)
    found = take(tiny, "linear", "pandas-sklearn", tmp_path)
    assert found.status == "failed"
    assert found.median is None
    assert found.error == "ValueError: Input X contains NaN."
    assert "Traceback" in (tmp_path / "log").read_text()
    assert [p.name for p in Path(tiny.path).parent.iterdir() if p.name.startswith(".scratch")] == []


def test_timeout_is_reported(tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    found = take(tiny, "linear", "ours-local", tmp_path, timeout=0.01)
    assert (found.status, found.median, found.error) == ("timeout", None, "It was ended after 0.01 s.")


def test_process_that_dies_is_reported(
    tiny: sets.BenchmarkSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    found = take(tiny, "linear", "scan", tmp_path)
    assert found.status == "failed"
    assert "exit code 1" in found.error


def test_memory_of_the_whole_tree_is_seen_and_the_tree_is_ended() -> None:
    grow = "import time; x = bytearray(150 * 2**20); x[::4096] = b'1' * len(x[::4096]); time.sleep(60)"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {grow!r}])"
    root = subprocess.Popen([sys.executable, "-c", start])
    memory = TreeMemory(root.pid)
    deadline = time.monotonic() + 30
    while memory.mib()[1] < 150 and time.monotonic() < deadline:
        memory.sample()
        time.sleep(0.02)
    driver, worker, total = memory.mib()
    memory.end()
    root.wait()
    assert driver < 100 < 150 <= worker <= total
    assert len(memory.seen) == 2
    assert not any(psutil.pid_exists(pid) for pid in memory.seen)


def test_import_is_measured_and_light() -> None:
    found = measure_import(1)
    assert (found.status, found.error, len(found.seconds)) == ("ok", "", 3)


# --- results -----------------------------------------------------------------------------------
def test_ratios_and_goals() -> None:
    measured = [
        measurement("scan", 1.0, 2.0, 9.0),
        measurement("ours-local", 2.5, driver_mib=500.0, answer=(1.0, 2.0)),
        measurement("ours-spark", 4.0, answer=(1.0, 2.0)),
        measurement("spark-mllib", 40.0, answer=(1.0, 2.5)),
        measurement("dask-ml", status="failed", error="KeyError: 'x'"),
    ]
    scan, local, spark, mllib, daskml = results.compare(measured)
    assert (scan.to_scan, local.to_scan, mllib.to_scan) == (1.0, 1.25, 20.0)
    assert (spark.opposite, spark.to_opposite) == ("ours-local", 1.6)
    assert (mllib.opposite, mllib.to_opposite) == ("ours-spark", 10.0)
    assert mllib.difference == pytest.approx(0.5 / 3)
    assert (daskml.to_scan, daskml.to_opposite, daskml.difference) == (None, None, None)
    goals = [
        Goal("a", "linear", "ours-local", "scan", at_most=1.25),
        Goal("b", "linear", "spark-mllib", "ours-spark", at_least=11.0),
        Goal("c", "linear", "ours-local", value="driver_mib", at_most=1024.0),
        Goal("d", "linear", "dask-ml", "scan", at_most=1e9),
        Goal("e", "linear", "ours-local", "dask-ml", at_most=1e9),
        Goal("of a row that was not run", "pca", "ours-local", "scan", at_most=1e9),
    ]
    _, rows = results.goal_table(goals, measured)
    assert [r[2] for r in rows] == ["met", "missed", "met", "not measured", "not measured"]


def test_parquet_has_one_schema_whatever_failed(tmp_path: Path) -> None:
    good = results.compare([measurement("scan", 1.0), measurement("ours-local", 1.0, answer=(1.0,))])
    bad = results.compare([measurement("dask-ml", status="failed", error="boom")])
    results.write_parquet(good, tmp_path / "good.parquet")
    results.write_parquet(bad, tmp_path / "bad.parquet")
    assert pq.read_schema(tmp_path / "good.parquet") == pq.read_schema(tmp_path / "bad.parquet")
    assert pq.read_table(tmp_path / "bad.parquet").to_pylist()[0]["error"] == "boom"


def test_every_peer_has_an_opposite() -> None:
    assert set(results.OPPOSITE) == set(CONTENDERS) - {"scan", "ours-local"}


# --- the job -----------------------------------------------------------------------------------
def run_job(tmp_path: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(JOB), "--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *flags]
    return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=280, check=False)


def test_job_leaves_a_run_with_table_parquet_and_pictures(tiny: sets.BenchmarkSet, tmp_path: Path) -> None:
    flags = ["--rows", "5000", "--features", "3", "--repeat", "1", "--only", "linear,predict", "--workers", "1"]
    done = run_job(tmp_path, *flags, "--contenders", ",".join(QUICK), "--memory-curve", "5000,6000")
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    rows = pq.read_table(out / "results.parquet").to_pylist()
    names = [("import", "parquetry"), *((row, name) for row in ("linear", "predict") for name in QUICK)]
    assert [(r["row"], r["contender"]) for r in rows] == names
    assert all(r["status"] == "ok" and math.isfinite(r["seconds"]) for r in rows)
    assert [r["to_scan"] for r in rows if r["contender"] == "scan"] == [1.0, 1.0]
    curve = json.loads((out / "results.json").read_text())["curve"]
    assert [(r["row"], r["rows"]) for r in curve] == [(w, n) for n in (5000, 6000) for w in ("linear", "predict")]
    assert len(list((out / "plots").glob("*.png"))) == 5
    assert "zstd" in done.stdout
    assert "What was not measured" not in done.stdout
    assert "import parquetry: seconds" in (out / "report.html").read_text()


def test_job_goes_on_past_a_failure(tmp_path: Path, write_parquet: Any) -> None:
    x = np.arange(300.0)
    x[5] = np.nan
    folder = write_parquet({"x": x, "price": np.arange(300.0)}, "holes")
    flags = ["--input", str(folder), "--target", "price", "--only", "linear", "--repeat", "1"]
    done = run_job(tmp_path, *flags, "--contenders", "pandas-sklearn,scan")
    assert done.returncode == 0, done.stderr
    status = {r["contender"]: r["status"] for r in pq.read_table(tmp_path / "out" / "results.parquet").to_pylist()}
    assert status == {"parquetry": "ok", "pandas-sklearn": "failed", "scan": "ok"}
    assert "What was not measured" in done.stdout
    assert "Input X contains NaN" in done.stdout


def test_job_refuses_unknown_names_before_any_work(tmp_path: Path) -> None:
    done = run_job(tmp_path, "--contenders", "scan,nobody", "--only", "linaer", "--memory-curve", "0")
    assert done.returncode == 2
    assert all(word in done.stderr for word in ("nobody", "linaer", "--memory-curve"))
    assert not (tmp_path / "data").exists()
