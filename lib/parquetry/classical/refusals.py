"""What estimators of numbers refuse in X, dense or sparse: NaN, infinity, values below zero; sparse X itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from parquetry.errors import BadParameter, NegativeValues, TooBigForOneNode, WrongColumnType
from parquetry.features.surrogate import is_sparse, require_numbers
from parquetry.fitting import Fitting
from parquetry.foundation.moments import first_stored
from parquetry.foundation.positions import Position, earliest, first_non_finite, position_of, refusal
from parquetry.reduction import FAN_IN
from parquetry.view import Columns, View

_BELOW_ZERO = "a value below zero"


def sparse_matrix(batch: Any) -> Any:
    """X of a batch in CSR form where it is sparse, else None."""
    if isinstance(batch.X, Columns) or not hasattr(batch.matrix, "tocsr"):
        return None
    return batch.matrix.tocsr()


def first_not_finite(batch: Any) -> Position | None:
    """The first NaN or infinity in a batch's X; a sparse X stays sparse."""
    if sparse_matrix(batch) is not None:
        return first_stored(batch, nan=True)
    return first_non_finite(batch, batch.floats, nan=True)


def first_below_zero(batch: Any) -> Position | None:
    """The first value below zero in a batch's X."""
    matrix = sparse_matrix(batch)
    if matrix is None:
        return earliest([position_of(batch, values < 0, i, _BELOW_ZERO) for i, values in enumerate(batch.floats)])
    bad = np.flatnonzero(matrix.data < 0)
    if not len(bad):
        return None
    row = int(np.searchsorted(matrix.indptr, bad[0], side="right")) - 1
    block, column = batch.block, int(matrix.indices[bad[0]])
    return Position(block.index, int(batch.rows[row]), column, _BELOW_ZERO, block.path, block.row_group)


def refuse(position: Position, names: Sequence[str], who: str) -> None:
    """Raise the error for a refused value of X.

    Raises
    ------
    NonFiniteValues, NegativeValues
        Naming column, file, row group and row.
    """
    if position.what != _BELOW_ZERO:
        raise refusal(position, names, who)
    raise NegativeValues(
        f"{who}: column {names[position.column]!r} holds {position.what}, first in {position.path}, "
        f"row group {position.row_group}, row {position.row}.",
        why="Negative values in data are no counts and no category codes.",
        fix="Shift or encode the column so that nothing is below zero, or use GaussianNB.",
    )


def require_dense(estimator: Any, view: View) -> None:
    """Raise where X is not numbers, or is sparse, for an estimator that takes dense numbers only."""
    require_numbers(estimator, view)
    if is_sparse(view):
        raise WrongColumnType(
            f"{type(estimator).__name__} does not take sparse X.",
            why="scikit-learn's own fit refuses it.",
            fix="Make X dense (sparse_output=False of OneHotEncoder), or reduce it with TruncatedSVD first.",
        )


def refuse_weights(estimator: Any, view: View) -> None:
    """Raise BadParameter where weights are given to an estimator whose ``fit`` takes none."""
    if view.sample_weight is not None:
        raise BadParameter(
            f"{type(estimator).__name__} takes no sample weights.",
            why="scikit-learn's own fit has no such argument.",
            fix="Leave sample_weight out.",
        )


def require_memory(estimator: Any, fitting: Fitting, state_bytes: int, what: str, fix: str) -> None:
    """Raise TooBigForOneNode where the states that meet in a merge would not fit the memory budget.

    Parameters
    ----------
    estimator : estimator
    fitting : Fitting
    state_bytes : int
        Bytes of one state.
    what : str
        What makes the state so large, as ``"300 features and their products"``.
    fix : str
    """
    if state_bytes * FAN_IN > fitting.memory:
        raise TooBigForOneNode(
            f"{type(estimator).__name__}: {what} need {state_bytes / 2**30:.2f} GiB, and {FAN_IN} such states meet in "
            f"a merge; {fitting.memory / 2**30:.2f} GiB are allowed.",
            why="What a pass gathers must fit on one worker.",
            fix=fix,
        )
