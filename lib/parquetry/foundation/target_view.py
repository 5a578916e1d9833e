"""How a target lies along every other column: its mean, or the share of its classes, by category or bin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parquetry.foundation.correlations import Categories, cramers_v
from parquetry.foundation.profile_kinds import TEXTS, KeyArray, Planned, coded, floats_of, row_keys
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray

Table = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Groups:
    """How a column's rows fall into groups; two more hold its other values, and the missing ones.

    Attributes
    ----------
    column : Planned
    keys : ndarray of uint64 or None
        A group for each of these values; rising.
    edges : ndarray or None
        Else bins, closed on the left; values beyond the edges are in the outer bins.
    """

    column: Planned
    keys: KeyArray | None = None
    edges: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.keys) if self.keys is not None else len(self.edges) - 1 if self.edges is not None else 0

    def codes(self, batch: Batch) -> npt.NDArray[np.int64]:
        """Each row's group: ``len(self)`` for another value, one more for a missing one."""
        if self.edges is not None:
            values = floats_of(batch, self.column)
            found = np.searchsorted(self.edges[1:-1], values, side="right")
            return np.where(np.isnan(values), len(self) + 1, found)
        if self.keys is None or self.column.kind in TEXTS:
            return self._text_codes(batch)
        keys, there = row_keys(batch, self.column)
        return np.where(there, _places(self.keys, keys), len(self) + 1)

    def _text_codes(self, batch: Batch) -> npt.NDArray[np.int64]:
        found = coded(batch, self.column)
        keys = np.zeros(0, dtype=np.uint64) if self.keys is None else self.keys
        return np.append(_places(keys, found.hashes), len(self) + 1)[found.codes]


def _places(keys: KeyArray, wanted: KeyArray) -> npt.NDArray[np.int64]:
    """Where each is among rising keys; their number for one that is not."""
    if not len(keys):
        return np.zeros(len(wanted), dtype=np.int64)
    found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[found] == wanted, found, len(keys))


class TargetTables(Reduction[list[Table], list[Table]]):
    """A table for each column: a row a group; see ``target``.

    Parameters
    ----------
    groups : sequence of Groups
    target : Categories or Planned
        Categories: how many rows of each class, the last number those without a target.
        A number: rows with a finite target, its sum and its sum of squares, without ``center``.
    center : float
        About the target's mean.
    """

    label = "target"

    def __init__(self, groups: Sequence[Groups], target: Categories | Planned, center: float) -> None:
        self.groups, self.target, self.center = tuple(groups), target, center

    def partial(self, batch: Batch) -> list[Table]:
        if isinstance(self.target, Categories):
            classes, wide = self.target.codes(batch), len(self.target.keys) + 1
            return [_counted(g.codes(batch), len(g) + 2, classes, wide) for g in self.groups]
        values = floats_of(batch, self.target) - self.center
        finite = np.isfinite(values)
        all_finite = bool(finite.all())
        values = values if all_finite else values[finite]
        tables = []
        for group in self.groups:
            codes = group.codes(batch) if all_finite else group.codes(batch)[finite]
            parts = [np.bincount(codes, w, len(group) + 2) for w in (None, values, values * values)]
            tables.append(np.stack(parts, axis=1).astype(np.float64))
        return tables

    def merge(self, left: list[Table], right: list[Table]) -> list[Table]:
        return [a + b for a, b in zip(left, right, strict=True)]


def _counted(codes: npt.NDArray[np.int64], high: int, classes: npt.NDArray[np.int64], wide: int) -> Table:
    return np.bincount(codes * wide + classes, minlength=high * wide).reshape(high, wide).astype(np.float64)


def strength(table: Table, *, classes: bool) -> float:
    """How far the groups tell the target: Cramér's V, or the correlation ratio (eta); in [0, 1].

    Source of the latter: Fisher, "Statistical Methods for Research Workers" (1925).
    """
    if classes:
        return cramers_v(table[:, :-1].astype(np.int64))
    there = table[:, 0] > 0
    n, total, squares = table[there].sum(axis=0) if there.any() else (0.0, 0.0, 0.0)
    whole = squares - total * total / n if n else 0.0
    if whole <= 0:
        return float("nan")
    between = (table[there, 1] ** 2 / table[there, 0]).sum() - total * total / n
    return float(np.sqrt(np.clip(between / whole, 0.0, 1.0)))
