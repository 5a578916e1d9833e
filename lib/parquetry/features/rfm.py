"""RFM: how recently, how often and for how much each customer has bought; made on the engine.

Source: Arthur Hughes, "Strategic Database Marketing" (1994).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, EmptyDataset, WrongColumnType
from parquetry.relational import write_sorted
from parquetry.view import is_numeric

if TYPE_CHECKING:
    from parquetry.engine import Engine

MEASURES = ("recency", "frequency", "monetary")
UNITS = {"recency": "days", "frequency": "orders"}
_PARTS = 10_000  # amounts are added up in ten-thousandths: whole numbers add up to the same on every engine
_CLEAR = 0.35  # standard deviations from the mean at which a measure is worth a word
_WORDS = {
    "recency": ("recent", "lapsed"),
    "frequency": ("seldom", "frequent"),
    "monetary": ("small spenders", "big spenders"),
}


@dataclass(frozen=True)
class Orders:
    """The columns of a table of order lines.

    Parameters
    ----------
    customer, order, date, quantity, price : str
    """

    customer: str
    order: str
    date: str
    quantity: str
    price: str

    @property
    def columns(self) -> list[str]:
        """All of them."""
        return [self.customer, self.order, self.date, self.quantity, self.price]


def customer_table(lines: Dataset, orders: Orders, *, to: str | os.PathLike[str], engine: Engine) -> Dataset:
    """One row a customer, in order of customer, committed as a table.

    Lines without a customer, and those whose quantity or price is not above zero (returns,
    cancellations, corrections), are left out.

    Parameters
    ----------
    lines : Dataset
        One row a line of an order.
    orders : Orders
    to : path or URL
    engine : Engine

    Returns
    -------
    Dataset
        The customer column (whole numbers if it held such), ``recency`` in days from the
        customer's last order to the day after the last one of all, ``frequency`` in orders,
        ``monetary`` in the price's unit, rounded to a ten-thousandth for each line.

    Raises
    ------
    UnknownColumn, WrongColumnType, EmptyDataset, TooBigForOneNode
    """
    import narwhals as nw

    _check(lines, orders)
    customer = nw.col(orders.customer)
    if pa.types.is_floating(lines.full_schema.field(orders.customer).type):
        customer = customer.cast(nw.Int64)
    quantity, price = nw.col(orders.quantity).cast(nw.Float64), nw.col(orders.price).cast(nw.Float64)
    kept = engine.scan(lines.select(orders.columns)).filter(
        ~nw.col(orders.customer).is_null() & (quantity > 0) & (price > 0)
    )
    lined = kept.select(
        customer.alias(orders.customer),
        nw.col(orders.order),
        nw.col(orders.date).alias("last"),
        (quantity * price * _PARTS + 0.5).floor().cast(nw.Int64).alias("amount"),
    )
    # An order's lines first, then a customer's orders: only sums, counts and maxima, which every engine has.
    by_order = lined.group_by(orders.customer, orders.order).agg(nw.col("amount").sum(), nw.col("last").max())
    by_customer = by_order.group_by(orders.customer).agg(
        nw.col("last").max(), nw.len().alias("frequency"), nw.col("amount").sum()
    )
    # DuckDB adds integers up in 128 bits.
    whole = by_customer.with_columns(nw.col("amount").cast(nw.Int64))
    found = write_sorted(engine, whole, to, by=[orders.customer], finish=_Measured(orders.customer))
    if not found.num_rows:
        raise EmptyDataset(
            f"{lines.uri} has no line with a customer, a quantity and a price above zero.",
            fix="Check the names of the columns.",
        )
    return found


@dataclass(frozen=True)
class _Measured:
    """The last order's date as days before the day after the last of all; amounts in the price's unit."""

    customer: str

    def __call__(self, table: pa.Table) -> pa.Table:
        dates = table.column("last").cast(pa.timestamp("us")).cast(pa.date32(), safe=False).cast(pa.int32())
        newest = pc.max(dates)
        recency = pc.subtract(pc.add(newest, 1), dates) if newest.is_valid else dates
        return pa.table(
            {
                self.customer: table.column(self.customer),
                "recency": recency.cast(pa.int64()),
                "frequency": table.column("frequency").cast(pa.int64()),
                "monetary": pc.divide(table.column("amount").cast(pa.float64()), float(_PARTS)),
            }
        )


def numbers_of_segments(customers: int, *, most: int, asked: int | None = None) -> list[int]:
    """The numbers of segments to try: 2 to ``most``, as far as there are customers, and the one that is asked for.

    Raises
    ------
    BadParameter
        There are too few customers, for any segments or for those that are asked for.
    """
    if customers < max(3, (asked or 0) + 1):
        who = "1 customer is" if customers == 1 else f"{customers:,} customers are"
        raise BadParameter(
            f"{who} too few for {asked or 2:,} segments.",
            why="There must be more customers than segments.",
            fix="Take more data, or fewer segments." if asked else "Take more data; check the column of customers.",
        )
    return sorted({*range(2, min(most, customers - 1) + 1), *([asked] if asked else [])})


def segment_names(centers: Sequence[Mapping[str, float]]) -> list[str]:
    """A name for each segment by its traits, as "recent, frequent, big spenders".

    Parameters
    ----------
    centers : sequence of mappings
        Each segment's mean of each of ``MEASURES`` in standard deviations from the mean of all customers.

    Returns
    -------
    list of str
        All different: segments of the same traits are told apart by a number, the largest
        spenders first.
    """
    plain = [_traits([center[name] for name in MEASURES]) for center in centers]
    names = list(plain)
    for name in set(plain):
        same = sorted((i for i, other in enumerate(plain) if other == name), key=lambda i: -centers[i]["monetary"])
        if len(same) > 1:
            for number, i in enumerate(same, start=1):
                names[i] = f"{name} ({number})"
    return names


def _traits(scores: Any) -> str:
    words = [_WORDS[name][int(score > 0)] for name, score in zip(MEASURES, scores, strict=True) if abs(score) > _CLEAR]
    return ", ".join(words) or "average"


def _check(lines: Dataset, orders: Orders) -> None:
    lines.require(orders.columns, "orders column")
    for name in (orders.quantity, orders.price):
        kind = lines.full_schema.field(name).type
        if not is_numeric(kind):
            raise WrongColumnType(f"Column {name!r} is {kind}, not a number.", fix="Name another column.")
    kind = lines.full_schema.field(orders.date).type
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        raise WrongColumnType(f"Column {orders.date!r} is {kind}, not a date.", fix="Name another column.")


def segment_table(
    assigned: Dataset, customer: str, names: Sequence[str], *, to: str | os.PathLike[str], engine: Engine
) -> Dataset:
    """Each customer with the number and the name of the segment, committed in order of customer.

    Parameters
    ----------
    assigned : Dataset
        The customer, the measures, and ``prediction``: the segment's number.
    customer : str
    names : sequence of str
        By number.
    to : path or URL
    engine : Engine
    """
    return write_sorted(engine, assigned, to, by=[customer], finish=_Named(tuple(names)))


@dataclass(frozen=True)
class _Named:
    names: tuple[str, ...]

    def __call__(self, table: pa.Table) -> pa.Table:
        numbers = table.column("prediction").cast(pa.int64())
        named = pc.take(pa.array(self.names, pa.string()), numbers)
        kept = table.drop_columns(["prediction"])
        return kept.append_column("segment", numbers).append_column("name", named)


def segment_profiles(segments: Dataset, names: Sequence[str], *, engine: Engine) -> list[dict[str, Any]]:
    """What each segment is like: customers, shares, and the means of the measures; by number.

    Sums of money are rounded to the cent, so that they are the same on every engine.
    """
    import narwhals as nw

    cents = (nw.col("monetary") * 100 + 0.5).floor().cast(nw.Int64).alias("cents")
    grouped = (
        engine.scan(segments.select(["segment", *MEASURES]))
        .with_columns(cents)
        .group_by("segment")
        .agg(nw.len().alias("customers"), *(nw.col(c).sum() for c in ("recency", "frequency", "cents")))
    )
    found = nw.to_native(grouped.collect("pyarrow")).sort_by("segment").to_pylist()
    customers, cents_in_all = sum(f["customers"] for f in found), max(1, sum(int(f["cents"]) for f in found))
    return [
        {
            "name": names[int(f["segment"])],
            "customers": int(f["customers"]),
            "share_of_customers": f["customers"] / customers,
            "share_of_sales": int(f["cents"]) / cents_in_all,
            "recency": int(f["recency"]) / f["customers"],
            "frequency": int(f["frequency"]) / f["customers"],
            "monetary": int(f["cents"]) / 100 / f["customers"],
        }
        for f in found
    ]
