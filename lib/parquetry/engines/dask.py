"""The Dask engine: a LocalCluster, a scheduler's address, or the caller's own Client."""

from __future__ import annotations

import logging
import uuid
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import process
from typing import Any

from dask.delayed import delayed
from distributed import Client, LocalCluster, wait
from distributed.scheduler import KilledWorker

from parquetry.dataset import Dataset
from parquetry.engine import Engine, Member, machine_cores, machine_memory
from parquetry.engines.dask_members import Join, together
from parquetry.engines.dask_workers import prepare_workers
from parquetry.engines.tasks import (
    Guarded,
    GuardedFold,
    Sent,
    answered,
    packed,
    refuse_settings,
    require_listener,
    unpacked,
)
from parquetry.errors import EngineLost, EngineUnreachable, NotEnoughSlots, UnguardedScript
from parquetry.reduction import FAN_IN

_CONNECT_SECONDS = 20
_LOOK_SECONDS = 1.0  # after which a gang's workers are looked for
_IN_FLIGHT = 4  # results of map a worker that may wait to be taken
_INLINE_BYTES = 2**16  # up to here a task travels with each of its calls: fetching it from a worker takes longer
_GUARD = "Open the engine below `if __name__ == '__main__':`, or in a function that is called from there."


def open_here(where: Any, *, workers: int | None, memory: int | None, progress: bool | None) -> DaskEngine:
    """Open the Dask engine on what ``open_engine`` was given."""
    if where != "dask":
        refuse_settings("a Dask cluster that runs already", workers=workers, memory=memory)
    if isinstance(where, Client):
        return DaskEngine(where, progress=progress)
    if where != "dask":
        return DaskEngine(_connect(where), owned=[], progress=progress)
    cluster = _start(workers or machine_cores(), memory)
    return DaskEngine(Client(cluster), owned=[cluster], progress=progress)


def _start(count: int, memory: int | None) -> LocalCluster:
    """A cluster on this machine, of a process a worker."""
    # Set while a new process imports the script that started it, which is how workers begin.
    if getattr(process.current_process(), "_inheriting", False):
        raise UnguardedScript(
            "A worker process of the Dask engine came upon open_engine('dask') while it started.",
            why="Each worker process imports the script that opens the engine, and would start workers of its own.",
            fix=_GUARD,
        )
    try:
        return LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            processes=True,
            memory_limit=memory or machine_memory() // count,
            dashboard_address="127.0.0.1:0",
            silence_logs=logging.CRITICAL,  # errors reach the caller typed; the workers need not print them too
        )
    except RuntimeError as error:
        raise EngineLost(
            "The worker processes of the Dask engine ended before they were ready.",
            why=f"{error} What they printed stands above.",
            fix=f"In a script, as each worker process imports it: {_GUARD[0].lower()}{_GUARD[1:]}",
        ) from error


class DaskEngine(Engine):
    """Tasks and tree merges on Dask's workers; their keys read well in the dashboard."""

    name = "dask"

    def __init__(self, client: Client, *, owned: list[Any] | None = None, progress: bool | None = None) -> None:
        super().__init__(progress=progress)
        self.client = client
        self._owned = owned
        workers = client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            self.close()
            raise EngineUnreachable("The Dask scheduler has no worker.", fix="Start workers, then open the engine.")
        self.parallelism = sum(w["nthreads"] for w in workers.values())
        self.memory = min((w["memory_limit"] or machine_memory()) // w["nthreads"] for w in workers.values())
        if not owned:
            # The workers of a cluster of our own run from the same installation.
            prepare_workers(client)

    def map(self, task: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        shared = self._share(Guarded(task, label), label)
        waiting = iter(enumerate(items))
        token = uuid.uuid4().hex

        def submit(n: int) -> list[Any]:
            return [self._submit(_call, shared, item, key=f"{label}-{token}-{i}") for i, item in islice(waiting, n)]

        with self.progress.task(label, len(items)) as advance:
            flying = submit(_IN_FLIGHT * self.parallelism)
            while flying:
                result = self._result(flying.pop(0), label)
                flying.extend(submit(1))
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
        if not items:
            return None
        shared = self._share(Guarded(task, label), label)
        token = uuid.uuid4().hex
        with self.progress.task(label, len(items)) as advance:
            level = [self._submit(_call, shared, item, key=f"{label}-{token}-{i}") for i, item in enumerate(items)]
            for future in level:
                future.add_done_callback(lambda _: advance(1))
            height = 0
            fold = self._share(GuardedFold(merge, label), f"merge-{label}")
            while len(level) > 1:
                height += 1
                groups = [level[i : i + FAN_IN] for i in range(0, len(level), FAN_IN)]
                # Only the newest level is held here, so a state is freed once it is merged.
                level = [
                    self._submit(_call, fold, group, key=f"merge-{label}-{token}-{height}-{i}")
                    for i, group in enumerate(groups)
                ]
            return self._result(level[0], label)

    def scan(self, dataset: Dataset) -> Any:
        import dask.dataframe as dd
        import narwhals as nw

        from parquetry.reduction import bundles

        read = _ReadFrame(dataset.reader(), dataset.schema)
        parts = bundles(dataset, dataset.columns)
        meta = _arrow_frame(dataset.schema.empty_table())
        frame = dd.from_map(read, parts, meta=meta, label=f"scan-{len(parts)}-bundles")
        with warnings.catch_warnings():
            # It announces a package that is not published yet.
            warnings.filterwarnings("ignore", message="Dask support is moving out", category=FutureWarning)
            return nw.from_native(frame)

    def write(self, frame: Any, path: str, *, mode: str = "fail") -> Dataset:
        from parquetry import relational

        return relational.write(self, frame, path, mode=mode, write_native=self._write_native)

    def gang(self, task: Callable[[Member], Any], size: int, *, label: str) -> list[Any]:
        slots = self._slots(threads=getattr(task, "supervises", False))
        if size > len(slots):
            raise NotEnoughSlots(
                f"{label} needs {size} slots at once; the cluster has {len(slots)}.",
                fix="Add workers, or lower the size of the gang.",
            )
        token = uuid.uuid4().hex
        join = self._share(Join(Guarded(task, label), size, token), label)
        with together(self.client, token, size):
            futures = [
                self.client.submit(
                    _call, join, rank, key=f"{label}-{token}-{rank}", workers=[slots[rank]], pure=False, retries=0
                )
                for rank in range(size)
            ]
            self._wait_for_gang(futures, slots[:size], label)
            return [self._result(f, label) for f in futures]

    def _wait_for_gang(self, futures: list[Any], workers: list[str], label: str) -> None:
        """Wait until all members have ended; raise the error of one, or notice a worker that is gone."""
        left = list(futures)
        try:
            while left:
                with suppress(TimeoutError):
                    wait(left, timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
                failed = [f for f in left if f.status in ("error", "cancelled", "lost")]
                if failed:
                    self._result(failed[0], label)
                left = [f for f in left if f.status != "finished"]
                self._check_workers({rank: workers[rank] for rank, f in enumerate(futures) if f in left}, label)
        except BaseException:
            # The others wait for a member that has ended: they are not waited for.
            self.client.cancel(left)
            raise

    def _check_workers(self, of_members: dict[int, str], label: str) -> None:
        """Raise EngineLost where the worker of a member is gone: its task would wait for it without end."""
        present = self.client.scheduler_info(n_workers=-1)["workers"]
        for rank, address in of_members.items():
            if address not in present:
                raise EngineLost(
                    f"{label}: the worker of member {rank}, {address}, is gone.",
                    why="It ended, was killed, or is no longer reached.",
                )

    def _slots(self, *, threads: bool) -> list[str]:
        """The workers' addresses, each once; or as often as it has threads, in turn."""
        workers = self.client.scheduler_info(n_workers=-1)["workers"]
        most = max((w["nthreads"] for w in workers.values()), default=0) if threads else 1
        return [address for turn in range(most) for address, w in workers.items() if turn < w["nthreads"]]

    def close(self) -> None:
        if self._owned is None:
            return
        self.client.close()
        for cluster in self._owned:
            cluster.close()

    def _share(self, task: Callable[[Any], Any], label: str) -> Any:
        """The task as its calls take it; a large one as a future: sent once, and computed anew if a worker is lost."""
        content = packed(task)
        if len(content) <= _INLINE_BYTES:
            return Sent(content)
        return self.client.submit(unpacked, content, key=f"task-{label}-{uuid.uuid4().hex}", pure=False)

    def _submit(self, function: Any, *arguments: Any, key: str) -> Any:
        return self.client.submit(function, *arguments, key=key, pure=False)

    def _result(self, future: Any, label: str) -> Any:
        try:
            return future.result()
        except KilledWorker as error:
            raise EngineLost(
                f"{label}: a task's workers died again and again.",
                why=str(error),
                fix="A block may not fit a worker's memory: give workers more, or write smaller row groups.",
            ) from error
        except OSError as error:
            if isinstance(error, EngineLost) or "comm" not in type(error).__name__.lower():
                raise
            raise EngineLost(f"{label}: the Dask scheduler is gone.", why=str(error)) from error

    def _write_native(self, native: Any, output: Any) -> bool:
        import dask.dataframe as dd

        if not isinstance(native, dd.DataFrame):
            return False
        schema = _frame_schema(native)

        def write(writer: Any) -> list[Any]:
            parts = [delayed(_WritePart(writer, i))(p) for i, p in enumerate(native.to_delayed())]
            futures = self.client.compute(parts)
            return [part for future in futures for part in self._result(future, "write")]

        output.run(schema, write)
        return True


@dataclass(frozen=True)
class _ReadFrame:
    reader: Any
    schema: Any

    def __call__(self, bundle: Any) -> Any:
        import pyarrow as pa

        return _arrow_frame(pa.concat_tables([self.schema.empty_table(), *self.reader.read_all(bundle)]))


@dataclass(frozen=True)
class _WritePart:
    writer: Any
    index: int

    def __call__(self, frame: Any) -> Any:
        import pyarrow as pa

        return self.writer.write(self.index, [pa.Table.from_pandas(frame, preserve_index=False)])


def _arrow_frame(table: Any) -> Any:
    """A pandas frame over the Arrow columns themselves: NumPy would round integers with gaps and lose types."""
    import pandas as pd

    return table.to_pandas(types_mapper=pd.ArrowDtype)


def _frame_schema(frame: Any) -> Any:
    """The Arrow schema of a Dask frame: Arrow's own types as they are, NumPy's by an example."""
    import pandas as pd
    import pyarrow as pa

    example = pa.Schema.from_pandas(frame._meta_nonempty, preserve_index=False)
    kinds = frame.dtypes
    own = {name: kind.pyarrow_dtype for name, kind in kinds.items() if isinstance(kind, pd.ArrowDtype)}
    return pa.schema([pa.field(f.name, own.get(f.name, f.type)) for f in example])


def _call(task: Any, item: Any) -> Any:
    return task(item)


def _connect(address: str) -> Client:
    if address.startswith(("tcp://", "tls://")):
        require_listener(address, default_port=8786)
    try:
        client: Client = answered(lambda: Client(address, timeout=_CONNECT_SECONDS), address, _CONNECT_SECONDS + 5)
    except EngineUnreachable:
        raise
    except (OSError, TimeoutError, ValueError) as error:
        raise EngineUnreachable(
            f"No Dask scheduler answers at {address}.",
            why=str(error),
            fix="Check the address and that the scheduler runs; or use 'dask' for a cluster on this machine.",
        ) from error
    return client
