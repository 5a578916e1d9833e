"""Missing values: dropped, filled, or marked. Null and NaN are missing alike.

Sources: pandas' ``fillna``, ``ffill``, ``dropna``; scikit-learn's ``SimpleImputer``.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from parquetry.errors import DegenerateColumn
from parquetry.fitting import Asking, Pass
from parquetry.foundation.cleaning.keyed import KeyedColumns, patched
from parquetry.foundation.cleaning.step import (
    ColumnStep,
    Context,
    Learned,
    Step,
    array_of,
    is_real,
    mask_of,
    missing_in,
    nulled,
    replaced,
    taken,
    values_view,
)
from parquetry.foundation.counts import Counts
from parquetry.foundation.moments import Moments
from parquetry.foundation.quantiles import exact_quantiles
from parquetry.reduction import Reduction
from parquetry.view import Batch

LIMIT = 100_000
"""Most distinct values of a column whose most frequent one is looked for."""


class MarkMissing(ColumnStep):
    """Values that stand for a missing one become null, as -200 or "?".

    Parameters
    ----------
    columns : list of str, default None
        None is every column that can hold one of the values.
    values : list
        Texts apply to columns of text, numbers to columns of numbers, dates (``1900-01-01``) to
        dates and timestamps.
    """

    kind: ClassVar[str] = "mark_missing"
    wanted: ClassVar[str] = "of the type of one of the values"
    values: tuple[str | float | int | dt.datetime | dt.date, ...] = Field(min_length=1)

    def fits(self, kind: pa.DataType) -> bool:
        return any(_scalar(value, kind) is not None for value in self.values)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.chosen(table.schema):
            column = context.column(table, name)
            known = [s for s in (_scalar(v, column.type) for v in self.values) if s is not None]
            mask = mask_of(pc.is_in(column, value_set=pa.array([s.as_py() for s in known], column.type)))
            context.changed(name, mask)
            table = replaced(table, name, nulled(column, mask))
        return table


class Missing(KeyedColumns):
    """Missing values (null and NaN) of some columns are filled, dropped with their row or column, or marked.

    Parameters
    ----------
    columns : list of str, default None
        None is every column that the way of filling fits.
    fill : {"constant", "mean", "median", "mode", "forward", "backward"}, default None
        The mean and the median of the values seen in training make a column of whole numbers
        one of floats. Of several most frequent values the smallest is the mode.
    value : any or dict by column, default None
        The constant.
    by, order : list, default ()
        For forward and backward: the last value before (or the first one after) within the rows
        of the same keys, in this order (``when``, or ``{column: when, descending: true}``). Rows of
        equal order stand as in the data, rows without an order before all others. Without keys all
        rows are one group, which one worker holds.
    limit : int, default None
        Of missing values one after another only so many are filled from the same value.
    missing_keys : {"fail", "keep", "equal"}, default "fail"
        A row without a key fails, stays as it is, or belongs to the group of missing keys.
    drop : {"rows", "columns"}, default None
    how : {"any", "all"}, default "any"
        Drop a row where any of the columns is missing, or all are.
    above : float, default 0.5
        Drop the columns of which a greater share was missing in training.
    indicator : bool, default False
        Add ``<column>_missing``: whether the value was missing before.
    """

    kind: ClassVar[str] = "missing"
    fill: Literal["constant", "mean", "median", "mode", "forward", "backward"] | None = None
    value: Any = None
    limit: int | None = Field(None, ge=1)
    drop: Literal["rows", "columns"] | None = None
    how: Literal["any", "all"] = "any"
    above: float = Field(0.5, ge=0, lt=1)
    indicator: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Missing:
        if (self.fill is None) == (self.drop is None) and not (self.indicator and self.fill is None):
            raise ValueError("name one of fill and drop, or indicator alone")
        if (self.fill == "constant") != (self.value is not None):
            raise ValueError("a value belongs to fill: constant, which needs one")
        if (self.by or self.order) and not self.keyed:
            raise ValueError("by and order belong to fill: forward or backward")
        if self.limit is not None and not self.keyed:
            raise ValueError("limit belongs to fill: forward or backward")
        if self.indicator and self.drop:
            raise ValueError("what is dropped needs no indicator")
        return self

    @property
    def wanted(self) -> str:  # type: ignore[override]
        """What a column should hold."""
        return "numbers that have a mean (cast it first)" if self.fill in ("mean", "median") else "a simple value"

    @property
    def learns(self) -> bool:
        return self.fill in ("mean", "median", "mode") or self.drop == "columns"

    @property
    def drops(self) -> bool:
        return self.drop == "rows"

    @property
    def keyed(self) -> bool:
        return self.fill in ("forward", "backward")

    @property
    def direction(self) -> Literal["forward", "backward"]:
        return "backward" if self.fill == "backward" else "forward"

    @property
    def most(self) -> int | None:
        return self.limit

    def fits(self, kind: pa.DataType) -> bool:
        if self.fill in ("mean", "median"):
            return is_real(kind)
        if self.fill == "constant" and not isinstance(self.value, dict):
            return _scalar(self.value, kind) is not None
        return not pa.types.is_nested(kind)

    def chosen(self, schema: pa.Schema) -> tuple[str, ...]:
        if self.columns is None and isinstance(self.value, dict):
            return tuple(str(name) for name in self.value)
        columns = super().chosen(schema)
        return columns if self.columns is not None else tuple(c for c in columns if c not in (*self.by, *self.ordered))

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from super().problems(schema)
        if self.indicator:
            yield from taken([f"{c}_missing" for c in self.chosen(schema)], schema)
        if self.fill == "constant":
            for name in self.chosen(schema):
                if isinstance(self.value, dict) and name not in self.value:
                    yield f"there is no value for column {name!r}"
                elif name in schema.names and _scalar(self._constant(name), schema.field(name).type) is None:
                    yield f"column {name!r} is {schema.field(name).type}: {self._constant(name)!r} is none"

    def remembered(self, schema: pa.Schema) -> Step:
        # Which columns to drop is learned; new data may lack those that stay, as a target.
        return self if self.drop == "columns" else self.settled(schema)

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        if self.drop is not None:
            return None if self.drop == "columns" else ()
        return self.chosen(schema)

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        return self.chosen(schema)

    def placeholder(self, schema: pa.Schema) -> Learned:
        if not self.learns:
            return {}
        return {"drop": []} if self.drop else dict.fromkeys(self.chosen(schema))

    def learn(self, schema: pa.Schema) -> Asking:
        names = self.chosen(schema)
        if not names:
            return self.placeholder(schema)
        view = values_view(names)
        if self.drop == "columns":
            ((rows, missing),) = yield [Pass(_MissingCounts(), view)]
            return {"drop": [n for n, count in zip(names, missing, strict=True) if count > self.above * rows]}
        found = yield from self._statistics(names)
        for name, value in zip(names, found, strict=True):
            if value is None or value != value:  # noqa: PLR0124 (only NaN differs from itself)
                raise DegenerateColumn(
                    f"Column {name!r} has no value to take the {self.fill} of: all are missing.",
                    fix="Fill it with a constant, or drop it.",
                )
        return dict(zip(names, found, strict=True))

    def _statistics(self, names: Sequence[str]) -> Generator[list[Any], list[Any], list[Any]]:
        view = values_view(names)
        if self.fill == "mean":
            (moments,) = yield [Pass(Moments("missing", names, squares=False, extremes=False), view)]
            return [float(m) for m in moments.mean_or_nan]
        if self.fill == "median":
            quantiles = yield from exact_quantiles(view)
            return [float(q[0]) for q in quantiles]
        (counted,) = yield [Pass(Counts("missing (fill: mode)", names, limit=LIMIT), view)]
        # Values come sorted, so the first of several most frequent ones is the smallest.
        return [plain(c.values[int(np.argmax(c.counts))].as_py()) if len(c.counts) else None for c in counted]

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        if self.drop == "columns":
            return table.drop_columns([n for n in context.learned["drop"] if n in table.column_names])
        names = self.chosen(table.schema)
        masks = [missing_in(context.column(table, name)) for name in names]
        if self.drop == "rows":
            if masks:
                context.keep = ~(np.logical_or if self.how == "any" else np.logical_and).reduce(masks)
            return table
        for place, (name, mask) in enumerate(zip(names, masks, strict=True)):
            if self.fill is not None:
                table = replaced(table, name, self._filled(place, name, context.column(table, name), mask, context))
            if self.indicator:
                table = table.append_column(f"{name}_missing", pa.array(mask))
        return table

    def _filled(self, place: int, name: str, column: pa.Array, mask: Any, context: Context) -> pa.Array:
        if self.keyed:
            filled = patched(nulled(column, mask), place, context)
            context.changed(name, mask & ~missing_in(filled))
            return filled
        context.changed(name, mask)
        value = self._constant(name) if self.fill == "constant" else context.learned[name]
        kind = column.type
        if self.fill in ("mean", "median") and pa.types.is_integer(kind):
            # Whole numbers have a mean that is none.
            kind, column = pa.float64(), column.cast(pa.float64(), safe=False)
        return pc.if_else(pa.array(mask), pa.scalar(None, kind) if value is None else _scalar(value, kind), column)

    def _constant(self, name: str) -> Any:
        return self.value.get(name) if isinstance(self.value, dict) else self.value


def plain(value: Any) -> Any:
    """A value as YAML can hold it."""
    return str(value) if isinstance(value, Decimal) else value


def _scalar(value: Any, kind: pa.DataType) -> Any:
    """A value in a column's type, or None where it has none there."""
    a_time_for_a_day = isinstance(value, dt.datetime) and pa.types.is_date(kind)
    if isinstance(value, bool) != bool(pa.types.is_boolean(kind)) or a_time_for_a_day:
        return None
    try:
        if pa.types.is_decimal(kind):
            return pa.scalar(str(value)).cast(kind)
        if pa.types.is_floating(kind) and isinstance(value, (int, float)):
            return pa.scalar(float(value), kind)
        found = pa.scalar(value, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None
    # Arrow would cut 1.5 to 1, and take a number for a date.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not (pa.types.is_integer(kind) and found.as_py() == value):
        return None
    return found


class _MissingCounts(Reduction[tuple[int, Any], tuple[int, Any]]):
    """Rows, and the missing values of each column."""

    label = "missing"

    def partial(self, batch: Batch) -> tuple[int, Any]:
        counts = [np.count_nonzero(missing_in(array_of(batch.table, n))) for n in batch.view.features]
        return batch.num_rows, np.array(counts, dtype=np.int64)

    def merge(self, left: tuple[int, Any], right: tuple[int, Any]) -> tuple[int, Any]:
        return left[0] + right[0], left[1] + right[1]
