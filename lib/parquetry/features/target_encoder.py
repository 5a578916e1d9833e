"""TargetEncoder: each category's mean of the target, shrunk towards the mean of all; cross-fitted, from one pass."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.preprocessing import LabelBinarizer, TargetEncoder

from parquetry.classical.labels import ClassCodes, learn_classes
from parquetry.errors import BadParameter, TooManyCategories, WrongColumnType
from parquetry.features.category_codes import _Lookup, category_codes, through_categories
from parquetry.features.category_stats import (
    CategoryPart,
    CategoryStats,
    IntArray,
    Moments,
    combined,
    nearest_to_zero,
    sorted_values,
)
from parquetry.features.crossfit import crossing
from parquetry.features.onehot import require_categories
from parquetry.features.surrogate import checked, set_inputs, surrogate
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import Finite, shown_names, targets
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.through import InTraining
from parquetry.view import FloatArray, View, is_numeric


@fitter(
    TargetEncoder,
    passes="2 (the first over the target alone; a continuous target of whole numbers, or folds by class: 3)",
    exact="encodings to 1e-12; later steps see cross-fitted ones, over folds by hash where cv= has no seed",
    matrices=False,
)
def fit_target_encoder(encoder: Any, view: View, fitting: Fitting) -> Asking:
    """Each category's encoding, over all rows and without each fold, from the same pass.

    The encoder is fitted as by scikit-learn's ``fit``. In a pipeline (and a ``ColumnTransformer``
    or a ``FeatureUnion`` there) the later steps are fitted on what ``fit_transform`` gives: each
    row is encoded by what the rows of the other folds have told. The fitted pipeline predicts
    with the encodings of all rows, as scikit-learn's does.

    In scikit-learn a number as ``cv`` (and ``KFold`` and ``StratifiedKFold`` with ``shuffle=True``
    and no seed) shuffles at random; here a hash of each row's place deals the rows out, so that the
    folds are the same on every engine and in every run, about equal in size, and not stratified.
    Any other ``cv`` that needs the target at most gives scikit-learn's own folds, up to 10 million rows.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.TargetEncoder.html
    Daniele Micci-Barreca, "A preprocessing scheme for high-cardinality categorical attributes"
    (SIGKDD Explorations, 2001).
    """
    require_categories(encoder, view)
    target = yield from _target(encoder, view)
    seen = target.view
    folds = yield from crossing(encoder, seen, fitting, by_class=target.classes is not None)
    shift = nearest_to_zero(view, view.target[0]) if target.kind == "continuous" and not view.target_step else 0.0
    cells = Cells(folds, target.columns, shift)
    names = shown_names(view)
    stats = CategoryStats("TargetEncoder", names, memory=fitting.memory, cells=cells)
    finite = Finite("TargetEncoder", view.target, values=targets)
    _, parts = yield [Pass(finite, seen), Pass(stats, seen)]
    columns = checked(encoder, lambda: _categories(encoder, view, parts, cells))
    set_inputs(encoder, view)
    encoder.target_type_, encoder.classes_ = target.kind, target.classes
    if target.kind == "multiclass":
        encoder.classes_ = LabelBinarizer().fit(target.classes).classes_  # in the type that scikit-learn's own has
    learned = _Learned(columns, target, encoder.smooth, shift)
    encoder.encodings_, encoder.target_mean_ = learned.encodings(None)
    _require_room(encoder, learned, folds.count, fitting.memory)
    fitting.stand_in(encoder, CrossFitted(encoder, folds, learned))
    return encoder


class CrossFitted(InTraining):
    """A fitted TargetEncoder that encodes each row of the fit by what the other folds have told.

    Parameters
    ----------
    encoder : fitted TargetEncoder
    folds : object
        Its ``of(batch)`` gives each row's fold.
    learned : object
        Its ``encodings(fold)`` gives the encodings without a fold, and the target's mean without it.
    """

    def __init__(self, encoder: Any, folds: Any, learned: Any) -> None:
        self.encoder, self.folds, self._learned = encoder, folds, learned

    @property
    def fitted(self) -> Any:
        return self.encoder

    @cached_property
    def by_fold(self) -> list[tuple[list[FloatArray], Any]]:
        """The encodings and the mean without each fold; only made where a later step asks."""
        return [self._learned.encodings(k) for k in range(self.folds.count)]

    def __getstate__(self) -> dict[str, Any]:
        # A worker gets the encodings, and not what they are made of.
        return {"encoder": self.encoder, "folds": self.folds, "by_fold": self.by_fold, "_learned": None}

    @property
    def _sklearn_output_config(self) -> Any:
        return getattr(self.encoder, "_sklearn_output_config", {})

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The encoder's own."""
        return self.encoder.get_feature_names_out(input_features)

    def transform(self, x: Any) -> Any:
        """As ``rows_through``, of the batch that is being read."""
        from parquetry.through import being_read

        return self.rows_through(x, being_read())

    def rows_through(self, x: Any, batch: Any) -> Any:
        if batch is None:
            return through_categories(self.encoder, x)
        if any(np.isnan(mean).any() for _, mean in self.by_fold):
            raise BadParameter(
                f"TargetEncoder: one of {len(self.by_fold)} folds holds all rows.",
                why="Its rows are to be encoded by those of the other folds.",
                fix="Take more rows.",
            )
        codes, known = _Lookup(self.encoder)(x, handle_unknown="ignore")
        out = np.empty((len(codes), len(self.encoder.encodings_)))
        fold = self.folds.of(batch)
        for k, (encodings, mean) in enumerate(self.by_fold):
            self.encoder._transform_X_ordinal(out, codes, ~known, np.flatnonzero(fold == k), encodings, mean)
        return self._contained(out)

    def _contained(self, out: FloatArray) -> Any:
        from parquetry.through import _wants_frames

        if not _wants_frames(self.encoder):
            return out
        import pandas as pd

        return pd.DataFrame(out, columns=self.encoder.get_feature_names_out())


@dataclass(frozen=True, eq=False)
class Cells:
    """Each row's cell: its fold, and its class where the target is one of classes.

    Parameters
    ----------
    folds : object
    classes : int or None
        None keeps the target itself, one cell a fold.
    shift : float, default 0.0
        What is taken off the target then.
    """

    folds: Any
    classes: int | None
    shift: float = 0.0

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.folds.count) * (self.classes or 1)

    def of(self, batch: Any) -> tuple[IntArray, FloatArray | None, int]:
        """The cells of a batch's rows, the target or None, and how many cells there are."""
        fold, y = self.folds.of(batch), batch.y_floats[0]
        if self.classes is None:
            return fold, y - self.shift, self.count
        return fold * self.classes + y.astype(np.int64), None, self.count


@dataclass(frozen=True)
class _Target:
    """What kind the target is, its classes, and the view in which it is numbers.

    ``columns`` counts the classes that get a cell of their own; None where the target is averaged as it is.
    """

    kind: str
    classes: npt.NDArray[Any] | None
    view: View

    @property
    def columns(self) -> int | None:
        if self.classes is None or (self.kind == "binary" and len(self.classes) > 2):
            return None
        return len(self.classes)


def _require_room(encoder: Any, learned: _Learned, folds: int, memory: int) -> None:
    """Refuse encodings of each fold that a worker would not hold."""
    needed = 8 * (folds + 1) * sum(len(encodings) for encodings in encoder.encodings_)
    if needed > memory:
        raise TooManyCategories(
            f"TargetEncoder: encodings of {sum(c.n_categories for c in learned.columns):,} categories without each of "
            f"{folds} folds take {needed / 2**30:.2f} GiB; {memory / 2**30:.2f} GiB are allowed.",
            why="Each worker holds them while later steps are fitted.",
            fix="Encode fewer columns, take fewer folds with cv=, or allow more with memory=.",
        )


def _target(encoder: Any, view: View) -> Generator[list[Any], list[Any], _Target]:
    """scikit-learn's ``type_of_target`` over all rows, and the classes."""
    if len(view.target) != 1:
        raise BadParameter(
            f"TargetEncoder needs one target, not {len(view.target)}.",
            why="It puts the mean of the target in the place of a category.",
            fix="Pass target='column'.",
        )
    kind = encoder.target_type
    if kind in ("auto", "continuous"):
        stored = view.dataset.full_schema.field(view.target[0]).type
        floats = view.target_step is not None or not (
            pa.types.is_integer(stored) or pa.types.is_boolean(stored) or not is_numeric(stored)
        )
        if kind == "continuous":
            _require_number(view, stored)
            return _Target(kind, None, view)
        if floats:
            alone = replace(view, features=(), steps=(), step_names=None)
            finite = Finite("TargetEncoder", view.target, values=targets)
            _, fractions = yield [Pass(finite, alone), Pass(_Fractions(), alone)]
            if fractions:
                return _Target("continuous", None, view)
    (classes,) = yield from learn_classes(encoder, view)
    labels = classes.values  # noqa: PD011 (no pandas)
    if kind == "auto":
        kind = "multiclass" if len(labels) > 2 else "binary"
    if kind == "multiclass" and len(labels) < 3:
        raise BadParameter(
            f"TargetEncoder: target_type='multiclass', and the target has the classes {labels.tolist()}.",
            fix="Pass target_type='binary' or 'auto'.",
        )
    return _Target(kind, labels, replace(view, target_step=ClassCodes((labels,))))


def _require_number(view: View, stored: pa.DataType) -> None:
    if view.target_step is None and not is_numeric(stored):
        raise WrongColumnType(
            f"TargetEncoder: the target {view.target[0]!r} is {stored}, and target_type='continuous'.",
            fix="Name a numeric column, or another target_type.",
        )


class _Fractions(Reduction[bool, bool]):
    """Whether the target holds anything else than whole numbers."""

    label = "fractions"

    def partial(self, batch: Any) -> bool:
        y = batch.y_floats[0]
        with np.errstate(invalid="ignore"):
            return bool(np.any(np.isfinite(y) & (y != np.floor(y))))

    def merge(self, left: bool, right: bool) -> bool:
        return left or right


@dataclass(frozen=True)
class _Column:
    """One column's parts: the category, the fold and the class of each, how many rows, and the target's moments."""

    n_categories: int
    category: IntArray
    fold: IntArray
    label: IntArray
    part: CategoryPart


def _categories(encoder: Any, view: View, parts: list[CategoryPart], cells: Cells) -> list[_Column]:
    """Lets scikit-learn's own code choose the categories; which of them each part belongs to."""
    found = [sorted_values(part, cells.count) for part in parts]
    x = surrogate(view, [values for values, _, _ in found])
    encoder._fit(x, handle_unknown="ignore", ensure_all_finite="allow-nan")
    columns: list[_Column] = []
    for part, (_, counts, places), codes in zip(parts, found, category_codes(encoder, x), strict=True):
        # scikit-learn counts what is in none of the given categories with the first of them.
        of_value = np.maximum(codes[: len(counts)], 0)
        code, cell = np.divmod(part.keys.astype(np.int64), cells.count)
        fold, label = np.divmod(cell, cells.classes or 1)
        columns.append(_Column(len(encoder.categories_[len(columns)]), of_value[places[code]], fold, label, part))
    return columns


@dataclass(frozen=True)
class _Learned:
    """Everything that the passes have told, from which the encodings are made."""

    columns: list[_Column]
    target: _Target
    smooth: Any
    shift: float

    def encodings(self, without: int | None) -> tuple[list[FloatArray], Any]:
        """The encodings, and the target's mean, of all rows but those of one fold."""
        several = self.target.kind == "multiclass"
        labels = range(len(self.target.classes)) if several else [1]  # type: ignore[arg-type]
        found: list[FloatArray] = []
        means: list[float] = []
        for column in self.columns:
            kept = np.ones(len(column.fold), dtype=bool) if without is None else column.fold != without
            there = [self._moments(column, kept, label) for label in labels]
            wholes = [_whole(moments) for moments in there]
            means = [float(whole.means[0]) for whole in wholes]
            found += [_shrunk(m, w, self.smooth) + self.shift for m, w in zip(there, wholes, strict=True)]
        return found, np.array(means) if several else np.float64(means[0] + self.shift)

    def _moments(self, column: _Column, kept: npt.NDArray[np.bool_], label: int) -> Moments:
        part, groups, n = column.part, column.category[kept], column.n_categories
        counts = part.counts[kept]
        if part.means is not None and part.rests is not None:
            return combined(groups, n, counts, part.means[kept], part.rests[kept])
        rows = np.bincount(groups, weights=counts, minlength=n)
        hits = np.bincount(groups, weights=counts * (column.label[kept] == label), minlength=n)
        with np.errstate(invalid="ignore"):
            return Moments(rows.astype(np.int64), hits / rows, np.where(rows > 0, hits * (rows - hits) / rows, 0.0))


def _whole(moments: Moments) -> Moments:
    """The moments of all categories together."""
    there = moments.counts > 0
    counts = moments.counts[there]
    if not len(counts):
        return Moments(np.zeros(1, dtype=np.int64), np.full(1, np.nan), np.zeros(1))
    return combined(np.zeros(len(counts), dtype=np.int64), 1, counts, moments.means[there], moments.rests[there])


@np.errstate(invalid="ignore", divide="ignore")
def _shrunk(moments: Moments, whole: Moments, smooth: Any) -> FloatArray:
    """The encodings: an empirical Bayes estimate, or ``smooth`` rows of the mean beside each category's own."""
    counts, mean = moments.counts.astype(np.float64), whole.means[0]
    own = np.where(counts > 0, moments.means, 0.0)
    if isinstance(smooth, str):
        variance = whole.rests[0] / whole.counts[0]
        share = variance * counts / (variance * counts + moments.rests / counts)
        return np.asarray(np.where(np.isnan(share), mean, share * own + (1 - share) * mean))
    total = counts + smooth
    return np.asarray(np.where(total > 0, (counts * own + smooth * mean) / total, mean))
