"""Points: the rows of a batch in small centered pieces, dense or sparse, for methods of distances.

A piece stays in the processor's cache while centers are compared with it. What is asked of it is
compiled loops, matrix products and whole-array operations, which leave the interpreter's lock to other threads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from parquetry.block_cache import CachedBatch
from parquetry.view import FloatArray

_CHUNK_VALUES = 2**18  # about 2 MiB of float64: what a core's second-level cache holds
_FEWEST_ROWS, _MOST_ROWS = 512, 16_384
_TABLE_VALUES = 2**19  # of the distances of a piece's rows to all centers
_SPARSE_ROWS = 65_536
_ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class DensePoints:
    """Centered rows as columns.

    Parameters
    ----------
    z : ndarray of shape (n_features + 1, n_rows)
        The last row is all ones, so that one product gives sums and counts.
    """

    z: FloatArray

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.z.shape[1])

    @cached_property
    def norms(self) -> FloatArray:
        """Squared norms, shape ``(n_rows,)``."""
        x = self.z[:-1]
        return np.asarray(np.einsum("ij,ij->j", x, x))

    def scores(self, centers: FloatArray) -> FloatArray:
        """``||c||² - 2 x·c``: squared distances less the row's own norm; shape ``(n_centers, n_rows)``."""
        return np.asarray(np.column_stack([-2.0 * centers, squared_norms(centers)]) @ self.z)

    def sums(self, shares: FloatArray) -> FloatArray:
        """Sums of the rows and of the shares: ``(n_centers, n_rows)`` to ``(n_centers, n_features + 1)``."""
        return np.asarray(shares @ self.z.T)

    def nearest_sums(self, centers: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Sums of the rows nearest to each center, and their weights: ``(n_centers, n_features + 1)``."""
        sums = np.zeros((len(centers), len(self.z)))
        given = np.empty(0) if weights is None else np.ascontiguousarray(weights, dtype=np.float64)
        kernels().nearest_sums(np.ascontiguousarray(self.z), *_factors(centers), given, sums)
        return sums

    def nearest_labels(self, centers: FloatArray) -> tuple[Any, FloatArray]:
        """Each row's nearest center, int64, the first of equals; and its score."""
        labels, least = np.empty(self.size, dtype=np.int64), np.empty(self.size)
        kernels().nearest_labels(np.ascontiguousarray(self.z), *_factors(centers), labels, least)
        return labels, least

    def distances(self, centers: FloatArray, labels: Any) -> FloatArray:
        """Squared distances to the labelled centers, without cancellation; shape ``(n_rows,)``."""
        out = np.empty(self.size)
        columns = np.ascontiguousarray(centers.T)
        kernels().label_distances(np.ascontiguousarray(self.z), columns, np.asarray(labels, dtype=np.int64), out)
        return out

    def take(self, places: Any) -> DensePoints:
        """Some of the rows."""
        return DensePoints(self.z[:, places])

    def rows(self, places: Any) -> Any:
        """Some of the rows, shape ``(n_places, n_features)``."""
        return self.z[:-1, places].T.copy()


@dataclass(frozen=True)
class SparsePoints:
    """Rows as they are stored: centering would fill the zeros.

    Parameters
    ----------
    matrix : csr_matrix of shape (n_rows, n_features)
    """

    matrix: Any

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.matrix.shape[0])

    @cached_property
    def norms(self) -> FloatArray:
        """Squared norms, shape ``(n_rows,)``."""
        return np.asarray(self.matrix.multiply(self.matrix).sum(axis=1)).ravel()

    def scores(self, centers: FloatArray) -> FloatArray:
        """See :meth:`DensePoints.scores`."""
        scores: FloatArray = np.ascontiguousarray((self.matrix @ (-2.0 * centers.T) + squared_norms(centers)).T)
        return scores

    def sums(self, shares: FloatArray) -> FloatArray:
        """See :meth:`DensePoints.sums`."""
        return np.asarray(np.column_stack([(self.matrix.T @ shares.T).T, shares.sum(axis=1)]))

    def nearest_sums(self, centers: FloatArray, weights: FloatArray | None) -> FloatArray:
        """See :meth:`DensePoints.nearest_sums`."""
        shares = nearest(self, centers)
        return self.sums(np.asarray(shares, dtype=np.float64) if weights is None else np.multiply(shares, weights))

    def nearest_labels(self, centers: FloatArray) -> tuple[Any, FloatArray]:
        """See :meth:`DensePoints.nearest_labels`."""
        scores = self.scores(centers)
        labels = scores.argmin(axis=0)
        return labels, scores[labels, np.arange(self.size)]

    def distances(self, centers: FloatArray, labels: Any) -> FloatArray:
        """Squared distances to the labelled centers, shape ``(n_rows,)``."""
        chosen = self.scores(centers)[labels, np.arange(self.size)]
        return np.asarray(np.maximum(chosen + self.norms, 0.0))

    def take(self, places: Any) -> SparsePoints:
        """Some of the rows."""
        return SparsePoints(self.matrix[places])

    def rows(self, places: Any) -> Any:
        """Some of the rows, a CSR matrix of shape ``(n_places, n_features)``."""
        return self.matrix[places]


Points = DensePoints | SparsePoints


def kernels() -> Any:
    """The compiled loops; what only looks at this module needs no compiler."""
    from parquetry.classical import center_kernels

    return center_kernels


def _factors(centers: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The centers as the compiled loops take them."""
    count, width = centers.shape
    padded = -(-count // kernels().TOGETHER) * kernels().TOGETHER
    factors, constants = np.zeros((padded, width)), np.full(padded, np.inf)
    np.multiply(centers, -2.0, out=factors[:count])
    constants[:count] = squared_norms(centers)
    return factors, constants


@dataclass(frozen=True)
class Router:
    """Sorts rows into the leaves of a tree of two-way splits; a row goes to the nearer center.

    Parameters
    ----------
    splits : tuple of (int, ndarray of shape (2, n_features), int, int)
        Each inner node, its parent before it: its number, its centers, its children's numbers. The root is 0.
    """

    splits: tuple[tuple[int, FloatArray, int, int], ...] = ()

    def __call__(self, points: Points) -> Any:
        """The leaf of each row."""
        at = np.zeros(points.size, dtype=np.int64)
        for node, centers, left, right in self.splits:
            sides, _ = points.nearest_labels(centers)
            at = np.where(at == node, np.where(sides, right, left), at)
        return at


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some rows of a batch.

    Parameters
    ----------
    points : DensePoints or SparsePoints
    weights : ndarray of shape (n_rows,), or None
    rows : ndarray of shape (n_rows,)
        Positions in the row group.
    block : Block
    router : Router or None
    """

    points: Points
    weights: FloatArray | None
    rows: Any
    block: Any
    router: Router | None = None

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.points.size

    @cached_property
    def leaves(self) -> Any:
        """The leaf of each row."""
        return (self.router or Router())(self.points)

    def of(self, node: int | None) -> Chunk:
        """The rows of one leaf; None for all."""
        if node is None:
            return self
        return self._take(np.flatnonzero(self.leaves == node))

    def pieces(self, n_centers: int) -> Iterator[Chunk]:
        """The same rows in pieces whose table of distances stays small however many centers there are."""
        step = max(_FEWEST_ROWS, _TABLE_VALUES // n_centers)
        if self.size <= step:
            yield self
            return
        for start in range(0, self.size, step):
            yield self._take(slice(start, start + step))

    def _take(self, places: Any) -> Chunk:
        weights = None if self.weights is None else self.weights[places]
        return Chunk(self.points.take(places), weights, self.rows[places], self.block)


def chunks(batch: CachedBatch, mean: FloatArray, router: Router | None = None) -> Iterator[Chunk]:
    """A batch's rows in pieces, less ``mean``; a piece is overwritten by the next.

    How they are cut depends on the number of features alone, so that what is summed over a chunk
    is the same to the last bit whatever else is asked in the same pass.
    """
    weights, rows, count, width = batch.weights, batch.rows, batch.num_rows, len(mean)
    # On the first pass the columns are still apart: they are put together a chunk at a time.
    columns = batch.arrays["X"] if isinstance(batch.arrays.get("X"), list) else None
    matrix: Any = None if columns else batch.matrix
    sparse = hasattr(matrix, "tocsr")
    if sparse:
        matrix, step = matrix.tocsr(), _SPARSE_ROWS
    else:
        step = min(_MOST_ROWS, max(_FEWEST_ROWS, _CHUNK_VALUES // (width + 16) // 512 * 512))
        buffer = np.empty((width + 1, min(step, count)))
        buffer[width] = 1.0
    for start in range(0, count, step):
        part = slice(start, min(start + step, count))
        points: Points
        if sparse:
            points = SparsePoints(matrix[part])
        else:
            z = buffer
            if part.stop - start < step:
                z = np.ones((width + 1, part.stop - start))
            if columns:
                for row, column, middle in zip(z, columns, mean, strict=False):
                    np.subtract(column[part], middle, out=row)
            else:
                np.subtract(matrix[part].T, mean[:, None], out=z[:-1])
            points = DensePoints(z)
        yield Chunk(points, None if weights is None else weights[part], rows[part], batch.block, router)


def squared_norms(centers: FloatArray) -> FloatArray:
    """``||c||²`` of each center."""
    return np.asarray(np.einsum("ij,ij->i", centers, centers))


def nearest(points: Points, centers: FloatArray) -> Any:
    """True where a center is the row's nearest, the first of equals; bool, ``(n_centers, n_rows)``."""
    scores = points.scores(centers)
    chosen = scores == np.minimum.reduce(scores, axis=0)
    if np.count_nonzero(chosen) != points.size:
        first = chosen.argmax(axis=0)
        chosen[:] = False
        chosen[first, np.arange(points.size)] = True
    return chosen


def least_distances(points: Points, centers: FloatArray) -> FloatArray:
    """Squared distances to the nearest center; what is only rounding is 0. Shape ``(n_rows,)``."""
    least = points.nearest_labels(centers)[1] + points.norms
    least[least <= _ROUNDING * points.norms] = 0.0
    return np.asarray(least)
