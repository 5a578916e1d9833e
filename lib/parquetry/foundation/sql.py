"""A database's table or query as a source: SQLite through ADBC, DuckDB by itself, others through SQLAlchemy.

A table of SQLite or DuckDB is cut into ranges of its row ids, which are also the numbers that rejected
rows are known by. A view, a query or another database gives one piece, streamed, in the order in which
the database gives it; the source's notes say so. Each piece's rows are counted by the database itself,
apart from the reading.

SQLite lets a column hold anything. A column is read as whole numbers, numbers, text or bytes where all
of its values are that; a mixed one is read as text, number by number with all digits, and the contract
decides.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from parquetry.errors import BadParameter, CorruptBlock, DatasetNotFound, EmptyDataset, WrongColumnType, did_you_mean
from parquetry.foundation.database_common import ROW, Database
from parquetry.foundation.databases import open_database
from parquetry.foundation.sources import Parsed, Piece, Positions, rejects
from parquetry.foundation.tables import as_json, kept_schema

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Contract

ROWS_A_PIECE = 250_000


@dataclass(frozen=True)
class SqlTable:
    """One table, view or query of a database.

    Parameters
    ----------
    database : Database
    table, query : str or None
        One of them.
    stored : pyarrow.Schema
        The columns as the database gives them.
    notes : tuple of str
    """

    database: Database
    table: str | None
    query: str | None
    stored: pa.Schema
    notes: tuple[str, ...] = ()
    kind: str = "sql"

    @classmethod
    def open(cls, source: str | os.PathLike[str], *, table: str | None = None, query: str | None = None) -> SqlTable:
        """Connect, find the table, and look at its columns.

        Parameters
        ----------
        source : URL or path
            ``sqlite:///relative.db`` or ``sqlite:////absolute.db``, ``duckdb:///…``, the file itself,
            or any URL that SQLAlchemy takes.
        table : str, default None
            None takes the only one there is.
        query : str, default None
            One SELECT, in place of a table.

        Raises
        ------
        DatasetNotFound
            No such file, or no such table (with the nearest name).
        DatabaseUnavailable
            It is no database, is locked, refuses the connection, or the query.
        BadParameter, MissingDependency, EmptyDataset
        """
        database = open_database(os.fspath(source))
        if table is not None and query is not None:
            raise BadParameter("Both table= and query= were given.", fix="Give one of them.")
        notes: list[str] = []
        if query is not None:
            query = query.strip().rstrip(";").strip()
            notes.append("a query cannot be cut: it is read in one piece, in the database's order")
        else:
            table = _table(database, table, notes)
        stored, more = database.schema(table, query)
        twice = sorted({n for n in stored.names if stored.names.count(n) > 1})
        if twice:
            raise BadParameter(
                f"The query gives the column {twice[0]!r} twice.", fix=f"Name one of them: … AS {twice[0]}_2."
            )
        if not database.has_row_ids(table) and table is not None:
            notes.append(f"{table!r} has no row ids: it is read in one piece, in the database's order")
        return cls(database, table, query, stored, (*notes, *more))

    @property
    def schema(self) -> pa.Schema:
        """The database's types, as far as a committed table can hold them."""
        return kept_schema(self.stored)

    @property
    def files(self) -> tuple[str, ...]:
        """The database, and what is read of it."""
        return (f"{self.database.shown} ({self.table or 'query'})",)

    def pieces(self, engine: Engine) -> list[Piece]:
        """Ranges of about 250,000 row ids, or one piece."""
        ranges: list[tuple[int, int] | None] = [None]
        if self.table is not None and self.database.has_row_ids(self.table):
            first, last, rows = self.database.bounds(self.table)
            pieces = max(1, -(-rows // ROWS_A_PIECE))
            edges = [first + (last + 1 - first) * i // pieces for i in range(pieces + 1)]
            ranges = list(pairwise(edges))
        return [SqlPiece(self.database, self.table, self.query, self.stored, r, self.files[0]) for r in ranges]


@dataclass(frozen=True)
class SqlPiece:
    """A range of a table's row ids, or all rows."""

    database: Database
    table: str | None
    query: str | None
    stored: pa.Schema
    rows: tuple[int, int] | None
    file: str

    @property
    def size(self) -> int:
        """A guess: the database does not tell."""
        width = sum(32 if pa.types.is_string(t) or pa.types.is_binary(t) else 8 for t in self.stored.types)
        return width * (ROWS_A_PIECE if self.rows is None else self.rows[1] - self.rows[0])

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """The rows in batches of bounded memory.

        Raises
        ------
        CorruptBlock
            The database counted other rows than it gave: somebody writes to it.
        """
        expected, given = self.database.count(self.table, self.query, self.rows), 0
        for table, bad in self.database.stream(self.table, self.query, self.stored, self.rows):
            first, given = given, given + table.num_rows + len(bad)
            yield self._parsed(table, bad, first)
        if given != expected:
            raise CorruptBlock(
                f"{self.file} gave {given:,} rows, and counted {expected:,} before.",
                why="Somebody writes to the table while it is read.",
                fix="Ingest it again when nobody does.",
            )

    def _parsed(self, table: pa.Table, bad: list[tuple[int, str, str]], first: int) -> Parsed:
        if ROW in table.column_names:
            numbers = table.column(ROW).to_numpy()
            table = table.drop_columns(ROW)
        else:
            # Those that the driver could not turn into values keep their places in the count.
            numbers = np.setdiff1d(np.arange(table.num_rows + len(bad)), [i for i, _, _ in bad]) + first + 1
            bad = [(i + first + 1, raw, why) for i, raw, why in bad]
        kept, wrong = _decoded(table)
        table, at = (table, numbers) if not wrong.any() else (table.filter(pa.array(~wrong)), numbers[~wrong])
        refused = [
            *bad,
            *((int(n), r, "It holds text that is not UTF-8.") for n, r in zip(numbers[wrong], kept, strict=True)),
        ]
        table = self._cast(table)

        def lines(rows: Positions) -> Positions:
            found: Positions = at[rows]
            return found

        return Parsed(
            table,
            rejects(self.file, *([list(x) for x in zip(*refused, strict=True)] if refused else [[], [], []])),
            table.num_rows + len(refused),
            lines,
            lambda rows: as_json(table.take(pa.array(rows))),
        )

    def _cast(self, table: pa.Table) -> pa.Table:
        try:
            return table.cast(kept_schema(self.stored))
        except pa.ArrowException as error:
            raise WrongColumnType(
                f"{self.file} has a value that a committed table cannot hold.",
                why=str(error),
                fix="Convert the column in a query=.",
            ) from error


def _table(database: Database, table: str | None, notes: list[str]) -> str:
    """The name of the table that is meant, as the database spells it."""
    tables = database.tables()
    if table is None:
        if not tables:
            raise EmptyDataset(f"{database.shown} has no tables.", fix="Check the path.")
        if len(tables) > 1:
            raise BadParameter(
                f"{database.shown} has {len(tables)} tables: {', '.join(map(repr, tables[:20]))}.",
                why="Which one is meant?",
                fix="Say table='…', or query='SELECT …'.",
            )
        notes.append(f"table {tables[0]!r} is read: there is no other")
        return tables[0]
    found = next((t for t in tables if t == table), None) or next(
        (t for t in tables if t.lower() == table.lower()), None
    )
    if found is None:
        raise DatasetNotFound(f"{database.shown} has no table {table!r}.", fix=did_you_mean(table, tables))
    return found


def _decoded(table: pa.Table) -> tuple[Sequence[str], np.ndarray[Any, np.dtype[np.bool_]]]:
    """Which rows hold text that is no UTF-8, and those rows in a form that can be shown."""
    wrong = np.zeros(table.num_rows, dtype=bool)
    for f in table.schema:
        if not pa.types.is_string(f.type):
            continue
        content = table.column(f.name).cast(pa.binary())
        try:
            content.cast(pa.string())
        except pa.ArrowInvalid:
            wrong |= np.array([_is_broken(v) for v in content.to_pylist()], dtype=bool)
    if not wrong.any():
        return [], wrong
    as_bytes = [pa.field(f.name, pa.binary() if pa.types.is_string(f.type) else f.type) for f in table.schema]
    broken = table.filter(pa.array(wrong)).cast(pa.schema(as_bytes))
    return [repr(row) for row in broken.to_pylist()], wrong


def _is_broken(value: bytes | None) -> bool:
    try:
        (value or b"").decode()
    except UnicodeDecodeError:
        return True
    return False
