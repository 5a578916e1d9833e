"""A job on its command line, as a user runs it: in a folder of its own, and nothing of the caller's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def launch(folder: Path, *flags: str, program: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """What Python leaves of a program with flags, run in a folder, offline, with a cache of data sets there."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PARQUETRY_", "PYSPARK_"))}
    folders = {"PARQUETRY_CACHE": str(folder / "cache"), "PARQUETRY_CACHE_DIR": str(folder / "blocks")}
    own = {"PARQUETRY_OFFLINE": "1", **folders, **environment}
    command = [sys.executable, *program, *flags]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=folder, env=inherited | own, timeout=280
    )
