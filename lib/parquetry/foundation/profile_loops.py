"""The profile's loops, in NumPy while a process has seen few values, and compiled from then on.

Compiling takes some ten seconds where nothing is kept from before, which a small table is not worth.
Both ways give the same bits, so it does not matter which worker takes which, and when.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.rows import finalized
from parquetry.view import FloatArray

CHUNK = 8_192
"""Values that are centered together: 64 KiB."""
SUMS = 13
"""Numbers that :func:`chunk_sums` gives for each chunk."""
ENOUGH = 2**20
"""Values from which on a loop is compiled."""
_GOLDEN, _MISSING = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_LONG = 2**12  # a text of more words is no work for NumPy
_MINUS_ZERO = np.uint64(1 << 63)
_seen: Counter[str] = Counter()
_MANY = 4 * ENOUGH  # values of a pass from which on no worker begins slowly

Keys = npt.NDArray[np.uint64]
Counts = npt.NDArray[np.int64]


def expect(values: int) -> None:
    """Say how many values a pass has: of very many, not even the first ones are left to NumPy."""
    if values > _MANY:
        _seen.update(dict.fromkeys(("chunk_sums", "grid_counts", "cell_ranks", "scan_keys", "add_hashes"), ENOUGH))


def _compiled(name: str, values: int) -> Any:
    """The compiled loop, once it is worth it."""
    _seen[name] += values
    if _seen[name] <= ENOUGH:
        return None
    from parquetry.foundation import profile_kernels

    return getattr(profile_kernels, name)


# --- sums -----------------------------------------------------------------------------------
def chunk_sums(values: FloatArray) -> FloatArray:
    """Facts of each chunk of a column, shape ``(n_chunks, SUMS)``: see ``profile_kernels.chunk_sums``."""
    out = np.empty((-(-len(values) // CHUNK), SUMS))
    if loop := _compiled("chunk_sums", len(values)):
        loop(np.ascontiguousarray(values), out)
        return out
    for c, row in enumerate(out):
        _chunk(values[c * CHUNK : (c + 1) * CHUNK], row)
    return out


def _chunk(part: FloatArray, row: FloatArray) -> None:
    rows, below, above = len(part), np.count_nonzero(part == -np.inf), np.count_nonzero(part == np.inf)
    part = part[np.isfinite(part)]
    n = len(part)
    with np.errstate(all="ignore"):
        mean = _in_lanes(part) / n if n else 0.0
        if not np.isfinite(mean):  # the sum is out of range, the mean is not
            mean = float(np.add.accumulate(part / n)[-1])
        away = part - mean
        squares = away * away
        powers = [_in_lanes(p) for p in (away, squares, squares * away, squares * squares)]
    low, high = (part.min() + 0.0, part.max() + 0.0) if n else (np.inf, -np.inf)
    row[:6] = n, mean, *powers
    row[6:11] = np.count_nonzero(part < 0) + below, np.count_nonzero(part == 0), below, above, rows - n - below - above
    row[11:] = -np.inf if below else low, np.inf if above else high


def _in_lanes(values: FloatArray) -> float:
    """The sum in four lanes, one after the other in each, as the compiled loop has it."""
    whole = len(values) // 4 * 4
    lanes = np.zeros(4)
    if whole:
        # A sum of nothing but -0.0 is 0.0 where it began with 0.0.
        lanes = np.add.accumulate(values[:whole].reshape(-1, 4), axis=0)[-1] + 0.0
    for value in values[whole:]:
        lanes[0] += value
    return float((lanes[0] + lanes[1]) + (lanes[2] + lanes[3]))


# --- cells ----------------------------------------------------------------------------------
def grid_counts(values: FloatArray, scale: float, start: int, counts: Counts) -> None:
    """Add the finite values to cells of width ``1 / scale``; the first one is number ``start``."""
    if loop := _compiled("grid_counts", len(values)):
        loop(values, scale, start, counts)
    else:
        counts += np.bincount(_cells(values[np.isfinite(values)], scale) - start, minlength=len(counts))


def cell_ranks(values: FloatArray, scale: float, start: int, ranks: FloatArray) -> FloatArray:
    """The rank of each value's cell; NaN for what is not finite."""
    if loop := _compiled("cell_ranks", len(values)):
        found: FloatArray = loop(values, scale, start, ranks)
        return found
    finite = np.isfinite(values)
    out = np.full(len(values), np.nan)
    out[finite] = ranks[_cells(values[finite], scale) - start]
    return out


def _cells(values: FloatArray, scale: float) -> Counts:
    """The number of each value's cell; what is too small for the scale keeps its sign."""
    scaled = values * scale
    cells: Counts = np.floor(scaled).astype(np.int64)
    cells[(scaled == 0.0) & (values < 0.0)] = -1
    return cells


# --- keys -----------------------------------------------------------------------------------
def scan_keys(
    keys: Keys, values: FloatArray, registers: npt.NDArray[np.uint8], rows: Keys, room: int, *, signed_zero: bool
) -> tuple[Keys, Counts, int]:
    """Hash each value once, as ``profile_kernels.scan_keys`` does; registers and rows are changed.

    Returns
    -------
    tuple of ndarray, ndarray and int
        The keys that are held, in no order, their counts, and by how much every count may be too low.
    """
    if loop := _compiled("scan_keys", len(keys)):
        slots, counts = np.zeros(16 * room, dtype=np.uint64), np.zeros(16 * room, dtype=np.int32)
        lost = loop(keys, values, signed_zero, registers, rows, slots, counts, room)
        used = counts != 0
        return slots[used], counts[used].astype(np.int64), int(lost)
    there = ~np.isnan(values)
    keys = np.where(keys == _MINUS_ZERO, np.uint64(0), keys) if signed_zero else keys
    hashes = finalized(keys + _GOLDEN)
    rows[:] = (rows * _GOLDEN) ^ np.where(there, hashes, _MISSING)
    _into_registers(hashes[there], registers)
    return _most_frequent(keys[there], room)


def _most_frequent(keys: Keys, room: int) -> tuple[Keys, Counts, int]:
    """Misra and Gries' summary: cut to ``room`` keys whenever twice as many are held."""
    distinct, codes = np.unique(keys, return_inverse=True)
    if len(distinct) < 2 * room:
        return distinct, np.bincount(codes, minlength=len(distinct)), 0
    counts, lost, at = np.zeros(len(distinct), dtype=np.int64), 0, 0
    held = np.empty(0, dtype=np.int64)
    while at < len(codes):
        piece = codes[at : at + 2 * room]
        unique, first = np.unique(piece, return_index=True)
        new = counts[unique] == 0
        firsts = np.sort(first[new])
        free = 2 * room - len(held)
        full = len(firsts) >= free
        if full:
            piece = piece[: firsts[free - 1] + 1]
            new &= first < len(piece)
        np.add.at(counts, piece, 1)
        held = np.concatenate([held, unique[new]])
        at += len(piece)
        if full:
            # The least cut of all counts that leaves at most so many keys.
            cut = int(np.partition(counts[held], room - 1)[room - 1])
            counts[held] = np.maximum(counts[held] - cut, 0)
            held, lost = held[counts[held] > 0], lost + cut
    kept = np.sort(held)
    return distinct[kept], counts[kept], lost


def add_hashes(hashes: Keys, registers: npt.NDArray[np.uint8]) -> None:
    """Hashes into HyperLogLog registers, which are changed."""
    if loop := _compiled("add_hashes", len(hashes)):
        loop(hashes, registers)
    else:
        _into_registers(hashes, registers)


def _into_registers(hashes: Keys, registers: npt.NDArray[np.uint8]) -> None:
    """The first bits name the register; it keeps the most zeros that any hash ends with, and one."""
    top = 64 - (len(registers).bit_length() - 1)
    ended = hashes | np.uint64(1 << top)
    zeros = np.frexp((ended & (~ended + np.uint64(1))).astype(np.float64))[1] - 1  # exact: a power of two
    np.maximum.at(registers, (hashes >> np.uint64(top)).astype(np.int64), (zeros + 1).astype(np.uint8))


# --- texts ----------------------------------------------------------------------------------
def hash_texts(offsets: npt.NDArray[np.int32], data: npt.NDArray[np.uint8]) -> Keys:
    """One 64-bit hash for each text; ``offsets`` are where each begins and ends in ``data``."""
    starts, stops = offsets[:-1].astype(np.int64), offsets[1:].astype(np.int64)
    lengths = stops - starts
    longest = int(lengths.max(initial=0))
    # NumPy walks once over the texts for each eight bytes of the longest.
    if loop := _compiled("hash_texts", ENOUGH + 1 if longest > 8 * _LONG else int(lengths.sum()) // 8 + len(lengths)):
        found: Keys = loop(offsets, data)
        return found
    out: Keys = finalized(lengths.astype(np.uint64) + _GOLDEN)
    left = np.arange(len(lengths))
    for at in range(0, longest, 8):
        left = left[lengths[left] > at]
        places = (starts[left] + at)[:, None] + np.arange(8)
        inside = places < stops[left][:, None]
        octets = np.where(inside, data[np.minimum(places, len(data) - 1)], 0).astype("<u1")
        words = np.ascontiguousarray(octets).view("<u8").ravel().astype(np.uint64)
        out[left] = finalized((out[left] ^ words) * _GOLDEN + np.uint64(1))
    return out


def add_to_rows(codes: Counts, hashes: Keys, rows: Keys) -> None:
    """The rows' hashes with one more column: a code names its hash, a negative one a missing value."""
    if loop := _compiled("add_to_rows", len(codes)):
        loop(codes, hashes, rows)
    elif len(hashes):
        rows[:] = (rows * _GOLDEN) ^ np.where(codes >= 0, hashes[np.maximum(codes, 0)], _MISSING)
    else:
        rows[:] = (rows * _GOLDEN) ^ _MISSING
