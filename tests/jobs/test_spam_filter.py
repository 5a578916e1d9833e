"""The spam filter, run through its command line as a user runs it, and on every engine."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.metrics import f1_score

import launching
import parquetry as pqy
from parquetry import artefact, generators
from parquetry.coefficients import INTERCEPT
from parquetry.run import Run

JOB = Path(__file__).parents[2] / "jobs" / "classical" / "spam_filter.py"
PARQUETRY = ("-c", "from parquetry.cli import main; main()", "run", "spam_filter")
VECTORIZER = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
launch = partial(launching.launch, program=(str(JOB),))


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return found


def events(out: Path, kind: str) -> list[dict[str, Any]]:
    lines = map(json.loads, (out / "events.jsonl").read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line["event"] == kind]


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The job with no input at all, offline: the run's folder, and what the console showed."""
    folder = tmp_path_factory.mktemp("job")
    done = launch(folder)
    assert done.returncode == 0, done.stderr
    (out,) = (folder / "runs" / "spam_filter").iterdir()
    return out, done.stdout


def test_the_job_is_short_and_says_how_to_launch_it():
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    commands = re.findall(r"^    ((?:python|spark-submit) .*)$", text, re.MULTILINE)
    assert commands == [
        "python jobs/classical/spam_filter.py",
        "python jobs/classical/spam_filter.py --engine dask --workers 2",
        "spark-submit --master spark://HOST:7077 jobs/classical/spam_filter.py --output out/spark",
    ]


def test_without_input_it_is_synthetic_and_says_so(synthetic):
    out, console = synthetic
    assert "SYNTHETIC" in console
    assert summary(out)["data"]["synthetic"] is True
    assert summary(out)["baselines"] == ["majority"]
    chosen, default, majority = summary(out)["metrics"].values()
    assert chosen["spam_f1"] > 0.9
    assert chosen["cost_per_1000"] < majority["cost_per_1000"]
    assert default["rows"] == chosen["rows"] == majority["rows"]
    assert re.search(r"Threshold 0\.\d+ costs .* per 1,000 rows of the test, 0\.5 costs", console)


def test_the_run_holds_everything(synthetic):
    out, _ = synthetic
    names = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert {"config.yaml", "events.jsonl", "metrics.json", "report.html", "coefficients.json"} <= names
    assert {"model/model.onnx", "model/model.skops", "model/card.json"} <= names
    pictures = " ".join(n for n in names if n.startswith("plots/"))
    assert "cost-by-threshold" in pictures
    assert "strongest-words-of-spam-and-ham" in pictures
    assert summary(out)["onnx_agreement"]["disagreements"] == 0
    report = (out / "report.html").read_text(encoding="utf-8")
    assert "spam taken for ham" in report
    assert "Threshold 0." in report


def test_it_is_what_scikit_learn_makes_of_the_same_rows(synthetic):
    """The same splits through pandas; the model and its threshold; the rows that it gets wrong."""
    out, console = synthetic
    generated = next((out.parents[2] / "cache").rglob("*.parquet"))
    train, test = pqy.open_dataset(generated).split(test=0.2, seed=42)
    rows = test.to_pandas()
    model = pqy.load(out / "model")
    (chosen,) = events(out, "threshold")
    assert model.threshold == chosen["chosen"]
    own = VECTORIZER.fit(train.to_pandas()["text"])
    assert model.estimator_.estimator[0].vocabulary_ == own.vocabulary_
    assert model.estimator_.estimator[0].idf_.tobytes() == own.idf_.tobytes()
    weights = json.loads((out / "coefficients.json").read_text())
    assert list(weights) == [INTERCEPT, *own.get_feature_names_out()]
    guess = model.predict(rows["text"])
    metrics = next(iter(summary(out)["metrics"].values()))
    assert metrics["spam_f1"] == pytest.approx(f1_score(rows["label"], guess, pos_label="spam"))
    missed, lost = ((rows["label"] == a) & (guess == b) for a, b in (("spam", "ham"), ("ham", "spam")))
    assert (metrics["missed"], metrics["lost"]) == (missed.sum(), lost.sum())
    assert metrics["cost_per_1000"] == pytest.approx(1000 * (missed.sum() + 3 * lost.sum()) / len(rows))
    shown = {e["text"] for e in events(out, "mistake")}
    assert shown <= set(rows["text"][missed | lost])
    assert len(events(out, "mistake")) == min(5, missed.sum()) + min(5, lost.sum())
    assert all(text in console for text in shown)
    written = pqy.open_dataset(out / "predictions").to_pandas()
    assert list(written.columns) == ["text", "label", "prediction"]
    assert (written["prediction"] == guess).all()
    assert (artefact.load_onnx(out / "model").predict(rows[["text"]]) == guess).all()


def test_the_costs_move_the_threshold(synthetic, tmp_path: Path):
    out, _ = synthetic
    generated = next((out.parents[2] / "cache").rglob("*.parquet"))
    flags = ("--input", str(generated), "--output", "out", "--cost-missed-spam", "20", "--cost-lost-ham", "1")
    done = launch(tmp_path, *flags, program=PARQUETRY)
    assert done.returncode == 0, done.stderr
    (usual,), (moved,) = events(out, "threshold"), events(tmp_path / "out", "threshold")
    assert moved["chosen"] < usual["chosen"]
    chosen, default, _ = summary(tmp_path / "out")["metrics"].values()
    assert chosen["spam_recall"] >= default["spam_recall"]
    assert summary(tmp_path / "out")["data"]["synthetic"] is False


def reviews(n: int = 600) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    kind = rng.random(n) < 0.4
    words = np.where(kind, "awful broken refund", "great lovely works")
    noise = rng.choice(["the", "shop", "fast", "slow", "box"], (n, 4))
    told = [word.split()[: rng.integers(0, 4)] for word in words.tolist()]
    text = [" ".join(rng.permutation([*own, *other])) for own, other in zip(told, noise.tolist(), strict=True)]
    return pd.DataFrame({"body": text, "stars": np.where(kind, 1, 5), "shop": "one"})


def test_own_csv_with_own_columns_and_labels_that_are_numbers(tmp_path: Path):
    reviews().to_csv(tmp_path / "reviews.csv", index=False)
    flags = ("--input", "reviews.csv", "--text", "body", "--target", "stars", "--positive", "1", "--output", "out")
    done = launch(tmp_path, *flags)
    assert done.returncode == 0, done.stderr
    chosen, *_ = summary(tmp_path / "out")["metrics"].values()
    assert chosen["1_recall"] > 0.6
    assert summary(tmp_path / "out")["onnx_agreement"]["disagreements"] == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--text", "txt"], "Did you mean 'text'?"),
        (["--positive", "spamm"], "Did you mean 'spam'?"),
        (["--target", "text", "--text", "label"], "There is no class 'spam'"),
        (["--cost-missed-spam", "0", "--cost-lost-ham", "0"], "one above zero"),
    ],
)
def test_bad_input_is_one_clear_message(synthetic, tmp_path: Path, flags: list[str], message: str):
    generated = next((synthetic[0].parents[2] / "cache").rglob("*.parquet"))
    done = launch(tmp_path, "--input", str(generated), *flags)
    assert done.returncode == 1, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_every_engine_leaves_the_same(engine, local, tmp_path: Path):
    generators.write(generators.named("sms_spam"), tmp_path / "rows.parquet", rows=1_500, seed=1)
    spec = importlib.util.spec_from_file_location("spam_filter", JOB)
    job = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(job)
    left = []
    for name, running in (("here", local), ("there", engine)):
        config = job.Config(input=str(tmp_path / "rows.parquet"), output=tmp_path / name)
        with Run("spam_filter", config) as run:
            job.run(config, running, run)
        onnx = (tmp_path / name / "model" / "model.onnx").read_bytes()
        written = pqy.open_dataset(tmp_path / name / "predictions").to_pandas()["prediction"].tolist()
        left.append(
            ((tmp_path / name / "coefficients.json").read_bytes(), onnx, summary(run.folder)["metrics"], written)
        )
    assert left[0] == left[1]


def test_the_real_set(real_data: Path, tmp_path: Path):
    if not (real_data / "sms-spam" / "SMSSpamCollection").is_file():
        pytest.skip("The SMS Spam Collection is not there.")
    done = launch(tmp_path, "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    found = summary(tmp_path / "out")
    assert found["data"]["synthetic"] is False
    chosen, default, _ = found["metrics"].values()
    assert chosen["spam_f1"] >= 0.95
    assert chosen["cost_per_1000"] <= default["cost_per_1000"]
    assert found["onnx_agreement"] | {"disagreements": 0, "rounded": 0} == found["onnx_agreement"]
    for mistake in events(tmp_path / "out", "mistake"):
        assert mistake["text"] in done.stdout
