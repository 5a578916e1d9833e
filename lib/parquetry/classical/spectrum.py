"""Singular values and vectors of X from its products, without the loss that squaring brings.

Products of deviations are accurate relative to the columns' own scales. So they are brought to
that scale before they are taken apart (Demmel & Veselić, "Jacobi's method is more accurate than
QR", 1992), and where directions remain that the products cannot resolve, a second pass sees the
rows along the directions found and scaled to 1, which restores the digits (as CholeskyQR2 does:
Yamamoto et al., "Roundoff error analysis of the CholeskyQR2 algorithm", 2015).
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
from scipy import linalg
from sklearn.utils.extmath import svd_flip

from parquetry.classical.scatter import Scatter, ScatterState
from parquetry.fitting import Pass
from parquetry.view import FloatArray, View

RESOLVED = 1e5
"""Squared stretch of a direction up to which products leave less than 1e-9 of error in it."""


def root(products: FloatArray) -> FloatArray:
    """A square matrix R with ``R'R = products``, accurate relative to every column's own scale."""
    # What one fold leaves of a constant column may lie below zero by a rounding.
    scale = np.sqrt(np.clip(np.diag(products), 0.0, None))
    scale[scale == 0.0] = 1.0
    values, vectors = linalg.eigh(products / scale / scale[:, None])
    return np.asarray(np.sqrt(np.clip(values, 0.0, None))[:, None] * vectors.T * scale)


def singular(factor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Singular values, largest first, and right singular vectors as rows, signed as scikit-learn signs them.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.utils.extmath.svd_flip.html
    """
    _, values, vectors = linalg.svd(factor, full_matrices=False, overwrite_a=False)
    _, vectors = svd_flip(None, vectors, u_based_decision=False)
    return values, vectors


def stretches(products: FloatArray, values: FloatArray, vectors: FloatArray) -> FloatArray:
    """How much each direction's square is magnified by errors in the products, at most.

    A direction without any length, as that of a constant column, is exact.
    """
    squares = np.clip(np.diag(products), 0.0, None)
    sizes = (vectors * vectors) @ squares
    lost = np.where(sizes > np.finfo(float).eps ** 2 * squares.max(), np.inf, 0.0)
    return np.divide(sizes, values * values, out=lost, where=values > 0)


def refined(
    label: str,
    names: tuple[str, ...],
    view: View,
    state: ScatterState,
    factor: FloatArray,
    *,
    classes: int = 1,
) -> Generator[list[Any], list[Any], FloatArray]:
    """The factor found anew in one more pass, in which no direction is small.

    Parameters
    ----------
    label, names : str, tuple of str
        As Scatter takes them.
    view : View
    state : ScatterState
        The first pass's.
    factor : ndarray of shape (n_features, n_features)
        Its root.
    classes : int, default 1
    """
    _, values, vectors = linalg.svd(factor, full_matrices=False)
    sizes = np.sqrt((vectors * vectors) @ np.clip(np.diag(state.products), 0.0, None))
    # Below this a direction's length is noise: it is scaled as if it were that long.
    floor = np.sqrt(len(values) * np.finfo(float).eps) * sizes
    lengths = np.maximum(values, floor)
    lengths[lengths == 0.0] = 1.0
    center, _ = state.overall()
    reduction = Scatter(label, names, classes=classes, basis=(vectors / lengths[:, None]).T, center=center)
    (again,) = yield [Pass(reduction, view)]
    return np.asarray(root(again.products) @ (lengths[:, None] * vectors))
