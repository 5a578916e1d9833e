"""Growing trees level by level, all trees at once: which nodes a pass looks at, and what follows from it.

The frontier, the nodes whose split is not known yet, is worked off from the roots down, as many
nodes a pass as its state may hold. A node of many rows gets histograms of its features. Of a node
of few rows the rows come home, and scikit-learn's own builder grows the whole tree below it
(PLANET: Panda et al., VLDB 2009).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_build import Rules, expanded
from parquetry.classical.tree_histograms import Channels, NodePass, TreeWork, cells_of
from parquetry.classical.tree_nodes import LEAF, SPLIT, WAITING, Nodes, routes
from parquetry.classical.tree_rows import FewRows, graft, grown, rows_by_node
from parquetry.classical.tree_samples import Bootstrap, mixed
from parquetry.classical.tree_splits import CRITERIA, EPSILON, NodeTable, Splits, best_of_pairs, on_edges
from parquetry.classical.tree_states import NodeState
from parquetry.errors import BadParameter, TooBigForDriver
from parquetry.fitting import Pass
from parquetry.reduction import FAN_IN, bundles
from parquetry.view import FloatArray, View

IntArray = npt.NDArray[np.int64]

STATES_BYTES = 384 * 2**20
"""What the states of a pass may take together, while the fixed tree holds them: 32 at most."""

STATE_BYTES = 32 * 2**20
"""What one may take."""

GATHER_GAIN = 4
"""Rows come home where they take less than so many levels of histograms would."""

_MOST_NODES = 60_000  # of one tree in one pass


@dataclass(frozen=True, eq=False)
class Plan:
    """All that growing needs to know.

    Attributes
    ----------
    who : str
        The estimator, for errors.
    rules : Rules
    bins : Bins
    channels : Channels
    seeds : sequence of int
        One a tree.
    n_rows : int
    bootstrap : Bootstrap or None
    class_weights : callable or None
        Takes the weights of the classes in a tree's sample, gives what each is multiplied by;
        of single-output classifiers.
    shift : ndarray of shape (n_outputs,), or None
    scale : float
        The target is ``shift + scale * y`` of what the block cache keeps.
    memory : float
        Bytes that the nodes may take.
    """

    who: str
    rules: Rules
    bins: Bins
    channels: Channels
    seeds: Sequence[int]
    n_rows: int
    bootstrap: Bootstrap | None
    class_weights: Any = None
    shift: FloatArray | None = None
    scale: float = 1.0
    memory: float = np.inf


class Growth:
    """The trees of one fit while they grow."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.rules, self.bins = plan, plan.rules, plan.bins
        self.criterion = CRITERIA[self.rules.criterion](plan.channels)
        self.nodes = Nodes(self.rules.value_shape)
        n_trees = len(plan.seeds)
        keys = mixed(np.asarray(plan.seeds, dtype=np.uint64))
        self.nodes.add(n_trees, tree=np.arange(n_trees), count=plan.n_rows, key=keys)
        self.total = np.zeros(n_trees)
        """The weight of each tree's sample."""
        self.class_scale = np.ones((n_trees, sum(self.rules.n_classes)))
        self.state_bytes = STATE_BYTES
        self.cells = np.array([len(c) for c in cells_of(self.bins)], dtype=np.int64)

    def grow(self, view: View) -> Generator[list[Any], list[Any], Nodes]:
        """Ask for passes until no node waits; the finished nodes."""
        tasks = len(bundles(view.dataset, view.columns))
        held = min(tasks, FAN_IN) + min(tasks // FAN_IN, FAN_IN)
        self.state_bytes = min(STATE_BYTES, STATES_BYTES // max(1, held))
        while len(waiting := self._frontier()):
            histograms, gathered = self._chosen(waiting)
            drawn = self._drawn_features(histograms)
            works, starts = self._works(histograms, gathered, drawn)
            task = NodePass(self.bins, self.plan.channels, works, self.plan.bootstrap)
            (state,) = yield [Pass(task, view)]
            self._apply_histograms(histograms, drawn, starts, state)
            self._apply_rows(gathered, state)
            self._check_size()
        return self.nodes

    def _check_size(self) -> None:
        if self.nodes.size * self.nodes.node_bytes > self.plan.memory:
            raise TooBigForDriver(
                f"{self.plan.who}: its trees have more than {self.nodes.size:,} nodes, which take "
                f"{self.plan.memory / 2**30:.2f} GiB.",
                why="A fitted model is one object in the memory of one process.",
                fix="Bound the trees (max_depth, max_leaf_nodes, min_samples_leaf), or allow more with memory=.",
            )

    # --- what to look at --------------------------------------------------------------------
    def _frontier(self) -> IntArray:
        """The nodes whose split must be known, from the roots down."""
        nodes, most = self.nodes, self.rules.max_leaf_nodes
        found = np.flatnonzero(nodes.state == WAITING) if most is None else self._best_first_frontier(most - 1)
        return found[np.lexsort((found, nodes.tree[found], nodes.depth[found]))]

    def _best_first_frontier(self, most: int) -> IntArray:
        found = [expanded(self.nodes, root, most)[1] for root in range(len(self.plan.seeds))]
        return np.array([node for waiting in found for node in waiting], dtype=np.int64)

    def _chosen(self, waiting: IntArray) -> tuple[IntArray, IntArray]:
        """The first nodes that fit in a pass: those for histograms, and those for rows."""
        nodes, rules, channels = self.nodes, self.rules, self.plan.channels
        row_bytes = rules.n_features + 8 * (2 + rules.n_outputs)
        share = rules.max_features / rules.n_features
        by_cells = np.full(len(waiting), int(self.cells.sum() * share * channels.cell_bytes))
        by_rows = nodes.count[waiting] * row_bytes
        levels = np.minimum(rules.max_depth - nodes.depth[waiting], 30)
        gain = np.minimum(GATHER_GAIN, 2.0**levels - 1)
        gathered = (by_rows <= gain * by_cells) & (by_rows <= STATE_BYTES)
        fits = np.cumsum(np.where(gathered, by_rows, by_cells)) <= self.state_bytes
        fits[0] = True
        taken, gathered = waiting[fits][:_MOST_NODES], gathered[fits][:_MOST_NODES]
        in_order = np.argsort(nodes.tree[taken], kind="stable")
        taken, gathered = taken[in_order], gathered[in_order]
        return taken[~gathered], taken[gathered]

    def _drawn_features(self, numbers: IntArray) -> IntArray | None:
        """The features that each node looks at, ascending; None where it is all of them."""
        rules = self.rules
        if rules.max_features >= rules.n_features:
            return None
        order = self._feature_order(numbers)
        first = np.minimum(self.nodes.tries[numbers] * rules.max_features, rules.n_features - rules.max_features)
        chosen = np.take_along_axis(order, first[:, None] + np.arange(rules.max_features), axis=1)
        return np.sort(chosen, axis=1)

    def _feature_order(self, numbers: IntArray) -> IntArray:
        """Every node's own random order of the features."""
        salts = mixed(np.arange(1, self.rules.n_features + 1, dtype=np.uint64))
        return np.argsort(mixed(self.nodes.key[numbers][:, None] ^ salts), axis=1, kind="stable")

    def _works(self, histograms: IntArray, gathered: IntArray, drawn: Any) -> tuple[list[TreeWork], IntArray]:
        """What each tree wants of the pass, and where each histogram node's cells begin."""
        nodes = self.nodes
        sizes = np.full(len(histograms), int(self.cells.sum())) if drawn is None else self.cells[drawn].sum(axis=1)
        starts = np.append(0, np.cumsum(sizes)).astype(np.int64)
        wanted = np.concatenate([histograms, gathered])
        place = np.concatenate([_places(nodes.tree[histograms]), _places(nodes.tree[gathered])])
        own = np.bincount(nodes.tree[histograms], minlength=len(self.plan.seeds))
        place[len(histograms) :] += own[nodes.tree[gathered]]
        missing_code = self.bins.missing_code if self.bins.missing.any() else None
        ways = routes(nodes, wanted, place, missing_code)
        works = []
        for tree in sorted(ways):
            a, b = np.searchsorted(nodes.tree[histograms], [tree, tree + 1])
            c, d = np.searchsorted(nodes.tree[gathered], [tree, tree + 1])
            features = None if drawn is None else drawn[a:b].astype(np.uint32)
            works.append(TreeWork(self.plan.seeds[tree], ways[tree], features, b - a, d - c, starts[a : b + 1], int(c)))
        return works, starts

    # --- what follows from histograms -------------------------------------------------------
    def _apply_histograms(self, numbers: IntArray, drawn: Any, starts: IntArray, state: NodeState) -> None:
        if not len(numbers):
            return
        nodes = self.nodes
        table = self._table(numbers, drawn, starts, state)
        self._settle(numbers, table.count, table.weight, table.sums)
        splits = best_of_pairs(table, self.criterion, self.bins, self.rules.min_samples_leaf)
        best, split = self._best_of_nodes(numbers, table, splits, drawn)
        again = self._draw_again(numbers, splits, drawn)
        split &= nodes.state[numbers] == WAITING
        nodes.state[numbers[~split & ~again]] = LEAF
        found = splits.take(best[split])
        totals = [s[split] for s in table.sums]
        self._split(numbers[split], table.pair_feature[best[split]], found, totals)

    def _table(self, numbers: IntArray, drawn: Any, starts: IntArray, state: NodeState) -> NodeTable:
        nodes, rules = self.nodes, self.rules
        features = np.tile(np.arange(rules.n_features), (len(numbers), 1)) if drawn is None else drawn
        widths = self.cells[features]
        pair_start = starts[:-1, None] + np.cumsum(widths, axis=1) - widths
        first = np.column_stack([pair_start[:, 0], pair_start[:, 0] + widths[:, 0]])
        counts, stored_cells = self.plan.channels.split(state.cells)
        count = _sums_between(counts, first)
        stored = np.array([_sums_between(s, first) for s in stored_cells]).reshape(-1, len(numbers))
        weight, sums = self.criterion.sums(count, stored)
        for i in np.flatnonzero(nodes.parent[numbers] < 0):
            self._learn_total(int(nodes.tree[numbers[i]]), np.array([s[i] for s in sums]), float(weight[i]))
        scale = None
        if self.plan.class_weights is not None:
            scale = list(self.class_scale[nodes.tree[numbers]].T)
            sums = [s * k for s, k in zip(sums, scale, strict=True)]
            weight = sum(sums, np.zeros(len(numbers)))
        return NodeTable(
            count=count,
            weight=weight,
            sums=sums,
            least_weight=rules.min_weight_fraction_leaf * self.total[nodes.tree[numbers]],
            pair_node=np.repeat(np.arange(len(numbers)), features.shape[1]),
            pair_feature=features.ravel(),
            pair_start=pair_start.ravel(),
            pair_chance=self._chances(numbers, features) if rules.random_splits else None,
            counts=counts,
            stored=stored_cells,
            scale=scale,
        )

    def _chances(self, numbers: IntArray, features: IntArray) -> FloatArray:
        """Two numbers in [0, 1) for each pair of a node and a feature."""
        keys = mixed(self.nodes.key[numbers][:, None] ^ mixed(~features.astype(np.uint64))).ravel()
        halves = (keys >> np.uint64(32), keys & np.uint64(2**32 - 1))
        return np.column_stack([half.astype(np.float64) / 2.0**32 for half in halves])

    def _learn_total(self, tree: int, sums: FloatArray, weight: float) -> None:
        """The weight of a tree's sample, and of its classes."""
        if not weight > 0:
            raise BadParameter(
                f"{self.plan.who}: the sample of tree {tree} holds no row of any weight.",
                fix="Raise max_samples, or mend the weight column.",
            )
        self.total[tree] = weight
        if self.plan.class_weights is not None:
            self.class_scale[tree] = self.plan.class_weights(sums)
            self.total[tree] = float(sums @ self.class_scale[tree])

    def _settle(self, numbers: IntArray, count: IntArray, weight: FloatArray, sums: list[FloatArray]) -> None:
        """What a node is by itself: how many rows, what it predicts, and whether it may be split."""
        nodes, rules = self.nodes, self.rules
        nodes.count[numbers], nodes.weight[numbers] = count, weight
        nodes.value[numbers] = self._values(weight, sums)
        unknown = np.isinf(nodes.impurity[numbers])
        nodes.impurity[numbers[unknown]] = self._impurity(weight, sums)[unknown]
        least = rules.min_weight_fraction_leaf * self.total[nodes.tree[numbers]]
        leaf = (
            (nodes.depth[numbers] >= rules.max_depth)
            | (count < rules.min_samples_split)
            | (count < 2 * rules.min_samples_leaf)
            | (weight < 2 * least)
            | (nodes.impurity[numbers] <= EPSILON)
        )
        nodes.state[numbers[leaf]] = LEAF

    def _impurity(self, weight: FloatArray, sums: list[FloatArray]) -> FloatArray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.criterion.impurity(weight, sums)) * self.plan.scale**2

    def _values(self, weight: FloatArray, sums: list[FloatArray]) -> FloatArray:
        values = np.zeros((len(weight), *self.rules.value_shape))
        classes = self.rules.n_classes or (1,) * self.rules.n_outputs
        places = [(output, k) for output, n in enumerate(classes) for k in range(n)]
        for (output, k), own in zip(places, sums, strict=False):
            values[:, output, k] = own / weight
        shift = self.plan.shift
        return values if shift is None else values * self.plan.scale + shift[None, :, None]

    def _best_of_nodes(
        self, numbers: IntArray, table: NodeTable, splits: Splits, drawn: Any
    ) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """For each node its best pair, the first of equals; and whether it has any."""
        worth = splits.worth.reshape(len(numbers), -1)
        late = self.nodes.tries[numbers] > 0
        if drawn is not None and late.any():
            # Further features are looked at until the first one that is not constant, and no more.
            ranks = np.argsort(self._feature_order(numbers[late]), axis=1)
            rank = np.take_along_axis(ranks, drawn[late], axis=1)
            rank[splits.constant.reshape(worth.shape)[late]] = self.rules.n_features
            worth[late] = np.where(rank == rank.min(axis=1, keepdims=True), worth[late], -np.inf)
        best = np.argmax(worth, axis=1)
        rows = np.arange(len(numbers))
        return rows * worth.shape[1] + best, worth[rows, best] > -np.inf

    def _draw_again(self, numbers: IntArray, splits: Splits, drawn: Any) -> npt.NDArray[np.bool_]:
        """Nodes whose features drawn so far are all constant, while there are others."""
        if drawn is None:
            return np.zeros(len(numbers), dtype=bool)
        nodes, rules = self.nodes, self.rules
        again: npt.NDArray[np.bool_] = np.all(splits.constant.reshape(len(numbers), -1), axis=1)
        again &= (nodes.tries[numbers] + 1) * rules.max_features < rules.n_features
        again &= nodes.state[numbers] == WAITING
        nodes.tries[numbers[again]] += 1
        return again

    def _split(self, numbers: IntArray, feature: IntArray, found: Splits, totals: list[FloatArray]) -> None:
        """Split nodes whose split improves them enough; the others become leaves."""
        nodes, weight = self.nodes, self.nodes.weight[numbers]
        right_count, right_weight = nodes.count[numbers] - found.count, weight - found.weight
        right = [total - own for total, own in zip(totals, found.sums, strict=True)]
        nodes.improvement[numbers] = (weight / self.total[nodes.tree[numbers]]) * (
            nodes.impurity[numbers]
            - right_weight / weight * self._impurity(right_weight, right)
            - found.weight / weight * self._impurity(found.weight, found.sums)
        )
        good = ~(nodes.improvement[numbers] + EPSILON < self.rules.min_impurity_decrease)
        nodes.state[numbers[~good]] = LEAF
        split = numbers[good]
        nodes.state[split] = SPLIT
        nodes.feature[split], nodes.code[split] = feature[good], found.code[good]
        nodes.threshold[split] = on_edges(self.bins, feature[good], found.threshold[good])
        nodes.missing_left[split] = found.missing_left[good]
        left = self._children(split)
        self._settle(left, found.count[good], found.weight[good], [s[good] for s in found.sums])
        self._settle(left + 1, right_count[good], right_weight[good], [s[good] for s in right])

    def _children(self, parents: IntArray) -> IntArray:
        """Two children of each node; the numbers of the left ones."""
        nodes = self.nodes
        both = np.repeat(parents, 2)
        sides = np.tile(np.array([1, 2], dtype=np.uint64), len(parents))
        new = nodes.add(
            len(both),
            tree=nodes.tree[both],
            parent=both,
            depth=nodes.depth[both] + 1,
            key=mixed(nodes.key[both] ^ mixed(sides)),
        )
        nodes.left[parents] = new[::2]
        return new[::2]

    # --- what follows from rows -------------------------------------------------------------
    def _apply_rows(self, numbers: IntArray, state: NodeState) -> None:
        if not len(numbers):
            return
        if not state.rows:
            self._learn_total(int(self.nodes.tree[numbers[0]]), np.zeros(0), 0.0)
        parts = rows_by_node(state.rows, len(numbers))
        several = [self._few(number, *part) for number, part in zip(numbers.tolist(), parts, strict=True)]
        for number, tree in zip(numbers.tolist(), grown(self.rules, self.bins, several), strict=True):
            graft(self.nodes, number, tree, self.bins, self.plan.shift, self.total[self.nodes.tree[number]])

    def _few(self, number: int, codes: Any, y: FloatArray, w: FloatArray | None) -> FewRows:
        nodes, rules, plan = self.nodes, self.rules, self.plan
        tree, root = int(nodes.tree[number]), nodes.parent[number] < 0
        y = y * plan.scale
        if root:
            own = np.zeros(0)
            if plan.class_weights is not None:
                own = np.bincount(y[:, 0].astype(np.int64), weights=w, minlength=rules.n_classes[0]).astype(np.float64)
            self._learn_total(tree, own, float(len(y) if w is None else w.sum()))
        if plan.class_weights is not None:
            w = (1.0 if w is None else w) * self.class_scale[tree][y[:, 0].astype(np.int64)]
        share = (len(y) if w is None else float(w.sum())) / self.total[tree]
        return FewRows(
            codes,
            y,
            w,
            # A tree that is grown from its root this way is scikit-learn's own to the last draw.
            seed=plan.seeds[tree] if root else int(nodes.key[number] & np.uint64(2**31 - 1)),
            max_depth=rules.max_depth - int(nodes.depth[number]),
            min_weight_leaf=rules.min_weight_fraction_leaf * float(self.total[tree]),
            min_impurity_decrease=rules.min_impurity_decrease / share,
        )


def _sums_between(values: Any, edges: IntArray) -> Any:
    """The sum of each stretch of values, given as pairs of edges that ascend."""
    wide = np.float64 if values.dtype.kind == "f" else np.int64
    padded = np.append(values, values.dtype.type(0))
    return np.add.reduceat(padded, edges.ravel(), dtype=wide)[::2]


def _places(trees: IntArray) -> IntArray:
    """Each entry's place among those of its tree; equal trees stand together."""
    starts = np.flatnonzero(np.append(True, trees[1:] != trees[:-1]))[: len(trees)]
    lengths = np.diff(np.append(starts, len(trees)))
    return np.arange(len(trees)) - np.repeat(starts, lengths)
