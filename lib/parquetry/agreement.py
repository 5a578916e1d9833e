"""Does the ONNX model say what the scikit-learn model says? Counted over every row, on the engine.

ONNX computes in float32, scikit-learn in float64, so they may differ by rounding and by nothing
else. What rounding explains is stated below; the rest is counted, and the first one is named.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.artefact import load, onnx_bytes
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.folders import Path
from parquetry.onnx_model import OnnxModel
from parquetry.onnx_threshold import threshold_of
from parquetry.reduction import Reduction
from parquetry.through import apply
from parquetry.view import Batch, Columns, View, float_column

if TYPE_CHECKING:
    from parquetry.engine import Engine

FLOAT32_EPSILON = 2.0**-23
_ROUNDINGS = 8  # input, scaling, product, sum, link and output, each with some room
_SCALE_ROWS = 4096
_OPEN_SESSIONS = 4

Floats = npt.NDArray[np.float64]


def agreement(
    artefact_path: Path,
    data: Dataset | Path,
    *,
    model: Any = None,
    engine: Engine | str | None = None,
    features: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Compare an artefact's ONNX model with the scikit-learn model on every row.

    A row agrees where ``|onnx - model| <= rtol * max(|model|, scale)`` for each output. ``rtol``
    is ``2**-23 * (8 + n)``: one float32 epsilon for each of the ``n`` numbers that the last step
    adds up (columns, or trees), the bound on a float32 sum's error, and eight for what is around
    the sum. ``scale`` is the median size of the model's predictions over the first 4,096 rows:
    a prediction near zero is a difference of large numbers, and their rounding is its error. For
    classifiers it is the probabilities that are compared, with ``scale`` 1, and the labels, which
    may differ only where the model's own two probabilities tie within the tolerance.

    A row beyond that is looked at again, with its floating-point columns rounded to float32, as
    ONNX gets them. Where ONNX says what the model itself says of these, by the same tolerance,
    the row is ``rounded``: it is the inputs that differ, not the models. That is no small matter
    of course: a tree jumps at its thresholds, and a column with a mean far above its deviation
    keeps few digits, so look at ``rounded`` and ``max_absolute`` before serving. All other rows
    are ``disagreements``, also where rounding inside the graph is the cause: it cannot be told
    from a fault by looking at answers.

    NaN on both sides agrees. A null in a text column is fed to ONNX as ``"<NA>"``, which the
    encoder's category for missing values, or the imputer, takes as null; where the encoder has no
    such category both sides treat it as unknown. With ``handle_unknown="error"`` the
    scikit-learn model itself refuses an unknown category, and its error is raised: there is
    nothing to compare with.

    Parameters
    ----------
    artefact_path : str or PathLike
    data : Dataset, path or URL
    model : fitted estimator, default None
        None loads the artefact's own ``model.skops``.
    engine : Engine or what ``open_engine`` takes, default None
    features : sequence of str, default None
        The columns of X; None for those that the model was fitted on.

    Returns
    -------
    dict
        ``rows``, ``disagreements``, ``rounded``, ``max_absolute`` and ``max_relative`` (the
        greatest differences of all rows, the latter against ``max(|model|, scale)``), ``rtol``,
        ``scale`` (a number for each output), and ``first``: None, or the ``file``, ``row_group``
        and ``row`` (position in the row group) of the first disagreement.

    Raises
    ------
    ArtefactCorrupt, UntrustedArtefact, UnknownColumn, WrongColumnType
    """
    from parquetry.engine import borrowed_engine
    from parquetry.onnx_steps import input_types

    content = onnx_bytes(artefact_path)
    model = load(artefact_path) if model is None else model
    if not hasattr(model, "predict"):
        raise BadParameter(f"{type(model).__name__} predicts nothing.", fix="Compare a model that has predict.")
    view = make_view(data, target=None, features=list(input_types(model)) if features is None else features)
    view.dataset.require_rows()
    rtol = FLOAT32_EPSILON * (_ROUNDINGS + _summands(model))
    reduction = Agreement(model, content, rtol, _scale(model, view))
    with borrowed_engine(engine) as running:
        (found,) = run_pass(running, [(reduction, view)], label="agreement")
    first = None if found.first is None else dict(zip(("file", "row_group", "row"), found.first, strict=True))
    return {
        "rows": found.rows,
        "disagreements": found.disagreements,
        "rounded": found.rounded,
        "max_absolute": found.max_absolute,
        "max_relative": found.max_relative,
        "rtol": rtol,
        "scale": reduction.scale.tolist(),
        "first": first,
    }


@dataclass
class Counts:
    """The state of an :class:`Agreement`."""

    rows: int = 0
    disagreements: int = 0
    rounded: int = 0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    first: tuple[str, int, int] | None = None


class Agreement(Reduction[Counts, Counts]):
    """Runs both models over each batch and counts where they differ.

    Parameters
    ----------
    model : fitted estimator
    content : bytes
        The ONNX model.
    rtol : float
    scale : array of shape (n_outputs,)
        The size below which differences are no longer taken relative to the prediction.
    """

    label = "agreement"

    def __init__(self, model: Any, content: bytes, rtol: float, scale: Floats) -> None:
        self.model, self.content, self.rtol, self.scale = model, content, rtol, scale
        self.digest = hashlib.sha256(content).hexdigest()

    def partial(self, batch: Batch) -> Counts:
        expected, labels = _answers(self.model, batch.stored)
        onnx, graded = _session(self.digest, self.content), hasattr(self.model, "predict_proba")
        got, got_labels = _onnx_answers(onnx, batch.stored.table, labels, expected, graded=graded)
        difference, size = _difference(got, expected), self._size(expected)
        beyond = self._beyond(got, expected, got_labels, labels)
        suspects = np.flatnonzero(beyond)
        explained = self._explained(batch, suspects, got, got_labels) if len(suspects) else np.zeros(0, dtype=bool)
        wrong = suspects[~explained]
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(difference > 0, difference / size, 0.0)
        first = (batch.block.path, batch.block.row_group, int(batch.rows[wrong[0]])) if len(wrong) else None
        return Counts(
            len(expected), len(wrong), int(explained.sum()), float(difference.max()), float(relative.max()), first
        )

    def merge(self, left: Counts, right: Counts) -> Counts:
        return Counts(
            left.rows + right.rows,
            left.disagreements + right.disagreements,
            left.rounded + right.rounded,
            max(left.max_absolute, right.max_absolute),
            max(left.max_relative, right.max_relative),
            right.first if left.first is None else left.first,
        )

    def _explained(
        self, batch: Batch, suspects: npt.NDArray[np.intp], got: Floats, got_labels: Any
    ) -> npt.NDArray[np.bool_]:
        """Which suspects ONNX answers as the model answers the inputs rounded to float32."""
        chosen = _rounded(batch.stored.table.take(pa.array(suspects)))
        try:
            expected, labels = _answers(self.model, Columns(chosen))
        except ValueError:
            # The model may refuse a rounded value (a strict encoder of floats); nothing is explained.
            return np.zeros(len(suspects), dtype=bool)
        theirs = None if got_labels is None else got_labels[suspects]
        return ~self._beyond(got[suspects], expected, theirs, labels)

    def _beyond(self, got: Floats, expected: Floats, got_labels: Any, labels: Any) -> npt.NDArray[np.bool_]:
        """Which rows differ by more than the tolerance."""
        beyond = (_difference(got, expected) > self.rtol * self._size(expected)).any(axis=1)
        if labels is not None:
            beyond |= ~_same(got_labels, labels) & ~_tied(got_labels, self.model, expected, self.rtol)
        return np.asarray(beyond)

    def _size(self, expected: Floats) -> Floats:
        return np.asarray(np.fmax(np.abs(np.where(np.isfinite(expected), expected, 0.0)), self.scale))


# --- what the two models answer -------------------------------------------------------------
def _answers(model: Any, x: Columns) -> tuple[Floats, Any]:
    """``(values of shape (n_rows, n_outputs), labels or None)`` of the scikit-learn model."""
    from sklearn.base import is_classifier

    predicted = np.asarray(apply(model, "predict", x))
    if not is_classifier(model):
        return _two_dimensional(predicted), None
    if not hasattr(model, "predict_proba"):
        return np.zeros((len(predicted), 1)), predicted
    return _two_dimensional(np.asarray(apply(model, "predict_proba", x))), predicted


def _onnx_answers(
    onnx: OnnxModel, table: pa.Table, labels: Any, expected: Floats, *, graded: bool
) -> tuple[Floats, Any]:
    """The same of the ONNX model. ``graded``: the classifier has probabilities to compare."""
    answers = onnx.run(table)
    first = answers[onnx.outputs[0]]
    if labels is None:
        return _two_dimensional(first), None
    if not graded:
        return np.zeros_like(expected), first
    probabilities = answers[onnx.outputs[1]] if len(onnx.outputs) > 1 else None
    if probabilities is None or probabilities.shape != expected.shape:
        return np.full_like(expected, np.nan), first
    return _two_dimensional(probabilities), first


def _two_dimensional(values: npt.NDArray[Any]) -> Floats:
    wide = np.asarray(values, dtype=np.float64)
    return wide.reshape(len(wide), -1)


def _difference(got: Floats, expected: Floats) -> Floats:
    """``|got - expected|``: 0 where both are NaN or the same infinity, infinite where one is."""
    with np.errstate(invalid="ignore"):
        difference = np.abs(got - expected)
    alike = (got == expected) | (np.isnan(got) & np.isnan(expected))
    return np.where(alike, 0.0, np.where(np.isnan(difference), np.inf, difference))


def _same(got: Any, labels: Any) -> npt.NDArray[np.bool_]:
    """Equal labels; ONNX gives booleans and whole floats as integers."""
    got, labels = np.asarray(got), np.asarray(labels)
    if labels.dtype.kind in "biuf":
        return np.asarray(got.astype(np.float64) == labels.astype(np.float64))
    return np.asarray(got.astype(str) == labels.astype(str))


def _tied(got: Any, model: Any, probabilities: Floats, rtol: float) -> npt.NDArray[np.bool_]:
    """Where the model's own probability of the ONNX label is its greatest, or at its threshold, within rounding."""
    threshold = threshold_of(model)
    if threshold is not None:
        return np.asarray(np.abs(probabilities[:, threshold.positive] - threshold.value) <= 2 * rtol)
    classes = np.asarray(getattr(model, "classes_", []))
    if probabilities.shape[1] != len(classes):
        return np.zeros(len(probabilities), dtype=bool)
    named = np.stack([_same(got, np.full(len(got), c)) for c in classes], axis=1)
    own = np.where(named, probabilities, 0.0).sum(axis=1)
    return np.asarray(named.any(axis=1) & (own >= probabilities.max(axis=1) - 2 * rtol))


# --- the tolerance --------------------------------------------------------------------------
def _scale(model: Any, view: View) -> Floats:
    """The median size of the predictions over the first rows; 1 for classifiers."""
    batch = next(iter(view.head_batches(_SCALE_ROWS)))
    values, labels = _answers(model, batch.stored)
    if labels is not None:
        return np.ones(values.shape[1])
    sizes = np.abs(np.where(np.isfinite(values), values, 0.0))
    return np.asarray(np.median(sizes, axis=0))


def _summands(model: Any) -> int:
    """How many numbers the last step adds up: its columns, or its trees."""
    from parquetry.onnx_steps import predictor

    last = predictor(model)
    trees = getattr(last, "n_estimators", getattr(last, "tree_count_", None)) or (
        last.max_iter if type(last).__name__.startswith("HistGradientBoosting") else 0
    )
    if not trees and hasattr(last, "get_booster"):
        trees = last.get_booster().num_boosted_rounds()
    return max(int(getattr(last, "n_features_in_", 0)), int(trees or 0))


def _rounded(table: pa.Table) -> pa.Table:
    """Floating-point columns rounded to float32; the others as they are."""
    for i, field in enumerate(table.schema):
        if pa.types.is_floating(field.type):
            with np.errstate(over="ignore"):
                values = float_column(table.column(i)).astype(np.float32).astype(np.float64)
            # NaN becomes null again, which is how the model was given it.
            table = table.set_column(i, pa.field(field.name, pa.float64()), pa.array(values, from_pandas=True))
    return table


# --- one session a process ------------------------------------------------------------------
_sessions: dict[str, OnnxModel] = {}
_lock = threading.Lock()


def _session(digest: str, content: bytes) -> OnnxModel:
    """The opened model, once a process; the oldest is closed where several are open."""
    with _lock:
        if digest not in _sessions:
            if len(_sessions) >= _OPEN_SESSIONS:
                del _sessions[next(iter(_sessions))]
            _sessions[digest] = OnnxModel(content)
        return _sessions[digest]
