"""A short way to say nodes and constants to skl2onnx, shared by the converters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType

DOUBLED, ROUNDED = "Doubled", "Rounded"
"""How nodes that cast to float64 and back are named, so that a pair of them can be taken out."""


class UnsupportedStepError(Exception):
    """A step has no ONNX form: which one, why, and what to do instead."""

    def __init__(self, estimator: Any, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.estimator, self.why, self.fix = estimator, why, fix


class Graph:
    """A short way to say nodes and constants to skl2onnx."""

    def __init__(self, scope: Any, operator: Any, container: Any) -> None:
        self.scope, self.operator, self.container = scope, operator, container

    def node(self, op: str, *inputs: str, domain: str = "", named: str = "", **attributes: Any) -> str:
        """Add a node and give its output's name."""
        output = str(self.scope.get_unique_variable_name(op.lower()))
        name = self.scope.get_unique_operator_name(named or op)
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

    def as_float(self, name: str) -> str:
        """Whole numbers and booleans as float32."""
        return self.node("Cast", name, to=TensorProto.FLOAT)

    def doubled(self, name: str) -> str:
        """Numbers as float64."""
        return self.node("Cast", name, named=DOUBLED, to=TensorProto.DOUBLE)

    def rounded(self, name: str) -> str:
        """Float64 numbers as float32."""
        return self.node("Cast", name, named=ROUNDED, to=TensorProto.FLOAT)

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


def same_shape(operator: Any) -> None:
    """Shape: as many float columns as came in."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), input_width(operator)])


def columns(graph: Graph, x: str, chosen: Sequence[int], width: int) -> str:
    """Some columns of a value, by position."""
    if list(chosen) == list(range(width)):
        return x
    return graph.node("Gather", x, graph.constant(np.array(chosen, dtype=np.int64)), axis=1)


def is_missing(value: Any) -> bool:
    """Whether a value is None, NaN or pandas' NA."""
    if isinstance(value, float):
        return math.isnan(value)
    return value is None or type(value).__name__ in ("NAType", "NaTType")
