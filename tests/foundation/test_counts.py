"""Counts of distinct values against pandas."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pytest

import parity
from parquetry.errors import TooManyCategories
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation.counts import Counts, columns_of
from parquetry.foundation.presence import Presence


def counts(folder, engine, *, target=None, weight=None, limit=1_000_000):
    view = make_view(folder, target=target, features=None, sample_weight=weight)
    names = view.target if target else view.features
    reduction = Counts("Test", names, target=target is not None, weighted=weight is not None, limit=limit)
    return run_pass(engine, [(reduction, view)], label="counts")[0]


def test_every_type_with_missing_values(write_parquet, engine):
    table = parity.texts()
    found = counts(write_parquet(table, files=3, row_group_size=23), engine)
    for column, stored in zip(found, table.columns, strict=True):
        values = stored.to_pylist()
        nans = sum(v is not None and v != v for v in values)
        expected = collections.Counter(v for v in values if v is not None and v == v)
        assert dict(zip(column.values.to_pylist(), column.counts.tolist(), strict=True)) == dict(expected)
        assert column.values.to_pylist() == sorted(expected)
        assert (column.nulls, column.nans, column.rows) == (stored.null_count, nans, len(values))
        assert (column.missing_at is not None) == bool(nans or stored.null_count)


def test_both_zeros_are_one_value_and_the_first_gap_is_placed(write_parquet, local):
    (column,) = counts(write_parquet({"a": [0.0, -0.0, 1.0, np.nan]}, row_group_size=1), local)
    assert column.values.to_pylist() == [0.0, 1.0]
    assert column.counts.tolist() == [2, 1]
    assert (column.missing_at.path.rsplit("/")[-1], column.missing_at.row_group) == ("part-1.parquet", 1)


def test_weighted_targets(write_parquet, engine):
    rng = np.random.default_rng(0)
    labels, weights = rng.choice(["a", "b", "c"], 300), rng.gamma(1.0, size=300)
    folder = write_parquet({"x": np.zeros(300), "y": labels, "w": weights}, row_group_size=17)
    (column,) = counts(folder, engine, target="y", weight="w")
    assert column.values.to_pylist() == ["a", "b", "c"]
    np.testing.assert_allclose(column.counts, [weights[labels == v].sum() for v in "abc"], rtol=1e-13)


@pytest.mark.parametrize("row_group_size", [5, 1_000], ids=["in a merge", "in a batch"])
def test_too_many_values(row_group_size, write_parquet, engine):
    folder = write_parquet(
        {"few": np.zeros(200), "id": np.arange(200), "z": np.arange(200)}, row_group_size=row_group_size
    )
    with pytest.raises(TooManyCategories, match="'id' has more than 50 distinct values") as caught:
        counts(folder, engine, limit=50)
    assert "Leave the column out" in caught.value.fix


def test_as_many_values_as_allowed(write_parquet, local):
    (column,) = counts(write_parquet({"id": np.arange(200)}, row_group_size=7), local, limit=200)
    assert column.counts.tolist() == [1] * 200


def test_objects_of_several_types(write_parquet):
    reduction = Counts("Test", ["a"])
    view = make_view(write_parquet({"a": [0.0] * 5}, files=1), target=None, features=None)
    (batch,) = view.head_batches(5)
    batch.X = np.array([["b"], [3], [None], [float("nan")], ["b"]], dtype=object)
    (other,) = view.head_batches(5)
    other.X = np.array([[3.0], [4.0], [np.nan], [4.0], [4.0]])
    (column,) = reduction.finish(reduction.merge(reduction.partial(batch), reduction.partial(other)))
    assert column.values == [4.0, 3, "b"]
    assert column.counts.tolist() == [3, 2, 2]
    assert (column.nulls, column.nans, column.missing_at.row) == (1, 2, 2)
    assert column.complete()[1].tolist() == [3, 2, 2, 1, 2]


def test_small_floats_and_dictionaries():
    from parquetry.view import Columns

    table = pa.table({"h": pa.array([1, 2], pa.float16()), "d": pa.array(["x", "y"]).dictionary_encode()})
    assert [str(c.type) for c in columns_of(Columns(table))] == ["float", "string"]


def test_presence(write_parquet, engine):
    table = pa.table(
        {
            "a": [1.0, -1.0, np.inf, np.nan],
            "b": pa.array([None, 4, -1, 4]),
            "c": pa.array(["u", None, "v", "w"]),
            "d": pa.array([None, -1, -1, None]),
        }
    )
    view = make_view(write_parquet(table), target=None, features=None)
    a, b, c, d = run_pass(engine, [(Presence(-1), view)], label="presence")[0]
    assert (a.example, a.marked, a.null, a.nan) == (1.0, -1.0, False, True)
    assert (a.infinite_at.row, a.missing_at.row) == (0, 1)
    assert (b.example, b.marked, b.null, b.nan) == (4, -1, True, False)
    assert (c.example, c.marked, c.null) == ("u", None, True)
    assert (d.example, d.marked, d.null) == (None, -1, True)
