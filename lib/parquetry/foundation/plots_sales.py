"""Pictures of sales, from the tables that the engine made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, PercentFormatter

from parquetry.dataset import Dataset
from parquetry.foundation.grains import MONTH, Grain
from parquetry.foundation.plots import BLUE, INK, ORANGE, Picture, _axes, short_number, with_unit

_POINTS = 2_000
_WIDTHS = {"day": 0.8, "week": 5.6, "month": 24.0, "quarter": 73.0}
"""Days that a bar is wide."""


def pictures(trend: Dataset, products: Dataset | None, *, unit: str = "", grain: Grain = MONTH) -> list[Picture]:
    """The pictures of a report; without products there is no Pareto curve."""
    found = [trend_picture(pa.concat_tables(trend.batches()), unit=unit, grain=grain)]
    if products is not None:
        found.append(pareto_picture(pa.concat_tables(products.select(["running_share", "class"]).batches())))
    return found


def trend_picture(trend: pa.Table, *, unit: str = "", grain: Grain = MONTH) -> Picture:
    """Sales by month, or another grain, with the means of the last 3 and 12 (or what the grain has).

    Parameters
    ----------
    trend : pyarrow.Table
        What :func:`parquetry.foundation.trends.trend_table` wrote.
    unit : str
        Of money.
    grain : Grain, default MONTH
    """
    figure, axes = _axes()
    at = np.array(trend.column(grain.name).to_pylist(), dtype="datetime64[D]")
    whole, width = trend.column("whole").to_pylist(), _WIDTHS[grain.name]
    drawn = axes.bar(at, trend.column("sales").to_numpy(), width=width, align="edge", color=BLUE, linewidth=0)
    for bar, good in zip(drawn, whole, strict=True):
        bar.set_alpha(1.0 if good else 0.4)
    few, many = grain.averages
    for n, color, style in ((few, ORANGE, "-"), (many, INK, ":")):
        values = trend.column(f"average_{n}").to_pandas()
        axes.plot(at + np.timedelta64(int(width / 2), "D"), values, style, color=color, linewidth=1.8)
    locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.set_ylabel(with_unit("sales", unit))
    axes.grid(visible=False, axis="x")
    word = grain.name
    pale = "" if all(whole) else f" Pale: a {word} of which the data hold only a part."
    caption = f"The lines are the means of the last {few} (full) and {many} (dotted) {word}s.{pale}"
    return Picture(figure, f"Sales by {word}", caption)


def pareto_picture(ranked: pa.Table) -> Picture:
    """How few names make most of the sales.

    Parameters
    ----------
    ranked : pyarrow.Table
        What :func:`parquetry.foundation.pareto.ranked_table` wrote.
    """
    figure, axes = _axes()
    running = ranked.column("running_share").to_numpy()
    kinds = ranked.column("class").to_pylist()
    at = np.unique(np.linspace(0, len(running) - 1, min(len(running), _POINTS)).astype(int))
    axes.plot(np.r_[0, at + 1], np.r_[0, running[at]], color=BLUE, linewidth=2.2)
    a, b = kinds.count("A"), kinds.count("A") + kinds.count("B")
    for edge in (a, b):
        axes.axvline(edge, color=INK, linewidth=0.9, linestyle=":")
    axes.set_xlabel("products, the largest first")
    axes.set_ylabel("share of sales")
    axes.set_ylim(0, 1.03)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return Picture(
        figure,
        "Pareto",
        f"A: {a:,} products make the first 80 % of the sales. B: {b - a:,} take it to 95 %. "
        f"C: the other {len(kinds) - b:,}.",
    )
