"""Reading blocks on a worker: bounded batches, row filters applied, errors that name the block."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.errors import CorruptBlock, DatasetNotFound
from parquetry.rows import RowFilter, combined_mask

if TYPE_CHECKING:
    from parquetry.dataset import Block

BATCH_BYTES = 64 * 2**20
"""A row group larger than this is read in batches, so that memory does not depend on the layout."""

BATCH_MULTIPLE = 1024
"""Every batch of a pass begins at a multiple of so many positions in its row group."""

_ATTEMPTS = 3


@dataclass(frozen=True)
class Reader:
    """What a worker needs to read blocks of one dataset; made by ``Dataset.reader``."""

    filesystem: pafs.FileSystem
    columns: tuple[str, ...]
    schema: pa.Schema
    row_filters: tuple[RowFilter, ...]
    partition_columns: tuple[str, ...]
    byte_share: float
    batch_rows: int | None = None

    def read(self, block: Block) -> Iterator[tuple[pa.Table, npt.NDArray[np.int64]]]:
        """Give the block's rows, in order, as Arrow tables of bounded size.

        With each comes every row's position in the row group; tables without rows are left out.

        Raises
        ------
        CorruptBlock
            Naming file and row group.
        """
        if block.num_rows == 0:
            return
        mask = combined_mask(self.row_filters, block.name, block.row_group, block.num_rows)
        if mask is not None and not mask.any():
            return
        start = 0
        for table in self._stored(block):
            rows = np.arange(start, start + table.num_rows)
            start += table.num_rows
            if mask is not None:
                rows = rows[mask[rows]]
            if len(rows):
                kept = table if mask is None else table.filter(pa.array(mask[start - table.num_rows : start]))
                yield self._dressed(kept, block), rows

    def read_all(self, blocks: Iterable[Block]) -> Iterator[pa.Table]:
        """The rows of several blocks, one after another."""
        for block in blocks:
            for table, _ in self.read(block):
                yield table

    def _stored(self, block: Block) -> Iterator[pa.Table]:
        columns = [c for c in self.columns if c not in self.partition_columns]
        rows = self._rows_at_once(block)
        for attempt in range(1, _ATTEMPTS + 1):
            given = False
            try:
                with self._open(block.path) as file:
                    if not columns:
                        yield pa.table({"": pa.nulls(block.num_rows)}).select([])
                        return
                    if rows >= block.num_rows:
                        table = file.read_row_group(block.row_group, columns=columns, use_threads=False)
                        given = True
                        yield table
                    else:
                        options = {"row_groups": [block.row_group], "columns": columns, "use_threads": False}
                        for batch in file.iter_batches(batch_size=rows, **options):
                            given = True
                            yield pa.Table.from_batches([batch])
                return
            except FileNotFoundError as error:
                raise DatasetNotFound(
                    f"{block.path} is gone, or this worker cannot see it.",
                    why=str(error),
                    fix="Put the data where every worker can read it (a shared folder or an object store).",
                ) from error
            except (pa.ArrowException, OSError, ValueError) as error:
                # A remote read may fail once and succeed again; a local one will not.
                if given or storage.is_local(self.filesystem) or attempt == _ATTEMPTS:
                    raise CorruptBlock(
                        f"{block.where} cannot be read.",
                        why=f"{type(error).__name__}: {error}",
                        fix="Write the file again, or leave it out.",
                    ) from error
                time.sleep(0.5 * attempt)

    def _open(self, path: str) -> pq.ParquetFile:
        # Files that carry checksums have them looked at: a flipped bit must not become a number.
        return pq.ParquetFile(
            path, filesystem=self.filesystem, memory_map=False, pre_buffer=False, page_checksum_verification=True
        )

    def _rows_at_once(self, block: Block) -> int:
        nbytes = block.nbytes * self.byte_share
        # Dictionary-encoded text unfolds when it is read: the stored size is a lower bound.
        nbytes = max(nbytes, 8.0 * block.num_rows * len(self.columns))
        rows = block.num_rows
        if nbytes > BATCH_BYTES:
            rows = max(BATCH_MULTIPLE, int(rows * BATCH_BYTES / nbytes) // BATCH_MULTIPLE * BATCH_MULTIPLE)
        return rows if self.batch_rows is None else min(rows, self.batch_rows)

    def _dressed(self, table: pa.Table, block: Block) -> pa.Table:
        """Partition values added, columns in order, and the dataset's types."""
        for name, value in block.partition:
            if name in self.columns:
                kind = self.schema.field(name).type
                table = table.append_column(name, pa.array([value] * table.num_rows, kind))
        table = table.select(list(self.columns))
        # Also drops what pandas has noted in the file: it would turn columns into an index.
        return table if table.schema.equals(self.schema, check_metadata=True) else table.cast(self.schema)
