"""Generators: rows with a catalogue set's schema, any number of them, the same for the same seed.

Rows are made and written in pieces, so memory does not depend on their number. Piece ``i`` comes
from its own random stream, so it holds the same rows whatever comes after it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from parquetry.errors import BadParameter, did_you_mean
from parquetry.generated_cards import card_payments
from parquetry.generated_messages import sms_spam
from parquetry.generated_sales import superstore

ROWS_A_PIECE = 65_536
VERSION = 1  # raise it when a generator makes other rows: cached files carry it in their names

FloatArray = npt.NDArray[np.float64]
Generator = Callable[[np.random.Generator, int], pa.Table]

# Centers of settlement: longitude, latitude, spread in degrees, share of the rows, price in USD.
_CITIES = np.array(
    [
        [-118.25, 34.05, 0.28, 0.36, 70_000.0],
        [-122.30, 37.75, 0.25, 0.20, 95_000.0],
        [-117.12, 32.80, 0.15, 0.10, 55_000.0],
        [-121.45, 38.55, 0.30, 0.11, -25_000.0],
        [-119.75, 36.75, 0.45, 0.12, -40_000.0],
        [-117.35, 34.05, 0.30, 0.08, -20_000.0],
        [-122.30, 40.50, 0.50, 0.03, -45_000.0],
    ]
)
# The coast as a broken line of (latitude, longitude), from the Mexican border to Oregon.
_COAST = np.array(
    [
        [32.5, -117.15],
        [33.7, -118.20],
        [34.4, -120.40],
        [36.6, -121.95],
        [37.8, -122.52],
        [40.0, -124.10],
        [42.0, -124.25],
    ]
)


def named(name: str) -> Generator:
    """The generator of that name.

    Raises
    ------
    BadParameter
        There is none.
    """
    if name not in _GENERATORS:
        raise BadParameter(f"There is no generator {name!r}.", fix=did_you_mean(name, _GENERATORS))
    return _GENERATORS[name]


def write(make: Generator, path: Path, *, rows: int, seed: int) -> None:
    """Write generated rows as one Parquet file, in row groups of at most 65,536 rows.

    A small set still gets several row groups, as real ones have them.
    """
    piece = min(ROWS_A_PIECE, max(1, -(-rows // 4)))
    starts = range(0, rows, piece)
    seeds = np.random.SeedSequence(seed).spawn(len(starts))
    writer: pq.ParquetWriter | None = None
    try:
        for start, own in zip(starts, seeds, strict=True):
            table = make(np.random.default_rng(own), min(piece, rows - start))
            writer = writer or pq.ParquetWriter(path, table.schema, compression="zstd")
            writer.write_table(table, row_group_size=piece)
    finally:
        if writer is not None:
            writer.close()


def california_housing(rng: np.random.Generator, rows: int) -> pa.Table:
    """Block groups around California's cities: value rises with income, age and nearness to the sea."""
    city = _CITIES[rng.choice(len(_CITIES), size=rows, p=_CITIES[:, 3])]
    latitude = np.clip(city[:, 1] + rng.normal(0, city[:, 2]), 32.54, 41.95)
    coast = np.interp(latitude, _COAST[:, 0], _COAST[:, 1])
    longitude = np.clip(city[:, 0] + rng.normal(0, city[:, 2]), coast + 0.01, coast + 6.0)
    inland = longitude - coast
    income = np.clip(rng.lognormal(1.26, 0.45, rows), 0.4999, 15.0001)
    age = np.clip(np.round(rng.normal(29, 12.5, rows)), 1, 52)
    households = np.maximum(1, np.round(rng.lognormal(6.0, 0.65, rows)))
    rooms = np.maximum(2, np.round(households * np.clip(rng.normal(3.2 + 0.55 * income, 0.9), 1.5, 40)))
    bedrooms = np.maximum(1, np.round(households * np.clip(rng.normal(1.07, 0.09, rows), 0.6, 4)))
    population = np.maximum(3, np.round(households * np.clip(rng.normal(2.95, 0.6, rows), 1, 12)))
    proximity = _proximity(inland, longitude, latitude, rng)
    crowding = population / households
    value = -6_000 + 39_000 * income + 900 * age - 17_000 * (crowding - 3) + city[:, 4]
    value += 45_000 * np.exp(-inland / 0.35) + rng.normal(0, 52_000, rows)
    return pa.table(
        {
            "longitude": np.round(longitude, 2),
            "latitude": np.round(latitude, 2),
            "housing_median_age": age,
            "total_rooms": rooms,
            "total_bedrooms": pa.array(bedrooms, mask=rng.random(rows) < 0.01),
            "population": population,
            "households": households,
            "median_income": np.round(income, 4),
            "median_house_value": np.clip(np.round(value, -2), 14_999, 500_001),
            "ocean_proximity": pa.array(proximity, pa.string()),
        }
    )


def _proximity(inland: FloatArray, longitude: FloatArray, latitude: FloatArray, rng: np.random.Generator) -> list[str]:
    bay = (np.abs(latitude - 37.8) < 0.35) & (np.abs(longitude + 122.25) < 0.35)
    island = rng.random(len(inland)) < 0.0005
    kinds = np.select(
        [island, bay, inland < 0.12, inland < 1.0], ["ISLAND", "NEAR BAY", "NEAR OCEAN", "<1H OCEAN"], "INLAND"
    )
    return [str(kind) for kind in kinds]


def online_retail(rng: np.random.Generator, rows: int) -> pa.Table:
    """Lines of invoices: a few loyal customers order often and much, most order once; one in fifty comes back."""
    invoices = max(1, rows // 18)
    kinds = rng.choice(3, size=1_500, p=[0.12, 0.38, 0.50])  # loyal, occasional, once
    customer = rng.choice(len(kinds), size=invoices, p=_shares(np.array([14.0, 3.0, 1.0])[kinds]))
    kind = kinds[customer]
    # Loyal customers are still there at the end of the year; the others spread over it.
    day = np.where(kind == 0, 374 * np.sqrt(rng.random(invoices)), 374 * rng.random(invoices)).astype(int)
    minute = rng.integers(8 * 60, 18 * 60, invoices)
    known, back = rng.random(invoices) > 0.15, rng.random(invoices) < 0.02
    line = np.sort(rng.integers(0, invoices, rows))
    product = (3_000 ** rng.random(rows)).astype(int)
    quantity = np.maximum(1, np.round(rng.lognormal(1.2 + 0.5 * (kind[line] == 0), 0.9)).astype(int))
    number = 536_365 + np.arange(invoices) + int(rng.integers(0, 2**20))
    start = np.datetime64("2010-12-01T00:00", "us")
    when = start + day.astype("timedelta64[D]") + minute.astype("timedelta64[m]")
    return pa.table(
        {
            "InvoiceNo": [f"{'C' * bool(back[i])}{number[i]}" for i in line],
            "StockCode": [f"{20_000 + p}" for p in product],
            "Description": [f"PRODUCT {p}" for p in product],
            "Quantity": np.where(back[line], -quantity, quantity),
            "InvoiceDate": when[line],
            "UnitPrice": np.round(0.4 + (product * 7919 % 997) / 80, 2),
            "CustomerID": pa.array(12_000.0 + customer[line], mask=~known[line]),
            "Country": np.where(customer[line] % 11 == 0, "Germany", "United Kingdom"),
        }
    )


def titanic(rng: np.random.Generator, rows: int) -> pa.Table:
    """Passengers: women, children and the first class survive more often; cabins are known of the rich alone."""
    tier = rng.choice([1, 2, 3], size=rows, p=[0.24, 0.21, 0.55])
    female = rng.random(rows) < 0.35
    age = np.round(np.clip(rng.gamma(5.0, 6.0, rows) - 3 * (tier == 3), 0.42, 80.0), 1)
    siblings = np.minimum(rng.poisson(0.5, rows), 8)
    children = np.minimum(rng.poisson(0.38, rows), 6)
    fare = np.round(rng.lognormal(np.array([4.1, 2.85, 2.35])[tier - 1], 0.45), 4)
    score = -2.6 + 2.6 * female + np.array([1.9, 1.0, 0.0])[tier - 1] + 1.2 * (age < 12) - 0.2 * siblings
    survived = rng.random(rows) < 1 / (1 + np.exp(-score))
    cabin = [f"{'ABCDEFG'[k]}{n}" for k, n in zip(rng.integers(0, 7, rows), rng.integers(1, 130, rows), strict=True)]
    unknown = rng.random(rows) < np.array([0.19, 0.91, 0.97])[tier - 1]
    number = int(rng.integers(0, 2**20)) * 1_000 + np.arange(1, rows + 1)
    title = np.where(female, np.where(age < 20, "Miss", "Mrs"), np.where(age < 13, "Master", "Mr"))
    port = rng.choice(["S", "C", "Q"], size=rows, p=[0.725, 0.188, 0.087])
    return pa.table(
        {
            "PassengerId": number,
            "Survived": survived.astype(np.int64),
            "Pclass": tier,
            "Name": [f"Passenger, {t}. {n}" for t, n in zip(title.tolist(), number.tolist(), strict=True)],
            "Sex": np.where(female, "female", "male").tolist(),
            "Age": pa.array(age, mask=rng.random(rows) < 0.2),
            "SibSp": siblings,
            "Parch": children,
            "Ticket": [f"{100_000 + n % 900_000}" for n in number.tolist()],
            "Fare": fare,
            "Cabin": pa.array(cabin, mask=unknown),
            "Embarked": pa.array(port.tolist(), mask=rng.random(rows) < 0.002),
        }
    )


def _shares(weights: FloatArray) -> FloatArray:
    return np.asarray(weights / weights.sum())


_GENERATORS: dict[str, Generator] = {
    "california_housing": california_housing,
    "card_payments": card_payments,
    "online_retail": online_retail,
    "sms_spam": sms_spam,
    "superstore": superstore,
    "titanic": titanic,
}
