"""Pictures of a target along other columns, from counts and means of groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, PercentFormatter

from parquetry.foundation.plots import BLUE, INK, Picture, _axes, short_number
from parquetry.foundation.plots_classification import PALETTE
from parquetry.foundation.plots_clusters import _short
from parquetry.foundation.profile_results import TargetColumn, TargetView

MOST_COLUMNS = 8
_MOST_CLASSES = len(PALETTE) - 1
_MOST_GROUPS = 12


def target_pictures(view: TargetView) -> list[Picture]:
    """The target along the columns that tell most of it: bars of shares, or of means; at most eight."""
    told = [c for c in view.columns if len(c.groups) > 1 and c.strength == c.strength]
    ranked = sorted(told, key=lambda c: (-c.strength, c.column))[:MOST_COLUMNS]
    return [shares_picture(view, c) if view.classes else means_picture(view, c) for c in ranked]


def shares_picture(view: TargetView, column: TargetColumn) -> Picture:
    """The share of each class in each group, as one bar a group."""
    groups = column.groups[:_MOST_GROUPS]
    shares = np.array([g.shares for g in groups])
    order = np.argsort(-shares.sum(axis=0), kind="stable")[:_MOST_CLASSES]
    kept = np.sort(order)
    figure, axes = _frame(groups)
    start = np.zeros(len(groups))
    for place, i in enumerate(kept.tolist()):
        axes.barh(
            range(len(groups)), shares[:, i], left=start, height=0.72, color=PALETTE[place % _MOST_CLASSES],
            linewidth=0, label=_short(str(view.classes[i])),
        )  # fmt: skip
        start += shares[:, i]
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel(f"share of the rows, by {_short(view.target)}")
    axes.legend(
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(4, len(kept)),
        frameon=False,
        labelcolor=INK,
        fontsize=9,
    )
    text = f"Cramér's V {column.strength:.3f}.{_left_out(column, len(view.classes) - len(kept))}"
    return Picture(figure, f"{view.target} along {column.column}", text)


def means_picture(view: TargetView, column: TargetColumn) -> Picture:
    """The mean of the target in each group; the thin line is a standard deviation to both sides."""
    groups = column.groups[:_MOST_GROUPS]
    means = np.array([np.nan if g.mean is None else g.mean for g in groups])
    spread = np.array([np.nan if g.deviation is None else g.deviation for g in groups])
    figure, axes = _frame(groups)
    axes.barh(range(len(groups)), means, height=0.72, color=BLUE, linewidth=0)
    axes.errorbar(
        means, range(len(groups)), xerr=np.nan_to_num(spread), fmt="none", ecolor=INK, elinewidth=0.8, alpha=0.6
    )
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.set_xlabel(f"mean of {_short(view.target)}")
    text = f"Correlation ratio {column.strength:.3f}. The thin lines are a standard deviation to each side."
    return Picture(figure, f"{view.target} along {column.column}", text + _left_out(column, 0))


def _frame(groups: Sequence[Any]) -> tuple[Any, Any]:
    figure, axes = _axes((5.6, 1.3 + 0.32 * max(3, len(groups))))
    axes.set_yticks(
        range(len(groups)), [f"{_short(str(g.label)) or '(empty)'}  ({short_number(g.rows)})" for g in groups]
    )
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    return figure, axes


def _left_out(column: TargetColumn, classes: int) -> str:
    groups = len(column.groups) - _MOST_GROUPS
    told = f" {groups:,} more groups are in the table." if groups > 0 else ""
    return told + (f" {classes:,} more classes are in the table." if classes > 0 else "")
