"""What PowerTransformer's passes count, and the likelihood of any lambda from it.

Both transformations are ``expm1(k * u) / k`` of ``u``, the logarithm: Box-Cox with ``u = log(x)`` and ``k = lambda``,
Yeo-Johnson with ``u = sign(x) * log1p(|x|)``, and ``k = lambda`` where x is not negative, else ``lambda - 2``. Within a
bin of logarithms that is a power series, so that the sums of a few powers in each bin give the mean and
the variance of the transformed column at any lambda, to rounding, without another look at the rows.

Sources: Box & Cox, "An analysis of transformations", JRSS B 26 (1964); Yeo & Johnson, "A new family of power
transformations to improve normality or symmetry", Biometrika 87 (2000).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.foundation.positions import Position, earliest, position_of
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray

BINS = 256
_POWERS = 11  # 0 to 10
_CHUNK = 16_384
_TRUST = 0.15  # of lambda times half a bin: what the series leaves out is then below 1e-11
_FAR = 20.0  # exp(-20) of the largest value, squared, is nothing in a variance
_ROUNDING = 8 * np.finfo(np.float64).eps
_FACTORIALS = np.array([math.factorial(k) for k in range(_POWERS)], dtype=np.float64)
_SQUARES = np.array([0.0, 0.0, *(2.0**k - 2.0 for k in range(2, _POWERS))])
_NOT_POSITIVE = "a value that is not positive"


def logarithms(values: FloatArray, *, box_cox: bool) -> FloatArray:
    """``u`` of a column's values; NaN stays, and what Box-Cox does not take becomes NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        if box_cox:
            return np.where(values > 0, np.log(values), np.nan)
        return np.copysign(np.log1p(np.abs(values)), values)


# --- the first pass -------------------------------------------------------------------------
@dataclass
class Spread:
    """Of each column's logarithms, below zero and not below zero: arrays of shape ``(n_columns, 2)``.

    Attributes
    ----------
    count : ndarray of int64
    total, least, most : ndarray
    refused : Position or None
        The first value that Box-Cox does not take.
    """

    count: Any
    total: FloatArray
    least: FloatArray
    most: FloatArray
    refused: Position | None = None


class Spreads(Reduction[Spread, Spread]):
    """Count, sum and extremes of each column's logarithms on both sides of zero; Box-Cox has one side only."""

    label = "power"

    def __init__(self, *, box_cox: bool) -> None:
        self.box_cox = box_cox

    def partial(self, batch: Batch) -> Spread:
        columns = batch.floats
        state = Spread(*self._nothing(len(columns)))
        for j, column in enumerate(columns):
            if self.box_cox:
                state.refused = earliest([state.refused, position_of(batch, column <= 0, j, _NOT_POSITIVE)])
            for start in range(0, len(column), _CHUNK):
                self._add(state, j, logarithms(column[start : start + _CHUNK], box_cox=self.box_cox))
        return state

    def merge(self, left: Spread, right: Spread) -> Spread:
        return Spread(
            left.count + right.count,
            left.total + right.total,
            np.minimum(left.least, right.least),
            np.maximum(left.most, right.most),
            earliest([left.refused, right.refused]),
        )

    def _add(self, state: Spread, j: int, logs: FloatArray) -> None:
        sides = (logs[:0], logs[~np.isnan(logs)]) if self.box_cox else (logs[logs < 0], logs[logs >= 0])
        for side, part in enumerate(sides):
            if len(part):
                state.count[j, side] += len(part)
                state.total[j, side] += part.sum()
                state.least[j, side] = min(state.least[j, side], part.min())
                state.most[j, side] = max(state.most[j, side], part.max())

    @staticmethod
    def _nothing(width: int) -> tuple[Any, ...]:
        shape = (width, 2)
        return np.zeros(shape, dtype=np.int64), np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf)


# --- the second pass ------------------------------------------------------------------------
@dataclass(frozen=True)
class Grid:
    """Equal bins of one side of a column's logarithms.

    Attributes
    ----------
    column : int
    side : int
        0 for logarithms below zero (of Yeo-Johnson), else 1.
    low, high : float
        The bins' ends.
    least, most : float
        The logarithms' own extremes.
    """

    column: int
    side: int
    low: float
    high: float
    least: float
    most: float

    @property
    def centers(self) -> FloatArray:
        """Each bin's middle, then a middle of what lies below the first, and of what lies beyond the last."""
        inner = self.low + (np.arange(BINS) + 0.5) * ((self.high - self.low) / BINS)
        return np.append(inner, [(self.least + self.low) / 2, (self.high + self.most) / 2])

    @property
    def halves(self) -> FloatArray:
        """Half of each bin's width."""
        inner = np.full(BINS, (self.high - self.low) / BINS / 2)
        return np.append(inner, [(self.low - self.least) / 2, (self.most - self.high) / 2])


class BinnedPowers(Reduction[list[FloatArray], list[FloatArray]]):
    """The sums of powers in each bin of each grid, shape ``(BINS + 2, n_powers)``.

    Parameters
    ----------
    grids : sequence of Grid
    box_cox : bool
    """

    label = "power"

    def __init__(self, grids: Sequence[Grid], *, box_cox: bool) -> None:
        self.grids, self.box_cox = tuple(grids), box_cox

    def partial(self, batch: Batch) -> list[FloatArray]:
        columns = batch.floats
        state = [np.zeros((BINS + 2, _POWERS)) for _ in self.grids]
        shapes = [(g.centers, _inverse(g.halves), BINS * float(_inverse(np.array(g.high - g.low)))) for g in self.grids]
        for j in sorted({g.column for g in self.grids}):
            own = [i for i, g in enumerate(self.grids) if g.column == j]
            for start in range(0, batch.num_rows, _CHUNK):
                logs = logarithms(columns[j][start : start + _CHUNK], box_cox=self.box_cox)
                for i in own:
                    self._add(self.grids[i], logs, shapes[i], state[i])
        return state

    def merge(self, left: list[FloatArray], right: list[FloatArray]) -> list[FloatArray]:
        for i, other in enumerate(right):
            left[i] += other
        return left

    def _add(self, grid: Grid, logs: FloatArray, shape: tuple[Any, ...], sums: FloatArray) -> None:
        from parquetry.features.power_kernels import add_powers

        centers, inverse, scale = shape
        # Of Yeo-Johnson's sides, a comparison leaves out NaN too.
        wanted = ~np.isnan(logs) if self.box_cox else logs >= 0 if grid.side else logs < 0
        logs = logs[wanted]
        add_powers(logs, grid.low, scale, centers, inverse, sums)


def _inverse(widths: FloatArray) -> FloatArray:
    return np.divide(1.0, widths, out=np.zeros_like(widths), where=widths > 0)


# --- any lambda -----------------------------------------------------------------------------
class Likelihood:
    """The profile likelihood of one column's lambda, and what the column becomes by it.

    Parameters
    ----------
    grids : list of Grid
        One or two sides of the column.
    sums : list of ndarray
        Their sums of powers.
    mean_log : float
        The mean of ``u``.
    """

    def __init__(self, grids: list[Grid], sums: list[FloatArray], mean_log: float) -> None:
        self.grids, self.mean_log = grids, mean_log
        self.sums = [s / _FACTORIALS for s in sums]
        self.centers, self.halves = [g.centers for g in grids], [g.halves for g in grids]
        self.count = sum(float(s[:, 0].sum()) for s in sums)

    def loss(self, lam: float, shift: int) -> float:
        """The negative log-likelihood of a row, on average; ``shift`` is 2 for Yeo-Johnson, 0 for Box-Cox.

        As SciPy takes Yeo-Johnson's from the transformed values themselves, a variance that is lost in their
        rounding counts no less than that; Box-Cox's is taken in logarithms.
        """
        _, variance, scale = self._moments(float(lam), shift)
        with np.errstate(divide="ignore"):
            spread = float(np.log(variance)) + 2 * scale
            if shift:
                spread = float(np.logaddexp(spread, 2 * np.log(_ROUNDING * self._largest(lam, shift))))
        return 0.5 * spread - (lam - 1) * self.mean_log

    def transformed(self, lam: float, shift: int) -> tuple[float, float]:
        """Mean and variance of the transformed column."""
        mean, variance, scale = self._moments(lam, shift)
        with np.errstate(over="ignore"):
            grown = float(np.exp(scale))
            origin = self._origin(lam, shift)
            return float(_curve(self._rates(lam, shift)[0], origin)) + grown * mean, grown * grown * variance

    def widen(self, lam: float, shift: int) -> list[Grid] | None:
        """Bins that are fine enough where it counts at this lambda; None where these are."""
        _, variance, _ = self._moments(lam, shift)
        origin, out, coarse = self._origin(lam, shift), [], False
        for grid, rate, s, c, h in zip(
            self.grids, self._rates(lam, shift), self.sums, self.centers, self.halves, strict=True
        ):
            weight = np.exp(np.minimum(rate * (c - origin), 700.0)) * h
            matters = (s[:, 0] > 0) & (s[:, 0] * weight * weight > 1e-16 * variance * self.count)
            coarse |= bool((matters & (np.abs(rate) * h > _TRUST)).any())
            out.append(_focused(grid, rate))
        return out if coarse else None

    def _largest(self, lam: float, shift: int) -> float:
        ends = [_curve(rate, [g.least, g.most]) for g, rate in zip(self.grids, self._rates(lam, shift), strict=True)]
        return float(np.abs(ends).max())

    def _rates(self, lam: float, shift: int) -> list[float]:
        return [lam if grid.side else lam - shift for grid in self.grids]

    def _origin(self, lam: float, shift: int) -> float:
        """From where a one-sided column is measured: the end where its curve is steepest; two sides meet at zero."""
        if len(self.grids) > 1:
            return 0.0
        (rate,), (grid,) = self._rates(lam, shift), self.grids
        return grid.most if rate > 0 else grid.least

    def _moments(self, lam: float, shift: int) -> tuple[float, float, float]:
        """Mean and variance of the transformed column less the origin's, over ``exp`` of the third."""
        origin, rates = self._origin(lam, shift), self._rates(lam, shift)
        parts = [
            _bin_moments(rate, c - origin, h, s)
            for rate, c, h, s in zip(rates, self.centers, self.halves, self.sums, strict=True)
        ]
        weight, means, within = (np.concatenate(list(column)) for column in zip(*parts, strict=True))
        mean = float((weight * means).sum() / self.count)
        off = means - mean
        variance = float((weight * off * off + within).sum() / self.count)
        return mean, variance, rates[0] * origin


def _bin_moments(rate: float, distance: FloatArray, half: FloatArray, s: FloatArray) -> tuple[FloatArray, ...]:
    """Each bin's weight, mean and sum of squared deviations of ``expm1(rate * distance) / rate``."""
    weight = s[:, 0]
    seen = np.maximum(weight, 1.0)
    z = rate * half
    series = np.abs(z) <= _TRUST
    powers = np.where(series, z, 0.0)[:, None] ** np.arange(_POWERS)
    first = (powers[:, :-1] * s[:, 1:]).sum(axis=1)
    second = (powers[:, :-2] * (s * _SQUARES)[:, 2:]).sum(axis=1)
    slope = np.exp(np.minimum(rate * distance, 700.0)) * half
    mean = _curve(rate, distance) + slope * first / seen
    within = slope * slope * (second - first * first / seen)
    # A bin that is too wide for the series is taken for its mean, and the slope there, until it is made finer.
    middle = distance + half * s[:, 1] / seen
    steep = np.exp(np.minimum(rate * middle, 300.0)) * half
    spread = np.maximum(2 * s[:, 2] - s[:, 1] ** 2 / seen, 0.0)
    mean = np.where(series, mean, _curve(rate, middle))
    within = np.where(series, np.maximum(within, 0.0), steep * steep * spread)
    return weight, np.where(weight > 0, mean, 0.0), np.where(weight > 0, within, 0.0)


def _curve(rate: float, distance: Any) -> Any:
    """``expm1(rate * distance) / rate``, and its limit at a rate of 0."""
    distance = np.asarray(distance, dtype=np.float64)
    return distance if rate == 0 else np.expm1(np.minimum(rate * distance, 709.0)) / rate


def _focused(grid: Grid, rate: float) -> Grid:
    """Bins of the part of a side where its curve is not flat."""
    reach = _FAR / max(abs(rate), 1e-300)
    low, high = grid.least, grid.most
    if rate > 0:
        low = max(low, high - reach)
    else:
        high = min(high, low + reach)
    return Grid(grid.column, grid.side, low, high, grid.least, grid.most)
