"""CategoryStats: how often each category is there, and the target's moments in each, by fold: one bounded pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.errors import TooManyCategories
from parquetry.foundation.counts import ColumnCounts, _sorted, _united, columns_of, is_missing
from parquetry.reduction import FAN_IN, Reduction
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]
NULL, NAN, FIRST = 0, 1, 2
"""The codes of null and of NaN, and of the first other value."""


@dataclass
class CategoryPart:
    """The categories of some rows of one column.

    Attributes
    ----------
    values : pyarrow.Array or list
        Distinct values without missing ones, in order of appearance: the value at ``i`` has the code ``i + 2``.
    keys : ndarray
        ``code * cells + cell`` of what is there, in order.
    counts : ndarray
        Rows of each key.
    means, rests : ndarray of float64 or None
        The target's mean, and the sum of its squared deviations from it.
    """

    values: Any
    keys: npt.NDArray[Any]
    counts: npt.NDArray[Any]
    means: FloatArray | None = None
    rests: FloatArray | None = None

    @property
    def nbytes(self) -> int:
        """About the bytes that it takes."""
        values = 80 * len(self.values) if isinstance(self.values, list) else self.values.nbytes
        arrays = (self.keys, self.counts, self.means, self.rests)
        return int(values) + sum(a.nbytes for a in arrays if a is not None)


@dataclass
class ColumnStats:
    """Parts of one column that are put together when there is as much of the later as of the first."""

    parts: list[CategoryPart]
    overflow: bool = False

    @property
    def nbytes(self) -> int:
        """About the bytes that it takes."""
        return sum(part.nbytes for part in self.parts)


@dataclass
class Moments:
    """Counts, means and squared deviations of groups; each an array of one number a group."""

    counts: IntArray
    means: FloatArray
    rests: FloatArray


class CategoryStats(Reduction[list[ColumnStats], list[CategoryPart]]):
    """Counts each column's categories in each cell, and there takes the target's mean and squared deviations.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    names : sequence of str
        The columns' names, for errors.
    memory : int
        Most bytes that the states of a merge may take.
    cells : Cells or None, default None
        Which cell each row belongs to, and its target; None is one cell, and no target.
    """

    label = "categories"

    def __init__(self, who: str, names: Sequence[str], *, memory: int, cells: Any = None) -> None:
        self.who, self.names, self.cells = who, tuple(names), cells
        self.memory, self.most = memory, memory // FAN_IN

    def partial(self, batch: Any) -> list[ColumnStats]:
        cells, y, count = (None, None, 1) if self.cells is None else self.cells.of(batch)
        return self._bounded([ColumnStats([_part(column, cells, y, count)]) for column in columns_of(batch.X)])

    def merge(self, left: list[ColumnStats], right: list[ColumnStats]) -> list[ColumnStats]:
        pairs = zip(left, right, strict=True)
        both = [ColumnStats(a.parts + b.parts, a.overflow or b.overflow) for a, b in pairs]
        for column in both:
            # Putting many small parts into a large one, each by itself, would take time without end.
            if sum(len(part.keys) for part in column.parts[1:]) >= len(column.parts[0].keys):
                self._settle(column)
        return self._bounded(both)

    def finish(self, state: list[ColumnStats]) -> list[CategoryPart]:
        for name, column in zip(self.names, state, strict=True):
            self._settle(column)
            if column.overflow:
                raise TooManyCategories(
                    f"{self.who}: with the categories of column {name!r} a state takes more than "
                    f"{self.most / 2**20:,.0f} MiB.",
                    why=f"{FAN_IN} states meet in a merge, within {self.memory / 2**30:.2f} GiB.",
                    fix="Leave the column out (it may be an identifier), bin it, hash it with FeatureHasher, "
                    "or allow more with memory=.",
                )
        return [column.parts[0] for column in state]

    def _settle(self, column: ColumnStats) -> None:
        if len(column.parts) > 1:
            column.parts = [_together(column.parts, 1 if self.cells is None else self.cells.count)]

    def _bounded(self, columns: list[ColumnStats]) -> list[ColumnStats]:
        """The same, where it fits; else the largest columns become marks, so the error is the same on every engine."""
        if sum(column.nbytes for column in columns) > self.most:
            for column in columns:
                self._settle(column)
        while sum(column.nbytes for column in columns) > self.most:
            largest = max(columns, key=lambda column: column.nbytes)
            if largest.overflow:
                break
            first = largest.parts[0]
            values = [] if isinstance(first.values, list) else pa.array([], first.values.type)
            largest.parts = [CategoryPart(values, first.keys[:0].copy(), first.counts[:0].copy())]
            largest.overflow = True
        return columns


def nearest_to_zero(view: Any, name: str) -> float:
    """The number nearest to zero between a column's least and largest, from the footers; 0.0 where they do not tell.

    Taken off every value it makes no value larger, and of a mean of 1e9 with a deviation of 1 it leaves
    numbers whose means round to far less.
    """
    stats = view.dataset.footer.stats.get(name)
    if stats is None or not stats.complete or stats.minimum is None or stats.maximum is None:
        return 0.0
    try:
        low, high = float(stats.minimum), float(stats.maximum)
    except (TypeError, ValueError):
        return 0.0
    nearest = min(max(0.0, low), high)
    return nearest if np.isfinite(nearest) else 0.0


def sorted_values(part: CategoryPart, cells: int) -> tuple[Any, IntArray, IntArray]:
    """A column's values in order, with null and NaN behind; the rows of each; each code's place among them."""
    codes, counts = part.keys // cells, np.zeros(len(part.values) + FIRST, dtype=np.int64)
    np.add.at(counts, codes, part.counts)
    whole = ColumnCounts(part.values, np.arange(FIRST, len(counts)), int(counts[NULL]), int(counts[NAN]), 0)
    ordered = _sorted(whole)  # its counts are the codes, which are sorted along
    places = np.zeros(len(counts), dtype=np.int64)
    places[ordered.counts] = np.arange(len(ordered.counts))
    there = np.append(ordered.counts, [code for code in (NULL, NAN) if counts[code]]).astype(np.int64)
    places[there] = np.arange(len(there))
    values, _ = ordered.complete()
    return values, counts[there], places


def combined(groups: IntArray, n_groups: int, counts: Any, means: FloatArray, rests: FloatArray) -> Moments:
    """Moments of parts, put together by group (Chan, Golub & LeVeque 1983).

    Parameters
    ----------
    groups : ndarray of int64
        The group of each part.
    n_groups : int
    counts, means, rests : ndarray
        Of each part.
    """
    weights = counts.astype(np.float64)
    total = np.bincount(groups, weights=weights, minlength=n_groups)
    shift = np.zeros(n_groups)
    shift[groups[::-1]] = means[::-1]  # any mean of the group: the first
    apart = means - shift[groups]
    with np.errstate(invalid="ignore", divide="ignore"):
        moved = np.bincount(groups, weights=weights * apart, minlength=n_groups) / total
        moved[total == 0] = 0.0
        apart -= moved[groups]
    rest = np.bincount(groups, weights=rests + weights * apart * apart, minlength=n_groups)
    return Moments(total.astype(np.int64), shift + moved, rest.astype(np.float64))


def _part(column: Any, cells: Any, y: Any, n_cells: int) -> CategoryPart:
    values, codes = _coded(column)
    keys = codes if cells is None else codes * n_cells + cells
    present, groups = _grouped(keys, (len(values) + FIRST) * n_cells)
    counts = np.bincount(groups, minlength=len(present))
    means: FloatArray | None = None
    rests: FloatArray | None = None
    if y is not None:
        means = np.bincount(groups, weights=y, minlength=len(present)) / counts
        # Again from the rows, so that a mean of 1e9 loses nothing.
        apart = y - means[groups]
        means = means + np.bincount(groups, weights=apart, minlength=len(present)) / counts
        apart = y - means[groups]
        rests = np.bincount(groups, weights=apart * apart, minlength=len(present)).astype(np.float64)
    return CategoryPart(values, _narrow(present), _narrow(counts), means, rests)


def _coded(column: Any) -> tuple[Any, IntArray]:
    """The distinct values without missing ones, and each row's code."""
    if isinstance(column, np.ndarray):
        return _coded_objects(column)
    encoded = column.dictionary_encode()
    values = encoded.dictionary
    indices = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    if not pa.types.is_floating(values.type):
        return values, np.where(indices < 0, NULL, indices + FIRST)
    nan = np.isnan(values.to_numpy(zero_copy_only=False))
    code = np.where(nan, NAN, np.cumsum(~nan) - 1 + FIRST)
    return values.filter(pa.array(~nan)), np.append(code, NULL)[indices]


def _coded_objects(column: npt.NDArray[Any]) -> tuple[list[Any], IntArray]:
    place: dict[Any, int] = {}
    codes = np.empty(len(column), dtype=np.int64)
    for row, value in enumerate(column.tolist()):
        if value is None:
            codes[row] = NULL
        elif is_missing(value):
            codes[row] = NAN
        else:
            codes[row] = place.setdefault(value, len(place) + FIRST)
    return list(place), codes


def _together(parts: list[CategoryPart], n_cells: int) -> CategoryPart:
    values, codes = parts[0].values, [np.arange(len(parts[0].values), dtype=np.int64)]
    for part in parts[1:]:
        before = len(values)
        values, place = _united(values, part.values)
        codes.append(place[before:])  # those that were there before keep their places
    keys = np.concatenate([_recoded(p.keys, code, n_cells) for p, code in zip(parts, codes, strict=True)])
    counts = np.concatenate([part.counts for part in parts])
    present, groups = _grouped(keys, (len(values) + FIRST) * n_cells)
    if parts[0].means is None:
        whole = np.bincount(groups, weights=counts, minlength=len(present)).astype(np.int64)
        return CategoryPart(values, _narrow(present), _narrow(whole))
    means = np.concatenate([part.means for part in parts if part.means is not None])
    rests = np.concatenate([part.rests for part in parts if part.rests is not None])
    moments = combined(groups, len(present), counts, means, rests)
    return CategoryPart(values, _narrow(present), _narrow(moments.counts), moments.means, moments.rests)


def _recoded(keys: Any, code: IntArray, n_cells: int) -> IntArray:
    old, cell = np.divmod(keys.astype(np.int64), n_cells)
    new = np.concatenate([[NULL, NAN], code + FIRST])
    return np.asarray(new[old] * n_cells + cell, dtype=np.int64)


def _grouped(keys: IntArray, bound: int) -> tuple[IntArray, IntArray]:
    """The distinct keys in order, and each row's place among them; ``bound`` is above every key."""
    if bound > 4 * len(keys) + 4096:
        present, groups = np.unique(keys, return_inverse=True)
        return present, groups
    there = np.zeros(bound, dtype=bool)
    there[keys] = True
    return np.flatnonzero(there), (np.cumsum(there) - 1)[keys]


def _narrow(numbers: IntArray) -> npt.NDArray[Any]:
    """In 32 bits where that is enough: of millions of categories there are many."""
    enough = not len(numbers) or int(numbers.max()) <= np.iinfo(np.int32).max
    return numbers.astype(np.int32) if enough else numbers
