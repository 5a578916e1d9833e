"""JSON lines: every line is accepted or rejected with its place and its text, fast or careful."""

from __future__ import annotations

import gzip
import json
import sqlite3
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from parquetry.errors import DatasetNotFound, EmptyDataset, MalformedText
from parquetry.foundation import json_document, json_lines, json_values
from parquetry.foundation.contract import Column, Contract
from parquetry.foundation.ingest import ingest
from parquetry.foundation.json_lines import JsonLines
from parquetry.foundation.sources import open_source

MESSY = [
    '{"id": 1, "name": "a", "x": 0.10}',
    "",
    '{"id": 12345678901234567890123, "name": "é", "x": 1e5, "more": true}',
    '{"id": "seven", "name": null}',
    "   ",
    '{"id": 3, "id": 4}',
    "[1, 2]",
    "7",
    "null",
    '{"id": 5, "name": "open',
    '{"id": 6, "tags": ["a", {"b": 1.50}], "x": NaN}\r',
    '{"id": 8} {"id": 9}',
    '{"name": "\\ud800"}',
]
NAMES = ["id", "name", "x", "more", "tags"]


def contract(**types: str) -> Contract:
    return Contract(columns=[Column(name=n, dtype=t) for n, t in types.items()])


def everything(source: Any, engine: Any, told: Contract | None = None) -> tuple[pa.Table, list[Any], int]:
    """All rows, all rejects as (line, raw, reason), and the number of rows in."""
    tables, bad, rows, lines = [], [], 0, []
    for piece in source.pieces(engine):
        for parsed in piece.read(told):
            assert parsed.rows_in == parsed.table.num_rows + parsed.bad.num_rows
            at = np.arange(parsed.table.num_rows)
            lines += list(zip(parsed.lines(at).tolist(), parsed.raw(at), strict=True))
            tables.append(parsed.table)
            bad += [(r["row"], r["raw"], r["reason"]) for r in parsed.bad.to_pylist()]
            rows += parsed.rows_in
    if any(t.schema != tables[0].schema for t in tables):  # pieces that were read fast, and others
        tables = [t.cast(pa.schema([(n, pa.string()) for n in t.column_names])) for t in tables]
    table = pa.concat_tables(tables)
    return table.append_column("_line", pa.array([n for n, _ in lines])), bad, rows


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    path = tmp_path / "messy.jsonl"
    path.write_text("\n".join(MESSY), encoding="utf-8")
    return path


def test_every_line_is_accepted_or_rejected_with_its_reason(local: Any, messy: Path) -> None:
    source = open_source(messy)
    assert (source.kind, source.schema.names) == ("jsonl", NAMES)
    table, bad, rows = everything(source, local)
    assert rows == 11
    assert table.column("_line").to_pylist() == [1, 3, 4, 11]
    assert table.column("id").to_pylist() == ["1", "12345678901234567890123", "seven", "6"]
    assert table.column("x").to_pylist() == ["0.10", "1e5", None, "NaN"]
    assert table.column("name").to_pylist() == ["a", "é", None, None]
    assert table.column("more").to_pylist() == [None, "true", None, None]
    assert table.column("tags").to_pylist() == [None, None, None, '["a",{"b":1.50}]']
    found = {line: reason for line, _, reason in bad}
    assert {line: MESSY[line - 1] for line in found} == {line: raw for line, raw, _ in bad}
    assert list(found) == [6, 7, 8, 9, 10, 12, 13]
    assert "a key that is there twice (found 'id')" in found[6]
    assert [("array" in found[7]), ("number" in found[8]), ("null" in found[9])] == [True] * 3
    assert "Unterminated string" in found[10]
    assert "Extra data" in found[12]
    assert "surrogate" in found[13]


def test_keys_that_nobody_expected_are_rejected_unless_the_contract_knows_them(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ndjson"
    path.write_text('{"a": 1}\n{"b": 2}\n', encoding="utf-8")
    source = JsonLines.open(path, columns=["a"])
    table, bad, _ = everything(source, local)
    assert (table.num_rows, [b[0] for b in bad]) == (1, [2])
    assert "'b'" in bad[0][2]
    told = contract(a="int64", b="int64")
    table, bad, _ = everything(source, local, told)
    assert (table.column("b").to_pylist(), bad) == ([None, 2], [])
    dropped = Contract(columns=[Column(name="a", dtype="int64")], others="drop")
    table, bad, _ = everything(source, local, dropped)
    assert (table.column("a").to_pylist(), bad) == ([1, None], [])


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".bz2"])
def test_pieces_and_packing_change_nothing(
    local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    rows = [{"id": i, "text": "x" * (i % 50), "v": i / 7} for i in range(2_000)]
    lines = [json.dumps(r) for r in rows]
    lines[700] = "{broken"
    lines.insert(900, "")
    data = ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()
    path = tmp_path / f"rows.jsonl{suffix}"
    if suffix:
        codec = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}[suffix]
        with pa.output_stream(str(path), compression=codec) as stream:
            stream.write(data)
    else:
        path.write_bytes(data)
    monkeypatch.setattr(json_lines, "PIECE_BYTES", 7_001)
    monkeypatch.setattr(json_lines, "_BLOCK", 1_000)
    told = contract(id="int64", text="text", v="float64")
    source = open_source(path)
    assert len(source.pieces(local)) == (1 if suffix else -(-len(data) // 7_001))
    table, bad, count = everything(source, local, told)
    assert count == 2_000
    assert bad == [(701, "{broken", bad[0][2])]
    kept = [r for i, r in enumerate(rows) if i != 700]
    assert [int(x) for x in table.column("id").to_pylist()] == [r["id"] for r in kept]
    assert [float(x) for x in table.column("v").to_pylist()] == [r["v"] for r in kept]
    assert table.column("_line").to_pylist() == [*range(1, 701), *range(702, 901), *range(902, 2002)]


@pytest.mark.parametrize(
    ("line", "is_fast"),
    [
        ('{"id": 1, "f": 1, "b": true, "s": "x"}', True),
        ('{"id": null}', True),
        ('{"id": "1"}', False),
        ('{"id": 1.0}', False),
        ('{"id": 12345678901234567890}', False),
        ('{"f": NaN}', False),
        ('{"s": 1}', False),
        ('{"s": {"a": 1}}', False),
        ('{"b": "true"}', False),
        ('{"id": 1} {"id": 2}', False),
        ("null", False),
        ('{"z": 1}', False),
        ('{"id": 1, "id": 2}', False),
        ('{"s": "a\\u0000b"}', True),
    ],
)
def test_the_fast_way_takes_only_what_both_ways_read_alike(line: str, is_fast: bool) -> None:
    told = contract(id="int64", f="float64", b="bool", s="text")
    names = ("id", "f", "b", "s")
    found = json_values.fast(line.encode() + b"\n", [line.encode()], 1, names, told)
    assert (found is not None) == is_fast
    if found is not None:
        careful = {k: json_values.as_text(v) for k, v in json_values.parse_line(line.encode()).items()}
        for name, value in found.to_pylist()[0].items():
            text = careful.get(name)
            same = json.loads(text) if name in ("id", "f", "b") and text is not None else text
            assert value == same


def test_marks_of_missing_values_go_the_careful_way() -> None:
    told = Contract(columns=[Column(name="id", dtype="int64", missing=["", "-9"])])
    assert json_values.fast(b'{"id": -9}\n', [b'{"id": -9}'], 1, ("id",), told) is None


def test_bytes_that_are_no_text(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": "x"}\n{"a": "\xff"}\n{"a": "\x00"}\n')
    table, bad, _ = everything(open_source(path), local, contract(a="text"))
    assert table.column("a").to_pylist() == ["x"]
    assert [(line, raw) for line, raw, _ in bad] == [(2, '{"a": "\\xff"}'), (3, '{"a": "\x00"}')]
    assert "UTF-8" in bad[0][2]


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [
        (b"", EmptyDataset, "no JSON object"),
        (b"\n\n", EmptyDataset, "no JSON object"),
        (b"hello,you\n1,2\n", EmptyDataset, "no JSON object"),
        (b"[\n  1,\n  2\n]\n", MalformedText, "jq"),
        (b'{\n  "a": 1\n}\n', MalformedText, "one JSON document"),
        ('{"a": 1}\n'.encode("utf-16"), MalformedText, "UTF-16"),
    ],
)
def test_what_is_not_json_lines(tmp_path: Path, content: bytes, error: type[Exception], says: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(error, match=says):
        open_source(path)


def test_a_file_that_is_cut_or_gone(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl.gz"
    rng = np.random.default_rng(0)
    text = "".join(json.dumps({"a": float(x)}) + "\n" for x in rng.normal(size=400_000))
    whole = gzip.compress(text.encode(), compresslevel=1)
    path.write_bytes(whole[: len(whole) - 1_000])
    source = JsonLines.open(path, columns=["a"])
    with pytest.raises(MalformedText, match="read to its end"):
        everything(source, local)
    with pytest.raises(DatasetNotFound):
        JsonLines.open(tmp_path / "none.jsonl")


ARRAY = """[
  {"id": 1, "text": "a, ]} \\" b", "at": {"x": [1, 2]}},
  {"id": 2, "text": "new
line"}, {"id": 3, "id": 4},
  7, {"id": 5} {"id": 6},
  {"id": 7,
   "text": "\u00e9"}
]
"""


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("block", [1, 7, 2**20])
def test_an_array_of_objects(local: Any, tmp_path: Path, monkeypatch: Any, block: int, suffix: str) -> None:
    monkeypatch.setattr(json_document, "_BLOCK", block)
    path = tmp_path / f"a.json{suffix}"
    path.write_bytes(gzip.compress(ARRAY.encode()) if suffix else ARRAY.encode())
    source = open_source(path)
    assert (source.kind, source.schema.names) == ("jsonl", ["id", "text", "at"])
    for told in (None, contract(id="int64", text="text", at="text")):
        table, bad, rows = everything(source, local, told)
        assert rows == 6
        assert [str(v) for v in table["id"].to_pylist()] == ["1", "7"]
        assert table["text"].to_pylist() == ['a, ]} " b', "\u00e9"]
        assert table["at"].to_pylist() == ['{"x":[1,2]}', None]
        assert [line for line, _, _ in bad] == [3, 4, 5, 5]
        assert [raw for _, raw, _ in bad][1:] == ['{"id": 3, "id": 4}', "7", '{"id": 5} {"id": 6}']


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('[{"a": 1}, {"a": 2}', "ends before its array does"),
        ('[{"a": 1},\n {"a": "2}]', "What line 2 begins is not closed"),
        ('[{"a": 1}] {"a": 2}', "line 1 cannot be read"),
        ('[{"a": 1},\n{"a": "' + "x" * 100_000 + '"}]', "line 2 begins an element of more than"),
    ],
)
def test_arrays_that_cannot_be_read(local: Any, tmp_path: Path, monkeypatch: Any, content: str, says: str) -> None:
    monkeypatch.setattr(json_document, "LONGEST", 50_000)
    monkeypatch.setattr(json_document, "_BLOCK", 1_000)
    path = tmp_path / "a.json"
    path.write_text(content)
    with pytest.raises(MalformedText, match=says):
        everything(open_source(path), local)


def test_arrays_and_lines_are_not_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"a": 1}]')
    (tmp_path / "b.json").write_text('{"a": 1}\n')
    with pytest.raises(MalformedText, match="one is an array and one is lines"):
        open_source(tmp_path)


def test_texts_of_typed_sources_stay_texts(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [
        {"zip": "12345", "n": 1, "both": 1, "flag": "true", "on": "2020-01-01", "blank": "", "note": ""},
        {"zip": "54321", "n": 2, "both": "2", "flag": "false", "on": "2020-01-02", "blank": 5, "note": "a"},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = ingest(path, tmp_path / "json", engine=local)
    kinds = {c.name: c.dtype for c in done.contract.columns}
    assert kinds == {"zip": "text", "n": "int64", "both": "text", "flag": "text", "on": "date", "blank": "int64",
                     "note": "text"}  # fmt: skip
    (table,) = done.dataset.reader().read_all(done.dataset.blocks)
    assert (table["note"].to_pylist(), table["blank"].to_pylist()) == (["", "a"], [None, 5])
    columns = {"zip": ["12345", "0001"], "on": ["2020-01-01", ""]}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    with sqlite3.connect(tmp_path / "t.db") as connection:
        connection.execute("create table t (zip text, 'on' text)")
        connection.executemany("insert into t values (?, ?)", zip(*columns.values(), strict=True))
    connection.close()
    for name in ("t.parquet", "t.db"):
        done = ingest(tmp_path / name, tmp_path / f"{name}-out", engine=local)
        assert [c.dtype for c in done.contract.columns] == ["text", "text"]
        (table,) = done.dataset.reader().read_all(done.dataset.blocks)
        assert table.to_pydict() == columns
