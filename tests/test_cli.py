"""The parquetry command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from parquetry import __version__, cli, jobs
from parquetry.command_line import Argument, Flag, Misuse, Result, Verb

JOB = '''"""Say hello.

    python jobs/mine/hello.py
"""

from parquetry.config import JobConfig
from parquetry.job import run_job


def run(config, engine, run):
    run.metrics("m", {"r2": 0.5})


if __name__ == "__main__":
    run_job(run, JobConfig)
'''


def call(capsys, *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a job of his own, and other scripts that are none."""
    folder = tmp_path / "jobs" / "mine"
    folder.mkdir(parents=True)
    (folder / "hello.py").write_text(JOB)
    (folder / "helper.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_help_lists_the_verbs(capsys):
    code, out, _ = call(capsys, "--help")
    assert code == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    for name, verb in cli.VERBS.items():
        assert f"  {verb.usage.removeprefix('parquetry '):<38}{verb.meaning}" in lines  # in two columns
        code, told, _ = call(capsys, name, *(() if verb.passes_on else ("x",)), "--help")
        assert (code, max(map(len, told.splitlines())) <= 100) == (0, True)
        for flag in verb.flags:
            assert f"  {flag.usage}" in told
            assert flag.default in (None, False) or f"{flag.default}]" in told
    assert call(capsys)[0] == 2


def test_flags_are_read_one_way(capsys):
    def acted(given: dict[str, Any]) -> Result:
        return Result(0, {"given": given})

    flags = (
        Flag("--to", "PATH", "a place"),
        Flag("--way", "WAY", "how", "one", choices=("one", "two")),
        Flag("--workers", "NUMBER", "tasks", kind=int),
        Flag("--names", "A,B", "names", kind=list),
        Flag("--quote", "C", "a character", may_be_empty=True),
        Flag("--dry-run", "", "a switch"),
    )
    verb = Verb("try", "Try it.", acted, (Argument("PATH", "p"), Argument("OTHER", "o", optional=True)), flags)
    given = verb.read(["a", "--to=b=c", "--workers", "2", "--names", "x, y", "--dry-run", "--quote", "", "d"])
    assert given == {"path": "a", "other": "d", "to": "b=c", "way": "one", "workers": 2, "names": ["x", "y"],
                     "quote": "", "dry_run": True}  # fmt: skip
    assert verb.read(["--to", "-", "--", "--a"]) == verb.read(["--to=-", "--", "--a"])
    assert verb.read(["--", "--a"])["path"] == "--a"
    wrong = {
        (): "PATH is missing",
        ("a", "b", "c"): "There is no room for 'c'",
        ("a", "--too", "b"): "Did you mean '--to'?",
        ("a", "-to", "b"): "There is no flag -to",
        ("a", "--to"): "--to needs a value",
        ("a", "--to="): "--to needs a value",
        ("a", "--to", "--dry-run"): "--to needs a value",
        ("a", "--dry-run=yes"): "--dry-run takes no value",
        ("a", "--way", "thre"): "one of one, two is wanted",
        ("a", "--workers", "0"): "at least 1",
        ("a", "--workers=x"): "whole number",
        ("a", "--to", "b", "--to", "c"): "--to is given twice",
    }
    for words, told in wrong.items():
        with pytest.raises(Misuse, match=re.escape(told)):
            verb.read(words)
    with pytest.raises(Misuse) as error:  # all of them at once
        verb.read(["a", "--way=x", "--workers=y", "--nams", "z"])
    assert all(part in str(error.value) for part in ("--way is", "--workers is", "'--names'"))
    assert "no room" not in call(capsys, "clean", "a", "b", "--recpe", "c")[2]  # one mistake is told once


def test_unknown_verbs_and_jobs(capsys):
    code, _, error = call(capsys, "rnu")
    assert (code, "Did you mean 'run'?" in error) == (2, True)
    code, _, error = call(capsys, "run", "house_price")
    assert (code, "Did you mean 'house_prices'?" in error) == (2, True)
    assert call(capsys, "run")[0] == 2
    assert call(capsys, "data", "extra")[0] == 2
    code, out, _ = call(capsys, "run", "house_price", "--json")
    assert json.loads(out.splitlines()[-1])["exit_code"] == 2


def test_version(capsys):
    assert __version__ in call(capsys, "version")[1]
    assert json.loads(call(capsys, "--version", "--json")[1].splitlines()[-1])["version"] == __version__


def test_data(capsys, tmp_path, monkeypatch):
    monkeypatch.delenv("PARQUETRY_DATA", raising=False)
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path))
    monkeypatch.setenv("PARQUETRY_OFFLINE", "1")
    code, out, _ = call(capsys, "data", "--json")
    listed = json.loads(out.splitlines()[-1])["data"]
    assert code == 0
    assert {"california_housing", "sms_spam"} <= {d["name"] for d in listed}
    assert "synthetic" in listed[0]["where"]


def test_jobs_are_found_here_and_in_the_clone(project):
    assert {"hello", "house_prices"} <= set(jobs.available())
    assert "helper" not in jobs.available()
    assert jobs.first_line(jobs.available()["hello"]) == "Say hello."


@pytest.mark.parametrize(
    "imports", ["import catboost", "from parquetry.boosting import small_steps as s; s('lightgbm', 9, 0)"]
)
def test_a_job_whose_packages_are_missing_says_which_extra(capsys, project, monkeypatch, imports):
    for package in ("catboost", "lightgbm"):
        monkeypatch.setitem(sys.modules, package, None)
    own = Path("own.py")
    own.write_text(f"{imports}\n{JOB}")
    code, _, error = call(capsys, "run", "own.py")
    assert code != 0
    assert re.search(
        r"The package '(catboost|lightgbm)' is not installed.*pip install .*\[boosting\]", error, re.DOTALL
    )


def test_run(capsys, project):
    code, out, _ = call(capsys, "run", "hello", "--output", "out", "--json")
    result = json.loads(out.splitlines()[-1])
    assert code == 0
    assert result["metrics"] == {"m": {"r2": 0.5}}
    assert (project / "out" / "report.html").is_file()
    code, out, _ = call(capsys, "run", "hello", "--output", "out", "--json")
    assert (code, json.loads(out.splitlines()[-1])["error"]) == (1, "OutputExists")
    assert call(capsys, "run", "hello", "--sed", "1")[0] == 2
    assert "usage: parquetry run hello [flags]" in call(capsys, "run", "hello", "--help")[1]


def test_a_script_that_is_no_job(capsys, project):
    code, _, error = call(capsys, "run", "jobs/mine/helper.py")
    assert (code, "run_job" in error) == (2, True)


def test_copy_gives_a_script_that_runs(capsys, project):
    assert call(capsys, "copy", "hello", "my_hello.py")[0] == 0
    text = (project / "my_hello.py").read_text()
    assert "python my_hello.py" in text
    assert "jobs/mine" not in text
    command = [sys.executable, "my_hello.py", "--output", "out", "--log-level", "error"]
    subprocess.run(command, check=True, capture_output=True, cwd=project)
    code, _, error = call(capsys, "copy", "hello", "my_hello.py")
    assert (code, "already there" in error) == (1, True)
    assert call(capsys, "copy", "hello")[0] == 2
    assert call(capsys, "copy", "hello", "missing/x.py")[0] == 1


def test_the_command_answers_at_once():
    heavy = {"numpy", "pandas", "pyarrow", "sklearn", "matplotlib", "pydantic", "rich", "dask", "pyspark"}
    code = f"import sys, parquetry.cli; print(sorted({heavy!r} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip() == "[]"
