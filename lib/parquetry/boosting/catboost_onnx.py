"""CatBoost models as ONNX: the trees are those of CatBoost's own export, set among the other steps."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from catboost import CatBoostClassifier, CatBoostError, CatBoostRanker, CatBoostRegressor
from sklearn.base import is_classifier

from parquetry.boosting.trees_onnx import give_classes, shape, sigmoid
from parquetry.onnx_graph import Graph, UnsupportedStepError

_EXPONENTS = ("Poisson", "Tweedie", "LogLinQuantile")


def convert_catboost(scope: Any, operator: Any, container: Any) -> None:
    """The node of trees as CatBoost exports it, and the link that CatBoost's ``predict`` applies."""
    graph, model = Graph(scope, operator, container), operator.raw_operator
    trees = _exported(model)
    classifies = is_classifier(model)
    attributes = {k.replace("class_", "target_"): v for k, v in trees.items() if not k.startswith("classlabels")}
    outputs = 1 + max(attributes["target_ids"])
    raw = graph.node(
        "TreeEnsembleRegressor",
        graph.inputs(),
        domain="ai.onnx.ml",
        **(attributes | {"n_targets": outputs, "post_transform": "NONE"}),
    )
    if not classifies:
        loss = str(model.get_all_params().get("loss_function", "")).partition(":")[0]
        graph.give(graph.node("Exp", raw) if loss in _EXPONENTS else raw)
        return
    if len(model.classes_) == 2:
        raw = graph.node("Gather", raw, graph.constant([1]), axis=1) if outputs == 2 else raw
        give_classes(graph, sigmoid(graph, raw))
    elif str(trees["post_transform"]).upper().strip("b'").startswith("LOGI"):
        give_classes(graph, sigmoid(graph, raw))
    else:
        give_classes(graph, graph.node("Softmax", raw, axis=1))


def _exported(model: Any) -> dict[str, Any]:
    """The attributes of the node that holds all trees."""
    import onnx

    if model.get_cat_feature_indices():
        raise UnsupportedStepError(
            model,
            "CatBoost's export knows no categorical columns.",
            "Encode them before it (OneHotEncoder), or save with onnx='skip'.",
        )
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        try:
            model.save_model(path, format="onnx")
        except CatBoostError as error:
            raise UnsupportedStepError(model, f"CatBoost says: {str(error).splitlines()[0]}") from error
        graph = onnx.load(path).graph
    node = next(n for n in graph.node if n.op_type.startswith("TreeEnsemble"))
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


CONVERTERS = dict.fromkeys((CatBoostClassifier, CatBoostRegressor, CatBoostRanker), (shape, convert_catboost))
"""Class → (shape calculator, converter)."""
