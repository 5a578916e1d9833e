"""Moments against NumPy in extended precision."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation.moments import Moments, _sparse_moments, empty_moments, first_stored, merge_moments
from parquetry.foundation.positions import Finite, targets


def moments(folder, engine, *, features=None, target=None, weight=None, **options):
    view = make_view(folder, target=target, features=features, sample_weight=weight)
    reduction = Moments("Test", view.target if target else view.features, weighted=weight is not None, **options)
    return run_pass(engine, [(reduction, view)], label="moments")[0]


def extended(column, weights=None):
    x = column.to_numpy(zero_copy_only=False).astype(np.longdouble)
    w = np.ones(len(x), np.longdouble) if weights is None else weights.astype(np.longdouble)
    w = w[~np.isnan(x)]
    x = x[~np.isnan(x)]
    mean = (w * x).sum() / w.sum()
    return float(mean), float((w * (x - mean) ** 2).sum()), float(w.sum())


@pytest.mark.parametrize("layout", parity.LAYOUTS.values(), ids=parity.LAYOUTS.keys())
@pytest.mark.parametrize(
    "kind", [k for k in parity.KINDS if k not in ("empty column", "constant", "booleans", "decimals")]
)
def test_equals_extended_precision(kind, layout, write_parquet, engine):
    table = parity.numbers(kind)
    state = moments(write_parquet(table, **layout), engine)
    for i, column in enumerate(table.columns):
        mean, m2, weight = extended(column)
        np.testing.assert_allclose(state.mean_or_nan[i], mean, rtol=1e-13, atol=1e-14)
        np.testing.assert_allclose(state.m2[i], m2, rtol=1e-12)
        assert state.count[i] == weight
        values = column.to_numpy(zero_copy_only=False)
        assert state.minimum[i] == np.nanmin(values)
        assert state.maximum[i] == np.nanmax(values)
    assert state.rows == table.num_rows


@pytest.mark.parametrize("kind", ["plain", "gaps", "offset"])
def test_weighted(kind, write_parquet, engine):
    table = parity.numbers(kind)
    weights = np.random.default_rng(0).gamma(1.0, size=table.num_rows) * (np.arange(table.num_rows) > 300)
    folder = write_parquet(table.append_column("w", pa.array(weights)), row_group_size=41)
    state = moments(folder, engine, weight="w")
    for i, column in enumerate(table.columns):
        mean, m2, weight = extended(column, weights)
        np.testing.assert_allclose(state.mean_or_nan[i], mean, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(state.m2[i], m2, rtol=1e-11)
        np.testing.assert_allclose(state.weight[i], weight, rtol=1e-12)


def test_more_rows_than_a_chunk_and_more_columns_than_fit(write_parquet, local):
    rng = np.random.default_rng(4)
    wide = {f"c{i}": 1e6 + rng.normal(size=2_000) for i in range(400)}
    long = {"c": 1e9 + rng.normal(size=70_001)}
    for columns, group in ((wide, 1_900), (long, 70_001)):
        state = moments(write_parquet(columns, f"w{len(columns)}", files=1, row_group_size=group), local)
        exact = np.array([np.var(c.astype(np.longdouble)) for c in columns.values()], dtype=np.float64)
        np.testing.assert_allclose(state.variance, exact, rtol=1e-12)


def test_a_column_without_values(write_parquet, local):
    state = moments(write_parquet({"a": [np.nan, np.nan], "b": [1.0, 3.0]}), local)
    assert np.isnan(state.mean_or_nan[0])
    assert np.isnan(state.variance[0])
    assert (state.mean_or_nan[1], state.variance[1]) == (2.0, 1.0)


def test_targets(write_parquet, local):
    folder = write_parquet({"x": [0.0, 0.0, 0.0], "y": [1.0, 2.0, 6.0]})
    assert moments(folder, local, target="y", values=targets).mean_or_nan.tolist() == [3.0]


@pytest.mark.parametrize("weights", [None, np.arange(200.0)])
def test_sparse_equals_dense(weights):
    matrix = sparse.random(200, 9, 0.2, random_state=0, format="csr")
    matrix.data[::7] = np.nan
    state = _sparse_moments(matrix, weights)
    dense = matrix.toarray()
    for i in range(9):
        mean, m2, weight = extended(pa.array(dense[:, i], from_pandas=False), weights)
        np.testing.assert_allclose([state.mean[i], state.m2[i], state.weight[i]], [mean, m2, weight], rtol=1e-12)
        assert state.count[i] == np.count_nonzero(~np.isnan(dense[:, i]))


def test_first_refused_value_of_a_sparse_matrix(write_parquet):
    from parquetry.view import Batch

    view = make_view(write_parquet({"a": np.zeros(4)}, files=1), target=None, features=None)
    (batch,) = view.head_batches(4)
    batch = Batch(batch.table, batch.rows, batch.block, view)
    batch.X = batch.matrix = sparse.csr_matrix([[0.0, 1.0], [np.nan, 0.0], [2.0, np.inf], [np.inf, 0.0]])
    at = first_stored(batch, nan=False)
    assert (at.row, at.column, at.what) == (2, 1, "infinity")
    at = first_stored(batch, nan=True)
    assert (at.row, at.column, at.what) == (1, 0, "NaN")


def test_merging_with_nothing_changes_nothing():
    state = empty_moments(2)
    state.rows, state.count, state.weight = 3, np.array([3, 3]), np.array([3.0, 3.0])
    state.mean, state.rest, state.m2 = np.array([1e9, 2.0]), np.array([1e-8, 0.0]), np.array([1.0, 2.0])
    for merged in (merge_moments(empty_moments(2), state), merge_moments(state, empty_moments(2))):
        assert merged.mean.tolist() == [1e9, 2.0]
        assert merged.rest.tolist() == [1e-8, 0.0]
        assert merged.m2.tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    ("refused", "options", "says"),
    [(np.inf, {}, "infinity"), (-np.inf, {"nan": False}, "infinity"), (np.nan, {"nan": False}, "NaN")],
)
def test_the_first_refused_value_is_named(refused, options, says, write_parquet, engine):
    a, b = np.zeros(300), np.zeros(300)
    a[[222, 290]] = refused
    b[[221, 250]] = refused
    folder = write_parquet({"a": a, "b": b}, files=3, row_group_size=10)
    with pytest.raises(NonFiniteValues, match=rf"column 'b' holds {says}.*part-2.parquet, row group 2, row 1"):
        moments(folder, engine, **options)


@pytest.mark.parametrize(
    ("weight", "kind", "says"),
    [
        (np.nan, NonFiniteValues, r"'sample_weight' holds NaN, first in .*part-0\.parquet, row group 1, row 1"),
        (np.inf, NonFiniteValues, r"'sample_weight' holds infinity, first in .*part-0\.parquet, row group 1, row 1"),
        (-1.0, BadParameter, r"non-negative.*the least is -1\.0"),
        (1e308, BadParameter, r"their sum finite.*their sum inf"),
    ],
)
def test_bad_weights(weight, kind, says, write_parquet, local):
    folder = write_parquet({"a": [1.0, 2.0] * 4, "w": [1.0, 1.0, 1.0, weight] * 2}, row_group_size=2)
    with pytest.raises(kind, match=says):
        moments(folder, local, weight="w")


def test_finite_lets_nan_pass_where_it_may(write_parquet, local):
    view = make_view(write_parquet({"a": [1.0, np.nan, np.inf]}), target=None, features=None)
    with pytest.raises(NonFiniteValues, match=r"infinity.*part-1\.parquet, row group 0, row 1"):
        run_pass(local, [(Finite("Test", ["a"], nan=False), view)], label="finite")
    with pytest.raises(NonFiniteValues, match=r"NaN.*part-1\.parquet, row group 0, row 0"):
        run_pass(local, [(Finite("Test", ["a"]), view)], label="finite")


def test_same_bits_whatever_the_number_of_workers(write_parquet):
    folder = write_parquet(parity.numbers("gaps"), files=3, row_group_size=11)
    found = []
    for workers in (1, 2, 3):
        with pqy.open_engine("local", workers=workers) as engine:
            state = moments(folder, engine)
        found.append((state.mean.tobytes(), state.m2.tobytes()))
    assert len(set(found)) == 1
