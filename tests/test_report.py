"""The report: one file that needs nothing else, and shows everything that a run noted."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parquetry import report
from parquetry.config import JobConfig
from parquetry.foundation import plots
from parquetry.foundation.histograms import Counted, Counted2D
from parquetry.run import Run

HOSTILE = "<script>alert('x')</script> & \"$a_$b --> ]]>"
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects what a page asks for, its ids and links, and whether every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.asked: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(str(value))
            if name in ("href", "xlink:href", "src"):
                (self.links if str(value).startswith("#") else self.asked).append(str(value))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


class Model:
    fit_report_: Any = {
        "placement": "mixed", "passes": 3, "rows": 100, "seconds": 0.25, "engine": "dask", "parallelism": 2,
        "steps": [
            {"step": "impute", "estimator": "SimpleImputer", "placement": "distributed", "why": "", "passes": 2},
            {"step": "lasso", "estimator": "Lasso", "placement": "single-node", "why": "No fitter.", "passes": 1},
        ],
    }  # fmt: skip


def figures(name: str) -> list[Any]:
    edges = np.linspace(-1, 1, 11)
    counts = np.arange(10)
    return [
        plots.distribution(Counted(edges, counts, 1, 2, 3), name),
        plots.residuals(Counted(edges, counts, 0, 0, 0), name),
        plots.against_truth(Counted2D(edges, edges, np.outer(counts, counts), 4, 0), name),
        plots.coefficients({f"{name} {i}": (-1.0) ** i * i for i in range(40)}),
    ]


def made(tmp_path: Path, text: str, *, synthetic: bool) -> Run:
    with Run("house_prices", JobConfig(output=tmp_path / "out", target=text), sources={"target": "flag"}) as run:
        run.engine = {"name": "dask", "parallelism": 2}
        run.origin(text, synthetic=synthetic)
        run.metrics("linear", {"r2": 0.64381, "rmse": 68920.6, "mape": 0.2918, "rows": 4140})
        run.metrics("mean", {"r2": -0.00001, "rmse": 114644.2, "mape": 0.6212, "rows": 4140}, baseline=True)
        run.fitted(text, Model())
        run.agreement({"rows": 4140, "max_absolute": 1.5e-7, "disagreements": 0})
        run.table(text, [text, "weight"], [[text, 1.5], ["b", None]], text)
        run.note(text)
        for i, figure in enumerate(figures(text)):
            run.plot(figure, f"{text} {i}", text)
    return run


@pytest.fixture(params=["a plain name", HOSTILE])
def page(request, tmp_path: Path) -> tuple[str, Page]:
    run = made(tmp_path, request.param, synthetic=True)
    text = (run.folder / "report.html").read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(text)
    return text, parsed


def test_the_page_is_well_formed_and_asks_for_nothing(page):
    text, parsed = page
    assert parsed.open == []
    assert [a for a in parsed.asked if not a.startswith("data:")] == []
    assert parsed.tags.isdisjoint({"script", "link", "iframe", "object"})
    assert not re.search(r"url\((?!#)|@import|<!--", text)
    # Namespaces are names, not requests.
    assert set(re.findall(r"https?://[^\s\"'<]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_ids_are_distinct_and_links_lead_somewhere(page):
    _, parsed = page
    assert len(set(parsed.ids)) == len(parsed.ids)
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert {"#metrics", "#pictures", "#fit", "#onnx", "#settings", "#versions"} <= set(parsed.links)


def test_everything_noted_is_shown(page):
    text, _ = page
    for part in (
        "0.6438",
        "0.0000",
        "68,921",
        "29.2%",
        "mean (baseline)",
        "single-node: No fitter.",
        "1.500e-07",
        "dask",
    ):
        assert part in text
    assert "-0.0000" not in text
    assert text.count("<svg") == 4
    assert "prefers-color-scheme: dark" in text
    assert 'name="viewport"' in text
    assert plots.INK not in text


def test_synthetic_data_is_labeled_and_real_data_is_not(tmp_path: Path, capsys):
    run = made(tmp_path, "made up", synthetic=True)
    report.show(run)
    assert "SYNTHETIC" in (run.folder / "report.html").read_text()
    assert "SYNTHETIC" in capsys.readouterr().out
    real = made(tmp_path / "real", "from the registry", synthetic=False)
    report.show(real)
    assert "SYNTHETIC" not in (real.folder / "report.html").read_text()
    assert "SYNTHETIC" not in capsys.readouterr().out


def test_the_console_shows_names_as_they_are(tmp_path: Path, capsys):
    run = made(tmp_path, "[bold]x[/bold] [/", synthetic=False)
    report.show(run)
    assert "[bold]x[/bold] [/" in capsys.readouterr().out


def test_pictures_are_files_too_and_the_same_every_time(tmp_path: Path):
    first, second = made(tmp_path / "1", "a", synthetic=False), made(tmp_path / "2", "a", synthetic=False)
    names = sorted(p.name for p in (first.folder / "plots").iterdir())
    assert names == ["01-a-0.png", "02-a-1.png", "03-a-2.png", "04-a-3.png"]
    for name in names:
        assert (first.folder / "plots" / name).read_bytes() == (second.folder / "plots" / name).read_bytes()
    assert [p.svg for p in first.contents.plots] == [p.svg for p in second.contents.plots]


def test_an_empty_run_has_a_report(tmp_path: Path):
    with Run("nothing", JobConfig(output=tmp_path / "out")) as run:
        pass
    text = (run.folder / "report.html").read_text()
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []
    assert "#metrics" not in parsed.links


@pytest.mark.parametrize(
    ("value", "name", "shown"),
    [
        (0.64381, "r2", "0.6438"), (-0.00001, "r2", "0.0000"), (0.2918, "mape", "29.2%"), (68920.6, "", "68,921"),
        (1.5e-7, "", "1.500e-07"), (0.0, "", "0"), (4140, "", "4,140"), (True, "", "yes"), (None, "", "-"),
        (["a", "b"], "", "a, b"), (float("nan"), "", "nan"), ("text", "", "text"),
    ],
)  # fmt: skip
def test_numbers(value: Any, name: str, shown: str):
    assert report.number(value, name) == shown


def test_texts_stand_at_the_left_and_figures_at_the_right(tmp_path: Path):
    with Run("job", JobConfig(output=tmp_path / "out")) as run:
        run.table("Mistakes", ["sure", "text", "share"], [["0.97", "call now", 0.5], ["1,000", "12 pm", None]])
        run.plot(plots.residuals(Counted(np.linspace(-1, 1, 11), np.arange(10), 0, 0, 0), "y"), "One")
    text = (run.folder / "report.html").read_text()
    assert '<td class="t">call now</td>' in text
    assert '<td class="n">0.97</td>' in text
    assert '<td class="n">-</td>' in text
    assert 'class="broad"' not in text


def test_no_figure_is_kept_in_pyplots_state(tmp_path: Path):
    import sys

    made(tmp_path, "a", synthetic=False)
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or pyplot.get_fignums() == []
