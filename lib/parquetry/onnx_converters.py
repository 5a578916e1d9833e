"""Converters for the steps that skl2onnx leaves out, gets wrong, or rounds more than it must.

Each takes skl2onnx's ``(scope, operator, container)`` and adds nodes. Sums and quotients of raw
columns are computed in double precision: a column's mean can be far larger than its deviation,
and a float32 difference of two such numbers would be noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType
from sklearn.base import BaseEstimator
from sklearn.impute import SimpleImputer
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, OneHotEncoder, StandardScaler

NULL_TEXT = "<NA>"
"""What a null of a text column is fed as, since an ONNX string cannot be null."""

FLOAT32_WHOLE = 2**24
"""Above it float32 no longer tells neighboring whole numbers apart."""

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


class UnsupportedStepError(Exception):
    """A step has no ONNX form: which one, why, and what to do instead."""

    def __init__(self, estimator: Any, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.estimator, self.why, self.fix = estimator, why, fix


class InverseTarget(BaseEstimator):
    """Stands behind a regressor in the graph: the inverse of what its target went through."""

    def __init__(self, transformer: Any = None) -> None:
        self.transformer = transformer


class Graph:
    """A short way to say nodes and constants to skl2onnx."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope, self.operator, self.container = scope, operator, container

    def node(self, op: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node and give its output's name."""
        output = str(self.scope.get_unique_variable_name(op.lower()))
        name = self.scope.get_unique_operator_name(op)
        self.container.add_node(op, list(inputs), [output], op_domain=domain, name=name, **attributes)
        return output

    def constant(self, values: Any) -> str:
        """Add a constant: float64, float32, int64 or text."""
        array = np.asarray(values)
        name = str(self.scope.get_unique_variable_name("constant"))
        kinds = {"float64": TensorProto.DOUBLE, "float32": TensorProto.FLOAT, "int64": TensorProto.INT64}
        kind = kinds.get(array.dtype.name, TensorProto.STRING)
        flat = array.ravel().tolist()
        stored = [str(v).encode() for v in flat] if kind == TensorProto.STRING else flat
        self.container.add_initializer(name, kind, list(array.shape), stored)
        return name

    def cast(self, name: str, kind: int) -> str:
        """Another element type."""
        return self.node("Cast", name, to=kind)

    def give(self, name: str) -> None:
        """Make a value the operator's output."""
        self.container.add_node(
            "Identity", [name], [self.operator.outputs[0].full_name], name=self.scope.get_unique_operator_name("Give")
        )

    def joined(self, parts: Sequence[str]) -> str:
        """Columns side by side."""
        return parts[0] if len(parts) == 1 else self.node("Concat", *parts, axis=1)

    def inputs(self) -> str:
        """All inputs side by side."""
        return self.joined([v.full_name for v in self.operator.inputs])


def input_width(operator: Any) -> int:
    """How many columns an operator gets."""
    return sum(int(v.type.shape[1]) for v in operator.inputs)


def rows_of(operator: Any) -> Any:
    """The first dimension, as skl2onnx writes it."""
    return operator.inputs[0].get_first_dimension()


# --- scaling --------------------------------------------------------------------------------
def same_shape(operator: Any) -> None:
    """Shape: as many float columns as came in."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), input_width(operator)])


def convert_standard_scaler(scope: Any, operator: Any, container: Any) -> None:
    """``(x - mean) / scale``."""
    graph, scaler = Graph(scope, operator, container), operator.raw_operator
    x = graph.cast(graph.inputs(), TensorProto.DOUBLE)
    if scaler.with_mean:
        x = graph.node("Sub", x, graph.constant(scaler.mean_.astype(np.float64)))
    if scaler.with_std:
        x = graph.node("Div", x, graph.constant(scaler.scale_.astype(np.float64)))
    graph.give(graph.cast(x, TensorProto.FLOAT))


def convert_min_max_scaler(scope: Any, operator: Any, container: Any) -> None:
    """``x * scale + min``, clipped where the scaler clips."""
    graph, scaler = Graph(scope, operator, container), operator.raw_operator
    x = graph.cast(graph.inputs(), TensorProto.DOUBLE)
    x = graph.node("Mul", x, graph.constant(scaler.scale_.astype(np.float64)))
    x = graph.node("Add", x, graph.constant(scaler.min_.astype(np.float64)))
    if scaler.clip:
        low, high = (graph.constant(np.float64(edge)) for edge in scaler.feature_range)
        x = graph.node("Clip", x, low, high)
    graph.give(graph.cast(x, TensorProto.FLOAT))


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
    x = graph.cast(x, TensorProto.DOUBLE)
    for op, operand in steps:
        x = graph.node(op, x) if operand is None else graph.node(op, x, graph.constant(np.float64(operand)))
    return graph.cast(x, TensorProto.FLOAT)


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
    x = graph.cast(x, TensorProto.DOUBLE)
    if type(scaler) is MinMaxScaler:
        x = graph.node("Sub", x, graph.constant(scaler.min_.astype(np.float64)))
        x = graph.node("Div", x, graph.constant(scaler.scale_.astype(np.float64)))
    else:
        if scaler.with_std:
            x = graph.node("Mul", x, graph.constant(scaler.scale_.astype(np.float64)))
        if scaler.with_mean:
            x = graph.node("Add", x, graph.constant(scaler.mean_.astype(np.float64)))
    return graph.cast(x, TensorProto.FLOAT)


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
    x = graph.inputs() if text else graph.cast(graph.inputs(), TensorProto.FLOAT)
    missing = _missing(graph, x, imputer.missing_values, text=text)
    kept = _kept(imputer)
    parts = []
    if kept:
        wanted = [imputer.statistics_[i] for i in kept]
        fill = graph.constant(np.array([wanted], dtype=object if text else np.float32))
        chosen_x, chosen_missing = (_columns(graph, v, kept, len(imputer.statistics_)) for v in (x, missing))
        parts.append(graph.node("Where", chosen_missing, fill, chosen_x))
    if imputer.add_indicator and len(imputer.indicator_.features_):
        if text:
            raise UnsupportedStepError(
                imputer, "add_indicator=True would mix text and numbers in one array.", "Leave it out for text columns."
            )
        flagged = _columns(graph, missing, list(imputer.indicator_.features_), len(imputer.statistics_))
        parts.append(graph.cast(flagged, TensorProto.FLOAT))
    graph.give(graph.joined(parts))


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
    return graph.node("Equal", x, graph.constant(np.array([sentinel], dtype=np.float32)))


def _columns(graph: Graph, x: str, chosen: Sequence[int], width: int) -> str:
    if list(chosen) == list(range(width)):
        return x
    return graph.node("Gather", x, graph.constant(np.array(chosen, dtype=np.int64)), axis=1)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)


# --- one-hot --------------------------------------------------------------------------------
def one_hot_shape(operator: Any) -> None:
    """Shape: all categories that keep a column."""
    encoder = operator.raw_operator
    width = sum(one_hot_codes(encoder, i)[2] for i in range(len(encoder.categories_)))
    operator.outputs[0].type = FloatTensorType([rows_of(operator), width])


def convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    """Category → number of its output column → row of the identity matrix.

    Dropped, infrequent, missing and unknown categories all come down to that number, so every
    parameter of the encoder is covered. With ``handle_unknown="error"`` an unknown category
    fails in the graph too.
    """
    graph, encoder = Graph(scope, operator, container), operator.raw_operator
    if input_width(operator) != len(encoder.categories_):
        raise UnsupportedStepError(encoder, f"It was fitted on {len(encoder.categories_)} columns, and gets others.")
    parts, feature = [], 0
    for variable in operator.inputs:
        for j in range(int(variable.type.shape[1])):
            x = _columns(graph, variable.full_name, [j], int(variable.type.shape[1]))
            encoded = _encoded(graph, x, variable.type, encoder, feature)
            parts.extend([] if encoded is None else [encoded])
            feature += 1
    graph.give(graph.joined(parts))


def one_hot_codes(encoder: Any, i: int) -> tuple[list[int], int | None, int]:
    """``(output column of each category, of an unknown one, width)``: -1 is none, None an error."""
    categories = list(encoder.categories_[i])
    grouped = getattr(encoder, "infrequent_categories_", None)
    rare = {_identity(c) for c in (grouped[i] if grouped is not None and grouped[i] is not None else ())}
    frequent = [c for c in categories if _identity(c) not in rare]
    position = {_identity(c): n for n, c in enumerate(frequent)}
    codes = [position.get(_identity(c), len(frequent)) for c in categories]
    width = len(frequent) + bool(rare)
    unknown = len(frequent) if rare and encoder.handle_unknown in ("infrequent_if_exist", "warn") else -1
    if encoder.drop_idx_ is not None and encoder.drop_idx_[i] is not None:
        gone = codes[encoder.drop_idx_[i]]
        *codes, unknown = [-1 if c == gone else c - (c > gone) for c in (*codes, unknown)]
        width -= 1
    return codes, None if encoder.handle_unknown == "error" else unknown, width


def _identity(category: Any) -> Any:
    # NaN is not equal to itself, and would be lost in a set.
    return ("nan",) if category is not None and is_missing(category) else category


def _encoded(graph: Graph, x: str, kind: Any, encoder: Any, i: int) -> str | None:
    codes, unknown, width = one_hot_codes(encoder, i)
    if width == 0:
        return None
    keys, missing = _keys(encoder, encoder.categories_[i], codes, kind)
    # Shifted by one, so that "no column" is 0 and an unknown that must fail lies past the table.
    default = width + 1 if unknown is None else unknown + 1
    shifted = {key: code + 1 for key, code in keys.items()}
    number = _looked_up(graph, x, kind, shifted, default)
    if missing is not None and isinstance(kind, FloatTensorType):
        number = graph.node("Where", graph.node("IsNaN", x), graph.constant(np.array([missing + 1])), number)
    if unknown is None:
        number = graph.node("Gather", graph.constant(np.arange(width + 1)), number, axis=0)
    hit = graph.node("Equal", number, graph.constant(np.arange(1, width + 1).reshape(1, -1)))
    return graph.cast(hit, TensorProto.FLOAT)


def _keys(encoder: Any, categories: Any, codes: list[int], kind: Any) -> tuple[dict[Any, int], int | None]:
    to_key = _to_key(kind)
    keys: dict[Any, int] = {}
    missing = None
    for category, code in zip(categories, codes, strict=True):
        if is_missing(category):
            missing = code
            continue
        try:
            key = to_key(category)
        except (TypeError, ValueError) as error:
            raise UnsupportedStepError(encoder, f"Category {category!r} does not fit its column's type.") from error
        if keys.setdefault(key, code) != code or key == NULL_TEXT:
            raise UnsupportedStepError(
                encoder,
                f"Category {category!r} cannot be told from another one in float32."
                if key != NULL_TEXT
                else f"A category is {NULL_TEXT!r}, which stands for null in the ONNX model.",
                "Store the column as text of another spelling, and fit again.",
            )
    if isinstance(kind, StringTensorType) and missing is not None:
        keys[NULL_TEXT] = missing
    return keys, missing


def _to_key(kind: Any) -> Callable[[Any], Any]:
    if isinstance(kind, StringTensorType):
        return str
    return int if isinstance(kind, Int64TensorType) else lambda c: float(np.float32(c))


def _looked_up(graph: Graph, x: str, kind: Any, table: dict[Any, int], default: int) -> str:
    if not table:
        # No category but the missing one: every other value is unknown.
        zero = graph.node("Cast", graph.node("IsNaN", graph.cast(x, TensorProto.FLOAT)), to=TensorProto.INT64)
        return graph.node("Add", graph.node("Mul", zero, graph.constant(np.array([0]))), graph.constant(np.array([default])))
    name = {StringTensorType: "keys_strings", Int64TensorType: "keys_int64s"}.get(type(kind), "keys_floats")
    attributes = {name: list(table), "values_int64s": list(table.values()), "default_int64": default}
    return graph.node("LabelEncoder", x, domain="ai.onnx.ml", op_version=2, **attributes)


CONVERTERS: dict[type, tuple[Callable[[Any], None], Callable[[Any, Any, Any], None]]] = {
    StandardScaler: (same_shape, convert_standard_scaler),
    MinMaxScaler: (same_shape, convert_min_max_scaler),
    FunctionTransformer: (function_shape, convert_function),
    InverseTarget: (same_shape, convert_inverse_target),
    SimpleImputer: (imputer_shape, convert_imputer),
    OneHotEncoder: (one_hot_shape, convert_one_hot),
}
"""Class → (shape calculator, converter), in the place of skl2onnx's own."""
