"""Scores of several models over the same rows, each on its own columns: one pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.reduction import Reduction
from parquetry.view import FloatArray

KINDS = ("accuracy", "r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error")


@dataclass
class Sums:
    """What the scores are made of.

    Attributes
    ----------
    rows : int
    mean, spread : ndarray of shape (n_targets,)
        The target's mean and squared deviations; not used by ``accuracy``.
    errors : ndarray of shape (n_models, n_targets)
        Squared (or absolute) errors; rows that are right for ``accuracy``.
    """

    rows: int
    mean: FloatArray
    spread: FloatArray
    errors: FloatArray


class FoldScores(Reduction[Sums, FloatArray]):
    """scikit-learn's scores of some fitted models, without weights; the mean of several targets.

    Parameters
    ----------
    kind : str
        One of ``KINDS``.
    models : sequence of (fitted estimator, ndarray of int)
        Each with the columns of X that it takes.
    """

    label = "fold-scores"

    def __init__(self, kind: str, models: Sequence[tuple[Any, Any]]) -> None:
        self.kind, self.models = kind, list(models)

    def partial(self, batch: Any) -> Sums:
        x, rows = batch.X, batch.num_rows
        y = np.asarray(batch.y)
        if self.kind == "accuracy":
            hits = [[float(np.sum(self._guess(m, x, c) == y))] for m, c in self.models]
            return Sums(rows, np.zeros(1), np.zeros(1), np.array(hits))
        truth = y.astype(np.float64).reshape(rows, -1)
        mean = truth[0] + (truth - truth[0]).mean(axis=0)
        spread = ((truth - mean) ** 2).sum(axis=0)
        size = np.abs if self.kind == "neg_mean_absolute_error" else np.square
        errors = [size(self._guess(m, x, c).reshape(truth.shape) - truth).sum(axis=0) for m, c in self.models]
        return Sums(rows, mean, spread, np.array(errors))

    def merge(self, left: Sums, right: Sums) -> Sums:
        rows = left.rows + right.rows
        apart, share = right.mean - left.mean, right.rows / rows
        spread = left.spread + right.spread + apart * apart * left.rows * share
        return Sums(rows, left.mean + apart * share, spread, left.errors + right.errors)

    def finish(self, state: Sums) -> FloatArray:
        if self.kind == "accuracy":
            return np.asarray(state.errors[:, 0] / state.rows)
        if self.kind == "r2":
            with np.errstate(divide="ignore", invalid="ignore"):
                known = 1 - state.errors / state.spread
            share = np.where(state.spread > 0, known, np.where(state.errors > 0, 0.0, 1.0))
            return np.asarray(share.mean(axis=1))
        mean = state.errors / state.rows
        return np.asarray(-(np.sqrt(mean) if self.kind == "neg_root_mean_squared_error" else mean).mean(axis=1))

    def _guess(self, model: Any, x: Any, columns: Any) -> Any:
        from parquetry.through import apply

        return np.asarray(apply(model, "predict", x[:, columns]))
