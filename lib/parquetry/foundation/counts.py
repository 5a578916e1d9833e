"""Counts: the distinct values of every column and how often each is there, in one bounded pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.errors import TooManyCategories
from parquetry.foundation.positions import Position, earliest, position_of
from parquetry.reduction import Reduction
from parquetry.view import Batch, Columns

LIMIT = 1_000_000
"""Most distinct values of a column, unless told otherwise."""


@dataclass
class ColumnCounts:
    """The distinct values of one column.

    Attributes
    ----------
    values : pyarrow.Array or list
        Distinct values without missing ones: sorted once finished. Arrow for what has one type,
        a list for a column of Python objects. -0.0 counts as 0.0.
    counts : ndarray of int64 (float64 if weighted)
        How many rows, or how much weight, each has.
    nulls, nans : int or float
        The same for null (or None), and for NaN.
    rows : int
        Rows seen.
    missing_at : Position or None
        The first null or NaN.
    overflow : bool
        Whether there were more distinct values than allowed; they are then forgotten.
    """

    values: Any
    counts: npt.NDArray[Any]
    nulls: Any
    nans: Any
    rows: int
    missing_at: Position | None = None
    overflow: bool = False

    def complete(self) -> tuple[Any, npt.NDArray[Any]]:
        """Values and counts with null, then NaN, put behind where the column has any."""
        extra = [(None, self.nulls)] * bool(self.nulls) + [(float("nan"), self.nans)] * bool(self.nans)
        counts = np.append(self.counts, np.array([n for _, n in extra], dtype=self.counts.dtype))
        missing = [value for value, _ in extra]
        if isinstance(self.values, list):
            return self.values + missing, counts
        return pa.concat_arrays([self.values, *(pa.array([m], self.values.type) for m in missing)]), counts


class Counts(Reduction[list[ColumnCounts], list[ColumnCounts]]):
    """Counts the distinct values of each column of X, or of the target.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    names : sequence of str
        The columns' names, for errors.
    target : bool, default False
        Count the target's columns in the place of X's.
    weighted : bool, default False
        Add up the rows' sample weights.
    limit : int, default 1_000_000
        Most distinct values of a column; above it ``TooManyCategories`` is raised.
    """

    label = "counts"

    def __init__(
        self, who: str, names: Sequence[str], *, target: bool = False, weighted: bool = False, limit: int = LIMIT
    ) -> None:
        self.who, self.names, self.target, self.weighted, self.limit = who, tuple(names), target, weighted, limit

    def partial(self, batch: Batch) -> list[ColumnCounts]:
        weights = batch.weights if self.weighted else None
        columns = target_columns(batch) if self.target else columns_of(batch.X)
        found = [_counted(column, weights, batch, i) for i, column in enumerate(columns)]
        return [_bounded(c, self.limit) for c in found]

    def merge(self, left: list[ColumnCounts], right: list[ColumnCounts]) -> list[ColumnCounts]:
        return [_bounded(_merged(a, b), self.limit) for a, b in zip(left, right, strict=True)]

    def finish(self, state: list[ColumnCounts]) -> list[ColumnCounts]:
        for name, column in zip(self.names, state, strict=True):
            if column.overflow:
                raise TooManyCategories(
                    f"{self.who}: column {name!r} has more than {self.limit:,} distinct values.",
                    why="Every distinct value is held in memory, and becomes a part of the model.",
                    fix="Leave the column out (it may be an identifier), or bin it first.",
                )
        return [_sorted(column) for column in state]


def columns_of(x: Any) -> list[Any]:
    """X's columns, whatever form it has: Arrow arrays for typed ones, else arrays of objects."""
    if isinstance(x, Columns):
        return [_plain(c) for c in x.table.columns]
    if hasattr(x, "iloc"):
        return [_typed(np.asarray(x.iloc[:, i])) for i in range(x.shape[1])]
    return [_typed(column) for column in np.asarray(x).T]


def target_columns(batch: Batch) -> list[Any]:
    """The target's columns in the same form."""
    if batch.view.target_step is None:
        return [_plain(batch.table.column(name)) for name in batch.view.target]
    y = np.asarray(batch.y)
    return [_typed(column) for column in (y.reshape(len(y), -1)).T]


def is_missing(value: Any) -> bool:
    """Whether a value is None or NaN."""
    return value is None or (isinstance(value, float | np.floating) and bool(np.isnan(value)))


def _plain(column: pa.ChunkedArray) -> pa.Array:
    """One array without dictionary; floats at least of 32 bits, with one zero."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type)
    if pa.types.is_float16(kind):
        column = column.cast(pa.float32())
    if pa.types.is_floating(column.type):
        # Adding zero turns -0.0 into 0.0 and leaves everything else.
        column = pc.add(column, pa.scalar(0.0, column.type))
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _typed(column: npt.NDArray[Any]) -> Any:
    if column.dtype.kind in "fiub":
        return _plain(pa.chunked_array([pa.array(np.ascontiguousarray(column))]))
    return column.astype(object)


def _counted(column: Any, weights: Any, batch: Batch, position: int) -> ColumnCounts:
    if isinstance(column, np.ndarray):
        return _counted_objects(column, weights, batch, position)
    encoded = column.dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False) + 1
    values = encoded.dictionary
    counts = np.bincount(codes, weights=weights, minlength=len(values) + 1)
    nulls, counts = counts[0], counts[1:]
    nan = np.zeros(len(values), dtype=bool)
    if pa.types.is_floating(values.type):
        nan = np.isnan(values.to_numpy(zero_copy_only=False))
    at = None
    if nan.any() or column.null_count:
        at = position_of(batch, (codes == 0) | np.append(False, nan)[codes], position, "a missing value")
    kept = values.filter(pa.array(~nan)) if nan.any() else values
    return ColumnCounts(kept, counts[~nan], nulls, counts[nan].sum(), len(column), at)


def _counted_objects(column: npt.NDArray[Any], weights: Any, batch: Batch, position: int) -> ColumnCounts:
    objects = column.tolist()
    tally: dict[Any, Any] = {}
    if weights is None:
        tally = Counter(objects)
    else:
        for value, weight in zip(objects, weights.tolist(), strict=True):
            tally[value] = tally.get(value, 0.0) + weight
    nulls = tally.pop(None, 0)
    # Two NaN are two keys: they are put together here.
    nans = sum(n for value, n in tally.items() if is_missing(value))
    kept = {value: n for value, n in tally.items() if not is_missing(value)}
    at = None
    if nulls or nans:
        at = position_of(batch, [is_missing(value) for value in objects], position, "a missing value")
    counts = np.array(list(kept.values()), dtype=np.int64 if weights is None else np.float64)
    return ColumnCounts(list(kept), counts, nulls, nans, len(objects), at)


def _merged(left: ColumnCounts, right: ColumnCounts) -> ColumnCounts:
    values, codes = _united(left.values, right.values)
    counts = np.zeros(len(values), dtype=left.counts.dtype)
    np.add.at(counts, codes, np.concatenate([left.counts, right.counts]))
    return ColumnCounts(
        values,
        counts,
        left.nulls + right.nulls,
        left.nans + right.nans,
        left.rows + right.rows,
        earliest([left.missing_at, right.missing_at]),
        left.overflow or right.overflow,
    )


def _united(left: Any, right: Any) -> tuple[Any, npt.NDArray[np.int64]]:
    """The distinct values of both, and where each of the two's values is among them."""
    if not isinstance(left, list) and not isinstance(right, list) and left.type == right.type:
        encoded = pa.concat_arrays([left, right]).dictionary_encode()
        return encoded.dictionary, encoded.indices.to_numpy(zero_copy_only=False)
    place: dict[Any, int] = {}
    both = [v for side in (left, right) for v in (side if isinstance(side, list) else side.to_pylist())]
    codes = np.array([place.setdefault(v, len(place)) for v in both], dtype=np.int64)
    return list(place), codes


def _bounded(column: ColumnCounts, limit: int) -> ColumnCounts:
    if not column.overflow and len(column.values) <= limit:
        return column
    # Each state that is too large becomes a mark, so the error is the same on every engine.
    empty = [] if isinstance(column.values, list) else column.values[:0]
    return replace(column, values=empty, counts=column.counts[:0], overflow=True)


def _sorted(column: ColumnCounts) -> ColumnCounts:
    order = _order(column.values)
    if isinstance(column.values, list):
        column.values = [column.values[i] for i in order]
    else:
        column.values = column.values.take(pa.array(order))
    column.counts = column.counts[order]
    return column


def _order(values: Any) -> npt.NDArray[np.int64]:
    if isinstance(values, list):
        places = range(len(values))
        try:
            found = sorted(places, key=values.__getitem__)
        except TypeError:
            # Values of several types cannot be compared: by type, then by text.
            found = sorted(places, key=lambda i: (str(type(values[i])), str(values[i])))
        return np.array(found, dtype=np.int64)
    order: npt.NDArray[np.int64] = pc.sort_indices(values).to_numpy().astype(np.int64)
    return order
