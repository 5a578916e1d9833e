"""Steps that look at the rows of one key together, wherever they lie: duplicates, forward fill.

Only what decides travels: two 64-bit hashes of the keys, the order as whole numbers (or text), the
row's number, and the values that may be filled. The engine's own windows find which rows to drop
or what to fill in; that comes back as a small table in order of the row's number, the patch, and
the rows themselves never move. So they stay in order, and are the same on every engine.

Keys are compared by 128 bits: SplitMix64 over numbers (one column of numbers is told apart
exactly), SipHash with two keys over texts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, field_validator, model_serializer, model_validator

from parquetry.dataset import Block
from parquetry.foundation.cleaning.step import (
    ROWS_A_BLOCK,
    ColumnStep,
    Context,
    Mask,
    Step,
    array_of,
    is_text,
    missing_in,
    nulled,
    present,
    twice,
    unknown,
)
from parquetry.foundation.radix import to_keys
from parquetry.relational_windows import ROW, filled_rows, later_rows
from parquetry.rows import GOLDEN, finalized

KEYS = ("key1", "key2")
_SIP_KEYS = ("parquetry--key-1", "parquetry--key-2")  # of 16 bytes
_STARTS = (np.uint64(0x243F6A8885A308D3), np.uint64(0x13198A2E03707344))  # digits of pi
_NULLS = (np.uint64(0xA4093822299F31D0), np.uint64(0x082EFA98EC4E6C89))
_TOP_BIT = np.uint64(1 << 63)
_DIGITS = 18  # of a decimal that fits 64 bits
_COMPLEMENT = bytes(range(255, -1, -1))
Hashes = npt.NDArray[np.uint64]


class Order(BaseModel):
    """A column that gives an order, written ``when`` or ``{column: when, descending: true}``.

    Parameters
    ----------
    column : str
    descending : bool, default False
        The largest first. Rows without a value come before all others either way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str
    descending: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, given: Any) -> Any:
        return {"column": given} if isinstance(given, str) else given

    @model_serializer
    def _written(self) -> str | dict[str, Any]:
        return {"column": self.column, "descending": True} if self.descending else self.column


class KeyedStep(Step):
    """A step over rows of the same keys, in an order.

    Parameters
    ----------
    by : list of str, or one
    order : list of columns, or one, default ()
        Each a name, or ``{column: name, descending: true}``. Rows of equal order stand as in the
        data; those without an order come before all others.
    missing_keys : {"fail", "keep", "equal"}, default "fail"
        What becomes of a row without one of its keys.
    """

    by: tuple[str, ...] = ()
    order: tuple[Order, ...] = ()
    missing_keys: Literal["fail", "keep", "equal"] = "fail"

    @field_validator("by", "order", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        return (given,) if isinstance(given, (str, dict)) else given

    @property
    def ordered(self) -> tuple[str, ...]:
        """The columns that give the order."""
        return tuple(o.column for o in self.order)

    def values(self, schema: pa.Schema) -> tuple[str, ...]:
        """The columns whose values are filled."""
        return ()

    @abstractmethod
    def window(self, frame: Any, order: Sequence[str], values: Sequence[str]) -> Any:
        """The patch as a frame of the engine's own, in no order."""

    def key_problems(self, schema: pa.Schema) -> Iterator[str]:
        """What is wrong with keys and order."""
        yield from unknown((*self.by, *self.ordered), schema)
        yield from twice((*self.by, *self.ordered))
        for name in present(self.by, schema):
            if pa.types.is_nested(schema.field(name).type):
                yield f"column {name!r} is {schema.field(name).type}, which is no key; name the columns with by"
        for name in present(self.ordered, schema):
            kind = schema.field(name).type
            long = pa.types.is_decimal(kind) and kind.precision > _DIGITS
            if pa.types.is_nested(kind) or pa.types.is_binary(kind) or long:
                yield f"column {name!r} is {kind}, which gives no order; cast it first"


class KeyedColumns(ColumnStep, KeyedStep):
    """A step that fills some columns from rows of the same keys."""

    @property
    def direction(self) -> Literal["forward", "backward"]:
        """Where the values come from."""
        return "forward"

    @property
    def most(self) -> int | None:
        """How many rows on a value goes at most."""
        return None

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from super().problems(schema)
        yield from self.key_problems(schema)

    def values(self, schema: pa.Schema) -> tuple[str, ...]:
        return self.chosen(schema)

    def window(self, frame: Any, order: Sequence[str], values: Sequence[str]) -> Any:
        return filled_rows(frame, KEYS, order, values, forward=self.direction == "forward", limit=self.most)


class Duplicates(KeyedStep):
    """Of rows with the same keys one is kept, or none; or of rows that are wholly the same.

    Parameters
    ----------
    by : list of str, default None
        None compares whole rows, missing values being equal.
    order : list of columns, default ()
        See :class:`KeyedStep`; without it the order is that of the data.
    keep : {"first", "last", "none"}, default "first"
    missing_keys : {"fail", "keep", "equal"}, default "fail"
        A row without a key fails, is no duplicate, or is one of those without that key.
    """

    kind = "duplicates"
    by: tuple[str, ...] | None = None  # type: ignore[assignment]
    keep: Literal["first", "last", "none"] = "first"

    @property
    def drops(self) -> bool:
        return True

    @property
    def keyed(self) -> bool:
        return True

    def settled(self, schema: pa.Schema) -> Step:
        if self.by is not None:
            return self
        return self.model_copy(update={"by": tuple(schema.names), "missing_keys": "equal"})

    def remembered(self, schema: pa.Schema) -> Step:
        return self  # whole rows of new data are compared by the columns that those have

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        whole = self.settled(schema)
        assert isinstance(whole, Duplicates)  # noqa: S101 (for the type checker)
        if not whole.by:
            yield "by names no column"
        order = [o for o in self.order if self.by is not None or o.column not in schema.names]
        yield from whole.model_copy(update={"order": tuple(order)}).key_problems(schema)

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return ()

    def window(self, frame: Any, order: Sequence[str], values: Sequence[str]) -> Any:
        return later_rows(frame, KEYS, order, keep=self.keep)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        if context.patch is not None:
            context.keep = ~np.isin(context.numbers, context.patch.column(ROW).to_numpy())
        return table


def row_numbers(block: Block, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Unique numbers in the order of the data, by the rows' positions in their row group."""
    return rows.astype(np.int64) + np.int64(block.index * ROWS_A_BLOCK)


def patched(column: pa.Array, place: int, context: Context) -> pa.Array:
    """The column with nulls filled from the patch."""
    if context.patch is None or not context.patch.num_rows:
        return column
    found = np.searchsorted(context.numbers, context.patch.column(ROW).to_numpy())
    source = np.full(len(column), -1)
    source[found] = np.arange(len(found))
    values = context.patch.column(f"value{place}").cast(column.type).combine_chunks()
    return pc.coalesce(column, values.take(pa.array(source, mask=source < 0)))


def staged(step: KeyedStep, table: pa.Table, numbers: npt.NDArray[np.int64]) -> tuple[pa.Table, int | None]:
    """What decides about some rows, and the number of the first row that fails for want of a key."""
    keys = [array_of(table, name) for name in step.by]
    without: Mask = np.zeros(table.num_rows, dtype=np.bool_)
    for key in keys:
        without |= missing_in(key)
    columns: dict[str, Any] = {name: _hashes(keys, table.num_rows, i) for i, name in enumerate(KEYS)}
    columns[ROW] = pa.array(numbers)
    for i, order in enumerate(step.order):
        known, values = _ordered(array_of(table, order.column))
        columns[f"order{i}_known"], columns[f"order{i}"] = known, _turned(values) if order.descending else values
    for i, name in enumerate(step.values(table.schema)):
        column = array_of(table, name)
        columns[f"value{i}"] = nulled(column, missing_in(column))
    found = pa.table(columns)
    if step.missing_keys == "equal" or not without.any():
        return found, None
    if step.missing_keys == "fail":
        return found, int(numbers[np.argmax(without)])
    return found.filter(pa.array(~without)), None


def order_columns(step: KeyedStep) -> list[str]:
    """The staged columns that give the order."""
    return [name for i in range(len(step.order)) for name in (f"order{i}_known", f"order{i}")]


def _ordered(column: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Whether there is a value, and the values as whole numbers (or texts) of the same order."""
    missing = missing_in(column)
    known = pa.array((~missing).astype(np.int64))
    if is_text(column.type):
        return known, column.fill_null("")
    if pa.types.is_floating(column.type):
        values = np.where(missing, 0.0, column.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False))
        return known, pa.array((to_keys(values + 0.0) ^ _TOP_BIT).view(np.int64))
    return known, pa.array(np.where(missing, 0, _whole(column)))


def _turned(values: pa.Array) -> pa.Array:
    """Values whose order is the opposite one."""
    if not is_text(values.type):
        return pa.array(~values.to_numpy(zero_copy_only=False))
    # Text is in order of its bytes on every engine: so is its complement, if what is longer then comes first.
    encoded = values.dictionary_encode()
    turned = [v.encode().translate(_COMPLEMENT).hex() + "g" for v in encoded.dictionary.to_pylist()]
    return pa.array(turned, pa.string()).take(encoded.indices)


def _whole(column: pa.Array) -> npt.NDArray[np.int64]:
    """Whole numbers, booleans, dates and timestamps as int64, null as 0; decimals by their digits."""
    kind = column.type
    if pa.types.is_decimal(kind):
        column = column.fill_null(0)
        digits = np.frombuffer(column.buffers()[1], dtype=np.int64)  # each of 128 bits, the lower ones first
        return digits[2 * column.offset : 2 * (column.offset + len(column)) : 2].copy()
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        column = column.cast(pa.int32())
    column = column.cast(pa.int64()).fill_null(0)
    values: npt.NDArray[np.int64] = column.to_numpy(zero_copy_only=False)
    return values


def _hashes(keys: Sequence[pa.Array], rows: int, stream: int) -> pa.Array:
    """One of the two hashes of the keys, as int64."""
    total: Hashes = np.full(rows, _STARTS[stream])
    for key in keys:
        bits = _bits(key, stream)
        total ^= np.where(missing_in(key), _NULLS[stream], bits)
        total *= GOLDEN
        total = finalized(total)
    return pa.array(total.view(np.int64))


def _bits(key: pa.Array, stream: int) -> Hashes:
    kind = key.type
    if pa.types.is_floating(kind):
        values = key.cast(pa.float64()).fill_null(0.0).to_numpy(zero_copy_only=False)
        return np.asarray(values + 0.0, dtype=np.float64).view(np.uint64)  # one zero
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return _whole(key).view(np.uint64)
    from pandas.util import hash_array

    text = key if is_text(kind) or pa.types.is_binary(kind) else key.cast(pa.string())
    encoded = text.dictionary_encode()
    values = encoded.dictionary.to_numpy(zero_copy_only=False)
    hashes = hash_array(values, hash_key=_SIP_KEYS[stream], categorize=False)
    places = encoded.indices.fill_null(len(hashes)).to_numpy(zero_copy_only=False)
    found: Hashes = np.append(hashes, np.uint64(0))[places]
    return found
