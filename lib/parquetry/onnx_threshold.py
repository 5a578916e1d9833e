"""A classifier's own threshold, as a FixedThresholdClassifier has it, and how a graph decides by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from parquetry.errors import NotExportable

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Threshold:
    """Where one of two classes begins.

    Attributes
    ----------
    classes : ndarray of shape (2,)
    positive : int
        The position of the class that is chosen from the threshold on.
    value : float
        Of that class's probability.
    scores : bool
        Whether it is compared with ``decision_function`` instead.
    """

    classes: npt.NDArray[Any]
    positive: int
    value: float
    scores: bool


def threshold_of(model: Any) -> Threshold | None:
    """The threshold that a model's answers are cut at, or None where it takes the likeliest class."""
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier
    from sklearn.pipeline import Pipeline

    if isinstance(model, Pipeline):
        return threshold_of(model.steps[-1][1])
    if isinstance(model, FrozenEstimator):
        return threshold_of(model.estimator)
    if not isinstance(model, FixedThresholdClassifier):
        return None
    classes = np.asarray(model.classes_)
    positive = 1 if model.pos_label is None else classes.tolist().index(model.pos_label)
    scores = model.response_method == "decision_function" or not hasattr(model, "predict_proba")
    value = (0.0 if scores else 0.5) if isinstance(model.threshold, str) else float(model.threshold)
    return Threshold(classes, positive, value, scores)


def decide(proto: ModelProto, threshold: Threshold) -> None:
    """Make the graph's label the class that the threshold chooses; changes it in place.

    Raises
    ------
    NotExportable
        The threshold is one of ``decision_function``, which the graph does not give.
    """
    from onnx import helper, numpy_helper

    graph = proto.graph
    if threshold.scores or len(graph.output) < 2:
        raise NotExportable(
            "A threshold of decision_function has no ONNX form here.",
            why="The graph gives probabilities.",
            fix="Use a classifier with predict_proba, or save with onnx='skip'.",
        )
    label, probabilities = (output.name for output in graph.output[:2])
    inner = f"/likeliest {label}"
    for node in graph.node:
        node.output[:] = [inner if name == label else name for name in node.output]
        node.input[:] = [inner if name == label else name for name in node.input]
    other = 1 - threshold.positive
    classes = threshold.classes[[other, threshold.positive]]
    whole = classes.dtype.kind in "biu"
    constants: dict[str, npt.NDArray[Any]] = {
        "/positive": np.array(threshold.positive, dtype=np.int64),
        "/threshold": np.array(threshold.value, dtype=np.float32),
        "/classes": classes.astype(np.int64) if whole else np.array([str(c) for c in classes], dtype=object),
    }
    graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    graph.node.extend(
        [
            helper.make_node("Gather", [probabilities, "/positive"], ["/of positive"], axis=1),
            helper.make_node("GreaterOrEqual", ["/of positive", "/threshold"], ["/reached"]),
            helper.make_node("Cast", ["/reached"], ["/chosen"], to=7),
            helper.make_node("Gather", ["/classes", "/chosen"], [label]),
        ]
    )
