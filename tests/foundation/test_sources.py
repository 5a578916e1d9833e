"""Every kind of source through ingest, on every engine: the same rows in, set aside, and out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xlsxwriter

import parquetry as pqy
from parquetry import footers
from parquetry.errors import MalformedText, SchemaDrift
from parquetry.foundation import json_lines, sql
from parquetry.foundation.contract import Column, Contract
from parquetry.foundation.ingest import ingest
from parquetry.foundation.sources import open_source

ROWS = 600
BAD = (77, 400)
Source = tuple[Path, dict[str, Any]]


def values(i: int) -> dict[str, Any]:
    return {"id": i, "x": "bad" if i in BAD else i / 8, "name": None if i % 5 == 0 else f"é{i}"}


def lines(folder: Path) -> Source:
    path = folder / "a.jsonl"
    text = [json.dumps(values(i)) for i in range(ROWS)]
    path.write_text("\n".join([*text[:300], "", "{broken", *text[300:]]), encoding="utf-8")
    return path, {}


def workbook(folder: Path) -> Source:
    path = folder / "a.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet("data")
        sheet.write_row(2, 1, ["id", "x", "name"])
        for i in range(ROWS):
            sheet.write_row(i + 3, 1, [v for v in values(i).values() if v is not None])
        book.add_worksheet("notes").write(0, 0, "nothing")
    return path, {}


def database(folder: Path) -> Source:
    path = folder / "a.db"
    with closing(sqlite3.connect(path)) as c:
        c.execute("CREATE TABLE t (id INTEGER, x REAL, name TEXT)")
        c.executemany("INSERT INTO t VALUES (?, ?, ?)", [tuple(values(i).values()) for i in range(ROWS)])
        c.execute("CREATE TABLE u (id INTEGER)")
        c.commit()
    return path, {"table": "t"}


TOLD = Contract(
    columns=[Column(name="id", dtype="int64", nullable=False), Column(name="x", dtype="float64"), Column(name="name")]
)


@pytest.mark.parametrize("make", [lines, workbook, database])
def test_untyped_sources_on_every_engine(
    tmp_path: Path, local: Any, dask_engine: Any, spark_engine: Any, make: Callable[[Path], Source]
) -> None:
    with pytest.MonkeyPatch.context() as patch:  # several pieces
        patch.setattr(json_lines, "PIECE_BYTES", 5_000)
        patch.setattr(sql, "ROWS_A_PIECE", 200)
        path, options = make(tmp_path)
        done = [
            ingest(path, tmp_path / engine.name, contract=TOLD, engine=engine, **options)
            for engine in (local, dask_engine, spark_engine)
        ]
    broken = 1 if make is lines else 0
    seen = []
    for one in done:
        assert (one.rows_in, one.accepted, one.quarantined) == (ROWS + broken, ROWS - 2, 2 + broken)
        assert one.quarantine is not None
        aside = pa.concat_tables(one.quarantine.batches()).to_pylist()
        seen.append((pa.concat_tables(one.dataset.batches()).to_pylist(), aside))
    assert seen[0] == seen[1] == seen[2]
    rows, aside = seen[0]
    assert rows == [values(i) for i in range(ROWS) if i not in BAD]
    first = {lines: [78, 302, 403], workbook: [81, 404], database: [78, 401]}[make]
    assert [a["row"] for a in aside] == first
    assert all('"bad"' in a["raw"] for a in aside if "broken" not in a["raw"])


def test_typed_sources_on_every_engine(
    tmp_path: Path, local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Callable[..., Path]
) -> None:
    table = pa.table(
        {"id": range(500), "deep": [[{"a": i}] for i in range(500)], "m": pa.array([None, 2] * 250, pa.float32())}
    )
    folder = write_parquet(table)
    local.write(table.slice(0, 100), tmp_path / "old")
    local.write(table, tmp_path / "old", mode="overwrite")
    for source, options, rows in ((folder, {}, 500), (tmp_path / "old", {"version": 0}, 100)):
        seen = []
        for engine in (local, dask_engine, spark_engine):
            one = ingest(source, tmp_path / f"{rows}-{engine.name}", engine=engine, **options)
            assert (one.rows_in, one.accepted, one.quarantine) == (rows, rows, None)
            seen.append(pa.concat_tables(one.dataset.batches()))
        assert seen[0].equals(seen[1])
        assert seen[0].equals(seen[2])
        assert seen[0].to_pylist() == table.slice(0, rows).to_pylist()


def test_many_files_are_looked_at_by_workers_and_with_one_result(
    local: Any, dask_engine: Any, spark_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_lines, "_MANY", 2)
    monkeypatch.setattr(footers, "_GROUP", 2)
    (tmp_path / "lines").mkdir()
    for i in range(9):
        (tmp_path / "lines" / f"{i}.jsonl").write_text(json.dumps({"id": i, f"k{i // 4}": i}) + "\n", encoding="utf-8")
    (tmp_path / "tables").mkdir()
    for i in range(7):
        pq.write_table(pa.table({"id": [i], "x": [i / 2]}), tmp_path / "tables" / f"{i}.parquet")
    here = pqy.open_dataset(tmp_path / "tables")
    for engine in (local, dask_engine, spark_engine):
        found = open_source(tmp_path / "lines", engine=engine)
        assert found.schema.names == ["id", "k0", "k1", "k2"]
        done = ingest(tmp_path / "lines", tmp_path / f"out-{engine.name}", engine=engine)
        assert (done.rows_in, done.accepted, done.files) == (9, 9, 9)
        there = open_source(tmp_path / "tables", engine=engine).dataset
        assert (there.blocks, there.schema, there.fingerprint) == (here.blocks, here.schema, here.fingerprint)
    (tmp_path / "lines" / "8.jsonl").write_text('[{"id": 9}]', encoding="utf-8")
    pq.write_table(pa.table({"id": ["6"], "x": [0.5]}), tmp_path / "tables" / "6.parquet")
    for engine in (None, local, dask_engine, spark_engine):
        with pytest.raises(MalformedText, match=r"Of .*7\.jsonl and .*8\.jsonl one is an array"):
            open_source(tmp_path / "lines", engine=engine)
        with pytest.raises(SchemaDrift, match=r"6\.parquet: column 'id' is string, but in .*0\.parquet it is int64"):
            open_source(tmp_path / "tables", engine=engine)


def test_names_that_are_values_do_not_become_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_lines, "MOST_KEYS", 10)
    for i in range(12):
        (tmp_path / f"{i:02d}.jsonl").write_text(json.dumps({f"customer-{i}": 1}), encoding="utf-8")
    with pytest.raises(MalformedText, match="more than 10 different keys"):
        open_source(tmp_path)
    assert open_source(tmp_path, columns=["customer-3"]).schema.names == ["customer-3"]


def test_real_workbooks_are_ingested_with_nothing_lost(tmp_path: Path, local: Any, real_data: Path) -> None:
    for name, rows, columns in (
        ("excel-real/AirQualityUCI.xlsx", 9_357, 15),
        ("excel-real/Redwine.xlsx", 1_599, 12),
        ("excel-real/E-Commerce-Dataset.xlsx", 5_630, 20),
        ("superstore/Sample_Superstore_9994.xls", 9_994, 21),
    ):
        done = ingest(real_data / name, tmp_path / Path(name).stem, engine=local)
        assert (done.rows_in, done.accepted, len(done.dataset.columns)) == (rows, rows, columns)
    sums = {c: sum(done.dataset.select([c]).to_pandas()[c]) for c in ("Sales", "Profit")}
    assert {c: round(s, 2) for c, s in sums.items()} == {"Sales": 2297200.86, "Profit": 286397.02}
    assert {str(done.dataset.schema.field(c).type) for c in ("Order Date", "Ship Date")} == {"date32[day]"}
