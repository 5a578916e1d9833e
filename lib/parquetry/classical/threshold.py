"""Where to cut a classifier's probability, for a stated cost of both kinds of mistakes.

The rows of each class are counted between a fixed grid of thresholds, so one pass gives the exact
cost at every one of them, whatever the number of rows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import expit

from parquetry.dataset import Dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter, DegenerateColumn, did_you_mean
from parquetry.fit_checks import check_picklable, make_view
from parquetry.fitting import run_pass
from parquetry.reduction import Reduction
from parquetry.scoring import model_features
from parquetry.through import apply
from parquetry.view import Batch, FloatArray

if TYPE_CHECKING:
    from parquetry.engine import Engine

GRID: FloatArray = expit(np.linspace(-12.0, 12.0, 2401))
"""Thresholds that are tried: dense towards 0 and 1, where a costly mistake moves them; 0.5 is one."""


@dataclass(frozen=True)
class CostCurve:
    """The cost of a classifier's mistakes at every threshold of the grid.

    Attributes
    ----------
    positive : object
        The class that is chosen from the threshold on.
    weight : float
        All rows, or their weight.
    missed, lost : ndarray of shape (n_thresholds,)
        Rows of the positive class below each threshold, and of the other class from it on.
    cost_missed, cost_lost : float
        What one of each costs.
    """

    positive: Any
    weight: float
    missed: FloatArray
    lost: FloatArray
    cost_missed: float
    cost_lost: float

    @cached_property
    def cost(self) -> FloatArray:
        """The expected cost of a row at each threshold."""
        return (self.cost_missed * self.missed + self.cost_lost * self.lost) / self.weight

    @property
    def best(self) -> float:
        """The cheapest threshold: the middle of the longest run of equally cheap ones."""
        cheap = np.flatnonzero(self.cost <= self.cost.min() * (1 + 1e-12))
        runs = np.split(cheap, np.flatnonzero(np.diff(cheap) > 1) + 1)
        longest = max(runs, key=len)
        return float(GRID[longest[len(longest) // 2]])

    def at(self, threshold: float) -> dict[str, float]:
        """``cost_per_1000`` rows, ``missed`` and ``lost`` at the grid's threshold next to this one."""
        i = int(np.argmin(np.abs(GRID - threshold)))
        found = {"cost_per_1000": self.cost[i] * 1000, "missed": self.missed[i], "lost": self.lost[i]}
        return {name: float(value) for name, value in found.items()}


def cost_curve(
    model: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    target: str,
    positive: Any,
    cost_missed: float,
    cost_lost: float,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    engine: Engine | str | None = None,
) -> CostCurve:
    """The cost of a classifier's mistakes by threshold, over every row, in one pass.

    Parameters
    ----------
    model : fitted classifier with ``predict_proba``, of two classes
    data : Dataset, path or URL
        Rows that the model was not fitted on, if the threshold is to be believed.
    target : str
    positive : object
        The positive class, as it is in ``classes_``.
    cost_missed, cost_lost : float
        The cost of a row of the positive class that is not found, and of another row that is
        taken for it.
    features : sequence of str, default None
    sample_weight : str, default None
    engine : Engine or what ``open_engine`` takes, default None

    Raises
    ------
    BadParameter
        The model has no probabilities or not two classes, or a cost is negative.
    DegenerateColumn
        The rows are of one class only.
    """
    if not (cost_missed >= 0 and cost_lost >= 0 and cost_missed + cost_lost > 0):
        raise BadParameter(
            f"The costs are {cost_missed!r} and {cost_lost!r}.", fix="Pass two that are not negative, one above zero."
        )
    view = make_view(data, target=target, features=model_features(model, features), sample_weight=sample_weight)
    view.dataset.require_rows()
    check_picklable(model)
    seen = replace(view, steps=(*view.steps, Probability(model, _position(model, positive))), step_names=None)
    with borrowed_engine(engine) as running:
        (counts,) = run_pass(running, [(ScoreCounts(positive), seen)], label="cost-by-threshold")
    totals = counts.sum(axis=1)
    if not (totals > 0).all():
        raise DegenerateColumn(
            f"The target {target!r} holds {positive!r} only."
            if totals[1] > 0
            else f"No row of {target!r} is {positive!r}.",
            why="A threshold is chosen between two kinds of rows.",
            fix="Take another part of the data.",
        )
    below = np.cumsum(counts, axis=1)[:, :-1]
    return CostCurve(positive, float(totals.sum()), below[1], totals[0] - below[0], cost_missed, cost_lost)


@dataclass(frozen=True, eq=False)
class Probability:
    """A view's step: X becomes the probability of one class, shape ``(n_rows,)``."""

    model: Any
    position: int

    def __call__(self, x: Any) -> Any:
        return np.asarray(apply(self.model, "predict_proba", x))[:, self.position]


class ScoreCounts(Reduction[FloatArray, FloatArray]):
    """The weight of the other rows and of the positive ones in each cell of the grid.

    Cell ``i`` holds what lies below threshold ``i`` and not below the one before; the last one
    what lies below none.

    Parameters
    ----------
    positive : object
    """

    label = "score-counts"

    def __init__(self, positive: Any) -> None:
        self.positive = positive

    def partial(self, batch: Batch) -> FloatArray:
        cells = np.searchsorted(GRID, np.asarray(batch.X), side="right")
        positive = np.asarray(batch.y == self.positive)
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        width = len(GRID) + 1
        counts = np.bincount(cells + width * positive, weights, 2 * width).reshape(2, width)
        return np.asarray(counts, dtype=np.float64)

    def merge(self, left: FloatArray, right: FloatArray) -> FloatArray:
        return left + right


def two_classes(model: Any, positive: str) -> tuple[Any, Any]:
    """The two classes of a model, the one whose text is ``positive`` last.

    Raises
    ------
    BadParameter
        There is no such class, with the nearest name; or there are not two.
    """
    classes = np.asarray(model.classes_).tolist()
    by_name = {str(label): label for label in classes}
    if positive not in by_name:
        raise BadParameter(
            f"There is no class {positive!r} in the target.",
            why="The class to be found is asked for by its name (--positive).",
            fix=did_you_mean(positive, by_name),
        )
    if len(classes) != 2:
        raise BadParameter(
            f"There are {len(classes)} classes: {classes[:10]}.",
            why="A threshold parts two.",
            fix="Take a target of two classes.",
        )
    chosen = by_name[positive]
    return next(label for label in classes if label != chosen), chosen


def scores_of_class(scores: Mapping[str, Any], label: Any, *, cost_missed: float, cost_lost: float) -> dict[str, float]:
    """Precision, recall and F1 of one class, and what its mistakes cost, from what ``evaluate`` gives."""
    i = list(scores["classes"]).index(label)
    matrix = np.asarray(scores["confusion_matrix"], dtype=np.float64)
    hits, guesses, truths = matrix[i, i], matrix[:, i].sum(), matrix[i].sum()
    missed, lost = truths - hits, guesses - hits
    found = {"precision": (hits, guesses), "recall": (hits, truths), "f1": (2 * hits, guesses + truths)}
    return {
        **{f"{label}_{name}": float(part / whole) if whole else 0.0 for name, (part, whole) in found.items()},
        "missed": float(missed),
        "lost": float(lost),
        "cost_per_1000": float(1000 * (cost_missed * missed + cost_lost * lost) / matrix.sum()),
    }


def _position(model: Any, positive: Any) -> int:
    classes = np.asarray(getattr(model, "classes_", [])).tolist()
    if not hasattr(model, "predict_proba") or len(classes) != 2:
        raise BadParameter(
            f"{type(model).__name__} does not part two classes by probability.",
            why=f"Its classes are {classes[:10]}.",
            fix="Fit a classifier with predict_proba on a target of two classes.",
        )
    if positive not in classes:
        raise BadParameter(f"{positive!r} is no class of the model.", why=f"They are {classes}.")
    return int(classes.index(positive))
