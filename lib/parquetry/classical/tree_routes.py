"""From a row's codes to its node: a tree as small tables.

One step is four look-ups, whatever the node; there is no branch to guess wrong. Every row takes
as many steps as the tree is deep: one that has arrived stays where it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.tree_codes import CodeArray

Places = npt.NDArray[np.uint32]

NOWHERE = 65_535
"""What a row is told that reaches no node of interest."""


@dataclass(frozen=True, eq=False)
class Route:
    """A tree on codes; a node where rows stay is its own left child.

    Attributes
    ----------
    feature : ndarray of uint32, shape (n_nodes,)
    code : ndarray of uint8
        The last code that goes left, after ``turn`` was added.
    turn : ndarray of uint8
        What turns the code of missing values, the largest one, into the smallest, where they go
        left; uint8 runs over. Empty where nothing is missing.
    left : ndarray of uint32
        The right child stands behind it.
    told : ndarray
        What a row that ends there is told.
    depth : int
        Steps until every row stays where it is.
    """

    feature: Places
    code: CodeArray
    turn: CodeArray
    left: Places
    told: Any
    depth: int

    @classmethod
    def of(
        cls,
        inner: Any,
        feature: Any,
        code: Any,
        missing_left: Any,
        left: Any,
        told: Any,
        depth: int,
        missing_code: int | None,
    ) -> Route:
        """A route through nodes, of which some are inner ones."""
        turn = np.empty(0, dtype=np.uint8)
        last = np.where(inner, code, 255)
        if missing_code is not None:
            turned = inner & missing_left
            turn = np.where(turned, 256 - missing_code, 0).astype(np.uint8)
            last = last + turn
        stay = np.arange(len(inner))
        return cls(
            np.where(inner, feature, 0).astype(np.uint32),
            last.astype(np.uint8),
            turn,
            np.where(inner, left, stay).astype(np.uint32),
            told,
            depth,
        )

    def follow(self, codes: CodeArray, rows: Places) -> Places:
        """The places in these tables where some rows end, shape ``(n_rows,)``.

        Parameters
        ----------
        codes : ndarray of uint8, shape (n_all_rows, n_features)
        rows : ndarray of uint32, shape (n_rows,)
        """
        from parquetry.classical.tree_kernels import frozen, lead

        ends = np.empty(len(rows), dtype=np.uint32)
        tables = map(frozen, (self.feature, self.code, self.turn, self.left))
        lead(frozen(codes), rows, *tables, self.depth, ends)
        return ends
