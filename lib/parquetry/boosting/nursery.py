"""Where ranks' processes come from: one that has imported what they need, and forks itself for each.

Importing a booster takes a second or two, which a fit of a few rows, or each of the hundreds of
fits of a search, would pay for anew. The nursery runs ``python -m parquetry.boosting.nursery FD
MODULE…``, does nothing but wait and fork, and ends with the process that has started it, or when
nobody has asked for a minute.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

_IDLE_SECONDS = 60.0
_START_SECONDS = 120.0
_FORK = b"F"
_SIGNALS = 4096  # that are taken note of at once
_nurseries: dict[tuple[str, ...], Nursery] = {}
_lock = threading.Lock()


class Born:
    """A process that a nursery has forked.

    Attributes
    ----------
    pid : int
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._ended, self._code = threading.Event(), 0

    def kill(self) -> None:
        """End it, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            if not self._ended.is_set():
                os.kill(self.pid, signal.SIGKILL)
        self.wait(5.0)

    def wait(self, seconds: float) -> int | None:
        """Its exit code, negative for a signal; None where it has not ended in time."""
        return self._code if self._ended.wait(seconds) else None

    def end(self, code: int) -> None:
        """Note that it has ended."""
        self._code = code
        self._ended.set()


class Nursery:
    """The end of a nursery's connection in the process that has started it.

    Parameters
    ----------
    modules : tuple of str
        What it imports before it forks.
    """

    def __init__(self, modules: tuple[str, ...]) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, our own module)
                [sys.executable, "-m", "parquetry.boosting.nursery", str(theirs.fileno()), *modules],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=_environment(),
            )
        self._socket = ours
        self._asking = threading.Lock()
        self._born: dict[int, Born] = {}
        self._newest: Born | None = None
        self._answered = threading.Condition()
        self.gone = False
        threading.Thread(target=self._listen, name="nursery", daemon=True).start()

    def fork(self, connection: int, printed: int) -> Born:
        """A new process that has these two descriptors: its connection, and where it prints to.

        Raises
        ------
        OSError
            The nursery is gone.
        """
        with self._asking, self._answered:
            self._newest = None
            socket.send_fds(self._socket, [_FORK], [connection, printed])
            self._answered.wait_for(lambda: self._newest is not None or self.gone, _START_SECONDS)
            return self._taken()

    def _taken(self) -> Born:
        if self._newest is None:
            raise OSError("the nursery has ended")
        return self._newest

    def _listen(self) -> None:
        with contextlib.suppress(OSError), self._socket.makefile() as lines:
            for line in lines:
                self._hear(*json.loads(line))
        with self._answered:
            self.gone = True
            for born in self._born.values():
                born.end(0)
            self._answered.notify_all()
        self._socket.close()
        self._process.wait()

    def _hear(self, pid: int, code: int | None) -> None:
        with self._answered:
            if code is None:
                self._newest = self._born[pid] = Born(pid)
                self._answered.notify_all()
            elif pid in self._born:
                self._born.pop(pid).end(code)


def fork(module: str, connection: int, printed: int) -> Born:
    """A new rank's process, from a nursery that has imported ``module``.

    Parameters
    ----------
    module : str
    connection, printed : int
        Descriptors; see :meth:`Nursery.fork`.
    """
    key = (module,)
    for attempt in (1, 2):
        with _lock:
            nursery = _nurseries.get(key)
            if nursery is None or nursery.gone:
                nursery = _nurseries[key] = Nursery(key)
        try:
            return nursery.fork(connection, printed)
        except OSError:
            # It has just gone, as nobody had asked for long.
            nursery.gone = True
            if attempt == 2:
                raise
    raise AssertionError("not reached")


def _environment() -> dict[str, str]:
    known = [p for p in sys.path if p]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    path = dict.fromkeys([*known, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))])
    return {**os.environ, **one, "PYTHONPATH": os.pathsep.join(path)}


# --- the nursery's own process --------------------------------------------------------------------
def main(descriptor: int, modules: list[str]) -> None:
    """Import, then fork a process for each request until the other end is closed."""
    control = socket.socket(fileno=descriptor)
    for module in ("parquetry.boosting.child", "parquetry.boosting.gang", "parquetry.block_cache", *modules):
        # What the workers get by value has no module here.
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    importlib.import_module("gc").freeze()
    awake, signaled = os.pipe()
    os.set_blocking(signaled, False)
    signal.set_wakeup_fd(signaled, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt is for who has started it
    children: set[int] = set()
    last = time.monotonic()
    while True:
        ready, _, _ = select.select([control.fileno(), awake], [], [], _IDLE_SECONDS)
        if awake in ready:
            os.read(awake, _SIGNALS)
        _reap(control, children)
        if control.fileno() in ready:
            message, descriptors, _, _ = socket.recv_fds(control, len(_FORK), 2)
            if not message:
                os._exit(0)
            _fork(control, children, descriptors, [awake, signaled])
            last = time.monotonic()
        if not children and time.monotonic() - last > _IDLE_SECONDS:
            os._exit(0)


def _fork(control: socket.socket, children: set[int], descriptors: list[int], own: list[int]) -> None:
    connection, printed = descriptors
    pid = os.fork()
    if pid == 0:
        _be_born(control, connection, printed, own)
    for descriptor in descriptors:
        os.close(descriptor)
    children.add(pid)
    _tell(control, pid, None)


def _be_born(control: socket.socket, connection: int, printed: int, own: list[int]) -> None:
    """The new process: it runs a rank, and ends."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        control.close()
        for descriptor in own:
            os.close(descriptor)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        os.close(printed)
        run: Callable[[int], Any] = importlib.import_module("parquetry.boosting.child").main
        run(connection)
        code = 0
    finally:
        os._exit(code)


def _reap(control: socket.socket, children: set[int]) -> None:
    for pid in list(children):
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            children.discard(pid)
            _tell(control, pid, os.waitstatus_to_exitcode(status))


def _tell(control: socket.socket, pid: int, code: int | None) -> None:
    try:
        control.sendall(f"{json.dumps([pid, code])}\n".encode())
    except OSError:
        os._exit(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
