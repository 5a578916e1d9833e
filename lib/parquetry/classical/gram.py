"""Gram: the centered cross products of features and targets, in one stable pass.

Everything that least squares needs, and more than one model can share it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.row_weights import require_products, require_weights
from parquetry.foundation.positions import (
    Position,
    earliest,
    features,
    first_non_finite,
    refusal,
    targets,
    weight_column,
)
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns, FloatArray

_CHUNK = 16_384
"""Rows at once: with 20 columns the chunk stays in the processor's cache."""


@dataclass
class GramState:
    """Weighted moments of the columns ``[X, y]``.

    Attributes
    ----------
    rows : int
        Rows seen.
    weight : float
        Sum of sample weights (the number of rows without them).
    mean : ndarray of shape (n_features + n_targets,)
    rest : ndarray of shape (n_features + n_targets,)
        What the mean lacks by its rounding: far from zero, that is large beside the differences between two means.
    products : ndarray of shape (n_features + n_targets, n_features + n_targets)
        Sums of products of deviations from the mean.
    least_weight : float
        The smallest sample weight.
    first_bad : Position or None
        Where the first non-finite value stands.
    """

    rows: int
    weight: float
    mean: FloatArray
    rest: FloatArray
    products: FloatArray
    least_weight: float = 1.0
    first_bad: Position | None = None


class Gram(Reduction[GramState, GramState]):
    """Means and centered cross products of ``[X, y]``, weighted.

    Each batch is shifted by its first rows' mean before anything is multiplied, and states are
    merged by the pairwise formula of Chan, Golub & LeVeque (1983), so a mean of 1e9 with a
    deviation of 1 loses nothing.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards.
    names : sequence of str
        Names of X's columns, for errors.
    target : sequence of str
        Names of the targets, for errors.
    centered : bool, default True
        False keeps raw products (``fit_intercept=False``): the mean stays 0.
    """

    def __init__(self, label: str, names: Sequence[str], target: Sequence[str], *, centered: bool = True) -> None:
        self.label, self.names, self.target, self.centered = label, tuple(names), tuple(target), centered

    @np.errstate(all="ignore")  # what is not finite is refused below, by its position
    def partial(self, batch: Batch) -> GramState:
        weights = batch.weights
        if is_sparse(batch):
            sums, shift = self._sparse_sums(batch)
        else:
            columns = [*batch.floats, *batch.y_floats]
            shift = self._shift(columns)
            sums = _shifted_products(columns, shift, weights)
        state = _centered(sums, shift, batch.num_rows, centered=self.centered)
        if weights is not None:
            state.least_weight = float(weights.min())
        if not np.isfinite(sums).all():
            state.first_bad = first_non_finite(batch, _all_columns(batch), nan=True)
        return state

    def _shift(self, columns: Sequence[FloatArray]) -> FloatArray:
        return np.array([c[:_CHUNK].mean() if self.centered else 0.0 for c in columns])

    def _sparse_sums(self, batch: Batch) -> tuple[FloatArray, FloatArray]:
        """Products and shifts of sparse columns, where those without a gap are shifted like dense ones.

        A column with gaps has a deviation of its mean's own size, or nearly: it needs no shift, which would fill it.
        Another batch may split its columns differently: states are centered, so that they merge all the same.
        """
        split = split_columns(batch.matrix)
        beside = [*split.full, *batch.y_floats]
        own_shift = self._shift(beside)
        shifted = [column - mean for column, mean in zip(beside, own_shift, strict=True)]
        sums = _sparse_products(split.sparse, shifted, batch.weights)
        width = sums.shape[0]
        order = np.concatenate([split.sparse_at, split.full_at, np.arange(batch.matrix.shape[1], width)])
        ordered, shift = np.empty_like(sums), np.zeros(width - 1)
        ordered[np.ix_(order, order)] = sums
        shift[order[len(split.sparse_at) : -1]] = own_shift
        return ordered, shift

    def merge(self, left: GramState, right: GramState) -> GramState:
        weight = left.weight + right.weight
        mean, rest, products = left.mean, left.rest, left.products + right.products
        if self.centered and weight > 0:
            delta = (right.mean - left.mean) + (right.rest - left.rest)
            products += np.outer(delta, delta) * (left.weight * right.weight / weight)
            mean, rest = _exact_sum(left.mean, left.rest + delta * (right.weight / weight))
        bad = earliest([left.first_bad, right.first_bad])
        least = min(left.least_weight, right.least_weight)
        return GramState(left.rows + right.rows, weight, mean, rest, products, least, bad)

    def finish(self, state: GramState) -> GramState:
        if state.first_bad is not None:
            raise refusal(state.first_bad, [*self.names, *self.target, "sample_weight"], self.label)
        require_weights(self.label, state.least_weight, state.weight)
        require_products(self.label, state.products)
        return state


@dataclass(frozen=True)
class SplitColumns:
    """A sparse matrix's columns in two parts.

    Attributes
    ----------
    sparse : CSR array of shape (n_rows, n_sparse)
        The columns with gaps.
    sparse_at : ndarray of shape (n_sparse,)
        Where they stand.
    full : ndarray of shape (n_full, n_rows)
        The columns with a stored value in every row, dense.
    full_at : ndarray of shape (n_full,)
    """

    sparse: Any
    sparse_at: npt.NDArray[np.int64]
    full: FloatArray
    full_at: npt.NDArray[np.int64]


def split_columns(matrix: Any) -> SplitColumns:
    """The columns of a SciPy sparse matrix that have a value in every row, dense, apart from the rest."""
    csr = matrix.tocsr()
    if not csr.has_canonical_format:
        csr = csr.copy()
        csr.sum_duplicates()
    rows, width = csr.shape
    stored = np.bincount(csr.indices, minlength=width)
    full_at, sparse_at = np.flatnonzero(stored == rows), np.flatnonzero(stored != rows)
    if not len(full_at):
        return SplitColumns(csr, sparse_at, np.empty((0, rows)), full_at)
    full = csr[:, full_at].toarray(order="F").T.astype(np.float64, copy=False)
    return SplitColumns(csr[:, sparse_at], sparse_at, full, full_at)


def is_sparse(batch: Batch) -> bool:
    """Whether a batch's X is a SciPy sparse matrix."""
    return not isinstance(batch.X, Columns) and hasattr(batch.matrix, "tocsr")


def _shifted_products(columns: list[FloatArray], shift: FloatArray, weights: FloatArray | None) -> FloatArray:
    """``Z W Z'`` for ``Z = [columns - shift, 1]``: sums of products, sums and total weight at once."""
    width, rows = len(columns), len(columns[0])
    buffer = np.empty((width + 1, min(rows, _CHUNK)))
    buffer[width] = 1.0
    total = np.zeros((width + 1, width + 1))
    for start in range(0, rows, _CHUNK):
        stop = min(start + _CHUNK, rows)
        chunk = buffer[:, : stop - start]
        for i, column in enumerate(columns):
            np.subtract(column[start:stop], shift[i], out=chunk[i])
        total += chunk @ chunk.T if weights is None else (chunk * weights[start:stop]) @ chunk.T
    return total


def _centered(sums: FloatArray, shift: FloatArray, rows: int, *, centered: bool) -> GramState:
    weight, first = float(sums[-1, -1]), sums[:-1, -1]
    if not centered or weight <= 0:
        return GramState(rows, weight, np.zeros(len(shift)), np.zeros(len(shift)), sums[:-1, :-1].copy())
    products = sums[:-1, :-1] - np.outer(first, first) / weight
    return GramState(rows, weight, *_exact_sum(shift, first / weight), products)


def _exact_sum(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rounded sum, and what the rounding took from it (Knuth's two-sum)."""
    total = left + right
    added = total - left
    return total, (left - (total - added)) + (right - added)


def _sparse_products(matrix: Any, beside: list[FloatArray], weights: FloatArray | None) -> FloatArray:
    """The same for a CSR matrix, which is not shifted, and dense columns beside it, which are."""
    rest = np.column_stack([*beside, np.ones(matrix.shape[0])])
    weighted = matrix if weights is None else matrix.multiply(weights[:, None]).tocsr()
    weighted_rest = rest if weights is None else rest * weights[:, None]
    corner = (weighted.T @ matrix).toarray()
    side = weighted.T @ rest
    return np.block([[corner, side], [side.T, weighted_rest.T @ rest]])


def _all_columns(batch: Batch) -> Iterator[FloatArray]:
    yield from _sparse_columns(batch.matrix) if is_sparse(batch) else features(batch)
    yield from (*targets(batch), *weight_column(batch))


def _sparse_columns(matrix: Any) -> Iterator[FloatArray]:
    """Each column that holds a non-finite value, dense; nothing for any other, as all of them may be too many."""
    columns = matrix.tocsc()
    for i in range(columns.shape[1]):
        finite = np.isfinite(columns.data[columns.indptr[i] : columns.indptr[i + 1]]).all()
        yield np.empty(0) if finite else columns[:, [i]].toarray().ravel()
