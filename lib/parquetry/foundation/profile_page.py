"""A profile as one HTML page that needs nothing else, and as a table on the console."""

from __future__ import annotations

import base64
import csv
import io
import math
import os
import pathlib
from typing import Any

from parquetry.folders import free_place, write_whole
from parquetry.foundation.profile_results import ColumnProfile, Profile, plain
from parquetry.report import number

MOST_PICTURES = 100
"""Columns that get a picture of their own; a page with more of them would be slow."""
MOST_SHOWN = 1_000
"""Columns and alerts that a page shows; all are in the numbers that lie in it or beside it."""
MOST_ALONG = 100
"""Columns along which a page shows the target: the strongest."""
MOST_BYTES = 8 * 2**20
"""Numbers of more bytes are not put into the page."""
_HEADINGS = (
    "column",
    "type",
    "missing",
    "distinct",
    "minimum",
    "mean",
    "deviation",
    "median",
    "maximum",
    "most frequent",
)
_ON_CONSOLE = (0, 2, 3, 4, 5, 7, 8)
_LONGEST = 40


def save_profile(profile: Profile, folder: str | os.PathLike[str], *, overwrite: bool = False) -> pathlib.Path:
    """Leave a folder with ``profile.html``, ``profile.json`` and ``columns.csv``; gives the page's path.

    Raises
    ------
    OutputExists, OutputNotWritable
        The folder appears whole or not at all.
    """
    target = free_place(folder, overwrite=overwrite, marker="profile.json")
    files = {
        "profile.html": html(profile).encode(),
        "profile.json": profile.to_json().encode(),
        "columns.csv": as_csv(profile).encode(),
    }
    write_whole(files, target)
    return target / "profile.html"


def html(profile: Profile) -> str:
    """The page; everything that is shown is escaped but our own pictures."""
    from parquetry.foundation.plots_profile import profile_pictures
    from parquetry.report import template

    return template("profile.html.j2").render(
        profile=profile,
        name=os.path.basename(profile.data.rstrip("/")) or profile.data,
        parts=page_parts(profile),
        pictures=[_drawn(p) for p in profile_pictures(profile)],
        number=_number,
    )


def page_parts(profile: Profile) -> dict[str, Any]:
    """What the sections of ``profile_parts.html.j2`` show."""
    along = () if profile.target is None else profile.target.columns
    shown = profile.columns[:MOST_SHOWN]
    return {
        "profile": profile,
        "alerts": profile.alerts[:MOST_SHOWN],
        "places": {c.name: i for i, c in enumerate(shown, 1)},
        "overview": (_HEADINGS, [_overview(c) for c in shown]),
        "along": sorted(along, key=lambda c: (-c.strength if c.strength == c.strength else 0.0, c.column))[:MOST_ALONG],
        "columns": [_column(c, i) for i, c in enumerate(shown)],
        "notes": _cut_notes(profile),
        "files": _files(profile),
        "number": _number,
    }


def _cut_notes(profile: Profile) -> dict[str, str]:
    """What each section does not show."""
    along = 0 if profile.target is None else len(profile.target.columns)
    cuts = (
        ("alerts", MOST_SHOWN, len(profile.alerts), "alerts"),
        ("overview", MOST_SHOWN, len(profile.columns), "columns"),
        ("target", MOST_ALONG, along, "columns"),
        ("columns", MOST_SHOWN, len(profile.columns), "columns"),
        ("pictures", MOST_PICTURES, len(profile.columns), "columns have a picture"),
    )
    return {place: f"The first {most:,} of {n:,} {what}." for place, most, n, what in cuts if n > most}


def _files(profile: Profile) -> list[tuple[str, str, str | None]]:
    """Each file of numbers: its name, its kind, and itself in base64; None where it is too large for a page."""
    files = (
        ("profile.json", "application/json", profile.to_json().encode()),
        ("columns.csv", "text/csv", as_csv(profile).encode()),
    )
    return [
        (name, kind, base64.b64encode(data).decode() if len(data) <= MOST_BYTES else None) for name, kind, data in files
    ]


def show_profile(profile: Profile) -> None:
    """The profile on the console: a line a column, then what to look at."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(soft_wrap=True)
    title = f"{profile.data}: {profile.rows:,} rows, {len(profile.columns):,} columns"
    table = Table(title=Text(title), title_justify="left")
    for i in _ON_CONSOLE:
        table.add_column(_HEADINGS[i], justify="right" if i else "left")
    for column in profile.columns:
        row = _overview(column)
        table.add_row(*(Text(_number(row[i])) for i in _ON_CONSOLE))
    console.print(table)
    for alert in profile.alerts:
        console.print(Text(f"! {alert.column} {alert.text}".replace("!  ", "! ")))
    for note in profile.notes:
        console.print(Text(note))
    reads = "1 read" if profile.reads == 1 else f"{profile.reads} reads"
    console.print(Text(f"{reads}, {profile.seconds:.1f} s on {profile.engine}"))


def _overview(column: ColumnProfile) -> list[Any]:
    numbers = column.numbers if column.kind != "time" else None
    distinct = "-" if column.distinct is None else _count(column.distinct.count, exact=column.distinct.exact)
    middle = None if column.quantiles is None else column.quantiles.values[2]
    return [
        column.name,
        column.type,
        f"{column.missing / column.rows:.1%}" if column.missing else "0",
        distinct,
        _shown(column.minimum),
        None if numbers is None else numbers.mean,
        None if numbers is None else numbers.deviation,
        _shown(middle),
        _shown(column.maximum),
        _shown(str(column.top[0].value)) if column.top and column.top[0].count > 1 else None,
    ]


def _number(value: Any) -> str:
    return "-" if isinstance(value, float) and math.isnan(value) else number(value)


def _count(count: int, *, exact: bool) -> str:
    return f"{count:,}" if exact else f"about {count:,}"


def _shown(value: Any) -> Any:
    if isinstance(value, (int, float)) or value is None:
        return value
    text = str(plain(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _column(column: ColumnProfile, place: int) -> dict[str, Any]:
    from parquetry.foundation.plots_profile import column_picture

    picture = column_picture(column) if place < MOST_PICTURES else None
    plot = None if picture is None else {**_drawn(picture, f"{place}"), "title": ""}
    return {"name": column.name, "type": column.type, "facts": _facts(column), "plot": plot}


def _drawn(picture: Any, place: str = "") -> dict[str, str]:
    from parquetry.foundation.plots import as_svg

    # The title tells one picture's parts from another's: two columns may be drawn alike.
    return {"title": picture.title, "svg": as_svg(picture.figure, picture.title + place), "caption": picture.caption}


def _facts(column: ColumnProfile) -> list[tuple[str, str]]:
    facts: list[tuple[str, Any]] = [("values", column.count), ("missing", column.missing)]
    if column.nans:
        facts.append(("of them NaN", column.nans))
    if column.distinct is not None:
        error = "" if column.distinct.exact else f" (± {column.distinct.error:.1%})"
        facts.append(("distinct", _count(column.distinct.count, exact=column.distinct.exact) + error))
    if column.minimum is not None:
        facts += [("minimum", _shown(column.minimum)), ("maximum", _shown(column.maximum))]
    facts += _number_facts(column) + _text_facts(column)
    return [(key, _number(value)) for key, value in facts]


def _number_facts(column: ColumnProfile) -> list[tuple[str, Any]]:
    numbers, facts = column.numbers, list[tuple[str, Any]]()
    if numbers is not None and column.kind != "time":
        facts = [(k, getattr(numbers, k)) for k in ("mean", "deviation", "skew", "kurtosis", "zeros", "negatives")]
        infinities = numbers.infinities_below + numbers.infinities_above
        facts += [("infinities", infinities)] if infinities else []
    if column.quantiles is not None:
        for q, value, error in zip(column.quantiles.q, column.quantiles.values, column.quantiles.errors, strict=True):
            bound = f" (± {error:.2g})" if error else ""
            facts.append((f"{q:.0%}", number(_shown(value)) + bound))
    if column.outliers is not None:
        bound = f" (± {column.outliers.error:,})" if column.outliers.error else ""
        facts.append(("outliers", f"{column.outliers.count:,}{bound}"))
    return facts


def _text_facts(column: ColumnProfile) -> list[tuple[str, Any]]:
    texts = column.texts
    if texts is None:
        return []
    lengths = texts.characters or texts.bytes
    of = "characters" if texts.characters is not None else "bytes"
    facts: list[tuple[str, Any]] = [
        (of, f"{lengths.minimum:,} to {lengths.maximum:,}, {lengths.mean:.1f} on average"),
        ("empty", texts.empty),
    ]
    spaces = (
        ("blank", texts.blank),
        ("leading space", texts.leading_space),
        ("trailing space", texts.trailing_space),
        ("no UTF-8", texts.invalid),
    )
    return facts + [(k, v) for k, v in spaces if v]


def as_csv(profile: Profile) -> str:
    """One line a column, its facts flat."""
    rows = [_flat(c) for c in profile.columns]
    names = list(dict.fromkeys(k for row in rows for k in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(column: ColumnProfile) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in plain(column).items():
        if key in ("top", "histogram"):
            continue
        if key == "quantiles" and value is not None:
            flat |= {f"quantile_{q:g}": v for q, v in zip(value["q"], value["values"], strict=True)}
        elif isinstance(value, dict):
            for inner, v in value.items():
                flat |= {f"{inner}_{k}": w for k, w in v.items()} if isinstance(v, dict) else {f"{key}_{inner}": v}
        elif not isinstance(value, list):
            flat[key] = value
    # A spreadsheet would run a text that begins like a formula.
    return {k: f"'{v}" if isinstance(v, str) and v[:1] in "=+-@\t\r" and v else v for k, v in flat.items()}
