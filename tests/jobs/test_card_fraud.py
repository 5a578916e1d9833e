"""The job that finds card frauds, run as a user runs it and, in this process, on every engine."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import launching
from parquetry.run import Run

JOB = Path(__file__).parents[2] / "jobs" / "boosting" / "card_fraud.py"
launch = partial(launching.launch, program=(str(JOB),))


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def events(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]


def test_it_is_short():
    assert len(JOB.read_text(encoding="utf-8").splitlines()) <= 120


@pytest.fixture
def job(monkeypatch, tmp_path: Path):
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path / "cache"))
    spec = importlib.util.spec_from_file_location("card_fraud", JOB)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "card_fraud", module)  # where pydantic looks for the names of its annotations
    spec.loader.exec_module(module)
    return module


def test_generated_payments_give_the_same_model_on_every_engine(local, dask_engine, spark_engine, job, tmp_path: Path):
    left = []
    for engine, booster in (
        (local, "lightgbm"),
        (local, "xgboost"),
        (dask_engine, "xgboost"),
        (spark_engine, "xgboost"),
    ):
        out = tmp_path / f"{engine.name}-{booster}"
        config = job.Config(output=out, generate=12_000, folds=0, trees=30, world=2, booster=booster)
        with Run("card_fraud", config) as run:
            job.run(config, engine, run)
        left.append((summary(out)["metrics"], (out / "model" / "model.onnx").read_bytes()))
    assert left[1] == left[2] == left[3]
    for metrics, _ in left:
        chosen, usual, _, nobody = metrics.values()
        assert chosen["cost_per_1000"] < usual["cost_per_1000"]
        assert usual["average_precision"] > 10 * nobody["average_precision"]


def test_rows_of_ones_own_with_texts_and_missing_numbers(local, job, tmp_path: Path):
    rng = np.random.default_rng(1)
    bad, amounts = rng.random(300) < 0.2, rng.gamma(2.0, 50.0, 300)
    frame = pd.DataFrame({"city": "", "amount": np.where(bad, 4, 1) * amounts, "age": rng.integers(18, 90, 300)})
    frame.loc[::9, "amount"] = np.nan
    frame.loc[::2, "city"] = "Rome"
    frame.assign(fraud=np.where(bad, "yes", "no")).to_csv(tmp_path / "own.csv", index=False)
    given = {"input": str(tmp_path / "own.csv"), "target": "fraud", "booster": "lightgbm", "folds": 1}
    config = job.Config(**given, positive="yes", output=tmp_path / "out")
    with Run("card_fraud", config) as run:
        job.run(config, local, run)
    assert "recall of yes" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    told = [e["text"] for e in events(tmp_path / "out") if e["event"] == "note"]
    assert told[0] == "Column 'city' was left out: it holds no numbers."
    assert re.search(r"A missed fraud costs 120, a false alarm 5\. The cut and \d+ trees", told[1])


def test_rows_of_ones_own_and_generated_ones_exclude_each_other(tmp_path: Path):
    done = launch(tmp_path, "--generate", "1000", "--input", "x.parquet", "--output", "out")
    assert done.returncode == 1
    assert "1,000 rows are to be generated, and x.parquet is given. Leave out one of the two." in done.stderr


def test_the_real_payments(real_data: Path, tmp_path: Path):
    if not (real_data / "card-fraud-subset").is_dir():
        pytest.skip("The card payments are not there.")
    done = launch(tmp_path, "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path / "out")
    assert found["data"]["synthetic"] is False
    assert found["onnx_agreement"]["disagreements"] == 0
    (rated,) = [e for e in events(tmp_path / "out") if e["event"] == "cross-validated"]
    assert rated["average_precision"] >= 0.95
