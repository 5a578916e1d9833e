"""The dashboard job on its command line: the real sets, a table of one's own, and wrong settings."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import xlsxwriter

import launching
import parquetry as pqy
from orders import known_lines, write_orders
from parquetry.job import Outcome, execute

JOB = Path(__file__).parents[2] / "jobs" / "foundation" / "sales_dashboard.py"
launch = partial(launching.launch, program=(str(JOB),))


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Outcome]:
    """The job in this process, with flags, in a folder of its own, offline."""
    spec = importlib.util.spec_from_file_location("sales_dashboard", JOB)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "sales_dashboard", module)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARQUETRY_DATA", raising=False)
    monkeypatch.setenv("PARQUETRY_OFFLINE", "1")
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path / "cache"))
    return lambda *flags: execute(module.run, module.Config, flags)


def figures(out: Path) -> dict[str, float]:
    return json.loads((out / "figures.json").read_text())


def test_the_job_is_short_and_says_how_to_launch_it() -> None:
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for line in ("sales_dashboard.py\n", "--engine dask --workers 2\n", "spark-submit --master spark://"):
        assert line in text


def test_the_real_superstore(real_data: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    out, found = tmp_path / "out", figures(tmp_path / "out")
    assert (round(found["sales"], 2), round(found["profit"], 2)) == (2_297_200.86, 286_397.02)
    assert (found["lines"], found["orders"], found["customers"], found["products"]) == (9_994, 5_009, 793, 1_850)
    regions = pqy.open_dataset(out / "tables" / "by_region").to_pandas()
    assert regions["region"].tolist() == ["West", "East", "Central", "South"]
    assert len(pqy.open_dataset(out / "tables" / "months").to_pandas()) == 48
    assert "Superstore" in (out / "dashboard.html").read_text(encoding="utf-8")
    assert len(list((out / "plots").glob("*.png"))) == 2
    assert not (out / "work").exists()


def test_the_real_online_retail(real_data: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--data", "online_retail", "--output", "out", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    assert figures(tmp_path / "out") == {
        "sales": 9_747_747.934, "lines": 541_909, "customers": 4_372, "orders": 25_900, "products": 4_224,
    }  # fmt: skip
    assert "135,080 lines have no customer" in done.stdout


def test_generated_rows_where_there_is_no_copy(job: Callable[..., Outcome], tmp_path: Path) -> None:
    assert job("--output", "out").code == 0
    assert "SYNTHETIC DATA" in (tmp_path / "out" / "dashboard.html").read_text(encoding="utf-8")
    assert figures(tmp_path / "out")["lines"] == 9_994


def test_a_table_of_ones_own_with_a_date_and_an_amount_alone(job: Callable[..., Outcome], tmp_path: Path) -> None:
    folder = write_orders(tmp_path / "lines")
    known_lines(folder)[["day", "sales"]].to_csv(tmp_path / "own.csv", index=False)
    assert job("--input", "own.csv", "--date", "day", "--amount", "sales", "--output", "out").code == 0
    found = figures(tmp_path / "out")
    assert set(found) == {"sales", "lines"}
    assert found["sales"] == pytest.approx(known_lines(folder)["sales"].sum())
    page = (tmp_path / "out" / "dashboard.html").read_text(encoding="utf-8")
    assert 'id="kpi-sales"' in page
    for absent in ("kpi-profit", "kpi-customers", "regions", "pareto", "cohorts"):
        assert f'id="{absent}"' not in page


def test_a_workbook_with_its_sheet_and_the_row_of_its_names(job: Callable[..., Outcome], tmp_path: Path) -> None:
    with xlsxwriter.Workbook(str(tmp_path / "own.xlsx"), {"default_date_format": "yyyy-mm-dd"}) as book:
        book.add_worksheet("notes").write_column(0, 0, ["words"] * 9)
        sheet = book.add_worksheet("orders")
        sheet.merge_range(0, 0, 0, 2, "Orders of the year", None)
        sheet.write_row(1, 0, ["when", "how much", "where"])  # names of groups, and below them those that are meant
        sheet.write_row(2, 0, ["day", "paid", "place"])
        for i in range(100):
            sheet.write_datetime(3 + i, 0, dt.date(2024, 1, 1) + dt.timedelta(days=2 * i))
            sheet.write_row(3 + i, 1, [i + 0.5, "NS"[i % 2]])
    flags = ("--input", "own.xlsx", "--date", "day", "--amount", "paid", "--region", "place", "--grain", "quarter")
    assert job(*flags, "--sheet", "orders", "--header-row", "3", "--output", "out").code == 0
    assert figures(tmp_path / "out") == {"sales": 5_000.0, "lines": 100}
    quarters = pqy.open_dataset(tmp_path / "out" / "tables" / "quarters").to_pandas()
    assert quarters["quarter"].tolist() == [dt.date(2024, 1, 1), dt.date(2024, 4, 1), dt.date(2024, 7, 1)]
    assert "Sales by quarter" in (tmp_path / "out" / "dashboard.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        (("--groups", "0", "--target", "x"), 2, "--groups"),
        (("--date", "day", "--amount", "price", "--sheet", "1", "--output", "out"), 1, "is no workbook"),
        (("--date", "day", "--amount", "price", "--grain", "year"), 2, "--grain"),
        (("--date", "day"), 2, "--input needs --date and --amount"),
        (("--date", "day", "--amount", "prise", "--output", "out"), 1, "Did you mean 'price'?"),
        (("--date", "item", "--amount", "price", "--output", "out"), 1, "not a date"),
    ],
)
def test_wrong_flags_and_columns(job, tmp_path, capsys, flags, code, words) -> None:
    folder = write_orders(tmp_path / "lines", rows=60)
    assert job("--input", str(folder), *flags).code == code
    told = capsys.readouterr().err
    assert words in told
    assert "Traceback" not in told
    assert not (tmp_path / "out").exists()
