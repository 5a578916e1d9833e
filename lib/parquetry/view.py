"""View and Batch: a dataset's columns in their roles, seen through fitted steps.

A View is what a Fitter works on: it says which columns are features, target and weight, and
which fitted transformers the features go through. On a worker it meets a batch of rows and
becomes numbers: a float matrix wherever all is numeric, a pandas frame only where names matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.block_cache import CacheKey, Prepare, float_arrays
from parquetry.dataset import Block, Dataset
from parquetry.errors import UnknownColumn, WrongColumnType
from parquetry.reading import BATCH_MULTIPLE
from parquetry.rows import RowFilter, combined_mask

if TYPE_CHECKING:
    import pandas as pd

FloatArray = npt.NDArray[np.float64]

WIDE_BYTES = 128 * 2**20
"""What X of one batch may take after any of a view's steps: steps may widen it far beyond what is stored."""
_SAMPLE = 256  # rows that tell how many entries a sparse X has
_ENTRY_BYTES = 12  # a number and its column


def is_numeric(kind: pa.DataType) -> bool:
    """Whether a column of this type can be read as floats."""
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(check(kind) for check in checks)


def float_column(column: pa.ChunkedArray) -> FloatArray:
    """A numeric Arrow column as float64, nulls as NaN; without a copy where it is that already."""
    if column.type != pa.float64():
        if pa.types.is_boolean(column.type):
            column = column.cast(pa.uint8())
        column = column.cast(pa.float64(), safe=False)
    if column.null_count:
        column = pc.fill_null(column, float("nan"))
    if column.num_chunks == 1:
        values: FloatArray = column.chunk(0).to_numpy(zero_copy_only=False)
        return values
    return np.concatenate([c.to_numpy(zero_copy_only=False) for c in column.chunks] or [np.empty(0)])


class Columns:
    """Feature columns as they are stored, turned into a matrix or a frame on demand.

    Parameters
    ----------
    table : pyarrow.Table
    where : callable or None, default None
        Tells the place of a row in words, for errors.
    """

    def __init__(self, table: pa.Table, where: Callable[[int], str] | None = None) -> None:
        self.table, self.where = table, where

    @property
    def names(self) -> list[str]:
        """Column names."""
        return list(self.table.column_names)

    @property
    def numeric(self) -> bool:
        """Whether every column can be read as floats."""
        return all(is_numeric(kind) for kind in self.table.schema.types)

    @cached_property
    def floats(self) -> list[FloatArray]:
        """One float64 array of shape ``(n_rows,)`` a column."""
        for f in self.table.schema:
            if not is_numeric(f.type):
                raise not_numeric(f.name, f.type)
        return [float_column(c) for c in self.table.columns]

    @cached_property
    def matrix(self) -> FloatArray:
        """Shape ``(n_rows, n_columns)``, column-major: columns are contiguous."""
        matrix = np.empty((len(self.floats), self.table.num_rows))
        for row, values in zip(matrix, self.floats, strict=True):
            row[:] = values
        return matrix.T

    @cached_property
    def frame(self) -> pd.DataFrame:
        """The columns as pandas reads them from Parquet."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def select(self, columns: Sequence[int]) -> Columns:
        """These columns, by position."""
        return Columns(self.table.select(list(columns)), self.where)

    def column(self, i: int) -> Column:
        """One column by itself, by position."""
        return Column(self.names[i], self.table.column(i), self.where)


class Column:
    """One stored column by itself: X of one dimension.

    It is what a ColumnTransformer gives a branch that names ``"text"`` and not ``["text"]``.

    Parameters
    ----------
    name : str
    values : pyarrow.ChunkedArray
    where : callable or None, default None
        As for :class:`Columns`.
    """

    def __init__(self, name: str, values: pa.ChunkedArray, where: Callable[[int], str] | None = None) -> None:
        self.name, self.values, self.where = name, values, where

    @cached_property
    def series(self) -> pd.Series[Any]:
        """The column as pandas reads it from Parquet."""
        series: pd.Series[Any] = pa.table({self.name: self.values}).to_pandas()[self.name]
        return series


def not_numeric(name: str, kind: pa.DataType) -> WrongColumnType:
    """The error for a column that should hold numbers and does not."""
    encode = "Encode it (OneHotEncoder in a ColumnTransformer)"
    if pa.types.is_temporal(kind):
        encode = "Make numbers of it beforehand (the weekday, days since a date)"
    return WrongColumnType(
        f"Column {name!r} is {kind}, not a number.",
        why="The estimator works on numbers.",
        fix=f"{encode}, or leave it out with features=.",
    )


@dataclass(frozen=True)
class View:
    """The columns of a dataset in their roles, seen through fitted steps.

    Parameters
    ----------
    dataset : Dataset
    features : tuple of str
        The stored columns that X is made of.
    target : tuple of str, default ()
        The columns of y; more than one for multi-target regression.
    sample_weight : str or None, default None
        The column of weights.
    steps : tuple of callables, default ()
        What X goes through, in order; each takes and gives X.
    target_step : callable or None, default None
        What y goes through.
    step_names : tuple of str or None, default None
        The names of X's columns after the last step, where a step gave any.
    weight_step : callable or None, default None
        Takes the batch and its weights or None, gives the weights: how class weights enter.
    prepare : callable or None, default None
        What of each batch is kept in the block cache; see ``cached``.
    group : str or None, default None
        The column of query ids, for rankers.
    row_filters : tuple of RowFilter, default ()
        Which rows of what is read belong to the view, where a pass over several parts of a dataset
        reads more than them; the dataset's own filters else.
    """

    dataset: Dataset
    features: tuple[str, ...]
    target: tuple[str, ...] = ()
    sample_weight: str | None = None
    steps: tuple[Any, ...] = ()
    target_step: Any = None
    step_names: tuple[str, ...] | None = None
    weight_step: Any = None
    prepare: Prepare | None = None
    group: str | None = None
    row_filters: tuple[RowFilter, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All stored columns that must be read, each once."""
        more = (name for name in (self.sample_weight, self.group) if name)
        return tuple(dict.fromkeys((*self.features, *self.target, *more)))

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names that scikit-learn would see in X: those of a frame, or None for an array."""
        return self.features if not self.steps else self.step_names

    @property
    def numeric(self) -> bool:
        """Whether X is all numbers."""
        schema = self.dataset.full_schema
        return bool(self.steps) or all(is_numeric(schema.field(f).type) for f in self.features)

    def require_numeric(self, estimator: Any) -> None:
        """Raise WrongColumnType, naming the column, where an estimator of numbers gets others."""
        if self.steps:
            return
        for name in self.features:
            kind = self.dataset.full_schema.field(name).type
            if not is_numeric(kind):
                error = not_numeric(name, kind)
                raise WrongColumnType(f"{type(estimator).__name__}: {error.fact}", why=error.why, fix=error.fix)

    def through(self, transformer: Any) -> View:
        """The same rows, with X seen through a fitted transformer."""
        from parquetry.through import Through, output_names

        names = output_names(transformer, lambda: next(iter(self.head_batches(2))).X)
        return replace(self, steps=(*self.steps, Through(transformer)), step_names=names)

    def select(self, columns: Sequence[int]) -> View:
        """The same rows, with only these columns of X (by position)."""
        from parquetry.through import Select

        if not self.steps:
            return replace(self, features=tuple(self.features[i] for i in columns))
        names = tuple(self.step_names[i] for i in columns) if self.step_names else None
        return replace(self, steps=(*self.steps, Select(tuple(columns))), step_names=names)

    def column(self, i: int) -> View:
        """The same rows, with one column of X by itself: X has one dimension."""
        from parquetry.through import Single

        if not self.steps:
            return replace(self, features=(self.features[i],), steps=(Single(0),), step_names=None)
        return replace(self, steps=(*self.steps, Single(i)), step_names=None)

    def target_as_features(self) -> View:
        """The same rows, with y in the place of X: what a target's transformer is fitted on."""
        return View(self.dataset, self.target)

    def over(self, dataset: Dataset) -> View:
        """The same roles over rows that are not those of the fit: cross-fitted steps take them as they take any."""
        from parquetry.through import Through, for_other_rows

        steps = (Through(for_other_rows(s.transformer)) if isinstance(s, Through) else s for s in self.steps)
        return replace(self, dataset=dataset, steps=tuple(steps))

    def cached(self, prepare: Prepare = float_arrays) -> View:
        """The same rows for a fit of many passes: read once, then from the block cache.

        Reductions over it get a :class:`~parquetry.block_cache.CachedBatch`.
        """
        return replace(self, prepare=prepare)

    def batch(self, table: pa.Table, rows: npt.NDArray[np.int64], block: Block) -> Batch | None:
        """Its own of the rows that were read; None where there is none."""
        mask = combined_mask(self.row_filters, block.name, block.row_group, block.num_rows)
        if mask is not None:
            chosen = mask[rows]
            if not chosen.all():
                table, rows = table.filter(pa.array(chosen)), rows[chosen]
        return Batch(table, rows, block, self) if len(rows) else None

    @cached_property
    def cache_key(self) -> CacheKey:
        """What tells this view from others in the block cache."""
        return CacheKey.of(self)

    def head(self, n: int = 64) -> Any:
        """X of the first rows, read in this process: a frame where it has names, else an array."""
        for batch in self.head_batches(n):
            return batch.named_X
        raise UnknownColumn("The view has no rows.")

    def head_batches(self, n: int) -> Any:
        """Batches of about ``n`` rows, read in this process."""
        reader = self.dataset.select(self.columns).reader(batch_rows=n)
        for block in self.dataset.blocks:
            for table, rows in reader.read(block):
                yield Batch(table.slice(0, n), rows[:n], block, self)

    @cached_property
    def row_bytes(self) -> float:
        """About how many bytes a row of X takes: of a sparse X, as the first rows show it."""
        if self.steps:
            for batch in self.head_batches(_SAMPLE):
                x = batch.X
                if hasattr(x, "tocsr"):
                    return 8.0 + _ENTRY_BYTES * int(x.nnz) / int(x.shape[0])
                break
        return 8.0 * self.width

    @cached_property
    def width(self) -> int:
        """How many columns X has."""
        if not self.steps:
            return len(self.features)
        shape = np.shape(self.head(2))
        return int(shape[1]) if len(shape) > 1 else 1

    @cached_property
    def batch_rows(self) -> int | None:
        """The most rows that a batch may have to stay within ``WIDE_BYTES``; None where no step widens X.

        From the first rows alone, and so the same on every engine.
        """
        if not self.steps:
            return None
        from parquetry.through import widest_row

        try:
            widest = widest_row(self.steps, next(iter(self.head_batches(64))).stored)
        except Exception:  # noqa: BLE001 (a step that fails is told by the worker's typed error, with its trace)
            return None
        rows = int(WIDE_BYTES / max(1.0, widest))
        return max(BATCH_MULTIPLE, rows // BATCH_MULTIPLE * BATCH_MULTIPLE)


def _place(block: Block, rows: npt.NDArray[np.int64], row: int) -> str:
    """A row's place in its file, in words."""
    return f"{block.path}, row group {block.row_group}, row {int(rows[row])}"


class Batch:
    """Some rows of one block, as a View shows them."""

    def __init__(self, table: pa.Table, rows: npt.NDArray[np.int64], block: Block, view: View) -> None:
        self.table, self.rows, self.block, self.view = table, rows, block, view

    @property
    def num_rows(self) -> int:
        """Rows in the batch; at least one."""
        return int(self.table.num_rows)

    @cached_property
    def stored(self) -> Columns:
        """The feature columns before any step."""
        # Not a method of the batch: in a circle of references its rows would stay until the collector comes by.
        return Columns(self.table.select(list(self.view.features)), partial(_place, self.block, self.rows))

    @cached_property
    def X(self) -> Any:  # noqa: N802 (scikit-learn's name)
        """Features after all steps: Columns where there is none, else what the last step gave."""
        x: Any = self.stored
        if not self.view.steps:
            return x
        from parquetry.through import reading

        try:
            with reading(self):
                for step in self.view.steps:
                    x = step(x)
        except ValueError as error:
            from parquetry.foundation.positions import placed

            raise placed(error, self) from error
        return x

    @cached_property
    def matrix(self) -> Any:
        """X as a float64 array or a SciPy sparse matrix, shape ``(n_rows, n_features)``."""
        from parquetry.through import as_matrix

        return as_matrix(self.X)

    @cached_property
    def floats(self) -> list[FloatArray]:
        """X as one float64 array a column."""
        if isinstance(self.X, Columns):
            return self.X.floats
        matrix = self.matrix
        dense = matrix.toarray() if hasattr(matrix, "toarray") else matrix
        return list(np.asarray(dense, dtype=np.float64).T)

    @property
    def named_X(self) -> Any:  # noqa: N802
        """X as scikit-learn's own ``fit`` would get it: a frame where it has names."""
        from parquetry.through import as_given

        return as_given(self.X)

    @cached_property
    def y(self) -> Any:
        """The target in its own type: shape ``(n_rows,)``, or ``(n_rows, n_targets)``."""
        columns = [self.table.column(name).to_pandas().to_numpy() for name in self.view.target]
        y = columns[0] if len(columns) == 1 else np.column_stack(columns)
        return y if self.view.target_step is None else self.view.target_step(y)

    @cached_property
    def y_floats(self) -> list[FloatArray]:
        """The target as one float64 array a target column."""
        if self.view.target_step is None:
            return [float_column(self.table.column(name)) for name in self.view.target]
        y = np.asarray(self.y, dtype=np.float64)
        return [y] if y.ndim == 1 else list(y.T)

    @cached_property
    def weights(self) -> FloatArray | None:
        """Sample weights of shape ``(n_rows,)``, or None."""
        name, step = self.view.sample_weight, self.view.weight_step
        weights = None if name is None else float_column(self.table.column(name))
        return weights if step is None else step(self, weights)
