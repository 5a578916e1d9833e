"""Pictures of rows over time and over the season, from counts by period."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.ticker import FuncFormatter, MaxNLocator

from parquetry.foundation.plots import BLUE, INK, ORANGE, Picture, _axes, short_number
from parquetry.foundation.plots_clusters import _short
from parquetry.foundation.times import Rhythm

# Their packages have no types.
_locator: Any = AutoDateLocator
_formatter: Any = ConciseDateFormatter
_NAMES = {
    "hour of the day": [str(h) for h in range(24)],
    "day of the week": ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"],
    "month of the year": ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"],
}


def trend_picture(found: Rhythm, value: str | None = None) -> Picture:
    """Rows in each period, and below them the mean of a value where one is followed."""
    starts = found.calendar.starts().astype("M8[us]").astype(object)
    followed = value is not None and bool(found.known.any())
    figure, axes = _axes((5.6, 3.4))
    axes.set_ylabel("rows")
    axes.fill_between(starts, found.counts, step="post", color=BLUE, alpha=0.35, linewidth=0)
    axes.step(starts, found.counts, where="post", color=BLUE, linewidth=1.4)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    locator: Any = _locator(minticks=3, maxticks=8)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_formatter(locator, show_offset=False))
    axes.set_xlabel(f"{_short(found.column)}, by {found.calendar.step}")
    text = (
        f"Rows in each {found.calendar.step}; {int((found.counts == 0).sum()):,} of {found.calendar.count:,} have none."
    )
    if followed:
        _mean(axes, starts, found, str(value))
        text += f" The orange line is the mean of {value}, on the right."
    return Picture(figure, f"{found.column} over time", text)


def season_pictures(found: Rhythm) -> list[Picture]:
    """Rows by hour, weekday and month; only where the times reach over more than one of each and differ in it."""
    return [_season(found.column, name, counts) for name, counts in found.seasons.items() if (counts > 0).sum() > 1]


def _season(column: str, name: str, counts: Any) -> Picture:
    figure, axes = _axes((5.6, 2.8))
    axes.bar(range(len(counts)), counts, color=BLUE, width=0.8, linewidth=0)
    shown = _NAMES[name]
    step = 3 if len(shown) > 12 else 1
    axes.set_xticks(range(0, len(shown), step), shown[::step])
    axes.grid(visible=False, axis="x")
    axes.set_ylabel("rows")
    axes.set_xlabel(name)
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    text = f"All rows with a value, by the {name}."
    return Picture(figure, f"{column} by {name}", text)


def _mean(axes: Any, starts: Any, found: Rhythm, value: str) -> None:
    with np.errstate(invalid="ignore"):
        mean = np.divide(found.sums, found.known, out=np.full(len(found.sums), np.nan), where=found.known > 0)
    right = axes.twinx()
    right.patch.set_alpha(0)
    right.plot(starts, mean, color=ORANGE, linewidth=1.6, marker="." if len(mean) < 40 else None)
    right.tick_params(color=INK, labelcolor=INK, length=3)
    right.set_ylabel(f"mean of {_short(value)}", color=INK)
    right.yaxis.set_major_formatter(FuncFormatter(short_number))
    for spine in right.spines.values():
        spine.set_visible(False)
