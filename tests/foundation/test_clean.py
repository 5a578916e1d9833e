"""Cleaning, one step at a time: against pandas, on the local engine; what is wrong; what is saved."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry import cli
from parquetry.errors import (
    BadParameter,
    BadRecipe,
    BadValue,
    DegenerateColumn,
    EmptyDataset,
    NonFiniteValues,
    OutputExists,
    TooManyCategories,
)
from parquetry.foundation.clean import Cleaned
from parquetry.foundation.cleaning.parsing import Layout, parsed
from parquetry.foundation.cleaning.recipe import Recipe

Run = Callable[..., Cleaned]


def table(n: int = 500) -> pa.Table:
    rng = np.random.default_rng(3)
    return pa.table(
        {
            "x": pa.array(rng.normal(10, 3, n), mask=rng.random(n) < 0.1),
            "f": pa.array(rng.normal(size=n).astype(np.float32), mask=rng.random(n) < 0.1),
            "n": pa.array(rng.integers(0, 50, n), mask=rng.random(n) < 0.1),
            "key": rng.integers(0, 40, n),
            "when": np.datetime64("2024-01-01", "us") + rng.integers(0, 60, n).astype("timedelta64[h]"),
            "word": pa.array(rng.choice(["a", "b", "c", "d"], n, p=[0.6, 0.3, 0.07, 0.03]), mask=rng.random(n) < 0.1),
        }
    )


@pytest.fixture
def run(local: Any, write_parquet: Any, tmp_path: Path) -> Run:
    """Cleans a table, cut into several files and row groups, by some steps."""
    count = iter(range(1_000))

    def call(rows: Any, *steps: Any, **options: Any) -> Cleaned:
        i = next(count)
        given = pa.table(rows) if isinstance(rows, dict) else rows
        data = pqy.open_dataset(write_parquet(given, f"in-{i}", row_group_size=70))
        found = pqy.clean(data, list(steps), to=tmp_path / f"out-{i}", engine=local, **options)
        lost = 0 if found.dropped is None else found.dropped.num_rows
        assert found.rows_in == found.rows_out + found.rows_dropped == given.num_rows
        assert found.dataset.num_rows == found.rows_out
        assert lost in (found.rows_dropped, 0)
        return found

    return call


def at(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def values(found: Cleaned, name: str) -> list[Any]:
    return pa.concat_tables(found.dataset.batches()).column(name).to_pylist() if found.rows_out else []


# --- missing values -------------------------------------------------------------------------
@pytest.mark.parametrize("fill", ["mean", "median"])
def test_numbers_are_filled_as_pandas_does(run: Run, fill: str) -> None:
    frame = table().to_pandas()
    found = run(table(), {"missing": {"columns": ["x", "f", "n"], "fill": fill, "indicator": True}})
    ours = found.dataset.to_pandas()
    for name in ("x", "f", "n"):
        floats = frame[name].astype("float64")
        theirs = floats.fillna(getattr(floats, fill)())
        np.testing.assert_allclose(ours[name].astype("float64"), theirs.astype("float64"), rtol=1e-6)
        assert ours[f"{name}_missing"].tolist() == frame[name].isna().tolist()
        assert found.steps[0]["cells"][name] == frame[name].isna().sum()
    assert found.steps[0]["rows_touched"] == frame[["x", "f", "n"]].isna().any(axis=1).sum()
    assert (ours["n"].dtype, ours["f"].dtype) == (np.float64, np.float32)


def test_modes_and_constants(run: Run) -> None:
    frame = table().to_pandas()
    found = run(table(), {"missing": {"columns": ["word", "n", "when"], "fill": "mode"}})
    for name in ("word", "n"):
        assert values(found, name) == frame[name].fillna(frame[name].mode()[0]).tolist()
    assert found.recipe.learned is not None
    assert found.recipe.learned[0]["when"] == frame["when"].mode()[0]
    found = run(table(), {"missing": {"fill": "constant", "value": {"word": "?", "n": -1}}})
    assert values(found, "word") == frame["word"].fillna("?").tolist()
    assert values(found, "n") == frame["n"].fillna(-1).tolist()
    gaps = run({"x": [1.0, float("nan"), None]}, {"missing": {"fill": "constant", "value": 7}})
    assert values(gaps, "x") == [1, 7, 7]


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_fills_by_key_and_order(run: Run, way: str) -> None:
    frame = table().to_pandas()
    found = run(table(), {"missing": {"columns": ["x", "word"], "fill": way, "by": ["key"], "order": ["when"]}})
    ordered = frame.sort_values(["key", "when"], kind="stable").groupby("key")
    for name in ("x", "word"):
        theirs = (ordered[name].ffill() if way == "forward" else ordered[name].bfill()).sort_index()
        assert pd.Series(values(found, name)).equals(pd.Series(theirs.tolist()))
        assert found.steps[0]["cells"][name] == (frame[name].isna() & theirs.notna()).sum()
    without = run(table(), {"missing": {"columns": ["x"], "fill": way}}).dataset.to_pandas()["x"]
    assert without.equals(frame["x"].ffill() if way == "forward" else frame["x"].bfill())


def test_rows_and_columns_are_dropped(run: Run) -> None:
    rows = table().append_column("rare", pa.array([1.0] * 100 + [None] * 400))
    frame = rows.to_pandas()
    found = run(rows, {"missing": {"drop": "columns", "above": 0.5}}, {"missing": {"drop": "rows"}})
    theirs = frame.drop(columns="rare").dropna()
    assert values(found, "key") == theirs["key"].tolist()
    assert found.dropped is not None
    lost = found.dropped.to_pandas()
    assert lost["key"].tolist() == frame.drop(theirs.index)["key"].tolist()
    assert lost["rare"].notna().sum() == frame.drop(theirs.index)["rare"].notna().sum()
    assert set(lost["dropped_step"]) == {"2 missing"}
    place = frame.index[~frame.index.isin(theirs.index)][0]
    assert lost[["dropped_file", "dropped_row_group", "dropped_row"]].iloc[0].tolist() == ["part-0.parquet", 0, place]
    found = run(rows, {"missing": {"drop": "rows", "how": "all", "columns": ["x", "word"]}}, dropped=False)
    assert values(found, "key") == frame.dropna(how="all", subset=["x", "word"])["key"].tolist()
    assert found.dropped is None


def test_markers_become_missing(run: Run) -> None:
    rows = {"a": [1.0, -200.0, 3.0], "b": [-200, 5, 6], "c": ["?", "ok", "-200"]}
    found = run(rows, {"mark_missing": {"values": [-200, "?"]}})
    assert [values(found, c) for c in "abc"] == [[1.0, None, 3.0], [None, 5, 6], [None, "ok", "-200"]]
    assert found.steps[0]["cells"] == {"a": 1, "b": 1, "c": 1}


# --- outliers -------------------------------------------------------------------------------
def bounds(x: pd.Series, method: str) -> tuple[float, float]:
    if method == "iqr":
        low, high = x.quantile(0.25), x.quantile(0.75)
        return low - 1.5 * (high - low), high + 1.5 * (high - low)
    if method == "zscore":
        return x.mean() - 3 * x.std(ddof=0), x.mean() + 3 * x.std(ddof=0)
    if method == "mad":
        spread = 1.482602218505602 * (x - x.median()).abs().median()
        return x.median() - 3.5 * spread, x.median() + 3.5 * spread
    return x.quantile(0.05), x.quantile(0.95)


@pytest.mark.parametrize("method", ["iqr", "zscore", "mad", "quantile"])
def test_outliers(run: Run, method: str) -> None:
    rng = np.random.default_rng(5)
    x = pd.Series(np.where(rng.random(400) < 0.05, 50.0, 1.0) * rng.normal(1, 1, 400))
    n = (x * 10).round().astype("int64")
    rows = {"x": pa.array(x.where(x.index != 7), from_pandas=True), "n": pa.array(n)}
    x = x.where(x.index != 7)
    options = {"method": method} | ({"low": 0.05, "high": 0.95} if method == "quantile" else {})
    low, high = bounds(x, method)
    found = run(rows, {"outliers": {"columns": ["x"], "action": "flag", **options}})
    np.testing.assert_allclose(found.recipe.learned[0]["x"], [low, high], rtol=1e-9)  # type: ignore[index]
    outside = (x < low) | (x > high)
    assert 0 < outside.sum() == found.steps[0]["outliers"]["x"]
    assert values(found, "x_outlier") == outside.tolist()
    clipped = run(rows, {"outliers": {"action": "clip", **options}})
    np.testing.assert_allclose(clipped.dataset.to_pandas()["x"], x.clip(low, high), rtol=1e-9)
    low, high = bounds(n, method)
    assert values(clipped, "n") == n.clip(np.ceil(low), np.floor(high)).astype("int64").tolist()
    dropped = run(rows, {"outliers": {"columns": ["x"], "action": "drop", **options}})
    assert values(dropped, "n") == n[~outside].tolist()
    missing = run(rows, {"outliers": {"columns": ["x"], "action": "missing", **options}})
    assert missing.dataset.to_pandas()["x"].equals(x.mask(outside))


# --- duplicates -----------------------------------------------------------------------------
@pytest.mark.parametrize("keep", ["first", "last", "none"])
def test_duplicates(run: Run, keep: Any) -> None:
    frame = table().to_pandas()
    pandas_keep: Any = False if keep == "none" else keep
    found = run(table(), {"duplicates": {"by": ["key"], "order": ["when"], "keep": keep}})
    theirs = frame.sort_values("when", kind="stable").drop_duplicates("key", keep=pandas_keep).sort_index()
    assert found.dataset.to_pandas()["when"].tolist() == theirs["when"].tolist()
    rows = table().select(["word", "n", "f"]).set_column(2, "f", pa.array([0.0, -0.0] * 250))
    twice = pa.concat_tables([rows, rows.slice(100, 30)])
    found = run(twice, {"duplicates": {"keep": keep}})
    theirs = twice.to_pandas().drop_duplicates(keep=pandas_keep).reset_index(drop=True)
    pd.testing.assert_frame_equal(found.dataset.to_pandas(), theirs, check_dtype=False)
    by_gaps = run(table(), {"duplicates": {"by": ["word", "n"], "keep": keep, "missing_keys": "equal"}})
    assert values(by_gaps, "key") == frame.drop_duplicates(["word", "n"], keep=pandas_keep)["key"].tolist()


def test_rows_without_a_key_or_an_order(run: Run) -> None:
    rows = {"k": ["a", None, "a", None], "o": [2.0, 1.0, float("nan"), 1.0], "i": [0, 1, 2, 3]}
    assert values(run(rows, {"duplicates": {"by": ["k"], "missing_keys": "keep"}}), "i") == [0, 1, 3]
    assert values(run(rows, {"duplicates": {"by": ["k"], "order": ["o"], "missing_keys": "keep"}}), "i") == [1, 2, 3]
    ties = {"duplicates": {"by": ["k"], "order": ["o"], "keep": "last", "missing_keys": "equal"}}
    assert values(run(rows, ties), "i") == [0, 3]  # of equal order the later row of the data is the last
    with pytest.raises(
        DegenerateColumn, match=r"step 1 \(duplicates\): A key of k is missing, first in .*part-0.parquet .*row 1\."
    ):
        run(rows, {"duplicates": {"by": ["k"]}})


# --- types, numbers, dates ------------------------------------------------------------------
def test_types(run: Run) -> None:
    rows = {
        "i": ["7", " +8 ", "9.0", "2.5", "", "9223372036854775807", "9223372036854775808", None],
        "x": ["1.5", "-2e3", ".5", "1,5", "nan", "1e999", " ", "3."],
        "b": ["Yes", "no", "T", "0", "maybe", "", None, "1"],
        "d": ["2024-02-29", "2023-02-29", "2024-13-01", "01/02/2024", " 2024-01-01 ", "", "2024-1-5", "0001-01-01"],
        "t": ["2024-02-29T23:59:59.25", "2024-01-01 12:30", "2024-01-01", "2024-01-01 24:00", "", "x", None, "2024"],
        "f": [1.0, 2.5, float("nan"), None, -3.0, 1e300, 0.0, 5.0],
    }
    kinds = {"i": "integer", "x": "number", "b": "boolean", "d": "date", "t": "timestamp", "f": "integer"}
    found = run(rows, {"types": {"columns": kinds, "on_failure": "missing"}})
    assert values(found, "i") == [7, 8, 9, None, None, 2**63 - 1, None, None]
    assert values(found, "x") == [1.5, -2000.0, 0.5, None, None, None, None, 3.0]
    assert values(found, "b") == [True, False, True, False, None, None, None, True]
    day = dt.date
    expected = [day(2024, 2, 29), None, None, None, day(2024, 1, 1), None, day(2024, 1, 5), day(1, 1, 1)]
    assert values(found, "d") == expected
    time = dt.datetime
    assert values(found, "t") == [
        time(2024, 2, 29, 23, 59, 59, 250_000), time(2024, 1, 1, 12, 30), time(2024, 1, 1), *[None] * 5,
    ]  # fmt: skip
    assert values(found, "f") == [1, None, None, None, -3, None, 0, 5]
    assert found.steps[0]["failed"] == {"i": 2, "x": 3, "b": 1, "d": 3, "t": 3, "f": 2}
    with pytest.raises(BadValue, match=r"Column 'i' holds '2.5', which is no integer, in .*row 3\."):
        run(rows, {"types": {"columns": {"i": "integer"}}})
    back = run(found.dataset.select(["i", "d", "b"]).to_pandas().pipe(pa.Table.from_pandas), "duplicates")
    assert back.rows_out


@pytest.mark.parametrize(
    ("options", "texts", "wanted"),
    [
        ({"thousands": ","}, ["1,234.5", "12,34", "1234", "-1,000", "(5)", "", "(5", "1e3"],
         [1234.5, None, 1234, -1000, -5, None, None, 1000]),
        ({"decimal": ",", "thousands": "."}, ["1.234,5", "1,5", "1.5"], [1234.5, 1.5, None]),
        ({"decimal": ",", "thousands": " "}, ["1\u202f234,5", "1\u00a0000", "1 000"], [1234.5, 1000, 1000]),
        ({"currency": True, "thousands": ","}, ["$1,234", "€ 5", "7 £", "-$3", "$-3", "--3", "5 kg"],
         [1234, 5, 7, -3, -3, None, None]),
        ({"currency": ["USD", "$"]}, ["USD 5", "5 USD", "€5"], [5, 5, None]),
        ({"percent": True}, ["5%", "12.5 %", "3"], [0.05, 0.125, 3]),
        ({"units": {"kg": 1, "g": 0.001}}, ["5 kg", "500g", "5", "5 lb"], [5, 0.5, None, None]),
        ({"units": {"kg": 1, "m2": 10}, "without_unit": 2}, ["5 kg", "5", "5 m2"], [5, 10, 50]),
        ({}, ["5 kg", "5%", "$5", "1 000", "7"], [None, None, None, None, 7]),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(run: Run, options: Any, texts: list[str], wanted: list[Any]) -> None:
    found = run({"x": texts}, {"numbers": {"columns": ["x"], "on_failure": "missing", **options}})
    assert values(found, "x") == wanted
    failed = sum(w is None and t.strip() != "" for w, t in zip(wanted, texts, strict=True))
    assert found.steps[0].get("failed", {}).get("x", 0) == failed


def test_units(run: Run) -> None:
    rows = {"c": [0.0, 100.0, None], "m": [1, 2, 3]}
    steps = {"units": {"columns": {"c": {"factor": 1.8, "offset": 32}, "m": {"factor": 100, "to": "cm"}}}}
    found = run(rows, steps)
    assert [values(found, c) for c in ("c", "m", "cm")] == [[32, 212, None], [1, 2, 3], [100, 200, 300]]


@pytest.mark.parametrize("layout", ["%d/%m/%Y", "%Y-%j", "%b %d, %y %I:%M %p", "%d %B %Y %H:%M:%S.%f", "%d.%m.%Y %z"])
def test_layouts_are_read_as_strptime_reads_them(layout: str) -> None:
    rng = np.random.default_rng(1)
    days = [at("1970-01-01") + dt.timedelta(minutes=int(m)) for m in rng.integers(0, 40_000_000, 300)]
    zone = dt.timezone(dt.timedelta(hours=-3))
    texts = [(d.replace(tzinfo=zone) if "%z" in layout else d).strftime(layout) for d in days]
    texts += ["31/02/2024", "Feb 30, 24 01:00 AM", "x", "01/13/2024", "Jan 1, 24 13:00 PM"]

    def theirs(text: str) -> Any:
        try:
            read = dt.datetime.strptime(text, layout)  # noqa: DTZ007
        except ValueError:
            return None
        return read.astimezone(dt.UTC).replace(tzinfo=None) if read.tzinfo else read

    # 2023-366 is a day of 2024 to strptime; here it is none.
    assert parsed(pa.array(["2023-366"]), Layout.of("%Y-%j")).to_pylist() == [None]
    assert parsed(pa.array(texts), Layout.of(layout)).to_pylist() == [theirs(t) for t in texts]


def test_dates(run: Run) -> None:
    rows = {"d": ["31/12/2024 23:30", "01/07/2024 00:30", "7/4/2024 1:05", "", "2024-01-01"]}
    options = {"columns": ["d"], "format": "%d/%m/%Y %H:%M", "on_failure": "missing"}
    found = run(rows, {"dates": {**options, "timezone": "Europe/Berlin", "parts": ["year", "weekday", "week", "hour"]}})
    wall = pd.to_datetime(pd.Series(rows["d"]), format="%d/%m/%Y %H:%M", errors="coerce")
    ours = found.dataset.to_pandas()
    assert (
        ours["d"]
        .astype("datetime64[us, UTC]")
        .equals(wall.dt.tz_localize("Europe/Berlin").dt.tz_convert("UTC").astype("datetime64[us, UTC]"))
    )
    assert ours["d_weekday"].iloc[:3].tolist() == (wall.dt.day_of_week + 1).iloc[:3].tolist()
    assert ours[["d_year", "d_week", "d_hour"]].iloc[0].tolist() == [2024, 1, 23]
    assert found.steps[0]["failed"] == {"d": 1}
    twofold = {"dates": {"columns": ["d"], "format": ["%d/%m/%Y", "%m/%d/%Y"], "to": "date", "on_failure": "missing"}}
    found = run({"d": ["01/02/2024", "13/02/2024", "02/13/2024", "05/05/2024"]}, twofold)
    assert values(found, "d") == [None, dt.date(2024, 2, 13), dt.date(2024, 2, 13), dt.date(2024, 5, 5)]
    with pytest.raises(BadValue, match="showed twice or never"):
        run({"d": ["31/03/2024 02:30"]}, {"dates": {**options, "timezone": "Europe/Berlin"}})


# --- text, categories, columns, rows --------------------------------------------------------
def test_text(run: Run) -> None:
    rows = {"t": ["  \uff21  b\t\nC ", "e\u0301", "N/A", "", None, "tel: 12-34"]}
    found = run(rows, {"text": {"unicode": "NFKC", "strip": True, "collapse": True, "case": "lower",
                                "regex": [{"pattern": r"(\d+)-(\d+)", "to": r"\1\2"}],
                                "replace": {"n/a": "none"}, "empty_is_missing": True}})  # fmt: skip
    assert values(found, "t") == ["a b c", "\u00e9", "none", None, None, "tel: 1234"]
    assert found.steps[0]["cells"] == {"t": 5}


def test_categories_and_new_data(run: Run, local: Any, write_parquet: Any, tmp_path: Path) -> None:
    frame = table().to_pandas()
    found = run(table(), {"categories": {"columns": ["word"], "min_share": 0.1}})
    counts = frame["word"].value_counts(normalize=True)
    theirs = frame["word"].where(frame["word"].isna() | frame["word"].map(counts).ge(0.1), "other")
    assert found.dataset.to_pandas()["word"].equals(theirs)
    assert "unseen" not in found.steps[0]
    new = pqy.open_dataset(write_parquet({"word": ["a", "new", "d", None], "extra": [1, 2, 3, 4]}, "new", files=1))
    again = pqy.clean(new, found.recipe, to=tmp_path / "new-out", engine=local)
    assert values(again, "word") == ["a", "other", "other", None]
    assert again.steps[0]["unseen"] == {"word": 1}
    mapped = run({"w": ["x", "y", "z"]}, {"categories": {"mapping": {"x": "g", "y": "g"}}})
    assert (values(mapped, "w"), mapped.steps[0]["unseen"]) == (["g", "g", "z"], {"w": 1})
    top = run({"w": list("aabbccd")}, {"categories": {"top": 2, "other": "rest"}})
    assert values(top, "w") == ["a", "a", "b", "b", "rest", "rest", "rest"]


@pytest.mark.parametrize(
    ("where", "pandas"),
    [
        ([["x", ">", 10]], lambda f: f["x"] > 10),
        ([["n", "<=", 10.5]], lambda f: f["n"] <= 10.5),
        ([["word", "!=", "a"]], lambda f: f["word"].notna() & (f["word"] != "a")),
        ([["word", "in", ["a", "b"]]], lambda f: f["word"].isin(["a", "b"])),
        ([["word", "not_in", ["a", "b"]]], lambda f: f["word"].notna() & ~f["word"].isin(["a", "b"])),
        ([["n", "between", [5, 7]]], lambda f: f["n"].between(5, 7)),
        ([["x", "is_missing"]], lambda f: f["x"].isna()),
        ([["word", "matches", "^[ab]$"]], lambda f: f["word"].isin(["a", "b"])),
        ([["when", ">=", at("2024-01-02")]], lambda f: f["when"] >= "2024-01-02"),
    ],
)
def test_filters(run: Run, where: Any, pandas: Any) -> None:
    frame = table().to_pandas()
    found = run(table(), {"filter": {"where": where}})
    assert values(found, "key") == frame[pandas(frame)]["key"].tolist()
    assert 0 < found.rows_out < found.rows_in


def test_columns(run: Run) -> None:
    found = run(table(), {"rename": {"columns": {"x": "y"}}}, {"select": {"columns": ["y", "key", "n"]}},
                {"drop": {"columns": ["n"]}})  # fmt: skip
    assert found.dataset.columns == ("y", "key")
    assert found.dataset.to_pandas()["y"].equals(table().to_pandas()["x"])


# --- learned recipes ------------------------------------------------------------------------
def test_a_learned_recipe_is_saved_and_applied_without_learning(
    run: Run, local: Any, write_parquet: Any, tmp_path: Path
) -> None:
    steps = [{"missing": {"columns": ["x"], "fill": "mean"}}, {"missing": {"columns": ["n", "when"], "fill": "mode"}},
             {"outliers": {"columns": ["f"], "action": "clip"}}]  # fmt: skip
    first = run(table(), *steps)
    first.recipe.save(tmp_path / "learned.yaml")
    read = Recipe.of(tmp_path / "learned.yaml")
    assert read == first.recipe
    new = write_parquet({"x": [None, 5.0], "n": [None, 1], "f": [99.0, 0.0], "when": [None, at("2020-01-01")]})
    rows = pa.parquet.read_table(new).cast(table().select(["x", "n", "f", "when"]).schema)
    again = pqy.clean(write_parquet(rows, "typed", files=1), read, to=tmp_path / "out", engine=local)
    learned: Any = first.recipe.learned
    assert values(again, "x") == [learned[0]["x"], 5.0]
    assert values(again, "n") == [learned[1]["n"], 1]
    assert values(again, "when") == [learned[1]["when"], at("2020-01-01")]
    assert values(again, "f")[0] == np.float32(learned[2]["f"][1])
    with pytest.raises(BadRecipe, match=r"(?s)learned on other columns.*'f' is double; it was float.*no column 'when'"):
        pqy.clean(write_parquet({"x": [1.0], "n": [1], "f": [1.0]}, "other"), read, to=tmp_path / "no", engine=local)
    broken = (tmp_path / "learned.yaml").read_text().replace("  - x: ", "  - z: ")
    (tmp_path / "broken.yaml").write_text(broken)
    with pytest.raises(BadRecipe, match="nothing is learned of x"):
        Recipe.of(tmp_path / "broken.yaml")


def test_a_whole_number_that_delta_cannot_hold(run: Run) -> None:
    rows = pa.table({"u": pa.array([1, 2**63], pa.uint64())})
    with pytest.raises(pqy.errors.WrongColumnType, match="9223372036854775808"):
        run(rows, "duplicates")


def test_new_data_without_a_target(run: Run, write_parquet: Any, local: Any, tmp_path: Path) -> None:
    """A step for all columns names the target when it has learned: said, and undone by hand in the saved recipe."""
    new = write_parquet({"x": [None, 5.0]}, "new")
    first = run(pa.table({"x": [1.0, None, 3.0], "target": [1.0, 2.0, None]}), {"missing": {"fill": "mean"}})
    with pytest.raises(BadRecipe, match=r"(?s)step 1 \(missing\): there is no column 'target'.*take those.*out of its"):
        pqy.clean(new, first.recipe, to=tmp_path / "no", engine=local)
    text = first.recipe.to_yaml().replace("    - target\n", "", 1)
    (tmp_path / "learned.yaml").write_text(text)
    again = pqy.clean(new, tmp_path / "learned.yaml", to=tmp_path / "yes", engine=local)
    assert values(again, "x") == [2.0, 5.0]


# --- bad input ------------------------------------------------------------------------------
def test_all_faults_of_a_recipe_are_told_at_once() -> None:
    steps = [{"mising": {}}, {"missing": {"fil": "mean"}}, {"outliers": {"method": "iqrr"}}, {"filter": {}},
             {"text": {"regex": [{"pattern": "("}]}}, {"dates": {"columns": ["d"], "format": "%d/%m"}}, 5,
             {"filter": {"where": [["x", "is_missing", 3]]}}]  # fmt: skip
    with pytest.raises(BadRecipe) as error:
        Recipe.of(steps)
    for part in ("8 faults", "step 1: there is no step 'mising'. Did you mean 'missing'?",
                 "step 2 (missing): there is no parameter 'fil'. Did you mean 'fill'?", "step 3 (outliers): method",
                 "step 4 (filter): the parameter 'where' is needed", "no regular expression", "has no year",
                 "step 7 is not written as", "is_missing takes no value"):  # fmt: skip
        assert part in str(error.value), part


def test_a_recipe_that_does_not_fit_the_columns(run: Run) -> None:
    steps = [{"missing": {"columns": ["agee"], "fill": "mean"}}, {"missing": {"columns": ["word"], "fill": "mean"}},
             {"filter": {"where": [["x", ">", "five"]]}}, {"rename": {"columns": {"x": "n"}}},
             {"dates": {"columns": ["word"]}}, {"types": {"columns": {"x": "date"}}},
             {"missing": {"fill": "constant", "value": {"n": 1.5}}}, {"select": {"columns": ["wrd"]}}]  # fmt: skip
    with pytest.raises(BadRecipe) as error:
        run(table(), *steps)
    for part in ("8 faults", "no column 'agee'", "'word' is string, not numbers", "'x' is double: > 'five'",
                 "two columns would be named 'n'", "name its format", "cannot become date", "1.5 is none",
                 "Did you mean 'word'?"):  # fmt: skip
        assert part in str(error.value), part
    with pytest.raises(BadRecipe, match="After the steps before"):
        run({"a": [1.0, 2.0], "b": pa.nulls(2, pa.float64())}, {"missing": {"drop": "columns"}},
            {"missing": {"columns": ["b"], "fill": "constant", "value": 0}})  # fmt: skip


def test_nothing_to_learn_from(run: Run) -> None:
    empty = {"x": pa.nulls(3, pa.float64()), "w": pa.array(["a", "b", "c"])}
    for fill in ("mean", "median", "mode"):
        with pytest.raises(DegenerateColumn, match=f"the {fill} of: all are missing"):
            run(empty, {"missing": {"columns": ["x"], "fill": fill}})
    with pytest.raises(DegenerateColumn, match="all its values are missing"):
        run(empty, {"outliers": {"columns": ["x"]}})
    with pytest.raises(DegenerateColumn, match="quartiles' range of zero"):
        run({"x": [1.0, 1.0, 1.0, 1.0, 1.0, 9.0]}, {"outliers": {}})
    with pytest.raises(EmptyDataset, match="dropped them all"):
        run(empty, {"filter": {"where": [["w", "==", "z"]]}}, {"missing": {"columns": ["w"], "fill": "mode"}})
    with pytest.raises(NonFiniteValues, match="'x' holds infinity"):
        run({"x": [1.0, float("inf")]}, {"missing": {"columns": ["x"], "fill": "mean"}})
    with pytest.raises(EmptyDataset):
        run({"x": pa.array([], pa.float64())}, {"missing": {"fill": "mean"}})


def test_nothing_half_written_stays(run: Run, local: Any, write_parquet: Any, tmp_path: Path, monkeypatch: Any) -> None:
    data = write_parquet({"x": ["1", "2", "?"] * 50, "k": list(range(150))})
    steps = [{"duplicates": {"by": ["k"]}}, {"types": {"columns": {"x": "integer"}}}]
    with pytest.raises(BadValue):
        pqy.clean(data, steps, to=tmp_path / "out", engine=local)
    assert [p.name for p in tmp_path.iterdir() if p.name != "data"] == []
    every = [{"filter": {"where": [["x", "==", "none"]]}}]
    found = pqy.clean(data, every, to=tmp_path / "out", engine=local)
    assert (found.rows_out, found.dropped.num_rows) == (0, 150)  # type: ignore[union-attr]
    with pytest.raises(OutputExists):
        pqy.clean(data, every, to=tmp_path / "out", engine=local)
    with pytest.raises(BadParameter, match="where the others go"):
        pqy.clean(data, every, to=tmp_path / "o", dropped=tmp_path / "o", engine=local)
    monkeypatch.setattr("parquetry.foundation.cleaning.missing.LIMIT", 10)
    with pytest.raises(TooManyCategories):
        run({"w": [str(i) for i in range(99)]}, {"missing": {"fill": "mode"}})


def test_a_split_is_cleaned_too(local: Any, write_parquet: Any, tmp_path: Path) -> None:
    data = pqy.open_dataset(write_parquet(table()))
    train, test = data.split(test=0.3, seed=1)
    steps = [{"missing": {"columns": ["x"], "fill": "mean"}}, {"duplicates": {"by": ["key"]}}]
    first = pqy.clean(train, steps, to=tmp_path / "train", engine=local)
    again = pqy.clean(test, first.recipe, to=tmp_path / "test", engine=local)
    theirs = train.to_pandas()
    assert values(first, "key") == theirs["key"].drop_duplicates().tolist()
    assert values(again, "key") == test.to_pandas()["key"].drop_duplicates().tolist()
    assert first.recipe.learned[0]["x"] == pytest.approx(theirs["x"].mean(), rel=1e-12)  # type: ignore[index]


def test_the_verb(write_parquet: Any, tmp_path: Path, capsys: Any) -> None:
    data, recipe, out = write_parquet(table()), tmp_path / "r.yaml", tmp_path / "out"
    recipe.write_text("steps:\n- missing: {columns: [x], fill: mean}\n- duplicates: {by: [key]}\n")

    def call(*words: Any) -> tuple[int, Any, str]:
        with pytest.raises(SystemExit) as end:
            cli.main([str(w) for w in ("clean", *words, "--json")])
        said = capsys.readouterr()
        return int(end.value.code or 0), json.loads(said.out.splitlines()[-1]), said.out + said.err

    code, value, said = call(data, out, "--recipe", recipe, "--learned", tmp_path / "l.yaml")
    assert (code, value["rows_in"], value["rows_out"] + value["rows_dropped"]) == (0, 500, 500)
    assert "500 rows in = 40 rows out + 460 dropped" in said
    assert Recipe.of(tmp_path / "l.yaml").learned is not None
    assert call(data, out, "--recipe", recipe)[0] == 1  # it is there
    assert call(data, out, "--recipe", recipe, "--mode", "overwrite", "--no-dropped")[:2][0] == 0
    code, value, said = call(data, out, "--recpe", recipe, "--mode", "over")
    assert (code, value["error"]) == (2, "Misuse")
    assert all(part in said for part in ("Did you mean '--recipe'?", "--recipe is missing", "--mode is 'over'"))
    assert call(data)[0] == 2
    assert call(data, out, "--recipe", recipe, "--no-dropped", "--dropped", tmp_path / "d")[0] == 2
    code, value, _ = call(data, tmp_path / "o2", "--recipe", recipe, f"--dropped={tmp_path / 'd'}", "--workers", 1)
    assert (code, value["dropped"]) == (0, str(tmp_path / "d"))


# --- real data ------------------------------------------------------------------------------
def test_real_data(run: Run, real_data: Path) -> None:
    air = pd.read_excel(real_data / "excel-real" / "AirQualityUCI.xlsx", engine="calamine")
    numbers = air.select_dtypes("number").dropna(axis=1, how="all")
    names = [str(c) for c in numbers.columns]
    rows = pa.Table.from_pandas(numbers, preserve_index=False)
    found = run(rows, {"mark_missing": {"values": [-200]}}, {"missing": {"drop": "columns", "above": 0.5}},
                {"missing": {"fill": "median"}})  # fmt: skip
    marked = numbers.mask(numbers == -200)
    assert sum(found.steps[0]["cells"].values()) == int((numbers == -200).sum().sum()) > 10_000
    theirs = marked.drop(columns=[c for c in names if marked[c].isna().mean() > 0.5])
    pd.testing.assert_frame_equal(found.dataset.to_pandas(), theirs.fillna(theirs.median()), check_dtype=False)
    homes = pd.read_csv(real_data / "messy-misc" / "Bengaluru_House_Data.csv")
    rows = pa.Table.from_pandas(homes[["total_sqft", "size"]], preserve_index=False)
    found = run(rows, {"numbers": {"columns": ["total_sqft"], "units": {"Sq. Meter": 10.7639, "Sq. Yards": 9},
                                   "without_unit": 1, "on_failure": "missing"}})  # fmt: skip
    plain = pd.to_numeric(homes["total_sqft"], errors="coerce")
    ours = found.dataset.to_pandas()["total_sqft"]
    assert ours[plain.notna()].equals(plain[plain.notna()])
    meters = homes["total_sqft"].str.endswith("Sq. Meter")
    assert meters.any()
    assert ours[meters].notna().all()
    assert found.steps[0]["failed"]["total_sqft"] == int(ours.isna().sum())


def test_titanic_learned_on_the_training_rows(run: Run, real_data: Path, local: Any, tmp_path: Path) -> None:
    train, test = (pd.read_csv(real_data / "titanic" / f"{part}.csv") for part in ("train", "test"))
    found = run(pa.Table.from_pandas(train, preserve_index=False),
                "duplicates",
                {"missing": {"drop": "columns", "above": 0.5}},
                {"missing": {"columns": ["Age"], "fill": "median", "indicator": True}},
                {"missing": {"columns": ["Embarked"], "fill": "mode"}},
                {"missing": {"columns": ["Fare"], "fill": "mean"}},
                {"outliers": {"columns": ["Fare"], "action": "clip"}},
                {"text": {"columns": ["Name"], "regex": [{"pattern": r"^.*, ([^.]*)\..*$", "to": r"\1"}]}},
                {"categories": {"columns": ["Name"], "min_share": 0.04}})  # fmt: skip
    assert found.rows_dropped == 0
    pa.parquet.write_table(pa.Table.from_pandas(test, preserve_index=False), tmp_path / "test.parquet")
    again = pqy.clean(tmp_path / "test.parquet", found.recipe, to=tmp_path / "test-out", engine=local)
    ours = again.dataset.to_pandas()
    assert "Cabin" not in ours
    low, high = bounds(train["Fare"], "iqr")
    np.testing.assert_allclose(ours["Age"], test["Age"].fillna(train["Age"].median()))
    np.testing.assert_allclose(ours["Fare"], test["Fare"].fillna(train["Fare"].mean()).clip(low, high))
    assert ours["Age_missing"].tolist() == test["Age"].isna().tolist()
    assert set(ours["Name"]) == {"Mr", "Miss", "Mrs", "Master", "other"}
    assert again.steps[-1]["unseen"] == {"Name": 1}  # Dona
