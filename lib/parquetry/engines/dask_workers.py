"""What a Dask cluster's workers need before any work: this minor version of Python, and this library."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import Client
from distributed.diagnostics.plugin import SchedulerUploadFile, UploadFile

from parquetry.engines.packing import library_archive, library_digest
from parquetry.errors import EngineUnreachable

PLUGIN = "parquetry-library"
"""The one name under which the library is left with a scheduler, for workers that come later."""


def prepare_workers(client: Client) -> None:
    """See to it that the cluster can run this library's tasks; what it is built on must be there already.

    Raises
    ------
    EngineUnreachable
        The scheduler or a worker has another Python, or a worker another version of the library.
    """
    _require_same_python(client)
    digest_there = _digest_there()
    # The scheduler only looks functions up by their names: any version of the library will do there.
    if client.run_on_scheduler(digest_there) is None:
        client.register_plugin(SchedulerUploadFile(str(library_archive()[0])), name=PLUGIN)
    if set(client.run(digest_there).values()) != {library_digest()}:
        client.register_plugin(_upload(library_archive()[0]), name=PLUGIN)
        _require_same_library(client.run(digest_there))


def _require_same_python(client: Client) -> None:
    own = sys.version_info[:2]
    versions: Any = client.get_versions()
    workers = {f"worker {address}": answer for address, answer in sorted(versions["workers"].items())}
    for who, answer in {**workers, "scheduler": versions["scheduler"]}.items():
        version = str(answer["host"]["python"])
        if tuple(int(part) for part in version.split(".")[:2]) != own:
            raise EngineUnreachable(
                f"The {who} runs Python {version}; this process runs {sys.version.split()[0]}.",
                why="Functions travel as code, which differs between minor versions of Python.",
                fix=f"Start the cluster with Python {own[0]}.{own[1]}, or this process with the cluster's.",
            )


def _require_same_library(found: dict[str, str | None]) -> None:
    others = sorted(worker for worker, digest in found.items() if digest != library_digest())
    if others:
        raise EngineUnreachable(
            f"The worker {others[0]} runs another version of this library.",
            why="It is installed there, or was sent there before this one.",
            fix="Restart the workers (client.restart()); where it is installed, install this version.",
        )


# --- sent by value: a worker may lack this module, and functions within functions travel as code -------------
def _digest_there() -> Callable[[], str | None]:
    def digest() -> str | None:
        """The digest of the library that a worker would import; None where there is none."""
        try:
            from parquetry.engines import packing
        except ModuleNotFoundError as error:
            return None if error.name == "parquetry" else ""
        return packing.library_digest()

    return digest


def _upload(archive: Path) -> UploadFile:
    class LibraryUpload(UploadFile):
        """Uploads the library to a worker that has none; never over one, which would load it twice."""

        async def setup(self, worker: object) -> None:
            if importlib.util.find_spec("parquetry") is None:
                await UploadFile.setup(self, worker)

    return LibraryUpload(str(archive))
