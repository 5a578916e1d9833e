"""The page in a browser: filters recompute every figure, names are never markup, nothing leaves the page."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import parquetry as pqy
from orders import COLUMNS, HOSTILE, known_lines, write_orders
from parquetry.errors import MissingDependency
from parquetry.foundation import cohorts, dashboard, sales, sales_cube, trends
from parquetry.foundation.grains import MONTH, WEEK, Grain
from parquetry.foundation.pareto import abc_classes, abc_counts, ranked_table

HAS = ("profit", "product", "category", "region", "customer", "order")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_orders(tmp_path_factory.mktemp("orders") / "lines")


@pytest.fixture(scope="module")
def write_page(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Path]]:
    with pqy.open_engine("local", workers=2) as engine:

        def write(grain: Grain = MONTH) -> Path:
            to, lines = tmp_path_factory.mktemp("page"), pqy.open_dataset(folder)
            frame = sales.sales_lines(engine, lines, COLUMNS, grain)
            facts = sales.sales_facts(frame, lines)
            grouped = sales.grouped_sales(engine, frame, to / "grouped")
            visits = {r: sales.visits(engine, frame, r, to / r) for r in ("customer", "order")}
            ranked = {name: ranked_table(engine, grouped, name, to / f"by_{name}") for name in sales.NAMES}
            cube = sales_cube.sales_cube(engine, grouped, ranked, to, groups=30, visits=visits)
            table = cohorts.cohort_table(engine, visits["customer"], to / "cohorts", step=3)
            totals = {r: sales.distinct(engine, v) for r, v in visits.items()}
            totals["product"] = ranked["product"].num_rows
            counted = cohorts.cohort_counts(table, 3)
            abc = abc_counts(ranked["product"])
            page = dashboard.Page(
                HOSTILE[0], "made <here>", "EUR", True, HAS, totals, 3, counted, abc, ("a <note>",), grain
            )
            (to / "page.html").write_text(dashboard.dashboard_html(cube, facts, page), encoding="utf-8")
            return to / "page.html"

        yield write


@pytest.fixture(scope="module")
def page_path(write_page: Callable[..., Path]) -> Path:
    return write_page()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed.")
    if CHROMIUM is None:
        pytest.skip("There is no Chromium on this machine.")
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[Path], Any]]:
    """Open a page; at the end nothing must have been asked for, said or thrown by it."""
    asked: list[str] = []
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    context.on("request", lambda request: asked.append(request.url))

    def go(path: Path) -> Any:
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("dialog", lambda dialog: wrong.append(dialog.message) or dialog.dismiss())
        page.goto(path.as_uri())
        page.wait_for_selector("#pareto .main-svg")
        return page

    yield go
    context.close()
    assert wrong == []
    assert [url for url in asked if not url.startswith(("file:", "blob:", "data:"))] == []
    assert sum(url.startswith("file:") for url in asked) == 1


def figure(page: Any, name: str) -> float:
    return float(page.get_attribute(f"#kpi-{name}", "data-value"))


def assert_figures(page: Any, known: pd.DataFrame) -> None:
    assert figure(page, "sales") == pytest.approx(known["sales"].sum(), abs=1e-6)
    assert figure(page, "profit") == pytest.approx(known["gain"].sum(), abs=1e-6)
    assert figure(page, "orders") == known["bill"].nunique()
    assert figure(page, "customers") == known["buyer"].nunique()


def tick(page: Any, role: str, *names: str) -> None:
    """Open a filter's menu, tick or untick names, and close it, as a user does."""
    page.click(f"#filter-{role} summary")
    for name in names:
        page.locator(f"#filter-{role} .choices label").get_by_text(name, exact=True).click()
    page.keyboard.press("Escape")
    assert not page.locator(f"#filter-{role} .choices").is_visible()


def ticked(page: Any, role: str) -> list[str]:
    boxes = page.locator(f"#filter-{role} .choices label:has(input:checked)")
    return [text.strip() for text in boxes.all_text_contents()]


def rows(page: Any, name: str) -> pd.DataFrame:
    found = page.evaluate(f"tables.{name}")
    return pd.DataFrame(found["rows"], columns=found["columns"])


def test_filters_recompute_the_figures(visit, page_path, folder):
    page, known = visit(page_path), known_lines(folder)
    assert_figures(page, known)
    # Neither can be added up here: the sums over regions and categories are larger than the figures.
    assert known.groupby("kind")["bill"].nunique().sum() > known["bill"].nunique()

    tick(page, "category", "<i>food</i>")
    food = known[known["kind"] == "<i>food</i>"]
    assert_figures(page, food)
    tick(page, "region", "South & East")
    chosen = food[food["place"] == "South & East"]
    assert_figures(page, chosen)
    page.select_option("#filter-from", label="Mar 2022")
    page.select_option("#filter-to", label="Aug 2022")
    first = 2022 * 12 + 2
    spans = (first, first + 5), (first - 12, first - 7)
    period = chosen[chosen["month"].between(*spans[0])]
    assert_figures(page, period)
    now, before = (chosen.loc[chosen["month"].between(*s), "sales"].sum() for s in spans)
    assert figure(page, "growth") == pytest.approx(now / before - 1)
    shown = page.inner_text("#kpi-growth small")
    assert shown.replace("\u2013", "to") == "Mar 2022 to Aug 2022 against Mar 2021 to Aug 2021"

    products = period.groupby("item")["sales"].sum()
    pd.testing.assert_series_equal(
        rows(page, "products").set_index("product")["sales"].sort_index(), products.sort_index(), check_names=False
    )
    gains = products[products > 0].sort_values(ascending=False)
    assert rows(page, "pareto")["class"].tolist() == abc_classes((gains.to_numpy() * 10_000).round().astype("int64"))
    by_kind = (
        known[(known["place"] == "South & East") & known["month"].between(*spans[0])].groupby("kind")["sales"].sum()
    )
    found = rows(page, "categories").set_index("category")["sales"]
    pd.testing.assert_series_equal(found.sort_index(), by_kind.sort_index(), check_names=False)

    page.click("#reset")
    assert_figures(page, known)


def test_several_values_at_once_and_every_figure_follows(visit, page_path, folder):
    page, known = visit(page_path), known_lines(folder)
    tick(page, "region", "North", "West")
    north_west = known[known["place"].isin(["North", "West"])]
    assert_figures(page, north_west)
    assert page.inner_text("#filter-region summary .value") == "2 of 4"
    tick(page, "category", "tools", "toys")
    chosen = north_west[north_west["kind"].isin(["tools", "toys"])]
    assert_figures(page, chosen)
    figures = rows(page, "figures").set_index("figure")["value"]
    assert set(figures["region"].split("; ")) == {"North", "West"}
    trend, by_month = rows(page, "trend"), chosen.groupby("month")["sales"].sum()
    assert trend["sales"].tolist() == pytest.approx(by_month.tolist())
    products = rows(page, "products").set_index("product")["sales"].sort_index()
    pd.testing.assert_series_equal(products, chosen.groupby("item")["sales"].sum(), check_names=False)
    spans = page.evaluate("windows()")
    first = known["month"].min()
    now, before = (
        chosen[chosen["month"].between(*(first + m for m in spans[k]))].groupby("item")["sales"].sum()
        for k in ("now", "before")
    )
    assert figure(page, "growth") == pytest.approx(now.sum() / before.sum() - 1)
    movers = rows(page, "movers").set_index("product")["change"].sort_index()
    pd.testing.assert_series_equal(movers, now.sub(before, fill_value=0.0), check_names=False, atol=1e-9)
    # A region's bars are those of the categories chosen, whatever regions are.
    places = known[known["kind"].isin(["tools", "toys"])].groupby("place")["sales"].sum()
    found = rows(page, "regions").set_index("region")["sales"].sort_index()
    pd.testing.assert_series_equal(found, places, check_names=False)

    tick(page, "region", "North")
    assert ticked(page, "region") == ["West"]
    assert_figures(page, known[(known["place"] == "West") & known["kind"].isin(["tools", "toys"])])
    page.click("#filter-category summary")
    page.click("#filter-category [data-all]")
    assert_figures(page, known[known["place"] == "West"])
    tick(page, "region", "North", "South & East", "(missing)")  # and so all of them
    assert page.inner_text("#filter-region summary .value") == "All"
    assert_figures(page, known)


def test_the_menus_are_for_the_keyboard_too(visit, page_path, folder):
    page, known = visit(page_path), known_lines(folder)
    page.focus("#filter-region summary")
    page.keyboard.press("Enter")
    for key in ("ArrowDown", "Space", "ArrowDown", "Space"):
        page.keyboard.press(key)
    names = ticked(page, "region")
    assert len(names) == 2
    assert_figures(page, known[known["place"].isin(names)])
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement === document.querySelector('#filter-region summary')")
    page.keyboard.press("Enter")
    page.click("h1")  # elsewhere
    assert not page.locator("#filter-region .choices").is_visible()


def test_the_grain_of_the_trend(visit, write_page, folder):
    page, known = visit(write_page(WEEK)), known_lines(folder)
    assert_figures(page, known)
    assert page.inner_text("#trend h2") == "Sales by week"
    tick(page, "region", "North", "West")
    page.select_option("#filter-from", label="Feb 2022")
    page.select_option("#filter-to", label="Aug 2022")
    chosen = known[known["place"].isin(["North", "West"]) & known["month"].between(2022 * 12 + 1, 2022 * 12 + 7)]
    assert_figures(page, chosen)
    expected = chosen.groupby(chosen["day"].dt.to_period("W-SUN"))["sales"].sum()
    trend = rows(page, "trend")
    assert trend["sales"].sum() == pytest.approx(chosen["sales"].sum())
    sold = trend[trend["lines"] > 0]
    assert sold["sales"].tolist() == pytest.approx(expected.tolist())
    assert sold["week"].tolist() == [str(p.start_time.date()) for p in expected.index]
    # 1 February 2022 was a Tuesday, 31 August a Wednesday.
    assert trend["whole"].tolist()[0] == trend["whole"].tolist()[-1] == "no"
    assert "Week of 31 Jan 2022" in page.inner_text("#trend figcaption")


def until(page, condition: str) -> None:
    """Wait until a condition holds. Playwright's own wait evaluates text within the page, which the page forbids."""
    ends = time.monotonic() + 10
    while not page.evaluate(condition):
        assert time.monotonic() < ends, condition
        page.wait_for_timeout(50)


def test_a_click_on_a_bar_filters(visit, page_path, folder):
    page, known = visit(page_path), known_lines(folder)
    largest = known.groupby("place")["sales"].sum().idxmax()
    box = page.locator("#regions .plot .bars .point").last.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, "state.region.size === 1")
    assert ticked(page, "region") == [largest]
    assert_figures(page, known[known["place"] == largest])
    page.wait_for_timeout(500)  # two quick clicks are a double click to the picture
    box = page.locator("#regions .plot .bars .point").nth(-2).bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    until(page, "state.region.size === 2")
    assert_figures(page, known[known["place"].isin(ticked(page, "region"))])


def test_trend_movers_and_cohorts_are_those_of_the_tables(visit, page_path, folder):
    page, known = visit(page_path), known_lines(folder)
    tables = page_path.parent
    trend = rows(page, "trend")
    by_month = known.groupby("month")["sales"].sum()
    assert trend["sales"].tolist() == pytest.approx(by_month.tolist())
    assert trend["mean of 12"].dropna().tolist() == pytest.approx(by_month.rolling(12).mean().dropna().tolist())
    assert trend["whole"].tolist()[-1] == "no"
    cohort = pqy.open_dataset(tables / "cohorts").to_pandas()
    found = rows(page, "cohorts")
    found = found[found["customers"] > 0]
    assert found["customers"].tolist() == cohort["customers"].tolist()
    assert found["share"].tolist() == pytest.approx(cohort["share"].tolist())

    tick(page, "region", "North")
    north = known[(known["place"] == "North") & known["buyer"].notna()].assign(period=lambda f: f["month"] // 3)
    first = north.groupby("buyer")["period"].transform("min")
    counted = north.assign(c=first, a=north["period"] - first).groupby(["c", "a"])["buyer"].nunique()
    found = rows(page, "cohorts")
    assert found.loc[found["customers"] > 0, "customers"].tolist() == counted.tolist()

    facts = json.loads(page.evaluate("JSON.stringify({first: D.first, spans: windows()})"))
    now, before = (tuple(facts["first"] + m for m in facts["spans"][k]) for k in ("now", "before"))
    movers = rows(page, "movers").set_index("product")
    mine = known[known["place"] == "North"]
    for name, span in (("now", now), ("before", before)):
        sums = mine[mine["month"].between(*span)].groupby("item")["sales"].sum().reindex(movers.index).fillna(0.0)
        assert movers[name].tolist() == pytest.approx(sums.tolist())
    last = known["day"].max().date()
    whole = trends.windows(sales.Facts(1, 1, known["day"].min().date(), last, 0))
    assert (now, before) == (whole.now, whole.before)


def test_names_are_text_and_numbers_can_be_taken_home(visit, page_path):
    page = visit(page_path)
    assert page.title() == HOSTILE[0]
    assert page.inner_text("h1") == HOSTILE[0]
    page.evaluate("state.from = 12; update()")
    assert page.locator("b, i, main img").count() == 0
    shown = " ".join(page.locator("#products .plot .ytick").all_text_contents())
    assert "</script><script>" in shown
    with page.expect_download() as waiting:
        page.click("[data-csv=products]")
    frame = pd.read_csv(waiting.value.path(), encoding="utf-8-sig")
    assert waiting.value.suggested_filename == "products.csv"
    names = set(frame["product"])
    assert {HOSTILE[0], HOSTILE[4], "'=1+1"} <= names  # what a spreadsheet would run is marked as text
    assert "=1+1" not in names
    assert frame["sales"].tolist() == pytest.approx(rows(page, "products")["sales"].tolist())


def test_what_cannot_be_known_is_not_shown(visit, write_page, folder, monkeypatch):
    monkeypatch.setattr(sales_cube, "ENTRIES", 10)
    page, known = visit(write_page()), known_lines(folder)
    assert_figures(page, known)  # all are counted on the engine
    assert "empty" not in page.get_attribute("#cohorts", "class")
    tick(page, "region", "West")
    assert figure(page, "sales") == pytest.approx(known.loc[known["place"] == "West", "sales"].sum(), abs=1e-6)
    for name in ("orders", "customers"):
        assert page.inner_text(f"#kpi-{name} strong") == "n/a"
        assert page.get_attribute(f"#kpi-{name}", "data-value") == ""
    assert "Not available under a filter" in page.inner_text("#cohorts")


def test_products_that_are_not_told_apart_are_said_so(visit, write_page, folder, monkeypatch):
    monkeypatch.setattr(sales_cube, "PRODUCTS", 20)
    path = write_page()
    page, ranked = visit(path), pqy.open_dataset(path.parent / "by_product").to_pandas()
    pareto = rows(page, "pareto")
    assert pareto["class"].tolist() == ranked["class"].tolist()[:20]
    assert pareto["running share"].tolist() == pytest.approx(ranked["running_share"].tolist()[:20])
    gains = ranked[ranked["sales"] > 0]["class"]
    told = page.inner_text("#pareto figcaption")
    assert f"A: {(gains == 'A').sum()} products" in told
    assert f"C: {(gains == 'C').sum()} make the rest" in told
    assert_figures(page, known_lines(folder))
    tick(page, "region", "West")
    assert rows(page, "pareto")["running share"].iloc[-1] == pytest.approx(1.0)
    assert "of the 20 products that sold most in all" in page.inner_text("#pareto figcaption")


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1200, True)])
def test_it_fits_a_phone_and_the_dark(browser, page_path, width, dark):
    scheme = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = context.new_page()
    page.goto(page_path.as_uri())
    page.wait_for_selector("#pareto .main-svg")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, ink = page.evaluate("[getComputedStyle(document.body).backgroundColor, color('ink')]")
    assert (ground, ink) == (("rgb(15, 19, 24)", "#e3e8ee") if dark else ("rgb(244, 246, 248)", "#1c2128"))
    context.close()


def test_the_page_forbids_requests_and_holds_no_markup_of_names(page_path):
    text = page_path.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "<script>alert(1)" not in text
    assert "a &lt;note&gt;" in text
    assert dashboard.script_json(["</script>", "<!--", "a & b", "\u2028"]) == (
        '["\\u003c/script\\u003e","\\u003c!--","a \\u0026 b","\\u2028"]'
    )


def test_without_plotly_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(MissingDependency, match=r"\[dashboard\]"):
        dashboard.require_plotly()
