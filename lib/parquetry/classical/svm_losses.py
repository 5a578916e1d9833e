"""Losses of linear support vector machines, for many models in one pass.

Several classes make a model each, which tells its class from the rest; a regression is one model.
Squared losses are smooth enough for Newton's method. The others are straight lines with kinks.

Source: https://scikit-learn.org/stable/modules/svm.html#mathematical-formulation
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.block_cache import Arrays
from parquetry.classical.logistic_start import LogisticArrays
from parquetry.classical.logistic_sums import Chunk, Losses, LossSums
from parquetry.view import Batch, FloatArray


@dataclass(frozen=True, eq=False)
class Margin:
    """What the models ask of the rows.

    Parameters
    ----------
    positive : ndarray of shape (n_models,), or None
        The code of the class that each model has on its positive side; None for regression.
    class_weights : ndarray of shape (n_models, n_classes), or None
        What each model multiplies the weights of a class's rows by.
    epsilon : float
        How far a regression may be off for free.
    """

    positive: Any
    class_weights: FloatArray | None
    epsilon: float = 0.0

    @property
    def count(self) -> int:
        """How many models there are."""
        return 1 if self.positive is None else len(self.positive)

    def signs(self, models: Any, codes: Any) -> FloatArray:
        """1 where a row is of a model's class, else -1: shape ``(len(models), n_rows)``."""
        return np.where(codes[None, :] == self.positive[models][:, None], 1.0, -1.0)

    def weights(self, models: Any, chunk: Chunk) -> FloatArray | None:
        """Each row's weight in each model, ``(len(models), n_rows)`` or ``(1, n_rows)``; None where all are 1."""
        own = None if chunk.weights is None else chunk.weights[None, :]
        if self.class_weights is None:
            return own
        by_class: FloatArray = self.class_weights[models][:, chunk.codes.astype(np.intp)]
        return by_class if own is None else by_class * own

    def excess(self, models: Any, chunk: Chunk, scores: FloatArray) -> FloatArray:
        """How far scores are where they should not be: half the slope of the squared loss."""
        if self.positive is not None:
            signs = self.signs(models, chunk.codes)
            return np.asarray(np.minimum(signs * scores - 1.0, 0.0) * signs)
        off = scores - chunk.codes
        return np.asarray(np.sign(off) * np.maximum(np.abs(off) - self.epsilon, 0.0))

    def kinks(self, models: Any, chunk: Chunk) -> list[Kinks]:
        """The parts of the loss that is not squared: each is ``weights * max(0, offsets - signs * score)``."""
        weights = self.weights(models, chunk)
        weights = np.ones((1, len(chunk.codes))) if weights is None else weights
        if self.positive is not None:
            return [Kinks(self.signs(models, chunk.codes), np.ones((1, 1)), weights)]
        one, y = np.ones((1, 1)), chunk.codes[None, :]
        return [Kinks(one, y - self.epsilon, weights), Kinks(-one, -y - self.epsilon, weights)]


@dataclass(frozen=True)
class Kinks:
    """One kink a row; arrays that broadcast to ``(n_models, n_rows)``."""

    signs: FloatArray
    offsets: FloatArray
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class TargetArrays(LogisticArrays):
    """The same with the target itself as ``y``, for a regression."""

    def __call__(self, batch: Batch) -> Arrays:
        arrays = {**self._features(batch), "y": batch.y_floats[0]}
        return arrays if batch.weights is None else {**arrays, "w": batch.weights}


def cached_target(batch: Any) -> list[FloatArray]:
    """The target of a batch that :class:`TargetArrays` has made."""
    return [batch.arrays["y"]]


class SquaredLosses(Losses):
    """Sums of a squared loss over the rows.

    Parameters
    ----------
    margin : Margin
    coefs : ndarray of shape (n_points, 1, n_features + 1)
    models : ndarray of int of shape (n_points,)
        The model that each point belongs to.
    curved, diagonal
        As :class:`~parquetry.classical.logistic_sums.Losses` takes them.
    """

    def __init__(
        self, margin: Margin, coefs: FloatArray, models: Any, *, curved: Any = (), diagonal: bool = False
    ) -> None:
        super().__init__(coefs, None, curved=curved, diagonal=diagonal)
        self.margin, self.models = margin, models

    def _add(self, chunk: Chunk, sums: LossSums) -> None:
        excess = self.margin.excess(self.models, chunk, chunk.scores(self.coefs[:, 0]))
        weights = self.margin.weights(self.models, chunk)
        weighted = excess if weights is None else excess * weights
        sums.loss += np.einsum("ij,ij->i", weighted, excess)
        sums.gradient += 2.0 * chunk.products(weighted)[:, None]
        if sums.diagonal is not None:
            sums.diagonal += chunk.squares(bends(excess, weights))[:, None]
        if sums.curvature is not None:
            for place, point in enumerate(self.curved):
                own = None if weights is None else weights[point if len(weights) > 1 else 0]
                sums.curvature[place] += outer_sums(chunk.x, bends(excess[point], own))


def bends(excess: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Second derivatives of the squared loss by the score."""
    return np.asarray((excess != 0.0) * (2.0 if weights is None else 2.0 * weights))


def outer_sums(x: FloatArray, factors: FloatArray) -> FloatArray:
    """The sum over rows of ``factors`` times the outer product of ``[x, 1]``; rows with 0 cost nothing.

    Parameters
    ----------
    x : ndarray of shape (n_features, n_rows)
    factors : ndarray of shape (n_rows,)
    """
    active = np.flatnonzero(factors)
    z = np.empty((len(x) + 1, len(active)))
    z[:-1] = x[:, active]
    z[-1] = 1.0
    z *= np.sqrt(factors[active])
    return np.asarray(z @ z.T)
