"""The segments job on its command line: generated and real orders, three engines, one result."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import launching
import parquetry as pqy
from parquetry import catalogue
from parquetry.tabular_input import convert

JOB = Path(__file__).parents[2] / "jobs" / "classical" / "customer_segments.py"
CUSTOMERS = 4_338  # of Online Retail, with at least one line that counts
launch = partial(launching.launch, program=(str(JOB),))


def segments(out: Path) -> Any:
    return json.loads((out / "segments.json").read_text())


@pytest.fixture(scope="module")
def orders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Generated orders as one Parquet file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARQUETRY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return catalogue.find("online_retail", rows=60_000, seed=3).path


@pytest.fixture(scope="module")
def by_local(orders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run's folder on the local engine."""
    folder = tmp_path_factory.mktemp("local")
    done = launch(folder, "--input", str(orders), "--output", "out")
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_the_job_is_short_and_says_how_to_launch_it() -> None:
    text = JOB.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    for line in ("customer_segments.py\n", "--engine dask --workers 2\n", "spark-submit --master spark://"):
        assert line in text


def test_every_customer_is_in_one_segment(by_local: Path) -> None:
    customers = pqy.open_dataset(by_local / "customers").to_pandas()
    assigned = pqy.open_dataset(by_local / "segments").to_pandas()
    profiles = segments(by_local)
    assert assigned["CustomerID"].tolist() == sorted(customers["CustomerID"])
    assert sum(p["customers"] for p in profiles) == len(customers)
    assert sum(p["share_of_sales"] for p in profiles) == pytest.approx(1.0)
    for i, profile in enumerate(profiles):
        mine = assigned[assigned["segment"] == i]
        assert set(mine["name"]) == {profile["name"]}
        assert mine["frequency"].mean() == pytest.approx(profile["frequency"])
        assert mine["monetary"].mean() == pytest.approx(profile["monetary"], abs=0.01)


def test_the_model_is_at_an_optimum_that_scikit_learn_agrees_with(by_local: Path) -> None:
    model = pqy.load(by_local / "model", trusted=["numpy.log1p", "numpy.expm1"])
    customers = pqy.open_dataset(by_local / "customers").to_pandas()[["recency", "frequency", "monetary"]]
    kmeans = model[-1]
    x = model[:-1].transform(customers)
    again = kmeans.__class__(len(kmeans.cluster_centers_), init=kmeans.cluster_centers_, n_init=1).fit(np.asarray(x))
    np.testing.assert_allclose(again.cluster_centers_, kmeans.cluster_centers_, atol=1e-3)
    np.testing.assert_allclose(again.inertia_, kmeans.inertia_, rtol=1e-4)


@pytest.mark.parametrize("name", ["dask", "spark"])
def test_other_engines_give_the_same_bytes(name: str, orders: Path, by_local: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--input", str(orders), "--output", "out", "--engine", name, "--workers", "2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "segments.json").read_bytes() == (by_local / "segments.json").read_bytes()
    ours, theirs = (pqy.open_dataset(f / "segments").to_pandas() for f in (tmp_path / "out", by_local))
    assert ours.equals(theirs)


def test_report_has_pictures_and_names(by_local: Path) -> None:
    page = (by_local / "report.html").read_text(encoding="utf-8")
    assert len(list((by_local / "plots").glob("*.png"))) == 3
    assert all(p["name"] in page for p in segments(by_local))
    assert "where the curve of the inertia bends most" in page


def test_real_orders(real_data: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--output", "out", "--segments", "4", PARQUETRY_DATA=str(real_data))
    assert done.returncode == 0, done.stderr
    assert "real copy under PARQUETRY_DATA" in done.stdout
    profiles = segments(tmp_path / "out")
    assert sum(p["customers"] for p in profiles) == CUSTOMERS
    best = max(profiles, key=lambda p: p["share_of_sales"])
    assert best["name"] == "recent, frequent, big spenders"
    assert best["share_of_sales"] > 0.5 > 0.25 > best["share_of_customers"]


def test_nothing_of_the_real_orders_is_lost_on_the_way_in(real_data: Path, tmp_path: Path) -> None:
    converted = convert(real_data / "online-retail" / "by-day", tmp_path / "rows.parquet")
    frame = pqy.open_dataset(converted.path).select(["CustomerID", "InvoiceNo", "StockCode"]).to_pandas()
    assert (converted.rows, int(frame["CustomerID"].isna().sum())) == (541_909, 135_080)
    assert (frame["CustomerID"].nunique(), frame["InvoiceNo"].nunique(), frame["StockCode"].nunique()) == (
        4_372, 25_900, 4_070,
    )  # fmt: skip


def test_wrong_flags_and_columns(orders: Path, tmp_path: Path) -> None:
    done = launch(tmp_path, "--input", str(orders), "--target", "UnitPrice", "--segments", "1")
    assert done.returncode == 2
    assert "--segments" in done.stderr
    done = launch(tmp_path, "--input", str(orders), "--customer", "Customer", "--output", "out")
    assert done.returncode != 0
    assert "Did you mean 'CustomerID'?" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
