"""Databases that rows are read from: SQLite, DuckDB, and whatever SQLAlchemy knows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa

from parquetry.errors import BadParameter, DatabaseUnavailable, DatasetNotFound, missing
from parquetry.foundation.alchemy import Alchemy
from parquetry.foundation.database_common import BATCH, ROW, Bad, Database, Range, quoted_name, refusing, source_of

WAIT_SECONDS = 5.0
"""How long a lock of SQLite is waited for."""
_COLUMNS_A_QUERY = 100
_EXACT = 2**53  # whole numbers up to here are floats as well


def open_database(source: str) -> Database:
    """The database that a URL or a file's path names."""
    scheme, _, rest = source.partition("://")
    if "://" not in source:
        path = os.path.abspath(os.path.expanduser(source))
        return _DuckDb(path, source) if _kind_of_file(path) == "duckdb" else _Sqlite(path, source)
    if scheme.lower() in ("sqlite", "duckdb"):
        # As SQLAlchemy has it: three slashes and a relative path, four and an absolute one.
        if not rest.startswith("/") or rest in ("/", "/:memory:"):
            raise BadParameter(
                f"{source!r} names no file.", fix=f"Write {scheme}:///relative.db or {scheme}:////absolute/path.db."
            )
        path = os.path.abspath(unquote(rest[1:].partition("?")[0]))
        kind = _kind_of_file(path) or scheme.lower()
        if kind != scheme.lower():
            raise BadParameter(f"{path} is a {kind} database.", fix=f"Write {kind}:///…")
        return _Sqlite(path, source) if kind == "sqlite" else _DuckDb(path, source)
    return Alchemy.open(source)


def _kind_of_file(path: str) -> str | None:
    try:
        with Path(path).open("rb") as file:
            start = file.read(16)
    except FileNotFoundError as error:
        parent = next((p for p in Path(path).parents if p.exists()), Path("/"))
        raise DatasetNotFound(
            f"There is no database {path!r}.", fix=f"The nearest folder that exists is {str(parent)!r}."
        ) from error
    except OSError as error:
        raise DatabaseUnavailable(f"{path!r} may not be read.", why=str(error), fix="Check the permissions.") from error
    if start.startswith(b"SQLite format 3\0"):
        return "sqlite"
    if start[8:12] == b"DUCK":
        return "duckdb"
    if start:
        raise DatabaseUnavailable(
            f"{path!r} is neither a SQLite nor a DuckDB database.",
            why=f"It begins with {start[:12]!r}.",
            fix="Check it.",
        )
    raise DatabaseUnavailable(f"{path!r} is an empty file.", fix="Check the path.")


# --- SQLite ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Sqlite:
    path: str
    shown: str

    def tables(self) -> list[str]:
        told = (
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        return [name for (name,) in self._ask(told + " ORDER BY name")]

    def schema(self, table: str | None, query: str | None) -> tuple[pa.Schema, list[str]]:
        with self._connected() as connection:
            cursor = connection.execute(f"SELECT * FROM {source_of(table, query)} LIMIT 0")  # noqa: S608 (quoted)
            names = [d[0] for d in cursor.description]
        fields, notes = [], []
        for start in range(0, len(names), _COLUMNS_A_QUERY):
            part = names[start : start + _COLUMNS_A_QUERY]
            asked = ", ".join(f"{_KINDS.replace('$', quoted_name(n))}" for n in part)
            row = self._ask(f"SELECT {asked} FROM {source_of(table, query)}")[0]  # noqa: S608
            for i, name in enumerate(part):
                kind, mixed = _sqlite_type(row[5 * i : 5 * i + 5])
                fields.append(pa.field(name, kind))
                if mixed:
                    notes.append(f"column {name!r} holds {mixed}: it is read as text")
        return pa.schema(fields), notes

    def has_row_ids(self, table: str | None) -> bool:
        if table is None:
            return False
        is_table = self._ask("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", table)
        return bool(is_table) and self._row_id(table) is not None

    def bounds(self, table: str) -> tuple[int, int, int]:
        row = self._row_id(table)
        first, last, rows = self._ask(f"SELECT min({row}), max({row}), count(*) FROM {quoted_name(table)}")[0]  # noqa: S608
        return first or 0, last or 0, rows

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        return int(self._ask(f"SELECT count(*) FROM {source_of(table, query)}{self._where(table, rows)}")[0][0])  # noqa: S608

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        columns = [_sqlite_value(f) for f in schema]
        # ADBC tells a column's type from the first rows: one of the right types is put before them.
        sample = [_SAMPLES[f.type] for f in schema]
        order = ""
        if rows is not None and table is not None:
            row = self._row_id(table)
            columns, sample, order = [*columns, str(row)], [*sample, "0"], f" ORDER BY {row}"
            schema = schema.append(pa.field(ROW, pa.int64()))
        chosen = f"SELECT {', '.join(columns)} FROM {source_of(table, query)}{self._where(table, rows)}{order}"  # noqa: S608
        told = f"SELECT {', '.join(sample)} UNION ALL SELECT * FROM ({chosen})"  # noqa: S608
        skip = 1
        with self._adbc() as cursor, refusing(self.shown):
            cursor.execute(told)
            for batch in cursor.fetch_record_batch():
                found = pa.Table.from_batches([batch]).slice(skip)
                skip = 0
                if found.num_rows:
                    yield found.rename_columns(schema.names).cast(schema), []

    def _row_id(self, table: str) -> str | None:
        """A name of the row id that no column hides; None where rows have none."""
        taken = {str(r[1]).lower() for r in self._ask(f"PRAGMA table_info({quoted_name(table)})")}
        free = [n for n in ("rowid", "_rowid_", "oid") if n not in taken]
        for name in free:
            with contextlib.suppress(DatabaseUnavailable):
                self._ask(f"SELECT {name} FROM {quoted_name(table)} LIMIT 0")  # noqa: S608
                return name
        return None

    def _where(self, table: str | None, rows: Range) -> str:
        if rows is None or table is None:
            return ""
        row = self._row_id(table)
        return f" WHERE {row} >= {rows[0]} AND {row} < {rows[1]}"

    def _ask(self, sql: str, *values: Any) -> list[Any]:
        with self._connected() as connection:
            return connection.execute(sql, values).fetchall()

    @contextlib.contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        with (
            refusing(self.shown),
            contextlib.closing(sqlite3.connect(self._uri, uri=True, timeout=WAIT_SECONDS)) as connection,
        ):
            connection.text_factory = lambda b: b.decode("utf-8", "replace")
            yield connection

    @contextlib.contextmanager
    def _adbc(self) -> Iterator[Any]:
        try:
            from adbc_driver_sqlite import dbapi
        except ImportError as error:
            raise missing("adbc-driver-sqlite", "sql", "to read SQLite tables") from error
        with refusing(self.shown), dbapi.connect(self._uri) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(BATCH)})
            yield cursor

    @property
    def _uri(self) -> str:
        return f"file:{quote(self.path)}?mode=ro"


_KINDS = (
    "max(typeof($) = 'integer'), max(typeof($) = 'real'), max(typeof($) = 'text'), max(typeof($) = 'blob'), "
    f"max(typeof($) = 'integer' AND ($ > {_EXACT} OR $ < -{_EXACT}))"
)
_SAMPLES = {pa.int64(): "0", pa.float64(): "0.5", pa.string(): "''", pa.binary(): "x''"}


def _sqlite_type(found: Sequence[int | None]) -> tuple[pa.DataType, str]:
    """The type that all values of a column have, or text; and what is mixed in it."""
    integers, reals, texts, blobs, large = (bool(f) for f in found)
    kinds = [n for n, k in (("whole numbers", integers), ("numbers", reals), ("text", texts), ("bytes", blobs)) if k]
    if kinds in (["whole numbers", "numbers"], ["numbers"]) and not large:
        return pa.float64(), ""
    if len(kinds) <= 1:
        return {"whole numbers": pa.int64(), "bytes": pa.binary()}.get("".join(kinds), pa.string()), ""
    return pa.string(), " and ".join(kinds)


def _sqlite_value(column: pa.Field) -> str:
    """A column of one type, whatever SQLite keeps in it; numbers as text have all of their digits."""
    name = quoted_name(column.name)
    if column.type == pa.float64():
        return f"CAST({name} AS REAL)"
    if column.type == pa.string():
        return (
            f"CASE typeof({name}) WHEN 'real' THEN printf('%!.17g', {name}) WHEN 'integer' THEN CAST({name} AS TEXT) "
            f"WHEN 'blob' THEN 'x''' || hex({name}) || '''' ELSE {name} END"
        )
    return name


# --- DuckDB ---------------------------------------------------------------------------------
@dataclass(frozen=True)
class _DuckDb:
    path: str
    shown: str

    def tables(self) -> list[str]:
        told = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'main' ORDER BY table_name"
        return [name for (name,) in self._ask(told)]

    def schema(self, table: str | None, query: str | None) -> tuple[pa.Schema, list[str]]:
        with self._connected() as connection:
            chosen = connection.sql(query or f"SELECT * FROM {quoted_name(str(table))}")  # noqa: S608
            # A subquery would give columns of one name new ones.
            found = chosen.limit(0).to_arrow_table().rename_columns(chosen.columns).schema
            return pa.schema([pa.field(f.name, _undictionaried(f.type)) for f in found]), []

    def has_row_ids(self, table: str | None) -> bool:
        if table is None:
            return False
        told = "SELECT table_type FROM information_schema.tables WHERE table_schema = 'main' AND table_name = ?"
        return self._ask(told, table) == [("BASE TABLE",)]

    def bounds(self, table: str) -> tuple[int, int, int]:
        first, last, rows = self._ask(f"SELECT min(rowid), max(rowid), count(*) FROM {quoted_name(table)}")[0]  # noqa: S608
        return (first or 0) + 1, (-1 if last is None else last) + 1, rows

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        return int(self._ask(f"SELECT count(*) FROM {source_of(table, query)}{_duck_where(rows)}")[0][0])  # noqa: S608

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        # Row ids begin at 0, and rows are numbered from 1.
        row = "" if rows is None else f", rowid + 1 AS {ROW}"
        order = "" if rows is None else " ORDER BY rowid"
        told = query if table is None else f"SELECT *{row} FROM {quoted_name(table)}{_duck_where(rows)}{order}"  # noqa: S608
        with self._connected() as connection:
            kinds = schema if rows is None else schema.append(pa.field(ROW, pa.int64()))
            for batch in connection.sql(str(told)).to_arrow_reader(BATCH):
                yield pa.Table.from_batches([batch]).cast(kinds), []

    def _ask(self, sql: str, *values: Any) -> list[Any]:
        with self._connected() as connection:
            found: list[Any] = connection.execute(sql, list(values)).fetchall()
            return found

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        import duckdb

        with refusing(self.shown), contextlib.closing(duckdb.connect(self.path, read_only=True)) as connection:
            yield connection


def _duck_where(rows: Range) -> str:
    return "" if rows is None else f" WHERE rowid >= {rows[0] - 1} AND rowid < {rows[1] - 1}"


def _undictionaried(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind
