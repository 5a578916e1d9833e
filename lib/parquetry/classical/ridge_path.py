"""Ridge regression for a whole grid of penalties from one decomposition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import linalg

from parquetry.classical.gram import GramState
from parquetry.classical.held_out import LinearPath
from parquetry.classical.linear import usable_directions
from parquetry.classical.spectrum import root
from parquetry.view import FloatArray


def ridge_path(gram: GramState, width: int, alphas: FloatArray, *, fit_intercept: bool) -> LinearPath:
    """Ridge's solutions for all penalties, from one eigendecomposition."""
    if not fit_intercept and not alphas.all():
        raw = gram.products + gram.weight * np.outer(gram.mean, gram.mean)
        gram = replace(gram, products=raw, mean=np.zeros_like(gram.mean))
    values, vectors = spectrum(gram, width)
    scale = inverse(values, alphas)
    mean, target_mean = gram.mean[:width], gram.mean[width:]
    right = vectors.T @ gram.products[:width, width:]
    coef = np.tensordot(vectors, scale[:, None, :] * right[:, :, None], axes=1)
    if fit_intercept:
        return LinearPath.of(coef, gram, fit_intercept=True)
    # The mean enters by its rank-one update (Sherman & Morrison, 1950).
    along = vectors @ (scale * (vectors.T @ mean)[:, None])
    left_over = target_mean[:, None] - np.tensordot(mean, coef, axes=1)
    update = gram.weight * left_over / (1.0 + gram.weight * (mean @ along))
    return LinearPath.of(coef + along[:, None, :] * update, gram, fit_intercept=False)


def spectrum(gram: GramState, width: int) -> tuple[FloatArray, FloatArray]:
    """Eigenvalues in ascending order and eigenvectors of the products of features.

    They come from the singular values of moment rows, so that columns of a small scale beside
    others of a large one keep half of their digits more than an eigendecomposition would leave.
    """
    _, singular, vectors = linalg.svd(root(gram.products[:width, :width]), lapack_driver="gesvd")
    return singular[::-1] ** 2, vectors[::-1].T


def inverse(values: FloatArray, alphas: FloatArray) -> FloatArray:
    """``1 / (eigenvalue + alpha)``, shape ``(n_features, n_alphas)``; 0 where there is nothing to divide by."""
    usable = usable_directions(values)[:, None] | (alphas > 0)
    penalized = np.maximum(values, 0.0)[:, None] + alphas
    return np.divide(1.0, penalized, out=np.zeros_like(penalized), where=usable)
