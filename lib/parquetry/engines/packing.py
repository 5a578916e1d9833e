"""How this library reaches the workers of a cluster: as one small zip of its own modules."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from functools import cache
from pathlib import Path

_SUFFIXES = {".py", ".yaml", ".j2", ".typed"}


@cache
def library_files() -> tuple[Path, ...]:
    """The library's files, in order of name."""
    root = Path(__file__).resolve().parent.parent
    return tuple(sorted(p for p in root.rglob("*") if p.suffix in _SUFFIXES and "__pycache__" not in p.parts))


@cache
def library_digest() -> str:
    """SHA-256 over the library's files: two processes with the same one run the same code."""
    digest = hashlib.sha256()
    for file in library_files():
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


@cache
def library_archive() -> tuple[Path, str]:
    """A zip that can stand on a worker's ``sys.path``, and its digest; made once a process."""
    digest = library_digest()
    folder = Path(tempfile.mkdtemp(prefix="parquetry-library-"))
    archive = folder / f"parquetry_library_{digest[:12]}.zip"
    root = Path(__file__).resolve().parent.parent.parent
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for file in library_files():
            bundle.write(file, str(file.relative_to(root)))
    return archive, digest
