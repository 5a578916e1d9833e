"""What the methods of distances are made of: pieces of rows, the nearest center, the rows of largest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse

import parquetry as pqy
from parquetry.block_cache import CachedBatch, column_arrays, float_arrays
from parquetry.classical.points import (
    DensePoints,
    Router,
    SparsePoints,
    chunks,
    least_distances,
    nearest,
)
from parquetry.classical.seeding import clustered
from parquetry.classical.top_rows import TopRows, merged, offered
from parquetry.fit_checks import make_view
from parquetry.fitting import drive
from parquetry.foundation.moments import Moments
from parquetry.rows import hashes_at, row_hashes

RNG = np.random.default_rng(0)
X, CENTERS = RNG.normal(size=(50, 3)), RNG.normal(size=(4, 3))


def batch(arrays: dict[str, Any], rows: int) -> CachedBatch:
    """A batch of the second block of some data set."""
    block = pqy.Block(1, "b.parquet", "b.parquet", 0, rows, 0)
    return CachedBatch(arrays, np.arange(rows), block, None)  # type: ignore[arg-type]


def points(kind: str) -> Any:
    return DensePoints(np.vstack([X.T, np.ones(50)])) if kind == "dense" else SparsePoints(sparse.csr_matrix(X))


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_points(kind: str) -> None:
    p = points(kind)
    squared = ((X[None] - CENTERS[:, None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(p.scores(CENTERS) + p.norms, squared, rtol=1e-12)
    chosen = nearest(p, CENTERS)
    labels, least = p.nearest_labels(CENTERS)
    np.testing.assert_array_equal(labels, squared.argmin(axis=0))
    np.testing.assert_array_equal(chosen.argmax(axis=0), labels)
    np.testing.assert_allclose(least + p.norms, squared.min(axis=0), rtol=1e-9)
    np.testing.assert_allclose(p.distances(CENTERS, labels), squared.min(axis=0), rtol=1e-9)
    np.testing.assert_allclose(least_distances(p, CENTERS), squared.min(axis=0), rtol=1e-9)
    sums = p.sums(chosen.astype(float))
    for j in range(4):
        np.testing.assert_allclose(sums[j], [*X[labels == j].sum(axis=0), (labels == j).sum()])
    some = p.take(np.array([3, 7]))
    assert some.size == 2
    rows = p.rows([3, 7])
    np.testing.assert_array_equal(rows.toarray() if kind == "sparse" else rows, X[[3, 7]])


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_the_first_of_equal_centers_is_the_nearest(kind: str) -> None:
    chosen = nearest(points(kind), np.vstack([CENTERS[0] + 100, CENTERS, CENTERS]))
    assert (chosen.sum(axis=0) == 1).all()
    assert not chosen[0].any()
    assert not chosen[5:].any()
    labels, _ = points(kind).nearest_labels(np.vstack([CENTERS[0] + 100, CENTERS, CENTERS]))
    np.testing.assert_array_equal(labels, chosen.argmax(axis=0))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("centers", [1, 2, 5, 70])
@pytest.mark.parametrize("width", [1, 3, 4, 9])
def test_compiled_loops(width: int, centers: int, weighted: bool) -> None:
    """Any number of features, centers and rows, beside whole arrays; the last tile is not full."""
    rng = np.random.default_rng(width)
    x, middle = rng.normal(size=(1301, width)), rng.normal(size=(centers, width))
    middle[centers // 2] = 1e3  # nobody's nearest, where there are others
    weights = rng.integers(0, 3, 1301) / 2 if weighted else None
    p = DensePoints(np.vstack([x.T, np.ones(1301)]))
    squared = ((x[None] - middle[:, None]) ** 2).sum(axis=2)
    labels, _ = p.nearest_labels(middle)
    np.testing.assert_array_equal(labels, squared.argmin(axis=0))
    np.testing.assert_allclose(p.distances(middle, labels), squared.min(axis=0), rtol=1e-13)
    shares = (labels == np.arange(centers)[:, None]) * (1.0 if weights is None else weights)
    sums = p.nearest_sums(middle, weights)
    np.testing.assert_allclose(sums, p.sums(shares), rtol=0, atol=1e-11)
    assert not sums[shares.sum(axis=1) == 0].any()
    some = DensePoints(p.z[:, 100:700])  # rows that do not lie side by side
    np.testing.assert_array_equal(some.nearest_labels(middle)[0], labels[100:700])


def test_rounding_is_no_distance() -> None:
    far = X + 1e6
    p = DensePoints(np.vstack([far.T, np.ones(50)]))
    assert (least_distances(p, far) == 0).all()


def test_router() -> None:
    """Left of 0, then above or below: rows go to the leaves 1, 3 and 4."""
    along, up = np.array([[-1.0, 0, 0], [1, 0, 0]]), np.array([[0, -1.0, 0], [0, 1, 0]])
    router = Router(((0, along, 1, 2), (2, up, 3, 4)))
    expected = np.where(X[:, 0] <= 0, 1, np.where(X[:, 1] <= 0, 3, 4))
    for kind in ("dense", "sparse"):
        np.testing.assert_array_equal(router(points(kind)), expected)
    assert (Router()(points("dense")) == 0).all()


def test_chunks_are_the_rows_less_the_mean() -> None:
    wide = RNG.normal(size=(1300, 300))
    mean, weights = wide.mean(axis=0), RNG.random(1300)
    ways = {
        "matrix": {"X": np.asfortranarray(wide), "w": weights},
        "rows": {"X": wide, "w": weights},
        "columns": {"X": [np.ascontiguousarray(c) for c in wide.T], "w": weights},
    }
    seen = {}
    for name, arrays in ways.items():
        parts = [(c.points.z.copy(), c.weights, c.rows) for c in chunks(batch(arrays, 1300), mean)]
        assert [len(rows) for _, _, rows in parts] == [512, 512, 276]
        z, w, rows = (np.concatenate(part, axis=-1) for part in zip(*parts, strict=True))
        np.testing.assert_array_equal(z, np.vstack([(wide - mean).T, np.ones(1300)]))
        np.testing.assert_array_equal(w, weights)
        np.testing.assert_array_equal(rows, np.arange(1300))
        seen[name] = z.tobytes()
    assert len(set(seen.values())) == 1
    (chunk,) = chunks(batch({"X": wide[:500]}, 500), mean)
    assert [piece.size for piece in chunk.pieces(2000)] == [500]
    assert [piece.size for piece in chunk.pieces(1)] == [500]


def test_pieces_keep_the_table_of_distances_small() -> None:
    (chunk,) = chunks(batch({"X": np.zeros((3000, 2))}, 3000), np.zeros(2))
    assert [piece.size for piece in chunk.pieces(8)] == [3000]
    assert [piece.size for piece in chunk.pieces(1000)] == [524] * 5 + [380]
    np.testing.assert_array_equal(np.concatenate([p.rows for p in chunk.pieces(1000)]), np.arange(3000))


def test_columns_come_back_from_the_cache_as_their_matrix(local: Any, write_parquet: Any, tmp_path: Path) -> None:
    gaps = pa.array([None, 1.5] * 250)
    whole = pa.array(RNG.integers(0, 9, 500))
    table = pa.table({"a": RNG.normal(size=500), "b": whole, "c": gaps, "w": RNG.random(500)})
    folder = write_parquet(table, files=1)
    plain = make_view(folder, target="c", features=["a", "b"], sample_weight="w")
    found = []
    for prepare in (float_arrays, column_arrays):
        view = plain.cached(prepare)

        def passes(view: Any = view) -> Any:
            from parquetry.fitting import Pass

            states = []
            for _ in range(2):
                (state,) = yield [Pass(Moments("test", ["a", "b"], weighted=True), view)]
                states.append(np.concatenate([state.mean, state.m2, state.weight]).tobytes())
            return states

        found += drive(passes(), local, verb="test")
    assert len(set(found)) == 1
    first = next(iter(plain.head_batches(1000)))
    kept = CachedBatch(column_arrays(first), first.rows, first.block, plain)
    np.testing.assert_array_equal(kept.matrix, first.matrix)
    np.testing.assert_array_equal(kept.y, first.y)


def test_top_rows_do_not_depend_on_how_they_come() -> None:
    keys = RNG.integers(0, 6, 40).astype(float)
    keys[::7] = -1.0
    x = RNG.normal(size=(40, 2))
    expected = sorted(range(40), key=lambda i: (-keys[i], i))
    expected = [i for i in expected if keys[i] >= 0]
    for count in (1, 5, 200):
        for edges in ([0, 40], [0, 3, 25, 40]):
            tops = []
            for start, stop in zip(edges, edges[1:], strict=False):  # noqa: RUF007
                (chunk,) = chunks(batch({"X": x[start:stop]}, stop - start), np.zeros(2))
                object.__setattr__(chunk, "rows", np.arange(start, stop))
                tops.append(offered(TopRows.none(2), chunk, keys[start:stop], count))
            top = tops[0]
            for more in tops[1:]:
                top = merged(top, more, count)
            assert top.places.tolist() == expected[:count]
            np.testing.assert_array_equal(top.dense, x[expected[:count]])
            assert (top.blocks == 1).all()


def test_hashes_of_some_rows_are_those_of_all() -> None:
    everything = row_hashes("a.parquet", 3, 100, "salt")
    some = np.array([0, 7, 99])
    np.testing.assert_array_equal(hashes_at("a.parquet", 3, some, "salt"), everything[some])
    assert everything.dtype == np.uint64


def test_few_candidates_are_repeated() -> None:
    cells = np.array([[2.0, 4.0, 2.0], [9.0, 9.0, 3.0], [0.0, 0.0, 0.0]])
    found = clustered(cells, 5, seed=0)
    assert found.shape == (5, 2)
    assert {tuple(row) for row in found} == {(1.0, 2.0), (3.0, 3.0)}
