"""Texts taken apart into terms: by array operations where a vectorizer's settings allow it.

scikit-learn's usual analyzer finds the longest runs of word characters. A batch of texts is one
buffer of bytes, and its runs are found by comparing neighbors, all texts at once and without
Python's lock. Every other analyzer is scikit-learn's own, called on one text after another.
"""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfVectorizer

from parquetry.features.texts import Mask

IntArray = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]
Terms = Any
"""Distinct terms: a LargeStringArray, or a list where an analyzer gives anything but text."""

CHUNK_BYTES = 2**20
"""Texts are taken apart in chunks of about this size: the arrays in between are a few times larger."""

_CHUNKS_AT_ONCE = 16

KINDS = (CountVectorizer, HashingVectorizer, TfidfVectorizer)
_RUNS = re.compile(r"(?:\(\?u\))?(\\b)?(?:(\\w)?\\w\+|\\w\{(\d+),\})(\\b)?")
_BETWEEN = "\x1e"  # neither a letter nor what a letter's lower case depends on
_CODE_POINTS = 0x110000


# --- terms ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Tokens:
    """The terms of some texts, in the order of the texts.

    Attributes
    ----------
    count : int
        How many texts there are.
    rows : ndarray of int32, shape (n_tokens,)
        The text of each token.
    codes : ndarray of int32, shape (n_tokens,)
        The token's position in ``terms``.
    terms : LargeStringArray or list
        Distinct.
    """

    count: int
    rows: Numbers
    codes: Numbers
    terms: Terms

    def pairs(self, width: int) -> IntArray:
        """``row * width + code`` of each token, sorted: the tokens of a row together, and equal ones."""
        pairs = self.rows.astype(np.int64) * width
        pairs += self.codes
        pairs.sort()
        return pairs


@dataclass(frozen=True)
class Words:
    """What scikit-learn's own word analyzer does, where array operations can do the same.

    Parameters
    ----------
    least : int
        Characters of the shortest token.
    lowercase : bool
    accents : {"ascii", "unicode"} or None
    stop_words : frozenset or None
    ngrams : tuple of int
        Shortest and longest n-gram.
    """

    least: int
    lowercase: bool
    accents: str | None
    stop_words: frozenset[str] | None
    ngrams: tuple[int, int]

    @classmethod
    def of(cls, vectorizer: Any) -> Words | None:
        """The settings of a vectorizer, or None where only scikit-learn's own code will do."""
        plain = (
            type(vectorizer) in KINDS
            and isinstance(vectorizer.analyzer, str)
            and vectorizer.analyzer == "word"
            and vectorizer.tokenizer is None
            and vectorizer.preprocessor is None
            and vectorizer.input == "content"
            and vectorizer.strip_accents in (None, "ascii", "unicode")
            and isinstance(vectorizer.token_pattern, str)
        )
        match = _RUNS.fullmatch(vectorizer.token_pattern) if plain else None
        if match is None or bool(match[1]) != bool(match[4]):
            return None
        low, high = vectorizer.ngram_range
        if not 1 <= low <= high:
            return None
        least = int(match[3]) if match[3] else 2 if match[2] else 1
        stop = vectorizer.get_stop_words()
        return cls(max(1, least), bool(vectorizer.lowercase), vectorizer.strip_accents, stop, (low, high))


def holds_gil(vectorizer: Any) -> bool:
    """Whether taking texts apart runs Python code a text, so that only processes do it at once."""
    return Words.of(vectorizer) is None


def chunks_of_tokens(vectorizer: Any, values: Any) -> Iterator[Tokens]:
    """The terms of texts, in chunks of about ``CHUNK_BYTES`` of text.

    Parameters
    ----------
    vectorizer : CountVectorizer, TfidfVectorizer or HashingVectorizer
    values : LargeStringArray or list
        As :func:`parquetry.features.texts.texts_of` gives them.
    """
    words = Words.of(vectorizer) if isinstance(values, pa.Array) else None
    if words is None:
        analyze = own_analyzer(vectorizer)
        texts = listed(values)
        for start, stop in _list_edges(texts):
            yield _analyzed(analyze, texts[start:stop])
        return
    offsets = _offsets(values)
    for start, stop in _edges(offsets):
        yield _word_tokens(words, values.slice(start, stop - start))


def with_columns(chunks: Iterator[Tokens], column_of: Mapping[Any, int]) -> Iterator[Tokens]:
    """Tokens with columns in the place of codes; those of terms that have none are left out.

    A term is looked up once for several chunks: it is in most of them.
    """
    while group := list(islice(chunks, _CHUNKS_AT_ONCE)):
        terms, codes = distinct([tokens.terms for tokens in group])
        columns = np.array(list(map(column_of.get, listed(terms), repeat(-1))), dtype=np.int32)[codes]
        start = 0
        for tokens in group:
            own = columns[start : start + len(tokens.terms)]
            start += len(tokens.terms)
            placed = own[tokens.codes]
            known = placed >= 0
            if known.all():
                yield Tokens(tokens.count, tokens.rows, placed, [])
            else:
                yield Tokens(tokens.count, tokens.rows[known], placed[known], [])


def distinct(parts: Sequence[Terms]) -> tuple[Terms, Numbers]:
    """The distinct terms of several lists, and where each list's terms are among them."""
    if all(isinstance(terms, pa.Array) for terms in parts):
        encoded = pa.concat_arrays([*parts, pa.array([], pa.large_string())]).dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False)
    place: dict[Any, int] = {}
    codes = [place.setdefault(t, len(place)) for terms in parts for t in listed(terms)]
    return as_terms(list(place)), np.array(codes, dtype=np.int32)


def listed(values: Any) -> list[Any]:
    """Terms or texts as a list."""
    return values if isinstance(values, list) else list(values.to_pylist())


def own_analyzer(vectorizer: Any) -> Callable[[Any], Sequence[Any]]:
    """scikit-learn's own analyzer; what it warns of has been said when the fit began."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        analyze: Callable[[Any], Sequence[Any]] = vectorizer.build_analyzer()
    return analyze


def as_terms(terms: list[Any]) -> Terms:
    """Terms as an Arrow array where all are plain text, else as they are."""
    if all(type(term) is str for term in terms):
        try:
            return pa.array(terms, pa.large_string())
        except (UnicodeEncodeError, pa.ArrowInvalid):
            return terms
    return terms


def _analyzed(analyze: Callable[[Any], Sequence[Any]], texts: list[Any]) -> Tokens:
    place: dict[Any, int] = {}
    known: dict[Any, list[int]] = {}
    codes: list[int] = []
    lengths = []
    for text in texts:
        repeatable = isinstance(text, (str, bytes))
        found = known.get(text) if repeatable else None
        if found is None:
            found = [place.setdefault(term, len(place)) for term in analyze(text)]
            if repeatable:
                known[text] = found
        codes.extend(found)
        lengths.append(len(found))
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), lengths)
    return Tokens(len(texts), rows, np.array(codes, dtype=np.int32), as_terms(list(place)))


def _list_edges(texts: list[Any]) -> Iterator[tuple[int, int]]:
    start, size = 0, 0
    for i, text in enumerate(texts):
        size += len(text) if isinstance(text, (str, bytes)) else CHUNK_BYTES // 256
        if size >= CHUNK_BYTES:
            yield start, i + 1
            start, size = i + 1, 0
    if start < len(texts):
        yield start, len(texts)


def _edges(offsets: IntArray) -> Iterator[tuple[int, int]]:
    start = 0
    while start < len(offsets) - 1:
        stop = int(np.searchsorted(offsets, offsets[start] + CHUNK_BYTES, side="left"))
        stop = min(max(stop, start + 1), len(offsets) - 1, start + CHUNK_BYTES)
        yield start, stop
        start = stop


# --- runs of word characters ----------------------------------------------------------------
def _word_tokens(words: Words, texts: pa.LargeStringArray) -> Tokens:
    offsets = _offsets(texts)
    content = _content(texts, offsets)
    if not len(content) or content.max() < 128:
        runs, starts = _ascii_runs(words, content, offsets - offsets[0])
        rows_of_runs = np.searchsorted(starts, offsets - offsets[0])
    else:
        runs, starts, bounds = _unicode_runs(words, texts.to_pylist())
        rows_of_runs = np.searchsorted(starts, bounds)
    encoded = runs.dictionary_encode()
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    rows = np.repeat(np.arange(len(texts), dtype=np.int32), np.diff(rows_of_runs))
    terms = encoded.dictionary
    if words.stop_words:
        rows, codes, terms = _without(words.stop_words, rows, codes, terms)
    return _with_ngrams(words.ngrams, Tokens(len(texts), rows, codes, terms))


def _ascii_runs(words: Words, content: Bytes, offsets: IntArray) -> tuple[Any, IntArray]:
    """The runs of each text, and where they start; one byte is one character."""
    inside = ((content | 32) - np.uint8(97)) < 26
    inside |= (content - np.uint8(48)) < 10
    inside |= content == 95
    bounds = _turns(inside)
    # A run must not go on from one text into the next.
    between = offsets[1:-1]
    between = between[(np.diff(between, prepend=0) > 0) & (between < len(content))]
    cut = between[inside[between - 1] & inside[between]]
    if len(cut):
        bounds = np.insert(bounds, np.repeat(np.searchsorted(bounds, cut), 2), np.repeat(cut, 2))
    if words.lowercase:
        content = content + (((content - np.uint8(65)) < 26).view(np.uint8) << 5)
    long = np.flatnonzero(bounds[1::2] - bounds[::2] >= words.least)
    return _pieces(content, bounds, long), bounds[::2][long]


def _unicode_runs(words: Words, texts: list[str]) -> tuple[Any, IntArray, IntArray]:
    """The runs, where they start, and where the texts start and end, in characters.

    All texts go through Python's own functions as one: the character between them is neither
    part of a word nor does the lower case of a letter or its decomposition depend on it.
    """
    whole = _BETWEEN.join(text.replace(_BETWEEN, " ") if _BETWEEN in text else text for text in texts)
    if words.lowercase:
        whole = whole.lower()
    points = _points(whole if words.accents is None else unicodedata.normalize("NFKD", whole))
    if words.accents == "ascii":
        points = points[points < 128]
    elif words.accents == "unicode":
        points = points[~_combining()[points]]
    bounds = _turns(word_characters()[points])
    long = np.flatnonzero(bounds[1::2] - bounds[::2] >= words.least)
    widths = 1 + (points >= 0x80).view(np.uint8) + (points >= 0x800).view(np.uint8) + (points >= 0x10000).view(np.uint8)
    in_bytes = np.zeros(len(points) + 1, dtype=np.int64)
    np.cumsum(widths, out=in_bytes[1:])
    content = np.frombuffer(points.tobytes().decode("utf-32-le").encode(), dtype=np.uint8)
    ends = np.flatnonzero(points == ord(_BETWEEN))
    edges = np.concatenate([[0], ends, [len(points)]])
    return _pieces(content, in_bytes[bounds], long), bounds[::2][long], edges


def _turns(inside: Mask) -> IntArray:
    """Where runs of true values start and end, in turn."""
    turn = np.zeros(len(inside) + 1, dtype=bool)
    if len(inside):
        turn[0], turn[-1] = inside[0], inside[-1]
        np.not_equal(inside[1:], inside[:-1], out=turn[1:-1])
    return np.flatnonzero(turn)


def _pieces(content: Bytes, bounds: IntArray, chosen: IntArray) -> Any:
    """Every second piece between the bounds is a run; those chosen, as an array of texts."""
    if not len(chosen):
        return pa.array([], pa.large_string())
    buffers = (pa.py_buffer(np.ascontiguousarray(bounds)), pa.py_buffer(np.ascontiguousarray(content)))
    pieces = pa.LargeStringArray.from_buffers(len(bounds) - 1, *buffers)
    return pieces.take(pa.array(chosen * 2))


def _without(stop_words: frozenset[str], rows: Numbers, codes: Numbers, terms: Terms) -> tuple[Numbers, Numbers, Terms]:
    stopped = np.asarray(pc.is_in(terms, value_set=pa.array(sorted(stop_words), pa.large_string())))
    kept = ~stopped[codes]
    new = (np.cumsum(~stopped) - 1).astype(np.int32)
    return rows[kept], new[codes[kept]], terms.filter(pa.array(~stopped))


def _with_ngrams(ngrams: tuple[int, int], tokens: Tokens) -> Tokens:
    """The tokens' n-grams: an n-gram is known by that of its first n - 1 words, and its last word."""
    low, high = ngrams
    if high == 1:
        return tokens
    rows, words, n_words = tokens.rows, tokens.codes, len(tokens.terms)
    found = [tokens] if low == 1 else []
    grams, terms = words, tokens.terms
    for n in range(2, high + 1):
        whole = rows[n - 1 :] == rows[: len(rows) - n + 1] if len(rows) >= n else np.zeros(0, dtype=bool)
        pairs = grams[: len(whole)].astype(np.int64) * n_words + words[n - 1 : n - 1 + len(whole)]
        encoded = pa.array(pairs).dictionary_encode()
        codes = encoded.indices.to_numpy(zero_copy_only=False)
        distinct = encoded.dictionary.to_numpy()
        first, last = pa.array(distinct // max(1, n_words)), pa.array(distinct % max(1, n_words))
        joined = pc.binary_join_element_wise(terms.take(first), tokens.terms.take(last), _space())
        if n >= low:
            found.append(_used(Tokens(tokens.count, rows[: len(whole)][whole], codes[whole], joined)))
        grams, terms = codes, joined
    return _concatenated(tokens.count, found)


def _used(tokens: Tokens) -> Tokens:
    """Without the terms that no text has: those across two texts."""
    seen = np.zeros(len(tokens.terms), dtype=bool)
    seen[tokens.codes] = True
    new = (np.cumsum(seen) - 1).astype(np.int32)
    return Tokens(tokens.count, tokens.rows, new[tokens.codes], tokens.terms.filter(pa.array(seen)))


def _concatenated(count: int, parts: list[Tokens]) -> Tokens:
    starts = np.cumsum([0, *(len(p.terms) for p in parts)], dtype=np.int32)
    return Tokens(
        count,
        np.concatenate([p.rows for p in parts]),
        np.concatenate([p.codes + start for p, start in zip(parts, starts, strict=False)]),
        pa.concat_arrays([p.terms for p in parts]),
    )


def _offsets(texts: pa.LargeStringArray) -> IntArray:
    if not len(texts):
        return np.zeros(1, dtype=np.int64)
    return np.frombuffer(texts.buffers()[1], dtype=np.int64)[texts.offset : texts.offset + len(texts) + 1]


def _content(texts: pa.LargeStringArray, offsets: IntArray) -> Bytes:
    buffer = texts.buffers()[2]
    if buffer is None:
        return np.zeros(0, dtype=np.uint8)
    return np.frombuffer(buffer, dtype=np.uint8)[offsets[0] : offsets[-1]]


def _points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)


def _space() -> pa.Scalar:
    return pa.scalar(" ", pa.large_string())


@cache
def word_characters() -> Mask:
    r"""Which code points ``\w`` takes in Python's regular expressions."""
    table = np.array([chr(c).isalnum() for c in range(_CODE_POINTS)], dtype=bool)
    table[ord("_")] = True
    return table


@cache
def _combining() -> Mask:
    """Which code points are combining characters."""
    return np.array([unicodedata.combining(chr(c)) != 0 for c in range(_CODE_POINTS)], dtype=bool)
