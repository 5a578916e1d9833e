"""Compiled loops over rows and centers: the nearest center of each row, and the sums of each center's rows.

Rows lie as columns of ``z``, whose last row is all ones. They are taken in tiles that stay in the
processor's first cache. Rows are the vector lanes, and nothing is added up across lanes, so that no
result depends on how wide the processor's vectors are. A center's rows are listed first and then
summed, in their order: that costs the same for any number of centers, where a product of matrices
pays for each of them.

The compiled code is kept beside this file; where that cannot be written, in the user's own cache
folder (``NUMBA_CACHE_DIR`` names another).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

TOGETHER = 2
"""Centers are compared so many at a time: there must be a multiple of it."""

_TILE = 512
_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def nearest_sums(z: Any, factors: Any, constants: Any, weights: Any, sums: Any) -> None:
    """Add each row to the sum of its nearest center, the first of equals.

    Parameters
    ----------
    z : ndarray of shape (n_features + 1, n_rows), C-contiguous
    factors : ndarray of shape (n_factors, n_features)
        ``-2 c`` for each center; then zeros, up to a multiple of ``TOGETHER``.
    constants : ndarray of shape (n_factors,)
        ``||c||²`` for each center; then infinity.
    weights : ndarray of shape (n_rows,), or (0,) for none
    sums : ndarray of shape (n_centers, n_features + 1)
        Changed in place.
    """
    scores, least, labels = np.empty((TOGETHER, _TILE)), np.empty(_TILE), np.empty(_TILE, np.int64)
    ends, places = np.empty(len(sums) + 1, np.int64), np.empty(_TILE, np.uint64)
    weighted = np.empty((len(z) if weights.size else 0, _TILE))
    for start in range(0, z.shape[1], _TILE):
        stop = min(start + _TILE, z.shape[1])
        size = stop - start
        _find(z, start, stop, factors, constants, scores, labels[:size], least[:size])
        _list_rows(labels[:size], ends, places)
        if weights.size:
            shares = weights[start:stop]
            for j in range(len(z)):
                x, out = z[j, start:stop], weighted[j, :size]
                for i in range(size):
                    out[i] = x[i] * shares[i]
        _add_rows(weighted if weights.size else z, 0 if weights.size else start, size, ends, places, sums)


@_compiled
def nearest_labels(z: Any, factors: Any, constants: Any, labels: Any, least: Any) -> None:
    """Set each row's nearest center, the first of equals, and its score, ``||c||² - 2 x·c``."""
    scores = np.empty((TOGETHER, _TILE))
    for start in range(0, z.shape[1], _TILE):
        stop = min(start + _TILE, z.shape[1])
        _find(z, start, stop, factors, constants, scores, labels[start:stop], least[start:stop])


@_compiled
def label_distances(z: Any, columns: Any, labels: Any, out: Any) -> None:
    """Set squared distances to the labelled centers, whose coordinates are ``columns``: (n_features, n_centers)."""
    for start in range(0, z.shape[1], _TILE):
        stop = min(start + _TILE, z.shape[1])
        mine, total = labels[start:stop], out[start:stop]
        total[:] = 0.0
        for j in range(len(columns)):
            x, centers = z[j, start:stop], columns[j]
            for i in range(total.size):
                difference = x[i] - centers[np.uint64(mine[i])]
                total[i] += difference * difference


@_compiled
def _find(z: Any, start: int, stop: int, factors: Any, constants: Any, scores: Any, labels: Any, least: Any) -> None:
    size, width = stop - start, factors.shape[1]
    whole = width // 4 * 4
    least[:] = np.inf
    labels[:] = 0
    a, b = scores[0, :size], scores[1, :size]
    for k in range(0, len(factors), TOGETHER):
        f, g = factors[k], factors[k + 1]
        a[:], b[:] = constants[k], constants[k + 1]
        for j in range(0, whole, 4):
            # Four features at a time: enough work for what is loaded and stored.
            x0, x1, x2, x3 = z[j, start:stop], z[j + 1, start:stop], z[j + 2, start:stop], z[j + 3, start:stop]
            f0, f1, f2, f3 = f[j], f[j + 1], f[j + 2], f[j + 3]
            g0, g1, g2, g3 = g[j], g[j + 1], g[j + 2], g[j + 3]
            for i in range(size):
                u0, u1, u2, u3 = x0[i], x1[i], x2[i], x3[i]
                a[i] += (u0 * f0 + u1 * f1) + (u2 * f2 + u3 * f3)
                b[i] += (u0 * g0 + u1 * g1) + (u2 * g2 + u3 * g3)
        for j in range(whole, width):
            x, f0, g0 = z[j, start:stop], f[j], g[j]
            for i in range(size):
                a[i] += x[i] * f0
                b[i] += x[i] * g0
        for i in range(size):
            best, label = least[i], labels[i]
            label = k if a[i] < best else label
            best = min(best, a[i])
            labels[i] = k + 1 if b[i] < best else label
            least[i] = min(best, b[i])


@_compiled
def _list_rows(labels: Any, ends: Any, places: Any) -> None:
    """Each center's rows, in order, one center's after another's; a list ends where ``ends`` says."""
    ends[:] = 0
    for i in range(labels.size):
        ends[np.uint64(labels[i] + 1)] += 1
    for c in range(1, ends.size):
        ends[c] += ends[c - 1]
    for i in range(labels.size):
        label = np.uint64(labels[i])  # no sign: no test for places that count from the end
        places[np.uint64(ends[label])] = i
        ends[label] += 1


@_compiled
def _add_rows(z: Any, start: int, size: int, ends: Any, places: Any, sums: Any) -> None:
    # Four features and two rows at a time: eight sums that do not wait for each other.
    height, first, stop = len(z), 0, start + size
    for c in range(len(sums)):
        mine, out = places[first : ends[c]], sums[c]
        first = ends[c]
        if not mine.size:
            continue
        pairs = mine.size // 2 * 2
        for j in range(0, height - 3, 4):
            x0, x1, x2, x3 = z[j, start:stop], z[j + 1, start:stop], z[j + 2, start:stop], z[j + 3, start:stop]
            s0 = s1 = s2 = s3 = t0 = t1 = t2 = t3 = 0.0
            for q in range(0, pairs, 2):
                i, h = mine[q], mine[q + 1]
                s0, s1, s2, s3 = s0 + x0[i], s1 + x1[i], s2 + x2[i], s3 + x3[i]
                t0, t1, t2, t3 = t0 + x0[h], t1 + x1[h], t2 + x2[h], t3 + x3[h]
            if pairs < mine.size:
                i = mine[pairs]
                s0, s1, s2, s3 = s0 + x0[i], s1 + x1[i], s2 + x2[i], s3 + x3[i]
            out[j] += s0 + t0
            out[j + 1] += s1 + t1
            out[j + 2] += s2 + t2
            out[j + 3] += s3 + t3
        for j in range(height // 4 * 4, height):
            x, s0 = z[j, start:stop], 0.0
            for q in range(mine.size):
                s0 += x[mine[q]]
            out[j] += s0
