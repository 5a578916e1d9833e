"""What Parquet footers tell before a row is read: schema, row groups, sizes, statistics."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.errors import AccessDenied, CorruptBlock, DatasetNotFound, NotParquet, SchemaDrift

if TYPE_CHECKING:
    from parquetry.engine import Engine

_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
_WHOLE_NUMBER = re.compile("0|-?[1-9][0-9]{0,17}")
_TAIL_BYTES = 64 * 2**10
_GROUP = 256  # files whose footers one task reads


@dataclass(frozen=True)
class RowGroup:
    """One row group as its footer describes it."""

    path: str
    name: str
    row_group: int
    num_rows: int
    nbytes: int
    partition: tuple[tuple[str, Any], ...]


@dataclass
class ColumnStats:
    """A column's statistics over all row groups; None where a footer does not tell."""

    nulls: int | None = 0
    minimum: Any = None
    maximum: Any = None
    complete: bool = True
    """Whether every row group with values gave its minimum and maximum."""


@dataclass(frozen=True)
class Summary:
    """All footers of a dataset, summed up."""

    schema: pa.Schema
    row_groups: tuple[RowGroup, ...]
    column_bytes: dict[str, int]
    stats: dict[str, ColumnStats]
    digest: bytes
    partition_columns: tuple[str, ...] = ()
    num_rows: int = 0


@dataclass
class _Totals:
    row_groups: list[RowGroup] = field(default_factory=list)
    column_bytes: dict[str, int] = field(default_factory=dict)
    stats: dict[str, ColumnStats] = field(default_factory=dict)
    digest: Any = field(default_factory=hashlib.sha256)


def is_delta(filesystem: pafs.FileSystem, path: str) -> bool:
    """Whether a folder is a Delta table."""
    return bool(storage.stat(filesystem, posixpath.join(path, "_delta_log")).type == pafs.FileType.Directory)


def hive_partitions(base: str) -> Callable[[str], dict[str, Any]]:
    """A function from a file's path to the values that its folders' names give."""

    def values(path: str) -> dict[str, Any]:
        folders = posixpath.relpath(path, base or ".").split("/")[:-1] if base else path.split("/")[:-1]
        pairs = (folder.partition("=") for folder in folders if "=" in folder)
        return {unquote(k): None if v == _HIVE_NULL else unquote(v) for k, _, v in pairs}

    return values


def read_footers(
    filesystem: pafs.FileSystem,
    base: str,
    paths: list[str],
    partitions: Callable[[str], dict[str, Any]],
    *,
    names: Sequence[str] | None = None,
    table_schema: pa.Schema | None = None,
    engine: Engine | None = None,
) -> Summary:
    """Read the footers of all files, in parallel, and check that they agree.

    Only what is summed up is held: a footer goes as soon as it has been added.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    base : str
        The folder that the files' names are relative to.
    paths : list of str
    partitions : callable
        From a path to the values that its folders or the table's log give.
    names : sequence of str, default None
        The files' names where they are not the paths relative to ``base``.
    table_schema : pyarrow.Schema, default None
        What a table's log says of its columns: types of partition values, and of a table without files.
    engine : Engine, default None
        Whose workers read the footers where there are many; None reads them here.

    Raises
    ------
    NotParquet, CorruptBlock, SchemaDrift, AccessDenied, DatasetNotFound
        Naming the file, and the column where it is one.
    """
    values = [partitions(p) for p in paths]
    partition_schema = _partition_schema(paths, values, table_schema)
    typed = [{k: _typed(v, partition_schema.field(k).type) for k, v in row.items()} for row in values]
    common = _CommonSchema(set(partition_schema.names))
    totals, last, owners = _Totals(), None, list[tuple[str, bool]]()
    names = names or [posixpath.relpath(p, base) if base else p for p in paths]
    found = _all_footers(filesystem, paths, engine)
    for path, name, metadata, partition in zip(paths, names, found, typed, strict=True):
        stored = metadata.schema.to_arrow_schema()
        if last is None or not stored.equals(last):
            common.add(path, stored)
            last, owners = stored, _owners(stored)
        _add_file(totals, path, name, metadata, tuple(partition.items()), owners)
    schema = common.schema if last is not None else _plain(table_schema or pa.schema([]), set(partition_schema.names))
    totals.digest.update(repr([(f.name, str(f.type)) for f in (*schema, *partition_schema)]).encode())
    return Summary(
        schema=pa.schema([*schema, *partition_schema]),
        row_groups=tuple(totals.row_groups),
        column_bytes=totals.column_bytes,
        stats=totals.stats,
        digest=totals.digest.digest(),
        partition_columns=tuple(partition_schema.names),
        num_rows=sum(rg.num_rows for rg in totals.row_groups),
    )


def _all_footers(filesystem: pafs.FileSystem, paths: Sequence[str], engine: Engine | None) -> Iterator[pq.FileMetaData]:
    """The footers in order; those of many files by an engine's workers, a group of files a task."""
    groups = [paths[i : i + _GROUP] for i in range(0, len(paths), _GROUP)]
    task = _FootersTask(filesystem)
    for group in map(task, groups) if engine is None or len(groups) < 2 else engine.map(task, groups, label="footers"):
        yield from group


@dataclass(frozen=True)
class _FootersTask:
    filesystem: pafs.FileSystem

    def __call__(self, paths: Sequence[str]) -> list[pq.FileMetaData]:
        return storage.side_by_side(self.filesystem, lambda p: _read_footer(self.filesystem, p), paths)


def _read_footer(filesystem: pafs.FileSystem, path: str) -> pq.FileMetaData:
    try:
        with filesystem.open_input_file(path) as file:
            metadata = _parsed(file, path)
        metadata.schema.to_arrow_schema()
        return metadata
    except NotParquet:
        raise
    except FileNotFoundError as error:
        raise DatasetNotFound(f"{path} is gone.", why=str(error), fix="List the folder again.") from error
    except PermissionError as error:
        raise AccessDenied(f"{path} may not be read.", why=str(error), fix="Check the permissions.") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _not_parquet(filesystem, path, error) from error


def _parsed(file: pa.NativeFile, path: str) -> pq.FileMetaData:
    """The footer out of one read of the file's end, or two where it is long."""
    size = file.size()
    tail = file.read_at(min(size, _TAIL_BYTES), max(0, size - _TAIL_BYTES))
    length = int.from_bytes(tail[-8:-4], "little")
    if len(tail) < length + 8 <= size:
        tail = file.read_at(length + 8, size - length - 8)
    metadata = pq.read_metadata(pa.BufferReader(tail))
    # A longer footer is a signed one, of a file with encrypted columns: asking pyarrow for such
    # a column's statistics would end the process.
    if length > metadata.serialized_size:
        raise _encrypted(path)
    return metadata


def _encrypted(path: str) -> NotParquet:
    return NotParquet(
        f"{path} is an encrypted Parquet file.", why="There is no key to read it with.", fix="Decrypt it first."
    )


def _not_parquet(filesystem: pafs.FileSystem, path: str, error: Exception) -> Exception:
    with filesystem.open_input_stream(path) as stream:
        start = stream.read(64)
    if start[:4] == b"PAR1":
        return CorruptBlock(
            f"{path}: the footer cannot be read.", why=f"{type(error).__name__}: {error}", fix="Write the file again."
        )
    if start[:4] == b"PARE":
        return _encrypted(path)
    if not start:
        return NotParquet(f"{path} is an empty file, not Parquet.", fix="Remove it, or write it again.")
    text = start.decode("utf-8", "replace").splitlines()[0]
    table_like = any(c in text for c in ",;\t")
    return NotParquet(
        f"{path} is not a Parquet file: it begins with {text[:40]!r}.",
        why="It looks like a CSV file." if table_like else "",
        fix="Bring it in first: parquetry ingest FILE TO, or parquetry.ingest; jobs take CSV as it is.",
    )


class _CommonSchema:
    """The first file's schema, which every other file's must be."""

    def __init__(self, partitions: set[str]) -> None:
        self._partitions = partitions
        self._path = ""
        self.schema = pa.schema([])

    def add(self, path: str, stored: pa.Schema) -> None:
        """Take a file's schema in.

        Raises
        ------
        SchemaDrift
        """
        schema = _plain(stored, self._partitions)
        if self._path:
            self._check(path, schema)
            return
        doubled = [n for n, times in Counter(schema.names).items() if times > 1]
        if doubled:
            raise SchemaDrift(f"{path} has more than one column {min(doubled)!r}.", fix="Rename the columns.")
        self._path, self.schema = path, schema

    def _check(self, path: str, schema: pa.Schema) -> None:
        kinds = {f.name: f.type for f in schema}
        for f in self.schema:
            if f.name not in kinds:
                raise _drift(path, f.name, "is missing", self._path, f.type)
            if kinds[f.name] != f.type:
                raise _drift(path, f.name, f"is {kinds[f.name]}", self._path, f.type)
        expected = set(self.schema.names)
        for name in [n for n in kinds if n not in expected]:
            raise _drift(path, name, f"is there as {kinds[name]}", self._path, "missing")
        if len(kinds) < len(schema):
            raise SchemaDrift(f"{path} has a column more than once.", fix="Rename the columns.")


def _drift(path: str, column: str, found: str, first: str, expected: Any) -> SchemaDrift:
    return SchemaDrift(
        f"{path}: column {column!r} {found}, but in {first} it is {expected}.",
        why="All files of a dataset share one schema.",
        fix="Write the file again with that schema, or open the two groups of files apart.",
    )


def _plain(schema: pa.Schema, partitions: set[str]) -> pa.Schema:
    """The schema without what may differ between files of one table: encodings and metadata."""
    fields = [pa.field(f.name, _plain_type(f.type)) for f in schema if f.name not in partitions]
    return pa.schema(fields)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    return pa.binary() if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) else kind


def _partition_schema(paths: list[str], values: list[dict[str, Any]], table_schema: pa.Schema | None) -> pa.Schema:
    names = list(values[0]) if values else []
    for path, row in zip(paths, values, strict=True):
        if list(row) != names:
            raise SchemaDrift(
                f"{path} lies in the partition folders {list(row)}, but {paths[0]} in {names}.",
                fix="Put all files at the same depth of key=value folders.",
            )
    if table_schema is not None:
        return pa.schema([pa.field(n, _plain_type(table_schema.field(n).type)) for n in names])
    return pa.schema([pa.field(n, _partition_type([row[n] for row in values])) for n in names])


def _partition_type(values: list[str | None]) -> pa.DataType:
    known = [v for v in values if v is not None]
    return pa.int64() if known and all(_WHOLE_NUMBER.fullmatch(v) for v in known) else pa.string()


def _typed(value: Any, kind: pa.DataType) -> Any:
    return int(value) if pa.types.is_integer(kind) and isinstance(value, str) else value


def _add_file(
    totals: _Totals,
    path: str,
    name: str,
    metadata: pq.FileMetaData,
    partition: tuple[tuple[str, Any], ...],
    owners: Sequence[tuple[str, bool]],
) -> None:
    """Take a file in; ``owners`` are the columns that its stored columns belong to, and whether those are nested."""
    totals.digest.update(f"{name}\0{partition!r}\0{metadata.num_rows}".encode())
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        totals.row_groups.append(RowGroup(path, name, index, group.num_rows, group.total_byte_size, partition))
        for position in range(group.num_columns):
            chunk = group.column(position)
            column, nested = owners[position]
            totals.column_bytes[column] = totals.column_bytes.get(column, 0) + chunk.total_uncompressed_size
            # A nested column's statistics are those of its parts, not of its rows.
            seen = None if nested else _chunk_stats(chunk)
            totals.digest.update(repr((column, group.num_rows, chunk.total_compressed_size, seen)).encode())
            _merge_stats(totals.stats.setdefault(column, ColumnStats()), seen, group.num_rows)


def _owners(stored: pa.Schema) -> list[tuple[str, bool]]:
    """The column that each stored column belongs to, and whether it is nested."""
    return [(f.name, pa.types.is_nested(f.type)) for f in stored for _ in range(_leaves(f.type))]


def _leaves(kind: pa.DataType) -> int:
    """How many stored columns a column of a type is made of."""
    if isinstance(kind, pa.BaseExtensionType):
        return _leaves(kind.storage_type)
    if not pa.types.is_nested(kind):
        return 1
    return sum(_leaves(kind.field(i).type) for i in range(kind.num_fields))


def _chunk_stats(chunk: pq.ColumnChunkMetaData) -> tuple[Any, Any, Any] | None:
    """``(nulls, minimum, maximum)`` of a column chunk, or None where the footer has none."""
    try:
        stats = chunk.statistics
        if stats is None:
            return None
        nulls = stats.null_count if stats.has_null_count else None
        return (nulls, stats.min, stats.max) if stats.has_min_max else (nulls, None, None)
    except (pa.ArrowException, NotImplementedError, ValueError, OverflowError):
        return None  # statistics of a type that pyarrow cannot show: as if there were none


def _merge_stats(total: ColumnStats, seen: tuple[Any, Any, Any] | None, num_rows: int) -> None:
    nulls, low, high = seen or (None, None, None)
    total.nulls = None if nulls is None or total.nulls is None else total.nulls + nulls
    if low is None:
        total.complete = total.complete and nulls == num_rows
        return
    total.minimum = low if total.minimum is None else min(total.minimum, low)
    total.maximum = high if total.maximum is None else max(total.maximum, high)
