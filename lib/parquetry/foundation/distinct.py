"""Distinct values and frequent values of a stream, in bounded state that merges the same anywhere.

How many distinct values there are is read off HyperLogLog registers by Ertl's improved raw
estimator ("New cardinality estimation algorithms for HyperLogLog sketches", 2017); which values are
frequent by a Misra-Gries summary (Agarwal et al., "Mergeable summaries", 2012). Both are exact in
what they promise: no random numbers, and the same state whatever the engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KeyArray = npt.NDArray[np.uint64]
Registers = npt.NDArray[np.uint8]


def relative_error(registers: Registers) -> float:
    """The standard error of an estimate, as a share of it."""
    return float(1.04 / np.sqrt(len(registers)))


def estimate(registers: Registers) -> float:
    """How many distinct hashes the registers have seen."""
    m = len(registers)
    q = 64 - (m.bit_length() - 1)
    counts = np.bincount(registers, minlength=q + 2).astype(np.float64)
    if counts[0] == m:
        return 0.0
    z = m * _tau(1.0 - counts[q + 1] / m)
    for k in range(q, 0, -1):
        z = 0.5 * (z + counts[k])
    z += m * _sigma(counts[0] / m)
    return float(m * m / (2.0 * np.log(2.0) * z))


def _sigma(x: float) -> float:
    y, z, before = 1.0, x, -1.0
    while z != before:
        x, before = x * x, z
        z += x * y
        y += y
    return z


def _tau(x: float) -> float:
    if x in (0.0, 1.0):
        return 0.0
    y, z, before = 1.0, 1.0 - x, -1.0
    while z != before:
        x, before, y = float(np.sqrt(x)), z, 0.5 * y
        z -= (1.0 - x) ** 2 * y
    return z / 3.0


@dataclass
class Frequent:
    """The most frequent keys: a Misra-Gries summary.

    Attributes
    ----------
    keys : ndarray of uint64
        Rising.
    counts : ndarray of int64
        Never too high, and too low by at most ``lost``.
    lost : int
        0 while every key is held: then the summary is exact.
    texts : pyarrow.Array or None
        What each key stands for, where the key itself does not tell.
    """

    keys: KeyArray
    counts: npt.NDArray[np.int64]
    lost: int = 0
    texts: Any = None

    @property
    def exact(self) -> bool:
        """Whether every key is held, with its exact count."""
        return self.lost == 0

    def most(self, n: int) -> npt.NDArray[np.int64]:
        """Places of the ``n`` largest counts, the largest first; ties by key."""
        return np.lexsort((self.keys, -self.counts))[:n].astype(np.int64)


def frequent(keys: KeyArray, counts: npt.NDArray[np.int64], room: int, *, lost: int = 0, texts: Any = None) -> Frequent:
    """A summary of distinct keys with their counts, cut to ``room`` keys where there are twice as many."""
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    texts = None if texts is None else texts.take(pa.array(order))
    if len(keys) >= 2 * room:
        cut = int(np.partition(counts, len(counts) - room - 1)[len(counts) - room - 1])
        kept = counts > cut
        keys, counts, lost = keys[kept], counts[kept] - cut, lost + cut
        texts = None if texts is None else texts.filter(pa.array(kept))
    return Frequent(keys, counts, lost, texts)


def merged(left: Frequent, right: Frequent, room: int) -> Frequent:
    """The summary of both streams."""
    keys, first, codes = np.unique(np.concatenate([left.keys, right.keys]), return_index=True, return_inverse=True)
    counts = np.zeros(len(keys), dtype=np.int64)
    np.add.at(counts, codes, np.concatenate([left.counts, right.counts]))
    texts = None
    if left.texts is not None and right.texts is not None:
        texts = pa.concat_arrays([left.texts, right.texts]).take(pa.array(first))
    return frequent(keys, counts, room, lost=left.lost + right.lost, texts=texts)
