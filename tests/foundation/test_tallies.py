"""Tallies against NumPy's sorted values, and weighted quantiles against scikit-learn's."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.utils.stats import _weighted_percentile

from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from parquetry.foundation.positions import features
from parquetry.foundation.radix import from_keys, to_keys
from parquetry.foundation.tallies import Tallied, Tallies, added, collected, quantiles, tallied

N = 3_000
Q = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def column(kind: str) -> Any:
    rng = np.random.default_rng(3)
    if kind == "ties":
        return rng.choice([-2.0, -0.0, 0.0, 0.5, 3.0], N)
    if kind == "offset":
        return 1e9 + rng.normal(size=N)
    if kind == "nearly equal":
        return (np.float64(1.0).view(np.int64) + rng.integers(0, 40, N)).view(np.float64)
    if kind == "all magnitudes":
        return rng.choice([-1.0, 1.0], N) * 10.0 ** rng.uniform(-300, 300, N)
    if kind == "constant":
        return np.full(N, 0.1)
    return rng.normal(size=N)


KINDS = ("normal", "ties", "offset", "nearly equal", "all magnitudes", "constant")


def weights_of(kind: str) -> Any:
    rng = np.random.default_rng(4)
    if kind == "none":
        return None
    whole = rng.integers(0, 4, N).astype(float)
    return whole if kind == "whole" else rng.uniform(0, 2, N) * (whole > 0)


def in_parts(values: Any, weights: Any, cap: int, parts: int = 100) -> Tallied:
    edges = np.linspace(0, N, parts + 1).astype(int)
    states = [tallied(values[a:b], None if weights is None else weights[a:b], cap) for a, b in pairwise(edges)]
    total = states[0]
    for state in states[1:]:
        total = added(total, state, cap)
    return total


@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_value_is_held_while_they_are_few(kind: str, weighted: str) -> None:
    values, weights = column(kind), weights_of(weighted)
    found = collected(in_parts(values, weights, N))
    mass = np.ones(N) if weights is None else weights
    distinct, place = np.unique((values + 0.0)[mass > 0], return_inverse=True)
    np.testing.assert_array_equal(from_keys(found.low), distinct)
    assert found.exact.all()
    np.testing.assert_allclose(found.mass, np.bincount(place, mass[mass > 0]), rtol=1e-12)


@pytest.mark.parametrize("weighted", ["none", "whole"])
@pytest.mark.parametrize("kind", KINDS)
def test_cells_hold_all_and_tell_how_far_they_reach(kind: str, weighted: str) -> None:
    values, weights = column(kind), weights_of(weighted)
    cap = 50
    state = in_parts(values, weights, cap)
    assert sum(map(len, state.runs)) <= 2 * cap
    found = collected(state)
    mass = np.ones(N) if weights is None else weights
    keys = to_keys(values + 0.0)
    assert (found.low <= found.high).all()
    assert (found.high[:-1] < found.low[1:]).all()
    for low, high, weight in zip(found.low, found.high, found.mass):
        inside = (keys >= low) & (keys <= high) & (mass > 0)
        assert mass[inside].sum() == weight
        assert (keys[inside].min(), keys[inside].max()) == (low, high)


def search(view: Any, cap: int) -> Any:
    (first,) = yield [Pass(Tallies(features, cap), view)]
    return (yield from quantiles(first, view, q=Q, values=features, cap=cap))


@pytest.mark.parametrize("cap", [8, N], ids=["many passes", "one pass"])
@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
def test_quantiles_are_scikit_learns(local: Any, write_parquet: Any, weighted: str, cap: int) -> None:
    columns = {kind: column(kind) for kind in KINDS}
    weights = weights_of(weighted)
    table = pa.table(columns if weights is None else {**columns, "w": weights})
    view = make_view(
        write_parquet(table, row_group_size=500),
        target=None,
        features=list(KINDS),
        sample_weight=None if weights is None else "w",
    )
    found = drive(search(view, cap), local, verb="test")
    mass = np.ones(N) if weights is None else weights
    for row, values in zip(found, columns.values(), strict=True):
        expected = _weighted_percentile(values, mass, np.array(Q) * 100, average=True)
        np.testing.assert_array_equal(row, expected + 0.0)


def test_a_column_without_weight_has_no_quantile(local: Any, write_parquet: Any) -> None:
    view = make_view(
        write_parquet(pa.table({"x": column("normal"), "w": np.zeros(N)})),
        target=None,
        features=["x"],
        sample_weight="w",
    )
    assert np.isnan(drive(search(view, 8), local, verb="test")).all()
