"""predict and evaluate: rows stream through a fitted model on the workers."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from sklearn.exceptions import NotFittedError

from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter, ParquetryError
from parquetry.fit_checks import check_picklable, make_view
from parquetry.foundation.positions import placed
from parquetry.metrics import evaluate_classifier, evaluate_regressor
from parquetry.reduction import Bundle
from parquetry.relational import write_bundles
from parquetry.through import apply, holds_gil
from parquetry.view import Batch, View

if TYPE_CHECKING:
    from parquetry.engine import Engine

METHODS = ("predict", "predict_proba", "decision_function", "transform")


def predict(
    model: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    to: str | os.PathLike[str],
    keys: Sequence[str] = (),
    features: Sequence[str] | None = None,
    method: str = "predict",
    engine: Engine | str | None = None,
    mode: str = "fail",
) -> Dataset:
    """Write a fitted model's predictions for every row as a committed dataset.

    Parameters
    ----------
    model : fitted scikit-learn estimator
    data : Dataset, path or URL
    to : path or URL
        Where the Delta table is written: whole or not at all.
    keys : sequence of str, default ()
        Columns of ``data`` that are written beside the predictions.
    features : sequence of str, default None
        X's columns in order; None takes those that the model was fitted on.
    method : {"predict", "predict_proba", "decision_function", "transform"}, default "predict"
    engine : Engine or what ``open_engine`` takes, default None
        None is the local engine.
    mode : {"fail", "append", "overwrite"}, default "fail"

    Returns
    -------
    Dataset
        The committed rows, in the order of ``data``: keys, then ``prediction`` (or one column an
        output: ``prediction_0`` …, ``probability_<class>``, or the transformer's own names).
    """
    if method not in METHODS or not hasattr(model, method):
        raise BadParameter(
            f"{type(model).__name__} has no method {method!r} for rows.", fix=f"Choose from {', '.join(METHODS)}."
        )
    view = make_view(data, target=None, features=model_features(model, features))
    view.dataset.require(keys, "key column")
    view.dataset.require_rows()
    view = replace(view, target=tuple(keys))  # read beside the features, and otherwise left alone
    check_picklable(model)
    path = os.fspath(to)
    output = CommittedWrite(path, mode)
    shown = _Shower(Output(model, method), tuple(keys), _output_names(model, method))
    # The first rows tell the output's types, and find a model that does not fit the data early.
    schema = _tried(shown, view)
    with borrowed_engine(engine) as running:
        chosen = view.dataset.select(view.columns)
        reader = chosen.reader(batch_rows=replace(view, steps=(shown.output,)).batch_rows)

        def write(writer: PartWriter) -> list[Part]:
            task = _PredictTask(reader, replace(view, dataset=None), shown, writer)  # type: ignore[arg-type]
            return write_bundles(running, chosen, task, label=f"{method}-{type(model).__name__}")

        output.run(schema, write)
    return open_dataset(path)


def evaluate(
    model: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    target: str | Sequence[str] | None = None,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    engine: Engine | str | None = None,
) -> dict[str, Any]:
    """Score a fitted model on every row, streaming, all metrics at once.

    Parameters
    ----------
    model : fitted regressor, classifier, clusterer or mixture
    data : Dataset, path or URL
    target : str or sequence of str, default None
        None for a clusterer or a mixture.
    features : sequence of str, default None
        X's columns in order; None takes those that the model was fitted on.
    sample_weight : str, default None
    engine : Engine or what ``open_engine`` takes, default None

    Returns
    -------
    dict
        Plain numbers, lists and dicts that JSON can hold; what is undefined is None. As
        scikit-learn defines them (https://scikit-learn.org/stable/modules/model_evaluation.html),
        with the sample weights throughout (but for ``max_error``); of several outputs the means,
        and those of each in ``per_output``.

        For both kinds ``rows``. For a regressor ``r2``, ``rmse``, ``mae``, ``mape``, the exact
        ``median_absolute_error``, ``max_error``, ``explained_variance``, ``rmsle`` (None where a
        value is -1 or less) and ``error_quantiles`` of truth less prediction.

        For a classifier ``accuracy``, ``balanced_accuracy``, ``precision``, ``recall`` and ``f1``
        (macro; also with ``_weighted`` and ``_micro``), ``mcc``, ``cohen_kappa``, ``classes``,
        ``confusion_matrix`` (truth in rows; None above 1,000 classes) and ``per_class`` by label;
        from probabilities ``log_loss`` and ``brier``; from them, or from a decision function,
        ``top_2_accuracy`` and so on for more than two classes, and up to 100 classes ``roc_auc``,
        ``average_precision``, ``roc_curve``, ``precision_recall_curve``, ``gains`` and (of
        probabilities) ``calibration``: of the second of two classes; of more classes each
        against the rest, and the areas' means, by rows in ``roc_auc_weighted``.
        The curves have at most 1,000 points.

        For a clusterer what :func:`~parquetry.classical.cluster_metrics.evaluate_clusters` gives.

        The areas are exact up to 6,291,456 scores (rows times classes, of two classes one), and
        wherever few scores differ. Above that they take a second pass, and ``roc_auc_error`` and
        ``average_precision_error`` say how far they may be off; points of the curves are exact.

    Raises
    ------
    BadParameter, NonFiniteValues, WrongColumnType
        With the first row's place: a label that the model has not seen, a target, prediction,
        score or weight that is not finite, negative weights, probabilities that are none.
    """
    from sklearn.base import is_classifier, is_regressor

    view = make_view(data, target=target, features=model_features(model, features), sample_weight=sample_weight)
    view.dataset.require_rows()
    check_picklable(model)
    if target is None:
        from parquetry.classical.cluster_metrics import evaluate_clusters

        with borrowed_engine(engine) as running:
            return evaluate_clusters(model, view, running)
    if not (is_regressor(model) or is_classifier(model)):
        raise BadParameter(f"{type(model).__name__} neither predicts numbers nor classes.", fix="Pass a predictor.")
    # The first rows find a model that does not fit the data before any work is scheduled.
    with _naming_columns(model, view):
        apply(model, "predict", next(iter(view.head_batches(2))).X)
    with borrowed_engine(engine) as running:
        score = evaluate_regressor if is_regressor(model) else evaluate_classifier
        return score(model, view, running)


def model_features(model: Any, features: Sequence[str] | None) -> Sequence[str] | None:
    """The columns that a model was fitted on, unless others are named."""
    report = getattr(model, "fit_report_", None)
    # CatBoost keeps names under another name, and does not keep the report in its pickle.
    fitted = getattr(model, "feature_names_in_", getattr(model, "feature_names_", None))
    names = fitted if report is None else report["inputs"]
    known = None if names is None else [str(n) for n in names]
    if features is None or known is None:
        return known if features is None else features
    if list(features) != known:
        raise BadParameter(
            f"The model was fitted on {known}, not on {list(features)}.",
            why="Columns in another order would be taken for each other.",
            fix="Leave features= out, or name the same columns in the same order.",
        )
    return features


@dataclass(frozen=True, eq=False)
class Output:
    """A view's step: X becomes what a model's method gives, as a dense matrix with one column an output."""

    model: Any
    method: str

    def __call__(self, x: Any) -> Any:
        found = apply(self.model, self.method, x)
        values = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
        return values.reshape(-1, 1) if values.ndim == 1 else values


@dataclass(frozen=True)
class _Shower:
    """A batch's keys and predictions as an Arrow table."""

    output: Output
    keys: tuple[str, ...]
    names: tuple[str, ...] | None

    def __call__(self, batch: Batch) -> pa.Table:
        try:
            columns = list(self.output(batch.X).T)
        except ValueError as error:
            raise placed(error, batch) from error
        names = self.names
        if names is None or len(names) != len(columns):
            names = ("prediction",) if len(columns) == 1 else tuple(f"prediction_{i}" for i in range(len(columns)))
        taken = [n for n in names if n in self.keys]
        if taken:
            raise BadParameter(f"The key column {taken[0]!r} has the name of an output column.", fix="Rename it first.")
        arrays = [*(batch.table.column(k) for k in self.keys), *(pa.array(c) for c in columns)]
        return pa.table(dict(zip((*self.keys, *names), arrays, strict=True)))


@dataclass(frozen=True)
class _PredictTask:
    reader: Any
    view: View
    shown: _Shower
    writer: PartWriter

    @property
    def holds_gil(self) -> bool:
        """Whether rows go through Python code, so that an engine does better with processes than with threads."""
        return holds_gil(self.shown)

    def __call__(self, numbered: tuple[int, Bundle]) -> list[Part]:
        index, bundle = numbered
        batches = (Batch(table, rows, block, self.view) for block in bundle for table, rows in self.reader.read(block))
        return self.writer.write(index, (self.shown(batch) for batch in batches))


def _tried(shown: _Shower, view: View) -> pa.Schema:
    with _naming_columns(shown.output.model, view):
        return shown(next(iter(view.head_batches(2)))).schema


@contextmanager
def _naming_columns(model: Any, view: View) -> Iterator[None]:
    """The model's own error on its first rows, as one that says which columns it was given."""
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        if isinstance(error, ParquetryError):
            raise
        if isinstance(error, NotFittedError):
            raise BadParameter(
                f"{type(model).__name__} is not fitted.", why=str(error), fix="Pass what parquetry.fit returned."
            ) from error
        raise BadParameter(
            f"{type(model).__name__} does not take the columns {list(view.features)}.",
            why=f"{type(error).__name__}: {error}",
            fix="Name the columns that it was fitted on with features=.",
        ) from error


def _output_names(model: Any, method: str) -> tuple[str, ...] | None:
    if method == "predict_proba":
        return tuple(f"probability_{c}" for c in model.classes_)
    if method == "transform" and hasattr(model, "get_feature_names_out"):
        return tuple(str(n) for n in model.get_feature_names_out())
    return None
