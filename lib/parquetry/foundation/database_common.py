"""What all databases that rows are read from have in common."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from parquetry.errors import DatabaseUnavailable, ParquetryError

ROW = "__row__"
"""The column of row ids that comes with the rows of a table."""
BATCH = 32_768
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


@contextlib.contextmanager
def refusing(shown: str) -> Iterator[None]:
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


def source_of(table: str | None, query: str | None) -> str:
    """What stands behind FROM."""
    return quoted_name(table) if table is not None else f"({query})"


def quoted_name(text: str) -> str:
    """A name as SQL has it."""
    return '"' + text.replace('"', '""') + '"'
