"""Losses with kinks: the rows near a kink are brought to the driver, all others are a straight line.

Where no row outside the band crosses its kink, the minimum of that model is the minimum of all: the
model lies nowhere above the objective, and it meets the objective there. What a row adds
that has crossed, both ways, is the gap between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.logistic_sums import Chunk, chunks
from parquetry.classical.svm_losses import Kinks, Margin, outer_sums
from parquetry.reduction import Reduction
from parquetry.view import FloatArray


@dataclass(frozen=True)
class BandAsk:
    """A question about one model.

    Parameters
    ----------
    model : int
    coefs : ndarray of shape (n_features + 1,)
        In the columns as they are cached, the last one the offset.
    width : float
        Rows whose kink is at most so far away are in the band.
    reach : float
        Beyond the band the loss bends as if kinks within this distance were spread out evenly.
    before : tuple of (ndarray, float), or None
        The coefficients and the band's width at the last point: what has crossed since is counted.
    smooth : bool, default False
        No band: the sums of all rows within reach are wanted, of which smooth losses are made.
    """

    model: int
    coefs: FloatArray
    width: float
    reach: float
    before: tuple[FloatArray, float] | None = None
    smooth: bool = False


@dataclass
class BandRows:
    """Rows near a kink, each with the hinge ``weights * max(0, offsets - signs * score)``.

    Attributes
    ----------
    x : list of ndarray of shape (n, n_features)
        In parts, as they are cached.
    facts : ndarray of shape (4, n)
        Sign, offset, weight, and how far the kink is away: above 0 on the hinge's slope.
    """

    x: list[FloatArray]
    facts: FloatArray


@dataclass
class Band:
    """What one model's loss is made of at a point.

    Attributes
    ----------
    rows : BandRows
    width : float
        All rows whose kink is nearer are among ``rows``.
    loss : float
        Of all rows.
    gap : float
        How much of it the model before has missed.
    gradient : ndarray of shape (n_features + 1,)
        Of the rows outside the band.
    curvature : ndarray of shape (n_features + 1, n_features + 1), or None
        Of the rows outside the band and within reach: the sum of ``weights * x x'``.
    lean : ndarray of shape (2, n_features + 1)
        Without a band, of the rows within reach: the sums of ``-signs * weights * x``, and of that
        times how far each kink is away.
    """

    rows: BandRows
    width: float
    loss: float
    gap: float
    gradient: FloatArray
    curvature: FloatArray | None
    lean: FloatArray


class Bands(Reduction[list[Band], list[Band]]):
    """Sorts the rows of several models into bands and straight lines.

    Parameters
    ----------
    margin : Margin
    asked : list of BandAsk
    most : int
        The most rows of a model's band; of more, those nearest to their kinks stay.
    """

    label = "margins"

    def __init__(self, margin: Margin, asked: list[BandAsk], most: int) -> None:
        self.margin, self.asked, self.most = margin, asked, most

    def partial(self, batch: Any) -> list[Band]:
        bands = [self._nothing(ask, batch.matrix.shape[1]) for ask in self.asked]
        models = np.array([ask.model for ask in self.asked])
        width = batch.matrix.shape[1] + 1
        bent = any(band.curvature is not None for band in bands)
        for chunk in chunks(batch, width * (2 + bent) + 8 * len(models), weights=batch.weights):
            scores = chunk.scores(np.stack([ask.coefs for ask in self.asked]))
            old = [ask.coefs if ask.before is None else ask.before[0] for ask in self.asked]
            old_scores = chunk.scores(np.stack(old))
            for kinks in self.margin.kinks(models, chunk):
                self._add(bands, chunk, kinks, scores, old_scores)
        return [self._capped(band) for band in bands]

    def merge(self, left: list[Band], right: list[Band]) -> list[Band]:
        return [self._merged(a, b) for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[Band]) -> list[Band]:
        # What one part of the data had to drop, all parts drop.
        return [_narrowed(band, band.width) for band in state]

    def _nothing(self, ask: BandAsk, n_features: int) -> Band:
        rows = BandRows([], np.empty((4, 0)))
        bent = ask.smooth or ask.reach > ask.width
        curvature = np.zeros((n_features + 1, n_features + 1)) if bent else None
        return Band(rows, ask.width, 0.0, 0.0, np.zeros(n_features + 1), curvature, np.zeros((2, n_features + 1)))

    def _add(self, bands: list[Band], chunk: Chunk, kinks: Kinks, scores: FloatArray, old_scores: FloatArray) -> None:
        away = kinks.offsets - kinks.signs * scores
        before = kinks.offsets - kinks.signs * old_scores
        signs, offsets, weights = (np.broadcast_to(v, away.shape) for v in (kinks.signs, kinks.offsets, kinks.weights))
        edges = np.array([-1.0 if ask.smooth else ask.width for ask in self.asked])[:, None]
        lines = np.array([ask.reach if ask.smooth else ask.width for ask in self.asked])[:, None]
        near, far = np.abs(away) <= edges, away > lines
        loss = np.einsum("ij,ij->i", np.maximum(away, 0.0), weights)
        slopes = chunk.products(np.where(far, -signs * weights, 0.0))
        bent = any(band.curvature is not None for band in bands)
        x = np.ascontiguousarray(chunk.x.toarray().T) if bent and chunk.sparse else chunk.x
        for i, (ask, band) in enumerate(zip(self.asked, bands, strict=True)):
            band.loss += float(loss[i])
            band.gradient += slopes[i]
            if ask.before is not None:
                crossed = (np.abs(before[i]) >= ask.before[1]) & ((before[i] > 0) != (away[i] > 0))
                band.gap += float(np.abs(away[i][crossed]) @ weights[i][crossed])
            here = np.flatnonzero(near[i])
            if len(here):
                band.rows.x.append(_rows_of(chunk, here))
                facts = np.stack([signs[i][here], offsets[i][here], weights[i][here], away[i][here]])
                band.rows.facts = np.concatenate([band.rows.facts, facts], axis=1)
            if band.curvature is not None:
                spread = (np.abs(away[i]) <= ask.reach) & ~near[i]
                bends = np.where(spread, weights[i], 0.0)
                band.curvature += outer_sums(x, bends)
                if ask.smooth:
                    band.lean += chunk.products(np.stack([-signs[i] * bends, -signs[i] * bends * away[i]]))

    def _merged(self, left: Band, right: Band) -> Band:
        rows = BandRows(left.rows.x + right.rows.x, np.concatenate([left.rows.facts, right.rows.facts], axis=1))
        curvature = None
        if left.curvature is not None and right.curvature is not None:
            curvature = left.curvature + right.curvature
        width, loss, gap = min(left.width, right.width), left.loss + right.loss, left.gap + right.gap
        gradient, lean = left.gradient + right.gradient, left.lean + right.lean
        return self._capped(Band(rows, width, loss, gap, gradient, curvature, lean))

    def _capped(self, band: Band) -> Band:
        """A band of no more rows than allowed: those nearest to their kinks."""
        away = np.abs(band.rows.facts[3])
        if len(away) <= self.most:
            return band
        return _narrowed(band, float(np.partition(away, self.most)[self.most]))


def _narrowed(band: Band, width: float) -> Band:
    """The same with the rows at ``width`` or farther away among those outside, where any are."""
    away = band.rows.facts[3]
    outside = np.abs(away) >= width
    if not outside.any():
        return band
    x = np.concatenate(band.rows.x)
    sloping = outside & (away > 0)
    pull = -band.rows.facts[0, sloping] * band.rows.facts[2, sloping]
    gradient = band.gradient + np.append(pull @ x[sloping], pull.sum())
    rows = BandRows([x[~outside]], band.rows.facts[:, ~outside])
    return Band(rows, width, band.loss, band.gap, gradient, band.curvature, band.lean)


def _rows_of(chunk: Chunk, here: Any) -> FloatArray:
    return chunk.x[here].toarray() if chunk.sparse else np.ascontiguousarray(chunk.x[:, here].T)
