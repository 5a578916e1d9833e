"""run_job and Run: exit codes, and a folder that is whole or not there."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from pydantic import Field

from parquetry import job
from parquetry.columns import check_columns, choose_columns
from parquetry.config import JobConfig
from parquetry.dataset import open_dataset
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    OutputExists,
    OutputNotWritable,
    UnknownColumn,
    WrongColumnType,
)
from parquetry.job import JobExit, execute, run_job
from parquetry.run import Run


class Config(JobConfig):
    """A job that does what it is told."""

    fail: str = Field("", description="How to fail.")


def work(config: Config, engine: Any, run: Run) -> None:
    run.path("model/model.txt").write_text("new")
    run.metrics("it", {"r2": 0.1 + 0.2, "rows": 3})
    if config.fail == "typed":
        raise UnknownColumn("There is no column 'x'.", fix="Did you mean 'y'?")
    if config.fail == "bug":
        raise ZeroDivisionError("a bug")
    if config.fail == "interrupt":
        raise KeyboardInterrupt


def flags(tmp_path: Path, *more: str) -> list[str]:
    return ["--output", str(tmp_path / "out"), "--workers", "1", "--log-level", "warning", *more]


@pytest.fixture(autouse=True)
def not_under_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job, "launched_by_spark_submit", lambda: False)


def test_a_run_leaves_its_folder(tmp_path: Path, capsys):
    outcome = execute(work, Config, flags(tmp_path, "--seed", "7"))
    assert (outcome.code, outcome.folder) == (0, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out"]
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert found == ["config.yaml", "events.jsonl", "metrics.json", "model/model.txt", "report.html"]
    assert yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())["seed"] == 7
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["metrics"]["it"]["r2"] == 0.1 + 0.2
    assert metrics["engine"] == {"name": "local", "parallelism": 1}
    events = [json.loads(line) for line in (tmp_path / "out" / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events] == ["start", "engine", "metrics", "done"]
    assert events[0]["settings_from"]["seed"] == "flag --seed"
    assert "report.html" in capsys.readouterr().out


def test_a_run_can_be_repeated_from_its_own_config(tmp_path: Path):
    assert execute(work, Config, flags(tmp_path, "--seed", "7")).code == 0
    again = execute(work, Config, ["--config", str(tmp_path / "out" / "config.yaml"), "--output", str(tmp_path / "b")])
    assert again.code == 0
    assert yaml.safe_load((tmp_path / "b" / "config.yaml").read_text())["seed"] == 7


def test_the_default_folder_is_named_after_job_and_time(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = execute(work, Config, ["--log-level", "error"])
    assert outcome.folder is not None
    assert outcome.folder.parent == tmp_path / "runs" / "test_job"
    assert outcome.folder.is_dir()


@pytest.mark.parametrize(("fail", "code"), [("typed", 1), ("bug", 1), ("interrupt", 130)])
def test_a_failure_leaves_only_a_log_and_says_where(tmp_path: Path, capsys, fail: str, code: int):
    assert execute(work, Config, flags(tmp_path, "--fail", fail)).code == code
    assert [p.name for p in tmp_path.iterdir()] == ["out.failed"]
    error = capsys.readouterr().err
    assert str(tmp_path / "out.failed") in error
    assert ("Traceback" in error) == (fail == "bug")
    log = (tmp_path / "out.failed").read_text()
    assert '"event": "metrics"' in log
    assert "Traceback" in log


def test_a_success_clears_the_log_of_the_failure(tmp_path: Path):
    assert execute(work, Config, flags(tmp_path, "--fail", "typed")).code == 1
    assert execute(work, Config, flags(tmp_path)).code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_bad_settings_end_with_two_before_any_work(tmp_path: Path, capsys):
    assert execute(work, Config, flags(tmp_path, "--sed", "7")).code == 2
    assert not list(tmp_path.iterdir())
    error = capsys.readouterr().err
    assert "Did you mean '--seed'?" in error
    assert "Traceback" not in error


def test_an_output_that_exists_is_kept(tmp_path: Path, capsys):
    assert execute(work, Config, flags(tmp_path)).code == 0
    (tmp_path / "out" / "model" / "model.txt").write_text("old")
    outcome = execute(work, Config, flags(tmp_path))
    assert outcome.code == 1
    assert outcome.summary["error"] == "OutputExists"
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "out" / "model" / "model.txt").read_text() == "old"


def test_overwrite_replaces_a_run_only_when_all_is_done(tmp_path: Path):
    assert execute(work, Config, flags(tmp_path)).code == 0
    (tmp_path / "out" / "model" / "model.txt").write_text("old")
    assert execute(work, Config, flags(tmp_path, "--overwrite", "--fail", "typed")).code == 1
    assert (tmp_path / "out" / "model" / "model.txt").read_text() == "old"
    assert execute(work, Config, flags(tmp_path, "--overwrite")).code == 0
    assert (tmp_path / "out" / "model" / "model.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_overwrite_takes_nothing_but_a_run(tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(OutputExists, match="not a run's folder"):
        Run("job", Config(output=tmp_path / "out", overwrite=True))
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "out")
    with pytest.raises(OutputExists):
        Run("job", Config(output=link, overwrite=True))
    assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"


def test_an_empty_folder_may_be_filled(tmp_path: Path):
    (tmp_path / "out").mkdir()
    assert execute(work, Config, flags(tmp_path)).code == 0
    assert (tmp_path / "out" / "report.html").is_file()


def test_outputs_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputNotWritable, match="--output"):
        Run("job", Config(output=tmp_path / "file" / "out"))
    with pytest.raises(BadParameter, match="not a local path"):
        Run("job", Config.model_validate({"output": "s3://bucket/out"}))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(OutputNotWritable):
        Run("job", Config(output=tmp_path / "out"))


def test_paths_stay_in_the_folder(tmp_path: Path):
    with Run("job", Config(output=tmp_path / "out")) as run, pytest.raises(BadParameter, match="outside"):
        run.path("../elsewhere")


def test_a_dead_engine_is_one_clear_message(tmp_path: Path, capsys):
    outcome = execute(work, Config, flags(tmp_path, "--engine", "nothing"))
    assert outcome.code == 2
    assert "names no engine" in capsys.readouterr().err


def test_run_job_ends_the_process_with_its_outcome(tmp_path: Path):
    with pytest.raises(JobExit) as end:
        run_job(work, Config, flags(tmp_path))
    assert end.value.code == 0
    assert end.value.outcome.summary["folder"] == str(tmp_path / "out")


def test_help_is_printed_and_nothing_done(tmp_path: Path, capsys):
    assert execute(work, Config, [*flags(tmp_path), "--help"]).code == 0
    assert "--fail" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_under_spark_submit_spark_is_the_engine(tmp_path: Path, monkeypatch):
    opened: list[str] = []

    def open_engine(where: str, **_: Any) -> Any:
        opened.append(where)
        raise BadParameter("stop here")

    monkeypatch.undo()
    monkeypatch.setattr(job, "open_engine", open_engine)
    monkeypatch.setenv("PYSPARK_GATEWAY_PORT", "25333")
    execute(work, Config, flags(tmp_path))
    execute(work, Config, flags(tmp_path, "--engine", "dask"))
    monkeypatch.setenv("PARQUETRY_JOB_ENGINE", "local")
    execute(work, Config, flags(tmp_path))
    assert opened == ["spark", "dask", "local"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing_half_made(tmp_path: Path, number: signal.Signals):
    script = tmp_path / "slow.py"
    script.write_text(
        textwrap.dedent("""
            import time
            from parquetry.config import JobConfig
            from parquetry.job import run_job

            def run(config, engine, run):
                run.path("half/made").write_text("")
                print("ready", flush=True)
                time.sleep(60)

            if __name__ == "__main__":
                run_job(run, JobConfig)
        """)
    )
    command = [sys.executable, str(script), "--output", str(tmp_path / "runs" / "out"), "--log-level", "error"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.1)
        process.send_signal(number)
        _, error = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted." in error
    assert "Traceback" not in error
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["out.failed"]


# --- columns ----------------------------------------------------------------------------------
@pytest.fixture
def mixed(write_parquet) -> Path:
    n = 400
    return write_parquet(
        pa.table(
            {
                "number": pa.array(range(n)),
                "text": ["a", "b"] * (n // 2),
                "flag": [True, False] * (n // 2),
                "day": pa.array(range(n), pa.date32()),
                "none": pa.nulls(n, pa.float64()),
                "same": pa.array([2.5] * n),
                "word": ["x"] * n,
                "y": pa.array([float(i) for i in range(n)]),
            }
        )
    )


def test_roles_come_from_the_schema(mixed: Path):
    data = open_dataset(mixed)
    roles = choose_columns(data, target="y", exclude=["none", "same", "word"])
    assert (roles.numeric, roles.text) == (["number"], ["text", "flag"])
    assert roles.left_out == {"day": "date32[day]"}
    assert choose_columns(data, target="y", features=["text", "number"]).features == ["number", "text"]


def test_degenerate_columns_are_all_named_with_the_way_out(mixed: Path):
    with pytest.raises(DegenerateColumn) as caught:
        choose_columns(open_dataset(mixed), target="y")
    text = str(caught.value)
    for part in ("'none' is null", "'same' is 2.5", "'word' is 'x'", "--exclude none,same,word"):
        assert part in text
    check_columns(open_dataset(mixed), ["number", "text", "flag", "day"])


def test_wrong_columns(mixed: Path):
    data = open_dataset(mixed)
    with pytest.raises(UnknownColumn, match="Did you mean 'number'"):
        choose_columns(data, target="y", features=["numbr"])
    with pytest.raises(UnknownColumn, match="exclude"):
        choose_columns(data, target="y", exclude=["numbr"])
    with pytest.raises(UnknownColumn, match="target"):
        choose_columns(data, target="price")
    with pytest.raises(WrongColumnType, match="date32"):
        choose_columns(data, target="y", features=["day"])
    for target, told in (("text", "is string"), ("number", r"reaches from -?\d")):
        with pytest.raises(WrongColumnType, match=rf"target '{target}' {told}.*0 and 1.*--recipe"):
            choose_columns(data, target=target, binary=True)
    with pytest.raises(BadParameter, match="both a feature and the target"):
        choose_columns(data, target="y", features=["y", "number"])
    with pytest.raises(BadParameter, match="no feature column left"):
        choose_columns(data, target="y", features=["number"], exclude=["number"])


def test_an_error_names_the_users_file_and_not_its_converted_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    def work(config: JobConfig, _engine: object, run: Run) -> None:
        raise UnknownColumn(f"There is no column 'x' in {run.converted}.", fix="Name another.")

    (tmp_path / "rows.csv").write_text("a\n1\n")
    given = ["--input", str(tmp_path / "rows.csv"), "--output", str(tmp_path / "out")]
    assert execute(work, JobConfig, given).code == 1
    told = capsys.readouterr().err
    assert told.startswith("UnknownColumn: There is no column 'x' in")
    assert "rows.csv (as it was converted to Parquet)" in told
    assert "partial" not in told.splitlines()[0]
