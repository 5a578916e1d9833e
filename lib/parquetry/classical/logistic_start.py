"""What a logistic fit keeps of the rows, the scale that it works in, and the sample that it starts from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parquetry.block_cache import Arrays
from parquetry.classical.folds import Folds
from parquetry.foundation.moments import MomentsState
from parquetry.view import Batch, Columns, FloatArray, View, float_column

_HEAD_ROWS = 64


@dataclass(frozen=True, eq=False)
class LogisticArrays:
    """What a cached view keeps: X less a shift, class codes ``y``, weights ``w``, and for folds more.

    With folds it keeps each row's ``fold``; and where there are class weights, ``score_w``, the
    sample weights without them, by which held-out rows are scored.

    Parameters
    ----------
    shift : ndarray of shape (n_features,) or None
        Taken from each column, so that a mean far from zero costs no digits in any later pass.
        Sparse X is left as it is.
    n_classes : int
    folds : Folds or None, default None
    """

    shift: FloatArray | None
    n_classes: int
    folds: Folds | None = None

    def __call__(self, batch: Batch) -> Arrays:
        arrays = self._features(batch)
        arrays["y"] = batch.y_floats[0].astype(np.min_scalar_type(self.n_classes - 1))
        if batch.weights is not None:
            arrays["w"] = batch.weights
        if self.folds is not None:
            arrays["fold"] = self.folds.of(batch).astype(np.int32)
            name = batch.view.sample_weight
            if name is not None and batch.view.weight_step is not None:
                arrays["score_w"] = float_column(batch.table.column(name))
        return arrays

    def _features(self, batch: Batch) -> Arrays:
        if not isinstance(batch.X, Columns) and hasattr(batch.matrix, "tocsr"):
            csr = batch.matrix.tocsr()
            shape = np.array(csr.shape, dtype=np.int64)
            data = csr.data.astype(np.float64, copy=False)
            return {"X.data": data, "X.indices": csr.indices, "X.indptr": csr.indptr, "X.shape": shape}
        columns = batch.floats
        matrix = np.empty((len(columns), batch.num_rows))
        shift = np.zeros(len(columns)) if self.shift is None else self.shift
        for row, column, zero in zip(matrix, columns, shift, strict=True):
            np.subtract(column, zero, out=row)
        return {"X": matrix.T}


def head_shift(view: View) -> FloatArray | None:
    """About where the columns lie: the means of the first rows; None for sparse X."""
    batch = next(iter(view.head_batches(_HEAD_ROWS)))
    if not isinstance(batch.X, Columns) and hasattr(batch.matrix, "tocsr"):
        return None
    with np.errstate(all="ignore"):
        means = np.array([column.mean() for column in batch.floats])
    return np.where(np.isfinite(means), means, 0.0)


@dataclass(frozen=True)
class Scale:
    """The columns that a fit works in: ``(x - center) / deviation``, and a constant 1 for the intercept.

    It is a change of variables only: the penalty stays that of the original coefficients.

    Parameters
    ----------
    shift : ndarray of shape (n_features,)
        What the cached columns lack.
    away : ndarray of shape (n_features,)
        The center in the cached columns.
    deviation : ndarray of shape (n_features,)
    intercept : bool
    """

    shift: FloatArray
    away: FloatArray
    deviation: FloatArray
    intercept: bool

    @classmethod
    def of(cls, moments: MomentsState, shift: FloatArray | None, *, intercept: bool, centered: bool) -> Scale:
        """The scale of columns with these moments (of the cached columns)."""
        mean = moments.mean + moments.rest
        zero = np.zeros(len(mean)) if shift is None else shift
        away = mean if centered else -zero
        with np.errstate(all="ignore"):
            deviation = np.sqrt(moments.m2 / moments.weight + (mean - away) ** 2)
        # What rounding leaves of a constant column is no scale.
        least = 1e-13 * (np.abs(mean) + np.abs(zero))
        usable = np.isfinite(deviation) & (deviation > least)
        return cls(zero, away, np.where(usable, deviation, 1.0), intercept)

    @property
    def width(self) -> int:
        """Numbers in one row of coefficients."""
        return len(self.deviation) + self.intercept

    @property
    def center(self) -> FloatArray:
        """The center in the original columns."""
        return self.shift + self.away

    def cached(self, point: FloatArray) -> FloatArray:
        """Points ``(..., width)`` as coefficients of the cached columns, ``(..., n_features + 1)``."""
        n = len(self.deviation)
        coef = point[..., :n] / self.deviation
        offset = -(coef @ self.away)
        if self.intercept:
            offset = offset + point[..., n]
        return np.concatenate([coef, offset[..., None]], axis=-1)

    def original(self, point: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Points as coefficients ``(..., n_features)`` and intercepts ``(...)`` of the original columns."""
        cached = self.cached(point)
        coef = cached[..., :-1]
        intercept = cached[..., -1] - coef @ self.shift if self.intercept else np.zeros(point.shape[:-1])
        return coef, intercept

    def gradient(self, cached: FloatArray) -> FloatArray:
        """Sums ``(..., n_features + 1)`` by the cached columns as sums by these, ``(..., width)``."""
        along = (cached[..., :-1] - self.away * cached[..., -1:]) / self.deviation
        return np.concatenate([along, cached[..., -1:]], axis=-1) if self.intercept else along

    def diagonal(self, cached: FloatArray) -> FloatArray:
        """Sums by ``[x², x, 1]`` of the cached columns as sums by the squares of these."""
        n = len(self.deviation)
        square, first, total = cached[..., :n], cached[..., n : 2 * n], cached[..., 2 * n :]
        along = (square - 2.0 * self.away * first + self.away**2 * total) / self.deviation**2
        along = np.maximum(along, 0.0)
        return np.concatenate([along, total], axis=-1) if self.intercept else along

    def curvature(self, cached: FloatArray, rows: int) -> FloatArray:
        """Second derivatives by cached coefficients as those by a point's numbers."""
        n = len(self.deviation) + 1
        blocks = cached.reshape(rows, n, rows, n)
        half = self.gradient(blocks)
        full = np.moveaxis(self.gradient(np.moveaxis(half, 1, -1)), -1, 1)
        return np.ascontiguousarray(full).reshape(rows * self.width, rows * self.width)


@dataclass(frozen=True)
class SampleSize:
    """How many rows a sample takes.

    Parameters
    ----------
    rows : int
        About so many in all.
    values : int
        At most so many floats in all.
    """

    rows: int
    values: int
