"""Show sales: trends, growth, seasons, movers, cohorts and Pareto, and a dashboard that filters itself.

    python jobs/foundation/sales_dashboard.py
    python jobs/foundation/sales_dashboard.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/foundation/sales_dashboard.py --output out/spark

With no --input it runs on Superstore (real where a copy can be had, else generated and labeled so), with
--data online_retail on Online Retail. With --input it takes any table of order lines, a workbook too: name
its columns. The run folder holds dashboard.html, one file that needs no network, and all tables.
"""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from typing import Literal

from pydantic import Field, model_validator

from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation import cohorts, dashboard, plots_sales, sales, trends
from parquetry.foundation.grains import GRAINS
from parquetry.foundation.pareto import abc_counts, ranked_table
from parquetry.foundation.sales import Sales
from parquetry.foundation.sales_cube import sales_cube
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input

KNOWN = {
    "superstore": ("Order Date", "Sales", "Profit", "Product Name", "Category", "Region", "Customer ID", "Order ID"),
    "online_retail": (
        "InvoiceDate", "Quantity*UnitPrice", None, "Description", None, "Country", "CustomerID", "InvoiceNo"),
}  # fmt: skip


class Config(JobConfig):
    """A dashboard of sales."""

    data: Literal["superstore", "online_retail"] = Field("superstore", description="The set to show without --input.")
    date: str | None = Field(None, description="The column of the date.")
    amount: str | None = Field(None, description="The column of the money, or columns to multiply: Pieces*Price.")
    profit: str | None = Field(None, description="The column of the profit.")
    product: str | None = Field(None, description="The column that names the product.")
    category: str | None = Field(None, description="The column of the product's category.")
    region: str | None = Field(None, description="The column of the region.")
    customer: str | None = Field(None, description="The column that tells the customer.")
    order: str | None = Field(None, description="The column that tells the order.")
    sheet: str | None = Field(None, description="Of a workbook: its name, or its number from 1.")
    header_row: int | None = Field(None, ge=1, description="Of a workbook: the row of the names [default: looked for].")
    grain: Literal["day", "week", "month", "quarter"] = Field("month", description="Of the trend.")
    unit: str = Field("", description="The unit of money, as EUR [default: the catalogue's].")
    title: str = Field("Sales", description="The dashboard's title.")
    groups: int = Field(30, ge=1, le=200, description="Regions, and categories, that are told apart in the dashboard.")

    @model_validator(mode="after")
    def _fits(self) -> Config:
        if self.target or self.features or self.exclude:
            raise ValueError("--target, --features and --exclude mean nothing here: name the columns of the sales")
        if self.input is not None and not (self.date and self.amount):
            raise ValueError("--input needs --date and --amount: the columns of the date and of the money")
        if self.input is None and (self.sheet or self.header_row):
            raise ValueError("--sheet and --header-row are for a workbook: name it with --input")
        return self


def run(config: Config, engine: Engine, run: Run) -> None:
    """Add up on the engine, table by table; make the cube; write the page."""
    dashboard.require_plotly()
    given = config.model_dump(include={f.name for f in fields(Sales)}, exclude_none=True)
    columns = Sales(**given) if config.input is not None else replace(Sales(*KNOWN[config.data]), **given)
    has = [f.name for f in fields(Sales) if getattr(columns, f.name) is not None]
    lines = open_job_input(config, run, default=config.data, sheet=config.sheet, header_row=config.header_row)
    sales.check_columns(lines, columns)
    unit, grain = config.unit or run.units.get(columns.factors(lines)[-1], ""), GRAINS[config.grain]

    frame = sales.sales_lines(engine, lines, columns, grain)
    facts = sales.sales_facts(frame, lines)
    notes = sales.what_to_note(facts, columns)
    grouped = sales.grouped_sales(engine, frame, run.path("work/grouped"))
    visits = {r: sales.visits(engine, frame, r, run.path(f"work/{r}")) for r in ("customer", "order") if r in has}
    counts = {f"{role}s": sales.distinct_by_period(engine, found) for role, found in visits.items()}
    trend = trends.trend_table(engine, grouped, run.path(f"tables/{grain.name}s"), facts, grain, **counts)
    ranked = {
        name: ranked_table(engine, grouped, name, run.path(f"{'tables' if name in has else 'work'}/by_{name}"))
        for name in sales.NAMES
    }
    if (spans := trends.windows(facts)) is not None and "product" in has:
        movers = trends.movers_table(engine, grouped, run.path("tables/movers"), spans).to_pandas()
        best_and_worst = [*movers.head(8).values.tolist(), *movers[8:].tail(8).values.tolist()]
        run.table("Top movers", list(movers.columns), best_and_worst, spans.in_words())
    step, counted = cohorts.cohort_step(facts.months[1] - facts.months[0] + 1), ()
    if "customer" in has:
        table = cohorts.cohort_table(engine, visits["customer"], run.path("tables/cohorts"), step=step)
        counted = cohorts.cohort_counts(table, step)

    cube = sales_cube(engine, grouped, ranked, run.path("tables"), groups=config.groups, visits=visits)
    totals = {r: sales.distinct(engine, found) for r, found in visits.items()} | {"product": ranked["product"].num_rows}
    page = dashboard.Page(
        config.title, run.contents.origin, unit, run.contents.synthetic, tuple(has), totals, step, counted,
        abc_counts(ranked["product"]), notes, grain,
    )  # fmt: skip
    run.path("dashboard.html").write_text(dashboard.dashboard_html(cube, facts, page), encoding="utf-8")
    shutil.rmtree(run.path("work"))

    figures = cube.totals(profit="profit" in has) | {f"{r}s": number for r, number in totals.items() if r in has}
    run.write_json("figures.json", figures)
    run.event("sales", **figures)
    for note in (*notes, "The dashboard is dashboard.html in this folder; every table is under tables/."):
        run.note(note)
    run.table("Figures", ["figure", "value"], [[k, v] for k, v in figures.items()])
    rows = trend.to_pandas().tail(24).astype(object)
    run.table(f"The last {grain.name}s", list(rows.columns), rows.where(rows.notna(), None).values.tolist())
    for picture in plots_sales.pictures(trend, ranked["product"] if "product" in has else None, unit=unit, grain=grain):
        run.plot(picture.figure, picture.title, picture.caption)


if __name__ == "__main__":
    run_job(run, Config)
