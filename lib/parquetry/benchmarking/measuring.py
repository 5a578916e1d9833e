"""Measuring one contender in a fresh process: its times, and the memory of its whole tree of processes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from parquetry.benchmarking.worker import Order
from parquetry.errors import missing

HEAVY = ("dask", "distributed", "pyspark", "torch")
_MIB = 2**20
_SAMPLE_SECONDS = 0.05
_SAMPLES_A_LISTING = 5  # listing the tree costs more than looking at processes that are known
_GOODBYE_SECONDS = 30.0


@dataclass(frozen=True)
class Measurement:
    """What one contender has shown on one row of the benchmark.

    Attributes
    ----------
    row, contender : str
    rows : int
        Rows of data.
    status : {"ok", "failed", "timeout", "absent", "not installed"}
    seconds : tuple of float
        One for each repetition that ended.
    driver_mib, worker_mib, sum_mib : float
        Peak resident memory over the process's whole life: of the driver (Python, and its JVM), of the largest
        other process, and of all together at one moment. Pages that processes share count for each.
    answer : tuple of float
        The numbers that were computed, to compare contenders by.
    error : str
        The error's first line.
    """

    row: str
    contender: str
    rows: int
    status: str
    seconds: tuple[float, ...] = ()
    driver_mib: float = 0.0
    worker_mib: float = 0.0
    sum_mib: float = 0.0
    answer: tuple[float, ...] = field(default=(), repr=False)
    error: str = ""

    @property
    def median(self) -> float | None:
        """The median time in seconds; None where the contender did not end well."""
        return statistics.median(self.seconds) if self.status == "ok" else None


def measure(order: Order, *, timeout: float, log: Path) -> Measurement:
    """Run an order in a fresh process.

    Parameters
    ----------
    order : Order
    timeout : float
        Seconds for everything, start-up included; past it the process and its children are ended.
    log : pathlib.Path
        Where the process's output goes.

    Returns
    -------
    Measurement
        A contender's failure is a result, not an error.

    Raises
    ------
    MissingDependency
        psutil is not installed.
    """
    from parquetry.benchmarking.contenders import CONTENDERS

    if not CONTENDERS[order.contender].offers(order.row):
        return Measurement(order.row, order.contender, order.data.rows, "absent", error="It has nothing of the kind.")
    lacking = CONTENDERS[order.contender].missing(order.peer_python)
    if lacking is not None:
        return Measurement(order.row, order.contender, order.data.rows, "not installed", error=lacking)
    home = Path(order.data.path).parent  # predictions are written to the disk that the rows are read from
    with tempfile.TemporaryDirectory(prefix=".scratch-", dir=home, ignore_cleanup_errors=True) as folder:
        command_file, result = Path(folder, "order.json"), Path(folder, "result.json")
        command_file.write_text(order.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "parquetry.benchmarking.worker", str(command_file), str(result)]
        with log.open("wb") as output, _running(command, output) as (process, memory):
            timed_out = not _ended(process, result, order.repeat, timeout)
        found = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    return _measurement(order, found, process.returncode, memory, timeout if timed_out else None)


def measure_import(repeat: int) -> Measurement:
    """``import parquetry`` in fresh interpreters; it fails where an engine or another heavy package comes along."""
    code = (
        "import sys, time; t = time.perf_counter(); import parquetry; s = time.perf_counter() - t; "
        f"print(s, *(m for m in {HEAVY!r} if m in sys.modules))"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        for _ in range(max(3, repeat))
    ]
    broken = [r for r in runs if r.returncode]
    if broken:
        return Measurement("import", "parquetry", 0, "failed", error=_last_line(broken[0].stderr))
    words = [r.stdout.split() for r in runs]
    heavy = sorted({name for w in words for name in w[1:]})
    seconds = tuple(float(w[0]) for w in words)
    if heavy:
        return Measurement("import", "parquetry", 0, "failed", seconds, error=f"It also imports {', '.join(heavy)}.")
    return Measurement("import", "parquetry", 0, "ok", seconds)


class TreeMemory:
    """Watches the resident memory of a process and all its descendants.

    Parameters
    ----------
    pid : int
        The root of the tree.
    """

    def __init__(self, pid: int) -> None:
        psutil = _psutil()
        self._gone: tuple[type[Exception], ...] = (OSError, psutil.Error)
        self._root = psutil.Process(pid)
        self.seen: dict[int, Any] = {pid: self._root}
        self._drivers = {pid}
        self._new: set[int] = set()
        self._peaks: dict[int, int] = {}
        self._sum = 0
        self._samples = 0

    def sample(self) -> None:
        """Look once."""
        if self._samples % _SAMPLES_A_LISTING == 0:
            self._list()
        self._samples += 1
        total = 0
        for pid, process in self.seen.items():
            try:
                now, peak = _resident(process)
            except self._gone:
                continue
            total += now
            self._peaks[pid] = max(self._peaks.get(pid, 0), peak)
        self._sum = max(self._sum, total)

    def mib(self) -> tuple[float, float, float]:
        """Peaks of the driver, of the largest other process, and of the sum, in MiB."""
        driver = sum(peak for pid, peak in self._peaks.items() if pid in self._drivers)
        worker = max((peak for pid, peak in self._peaks.items() if pid not in self._drivers), default=0)
        return driver / _MIB, worker / _MIB, max(self._sum, driver) / _MIB

    def end(self) -> None:
        """Kill what is left of the tree."""
        psutil = _psutil()
        self._list()
        self._list()  # those that are new count at the second look
        alive = [p for p in self.seen.values() if p.is_running()]
        for process in alive:
            try:
                process.kill()
            except self._gone:
                continue
        psutil.wait_procs(alive, timeout=_GOODBYE_SECONDS)

    def _list(self) -> None:
        try:
            children = self._root.children(recursive=True)
        except self._gone:
            return
        # A JVM that starts a command is two JVMs for a moment, with one memory: who is new is counted from the
        # second look on. Linux keeps the peak, so nothing of a process that stays is missed.
        for child in children:
            if child.pid in self._new:
                self.seen.setdefault(child.pid, child)
        self._new = {child.pid for child in children}
        for child in children:
            # Spark's launcher becomes its JVM, so a process is asked for its name every time.
            if child.pid not in self._drivers and self._is_jvm_of_driver(child):
                self._drivers.add(child.pid)

    def _is_jvm_of_driver(self, child: Any) -> bool:
        """Spark's driver is a Python process and the JVM it starts; JVMs below that are executors."""
        try:
            return bool(child.name() == "java" and child.ppid() == self._root.pid)
        except self._gone:
            return False


@contextmanager
def _running(command: list[str], output: Any) -> Iterator[tuple[subprocess.Popen[bytes], TreeMemory]]:
    """A process that is watched while it runs; nothing of it is left afterwards."""
    _psutil()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)  # noqa: S603
    memory = TreeMemory(process.pid)
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            memory.sample()
            stop.wait(_SAMPLE_SECONDS)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield process, memory
    finally:
        stop.set()
        watcher.join()
        memory.end()
        process.wait()


def _ended(process: subprocess.Popen[bytes], result: Path, repeat: int, timeout: float) -> bool:
    """Wait for the end; a process that has all its results and only cannot close is not waited for."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            process.wait(timeout=0.2)
            return True
        except subprocess.TimeoutExpired:
            continue
    found = json.loads(result.read_text(encoding="utf-8")) if result.exists() else {}
    return len(found.get("seconds", ())) == repeat


def _measurement(
    order: Order, found: dict[str, Any], code: int | None, memory: TreeMemory, timed_out_after: float | None
) -> Measurement:
    seconds = tuple(found.get("seconds", ()))
    status, error = "ok", ""
    if timed_out_after is not None:
        status, error = "timeout", f"It was ended after {timed_out_after:g} s."
    elif found.get("error"):
        status, error = "failed", found["error"].strip().splitlines()[0]
    elif len(seconds) < order.repeat:
        status, error = "failed", f"The process ended with exit code {code} before it was done."
    answer = tuple(found.get("answer", ()))
    return Measurement(
        order.row, order.contender, order.data.rows, status, seconds, *memory.mib(), answer=answer, error=error
    )


def _resident(process: Any) -> tuple[int, int]:
    """Bytes now, and at the highest: Linux keeps the peak itself, so that none falls between two looks."""
    if not sys.platform.startswith("linux"):
        now = int(process.memory_info().rss)
        return now, now
    with open(f"/proc/{process.pid}/status", encoding="ascii", errors="replace") as file:
        lines = dict(line.split(":", 1) for line in file if line.startswith(("VmRSS", "VmHWM")))
    now, peak = (int(lines.get(k, "0 kB").split()[0]) * 1024 for k in ("VmRSS", "VmHWM"))
    return now, peak


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "It ended without a word."


def _psutil() -> Any:
    try:
        import psutil
    except ImportError as error:
        raise missing("psutil", "dask", "to measure the memory of a contender's processes") from error
    return psutil
