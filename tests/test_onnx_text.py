"""Texts in ONNX: the graph says of every text what scikit-learn says, on a machine with any locale."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parquetry import artefact, onnx_text
from parquetry.agreement import agreement
from parquetry.errors import NotExportable
from parquetry.onnx_model import OnnxModel

WORDS = [
    "free",
    "Free",
    "FREE",
    "win",
    "naïve",
    "NAÏVE",
    "école",
    "École",
    "ÉCOLE",
    "ΣΑΣ",
    "σας",
    "Привет",
    "ПРИВЕТ",
    "x",
]
WORDS += ["£5", "don't", "日本", "a_b", "½", "win!", "", "Übung", "übung", "ÜBUNG", "straße", "ǅ"]


@pytest.fixture
def messages(write_parquet: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, rng.integers(0, 8))) for _ in range(300)]
    score = np.array([t.lower().count("free") + t.lower().count("école") for t in texts]) + rng.normal(0, 0.5, 300)
    label = np.where(score > 0.8, "spam", "ham")
    return write_parquet(pa.table({"text": texts, "n": rng.normal(size=300), "label": label}), row_group_size=70)


def model_of(step: Any, folder: Path, engine: Any, features: list[str]) -> Any:
    pipeline = make_pipeline(step, LogisticRegression(C=30))
    return pqy.fit(pipeline, folder, target="label", features=features, engine=engine)


SETTINGS: dict[str, Any] = {
    "tf-idf": TfidfVectorizer(),
    "counts": CountVectorizer(),
    "binary": CountVectorizer(binary=True, max_features=12),
    "pairs": TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
    "pairs only": CountVectorizer(ngram_range=(2, 2)),
    "three, all letters": TfidfVectorizer(ngram_range=(1, 3), token_pattern=r"(?u)\b\w+\b", norm="l1"),
    "case kept": TfidfVectorizer(lowercase=False, norm=None, smooth_idf=False),
    "stop words": TfidfVectorizer(stop_words="english", use_idf=False),
    "union": FeatureUnion([("one", TfidfVectorizer()), ("two", CountVectorizer(ngram_range=(2, 2), max_features=30))]),
    "two steps": make_pipeline(CountVectorizer(), TfidfTransformer(sublinear_tf=True)),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_every_text_agrees(name, messages, local, tmp_path):
    model = model_of(SETTINGS[name], messages, local, ["text"])
    found = agreement(pqy.save(model, tmp_path / "model"), messages, model=model, engine=local)
    assert (found["rows"], found["disagreements"]) == (300, 0)
    assert found["max_absolute"] < 1e-5


def test_texts_beside_numbers_agree(messages, local, tmp_path):
    columns = ColumnTransformer([("t", TfidfVectorizer(), "text"), ("n", StandardScaler(), ["n"])])
    model = model_of(columns, messages, local, ["n", "text"])
    found = agreement(pqy.save(model, tmp_path / "model"), messages, engine=local)
    assert found["disagreements"] == 0
    assert found["max_absolute"] < 1e-5


def test_nothing_in_the_graph_depends_on_the_machine(messages, local, tmp_path):
    pqy.save(model_of(TfidfVectorizer(), messages, local, ["text"]), tmp_path / "model")
    graph = onnx.load(tmp_path / "model" / "model.onnx").graph
    locales = [a.s for node in graph.node for a in node.attribute if a.name == "locale"]
    assert locales == [b"C"]


def test_a_graph_is_given_few_rows_at_once(messages, local, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_text, "_RUN_BYTES", 12 * 20 * 7)
    model = model_of(CountVectorizer(vocabulary=[f"w{i}" for i in range(19)] + ["free"]), messages, local, ["text"])
    onnx_model = OnnxModel(artefact.onnx_bytes(pqy.save(model, tmp_path / "model")))
    asked: list[int] = []
    run = onnx_model._session.run
    counted = type(
        "Session", (), {"run": lambda _, names, feeds: asked.append(len(feeds["text"])) or run(names, feeds)}
    )
    onnx_model._session = counted()
    texts = pqy.open_dataset(messages).to_pandas()["text"]
    found = onnx_model.predict({"text": texts.tolist()})
    assert asked == [7] * 42 + [6]
    assert (found == model.predict(texts)).all()


@pytest.mark.parametrize("positive", ["spam", "ham"])
@pytest.mark.parametrize("threshold", [0.07, 0.9, "auto"])
def test_a_threshold_is_part_of_the_model(positive, threshold, messages, local, tmp_path):
    usual = model_of(TfidfVectorizer(), messages, local, ["text"])
    fixed = FixedThresholdClassifier(FrozenEstimator(usual), threshold=threshold, pos_label=positive)
    model = pqy.fit(fixed, messages, target="label", features=["text"], engine=local)
    texts = pqy.open_dataset(messages).to_pandas()["text"]
    saved = pqy.save(model, tmp_path / "model")
    assert (artefact.load_onnx(saved).predict({"text": texts}) == model.predict(texts)).all()
    if threshold != "auto":
        assert (model.predict(texts) != usual.predict(texts)).any()
    found = agreement(saved, messages, engine=local)
    assert found["disagreements"] == 0
    loaded = pqy.load(saved)
    assert (loaded.predict(texts) == model.predict(texts)).all()
    assert artefact.read_card(saved)["untrusted_types"] == []


def test_a_threshold_that_the_graph_does_not_have_shows(messages, local, tmp_path):
    usual = model_of(TfidfVectorizer(), messages, local, ["text"])
    fixed = FixedThresholdClassifier(FrozenEstimator(usual), threshold=0.9, pos_label="spam")
    model = pqy.fit(fixed, messages, target="label", features=["text"], engine=local)
    found = agreement(pqy.save(usual, tmp_path / "model"), messages, model=model, engine=local)
    texts = pqy.open_dataset(messages).to_pandas()["text"]
    assert found["disagreements"] == (model.predict(texts) != usual.predict(texts)).sum()


@pytest.mark.parametrize("labels", [[0, 1], [-1, 1], [False, True]], ids=str)
def test_a_threshold_between_labels_that_are_no_text(labels, messages, local, tmp_path, write_parquet):
    rows = pqy.open_dataset(messages).to_pandas()
    rows["label"] = np.where(rows["label"] == "spam", labels[1], labels[0])
    folder = write_parquet(rows, "numbered")
    usual = model_of(CountVectorizer(), folder, local, ["text"])
    fixed = FixedThresholdClassifier(FrozenEstimator(usual), threshold=0.8)
    model = pqy.fit(fixed, folder, target="label", features=["text"], engine=local)
    saved = pqy.save(model, tmp_path / "model")
    found = artefact.load_onnx(saved).predict({"text": rows["text"]})
    assert found.tolist() == model.predict(rows["text"]).tolist()
    assert agreement(saved, folder, engine=local)["disagreements"] == 0


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (TfidfVectorizer(analyzer="char"), "more than runs of word characters"),
        (CountVectorizer(tokenizer=str.split, token_pattern=None), "more than runs of word characters"),
        (CountVectorizer(token_pattern=r"[a-z]+"), "more than runs of word characters"),
        (CountVectorizer(strip_accents="unicode"), "cannot strip accents"),
        (CountVectorizer(stop_words="english", ngram_range=(1, 2)), "stop words within n-grams"),
        (HashingVectorizer(n_features=32), "no converter for HashingVectorizer"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_has_no_form_is_named(step, message, messages, local, tmp_path):
    model = model_of(step, messages, local, ["text"])
    with pytest.raises(NotExportable, match=message) as caught:
        pqy.save(model, tmp_path / "model")
    assert type(step).__name__ in caught.value.fact
    assert not (tmp_path / "model").exists()


def test_a_threshold_of_scores_has_no_form(messages, local, tmp_path):
    usual = model_of(CountVectorizer(), messages, local, ["text"])
    fixed = FixedThresholdClassifier(
        FrozenEstimator(usual), threshold=1.0, pos_label="spam", response_method="decision_function"
    )
    model = pqy.fit(fixed, messages, target="label", features=["text"], engine=local)
    with pytest.raises(NotExportable, match="decision_function"):
        pqy.save(model, tmp_path / "model")
