"""Date features: parts of dates and times, cyclic ones too; of a table's columns, or as a step of a pipeline."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, WrongColumnType
from parquetry.features.by_key import require_new
from parquetry.reduction import Bundle
from parquetry.relational import write_bundles

if TYPE_CHECKING:
    from parquetry.engine import Engine

DatePart = Literal[
    "year", "quarter", "month", "week", "weekday", "day", "day_of_year", "hour", "minute", "is_weekend", "days_since",
    "month_cycle", "weekday_cycle", "day_of_year_cycle", "hour_cycle",
]  # fmt: skip
_CYCLES = {"month_cycle": 12, "weekday_cycle": 7, "day_of_year_cycle": 366, "hour_cycle": 24}
_DAY = 86_400_000_000  # microseconds


def _weekday(times: Any) -> Any:
    return pc.add(pc.day_of_week(times), 1)


_WHOLE: dict[str, Callable[[Any], Any]] = {
    "year": pc.year,
    "quarter": pc.quarter,
    "month": pc.month,
    "week": pc.iso_week,
    "weekday": _weekday,
    "day": pc.day,
    "day_of_year": pc.day_of_year,
    "hour": pc.hour,
    "minute": pc.minute,
}
PARTS = (*_WHOLE, "is_weekend", "days_since", *_CYCLES)


def add_date_parts(
    data: Dataset | str | os.PathLike[str],
    columns: Sequence[str],
    *,
    parts: Sequence[DatePart] = ("year", "month", "day", "weekday"),
    since: date | str | None = None,
    timezone: str | None = None,
    to: str | os.PathLike[str],
    engine: Engine | str | None = None,
    mode: str = "fail",
) -> Dataset:
    """All rows in their order with parts of some dates or timestamps, committed as a table.

    Parameters
    ----------
    data : Dataset, path or URL
    columns : sequence of str
        Dates or timestamps.
    parts : sequence of str, default ("year", "month", "day", "weekday")
        ``year``, ``quarter``, ``month``, ``week`` (ISO), ``weekday`` (Monday is 1), ``day``,
        ``day_of_year``, ``hour``, ``minute``, ``is_weekend``, ``days_since`` (with ``since=``), and
        ``month_cycle``, ``weekday_cycle``, ``day_of_year_cycle`` and ``hour_cycle``: sine and cosine, so that
        December is beside January.
    since : date or ISO text, default None
        The day that ``days_since`` counts from; fractions are parts of a day.
    timezone : str, default None
        The clock that instants (timestamps with a zone) are read on, as ``Europe/Berlin``; None is UTC.
    to : path or URL
    engine : Engine or what ``open_engine`` takes, default None
    mode : {"fail", "append", "overwrite"}, default "fail"

    Returns
    -------
    Dataset
        With ``<column>_<part>``: int64, boolean for ``is_weekend``, float64 for ``days_since`` and for
        ``<column>_<part>_sin`` and ``_cos``; null where the date is.

    Raises
    ------
    UnknownColumn, WrongColumnType, BadParameter, OutputExists
        Before any work.
    """
    from parquetry.engine import borrowed_engine

    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    if isinstance(columns, str):
        raise BadParameter(f"columns={columns!r} is one string.", fix=f"Pass a list: columns=[{columns!r}].")
    dataset.require(columns, "date column")
    settings = _Settings.of(parts, since, timezone)
    for name in columns:
        settings.require_dates(name, dataset.full_schema.field(name).type)
    fields = [f for name in columns for f in settings.fields(name)]
    require_new([f.name for f in fields], dataset)
    output = CommittedWrite(os.fspath(to), mode)
    with borrowed_engine(engine) as running:

        def write(writer: PartWriter) -> list[Part]:
            task = _PartsTask(dataset.reader(), tuple(columns), settings, writer)
            return write_bundles(running, dataset, task, label="date-parts")

        output.run(pa.schema([*dataset.schema, *fields]), write)
    return open_dataset(os.fspath(to))


def date_parts(
    x: Any,
    parts: Sequence[DatePart] = ("year", "month", "day", "weekday"),
    since: date | str | None = None,
    timezone: str | None = None,
) -> Any:
    """The parts of a frame's dates alone, as a frame of numbers: for ``FunctionTransformer``.

    ``FunctionTransformer(date_parts, kw_args={"parts": ["month_cycle"]})`` is a step that works row by
    row, so that a pipeline computes it as it reads, when it is fitted and when it predicts.

    Parameters
    ----------
    x : DataFrame of dates or timestamps
    parts, since, timezone
        As for :func:`add_date_parts`.

    Returns
    -------
    DataFrame of float64
        NaN where a date is missing.
    """
    import pandas as pd

    settings = _Settings.of(parts, since, timezone)
    found: dict[str, Any] = {}
    for name in x.columns:
        column = pa.Array.from_pandas(x[name])
        if pa.types.is_null(column.type):
            column = column.cast(pa.date32())
        settings.require_dates(str(name), column.type)
        for f, values in settings.made(str(name), column):
            found[f.name] = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return pd.DataFrame(found, index=x.index)


@dataclass(frozen=True)
class _Settings:
    """Which parts, from which day, on which clock."""

    parts: tuple[str, ...]
    since: int | None
    timezone: str | None

    @classmethod
    def of(cls, parts: Sequence[str], since: Any, timezone: str | None) -> _Settings:
        if isinstance(parts, str) or not parts or any(p not in PARTS for p in parts):
            raise BadParameter(f"parts={parts!r}.", fix=f"Name some of {', '.join(PARTS)}.")
        if ("days_since" in parts) != (since is not None):
            raise BadParameter("days_since and since= go together.", fix="Pass both, or none.")
        try:
            if timezone is not None:
                ZoneInfo(timezone)
            day = date.fromisoformat(since) if isinstance(since, str) else since
        except (KeyError, ValueError, OSError) as error:
            raise BadParameter(f"since={since!r}, timezone={timezone!r}.", why=str(error), fix="Mend it.") from error
        day = day.date() if isinstance(day, datetime) else day
        return cls(tuple(parts), None if day is None else (day - date(1970, 1, 1)).days, timezone)

    def require_dates(self, name: str, kind: pa.DataType) -> None:
        """Raise WrongColumnType for what holds no dates."""
        if not (pa.types.is_date(kind) or pa.types.is_timestamp(kind)):
            raise WrongColumnType(
                f"Column {name!r} is {kind}, neither dates nor timestamps.",
                fix="Read it with the recipe step dates of parquetry clean, or name another column.",
            )

    def fields(self, name: str) -> list[pa.Field]:
        """The new columns of one date column."""
        return [f for f, _ in self.made(name, pa.array([], pa.timestamp("us")))]

    def made(self, name: str, column: Any) -> Iterator[tuple[pa.Field, Any]]:
        """Each new column with its values."""
        times = self._clocked(column)
        for part in self.parts:
            if part in _CYCLES:
                angle = _angle(times, part)
                for side, function in (("sin", np.sin), ("cos", np.cos)):
                    values = pa.array(function(angle), pa.float64(), mask=np.isnan(angle))
                    yield pa.field(f"{name}_{part.removesuffix('_cycle')}_{side}", pa.float64()), values
            elif part == "is_weekend":
                yield pa.field(f"{name}_{part}", pa.bool_()), pc.greater(pc.day_of_week(times), 4)
            elif part == "days_since":
                ticks = pc.subtract(times.cast(pa.int64()), (self.since or 0) * _DAY)
                yield pa.field(f"{name}_{part}", pa.float64()), pc.divide(ticks.cast(pa.float64()), float(_DAY))
            else:
                yield pa.field(f"{name}_{part}", pa.int64()), _WHOLE[part](times).cast(pa.int64())

    def _clocked(self, column: Any) -> Any:
        """What the clock showed, in microseconds."""
        kind = column.type
        if not pa.types.is_timestamp(kind):
            return column.cast(pa.timestamp("us"))
        if kind.tz is None:
            return column.cast(pa.timestamp("us"), safe=False)
        return pc.local_timestamp(column.cast(pa.timestamp("us", tz=self.timezone or "UTC"), safe=False))


def _angle(times: Any, part: str) -> Any:
    whole = part.removesuffix("_cycle")
    numbers = _WHOLE[whole](times).cast(pa.float64()).to_numpy(zero_copy_only=False)
    return 2.0 * np.pi * (numbers - (0.0 if whole == "hour" else 1.0)) / _CYCLES[part]


@dataclass(frozen=True)
class _PartsTask:
    reader: Any
    columns: tuple[str, ...]
    settings: _Settings
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Bundle]) -> list[Part]:
        index, bundle = numbered
        return self.writer.write(index, map(self._with_parts, self.reader.read_all(bundle)))

    def _with_parts(self, table: pa.Table) -> pa.Table:
        found = table
        for name in self.columns:
            for f, values in self.settings.made(name, table.column(name)):
                found = found.append_column(f, values)
        return found
