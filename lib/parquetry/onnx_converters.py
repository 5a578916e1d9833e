"""Converters for the steps that skl2onnx leaves out, gets wrong, or rounds more than it must.

Each takes skl2onnx's ``(scope, operator, container)`` and adds nodes. Sums and quotients of raw
columns are computed in double precision: a column's mean can be far larger than its deviation,
and a float32 difference of two such numbers would be noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

from parquetry.onnx_encoders import CONVERTERS as ENCODER_CONVERTERS
from parquetry.onnx_features import CONVERTERS as FEATURE_CONVERTERS
from parquetry.onnx_graph import Graph, UnsupportedStepError, columns, input_width, is_missing, rows_of, same_shape
from parquetry.onnx_model import NULL_TEXT
from parquetry.onnx_one_hot import convert_one_hot, one_hot_shape
from parquetry.onnx_text import CONVERTERS as TEXT_CONVERTERS

_Steps = list[tuple[str, float | None]]
FUNCTIONS: dict[Any, _Steps] = {
    np.log1p: [("Add", 1.0), ("Log", None)],
    np.expm1: [("Exp", None), ("Sub", 1.0)],
    np.log: [("Log", None)],
    np.exp: [("Exp", None)],
    np.log2: [("Log", None), ("Div", math.log(2))],
    np.log10: [("Log", None), ("Div", math.log(10))],
    np.sqrt: [("Sqrt", None)],
    np.square: [("Pow", 2.0)],
    np.absolute: [("Abs", None)],
}
"""NumPy functions that have an ONNX form: operators in order, each with its second operand."""


class InverseTarget(BaseEstimator):
    """Stands behind a regressor in the graph: the inverse of what its target went through."""

    def __init__(self, transformer: Any = None) -> None:
        self.transformer = transformer


# --- scaling --------------------------------------------------------------------------------
def convert_standard_scaler(scope: Any, operator: Any, container: Any) -> None:
    """``(x - mean) / scale``."""
    graph, scaler = Graph(scope, operator, container), operator.raw_operator
    x = graph.doubled(graph.inputs())
    if scaler.with_mean:
        x = graph.node("Sub", x, graph.constant(scaler.mean_.astype(np.float64)))
    if scaler.with_std:
        x = graph.node("Div", x, graph.constant(scaler.scale_.astype(np.float64)))
    graph.give(graph.rounded(x))


def convert_min_max_scaler(scope: Any, operator: Any, container: Any) -> None:
    """``x * scale + min``, clipped where the scaler clips."""
    graph, scaler = Graph(scope, operator, container), operator.raw_operator
    x = graph.doubled(graph.inputs())
    x = graph.node("Mul", x, graph.constant(scaler.scale_.astype(np.float64)))
    x = graph.node("Add", x, graph.constant(scaler.min_.astype(np.float64)))
    if scaler.clip:
        low, high = (graph.constant(np.float64(edge)) for edge in scaler.feature_range)
        x = graph.node("Clip", x, low, high)
    graph.give(graph.rounded(x))


# --- functions ------------------------------------------------------------------------------
def function_shape(operator: Any) -> None:
    """Shape: as came in; text stays text."""
    if isinstance(operator.inputs[0].type, StringTensorType):
        operator.outputs[0].type = StringTensorType([rows_of(operator), input_width(operator)])
    else:
        same_shape(operator)


def convert_function(scope: Any, operator: Any, container: Any) -> None:
    """A FunctionTransformer whose function is None or one of :data:`FUNCTIONS`."""
    graph, step = Graph(scope, operator, container), operator.raw_operator
    x = graph.inputs()
    graph.give(x if step.func is None else _elementwise(graph, x, known_function(step, step.func, step.kw_args)))


def known_function(step: Any, function: Any, arguments: Any = None) -> _Steps:
    """The operators of a function, or UnsupportedStepError."""
    known = FUNCTIONS.get(function) if isinstance(function, np.ufunc) and not arguments else None
    if known is None:
        names = ", ".join(f"np.{f.__name__}" for f in FUNCTIONS)
        raise UnsupportedStepError(
            step,
            f"The function {getattr(function, '__name__', function)!r} is Python code, and ONNX holds none.",
            f"Use one of {names}, or compute the column before the model.",
        )
    return known


def _elementwise(graph: Graph, x: str, steps: _Steps) -> str:
    x = graph.doubled(x)
    for op, operand in steps:
        x = graph.node(op, x) if operand is None else graph.node(op, x, graph.constant(np.float64(operand)))
    return graph.rounded(x)


def convert_inverse_target(scope: Any, operator: Any, container: Any) -> None:
    """Take a prediction back to the target's own scale."""
    graph, behind = Graph(scope, operator, container), operator.raw_operator
    step, x = behind.transformer, graph.inputs()
    if type(step) is FunctionTransformer:
        if step.inverse_func is not None:
            x = _elementwise(graph, x, known_function(behind, step.inverse_func, step.inv_kw_args))
    elif type(step) in (StandardScaler, MinMaxScaler):
        x = _unscaled(graph, x, step)
    else:
        raise UnsupportedStepError(
            behind,
            f"The inverse of a target's {type(step).__name__} has no ONNX form here.",
            "Use func= and inverse_func= with NumPy functions, StandardScaler or MinMaxScaler.",
        )
    graph.give(x)


def _unscaled(graph: Graph, x: str, scaler: Any) -> str:
    x = graph.doubled(x)
    if type(scaler) is MinMaxScaler:
        x = graph.node("Sub", x, graph.constant(scaler.min_.astype(np.float64)))
        x = graph.node("Div", x, graph.constant(scaler.scale_.astype(np.float64)))
    else:
        if scaler.with_std:
            x = graph.node("Mul", x, graph.constant(scaler.scale_.astype(np.float64)))
        if scaler.with_mean:
            x = graph.node("Add", x, graph.constant(scaler.mean_.astype(np.float64)))
    return graph.rounded(x)


# --- imputing -------------------------------------------------------------------------------
def imputer_shape(operator: Any) -> None:
    """Shape: columns with a statistic, then one for each indicator."""
    imputer = operator.raw_operator
    width = len(_kept(imputer)) + (len(imputer.indicator_.features_) if imputer.add_indicator else 0)
    text = isinstance(operator.inputs[0].type, StringTensorType)
    operator.outputs[0].type = (StringTensorType if text else FloatTensorType)([rows_of(operator), width])


def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """Missing values replaced by the statistics; indicator columns after them."""
    graph, imputer = Graph(scope, operator, container), operator.raw_operator
    text = isinstance(operator.inputs[0].type, StringTensorType)
    x = graph.inputs() if text else graph.doubled(graph.inputs())
    missing = _missing(graph, x, imputer.missing_values, text=text)
    kept = _kept(imputer)
    parts = []
    if kept:
        wanted = [imputer.statistics_[i] for i in kept]
        fill = graph.constant(np.array([wanted], dtype=object if text else np.float64))
        chosen_x, chosen_missing = (columns(graph, v, kept, len(imputer.statistics_)) for v in (x, missing))
        parts.append(graph.node("Where", chosen_missing, fill, chosen_x))
    if imputer.add_indicator and len(imputer.indicator_.features_):
        if text:
            raise UnsupportedStepError(
                imputer, "add_indicator=True would mix text and numbers in one array.", "Leave it out for text columns."
            )
        flagged = columns(graph, missing, list(imputer.indicator_.features_), len(imputer.statistics_))
        parts.append(graph.doubled(flagged))
    whole = graph.joined(parts)
    graph.give(whole if text else graph.rounded(whole))


def _kept(imputer: Any) -> list[int]:
    """The columns that stay: an all-missing one is dropped by scikit-learn unless asked for."""
    every = range(len(imputer.statistics_))
    return [i for i in every if imputer.keep_empty_features or not is_missing(imputer.statistics_[i])]


def _missing(graph: Graph, x: str, sentinel: Any, *, text: bool) -> str:
    if text:
        marker = NULL_TEXT if is_missing(sentinel) else str(sentinel)
        return graph.node("Equal", x, graph.constant(np.array([marker], dtype=object)))
    if is_missing(sentinel):
        return graph.node("IsNaN", x)
    # The column comes as float32, so that is how its sentinel looks here.
    return graph.node("Equal", x, graph.constant(np.array([np.float32(sentinel)], dtype=np.float64)))


CONVERTERS: dict[type, tuple[Callable[[Any], None], Callable[[Any, Any, Any], None]]] = {
    StandardScaler: (same_shape, convert_standard_scaler),
    MinMaxScaler: (same_shape, convert_min_max_scaler),
    FunctionTransformer: (function_shape, convert_function),
    InverseTarget: (same_shape, convert_inverse_target),
    SimpleImputer: (imputer_shape, convert_imputer),
    OneHotEncoder: (one_hot_shape, convert_one_hot),
    **ENCODER_CONVERTERS,
    **FEATURE_CONVERTERS,
    **TEXT_CONVERTERS,
}
"""Class → (shape calculator, converter), in the place of skl2onnx's own."""
