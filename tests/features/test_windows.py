"""Lags, rolling windows and group measures against pandas."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.errors import (
    BadParameter,
    NonFiniteValues,
    OutputExists,
    TooBigForOneNode,
    TooManyCategories,
    UnknownColumn,
    WrongColumnType,
)
from parquetry.features import by_key
from parquetry.features.groups import group_measures
from parquetry.features.windows import MEASURES, lags, rolling

N = 600
KEYS = ["shop", "kind"]


def table(**changes):
    rng = np.random.default_rng(0)
    day = np.datetime64("2024-01-01", "us")
    columns = {
        "shop": pa.array(rng.choice(["a", "b", "c", None], N)),
        "kind": rng.integers(0, 3, N),
        "at": pa.array(day + rng.integers(0, 10**6, N) * np.timedelta64(1, "s")),
        "tick": rng.integers(0, 90, N),
        "price": pa.array(1e9 + rng.normal(size=N), mask=rng.random(N) < 0.1),
        "pieces": rng.integers(0, 100, N),
        "id": np.arange(N),
    }
    return pa.table({**columns, **changes})


@pytest.fixture
def folder(write_parquet, monkeypatch):
    monkeypatch.setattr(by_key, "BUCKET_BYTES", 8_000)  # several buckets
    return write_parquet(table(), "rows", files=3, row_group_size=37)


def grouped(frame, order="at"):
    return frame.sort_values(order, kind="stable").groupby(KEYS, dropna=False)


def assert_column(found, expected, rtol=1e-9):
    np.testing.assert_allclose(found.to_numpy(float), expected.sort_index().to_numpy(float), rtol=rtol, atol=1e-9)


def test_lags_and_leads(folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    made = lags(
        folder, ["price", "shop"], by=KEYS, order=["at"], periods=[1, 3, -2], to=tmp_path / "out", engine=local
    ).to_pandas()
    assert made["id"].tolist() == frame["id"].tolist()
    for name, period in (("lag1", 1), ("lag3", 3), ("lead2", -2)):
        assert_column(made[f"price_{name}"], grouped(frame)["price"].shift(period))
        expected = grouped(frame)["shop"].shift(period).sort_index()
        pd.testing.assert_series_equal(made[f"shop_{name}"], expected, check_names=False)
    assert list(made.columns[: len(frame.columns)]) == list(frame.columns)


def test_rows_of_equal_order_stand_as_in_the_data(folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    made = lags(folder, ["id"], by=["shop"], order=["tick"], to=tmp_path / "out", engine=local).to_pandas()
    expected = frame.sort_values("tick", kind="stable").groupby("shop", dropna=False)["id"].shift(1)
    assert_column(made["id_lag1"], expected)


@pytest.mark.parametrize("current", [True, False])
def test_rolling_rows(current, folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    out = rolling(
        folder, ["price", "pieces"], by=KEYS, order=["at"], rows=5, measures=MEASURES, current=current,
        to=tmp_path / "out", engine=local,
    ).to_pandas()  # fmt: skip
    least = {"std": 2, "count": 0}
    # pandas adds up as it goes, and loses digits at a mean of 1e9: it gets the deviations.
    near = frame.assign(price=frame["price"] - 1e9)
    for name in ("price", "pieces"):
        for measure in MEASURES:
            source = near if measure == "std" else frame
            expected = grouped(source)[name].transform(
                lambda s, m=measure: getattr(
                    (s if current else s.shift(1)).rolling(5, min_periods=least.get(m, 1)), m
                )()
            )
            assert_column(out[f"{name}_{measure}_last5"], expected)


def test_rolling_spans(folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    out = rolling(
        folder, ["pieces"], by=KEYS, order=["at"], span=timedelta(hours=20), measures=["sum", "count"],
        to=tmp_path / "out", engine=local,
    ).to_pandas()  # fmt: skip
    ordered = frame.sort_values("at", kind="stable").reset_index().set_index("at")
    rolled = ordered.groupby(KEYS, dropna=False)["pieces"].transform(lambda s: s.rolling("20h").sum())
    assert_column(out["pieces_sum_72000s"], pd.Series(rolled.to_numpy(), index=ordered["index"]))
    ticks = rolling(
        folder, ["pieces"], by=["shop"], order=["tick"], span=10, current=False, to=tmp_path / "ticks", engine=local
    ).to_pandas()
    row = frame.sort_values("tick", kind="stable").query("shop == 'a'").iloc[-1]
    before = frame.query("shop == 'a' and tick > @row.tick - 10 and tick <= @row.tick and id != @row.id")
    assert ticks["pieces_mean_10"][row.id] == pytest.approx(before["pieces"].mean())


def test_group_measures(folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    out = group_measures(
        folder, ["price", "pieces"], by=KEYS, measures=MEASURES, to=tmp_path / "out", engine=local
    ).to_pandas()
    assert out["id"].tolist() == frame["id"].tolist()
    near = frame.assign(price=frame["price"] - 1e9)
    for name in ("price", "pieces"):
        for measure in MEASURES:
            source = near if measure == "std" else frame
            expected = source.groupby(KEYS, dropna=False)[name].transform(measure)
            assert_column(out[f"{name}_{measure}_by_shop_kind"], expected)


def test_of_a_split_and_one_row(folder, tmp_path, local, write_parquet):
    train, _ = pqy.open_dataset(folder).split(test=0.4, seed=0)
    frame = train.to_pandas()
    out = lags(train, ["price"], by=KEYS, order=["at"], to=tmp_path / "out", engine=local).to_pandas()
    assert out["id"].tolist() == frame["id"].tolist()
    assert_column(out["price_lag1"], grouped(frame)["price"].shift(1))
    one = write_parquet({"k": ["a"], "t": [1], "v": [2.5]}, "one")
    out = rolling(one, ["v"], by=["k"], order=["t"], rows=3, measures=["mean", "std"], to=tmp_path / "o", engine=local)
    assert out.to_pandas().iloc[0].tolist()[-2:] == pytest.approx([2.5, np.nan], nan_ok=True)


GIVEN = {"values": ["price"], "by": KEYS, "order": ["at"]}
BAD = {
    "column": (lags, {"values": ["prise"]}, UnknownColumn, "Did you mean 'price'"),
    "key": (lags, {"by": ["shopp"]}, UnknownColumn, "key column 'shopp'"),
    "string": (lags, {"values": "price"}, BadParameter, r"Pass a list: \['price'\]"),
    "no key": (lags, {"by": []}, BadParameter, "There is no key"),
    "period": (lags, {"periods": [0]}, BadParameter, "1 is the row before"),
    "taken": (lags, {"values": ["id"], "periods": [1, 1]}, BadParameter, "'id_lag1' already"),
    "window": (rolling, {}, BadParameter, "either rows= or span="),
    "rows": (rolling, {"rows": 0}, BadParameter, "rows=0"),
    "measure": (rolling, {"rows": 2, "measures": ["median"]}, BadParameter, "median"),
    "text": (rolling, {"rows": 2, "values": ["shop"]}, WrongColumnType, "column 'shop' is string, not a number"),
    "span": (rolling, {"span": 3}, WrongColumnType, "take a timedelta"),
    "no span": (rolling, {"span": timedelta(0)}, BadParameter, "not above zero"),
    "memory": (lags, {"engine": "small"}, TooBigForOneNode, "rows of the same keys"),
    "groups": (group_measures, {"engine": "small"}, TooManyCategories, "Measures by 'shop', 'kind' take more"),
    "exists": (lags, {"to": "itself"}, OutputExists, "not a Delta table"),
}


@pytest.mark.parametrize(("function", "changes", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(function, changes, kind, says, folder, tmp_path, local, monkeypatch):
    given = {**GIVEN, "to": tmp_path / "out", "engine": local, **changes}
    if function is group_measures:
        given.pop("order")
    if given["engine"] == "small":
        monkeypatch.setattr(type(local), "memory", 4_000, raising=False)
        monkeypatch.setitem(vars(local), "memory", 4_000)
        given["engine"] = local
    if given["to"] == "itself":
        given["to"] = folder
    with pytest.raises(kind, match=says):
        function(folder, given.pop("values"), **given)
    assert not (tmp_path / "out").exists()


def test_a_row_without_an_order_is_named(write_parquet, tmp_path, local):
    at = table().column("at").to_pylist()
    at[81] = None
    folder = write_parquet(table(at=pa.array(at, pa.timestamp("us"))), "gap", files=1, row_group_size=37)
    with pytest.raises(NonFiniteValues, match=r"'at' holds a missing value, first in .*row group 2\), row 7"):
        lags(folder, ["price"], by=KEYS, order=["at"], to=tmp_path / "out", engine=local)
    assert not list(tmp_path.glob("out*"))
