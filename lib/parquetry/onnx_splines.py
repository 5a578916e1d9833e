"""SplineTransformer as an ONNX graph: each interval between knots is a polynomial, in double precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.interpolate import PPoly
from skl2onnx.common.data_types import FloatTensorType

from parquetry.onnx_graph import Graph, UnsupportedStepError, columns, rows_of
from parquetry.through import nameless


@dataclass(frozen=True)
class _Pieces:
    """One column's polynomials.

    Attributes
    ----------
    starts : ndarray of shape (n_pieces,)
        Where each begins; the first holds for all that is smaller, too.
    origins : ndarray of shape (n_pieces,)
        From where its variable is counted.
    powers : ndarray of shape (degree + 1, n_pieces, n_splines)
        Coefficients, the constant first.
    """

    starts: Any
    origins: Any
    powers: Any


def splines_shape(operator: Any) -> None:
    """Shape: a column for each spline."""
    operator.outputs[0].type = FloatTensorType([rows_of(operator), int(operator.raw_operator.n_features_out_)])


def convert_splines(scope: Any, operator: Any, container: Any) -> None:
    """The value of every spline, with its extrapolation. ONNX is dense."""
    graph, step = Graph(scope, operator, container), operator.raw_operator
    if step.extrapolation == "error":
        raise UnsupportedStepError(
            step, "A graph cannot refuse a value beyond the knots.", "Use another extrapolation than 'error'."
        )
    if step.extrapolation == "linear" and step.degree <= 1:
        raise UnsupportedStepError(
            step,
            "Of splines of degree 0 or 1, scikit-learn continues each column from another knot.",
            "Use degree=2 or more, or another extrapolation than 'linear'.",
        )
    x = graph.doubled(graph.inputs())
    width = len(step.bsplines_)
    parts = [_column(graph, columns(graph, x, [j], width), step, j) for j in range(width)]
    graph.give(graph.rounded(graph.joined(parts)))


def _column(graph: Graph, x: str, step: Any, j: int) -> str:
    spline = step.bsplines_[j]
    low, high = spline.t[spline.k], spline.t[-spline.k - 1]
    known = graph.node("Where", graph.node("IsNaN", x), graph.constant(np.float64(low)), x)
    values = _constant(graph, known, step, j) if low == high else _varying(graph, known, step, spline)
    if step.handle_missing == "zeros":
        there = graph.doubled(graph.node("Not", graph.node("IsNaN", x)))
        values = graph.node("Mul", values, there)
    return values


def _constant(graph: Graph, x: str, step: Any, j: int) -> str:
    """A column that was constant: what scikit-learn makes of the value itself, and of what is below and above it."""
    low = step.bsplines_[j].t[step.degree]
    rows = np.tile([s.t[step.degree] for s in step.bsplines_], (5, 1))
    rows[:, j] += np.arange(-2.0, 3.0)
    whole = nameless(step).transform(rows)
    whole = whole.toarray() if step.sparse_output else whole
    per = whole.shape[1] // len(step.bsplines_)
    below, under, at, above, over = whole[:, j * per : (j + 1) * per]
    if not (np.array_equal(below, under) and np.array_equal(above, over)):
        raise UnsupportedStepError(
            step, f"Column {j} was constant, and is continued by lines from it.", "Leave it out."
        )
    edge = graph.constant(np.float64(low))
    value = graph.node("Where", graph.node("Greater", x, edge), graph.constant(above), graph.constant(at))
    return graph.node("Where", graph.node("Less", x, edge), graph.constant(under), value)


def _varying(graph: Graph, inside: str, step: Any, spline: Any) -> str:
    low, high = spline.t[spline.k], spline.t[-spline.k - 1]
    if step.extrapolation == "constant":
        inside = graph.node("Max", inside, graph.constant(np.float64(low)))
        inside = graph.node("Min", inside, graph.constant(np.float64(high)))
    if step.extrapolation == "periodic":
        period = graph.constant(np.float64(high - low))
        past = graph.node("Sub", inside, graph.constant(np.float64(low)))
        turns = graph.node("Floor", graph.node("Div", past, period))
        inside = graph.node("Sub", inside, graph.node("Mul", turns, period))
    values = _evaluated(graph, inside, _pieces(step, spline))
    if not step.include_bias:
        number = spline.c.shape[1]
        values = columns(graph, values, range(number - 1), number)
    return values


def _evaluated(graph: Graph, x: str, pieces: _Pieces) -> str:
    """The polynomials of the piece that each row lies in, shape ``(n_rows, n_splines)``."""
    # A row has passed the start of its own piece and of none beyond it.
    passed = graph.doubled(graph.node("GreaterOrEqual", x, graph.constant(np.r_[-np.inf, pieces.starts[1:]])))
    steps = np.eye(len(pieces.starts)) - np.eye(len(pieces.starts), k=-1)
    piece = graph.node("MatMul", passed, graph.constant(steps))
    local = graph.node("Sub", x, graph.node("MatMul", piece, graph.constant(pieces.origins[:, None])))
    value = graph.node("MatMul", piece, graph.constant(pieces.powers[-1]))
    for coefficients in pieces.powers[-2::-1]:  # Horner
        own = graph.node("MatMul", piece, graph.constant(coefficients))
        value = graph.node("Add", graph.node("Mul", value, local), own)
    return value


def _pieces(step: Any, spline: Any) -> _Pieces:
    """The splines between the base knots, and the lines that continue them where that is asked for."""
    k = spline.k
    chosen = slice(k, len(spline.t) - k - 1)
    starts = spline.t[chosen]
    each = [PPoly.from_spline((spline.t, np.ascontiguousarray(c), k)).c[::-1, chosen] for c in spline.c.T]
    powers = np.stack(each, axis=2)
    kept = np.diff(spline.t)[chosen] > 0
    if kept.any():
        starts, powers = starts[kept], powers[:, kept]
    if step.extrapolation != "linear":
        return _Pieces(starts, starts, powers)
    low, high = spline.t[k], spline.t[-k - 1]
    lines = np.zeros((max(2, k + 1), len(starts) + 2, powers.shape[2]))
    lines[: k + 1, 1:-1] = powers
    for place, end in ((0, low), (-1, high)):
        lines[0, place] = spline(end)
        lines[1, place] = spline(end, nu=1) if k else 0.0
    # The line beyond the last knot begins just after it: on the knot both are the same.
    return _Pieces(np.r_[-np.inf, starts, high], np.r_[low, starts, high], lines)
