"""What a cleaning step is: its parameters, what it learns, and what it does to some rows.

Steps work on Arrow tables of a few rows: the same function over the same rows on every engine, so
the same values to the last bit. A step never looks at other rows than those it is given; what it
must know of all rows it learns first, by Reductions, or gets as a patch (:mod:`.keyed`).
"""

from __future__ import annotations

import traceback
from abc import abstractmethod
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict

from parquetry.dataset import Block
from parquetry.errors import BadValue, ParquetryError, TaskFailed, did_you_mean
from parquetry.fitting import Asking
from parquetry.view import View, is_numeric

Mask = npt.NDArray[np.bool_]
Learned = dict[str, Any]

ROWS_A_BLOCK = 2**40
"""Row numbers count so many a block: they are unique and in order without counting any rows."""
_TRACE_LINES = 8


@dataclass
class Context:
    """What a step is told about the rows that it works on, and what it tells of them.

    Parameters
    ----------
    learned : dict
        What the step has learned.
    num_rows : int
    block : Block or None, default None
        Where the rows are from; None for a table that only tells a schema.
    numbers : ndarray of int64, shape (num_rows,), default None
        The rows' own numbers (:func:`parquetry.foundation.cleaning.keyed.row_numbers`).
    patch : pyarrow.Table or None, default None
        What a keyed step has found for the rows of this block.

    Attributes
    ----------
    counts : Counter
        By ``(what, column)``: ``"cells"`` that were changed, ``"failed"``, ``"unseen"`` …
    keep : Mask or None
        Which rows stay; None for all.
    touched : Mask
        Which rows had a cell changed.
    at : str or None
        The column that the step works on, for errors.
    """

    learned: Learned
    num_rows: int
    block: Block | None = None
    numbers: Any = None
    patch: pa.Table | None = None
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    keep: Mask | None = None
    at: str | None = None

    def __post_init__(self) -> None:
        self.touched = np.zeros(self.num_rows, dtype=np.bool_)

    def column(self, table: pa.Table, name: str) -> pa.Array:
        """A column as one array; errors from here on name it."""
        self.at = name
        return array_of(table, name)

    def changed(self, name: str, mask: Mask, what: str = "cells") -> None:
        """Take note of changed cells (or of failed, unseen … ones) of a column."""
        self.counts[what, name] += int(np.count_nonzero(mask))
        if what == "cells":
            self.touched |= mask

    def refuse(self, name: str, column: Any, mask: Mask, what: str, fix: str) -> None:
        """Raise BadValue for the first row where the mask is true."""
        found = int(np.argmax(mask))
        where = "" if self.block is None else f", {self._place(found)}"
        raise BadValue(
            f"Column {name!r} holds {column[found].as_py()!r}, which is {what}{where}.",
            why="The step says that nothing may fail.",
            fix=fix,
        )

    def _place(self, row: int) -> str:
        position = int(self.numbers[row]) & (ROWS_A_BLOCK - 1)
        return f"in {cast(Block, self.block).where}, row {position}"


@contextmanager
def step_errors(step: str, block: Block | None = None, context: Context | None = None) -> Iterator[None]:
    """Every error within is a typed one that names the step, and the column and the file where they are known.

    Parameters
    ----------
    step : str
        As :func:`called` has it.
    block : Block or None, default None
    context : Context or None, default None
    """
    try:
        yield
    except ParquetryError as error:
        if error.fact.startswith("step "):
            raise
        fact = error.fact
        if block is not None and context is not None and block.path not in fact:
            fact = f"{fact.rstrip('.')}, in {block.where}."
        raise type(error)(f"{step}: {fact}", why=error.why, fix=error.fix) from error
    except Exception as error:
        column = "" if context is None or context.at is None else f", in column {context.at!r}"
        where = "" if block is None else f", in {block.where}"
        reason = str(error).strip().splitlines()
        raise TaskFailed(
            f"{step}: {type(error).__name__}: {reason[0] if reason else ''}{column}{where}",
            why="The step met what it was not made for.",
            fix="The traceback ends:\n" + "\n".join(traceback.format_exc().strip().splitlines()[-_TRACE_LINES:]),
        ) from error


def called(number: int, kind: str) -> str:
    """How errors name a step, by its place in the recipe (from 0)."""
    return f"step {number + 1} ({kind})"


class Step(BaseModel):
    """One step of a recipe; a subclass is one technique."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    kind: ClassVar[str] = ""

    @property
    def learns(self) -> bool:
        """Whether it must see all rows before it can work."""
        return False

    @property
    def drops(self) -> bool:
        """Whether it may drop rows."""
        return False

    @property
    def keyed(self) -> bool:
        """Whether it looks at rows together that may lie anywhere, by their keys."""
        return False

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        """What is wrong with it for rows of a schema; nothing if all is well."""
        yield from ()

    def settled(self, schema: pa.Schema) -> Step:
        """The same step with every column named that it works on."""
        return self

    def remembered(self, schema: pa.Schema) -> Step:
        """The step as a learned recipe keeps it: settled, so that other columns of new data are left alone."""
        return self.settled(schema)

    def learns_from(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns whose values it learns from."""
        return ()

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        """The columns that it may change; None where it changes which there are."""
        return None

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns that it needs to work."""
        return self.touches(schema) or ()

    def narrowed(self, names: Collection[str]) -> Step:
        """The same step where only some columns are of interest."""
        return self

    def placeholder(self, schema: pa.Schema) -> Learned:
        """Stands for what is not learned yet, where only types matter."""
        return {}

    def learn(self, schema: pa.Schema) -> Asking:
        """Ask for passes over the columns it learns from; gives what was learned."""
        yield from ()
        return {}

    @abstractmethod
    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        """The rows after the step, in the same number and order (see ``Context.keep``)."""

    def schema_after(self, schema: pa.Schema, learned: Learned | None = None) -> pa.Schema:
        """The schema that the step makes of another."""
        known = self.placeholder(schema) if learned is None else learned
        table: pa.Table = self.apply(schema.empty_table(), Context(known, 0))
        return table.schema


class ColumnStep(Step):
    """A step for some columns, or (``columns`` left out) for all that it fits.

    Parameters
    ----------
    columns : list of str, default None
        None is all columns of the data that the recipe is learned on; new data must have them too.
    """

    columns: tuple[str, ...] | None = None
    wanted: ClassVar[str] = "any"

    def fits(self, kind: pa.DataType) -> bool:
        """Whether the step works on columns of this type."""
        return True

    def chosen(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns it works on."""
        if self.columns is not None:
            return self.columns
        return tuple(f.name for f in schema if self.fits(f.type))

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(self.chosen(schema), schema)
        yield from twice(self.chosen(schema))
        for name in present(self.chosen(schema), schema):
            if not self.fits(schema.field(name).type):
                yield f"column {name!r} is {schema.field(name).type}, not {self.wanted}"

    def settled(self, schema: pa.Schema) -> Step:
        return self.model_copy(update={"columns": self.chosen(schema)})

    def learns_from(self, schema: pa.Schema) -> tuple[str, ...]:
        return self.chosen(schema) if self.learns else ()

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return self.chosen(schema)

    def narrowed(self, names: Collection[str]) -> Step:
        # A patch knows its columns by their places.
        if self.columns is None or self.drops or self.keyed:
            return self
        return self.model_copy(update={"columns": tuple(c for c in self.columns if c in names)})


def unknown(names: Sequence[str], schema: pa.Schema) -> Iterator[str]:
    """A problem for each name that is no column."""
    for name in names:
        if name not in schema.names:
            yield f"there is no column {name!r}. {did_you_mean(str(name), schema.names)}".strip()


def twice(names: Sequence[str]) -> Iterator[str]:
    """A problem for each name that is there more than once."""
    for name, count in Counter(names).items():
        if count > 1:
            yield f"column {name!r} is named {count} times"


def taken(names: Sequence[str], schema: pa.Schema) -> Iterator[str]:
    """A problem for each column that is to be added and is there already."""
    for name in names:
        if name in schema.names:
            yield f"column {name!r}, which the step adds, is there already; rename that one first"


def present(names: Sequence[str], schema: pa.Schema) -> list[str]:
    """The names that are columns."""
    return [n for n in names if n in schema.names]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_real(kind: pa.DataType) -> bool:
    """Whether a column holds numbers that may be averaged without losing exactness by surprise."""
    return is_numeric(kind) and not (pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def array_of(table: pa.Table, name: str) -> pa.Array:
    """A column as one array."""
    column = table.column(name)
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)


def missing_in(column: pa.Array) -> Mask:
    """Where a column has no value: null, or NaN."""
    if not column.null_count and not pa.types.is_floating(column.type):
        return np.zeros(len(column), dtype=np.bool_)
    return mask_of(pc.is_null(column, nan_is_null=pa.types.is_floating(column.type)))


def mask_of(flags: Any) -> Mask:
    """Arrow booleans as a mask; null is false."""
    filled = flags.fill_null(False) if flags.null_count else flags  # noqa: FBT003 (the value)
    found: Mask = filled.to_numpy(zero_copy_only=False)
    return found


def replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    """The table with a column in place of the one of that name, or behind all others."""
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), name, column)
    return table.append_column(name, column)


def nulled(column: pa.Array, mask: Mask) -> pa.Array:
    """The column with null where the mask is true."""
    return pc.if_else(pa.array(mask), pa.scalar(None, column.type), column) if mask.any() else column


def differs(old: pa.Array, new: pa.Array) -> Mask:
    """Where two columns of one type differ; null and null do not."""
    same = mask_of(pc.equal(old, new))
    return ~(same | (mask_of(old.is_null()) & mask_of(new.is_null())))


def values_view(columns: Sequence[str]) -> View:
    """The columns that a Reduction works on while a step learns; its rows are given later."""
    return View(cast(Any, None), tuple(columns))
