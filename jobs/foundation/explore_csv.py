"""Know any table: bring it in with every row accounted for, clean it, profile it, and show all of it in one report.

    python jobs/foundation/explore_csv.py
    python jobs/foundation/explore_csv.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/foundation/explore_csv.py --output out/spark

With no --input it runs on the passengers of the Titanic (real where a copy can be had, else generated
and labeled so). With --input it takes CSV, TSV, JSON lines, Excel, Parquet, Delta or a database. The
run folder holds the rows as a table (cleaned/), those that were set aside with the reason of each
(quarantine/), and what was decided, to be edited and passed again: contract.yaml and recipe.yaml.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

from pydantic import Field

import parquetry as pqy
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation.explore import CAUTIOUS, explored, job_source, tell_clean, tell_ingest
from parquetry.job import run_job
from parquetry.run import Run


class Config(JobConfig):
    """Any table, from the raw file to a report."""

    input: str | None = Field(None, description="CSV, TSV, JSON lines, Excel, Parquet, Delta or a database.")
    target: str | None = Field(None, description="The column along which all others are looked at.")
    contract: Path | None = Field(None, description="YAML of what rows must be [default: inferred from all values].")
    on_bad: Literal["quarantine", "fail"] = Field("quarantine", description="What becomes of a row that breaks it.")
    max_bad: str | None = Field(None, description="The most rows that may be set aside: 100, or 1%.")
    recipe: Path | None = Field(None, description="YAML of the steps that clean [default: a cautious one, printed].")
    delimiter: str | None = Field(None, description="Of a text table [default: found out].")
    encoding: str | None = Field(None, description="Of a text table, as cp1252 [default: found out].")
    decimal: Literal[".", ","] | None = Field(None, description="The decimal mark, where numbers do not show it.")
    sheet: str | None = Field(None, description="Of a workbook: its name, or its number from 1.")
    header_row: int | None = Field(None, ge=1, description="Of a workbook: the row of the names [default: looked for].")
    table: str | None = Field(None, description="Of a database.")
    quantiles: Literal["exact", "sketch", "none"] = Field("exact", description="Sketched ones take fewer reads.")
    sample: int = Field(1_000, ge=10, le=5_000, description="Rows in the pair plot.")


def run(config: Config, engine: Engine, run: Run) -> None:
    """Ingest, clean, profile, show."""
    source, target = job_source(config, run, default="titanic")
    ingested = pqy.ingest(
        source,
        run.path("accepted"),
        contract=config.contract,
        engine=engine,
        on_bad=config.on_bad,
        max_bad=config.max_bad,
        quarantine=run.path("quarantine"),
        delimiter=config.delimiter,
        encoding=config.encoding,
        decimal=config.decimal,
        sheet=config.sheet,
        header=config.header_row,
        table=config.table,
    )
    tell_ingest(run, ingested)

    recipe = CAUTIOUS if config.recipe is None else config.recipe
    run.event("recipe", steps=recipe)
    cleaned = pqy.clean(ingested.dataset, recipe, to=run.path("cleaned"), dropped=run.path("dropped"), engine=engine)
    tell_clean(run, cleaned, given=config.recipe is not None)

    rows = cleaned.dataset
    columns = [c for c in config.features or rows.columns if c not in config.exclude or c == target]
    found = pqy.profile(rows, target=target, features=columns, quantiles=config.quantiles, engine=engine)
    run.profile(replace(found, data=source))
    for picture in explored(found, rows, sample=config.sample, seed=config.seed, engine=engine):
        run.plot(picture.figure, picture.title, picture.caption)


if __name__ == "__main__":
    run_job(run, Config)
