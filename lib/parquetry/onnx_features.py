"""Converters for features made of order and power: robust scaling, quantiles, powers, bins and splines.

All in double precision, as in ``onnx_converters``: a column's center can be far larger than its spread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import (
    KBinsDiscretizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
)

from parquetry.onnx_graph import Graph, UnsupportedStepError, columns, rows_of, same_shape
from parquetry.onnx_splines import convert_splines, splines_shape


def convert_robust_scaler(scope: Any, operator: Any, container: Any) -> None:
    """``(x - center) / scale``."""
    graph, scaler = Graph(scope, operator, container), operator.raw_operator
    x = graph.doubled(graph.inputs())
    if scaler.with_centering:
        x = graph.node("Sub", x, graph.constant(scaler.center_.astype(np.float64)))
    if scaler.with_scaling:
        x = graph.node("Div", x, graph.constant(scaler.scale_.astype(np.float64)))
    graph.give(graph.rounded(x))


# --- powers ---------------------------------------------------------------------------------
def convert_power_transformer(scope: Any, operator: Any, container: Any) -> None:
    """Box-Cox or Yeo-Johnson by each column's lambda, then the scaler."""
    graph, power = Graph(scope, operator, container), operator.raw_operator
    x = graph.doubled(graph.inputs())
    lambdas = power.lambdas_.astype(np.float64)
    if power.method == "box-cox":
        x = _grown(graph, graph.node("Log", x), lambdas)
    else:
        logs = graph.node("Log", graph.node("Add", graph.node("Abs", x), graph.constant(np.float64(1.0))))
        below = graph.node("Neg", _grown(graph, logs, 2.0 - lambdas))
        positive = graph.node("GreaterOrEqual", x, graph.constant(np.float64(0.0)))
        x = graph.node("Where", positive, _grown(graph, logs, lambdas), below)
    if power.standardize:
        x = graph.node("Sub", x, graph.constant(power._scaler.mean_))
        x = graph.node("Div", x, graph.constant(power._scaler.scale_))
    graph.give(graph.rounded(x))


def _grown(graph: Graph, logs: str, rates: Any) -> str:
    """``expm1(rate * log) / rate``, and the logarithm itself at a rate of 0."""
    flat = np.abs(rates) < np.finfo(np.float64).eps
    safe = np.where(flat, 1.0, rates)
    curve = graph.node("Exp", graph.node("Mul", logs, graph.constant(safe)))
    curve = graph.node("Div", graph.node("Sub", curve, graph.constant(np.float64(1.0))), graph.constant(safe))
    if not flat.any():
        return curve
    mask = graph.node("Greater", graph.constant(flat.astype(np.float64)), graph.constant(np.float64(0.5)))
    return graph.node("Where", mask, logs, curve)


# --- quantiles ------------------------------------------------------------------------------
def convert_quantile_transformer(scope: Any, operator: Any, container: Any) -> None:
    """Between quantiles a line, at repeated ones a step whose middle is taken on the value itself."""
    graph, transformer = Graph(scope, operator, container), operator.raw_operator
    if transformer.output_distribution == "normal":
        raise UnsupportedStepError(
            transformer,
            "ONNX has no inverse of the normal distribution.",
            "Use output_distribution='uniform', or PowerTransformer.",
        )
    x = graph.doubled(graph.inputs())
    width = transformer.quantiles_.shape[1]
    parts = [
        _rank(graph, columns(graph, x, [j], width), transformer.quantiles_[:, j], transformer.references_)
        for j in range(width)
    ]
    graph.give(graph.rounded(graph.joined(parts)))


def _rank(graph: Graph, x: str, quantiles: Any, references: Any) -> str:
    """The rank of one column's values, shape ``(n_rows, 1)``."""
    known = quantiles.astype(np.float64)
    if np.isnan(known).any():
        return graph.node("Mul", x, graph.constant(np.float64(np.nan)))
    gaps, rises = np.diff(known), np.diff(references)
    lines, steps = gaps > 0, gaps == 0
    parts = []
    if lines.any():
        inside = graph.node("Sub", x, graph.constant(known[:-1][lines]))
        inside = graph.node("Max", inside, graph.constant(np.float64(0.0)))
        inside = graph.node("Min", inside, graph.constant(gaps[lines]))
        parts.append(graph.node("MatMul", inside, graph.constant((rises / np.where(lines, gaps, 1.0))[lines][:, None])))
    if steps.any():
        at = graph.constant(known[:-1][steps])
        half = graph.constant((rises[steps] / 2)[:, None])
        reached = [graph.doubled(graph.node(compare, x, at)) for compare in ("GreaterOrEqual", "Greater")]
        parts += [graph.node("MatMul", mask, half) for mask in reached]
    rank = parts[0] if len(parts) == 1 else graph.node("Sum", *parts) if parts else graph.constant(np.zeros((1, 1)))
    one, zero = graph.constant(np.float64(1.0)), graph.constant(np.float64(0.0))
    # Where x is NaN, neither comparison holds, and the sum is not NaN everywhere: it is put back.
    rank = graph.node("Where", graph.node("GreaterOrEqual", x, graph.constant(known[-1:])), one, rank)
    rank = graph.node("Where", graph.node("Equal", x, graph.constant(known[:1])), zero, rank)
    return graph.node("Where", graph.node("IsNaN", x), x, rank)


# --- bins -----------------------------------------------------------------------------------
def bins_shape(operator: Any) -> None:
    """Shape: a column of codes each, or one for each bin."""
    bins = operator.raw_operator
    width = len(bins.n_bins_) if bins.encode == "ordinal" else int(bins.n_bins_.sum())
    operator.outputs[0].type = FloatTensorType([rows_of(operator), width])


def convert_bins(scope: Any, operator: Any, container: Any) -> None:
    """How many inner edges a value reaches; one-hot columns of it unless codes are wanted. ONNX is dense."""
    graph, bins = Graph(scope, operator, container), operator.raw_operator
    x = graph.doubled(graph.inputs())
    parts = []
    for j, edges in enumerate(bins.bin_edges_):
        own = columns(graph, x, [j], len(bins.bin_edges_))
        code = _reached(graph, own, edges[1:-1].astype(np.float64))
        if bins.encode != "ordinal":
            numbers = graph.constant(np.arange(bins.n_bins_[j], dtype=np.float64)[None, :])
            code = graph.doubled(graph.node("Equal", code, numbers))
        parts.append(code)
    graph.give(graph.rounded(graph.joined(parts)))


def _reached(graph: Graph, x: str, edges: Any) -> str:
    if not len(edges):
        return graph.node("Mul", x, graph.constant(np.float64(0.0)))
    reached = graph.doubled(graph.node("GreaterOrEqual", x, graph.constant(edges)))
    return graph.node("MatMul", reached, graph.constant(np.ones((len(edges), 1))))


CONVERTERS: dict[type, tuple[Callable[[Any], None], Callable[[Any, Any, Any], None]]] = {
    RobustScaler: (same_shape, convert_robust_scaler),
    PowerTransformer: (same_shape, convert_power_transformer),
    QuantileTransformer: (same_shape, convert_quantile_transformer),
    KBinsDiscretizer: (bins_shape, convert_bins),
    SplineTransformer: (splines_shape, convert_splines),
}
"""As in ``onnx_converters``."""
