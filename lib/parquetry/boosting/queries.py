"""Queries of a ranker: their rows stand together, and no rank gets a part of one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from parquetry.errors import BadParameter
from parquetry.reduction import Reduction

Edges = list[tuple[int, Any, Any]]
"""Of each run of rows: the block's index, and its first and last query id."""


class QueryEdges(Reduction[Edges, frozenset[int]]):
    """The blocks whose first query goes on from the block before; ids must not come back later.

    Parameters
    ----------
    who : str
    name : str
        The column of query ids.
    """

    label = "queries"

    def __init__(self, who: str, name: str) -> None:
        self.who, self.name = who, name

    def partial(self, batch: Any) -> Edges:
        ids = batch.arrays["g"]
        if ids.dtype.kind not in "iu":
            raise BadParameter(
                f"{self.who}: the group column {self.name!r} holds {ids.dtype}, or misses some ids.",
                fix="Number the queries: whole numbers, none missing.",
            )
        if len(ids) > 1 and bool((ids[1:] < ids[:-1]).any()):
            raise self._unsorted(batch.block.path)
        return [(batch.block.index, int(ids[0]), int(ids[-1]))]

    def merge(self, left: Edges, right: Edges) -> Edges:
        if right[0][1] < left[-1][2]:
            raise self._unsorted(f"block {right[0][0]}")
        return left + right

    def finish(self, state: Edges) -> frozenset[int]:
        return frozenset(b[0] for a, b in pairwise(state) if b[1] == a[2] and b[0] != a[0])

    def _unsorted(self, where: str) -> BadParameter:
        return BadParameter(
            f"{self.who}: the group column {self.name!r} is not in ascending order, first seen in {where}.",
            why="The rows of a query must stand together.",
            fix="Sort the data by it.",
        )


def query_weights(weights: Any, starts: Any) -> Any:
    """A weight a query, as rankers take it: that of its first row."""
    return None if weights is None else np.asarray(weights)[starts]
