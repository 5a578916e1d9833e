"""Moments: count, mean, spread and extremes of every column, stable, in one pass.

Rows are centered by the mean of their own chunk before they are squared, and chunks are merged
pairwise: Chan, Golub & LeVeque, "Algorithms for computing the sample variance: analysis and
recommendations", The American Statistician 37 (1983).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.errors import BadParameter
from parquetry.foundation.positions import Position, Values, earliest, features, first_non_finite, refusal
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns, FloatArray

_CHUNK_VALUES = 2**17  # 1 MiB of float64: what a core's own cache holds
_MOST_ROWS = 16_384
_FEWEST_ROWS = 512


@dataclass
class MomentsState:
    """Moments of each column over its non-NaN values; arrays of shape ``(n_columns,)``.

    Attributes
    ----------
    rows : int
        Rows seen, NaN or not.
    count : ndarray of int64
        Values that are not NaN.
    weight : ndarray
        Sum of their sample weights (``count`` where there are none).
    mean, rest : ndarray
        The mean, and what its rounding leaves out: at a mean of 1e9 that is 1e-7, too much to
        lose where differences of means are squared.
    m2 : ndarray
        Weighted sum of squared deviations from the mean.
    minimum, maximum : ndarray
        Infinite (inf, -inf) where a column has no value.
    least_weight : float
        The smallest sample weight.
    suspect : bool
        Whether there may be an infinity.
    refused : Position or None
        The first value that is refused; a sample weight's column stands behind all others.
    """

    rows: int
    count: Any
    weight: FloatArray
    mean: FloatArray
    rest: FloatArray
    m2: FloatArray
    minimum: FloatArray
    maximum: FloatArray
    least_weight: float = 1.0
    suspect: bool = False
    refused: Position | None = None

    @property
    def variance(self) -> FloatArray:
        """``m2 / weight``, NaN for a column without values."""
        seen = self.weight != 0
        return np.divide(self.m2, self.weight, out=np.full_like(self.m2, np.nan), where=seen)

    @property
    def mean_or_nan(self) -> FloatArray:
        """The mean, NaN for a column without values."""
        return np.where(self.weight != 0, self.mean + self.rest, np.nan)


class Moments(Reduction[MomentsState, MomentsState]):
    """Count, mean, sum of squared deviations, minimum and maximum of each column; NaN is left out.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    names : sequence of str
        The columns' names, for errors.
    values : callable, default features
        Gives a batch's columns as 1-D float arrays. X itself may be sparse too; it has no
        extremes then.
    nan : bool, default True
        Whether NaN is allowed (and left out); infinity never is.
    weighted : bool, default False
        Weight the rows by the view's sample weight.
    squares, extremes : bool, default True
        Whether ``m2``, and ``minimum`` and ``maximum``, are wanted.
    """

    label = "moments"

    def __init__(
        self,
        who: str,
        names: Sequence[str],
        *,
        values: Values = features,
        nan: bool = True,
        weighted: bool = False,
        squares: bool = True,
        extremes: bool = True,
    ) -> None:
        self.who, self.names, self.values = who, tuple(names), values
        self.nan, self.weighted, self.squares, self.extremes = nan, weighted, squares, extremes

    def partial(self, batch: Batch) -> MomentsState:
        weights = batch.weights if self.weighted else None
        sparse = self.values is features and not isinstance(batch.X, Columns) and hasattr(batch.matrix, "tocsr")
        with np.errstate(all="ignore"):
            if sparse:
                state = _sparse_moments(batch.matrix.tocsr(), weights)
            else:
                state = self._dense(self.values(batch), batch.num_rows, weights)
        if state.suspect or (not self.nan and (state.count < state.rows).any()):
            nan = not self.nan
            state.refused = (
                first_stored(batch, nan=nan) if sparse else first_non_finite(batch, self.values(batch), nan=nan)
            )
        if weights is not None:
            self._look_at_weights(state, batch, weights)
        return state

    def _look_at_weights(self, state: MomentsState, batch: Batch, weights: FloatArray) -> None:
        state.least_weight = float(weights.min())
        bad = first_non_finite(batch, [weights], nan=True)
        if bad is not None:
            state.refused = earliest([state.refused, replace(bad, column=len(self.names))])

    def merge(self, left: MomentsState, right: MomentsState) -> MomentsState:
        # Infinities are refused at the end, and overflow is scikit-learn's own result, too.
        with np.errstate(all="ignore"):
            return merge_moments(left, right)

    def finish(self, state: MomentsState) -> MomentsState:
        if state.refused is not None:
            raise refusal(state.refused, [*self.names, "sample_weight"], self.who)
        if self.weighted and not (state.least_weight >= 0 and np.isfinite(state.weight).all()):
            raise BadParameter(
                f"{self.who}: sample weights must be non-negative, and their sum finite; the least is "
                f"{state.least_weight!r}, their sum {float(state.weight.max(initial=0.0))!r}.",
                fix="Mend the weight column, or leave sample_weight out.",
            )
        return state

    def _dense(self, columns: list[FloatArray], rows: int, weights: FloatArray | None) -> MomentsState:
        step = min(_MOST_ROWS, max(_FEWEST_ROWS, _CHUNK_VALUES // max(1, len(columns))))
        buffer = np.empty((len(columns), min(rows, step)))
        total = empty_moments(len(columns))
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            chunk = buffer[:, : stop - start]
            for row, column in zip(chunk, columns, strict=True):
                row[:] = column[start:stop]
            part = self._chunk(chunk, None if weights is None else weights[start:stop])
            total = merge_moments(total, part)
        return total

    def _chunk(self, chunk: FloatArray, weights: FloatArray | None) -> MomentsState:
        """Moments of a chunk of shape ``(n_columns, n_rows)``, which is overwritten."""
        state = empty_moments(len(chunk))
        state.rows = chunk.shape[1]
        state.count[:] = state.rows
        missing = None
        if not np.isfinite(chunk.sum(axis=1)).all():
            missing = np.isnan(chunk)
            state.count -= missing.sum(axis=1)
            np.copyto(chunk, 0.0, where=missing)
            state.suspect = not np.isfinite(chunk.sum(axis=1)).all()
        if self.extremes:
            state.minimum = _extreme(np.minimum, chunk, missing, np.inf)
            state.maximum = _extreme(np.maximum, chunk, missing, -np.inf)
        if weights is None:
            state.weight = state.count.astype(np.float64)
            self._center(state, chunk, missing, None)
        else:
            kept = np.broadcast_to(weights, chunk.shape) if missing is None else np.where(missing, 0.0, weights)
            state.weight = kept.sum(axis=1)
            self._center(state, chunk, missing, kept)
        return state

    def _center(self, state: MomentsState, chunk: FloatArray, missing: Any, weights: Any) -> None:
        """Two passes over a chunk, the second with the correction of the mean's own rounding."""
        state.mean = _or_zero(_sums(chunk, weights), state.weight)
        if not self.squares:
            return
        chunk -= state.mean[:, None]
        if missing is not None:
            np.copyto(chunk, 0.0, where=missing)
        state.rest = _or_zero(_sums(chunk, weights), state.weight)
        weighted = chunk if weights is None else chunk * weights
        state.m2 = np.einsum("ij,ij->i", weighted, chunk) - state.rest * state.rest * state.weight


def empty_moments(width: int) -> MomentsState:
    """The moments of no rows."""
    zeros = np.zeros((4, width))
    count = np.zeros(width, dtype=np.int64)
    low, high = np.full(width, np.inf), np.full(width, -np.inf)
    return MomentsState(0, count, zeros[0], zeros[1], zeros[2], zeros[3], low, high)


def merge_moments(left: MomentsState, right: MomentsState) -> MomentsState:
    """Moments of both parts (Chan's pairwise formula)."""
    weight = left.weight + right.weight
    share = np.divide(right.weight, weight, out=np.zeros_like(weight), where=weight != 0)
    delta = (right.mean - left.mean) + (right.rest - left.rest)
    mean, rest = two_sum(left.mean, left.rest + delta * share)
    # From a mean of 0 to one of 1e9 the step itself would lose what the rest keeps.
    first = left.weight == 0
    mean, rest = np.where(first, right.mean, mean), np.where(first, right.rest, rest)
    return MomentsState(
        left.rows + right.rows,
        left.count + right.count,
        weight,
        mean,
        rest,
        left.m2 + right.m2 + delta * delta * left.weight * share,
        np.minimum(left.minimum, right.minimum),
        np.maximum(left.maximum, right.maximum),
        min(left.least_weight, right.least_weight),
        left.suspect or right.suspect,
        earliest([left.refused, right.refused]),
    )


def two_sum(large: FloatArray, small: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rounded sum and its rounding error (Knuth's two-sum)."""
    total = large + small
    back = total - large
    return total, (large - (total - back)) + (small - back)


def _sums(chunk: FloatArray, weights: Any) -> FloatArray:
    sums: FloatArray = chunk.sum(axis=1) if weights is None else np.einsum("ij,ij->i", chunk, weights)
    return sums


def _or_zero(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole != 0)


def _extreme(pick: np.ufunc, chunk: FloatArray, missing: Any, nothing: float) -> FloatArray:
    found: FloatArray = pick.reduce(chunk if missing is None else np.where(missing, nothing, chunk), axis=1)
    return found


def _sparse_moments(matrix: Any, weights: FloatArray | None) -> MomentsState:
    """Moments of a CSR matrix's columns, zeros included."""
    from sklearn.utils.sparsefuncs import mean_variance_axis

    mean, variance, weight = mean_variance_axis(matrix, axis=0, weights=weights, return_sum_weights=True)
    state = empty_moments(matrix.shape[1])
    missing = np.bincount(matrix.indices[np.isnan(matrix.data)], minlength=matrix.shape[1])
    state.rows, state.count = matrix.shape[0], matrix.shape[0] - missing
    state.weight = np.broadcast_to(np.asarray(weight, dtype=np.float64), mean.shape).copy()
    seen = state.weight != 0
    state.mean = np.where(seen, mean, 0.0)
    state.m2 = np.where(seen, variance * state.weight, 0.0)
    state.suspect = bool(np.isinf(matrix.data).any())
    return state


def first_stored(batch: Batch, *, nan: bool) -> Position | None:
    """The first infinity (or NaN) among the stored values of a sparse X."""
    matrix = batch.matrix.tocsr()
    bad = np.flatnonzero(~np.isfinite(matrix.data) if nan else np.isinf(matrix.data))
    if not len(bad):
        return None
    row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
    what = "NaN" if np.isnan(matrix.data[bad[0]]) else "infinity"
    block = batch.block
    column = int(matrix.indices[bad[0]])
    return Position(block.index, int(batch.rows[row]), column, what, block.path, block.row_group)
