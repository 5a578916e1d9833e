"""A gang on Dask: one task a worker, and variables on the scheduler as the meeting point."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Variable, get_client, get_worker

from parquetry.engines.tasks import Guarded
from parquetry.errors import EngineLost

_GATHER_SECONDS = 60.0
_LOOK_SECONDS = 1.0  # after which who waits asks whether the gang is still together
_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.2


@dataclass
class DaskMember:
    """A gang member's end: each member has one variable, which holds its number of messages and the last two.

    Nobody is more than one message ahead of another, so two are enough; and as names do not grow
    with the messages, whoever started the gang knows them all and can remove them.
    """

    rank: int
    size: int
    token: str
    sent: list[str] = field(default_factory=list)

    def all_gather(self, message: str) -> list[str]:
        """Every member's message, in order of rank; waits for all of them."""
        client = get_client()
        self.sent.append(message)
        own = _variable(client, self.token, self.rank)
        own.set([len(self.sent), *self.sent[-2:]])
        if not _is_together(client, self.token):
            own.delete()
            raise self._left()
        return [self._message(client, rank) for rank in range(self.size)]

    @property
    def host(self) -> str:
        """The address under which other members reach this one's machine."""
        return urlsplit(get_worker().address).hostname or "127.0.0.1"

    def together(self) -> bool:
        """Whether the gang has not been given up."""
        return _is_together(get_client(), self.token)

    def _message(self, client: Client, rank: int) -> str:
        variable, turn, pause = _variable(client, self.token, rank), len(self.sent), _FIRST_PAUSE
        deadline = time.monotonic() + _GATHER_SECONDS
        while time.monotonic() < deadline:
            try:
                count, *messages = variable.get(timeout=_LOOK_SECONDS)
            except TimeoutError:
                count, messages = 0, []
            if count >= turn:
                return str(messages[turn - count - 1])
            if not _is_together(client, self.token):
                raise self._left()
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        raise EngineLost(
            f"Member {self.rank}: member {rank} of the gang did not come within {_GATHER_SECONDS:.0f} seconds.",
            fix="Look whether its worker is still there.",
        )

    def _left(self) -> EngineLost:
        return EngineLost(f"Member {self.rank}: another member of the gang has ended.")


@dataclass(frozen=True)
class Join:
    """What a worker runs: the task as the member of one rank."""

    task: Guarded
    size: int
    token: str

    def __call__(self, rank: int) -> Any:
        return self.task(DaskMember(rank, self.size, self.token))


@contextmanager
def together(client: Client, token: str, size: int) -> Iterator[None]:
    """Keep a gang's meeting point while it runs, and remove all of it whatever the end.

    The mark goes first: a member that comes late, after another's error, sees it missing and
    takes its own message back.
    """
    Variable(token, client=client).set(size)
    try:
        yield
    finally:
        Variable(token, client=client).delete()
        for rank in range(size):
            _variable(client, token, rank).delete()


def _variable(client: Client, token: str, rank: int) -> Variable:
    return Variable(f"{token}-{rank}", client=client)


def _is_together(client: Client, token: str) -> bool:
    try:
        Variable(token, client=client).get(timeout=0)
    except TimeoutError:
        return False
    return True
