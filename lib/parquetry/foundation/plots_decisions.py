"""Pictures of what a classifier decides by: the cost of its threshold, and its strongest words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from parquetry.foundation import plots
from parquetry.foundation.plots import BLUE, INK, ORANGE, Picture

if TYPE_CHECKING:
    from parquetry.classical.threshold import CostCurve

_WORDS = 10  # of each class
_ROOM = 0.3  # of the width, that a label takes


def cost_picture(curve: CostCurve, chosen: float) -> Picture:
    """The expected cost by threshold, with the chosen one and the usual one."""
    from parquetry.classical.threshold import GRID

    figure, axes = plots._axes()
    cost = curve.cost * 1000
    axes.plot(GRID, cost, color=BLUE, linewidth=1.8)
    marks = {0.5: (INK, "usual"), chosen: (ORANGE, "chosen")}
    low, high = min(marks), max(marks)
    for threshold, (color, name) in marks.items():
        left = (threshold == low < high and low > _ROOM) or threshold > 1 - _ROOM
        lower = threshold == chosen and (low <= _ROOM or high > 1 - _ROOM)  # two labels beside each other
        axes.axvline(threshold, color=color, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.plot([threshold], [curve.at(threshold)["cost_per_1000"]], "o", color=color)
        axes.annotate(
            f"{name}: {threshold:.3g}",
            xy=(threshold, 1.0),
            xycoords=axes.get_xaxis_transform(),
            xytext=(-5 if left else 5, -26 if lower else -12),
            textcoords="offset points",
            horizontalalignment="right" if left else "left",
            color=INK,
        )
    axes.set_xlim(0, 1)
    # Beyond what it costs to treat all rows alike nobody needs to look.
    axes.set_ylim(0, 1.25 * min(cost[0], cost[-1]) or None)
    axes.set_xlabel("threshold")
    axes.set_ylabel("cost per 1,000 rows")
    caption = (
        f"Rows that the model was not fitted on. A missed {curve.positive} costs {curve.cost_missed:g}, a false alarm "
        f"{curve.cost_lost:g}. At the right end nothing is taken for {curve.positive}."
    )
    return Picture(figure, "Cost by threshold", caption)


def words_picture(weights: Mapping[str, float], negative: str, positive: str) -> Picture:
    """The words that speak most for each of two classes.

    Parameters
    ----------
    weights : mapping of str to float
        Of each word, without the intercept; a positive weight speaks for ``positive``.
    negative, positive : str
        The classes' names.
    """
    ordered = sorted(weights.items(), key=lambda item: (item[1], item[0]))
    strongest = {name: weight for name, weight in ordered[-_WORDS:][::-1] if weight > 0}
    strongest |= {name: weight for name, weight in ordered[:_WORDS] if weight < 0}
    caption = (
        f"Of {len(weights):,} words and pairs of words: to the right what speaks for {positive}, "
        f"to the left for {negative}. A weight is what the tf-idf of the word is multiplied by."
    )
    return Picture(plots.coefficients(strongest), f"Strongest words of {positive} and {negative}", caption)
