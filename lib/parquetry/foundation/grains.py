"""Grains of time: days, weeks, months or quarters, as whole numbers that every engine computes alike."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

_EPOCH = dt.date(1970, 1, 1)
_SLACK = dt.timedelta(days=2)
"""A shop may be closed on the first or the last days of a period, and the period whole all the same."""


@dataclass(frozen=True)
class Grain:
    """How finely sales are told apart in time.

    Attributes
    ----------
    name : {"day", "week", "month", "quarter"}
        A week begins on Monday.
    year : int
        Periods back to the same one a year before: of days 364, which is the same day of the week.
    averages : (int, int)
        How many periods the two moving averages take.
    cycle : int or None
        Periods of a year with a season of their own; None where a season is not told.
    """

    name: str
    year: int
    averages: tuple[int, int]
    cycle: int | None = None

    def expression(self, day: Any) -> Any:
        """The number of the period in which a narwhals expression of dates lies."""
        import narwhals as nw

        month = day.dt.year().cast(nw.Int64) * 12 + day.dt.month().cast(nw.Int64) - 1
        if self.name in ("month", "quarter"):
            return month if self.name == "month" else _floor(month / 3)
        days = _days(month, day.dt.day().cast(nw.Int64))
        return days if self.name == "day" else _floor((days + 3) / 7)

    def number(self, day: dt.date) -> int:
        """The period's number: months and quarters are counted from the year 0, days and weeks from 1970."""
        month, days = 12 * day.year + day.month - 1, (day - _EPOCH).days
        return {"day": days, "week": (days + 3) // 7, "month": month, "quarter": month // 3}[self.name]

    def start(self, number: int) -> dt.date:
        """The first day of a period by its number."""
        if self.name in ("day", "week"):
            return _EPOCH + dt.timedelta(days=number if self.name == "day" else 7 * number - 3)
        month = number if self.name == "month" else 3 * number
        return dt.date(month // 12, month % 12 + 1, 1)

    def end(self, number: int) -> dt.date:
        """The last day of a period by its number."""
        return self.start(number + 1) - dt.timedelta(days=1)

    def is_whole(self, number: int, first: dt.date, last: dt.date) -> bool:
        """Whether data from ``first`` to ``last`` have all of a period, or all but two days at either end."""
        return first - self.start(number) <= _SLACK and self.end(number) - last <= _SLACK

    def numbers(self, first: dt.date, last: dt.date) -> range:
        """All periods between two days."""
        return range(self.number(first), self.number(last) + 1)


DAY = Grain("day", 364, (7, 28))
WEEK = Grain("week", 52, (4, 13))
MONTH = Grain("month", 12, (3, 12), 12)
QUARTER = Grain("quarter", 4, (2, 4), 4)
GRAINS = {grain.name: grain for grain in (DAY, WEEK, MONTH, QUARTER)}


def _days(month: Any, day: Any) -> Any:
    """Days since 1970, of a month counted from the year 0 and a day of it.

    Years are taken to begin in March, so that a leap day is a year's last. Source: H. Hinnant,
    "chrono-Compatible Low-Level Date Algorithms" (2013).
    """
    march = month - 2
    year = _floor(march / 12)
    since = _floor(((march - year * 12) * 153 + 2) / 5)
    return year * 365 + _floor(year / 4) - _floor(year / 100) + _floor(year / 400) + since + day - 1 - 719_468


def _floor(value: Any) -> Any:
    import narwhals as nw

    return value.floor().cast(nw.Int64)
