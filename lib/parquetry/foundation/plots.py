"""Pictures from aggregated state: figures are drawn from counts, never from rows.

Figures are plain ``matplotlib.figure.Figure`` objects on a transparent ground; nothing global is
set. All text and lines are drawn in :data:`INK`; :func:`as_svg` turns it into the page's own text
color, so that one picture reads well on light and on dark.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, LogNorm, to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from parquetry.foundation.histograms import (
    Counted,
    Counted2D,
    Extent,
    Histogram,
    Histogram2D,
    Prediction,
    Residual,
    Stored,
    Target,
    footer_edges,
    pleasant_edges,
)

if TYPE_CHECKING:
    from parquetry.dataset import Dataset
    from parquetry.engine import Engine

INK = "#24292f"
BLUE = "#3d82d6"
ORANGE = "#dd7a31"
_SIZE = (5.6, 3.7)
_RC: Any = {"svg.fonttype": "path", "svg.hashsalt": "parquetry", "font.size": 10.5}
_IMPORTANCES = {
    "gain": ("gain", "By how much a split on each feature lowers the loss, on average."),
    "permutation": ("growth of the loss", "How much worse the model gets when a column is shuffled."),
    "shap": (
        "mean absolute SHAP value",
        "How far each feature moves a prediction (of a class: its log odds), on average over the rows.",
    ),
}
_TOP = 20
_LONGEST_NAME = 30


@dataclass(frozen=True)
class Picture:
    """A figure with its title and a sentence on how to read it."""

    figure: Figure
    title: str
    caption: str


def regression_pictures(
    model: Any, train: Dataset, test: Dataset, *, target: str, rmse: float, engine: Engine, unit: str = ""
) -> list[Picture]:
    """The target's distribution, prediction against truth, and residuals: one pass over each part.

    Parameters
    ----------
    model : fitted regressor
    train, test : Dataset
        The target's distribution is that of both together; the rest is of the test part.
    target : str
    rmse : float
        The model's error on the test part: it sets the range of the residuals' picture.
    engine : Engine
    unit : str, default ""
        The target's unit, for the axes.
    """
    from parquetry.fit_checks import make_view
    from parquetry.fitting import run_pass
    from parquetry.scoring import model_features

    seen = make_view(train, target=None, features=[target])
    view = make_view(test, target=target, features=model_features(model, None))
    edges = footer_edges(test, target)
    if edges is None:
        ranges = [
            run_pass(engine, [(Extent(Stored(target)), v)], label="extent-of-target")[0]
            for v in (seen, make_view(test, target=None, features=[target]))
        ]
        edges = pleasant_edges(min(r[0] for r in ranges), max(r[1] for r in ranges))
    around = pleasant_edges(-4 * rmse, 4 * rmse, bins=60) if rmse > 0 else np.array([-1.0, 0.0, 1.0])
    (learned,) = run_pass(engine, [(Histogram(Stored(target), edges), seen)], label="picture-of-target")
    tested, pairs, errors = run_pass(
        engine,
        [
            (Histogram(Target(), edges), view),
            (Histogram2D(Target(), Prediction(model), edges, edges), view),
            (Histogram(Residual(model), around), view),
        ],
        label="pictures-of-predictions",
    )
    name = with_unit(target, unit)
    everything = together(learned, tested)
    return [
        Picture(
            distribution(everything, name),
            f"Distribution of {target}",
            f"All {everything.total:,} rows, train and test. {_beyond(everything)}".strip(),
        ),
        Picture(
            against_truth(pairs, name),
            "Prediction against truth",
            f"Test rows; a perfect model's lie on the dashed line. {_outside(pairs)}".strip(),
        ),
        Picture(
            residuals(errors, with_unit("truth less prediction", unit)),
            "Residuals",
            f"Test rows; right of zero the model guessed too low. {_beyond(errors)}".strip(),
        ),
    ]


def coefficient_picture(weights: Mapping[str, float], *, unit: str = "") -> Picture:
    """A linear model's weights, without the intercept, with their title and caption."""
    from parquetry.coefficients import INTERCEPT

    shown = {name: weight for name, weight in weights.items() if name != INTERCEPT}
    caption = f"The {_TOP} of largest size, of {len(shown):,}. " if len(shown) > _TOP else ""
    return Picture(coefficients(shown, unit), "Coefficients", f"{caption}What one step of the prepared feature adds.")


def importance_picture(importances: Mapping[str, float], kind: str) -> Picture:
    """What features count for, by one kind of ``parquetry.boosting.importances``, with title and caption."""
    measure, meaning = _IMPORTANCES.get(kind, (kind, f"The {kind} of each feature."))
    figure = coefficients(importances)
    figure.axes[0].set_xlabel(_plain(measure))
    left = f"The {_TOP} largest, of {len(importances):,}. " if len(importances) > _TOP else ""
    return Picture(figure, "What counts", f"{left}{meaning}")


def together(left: Counted, right: Counted) -> Counted:
    """Two histograms over the same edges as one."""
    return Counted(
        left.edges,
        left.counts + right.counts,
        left.under + right.under,
        left.over + right.over,
        left.missing + right.missing,
    )


def distribution(counted: Counted, name: str) -> Figure:
    """A histogram as bars."""
    figure, axes = _axes()
    _bars(axes, counted, BLUE)
    axes.set_xlabel(_plain(name))
    axes.set_ylabel("rows")
    return figure


def residuals(counted: Counted, name: str) -> Figure:
    """A histogram around zero."""
    figure, axes = _axes()
    _bars(axes, counted, BLUE)
    axes.axvline(0, color=ORANGE, linewidth=1.6, linestyle=(0, (5, 3)))
    axes.set_xlabel(_plain(name))
    axes.set_ylabel("rows")
    return figure


def against_truth(counted: Counted2D, name: str) -> Figure:
    """Truth to the right, prediction upwards, the number of rows as depth of color, and the diagonal."""
    figure, axes = _axes((5.6, 4.6))
    x, y = counted.x_edges, counted.y_edges
    shown = np.ma.masked_equal(counted.counts.T, 0)
    image = axes.imshow(
        shown,
        origin="lower",
        extent=(x[0], x[-1], y[0], y[-1]),
        cmap=_fading(BLUE),
        norm=LogNorm(1, max(2, int(counted.counts.max(initial=1)))),
        aspect="auto",
        interpolation="nearest",
    )
    low, high = max(x[0], y[0]), min(x[-1], y[-1])
    axes.plot([low, high], [low, high], color=ORANGE, linewidth=1.6, linestyle=(0, (5, 3)))
    axes.set_xlabel(_plain(f"true {name}"))
    axes.set_ylabel(_plain(f"predicted {name}"))
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05, format=FuncFormatter(short_number))
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.set_label("rows", color=INK)
    bar.ax.tick_params(color=INK, labelcolor=INK, which="both")
    bar.outline.set_visible(False)
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    return figure


def coefficients(weights: Mapping[str, float], unit: str = "") -> Figure:
    """The weights of largest size as horizontal bars, the largest on top; at most 20."""
    largest = sorted(weights.items(), key=lambda item: (-abs(item[1]), item[0]))[:_TOP]
    names = [n if len(n) <= _LONGEST_NAME else f"{n[: _LONGEST_NAME - 1]}…" for n, _ in largest]
    values = [v for _, v in largest]
    figure, axes = _axes((5.6, 1.0 + 0.3 * max(3, len(values))))
    axes.barh(range(len(values)), values, color=[BLUE if v >= 0 else ORANGE for v in values], height=0.72)
    axes.set_yticks(range(len(values)), [_plain(n) for n in names])
    axes.invert_yaxis()
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_xlabel(_plain(with_unit("weight", unit)))
    axes.grid(visible=False, axis="y")
    return figure


def as_svg(figure: Figure, title: str) -> str:
    """A figure as an ``<svg>`` element for an HTML page: no request, no script, the page's text color."""
    buffer = io.StringIO()
    with mpl.rc_context(_RC):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->|<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r' (?:width|height)="[\d.]+pt"', "", text, count=2)
    text = text.replace(INK, "currentColor")
    # Several pictures stand in one page: what one refers to must not be another's.
    own = f"p{abs(hash_text(title)):x}-"
    text = re.sub(r'(\bid="|href="#|url\(#)', lambda m: m.group(1) + own, text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """A figure as a PNG file on white."""
    ground = figure.patch.get_alpha()
    figure.patch.set_alpha(1)  # a viewer may have a dark ground, on which ink is not seen
    with mpl.rc_context(_RC):
        figure.savefig(path, format="png", dpi=160, facecolor="white", bbox_inches="tight", metadata={"Software": None})
    figure.patch.set_alpha(ground)


def short_number(value: float, _position: Any = None) -> str:
    """``450000`` as ``450k``."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}"


def with_unit(name: str, unit: str) -> str:
    """``name (unit)``, or the name alone."""
    return f"{name} ({unit})" if unit else name


def hash_text(text: str) -> int:
    """A small number that is the same in every process, unlike ``hash``."""
    import zlib

    return zlib.crc32(text.encode())


def _axes(size: tuple[float, float] = _SIZE) -> tuple[Figure, Any]:
    with mpl.rc_context(_RC):
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    figure.patch.set_alpha(0)
    axes.patch.set_alpha(0)
    axes.tick_params(color=INK, labelcolor=INK, length=3)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_color(INK)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(INK)
    axes.grid(visible=True, color=INK, alpha=0.14, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_formatter(FuncFormatter(short_number))
    axes.xaxis.set_major_locator(MaxNLocator(6))
    return figure, axes


def _bars(axes: Any, counted: Counted, color: str) -> None:
    axes.bar(
        counted.edges[:-1], counted.counts, width=np.diff(counted.edges) * 0.92, align="edge", color=color, linewidth=0
    )
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))


def _fading(color: str) -> LinearSegmentedColormap:
    """From a pale tint to the full color, by opacity, so that any ground shows through."""
    red, green, blue = to_rgb(color)
    ends = [(red, green, blue, 0.16), (red, green, blue, 1.0)]
    return LinearSegmentedColormap.from_list("fading", ends)


def _plain(text: str) -> str:
    """A name as plain text on one line: matplotlib would read what stands between dollars as a formula."""
    return "".join(c if c.isprintable() else " " for c in text).replace("$", r"\$")


def _beyond(counted: Counted) -> str:
    beyond = counted.under + counted.over
    parts = [f"{beyond:,} rows lie beyond the picture." if beyond else ""]
    parts.append(f"{counted.missing:,} are missing." if counted.missing else "")
    return " ".join(p for p in parts if p)


def _outside(counted: Counted2D) -> str:
    return f"{counted.outside:,} rows lie beyond the picture." if counted.outside else ""
