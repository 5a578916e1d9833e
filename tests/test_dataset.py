"""Datasets: what can be opened, what is known without reading, and what reading gives."""

from __future__ import annotations

import datetime as dt
import pickle
import shutil
from collections.abc import Callable
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

import parquetry as pqy
from parquetry import reading
from parquetry.errors import BadParameter, NotParquet, TooBigForDriver, UnknownColumn

ROWS = 1_000


@pytest.fixture
def folder(write_parquet: Callable[..., Path]) -> Path:
    """Rows 0 … 999 in 2 files of 5 row groups."""
    table = {"id": np.arange(ROWS), "x": np.arange(ROWS) / 4, "name": [f"n{i % 7}" for i in range(ROWS)]}
    return write_parquet(table)


def write(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def ids(dataset: Any) -> list[int]:
    return [i for table in dataset.batches() for i in table.column("id").to_pylist()]


# --- what can be opened ---------------------------------------------------------------------
@pytest.mark.parametrize("form", ["folder", "slash", "glob", "list", "path", "url", "recursive"])
def test_forms_of_a_source(folder: Path, form: str) -> None:
    source: Any = {
        "folder": str(folder),
        "slash": f"{folder}/",
        "glob": f"{folder}/part-*.parquet",
        "list": sorted(folder.iterdir()),
        "path": folder,
        "url": folder.as_uri(),
        "recursive": f"{folder.parent}/**/*.parquet",
    }[form]
    data = pqy.open_dataset(source)
    assert ids(data) == list(range(ROWS))
    assert (data.num_rows, len(data.blocks)) == (ROWS, 10)
    assert data.schema == pa.schema([("id", pa.int64()), ("x", pa.float64()), ("name", pa.string())])
    assert [b.index for b in data.blocks] == list(range(10))
    assert [b.row_group for b in data.blocks] == [0, 1, 2, 3, 4] * 2


def test_single_file(folder: Path) -> None:
    data = pqy.open_dataset(folder / "part-1.parquet")
    assert ids(data) == list(range(500, ROWS))
    assert {b.name for b in data.blocks} == {"part-1.parquet"}


def test_relative_path(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    assert ids(pqy.open_dataset(folder.name)) == list(range(ROWS))


def test_list_keeps_its_order(folder: Path) -> None:
    data = pqy.open_dataset([folder / "part-1.parquet", folder / "part-0.parquet"])
    assert ids(data) == [*range(500, ROWS), *range(500)]


def test_list_with_a_file_twice_is_refused(folder: Path) -> None:
    with pytest.raises(BadParameter, match="twice"):
        pqy.open_dataset([folder / "part-0.parquet", folder])


def test_files_are_in_order_of_name_and_found_in_subfolders(tmp_path: Path) -> None:
    for name in ("b/2.parquet", "a/1.parquet", "c.parquet"):
        write(tmp_path / name, {"id": [len(name)]})
    assert [b.name for b in pqy.open_dataset(tmp_path).blocks] == ["a/1.parquet", "b/2.parquet", "c.parquet"]


def test_bookkeeping_is_skipped_and_other_files_are_listed_as_ignored(folder: Path) -> None:
    (folder / "_SUCCESS").touch()
    (folder / ".part-0.parquet.crc").write_bytes(b"crc")
    (folder / "readme.txt").write_text("notes")
    write(folder / "_temporary" / "part-9.parquet", {"id": [9]})
    for source in (folder, f"{folder}/**/*.parquet"):
        assert ids(pqy.open_dataset(source)) == list(range(ROWS))
    ignored = pqy.open_dataset(folder).ignored
    assert [Path(p).name for p in ignored] == ["readme.txt"]


def test_files_without_a_suffix(tmp_path: Path) -> None:
    write(tmp_path / "data" / "000", {"id": [1]})
    write(tmp_path / "data" / "001", {"id": [2]})
    assert ids(pqy.open_dataset(tmp_path / "data")) == [1, 2]
    assert ids(pqy.open_dataset(tmp_path / "data" / "001")) == [2]


@pytest.mark.parametrize("name", ["with space", "a[1]", "what?", "star*", "100%", "ünï", "plus+and=eq"])
def test_odd_names_of_folders_and_files(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name / f"{name}.parquet", {"id": [1, 2]})
    for source in (file, file.parent, file.as_uri(), [file]):
        assert ids(pqy.open_dataset(source)) == [1, 2]


def test_fsspec_memory(folder: Path) -> None:
    memory = fsspec.filesystem("memory")
    try:
        for file in sorted(folder.iterdir()):
            memory.pipe(f"/lake/t/{file.name}", file.read_bytes())
        for source, filesystem in (
            ("memory://lake/t", None),
            ("/lake/t", memory),
            ("memory:///lake/t/*.parquet", None),
        ):
            data = pqy.open_dataset(source, filesystem=filesystem)
            assert ids(data) == list(range(ROWS))
        assert ids(data.split()[0]) == ids(pqy.open_dataset(folder).split()[0])
    finally:
        memory.rm("/lake", recursive=True)


def test_pyarrow_filesystem(folder: Path) -> None:
    data = pqy.open_dataset(folder.name, filesystem=pafs.SubTreeFileSystem(str(folder.parent), pafs.LocalFileSystem()))
    assert ids(data) == list(range(ROWS))


# --- partitioned folders --------------------------------------------------------------------
def test_hive_folders_give_whole_numbers_texts_nulls_and_decoded_names(tmp_path: Path) -> None:
    write(tmp_path / "year=2025" / "city=New%20York" / "a.parquet", {"id": [1, 2]})
    write(tmp_path / "year=2025" / "city=a%2Fb" / "a.parquet", {"id": [3]})
    write(tmp_path / "year=2026" / "city=__HIVE_DEFAULT_PARTITION__" / "a.parquet", {"id": [4]})
    data = pqy.open_dataset(tmp_path)
    assert data.partition_columns == ("year", "city")
    assert data.schema == pa.schema([("id", pa.int64()), ("year", pa.int64()), ("city", pa.string())])
    rows = pa.concat_tables(data.batches()).to_pylist()
    assert rows == [
        {"id": 1, "year": 2025, "city": "New York"},
        {"id": 2, "year": 2025, "city": "New York"},
        {"id": 3, "year": 2025, "city": "a/b"},
        {"id": 4, "year": 2026, "city": None},
    ]
    assert data.select(["city", "id"]).head(1).to_dict("records") == [{"city": "New York", "id": 1}]
    assert pa.concat_tables(data.select(["year"]).batches()).column("year").to_pylist() == [2025, 2025, 2025, 2026]


@pytest.mark.parametrize("values", [["007", "1"], ["--5", "3"], ["1.5", "2"], ["²", "1"], ["9" * 20, "1"], ["", "1"]])
def test_hive_values_that_are_no_plain_whole_numbers_stay_texts(tmp_path: Path, values: list[str]) -> None:
    for value in values:
        write(tmp_path / f"k={value}" / "a.parquet", {"id": [1]})
    assert set(pqy.open_dataset(tmp_path).to_pandas()["k"]) == set(values)


def test_hive_column_that_is_stored_too_comes_from_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "year=2025" / "a.parquet", {"id": [1], "year": [1999]})
    assert pqy.open_dataset(tmp_path).to_pandas()["year"].tolist() == [2025]


def test_glob_of_partition_folders(tmp_path: Path) -> None:
    for year in (2024, 2025, 2026):
        write(tmp_path / f"year={year}" / "a.parquet", {"id": [year]})
    data = pqy.open_dataset(f"{tmp_path}/year=202[56]")
    assert data.to_pandas().to_dict("list") == {"id": [2025, 2026], "year": [2025, 2026]}


# --- Delta tables ---------------------------------------------------------------------------
def test_delta_versions_overwrite_and_delete(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    write_deltalake(path, pa.table({"id": [1, 2], "day": ["a", "b"]}))
    write_deltalake(path, pa.table({"id": [3], "day": ["c"]}), mode="append")
    write_deltalake(path, pa.table({"id": [9, 8], "day": ["d", "e"]}), mode="overwrite")
    DeltaTable(path).delete("id = 9")
    assert [sorted(ids(pqy.open_dataset(path, version=v))) for v in range(4)] == [[1, 2], [1, 2, 3], [8, 9], [8]]
    assert ids(pqy.open_dataset(path)) == [8]
    assert len(list(Path(path).glob("*.parquet"))) > 1, "the replaced files are still there, and were not read"


def test_delta_rows_that_are_appended_come_last(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    for i in range(6):
        write_deltalake(path, pa.table({"id": [i]}), mode="append")
    assert ids(pqy.open_dataset(path)) == list(range(6))


def test_delta_partition_values_keep_the_tables_types(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    day = dt.date(2026, 1, 2)
    columns = {"k": ["1", "x y", "a%b/c", None], "n": [1, 2, None, 3], "day": [day] * 4, "id": [1, 2, 3, 4]}
    write_deltalake(path, pa.table(columns), partition_by=["k", "n", "day"])
    data = pqy.open_dataset(path)
    assert data.schema == pa.schema([("id", pa.int64()), ("k", pa.string()), ("n", pa.int64()), ("day", pa.date32())])
    rows = pa.concat_tables(data.batches()).sort_by("id").select(list(columns)).to_pydict()
    assert rows == columns


def test_delta_texts_that_look_like_numbers_stay_texts(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    write_deltalake(path, pa.table({"k": ["1", "2"], "id": [1, 2]}), partition_by=["k"])
    assert sorted(pqy.open_dataset(path).to_pandas()["k"]) == ["1", "2"]


def test_delta_table_without_files(tmp_path: Path) -> None:
    path = str(tmp_path / "table")
    write_deltalake(path, pa.table({"id": [1], "k": ["a"]}), partition_by=["k"])
    DeltaTable(path).delete()
    data = pqy.open_dataset(path)
    assert (data.num_rows, data.blocks) == (0, ())
    assert data.schema == pa.schema([("id", pa.int64()), ("k", pa.string())])
    assert data.to_pandas().empty
    assert list(data.head().columns) == ["id", "k"]


def test_delta_features_that_change_what_files_mean_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table"
    write_deltalake(str(path), pa.table({"id": [1]}))
    log = path / "_delta_log" / "00000000000000000001.json"
    log.write_text(
        '{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],'
        '"writerFeatures":["deletionVectors"]}}\n'
    )
    with pytest.raises(NotParquet, match="deletionVectors") as caught:
        pqy.open_dataset(path)
    assert caught.value.fix


@pytest.mark.parametrize("version", [7, 10**6])
def test_delta_version_that_is_not_there(tmp_path: Path, version: int) -> None:
    write_deltalake(str(tmp_path / "t"), pa.table({"id": [1]}))
    with pytest.raises(pqy.ParquetryError, match="log cannot be read"):
        pqy.open_dataset(tmp_path / "t", version=version)


def test_version_of_what_is_no_delta_table(folder: Path) -> None:
    for source in (folder, [folder]):
        with pytest.raises(BadParameter, match="version=1"):
            pqy.open_dataset(source, version=1)


# --- narrowing ------------------------------------------------------------------------------
def test_select_and_drop(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    assert data.select(["name", "id"]).schema.names == ["name", "id"]
    assert data.drop(["x"]).columns == ("id", "name")
    assert data.drop("id").head(2).columns.tolist() == ["x", "name"]
    assert pqy.open_dataset(folder, columns=["x"]).columns == ("x",)
    assert data.columns == ("id", "x", "name"), "a dataset never changes"
    with pytest.raises(BadParameter, match="twice"):
        data.select(["x", "x"])


def test_dropped_columns_are_gone(folder: Path) -> None:
    with pytest.raises(UnknownColumn, match="'x'"):
        pqy.open_dataset(folder).drop(["x"]).select(["x"])


def test_nbytes_follows_the_selected_columns(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    parts = [data.select([c]).nbytes for c in data.columns]
    assert all(p > 0 for p in parts)
    assert sum(parts) == pytest.approx(data.nbytes, abs=3)


# --- bringing rows --------------------------------------------------------------------------
@pytest.mark.parametrize("n", [0, 1, 5, 100, 101, 750, ROWS, 5_000])
def test_head(folder: Path, n: int) -> None:
    frame = pqy.open_dataset(folder).head(n)
    assert frame["id"].tolist() == list(range(min(n, ROWS)))
    assert frame.index.tolist() == list(range(len(frame)))


def test_head_of_a_split_gives_its_first_rows(folder: Path) -> None:
    _, test = pqy.open_dataset(folder).split(test=0.1)
    assert test.head(7)["id"].tolist() == ids(test)[:7]


def test_to_pandas_has_a_limit_and_says_the_ways_out(folder: Path) -> None:
    data = pqy.open_dataset(folder)
    with pytest.raises(TooBigForDriver, match=r"1,000 rows.*limit=999.*sample\(999\)"):
        data.to_pandas(limit=999)
    for limit in (ROWS, None):
        pd.testing.assert_frame_equal(data.to_pandas(limit=limit), pq.read_table(folder).to_pandas())


def test_large_row_groups_are_read_in_bounded_batches(
    folder: Path, write_parquet: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = {"id": np.arange(50_000), "x": np.arange(50_000) * 0.1, "s": ["text"] * 50_000}
    data = pqy.open_dataset(write_parquet(table, "large", row_group_size=25_000))
    train, _ = data.split(test=0.5)
    whole, kept = data.to_pandas(), ids(train)
    positions = [rows.tolist() for block in train.blocks for _, rows in train.reader().read(block)]
    monkeypatch.setattr(reading, "BATCH_BYTES", 20_000)
    tables = list(data.batches())
    assert len(tables) > 20
    assert max(t.num_rows for t in tables) <= 1024
    pd.testing.assert_frame_equal(data.to_pandas(), whole)
    assert ids(train) == kept
    small = [rows.tolist() for block in train.blocks for _, rows in train.reader().read(block)]
    assert list(chain(*small)) == list(chain(*positions))


def test_zero_row_groups_and_zero_row_files(tmp_path: Path) -> None:
    schema = pa.schema([("id", pa.int64())])
    with pq.ParquetWriter(tmp_path / "a.parquet", schema) as writer:
        for part in ([], [1, 2], [], [3], []):
            writer.write_table(pa.table({"id": part}, schema=schema))
    write(tmp_path / "b.parquet", {"id": pa.array([], pa.int64())})
    write(tmp_path / "c.parquet", {"id": [4]})
    data = pqy.open_dataset(tmp_path)
    assert data.num_rows == 4
    assert ids(data) == [1, 2, 3, 4]
    train, test = data.split(test=0.5)
    assert sorted(ids(train) + ids(test)) == [1, 2, 3, 4]
    assert all(t.num_rows for t in data.batches())


TYPES = {
    "int8": pa.array([1, None, -3], pa.int8()),
    "uint64": pa.array([1, None, 2**63 + 1], pa.uint64()),
    "float16": pa.array(np.array([1, 2, 3], np.float16)),
    "float32": pa.array([1.5, None, 3], pa.float32()),
    "bool": pa.array([True, None, False]),
    "decimal": pa.array([Decimal("1.23"), None, Decimal("-9.99")], pa.decimal128(9, 2)),
    "date": pa.array([dt.date(2026, 1, 2), None, dt.date(1900, 1, 1)]),
    "timestamp": pa.array([1_767_323_045_000_006, None, -2_208_988_800_000_000], pa.timestamp("us")),
    "zoned": pa.array([dt.datetime(2026, 1, 2, tzinfo=dt.UTC), None, None], pa.timestamp("us", tz="UTC")),
    "time": pa.array([dt.time(1, 2, 3), None, dt.time(0)], pa.time64("us")),
    "binary": pa.array([b"a", None, b"\x00"]),
    "null": pa.nulls(3),
    "list": pa.array([[1], None, []], pa.list_(pa.int64())),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": 2, "b": None}]),
}


@pytest.mark.parametrize("name", TYPES)
def test_types_come_back_as_they_were_stored(tmp_path: Path, name: str) -> None:
    for part in ("a", "b"):
        write(tmp_path / f"{part}.parquet", {"v": TYPES[name], "id": [1, 2, 3]}, row_group_size=2)
    data = pqy.open_dataset(tmp_path)
    assert data.schema.field("v").type == TYPES[name].type
    values = pa.concat_tables(data.batches()).column("v").combine_chunks()
    assert values.equals(pa.concat_arrays([TYPES[name]] * 2))
    assert len(data.fingerprint) == 64
    assert len(data.to_pandas()) == 6


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()]
)
def test_all_encodings_of_text_are_one_type(tmp_path: Path, kind: pa.DataType) -> None:
    texts = pa.array(["b", None, "a", "b"])
    write(tmp_path / "a.parquet", {"s": texts})
    write(tmp_path / "b.parquet", {"s": texts.cast(kind)})
    data = pqy.open_dataset(tmp_path)
    assert data.schema.field("s").type == pa.string()
    assert data.to_pandas()["s"].tolist()[4:] == data.to_pandas()["s"].tolist()[:4]
    assert all(t.schema == data.schema for t in data.batches())


def test_required_and_optional_columns_may_meet(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"id": [1]})
    required = pa.schema([pa.field("id", pa.int64(), nullable=False, metadata={"note": "x"})])
    pq.write_table(pa.table({"id": [2]}, schema=required), tmp_path / "b.parquet")
    assert pqy.open_dataset(tmp_path).head()["id"].tolist() == [1, 2]


def test_the_index_that_pandas_noted_stays_a_column(tmp_path: Path) -> None:
    frame = pd.DataFrame({"id": [3, 1, 2], "x": [0.1, 0.2, 0.3]}).set_index("id")
    frame.to_parquet(tmp_path / "a.parquet")
    data = pqy.open_dataset(tmp_path)
    (table,) = data.batches()
    assert table.to_pandas().columns.tolist() == ["x", "id"]
    assert data.to_pandas()["id"].tolist() == [3, 1, 2]


def test_nested_columns_do_not_disturb_statistics(tmp_path: Path) -> None:
    """The parts of a nested column have one name in common, and types that cannot be compared."""
    nested = pa.array([{"a": 1, "b": "x"}, {"a": 2, "b": "y"}])
    write(tmp_path / "a.parquet", {"s": nested, "s.a": ["p", "q"], "id": [1, 2]})
    data = pqy.open_dataset(tmp_path)
    assert (data.footer.stats["s.a"].minimum, data.footer.stats["s.a"].maximum) == ("p", "q")
    assert data.footer.stats["s"].minimum is None
    assert data.select(["s.a", "id"]).to_pandas()["s.a"].tolist() == ["p", "q"]


# --- fingerprint ----------------------------------------------------------------------------
def test_fingerprint_is_stable_across_moves(folder: Path, tmp_path: Path) -> None:
    before = pqy.open_dataset(folder).fingerprint
    shutil.copytree(folder, tmp_path / "copy")
    assert pqy.open_dataset(tmp_path / "copy").fingerprint == before
    assert pqy.open_dataset(folder).fingerprint == before


def test_fingerprint_sees_content_columns_and_rows(write_parquet: Callable[..., Path]) -> None:
    base = {"id": np.arange(ROWS), "x": np.ones(ROWS)}
    other = {"id": np.arange(ROWS), "x": np.r_[np.ones(ROWS - 1), 2.0]}
    data = pqy.open_dataset(write_parquet(base, "base"))
    renamed = {"id": base["id"], "z": base["x"]}
    prints = [
        data.fingerprint,
        pqy.open_dataset(write_parquet(other, "other")).fingerprint,
        pqy.open_dataset(write_parquet(renamed, "renamed")).fingerprint,
        pqy.open_dataset(write_parquet(base, "groups", row_group_size=200)).fingerprint,
        data.select(["id"]).fingerprint,
        data.split(seed=0)[0].fingerprint,
        data.split(seed=0)[1].fingerprint,
        data.split(seed=1)[0].fingerprint,
        data.sample(10).fingerprint,
        data.folds(3)[0][0].fingerprint,
        data.folds(3)[0][1].fingerprint,
    ]
    assert len(set(prints)) == len(prints)


def test_fingerprint_sees_partition_values(tmp_path: Path) -> None:
    for value in ("1", "2"):
        write(tmp_path / value / f"k={value}" / "a.parquet", {"id": [1]})
    assert pqy.open_dataset(tmp_path / "1").fingerprint != pqy.open_dataset(tmp_path / "2").fingerprint


# --- travelling -----------------------------------------------------------------------------
def test_datasets_and_readers_can_be_pickled(folder: Path) -> None:
    train, _ = pqy.open_dataset(folder).select(["id"]).split()
    again = pickle.loads(pickle.dumps(train))
    assert (ids(again), again.fingerprint, again.num_rows) == (ids(train), train.fingerprint, train.num_rows)
    reader = pickle.loads(pickle.dumps(train.reader()))
    assert [t.column("id").to_pylist() for t in reader.read_all(train.blocks)] == [
        t.column("id").to_pylist() for t in train.batches()
    ]


def test_a_reader_is_small_whatever_the_number_of_blocks(write_parquet: Callable[..., Path]) -> None:
    many = pqy.open_dataset(write_parquet({"id": np.arange(5_000)}, "many", row_group_size=5))
    assert len(many.blocks) == 1_000
    assert len(pickle.dumps(many.reader())) < 2_000


def test_blocks_say_where_they_are(folder: Path) -> None:
    block = pqy.open_dataset(folder).blocks[6]
    assert block.where == f"{folder}/part-1.parquet (row group 1)"
    assert (block.num_rows, block.name) == (100, "part-1.parquet")
    assert block.nbytes > 0
