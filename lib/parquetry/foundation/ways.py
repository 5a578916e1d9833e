"""Every way of reading a text column that is known, and what was seen of a column so far."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import pyarrow as pa

from parquetry.foundation.contract import Column

MARKS = ("NA", "N/A", "n/a", "na", "NaN", "nan", "NULL", "Null", "null", "None", "?", "-", "#N/A", "#NA", "<NA>")
"""What may stand for a missing value beside nothing at all; only in columns whose other values are no texts."""
CATEGORIES = 20
"""Columns of at most so many distinct texts have them listed in ``seen``."""
_SIGNS = ("$", "€", "£", "¥", "₹", "%")


@dataclass
class Seen:
    """What was seen of one column so far.

    Attributes
    ----------
    rows, missing : int
    marks : dict of str to int
        How often each mark stood for a missing value.
    ways : dict of str to (least, greatest)
        The ways of reading that every value fits.
    values : list of str or None
        Its distinct texts; None where they are too many.
    kind : pyarrow.DataType or None
        Of a typed source.
    quoted : bool
        Whether the source says of some value that it is a text.
    alike : dict of str to int
        How many values look like numbers, and like dates; of columns that seem to be such, but for a few values.
    odd : dict of str to str
        The first value that does not.
    """

    rows: int = 0
    missing: int = 0
    marks: dict[str, int] = field(default_factory=dict)
    ways: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    values: list[str] | None = field(default_factory=list)
    kind: pa.DataType | None = None
    quoted: bool = False
    alike: dict[str, int] = field(default_factory=dict)
    odd: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Rules:
    """How a contract is inferred.

    Attributes
    ----------
    marks : tuple of str
        Beside nothing at all.
    decimal : str, default None
        The decimal mark, where the user says it.
    beyond_64_bits : str, default "text"
        The dtype of integers that do not fit 64 bits; ``float64`` loses digits.
    """

    marks: tuple[str, ...] = MARKS
    decimal: str | None = None
    beyond_64_bits: str = "text"


@lru_cache(maxsize=1)
def ways() -> dict[str, Column]:
    """Every way of reading a text, by name, the plainest first."""
    plain = ("bool", "int64", "float64", "date", "timestamp", "timestamp_utc")
    found = {dtype: Column(name="x", dtype=dtype, missing=[]) for dtype in plain}
    marks = ((".", ","), (",", ""), (",", "."), (".", " "), (",", " "), (".", "'"), (".", ""))
    for sign, (decimal, thousands), dtype in product(("", *_SIGNS), marks, ("int64", "float64")):
        if sign or (decimal, thousands) != (".", ""):
            name = f"{dtype} {sign} {decimal} {thousands}"
            strip = [sign] if sign else []
            found[name] = Column(name="x", dtype=dtype, decimal=decimal, thousands=thousands, strip=strip, missing=[])  # type: ignore[arg-type]
    for form in _formats():
        dtype = "timestamp" if "%H" in form or "%I" in form else "date"
        found[f"dated {form}"] = Column(name="x", dtype=dtype, date_format=form, missing=[])
    return found


def _formats() -> Iterator[str]:
    times = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
    for (a, b), mark, time in product((("%d", "%m"), ("%m", "%d")), "/-.", times):
        yield f"{a}{mark}{b}{mark}%Y{time}"
    for mark, time in product("/.", times[:3]):
        yield f"%Y{mark}%m{mark}%d{time}"
    for (a, b), mark in product((("%d", "%m"), ("%m", "%d")), "/-."):
        yield f"{a}{mark}{b}{mark}%y"
    yield from ("%d-%b-%Y", "%d %b %Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
