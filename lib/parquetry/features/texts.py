"""The texts of a column, however they are stored, and where one is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.errors import BadParameter, NonFiniteValues, WrongColumnType
from parquetry.foundation.counts import is_missing
from parquetry.foundation.positions import Position, earliest, position_of
from parquetry.reduction import Reduction
from parquetry.view import Batch, Column, Columns, View

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Texts:
    """The texts of a batch.

    Attributes
    ----------
    name : str
        The column's name.
    values : pyarrow.LargeStringArray or list
        A list where they are bytes, or were made by a step before.
    missing : ndarray of bool, or None
        Which are null or NaN; None where none is.
    where : callable or None
        Tells the place of a row in words, where that is known.
    """

    name: str
    values: Any
    missing: Mask | None = None
    where: Callable[[int], str] | None = None

    def __len__(self) -> int:
        return len(self.values)


def texts_of(x: Any, who: str) -> Texts:
    """The texts in X, which must be one column or one text a row.

    Raises
    ------
    BadParameter
        X is a table.
    WrongColumnType
        The column does not hold texts.
    """
    if isinstance(x, Columns) and len(x.names) == 1:
        x = x.column(0)
    if isinstance(x, Column):
        return _stored_texts(x, who)
    if isinstance(x, Columns) or len(getattr(x, "shape", ())) > 1:
        what = f"the columns {x.names}" if isinstance(x, Columns) else f"a table of shape {tuple(x.shape)}"
        raise BadParameter(
            f"{who} gets {what}.",
            why="It takes one text a row.",
            fix=f"Name one column: features=['text'], or ('text', {who}(), 'text') in a ColumnTransformer.",
        )
    return _listed_texts(str(getattr(x, "name", None) or "x0"), list(x))


def _stored_texts(x: Column, who: str) -> Texts:
    values, kind = x.values, x.values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    missing = np.asarray(values.is_null()) if values.null_count else None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return Texts(x.name, (values.fill_null(b"") if missing is not None else values).to_pylist(), missing, x.where)
    if not (_is_text(kind) or pa.types.is_null(kind)):
        raise WrongColumnType(f"{who}: column {x.name!r} is {kind}, not text.", fix="Name a column of texts.")
    values = values.cast(pa.large_string())
    return Texts(x.name, _one_array(values.fill_null("") if missing is not None else values), missing, x.where)


def _listed_texts(name: str, values: list[Any]) -> Texts:
    missing = np.array([is_missing(v) or type(v).__name__ == "NAType" for v in values], dtype=bool)
    held = missing if missing.any() else None
    plain = ["" if m else v for v, m in zip(values, missing.tolist(), strict=True)]
    if all(isinstance(v, str) for v in plain):
        try:
            return Texts(name, pa.array(plain, pa.large_string()), held)
        except (UnicodeEncodeError, pa.ArrowInvalid):  # half of a surrogate pair has no place in Arrow
            return Texts(name, plain, held)
    return Texts(name, plain, held)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _one_array(values: Any) -> Any:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


class MissingTexts(Reduction[Position | None, None]):
    """Learns nothing; refuses null and NaN among the texts.

    Parameters
    ----------
    who, name : str
        The estimator and the column, for the error.
    """

    label = "missing-texts"

    def __init__(self, who: str, name: str) -> None:
        self.who, self.name = who, name

    def partial(self, batch: Batch) -> Position | None:
        return missing_at(batch, texts_of(batch.X, self.who))

    def merge(self, left: Position | None, right: Position | None) -> Position | None:
        return earliest([left, right])

    def finish(self, state: Position | None) -> None:
        if state is not None:
            raise missing_text(self.who, self.name, place_of(state))


def missing_at(batch: Batch, texts: Texts) -> Position | None:
    """Where the first missing text of a batch stands, or None."""
    return None if texts.missing is None else position_of(batch, texts.missing, 0, "a missing value")


def column_name(view: View) -> str:
    """The name of the column that a view's texts come from, as far as it is known."""
    return view.features[0] if len(view.features) == 1 else "x0"


def missing_text(who: str, name: str, where: str) -> NonFiniteValues:
    """The error for a text that is not there."""
    return NonFiniteValues(
        f"{who}: a text of column {name!r} is missing, first in {where}.",
        why="scikit-learn's own refuses null and NaN among texts.",
        fix="Drop those rows, or fill them first: a FunctionTransformer before it whose function returns "
        "texts.fillna('').",
    )


def place_of(position: Position) -> str:
    """A position in words."""
    return f"{position.path}, row group {position.row_group}, row {position.row}"
