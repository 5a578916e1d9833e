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
        return _packed(self.cells), self.entries, self.rows

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        packed, self.entries, self.rows = state
        self.cells = _unpacked(packed)


def _packed(cells: Any) -> Any:
    """Cells as they travel between machines: of whole numbers the lower byte and what does not fit, compressed.

    Deep in a tree most cells hold few rows: 3 bits for 32.
    """
    if cells is None or cells.dtype.kind != "i" or not cells.size:
        return cells
    flat = cells.ravel()
    large = np.flatnonzero(flat >= _LARGE)
    if len(large) > len(flat) // 8:
        return cells.astype(np.min_scalar_type(int(flat.max()))), cells.dtype
    low = np.minimum(flat, _LARGE).astype(np.uint8)
    return pa.compress(low, codec="zstd", asbytes=True), large.astype(np.int32), flat[large], cells.shape


def _unpacked(packed: Any) -> Any:
    if not isinstance(packed, tuple):
        return packed
    if len(packed) == 2:
        return packed[0].astype(packed[1])
    content, places, values, shape = packed
    size = int(np.prod(shape))
    cells = np.frombuffer(pa.decompress(content, size, codec="zstd"), dtype=np.uint8).astype(values.dtype)
    cells[places] = values
    return cells.reshape(shape)
