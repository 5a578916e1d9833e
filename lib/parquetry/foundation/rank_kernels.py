"""The compiled loops of many order statistics: a value to its bracket, and there to its cell.

Imported where it is used alone; compiled on first use and kept beside the module. Whole numbers, and sums in the
order of the rows: nothing depends on the CPU.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_SIGN, _SIGN_SHIFT, _TOP_SHIFT = np.uint64(1 << 63), np.uint64(63), np.uint64(48)
_MAGNITUDE, _INFINITY = np.uint64((1 << 63) - 1), np.uint64(0x7FF << 52)


@njit(cache=True, nogil=True)
def ordered(bits, weights, keys, kept):  # type: ignore[no-untyped-def]
    """Keys in the order of the floats whose bits are given, without NaN and rows of no weight; how many there are."""
    n, weighted = 0, len(weights) > 0
    for i in range(len(bits)):
        b = bits[i]
        if (b & _MAGNITUDE) > _INFINITY or (weighted and weights[i] == 0.0):
            continue
        keys[n] = ~b if b >> _SIGN_SHIFT else b | _SIGN
        if weighted:
            kept[n] = weights[i]
        n += 1
    return n


@njit(cache=True, nogil=True)
def binned(keys, weights, count, mass, least, most):  # type: ignore[no-untyped-def]
    """Count keys by their top 16 bits, with each bin's extremes."""
    weighted = len(weights) > 0
    for i in range(len(keys)):
        key = keys[i]
        c = np.int64(key >> _TOP_SHIFT)
        if count[c] == 0 or key < least[c]:
            least[c] = key
        if count[c] == 0 or key > most[c]:
            most[c] = key
        count[c] += 1
        if weighted:
            mass[c] += weights[i]


@njit(cache=True, nogil=True)
def _bracket(key, lows, low, high):  # type: ignore[no-untyped-def]
    """The last of some brackets that begins at a key or below it; -1 where none does."""
    if low == high or key < lows[low]:
        return -1
    while high - low > 1:
        middle = (low + high) >> 1
        if lows[middle] <= key:
            low = middle
        else:
            high = middle
    return low


@njit(cache=True, nogil=True)
def placed(keys, weights, table, lows, highs, shifts, offsets, count, mass, least, most, out, kept):  # type: ignore[no-untyped-def]
    """Count keys in the cells of their brackets, or keep them where a bracket has no cells; how many are kept.

    ``table`` gives, for each value of a key's top 16 bits, the first bracket that it may lie in.
    """
    n, weighted = 0, len(weights) > 0
    for i in range(len(keys)):
        key = keys[i]
        top = np.int64(key >> _TOP_SHIFT)
        low = _bracket(key, lows, table[top], table[top + 1])
        if low < 0 or key > highs[low]:
            continue
        if offsets[low] < 0:
            out[n] = key
            if weighted:
                kept[n] = weights[i]
            n += 1
            continue
        c = offsets[low] + np.int64((key - lows[low]) >> shifts[low])
        if count[c] == 0 or key < least[c]:
            least[c] = key
        if count[c] == 0 or key > most[c]:
            most[c] = key
        count[c] += 1
        if weighted:
            mass[c] += weights[i]
    return n
