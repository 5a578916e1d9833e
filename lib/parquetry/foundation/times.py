"""Rows over time: how many fall into each day, week, month or year, and how they spread over the season.

Times are counted as they are stored: those with a zone in UTC.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, float_column

Counts = npt.NDArray[np.int64]
_MOST_PERIODS = 120  # more could not be told apart in a picture
_MOST_YEARS = 1_000
_STEPS = (("hour", "h", 1), ("day", "D", 1), ("week", "D", 7), ("month", "M", 1), ("year", "Y", 1))
_SEASONS = {"hour of the day": 24, "day of the week": 7, "month of the year": 12}
_DAYS_BEFORE_MONDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True)
class Calendar:
    """Periods of equal name one after another.

    Attributes
    ----------
    step : {"hour", "day", "week", "month", "year"}
    first, count : int
        The first period, counted from 1970, and how many there are.
    """

    step: str
    first: int
    count: int

    def starts(self) -> npt.NDArray[np.datetime64]:
        """When each period begins."""
        unit, size = next((u, n) for name, u, n in _STEPS if name == self.step)
        at = (self.first + np.arange(self.count)) * size - (_DAYS_BEFORE_MONDAY if self.step == "week" else 0)
        return at.astype(f"M8[{unit}]").astype("M8[s]")


@dataclass
class Rhythm:
    """Rows of one column of times.

    Attributes
    ----------
    column : str
    calendar : Calendar
    counts : ndarray of int64, shape (calendar.count,)
    sums, known : ndarray, shape (calendar.count,)
        Of the value that is followed: its sum, and the rows that have one; zeros without a value.
    seasons : dict of str to ndarray of int64
        Rows by hour of the day, day of the week (Monday first) and month of the year, where times tell them.
    """

    column: str
    calendar: Calendar
    counts: Counts
    sums: FloatArray
    known: Counts
    seasons: dict[str, Counts]


def calendar_of(first: str, last: str) -> Calendar | None:
    """The finest step with at most 120 periods between two times (ISO 8601); years where there are more.

    None for times that are beyond what the calendar has, or more than 1,000 years apart.
    """
    if not all(re.match(r"\d{4}-\d\d-\d\d", end) for end in (first, last)):
        return None  # beyond the year 9999 a time is told as a number
    ends = np.array([first[:19], last[:19]], dtype="M8[s]")
    for name, _, _ in _STEPS:
        if name == "hour" and "T" not in first:
            continue
        low, high = _periods(ends, name).tolist()
        if high - low < (_MOST_YEARS if name == "year" else _MOST_PERIODS):
            return Calendar(name, low, high - low + 1)
    return None


class TimeCounts(Reduction[Rhythm, Rhythm]):
    """Counts the rows of a column of dates or timestamps by period and by season; one column, one pass.

    Parameters
    ----------
    column : str
    calendar : Calendar
        Covers the column's least and greatest time; what lies beyond is left out.
    value : str, default None
        A column of numbers whose mean is followed; its missing and infinite values are left out.
    """

    label = "times"

    def __init__(self, column: str, calendar: Calendar, value: str | None = None) -> None:
        self.column, self.calendar, self.value = column, calendar, value

    def partial(self, batch: Batch) -> Rhythm:
        column = batch.table.column(self.column)
        there = column.is_valid().to_numpy()
        seconds = _seconds(column)[there]
        at = _periods(seconds, self.calendar.step) - self.calendar.first
        size, inside = self.calendar.count, (at >= 0) & (at < self.calendar.count)
        counts = np.bincount(at[inside], minlength=size)
        sums: FloatArray = np.zeros(size)
        known: Counts = np.zeros(size, np.int64)
        if self.value is not None:
            values = float_column(batch.table.column(self.value))[there]
            good = inside & np.isfinite(values)
            sums = np.bincount(at[good], values[good], minlength=size).astype(np.float64)
            known = np.bincount(at[good], minlength=size)
        return Rhythm(self.column, self.calendar, counts, sums, known, self._seasons(column.type, seconds))

    def merge(self, left: Rhythm, right: Rhythm) -> Rhythm:
        seasons = {name: left.seasons[name] + right.seasons[name] for name in left.seasons}
        return Rhythm(
            left.column,
            left.calendar,
            left.counts + right.counts,
            left.sums + right.sums,
            left.known + right.known,
            seasons,
        )

    def _seasons(self, kind: pa.DataType, seconds: npt.NDArray[np.datetime64]) -> dict[str, Counts]:
        days = seconds.astype("M8[D]")
        parts = {
            "day of the week": (days.astype(np.int64) + _DAYS_BEFORE_MONDAY) % 7,
            "month of the year": seconds.astype("M8[M]").astype(np.int64) % 12,
        }
        if pa.types.is_timestamp(kind):
            parts = {"hour of the day": (seconds - days).astype(np.int64) // 3600, **parts}
        return {name: np.bincount(at, minlength=_SEASONS[name]) for name, at in parts.items()}


def _seconds(column: pa.ChunkedArray) -> npt.NDArray[np.datetime64]:
    """Times in whole seconds; what is missing is 1970."""
    if pa.types.is_timestamp(column.type):
        unit = column.type.unit
        whole = column.cast(pa.int64()).fill_null(0).to_numpy()
        return np.asarray(whole.astype(f"M8[{unit}]").astype("M8[s]"))
    days = column.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy()
    return np.asarray(days.astype(np.int64).astype("M8[D]").astype("M8[s]"))


def _periods(seconds: npt.NDArray[np.datetime64], step: str) -> Counts:
    """Which period each time falls into, counted from 1970."""
    if step == "week":
        return (seconds.astype("M8[D]").astype(np.int64) + _DAYS_BEFORE_MONDAY) // 7
    unit = next(u for name, u, _ in _STEPS if name == step)
    return seconds.astype(f"M8[{unit}]").astype(np.int64)
