"""What the engines share for relational work: files to scan, and frames to committed tables."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter
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
