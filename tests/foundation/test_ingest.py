"""Ingest: every row accounted for, the same on every engine; and what it does with bad input."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from parquetry import cli, open_dataset
from parquetry.errors import (
    BadParameter,
    BadRows,
    EmptyDataset,
    MalformedText,
    OutputExists,
    OutputNotWritable,
    ParquetryError,
    SchemaDrift,
)
from parquetry.foundation import csv_pieces, uniqueness
from parquetry.foundation.contract import Contract
from parquetry.foundation.csv_cuts import cut
from parquetry.foundation.ingest import ingest
from parquetry.foundation.ingest_counts import Limit
from parquetry.foundation.quarantine import FolderWrite, export_csv
from parquetry.foundation.sources import open_source


def bring(tmp_path: Path, content: str | bytes, engine: Any, name: str = "t.csv", **options: Any) -> Any:
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return ingest(source, tmp_path / "out", engine=engine, **options)


def rows(dataset: Any) -> list[tuple[Any, ...]]:
    tables = list(dataset.reader().read_all(dataset.blocks))
    return [tuple(row.values()) for table in tables for row in table.to_pylist()]


def set_aside(done: Any) -> list[tuple[int, str, str]]:
    return [(r[1], r[2], r[3]) for r in rows(done.quarantine)]


MESSY = (
    'id,amount,when,note\n1,5.5,2020-01-01,"two\nlines"\n2,x,2020-01-02,plain\n3,7\n1,8.5,2020-01-03,again\n'
    '4,1.5,2020-02-30,"say ""hi"""\n5,99.5,2020-01-04,"ab"c\n6,2.5,2020-01-05,\n7,2.5,2020-01-05,=1+1\n'
)
STRICT = {
    "columns": [
        {"name": "id", "dtype": "int64", "unique": True, "nullable": False},
        {"name": "amount", "dtype": "float64", "max": 50},
        {"name": "when", "dtype": "date", "min": "2019-12-31"},
        {"name": "note"},
    ]
}


def test_every_engine_accepts_and_rejects_the_same_rows(tmp_path, local, dask_engine, spark_engine):
    folder = tmp_path / "in"
    folder.mkdir()
    body = MESSY.partition("\n")[2]
    for i in range(3):
        (folder / f"{i}.csv").write_text(MESSY.partition("\n")[0] + "\n" + body.replace("\n6,", f"\n6{i},"))
    found = []
    for name, engine in (("local", local), ("dask", dask_engine), ("spark", spark_engine)):
        done = ingest(folder, tmp_path / name, contract=STRICT, engine=engine, stretch=64)
        assert done.rows_in == 24 == done.accepted + done.quarantined
        found.append((done.reasons, rows(done.dataset), rows(done.quarantine), done.dataset.schema))
    assert found[0] == found[1] == found[2]
    reasons, accepted, quarantined, _ = found[0]
    assert sum(reasons.values()) == len(quarantined) == 24 - len(accepted)
    assert {r[0] for r in accepted} == {1, 7, 60, 61, 62}
    assert [r[1] for r in quarantined if r[0].endswith("0.csv")] == [4, 5, 6, 7, 8]
    inferred = [ingest(folder, tmp_path / f"{n}-i", engine=e).contract for n, e in (("l", local), ("s", spark_engine))]
    assert inferred[0] == inferred[1]


def test_quarantined_rows_have_their_line_their_text_and_their_reason(tmp_path, local):
    done = bring(tmp_path, MESSY, local, contract=STRICT)
    assert set_aside(done) == [
        (4, "2,x,2020-01-02,plain", "amount: not a number (found 'x')"),
        (5, "3,7", "another number of fields than the table's 4 (found 2)"),
        (6, "1,8.5,2020-01-03,again", "id: not the first row with its value, which must be unique (found 1)"),
        (7, '4,1.5,2020-02-30,"say ""hi"""', "when: not a date (found '2020-02-30')"),
        (8, '5,99.5,2020-01-04,"ab"c', "text after a closing quotation mark"),
    ]
    assert rows(done.dataset)[0][3] == "two\nlines"
    assert done.lines()[0] == "8 rows in = 3 accepted + 5 quarantined, from 1 file"


@pytest.mark.parametrize("stretch", [7, 30, 100, 2**20])
def test_where_a_file_is_cut_makes_no_difference(tmp_path, local, stretch):
    rng = np.random.default_rng(0)
    cells = ['"a,b"', '"x\ny"', '"q""q"', "plain", "", '"\r\n"', '5" nail']
    lines = [f"{i},{cells[rng.integers(0, len(cells))]},{cells[rng.integers(0, len(cells))]}" for i in range(300)]
    source = tmp_path / "t.csv"
    source.write_bytes(("i,a,b\n" + "\n".join(lines)).encode())
    opened = open_source(source, stretch=stretch)
    tables, seen = [], []
    for piece in opened.pieces(local):
        for parsed in piece.read(None):
            tables.append(parsed.table)
            at = np.arange(parsed.table.num_rows)
            seen += list(zip(parsed.lines(at).tolist(), parsed.raw(at), strict=True))
    assert pa.concat_tables(tables)["i"].to_pylist() == [str(i) for i in range(300)]
    assert [raw for _, raw in seen] == lines
    text = source.read_bytes().decode()
    starts = [0, *np.cumsum([len(raw) + 1 for raw in ("i,a,b", *lines)])]
    assert [line for line, _ in seen] == [text[:s].count("\n") + 1 for s in starts[1:-1]]
    if stretch == 100:
        assert len(cut(opened.texts, opened.filesystem, local, stretch=stretch)[0][1]) > 10


def test_limits():
    assert [Limit.of(given, first=False) for given in ("1%", 5, 0.9, "0.5")] == [
        Limit(None, 0.01),
        Limit(5),
        Limit(None, 0.9),
        Limit(None, 0.005 * 100),
    ]


def test_too_many_bad_rows_write_nothing(tmp_path, local):
    with pytest.raises(BadRows, match=r"5 of 8 rows break the contract; max_bad allows 0.01 of all rows"):
        bring(tmp_path, MESSY, local, contract=STRICT, max_bad="1%")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]
    with pytest.raises(BadRows, match=r"t\.csv, line 4 cannot be taken: amount: not a number \(found 'x'\)"):
        bring(tmp_path, MESSY, local, contract=STRICT, on_bad="fail")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]
    assert bring(tmp_path, MESSY, local, contract=STRICT, max_bad=5).quarantined == 5


def test_an_unclosed_quotation_mark_costs_its_own_line(tmp_path, local):
    lines = [f'{i},"v{i}"' for i in range(500)]
    lines[100] = '100,"open'
    done = bring(tmp_path, "a,b\n" + "\n".join(lines) + "\n", local, stretch=512)
    assert set_aside(done) == [(102, '100,"open', "a quotation mark that opens and never closes")]
    assert done.accepted == 499
    (tmp_path / "2").mkdir()
    done = bring(tmp_path / "2", 'a,b\n1,x\n2,"never closed\n3,y\n', local)
    assert (done.accepted, set_aside(done)) == (
        2,
        [(3, '2,"never closed', "a quotation mark that opens and never closes")],
    )


def test_nul_bytes_and_lines_in_another_encoding_are_set_aside(tmp_path, local):
    done = bring(tmp_path, "a,b\n1,é\n2,x\0y\n".encode() + b"3,caf\xe9\n4,\xc3\xa9\n", local)
    assert [(line, why) for line, _, why in set_aside(done)] == [
        (3, "holds a NUL byte"),
        (4, "not utf-8: invalid continuation byte"),
    ]
    assert set_aside(done)[1][1] == "3,caf\\xe9"
    assert [r[1] for r in rows(done.dataset)] == ["é", "é"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252", "utf-16-le"])
def test_encodings_are_found_and_reported(tmp_path, local, encoding):
    text = "name,n\n" + "".join(f"café {i} à gauche, dit-elle,{i}\n".replace(", dit", "; dit") for i in range(50))
    done = bring(tmp_path, text.encode(encoding), local, delimiter=",")
    assert rows(done.dataset)[3] == ("café 3 à gauche; dit-elle", 3)
    assert done.quarantined == 0
    assert any("encoding" in note for note in done.notes)


def test_an_encoding_that_shows_late_is_found(tmp_path, local):
    text = "name,n\n" + "plain,1\n" * 40_000 + "Málaga y Cádiz,2\nLogroño,3\n"
    done = bring(tmp_path, text.encode("cp1252"), local)
    assert rows(done.dataset)[-2:] == [("Málaga y Cádiz", 2), ("Logroño", 3)]
    assert any("guessed from a line after the beginning" in note for note in done.notes)


def test_mixed_line_ends(tmp_path, local):
    done = bring(tmp_path, b"a,b\r\n1,2\n3,4\r5,6\r\n\n\r\n7,8", local)
    assert rows(done.dataset) == [(1, 2), (3, 4), (5, 6), (7, 8)]
    assert any("CRLF and LF and CR" in note for note in done.notes)


def test_names_that_are_empty_or_the_same_get_their_own(tmp_path, local):
    done = bring(tmp_path, "a,,A,a_2,\n1,2,3,4,5\n", local)
    assert list(done.dataset.columns) == ["a", "column_1", "A_3", "a_2", "column_4"]
    assert any("is called 'A_3'" in note for note in done.notes)


def test_ten_thousand_columns(tmp_path, local):
    names = [f"c{i}" for i in range(10_000)]
    done = bring(tmp_path, ",".join(names) + "\n" + ",".join(["1"] * 10_000) + "\n", local, format="parquet")
    assert (done.accepted, len(done.dataset.columns)) == (1, 10_000)


def test_a_value_of_300_megabytes_is_refused_in_bounded_memory(tmp_path, local):
    source = tmp_path / "t.csv"
    with source.open("wb") as file:
        file.write(b'a,b\n1,"')
        for _ in range(300):
            file.write(b"x" * 2**20)
        file.write(b'"\n2,y\n')
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(MalformedText, match="is longer than 16,777,216 bytes"):
        ingest(source, tmp_path / "out", engine=local)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400 * 1024
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]
    source.unlink()


@pytest.mark.parametrize("content", ["", "\n\n", "a,b\n", "a,b"])
def test_nothing_to_ingest(tmp_path, local, content):
    with pytest.raises(EmptyDataset):
        bring(tmp_path, content, local)
    with pytest.raises(EmptyDataset):
        bring(tmp_path, content, local, contract={"columns": [{"name": "a"}, {"name": "b"}]})
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_a_directory_of_nothing(tmp_path, local):
    (tmp_path / "in").mkdir()
    with pytest.raises(EmptyDataset, match="no file"):
        ingest(tmp_path / "in", tmp_path / "out", engine=local)
    (tmp_path / "in" / "a.csv").write_text("")
    with pytest.raises(EmptyDataset, match="1 empty files"):
        ingest(tmp_path / "in", tmp_path / "out", engine=local)
    (tmp_path / "in" / "b.csv").write_text("x\n1\n")
    assert ingest(tmp_path / "in", tmp_path / "out", engine=local).accepted == 1


def test_numbers_with_marks_and_currency_signs(tmp_path, local):
    text = "us;eu;cash;share;amb\n1,234.5;1.234,5;$1,000;5%;1,234\n1,234,567;7,25;($2.50);7.5%;5,678\n"
    done = bring(tmp_path, text, local)
    assert rows(done.dataset)[0] == (1234.5, 1234.5, 1000.0, 5.0, "1,234")
    assert rows(done.dataset)[1] == (1234567.0, 7.25, -2.5, 7.5, "5,678")
    assert [n for n in done.notes if n.startswith("amb: numbers whose commas may be")]
    (tmp_path / "2").mkdir()
    done = bring(tmp_path / "2", "a;b\n1,234;x\n", local, decimal=",")
    assert rows(done.dataset) == [(1.234, "x")]


def test_dates_that_could_be_either_way_stay_text_until_told(tmp_path, local):
    done = bring(tmp_path, "a,d,m\n1/2/2020,13/1/2020,1/13/2020\n3/4/2020,1/2/2020,2/1/2020\n", local)
    assert [str(t) for t in done.dataset.schema.types] == ["string", "date32[day]", "date32[day]"]
    assert [n for n in done.notes if n.startswith("a: dates in which day and month could be either way")]
    contract = done.contract.model_copy(deep=True)
    contract.columns[0].dtype, contract.columns[0].date_format = "date", "%d/%m/%Y"
    again = ingest(tmp_path / "t.csv", tmp_path / "again", contract=contract, engine=local)
    assert [r[0].isoformat() for r in rows(again.dataset)] == ["2020-02-01", "2020-04-03"]
    assert [r[1].isoformat() for r in rows(again.dataset)] == ["2020-01-13", "2020-02-01"]


def test_formulas_are_data_and_are_escaped_for_spreadsheets_only(tmp_path, local):
    done = bring(tmp_path, "a,n\n=1+1,-5\n@x,-6\n-7,1\n", local)
    assert [r[0] for r in rows(done.dataset)] == ["=1+1", "@x", "-7"]
    assert export_csv(done.dataset, tmp_path / "sheet.csv") == 3
    assert (tmp_path / "sheet.csv").read_text().splitlines()[1:] == ['"\'=1+1",-5', '"\'@x",-6', '"-7",1']
    export_csv(done.dataset, tmp_path / "plain.csv", escape_formulas=False)
    assert '"=1+1"' in (tmp_path / "plain.csv").read_text()


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst"])
def test_compressed_files_are_streamed_and_cut_ones_refused(tmp_path, local, suffix):
    text = ("a,b\n" + "".join(f'{i},"x\ny{i}"\n' for i in range(5_000))).encode()
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".zst": lambda b: pa.compress(b, "zstd", asbytes=True)}[suffix]
    done = bring(tmp_path, pack(text), local, f"t.csv{suffix}", stretch=1_000)
    assert done.accepted == 5_000
    assert rows(done.dataset)[4_999] == (4_999, "x\ny4999")
    (tmp_path / "2").mkdir()
    with pytest.raises(MalformedText, match="cannot be read to its end"):
        bring(tmp_path / "2", pack(text)[:-200], local, f"t.csv{suffix}")
    assert [p.name for p in (tmp_path / "2").iterdir()] == [f"t.csv{suffix}"]


def test_a_zip_bomb_is_noticed(tmp_path, local, monkeypatch):
    monkeypatch.setattr(csv_pieces, "_EXPANSION_FROM", 2**20)
    bomb = gzip.compress(b"a,b\n" + b"1,2\n" * 2**20)
    with pytest.raises(MalformedText, match="becomes more than 100 times as large"):
        bring(tmp_path, bomb, local, "t.csv.gz", expansion=100, contract={"columns": [{"name": "a"}, {"name": "b"}]})
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv.gz"]


@pytest.mark.parametrize("form", ["delta", "parquet"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path, local, form):
    rng = np.random.default_rng(0)
    text = "a,b\n" + "".join(f"{x!r},y\n" for x in rng.normal(size=60_000).tolist()) + "bad\n"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    (tmp_path / "t.csv").write_text(text)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # no file may be larger
    try:
        with pytest.raises(OutputNotWritable, match="nothing half-written is left"):
            ingest(tmp_path / "t.csv", tmp_path / "out", engine=local, format=form)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_files_with_other_columns_are_named(tmp_path, local):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("x,y\n1,2\n")
    (tmp_path / "in" / "b.csv").write_text("y;x\n4;3\n")
    assert rows(ingest(tmp_path / "in", tmp_path / "out", engine=local).dataset) == [(1, 2), (3, 4)]
    (tmp_path / "in" / "c.csv").write_text("x,z\n1,2\n")
    with pytest.raises(SchemaDrift, match=r"c\.csv has the columns \['x', 'z'\]"):
        ingest(tmp_path / "in", tmp_path / "out2", engine=local)


def test_what_a_lost_try_has_left_is_not_read_as_rows(tmp_path, local):
    place = FolderWrite(tmp_path / "out", "fail")

    def write(writer):
        lost = writer.write(0, [pa.table({"a": [1, 2]})])
        assert lost[0].rows == 2
        return writer.write(0, [pa.table({"a": [1, 2]})])

    place.run(pa.schema([("a", pa.int64())]), write)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert rows(open_dataset(tmp_path / "out")) == [(1,), (2,)]


def test_a_table_of_bad_rows_alone(tmp_path, local):
    for form in ("delta", "parquet"):
        folder = tmp_path / form
        folder.mkdir()
        done = bring(folder, "a\nx\ny\n", local, contract={"columns": [{"name": "a", "dtype": "int64"}]}, format=form)
        assert (done.accepted, done.quarantined, rows(done.dataset)) == (0, 2, [])


def test_outputs_are_not_replaced_unasked(tmp_path, local):
    bring(tmp_path, MESSY, local, contract=STRICT)
    with pytest.raises(OutputExists):
        bring(tmp_path, MESSY, local, contract=STRICT)
    done = bring(tmp_path, "id,amount,when,note\n9,1,2020-01-01,x\n", local, contract=STRICT, mode="overwrite")
    assert (rows(done.dataset)[0][0], done.quarantine) == (9, None)
    for wrong in ({"on_bad": "ignore"}, {"max_bad": "many"}, {"format": "orc"}, {"delimiter": "||"}, {"encoding": "x"}):
        with pytest.raises(BadParameter):
            ingest(tmp_path / "t.csv", tmp_path / "new", engine=local, **wrong)


def test_the_command(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("id,v\n1,5\n2,6\n")
    words = [
        "ingest",
        str(tmp_path / "t.csv"),
        str(tmp_path / "out"),
        "--save-contract",
        str(tmp_path / "c.yaml"),
        "--json",
    ]
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    said = capsys.readouterr().out.splitlines()
    last = json.loads(said[-1])
    assert (end.value.code, last["rows_in"], last["accepted"], last["quarantined"]) == (0, 2, 2, 0)
    assert "2 rows in = 2 accepted + 0 quarantined, from 1 file" in said
    assert Contract.load(tmp_path / "c.yaml").columns[0].dtype == "int64"
    (tmp_path / "t.csv").write_text("id,v\n1,5\n2,x\n")
    words = [
        "ingest",
        str(tmp_path / "t.csv"),
        str(tmp_path / "out2"),
        "--contract",
        str(tmp_path / "c.yaml"),
        "--max-bad",
        "1%",
    ]
    with pytest.raises(SystemExit) as end:
        cli.main(words)
    assert end.value.code == 1
    assert not (tmp_path / "out2").exists()
    with pytest.raises(SystemExit) as end:
        cli.main(["ingest", str(tmp_path / "t.csv")])
    assert end.value.code == 2


def test_csv_spectrum(real_data, tmp_path, local):
    files = sorted((real_data / "csv-spectrum" / "csvs").glob("*.csv"))
    assert len(files) == 12
    for file in files:
        source, content = tmp_path / file.name, file.read_bytes()
        # A copy whose line ends have been made Unix's gets its own back.
        restored = file.stem.endswith("_crlf") and b"\r" not in content
        source.write_bytes(content.replace(b"\n", b"\r\n") if restored else content)
        done = ingest(source, tmp_path / file.stem, engine=local, format="parquet", contract=as_text(source))
        expected = json.loads((real_data / "csv-spectrum" / "json" / f"{file.stem}.json").read_text())
        expected = expected if isinstance(expected, list) else [expected]
        if file.stem == "location_coordinates":  # its JSON has another telephone number than its CSV
            expected[0]["Contact Phone Number"] = "2095257564"
        names = done.dataset.columns
        found = [dict(zip(names, ("" if v is None else v for v in r), strict=True)) for r in rows(done.dataset)]
        assert (found, done.quarantined) == (expected, 0), file.name


def as_text(file: Path) -> dict[str, Any]:
    return {"columns": [{"name": n, "missing": []} for n in open_source(file).schema.names]}


def test_real_tables_load_with_nothing_lost(real_data, tmp_path, local):
    done = ingest(real_data / "online-retail" / "by-day", tmp_path / "retail", engine=local)
    assert (done.rows_in, done.accepted, done.files) == (541_909, 541_909, 305)
    assert done.dataset.to_pandas()["CustomerID"].isna().sum() == 135_080
    done = ingest(real_data / "superstore" / "Sample_Superstore_9994_from_xls.csv", tmp_path / "store", engine=local)
    frame = done.dataset.to_pandas()
    assert (round(frame["Sales"].sum(), 2), round(frame["Profit"].sum(), 2)) == (2297200.86, 286397.02)
    sizes = {"Bengaluru_House_Data": 13320, "Wholesale_customers_data": 440, "auto_imports": 201,
             "beijing_pollution_PM25": 43824, "horse-colic": 300}  # fmt: skip
    for name, size in sizes.items():
        done = ingest(real_data / "messy-misc" / f"{name}.csv", tmp_path / name, engine=local)
        assert (done.rows_in, done.accepted, done.quarantined) == (size, size, 0), name
    assert os.listdir(tmp_path / "horse-colic")


def test_keys_that_the_table_holds_already(tmp_path, local, dask_engine, monkeypatch):
    monkeypatch.setattr(uniqueness, "KEYS_A_RANGE", 3)
    told = {"columns": [{"name": "id", "dtype": "int64", "unique": True}, {"name": "t"}], "unique": [["id", "t"]]}
    for name, engine in (("local", local), ("dask", dask_engine)):
        out = tmp_path / name
        for content in ("id,t\n1,a\n2,b\n3,c\n", "id,t\n2,again\n4,d\n4,e\n,f\n"):
            (tmp_path / "t.csv").write_text(content)
            done = ingest(tmp_path / "t.csv", out, contract=told, engine=engine, mode="append")
        assert (done.rows_in, done.accepted, done.reasons) == (
            4,
            2,
            {"id: not the first row with its value, which must be unique": 2},
        )
        assert sorted(rows(open_dataset(out)), key=str) == [(1, "a"), (2, "b"), (3, "c"), (4, "d"), (None, "f")]
        assert [r[:2] for r in set_aside(done)] == [(2, "2,again"), (4, "4,e")]
        left = [p.name for p in out.iterdir() if p.name.startswith("_") and p.name != "_delta_log"]
        assert left == []
    # Rows that are there, and break the rule themselves, are left as they are.
    loose = {"columns": [{"name": "id", "dtype": "int64"}, {"name": "t"}]}
    (tmp_path / "t.csv").write_text("id,t\n7,a\n7,b\n")
    ingest(tmp_path / "t.csv", tmp_path / "loose", contract=loose, engine=local)
    (tmp_path / "t.csv").write_text("id,t\n7,c\n8,d\n")
    done = ingest(tmp_path / "t.csv", tmp_path / "loose", contract=told, engine=local, mode="append")
    assert (done.accepted, done.quarantined) == (1, 1)
    told["columns"][0]["dtype"] = "text"
    with pytest.raises(ParquetryError):
        ingest(tmp_path / "t.csv", tmp_path / "loose", contract=told, engine=local, mode="append")


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ("country,2019,2020,2021\nFR,1,2,3\nDE,4,5,6\n", ["country", "2019", "2020", "2021"]),
        ("2019,2020\n7,8\n9,10\n", ["2019", "2020"]),
        ("id,1,2,3\n5,8,2,9\n6,1,0,4\n", ["id", "1", "2", "3"]),
        ("FR,2019,2020\nDE,2020,2021\n", ["column_0", "column_1", "column_2"]),
        ("7,8\n9,11\n", ["column_0", "column_1"]),
        ("name\nalice\nbob\n", ["name"]),
        ("when\n2020-01-01\n2020-01-02\n", ["when"]),
        ("5\n6\n7\n", ["column_0"]),
        ('title\n"a, b"\n"c; d"\n', ["title"]),
    ],
)
def test_headers(tmp_path, local, content, names):
    done = bring(tmp_path, content, local)
    assert done.dataset.schema.names == names
    assert done.rows_in == content.count("\n") - (names[0] != "column_0")


def test_quotation_marks_escaped_by_a_backslash(tmp_path, local):
    texts = ['say \\"hi\\"', "a, b", "back\\\\slash", "two\nlines", '\\"']
    content = "id,text\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(texts))
    done = bring(tmp_path, content, local, stretch=16)
    assert [r[1] for r in rows(done.dataset)] == ['say "hi"', "a, b", "back\\slash", "two\nlines", '"']
    assert any("escaped by" in note for note in done.notes)
    (tmp_path / "2").mkdir()
    bad = bring(tmp_path / "2", content + '9,"open\\"\n10,"x"\n', local, escape="\\")
    assert (bad.accepted, [r[0] for r in set_aside(bad)]) == (6, [8])


def test_many_files_are_looked_at_by_the_engine(tmp_path, local, dask_engine):
    (tmp_path / "in").mkdir()
    for i in range(150):
        (tmp_path / "in" / f"{i:03}.csv").write_text("" if i in (0, 70) else f"id,t\n{i},a\n")
    found = [open_source(tmp_path / "in", engine=engine) for engine in (None, local, dask_engine)]
    assert found[0] == found[1] == found[2]
    assert (len(found[0].files), found[0].empty[0][-7:], len(found[0].empty)) == (148, "000.csv", 2)
    (tmp_path / "in" / "149.csv").write_text("id,other\n1,2\n")
    with pytest.raises(SchemaDrift, match=r"149\.csv has the columns"):
        open_source(tmp_path / "in", engine=dask_engine)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--sheet", "x"], "sheet= is not for a source of the kind 'jsonl'"),
        (["--delimiter", ";"], "delimiter= is not for a source of the kind 'jsonl'"),
        (["--save-contract", "nowhere/c.yaml"], "there is no folder"),
    ],
)
def test_flags_that_cannot_be_followed_write_nothing(tmp_path, monkeypatch, capsys, words, says):
    monkeypatch.chdir(tmp_path)
    Path("a.json").write_text('[{"a": 1}, {"a": 2}]')
    with pytest.raises(SystemExit):
        cli.main(["ingest", "a.json", "out", *words])
    assert says in capsys.readouterr().err
    assert os.listdir() == ["a.json"]
