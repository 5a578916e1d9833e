"""A JSON file that is one array of objects as a source: its elements are the rows, streamed.

Where an element begins and ends is found by counting brackets outside of strings; what is between is
parsed as a line of JSON is. So an element that is no object is a rejected row, and memory is bounded
by the longest element rather than by the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.fs as pafs
from numba import njit

from parquetry.errors import DatasetNotFound, MalformedText
from parquetry.foundation.json_values import parsed_lines
from parquetry.foundation.sources import Parsed

if TYPE_CHECKING:
    from parquetry.foundation.contract import Contract

LONGEST = 64 * 2**20
"""Bytes that one element may have."""
_BLOCK = 4 * 2**20
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_BEFORE, _WITHIN, _AFTER, _WRONG = range(4)
_OPEN, _CLOSE, _CURLY, _SHUT, _QUOTE, _SLASH, _COMMA = (ord(c) for c in '[]{}"\\,')

State = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DocumentPiece:
    """A file that is one array.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    path, file : str
        On the filesystem, and as the user knows it.
    names : tuple of str
        The columns.
    nbytes : int
        As it lies there.
    """

    filesystem: pafs.FileSystem
    path: str
    file: str
    names: tuple[str, ...]
    nbytes: int
    holds_gil: bool = True

    @property
    def size(self) -> int:
        """Uncompressed bytes, of a compressed file by guess."""
        return self.nbytes * (1 if codec_of(self.path) is None else 6)

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """The array's elements, in order.

        Raises
        ------
        MalformedText
            The array does not end, is followed by something else, or has an element of more than 64 MiB.
        """
        try:
            with opened(self.filesystem, self.path, 0, self.nbytes) as stream:
                for found, lines in _elements(stream, self.file):
                    yield parsed_lines(self.file, b"\n".join(found) + b"\n", found, lines, self.names, contract)
        except FileNotFoundError as error:
            raise DatasetNotFound(f"{self.file} is gone.", why=str(error), fix="List the folder again.") from error
        except (OSError, pa.ArrowException) as error:
            raise cut_short(self.file, error) from error


def is_document(start: bytes) -> bool:
    """Whether a file that begins like this is an array of objects, rather than lines of arrays."""
    first, _, rest = start.lstrip().partition(b"\n")
    if first[:1] != b"[" or (rest.strip() and is_whole(first)):
        return False
    return (first + rest)[1:].lstrip()[:1] == b"{"


def first_elements(start: bytes) -> list[bytes]:
    """The whole elements in an array's beginning."""
    found, _, _, _ = _scanned(start.removeprefix(b"\xef\xbb\xbf"), np.array([_BEFORE, 0, 0, 0, 1, 1], dtype=np.int64))
    return found


def _elements(stream: Any, file: str) -> Iterator[tuple[list[bytes], State]]:
    """Elements of about a block with the lines in which they begin; what is open at its end is kept for the next."""
    state = np.array([_BEFORE, 0, 0, 0, 1, 1], dtype=np.int64)
    kept = b""
    while block := stream.read(_BLOCK):
        block = block.removeprefix(b"\xef\xbb\xbf") if state[0] == _BEFORE else block
        found, lines, kept, state = _scanned(block, state, kept)
        if state[0] == _WRONG:
            raise MalformedText(
                f"{file}, line {state[4]:,} cannot be read.",
                why="It is not within the array that the file began with.",
                fix="Mend the file: one array, and nothing before or behind it.",
            )
        if len(kept) > LONGEST:
            raise MalformedText(
                f"{file}, line {state[5]:,} begins an element of more than {LONGEST // 2**20} MiB.",
                why="An element has to be held whole, and a bracket or a quotation mark may be missing.",
                fix=f"Look at it, or make lines of the file: jq -c '.[]' {file} > lines.jsonl",
            )
        if found:
            yield found, lines
    if state[0] != _AFTER:
        raise MalformedText(
            f"{file} ends before its array does.",
            why=f"What line {state[5]:,} begins is not closed.",
            fix="Fetch it again, or mend the bracket or quotation mark that is missing.",
        )


def _scanned(block: bytes, state: State, kept: bytes = b"") -> tuple[list[bytes], State, bytes, State]:
    """The elements that end in a block, their lines, the begun one, and the state; ``kept`` was begun before."""
    data = np.frombuffer(block, dtype=np.uint8)
    starts, ends, lines, begun, state = _scan(data, state, len(kept) > 0)
    found = [block[a:b].rstrip() for a, b in zip(starts.tolist(), ends.tolist(), strict=True)]
    if found and starts[0] == 0 and kept:
        found[0] = (kept + block[: ends[0]]).rstrip()
        kept = b""
    return found, lines, (kept + block[begun:] if begun >= 0 else b""), state


@njit(cache=True, nogil=True)
def _scan(data: Any, before: Any, begun: bool) -> Any:  # noqa: C901, PLR0912 (an automaton in one place)
    """Starts, ends and lines of elements, where an open one begins (-1 for none), and the state.

    The state: phase, depth, within a string, after a backslash, line, line of the element.
    """
    phase, depth, string, escaped, line, first = before
    count = 1
    for c in data:
        count += c in (_COMMA, _CLOSE)
    starts, ends, lines = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    n, start = 0, 0 if begun else -1
    for i in range(len(data)):
        c = data[i]
        blank = c in (32, 10, 13, 9)
        if phase == _WITHIN:
            ended = depth == 0 and not string and c in (_COMMA, _CLOSE)
            if ended and (start >= 0 or c == _COMMA):
                starts[n], ends[n], lines[n] = (start, i, first) if start >= 0 else (i, i, line)
                n += 1
                start = -1
            elif not ended and start < 0 and not blank:
                start, first = i, line
            if ended:
                phase = _AFTER if c == _CLOSE else _WITHIN
            elif string:
                if escaped:
                    escaped = 0
                elif c == _SLASH:
                    escaped = 1
                elif c == _QUOTE:
                    string = 0
            elif c == _QUOTE:
                string = 1
            elif c in (_OPEN, _CURLY):
                depth += 1
            elif c in (_CLOSE, _SHUT):
                depth = max(depth - 1, 0)
        elif not blank:
            phase = _WITHIN if phase == _BEFORE and c == _OPEN else _WRONG
            if phase == _WRONG:
                break
        line += c == 10
    state = np.array([phase, depth, string, escaped, line, first], dtype=np.int64)
    return starts[:n], ends[:n], lines[:n], start, state


def opened(filesystem: pafs.FileSystem, path: str, start: int, end: int) -> Any:
    """A stream over a file's bytes from ``start`` to ``end``; of a compressed file over all, unpacked."""
    codec = codec_of(path)
    if codec is not None:
        return filesystem.open_input_stream(path, compression=codec)
    return filesystem.open_input_file(path).get_stream(start, end - start)


def codec_of(path: str) -> str | None:
    """How a file is compressed, by its name."""
    return _COMPRESSED.get(os.path.splitext(path.lower())[1])


def cut_short(file: str, error: Exception) -> MalformedText:
    """The typed form of a file that cannot be read on."""
    return MalformedText(
        f"{file} cannot be read to its end.", why=f"{type(error).__name__}: {error}", fix="Fetch it again."
    )


def is_whole(line: bytes) -> bool:
    """Whether a line is JSON by itself."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
