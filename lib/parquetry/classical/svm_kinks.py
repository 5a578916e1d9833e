"""The search for the exact minimum of a loss with kinks, in few passes.

Each pass brings the rows near a kink to the driver. There the minimum over them, with all other rows
as a straight line, is found by an interior point method; the next pass looks whether any other row
has crossed its kink. Where none has, the minimum is that of all rows.

Where too many rows lie on their kinks (a class so rare that the best model never names it, or many
equal rows) the loss is smoothed instead: within ``width`` of a kink it is a parabola. The
minimum goes to that of the kinked loss as the width goes to 0, along a straight line as long as
the same rows stay within, so that few widths are enough (Lee & Mangasarian, 2001; Chapelle, 2007).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.logistic_penalty import Penalty, Terms
from parquetry.classical.logistic_sums import Chunk
from parquetry.classical.svm_bands import Band, BandAsk, BandRows, Bands
from parquetry.classical.svm_ground import MarginGround, sample_chunk
from parquetry.classical.svm_interior import DONE, hinge_minimum
from parquetry.fitting import Pass
from parquetry.view import FloatArray

_BAND_VALUES = 2**22  # 32 MiB, for all models of a fit
_REACH = 4.0  # in standard errors: how far the margins are expected to move from the sample's solution
_BACK = 0.25  # of a step that went too far
_NOISE = 1e-12  # relative change of the objective that rounding may cause
_ROUGH = 1e-5  # is near enough where the rows looked at are not all that count
_QUANTILE = 0.99
_CROWDED = 1e-6  # of the reach: a band that is narrower is of no use
_MOST_BACK = 3
_NARROWER = 1.0 / 30.0
_SETTLED = 0.1  # of the width: a step that moves margins by less is Newton's last one there


@dataclass
class KinkFound:
    """What a search ended with.

    Attributes
    ----------
    point : ndarray of shape (width,)
    iterations : int
        Passes over the rows; at least 1.
    gap : float
        How far the objective may lie above its minimum, relative to it; 0 where it is that.
    late : bool
        Whether ``max_iter`` ended it.
    """

    point: FloatArray
    iterations: int
    gap: float = 0.0
    late: bool = False


def search_kinks(ground: MarginGround, terms: Terms) -> Generator[list[Any], list[Any], list[KinkFound]]:
    """The minimum of each model's loss; the models share their passes."""
    found: list[KinkFound] = []
    at_once = max(1, ground.memory // (8 * 40 * (ground.size**2 + ground.size)))
    for first in range(0, ground.margin.count, at_once):
        models = range(first, min(first + at_once, ground.margin.count))
        found += yield from _search_some(ground, terms, list(models))
    return found


def _search_some(
    ground: MarginGround, terms: Terms, models: list[int]
) -> Generator[list[Any], list[Any], list[KinkFound]]:
    values = min(_BAND_VALUES, ground.memory // 128)
    most = max(64, values // (len(models) * (ground.size + 8)))
    searches = [_Search(ground, terms, model, most) for model in models]
    while waiting := [search for search in searches if search.found is None]:
        reduction = Bands(ground.margin, [search.ask() for search in waiting], most)
        (bands,) = yield [Pass(reduction, ground.view)]
        for search, band in zip(waiting, bands, strict=True):
            search.take(band)
    return [search.found for search in searches if search.found is not None]


class _Search:
    """The state of one model's search.

    Parameters
    ----------
    ground : MarginGround
    terms : Terms
    model : int
    most : int
        The most rows of a band.
    """

    def __init__(self, ground: MarginGround, terms: Terms, model: int, most: int) -> None:
        self.ground, self.model, self.most = ground, model, most
        self.penalty = ground.penalty(terms)
        self.tol = max(1e-4 * ground.form.tol, 1e-12)
        self.chunk = sample_chunk(ground.sample)
        self.found: KinkFound | None = None
        self.iterations = 0
        self.value = np.inf
        self.base: FloatArray = ground.null.ravel()
        self.before: tuple[FloatArray, float] | None = None
        if ground.form.max_iter < 1:
            self.found = KinkFound(self.base, 0, np.inf, late=True)
            return
        self.point = self._sample_solution()
        if ground.whole:
            self.found = KinkFound(self.point, 1)
        self.bent, self.smooth, self.back = False, False, 0
        # About how far the sample's solution is off, in the units of a margin.
        spread = float(np.mean(np.abs(self._away(self.point))))
        self.reach = _REACH * spread * float(np.sqrt(ground.size / max(1, ground.sample.num_rows)))

    def ask(self) -> BandAsk:
        """The question of the next pass."""
        width = self._width()
        self.smooth = self.smooth or width < _CROWDED * self.reach
        coefs = self.ground.scale.cached(self.point)
        if self.smooth:
            return BandAsk(self.model, coefs, 0.0, self.reach, None, smooth=True)
        self.reach_asked = self.reach
        return BandAsk(self.model, coefs, width, self.reach, self.before)

    def take(self, band: Band) -> None:
        """Go to the asked point if it is better, and choose the next one; or go back some of the way."""
        self.iterations += 1
        if self.smooth:
            self._along_the_path(band)
            return
        value = band.loss / self.ground.weight + self.penalty.value(self.point)
        gap = band.gap / self.ground.weight
        scale = max(value, np.finfo(float).tiny)
        if self.before is not None and gap == 0.0 and not self.bent:
            self.found = KinkFound(self.point, self.iterations)
        elif value > self.value + _NOISE * scale:
            self._go_back(gap / scale)
        else:
            if self.before is not None:
                self.reach = min(self.reach, self._moved(self.base, self.point))
            self._go_on(band, value, gap / scale)

    def _go_back(self, gap: float) -> None:
        self.back += 1
        self.bent = True
        if self.back > _MOST_BACK or self._over(gap):
            self.smooth, self.point = True, self.base
        else:
            self.point = self.base + _BACK * (self.point - self.base)

    def _along_the_path(self, band: Band) -> None:
        """Newton's step for the smooth loss; from its minimum on to that of a narrower one."""
        self.base = self.point
        target = self._smooth_minimum(band, self.reach)
        if self._moved(self.base, target) <= _SETTLED * self.reach:
            self.reach *= _NARROWER
            target = self._smooth_minimum(band, self.reach)
            if self._size(target) <= self.tol:
                self.found = KinkFound(target, self.iterations)
        value = band.loss / self.ground.weight + self.penalty.value(self.point)
        if self.found is None and not self._over(self.reach / max(value, self.reach)):
            self.point = target

    def _smooth_minimum(self, band: Band, width: float) -> FloatArray:
        """The minimum where the rows that were within reach lie on parabolas of this width."""
        sums, away = band.lean
        gradient = band.gradient + sums / 2.0 + away / (2.0 * width)
        assert band.curvature is not None  # noqa: S101
        curvature = band.curvature / (2.0 * width)
        rows = BandRows([], np.empty((4, 0)))
        return self._minimum(Band(rows, 0.0, 0.0, 0.0, gradient, curvature, band.lean), final=True)

    def _moved(self, point: FloatArray, target: FloatArray) -> float:
        """How far almost all kinks of the sample's rows move from one point to another."""
        return float(np.quantile(np.abs(self._away(target) - self._away(point)), _QUANTILE))

    def _size(self, target: FloatArray) -> float:
        return _largest(target - self.base) / max(1.0, _largest(self.base), _largest(target))

    def _go_on(self, band: Band, value: float, gap: float) -> None:
        """From the asked point to the minimum of the model there."""
        self.base, self.value = self.point, value
        self.before = self.ground.scale.cached(self.base), band.width
        if band.width >= self.reach:
            band.curvature = None  # no row outside the band is expected to cross
        self.bent = band.curvature is not None
        if band.width < _CROWDED * self.reach:
            self.smooth = not self._over(gap)
            return
        if band.curvature is not None:
            band.curvature /= 2.0 * self.reach_asked
        target = self._minimum(band, final=not self.bent)
        if np.isinf(band.width) or self._size(target) <= self.tol:
            self.found = KinkFound(target, self.iterations)
        elif not self._over(gap):
            self.point = target

    def _over(self, gap: float) -> bool:
        if self.iterations < self.ground.form.max_iter:
            return False
        self.found = KinkFound(self.base, self.iterations, gap, late=True)
        return True

    def _away(self, point: FloatArray) -> FloatArray:
        """How far the kinks of the sample's rows are away."""
        scores = self.chunk.scores(self.ground.scale.cached(point)[None])
        kinks = self.ground.margin.kinks(np.array([self.model]), self.chunk)
        return np.concatenate([np.broadcast_to(k.offsets - k.signs * scores, scores.shape).ravel() for k in kinks])

    def _width(self) -> float:
        """How wide a band of about half as many rows as allowed is; endless where all rows fit."""
        away = np.abs(self._away(self.point))
        rows = self.ground.view.dataset.num_rows * len(away) / max(1, self.ground.sample.num_rows)
        if rows <= self.most:
            return np.inf
        expected = rows * float(np.mean(away <= self.reach))
        return self.reach * min(1.0, 0.5 * self.most / max(expected, 1.0))

    def _sample_solution(self) -> FloatArray:
        """The minimum of the sample alone."""
        weight = self.ground.sample.weight
        if not weight > 0:
            return self.base
        band = _whole_band(self.chunk, self.ground, self.model)
        share = self.ground.weight / weight
        band.rows.facts[2] *= share
        band.gradient *= share
        return self._minimum(band, final=self.ground.whole)

    def _minimum(self, band: Band, *, final: bool) -> FloatArray:
        """The minimum of the band's hinges, the straight line of all other rows, and the penalty."""
        ground, penalty = self.ground, self.penalty
        scale, weight = ground.scale, ground.weight
        matrix, slope = np.diag(penalty.l2), scale.gradient(band.gradient) / weight
        if band.curvature is not None:
            bent = scale.curvature(band.curvature, 1) / weight
            matrix, slope = matrix + bent, slope - bent @ self.base
        x = np.concatenate(band.rows.x) if band.rows.x else np.empty((0, len(band.gradient) - 1))
        signs, offsets, weights, _ = band.rows.facts
        rows = scale.gradient(np.column_stack([x, np.ones(len(x))])) * signs[:, None]
        turn, matrix = _turned(penalty, matrix)
        tol = DONE if final else _ROUGH
        u = hinge_minimum(rows @ turn, offsets, weights / weight, matrix, turn.T @ slope, turn.T @ self.base, tol=tol)
        return np.asarray(turn @ u)


def _turned(penalty: Penalty, matrix: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Axes ``(width, n)`` of which the first is what the bond ties, and the penalty's matrix in them.

    However far the columns' means are from zero, the other axes do not feel it.
    """
    bond = penalty.bond
    if bond is None:
        return np.eye(len(matrix)), matrix
    normal = bond.normals[:, 0]
    mirror = normal.copy()
    mirror[0] += np.copysign(1.0, normal[0])
    turn = np.eye(len(normal)) - np.outer(mirror, mirror) * (2.0 / float(mirror @ mirror))
    if bond.give == 0.0:
        turn = turn[:, 1:]
    turned = turn.T @ matrix @ turn
    if bond.give > 0.0:
        turned[0, 0] += 1.0 / bond.give
    return turn, turned


def _whole_band(chunk: Chunk, ground: MarginGround, model: int) -> Band:
    """All rows of the sample as a band without end."""
    x = chunk.x.toarray() if chunk.sparse else chunk.x.T
    parts, facts = [], []
    for kinks in ground.margin.kinks(np.array([model]), chunk):
        each = [np.broadcast_to(v, (1, len(x)))[0] for v in (kinks.signs, kinks.offsets, kinks.weights)]
        parts.append(x)
        facts.append(np.stack([*each, np.zeros(len(x))]))
    rows = BandRows(parts, np.concatenate(facts, axis=1))
    width = x.shape[1] + 1
    return Band(rows, np.inf, 0.0, 0.0, np.zeros(width), None, np.zeros((2, width)))


def _largest(point: FloatArray) -> float:
    return float(np.abs(point).max(initial=0.0))
