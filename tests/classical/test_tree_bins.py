"""Bins and codes of trees: exact for few distinct values, near the quantiles for many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.classical.tree_bins import MAX_BINS, Bins, ColumnSketch, Sketch
from parquetry.classical.tree_codes import CellEncoder, ComparingEncoder, Encoder, TreeArrays, chunks, encoder, floor32
from parquetry.fitting import run_pass
from parquetry.reduction import fold
from parquetry.view import View


def sketched(local: Any, write_parquet: Any, columns: dict[str, Any], rows: int = 700) -> list[ColumnSketch]:
    data = pqy.open_dataset(write_parquet(pa.table(columns), files=2, row_group_size=rows))
    names = tuple(columns)
    (found,) = run_pass(local, [(Sketch("test", names, nan=True), View(data, names))], label="test")
    return list(found)


def test_few_values_are_their_own_bins(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    columns = {
        "most": rng.permutation(np.arange(5_100) % 255).astype(float),
        "gaps": np.where(rng.random(5_100) < 0.2, np.nan, rng.integers(0, 3, 5_100)),
        "zeros": rng.choice([-0.0, 0.0, 1.5], 5_100),
        "nothing": np.full(5_100, np.nan),
        "wide": rng.choice([1e9, 1e9 + 1], 5_100),
    }
    sketch = sketched(local, write_parquet, columns)
    bins = Bins.of(sketch)
    assert bins.exact.all()
    assert bins.missing.tolist() == [False, True, False, True, False]
    np.testing.assert_array_equal(bins.values[0], np.arange(255))
    np.testing.assert_array_equal(bins.edges[0], np.arange(254) + 0.5)
    np.testing.assert_array_equal(sketch[0].counts, np.full(255, 20))
    assert [v.tolist() for v in bins.values[1:]] == [[0, 1, 2], [0, 1.5], [0], [1e9]]
    assert bins.missing_code == 255
    assert bins.n_codes == 256


@pytest.mark.parametrize("shape", ["normal", "lognormal", "far from zero", "half zeros", "integers"])
def test_many_values_get_bins_near_the_quantiles(local: Any, write_parquet: Any, shape: str) -> None:
    rng = np.random.default_rng(1)
    n = 60_000
    values = {
        "normal": rng.normal(size=n),
        "lognormal": rng.lognormal(sigma=3, size=n),
        "far from zero": 1_000 + rng.normal(size=n),
        "half zeros": np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n)),
        "integers": rng.integers(0, 5_000, n).astype(float),
    }[shape]
    (sketch,) = sketched(local, write_parquet, {"x": values}, rows=4_000)
    bins = Bins.of([sketch])
    assert sketch.counts.sum() == n
    assert not bins.exact[0]
    assert 240 <= len(bins.values[0]) <= MAX_BINS
    edges = bins.edges[0]
    assert (np.diff(edges) > 0).all()
    shares = np.diff(np.searchsorted(np.sort(values.astype(np.float32)), edges, side="right"), prepend=0, append=n) / n
    heavy = shares.max() if shape == "half zeros" else 0.0
    light = shares[shares < heavy] if heavy else shares
    even = (1 - heavy) / (MAX_BINS - bool(heavy))
    # A bin's own share, and the rounding of its two edges' ranks.
    assert light.max() < 2.0 * even
    assert heavy == 0 or heavy == pytest.approx(0.5, abs=0.02)
    inside = np.searchsorted(edges, bins.values[0])
    np.testing.assert_array_equal(inside, np.arange(len(bins.values[0])))


def test_ranks_of_a_merged_sketch() -> None:
    """However the rows are spread over batches, a point's rank is within 0.5 % of the rows."""
    rng = np.random.default_rng(2)
    values = np.sort(rng.normal(size=400_000)).astype(np.float32)
    sketch = Sketch("test", ["x"], nan=True)
    for order in (np.arange(400), rng.permutation(400)):
        parts = []
        for part in np.split(values, 400):
            found = ColumnSketch(*np.unique(part, return_counts=True), many=True, missing=0)
            parts.append([sketch._thinned(found)])
        merged = fold(sketch.merge, [fold(sketch.merge, [parts[i] for i in group]) for group in np.split(order, 20)])
        assert len(merged[0].values) <= 2 * sketch.points
        reached = np.cumsum(merged[0].counts) - merged[0].counts / 2
        true = np.searchsorted(values, merged[0].values)
        assert np.abs(reached - true).max() < 0.005 * len(values)


@pytest.mark.parametrize("shape", ["normal", "skewed", "few", "huge", "steps", "close"])
def test_encoders_agree_with_searching(shape: str) -> None:
    rng = np.random.default_rng(3)
    draws = {
        "normal": rng.normal(size=50_000),
        "skewed": rng.lognormal(sigma=6, size=50_000),
        "few": rng.integers(0, 7, 50_000) * 0.1,
        "huge": rng.normal(size=50_000) * 1e38,
        "steps": rng.integers(0, 1_000, 50_000) * 0.001,
        "close": 1e6 + rng.integers(0, 300, 50_000) * 0.0625,
    }
    values = np.clip(draws[shape], -3.4e38, 3.4e38).astype(np.float32)
    distinct = np.unique(values)
    chosen = distinct[:: max(1, len(distinct) // 255)][:254].astype(np.float64)
    edges = chosen[:-1] / 2 + chosen[1:] / 2
    found = encoder(floor32(edges))
    kinds = {"few": ComparingEncoder, "skewed": Encoder, "huge": Encoder}
    assert type(found) is kinds.get(shape, CellEncoder)
    tested = np.concatenate([values, floor32(edges), np.nextafter(floor32(edges), np.float32(np.inf))])
    np.testing.assert_array_equal(found(tested), np.searchsorted(edges, tested.astype(np.float64)))


def test_codes_of_dense_and_sparse_rows_are_the_same(local: Any, write_parquet: Any) -> None:
    from scipy import sparse

    rng = np.random.default_rng(4)
    columns = {f"x{i}": np.where(rng.random(900) < 0.7, 0.0, rng.normal(size=900)) for i in range(3)}
    data = pqy.open_dataset(write_parquet(pa.table(columns), files=1, row_group_size=900))
    names = tuple(columns)
    dense = View(data, names, target=("x0",))
    thin = View(data, names, target=("x0",), steps=(Csr(),))
    found = []
    for view in (dense, thin):
        (sketch,) = run_pass(local, [(Sketch("test", names, nan=False), view)], label="test")
        (batch,) = view.head_batches(900)
        arrays = TreeArrays(Bins.of(sketch), 0, np.zeros((1, 1)))(batch)
        found.append(np.concatenate(list(chunks(arrays))))
    assert sparse.issparse(next(iter(thin.head_batches(900))).X)
    np.testing.assert_array_equal(*found)


class Csr:
    """A step that makes X sparse."""

    def __call__(self, x: Any) -> Any:
        from scipy import sparse

        return sparse.csr_matrix(x.matrix)
