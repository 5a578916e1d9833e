"""Queries of a ranker: their rows stand together, and no rank gets a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.block_cache import Arrays
from parquetry.errors import BadParameter
from parquetry.reduction import Reduction

if TYPE_CHECKING:
    from parquetry.boosting.child import Rank
    from parquetry.dataset import Block

Edges = list[tuple[int, Any, Any]]
"""Of each run of rows: the block's index, and its first and last query id."""


class QueryEdges(Reduction[Edges, dict[int, int]]):
    """The last query id of every block, by the block's index; ids must ascend.

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

    def finish(self, state: Edges) -> dict[int, int]:
        return {index: last for index, _, last in state}

    def _unsorted(self, where: str) -> BadParameter:
        return BadParameter(
            f"{self.who}: the group column {self.name!r} is not in ascending order, first seen in {where}.",
            why="The rows of a query must stand together.",
            fix="Sort the data by it.",
        )


@dataclass(frozen=True)
class QueryIds:
    """What a cached view keeps of a ranker's rows: the query ids alone, as ``g``.

    Parameters
    ----------
    name : str
        The column of query ids.
    """

    name: str

    def __call__(self, batch: Any) -> Arrays:
        return {"g": batch.table.column(self.name).to_numpy()}


Parts = tuple[Any, Any, Any, Any]
"""X, y, weights or None, and query ids of some rows."""


def whole_queries(rank: Rank, name: str, last: dict[int, int], taken: Callable[[Any], Parts]) -> Iterator[Parts]:
    """A rank's rows in batches that no query's rows are divided by.

    A query that goes on into the next rank's blocks is read to its end by the rank where it begins.

    Parameters
    ----------
    rank : Rank
    name : str
        Of the share.
    last : dict of int to int
        What :class:`QueryEdges` has found.
    taken : callable
        Makes the parts of a batch.
    """
    own = rank.blocks(name)
    if not own:
        raise _without_rows(rank, name)
    order = [b for part in rank.blocks_of_each(name) for b in part]
    first = order.index(own[0])
    left = last[order[first - 1].index] if first else None  # begun, and read, by a rank before
    found = False
    for parts in gathered(_rows(rank, name, taken, left, last[own[-1].index], order[first + len(own) :])):
        found = True
        yield parts
    if not found:
        raise _without_rows(rank, name)


def _rows(
    rank: Rank, name: str, taken: Callable[[Any], Parts], left: int | None, final: int, after: Sequence[Block]
) -> Iterator[Parts]:
    for batch in rank.batches(name):
        parts = taken(batch)
        start = 0 if left is None else int(np.searchsorted(parts[3], left, side="right"))
        if start < len(parts[3]):
            yield part_of(parts, slice(start, None))
    if left == final:
        return  # one query fills all blocks: it is another rank's
    for batch in rank.batches_of(name, after):
        parts = taken(batch)
        end = int(np.searchsorted(parts[3], final, side="right"))
        if end:
            yield part_of(parts, slice(0, end))
        if end < len(parts[3]):
            return


def gathered(batches: Iterable[Parts]) -> Iterator[Parts]:
    """The same rows cut anew, so that no query's rows fall into two batches."""
    held: list[Parts] = []
    for parts in batches:
        ids = parts[3]
        changes = np.flatnonzero(ids[1:] != ids[:-1]) + 1
        if held and ids[0] != held[-1][3][-1]:
            yield _stacked(held)
            held = []
        last = int(changes[-1]) if len(changes) else 0
        if last:
            yield _stacked([*held, part_of(parts, slice(0, last))])
            held = []
        held.append(part_of(parts, slice(last, None), copied=True))
    if held:
        yield _stacked(held)


def part_of(parts: Parts, rows: slice, *, copied: bool = False) -> Parts:
    """Some rows of each part; copied where they must outlive the batch."""
    x, y, w, g = (None if p is None else p[rows].copy() if copied else p[rows] for p in parts)
    return x, y, w, g


def query_weights(weights: Any, starts: Any) -> Any:
    """A weight a query, as rankers take it: that of its first row."""
    return None if weights is None else np.asarray(weights)[starts]


def _stacked(parts: list[Parts]) -> Parts:
    if len(parts) == 1:
        return parts[0]
    from scipy import sparse

    xs = [p[0] for p in parts]
    x = sparse.vstack(xs).tocsr() if hasattr(xs[0], "tocsr") else np.concatenate(xs)
    y, w, g = (None if parts[0][i] is None else np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
    return x, y, w, g


def _without_rows(rank: Rank, name: str) -> BadParameter:
    return BadParameter(
        f"Rank {rank.rank} of {rank.world} has no query of its own in the rows of {name!r}.",
        why="Every rank needs some, and a query is never divided.",
        fix="Lower world (gang=), or write the data with smaller row groups.",
    )
