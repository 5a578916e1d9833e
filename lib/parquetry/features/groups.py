"""Group measures: count, sum, mean and the like of a column over all rows of the same key, beside each row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, TooManyCategories
from parquetry.features.by_key import _whole, require_keys, require_new, require_number_columns
from parquetry.features.category_stats import combined, nearest_to_zero
from parquetry.features.windows import MEASURES, Measure, _opened, measured
from parquetry.fitting import run_pass
from parquetry.foundation.cleaning.keyed import _hashes
from parquetry.reduction import FAN_IN, Bundle, Reduction
from parquetry.relational import write_bundles
from parquetry.view import FloatArray, View, float_column

if TYPE_CHECKING:
    from parquetry.engine import Engine


def group_measures(
    data: Dataset | str | os.PathLike[str],
    values: Sequence[str],
    *,
    by: Sequence[str],
    measures: Sequence[Measure] = ("count", "mean"),
    to: str | os.PathLike[str],
    engine: Engine | str | None = None,
    mode: str = "fail",
) -> Dataset:
    """Each row with measures of some columns over all rows of its key.

    One pass gathers the measures of every key, another writes the rows. Mind that a measure of the target
    over rows that a model is then fitted on tells the model what to predict: use ``TargetEncoder``
    for that, which is cross-fitted.

    Parameters
    ----------
    data : Dataset, path or URL
    values : sequence of str
        Columns of numbers; nulls and NaN are left out of every measure.
    by : sequence of str
        The keys; a missing one is a key of its own.
    measures : sequence of {"count", "sum", "mean", "min", "max", "std"}, default ("count", "mean")
        ``count`` is of values that are there; ``std`` divides by one less than that.
    to : path or URL
    engine : Engine or what ``open_engine`` takes, default None
    mode : {"fail", "append", "overwrite"}, default "fail"

    Returns
    -------
    Dataset
        All rows in their order, with ``<value>_<measure>_by_<keys>``; float64, ``count`` int64,
        null where a key has too few values.

    Raises
    ------
    UnknownColumn, BadParameter, WrongColumnType, OutputExists
        Before any work.
    TooManyCategories
        The keys take more memory than a worker has.
    """
    from parquetry.engine import borrowed_engine

    dataset = _opened(data)
    require_keys(dataset, by, (), values)
    require_number_columns(dataset, values, "group_measures")
    if not measures or any(m not in MEASURES for m in measures):
        raise BadParameter(f"measures={list(measures)!r}.", fix=f"Name some of {', '.join(MEASURES)}.")
    names: dict[tuple[int, str], str] = {
        (i, m): f"{v}_{m}_by_{'_'.join(by)}" for i, v in enumerate(values) for m in measures
    }
    require_new(list(names.values()), dataset)
    output = CommittedWrite(os.fspath(to), mode)
    kinds = [pa.field(n, pa.int64() if m == "count" else pa.float64()) for (_, m), n in names.items()]
    with borrowed_engine(engine) as running:
        view = View(dataset, tuple(dict.fromkeys((*by, *values))))
        shifts = tuple(nearest_to_zero(view, value) for value in values)
        reduction = GroupStats(tuple(by), tuple(values), shifts, memory=running.memory)
        (groups,) = run_pass(running, [(reduction, view)], label="group-measures")

        def write(writer: PartWriter) -> list[Part]:
            task = _JoinTask(dataset.reader(), tuple(by), groups, names, writer)
            return write_bundles(running, dataset, task, label="group-measures-write")

        output.run(pa.schema([*dataset.schema, *kinds]), write)
    return open_dataset(os.fspath(to))


@dataclass
class Groups:
    """Measures of each key, in order of its two hashes.

    Attributes
    ----------
    keys : ndarray of int64, shape (2, n_keys)
    counts, sums, means, rests, least, most : ndarray of shape (n_values, n_keys)
    """

    keys: Any
    counts: Any
    sums: FloatArray
    means: FloatArray
    rests: FloatArray
    least: FloatArray
    most: FloatArray
    overflow: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        arrays = (self.keys, self.counts, self.sums, self.means, self.rests, self.least, self.most)
        return sum(int(a.nbytes) for a in arrays)

    def find(self, keys: Any) -> Any:
        """The positions of keys that are all there."""
        places = np.searchsorted(self.keys[0], keys[0])
        wrong = self.keys[1][places] != keys[1]
        while wrong.any():  # two keys of the same first hash stand beside each other
            places[wrong] += 1
            wrong = self.keys[1][places] != keys[1]
        return places


class GroupStats(Reduction[Groups, Groups]):
    """Measures of some columns for every key, merged by the pairwise formula of Chan, Golub & LeVeque (1983).

    Parameters
    ----------
    by, values : tuple of str
    shifts : tuple of float
        What is taken off each value before it is averaged, and given back in the end.
    memory : int
        Most bytes that the states of a merge may take.
    """

    label = "group-measures"

    def __init__(self, by: tuple[str, ...], values: tuple[str, ...], shifts: tuple[float, ...], *, memory: int) -> None:
        self.by, self.values, self.shifts, self.memory = by, values, shifts, memory

    def partial(self, batch: Any) -> Groups:
        table = batch.stored.table
        keys = key_hashes(table, self.by)
        columns = [float_column(table.column(name)) for name in self.values]
        there = np.array([~np.isnan(c) for c in columns])
        filled = np.array([np.where(t, c, 0.0) for t, c in zip(there, columns, strict=True)])
        least = np.array([np.where(t, c, np.inf) for t, c in zip(there, columns, strict=True)])
        most = np.array([np.where(t, c, -np.inf) for t, c in zip(there, columns, strict=True)])
        moved = np.where(there, filled - np.array(self.shifts)[:, None], 0.0)
        groups = Groups(keys, there.astype(np.int64), filled, moved, np.zeros(filled.shape), least, most)
        return self._bounded(_grouped(groups))

    def merge(self, left: Groups, right: Groups) -> Groups:
        names = [name for name in Groups.__dataclass_fields__ if name != "overflow"]
        joined: dict[str, Any] = {n: np.concatenate([getattr(g, n) for g in (left, right)], axis=1) for n in names}
        both = _grouped(Groups(**joined))
        both.overflow = left.overflow or right.overflow
        return self._bounded(both)

    def finish(self, state: Groups) -> Groups:
        if state.overflow:
            raise TooManyCategories(
                f"Measures by {', '.join(map(repr, self.by))} take more than {self.memory / FAN_IN / 2**20:,.0f} MiB.",
                why=f"{FAN_IN} states meet in a merge, within {self.memory / 2**30:.2f} GiB.",
                fix="Group by fewer keys, or give the workers more memory.",
            )
        state.means = state.means + np.array(self.shifts)[:, None]
        return state

    def _bounded(self, groups: Groups) -> Groups:
        if not groups.overflow and groups.nbytes * FAN_IN <= self.memory:
            return groups
        empty = np.zeros((len(self.values), 0))
        none = np.zeros((2, 0), dtype=np.int64)
        return Groups(none, empty.astype(np.int64), empty, empty, empty, empty, empty, overflow=True)


def key_hashes(table: pa.Table, by: Sequence[str]) -> Any:
    """Two 64-bit hashes of each row's keys, shape ``(2, n_rows)``."""
    keys = [_whole(table.column(name)) for name in by]
    return np.stack([_hashes(keys, table.num_rows, i).to_numpy() for i in range(2)])


def _grouped(groups: Groups) -> Groups:
    """One entry a key, in order of the hashes; entries of a key are put together as they come."""
    order = np.lexsort((groups.keys[1], groups.keys[0]))
    keys = groups.keys[:, order]
    new = np.ones(keys.shape[1], dtype=bool)
    new[1:] = (keys[:, 1:] != keys[:, :-1]).any(axis=0)
    starts = np.flatnonzero(new)
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(new) - 1
    moments = [
        combined(place[c > 0], len(starts), c[c > 0], m[c > 0], r[c > 0])
        for c, m, r in zip(groups.counts, groups.means, groups.rests, strict=True)
    ]
    return Groups(
        keys[:, starts],
        np.array([m.counts for m in moments]),
        np.array([np.bincount(place, weights=s, minlength=len(starts)) for s in groups.sums]),
        np.array([m.means for m in moments]),
        np.array([m.rests for m in moments]),
        np.minimum.reduceat(groups.least[:, order], starts, axis=1),
        np.maximum.reduceat(groups.most[:, order], starts, axis=1),
    )


@dataclass(frozen=True)
class _JoinTask:
    """Writes the rows of a bundle with the measures of their keys."""

    reader: Any
    by: tuple[str, ...]
    groups: Groups
    names: dict[tuple[int, str], str]
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Bundle]) -> list[Part]:
        index, bundle = numbered
        return self.writer.write(index, self._tables(bundle))

    def _tables(self, bundle: Bundle) -> Iterator[pa.Table]:
        g = self.groups
        found = [
            measured(c, s, lo, hi, r, m)
            for c, s, lo, hi, r, m in zip(g.counts, g.sums, g.least, g.most, g.rests, g.means, strict=True)
        ]
        for table in self.reader.read_all(bundle):
            places = pa.array(g.find(key_hashes(table, self.by)))
            new = table
            for (i, measure), name in self.names.items():
                new = new.append_column(name, found[i][measure].take(places))
            yield new
