"""Parquet and Delta as sources."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parquetry as pqy
from parquetry.errors import BadParameter, CorruptBlock, NotParquet, ParquetryError, SchemaDrift
from parquetry.foundation.sources import open_source
from parquetry.foundation.tables import DeltaTable


def everything(source: Any, engine: Any) -> tuple[pa.Table, list[tuple[str, int]]]:
    tables, places = [source.schema.empty_table()], []
    for piece in source.pieces(engine):
        for parsed in piece.read(None):
            assert (parsed.rows_in, parsed.bad.num_rows) == (parsed.table.num_rows, 0)
            tables.append(parsed.table)
            places += [(piece.file, int(n)) for n in parsed.lines(np.arange(parsed.table.num_rows))]
    return pa.concat_tables(tables), places


def test_rows_keep_their_types_and_places(local: Any, write_parquet: Callable[..., Path]) -> None:
    table = pa.table(
        {
            "id": np.arange(250),
            "name": [None, *(f"n{i}" for i in range(249))],
            "nested": [[{"a": i, "b": [str(i)]}] for i in range(250)],
        }
    )
    folder = write_parquet(table)
    source = open_source(folder)
    assert (source.kind, source.schema, len(source.files)) == ("parquet", table.schema, 2)
    found, places = everything(source, local)
    assert found.equals(table)
    assert places == [(str(folder / f"part-{i}.parquet"), n) for i in range(2) for n in range(1, 126)]
    first = next(iter(source.pieces(local)[0].read(None)))
    assert [json.loads(r) for r in first.raw(np.array([2]))] == table.slice(2, 1).to_pylist()
    assert open_source(f"{folder}/part-1*.parquet").files == (str(folder / "part-1.parquet"),)


def test_hive_partitions_are_columns(local: Any, tmp_path: Path) -> None:
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [year]}), tmp_path / f"year={year}" / "a.parquet")
    found, _ = everything(open_source(tmp_path), local)
    assert found.to_pydict() == {"x": [2020, 2021], "year": [2020, 2021]}


def test_what_a_committed_table_cannot_hold_is_given_in_another_form(local: Any, tmp_path: Path) -> None:
    table = pa.table(
        {
            "time": pa.array([dt.time(1, 2, 3, 4)], pa.time64("us")),
            "span": pa.array([dt.timedelta(seconds=5)], pa.duration("ms")),
            "deep": pa.array([[{"t": dt.time(5)}]], pa.list_(pa.struct([("t", pa.time32("s"))]))),
            "raw": pa.array([b"\xff"]),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    source = open_source(tmp_path / "a.parquet")
    found, _ = everything(source, local)
    assert found.drop_columns("raw").to_pylist() == [
        {"time": "01:02:03.000004", "span": 5000, "deep": [{"t": "05:00:00.000"}]}
    ]
    assert len(source.notes) == 2
    assert "/w==" in next(iter(source.pieces(local)[0].read(None))).raw(np.array([0]))[0]
    local.write(found, tmp_path / "out")


def test_delta_tables_and_their_older_versions(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "t"
    local.write(pa.table({"x": [1, 2]}), path)
    local.write(pa.table({"x": [3]}), path, mode="append")
    source = open_source(path)
    assert (source.kind, everything(source, local)[0].to_pydict()) == ("delta", {"x": [1, 2, 3]})
    assert everything(open_source(path, version=0), local)[0].to_pydict() == {"x": [1, 2]}
    with pytest.raises(CorruptBlock, match="version"):
        open_source(path, version=9)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "plain.parquet")
    with pytest.raises(BadParameter, match="not a Delta table"):
        DeltaTable.open(tmp_path / "plain.parquet", version=0)


def test_bad_files_are_named(local: Any, tmp_path: Path) -> None:
    good, bad = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"x": range(1000)}), good, compression="none", use_dictionary=False)
    content = good.read_bytes()
    bad.write_bytes(content[:-100])
    with pytest.raises(CorruptBlock, match=r"b\.parquet"):
        open_source(tmp_path)
    bad.write_bytes(b"x,y\n1,2\n")
    with pytest.raises(NotParquet, match="CSV"):
        open_source(tmp_path)
    pq.write_table(pa.table({"x": ["a"]}), bad)
    with pytest.raises(SchemaDrift, match=r"b\.parquet: column 'x' is string"):
        open_source(tmp_path)
    bad.unlink()
    pq.write_table(pa.table({"x": range(1000)}), good, write_page_checksum=True, use_dictionary=False)
    content = bytearray(good.read_bytes())
    content[2_000] ^= 1
    good.write_bytes(content)
    with pytest.raises(CorruptBlock, match=r"a\.parquet \(row group 0\)"):
        everything(open_source(tmp_path), local)


def test_every_file_of_the_parquet_project_is_read_or_refused(local: Any, tmp_path: Path, real_data: Path) -> None:
    """What pyarrow reads (checksums looked at) is read and can be committed; the rest gets a typed error."""
    folder = real_data / "parquet-testing"
    # A text column of more than 2 GiB, which pyarrow refuses after half a minute, is left out.
    files = sorted(f for f in folder.rglob("*.parquet*") if f.is_file() and "large_string_map" not in f.name)
    read = 0
    for i, path in enumerate(files):
        try:
            rows = pq.ParquetFile(path, page_checksum_verification=True).read().num_rows
        except (pa.ArrowException, OSError):
            with pytest.raises(ParquetryError, match=path.name):
                everything(open_source(path, kind="parquet"), local)
            continue
        found, _ = everything(open_source(path, kind="parquet"), local)
        assert found.num_rows == rows, path.name
        pqy.open_dataset(local.write(found, tmp_path / str(i)).uri)
        read += 1
    assert (len(files), read) == (96, 72)
