"""Whether a text table's first line names its columns, and what they are then called."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parquetry.foundation.csv_dialect import Dialect

_LONGEST_NAME = 100
_VALUE = re.compile(
    r"\s*([-+]?[\d.,]*\d[\d.,]*([eE][-+]?\d+)?%?|[$€£¥₹]\s?[-+]?[\d.,]*\d|\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T].*)?|"
    r"true|false|na|n/a|nan|null|\?|)\s*",
    re.IGNORECASE,
)


def cells_of(record: bytes, dialect: Dialect) -> list[str]:
    """The values of one record, as text; bytes that its encoding does not know become replacement characters."""
    text = record.decode("utf-8" if dialect.wide else dialect.encoding, "replace")
    csv.field_size_limit(2**31 - 1)
    options: dict[str, Any] = {"delimiter": dialect.delimiter, "quoting": csv.QUOTE_NONE}
    if dialect.quote:
        options = {"delimiter": dialect.delimiter, "quotechar": dialect.quote, "escapechar": dialect.escape or None}
    # As a list of one text, line ends inside of quotation marks stay as they are.
    return next(csv.reader([text.replace("\0", "")], **options), [""])


def is_header(cells: list[list[str]]) -> tuple[bool, str | None]:
    """Whether the first record names the columns; and what had to be assumed.

    It does where a text stands over values that are none; it does not where one of its own cells
    is a value among values, but for years that count up.
    """
    first, rest = cells[0], cells[1:]
    if any(len(c) > _LONGEST_NAME for c in first):
        return False, "no header: the first line holds a long text; say header=True if it names the columns"
    if not rest:
        return True, None
    by_text, by_value = _signs(first, rest)
    if by_text and by_text >= by_value:
        return True, None
    start = _counting(first)
    if by_value and (start is None or any(_counting(row) == start for row in rest)):
        return False, "no header: the first line holds values like those below; say header=True if it names the columns"
    names = [c.strip() for c in first]
    odd = "" if len(set(names)) == len(names) and all(names) else ", though some are empty or the same"
    odd = ", as its numbers count up" if by_value else odd
    return True, f"the first line is taken for the names{odd}; say header=False if it is a row"


def _signs(first: Sequence[str], rest: Sequence[Sequence[str]]) -> tuple[int, int]:
    """How many cells of the first record are texts over values, and how many are values over values."""
    by_text = by_value = 0
    for j, cell in enumerate(first):
        column = [row[j] for row in rest if j < len(row) and row[j].strip()]
        values = sum(bool(_VALUE.fullmatch(c)) for c in column)
        if column and values >= 0.5 * len(column) and cell.strip():
            by_text += _VALUE.fullmatch(cell) is None
            by_value += _VALUE.fullmatch(cell) is not None
    return by_text, by_value


def _counting(cells: Sequence[str]) -> str | None:
    """What the last two cells or more count, where those before are no numbers: ``"years"``, or ``"from 1"``."""
    numbers = [int(c) if re.fullmatch(r"[0-9]{1,4}", c.strip()) else None for c in cells]
    known = [n for n in numbers if n is not None]
    if len(known) < 2 or known != numbers[len(numbers) - len(known) :]:
        return None
    if {b - a for a, b in pairwise(known)} not in ({1}, {5}, {10}):
        return None
    return "years" if known[0] > 1000 else "from 1" if known[:3] == [1, 2, 3] else None


def made_up(cells: list[list[str]]) -> tuple[str, ...]:
    """Names for the columns of a table without a header: as many as most records have."""
    width = max((len(c) for c in cells), key=[len(c) for c in cells].count, default=1)
    return tuple(f"column_{i}" for i in range(width))


def usable_names(given: Sequence[str], notes: list[str]) -> tuple[str, ...]:
    """Names that are there and differ, upper and lower case aside; what was changed is added to the notes."""
    taken: set[str] = set()
    lowered = {g.lower() for g in given}
    names = []
    changed = 0
    for i, name in enumerate(given):
        new = name or f"column_{i}"
        count = 2
        while new.lower() in taken or (new != name and new.lower() in lowered):
            new, count = f"{name or f'column_{i}'}_{count}", count + 1
        if new != name:
            changed += 1
            if changed <= 5:
                notes.append(f"column {i + 1}, named {name!r}, is called {new!r}")
        taken.add(new.lower())
        names.append(new)
    if changed > 5:
        notes.append(f"{changed - 5:,} more columns without a name of their own got one")
    return tuple(names)
