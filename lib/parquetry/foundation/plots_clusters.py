"""Pictures of clusters, from aggregated state or a stated sample: never from all rows."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.ticker import FuncFormatter, MaxNLocator

from parquetry.foundation.plots import _LONGEST_NAME, BLUE, INK, ORANGE, Picture, _axes, _plain, short_number
from parquetry.foundation.plots_classification import PALETTE

_MOST_FEATURES = 20
_ROOM_FOR_NUMBERS = 160  # cells of a profile that are annotated
_LABEL = 13  # letters in a line of a cluster's name
_MARKERS = "os^Dv*PX"
_DRAWN_AS_DOTS = 1500  # more points become one image within the picture: a page of paths would be slow
NOISE = -1


def elbow_picture(
    curve: Sequence[Sequence[float]], *, chosen: int | None = None, name: str = "inertia (sum of squared distances)"
) -> Picture:
    """A model's cost for each number of clusters.

    Parameters
    ----------
    curve : sequence of (k, cost, ...)
        More than two entries of each are allowed and not drawn.
    chosen : int, default None
        The number of clusters that was taken; it is marked.
    name : str
        What the cost is, for the axis.
    """
    points = sorted((float(point[0]), float(point[1])) for point in curve)
    k, cost = [p[0] for p in points], [p[1] for p in points]
    figure, axes = _axes()
    axes.plot(k, cost, "-o", color=BLUE, linewidth=2.0, markersize=5.5)
    if chosen is not None and float(chosen) in k:
        at = k.index(float(chosen))
        axes.plot([k[at]], [cost[at]], "o", color=ORANGE, markersize=10)
        axes.annotate(
            f"{chosen} clusters: {short_number(cost[at])}",
            (k[at], cost[at]),
            xytext=(8, 10),
            textcoords="offset points",
            color=INK,
        )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("number of clusters")
    axes.set_ylabel(_plain(name))
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(short_number))
    caption = "It falls with every cluster; where the curve bends, further ones add little."
    return Picture(figure, "Elbow curve", f"{caption} The one that was taken is marked." if chosen else caption)


def profile_picture(
    centers: npt.ArrayLike,
    features: Sequence[str],
    *,
    sizes: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
) -> Picture:
    """What is special about each cluster: its center in standard deviations from the mean of all rows.

    Parameters
    ----------
    centers : array-like of shape (n_clusters, n_features)
        Standardized: 0 is the mean over all rows, 1 a standard deviation above it.
    features : sequence of str
    sizes : sequence of float, default None
        Rows, or weight, of each cluster: shown as shares.
    names : sequence of str, default None
        The clusters' names, beside their numbers, which count from 0.
    """
    values = np.asarray(centers, dtype=np.float64)
    order = np.argsort(-(values.max(axis=0) - values.min(axis=0)), kind="stable")[:_MOST_FEATURES]
    shown = values[:, order].T
    rows, columns = shown.shape
    labels = [str(i) if names is None else fill(f"{i}: {_short(names[i])}", _LABEL) for i in range(columns)]
    cell, lines = (0.72, 1) if names is None else (1.15, max(label.count("\n") + 1 for label in labels))
    figure, axes = _axes((float(np.clip(2.6 + cell * columns, 4.6, 12.0)), 1.5 + 0.18 * lines + 0.34 * max(3, rows)))
    limit = max(1.0, float(np.abs(shown).max()))
    image = axes.imshow(shown, cmap=_both_ways(), vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    if shown.size <= _ROOM_FOR_NUMBERS:
        for (i, j), value in np.ndenumerate(shown):
            axes.text(j, i, f"{value:+z.1f}", ha="center", va="center", color=INK, fontsize=9)
    axes.set_yticks(range(rows), [_short(features[i]) for i in order])
    if sizes is not None:
        total = float(np.sum(sizes))
        labels = [f"{label}\n{size / total:.0%}" for label, size in zip(labels, sizes, strict=True)]
    axes.set_xticks(range(columns), labels)
    axes.set_xlabel("cluster, and its share of the rows" if sizes is not None else "cluster")
    axes.grid(visible=False)
    axes.spines["bottom"].set_visible(False)
    bar = figure.colorbar(image, ax=axes, pad=0.02, fraction=0.05)
    bar.set_label("standard deviations from the mean", color=INK)
    bar.ax.tick_params(color=INK, labelcolor=INK)
    bar.outline.set_visible(False)
    left = values.shape[1] - rows
    caption = "Orange is above the mean of all rows, blue below."
    return Picture(figure, "Profiles of the clusters", f"{caption} {_told(rows, left)}".strip())


def scatter_picture(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    labels: npt.ArrayLike,
    *,
    rows: int,
    axes_names: tuple[str, str] = ("first component", "second component"),
    explained: tuple[float, float] | None = None,
) -> Picture:
    """A sample of rows in two coordinates, as of a PCA, colored by cluster.

    Parameters
    ----------
    x, y : array-like of shape (n_sample,)
    labels : array-like of int, shape (n_sample,)
        -1 is noise.
    rows : int
        How many rows the sample was taken from.
    axes_names : tuple of str
    explained : tuple of float, default None
        The share of the variance that each axis explains.
    """
    across, up, found = np.asarray(x, np.float64), np.asarray(y, np.float64), np.asarray(labels)
    figure, axes = _axes((5.9, 4.9))
    many = len(found) > _DRAWN_AS_DOTS
    size = float(np.clip(9000 / max(1, len(found)), 4, 30))
    for label in np.unique(found).tolist():
        mine = found == label
        noise = label == NOISE
        axes.scatter(
            across[mine],
            up[mine],
            s=2 * size if noise else size,
            color=PALETTE[-1] if noise else PALETTE[label % (len(PALETTE) - 1)],
            marker="." if noise else _MARKERS[label % len(_MARKERS)],
            linewidths=0,
            alpha=0.9 if noise else 0.6,
            rasterized=many,
        )
        if not noise:
            _numbered(axes, float(np.median(across[mine])), float(np.median(up[mine])), label)
    for axis, name, share in zip((axes.xaxis, axes.yaxis), axes_names, explained or (None, None), strict=True):
        axis.set_label_text(_plain(name if share is None else f"{name} ({share:.0%} of the variance)"), color=INK)
        axis.set_major_formatter(FuncFormatter(short_number))
        axis.set_major_locator(MaxNLocator(6))
    caption = f"A sample of {len(found):,} of {rows:,} rows." if len(found) < rows else f"All {rows:,} rows."
    noisy = " Grey is noise: in no cluster." if (found == NOISE).any() else ""
    return Picture(figure, "Clusters", f"{caption} Each number stands at the median of its cluster.{noisy}")


def _numbered(axes: Any, x: float, y: float, label: int) -> None:
    """A cluster's number, readable on any ground and over its points."""
    box = {"boxstyle": "circle,pad=0.25", "facecolor": "white", "edgecolor": PALETTE[label % (len(PALETTE) - 1)]}
    axes.text(x, y, str(label), ha="center", va="center", fontsize=9, color="#222222", bbox=box, zorder=5)


def _both_ways() -> LinearSegmentedColormap:
    """Blue below, nothing in the middle, orange above, by opacity: any ground shows through."""
    low, high = to_rgb(BLUE), to_rgb(ORANGE)
    ends = [(*low, 1.0), (*low, 0.0), (*high, 0.0), (*high, 1.0)]
    return LinearSegmentedColormap.from_list("both-ways", list(zip((0.0, 0.5, 0.5, 1.0), ends, strict=True)))


def _short(name: str) -> str:
    return _plain(name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…")


def _told(shown: int, left: int) -> str:
    return f"The {shown} features that differ most between clusters, of {shown + left:,}." if left else ""
