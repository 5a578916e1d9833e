"""What runs on a worker for a rank: it starts the rank's process, listens to it, and ends it.

Trainings talk to each other in native code, which waits without end for a rank that is gone, or
ends the process that it runs in. So each rank has a process of its own, and the engine's worker
only watches: whatever happens there, nothing hangs and the worker lives.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, ClassVar, Self

import cloudpickle

from parquetry.errors import EngineLost, GangLost, ParquetryError

if TYPE_CHECKING:
    from parquetry.engine import Member

_POLL_SECONDS = 0.5
_LOOK_SECONDS = 2.0  # between two looks whether all other members are still there
_GRACE_SECONDS = 3.0  # a rank that fails because of another lets the other speak first
_TAIL = 2000  # characters of what a rank's process has printed that an error quotes


@dataclass(frozen=True, eq=False)
class Supervise:
    """A gang's task: one rank's process from its start to its result.

    Parameters
    ----------
    content : bytes
        The training and its shares, opened in the rank's process only.
    silence : float
        Seconds without a sign of life after which the process is taken for lost.
    threads : int
    label : str
    """

    supervises: ClassVar[bool] = True
    """Tells an engine that the work is done elsewhere: a thread is enough to run it."""

    content: bytes
    silence: float
    threads: int
    label: str

    @classmethod
    def of(cls, training: Any, shares: Mapping[str, Any], gang: Any, threads: int, label: str, start: int) -> Self:
        """The task for a training; ``start`` counts how often the gang was started before."""
        content = bytes(cloudpickle.dumps((training, dict(shares), gang, start), protocol=5))
        return cls(content, gang.silence, threads, label)

    def __call__(self, member: Member) -> Any:
        with _Process(self.threads) as process:
            return _Watch(self, member, process).result()


class _Process:
    """A rank's process and the connection to it; leaving it kills the process."""

    def __init__(self, threads: int) -> None:
        ours, theirs = socket.socketpair()
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115 (closed on leaving)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, our own module)
                [sys.executable, "-m", "parquetry.boosting.child", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._printed,
                stderr=self._printed,
                env=_environment(threads),
            )
        self.connection = Connection(ours.detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._process.kill()
        self._process.wait()
        self._printed.close()

    def ended(self) -> int:
        """The exit code of a process that has closed its connection."""
        try:
            return self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            return 0

    def printed(self) -> str:
        """The end of what the process has printed."""
        size = self._printed.seek(0, os.SEEK_END)
        self._printed.seek(max(0, size - _TAIL))
        return self._printed.read().decode(errors="replace").strip()


@dataclass
class _Watch:
    task: Supervise
    member: Member
    process: _Process
    round: int = 0

    def result(self) -> Any:
        facts = (self.member.rank, self.member.size, self.task.threads, self.member.host)
        connection = self.process.connection
        connection.send_bytes(pickle.dumps(facts))
        connection.send_bytes(self.task.content)
        heard = looked = time.monotonic()
        while True:
            if connection.poll(_POLL_SECONDS):
                kind, content = self._received()
                if kind == "result":
                    return pickle.loads(content)
                self._answer(kind, content)
                heard = time.monotonic()
            now = time.monotonic()
            if now - heard > self.task.silence:
                raise self._lost(f"gave no sign of life for {self.task.silence:.0f} seconds")
            if now - looked > _LOOK_SECONDS:
                looked = now
                if not self.member.together():
                    raise self._lost("was ended, as another rank of the gang is gone")

    def _received(self) -> tuple[str, Any]:
        try:
            message: tuple[str, Any] = pickle.loads(self.process.connection.recv_bytes())
        except (EOFError, OSError):
            code = self.process.ended()
            if code >= 0:
                # It left by itself: so a training does that has noticed the loss of another rank.
                self._let_others_speak()
            raise self._lost(_exit(code)) from None
        return message

    def _answer(self, kind: str, content: Any) -> None:
        if kind == "round":
            self.round = content
        elif kind == "gather":
            answer = self.member.all_gather(content)
            with contextlib.suppress(OSError):  # an end of the process is told by the next message
                self.process.connection.send_bytes(pickle.dumps(answer))
        elif kind == "error":
            error: ParquetryError = pickle.loads(content)
            if isinstance(error, EngineLost):
                self._let_others_speak()
                raise self._lost(f"broke off: {error.fact}")
            raise error

    def _let_others_speak(self) -> None:
        end = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < end and self.member.together():
            time.sleep(0.1)

    def _lost(self, what: str) -> GangLost:
        printed = self.process.printed()
        return GangLost(
            f"{self.task.label}: the process of rank {self.member.rank} of {self.member.size} {what}, "
            f"in round {self.round}.",
            why=f"It printed last: {printed}" if printed else "",
        )


def _exit(code: int) -> str:
    if code < 0:
        memory = " (the system does so when memory runs out)" if code == -9 else ""
        return f"was killed by signal {-code}{memory}"
    return f"ended with code {code}"


def _environment(threads: int) -> dict[str, str]:
    known = [p for p in sys.path if p]
    one = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **os.environ,
        **one,
        "OMP_NUM_THREADS": str(threads),
        "PYTHONPATH": os.pathsep.join(dict.fromkeys([*known, *os.environ.get("PYTHONPATH", "").split(os.pathsep)])),
    }
