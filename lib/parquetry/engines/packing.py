"""How this library reaches the workers of a cluster: as one small zip of its own modules."""

from __future__ import annotations

import atexit
import hashlib
import shutil
import tempfile
import zipfile
from functools import cache
from pathlib import Path, PurePosixPath

_SUFFIXES = {".py", ".yaml", ".j2", ".typed"}
_ROOT = Path(__file__).parents[2]


@cache
def library_files() -> tuple[tuple[str, bytes], ...]:
    """The library's files: names as they stand below ``sys.path``, and contents; in order of name."""
    # A worker that was sent the zip imports from within it: there is no folder to list.
    found = _from_zip(_ROOT) if _ROOT.is_file() else _from_folder(_ROOT)
    return tuple(sorted(found.items()))


@cache
def library_digest() -> str:
    """SHA-256 over the library's files: two processes with the same one run the same code."""
    digest = hashlib.sha256()
    for name, content in library_files():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()


@cache
def library_archive() -> tuple[Path, str]:
    """A zip that can stand on a worker's ``sys.path``, and its digest; made once a process."""
    digest = library_digest()
    folder = Path(tempfile.mkdtemp(prefix="parquetry-library-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    archive = folder / f"parquetry_library_{digest[:12]}.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
        for name, content in library_files():
            bundle.writestr(name, content)
    return archive, digest


def _from_folder(root: Path) -> dict[str, bytes]:
    files = [p for p in (root / "parquetry").rglob("*") if p.suffix in _SUFFIXES and "__pycache__" not in p.parts]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in files}


def _from_zip(archive: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(archive) as bundle:
        names = [n for n in bundle.namelist() if PurePosixPath(n).suffix in _SUFFIXES]
        return {n: bundle.read(n) for n in names if n.startswith("parquetry/")}
