"""A benchmark's results: compared, as tables, as Parquet, as pictures, and against goals."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from matplotlib.figure import Figure

from parquetry.benchmarking.measuring import Measurement
from parquetry.foundation.plots import BLUE, INK, ORANGE, _axes

OPPOSITE = {
    "ours-dask": "ours-local",
    "ours-spark": "ours-local",
    "spark-mllib": "ours-spark",
    "dask-ml": "ours-dask",
    "pandas-sklearn": "ours-local",
    "xgboost-spark": "ours-spark",
    "xgboost-dask": "ours-dask",
    "duckdb": "ours-local",
}
"""Whom each contender's time is divided by: a peer by ours on its engine, our engines by the local one."""

_SAME = 1e-9
_BAD = ("FAILED", "TIMEOUT", "missed")
_WORDS = (*_BAD, "ABSENT")
_FILE_WIDTH = 150
_HEADINGS = [
    "row", "contender", "seconds", "least to most", "/ scan", "/ ours", "driver MiB", "worker MiB", "sum MiB",
    "answer",
]  # fmt: skip


@dataclass(frozen=True)
class Result:
    """A measurement beside the others of its row.

    Attributes
    ----------
    measured : Measurement
    to_scan : float or None
        Its median time over the bare scan's.
    opposite : str
        Whom ``to_opposite`` compares it with; "" for nobody.
    to_opposite : float or None
        Its median time over the opposite's.
    difference : float or None
        The largest difference of its answer from ours, relative to 1 + |ours|.
    """

    measured: Measurement
    to_scan: float | None
    opposite: str
    to_opposite: float | None
    difference: float | None


@dataclass(frozen=True)
class Goal:
    """Something that a benchmark should show.

    Parameters
    ----------
    text : str
    row, contender : str
        Whose measurement.
    over : str, default ""
        Compare median times with this contender's; "" takes the value itself.
    value : {"median", "driver_mib"}, default "median"
    at_most, at_least : float
    """

    text: str
    row: str
    contender: str
    over: str = ""
    value: str = "median"
    at_most: float = float("inf")
    at_least: float = 0.0

    def check(self, measured: Sequence[Measurement]) -> tuple[float | None, str]:
        """What was found, and ``"met"``, ``"missed"`` or ``"not measured"``."""
        found = _value(measured, self.row, self.contender, self.value)
        other = _value(measured, self.row, self.over, self.value) if self.over else 1.0
        if found is None or not other:
            return None, "not measured"
        ratio = found / other
        return ratio, "met" if self.at_least <= ratio <= self.at_most else "missed"


def compare(measured: Sequence[Measurement]) -> list[Result]:
    """Each measurement beside the scan, its opposite, and our answer in its row."""
    return [_compared(m, measured) for m in measured]


def main_table(results: Sequence[Result]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows for people."""
    return _HEADINGS, [_shown(r) for r in results]


def curve_table(measured: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the memory curve."""
    rows = [
        [
            m.row,
            m.contender,
            f"{m.rows:,}",
            _seconds(m),
            f"{m.driver_mib:,.0f}",
            f"{m.worker_mib:,.0f}",
            m.error or "ok",
        ]
        for m in measured
    ]
    return ["row", "contender", "rows", "seconds", "driver MiB", "largest worker MiB", "status"], rows


def goal_table(goals: Sequence[Goal], measured: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the goals for the benchmark's rows that were run."""
    run = {m.row for m in measured}
    checked = [(goal, *goal.check(measured)) for goal in goals if goal.row in run]
    rows = [[g.text, "-" if found is None else f"{found:,.3g}", word] for g, found, word in checked]
    return ["goal", "found", "verdict"], rows


def records(results: Sequence[Result]) -> list[dict[str, Any]]:
    """One flat dict for each result; what is not known is None."""
    return [
        {
            "row": r.measured.row,
            "contender": r.measured.contender,
            "rows": r.measured.rows,
            "status": r.measured.status,
            "error": r.measured.error,
            "seconds": r.measured.median,
            "seconds_min": min(r.measured.seconds, default=None),
            "seconds_max": max(r.measured.seconds, default=None),
            "repetitions": len(r.measured.seconds),
            "driver_mib": r.measured.driver_mib,
            "worker_mib": r.measured.worker_mib,
            "sum_mib": r.measured.sum_mib,
            "to_scan": r.to_scan,
            "opposite": r.opposite,
            "to_opposite": r.to_opposite,
            "difference_from_ours": r.difference,
        }
        for r in results
    ]


def write_parquet(results: Sequence[Result], path: str | os.PathLike[str]) -> None:
    """The records as a Parquet file, whose schema does not depend on what failed."""
    texts, counts = ("row", "contender", "status", "error", "opposite"), ("rows", "repetitions")
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(counts, pa.int64())
    found = records(results)
    names = list(found[0]) if found else []
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    pq.write_table(pa.Table.from_pylist(found, schema), path)


def failure_table(measured: Sequence[Measurement]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of what failed, with each error's first line."""
    return ["row", "contender", "error"], [
        [m.row, m.contender, m.error] for m in measured if m.status in ("failed", "timeout")
    ]


def show(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on the console; a file gets as much width as the table takes."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        number = i > 1 and all(row[i][:1].isdigit() or row[i] in ("-", *_WORDS) for row in rows)
        table.add_column(heading, justify="right" if number else "left", overflow="fold", no_wrap=i < 2 < len(headings))
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        ends = following is not None and row[0] != following[0] and headings == _HEADINGS
        style = "red" if any(cell in _BAD for cell in row) else "bold" if row[1].startswith("ours") else None
        table.add_row(*(Text(cell) for cell in row), style=style, end_section=ends)
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, _FILE_WIDTH))
    console.print(table)


def time_picture(results: Sequence[Result], row: str) -> Figure:
    """Median seconds of a row's contenders as bars from zero, with the span of all repetitions."""
    chosen = [r.measured for r in results if r.measured.row == row]
    figure, axes = _axes((6.4, 0.9 + 0.36 * max(3, len(chosen))))
    limit = next((m.median for m in chosen if m.contender == "scan"), None)
    for i, m in enumerate(chosen):
        color = INK if m.contender == "scan" else BLUE if m.contender.startswith("ours") else ORANGE
        label = f" {m.status.upper()}" if m.median is None else f" {m.median:.3g} s"
        axes.barh(i, m.median or 0.0, color=color, height=0.7)
        if m.median is not None:
            axes.plot([min(m.seconds), max(m.seconds)], [i, i], color=INK, linewidth=1.2)
        axes.text(max([m.median or 0.0, *(m.seconds if m.median else ())]), i, label, va="center", color=INK)
    if limit is not None:
        axes.axvline(limit, color=INK, linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(chosen)), [m.contender for m in chosen])
    axes.invert_yaxis()
    axes.margins(x=0.16)
    axes.set_xlim(left=0)
    axes.set_xlabel("seconds; the dashed line is the bare scan")
    axes.grid(visible=False, axis="y")
    return figure


def memory_picture(results: Sequence[Result], row: str) -> Figure:
    """Peak memory of a row's contenders: the driver, and all processes together."""
    chosen = [r.measured for r in results if r.measured.row == row and r.measured.status == "ok"]
    figure, axes = _axes((6.4, 1.1 + 0.36 * max(3, len(chosen))))
    places = np.arange(len(chosen))
    axes.barh(places - 0.19, [m.driver_mib for m in chosen], color=BLUE, height=0.36, label="driver")
    axes.barh(places + 0.19, [m.sum_mib for m in chosen], color=ORANGE, height=0.36, label="all processes")
    axes.set_yticks(places, [m.contender for m in chosen])
    axes.invert_yaxis()
    axes.set_xlabel("peak resident memory (MiB)")
    axes.grid(visible=False, axis="y")
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def curve_picture(measured: Sequence[Measurement]) -> Figure:
    """Peak memory of the local engine's process over the number of rows, a line for each row of the benchmark."""
    figure, axes = _axes((6.4, 3.4))
    for row in dict.fromkeys(m.row for m in measured):
        points = sorted((m.rows, m.driver_mib) for m in measured if m.row == row and m.status == "ok")
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=row)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows")
    axes.set_ylabel("peak resident memory (MiB)")
    axes.legend(frameon=False, labelcolor=INK)
    return figure


def _compared(m: Measurement, measured: Sequence[Measurement]) -> Result:
    opposite = OPPOSITE.get(m.contender, "")
    ours = next((o for o in measured if o.row == m.row and o.contender.startswith("ours") and o.status == "ok"), None)
    return Result(
        m,
        _ratio(m.median, _value(measured, m.row, "scan")),
        opposite,
        _ratio(m.median, _value(measured, m.row, opposite)),
        None if ours is None or m.status != "ok" else _difference(m.answer, ours.answer),
    )


def _value(measured: Sequence[Measurement], row: str, contender: str, name: str = "median") -> float | None:
    found = next((m for m in measured if m.row == row and m.contender == contender and m.status == "ok"), None)
    return None if found is None else getattr(found, name)


def _ratio(value: float | None, other: float | None) -> float | None:
    return None if value is None or not other else value / other


def _difference(answer: tuple[float, ...], ours: tuple[float, ...]) -> float | None:
    if not answer or not ours:
        return None
    if len(answer) != len(ours):
        return float("inf")
    a, b = np.array(answer), np.array(ours)
    return float(np.max(np.abs(a - b) / (1 + np.abs(b))))


def _shown(r: Result) -> list[str]:
    m = r.measured
    versus = "-" if r.to_opposite is None else f"{r.to_opposite:.2f} ({r.opposite.removeprefix('ours-')})"
    span = f"{min(m.seconds):.2f} to {max(m.seconds):.2f}" if m.seconds else "-"
    memory = [f"{v:,.0f}" if v else "-" for v in (m.driver_mib, m.worker_mib, m.sum_mib)]
    scan = "-" if r.to_scan is None else f"{r.to_scan:.2f}"
    return [m.row, m.contender, _seconds(m), span, scan, versus, *memory, _answer(r)]


def _answer(r: Result) -> str:
    if r.measured.status != "ok":
        return r.measured.status.upper()
    if r.difference is None:
        return "-"
    if r.difference == 0.0:
        return "same bits"
    return "same" if r.difference <= _SAME else f"differs by {r.difference:.1g}"


def _seconds(m: Measurement) -> str:
    return m.status.upper() if m.median is None else f"{m.median:.3f}"
