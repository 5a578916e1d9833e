"""Correlation of every feature with one target, and spread by class of a sparse X: one stable pass each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.refusals import first_not_finite, refuse, sparse_matrix
from parquetry.foundation.moments import two_sum
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal, targets
from parquetry.reduction import Reduction
from parquetry.view import FloatArray

_CHUNK = 16_384


@dataclass
class Correlated:
    """Moments of X's columns and of y, about their means.

    Attributes
    ----------
    rows : int
    mean, rest : ndarray of shape (n_features + 1,)
        The means of the columns and of y, and what their rounding leaves out.
    spread, shared : ndarray of shape (n_features,)
        Each column's squared deviations, and products of deviations with y's.
    y_spread : float
    first_bad, first_bad_y : Position or None
        The first value of X, and of y, that is not finite.
    """

    rows: int
    mean: FloatArray
    rest: FloatArray
    spread: FloatArray
    shared: FloatArray
    y_spread: float
    first_bad: Position | None = None
    first_bad_y: Position | None = None

    @property
    def coefficients(self) -> FloatArray:
        """Pearson's correlation of each column with y; NaN for one that does not vary."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.clip(self.shared / np.sqrt(self.spread) / np.sqrt(self.y_spread), -1.0, 1.0))


class Correlation(Reduction[Correlated, Correlated]):
    """Products of deviations of each column and the target, dense or sparse.

    Columns are shifted by their first value before anything is multiplied, and states are merged
    by the pairwise formula of Chan, Golub & LeVeque (1983).

    Parameters
    ----------
    who : str
    names, target : sequence of str
        Names of X's columns and of the target, for errors.
    centered : bool, default True
        False keeps raw products.
    """

    label = "correlation"

    def __init__(self, who: str, names: Sequence[str], target: Sequence[str], *, centered: bool = True) -> None:
        self.who, self.names, self.target, self.centered = who, tuple(names), tuple(target), centered

    def partial(self, batch: Any) -> Correlated:
        matrix, y = sparse_matrix(batch), np.asarray(batch.y_floats[0])
        with np.errstate(all="ignore"):
            state = self._dense(batch, y) if matrix is None else self._sparse(matrix, y)
        if not (np.isfinite(state.spread).all() and np.isfinite(state.shared).all() and np.isfinite(state.y_spread)):
            state.first_bad = first_not_finite(batch)
            state.first_bad_y = first_non_finite(batch, targets(batch), nan=True)
        return state

    def merge(self, left: Correlated, right: Correlated) -> Correlated:
        rows = left.rows + right.rows
        share = right.rows / rows
        with np.errstate(all="ignore"):
            step = (right.mean - left.mean) + (right.rest - left.rest)
            apart, y_apart = step[:-1], step[-1]
            weight = left.rows * share
            spread = left.spread + right.spread + apart * apart * weight
            shared = left.shared + right.shared + apart * y_apart * weight
            y_spread = left.y_spread + right.y_spread + float(y_apart * y_apart * weight)
            mean, rest = two_sum(left.mean, left.rest + step * share)
        bad = earliest([left.first_bad, right.first_bad])
        bad_y = earliest([left.first_bad_y, right.first_bad_y])
        return Correlated(rows, mean, rest, spread, shared, y_spread, bad, bad_y)

    def finish(self, state: Correlated) -> Correlated:
        if state.first_bad_y is not None:
            raise refusal(state.first_bad_y, self.target, self.who)
        if state.first_bad is not None:
            refuse(state.first_bad, self.names, self.who)
        return state

    def _dense(self, batch: Any, y: FloatArray) -> Correlated:
        columns = batch.floats
        shifts = [float(column[0]) if self.centered else 0.0 for column in columns]
        y_shift = float(y[0]) if self.centered else 0.0
        first, spread, shared = (np.zeros(len(columns)) for _ in range(3))
        y_first, y_spread = 0.0, 0.0
        for start in range(0, len(y), _CHUNK):
            moved_y = y[start : start + _CHUNK] - y_shift
            y_first += float(moved_y.sum())
            y_spread += float(moved_y @ moved_y)
            for i, (column, shift) in enumerate(zip(columns, shifts, strict=True)):
                moved = column[start : start + _CHUNK] - shift
                first[i] += moved.sum()
                spread[i] += moved @ moved
                shared[i] += moved @ moved_y
        return self._centered(len(y), np.array(shifts), y_shift, first, spread, shared, y_first, y_spread)

    def _sparse(self, matrix: Any, y: FloatArray) -> Correlated:
        """Without a shift, which would fill X: a column with gaps deviates by about as much as its mean."""
        y_shift = float(y[0]) if self.centered else 0.0
        moved_y = y - y_shift
        first = np.asarray(matrix.sum(axis=0)).ravel()
        spread = np.asarray(matrix.multiply(matrix).sum(axis=0)).ravel()
        shared = np.asarray(matrix.T @ moved_y).ravel()
        y_sums = float(moved_y.sum()), float(moved_y @ moved_y)
        return self._centered(len(y), np.zeros(len(first)), y_shift, first, spread, shared, *y_sums)

    def _centered(
        self,
        rows: int,
        shift: FloatArray,
        y_shift: float,
        first: FloatArray,
        spread: FloatArray,
        shared: FloatArray,
        y_first: float,
        y_spread: float,
    ) -> Correlated:
        if not self.centered:
            none = np.zeros(len(first) + 1)
            return Correlated(rows, none, none, spread, shared, y_spread)
        step, y_step = first / rows, y_first / rows
        mean, rest = two_sum(np.append(shift, y_shift), np.append(step, y_step))
        left = spread - first * step, shared - first * y_step
        return Correlated(rows, mean, rest, *left, y_spread - y_first * y_step)


@dataclass
class Spread:
    """Rows of each class; each column's mean and squared deviations in it, shape ``(n_classes, n_features)``."""

    counts: FloatArray
    means: FloatArray
    rests: FloatArray
    first_bad: Position | None = None


class ClassSpread(Reduction[Spread, Spread]):
    """Each column's mean and squared deviations by the classes of an encoded target; X stays sparse.

    Parameters
    ----------
    who : str
    names : sequence of str
    classes : int
    """

    label = "class-spread"

    def __init__(self, who: str, names: Sequence[str], classes: int) -> None:
        self.who, self.names, self.classes = who, tuple(names), classes

    def partial(self, batch: Any) -> Spread:
        from scipy import sparse

        matrix, codes = sparse_matrix(batch), batch.y_floats[0].astype(np.intp)
        counts = np.bincount(codes, minlength=self.classes).astype(np.float64)
        one_hot = sparse.csr_matrix((np.ones(len(codes)), (codes, np.arange(len(codes)))), (self.classes, len(codes)))
        with np.errstate(all="ignore"):
            sums = (one_hot @ matrix).toarray()
            squares = (one_hot @ matrix.multiply(matrix).tocsr()).toarray()
            means = np.divide(sums, counts[:, None], out=np.zeros_like(sums), where=counts[:, None] > 0)
            state = Spread(counts, means, squares - sums * means)
        if not np.isfinite(state.rests).all():
            state.first_bad = first_not_finite(batch)
        return state

    def merge(self, left: Spread, right: Spread) -> Spread:
        counts = left.counts + right.counts
        share = np.divide(right.counts, counts, out=np.zeros_like(counts), where=counts > 0)[:, None]
        with np.errstate(all="ignore"):
            apart = right.means - left.means
            rests = left.rests + right.rests + apart * apart * left.counts[:, None] * share
            means = left.means + apart * share
        return Spread(counts, means, rests, earliest([left.first_bad, right.first_bad]))

    def finish(self, state: Spread) -> Spread:
        if state.first_bad is not None:
            refuse(state.first_bad, self.names, self.who)
        return state
