"""What is concluded from all that was seen of a table's columns: the contract, and what it leaves to people."""

from __future__ import annotations

import datetime as dt
from typing import Any

from parquetry.foundation import casting
from parquetry.foundation.contract import Column, Contract
from parquetry.foundation.ways import Rules, Seen, ways


def concluded(seen: dict[str, Seen], rules: Rules) -> Contract:
    """What was seen of all columns, as a contract."""
    commas = rules.decimal or _proven_decimal(seen.values())
    return Contract(columns=[_column(name, s, commas, rules) for name, s in seen.items()])


def _column(name: str, seen: Seen, decimal: str | None, rules: Rules) -> Column:
    if seen.kind is not None:
        return _typed_column(name, seen)
    way, note = _decided(seen, decimal, rules)
    template = ways()[way] if way else Column(name="x")
    if way is None:
        empty = seen.marks.get("", 0)
        shown = {"missing": empty, **({"values": seen.values} if seen.values else {})}
        note = note or (None if seen.quoted else _almost(seen))
        missing = [] if seen.quoted else [""]  # of a source that knows null, a text without letters is one
        return Column(name=name, missing=missing, nullable=empty > 0 or not seen.rows, note=note, seen=shown)
    marks = ["", *sorted(m for m in seen.marks if m)]
    least, greatest = seen.ways[way]
    shown = {"missing": seen.missing, "min": _plain(least), "max": _plain(greatest)}
    changes = {"name": name, "missing": marks, "nullable": seen.missing > 0, "note": note, "seen": shown}
    return template.model_copy(update=changes)


def _almost(seen: Seen) -> str | None:
    """What a text column would be but for a few of its values: one slip should not go unseen."""
    values = seen.rows - seen.missing
    for kind, dtype in (("date", "date"), ("number", "float64")):
        alike = seen.alike.get(kind, 0)
        if not values or not alike or 4 * (values - alike) > alike:
            continue
        if alike < values and kind in seen.odd:
            marks = "" if kind == "date" else " (and decimal, thousands, strip as its numbers are written)"
            return (
                f"{values - alike:,} of {values:,} values look like no {kind}, the first {seen.odd[kind][:40]!r}; "
                f"say dtype: {dtype}{marks}, and such rows are set aside"
            )
        if alike == values:
            return f"all values look like {kind}s, and no one way reads them all: mixed forms, or impossible ones"
    return None


def _typed_column(name: str, seen: Seen) -> Column:
    known = [d for d in ("text", "int64", "float64", "bool", "date", "timestamp", "timestamp_utc")
             if casting.arrow_type(d) == seen.kind]  # fmt: skip
    least, greatest = seen.ways.get("own", (None, None))
    shown = {"missing": seen.missing, **({} if least is None else {"min": _plain(least), "max": _plain(greatest)})}
    return Column(name=name, dtype=(known or ["own"])[0], missing=[], nullable=seen.missing > 0, seen=shown)


def _decided(  # noqa: PLR0911 (one way after another)
    seen: Seen, decimal: str | None, rules: Rules
) -> tuple[str | None, str | None]:
    """The way in which a column is read, None for text; and what was not settled."""
    left = seen.ways
    if seen.missing == seen.rows:
        return None, "no values"
    if "bool" in left or "int64" in left:
        return ("bool" if "bool" in left else "int64"), None
    if "digits" in left and rules.beyond_64_bits == "text":
        return None, "integers beyond 64 bits; dtype: float64 would lose digits"
    if "float64" in left:
        grouped = "int64  , ." in left
        if decimal == "," and grouped and rules.decimal is None:
            return None, "numbers whose points may be decimal or thousands; say thousands: '.' or decimal: '.'"
        return ("int64  , ." if decimal == "," and grouped else "float64"), None
    for way in ("date", "timestamp", "timestamp_utc"):
        if way in left:
            return way, None
    return _decided_numbers(left, decimal) if _any_number(left) else _decided_dates(left)


def _any_number(left: dict[str, Any]) -> bool:
    return any(w.startswith(("int64 ", "float64 ")) for w in left)


def _decided_numbers(left: dict[str, Any], decimal: str | None) -> tuple[str | None, str | None]:
    names = [w for w in ways() if w in left and w.startswith(("int64 ", "float64 "))]
    by_comma = [w for w in names if ways()[w].decimal == ","]
    by_point = [w for w in names if ways()[w].decimal == "."]
    if decimal == ",":
        by_point = [] if by_comma else by_point
    elif decimal == ".":
        by_comma = [] if by_point else by_comma
    if by_comma and by_point and not _same(left, by_comma, by_point):
        return None, "numbers whose commas may be decimal or thousands; say decimal: ',' or thousands: ','"
    chosen = by_point or by_comma
    return min(chosen, key=lambda w: (len(ways()[w].thousands), ways()[w].dtype != "int64")), None


def _same(left: dict[str, Any], a: list[str], b: list[str]) -> bool:
    """Whether two groups of ways read the same least and greatest values: no mark stands in any number."""
    return {left[w] for w in a} == {left[w] for w in b}


def _decided_dates(left: dict[str, Any]) -> tuple[str | None, str | None]:
    forms = [w.removeprefix("dated ") for w in ways() if w in left and w.startswith("dated ")]
    if not forms:
        return None, None
    swapped = forms[0].translate(str.maketrans("dm", "md"))
    if swapped in forms and swapped != forms[0] and left[f"dated {swapped}"] is not None:
        return None, f"dates in which day and month could be either way; say date_format: '{forms[0]}' or '{swapped}'"
    return f"dated {forms[0]}", None


def _proven_decimal(seen: Any) -> str | None:
    """The decimal mark that columns of marked numbers prove; None where none does, or both are proven."""
    proven = set()
    for s in seen:
        if s.kind is not None or "int64" in s.ways or s.missing == s.rows:
            continue
        marked = [ways()[w].decimal for w in s.ways if w.startswith(("int64 ", "float64 "))]
        if marked and len(set(marked)) == 1 and "float64" not in s.ways:
            proven.add(marked[0])
    return proven.pop() if len(proven) == 1 else None


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else value if isinstance(value, int | float) else str(value)
