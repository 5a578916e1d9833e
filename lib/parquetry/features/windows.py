"""Lags, leads and rolling windows: what a key's earlier (or later) rows hold, beside each row.

Engine-free functions over rows of the same key; :mod:`parquetry.features.by_key` brings these together.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa

from parquetry.commit import common_schema
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, WrongColumnType
from parquetry.features.by_key import IntArray, Work, add_by_key, require_keys, require_number_columns
from parquetry.view import float_column

if TYPE_CHECKING:
    from parquetry.engine import Engine

Measure = Literal["count", "sum", "mean", "min", "max", "std"]
MEASURES: tuple[Measure, ...] = ("count", "sum", "mean", "min", "max", "std")


def lags(
    data: Dataset | str | os.PathLike[str],
    values: Sequence[str],
    *,
    by: Sequence[str],
    order: Sequence[str],
    periods: Sequence[int] = (1,),
    to: str | os.PathLike[str],
    engine: Engine | str | None = None,
    mode: str = "fail",
) -> Dataset:
    """Each row with what some columns held in earlier rows of the same key; leads where a period is below zero.

    Parameters
    ----------
    data : Dataset, path or URL
    values : sequence of str
    by : sequence of str
        The keys; a missing one is a key of its own.
    order : sequence of str
        Rows of equal order stand as in the data.
    periods : sequence of int, default (1,)
        1 is the row before, -1 the row after.
    to : path or URL
    engine : Engine or what ``open_engine`` takes, default None
    mode : {"fail", "append", "overwrite"}, default "fail"

    Returns
    -------
    Dataset
        All rows in their order, with ``<value>_lag<period>`` or ``<value>_lead<period>`` of the value's own type,
        null where there is no such row.

    Raises
    ------
    UnknownColumn, BadParameter, WrongColumnType, OutputExists
        Before any work.
    NonFiniteValues
        An order column holds a missing value: column and place.
    TooBigForOneNode
        The rows of a key do not fit one worker.
    """
    dataset = _opened(data)
    require_keys(dataset, by, order, values)
    if not periods or any(not isinstance(p, int) or p == 0 for p in periods):
        raise BadParameter(f"periods={list(periods)!r}.", fix="Pass some: 1 is the row before, -1 the row after.")
    work = _Lags(tuple(values), tuple(periods))
    return _added(dataset, values, by, order, work, to, engine, mode, "lags")


def rolling(
    data: Dataset | str | os.PathLike[str],
    values: Sequence[str],
    *,
    by: Sequence[str],
    order: Sequence[str],
    rows: int | None = None,
    span: timedelta | float | None = None,
    measures: Sequence[Measure] = ("mean",),
    current: bool = True,
    to: str | os.PathLike[str],
    engine: Engine | str | None = None,
    mode: str = "fail",
) -> Dataset:
    """Each row with measures of some columns over the last rows of the same key, or over a range of time.

    Each window is added up from its rows anew, so that a large value leaves no rounding behind; that
    takes time in proportion to a window's rows.

    Parameters
    ----------
    data : Dataset, path or URL
    values : sequence of str
        Columns of numbers; nulls and NaN are left out of every measure.
    by, order
        As for :func:`lags`.
    rows : int, default None
        The row itself and so many less one before it.
    span : timedelta or number, default None
        In the place of ``rows``: the rows whose (only) order column is later than this row's less the span, up to
        this row; a timedelta for dates and timestamps, a number for a column of numbers.
    measures : sequence of {"count", "sum", "mean", "min", "max", "std"}, default ("mean",)
        ``count`` is of values that are there; ``std`` divides by one less than that.
    current : bool, default True
        False leaves the row itself out: the ``rows`` rows before it, or the span without it.
    to, engine, mode
        As for :func:`lags`.

    Returns
    -------
    Dataset
        All rows in their order, with ``<value>_<measure>_<window>``, where the window is as
        ``last7`` (rows), ``7d`` or ``3600s`` (span), or the number. Float64, ``count`` int64; null
        where a window holds too few values.

    Raises
    ------
    As for :func:`lags`.
    """
    dataset = _opened(data)
    require_keys(dataset, by, order, values)
    require_number_columns(dataset, values, "rolling")
    unknown = [m for m in measures if m not in MEASURES]
    if unknown or not measures:
        raise BadParameter(f"measures={list(measures)!r}.", fix=f"Name some of {', '.join(MEASURES)}.")
    width = _checked_width(dataset, order, rows, span)
    looked_at = [*values] if rows is not None else list(dict.fromkeys((*values, order[0])))
    clock = None if rows is not None else order[0]
    work = _Rolling(tuple(values), tuple(measures), width, clock, current, _named(rows, span))
    return _added(dataset, looked_at, by, order, work, to, engine, mode, "rolling")


@dataclass(frozen=True)
class _Lags(Work):
    values: tuple[str, ...]
    periods: tuple[int, ...]

    def columns(self, schema: pa.Schema) -> list[pa.Field]:
        common = common_schema(schema)
        return [pa.field(_lagged(v, p), common.field(v).type) for v in self.values for p in self.periods]

    def __call__(self, table: pa.Table, starts: IntArray, ends: IntArray) -> dict[str, Any]:
        rows, made = np.arange(table.num_rows), {}
        for period in self.periods:
            source = rows - period
            outside = (source < starts) | (source >= ends)
            places = pa.array(np.where(outside, 0, source), mask=outside)
            for value in self.values:
                made[_lagged(value, period)] = table.column(value).take(places)
        return made


@dataclass(frozen=True)
class _Rolling(Work):
    values: tuple[str, ...]
    measures: tuple[str, ...]
    width: float
    clock: str | None
    current: bool
    window: str

    def columns(self, schema: pa.Schema) -> list[pa.Field]:
        kinds = [(m, pa.int64() if m == "count" else pa.float64()) for m in self.measures]
        return [pa.field(f"{v}_{m}_{self.window}", kind) for v in self.values for m, kind in kinds]

    def __call__(self, table: pa.Table, starts: IntArray, ends: IntArray) -> dict[str, Any]:
        rows = np.arange(table.num_rows)
        stops = rows + self.current
        if self.clock is None:
            first = np.maximum(starts, stops - int(self.width))
        else:
            first = _since(table.column(self.clock), self.width, starts)
        made = {}
        for value in self.values:
            found = window_measures(float_column(table.column(value)), first, stops)
            for measure in self.measures:
                made[f"{value}_{measure}_{self.window}"] = found[measure]
        return made


def window_measures(values: Any, starts: IntArray, ends: IntArray) -> dict[str, Any]:
    """All measures of ``values[starts[i]:ends[i]]`` for each row, as Arrow arrays; NaN is left out.

    Parameters
    ----------
    values : ndarray of float64
    starts, ends : ndarray of int64
    """
    from parquetry.features.window_kernels import windowed

    counts = np.zeros(len(starts), dtype=np.int64)
    sums, least, most, rests = (np.zeros(len(starts)) for _ in range(4))
    windowed(np.ascontiguousarray(values), starts, ends, counts, sums, least, most, rests)
    return measured(counts, sums, least, most, rests)


def measured(counts: IntArray, sums: Any, least: Any, most: Any, rests: Any, means: Any = None) -> dict[str, Any]:
    """Measures by name as Arrow arrays, null where there are too few values."""
    empty = counts == 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = sums / counts if means is None else means
        deviation = np.sqrt(rests / (counts - 1))
    return {
        "count": pa.array(counts),
        "sum": pa.array(sums, mask=empty),
        "mean": pa.array(mean, mask=empty),
        "min": pa.array(least, mask=empty),
        "max": pa.array(most, mask=empty),
        "std": pa.array(deviation, mask=counts < 2),
    }


def _since(clock: pa.ChunkedArray, width: float, starts: IntArray) -> IntArray:
    """For each row the first of its key's rows that is later than its own time less the width."""
    from parquetry.features.window_kernels import first_later

    times = np.ascontiguousarray(_ticks(clock))
    first = np.empty(len(times), dtype=np.int64)
    first_later(times, np.ascontiguousarray(starts), times.dtype.type(width), first)
    return first


def _ticks(clock: pa.ChunkedArray) -> Any:
    kind = clock.type
    if pa.types.is_date32(kind):
        return clock.cast(pa.int32()).cast(pa.int64()).to_numpy() * 86_400_000_000
    if pa.types.is_timestamp(kind):
        return clock.cast(pa.timestamp("us", tz=kind.tz), safe=False).cast(pa.int64()).to_numpy()
    return float_column(clock)


def _checked_width(data: Dataset, order: Sequence[str], rows: int | None, span: Any) -> float:
    if (rows is None) == (span is None):
        raise BadParameter("A window is of rows or of a span.", fix="Pass either rows= or span=.")
    if rows is not None:
        if not isinstance(rows, int) or rows < 1:
            raise BadParameter(f"rows={rows!r} is no number of rows.", fix="Pass 1 or more.")
        return rows
    if len(order) != 1:
        raise BadParameter(f"A span is of one order column, not of {len(order)}.", fix="Name one, or pass rows=.")
    kind = data.full_schema.field(order[0]).type
    timed = pa.types.is_date32(kind) or pa.types.is_timestamp(kind)
    if timed != isinstance(span, timedelta) or not (timed or pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise WrongColumnType(
            f"The order column {order[0]!r} is {kind}, and span={span!r}.",
            why="Dates and timestamps take a timedelta, numbers a number.",
            fix="Pass the other one, or rows=.",
        )
    width = span / timedelta(microseconds=1) if timed else float(span)
    if not width > 0:
        raise BadParameter(f"span={span!r} is not above zero.", fix="Pass a span of time.")
    return float(width)


def _named(rows: int | None, span: Any) -> str:
    if rows is not None:
        return f"last{rows}"
    if not isinstance(span, timedelta):
        return f"{span:g}"
    seconds = span.total_seconds()
    return f"{seconds / 86_400:g}d" if seconds % 86_400 == 0 else f"{seconds:g}s"


def _lagged(value: str, period: int) -> str:
    return f"{value}_lag{period}" if period > 0 else f"{value}_lead{-period}"


def _opened(data: Dataset | str | os.PathLike[str]) -> Dataset:
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    dataset.require_rows()
    return dataset


def _added(
    data: Dataset,
    values: Sequence[str],
    by: Sequence[str],
    order: Sequence[str],
    work: Work,
    to: str | os.PathLike[str],
    engine: Engine | str | None,
    mode: str,
    label: str,
) -> Dataset:
    from parquetry.engine import borrowed_engine

    with borrowed_engine(engine) as running:
        return add_by_key(
            data, values, by=by, order=order, work=work, to=os.fspath(to), engine=running, mode=mode, label=label
        )
