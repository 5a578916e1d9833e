"""The compiled loop of PowerTransformer: powers of what logarithms differ by from the middle of their bin.

Imported where it is used alone; compiled on first use and kept beside the module. Sums run in the order of the rows.
"""

from __future__ import annotations

from numba import njit


@njit(cache=True, nogil=True)
def add_powers(logs, low, scale, centers, inverse, sums):  # type: ignore[no-untyped-def]
    """Add the powers of each value to the sums of its bin, shape ``(n_bins + 2, n_powers)``.

    ``(value - low) * scale`` is its bin; the last two take what lies below the first bin and beyond the last one.
    Powers are of the distance from the bin's center, times ``inverse``.
    """
    bins, powers = len(centers) - 2, sums.shape[1]
    for u in logs:
        place = (u - low) * scale
        if place < 0.0:
            b = bins
        elif place > bins:
            b = bins + 1
        else:
            b = min(int(place), bins - 1)
        t = (u - centers[b]) * inverse[b]
        p = 1.0
        for k in range(powers):
            sums[b, k] += p
            p *= t
