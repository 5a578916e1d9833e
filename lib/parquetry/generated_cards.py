"""Generated card payments: a few frauds among many, most of them far from all others, some that look like any."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

FRAUDS = 0.015
"""The share of frauds: ten times that of the payments that the real subset was taken from."""

_COMPONENTS = 28
_SPREAD = np.linspace(2.0, 0.3, _COMPONENTS)  # principal components: each spreads less than the one before
# How far the mean of the open frauds lies from that of the other payments, in spreads of the component.
_SHIFT = (
    *(-1.2, 1.2, -2.4, 1.9, -1.0, -0.7, -2.6, 0.3, -1.7, -3.4, 2.6, -4.2, 0.0, -4.6, 0.0, -3.2, -4.4, -1.9),
    *(0.6, 0.4, 0.6, 0.0, 0.0, -0.2, 0.0, 0.1, 0.4, 0.2),
)
_HIDDEN = 0.22  # of the frauds keep near to other payments
_DAY = 86_400


def card_payments(rng: np.random.Generator, rows: int) -> pa.Table:
    """Payments of two days: heavy-tailed components, amounts of a few to a few thousand euros, quiet nights."""
    fraud = rng.random(rows) < FRAUDS
    distance = np.where(rng.random(rows) < _HIDDEN, 0.25, rng.gamma(4.0, 0.25, rows)) * fraud
    # A common factor a row gives the tails, and the frauds their wider spread.
    width = np.sqrt(5.0 / rng.chisquare(5.0, rows)) * (1.0 + 0.8 * fraud)
    columns = {"Time": _times(rng, fraud)}
    for i in range(_COMPONENTS):
        values = _SPREAD[i] * (distance * _SHIFT[i] + width * rng.standard_normal(rows))
        columns[f"V{i + 1}"] = np.round(values, 9)
    amount = rng.lognormal(np.where(fraud, 2.6, 3.1), np.where(fraud, 2.1, 1.6))
    columns["Amount"] = np.round(np.minimum(amount, 25_000.0), 2)
    return pa.table({**columns, "Class": fraud.astype(np.int64)})


def _times(rng: np.random.Generator, fraud: np.ndarray) -> np.ndarray:
    """Seconds since the first day's midnight; honest people sleep."""
    hour = rng.beta(2.6, 1.9, len(fraud)) * 24.0
    awake = np.where(fraud, rng.random(len(fraud)) * 24.0, hour)
    return np.floor((awake / 24.0 + rng.integers(0, 2, len(fraud))) * _DAY).astype(np.float64)
