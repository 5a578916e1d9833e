"""Cohorts: customers by when they first bought, and how many of them came back."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.foundation.sales import month_number, month_start
from parquetry.relational import write_sorted

if TYPE_CHECKING:
    from parquetry.engine import Engine

MONTH, QUARTER, YEAR = 1, 3, 12
_WORDS = {MONTH: "month", QUARTER: "quarter", YEAR: "year"}


def cohort_step(months: int) -> int:
    """Months in a cohort: one where they fit a picture, else three or twelve."""
    return MONTH if months <= 18 else QUARTER if months <= 72 else YEAR


def step_word(step: int) -> str:
    """``month``, ``quarter`` or ``year``."""
    return _WORDS[step]


def cohort_table(engine: Engine, visits: Dataset, to: str | os.PathLike[str], *, step: int) -> Dataset:
    """How many customers of each cohort were there again so many periods later, committed.

    Parameters
    ----------
    visits : Dataset
        What :func:`parquetry.foundation.sales.visits` gives for customers: any line counts as being there.
    step : int
        Months in a period.

    Returns
    -------
    Dataset
        ``cohort`` (the period's first day), ``age`` (periods since), ``customers``, ``size`` (of the
        cohort), ``share``; periods in which nobody came have no row.
    """
    import narwhals as nw

    def period(name: str) -> nw.Expr:
        return (nw.col(name) / step).floor().cast(nw.Int64)

    there = engine.scan(visits.select(["who", "month"])).with_columns(period("month").alias("period"))
    each = there.group_by("who", "period").agg(nw.len().alias("n")).select("who", "period")
    first = each.group_by("who").agg(nw.col("period").min().alias("cohort"))
    joined = each.join(first, on="who", how="inner").with_columns((nw.col("period") - nw.col("cohort")).alias("age"))
    counted = joined.group_by("cohort", "age").agg(nw.len().alias("customers"))
    whole = counted.select(*(nw.col(c).cast(nw.Int64) for c in ("cohort", "age", "customers")))
    return write_sorted(engine, whole, to, by=["cohort", "age"], finish=_Shared(step))


@dataclass(frozen=True)
class _Shared:
    step: int

    def __call__(self, table: pa.Table) -> pa.Table:
        cohort, age = table.column("cohort").to_numpy(), table.column("age").to_numpy()
        customers = table.column("customers").to_numpy()
        sizes = dict(zip(cohort[age == 0].tolist(), customers[age == 0].tolist(), strict=True))
        size = np.array([sizes[c] for c in cohort.tolist()], np.int64)
        return pa.table(
            {
                "cohort": pa.array([month_start(int(c) * self.step) for c in cohort], pa.date32()),
                "age": age,
                "customers": customers,
                "size": size,
                "share": customers / size if len(size) else np.zeros(0),
            }
        )


def cohort_counts(table: Dataset, step: int) -> tuple[tuple[int, int, int], ...]:
    """The table as whole numbers: the cohort's period, periods later, customers."""
    return tuple(
        (month_number(row["cohort"]) // step, row["age"], row["customers"])
        for batch in table.select(["cohort", "age", "customers"]).batches()
        for row in batch.to_pylist()
    )
