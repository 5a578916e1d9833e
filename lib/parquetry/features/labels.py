"""LabelEncoder, LabelBinarizer and MultiLabelBinarizer: the labels of a target, in one pass over it alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.preprocessing import LabelBinarizer, LabelEncoder, MultiLabelBinarizer

from parquetry.errors import BadParameter, TooManyCategories, WrongColumnType
from parquetry.features.surrogate import checked, surrogate
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import LIMIT, Counts
from parquetry.foundation.positions import Position, earliest, position_of, refusal
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import View

_PASSES = "1, over the target alone"


@fitter(LabelEncoder, LabelBinarizer, passes=_PASSES, exact="equal", matrices=False)
def fit_labels(encoder: Any, view: View, _fitting: Fitting) -> Asking:
    """The classes of ``target=``: these take y, and look at no feature.

    For a LabelBinarizer the target may be several columns of 0 and 1. scikit-learn's own encoder
    is fitted on the distinct values.

    Source: https://scikit-learn.org/stable/modules/preprocessing_targets.html
    """
    y = _labels(encoder, view)
    (columns,) = yield [Pass(Counts(type(encoder).__name__, y.features), y)]
    missing = earliest([column.missing_at for column in columns])
    if missing is not None and isinstance(encoder, LabelBinarizer):
        raise refusal(missing, y.features, "LabelBinarizer")
    values = surrogate(y, [column.complete()[0] for column in columns]).to_numpy()
    checked(encoder, lambda: encoder.fit(values if len(columns) > 1 else values[:, 0]))
    return encoder


@fitter(MultiLabelBinarizer, passes=_PASSES, exact="equal", matrices=False)
def fit_multi_label_binarizer(binarizer: Any, view: View, _fitting: Fitting) -> Asking:
    """All labels of ``target=``, a column of lists.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.MultiLabelBinarizer.html
    """
    y = _labels(binarizer, view)
    kind = view.dataset.full_schema.field(y.features[0]).type
    if len(y.features) > 1 or not (pa.types.is_list(kind) or pa.types.is_large_list(kind)):
        raise WrongColumnType(
            f"MultiLabelBinarizer: the target {', '.join(map(repr, y.features))} is {kind}, not one column of lists.",
            why="Each row has a list of labels.",
            fix="Name a column of lists; for one label a row use LabelBinarizer.",
        )
    (labels,) = yield [Pass(Members("MultiLabelBinarizer", y.features[0]), y)]
    checked(binarizer, lambda: binarizer.fit([labels]))
    return binarizer


def _labels(encoder: Any, view: View) -> View:
    """The target as the only columns."""
    if not view.target:
        raise BadParameter(
            f"{type(encoder).__name__} needs a target.",
            why="It encodes labels, y, and looks at no feature.",
            fix="Pass target='column'; for features use OrdinalEncoder or OneHotEncoder.",
        )
    if hasattr(encoder, "_parameter_constraints"):
        checked(encoder, encoder._validate_params)
    return view.target_as_features()


class Members(Reduction[Any, list[Any]]):
    """The distinct members of a column of lists.

    Parameters
    ----------
    who, name : str
        The estimator and the column, for errors.
    """

    label = "labels"

    def __init__(self, who: str, name: str) -> None:
        self.who, self.name = who, name

    def partial(self, batch: Any) -> tuple[Any, Position | None]:
        column = batch.stored.table.column(0).combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
        missing = position_of(batch, column.is_null().to_numpy(zero_copy_only=False), 0, "a missing value")
        return pc.unique(pc.list_flatten(column)), missing

    def merge(self, left: Any, right: Any) -> Any:
        return pc.unique(pa.concat_arrays([left[0], right[0]])), earliest([left[1], right[1]])

    def finish(self, state: Any) -> list[Any]:
        if state[1] is not None:
            raise refusal(state[1], [self.name], self.who)
        if len(state[0]) > LIMIT:
            raise TooManyCategories(f"{self.who}: column {self.name!r} has more than {LIMIT:,} labels.")
        return list(np.asarray(state[0].to_pandas()))  # as pandas reads the members of lists
