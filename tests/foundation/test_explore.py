"""What a report on any table shows beside the profile: counts against pandas, pictures of what they are given."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parquetry as pqy
from parquetry import cli
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation import plots, profile_page
from parquetry.foundation.explore import explored
from parquetry.foundation.missing_together import MissingTogether
from parquetry.foundation.plots_missing import together_picture
from parquetry.foundation.plots_target import target_pictures
from parquetry.foundation.profile_page import html
from parquetry.foundation.row_sample import sample_rows
from parquetry.foundation.times import Calendar, TimeCounts, calendar_of


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 2_000
    when = pd.Timestamp("2019-12-30") + pd.to_timedelta(rng.integers(0, 700 * 86_400, n), unit="s")
    gap, other = rng.random(n) < 0.3, rng.random(n) < 0.1
    return pd.DataFrame(
        {
            "when": pd.Series(when).where(~other),
            "a": np.where(gap, np.nan, rng.normal(size=n)),
            "b": np.where(gap | other, np.nan, rng.normal(5, 2, n)),
            "kind": rng.choice(["x", "y", "$z$"], n),
            "y": rng.normal(10, 3, n),
        }
    )


def test_missing_at_once_is_what_pandas_counts(
    frame: pd.DataFrame, write_parquet: Callable[..., Path], local: Any
) -> None:
    data = pqy.open_dataset(write_parquet(frame))
    names = ["when", "a", "b"]
    view = make_view(data, target=None, features=names)
    (found,) = run_pass(local, [(MissingTogether(names), view)], label="missing")
    gone = frame[names].isna()
    np.testing.assert_array_equal(found.pairs, gone.to_numpy().T.astype(int) @ gone.to_numpy().astype(int))
    counts = gone.value_counts()
    assert {tuple(n in p for n in names): c for p, c in found.patterns} == counts.to_dict()
    assert found.others == 0
    picture = together_picture(found, len(frame))
    assert picture is not None
    texts = [t.get_text() for t in picture.figure.axes[0].texts]
    assert texts[5] == "100%", "b is missing wherever a is"
    assert f"a, b in {counts[False, True, True]:,}" in picture.caption


def test_many_patterns_stay_bounded(write_parquet: Callable[..., Path], local: Any) -> None:
    rng = np.random.default_rng(0)
    values = np.where(rng.random((20_000, 40)) < 0.5, np.nan, 1.0)
    values[:3_000] = np.nan
    table = pd.DataFrame(values, columns=[f"c{i}" for i in range(40)])
    data = pqy.open_dataset(write_parquet(table, row_group_size=5_000))
    view = make_view(data, target=None, features=None)
    (found,) = run_pass(local, [(MissingTogether(list(table)), view)], label="missing")
    assert found.patterns[0] == (frozenset(table), 3_000)
    assert found.others + sum(n for _, n in found.patterns) == 20_000


def test_rows_by_period_and_season_are_those_of_pandas(
    frame: pd.DataFrame, write_parquet: Callable[..., Path], local: Any
) -> None:
    data = pqy.open_dataset(write_parquet(frame))
    view = make_view(data, target=None, features=["when", "y"])
    low, high = frame["when"].min().isoformat(), frame["when"].max().isoformat()
    calendar = calendar_of(low, high)
    assert calendar is not None
    assert (calendar.step, str(calendar.starts()[0])) == ("week", "2019-12-30T00:00:00"), "weeks begin on Monday"
    month = Calendar("month", 50 * 12 - 1, 30)
    weekly, monthly = run_pass(
        local, [(TimeCounts("when", calendar, "y"), view), (TimeCounts("when", month), view)], label="times"
    )
    there = frame.dropna(subset="when")
    by_week = there.set_index("when")["y"].resample("W-MON", closed="left", label="left").agg(["count", "sum"])
    np.testing.assert_array_equal(weekly.counts, by_week["count"])
    np.testing.assert_allclose(weekly.sums, by_week["sum"])
    by_month = there["when"].dt.to_period("M").value_counts().sort_index()
    np.testing.assert_array_equal(monthly.counts[: len(by_month)], by_month)
    for name, part in (("hour of the day", "hour"), ("day of the week", "day_of_week")):
        counts = getattr(there["when"].dt, part).value_counts().sort_index()
        np.testing.assert_array_equal(weekly.seasons[name], counts)


@pytest.mark.parametrize(
    ("first", "last", "step"),
    [
        ("2020-01-01T00:00:00", "2020-01-03T05:00:00", "hour"),
        ("2020-01-01", "2020-01-03", "day"),
        ("1969-12-28", "1970-03-01", "day"),
        ("1700-01-01", "2020-01-01", "year"),
        ("0001-01-01", "9999-12-31", None),
        ("253402300800000000", "253402300800000001", None),
    ],
)
def test_the_step_fits_the_span(first: str, last: str, step: str | None) -> None:
    found = calendar_of(first, last)
    assert (None if found is None else found.step) == step


def test_dates_before_1970_fall_into_their_week(write_parquet: Callable[..., Path], local: Any) -> None:
    days = pd.to_datetime(["1969-12-28", "1969-12-29", "1970-01-04", "1970-01-05"])
    table = pa.table({"d": pa.array(days.date, pa.date32())})
    view = make_view(write_parquet(table, files=1), target=None, features=None)
    (found,) = run_pass(local, [(TimeCounts("d", Calendar("week", -1, 3)), view)], label="times")
    assert found.counts.tolist() == [1, 2, 1]
    assert found.seasons["day of the week"].tolist() == [2, 0, 0, 0, 0, 0, 2]
    assert "hour of the day" not in found.seasons


def test_a_sample_is_rows_of_the_data(frame: pd.DataFrame, write_parquet: Callable[..., Path], local: Any) -> None:
    data = pqy.open_dataset(write_parquet(frame))
    ours = sample_rows(data, ["y", "a"], rows=200, classes="kind", seed=3, engine=local)
    assert ours.values.shape == (200, 2)
    rows = dict(zip(frame["y"], frame["kind"], strict=True))
    assert [rows[y] for y in ours.values[:, 0]] == list(ours.labels)
    with pytest.raises(BadParameter, match="5,000"):
        sample_rows(data, ["y"], rows=5_001, engine=local)


@pytest.mark.parametrize("target", ["y", "kind", None])
def test_pictures_of_a_table(
    target: str | None, frame: pd.DataFrame, write_parquet: Callable[..., Path], local: Any
) -> None:
    data = pqy.open_dataset(write_parquet(frame))
    found = pqy.profile(data, target=target, engine=local)
    pictures = {p.title: p for p in explored(found, data, sample=100, engine=local)}
    assert list(pictures)[:2] == ["Missing values", "Missing together"]
    assert {"when over time", "when by hour of the day", "Pairs of columns"} <= set(pictures)
    assert "sample of 100 of 2,000 rows" in pictures["Pairs of columns"].caption
    drawn = pictures["Pairs of columns"].figure
    assert "sample of 100 of 2,000 rows" in drawn.get_suptitle(), "said on the picture"
    assert ("mean of y" in pictures["when over time"].caption) == (target == "y")
    assert ("y along kind" in pictures) == (target == "y")
    for picture in pictures.values():
        ET.fromstring(plots.as_svg(picture.figure, picture.title))
    if target is not None:
        view = found.target
        assert view is not None
        bars = target_pictures(view)[0].figure.axes[0].patches
        strongest = max(view.columns, key=lambda c: c.strength)
        widths = [v for g in strongest.groups for v in (g.shares or (g.mean,))]
        np.testing.assert_allclose(sorted(b.get_width() for b in bars), sorted(widths))


def test_bytes_that_are_no_utf8_are_told(tmp_path: Path, local: Any) -> None:
    raw = [b"ab", b"\xff\xfe", b"cd", b"\xff\xfe", b"\xc3\xa9"]
    ends = np.cumsum([0, *map(len, raw)]).astype(np.int32)
    texts = pa.Array.from_buffers(pa.string(), len(raw), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(raw))])
    pq.write_table(pa.table({"t": texts, "n": range(5)}), tmp_path / "x.parquet")
    found = pqy.profile(tmp_path / "x.parquet", target="n", engine=local)
    column = found["t"]
    assert column.texts is not None
    assert (column.texts.invalid, column.distinct.count) == (2, 4)
    assert (column.top[0].value, column.top[0].count) == ("\\xff\\xfe", 2)
    assert ("t", "encoding") in {(a.column, a.what) for a in found.alerts}
    assert "has bytes that are no UTF-8 in 2 rows" in html(found)


def test_a_page_of_many_columns_says_what_it_leaves_out(
    tmp_path: Path, local: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_page, "MOST_PICTURES", 3)
    n = 20
    pq.write_table(pa.table({f"c{i}": [1.0, 2.0, float(i)] for i in range(n)}), tmp_path / "x.parquet")
    found = pqy.profile(tmp_path / "x.parquet", quantiles="none", engine=local)
    page = html(found)
    assert f"The first 3 of {n} columns have a picture." in page
    assert page.count('<h3 id="column-') == n
    assert page.count("<figure>") == 3 + 1, "and the matrix of correlations"


def test_the_profile_verb_takes_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,x\n2,y\n3\n4,x\n")
    with pytest.raises(SystemExit) as end:
        cli.main(["profile", str(tmp_path / "x.csv"), "--json"])
    printed = capsys.readouterr().out
    assert end.value.code == 0, printed
    assert "4 rows in = 3 accepted + 1 quarantined, from 1 file." in printed
    assert '"quarantined": 1' in printed.splitlines()[-1]
    assert str(tmp_path / "x.csv") in printed
    pq.write_table(pa.table({"a": [1, 2]}), tmp_path / "y.parquet")
    with pytest.raises(SystemExit) as end:
        cli.main(["profile", str(tmp_path)])
    assert end.value.code == 0, "Parquet beside other files is read where it is"
