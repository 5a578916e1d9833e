"""Converters of boosted models, our own and onnxmltools'; registered with skl2onnx when such a model is exported."""

from __future__ import annotations

import copy
import importlib
from typing import Any

from parquetry.errors import missing
from parquetry.onnx_graph import UnsupportedStepError

_OWN = {"catboost": "parquetry.boosting.catboost_onnx", "lightgbm": "parquetry.boosting.lightgbm_onnx"}
_OF_CLASSIFIERS: dict[str, Any] = {"nocl": [True, False], "zipmap": [True, False, "columns"]}
_PACKAGES = ("xgboost", "lightgbm", "catboost")


def prepared(step: Any) -> Any:
    """A booster's estimator as its converter takes it; any other step as it is."""
    if _package(step) != "xgboost":
        return step
    if "c" in (step.get_booster().feature_types or ()):
        raise UnsupportedStepError(
            step,
            "Its splits on categories have no ONNX form.",
            "Encode the texts (OneHotEncoder, OrdinalEncoder) in a pipeline before it.",
        )
    if step.booster not in (None, "gbtree"):
        raise UnsupportedStepError(step, f"booster={step.booster!r} has no converter.", "Use trees: booster='gbtree'.")
    if callable(step.objective):
        raise UnsupportedStepError(
            step, "Its objective is a function of one's own, of which the graph cannot know the link.",
            "Use an objective of XGBoost's, or save with onnx='skip'.",
        )  # fmt: skip
    bare = copy.copy(step)
    booster = step.get_booster()
    # Trees after the best one are not used for predictions, and the converter would use them.
    best = getattr(step, "best_iteration", None) if step.early_stopping_rounds else None
    booster = booster[: best + 1] if best is not None else booster.copy()
    booster.feature_names = booster.feature_types = None
    booster.set_attr(best_iteration=None, best_score=None)
    bare._Booster = booster
    return bare


def opsets(newest: int, step: Any) -> Any:
    """The opsets of a graph: onnxmltools' converters know no newer one of trees than the third."""
    return {"": newest, "ai.onnx.ml": 3} if _package(step) in _PACKAGES else newest


def register(steps: list[Any]) -> None:
    """Make the converters of the boosters among some steps known to skl2onnx."""
    for step in steps:
        if _package(step) == "xgboost":
            _register_xgboost(step)
        elif _package(step) in _OWN:
            _register_own(step)


def _register_own(step: Any) -> None:
    from skl2onnx import update_registered_converter
    from sklearn.base import is_classifier

    found = importlib.import_module(_OWN[_package(step)]).CONVERTERS.get(type(step))
    if found is not None:
        shapes, convert = found
        options = _OF_CLASSIFIERS if is_classifier(step) else {}
        name = f"{_package(step)}{type(step).__name__}"
        parser = _two_outputs if is_classifier(step) else None
        update_registered_converter(type(step), name, shapes, convert, options=options, parser=parser, overwrite=True)


def _two_outputs(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:  # noqa: ARG001
    """Labels and probabilities: skl2onnx sees a classifier only where scikit-learn's mixin is."""
    from skl2onnx import get_model_alias
    from skl2onnx.common.data_types import FloatTensorType, Int64TensorType

    operator = scope.declare_local_operator(get_model_alias(type(model)), model)
    operator.inputs = inputs
    for name, kind in (("label", Int64TensorType()), ("probabilities", FloatTensorType())):
        operator.outputs.append(scope.declare_local_variable(name, kind))
    return operator.outputs


def _register_xgboost(step: Any) -> None:
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )
    from sklearn.base import is_classifier

    try:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    except ImportError as error:
        raise missing("onnxmltools", "boosting", "to export a boosted model as ONNX") from error
    kind = type(step)
    if is_classifier(step):
        options = _OF_CLASSIFIERS
        shapes = calculate_linear_classifier_output_shapes
    else:
        options, shapes = {}, calculate_linear_regressor_output_shapes
    update_registered_converter(
        kind, f"XGBoost{kind.__name__}", shapes, convert_xgboost, options=options, overwrite=True
    )


def _package(step: Any) -> str:
    return type(step).__module__.partition(".")[0]
