"""Numbers out of texts as people write them, and units converted."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parquetry.foundation.cleaning.casting import Converted, numbers_in, settle_failures, trimmed
from parquetry.foundation.cleaning.step import (
    ColumnStep,
    Context,
    Step,
    is_real,
    is_text,
    mask_of,
    missing_in,
    nulled,
    present,
    replaced,
    taken,
    unknown,
)

_BLANKS = "[ \u00a0\u2009\u202f]"  # a thousands mark " " stands for the narrow and fixed ones too
_MINUS = "[-\u2212\u2013]"


class Numbers(ColumnStep):
    """Texts become numbers: thousands marks, currencies, percent, units, ``(12)`` for minus twelve.

    The text must be such a number as a whole: "1,23" with thousands marks is none, and fails.
    A text of blanks alone is a missing value.

    Parameters
    ----------
    columns : list of str
    decimal : {".", ","}, default "."
    thousands : {"", ",", ".", " ", "'"}, default ""
        Marks may stand between groups of three digits, and nowhere else.
    currency : bool or list of str, default False
        True allows any currency sign before or behind the number; a list, these signs or words.
    percent : bool, default False
        Allow "%" behind it: "5 %" is 0.05.
    units : dict, default {}
        Unit: what one of it is in the unit that is wanted, as ``{kg: 1, g: 0.001}``.
    without_unit : float, default None
        The same for a number without a unit, where ``units`` are named; None lets it fail.
    on_failure : {"fail", "missing"}, default "fail"
        What cannot be read raises BadValue, or becomes null and is counted as ``failed``.
    """

    kind: ClassVar[str] = "numbers"
    wanted: ClassVar[str] = "text"
    columns: tuple[str, ...] = Field(min_length=1)
    decimal: Literal[".", ","] = "."
    thousands: Literal["", ",", ".", " ", "'"] = ""
    currency: bool | tuple[str, ...] = False
    percent: bool = False
    units: dict[str, float] = Field(default={})
    without_unit: float | None = None
    on_failure: Literal["fail", "missing"] = "fail"

    @model_validator(mode="after")
    def _sensible(self) -> Numbers:
        if self.decimal == self.thousands:
            raise ValueError("decimal and thousands are the same mark")
        if self.without_unit is not None and not self.units:
            raise ValueError("without_unit belongs to units")
        return self

    def fits(self, kind: pa.DataType) -> bool:
        return is_text(kind)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.columns:
            column = context.column(table, name)
            new, failed = self._read(column)
            settle_failures(context, name, column, failed, self.on_failure, "no such number")
            context.changed(name, mask_of(column.is_valid()))
            table = replaced(table, name, new)
        return table

    def _read(self, column: pa.Array) -> Converted:
        text = trimmed(column)
        parts = pc.extract_regex(text, self._pattern)
        plain = pc.replace_substring_regex(parts.field("number"), self._mark, "") if self.thousands else None
        plain = parts.field("number") if plain is None else plain
        digits = pc.replace_substring(plain, ",", ".") if self.decimal == "," else plain
        matched = mask_of(parts.is_valid())
        found, _ = numbers_in(nulled(digits, ~matched))
        values = found.fill_null(np.nan).to_numpy(zero_copy_only=False)
        minus = [mask_of(pc.match_substring_regex(parts.field(f), _MINUS)) for f in ("sign", "inner")]
        opened, closed = (mask_of(pc.equal(parts.field(f), mark)) for f, mark in (("open", "("), ("close", ")")))
        signs = [mask_of(pc.not_equal(parts.field(f), "")) for f in ("sign", "inner")]
        good = matched & (opened == closed) & ((signs[0].astype(int) + signs[1] + opened) < 2)
        values = np.where(minus[0] | minus[1] | opened, -values, values)
        values = self._scaled(values, pc.utf8_trim_whitespace(parts.field("tail")))
        good &= np.isfinite(values)
        return pa.array(np.where(good, values, 0.0), mask=~good), ~good & mask_of(text.is_valid())

    def _scaled(self, values: Any, tails: pa.Array) -> Any:
        """By the unit behind the number; NaN where there is none that is known."""
        bare = mask_of(pc.equal(tails, ""))
        known = {"": bare}
        if self.currency:
            known["currency"] = mask_of(pc.match_substring_regex(tails, f"^(?:{self._currency})$"))
        plain = np.logical_or.reduce(list(known.values()))
        factor = np.where(plain, 1.0 if not self.units else np.nan, np.nan)
        if self.units and self.without_unit is not None:
            factor = np.where(plain, self.without_unit, factor)
        for unit, size in self.units.items():
            factor = np.where(mask_of(pc.equal(tails, unit)), size, factor)
        scaled = values * factor
        # A hundredth is no float: dividing is exact where multiplying by it is not.
        return np.where(mask_of(pc.equal(tails, "%")), values / 100, scaled) if self.percent else scaled

    @property
    def _currency(self) -> str:
        if self.currency is True:
            return r"\p{Sc}"
        return "|".join(re.escape(word) for word in self.currency or ())

    @property
    def _mark(self) -> str:
        return _BLANKS if self.thousands == " " else re.escape(self.thousands)

    @property
    def _pattern(self) -> str:
        whole, point = "[0-9]+", re.escape(self.decimal)
        if self.thousands:
            whole = f"[0-9]{{1,3}}(?:{self._mark}[0-9]{{3}})+|[0-9]+"
        number = rf"(?:{whole})(?:{point}[0-9]*)?(?:[eE][+-]?[0-9]+)?|{point}[0-9]+"
        money = rf"(?:{self._currency})?" if self.currency else ""
        sign = rf"(?:[+]|{_MINUS})?"
        return (
            rf"^(?P<open>\(?)\s*(?P<sign>{sign})\s*{money}\s*(?P<inner>{sign})\s*(?P<number>{number})"
            r"(?P<tail>[^0-9()]*[^()]*)(?P<close>\)?)$"
        )


class Conversion(BaseModel):
    """``value * factor + offset``.

    Parameters
    ----------
    factor : float, default 1
    offset : float, default 0
    to : str, default None
        The name of a column to add; None replaces the values.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    factor: float = Field(1.0, allow_inf_nan=False)
    offset: float = Field(0.0, allow_inf_nan=False)
    to: str | None = None


class Units(Step):
    """Numbers in another unit, as floats: ``{temperature: {factor: 1.8, offset: 32}}``.

    Parameters
    ----------
    columns : dict
        Column: factor, offset, to (see :class:`Conversion`).
    """

    kind: ClassVar[str] = "units"
    columns: dict[str, Conversion] = Field(min_length=1)

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from unknown(tuple(self.columns), schema)
        for name in present(tuple(self.columns), schema):
            if not is_real(schema.field(name).type):
                yield f"column {name!r} is {schema.field(name).type}, not numbers (cast it first)"
        yield from taken([c.to for c in self.columns.values() if c.to is not None], schema)

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return tuple(self.columns)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name, unit in self.columns.items():
            column = context.column(table, name)
            values = column.cast(pa.float64(), safe=False)
            new = pc.add(pc.multiply(values, unit.factor), unit.offset)
            if unit.to is None:
                context.changed(name, ~missing_in(column))
            table = replaced(table, unit.to or name, new)
        return table
