"""The first job, run through its command line as a user runs it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

import launching
import parquetry as pqy
from parquetry.coefficients import INTERCEPT
from parquetry.tabular_input import open_input

JOB = Path(__file__).parents[2] / "jobs" / "classical" / "house_prices.py"
launch = partial(launching.launch, program=(str(JOB),))


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The job with no input at all, offline: the run's folder, and what the console showed."""
    folder = tmp_path_factory.mktemp("job")
    done = launch(folder)
    assert done.returncode == 0, done.stderr
    (out,) = (folder / "runs" / "house_prices").iterdir()
    return out, done.stdout


def test_the_job_is_short_and_says_how_to_launch_it():
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for line in (
        "python jobs/classical/house_prices.py\n",
        "--engine dask --workers 2\n",
        "spark-submit --master spark://",
    ):
        assert line in text


def test_help(tmp_path: Path):
    done = launch(tmp_path, "--help")
    assert done.returncode == 0
    for flag in (
        "--input",
        "--target",
        "--features",
        "--exclude",
        "--output",
        "--engine",
        "--workers",
        "--memory",
        "--seed",
    ):
        assert flag in done.stdout
    assert not list(tmp_path.iterdir())


def test_wrong_flags(tmp_path: Path):
    done = launch(tmp_path, "--sed", "3", "--test", "2")
    assert done.returncode == 2
    assert "Did you mean '--seed'?" in done.stderr
    assert "--test (flag --test)" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_input_it_is_synthetic_and_says_so(synthetic):
    out, console = synthetic
    assert "SYNTHETIC" in console
    assert "R²" in console
    assert "SYNTHETIC" in (out / "report.html").read_text(encoding="utf-8")
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"]["synthetic"] is True
    assert metrics["metrics"]["linear regression"]["r2"] > 0.5
    assert abs(metrics["metrics"]["mean"]["r2"]) < 0.01
    assert metrics["baselines"] == ["mean"]


def test_the_run_holds_everything(synthetic):
    out, _ = synthetic
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {"config.yaml", "events.jsonl", "metrics.json", "report.html", "coefficients.json"} <= names
    assert {"model/model.onnx", "model/model.skops", "model/card.json"} <= names
    assert len([n for n in names if n.startswith("plots/") and n.endswith(".png")]) == 4
    rows = json.loads((out / "metrics.json").read_text())["metrics"]["linear regression"]["rows"]
    predictions = pqy.open_dataset(out / "predictions")
    assert predictions.columns == ("median_house_value", "prediction")
    assert predictions.num_rows == rows
    assert json.loads((out / "metrics.json").read_text())["onnx_agreement"]["rows"] == rows


def test_the_predictions_give_the_metrics(synthetic):
    out, _ = synthetic
    rows = pqy.open_dataset(out / "predictions").to_pandas()
    metrics = json.loads((out / "metrics.json").read_text())["metrics"]["linear regression"]
    error = rows["median_house_value"] - rows["prediction"]
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-9)
    assert metrics["median_absolute_error"] == pytest.approx(error.abs().median(), rel=1e-12)


def test_coefficients_are_those_of_scikit_learn(synthetic):
    """The same rows through pandas and scikit-learn's own fit, with dummy columns by hand."""
    out, _ = synthetic
    weights = json.loads((out / "coefficients.json").read_text())
    generated = next((out.parents[2] / "cache").rglob("*.parquet"))
    train, test = (d.to_pandas() for d in pqy.open_dataset(generated).split(test=0.2, seed=42))
    kinds = sorted(train["ocean_proximity"].unique())
    numbers = [c for c in train if c not in ("ocean_proximity", "median_house_value")]
    median, mean, scale = train[numbers].median(), None, None
    filled = train[numbers].fillna(median)
    mean, scale = filled.mean(), filled.std(ddof=0)

    def design(rows: pd.DataFrame) -> np.ndarray:
        scaled = (rows[numbers].fillna(median) - mean) / scale
        return np.column_stack([scaled, *[(rows["ocean_proximity"] == k).astype(float) for k in kinds]])

    model = LinearRegression().fit(design(train), train["median_house_value"])
    assert list(weights) == [INTERCEPT, *numbers, *[f"ocean_proximity_{k}" for k in kinds]]
    np.testing.assert_allclose(list(weights.values())[1:], model.coef_, rtol=1e-9)
    assert weights[INTERCEPT] == pytest.approx(model.intercept_, rel=1e-9)
    metrics = json.loads((out / "metrics.json").read_text())["metrics"]["linear regression"]
    assert metrics["r2"] == pytest.approx(model.score(design(test), test["median_house_value"]), rel=1e-9)


def test_the_onnx_model_runs_alone(synthetic):
    out, _ = synthetic
    session = onnxruntime.InferenceSession(out / "model" / "model.onnx")
    assert {i.name for i in session.get_inputs()} >= {"median_income", "ocean_proximity"}


def test_own_csv_with_own_target(tmp_path: Path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"size": rng.normal(100, 20, 500), "kind": rng.choice(["a", "b"], 500), "same": 1.0})
    frame["built"] = pd.Timestamp("2020-01-01").date()
    frame["rent"] = 9 * frame["size"] + 100 * (frame["kind"] == "a") + rng.normal(0, 5, 500)
    frame.to_csv(tmp_path / "flats.csv", index=False)
    arguments = ("--input", "flats.csv", "--target", "rent", "--output", "out")
    refused = launch(tmp_path, *arguments)
    assert refused.returncode == 1
    assert "--exclude same" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "out").exists()
    done = launch(tmp_path, *arguments, "--exclude", "same")
    assert done.returncode == 0, done.stderr
    assert "'built' was left out: it is date32[day]" in done.stdout
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["linear regression"]["r2"] > 0.99
    assert not json.loads((tmp_path / "out" / "metrics.json").read_text())["data"]["synthetic"]
    again = launch(tmp_path, *arguments, "--exclude", "same")
    assert again.returncode == 1
    assert "already there" in again.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--input", "missing.csv"], "nothing at"),
        (["--target", "median_house_valu"], "Did you mean 'median_house_value'?"),
        (["--target", "ocean_proximity"], "needs a number"),
        (["--exclude", "longitud"], "Did you mean 'longitude'?"),
    ],
)
def test_bad_input_is_one_clear_message(tmp_path: Path, flags: list[str], message: str):
    done = launch(tmp_path, *flags)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_the_real_set(real_data: Path, tmp_path: Path):
    source = real_data / "california-housing" / "housing.csv"
    if not source.is_file():
        pytest.skip(f"{source} is not there.")
    done = launch(tmp_path, "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["data"]["synthetic"] is False
    assert metrics["metrics"]["linear regression"]["r2"] >= 0.64
    by_flag = launch(tmp_path, "--output", "flag", "--input", str(source), "--target", "median_house_value")
    assert by_flag.returncode == 0, by_flag.stderr
    assert (tmp_path / "flag" / "coefficients.json").read_bytes() == (
        tmp_path / "out" / "coefficients.json"
    ).read_bytes()
    data = open_input(source, tmp_path / "rows")
    assert data.num_rows == 20_640
    assert data.to_pandas()["total_bedrooms"].isna().sum() == 207
