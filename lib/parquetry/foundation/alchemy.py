"""Any database that SQLAlchemy knows: read in one piece, the types told by its first rows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from parquetry.errors import BadParameter, DatabaseUnavailable, missing
from parquetry.foundation.database_common import BATCH, Bad, Range, refusing

_LOOK = 10_000  # rows from which the types of another database's columns are told


@dataclass(frozen=True)
class Alchemy:
    """A database by its URL; ``shown`` is that without its password."""

    url: str
    shown: str

    @classmethod
    def open(cls, url: str) -> Alchemy:
        """Check the URL and that its driver is there; MissingDependency, BadParameter or DatabaseUnavailable else."""
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
        raise LookupError(f"{table}: what SQLAlchemy reaches has no row ids to cut by")

    def count(self, table: str | None, query: str | None, rows: Range) -> int:
        import sqlalchemy as sa

        with self._connected() as connection:
            told = sa.select(sa.func.count()).select_from(self._chosen(table, query).subquery())
            return int(connection.execute(told).scalar_one())

    def stream(
        self, table: str | None, query: str | None, schema: pa.Schema, rows: Range
    ) -> Iterator[tuple[pa.Table, Bad]]:
        with self._rows(table, query) as result:
            while found := result.fetchmany(BATCH):
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
            yield connection.execution_options(stream_results=True, max_row_buffer=BATCH).execute(told)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Any]:
        import sqlalchemy as sa

        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        with refusing(self.shown), engine.connect() as connection:
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
