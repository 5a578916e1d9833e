"""What a pass over nodes has found so far: histograms as whole arrays or as single entries, and rows.

Small batches of rows touch few cells of many: they travel as entries, so that a pass over many
small row groups does not fill and add up large arrays for each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.tree_codes import CodeArray

IntArray = npt.NDArray[np.int64]

SPARSE_BELOW = 2
"""A batch goes as entries where it has less than one for so many cells."""


@dataclass
class Rows:
    """Rows of nodes, brought home.

    Attributes
    ----------
    node : ndarray of shape (n_rows,)
        Which of the pass's nodes that want rows.
    codes : ndarray of uint8, shape (n_rows, n_features)
    y : ndarray of shape (n_outputs, n_rows)
    w : ndarray of shape (n_rows,) or None
    """

    node: IntArray
    codes: CodeArray
    y: Any
    w: Any


@dataclass
class Entries:
    """What single rows add to cells; a cell may be there more than once.

    Attributes
    ----------
    cells : ndarray of shape (n_entries,)
    values : ndarray of shape (n_channels, n_entries)
    """

    cells: IntArray
    values: Any


@dataclass
class NodeState:
    """Histograms of nodes, and rows of others.

    Attributes
    ----------
    counts : ndarray of shape (n_cells,), or None while there are only entries
        Rows in each bin of each feature of each node that wants histograms.
    sums : ndarray of shape (n_channels, n_cells), or None
    entries : list of Entries
        To be added to them, in order.
    rows : list of Rows
    """

    counts: Any = None
    sums: Any = None
    entries: list[Entries] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def take(self, part: Entries) -> None:
        """Take entries: into the arrays, where there are any."""
        if self.counts is None:
            self.entries.append(part)
        else:
            self._put(part)

    def settle(self, blank: Callable[[], NodeState]) -> None:
        """Add the entries up; ``blank`` makes a state with arrays of zeros."""
        if self.counts is None:
            zeros = blank()
            self.counts, self.sums = zeros.counts, zeros.sums
        for part in self.entries:
            self._put(part)
        self.entries = []

    def _put(self, part: Entries) -> None:
        np.add.at(self.counts, part.cells, self.counts.dtype.type(1))
        for own, values in zip(self.sums, part.values, strict=True):
            np.add.at(own, part.cells, values)

    def add(self, other: NodeState, n_cells: int, blank: Callable[[], NodeState]) -> None:
        """Add what another state has found."""
        if other.counts is not None:
            self.settle(blank)
            self.counts += other.counts
            self.sums += other.sums
        self.entries += other.entries
        self.rows += other.rows
        if sum(len(part.cells) for part in self.entries) > n_cells:
            self.settle(blank)

    def __getstate__(self) -> tuple[Any, ...]:
        # Between machines whole numbers travel as narrow as they are: often a byte for four.
        kinds = None if self.counts is None else (self.counts.dtype, self.sums.dtype)
        return _narrowed(self.counts), _narrowed(self.sums), kinds, self.entries, self.rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.counts, self.sums, kinds, self.entries, self.rows = state
        if kinds is not None:
            self.counts, self.sums = self.counts.astype(kinds[0]), self.sums.astype(kinds[1])


def _narrowed(numbers: Any) -> Any:
    """Whole numbers, none below zero, in the narrowest type that holds them; others as they are."""
    if numbers is None or numbers.dtype.kind != "i" or not numbers.size:
        return numbers
    return numbers.astype(np.min_scalar_type(int(numbers.max())))
