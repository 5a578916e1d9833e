"""The seam: what an engine can do, and ``open_engine``.

An engine schedules work. It knows nothing of statistics or models.
"""

from __future__ import annotations

import importlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, runtime_checkable

from parquetry.errors import BadParameter, UnknownEngine, did_you_mean, missing
from parquetry.progress import Progress

if TYPE_CHECKING:
    from parquetry.dataset import Dataset

_UNITS = {"": 1, "B": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_UNITS |= {f"{u}B": n for u, n in list(_UNITS.items()) if u not in ("", "B")}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_SPARK_MASTERS = ("spark://", "local[", "local-cluster[", "yarn", "k8s://")
_DASK_SCHEMES = ("tcp://", "tls://", "ws://", "wss://", "ucx://", "inproc://")


class Engine(ABC):
    """Schedules tasks. A context manager: leaving it ends what it has started itself.

    Attributes
    ----------
    name : str
        ``"local"``, ``"dask"`` or ``"spark"``.
    parallelism : int
        Tasks that run at the same time.
    memory : int
        Bytes that one task may use.
    """

    name: str
    parallelism: int
    memory: int

    def __init__(self, *, progress: bool | None = None) -> None:
        self.progress = Progress(progress)

    @abstractmethod
    def map(self, task: Callable[[Any], Any], items: Sequence[Any], *, label: str) -> Iterator[Any]:
        """``task(item)`` for each item: results in order, streamed, a bounded number in flight.

        Raises
        ------
        ParquetryError
            The task's own, or TaskFailed with the worker's traceback for any other error.
        """

    @abstractmethod
    def reduce(
        self,
        task: Callable[[Any], Any],
        merge: Callable[[Any, Any], Any],
        items: Sequence[Any],
        *,
        label: str,
    ) -> Any:
        """The results of ``task(item)`` merged in the fixed tree; merges run on the workers."""

    @abstractmethod
    def scan(self, dataset: Dataset) -> Any:
        """The dataset as a ``narwhals.LazyFrame`` over the engine's own lazy frame."""

    @abstractmethod
    def write(self, frame: Any, path: str, *, mode: str = "fail") -> Dataset:
        """Commit a frame (narwhals or native) or a Dataset as a Delta table: whole or not at all.

        Parameters
        ----------
        mode : {"fail", "append", "overwrite"}, default "fail"
        """

    @abstractmethod
    def close(self) -> None:
        """End what this engine has started; an engine over a caller's own client leaves it be."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@runtime_checkable
class SupportsGang(Protocol):
    """An engine that can run tasks all at once, which talk to each other."""

    def gang(self, task: Callable[[Member], Any], size: int, *, label: str) -> list[Any]:
        """``task(member)`` for ``size`` members at the same time; results in order of rank.

        A task with a true attribute ``supervises`` only watches over a process of its own: an
        engine may run it in a thread, and as many on a worker as that has threads.

        Raises
        ------
        NotEnoughSlots
            The engine cannot run that many at once.
        EngineLost
            A member, or the worker that ran it, is gone.
        """


class Member(Protocol):
    """What a gang's task is given."""

    rank: int
    size: int

    @property
    def host(self) -> str:
        """The address under which other members reach this one's machine."""

    def all_gather(self, message: str) -> list[str]:
        """Every member's message, in order of rank; waits for all of them."""

    def together(self) -> bool:
        """Whether no other member is known to have failed."""


def open_engine(
    where: Any = "local",
    *,
    workers: int | None = None,
    memory: str | int | None = None,
    progress: bool | None = None,
) -> Engine:
    """Open an engine.

    Parameters
    ----------
    where : str, dask.distributed.Client or pyspark SparkSession, default "local"
        ``"local"``, ``"dask"`` (a cluster on this machine), ``"spark"`` (what ``spark-submit``
        set, else ``local[*]``); an address: ``tcp://…`` (Dask), ``spark://…`` or another Spark
        master, ``sc://…`` (Spark Connect); or an existing client or session, which is left open.
    workers : int, default None
        How many tasks run at once; None for one a core. Not for clusters that are already there.
    memory : str or int, default None
        Bytes for one worker, as ``"4GiB"``; None for a share of the machine's.
    progress : bool, default None
        Show a progress bar; None shows it where standard error is a terminal.

    Raises
    ------
    UnknownEngine, MissingDependency, JavaMissing, EngineUnreachable
    """
    if workers is not None and workers < 1:
        raise BadParameter(f"workers={workers} is not a number of workers.", fix="Pass 1 or more.")
    name = engine_name(where)
    extra = {"dask": ("distributed", "dask"), "spark": ("pyspark", "spark")}.get(name)
    if extra is not None:
        _require(*extra, need=f"for the {name} engine")
    module = importlib.import_module(f"parquetry.engines.{name}")
    opened: Engine = module.open_here(
        where, workers=workers, memory=None if memory is None else parse_bytes(memory), progress=progress
    )
    return opened


@contextmanager
def borrowed_engine(engine: Any) -> Iterator[Engine]:
    """The engine that a call was given, left open; or a fresh one, closed at the end."""
    if isinstance(engine, Engine):
        yield engine
        return
    with open_engine("local" if engine is None else engine) as opened:
        yield opened


def parse_bytes(size: str | int) -> int:
    """Bytes from ``"4GiB"``, ``"512 MB"``, ``"1.5g"`` or a number."""
    if isinstance(size, int):
        if size < 1:
            raise BadParameter(f"memory={size} is not a size.", fix="Pass bytes, or a text such as '4GiB'.")
        return size
    match = re.fullmatch(r"\s*([0-9.]+)\s*([A-Za-z]*)\s*", size)
    unit = match.group(2).upper() if match else ""
    if match is None or unit not in _UNITS or match.group(1).count(".") > 1:
        raise BadParameter(f"memory={size!r} is not a size.", fix="Write it as '4GiB', '512MB' or a number of bytes.")
    return max(1, int(float(match.group(1)) * _UNITS[unit]))


def machine_memory() -> int:
    """Bytes of memory that this machine, or this process's control group, has."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for limit in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(limit) as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdigit():
            total = min(total, int(text))
    return total


def machine_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def engine_name(where: Any) -> str:
    """Which engine ``open_engine`` would open; raises UnknownEngine where it is none."""
    if isinstance(where, str):
        if where in ("local", "dask", "spark"):
            return where
        if where.startswith(_DASK_SCHEMES):
            return "dask"
        if where.startswith((*_SPARK_MASTERS, "sc://")):
            return "spark"
        raise UnknownEngine(
            f"{where!r} names no engine.",
            why=did_you_mean(where, ["local", "dask", "spark"]),
            fix="Addresses begin with tcp:// (Dask), spark:// (Spark) or sc:// (Spark Connect).",
        )
    # Asked of the class, so that neither package need be imported to know.
    packages = {kind.__module__.split(".")[0] for kind in type(where).__mro__}
    if "distributed" in packages:
        return "dask"
    if "pyspark" in packages:
        return "spark"
    raise UnknownEngine(
        f"{type(where).__name__} is no engine.",
        fix="Pass 'local', 'dask', 'spark', an address, a dask.distributed.Client or a SparkSession.",
    )


def _require(package: str, extra: str, *, need: str) -> None:
    try:
        importlib.import_module(package)
    except ImportError as error:
        raise missing(package, extra, need) from error
