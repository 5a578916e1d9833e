"""Nodes of few rows: their rows come home, and scikit-learn's own builder grows the tree below them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, cpu_count, delayed
from sklearn.tree import _criterion, _splitter, _tree

from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_build import Rules
from parquetry.classical.tree_codes import CodeArray
from parquetry.classical.tree_nodes import LEAF, SPLIT, Nodes
from parquetry.classical.tree_splits import on_edges
from parquetry.classical.tree_states import Rows
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]

_CRITERIA = {"gini": _criterion.Gini, "entropy": _criterion.Entropy, "log_loss": _criterion.Entropy}


@dataclass(frozen=True, eq=False)
class FewRows:
    """The rows of a node, and what is left for the tree below it.

    Attributes
    ----------
    codes : ndarray of uint8, shape (n_rows, n_features)
    y : ndarray of float64, shape (n_rows, n_outputs)
    w : ndarray of float64, shape (n_rows,), or None
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


def rows_by_node(parts: list[Rows], n_nodes: int) -> list[tuple[CodeArray, FloatArray, FloatArray | None]]:
    """Codes, targets and weights of each node, in the order of the rows."""
    codes = np.concatenate([p.codes for p in parts])
    y = np.concatenate([p.y for p in parts], axis=1).T.astype(np.float64)
    w = None if parts[0].w is None else np.concatenate([p.w for p in parts]).astype(np.float64)
    node = np.concatenate([p.node for p in parts])
    order = np.argsort(node, kind="stable")
    groups = np.split(order, np.searchsorted(node[order], np.arange(1, n_nodes)))
    return [(codes[here], y[here], None if w is None else w[here]) for here in groups]


def grown(rules: Rules, bins: Bins, several: list[FewRows]) -> list[Any]:
    """The trees that scikit-learn's own builder grows on the values of the rows' bins, by threads."""
    table = bins.table
    run = Parallel(n_jobs=min(len(several), cpu_count()), backend="threading")
    trees: list[Any] = run(delayed(_grown)(rules, table, rows) for rows in several)
    return trees


def _grown(rules: Rules, table: Any, rows: FewRows) -> Any:
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
    builder.build(tree, x, np.ascontiguousarray(rows.y), rows.w, absent.astype(np.uint8) if absent.any() else None)
    return tree


def graft(nodes: Nodes, number: int, tree: Any, bins: Bins, shift: FloatArray | None, total: float) -> None:
    """Put a tree that scikit-learn has grown in the place of a node.

    Parameters
    ----------
    nodes : Nodes
    number : int
        The node.
    tree : Tree
    bins : Bins
    shift : ndarray of shape (n_outputs,), or None
        What its predictions lack.
    total : float
        The weight of the whole tree's sample.
    """
    inner = np.flatnonzero(tree.children_left >= 0)
    new = nodes.add(2 * len(inner), tree=nodes.tree[number])
    place = np.empty(tree.node_count, dtype=np.int64)
    place[0] = number
    place[tree.children_left[inner]], place[tree.children_right[inner]] = new[::2], new[1::2]
    split = place[inner]
    nodes.state[place] = LEAF
    nodes.state[split] = SPLIT
    nodes.left[split] = new[::2]
    nodes.parent[new] = np.repeat(split, 2)
    nodes.depth[place] = nodes.depth[number] + tree.compute_node_depths() - 1
    feature, threshold = tree.feature[inner].astype(np.int64), tree.threshold[inner]
    nodes.feature[split] = feature
    nodes.code[split] = bins.codes_of(feature, threshold)
    nodes.threshold[split] = on_edges(bins, feature, threshold)
    nodes.missing_left[place] = tree.missing_go_to_left.astype(bool)
    nodes.count[place], nodes.weight[place] = tree.n_node_samples, tree.weighted_n_node_samples
    nodes.impurity[place] = tree.impurity
    nodes.value[place] = tree.value if shift is None else tree.value + shift[None, :, None]
    share = nodes.weight[new] / np.repeat(nodes.weight[split], 2) * nodes.impurity[new]
    nodes.improvement[split] = nodes.weight[split] / total * (nodes.impurity[split] - share[1::2] - share[::2])
