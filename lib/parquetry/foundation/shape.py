"""Moments up to the fourth: variance, skew and kurtosis of every column, stable, in one pass.

Chunks are centered by their own mean and merged by the formulas of Pébay, "Formulas for robust,
one-pass parallel computation of covariances and arbitrary-order statistical moments", Sandia
report SAND2008-6212 (2008); count, mean and squares are those of :mod:`parquetry.foundation.moments`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.foundation.moments import MomentsState, empty_moments, merge_moments, two_sum
from parquetry.view import FloatArray


@dataclass
class Shape:
    """Moments of finite values; arrays of shape ``(n_columns,)``.

    Attributes
    ----------
    base : MomentsState
        Its minimum and maximum are of all values that are not NaN.
    m3, m4 : ndarray
        Sums of the third and fourth powers of the distances from the mean.
    """

    base: MomentsState
    m3: FloatArray
    m4: FloatArray

    @property
    def mean(self) -> FloatArray:
        """NaN without values."""
        return self.base.mean_or_nan

    @property
    def variance(self) -> FloatArray:
        """Divided by ``n - 1``, as pandas has it; NaN for fewer than two values."""
        n = self.base.weight
        return np.divide(self.base.m2, n - 1, out=np.full_like(n, np.nan), where=n > 1)

    @property
    def skew(self) -> FloatArray:
        """Adjusted for the number of values, as pandas has it; NaN for a constant and for fewer than three values."""
        n, m2 = self.base.weight, self.base.m2
        with np.errstate(all="ignore"):
            found = n * np.sqrt(n - 1) / (n - 2) * self.m3 / m2**1.5
        return np.where((n > 2) & (m2 > 0), found, np.nan)

    @property
    def kurtosis(self) -> FloatArray:
        """Excess over the normal distribution's, adjusted as pandas has it; NaN likewise."""
        n, m2 = self.base.weight, self.base.m2
        with np.errstate(all="ignore"):
            ratio = n * (n + 1) * (n - 1) / ((n - 2) * (n - 3)) * self.m4 / m2**2
            found = ratio - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
        return np.where((n > 3) & (m2 > 0), found, np.nan)


def empty_shape(width: int) -> Shape:
    """The moments of no rows."""
    return Shape(empty_moments(width), np.zeros(width), np.zeros(width))


def shape_of_chunks(sums: FloatArray) -> Shape:
    """The moments of all chunks of each column.

    The first half of the chunks is merged with the second, all pairs at once, until one is left: a chunk is
    small beside what a step in NumPy costs.

    Parameters
    ----------
    sums : ndarray of shape (n_chunks, n_columns, SUMS)
        What ``profile_kernels.chunk_sums`` gives.
    """
    chunks, width = sums.shape[:2]
    if not chunks:
        return empty_shape(width)
    shape = shape_of_sums(sums.reshape(chunks * width, -1))
    while chunks > 1:
        half = chunks // 2
        merged = merge_shapes(_part(shape, 0, half * width), _part(shape, half * width, 2 * half * width))
        shape = _joined(merged, _part(shape, 2 * half * width, chunks * width)) if chunks % 2 else merged
        chunks -= half
    return shape


def _part(shape: Shape, start: int, stop: int) -> Shape:
    """The moments of some columns."""
    return _arrays(lambda a: a[start:stop], shape)


def _joined(first: Shape, second: Shape) -> Shape:
    """The moments of the columns of both."""
    return _arrays(lambda a, b: np.concatenate([a, b]), first, second)


def _arrays(change: Callable[..., Any], *shapes: Shape) -> Shape:
    """A function of each of the arrays."""
    bases = [s.base for s in shapes]
    names = ("count", "weight", "mean", "rest", "m2", "minimum", "maximum")
    base = replace(bases[0], **{name: change(*(getattr(b, name) for b in bases)) for name in names})
    return Shape(base, change(*(s.m3 for s in shapes)), change(*(s.m4 for s in shapes)))


def shape_of_sums(sums: FloatArray) -> Shape:
    """The moments of one chunk of each column, from what ``profile_kernels.chunk_sums`` gives.

    Parameters
    ----------
    sums : ndarray of shape (n_columns, SUMS)
    """
    n, mean, s1, s2, s3, s4 = sums.T[:6]
    base = empty_moments(len(sums))
    base.count, base.weight = n.astype(np.int64), n.copy()
    # The rounded mean was taken off: what it leaves out is put right in the powers.
    rest = np.divide(s1, n, out=np.zeros_like(n), where=n > 0)
    base.mean, base.rest = two_sum(mean, rest)
    base.minimum, base.maximum = sums[:, 11].copy(), sums[:, 12].copy()
    with np.errstate(all="ignore"):
        base.m2 = s2 - n * rest**2
        m3 = s3 - 3 * rest * s2 + 2 * n * rest**3
        m4 = s4 - 4 * rest * s3 + 6 * rest**2 * s2 - 3 * n * rest**4
    # A constant has no spread at all, whatever its mean was rounded to.
    same = (n > 0) & (base.minimum == base.maximum)
    base.mean[same], base.rest[same], base.m2[same] = base.minimum[same], 0.0, 0.0
    return Shape(base, np.where(same, 0.0, m3), np.where(same, 0.0, m4))


def merge_shapes(left: Shape, right: Shape) -> Shape:
    """Moments of both parts."""
    a, b = left.base, right.base
    n, na, nb = a.weight + b.weight, a.weight, b.weight
    with np.errstate(all="ignore"):
        pa_, pb = (np.divide(x, n, out=np.zeros_like(n), where=n > 0) for x in (na, nb))
        delta = np.where((na > 0) & (nb > 0), (b.mean - a.mean) + (b.rest - a.rest), 0.0)
        m3 = left.m3 + right.m3 + delta**3 * na * pb * (pa_ - pb) + 3 * delta * (pa_ * b.m2 - pb * a.m2)
        m4 = left.m4 + right.m4 + delta**4 * na * pb * (pa_**2 - pa_ * pb + pb**2)
        m4 += 6 * delta**2 * (pa_**2 * b.m2 + pb**2 * a.m2) + 4 * delta * (pa_ * right.m3 - pb * left.m3)
        return Shape(merge_moments(a, b), m3, m4)
