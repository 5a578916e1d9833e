"""Terms and how many texts have each: exact in one pass, or in several where memory asks for it.

A state that outgrows its bound gives up half of what it may hold: it keeps the terms whose hash
begins with one more zero bit. What a pass ends with is therefore complete for its share of the
hashes, and each other share takes one more pass.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.errors import BadParameter, TooManyCategories
from parquetry.features.texts import Mask, column_name, missing_at, missing_text, place_of, texts_of
from parquetry.features.tokens import IntArray, Terms, Tokens, chunks_of_tokens, distinct, holds_gil
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.positions import Position, earliest
from parquetry.reduction import FAN_IN, Reduction
from parquetry.rows import GOLDEN, finalized
from parquetry.view import Batch, View

STATE_BYTES = 64 * 2**20
"""Most bytes of terms and counts that a state holds, where memory allows as much."""

MOST_SHARES = 64
"""Most passes over the data for one vocabulary."""

_ENTRY_BYTES = 200  # of a Python dict's entry: the key, the number and the table's own
_LOOSE = 65_536  # terms that may wait before they are put together


@dataclass
class TermCounts:
    """Distinct terms with their counts.

    Attributes
    ----------
    terms : LargeStringArray or list
    documents : ndarray of int64
        How many texts have the term.
    occurrences : ndarray of int64, or None
        How often it stands in all texts together.
    """

    terms: Terms
    documents: IntArray
    occurrences: IntArray | None

    def __len__(self) -> int:
        return len(self.terms)

    @property
    def nbytes(self) -> int:
        """Bytes that it takes, about."""
        own = self.terms.nbytes if isinstance(self.terms, pa.Array) else 100 * len(self.terms)
        return int(own + 8 * len(self) * (1 if self.occurrences is None else 2))

    def keep(self, chosen: Mask) -> TermCounts:
        """These terms alone."""
        occurrences = None if self.occurrences is None else self.occurrences[chosen]
        return TermCounts(_filtered(self.terms, chosen), self.documents[chosen], occurrences)


@dataclass
class TermState:
    """The state of a :class:`TermReduction`.

    Attributes
    ----------
    parts : list of TermCounts
        A term may be in several of them until they are put together.
    bits : int
        Only terms whose hash begins with so many zero bits are held.
    missing_at : Position or None
        The first text that is null or NaN.
    """

    parts: list[TermCounts] = field(default_factory=list)
    bits: int = 0
    missing_at: Position | None = None

    @property
    def whole(self) -> TermCounts:
        """All terms, each once."""
        if len(self.parts) != 1:
            self.parts = [_united(self.parts)]
        return self.parts[0]


class TermReduction(Reduction[TermState, TermState]):
    """Counts the texts of every term.

    Parameters
    ----------
    vectorizer : CountVectorizer or TfidfVectorizer
    name : str
        The column's name, for errors.
    occurrences : bool
        Whether to count every occurrence, too.
    limit : int
        Most bytes of a state.
    share : tuple of int or None, default None
        ``(bits, number)``: only terms whose hash begins with this number of so many bits. None
        begins with all terms, and with fewer once the state is full.
    """

    label = "terms"

    def __init__(
        self, vectorizer: Any, name: str, *, occurrences: bool, limit: int, share: tuple[int, int] | None = None
    ) -> None:
        self.vectorizer, self.name = vectorizer, name
        self.occurrences, self.limit, self.share = occurrences, limit, share

    @property
    def holds_gil(self) -> bool:
        """Whether it is Python code that takes the texts apart."""
        return holds_gil(self.vectorizer)

    def partial(self, batch: Batch) -> TermState:
        texts = texts_of(batch.X, type(self.vectorizer).__name__)
        state = TermState(bits=self.share[0] if self.share else 0, missing_at=missing_at(batch, texts))
        for tokens in chunks_of_tokens(self.vectorizer, texts.values):
            counted = self._counted(tokens)
            if state.bits:
                counted = counted.keep(_share_of(counted.terms, state.bits) == (self.share[1] if self.share else 0))
            state.parts.append(counted)
            self._hold(state)
        return state

    def merge(self, left: TermState, right: TermState) -> TermState:
        for state in (left, right):
            _narrow(state, max(left.bits, right.bits))
        left.parts += right.parts
        left.missing_at = earliest([left.missing_at, right.missing_at])
        self._hold(left)
        return left

    def finish(self, state: TermState) -> TermState:
        if state.missing_at is not None:
            raise missing_text(type(self.vectorizer).__name__, self.name, place_of(state.missing_at))
        return state

    def _counted(self, tokens: Tokens) -> TermCounts:
        width = len(tokens.terms)
        pairs = tokens.pairs(max(1, width))
        first = np.ones(len(pairs), dtype=bool)
        np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
        documents = np.bincount(pairs[first] % max(1, width), minlength=width)
        occurrences = np.bincount(tokens.codes, minlength=width) if self.occurrences else None
        return TermCounts(tokens.terms, documents, occurrences)

    def _hold(self, state: TermState) -> None:
        """Put parts together now and then, and give up terms where there are too many."""
        if sum(map(len, state.parts[1:])) > max(_LOOSE, len(state.parts[0])):
            _ = state.whole
        while self.share is None and sum(p.nbytes for p in state.parts) > self.limit:
            if state.whole.nbytes > self.limit:
                if 2 ** (state.bits + 1) > MOST_SHARES:
                    raise TooManyCategories(
                        f"{type(self.vectorizer).__name__} finds more than about "
                        f"{len(state.whole) * 2**state.bits:,} distinct terms.",
                        why=f"At most {MOST_SHARES} passes of {self.limit / 2**20:.3g} MiB of terms are made.",
                        fix="Use HashingVectorizer, which keeps no vocabulary; make fewer n-grams; or allow "
                        "more with memory=.",
                    )
                _narrow(state, state.bits + 1)


def learn_terms(
    vectorizer: Any, view: View, fitting: Fitting, *, occurrences: bool, kept: Any
) -> Generator[list[Any], list[Any], tuple[TermCounts, bool]]:
    """All terms of a view that are kept, sorted, with exact counts.

    Parameters
    ----------
    vectorizer : CountVectorizer or TfidfVectorizer
    view : View
    fitting : Fitting
        Its memory bounds the states, and the vocabulary.
    occurrences : bool
        Whether to count every occurrence, too.
    kept : callable
        Takes the texts' counts of some terms and says which of them the document frequencies
        let pass: a mask.

    Returns
    -------
    (TermCounts, bool)
        And whether the least frequent were given up to stay within memory, which happens with
        ``max_features`` only.

    Raises
    ------
    NonFiniteValues
        A text is missing: the first position.
    TooManyCategories
        The vocabulary would not fit the memory.
    """
    limit = max(1, min(STATE_BYTES, fitting.memory // (2 * FAN_IN)))
    count = partial(TermReduction, vectorizer, column_name(view), occurrences=occurrences, limit=limit)
    (state,) = yield [Pass(count(), view)]
    shares = 2**state.bits
    gathered = [state.whole.keep(kept(state.whole.documents))]
    most = vectorizer.max_features
    room = max(1, fitting.memory // _ENTRY_BYTES)
    cut = False
    for number in range(1, shares):
        _require_room(vectorizer, len(gathered[-1]) * shares if number == 1 else sum(map(len, gathered)), room, most)
        (more,) = yield [Pass(count(share=(state.bits, number)), view)]
        gathered.append(more.whole.keep(kept(more.whole.documents)))
        if most is not None and sum(map(len, gathered)) > max(room, 2 * most):
            gathered, cut = [_most_frequent(_united(gathered), most)], True
    if shares > 1:
        fitting.report.why = f"The terms outgrow {limit / 2**20:.3g} MiB: {shares} passes, each over a share of them."
    whole = _most_frequent(_united(gathered), most) if cut else _united(gathered)
    _require_room(vectorizer, min(len(whole), most or len(whole)), room, None)
    return _sorted(whole), cut


def _require_room(vectorizer: Any, terms: int, room: int, most: int | None) -> None:
    if most is None and terms > room:
        raise TooManyCategories(
            f"{type(vectorizer).__name__}: a vocabulary of about {terms:,} terms takes "
            f"{terms * _ENTRY_BYTES / 2**20:,.3g} MiB; {room * _ENTRY_BYTES / 2**20:,.3g} MiB are allowed.",
            why="Every term is a part of the fitted vectorizer.",
            fix="Raise min_df, pass max_features, use HashingVectorizer, or allow more with memory=.",
        )


# --- terms put together ---------------------------------------------------------------------
def _united(parts: Sequence[TermCounts]) -> TermCounts:
    """Several parts as one, each term once."""
    if len(parts) == 1:
        return parts[0]
    terms, codes = distinct([p.terms for p in parts])

    def added(columns: list[IntArray]) -> IntArray:
        total = np.zeros(len(terms), dtype=np.int64)
        np.add.at(total, codes, np.concatenate([*columns, np.zeros(0, dtype=np.int64)]))
        return total

    documents = added([p.documents for p in parts])
    if any(p.occurrences is None for p in parts):
        return TermCounts(terms, documents, None)
    return TermCounts(terms, documents, added([p.occurrences for p in parts if p.occurrences is not None]))


def _sorted(counts: TermCounts) -> TermCounts:
    """In the order of Python's ``sorted``, which for text is that of the code points."""
    if isinstance(counts.terms, pa.Array):
        order = pc.sort_indices(counts.terms).to_numpy().astype(np.int64)
        terms: Terms = counts.terms.take(pa.array(order))
    else:
        try:
            order = np.array(sorted(range(len(counts)), key=counts.terms.__getitem__), dtype=np.int64)
        except TypeError as error:
            raise BadParameter("The analyzer gives terms that have no order.", why=str(error)) from error
        terms = [counts.terms[i] for i in order.tolist()]
    occurrences = None if counts.occurrences is None else counts.occurrences[order]
    return TermCounts(terms, counts.documents[order], occurrences)


def _most_frequent(counts: TermCounts, most: int) -> TermCounts:
    """The most frequent terms, the first in order of several that are as frequent."""
    ordered = _sorted(counts)
    frequency = ordered.documents if ordered.occurrences is None else ordered.occurrences
    chosen = np.zeros(len(ordered), dtype=bool)
    chosen[np.argsort(-frequency, kind="stable")[:most]] = True
    return ordered.keep(chosen)


def _narrow(state: TermState, bits: int) -> None:
    if bits > state.bits:
        state.parts = [part.keep(_share_of(part.terms, bits) == 0) for part in state.parts]
        state.bits = bits


def _share_of(terms: Terms, bits: int) -> npt.NDArray[np.uint64]:
    """The first bits of each term's hash."""
    return _hashes(terms) >> np.uint64(64 - bits)


def _hashes(terms: Terms) -> npt.NDArray[np.uint64]:
    """A number for each term, the same in every process: its bytes weighted by place, then mixed."""
    if isinstance(terms, list):
        # A term is hashed alike whether or not its neighbors are text.
        terms = pa.array([_as_bytes(t) for t in terms], pa.large_binary())
    if not len(terms):
        return np.zeros(0, dtype=np.uint64)
    offsets = np.frombuffer(terms.buffers()[1], dtype=np.int64)[terms.offset : terms.offset + len(terms) + 1]
    buffer = terms.buffers()[2]
    content = np.frombuffer(buffer, dtype=np.uint8)[offsets[0] : offsets[-1]] if buffer else np.zeros(0, np.uint8)
    lengths = np.diff(offsets)
    places = np.arange(len(content)) - np.repeat(offsets[:-1] - offsets[0], lengths)
    weights = _mixed(np.arange(1, int(lengths.max()) + 1, dtype=np.uint64))
    running = np.zeros(len(content) + 1, dtype=np.uint64)
    np.cumsum((content.astype(np.uint64) + np.uint64(1)) * weights[places], out=running[1:])
    return _mixed(running[offsets[1:] - offsets[0]] - running[offsets[:-1] - offsets[0]])


def _mixed(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Independent bits from numbers that are not."""
    return finalized(z * GOLDEN)


def _as_bytes(term: Any) -> bytes:
    return (term if isinstance(term, str) else repr(term)).encode("utf-8", "surrogatepass")


def _filtered(terms: Terms, chosen: Mask) -> Terms:
    if isinstance(terms, pa.Array):
        return terms.filter(pa.array(chosen))
    return [t for t, c in zip(terms, chosen.tolist(), strict=True) if c]
