"""The conformance suite against the three engines, and the same bits with 1, 2 and 3 workers (Spark: 2 and 3)."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import parquetry as pqy
from parquetry.testing import EngineConformance, digests, write_mixed_table


class TestLocal(EngineConformance):
    @pytest.fixture
    def engine(self) -> Iterator[Any]:
        with pqy.open_engine("local", workers=3) as engine:
            yield engine


class TestDask(EngineConformance):
    @pytest.fixture
    def engine(self, dask_engine: Any) -> Any:
        return dask_engine


class TestSpark(EngineConformance):
    @pytest.fixture
    def engine(self, spark_engine: Any) -> Any:
        return spark_engine


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("oracle")
    with pqy.open_engine("local", workers=1) as engine:
        return digests(engine, write_mixed_table(folder / "mixed"), folder / "scratch")


# Two workers on Dask and Spark are the session's own engines, which the classes above compare. Spark with one worker
# shares all but the number with two: it is left out, as each of its clusters takes longer to start than to work.
@pytest.mark.parametrize(
    ("engine", "workers"),
    [
        ("local", 2),
        ("local", 3),
        ("dask", 3),
        ("local-cluster[3,1,1024]", None),
    ],
)
def test_the_number_of_workers_changes_no_bit(engine: str, workers: int | None, expected: dict[str, str]) -> None:
    if "cluster" in engine and shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, which this machine does not have.")
    command = [sys.executable, "-m", "parquetry.testing.conformance", "--engine", engine]
    command += [] if workers is None else ["--workers", str(workers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, cwd=Path.cwd())
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["digests"] == expected
