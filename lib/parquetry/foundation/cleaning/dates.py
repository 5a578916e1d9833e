"""Dates and times: read by a stated format, moved to UTC, taken apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator, model_validator

from parquetry.errors import BadParameter, BadValue
from parquetry.foundation.cleaning.casting import settle_failures, trimmed
from parquetry.foundation.cleaning.parsing import ISO, ISO_ZONED, Layout, parsed
from parquetry.foundation.cleaning.step import (
    ColumnStep,
    Context,
    Mask,
    differs,
    is_text,
    mask_of,
    missing_in,
    nulled,
    replaced,
    taken,
)

_OWN = {"iso": ISO, "iso_zoned": ISO_ZONED}
_PARTS = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "day": pc.day,
    "day_of_year": pc.day_of_year,
    "hour": pc.hour,
    "minute": pc.minute,
}


class Dates(ColumnStep):
    """Texts become dates or timestamps by a stated format; day and month are never guessed.

    Parameters
    ----------
    columns : list of str
        Texts, or dates and timestamps as they are.
    format : str or list of str, default ()
        Of texts: ``iso``, ``iso_zoned`` (with ``Z`` or ``+01:00``), or ``strptime``'s directives,
        as ``%d/%m/%Y``; month and day names are English. A text that two of several formats read
        as different times fails.
    to : {"timestamp", "date"}, default "timestamp"
    timezone : str, default None
        The clock that times without a zone were read from, as ``Europe/Berlin``. They become
        UTC; a date is then the day on that clock.
    ambiguous : {"fail", "earliest", "latest"}, default "fail"
        Times that the clock showed twice, or skipped.
    parts : list, default ()
        Add ``<column>_year``, ``quarter``, ``month``, ``week`` (ISO), ``day``, ``weekday``
        (Monday is 1), ``day_of_year``, ``hour``, ``minute``: on the clock of ``timezone`` where
        it is given.
    on_failure : {"fail", "missing"}, default "fail"
        What cannot be read raises BadValue, or becomes null and is counted as ``failed``.
    """

    kind: ClassVar[str] = "dates"
    wanted: ClassVar[str] = "text, dates or timestamps"
    columns: tuple[str, ...] = Field(min_length=1)
    format: tuple[str, ...] = ()
    to: Literal["timestamp", "date"] = "timestamp"
    timezone: str | None = None
    ambiguous: Literal["fail", "earliest", "latest"] = "fail"
    parts: tuple[
        Literal["year", "quarter", "month", "week", "day", "weekday", "day_of_year", "hour", "minute"], ...
    ] = ()
    on_failure: Literal["fail", "missing"] = "fail"

    @field_validator("format", mode="before")
    @classmethod
    def _listed(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _sensible(self) -> Dates:
        try:
            zoned = {layout.zoned for layout in self.layouts}
        except BadParameter as error:
            raise ValueError(str(error).rstrip(".")) from error
        if len(zoned) > 1:
            raise ValueError("formats with a zone and without one do not go together")
        if self.timezone is not None:
            try:
                ZoneInfo(self.timezone)
            except (KeyError, ValueError, OSError) as error:
                raise ValueError(f"there is no timezone {self.timezone!r}") from error
        return self

    @property
    def layouts(self) -> tuple[Layout, ...]:
        """How texts are written."""
        return tuple(_OWN[f] if f in _OWN else Layout.of(f) for f in self.format)

    def fits(self, kind: pa.DataType) -> bool:
        return bool(is_text(kind) or pa.types.is_date32(kind) or pa.types.is_timestamp(kind))

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from super().problems(schema)
        texts = [n for n in self.columns if n in schema.names and is_text(schema.field(n).type)]
        if texts and not self.format:
            yield f"column {texts[0]!r} is text: name its format, as %d/%m/%Y; day and month are not guessed"
        yield from taken([f"{c}_{p}" for c in self.columns for p in self.parts], schema)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.columns:
            column = context.column(table, name)
            times = self._read(name, column, context) if is_text(column.type) else _timestamps(column)
            wall, instant = self._clocked(name, times)
            new = wall.cast(pa.date32(), safe=False) if self.to == "date" else instant
            context.changed(name, differs(column, new) if new.type == column.type else ~missing_in(column))
            table = replaced(table, name, new)
            for part in self.parts:
                table = table.append_column(f"{name}_{part}", _part(wall, part))
        return table

    def _read(self, name: str, column: pa.Array, context: Context) -> pa.Array:
        text = trimmed(column)
        found = pa.nulls(len(text), pa.timestamp("us"))
        twofold: Mask = np.zeros(len(text), dtype=np.bool_)
        for layout in self.layouts:
            other = parsed(text, layout)
            twofold |= mask_of(pc.not_equal(found, other))
            found = pc.coalesce(found, other)
        failed = (mask_of(found.is_null()) & mask_of(text.is_valid())) | twofold
        what = f"no date of the format {' or '.join(self.format)}"
        settle_failures(context, name, column, failed, self.on_failure, what)
        zoned = bool(self.layouts) and self.layouts[0].zoned
        return nulled(found, twofold).cast(pa.timestamp("us", tz="UTC")) if zoned else nulled(found, twofold)

    def _clocked(self, name: str, times: pa.Array) -> tuple[pa.Array, pa.Array]:
        """What the clock showed, and the instant: in UTC where that is known."""
        if times.type.tz is not None:
            zone = self.timezone or "UTC"
            return pc.local_timestamp(times.cast(pa.timestamp("us", tz=zone))), times
        if self.timezone is None:
            return times, times
        choice = "raise" if self.ambiguous == "fail" else self.ambiguous
        try:
            there = pc.assume_timezone(times, self.timezone, ambiguous=choice, nonexistent=choice)
        except pa.ArrowInvalid as error:
            raise BadValue(
                f"Column {name!r} holds a time that the clock of {self.timezone} showed twice or never.",
                why=str(error).splitlines()[0],
                fix="Set ambiguous: earliest or latest.",
            ) from error
        return times, there.cast(pa.timestamp("us", tz="UTC"))


def _timestamps(column: pa.Array) -> pa.Array:
    return column.cast(pa.timestamp("us")) if pa.types.is_date32(column.type) else column


def _part(wall: pa.Array, part: str) -> pa.Array:
    if part == "weekday":
        return pc.add(pc.day_of_week(wall), 1).cast(pa.int64())
    return _PARTS[part](wall).cast(pa.int64())
