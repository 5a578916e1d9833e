"""Areas and curves that are read off a table of scores, and how sure they are.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html#receiver-operating-characteristic-roc
and https://scikit-learn.org/stable/modules/calibration.html#calibration-curves
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.metrics.ranking import Table
from parquetry.view import FloatArray

POINTS = 1000
"""Most points of a curve."""
_BINS = 10
_FEW_CLASSES = 10


class Ranked:
    """A table of scores read from the greatest score down.

    Parameters
    ----------
    table : Table

    Attributes
    ----------
    positives, negatives : float
        The weight of all positive and of all negative rows.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self._tp, self._fp = (np.cumsum(column[::-1]) for column in (table.positive, table.negative))
        self.positives = float(self._tp[-1]) if len(self._tp) else 0.0
        self.negatives = float(self._fp[-1]) if len(self._fp) else 0.0

    @cached_property
    def roc_auc(self) -> tuple[float, float] | None:
        """The area under the ROC curve, and the most by which it may be wrong; None if one kind is not there."""
        if not (self.positives > 0 and self.negatives > 0):
            return None
        table, pairs = self.table, self.positives * self.negatives
        # Of the rows that share a score, or a cell, half the pairs count.
        above = self._tp - table.positive[::-1] / 2
        mixed = table.mixed
        unsure = float(table.negative[mixed] @ table.positive[mixed]) / 2
        return float(table.negative[::-1] @ above / pairs), unsure / pairs

    @cached_property
    def average_precision(self) -> tuple[float, float]:
        """The sum of precisions over the steps of recall, and the most by which it may be wrong.

        Without a positive row it is 0, as in scikit-learn.
        """
        if not self.positives > 0:
            return 0.0, 0.0
        positive, negative = self.table.positive[::-1], self.table.negative[::-1]
        seen = self._tp + self._fp
        precision = np.divide(self._tp, seen, out=np.zeros_like(seen), where=seen > 0)
        mixed = len(seen) - 1 - self.table.mixed
        if not len(mixed):
            return float(positive @ precision / self.positives), 0.0
        hits, misses = positive[mixed], negative[mixed]
        before, wrong = self._tp[mixed] - hits, self._fp[mixed] - misses
        # In an unknown order: at worst all negative rows come first, at best all positive ones.
        worst = before / (before + wrong + misses)
        best = (before + hits) / (before + hits + wrong)
        precision[mixed] = (before + hits / 2) / (before + hits / 2 + wrong + misses / 2)
        error = np.maximum(best - precision[mixed], precision[mixed] - worst)
        return float(positive @ precision / self.positives), float(hits @ error / self.positives)

    def roc_curve(self, most: int = POINTS) -> dict[str, list[float | None]] | None:
        """At most ``most`` points from (0, 0) to (1, 1); the first threshold, above all scores, is None."""
        if not (self.positives > 0 and self.negatives > 0):
            return None
        corners = _corners(self._fp, self._tp)
        fpr, tpr = self._fp[corners] / self.negatives, self._tp[corners] / self.positives
        fpr, tpr = np.concatenate([[0.0], fpr]), np.concatenate([[0.0], tpr])
        kept = _spread(fpr, tpr, most)
        scores = self.table.scores[::-1][corners[kept[1:] - 1]]
        return {"fpr": fpr[kept].tolist(), "tpr": tpr[kept].tolist(), "thresholds": [None, *scores.tolist()]}

    def precision_recall_curve(self, most: int = POINTS) -> dict[str, list[float | None]] | None:
        """At most ``most`` points, recall falling to 0; the last threshold, above all scores, is None."""
        if not self.positives > 0:
            return None
        # Where recall stays the same the curve falls straight down: both ends tell it all.
        steps = np.diff(self._tp) != 0
        corners = np.flatnonzero(np.concatenate([[True], steps[:-1] | steps[1:], [True]]))[: len(self._tp)]
        precision = self._tp[corners] / (self._tp[corners] + self._fp[corners])
        recall = self._tp[corners] / self.positives
        kept = _spread(recall, precision, most - 1)[::-1]
        scores = self.table.scores[::-1][corners[kept]]
        return {
            "precision": [*precision[kept].tolist(), 1.0],
            "recall": [*recall[kept].tolist(), 0.0],
            "thresholds": [*scores.tolist(), None],
        }

    def gains(self) -> dict[str, list[float]] | None:
        """What share of the positive rows is among the first tenth of all rows by score, and so on.

        ``lift`` is how many times as many that is as in any tenth. Rows of equal score count in
        parts.
        """
        if not self.positives > 0:
            return None
        total = self.positives + self.negatives
        population = np.linspace(0.1, 1.0, 10)
        seen = np.concatenate([[0.0], self._tp + self._fp]) / total
        gain = np.interp(population, seen, np.concatenate([[0.0], self._tp / self.positives]))
        return {"population": population.tolist(), "gain": gain.tolist(), "lift": (gain / population).tolist()}

    def calibration(self, *, weighted: bool) -> dict[str, dict[str, list[float]]]:
        """Predicted and true probability in ten bins: of equal width, and of equal weight."""
        table, middles = self.table, self.table.middles
        total = table.positive + table.negative
        edges = {"uniform": np.linspace(0.0, 1.0, _BINS + 1), "quantile": _quantile_edges(middles, total, weighted)}
        return {name: _binned(middles, table.positive, total, bounds) for name, bounds in edges.items()}


# --- of all classes -------------------------------------------------------------------------
def of_classes(tables: Sequence[Table]) -> list[Ranked]:
    """One for each class, from a table for each of them, or from that of the second of two."""
    if len(tables) == 1:
        return [Ranked(tables[0].turned()), Ranked(tables[0])]
    return [Ranked(table) for table in tables]


def class_areas(ranked: Ranked) -> dict[str, float | None]:
    """The areas of one class against the rest."""
    area = ranked.roc_auc
    return {"roc_auc": None if area is None else area[0], "average_precision": ranked.average_precision[0]}


def areas(ranked: Sequence[Ranked]) -> dict[str, float | None]:
    """The areas of the second of two classes; of more classes the means, each against the rest.

    ``roc_auc`` is None where a class has no row, or has all. ``roc_auc_weighted`` weighs each class
    by its rows, and leaves out those without any.
    """
    if not ranked:
        return {}
    several = len(ranked) > 2
    rocs = [r.roc_auc for r in (ranked if several else ranked[1:])]
    precisions = [r.average_precision for r in (ranked if several else ranked[1:])]
    known = [area for area in rocs if area is not None]
    complete = len(known) == len(rocs)
    found: dict[str, float | None] = {
        "roc_auc": float(np.mean([a for a, _ in known])) if complete else None,
        "roc_auc_error": float(np.mean([e for _, e in known])) if complete else None,
        "average_precision": float(np.mean([a for a, _ in precisions])),
        "average_precision_error": float(np.mean([e for _, e in precisions])),
    }
    if several:
        shares = [(r.positives, area) for r, area in zip(ranked, rocs, strict=True) if r.positives > 0]
        defined = [(weight, area[0]) for weight, area in shares if area is not None]
        total = sum(weight for weight, _ in defined)
        mean = sum(weight * area for weight, area in defined) / total if total else None
        found["roc_auc_weighted"] = mean if len(defined) == len(shares) else None
    return found


def curves(ranked: Sequence[Ranked], labels: Sequence[str], *, probable: bool, weighted: bool) -> dict[str, Any]:
    """The curves of the second of two classes; of more classes a dict of them by label."""
    if not ranked:
        return {}
    most = POINTS if len(ranked) <= _FEW_CLASSES else max(100, POINTS * _FEW_CLASSES // len(ranked))
    each = [
        {
            "roc_curve": r.roc_curve(most),
            "precision_recall_curve": r.precision_recall_curve(most),
            "gains": r.gains(),
            **({"calibration": r.calibration(weighted=weighted)} if probable else {}),
        }
        for r in (ranked if len(ranked) > 2 else ranked[1:])
    ]
    if len(each) == 1:
        return each[0]
    return {name: dict(zip(labels, [curve[name] for curve in each], strict=True)) for name in each[0]}


# --- points and bins ------------------------------------------------------------------------
def _binned(scores: FloatArray, positive: FloatArray, total: FloatArray, edges: FloatArray) -> dict[str, list[float]]:
    """What is in each bin that is not empty; a bin holds its upper edge."""
    ends = np.searchsorted(scores, edges[1:-1], side="right")
    bins = len(edges) - 1
    place = np.repeat(np.arange(bins), np.diff([0, *ends, len(scores)]))
    weight, hits, sums = (np.bincount(place, w, minlength=bins) for w in (total, positive, scores * total))
    filled = weight > 0
    return {
        "predicted": (sums[filled] / weight[filled]).tolist(),
        "true": (hits[filled] / weight[filled]).tolist(),
        "weight": weight[filled].tolist(),
        "edges": edges.tolist(),
    }


def _quantile_edges(scores: FloatArray, total: FloatArray, weighted: bool) -> FloatArray:
    """The deciles: of rows as ``numpy.percentile`` has them, of weight the least score that has the share."""
    ends = np.cumsum(total)
    shares = np.linspace(0, 1, _BINS + 1)
    if weighted:
        return np.asarray(scores[np.minimum(np.searchsorted(ends, shares * ends[-1]), len(scores) - 1)])
    rank = shares * (ends[-1] - 1)
    lower, upper = (scores[np.searchsorted(ends, r, side="right")] for r in (np.floor(rank), np.ceil(rank)))
    return np.asarray(lower + (upper - lower) * (rank - np.floor(rank)))


def _corners(x: FloatArray, y: FloatArray) -> npt.NDArray[np.intp]:
    """The points of a curve that do not lie on a straight line between their neighbors, and its ends."""
    dx, dy = np.diff(x), np.diff(y)
    bent = dx[:-1] * dy[1:] != dx[1:] * dy[:-1]
    return np.flatnonzero(np.concatenate([[True], bent, [True]]))[: len(x)]


def _spread(x: FloatArray, y: FloatArray, most: int) -> npt.NDArray[np.intp]:
    """At most so many points of a curve, evenly along its way, with both ends."""
    if len(x) <= most:
        return np.arange(len(x))
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    level = np.floor(way / way[-1] * (most - 1))
    kept = np.flatnonzero(np.diff(level, prepend=-1.0) > 0)
    kept[-1] = len(x) - 1
    return kept
