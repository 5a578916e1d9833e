"""Folds by row, as scikit-learn's own splitters deal them out, without the rows at hand.

A row's fold follows from its place among all rows (``KFold``) or among the rows of its class
(``StratifiedKFold``), so a pass over the blocks sorts rows into folds as it meets them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold

from parquetry.block_cache import Arrays, float_arrays
from parquetry.errors import BadParameter
from parquetry.fitting import Pass
from parquetry.reading import BATCH_MULTIPLE
from parquetry.reduction import Reduction
from parquetry.rows import RowFilter, combined_mask
from parquetry.view import Batch, View

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Folds:
    """Sorts rows into folds.

    Parameters
    ----------
    count : int
        How many folds there are.
    edges : ndarray of shape (n_groups, count - 1)
        For each group of rows (each class, or all rows), where each fold but the last ends among
        the group's rows in order.
    starts : dict of int to ndarray of shape (n_parts, n_groups)
        For each block and each part of ``BATCH_MULTIPLE`` positions in it, how many rows of each
        group stand before it.
    by_class : bool
        Whether the groups are the classes of an encoded target.
    """

    count: int
    edges: IntArray
    starts: dict[int, IntArray]
    by_class: bool

    def of(self, batch: Any) -> IntArray:
        """The fold of each row of a batch, shape ``(n_rows,)``."""
        before = self.starts[batch.block.index][int(batch.rows[0]) // BATCH_MULTIPLE]
        groups = batch.y_floats[0].astype(np.int64) if self.by_class else np.zeros(batch.num_rows, dtype=np.int64)
        folds = np.empty(batch.num_rows, dtype=np.int64)
        for group in np.unique(groups):
            here = np.flatnonzero(groups == group)
            places = before[group] + np.arange(len(here))
            folds[here] = np.searchsorted(self.edges[group], places, side="right")
        return folds

    def parts(self, batch: Any) -> list[tuple[int, slice | IntArray]]:
        """Each fold's rows of a batch: a slice where they stand together, else their positions."""
        if not self.by_class:
            first = int(self.starts[batch.block.index][int(batch.rows[0]) // BATCH_MULTIPLE][0])
            bounds = np.clip([0, *(self.edges[0] - first), batch.num_rows], 0, batch.num_rows).tolist()
            return [(k, slice(a, b)) for k, (a, b) in enumerate(pairwise(bounds)) if a < b]
        folds = self.of(batch)
        found: list[tuple[int, slice | IntArray]] = []
        for k in np.unique(folds).tolist():
            here = np.flatnonzero(folds == k)
            together = int(here[-1]) - int(here[0]) == len(here) - 1
            found.append((k, slice(int(here[0]), int(here[-1]) + 1) if together else here))
        return found


@dataclass(frozen=True, eq=False)
class FloatsAndFolds:
    """What a cached view keeps for cross-validation: the floats, and each row's ``fold``."""

    folds: Folds

    def __call__(self, batch: Batch) -> Arrays:
        return {**float_arrays(batch), "fold": self.folds.of(batch).astype(np.uint16)}


OTHER_FOLDS = "cv= deals rows out in a way that only all rows together tell."
"""Why a fit is gathered where ``splits_by_row`` says no."""


def splits_by_row(cv: Any, *, by_class: bool = True) -> bool:
    """Whether these folds can be told row by row: a number, or an unshuffled (Stratified)KFold.

    Parameters
    ----------
    cv : int, splitter, iterable or None
    by_class : bool, default True
        Whether the target is one column of classes; for any other a StratifiedKFold is refused.
    """
    if cv is None or isinstance(cv, int | np.integer):
        return True
    return type(cv) in ((KFold, StratifiedKFold) if by_class else (KFold,)) and not cv.shuffle


def row_folds(
    estimator: Any, view: View, cv: Any, *, n_classes: int | None = None
) -> Generator[list[Any], list[Any], Folds]:
    """The folds that scikit-learn's own ``cv`` gives the rows of a view, in at most one pass.

    Parameters
    ----------
    estimator : object
        Named in errors.
    view : View
        Its target encoded, for folds by class.
    cv : int, KFold, StratifiedKFold or None
        One that ``splits_by_row`` accepts; None is 5 folds.
    n_classes : int or None, default None
        Of a classifier's encoded target: a number then means folds by class. None for a regressor.

    Raises
    ------
    BadParameter
        More folds than rows, or than the rows of every class.

    Source: https://scikit-learn.org/stable/modules/cross_validation.html
    """
    count = 5 if cv is None else int(cv) if isinstance(cv, int | np.integer) else cv.n_splits
    who, rows = type(estimator).__name__, view.dataset.num_rows
    if not 2 <= count <= rows:
        raise BadParameter(f"{who}: cv={count} folds of {rows:,} rows.", fix="Take 2 folds or more, up to the rows.")
    if type(cv) is KFold or n_classes is None:
        return Folds(count, _contiguous(rows, count), _starts_by_row(view), by_class=False)
    (found,) = yield [Pass(_ClassPlaces(n_classes), view)]
    total = np.sum([parts.sum(axis=0) for parts in found.parts.values()], axis=0)
    if count > total.max():
        raise BadParameter(
            f"{who}: cv={count} folds, and no class has more than {int(total.max()):,} rows.",
            fix="Take fewer folds, or KFold.",
        )
    starts: dict[int, IntArray] = {}
    before = np.zeros(n_classes, dtype=np.int64)
    for block in sorted(found.parts):
        ends = before + np.cumsum(found.parts[block], axis=0)
        starts[block] = np.vstack([before, ends])
        before = ends[-1]
    return Folds(count, _by_class(total, found.first, count), starts, by_class=True)


def _contiguous(rows: int, count: int) -> IntArray:
    """KFold's edges: the first folds are one row longer where the rows do not divide."""
    sizes = np.full(count, rows // count, dtype=np.int64)
    sizes[: rows % count] += 1
    return np.cumsum(sizes)[None, :-1]


def _by_class(total: IntArray, first: list[Any], count: int) -> IntArray:
    """StratifiedKFold's edges: classes in order of appearance are dealt out one row at a time."""
    edges = np.zeros((len(total), count - 1), dtype=np.int64)
    start = 0
    for k in sorted(range(len(total)), key=lambda k: (first[k] is None, first[k])):
        stop = start + int(total[k])
        # How many of the places start … stop - 1 leave the remainder i when divided by count.
        sizes = [(stop - i + count - 1) // count - (start - i + count - 1) // count for i in range(count)]
        edges[k] = np.cumsum(sizes)[:-1]
        start = stop
    return edges


def _starts_by_row(view: View) -> dict[int, IntArray]:
    """Known without reading: filters choose rows by a hash of their place."""
    starts: dict[int, IntArray] = {}
    before = 0
    for block in view.dataset.blocks:
        lengths = _lengths(view.dataset.row_filters, block)
        starts[block.index] = (before + np.concatenate([[0], np.cumsum(lengths)]))[:, None]
        before += int(lengths.sum())
    return starts


def _lengths(filters: tuple[RowFilter, ...], block: Any) -> IntArray:
    mask = combined_mask(filters, block.name, block.row_group, block.num_rows)
    edges = np.arange(0, block.num_rows, BATCH_MULTIPLE)
    if mask is None:
        return np.asarray(np.minimum(BATCH_MULTIPLE, block.num_rows - edges))
    return np.asarray(np.add.reduceat(mask, edges, dtype=np.int64)) if len(edges) else np.zeros(0, dtype=np.int64)


@dataclass
class _Places:
    """Rows of each class in each part of each block, and where each class appears first."""

    parts: dict[int, IntArray]
    first: list[tuple[int, int] | None]


class _ClassPlaces(Reduction[_Places, _Places]):
    """Counts the classes of an encoded target by block and part of block."""

    label = "fold-places"

    def __init__(self, n_classes: int) -> None:
        self.n_classes = n_classes

    def partial(self, batch: Any) -> _Places:
        codes, block = batch.y_floats[0].astype(np.int64), batch.block
        n_parts = -(-block.num_rows // BATCH_MULTIPLE)
        places = batch.rows // BATCH_MULTIPLE * self.n_classes + codes
        counts = np.bincount(places, minlength=n_parts * self.n_classes).reshape(n_parts, self.n_classes)
        found, at = np.unique(codes, return_index=True)
        first: list[tuple[int, int] | None] = [None] * self.n_classes
        for k, i in zip(found.tolist(), at.tolist(), strict=True):
            first[k] = (block.index, int(batch.rows[i]))
        return _Places({block.index: counts}, first)

    def merge(self, left: _Places, right: _Places) -> _Places:
        parts = dict(left.parts)
        for block, counts in right.parts.items():
            parts[block] = parts[block] + counts if block in parts else counts
        first = [
            min((f for f in pair if f is not None), default=None) for pair in zip(left.first, right.first, strict=True)
        ]
        return _Places(parts, first)
