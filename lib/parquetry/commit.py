"""Committed output: workers write Parquet files, the driver commits them through the Delta log.

Readers see the old table or the new one, never a part of it: a file that no commit names is not
in the table. Files of a failed write are removed; those of a lost worker's first try stay
unnamed, and Delta's own ``vacuum`` takes them.

While a write runs, a small file ``_writing-<token>`` marks it. It goes first when the write fails,
so a worker that finishes late sees that nobody waits for its file, and removes it.
"""

from __future__ import annotations

import json
import os
import posixpath
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import footers, storage
from parquetry.delta import store_options, table_uri
from parquetry.errors import (
    BadParameter,
    OutputExists,
    OutputNotWritable,
    ParquetryError,
    WriteConflict,
    WrongColumnType,
)

MODES = ("fail", "append", "overwrite")
ROWS_A_GROUP = 122_880
"""Rows of a row group: the unit of later work; with 20 float columns about 20 MB."""
_ROWS_A_FILE = 64 * ROWS_A_GROUP
_BYTES_A_GROUP = 128 * 2**20
_MARKER = "_writing-"
_RUN = "parquetry.run"
_MOST_DIGITS = 38  # of a decimal, to Delta and to Spark


@dataclass(frozen=True)
class Part:
    """One Parquet file that a worker has written, not yet part of the table."""

    path: str
    size: int
    rows: int


@dataclass(frozen=True)
class PartWriter:
    """Writes files into a table's folder; small, and travels to the workers.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    folder : str
    schema : pyarrow.Schema
        What every file has.
    token : str
        In the name of every file of one write, so that a failed one can be cleaned up.
    dictionary : bool or tuple of str, default True
        Which columns are written as codes into their distinct values where that is shorter.
    """

    filesystem: pafs.FileSystem
    folder: str
    schema: pa.Schema
    token: str
    dictionary: bool | tuple[str, ...] = True

    def write(self, index: int, tables: Iterable[pa.Table]) -> list[Part]:
        """Write tables as files numbered from ``index``; a table without rows writes nothing."""
        parts: list[Part] = []
        pieces = _pieces(tables, self.schema)
        for first in pieces:
            name = f"part-{index:08d}-{len(parts):04d}-{self.token}-{uuid.uuid4().hex[:8]}.parquet"
            parts.append(self._write_file(name, first, pieces))
        return parts

    def _write_file(self, name: str, first: pa.Table, pieces: Iterator[pa.Table]) -> Part:
        """One file: the first piece, and as many more as it takes to fill it."""
        path, rows, piece = posixpath.join(self.folder, name), 0, first
        self._require_wanted()
        try:
            coded = self.dictionary if isinstance(self.dictionary, bool) else list(self.dictionary)
            with pq.ParquetWriter(
                path,
                self.schema,
                filesystem=self.filesystem,
                compression="zstd",
                use_dictionary=coded,
                write_page_index=True,
            ) as writer:
                while piece is not None:
                    writer.write_table(piece, row_group_size=2 * ROWS_A_GROUP)
                    rows += piece.num_rows
                    piece = next(pieces, None) if rows < _ROWS_A_FILE else None
            self._require_wanted()
        except BaseException:
            with suppress(OSError):
                self.filesystem.delete_file(path)
            raise
        return Part(name, int(self.filesystem.get_file_info(path).size), rows)

    def _require_wanted(self) -> None:
        marker = posixpath.join(self.folder, f"{_MARKER}{self.token}")
        if self.filesystem.get_file_info(marker).type == pafs.FileType.NotFound:
            raise WriteConflict(
                f"{self.folder}: this write has been given up.",
                why="Another of its tasks failed, or this worker cannot see the folder that the driver sees.",
                fix="Look at the first error; write to a place that every worker can reach.",
            )


class CommittedWrite:
    """One write to one table: check first, write parts, commit once, or leave nothing behind.

    Parameters
    ----------
    path : str
        A local path or URL.
    mode : {"fail", "append", "overwrite"}
    run_id : str, default None
        What was committed to the table under it before is not committed again.
    alone : bool, default False
        Whether the commit is refused where somebody else has committed since this write began.

    Raises
    ------
    OutputExists, OutputNotWritable, BadParameter
        At once, before any work.
    """

    def __init__(
        self, path: str | os.PathLike[str], mode: str, *, run_id: str | None = None, alone: bool = False
    ) -> None:
        path = os.fspath(path)
        self.uri, self.mode, self.run_id, self.alone = path, mode, run_id, alone
        self.record: dict[str, str] = {}
        self.filesystem, self.folder = storage.resolve(path)
        self.token = uuid.uuid4().hex[:12]
        self._exists = check_output(path, mode)
        self._since = self._table().version() if alone and self._exists else None

    @property
    def exists(self) -> bool:
        """Whether there was a table when this write began."""
        return self._exists

    @property
    def recorded(self) -> dict[str, str] | None:
        """What was recorded with the commit under this run id; None where there is no such commit.

        Raises
        ------
        OutputExists
            There is one, and its record is gone: the log keeps records for a month or so.
        """
        if not self._committed_before():
            return None
        for entry in self._table().history():
            if entry.get(_RUN) == self.run_id:
                return {key: value for key, value in entry.items() if isinstance(value, str)}
        raise OutputExists(
            f"{self.uri} has the rows of the run {self.run_id!r} already.",
            why="The log no longer keeps what that run told.",
            fix="Nothing is to be done; a new run needs another id.",
        )

    def _committed_before(self) -> bool:
        if self.run_id is None or not footers.is_delta(self.filesystem, self.folder):
            return False
        return self._table().transaction_version(f"{_RUN}:{self.run_id}") is not None

    def require_unchanged(self) -> None:
        """Refuse where the write is to be alone, and somebody else has committed since it began.

        Raises
        ------
        WriteConflict
        """
        there = footers.is_delta(self.filesystem, self.folder)
        if self.alone and (there if not self._exists else self._table().version() != self._since):
            raise _conflict(self.uri, "another write has been committed since this one began")

    def writer(self, schema: pa.Schema) -> PartWriter:
        """What the workers write with."""
        return PartWriter(self.filesystem, self.folder, storable(schema), self.token)

    def run(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[Part]]) -> None:
        """Let ``write`` make the parts, then commit them; what was refused or never committed is removed."""
        writer = self.writer(schema)
        self._check_table(writer.schema)
        marker = posixpath.join(self.folder, f"{_MARKER}{self.token}")
        self.filesystem.create_dir(self.folder, recursive=True)
        with self.filesystem.open_output_stream(marker) as stream:
            stream.write(b"")
        try:
            parts = list(write(writer))
        except BaseException:
            self._give_up(marker)
            raise
        try:
            self.commit(writer.schema, parts)
        except ParquetryError:
            self._give_up(marker)
            raise
        # Any other end of a commit may have come after the log took it: its files must stay.
        with suppress(OSError):  # the rows are committed: what is left of the marker does no harm
            self.filesystem.delete_file(marker)

    def _give_up(self, marker: str) -> None:
        with suppress(OSError):
            self.filesystem.delete_file(marker)
        self.clean_up()

    def commit(self, schema: pa.Schema, parts: Sequence[Part]) -> None:
        """Name the parts in the table's log: the one moment at which readers see them."""
        from deltalake import CommitProperties, Schema, Transaction
        from deltalake.exceptions import CommitFailedError, DeltaError
        from deltalake.transaction import AddAction, create_table_with_add_actions

        if self._committed_before():
            self.clean_up()
            return
        self.require_unchanged()
        now = int(time.time() * 1000)
        stats = [json.dumps({"numRecords": p.rows}) for p in parts]
        actions = [
            AddAction(p.path, p.size, {}, now, data_change=True, stats=s) for p, s in zip(parts, stats, strict=True)
        ]
        delta_schema = Schema.from_arrow(schema)
        # Without retries, where a second try would append to what another writer has made meanwhile.
        told = CommitProperties(
            custom_metadata={_RUN: self.run_id, **self.record} if self.run_id else None,
            max_commit_retries=0 if self.alone or not self._exists else None,
            app_transactions=[Transaction(f"{_RUN}:{self.run_id}", 1)] if self.run_id else None,
        )
        try:
            if self._exists:
                table = self._table()
                _check_existing(table, delta_schema, self.mode)
                table.create_write_transaction([*actions], self.mode, delta_schema, [], commit_properties=told)
            else:
                where, options = self._where()
                create_table_with_add_actions(
                    where, delta_schema, actions, mode="error", storage_options=options, commit_properties=told
                )
        except OSError as error:
            raise OutputNotWritable(
                f"{self.uri}: the commit could not be written.",
                why=str(error),
                fix="Check the credentials and the disk.",
            ) from error
        except (CommitFailedError, DeltaError) as error:
            raise _conflict(self.uri, str(error)) from error

    def clean_up(self) -> None:
        """Remove this write's files, which no commit names."""
        if self.filesystem.get_file_info(self.folder).type != pafs.FileType.Directory:
            return
        entries = self.filesystem.get_file_info(pafs.FileSelector(self.folder))
        for entry in entries:
            if f"-{self.token}-" in entry.base_name:
                with suppress(FileNotFoundError):  # its worker has removed it
                    self.filesystem.delete_file(entry.path)
        if not self._exists and storage.is_local(self.filesystem):
            with suppress(OSError):  # it is not empty: another writer is at work there
                os.rmdir(self.folder)

    def _check_table(self, schema: pa.Schema) -> None:
        """What can be refused before the work: the commit itself looks again."""
        from deltalake import Schema

        if self._exists:
            _check_existing(self._table(), Schema.from_arrow(schema), self.mode)

    def _where(self) -> tuple[str, dict[str, str] | None]:
        return table_uri(self.uri, self.filesystem, self.folder), store_options()

    def _table(self) -> Any:
        from deltalake import DeltaTable

        where, options = self._where()
        return DeltaTable(where, storage_options=options)


def _conflict(uri: str, why: str) -> WriteConflict:
    return WriteConflict(
        f"{uri}: the commit was refused.",
        why=f"Somebody else committed to the table first: {why}",
        fix="Look at the table and run the write again.",
    )


def check_output(path: str, mode: str) -> bool:
    """Whether there is a Delta table at ``path`` already; raises where the mode forbids the write."""
    if mode not in MODES:
        raise BadParameter(f"mode={mode!r} is no way of writing.", fix=f"Use one of {', '.join(map(repr, MODES))}.")
    filesystem, folder = storage.resolve(path)
    info = storage.stat(filesystem, folder)
    exists = info.type == pafs.FileType.Directory and footers.is_delta(filesystem, folder)
    if exists and mode == "fail":
        raise OutputExists(f"There is a table at {path!r} already.", fix="Pass mode='overwrite' or mode='append'.")
    occupied = info.type == pafs.FileType.File
    if info.type == pafs.FileType.Directory and not exists:
        occupied = not _abandoned([i.base_name for i in filesystem.get_file_info(pafs.FileSelector(folder))])
    if occupied:
        raise OutputExists(
            f"{path!r} holds something that is not a Delta table.",
            why="It was not written by a committed write, so it is not replaced.",
            fix="Choose another path, or remove it.",
        )
    _probe(filesystem, folder, path)
    return exists


def storable(schema: pa.Schema) -> pa.Schema:
    """The nearest schema that a Delta table can hold without losing a value.

    Raises
    ------
    WrongColumnType
        Naming a column of a type that it cannot hold.
    """
    schema = common_schema(schema)
    for f in schema:
        if pa.types.is_time(f.type) or pa.types.is_duration(f.type) or pa.types.is_date64(f.type):
            raise WrongColumnType(
                f"Column {f.name!r} is {f.type}, which a Delta table cannot hold.",
                fix="Convert it to a number, a text or a timestamp first, or leave it out.",
            )
        if pa.types.is_decimal(f.type) and f.type.precision > _MOST_DIGITS:
            raise WrongColumnType(
                f"Column {f.name!r} is {f.type}, of more digits than the {_MOST_DIGITS} that a Delta table can hold.",
                fix="Convert it to a decimal of fewer digits, a float or a text first, or leave it out.",
            )
    return schema


def fitted(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in the schema's order and types.

    Raises
    ------
    WrongColumnType
        A value does not fit, as an unsigned one beyond 2**63 in a Delta table.
    """
    table = table.select(schema.names)
    if table.schema.equals(schema):
        return table
    try:
        return table.cast(schema)
    except pa.ArrowInvalid as error:
        raise WrongColumnType(
            f"{_unfitting(table, schema)} does not fit the type that the table is written with.",
            why=str(error),
            fix="Convert its column to a text, a decimal or a float first, or leave it out.",
        ) from error


def _unfitting(table: pa.Table, schema: pa.Schema) -> str:
    """Which column holds a value that cannot be cast."""
    for name in schema.names:
        try:
            table.column(name).cast(schema.field(name).type)
        except pa.ArrowInvalid:
            return f"Column {name!r} ({table.schema.field(name).type}): a value"
    return "A value"


def common_schema(schema: pa.Schema) -> pa.Schema:
    """Each column in the nearest type that Delta and Spark know and that loses no value."""
    return pa.schema([pa.field(f.name, _common_type(f.type)) for f in schema])


def _common_type(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_unsigned_integer(kind) or pa.types.is_float16(kind):
        wider = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.float16(): pa.float32()}
        return wider.get(kind, pa.int64())
    if pa.types.is_decimal(kind) and kind.precision <= _MOST_DIGITS:
        return pa.decimal128(kind.precision, kind.scale)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", tz="UTC" if kind.tz else None)
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.binary()
    return kind


def _pieces(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.Table]:
    """The rows in pieces of one row group each: small tables put together, large ones cut."""
    waiting: list[pa.Table] = []
    rows = nbytes = 0
    for table in tables:
        for start in range(0, table.num_rows, ROWS_A_GROUP):
            waiting.append(fitted(table.slice(start, ROWS_A_GROUP), schema))
            rows += waiting[-1].num_rows
            nbytes += waiting[-1].nbytes
            if rows >= ROWS_A_GROUP or nbytes >= _BYTES_A_GROUP:
                yield pa.concat_tables(waiting)
                waiting, rows, nbytes = [], 0, 0
    if waiting:
        yield pa.concat_tables(waiting)


def _abandoned(names: Sequence[str]) -> bool:
    """Whether all files are those of writes that ended without a commit and without cleaning up."""
    tokens = [n.removeprefix(_MARKER) for n in names if n.startswith(_MARKER)]
    return all(any(token in name for token in tokens) for name in names)


def _probe(filesystem: pafs.FileSystem, folder: str, path: str) -> None:
    """Write and remove a small file, so that missing permission is known before the work."""
    if storage.is_local(filesystem):
        # The nearest folder that is there: no empty folder stays behind if no write follows.
        while filesystem.get_file_info(folder).type == pafs.FileType.NotFound:
            folder = posixpath.dirname(folder)
    probe = posixpath.join(folder, f"_probe-{uuid.uuid4().hex[:8]}")
    try:
        with filesystem.open_output_stream(probe) as stream:
            stream.write(b"")
        filesystem.delete_file(probe)
    except OSError as error:
        raise OutputNotWritable(
            f"{path!r} cannot be written to.", why=str(error), fix="Choose another place, or check the permissions."
        ) from error


def _check_existing(table: Any, schema: Any, mode: str) -> None:
    if table.metadata().partition_columns:
        raise OutputExists(
            f"{table.table_uri} is a partitioned table.",
            why="Committed writes make tables without partitions, and one table cannot be both.",
            fix="Choose another path.",
        )
    old = pa.schema(table.schema().to_arrow())
    new = pa.schema(schema.to_arrow())
    if mode == "append" and {f.name: f.type for f in old} != {f.name: f.type for f in new}:
        raise WrongColumnType(
            f"{table.table_uri}: what is appended has other columns than the table.",
            why=f"The table has {old.names}, the new rows {new.names}, or their types differ.",
            fix="Append the same columns, or use mode='overwrite'.",
        )
