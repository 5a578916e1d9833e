"""Output folders on this machine that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import pathlib
import shutil
import tempfile
from collections.abc import Mapping

from parquetry.errors import BadParameter, OutputExists, OutputNotWritable

Path = str | os.PathLike[str]


def free_place(path: Path, *, overwrite: bool, marker: str) -> pathlib.Path:
    """The folder that a path names, if it may be written there.

    Parameters
    ----------
    path : str or PathLike
    overwrite : bool
        Whether a folder that is there may be replaced.
    marker : str
        The file that a folder must hold to be replaced: what anybody else has put there is safe.

    Raises
    ------
    OutputExists, OutputNotWritable, BadParameter
    """
    text = os.fspath(path)
    if "://" in text and not text.startswith("file://"):
        raise BadParameter(
            f"{text!r} is not a folder on this machine.",
            why="A folder is renamed into place, and an object store cannot rename one.",
            fix="Save to a local folder and upload it, card.json last.",
        )
    target = pathlib.Path(os.path.abspath(os.path.expanduser(text.removeprefix("file://"))))
    if os.path.lexists(target):
        _require_replaceable(target, marker, overwrite=overwrite)
    parent = next(p for p in target.parents if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise OutputNotWritable(
            f"{str(parent)!r} may not be written to.", fix="Choose another folder, or change its permissions."
        )
    return target


def _require_replaceable(target: pathlib.Path, marker: str, *, overwrite: bool) -> None:
    if not overwrite:
        raise OutputExists(f"{str(target)!r} is already there.", fix="Pass overwrite=True, or choose another path.")
    empty = target.is_dir() and not any(target.iterdir())
    if target.is_symlink() or not (empty or (target / marker).is_file()):
        raise OutputExists(
            f"{str(target)!r} is there, and is not ours to replace.",
            why=f"It has no {marker}, so overwrite=True will not replace it.",
            fix="Remove it yourself, or choose another path.",
        )


def write_whole(files: Mapping[str, bytes], target: pathlib.Path) -> None:
    """Write files by name into a new folder beside the target, then rename it.

    A folder that is there is moved aside only when the new one is complete, and is put back
    where the last rename fails. (Two renames: for a moment between them there is neither.)

    Raises
    ------
    OutputExists, OutputNotWritable
    """
    scratch: pathlib.Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        new = scratch / "new"
        new.mkdir()
        for name, content in files.items():
            _write(new / name, content)
        _swap(new, target, scratch / "old")
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputExists(f"{str(target)!r} has appeared meanwhile.", fix="Pass overwrite=True.") from error
        raise OutputNotWritable(
            f"{str(target)!r} cannot be written.", why=str(error), fix="Check permissions and free space."
        ) from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)


def _write(path: pathlib.Path, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _swap(new: pathlib.Path, target: pathlib.Path, old: pathlib.Path) -> None:
    aside = os.path.lexists(target) and any(target.iterdir())
    if aside:
        os.replace(target, old)
    try:
        os.replace(new, target)
    except OSError:
        if aside:
            os.replace(old, target)
        raise
