"""One pass over the rows for many nodes of many trees: histograms of large nodes, rows of small ones.

Panda, Herbach, Basu & Bayardo, "PLANET: massively parallel learning of tree ensembles with
MapReduce", VLDB 2009: a node of many rows needs only, for each of its features, what falls into
each bin; a node of few rows is cheaper to bring home as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.block_cache import CachedBatch
from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_codes import CodeArray, chunks
from parquetry.classical.tree_routes import Route
from parquetry.classical.tree_samples import Bootstrap
from parquetry.classical.tree_states import SPARSE_BELOW, Entries, NodeState, Rows
from parquetry.reduction import Reduction

IntArray = npt.NDArray[np.int64]
CountArray = npt.NDArray[np.uint32]

_NEVER = 256  # the code of missing values where there are none


@dataclass(frozen=True)
class Channels:
    """What is added up in each bin: the columns of a state's cells, side by side.

    First the number of rows, then, for classes, the weight of each class of each output; of one
    output without weights only the number of rows of each class. For regression the number of rows, the
    weight (unless it is that), the weighted sum of each output, and of the squares of all.

    Parameters
    ----------
    n_classes : tuple of int
        Of each output; empty for regression.
    n_outputs : int
    weighted : bool
        Whether rows count otherwise than once.
    whole : bool
        Whether their weights are whole numbers, below ``2**32``.
    most : float
        What they add up to at most, and the number of rows.
    """

    n_classes: tuple[int, ...]
    n_outputs: int
    weighted: bool
    whole: bool
    most: float

    @property
    def only_classes(self) -> bool:
        """Whether the classes' own counts are all that there is."""
        return len(self.n_classes) == 1 and not self.weighted

    @property
    def width(self) -> int:
        """How many columns there are."""
        sums = sum(self.n_classes) if self.n_classes else int(self.weighted) + self.n_outputs + 1
        return sums + (not self.only_classes)

    @property
    def kind(self) -> type[np.generic]:
        """The type of all columns: a number of rows is exact in any."""
        if not self.n_classes or not self.whole:
            return np.float64
        return np.int32 if self.most < 2**31 else np.int64

    @property
    def cell_bytes(self) -> int:
        """What one bin takes in a state."""
        return self.width * np.dtype(self.kind).itemsize

    def split(self, cells: Any) -> tuple[IntArray, Any]:
        """The number of rows, shape ``(n_cells,)``, and the other columns, shape ``(n_sums, n_cells)``."""
        stored = np.ascontiguousarray((cells if self.only_classes else cells[:, 1:]).T)
        return (stored.sum(axis=0) if self.only_classes else cells[:, 0]).astype(np.int64), stored

    def weights(self, w: Any) -> Any:
        """Sample weights as they are added up; empty where there are none."""
        if w is None:
            return np.empty(0, dtype=np.uint32)
        return w.astype(np.uint32) if self.kind is not np.float64 and w.dtype.kind == "f" else w

    def values(self, y: Any) -> Any:
        """What a row of weight 1 adds beside its count, shape ``(n_rows, n_sums)``."""
        if self.n_classes:
            ones = [own == k for own, n_classes in zip(y, self.n_classes, strict=True) for k in range(n_classes)]
            return np.column_stack(ones).astype(self.kind)
        squares = (y * y).sum(axis=0)
        return np.column_stack([np.ones(len(squares)), *y, squares] if self.weighted else [*y, squares])


@dataclass(frozen=True, eq=False)
class TreeWork:
    """What one tree wants of a pass.

    Parameters
    ----------
    seed : int
        The tree's ``random_state``.
    route : Route or None
        The way to the nodes of the pass; None where every row goes to node 0.
    features : ndarray of shape (n_histograms, n_drawn) or None
        The features of each node that wants histograms, ascending; None for all of them.
    n_histograms, n_gathered : int
        Nodes that want histograms come first, then those that want their rows.
    starts : ndarray of shape (n_histograms + 1,)
        Where the cells of each node begin in the pass's state.
    first_gathered : int
        The number of its first node that wants rows, among those of all trees.
    """

    seed: int
    route: Route | None
    features: Any
    n_histograms: int
    n_gathered: int
    starts: IntArray
    first_gathered: int

    def cells(self, widths: IntArray) -> tuple[Any, Any, Any]:
        """Each node's features, where their cells begin, and the last of them; shapes ``(n_histograms, n_drawn)``."""
        everything = np.arange(len(widths), dtype=np.uint32)
        features = np.tile(everything, (self.n_histograms, 1)) if self.features is None else self.features
        ends = self.starts[:-1, None] + np.cumsum(widths[features], axis=1)
        return features, (ends - widths[features]).astype(np.uint64), (ends - 1).astype(np.uint64)

    def n_drawn(self, n_features: int) -> int:
        """How many features each of its nodes looks at."""
        return n_features if self.features is None else int(self.features.shape[1])


class NodePass(Reduction[NodeState, NodeState]):
    """Histograms and rows of nodes.

    Parameters
    ----------
    bins : Bins
    channels : Channels
    works : sequence of TreeWork
    bootstrap : Bootstrap or None
    """

    label = "grow-trees"

    def __init__(self, bins: Bins, channels: Channels, works: Sequence[TreeWork], bootstrap: Bootstrap | None) -> None:
        self.channels, self.works, self.bootstrap = channels, tuple(works), bootstrap
        self.lost = bins.missing_code if bins.missing.any() else _NEVER
        self.widths = np.array([len(cells) for cells in cells_of(bins)], dtype=np.int64)
        self.n_cells = int(self.works[-1].starts[-1])
        # It decides on the order of additions, and so travels from the driver.
        self.sparse_below = SPARSE_BELOW
        self.n_looked_at = sum(work.n_drawn(len(self.widths)) for work in self.works if work.n_histograms)

    def partial(self, batch: CachedBatch) -> NodeState:  # type: ignore[override]
        few = batch.num_rows * self.n_looked_at * self.sparse_below < self.n_cells
        state = NodeState() if few else self.blank()
        start = 0
        for codes in chunks(batch.arrays):
            chunk = _Chunk(self, batch, codes, slice(start, start + len(codes)))
            for work in self.works:
                chunk.add(work, state)
            start += len(codes)
        return state

    def merge(self, left: NodeState, right: NodeState) -> NodeState:
        left.add(right, self.n_cells, self.blank)
        return left

    def finish(self, state: NodeState) -> NodeState:
        state.settle(self.blank)
        return state

    def blank(self) -> NodeState:
        """A state that has seen nothing, with arrays."""
        return NodeState(np.zeros((self.n_cells, self.channels.width), dtype=self.channels.kind))


def cells_of(bins: Bins) -> list[IntArray]:
    """For each feature, its codes: those of its bins, and the missing one where it is met."""
    missing = bins.missing_code
    return [
        np.append(np.arange(len(values)), [missing] * bool(absent)).astype(np.int64)
        for values, absent in zip(bins.values, bins.missing, strict=True)
    ]


class _Chunk:
    """Some rows, on their way into the state."""

    def __init__(self, task: NodePass, batch: CachedBatch, codes: CodeArray, here: slice) -> None:
        self.task, self.block, self.codes = task, batch.block, codes
        self.rows, self.y = batch.rows[here], batch.arrays["y"][:, here]
        weights = batch.arrays.get("w")
        self.weights = None if weights is None else weights[here]

    @cached_property
    def values(self) -> Any:
        """What each row adds; the trees share it."""
        return self.task.channels.values(self.y)

    def add(self, work: TreeWork, state: NodeState) -> None:
        """Add what one tree wants."""
        weights, order, edges = self._sorted(work)
        if edges[work.n_histograms]:
            self._add_histograms(work, weights, order, edges, state)
        gathered = order[edges[work.n_histograms] : edges[-1]]
        if len(gathered):
            node = np.repeat(np.arange(work.n_gathered), np.diff(edges[work.n_histograms :])) + work.first_gathered
            w = None if weights is None else weights[gathered]
            state.rows.append(Rows(node, self.codes[gathered], self.y[:, gathered], w))

    def _sorted(self, work: TreeWork) -> tuple[Any, CountArray, IntArray]:
        """The rows' weights, the rows in order of their nodes, and where each node's begin and end."""
        from parquetry.classical.tree_kernels import frozen, present, sort_by_node

        weights, rows = self.weights, np.arange(len(self.codes), dtype=np.uint32)
        if self.task.bootstrap is not None:
            weights = self.task.bootstrap.counts(work.seed, self.block, self.rows, weights)
        if weights is not None:
            rows = rows[: present(frozen(weights), rows)]
        if work.route is None:
            # Its only node is the root; it comes first whatever it wants.
            return weights, rows, np.array([0, len(rows)])
        edges = np.empty(work.n_histograms + work.n_gathered + 1, dtype=np.int64)
        order = np.empty_like(rows)
        sort_by_node(rows, work.route.follow(self.codes, rows), frozen(work.route.told), edges, order)
        return weights, order, edges

    def _add_histograms(
        self, work: TreeWork, weights: Any, order: CountArray, edges: IntArray, state: NodeState
    ) -> None:
        from parquetry.classical import tree_kernels as kernels

        task = self.task
        weights = task.channels.weights(weights)
        if state.cells is None:
            state.entries.append(self._entries(work, weights, order, edges))
            return
        features, starts, ends = work.cells(task.widths)
        rows = (kernels.frozen(self.codes), order, edges, kernels.frozen(features), starts, task.lost, ends)
        weights = kernels.frozen(weights)
        if task.channels.only_classes:
            kernels.count_classes(*rows, kernels.frozen(self.y[0]), state.cells)
        elif len(task.channels.n_classes) == 1:
            kernels.weigh_classes(*rows, kernels.frozen(self.y[0]), weights, state.cells)
        else:
            kernels.add_values(*rows, kernels.frozen(self.values), weights, state.cells)

    def _entries(self, work: TreeWork, weights: Any, order: CountArray, edges: IntArray) -> Entries:
        """What the rows of one tree's nodes add to cells, row by row."""
        task = self.task
        rows = order[: edges[work.n_histograms]]
        node = np.repeat(np.arange(work.n_histograms), np.diff(edges[: work.n_histograms + 1]))
        features, starts, ends = work.cells(task.widths)
        codes = np.take_along_axis(self.codes[rows], features[node].astype(np.intp), axis=1)
        # Missing values stand behind a feature's bins.
        places = np.where(codes == task.lost, ends[node], starts[node] + codes).astype(np.int32)
        values = self.values[rows]
        if len(weights):
            values = values * weights[rows, None]
        if not task.channels.only_classes:
            values = np.column_stack([np.ones(len(rows)), values])
        return Entries(places, values.astype(task.channels.kind))
