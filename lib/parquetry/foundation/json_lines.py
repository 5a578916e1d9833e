"""JSON lines as a source: one object a line, plain or compressed, cut into byte ranges at line ends.

Every value is given as text, as it stands in the file, so that whole numbers of any length, decimals
and mixed columns lose nothing; the contract makes numbers and dates of them. A string that looks
like a number stays a text, unless the contract says otherwise; one that looks like a date becomes
one, as JSON has no other way of writing it. Nested values stay JSON, as compact text. With a
contract, pieces of plain, sound lines go through pyarrow's parser and come out in the contract's
types; any other piece is read line by line.

A line is rejected that is no JSON object, repeats a key, is not UTF-8, or has a key that is not
among the columns. The columns are the keys found in the beginnings of the files, and those that the
contract names; a missing key is a missing value. A file that is one array of objects is read as its
elements, in one piece; rows are then known by the lines in which they begin.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.errors import DatasetNotFound, EmptyDataset, MalformedText
from parquetry.foundation.json_document import (
    DocumentPiece,
    codec_of,
    cut_short,
    first_elements,
    is_document,
    is_whole,
    opened,
)
from parquetry.foundation.json_values import Refused, parse_line, parsed_lines
from parquetry.foundation.sources import Parsed, Piece, WrittenFiles

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Contract

PIECE_BYTES = 16 * 2**20
_BLOCK = 4 * 2**20
_LOOK = 4 * 2**20  # bytes of the first file in which keys are looked for
_LOOK_OTHERS, _OTHERS = 256 * 2**10, 100  # and of each of so many others
_LOOK_MANY = 32 * 2**10  # and of each of those beyond, which may be thousands
_MANY = 64  # files that one task looks at
MOST_KEYS = 100_000
"""Keys that may become columns: more are values that stand where names should."""


@dataclass(frozen=True)
class JsonLines(WrittenFiles):
    """Files of JSON lines with one set of columns.

    Parameters
    ----------
    notes : tuple of str
    document : bool
        Whether each file is one array of objects.
    """

    notes: tuple[str, ...] = ()
    document: bool = False
    kind: str = "jsonl"

    @classmethod
    def open(
        cls, source: str | os.PathLike[str], *, columns: Sequence[str] | None = None, engine: Engine | None = None
    ) -> JsonLines:
        """Find the files and, in their beginnings, the columns.

        Parameters
        ----------
        source : path or URL
            A file, folder or glob; ``.gz``, ``.zst`` and ``.bz2`` are unpacked.
        columns : sequence of str, default None
            The keys that make the columns; None takes those of the files' beginnings.
        engine : Engine, default None
            What looks at many files at once; None looks at one after another.

        Raises
        ------
        DatasetNotFound, EmptyDataset, AccessDenied
        MalformedText
            It is a JSON document that is no array of objects, or in another encoding than UTF-8; or its
            objects have more than 100,000 different keys.
        """
        uri = os.fspath(source)
        filesystem, path = storage.resolve(uri)
        _, found = storage.list_files(filesystem, path)
        if not found:
            raise DatasetNotFound(f"There is no file in {uri}.", fix="Check the path.")
        files = (uri,) if len(found) == 1 else tuple(found)
        task = _LookTask(filesystem, keys=columns is None)
        seen = _looked_at(task, list(zip(found, files, strict=True)), engine)
        names = tuple(dict.fromkeys(columns if columns is not None else seen.keys))
        if not names:
            raise EmptyDataset(f"{uri} has no JSON object in its first lines.", fix="Check the file.")
        note = (
            f"Columns are the {len(names)} keys found in the beginnings of the files; lines with others are rejected."
        )
        notes = () if columns is not None else (note,)
        return cls(filesystem, tuple(found), files, names, notes, document=seen.document)

    def pieces(self, engine: Engine) -> list[Piece]:
        """Ranges of about 16 MiB that begin and end with lines; a compressed file is one piece."""
        ranges: list[tuple[int, int, int]] = []
        sizes = [int(info.size or 0) for info in self.filesystem.get_file_info(list(self.paths))]
        if self.document:
            found = zip(self.paths, self.files, sizes, strict=True)
            return [DocumentPiece(self.filesystem, path, file, self.names, size) for path, file, size in found]
        for i, (path, size) in enumerate(zip(self.paths, sizes, strict=True)):
            if codec_of(path) is None and size > PIECE_BYTES:
                ranges += [(i, start, min(start + PIECE_BYTES, size)) for start in range(0, size, PIECE_BYTES)]
        counted = engine.map(partial(_count_lines, self.filesystem, self.paths), ranges, label="count-lines")
        of_file: dict[int, list[tuple[int, int]]] = {}
        for (i, _, _), ends in zip(ranges, counted, strict=True):
            of_file.setdefault(i, []).append(ends)
        out: list[Piece] = []
        for i, size in enumerate(sizes):
            start, line = 0, 1
            for lines, last in of_file.get(i, []):
                if lines:
                    out.append(self._piece(i, start, last, line))
                    start, line = last, line + lines
            if start < size:
                out.append(self._piece(i, start, size, line))
        return out

    def _piece(self, i: int, start: int, end: int, line: int) -> Piece:
        return JsonPiece(self.filesystem, self.paths[i], self.files[i], start, end, line, self.names)


@dataclass(frozen=True)
class JsonPiece:
    """Whole lines of one file: the bytes from ``start`` to ``end``; of a compressed file all."""

    filesystem: pafs.FileSystem
    path: str
    file: str
    start: int
    end: int
    first_line: int
    names: tuple[str, ...]

    @property
    def size(self) -> int:
        """Uncompressed bytes, of a compressed file by guess."""
        return (self.end - self.start) * (1 if codec_of(self.path) is None else 6)

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """The piece's lines, in order; blank lines are no rows.

        Raises
        ------
        MalformedText
            A compressed file that is cut or damaged.
        """
        line = self.first_line
        for text in self._blocks():
            lines = text.split(b"\n")
            if not lines[-1]:
                lines.pop()
            yield parsed_lines(self.file, text, lines, np.arange(line, line + len(lines)), self.names, contract)
            line += len(lines)

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, about ``_BLOCK`` bytes at once."""
        try:
            with opened(self.filesystem, self.path, self.start, self.end) as stream:
                held: list[bytes] = []
                while block := stream.read(_BLOCK):
                    if not held and self.start == 0 and block.startswith(b"\xef\xbb\xbf"):
                        block = block[3:]
                    cut = block.rfind(b"\n") + 1
                    if not cut:
                        held.append(block)
                        continue
                    yield b"".join([*held, block[:cut]])
                    held = [block[cut:]] if cut < len(block) else []
                if held:
                    yield b"".join(held)
        except FileNotFoundError as error:
            raise DatasetNotFound(f"{self.file} is gone.", why=str(error), fix="List the folder again.") from error
        except (OSError, pa.ArrowException) as error:
            raise cut_short(self.file, error) from error


@dataclass(frozen=True)
class _Seen:
    """What the beginnings of some files show: their keys in order, whether they are arrays, the first one's name."""

    keys: tuple[str, ...]
    document: bool
    file: str


def _together(left: _Seen, right: _Seen) -> _Seen:
    """What some files and those that follow them show."""
    if left.document != right.document:
        raise _both_ways(left.file, right.file)
    if left.keys == right.keys:
        return left
    keys = tuple(dict.fromkeys((*left.keys, *right.keys)))
    if len(keys) > MOST_KEYS:
        raise MalformedText(
            f"The objects of {left.file} and of the files after it have more than {MOST_KEYS:,} different keys.",
            why=f"Each would be a column; the last one is {keys[-1]!r}.",
            fix="Name the columns with columns=, or write such pairs as rows of a key and a value.",
        )
    return _Seen(keys, left.document, left.file)


def _looked_at(task: _LookTask, named: Sequence[tuple[str, str]], engine: Engine | None) -> _Seen:
    """What the beginnings of all files show; of many, by an engine's workers, and the same in any case."""
    seen = task((_LOOK, named[:1]))
    groups = [(_LOOK_OTHERS if i <= _OTHERS else _LOOK_MANY, named[i : i + _MANY]) for i in range(1, len(named), _MANY)]
    if engine is not None and len(groups) > 1:
        return _together(seen, engine.reduce(task, _together, groups, label="look"))
    return reduce(_together, map(task, groups), seen)


@dataclass(frozen=True)
class _LookTask:
    """Looks at the beginnings of some files; for their keys, or only for how they are written."""

    filesystem: pafs.FileSystem
    keys: bool

    def __call__(self, group: tuple[int, Sequence[tuple[str, str]]]) -> _Seen:
        nbytes, files = group
        found = ((*_keys(self.filesystem, path, file, nbytes), file) for path, file in files)
        return reduce(_together, (_Seen(keys if self.keys else (), array, file) for keys, array, file in found))


def _keys(filesystem: pafs.FileSystem, path: str, file: str, nbytes: int) -> tuple[tuple[str, ...], bool]:
    """The keys in a file's beginning, in order of appearance; and whether the file is an array of objects."""
    try:
        with filesystem.open_input_stream(path, compression=codec_of(path)) as stream:
            start = stream.read(nbytes).removeprefix(b"\xef\xbb\xbf")
    except PermissionError as error:
        raise storage.denied(file, error) from error
    except (OSError, pa.ArrowException) as error:
        raise cut_short(file, error) from error
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MalformedText(f"{file} is UTF-16.", why="JSON lines are UTF-8.", fix=f"iconv -f UTF-16 -t UTF-8 {file}")
    keys: dict[str, None] = {}
    document = is_document(start)
    lines = first_elements(start) if document else start.split(b"\n")
    for line in lines if document or len(start) < nbytes else lines[:-1]:
        try:
            keys.update(dict.fromkeys(parse_line(line)))
        except Refused:
            continue
    begun = start.lstrip()
    # An array's last element has no comma after it: by itself it looks like a line.
    array = begun[:1] == b"[" and not document and not is_whole(begun.split(b"\n")[0])
    if array or (not keys and begun[:1] == b"{"):
        raise MalformedText(
            f"{file} is one JSON document, and no array of objects.",
            why="Only an array tells where one row ends and the next begins.",
            fix=f"Make lines of it: jq -c '.rows[]' {file} > lines.jsonl",
        )
    return tuple(keys), document


def _count_lines(filesystem: pafs.FileSystem, paths: tuple[str, ...], item: tuple[int, int, int]) -> tuple[int, int]:
    """Line ends in a range, and the position after the last of them."""
    i, start, end = item
    lines, last, place = 0, start, start
    with opened(filesystem, paths[i], start, end) as stream:
        while block := stream.read(_BLOCK):
            lines += block.count(b"\n")
            if (found := block.rfind(b"\n")) >= 0:
                last = place + found + 1
            place += len(block)
    return lines, last


def _both_ways(first: str, other: str) -> MalformedText:
    return MalformedText(
        f"Of {first} and {other} one is an array and one is lines of JSON.",
        why="They are read in different ways.",
        fix="Ingest them one after another, the second with mode='append'.",
    )
