"""Bootstrap samples of forests, row by row: how often a tree draws a row follows from the row's place.

scikit-learn draws ``n`` of ``n`` rows with replacement, so the counts of all rows are multinomial;
here each row's count is Poisson with the same mean, which the multinomial tends to (at 10,000 rows
a count's distribution differs by less than 1e-4). No row needs to know of any other, so the
counts are the same on every engine. Online bagging: Oza & Russell, "Online bagging and boosting",
AISTATS 2001.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from parquetry.dataset import Block
from parquetry.rows import GOLDEN, finalized
from parquetry.view import FloatArray

KeyArray = npt.NDArray[np.uint64]
CountArray = npt.NDArray[np.uint32]

_FULL = 2.0**32
_RAREST = 2.0**-33
_LARGE = 64.0


def mixed(keys: KeyArray) -> KeyArray:
    """Independent bits from keys that are not, by SplitMix64 (see ``parquetry.rows``)."""
    return finalized(keys + GOLDEN)


@dataclass(frozen=True)
class Bootstrap:
    """How often each tree draws each row.

    Parameters
    ----------
    drawn : int
        How many rows a tree draws, on average.
    total : float
        The number of all rows; the sum of their weights where they have weights.
    weighted : bool
        Whether they have.
    """

    drawn: int
    total: float
    weighted: bool

    @property
    def rate(self) -> float:
        """The mean count of a row, or of a unit of weight."""
        return self.drawn / self.total

    def counts(self, seed: int, block: Block, rows: Any, weights: FloatArray | None) -> CountArray:
        """Each row's count, shape ``(n_rows,)``.

        Parameters
        ----------
        seed : int
            The tree's ``random_state``.
        block : Block
        rows : ndarray of shape (n_rows,)
            The rows' positions in the block.
        weights : ndarray of shape (n_rows,) or None
        """
        key = hashlib.blake2b(f"{block.name}\0{block.row_group}\0bootstrap/{seed}".encode(), digest_size=8).digest()
        start = np.uint64(int.from_bytes(key, "little"))
        rates = weights * self.rate if self.weighted and weights is not None else None
        if rates is None and self.rate <= _LARGE:
            return _same_rate(rows, start, self.rate)
        keys = rows.astype(np.uint64)
        keys *= GOLDEN
        keys += start
        drawn = (mixed(keys) >> np.uint64(32)).astype(np.uint32)
        return _own_rates(drawn, np.full(len(drawn), self.rate) if rates is None else rates)


def _same_rate(rows: Any, key: np.uint64, rate: float) -> CountArray:
    from parquetry.classical.tree_kernels import draw, frozen

    reached = _chances(rate)
    least = np.searchsorted(reached, np.arange(256, dtype=np.uint32) << np.uint32(24), side="right").astype(np.uint8)
    counts = np.empty(len(rows), dtype=np.uint32)
    draw(frozen(rows), key, reached, least, counts)
    return counts


def _chances(rate: float) -> CountArray:
    """The chances of at most 0, 1, 2 … draws, of ``2**32``."""
    chances = []
    chance = reached = float(np.exp(-rate))
    for k in range(1, 256):
        chances.append(min(reached * _FULL, _FULL - 1))
        chance *= rate / k
        reached += chance
        if k > rate and chance < _RAREST:
            break
    return np.array(chances).astype(np.uint32)


def _own_rates(drawn: CountArray, rates: FloatArray) -> CountArray:
    wanted = (drawn + 0.5) / _FULL
    large = rates > _LARGE
    counts = np.zeros(len(drawn), dtype=np.uint32)
    # A Poisson count of a large mean is normal.
    normal = rates[large] + np.sqrt(rates[large]) * ndtri(wanted[large])
    counts[large] = np.rint(np.maximum(normal, 0.0)).astype(np.uint32)
    chance = np.exp(-rates)
    reached = chance.copy()
    more = np.flatnonzero(~large & (wanted >= reached))
    for k in range(1, 256):
        if not len(more):
            break
        counts[more] += 1
        chance[more] *= rates[more] / k
        reached[more] += chance[more]
        more = more[wanted[more] >= reached[more]]
    return counts
