"""The dashboard: one HTML file with Plotly in it, which answers its filters from the cube and asks nobody."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parquetry.errors import missing
from parquetry.foundation.grains import MONTH, Grain
from parquetry.foundation.sales import PARTS, Facts
from parquetry.foundation.sales_cube import Cube

_HTML = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Page:
    """What the dashboard says besides its figures.

    Attributes
    ----------
    title, origin : str
    unit : str
        Of money; "" where it is not known.
    synthetic : bool
    notes : tuple of str
    has : tuple of str
        Which of ``profit``, ``product``, ``category``, ``region``, ``customer`` and ``order`` the table has.
    totals : dict of str to int
        How many different customers, orders and products there are in all.
    step : int
        Months in a cohort.
    grain : Grain
        Of the trend.
    cohorts : tuple of (int, int, int)
        Period, periods later, customers: of all, for a page that cannot count them itself.
    abc : dict of str to int
        What :func:`parquetry.foundation.pareto.abc_counts` gives, for a page that cannot tell all products apart.
    """

    title: str
    origin: str
    unit: str
    synthetic: bool
    has: tuple[str, ...]
    totals: dict[str, int]
    step: int
    cohorts: tuple[tuple[int, int, int], ...] = ()
    abc: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    grain: Grain = MONTH


def require_plotly() -> None:
    """Refuse early where Plotly is missing.

    Raises
    ------
    MissingDependency
    """
    _plotly_js()


def dashboard_html(cube: Cube, facts: Facts, page: Page) -> str:
    """The whole page.

    Every name is data, never markup: the page holds them as JSON without ``<``, ``>`` and ``&``, and
    writes them as text. A content policy forbids every request.

    Raises
    ------
    MissingDependency
        Plotly is not installed.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    script = _plotly_js()
    environment = Environment(
        loader=PackageLoader("parquetry", "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    data = page_data(cube, facts, page)
    return environment.get_template("dashboard.html.j2").render(
        page=page, facts=facts, cube=cube, plotly=script, data=script_json(data)
    )


def page_data(cube: Cube, facts: Facts, page: Page) -> dict[str, Any]:
    """What the page's script reads: plain lists, whole numbers; months are counted from the first."""
    first, last = facts.months
    return {
        "unit": page.unit,
        "parts": PARTS,
        "grain": {"name": page.grain.name, "year": page.grain.year, "averages": page.grain.averages},
        "periods": _periods(facts, page.grain),
        "first": first,
        "months": last - first + 1,
        "wholeFrom": 0 if facts.first_is_whole else 1,
        "wholeTo": last - first - (not facts.last_is_whole),
        "has": {role: role in page.has for role in ("profit", "product", "category", "region", "customer", "order")},
        "totals": page.totals,
        "step": page.step,
        "firstDay": str(facts.first),
        "lastDay": str(facts.last),
        "regions": list(cube.regions.names) if "region" in page.has else [],
        "categories": list(cube.categories.names) if "category" in page.has else [],
        "products": list(cube.products.names),
        "productsWhole": cube.products.whole,
        "cells": {
            "month": (cube.cells["month"] - first).tolist(),
            "region": cube.cells["region"].tolist(),
            "category": cube.cells["category"].tolist(),
        },
        "sums": {**_lists(cube.sums), "period": (cube.sums["period"] - page.grain.number(facts.first)).tolist()},
        "byProduct": _lists(cube.by_product),
        "sets": {role: cube.sets.get(role) for role in ("customer", "order")},
        "abc": page.abc,
        "cohorts": [list(c) for c in page.cohorts],
    }


def _periods(facts: Facts, grain: Grain) -> list[list[Any]]:
    """Of each period its first day, whether it is whole, and the months of its first and its last day with data."""
    first, found = facts.months[0], []
    for number in grain.numbers(facts.first, facts.last):
        start, end = grain.start(number), grain.end(number)
        months = [MONTH.number(day) - first for day in (max(start, facts.first), min(end, facts.last))]
        found.append([str(start), int(grain.is_whole(number, facts.first, facts.last)), *months])
    return found


def script_json(value: Any) -> str:
    """JSON that may stand within a ``<script>`` element: nothing in it can end the element."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).translate(_HTML)


def _lists(arrays: dict[str, np.ndarray]) -> dict[str, list[int]]:
    return {name: array.tolist() for name, array in arrays.items()}


def _plotly_js() -> str:
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise missing("plotly", "dashboard", "for the interactive dashboard") from error
    text: str = get_plotlyjs()
    return text.replace("</script", "<\\/script")
