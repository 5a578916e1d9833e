"""CountVectorizer, TfidfVectorizer, HashingVectorizer and TfidfTransformer: texts to sparse counts.

A vocabulary and its document frequencies take one pass; a term's text is held once, its counts as
two numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.feature_extraction import FeatureHasher
from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer, TfidfTransformer, TfidfVectorizer
from sklearn.preprocessing import normalize
from sklearn.utils._sparse import _align_api_if_sparse

from parquetry.errors import BadParameter, DegenerateColumn, ParquetryError
from parquetry.features.surrogate import checked, require_numbers
from parquetry.features.terms import TermCounts, learn_terms
from parquetry.features.texts import MissingTexts, column_name, missing_text, texts_of
from parquetry.features.tokens import KINDS, IntArray, chunks_of_tokens, listed, with_columns
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import Position, earliest, first_non_finite, position_of, refusal
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.through import Single
from parquetry.view import Batch, View

_TRIED = 8  # texts on which a caller's own analyzer is tried before work is scheduled
_PASSES = "1 (2, 4 … 64 where the distinct terms outgrow memory)"


@fitter(CountVectorizer, passes=f"{_PASSES}; 0 with vocabulary=", exact="equal", matrices=False)
def fit_count_vectorizer(vectorizer: Any, view: View, fitting: Fitting) -> Asking:
    """The vocabulary of a column of texts, within ``min_df``, ``max_df`` and ``max_features``.

    Among terms that are as frequent, ``max_features`` keeps those that scikit-learn keeps: both
    ask NumPy's ``argsort`` of the same array. Where the terms outgrow the memory even so, the
    first in order are kept, and a warning says it. ``vocabulary_`` lists the terms in order.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.CountVectorizer.html
    """
    _prepare(vectorizer, view)
    checked(vectorizer, lambda: _check_fixed(vectorizer))
    if vectorizer.fixed_vocabulary_:
        yield from _refuse_missing(vectorizer, view)
    else:
        yield from _learn_vocabulary(vectorizer, view, fitting)
    return vectorizer


@fitter(TfidfVectorizer, passes=_PASSES, exact="equal to the last bit", matrices=False)
def fit_tfidf_vectorizer(vectorizer: Any, view: View, fitting: Fitting) -> Asking:
    """The vocabulary and every term's inverse document frequency, from the same pass.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.TfidfVectorizer.html
    """
    checked(vectorizer, vectorizer._check_params)
    _prepare(vectorizer, view)
    checked(vectorizer, lambda: _check_fixed(vectorizer))
    if not vectorizer.fixed_vocabulary_:
        documents = yield from _learn_vocabulary(vectorizer, view, fitting)
    elif vectorizer.use_idf:
        seen = MissingTexts(type(vectorizer).__name__, column_name(view)), _FixedFrequencies(vectorizer)
        _, documents = yield [Pass(reduction, view) for reduction in seen]
    else:
        yield from _refuse_missing(vectorizer, view)
        documents = np.zeros(len(vectorizer.vocabulary_), dtype=np.int64)
    settings = {k: getattr(vectorizer, k) for k in ("norm", "use_idf", "smooth_idf", "sublinear_tf")}
    vectorizer._tfidf = TfidfTransformer(**settings)
    counts = sparse.csr_matrix((1, len(documents)), dtype=vectorizer.dtype)
    checked(vectorizer, lambda: vectorizer._tfidf.fit(counts))
    if vectorizer.use_idf:
        vectorizer._tfidf.idf_ = _idf(vectorizer, documents, view.dataset.num_rows, vectorizer._tfidf.idf_.dtype)
    return vectorizer


@fitter(
    HashingVectorizer,
    passes="0 (1 where the footers do not rule out nulls)",
    exact="nothing is learned",
    matrices=False,
)
def fit_hashing_vectorizer(vectorizer: Any, view: View, _fitting: Fitting) -> Asking:
    """Its parameters are checked; terms are numbered by their hash, so there is nothing to learn.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.HashingVectorizer.html
    """
    _prepare(vectorizer, view)
    yield from _refuse_missing(vectorizer, view)
    return vectorizer


@fitter(TfidfTransformer, passes="1", exact="equal to the last bit", matrices=True)
def fit_tfidf_transformer(transformer: Any, view: View, _fitting: Fitting) -> Asking:
    """Every column's inverse document frequency: in how many rows it is not zero.

    As in scikit-learn, a zero that a sparse matrix holds explicitly counts as one that is not.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.text.TfidfTransformer.html
    """
    checked(transformer, transformer._validate_params)
    require_numbers(transformer, view)
    (documents,) = yield [Pass(DocumentFrequencies(type(transformer).__name__, view.names), view)]
    head = view.head()
    checked(transformer, lambda: transformer.fit(head))
    if transformer.use_idf:
        transformer.idf_ = _idf(transformer, documents, view.dataset.num_rows, transformer.idf_.dtype)
    return transformer


class DocumentFrequencies(Reduction[tuple[IntArray, Position | None], IntArray]):
    """In how many rows each column of X is there.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    names : tuple of str or None
        The columns' names, for errors, where they have any.
    """

    label = "document-frequencies"

    def __init__(self, who: str, names: tuple[str, ...] | None) -> None:
        self.who, self.names = who, names

    def partial(self, batch: Batch) -> tuple[IntArray, Position | None]:
        matrix = batch.matrix
        if not hasattr(matrix, "tocsr"):
            return np.count_nonzero(matrix, axis=0), _non_finite(batch, matrix)
        csr = matrix.tocsr()
        return np.bincount(csr.indices, minlength=csr.shape[1]), _non_finite(batch, csr)

    def merge(
        self, left: tuple[IntArray, Position | None], right: tuple[IntArray, Position | None]
    ) -> tuple[IntArray, Position | None]:
        return left[0] + right[0], earliest([left[1], right[1]])

    def finish(self, state: tuple[IntArray, Position | None]) -> IntArray:
        if state[1] is not None:
            column = state[1].column
            raise refusal(replace(state[1], column=0), [self.names[column] if self.names else f"x{column}"], self.who)
        return state[0]


def vectorized(vectorizer: Any, x: Any) -> Any:
    """``vectorizer.transform(texts)``, to the last bit, by the fastest road that gives it.

    Parameters
    ----------
    vectorizer : fitted CountVectorizer, TfidfVectorizer or HashingVectorizer
        Or an estimator of a class derived from them: then by its own ``transform``.
    x : Columns, Column, Series, array or list
        One column, or one text a row.

    Returns
    -------
    CSR matrix of shape (n_rows, n_terms)
    """
    texts = texts_of(x, type(vectorizer).__name__)
    if texts.missing is not None:
        row = int(np.argmax(texts.missing))
        place = texts.where(row) if texts.where else f"row {row} of the batch"
        raise missing_text(type(vectorizer).__name__, texts.name, place)
    if type(vectorizer) not in KINDS:
        return vectorizer.transform(listed(texts.values))
    if type(vectorizer) is HashingVectorizer:
        return _hashed(vectorizer, texts.values)
    counts = _counted(vectorizer, texts.values)
    if type(vectorizer) is TfidfVectorizer:
        counts = vectorizer._tfidf.transform(counts, copy=False)
    return _align_api_if_sparse(counts)


class _FixedFrequencies(Reduction[IntArray, IntArray]):
    """In how many texts each term of a given vocabulary is."""

    label = "document-frequencies"

    def __init__(self, vectorizer: Any) -> None:
        self.vectorizer = vectorizer

    @property
    def model(self) -> Any:
        """What it runs, so that its engine can choose between threads and processes."""
        return self.vectorizer

    def partial(self, batch: Batch) -> IntArray:
        values = texts_of(batch.X, type(self.vectorizer).__name__).values
        counts = _counted(self.vectorizer, values)
        return np.bincount(counts.indices, minlength=counts.shape[1])

    def merge(self, left: IntArray, right: IntArray) -> IntArray:
        return left + right


# --- fitting --------------------------------------------------------------------------------
def _prepare(vectorizer: Any, view: View) -> None:
    """Refuse what is wrong whatever the rows hold, and warn of what scikit-learn warns of."""
    who = type(vectorizer).__name__
    checked(vectorizer, vectorizer._validate_params)
    checked(vectorizer, vectorizer._validate_ngram_range)
    checked(vectorizer, vectorizer._warn_for_unused_params)
    if vectorizer.input == "file":
        raise BadParameter(f"{who}: input='file' is not for columns.", fix="Use 'content', or 'filename' with paths.")
    texts = texts_of(next(iter(view.head_batches(_TRIED))).X, who)
    analyze = checked(vectorizer, vectorizer.build_analyzer)
    # Where it has looked at the stop words: it is another number in another process, and would
    # tell two equal vectorizers apart.
    vars(vectorizer).pop("_stop_words_id", None)
    try:
        for text in listed(texts.values):
            for term in analyze(text):
                hash(term)
    except ParquetryError:
        raise
    except Exception as error:
        raise BadParameter(
            f"{who} fails on the first texts.",
            why=f"{type(error).__name__}: {error}",
            fix="Check the column, and its analyzer, preprocessor or tokenizer.",
        ) from error


def _check_fixed(vectorizer: Any) -> None:
    """scikit-learn's own checks of ``vocabulary=`` and of the document frequencies' bounds."""
    vectorizer._validate_vocabulary()
    if vectorizer.fixed_vocabulary_ and vectorizer.lowercase:
        # Its warning of terms in upper case stands in fit itself.
        CountVectorizer(vocabulary=vectorizer.vocabulary, lowercase=True).fit([""])


def _refuse_missing(vectorizer: Any, view: View) -> Generator[list[Any], list[Any], None]:
    """A pass that looks for null texts, unless the footers say that there is none."""
    if all(isinstance(step, Single) for step in view.steps):
        stats = view.dataset.footer.stats.get(view.features[0])
        if stats is not None and stats.nulls == 0:
            return
    yield [Pass(MissingTexts(type(vectorizer).__name__, column_name(view)), view)]


def _learn_vocabulary(vectorizer: Any, view: View, fitting: Fitting) -> Generator[list[Any], list[Any], IntArray]:
    """Set ``vocabulary_``; the document frequencies of its terms, in order."""
    who, rows = type(vectorizer).__name__, view.dataset.num_rows
    high, low = (_texts(bound, rows) for bound in (vectorizer.max_df, vectorizer.min_df))
    if high < low:
        raise BadParameter(f"{who}: max_df corresponds to < documents than min_df.", why=f"Of {rows:,} texts.")
    seen = np.zeros(1, dtype=np.int64)

    def kept(documents: IntArray) -> Any:
        seen[0] += len(documents)
        return (documents <= high) & (documents >= low)

    occurrences = vectorizer.max_features is not None and not vectorizer.binary
    terms, cut = yield from learn_terms(vectorizer, view, fitting, occurrences=occurrences, kept=kept)
    if not seen[0]:
        raise DegenerateColumn(
            f"{who}: empty vocabulary; perhaps the documents only contain stop words.",
            why="The analyzer finds no term in any text.",
            fix="Check the column, token_pattern and stop_words.",
        )
    if not len(terms):
        raise BadParameter(
            f"{who}: after pruning, no terms remain.",
            why=f"Of {int(seen[0]):,} terms, none is in {low:,g} to {high:,g} texts.",
            fix="Try a lower min_df or a higher max_df.",
        )
    if cut:
        _tell_of_ties(vectorizer, fitting)
    chosen = _chosen(vectorizer, terms)
    names = listed(terms.terms)
    numbers = range(len(chosen)) if vectorizer.max_features is None else np.arange(len(chosen))
    vectorizer.vocabulary_ = {names[i]: number for i, number in zip(chosen.tolist(), numbers, strict=True)}
    return terms.documents[chosen]


def _tell_of_ties(vectorizer: Any, fitting: Fitting) -> None:
    """Terms have been given up before all were counted: which of several ties stay is not scikit-learn's choice."""
    chosen = "Of terms as frequent as the last one kept, the first in order were kept."
    fitting.report.why += f" {chosen}"
    warnings.warn(
        f"{type(vectorizer).__name__}: the terms outgrow the memory. {chosen} scikit-learn may keep others of them: "
        "raise min_df, or allow more with memory=.",
        UserWarning,
        stacklevel=2,
    )


def _texts(bound: Any, rows: int) -> Any:
    """A bound of document frequencies as a number of texts: whole numbers are that already."""
    return bound if isinstance(bound, Integral) else bound * rows


def _chosen(vectorizer: Any, terms: TermCounts) -> IntArray:
    """The terms that ``max_features`` keeps, by position in order."""
    most = vectorizer.max_features
    if most is None or len(terms) <= most:
        return np.arange(len(terms))
    frequency = terms.documents if terms.occurrences is None else terms.occurrences
    # In the type that scikit-learn's sum has: which of several ties comes first depends on it.
    kind = sparse.csr_matrix((1, 1), dtype=vectorizer.dtype).sum(axis=0).dtype
    return np.sort((-frequency.astype(kind)).argsort()[:most])


def _idf(estimator: Any, documents: IntArray, rows: int, kind: Any) -> Any:
    """scikit-learn's formula in its own order of operations, so that no bit differs."""
    smooth = int(estimator.smooth_idf)
    frequency = documents.astype(kind) + kind.type(smooth)
    return np.log(np.full_like(frequency, rows + smooth) / frequency) + kind.type(1.0)


def _non_finite(batch: Batch, matrix: Any) -> Position | None:
    if not hasattr(matrix, "tocsr"):
        return first_non_finite(batch, list(matrix.T), nan=True)
    if matrix.data.dtype.kind != "f" or np.isfinite(matrix.data).all():
        return None
    bad = np.flatnonzero(~np.isfinite(matrix.data))
    row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
    what = "NaN" if np.isnan(matrix.data[bad[0]]) else "infinity"
    return position_of(batch, np.arange(batch.num_rows) == row, int(matrix.indices[bad[0]]), what)


# --- transforming ---------------------------------------------------------------------------
def _counted(vectorizer: Any, values: Any) -> Any:
    """The counts of a fitted vocabulary's terms, shape ``(n_texts, n_terms)``, sorted in each row."""
    vectorizer._check_vocabulary()
    vocabulary = vectorizer.vocabulary_
    placed = with_columns(chunks_of_tokens(vectorizer, values), vocabulary)
    matrix = _matrix(placed, len(vocabulary), vectorizer.dtype)
    if vectorizer.binary:
        matrix.data.fill(1)
    return matrix


def _hashed(vectorizer: Any, values: Any) -> Any:
    """The same of a HashingVectorizer: each distinct term is hashed once a chunk."""
    hasher: FeatureHasher = vectorizer._get_hasher()
    parts = []
    for tokens in chunks_of_tokens(vectorizer, values):
        plain = _matrix([tokens], max(1, len(tokens.terms)), vectorizer.dtype)
        if len(tokens.terms):
            # One entry a term: its column, and the sign that it counts with.
            terms = hasher.transform([[term] for term in listed(tokens.terms)])
            plain = sparse.csr_matrix(
                (plain.data * terms.data[plain.indices], terms.indices[plain.indices], plain.indptr),
                shape=(tokens.count, vectorizer.n_features),
                dtype=vectorizer.dtype,
            )
            plain.sum_duplicates()
        else:
            plain = sparse.csr_matrix((tokens.count, vectorizer.n_features), dtype=vectorizer.dtype)
        parts.append(plain)
    matrix = parts[0] if len(parts) == 1 else sparse.vstack(parts, format="csr")
    if vectorizer.binary:
        matrix.data.fill(1)
    if vectorizer.norm is not None:
        matrix = normalize(matrix, norm=vectorizer.norm, copy=False)
    return _align_api_if_sparse(matrix)


def _matrix(parts: Any, width: int, dtype: Any) -> Any:
    """A CSR matrix of how often each column is in each row."""
    indices, data, lengths = [], [], [np.zeros(1, dtype=np.int64)]
    for tokens in parts:
        pairs = tokens.pairs(width)
        first = np.ones(len(pairs), dtype=bool)
        np.not_equal(pairs[1:], pairs[:-1], out=first[1:])
        starts = np.flatnonzero(first)
        rows, columns = np.divmod(pairs[starts], width)
        indices.append(columns.astype(np.int32))
        data.append(np.diff(starts, append=len(pairs)).astype(dtype))
        lengths.append(np.bincount(rows, minlength=tokens.count))
    indptr = np.cumsum(np.concatenate(lengths))
    kind = np.int32 if indptr[-1] <= np.iinfo(np.int32).max else np.int64
    matrix = sparse.csr_matrix(
        (np.concatenate(data), np.concatenate(indices).astype(kind, copy=False), indptr.astype(kind)),
        shape=(len(indptr) - 1, width),
    )
    matrix.has_canonical_format = True
    return matrix
