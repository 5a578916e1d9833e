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
    cells : ndarray of int32, shape (n_rows, n_drawn)
    values : ndarray of shape (n_rows, width)
    """

    cells: npt.NDArray[np.int32]
    values: Any


@dataclass
class NodeState:
    """Histograms of nodes, and rows of others.

    Attributes
    ----------
    cells : ndarray of shape (n_cells, width), or None while there are only entries
        For each bin of each feature of each node that wants histograms, what ``Channels`` says.
    entries : list of Entries
        To be added to them, in order.
    rows : list of Rows
    """

    cells: Any = None
    entries: list[Entries] = field(default_factory=list)
    rows: list[Rows] = field(default_factory=list)

    def settle(self, blank: Callable[[], NodeState]) -> None:
        """Add the entries up; ``blank`` makes a state with zeros."""
        from parquetry.classical.tree_kernels import put

        if self.cells is None:
            self.cells = blank().cells
        for part in self.entries:
            put(part.cells, part.values, self.cells)
        self.entries = []

    def add(self, other: NodeState, n_cells: int, blank: Callable[[], NodeState]) -> None:
        """Add what another state has found."""
        if other.cells is not None:
            self.settle(blank)
            self.cells += other.cells
        self.entries += other.entries
        self.rows += other.rows
        if sum(part.cells.size for part in self.entries) > n_cells:
            self.settle(blank)

    def __getstate__(self) -> tuple[Any, ...]:
        # Between machines whole numbers travel as narrow as they are: often a byte for four.
        kind = None if self.cells is None else self.cells.dtype
        return _narrowed(self.cells), kind, self.entries, self.rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.cells, kind, self.entries, self.rows = state
        if kind is not None:
            self.cells = self.cells.astype(kind, copy=False)


def _narrowed(numbers: Any) -> Any:
    """Whole numbers, none below zero, in the narrowest type that holds them; others as they are."""
    if numbers is None or numbers.dtype.kind != "i" or not numbers.size:
        return numbers
    return numbers.astype(np.min_scalar_type(int(numbers.max())))
