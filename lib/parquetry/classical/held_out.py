"""Errors of linear models on rows that they were not fitted on.

The squared error on a fold is a quadratic form of the fold's own Gram matrix, so a whole grid of
penalties needs no further pass over the rows. Where the form would lose its digits, or the score
is no function of it, one pass adds the errors up row by row.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.folds import Folds
from parquetry.classical.gram import GramState, is_sparse
from parquetry.classical.gram_folds import BatchPart, FoldGrams
from parquetry.fitting import Pass
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View

SCORES = ("r2", "neg_mean_squared_error", "neg_root_mean_squared_error", "neg_mean_absolute_error")
"""Scores that are functions of sums of errors, by scikit-learn's names."""
_CHUNK_VALUES = 2**19
"""Values at once: 4 MiB, whatever the number of columns."""
_LOST = 1e-6
"""Below this share of the target's variation a fold's error is no longer taken from its Gram matrix."""


@dataclass(frozen=True, eq=False)
class LinearPath:
    """Linear models of one set of rows: one for each candidate, say each penalty.

    Attributes
    ----------
    coef : ndarray of shape (n_features, n_targets, n_candidates)
    mean : ndarray of shape (n_features + n_targets,)
        A model predicts ``mean_y + (x - mean_x) @ coef``; zeros where no intercept is fitted.
    rest : ndarray of shape (n_features + n_targets,)
        What the floats of the mean do not hold.
    """

    coef: FloatArray
    mean: FloatArray
    rest: FloatArray

    @classmethod
    def of(cls, coef: FloatArray, gram: GramState, *, fit_intercept: bool) -> LinearPath:
        """Models fitted to the rows of a Gram state."""
        share = float(fit_intercept)
        return cls(coef, gram.mean * share, gram.rest * share)


def squared_errors(held_out: GramState, path: LinearPath) -> FloatArray:
    """Sums of squared errors on rows known by their Gram state, shape ``(n_targets, n_candidates)``."""
    width, targets, candidates = path.coef.shape
    coef = path.coef.reshape(width, -1)
    away = (held_out.mean - path.mean) + (held_out.rest - path.rest)
    x, xy = held_out.products[:width, :width], held_out.products[:width, width:]
    bias = away[width:, None] - (away[:width] @ coef).reshape(targets, candidates)
    crossed = np.einsum("pt,ptc->tc", xy, path.coef)
    explained = np.einsum("pk,pk->k", x @ coef, coef).reshape(targets, candidates)
    own = held_out.products.diagonal()[width:, None]
    return np.asarray(np.maximum(own - 2 * crossed + explained, 0.0) + held_out.weight * bias**2)


def all_squared_errors(
    view: View, folds: Folds, grams: FoldGrams, paths: list[LinearPath]
) -> Generator[list[Any], list[Any], FloatArray]:
    """Sums of squared errors of shape ``(n_folds, n_targets, n_candidates)``.

    They come from the Gram states, except where a model fits so closely that the quadratic form
    would be a difference of nearly equal numbers: then one more pass adds them up row by row.
    """
    found = np.stack([squared_errors(state, path) for state, path in zip(grams.folds, paths, strict=True)])
    width = len(paths[0].coef)
    variation = np.stack([state.products.diagonal()[width:] for state in grams.folds])
    if (found >= _LOST * variation[:, :, None]).all():
        return found
    (sums,) = yield [Pass(HeldOut(folds, paths), view)]
    return np.asarray(sums[0])


def score(scoring: str, errors: FloatArray, rows: GramState, width: int) -> FloatArray:
    """One of ``SCORES`` from sums of squared (or absolute) errors, in their shape ``(n_targets, n_candidates)``."""
    if scoring == "r2":
        variation = rows.products.diagonal()[width:, None]
        if rows.rows < 2:
            return np.full(errors.shape, np.nan)
        # Where nothing varies, scikit-learn's R² is 1 without an error, else 0.
        constant = np.where(errors > 0, 0.0, 1.0)
        return np.where(variation > 0, 1.0 - errors / np.where(variation > 0, variation, 1.0), constant)
    mean = errors / rows.weight
    return -np.sqrt(mean) if scoring == "neg_root_mean_squared_error" else -mean


class HeldOut(Reduction[FloatArray, FloatArray]):
    """Squared and absolute errors of each fold's rows under models of the other folds, row by row.

    The state has the shape ``(2, n_folds, n_targets, n_candidates)``.

    Parameters
    ----------
    folds : Folds
    paths : list of LinearPath
        One a fold.
    """

    label = "held-out"

    def __init__(self, folds: Folds, paths: list[LinearPath]) -> None:
        self.folds, self.paths = folds, paths

    def partial(self, batch: Any) -> FloatArray:
        width, targets, candidates = self.paths[0].coef.shape
        sums = np.zeros((2, len(self.paths), targets, candidates))
        for k, rows in self.folds.parts(batch):
            part, path = BatchPart(batch, rows), self.paths[k]
            coef = path.coef.reshape(width, -1)
            y = centered_targets(part, path.mean[width:], path.rest[width:])
            for here, x in centered_chunks(part, path.mean[:width], path.rest[:width], beside=coef.shape[1]):
                errors = y[:, None, here] - (coef.T @ x).reshape(targets, candidates, -1)
                weights = np.ones(x.shape[1]) if part.weights is None else part.weights[here]
                sums[1, k] += np.abs(errors) @ weights
                sums[0, k] += np.square(errors, out=errors) @ weights
        return sums

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        left += right
        return left


def centered_targets(batch: Any, mean: FloatArray, rest: FloatArray) -> FloatArray:
    """``y' - (mean + rest)`` of all rows, shape ``(n_targets, n_rows)``."""
    return np.asarray((np.stack(batch.y_floats) - mean[:, None]) - rest[:, None])


def centered_chunks(
    batch: Any, mean: FloatArray, rest: FloatArray, *, beside: int = 0
) -> Iterator[tuple[slice, FloatArray]]:
    """Some rows after others, dense and centered, as ``(rows, X' - mean)``; the array is used again.

    Parameters
    ----------
    batch : Batch
    mean, rest : ndarray of shape (n_features,)
        The mean is ``mean + rest``.
    beside : int, default 0
        How many values a row the caller computes beside X: they count towards the size of a chunk.

    Yields
    ------
    slice, ndarray of shape (n_features, n_rows)
    """
    width = len(mean)
    matrix = batch.matrix.tocsr() if is_sparse(batch) else None
    columns = batch.floats if matrix is None else []
    step = max(256, _CHUNK_VALUES // (width + beside))
    buffer = np.empty((width, min(step, batch.num_rows)))
    for start in range(0, batch.num_rows, step):
        here = slice(start, min(start + step, batch.num_rows))
        chunk = buffer[:, : here.stop - here.start]
        if matrix is not None:
            np.subtract(matrix[here].toarray().T, mean[:, None], out=chunk)
        for i, column in enumerate(columns):
            np.subtract(column[here], mean[i], out=chunk[i])
        chunk -= rest[:, None]
        yield here, chunk
