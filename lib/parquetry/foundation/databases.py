"""Databases that rows are read from: SQLite, DuckDB, and whatever SQLAlchemy knows."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, unquote

import pyarrow as pa

from parquetry.errors import BadParameter, DatabaseUnavailable, DatasetNotFound, ParquetryError, missing

ROW = "__row__"
"""The column of row ids that comes with the rows of a table."""
WAIT_SECONDS = 5.0
"""How long a lock of SQLite is waited for."""
_BATCH = 32_768
_LOOK = 10_000  # rows from which the types of another database's columns are told
_COLUMNS_A_QUERY = 100
_EXACT = 2**53  # whole numbers up to here are floats as well
Range = tuple[int, int] | None
Bad = list[tuple[int, str, str]]


class Database(Protocol):
    """Where tables and queries are read; small and picklable, each call connects anew."""

    @property
    def shown(self) -> str:
        """How messages name it; without a password."""

    def tables(self) -> list[str]:
        """Tables and views that are the user's own."""

    def schema(self, table: str | None, query: str | None) -> tuple[pa.Schema, list[str]]:
        """The columns of a table or query, and what is worth a note."""

    def has_row_ids(self, table: str | None) -> bool:
        """Whether the rows of a table are numbered."""

    def bounds(self, table: str) -> tuple[int, int, int]:
        """The first and the last row id, and how many rows there are."""

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        """How many rows a piece has."""

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        """Its rows in batches, with ``ROW`` where ``rows`` is a range; and rows that the driver cannot give."""


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
    return _Alchemy.open(source)


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
            cursor = connection.execute(f"SELECT * FROM {_from(table, query)} LIMIT 0")  # noqa: S608 (quoted)
            names = [d[0] for d in cursor.description]
        fields, notes = [], []
        for start in range(0, len(names), _COLUMNS_A_QUERY):
            part = names[start : start + _COLUMNS_A_QUERY]
            asked = ", ".join(f"{_KINDS.replace('$', _name(n))}" for n in part)
            row = self._ask(f"SELECT {asked} FROM {_from(table, query)}")[0]  # noqa: S608
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
        first, last, rows = self._ask(f"SELECT min({row}), max({row}), count(*) FROM {_name(table)}")[0]  # noqa: S608
        return first or 0, last or 0, rows

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        return int(self._ask(f"SELECT count(*) FROM {_from(table, query)}{self._where(table, rows)}")[0][0])  # noqa: S608

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
        chosen = f"SELECT {', '.join(columns)} FROM {_from(table, query)}{self._where(table, rows)}{order}"  # noqa: S608
        told = f"SELECT {', '.join(sample)} UNION ALL SELECT * FROM ({chosen})"  # noqa: S608
        skip = 1
        with self._adbc() as cursor, _refusing(self.shown):
            cursor.execute(told)
            for batch in cursor.fetch_record_batch():
                found = pa.Table.from_batches([batch]).slice(skip)
                skip = 0
                if found.num_rows:
                    yield found.rename_columns(schema.names).cast(schema), []

    def _row_id(self, table: str) -> str | None:
        """A name of the row id that no column hides; None where rows have none."""
        taken = {str(r[1]).lower() for r in self._ask(f"PRAGMA table_info({_name(table)})")}
        free = [n for n in ("rowid", "_rowid_", "oid") if n not in taken]
        for name in free:
            with contextlib.suppress(DatabaseUnavailable):
                self._ask(f"SELECT {name} FROM {_name(table)} LIMIT 0")  # noqa: S608
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
            _refusing(self.shown),
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
        with _refusing(self.shown), dbapi.connect(self._uri) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(_BATCH)})
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
    name = _name(column.name)
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
            chosen = connection.sql(query or f"SELECT * FROM {_name(str(table))}")  # noqa: S608
            # A subquery would give columns of one name new ones.
            found = chosen.limit(0).to_arrow_table().rename_columns(chosen.columns).schema
            return pa.schema([pa.field(f.name, _undictionaried(f.type)) for f in found]), []

    def has_row_ids(self, table: str | None) -> bool:
        if table is None:
            return False
        told = "SELECT table_type FROM information_schema.tables WHERE table_schema = 'main' AND table_name = ?"
        return self._ask(told, table) == [("BASE TABLE",)]

    def bounds(self, table: str) -> tuple[int, int, int]:
        first, last, rows = self._ask(f"SELECT min(rowid), max(rowid), count(*) FROM {_name(table)}")[0]  # noqa: S608
        return (first or 0) + 1, (-1 if last is None else last) + 1, rows

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        return int(self._ask(f"SELECT count(*) FROM {_from(table, query)}{_duck_where(rows)}")[0][0])  # noqa: S608

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        # Row ids begin at 0, and rows are numbered from 1.
        row = "" if rows is None else f", rowid + 1 AS {ROW}"
        order = "" if rows is None else " ORDER BY rowid"
        told = query if table is None else f"SELECT *{row} FROM {_name(table)}{_duck_where(rows)}{order}"  # noqa: S608
        with self._connected() as connection:
            kinds = schema if rows is None else schema.append(pa.field(ROW, pa.int64()))
            for batch in connection.sql(str(told)).to_arrow_reader(_BATCH):
                yield pa.Table.from_batches([batch]).cast(kinds), []

    def _ask(self, sql: str, *values: Any) -> list[Any]:
        with self._connected() as connection:
            found: list[Any] = connection.execute(sql, list(values)).fetchall()
            return found

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        import duckdb

        with _refusing(self.shown), contextlib.closing(duckdb.connect(self.path, read_only=True)) as connection:
            yield connection


def _duck_where(rows: Range) -> str:
    return "" if rows is None else f" WHERE rowid >= {rows[0] - 1} AND rowid < {rows[1] - 1}"


def _undictionaried(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


# --- any other ------------------------------------------------------------------------------
@dataclass(frozen=True)
class _Alchemy:
    url: str
    shown: str

    @classmethod
    def open(cls, url: str) -> _Alchemy:
        try:
            import sqlalchemy as sa
        except ImportError as error:
            raise missing("sqlalchemy", "sql", "to read from databases") from error
        try:
            engine = sa.create_engine(url)
        except sa.exc.NoSuchModuleError as error:
            raise BadParameter(
                f"SQLAlchemy knows no such database: {error}.", fix="Check the URL's first word."
            ) from error
        except sa.exc.ArgumentError as error:
            raise BadParameter(f"{url.partition('://')[0]}://… is no database's URL.", why=str(error)) from error
        except ImportError as error:
            raise DatabaseUnavailable(
                f"The driver of {url.partition('://')[0]!r} is not installed.",
                why=str(error),
                fix=f"Install the package {getattr(error, 'name', None) or 'that it names'!r}.",
            ) from error
        return cls(url, engine.url.render_as_string(hide_password=True))

    def tables(self) -> list[str]:
        import sqlalchemy as sa

        with self._connected() as connection:
            seen = sa.inspect(connection)
            return sorted([*seen.get_table_names(), *seen.get_view_names()])

    def schema(self, table: str | None, query: str | None) -> tuple[pa.Schema, list[str]]:
        with self._rows(table, query) as result:
            names, rows = list(result.keys()), result.fetchmany(_LOOK)
        kinds = [_value_type([row[i] for row in rows]) for i in range(len(names))]
        note = f"types are those of the first {_LOOK:,} rows; rows that do not fit them are rejected"
        return pa.schema(list(zip(names, kinds, strict=True))), [note]

    def has_row_ids(self, table: str | None) -> bool:
        return False

    def bounds(self, table: str) -> tuple[int, int, int]:
        raise NotImplementedError

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        import sqlalchemy as sa

        with self._connected() as connection:
            told = sa.select(sa.func.count()).select_from(self._chosen(table, query).subquery())
            return int(connection.execute(told).scalar_one())

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        with self._rows(table, query) as result:
            while found := result.fetchmany(_BATCH):
                yield _typed(found, schema)

    def _chosen(self, table: str | None, query: str | None) -> Any:
        import sqlalchemy as sa

        if query is not None:
            return sa.text(query).columns()
        return sa.select(sa.text("*")).select_from(sa.table(str(table)))

    @contextlib.contextmanager
    def _rows(self, table: str | None, query: str | None) -> Iterator[Any]:
        import sqlalchemy as sa

        with self._connected() as connection:
            told = sa.text(query) if query is not None else self._chosen(table, query)
            yield connection.execution_options(stream_results=True, max_row_buffer=_BATCH).execute(told)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        import sqlalchemy as sa

        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        with _refusing(self.shown), engine.connect() as connection:
            yield connection


def _value_type(values: list[Any]) -> pa.DataType:
    try:
        kind = pa.array(values).type
    except (pa.ArrowException, OverflowError):
        return pa.string()
    return pa.string() if pa.types.is_null(kind) else kind


def _typed(rows: Sequence[Any], schema: pa.Schema) -> tuple[pa.Table, Bad]:
    """Rows of Python values as a table; those that do not fit its types by themselves."""
    try:
        return _columns(rows, schema), []
    except (pa.ArrowException, TypeError, OverflowError):
        good, bad = [], []
        for i, row in enumerate(rows):
            try:
                _columns([row], schema)
                good.append(row)
            except (pa.ArrowException, TypeError, OverflowError) as error:
                bad.append((i, repr(tuple(row)), f"It does not fit the types of the first rows: {error}"))
        return _columns(good, schema), bad


def _columns(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    columns = []
    for i, f in enumerate(schema):
        values = [row[i] for row in rows]
        if pa.types.is_string(f.type):
            values = [v if v is None or isinstance(v, str) else str(v) for v in values]
        columns.append(pa.array(values, f.type))
    return pa.Table.from_arrays(columns, schema=schema)


# --- shared ---------------------------------------------------------------------------------
@contextlib.contextmanager
def _refusing(shown: str) -> Iterator[None]:
    """What a driver says, as a typed error; it never shows the URL's password."""
    try:
        yield
    except ParquetryError:
        raise
    except Exception as error:
        home = type(error).__module__.partition(".")[0]
        if home not in ("sqlite3", "adbc_driver_manager", "_duckdb", "duckdb", "sqlalchemy"):
            raise
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        locked = "lock" in said.lower() or "different configuration" in said
        raise DatabaseUnavailable(
            f"{shown} refused what was asked of it.",
            why=f"{type(error).__name__}: {said}",
            fix="Close whatever writes to it, and try again." if locked else "Check the URL, the query and the rights.",
        ) from error


def _from(table: str | None, query: str | None) -> str:
    return _name(table) if table is not None else f"({query})"


def _name(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
