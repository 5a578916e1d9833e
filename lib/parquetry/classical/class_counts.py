"""ClassCounts: what the features of each class add up to, dense or sparse, in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.refusals import first_below_zero, first_not_finite, refuse, sparse_matrix
from parquetry.classical.scatter import class_sums
from parquetry.errors import BadParameter, TooManyCategories
from parquetry.foundation.counts import LIMIT
from parquetry.foundation.positions import Position, earliest
from parquetry.reduction import Reduction
from parquetry.view import FloatArray

_CHUNK_VALUES = 2**19


@dataclass
class ClassSums:
    """Sums by class.

    Attributes
    ----------
    weight : ndarray of shape (n_classes,)
        Of the sample weights (the number of rows without them).
    features : ndarray of shape (n_classes, n_features)
        Of the features, weighted. For category counts a list of arrays of shape
        ``(n_classes, n_categories)`` instead, one a feature.
    least_weight : float
        The smallest sample weight.
    first_bad : Position or None
        Where the first value that is refused stands.
    """

    weight: FloatArray
    features: Any
    least_weight: float = 1.0
    first_bad: Position | None = None


class ClassCounts(Reduction[ClassSums, ClassSums]):
    """Adds up X by the classes of an encoded target, weighted.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards, and who refuses values in errors.
    names : sequence of str
        Names of X's columns, for errors.
    classes : int
    threshold : float or None, default None
        Count the values above it in the place of adding values up.
    negative : bool, default True
        Whether values below zero are allowed.
    """

    def __init__(
        self,
        label: str,
        names: Sequence[str],
        classes: int,
        *,
        threshold: float | None = None,
        negative: bool = True,
    ) -> None:
        self.label, self.names, self.classes = label, tuple(names), classes
        self.threshold, self.negative = threshold, negative

    def partial(self, batch: Any) -> ClassSums:
        codes = batch.y_floats[0].astype(np.intp)
        weight = np.bincount(codes, batch.weights, self.classes).astype(np.float64)
        matrix = sparse_matrix(batch)
        with np.errstate(all="ignore"):
            if matrix is None:
                features, good = self._dense(batch, codes)
            else:
                features, good = self._sparse(matrix, codes, batch.weights)
        state = ClassSums(weight, features)
        if not good:
            below = None if self.negative else first_below_zero(batch)
            state.first_bad = earliest([first_not_finite(batch), below])
        if batch.weights is not None:
            state.least_weight = float(batch.weights.min())
        return state

    def merge(self, left: ClassSums, right: ClassSums) -> ClassSums:
        left.features += right.features
        return ClassSums(
            left.weight + right.weight,
            left.features,
            min(left.least_weight, right.least_weight),
            earliest([left.first_bad, right.first_bad]),
        )

    def finish(self, state: ClassSums) -> ClassSums:
        if state.first_bad is not None:
            refuse(state.first_bad, self.names, self.label)
        _check_weights(state, self.label)
        return state

    def _dense(self, batch: Any, codes: npt.NDArray[np.intp]) -> tuple[FloatArray, bool]:
        columns, rows = batch.floats, batch.num_rows
        step = min(16_384, max(1_024, _CHUNK_VALUES // max(1, len(columns))))
        buffer = np.empty((len(columns), min(rows, step)))
        total, good = np.zeros((self.classes, len(columns))), True
        for start in range(0, rows, step):
            part = slice(start, min(start + step, rows))
            chunk = buffer[:, : part.stop - start]
            for row, column in zip(chunk, columns, strict=True):
                row[:] = column[part]
            good = good and bool(np.isfinite(chunk.sum()))
            good = good and (self.negative or bool(chunk.min() >= 0))
            if self.threshold is not None:
                np.greater(chunk, self.threshold, out=chunk)
            if batch.weights is not None:
                chunk *= batch.weights[part]
            total += class_sums(chunk, codes[part], self.classes)
        return total, good

    def _sparse(self, matrix: Any, codes: npt.NDArray[np.intp], weights: Any) -> tuple[FloatArray, bool]:
        from scipy import sparse

        good = bool(np.isfinite(matrix.data.sum())) and (self.negative or matrix.data.min(initial=0.0) >= 0)
        data = matrix.data if self.threshold is None else (matrix.data > self.threshold).astype(np.float64)
        counted = sparse.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
        rows = len(codes)
        values = np.ones(rows) if weights is None else weights
        one_hot = sparse.csr_matrix((values, (codes, np.arange(rows))), shape=(self.classes, rows))
        return (one_hot @ counted).toarray(), bool(good)


class CategoryCounts(Reduction[ClassSums, ClassSums]):
    """Counts each feature's category codes by the classes of an encoded target, weighted.

    Parameters
    ----------
    label : str
    names : sequence of str
    classes : int
    limit : int, default 1_000_000
        Most categories of a feature; above it ``TooManyCategories`` is raised.
    """

    def __init__(self, label: str, names: Sequence[str], classes: int, *, limit: int = LIMIT) -> None:
        self.label, self.names, self.classes, self.limit = label, tuple(names), classes, limit

    def partial(self, batch: Any) -> ClassSums:
        codes = batch.y_floats[0].astype(np.intp)
        weight = np.bincount(codes, batch.weights, self.classes).astype(np.float64)
        state = ClassSums(weight, [])
        if batch.weights is not None:
            state.least_weight = float(batch.weights.min())
        bad = first_not_finite(batch)
        # Codes are cut to whole numbers first, as scikit-learn does: -0.5 is category 0.
        whole = [] if bad is not None else [np.trunc(column) for column in batch.floats]
        if any(column.min() < 0 for column in whole):
            bad = first_below_zero(_Whole(batch, whole))
        if bad is not None:
            state.first_bad, state.features = bad, [np.zeros((self.classes, 0)) for _ in self.names]
            return state
        state.features = [self._counts(column, codes, batch.weights) for column in whole]
        return state

    def merge(self, left: ClassSums, right: ClassSums) -> ClassSums:
        features = [_added(a, b) for a, b in zip(left.features, right.features, strict=True)]
        least = min(left.least_weight, right.least_weight)
        return ClassSums(left.weight + right.weight, features, least, earliest([left.first_bad, right.first_bad]))

    def finish(self, state: ClassSums) -> ClassSums:
        if state.first_bad is not None:
            refuse(state.first_bad, self.names, self.label)
        for name, counts in zip(self.names, state.features, strict=True):
            if counts is None:
                raise TooManyCategories(
                    f"{self.label}: column {name!r} has category codes above {self.limit:,}.",
                    why="A count of every code up to the largest is held in memory, and becomes a part of the model.",
                    fix="Encode it with OrdinalEncoder, or leave the column out.",
                )
        _check_weights(state, self.label)
        return state

    def _counts(self, column: FloatArray, codes: npt.NDArray[np.intp], weights: Any) -> FloatArray | None:
        most = float(column.max()) + 1
        if most > self.limit:
            return None
        wide = int(most)
        places = codes * wide + column.astype(np.intp)
        counts = np.bincount(places, weights, self.classes * wide)
        return counts.astype(np.float64).reshape(self.classes, wide)


class _Whole:
    """A batch whose features were cut to whole numbers: what the search for a bad one looks at."""

    def __init__(self, batch: Any, columns: list[FloatArray]) -> None:
        self.X = self.matrix = np.stack(columns, axis=1)
        self.floats, self.rows, self.block = columns, batch.rows, batch.block


def _added(left: FloatArray | None, right: FloatArray | None) -> FloatArray | None:
    """Counts of both, as wide as the wider; None stands for too many."""
    if left is None or right is None:
        return None
    small, large = (left, right) if left.shape[1] < right.shape[1] else (right, left)
    large[:, : small.shape[1]] += small
    return large


def _check_weights(state: ClassSums, who: str) -> None:
    if state.least_weight < 0:
        raise BadParameter(
            f"{who}: sample weights must be non-negative; the least is {state.least_weight!r}.",
            fix="Mend the weight column, or leave sample_weight out.",
        )
