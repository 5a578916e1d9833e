"""Pictures of what is missing at once, from counts."""

from __future__ import annotations

from typing import Any

import numpy as np
import seaborn as sns

from parquetry.foundation.missing_together import Together
from parquetry.foundation.plots import INK, ORANGE, Picture, _axes, _fading
from parquetry.foundation.plots_clusters import _short
from parquetry.view import FloatArray

_ROOM_FOR_NUMBERS = 15  # columns up to which each cell has its number


def together_picture(found: Together, rows: int) -> Picture | None:
    """Of the rows in which one column is missing, the share in which another one is too.

    None where fewer than two columns have missing values.
    """
    gone = np.diag(found.pairs)
    some = np.flatnonzero(gone)
    if len(some) < 2:
        return None
    names = [_short(found.columns[i]) for i in some]
    shares = found.pairs[np.ix_(some, some)] / gone[some, None]
    side = min(11.0, 2.6 + 0.45 * len(some))
    figure, axes = _axes((max(4.4, side), max(3.2, 0.8 * side)))
    share_map(axes, shares, annot=len(some) <= _ROOM_FOR_NUMBERS, fmt=".0%", xticklabels=names, yticklabels=names)
    axes.tick_params(axis="x", rotation=90 if len(some) > 4 else 0)
    axes.set_ylabel("where this is missing …")
    axes.set_xlabel("… this is missing too")
    text = f"Of the rows without the column on the left, the share without the one below. {_patterns(found, rows)}"
    return Picture(figure, "Missing together", text.strip())


def share_map(axes: Any, shares: FloatArray, **cells: Any) -> None:
    """Shares of missing rows as a heat map from 0 to 1; ``cells`` are what seaborn knows of its cells and names."""
    sns.heatmap(
        shares,
        ax=axes,
        cmap=_fading(ORANGE),
        vmin=0.0,
        vmax=1.0,
        annot_kws={"fontsize": 8, "color": INK},
        cbar=False,
        **cells,
    )
    axes.tick_params(color=INK, labelcolor=INK, length=0, rotation=0)
    axes.grid(visible=False)


def _patterns(found: Together, rows: int) -> str:
    """The sets of columns that are most often missing in one row, in words."""
    several = [(names, count) for names, count in found.patterns if len(names) > 1][:3]
    whole = next((count for names, count in found.patterns if not names), 0)
    told = "; ".join(f"{_listed(names)} in {count:,}" for names, count in several)
    most = f" Most often at once: {told}." if told else ""
    return f"{whole:,} of {rows:,} rows have all of these.{most}"


def _listed(names: frozenset[str], most: int = 4) -> str:
    ordered = sorted(names)
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + rest
