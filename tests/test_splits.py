"""Splits, folds and samples: decided per row, the same wherever and however the rows are read."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

import parquetry as pqy
from parquetry.errors import BadParameter
from parquetry.rows import row_hashes

ROWS = 20_000


@pytest.fixture
def folder(write_parquet: Callable[..., Path]) -> Path:
    """20,000 numbered rows in 3 files of several row groups."""
    return write_parquet({"id": np.arange(ROWS), "x": np.arange(ROWS) * 0.5}, files=3, row_group_size=1_500)


def ids(dataset: Any) -> list[int]:
    """The rows' numbers, in order, as they are read."""
    found = [i for table in dataset.select(["id"]).batches() for i in table.column("id").to_pylist()]
    assert dataset.num_rows == len(found), "num_rows must know without reading what reading gives"
    return found


def within_five_sigma(found: int, of: int, share: float) -> bool:
    return abs(found - of * share) <= 5 * sqrt(of * share * (1 - share))


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5, 0.9])
def test_split_is_disjoint_complete_and_of_the_expected_size(folder: Path, share: float) -> None:
    train, test = pqy.open_dataset(folder).split(test=share, seed=3)
    left, right = ids(train), ids(test)
    assert not set(left) & set(right)
    assert sorted(left + right) == list(range(ROWS))
    assert within_five_sigma(len(right), ROWS, share)
    assert left == sorted(left), "rows keep their order"


def test_same_rows_on_rerun_and_after_moving(folder: Path, tmp_path: Path) -> None:
    before = pqy.open_dataset(folder)
    expected = [ids(before.split(seed=1)[1]), ids(before.folds(3, seed=1)[0][1]), ids(before.sample(50, seed=1))]
    moved = tmp_path / "elsewhere" / "renamed"
    shutil.copytree(folder, moved)
    after = pqy.open_dataset(moved)
    assert [ids(after.split(seed=1)[1]), ids(after.folds(3, seed=1)[0][1]), ids(after.sample(50, seed=1))] == expected
    assert ids(pqy.open_dataset(folder).split(seed=1)[1]) == expected[0]


def test_the_hash_is_splitmix64_over_a_blake2_key() -> None:
    """Computed here in plain integers: a change would silently move rows between train and test."""
    state = int.from_bytes(hashlib.blake2b(b"part-0.parquet\x007\0split/0/0", digest_size=8).digest(), "little")
    expected = []
    for _ in range(100):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = state
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
        expected.append(z ^ (z >> 31))
    assert row_hashes("part-0.parquet", 7, 100, "split/0/0").tolist() == expected


def test_other_seeds_choose_other_rows_independently(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    first, second = set(ids(data.split(test=0.2, seed=0)[1])), set(ids(data.split(test=0.2, seed=1)[1]))
    assert within_five_sigma(len(first & second), ROWS, 0.04)


def test_split_does_not_depend_on_selected_columns(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    plain = [x / 0.5 for x in data.split()[1].select(["x"]).to_pandas()["x"]]
    early = [x / 0.5 for x in data.select(["x"]).split()[1].to_pandas()["x"]]
    assert plain == early == ids(data.split()[1])


def test_split_does_not_depend_on_the_order_of_files(folder: Path) -> None:
    files = sorted(folder.glob("*.parquet"))
    forward, backward = pqy.open_dataset(files), pqy.open_dataset(files[::-1])
    assert (
        sorted(ids(forward.split()[1])) == sorted(ids(backward.split()[1])) == ids(pqy.open_dataset(folder).split()[1])
    )
    assert ids(forward.sample(40)) == sorted(ids(backward.sample(40)))


def test_split_of_a_split_with_the_same_seed_chooses_anew(folder: Path) -> None:
    rest, test = pqy.open_dataset(folder).split(test=0.2, seed=0)
    train, validation = rest.split(test=0.2, seed=0)
    assert within_five_sigma(len(ids(validation)), len(ids(rest)), 0.2)
    assert sorted(ids(train) + ids(validation)) == ids(rest)
    inner = test.split(test=0.5, seed=0)[1]
    assert within_five_sigma(len(ids(inner)), len(ids(test)), 0.5)


@pytest.mark.parametrize("k", [2, 3, 7])
def test_folds_are_disjoint_and_complete(folder: Path, k: int) -> None:
    pairs = pqy.open_dataset(folder).folds(k, seed=2)
    validations = [ids(v) for _, v in pairs]
    assert len(pairs) == k
    assert sorted(i for v in validations for i in v) == list(range(ROWS))
    for (train, _), validation in zip(pairs, validations, strict=True):
        assert sorted(ids(train) + validation) == list(range(ROWS))
        assert within_five_sigma(len(validation), ROWS, 1 / k)


def test_folds_of_a_train_part_stay_inside_it(folder: Path) -> None:
    train, test = pqy.open_dataset(folder).split(seed=0)
    validations = [ids(v) for _, v in train.folds(3, seed=0)]
    assert sorted(i for v in validations for i in v) == ids(train)
    assert not set(ids(test)) & {i for v in validations for i in v}


@pytest.mark.parametrize("n", [1, 7, 1_000, ROWS - 1, ROWS, ROWS + 1])
def test_sample_is_exact_and_without_replacement(folder: Path, n: int) -> None:
    chosen = ids(pqy.open_dataset(folder).sample(n, seed=4))
    assert len(chosen) == len(set(chosen)) == min(n, ROWS)


def test_sample_is_the_n_smallest_hashes(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    hashes = np.concatenate([row_hashes(b.name, b.row_group, b.num_rows, "sample/9/0") for b in data.blocks])
    assert ids(data.sample(123, seed=9)) == sorted(np.argsort(hashes)[:123].tolist())


def test_sample_of_a_split_stays_inside_it(folder: Path) -> None:
    train, _ = pqy.open_dataset(folder).split(test=0.3)
    chosen = ids(train.sample(500))
    assert len(chosen) == 500
    assert set(chosen) <= set(ids(train))
    part, _ = train.sample(500).split(test=0.5)
    assert 150 < len(ids(part)) < 350


def test_sample_takes_evenly_from_all_files(folder: Path) -> None:
    chosen = np.array(ids(pqy.open_dataset(folder).sample(3_000)))
    counts, _ = np.histogram(chosen, bins=20, range=(0, ROWS))
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("salt", ["split/0/0", "folds/1/0", "sample/2/1"])
def test_hash_is_uniform_within_and_across_row_groups(salt: str) -> None:
    within = row_hashes("part-0.parquet", 0, 200_000, salt)
    across = np.concatenate([row_hashes("part-0.parquet", g, 1, salt) for g in range(20_000)])
    for hashes in (within, across):
        for bits in (56, 0):  # the highest and the lowest byte
            counts = np.bincount(((hashes >> np.uint64(bits)) & np.uint64(255)).astype(int), minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-6
    neighbours = np.corrcoef(within[:-1].astype(float), within[1:].astype(float))[0, 1]
    assert abs(neighbours) < 5 / sqrt(len(within))


def test_hash_of_a_row_does_not_depend_on_how_many_are_read() -> None:
    assert row_hashes("f", 1, 10, "s").tolist() == row_hashes("f", 1, 1_000, "s")[:10].tolist()


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.split(test=0),
        lambda d: d.split(test=1.0),
        lambda d: d.split(test=-0.1),
        lambda d: d.folds(1),
        lambda d: d.sample(0),
        lambda d: d.head(-1),
    ],
)
def test_impossible_shares_are_refused(folder: Path, call: Callable[[Any], Any]) -> None:
    with pytest.raises(BadParameter) as caught:
        call(pqy.open_dataset(folder))
    assert caught.value.fix


def test_splits_are_the_same_on_every_engine(engine: Any, folder: Path, tmp_path: Path) -> None:
    _, test = pqy.open_dataset(folder).split(test=0.25, seed=5)
    written = engine.write(test.select(["id"]), str(tmp_path / f"out-{engine.name}"))
    assert written.to_pandas()["id"].tolist() == ids(test)


def test_a_delta_table_written_twice_splits_the_same(local: Any, folder: Path, tmp_path: Path) -> None:
    """File names of a table are drawn by chance: the split must not depend on them."""
    data = pqy.open_dataset(folder)
    first, second = (local.write(data, str(tmp_path / name)) for name in ("first", "second"))
    assert ids(first.split()[1]) == ids(second.split()[1])
    assert first.fingerprint == second.fingerprint


def test_split_with_partition_columns_only(tmp_path: Path) -> None:
    for year in (2025, 2026):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"id": np.arange(100)}), tmp_path / f"year={year}" / "a.parquet", row_group_size=30)
    train, test = pqy.open_dataset(tmp_path).split(test=0.5)
    years = [train.select(["year"]).to_pandas(), test.select(["year"]).to_pandas()]
    assert [len(y) for y in years] == [train.num_rows, test.num_rows]
    assert sum((y["year"] == 2025).sum() for y in years) == 100
