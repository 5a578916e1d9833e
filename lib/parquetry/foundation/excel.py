"""Excel workbooks as a source: ``.xlsx``, ``.xlsm``, ``.xls``, ``.xlsb`` (and ``.ods``), read by calamine.

Every cell is given as text, so that a column that mixes numbers, dates and words loses nothing; the
contract makes types of them. Whole numbers come without a fraction, other numbers with all the
digits that they need, dates as ISO 8601, truth values as ``true`` and ``false``; percentages as the
fractions that they are. Formulas give the values that Excel saved with them. An error cell gives
its sign (``#DIV/0!``): the row is rejected where the contract wants a number there, unless the
contract lists the sign in ``missing``. Of merged cells the first has the value and the others are
missing, as Excel has it. Rows without any value are no rows.
"""

from __future__ import annotations

import datetime as dt
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.errors import BadParameter, DatasetNotFound, EmptyDataset, SchemaDrift, did_you_mean
from parquetry.foundation.sources import Parsed, Piece, Positions, WrittenFiles, rejects
from parquetry.foundation.workbooks import SIGNS, check_size, error_cells, open_workbook

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Contract

_ROWS = 16_384
_LOOK = 50  # rows in which the header is looked for
_CLEARLY = 10  # a sheet with this many times the cells of every other one is the table that is meant
Row = list[Any]


@dataclass(frozen=True)
class Sheet:
    """One sheet as a table.

    Attributes
    ----------
    file, name : str
    header : int or None
        The header's row from 1; None without one.
    names : tuple of str
    first, column : int
        Row and column, from 0, of the first cell of ``rows``.
    keep : tuple of int
        Which columns of ``rows`` are columns of the table.
    rows : list of list
        All cells below the header.
    """

    file: str
    name: str
    header: int | None
    names: tuple[str, ...]
    first: int
    column: int
    keep: tuple[int, ...]
    rows: list[Row] = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Excel(WrittenFiles):
    """Workbooks whose sheets have one set of columns.

    Parameters
    ----------
    sheet, header
        What the user said, for all of the files.
    notes : tuple of str
    """

    sheet: str | int | None
    header: bool | int | None
    notes: tuple[str, ...] = ()
    kind: str = "excel"

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], *, sheet: str | int | None = None, header: bool | int | None = None
    ) -> Excel:
        """Find the workbooks, and in the first one the sheet and its header.

        Parameters
        ----------
        source : path or URL
            A file, folder or glob.
        sheet : str or int, default None
            Its name, or its number from 1. None takes the only sheet with values, or the one that
            has clearly more than all others.
        header : bool or int, default None
            The header's row from 1; False for none; True for the first row with values. None looks
            for it: the first row of different texts that is as wide as what is below.

        Raises
        ------
        BadParameter
            Which sheet or which header is not clear; no such sheet.
        MalformedWorkbook
            Not a workbook, damaged, locked by a password, or a zip bomb.
        DatasetNotFound, EmptyDataset, AccessDenied
        """
        uri = os.fspath(source)
        filesystem, path = storage.resolve(uri)
        _, found = storage.list_files(filesystem, path)
        found = [f for f in found if not os.path.basename(f).startswith("~$")]  # Excel's mark of an open file
        if not found:
            raise DatasetNotFound(f"There is no workbook in {uri}.", fix="Check the path.")
        files = (uri,) if len(found) == 1 else tuple(found)
        first = read_sheet(filesystem, found[0], files[0], sheet, header)
        return cls(filesystem, tuple(found), files, first.names, sheet, header, first.notes)

    def pieces(self, engine: Engine) -> list[Piece]:
        """A piece a workbook: a sheet can only be read whole.

        Raises
        ------
        SchemaDrift
            A workbook has other columns than the first.
        """
        pieces = [
            SheetPiece(self.filesystem, p, f, self.sheet, self.header, self.names)
            for p, f in zip(self.paths, self.files, strict=True)
        ]
        found = engine.map(_names_of, pieces[1:], label="look-at-sheets")
        for piece, names in zip(pieces[1:], found, strict=True):
            if names != self.names:
                raise SchemaDrift(
                    f"{piece.file} has the columns {list(names)}, and {self.files[0]} has {list(self.names)}.",
                    why="The workbooks of one input must have the same header.",
                    fix="Mend the sheet, or ingest them one by one.",
                )
        return list(pieces)


@dataclass(frozen=True)
class SheetPiece:
    """One sheet of one workbook."""

    filesystem: pafs.FileSystem
    path: str
    file: str
    sheet: str | int | None
    header: bool | int | None
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """About its bytes when unpacked."""
        return 8 * int(self.filesystem.get_file_info(self.path).size or 0)

    @property
    def holds_gil(self) -> bool:
        """Cells are Python objects."""
        return True

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """The sheet's rows, in order, as text."""
        sheet = read_sheet(self.filesystem, self.path, self.file, self.sheet, self.header)
        for start in range(0, len(sheet.rows), _ROWS):
            yield _parsed(sheet, start, sheet.rows[start : start + _ROWS])


def read_sheet(
    filesystem: pafs.FileSystem,
    path: str,
    file: str,
    sheet: str | int | None,
    header: bool | int | None,
) -> Sheet:
    """Read one sheet whole."""
    data = _content(filesystem, path, file)
    book = open_workbook(data, file)
    index, notes = _chosen(book, file, sheet)
    found = book.get_sheet_by_index(index)
    rows: list[Row] = found.to_python(skip_empty_area=True)
    first, column = found.start or (0, 0)
    name = book.sheet_names[index]
    errors = error_cells(data, name, index)
    if errors is None:
        notes.append("error cells (#DIV/0! …) cannot be told from empty ones in this format")
    else:
        first, column, rows = _with_errors(rows, first, column, errors)
    if not any(map(_filled, rows)):
        raise EmptyDataset(f"{file}, sheet {name!r}, has no values.", fix="Name another with sheet=.")
    at, more = _header_row(rows, header, file, name, first)
    merged = [r for r in (found.merged_cell_ranges or []) if r[1][0] > first + (-1 if at is None else at)]
    if merged:
        ranges = "1 merged range" if len(merged) == 1 else f"{len(merged)} merged ranges"
        notes.append(f"{ranges}: the first cell has the value, the others are missing")
    below = rows if at is None else rows[at + 1 :]
    names, keep, changed = _names(None if at is None else rows[at], below)
    notes += [*more, *changed, *_error_notes(errors or {})]
    return Sheet(
        file=file,
        name=name,
        header=None if at is None else first + at + 1,
        names=names,
        first=first + (0 if at is None else at + 1),
        column=column,
        keep=keep,
        rows=below,
        notes=tuple(notes),
    )


def as_text(value: Any) -> str | None:
    """A cell as text; None for an empty one."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(" ")
    if isinstance(value, dt.timedelta):
        seconds = value.total_seconds()
        hours, rest = divmod(abs(seconds), 3600)
        return f"{'-' * (seconds < 0)}{int(hours):02d}:{int(rest // 60):02d}:{rest % 60:02g}".rstrip()
    return value.isoformat() if isinstance(value, (dt.date, dt.time)) else str(value)


def _parsed(sheet: Sheet, start: int, rows: Sequence[Row]) -> Parsed:
    filled = np.flatnonzero([_filled(row) for row in rows])
    kept = [rows[i] for i in filled.tolist()]
    columns = [pa.array([as_text(row[j]) for row in kept], pa.string()) for j in sheet.keep]
    table = pa.Table.from_arrays(columns, names=list(sheet.names))
    numbers = filled + sheet.first + start + 1

    def lines(at: Positions) -> Positions:
        found: Positions = numbers[at]
        return found

    def raw(at: Positions) -> list[str]:
        return [json.dumps([as_text(v) for v in kept[i]], ensure_ascii=False) for i in at.tolist()]

    return Parsed(table, rejects(sheet.file, [], [], []), len(filled), lines, raw)


def _chosen(book: Any, file: str, sheet: str | int | None) -> tuple[int, list[str]]:
    """The position of the sheet to read, and what to say of it."""
    names = list(book.sheet_names)
    shown = [m for m in book.sheets_metadata if str(m.typ).endswith("WorkSheet")]
    if sheet is not None:
        # A command line gives numbers as texts; a sheet that has the text for its name comes first.
        for wanted in (sheet, int(sheet) if isinstance(sheet, str) and sheet.isdigit() else None):
            if isinstance(wanted, str) and wanted in names:
                return names.index(wanted), []
            if isinstance(wanted, int) and 1 <= wanted <= len(names):
                return wanted - 1, []
        raise BadParameter(
            f"{file} has no sheet {sheet!r}.",
            why=did_you_mean(str(sheet), names),
            fix=f"Sheets: {', '.join(f'{i + 1} {n!r}' for i, n in enumerate(names))}.",
        )
    visible = [names.index(m.name) for m in shown if str(m.visible).endswith(".Visible")]
    cells = {i: _cells(book.get_sheet_by_index(i)) for i in visible or range(len(names))}
    order = sorted((i for i in cells if cells[i]), key=lambda i: -cells[i])
    if not order:
        raise EmptyDataset(f"{file} has no values in any sheet.", fix=f"Sheets: {', '.join(map(repr, names))}.")
    if len(order) > 1 and cells[order[0]] < _CLEARLY * cells[order[1]]:
        listed = ", ".join(f"{names[i]!r} ({cells[i]:,} cells)" for i in order)
        raise BadParameter(f"{file} has several sheets: {listed}.", why="Which one is meant?", fix="Say sheet='…'.")
    others = [n for i, n in enumerate(names) if i != order[0]]
    left = f"; not read: {', '.join(map(repr, others))}" if others else ""
    return order[0], [f"sheet {names[order[0]]!r} is read{left}"] if others else []


def _cells(sheet: Any) -> int:
    """Cells with a value."""
    return sum(1 for row in sheet.iter_rows() for value in row if value != "")


def _header_row(
    rows: list[Row], header: bool | int | None, file: str, sheet: str, first: int
) -> tuple[int | None, list[str]]:
    """The position of the header in ``rows``, None without one, and what to say of it."""
    if header is False:
        return None, []
    start = next(i for i, row in enumerate(rows) if _filled(row))
    if header is True:
        return start, []
    if header is not None:
        at = header - 1 - first
        if not (0 <= at < len(rows)) or not _filled(rows[at]):
            raise BadParameter(
                f"{file}, sheet {sheet!r}: row {header} is empty.",
                why=f"Values are in the rows {first + 1} to {first + len(rows)}.",
                fix="Say header= with the row of the names, counted from 1.",
            )
        return at, []
    width = max(sum(v != "" for v in row) for row in rows[start : start + 4 * _LOOK])
    for i in range(start, min(start + _LOOK, len(rows))):
        values = [v for v in rows[i] if v != ""]
        texts = all(isinstance(v, str) and v not in SIGNS for v in values) and len(set(values)) == len(values)
        # A title stands in the first cell; a header may leave some names out, an index's above all.
        wide = len(values) >= 0.75 * width or (len(values) == width - 1 and rows[i][0] == "")
        if values and texts and wide:
            note = [] if i == 0 and first == 0 else [f"the header is row {first + i + 1}; rows above it are not read"]
            if i > start:
                note.append(f"above the header: {json.dumps(_words(rows[start:i]), ensure_ascii=False)[:300]}")
            return i, note
    raise BadParameter(
        f"{file}, sheet {sheet!r}, has no row of names among its first {_LOOK}.",
        why="No row is made of different texts and as wide as the values below it.",
        fix="Say header= with the row of the names (from 1), or header=False where there is none.",
    )


def _names(header: Row | None, rows: list[Row]) -> tuple[tuple[str, ...], tuple[int, ...], list[str]]:
    """The columns' names, which of the cells' columns they are, and what was changed."""
    width = max(len(row) for row in ([header] if header is not None else []) + rows)
    given = [str(as_text(v) or "").strip() for v in header] if header is not None else []
    given += [""] * (width - len(given))
    used = [bool(g) or any(row[j] != "" for row in rows if j < len(row)) for j, g in enumerate(given)]
    keep = tuple(j for j in range(width) if used[j])
    taken: set[str] = set()
    lowered = {g.lower() for g in given}
    names, notes = [], []
    for i, j in enumerate(keep):
        new, count = given[j] or f"column_{i}", 2
        while new.lower() in taken or (new != given[j] and new.lower() in lowered):
            new, count = f"{given[j] or f'column_{i}'}_{count}", count + 1
        if new != given[j] and header is not None:
            notes.append(f"column {j + 1}, named {given[j]!r}, is called {new!r}")
        taken.add(new.lower())
        names.append(new)
    return tuple(names), keep, notes[:5]


def _with_errors(
    rows: list[Row], first: int, column: int, errors: dict[tuple[int, int], str]
) -> tuple[int, int, list[Row]]:
    """The rows with error cells filled in; they may lie outside of what calamine takes for the used range."""
    if not errors:
        return first, column, rows
    if not rows:
        first, column = min(r for r, _ in errors), min(c for _, c in errors)
    top, left = min(first, *(r for r, _ in errors)), min(column, *(c for _, c in errors))
    bottom = max(first + len(rows), *(r + 1 for r, _ in errors))
    right = max(column + (len(rows[0]) if rows else 0), *(c + 1 for _, c in errors))
    grid = [[""] * (right - left) for _ in range(bottom - top)]
    for i, row in enumerate(rows):
        grid[first - top + i][column - left : column - left + len(row)] = row
    for (r, c), sign in errors.items():
        grid[r - top][c - left] = sign
    return top, left, grid


def _error_notes(errors: dict[tuple[int, int], str]) -> list[str]:
    signs = Counter(errors.values())
    told = ", ".join(f"{n:,} {sign}" for sign, n in signs.most_common())
    return [f"error cells: {told}; list a sign in the contract's missing= to take it as missing"] if signs else []


def _content(filesystem: pafs.FileSystem, path: str, file: str) -> bytes:
    try:
        check_size(int(filesystem.get_file_info(path).size or 0), file)
        with filesystem.open_input_stream(path, compression=None) as stream:
            data: bytes = stream.read()
            return data
    except FileNotFoundError as error:
        raise DatasetNotFound(f"{file} is gone.", why=str(error), fix="List the folder again.") from error
    except OSError as error:
        raise storage.denied(file, error) from error


def _filled(row: Row) -> bool:
    return any(v != "" for v in row)


def _words(rows: list[Row]) -> list[list[str | None]]:
    return [[as_text(v) for v in row if v != ""] for row in rows]


def _names_of(piece: SheetPiece) -> tuple[str, ...]:
    return read_sheet(piece.filesystem, piece.path, piece.file, piece.sheet, piece.header).names
