"""What the footer of one Parquet file tells of its health; small, so that thousands fit in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import footers, storage
from parquetry.errors import ParquetryError

_WASTED_DICTIONARY = 0.2
"""A dictionary that takes this share of its column chunk, or more, does not pay for itself."""
_CHUNK_BYTES = 64 * 2**10  # below this a dictionary's share says nothing
_FIXED = ("BOOLEAN", "INT32", "INT64")


@dataclass(frozen=True)
class Group:
    """One row group: rows, uncompressed bytes, stored bytes."""

    rows: int
    nbytes: int
    stored: int


@dataclass
class FileFacts:
    """One file, as its footer describes it.

    Attributes
    ----------
    ranges : dict of str to list
        For each plain column, each row group's ``(minimum, maximum)``, or None where it has none.
    no_statistics : dict of str to int
        Columns, and in how many row groups they lack statistics that every writer can give.
    dictionaries : dict of str to int
        Columns whose dictionaries do not pay, and the bytes that those dictionaries take.
    sorted_by : tuple of str
        What the file says its rows are sorted by, ascending.
    """

    path: str
    size: int
    footer: int = 0
    rows: int = 0
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    groups: list[Group] = field(default_factory=list)
    codecs: dict[str, int] = field(default_factory=dict)
    ranges: dict[str, list[tuple[Any, Any] | None]] = field(default_factory=dict)
    no_statistics: dict[str, int] = field(default_factory=dict)
    dictionaries: dict[str, int] = field(default_factory=dict)
    sorted_by: tuple[str, ...] = ()
    page_index: bool = True


@dataclass(frozen=True)
class Unreadable:
    """A file whose footer cannot be read, and why."""

    path: str
    size: int
    error: ParquetryError


def read_facts(filesystem: pafs.FileSystem, paths: Sequence[str]) -> tuple[list[FileFacts], list[Unreadable]]:
    """The facts of all files in order, and of those that cannot be read the reasons."""
    found = storage.side_by_side(filesystem, _Facts(filesystem), paths)
    return [f for f in found if isinstance(f, FileFacts)], [f for f in found if isinstance(f, Unreadable)]


@dataclass(frozen=True)
class _Columns:
    """What the files of one schema have in common: worked out once, not for each of thousands.

    Attributes
    ----------
    stored, schema : pyarrow.Schema
        As the files have it, and without what may differ.
    plain : list of (str or None, bool)
        For each stored column the name of the plain column that it is, and whether it may have statistics.
    """

    stored: pa.Schema
    schema: pa.Schema
    plain: list[tuple[str | None, bool]]

    @classmethod
    def of(cls, stored: pa.Schema, metadata: pq.FileMetaData) -> _Columns:
        schema = footers._plain(stored, set())
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        # A part of a nested column repeats or has a longer path; a plain name may hold dots as well.
        names = [c.path if c.path in schema.names and c.max_repetition_level == 0 else None for c in leaves]
        return cls(stored, schema, [(n, n is not None and not pa.types.is_null(schema.field(n).type)) for n in names])


class _Facts:
    """The facts of one file after another."""

    def __init__(self, filesystem: pafs.FileSystem) -> None:
        self._filesystem = filesystem
        self._columns: _Columns | None = None

    def __call__(self, path: str) -> FileFacts | Unreadable:
        size = int(self._filesystem.get_file_info(path).size or 0)
        try:
            metadata = footers._read_footer(self._filesystem, path)
        except ParquetryError as error:
            return Unreadable(path, size, error)
        columns, stored = self._columns, metadata.schema.to_arrow_schema()
        if columns is None or not stored.equals(columns.stored):
            columns = self._columns = _Columns.of(stored, metadata)
        facts = FileFacts(path, size, metadata.serialized_size, metadata.num_rows, columns.schema)
        for i in range(metadata.num_row_groups):
            _add_group(facts, metadata.row_group(i), columns.plain)
        facts.sorted_by = _sorted_by(metadata)
        return facts


def _add_group(facts: FileFacts, group: pq.RowGroupMetaData, plain: list[tuple[str | None, bool]]) -> None:
    chunks = [group.column(i) for i in range(group.num_columns)]
    stored = sum(c.total_compressed_size for c in chunks)
    facts.groups.append(Group(group.num_rows, group.total_byte_size, stored))
    for (name, told), chunk in zip(plain, chunks, strict=True):
        codec = chunk.compression
        facts.codecs[codec] = facts.codecs.get(codec, 0) + chunk.total_compressed_size
        facts.page_index = facts.page_index and (not group.num_rows or bool(chunk.has_offset_index))
        if (wasted := _dictionary(chunk)) > 0:
            shown = name or chunk.path_in_schema
            facts.dictionaries[shown] = facts.dictionaries.get(shown, 0) + wasted
        if name is None:
            continue
        if told and group.num_rows and _lacks_statistics(chunk):
            facts.no_statistics[name] = facts.no_statistics.get(name, 0) + 1
        seen = footers._chunk_stats(chunk)
        known = seen is not None and seen[1] is not None
        facts.ranges.setdefault(name, []).append((seen[1], seen[2]) if known and seen else None)


def _dictionary(chunk: pq.ColumnChunkMetaData) -> int:
    """Bytes of a dictionary that does not pay; 0 where it does, or where there is none."""
    start, stored = chunk.dictionary_page_offset, chunk.total_compressed_size
    if not chunk.has_dictionary_page or start is None or stored < _CHUNK_BYTES:
        return 0
    size = chunk.data_page_offset - start
    return int(size) if size >= _WASTED_DICTIONARY * stored else 0


def _lacks_statistics(chunk: pq.ColumnChunkMetaData) -> bool:
    """Whether statistics are missing that any writer could have given.

    Writers leave out minimum and maximum of long texts, and of floats that are all NaN.
    """
    try:
        stats = chunk.statistics
    except (pa.ArrowException, NotImplementedError, ValueError, OverflowError):
        return False
    if stats is None:
        return True
    if stats.has_min_max:
        return False
    empty = stats.has_null_count and stats.null_count == chunk.num_values
    return not empty and (chunk.physical_type in _FIXED or not stats.has_null_count)


def _sorted_by(metadata: pq.FileMetaData) -> tuple[str, ...]:
    """The leading columns by which every row group says that it is sorted, ascending."""
    orders = set()
    for i in range(metadata.num_row_groups):
        columns = metadata.row_group(i).sorting_columns
        names = [metadata.schema.column(c.column_index).path for c in columns if not c.descending]
        orders.add(tuple(names) if len(names) == len(columns) else ())
    return orders.pop() if len(orders) == 1 else ()
