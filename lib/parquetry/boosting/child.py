"""A rank's process: ``python -m parquetry.boosting.child FD``, started by its supervisor.

It gives a sign of life each second, runs the training, and ends at once when its supervisor does.
"""

from __future__ import annotations

import os
import pickle
import queue
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import cloudpickle

from parquetry.errors import ParquetryError, failed

if TYPE_CHECKING:
    from parquetry.boosting.gang import Gang, Share
    from parquetry.dataset import Block

_BEAT_SECONDS = 1.0


class Rank:
    """What a training is given: who it is among the ranks, what it reads, and how it talks to them.

    Attributes
    ----------
    rank : int
    world : int
    threads : int
        That the training may use.
    host : str
        The address under which the other ranks reach this one's machine.
    gang : Gang
    start : int
        0 at first, more where the gang was started again.
    """

    def __init__(self, line: _Line, facts: tuple[int, int, int, str], content: bytes) -> None:
        self.rank, self.world, self.threads, self.host = facts
        self._line = line
        self.training: Any
        self._shares: dict[str, Share]
        self.gang: Gang
        self.training, self._shares, self.gang, self.start = pickle.loads(content)

    def all_gather(self, message: str) -> list[str]:
        """Every rank's message, in order of rank; waits for all of them."""
        self._line.send("gather", message)
        messages: list[str] = self._line.answer()
        return messages

    def done(self, rounds: int) -> None:
        """Say that so many rounds are done: errors name it."""
        self._line.send("round", rounds)

    def has(self, name: str) -> bool:
        """Whether there is such a share."""
        return name in self._shares

    def view(self, name: str) -> Any:
        """The view of a share, without its dataset."""
        return self._shares[name].view

    def blocks(self, name: str, *, of_all: bool = False) -> tuple[Block, ...]:
        """The blocks that this rank reads; or those of all ranks."""
        parts = self._shares[name].blocks
        return tuple(b for part in parts for b in part) if of_all else parts[self.rank]

    def blocks_of_each(self, name: str) -> tuple[tuple[Block, ...], ...]:
        """Every rank's blocks, in order of rank."""
        return self._shares[name].blocks

    def batches(self, name: str, *, of_all: bool = False) -> Iterator[Any]:
        """Rows of this rank (or of all), in order: a Batch or a CachedBatch each."""
        return self._shares[name].batches(self.blocks(name, of_all=of_all))


class _Line:
    """The connection to the supervisor, with a sign of life each second."""

    def __init__(self, connection: Connection) -> None:
        self._connection, self._lock = connection, threading.Lock()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        for target in (self._listen, self._beat):
            threading.Thread(target=target, daemon=True).start()

    def send(self, kind: str, content: Any = None) -> None:
        message = pickle.dumps((kind, content))
        with self._lock:
            self._connection.send_bytes(message)

    def answer(self) -> Any:
        return pickle.loads(self._answers.get())

    def raw(self) -> bytes:
        return self._answers.get()

    def _listen(self) -> None:
        try:
            while True:
                self._answers.put(self._connection.recv_bytes())
        except (EOFError, OSError):
            os._exit(1)  # the supervisor is gone, or has closed the connection

    def _beat(self) -> None:
        try:
            while True:
                self.send("beat")
                time.sleep(_BEAT_SECONDS)
        except OSError:
            os._exit(1)


def main(descriptor: int) -> None:
    """Run one rank's training and send what it gives, or its error."""
    line = _Line(Connection(descriptor))
    facts, content = line.answer(), line.raw()
    try:
        kind, sent = "result", _run(line, facts, content)
    except ParquetryError as error:
        kind, sent = "error", pickle.dumps(error)
    line.send(kind, sent)
    sys.stdout.flush()
    # Native threads of a broken gang may keep an orderly exit waiting.
    time.sleep(0.05)
    os._exit(0)


def _run(line: _Line, facts: tuple[int, int, int, str], content: bytes) -> bytes:
    try:
        rank = Rank(line, facts, content)
        return bytes(cloudpickle.dumps(rank.training(rank), protocol=5))
    except ParquetryError:
        raise
    except Exception as error:
        raise failed(error, f"rank {facts[0]}") from error


if __name__ == "__main__":
    main(int(sys.argv[1]))
