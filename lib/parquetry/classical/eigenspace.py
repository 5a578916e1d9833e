"""The leading singular vectors of a wide X, dense or sparse, by passes that never hold its products.

A pass multiplies ``X'X`` with a block of directions. Each block adds the residuals of the best
directions so far to the space that is searched (block Davidson without a preconditioner, which
spans the block Krylov space: Musco & Musco, "Randomized block Krylov methods for stronger and
faster approximate singular value decomposition", 2015); beyond the memory budget the space is
restarted from its best directions. The first block is random, as in Halko, Martinsson & Tropp,
"Finding structure with randomness" (2011).
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.extmath import svd_flip

from parquetry.classical.refusals import require_memory, sparse_matrix
from parquetry.classical.scatter import Scatter
from parquetry.classical.spectrum import root
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.moments import Moments, MomentsState
from parquetry.foundation.positions import shown_names
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View

_PATIENCE = 60  # passes until an exact decomposition is given up
_CONVERGED = 1e-11  # of the largest eigenvalue: below it a residual moves no digit of a result
_NOISE = 1e-14  # of the largest eigenvalue: what is left of a residual of none
_FEWEST_BLOCKS, _MOST_BLOCKS = 3, 12
_CHUNK_VALUES = 2**19


@dataclass
class Leading:
    """The leading part of a decomposition of X.

    Attributes
    ----------
    values : ndarray of shape (n_components,)
        Singular values, largest first; of the centered X where that was asked for.
    vectors : ndarray of shape (n_components, n_features)
        Right singular vectors, signed as scikit-learn signs them.
    variance : ndarray of shape (n_components,)
        Of X along the vectors.
    total_variance : float
        Of all columns of X.
    mean : ndarray of shape (n_features,)
    """

    values: FloatArray
    vectors: FloatArray
    variance: FloatArray
    total_variance: float
    mean: FloatArray


class Multiply(Reduction[FloatArray, FloatArray]):
    """``X'(X - center) Q`` for directions Q.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards.
    directions : ndarray of shape (n_features, n_directions)
    center : ndarray of shape (n_features,) or None
        The mean of X, which then leaves the left X too, for deviations add up to nothing.
    """

    def __init__(self, label: str, directions: FloatArray, center: FloatArray | None) -> None:
        self.label, self.directions = label, directions
        self.offset = None if center is None else center @ directions

    def partial(self, batch: Any) -> FloatArray:
        matrix = sparse_matrix(batch)
        if matrix is None:
            matrix = np.asarray(batch.matrix, dtype=np.float64)
        total = np.zeros(self.directions.shape)
        step = max(1024, _CHUNK_VALUES // self.directions.shape[1])
        for start in range(0, matrix.shape[0], step):
            rows = matrix[start : start + step]
            along = rows @ self.directions
            if self.offset is not None:
                along -= self.offset
            total += rows.T @ along
        return total

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        left += right
        return left


def leading(
    estimator: Any, view: View, fitting: Fitting, wanted: int, *, most_passes: int | None, centered: bool
) -> Generator[list[Any], list[Any], Leading]:
    """The ``wanted`` largest singular values of X and their right vectors.

    Parameters
    ----------
    estimator : PCA or TruncatedSVD
        ``n_oversamples`` and ``random_state`` are its own; None stands for the seed 0.
    view : View
    fitting : Fitting
    wanted : int
    most_passes : int or None
        Passes over X in the search; None is until nothing changes, with a warning after 60.
    centered : bool
        Whether the mean is taken off X.

    Raises
    ------
    TooBigForOneNode
        A block of directions, by all features, does not fit.
    """
    who, width, names = type(estimator).__name__, view.width, shown_names(view)
    size = min(width, wanted + estimator.n_oversamples)
    fix = "Ask for fewer components, hash into fewer columns, or allow more with memory=."
    require_memory(estimator, fitting, 8 * width * size, f"{size:,} directions of {width:,} features", fix)
    blocks = int(np.clip(fitting.memory // (4 * 8 * width * size), _FEWEST_BLOCKS, _MOST_BLOCKS))
    random = check_random_state(0 if estimator.random_state is None else estimator.random_state)
    block = _orthonormal(random.normal(size=(width, size)))
    space, cached = _Space(width, keep=blocks * size), view.cached()
    block, moments = yield from _search(who, names, cached, space, block, wanted, most_passes, centered=centered)
    return (yield from _measured(who, names, cached, space, block, moments, wanted, centered=centered))


def _search(
    who: str,
    names: tuple[str, ...],
    view: View,
    space: _Space,
    block: FloatArray,
    wanted: int,
    most_passes: int | None,
    *,
    centered: bool,
) -> Generator[list[Any], list[Any], tuple[FloatArray, MomentsState]]:
    """Fill the space; gives the block that would come next, and the columns' moments."""
    size, measure = block.shape[1], Pass(Moments(who, names, nan=False, extremes=False), view)
    # The mean is needed before the first product; without it the moments share the first pass.
    moments: Any = (yield [measure])[0] if centered else None
    center = moments.mean_or_nan if centered else None
    for _ in range(most_passes or _PATIENCE):
        works = [Pass(Multiply(who, block, center), view)]
        image, *more = yield works if moments is not None else [*works, measure]
        moments = more[0] if more else moments
        space.add(block, image)
        block, error = space.next_block(size, wanted)
        if error <= _CONVERGED or not block.shape[1]:
            break
    else:
        if most_passes is None:
            _warn(who, error)
    return block, moments


class _Space:
    """An orthonormal basis of the space that was searched, and its image under X'X."""

    def __init__(self, width: int, *, keep: int) -> None:
        self.basis, self.image, self.keep = np.empty((width, 0)), np.empty((width, 0)), keep
        self._turn: FloatArray = np.empty((0, 0))
        self._values: FloatArray = np.empty(0)

    def add(self, block: FloatArray, image: FloatArray) -> None:
        """Take one more block of directions."""
        self.basis, self.image = np.hstack([self.basis, block]), np.hstack([self.image, image])
        small = self.basis.T @ self.image
        values, turn = linalg.eigh((small + small.T) / 2)
        self._values, self._turn = values[::-1], turn[:, ::-1]

    def best(self, count: int) -> FloatArray:
        """The directions in which X is longest."""
        return np.asarray(self.basis @ self._turn[:, :count])

    def next_block(self, size: int, wanted: int) -> tuple[FloatArray, float]:
        """Where to look next, and how far the wanted directions still are from being singular vectors."""
        turn, values = self._turn[:, :size], self._values[:size]
        residual = self.image @ turn - self.basis @ (turn * values)
        largest = max(float(values[0]), float(np.finfo(float).tiny))
        error = float(np.sqrt((residual[:, :wanted] ** 2).sum(axis=0)).max()) / largest
        if self.basis.shape[1] + size > self.keep:
            self.basis, self.image = self.basis @ turn, self.image @ turn
            self._turn = np.eye(turn.shape[1])
        return _orthonormal(residual, self.basis, _NOISE * largest), error


def _orthonormal(block: FloatArray, against: FloatArray | None = None, floor: float = 0.0) -> FloatArray:
    """An orthonormal basis of a block, apart from another basis; columns below ``floor`` count as none."""
    for least in (floor, 0.5):  # once leaves rounding errors, twice is enough
        if against is not None:
            block = block - against @ (against.T @ block)
        values, vectors = linalg.eigh(block.T @ block)
        kept = values > max(least**2, max(float(values[-1]), 0.0) * 1e-14)
        block = block @ (vectors[:, kept] / np.sqrt(values[kept]))
        if not block.shape[1]:
            break
    return np.asarray(block)


def _measured(
    who: str,
    names: tuple[str, ...],
    view: View,
    space: _Space,
    block: FloatArray,
    moments: MomentsState,
    wanted: int,
    *,
    centered: bool,
) -> Generator[list[Any], list[Any], Leading]:
    """One more pass along the directions found: their exact part of X, and their variance."""
    mean = moments.mean_or_nan
    basis = np.hstack([space.best(wanted), block])
    (state,) = yield [Pass(Scatter(who, names, basis=basis, center=mean), view)]
    factor = root(state.products)
    if not centered:
        offset = mean @ basis + (state.mean[0] + state.rest[0])
        factor = np.vstack([factor, np.sqrt(state.weight[0]) * offset])
    _, values, turn = linalg.svd(factor, full_matrices=False)
    turn = turn[:wanted]
    _, vectors = svd_flip(None, turn @ basis.T, u_based_decision=False)
    variance = np.einsum("ij,jk,ik->i", turn, state.products, turn) / state.weight[0]
    return Leading(values[:wanted], vectors, variance, float(moments.variance.sum()), mean)


def _warn(who: str, error: float) -> None:
    warnings.warn(
        f"{who}: after {_PATIENCE} passes the residual is {error:.1e} of the largest eigenvalue, above "
        f"{_CONVERGED:.0e}. Raise n_oversamples, or allow more with memory=.",
        ConvergenceWarning,
        stacklevel=2,
    )
