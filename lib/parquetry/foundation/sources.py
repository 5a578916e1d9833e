"""What ingest reads: a Source cut into Pieces, and ``open_source``, which finds the right one.

A Source is cut by its content alone, never by the number of workers. A Piece travels to a worker,
reads its rows in bounded batches and sets aside what cannot be read at all; the contract then
decides about the rest. So every engine accepts and rejects the same rows.
"""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.errors import BadParameter, EmptyDataset, did_you_mean

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Contract

Positions = npt.NDArray[np.int64]

WRITTEN = ("csv", "jsonl", "excel")
"""Kinds of sources whose values are written as texts: what they are is inferred. All others have types of their own."""

REJECTS: pa.Schema = pa.schema(
    [("file", pa.string()), ("row", pa.int64()), ("raw", pa.string()), ("reason", pa.string())]
)
"""A rejected row: its file; its line, from 1 (its row, from 1, where the source has no lines); its raw text; why."""
_COMPRESSED = (".gz", ".zst", ".bz2")
_HOMES = {
    "csv": ("csv_source", "Csv"),
    "jsonl": ("json_lines", "JsonLines"),
    "excel": ("excel", "Excel"),
    "parquet": ("tables", "ParquetTable"),
    "delta": ("tables", "DeltaTable"),
    "sql": ("sql", "SqlTable"),
}
_SUFFIXES = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".tab": "csv", ".psv": "csv", ".data": "csv",
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl",
    ".xlsx": "excel", ".xls": "excel", ".xlsm": "excel", ".xlsb": "excel", ".ods": "excel",
    ".parquet": "parquet", ".parq": "parquet", ".pq": "parquet",
    ".db": "sql", ".sqlite": "sql", ".sqlite3": "sql", ".duckdb": "sql",
}  # fmt: skip


@dataclass(frozen=True)
class Parsed:
    """One batch of a piece's rows.

    Attributes
    ----------
    table : pyarrow.Table
        The rows that could be read: the source's columns by name, in the source's order. Text
        sources give strings (or, told by a contract, its types); typed sources their own types.
    bad : pyarrow.Table
        The rows that could not, with the schema ``REJECTS``.
    rows_in : int
        Rows of this batch, counted apart from what parses them: ``table`` and ``bad`` must add up to it.
    lines : callable
        The lines (or rows, from 1) in the file of some rows of ``table``, by their positions in it.
    raw : callable
        The raw text of some rows of ``table``, by their positions in it.
    done : frozenset of str
        Columns whose values are the contract's already: its types, its missing values.
    strings : frozenset of str
        Of a source that tells texts from numbers, the columns in which this batch has a text: its
        digits are no number, nor is ``true`` a truth value, unless a contract says so.
    """

    table: pa.Table
    bad: pa.Table
    rows_in: int
    lines: Callable[[Positions], Positions]
    raw: Callable[[Positions], list[str]]
    done: frozenset[str] = frozenset()
    strings: frozenset[str] = frozenset()


@runtime_checkable
class Piece(Protocol):
    """A part of one file, read by one task; small and picklable."""

    @property
    def file(self) -> str:
        """The file's name as the user knows it."""

    # A piece that is read by Python code, one row after another, says ``holds_gil = True``:
    # an engine then does better with processes than with threads.

    @property
    def size(self) -> int:
        """About how many bytes it holds, uncompressed: small pieces travel together."""

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """Its rows in order, in batches of bounded memory.

        Parameters
        ----------
        contract : Contract or None
            None while a contract is inferred. With one, a source may give columns of the contract's
            types where its own parser finds exactly the values that the contract would.
        """


@runtime_checkable
class Source(Protocol):
    """Where rows come from. Opening one reads no more than the beginnings of files."""

    @property
    def kind(self) -> str:
        """``"csv"``, ``"jsonl"``, ``"excel"``, ``"parquet"``, ``"delta"`` or ``"sql"``."""

    @property
    def schema(self) -> pa.Schema:
        """The columns as the source gives them: strings throughout for a text source."""

    @property
    def files(self) -> tuple[str, ...]:
        """The files' names as the user knows them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out or assumed about the source, for people."""

    def pieces(self, engine: Engine) -> Sequence[Piece]:
        """Its pieces in order; what has to be read to find them is read by the engine."""


@dataclass(frozen=True)
class WrittenFiles:
    """Files whose values are written as texts, with one set of columns: the head of a source of such.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    paths, files : tuple of str
        On the filesystem, and as the user knows them.
    names : tuple of str
        The columns.
    """

    filesystem: pafs.FileSystem
    paths: tuple[str, ...]
    files: tuple[str, ...]
    names: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """Strings throughout."""
        return pa.schema([(n, pa.string()) for n in self.names])


def open_source(source: str | os.PathLike[str], *, engine: Engine | None = None, **options: Any) -> Source:
    """Open what is to be ingested.

    Parameters
    ----------
    source : path or URL
        A file, a folder or a glob of text tables (``.csv``, ``.tsv``, ``.txt``; also ``.gz``,
        ``.zst``, ``.bz2``), JSON lines, an Excel workbook, Parquet, a Delta table, a database
        file, or a database's URL (``sqlite:///…``, ``duckdb:///…``).
    engine : Engine, default None
        What looks at the beginnings of many text tables, or the footers of many Parquet files; None looks at
        one after another.
    **options
        What the kind of source understands (``delimiter=`` of a text table, ``sheet=`` of a
        workbook …); None counts as not given.

    Raises
    ------
    BadParameter
        An option that the kind of source does not have, or a source of no known kind.
    DatasetNotFound, EmptyDataset, AccessDenied
    """
    given = {name: value for name, value in options.items() if value is not None}
    kind = given.pop("kind", None) or source_kind(source)
    if kind not in _HOMES:
        raise BadParameter(f"kind={kind!r} is no kind of source.", why=did_you_mean(kind, _HOMES))
    module, name = _HOMES[kind]
    home = getattr(importlib.import_module(f"parquetry.foundation.{module}"), name)
    known = [p for p in inspect.signature(home.open).parameters if p not in ("source", "engine")]
    for option in given:
        if option not in known:
            raise BadParameter(
                f"{option}= is not for a source of the kind {kind!r}.",
                why=f"{os.fspath(source)} is one; its options: {', '.join(known) or 'none'}.",
                fix="Leave it out.",
            )
    if engine is not None and "engine" in inspect.signature(home.open).parameters:
        given["engine"] = engine
    opened: Source = home.open(source, **given)
    return opened


def source_kind(source: str | os.PathLike[str]) -> str:
    """The kind of a source, by its suffix or URL; a folder or glob by that of its files.

    Raises
    ------
    BadParameter
        Its files are of several kinds.
    EmptyDataset
        It is a folder without files.
    """
    text = os.fspath(source)
    scheme = text.partition("://")[0].partition("+")[0].lower() if "://" in text else ""
    if scheme in ("sqlite", "duckdb", "postgresql", "postgres", "mysql", "mariadb", "mssql", "oracle", "adbc"):
        return "sql"
    known = kind_of_name(text)
    if known is not None:
        return known
    filesystem, path = storage.resolve(text)
    from parquetry.footers import is_delta

    if is_delta(filesystem, path):
        return "delta"
    base, files = storage.list_files(filesystem, path)
    kinds = sorted({kind_of_name(f) or "csv" for f in files})
    if not files:
        raise EmptyDataset(f"There is no file in {text}.", fix=f"Check what is in {base}.")
    if len(kinds) > 1:
        raise BadParameter(
            f"{text} holds files of several kinds: {', '.join(kinds)}.",
            why="They would not have the same columns.",
            fix=f"Name the files of one kind, as in '{text.rstrip('/')}/*.csv'.",
        )
    return kinds[0]


def kind_of_name(name: str) -> str | None:
    """The kind that a file's name tells, looking under ``.gz`` and the like; None where it tells none."""
    lowered = name.lower()
    for suffix in _COMPRESSED:
        lowered = lowered.removesuffix(suffix)
    return _SUFFIXES.get(os.path.splitext(lowered)[1])


def rejects(file: str, rows: Any, raw: Sequence[str], reasons: Sequence[str]) -> pa.Table:
    """A table of rejected rows of one file."""
    return pa.table([[file] * len(raw), rows, list(raw), list(reasons)], schema=REJECTS)
