"""Lines of orders as months, names and exact money, made on the engine; the aggregates that all else is made of.

Money is added up in ten-thousandths, which are whole numbers, so sums are the same on every engine.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, EmptyDataset, WrongColumnType
from parquetry.foundation.grains import MONTH, Grain
from parquetry.relational import write_sorted
from parquetry.view import is_numeric

if TYPE_CHECKING:
    from parquetry.engine import Engine

PARTS = 10_000
MISSING = "(missing)"
ALL = "(all)"
NAMES = ("region", "category", "product")
SUMS = ("sales", "profit", "lines")
_LARGEST = 9e11  # an amount beyond it has no exact number of ten-thousandths
_LONGEST = 1_200  # months from the first date to the last


@dataclass(frozen=True)
class Sales:
    """The columns of a table of order lines.

    Parameters
    ----------
    date, amount : str
        The amount is a column, or columns to multiply: ``"Quantity*UnitPrice"``.
    profit, product, category, region, customer, order : str, default None
        None where the table has none.
    """

    date: str
    amount: str
    profit: str | None = None
    product: str | None = None
    category: str | None = None
    region: str | None = None
    customer: str | None = None
    order: str | None = None

    def factors(self, lines: Dataset) -> tuple[str, ...]:
        """The columns whose product is the amount."""
        if self.amount in lines.full_schema.names:
            return (self.amount,)
        return tuple(part.strip() for part in self.amount.split("*"))

    def named(self, lines: Dataset) -> list[str]:
        """All columns that are read, each once."""
        others = [getattr(self, f.name) for f in fields(self) if f.name != "amount"]
        return list(dict.fromkeys([*(o for o in others if o is not None), *self.factors(lines)]))


@dataclass(frozen=True)
class Facts:
    """What is known of the lines before anything is grouped.

    Attributes
    ----------
    rows, lines : int
        All rows, and those with a date and an amount: the others are left out.
    first, last : datetime.date
    without_customer : int
        Lines that no customer can be told for.
    """

    rows: int
    lines: int
    first: dt.date
    last: dt.date
    without_customer: int

    @property
    def months(self) -> tuple[int, int]:
        """The first and the last month, each counted from year 0."""
        return month_number(self.first), month_number(self.last)

    @property
    def last_is_whole(self) -> bool:
        """Whether the last month is there to its end, or but for two days."""
        return MONTH.is_whole(self.months[1], self.first.replace(day=1), self.last)

    @property
    def first_is_whole(self) -> bool:
        """Whether the first month is there from its start, or but for two days."""
        return MONTH.is_whole(self.months[0], self.first, self.last.replace(day=28) + dt.timedelta(days=4))


def month_number(day: dt.date) -> int:
    """Months from the year 0."""
    return MONTH.number(day)


def month_start(number: int) -> dt.date:
    """The first day of a month by its number."""
    return MONTH.start(number)


def check_columns(lines: Dataset, sales: Sales) -> None:
    """Refuse columns that are not there, or cannot be what they are named for.

    Raises
    ------
    UnknownColumn, WrongColumnType
    """
    lines.require(sales.named(lines), "column of sales")
    kinds = {name: lines.full_schema.field(name).type for name in sales.named(lines)}
    for name in (*sales.factors(lines), *([sales.profit] if sales.profit else [])):
        if not is_numeric(kinds[name]) or pa.types.is_boolean(kinds[name]):
            raise WrongColumnType(f"Column {name!r} is {kinds[name]}, not a number.", fix="Name another column.")
    kind = kinds[sales.date]
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise WrongColumnType(
            f"Column {sales.date!r} is {kind}, not a date.", fix="Name another column, or make it one: parquetry clean."
        )
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        raise WrongColumnType(
            f"Column {sales.date!r} is {kind}.",
            why="In another time zone a line may belong to another day.",
            fix="Write the column as local time, without a zone.",
        )


def what_to_note(facts: Facts, sales: Sales) -> tuple[str, ...]:
    """What of the lines does not count, or counts otherwise than one might think."""
    notes = []
    if facts.lines < facts.rows:
        notes.append(f"{facts.rows - facts.lines:,} of {facts.rows:,} rows have no date or no amount and are left out.")
    if sales.customer and facts.without_customer:
        notes.append(
            f"{facts.without_customer:,} lines have no customer: they count as sales, not for customers and cohorts."
        )
    notes.append("Amounts below zero (returns, corrections) are taken off the sales; their lines and orders count.")
    return tuple(notes)


def sales_lines(engine: Engine, lines: Dataset, sales: Sales, grain: Grain = MONTH) -> Any:
    """The lines with a date and an amount, as a lazy frame.

    Parameters
    ----------
    grain : Grain, default MONTH
        Of the trend: what ``period`` numbers.

    Returns
    -------
    narwhals.LazyFrame
        ``month`` (see :func:`month_number`), ``period``, ``weekday`` (1 is Monday), ``region``, ``category``,
        ``product`` (texts), ``customer``, ``order``, ``sales`` and ``profit`` in ten-thousandths.
    """
    import narwhals as nw

    amount = _product(sales.factors(lines))
    kept = engine.scan(lines.select(sales.named(lines))).filter(
        ~nw.col(sales.date).is_null() & (amount > -_LARGEST) & (amount < _LARGEST)
    )
    day = nw.col(sales.date).cast(nw.Datetime("us"))
    return kept.select(
        (day.dt.year().cast(nw.Int64) * 12 + day.dt.month().cast(nw.Int64) - 1).alias("month"),
        grain.expression(day).alias("period"),
        # Sunday is 7, but 0 where Spark counts.
        ((day.dt.weekday().cast(nw.Int64) + 6) % 7 + 1).alias("weekday"),
        day.alias("day"),
        *(_name(getattr(sales, role)).alias(role) for role in NAMES),
        *(_who(getattr(sales, role)).alias(role) for role in ("customer", "order")),
        _parts(amount).alias("sales"),
        _parts(_or_zero(sales.profit)).alias("profit"),
    )


def sales_facts(frame: Any, lines: Dataset) -> Facts:
    """What :class:`Facts` has; one pass over the lines.

    Raises
    ------
    EmptyDataset
        No line has a date and an amount.
    BadParameter
        The dates span more than a hundred years, or the amounts cannot be added up exactly.
    """
    import narwhals as nw

    found = nw.to_native(
        frame.select(
            nw.len().alias("lines"),
            nw.col("day").min().alias("first"),
            nw.col("day").max().alias("last"),
            nw.max_horizontal(nw.col("sales").abs().max(), nw.col("profit").abs().max()).alias("largest"),
            nw.col("customer").is_null().cast(nw.Int64).sum().alias("without"),
        ).collect("pyarrow")
    ).to_pylist()[0]
    count = int(found["lines"])
    if not count:
        raise EmptyDataset(f"{lines.uri} has no line with a date and an amount.", fix="Check the names of the columns.")
    facts = Facts(lines.num_rows, count, found["first"].date(), found["last"].date(), int(found["without"] or 0))
    first, last = facts.months
    if last - first >= _LONGEST:
        raise BadParameter(
            f"The dates go from {facts.first} to {facts.last}.",
            why="A dashboard shows a hundred years at most; such a date often stands for none.",
            fix="Take those lines out first.",
        )
    if int(found["largest"]) * count >= 2**63:
        raise BadParameter(
            f"{count:,} lines with amounts of up to {int(found['largest']) / PARTS:,.0f} cannot be added up exactly.",
            fix="Give amounts in thousands.",
        )
    return facts


def grouped_sales(engine: Engine, frame: Any, to: str | os.PathLike[str]) -> Dataset:
    """The lines grouped by month, period, weekday, region, category and product; what the tables are made of."""
    keys = ["month", "period", "weekday", *NAMES]
    return engine.write(summed(frame.with_columns(lines=_one()), keys), os.fspath(to))


def summed(frame: Any, keys: list[str]) -> Any:
    """A lazy frame grouped by keys, with the sums of ``sales``, ``profit`` and ``lines`` as whole numbers."""
    import narwhals as nw

    grouped = frame.group_by(*keys).agg(*(nw.col(c).sum() for c in SUMS))
    # DuckDB adds integers up in 128 bits.
    return grouped.select(*keys, *(nw.col(c).cast(nw.Int64) for c in SUMS))


def visits(engine: Engine, frame: Any, role: str, to: str | os.PathLike[str]) -> Dataset:
    """Which customer, or order, was there in which month, period, region and category: each once."""
    import narwhals as nw

    # Whole numbers that missing ones made floats are whole numbers again.
    who = nw.col(role).cast(nw.Int64) if frame.collect_schema()[role].is_float() else nw.col(role)
    known = frame.filter(~nw.col(role).is_null()).with_columns(who.alias("who"), lines=_one())
    grouped = known.group_by("who", "month", "period", "region", "category").agg(nw.col("lines").sum())
    return engine.write(grouped.with_columns(nw.col("lines").cast(nw.Int64)), os.fspath(to))


def distinct_by_period(engine: Engine, found: Dataset) -> dict[int, int]:
    """How many different ones were there in each period."""
    import narwhals as nw

    each = engine.scan(found.select(["who", "period"])).group_by("who", "period").agg(nw.len().alias("n"))
    counted = each.group_by("period").agg(nw.len().alias("n"))
    return {int(r["period"]): int(r["n"]) for r in nw.to_native(counted.collect("pyarrow")).to_pylist()}


def distinct(engine: Engine, found: Dataset) -> int:
    """How many different ones there are."""
    import narwhals as nw

    each = engine.scan(found.select(["who", "month"])).group_by("who").agg(nw.len().alias("n"))
    counted = nw.to_native(each.select(nw.len().alias("n")).collect("pyarrow"))
    return int(counted.column("n")[0].as_py())


def write_summed(
    engine: Engine, grouped: Any, keys: list[str], to: str | os.PathLike[str], finish: Any = None, *, mode: str = "fail"
) -> Dataset:
    """Sums by some keys, committed in their order (or in that which ``finish`` gives them)."""
    finish = finish or _one_schema
    frame = engine.scan(grouped) if isinstance(grouped, Dataset) else grouped
    return write_sorted(engine, summed(frame, keys), to, by=keys, finish=finish, mode=mode)


def _one_schema(table: pa.Table) -> pa.Table:
    """Texts and whole numbers as one type each: engines have several, with notes of their own."""
    kinds = [pa.string() if name in NAMES else pa.int64() for name in table.column_names]
    return table.cast(pa.schema(zip(table.column_names, kinds, strict=True)))


def _product(names: tuple[str, ...]) -> Any:
    import narwhals as nw

    amount = nw.col(names[0]).cast(nw.Float64)
    for name in names[1:]:
        amount = amount * nw.col(name).cast(nw.Float64)
    return amount


def _parts(amount: Any) -> Any:
    import narwhals as nw

    return (amount * PARTS + 0.5).floor().cast(nw.Int64)


def _or_zero(name: str | None) -> Any:
    import narwhals as nw

    if name is None:
        return nw.lit(0.0)
    value = nw.col(name).cast(nw.Float64).fill_null(0.0)
    return nw.when((value > -_LARGEST) & (value < _LARGEST)).then(value).otherwise(nw.lit(0.0))


def _name(name: str | None) -> Any:
    import narwhals as nw

    return nw.lit(ALL) if name is None else nw.col(name).cast(nw.String).fill_null(MISSING)


def _who(name: str | None) -> Any:
    import narwhals as nw

    return nw.lit(0) if name is None else nw.col(name)


def _one() -> Any:
    import narwhals as nw

    return nw.lit(1).cast(nw.Int64)
