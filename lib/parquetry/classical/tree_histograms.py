"""One pass over the rows for many nodes of many trees: histograms of large nodes, rows of small ones.

Panda, Herbach, Basu & Bayardo, "PLANET: massively parallel learning of tree ensembles with
MapReduce", VLDB 2009: a node of many rows needs only, for each of its features, what falls into
each bin; a node of few rows is cheaper to bring home as it is. The inner loops are scikit-learn's
own of histogram gradient boosting: they work on uint8 codes, and release the GIL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble._hist_gradient_boosting.histogram import HistogramBuilder

from parquetry.block_cache import CachedBatch
from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_codes import CodeArray, chunks
from parquetry.classical.tree_routes import AT_ONCE, Route
from parquetry.classical.tree_samples import Bootstrap
from parquetry.classical.tree_states import SPARSE_BELOW, Entries, NodeState, Rows
from parquetry.reduction import Reduction
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]
Float32Array = npt.NDArray[np.float32]

_ENTRIES_A_CALL = 500  # as many cost as much as a call of scikit-learn's builder


@dataclass(frozen=True)
class Channels:
    """What is added up in each bin beside the number of rows.

    Classes: the weight of each class of each output; without weights the last class of each is
    left out, because the number of rows tells it. Regression: the weight (unless it is the number
    of rows), the weighted sum of each output, and of the squares of all.

    scikit-learn's loops add up float32 in float64, so a number travels in two parts, as two
    float32: 48 bits, or all of them where one part is enough.

    Parameters
    ----------
    n_classes : tuple of int
        Of each output; empty for regression.
    n_outputs : int
    weighted : bool
        Whether rows count otherwise than once.
    whole : bool
        Whether their weights are whole numbers, small enough for float32.
    most : float
        What they add up to at most, and the number of rows.
    """

    n_classes: tuple[int, ...]
    n_outputs: int
    weighted: bool
    whole: bool
    most: float

    @property
    def count(self) -> int:
        """How many channels there are."""
        if self.n_classes:
            return sum(self.n_classes) - (0 if self.weighted else self.n_outputs)
        return int(self.weighted) + self.n_outputs + 1

    @property
    def count_kind(self) -> type[np.generic]:
        """The type of whole numbers."""
        return np.int32 if self.most < 2**31 else np.int64

    @property
    def sum_kind(self) -> type[np.generic]:
        """The type of the sums."""
        return self.count_kind if self.n_classes and self.whole else np.float64

    @property
    def cell_bytes(self) -> int:
        """What one bin takes in a state."""
        return np.dtype(self.count_kind).itemsize + self.count * np.dtype(self.sum_kind).itemsize

    def parts(self, y: Any, w: Any) -> Iterator[tuple[int, Float32Array]]:
        """Pairs of a channel and what each row adds to it."""
        if not self.n_classes:
            yield from self._regression_parts(y, w)
            return
        channel = 0
        for output, n_classes in enumerate(self.n_classes):
            for k in range(n_classes if self.weighted else n_classes - 1):
                here = y[output] == k
                if w is None:
                    yield channel, here.astype(np.float32)
                else:
                    yield from self._halves(channel, here * w)
                channel += 1

    def _regression_parts(self, y: Any, w: Any) -> Iterator[tuple[int, Float32Array]]:
        if w is not None:
            yield from self._halves(0, w)
        squares = np.zeros(y.shape[1])
        for output, values in enumerate(y):
            weighted = values if w is None else values * w
            yield from _halves(int(self.weighted) + output, weighted)
            squares += weighted * values
        yield from _halves(int(self.weighted) + self.n_outputs, squares)

    def _halves(self, channel: int, values: Any) -> Iterator[tuple[int, Float32Array]]:
        return iter([(channel, values.astype(np.float32))]) if self.whole else _halves(channel, values)


def _halves(channel: int, values: FloatArray) -> Iterator[tuple[int, Float32Array]]:
    high = values.astype(np.float32)
    yield channel, high
    low = (values - high).astype(np.float32)
    if low.any():
        yield channel, low


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
        self.n_codes, self.missing_code, self.missing = bins.n_codes, bins.missing_code, bool(bins.missing.any())
        self.cells = cells_of(bins)
        self.widths = np.array([len(cells) for cells in self.cells], dtype=np.int64)
        self.n_cells = int(self.works[-1].starts[-1])
        # They decide on the order of additions, and so travel from the driver.
        self.sparse_below, self.entries_a_call = SPARSE_BELOW, _ENTRIES_A_CALL
        self.n_looked_at = sum(work.n_drawn(len(self.cells)) for work in self.works if work.n_histograms)

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
        counts = np.zeros(self.n_cells, dtype=self.channels.count_kind)
        return NodeState(counts, np.zeros((self.channels.count, self.n_cells), dtype=self.channels.sum_kind))


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
        self._shared: list[Any] | None = None

    def add(self, work: TreeWork, state: NodeState) -> None:
        """Add what one tree wants."""
        weights, order, edges = self._sorted(work)
        if work.n_histograms and edges[work.n_histograms] > edges[0]:
            if state.counts is None or self._scattered(work, edges):
                state.take(self._entries(work, weights, order, edges))
            else:
                for histogram in self._histograms(weights):
                    histogram.add(work, order, edges, state)
        gathered = order[edges[work.n_histograms] : edges[-1]]
        if len(gathered):
            node = np.repeat(np.arange(work.n_gathered), np.diff(edges[work.n_histograms :])) + work.first_gathered
            w = None if weights is None else weights[gathered]
            state.rows.append(Rows(node, self.codes[gathered], self.y[:, gathered], w))

    def _sorted(self, work: TreeWork) -> tuple[Any, Any, IntArray]:
        """The rows' weights, the rows in order of their nodes, and where each node's begin and end."""
        bootstrap = self.task.bootstrap
        weights: Any = self.weights if bootstrap is None else np.empty(len(self.codes), dtype=bootstrap.kind)
        chosen, told = [], []
        for start in range(0, len(self.codes), AT_ONCE):
            here = slice(start, min(start + AT_ONCE, len(self.codes)))
            if bootstrap is not None:
                own = None if self.weights is None else self.weights[here]
                weights[here] = bootstrap.counts(work.seed, self.block, self.rows[here], own)
            rows = np.arange(here.start, here.stop) if weights is None else np.flatnonzero(weights[here] != 0) + start
            chosen.append(rows.astype(np.uint32))
            if work.route is not None:
                told.append(work.route.follow(self.codes, rows))
        order = np.concatenate(chosen)
        n_nodes = work.n_histograms + work.n_gathered
        if work.route is None:
            return weights, order, np.array([0, len(order)])
        node = np.concatenate(told)
        # NumPy sorts 16-bit numbers stably in linear time.
        by_node = np.argsort(node, kind="stable")
        edges = np.searchsorted(node[by_node], np.arange(n_nodes + 1))
        return weights, order[by_node[: edges[-1]]], edges

    def _scattered(self, work: TreeWork, edges: IntArray) -> bool:
        """Whether the nodes have so few rows here that calls of the builder would cost more than the rows."""
        entries = int(edges[work.n_histograms]) * work.n_drawn(len(self.task.cells))
        return entries < self.task.entries_a_call * work.n_histograms

    def _entries(self, work: TreeWork, weights: Any, order: Any, edges: IntArray) -> Entries:
        """What the rows of one tree's nodes add to cells, row by row."""
        task = self.task
        rows = order[: edges[work.n_histograms]].astype(np.int64)
        lengths = np.diff(edges[: work.n_histograms + 1])
        everything = np.arange(len(task.cells))[None, :]
        features = everything if work.features is None else work.features.astype(np.int64)
        widths = task.widths[features]
        starts = work.starts[:-1, None] + np.cumsum(widths, axis=1) - widths
        feature = features if work.features is None else np.repeat(features, lengths, axis=0)
        cells = self.codes.ravel(order="F").take(feature * len(self.codes) + rows[:, None]).astype(np.int64)
        if task.missing:
            # Missing values stand behind a feature's bins.
            cells = np.where(cells == task.missing_code, task.widths[feature] - 1, cells)
        cells += np.repeat(starts, lengths, axis=0)
        values = np.zeros((task.channels.count, len(self.codes)))
        for channel, part in task.channels.parts(self.y, weights):
            values[channel] += part
        kept = values[:, rows].astype(task.channels.sum_kind)
        return Entries(cells.ravel().astype(np.int32), np.repeat(kept, features.shape[1], axis=1))

    def _histograms(self, weights: Any) -> list[_Histogram]:
        """One builder for every two parts; those that all trees share are made once."""
        shared = self.task.bootstrap is None
        if shared and self._shared is not None:
            return self._shared
        parts = list(self.task.channels.parts(self.y, weights))
        found = [_Histogram(self, parts[i : i + 2], count=i == 0) for i in range(0, max(1, len(parts)), 2)]
        if shared:
            self._shared = found
        return found


class _Histogram:
    """One run of scikit-learn's builder: the number of rows and up to two parts, for each bin."""

    def __init__(self, chunk: _Chunk, parts: list[tuple[int, Float32Array]], *, count: bool) -> None:
        task = chunk.task
        self.count, self.cells = count, task.cells
        self.even = all(len(cells) == task.n_codes for cells in task.cells)
        self.parts = list(zip([channel for channel, _ in parts], ("sum_gradients", "sum_hessians"), strict=False))
        values = [v for _, v in parts] or [np.zeros(len(chunk.codes), dtype=np.float32)]
        single = len(values) == 1
        self.builder = HistogramBuilder(chunk.codes, task.n_codes, values[0], values[-1], single, 1)

    def add(self, work: TreeWork, order: Any, edges: IntArray, state: NodeState) -> None:
        """Add the histograms of one tree's nodes."""
        for node in np.flatnonzero(np.diff(edges[: work.n_histograms + 1])).tolist():
            features = None if work.features is None else work.features[node]
            rows = order[edges[node] : edges[node + 1]]
            # The array below the memoryview: to describe a memoryview anew takes NumPy longer than the work.
            found = self.builder.compute_histograms_brute(rows, features).base
            flat = self._flat(found, features)
            here = slice(work.starts[node], work.starts[node + 1])
            if self.count:
                state.counts[here] += flat["count"].view(np.int32)
            for channel, field in self.parts:
                state.sums[channel, here] += flat[field].astype(state.sums.dtype, copy=False)

    def _flat(self, found: Any, features: Any) -> Any:
        """The cells of the node's features, one feature after the other."""
        width = found.shape[1]
        if self.even:
            return (found if features is None else found.take(features, axis=0)).reshape(-1)
        chosen = range(len(self.cells)) if features is None else features.tolist()
        return found.reshape(-1)[np.concatenate([self.cells[f] + f * width for f in chosen])]
