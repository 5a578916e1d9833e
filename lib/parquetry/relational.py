"""What the engines share for relational work: files to scan, and frames to committed tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.footers import is_delta
from parquetry.reduction import Bundle, bundles

if TYPE_CHECKING:
    from parquetry.engine import Engine


@dataclass(frozen=True)
class Files:
    """Parquet files that an engine's own reader may scan."""

    paths: list[str]
    hive: bool


def plain_files(dataset: Dataset) -> Files | None:
    """The dataset's files, where its rows are all the rows of local files; else None."""
    by_folder_names = all(all(f"{k}=" in block.path for k, _ in block.partition) for block in dataset.blocks)
    if dataset.row_filters or not storage.is_local(dataset.filesystem) or not by_folder_names:
        return None
    return Files(list(dict.fromkeys(b.path for b in dataset.blocks)), bool(dataset.partition_columns))


def materialize(engine: Engine, dataset: Dataset, path: str) -> Files:
    """The dataset's rows in a folder of this machine, for an engine's own reader; written once."""
    filesystem, folder = storage.resolve(path)
    if not is_delta(filesystem, folder):
        write(engine, dataset, path, mode="fail")
    return Files(list(dict.fromkeys(b.path for b in open_dataset(path).blocks)), hive=False)


def write(engine: Engine, frame: Any, path: str, *, mode: str, write_native: Any = None) -> Dataset:
    """Commit a frame or a Dataset as a Delta table.

    ``write_native(native, output)`` writes an engine's own lazy frame and says whether it was
    one; anything else that streams Arrow (DuckDB, pandas, Arrow tables) is written from here.
    """
    import narwhals as nw

    output = CommittedWrite(path, mode)
    if isinstance(frame, Dataset):
        task = partial(_CopyTask, frame.reader())
        output.run(frame.schema, lambda writer: write_bundles(engine, frame, task(writer), label="write"))
        return open_dataset(path)
    native = nw.to_native(frame, pass_through=True)
    if write_native is None or not write_native(native, output):
        _write_stream(native, output)
    return open_dataset(path)


def write_sorted(
    engine: Engine,
    frame: Any,
    path: str | os.PathLike[str],
    *,
    by: Sequence[str],
    finish: Callable[[pa.Table], pa.Table] | None = None,
    mode: str = "fail",
) -> Dataset:
    """Commit a frame in one order and one layout, whatever the engine.

    An engine writes the groups of a ``group_by`` in an order and in files of its own. What is
    learned from them afterwards would differ in the last bits, so the rows are put in order once
    more, on one worker and within its memory.

    Parameters
    ----------
    engine : Engine
    frame : narwhals or native frame, or Dataset
    path : path or URL
    by : sequence of str
        The columns to sort by; together they should tell every row from all others.
    finish : callable, default None
        Applied to the sorted table: for columns that need all rows.
    mode : {"fail", "append", "overwrite"}, default "fail"

    Raises
    ------
    TooBigForOneNode
        The rows do not fit one worker.
    """
    path = os.fspath(path)
    output = CommittedWrite(path, mode)
    staging = f"{path.rstrip('/')}.unsorted-{output.token}"
    try:
        loose = engine.write(frame, staging)
        loose.require(by, "sort column")
        needed = 3 * loose.nbytes  # as read, sorted, and finished
        if needed > engine.memory:
            raise TooBigForOneNode(
                f"{path}: sorting {loose.num_rows:,} rows takes about {needed / 2**30:.2f} GiB on one worker; "
                f"{engine.memory / 2**30:.2f} GiB are allowed.",
                why="Its groups are put in one order on one worker.",
                fix="Give the workers more memory, or group by fewer keys.",
            )
        task = _SortTask(loose.reader(), loose.blocks, tuple(by), finish)
        schema = loose.schema if finish is None else finish(loose.schema.empty_table()).schema
        output.run(schema, lambda writer: next(iter(engine.map(task, [writer], label="sort"))))
    finally:
        filesystem, folder = storage.resolve(staging)
        with suppress(FileNotFoundError):
            filesystem.delete_dir(folder)
    return open_dataset(path)


@dataclass(frozen=True)
class _SortTask:
    reader: Any
    blocks: Bundle
    by: tuple[str, ...]
    finish: Callable[[pa.Table], pa.Table] | None

    def __call__(self, writer: PartWriter) -> list[Part]:
        table = pa.concat_tables([self.reader.schema.empty_table(), *self.reader.read_all(self.blocks)])
        # In one chunk: how the engine's files were cut would show in the bytes of the new one.
        table = table.sort_by([(name, "ascending") for name in self.by]).combine_chunks()
        return writer.write(0, [table if self.finish is None else self.finish(table)])


def _write_stream(native: Any, output: CommittedWrite) -> None:
    if not hasattr(native, "__arrow_c_stream__"):
        raise BadParameter(
            f"A {type(native).__name__} cannot be written.", fix="Pass a Dataset, or a frame that engine.scan gave."
        )
    reader = pa.RecordBatchReader.from_stream(native)
    output.run(reader.schema, lambda writer: writer.write(0, (pa.Table.from_batches([b]) for b in reader)))


def write_bundles(engine: Engine, dataset: Dataset, task: Any, *, label: str) -> list[Part]:
    """Run a writing task over the numbered bundles of a dataset; its parts in order."""
    numbered = list(enumerate(bundles(dataset, dataset.columns)))
    return [part for parts in engine.map(task, numbered, label=label) for part in parts]


@dataclass(frozen=True)
class _CopyTask:
    reader: Any
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Bundle]) -> list[Part]:
        index, bundle = numbered
        return self.writer.write(index, self.reader.read_all(bundle))
