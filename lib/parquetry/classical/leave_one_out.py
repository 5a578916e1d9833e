"""Leave-one-out errors of ridge regression for all penalties at once, in one pass.

A row's error without that row is its error divided by one minus its leverage, so a second pass
over the rows gives all of them from one eigendecomposition (Rifkin & Lippert, "Notes on
Regularized Least Squares", 2007).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from parquetry.classical.gram import GramState
from parquetry.classical.held_out import centered_chunks, centered_targets
from parquetry.classical.ridge_path import inverse, spectrum
from parquetry.reduction import Reduction
from parquetry.view import FloatArray


class LeaveOneOut(Reduction[FloatArray, FloatArray]):
    """Weighted sums of squared and of absolute leave-one-out errors.

    The state has the shape ``(2, n_targets, n_alphas)``.

    Parameters
    ----------
    gram : GramState
        Of all rows, centered, whether an intercept is fitted or not.
    width : int
        How many features there are.
    alphas : ndarray of shape (n_alphas,)
        Above 0.
    fit_intercept : bool
    """

    label = "leave-one-out"

    def __init__(self, gram: GramState, width: int, alphas: FloatArray, *, fit_intercept: bool) -> None:
        values, self.vectors = spectrum(gram, width)
        self.mean, self.rest = gram.mean, gram.rest
        self.weight, self.fit_intercept = gram.weight, fit_intercept
        # All that follows is in the eigenvectors' directions, where every penalty is a division.
        self.scale = inverse(values, alphas)
        self.coef = self.scale[:, None, :] * (self.vectors.T @ gram.products[:width, width:])[:, :, None]
        self.middle = self.vectors.T @ gram.mean[:width]
        self.through = self.scale * self.middle[:, None]
        if not fit_intercept:
            # The mean is one more direction: its rank-one update (Sherman & Morrison, 1950).
            left_over = gram.mean[width:, None] - np.tensordot(self.middle, self.coef, axes=1)
            self.reach = self.middle @ self.through
            update = gram.weight * left_over / (1.0 + gram.weight * self.reach)
            self.coef = self.coef + self.through[:, None, :] * update

    def partial(self, batch: Any) -> FloatArray:
        width, targets, alphas = self.coef.shape
        sums = np.zeros((2, targets, alphas))
        coef = self.coef.reshape(width, -1)
        y = centered_targets(batch, self.mean[width:], self.rest[width:])
        beside = width + coef.shape[1] + alphas
        for here, x in centered_chunks(batch, self.mean[:width], self.rest[:width], beside=beside):
            z = self.vectors.T @ x
            errors = y[:, None, here] - (coef.T @ z).reshape(targets, alphas, -1)
            if not self.fit_intercept:
                errors += self._offset()[:, :, None]
            weights = None if batch.weights is None else batch.weights[here]
            leverage = self._leverage(z)
            errors /= 1.0 - (leverage if weights is None else leverage * weights)
            counted = np.ones(x.shape[1]) if weights is None else weights
            sums[1] += np.abs(errors) @ counted
            sums[0] += np.square(errors, out=errors) @ counted
        return sums

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        left += right
        return left

    def _offset(self) -> FloatArray:
        """The error at the mean of all rows, where no intercept takes it away."""
        return np.asarray(self.mean[len(self.vectors) :, None] - np.tensordot(self.middle, self.coef, axes=1))

    def _leverage(self, z: FloatArray) -> FloatArray:
        """Leverage of each row at weight 1, shape ``(n_alphas, n_rows)``."""
        if self.fit_intercept:
            return self.scale.T @ np.square(z) + 1.0 / self.weight
        across, reach = self.through.T @ z, self.reach[:, None]
        shared = (reach + 2.0 * across - self.weight * np.square(across)) / (1.0 + self.weight * reach)
        return np.asarray(self.scale.T @ np.square(z) + shared)
