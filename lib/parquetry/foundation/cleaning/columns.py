"""Columns renamed, chosen, left out; rows kept by a condition."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parquetry.foundation.cleaning.step import (
    Context,
    Mask,
    Step,
    is_text,
    mask_of,
    missing_in,
    present,
    twice,
    unknown,
)

_ORDERINGS = {
    "==": "equal",
    "!=": "not_equal",
    "<": "less",
    "<=": "less_equal",
    ">": "greater",
    ">=": "greater_equal",
}
_MEMBERS, _ALONE, _TEXTS = ("in", "not_in"), ("is_missing", "is_present"), ("contains", "matches")


class Rename(Step):
    """Columns get other names.

    Parameters
    ----------
    columns : dict
        Old name: new name.
    """

    kind: ClassVar[str] = "rename"
    columns: dict[str, str] = Field(min_length=1)

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(tuple(self.columns), schema)
        new = [self.columns.get(name, name) for name in schema.names]
        for name in sorted({n for n in new if new.count(n) > 1}):
            yield f"two columns would be named {name!r}"

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        return table.rename_columns([self.columns.get(name, name) for name in table.column_names])


class Select(Step):
    """Only some columns, in this order.

    Parameters
    ----------
    columns : list of str
    """

    kind: ClassVar[str] = "select"
    columns: tuple[str, ...] = Field(min_length=1)

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(self.columns, schema)
        yield from twice(self.columns)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        return table.select(list(self.columns))


class Drop(Step):
    """Some columns are left out.

    Parameters
    ----------
    columns : list of str
    """

    kind: ClassVar[str] = "drop"
    columns: tuple[str, ...] = Field(min_length=1)

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(self.columns, schema)
        if set(schema.names) <= set(self.columns):
            yield "no column would be left"

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        return table.drop_columns(list(self.columns))


class Condition(BaseModel):
    """One condition, written ``[column, op, value]``.

    Parameters
    ----------
    column : str
    op : str
        ``==``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``in``, ``not_in``, ``between`` (both ends
        included), ``contains``, ``matches`` (an RE2 expression), ``is_missing``, ``is_present``.
    value : any, default None
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    column: str
    op: Literal[
        "==", "!=", "<", "<=", ">", ">=", "in", "not_in", "between", "contains", "matches", "is_missing", "is_present"
    ]
    value: Any = None

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, given: Any) -> Any:
        if isinstance(given, (list, tuple)):
            if not 2 <= len(given) <= 3:
                raise ValueError("a condition is written [column, op, value]")
            return dict(zip(("column", "op", "value"), given, strict=False))
        return given

    @model_validator(mode="after")
    def _sensible(self) -> Condition:
        if (self.op in _ALONE) == (self.value is not None):
            raise ValueError(f"{self.op} takes {'no' if self.op in _ALONE else 'a'} value")
        if self.op in (*_MEMBERS, "between") and not isinstance(self.value, list):
            raise ValueError(f"{self.op} takes a list")
        if self.op == "between" and len(self.value) != 2:
            raise ValueError("between takes the two ends")
        if self.op in _TEXTS and not isinstance(self.value, str):
            raise ValueError(f"{self.op} takes a text")
        return self

    def holds(self, column: pa.Array) -> Mask:
        """Where it is true; of a missing value nothing is, but is_missing."""
        if self.op in _ALONE:
            missing = missing_in(column)
            return missing if self.op == "is_missing" else ~missing
        if self.op in _MEMBERS:
            found = mask_of(pc.is_in(column, value_set=_values(self.value, column.type)))
            return found if self.op == "in" else ~found & ~missing_in(column)
        if self.op == "between":
            low, high = (_value(v, column.type) for v in self.value)
            return mask_of(pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high)))
        if self.op in _TEXTS:
            search = pc.match_substring if self.op == "contains" else pc.match_substring_regex
            return mask_of(search(column, self.value))
        found = mask_of(getattr(pc, _ORDERINGS[self.op])(column, _value(self.value, column.type)))
        return found & ~missing_in(column) if self.op == "!=" else found


class Filter(Step):
    """Only the rows stay for which a condition is true, or all of several, or any.

    Parameters
    ----------
    where : list of conditions
        Each ``[column, op, value]``; see :class:`Condition`. A comparison with a missing value is
        not true.
    match : {"all", "any"}, default "all"
    """

    kind: ClassVar[str] = "filter"
    where: tuple[Condition, ...] = Field(min_length=1)
    match: Literal["all", "any"] = "all"

    @property
    def drops(self) -> bool:
        return True

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        names = [c.column for c in self.where]
        yield from unknown(names, schema)
        for condition in self.where:
            for name in present([condition.column], schema):
                kind = schema.field(name).type
                if condition.op in _TEXTS and not is_text(kind):
                    yield f"column {name!r} is {kind}, not text, which {condition.op!r} looks into"
                    continue
                try:
                    condition.holds(pa.array([], kind))
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    reason = str(error).splitlines()[0].rstrip(".")
                    yield f"column {name!r} is {kind}: {condition.op} {condition.value!r} does not fit ({reason})"

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return ()

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        return tuple(c.column for c in self.where)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        found = [condition.holds(context.column(table, condition.column)) for condition in self.where]
        context.keep = (np.logical_and if self.match == "all" else np.logical_or).reduce(found)
        return table


def _value(value: Any, kind: pa.DataType) -> pa.Scalar:
    """A value to compare with a column: in its type, or numbers among themselves."""
    if isinstance(value, bool) or pa.types.is_boolean(kind):
        if not (isinstance(value, bool) and pa.types.is_boolean(kind)):
            raise TypeError("a truth value and another one are compared")
        return pa.scalar(value)
    if isinstance(value, (int, float)):
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
            raise TypeError("a number is compared with what is none")
        # A decimal is compared by its digits: 99.99 is no float.
        return pa.scalar(Decimal(str(value)) if pa.types.is_decimal(kind) else value)
    return pa.scalar(value, kind)


def _values(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array([_value(v, kind).as_py() for v in values], kind)
