"""A small table of orders with everything that a dashboard may stumble over, and what pandas makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from parquetry.foundation.sales import Sales

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<b>bold</b> & \"quoted\" 'name'",
    "=1+1",
    "<!--<script>",
    "snow ☃, \u2028 and a comma",
    "<img src=x onerror=alert(2)>",
)
COLUMNS = Sales("day", "pieces*price", "gain", "item", "kind", "place", "buyer", "bill")


def write_orders(folder: Path, *, rows: int = 2_400, seed: int = 5) -> Path:
    """Three years of order lines to the middle of a month: gaps everywhere, returns, orders of several categories."""
    rng = np.random.default_rng(seed)
    bills = rows // 3
    start = np.datetime64("2021-02-01T09:00", "us")
    opened = np.sort(rng.integers(0, 1_050, bills))
    buyer = rng.integers(0, 150, bills).astype(float)
    bill = np.sort(rng.integers(0, bills, rows))
    items = [*HOSTILE, *(f"item {i}" for i in range(60))]
    item = (len(items) * rng.random(rows) ** 2).astype(int)
    gaps = rng.random((5, rows)) < 0.03
    day = start + opened[bill].astype("timedelta64[D]")
    price = np.where(gaps[1], np.nan, np.round(rng.lognormal(2, 1, rows), 3))
    price[0] = np.inf
    table = pa.table(
        {
            "day": pa.array(day, mask=gaps[0]),
            "pieces": pa.array(np.where(rng.random(rows) < 0.03, -1, rng.integers(1, 9, rows)), pa.int32()),
            "price": price,
            "gain": pa.array(np.round(rng.normal(1, 4, rows), 2), mask=gaps[2]),
            "item": pa.array([items[i] for i in item], mask=gaps[3]),
            "kind": [("tools", "toys", "<i>food</i>")[int(k)] for k in rng.integers(0, 3, rows)],
            "place": pa.array([("North", "South & East", "West")[int(p)] for p in buyer[bill] % 3], mask=gaps[4]),
            "buyer": pa.array(buyer[bill], mask=buyer[bill] < 8),
            "bill": [f"B{b:05d}" for b in bill],
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(2):
        pq.write_table(table.slice(i * rows // 2, rows // 2), folder / f"part-{i}.parquet", row_group_size=500)
    return folder


def known_lines(folder: Path) -> pd.DataFrame:
    """The lines that count, with months, names and money as the dashboard has them."""
    frame = pd.read_parquet(folder)
    frame["sales"] = np.floor(frame["pieces"].astype(float) * frame["price"] * 10_000 + 0.5) / 10_000
    frame = frame[frame["day"].notna() & np.isfinite(frame["sales"].to_numpy(float))].copy()
    frame["gain"] = frame["gain"].fillna(0.0)
    frame["month"] = frame["day"].dt.year * 12 + frame["day"].dt.month - 1
    for name in ("place", "item"):
        frame[name] = frame[name].fillna("(missing)")
    return frame
