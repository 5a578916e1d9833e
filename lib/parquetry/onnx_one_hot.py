"""One-hot encoding as a graph: every parameter of the encoder comes down to one table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType

from parquetry.onnx_graph import Graph, UnsupportedStepError, columns, input_width, is_missing, rows_of
from parquetry.onnx_model import NULL_TEXT

FLOAT32_WHOLE = 2**24
"""Above it float32 no longer tells neighboring whole numbers apart."""


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
            x = columns(graph, variable.full_name, [j], int(variable.type.shape[1]))
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
    return graph.as_float(hit)


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
        zero = graph.node("Cast", graph.node("IsNaN", graph.as_float(x)), to=TensorProto.INT64)
        return graph.node(
            "Add", graph.node("Mul", zero, graph.constant(np.array([0]))), graph.constant(np.array([default]))
        )
    name = {StringTensorType: "keys_strings", Int64TensorType: "keys_int64s"}.get(type(kind), "keys_floats")
    attributes: dict[str, Any] = {name: list(table), "values_int64s": list(table.values()), "default_int64": default}
    return graph.node("LabelEncoder", x, domain="ai.onnx.ml", op_version=2, **attributes)
