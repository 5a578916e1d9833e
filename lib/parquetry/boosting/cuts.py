"""Where a booster may cut each feature: found by one pass of ours, in place of XGBoost's own sketch.

XGBoost bins every feature before it grows trees. Its distributed search for the bins' edges takes
longer than all trees; ours is the sketch that our forests use, merged in the fixed tree. A feature
with no more distinct values than bins gets the very edges that XGBoost itself would choose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.block_cache import Arrays
from parquetry.classical.tree_bins import ColumnSketch, Float32Array, Sketch
from parquetry.foundation.counts import columns_of
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.reduction import Reduction

_POINTS_A_BIN = 8  # of the sketch: XGBoost's own factor


@dataclass(frozen=True, eq=False)
class Rows:
    """What boosting keeps of a batch: X in float32 with NaN for what is missing, ``y``, ``w``, and ``g``.

    Parameters
    ----------
    missing : float
        A value that stands for a missing one, beside NaN.
    categories : dict of int to pyarrow.Array
        The categories of those columns that hold some: X gets their positions.
    group : str or None
        The column of query ids.
    """

    missing: float
    categories: dict[int, pa.Array]
    group: str | None

    def __call__(self, batch: Any) -> Arrays:
        arrays = self._features(batch)
        if batch.view.target:
            arrays["y"] = np.stack(batch.y_floats)
        if batch.weights is not None:
            arrays["w"] = batch.weights
        if self.group is not None:
            arrays["g"] = batch.table.column(self.group).to_numpy()
        return arrays

    def _features(self, batch: Any) -> Arrays:
        if self.categories:
            x = np.empty((batch.num_rows, len(batch.view.features)), dtype=np.float32)
            for i, column in enumerate(columns_of(batch.X)):
                known = self.categories.get(i)
                if known is None:
                    x[:, i] = batch.X.select([i]).floats[0]
                    continue
                codes = pc.index_in(column.cast(known.type), value_set=known)
                x[:, i] = codes.cast(pa.float32()).to_numpy(zero_copy_only=False)
            return {"X": self._known(x)}
        matrix: Any = batch.matrix if batch.view.steps else None
        if matrix is not None and hasattr(matrix, "tocsr"):
            csr = matrix.tocsr()
            csr = csr if csr.has_sorted_indices else csr.sorted_indices()
            data = self._known(csr.data.astype(np.float32))
            shape = np.array(csr.shape, dtype=np.int64)
            return {"X.data": data, "X.indices": csr.indices, "X.indptr": csr.indptr, "X.shape": shape}
        with np.errstate(over="ignore"):
            if matrix is not None:
                return {"X": self._known(np.ascontiguousarray(matrix, dtype=np.float32))}
            x = np.empty((batch.num_rows, len(batch.view.features)), dtype=np.float32)
            for i, values in enumerate(batch.floats):
                x[:, i] = values
        return {"X": self._known(x)}

    def _known(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if not np.isnan(self.missing):
            values[values == np.float32(self.missing)] = np.nan
        return values


class Quantiles(Sketch):
    """The sketch over rows that :class:`Rows` has prepared; what a sparse X leaves out is missing, not zero."""

    def __init__(self, who: str, names: Sequence[str], bins: int) -> None:
        super().__init__(who, names, nan=True)
        self.points = max(self.points, _POINTS_A_BIN * bins)

    def partial(self, batch: Any) -> list[ColumnSketch]:
        x = batch.matrix
        if hasattr(x, "tocsc"):
            csc = x.tocsc()
            columns = [csc.data[a:z] for a, z in zip(csc.indptr, csc.indptr[1:], strict=False)]
            found = [self._column(batch, i, values, 0) for i, values in enumerate(columns)]
            for column, values in zip(found, columns, strict=True):
                column.missing += batch.num_rows - len(values)
            return found
        return [self._column(batch, i, x[:, i], 0) for i in range(x.shape[1])]


class Targets(Reduction[Any, Any]):
    """Refuses a target that is not finite, and looks whether it varies.

    Parameters
    ----------
    who : str
    names : sequence of str
        The target columns.
    """

    label = "target"

    def __init__(self, who: str, names: Sequence[str]) -> None:
        self.who, self.names = who, tuple(names)

    def partial(self, batch: Any) -> tuple[Position | None, list[tuple[float, float]]]:
        bad = first_non_finite(batch, batch.y_floats, nan=True)
        return bad, [(float(y.min()), float(y.max())) for y in batch.y_floats]

    def merge(self, left: Any, right: Any) -> Any:
        ranges = [(min(a, c), max(b, d)) for (a, b), (c, d) in zip(left[1], right[1], strict=True)]
        return earliest([left[0], right[0]]), ranges

    def finish(self, state: Any) -> list[tuple[float, float]]:
        if state[0] is not None:
            raise refusal(state[0], self.names, self.who)
        ranges: list[tuple[float, float]] = state[1]
        return ranges


def points(column: ColumnSketch, bins: int) -> Float32Array:
    """The values that make XGBoost cut a feature where we want, when it sees nothing but them.

    The first is the least value and the last the largest; between them XGBoost cuts at each.
    """
    values = column.values
    if len(values) <= bins + 1:
        return values
    ends = np.cumsum(column.counts)
    wanted = np.arange(1, bins) * (int(ends[-1]) / bins)
    inner = values[np.searchsorted(ends, wanted)]
    return np.unique(np.concatenate([values[:1], inner, values[-1:]]))
