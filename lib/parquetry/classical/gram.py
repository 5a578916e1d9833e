"""Gram: the centered cross products of features and targets, in one stable pass.

Everything that least squares needs, and more than one model can share it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.errors import BadParameter, NonFiniteValues
from parquetry.foundation.positions import (
    Position,
    earliest,
    features,
    first_non_finite,
    refusal,
    targets,
    weight_column,
)
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns, FloatArray

_CHUNK = 16_384
"""Rows at once: with 20 columns the chunk stays in the processor's cache."""


@dataclass
class GramState:
    """Weighted moments of the columns ``[X, y]``.

    Attributes
    ----------
    rows : int
        Rows seen.
    weight : float
        Sum of sample weights (the number of rows without them).
    mean : ndarray of shape (n_features + n_targets,)
    products : ndarray of shape (n_features + n_targets, n_features + n_targets)
        Sums of products of deviations from the mean.
    least_weight : float
        The smallest sample weight.
    first_bad : Position or None
        Where the first non-finite value stands.
    rest : ndarray of shape (n_features + n_targets,)
        What the mean's own float does not hold: the mean is ``mean + rest``. Far from zero, the
        difference of two means is known by it.
    """

    rows: int
    weight: float
    mean: FloatArray
    products: FloatArray
    least_weight: float = 1.0
    first_bad: Position | None = None
    rest: FloatArray | float = 0.0


class Gram(Reduction[GramState, GramState]):
    """Means and centered cross products of ``[X, y]``, weighted.

    Each batch is shifted by its first rows' mean before anything is multiplied, and states are
    merged by the pairwise formula of Chan, Golub & LeVeque (1983), so a mean of 1e9 with a
    deviation of 1 loses nothing.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards.
    names : sequence of str
        Names of X's columns, for errors.
    target : sequence of str
        Names of the targets, for errors.
    centered : bool, default True
        False keeps raw products (``fit_intercept=False``): the mean stays 0.
    """

    def __init__(self, label: str, names: Sequence[str], target: Sequence[str], *, centered: bool = True) -> None:
        self.label, self.names, self.target, self.centered = label, tuple(names), tuple(target), centered

    def partial(self, batch: Batch) -> GramState:
        weights = batch.weights
        if isinstance(batch.X, Columns) or not hasattr(batch.matrix, "tocsr"):
            columns = [*batch.floats, *batch.y_floats]
            shift = np.array([c[:_CHUNK].mean() for c in columns]) if self.centered else np.zeros(len(columns))
            sums = _shifted_products(columns, shift, weights)
        else:
            # Sparse columns are mostly zero: their means are small, and a shift would fill them.
            means = [float(y.mean()) if self.centered else 0.0 for y in batch.y_floats]
            shifted = [y - mean for y, mean in zip(batch.y_floats, means, strict=True)]
            sums = _sparse_products(batch.matrix, shifted, weights)
            shift = np.array([*np.zeros(batch.matrix.shape[1]), *means])
        state = _centered(sums, shift, batch.num_rows, centered=self.centered)
        if weights is not None:
            state.least_weight = float(weights.min())
        if not np.isfinite(sums).all():
            state.first_bad = first_non_finite(batch, _all_columns(batch), nan=True)
        return state

    def merge(self, left: GramState, right: GramState) -> GramState:
        weight = left.weight + right.weight
        mean, rest, products = left.mean, left.rest, left.products + right.products
        if self.centered and weight > 0:
            delta = (right.mean - left.mean) + (right.rest - left.rest)
            products += np.outer(delta, delta) * (left.weight * right.weight / weight)
            mean, rest = _sum_and_rest(left.mean, left.rest + delta * (right.weight / weight))
        bad = earliest([left.first_bad, right.first_bad])
        least = min(left.least_weight, right.least_weight)
        return GramState(left.rows + right.rows, weight, mean, products, least, bad, rest)

    def finish(self, state: GramState) -> GramState:
        if state.first_bad is not None:
            raise refusal(state.first_bad, [*self.names, *self.target, "sample_weight"], self.label)
        if state.least_weight < 0 or state.weight <= 0:
            raise BadParameter(
                f"{self.label}: sample weights must be non-negative and not all zero; the least is "
                f"{state.least_weight!r}, their sum {state.weight!r}.",
                fix="Mend the weight column, or leave sample_weight out.",
            )
        if not np.isfinite(state.products).all():
            raise NonFiniteValues(
                f"{self.label}: the products of the columns overflow float64.",
                why="Some values are beyond 1e154.",
                fix="Scale the columns first.",
            )
        return state


def _shifted_products(columns: list[FloatArray], shift: FloatArray, weights: FloatArray | None) -> FloatArray:
    """``Z W Z'`` for ``Z = [columns - shift, 1]``: sums of products, sums and total weight at once."""
    width, rows = len(columns), len(columns[0])
    buffer = np.empty((width + 1, min(rows, _CHUNK)))
    buffer[width] = 1.0
    total = np.zeros((width + 1, width + 1))
    for start in range(0, rows, _CHUNK):
        stop = min(start + _CHUNK, rows)
        chunk = buffer[:, : stop - start]
        for i, column in enumerate(columns):
            np.subtract(column[start:stop], shift[i], out=chunk[i])
        total += chunk @ chunk.T if weights is None else (chunk * weights[start:stop]) @ chunk.T
    return total


def _centered(sums: FloatArray, shift: FloatArray, rows: int, *, centered: bool) -> GramState:
    weight, first = float(sums[-1, -1]), sums[:-1, -1]
    if not centered or weight <= 0:
        return GramState(rows, weight, np.zeros(len(shift)), sums[:-1, :-1].copy())
    products = sums[:-1, :-1] - np.outer(first, first) / weight
    mean, rest = _sum_and_rest(shift, first / weight)
    return GramState(rows, weight, mean, products, rest=rest)


def _sum_and_rest(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``a + b`` as a float, and what rounding took from it (Knuth, 1969)."""
    total = a + b
    of_b = total - a
    return total, (a - (total - of_b)) + (b - of_b)


def _sparse_products(matrix: Any, targets: list[FloatArray], weights: FloatArray | None) -> FloatArray:
    """The same for a CSR matrix, without a shift."""
    rest = np.column_stack([*targets, np.ones(matrix.shape[0])])
    weighted = matrix if weights is None else matrix.multiply(weights[:, None]).tocsr()
    weighted_rest = rest if weights is None else rest * weights[:, None]
    corner = (weighted.T @ matrix).toarray()
    side = weighted.T @ rest
    return np.block([[corner, side], [side.T, weighted_rest.T @ rest]])


def _all_columns(batch: Batch) -> list[FloatArray]:
    return [*features(batch), *targets(batch), *weight_column(batch)]
