"""Which columns are missing at once: pairs of columns and frequent patterns, in one pass over tiny state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.reduction import Reduction
from parquetry.view import Batch

Counts = npt.NDArray[np.int64]
MOST_COLUMNS = 40
"""Columns that are looked at together: those with most missing values."""
_MOST_PATTERNS = 4_096  # that are told apart while counting
_SHOWN = 12


@dataclass
class Together:
    """Missing values of some columns at once.

    Attributes
    ----------
    columns : tuple of str
    pairs : ndarray of int64, shape (n_columns, n_columns)
        Rows in which both are missing; on the diagonal those in which the column is.
    patterns : tuple of (frozenset of str, int)
        The frequent sets of columns that are missing in one row, and in how many rows; the empty set is a row
        with all values.
    others : int
        Rows with any other pattern.
    """

    columns: tuple[str, ...]
    pairs: Counts
    patterns: tuple[tuple[frozenset[str], int], ...]
    others: int


@dataclass
class _State:
    pairs: Counts
    patterns: Counter[bytes]
    others: int


class MissingTogether(Reduction[_State, Together]):
    """Counts rows by which of some columns are missing (null or NaN).

    Parameters
    ----------
    columns : sequence of str
        At most ``MOST_COLUMNS``. More than 4,096 patterns are not told apart: beyond them the rarest ones of
        a part of the rows are counted as others, which the frequent ones do not notice.
    """

    label = "missing-together"

    def __init__(self, columns: Sequence[str]) -> None:
        if len(columns) > MOST_COLUMNS:
            raise ValueError(f"{len(columns)} columns, and at most {MOST_COLUMNS}.")
        self.columns = tuple(columns)

    def partial(self, batch: Batch) -> _State:
        gone = np.column_stack([_missing(batch.table.column(name)) for name in self.columns])
        known = gone.astype(np.float32)  # exact: a batch has fewer than 2**24 rows
        pairs = np.rint(known.T @ known).astype(np.int64) if len(gone) < 2**24 else gone.T.astype(np.int64) @ gone
        packed = np.packbits(gone, axis=1)
        found, counts = np.unique(packed, axis=0, return_counts=True)
        return self._bounded(
            _State(pairs, Counter({r.tobytes(): int(n) for r, n in zip(found, counts, strict=True)}), 0)
        )

    def merge(self, left: _State, right: _State) -> _State:
        left.patterns.update(right.patterns)
        return self._bounded(_State(left.pairs + right.pairs, left.patterns, left.others + right.others))

    def finish(self, state: _State) -> Together:
        ranked = sorted(state.patterns.items(), key=lambda item: (-item[1], item[0]))
        shown = tuple((self._names(key), count) for key, count in ranked[:_SHOWN])
        return Together(self.columns, state.pairs, shown, state.others + sum(n for _, n in ranked[_SHOWN:]))

    def _bounded(self, state: _State) -> _State:
        if len(state.patterns) > _MOST_PATTERNS:
            ranked = sorted(state.patterns.items(), key=lambda item: (-item[1], item[0]))
            state.others += sum(n for _, n in ranked[_MOST_PATTERNS:])
            state.patterns = Counter(dict(ranked[:_MOST_PATTERNS]))
        return state

    def _names(self, key: bytes) -> frozenset[str]:
        bits = np.unpackbits(np.frombuffer(key, np.uint8))[: len(self.columns)]
        return frozenset(name for name, bit in zip(self.columns, bits, strict=True) if bit)


def _missing(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    null = pc.is_null(column, nan_is_null=pa.types.is_floating(column.type))
    return np.asarray(null.to_numpy(), dtype=np.bool_)
