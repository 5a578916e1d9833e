"""Covariances of classes and of all rows, shrunk as scikit-learn's discriminant analyses shrink them."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.covariance import shrunk_covariance
from sklearn.preprocessing._data import _handle_zeros_in_scale, _is_constant_feature

from parquetry.classical.scatter import ScatterState
from parquetry.fitting import Pass
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View

_CHUNK_VALUES = 2**19


@dataclass
class Covariances:
    """Covariances by class, and of all rows; shrunk where that was asked for.

    Attributes
    ----------
    classes : ndarray of shape (n_classes, n_features, n_features)
    total : ndarray of shape (n_features, n_features)
    """

    classes: FloatArray
    total: FloatArray


class FourthPowers(Reduction[FloatArray, FloatArray]):
    """Each row's squared distance from its mean, in units of deviations, squared again and added up.

    Parameters
    ----------
    label : str
        What the pass is called in dashboards.
    means, scales : ndarray of shape (n_classes + 1, n_features)
        Of each class, and of all rows.

    Returns
    -------
    ndarray of shape (n_classes + 1,)
    """

    def __init__(self, label: str, means: FloatArray, scales: FloatArray) -> None:
        self.label, self.means, self.scales = label, means, scales

    def partial(self, batch: Any) -> FloatArray:
        codes = batch.y_floats[0].astype(np.intp)
        classes, width = len(self.means) - 1, self.means.shape[1]
        total = np.zeros(classes + 1)
        step = min(16_384, max(1_024, _CHUNK_VALUES // width))
        for start in range(0, batch.num_rows, step):
            part = slice(start, min(start + step, batch.num_rows))
            rows = np.stack([column[part] for column in batch.floats], axis=1)
            own = codes[part]
            far = (((rows - self.means[own]) / self.scales[own]) ** 2).sum(axis=1)
            total[:-1] += np.bincount(own, far * far, classes)
            far = (((rows - self.means[-1]) / self.scales[-1]) ** 2).sum(axis=1)
            total[-1] += far @ far
        return total

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return left + right


def covariances(
    label: str, view: View, state: ScatterState, shrinkage: Any
) -> Generator[list[Any], list[Any], Covariances]:
    """Covariances from the products of each class; one more pass for Ledoit and Wolf's shrinkage.

    Parameters
    ----------
    label : str
    view : View
        With the classes encoded.
    state : ScatterState
        Of kind ``"each"``.
    shrinkage : float, "auto" or None

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.covariance.LedoitWolf.html
    """
    total_mean, _ = state.overall()
    counts = np.append(state.weight, state.weight.sum())
    plain = Covariances(state.products / state.weight[:, None, None], total_covariance(state))
    if shrinkage is None:
        return plain
    if shrinkage != "auto":
        return Covariances(shrunk_covariance(plain.classes, shrinkage), shrunk_covariance(plain.total, shrinkage))
    means = np.vstack([state.mean + state.rest, total_mean])
    every = np.concatenate([plain.classes, plain.total[None]])
    scales = np.stack([_scale(c, m, n) for c, m, n in zip(every, means, counts, strict=True)])
    (fourth,) = yield [Pass(FourthPowers(label, means, scales), view)]
    shrunk = [_ledoit_wolf(c, s, f, n) for c, s, f, n in zip(every, scales, fourth, counts, strict=True)]
    return Covariances(np.stack(shrunk[:-1]), shrunk[-1])


def total_covariance(state: ScatterState) -> FloatArray:
    """The covariance of all rows, from the products within classes and the classes' means."""
    _, apart = state.overall()
    within = state.products.sum(axis=0) if state.products.ndim == 3 else state.products
    return np.asarray((within + (apart * state.weight[:, None]).T @ apart) / state.weight.sum())


def _scale(covariance: FloatArray, mean: FloatArray, count: float) -> FloatArray:
    """What StandardScaler would divide by."""
    variance = np.clip(np.diag(covariance), 0.0, None)
    constant = _is_constant_feature(variance, mean, count)
    return np.asarray(_handle_zeros_in_scale(np.sqrt(variance), copy=False, constant_mask=constant))


def _ledoit_wolf(covariance: FloatArray, scale: FloatArray, fourth: float, count: float) -> FloatArray:
    """Ledoit and Wolf's estimate on standardized features, back in their own scale.

    "A well-conditioned estimator for large-dimensional covariance matrices", Journal of
    Multivariate Analysis 88 (2004).
    """
    width = len(covariance)
    standard = covariance / scale / scale[:, None]
    if width == 1:
        return covariance
    trace, squares = np.trace(standard), float((standard**2).sum())
    mean = trace / width
    apart = (squares - 2.0 * mean * trace + width * mean**2) / width
    noise = min((fourth / count - squares) / (width * count), apart)
    shrinkage = 0.0 if noise == 0 else noise / apart
    shrunk = (1.0 - shrinkage) * standard + shrinkage * mean * np.eye(width)
    return np.asarray(shrunk * scale * scale[:, None])
