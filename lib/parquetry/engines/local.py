"""The local engine: threads and processes of this machine, out of core."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import closing
from functools import partial
from itertools import islice
from typing import Any

import pyarrow as pa
from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from parquetry.dataset import Dataset
from parquetry.engine import Engine, Member, machine_cores, machine_memory
from parquetry.engines.tasks import Guarded, Sent, packed
from parquetry.errors import EngineLost, NotEnoughSlots
from parquetry.one_thread import one_thread
from parquetry.reduction import TreeMerge

_MEMORY_SHARE = 0.5  # of the machine, for all tasks of this process together
_SLOTS_A_CORE = 4  # gang members wait for each other most of the time
_IN_FLIGHT = 4  # results of map a worker that may wait to be taken
_IDLE_SECONDS = 60  # after which worker processes leave

Results = Generator[Any, None, None]


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
        self._processes: Any = None

    def map(self, task: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        workers = min(self.parallelism, len(items))
        with self.progress.task(label, len(items)) as advance, one_thread():
            if workers < 2:
                results: Results = (Guarded(task, label, own_process=False)(item) for item in items)
            elif getattr(task, "holds_gil", False):
                results = self._in_processes(Guarded(task, label), items)
            else:
                results = _in_threads(Guarded(task, label, own_process=False), items, workers)
            with closing(results):
                for result in results:
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
        from parquetry.engines.members import run_members, run_watchers

        slots = self.parallelism * _SLOTS_A_CORE
        if size > slots:
            raise NotEnoughSlots(
                f"{label} needs {size} slots at once; this machine has {slots}.", fix="Lower the size of the gang."
            )
        run = run_watchers if getattr(task, "supervises", False) else run_members
        return run(task, size, label=label)

    def close(self) -> None:
        if self._processes is not None:
            self._processes.shutdown(kill_workers=True)
            self._processes = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._scratch is not None:
            shutil.rmtree(self._scratch, ignore_errors=True)
            self._scratch = None

    def _in_processes(self, task: Guarded, items: Sequence[Any]) -> Results:
        if self._processes is None:
            # A pool of our own: loky's shared one is joblib's, which breaks where another user has started it.
            self._processes = ProcessPoolExecutor(self.parallelism, timeout=_IDLE_SECONDS)
        submit = partial(self._processes.submit, Sent(packed(task)))
        try:
            yield from _windowed(submit, items, _IN_FLIGHT * self.parallelism)
        except BrokenProcessPool as error:
            self._processes = None
            raise EngineLost(
                f"{task.label}: a worker process died.",
                why=str(error),
                fix="It may have run out of memory: open the engine with fewer workers.",
            ) from error

    def _scratch_folder(self) -> str:
        if self._scratch is None:
            self._scratch = tempfile.mkdtemp(prefix="parquetry-")
            atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        return self._scratch


def _in_threads(task: Guarded, items: Sequence[Any], workers: int) -> Results:
    with ThreadPoolExecutor(workers, thread_name_prefix=task.label, initializer=one_thread) as pool:
        yield from _windowed(lambda item: pool.submit(task, item), items, _IN_FLIGHT * workers)


def _windowed(submit: Callable[[Any], Future[Any]], items: Iterable[Any], size: int) -> Results:
    """Results in order, with at most ``size`` items that run, wait to run, or are done and not yet taken."""
    waiting = iter(items)
    window: deque[Future[Any]] = deque()
    try:
        window.extend(submit(item) for item in islice(waiting, size))
        while window:
            result = window[0].result()
            window.popleft()
            window.extend(submit(item) for item in islice(waiting, 1))
            yield result
    finally:
        for future in window:
            future.cancel()
        # What already runs cannot be stopped; whoever closed the map may remove what it works on.
        wait(window)


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
