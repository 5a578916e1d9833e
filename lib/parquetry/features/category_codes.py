"""Categories to codes on a worker: what scikit-learn's encoders look up value by value, looked up at once.

scikit-learn builds a dictionary of all categories for every call of ``transform``. Here it is built
once for each encoder and process, so that a column of a million categories is encoded at the price
of looking its rows up.
"""

from __future__ import annotations

import copy
import threading
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from sklearn.utils._encode import _check_unknown, _encode

from parquetry.errors import UnknownCategory
from parquetry.foundation.counts import columns_of, is_missing
from parquetry.view import Columns

IntArray = npt.NDArray[np.int64]
_UNKNOWN = -1
_LOCK = threading.Lock()
_TABLES: weakref.WeakKeyDictionary[Any, tuple[Any, list[Any]]] = weakref.WeakKeyDictionary()


def through_categories(encoder: Any, x: Any) -> Any:
    """``encoder.transform(X)`` with the categories looked up at once.

    Parameters
    ----------
    encoder : fitted OneHotEncoder, OrdinalEncoder or TargetEncoder
    x : Columns, DataFrame or ndarray

    Raises
    ------
    UnknownCategory
        A value that is no category, where the encoder refuses them: column, value and place.
    """
    bare = copy.copy(encoder)
    bare._transform = _Lookup(encoder)
    return bare.transform(x)


class _Lookup:
    """In the place of an encoder's own ``_transform``: codes of all columns, and which rows are known."""

    def __init__(self, encoder: Any) -> None:
        self.encoder = encoder

    def __call__(
        self,
        x: Any,
        *,
        handle_unknown: str = "error",
        ensure_all_finite: Any = "allow-nan",
        warn_on_unknown: bool = False,
        ignore_category_indices: Any = None,
    ) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        columns = category_codes(self.encoder, x)
        codes = np.empty((len(columns[0]), len(columns)), dtype=np.int64)
        for i, column in enumerate(columns):
            codes[:, i] = column
        known = codes != _UNKNOWN
        if handle_unknown == "error" and not known.all():
            raise _unknown_category(self.encoder, x, known)
        if warn_on_unknown and not known.all():  # in scikit-learn's own words
            given = x.frame if isinstance(x, Columns) else x
            own: Any = self.encoder._transform(
                given, handle_unknown, ensure_all_finite, warn_on_unknown, ignore_category_indices
            )
            return own  # type: ignore[no-any-return]
        codes[~known] = 0
        self.encoder._map_infrequent_categories(codes, known, ignore_category_indices)
        return codes, known


def category_codes(encoder: Any, x: Any) -> list[IntArray]:
    """Each column's positions in ``categories_``, -1 for what is no category."""
    columns, tables = columns_of(x), _tables(encoder)
    plain: dict[int, Any] = {}
    found: list[Any] = []
    for i, (column, table) in enumerate(zip(columns, tables, strict=True)):
        found.append(None if table is None else table(column))
        if found[i] is None:
            plain[i] = encoder.categories_[i]
    if plain:
        chosen = list(plain)
        seen, _, _ = encoder._check_X(_selected(x, chosen), ensure_all_finite="allow-nan")
        for i, values in zip(chosen, seen, strict=True):
            found[i] = _plain_codes(values, plain[i])
    return found


class Texts:
    """A lookup of texts among categories, with null and NaN where they are categories.

    Parameters
    ----------
    categories : ndarray of object
    """

    def __init__(self, categories: npt.NDArray[Any]) -> None:
        import pandas as pd

        missing = np.array([is_missing(value) for value in categories[-2:]], dtype=bool)
        texts = len(categories) - int(missing.sum())
        self.index = pd.Index(categories[:texts], dtype=object)
        self.null = self.nan = _UNKNOWN
        for place in range(texts, len(categories)):
            if categories[place] is None:
                self.null = place
            else:
                self.nan = place

    @classmethod
    def of(cls, categories: npt.NDArray[Any]) -> Texts | None:
        """The lookup, or None where there are other categories than texts."""
        texts = categories.dtype == object and all(
            type(value) is str or (i >= len(categories) - 2 and is_missing(value)) for i, value in enumerate(categories)
        )
        return cls(categories) if texts and len(categories) else None

    def __call__(self, column: Any) -> IntArray | None:
        import pandas as pd

        if isinstance(column, np.ndarray):
            return self._of_objects(column)
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
            return None
        encoded = column.dictionary_encode()
        values = pd.Index(encoded.dictionary.to_numpy(zero_copy_only=False), dtype=object)
        places = self.index.get_indexer(values)
        places = np.append(places, self.nan if _null_is_nan() else self.null).astype(np.int64)
        return np.asarray(places[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)])

    def _of_objects(self, column: npt.NDArray[Any]) -> IntArray:
        import pandas as pd

        missing = pd.isna(column)
        values = pd.Index(np.where(missing, "", column), dtype=object)
        codes: IntArray = self.index.get_indexer(values).astype(np.int64)
        if missing.any():
            nulls = np.array([value is None for value in column[missing]], dtype=bool)
            codes[missing] = np.where(nulls, self.null, self.nan)
        return codes


@cache
def _null_is_nan() -> bool:
    """Whether pandas reads a null among texts as NaN, as it does since version 3."""
    column = pa.table({"a": pa.array([None], pa.string())}).to_pandas()["a"]
    return column.iloc[0] is not None


def _tables(encoder: Any) -> list[Any]:
    """The lookups of an encoder's columns, made once in a process."""
    with _LOCK:
        found = _TABLES.get(encoder)
        if found is None or found[0] is not encoder.categories_:
            found = (encoder.categories_, [Texts.of(c) for c in encoder.categories_])
            _TABLES[encoder] = found
        return found[1]


def _selected(x: Any, chosen: list[int]) -> Any:
    if isinstance(x, Columns):
        return x.select(chosen).frame
    return x.iloc[:, chosen] if hasattr(x, "iloc") else x[:, chosen]


def _plain_codes(values: npt.NDArray[Any], categories: npt.NDArray[Any]) -> IntArray:
    _, known = _check_unknown(values, categories, return_mask=True)
    codes = np.full(len(values), _UNKNOWN, dtype=np.int64)
    if known.any():
        codes[known] = _encode(values[known], uniques=categories, check_unknown=False)
    return codes


def _unknown_category(encoder: Any, x: Any, known: npt.NDArray[np.bool_]) -> UnknownCategory:
    row = int(np.argmin(known.all(axis=1)))
    i = int(np.argmin(known[row]))
    names = getattr(encoder, "feature_names_in_", None)
    name = repr(str(names[i])) if names is not None else f"x{i}"
    where: Callable[[int], str] | None = x.where if isinstance(x, Columns) else None
    first = f", first in {where(row)}" if where is not None else f", first in row {row} of a batch"
    value = columns_of(x)[i][row]
    shown = value.as_py() if isinstance(value, pa.Scalar) else value
    return UnknownCategory(
        f"{type(encoder).__name__}: column {name} holds the unknown category {shown!r}{first}.",
        why="It was not there when the encoder was fitted (or is none of categories=).",
        fix="Fit on data that holds it, or set handle_unknown= to a way of encoding what is unknown.",
    )
