"""Compiled loops over the rows of windows: counts, sums, extremes and squared deviations, each from the rows anew.

Running sums would carry the rounding of a large value into every later window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

_compiled = njit(cache=True, nogil=True, error_model="numpy")


@_compiled
def first_later(times: Any, starts: Any, width: Any, first: Any) -> None:
    """For each row the first of its key's rows that is later than its own time less the width.

    Parameters
    ----------
    times : ndarray of int64 or float64, shape (n_rows,)
        In order within each key.
    starts : ndarray of int64
        Where each row's key begins.
    width : int64 or float64
    first : ndarray of int64
        Changed in place.
    """
    place = 0
    for i in range(len(times)):
        place = max(place, starts[i])
        while times[place] <= times[i] - width:
            place += 1
        first[i] = place


@_compiled
def windowed(values: Any, starts: Any, ends: Any, counts: Any, sums: Any, least: Any, most: Any, rests: Any) -> None:
    """Measures of ``values[starts[i]:ends[i]]`` without NaN, for every row ``i``.

    Parameters
    ----------
    values : ndarray of float64, shape (n_rows,)
    starts, ends : ndarray of int64, shape (n_rows,)
    counts : ndarray of int64
        Changed in place, as are the others: values in the window.
    sums, least, most, rests : ndarray of float64
        The sum, the extremes, and the sum of squared deviations from the window's mean.
    """
    for i in range(len(starts)):
        count, total, low, high = 0, 0.0, np.inf, -np.inf
        for j in range(starts[i], ends[i]):
            value = values[j]
            if not np.isnan(value):
                count += 1
                total += value
                low, high = min(low, value), max(high, value)
        counts[i], sums[i], least[i], most[i] = count, total, low, high
        mean, rest = total / count if count else 0.0, 0.0
        for j in range(starts[i], ends[i]):
            if not np.isnan(values[j]):
                rest += (values[j] - mean) ** 2
        rests[i] = rest
