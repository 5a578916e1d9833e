"""Compiled loops of the profile: each walks a column once, in pieces that a core's cache holds.

Called through :mod:`.profile_loops` alone; compiled on first use and kept beside the module. No loop's result
depends on the CPU: sums run in four fixed lanes, and the compiler may not reorder them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numba.cpython.unsafe import numbers

from parquetry.foundation.profile_loops import CHUNK

_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_GOLDEN, _MISSING = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_S20, _S27, _S30, _S31 = np.uint64(20), np.uint64(27), np.uint64(30), np.uint64(31)
_trailing_zeros: Any = numbers.trailing_zeros
_ONE, _BYTE, _MINUS_ZERO = np.uint64(1), np.uint64(8), np.uint64(1 << 63)
_PIECE = 1_024  # values whose hashes lie in a core's first cache, beside the registers


@njit(cache=True, nogil=True)
def mixed(z):  # type: ignore[no-untyped-def]
    """SplitMix64's finalizer of one number: what ``rows.finalized`` does to arrays."""
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


# --- sums -----------------------------------------------------------------------------------
@njit(cache=True, nogil=True)
def chunk_sums(values, out):  # type: ignore[no-untyped-def]
    """Facts of each chunk of a column; ``out`` has shape ``(n_chunks, SUMS)``.

    Of the finite values: how many, their mean, the sums of the first four powers of what is left
    without it. Of all: negative ones, zeros, infinities below and above, NaN, minimum, maximum.
    """
    buffer = np.empty(CHUNK)
    for c in range(out.shape[0]):
        part = values[c * CHUNK : min(len(values), (c + 1) * CHUNK)]
        rows, finite, below, above = len(part), 0, 0, 0
        total, low, high, negative, zero = _totals(part)
        if not np.isfinite(total):
            for x in part:
                if np.isfinite(x):
                    buffer[finite] = x
                    finite += 1
                elif x < 0.0:
                    below += 1
                elif x > 0.0:
                    above += 1
            part = buffer[:finite]
            total, low, high, negative, zero = _totals(part)
        n = len(part)
        mean = total / n if n else 0.0
        if not np.isfinite(mean):  # the sum is out of range, the mean is not
            mean = 0.0
            for x in part:
                mean += x / n
        out[c, 0], out[c, 1] = n, mean
        out[c, 2], out[c, 3], out[c, 4], out[c, 5] = _powers(part, mean)
        out[c, 6], out[c, 7], out[c, 8], out[c, 9] = negative + below, zero, below, above
        out[c, 10] = rows - n - below - above
        # 0.0 for -0.0, which of equal extremes came first must not be seen.
        out[c, 11], out[c, 12] = (-np.inf if below else low + 0.0), (np.inf if above else high + 0.0)


@njit(cache=True, nogil=True)
def _totals(part):  # type: ignore[no-untyped-def]
    """Sum, minimum, maximum, and how many are negative and zero."""
    n = len(part)
    whole = n // 4 * 4
    a0 = a1 = a2 = a3 = 0.0
    l0 = l1 = l2 = l3 = np.inf
    h0 = h1 = h2 = h3 = -np.inf
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = part[i], part[i + 1], part[i + 2], part[i + 3]
        a0 += x0
        a1 += x1
        a2 += x2
        a3 += x3
        l0, l1, l2, l3 = min(l0, x0), min(l1, x1), min(l2, x2), min(l3, x3)
        h0, h1, h2, h3 = max(h0, x0), max(h1, x1), max(h2, x2), max(h3, x3)
    for i in range(whole, n):
        x0 = part[i]
        a0 += x0
        l0, h0 = min(l0, x0), max(h0, x0)
    negative = zero = 0
    for i in range(n):
        negative += part[i] < 0.0
        zero += part[i] == 0.0
    return (a0 + a1) + (a2 + a3), min(l0, l1, l2, l3), max(h0, h1, h2, h3), negative, zero


@njit(cache=True, nogil=True)
def _powers(part, mean):  # type: ignore[no-untyped-def]
    """Sums of the first four powers of the distances from the mean."""
    n = len(part)
    whole = n // 4 * 4
    b0 = b1 = b2 = b3 = c0 = c1 = c2 = c3 = 0.0
    d0 = d1 = d2 = d3 = e0 = e1 = e2 = e3 = 0.0
    for i in range(0, whole, 4):
        x0, x1, x2, x3 = part[i] - mean, part[i + 1] - mean, part[i + 2] - mean, part[i + 3] - mean
        q0, q1, q2, q3 = x0 * x0, x1 * x1, x2 * x2, x3 * x3
        b0 += x0
        b1 += x1
        b2 += x2
        b3 += x3
        c0 += q0
        c1 += q1
        c2 += q2
        c3 += q3
        d0 += q0 * x0
        d1 += q1 * x1
        d2 += q2 * x2
        d3 += q3 * x3
        e0 += q0 * q0
        e1 += q1 * q1
        e2 += q2 * q2
        e3 += q3 * q3
    for i in range(whole, n):
        x0 = part[i] - mean
        q0 = x0 * x0
        b0, c0, d0, e0 = b0 + x0, c0 + q0, d0 + q0 * x0, e0 + q0 * q0
    return (b0 + b1) + (b2 + b3), (c0 + c1) + (c2 + c3), (d0 + d1) + (d2 + d3), (e0 + e1) + (e2 + e3)


@njit(cache=True, nogil=True)
def grid_counts(values, scale, start, counts):  # type: ignore[no-untyped-def]
    """Add the finite values to cells of width ``1 / scale``; the first one is number ``start``."""
    cells = np.empty(_PIECE, dtype=np.int64)
    for first in range(0, len(values), _PIECE):
        part = values[first : min(len(values), first + _PIECE)]
        n = _cells_of(part, scale, start, cells)
        for i in range(n):
            counts[cells[i]] += 1


@njit(cache=True, nogil=True)
def _cells_of(part, scale, start, cells):  # type: ignore[no-untyped-def]
    """The cells of the finite values of a piece, one behind the other; gives how many they are.

    Loops of one plain step each: the compiler makes several values a step of them.
    """
    n, finite = len(part), 0
    for i in range(n):
        cells[i] = _cell(part[i], scale) - start
        finite += part[i] - part[i] == 0.0
    if finite == n:
        return n
    n = 0
    for i in range(len(part)):
        if np.isfinite(part[i]):
            cells[n] = cells[i]
            n += 1
    return n


@njit(cache=True, nogil=True)
def cell_ranks(values, scale, start, ranks):  # type: ignore[no-untyped-def]
    """The rank of each value's cell; NaN for what is not finite."""
    out = np.empty(len(values))
    cells = np.empty(_PIECE, dtype=np.int64)
    for first in range(0, len(values), _PIECE):
        part = values[first : min(len(values), first + _PIECE)]
        if _cells_of(part, scale, start, cells) == len(part):
            for i in range(len(part)):
                out[first + i] = ranks[cells[i]]
        else:
            for i in range(len(part)):
                x = part[i]
                out[first + i] = ranks[_cell(x, scale) - start] if np.isfinite(x) else np.nan
    return out


@njit(cache=True, nogil=True)
def _cell(x, scale):  # type: ignore[no-untyped-def]
    """The number of a value's cell; what is too small for the scale keeps its sign."""
    y = x * scale
    if y == 0.0 and x < 0.0:
        return np.int64(-1)
    return np.int64(np.floor(y))


# --- keys -----------------------------------------------------------------------------------
@njit(cache=True, nogil=True)
def scan_keys(keys, values, signed_zero, registers, rows, slots, slot_counts, room):  # type: ignore[no-untyped-def]
    """Hash each value once: into HyperLogLog registers, a Misra-Gries table and the rows' hashes.

    Parameters
    ----------
    keys : array of uint64
        What tells values apart.
    values : array of float64
        NaN where there is no value.
    signed_zero : bool
        Whether the keys are floats' bits, so that -0.0 must become 0.0.
    registers : array of uint8
        A power of two of them; changed.
    rows : array of uint64
        Each row's hash so far; changed.
    slots, slot_counts : arrays of uint64 and int32
        An open hash table, at least twice ``2 * room`` long; changed. A count of 0 is a free slot.
    room : int
        The table is brought back to so many keys when it holds twice as many.

    Returns
    -------
    int
        By how much every count may be too low.
    """
    hashes, held = np.empty(_PIECE, dtype=np.uint64), np.empty(_PIECE, dtype=np.uint64)
    places = np.empty(2 * room, dtype=np.uint64)  # the slots in use
    mask = np.uint64(len(slots) - 1)
    used, again, lost = 0, 0, 0
    for first in range(0, len(keys), _PIECE):
        last = min(len(keys), first + _PIECE)
        n = _hashed(keys[first:last], values[first:last], signed_zero, rows[first:last], hashes, held)
        add_hashes(hashes[:n], registers)
        for i in range(n):
            key = held[i]
            at = (hashes[i] >> _S20) & mask
            while slot_counts[at] != 0 and slots[at] != key:
                at = (at + _ONE) & mask
            if slot_counts[at] == 0:
                slots[at] = key
                places[used] = at
                used += 1
            else:
                again += 1
            slot_counts[at] += 1
            if used == 2 * room:
                if again:
                    used, cut = _thinned(slots, slot_counts, places, room)
                else:
                    slot_counts[:] = 0
                    used, cut = 0, 1
                lost += cut
                again = used
    return lost


@njit(cache=True, nogil=True)
def _hashed(keys, values, signed_zero, rows, hashes, held):  # type: ignore[no-untyped-def]
    """The hashes and keys of a piece's values, those of missing ones left out; gives how many they are.

    Loops of one plain step each: the compiler makes several values a step of them.
    """
    n, there = len(keys), 0
    for i in range(n):
        key = keys[i]
        if signed_zero and key == _MINUS_ZERO:
            key = np.uint64(0)
        held[i] = key
        hashes[i] = mixed(key + _GOLDEN)
    for i in range(n):
        there += values[i] == values[i]
    if there == n:
        for i in range(n):
            rows[i] = (rows[i] * _GOLDEN) ^ hashes[i]
        return n
    n = 0
    for i in range(len(keys)):
        if np.isnan(values[i]):
            rows[i] = (rows[i] * _GOLDEN) ^ _MISSING
        else:
            rows[i] = (rows[i] * _GOLDEN) ^ hashes[i]
            held[n], hashes[n] = held[i], hashes[i]
            n += 1
    return n


@njit(cache=True, nogil=True)
def add_hashes(hashes, registers):  # type: ignore[no-untyped-def]
    """Hashes into HyperLogLog registers, which are changed."""
    p = 0
    while (1 << p) < len(registers):
        p += 1
    top = np.uint64(64 - p)
    for h in hashes:
        # The first bits name the register; it keeps the most zeros that any hash ends with, and one. Without
        # a branch: whether a register rises cannot be foretold while it has seen little.
        rank = np.uint8(_trailing_zeros(h | (_ONE << top)) + _ONE)
        place = np.int64(h >> top)
        registers[place] = max(registers[place], rank)


@njit(cache=True, nogil=True)
def _thinned(slots, slot_counts, places, room):  # type: ignore[no-untyped-def]
    """The least cut of all counts that leaves at most ``room`` keys of twice as many; gives keys left, and the cut."""
    keys, counts = slots[places], slot_counts[places]
    slot_counts[places] = 0
    cut = 0
    while True:
        cut += 1
        left = 0
        for c in counts:
            left += c > cut
        if left <= room:
            break
        if cut == 8:
            cut = np.sort(counts)[len(counts) - room - 1]
            break
    mask = np.uint64(len(slots) - 1)
    n = 0
    for i in range(len(keys)):
        if counts[i] > cut:
            at = (mixed(keys[i] + _GOLDEN) >> _S20) & mask
            while slot_counts[at] != 0:
                at = (at + _ONE) & mask
            slots[at], slot_counts[at] = keys[i], counts[i] - cut
            places[n] = at
            n += 1
    return n, cut


# --- texts ----------------------------------------------------------------------------------
@njit(cache=True, nogil=True)
def hash_texts(offsets, data):  # type: ignore[no-untyped-def]
    """One 64-bit hash for each text; ``offsets`` are where each begins and ends in ``data``."""
    out = np.empty(len(offsets) - 1, dtype=np.uint64)
    for i in range(len(out)):
        start, stop = np.int64(offsets[i]), np.int64(offsets[i + 1])
        h = mixed(np.uint64(stop - start) + _GOLDEN)
        at = start
        while at < stop:
            word = np.uint64(0)
            for j in range(min(8, stop - at)):  # type: ignore[call-overload]
                word |= np.uint64(data[at + j]) << (_BYTE * np.uint64(j))
            h = mixed((h ^ word) * _GOLDEN + _ONE)
            at += 8
        out[i] = h
    return out


@njit(cache=True, nogil=True)
def add_to_rows(codes, hashes, rows):  # type: ignore[no-untyped-def]
    """The rows' hashes with one more column: a code names its hash, a negative one a missing value."""
    for i in range(len(codes)):
        code = codes[i]
        rows[i] = (rows[i] * _GOLDEN) ^ (hashes[code] if code >= 0 else _MISSING)
