"""What a logistic objective adds to the loss, and what keeps its solution in one place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parquetry.classical.logistic_sums import NO_FOLD
from parquetry.view import FloatArray


@dataclass(frozen=True)
class Terms:
    """One model of many: its penalty, and the fold that it leaves out.

    Parameters
    ----------
    c : float
        Inverse strength of the penalty; inf for none.
    l1_ratio : float
    fold : int, default NO_FOLD
    """

    c: float
    l1_ratio: float
    fold: int = NO_FOLD


@dataclass(frozen=True)
class Form:
    """What kind of logistic model is fitted.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    intercept : bool
    intercept_scaling : float or None
        The value of the constant column whose coefficient liblinear penalizes like any other;
        None where the intercept is free.
    tol : float
    max_iter : int
    """

    who: str
    intercept: bool
    intercept_scaling: float | None
    tol: float
    max_iter: int

    @property
    def free(self) -> bool:
        """Whether there is an intercept that no penalty holds."""
        return self.intercept and self.intercept_scaling is None


@dataclass(frozen=True)
class Bond:
    """Ties a point to the planes through the origin that are normal to given directions.

    A model without an intercept, or with a penalized one, is fitted with a free one in centered
    columns, where a mean far from zero costs no digits; its bond then ties it to the coefficients.

    Parameters
    ----------
    normals : ndarray of shape (size, n)
        Orthonormal.
    give : float
        0 ties it firmly; else ``|normals' u|² / (2 give)`` is added to the objective.
    """

    normals: FloatArray
    give: float

    def value(self, point: FloatArray) -> float:
        """What is added at a point."""
        if self.give == 0.0:
            return 0.0
        off = self.normals.T @ point
        return float(off @ off) / (2.0 * self.give)

    def pull(self, point: FloatArray, step: FloatArray) -> float:
        """How fast that changes along a step."""
        return 0.0 if self.give == 0.0 else float((self.normals.T @ point) @ (self.normals.T @ step)) / self.give


@dataclass(frozen=True)
class Penalty:
    """``sum(l1 |u|) + sum(l2 (u - pole)²) / 2``, and the bond's share, at the point ``u``.

    Parameters
    ----------
    l1, l2 : ndarray of shape (size,)
    pole : ndarray of shape (size,) or None, default None
        None is 0.
    bond : Bond or None, default None
        Only where ``l1`` is 0.
    """

    l1: FloatArray
    l2: FloatArray
    pole: FloatArray | None = None
    bond: Bond | None = None

    def value(self, point: FloatArray) -> float:
        """At a point."""
        away = point if self.pole is None else point - self.pole
        tied = 0.0 if self.bond is None else self.bond.value(point)
        return float(self.l1 @ np.abs(point) + 0.5 * (self.l2 @ (away * away))) + tied

    def slope(self, point: FloatArray) -> FloatArray:
        """The gradient of the part with ``l2``."""
        return np.asarray(self.l2 * (point if self.pole is None else point - self.pole))

    def expected(self, point: FloatArray, target: FloatArray, slope: FloatArray) -> float:
        """The change of the objective from a point to a target, to first order; ``slope`` is that of the rest."""
        step = target - point
        tied = 0.0 if self.bond is None else self.bond.pull(point, step)
        return float(slope @ step + self.l1 @ (np.abs(target) - np.abs(point))) + tied

    def steepness(self, point: FloatArray, slope: FloatArray) -> float:
        """The largest component of the objective's gradient: the least subgradient where there is a corner."""
        if self.bond is not None:
            slope = slope - self.bond.normals @ (self.bond.normals.T @ slope)
        corner = np.sign(slope) * np.maximum(np.abs(slope) - self.l1, 0.0)
        least = np.where(point != 0, slope + self.l1 * np.sign(point), corner)
        return float(np.abs(least).max(initial=0.0))


class Gauge:
    """Fixes what the multinomial loss leaves open: one number added to a feature's coefficients of all classes.

    No share changes by it. Where there is no L1 penalty, the coefficients of all classes add up to 0
    at the minimum, and along every gradient.

    Parameters
    ----------
    rows : int
        Rows of coefficients.
    penalty : Penalty
    """

    def __init__(self, rows: int, penalty: Penalty) -> None:
        self.rows = rows
        self._open = (penalty.l1.reshape(rows, -1) == 0).all(axis=0) & (rows > 1)

    def bends(self, diagonal: FloatArray) -> FloatArray:
        """How strongly each column is held, shape ``(width,)``, from the diagonal of second derivatives."""
        return np.where(self._open, diagonal.reshape(self.rows, -1).mean(axis=0), 0.0)

    def without(self, directions: FloatArray) -> FloatArray:
        """Directions ``(..., size)`` less what adds one number to a column's coefficients of all classes."""
        if self.rows == 1:
            return directions
        shaped = directions.reshape(*directions.shape[:-1], self.rows, -1)
        out = shaped - np.where(self._open, shaped.mean(axis=-2, keepdims=True), 0.0)
        return np.asarray(out).reshape(directions.shape)

    def product(self, bends: FloatArray, direction: FloatArray) -> FloatArray:
        """The matrix times a direction."""
        shaped = direction.reshape(self.rows, -1)
        return np.asarray(np.broadcast_to(bends * shaped.mean(axis=0), shaped.shape)).ravel()

    def matrix(self, diagonal: FloatArray) -> FloatArray:
        """What is added to second derivatives with this diagonal."""
        size = len(diagonal)
        if self.rows == 1:
            return np.zeros((size, size))
        width = size // self.rows
        out = np.zeros((self.rows, width, self.rows, width))
        out[:, np.arange(width), :, np.arange(width)] = (self.bends(diagonal) / self.rows)[:, None, None]
        return out.reshape(size, size)
