"""Quadratic models of a logistic loss near a point, and their minimum with or without an L1 penalty.

A model's second derivatives are a matrix while that is small, else products with a sample of the
rows. Both learn from the gradients that later passes find (the BFGS update; Nocedal & Wright,
"Numerical Optimization", 2006, chapter 6).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from scipy import linalg

from parquetry.classical.logistic_penalty import Bond, Penalty
from parquetry.view import FloatArray

_NULL = 1e-13  # relative eigenvalue below which a direction is one that the data do not have
_NOTHING = 1e-20  # relative second derivative below which a column is constant but for rounding
_SHARED = 1e-12  # relative stiffness of a direction that has none
_MOST_SWEEPS = 1000


class Model(ABC):
    """A positive semidefinite ``B`` for second derivatives, those of the L2 penalty included."""

    @abstractmethod
    def minimum(self, point: FloatArray, slope: FloatArray, penalty: Penalty) -> FloatArray:
        """The ``u`` that minimizes ``slope · d + d'Bd / 2`` at ``d = u - point``, plus L1 penalty and bond."""

    @abstractmethod
    def product(self, direction: FloatArray) -> FloatArray:
        """``B`` times a direction."""

    @abstractmethod
    def update(self, step: FloatArray, change: FloatArray) -> bool:
        """Learn that along ``step`` the gradient changes by ``change``; whether there was room for it."""


class MatrixModel(Model):
    """A model whose ``B`` is at hand.

    Parameters
    ----------
    matrix : ndarray of shape (size, size)
        Kept, and changed by updates.
    """

    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self._factor: Any = None

    def minimum(self, point: FloatArray, slope: FloatArray, penalty: Penalty) -> FloatArray:
        if penalty.l1.any():
            return lasso_minimum(self.matrix, point, slope, penalty.l1)
        if penalty.bond is None:
            return point - self._solve(slope)
        return point + self._tied_step(point, slope, penalty.bond)

    def product(self, direction: FloatArray) -> FloatArray:
        return np.asarray(self.matrix @ direction)

    def update(self, step: FloatArray, change: FloatArray) -> bool:
        along = self.matrix @ step
        bend, rise = float(step @ along), float(step @ change)
        if bend > 0 and rise > 1e-10 * bend:
            self.matrix += np.outer(change, change / rise) - np.outer(along, along / bend)
            self._factor = None
        return True

    def _tied_step(self, point: FloatArray, slope: FloatArray, bond: Bond) -> FloatArray:
        """The step and the bond's forces, from the equations of both."""
        scale = max(float(np.diag(self.matrix).max()), np.finfo(float).tiny)
        give = bond.give * scale
        # Forces in units in which a bond that gives much is no larger than the rest.
        unit = max(1.0, give) ** 0.5
        normals = bond.normals / unit
        forces = np.diag(np.full(normals.shape[1], -give / unit**2))
        tied = np.block([[self.matrix / scale, normals], [normals.T, forces]])
        right = np.concatenate([-slope / scale, -(normals.T @ point)])
        return np.asarray(_pseudo_inverse(tied)(right))[: len(point)]

    def _solve(self, right: FloatArray) -> FloatArray:
        if self._factor is None:
            self._factor = _inverse(self.matrix)
        return np.asarray(self._factor(right))


def _inverse(matrix: FloatArray) -> Any:
    """What multiplies by the inverse; where there is none, by that of the directions that have one."""
    root = _roots(matrix)
    scaled = matrix / np.outer(root, root)
    try:
        factor = linalg.cho_factor(scaled, lower=True)
    except linalg.LinAlgError:
        factor = None
    # The smallest pivot is no smaller than the smallest eigenvalue.
    if factor is not None and np.diag(factor[0]).min() ** 2 > len(matrix) * _NULL:
        return lambda right: linalg.cho_solve(factor, right / root) / root
    partly = _pseudo_inverse(scaled)
    return lambda right: partly(right / root) / root


def _pseudo_inverse(matrix: FloatArray) -> Any:
    values, vectors = linalg.eigh(matrix)
    kept = np.abs(values) > _NULL * max(float(np.abs(values).max()), np.finfo(float).tiny)
    vectors, values = vectors[:, kept], values[kept]
    return lambda right: vectors @ ((vectors.T @ right) / values)


def _roots(matrix: FloatArray) -> FloatArray:
    """What scales a matrix to a diagonal of 1; a column that is rounding only stays small."""
    bends = np.maximum(np.diag(matrix), 0.0)
    return np.asarray(np.sqrt(np.where(bends > _NOTHING * bends.max(initial=0.0), bends, 1.0)))


def null_directions(matrix: FloatArray) -> FloatArray:
    """Directions ``(size, n)`` that a matrix of second derivatives maps to 0, up to rounding."""
    root = _roots(matrix)
    values, vectors = linalg.eigh(matrix / np.outer(root, root))
    return np.asarray(vectors[:, values <= _NULL * max(float(values[-1]), np.finfo(float).tiny)] / root[:, None])


def lasso_minimum(matrix: FloatArray, point: FloatArray, gradient: FloatArray, l1: FloatArray) -> FloatArray:
    """Minimize ``gradient · d + d'Bd / 2 + sum(l1 |u|)``, ``d = u - point``: zeros are exact.

    Sweeps of coordinate descent (Friedman, Hastie & Tibshirani, 2010) find the support; as soon as
    the solution of the linear equations on it keeps all signs and suits the other coordinates, it
    is the minimum. Where it keeps them not, the way there is walked until the first sign changes.
    """
    u, slope, bends = point.copy(), gradient.copy(), np.diag(matrix)
    usable = np.flatnonzero(bends > 0)
    rounding = 1e-12 * (np.abs(gradient).max(initial=0.0) + l1.max(initial=0.0))
    for _ in range(_MOST_SWEEPS):
        moved = 0.0
        for j in usable:
            old, bend = u[j], bends[j]
            free = bend * old - slope[j]
            new = np.sign(free) * max(abs(free) - l1[j], 0.0) / bend
            if new != old:
                slope += matrix[j] * (new - old)
                u[j] = new
                moved = max(moved, abs(new - old) * np.sqrt(bend))
        if _walk_on_support(matrix, u, slope, l1, rounding) or moved == 0.0:
            break
    return u


def _walk_on_support(matrix: FloatArray, u: FloatArray, slope: FloatArray, l1: FloatArray, rounding: float) -> bool:
    """Move ``u`` (and ``slope``) toward the minimum on its support; whether that is the minimum of all."""
    support = np.flatnonzero((u != 0) | (l1 == 0))
    signs = np.sign(u[support]) * (l1[support] > 0)
    own = matrix[np.ix_(support, support)]
    try:
        # Where columns are collinear, the walk goes along what they share until one of them is 0.
        factor = linalg.cho_factor(own + np.diag(_SHARED * np.diag(own)))
    except linalg.LinAlgError:
        return False
    step = linalg.cho_solve(factor, -(slope[support] + l1[support] * signs))
    turning = (signs != 0) & (np.sign(u[support] + step) != signs)
    share = 1.0
    if turning.any():
        shares = np.where(turning, -u[support] / np.where(turning, step, 1.0), np.inf)
        share = float(shares.min())
        first = support[int(np.argmin(shares))]
    u[support] += share * step
    slope += matrix[:, support] @ (share * step)
    if turning.any():
        slope -= matrix[first] * u[first]
        u[first] = 0.0
        return False
    others = np.ones(len(u), dtype=bool)
    others[support] = False
    solved = (np.abs(slope[support] + l1[support] * signs) <= rounding).all()
    return bool(solved and (np.abs(slope[others]) <= l1[others] + rounding).all())
