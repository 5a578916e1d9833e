"""Recency, frequency and monetary value: against pandas, the same bytes on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.errors import BadParameter, EmptyDataset, TooBigForOneNode, UnknownColumn, WrongColumnType
from parquetry.features.rfm import Orders, customer_table, numbers_of_segments, segment_names

ORDERS = Orders("who", "order", "when", "pieces", "price")


def lines(n: int = 4_000) -> pa.Table:
    rng = np.random.default_rng(1)
    order = rng.integers(0, 500, n)
    start = np.datetime64("2021-01-01T00:00", "us")
    return pa.table(
        {
            "who": pa.array((order % 71).astype(float), mask=rng.random(n) < 0.2),
            "order": [f"{'C' * bool(o % 17 == 0)}{o}" for o in order],
            "when": start + (order * 37 % 9_000).astype("timedelta64[h]"),
            "pieces": np.where(order % 17 == 0, -1, 1) * rng.integers(1, 9, n),
            "price": np.round(rng.gamma(2, 3, n), 2),
            "other": rng.normal(size=n),
        }
    )


def by_pandas(frame: pd.DataFrame) -> pd.DataFrame:
    kept = frame[frame["who"].notna() & (frame["pieces"] > 0) & (frame["price"] > 0)]
    kept = kept.assign(amount=np.floor(kept["pieces"] * kept["price"] * 10_000 + 0.5) / 10_000)
    found = kept.groupby("who").agg(last=("when", "max"), frequency=("order", "nunique"), monetary=("amount", "sum"))
    days = kept["when"].max().normalize() + pd.Timedelta(days=1) - found["last"].dt.normalize()
    return found.assign(recency=days.dt.days).reset_index()


def test_one_row_a_customer(engine: Any, local: Any, write_parquet: Any, tmp_path: Path) -> None:
    data = pqy.open_dataset(write_parquet(lines(), files=3, row_group_size=700))
    found = customer_table(data, ORDERS, to=tmp_path / "customers", engine=engine)
    ours, theirs = found.to_pandas(), by_pandas(data.to_pandas())
    assert ours["who"].tolist() == theirs["who"].astype(int).tolist()
    assert ours["recency"].tolist() == theirs["recency"].tolist()
    assert ours["frequency"].tolist() == theirs["frequency"].tolist()
    np.testing.assert_allclose(ours["monetary"], theirs["monetary"], rtol=1e-12)
    assert [p.name for p in tmp_path.iterdir() if "unsorted" in p.name] == []
    again = customer_table(data, ORDERS, to=tmp_path / "again", engine=local)
    assert again.to_pandas().equals(ours)
    assert [b.num_rows for b in found.blocks] == [b.num_rows for b in again.blocks] == [len(theirs)]


def test_bad_columns(local: Any, write_parquet: Any, tmp_path: Path) -> None:
    data = pqy.open_dataset(write_parquet(lines(200)))
    for orders, error, message in (
        (Orders("hwo", "order", "when", "pieces", "price"), UnknownColumn, "'hwo'"),
        (Orders("who", "order", "pieces", "pieces", "price"), WrongColumnType, "'pieces' is int64, not a date"),
        (Orders("who", "order", "when", "order", "price"), WrongColumnType, "'order' is string, not a number"),
    ):
        with pytest.raises(error, match=message):
            customer_table(data, orders, to=tmp_path / "customers", engine=local)
    nobody = lines(200).set_column(0, "who", pa.nulls(200, pa.float64()))
    with pytest.raises(EmptyDataset, match="no line with a customer"):
        customer_table(
            pqy.open_dataset(write_parquet(nobody, "nobody")), ORDERS, to=tmp_path / "customers", engine=local
        )


def test_more_customers_than_one_worker_holds(
    local: Any, write_parquet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pqy.open_dataset(write_parquet(lines(500)))
    monkeypatch.setattr(pqy.Dataset, "nbytes", 2**60)
    with pytest.raises(TooBigForOneNode, match=r"sorting .* rows takes"):
        customer_table(data, ORDERS, to=tmp_path / "customers", engine=local)
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("customers")]


def test_segments_are_named_by_their_traits() -> None:
    rows = [(-1.0, 1.5, 2.0), (1.0, -0.8, -0.7), (1.0, -0.8, -0.6), (0.1, 0.2, -0.3), (0.1, 0.3, 0.5)]
    centers = [dict(zip(("recency", "frequency", "monetary"), row, strict=True)) for row in rows]
    assert segment_names(centers) == [
        "recent, frequent, big spenders",
        "lapsed, seldom, small spenders (2)",
        "lapsed, seldom, small spenders (1)",
        "average",
        "big spenders",
    ]


def test_numbers_of_segments() -> None:
    assert numbers_of_segments(100, most=5) == [2, 3, 4, 5]
    assert numbers_of_segments(100, most=3, asked=50) == [2, 3, 50]
    assert numbers_of_segments(3, most=8) == [2]
    for customers, asked, told in ((1, None, "1 customer is too few"), (2, None, "2 customers"), (399, 1_000, "1,000")):
        with pytest.raises(BadParameter, match=told):
            numbers_of_segments(customers, most=8, asked=asked)
