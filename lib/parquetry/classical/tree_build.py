"""scikit-learn's own tree objects: made of columns of nodes, or grown by its own builder from few rows."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree import _criterion, _splitter, _tree

from parquetry.classical.tree_bins import Bins, CodeArray
from parquetry.classical.tree_nodes import SPLIT, WAITING, Nodes
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]

_CRITERIA = {"gini": _criterion.Gini, "entropy": _criterion.Entropy, "log_loss": _criterion.Entropy}


@dataclass(frozen=True)
class Rules:
    """A tree's parameters as numbers.

    Attributes
    ----------
    n_features, n_outputs : int
    n_classes : tuple of int
        Of each output; empty for regression.
    criterion : str
    random_splits : bool
        Whether thresholds are drawn (``splitter="random"``).
    max_features, max_depth, min_samples_split, min_samples_leaf : int
    min_weight_fraction_leaf, min_impurity_decrease : float
    max_leaf_nodes : int or None
    """

    n_features: int
    n_outputs: int
    n_classes: tuple[int, ...]
    criterion: str
    random_splits: bool
    max_features: int
    max_depth: int
    min_samples_split: int
    min_samples_leaf: int
    min_weight_fraction_leaf: float
    min_impurity_decrease: float
    max_leaf_nodes: int | None

    @property
    def value_shape(self) -> tuple[int, int]:
        """What a node predicts: shape ``(n_outputs, most classes)``, 1 for regression."""
        return (self.n_outputs, max(self.n_classes, default=1))

    def empty_tree(self) -> Any:
        """scikit-learn's tree without nodes."""
        classes = self.n_classes or (1,) * self.n_outputs
        return _tree.Tree(self.n_features, np.array(classes, dtype=np.intp), self.n_outputs)


# --- from rows ------------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class FewRows:
    """The rows of a node, and what is left for the tree below it.

    Attributes
    ----------
    codes : ndarray of uint8, shape (n_rows, n_features)
    y : ndarray of float64, shape (n_rows, n_outputs)
    w : ndarray of shape (n_rows,) or None
    seed : int
    max_depth : int
    min_weight_leaf : float
    min_impurity_decrease : float
    """

    codes: CodeArray
    y: FloatArray
    w: FloatArray | None
    seed: int
    max_depth: int
    min_weight_leaf: float
    min_impurity_decrease: float


def grown(rules: Rules, bins: Bins, rows: FewRows) -> Any:
    """The tree that scikit-learn's own builder grows on the values of the rows' bins."""
    table = bins.table
    x = np.empty(rows.codes.shape, dtype=np.float32, order="F")
    for i in range(rules.n_features):
        x[:, i] = table[i].take(rows.codes[:, i])
    absent = np.isnan(x).any(axis=0)
    if rules.n_classes:
        criterion = _CRITERIA[rules.criterion](rules.n_outputs, np.array(rules.n_classes, dtype=np.intp))
    else:
        criterion = _criterion.MSE(rules.n_outputs, len(x))
    kind = _splitter.RandomSplitter if rules.random_splits else _splitter.BestSplitter
    random = np.random.RandomState(rows.seed)
    splitter = kind(criterion, rules.max_features, rules.min_samples_leaf, rows.min_weight_leaf, random, None)
    builder = _tree.DepthFirstTreeBuilder(
        splitter,
        rules.min_samples_split,
        rules.min_samples_leaf,
        rows.min_weight_leaf,
        rows.max_depth,
        rows.min_impurity_decrease,
    )
    tree = rules.empty_tree()
    y = np.ascontiguousarray(rows.y, dtype=np.float64)
    builder.build(tree, x, y, rows.w, absent.astype(np.uint8) if absent.any() else None)
    return tree


# --- from nodes -----------------------------------------------------------------------------
def assembled(rules: Rules, nodes: Nodes, members: IntArray) -> Any:
    """One tree of the table as scikit-learn's own object.

    Parameters
    ----------
    rules : Rules
    nodes : Nodes
    members : ndarray
        The numbers of the tree's nodes, the root first, parents before their children.
    """
    order, inner, depth = _best_first(rules, nodes, members) if rules.max_leaf_nodes else _depth_first(nodes, members)
    place = np.full(nodes.size, -1, dtype=np.int64)
    place[order] = np.arange(len(order))
    records = np.zeros(len(order), dtype=_tree.NODE_DTYPE)
    left = nodes.left[order]
    records["left_child"] = np.where(inner, place[np.where(inner, left, 0)], -1)
    records["right_child"] = np.where(inner, place[np.where(inner, left + 1, 0)], -1)
    records["feature"] = np.where(inner, nodes.feature[order], -2)
    records["threshold"] = np.where(inner, nodes.threshold[order], -2.0)
    records["impurity"] = nodes.impurity[order]
    records["n_node_samples"] = nodes.count[order]
    records["weighted_n_node_samples"] = nodes.weight[order]
    records["missing_go_to_left"] = nodes.missing_left[order] & (nodes.state[order] == SPLIT)
    tree = rules.empty_tree()
    tree.__setstate__(
        {
            "max_depth": depth,
            "node_count": len(order),
            "nodes": records,
            "values": np.ascontiguousarray(nodes.value[order]),
        }
    )
    return tree


def _depth_first(nodes: Nodes, members: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_], int]:
    """Numbers of nodes as scikit-learn counts them (node, left subtree, right subtree)."""
    depth = nodes.depth[members]
    levels = [members[depth == d] for d in range(int(depth.max()) + 1)]
    size = np.zeros(nodes.size, dtype=np.int64)
    for level in reversed(levels):
        split = nodes.state[level] == SPLIT
        left = nodes.left[level[split]]
        size[level] = 1
        size[level[split]] += size[left] + size[left + 1]
    place = np.zeros(nodes.size, dtype=np.int64)
    for level in levels:
        split = level[nodes.state[level] == SPLIT]
        left = nodes.left[split]
        place[left] = place[split] + 1
        place[left + 1] = place[split] + 1 + size[left]
    order = np.empty(len(members), dtype=np.int64)
    order[place[members]] = members
    return order, nodes.state[order] == SPLIT, len(levels) - 1


def expanded(nodes: Nodes, root: int, most: int) -> tuple[list[int], list[int]]:
    """Best-first growth on what is known: nodes in order of their expansion, and those that wait.

    A node that waits for its split is never expanded, which can only bring others forward; so
    what is not among the first ``most`` here will not be in the end either.
    """
    order: list[int] = []
    waiting = [root] if nodes.state[root] == WAITING else []
    state, left, improvement = nodes.state, nodes.left, nodes.improvement
    frontier = [(-float(improvement[root]), 0, root)] if state[root] == SPLIT else []
    while frontier and len(order) < most:
        _, _, node = heapq.heappop(frontier)
        order.append(node)
        for child in (int(left[node]), int(left[node]) + 1):
            age = 2 * len(order) + child - int(left[node])
            if state[child] == SPLIT:
                heapq.heappush(frontier, (-float(improvement[child]), age, child))
            elif state[child] == WAITING and len(order) < most:
                waiting.append(child)
    return order, waiting


def _best_first(rules: Rules, nodes: Nodes, members: IntArray) -> tuple[IntArray, npt.NDArray[np.bool_], int]:
    """Numbers of nodes in the order in which scikit-learn's best-first builder adds them."""
    root = int(members[0])
    inner, _ = expanded(nodes, root, int(rules.max_leaf_nodes or 0) - 1)
    order = [root]
    for node in inner:
        order += [int(nodes.left[node]), int(nodes.left[node]) + 1]
    numbers = np.array(order, dtype=np.int64)
    return numbers, np.isin(numbers, inner), int(nodes.depth[numbers].max())
