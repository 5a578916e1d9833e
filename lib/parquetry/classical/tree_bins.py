"""Bins for trees: at most 255 a feature, from one pass over all rows.

A feature of 255 distinct values or fewer gets one bin a value. Any other gets quantile bins from a
sketch that every batch of rows is sorted for: weighted order statistics, merged and thinned out
(Munro & Paterson, "Selection and sorting with limited storage", 1980). Thinning to ``k`` points
moves a rank by at most ``1/2k`` of the rows; with the 2048 points of up to 512 features a bin's
edge stands within 0.1 % of its rank for most, 0.5 % for any order of merging.

scikit-learn's trees see float32, and so do bins.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.errors import NonFiniteValues
from parquetry.foundation.positions import Position, earliest, position_of, refusal
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns, FloatArray

Float32Array = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

MAX_BINS = 255

_POINTS = 2048  # of a column's sketch after thinning
_FEWEST_POINTS = 512
_ALL_POINTS = 2**20  # over all columns


# --- the sketch -----------------------------------------------------------------------------
@dataclass
class ColumnSketch:
    """What is known of one column.

    Attributes
    ----------
    values : ndarray of float32
        Ascending and distinct: all that there are, or a thinned-out choice.
    counts : ndarray of int64
        The rows that each stands for.
    many : bool
        Whether there are more than 255 distinct values.
    missing : int
        Rows where it is NaN.
    refused : Position or None
        The first value that is not finite, or too large for float32.
    """

    values: Float32Array
    counts: IntArray
    many: bool
    missing: int
    refused: Position | None = None


class Sketch(Reduction[list[ColumnSketch], list[ColumnSketch]]):
    """Distinct values or quantiles of every column of X; infinity is refused.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    names : sequence of str
        The columns' names, for errors.
    nan : bool
        Whether NaN is allowed.
    """

    label = "bins"

    def __init__(self, who: str, names: Sequence[str], *, nan: bool) -> None:
        self.who, self.names, self.nan = who, tuple(names), nan
        self.points = min(_POINTS, max(_FEWEST_POINTS, _ALL_POINTS // max(1, len(names))))

    def partial(self, batch: Batch) -> list[ColumnSketch]:
        return [self._column(batch, i, values, zeros) for i, (values, zeros) in enumerate(_columns(batch))]

    def merge(self, left: list[ColumnSketch], right: list[ColumnSketch]) -> list[ColumnSketch]:
        return [self._merged(a, b) for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[ColumnSketch]) -> list[ColumnSketch]:
        first = earliest([column.refused for column in state])
        if first is None:
            return state
        if first.what == "a value too large":
            raise NonFiniteValues(
                f"{self.who}: column {self.names[first.column]!r} holds a value too large for float32, first in "
                f"{first.path}, row group {first.row_group}, row {first.row}.",
                why="scikit-learn's trees see float32.",
                fix="Scale the column first.",
            )
        raise refusal(first, self.names, self.who)

    def _column(self, batch: Batch, i: int, values: Any, zeros: int) -> ColumnSketch:
        with np.errstate(over="ignore"):
            ordered = np.sort(values.astype(np.float32))  # NaN stands last
        known = int(np.searchsorted(ordered, np.float32(np.nan)))
        missing = len(ordered) - known
        ordered = ordered[:known]
        refused = None
        if known and not (np.isfinite(ordered[0]) and np.isfinite(ordered[-1])):
            infinite = np.isinf(values)
            refused = position_of(batch, infinite, i, "infinity") or position_of(
                batch, np.abs(values) > np.finfo(np.float32).max, i, "a value too large"
            )
        if missing and not self.nan:
            refused = earliest([refused, position_of(batch, np.isnan(values), i, "NaN")])
        ordered += np.float32(0)  # one zero: -0.0 becomes 0.0
        starts = np.flatnonzero(np.append(known > 0, ordered[1:] != ordered[:-1])[:known])
        counts = np.diff(np.append(starts, known))
        column = ColumnSketch(ordered[starts], counts, len(starts) > MAX_BINS, missing, refused)
        if zeros:
            left_out = ColumnSketch(np.zeros(1, np.float32), np.array([zeros]), many=False, missing=0)
            column = self._merged(column, left_out)
        return self._thinned(column)

    def _merged(self, left: ColumnSketch, right: ColumnSketch) -> ColumnSketch:
        values = np.concatenate([left.values, right.values])
        counts = np.concatenate([left.counts, right.counts])
        order = np.argsort(values, kind="stable")
        values, counts = values[order], counts[order]
        starts = np.flatnonzero(np.append(len(values) > 0, values[1:] != values[:-1])[: len(values)])
        counts = np.add.reduceat(counts, starts) if len(starts) else counts
        many = left.many or right.many or len(starts) > MAX_BINS
        first = earliest([left.refused, right.refused])
        return self._thinned(ColumnSketch(values[starts], counts, many, left.missing + right.missing, first))

    def _thinned(self, column: ColumnSketch) -> ColumnSketch:
        if len(column.values) <= 2 * self.points:
            return column
        ends = np.cumsum(column.counts)
        total, points = int(ends[-1]), self.points
        wanted = (2 * np.arange(points) + 1) * total // (2 * points)
        places = np.searchsorted(ends, wanted, side="right")
        places[0], places[-1] = 0, len(ends) - 1  # the extremes stay
        shares = np.diff(np.arange(points + 1) * total // points)
        starts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
        column.values = column.values[places[starts]]
        column.counts = np.add.reduceat(shares, starts)
        return column


def _columns(batch: Batch) -> Iterator[tuple[Any, int]]:
    """Each column's stored values, and how many zeros a sparse one leaves out."""
    if isinstance(batch.X, Columns) or not hasattr(batch.matrix, "tocsc"):
        for values in batch.floats:
            yield values, 0
        return
    matrix = batch.matrix.tocsc()
    for i in range(matrix.shape[1]):
        values = matrix.data[matrix.indptr[i] : matrix.indptr[i + 1]]
        yield values, matrix.shape[0] - len(values)


# --- bins -----------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Bins:
    """The bins of every feature.

    Attributes
    ----------
    values : list of ndarray of float32
        A value that stands for each bin: the only one in it, or its median.
    edges : list of ndarray of float64
        Between each two bins; a value on an edge belongs to the lower bin.
    exact : ndarray of bool, shape (n_features,)
        Whether each bin holds one value.
    missing : ndarray of bool, shape (n_features,)
        Whether some rows lack the feature.
    """

    values: list[Float32Array]
    edges: list[FloatArray]
    exact: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, columns: Sequence[ColumnSketch]) -> Bins:
        """The bins that a sketch of all rows gives."""
        parts = [_binned(column) for column in columns]
        return cls(
            [values for values, _ in parts],
            [edges for _, edges in parts],
            np.array([not column.many for column in columns]),
            np.array([column.missing > 0 for column in columns]),
        )

    @property
    def n_features(self) -> int:
        """How many features there are."""
        return len(self.values)

    @property
    def missing_code(self) -> int:
        """The code of a missing value: the first one that no bin has."""
        return max(len(values) for values in self.values)

    @property
    def n_codes(self) -> int:
        """How many codes there are."""
        return self.missing_code + bool(self.missing.any())

    @property
    def table(self) -> Float32Array:
        """The value of each code of each feature, NaN for the missing one; shape ``(n_features, 256)``."""
        table = np.full((self.n_features, 256), np.nan, dtype=np.float32)
        for row, values in zip(table, self.values, strict=True):
            row[: len(values)] = values
        return table

    def codes_of(self, feature: Any, thresholds: Any) -> IntArray:
        """The last bin whose values are at most the threshold, for pairs of both."""
        codes = np.empty(len(feature), dtype=np.int64)
        for f in np.unique(feature):
            here = feature == f
            codes[here] = np.searchsorted(self.values[f], thresholds[here], side="right") - 1
        return codes


def _binned(column: ColumnSketch) -> tuple[Float32Array, FloatArray]:
    if not len(column.values):
        return np.zeros(1, dtype=np.float32), np.empty(0)
    if not column.many:
        return column.values, _between(column.values[:-1], column.values[1:])
    labels = _labels(column.counts)
    starts = np.flatnonzero(np.append(True, labels[1:] != labels[:-1]))
    ends = np.append(starts[1:], len(labels))
    reached = np.cumsum(column.counts)
    before = np.append(0, reached)[starts]
    middles = np.searchsorted(reached, (before + reached[ends - 1]) / 2)
    return column.values[middles], _between(column.values[ends[:-1] - 1], column.values[ends[:-1]])


def _between(low: Float32Array, high: Float32Array) -> FloatArray:
    """The middle, as scikit-learn computes it."""
    return low.astype(np.float64) / 2.0 + high.astype(np.float64) / 2.0


def _labels(counts: IntArray) -> IntArray:
    """The bin of each point: equal shares, where a frequent value counts as one bin's share at most."""
    weights = counts.astype(np.float64)
    share = weights.sum() / MAX_BINS
    while True:
        heavy = weights > share
        lower = weights[~heavy].sum() / max(1, MAX_BINS - int(heavy.sum()))
        if lower >= share or not heavy.any():
            break
        share = lower
    weights = np.minimum(weights, max(share, 1.0))
    ends = np.cumsum(weights)
    labels: IntArray = ((ends - weights / 2) * (MAX_BINS / ends[-1])).astype(np.int64)
    return np.minimum(labels, MAX_BINS - 1)
