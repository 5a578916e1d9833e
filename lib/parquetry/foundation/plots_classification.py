"""Pictures of a classifier, from what ``evaluate`` gives: never from rows.

Every function takes the dict of one output and gives a :class:`~parquetry.foundation.plots.Picture`.
Of many classes those are drawn that the model does worst on, and the caption says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from parquetry.foundation.plots import (
    _LONGEST_NAME,
    BLUE,
    INK,
    ORANGE,
    Picture,
    _axes,
    _fading,
    _plain,
    short_number,
)

PALETTE = (BLUE, ORANGE, "#2a9d7f", "#b565a7", "#a8860b", "#7a7f87")
"""Colors that people of any color vision tell apart, on light and on dark; blue and orange first."""
_STYLES: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)), (0, (1, 1)))
_MARKERS = "os^Dv*"
_MOST_CELLS = 12  # classes of a matrix whose cells have room for numbers
_MOST_NAMES = 40
_MOST_BARS = 25
_SQUARE = (5.2, 4.9)


def classification_pictures(scores: Mapping[str, Any], target: str) -> list[Picture]:
    """All pictures that the scores have something for."""
    pictures = []
    if scores.get("confusion_matrix") is not None:
        pictures.append(confusion_picture(scores, target))
    if len(scores["classes"]) > 2:
        pictures.append(class_bars_picture(scores))
    drawn = [(roc_picture, "roc_curve"), (precision_recall_picture, "precision_recall_curve")]
    drawn += [(gains_picture, "gains"), (calibration_picture, "calibration")]
    return pictures + [draw(scores) for draw, name in drawn if _chosen(scores, name)[0]]


def confusion_picture(scores: Mapping[str, Any], target: str = "class") -> Picture:
    """True classes as rows, predicted ones as columns; color and percent are shares of a row.

    Parameters
    ----------
    scores : mapping
        With ``confusion_matrix`` and ``classes``.
    target : str, default "class"
        The target's name, for the axes.
    """
    matrix = np.asarray(scores["confusion_matrix"], dtype=np.float64)
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros_like(matrix), where=totals > 0)
    count = len(matrix)
    side = float(np.clip(1.6 + 0.62 * count, 3.6, 8.4))
    figure, axes = _axes((side + 0.9, side))
    image = axes.imshow(np.ma.masked_equal(shares, 0), cmap=_fading(BLUE), vmin=0, vmax=1, interpolation="nearest")
    if count <= _MOST_CELLS:
        for (i, j), share in np.ndenumerate(shares):
            text = f"{share:.0%}\n{_count(float(matrix[i, j]))}" if matrix[i, j] else "0"
            axes.text(j, i, text, ha="center", va="center", color=INK, fontsize=9 if count <= 8 else 7.5)
    step = -(-count // _MOST_NAMES)
    names = [_named(label) for label in scores["classes"]][::step]
    axes.set_xticks(range(0, count, step), names, rotation=0 if max(map(len, names)) * count <= 40 else 60)
    if max(map(len, names)) * count > 40:
        for text in axes.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    axes.set_yticks(range(0, count, step), names)
    axes.set_xlabel(_plain(f"predicted {target}"))
    axes.set_ylabel(_plain(f"true {target}"))
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.045, format=PercentFormatter(1.0))
    bar.set_label("share of the true class", color=INK)
    bar.ax.tick_params(color=INK, labelcolor=INK)
    bar.outline.set_visible(False)
    caption = "Each row adds up to 100 %: what became of the rows of one true class. The diagonal is right."
    return Picture(figure, "Confusion matrix", caption)


def roc_picture(scores: Mapping[str, Any]) -> Picture:
    """The true positive rate over the false positive rate."""
    figure, axes = _axes(_SQUARE)
    chosen, left_out = _chosen(scores, "roc_curve")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.55, linewidth=1.2, linestyle=(0, (5, 3)))
    for i, (label, curve) in enumerate(chosen.items()):
        area = _of(scores, label, "roc_auc")
        axes.plot(curve["fpr"], curve["tpr"], **_line(i), label=_legend(label, "AUC", area, len(chosen)))
    _unit_square(
        axes, "false positive rate (share of the other rows)", "true positive rate (share of the class's rows)"
    )
    _legend_in(axes, len(chosen), "lower right")
    mean = scores.get("roc_auc")
    what = _positive(scores, "The model's scores for")
    caption = f"{what} The dashed line is chance. {_mean('AUC', mean, scores)} {left_out}"
    return Picture(figure, "ROC curve", " ".join(caption.split()))


def precision_recall_picture(scores: Mapping[str, Any]) -> Picture:
    """Precision over recall."""
    figure, axes = _axes(_SQUARE)
    chosen, left_out = _chosen(scores, "precision_recall_curve")
    total = sum(entry["support"] for entry in scores["per_class"].values())
    for i, (label, curve) in enumerate(chosen.items()):
        value = _of(scores, label, "average_precision")
        axes.plot(curve["recall"], curve["precision"], **_line(i), label=_legend(label, "AP", value, len(chosen)))
        share = _of(scores, label, "support") / total
        axes.plot([0, 1], [share, share], color=_line(i)["color"], alpha=0.75, linewidth=1.0, linestyle=(0, (1, 3)))
    _unit_square(axes, "recall (share of the class's rows found)", "precision (share of those found that are right)")
    _legend_in(axes, len(chosen), "lower left" if len(chosen) == 1 else "best")
    what = _positive(scores, "Rows taken for")
    caption = (
        f"{what} The dotted line is chance: the class's share of all rows. "
        f"{_mean('Average precision', scores.get('average_precision'), scores)} {left_out}"
    )
    return Picture(figure, "Precision and recall", " ".join(caption.split()))


def gains_picture(scores: Mapping[str, Any]) -> Picture:
    """What share of a class is found among the rows of greatest score."""
    figure, axes = _axes(_SQUARE)
    chosen, left_out = _chosen(scores, "gains")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.55, linewidth=1.2, linestyle=(0, (5, 3)))
    for i, (label, gains) in enumerate(chosen.items()):
        lift = f"first tenth holds {gains['gain'][0]:.0%}"
        name = lift if len(chosen) == 1 else f"{_named(label)}: {lift}"
        style = {**_line(i), "marker": _MARKERS[i % len(_MARKERS)], "markersize": 4.5}
        axes.plot([0, *gains["population"]], [0, *gains["gain"]], **style, label=name)
    _unit_square(axes, "rows looked at, by falling score", "share of the class's rows among them")
    _legend_in(axes, 2, "lower right")
    caption = f"{_positive(scores, 'Scores for')} The dashed line is a random order. {left_out}"
    return Picture(figure, "Gains", " ".join(caption.split()))


def calibration_picture(scores: Mapping[str, Any], strategy: str = "uniform") -> Picture:
    """True over predicted probability, and below it how many rows are in each bin.

    Parameters
    ----------
    scores : mapping
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width, or of equal weight.
    """
    figure, axes = _axes((5.2, 5.6))
    chosen, left_out = _chosen(scores, "calibration")
    axes.plot([0, 1], [0, 1], color=INK, alpha=0.55, linewidth=1.2, linestyle=(0, (5, 3)))
    below = axes.inset_axes((0, -0.4, 1, 0.2))
    for i, (label, found) in enumerate(chosen.items()):
        bins = found[strategy]
        style = {**_line(i), "marker": _MARKERS[i % len(_MARKERS)], "markersize": 5.5}
        axes.plot(bins["predicted"], bins["true"], **style, label=_named(label))
        below.stairs(_all_bins(bins), bins["edges"], **_line(i, width=1.4))
    _unit_square(axes, "predicted probability", "true share of the class")
    _legend_in(axes, len(chosen), "upper left")
    _count_axes(below, "rows" if _whole(chosen, strategy) else "weight")
    caption = (
        f"{_positive(scores, 'Probabilities of')} On the dashed line they are right; above it the model is too "
        f"careful. Below: how many rows there are at each. {left_out}"
    )
    return Picture(figure, "Calibration", " ".join(caption.split()))


def class_bars_picture(scores: Mapping[str, Any]) -> Picture:
    """Precision, recall and F1 of each class, the worst F1 on top."""
    each = sorted(scores["per_class"].items(), key=lambda item: (item[1]["f1"], item[0]))[:_MOST_BARS]
    figure, axes = _axes((5.6, 1.3 + 0.34 * max(3, len(each))))
    places = np.arange(len(each))
    axes.hlines(
        places,
        [min(e["precision"], e["recall"]) for _, e in each],
        [max(e["precision"], e["recall"]) for _, e in each],
        color=INK,
        alpha=0.35,
        linewidth=1.2,
    )
    for i, name in enumerate(("precision", "recall", "f1")):
        label = "F1" if name == "f1" else name
        axes.plot([e[name] for _, e in each], places, _MARKERS[i], color=PALETTE[i], markersize=7, label=label)
    names = [f"{_named(label)} ({_count(float(entry['support']))})" for label, entry in each]
    axes.set_yticks(places, names)
    axes.set_ylim(len(each) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.02)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("score")
    axes.grid(visible=False, axis="y")
    legend = axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, handletextpad=0.1)
    _in_ink(legend)
    left = len(scores["per_class"]) - len(each)
    caption = "In brackets the rows of the class." + (f" The {len(each)} worst; {left} do better." if left else "")
    return Picture(figure, "Scores by class", caption)


# --- what the pictures share ----------------------------------------------------------------
def _chosen(scores: Mapping[str, Any], name: str) -> tuple[dict[str, Any], str]:
    """The curves that are drawn, by class, and a sentence on those that are not."""
    found = scores.get(name)
    labels = list(scores["per_class"])
    if not found:
        return {}, ""
    if len(labels) <= 2:
        return {labels[-1]: found}, ""
    known = {label: curve for label, curve in found.items() if curve is not None}
    worst = sorted(known, key=lambda label: _of(scores, label, "average_precision"))[: len(PALETTE)]
    left = len(labels) - len(worst)
    # In the order of the classes, so that a class has one color in all pictures of a model.
    drawn = {label: known[label] for label in labels if label in worst}
    return drawn, f"The {len(worst)} classes of least average precision; {left} are not drawn." if left else ""


def _of(scores: Mapping[str, Any], label: str, name: str) -> Any:
    return scores["per_class"][label][name]


def _line(i: int, width: float = 2.0) -> dict[str, Any]:
    return {"color": PALETTE[i % len(PALETTE)], "linestyle": _STYLES[i % len(_STYLES)], "linewidth": width}


def _named(label: Any) -> str:
    text = str(label)
    return _plain(text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 1]}…")


def _legend(label: str, what: str, value: float | None, curves: int) -> str:
    told = what if value is None else f"{what} {value:.3f}"
    return told if curves == 1 else f"{_named(label)}: {told}"


def _positive(scores: Mapping[str, Any], what: str) -> str:
    classes = scores["classes"]
    return f"{what} {classes[1]!r}." if len(classes) == 2 else f"{what} each class against the rest."


def _mean(what: str, value: float | None, scores: Mapping[str, Any]) -> str:
    if len(scores["classes"]) == 2:
        return ""
    return f"{what}, mean of all classes: {value:.3f}." if value is not None else ""


def _unit_square(axes: Any, x: str, y: str) -> None:
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_aspect("equal")
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
        axis.set_major_locator(MaxNLocator(6))


def _legend_in(axes: Any, curves: int, place: str) -> None:
    handles, _ = axes.get_legend_handles_labels()
    if handles:
        _in_ink(axes.legend(loc=place, frameon=False, handlelength=2.6, fontsize=9.5 if curves <= 4 else 8.5))


def _in_ink(legend: Any) -> None:
    for text in legend.get_texts():
        text.set_color(INK)


def _count_axes(axes: Any, what: str) -> None:
    axes.patch.set_alpha(0)
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(what, color=INK)
    axes.tick_params(color=INK, labelcolor=INK, length=3, labelbottom=False)
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.yaxis.set_major_locator(MaxNLocator(3))
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    axes.grid(visible=True, axis="y", color=INK, alpha=0.14, linewidth=0.7)


def _all_bins(bins: Mapping[str, Any]) -> Any:
    """The weight of every bin, of empty ones too."""
    place = np.searchsorted(bins["edges"][1:-1], bins["predicted"], side="left")
    return np.bincount(place, bins["weight"], minlength=len(bins["edges"]) - 1)


def _count(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and value < 100_000 else short_number(value)


def _whole(chosen: Mapping[str, Any], strategy: str) -> bool:
    weights: Sequence[float] = [w for found in chosen.values() for w in found[strategy]["weight"]]
    return all(float(w).is_integer() for w in weights)
