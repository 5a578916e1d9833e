"""The minimum of a quadratic function plus hinges, by an interior point method.

Source: Ferris & Munson, "Interior-point methods for massive support vector machines", SIAM Journal
on Optimization 13 (2002); Mehrotra, "On the implementation of a primal-dual interior point method",
SIAM Journal on Optimization 2 (1992).
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from parquetry.view import FloatArray

_MOST_STEPS = 100
_CHUNK_VALUES = 2**17  # 1 MiB of float64: what a core's own cache holds
_BACK = 0.99  # of the way to the wall: nearer, and the steps that follow are short

Factor = tuple[FloatArray, FloatArray]
Direction = tuple[FloatArray, FloatArray, FloatArray, FloatArray]

DONE = 1e-11
"""Relative size of a step after which no digit is left to gain."""


def hinge_minimum(
    rows: FloatArray,
    offsets: FloatArray,
    weights: FloatArray,
    matrix: FloatArray,
    slope: FloatArray,
    start: FloatArray,
    *,
    tol: float = DONE,
) -> FloatArray:
    """Minimize ``slope · u + u'Mu / 2 + sum(weights * max(0, offsets - rows @ u))``.

    Parameters
    ----------
    rows : ndarray of shape (n, size)
    offsets, weights : ndarray of shape (n,)
        Weights of 0 are left out.
    matrix : ndarray of shape (size, size)
        Positive definite.
    slope, start : ndarray of shape (size,)
    tol : float, default DONE
        Two steps that are no larger, relative to the largest number in ``u`` or to 1, end it.

    Returns
    -------
    ndarray of shape (size,)
    """
    kept = np.flatnonzero(weights > 0)
    if not len(kept):
        return np.asarray(linalg.solve(matrix, -slope, assume_a="pos"))
    if len(kept) < len(weights):
        rows, offsets, weights = rows[kept], offsets[kept], weights[kept]
    unit = float(weights.max())
    return _Interior(rows, offsets, weights / unit, matrix / unit, slope / unit, start).minimum(tol)


class _Interior:
    """Primal and dual variables of one problem.

    A hinge is the least ``above`` with ``above >= 0`` and ``beyond = above - (offset - row · u) >= 0``.
    ``force`` is the multiplier of the latter, ``weights - force`` that of the former.
    """

    def __init__(
        self,
        rows: FloatArray,
        offsets: FloatArray,
        weights: FloatArray,
        matrix: FloatArray,
        slope: FloatArray,
        start: FloatArray,
    ) -> None:
        self.rows, self.weights, self.matrix, self.slope = rows, weights, matrix, slope
        self.u = start.copy()
        lack = offsets - rows @ start
        room = max(float(np.abs(lack).mean()), 1e-8)
        self.above = np.maximum(lack, 0.0) + room
        self.beyond = self.above - lack
        self.force = weights / 2.0
        self.spare = weights - self.force

    def minimum(self, tol: float) -> FloatArray:
        last = np.inf
        for _ in range(_MOST_STEPS):
            step = self._step()
            if step is None:
                break
            size = float(np.abs(step).max()) / max(1.0, float(np.abs(self.u).max()))
            if size <= tol and last <= tol:
                break
            last = size
        return self.u

    def _step(self) -> FloatArray | None:
        """Predict, correct, go; the step in ``u``, None where rounding allows none."""
        stiff = 1.0 / (self.beyond / self.force + self.above / self.spare)
        try:
            factor = _factor(self.matrix + _weighted_products(self.rows, stiff))
        except linalg.LinAlgError:
            return None
        residual = self.matrix @ self.u + self.slope - self.rows.T @ self.force
        gap = float(self.beyond @ self.force + self.above @ self.spare)
        if not gap > 0:
            return None
        zero = np.zeros_like(self.force)
        ahead = self._direction(factor, stiff, residual, zero, zero)
        share = self._room(ahead)
        left = (self.beyond + share * ahead[1]) @ (self.force + share * ahead[3])
        left += (self.above + share * ahead[2]) @ (self.spare - share * ahead[3])
        center = (left / gap) ** 3 * gap / (2 * len(self.force))
        toward = center - ahead[1] * ahead[3], center + ahead[2] * ahead[3]
        found = self._direction(factor, stiff, residual, *toward)
        share = min(1.0, _BACK * self._room(found))
        self.u = self.u + share * found[0]
        self.beyond = self.beyond + share * found[1]
        self.above = self.above + share * found[2]
        self.force = self.force + share * found[3]
        self.spare = self.spare - share * found[3]
        return share * found[0]

    def _direction(
        self,
        factor: tuple[FloatArray, FloatArray],
        stiff: FloatArray,
        residual: FloatArray,
        near: FloatArray,
        far: FloatArray,
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Newton's step to where ``beyond * force`` is ``near`` and ``above * spare`` is ``far``."""
        wanted = near / self.force - self.beyond - far / self.spare + self.above
        step = _solved(factor, -residual + self.rows.T @ (stiff * wanted))
        push = stiff * (wanted - self.rows @ step)
        beyond = near / self.force - self.beyond - self.beyond / self.force * push
        above = far / self.spare - self.above + self.above / self.spare * push
        return step, beyond, above, push

    def _room(self, direction: Direction) -> float:
        """How much of a direction, at most 1 / ``_BACK``, keeps everything positive."""
        _, beyond, above, push = direction
        shrink = max(
            float((-beyond / self.beyond).max()),
            float((-above / self.above).max()),
            float((-push / self.force).max()),
            float((push / self.spare).max()),
            _BACK,
        )
        return 1.0 / shrink


def _weighted_products(rows: FloatArray, weights: FloatArray) -> FloatArray:
    size = rows.shape[1]
    total = np.zeros((size, size))
    step = max(256, _CHUNK_VALUES // max(1, size))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        total += (part * weights[start : start + step, None]).T @ part
    return (total + total.T) / 2.0


def _factor(matrix: FloatArray) -> Factor:
    """Cholesky's factor of a matrix that is scaled to a diagonal of 1, and the scale."""
    root = np.sqrt(np.diag(matrix))
    return linalg.cholesky(matrix / np.outer(root, root), lower=True), root


def _solved(factor: Factor, right: FloatArray) -> FloatArray:
    lower, root = factor
    return np.asarray(linalg.cho_solve((lower, True), right / root) / root)
