"""Types: columns become whole numbers, numbers, texts, truth values, dates or timestamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from parquetry.foundation.cleaning.parsing import ISO, Layout, parsed
from parquetry.foundation.cleaning.step import (
    Context,
    Mask,
    Step,
    differs,
    is_text,
    mask_of,
    missing_in,
    nulled,
    present,
    replaced,
    unknown,
)
from parquetry.view import is_numeric

TYPES = {
    "integer": pa.int64(),
    "number": pa.float64(),
    "text": pa.string(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
}
TRUE, FALSE = ("true", "t", "yes", "y", "1"), ("false", "f", "no", "n", "0")
_WHOLE = r"^[+-]?[0-9]{1,18}(\.0*)?$"
_LONG = r"^[+-]?[0-9]{19,}$"
_NUMBER = r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
Converted = tuple[pa.Array, Mask]


class Types(Step):
    """Columns get other types; a value that has none in the new one fails.

    Blanks around a text do not count, and a text of blanks alone is a missing value. Whole
    numbers may end in ``.0``; 2.5 is none. Truth values are true/false, t/f, yes/no, y/n, 1/0 in
    any case. Dates are ISO (``2026-01-31``; timestamps may add ``T12:30:00``): other formats are
    the ``dates`` step's, thousands marks, currencies and units the ``numbers`` step's. Durations
    and times of the day become seconds (or, times, text): no table can hold them as they are.

    Parameters
    ----------
    columns : dict
        Column: ``integer``, ``number``, ``text``, ``boolean``, ``date`` or ``timestamp``.
    on_failure : {"fail", "missing"}, default "fail"
        What cannot be converted raises BadValue, or becomes null and is counted as ``failed``.
    """

    kind: ClassVar[str] = "types"
    columns: dict[str, Literal["integer", "number", "text", "boolean", "date", "timestamp"]] = Field(min_length=1)
    on_failure: Literal["fail", "missing"] = "fail"

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(tuple(self.columns), schema)
        for name in present(tuple(self.columns), schema):
            kind = schema.field(name).type
            if _way(kind, self.columns[name]) is None:
                yield f"column {name!r} is {kind}, which cannot become {self.columns[name]}"

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return tuple(self.columns)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name, to in self.columns.items():
            column = context.column(table, name)
            way = _way(column.type, to)
            if way is None:
                continue
            new, failed = way(column)
            settle_failures(context, name, column, failed, self.on_failure, f"no {to}")
            if new.type != column.type:
                context.changed(name, ~missing_in(column))
            else:
                context.changed(name, differs(column, new))
            table = replaced(table, name, new)
        return table


def settle_failures(context: Context, name: str, column: pa.Array, failed: Mask, policy: str, what: str) -> None:
    """Raise for the first value that failed, or count them all."""
    if failed.any() and policy == "fail":
        context.refuse(name, column, failed, what, "Mend the value, or set on_failure: missing.")
    context.changed(name, failed, "failed")


def _way(kind: pa.DataType, to: str) -> Callable[[pa.Array], Converted] | None:
    """How a column of a type is converted; None where it is not."""
    if is_text(kind):
        return _FROM_TEXT[to]
    temporal = pa.types.is_date(kind) or pa.types.is_timestamp(kind)
    if pa.types.is_time(kind) or pa.types.is_duration(kind):
        return _spans(kind).get(to)
    if to == "text":
        return _whole_cast(pa.string()) if is_numeric(kind) or temporal else None
    if to in ("date", "timestamp"):
        target = pa.timestamp("us", tz="UTC") if to == "timestamp" and getattr(kind, "tz", None) else TYPES[to]
        return _whole_cast(target) if temporal else None
    if not is_numeric(kind):
        return None
    return {"integer": _to_integer, "number": _whole_cast(pa.float64()), "boolean": _to_boolean}[to]


def _whole_cast(to: pa.DataType) -> Callable[[pa.Array], Converted]:
    """A cast that no value fails."""

    def cast(column: pa.Array) -> Converted:
        if pa.types.is_boolean(column.type) and not pa.types.is_string(to):
            column = column.cast(pa.uint8())
        if pa.types.is_string(to):
            column = nulled(column, missing_in(column))  # NaN is no text
        elif pa.types.is_decimal(column.type):
            column = column.cast(pa.string())  # by its digits: Arrow's own cast is off in the last bit
        return column.cast(to, safe=False), np.zeros(len(column), dtype=np.bool_)

    return cast


def _spans(kind: pa.DataType) -> dict[str, Callable[[pa.Array], Converted]]:
    """How a time of day or a duration is converted: by its seconds."""
    a_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[kind.unit]

    def counted(column: pa.Array) -> pa.Array:
        return (column.cast(pa.int32()) if pa.types.is_time32(kind) else column).cast(pa.int64())

    def number(column: pa.Array) -> Converted:
        values = pc.divide(counted(column).cast(pa.float64(), safe=False), float(a_second))
        return values, np.zeros(len(column), dtype=np.bool_)

    def integer(column: pa.Array) -> Converted:
        count = counted(column)
        seconds = pc.divide(count, a_second)
        whole = mask_of(pc.equal(pc.multiply(seconds, a_second), count))
        return nulled(seconds, ~whole), ~whole & mask_of(count.is_valid())

    ways: dict[str, Callable[[pa.Array], Converted]] = {"number": number, "integer": integer}
    if pa.types.is_time(kind):
        ways["text"] = _whole_cast(pa.string())
    return ways


def _to_integer(column: pa.Array) -> Converted:
    if not (pa.types.is_floating(column.type) or pa.types.is_decimal(column.type)):
        return _whole_cast(pa.int64())(column)
    missing = missing_in(column)
    values = nulled(column, missing)
    whole = mask_of(pc.equal(pc.floor(values), values))
    # 2**63 itself is a float, and one too many.
    whole &= mask_of(pc.less(pc.abs(values.cast(pa.float64())), 2.0**63))
    return nulled(values, ~whole).cast(pa.int64(), safe=False), ~whole & ~missing


def _to_boolean(column: pa.Array) -> Converted:
    if pa.types.is_boolean(column.type):
        return column, np.zeros(len(column), dtype=np.bool_)
    values, missing = column.cast(pa.float64(), safe=False), missing_in(column)
    known = mask_of(pc.or_(pc.equal(values, 0.0), pc.equal(values, 1.0)))
    return nulled(pc.equal(values, 1.0), ~known), ~known & ~missing


def trimmed(column: pa.Array) -> pa.Array:
    """A text without blanks around it; of blanks alone, null."""
    text = pc.utf8_trim_whitespace(column)
    return nulled(text, mask_of(pc.equal(text, "")))


def _text_to_text(column: pa.Array) -> Converted:
    return column, np.zeros(len(column), dtype=np.bool_)


def _text_to_integer(column: pa.Array) -> Converted:
    text = trimmed(column)
    short = mask_of(pc.match_substring_regex(text, _WHOLE))
    plain = pc.replace_substring_regex(nulled(text, ~short), r"^\+|\.0*$", "")
    found, failed = plain.cast(pa.int64()), ~short & mask_of(text.is_valid())
    long = failed & mask_of(pc.match_substring_regex(text, _LONG))
    if long.any():
        # Of 19 digits only some fit 64 bits: few values, looked at one by one.
        numbers = [int(t) for t in text.filter(pa.array(long)).to_pylist()]
        fitting = [n if -(2**63) <= n < 2**63 else None for n in numbers]
        found = pc.replace_with_mask(found, pa.array(long), pa.array(fitting, pa.int64()))
        failed = failed & mask_of(found.is_null())
    return found, failed


def _text_to_number(column: pa.Array) -> Converted:
    return numbers_in(trimmed(column))


def numbers_in(text: pa.Array) -> Converted:
    """Plain numbers (a point, no marks) as float64; what is none, or too large for a float, fails."""
    like = mask_of(pc.match_substring_regex(text, _NUMBER))
    found = nulled(text, ~like).cast(pa.float64())
    like &= mask_of(pc.is_finite(found))
    return nulled(found, ~like), ~like & mask_of(text.is_valid())


def _text_to_boolean(column: pa.Array) -> Converted:
    text = pc.utf8_lower(trimmed(column))
    yes, no = (mask_of(pc.is_in(text, value_set=pa.array(words))) for words in (TRUE, FALSE))
    return nulled(pa.array(yes), ~(yes | no)), ~(yes | no) & mask_of(text.is_valid())


def _text_to_date(column: pa.Array) -> Converted:
    text = trimmed(column)
    found = parsed(text, Layout.of("%Y-%m-%d"))
    return found.cast(pa.date32()), mask_of(found.is_null()) & mask_of(text.is_valid())


def _text_to_timestamp(column: pa.Array) -> Converted:
    text = trimmed(column)
    found = parsed(text, ISO)
    return found, mask_of(found.is_null()) & mask_of(text.is_valid())


_FROM_TEXT: dict[str, Callable[[pa.Array], Converted]] = {
    "text": _text_to_text,
    "integer": _text_to_integer,
    "number": _text_to_number,
    "boolean": _text_to_boolean,
    "date": _text_to_date,
    "timestamp": _text_to_timestamp,
}
