"""Pictures of a profile, from its aggregated state only: no row is read for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import seaborn as sns
from matplotlib.ticker import FuncFormatter, MaxNLocator

from parquetry.foundation.histograms import Counted
from parquetry.foundation.plots import (
    BLUE,
    INK,
    ORANGE,
    Picture,
    _axes,
    _bars,
    _fading,
    short_number,
)
from parquetry.foundation.plots_clusters import _both_ways, _short
from parquetry.foundation.plots_missing import share_map
from parquetry.foundation.profile_results import ColumnProfile, Matrix, Profile

_MOST_CELLS = 400  # of a heat map that are annotated
_MOST_NAMES = 40  # columns of a heat map; more cannot be read


def column_picture(column: ColumnProfile) -> Picture | None:
    """A column's values: a histogram with its box, or bars of its frequent values; None where there is nothing."""
    few = column.distinct is not None and column.distinct.exact and column.distinct.count <= 10
    if column.histogram is not None and not few:
        return histogram_picture(column)
    return top_picture(column) if column.top else None


def histogram_picture(column: ColumnProfile) -> Picture:
    """A column's histogram, and above it the box of its quartiles with whiskers at 5 % and 95 %."""
    bins = column.histogram
    if bins is None:
        raise ValueError(f"{column.name} has no histogram.")
    figure, axes = _axes()
    counted = Counted(np.array(bins.edges), np.array(bins.counts), 0, 0, column.missing)
    _bars(axes, counted, BLUE)
    if column.quantiles is not None and all(isinstance(v, float) for v in column.quantiles.values):
        _box(axes, [float(v) for v in column.quantiles.values])
    axes.set_xlabel(_short(column.name))
    axes.set_ylabel("rows")
    if column.kind == "time":
        axes.set_xlabel(f"{_short(column.name)}: from {column.minimum} to {column.maximum}")
        axes.set_xticks([])
    text = f"{column.count:,} values, {column.missing:,} missing."
    boxed = " The box holds the middle half, the line in it is the median; whiskers reach from 5 % to 95 %."
    return Picture(
        figure, column.name, text + (boxed if column.quantiles is not None and column.kind != "time" else "")
    )


def top_picture(column: ColumnProfile) -> Picture:
    """The frequent values of a column as bars, the most frequent on top."""
    names = [_short(str(t.value)) or "(empty)" for t in column.top]
    counts = [t.count for t in column.top]
    figure, axes = _axes((5.6, 1.0 + 0.3 * max(3, len(names))))
    axes.barh(range(len(names)), counts, color=BLUE, height=0.72)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("rows")
    distinct = column.distinct.count if column.distinct is not None else 0
    bound = f" Counts may be too low by {column.top_error:,}." if column.top_error else ""
    return Picture(figure, column.name, f"The {len(names)} most frequent of {distinct:,} values.{bound}")


def matrix_picture(matrix: Matrix, title: str, caption: str, *, low: float = -1.0) -> Picture:
    """A matrix of correlations as a heat map; of more than 40 columns, the first."""
    names = [_short(n) for n in matrix.columns[:_MOST_NAMES]]
    n = len(names)
    values = np.array(matrix.values, dtype=np.float64)[:n, :n]
    side = min(11.0, 2.4 + 0.42 * n)
    figure, axes = _axes((max(4.2, side), max(3.4, side * 0.86)))
    sns.heatmap(
        values,
        ax=axes,
        cmap=_both_ways() if low < 0 else _fading(BLUE),
        vmin=low,
        vmax=1.0,
        annot=n * n <= _MOST_CELLS,
        fmt=".2f",
        annot_kws={"fontsize": 7.5, "color": INK},
        xticklabels=names,
        yticklabels=names,
        cbar=n * n > _MOST_CELLS,
        linewidths=0.0,
    )
    axes.tick_params(color=INK, labelcolor=INK, length=0)
    axes.tick_params(axis="x", rotation=90 if n > 5 else 0)
    axes.tick_params(axis="y", rotation=0)
    axes.grid(visible=False)
    cut = f" The first {n} of {len(matrix.columns):,} columns." if n < len(matrix.columns) else ""
    return Picture(figure, title, caption + cut)


def missing_picture(columns: Sequence[ColumnProfile]) -> Picture | None:
    """The share of missing values of each column that has any; None where none has."""
    gappy = sorted((c for c in columns if c.missing), key=lambda c: (-c.missing / c.rows, c.name))[:_MOST_NAMES]
    if not gappy:
        return None
    figure, axes = _axes((5.6, 1.0 + 0.3 * max(3, len(gappy))))
    shares = np.array([[c.missing / c.rows] for c in gappy])
    share_map(axes, shares, annot=True, fmt=".1%", yticklabels=[_short(c.name) for c in gappy], xticklabels=False)
    return Picture(figure, "Missing values", f"The share of rows without a value; {len(gappy)} columns have any.")


def profile_pictures(profile: Profile) -> list[Picture]:
    """The pictures of the table as a whole: what is missing, and the matrices of correlations."""
    found = [missing_picture(profile.columns)]
    matrices = (
        (profile.pearson, "Pearson's correlation", "Of straight lines, over rows in which both have a value.", -1.0),
        (profile.spearman, "Spearman's correlation", "Of ranks: any steady rise counts.", -1.0),
        (profile.cramers_v, "Cramér's V", "Of columns with few values; 0 is independent, 1 is determined.", 0.0),
    )
    found += [matrix_picture(m, title, text, low=low) for m, title, text, low in matrices if m is not None]
    return [p for p in found if p is not None]


def _box(axes: Any, values: list[float]) -> None:
    """Whiskers, box and median in a band above the bars."""
    if not np.isfinite(values).all():
        return
    top = axes.get_ylim()[1]
    least, lower, middle, upper, most = values
    axes.set_ylim(top=top * 1.22)
    height = top * 1.1
    axes.plot([least, most], [height, height], color=ORANGE, linewidth=1.4)
    axes.barh([height], [upper - lower], left=[lower], height=top * 0.11, color=ORANGE, alpha=0.75, linewidth=0)
    axes.plot([middle, middle], [height - top * 0.055, height + top * 0.055], color=INK, linewidth=1.8)
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
