"""Where a value that is refused stands first: the same row on every engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.errors import NonFiniteValues, ParquetryError
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, View, float_column, is_numeric

_MOST_NAMES = 10_000  # names are made for an error that rarely comes

Values = Callable[[Batch], list[FloatArray]]
"""Gives a batch's columns as 1-D float arrays; it must be picklable."""


@dataclass(frozen=True, order=True)
class Position:
    """The place of one value; positions are ordered as the rows are.

    Parameters
    ----------
    block : int
        The block's position in its dataset.
    row : int
        The row's position in its row group.
    column : int
        The column's position.
    what : str
        ``"NaN"``, ``"infinity"`` or ``"a missing value"``.
    path : str
        The file.
    row_group : int
    """

    block: int
    row: int
    column: int
    what: str
    path: str
    row_group: int


def position_of(batch: Batch, refused: Any, column: int, what: str) -> Position | None:
    """The first row of a batch where ``refused`` is true, or None."""
    found = int(np.argmax(refused)) if len(refused) else 0
    if not len(refused) or not refused[found]:
        return None
    block = batch.block
    return Position(block.index, int(batch.rows[found]), column, what, block.path, block.row_group)


def earliest(positions: Sequence[Position | None]) -> Position | None:
    """The first of several positions, leaving out None."""
    return min((p for p in positions if p is not None), default=None)


def first_non_finite(batch: Batch, columns: Iterable[FloatArray], *, nan: bool) -> Position | None:
    """The first infinity (and NaN, where ``nan`` is true) in a batch's columns."""
    found = []
    for i, values in enumerate(columns):
        # A finite sum proves that every value is finite, at the price of one pass over them.
        with np.errstate(all="ignore"):
            total = values.sum()
        if np.isfinite(total):
            continue
        found.append(position_of(batch, np.isinf(values), i, "infinity"))
        if nan:
            found.append(position_of(batch, np.isnan(values), i, "NaN"))
    return earliest(found)


def refusal(position: Position, names: Sequence[str], who: str) -> NonFiniteValues:
    """The error for a refused value.

    Parameters
    ----------
    position : Position
    names : sequence of str
        The columns' names.
    who : str
        What refuses it, as ``"StandardScaler"``.
    """
    missing = position.what != "infinity"
    return NonFiniteValues(
        f"{who}: column {names[position.column]!r} holds {position.what}, first in {position.path}, "
        f"row group {position.row_group}, row {position.row}.",
        why=f"The estimator does not accept {'missing' if missing else 'infinite'} values.",
        fix=f"{'Put a SimpleImputer before it where it is a feature, or' if missing else 'Mend or'} drop those rows.",
    )


def placed(error: ValueError, batch: Batch) -> ValueError:
    """scikit-learn's "contains infinity" or "contains NaN" as the error that tells the place; others as they are."""
    told = re.match(r"Input (?:X )?contains (infinity|NaN)", str(error))
    if told is None or isinstance(error, ParquetryError):
        return error
    schema = batch.table.schema
    names = [f for f in batch.view.features if is_numeric(schema.field(f).type)]
    columns = [float_column(batch.table.column(f)) for f in names]
    infinite = told[1] == "infinity"
    test = np.isinf if infinite else np.isnan
    first = earliest([position_of(batch, test(values), i, told[1]) for i, values in enumerate(columns)])
    return error if first is None else refusal(first, names, "The model")


def shown_names(view: View) -> tuple[str, ...]:
    """Names of X's columns for errors: those that the steps give, else scikit-learn's ``x0`` and so on."""
    if view.names is not None:
        return view.names
    told = _names_through(view)
    return told if len(told) == view.width else tuple(f"x{i}" for i in range(view.width))


def _names_through(view: View) -> tuple[str, ...]:
    """What each step's ``get_feature_names_out`` makes of the stored columns' names; empty where one does not say."""
    names: Any = np.asarray(view.features, dtype=object)
    if view.width > _MOST_NAMES:
        return ()
    try:
        for step in view.steps:
            names = step.transformer.get_feature_names_out(names)
    except (AttributeError, ValueError, TypeError):
        return ()
    return tuple(map(str, names))


def features(batch: Batch) -> list[FloatArray]:
    """X's columns; the default of everything that takes a function of the batch."""
    return batch.floats


def targets(batch: Batch) -> list[FloatArray]:
    """The target's columns."""
    return batch.y_floats


def weight_column(batch: Batch) -> list[FloatArray]:
    """The sample weights as the only column."""
    return [] if batch.weights is None else [batch.weights]


class Finite(Reduction[Position | None, None]):
    """Learns nothing; refuses infinity and NaN.

    Parameters
    ----------
    who : str
        The estimator, for the error.
    names : sequence of str
        The columns' names, for the error.
    values : callable, default features
        Gives a batch's columns.
    nan : bool, default True
        Whether NaN is refused too.
    """

    label = "finite"

    def __init__(self, who: str, names: Sequence[str], *, values: Values = features, nan: bool = True) -> None:
        self.who, self.names, self.values, self.nan = who, tuple(names), values, nan

    def partial(self, batch: Batch) -> Position | None:
        return first_non_finite(batch, self.values(batch), nan=self.nan)

    def merge(self, left: Position | None, right: Position | None) -> Position | None:
        return earliest([left, right])

    def finish(self, state: Position | None) -> None:
        if state is not None:
            raise refusal(state, self.names, self.who)
