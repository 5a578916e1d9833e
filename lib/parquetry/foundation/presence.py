"""Presence: what each column holds besides its missing values, in one pass over tiny state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.foundation.counts import columns_of, is_missing
from parquetry.foundation.positions import Position, earliest, position_of
from parquetry.reduction import Reduction
from parquetry.view import Batch

Mask = npt.NDArray[np.bool_]


@dataclass
class ColumnPresence:
    """What one column holds.

    Attributes
    ----------
    example : object
        The first value that is neither null nor NaN nor a marked one; ``None`` if there is none.
    marked : object
        The first value that equals the marker; ``None`` if there is none.
    null, nan : bool
        Whether there is a null (or None), or NaN.
    missing_at, infinite_at : Position or None
        The first null or NaN; the first infinity.
    """

    example: Any = None
    marked: Any = None
    null: bool = False
    nan: bool = False
    missing_at: Position | None = None
    infinite_at: Position | None = None


class Presence(Reduction[list[ColumnPresence], list[ColumnPresence]]):
    """Finds which columns of X have nulls, NaN, infinity, or a value that marks missing ones.

    Parameters
    ----------
    marker : object, default None
        A number or a string that stands for a missing value; None for none.
    """

    label = "presence"

    def __init__(self, marker: Any = None) -> None:
        self.marker = marker

    def partial(self, batch: Batch) -> list[ColumnPresence]:
        return [self._column(column, batch, i) for i, column in enumerate(columns_of(batch.X))]

    def merge(self, left: list[ColumnPresence], right: list[ColumnPresence]) -> list[ColumnPresence]:
        return [
            ColumnPresence(
                right.example if left.example is None else left.example,
                right.marked if left.marked is None else left.marked,
                left.null or right.null,
                left.nan or right.nan,
                earliest([left.missing_at, right.missing_at]),
                earliest([left.infinite_at, right.infinite_at]),
            )
            for left, right in zip(left, right, strict=True)
        ]

    def _column(self, column: Any, batch: Batch, position: int) -> ColumnPresence:
        null, nan, infinite, marked = _masks(column, self.marker)
        missing = null | nan
        return ColumnPresence(
            _first(column, ~(missing | marked)),
            _first(column, marked),
            bool(null.any()),
            bool(nan.any()),
            position_of(batch, missing, position, "a missing value"),
            position_of(batch, infinite, position, "infinity"),
        )


def _first(column: Any, mask: Mask) -> Any:
    """The first value where the mask is true, as a Python object, or None."""
    found = int(np.argmax(mask))
    if not mask[found]:
        return None
    value = column[found]
    return value.as_py() if isinstance(value, pa.Scalar) else value


def _masks(column: Any, marker: Any) -> tuple[Mask, Mask, Mask, Mask]:
    """Which rows of a column are null, NaN, infinite, and equal to the marker."""
    none = np.zeros(len(column), dtype=np.bool_)
    if isinstance(column, np.ndarray):
        objects = column.tolist()
        null = np.array([v is None for v in objects], dtype=np.bool_)
        nan = np.array([v is not None and is_missing(v) for v in objects], dtype=np.bool_)
        marked = none if marker is None else np.array([bool(v == marker) for v in objects], dtype=np.bool_)
        return null, nan, none, marked
    null = column.is_null().to_numpy(zero_copy_only=False) if column.null_count else none
    nan = infinite = none
    if pa.types.is_floating(column.type):
        values = column.fill_null(0.0).to_numpy(zero_copy_only=False)
        with np.errstate(all="ignore"):
            total = values.sum()
        if not np.isfinite(total):
            nan, infinite = np.isnan(values), np.isinf(values)
    return null, nan, infinite, none if marker is None else _equal(column, marker)


def _equal(column: pa.Array, marker: Any) -> Mask:
    """Equality as Python has it: between a number and a text it is false, and 1 equals True."""
    kind = column.type
    if pa.types.is_string(kind):
        if not isinstance(marker, str):
            return np.zeros(len(column), dtype=np.bool_)
        encoded = column.dictionary_encode()
        wanted = np.array([value == marker for value in encoded.dictionary.to_pylist()] + [False], dtype=np.bool_)
        places = encoded.indices.fill_null(len(encoded.dictionary)).to_numpy(zero_copy_only=False)
        return np.asarray(wanted[places])
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        if isinstance(marker, str):
            return np.zeros(len(column), dtype=np.bool_)
        values = column.fill_null(0).to_numpy(zero_copy_only=False)
        found: Mask = (values == marker) & ~_nulls(column)
        return found
    return np.array([bool(value == marker) for value in column.to_pylist()], dtype=np.bool_)


def _nulls(column: pa.Array) -> Mask:
    found: Mask = column.is_null().to_numpy(zero_copy_only=False)
    return found
