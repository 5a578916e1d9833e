"""Ordinal and target encoding, and selected columns, as graphs; skl2onnx's own forget missing categories."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.feature_selection import (
    RFE,
    RFECV,
    GenericUnivariateSelect,
    SelectFdr,
    SelectFpr,
    SelectFromModel,
    SelectFwe,
    SelectKBest,
    SelectPercentile,
)
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer, OrdinalEncoder

from parquetry.onnx_graph import Graph, UnsupportedStepError, columns, input_width, is_missing, rows_of
from parquetry.onnx_one_hot import _keys, _looked_up

_Table = tuple[Any, Any]
"""What each category becomes, shape ``(n_outputs, n_categories)``; and an unknown one, or None for an error."""


class Chosen(BaseEstimator):
    """Stands for the selection of an RFE in front of its own estimator.

    Parameters
    ----------
    indices : sequence of int
    """

    def __init__(self, indices: Sequence[int] = ()) -> None:
        self.indices = indices

    def fit(self, _x: Any, _y: Any = None) -> Chosen:
        """Nothing is learned."""
        return self

    def transform(self, x: Any) -> Any:
        """The chosen columns."""
        return np.asarray(x)[:, self.indices]

    def get_support(self, *, indices: bool = True) -> Any:
        """Their positions."""
        assert indices  # noqa: S101
        return np.asarray(self.indices)


class TargetCategories(OrdinalEncoder):
    """Stands for a TargetEncoder: skl2onnx would put its columns together, texts and numbers alike.

    Parameters
    ----------
    transformer : fitted TargetEncoder
    """

    def __init__(self, transformer: Any = None) -> None:
        self.transformer = transformer
        for name in ("categories_", "encodings_", "target_mean_", "target_type_", "classes_"):
            if transformer is not None:
                setattr(self, name, getattr(transformer, name))


# --- encoding -------------------------------------------------------------------------------
def encoded_shape(operator: Any) -> None:
    """Shape: a float column for each encoding."""
    encoder = operator.raw_operator
    width = len(getattr(encoder, "encodings_", encoder.categories_))
    operator.outputs[0].type = FloatTensorType([rows_of(operator), width])


def convert_ordinal(scope: Any, operator: Any, container: Any) -> None:
    """Category → its code; missing, infrequent and unknown ones as the encoder says."""
    _convert(Graph(scope, operator, container), operator, _ordinal_table)


def convert_target(scope: Any, operator: Any, container: Any) -> None:
    """Category → its encoding of all rows; an unknown one → the target's mean."""
    _convert(Graph(scope, operator, container), operator, _target_table)


def _ordinal_table(encoder: Any, i: int) -> _Table:
    values = np.arange(len(encoder.categories_[i]), dtype=np.float64)
    mapping = encoder._default_to_infrequent_mappings[i] if encoder._infrequent_enabled else None
    if mapping is not None:
        values[: len(mapping)] = mapping
    if i in encoder._missing_indices:
        values[encoder._missing_indices[i]] = encoder.encoded_missing_value
    unknown = None if encoder.handle_unknown == "error" else np.array([float(encoder.unknown_value)])
    return values[None, :], unknown


def _target_table(encoder: Any, i: int) -> _Table:
    several = len(encoder.classes_) if encoder.target_type_ == "multiclass" else 1
    return np.array(encoder.encodings_[i * several : (i + 1) * several]), np.atleast_1d(encoder.target_mean_)


def _convert(graph: Graph, operator: Any, table: Callable[[Any, int], _Table]) -> None:
    encoder = operator.raw_operator
    if input_width(operator) != len(encoder.categories_):
        raise UnsupportedStepError(encoder, f"It was fitted on {len(encoder.categories_)} columns, and gets others.")
    parts: list[str] = []
    for variable in operator.inputs:
        width = int(variable.type.shape[1])
        for j in range(width):
            i = len(parts)
            x = columns(graph, variable.full_name, [j], width)
            parts.append(_column(graph, x, variable.type, encoder, i, table(encoder, i)))
    graph.give(graph.joined(parts))


def _column(graph: Graph, x: str, kind: Any, encoder: Any, i: int, table: _Table) -> str:
    values, unknown = table
    categories = encoder.categories_[i]
    keys, missing = _keys(encoder, categories, list(range(len(categories))), kind)
    # An unknown category lies behind the others: where it must fail, past the end of the table.
    default = len(categories) if unknown is not None else len(categories) + 1
    number = _looked_up(graph, x, kind, keys, default)
    if missing is not None and isinstance(kind, FloatTensorType) and is_missing(categories[missing]):
        number = graph.node("Where", graph.node("IsNaN", x), graph.constant(np.array([missing])), number)
    rows = values if unknown is None else np.column_stack([values, unknown])
    return graph.joined([graph.node("Gather", graph.constant(row.astype(np.float32)), number, axis=0) for row in rows])


# --- selecting ------------------------------------------------------------------------------
def selected_shape(operator: Any) -> None:
    """Shape: as many float columns as were selected."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), len(_chosen(operator.raw_operator))])


def convert_selection(scope: Any, operator: Any, container: Any) -> None:
    """The selected columns."""
    graph = Graph(scope, operator, container)
    graph.give(columns(graph, graph.inputs(), _chosen(operator.raw_operator), input_width(operator)))


def _chosen(selector: Any) -> list[int]:
    chosen = [int(i) for i in selector.get_support(indices=True)]
    if not chosen:
        raise UnsupportedStepError(selector, "It has selected no column.", "Select at least one.")
    return chosen


def refused_labels(operator: Any) -> None:
    """Labels are no input of a model."""
    raise UnsupportedStepError(
        operator.raw_operator,
        "It encodes labels, and the inputs of an ONNX model are features.",
        "Save the model that was fitted on the labels: its graph gives them back. Or save with onnx='skip'.",
    )


def _nothing(_scope: Any, _operator: Any, _container: Any) -> None:
    """Never reached: the shape is refused first."""


_SELECTORS = (
    Chosen, GenericUnivariateSelect, RFE, RFECV, SelectFdr, SelectFpr, SelectFromModel, SelectFwe, SelectKBest,
    SelectPercentile,
)  # fmt: skip

CONVERTERS: dict[type, tuple[Callable[[Any], None], Callable[[Any, Any, Any], None]]] = {
    OrdinalEncoder: (encoded_shape, convert_ordinal),
    TargetCategories: (encoded_shape, convert_target),
    **dict.fromkeys((LabelBinarizer, LabelEncoder, MultiLabelBinarizer), (refused_labels, _nothing)),
    **dict.fromkeys(_SELECTORS, (selected_shape, convert_selection)),
}
"""Class → (shape calculator, converter), in the place of skl2onnx's own."""
