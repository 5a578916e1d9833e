"""Correlations of all pairs of columns: Pearson's, Spearman's and Cramér's V, each in one pass.

A pair is looked at over the rows in which both have a finite value ("pairwise complete"). Pearson's
moments are kept for each pair, centered by the mean of their own chunk and merged by Chan's formula.
Spearman's is Pearson's of the ranks; a rank is that of the value among all of its column's finite
values, ties at their middle. Cramér's V is that of the whole contingency table, without correction
for bias: sqrt(chi² / (n · min(rows - 1, columns - 1))).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.foundation.moments import two_sum
from parquetry.foundation.positions import Values
from parquetry.foundation.profile_kinds import Floats, KeyArray, Planned, row_keys
from parquetry.foundation.profile_loops import cell_ranks
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray

MOST_COLUMNS = 256
"""Columns of a matrix of correlations, at most: its state has four numbers a pair."""
_CHUNK_VALUES = 2**18
_MOST_ROWS = 16_384


@dataclass
class PairState:
    """Moments of each pair (i, j) over the rows where both are finite; arrays of shape ``(p, p)``.

    Attributes
    ----------
    count : ndarray
    mean, rest, m2 : ndarray
        Of column i over the rows of the pair; the rest is what the mean's rounding leaves out.
    cross : ndarray
        Sum of the products of both columns' distances from their means.
    """

    count: FloatArray
    mean: FloatArray
    rest: FloatArray
    m2: FloatArray
    cross: FloatArray


class PairMoments(Reduction[PairState, FloatArray]):
    """Pearson's correlation of all pairs of some columns; NaN where one is constant.

    Parameters
    ----------
    values : callable
        Gives a batch's columns as 1-D float arrays; picklable.
    """

    label = "correlations"

    def __init__(self, values: Values) -> None:
        self.values = values

    def partial(self, batch: Batch) -> PairState:
        columns = self.values(batch)
        step = min(_MOST_ROWS, max(512, _CHUNK_VALUES // max(1, len(columns))))
        buffer = np.empty((len(columns), min(batch.num_rows, step)))
        state = None
        for start in range(0, batch.num_rows, step):
            chunk = buffer[:, : min(step, batch.num_rows - start)]
            for row, column in zip(chunk, columns, strict=True):
                row[:] = column[start : start + chunk.shape[1]]
            part = _pairs(chunk)
            state = part if state is None else self.merge(state, part)
        return state  # type: ignore[return-value]  # a batch has a row

    def merge(self, left: PairState, right: PairState) -> PairState:
        count = left.count + right.count
        share = np.divide(right.count, count, out=np.zeros_like(count), where=count > 0)
        with np.errstate(all="ignore"):
            both = (left.count > 0) & (right.count > 0)
            delta = np.where(both, (right.mean - left.mean) + (right.rest - left.rest), 0.0)
            mean, rest = two_sum(left.mean, left.rest + delta * share)
            mean, rest = (np.where(left.count > 0, a, b) for a, b in ((mean, right.mean), (rest, right.rest)))
            weight = left.count * share
            return PairState(
                count,
                mean,
                rest,
                left.m2 + right.m2 + delta * delta * weight,
                left.cross + right.cross + delta * delta.T * weight,
            )

    def finish(self, state: PairState) -> FloatArray:
        with np.errstate(all="ignore"):
            spread = np.sqrt(state.m2) * np.sqrt(state.m2.T)
            found = np.clip(state.cross / spread, -1.0, 1.0)
        found[(spread == 0) | (state.count < 2)] = np.nan
        np.fill_diagonal(found, np.where(np.isnan(np.diag(found)), np.nan, 1.0))
        symmetric: FloatArray = (found + found.T) / 2
        return symmetric


def _pairs(chunk: FloatArray) -> PairState:
    """The moments of a chunk of shape ``(p, rows)``, which is overwritten."""
    with np.errstate(all="ignore"):
        whole = bool(np.isfinite(chunk.sum()))
        if whole:
            means = chunk.mean(axis=1)
            chunk -= means[:, None]
            n = np.full((len(chunk), len(chunk)), float(chunk.shape[1]))
            sums = np.repeat(chunk.sum(axis=1)[:, None], len(chunk), axis=1)
            squares = np.repeat(np.einsum("ij,ij->i", chunk, chunk)[:, None], len(chunk), axis=1)
        else:
            there = np.isfinite(chunk)
            chunk[~there] = 0.0
            known = there.astype(np.float64)
            means = chunk.sum(axis=1) / np.maximum(known.sum(axis=1), 1.0)
            chunk -= means[:, None]
            chunk[~there] = 0.0
            n, sums, squares = known @ known.T, chunk @ known.T, (chunk * chunk) @ known.T
        rest = np.divide(sums, n, out=np.zeros_like(sums), where=n > 0)
        cross = chunk @ chunk.T - rest * rest.T * n
        mean, left_out = two_sum(np.where(n > 0, means[:, None], 0.0), rest)
        return PairState(n, mean, left_out, squares - rest * rest * n, cross)


# --- ranks ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Ranks:
    """Each value's rank, as a share of its column's finite values in [0, 1].

    Attributes
    ----------
    edges : ndarray
        Distinct values, or the lower ends of cells, rising.
    ranks : ndarray
        The middle rank of each.
    error : float
        The root mean square of what a rank may be wrong by, over the ranks' deviation; 0 where they are exact.
    uniform : (float, int) or None
        Scale and start where the cells are equally wide: they are found without a search.
    """

    edges: FloatArray
    ranks: FloatArray
    error: float
    uniform: tuple[float, int] | None = None

    def __call__(self, values: FloatArray) -> FloatArray:
        if not len(self.ranks):
            return np.full(len(values), np.nan)
        if self.uniform is not None:
            found: FloatArray = cell_ranks(values, *self.uniform, self.ranks)
            return found
        places = np.searchsorted(self.edges, values, side="right") - 1
        ranks = self.ranks[np.clip(places, 0, len(self.ranks) - 1)]
        finite = np.isfinite(values)
        return ranks if finite.all() else np.where(finite, ranks, np.nan)


def ranks_of(
    edges: FloatArray, counts: npt.NDArray[np.int64], *, ties: npt.NDArray[np.int64] | None = None, uniform: Any = None
) -> Ranks:
    """Middle ranks of cells with their counts; exact where ``ties`` is None: a cell is a value then.

    The rows of one cell are taken as tied. Were none of them, their ranks would lie evenly over it, with a variance
    of its share squared over 12; values that are known to be ``ties`` so many times take their part of that away.
    """
    total = max(1, int(counts.sum()))
    shares = counts / total
    middle = np.cumsum(shares) - shares / 2
    error = 0.0
    if ties is not None:
        lumped = float((shares**3).sum())
        unknown = max(0.0, lumped - float(((ties / total) ** 3).sum()))
        error = float(np.sqrt(unknown / (1 - lumped))) if lumped < 1 else 1.0
    return Ranks(edges, middle, error, uniform)


@dataclass(frozen=True)
class Ranked:
    """Gives some columns of a batch as ranks."""

    values: Floats
    ranks: tuple[Ranks, ...]

    def __call__(self, batch: Batch) -> list[FloatArray]:
        return [rank(column) for rank, column in zip(self.ranks, self.values(batch), strict=True)]


# --- categories -----------------------------------------------------------------------------
@dataclass(frozen=True)
class Categories:
    """A column with few distinct values.

    Attributes
    ----------
    column : Planned
    keys : ndarray of uint64
        Rising.
    """

    column: Planned
    keys: KeyArray

    def codes(self, batch: Batch) -> npt.NDArray[np.int64]:
        """Which value each row has: its place among the keys, or their number where it has none."""
        keys, there = row_keys(batch, self.column)
        found = np.searchsorted(self.keys, keys)
        found = np.minimum(found, len(self.keys) - 1)
        known = there & (self.keys[found] == keys)
        return np.where(known, found, len(self.keys))


class Contingency(Reduction[list[npt.NDArray[np.int64]], FloatArray]):
    """Cramér's V of all pairs of columns with few distinct values; NaN where one is constant.

    Parameters
    ----------
    columns : sequence of Categories
    """

    label = "contingency"

    def __init__(self, columns: Sequence[Categories]) -> None:
        self.columns = tuple(columns)

    def partial(self, batch: Batch) -> list[npt.NDArray[np.int64]]:
        codes = [c.codes(batch) for c in self.columns]
        tables = []
        for i, j in combinations(range(len(codes)), 2):
            high, wide = len(self.columns[i].keys) + 1, len(self.columns[j].keys) + 1
            table = np.bincount(codes[i] * wide + codes[j], minlength=high * wide).reshape(high, wide)
            tables.append(table[:-1, :-1].astype(np.int64))
        return tables

    def merge(self, left: list[npt.NDArray[np.int64]], right: list[npt.NDArray[np.int64]]) -> Any:
        return [a + b for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[npt.NDArray[np.int64]]) -> FloatArray:
        found = np.eye(len(self.columns))
        for (i, j), table in zip(combinations(range(len(self.columns)), 2), state, strict=True):
            found[i, j] = found[j, i] = cramers_v(table)
        return found


def cramers_v(table: npt.NDArray[np.int64]) -> float:
    """Cramér's V of a contingency table, without correction for bias; NaN where a side has one value.

    Source: Cramér, "Mathematical Methods of Statistics" (1946); as ``scipy.stats.contingency.association``.
    """
    table = table[table.any(axis=1)][:, table.any(axis=0)].astype(np.float64)
    if min(table.shape) < 2:
        return float("nan")
    total = table.sum()
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / total
    chi2 = ((table - expected) ** 2 / expected).sum()
    return float(min(1.0, np.sqrt(chi2 / (total * (min(table.shape) - 1)))))
