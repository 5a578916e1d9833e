"""The comparison of models on the Titanic, run through its command line as a user runs it."""

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
from parquetry.errors import UnknownColumn
from parquetry.run import Run

JOB = Path(__file__).parents[2] / "jobs" / "boosting" / "titanic.py"
MODELS = ["logistic regression", "random forest", "XGBoost", "LightGBM", "CatBoost"]
launch = partial(launching.launch, program=(str(JOB),))


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def test_the_job_is_short_and_says_how_to_launch_it():
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    commands = re.findall(r"^    ((?:python|spark-submit) .*)$", text, re.MULTILINE)
    assert commands == [
        "python jobs/boosting/titanic.py",
        "python jobs/boosting/titanic.py --engine dask --workers 2",
        "spark-submit --master spark://HOST:7077 jobs/boosting/titanic.py --output out/spark",
    ]


def test_without_input_it_compares_five_models_and_says_that_the_rows_are_made_up(tmp_path: Path):
    done = launch(tmp_path, "--folds", "2", "--inner", "2", "--output", "out")
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path / "out")
    assert "SYNTHETIC" in done.stdout
    assert list(found["metrics"]) == [*MODELS, "most frequent class"]
    nobody = found["metrics"]["most frequent class"]["accuracy"]
    assert all(found["metrics"][name]["accuracy"] > nobody + 0.02 for name in MODELS)
    assert {m["rows"] for m in found["metrics"].values()} == {found["metrics"]["XGBoost"]["rows"]}
    assert found["onnx_agreement"]["disagreements"] == 0
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for shown in ("Accuracy of the models", "What the model goes by", "What each search has chosen"):
        assert shown in report


def test_own_rows_with_a_recipe_are_compared_alike_on_every_engine(
    local, dask_engine, spark_engine, tmp_path: Path, monkeypatch
):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"a": rng.normal(size=200), "kind": rng.choice(["x ", "y"], 200)})
    frame["bought"] = ((frame.a > 0) ^ (rng.random(200) < 0.1)).astype(int)
    frame.to_parquet(tmp_path / "own.parquet", index=False)
    (tmp_path / "recipe.yaml").write_text("steps: [{text: {columns: [kind], strip: true}}]")
    spec = importlib.util.spec_from_file_location("titanic", JOB)
    job = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "titanic", job)  # where pydantic looks for the names of its annotations
    spec.loader.exec_module(job)
    job.MODELS = {"LightGBM": job.MODELS["LightGBM"]}
    left = []
    for engine in (local, dask_engine, spark_engine):
        out = tmp_path / engine.name
        given = {"input": str(tmp_path / "own.parquet"), "recipe": tmp_path / "recipe.yaml", "target": "bought"}
        config = job.Config(**given, output=out, folds=2, inner=2)
        with Run("titanic", config) as run:
            job.run(config, engine, run)
        left.append((summary(out)["metrics"], (out / "model" / "model.onnx").read_bytes()))
    assert left[0] == left[1] == left[2]
    config = job.Config(**given | {"target": "sold"}, output=tmp_path / "not there")
    with pytest.raises(UnknownColumn, match="no target column 'sold'"), Run("titanic", config) as run:
        job.run(config, local, run)
    assert left[0][0]["LightGBM"]["accuracy"] > 0.75


def test_the_real_set(real_data: Path, tmp_path: Path):
    if not (real_data / "titanic" / "train.csv").is_file():
        pytest.skip("The Titanic's passengers are not there.")
    done = launch(tmp_path, "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path / "out")
    assert found["data"]["synthetic"] is False
    assert max(found["metrics"][name]["accuracy"] for name in MODELS) >= 0.82
    assert found["metrics"]["LightGBM"]["rows"] == 891
