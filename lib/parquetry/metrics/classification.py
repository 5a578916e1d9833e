"""The metrics of a classifier, streaming: two classes or many, one output or several.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html#classification-metrics
"""

from __future__ import annotations

import json
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.errors import BadParameter, NonFiniteValues, WrongColumnType
from parquetry.fitting import Asking, Pass, drive, together
from parquetry.foundation.positions import Position, earliest, position_of
from parquetry.metrics import ranking
from parquetry.metrics.answers import NOT_A_NUMBER, NOT_ONE, OUTSIDE, Answers, arrays_of, last_step
from parquetry.metrics.confusion import Confusion, by_class, totals
from parquetry.metrics.curves import areas, class_areas, curves, of_classes
from parquetry.metrics.weights import RowWeights
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, View

MOST_RANKED = 100
"""Above so many classes nothing is ranked: no ROC, no precision-recall curve."""
MOST_CONFUSED = 1000
"""Above so many classes the confusion matrix is left out; all that is made of it is there."""
TOP = (2, 3, 5)
_WRONG = {
    NOT_A_NUMBER: "are not all finite",
    OUTSIDE: "lie below 0 or above 1",
    NOT_ONE: "do not add up to 1",
}


def evaluate_classifier(model: Any, view: View, engine: Any) -> dict[str, Any]:
    """The classification metrics of a model over a view; see ``parquetry.evaluate``."""
    classes = _classes_of(model, view)
    method = next(m for m in ("predict_proba", "decision_function", "predict") if hasattr(model, m))
    width = max(len(c) for c in classes)
    if method == "decision_function" and not (len(classes) == 1 and _one_score_a_class(model, view, width)):
        method = "predict"
    found: dict[str, Any] = drive(classifier_metrics(model, view, method), engine, verb="evaluate")
    return found


def classifier_metrics(
    model: Any, view: View, method: str, *, ranked: bool = True
) -> Generator[list[Any], list[Any], dict[str, Any]]:
    """The metrics of a model over a view, as far as what one of its methods gives goes.

    Parameters
    ----------
    model : fitted classifier
    view : View
    method : {"predict_proba", "decision_function", "predict"}
    ranked : bool, default True
        Whether areas and curves are wanted.
    """
    classes = _classes_of(model, view)
    width = max(len(c) for c in classes)
    answers = Answers(model, classes, method, ranked and method != "predict" and 1 < width <= MOST_RANKED)
    return (yield from _classification(answers, view))


def _classes_of(model: Any, view: View) -> tuple[npt.NDArray[Any], ...]:
    known = model.classes_
    several = isinstance(known, list) and len(known) > 0 and np.ndim(known[0]) == 1
    classes = tuple(np.asarray(c) for c in known) if several else (np.asarray(known),)
    if len(classes) != len(view.target):
        raise BadParameter(
            f"The model predicts {len(classes)} target{'s' if several else ''}; target= names {len(view.target)}.",
            why="" if several or len(view.target) == 1 else "Labels of several targets in one matrix are not scored.",
            fix="Name the columns that it was fitted on, in their order; a multilabel model label by label.",
        )
    return classes


def _one_score_a_class(model: Any, view: View, classes: int) -> bool:
    """Whether decision_function gives a score for each class, not for each pair of them."""
    from parquetry.through import apply

    if classes > 2 and getattr(last_step(model)[0], "decision_function_shape", None) == "ovo":
        return False
    scores = np.asarray(apply(model, "decision_function", next(iter(view.head_batches(2))).X))
    return scores.ndim == (1 if classes == 2 else 2) and (classes == 2 or scores.shape[1] == classes)


# --- what is added up -----------------------------------------------------------------------
@dataclass
class ClassSums:
    """Sums over rows of one output.

    Attributes
    ----------
    rows : int
    confusion : Confusion
    log_loss, brier : float
        Weighted sums.
    top : ndarray of shape (len(TOP),)
        The weight of the rows whose true class is among the first so many.
    wrong : Position or None
        The first row whose scores are refused; its ``column`` says what is wrong with them.
    unseen : tuple of str
        The first few labels that are no class.
    unseen_at : Position or None
    """

    rows: int
    confusion: Confusion
    log_loss: float
    brier: float
    top: FloatArray
    wrong: Position | None
    unseen: tuple[str, ...]
    unseen_at: Position | None


class ClassificationErrors(Reduction[ClassSums, ClassSums]):
    """The confusion matrix of one output, and the sums of its rows' scores.

    Parameters
    ----------
    answers : Answers
    output : int
    target : str
        The target's name, for errors.
    """

    label = "classification-errors"

    def __init__(self, answers: Answers, output: int, target: str) -> None:
        self.answers, self.output, self.target = answers, output, target

    def partial(self, batch: Batch) -> ClassSums:
        arrays = arrays_of(batch, self.answers)
        truth, guess = arrays[f"truth.{self.output}"], arrays[f"guess.{self.output}"]
        share, brier, rank, wrong, unseen = (
            arrays.get(f"{name}.{self.output}") for name in ("share", "brier", "rank", "wrong", "unseen")
        )
        weights = arrays.get("w")
        known = truth >= 0
        labels: tuple[str, ...] = () if unseen is None else tuple(json.loads(bytes(unseen)))
        classes = len(self.answers.classes[self.output])
        if labels:
            truth, guess, weights = truth[known], guess[known], None if weights is None else weights[known]
            rank = None if rank is None else rank[known]
        return ClassSums(
            batch.num_rows,
            Confusion.of(truth, guess, weights, classes, matrix=classes <= MOST_CONFUSED),
            0.0 if share is None else _summed(-np.log(share), known, weights),
            0.0 if brier is None else _summed(brier, known, weights),
            np.zeros(len(TOP)) if rank is None else np.array([_weight(rank < k, weights) for k in TOP]),
            None if wrong is None else _first_wrong(batch, wrong),
            labels,
            position_of(batch, ~known, 0, "an unknown class"),
        )

    def merge(self, left: ClassSums, right: ClassSums) -> ClassSums:
        return ClassSums(
            left.rows + right.rows,
            left.confusion + right.confusion,
            left.log_loss + right.log_loss,
            left.brier + right.brier,
            left.top + right.top,
            earliest([left.wrong, right.wrong]),
            tuple(sorted({*left.unseen, *right.unseen}))[:5],
            earliest([left.unseen_at, right.unseen_at]),
        )

    def finish(self, state: ClassSums) -> ClassSums:
        at = state.unseen_at
        if at is not None:
            raise WrongColumnType(
                f"The target {self.target!r} holds classes that the model has never seen: "
                f"{', '.join(state.unseen)}, first in {at.path}, row group {at.row_group}, row {at.row}.",
                why=f"It knows {self.answers.classes[self.output].tolist()[:10]}.",
                fix="Drop those rows, or fit on data that has them.",
            )
        if state.wrong is not None:
            raise _refused(self.answers, state.wrong)
        return state


def _summed(values: FloatArray, known: npt.NDArray[np.bool_], weights: FloatArray | None) -> float:
    values = values if known.all() else values[known]
    return float(values.sum() if weights is None else values @ weights)


def _weight(chosen: npt.NDArray[np.bool_], weights: FloatArray | None) -> float:
    return float(np.count_nonzero(chosen) if weights is None else weights[chosen].sum())


def _first_wrong(batch: Batch, wrong: npt.NDArray[np.uint8]) -> Position | None:
    kind = int(wrong[np.argmax(wrong > 0)])
    return position_of(batch, wrong > 0, kind, "")


def _refused(answers: Answers, at: Position) -> Exception:
    what = "probabilities" if answers.method == "predict_proba" else "scores"
    kind = NonFiniteValues if at.column == NOT_A_NUMBER else BadParameter
    return kind(
        f"evaluate: the model's {what} {_WRONG[at.column]}, first in {at.path}, row group {at.row_group}, "
        f"row {at.row}.",
        why=f"They are what its {answers.method} gives for that row.",
        fix="Look at what the model does with that row; CalibratedClassifierCV makes probabilities of scores.",
    )


# --- the metrics ----------------------------------------------------------------------------
def _classification(answers: Answers, view: View) -> Generator[list[Any], list[Any], dict[str, Any]]:
    rows = view.dataset.num_rows
    scores = rows * sum(1 if len(c) == 2 else len(c) for c in answers.classes) if answers.ranked else 0
    if scores > ranking.EXACT_SCORES:
        view = view.cached(answers)  # a second pass is likely, and the model need not be asked again
    works: list[Asking] = [_output(answers, i, view, scores) for i in range(len(answers.classes))]
    if view.sample_weight is not None:
        works.insert(0, _weights(view, view.sample_weight))
    each = (yield from together(works))[-len(answers.classes) :]
    if len(each) == 1:
        return {"rows": rows, **each[0]}
    return {"rows": rows, **_averages(each), "per_output": dict(zip(view.target, each, strict=True))}


def _weights(view: View, name: str) -> Generator[list[Any], list[Any], None]:
    yield [Pass(RowWeights(name), view)]


def _output(answers: Answers, output: int, view: View, scores: int) -> Generator[list[Any], list[Any], dict[str, Any]]:
    """The metrics of one output."""
    classes = answers.classes[output]
    codes = () if not answers.ranked or len(classes) < 2 else (1,) if len(classes) == 2 else range(len(classes))
    sums: ClassSums
    tables: list[ranking.Table] = []
    errors = _errors(answers, output, view)
    if codes:
        sums, tables = yield from together([errors, ranking.tables(answers, output, codes, view, scores)])
    else:
        sums = yield from errors
    labels = [str(label) for label in classes.tolist()]
    ranked = of_classes(tables)
    square = sums.confusion.matrix
    each = [
        {**counted, **(class_areas(ranked[i]) if ranked else {})} for i, counted in enumerate(by_class(sums.confusion))
    ]
    return {
        **totals(sums.confusion),
        **_of_scores(answers, sums, len(classes)),
        **areas(ranked),
        "classes": classes.tolist(),
        "confusion_matrix": None if square is None else square.tolist(),
        "per_class": dict(zip(labels, each, strict=True)),
        **curves(ranked, labels, probable=answers.method == "predict_proba", weighted=view.sample_weight is not None),
    }


def _of_scores(answers: Answers, sums: ClassSums, classes: int) -> dict[str, float]:
    """What is an average over the rows' scores."""
    total = float(sums.confusion.truths.sum())
    found = {}
    if answers.method == "predict_proba":
        found = {"log_loss": sums.log_loss / total, "brier": sums.brier / total}
    if answers.method != "predict":
        found |= {f"top_{k}_accuracy": float(v / total) for k, v in zip(TOP, sums.top, strict=True) if k < classes}
    return found


def _averages(each: list[dict[str, Any]]) -> dict[str, float | None]:
    """The plain mean over the outputs of what is one number for each; None where one has none."""
    averages: dict[str, float | None] = {}
    for name in each[0]:
        values = [metrics.get(name) for metrics in each]
        numbers = [v for v in values if isinstance(v, float)]
        if numbers and all(v is None or isinstance(v, float) for v in values):
            averages[name] = float(np.mean(numbers)) if len(numbers) == len(values) else None
    return averages


def _errors(answers: Answers, output: int, view: View) -> Generator[list[Any], list[Any], ClassSums]:
    (found,) = yield [Pass(ClassificationErrors(answers, output, view.target[output]), view)]
    sums: ClassSums = found
    return sums
