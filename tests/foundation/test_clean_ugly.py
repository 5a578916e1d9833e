"""Cleaning what people really have: types of all kinds, columns without spread, ties, orders, errors that say where."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import parquetry as pqy
from parquetry.errors import (
    BadRecipe,
    BadValue,
    DegenerateColumn,
    EmptyDataset,
    NonFiniteValues,
    TaskFailed,
    TooManyCategories,
    WrongColumnType,
)
from parquetry.foundation.clean import Cleaned

Run = Callable[..., Cleaned]


@pytest.fixture
def run(local: Any, write_parquet: Any, tmp_path: Path) -> Run:
    count = iter(range(1_000))

    def call(rows: Any, *steps: Any, **options: Any) -> Cleaned:
        i = next(count)
        data = write_parquet(rows, f"in-{i}", row_group_size=70)
        return pqy.clean(data, list(steps), to=tmp_path / f"out-{i}", engine=local, **options)

    return call


def column(found: Cleaned, name: str = "c") -> pa.ChunkedArray:
    return pa.concat_tables([found.dataset.schema.empty_table(), *found.dataset.batches()]).column(name)


# --- orders and limits ----------------------------------------------------------------------
def keyed_rows(n: int = 400) -> pa.Table:
    rng = np.random.default_rng(11)
    return pa.table(
        {
            "key": rng.integers(0, 9, n),
            "text": rng.choice(["", "a", "ab", "b", "B", "é", "z\u0000", "\U0001f600"], n),
            "price": pa.array([Decimal(int(v)) / 4 for v in rng.integers(-20, 20, n)], pa.decimal128(12, 2)),
            "when": np.datetime64("2024-01-01", "us") + rng.integers(0, 20, n).astype("timedelta64[D]"),
            "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.6),
        }
    )


ORDERS: list[tuple[Any, dict[str, bool]]] = [
    ({"column": "when", "descending": True}, {"when": False}),
    (["when", {"column": "text", "descending": True}], {"when": True, "text": False}),
    (
        [{"column": "text", "descending": True}, {"column": "price", "descending": True}],
        {"text": False, "price": False},
    ),
]


@pytest.mark.parametrize(("order", "ascending"), ORDERS)
@pytest.mark.parametrize("way", ["forward", "backward"])
def test_any_order_and_a_limit(run: Run, order: Any, ascending: dict[str, bool], way: str) -> None:
    frame = keyed_rows().to_pandas().assign(text=lambda f: f["text"].str.encode("utf-8"))  # in order of its bytes
    groups = sort(frame, ascending).groupby("key")["x"]
    for limit in (None, 1, 2):
        fill = {"fill": way, "by": ["key"], "order": order, "limit": limit, "columns": ["x"]}
        theirs = (groups.ffill(limit=limit) if way == "forward" else groups.bfill(limit=limit)).sort_index()
        assert column(run(keyed_rows(), {"missing": fill}), "x").to_pandas().equals(theirs)
    keep: Any = "first" if way == "forward" else "last"
    found = run(keyed_rows(), {"duplicates": {"by": ["key"], "order": order, "keep": keep}})
    kept = sort(frame, ascending).drop_duplicates("key", keep=keep).sort_index()
    assert column(found, "when").to_pandas().tolist() == kept["when"].tolist()


@pytest.mark.parametrize("descending", [False, True])
def test_rows_without_an_order_come_first(run: Run, descending: bool) -> None:
    rows = {"k": [1, 1, 1, 1], "o": [2.0, None, 1.0, float("nan")], "x": [None, 5.0, None, 7.0]}
    fill = {"fill": "forward", "by": "k", "order": {"column": "o", "descending": descending}, "limit": 1}
    found = run(rows, {"missing": {**fill, "columns": ["x"]}})
    assert column(found, "x").to_pylist() == ([7.0, 5.0, None, 7.0] if descending else [None, 5.0, 7.0, 7.0])


def sort(frame: pd.DataFrame, ascending: dict[str, bool]) -> pd.DataFrame:
    """By several columns, rows that are equal staying as they are: one stable sort after another."""
    for name, up in reversed(ascending.items()):
        frame = frame.sort_values(name, ascending=up, kind="stable")
    return frame


def test_no_worker_needs_all_that_a_keyed_step_has_found(run: Run, local: Any, monkeypatch: Any) -> None:
    steps = [
        {"missing": {"columns": ["x"], "fill": "forward", "by": ["key"]}},
        {"duplicates": {"by": ["text", "price"]}},
    ]
    whole = run(keyed_rows(), *steps)
    monkeypatch.setattr("parquetry.relational_order.RANGE_BYTES", 300)
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 700)
    monkeypatch.setattr(local, "memory", 3_000)
    ranges: list[int] = []
    real = local.map

    def spied(task: Any, items: Any, *, label: str) -> Any:
        ranges.extend(len(items) for _ in range(label == "sort-ranges"))
        return real(task, items, label=label)

    monkeypatch.setattr(local, "map", spied)
    cut = run(keyed_rows(), *steps)
    assert len(ranges) == 2
    assert min(ranges) > 3
    for name in ("x", "when"):
        assert column(cut, name).equals(column(whole, name))
    assert cut.summary() == whole.summary()


# --- types ----------------------------------------------------------------------------------
@pytest.mark.parametrize("width", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
def test_whole_numbers_stay_whole(run: Run, width: str) -> None:
    rows = {"c": pa.array([1, 2, 3, None, 4, 5, 120], getattr(pa, width)())}
    for method in ({"method": "iqr"}, {"method": "quantile", "low": 0.0, "high": 0.7}, {"method": "zscore", "k": 1}):
        found = run(rows, {"outliers": {"action": "clip", **method}})
        assert pa.types.is_integer(column(found).type)
        high = found.recipe.learned[0]["c"][1]  # type: ignore[index]
        kept = [v if v is None else min(v, int(np.floor(high))) for v in rows["c"].to_pylist()]
        assert column(found).to_pylist() == kept
        assert found.steps[0]["cells"] == {"c": 1 if method["method"] != "quantile" else 2}
    filled = run(rows, {"missing": {"fill": "mode"}}, {"mark_missing": {"values": [120, -1, 1.5]}})
    assert column(filled).to_pylist() == [1, 2, 3, 1, 4, 5, None]
    with pytest.raises(
        DegenerateColumn, match=r"step 1 \(outliers\): Column 'c' .*none lies between the bounds 1\.2 and 1\.8"
    ):
        run({"c": pa.array([1, 2], getattr(pa, width)())},
            {"outliers": {"method": "quantile", "low": 0.2, "high": 0.8, "action": "clip"}})  # fmt: skip


def test_decimals_are_taken_by_their_digits(run: Run) -> None:
    money = [Decimal("99.99"), Decimal("0.10"), None, Decimal("99.99"), Decimal("-5.00")]
    for kind in (pa.decimal128(10, 2), pa.decimal256(20, 2)):
        rows = {"c": pa.array(money, kind)}
        assert column(run(rows, {"types": {"columns": {"c": "number"}}})).to_pylist() == [99.99, 0.1, None, 99.99, -5.0]
        kept = run(rows, {"filter": {"where": [["c", "<=", 99.99], ["c", "in", [99.99, 0.1]]]}})
        assert column(kept).to_pylist() == [money[0], money[1], money[3]]
        assert column(kept).type == pa.decimal128(kind.precision, 2)
        assert column(run(rows, {"missing": {"fill": "mode"}})).to_pylist()[2] == Decimal("99.99")
        assert column(run(rows, {"missing": {"fill": "constant", "value": 1.25}})).to_pylist()[2] == Decimal("1.25")
        last = run(rows, {"duplicates": {"by": ["c"], "missing_keys": "keep"}}, {"mark_missing": {"values": [-5]}})
        assert column(last).to_pylist() == [*money[:3], None]
    with pytest.raises(BadRecipe, match=r"decimal128\(10, 2\), not numbers \(cast it first\)"):
        run(rows | {"c": pa.array(money, pa.decimal128(10, 2))}, {"outliers": {"columns": ["c"]}})


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_of_any_unit(run: Run, unit: Any, zone: Any) -> None:
    times = [dt.datetime(2024, 7, 1, 12), None, dt.datetime(1900, 1, 1), dt.datetime(2024, 7, 1, 12)]  # noqa: DTZ001
    given = pa.array(times, pa.timestamp("us")).cast(pa.timestamp(unit))
    given = given if zone is None else pc.assume_timezone(given, zone)
    found = run({"c": given, "k": [1, 2, 3, 3]},
                {"missing": {"columns": ["c"], "fill": "backward", "by": "k"}},
                {"mark_missing": {"values": [dt.datetime(1900, 1, 1)]}},  # noqa: DTZ001
                {"missing": {"columns": ["c"], "fill": "mode"}},
                {"dates": {"columns": ["c"], "timezone": zone, "parts": ["hour"]}},
                {"duplicates": {"by": "k", "order": {"column": "c", "descending": True}, "keep": "none"}},
                {"duplicates": {"by": "c"}})  # fmt: skip
    there = column(found)
    assert there.type == pa.timestamp("us", tz=zone and "UTC")
    assert column(found, "c_hour").to_pylist()[0] == 12
    assert there.to_pylist()[0].isoformat()[:13] == ("2024-07-01T12" if zone is None else "2024-07-01T10")


def test_durations_and_times_of_the_day_become_seconds(run: Run) -> None:
    spans, times = [90, None, 3600, 1], [dt.time(1, 30), None, dt.time(0, 0, 1), dt.time(23, 59, 59)]
    for unit, each in (("s", 1), ("ms", 1_000), ("us", 10**6), ("ns", 10**9)):
        rows = {"c": pa.array([None if s is None else s * each for s in spans], pa.duration(unit))}
        assert column(run(rows, {"types": {"columns": {"c": "number"}}})).to_pylist() == spans
        assert column(run(rows, {"types": {"columns": {"c": "integer"}}})).to_pylist() == spans
    for kind in (pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")):
        rows = {"c": pa.array(times, kind)}
        assert column(run(rows, {"types": {"columns": {"c": "integer"}}})).to_pylist() == [5400, None, 1, 86399]
        texts = column(run(rows, {"types": {"columns": {"c": "text"}}})).to_pylist()
        assert [t and t[:8] for t in texts] == ["01:30:00", None, "00:00:01", "23:59:59"]
    half = {"c": pa.array([1_500, 2_000], pa.duration("ms"))}
    assert column(run(half, {"types": {"columns": {"c": "number"}}})).to_pylist() == [1.5, 2.0]
    with pytest.raises(BadValue, match=r"step 1 \(types\): Column 'c' holds .*which is no integer"):
        run(half, {"types": {"columns": {"c": "integer"}}})


@pytest.mark.parametrize("kind", [pa.duration("s"), pa.time32("s"), pa.decimal256(50, 2)])
def test_what_no_table_can_hold_is_refused_before_any_work(run: Run, local: Any, monkeypatch: Any, kind: Any) -> None:
    whole = pa.array([1, 2, 2], pa.int32() if pa.types.is_time32(kind) else pa.int64())
    held = pa.array([Decimal(1)] * 3, kind) if pa.types.is_decimal(kind) else whole.view(kind)
    rows = {"c": held, "x": [1.0, None, 2.0]}
    good = run(rows, {"types": {"columns": {"c": "number"}}}, {"filter": {"where": [["c", ">", 1]]}}, dropped=False)
    assert good.rows_dropped >= 1
    monkeypatch.setattr(local, "map", None)
    with pytest.raises(WrongColumnType, match="Column 'c' is"):
        run(rows, {"missing": {"columns": ["x"], "fill": "mean"}})
    with pytest.raises(WrongColumnType, match=r"Dropped rows are kept as they came in.*dropped=False"):
        run(rows, {"types": {"columns": {"c": "number"}}}, {"filter": {"where": [["c", ">", 1]]}})


def test_texts_of_any_kind(run: Run) -> None:
    texts = ["a", "Ünï ①", None, "a"]
    for given in (
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
    ):
        patterns = [{"pattern": r"\pL+", "to": "x"}, {"pattern": r"(?i)X ①", "to": "é"}]
        found = run({"c": given}, {"text": {"regex": patterns}},
                    {"missing": {"fill": "mode"}}, {"duplicates": {"by": ["c"]}})  # fmt: skip
        assert column(found).to_pylist() == ["x", "é"]
    numbers = run({"c": [1.0, float("nan"), None]}, {"types": {"columns": {"c": "text"}}})
    assert column(numbers).to_pylist() == ["1", None, None]


def test_a_time_finer_than_a_table_holds(run: Run) -> None:
    rows = {"k": [1, 2], "c": pa.array([0, 1_000_000_001], pa.timestamp("ns"))}
    with pytest.raises(
        WrongColumnType, match=r"part-1\.parquet .*Column 'c' \(timestamp\[ns\]\): a value does not fit"
    ):
        run(rows, {"duplicates": {"by": ["k"]}})


# --- nothing to go by -----------------------------------------------------------------------
@pytest.mark.parametrize("method", ["iqr", "zscore", "mad", "quantile"])
def test_columns_without_spread(run: Run, method: str) -> None:
    rows = pa.table({"x": [1.0, 2, 3, 4, 100], "same": [5, 5, 5, 5, 5], "none": pa.nulls(5, pa.float64())})
    plain = {"method": method} | ({"k": 1.5} if method != "quantile" else {"low": 0.0, "high": 0.75})
    named = r"step 1 \(outliers\): Column '(same|none)' has .*no_spread: keep"
    with pytest.raises(DegenerateColumn, match=named):
        run(rows, {"outliers": plain})
    found = run(rows, {"outliers": {**plain, "no_spread": "keep", "action": "missing"}})
    assert column(found, "x").to_pylist() == [1, 2, 3, 4, None]
    assert column(found, "same").to_pylist() == [5] * 5
    assert found.steps[0]["cells"] == {"x": 1}
    one = run({"x": [7.5]}, {"outliers": {**plain, "no_spread": "keep", "action": "drop"}})
    assert one.rows_out == 1


def test_ties_and_middles(run: Run) -> None:
    rows = {"i": [1, 2, None, 3, 4], "w": ["b", "a", None, "b", "a"], "f": [-0.0, 0.0, float("nan"), 5.0, 5.0]}
    found = run(
        rows, {"missing": {"columns": ["i"], "fill": "median"}}, {"missing": {"columns": ["w", "f"], "fill": "mode"}}
    )
    assert column(found, "i").to_pylist() == [1, 2, 2.5, 3, 4]
    assert (column(found, "w")[2].as_py(), column(found, "f")[2].as_py()) == ("a", 0.0)
    rare = run({"c": list("abcd")}, {"categories": {"min_share": 0.5}})
    assert column(rare).to_pylist() == ["other"] * 4
    empty = run({"c": pa.nulls(3, pa.string())}, {"categories": {"top": 5}})
    assert column(empty).to_pylist() == [None] * 3


def test_a_day_that_may_be_a_month_is_not_guessed(run: Run) -> None:
    rows = {"c": ["03/04/2024", "25/04/2024"]}
    with pytest.raises(BadRecipe, match="day and month are not guessed"):
        run(rows, {"dates": {"columns": ["c"]}})
    with pytest.raises(BadValue, match=r"step 1 \(dates\): Column 'c' holds '03/04/2024'.*row 0"):
        run(rows, {"dates": {"columns": ["c"], "format": ["%d/%m/%Y", "%m/%d/%Y"]}})


# --- errors ---------------------------------------------------------------------------------
def broken(step: Any, values: Any) -> Any:
    """Fails as soon as there is a value."""
    return values if not len(values) else [].index(values[0])


RATES = {"rename": {"columns": {"k": "key"}}}
FAILING: list[tuple[Any, Any, Any, str]] = [
    ({"types": {"columns": {"w": "integer"}}}, BadValue, {}, r"'w' holds 'a'.*part-0\.parquet \(row group 0\), row 0"),
    ({"numbers": {"columns": ["w"]}}, BadValue, {}, r"'w' holds 'a'.*part-0"),
    ({"dates": {"columns": ["d"], "timezone": "Europe/Berlin"}}, BadValue, {}, "twice or never, in .*part-0"),
    ({"missing": {"columns": ["n"], "fill": "mean"}}, DegenerateColumn, {}, "'n' has no value"),
    ({"missing": {"columns": ["w"], "fill": "mode"}}, TooManyCategories, {"missing.LIMIT": 1}, "'w' has more than 1 "),
    ({"missing": {"columns": ["i"], "fill": "mean"}}, NonFiniteValues, {}, "'i' holds infinity"),
    ({"outliers": {"columns": ["n"]}}, DegenerateColumn, {}, "'n' has no quartiles' range"),
    ({"duplicates": {"by": ["n"]}}, DegenerateColumn, {}, r"A key of n is missing.*part-0\.parquet .*row 0"),
    ({"missing": {"columns": ["w"], "fill": "forward", "by": ["n"]}}, DegenerateColumn, {}, "A key of n is missing"),
    ({"text": {"columns": ["w"], "case": "lower"}}, TaskFailed, {"texts.Text._normal": broken}, "'w', in .*part-0"),
    ({"duplicates": {"by": ["w"]}}, TaskFailed, {"keyed.later_rows": None}, "TypeError"),
]  # fmt: skip


@pytest.mark.parametrize(("step", "kind", "patches", "text"), FAILING)
def test_errors_name_the_step(run: Run, monkeypatch: Any, step: Any, kind: Any, patches: Any, text: str) -> None:
    for place, value in patches.items():
        monkeypatch.setattr(f"parquetry.foundation.cleaning.{place}", value)
    rows = pa.table({
        "k": [1, 2, 3], "w": ["a", "b", "c"], "n": pa.nulls(3, pa.float64()), "i": [1.0, float("inf"), 2.0],
        "d": [dt.datetime(2024, 3, 31, 2, 30)] * 3,  # noqa: DTZ001
    })  # fmt: skip
    with pytest.raises(kind, match=rf"(?s)^step 2 \({next(iter(step))}\): .*{text}"):
        run(rows, RATES, step)


def test_a_step_with_no_row_left_is_named(run: Run) -> None:
    with pytest.raises(EmptyDataset, match=r"step 2 \(missing\): no row is left to learn from"):
        run({"c": [1.0, 2.0]}, {"filter": {"where": [["c", ">", 5]]}}, {"missing": {"fill": "mean"}})
