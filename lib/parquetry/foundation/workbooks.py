"""Workbook files before calamine gets them: what they are, whether they are safe, and which cells are errors.

Calamine unpacks whatever a zip holds and gives error cells (``#DIV/0!``) as empty ones. So the zip's
sizes, told and real, are looked at first, and error cells are found in the sheet itself.
"""

from __future__ import annotations

import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np

from parquetry.errors import MalformedWorkbook

MOST_BYTES = 2 * 2**30
"""Unpacked bytes of a workbook that are read at most; a full sheet of 20 columns has about 0.6 GiB."""
_MOST_PACKED = 512 * 2**20
_MOST_PARTS = 20_000
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_STRANGE_SUFFIX = "Save it in Excel as .xlsx, or as CSV."
_ERRORS = {0: "#NULL!", 7: "#DIV/0!", 15: "#VALUE!", 23: "#REF!", 29: "#NAME?", 36: "#NUM!", 42: "#N/A"}
SIGNS = frozenset(_ERRORS.values())
"""What Excel shows in a cell whose formula has no value."""
_CELL = re.compile(r"([A-Z]+)([0-9]+)")
_CHUNK = 2**20
_PIECES = 2**16

Cells = dict[tuple[int, int], str]


def open_workbook(data: bytes, file: str) -> Any:
    """A calamine workbook of a file's bytes.

    Raises
    ------
    MalformedWorkbook
        It is empty, cut, no workbook, locked by a password, or unpacks to more than ``MOST_BYTES``.
    """
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    _check(data, file)
    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError as error:
        raise _locked(file) from error
    except (CalamineError, OSError, ValueError) as error:
        raise MalformedWorkbook(
            f"{file} cannot be read as a workbook.", why=f"{error}.", fix="Fetch it again, or save it again in Excel."
        ) from error


def _check(data: bytes, file: str) -> None:
    if data[:4] == b"PK\x03\x04":
        _check_zip(data, file)
    elif data[:8] == _OLE:
        if _ENCRYPTED in data:
            raise _locked(file)
    else:
        start = data[:200].decode("utf-8", "replace").lstrip("\ufeff \r\n\t")
        looks = "an empty file" if not data else f"a file that begins with {start[:40]!r}"
        html = start[:1] == "<"
        raise MalformedWorkbook(
            f"{file} is not an Excel workbook, but {looks}.",
            why="Some programs write HTML and call it .xls." if html else "",
            fix=_STRANGE_SUFFIX if data else "Fetch it again.",
        )


def _check_zip(data: bytes, file: str) -> None:
    """Told sizes first; then every part is unpacked once, which proves them, and thrown away."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as package:
            parts = package.infolist()
            told = sum(p.file_size for p in parts)
            if told > MOST_BYTES or len(parts) > _MOST_PARTS:
                raise _bomb(file, told, len(data), len(parts))
            for part in parts:
                if part.flag_bits & 1:
                    raise _locked(file)
                with package.open(part) as stream:
                    while stream.read(_CHUNK):
                        pass
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, struct.error) as error:
        raise MalformedWorkbook(
            f"{file} is a damaged or cut workbook.", why=f"{error}.", fix="Fetch it again, or save it again in Excel."
        ) from error


def _bomb(file: str, told: int, packed: int, parts: int) -> MalformedWorkbook:
    return MalformedWorkbook(
        f"{file} unpacks from {packed:,} bytes to {told:,}, in {parts:,} parts.",
        why=f"At most {MOST_BYTES:,} bytes of a workbook are unpacked: more is a zip bomb, or too much for one reader.",
        fix="If it is a real table, save it as CSV, which is read in pieces.",
    )


def check_size(nbytes: int, file: str) -> None:
    """Raise where a file is too large to be read whole."""
    if nbytes > _MOST_PACKED:
        raise MalformedWorkbook(
            f"{file} has {nbytes:,} bytes.",
            why=f"A workbook is read whole, by one reader: at most {_MOST_PACKED:,} bytes.",
            fix="Save it as CSV, which is read in pieces.",
        )


def _locked(file: str) -> MalformedWorkbook:
    return MalformedWorkbook(
        f"{file} is locked by a password.",
        why="Its content is encrypted.",
        fix="Take it off in Excel (File, Info, Protect Workbook), or with msoffcrypto-tool -p PASSWORD IN OUT.",
    )


# --- error cells ----------------------------------------------------------------------------
def error_cells(data: bytes, sheet: str, index: int) -> Cells | None:
    """The error cells of a sheet by (row, column) from 0; None where the format does not let them be found."""
    if data[:8] == _OLE:
        return _biff_errors(data, index)
    with zipfile.ZipFile(io.BytesIO(data)) as package:
        path = _sheet_path(package, sheet)
        if path is None:
            return None
        with package.open(path) as stream:
            if not _mentions(stream, b't="e"'):
                return {}
        with package.open(path) as stream:
            return dict(_xml_errors(stream))


# ElementTree is safe here: sizes have been checked, and expat refuses entities that grow without end.
def _sheet_path(package: zipfile.ZipFile, sheet: str) -> str | None:
    names = set(package.namelist())
    if "xl/workbook.xml" not in names or "xl/_rels/workbook.xml.rels" not in names:
        return None
    book = ET.fromstring(package.read("xl/workbook.xml"))  # noqa: S314
    links = ET.fromstring(package.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    targets = {link.get("Id"): link.get("Target", "") for link in links}
    for element in book.iter():
        if element.tag.endswith("}sheet") and element.get("name") == sheet:
            link = next((v for k, v in element.attrib.items() if k.endswith("}id")), None)
            target = targets.get(link, "")
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(f"xl/{target}")
            return path if path in names else None
    return None


def _mentions(stream: Any, sign: bytes) -> bool:
    tail = b""
    while block := stream.read(_CHUNK):
        if sign in tail + block:
            return True
        tail = block[-len(sign) :]
    return False


def _xml_errors(stream: Any) -> Iterator[tuple[tuple[int, int], str]]:
    row = column = -1
    for event, element in ET.iterparse(stream, events=("start", "end")):  # noqa: S314
        tag = element.tag.rpartition("}")[2]
        if event == "start":
            if tag == "row":
                row, column = int(element.get("r", row + 2)) - 1, -1
            elif tag == "c":
                found = _CELL.fullmatch(element.get("r", ""))
                column = column + 1 if found is None else _column_number(found[1])
        elif tag == "c":
            if element.get("t") == "e":
                yield (row, column), next((v.text or "" for v in element if v.tag.endswith("}v")), "#ERROR")
        elif tag == "row":
            element.clear()


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - 64
    return number - 1


def _biff_errors(data: bytes, index: int) -> Cells | None:
    """Error cells of an ``.xls``: records of the sheet's part of the workbook's stream."""
    try:
        stream = _ole_stream(data, ("Workbook", "Book"))
        if stream is None:
            return None
        sheets = [body for kind, body in _records(stream, 0) if kind == 0x85]
        return dict(_biff_cells(_records(stream, struct.unpack_from("<I", sheets[index])[0])))
    except (struct.error, IndexError):
        return None


def _biff_cells(records: Iterator[tuple[int, bytes]]) -> Iterator[tuple[tuple[int, int], str]]:
    for kind, body in records:
        if kind == 0x205 and body[7] == 1:
            code = body[6]
        elif kind == 0x06 and body[12:14] == b"\xff\xff" and body[6] == 2:
            code = body[8]
        else:
            continue
        row, column = struct.unpack_from("<HH", body)
        yield (row, column), _ERRORS.get(code, "#ERROR")


def _records(stream: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The records from one beginning (BOF) to its end, without those of charts inside."""
    place, depth = start, 0
    while place + 4 <= len(stream):
        kind, length = struct.unpack_from("<HH", stream, place)
        depth += (kind in (0x809, 0x409, 0x209, 0x09)) - (kind == 0x0A)
        if depth <= 0:
            return
        if depth == 1:
            yield kind, stream[place + 4 : place + 4 + length]
        place += 4 + length


def _ole_stream(data: bytes, names: tuple[str, ...]) -> bytes | None:
    """A stream of an OLE file (Microsoft's [MS-CFB]), by name."""
    sector, mini_sector = 1 << struct.unpack_from("<H", data, 30)[0], 1 << struct.unpack_from("<H", data, 32)[0]
    first_folder, cutoff, first_mini = (struct.unpack_from("<I", data, p)[0] for p in (48, 56, 60))
    table = np.frombuffer(data, "<u4", 109, 76).tolist()
    more = struct.unpack_from("<I", data, 68)[0]
    while more < 0xFFFFFFFA and len(table) < _PIECES:
        block = np.frombuffer(data, "<u4", sector // 4, (more + 1) * sector).tolist()
        table, more = table + block[:-1], block[-1]
    sectors = [np.frombuffer(data, "<u4", sector // 4, (s + 1) * sector) for s in table if s < 0xFFFFFFFA]
    fat = np.concatenate(sectors) if sectors else np.empty(0, "<u4")

    def chain(start: int, links: Any, piece: int, body: bytes, shift: int) -> bytes:
        out: list[bytes] = []
        place = start
        while place < len(links) and len(out) <= len(links):
            out.append(body[(place + shift) * piece : (place + shift + 1) * piece])
            place = int(links[place])
        return b"".join(out)

    folder = chain(first_folder, fat, sector, data, 1)
    entries = {}
    for p in range(0, len(folder) - 127, 128):
        length = struct.unpack_from("<H", folder, p + 64)[0]
        name = folder[p : p + max(0, min(length, 64) - 2)].decode("utf-16-le", "replace")
        entries[name] = struct.unpack_from("<II", folder, p + 116)
    found = next((entries[n] for n in names if n in entries), None)
    if found is None:
        return None
    start, size = found
    if size >= cutoff:
        return chain(start, fat, sector, data, 1)[:size]
    small = chain(entries["Root Entry"][0], fat, sector, data, 1)
    links = np.frombuffer(chain(first_mini, fat, sector, data, 1), "<u4")
    return chain(start, links, mini_sector, small, 0)[:size]
