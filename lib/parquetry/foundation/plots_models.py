"""Pictures that compare models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from parquetry.foundation import plots
from parquetry.foundation.plots import BLUE, INK, ORANGE, Picture


def folds_picture(
    scores: Mapping[str, Sequence[float]],
    measure: str,
    *,
    means: Mapping[str, float] | None = None,
    baseline: float | None = None,
) -> Picture:
    """Each model's score on every fold, and their mean; the best one first.

    Parameters
    ----------
    scores : mapping of str to sequence of float
        By model: one score a fold.
    measure : str
        Of which more is better.
    means : mapping of str to float, default None
        By model: the mean that the other numbers tell, by rows say; None for that of the folds.
    baseline : float or None, default None
        What knowing nothing would score.
    """
    figure, axes = plots._axes()
    means = means or {name: float(np.mean(values)) for name, values in scores.items()}
    order = sorted(scores, key=lambda name: means[name])
    for place, name in enumerate(order):
        values, mean = np.asarray(scores[name]), means[name]
        axes.plot(values, np.full(len(values), place), "o", color=BLUE, alpha=0.55, markersize=6)
        axes.plot([mean, mean], [place - 0.28, place + 0.28], color=ORANGE, linewidth=2.6)
        axes.annotate(
            f"{mean:.3f}", xy=(mean, place + 0.3), color=INK, horizontalalignment="center", verticalalignment="bottom"
        )
    if baseline is not None:
        axes.axvline(baseline, color=INK, linewidth=1.4, linestyle=(0, (5, 3)))
    axes.set_yticks(range(len(order)), [plots._plain(name) for name in order])
    axes.set_ylim(-0.6, len(order) - 0.2)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel(measure)
    beside = "" if baseline is None else " The dashed line is what always guessing the most frequent class scores."
    caption = f"A dot for each fold, a bar for their mean; every model was searched for without the fold.{beside}"
    return Picture(figure, f"{measure.capitalize()} of the models", caption)


def permutation_picture(grown: Mapping[str, float]) -> Picture:
    """By how much the loss grows when a column is shuffled; the largest first."""
    shown = dict(sorted(grown.items(), key=lambda pair: -pair[1])[:15])
    figure, axes = plots._axes()
    names = list(shown)[::-1]
    axes.barh(range(len(names)), [shown[name] for name in names], height=0.7, color=BLUE)
    axes.set_yticks(range(len(names)), [plots._plain(name) for name in names])
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("growth of the log loss")
    caption = "How much worse the model gets when a column is shuffled among the rows that it was not fitted on."
    return Picture(figure, "What the model goes by", caption)
