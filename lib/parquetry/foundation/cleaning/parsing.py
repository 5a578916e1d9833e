"""Dates and times read from text by a stated layout: whole columns at once, nothing guessed.

A layout of ``strptime`` directives becomes one RE2 expression; its groups become whole numbers,
and those a count of microseconds. A day that its month does not have is no date.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.errors import BadParameter

Whole = npt.NDArray[np.int64]
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
    "december",
)  # fmt: skip
_DAYS = "mon(?:day)?|tue(?:sday)?|wed(?:nesday)?|thu(?:rsday)?|fri(?:day)?|sat(?:urday)?|sun(?:day)?"
_GROUPS = {
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "m": "[0-9]{1,2}",
    "d": "[0-9]{1,2}",
    "j": "[0-9]{1,3}",
    "H": "[0-9]{1,2}",
    "I": "[0-9]{1,2}",
    "M": "[0-9]{1,2}",
    "S": "[0-9]{1,2}",
    "f": "[0-9]{1,6}",
    "p": "[ap]\\.?m\\.?",
    "b": "|".join(_MONTHS),
    "B": "|".join(_FULL_MONTHS),
    "z": "z|[+-][0-9]{2}:?[0-9]{2}",
}
_LONGER = {"F": "%Y-%m-%d", "T": "%H:%M:%S", "R": "%H:%M"}
_SECOND, _MINUTE, _HOUR, _DAY = 10**6, 60 * 10**6, 3600 * 10**6, 86400 * 10**6


@dataclass(frozen=True)
class Layout:
    """How a text is written.

    Parameters
    ----------
    pattern : str
        The expression; each group is named ``g_`` and the directive's letter.
    letters : tuple of str
    """

    pattern: str
    letters: tuple[str, ...]

    @property
    def zoned(self) -> bool:
        """Whether the text gives its distance from UTC."""
        return "z" in self.letters

    @staticmethod
    @cache
    def of(written: str) -> Layout:
        """The layout of ``strptime`` directives, as ``%d/%m/%Y %H:%M``.

        Raises
        ------
        BadParameter
            A directive is unknown or there twice, or the year is missing.
        """
        for letter, longer in _LONGER.items():
            written = written.replace(f"%{letter}", longer)
        pattern = ""
        letters: list[str] = []
        for part in re.findall(r"%.?|\s+|[^%\s]+", written):
            if part[0] != "%":
                pattern += r"\s+" if part.isspace() else re.escape(part)
            elif part == "%%":
                pattern += "%"
            elif part in ("%a", "%A"):
                pattern += f"(?:{_DAYS})"
            else:
                letters.append(_known(part, letters))
                pattern += f"(?P<g_{letters[-1]}>{_GROUPS[letters[-1]]})"
        _require_sense(written, letters)
        return Layout(f"(?i)^{pattern}$", tuple(letters))


def _known(part: str, before: list[str]) -> str:
    letter = part[1:]
    if letter not in _GROUPS:
        known = ", ".join(f"%{g}" for g in (*_GROUPS, "a", "A", *_LONGER))
        raise BadParameter(f"{part!r} is no part of a date's format.", fix=f"Use {known}.")
    if letter in before:
        raise BadParameter(f"{part!r} is there twice.")
    return letter


def _require_sense(written: str, letters: list[str]) -> None:
    if not {"Y", "y"} & set(letters):
        raise BadParameter(f"The format {written!r} has no year.", fix="Name it: %Y, or %y for two digits.")
    for pair in (("Y", "y"), ("H", "I"), ("m", "b"), ("m", "B"), ("b", "B"), ("j", "d")):
        if set(pair) <= set(letters):
            raise BadParameter(f"The format {written!r} has both %{pair[0]} and %{pair[1]}.", fix="Leave one out.")
    if ("I" in letters) != ("p" in letters):
        raise BadParameter(f"In the format {written!r} %I and %p belong together.")


def _iso(zone: str) -> str:
    day = "(?P<g_Y>[0-9]{4})-(?P<g_m>[0-9]{2})-(?P<g_d>[0-9]{2})"
    time = r"(?P<g_H>[0-9]{2}):(?P<g_M>[0-9]{2})(?::(?P<g_S>[0-9]{2})(?:\.(?P<g_f>[0-9]{1,6})0*)?)?"
    return f"(?i)^{day}(?:[T ]{time}{zone})?$" if not zone else f"(?i)^{day}[T ]{time}{zone}$"


ISO = Layout(_iso(""), ("Y", "m", "d", "H", "M", "S", "f"))
"""``2026-01-31`` or ``2026-01-31T12:30``, with seconds and their parts as they come."""
ISO_ZONED = Layout(_iso(rf"\s?(?P<g_z>{_GROUPS['z']})"), (*ISO.letters, "z"))
"""The same with a time and its distance from UTC: ``2026-01-31T12:30:00+01:00`` or ``…Z``."""


def parsed(text: pa.Array, layout: Layout) -> pa.Array:
    """The text as timestamps in microseconds (in UTC where it gives a zone); null where it is none.

    Parameters
    ----------
    text : pyarrow.Array of string
    layout : Layout
    """
    found = pc.extract_regex(text, layout.pattern)
    valid = found.is_valid().to_numpy(zero_copy_only=False)
    parts = {letter: found.field(f"g_{letter}") for letter in layout.letters}
    days, good = _days(parts, len(text))
    micros, fine = _micros(parts, len(text))
    valid = valid & good & fine
    total = np.where(valid, days * _DAY + micros, 0)
    return pa.array(total, mask=~valid).cast(pa.timestamp("us"))


def _number(parts: dict[str, Any], letter: str, size: int, default: int = 0) -> Whole:
    if letter not in parts:
        return np.full(size, default, dtype=np.int64)
    part = parts[letter]
    digits = pc.if_else(pc.equal(part, ""), str(default), part).fill_null(str(default))
    values: Whole = digits.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return values


def _days(parts: dict[str, Any], size: int) -> tuple[Whole, Any]:
    """Days since 1970, and whether there is such a day."""
    year = _number(parts, "Y", size, 1970)
    if "y" in parts:
        short = _number(parts, "y", size)
        year = np.where(short < 69, 2000 + short, 1900 + short)  # as POSIX has it
    month = _number(parts, "m", size, 1)
    for letter, names in (("b", _MONTHS), ("B", _FULL_MONTHS)):
        if letter in parts:
            places = pc.index_in(pc.utf8_lower(parts[letter]), value_set=pa.array(names))
            month = places.fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64) + 1
    good = (month >= 1) & (month <= 12)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    day = _number(parts, "j" if "j" in parts else "d", size, 1)
    start = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    days = start + day - 1
    after = days.astype("M8[D]").astype("M8[Y]" if "j" in parts else "M8[M]").astype(np.int64)
    return days, good & (day >= 1) & (after == (year - 1970 if "j" in parts else months))


def _micros(parts: dict[str, Any], size: int) -> tuple[Whole, Any]:
    """Microseconds since midnight (less the distance from UTC), and whether there is such a time."""
    hour = _number(parts, "H", size)
    good = hour < 24
    if "I" in parts:
        half = _number(parts, "I", size, 12)
        good = (half >= 1) & (half <= 12)
        late = pc.starts_with(pc.utf8_lower(parts["p"]), "p").fill_null(False)  # noqa: FBT003 (the value)
        hour = half % 12 + 12 * late.to_numpy(zero_copy_only=False)
    minute, second = _number(parts, "M", size), _number(parts, "S", size)
    good = good & (minute < 60) & (second < 60)
    micros = hour * _HOUR + minute * _MINUTE + second * _SECOND
    if "f" in parts:
        micros += _number({"f": pc.utf8_rpad(parts["f"].fill_null(""), 6, "0")}, "f", size)
    if "z" in parts:
        offset, fine = _offset(parts["z"], size)
        micros, good = micros - offset, good & fine
    return micros, good


def _offset(zone: pa.Array, size: int) -> tuple[Whole, Any]:
    found = pc.extract_regex(zone, "^(?P<sign>[+-])(?P<hour>[0-9]{2}):?(?P<minute>[0-9]{2})$")
    hour, minute = (_number({"x": found.field(n)}, "x", size) for n in ("hour", "minute"))
    back = pc.equal(found.field("sign"), "-").fill_null(False).to_numpy(zero_copy_only=False)  # noqa: FBT003
    offset = hour * _HOUR + minute * _MINUTE
    return np.where(back, -offset, offset), (hour < 24) & (minute < 60)
