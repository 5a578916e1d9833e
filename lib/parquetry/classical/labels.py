"""Labels: the classes of a target, their codes, and class weights; what every classifier begins with."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.row_weights import RowWeights
from parquetry.errors import BadParameter, ContinuousTarget, DegenerateColumn, WrongColumnType
from parquetry.fitting import Pass
from parquetry.foundation.counts import ColumnCounts, Counts
from parquetry.foundation.positions import refusal
from parquetry.view import FloatArray, View

MAX_CLASSES = 100_000


@dataclass(frozen=True)
class Classes:
    """The classes of one target column.

    Attributes
    ----------
    values : ndarray of shape (n_classes,)
        In the order and type of scikit-learn's ``classes_``.
    counts : ndarray of shape (n_classes,)
        Rows of each class, int64.
    weights : ndarray of shape (n_classes,)
        The rows' sample weights added up; the counts as floats where there are none.
    """

    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]
    weights: FloatArray


@dataclass(frozen=True, eq=False)
class ClassCodes:
    """A view's target step: each label becomes its position in ``classes_``, as a float.

    Parameters
    ----------
    classes : tuple of ndarray
        One array of classes a target column.
    """

    classes: tuple[npt.NDArray[Any], ...]

    def __call__(self, y: Any) -> Any:
        if len(self.classes) == 1:
            return _codes(self.classes[0], np.asarray(y))
        columns = [_codes(c, np.asarray(y)[:, i]) for i, c in enumerate(self.classes)]
        return np.column_stack(columns)


@dataclass(frozen=True, eq=False)
class ClassWeights:
    """A view's weight step: the sample weight times the weight of the row's class.

    It works on a target that :class:`ClassCodes` has encoded.

    Parameters
    ----------
    by_class : tuple of ndarray
        The weight of each class of each target column.
    """

    by_class: tuple[FloatArray, ...]

    def __call__(self, batch: Any, weights: FloatArray | None) -> FloatArray:
        total = np.ones(batch.num_rows) if weights is None else weights.astype(np.float64)
        for vector, codes in zip(self.by_class, batch.y_floats, strict=True):
            total = total * vector[codes.astype(np.intp)]
        return total


def learn_classes(estimator: Any, view: View, *, least: int = 1) -> Generator[list[Any], list[Any], list[Classes]]:
    """The classes of each target column, in one pass that reads no feature.

    Parameters
    ----------
    estimator : classifier
        Named in errors.
    view : View
    least : int, default 1
        The fewest classes that the estimator accepts.

    Raises
    ------
    BadParameter
        No target; weights negative, not finite or all zero.
    NonFiniteValues
        A label is missing: column and first position.
    WrongColumnType, ContinuousTarget
        Labels are of several types, or are fractions.
    DegenerateColumn
        There are fewer classes than ``least``.
    """
    who = type(estimator).__name__
    if not view.target:
        raise BadParameter(f"{who} needs a target.", fix="Pass target='column'.")
    if view.prepare is None:
        # Reading all features would cost many times what counting the target does.
        view = replace(view, features=(), steps=(), step_names=None)
    works = [Pass(Counts(who, view.target, target=True, limit=MAX_CLASSES), view)]
    if view.sample_weight is not None:
        weighted = Counts(who, view.target, target=True, weighted=True, limit=MAX_CLASSES)
        works += [Pass(weighted, view), Pass(RowWeights(who, view.sample_weight), view)]
    columns, *more = yield works
    by_weight = more[0] if more else columns
    found = []
    for i, (column, heavy) in enumerate(zip(columns, by_weight, strict=True)):
        _check_labels(who, view, i, column, least)
        weights = np.asarray(heavy.counts, dtype=np.float64)
        found.append(Classes(class_values(view, i, column), column.counts.astype(np.int64), weights))
    return found


def encoded(view: View, classes: list[Classes], class_weight: Any = None, *, by_rows: bool = False) -> View:
    """The same rows with class codes as the target, and class weights among the weights.

    Parameters
    ----------
    view : View
    classes : list of Classes
        One a target column.
    class_weight : dict, "balanced", list of dicts, or None
        As scikit-learn's classifiers take it.
    by_rows : bool, default False
        ``"balanced"`` counts rows (``compute_sample_weight``, as trees do) instead of sample
        weights (``compute_class_weight``, as linear classifiers do).
    """
    seen = replace(view, target_step=ClassCodes(tuple(c.values for c in classes)))
    if class_weight is None:
        return seen
    vectors = class_weights(classes, class_weight, by_rows=by_rows)
    return replace(seen, weight_step=ClassWeights(tuple(vectors)))


def class_weights(classes: list[Classes], class_weight: Any, *, by_rows: bool = False) -> list[FloatArray]:
    """The weight of each class of each target column.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.utils.class_weight.compute_class_weight.html
    """
    each = class_weight if isinstance(class_weight, list) else [class_weight] * len(classes)
    if len(each) != len(classes):
        raise BadParameter(f"class_weight has {len(each)} entries for {len(classes)} target columns.")
    return [_class_weight(c, w, by_rows=by_rows) for c, w in zip(classes, each, strict=True)]


def _class_weight(classes: Classes, class_weight: Any, *, by_rows: bool) -> FloatArray:
    if class_weight is None:
        return np.ones(len(classes.values))
    if isinstance(class_weight, str):
        if class_weight not in ("balanced", "balanced_subsample"):
            raise BadParameter(f"class_weight={class_weight!r} is not known.", fix="Pass a dict, 'balanced' or None.")
        mass = classes.counts.astype(np.float64) if by_rows else classes.weights
        return np.asarray(mass.sum() / (len(mass) * mass))
    known = classes.values.tolist()
    unknown = [label for label in class_weight if label not in known]
    if unknown and len([label for label in class_weight if label in known]) < len(known):
        raise BadParameter(
            f"class_weight names {unknown[0]!r}, which is no class.", why=f"The classes are {known[:10]}."
        )
    return np.array([float(class_weight.get(label, 1.0)) for label in known])


def class_values(view: View, i: int, column: ColumnCounts) -> npt.NDArray[Any]:
    """The classes of a target column as scikit-learn would hold them, in order."""
    values = column.values
    if isinstance(values, list):
        out = np.empty(len(values), dtype=object)
        out[:] = values
        return out
    if view.target_step is None:
        values = values.cast(view.dataset.full_schema.field(view.target[i]).type)
    found: npt.NDArray[Any] = values.to_pandas().to_numpy()
    return found


def _check_labels(who: str, view: View, i: int, column: ColumnCounts, least: int) -> None:
    name = view.target[i]
    if column.missing_at is not None:
        raise refusal(column.missing_at, view.target, who)
    if isinstance(column.values, list) and len({type(v) for v in column.values}) > 1:
        kinds = sorted({type(v).__name__ for v in column.values})
        raise WrongColumnType(
            f"{who}: the target {name!r} mixes labels of the types {', '.join(kinds)}.",
            why="Labels of several types have no order.",
            fix="Make them all text, or all numbers.",
        )
    values = class_values(view, i, column)
    if values.dtype.kind == "f" and not (np.isfinite(values).all() and (values == np.floor(values)).all()):
        raise ContinuousTarget(
            f"{who}: the target {name!r} holds fractions, as {values[values != np.floor(values)][:1].tolist()}.",
            why="Unknown label type: continuous. A classifier needs classes; these look like measurements.",
            fix="Use a regressor, or bin the target.",
        )
    if len(values) < least:
        raise DegenerateColumn(
            f"{who}: the target {name!r} holds one class only: {values.tolist()[0]!r}.",
            why=f"{who} needs at least {least} classes.",
            fix="Check that this is the right column, and that the split did not drop a class.",
        )


def _codes(classes: npt.NDArray[Any], y: npt.NDArray[Any]) -> FloatArray:
    if classes.dtype.kind in "iufb" and y.dtype.kind in "iufb":
        return np.searchsorted(classes, y).astype(np.float64)
    import pandas as pd

    return np.asarray(pd.Index(classes).get_indexer(pd.Index(y)), dtype=np.float64)
