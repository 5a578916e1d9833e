"""The explore job on its command line: an ugly CSV file, three engines, one report."""

from __future__ import annotations

import json
import random
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import launching
import parquetry as pqy

JOB = Path(__file__).parents[2] / "jobs" / "foundation" / "explore_csv.py"
CHROMIUM = Path("/usr/bin/chromium")
NOTES = ["ok", "<script>document.title='run'</script>", "<b>bold</b>", '"a, ""quoted"" one"', ""]
BAD = ["5,2021-01-01,North", "6,2021-01-01,<img src=x onerror=alert(1)>,1,2,3,4,5,6,7"]
FIGURES = ("columns.csv", "ingest.json", "clean.json", "contract.yaml")
FLAGS = ("--target", "amount", "--sample", "300")
launch = partial(launching.launch, program=(str(JOB),))


def ugly_text(rows: int = 600) -> str:
    """Markup, quotes, blanks around words, gaps that go together, and two lines that do not fit."""
    rng = random.Random(1)
    lines = ["id,when,region,amount,note,score,gone,gone too"]
    for i in range(rows):
        when = f"{2021 + i // 250}-{1 + i % 12:02d}-{1 + i % 28:02d}"
        region = rng.choice(["North", "South", " East ", "West"])
        gaps = ["", ""] if i % 4 else ["1.5", str(i % 3)]
        score = "" if i % 5 == 0 else str(rng.randint(1, 10))
        amount = f"{rng.gauss(50 + i % 7 * 5, 9):.2f}"
        lines.append(",".join([str(i), when, region, amount, rng.choice(NOTES), score, *gaps]))
    lines.insert(100, BAD[0])
    lines.insert(200, BAD[1])
    return "\n".join(lines) + "\n"


def launched(folder: Path, *flags: str, **environment: str) -> Path:
    """The run's folder of a job that has gone well."""
    done = launch(folder, *flags, "--output", "out", **environment)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def figures(out: Path) -> Any:
    """All numbers of a run, without the engine's name and its time."""
    profile = json.loads((out / "profile.json").read_text())
    return {k: v for k, v in profile.items() if k not in ("engine", "seconds")}, [
        (out / name).read_bytes() for name in FIGURES
    ]


@pytest.fixture(scope="module")
def ugly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ugly") / "orders.csv"
    path.write_text(ugly_text(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def by_local(ugly: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder on the local engine."""
    return launched(tmp_path_factory.mktemp("local"), "--input", str(ugly), *FLAGS)


def test_the_job_is_short_and_says_how_to_launch_it() -> None:
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for line in ("explore_csv.py\n", "--engine dask --workers 2\n", "spark-submit --master spark://"):
        assert line in text


def test_every_row_is_accounted_for(by_local: Path) -> None:
    told = json.loads((by_local / "ingest.json").read_text())
    assert (told["rows_in"], told["accepted"], told["quarantined"]) == (602, 600, 2)
    aside = pqy.open_dataset(by_local / "quarantine").to_pandas()
    assert (aside["row"].tolist(), aside["raw"].tolist()) == ([101, 201], BAD)
    cleaned = pqy.open_dataset(by_local / "cleaned").to_pandas()
    assert cleaned["id"].tolist() == list(range(600))
    assert set(cleaned["region"]) == {"North", "South", "East", "West"}, "the cautious recipe strips"
    step = json.loads((by_local / "clean.json").read_text())["steps"][0]
    assert step["rows_dropped"] == 0
    assert step["cells"]["region"] == ugly_text().count(" East ")
    profile = json.loads((by_local / "profile.json").read_text())
    assert (profile["rows"], profile["target"]["target"]) == (600, "amount")


@pytest.mark.parametrize("name", ["dask", "spark"])
def test_other_engines_give_the_same_bytes(name: str, ugly: Path, by_local: Path, tmp_path: Path) -> None:
    flags = ("--input", str(ugly), *FLAGS, "--engine", name, "--workers", "2")
    out = launched(tmp_path, *flags)
    assert figures(out) == figures(by_local)
    ours, theirs = (pqy.open_dataset(f / "quarantine").to_pandas() for f in (out, by_local))
    assert ours.equals(theirs)
    for picture in sorted((by_local / "plots").iterdir()):  # the sample of the pair plot among them
        assert (out / "plots" / picture.name).read_bytes() == picture.read_bytes(), picture.name


def test_the_report_opens_without_errors_or_requests(by_local: Path) -> None:
    if not CHROMIUM.exists():
        pytest.skip(f"There is no {CHROMIUM}.")
    playwright = pytest.importorskip("playwright.sync_api")
    page_url, seen = (by_local / "report.html").as_uri(), []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: seen.append(message.text))
        page.on("pageerror", lambda error: seen.append(str(error)))
        page.on("request", lambda request: seen.append(request.url))
        page.goto(page_url)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, "it fits a phone"
        assert page.title().startswith("explore_csv"), "no markup of the data is run"
        assert page.locator("img, main script").count() == 0
        raw = page.locator("td", has_text="onerror=alert(1)")
        assert raw.first.inner_text() == BAD[1]
        assert page.locator("main h2").first.inner_text() == "Alerts"
        broken = page.evaluate(
            "[...document.querySelectorAll('a[href^=\"#\"]')].filter(a => !document.getElementById("
            "decodeURIComponent(a.getAttribute('href').slice(1)))).length"
        )
        assert broken == 0
        assert page.locator("h3[id^=column-]").count() == 8
        link = page.locator("a[download='profile.json']").get_attribute("href")
        told = page.evaluate("async href => JSON.parse(atob(href.split(',')[1])).rows", link)
        assert told == 600
        browser.close()
    assert seen == [page_url]


def test_a_recipe_and_a_contract_are_applied_again(ugly: Path, by_local: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("steps:\n- missing: {columns: [score], fill: median}\n- filter: {where: [[amount, '>', 40]]}\n")
    flags = ["--contract", str(by_local / "contract.yaml"), "--recipe", str(recipe), "--quantiles", "none"]
    out = launched(tmp_path, "--input", str(ugly), *flags)
    cleaned = pqy.open_dataset(out / "cleaned").to_pandas()
    dropped = pqy.open_dataset(out / "dropped").to_pandas()
    assert len(cleaned) + len(dropped) == 600
    assert cleaned["score"].notna().all()
    assert (dropped["amount"] <= 40).all()
    assert 0 < len(dropped) < 100


def test_too_many_bad_rows_leave_nothing(ugly: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--input", str(ugly), "--max-bad", "1", "--output", "out")
    assert done.returncode == 1
    assert "2 of" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_titanic_without_any_input(real_data: Path, tmp_path: Path) -> None:
    out = launched(tmp_path, PARQUETRY_DATA=str(real_data))
    profile = json.loads((out / "profile.json").read_text())
    assert (profile["rows"], profile["target"]["target"]) == (891, "Survived")
    missing = {c["name"]: c["missing"] for c in profile["columns"] if c["missing"]}
    assert missing == {"Age": 177, "Cabin": 687, "Embarked": 2}
