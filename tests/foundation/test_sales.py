"""The aggregates of sales: against pandas, the same bytes on every engine, and what is refused."""

from __future__ import annotations

import datetime as dt
import hashlib
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import parquetry as pqy
from orders import COLUMNS, known_lines, write_orders
from parquetry.errors import BadParameter, EmptyDataset, TooBigForDriver, UnknownColumn, WrongColumnType
from parquetry.foundation import cohorts, dashboard, sales, sales_cube, trends
from parquetry.foundation.grains import DAY, GRAINS, MONTH, QUARTER, WEEK, Grain
from parquetry.foundation.pareto import ranked_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_orders(tmp_path_factory.mktemp("orders") / "lines")


def made(
    engine: Any, source: Path, to: Path, *, groups: int = 30, grain: Grain = MONTH
) -> tuple[sales.Facts, sales_cube.Cube]:
    """All tables in the folder ``to``, and the cube."""
    lines = pqy.open_dataset(source)
    sales.check_columns(lines, COLUMNS)
    frame = sales.sales_lines(engine, lines, COLUMNS, grain)
    facts = sales.sales_facts(frame, lines)
    grouped = sales.grouped_sales(engine, frame, to / "work" / "grouped")
    visits = {r: sales.visits(engine, frame, r, to / "work" / r) for r in ("customer", "order")}
    counts = {f"{r}s": sales.distinct_by_period(engine, v) for r, v in visits.items()}
    trends.trend_table(engine, grouped, to / f"{grain.name}s", facts, grain, **counts)
    trends.movers_table(engine, grouped, to / "movers", trends.windows(facts))
    cohorts.cohort_table(engine, visits["customer"], to / "cohorts", step=3)
    ranked = {name: ranked_table(engine, grouped, name, to / f"by_{name}") for name in sales.NAMES}
    cube = sales_cube.sales_cube(engine, grouped, ranked, to, groups=groups, visits=visits)
    return facts, cube


def distinct_in(cube: sales_cube.Cube) -> dict[str, int]:
    found = {}
    for role, flat in cube.sets.items():
        at = total = 0
        while at < len(flat):
            total, at = total + flat[at], at + 2 + flat[at + 1]
        found[role] = total
    return found


def table(folder: Path, name: str) -> pd.DataFrame:
    return pqy.open_dataset(folder / name).to_pandas()


def test_tables_are_those_of_pandas(local, folder, tmp_path):
    facts, cube = made(local, folder, tmp_path)
    known = known_lines(folder)
    found = {r: sales.distinct(local, pqy.open_dataset(tmp_path / "work" / r)) for r in ("customer", "order")}
    assert found == distinct_in(cube) == {"customer": known["buyer"].nunique(), "order": known["bill"].nunique()}
    assert (facts.rows, facts.lines) == (2_400, len(known))
    assert facts.without_customer == known["buyer"].isna().sum() > 0
    assert cube.totals(profit=True)["sales"] == pytest.approx(known["sales"].sum(), abs=1e-6)

    months = table(tmp_path, "months")
    grouped = known.groupby("month")
    assert months["lines"].sum() == len(known)
    np.testing.assert_allclose(months["sales"], grouped["sales"].sum(), atol=1e-8)
    np.testing.assert_allclose(months["profit"], grouped["gain"].sum(), atol=1e-8)
    assert months["customers"].tolist() == grouped["buyer"].nunique().tolist()
    assert months["orders"].tolist() == grouped["bill"].nunique().tolist()

    products = table(tmp_path, "by_product").set_index("product")
    expected = known.groupby("item")["sales"].sum()
    np.testing.assert_allclose(products["sales"], expected[products.index], atol=1e-8)
    assert products["sales"].is_monotonic_decreasing
    assert products["running_share"].iloc[-1] == pytest.approx(1.0)

    spans = trends.windows(facts)
    movers = table(tmp_path, "movers").set_index("product")
    for name, span in (("now", spans.now), ("before", spans.before)):
        within = known[known["month"].between(*span)].groupby("item")["sales"].sum()
        np.testing.assert_allclose(movers[name], within.reindex(movers.index).fillna(0), atol=1e-8)

    bought = known[known["buyer"].notna()].assign(period=lambda f: f["month"] // 3)
    first = bought.groupby("buyer")["period"].transform("min")
    counted = bought.assign(cohort=first, age=bought["period"] - first).groupby(["cohort", "age"])["buyer"].nunique()
    found = table(tmp_path, "cohorts")
    assert found["customers"].tolist() == counted.tolist()
    assert (found.loc[found["age"] == 0, "share"] == 1.0).all()
    assert cohorts.cohort_counts(pqy.open_dataset(tmp_path / "cohorts"), 3) == tuple(
        (int(c), int(a), int(n)) for (c, a), n in counted.items()
    )


@pytest.mark.parametrize(("grain", "kind"), [(DAY, "D"), (WEEK, "W-SUN"), (QUARTER, "Q")])
def test_other_grains_than_months(local, folder, tmp_path, grain, kind):
    known = known_lines(folder)
    lines = pqy.open_dataset(folder)
    frame = sales.sales_lines(local, lines, COLUMNS, grain)
    facts = sales.sales_facts(frame, lines)
    grouped = sales.grouped_sales(local, frame, tmp_path / "grouped")
    visits = sales.visits(local, frame, "customer", tmp_path / "customer")
    counts = sales.distinct_by_period(local, visits)
    trends.trend_table(local, grouped, tmp_path / "trend", facts, grain, customers=counts)
    found = table(tmp_path, "trend")
    periods = known["day"].dt.to_period(kind)
    every = pd.period_range(periods.min(), periods.max(), freq=periods.dt.freq)
    assert found[grain.name].tolist() == [p.start_time.date() for p in every]
    by = known.groupby(periods)
    np.testing.assert_allclose(found["sales"], by["sales"].sum().reindex(every, fill_value=0), atol=1e-8)
    assert found["customers"].tolist() == by["buyer"].nunique().reindex(every, fill_value=0).tolist()
    few, many = grain.averages
    assert {f"average_{few}", f"average_{many}"} <= set(found.columns)
    assert found["season"].notna().all() == (grain is QUARTER) or len(every) < 12


def test_the_days_of_all_years_have_the_numbers_that_python_gives_them(local, write_parquet):
    rng = np.random.default_rng(3)
    days = [
        dt.date(1900, 2, 28),
        dt.date(1900, 3, 1),
        dt.date(2000, 2, 29),
        dt.date(1969, 12, 31),
        dt.date(2400, 2, 29),
    ]
    days += [dt.date(1700, 1, 1) + dt.timedelta(days=int(d)) for d in rng.integers(0, 200_000, 500)]
    frame = local.scan(pqy.open_dataset(write_parquet({"day": pa.array(days)})))
    day = nw.col("day").cast(nw.Datetime("us"))
    found = nw.to_native(
        frame.select("day", *(g.expression(day).alias(f"{n}s") for n, g in GRAINS.items())).collect("pyarrow")
    )
    for row in found.to_pylist():
        for name, grain in GRAINS.items():
            number = grain.number(row["day"])
            assert row[f"{name}s"] == number
            assert grain.start(number) <= row["day"] <= grain.end(number)
    assert WEEK.start(WEEK.number(dt.date(2024, 5, 1))) == dt.date(2024, 4, 29)
    assert not WEEK.is_whole(WEEK.number(dt.date(2024, 5, 1)), dt.date(2024, 1, 1), dt.date(2024, 5, 2))
    assert WEEK.is_whole(WEEK.number(dt.date(2024, 5, 1)), dt.date(2024, 1, 1), dt.date(2024, 5, 3))


def test_every_engine_writes_the_same_bytes(local, dask_engine, spark_engine, folder, tmp_path):
    digests, pages = [], []
    for engine in (local, dask_engine, spark_engine):
        to = tmp_path / engine.name
        facts, cube = made(engine, folder, to, groups=2, grain=WEEK)
        files = [f for f in sorted(to.rglob("*.parquet")) if "work" not in f.parts]
        digests.append([(f.parent.name, hashlib.sha256(f.read_bytes()).hexdigest()) for f in files])
        pages.append(
            dashboard.script_json(
                dashboard.page_data(cube, facts, dashboard.Page("", "", "", False, (), {}, 3, grain=WEEK))
            )
        )
        assert cube.regions.names[-1] == sales_cube.OTHERS
    assert len(digests[0]) == 8
    assert digests[0] == digests[1] == digests[2]
    assert pages[0] == pages[1] == pages[2]


def test_few_products_are_told_apart_where_cells_are_many(local, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sales_cube, "PRODUCT_CELLS", 800)
    _, cube = made(local, folder, tmp_path)
    assert len(cube.by_product["cell"]) <= 800
    assert not cube.products.whole
    assert cube.products.names[-1] == sales_cube.OTHERS
    assert int(cube.by_product["sales"].sum()) == int(cube.sums["sales"].sum())


def test_a_cube_beyond_its_bound_is_refused(local, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(sales_cube, "CELLS", 100)
    with pytest.raises(TooBigForDriver, match="Lower --groups"):
        made(local, folder, tmp_path)


BASE = {"day": pa.array([dt.date(2024, 5, 1)] * 3), "price": [1.0, 2.0, 3.0], "word": ["2024-05-01"] * 3}


@pytest.mark.parametrize(
    ("columns", "kind", "match"),
    [
        (sales.Sales("day", "prise"), UnknownColumn, "Did you mean 'price'"),
        (sales.Sales("day", "price*piece"), UnknownColumn, "piece"),
        (sales.Sales("day", "price", region="wrod"), UnknownColumn, "Did you mean 'word'"),
        (sales.Sales("word", "price"), WrongColumnType, "not a date"),
        (sales.Sales("day", "word"), WrongColumnType, "not a number"),
        (sales.Sales("zoned", "price"), WrongColumnType, "another time zone"),
    ],
)
def test_wrong_columns_are_named(write_parquet, columns, kind, match):
    zoned = pa.array([0, 1, 2], pa.timestamp("us", tz="UTC"))
    lines = pqy.open_dataset(write_parquet({**BASE, "zoned": zoned}))
    with pytest.raises(kind, match=match):
        sales.check_columns(lines, columns)


@pytest.mark.parametrize(
    ("change", "kind", "match"),
    [
        ({"price": [float("nan"), float("inf"), None]}, EmptyDataset, "no line with a date and an amount"),
        ({"day": pa.array([dt.date(1900, 1, 1), dt.date(2024, 1, 1), None])}, BadParameter, "1900-01-01"),
        ({"price": [8e11, 8e11, 8e11], "many": [1, 1, 1]}, None, ""),
    ],
)
def test_lines_that_cannot_be_shown(local, write_parquet, change, kind, match):
    lines = pqy.open_dataset(write_parquet({**BASE, **change}))
    frame = sales.sales_lines(local, lines, sales.Sales("day", "price"))
    if kind is None:
        assert sales.sales_facts(frame, lines).lines == 3
        return
    with pytest.raises(kind, match=match):
        sales.sales_facts(frame, lines)
