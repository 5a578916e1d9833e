"""Metrics of predictions, streaming and exact: what ``evaluate`` computes.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.errors import WrongColumnType
from parquetry.fitting import Pass, drive
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.foundation.quantiles import FirstHistogram, refine
from parquetry.reduction import Reduction
from parquetry.through import apply
from parquetry.view import Batch, FloatArray, View, is_numeric

_EPSILON = float(np.finfo(np.float64).eps)  # scikit-learn's floor in MAPE and log loss


@dataclass(frozen=True, eq=False)
class Applied:
    """A view's step: X becomes the model's predictions, one column an output."""

    model: Any

    def __call__(self, x: Any) -> Any:
        values = np.asarray(apply(self.model, "predict", x))
        return values.reshape(-1, 1) if values.ndim == 1 else values


@dataclass(frozen=True, eq=False)
class ClassAndProbabilities:
    """A view's step: the predicted class's position in ``classes_``, then the probabilities.

    The class is asked for by itself: a tuned threshold may not choose the likeliest one.
    """

    model: Any

    def __call__(self, x: Any) -> Any:
        position = {c: i for i, c in enumerate(self.model.classes_.tolist())}
        chosen = [position[c] for c in np.asarray(apply(self.model, "predict", x)).tolist()]
        return np.column_stack([chosen, np.asarray(apply(self.model, "predict_proba", x))])


def predicted(model: Any, view: View) -> View:
    """The view whose X is the model's predictions, one column an output."""
    return replace(view, steps=(*view.steps, Applied(model)), step_names=None)


# --- regression -----------------------------------------------------------------------------
@dataclass
class ErrorSums:
    """Weighted sums over rows, arrays of shape ``(n_outputs,)``."""

    rows: int
    weight: float
    absolute: FloatArray
    squared: FloatArray
    relative: FloatArray
    mean: FloatArray
    spread: FloatArray
    first_bad: Position | None = None


class RegressionErrors(Reduction[ErrorSums, ErrorSums]):
    """Sums of errors, and the target's centered sum of squares merged pairwise.

    Parameters
    ----------
    target : sequence of str
        Names of the targets, for errors.
    """

    label = "regression-errors"

    def __init__(self, target: Sequence[str]) -> None:
        self.names = [*target, *(f"prediction of {name}" for name in target)]

    def partial(self, batch: Batch) -> ErrorSums:
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        truth, guess = np.stack(batch.y_floats), np.stack(batch.floats)
        error = np.abs(truth - guess)
        weight = float(weights.sum())
        mean = truth @ weights / weight if weight else np.zeros(len(truth))
        state = ErrorSums(
            batch.num_rows,
            weight,
            error @ weights,
            (error * error) @ weights,
            (error / np.maximum(np.abs(truth), _EPSILON)) @ weights,
            mean,
            ((truth - mean[:, None]) ** 2) @ weights,
        )
        if not np.isfinite(state.squared).all():
            state.first_bad = first_non_finite(batch, [*truth, *guess], nan=True)
        return state

    def merge(self, left: ErrorSums, right: ErrorSums) -> ErrorSums:
        weight = left.weight + right.weight
        delta = right.mean - left.mean
        share = right.weight / weight if weight else 0.0
        return ErrorSums(
            left.rows + right.rows,
            weight,
            left.absolute + right.absolute,
            left.squared + right.squared,
            left.relative + right.relative,
            left.mean + delta * share,
            left.spread + right.spread + delta * delta * left.weight * share,
            earliest([left.first_bad, right.first_bad]),
        )

    def finish(self, state: ErrorSums) -> ErrorSums:
        if state.first_bad is not None:
            raise refusal(state.first_bad, self.names, "evaluate")
        return state


def absolute_errors(batch: Batch) -> list[FloatArray]:
    """``|y - prediction|``, one array an output."""
    return [np.abs(y - p) for y, p in zip(batch.y_floats, batch.floats, strict=True)]


def evaluate_regressor(model: Any, view: View, engine: Any) -> dict[str, Any]:
    """The regression metrics of a model over a view; outputs are averaged with equal weight."""
    for name in view.target:
        kind = view.dataset.full_schema.field(name).type
        if not is_numeric(kind):
            raise WrongColumnType(f"The target {name!r} is {kind}.", why="The model predicts numbers.")
    found: dict[str, Any] = drive(_regression(predicted(model, view)), engine, verb="evaluate")
    return found


def _regression(view: View) -> Generator[list[Any], list[Any], dict[str, Any]]:
    weighted = view.sample_weight is not None
    works = [Pass(RegressionErrors(view.target), view)]
    if not weighted:
        works.append(Pass(FirstHistogram(values=absolute_errors), view))
    sums, *histogram = yield works
    metrics = {
        "rows": sums.rows,
        "r2": float(np.mean([_r2(s, t) for s, t in zip(sums.squared, sums.spread, strict=True)])),
        "rmse": float(np.mean(np.sqrt(sums.squared / sums.weight))),
        "mae": float(np.mean(sums.absolute / sums.weight)),
        "mape": float(np.mean(sums.relative / sums.weight)),
    }
    if not weighted:
        medians = yield from refine(histogram[0], view, q=(0.5,), values=absolute_errors)
        metrics["median_absolute_error"] = float(np.mean([m[0] for m in medians]))
    return metrics


def _r2(squared: float, spread: float) -> float:
    if spread == 0.0:
        return 1.0 if squared == 0.0 else 0.0
    return 1.0 - squared / spread


# --- classification -------------------------------------------------------------------------
@dataclass
class ClassCounts:
    """A confusion matrix (truth in rows), and the summed log loss."""

    rows: int
    matrix: FloatArray
    log_loss: float
    unseen: tuple[str, ...]


class ClassificationErrors(Reduction[ClassCounts, ClassCounts]):
    """The confusion matrix and the log loss of a classifier.

    Parameters
    ----------
    classes : ndarray of shape (n_classes,)
    probabilities : bool
        Whether X is the predicted class's position and then the probabilities (else the class).
    """

    label = "classification-errors"

    def __init__(self, classes: Any, *, probabilities: bool) -> None:
        self.classes, self.probabilities = classes, probabilities

    def partial(self, batch: Batch) -> ClassCounts:
        x = np.asarray(batch.X)
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        position = {c: i for i, c in enumerate(self.classes.tolist())}
        truth = np.array([position.get(v, -1) for v in batch.y.tolist()])
        known = truth >= 0
        guess = x[:, 0].astype(np.int64) if self.probabilities else np.array([position[v] for v in x[:, 0].tolist()])
        matrix = np.zeros((len(position), len(position)))
        np.add.at(matrix, (truth[known], guess[known]), weights[known])
        loss = 0.0
        if self.probabilities:
            shares = x[:, 1:]
            share = shares[np.arange(len(x)), np.maximum(truth, 0)] / shares.sum(axis=1)
            loss = float(-np.log(np.clip(share, _EPSILON, 1 - _EPSILON))[known] @ weights[known])
        unseen = tuple(sorted({repr(v) for v, k in zip(batch.y.tolist(), known.tolist(), strict=True) if not k}))
        return ClassCounts(batch.num_rows, matrix, loss, unseen[:5])

    def merge(self, left: ClassCounts, right: ClassCounts) -> ClassCounts:
        unseen = tuple(sorted({*left.unseen, *right.unseen}))[:5]
        return ClassCounts(left.rows + right.rows, left.matrix + right.matrix, left.log_loss + right.log_loss, unseen)

    def finish(self, state: ClassCounts) -> ClassCounts:
        if state.unseen:
            raise WrongColumnType(
                f"The target holds classes that the model has never seen: {', '.join(state.unseen)}.",
                why=f"It knows {self.classes.tolist()[:10]}.",
                fix="Drop those rows, or fit on data that has them.",
            )
        return state


def evaluate_classifier(model: Any, view: View, engine: Any) -> dict[str, Any]:
    """The classification metrics of a model over a view; macro averages over the classes."""
    with_probabilities = hasattr(model, "predict_proba")
    step = ClassAndProbabilities(model) if with_probabilities else Applied(model)
    seen = replace(view, steps=(*view.steps, step), step_names=None)
    reduction = ClassificationErrors(np.asarray(model.classes_), probabilities=with_probabilities)
    found: dict[str, Any] = drive(_classification(reduction, seen), engine, verb="evaluate")
    return found


def _classification(reduction: ClassificationErrors, view: View) -> Generator[list[Any], list[Any], dict[str, Any]]:
    (counts,) = yield [Pass(reduction, view)]
    matrix = counts.matrix
    hits, truths, guesses = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    present = (truths + guesses) > 0
    recall = _ratio(hits, truths)
    precision = _ratio(hits, guesses)
    metrics = {
        "rows": counts.rows,
        "accuracy": float(hits.sum() / matrix.sum()),
        "balanced_accuracy": float(recall[truths > 0].mean()),
        "precision": float(precision[present].mean()),
        "recall": float(recall[present].mean()),
        "f1": float(_ratio(2 * hits, truths + guesses)[present].mean()),
        "classes": reduction.classes.tolist(),
        "confusion_matrix": matrix.tolist(),
    }
    if reduction.probabilities:
        metrics["log_loss"] = float(counts.log_loss / matrix.sum())
    return metrics


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
