"""Why a row is set aside, in words: what the contract wants, and the value that was found."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_WANTED = {
    "int64": "a whole number",
    "float64": "a number",
    "bool": "a truth value",
    "date": "a date",
    "timestamp": "a date with a time",
    "timestamp_utc": "a date with a time",
}
_SHOWN = 60
"""Characters of a value that a reason shows; the row's raw text stands beside it anyway."""
# What differs from row to row stands last, so that it can be left out where rows are counted by their reasons.
_FOUND = re.compile(r" \(found .*\)\.?$", re.DOTALL)
_PLACE = re.compile(r" \((?:byte|column) \d+\)")


class Reasons:
    """The first reason of each row of a batch: codes into texts, 0 for none."""

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._texts: list[tuple[str, pa.Array | None]] = [("", None)]
        self._codes: npt.NDArray[np.int32] | None = None

    @property
    def kept(self) -> npt.NDArray[np.int64] | None:
        """The rows without a reason; None where that is all of them."""
        return None if self._codes is None else np.flatnonzero(self._codes == 0)

    @property
    def broken(self) -> npt.NDArray[np.int64]:
        """The rows with one."""
        return np.zeros(0, np.int64) if self._codes is None else np.flatnonzero(self._codes)

    def add(self, mask: npt.NDArray[np.bool_], text: str, values: pa.Array | None = None) -> None:
        """Note a reason for some rows; ``values`` are those that it tells."""
        if mask.any():
            if self._codes is None:
                self._codes = np.zeros(self._rows, dtype=np.int32)
            self._texts.append((text, values))
            self._codes[mask & (self._codes == 0)] = len(self._texts) - 1

    def told(self) -> list[str]:
        """The reasons of the broken rows, in order."""
        if self._codes is None:
            return []
        out = []
        for row in self.broken.tolist():
            text, values = self._texts[self._codes[row]]
            out.append(text if values is None else with_value(text, values[row].as_py()))
        return out


def with_value(text: str, *values: Any) -> str:
    """A reason with the value that was found, or the values."""
    shown = ", ".join(repr(value) if isinstance(value, str) else str(value) for value in values)
    return f"{text} (found {shown if len(shown) <= _SHOWN else f'{shown[:_SHOWN]}…'})"


def in_short(reason: str) -> str:
    """A reason without what differs from row to row, so that there are few."""
    return _PLACE.sub("", _FOUND.sub("", reason))


def unread(name: str, dtype: str, date_format: str | None) -> str:
    """A value that is not what its column holds."""
    if dtype == "text":
        return f"{name}: no text"
    wanted = _WANTED.get(dtype, f"a {dtype}")
    return f"{name}: not {wanted}" + (f" of the form {date_format}" if date_format else "")


def missing(name: str) -> str:
    """A missing value where none may be."""
    return f"{name}: a value is missing, and none may be (nullable: false)"


def beyond(name: str, word: str, bound: Any) -> str:
    """A value below the least, or above the greatest, that the contract allows."""
    return f"{name}: {word} {bound}, which is the {'least' if word == 'below' else 'greatest'} allowed"


def no_category(name: str, categories: list[Any]) -> str:
    """A value that is none of those allowed."""
    few = ", ".join(map(repr, categories[:3]))
    return f"{name}: none of the {len(categories):,} values allowed ({few}{', …' if len(categories) > 3 else ''})"


def again(names: tuple[str, ...]) -> str:
    """A key that came before."""
    return f"{', '.join(names)}: not the first row with its value, which must be unique"


def wrong_fields(expected: int) -> str:
    """A line of more or fewer fields than the table has columns."""
    return f"another number of fields than the table's {expected}"
