"""scikit-learn's own tree objects, made of columns of nodes."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree import _tree

from parquetry.classical.tree_nodes import SPLIT, WAITING, Nodes

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]


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

    def most_nodes(self, rows: int) -> int:
        """How many nodes a tree of so many rows can have."""
        leaves = min(rows, self.max_leaf_nodes or rows, 1 << min(self.max_depth, 62))
        return 2 * leaves

    def empty_tree(self) -> Any:
        """scikit-learn's tree without nodes."""
        classes = self.n_classes or (1,) * self.n_outputs
        return _tree.Tree(self.n_features, np.array(classes, dtype=np.intp), self.n_outputs)


def assembled(rules: Rules, nodes: Nodes, members: IntArray) -> Any:
    """One tree of the table as scikit-learn's own object.

    Parameters
    ----------
    rules : Rules
    nodes : Nodes
    members : ndarray
        The numbers of the tree's nodes, ascending; the root is the first.
    """
    if rules.max_leaf_nodes is None:
        order, inner = _depth_first(nodes, members)
    else:
        order, inner = _best_first(nodes, members, rules.max_leaf_nodes - 1)
    sorter = np.argsort(order)
    left = nodes.left[order]
    records = np.zeros(len(order), dtype=_tree.NODE_DTYPE)
    for field, child in (("left_child", left), ("right_child", left + 1)):
        place = np.searchsorted(order, child, sorter=sorter)
        records[field] = np.where(inner, sorter[np.minimum(place, len(order) - 1)], _tree.TREE_LEAF)
    records["feature"] = np.where(inner, nodes.feature[order], _tree.TREE_UNDEFINED)
    records["threshold"] = np.where(inner, nodes.threshold[order], _tree.TREE_UNDEFINED)
    records["impurity"] = nodes.impurity[order]
    records["n_node_samples"] = nodes.count[order]
    records["weighted_n_node_samples"] = nodes.weight[order]
    records["missing_go_to_left"] = nodes.missing_left[order] & (nodes.state[order] == SPLIT)
    tree = rules.empty_tree()
    tree.__setstate__(
        {
            "max_depth": int(nodes.depth[order].max()),
            "node_count": len(order),
            "nodes": records,
            "values": np.ascontiguousarray(nodes.value[order]),
        }
    )
    return tree


def _depth_first(nodes: Nodes, members: IntArray) -> tuple[IntArray, BoolArray]:
    """Nodes in the order in which scikit-learn counts them (node, left subtree, right subtree)."""
    inner = nodes.state[members] == SPLIT
    left = np.searchsorted(members, nodes.left[members])
    depth = nodes.depth[members]
    levels = np.split(np.argsort(depth, kind="stable"), np.cumsum(np.bincount(depth))[:-1])
    size = np.ones(len(members), dtype=np.int64)
    for level in reversed(levels):
        split = level[inner[level]]
        size[split] += size[left[split]] + size[left[split] + 1]
    place = np.zeros(len(members), dtype=np.int64)
    for level in levels:
        split = level[inner[level]]
        place[left[split]] = place[split] + 1
        place[left[split] + 1] = place[split] + 1 + size[left[split]]
    order = np.argsort(place)
    return members[order], inner[order]


def _best_first(nodes: Nodes, members: IntArray, most: int) -> tuple[IntArray, BoolArray]:
    """Nodes in the order in which scikit-learn's best-first builder adds them."""
    inner, _ = expanded(nodes, int(members[0]), most)
    order = np.array([members[0], *(child for n in inner for child in (nodes.left[n], nodes.left[n] + 1))])
    return order, np.isin(order, inner)


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
        for side in (0, 1):
            child = int(left[node]) + side
            if state[child] == SPLIT:
                heapq.heappush(frontier, (-float(improvement[child]), 2 * len(order) + side, child))
            elif state[child] == WAITING and len(order) < most:
                waiting.append(child)
    return order, waiting
