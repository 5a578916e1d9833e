"""The local engine: joblib on this machine, out of core."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from joblib import Parallel, delayed
from threadpoolctl import threadpool_limits

from parquetry.dataset import Dataset
from parquetry.engine import Engine, Member, machine_cores, machine_memory
from parquetry.engines.tasks import Guarded, Sent, packed
from parquetry.errors import NotEnoughSlots
from parquetry.reduction import TreeMerge

_MEMORY_SHARE = 0.5  # of the machine, for all tasks of this process together
_SLOTS_A_CORE = 4  # gang members wait for each other most of the time


def open_here(_: str, *, workers: int | None, memory: int | None, progress: bool | None) -> LocalEngine:
    """Open the local engine."""
    return LocalEngine(workers=workers, memory=memory, progress=progress)


class LocalEngine(Engine):
    """Threads for tasks that release the GIL, processes for Python-heavy ones.

    A task that has a true attribute ``holds_gil`` runs in loky processes.
    """

    name = "local"

    def __init__(self, *, workers: int | None = None, memory: int | None = None, progress: bool | None = None) -> None:
        super().__init__(progress=progress)
        self.parallelism = workers or machine_cores()
        self.memory = memory or int(machine_memory() * _MEMORY_SHARE)
        self._scratch: str | None = None
        self._connection: Any = None

    def map(self, task: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        processes = getattr(task, "holds_gil", False) and len(items) > 1
        # Pickled once, and unpickled once in each process, however many items there are.
        guarded = Guarded(Sent(packed(task)) if processes else task, label, own_process=processes)
        run = Parallel(
            n_jobs=min(self.parallelism, max(1, len(items))),
            backend="loky" if processes else "threading",
            return_as="generator",
            pre_dispatch="2*n_jobs",
            batch_size=1,
        )
        with self.progress.task(label, len(items)) as advance, threadpool_limits(1):
            for result in run(delayed(guarded)(item) for item in items):
                advance(1)
                yield result

    def reduce(
        self,
        task: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        items: Sequence[Any],
        *,
        label: str,
    ) -> Any:
        tree = TreeMerge(merge)
        for state in self.map(task, items, label=label):
            tree.add(state)
        return tree.result()

    def scan(self, dataset: Dataset) -> Any:
        import duckdb
        import narwhals as nw

        from parquetry import relational

        if self._connection is None:
            self._connection = duckdb.connect()
            self._connection.execute(f"SET threads={self.parallelism}; SET memory_limit='{self.memory // 2**20}MiB'")
            self._connection.execute(f"SET temp_directory='{self._scratch_folder()}'")
        files = relational.plain_files(dataset)
        if files is None:
            # A split or a remote table: its rows are chosen by our own reader, then scanned.
            files = relational.materialize(self, dataset, f"{self._scratch_folder()}/{dataset.fingerprint[:16]}")
        if not files.paths:
            return nw.from_native(self._connection.from_arrow(dataset.schema.empty_table()))
        relation = self._connection.sql(
            f"SELECT {', '.join(map(_quoted, dataset.columns))} "  # noqa: S608 (names are quoted)
            f"FROM read_parquet($paths{_hive_options(dataset)})",
            params={"paths": files.paths},
        )
        return nw.from_native(relation)

    def write(self, frame: Any, path: str, *, mode: str = "fail") -> Dataset:
        from parquetry import relational

        return relational.write(self, frame, path, mode=mode)

    def gang(self, task: Callable[[Member], Any], size: int, *, label: str) -> list[Any]:
        from parquetry.engines.members import run_members

        slots = self.parallelism * _SLOTS_A_CORE
        if size > slots:
            raise NotEnoughSlots(
                f"{label} needs {size} slots at once; this machine has {slots}.", fix="Lower the size of the gang."
            )
        return run_members(task, size, label=label)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _scratch_folder(self) -> str:
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="parquetry-")
            atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch


def _hive_options(dataset: Dataset) -> str:
    """How DuckDB reads folder names: as the types that the dataset gives them, never a guess."""
    if not dataset.partition_columns:
        return ", hive_partitioning=false"
    named = {
        name: "BIGINT" if dataset.full_schema.field(name).type == pa.int64() else "VARCHAR"
        for name in dataset.partition_columns
    }
    types = ", ".join(f"{_quoted(name)}: {kind}" for name, kind in named.items())
    return f", hive_partitioning=true, hive_types={{{types}}}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
