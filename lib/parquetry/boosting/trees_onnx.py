"""Boosted trees as ONNX: one table of nodes in double precision, then the link, then labels.

Thresholds, inputs and leaves are doubles, so that a row takes the turn that its library takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.base import is_classifier

from parquetry.onnx_graph import Graph, rows_of

LEQ, EQ, LEAF = "BRANCH_LEQ", "BRANCH_EQ", "LEAF"


@dataclass
class Table:
    """The nodes of all trees, column by column, as ONNX's TreeEnsembleRegressor takes them.

    Parameters
    ----------
    outputs : int
        How many numbers the trees give.
    """

    outputs: int
    rows: list[tuple[int, int, int, str, float, int, int, int]] = field(default_factory=list)
    leaves: list[tuple[int, int, int, float]] = field(default_factory=list)
    _sizes: dict[int, int] = field(default_factory=dict)

    def number(self, tree: int) -> int:
        """The number of a tree's next node."""
        self._sizes[tree] = self._sizes.get(tree, 0) + 1
        return self._sizes[tree] - 1

    def branch(
        self, tree: int, node: int, *, feature: int, mode: str, value: float, true: int, false: int, missing: bool
    ) -> None:
        """A node with two ways; ``missing``: NaN takes the one where the condition holds."""
        self.rows.append((tree, node, feature, mode, value, true, false, int(missing)))

    def leaf(self, tree: int, node: int, values: dict[int, float]) -> None:
        """A node that gives numbers, by output."""
        self.rows.append((tree, node, 0, LEAF, 0.0, 0, 0, 0))
        self.leaves += [(tree, node, output, value) for output, value in values.items()]

    def attributes(self) -> dict[str, Any]:
        """Those of the node."""
        from onnx import numpy_helper

        trees, nodes, features, modes, values, true, false, missing = zip(*sorted(self.rows), strict=True)
        leaf_trees, leaf_nodes, outputs, weights = zip(*sorted(self.leaves), strict=True)
        doubles = (
            numpy_helper.from_array(np.array(v, dtype=np.float64)) for v in (values, np.ones(len(modes)), weights)
        )
        split, hits, given = doubles
        return {
            "n_targets": self.outputs,
            "nodes_treeids": trees,
            "nodes_nodeids": nodes,
            "nodes_featureids": features,
            "nodes_modes": modes,
            "nodes_values_as_tensor": split,
            "nodes_hitrates_as_tensor": hits,
            "nodes_truenodeids": true,
            "nodes_falsenodeids": false,
            "nodes_missing_value_tracks_true": missing,
            "target_treeids": leaf_trees,
            "target_nodeids": leaf_nodes,
            "target_ids": outputs,
            "target_weights_as_tensor": given,
        }


def shape(operator: Any) -> None:
    """Labels and probabilities for a classifier, else one number a row."""
    model, rows = operator.raw_operator, rows_of(operator)
    if not is_classifier(model):
        operator.outputs[0].type = FloatTensorType([rows, 1])
        return
    whole = np.asarray(model.classes_).dtype.kind in "biuf"
    operator.outputs[0].type = Int64TensorType([rows]) if whole else StringTensorType([rows])
    operator.outputs[1].type = FloatTensorType([rows, len(model.classes_)])


def scores(graph: Graph, table: Table) -> str:
    """What the trees add up to, shape ``(n_rows, outputs)``."""
    x = graph.doubled(graph.inputs())
    return graph.node("TreeEnsembleRegressor", x, domain="ai.onnx.ml", **table.attributes())


def give_classes(graph: Graph, probabilities: str) -> None:
    """Labels and probabilities as the operator's outputs; of one column, that of the second class of two."""
    model = graph.operator.raw_operator
    classes = np.asarray(model.classes_)
    if len(classes) == 2:
        one = graph.constant(np.ones(1, dtype=np.float32))
        probabilities = graph.joined([graph.node("Sub", one, probabilities), probabilities])
    best = graph.node("ArgMax", probabilities, axis=1, keepdims=0)
    known = classes.astype(np.int64) if classes.dtype.kind in "biuf" else classes.astype(object)
    label = graph.node("Gather", graph.constant(known), best)
    for name, output in zip((label, probabilities), graph.operator.outputs, strict=True):
        graph.container.add_node(
            "Identity", [name], [output.full_name], name=graph.scope.get_unique_operator_name("Give")
        )


def sigmoid(graph: Graph, x: str, slope: float = 1.0) -> str:
    """``1 / (1 + exp(-slope x))``."""
    scaled = x if slope == 1.0 else graph.node("Mul", x, graph.constant(np.array([slope], dtype=np.float32)))
    return graph.node("Sigmoid", scaled)
