"""Text vectorizers against scikit-learn's own fit of the same rows, to the last bit."""

from __future__ import annotations

import itertools
import os
import string
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    NonFiniteValues,
    TooManyCategories,
    WrongColumnType,
)
from parquetry.features import terms, tokens
from parquetry.features.text import vectorized
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass
from parquetry.reduction import PassTask, Reduction
from parquetry.view import Columns

AWKWARD = [
    *("free", "FREE", "win", "Won", "£100", "café", "ΣΑΣ", "naïve", "İstanbul", "x", "a1", "_b", "ok", "the", "The"),
    *("你好世界", "don't", "e-mail", "straße", "STRASSE", "ﬁne", "Ὀδυσσεύς", "\x1e", "a\x1eb", "½", "²x", "a\nb", ""),
    *("Ⅷ", "ǅ", "K", "Å", "e\u0301te\u0301", "\u0345Σ", "a\u200db", "🙂ok", "\u0660\u0661", "na\u0131", "\x00y"),
]


def awkward(n: int = 400, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    ends = ["", "!", "a", "Σ", " ", "\u0301"]
    return [" ".join(rng.choice(AWKWARD, size=rng.integers(0, 9))) + str(rng.choice(ends)) for _ in range(n)]


def texts_table(texts: list[str]) -> pa.Table:
    rng = np.random.default_rng(1)
    n = len(texts)
    score = np.array([t.lower().count("free") - t.count("the") for t in texts]) + rng.normal(0, 0.3, n)
    return pa.table({"text": texts, "n": rng.normal(size=n), "label": score > 0, "y": score})


@pytest.fixture
def messages(write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(texts_table(awkward()), files=3, row_group_size=37)


def last_letters(text: str) -> list[str]:
    return [word[-1] for word in text.split()]


def pairs(text: str) -> list[tuple[str, str]]:
    words = text.split()
    return list(itertools.pairwise(words))


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "case kept": {"lowercase": False},
    "accents off": {"strip_accents": "unicode"},
    "ascii": {"strip_accents": "ascii", "ngram_range": (1, 2)},
    "stop words": {"stop_words": "english", "ngram_range": (1, 2)},
    "own stop words": {"stop_words": ["free", "café"]},
    "three words": {"ngram_range": (2, 3)},
    "single letters": {"token_pattern": r"(?u)\b\w+\b"},
    "long words": {"token_pattern": r"\w{4,}"},
    "own pattern": {"token_pattern": r"[a-z]+"},
    "a group": {"token_pattern": r"(\w)\w+"},
    "letters": {"analyzer": "char", "ngram_range": (1, 3)},
    "letters in words": {"analyzer": "char_wb", "ngram_range": (2, 4)},
    "own tokenizer": {"tokenizer": str.split, "token_pattern": None},
    "own preprocessor": {"preprocessor": str.swapcase},
    "own analyzer": {"analyzer": last_letters},
    "terms that are not text": {"analyzer": pairs},
    "rare left out": {"min_df": 9, "max_df": 0.3},
    "shares": {"min_df": 0.02, "max_df": 120},
    "most frequent": {"max_features": 9},
    "most frequent, binary": {"max_features": 9, "binary": True},
    "all": {"ngram_range": (1, 2), "min_df": 3, "max_df": 0.9, "max_features": 20, "dtype": np.float32},
    "vocabulary": {"vocabulary": ["win", "free", "ok"]},
    "vocabulary by number": {"vocabulary": {"win": 1, "free": 0}},
}


def both(vectorizer: Any, folder: Path, engine: Any, **settings: Any) -> tuple[Any, Any, pd.Series]:
    data = pqy.open_dataset(folder)
    texts = data.to_pandas()["text"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = pqy.fit(vectorizer, data, features=["text"], engine=engine, **settings)
        theirs = clone(vectorizer).fit(texts)
    return ours, theirs, texts


def same_sparse(ours: Any, theirs: Any) -> None:
    """Two CSR matrices have the same bits."""
    assert type(ours) is type(theirs)
    assert ours.shape == theirs.shape
    for name in ("data", "indices", "indptr"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert mine.dtype == other.dtype, name
        assert mine.tobytes() == other.tobytes(), name


def same_vectorizer(ours: Any, theirs: Any, texts: pd.Series) -> None:
    """The same vocabulary, the same attributes, and the same matrix by both roads."""
    assert ours.vocabulary_ == theirs.vocabulary_
    types = [{(type(t), type(i)) for t, i in v.vocabulary_.items()} for v in (ours, theirs)]
    assert types[0] == types[1]
    parity.assert_same_learned(ours, theirs)
    if hasattr(theirs, "_tfidf"):
        parity.assert_same(vars(ours._tfidf), vars(theirs._tfidf), "_tfidf") if not ours.use_idf else None
        assert ours._tfidf.n_features_in_ == theirs._tfidf.n_features_in_
        if ours.use_idf:
            assert ours.idf_.dtype == theirs.idf_.dtype
            assert ours.idf_.tobytes() == theirs.idf_.tobytes()
    expected = theirs.transform(texts)
    same_sparse(ours.transform(texts), expected)
    same_sparse(vectorized(ours, Columns(pa.table({"text": texts.tolist()}))), expected)


@pytest.mark.parametrize("kind", [CountVectorizer, TfidfVectorizer])
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_equals_scikit_learn(settings, kind, messages, local):
    ours, theirs, texts = both(kind(**settings), messages, local)
    same_vectorizer(ours, theirs, texts)
    known = "vocabulary" in settings and kind is CountVectorizer
    assert ours.fit_report_["passes"] == (0 if known else 1)


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "l1", "sublinear_tf": True},
        {"norm": None, "smooth_idf": False},
        {"use_idf": False},
        {"dtype": np.float32, "binary": True},
        {"vocabulary": ["win", "never", "ok"]},
    ],
    ids=str,
)
def test_weights_of_tfidf(settings, messages, local):
    same_vectorizer(*both(TfidfVectorizer(**settings), messages, local))


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"n_features": 16},
        {"n_features": 16, "binary": True, "norm": None},
        {"alternate_sign": False, "norm": "l1"},
        {"dtype": np.float32, "ngram_range": (1, 2)},
        {"analyzer": "char_wb", "ngram_range": (2, 3)},
    ],
    ids=str,
)
def test_hashing(settings, messages, local):
    ours, theirs, texts = both(HashingVectorizer(**settings), messages, local)
    assert ours.fit_report_["passes"] == 0
    same_sparse(vectorized(ours, Columns(pa.table({"text": texts.tolist()}))), theirs.transform(texts))


def random_texts(seed: int) -> list[str]:
    """Texts of characters from all over Unicode, and of those that break words or change with case."""
    rng = np.random.default_rng(seed)
    odd = "Σσςİıſßǅﬁ\u0345\u0301\u200d\u00ad'\u2019_-\x1e\x1f\n\t \x00" + string.ascii_letters + string.digits
    out = []
    for _ in range(300):
        anywhere = [chr(c) for c in rng.integers(1, 0x2FFFF, rng.integers(0, 12)) if not 0xD800 <= c < 0xE000]
        mixed = [*anywhere, *rng.choice(list(odd), rng.integers(0, 25))]
        out.append("".join(rng.permutation(np.array(mixed, dtype=object)))) if mixed else out.append("")
    return out


@pytest.mark.parametrize(
    "settings", [SETTINGS[k] for k in ("plain", "accents off", "ascii", "three words", "single letters", "long words")]
)
def test_every_text_gives_the_tokens_of_its_analyzer(settings, monkeypatch):
    """Whatever the characters, and wherever a chunk ends."""
    vectorizer = CountVectorizer(**settings)
    assert tokens.Words.of(vectorizer) is not None
    analyze = vectorizer.build_analyzer()
    for seed, chunk in ((0, 2**20), (1, 50), (2, 1)):
        monkeypatch.setattr(tokens, "CHUNK_BYTES", chunk)
        texts = random_texts(seed)
        found: list[list[str]] = []
        for part in tokens.chunks_of_tokens(vectorizer, pa.array(texts, pa.large_string())):
            named = [part.terms[c].as_py() for c in part.codes.tolist()]
            by_row: list[list[str]] = [[] for _ in range(part.count)]
            for row, term in zip(part.rows.tolist(), named, strict=True):
                by_row[row].append(term)
            assert len(set(part.terms.to_pylist())) == len(part.terms)
            assert set(named) == set(part.terms.to_pylist())
            found += by_row
        assert list(map(sorted, found)) == [sorted(analyze(text)) for text in texts]


@pytest.mark.parametrize("seed", range(6))
def test_ties_at_max_features_are_broken_as_scikit_learn_breaks_them(seed, write_parquet, local):
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(list("abcde"), 3)) for _ in range(200)]
    texts = [" ".join(rng.choice(words, 4)) for _ in range(150)]
    folder = write_parquet(pa.table({"text": texts}), files=2, row_group_size=11)
    for settings in ({"max_features": 40}, {"max_features": 40, "dtype": np.float32, "binary": True}):
        ours, theirs, _ = both(CountVectorizer(**settings), folder, local)
        assert ours.vocabulary_ == theirs.vocabulary_


# --- memory ---------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "limit"),
    [({}, 300), ({"max_features": 15}, 400), ({"ngram_range": (1, 2), "min_df": 4}, 6000), ({"analyzer": pairs}, 9000)],
    ids=str,
)
def test_terms_beyond_the_bound_take_more_passes_and_give_the_same(settings, limit, messages, local, monkeypatch):
    monkeypatch.setattr(terms, "STATE_BYTES", limit)
    ours, theirs, texts = both(TfidfVectorizer(**settings), messages, local)
    same_vectorizer(ours, theirs, texts)
    assert ours.fit_report_["passes"] in (2, 4, 8, 16, 32)
    assert f"{ours.fit_report_['passes']} passes" in ours.fit_report_["steps"][0]["why"]


def test_states_stay_within_their_bound(messages, monkeypatch):
    monkeypatch.setattr(terms, "_LOOSE", 10)
    view = make_view(messages, target=None, features=["text"])
    reduction = terms.TermReduction(CountVectorizer(ngram_range=(1, 2)), "text", occurrences=True, limit=4000)
    state, sizes = None, []
    for batch in view.head_batches(50):
        part = reduction.partial(batch)
        state = part if state is None else reduction.merge(state, part)
        sizes.append(sum(p.nbytes for p in state.parts))
    assert max(sizes) <= 4000
    assert state.bits > 0


def test_the_least_frequent_are_given_up_before_memory_is(write_parquet, local, monkeypatch):
    rng = np.random.default_rng(0)
    texts = [" ".join([*(f"word{i}" for i in range(1, 6) if rng.random() < 1 / i), f"rare{k}"]) for k in range(900)]
    folder = write_parquet(pa.table({"text": texts}), row_group_size=90)
    monkeypatch.setattr(terms, "STATE_BYTES", 4000)
    with pytest.warns(UserWarning, match="the first in order were kept"):
        ours = pqy.fit(CountVectorizer(max_features=7), folder, features=["text"], engine=local, memory=10_000)
    kept = sorted(ours.vocabulary_)
    assert kept[2:] == [f"word{i}" for i in range(1, 6)]
    assert kept[:2] == sorted(f"rare{k}" for k in range(900))[:2]
    assert "the first in order were kept" in ours.fit_report_["steps"][0]["why"]
    with pytest.raises(TooManyCategories, match="terms takes") as caught:
        pqy.fit(CountVectorizer(), folder, features=["text"], engine=local, memory=10_000)
    assert "HashingVectorizer" in caught.value.fix


def test_too_many_terms_for_any_number_of_passes(messages, local, monkeypatch):
    monkeypatch.setattr(terms, "STATE_BYTES", 20)
    with pytest.raises(TooManyCategories, match="distinct terms") as caught:
        pqy.fit(CountVectorizer(ngram_range=(1, 3)), messages, features=["text"], engine=local)
    assert "memory=" in caught.value.fix


def test_a_hash_is_the_same_beside_text_and_beside_other_terms():
    words = ["", "a", "b", "ab", "ba", "é", "a" * 5000]
    plain = terms._hashes(pa.array(words, pa.large_string()))
    assert plain.tolist() == terms._hashes([*words, ("a", "b")])[:-1].tolist()
    assert len(set(plain.tolist())) == len(words)
    assert terms._hashes(pa.array(["x", *words], pa.large_string()).slice(1)).tolist() == plain.tolist()


# --- in pipelines ---------------------------------------------------------------------------
def filled(texts: pd.Series) -> pd.Series:
    return texts.fillna("nothing")


def reversed_text(texts: pd.Series) -> pd.Series:
    return texts.str.slice(step=-1)


WORDS = {"token_pattern": r"(?u)\b\w+\b"}


SOLVED = Ridge(solver="sparse_cg", tol=1e-13)


def by_column(*branches: tuple[Any, ...], **settings: Any) -> Any:
    return make_pipeline(ColumnTransformer(list(branches), **settings), SOLVED)


SCALED = ("n", StandardScaler(), ["n"])
BACKWARDS = make_pipeline(FunctionTransformer(reversed_text), CountVectorizer())
UNION = FeatureUnion([("w", TfidfVectorizer()), ("h", HashingVectorizer(n_features=8))])
WEIGHTS = {"transformer_weights": {"t": 0.5, "n": 3.0}}
PIPELINES = {
    "first step": (make_pipeline(TfidfVectorizer(), SOLVED), ["text"]),
    "two steps": (make_pipeline(CountVectorizer(**WORDS), TfidfTransformer(sublinear_tf=True), SOLVED), ["text"]),
    "hashed": (make_pipeline(HashingVectorizer(n_features=64), TfidfTransformer(), SOLVED), ["text"]),
    "union": (make_pipeline(UNION, SOLVED), ["text"]),
    "by name": (by_column(("t", TfidfVectorizer(), "text"), SCALED), ["text", "n"]),
    "by position": (by_column(("t", CountVectorizer(max_features=5), 1), remainder="passthrough"), ["n", "text"]),
    "through a function": (by_column(("t", BACKWARDS, "text")), ["text", "n"]),
    "weighted": (by_column(("t", TfidfVectorizer(), "text"), SCALED, sparse_threshold=0.0, **WEIGHTS), ["text", "n"]),
    "weighted, sparse": (by_column(("t", TfidfVectorizer(), "text"), SCALED, **WEIGHTS), ["text", "n"]),
}


@pytest.mark.parametrize("name", PIPELINES)
def test_pipelines_fit_predict_and_score_as_scikit_learn_does(name, messages, local, tmp_path):
    pipeline, features = PIPELINES[name]
    data = pqy.open_dataset(messages)
    frame = data.to_pandas()
    x = frame["text"] if features == ["text"] else frame[features]
    ours = pqy.fit(pipeline, data, target="y", features=features, engine=local)
    theirs = clone(pipeline).fit(x, frame["y"])
    expected = theirs.predict(x)
    np.testing.assert_allclose(ours.predict(x), expected, rtol=1e-6, atol=1e-7)
    written = pqy.predict(ours, data, to=tmp_path / "out", engine=local).to_pandas()["prediction"]
    np.testing.assert_allclose(written, expected, rtol=1e-6, atol=1e-7)
    scores = pqy.evaluate(ours, data, target="y", engine=local)
    assert scores["r2"] == pytest.approx(theirs.score(x, frame["y"]), abs=1e-7)


def test_a_search_that_has_no_fit_of_its_own_gets_texts(messages, local, tmp_path):
    search = GridSearchCV(make_pipeline(TfidfVectorizer(), RidgeClassifier()), {"ridgeclassifier__alpha": [0.1, 1.0]})
    data = pqy.open_dataset(messages)
    frame = data.to_pandas()
    ours = pqy.fit(search, data, target="label", features=["text"], engine=local)
    theirs = clone(search).fit(frame["text"], frame["label"])
    assert (ours.predict(frame["text"]) == theirs.predict(frame["text"])).all()
    assert pqy.evaluate(ours, data, target="label", engine=local)["accuracy"] == theirs.score(
        frame["text"], frame["label"]
    )


def test_a_class_of_ones_own_is_fitted_by_its_own_code(messages, local):
    class Doubled(CountVectorizer):
        def transform(self, raw_documents: Any) -> Any:
            return super().transform(raw_documents) * 2

    data = pqy.open_dataset(messages)
    texts = data.to_pandas()["text"]
    ours = pqy.fit(Doubled(), data, features=["text"], engine=local)
    assert ours.fit_report_["placement"] == "single-node"
    same_sparse(vectorized(ours, Columns(pa.table({"text": texts.tolist()}))), Doubled().fit(texts).transform(texts))


@pytest.mark.parametrize("kind", ["string", "large_string", "dictionary", "binary"])
def test_however_texts_are_stored(kind, write_parquet, local):
    texts = awkward(120)
    column = pa.array(texts)
    stored = {
        "string": column,
        "large_string": column.cast(pa.large_string()),
        "dictionary": column.dictionary_encode(),
        "binary": column.cast(pa.binary()),
    }[kind]
    folder = write_parquet(pa.table({"text": stored}), row_group_size=17)
    ours = pqy.fit(TfidfVectorizer(), folder, features=["text"], engine=local)
    theirs = TfidfVectorizer().fit([t.encode() for t in texts] if kind == "binary" else texts)
    assert ours.vocabulary_ == theirs.vocabulary_
    assert ours.idf_.tobytes() == theirs.idf_.tobytes()
    same_sparse(vectorized(ours, Columns(pa.table({"text": stored}))), theirs.transform(texts))


@pytest.mark.parametrize("layout", ["numbers", "narrow", "sparse"])
def test_tfidf_of_numbers(layout, write_parquet, local):
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.7, (300, 3)).astype(np.float32 if layout == "narrow" else np.int64)
    table = pa.table({name: counts[:, i] for i, name in enumerate("abc")} | {"text": awkward(300)})
    folder = write_parquet(table, row_group_size=40)
    if layout == "sparse":
        ours = pqy.fit(make_pipeline(CountVectorizer(), TfidfTransformer()), folder, features=["text"], engine=local)
        theirs = make_pipeline(CountVectorizer(), TfidfTransformer()).fit(table["text"].to_pylist())
        parity.assert_same_learned(ours[1], theirs[1])
        assert ours[1].idf_.tobytes() == theirs[1].idf_.tobytes()
        return
    ours, theirs, x = parity.fit_both(TfidfTransformer(), folder, local, features=["a", "b", "c"])
    parity.assert_same_learned(ours, theirs, rtol=0.0)
    parity.assert_same_output(ours, theirs, x)


def test_a_transform_is_written(messages, local, tmp_path):
    data = pqy.open_dataset(messages)
    model = pqy.fit(make_pipeline(CountVectorizer(max_features=6)), data, features=["text"], engine=local)
    written = pqy.predict(model, data, to=tmp_path / "out", method="transform", engine=local).to_pandas()
    assert list(written.columns) == model.get_feature_names_out().tolist()
    np.testing.assert_array_equal(written, model.transform(data.to_pandas()["text"]).toarray())


# --- engines and the cache ------------------------------------------------------------------
def test_the_same_bits_on_every_engine(messages, engine, local, tmp_path, monkeypatch):
    data = pqy.open_dataset(messages)
    letters = ("l", CountVectorizer(analyzer=pairs), "text")
    pipeline = by_column(("w", TfidfVectorizer(ngram_range=(1, 2)), "text"), letters)
    models = [pqy.fit(pipeline, data, target="y", features=["text"], engine=e) for e in (local, engine)]
    words = [m[0].named_transformers_["w"] for m in models]
    assert words[0].vocabulary_ == words[1].vocabulary_
    assert words[0].idf_.tobytes() == words[1].idf_.tobytes()
    assert models[0][0].named_transformers_["l"].vocabulary_ == models[1][0].named_transformers_["l"].vocabulary_
    assert models[0][-1].coef_.tobytes() == models[1][-1].coef_.tobytes()
    written = [
        pqy.predict(m, data, to=tmp_path / str(i), engine=e).to_pandas()["prediction"].to_numpy()
        for i, (m, e) in enumerate(zip(models, (local, engine), strict=True))
    ]
    assert written[0].tobytes() == written[1].tobytes()


def process_of(_: str) -> list[str]:
    return [f"process{os.getpid()}"]


def test_python_tokenizers_run_in_processes_and_the_usual_one_in_threads(write_parquet, monkeypatch):
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 100)
    folder = write_parquet(pa.table({"text": awkward(400)}), files=4, row_group_size=25)
    with pqy.open_engine("local", workers=2) as engine:
        ours = pqy.fit(CountVectorizer(analyzer=process_of), folder, features=["text"], engine=engine)
    assert f"process{os.getpid()}" not in ours.vocabulary_
    view = make_view(folder, target=None, features=["text"])
    usual, own = TfidfVectorizer(), TfidfVectorizer(analyzer=process_of)

    def held(view: Any) -> bool:
        work = Pass(parity_reduction(), view)
        return PassTask(None, ((work.reduction, work.view),)).holds_gil

    for vectorizer in (usual, own):
        vectorizer.fit(["word"])
    assert not held(view.through(usual))
    assert held(view.through(own))
    assert held(view.through(ColumnTransformer([("t", own, 0)]).fit(np.array([["word"]], dtype=object))))
    assert PassTask(None, ((terms.TermReduction(own, "text", occurrences=False, limit=1),) + (view,),)).holds_gil  # noqa: RUF005


def test_predict_tells_the_engine_whether_it_runs_python_code(messages, local, tmp_path):
    asked: list[Any] = []
    run = local.map
    local.map = lambda task, items, label: (
        asked.append(getattr(task, "holds_gil", None)) or run(task, items, label=label)
    )
    for i, analyzer in enumerate(("word", last_letters)):
        pipeline = make_pipeline(CountVectorizer(analyzer=analyzer), SOLVED)
        model = pqy.fit(pipeline, messages, target="y", features=["text"], engine=local)
        asked.clear()
        pqy.predict(model, messages, to=tmp_path / str(i), engine=local)
        pqy.evaluate(model, messages, target="y", engine=local)
        assert set(asked) == {analyzer is last_letters}


def parity_reduction() -> Any:
    from parquetry.features.text import DocumentFrequencies

    return DocumentFrequencies("any", ("x0",))


def test_cached_blocks_are_sorted_and_narrow_and_found_again(write_parquet, local, monkeypatch):
    from parquetry import block_cache
    from parquetry.fitting import run_pass

    texts = awkward(500)
    folder = write_parquet(pa.table({"text": texts, "y": np.arange(500.0)}), files=2, row_group_size=60)
    union = FeatureUnion([("w", CountVectorizer()), ("l", CountVectorizer(analyzer=pairs))])

    def fitted_view() -> Any:
        fitted = pqy.fit(make_pipeline(union, TfidfTransformer()), folder, features=["text"], engine=local)
        return make_view(folder, target="y", features=["text"]).through(fitted[0]).cached()

    view = fitted_view()
    first = run_pass(local, [(Gathered(), view)], label="first")[0]
    again = fitted_view()
    assert again.cache_key == view.cache_key
    monkeypatch.setattr(block_cache, "CacheWriter", None)  # whatever is not found there fails now
    assert block_cache.is_kept(again.cache_key)
    second = run_pass(local, [(Gathered(), again)], label="second")[0]
    expected = FeatureUnion(union.transformer_list).fit_transform(texts).tocsr()
    for found in (first, second):
        assert {d for part in found for d in part[1]} == {"float64", "int32"}
        assert all(part[2] for part in found)
        whole = np.concatenate([part[0].toarray() for part in found])
        np.testing.assert_array_equal(whole, expected.toarray())


class Gathered(Reduction[list[Any], list[Any]]):
    """Every batch's matrix, its types, and whether it is sorted, in order."""

    label = "gathered"

    def partial(self, batch: Any) -> list[Any]:
        x = batch.matrix
        return [(x.copy(), {str(a.dtype) for a in (x.data, x.indices, x.indptr)}, bool(x.has_sorted_indices))]

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        return left + right

    def finish(self, state: list[Any]) -> list[Any]:
        return state


# --- bad input ------------------------------------------------------------------------------
@pytest.fixture
def gappy(write_parquet: Callable[..., Path]) -> Path:
    texts: list[str | None] = list(awkward(90))
    texts[37] = texts[80] = None
    table = pa.table({"text": pa.array(texts), "n": np.arange(90.0), "y": np.arange(90) % 2})
    return write_parquet(table, "gappy", files=2, row_group_size=10)


@pytest.mark.parametrize(
    "vectorizer",
    [
        CountVectorizer(),
        TfidfVectorizer(analyzer="char"),
        HashingVectorizer(),
        TfidfVectorizer(vocabulary=["a"]),
        CountVectorizer(vocabulary=["a"]),
    ],
    ids=str,
)
def test_missing_texts_are_refused_with_their_place(vectorizer, gappy, local):
    with pytest.raises(
        NonFiniteValues, match=r"column 'text' is missing, first in .*part-0.parquet, row group 3, row 7"
    ) as caught:
        pqy.fit(vectorizer, gappy, features=["text"], engine=local)
    assert "fillna" in caught.value.fix


def test_missing_texts_can_be_filled_first(gappy, local):
    data = pqy.open_dataset(gappy)
    branch = make_pipeline(FunctionTransformer(filled), CountVectorizer())
    ours = pqy.fit(ColumnTransformer([("t", branch, "text")]), data, features=["text", "n"], engine=local)
    assert "nothing" in ours.named_transformers_["t"][1].vocabulary_


def test_missing_texts_are_refused_in_predict_with_their_place(gappy, messages, local, tmp_path):
    model = pqy.fit(make_pipeline(CountVectorizer(), Ridge()), messages, target="y", features=["text"], engine=local)
    with pytest.raises(NonFiniteValues, match=r"row group 3, row 7"):
        pqy.predict(model, pqy.open_dataset(gappy), to=tmp_path / "out", engine=local)


@pytest.mark.parametrize(
    ("vectorizer", "features", "error", "message"),
    [
        (CountVectorizer(), ["text", "n"], BadParameter, r"gets the columns \['text', 'n'\]"),
        (TfidfVectorizer(), ["n"], WrongColumnType, "column 'n' is double, not text"),
        (CountVectorizer(stop_words=["win"], vocabulary=[]), ["text"], BadParameter, "empty vocabulary passed to fit"),
        (CountVectorizer(vocabulary=["a", "a"]), ["text"], BadParameter, "Duplicate term"),
        (CountVectorizer(ngram_range=(2, 1)), ["text"], BadParameter, "lower boundary larger"),
        (CountVectorizer(min_df=-1), ["text"], BadParameter, "min_df"),
        (CountVectorizer(token_pattern=r"(a)(b)"), ["text"], BadParameter, "More than 1 capturing group"),
        (CountVectorizer(token_pattern=r"zzz"), ["text"], DegenerateColumn, "empty vocabulary; perhaps"),
        (CountVectorizer(min_df=400), ["text"], BadParameter, "no terms remain"),
        (CountVectorizer(min_df=0.9, max_df=3), ["text"], BadParameter, "fewer|< documents than min_df"),
        (CountVectorizer(tokenizer=len, token_pattern=None), ["text"], BadParameter, "fails on the first texts"),
        (CountVectorizer(input="file"), ["text"], BadParameter, "input='file'"),
        (HashingVectorizer(n_features=0), ["text"], BadParameter, "n_features"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_is_wrong_is_said(vectorizer, features, error, message, messages, local):
    with pytest.raises(error, match=message):
        pqy.fit(vectorizer, messages, features=features, engine=local)


def test_a_list_where_a_name_is_due_and_a_name_where_a_list_is_due(messages, local):
    listed = ColumnTransformer([("words", make_pipeline(CountVectorizer(), TfidfTransformer()), ["text"])])
    with pytest.raises(BadParameter, match="gets the table of") as caught:
        pqy.fit(listed, messages, features=["text", "n"], engine=local)
    assert "'text'" in caught.value.fix
    alone = ColumnTransformer([("size", make_pipeline(StandardScaler()), "n")])
    with pytest.raises(BadParameter, match="gets the column 'n' alone") as caught:
        pqy.fit(alone, messages, features=["text", "n"], engine=local)
    assert "['n']" in caught.value.fix


def test_what_scikit_learn_warns_of(messages, local):
    with pytest.warns(UserWarning, match="stop_words may be inconsistent"):
        pqy.fit(CountVectorizer(stop_words=["don't"]), messages, features=["text"], engine=local)
    with pytest.warns(UserWarning, match="Upper case characters"):
        pqy.fit(CountVectorizer(vocabulary=["A"]), messages, features=["text"], engine=local)
    with pytest.warns(UserWarning, match="'dtype' should be used"):
        pqy.fit(TfidfVectorizer(dtype=np.int64), messages, features=["text"], engine=local)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_counts_that_are_not_finite(bad, write_parquet, local):
    values = np.ones(60)
    values[33] = bad
    folder = write_parquet(pa.table({"a": np.ones(60), "b": values}), row_group_size=10)
    with pytest.raises(NonFiniteValues, match=r"column 'b'.*row group 0, row 3"):
        pqy.fit(TfidfTransformer(), folder, features=["a", "b"], engine=local)
