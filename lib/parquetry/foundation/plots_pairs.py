"""A pair plot: a stated sample of rows, beside histograms of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from parquetry.foundation.plots import _RC, BLUE, INK, Picture, short_number
from parquetry.foundation.plots_classification import PALETTE
from parquetry.foundation.plots_clusters import _short
from parquetry.foundation.profile_results import ColumnProfile
from parquetry.view import FloatArray

MOST_COLUMNS = 5
MOST_CLASSES = len(PALETTE) - 1


def pair_picture(
    columns: Sequence[ColumnProfile],
    sample: FloatArray,
    *,
    rows: int,
    classes: Sequence[str] = (),
    codes: Sequence[int] | None = None,
    along: str = "",
) -> Picture:
    """Every pair of some columns as dots, and each by itself as the histogram of all rows.

    Parameters
    ----------
    columns : sequence of ColumnProfile
        Of numbers; at most ``MOST_COLUMNS`` are drawn.
    sample : ndarray of shape (n_sample, n_columns)
    rows : int
        How many rows the sample was taken from.
    classes : sequence of str, default ()
    codes : sequence of int, default None
        The class of each row of the sample, for its color; -1 for none.
    along : str, default ""
        What the classes are of.
    """
    shown = columns[:MOST_COLUMNS]
    n = len(shown)
    with mpl.rc_context(_RC):
        figure = Figure(figsize=(1.5 + 1.15 * n, 0.9 + 1.1 * n), layout="constrained")
        FigureCanvasAgg(figure)
        grid: Any = figure.subplots(n, n, squeeze=False, sharex="col")
    figure.patch.set_alpha(0)
    colors: Any = (
        BLUE if codes is None else [PALETTE[int(c) % (len(PALETTE) - 1)] if c >= 0 else PALETTE[-1] for c in codes]
    )
    for i, j in np.ndindex(n, n):
        axes = grid[i, j]
        _plain_axes(axes, bottom=i == n - 1, left=j == 0)
        if i == j:
            _own(axes, shown[i])
        elif j < i:
            axes.scatter(sample[:, j], sample[:, i], s=5, c=colors, alpha=0.55, linewidths=0, rasterized=True)
        else:
            axes.set_visible(False)
        if j == 0:
            axes.set_ylabel(_short(shown[i].name), color=INK, fontsize=8)
        if i == n - 1:
            axes.set_xlabel(_short(shown[j].name), color=INK, fontsize=8)
    if codes is not None:
        _legend(figure, classes, along)
    stated = (
        f"Dots: a sample of {len(sample):,} of {rows:,} rows, drawn by hash" if len(sample) < rows else "Dots: all rows"
    )
    figure.suptitle(stated, color=INK, fontsize=9)
    text = f"{stated}. The histograms are of all {rows:,} rows."
    return Picture(figure, "Pairs of columns", text)


def _plain_axes(axes: Any, *, bottom: bool, left: bool) -> None:
    axes.patch.set_alpha(0)
    axes.tick_params(color=INK, labelcolor=INK, length=2, labelsize=7, labelbottom=bottom, labelleft=left)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("bottom", "left"))
        spine.set_color(INK)
        spine.set_alpha(0.4)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(3))
        axis.set_major_formatter(FuncFormatter(short_number))


def _own(axes: Any, column: ColumnProfile) -> None:
    """The histogram of all rows; its heights have no scale of their own."""
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if column.histogram is not None:
        edges = np.array(column.histogram.edges)
        axes.bar(edges[:-1], column.histogram.counts, width=np.diff(edges), align="edge", color=BLUE, linewidth=0)


def _legend(figure: Figure, classes: Sequence[str], along: str) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=6, color=PALETTE[i % (len(PALETTE) - 1)])
        for i in range(len(classes))
    ]
    legend = figure.legend(
        marks, [_short(c) for c in classes], title=_short(along), loc="upper right", frameon=False, labelcolor=INK
    )
    legend.get_title().set_color(INK)
