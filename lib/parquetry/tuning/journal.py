"""The journal of a search: every finished fit, so that a search that was stopped goes on from there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import cloudpickle
import numpy as np

from parquetry.errors import BadParameter, OutputNotWritable

FILE = "finished_fits.jsonl"
"""One JSON object a line: the key of a fit, and what it came to."""


class Journal:
    """Finished fits in a folder, by what they depend on.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.
    common : object
        What all fits of the search share: data, scoring.
    """

    def __init__(self, folder: str | None, common: Any) -> None:
        self._file = None if folder is None else _opened(folder)
        self._common = digest(common)
        self._known = {} if self._file is None else _read(self._file)

    def key(self, *parts: Any) -> str:
        """The key of a fit."""
        return digest((self._common, *parts)) if self._file is not None else ""

    def find(self, key: str) -> dict[str, Any] | None:
        """What a fit came to, if it is there."""
        found: dict[str, Any] | None = self._known.get(key)
        return None if found is None else dict(found)

    def add(self, key: str, outcome: Mapping[str, Any]) -> None:
        """Note a finished fit; it is on the disk when this returns."""
        if self._file is None:
            return
        line = json.dumps({"key": key, "fit": {name: _plain(value) for name, value in outcome.items()}})
        with self._file.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def digest(value: Any) -> str:
    """SHA-256 of a value: the same in every process, as a pickle's need not be."""
    found = hashlib.sha256()
    for part in _parts(value):
        found.update(part + b"\0")
    return found.hexdigest()


def _parts(value: Any) -> Any:
    """A value as bytes that tell it from others."""
    kind = f"{type(value).__module__}.{type(value).__qualname__}".encode()
    if isinstance(value, type):
        yield f"class {value.__module__}.{value.__qualname__}".encode()
    elif value is None or isinstance(value, bool | int | float | str | bytes | np.generic):
        yield kind + b" " + repr(value).encode()
    elif isinstance(value, np.ndarray) and value.dtype != object:
        yield kind + f" {value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, list | tuple | set | frozenset | Mapping):
        yield from (kind, *_collection(value))
    elif hasattr(value, "get_params"):
        yield from (kind, *_parts(value.get_params(deep=False)))
    elif hasattr(value, "__code__"):
        yield from _function(value)
    else:
        yield kind + cloudpickle.dumps(value)


def _collection(values: Any) -> Any:
    yield str(len(values)).encode()
    if isinstance(values, set | frozenset):
        yield "".join(sorted(digest(item) for item in values)).encode()
    elif isinstance(values, Mapping):
        for key in sorted(values, key=repr):
            yield from (repr(key).encode(), *_parts(values[key]))
    else:
        for item in values:
            yield from _parts(item)


def _function(function: Any) -> Any:
    yield f"function {function.__module__}.{function.__qualname__}".encode()
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    yield from (*_code(function.__code__), *_parts(function.__defaults__ or ()), *_parts(cells))


def _code(code: CodeType) -> Any:
    yield code.co_code + repr(code.co_names).encode()
    for constant in code.co_consts:
        yield from _code(constant) if isinstance(constant, CodeType) else _parts(constant)


def _opened(folder: str) -> Path:
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise BadParameter(f"resume={folder!r} is a file.", fix="Name a folder.")
    try:
        path.mkdir(parents=True, exist_ok=True)
        file = path / FILE
        file.touch()
    except OSError as error:
        raise OutputNotWritable(f"resume={folder!r} cannot be written to.", why=str(error)) from error
    return file


def _read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    content = file.read_bytes()
    if content and not content.endswith(b"\n"):
        # The process was stopped within a line: what comes next must not be added to it.
        content = content[: content.rfind(b"\n") + 1]
        file.write_bytes(content)
    for number, line in enumerate(content.splitlines(), 1):
        try:
            entry = json.loads(line)
            found[entry["key"]] = entry["fit"]
        except (ValueError, TypeError, KeyError) as error:
            raise BadParameter(
                f"{file}: line {number} notes no fit.", why=str(error), fix="Take the line out, or name another folder."
            ) from error
    return found


def _plain(value: Any) -> Any:
    """A number, text, None or dict of them, as JSON holds it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value
