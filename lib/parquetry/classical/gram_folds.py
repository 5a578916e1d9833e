"""Gram matrices of cross-validation: one state a fold, from one pass.

A fold's rows are seen once, and what is fitted on all other folds follows from their merged states.
States are merged, never subtracted: the difference of two large states would lose the digits that
a small fold is made of.
"""

from __future__ import annotations

from collections.abc import Generator
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from parquetry.classical.folds import Folds, IntArray
from parquetry.classical.gram import Gram, GramState
from parquetry.classical.linear import Targets, over, require_room
from parquetry.errors import BadParameter
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.reduction import Reduction, fold
from parquetry.view import Columns, FloatArray, View


@dataclass(frozen=True, eq=False)
class FoldGrams:
    """What one pass found: the state of each fold, and what is merged from them.

    Attributes
    ----------
    folds : tuple of GramState
        The rows of each fold.
    others : tuple of GramState
        The rows of all folds but one: what is fitted on, while that one is held out.
    total : GramState
        All rows.
    """

    folds: tuple[GramState, ...]
    others: tuple[GramState, ...]
    total: GramState


class FoldGram(Reduction[dict[int, GramState], FoldGrams]):
    """A Gram state for each fold, at the price of one for all rows.

    Parameters
    ----------
    gram : Gram, or a reduction over one
        Takes the rows of a fold.
    folds : Folds
    """

    def __init__(self, gram: Reduction[GramState, GramState], folds: Folds) -> None:
        self.gram, self.folds = gram, folds
        self.label = f"{getattr(gram, 'label', 'gram')}-folds"

    def partial(self, batch: Any) -> dict[int, GramState]:
        parts = self.folds.parts(batch)
        if len(parts) == 1:
            return {parts[0][0]: self.gram.partial(batch)}
        by_fold: list[tuple[int, Any]] = [(k, BatchPart(batch, rows)) for k, rows in parts]
        return {k: self.gram.partial(part) for k, part in by_fold}

    def merge(self, left: dict[int, GramState], right: dict[int, GramState]) -> dict[int, GramState]:
        for k, state in right.items():
            left[k] = self.gram.merge(left[k], state) if k in left else state
        return left

    def finish(self, state: dict[int, GramState]) -> FoldGrams:
        states = [state[k] for k in range(self.folds.count)]
        merge = self.gram.merge
        before, after = states[:1], states[-1:]
        for k in range(1, len(states)):
            before.append(merge(deepcopy(before[-1]), states[k]))
            after.append(merge(deepcopy(states[-1 - k]), after[-1]))
        # Refuses what any fold has to refuse.
        total = self.gram.finish(before[-1])
        after.reverse()
        pairs = zip([None, *before[:-1]], [*after[1:], None], strict=True)
        others = tuple(fold(merge, [deepcopy(s) for s in pair if s is not None]) for pair in pairs)
        return FoldGrams(tuple(states), others, total)


class BatchPart:
    """Some rows of a batch; it answers like the batch what a Reduction of numbers asks."""

    def __init__(self, batch: Any, chosen: slice | IntArray) -> None:
        self._batch, self._chosen = batch, chosen
        self.block, self.view = batch.block, batch.view
        self.rows = batch.rows[chosen]

    @property
    def num_rows(self) -> int:
        """Rows in the part; at least one."""
        return len(self.rows)

    @cached_property
    def X(self) -> Any:  # noqa: N802 (scikit-learn's name)
        """Features after all steps."""
        x = self._batch.X
        if not isinstance(x, Columns):
            return self.matrix
        chosen = self._chosen
        if isinstance(chosen, slice):
            return Columns(x.table.slice(chosen.start, len(self.rows)))
        return Columns(x.table.take(chosen))

    @cached_property
    def matrix(self) -> Any:
        """X as a float64 array or a SciPy sparse matrix, shape ``(n_rows, n_features)``."""
        matrix = self._batch.matrix
        return (matrix.tocsr() if hasattr(matrix, "tocsr") else matrix)[self._chosen]

    @cached_property
    def floats(self) -> list[FloatArray]:
        """X as one float64 array a column."""
        return [column[self._chosen] for column in self._batch.floats]

    @cached_property
    def y_floats(self) -> list[FloatArray]:
        """The target as one float64 array a target column."""
        return [column[self._chosen] for column in self._batch.y_floats]

    @cached_property
    def weights(self) -> FloatArray | None:
        """Sample weights of shape ``(n_rows,)``, or None."""
        weights = self._batch.weights
        return None if weights is None else weights[self._chosen]


def fold_grams(
    estimator: Any,
    view: View,
    fitting: Fitting,
    folds: Folds,
    *,
    targets: Targets | None = None,
) -> Generator[list[Any], list[Any], FoldGrams]:
    """The Gram states of all folds, where they fit the memory, from one pass.

    Parameters
    ----------
    estimator : object
        Named in errors.
    view : View
    fitting : Fitting
        Its memory bounds what is held.
    folds : Folds
    targets : Targets or None, default None
        None for the view's own.

    Raises
    ------
    TooBigForOneNode
        Before any work: the states would not fit.
    BadParameter
        A fold, or all but one, has no weight.
    """
    name = type(estimator).__name__
    view.require_numeric(estimator)
    require_room(name, view, fitting.memory, targets=targets, states=folds.count)
    reduction = FoldGram(over(targets, Gram(name, shown_names(view), view.target)), folds)
    (grams,) = yield [Pass(reduction, view)]
    if min(s.weight for s in (*grams.folds, *grams.others)) <= 0:
        raise BadParameter(
            f"{name}: in a fold, or in all but one, the sample weights add up to zero.",
            fix="Take fewer folds, or mend the weight column.",
        )
    return grams  # type: ignore[no-any-return]
