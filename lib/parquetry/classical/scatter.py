"""Scatter: the means of classes, and the products of deviations from them, in one stable pass.

What discriminant analysis, Gaussian naive Bayes and principal components all rest on. Each class
is shifted by the mean of its own first rows before anything is multiplied, and states are merged
by the pairwise formula of Chan, Golub & LeVeque, "Algorithms for computing the sample variance:
analysis and recommendations", The American Statistician 37 (1983). Means carry what their rounding
leaves out, so classes around 1e9 with deviations of 1 lose nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from parquetry.classical.refusals import first_not_finite, refuse, sparse_matrix
from parquetry.classical.row_weights import require_products, require_weights
from parquetry.foundation.moments import two_sum
from parquetry.foundation.positions import Position, earliest
from parquetry.reduction import Reduction
from parquetry.view import Columns, FloatArray

Kind = Literal["spread", "within", "each"]

_CHUNK_VALUES = 2**19
_MOST_ROWS = 16_384
_FEWEST_ROWS = 1_024
_ONE_HOT_CLASSES = 16  # up to so many classes a matrix product adds rows up faster than counting does


@dataclass
class ScatterState:
    """Weighted moments of X by class.

    Attributes
    ----------
    weight : ndarray of shape (n_classes,)
        Sum of sample weights (the number of rows without them).
    mean, rest : ndarray of shape (n_classes, n_features)
        The means, and what their rounding leaves out; 0 for a class without weight.
    products : ndarray
        Sums of products of deviations from the class's own mean. ``"spread"``: squares alone, of
        shape ``(n_classes, n_features)``; ``"within"``: all classes together, of shape
        ``(n_features, n_features)``; ``"each"``: ``(n_classes, n_features, n_features)``.
    least_weight : float
        The smallest sample weight.
    first_bad : Position or None
        Where the first non-finite value stands.
    """

    weight: FloatArray
    mean: FloatArray
    rest: FloatArray
    products: FloatArray
    least_weight: float = 1.0
    first_bad: Position | None = None

    def overall(self) -> tuple[FloatArray, FloatArray]:
        """The mean of all rows, and each class's deviation from it, of shape ``(n_classes, n_features)``."""
        first = int(np.argmax(self.weight > 0))
        apart = (self.mean - self.mean[first]) + (self.rest - self.rest[first])
        middle = self.weight @ apart / self.weight.sum()
        mean, _ = two_sum(self.mean[first], self.rest[first] + middle)
        return mean, np.where(self.weight[:, None] > 0, apart - middle, 0.0)


class Scatter(Reduction[ScatterState, ScatterState]):
    """Means and products of deviations by class, weighted; dense X, or sparse X without classes.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards, and who refuses values in errors.
    names : sequence of str
        Names of X's columns, for errors.
    classes : int, default 1
        How many classes the view's encoded target has; 1 leaves the target alone.
    kind : {"within", "spread", "each"}, default "within"
        Which products are wanted; see :class:`ScatterState`.
    basis : ndarray of shape (n_features, n_directions) or None, default None
        Rows are seen along these directions in the place of their features.
    center : ndarray of shape (n_features,) or None, default None
        With ``basis``: what is taken off every row first, near enough to the mean.
    """

    def __init__(
        self,
        label: str,
        names: Sequence[str],
        *,
        classes: int = 1,
        kind: Kind = "within",
        basis: FloatArray | None = None,
        center: FloatArray | None = None,
    ) -> None:
        self.label, self.names, self.classes, self.kind = label, tuple(names), classes, kind
        self.basis, self.center = basis, center

    def partial(self, batch: Any) -> ScatterState:
        matrix = sparse_matrix(batch)
        # Values that are not finite are refused at the end, with their place.
        with np.errstate(all="ignore"):
            if matrix is not None and self.basis is None:
                state = _sparse_state(matrix, batch.weights)
            else:
                state = self._dense(batch, matrix)
        if batch.weights is not None:
            state.least_weight = float(batch.weights.min())
        if not (np.isfinite(state.mean).all() and np.isfinite(state.products).all()):
            state.first_bad = first_not_finite(batch)
        return state

    def merge(self, left: ScatterState, right: ScatterState) -> ScatterState:
        weight = left.weight + right.weight
        share = np.divide(right.weight, weight, out=np.zeros_like(weight), where=weight != 0)
        with np.errstate(all="ignore"):
            delta = (right.mean - left.mean) + (right.rest - left.rest)
            mean, rest = two_sum(left.mean, left.rest + delta * share[:, None])
            # From nothing to a mean of 1e9 the step itself would lose what the rest keeps.
            first = (left.weight == 0)[:, None]
            mean, rest = np.where(first, right.mean, mean), np.where(first, right.rest, rest)
            left.products += right.products
            left.products += self._products(delta * (left.weight * share)[:, None], delta)
        least = min(left.least_weight, right.least_weight)
        return ScatterState(weight, mean, rest, left.products, least, earliest([left.first_bad, right.first_bad]))

    def finish(self, state: ScatterState) -> ScatterState:
        if state.first_bad is not None:
            refuse(state.first_bad, self.names, self.label)
        require_weights(self.label, state.least_weight, float(state.weight.sum()))
        require_products(self.label, state.products)
        return state

    def _products(self, left: FloatArray, right: FloatArray) -> FloatArray:
        """Products of two rows a class, in the form of ``products``."""
        if self.kind == "spread":
            return left * right
        if self.kind == "within":
            return left.T @ right
        return np.asarray(left[:, :, None] * right[:, None, :])

    def _dense(self, batch: Any, matrix: Any) -> ScatterState:
        source = _Rows(batch, matrix, self.basis, self.center)
        codes = None if self.classes == 1 else batch.y_floats[0].astype(np.intp)
        sums = _Sums(self.classes, source.width, self.kind)
        for start in range(0, batch.num_rows, source.step):
            part = slice(start, min(start + source.step, batch.num_rows))
            weights = None if batch.weights is None else batch.weights[part]
            sums.add(source.read(part), None if codes is None else codes[part], weights)
        shift = sums.shift
        step = np.divide(sums.first, sums.weight[:, None], out=np.zeros_like(shift), where=sums.weight[:, None] != 0)
        mean, rest = two_sum(np.where(sums.weight[:, None] != 0, shift, 0.0), step)
        return ScatterState(sums.weight, mean, rest, sums.second - self._products(sums.first, step))


class _Rows:
    """A batch's rows a chunk at a time, as a matrix of shape ``(n_directions, n_rows)`` to be overwritten."""

    def __init__(self, batch: Any, matrix: Any, basis: FloatArray | None, center: FloatArray | None) -> None:
        self._matrix, self._basis = matrix, basis
        self._columns = batch.floats if isinstance(batch.X, Columns) else None
        if matrix is None and self._columns is None:
            self._matrix = np.asarray(batch.matrix, dtype=np.float64)
        inputs = len(self._columns) if self._columns is not None else self._matrix.shape[1]
        self.width = inputs if basis is None else basis.shape[1]
        wide = self.width if matrix is not None else max(inputs, self.width)
        self.step = min(_MOST_ROWS, max(_FEWEST_ROWS, _CHUNK_VALUES // max(1, wide)))
        self._center = np.zeros(inputs) if center is None else center
        if self._columns is not None:
            self._buffer = np.empty((inputs, min(batch.num_rows, self.step)))

    def read(self, part: slice) -> FloatArray:
        """The rows of one chunk."""
        if self._columns is None and hasattr(self._matrix, "tocsr"):
            assert self._basis is not None  # noqa: S101
            along = self._matrix[part] @ self._basis
            return np.asarray((along - self._center @ self._basis).T)
        if self._columns is not None:
            rows = self._buffer[:, : part.stop - part.start]
            for row, column in zip(rows, self._columns, strict=True):
                row[:] = column[part]
        else:
            rows = np.array(self._matrix[part]).T
        if self._basis is None:
            return rows
        rows -= self._center[:, None]
        return np.asarray(self._basis.T @ rows)


class _Sums:
    """First and second moments of a batch about a shift of each class: the mean of its first rows."""

    def __init__(self, classes: int, width: int, kind: Kind) -> None:
        self.kind, self.classes = kind, classes
        self.seen = np.zeros(classes, dtype=bool)
        self.shift, self.first = np.zeros((classes, width)), np.zeros((classes, width))
        self.weight = np.zeros(classes)
        shape = {"spread": (classes, width), "within": (width, width), "each": (classes, width, width)}[kind]
        self.second = np.zeros(shape)

    def add(self, rows: FloatArray, codes: npt.NDArray[np.intp] | None, weights: FloatArray | None) -> None:
        """Take a chunk of shape ``(n_features, n_rows)``, which is overwritten."""
        self._shift_by(rows, codes)
        if codes is None:
            rows -= self.shift[0][:, None]
            self.weight[0] += rows.shape[1] if weights is None else weights.sum()
        else:
            rows -= self.shift.T[:, codes] if rows.flags.c_contiguous else self.shift[codes].T
            self.weight += np.bincount(codes, weights, self.classes)
        weighted = rows if weights is None else rows * weights
        self.first += class_sums(weighted, codes, self.classes)
        if self.kind == "spread":
            self.second += class_sums(weighted * rows, codes, self.classes)
        elif self.kind == "within":
            self.second += weighted @ rows.T
        else:
            self._add_each(rows, weighted, codes)

    def _shift_by(self, rows: FloatArray, codes: npt.NDArray[np.intp] | None) -> None:
        """Classes that are met for the first time are shifted by their mean in this chunk."""
        counts = np.bincount(codes, minlength=self.classes) if codes is not None else np.array([rows.shape[1]])
        new = (counts > 0) & ~self.seen
        if new.any():
            sums = class_sums(rows, codes, self.classes)
            self.shift[new] = sums[new] / counts[new, None]
            self.seen |= new

    def _add_each(self, rows: FloatArray, weighted: FloatArray, codes: npt.NDArray[np.intp] | None) -> None:
        if codes is None:
            self.second[0] += weighted @ rows.T
            return
        order = np.argsort(codes, kind="stable")
        edges = np.searchsorted(codes[order], np.arange(self.classes + 1))
        for k in np.flatnonzero(np.diff(edges)):
            own = order[edges[k] : edges[k + 1]]
            mine = rows[:, own]
            self.second[k] += (mine if weighted is rows else weighted[:, own]) @ mine.T


def class_sums(rows: FloatArray, codes: npt.NDArray[np.intp] | None, classes: int) -> FloatArray:
    """The rows of each class added up: ``(n_features, n_rows)`` to ``(n_classes, n_features)``."""
    if codes is None:
        return np.asarray(rows.sum(axis=1)[None, :])
    if classes <= _ONE_HOT_CLASSES:
        one_hot = np.zeros((classes, len(codes)))
        one_hot[codes, np.arange(len(codes))] = 1.0
        return np.asarray(one_hot @ rows.T)
    return np.stack([np.bincount(codes, row, classes) for row in rows], axis=1)


def _sparse_state(matrix: Any, weights: FloatArray | None) -> ScatterState:
    """The same for a CSR matrix, all rows one class; no shift, which would fill its zeros."""
    weighted = matrix if weights is None else matrix.multiply(weights[:, None]).tocsr()
    first = np.asarray(weighted.sum(axis=0)).reshape(1, -1)
    weight = np.array([float(matrix.shape[0]) if weights is None else float(weights.sum())])
    mean = first / weight if weight[0] else np.zeros_like(first)
    products = (weighted.T @ matrix).toarray() - first.T @ mean
    return ScatterState(weight, mean, np.zeros_like(mean), products)
