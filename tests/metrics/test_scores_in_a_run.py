"""What a run, its report and a model's card show of a classifier's scores: not the curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn.linear_model import LogisticRegression

import parquetry as pqy
from parquetry.config import JobConfig
from parquetry.metrics.summary import CURVES, class_table, split_curves
from parquetry.report import metric_rows
from parquetry.run import Run, Scores


@pytest.fixture
def fitted(local: Any, houses: Path) -> tuple[Any, dict[str, Any]]:
    model = pqy.fit(LogisticRegression(max_iter=5000), houses, target="place", features=["area", "rooms"], engine=local)
    return model, pqy.evaluate(model, houses, target="place", engine=local)


def test_curves_go_to_a_file_of_their_own(tmp_path: Path, fitted: tuple[Any, dict[str, Any]]) -> None:
    _, scores = fitted
    with Run("places", JobConfig(output=tmp_path / "out")) as run:
        run.metrics("logistic, plain", scores)
        run.metrics("logistic plain", scores)
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())["metrics"]["logistic, plain"]
    assert not set(CURVES) & set(kept)
    assert kept["roc_auc"] == scores["roc_auc"]
    assert kept["confusion_matrix"] == scores["confusion_matrix"]
    files = sorted(path.name for path in (tmp_path / "out" / "curves").iterdir())
    assert files == ["01-logistic-plain.json", "02-logistic-plain.json"]
    curves = json.loads((tmp_path / "out" / "curves" / files[0]).read_text())
    assert curves == {name: scores[name] for name in CURVES}


def test_the_card_holds_no_curves(tmp_path: Path, fitted: tuple[Any, dict[str, Any]]) -> None:
    model, scores = fitted
    card = json.loads((pqy.save(model, tmp_path / "m", metrics=scores) / "card.json").read_text())
    assert not set(CURVES) & set(card["metrics"])
    assert card["metrics"]["per_class"] == scores["per_class"]


def test_the_table_shows_what_tells_something(fitted: tuple[Any, dict[str, Any]]) -> None:
    _, scores = fitted
    names = [name for name, _ in metric_rows([Scores("m", split_curves(scores)[0])])]
    assert {"accuracy", "F1, mean of classes", "average precision", "ROC AUC", "log loss", "Cohen's kappa"} <= set(
        names
    )
    rated = Scores("m", {"spam_recall": 0.5, "no_spam_f1": 0.5, "lost": 1.0})
    assert [name for name, _ in metric_rows([rated])] == ["recall of spam", "F1 of no_spam", "false alarms"]
    assert not [name for name in names if "micro" in name or "wrong by" in name]
    unsure = {**scores, "roc_auc_error": 1e-7}
    assert "ROC AUC wrong by at most" in [name for name, _ in metric_rows([Scores("m", unsure)])]


def test_outputs_are_split_one_by_one() -> None:
    part = {"accuracy": 0.5, "roc_curve": {"fpr": [0.0]}, "confusion_matrix": [[1] * 60] * 60}
    short, long = split_curves({"rows": 3, "per_output": {"a": part, "b": {"accuracy": 1.0}}})
    assert short == {"rows": 3, "per_output": {"a": {"accuracy": 0.5}, "b": {"accuracy": 1.0}}}
    assert long["per_output"]["a"] == {k: v for k, v in part.items() if k != "accuracy"}
    assert split_curves({"r2": 0.5}) == ({"r2": 0.5}, {})


def test_a_table_of_classes(fitted: tuple[Any, dict[str, Any]]) -> None:
    columns, rows = class_table(fitted[1])
    assert columns == ["class", "precision", "recall", "f1", "support", "roc auc", "average precision"]
    assert [row[0] for row in rows] == ["coast", "hills", "town"]
    assert sum(row[4] for row in rows) == 1000
