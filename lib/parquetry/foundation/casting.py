"""Texts turned into values as a contract says: the one place where that happens.

Every function gives the values and which of them could be read; none guesses. Arrow does the
parsing; what it takes more freely than a table should (hexadecimal numbers, ``nan(1)``, a year 0, the
30th of February in a day-first date) is refused here, whatever other values stand beside it.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Mask = npt.NDArray[np.bool_]

INTEGER = r"^[+-]?\d+$"
NUMBER = r"^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|(?i:nan|inf|infinity))$"
DATE = r"^\d{4}-\d{2}-\d{2}$"
TIMESTAMP = r"^\d{4}-\d{2}-\d{2}([ T]\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?)?$"
TIMESTAMP_UTC = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}(:?\d{2}(:?\d{2}(\.\d{1,6})?)?)?(Z|[+-]\d{2}(:?\d{2})?)$"
_PATTERNS = {
    "int64": INTEGER,
    "float64": NUMBER,
    "date": DATE,
    "timestamp": TIMESTAMP,
    "timestamp_utc": TIMESTAMP_UTC,
}
_ARROW = {
    "text": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us"),
    "timestamp_utc": pa.timestamp("us", tz="UTC"),
}
_PARTS = {"%Y": r"\d{4}", "%m": r"\d{1,2}", "%d": r"\d{1,2}", "%H": r"\d{1,2}", "%M": r"\d{1,2}", "%S": r"\d{1,2}"}
_FREER = {"int64": ("x", "X"), "float64": ("(",)}
"""In texts that Arrow takes for numbers: hexadecimal digits, and NaN with a payload."""
_DAYS = (-719_162, 2_932_896)
"""The first day of the year 1 and the last of 9999, since 1970: the years that everybody who reads the table knows."""
_A_DAY = 86_400_000_000
_GROUPED = {",": ",", ".": r"\.", " ": "[  \u202f]", "'": "['\u2019]"}


def arrow_type(dtype: str) -> pa.DataType | None:
    """The Arrow type of a contract's dtype; None where it has none of its own."""
    if dtype in _ARROW:
        return _ARROW[dtype]
    match = re.fullmatch(r"decimal\((\d+), ?(\d+)\)", dtype)
    if match and 0 < int(match[1]) <= 38 and int(match[2]) <= int(match[1]):
        return pa.decimal128(int(match[1]), int(match[2]))
    return None


def plain(column: Any) -> bool:
    """Whether a column is written as Arrow's own parser has it: nothing to strip, no other marks."""
    ordinary = column.decimal == "." and not column.thousands and not column.strip and column.date_format is None
    return bool(ordinary and column.dtype in ("int64", "float64", "date", "timestamp", "timestamp_utc"))


def plain_boolean(column: Any) -> bool:
    """Whether a column's booleans are written as true and false."""
    return bool(column.dtype == "bool" and column.true_words == ["true"] and column.false_words == ["false"])


def read(values: pa.Array, column: Any) -> tuple[pa.Array, Mask]:
    """Texts as values of a column.

    Parameters
    ----------
    values : pyarrow.Array of strings
    column : Column
        Of a contract.

    Returns
    -------
    tuple
        The values, null where missing or not readable; and True for each text that was neither
        missing nor readable, shape ``(len(values),)``.
    """
    missing = pc.is_in(values, pa.array(column.missing, values.type)) if column.missing else None
    if missing is not None and pc.any(missing).as_py():
        values = pc.if_else(missing, pa.scalar(None, values.type), values)
    if column.dtype == "text":
        return values, np.zeros(len(values), dtype=bool)
    before = values
    trimmed = pc.utf8_trim_whitespace(values)
    if column.missing:
        missing = pc.is_in(trimmed, pa.array(column.missing, values.type))
        trimmed = pc.if_else(missing, pa.scalar(None, values.type), trimmed)
        before = trimmed
    found = _typed(trimmed, column)
    return found, as_mask(pc.and_(pc.is_valid(before), pc.is_null(found)))


def as_mask(flags: Any) -> Mask:
    """Arrow booleans without nulls as an array."""
    flags = flags.combine_chunks() if isinstance(flags, pa.ChunkedArray) else flags
    return np.asarray(flags.to_numpy(zero_copy_only=False), dtype=bool)


def _typed(texts: pa.Array, column: Any) -> pa.Array:
    if column.dtype == "bool":
        return _booleans(texts, column.true_words, column.false_words)
    if column.dtype in ("date", "timestamp", "timestamp_utc"):
        kind = _ARROW[column.dtype]
        return _dated(texts, column.date_format, kind) if column.date_format else cast(texts, kind, column.dtype)
    kind = arrow_type(column.dtype)
    if not plain(column):
        texts = bare_numbers(texts, column.decimal, column.thousands, tuple(column.strip))
    return cast(texts, kind, "int64" if column.dtype == "int64" else "float64")


def cast(texts: pa.Array, kind: pa.DataType, pattern: str) -> pa.Array:
    """Texts cast by Arrow; null where it, or the pattern, does not take one."""
    try:
        found = pc.cast(texts, kind)
        if not any(pc.any(pc.match_substring(texts, sign)).as_py() for sign in _FREER.get(pattern, ())):
            return within_years(found)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    if kind in (pa.int64(), pa.float64()) or pa.types.is_decimal(kind):
        plus = pc.starts_with(texts, "+")
        texts = pc.if_else(plus, pc.utf8_slice_codeunits(texts, 1), texts)
    fits = pc.match_substring_regex(texts, _PATTERNS[pattern])
    texts = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    try:
        return within_years(pc.cast(texts, kind))
    except pa.ArrowInvalid:
        return within_years(_cast_uniques(texts, kind))


def within_years(values: Any) -> Any:
    """Dates and timestamps of the years 1 to 9999; null for others. Other types as they are."""
    if not (pa.types.is_date32(values.type) or pa.types.is_timestamp(values.type)):
        return values
    ticks, a_day = (
        (values.cast(pa.int32()), 1) if pa.types.is_date32(values.type) else (values.cast(pa.int64()), _A_DAY)
    )
    first, last = _DAYS[0] * a_day, (_DAYS[1] + 1) * a_day - 1
    bounds = pc.min_max(ticks)
    least, most = bounds["min"].as_py(), bounds["max"].as_py()
    if least is None or (least >= first and most <= last):
        return values
    fits = pc.and_(pc.greater_equal(ticks, first), pc.less_equal(ticks, last))
    return pc.if_else(fits, values, pa.scalar(None, values.type))


def _cast_uniques(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    coded = texts.dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    return _halved(coded.dictionary, kind).take(coded.indices)


def _halved(texts: pa.Array, kind: pa.DataType) -> pa.Array:
    """A cast in halves, until what fails stands alone."""
    try:
        return pc.cast(texts, kind)
    except pa.ArrowInvalid:
        if len(texts) == 1:
            return pa.nulls(1, kind)
        middle = len(texts) // 2
        return pa.concat_arrays([_halved(texts[:middle], kind), _halved(texts[middle:], kind)])


def _booleans(texts: pa.Array, true: Sequence[str], false: Sequence[str]) -> pa.Array:
    lowered = pc.utf8_lower(texts)
    yes = pc.is_in(lowered, pa.array([t.lower() for t in true], pa.string()))
    no = pc.is_in(lowered, pa.array([f.lower() for f in false], pa.string()))
    return pc.if_else(pc.or_(yes, no), yes, pa.scalar(None, pa.bool_()))


def bare_numbers(texts: pa.Array, decimal: str, thousands: str, strip: tuple[str, ...]) -> pa.Array:
    """Numbers with a decimal point and nothing else; null where the marks stand in the wrong places."""
    if strip:
        texts = _stripped(texts, strip)
    whole = r"\d+"
    if thousands:
        mark = _GROUPED.get(thousands, re.escape(thousands))
        whole = rf"(\d+|\d{{1,3}}({mark}\d{{3}})+)"
    point = re.escape(decimal)
    fits = pc.match_substring_regex(texts, rf"^[+-]?({whole}({point}\d*)?|{point}\d+)([eE][+-]?\d+)?$")
    texts = pc.if_else(fits, texts, pa.scalar(None, texts.type))
    if thousands:
        texts = pc.replace_substring_regex(texts, _GROUPED.get(thousands, re.escape(thousands)), "")
    return pc.replace_substring(texts, decimal, ".") if decimal != "." else texts


def _stripped(texts: pa.Array, strip: tuple[str, ...]) -> pa.Array:
    """Without units on either side; a sign before a currency stays, and (1.50) is -1.50."""
    any_of = "|".join(re.escape(s) for s in sorted(strip, key=len, reverse=True))
    texts = pc.replace_substring_regex(texts, r"^\(([^()]*)\)$", r"-\1")
    texts = pc.replace_substring_regex(texts, rf"^([+-]?)\s*(?:{any_of})\s*", r"\1")
    return pc.replace_substring_regex(texts, rf"\s*(?:{any_of})$", "")


def _dated(texts: pa.Array, form: str, kind: pa.DataType) -> pa.Array:
    coded = texts.dictionary_encode()
    coded = coded.combine_chunks() if isinstance(coded, pa.ChunkedArray) else coded
    words = coded.dictionary
    found = _by_numbers(words, form) if _regex(form) is not None else _one_by_one(words, form, kind)
    return pc.cast(found, kind, safe=False).take(coded.indices)


@lru_cache(maxsize=256)
def _regex(form: str) -> str | None:
    """A regular expression for a date of numbers alone; None for one with words, zones or fractions."""
    pieces = re.split(r"(%[A-Za-z%])", form)
    if not {"%Y", "%m", "%d"} <= set(pieces) or len(set(pieces[1::2])) != len(pieces[1::2]):
        return None
    if any(p not in _PARTS for p in pieces[1::2]):
        return None
    return "^" + "".join(f"(?P<{p[1]}>{_PARTS[p]})" if p in _PARTS else re.escape(p) for p in pieces) + "$"


def _by_numbers(words: pa.Array, form: str) -> pa.Array:
    """Dates of numbers, all at once; a day or an hour that is none gives null."""
    names = [p[1] for p in re.findall(r"%[A-Za-z]", form)]
    parts = pc.extract_regex(words, _regex(form))
    none = np.asarray(pc.is_null(parts).to_numpy(zero_copy_only=False))
    numbers = {
        name: np.where(none, 1, pc.fill_null(pc.cast(pc.struct_field(parts, name), pa.int64()), 1).to_numpy())
        for name in names
    }
    year, month, day = numbers["Y"], numbers["m"], numbers["d"]
    fits = ~none & (month >= 1) & (month <= 12) & (day >= 1) & (year >= 1)
    months = (year - 1970) * 12 + np.clip(month, 1, 12) - 1
    first = months.astype("datetime64[M]").astype("datetime64[D]")
    fits &= day <= ((months + 1).astype("datetime64[M]").astype("datetime64[D]") - first).astype(np.int64)
    seconds = (first.astype(np.int64) + day - 1) * 86_400
    for name, unit, most in (("H", 3600, 23), ("M", 60, 59), ("S", 1, 59)):
        if name in numbers:
            fits &= numbers[name] <= most
            seconds = seconds + numbers[name] * unit
    return pa.array(seconds * 1_000_000, pa.int64(), mask=~fits).cast(pa.timestamp("us"))


def _one_by_one(words: pa.Array, form: str, kind: pa.DataType) -> pa.Array:
    return pa.array([_strptime(word, form, zoned=kind.equals(_ARROW["timestamp_utc"])) for word in words.to_pylist()],
                    pa.timestamp("us"))  # fmt: skip


def _strptime(word: str | None, form: str, *, zoned: bool) -> dt.datetime | None:
    try:
        found = dt.datetime.strptime(word, form) if word is not None else None  # noqa: DTZ007
    except ValueError:
        return None
    if found is None or (found.tzinfo is None) == zoned:
        return None
    try:
        return found.astimezone(dt.UTC).replace(tzinfo=None) if zoned else found
    except OverflowError:  # in UTC it is before the year 1, or after 9999
        return None
