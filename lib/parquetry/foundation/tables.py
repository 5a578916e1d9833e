"""Parquet and Delta as sources: typed rows, one piece a row group, nested columns as they are.

What a committed table cannot hold is given in the nearest form that loses nothing: a time of day as
ISO text, a duration as a whole number of its unit, a timestamp in microseconds (a row whose timestamp
has a finer fraction is rejected; the old INT96 timestamps are read to the microsecond, in which form
they reach beyond the years 1677 to 2262). Files that carry checksums have them looked at, so a flipped
bit is an error rather than a number.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from parquetry import footers, storage
from parquetry.dataset import Block, Dataset, open_dataset
from parquetry.errors import BadParameter, CorruptBlock, WrongColumnType
from parquetry.footers import is_delta
from parquetry.foundation.sources import Parsed, Piece, Positions, rejects
from parquetry.reading import Reader

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Contract

_MICROS = pa.field("", pa.timestamp("us"))


@dataclass(frozen=True)
class ParquetTable:
    """Parquet files of one schema: a file, a folder (hive partitions too) or a glob.

    Parameters
    ----------
    dataset : Dataset
    notes : tuple of str
    """

    dataset: Dataset
    notes: tuple[str, ...] = ()
    kind: str = "parquet"

    @classmethod
    def open(cls, source: str | os.PathLike[str], *, engine: Engine | None = None) -> ParquetTable:
        """Read the footers, those of many files on the engine's workers.

        Raises
        ------
        DatasetNotFound, AccessDenied, NotParquet, CorruptBlock, SchemaDrift
        """
        dataset = open_dataset(source, engine=engine)
        return cls(dataset, tuple(_notes(dataset)))

    @property
    def schema(self) -> pa.Schema:
        """The files' own types, as far as a committed table can hold them."""
        return kept_schema(self.dataset.schema)

    @property
    def files(self) -> tuple[str, ...]:
        """The files, in order."""
        return tuple(dict.fromkeys(b.path for b in self.dataset.blocks))

    def pieces(self, engine: Engine) -> list[Piece]:
        """One a row group; what a row group's rows are numbered from is told by the footers."""
        old = _int96(self.dataset)
        reader = self.dataset.reader()
        if old:
            schema = pa.schema([_MICROS.with_name(f.name) if f.name in old else f for f in reader.schema])
            reader = _Int96Reader(**{**vars(reader), "schema": schema})
        before: dict[str, int] = {}
        out: list[Piece] = []
        for block in self.dataset.blocks:
            start = before.get(block.path, 0)
            before[block.path] = start + block.num_rows
            out.append(BlockPiece(reader, block, start, self.schema))
        return out


@dataclass(frozen=True)
class DeltaTable(ParquetTable):
    """A Delta table, at its newest version or an older one."""

    kind: str = "delta"

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], *, version: int | str | None = None, engine: Engine | None = None
    ) -> DeltaTable:
        """Read the log, and the footers of the files that it names.

        Parameters
        ----------
        source : path or URL
        version : int, default None
            None for the newest.
        engine : Engine, default None
            Whose workers read the footers of many files.

        Raises
        ------
        DatasetNotFound, AccessDenied, NotParquet, CorruptBlock, SchemaDrift
        BadParameter
            It is no Delta table.
        """
        uri = os.fspath(source)
        if not is_delta(*storage.resolve(uri)):
            raise BadParameter(f"{uri} is not a Delta table.", fix="Leave kind= and version= out.")
        dataset = open_dataset(uri, version=None if version is None else int(version), engine=engine)
        return cls(dataset, tuple(_notes(dataset)))


@dataclass(frozen=True)
class _Int96Reader(Reader):
    """Reads INT96 timestamps in microseconds: in nanoseconds, pyarrow lets those of far years run over."""

    def _open(self, path: str) -> pq.ParquetFile:
        return pq.ParquetFile(
            path,
            filesystem=self.filesystem,
            memory_map=False,
            pre_buffer=False,
            page_checksum_verification=True,
            coerce_int96_timestamp_unit="us",
        )


@dataclass(frozen=True)
class BlockPiece:
    """One row group."""

    reader: Reader
    block: Block
    start: int
    schema: pa.Schema

    @property
    def file(self) -> str:
        """The file's path."""
        return self.block.path

    @property
    def size(self) -> int:
        """Uncompressed bytes."""
        return self.block.nbytes

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """The row group's rows in batches of bounded memory.

        Raises
        ------
        CorruptBlock
            It cannot be decoded, or has other rows than its footer says.
        """
        given = 0
        for table, rows in self.reader.read(self.block):
            given += table.num_rows
            yield self._parsed(table, rows)
        if given != self.block.num_rows:
            raise CorruptBlock(
                f"{self.block.where} has {given:,} rows, and its footer says {self.block.num_rows:,}.",
                fix="Write the file again, or leave it out.",
            )

    def _parsed(self, table: pa.Table, rows: Positions) -> Parsed:
        numbers, bad = rows + self.start + 1, rejects(self.file, [], [], [])
        for f in table.schema:
            if f.type in (pa.timestamp("ns"), pa.timestamp("ns", getattr(f.type, "tz", None))):
                table, numbers, bad = self._without_fractions(table, f.name, numbers, bad)
        kept = self._cast(table)

        def lines(at: Positions) -> Positions:
            found: Positions = numbers[at]
            return found

        return Parsed(kept, bad, len(rows), lines, lambda at: as_json(kept.take(pa.array(at))))

    def _without_fractions(
        self, table: pa.Table, name: str, numbers: Positions, bad: pa.Table
    ) -> tuple[pa.Table, Positions, pa.Table]:
        """The rows whose timestamps are whole microseconds, and the others as rejects."""
        ticks = pc.fill_null(table.column(name).cast(pa.int64()), 0).to_numpy()
        wrong = ticks % 1000 != 0
        if not wrong.any():
            return table, numbers, bad
        reason = f"{name!r} has a fraction of a microsecond, which a committed table cannot hold."
        raw = as_json(table.filter(pa.array(wrong)))
        more = rejects(self.file, numbers[wrong], raw, [reason] * len(raw))
        return table.filter(pa.array(~wrong)), numbers[~wrong], pa.concat_tables([bad, more])

    def _cast(self, table: pa.Table) -> pa.Table:
        if table.schema.equals(self.schema):
            return table
        try:
            return table.cast(self.schema)
        except pa.ArrowException as error:
            raise WrongColumnType(
                f"{self.block.where} has a value that a committed table cannot hold.",
                why=str(error),
                fix="Convert the column first, or leave it out.",
            ) from error


def as_json(table: pa.Table) -> list[str]:
    """Each row as a JSON object; what JSON does not know is text."""
    # Columns of a map or of one name twice would not survive as a dict; there are none of the latter.
    return [json.dumps(row, default=_plain, ensure_ascii=False) for row in table.to_pylist()]


def kept_schema(schema: pa.Schema) -> pa.Schema:
    """The types in which values are given: of any depth, those that a committed table can hold."""
    return pa.schema([pa.field(f.name, _kept(f.type)) for f in schema])


def _kept(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return _kept(kind.storage_type)
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(f.name, _kept(f.type)) for f in kind])
    if pa.types.is_map(kind):
        return pa.map_(_kept(kind.key_type), _kept(kind.item_type))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.list_(_kept(kind.value_type))
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    others = ((pa.types.is_time, pa.string()), (pa.types.is_duration, pa.int64()), (pa.types.is_date64, pa.date32()))
    return next((to for check, to in others if check(kind)), kind)


def _int96(dataset: Dataset) -> set[str]:
    """Columns whose timestamps are stored in the old form of 12 bytes; the files share one schema."""
    if not dataset.blocks:
        return set()
    stored = footers._read_footer(dataset.filesystem, dataset.blocks[0].path).schema
    plain = (stored.column(i) for i in range(len(stored)))
    return {c.path for c in plain if c.physical_type == "INT96" and c.path in dataset.columns}


def _notes(dataset: Dataset) -> list[str]:
    notes = []
    for f in dataset.schema:
        if pa.types.is_time(f.type):
            notes.append(f"column {f.name!r}, a time of day, is given as ISO text")
        elif pa.types.is_duration(f.type):
            notes.append(f"column {f.name!r}, a duration, is given as a whole number of {f.type.unit}")
    if dataset.ignored:
        notes.append(f"{len(dataset.ignored):,} files beside the data are not Parquet and are not read")
    return notes


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value.tolist() if isinstance(value, np.ndarray) else str(value)
