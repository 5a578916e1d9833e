"""Measure Parquetry beside its peers: the same rows, the same cores, a fresh process for each.

    python jobs/scale/benchmark.py
    python jobs/scale/benchmark.py --rows 1000000 --only linear --contenders scan,ours-local,pandas-sklearn
    python jobs/scale/benchmark.py --only linear --contenders ours-local --memory-curve 5000000,20000000

With no --input it generates its rows, once; with --input it measures on a copy of your own numeric
columns. All engines are started here, each for its own contender. Starting an engine is not
counted, everybody does the work once on a few rows to warm up, and the files are in the page cache.
ydata-profiling needs an environment of its own: `python -m venv ydata`, `ydata/bin/pip install
ydata-profiling pyarrow`, then `--peer-python ydata/bin/python`; without one it is reported as not installed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt

from parquetry.benchmarking import results, sets
from parquetry.benchmarking.contenders import CONTENDERS
from parquetry.benchmarking.goals import GOALS
from parquetry.benchmarking.measuring import Measurement, measure, measure_import
from parquetry.benchmarking.rows import ROWS
from parquetry.benchmarking.worker import Order
from parquetry.config import JobConfig
from parquetry.engine import Engine, parse_bytes
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_input


class Config(JobConfig):
    """The benchmark: what is measured, on how much data, how often."""

    target: str = Field("y", description="With --input: the column to predict, a number.")
    features: int = Field(20, ge=1, le=2000, description="How many feature columns are generated.")  # type: ignore[assignment]
    engine: Literal["local"] = Field("local", description="Not a choice here: choose with --contenders.")  # type: ignore[assignment]
    workers: int = Field(2, ge=1, description="Cores that each contender may use.")
    rows: int = Field(5_000_000, ge=1, description="How many rows are generated.")
    keys: int = Field(4_000_000, ge=1, description="How many rows are generated for the encode row.")
    tables: int = Field(12_000_000, ge=1, description="How many rows of CSV are generated for the ingest row: 1 GB.")
    texts: int = Field(1_000_000, ge=1, description="How many texts are generated for the text row.")
    only: list[Literal[tuple(ROWS)]] = Field(list(ROWS), description=f"Rows of the benchmark: {', '.join(ROWS)}.")  # type: ignore[valid-type]
    contenders: list[Literal[tuple(CONTENDERS)]] = Field(  # type: ignore[valid-type]
        list(CONTENDERS), description=f"Who takes part: {', '.join(CONTENDERS)}."
    )
    repeat: int = Field(3, ge=1, description="Repetitions; the median is shown, with least and most.")
    timeout: float = Field(
        900.0, gt=0, description="Seconds that one contender may take for one row, start-up included."
    )
    codec: Literal[sets.CODECS] = Field("zstd", description="How the Parquet files are compressed.")  # type: ignore[valid-type]
    data: Path = Field(Path("runs/benchmark-data"), description="Where generated sets are kept between runs.")
    peer_python: Path | None = Field(None, description="Contender ydata: the interpreter of its own environment.")
    memory_curve: list[PositiveInt] = Field(
        [], description="Also: the local engine's peak memory at these numbers of rows."
    )


def run(config: Config, _engine: Engine, run: Run) -> None:
    """Make the data, measure everybody, compare, show."""
    kinds = {ROWS[row].data for row in config.only}
    data = {kind: made(config, run, kind) for kind in sorted(kinds)}
    run.origin("; ".join(d.origin for d in data.values()))
    for chosen in data.values():
        sets.read_ahead(chosen)
    measured = [measure_import(config.repeat)]
    for row in config.only:
        measured += [take(config, run, row, name, data[ROWS[row].data]) for name in config.contenders]
    compared = results.compare(measured)
    numbers = [row for row in config.only if ROWS[row].data == "numbers"]
    larger = [generated(config, rows) for rows in config.memory_curve]
    curve = [take(config, run, row, "ours-local", d) for d in larger for row in numbers]

    shown = {"results": results.records(compared), "curve": results.records(results.compare(curve))}
    run.write_json("results.json", shown)
    results.write_parquet(compared, run.path("results.parquet"))
    sizes = "; ".join(f"{d.rows:,} rows of {kind}, {len(d.features)} columns" for kind, d in data.items())
    title = f"{sizes}, {config.codec}; {config.workers} cores, median of {config.repeat}"
    tables = {title: results.main_table(compared), "Goals": results.goal_table(GOALS, measured)}
    if any(m.status in results.UNMEASURED for m in measured + curve):
        tables["What was not measured"] = results.failure_table(measured + curve)
    if curve:
        tables["Memory of the local engine"] = results.curve_table(curve)
        run.plot(results.curve_picture(curve), "Memory by rows", "Peak of the local engine's process.")
    for name, (headings, rows) in tables.items():
        results.show(name, headings, rows)
        run.table(name, headings, rows)
    for row in config.only:
        time = f"Time: {ROWS[row].what}"
        run.plot(results.time_picture(compared, row), time, "Median, and the span of all repetitions.")
        run.plot(results.memory_picture(compared, row), f"Memory: {row}", "Pages that processes share count for each.")


def made(config: Config, run: Run, kind: str) -> sets.BenchmarkSet:
    if kind != "numbers":
        return sets.GENERATORS[kind](config.data, getattr(config, kind), codec=config.codec, seed=config.seed)
    if config.input is None:
        return generated(config, config.rows)
    source = open_input(config.input, run.path("input"))
    return sets.copy(config.data, source, target=config.target, exclude=config.exclude, codec=config.codec)


def generated(config: Config, rows: int) -> sets.BenchmarkSet:
    return sets.generate(config.data, rows, config.features, codec=config.codec, seed=config.seed)


def take(config: Config, run: Run, row: str, name: str, data: sets.BenchmarkSet) -> Measurement:
    memory = None if config.memory is None else parse_bytes(config.memory)
    peer = None if config.peer_python is None else str(config.peer_python)
    order = Order(row, name, data, config.repeat, config.workers, memory, peer)
    found = measure(order, timeout=config.timeout, log=run.path(f"logs/{row}-{name}-{data.rows}.log"))
    run.event("measured", row=row, contender=name, status=found.status, seconds=found.median, note=found.error or None)
    return found


if __name__ == "__main__":
    run_job(run, Config)
