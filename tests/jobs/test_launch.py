"""The launch commands in the job's docstring work as pasted, and give the same coefficients."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from clusters import submit_environment
from parquetry.testing import write_mixed_table

ROOT = Path(__file__).parents[2]
JOB = ROOT / "jobs" / "classical" / "house_prices.py"


def commands() -> list[str]:
    return re.findall(r"^    ((?:python|spark-submit) .*)$", JOB.read_text(), re.MULTILINE)


def test_there_is_one_command_an_engine() -> None:
    local, dask, spark = commands()
    assert local == "python jobs/classical/house_prices.py"
    assert "--engine dask" in dask
    assert spark.startswith("spark-submit --master spark://HOST:7077 ")


@pytest.mark.timeout(400)
def test_commands_work_and_agree(spark_master: str, bare_python: str, tmp_path: Path) -> None:
    table = write_mixed_table(tmp_path / "mixed", rows=3_000)
    environment = {k: v for k, v in submit_environment(bare_python).items() if k != "PARQUETRY_DATA"}
    found = {}
    for command in commands():
        own = command.replace("spark://HOST:7077", spark_master)
        name = next(n for n in ("dask", "spark", "python") if n in own.split("jobs/")[0] + own.split(".py")[1])
        out = tmp_path / name
        words = [w for w in shlex.split(own) if w not in ("--output", "out/spark")]
        words += ["--input", str(table), "--target", "y", "--output", str(out)]
        run = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False)
        assert run.returncode == 0, run.stderr[-3000:]
        assert "Traceback" not in run.stderr
        found[name] = (out / "coefficients.json").read_bytes()
    assert set(found) == {"python", "dask", "spark"}
    assert len(set(found.values())) == 1
