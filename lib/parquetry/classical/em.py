"""Expectation-maximization of Gaussian mixtures: one pass over the rows an iteration.

A pass turns each row into shares of the components, and sums what the new parameters need. Products
of full covariances are taken about the component's present mean, so that a narrow component far from
the others loses no digits.

A. P. Dempster, N. M. Laird and D. B. Rubin, "Maximum likelihood from incomplete data via the EM
algorithm", Journal of the Royal Statistical Society B 39 (1977).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.mixture._gaussian_mixture import _compute_log_det_cholesky

from parquetry.classical.points import Chunk, chunks, nearest
from parquetry.classical.seeding import luck
from parquetry.reduction import Reduction
from parquetry.view import FloatArray

_LEAST = 10 * np.finfo(np.float64).eps  # scikit-learn's own: no component is without any row


@dataclass(frozen=True, eq=False)
class Gaussians:
    """Shares by the components' densities.

    Parameters
    ----------
    kind : {"full", "tied", "diag", "spherical"}
    weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
        Less the mean of all rows.
    cholesky : ndarray
        scikit-learn's ``precisions_cholesky_``.
    """

    kind: str
    weights: FloatArray
    means: FloatArray
    cholesky: FloatArray

    @property
    def centers(self) -> FloatArray:
        """What second moments are taken about."""
        return self.means

    def shares(self, chunk: Chunk) -> tuple[FloatArray, float]:
        """Responsibilities of shape ``(n_components, n_rows)``, and the summed log-likelihood."""
        log = self._log_densities(chunk.points.z)  # type: ignore[union-attr]
        highest = np.maximum.reduce(log, axis=0)
        log -= highest
        np.exp(log, out=log)
        total = log.sum(axis=0)
        log /= total
        return log, float(highest.sum() + np.log(total).sum())

    def _log_densities(self, z: FloatArray) -> FloatArray:
        width = len(z) - 1
        with np.errstate(divide="ignore"):  # a component that has no weight left
            constant = np.log(self.weights) + _compute_log_det_cholesky(self.cholesky, self.kind, width)
        squares = self._by_matrix(z) if self.kind in ("full", "tied") else self._by_column(z)
        squares *= -0.5
        squares += (constant - 0.5 * width * math.log(2 * math.pi))[:, None]
        return squares

    def _by_matrix(self, z: FloatArray) -> FloatArray:
        out = np.empty((len(self.means), z.shape[1]))
        for k, mean in enumerate(self.means):
            factor = self.cholesky if self.kind == "tied" else self.cholesky[k]
            y = factor.T @ (z[:-1] - mean[:, None])
            np.einsum("ij,ij->j", y, y, out=out[k])
        return out

    def _by_column(self, z: FloatArray) -> FloatArray:
        precisions = (self.cholesky if self.kind == "diag" else self.cholesky[:, None]) ** 2
        precisions = np.broadcast_to(precisions, self.means.shape)
        pulled = self.means * precisions
        linear = np.column_stack([-2.0 * pulled, np.einsum("ij,ij->i", self.means, pulled)])
        return np.asarray(linear @ z + precisions @ (z[:-1] * z[:-1]))


@dataclass(frozen=True, eq=False)
class Nearest:
    """The whole row for the nearest of some centers."""

    centers: FloatArray

    def shares(self, chunk: Chunk) -> tuple[FloatArray, float]:
        """See :meth:`Gaussians.shares`."""
        return nearest(chunk.points, self.centers).astype(np.float64), 0.0


@dataclass(frozen=True, eq=False)
class Lots:
    """Random shares, by a hash of the row's place.

    Parameters
    ----------
    salt : str
    centers : ndarray of shape (n_components, n_features)
        Zeros.
    """

    salt: str
    centers: FloatArray

    def shares(self, chunk: Chunk) -> tuple[FloatArray, float]:
        """See :meth:`Gaussians.shares`."""
        drawn = np.stack([luck(chunk, f"{self.salt}-{k}") for k in range(len(self.centers))])
        return drawn / drawn.sum(axis=0), 0.0


Sharing = Gaussians | Nearest | Lots


@dataclass
class ShareSums:
    """Sums over the rows.

    Attributes
    ----------
    likelihood : float
        The log-likelihood.
    shares : ndarray of shape (n_components,)
    first : ndarray of shape (n_components, n_features)
        Shares times rows, about the centers for ``"full"``, else about the mean of all rows.
    second : ndarray
        Shares times products of rows, about the same: ``(n_components, n_features, n_features)``
        for ``"full"``, ``(n_components, n_features)`` for ``"diag"`` and ``"spherical"``. For
        ``"tied"`` products of rows, whatever their shares: ``(n_features, n_features)``.
    """

    likelihood: float
    shares: FloatArray
    first: FloatArray
    second: FloatArray


class SharedSums(Reduction[list[ShareSums], list[ShareSums]]):
    """One expectation step, and what the maximization needs, for each of several runs."""

    label = "em"

    def __init__(self, mean: FloatArray, kind: str, sharings: Sequence[Sharing]) -> None:
        self.mean, self.kind, self.sharings = mean, kind, tuple(sharings)

    def partial(self, batch: Any) -> list[ShareSums]:
        state = [self._nothing(sharing) for sharing in self.sharings]
        for chunk in chunks(batch, self.mean):
            for total, sharing in zip(state, self.sharings, strict=True):
                for piece in chunk.pieces(len(sharing.centers)):
                    self._add(total, sharing, piece)
        return state

    def merge(self, left: list[ShareSums], right: list[ShareSums]) -> list[ShareSums]:
        for mine, other in zip(left, right, strict=True):
            mine.likelihood += other.likelihood
            mine.shares += other.shares
            mine.first += other.first
            mine.second += other.second
        return left

    def _nothing(self, sharing: Sharing) -> ShareSums:
        count, width = sharing.centers.shape
        shape = {"full": (count, width, width), "tied": (width, width)}.get(self.kind, (count, width))
        return ShareSums(0.0, np.zeros(count), np.zeros((count, width)), np.zeros(shape))

    def _add(self, total: ShareSums, sharing: Sharing, piece: Chunk) -> None:
        shares, likelihood = sharing.shares(piece)
        z = piece.points.z[:-1]  # type: ignore[union-attr]
        total.likelihood += likelihood
        total.shares += shares.sum(axis=1)
        if self.kind == "full":
            for k, center in enumerate(sharing.centers):
                difference = z - center[:, None]
                shared = difference * shares[k]
                total.first[k] += shared.sum(axis=1)
                total.second[k] += shared @ difference.T
            return
        total.first += shares @ z.T
        total.second += z @ z.T if self.kind == "tied" else shares @ (z * z).T


@dataclass(frozen=True, eq=False)
class Parameters:
    """Of a mixture.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
        Rows of each component; they do not add up to 1 yet.
    means : ndarray of shape (n_components, n_features)
        Less the mean of all rows.
    covariances : ndarray
        scikit-learn's ``covariances_``.
    """

    weights: FloatArray
    means: FloatArray
    covariances: FloatArray


def maximized(kind: str, sums: ShareSums, centers: FloatArray, mean: FloatArray, reg_covar: float) -> Parameters:
    """The parameters of greatest likelihood for given shares.

    Parameters
    ----------
    kind : {"full", "tied", "diag", "spherical"}
    sums : ShareSums
    centers : ndarray of shape (n_components, n_features)
        The centers that the sums were taken about.
    mean : ndarray of shape (n_features,)
        Of all rows.
    reg_covar : float
        Added to variances.
    """
    weights = sums.shares + _LEAST
    rows = sums.first + sums.shares[:, None] * centers if kind == "full" else sums.first
    # A component without any row has its mean where scikit-learn puts it, at the origin.
    means = rows / weights[:, None] + mean * (sums.shares / weights - 1.0)[:, None]
    if kind == "full":
        covariances = _about(sums, means - centers) / weights[:, None, None]
    elif kind == "tied":
        covariances = (sums.second - (weights * means.T) @ means) / weights.sum()
    else:
        covariances = sums.second / weights[:, None] - means**2
    if kind in ("full", "tied"):
        width = len(mean)
        covariances.reshape(-1, width * width)[:, :: width + 1] += reg_covar
    else:
        covariances += reg_covar
    return Parameters(weights, means, covariances.mean(axis=1) if kind == "spherical" else covariances)


def _about(sums: ShareSums, shift: FloatArray) -> FloatArray:
    """Second moments about ``centers + shift``."""
    crossed = sums.first[:, :, None] * shift[:, None, :]
    squared = sums.shares[:, None, None] * (shift[:, :, None] * shift[:, None, :])
    return np.asarray(sums.second - crossed - crossed.transpose(0, 2, 1) + squared)
