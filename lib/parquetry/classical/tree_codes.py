"""What trees read, pass after pass: every value as the code of its bin, one byte each, from the block cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.block_cache import Arrays
from parquetry.classical.tree_bins import Bins
from parquetry.view import Batch, Columns, FloatArray

Float32Array = npt.NDArray[np.float32]
CodeArray = npt.NDArray[np.uint8]

CHUNK_ROWS = 2**18
"""Rows that are sorted by their nodes together; their codes stay in a cache."""

_ENCODED_AT_ONCE = 16_384
_COMPARED = 8  # up to so many edges are compared one by one
_MOST_CELLS = 2**16


@dataclass(frozen=True, eq=False)
class TreeArrays:
    """What the block cache keeps for trees: codes, target and weights.

    ``codes0``, ``codes1`` … are uint8 of shape ``(n_rows, n_features)`` for up to 262,144 rows
    each, a row's codes together; ``y`` is ``(n_outputs, n_rows)``: class codes, or the target less
    ``shift`` over ``scale``; ``w`` the weights, where there are any.

    Parameters
    ----------
    bins : Bins
    most_classes : int
        Of any target column; 0 for regression.
    shift : ndarray of shape (n_outputs, 1) or None
    scale : float, default 1.0
    """

    bins: Bins
    most_classes: int
    shift: FloatArray | None = None
    scale: float = 1.0

    def __call__(self, batch: Batch) -> Arrays:
        rows = batch.num_rows
        parts = -(-rows // CHUNK_ROWS)
        edges = [rows * i // parts for i in range(parts + 1)]
        arrays: Arrays = {}
        encoders = [encoder(floor32(e)) for e in self.bins.edges]
        for i, (start, stop) in enumerate(pairwise(edges)):
            arrays[f"codes{i}"] = self._codes(batch, encoders, start, stop)
        y = np.stack(batch.y_floats)
        if self.shift is None:
            arrays["y"] = y.astype(np.uint8 if self.most_classes <= 256 else np.uint32)
        else:
            arrays["y"] = (y - self.shift) / self.scale
        if batch.weights is not None:
            arrays["w"] = batch.weights
        return arrays

    def _codes(self, batch: Batch, encoders: list[Encoder], start: int, stop: int) -> CodeArray:
        codes = np.empty((stop - start, self.bins.n_features), dtype=np.uint8)
        if isinstance(batch.X, Columns) or not hasattr(batch.matrix, "tocsc"):
            for i, values in enumerate(batch.floats):
                self._encode(values[start:stop], encoders[i], codes[:, i])
            return codes
        matrix = batch.matrix.tocsr()[start:stop].tocsc()
        for i, encode in enumerate(encoders):
            here = slice(matrix.indptr[i], matrix.indptr[i + 1])
            codes[:, i] = encode(np.zeros(1, dtype=np.float32))
            found = np.empty(here.stop - here.start, dtype=np.uint8)
            self._encode(matrix.data[here], encode, found)
            codes[matrix.indices[here], i] = found
        return codes

    def _encode(self, values: Any, encode: Encoder, out: CodeArray) -> None:
        for start in range(0, len(values), _ENCODED_AT_ONCE):
            part = values[start : start + _ENCODED_AT_ONCE].astype(np.float32)
            missing = np.isnan(part)
            if missing.any():
                part[missing] = 0.0
                out[start : start + len(part)] = encode(part)
                out[start : start + len(part)][missing] = self.bins.missing_code
            else:
                out[start : start + len(part)] = encode(part)


def chunks(arrays: Arrays) -> Iterator[CodeArray]:
    """The codes of a batch, chunk by chunk."""
    i = 0
    while f"codes{i}" in arrays:
        yield arrays[f"codes{i}"]
        i += 1


def floor32(edges: FloatArray) -> Float32Array:
    """The largest float32 that is not above each edge: a float32 compares with both alike."""
    rounded = edges.astype(np.float32)
    above = rounded.astype(np.float64) > edges
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


class Encoder:
    """How many edges are below a value: by searching."""

    def __init__(self, edges: Float32Array) -> None:
        self.edges = edges

    def __call__(self, values: Float32Array) -> CodeArray:
        return np.searchsorted(self.edges, values).astype(np.uint8)


class ComparingEncoder(Encoder):
    """The same for a few edges, by comparing."""

    def __call__(self, values: Float32Array) -> CodeArray:
        codes = np.zeros(len(values), dtype=np.uint8)
        for edge in self.edges:
            codes += values > edge
        return codes


class CellEncoder(Encoder):
    """The same by equal cells with at most one edge each: 30 times faster than searching."""

    def __init__(self, edges: Float32Array, cells: int) -> None:
        super().__init__(edges)
        self.low = edges[0]
        self.cells = cells
        self.scale = np.float32(cells) / (edges[-1] - edges[0])
        self.cell_of_edge = self._cells(edges)
        self.below = np.searchsorted(self.cell_of_edge, np.arange(cells + 2)).astype(np.uint8)
        self.edge_in = np.full(cells + 2, np.inf, dtype=np.float32)
        self.edge_in[self.cell_of_edge] = edges

    @property
    def sound(self) -> bool:
        """Whether no cell has two edges."""
        return bool((np.diff(self.cell_of_edge) > 0).all())

    def __call__(self, values: Float32Array) -> CodeArray:
        cells = self._cells(values)
        codes = self.below.take(cells)
        codes += values > self.edge_in.take(cells)
        return codes

    def _cells(self, values: Float32Array) -> npt.NDArray[np.intp]:
        # Subtracting, multiplying and cutting off keep the order, so cells rise with values.
        with np.errstate(over="ignore"):
            scaled = values - self.low
            scaled *= self.scale
        np.clip(scaled, 0, self.cells + 1, out=scaled)
        cells: npt.NDArray[np.intp] = scaled.astype(np.intp)
        return cells


def encoder(edges: Float32Array) -> Encoder:
    """The fastest encoder for these edges."""
    if len(edges) <= _COMPARED:
        return ComparingEncoder(edges)
    with np.errstate(over="ignore"):
        span, gap = float(edges[-1] - edges[0]), float(np.diff(edges).min())
    cells = 1024
    while np.isfinite(span) and gap * _MOST_CELLS >= span and cells <= _MOST_CELLS:
        found = CellEncoder(edges, cells)
        if found.sound:
            return found
        cells *= 4
    return Encoder(edges)
