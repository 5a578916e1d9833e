"""CSV and TSV as a job's input: every row, the right types, and errors that name the line."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parquetry.errors import DatasetNotFound, EmptyDataset, MalformedText, NotParquet, SchemaDrift
from parquetry.tabular_input import ROWS_A_GROUP, Layout, convert, open_input


def frame(path: Path, scratch: Path) -> pd.DataFrame:
    return open_input(path, scratch).to_pandas()


def test_types_are_those_of_all_values(tmp_path: Path):
    source = tmp_path / "t.csv"
    source.write_text(
        'i,f,zip,b,d,t,text,none,big, spaced ,"q,c"\n'
        '1,1.5,00501,true,2020-01-02,2020-01-02 03:04:05,x,,123456789012345678901,  5,"a\nb"\n'
        '-2,.5,10001,FALSE,2020-02-28,2020-01-02T03:04:05,"y""z",,1, 6.25,c\n'
        ",,,,,,,,,,\n"
        "3,nan,1,true,2021-01-01,2020-01-02 00:00:00,NA,,2,7,d\n"
    )
    dataset = open_input(source, tmp_path / "scratch")
    kinds = {f.name: str(f.type) for f in dataset.schema}
    assert kinds == {
        "i": "int64", "f": "double", "zip": "string", "b": "bool", "d": "date32[day]", "t": "timestamp[us]",
        "text": "string", "none": "string", "big": "double", "spaced": "double", "q,c": "string",
    }  # fmt: skip
    rows = dataset.to_pandas()
    assert len(rows) == 4
    assert rows["text"].tolist()[:2] == ["x", 'y"z']
    assert rows["q,c"].iloc[0] == "a\nb"
    assert rows.iloc[2].isna().all()


def test_a_late_value_decides_the_type(tmp_path: Path):
    source = tmp_path / "t.csv"
    source.write_text("a,b\n" + "".join(f"{i},{i}\n" for i in range(100_000)) + "1.5,oops\n")
    dataset = open_input(source, tmp_path)
    assert [str(t) for t in dataset.schema.types] == ["double", "string"]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".CSV"])
def test_rows_keep_their_order_in_fixed_row_groups(tmp_path: Path, suffix: str):
    source, n = tmp_path / f"t[1]{suffix}", 150_000
    text = "n,half\r\n" + "".join(f"{i},{i / 2}\r\n" for i in range(n))
    source.write_bytes(gzip.compress(text.encode()) if suffix.endswith("gz") else text.encode())
    dataset = open_input(source, tmp_path / "scratch")
    assert [b.num_rows for b in dataset.blocks] == [ROWS_A_GROUP, ROWS_A_GROUP, n - 2 * ROWS_A_GROUP]
    assert dataset.uri == str(source)
    np.testing.assert_array_equal(dataset.to_pandas()["n"], np.arange(n))
    assert [p.name for p in (tmp_path / "scratch").iterdir()] == ["rows.parquet"]


def test_two_conversions_are_the_same_bytes(tmp_path: Path):
    source = tmp_path / "t.csv"
    rng = np.random.default_rng(0)
    pd.DataFrame({"a": rng.normal(size=80_000), "b": rng.choice(["x", "y"], 80_000)}).to_csv(source, index=False)
    first, second = convert(source, tmp_path / "1" / "r.parquet"), convert(source, tmp_path / "2" / "r.parquet")
    assert first.path.read_bytes() == second.path.read_bytes()
    assert open_input(source, tmp_path / "3").fingerprint == open_input(source, tmp_path / "4").fingerprint


def test_floats_come_through_exactly(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=1000) * 10.0 ** np.arange(-150, 150).repeat(4)[:1000]
    source = tmp_path / "t.csv"
    source.write_text("x,y\n" + "".join(f"{float(v)!r},1\n" for v in values))
    np.testing.assert_array_equal(frame(source, tmp_path)["x"], values)


@pytest.mark.parametrize(
    ("name", "text"),
    [("t.csv", "a;b\n1;x\n"), ("t.csv", "a|b\n1|x\n"), ("t.csv", "a\tb\n1\tx\n"), ("t.tsv", "a\tb\n1\tx\n")],
)
def test_delimiters(tmp_path: Path, name: str, text: str):
    (tmp_path / name).write_text(text)
    assert frame(tmp_path / name, tmp_path).to_dict("list") == {"a": [1], "b": ["x"]}


def test_a_byte_order_mark_is_not_a_name(tmp_path: Path):
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfa,b\n1,2\n")
    assert list(frame(tmp_path / "t.csv", tmp_path).columns) == ["a", "b"]


def test_a_column_without_a_name_gets_one(tmp_path: Path):
    (tmp_path / "t.csv").write_text(",b\n1,2\n")
    assert list(frame(tmp_path / "t.csv", tmp_path).columns) == ["column_0", "b"]


GOOD = "a,b,c\n" + "".join(f"{i},{i}.5,x{i}\n" for i in range(1000))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD + "7,8,9,10\n", r"line 1,002 .*another number of fields than the table's 3 .found 4.*'7,8,9,10'"),
        (GOOD + "7,8\n1,2,3\n", r"line 1,002 .*found 2"),
        (GOOD + '7,8,"open\n1,2,3\n', r"line 1,002 .*a quotation mark that opens and never closes"),
        ("a,A\n1,2\n", "line 1 .*more than once"),
        ("a\0b,c\n1,2\n", "line 1 .*not text"),
    ],
)
def test_errors_name_file_and_line(tmp_path: Path, text: str, message: str):
    source = tmp_path / "broken.csv"
    source.write_text(text)
    with pytest.raises(MalformedText, match=message) as caught:
        open_input(source, tmp_path / "scratch")
    assert str(source) in str(caught.value)
    assert not list((tmp_path / "scratch").glob("*.parquet"))


def test_other_encodings_name_the_line(tmp_path: Path):
    source = tmp_path / "latin.csv"
    source.write_bytes(GOOD.encode() + "7,8,café\n".encode("latin-1"))
    with pytest.raises(MalformedText, match=r"line 1,002 .*utf-8"):
        open_input(source, tmp_path)


def test_a_spoiled_gzip_file(tmp_path: Path):
    source = tmp_path / "t.csv.gz"
    source.write_bytes(gzip.compress(GOOD.encode())[:-400])
    with pytest.raises(MalformedText, match="cannot be read"):
        open_input(source, tmp_path)
    source.write_bytes(b"a,b\n1,2\n")
    with pytest.raises(MalformedText, match="cannot be read"):
        open_input(source, tmp_path)


@pytest.mark.parametrize("text", ["", "\n\n", "a,b\n", "a,b\n\n"])
def test_no_rows(tmp_path: Path, text: str):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(EmptyDataset, match=r"t\.csv"):
        open_input(tmp_path / "t.csv", tmp_path)


def test_no_file(tmp_path: Path):
    with pytest.raises(DatasetNotFound, match="nothing at"):
        open_input(tmp_path / "missing.csv", tmp_path)


def test_parquet_is_opened_as_it_is(houses: Path, tmp_path: Path):
    dataset = open_input(houses, tmp_path / "scratch")
    assert dataset.num_rows == 1_000
    assert not (tmp_path / "scratch").exists()
    (tmp_path / "text.txt").write_text("a,b\n1,2\n")
    with pytest.raises(NotParquet):
        open_input(tmp_path / "text.txt", tmp_path)


def test_a_folder_or_a_glob_of_text_files_is_one_table(tmp_path: Path):
    folder = tmp_path / "days"
    folder.mkdir()
    for day in (2, 1, 10):
        (folder / f"2020-01-{day:02d}.csv").write_text(f"n,word\n{day},a\n{day + 100},\n")
    for source in (folder, f"{folder}/*.csv"):
        rows = frame(source, tmp_path / "scratch")
        assert rows["n"].tolist() == [1, 101, 2, 102, 10, 110]
        assert rows["word"].isna().tolist() == [False, True] * 3
    # A type is decided by the values of all files.
    (folder / "2020-01-11.csv").write_text("n,word\nx,b\n")
    assert str(open_input(folder, tmp_path / "scratch").schema.field("n").type) == "string"


def test_files_with_another_header_and_broken_files_are_named(tmp_path: Path):
    folder = tmp_path / "days"
    folder.mkdir()
    (folder / "a.csv").write_text("n,word\n1,a\n")
    (folder / "b.csv").write_text("n,wort\n1,a\n")
    with pytest.raises(SchemaDrift, match=r"b\.csv has the columns \['n', 'wort'\], and .*a\.csv"):
        open_input(folder, tmp_path / "scratch")
    (folder / "b.csv").write_text("n,word\n1,a\n2,b,c\n")
    with pytest.raises(MalformedText, match=r"b\.csv, line 3"):
        open_input(folder, tmp_path / "scratch")


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_table_without_a_header_and_with_quotes_that_are_text(tmp_path: Path, newline: str):
    rows = [("ham", 'he said "ok" and left'), ("spam", '"half open'), ("ham", "a, b; c"), ("ham", "7")]
    source = tmp_path / "Messages"
    source.write_text("".join(f"{a}\t{b}{newline}" for a, b in rows), encoding="utf-8", newline="")
    layout = Layout("\t", ("label", "text"), quotes=False)
    found = open_input(source, tmp_path / "scratch", layout).to_pandas()
    assert list(map(tuple, found.to_numpy().tolist())) == rows
    with pytest.raises(NotParquet):
        open_input(source, tmp_path / "scratch")


def test_a_table_without_a_header_names_the_line_that_does_not_fit(tmp_path: Path):
    source = tmp_path / "Messages"
    source.write_text("ham\tone\nspam\ntwo\tthree\n")
    with pytest.raises(MalformedText, match="line 2"):
        open_input(source, tmp_path / "scratch", Layout("\t", ("label", "text"), quotes=False))
    source.write_text("")
    with pytest.raises(EmptyDataset, match="no rows"):
        open_input(source, tmp_path / "scratch", Layout("\t", ("label", "text"), quotes=False))
