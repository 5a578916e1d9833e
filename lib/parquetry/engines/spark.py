"""The Spark engine: classic sessions and Spark Connect, with nothing but ``mapInArrow``.

Rows never pass through the JVM: Spark schedules numbered bundles, Python reads them with pyarrow.
"""

from __future__ import annotations

import base64
import os
import pickle
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

import parquetry
from parquetry.commit import common_schema, fitted
from parquetry.dataset import Dataset
from parquetry.engine import Engine, Member
from parquetry.engines.packing import library_archive
from parquetry.engines.spark_memory import task_memory
from parquetry.engines.spark_workers import settle, wake
from parquetry.engines.tasks import (
    Guarded,
    GuardedFold,
    answered,
    packed,
    refuse_settings,
    require_listener,
    unpacked,
)
from parquetry.errors import (
    BadParameter,
    EngineLost,
    EngineUnreachable,
    JavaMissing,
    NotEnoughSlots,
    ParquetryError,
)
from parquetry.reduction import FAN_IN, TreeMerge

_WAVE = 4  # items of map a core that one Spark job takes, so that results stay bounded
_ITEMS_A_TASK = 8  # a Spark task that runs Python costs 50 ms: that many items may share one
_START_SECONDS = 28.0  # an application's start on a master that answers takes about 5
_RESULT = "number long, payload binary"
_MARK = re.compile(r"parquetry-error:([A-Za-z0-9+/=]+):end")


def open_here(where: Any, *, workers: int | None, memory: int | None, progress: bool | None) -> SparkEngine:
    """Open the Spark engine on what ``open_engine`` was given."""
    if not isinstance(where, str):
        refuse_settings("a Spark session that is open already", workers=workers, memory=memory)
        return SparkEngine(where, progress=progress)
    # Without this the workers take whichever python3 comes first on their PATH.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    if where.startswith("sc://"):
        refuse_settings("a Spark Connect server", workers=workers, memory=memory)
        require_listener(where, default_port=15002)
        session = answered(lambda: _connected(where), where, _START_SECONDS)
        return SparkEngine(session, owned=True, progress=progress)
    _require_java()
    if where.startswith("spark://"):
        for master in where.removeprefix("spark://").split(","):
            require_listener(f"spark://{master}", default_port=7077)
    if not (where == "spark" and not _submitted()) and not where.startswith("spark://"):
        refuse_settings("a Spark master that has its own number of cores", workers=workers)
    active = SparkSession.getActiveSession()
    if active is not None and where not in ("spark", active.sparkContext.master):
        raise BadParameter(
            f"A Spark session on {active.sparkContext.master} is open in this process; {where} was asked for.",
            why="A process has one Spark context at a time.",
            fix="Stop that session first, or pass it to open_engine.",
        )
    if active is not None:
        # A session of the caller's own: neither its settings nor its end are ours.
        refuse_settings("a Spark session that is open already", workers=workers, memory=memory)
        return SparkEngine(active, progress=progress)
    if where.startswith("spark://"):
        session = answered(lambda: _build(where, workers, memory), where, _START_SECONDS)
    else:
        session = _build(where, workers, memory)
    return SparkEngine(session, owned=True, progress=progress)


class SparkEngine(Engine):
    """Tasks as ``mapInArrow`` over a small frame of numbers; tree merges on executors."""

    name = "spark"

    def __init__(self, session: Any, *, owned: bool = False, progress: bool | None = None) -> None:
        super().__init__(progress=progress)
        self.session = session
        self._owned = owned
        self._connect = "connect" in type(session).__module__
        self.parallelism = max(1, self._slots())
        self.memory = task_memory(lambda name: session.conf.get(name, None), self.parallelism)
        self._bring_library()
        self._wake_slots()

    def map(self, task: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        wave = _WAVE * self.parallelism
        with self.progress.task(label, len(items)) as advance:
            for start in range(0, len(items), wave):
                part = items[start : start + wave]
                payloads = self._run(self._calls(task, part, label), label)
                advance(len(part))
                yield from (pickle.loads(p) for p in payloads)

    def reduce(
        self,
        task: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        items: Sequence[Any],
        *,
        label: str,
    ) -> Any:
        with self.progress.task(label, len(items)) as advance:
            frame, left = self._calls(task, items, label), len(items)
            while left > FAN_IN:
                left = -(-left // FAN_IN)
                fold = _Merge(packed(GuardedFold(merge, label)))
                grouped = frame.selectExpr(f"number div {FAN_IN} as parent", "number", "payload")
                frame = grouped.repartition(left, "parent").mapInArrow(fold, _RESULT)
            payloads = self._run(frame, label)
            advance(len(items))
        tree = TreeMerge(merge)
        for payload in payloads:
            tree.add(pickle.loads(payload))
        return tree.result()

    def scan(self, dataset: Dataset) -> Any:
        import narwhals as nw

        from parquetry.reduction import bundles

        parts = bundles(dataset, dataset.columns)
        schema = common_schema(dataset.schema)
        read = _ReadRows(dataset.reader(), schema, _pickled(parts))
        frame = self.session.range(0, len(parts), 1, max(1, len(parts))).mapInArrow(read, _spark_schema(schema))
        return nw.from_native(frame)

    def write(self, frame: Any, path: str, *, mode: str = "fail") -> Dataset:
        from parquetry import relational

        return relational.write(self, frame, path, mode=mode, write_native=self._write_native)

    def gang(self, task: Callable[[Member], Any], size: int, *, label: str) -> list[Any]:
        if size > self.parallelism:
            raise NotEnoughSlots(
                f"{label} needs {size} slots at once; the cluster has {self.parallelism}.",
                fix="Ask for more executors or cores, or lower the size of the gang.",
            )
        join = _Join(packed(Guarded(task, label)), size)
        frame = self.session.range(0, size, 1, size).mapInArrow(join, _RESULT, barrier=True)
        return [pickle.loads(p) for p in self._run(frame, label)]

    def close(self) -> None:
        if self._owned:
            self.session.stop()

    def _calls(self, task: Callable[[Any], Any], items: Sequence[Any], label: str) -> Any:
        call = _Call(packed(Guarded(task, label)), _pickled(items))
        partitions = max(1, min(len(items), max(self.parallelism, -(-len(items) // _ITEMS_A_TASK))))
        return self.session.range(0, len(items), 1, partitions).mapInArrow(call, _RESULT)

    def _run(self, frame: Any, label: str) -> list[bytes]:
        """Run a frame of numbered payloads as one job; the payloads in order of number."""
        return [p.as_py() for p in self._collected(frame, label).sort_by("number").column("payload")]

    def _collected(self, frame: Any, label: str) -> pa.Table:
        try:
            with self._described(label):
                return frame.toArrow()
        except (PySparkException, Py4JError) as error:
            # The stages of gangs fail with the JVM's own error.
            raise _unwrapped(error, label) from error
        except OSError as error:
            raise EngineLost(f"{label}: Spark is gone.", why=str(error), fix="Look at the driver's log.") from error

    @contextmanager
    def _described(self, label: str) -> Iterator[None]:
        """The label as the jobs' description in the Spark UI, or as a tag on Connect."""
        if self._connect:
            self.session.addTag(label.replace(",", "+"))
            try:
                yield
            finally:
                self.session.clearTags()
            return
        context = self.session.sparkContext
        context.setJobDescription(label)
        try:
            yield
        finally:
            context.setJobDescription(None)

    def _slots(self) -> int:
        if not self._connect:
            return int(self.session.sparkContext.defaultParallelism)
        # Connect has no SparkContext: the number of partitions that Spark itself chooses tells.
        frame = self.session.range(1_000_000).selectExpr("spark_partition_id() as p").distinct()
        return int(frame.count())

    def _bring_library(self) -> None:
        """Send this library to the executors; what it is built on must be there already."""
        if not self._connect and re.match(r"local(\[|$)", self.session.sparkContext.master):
            # They are on this machine: in its own folder, the library finds what was compiled for it before.
            environment = self.session.sparkContext.environment
            known = environment.get("PYTHONPATH", "").split(os.pathsep)
            folder = os.path.dirname(os.path.dirname(os.path.abspath(parquetry.__file__)))
            environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys([*filter(None, known), folder]))
            return
        archive, _ = library_archive()
        if self._connect:
            self.session.addArtifacts(str(archive), pyfile=True)
        else:
            self.session.sparkContext.addPyFile(str(archive))

    def _wake_slots(self) -> None:
        """Let every slot import what tasks are made of, all at once: else each pass waits for some that still do."""
        frame = self.session.range(0, self.parallelism, 1, self.parallelism).mapInArrow(wake, "id long")
        try:
            self._collected(frame, "start")
        except ParquetryError:
            self.close()  # what was opened here does not stay behind an error
            raise

    def _write_native(self, native: Any, output: Any) -> bool:
        from pyspark.sql.pandas.types import to_arrow_schema

        if not (hasattr(native, "mapInArrow") and hasattr(native, "sparkSession")):
            return False
        schema = to_arrow_schema(native.schema, timezone="UTC")

        def write(writer: Any) -> list[Any]:
            payloads = self._run(native.mapInArrow(_WriteParts(writer), _RESULT), "write")
            return [part for p in payloads for part in pickle.loads(p)]

        output.run(schema, write)
        return True


@dataclass(frozen=True)
class SparkMember:
    """A gang member's end, over Spark's barrier."""

    rank: int
    size: int

    def all_gather(self, message: str) -> list[str]:
        """Every member's message, in order of rank; waits for all of them."""
        from pyspark import BarrierTaskContext

        return list(BarrierTaskContext.get().allGather(message))

    @property
    def host(self) -> str:
        """The address under which other members reach this one's machine."""
        from pyspark import BarrierTaskContext

        addresses = [info.address for info in BarrierTaskContext.get().getTaskInfos()]
        hosts = [address.rpartition(":")[0] or address for address in addresses]
        elsewhere = next((h for h in hosts if h != hosts[self.rank]), None)
        if elsewhere is None:
            return hosts[self.rank]
        # A machine's own name may lead to its loopback: what counts is where the way to another begins.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((elsewhere, 9))
            return str(probe.getsockname()[0])

    def together(self) -> bool:
        """Whether no other member is known to have failed: Spark itself ends all where one has."""
        return True


@dataclass(frozen=True)
class _Call:
    """``task(item)`` for the numbers that a partition holds; both pickled by cloudpickle itself.

    PySpark brings a copy of its own, which does not know what was registered with cloudpickle.
    """

    task: bytes
    items: list[bytes]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                item = pickle.loads(self.items[number])
                yield _row(number, _carried(self.task, item))


@dataclass(frozen=True)
class _Merge:
    """Merges the states of each group that a partition holds, in order of number."""

    fold: bytes

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        groups: dict[int, list[tuple[int, bytes]]] = {}
        for batch in batches:
            parents, numbers, payloads = (batch.column(i).to_pylist() for i in range(3))
            for parent, number, payload in zip(parents, numbers, payloads, strict=True):
                groups.setdefault(parent, []).append((number, payload))
        for parent, members in sorted(groups.items()):
            states = [pickle.loads(p) for _, p in sorted(members)]
            yield _row(parent, _carried(self.fold, states))


@dataclass(frozen=True)
class _Join:
    task: bytes
    size: int

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        ranks = [n for batch in batches for n in batch.column(0).to_pylist()]
        for rank in ranks:
            yield _row(rank, _carried(self.task, SparkMember(rank, self.size)))


@dataclass(frozen=True)
class _ReadRows:
    reader: Any
    schema: pa.Schema
    bundles: list[bytes]

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for number in batch.column(0).to_pylist():
                bundle = pickle.loads(self.bundles[number])
                for table in self.reader.read_all(bundle):
                    yield from fitted(table, self.schema).combine_chunks().to_batches()


@dataclass(frozen=True)
class _WriteParts:
    writer: Any

    def __call__(self, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        from pyspark import TaskContext

        context = TaskContext.get()
        number = context.partitionId() if context is not None else 0
        tables = (pa.Table.from_batches([b]) for b in batches)
        yield _row(number, _carried(packed(Guarded(partial(self.writer.write, number), "write")), tables))


class _Carrier(RuntimeError):
    """A typed error on its way through the JVM, which keeps only an error's text."""


def _carried(task: bytes, item: Any) -> bytes:
    try:
        return packed(unpacked(task)(item))
    except ParquetryError as error:
        text = base64.b64encode(pickle.dumps(error)).decode()
        raise _Carrier(f"{error} [parquetry-error:{text}:end]") from None
    finally:
        settle()


def _unwrapped(error: Exception, label: str) -> ParquetryError:
    found = _MARK.search(str(error))
    if found:
        return pickle.loads(base64.b64decode(found.group(1)))  # type: ignore[no-any-return]
    return EngineLost(
        f"{label}: the Spark job failed.",
        why=str(error)[:2000],
        fix="Look at the job in the Spark UI; a lost executor may need more memory.",
    )


def _row(number: int, payload: bytes) -> pa.RecordBatch:
    return pa.record_batch([pa.array([number], pa.int64()), pa.array([payload], pa.binary())], ["number", "payload"])


def _pickled(items: Sequence[Any]) -> list[bytes]:
    # Each by itself: a worker unpacks only the items that it works on.
    return [packed(item) for item in items]


def _spark_schema(schema: pa.Schema) -> Any:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def _build(where: str, workers: int | None, memory: int | None) -> Any:
    builder = SparkSession.builder.appName("parquetry")
    if where != "spark":
        builder = builder.master(where)
    elif not _submitted():
        builder = builder.master(f"local[{workers or '*'}]")
    size = None if memory is None else f"{max(1, memory // 2**20)}m"
    if size is not None:
        builder = builder.config("spark.driver.memory", size).config("spark.executor.memory", size)
    if workers is not None and where.startswith("spark://"):
        builder = builder.config("spark.cores.max", workers)
    quiet = {
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.pyspark.enabled": "true",
        # Over TCP each task waits about 40 ms for delayed acknowledgments.
        "spark.python.unix.domain.socket.enabled": str(hasattr(socket, "AF_UNIX")).lower(),
        "spark.executorEnv.OMP_NUM_THREADS": "1",
        "spark.executorEnv.OPENBLAS_NUM_THREADS": "1",
    }
    for key, value in quiet.items():
        builder = builder.config(key, value)
    try:
        return builder.getOrCreate()
    except PySparkException as error:
        raise _unopened(where, error) from error


def _connected(address: str) -> Any:
    try:
        session = SparkSession.builder.remote(address).getOrCreate()
        _ = session.version  # the first thing that asks the server
    except PySparkException as error:
        raise _unopened(address, error) from error
    return session


def _unopened(address: str, error: PySparkException) -> EngineUnreachable:
    return EngineUnreachable(
        f"No Spark session could be opened on {address}.",
        why=str(error)[:500],
        fix="Stop a session of another kind in this process first; look at the server's log.",
    )


def _submitted() -> bool:
    """Whether ``spark-submit`` started this process, and so chose the master."""
    return "PYSPARK_GATEWAY_PORT" in os.environ or "spark.master" in os.environ.get("PYSPARK_SUBMIT_ARGS", "")


def _require_java() -> None:
    home = os.environ.get("JAVA_HOME")
    if (home and os.access(os.path.join(home, "bin", "java"), os.X_OK)) or shutil.which("java"):
        return
    raise JavaMissing(
        "There is no Java runtime.",
        why="Spark runs on Java 17; neither JAVA_HOME nor PATH leads to one.",
        fix="Install it (Debian: apt-get install openjdk-17-jre-headless; macOS: brew install openjdk@17), "
        "or use the local or dask engine, which need none.",
    )
