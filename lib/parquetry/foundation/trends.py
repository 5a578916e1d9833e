"""Trends: months, or other periods, in a row with growth, moving averages and the season; and what moved most."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.foundation.grains import MONTH, Grain
from parquetry.foundation.sales import PARTS, Facts, month_start, write_summed
from parquetry.relational import write_sorted

if TYPE_CHECKING:
    from parquetry.engine import Engine

FloatArray = npt.NDArray[np.float64]
YEAR = 12


@dataclass(frozen=True)
class Windows:
    """Two spans of months to compare, each by its first and its last month.

    Attributes
    ----------
    now, before : (int, int)
    """

    now: tuple[int, int]
    before: tuple[int, int]

    def in_words(self) -> str:
        """The two spans as people say them."""
        (a, b), (c, d) = (tuple(f"{month_start(m):%b %Y}" for m in span) for span in (self.now, self.before))
        return f"Now: {a} to {b}. Before: {c} to {d}."


def windows(facts: Facts) -> Windows | None:
    """The last twelve whole months against the twelve before; as many as there are of each, if fewer.

    None where there are not two whole months.
    """
    first, last = facts.months
    first, last = first + (not facts.first_is_whole), last - (not facts.last_is_whole)
    size = min(YEAR, (last - first + 1) // 2)
    return Windows((last - size + 1, last), (last - 2 * size + 1, last - size)) if size > 0 else None


def growth(values: FloatArray, lag: int) -> FloatArray:
    """The change against ``lag`` periods before, as a share of it; NaN where there is none, or it is not above zero."""
    found = np.full(len(values), np.nan)
    if lag < len(values):
        before, now = values[:-lag], values[lag:]
        good = before > 0
        found[lag:][good] = now[good] / before[good] - 1
    return found


def moving_average(values: FloatArray, size: int) -> FloatArray:
    """The mean of a value and the ``size - 1`` before it; NaN until there are so many."""
    found = np.full(len(values), np.nan)
    if size <= len(values):
        found[size - 1 :] = np.lib.stride_tricks.sliding_window_view(values, size).mean(axis=1)
    return found


def seasonal_index(values: FloatArray, first_month: int, cycle: int = YEAR) -> FloatArray | None:
    """How far each month of the year lies from the level around it: 1.2 is a fifth above.

    The ratio to a centered moving average of twelve months, averaged for each month of the year and
    scaled to a mean of one. None for less than three years' months, whose average would rest on one.

    Parameters
    ----------
    values : ndarray of shape (n_months,)
    first_month : int
        0 is January.
    cycle : int, default 12
        Periods in a year: 4 for quarters.

    Source: F. R. Macaulay, "The Smoothing of Time Series" (1931).
    """
    if len(values) < 3 * cycle:
        return None
    weights = np.r_[0.5, np.ones(cycle - 1), 0.5] / cycle
    level = np.convolve(values, weights, "valid")
    half = cycle // 2
    at = (first_month + half + np.arange(len(level))) % cycle
    good = level > 0
    ratio = np.divide(values[half : half + len(level)], level, out=np.zeros_like(level), where=good)
    counts = np.bincount(at[good], minlength=cycle)
    if not counts.all():
        return None
    index = np.bincount(at[good], ratio[good], minlength=cycle) / counts
    return np.asarray(index / index.mean()) if index.mean() > 0 else None


@dataclass(frozen=True)
class Trended:
    """Periods in a row, those without sales too, with what is made of them; for ``write_sorted``."""

    facts: Facts
    grain: Grain = MONTH
    orders: Mapping[int, int] | None = field(default=None)
    customers: Mapping[int, int] | None = field(default=None)

    def __call__(self, table: pa.Table) -> pa.Table:
        first, last, grain = self.facts.first, self.facts.last, self.grain
        periods = grain.numbers(first, last)
        at = table.column("period").to_numpy() - periods[0]
        columns = {}
        for name in ("sales", "profit", "lines"):
            whole = np.zeros(len(periods), np.int64)
            whole[at] = table.column(name).to_numpy()
            columns[name] = whole
        sales = columns["sales"] / PARTS
        season = None if grain.cycle is None else seasonal_index(sales, periods[0] % grain.cycle, grain.cycle)
        at_season = np.full(len(sales), np.nan) if season is None else season[np.array(periods) % len(season)]
        return pa.table(
            {
                grain.name: pa.array([grain.start(p) for p in periods], pa.date32()),
                "whole": pa.array([grain.is_whole(p, first, last) for p in periods], pa.bool_()),
                "sales": sales,
                "profit": columns["profit"] / PARTS,
                "lines": columns["lines"],
                **self._distinct("orders", self.orders, periods),
                **self._distinct("customers", self.customers, periods),
                "change": _nullable(growth(sales, 1)),
                "change_on_year": _nullable(growth(sales, grain.year)),
                **{f"average_{n}": _nullable(moving_average(sales, n)) for n in grain.averages},
                "season": _nullable(at_season),
            }
        )

    @staticmethod
    def _distinct(name: str, found: Mapping[int, int] | None, periods: range) -> dict[str, pa.Array]:
        return {} if found is None else {name: pa.array([found.get(p, 0) for p in periods], pa.int64())}


def trend_table(
    engine: Engine,
    grouped: Dataset,
    to: str | os.PathLike[str],
    facts: Facts,
    grain: Grain = MONTH,
    **counts: Mapping[int, int] | None,
) -> Dataset:
    """One row a period, committed.

    Parameters
    ----------
    grouped : Dataset
        What :func:`parquetry.foundation.sales.grouped_sales` gives.
    grain : Grain, default MONTH
        That of the lines which were grouped.
    **counts : ``orders`` and ``customers``
        How many different ones each period has.

    Returns
    -------
    Dataset
        ``month`` (or ``day``, ``week``, ``quarter``: its first day), ``whole``, ``sales``, ``profit``, ``lines``,
        ``orders``, ``customers``, ``change`` and ``change_on_year`` (shares), ``average_3`` and ``average_12`` (of
        days 7 and 28, of weeks 4 and 13, of quarters 2 and 4), ``season`` (of months and quarters).
    """
    return write_summed(engine, grouped, ["period"], to, Trended(facts, grain, **counts))


def movers_table(engine: Engine, grouped: Dataset, to: str | os.PathLike[str], spans: Windows) -> Dataset:
    """Each product's sales in two spans and the change, from the largest gain to the largest loss; committed."""
    import narwhals as nw

    month, sales = nw.col("month"), nw.col("sales")

    def within(span: tuple[int, int]) -> Any:
        return nw.when((month >= span[0]) & (month <= span[1])).then(sales).otherwise(nw.lit(0).cast(nw.Int64))

    either = engine.scan(grouped.select(["month", "product", "sales"])).filter(
        (month >= spans.before[0]) & (month <= spans.now[1])
    )
    marked = either.select("product", within(spans.now).alias("now"), within(spans.before).alias("before"))
    frame = marked.group_by("product").agg(nw.col("now").sum(), nw.col("before").sum())
    whole = frame.select("product", nw.col("now").cast(nw.Int64), nw.col("before").cast(nw.Int64))
    return write_sorted(engine, whole, to, by=["product"], finish=moved)


def moved(table: pa.Table) -> pa.Table:
    """``now``, ``before`` and ``change`` in money, ``growth`` as a share; the largest gain first."""
    now, before = table.column("now").to_numpy(), table.column("before").to_numpy()
    found = pa.table(
        {
            "product": table.column("product").cast(pa.string()),
            "now": now / PARTS,
            "before": before / PARTS,
            "change": (now - before) / PARTS,
            "growth": _nullable(np.where(before > 0, now / np.maximum(before, 1) - 1, np.nan)),
        }
    )
    return found.sort_by([("change", "descending"), ("product", "ascending")])


def _nullable(values: FloatArray) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)
