"""Windows over rows of the same keys, in order, on each engine: what to drop, what to fill.

Written once in narwhals; Dask's frames have no windows with an order, so there the rows of a key
are brought into one partition and worked on as Arrow columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

ROW = "row"
"""The column of row numbers: whole, unique, in the order of the data."""


def later_rows(frame: Any, keys: Sequence[str], order: Sequence[str], *, keep: str) -> Any:
    """The numbers of the rows that share their keys with another one and are not kept.

    Parameters
    ----------
    frame : narwhals.LazyFrame
        With ``row``, the keys and the order, all without nulls.
    keys, order : sequence of str
        Within the order, rows that are equal stand in order of ``row``.
    keep : {"first", "last", "none"}
        Which of the rows of the same keys.

    Returns
    -------
    narwhals.LazyFrame or native frame
        ``row`` alone, in no order.
    """
    import narwhals as nw

    if frame.implementation.is_dask():
        return _in_partitions(frame, keys, _Later(tuple(keys), (*order, ROW), keep))
    if keep == "none":
        there = nw.len().over(*keys)
    else:
        there = nw.col(ROW).cum_count(reverse=keep == "last").over(*keys, order_by=[*order, ROW])
    return frame.with_columns(there.alias("there")).filter(nw.col("there") > 1).select(ROW)


def filled_rows(
    frame: Any,
    keys: Sequence[str],
    order: Sequence[str],
    values: Sequence[str],
    *,
    forward: bool,
    limit: int | None = None,
) -> Any:
    """The rows in which a null can be filled, with every value's column filled.

    Parameters
    ----------
    frame : narwhals.LazyFrame
        With ``row``, the keys and the order (without nulls), and the values.
    keys, order, values : sequence of str
    forward : bool
        Fill with the last value before in order; else with the first one after.
    limit : int, default None
        At most so many rows on from the value; None for any number.

    Returns
    -------
    narwhals.LazyFrame or native frame
        ``row`` and the values, in no order.
    """
    import narwhals as nw

    if frame.implementation.is_dask():
        return _in_partitions(frame, keys, _Filled(tuple(keys), (*order, ROW), tuple(values), forward, limit))
    way: Any = "forward" if forward else "backward"
    window = {
        f"filled_{v}": nw.col(v).fill_null(strategy=way, limit=limit).over(*keys, order_by=[*order, ROW])
        for v in values
    }
    found = [nw.col(v).is_null() & ~nw.col(f"filled_{v}").is_null() for v in values]
    return (
        frame.with_columns(**window)
        .filter(nw.any_horizontal(*found, ignore_nulls=False))
        .select(ROW, *(nw.col(f"filled_{v}").alias(v) for v in values))
    )


def _in_partitions(frame: Any, keys: Sequence[str], work: Callable[[Any], Any]) -> Any:
    """The work done where all rows of a key are together."""
    import narwhals as nw

    native = nw.to_native(frame)
    together = native.shuffle(on=list(keys))
    return together.map_partitions(work, meta=work(native._meta))


@dataclass(frozen=True)
class _Later:
    keys: tuple[str, ...]
    order: tuple[str, ...]
    keep: str

    def __call__(self, frame: Any) -> Any:
        table, starts, ends = _sorted(frame, self.keys, self.order)
        kept = starts if self.keep == "first" else ends - 1
        dropped = ends - starts > 1 if self.keep == "none" else np.arange(table.num_rows) != kept
        return _as_frame(table.select([ROW]).filter(pa.array(dropped)))


@dataclass(frozen=True)
class _Filled:
    keys: tuple[str, ...]
    order: tuple[str, ...]
    values: tuple[str, ...]
    forward: bool
    limit: int | None = None

    def __call__(self, frame: Any) -> Any:
        table, starts, ends = _sorted(frame, self.keys, self.order)
        rows = np.arange(table.num_rows)
        columns, useful = {ROW: table.column(ROW)}, np.zeros(len(rows), dtype=np.bool_)
        for name in self.values:
            known = table.column(name).is_valid().to_numpy(zero_copy_only=False)
            if self.forward:
                source = np.maximum.accumulate(np.where(known, rows, -1))
                inside = source >= starts
            else:
                source = np.minimum.accumulate(np.where(known, rows, len(rows))[::-1])[::-1]
                inside = source < ends
            if self.limit is not None:
                inside &= np.abs(rows - source) <= self.limit
            columns[name] = table.column(name).take(pa.array(source, mask=~inside))
            useful |= inside & ~known
        return _as_frame(pa.table(columns).filter(pa.array(useful)))


def _sorted(
    frame: Any, keys: Sequence[str], order: Sequence[str]
) -> tuple[pa.Table, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows in order of keys, then order; for each row where its keys' rows begin and end."""
    table = pa.Table.from_pandas(frame, preserve_index=False).combine_chunks()
    table = table.sort_by([(name, "ascending") for name in (*keys, *order)])
    new = np.zeros(table.num_rows, dtype=np.bool_)
    new[:1] = True
    for name in keys:
        values = table.column(name).to_numpy()
        new[1:] |= values[1:] != values[:-1]
    first = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    return table, first[group], np.append(first[1:], table.num_rows)[group]


def _as_frame(table: pa.Table) -> Any:
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)
