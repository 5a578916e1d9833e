"""Order statistics at many ranks against NumPy's quantiles and scikit-learn's weighted percentiles."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.utils.stats import _weighted_percentile

import parquetry as pqy
from parquetry.features.quantile_columns import column_quantiles, weighted_quantiles
from parquetry.fit_checks import make_view
from parquetry.fitting import drive
from parquetry.foundation import rank_counts, ranks
from parquetry.foundation.ranks import Wanted, positions

METHODS = (
    "inverted_cdf", "averaged_inverted_cdf", "closest_observation", "interpolated_inverted_cdf", "hazen", "weibull",
    "linear", "median_unbiased", "normal_unbiased",
)  # fmt: skip


def columns(n: int = 6_000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        "normal": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
        "far apart": rng.choice([-1.0, 1.0], n) * 10.0 ** rng.uniform(-300, 300, n),
        "mostly zero": np.where(rng.random(n) < 0.6, rng.choice([0.0, -0.0], n), rng.normal(size=n)),
        "close": 1e9 + rng.normal(size=n) * 1e-3,
        "few": rng.integers(0, 3, n).astype(float),
        "one": np.full(n, 0.1),
        "empty": np.full(n, np.nan),
    }


@pytest.fixture(params=["in one pass", "kept", "in cells"])
def room(request, monkeypatch):
    """How much a state may hold: all values, some, or hardly any, so that every way is taken on small data."""
    if request.param != "in one pass":
        monkeypatch.setattr(rank_counts, "cap_of", lambda _: 50)
        monkeypatch.setattr(ranks, "MOST_KEPT", 2_000 if request.param == "kept" else 40)
        monkeypatch.setattr(ranks, "MOST_CELLS", 3_000)
    return request.param


def run(asking, engine):
    """What a generator of passes gives, and how many it asked for."""
    count = [0]

    def counted():
        try:
            asked = next(asking)
            while True:
                count[0] += 1
                asked = asking.send((yield asked))
        except StopIteration as stop:
            return stop.value

    return drive(counted(), engine, verb="test"), count[0]


def test_a_thousand_quantiles(room, write_parquet, local):
    data = columns()
    folder = write_parquet(data, files=2, row_group_size=800)
    view = make_view(pqy.open_dataset(folder), target=None, features=None)
    percent = np.linspace(0, 1, 1_001) * 100
    found, passes = run(column_quantiles(view, "test", percent / 100), local)
    for name, own in zip(data, found, strict=True):
        expected = np.full(1_001, np.nan) if name == "empty" else np.nanpercentile(data[name], percent)
        np.testing.assert_array_equal(own.linear(), expected, err_msg=name)
    assert (passes == 1) == (room == "in one pass")
    assert passes <= 12


@pytest.mark.parametrize("average", [True, False])
def test_weighted_percentiles(room, average, write_parquet, local):
    data = columns()
    if average:  # of the last value of a column with NaN, scikit-learn's own average is NaN
        data = {name: values for name, values in data.items() if not np.isnan(values).any()}
    weights = np.random.default_rng(1).integers(0, 4, 6_000).astype(float)
    folder = write_parquet({**data, "w": weights}, files=2, row_group_size=800)
    view = make_view(pqy.open_dataset(folder), target=None, features=list(data), sample_weight="w")
    percent = np.linspace(0, 100, 21)
    asking = weighted_quantiles(view, "test", [percent] * len(data), average=average, nan=True)
    (found, _), _ = run(asking, local)
    for (name, values), own in zip(data.items(), found, strict=True):
        expected = _weighted_percentile(values, weights, percent, average=average)
        np.testing.assert_array_equal(own, expected + 0.0, err_msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_of_numpy(method):
    rng = np.random.default_rng(0)
    for count in (1, 2, 3, 7, 10, 101, 1_000):
        values = np.sort(rng.normal(size=count))
        q = np.linspace(0, 1, 13)
        place = positions(q, count, method)
        found = place.between(values[np.r_[place.lower, place.upper]])
        np.testing.assert_array_equal(found, np.quantile(values, q, method=method), err_msg=str(count))


def test_zeros_that_are_not_stored():
    cells = rank_counts.FirstCounts().partial(_Stored(np.array([-2.0, 3.0]))).columns[0].cells()
    whole = cells.with_zeros(3)
    assert whole.total == 5.0
    search = ranks._Search(Wanted.ranks(np.arange(5)))
    search.learn(whole)
    np.testing.assert_array_equal(search.found, [-2.0, 0.0, 0.0, 0.0, 3.0])
    np.testing.assert_array_equal(whole.with_zeros(2).mass, [1.0, 5.0, 1.0])


class _Stored:
    """A batch of one column."""

    def __init__(self, values):
        self.X, self.num_rows, self.weights = None, len(values), None
        self.floats, self.matrix = [values], values[:, None]


def test_states_are_merged_whatever_they_hold(monkeypatch):
    monkeypatch.setattr(rank_counts, "cap_of", lambda _: 4)
    reduction = rank_counts.FirstCounts()
    parts = [reduction.partial(_Stored(np.array(v))) for v in ([1.0, 2.0], [2.0, 3.0, 5.0, 7.0, 1.0], [9.0])]
    state = reduction.merge(reduction.merge(parts[0], parts[1]), parts[2])
    assert state.rows == 8
    assert state.columns[0].cells().count.sum() == 8
    assert float(ranks.from_keys(state.columns[0].cells().high[-1:])[0]) == 9.0


def test_float32_columns_are_their_own_values(write_parquet, local):
    values = np.random.default_rng(2).normal(size=300).astype(np.float32)
    view = make_view(pqy.open_dataset(write_parquet({"a": pa.array(values)})), target=None, features=None)
    found, _ = run(column_quantiles(view, "test", np.array([0.1, 0.25, 0.9])), local)
    np.testing.assert_array_equal(found[0].linear(np.float32), np.nanpercentile(values, np.array([10.0, 25.0, 90.0])))
