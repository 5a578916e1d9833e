"""What a classifier says of rows, as arrays: all that its metrics are made of.

The model is asked once for every row: its transformers run once, and where ``predict`` is by
definition the likeliest class, or both come from one raw score, that is worked out once too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.block_cache import Arrays, CachedBatch
from parquetry.through import apply, best_of, transform
from parquetry.view import Batch, Columns, FloatArray

CodeArray = npt.NDArray[np.int64]

NOT_A_NUMBER, OUTSIDE, NOT_ONE = 1, 2, 3
"""What may be wrong with a row's probabilities: NaN or infinity; below 0 or above 1; another sum than 1."""

_UNSEEN = 5  # how many unknown labels are named
_VALUES_AT_ONCE = 2**24  # probabilities of that many rows times classes are held at once
_ENSEMBLE = "sklearn.ensemble._"
# Their own predict() is argmax(predict_proba()), or the same of what both are made of.
_LIKELIEST = {
    "sklearn.tree._classes.DecisionTreeClassifier",
    "sklearn.tree._classes.ExtraTreeClassifier",
    f"{_ENSEMBLE}forest.RandomForestClassifier",
    f"{_ENSEMBLE}forest.ExtraTreesClassifier",
    f"{_ENSEMBLE}bagging.BaggingClassifier",
    "sklearn.calibration.CalibratedClassifierCV",
}
# Both come from decision_function(): how it is read where there are two classes.
_RAW = {
    f"{_ENSEMBLE}hist_gradient_boosting.gradient_boosting.HistGradientBoostingClassifier": np.greater,
    f"{_ENSEMBLE}gb.GradientBoostingClassifier": np.greater_equal,
}


@dataclass(frozen=True, eq=False)
class Answers:
    """Makes the arrays of a batch; what the block cache keeps where there are several passes.

    For output ``i`` they are ``truth.i`` and ``guess.i`` (positions in its classes, -1 for one
    that is not there), ``share.i`` (the true class's probability), ``brier.i``, ``rank.i`` (how
    many classes come before the true one), ``scores.i`` of shape ``(n_rows, n_ranked)``; and
    ``wrong.i``, ``unseen.i`` where there is something to refuse. ``w`` is the weights.

    Parameters
    ----------
    model : fitted classifier
    classes : tuple of ndarray
        One array an output.
    method : {"predict_proba", "decision_function", "predict"}
        Where the scores come from; the last one gives none.
    ranked : bool
        Whether scores are kept for ranking: of the second of two classes, else of each.
    """

    model: Any
    classes: tuple[npt.NDArray[Any], ...]
    method: str
    ranked: bool

    def __call__(self, batch: Batch) -> Arrays:
        arrays: Arrays = {} if batch.weights is None else {"w": batch.weights}
        truths = [class_codes(batch.table.column(t), c) for t, c in zip(batch.view.target, self.classes, strict=True)]
        parts = [self._part(x, [t[rows] for t in truths]) for rows, x in self._pieces(batch)]
        for name in dict.fromkeys(name for part in parts for name in part):
            arrays[name] = np.concatenate([part[name] for part in parts])
        for i, truth in enumerate(truths):
            arrays[f"truth.{i}"] = truth
            if f"wrong.{i}" in arrays and not arrays[f"wrong.{i}"].any():
                del arrays[f"wrong.{i}"]
            if truth.min() < 0:
                arrays[f"unseen.{i}"] = _unseen(batch.table.column(batch.view.target[i]), truth)
        return arrays

    def _pieces(self, batch: Batch) -> Iterator[tuple[slice, Any]]:
        """X in pieces whose probabilities are not too many to hold."""
        widest = max(len(c) for c in self.classes)
        step = max(1024, _VALUES_AT_ONCE // max(1, widest))
        if step >= batch.num_rows:
            yield slice(None), batch.X
            return
        for start in range(0, batch.num_rows, step):
            rows = slice(start, min(start + step, batch.num_rows))
            yield rows, _rows_of(batch.X, rows)

    def _part(self, x: Any, truths: list[CodeArray]) -> Arrays:
        guesses, scores = self._asked(x)
        arrays: Arrays = {}
        for i, (truth, classes) in enumerate(zip(truths, self.classes, strict=True)):
            arrays[f"guess.{i}"] = guesses[i]
            if scores is None:
                continue
            if self.method == "predict_proba":
                arrays |= {f"{name}.{i}": found for name, found in _probable(scores[i], truth).items()}
            else:
                arrays[f"wrong.{i}"] = _not_numbers(scores[i])
            if len(classes) > 2 and scores[i].ndim == 2:
                arrays[f"rank.{i}"] = _rank(scores[i], truth)
            if self.ranked:
                arrays[f"scores.{i}"] = _ranked(scores[i])
        return arrays

    def _asked(self, x: Any) -> tuple[list[CodeArray], list[Any] | None]:
        """Each output's predicted classes as positions, and its scores."""
        model, x = last_step(self.model, x)
        name = f"{type(model).__module__}.{type(model).__qualname__}"
        if name in _RAW or _is_linear(model):
            raw = apply(model, "decision_function", x)
            guess = _RAW.get(name, np.greater)(raw, 0).astype(np.int64) if raw.ndim == 1 else raw.argmax(axis=1)
            if self.method == "predict_proba":
                return [guess], [model._loss.predict_proba(raw) if name in _RAW else apply(model, self.method, x)]
            return [guess], None if self.method == "predict" else [raw]
        if self.method == "predict":
            return self._coded(apply(model, "predict", x)), None
        scores = apply(model, self.method, x)
        each = [np.asarray(s) for s in scores] if isinstance(scores, list) else [np.asarray(scores)]
        if name in _LIKELIEST and self.method == "predict_proba":
            return [s.argmax(axis=1) for s in each], each
        return self._coded(apply(model, "predict", x)), each

    def _coded(self, labels: Any) -> list[CodeArray]:
        columns = np.asarray(labels)
        each = [columns] if len(self.classes) == 1 else list(columns.T)
        return [label_codes(labels, classes) for labels, classes in zip(each, self.classes, strict=True)]


def arrays_of(batch: Batch | CachedBatch, answers: Answers) -> Arrays:
    """A batch's arrays: from the cache, or made once for all reductions that share the batch."""
    if isinstance(batch, CachedBatch):
        return batch.arrays
    kept: dict[int, Arrays] = batch.__dict__.setdefault("_answers", {})
    if id(answers) not in kept:
        kept[id(answers)] = answers(batch)
    return kept[id(answers)]


def last_step(model: Any, x: Any = None) -> tuple[Any, Any]:
    """What answers in the end, and X as it gets it: a pipeline's last step, a search's best model."""
    from sklearn.pipeline import Pipeline

    while True:
        if type(model) is Pipeline:
            for _, step in model.steps[:-1]:
                x = None if x is None else transform(step, x)
            model = model.steps[-1][1]
        elif best_of(model) is not model:
            model = best_of(model)
        else:
            return model, x


def _is_linear(model: Any) -> bool:
    """Whether the model's ``predict`` is that which reads a linear model's ``decision_function``."""
    from sklearn.linear_model._base import LinearClassifierMixin

    return getattr(type(model), "predict", None) is LinearClassifierMixin.predict


# --- labels ---------------------------------------------------------------------------------
def class_codes(column: pa.ChunkedArray, classes: npt.NDArray[Any]) -> CodeArray:
    """Each label's position in the classes; -1 for one that is not among them, and for null."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if text and all(isinstance(c, str) for c in classes.tolist()):
        found = pc.index_in(column, value_set=pa.array(classes.tolist(), column.type))
        codes: CodeArray = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return codes
    return label_codes(column.to_pandas().to_numpy(), classes)


def label_codes(labels: npt.NDArray[Any], classes: npt.NDArray[Any]) -> CodeArray:
    """Each label's position in the classes; -1 for one that is not among them."""
    if labels.dtype.kind in "iufb" and classes.dtype.kind in "iufb":
        order = np.argsort(classes, kind="stable")
        places = np.minimum(np.searchsorted(classes, labels, sorter=order), len(classes) - 1)
        codes: CodeArray = order[places].astype(np.int64)
        return np.where(classes[codes] == labels, codes, -1)
    import pandas as pd

    return np.asarray(pd.Index(classes).get_indexer(pd.Index(labels)), dtype=np.int64)


def _unseen(column: pa.ChunkedArray, truth: CodeArray) -> npt.NDArray[np.uint8]:
    """The first few labels that are no class, as JSON in bytes: arrays are all that a cache holds."""
    labels = column.filter(pa.array(truth < 0)).unique().to_pylist()
    # By value, not by place: which ones are named must not depend on how the rows are batched.
    return np.frombuffer(json.dumps(sorted(map(repr, labels))[:_UNSEEN]).encode(), dtype=np.uint8)


# --- scores ---------------------------------------------------------------------------------
def _probable(shares: Any, truth: CodeArray) -> Arrays:
    """The true class's probability, the squared error of all, and what is wrong with them."""
    epsilon = float(np.finfo(shares.dtype).eps) if shares.dtype.kind == "f" else float(np.finfo(np.float64).eps)
    shares = np.asarray(shares, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        total = shares.sum(axis=1)
        wrong = np.where(np.abs(total - 1.0) > np.sqrt(epsilon), NOT_ONE, 0).astype(np.uint8)
        if shares.min() < 0 or shares.max() > 1:
            wrong[((shares < 0) | (shares > 1)).any(axis=1)] = OUTSIDE
    if not np.isfinite(total).all():
        wrong[~np.isfinite(shares).all(axis=1)] = NOT_A_NUMBER
    rows, known = np.arange(len(shares)), np.maximum(truth, 0)
    share = shares[rows, known]
    if shares.shape[1] == 2:
        # (t - p)² is the same for both classes but for the rounding of 1 - p.
        error = shares[:, 1] - (truth == 1)
        brier = (error * error + (shares[:, 0] - (truth == 0)) ** 2) / 2
    else:
        error = shares.copy()
        error[rows, known] -= 1.0
        brier = np.einsum("ij,ij->i", error, error)
    return {"share": np.clip(share, epsilon, 1 - epsilon), "brier": brier, "wrong": wrong}


def _not_numbers(scores: Any) -> npt.NDArray[np.uint8]:
    finite = np.isfinite(scores) if scores.ndim == 1 else np.isfinite(scores).all(axis=1)
    return np.where(finite, 0, NOT_A_NUMBER).astype(np.uint8)


def _rank(scores: Any, truth: CodeArray) -> CodeArray:
    """How many classes come before the true one; of equals the later class does, as in scikit-learn."""
    own = scores[np.arange(len(scores)), np.maximum(truth, 0)][:, None]
    later = np.arange(scores.shape[1]) > truth[:, None]
    before = (scores > own) | ((scores == own) & later)
    return np.asarray(before.sum(axis=1), dtype=np.int64)


def _ranked(scores: Any) -> FloatArray:
    """The second of two classes' score, or each class's, by column."""
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim == 1:
        return values.reshape(-1, 1)
    return np.asfortranarray(values[:, 1:] if values.shape[1] == 2 else values)


def _rows_of(x: Any, rows: slice) -> Any:
    if isinstance(x, Columns):
        return Columns(x.table.slice(rows.start, rows.stop - rows.start))
    return x.iloc[rows] if hasattr(x, "iloc") else x[rows]
