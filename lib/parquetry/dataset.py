"""Dataset and Block: an immutable, ordered list of Parquet row groups with one schema.

Opening reads footers only. Rows are read later, on the workers, one row group at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import footers, storage
from parquetry.errors import (
    BadParameter,
    DatasetNotFound,
    EmptyDataset,
    NotParquet,
    TooBigForDriver,
    UnknownColumn,
    did_you_mean,
)
from parquetry.reading import Reader
from parquetry.rows import FULL_RANGE, RowFilter, combined_mask, fraction_bound, row_hashes

if TYPE_CHECKING:
    import pandas as pd

    from parquetry.engine import Engine


@dataclass(frozen=True)
class Block:
    """One Parquet row group: the unit of work on every engine.

    Parameters
    ----------
    index : int
        Position in its dataset.
    path : str
        The file, on the dataset's filesystem.
    name : str
        The file's path relative to the dataset's root: stable when the dataset moves.
    row_group : int
        Position in the file.
    num_rows : int
        Rows in the row group, before any filter.
    nbytes : int
        Uncompressed bytes of all columns, from the footer.
    partition : tuple of (str, object)
        Values that the folder names or the table's log give (``year=2026``).
    """

    index: int
    path: str
    name: str
    row_group: int
    num_rows: int
    nbytes: int
    partition: tuple[tuple[str, Any], ...] = ()

    @property
    def where(self) -> str:
        """How errors name the block."""
        return f"{self.path} (row group {self.row_group})"


@dataclass(frozen=True)
class Dataset:
    """An immutable, ordered list of blocks with one schema, and lazy row-wise steps.

    Made by :func:`open_dataset`. Every method that narrows it gives a new Dataset and reads nothing.
    """

    uri: str
    filesystem: pafs.FileSystem = field(repr=False)
    blocks: tuple[Block, ...] = field(repr=False)
    full_schema: pa.Schema = field(repr=False)
    footer: footers.Summary = field(repr=False)
    columns: tuple[str, ...]
    row_filters: tuple[RowFilter, ...] = ()
    partition_columns: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    """Files of the folder that are not Parquet and were left out."""

    # --- facts ------------------------------------------------------------------------------
    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the selected columns."""
        return pa.schema([self.full_schema.field(name) for name in self.columns])

    @cached_property
    def num_rows(self) -> int:
        """Rows after splits, folds and samples; exact, and nothing is read to know it."""
        if not self.row_filters:
            return sum(block.num_rows for block in self.blocks)
        return sum(int(np.count_nonzero(self._mask(block))) for block in self.blocks)

    @property
    def nbytes(self) -> int:
        """Uncompressed bytes of the selected columns in the blocks, from the footers."""
        return round(sum(block.nbytes for block in self.blocks) * self.byte_share(self.columns))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over schema, row groups, column sizes and statistics, and the rows chosen.

        It comes from the footers, so a change that leaves every size, minimum and maximum as it
        was goes unseen; any other change of content shows.
        """
        digest = hashlib.sha256(self.footer.digest)
        chosen = [[f.salt, f.low, f.high, f.inside] for f in self.row_filters]
        digest.update(json.dumps([list(self.columns), chosen]).encode())
        return digest.hexdigest()

    def byte_share(self, columns: Sequence[str]) -> float:
        """The part of the stored bytes that belongs to the given columns."""
        total = sum(self.footer.column_bytes.values())
        return sum(self.footer.column_bytes.get(c, 0) for c in columns) / total if total else 1.0

    # --- narrowing --------------------------------------------------------------------------
    def select(self, columns: Sequence[str]) -> Dataset:
        """Only these columns, in this order.

        Raises
        ------
        UnknownColumn
            One is not in the dataset (with the nearest name).
        """
        columns = (columns,) if isinstance(columns, str) else tuple(columns)
        self.require(columns)
        if len(set(columns)) < len(columns):
            raise BadParameter(f"select: a column is named twice in {list(columns)}.")
        return replace(self, columns=columns)

    def drop(self, columns: Sequence[str]) -> Dataset:
        """All columns but these."""
        columns = (columns,) if isinstance(columns, str) else tuple(columns)
        self.require(columns)
        return self.select([c for c in self.columns if c not in columns])

    def split(self, *, test: float = 0.2, seed: int = 0) -> tuple[Dataset, Dataset]:
        """Two disjoint, complete parts: ``(train, test)``.

        Each row falls on its side by a hash of (file, row group, row index, seed), so the test
        part holds ``test`` of the rows up to chance, and the same rows everywhere.

        Parameters
        ----------
        test : float, default 0.2
            The test part's expected share, in (0, 1).
        seed : int, default 0
            Another seed is another split.
        """
        if not 0 < test < 1:
            raise BadParameter(f"split: test={test!r} is not a share.", fix="Pass one between 0 and 1, as test=0.2.")
        salt, bound = self._salt("split", seed), fraction_bound(test)
        return self._keep(RowFilter(salt, bound, FULL_RANGE)), self._keep(RowFilter(salt, 0, bound))

    def folds(self, k: int = 5, *, seed: int = 0) -> list[tuple[Dataset, Dataset]]:
        """``k`` pairs ``(train, validation)``; the validation parts are disjoint and complete."""
        if not 2 <= k <= 1_000:
            raise BadParameter(f"folds: k={k!r} is out of range.", fix="Pass 2 to 1000.")
        salt = self._salt("folds", seed)
        edges = [FULL_RANGE * i // k for i in range(k + 1)]
        return [
            (self._keep(RowFilter(salt, low, high, inside=False)), self._keep(RowFilter(salt, low, high)))
            for low, high in pairwise(edges)
        ]

    def sample(self, n: int, *, seed: int = 0) -> Dataset:
        """Exactly ``n`` rows drawn without replacement (all rows where there are no more)."""
        if n < 1:
            raise BadParameter(f"sample: n={n!r} is not a number of rows.", fix="Pass 1 or more.")
        if n >= self.num_rows:
            return self
        salt = self._salt("sample", seed)
        # Only hashes that can be among the n smallest are kept, so memory is bounded by n.
        smallest = np.empty(0, dtype=np.uint64)
        for block in self.blocks:
            hashes = row_hashes(block.name, block.row_group, block.num_rows, salt)
            mask = self._mask(block)
            hashes = hashes if mask is None else hashes[mask]
            if len(smallest) == n:
                hashes = hashes[hashes < smallest.max()]
            if len(hashes):
                candidates = np.concatenate([smallest, hashes])
                smallest = np.partition(candidates, n - 1)[:n] if len(candidates) > n else candidates
        return self._keep(RowFilter(salt, 0, int(smallest.max()) + 1))

    # --- bringing rows to the driver --------------------------------------------------------
    def batches(self) -> Iterator[pa.Table]:
        """The rows as Arrow tables of bounded size, in order, read in this process."""
        reader = self.reader()
        for block in self.blocks:
            for table, _ in reader.read(block):
                yield table

    def head(self, n: int = 5) -> pd.DataFrame:
        """The first ``n`` rows."""
        if n < 0:
            raise BadParameter(f"head: n={n!r} is not a number of rows.", fix="Pass 0 or more.")
        parts, got = [self.schema.empty_table()], 0
        for table in self.reader(batch_rows=max(n, 1024)).read_all(self.blocks):
            parts.append(table.slice(0, n - got))
            got += parts[-1].num_rows
            if got >= n:
                break
        frame: pd.DataFrame = pa.concat_tables(parts).to_pandas()
        return frame

    def to_pandas(self, *, limit: int | None = 1_000_000) -> pd.DataFrame:
        """All rows as one frame in this process.

        Parameters
        ----------
        limit : int or None, default 1_000_000
            The most rows that may come; None for no bound.

        Raises
        ------
        TooBigForDriver
            There are more rows; nothing has been read.
        """
        if limit is not None and self.num_rows > limit:
            raise TooBigForDriver(
                f"{self.uri} has {self.num_rows:,} rows, more than limit={limit:,}.",
                why="to_pandas brings every row into this one process.",
                fix=f"Use sample({limit}), head(n) or select([...]), or raise the limit.",
            )
        frame: pd.DataFrame = pa.concat_tables([self.schema.empty_table(), *self.batches()]).to_pandas()
        return frame

    # --- for the library --------------------------------------------------------------------
    def reader(self, *, batch_rows: int | None = None) -> Reader:
        """What a worker needs to read blocks of this dataset: small, and no list of blocks."""
        share = self.byte_share(self.columns)
        return Reader(
            self.filesystem,
            self.columns,
            self.schema,
            self.row_filters,
            self.partition_columns,
            share,
            batch_rows,
        )

    def require(self, columns: Sequence[str], role: str = "column") -> None:
        """Raise UnknownColumn for the first name that the dataset does not have."""
        there = set(self.columns)
        for name in columns:
            if name not in there:
                raise UnknownColumn(
                    f"There is no {role} {name!r} in {self.uri}.", fix=did_you_mean(str(name), self.columns)
                )

    def require_rows(self) -> None:
        """Raise EmptyDataset where no row is left."""
        if self.num_rows == 0:
            why = "Its row groups hold no rows." if not self.row_filters else "No row passes its split or sample."
            raise EmptyDataset(f"{self.uri} has no rows to work on.", why=why, fix="Check the path, or the split.")

    def _mask(self, block: Block) -> Any:
        return combined_mask(self.row_filters, block.name, block.row_group, block.num_rows)

    def _keep(self, row_filter: RowFilter) -> Dataset:
        return replace(self, row_filters=(*self.row_filters, row_filter))

    def _salt(self, purpose: str, seed: int) -> str:
        # The depth is part of the salt: a split of a split with the same seed must choose anew.
        return f"{purpose}/{seed}/{len(self.row_filters)}"


def open_dataset(
    source: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    filesystem: Any = None,
    storage_options: dict[str, str] | None = None,
    engine: Engine | None = None,
) -> Dataset:
    """Open Parquet data: a file, a folder (hive partitions too), a glob, a list, or a Delta table.

    Parameters
    ----------
    source : path, URL, or list of them
        Local, or anything that pyarrow or fsspec can reach (``s3://bucket/table``).
    columns : sequence of str, default None
        Only these columns; None for all.
    version : int, default None
        The version of a Delta table; None for the newest.
    filesystem : pyarrow or fsspec filesystem, default None
        In place of the one that the URL names.
    storage_options : dict, default None
        Options of the Delta log's store (``AWS_ENDPOINT_URL`` …), beside those of the environment.
        On S3 the environment is enough: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``,
        ``AWS_REGION``, and ``AWS_ENDPOINT_URL`` for another store than Amazon's. Workers need the
        same environment, or a ``filesystem`` that holds the credentials.
    engine : Engine, default None
        Whose workers read the footers where there are many files; None reads them here. The same
        Dataset either way.

    Returns
    -------
    Dataset
        Blocks in order of file name, then row group.

    Raises
    ------
    DatasetNotFound, AccessDenied, NotParquet, CorruptBlock, SchemaDrift, UnknownColumn
        Before a single row is read.
    """
    if isinstance(source, (str, os.PathLike)):
        uri = os.fspath(source)
        files = _locate(uri, version, filesystem, storage_options)
    elif hasattr(source, "columns") or not isinstance(source, Iterable):
        # A frame is iterable too: its columns would be taken for files.
        raise BadParameter(
            f"A {type(source).__name__} is neither a path nor a Dataset.",
            why="Data is read from Parquet, block by block.",
            fix="Pass a path, a list of them, or a Dataset; write a frame first: frame.to_parquet('rows.parquet').",
        )
    elif version is not None:
        raise BadParameter(f"version={version} was asked of a list of files.", fix="Open a Delta table by itself.")
    else:
        files = _locate_list([os.fspath(s) for s in source], filesystem)
        uri = files.base
    summary = footers.read_footers(
        files.filesystem,
        files.base,
        files.paths,
        files.partitions,
        names=files.names,
        table_schema=files.table_schema,
        engine=engine,
    )
    blocks = tuple(
        Block(i, rg.path, rg.name, rg.row_group, rg.num_rows, rg.nbytes, rg.partition)
        for i, rg in enumerate(summary.row_groups)
    )
    dataset = Dataset(
        uri=uri,
        filesystem=files.filesystem,
        blocks=blocks,
        full_schema=summary.schema,
        footer=replace(summary, row_groups=()),
        columns=tuple(summary.schema.names),
        partition_columns=summary.partition_columns,
        ignored=tuple(files.ignored),
    )
    return dataset if columns is None else dataset.select(columns)


@dataclass
class _Files:
    """The data files of a source and what is known of them before any is opened."""

    filesystem: pafs.FileSystem
    base: str
    paths: list[str]
    partitions: Callable[[str], dict[str, Any]]
    ignored: Sequence[str] = ()
    names: Sequence[str] | None = None
    table_schema: pa.Schema | None = None


def _locate(uri: str, version: int | None, filesystem: Any, storage_options: dict[str, str] | None) -> _Files:
    fs, path = storage.resolve(uri, filesystem)
    if footers.is_delta(fs, path):
        from parquetry.delta import delta_files

        values, schema = delta_files(uri, fs, path, version, storage_options)
        # A file's own name is drawn by chance when it is written; its place in the table is not.
        names = [f"file-{i}" for i in range(len(values))]
        return _Files(fs, path, list(values), values.__getitem__, names=names, table_schema=schema)
    if version is not None:
        raise BadParameter(
            f"version={version} was asked of {uri!r}, which is not a Delta table.", fix="Leave version out."
        )
    base, found = storage.list_files(fs, path)
    named = [f for f in found if f.lower().endswith(storage.PARQUET_SUFFIXES)]
    # Files that are asked for by name or pattern, or a folder without any suffix, are tried as they are.
    asked_for = path not in (base, base + "/")
    paths = found if asked_for or not named else named
    if not paths:
        raise DatasetNotFound(
            f"There is no Parquet file in {uri!r}.", why="The folder is empty.", fix="Check the path."
        )
    taken = set(paths)
    ignored = [f for f in found if f not in taken]
    return _Files(fs, base, paths, footers.hive_partitions(base), ignored=ignored)


def _locate_list(uris: list[str], filesystem: Any) -> _Files:
    if not uris:
        raise DatasetNotFound("The list of files is empty.", fix="Pass at least one path.")
    located = [_locate(u, None, filesystem, None) for u in uris]
    paths = [p for files in located for p in files.paths]
    if len(set(paths)) < len(paths):
        twice = next(p for p in paths if paths.count(p) > 1)
        raise BadParameter(f"{twice!r} is in the list twice.", why="Its rows would count twice.", fix="Name it once.")
    kinds = {type(files.filesystem) for files in located}
    if len(kinds) > 1:
        raise BadParameter(
            "The list mixes filesystems.", why=str(sorted(k.__name__ for k in kinds)), fix="Open each alone."
        )
    if any(files.table_schema is not None for files in located):
        raise NotParquet("The list holds a Delta table.", fix="Open a Delta table by itself.")
    base = posixpath.commonpath([posixpath.dirname(p) for p in paths])
    return _Files(located[0].filesystem, base, paths, footers.hive_partitions(base))
