"""``mend``: a sound copy of a sick dataset, written on any engine and committed whole or not at all.

The rows keep their order. Each task reads what it has written once more and compares a digest of the
values, so the copy is proved before it is committed. The original is never touched.
"""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquetry import footers, storage
from parquetry.commit import CommittedWrite, Part, PartWriter, storable
from parquetry.dataset import Block, Dataset, open_dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter, CorruptBlock, EmptyDataset, SchemaDrift, WrongColumnType
from parquetry.foundation.doctor import Patient, admit
from parquetry.foundation.file_facts import FileFacts
from parquetry.foundation.row_digest import RowDigest
from parquetry.foundation.symptoms import TARGET_FILE, usual_schema
from parquetry.reading import Reader

if TYPE_CHECKING:
    from parquetry.engine import Engine

_MOST_UNPACKED = 8 * TARGET_FILE
"""Uncompressed bytes of a task, where the data compress so well that ``TARGET_FILE`` stored would be too many."""
Unit = tuple[Reader, Block]


@dataclass(frozen=True)
class Mended:
    """What ``mend`` did.

    Attributes
    ----------
    to : str
    rows : int
        In the original by its footers, and in the copy.
    digest : str
        SHA-256 over all values in their order, the same of both.
    files, row_groups : tuple of int
        Before and after.
    dataset : Dataset
        The copy.
    """

    to: str
    rows: int
    digest: str
    files: tuple[int, int]
    row_groups: tuple[int, int]
    dataset: Dataset

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        shown = ("to", "rows", "digest", "files", "row_groups")
        return {name: getattr(self, name) for name in shown}


def mend(
    path: str | os.PathLike[str],
    to: str | os.PathLike[str],
    *,
    engine: Engine | str | None = None,
    version: int | None = None,
    filesystem: Any = None,
    storage_options: dict[str, str] | None = None,
) -> Mended:
    """Write a sound copy: even row groups, files worth their opening, one schema, one codec, statistics.

    Parameters
    ----------
    path : path or URL
        What ``examine`` takes.
    to : path or URL
        Where the copy is committed as a Delta table; never in or around ``path``.
    engine : Engine or what ``open_engine`` takes, default None
        None is the local engine.
    version, filesystem, storage_options
        As for ``examine``.

    Returns
    -------
    Mended

    Raises
    ------
    CorruptBlock
        A file cannot be read (nothing is left out), or the copy differs from the original.
    SchemaDrift
        Files differ so that no one type holds all values of a column.
    BadParameter, OutputExists, OutputNotWritable, WrongColumnType, EmptyDataset
    """
    _require_apart(os.fspath(path), os.fspath(to))
    patient = admit(path, version=version, filesystem=filesystem, storage_options=storage_options)
    if patient.folder.unreadable:
        raise patient.folder.unreadable[0].error
    rows = sum(f.rows for f in patient.folder.files)
    if not rows:
        raise EmptyDataset(f"{patient.uri} has no rows to copy.", fix="Check the path.")
    schema = storable(one_schema(patient))
    output = CommittedWrite(to, "fail")
    done: list[_Written] = []
    with borrowed_engine(engine) as running:

        def write(writer: PartWriter) -> Iterator[Part]:
            task = _MendTask(schema, writer)
            items = list(enumerate(_bundles(_units(patient, schema))))
            done.extend(running.map(task, items, label="mend"))
            if (found := sum(w.rows for w in done)) != rows:
                raise CorruptBlock(
                    f"{patient.uri}: {found:,} rows were copied, and the footers say {rows:,}.",
                    why="Nothing is committed.",
                    fix="Somebody may be writing to it: try again when nobody does.",
                )
            return iter([part for written in done for part in written.parts])

        output.run(schema, write)
    copy = open_dataset(os.fspath(to))
    before = patient.folder.files
    return Mended(
        to=os.fspath(to),
        rows=rows,
        digest=hashlib.sha256("".join(w.digest for w in done).encode()).hexdigest(),
        files=(len(before), len({b.path for b in copy.blocks})),
        row_groups=(sum(len(f.groups) for f in before), len(copy.blocks)),
        dataset=copy,
    )


def one_schema(patient: Patient) -> pa.Schema:
    """One schema that holds all values of all files, partition columns last.

    Raises
    ------
    SchemaDrift
        Naming the file and the column for which there is none.
    """
    files = patient.folder.files
    paths = [f.path for f in files]
    values = [patient.values.get(p, {}) for p in paths]
    parts = footers._partition_schema(paths, values, patient.table_schema)
    total = usual_schema(files)
    for f in files:
        twice = next((n for n in f.schema.names if f.schema.names.count(n) > 1), None)
        if twice is not None:
            raise SchemaDrift(f"{f.path} has more than one column {twice!r}.", fix="Rename the columns.")
        if f.schema.equals(total):
            continue
        try:
            total = pa.unify_schemas([total, f.schema], promote_options="permissive")
        except (pa.ArrowException, TypeError) as error:
            raise _no_one_type(f, total, error) from error
    return pa.schema([*(f for f in total if f.name not in parts.names), *parts])


def _no_one_type(file: FileFacts, total: pa.Schema, error: Exception) -> SchemaDrift:
    for f in file.schema:
        if f.name in total.names and not _unifies(f, total.field(f.name)):
            return SchemaDrift(
                f"{file.path}: column {f.name!r} is {f.type}, but elsewhere {total.field(f.name).type}.",
                why="No one type holds the values of both.",
                fix="Write that file again with the type of the others, or take it away.",
            )
    return SchemaDrift(f"{file.path} has columns that do not go together with the rest.", why=str(error))


def _unifies(a: pa.Field, b: pa.Field) -> bool:
    try:
        pa.unify_schemas([pa.schema([a]), pa.schema([b])], promote_options="permissive")
    except (pa.ArrowException, TypeError):
        return False
    return True


def _units(patient: Patient, schema: pa.Schema) -> Iterator[tuple[Unit, int, int]]:
    """Every row group that has rows, in order, with its reader, its stored and its uncompressed bytes."""
    for f in patient.folder.files:
        values = tuple(patient.values.get(f.path, {}).items())
        own = pa.schema([c for c in f.schema if c.name not in dict(values)])
        typed = tuple((k, footers._typed(v, schema.field(k).type)) for k, v in values)
        whole = pa.schema([*own, *(schema.field(k) for k, _ in values)])
        # Read in the file's own types; the task makes them those of all.
        reader = Reader(patient.filesystem, tuple(whole.names), whole, (), tuple(k for k, _ in values), 1.0)
        for i, group in enumerate(f.groups):
            if group.rows:
                block = Block(0, f.path, f.path, i, group.rows, group.nbytes, typed)
                yield (reader, block), group.stored, group.nbytes


def _bundles(units: Iterator[tuple[Unit, int, int]]) -> Iterator[list[Unit]]:
    """Consecutive row groups that make a file worth its opening; by their sizes alone."""
    bundle: list[Unit] = []
    stored = unpacked = 0
    for unit, packed, nbytes in units:
        if bundle and (stored + packed / 2 > TARGET_FILE or unpacked + nbytes / 2 > _MOST_UNPACKED):
            yield bundle
            bundle, stored, unpacked = [], 0, 0
        bundle.append(unit)
        stored, unpacked = stored + packed, unpacked + nbytes
    if bundle:
        yield bundle


@dataclass(frozen=True)
class _Written:
    parts: list[Part]
    rows: int
    digest: str


@dataclass(frozen=True)
class _MendTask:
    schema: pa.Schema
    writer: PartWriter

    def __call__(self, item: tuple[int, Sequence[Unit]]) -> _Written:
        index, units = item
        source, copy = RowDigest(), RowDigest()
        tables = (self._conform(t, block) for reader, block in units for t, _ in reader.read(block))
        parts = self.writer.write(index, source.watch(tables))
        for part in parts:
            place = posixpath.join(self.writer.folder, part.path)
            with pq.ParquetFile(place, filesystem=self.writer.filesystem) as file:
                for batch in file.iter_batches(use_threads=False):
                    copy.add(pa.Table.from_batches([batch]).cast(self.schema))
        written = _Written(parts, source.rows, source.hexdigest())
        if (copy.rows, copy.hexdigest()) != (written.rows, written.digest):
            raise CorruptBlock(
                f"What was written of {units[0][1].where} and its neighbors is not what was read.",
                why=f"{written.rows:,} rows were read and {copy.rows:,} written, or values differ.",
                fix="Check the disk, and try again.",
            )
        return written

    def _conform(self, table: pa.Table, block: Block) -> pa.Table:
        for f in self.schema:
            if f.name not in table.column_names:
                table = table.append_column(f, pa.nulls(table.num_rows, f.type))
        try:
            return table.select(self.schema.names).cast(self.schema)
        except pa.ArrowException as error:
            raise WrongColumnType(
                f"{block.where} has a value that does not fit the type that all files share.",
                why=str(error),
                fix="Write that file again with a type that holds it.",
            ) from error


def _require_apart(path: str, to: str) -> None:
    (_, source), (_, target) = storage.resolve(path), storage.resolve(to)
    if source == target or target.startswith(f"{source}/") or source.startswith(f"{target}/"):
        raise BadParameter(
            f"The copy cannot be written to {to!r}.",
            why=f"It lies in or around {path!r}, which is never changed.",
            fix="Name another folder; move it into place when it is to your liking.",
        )
