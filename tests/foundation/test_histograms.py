"""Histograms: the counts of numpy, whatever the engine; edges that people like."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.dummy import DummyRegressor

import parquetry as pqy
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation.histograms import (
    Extent,
    Histogram,
    Histogram2D,
    Prediction,
    Residual,
    Stored,
    Target,
    footer_edges,
    pleasant_edges,
)


@pytest.fixture
def values() -> np.ndarray:
    values = np.random.default_rng(1).normal(5, 2, 1_003)
    values[[3, 700]] = np.nan
    values[[5, 800, 801]] = [np.inf, -np.inf, 8.0]
    return values


def test_counts_are_numpys(engine, write_parquet, values):
    folder = write_parquet(pa.table({"x": values, "y": values * 2}))
    edges = np.arange(2.0, 8.5, 0.5)
    view = make_view(folder, target="y", features=["x"])
    one, two, extent = run_pass(
        engine,
        [
            (Histogram(Stored("x"), edges), view),
            (Histogram2D(Stored("x"), Target(), edges, edges * 2), view),
            (Extent(Stored("x")), view),
        ],
        label="test",
    )
    present = values[~np.isnan(values)]
    np.testing.assert_array_equal(one.counts, np.histogram(present, edges)[0])
    assert (one.under, one.over, one.missing) == ((present < 2).sum(), (present > 8).sum(), 2)
    assert one.total == len(values)
    np.testing.assert_array_equal(np.diag(two.counts), one.counts)
    assert two.counts.sum() == one.counts.sum()
    assert (two.outside, two.missing, two.total) == (one.under + one.over, 2, len(values))
    finite = values[np.isfinite(values)]
    assert extent == (finite.min(), finite.max())


def test_predictions_and_residuals(local, houses):
    model = pqy.fit(DummyRegressor(strategy="constant", constant=1000.0), houses, target="price", engine=local)
    view = make_view(houses, target="price", features=["area"])
    wide = np.array([-1e12, 999.0, 1001.0, 1e12])
    predicted, left = run_pass(
        local, [(Histogram(Prediction(model), wide), view), (Extent(Residual(model)), view)], label="test"
    )
    np.testing.assert_array_equal(predicted.counts, [0, 1000, 0])
    prices = pqy.open_dataset(houses).to_pandas()["price"]
    assert left == (prices.min() - 1000.0, prices.max() - 1000.0)


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-3.7, 12.2), (14_999, 500_001), (1e9, 1e9 + 1), (0, 1e-9), (5, 5), (0, 0), (-2, -2)]
)
def test_edges_cover_the_range_in_round_steps(low: float, high: float):
    edges = pleasant_edges(low, high)
    assert edges[0] <= low
    assert edges[-1] >= high
    assert 5 <= len(edges) <= 60
    assert (np.diff(edges) > 0).all()


def test_edges_from_footers(write_parquet):
    whole = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(1000.0), "t": ["a"] * 1000})))
    edges = footer_edges(whole, "x", bins=10)
    assert edges is not None
    np.testing.assert_array_equal(edges, np.arange(0, 1001, 100.0))


@pytest.mark.parametrize("edges", [[1.0], [2.0, 1.0], [0.0, np.nan], [[0.0, 1.0]]])
def test_bad_edges(edges):
    with pytest.raises(BadParameter, match="rise strictly"):
        Histogram(Stored("x"), edges)
    with pytest.raises(BadParameter, match="no edges"):
        pleasant_edges(1, 0)
