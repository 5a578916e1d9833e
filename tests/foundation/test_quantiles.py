"""Exact quantiles against NumPy on all values at once."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from parquetry.foundation import radix
from parquetry.foundation.moments import Moments
from parquetry.foundation.quantiles import FirstHistogram, exact_quantiles, refine
from parquetry.foundation.radix import from_keys, to_keys

Q = (0.0, 0.01, 0.25, 0.5, 0.9, 0.975, 1.0)
EDGES = [0.0, -0.0, 5e-324, -5e-324, 1.0, np.nextafter(1.0, 2.0), 1e308, -1e308, 2.0**-1022, np.pi]


def normal(rng, n):
    return rng.normal(size=n)


def high_offset(rng, n):
    return 1e9 + rng.normal(size=n)


def heavy_tails(rng, n):
    return rng.standard_cauchy(n) ** 3


def few_values(rng, n):
    return rng.choice([-1.0, 0.0, 2.0, 3.0], n)


def integers(rng, n):
    return rng.integers(-50, 51, n).astype(float)


def constant(rng, n):
    return np.full(n, 0.1)


def zeros_of_both_signs(rng, n):
    return rng.choice([0.0, -0.0], n)


def nearly_equal(rng, n):
    # Neighbours in float64: only the last bits tell them apart.
    return (np.float64(1.0).view(np.int64) + rng.integers(0, 40, n)).view(np.float64)


def all_magnitudes(rng, n):
    bits = rng.integers(0, 2**63, n, dtype=np.uint64) | (rng.integers(0, 2, n, dtype=np.uint64) << np.uint64(63))
    values = bits.view(np.float64)
    return np.where(np.isfinite(values), values, 0.0) / 4


def with_gaps(rng, n):
    return np.where(rng.random(n) < 0.3, np.nan, rng.normal(size=n))


def with_infinities(rng, n):
    return np.where(rng.random(n) < 0.01, rng.choice([np.inf, -np.inf], n), rng.normal(size=n))


def edges(rng, n):
    return rng.choice(EDGES, n)


def only_gaps(rng, n):
    return np.full(n, np.nan)


MAKERS = [
    normal, high_offset, heavy_tails, few_values, integers, constant, zeros_of_both_signs, nearly_equal,
    all_magnitudes, with_gaps, with_infinities, edges, only_gaps,
]  # fmt: skip


def expected(columns, q):
    with np.errstate(all="ignore"), pytest.warns() if any(np.isnan(c).all() for c in columns) else nullcontext():
        return np.array([[one_expected(c, p) for p in q] for c in columns])


def one_expected(column, p):
    if p == 0.5:
        return np.nanmedian(column)
    # At the extremes NumPy subtracts infinities from each other; the extremes themselves are meant.
    return np.nanquantile(column, p, method="lower" if p in (0.0, 1.0) else "linear")


def found(folder, engine, q, names=None):
    view = make_view(pqy.open_dataset(folder), target=None, features=names)
    return drive(exact_quantiles(view, q=q), engine, verb="quantiles")


@pytest.fixture
def small_state(monkeypatch):
    """So small a state that every kind of further pass is needed."""
    monkeypatch.setattr(radix, "_COLUMN_VALUES", 40)
    monkeypatch.setattr(radix, "_FEWEST_VALUES", 4)


@pytest.mark.parametrize("n", [1, 2, 7, 1_000, 1_001])
@pytest.mark.parametrize("make", MAKERS)
def test_equals_numpy_bit_for_bit(make, n, write_parquet, local, small_state):
    values = make(np.random.default_rng(n), n)
    folder = write_parquet({"v": values}, files=min(n, 3), row_group_size=97)
    quantiles = found(folder, local, Q)
    np.testing.assert_array_equal(quantiles.values, expected([values], Q))
    assert quantiles.count[0] == np.count_nonzero(~np.isnan(values))


@pytest.mark.parametrize("seed", range(25))
def test_random_columns_and_random_quantiles(seed, write_parquet, local, small_state):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 3_000))
    columns = [MAKERS[i](rng, n) for i in rng.integers(0, len(MAKERS) - 1, 4)]
    q = tuple(rng.random(5))
    folder = write_parquet(
        {str(i): c for i, c in enumerate(columns)}, files=2, row_group_size=int(rng.integers(20, 500))
    )
    np.testing.assert_array_equal(found(folder, local, q).values, expected(columns, q))


def test_many_rows_with_the_real_bounds(write_parquet, engine):
    rng = np.random.default_rng(5)
    n = 150_000
    columns = {m.__name__: m(rng, n) for m in (normal, high_offset, integers, with_gaps, heavy_tails)}
    folder = write_parquet(columns, files=3, row_group_size=20_000)
    q = (0.5, 0.001, 0.7)
    np.testing.assert_array_equal(found(folder, engine, q).values, expected(list(columns.values()), q))


def test_few_rows_take_one_pass(write_parquet, local):
    view = make_view(write_parquet({"v": np.arange(500.0)}), target=None, features=None)
    asking = exact_quantiles(view)
    (work,) = next(asking)
    assert isinstance(work.reduction, FirstHistogram)
    result = pqy.fitting.run_pass(local, [(work.reduction, work.view)], label="quantiles")
    with pytest.raises(StopIteration) as stop:
        asking.send(result)
    assert stop.value.value.values.tolist() == [[249.5]]


def test_median_of_both_zeros_is_zero(write_parquet, local):
    folder = write_parquet({"v": [-0.0, 0.0]}, files=2)
    (median,) = found(folder, local, (0.5,))
    assert median[0] == 0.0
    assert not np.signbit(median[0])


def test_lower_and_upper_order_statistics(write_parquet, local):
    quantiles = found(write_parquet({"v": [5.0, 1.0, 3.0, 9.0]}), local, (0.5, 0.4, 1.0))
    assert quantiles.lower.tolist() == [[3.0, 3.0, 9.0]]
    assert quantiles.upper.tolist() == [[5.0, 5.0, 9.0]]
    np.testing.assert_allclose(quantiles.fraction, [[0.5, 0.2, 0.0]])
    assert quantiles.middle[0, 0] == 4.0


def squares(batch):
    return [v * v for v in batch.floats]


def test_first_pass_beside_another_reduction(write_parquet, engine):
    values = np.random.default_rng(1).normal(size=900)
    view = make_view(write_parquet({"v": values}, row_group_size=50), target=None, features=None)

    def both():
        first, moments = yield [Pass(FirstHistogram(squares), view), Pass(Moments("test", ["v"]), view)]
        medians = yield from refine(first, view, values=squares)
        return medians, moments

    medians, moments = drive(both(), engine, verb="test")
    assert medians.values[0, 0] == np.median(values**2)
    assert moments.count[0] == 900


def test_keys_are_ordered_as_the_values_and_come_back():
    rng = np.random.default_rng(2)
    values = np.sort(np.concatenate([all_magnitudes(rng, 5_000), [np.inf, -np.inf, 5e-324, -5e-324]]))
    values = np.unique(values)
    keys = to_keys(values)
    assert (keys[1:] > keys[:-1]).all()
    np.testing.assert_array_equal(from_keys(keys), values)
    low, high = to_keys(np.array([-0.0, 0.0]))
    assert low + 1 == high


def test_state_stays_small():
    rng = np.random.default_rng(3)
    histogram = radix._histogram(rng.normal(size=300_000), radix.cap_of(20))
    assert histogram.values is None
    assert len(histogram.bins) < 2_000
    assert radix.cap_of(20) <= radix._STATE_VALUES // 20


def test_stored_types_other_than_floats(write_parquet, local):
    table = pa.table({"i": pa.array([1, None, 4, 2], pa.int8()), "b": pa.array([True, False, None, True])})
    assert found(write_parquet(table), local, (0.5,)).values.tolist() == [[2.0], [1.0]]
