"""The block cache: the same bits on hits and misses, on every engine, and never in the way."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parquetry import block_cache
from parquetry.classical.gram import Gram
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from parquetry.view import View


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone; for the engine that runs in this process."""
    place = tmp_path / "cache"
    monkeypatch.setenv("PARQUETRY_CACHE_DIR", str(place))
    return place


@pytest.fixture
def data(write_parquet: Any) -> pqy.Dataset:
    rng = np.random.default_rng(0)
    columns = {f"x{i}": rng.normal(size=3_000) for i in range(3)}
    columns |= {"y": rng.normal(size=3_000), "w": rng.uniform(size=3_000), "word": rng.choice(["a", "b", "c"], 3_000)}
    return pqy.open_dataset(write_parquet(pa.table(columns), row_group_size=700))


def grams(view: View, passes: int) -> Any:
    found = []
    for _ in range(passes):
        (gram,) = yield [Pass(Gram("gram", [f"x{i}" for i in range(3)], ["y"]), view)]
        found.append((gram.rows, gram.weight, gram.mean.tobytes(), gram.products.tobytes()))
    return found


def view_of(data: pqy.Dataset, features: tuple[str, ...] = ("x0", "x1", "x2")) -> View:
    return make_view(data, target="y", features=list(features), sample_weight="w")


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.block"))


def test_cached_passes_have_the_bits_of_uncached_ones(engine: Any, data: pqy.Dataset) -> None:
    for narrowed in (data, data.split(test=0.3)[1]):
        view = view_of(narrowed)
        (expected,) = drive(grams(view, 1), engine, verb="test")
        assert drive(grams(view.cached(), 3), engine, verb="test") == [expected] * 3


def test_sparse_x_and_fitted_steps(local: Any, data: pqy.Dataset, folder: Path) -> None:
    encoder = pqy.fit(OneHotEncoder(), data, features=["word"], engine=local)
    view = view_of(data, ("word",)).through(encoder)
    (expected,) = drive(grams(view, 1), local, verb="test")
    assert drive(grams(view.cached(), 2), local, verb="test") == [expected] * 2
    assert len(files(folder)) == 6


def test_the_second_pass_reads_no_parquet(
    local: Any, data: pqy.Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = drive(grams(view_of(data).cached(), 1), local, verb="test")
    assert len(files(folder)) == len(data.blocks)
    monkeypatch.setattr("parquetry.reading.Reader.read", lambda *_: pytest.fail("Parquet was read"))
    assert drive(grams(view_of(data).cached(), 1), local, verb="test") == [first]


def test_other_rows_steps_and_columns_are_other_entries(local: Any, data: pqy.Dataset, folder: Path) -> None:
    scaler = pqy.fit(StandardScaler(), data, features=["x0", "x1", "x2"], engine=local)
    views = [view_of(data), view_of(data.split()[0]), view_of(data).through(scaler), view_of(data, ("x2", "x1", "x0"))]
    expected = [drive(grams(v, 1), local, verb="test") for v in views]
    assert [drive(grams(v.cached(), 1), local, verb="test") for v in views * 2] == expected * 2
    assert len({v.cache_key for v in views}) == len(views)
    assert len(files(folder)) == len(views) * len(data.blocks)


def test_a_file_that_changes_is_read_again(local: Any, tmp_path: Path, folder: Path) -> None:
    path = tmp_path / "one.parquet"
    seen = []
    for value in (1.0, 2.0):
        columns = {f"x{i}": np.array([0.0, value, 5.0, 3.0 - value]) for i in range(3)}
        pq.write_table(pa.table({**columns, "y": np.arange(4.0), "w": np.ones(4)}), path)
        seen += drive(grams(view_of(pqy.open_dataset(path)).cached(), 1), local, verb="test")
    assert seen[0] != seen[1]


def test_it_may_be_deleted_at_any_moment(local: Any, data: pqy.Dataset, folder: Path) -> None:
    view = view_of(data).cached()
    (expected,) = drive(grams(view, 1), local, verb="test")
    files(folder)[0].unlink()
    cut = files(folder)[0]
    cut.write_bytes(cut.read_bytes()[:-20])
    assert drive(grams(view, 1), local, verb="test") == [expected]
    shutil.rmtree(folder)
    assert drive(grams(view, 1), local, verb="test") == [expected]


def test_a_full_disk_turns_it_off(local: Any, data: pqy.Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    view = view_of(data).cached()
    monkeypatch.setattr(block_cache.CacheWriter, "_write", full)
    expected = drive(grams(replace(view, prepare=None), 2), local, verb="test")
    assert drive(grams(view, 2), local, verb="test") == expected
    assert not list(folder.iterdir())


def test_it_stays_within_its_size_and_forgets_the_oldest(
    local: Any, data: pqy.Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def used() -> int:
        return sum(f.stat().st_size for f in folder.iterdir())

    monkeypatch.setenv("PARQUETRY_CACHE_SIZE", "120KB")
    first, second = view_of(data), view_of(data, ("x2", "x1", "x0"))
    expected = [drive(grams(v, 1), local, verb="test") for v in (first, second)]
    assert drive(grams(first.cached(), 1), local, verb="test") == expected[0]
    for file in files(folder):
        os.utime(file, (1, 1))
    kept = len(files(folder))
    assert 0 < kept < 6
    assert used() <= 120_000
    assert drive(grams(second.cached(), 2), local, verb="test") == expected[1] * 2
    assert used() <= 120_000
    newest = [f for f in files(folder) if f.name.startswith(second.cached().cache_key.digest)]
    assert len(newest) == kept


def test_it_can_be_turned_off(local: Any, data: pqy.Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUETRY_CACHE_SIZE", "0")
    assert drive(grams(view_of(data).cached(), 2), local, verb="test") == drive(
        grams(view_of(data), 2), local, verb="test"
    )
    assert not folder.exists()


def test_a_folder_of_somebody_else_is_not_trusted(
    local: Any, data: pqy.Dataset, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12_345)
    drive(grams(view_of(data).cached(), 1), local, verb="test")
    assert not list(folder.iterdir())


def test_memory_is_used_again_only_when_nobody_looks_at_it(local: Any, data: pqy.Dataset, folder: Path) -> None:
    view = view_of(data).cached()
    drive(grams(view, 1), local, verb="test")
    (path, *_) = files(folder)
    with block_cache.CachedFile(path) as file:
        (arrays, _), *_ = file.batches()
        expected = arrays["X"].copy()
        kept, _ = next(file.batches())
        others = [found["X"] for found, _ in list(file.batches()) + list(file.batches())]
        assert all(not np.shares_memory(kept["X"], other) for other in others)
        np.testing.assert_array_equal(kept["X"], expected)
        assert not kept["X"].flags.writeable
        del arrays, kept, others
    places = set()
    for _ in range(3):
        with block_cache.CachedFile(path) as file:
            batches = file.batches()
            found = next(batches)
            places.add(found[0]["X"].ctypes.data)
            del found
            assert next(batches, None) is None
    assert len(places) == 1
