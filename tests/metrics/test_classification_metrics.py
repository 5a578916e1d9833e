"""A classifier's metrics against scikit-learn's on all rows at once, for given scores and labels."""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn import metrics
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.calibration import CalibratedClassifierCV, calibration_curve
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import (
    BaggingClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, GridSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, label_binarize
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, WrongColumnType
from parquetry.metrics import answers, classification, ranking

N = 1_500
LAYOUTS = {"one block": {"files": 1, "row_group_size": 10_000}, "many blocks": {"files": 3, "row_group_size": 70}}


class GivenLabels(ClassifierMixin, BaseEstimator):
    """Predicts what stands in X: the class with the greatest score, one column a class."""

    def __init__(self, classes: Any) -> None:
        self.classes = classes

    @property
    def classes_(self) -> Any:
        return np.asarray(self.classes)

    def predict(self, X: Any) -> Any:
        return self.classes_[np.asarray(X).argmax(axis=1)]


class GivenProbabilities(GivenLabels):
    """Its probabilities stand in X."""

    def predict_proba(self, X: Any) -> Any:
        return np.asarray(X)


class GivenDecisions(GivenLabels):
    """Its decision function stands in X: of two classes the difference."""

    def decision_function(self, X: Any) -> Any:
        scores = np.asarray(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores


def case(kind: str) -> tuple[Any, Any, Any]:
    """Labels, the classes, and probabilities of shape (N, n_classes)."""
    rng = np.random.default_rng(5)
    if kind in ("balanced", "imbalanced", "ties", "overconfident", "separated", "narrow"):
        classes = np.array([0, 1])
        y = (rng.random(N) < (0.02 if kind == "imbalanced" else 0.5)).astype(int)
        shift = 40.0 if kind == "separated" else 1.0
        p = 1 / (1 + np.exp(-(rng.normal(size=N) + shift * (y - 0.5))))
        if kind == "ties":
            p = np.round(p, 1)
        if kind == "overconfident":
            p = np.where(rng.random(N) < 0.3, np.round(p), p)
        shares = np.column_stack([1 - p, p])
        return y, classes, shares.astype(np.float32) if kind == "narrow" else shares
    count = {"three": 3, "five": 5, "words": 4, "absent": 4, "flags": 2}[kind]
    y = rng.integers(0, count - (kind == "absent"), N)
    shares = np.exp(rng.normal(size=(N, count)) + 1.5 * (y[:, None] == np.arange(count)))
    if kind == "five":
        shares = np.round(shares * 4 / shares.max(axis=1, keepdims=True)) + 0.25
    shares /= shares.sum(axis=1, keepdims=True)
    if kind == "words":
        classes = np.array(["ash", "elm", "oak", "yew"])
    elif kind == "flags":
        classes = np.array([False, True])
    else:
        classes = np.array([-3, 0, 2, 7, 10])[:count]
    return classes[y], classes, shares


BINARY = ("balanced", "imbalanced", "ties", "overconfident", "separated", "narrow", "flags")
MANY = ("three", "five", "words", "absent")


def weights_of(kind: str) -> Any:
    rng = np.random.default_rng(6)
    whole = rng.integers(0, 4, N).astype(float)
    return {"none": None, "whole": whole, "real": rng.uniform(0, 2, N) * (whole > 0)}[kind]


def table(y: Any, shares: Any, weights: Any = None) -> pa.Table:
    columns = {"y": y, **{f"p{i}": shares[:, i] for i in range(shares.shape[1])}}
    return pa.table(columns if weights is None else {**columns, "w": weights})


def score(model: Any, folder: Any, engine: Any, *, weighted: bool = False) -> dict[str, Any]:
    features = [c for c in pqy.open_dataset(folder).columns if c.startswith("p")]
    weight = "w" if weighted else None
    found = pqy.evaluate(model, folder, target="y", features=features, sample_weight=weight, engine=engine)
    json.dumps(found, allow_nan=False)  # plain, and strict JSON
    return found


def expected_of_labels(y: Any, guess: Any, w: Any) -> dict[str, float]:
    out = {
        "accuracy": metrics.accuracy_score(y, guess, sample_weight=w),
        "balanced_accuracy": metrics.balanced_accuracy_score(y, guess, sample_weight=w),
        "mcc": metrics.matthews_corrcoef(y, guess, sample_weight=w),
        "cohen_kappa": metrics.cohen_kappa_score(y, guess, sample_weight=w),
    }
    for average, suffix in (("macro", ""), ("micro", "_micro"), ("weighted", "_weighted")):
        found = metrics.precision_recall_fscore_support(y, guess, average=average, sample_weight=w, zero_division=0)
        out |= {f"{name}{suffix}": value for name, value in zip(("precision", "recall", "f1"), found)}
    return out


def assert_close(found: dict[str, Any], expected: dict[str, float], rtol: float = 1e-11) -> None:
    for name, value in expected.items():
        assert found[name] == pytest.approx(float(value), rel=rtol, abs=1e-14), name


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", [*BINARY, *MANY])
def test_labels(local: Any, write_parquet: Any, kind: str, weighted: str, layout: str) -> None:
    y, classes, shares = case(kind)
    w = weights_of(weighted)
    folder = write_parquet(table(y, shares, w), **LAYOUTS[layout])
    found = score(GivenLabels(classes), folder, local, weighted=w is not None)
    guess = classes[shares.argmax(axis=1)]
    assert_close(found, expected_of_labels(y, guess, w))
    matrix = metrics.confusion_matrix(y, guess, sample_weight=w, labels=classes)
    np.testing.assert_allclose(found["confusion_matrix"], matrix, rtol=1e-11)
    each = metrics.precision_recall_fscore_support(y, guess, labels=classes, sample_weight=w, zero_division=0)
    for i, (label, entry) in enumerate(found["per_class"].items()):
        assert label == str(classes.tolist()[i])
        assert_close(entry, {name: each[j][i] for j, name in enumerate(("precision", "recall", "f1", "support"))})
        assert w is not None or isinstance(entry["support"], int)
    assert found["classes"] == classes.tolist()
    assert found["rows"] == N
    assert "roc_auc" not in found


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", BINARY)
def test_two_classes_and_probabilities(local: Any, write_parquet: Any, kind: str, weighted: str, layout: str) -> None:
    y, classes, shares = case(kind)
    w = weights_of(weighted)
    folder = write_parquet(table(y, shares, w), **LAYOUTS[layout])
    found = score(GivenProbabilities(classes), folder, local, weighted=w is not None)
    p, truth = shares[:, 1].astype(float), y.astype(int)
    expected = {
        "log_loss": metrics.log_loss(truth, shares, sample_weight=w),
        "brier": metrics.brier_score_loss(truth, shares, sample_weight=w),
        "roc_auc": metrics.roc_auc_score(truth, p, sample_weight=w),
        "average_precision": metrics.average_precision_score(truth, p, sample_weight=w),
    }
    assert_close(found, expected, 2e-6 if kind == "narrow" else 1e-11)
    assert found["roc_auc_error"] == found["average_precision_error"] == 0.0
    first, second = found["per_class"].values()
    assert first["roc_auc"] == pytest.approx(found["roc_auc"], rel=1e-12)
    assert second["average_precision"] == found["average_precision"]
    assert first["average_precision"] == pytest.approx(
        metrics.average_precision_score(1 - truth, -p, sample_weight=w), rel=1e-11
    )
    assert_roc_curve(found["roc_curve"], truth, p, w, found["roc_auc"])
    assert_precision_recall_curve(found["precision_recall_curve"], truth, p, w)
    assert_calibration(found["calibration"], truth, p, w)
    # Where the curve bends is where it is read: straight lines between the points give the gains.
    seen = np.argsort(-p, kind="stable")
    mass = np.ones(N) if w is None else w
    top = found["gains"]
    assert top["gain"][-1] == pytest.approx(1.0)
    assert top["population"] == pytest.approx(np.arange(1, 11) / 10)
    np.testing.assert_allclose(np.array(top["lift"]) * top["population"], top["gain"], rtol=1e-12)
    if kind == "balanced" and w is None:
        tenth = (mass * truth)[seen][: N // 10].sum() / truth.sum()
        assert top["gain"][0] == pytest.approx(tenth)


def points(*columns: Any) -> set[Any]:
    return set(zip(*(np.round(np.asarray(c, dtype=float), 10).tolist() for c in columns)))


def assert_roc_curve(curve: dict[str, Any], y: Any, p: Any, w: Any, area: float) -> None:
    fpr, tpr, thresholds = metrics.roc_curve(y, p, sample_weight=w, drop_intermediate=False)
    assert curve["thresholds"][0] is None
    assert (curve["fpr"][0], curve["tpr"][0], curve["fpr"][-1], curve["tpr"][-1]) == (0.0, 0.0, 1.0, 1.0)
    ours = points(curve["fpr"][1:], curve["tpr"][1:], curve["thresholds"][1:])
    assert ours <= points(fpr, tpr, thresholds)
    assert len(curve["fpr"]) <= 1000
    # No point that was left out lies off the lines between those that are there.
    assert metrics.auc(curve["fpr"], curve["tpr"]) == pytest.approx(area, rel=1e-9)


def assert_precision_recall_curve(curve: dict[str, Any], y: Any, p: Any, w: Any) -> None:
    precision, recall, thresholds = metrics.precision_recall_curve(y, p, sample_weight=w)
    assert (curve["precision"][-1], curve["recall"][-1], curve["thresholds"][-1]) == (1.0, 0.0, None)
    ours = points(curve["precision"][:-1], curve["recall"][:-1], curve["thresholds"][:-1])
    assert ours <= points(precision[:-1], recall[:-1], thresholds)
    assert len(curve["recall"]) <= 1000
    assert (np.diff(curve["recall"]) <= 0).all()
    assert curve["recall"][0] == pytest.approx(1.0)


def assert_calibration(found: dict[str, Any], y: Any, p: Any, w: Any) -> None:
    mass = np.ones(N) if w is None else w
    for strategy, bins in found.items():
        assert sum(bins["weight"]) == pytest.approx(mass.sum())
        assert np.dot(bins["predicted"], bins["weight"]) == pytest.approx(p @ mass)
        assert np.dot(bins["true"], bins["weight"]) == pytest.approx(y @ mass)
        if w is None:
            true, predicted = calibration_curve(y, p, n_bins=10, strategy=strategy)
            np.testing.assert_allclose(bins["true"], true, rtol=1e-11)
            np.testing.assert_allclose(bins["predicted"], predicted, rtol=1e-11)
    if w is not None:
        filled = np.array(found["quantile"]["weight"])
        if len(np.unique(p)) > 0.95 * N:
            assert abs(filled - mass.sum() / 10).max() <= mass.max()


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", [k for k in MANY if k != "absent"])
def test_many_classes_and_probabilities(local: Any, write_parquet: Any, kind: str, weighted: str, layout: str) -> None:
    y, classes, shares = case(kind)
    w = weights_of(weighted)
    folder = write_parquet(table(y, shares, w), **LAYOUTS[layout])
    found = score(GivenProbabilities(classes), folder, local, weighted=w is not None)
    rest: dict[str, Any] = {"sample_weight": w, "multi_class": "ovr"}
    expected = {
        "log_loss": metrics.log_loss(y, shares, sample_weight=w),
        "brier": metrics.brier_score_loss(y, shares, sample_weight=w),
        "roc_auc": metrics.roc_auc_score(y, shares, average="macro", **rest),
        "roc_auc_weighted": metrics.roc_auc_score(y, shares, average="weighted", **rest),
        "average_precision": metrics.average_precision_score(y, shares, average="macro", sample_weight=w),
        "top_2_accuracy": metrics.top_k_accuracy_score(y, shares, k=2, sample_weight=w),
    }
    assert_close(found, expected)
    assert ("top_3_accuracy" in found) == (len(classes) > 3)
    if len(classes) > 3:
        expected = {"top_3_accuracy": metrics.top_k_accuracy_score(y, shares, k=3, sample_weight=w)}
        assert_close(found, expected)
    one_hot = label_binarize(y, classes=classes)
    for i, (label, entry) in enumerate(found["per_class"].items()):
        p, truth = shares[:, i], one_hot[:, i]
        expected = {
            "roc_auc": metrics.roc_auc_score(truth, p, sample_weight=w),
            "average_precision": metrics.average_precision_score(truth, p, sample_weight=w),
        }
        assert_close(entry, expected)
        assert_roc_curve(found["roc_curve"][label], truth, p, w, entry["roc_auc"])
        assert_precision_recall_curve(found["precision_recall_curve"][label], truth, p, w)
        assert_calibration(found["calibration"][label], truth, p, w)


def test_a_class_that_is_not_there(local: Any, write_parquet: Any) -> None:
    """What is undefined for it is None, as scikit-learn's NaN; nothing else suffers."""
    y, classes, shares = case("absent")
    found = score(GivenProbabilities(classes), write_parquet(table(y, shares)), local)
    missing = str(classes[-1])
    assert found["per_class"][missing]["roc_auc"] is None
    assert found["roc_curve"][missing] is None
    assert found["per_class"][missing]["average_precision"] == 0.0
    assert found["roc_auc"] is None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {
            "roc_auc_weighted": metrics.roc_auc_score(y, shares, labels=classes, average="weighted", multi_class="ovr"),
            "log_loss": metrics.log_loss(y, shares, labels=classes),
            "brier": metrics.brier_score_loss(y, shares, labels=classes),
            "top_2_accuracy": metrics.top_k_accuracy_score(y, shares, k=2, labels=classes),
        }
    assert_close(found, expected)


@pytest.mark.parametrize("kind", ["balanced", "ties", "three", "words"])
def test_decisions(local: Any, write_parquet: Any, kind: str) -> None:
    y, classes, shares = case(kind)
    scores = np.log(shares + 1e-3) * 7 - 3
    found = score(GivenDecisions(classes), write_parquet(table(y, scores)), local)
    assert_close(found, expected_of_labels(y, classes[scores.argmax(axis=1)], None))
    if len(classes) == 2:
        decision = scores[:, 1] - scores[:, 0]
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(y, decision), rel=1e-12)
        assert found["average_precision"] == pytest.approx(metrics.average_precision_score(y, decision), rel=1e-12)
        assert_roc_curve(found["roc_curve"], y, decision, None, found["roc_auc"])
    else:
        one_hot = label_binarize(y, classes=classes)
        expected = [metrics.roc_auc_score(one_hot[:, i], scores[:, i]) for i in range(len(classes))]
        assert found["roc_auc"] == pytest.approx(np.mean(expected), rel=1e-12)
        assert found["top_2_accuracy"] == pytest.approx(metrics.top_k_accuracy_score(y, scores, k=2))
    for name in ("log_loss", "brier", "calibration"):
        assert name not in found


# --- more scores than are held one by one ---------------------------------------------------
@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the data were much larger."""
    for name, value in {"EXACT_SCORES": 100, "_CELLS": 64, "_ALL_CELLS": 256}.items():
        monkeypatch.setattr(ranking, name, value)
    monkeypatch.setattr(ranking, "_MORE_CELLS", 512)
    monkeypatch.setattr(ranking, "_ALL_MORE_CELLS", 2048)


@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", [*BINARY, *MANY])
def test_areas_are_as_near_as_they_say(
    local: Any, write_parquet: Any, few_cells: None, kind: str, weighted: str
) -> None:
    y, classes, shares = case(kind)
    w = weights_of(weighted)
    folder = write_parquet(table(y, shares, w), row_group_size=170)
    found = score(GivenProbabilities(classes), folder, local, weighted=w is not None)
    one_hot = label_binarize(y, classes=classes) if len(classes) > 2 else np.column_stack([1 - y, y]).astype(int)
    areas, precisions = [], []
    for i, entry in enumerate(found["per_class"].values()):
        p, truth = shares[:, i].astype(float), one_hot[:, i]
        if truth.sum():
            areas.append(entry["roc_auc"] - metrics.roc_auc_score(truth, p, sample_weight=w))
            precisions.append(entry["average_precision"] - metrics.average_precision_score(truth, p, sample_weight=w))
    slack = 1e-6 if kind == "narrow" else 1e-12
    if kind != "absent":
        assert np.abs(areas).mean() <= found["roc_auc_error"] + slack
        own = precisions if len(classes) > 2 else precisions[1:]
        assert abs(np.mean(own)) <= found["average_precision_error"] + slack
        assert found["roc_auc_error"] < 0.01
        assert found["average_precision_error"] < 0.02
    if kind in ("ties", "separated") or (kind == "five" and weighted == "none"):
        assert found["roc_auc_error"] == 0.0, "few distinct scores, or none that both classes share"
    elif kind == "balanced":
        assert found["roc_auc_error"] > 0.0
    if len(classes) == 2:
        # The curves' points are exact even where the area is not.
        fpr, tpr, _ = metrics.roc_curve(y, shares[:, 1].astype(float), sample_weight=w, drop_intermediate=False)
        ours = points(found["roc_curve"]["fpr"], found["roc_curve"]["tpr"])
        assert ours <= points(fpr, tpr) or kind == "narrow"
        assert sum(found["calibration"]["quantile"]["weight"]) == pytest.approx(N if w is None else w.sum())


# --- what cannot be scored ------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (np.nan, NonFiniteValues, "are not all finite"),
        (np.inf, NonFiniteValues, "are not all finite"),
        (0.9, BadParameter, "do not add up to 1"),
        (-0.1, BadParameter, "lie below 0 or above 1"),
        (1.5, BadParameter, "lie below 0 or above 1"),
    ],
)
def test_bad_probabilities_are_named(
    local: Any, write_parquet: Any, value: float, error: type[Exception], message: str
) -> None:
    y, classes, shares = case("three")
    shares[1000, 0] = shares[1200, 0] = value
    shares[1000, 1:] = 0.3
    folder = write_parquet(table(y, shares), row_group_size=200)
    with pytest.raises(error, match=rf"probabilities {message}, first in .*part-1.parquet, row group 1, row 50\b"):
        score(GivenProbabilities(classes), folder, local)


def test_decisions_that_are_not_numbers_are_named(local: Any, write_parquet: Any) -> None:
    y, classes, shares = case("three")
    shares[1000, 0] = np.nan
    with pytest.raises(NonFiniteValues, match=r"scores are not all finite, first in .*part-1.parquet"):
        score(GivenDecisions(classes), write_parquet(table(y, shares)), local)


def test_unknown_labels_are_named(local: Any, write_parquet: Any) -> None:
    y, classes, shares = case("words")
    words = np.where(np.arange(N) % 100 == 42, "fir", y)
    words[700] = "box"
    with pytest.raises(
        WrongColumnType, match=r"never seen: 'box', 'fir', first in .*part-0.parquet, row group 0, row 42"
    ):
        score(GivenProbabilities(classes), write_parquet(table(words, shares)), local)
    gap = pa.array(y.tolist(), mask=np.arange(N) == 800)
    folder = write_parquet(table(y, shares).set_column(0, "y", gap), "gap")
    with pytest.raises(WrongColumnType, match=r"never seen: None, first in .*part-1.parquet, row group 0, row 50"):
        score(GivenLabels(classes), folder, local)
    number, known, shares = case("three")
    folder = write_parquet(table(number + 0.5, shares), "halves")
    with pytest.raises(WrongColumnType, match=r"never seen: -2.5, 0.5, 2.5"):
        score(GivenLabels(known), folder, local)


@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.zeros(N), BadParameter, "'w' are all zero"),
        (np.where(np.arange(N) == 900, -1.0, 1.0), BadParameter, "negative value, first in .*part-1.parquet, row"),
        (np.where(np.arange(N) == 900, np.nan, 1.0), NonFiniteValues, "'w' holds NaN, first in .*part-1.parquet"),
    ],
)
def test_bad_weights(local: Any, write_parquet: Any, weights: Any, error: type[Exception], message: str) -> None:
    y, classes, shares = case("balanced")
    with pytest.raises(error, match=message):
        score(GivenProbabilities(classes), write_parquet(table(y, shares, weights)), local, weighted=True)


# --- real classifiers -----------------------------------------------------------------------
CLASSIFIERS: dict[str, Any] = {
    "logistic": LogisticRegression(),
    "svm": LinearSVC(),
    "pairs": SVC(decision_function_shape="ovo"),
    "tree": DecisionTreeClassifier(max_depth=4),
    "forest": RandomForestClassifier(5, max_depth=4, random_state=0),
    "bagging": BaggingClassifier(n_estimators=3, random_state=0),
    "histograms": HistGradientBoostingClassifier(max_iter=5),
    "boosting": GradientBoostingClassifier(n_estimators=5),
    "calibrated": CalibratedClassifierCV(LinearSVC(), cv=2),
    "bayes": GaussianNB(),
    "threshold": FixedThresholdClassifier(LogisticRegression(), threshold=0.2),
    "constant": DummyClassifier(),
    "search": GridSearchCV(make_pipeline(StandardScaler(), SVC()), {"svc__C": [0.1, 1.0]}, cv=2),
}


@pytest.fixture(scope="module")
def plants() -> Any:
    rng = np.random.default_rng(8)
    x = rng.normal(size=(900, 3))
    words = np.array(["elm", "oak", "yew"])[(x @ [1.0, -1.0, 0.5] + rng.normal(size=900) > [[-0.5], [1.0]]).sum(axis=0)]
    return pa.table({"a": x[:, 0], "b": x[:, 1], "c": x[:, 2], "y": words, "tall": x[:, 0] + rng.normal(size=900) > 0})


@pytest.mark.parametrize("target", ["y", "tall"])
@pytest.mark.parametrize("name", list(CLASSIFIERS))
def test_the_model_is_asked_once_and_understood(
    local: Any, write_parquet: Any, plants: Any, name: str, target: str
) -> None:
    if name == "threshold" and target == "y":
        pytest.skip("A threshold is for two classes.")
    folder = write_parquet(plants)
    frame = pqy.open_dataset(folder).to_pandas()
    x, y = frame[["a", "b", "c"]], frame[target].to_numpy()
    model = make_pipeline(StandardScaler(), clone(CLASSIFIERS[name])).fit(x, y)
    found = pqy.evaluate(model, folder, target=target, engine=local)
    assert_close(found, expected_of_labels(y, model.predict(x), None))
    if hasattr(model, "predict_proba"):
        shares = model.predict_proba(x)
        rest = {"multi_class": "ovr"} if target == "y" else {}
        expected = {
            "log_loss": metrics.log_loss(y, shares),
            "brier": metrics.brier_score_loss(y, shares),
            "roc_auc": metrics.roc_auc_score(y, shares if target == "y" else shares[:, 1], **rest),
        }
        assert_close(found, expected, 1e-9)
    elif name == "pairs" and target == "y":
        assert "roc_auc" not in found, "these are scores of pairs of classes"
    else:
        assert 0.5 < found["roc_auc"] <= 1.0


@pytest.mark.parametrize("name", ["tree", "forest", "bagging", "histograms", "boosting", "calibrated", "logistic"])
def test_rows_go_through_the_model_once(
    local: Any, write_parquet: Any, plants: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Its ``predict`` is not needed beside the scores, and its scaler sees every row once."""
    folder = write_parquet(plants)
    frame = pqy.open_dataset(folder).to_pandas()
    model = make_pipeline(StandardScaler(), clone(CLASSIFIERS[name])).fit(frame[["a", "b", "c"]], frame["y"])
    expected = expected_of_labels(frame["y"], model.predict(frame[["a", "b", "c"]]), None)
    rows = []
    scale = StandardScaler.transform

    kind = type(model[-1])
    predict = kind.predict

    def refuse(self: Any, X: Any) -> Any:
        assert len(X) == 2, "only the first rows are tried"
        return predict(self, X)

    def counted(self: Any, X: Any, copy: Any = None) -> Any:
        rows.append(len(X))
        return scale(self, X, copy)

    with monkeypatch.context() as patch:
        patch.setattr(StandardScaler, "transform", counted)
        if name != "logistic":  # whose predict reads decision_function, as is done here
            patch.setattr(kind, "predict", refuse)
        found = pqy.evaluate(model, folder, target="y", engine=local)
    assert sum(n for n in rows if n > 2) == len(frame)
    assert_close(found, expected)


def test_several_targets(local: Any, write_parquet: Any, plants: Any) -> None:
    """Each is scored by itself; the scalars are averaged."""
    folder = write_parquet(plants)
    frame = pqy.open_dataset(folder).to_pandas()
    x, targets = frame[["a", "b", "c"]], ["y", "tall"]
    model = RandomForestClassifier(5, max_depth=4, random_state=0)
    model.fit(x, frame[targets].astype(str))
    words = write_parquet(pa.table({**{n: plants[n] for n in "abcy"}, "tall": frame["tall"].astype(str)}), "words")
    found = pqy.evaluate(model, words, target=targets, engine=local)
    guess, shares = model.predict(x), model.predict_proba(x)
    for i, target in enumerate(targets):
        truth = frame[target].astype(str)
        assert_close(found["per_output"][target], expected_of_labels(truth, guess[:, i], None))
        assert found["per_output"][target]["log_loss"] == pytest.approx(metrics.log_loss(truth, shares[i]), rel=1e-9)
    for name in ("accuracy", "log_loss", "roc_auc", "mcc"):
        assert found[name] == pytest.approx(np.mean([found["per_output"][t][name] for t in targets]))
    assert "confusion_matrix" not in found
    with pytest.raises(BadParameter, match="predicts 2 targets; target= names 1"):
        pqy.evaluate(model, words, target="y", engine=local)
    with pytest.raises(BadParameter, match="predicts 1 target; target= names 2"):
        pqy.evaluate(GaussianNB().fit(x, frame["y"]), words, target=targets, engine=local)


def test_one_class(local: Any, write_parquet: Any) -> None:
    """A model that knows one class only is right, and tells nothing."""
    folder = write_parquet(pa.table({"x": np.arange(300.0), "y": ["a"] * 300}))
    model = DecisionTreeClassifier().fit(pd.DataFrame({"x": [1.0, 2.0]}), ["a", "a"])
    found = pqy.evaluate(model, folder, target="y", engine=local)
    assert (found["accuracy"], found["brier"], found["mcc"], found["cohen_kappa"]) == (1.0, 0.0, 0.0, None)
    assert "roc_auc" not in found


def test_a_model_of_other_columns_is_refused_before_any_work(local: Any, write_parquet: Any, plants: Any) -> None:
    model = GaussianNB().fit(np.zeros((3, 2)), [0, 1, 1])
    with pytest.raises(BadParameter, match=r"GaussianNB does not take the columns \['a', 'b', 'c'\]"):
        pqy.evaluate(model, write_parquet(plants), target="tall", features=["a", "b", "c"], engine=local)


def test_many_classes_are_taken_in_pieces(local: Any, write_parquet: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ranked, no matrix is kept, and all else is the same."""
    y, classes, shares = case("five")
    folder = write_parquet(table(y, shares), files=1, row_group_size=10_000)
    whole = score(GivenProbabilities(classes), folder, local)
    monkeypatch.setattr(classification, "MOST_RANKED", 4)
    monkeypatch.setattr(classification, "MOST_CONFUSED", 4)
    monkeypatch.setattr(answers, "_VALUES_AT_ONCE", 5)
    found = score(GivenProbabilities(classes), folder, local)
    assert found.pop("confusion_matrix") is None
    assert not any(name.startswith(("roc", "average", "calib")) for name in found)
    for name, value in found.items():
        if isinstance(value, float):
            assert value == pytest.approx(whole[name], rel=1e-13), name
    assert found["top_3_accuracy"] == whole["top_3_accuracy"]


def test_curves_keep_their_shape_when_they_are_thinned(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(9)
    y = rng.integers(0, 2, 40_000)
    p = 1 / (1 + np.exp(-(rng.normal(size=len(y)) + y)))
    folder = write_parquet(table(y, np.column_stack([1 - p, p])), row_group_size=5_000)
    found = score(GivenProbabilities(np.array([0, 1])), folder, local)
    roc, curve = found["roc_curve"], found["precision_recall_curve"]
    assert 500 < len(roc["fpr"]) <= 1000
    assert 500 < len(curve["recall"]) <= 1000
    fpr, tpr, _ = metrics.roc_curve(y, p)
    assert np.abs(np.interp(fpr, roc["fpr"], roc["tpr"]) - tpr).max() < 0.004
    precision, recall, _ = metrics.precision_recall_curve(y, p)
    inner = recall > 0.02  # before that precision jumps from row to row
    ours = np.interp(recall[inner], curve["recall"][::-1], curve["precision"][::-1])
    assert np.abs(ours - precision[inner]).max() < 0.01
    assert metrics.auc(roc["fpr"], roc["tpr"]) == pytest.approx(found["roc_auc"], abs=1e-4)


# --- every engine ---------------------------------------------------------------------------
def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, few_cells: None
) -> None:
    """Two passes over cells; weights; and the five classes' own road."""
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    cases = []
    for kind, weighted in (("balanced", "none"), ("five", "real")):
        y, classes, shares = case(kind)
        folder = write_parquet(table(y, shares, weights_of(weighted)), kind, row_group_size=70)
        cases.append((GivenProbabilities(classes), folder, weighted != "none"))
    ours, dask, spark = (
        [json.dumps(score(model, folder, engine, weighted=weighted)) for model, folder, weighted in cases]
        for engine in (local, dask_engine, spark_engine)
    )
    assert json.loads(ours[0])["roc_auc_error"] > 0
    assert dask == ours
    assert spark == ours
