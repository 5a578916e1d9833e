"""Scores in order: how much positive and negative weight lies at each, in one pass or two.

ROC AUC, average precision, their curves, calibration and gains are all read off one table. While
the scores are few it holds each of them, and everything is exact. Of more it holds cells of scores,
the finest that fit, and a second pass splits those cells that both classes share.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.fitting import Pass
from parquetry.foundation.radix import KeyArray, from_keys
from parquetry.foundation.tallies import NO_CAP, Tallied, Tally, added, collected, grouped, starts_of, tallied, tally
from parquetry.metrics.answers import Answers, arrays_of
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, View

EXACT_SCORES = 6 * 2**20
"""So many scores, over all classes, are held one by one.

A state has up to 57 MB then (100 MB if weighted); reading the curves off takes the driver ten times that.
"""
TOLERANCE = 1e-9
"""A share of the pairs of rows that may be out of order without another pass."""

_CELLS, _ALL_CELLS = 2**16, 2**18  # of one class, and of all, in the first pass
_MORE_CELLS, _ALL_MORE_CELLS = 2**19, 2**21  # the same in the second pass


# --- the table ------------------------------------------------------------------------------
@dataclass
class Table:
    """Scores in rising order, and the weight of both kinds of rows at each.

    Attributes
    ----------
    low, high : ndarray of uint64, shape (n_cells,)
        The keys of the least and the greatest score of each cell; the same array where every
        cell is one score.
    negative, positive : ndarray of float64, shape (n_cells,)
    """

    low: KeyArray
    high: KeyArray
    negative: FloatArray
    positive: FloatArray

    @property
    def scores(self) -> FloatArray:
        """The least score of each cell."""
        return from_keys(self.low)

    @property
    def middles(self) -> FloatArray:
        """The score itself, or the middle of a cell's."""
        return self.scores if self.high is self.low else (self.scores + from_keys(self.high)) / 2

    @cached_property
    def mixed(self) -> npt.NDArray[np.intp]:
        """Which cells hold several scores, and both kinds of rows: what is not exact."""
        if self.high is self.low:
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(np.not_equal(self.low, self.high) & (self.negative > 0) & (self.positive > 0))

    @property
    def uncertain(self) -> bool:
        """Whether an area that is read off the table may be wrong by more than ``TOLERANCE``."""
        mixed = self.mixed
        pairs = float(self.negative[mixed] @ self.positive[mixed])
        return pairs > TOLERANCE * float(self.negative.sum() * self.positive.sum())

    def turned(self) -> Table:
        """The table of the other class, whose scores are these with their sign changed."""
        low = ~self.high[::-1]
        high = low if self.high is self.low else ~self.low[::-1]
        return Table(low, high, self.positive[::-1], self.negative[::-1])


def table_of(negative: Tally, positive: Tally, cells: Callable[[KeyArray], KeyArray] | None = None) -> Table:
    """Two tallies side by side; ``cells`` gives the cell of a key, in a grid no finer than theirs."""
    low = np.concatenate([negative.low, positive.low])
    order = np.argsort(low, kind="stable")
    low = low[order]
    exact = negative.high is negative.low and positive.high is positive.low
    high = low if exact else np.concatenate([negative.high, positive.high])[order]
    starts = starts_of(low if cells is None else cells(low))
    mass = np.concatenate([negative.mass, positive.mass]).astype(np.float64)[order]
    is_negative = order < len(negative)
    columns = [np.where(is_negative, mass, 0.0), np.where(is_negative, 0.0, mass)]
    if len(starts) < len(low):
        columns = [np.add.reduceat(column, starts) for column in columns]
        least = low[starts]
        low, high = least, least if exact and cells is None else np.maximum.reduceat(high, starts)
    return Table(low, high, *columns)


# --- the first pass -------------------------------------------------------------------------
class Rankings(Reduction[list[list[Tallied]], list[Table]]):
    """The table of each ranked class of one output.

    Parameters
    ----------
    answers : Answers
    output : int
    codes : sequence of int
        The class whose rows are the positive ones, for each column of scores.
    cap : int
        Most cells of each class's negative and positive rows.
    """

    label = "ranking"

    def __init__(self, answers: Answers, output: int, codes: Sequence[int], cap: int) -> None:
        self.answers, self.output, self.codes, self.cap = answers, output, tuple(codes), cap

    def partial(self, batch: Batch) -> list[list[Tallied]]:
        return [
            [tallied(values, weights, self.cap) for values, weights in pair]
            for pair in _pairs(batch, self.answers, self.output, self.codes)
        ]

    def merge(self, left: list[list[Tallied]], right: list[list[Tallied]]) -> list[list[Tallied]]:
        return [[added(a, b, self.cap) for a, b in zip(*pair, strict=True)] for pair in zip(left, right, strict=True)]

    def finish(self, state: list[list[Tallied]]) -> list[Table]:
        tables = []
        for negative, positive in state:
            shift = max(negative.shift, positive.shift)
            cells = _Shifted(shift) if shift else None
            tables.append(table_of(collected(negative, shift), collected(positive, shift), cells))
        return tables


@dataclass(frozen=True)
class _Shifted:
    shift: int

    def __call__(self, keys: KeyArray) -> KeyArray:
        return keys >> np.uint64(self.shift)


def _pairs(
    batch: Batch, answers: Answers, output: int, codes: Sequence[int]
) -> list[list[tuple[FloatArray, FloatArray | None]]]:
    """For each ranked class the scores and weights of its negative and of its positive rows."""
    arrays = arrays_of(batch, answers)
    truth, scores, weights = arrays[f"truth.{output}"], arrays[f"scores.{output}"], arrays.get("w")
    pairs = []
    for column, code in enumerate(codes):
        positive = truth == code
        kinds = (~positive, positive)
        pairs.append([(scores[kind, column], None if weights is None else weights[kind]) for kind in kinds])
    return pairs


# --- the second pass ------------------------------------------------------------------------
@dataclass(frozen=True, eq=False)
class Splits:
    """Cells of a table that are looked into, and the finer cells that each is split into.

    Attributes
    ----------
    low, high : ndarray of uint64, shape (n_splits,)
        The keys between which each lies.
    shift : ndarray of uint64, shape (n_splits,)
        Keys that agree but for so many low bits share a finer cell.
    base : ndarray of uint64, shape (n_splits,)
        The number of each one's first finer cell.
    """

    low: KeyArray
    high: KeyArray
    shift: KeyArray
    base: KeyArray

    @classmethod
    def of(cls, table: Table, most: int) -> Splits:
        """About ``most`` finer cells, where they make the areas most certain."""
        chosen = table.mixed
        # With m finer cells a cell is wrong by at most 1/m of its pairs: the least sum over all
        # cells is reached where m is in proportion to the root of the number of pairs.
        root = np.sqrt(table.negative[chosen] * table.positive[chosen])
        bits = np.floor(np.log2(np.maximum(1.0, most * root / root.sum()))).astype(np.int64)
        chosen, bits = chosen[bits > 0], bits[bits > 0]
        low, high = table.low[chosen], table.high[chosen]
        # The widest bit of the difference; as a float it may be rounded up, which costs one bit.
        _, width = np.frexp((high - low).astype(np.float64))
        shift = np.maximum(0, width - bits).astype(np.uint64)
        counts = ((high - low) >> shift) + np.uint64(1)
        return cls(low, high, shift, np.cumsum(counts) - counts)

    def cells(self, keys: KeyArray) -> KeyArray:
        """The number of each key's finer cell; for keys that lie in one."""
        place = np.searchsorted(self.low, keys, side="right") - 1
        return self.base[place] + ((keys - self.low[place]) >> self.shift[place])

    def inside(self, entries: Tally) -> Tally:
        """What lies in these cells."""
        place = np.maximum(np.searchsorted(self.low, entries.low, side="right") - 1, 0)
        kept = (entries.low >= self.low[place]) & (entries.low <= self.high[place])
        low = entries.low[kept]
        return grouped(low, None, entries.mass[kept], self.cells(low))


class Refined(Reduction[list[list[Tally]], list[list[Tally]]]):
    """What lies in the cells that are looked into, for each ranked class of one output.

    Parameters
    ----------
    answers, output, codes
        As in the first pass, of those classes alone that need it.
    columns : sequence of int
        Which of the first pass's classes they are.
    splits : sequence of Splits
    """

    label = "ranking"

    def __init__(
        self, answers: Answers, output: int, codes: Sequence[int], columns: Sequence[int], splits: Sequence[Splits]
    ) -> None:
        self.answers, self.output, self.codes = answers, output, tuple(codes)
        self.columns, self.splits = tuple(columns), tuple(splits)

    def partial(self, batch: Batch) -> list[list[Tally]]:
        pairs = _pairs(batch, self.answers, self.output, self.codes)
        return [
            [split.inside(tally(values, weights)) for values, weights in pairs[column]]
            for column, split in zip(self.columns, self.splits, strict=True)
        ]

    def merge(self, left: list[list[Tally]], right: list[list[Tally]]) -> list[list[Tally]]:
        both = []
        for split, ours, theirs in zip(self.splits, left, right, strict=True):
            both.append([_joined(split, a, b) for a, b in zip(ours, theirs, strict=True)])
        return both


def _joined(split: Splits, left: Tally, right: Tally) -> Tally:
    low = np.concatenate([left.low, right.low])
    order = np.argsort(low, kind="stable")
    high, mass = np.concatenate([left.high, right.high])[order], np.concatenate([left.mass, right.mass])[order]
    low = low[order]
    return grouped(low, high, mass, split.cells(low))


def refined(table: Table, split: Splits, negative: Tally, positive: Tally) -> Table:
    """The table with finer cells in the place of those that were looked into."""
    finer = table_of(negative, positive, split.cells)
    kept = ~np.isin(table.low, split.low)
    low = np.concatenate([table.low[kept], finer.low])
    order = np.argsort(low, kind="stable")
    high, negatives, positives = (
        np.concatenate([getattr(table, name)[kept], getattr(finer, name)])[order]
        for name in ("high", "negative", "positive")
    )
    return Table(low[order], high, negatives, positives)


def tables(
    answers: Answers, output: int, codes: Sequence[int], view: View, values: int
) -> Generator[list[Any], list[Any], list[Table]]:
    """The table of each ranked class of one output, in one pass, or two where scores are many.

    Parameters
    ----------
    answers : Answers
    output : int
    codes : sequence of int
        The class whose rows are the positive ones, for each column of scores.
    view : View
    values : int
        How many scores there are, over all classes and outputs.
    """
    cap = NO_CAP if values <= EXACT_SCORES else min(_CELLS, _ALL_CELLS // len(codes))
    (found,) = yield [Pass(Rankings(answers, output, codes, cap), view)]
    out: list[Table] = found
    columns = [i for i, table in enumerate(out) if table.uncertain]
    if columns:
        most = min(_MORE_CELLS, _ALL_MORE_CELLS // len(columns))
        splits = [Splits.of(out[i], most) for i in columns]
        (more,) = yield [Pass(Refined(answers, output, codes, columns, splits), view)]
        for i, split, (negative, positive) in zip(columns, splits, more, strict=True):
            out[i] = refined(out[i], split, negative, positive)
    return out
