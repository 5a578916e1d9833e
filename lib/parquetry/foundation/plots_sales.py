"""Pictures of sales, from the tables that the engine made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, PercentFormatter

from parquetry.dataset import Dataset
from parquetry.foundation.plots import BLUE, INK, ORANGE, Picture, _axes, short_number, with_unit

_POINTS = 2_000


def pictures(months: Dataset, products: Dataset | None, *, unit: str = "") -> list[Picture]:
    """The pictures of a report; without products there is no Pareto curve."""
    found = [trend_picture(pa.concat_tables(months.batches()), unit=unit)]
    if products is not None:
        found.append(pareto_picture(pa.concat_tables(products.select(["running_share", "class"]).batches())))
    return found


def trend_picture(months: pa.Table, *, unit: str = "") -> Picture:
    """Sales by month with the means of the last 3 and 12 months.

    Parameters
    ----------
    months : pyarrow.Table
        What :func:`parquetry.foundation.trends.trend_table` wrote.
    unit : str
        Of money.
    """
    figure, axes = _axes()
    at = np.array(months.column("month").to_pylist(), dtype="datetime64[D]")
    whole = months.column("whole").to_pylist()
    drawn = axes.bar(at, months.column("sales").to_numpy(), width=24, align="edge", color=BLUE, linewidth=0)
    for bar, good in zip(drawn, whole, strict=True):
        bar.set_alpha(1.0 if good else 0.4)
    for name, color, style in (("average_3", ORANGE, "-"), ("average_12", INK, ":")):
        axes.plot(at + np.timedelta64(12, "D"), months.column(name).to_pandas(), style, color=color, linewidth=1.8)
    locator: Any = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.set_ylabel(with_unit("sales", unit))
    axes.grid(visible=False, axis="x")
    pale = "" if all(whole) else " Pale: a month of which the data hold only a part."
    return Picture(
        figure, "Sales by month", f"The lines are the means of the last 3 (full) and 12 (dotted) months.{pale}"
    )


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
