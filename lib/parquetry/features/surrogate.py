"""Tiny stand-ins for X, on which scikit-learn's own ``fit`` settles everything but the statistics.

A stand-in has X's form and types, as pandas reads them from Parquet, and the values that it is
given. So scikit-learn's own code decides on names, types, categories and refusals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from parquetry.errors import BadParameter, ParquetryError, WrongColumnType
from parquetry.foundation.counts import is_missing
from parquetry.view import View


def surrogate(view: View, columns: Sequence[Any]) -> Any:
    """X with the given values in each column.

    Parameters
    ----------
    view : View
    columns : sequence of pyarrow.Array or list
        Each column's values, at least one; shorter columns are filled up by repeating theirs.

    Returns
    -------
    DataFrame or ndarray
        A frame where X has names, else an array, as scikit-learn's ``fit`` would get it.
    """
    rows = max(len(column) for column in columns)
    if not view.steps:
        schema = view.dataset.full_schema
        arrays = [
            _stored(_repeated(c, rows), schema.field(f).type) for f, c in zip(view.features, columns, strict=True)
        ]
        return pa.table(arrays, names=list(view.features)).to_pandas()
    head = view.head(2)
    lists = [_repeated(_as_list(c), rows) for c in columns]
    if hasattr(head, "iloc"):
        return _frame(head, lists)
    return _array(head.dtype, lists)


def zeros(view: View, rows: int = 2) -> Any:
    """X of zeros, in the form and under the names that scikit-learn's ``fit`` would get."""
    import pandas as pd

    if view.steps and hasattr(view.head(2), "tocsr"):
        from scipy import sparse

        return sparse.csr_matrix((rows, view.width))
    x = np.zeros((rows, view.width))
    return x if view.names is None else pd.DataFrame(x, columns=list(view.names))


def set_inputs(estimator: Any, view: View) -> None:
    """Set ``n_features_in_`` and, where X has names, ``feature_names_in_``."""
    estimator.n_features_in_ = view.width
    if view.names is not None:
        estimator.feature_names_in_ = np.asarray(view.names, dtype=object)
    elif hasattr(estimator, "feature_names_in_"):
        del estimator.feature_names_in_


def is_sparse(view: View) -> bool:
    """Whether X is a sparse matrix."""
    return bool(view.steps) and hasattr(view.head(2), "tocsr")


def require_numbers(estimator: Any, view: View) -> None:
    """Raise WrongColumnType, naming the column, where an estimator of numbers gets others."""
    view.require_numeric(estimator)
    if not view.steps or is_sparse(view):
        return
    head = view.head()
    for i in range(view.width):
        column = np.asarray(head.iloc[:, i] if hasattr(head, "iloc") else head[:, i])
        try:
            column.astype(np.float64)
        except (TypeError, ValueError) as error:
            name = view.names[i] if view.names is not None else f"x{i}"
            raise WrongColumnType(
                f"{type(estimator).__name__}: column {name!r} holds {column.dtype}, not numbers.",
                why=str(error),
                fix="Encode it first (OneHotEncoder in a ColumnTransformer).",
            ) from error


def checked(estimator: Any, action: Callable[[], Any]) -> Any:
    """What ``action`` gives; scikit-learn's own refusals become typed ones.

    Raises
    ------
    BadParameter
        In scikit-learn's words.
    """
    try:
        return action()
    except ParquetryError:
        raise
    except (TypeError, ValueError) as error:
        raise BadParameter(
            f"{type(estimator).__name__}: {error}",
            why="scikit-learn's own fit refuses it.",
            fix="Change the parameter.",
        ) from error


def _stored(column: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(column, list):
        return pa.array(column, pa.float32()).cast(kind) if pa.types.is_float16(kind) else pa.array(column, kind)
    if pa.types.is_dictionary(kind):
        return column.dictionary_encode()
    return column if column.type == kind else column.cast(kind)


def _repeated(column: Any, rows: int) -> Any:
    if isinstance(column, list):
        return [column[i % len(column)] for i in range(rows)]
    return column if len(column) == rows else column.take(pa.array(np.arange(rows) % len(column)))


def _as_list(column: Any) -> list[Any]:
    return column if isinstance(column, list) else column.to_pylist()


def _array(kind: np.dtype[Any], lists: list[list[Any]]) -> Any:
    out = np.empty((len(lists[0]), len(lists)), dtype=object)
    for i, values in enumerate(lists):
        out[:, i] = values
    return out.astype(_wide_enough(kind, [v for values in lists for v in values]))


def _frame(head: Any, lists: list[list[Any]]) -> Any:
    import pandas as pd

    columns = {}
    for i, (name, values) in enumerate(zip(head.columns, lists, strict=True)):
        kind = head.dtypes.iloc[i]
        if isinstance(kind, np.dtype):
            kind = _wide_enough(kind, values)
        columns[name] = pd.Series(values, dtype=kind)
    return pd.DataFrame(columns)


def _wide_enough(kind: np.dtype[Any], values: list[Any]) -> np.dtype[Any]:
    """The first rows' type, or the one that also holds what they did not show."""
    if kind.kind in "iub" and any(is_missing(v) for v in values):
        return np.dtype(np.float64) if kind.kind in "iu" else np.dtype(object)
    return kind
