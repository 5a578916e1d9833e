"""Converters for text vectorizers: counts of words and n-grams, and their tf-idf weights.

What a graph can do with texts is little: lower the case of ASCII letters alike on every machine
(more than that depends on the locales that are installed), find runs of characters, and count
what is in a list. Words of other letters therefore stand in the list in each of their cases.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer, TfidfVectorizer

from parquetry.features.tokens import Words
from parquetry.onnx_graph import Graph, UnsupportedStepError, input_width, rows_of

if TYPE_CHECKING:
    from onnx import ModelProto

_ROW_BYTES = 3 * 4  # a term in each row while a graph runs: dense counts, weights and a copy of them
_RUN_BYTES = 64 * 2**20

_MOST_CASES = 64
_WAY_OUT = "Use analyzer='word' with a token_pattern as r'\\b\\w\\w+\\b', or save with onnx='skip'."


def vectorizer_shape(operator: Any) -> None:
    """Shape: one float column a term."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), len(operator.raw_operator.vocabulary_)])


def transformer_shape(operator: Any) -> None:
    """Shape: as many columns as came in."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), input_width(operator)])


def rows_at_once(proto: ModelProto) -> int | None:
    """How many rows a graph should be given at once, since it holds dense counts; None for any number."""
    widths = [
        1 + max(attribute.ints)
        for node in proto.graph.node
        if node.op_type == "TfIdfVectorizer"
        for attribute in node.attribute
        if attribute.name == "ngram_indexes"
    ]
    return max(1, _RUN_BYTES // (_ROW_BYTES * sum(widths))) if widths else None


def convert_count_vectorizer(scope: Any, operator: Any, container: Any) -> None:
    """How often each term stands in the text."""
    graph = Graph(scope, operator, container)
    graph.give(_counts(graph, operator.raw_operator))


def convert_tfidf_vectorizer(scope: Any, operator: Any, container: Any) -> None:
    """The same, weighted."""
    graph, vectorizer = Graph(scope, operator, container), operator.raw_operator
    graph.give(_weighted(graph, _counts(graph, vectorizer), vectorizer._tfidf))


def convert_tfidf_transformer(scope: Any, operator: Any, container: Any) -> None:
    """Counts weighted by inverse document frequency, and rows brought to length one."""
    graph = Graph(scope, operator, container)
    graph.give(_weighted(graph, graph.inputs(), operator.raw_operator))


def _counts(graph: Graph, vectorizer: Any) -> str:
    words = _settings(vectorizer)
    texts = graph.node("Reshape", graph.inputs(), graph.constant(np.array([-1])))
    if words.lowercase:
        texts = graph.node("StringNormalizer", texts, case_change_action="LOWER", is_case_sensitive=0, locale="C")
    tokens = graph.node(
        "Tokenizer",
        texts,
        domain="com.microsoft",
        op_version=1,
        mark=0,
        mincharnum=1,
        pad_value=" ",
        tokenexp=f"[{_word_class()}]{{{words.least},}}",
    )
    by_length = _by_length(vectorizer, words)
    low, high = words.ngrams
    strings: list[str] = []
    columns: list[int] = []
    starts: list[int] = []
    for n in range(1, high + 1):
        starts.append(len(strings))
        for parts, column in by_length.get(n, ()):
            strings += parts
            columns.append(column)
    counts = graph.node(
        "TfIdfVectorizer",
        tokens,
        mode="TF",
        min_gram_length=low,
        max_gram_length=high,
        max_skip_count=0,
        pool_strings=strings,
        ngram_indexes=columns,
        ngram_counts=starts,
    )
    return graph.as_float(graph.node("Greater", counts, graph.constant(np.float32(0)))) if vectorizer.binary else counts


def _settings(vectorizer: Any) -> Words:
    """What the vectorizer does, where a graph can do the same."""
    words = Words.of(vectorizer)
    if words is None:
        raise UnsupportedStepError(vectorizer, "Its analyzer is more than runs of word characters.", _WAY_OUT)
    if words.accents is not None:
        raise UnsupportedStepError(vectorizer, "A graph cannot strip accents.", _WAY_OUT)
    if words.stop_words and words.ngrams[1] > 1:
        raise UnsupportedStepError(vectorizer, "A graph cannot leave out stop words within n-grams.", _WAY_OUT)
    if any(not isinstance(term, str) for term in vectorizer.vocabulary_):
        raise UnsupportedStepError(vectorizer, "Its vocabulary holds terms that are not text.", _WAY_OUT)
    return words


def _by_length(vectorizer: Any, words: Words) -> dict[int, list[tuple[tuple[str, ...], int]]]:
    """``(words, column)`` of every n-gram in every case that its text may have, by n."""
    found: dict[int, list[tuple[tuple[str, ...], int]]] = {}
    for term, column in sorted(vectorizer.vocabulary_.items(), key=lambda item: item[1]):
        parts = term.split(" ")
        cases = _cases(parts) if words.lowercase else [tuple(parts)]
        found.setdefault(len(parts), []).extend((case, int(column)) for case in cases)
    return found


def _cases(parts: list[str]) -> list[tuple[str, ...]]:
    """Every way to write some words that Python's ``lower`` takes for them, once ASCII letters are lowered."""
    if all(part.isascii() for part in parts):
        return [tuple(parts)]
    options = [_cases_of(part) for part in parts]
    if np.prod([len(o) for o in options]) > _MOST_CASES:
        options = [_usual_cases(part) for part in parts]
    return list(itertools.islice(itertools.product(*options), _MOST_CASES))


def _cases_of(word: str) -> list[str]:
    capitals = _capitals()
    # The capital of a final sigma is that of any other; which one it becomes depends on its place.
    letters = [tuple(dict.fromkeys((c, *capitals.get(c, ()), *capitals.get(c.upper().lower(), ())))) for c in word]
    if np.prod([len(options) for options in letters]) > _MOST_CASES:
        return _usual_cases(word)
    return [v for v in map("".join, itertools.product(*letters)) if v.lower() == word]


def _usual_cases(word: str) -> list[str]:
    """In small letters, with a capital in front, and in capitals."""
    first, rest = word[:1], word[1:]
    cases = [word, first.upper() + rest, first.title() + rest, word.upper()]
    return [v for v in dict.fromkeys(map(_lower_ascii, cases)) if v.lower() == word]


def _lower_ascii(word: str) -> str:
    return "".join(c.lower() if c.isascii() else c for c in word)


@cache
def _capitals() -> dict[str, list[str]]:
    """The capitals beyond ASCII of each letter that has one."""
    found: dict[str, list[str]] = {}
    for letter in map(chr, range(128, 0x110000)):
        if letter.lower() != letter:
            found.setdefault(letter.lower(), []).append(letter)
    return found


@cache
def _word_class() -> str:
    r"""The characters that ``\w`` takes in Python, as ranges of a regular expression."""
    return "".join(f"\\x{{{first:x}}}-\\x{{{last:x}}}" for first, last in _word_ranges())


def _word_ranges() -> Iterator[tuple[int, int]]:
    from parquetry.features.tokens import word_characters

    table = np.concatenate([[False], word_characters(), [False]])
    edges = np.flatnonzero(table[1:] != table[:-1])
    yield from zip(edges[::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


# --- weights --------------------------------------------------------------------------------
def _weighted(graph: Graph, counts: str, transformer: Any) -> str:
    """scikit-learn's order of operations: logarithm, inverse document frequency, norm."""
    zero, one = graph.constant(np.float32(0)), graph.constant(np.float32(1))
    weights = counts
    if transformer.sublinear_tf:
        there = graph.node("Greater", counts, zero)
        logarithm = graph.node("Log", graph.node("Where", there, counts, one))
        weights = graph.node("Where", there, graph.node("Add", logarithm, one), zero)
    if hasattr(transformer, "idf_"):
        weights = graph.node("Mul", weights, graph.constant(transformer.idf_.astype(np.float32)))
    if transformer.norm is None:
        return weights
    op = {"l1": "ReduceL1", "l2": "ReduceL2"}[transformer.norm]
    length = graph.node(op, weights, graph.constant(np.array([1])), keepdims=1)
    return graph.node("Div", weights, graph.node("Where", graph.node("Equal", length, zero), one, length))


CONVERTERS = {
    CountVectorizer: (vectorizer_shape, convert_count_vectorizer),
    TfidfVectorizer: (vectorizer_shape, convert_tfidf_vectorizer),
    TfidfTransformer: (transformer_shape, convert_tfidf_transformer),
}
"""Class → (shape calculator, converter), in the place of skl2onnx's own."""
