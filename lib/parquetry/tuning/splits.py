"""Which rows each fit learns from and which it is scored on: scikit-learn's own splitters, without X.

A splitter of scikit-learn deals out numbers of rows, and looks at classes and groups at most. Those
are read in a pass of their own, a few bytes a row, and handed to the splitter itself: so the folds
are those that it would give the gathered rows.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import is_classifier, is_regressor
from sklearn.model_selection import _split, check_cv

from parquetry.classical.labels import encoded, learn_classes
from parquetry.errors import BadParameter, DegenerateColumn, TooBigForOneNode
from parquetry.features.surrogate import checked
from parquetry.fitting import Pass, SearchOptions
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.reduction import Reduction
from parquetry.tuning.row_sets import RowSet
from parquetry.view import Batch, View, is_numeric

_BY_NUMBER = (
    _split.KFold,
    _split.RepeatedKFold,
    _split.ShuffleSplit,
    _split.TimeSeriesSplit,
    _split.PredefinedSplit,
    _split.LeaveOneOut,
    _split.LeavePOut,
    _split._CVIterableWrapper,
)
_BY_CLASS = (_split.StratifiedKFold, _split.RepeatedStratifiedKFold, _split.StratifiedShuffleSplit)
_BY_GROUP = (_split.GroupKFold, _split.LeaveOneGroupOut, _split.LeavePGroupsOut, _split.GroupShuffleSplit)
_BY_BOTH = (_split.StratifiedGroupKFold,)
_BYTES_A_ROW = 40  # of numbers while the splitter works, and of what it looks at


@dataclass(frozen=True)
class Split:
    """The rows that one fit learns from, and those that it is scored on."""

    train: RowSet
    test: RowSet


@dataclass(frozen=True)
class Dealer:
    """What a splitter is told of the rows.

    Attributes
    ----------
    owner : object
        Named in errors.
    cv : splitter
        As scikit-learn's ``check_cv`` has it.
    rows : int
    y, groups : ndarray of shape (n_rows,) or None
        Codes of the classes, and groups, in the order in which rows are dealt out.
    codes : ndarray of int of shape (n_rows,) or None
        Those of the classes in the dataset's order.
    order : ndarray of int of shape (n_rows,) or None
        The number of the row that stands at each place; None for the dataset's order.
    memory : int
        Most bytes that all folds may take.
    """

    owner: Any
    cv: Any
    rows: int
    y: Any
    groups: Any
    codes: Any
    order: Any
    memory: int

    def splits(self, cv: Any = None) -> list[Split]:
        """The folds of a splitter, or of the search's own.

        Raises
        ------
        BadParameter
            In scikit-learn's words: too many folds for the rows of a class, say.
        TooBigForOneNode
            The folds take more than the memory allows.
        """
        x = np.broadcast_to(np.zeros((1, 1)), (self.rows, 1))
        found: list[Split] = []
        dealt = checked(self.owner, lambda: iter((cv or self.cv).split(x, self.y, groups=self.groups)))
        while True:
            pair = checked(self.owner, partial(next, dealt, None))
            if pair is None:
                return found
            found.append(Split(*(self._set(numbers) for numbers in pair)))
            self._check_size(found)

    def _set(self, numbers: Any) -> RowSet:
        numbers = np.asarray(numbers)
        if numbers.dtype == np.bool_:
            numbers = np.flatnonzero(numbers)
        if len(numbers) and not (-self.rows <= numbers.min() and numbers.max() < self.rows):
            raise BadParameter(f"{type(self.owner).__name__}: cv= names row {numbers.max()} of {self.rows:,}.")
        numbers = np.where(numbers < 0, numbers + self.rows, numbers)
        return RowSet.of(numbers if self.order is None else self.order[numbers], self.rows)

    def _check_size(self, found: list[Split]) -> None:
        held = sum(len(part.content) for split in found for part in (split.train, split.test))
        if held > self.memory // 4:
            raise TooBigForOneNode(
                f"{type(self.owner).__name__}: {len(found)} splits of {self.rows:,} rows take {held / 2**30:.2f} GiB.",
                why="The numbers of the rows of all splits are held at once.",
                fix="Take fewer splits, KFold without shuffle, or allow more with memory=.",
            )


def is_dealt_by_number(cv: Any, owner: Any) -> bool:
    """Whether a splitter can be told what it needs: it looks at row numbers, classes and groups alone."""
    known = (*_BY_NUMBER, *_BY_CLASS, *_BY_GROUP, *_BY_BOTH)
    return type(checked(owner, lambda: check_cv(cv))) in known


def read_dealer(
    owner: Any, estimator: Any, cv: Any, view: View, options: SearchOptions, memory: int
) -> Generator[list[Any], list[Any], Dealer]:
    """What the splitter needs, in at most a pass over the target and one over classes and groups.

    Raises
    ------
    BadParameter
        The splitter needs groups or an order and none is named; or it is of an unknown kind.
    NonFiniteValues
        The target has a missing value: column and first position.
    TooBigForOneNode
        Some bytes a row are more than the memory allows.
    """
    who, rows = type(owner).__name__, view.dataset.num_rows
    if rows * _BYTES_A_ROW > memory:
        raise TooBigForOneNode(
            f"{who}: the folds of {rows:,} rows need {rows * _BYTES_A_ROW / 2**30:.2f} GiB on the driver; "
            f"{memory / 2**30:.2f} GiB are allowed.",
            why="A splitter deals out the numbers of all rows.",
            fix="Allow more with memory=, or search on data.sample(n=…).",
        )
    if not view.target and (is_classifier(estimator) or is_regressor(estimator)):
        raise BadParameter(f"{who}: {type(estimator).__name__} needs a target.", fix="Pass target='column'.")
    kind = type(checked(owner, lambda: check_cv(cv)))
    if kind in (*_BY_GROUP, *_BY_BOTH) and options.groups is None:
        raise BadParameter(
            f"{who}: {kind.__name__} needs groups.",
            why="It keeps the rows of a group together.",
            fix="Name their column with groups=.",
        )
    by_class = kind in (*_BY_CLASS, *_BY_BOTH)
    classes = len(view.target) == 1 and (by_class or is_classifier(estimator))
    seen = replace(view, features=(), steps=(), step_names=None)
    if classes:
        (found,) = yield from learn_classes(estimator, seen)
        seen = encoded(seen, [found])
    wanted = [name for name in (options.groups, options.order) if name is not None]
    works = [Pass(Kept(_Codes()), seen)] if classes else [Pass(Missing(who, view.target), seen)] if view.target else []
    beside = View(view.dataset, tuple(wanted))
    works += [Pass(Kept(_Stored(name)), beside) for name in wanted]
    answers = (yield works) if works else []
    stored = dict(zip(wanted, answers[len(answers) - len(wanted) :], strict=True))
    codes = np.concatenate(answers[0]) if classes else None
    y = codes
    order = None if options.order is None else _sorted(who, options.order, stored[options.order])
    groups = None if options.groups is None else _numbered(who, options.groups, stored[options.groups])
    if order is not None:
        y, groups = (None if part is None else part[order] for part in (y, groups))
    dealer = checked(owner, lambda: check_cv(cv, y, classifier=is_classifier(estimator)))
    return Dealer(owner, dealer, rows, y, groups, codes, order, memory)


class Kept(Reduction[dict[int, list[Any]], list[Any]]):
    """Something of every row, in order: for what is a few bytes a row and is held on the driver.

    Parameters
    ----------
    values : callable
        Takes a batch.
    """

    label = "folds"

    def __init__(self, values: Any) -> None:
        self.values = values

    def partial(self, batch: Batch) -> dict[int, list[Any]]:
        return {batch.block.index: [self.values(batch)]}

    def merge(self, left: dict[int, list[Any]], right: dict[int, list[Any]]) -> dict[int, list[Any]]:
        for block, parts in right.items():
            left.setdefault(block, []).extend(parts)
        return left

    def finish(self, state: dict[int, list[Any]]) -> list[Any]:
        return [part for block in sorted(state) for part in state[block]]


class _Codes:
    def __call__(self, batch: Batch) -> Any:
        return batch.y_floats[0].astype(np.int32)


@dataclass(frozen=True)
class _Stored:
    name: str

    def __call__(self, batch: Batch) -> Any:
        return batch.table.column(self.name).combine_chunks()


class Missing(Reduction[Position | None, None]):
    """Refuses a missing or infinite value of a target of numbers.

    Parameters
    ----------
    who : str
    target : tuple of str
    """

    label = "target"

    def __init__(self, who: str, target: tuple[str, ...]) -> None:
        self.who, self.target = who, target

    def partial(self, batch: Batch) -> Position | None:
        if not all(is_numeric(batch.table.column(name).type) for name in self.target):
            return None
        return first_non_finite(batch, batch.y_floats, nan=True)

    def merge(self, left: Position | None, right: Position | None) -> Position | None:
        return earliest([left, right])

    def finish(self, state: Position | None) -> None:
        if state is not None:
            raise refusal(state, self.target, self.who)


def _sorted(who: str, name: str, parts: list[Any]) -> Any:
    """Rows by the values of a column; equal ones stay in the dataset's order."""
    values = pa.chunked_array(parts).to_pandas().to_numpy()
    if pa.chunked_array(parts).null_count:
        raise DegenerateColumn(f"{who}: the column {name!r} of order= has missing values.", fix="Drop those rows.")
    return np.argsort(values, kind="stable")


def _numbered(who: str, name: str, parts: list[Any]) -> Any:
    """Groups as numbers, in the order of their values."""
    column = pa.chunked_array(parts)
    if column.null_count:
        raise DegenerateColumn(f"{who}: the column {name!r} of groups= has missing values.", fix="Drop those rows.")
    return np.unique(column.to_pandas().to_numpy(), return_inverse=True)[1]


def partition(splits: list[Split]) -> bool:
    """Whether each fit learns from all rows but its own fold, and each row is in one fold."""
    total = splits[0].test.total
    if len(splits) < 2 or len(splits) >= 2**16 or sum(s.test.size for s in splits) != total:
        return False
    held = np.zeros(total, dtype=np.bool_)
    for split in splits:
        test = split.test.mask
        if split.train.size + split.test.size != total or (test & split.train.mask).any() or (held & test).any():
            return False
        held |= test
    return True
