"""A gang on this machine: one loky process a member, and a meeting point in the parent."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

from joblib.externals.loky import ProcessPoolExecutor
from joblib.externals.loky.process_executor import BrokenProcessPool

from parquetry.engines.tasks import Guarded
from parquetry.errors import EngineLost


@dataclass
class LocalMember:
    """One member's end of the connection to the meeting point."""

    rank: int
    size: int
    connection: Connection

    def all_gather(self, message: str) -> list[str]:
        """Every member's message, in order of rank; waits for all of them."""
        self.connection.send(message)
        try:
            messages: list[str] = self.connection.recv()
        except EOFError as error:
            raise EngineLost(f"Member {self.rank}: another member of the gang has ended.") from error
        return messages

    @property
    def host(self) -> str:
        """The address under which other members reach this one."""
        return "127.0.0.1"

    def together(self) -> bool:
        """Whether no other member is known to have failed: told by the next meeting."""
        return True


@dataclass
class Watcher:
    """A member in a thread of this process, which watches over a process of its own."""

    rank: int
    size: int
    meeting: threading.Barrier
    messages: list[str]

    @property
    def host(self) -> str:
        """The address under which other members reach this one."""
        return "127.0.0.1"

    def all_gather(self, message: str) -> list[str]:
        """Every member's message, in order of rank; waits for all of them."""
        self.messages[self.rank] = message
        try:
            self.meeting.wait()
            messages = list(self.messages)
            self.meeting.wait()  # nobody writes the next message before all have read this one
        except threading.BrokenBarrierError as error:
            raise EngineLost(f"Member {self.rank}: another member of the gang has ended.") from error
        return messages

    def together(self) -> bool:
        """Whether no other member has failed."""
        return not self.meeting.broken


def run_watchers(task: Callable[[Any], Any], size: int, *, label: str) -> list[Any]:
    """Run ``task(member)`` in ``size`` threads at the same time; results in order of rank.

    Raises
    ------
    ParquetryError
        What a member raised: the first one, and its own before that of one that it left waiting.
    """
    meeting, messages = threading.Barrier(size), [""] * size
    guarded, errors = Guarded(task, label, own_process=False), list[Exception]()

    def run(rank: int) -> Any:
        try:
            return guarded(Watcher(rank, size, meeting, messages))
        except Exception as error:
            errors.append(error)
            meeting.abort()
            raise

    with ThreadPoolExecutor(size, thread_name_prefix=label) as pool:
        futures = [pool.submit(run, rank) for rank in range(size)]
        try:
            wait(futures)
        except BaseException:
            meeting.abort()  # an interrupt: the members end their processes
            raise
    if errors:
        raise next((e for e in errors if not isinstance(e, EngineLost)), errors[0])
    return [f.result() for f in futures]


def run_members(task: Callable[[Any], Any], size: int, *, label: str) -> list[Any]:
    """Run ``task(member)`` in ``size`` processes at the same time; results in order of rank.

    Raises
    ------
    EngineLost
        A member's process died.
    ParquetryError
        What a member raised.
    """
    key = os.urandom(16)
    with Listener(("127.0.0.1", 0), authkey=key) as listener, ProcessPoolExecutor(max_workers=size) as pool:
        threading.Thread(target=_meet, args=(listener, size), daemon=True).start()
        join = _Join(Guarded(task, label), size, listener.address, key)
        futures = [pool.submit(join, rank) for rank in range(size)]
        try:
            return _results(futures)
        except BrokenProcessPool as error:
            raise EngineLost(f"{label}: a member's process died.", why=str(error)) from error


@dataclass(frozen=True)
class _Join:
    task: Guarded
    size: int
    address: Any
    key: bytes

    def __call__(self, rank: int) -> Any:
        with Client(self.address, authkey=self.key) as connection:
            connection.send(rank)
            return self.task(LocalMember(rank, self.size, connection))


def _results(futures: list[Any]) -> list[Any]:
    # A member's own error comes before those of the members that it left waiting.
    errors = [e for e in (f.exception() for f in futures) if e is not None]
    if errors:
        raise next((e for e in errors if not isinstance(e, EngineLost)), errors[0])
    return [f.result() for f in futures]


def _meet(listener: Listener, size: int) -> None:
    """Collect a message from every member, give all of them to each, until one leaves."""
    connections: dict[int, Connection] = {}
    for _ in range(size):
        connection = listener.accept()
        connections[connection.recv()] = connection
    try:
        while True:
            messages = [connections[rank].recv() for rank in range(size)]
            for rank in range(size):
                connections[rank].send(messages)
    except (EOFError, OSError):
        for connection in connections.values():
            connection.close()
