"""What the partition doctor says: a finding, what it looks at, and its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from parquetry.foundation.file_facts import FileFacts, Unreadable

OPEN_SECONDS = {True: 0.002, False: 0.06}
"""Opening a file and reading its footer: on a local disk, and from an object store (two requests)."""
GROUP_SECONDS = {True: 0.0005, False: 0.03}
"""What a row group costs beside its bytes."""
SCAN_BYTES = 500 * 2**20
"""Uncompressed bytes that one core decodes in a second."""
NAMED = 5
"""Files that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One symptom.

    Attributes
    ----------
    kind : str
        Such as ``"small-files"``.
    severity : {"problem", "note"}
        A note is worth knowing, and does not make a dataset sick.
    what : str
        The fact, with numbers.
    cost : str
        What it costs, in words.
    seconds, nbytes : float, int
        The estimate: seconds more for reading everything once on one core; bytes read or kept in vain.
    mend : str
        What to do.
    count : int
        How many files or row groups it touches.
    files : tuple of str
        The first of them.
    """

    kind: str
    severity: str
    what: str
    cost: str
    mend: str
    seconds: float = 0.0
    nbytes: int = 0
    count: int = 0
    files: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """All that is known of a dataset before it is judged."""

    files: list[FileFacts]
    unreadable: list[Unreadable] = field(default_factory=list)
    stray: list[tuple[str, int]] = field(default_factory=list)
    leftovers: list[tuple[str, int]] = field(default_factory=list)
    partitions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    local: bool = True

    @property
    def stored(self) -> int:
        """Bytes of all files."""
        return sum(f.size for f in self.files)

    @property
    def open_seconds(self) -> float:
        """What opening one file takes."""
        return OPEN_SECONDS[self.local]


FIX = "parquetry doctor PATH --fix TO writes a sound copy."


# --- words ----------------------------------------------------------------------------------
def size(nbytes: float) -> str:
    """Bytes in words."""
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if nbytes >= factor:
            return f"{nbytes / factor:.3g} {unit}" if nbytes < 1000 * factor else f"{nbytes / factor:,.0f} {unit}"
    return f"{nbytes:.0f} bytes"


def in_files(n: int) -> str:
    """``1 file``, ``2 files``."""
    return f"{n:,} file{'s' if n != 1 else ''}"


def first_files(paths: Any) -> tuple[str, ...]:
    """The first few of them that differ."""
    return tuple(dict.fromkeys(paths))[:NAMED]
