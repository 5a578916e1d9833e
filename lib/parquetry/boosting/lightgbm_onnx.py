"""LightGBM models as ONNX."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.base import is_classifier

from parquetry.boosting.trees_onnx import EQ, LEQ, Table, give_classes, scores, shape, sigmoid
from parquetry.onnx_graph import Graph, UnsupportedStepError

_ROOTED = ("regression", "regression_l1", "huber", "fair", "quantile", "mape")
"""Objectives that may have been trained on roots (reg_sqrt=True)."""


def convert_lightgbm(scope: Any, operator: Any, container: Any) -> None:
    """Trees, and what the objective makes of their sum."""
    graph, model = Graph(scope, operator, container), operator.raw_operator
    if model.booster_.pandas_categorical:
        raise UnsupportedStepError(
            model,
            "It was fitted on columns of text, which it numbers outside of its trees.",
            "Number them in the pipeline (OrdinalEncoder), and name them with categorical_feature=.",
        )
    told = model.booster_.dump_model()
    outputs = int(told["num_tree_per_iteration"])
    table = Table(outputs)
    # Of a random forest LightGBM gives the mean of the trees.
    share = outputs / len(told["tree_info"]) if told.get("average_output") else 1.0
    for number, tree in enumerate(told["tree_info"]):
        _Tree(model, table, number, number % outputs, share).add(tree["tree_structure"])
    name, *options = str(told.get("objective", "custom")).split()
    found = _linked(graph, scores(graph, table), model, name, dict(o.partition(":")[::2] for o in options))
    if is_classifier(model):
        give_classes(graph, found)
    else:
        graph.give(found)


class _Tree:
    """One of LightGBM's trees on its way into the table."""

    def __init__(self, model: Any, table: Table, number: int, output: int, share: float) -> None:
        self.model, self.table, self.number, self.output, self.share = model, table, number, output, share

    def add(self, node: Mapping[str, Any]) -> int:
        """A node and all below it; its number."""
        own = self.table.number(self.number)
        if "leaf_value" in node:
            self.table.leaf(self.number, own, {self.output: float(node["leaf_value"]) * self.share})
        elif node["decision_type"] == "==":
            self._categories(own, node)
        else:
            true, false = self.add(node["left_child"]), self.add(node["right_child"])
            self._branch(own, node, LEQ, float(node["threshold"]), true, false, missing=self._missing(node))
        return own

    def _categories(self, own: int, node: Mapping[str, Any]) -> None:
        """A set of categories is one question after another, all with the same way for yes."""
        true, false = self.add(node["left_child"]), self.add(node["right_child"])
        wanted = [float(c) for c in str(node["threshold"]).split("||")]
        for i, category in enumerate(wanted):
            following = false if i == len(wanted) - 1 else self.table.number(self.number)
            self._branch(own, node, EQ, category, true, following, missing=False)
            own = following

    def _branch(
        self, own: int, node: Mapping[str, Any], mode: str, value: float, true: int, false: int, *, missing: bool
    ) -> None:
        feature = int(node["split_feature"])
        self.table.branch(
            self.number, own, feature=feature, mode=mode, value=value, true=true, false=false, missing=missing
        )

    def _missing(self, node: Mapping[str, Any]) -> bool:
        """Whether NaN goes left: where training saw none, LightGBM takes it for zero."""
        zero_left = float(node["threshold"]) >= 0.0
        if node["missing_type"] == "None":
            return zero_left
        if node["missing_type"] == "Zero" and bool(node["default_left"]) != zero_left:
            raise UnsupportedStepError(
                self.model, "zero_as_missing=True sends zeros another way than ONNX does.", "Leave it out."
            )
        return bool(node["default_left"])


def _linked(graph: Graph, x: str, model: Any, name: str, options: Mapping[str, str]) -> str:
    """What LightGBM's objective makes of raw scores."""
    slope = float(options.get("sigmoid", 1.0))
    if name in ("binary", "multiclassova", "cross_entropy"):
        return sigmoid(graph, x, slope)
    if name == "multiclass":
        return graph.node("Softmax", x, axis=1)
    if is_classifier(model):
        raise UnsupportedStepError(model, f"The objective {name!r} gives no probabilities.", "Use a named objective.")
    if name in ("poisson", "gamma", "tweedie"):
        return graph.node("Exp", x)
    if name == "cross_entropy_lambda":
        return graph.node("Log", graph.node("Add", graph.constant(np.ones(1, np.float32)), graph.node("Exp", x)))
    if name in _ROOTED and "sqrt" in options:
        return graph.node("Mul", x, graph.node("Abs", x))
    return x


CONVERTERS = dict.fromkeys((LGBMClassifier, LGBMRegressor, LGBMRanker), (shape, convert_lightgbm))
"""Class → (shape calculator, converter)."""
