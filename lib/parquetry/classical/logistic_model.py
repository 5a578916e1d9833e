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

from parquetry.classical.logistic_penalty import Bond, Gauge, Penalty
from parquetry.classical.logistic_start import SampleRows, Scale
from parquetry.classical.logistic_sums import Chunk, binomial, multinomial
from parquetry.view import FloatArray

_NULL = 1e-13  # relative eigenvalue below which a direction is one that the data do not have
_NOTHING = 1e-20  # relative second derivative below which a column is constant but for rounding
_MOST_SWEEPS = 1000
_MOST_UPDATES = 30
_SHOWN = 10.0  # rows of a sample in which a column must show itself for its products to count
_INNER = 1e-3  # relative residual at which an iterative solution of the model is good enough
_MOST_INNER = 1000


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
    try:
        factor = linalg.cho_factor(matrix[np.ix_(support, support)])
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
    return bool((np.abs(slope[others]) <= l1[others] + rounding).all())


class SampleModel(Model):
    """A model whose ``B`` is that of a sample of the rows, scaled as :func:`diagonal_ratio` says.

    Parameters
    ----------
    sample : SampleCurvature
    ratio, rest : ndarray of shape (size,)
    penalty : Penalty
    gauge : Gauge
    """

    def __init__(
        self, sample: SampleCurvature, ratio: FloatArray, rest: FloatArray, penalty: Penalty, gauge: Gauge
    ) -> None:
        self._sample, self._ratio, self._rest, self._l2, self._gauge = sample, ratio, rest, penalty.l2, gauge
        bends = ratio**2 * sample.diagonal() + rest
        self._held = gauge.bends(bends)
        self._bends = np.maximum(bends + penalty.l2, np.finfo(float).tiny)
        self._pairs: list[tuple[FloatArray, float, FloatArray, float]] = []

    def product(self, direction: FloatArray) -> FloatArray:
        # Factors that differ by class would mix in what no gradient can show.
        own = self._gauge.without(direction)
        out = self._gauge.without(self._ratio * self._sample.product(self._ratio * own) + self._rest * own)
        out = out + self._l2 * direction + self._gauge.product(self._held, direction)
        for along, bend, change, rise in self._pairs:
            out += change * (change @ direction / rise) - along * (along @ direction / bend)
        return np.asarray(out)

    def update(self, step: FloatArray, change: FloatArray) -> bool:
        along = self.product(step)
        bend, rise = float(step @ along), float(step @ change)
        if bend > 0 and rise > 1e-10 * bend:
            self._pairs.append((along, bend, change, rise))
        return len(self._pairs) < _MOST_UPDATES

    def minimum(self, point: FloatArray, slope: FloatArray, penalty: Penalty) -> FloatArray:
        if penalty.l1.any():
            return self._shrunken(point, slope, penalty.l1)
        if penalty.bond is None:
            return point + self._conjugate(slope)
        normals = penalty.bond.normals
        free = self._conjugate(slope)
        along = np.column_stack([self._conjugate(-normal) for normal in normals.T])
        room = penalty.bond.give * np.eye(normals.shape[1]) + normals.T @ along
        return point + free - along @ np.linalg.solve(room, normals.T @ (point + free))

    def _conjugate(self, gradient: FloatArray) -> FloatArray:
        """Conjugate gradients, preconditioned by the diagonal."""
        d = np.zeros_like(gradient)
        residual = -gradient
        z = residual / self._bends
        direction, size = z.copy(), float(residual @ z)
        enough = _INNER**2 * size
        for _ in range(_MOST_INNER):
            if size <= enough or size == 0.0:
                break
            along = self.product(direction)
            bend = float(direction @ along)
            if bend <= 0:
                break
            d += (size / bend) * direction
            residual -= (size / bend) * along
            z = residual / self._bends
            before, size = size, float(residual @ z)
            direction = z + (size / before) * direction
        return d

    def _shrunken(self, point: FloatArray, gradient: FloatArray, l1: FloatArray) -> FloatArray:
        """FISTA with restarts (Beck & Teboulle, 2009; O'Donoghue & Candès, 2015) in the diagonal's metric."""
        metric = self._bends * self._largest_ratio()
        u, ahead, momentum = point.copy(), point.copy(), 1.0
        first = None
        for _ in range(_MOST_INNER):
            slope = gradient + self.product(ahead - point)
            free = ahead - slope / metric
            new = np.sign(free) * np.maximum(np.abs(free) - l1 / metric, 0.0)
            step = new - u
            if float((metric * (ahead - new)) @ step) > 0:
                momentum = 1.0
            following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
            ahead = new + ((momentum - 1.0) / following) * step
            u, momentum = new, following
            moved = float(np.sqrt((metric * step) @ step))
            first = moved if first is None else max(first, moved)
            if moved <= 1e-2 * _INNER * first:
                break
        return u

    def _largest_ratio(self) -> float:
        """A bound of ``d'Bd / d'Dd``, ``D`` the diagonal: power iterations from a fixed start."""
        root = np.sqrt(self._bends)
        direction = np.cos(np.arange(1, len(root) + 1))
        value = 1.0
        for _ in range(30):
            direction /= np.linalg.norm(direction)
            direction = self.product(direction / root) / root
            value = float(np.linalg.norm(direction))
        return 1.1 * max(value, 1e-3)


def diagonal_ratio(sample: SampleCurvature, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What turns a sample's second derivatives into about those of all rows: factors, and a rest on the diagonal.

    The diagonal becomes that of all rows. Products of two columns are shrunk, the more the fewer rows
    of the sample a column shows itself in, or the fewer rows there are for all columns: what meets there
    by chance is not collinear.
    """
    own = sample.diagonal()
    scarce = (len(own) / sample.rows) ** 3
    noise = np.clip((_SHOWN / sample.effective_rows()) ** 2, min(1.0, scarce), 1.0)
    noise = np.where(own > 1e-3 * wanted, noise, 1.0)
    kept = (1.0 - noise) * wanted
    ratio = np.sqrt(np.divide(kept, own, out=np.zeros_like(kept), where=own > 0))
    return ratio, noise * wanted


class SampleCurvature:
    """Products with the second derivatives of the mean loss of a sample.

    Parameters
    ----------
    sample : SampleRows
    scale : Scale
    point : ndarray of shape (n_rows_of_coefs, width)
    """

    def __init__(self, sample: SampleRows, scale: Scale, point: FloatArray) -> None:
        self._shape, self._scale = point.shape, scale
        matrix = sample.matrix
        sparse = hasattr(matrix, "tocsr")
        self._rows = Chunk(matrix if sparse else matrix.T, sample.arrays["y"], sample.weights, None)
        scores = self._rows.scores(scale.cached(point))[None]
        codes = self._rows.codes
        _, _, shares = binomial(scores[:, 0], codes) if len(point) == 1 else multinomial(scores, codes)
        self._shares = shares[0]
        weights = np.ones(sample.num_rows) if sample.weights is None else sample.weights
        self._weights = weights / weights.sum()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._weights)

    def product(self, direction: FloatArray) -> FloatArray:
        """The second derivatives times a direction of ``n_rows_of_coefs * width`` numbers."""
        scores = self._rows.scores(self._scale.cached(direction.reshape(self._shape)))
        bent = self._shares * scores
        if len(scores) == 1:
            bent -= self._shares * bent
        else:
            bent -= self._shares * bent.sum(axis=0)
        return self._scale.gradient(self._rows.products(bent * self._weights)).ravel()

    def diagonal(self) -> FloatArray:
        """Of the second derivatives."""
        return self._scale.diagonal(self._rows.squares(self._bends())).ravel()

    def effective_rows(self) -> FloatArray:
        """How many equal rows would tell as much of each column: few where few rows make up its diagonal."""
        rows, bends = self._rows, self._bends()
        square = rows.x.multiply(rows.x).tocsr() if rows.sparse else rows.x * rows.x
        squared = Chunk(square, rows.codes, None, None)
        once, twice = squared.products(bends), squared.squares(bends**2)
        twice = np.delete(twice, np.s_[once.shape[1] - 1 : -1], axis=1)
        found = np.divide(once**2, twice, out=np.ones_like(once), where=twice > 0)
        return np.maximum(found[:, : self._scale.width], 1.0).ravel()

    def _bends(self) -> FloatArray:
        return np.asarray(self._shares * (1.0 - self._shares) * self._weights)
