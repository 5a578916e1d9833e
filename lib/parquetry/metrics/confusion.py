"""What is counted of true and predicted classes, and all the scores that are made of it.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html#classification-metrics
A ratio without a denominator is 0, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.view import FloatArray


@dataclass
class Confusion:
    """Rows, or their weight, by true and by predicted class.

    Attributes
    ----------
    hits, truths, guesses : ndarray of shape (n_classes,)
        Of each class: predicted rightly, there, and predicted. Whole numbers without weights.
    seen : ndarray of bool, shape (n_classes,)
        Which classes any row has or is taken for, whatever its weight.
    matrix : ndarray of shape (n_classes, n_classes) or None
        Truth in rows; None where there are too many classes.
    """

    hits: npt.NDArray[Any]
    truths: npt.NDArray[Any]
    guesses: npt.NDArray[Any]
    seen: npt.NDArray[np.bool_]
    matrix: npt.NDArray[Any] | None

    @classmethod
    def of(
        cls,
        truth: npt.NDArray[np.int64],
        guess: npt.NDArray[np.int64],
        weights: FloatArray | None,
        classes: int,
        *,
        matrix: bool,
    ) -> Confusion:
        """The counts of rows whose classes are given by their positions."""
        right = truth == guess
        hits = np.bincount(truth[right], None if weights is None else weights[right], minlength=classes)
        truths, guesses = (np.bincount(codes, weights, minlength=classes) for codes in (truth, guess))
        seen = np.zeros(classes, dtype=np.bool_)
        seen[truth] = seen[guess] = True
        square = None
        if matrix:
            square = np.bincount(truth * classes + guess, weights, minlength=classes * classes).reshape(classes, -1)
        return cls(hits, truths, guesses, seen, square)

    def __add__(self, other: Confusion) -> Confusion:
        square = None if self.matrix is None or other.matrix is None else self.matrix + other.matrix
        return Confusion(
            self.hits + other.hits,
            self.truths + other.truths,
            self.guesses + other.guesses,
            self.seen | other.seen,
            square,
        )


def totals(counts: Confusion) -> dict[str, Any]:
    """The scores of all classes together; averages are over the classes that are there."""
    hits, truths, guesses = (part.astype(np.float64) for part in (counts.hits, counts.truths, counts.guesses))
    total = float(truths.sum())
    accuracy = float(hits.sum() / total)
    names = ("precision", "recall", "f1")
    each = _prf(hits, truths, guesses)
    recall = each[1]
    return {
        "accuracy": accuracy,
        "balanced_accuracy": float(recall[truths > 0].mean()),
        **{name: float(values[counts.seen].mean()) for name, values in zip(names, each, strict=True)},
        **{f"{name}_weighted": float(values @ truths / total) for name, values in zip(names, each, strict=True)},
        # Every row has one class and gets one: over all rows the three are the same.
        **{f"{name}_micro": accuracy for name in names},
        "mcc": _matthews(hits, truths, guesses),
        "cohen_kappa": _kappa(hits, truths, guesses),
    }


def by_class(counts: Confusion) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class."""
    hits, truths, guesses = (part.astype(np.float64) for part in (counts.hits, counts.truths, counts.guesses))
    columns = [part.tolist() for part in _prf(hits, truths, guesses)]
    return [
        {"precision": p, "recall": r, "f1": f, "support": s}
        for p, r, f, s in zip(*columns, counts.truths.tolist(), strict=True)
    ]


def _prf(hits: FloatArray, truths: FloatArray, guesses: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    return _ratio(hits, guesses), _ratio(hits, truths), _ratio(2 * hits, truths + guesses)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _matthews(hits: FloatArray, truths: FloatArray, guesses: FloatArray) -> float:
    """Gorodkin's generalization to many classes of Matthews' correlation; 0 where it is undefined."""
    total = truths.sum()
    both = hits.sum() * total - truths @ guesses
    spread = (total * total - guesses @ guesses) * (total * total - truths @ truths)
    return float(both / np.sqrt(spread)) if spread > 0 else 0.0


def _kappa(hits: FloatArray, truths: FloatArray, guesses: FloatArray) -> float | None:
    """Cohen's kappa; None where only one class is there."""
    total = truths.sum()
    by_chance = total - truths @ guesses / total
    return float(1.0 - (total - hits.sum()) / by_chance) if by_chance > 0 else None
