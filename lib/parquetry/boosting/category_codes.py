"""Columns of text as category codes: the same codes whoever reads which rows."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.fitting import Pass
from parquetry.foundation.counts import Counts
from parquetry.view import Columns, FloatArray, View, is_numeric

MAX_CATEGORIES = 100_000


@dataclass(frozen=True, eq=False)
class CategoryCodes:
    """A view's step: stored columns become a matrix, texts as their places among their categories.

    What is missing, or is no category, becomes NaN, as pandas has it.

    Parameters
    ----------
    categories : dict of int to pyarrow.Array
        By the column's position.
    """

    categories: dict[int, pa.Array]

    def __call__(self, x: Columns) -> FloatArray:
        numbers = x.select([i for i in range(len(x.names)) if i not in self.categories]).floats
        matrix = np.empty((len(x.names), x.table.num_rows))
        left = iter(numbers)
        for i, row in enumerate(matrix):
            row[:] = self._codes(x, i) if i in self.categories else next(left)
        return matrix.T

    def _codes(self, x: Columns, i: int) -> FloatArray:
        column, known = x.table.column(i), self.categories[i]
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        codes = pc.index_in(column.cast(known.type), value_set=known, skip_nulls=True)
        found: FloatArray = codes.cast(pa.float64()).fill_null(float("nan")).combine_chunks().to_numpy()
        return found


def is_category(kind: pa.DataType) -> bool:
    """Whether a stored column of this type is taken for categories: text, or dictionary-encoded."""
    if pa.types.is_dictionary(kind):
        return True
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def coded(who: str, view: View) -> Generator[list[Any], list[Any], tuple[View, dict[int, pa.Array]]]:
    """The view with codes in the place of texts, and the categories, sorted; one pass where there are any.

    Raises
    ------
    TooManyCategories
    """
    schema = view.dataset.full_schema
    places = [] if view.steps else [i for i, f in enumerate(view.features) if is_category(schema.field(f).type)]
    if not places:
        return view, {}
    texts = tuple(view.features[i] for i in places)
    only = replace(view, features=texts, target=(), sample_weight=None, target_step=None, weight_step=None, group=None)
    (counted,) = yield [Pass(Counts(who, texts, limit=MAX_CATEGORIES), only)]
    found = {i: _array(column.values) for i, column in zip(places, counted, strict=True)}
    return with_codes(view, found), found


def with_codes(view: View, categories: dict[int, pa.Array]) -> View:
    """The view with these codes in the place of texts."""
    if not categories or any(not is_numeric(k) and i not in categories for i, k in enumerate(_kinds(view))):
        return view
    return replace(view, steps=(*view.steps, CategoryCodes(categories)), step_names=view.names)


def _kinds(view: View) -> list[pa.DataType]:
    return [view.dataset.full_schema.field(f).type for f in view.features]


def _array(values: Any) -> pa.Array:
    return pa.array(values) if isinstance(values, list) else values
