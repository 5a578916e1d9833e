"""Excel: which sheet, which header, and every cell as it is."""

from __future__ import annotations

import datetime as dt
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xlsxwriter

from parquetry.errors import BadParameter, DatasetNotFound, EmptyDataset, MalformedWorkbook, SchemaDrift
from parquetry.foundation import workbooks
from parquetry.foundation.excel import Excel
from parquetry.foundation.sources import open_source

Sheets = dict[str, list[list[Any]]]


def save(path: Path, sheets: Sheets, **options: Any) -> Path:
    with xlsxwriter.Workbook(str(path), options) as book:
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            for i, row in enumerate(rows):
                for j, value in enumerate(row):
                    write(book, sheet, i, j, value)
    return path


def write(book: Any, sheet: Any, i: int, j: int, value: Any) -> None:
    if isinstance(value, dt.datetime):
        sheet.write_datetime(i, j, value, book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"}))
    elif isinstance(value, dt.date):
        sheet.write_datetime(i, j, value, book.add_format({"num_format": "yyyy-mm-dd"}))
    elif isinstance(value, tuple):
        sheet.write_formula(i, j, value[0], None, value[1])
    elif value is not None:
        sheet.write(i, j, value)


def everything(source: Any, engine: Any) -> tuple[list[dict[str, Any]], list[int], list[str]]:
    rows, lines, raw = [], [], []
    for piece in source.pieces(engine):
        for parsed in piece.read(None):
            at = np.arange(parsed.table.num_rows)
            assert (parsed.rows_in, parsed.bad.num_rows) == (len(at), 0)
            rows += parsed.table.to_pylist()
            lines += parsed.lines(at).tolist()
            raw += parsed.raw(at)
    return rows, lines, raw


def test_every_kind_of_cell(local: Any, tmp_path: Path) -> None:
    day, moment = dt.date(2020, 2, 29), dt.datetime.fromisoformat("2020-01-02T03:04:05")
    rows = [
        ["n", "text", "when", "flag", "formula"],
        [1, "é\nb", day, True, ("=1+1", 2)],
        [0.1, "00123", moment, False, ("=1/0", "#DIV/0!")],
        [None, None, None, None, None],
        [12345678901234, " x ", None, None, ("=NA()", "#N/A")],
        [-2.5e-300, "#N/A", None, None, ("=A1", "n")],
    ]
    source = open_source(save(tmp_path / "a.xlsx", {"only": rows}))
    assert (source.kind, source.schema) == ("excel", pa.schema([(n, pa.string()) for n in rows[0]]))
    found, lines, raw = everything(source, local)
    assert lines == [2, 3, 5, 6]
    assert [list(r.values()) for r in found] == [
        ["1", "é\nb", "2020-02-29", "true", "2"],
        ["0.1", "00123", "2020-01-02 03:04:05", "false", "#DIV/0!"],
        ["12345678901234", " x ", None, None, "#N/A"],
        ["-2.5e-300", "#N/A", None, None, "n"],
    ]
    assert raw[2] == '["12345678901234", " x ", null, null, "#N/A"]'
    assert any("1 #DIV/0!, 1 #N/A" in note for note in source.notes)


def test_dates_count_from_1904_where_the_workbook_says_so(local: Any, tmp_path: Path) -> None:
    rows = [["day"], [dt.date(2020, 1, 2)]]
    for i, options in enumerate(({}, {"date_1904": True})):
        source = open_source(save(tmp_path / f"{i}.xlsx", {"s": rows}, **options))
        assert everything(source, local)[0] == [{"day": "2020-01-02"}]


def test_the_table_is_found_below_titles_and_blank_rows_and_columns(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.xlsx"
    with xlsxwriter.Workbook(str(path)) as book:
        sheet = book.add_worksheet()
        sheet.merge_range(1, 2, 1, 4, "Sales of 2020")
        sheet.write_row(4, 2, ["city", "city ", None, "sold"])
        sheet.write_row(5, 2, ["Bonn", "x", 5, 1.5])
        sheet.merge_range(6, 2, 7, 2, "Köln")
        sheet.write_row(6, 3, ["y", 6, 2.5])
        sheet.write_row(7, 3, ["z", 7, 3.5])
    source = open_source(path)
    assert source.schema.names == ["city", "city_2", "column_2", "sold"]
    rows, lines, _ = everything(source, local)
    assert lines == [6, 7, 8]
    assert [r["city"] for r in rows] == ["Bonn", "Köln", None]
    said = " ".join(source.notes)
    for sign in ("header is row 5", "Sales of 2020", "1 merged range:", "is called 'city_2'"):
        assert sign in said


@pytest.mark.parametrize(
    ("header", "names", "first"),
    [(None, ["a", "b"], 3), (2, ["a", "b"], 3), (False, ["column_0", "column_1"], 1), (3, ["1", "2"], 4)],
)
def test_the_header_may_be_told(local: Any, tmp_path: Path, header: Any, names: list[str], first: int) -> None:
    path = save(tmp_path / "a.xlsx", {"s": [["a title"], ["a", "b"], [1, 2], [3, 4]]})
    source = Excel.open(path, header=header)
    assert source.schema.names == names
    assert everything(source, local)[1][0] == first


def test_a_header_that_cannot_be_found_is_asked_for(tmp_path: Path) -> None:
    path = save(tmp_path / "a.xlsx", {"s": [[1, 2], [3, 4]]})
    with pytest.raises(BadParameter, match="header=False"):
        Excel.open(path)
    with pytest.raises(BadParameter, match="row 9 is empty"):
        Excel.open(path, header=9)


def test_which_sheet(local: Any, tmp_path: Path) -> None:
    big = [["a", "b"], *([i, i] for i in range(50))]
    path = save(tmp_path / "a.xlsx", {"notes": [["read me"]], "data": big, "empty": []})
    source = open_source(path)
    assert source.schema.names == ["a", "b"]
    assert "'data' is read; not read: 'notes', 'empty'" in source.notes[0]
    assert open_source(path, sheet="notes").schema.names == ["read me"]
    for number in (1, "1"):
        assert open_source(path, sheet=number).schema.names == ["read me"]
    with pytest.raises(BadParameter, match="Did you mean 'data'"):
        open_source(path, sheet="date")
    with pytest.raises(EmptyDataset, match="no values"):
        open_source(path, sheet="empty")
    two = save(tmp_path / "two.xlsx", {"north": big, "south": big})
    with pytest.raises(BadParameter, match=r"'north' \(102 cells\), 'south' .* Say sheet="):
        open_source(two)
    with pytest.raises(EmptyDataset, match="no values in any sheet"):
        open_source(save(tmp_path / "none.xlsx", {"x": [], "y": []}))


def test_a_folder_of_workbooks_has_one_header(local: Any, tmp_path: Path) -> None:
    for i in range(3):
        save(tmp_path / f"{i}.xlsx", {"s": [["a", "b"], [i, i]]})
    (tmp_path / "~$1.xlsx").write_bytes(b"Excel's mark of an open file")
    source = open_source(tmp_path)
    assert [r["a"] for r in everything(source, local)[0]] == ["0", "1", "2"]
    save(tmp_path / "3.xlsx", {"s": [["a", "c"], [1, 1]]})
    with pytest.raises(SchemaDrift, match=r"3\.xlsx has the columns \['a', 'c'\]"):
        open_source(tmp_path).pieces(local)


def locked(path: Path) -> bytes:
    from msoffcrypto.format.ooxml import OOXMLFile

    out = io.BytesIO()
    with path.open("rb") as file:
        OOXMLFile(file).encrypt("secret", out)
    return out.getvalue()


def bomb(told: int, *, honest: bool) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr("xl/workbook.xml", b"\0" * told)
    data = out.getvalue()
    if honest:
        return data
    return data.replace(struct.pack("<I", told), struct.pack("<I", 100))  # it says that it holds 100 bytes


def test_files_that_are_no_sound_workbooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = save(tmp_path / "sound.xlsx", {"s": [["a"], *([i] for i in range(2_000))]})
    monkeypatch.setattr(workbooks, "MOST_BYTES", 10**6)
    cases = {
        "empty": (b"", "an empty file"),
        "text": (b"a,b\n1,2\n", "begins with 'a,b"),
        "html": (b"<html><table></table></html>", "HTML"),
        "cut": (sound.read_bytes()[:-300], "damaged or cut"),
        "flipped": (sound.read_bytes()[:600] + b"\x00\xff\x00\xff" + sound.read_bytes()[604:], "damaged or cut"),
        "locked": (locked(sound), "password"),
        "zip": (bomb(2_000, honest=True), "cannot be read as a workbook"),
        "bomb": (bomb(10**7, honest=True), "unpacks from"),
        "liar": (bomb(10**7, honest=False), "damaged or cut"),
        "cut-xls": (xls([(0, 0, "a"), (1, 0, 1.0)])[:700], "cannot be read as a workbook"),
    }
    for name, (data, says) in cases.items():
        path = tmp_path / f"{name}.xlsx"
        path.write_bytes(data)
        with pytest.raises(MalformedWorkbook, match=says):
            open_source(path)
    monkeypatch.setattr(workbooks, "_MOST_PACKED", 10)
    with pytest.raises(MalformedWorkbook, match="Save it as CSV"):
        open_source(sound)
    with pytest.raises(DatasetNotFound):
        Excel.open(tmp_path / "none.xlsx")


def xls(cells: list[tuple[int, int, Any]]) -> bytes:
    """The smallest ``.xls`` (BIFF8 in an OLE file): texts, floats, and ``b"…"`` for error codes."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HH", kind, len(body)) + body

    def cell(row: int, column: int, value: Any) -> bytes:
        place = struct.pack("<HHH", row, column, 0)
        if isinstance(value, str):
            return record(0x204, place + struct.pack("<HB", len(value), 0) + value.encode("latin-1"))
        if isinstance(value, bytes):
            return record(0x205, place + value + b"\1")
        if isinstance(value, int):  # a formula whose result is an error
            return record(0x06, place + struct.pack("<BBBBHH", 2, 0, value, 0, 0, 0xFFFF) + bytes(8))
        return record(0x203, place + struct.pack("<d", value))

    start = struct.pack("<HHHHII", 0x600, 5, 0x0DBB, 1996, 0, 6)
    sheet = record(0x809, start.replace(b"\x05\x00", b"\x10\x00", 1)) + b"".join(cell(*c) for c in cells)
    name = struct.pack("<BBBB", 0, 0, 5, 0) + b"Sheet"
    offset = len(record(0x809, start)) + len(record(0x85, bytes(4) + name)) + 4
    stream = record(0x809, start) + record(0x85, struct.pack("<I", offset) + name) + record(0x0A, b"")
    stream = (stream + sheet + record(0x0A, b"")).ljust(4096, b"\0")
    free, end = 0xFFFFFFFF, 0xFFFFFFFE
    fat = [0xFFFFFFFD, end, *range(3, 10), end, *[free] * 118]
    head = workbooks._OLE + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)

    def entry(title: str, kind: int, child: int, first: int, size: int) -> bytes:
        text = title.encode("utf-16-le")
        body = text.ljust(64, b"\0") + struct.pack("<HBBIII", len(text) + 2, kind, 1, free, free, child)
        return body + bytes(36) + struct.pack("<IQ", first, size)

    folder = entry("Root Entry", 5, 1, end, 0) + entry("Workbook", 2, free, 2, 4096) + bytes(256)
    return head + struct.pack("<128I", *fat) + folder + stream


def test_old_workbooks_and_their_error_cells(local: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.xls"
    path.write_bytes(xls([(0, 0, "a"), (0, 1, "b"), (1, 0, 1.0), (1, 1, b"\x07"), (2, 0, 42), (2, 1, 2.5)]))
    source = open_source(path)
    rows, lines, _ = everything(source, local)
    assert (rows, lines) == ([{"a": "1", "b": "#DIV/0!"}, {"a": "#N/A", "b": "2.5"}], [2, 3])


def test_real_workbooks_lose_nothing(local: Any, real_data: Path) -> None:
    for name, rows, columns in (
        ("excel-real/AirQualityUCI.xlsx", 9_357, 15),
        ("excel-real/Redwine.xlsx", 1_599, 12),
        ("excel-real/E-Commerce-Dataset.xlsx", 5_630, 20),
        ("superstore/Sample_Superstore_9994.xls", 9_994, 21),
    ):
        source = open_source(real_data / name)
        found, _, _ = everything(source, local)
        assert (len(found), len(source.schema)) == (rows, columns)
    assert round(sum(float(r["Sales"]) for r in found), 2) == 2297200.86
    assert round(sum(float(r["Profit"]) for r in found), 2) == 286397.02
    ecommerce = open_source(real_data / "excel-real/E-Commerce-Dataset.xlsx")
    assert ecommerce.notes == ("sheet 'E Comm' is read; not read: 'Data Dict'",)
