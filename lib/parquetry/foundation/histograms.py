"""Histograms as Reductions: counts over fixed edges, one pass, the same on every engine.

Edges are fixed before the pass, from footer statistics (:func:`footer_edges`) or from a first
pass with :class:`Extent`. What a batch contributes is worked out by a picklable function of the
batch: :class:`Stored`, :class:`Target`, :class:`Prediction` or :class:`Residual`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, float_column

Values = Callable[[Batch], FloatArray]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Stored:
    """A numeric column as it is stored; missing values as NaN."""

    column: str

    def __call__(self, batch: Batch) -> FloatArray:
        return float_column(batch.table.column(self.column))


@dataclass(frozen=True)
class Target:
    """The view's only (or first) target."""

    def __call__(self, batch: Batch) -> FloatArray:
        return batch.y_floats[0]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a fitted model predicts."""

    model: Any

    def __call__(self, batch: Batch) -> FloatArray:
        from parquetry.through import apply

        # Reductions that share a view share its batch: the model need not predict twice.
        kept: dict[int, FloatArray] = batch.__dict__.setdefault("_predictions", {})
        if id(self.model) not in kept:
            kept[id(self.model)] = np.asarray(apply(self.model, "predict", batch.X), dtype=np.float64).ravel()
        return kept[id(self.model)]


@dataclass(frozen=True, eq=False)
class Residual:
    """Truth less prediction: positive where the model guessed too low."""

    model: Any

    def __call__(self, batch: Batch) -> FloatArray:
        return batch.y_floats[0] - Prediction(self.model)(batch)


@dataclass(frozen=True)
class Counted:
    """A histogram.

    Attributes
    ----------
    edges : array, shape (n_bins + 1,)
    counts : array of int, shape (n_bins,)
        Bins are closed on the left; the last one on both sides.
    under, over, missing : int
        Values below the first edge, above the last one, and NaN.
    """

    edges: FloatArray
    counts: Counts
    under: int
    over: int
    missing: int

    @property
    def total(self) -> int:
        """All values, with those outside the edges and the missing ones."""
        return int(self.counts.sum()) + self.under + self.over + self.missing


@dataclass(frozen=True)
class Counted2D:
    """A histogram of pairs: ``counts[i, j]`` is of x's bin ``i`` and y's bin ``j``.

    ``outside`` counts pairs with one of the two beyond its edges; ``missing`` those with a NaN.
    """

    x_edges: FloatArray
    y_edges: FloatArray
    counts: Counts
    outside: int
    missing: int

    @property
    def total(self) -> int:
        """All pairs."""
        return int(self.counts.sum()) + self.outside + self.missing


class Histogram(Reduction[Counts, Counted]):
    """Counts the values of a function of the rows over fixed edges.

    Parameters
    ----------
    values : callable
        From a batch to a float array of shape ``(n_rows,)``.
    edges : array-like, shape (n_bins + 1,)
        Strictly rising and finite.
    """

    label = "histogram"

    def __init__(self, values: Values, edges: npt.ArrayLike) -> None:
        self.values, self.edges = values, _checked(edges)

    def partial(self, batch: Batch) -> Counts:
        values = self.values(batch)
        bins = len(self.edges) - 1
        found = np.bincount(_positions(values, self.edges), minlength=bins + 3)
        return found.astype(np.int64)

    def merge(self, left: Counts, right: Counts) -> Counts:
        return left + right

    def finish(self, state: Counts) -> Counted:
        return Counted(self.edges, state[1:-2], int(state[0]), int(state[-2]), int(state[-1]))


class Histogram2D(Reduction[Counts, Counted2D]):
    """Counts pairs of values, as prediction against truth, over fixed edges.

    Parameters
    ----------
    x, y : callables
        From a batch to float arrays of shape ``(n_rows,)``.
    x_edges, y_edges : array-like
        Strictly rising and finite.
    """

    label = "histogram-2d"

    def __init__(self, x: Values, y: Values, x_edges: npt.ArrayLike, y_edges: npt.ArrayLike) -> None:
        self.x, self.y = x, y
        self.x_edges, self.y_edges = _checked(x_edges), _checked(y_edges)

    def partial(self, batch: Batch) -> Counts:
        wide, high = len(self.x_edges) + 2, len(self.y_edges) + 2
        i, j = _positions(self.x(batch), self.x_edges), _positions(self.y(batch), self.y_edges)
        return np.bincount(i * high + j, minlength=wide * high).reshape(wide, high).astype(np.int64)

    def merge(self, left: Counts, right: Counts) -> Counts:
        return left + right

    def finish(self, state: Counts) -> Counted2D:
        inside = state[1:-2, 1:-2]
        missing = int(state[-1].sum() + state[:-1, -1].sum())
        return Counted2D(self.x_edges, self.y_edges, inside, int(state.sum() - inside.sum()) - missing, missing)


class Extent(Reduction[tuple[float, float], tuple[float, float]]):
    """The least and the greatest finite value; ``(inf, -inf)`` where there is none."""

    label = "extent"

    def __init__(self, values: Values) -> None:
        self.values = values

    def partial(self, batch: Batch) -> tuple[float, float]:
        values = self.values(batch)
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if len(finite) else (float("inf"), float("-inf"))

    def merge(self, left: tuple[float, float], right: tuple[float, float]) -> tuple[float, float]:
        return min(left[0], right[0]), max(left[1], right[1])


def footer_edges(dataset: Dataset, column: str, *, bins: int = 50) -> FloatArray | None:
    """Pleasant edges over a numeric column's range from the footers; None where they do not tell."""
    stats = dataset.footer.stats.get(column)
    if stats is None or not stats.complete or stats.minimum is None:
        return None
    low, high = float(stats.minimum), float(stats.maximum)
    return pleasant_edges(low, high, bins=bins) if np.isfinite([low, high]).all() else None


def pleasant_edges(low: float, high: float, *, bins: int = 50) -> FloatArray:
    """About ``bins`` equal steps of 1, 2, 2.5 or 5 times a power of ten that cover ``[low, high]``."""
    if not low <= high or not np.isfinite([low, high]).all():
        raise BadParameter(f"There are no edges from {low} to {high}.", fix="Pass a finite range.")
    if high - low <= 1e-12 * max(abs(low), abs(high)):
        low, high = low - (abs(low) * 0.5 or 0.5), high + (abs(high) * 0.5 or 0.5)
    rough = (high - low) / bins
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * nice for nice in (1, 2, 2.5, 5, 10) if power * nice >= rough * (1 - 1e-9))
    first, last = np.floor(low / step), np.ceil(high / step)
    return np.asarray(np.arange(first, max(last, first + 1) + 1) * step, dtype=np.float64)


def _positions(values: FloatArray, edges: FloatArray) -> npt.NDArray[np.int64]:
    """0 below, 1 … n_bins inside, n_bins + 1 above, n_bins + 2 for NaN."""
    bins = len(edges) - 1
    found = np.searchsorted(edges, values, side="right")
    found[values == edges[-1]] = bins
    found[np.isnan(values)] = bins + 2
    return found.astype(np.int64)


def _checked(edges: npt.ArrayLike) -> FloatArray:
    checked = np.asarray(edges, dtype=np.float64)
    if checked.ndim != 1 or len(checked) < 2 or not np.isfinite(checked).all() or (np.diff(checked) <= 0).any():
        raise BadParameter("The edges of a histogram must be finite and rise strictly.", fix="Pass two or more.")
    return checked
