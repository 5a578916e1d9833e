"""A contract found in all values, in one pass: which ways of reading a column take every one of them.

Each column begins with every way that is known (whole numbers, numbers with other marks, dates in
this or that order …), and a way that a single value does not fit is out. What is left in the end
says what the column is; where two ways are left that would give other values, the column stays
text and says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from parquetry.errors import EmptyDataset
from parquetry.foundation import casting
from parquetry.foundation.conclusions import concluded
from parquetry.foundation.contract import Column, Contract
from parquetry.foundation.sources import WRITTEN, Piece, Source
from parquetry.foundation.ways import CATEGORIES, Rules, Seen, ways

if TYPE_CHECKING:
    from parquetry.engine import Engine

_FIRST = 256
_LOOKED_AT = 16 * 2**20
_LEADING_ZERO = r"^[+-]?0\d"
_NUMBER_LIKE = r"^[-+(]?\s*[$€£¥₹%]?\s*[-+]?[\d., \x{a0}\x{202f}'\x{2019}]*\d[\d.,]*([eE][-+]?\d+)?\s*[$€£¥₹%]?\)?$"
_DATE_LIKE = r"^(\d{1,4}|[A-Za-z]{3,9})[-/. ](\d{1,2}|[A-Za-z]{3,9}),?[-/. ]\d{2,4}( \d.*)?$"
_DATES = ("date", "timestamp")  # and "dated …"
_DIGITS = r"^[+-]?(0|[1-9]\d*)$"


def infer(source: Source, pieces: Sequence[Piece], engine: Engine, rules: Rules | None = None) -> Contract:
    """The contract of a source, from all of its values.

    Raises
    ------
    EmptyDataset
        There are no rows.
    """
    chosen = rules or Rules()
    seen = None
    bundles = list(bundled(pieces))
    if bundles:
        seen = engine.reduce(
            _InferTask(chosen, typed=source.kind not in WRITTEN), merged, bundles, label="ingest-infer"
        )
    if seen is None or not any(s.rows for s in seen.values()):
        raise EmptyDataset(
            f"{', '.join(source.files[:3]) or 'The source'} has a header and no rows that can be read.",
            fix="Check the files, or pass the contract that the rows should have.",
        )
    return concluded(seen, chosen)


def bundled(pieces: Sequence[Piece], most: int = 64 * 2**20) -> Iterator[tuple[Piece, ...]]:
    """Consecutive pieces in bundles of about 64 MiB: small files travel together."""
    bundle: list[Piece] = []
    size = 0
    for piece in pieces:
        if bundle and size + piece.size > most:
            yield tuple(bundle)
            bundle, size = [], 0
        bundle.append(piece)
        size += piece.size + 4096
    if bundle:
        yield tuple(bundle)


@dataclass(frozen=True)
class _InferTask:
    rules: Rules
    typed: bool = False

    def __call__(self, pieces: Sequence[Piece]) -> dict[str, Seen]:
        total: dict[str, Seen] | None = None
        for table, strings in _gathered(pieces):
            found = {name: self._look(table.column(name), quoted=name in strings) for name in table.column_names}
            total = found if total is None else merged(total, found)
        return total or {}

    def _look(self, column: pa.ChunkedArray, *, quoted: bool) -> Seen:
        return _look_typed(column.combine_chunks()) if self.typed else look(column, self.rules, quoted=quoted)


def _gathered(pieces: Sequence[Piece]) -> Iterator[tuple[pa.Table, set[str]]]:
    """The pieces' tables with their columns of texts, small ones put together: each look has a price of its own."""
    waiting: list[pa.Table] = []
    nbytes = 0
    strings: set[str] = set()
    for piece in pieces:
        for parsed in piece.read(None):
            if waiting and parsed.table.schema != waiting[0].schema:
                yield pa.concat_tables(waiting), strings
                waiting, nbytes, strings = [], 0, set()
            waiting.append(parsed.table)
            strings |= parsed.strings
            nbytes += parsed.table.nbytes
            if nbytes >= _LOOKED_AT:
                yield pa.concat_tables(waiting), strings
                waiting, nbytes, strings = [], 0, set()
    if waiting:
        yield pa.concat_tables(waiting), strings


def look(column: pa.ChunkedArray, rules: Rules, *, quoted: bool = False) -> Seen:
    """What one batch of one column shows; ``quoted`` where its source says of some values that they are texts."""
    array = column.combine_chunks()
    if not pa.types.is_string(array.type):
        return _look_typed(array)
    given = pa.array(["", *rules.marks])
    trimmed = pc.utf8_trim_whitespace(array)
    gone = pc.or_(pc.is_null(trimmed), pc.is_in(trimmed, given))
    counts = pc.value_counts(pc.fill_null(trimmed.filter(gone), "")).to_pylist()
    marks = {c["values"]: c["counts"] for c in counts}
    values = trimmed.filter(pc.invert(gone))
    missing = len(array) - len(values)
    fitting = _fitting(values)
    if quoted:  # a text of digits is a text; but JSON has no other way of writing a date
        fitting = {way: bounds for way, bounds in fitting.items() if way.startswith(_DATES)}
    seen = Seen(len(array), missing, marks, fitting, _distinct(values), quoted=quoted)
    seen.alike, seen.odd = _alike(values, fitting)
    return seen


def _alike(values: pa.Array, fitting: dict[str, Any]) -> tuple[dict[str, int], dict[str, str]]:
    """How many values look like numbers and like dates, and the first that does not: what a text column might be.

    A column whose first values are plainly texts is not looked through.
    """
    alike, odd = {}, {}
    for kind, pattern, fits in (
        ("number", _NUMBER_LIKE, ("int64", "float64", "digits")), ("date", _DATE_LIKE, _DATES)
    ):  # fmt: skip
        if any(way.startswith(fits) for way in fitting):
            alike[kind] = len(values)
            continue
        first = pc.match_substring_regex(values[:_FIRST], pattern)
        if 2 * (pc.sum(first).as_py() or 0) < len(first):
            continue
        if kind == "number" and pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py():
            continue  # article numbers and post codes are texts of digits
        matched = pc.match_substring_regex(values, pattern)
        alike[kind] = pc.sum(matched).as_py() or 0
        if alike[kind] < len(values):
            odd[kind] = values[pc.index(matched, False).as_py()].as_py()
    return alike, odd


def _look_typed(array: pa.Array) -> Seen:
    least = greatest = None
    if pa.types.is_primitive(array.type) and not pa.types.is_boolean(array.type):
        bounds = pc.min_max(array)
        least, greatest = bounds["min"].as_py(), bounds["max"].as_py()
    return Seen(len(array), array.null_count, {}, {"own": (least, greatest)}, None, array.type)


def _distinct(values: pa.Array) -> list[str] | None:
    first = pc.unique(values[: _FIRST * 4])
    if len(first) > CATEGORIES:
        return None
    found = pc.unique(values)
    return sorted(found.to_pylist()) if len(found) <= CATEGORIES else None


def _fitting(values: pa.Array) -> dict[str, tuple[Any, Any]]:
    """The ways that take every value, with the least and greatest of them."""
    if not len(values):
        return dict.fromkeys([*ways(), "digits"], (None, None))
    zeros = pc.any(pc.match_substring_regex(values, _LEADING_ZERO)).as_py()
    if zeros:  # post codes, article numbers: no number begins with a zero
        numbers = set(_numbers())
        others = {name: column for name, column in ways().items() if name not in numbers}
        if not _all_match(values, _DATE_LIKE):
            others = {name: column for name, column in others.items() if not name.startswith("dated")}
        return {name: b for name, column in others.items() if (b := _bounds(values, column))}
    bounds = _bounds(values, ways()["int64"])
    if bounds is not None:
        return dict.fromkeys(_numbers(), bounds)
    found: dict[str, tuple[Any, Any]] = {}
    like_numbers, like_dates = _all_match(values, _NUMBER_LIKE), _all_match(values, _DATE_LIKE)
    for name, column in ways().items():
        if (" " in name) and not (like_dates if name.startswith("dated") else like_numbers):
            continue
        known = found.get(_implied_by(name))
        tried = known if known is not None and _finite(known) else _bounds(values, column) if name != "int64" else None
        if tried is not None:
            found[name] = tried
    if "float64" in found and pc.all(pc.match_substring_regex(values, _DIGITS)).as_py():
        found["digits"] = (None, None)
    return found


def _all_match(values: pa.Array, pattern: str) -> bool:
    """Whether all values look alike; the first few are tried first."""
    return all(pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in (values[:_FIRST], values))


@lru_cache(maxsize=512)
def _implied_by(name: str) -> str:
    """The plainer way whose texts this one takes too, as the same values; "" for none."""
    column = ways()[name]
    if column.strip:
        plainer = f"{column.dtype}  {column.decimal} {column.thousands}"
        return plainer if plainer in ways() else column.dtype
    return "float64" if column.dtype == "float64" and column.decimal == "." and name != "float64" else ""


def _finite(bounds: tuple[Any, Any]) -> bool:
    """Whether there is neither an infinity nor a NaN among the values; the marked ways know none."""
    return all(isinstance(b, int) or math.isfinite(b) for b in bounds)


@lru_cache(maxsize=1)
def _numbers() -> tuple[str, ...]:
    return (*(name for name, column in ways().items() if column.dtype in ("int64", "float64")), "digits")


def _bounds(values: pa.Array, column: Column) -> tuple[Any, Any] | None:
    """Least and greatest, where all values fit; the first few are tried first."""
    if not all(_may_fit(text, column) for text in values[:4].to_pylist()):
        return None
    for part in (values[:_FIRST], values) if len(values) > _FIRST else (values,):
        found, bad = casting.read(part, column)
        if bad.any():
            return None
    bounds = pc.min_max(found)
    return bounds["min"].as_py(), bounds["max"].as_py()


def _may_fit(text: str, column: Column) -> bool:
    """A cheap look at a text: False only where it cannot be a value of the column."""
    if column.dtype == "bool":
        return text.lower() in (*column.true_words, *column.false_words)
    if column.date_format is not None:
        separators = [c for c in ("/", "-", ".", ":") if c in column.date_format]
        words = "%b" in column.date_format or "%B" in column.date_format or "%p" in column.date_format
        return (
            any(map(str.isdigit, text)) and all(c in text for c in separators) and words == any(map(str.isalpha, text))
        )
    if column.dtype in ("int64", "float64"):
        letters = sum(map(str.isalpha, text))
        return letters <= 1 or (casting.plain(column) and text.lower().lstrip("+-") in ("nan", "inf", "infinity"))
    return text[:4].isdigit() and text[4:5] == "-"


def merged(left: dict[str, Seen], right: dict[str, Seen]) -> dict[str, Seen]:
    """Two states of all columns as one; ``left`` is changed."""
    if not left or not right:
        return left or right
    for name, more in right.items():
        seen = left[name]
        seen.rows += more.rows
        seen.missing += more.missing
        for mark, count in more.marks.items():
            seen.marks[mark] = seen.marks.get(mark, 0) + count
        both = {w: (_least(b[0], more.ways[w][0]), _greatest(b[1], more.ways[w][1]))
                for w, b in seen.ways.items() if w in more.ways}  # fmt: skip
        seen.ways = both
        seen.quoted |= more.quoted
        for kind in ("number", "date"):
            seen.alike[kind] = seen.alike.get(kind, 0) + more.alike.get(kind, 0)
        seen.odd = more.odd | seen.odd
        values = None if seen.values is None or more.values is None else sorted({*seen.values, *more.values})
        seen.values = values if values is not None and len(values) <= CATEGORIES else None
    return left


def _least(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else min(a, b)


def _greatest(a: Any, b: Any) -> Any:
    return b if a is None else a if b is None else max(a, b)
