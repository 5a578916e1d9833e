"""Generated lines of orders with the schema of Superstore: few good customers, seasons, and prices by product."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pyarrow as pa

_STATES = {
    "West": ("California", "Washington", "Oregon"),
    "East": ("New York", "Pennsylvania", "Ohio"),
    "Central": ("Texas", "Illinois", "Michigan"),
    "South": ("Florida", "Virginia", "Georgia"),
}
_KINDS = {
    "Furniture": ("Chairs", "Tables", "Bookcases", "Furnishings"),
    "Office Supplies": ("Paper", "Binders", "Storage", "Art"),
    "Technology": ("Phones", "Copiers", "Machines", "Accessories"),
}
_SHIPPING = {"Standard Class": 0.6, "Second Class": 0.2, "First Class": 0.15, "Same Day": 0.05}
_SEGMENTS = ("Consumer", "Corporate", "Home Office")
# Orders by month of the year: little in January and February, most in the fall.
_SEASON = np.array([4, 3, 7, 7, 7, 7, 7, 7, 14, 8, 15, 14]) / 100
_FIRST_YEAR, _YEARS = 2014, 4
_LINES_AN_ORDER = 2
_CUSTOMERS, _PRODUCTS = 800, 1_500


def superstore(rng: np.random.Generator, rows: int) -> pa.Table:
    """Lines of orders over four years, growing by a fifth a year; a line with a large discount is sold at a loss."""
    orders = max(1, rows // _LINES_AN_ORDER)
    growing = 1.2 ** np.arange(_YEARS)
    year = _FIRST_YEAR + rng.choice(_YEARS, orders, p=growing / growing.sum())
    month = 1 + rng.choice(12, orders, p=_SEASON)
    day = 1 + rng.integers(0, 28, orders)
    customer = (_CUSTOMERS * rng.random(orders) ** 1.5).astype(int)
    region = rng.choice(4, orders, p=[0.32, 0.28, 0.24, 0.16])
    state = rng.integers(0, 3, orders)
    shipping = rng.choice(len(_SHIPPING), orders, p=list(_SHIPPING.values()))
    number = rng.integers(100_000, 170_000, orders)
    line = np.sort(rng.integers(0, orders, rows))
    product = (_PRODUCTS * rng.random(rows) ** 1.3).astype(int)
    regions, kinds = list(_STATES), list(_KINDS)
    kind, sub = product % 3, product // 3 % 4
    price = (2 + product * 7919 % 997 / 4) * np.array([1.5, 0.3, 2.0])[kind]
    quantity = 1 + rng.binomial(9, 0.3, rows)
    discount = rng.choice([0.0, 0.2, 0.5], rows, p=[0.55, 0.35, 0.1])
    amount = np.round(price * quantity * (1 - discount), 4)
    margin = 0.32 - discount + rng.normal(0, 0.06, rows)
    ordered = [dt.date(int(y), int(m), int(d)) for y, m, d in zip(year, month, day, strict=True)]
    wait = np.array([5, 3, 2, 0])[shipping]
    return pa.table(
        {
            "Row ID": pa.array(np.arange(1, rows + 1), pa.int64()),
            "Order ID": [f"CA-{year[i]}-{number[i]}" for i in line],
            "Order Date": pa.array([ordered[i] for i in line], pa.date32()),
            "Ship Date": pa.array([ordered[i] + dt.timedelta(days=int(wait[i])) for i in line], pa.date32()),
            "Ship Mode": [list(_SHIPPING)[shipping[i]] for i in line],
            "Customer ID": [f"CU-{10_000 + customer[i]}" for i in line],
            "Customer Name": [f"Customer {customer[i]}" for i in line],
            "Segment": [_SEGMENTS[customer[i] % 3] for i in line],
            "Country": ["United States"] * rows,
            "City": [f"City {state[i] + 3 * region[i]}" for i in line],
            "State": [_STATES[regions[region[i]]][state[i]] for i in line],
            "Postal Code": [str(10_000 + 97 * int(state[i] + 3 * region[i])) for i in line],
            "Region": [regions[region[i]] for i in line],
            "Product ID": [f"{kinds[k][:3].upper()}-{10_000_000 + p}" for k, p in zip(kind, product, strict=True)],
            "Category": [kinds[k] for k in kind],
            "Sub-Category": [_KINDS[kinds[k]][s] for k, s in zip(kind, sub, strict=True)],
            "Product Name": [f"{_KINDS[kinds[k]][s]} {p}" for k, s, p in zip(kind, sub, product, strict=True)],
            "Sales": amount,
            "Quantity": pa.array(quantity, pa.int64()),
            "Discount": discount,
            "Profit": np.round(amount * margin, 4),
        }
    )
