"""Which rows belong to a split, a fold or a sample: decided per row, by a hash, without reading.

A row's number is a hash of (file, row group, row index, salt), so the same rows are chosen on
every engine, in every re-run and whatever else is read. Hash: SplitMix64 (Steele, Lea & Flood,
"Fast splittable pseudorandom number generators", 2014) over a BLAKE2 key per row group.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FULL_RANGE = 2**64
GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def finalized(z: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finalizer, in place: independent bits from numbers that are not."""
    z ^= z >> np.uint64(30)
    z *= np.uint64(0xBF58476D1CE4E5B9)
    z ^= z >> np.uint64(27)
    z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return z


def row_hashes(file: str, row_group: int, num_rows: int, salt: str) -> npt.NDArray[np.uint64]:
    """One uniform 64-bit number a row of a row group; shape ``(num_rows,)``."""
    return hashes_at(file, row_group, np.arange(num_rows), salt)


def hashes_at(file: str, row_group: int, rows: npt.NDArray[np.int64], salt: str) -> npt.NDArray[np.uint64]:
    """The same for some rows of a row group, by their positions in it; shape ``(len(rows),)``."""
    key = hashlib.blake2b(f"{file}\0{row_group}\0{salt}".encode(), digest_size=8).digest()
    z = rows.astype(np.uint64)
    z += np.uint64(1)
    z *= GOLDEN
    z += np.uint64(int.from_bytes(key, "little"))
    return finalized(z)


@dataclass(frozen=True)
class RowFilter:
    """Keeps the rows whose hash lies in ``[low, high)``, or outside of it.

    Parameters
    ----------
    salt : str
        What the hash is for; filters with different salts choose independently.
    low, high : int
        Bounds in ``[0, 2**64]``.
    inside : bool, default True
        Keep the rows inside the bounds; False keeps the rest.
    """

    salt: str
    low: int
    high: int
    inside: bool = True

    def mask(self, file: str, row_group: int, num_rows: int) -> npt.NDArray[np.bool_]:
        """True for the rows that stay; shape ``(num_rows,)``."""
        if self.low >= self.high:
            return np.full(num_rows, not self.inside)
        hashes = row_hashes(file, row_group, num_rows, self.salt)
        kept = (hashes >= np.uint64(self.low)) & (hashes <= np.uint64(self.high - 1))
        return kept if self.inside else ~kept


def fraction_bound(fraction: float) -> int:
    """The hash below which a given fraction of all rows lies."""
    return min(FULL_RANGE, round(fraction * FULL_RANGE))


def combined_mask(
    filters: tuple[RowFilter, ...], file: str, row_group: int, num_rows: int
) -> npt.NDArray[np.bool_] | None:
    """The rows that pass all filters, or None where there is no filter."""
    if not filters:
        return None
    mask = filters[0].mask(file, row_group, num_rows)
    for more in filters[1:]:
        mask &= more.mask(file, row_group, num_rows)
    return mask
