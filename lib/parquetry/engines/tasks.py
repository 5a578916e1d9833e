"""What every engine does around a task: typed errors, and one BLAS thread on worker processes."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from threading import Thread, local
from typing import Any
from urllib.parse import urlsplit

import cloudpickle

from parquetry.errors import BadParameter, EngineUnreachable, ParquetryError, TaskFailed, failed
from parquetry.one_thread import one_thread
from parquetry.reduction import fold

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_CONNECT_SECONDS = 10.0
_held = local()


@dataclass(frozen=True)
class Guarded:
    """A task whose every error is a typed one that can travel.

    Parameters
    ----------
    task : callable
    label : str
        How errors name the work.
    own_process : bool, default True
        Whether it runs in a worker process, whose BLAS may be held to one thread for good.
    """

    task: Callable[[Any], Any]
    label: str
    own_process: bool = True

    def __call__(self, item: Any) -> Any:
        if self.own_process:
            hold_blas_to_one_thread()
        try:
            return self.task(item)
        except ParquetryError:
            raise
        except Exception as error:
            raise failed(error, self.label) from error


@dataclass(frozen=True)
class GuardedFold:
    """Merges one group of states, with the same care."""

    merge: Callable[[Any, Any], Any]
    label: str

    def __call__(self, states: Sequence[Any]) -> Any:
        return Guarded(lambda group: fold(self.merge, group), self.label)(states)


def refuse_settings(of: str, **settings: Any) -> None:
    """Raise BadParameter for a setting that the engine could only ignore."""
    for name, value in settings.items():
        if value is not None:
            raise BadParameter(
                f"{name}={value} cannot be set for {of}.",
                why="It was decided where that was started.",
                fix=f"Leave {name} out, or set it there.",
            )


def require_listener(address: str, *, default_port: int) -> None:
    """Raise EngineUnreachable at once where nobody listens at an address; the clients try again for long."""
    parts = urlsplit(address)
    try:
        socket.create_connection((parts.hostname or "", parts.port or default_port), _CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise EngineUnreachable(
            f"Nobody answers at {address}.",
            why=str(error),
            fix="Check the address, and that the master or scheduler is running.",
        ) from error


def answered(opening: Callable[[], Any], address: str, seconds: float) -> Any:
    """What ``opening`` gives, if it gives it in time.

    A peer that takes the connection and then says nothing is beyond the clients' own timeouts.

    Raises
    ------
    EngineUnreachable
        It took longer, or failed to connect.
    """
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(opening())
        except BaseException as error:  # noqa: BLE001 (handed on to the caller's thread)
            result.set_exception(error)

    # A daemon: what never ends must not keep the process from ending.
    Thread(target=run, name=f"open {address}", daemon=True).start()
    try:
        return result.result(seconds)
    except TimeoutError as error:
        why = str(error) or f"Somebody listens there, and has not answered in {seconds:.0f} seconds."
        raise EngineUnreachable(
            f"Nobody answers at {address}.", why=why, fix="Check the address, and what runs there."
        ) from error


def packed(task: Any) -> bytes:
    """A task on its way to the workers: what cloudpickle was told to send by value goes by value."""
    return bytes(cloudpickle.dumps(task, protocol=5))


@lru_cache(maxsize=4)
def unpacked(content: bytes) -> Any:
    """The task again; once in a worker process that is used for many.

    Raises
    ------
    TaskFailed
        It needs a module that the worker does not have.
    """
    try:
        return pickle.loads(content)
    except ModuleNotFoundError as error:
        raise TaskFailed(
            f"The workers have no module {error.name!r}.",
            why="A function or class that the work needs was defined in it.",
            fix="Send it along (spark-submit --py-files, client.upload_file), install it there, "
            "or define it in the job itself.",
        ) from error


@dataclass(frozen=True)
class Sent:
    """A task as :func:`packed` has made it; it is unpacked where it is called."""

    content: bytes

    def __call__(self, item: Any) -> Any:
        return unpacked(self.content)(item)


def hold_blas_to_one_thread() -> None:
    """One thread for BLAS and OpenMP in this process, for good; also in libraries loaded later."""
    # OpenMP counts per calling thread. Looking for the loaded libraries takes milliseconds, a small task less.
    if getattr(_held, "done", False):
        return
    for name in _THREAD_VARIABLES:
        os.environ[name] = "1"
    # Without leaving the context the limit stays, which is what a worker process wants.
    one_thread()
    _held.done = True
