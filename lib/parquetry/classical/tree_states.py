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
import pyarrow as pa

from parquetry.classical.tree_codes import CodeArray

IntArray = npt.NDArray[np.int64]

_LARGE = 255  # numbers from here on do not fit in a byte

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
class Packed:
    """Cells of whole numbers as they travel between machines: their lower bytes, compressed, and what does not fit.

    Deep in a tree most cells hold few rows: 3 bits for 32.

    Attributes
    ----------
    content : bytes
    places, extra : ndarrays of shape (n_large,)
        The cells of large numbers, and by how much each is above ``_LARGE``.
    shape : tuple of int
    """

    content: bytes
    places: npt.NDArray[np.int32]
    extra: Any
    shape: tuple[int, int]

    @classmethod
    def of(cls, cells: Any) -> Any:
        """Packed cells; others, and those where it does not pay, as they are."""
        if not isinstance(cells, np.ndarray) or cells.dtype.kind != "i":
            return cells
        flat = cells.ravel()
        places = np.flatnonzero(flat >= _LARGE)
        if len(places) * 8 >= len(flat):
            return cells
        low = np.minimum(flat, _LARGE).astype(np.uint8)
        content = pa.compress(low, codec="zstd", asbytes=True)
        return cls(content, places.astype(np.int32), flat[places] - flat.dtype.type(_LARGE), cells.shape)

    def unpacked(self) -> Any:
        """The cells."""
        cells = np.zeros(self.shape, dtype=self.extra.dtype)
        self.add_to(cells)
        return cells

    def add_to(self, cells: Any) -> None:
        """Add them to others."""
        flat = cells.reshape(-1)
        flat += np.frombuffer(pa.decompress(self.content, flat.size, codec="zstd"), dtype=np.uint8)
        flat[self.places] += self.extra


@dataclass
class NodeState:
    """Histograms of nodes, and rows of others.

    Attributes
    ----------
    cells : ndarray of shape (n_cells, width), or Packed, or None while there are only entries
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
        from parquetry.classical.tree_kernels import frozen, put

        if self.cells is None:
            self.cells = blank().cells
        elif isinstance(self.cells, Packed):
            self.cells = self.cells.unpacked()
        for part in self.entries:
            put(frozen(part.cells), frozen(part.values), self.cells)
        self.entries = []

    def add(self, other: NodeState, n_cells: int, blank: Callable[[], NodeState]) -> None:
        """Add what another state has found."""
        if other.cells is not None:
            self.settle(blank)
            if isinstance(other.cells, Packed):
                other.cells.add_to(self.cells)
            else:
                self.cells += other.cells
        self.entries += other.entries
        self.rows += other.rows
        if sum(part.cells.size for part in self.entries) > n_cells:
            self.settle(blank)

    def __getstate__(self) -> tuple[Any, ...]:
        return Packed.of(self.cells), self.entries, self.rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.cells, self.entries, self.rows = state
