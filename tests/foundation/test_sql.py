"""Tables and queries of databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from parquetry.errors import (
    BadParameter,
    CorruptBlock,
    DatabaseUnavailable,
    DatasetNotFound,
    EmptyDataset,
    MissingDependency,
)
from parquetry.foundation import sql
from parquetry.foundation.sources import open_source

ROWS = 1_000


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "ROWS_A_PIECE", 300)


@pytest.fixture
def lite(tmp_path: Path) -> Path:
    path = tmp_path / "it's 100%.db"
    with closing(sqlite3.connect(path)) as c:
        c.execute('CREATE TABLE sales (id INTEGER, "a ""b""" REAL, name TEXT, raw BLOB, mixed INTEGER, none TEXT)')
        rows = [
            (i, i / 3 if i % 2 else i, None if i < 500 else f"é{i}", bytes([i % 256]), i, None) for i in range(ROWS)
        ]
        rows[700] = (*rows[700][:4], "seven", None)
        rows[701] = (*rows[701][:4], 0.1, None)
        c.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?, ?)", rows)
        c.execute("DELETE FROM sales WHERE id BETWEEN 100 AND 149")
        c.execute("CREATE TABLE keyed (k TEXT PRIMARY KEY, big INTEGER) WITHOUT ROWID")
        c.executemany("INSERT INTO keyed VALUES (?, ?)", [("b", 2**60), ("a", None)])
        c.execute("CREATE VIEW few AS SELECT id, rowid AS rowid FROM sales WHERE id < 3")
        c.commit()
    return path


@pytest.fixture
def duck(tmp_path: Path) -> Path:
    path = tmp_path / "x.duckdb"
    with closing(duckdb.connect(str(path))) as c:
        c.execute(
            "CREATE TABLE t AS SELECT i AS id, i / 7 AS x, 'n' || i AS s, "
            "DATE '2020-01-01' + CAST(i AS INTEGER) AS day, "
            f"[i, i + 1] AS pair, CAST(i AS DECIMAL(10, 2)) AS money FROM range({ROWS}) r(i)"
        )
        c.execute("CREATE VIEW v AS SELECT id FROM t WHERE id < 5")
    return path


def everything(source: Any, engine: Any) -> tuple[pa.Table, list[int], list[dict[str, Any]]]:
    tables, lines, bad = [source.schema.empty_table()], [], []
    for piece in source.pieces(engine):
        for parsed in piece.read(None):
            assert parsed.rows_in == parsed.table.num_rows + parsed.bad.num_rows
            tables.append(parsed.table)
            lines += parsed.lines(np.arange(parsed.table.num_rows)).tolist()
            bad += parsed.bad.to_pylist()
    return pa.concat_tables(tables), lines, bad


def test_a_table_of_sqlite_in_ranges_of_row_ids(local: Any, lite: Path) -> None:
    source = open_source(f"sqlite:///{lite}", table="SALES")
    kinds = [pa.int64(), pa.float64(), pa.string(), pa.binary(), pa.string(), pa.string()]
    assert (source.kind, source.schema.types) == ("sql", kinds)
    assert any("'mixed' holds whole numbers and numbers and text" in n for n in source.notes)
    assert len(source.pieces(local)) == 4
    found, lines, bad = everything(source, local)
    expected = [i for i in range(ROWS) if not 100 <= i < 150]
    assert found.column("id").to_pylist() == expected
    assert (lines, bad) == ([i + 1 for i in expected], [])
    assert found.column('a "b"').to_pylist() == [i / 3 if i % 2 else float(i) for i in expected]
    assert found.column("name").to_pylist() == [None if i < 500 else f"é{i}" for i in expected]
    assert found.column("raw").to_pylist()[-1] == bytes([ROWS % 256 - 1])
    mixed = found.column("mixed").to_pylist()
    assert (mixed[650], float(mixed[651]), mixed[652]) == ("seven", 0.1, "702")
    parsed = next(iter(source.pieces(local)[0].read(None)))
    assert '"id": 1,' in parsed.raw(np.array([1]))[0]


def test_what_cannot_be_cut_is_read_in_one_piece_and_said_so(local: Any, lite: Path) -> None:
    for options, rows in (
        ({"table": "keyed"}, [{"k": "a", "big": None}, {"k": "b", "big": 2**60}]),
        ({"table": "few"}, [{"id": i, "rowid": i + 1} for i in range(3)]),
        ({"query": "SELECT id FROM sales WHERE id > 997 ORDER BY id DESC;"}, [{"id": 999}, {"id": 998}]),
        ({"query": "SELECT id FROM sales WHERE id < 0"}, []),
    ):
        source = open_source(lite, **options)
        assert any("in one piece" in n for n in source.notes)
        found, lines, _ = everything(source, local)
        assert (found.to_pylist(), lines) == (rows, list(range(1, len(rows) + 1)))


def test_text_that_is_none_is_set_aside(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite"
    with closing(sqlite3.connect(path)) as c:
        c.execute("CREATE TABLE t (s TEXT)")
        c.execute("INSERT INTO t VALUES ('good'), (CAST(x'ff61' AS TEXT)), ('also')")
        c.commit()
    source = open_source(path)
    assert "no other" in source.notes[0]
    found, lines, bad = everything(source, local)
    assert (found.column("s").to_pylist(), lines) == (["good", "also"], [1, 3])
    assert [(b["row"], "\\xffa" in b["raw"], "UTF-8" in b["reason"]) for b in bad] == [(2, True, True)]


def test_duckdb(local: Any, duck: Path) -> None:
    source = open_source(duck, table="t")
    assert [str(k) for k in source.schema.types] == [
        "int64", "double", "string", "date32[day]", "list<item: int64>", "decimal128(10, 2)",
    ]  # fmt: skip
    assert len(source.pieces(local)) == 4
    found, lines, _ = everything(source, local)
    assert lines == list(range(1, ROWS + 1))
    with closing(duckdb.connect(str(duck), read_only=True)) as c:
        assert found.to_pylist() == c.sql("SELECT * FROM t").to_arrow_table().to_pylist()
    view = open_source(f"duckdb:///{duck}", table="v")
    assert everything(view, local)[0].column("id").to_pylist() == list(range(5))
    query = open_source(duck, query="SELECT sum(id) AS total FROM t")
    assert everything(query, local)[0].to_pylist() == [{"total": 499_500}]


def test_any_other_database_through_sqlalchemy(local: Any, lite: Path) -> None:
    url = f"sqlite+pysqlite:///{str(lite).replace('%', '%25')}"
    source = open_source(url, query="SELECT id, name FROM sales WHERE id IN (1, 600) ORDER BY id")
    found, lines, _ = everything(source, local)
    assert (found.to_pylist(), lines) == ([{"id": 1, "name": None}, {"id": 600, "name": "é600"}], [1, 2])
    told = "SELECT id AS a FROM sales UNION ALL SELECT 'x' UNION ALL SELECT 7"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("parquetry.foundation.alchemy._LOOK", 10)
        found, lines, bad = everything(open_source(url, query=told), local)
    assert (found.num_rows, lines[-1]) == (951, 952)
    assert [(b["row"], b["raw"]) for b in bad] == [(951, "('x',)")]
    assert everything(open_source(url, table="keyed"), local)[0].num_rows == 2


def test_what_is_asked_for_and_is_not_there(lite: Path, duck: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetNotFound, match="Did you mean 'sales'"):
        open_source(lite, table="sale")
    with pytest.raises(DatasetNotFound, match="has no table 'u'"):
        open_source(duck, table="u")
    with pytest.raises(DatasetNotFound, match="nearest folder"):
        open_source(tmp_path / "none.db")
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(BadParameter, match="Which one is meant"):
        open_source(lite)
    with pytest.raises(BadParameter, match="Both"):
        open_source(lite, table="sales", query="SELECT 1")
    with pytest.raises(BadParameter, match="twice"):
        open_source(duck, query="SELECT id, id FROM t")
    for path in (lite, duck):
        with pytest.raises(DatabaseUnavailable, match="nope"):
            open_source(path, query="SELECT * FROM nope")


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "duckdb:///"])
def test_urls_that_name_no_file(url: str) -> None:
    with pytest.raises(BadParameter, match="names no file"):
        open_source(url)


def test_urls_of_unknown_or_missing_drivers(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadParameter, match="knows no such database"):
        open_source("nosuch://x/y", kind="sql")
    with pytest.raises(DatabaseUnavailable, match="is not installed"):
        open_source("postgresql+asyncpg://user:secret@x/y", table="t")
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(MissingDependency, match=r"\[sql\]"):
        open_source("mysql://user:secret@x/y", table="t")


def test_sqlite_without_its_driver(local: Any, lite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(lite, table="keyed")
    monkeypatch.setitem(sys.modules, "adbc_driver_sqlite", None)
    with pytest.raises(MissingDependency, match=r"\[sql\]"):
        everything(source, local)


def test_files_that_are_no_databases(lite: Path, tmp_path: Path) -> None:
    for name, data, says in (
        ("a.db", b"id,name\n1,2\n", "neither"),
        ("b.db", b"", "empty file"),
        ("c.db", lite.read_bytes()[:600] + b"\xff" * 5000, "refused"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(DatabaseUnavailable, match=says):
            open_source(tmp_path / name)
    with closing(sqlite3.connect(tmp_path / "empty.db")) as c:
        c.execute("PRAGMA user_version = 1")
        c.commit()
    with pytest.raises(EmptyDataset, match="no tables"):
        open_source(tmp_path / "empty.db")
    with pytest.raises(BadParameter, match="is a sqlite database"):
        open_source(f"duckdb:///{lite}")


def test_databases_that_somebody_writes_to(lite: Path, duck: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(sqlite3.connect(lite)) as c:
        c.execute("PRAGMA locking_mode = EXCLUSIVE")
        c.execute("BEGIN EXCLUSIVE")
        monkeypatch.setattr("parquetry.foundation.databases.WAIT_SECONDS", 0.1)
        with pytest.raises(DatabaseUnavailable, match="locked"):
            open_source(lite, table="sales")
    code = f"import duckdb; c = duckdb.connect({str(duck)!r}); print('open', flush=True); input()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        with pytest.raises(DatabaseUnavailable, match="Close whatever writes to it"):
            open_source(duck, table="t")
        writer.communicate("\n")


def test_rows_that_change_while_they_are_read_are_noticed(
    local: Any, lite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = open_source(lite, table="keyed")
    piece = source.pieces(local)[0]
    monkeypatch.setattr(type(piece.database), "count", lambda *_: 3)
    with pytest.raises(CorruptBlock, match="counted 3"):
        list(piece.read(None))
