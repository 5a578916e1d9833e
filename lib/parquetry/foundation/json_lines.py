"""JSON lines as a source: one object a line, plain or compressed, cut into byte ranges at line ends.

Every value is given as text, as it stands in the file, so that whole numbers of any length, decimals
and mixed columns lose nothing; the contract makes numbers and dates of them. A string that looks
like a number becomes one, as in a CSV file, unless the contract says ``text``. Nested values stay
JSON, as compact text. With a contract, pieces of plain, sound lines go through pyarrow's parser and
come out in the contract's types; any other piece is read line by line.

A line is rejected that is no JSON object, repeats a key, is not UTF-8, or has a key that is not
among the columns. The columns are the keys found in the beginnings of the files, and those that
the contract names; a missing key is a missing value.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.json as pj

from parquetry import storage
from parquetry.errors import DatasetNotFound, EmptyDataset, MalformedText
from parquetry.foundation.sources import Parsed, Piece, Positions, rejects

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.contract import Column, Contract

PIECE_BYTES = 16 * 2**20
_BLOCK = 4 * 2**20
_LOOK = 4 * 2**20  # bytes of the first file in which keys are looked for
_LOOK_OTHERS, _OTHERS = 256 * 2**10, 100
_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_FAST = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_NOT_NAN = (b"NaN", b"Infinity", b"\0")


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class _Refused(ValueError):
    """Why a line is rejected."""


@dataclass(frozen=True)
class JsonLines:
    """Files of JSON lines with one set of columns.

    Parameters
    ----------
    filesystem : pyarrow.fs.FileSystem
    paths, files : tuple of str
        On the filesystem, and as the user knows them.
    names : tuple of str
        The columns.
    notes : tuple of str
    """

    filesystem: pafs.FileSystem
    paths: tuple[str, ...]
    files: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    kind: str = "jsonl"

    @classmethod
    def open(cls, source: str | os.PathLike[str], *, columns: Sequence[str] | None = None) -> JsonLines:
        """Find the files and, in their beginnings, the columns.

        Parameters
        ----------
        source : path or URL
            A file, folder or glob; ``.gz``, ``.zst`` and ``.bz2`` are unpacked.
        columns : sequence of str, default None
            The keys that make the columns; None takes those of the files' beginnings.

        Raises
        ------
        DatasetNotFound, EmptyDataset, AccessDenied
        MalformedText
            It is one JSON document rather than lines of JSON, or another encoding than UTF-8.
        """
        uri = os.fspath(source)
        filesystem, path = storage.resolve(uri)
        _, found = storage.list_files(filesystem, path)
        if not found:
            raise DatasetNotFound(f"There is no file in {uri}.", fix="Check the path.")
        files = (uri,) if len(found) == 1 else tuple(found)
        if columns is not None:
            names = dict.fromkeys(columns)
        else:
            names = {}
            for i, (place, name) in enumerate(zip(found[:_OTHERS], files, strict=False)):
                names.update(dict.fromkeys(_keys(filesystem, place, name, _LOOK if i == 0 else _LOOK_OTHERS)))
        if not names:
            raise EmptyDataset(f"{uri} has no JSON object in its first lines.", fix="Check the file.")
        note = (
            f"Columns are the {len(names)} keys found in the beginnings of the files; lines with others are rejected."
        )
        return cls(filesystem, tuple(found), files, tuple(names), () if columns is not None else (note,))

    @property
    def schema(self) -> pa.Schema:
        """Strings throughout."""
        return pa.schema([(n, pa.string()) for n in self.names])

    def pieces(self, engine: Engine) -> list[Piece]:
        """Ranges of about 16 MiB that begin and end with lines; a compressed file is one piece."""
        ranges: list[tuple[int, int, int]] = []
        sizes = [int(self.filesystem.get_file_info(p).size or 0) for p in self.paths]
        for i, (path, size) in enumerate(zip(self.paths, sizes, strict=True)):
            if _codec(path) is None and size > PIECE_BYTES:
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
        return (self.end - self.start) * (1 if _codec(self.path) is None else 6)

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
            yield self._parsed(text, lines, line, contract)
            line += len(lines)

    def _blocks(self) -> Iterator[bytes]:
        """Whole lines, about ``_BLOCK`` bytes at once."""
        try:
            with _opened(self.filesystem, self.path, self.start, self.end) as stream:
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
            raise _cut(self.file, error) from error

    def _parsed(self, text: bytes, lines: list[bytes], first: int, contract: Contract | None) -> Parsed:
        filled = np.array([bool(line) and not line.isspace() for line in lines], dtype=bool)
        numbers = np.flatnonzero(filled)
        table = None if contract is None else fast(text, lines, len(numbers), self.names, contract)
        bad, kept = rejects(self.file, [], [], []), numbers
        if table is None:
            names = _columns(self.names, contract)
            known = None if contract is not None and contract.others == "drop" else frozenset(names)
            rows, good, refused = [], [], []
            for i in numbers:
                try:
                    rows.append(_row(lines[i], known))
                    good.append(i)
                except _Refused as why:
                    refused.append((int(i) + first, _shown(lines[i]), str(why)))
            table = pa.table({n: pa.array([r.get(n) for r in rows], pa.string()) for n in names})
            kept = np.array(good, dtype=np.int64)
            if refused:
                bad = rejects(self.file, *(list(x) for x in zip(*refused, strict=True)))

        def line_of(rows: Positions) -> Positions:
            found: Positions = kept[rows] + first
            return found

        return Parsed(table, bad, len(numbers), line_of, lambda rows: [_shown(lines[i]) for i in kept[rows]])


def _row(line: bytes, known: frozenset[str] | None) -> dict[str, str | None]:
    """One line's values as text; ``known`` are the keys that it may have, None for any."""
    values = parse_line(line)
    if known is not None and not known.issuperset(values):
        more = next(k for k in values if k not in known)
        raise _Refused(f"The key {more!r} is not among the columns.")
    return {k: v if type(v) is str else as_text(v) for k, v in values.items()}


def parse_line(line: bytes) -> dict[str, Any]:
    """One line's object; numbers as they are written. Raises ValueError with the reason."""
    try:
        value = _DECODER.decode(line.decode("utf-8").strip())
    except UnicodeDecodeError as error:
        raise _Refused(f"It is not UTF-8 (byte {error.start + 1}).") from error
    except json.JSONDecodeError as error:
        raise _Refused(f"It is not JSON: {error.msg} (column {error.colno}).") from error
    except RecursionError as error:
        raise _Refused("It is nested too deep.") from error
    if not isinstance(value, dict):
        raise _Refused(f"It is not a JSON object, but {'a number' if isinstance(value, _Number) else _kind(value)}.")
    if b"\\u" in line and b"\\ud" in line.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise _Refused("It has half of a surrogate pair, which is no character.") from error
    return value


def as_text(value: Any) -> str | None:
    """A value as text: strings and numbers as they are, nested values as compact JSON."""
    if isinstance(value, str):
        return str(value)
    if value is None or isinstance(value, bool):
        return None if value is None else "true" if value else "false"
    return _json(value)


def fast(text: bytes, lines: list[bytes], rows: int, names: Sequence[str], contract: Contract) -> pa.Table | None:
    """The rows in the contract's types by pyarrow's parser, or None where line by line is called for."""
    fields = [pa.field(c.source or c.name, kind) for c in contract.columns if (kind := _fast_type(c)) is not None]
    strict = contract.others == "refuse"
    if len(fields) < len(contract.columns) or (not strict and text.count(b"{") != rows):
        return None
    # One object a line, and nothing that the two parsers take differently.
    if any(line and (line[0] != 123 or line.rstrip(b"\r")[-1:] != b"}") for line in lines):
        return None
    if any(sign in text for sign in _NOT_NAN) or not _is_utf8(text):
        return None
    try:
        table = pj.read_json(
            io.BytesIO(text),
            read_options=pj.ReadOptions(use_threads=False, block_size=len(text) + 16),
            parse_options=pj.ParseOptions(
                explicit_schema=pa.schema(fields), unexpected_field_behavior="error" if strict else "ignore"
            ),
        )
    except pa.ArrowException:
        return None
    if table.num_rows != rows:
        return None
    known = [f.name for f in fields]
    others = [n for n in names if n not in known] if strict else []
    for name in others:  # a column that the contract does not know, and no line of this piece has
        table = table.append_column(name, pa.nulls(rows, pa.string()))
    return table.select([n for n in names if n in table.column_names] + [n for n in known if n not in names])


def _fast_type(column: Column) -> pa.DataType | None:
    """The type in which pyarrow finds what the contract would find in the text; None where it might not."""
    plain = not any(m.strip() for m in column.missing)
    if column.dtype in ("int64", "float64"):
        told = plain and column.decimal == "." and not column.thousands and not column.strip
        return _FAST[column.dtype] if told else None
    if column.dtype == "bool":
        return (
            _FAST["bool"]
            if plain and list(column.true_words) == ["true"] and list(column.false_words) == ["false"]
            else None
        )
    return pa.string()


def _columns(names: Sequence[str], contract: Contract | None) -> list[str]:
    more = [] if contract is None else [c.source or c.name for c in contract.columns]
    return list(dict.fromkeys((*names, *more)))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise _Refused(f"The key {twice!r} is there twice.")
    return values


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_once)


def _json(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_json(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value, ensure_ascii=False)


def _kind(value: Any) -> str:
    return {list: "an array", str: "a string", bool: "a truth value"}.get(type(value), "null")


def _keys(filesystem: pafs.FileSystem, path: str, file: str, nbytes: int) -> list[str]:
    """The keys in a file's beginning, in order of appearance."""
    try:
        with filesystem.open_input_stream(path, compression=_codec(path)) as stream:
            start = stream.read(nbytes).removeprefix(b"\xef\xbb\xbf")
    except PermissionError as error:
        raise storage.denied(file, error) from error
    except (OSError, pa.ArrowException) as error:
        raise _cut(file, error) from error
    if start[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise MalformedText(f"{file} is UTF-16.", why="JSON lines are UTF-8.", fix=f"iconv -f UTF-16 -t UTF-8 {file}")
    lines = start.split(b"\n")
    keys: dict[str, None] = {}
    for line in lines if len(start) < nbytes else lines[:-1]:
        try:
            keys.update(dict.fromkeys(parse_line(line)))
        except _Refused:
            continue
    begun = start.lstrip()
    # An array's last element has no comma after it: by itself it looks like a line.
    if (not keys and begun[:1] == b"{") or (begun[:1] == b"[" and not _is_whole(begun.split(b"\n")[0])):
        raise MalformedText(
            f"{file} is one JSON document, not one object a line.",
            why="A document has to be read whole, so it cannot be cut into pieces.",
            fix=f"Make lines of it: jq -c '.[]' {file} > lines.jsonl",
        )
    return list(keys)


def _count_lines(filesystem: pafs.FileSystem, paths: tuple[str, ...], item: tuple[int, int, int]) -> tuple[int, int]:
    """Line ends in a range, and the position after the last of them."""
    i, start, end = item
    lines, last, place = 0, start, start
    with _opened(filesystem, paths[i], start, end) as stream:
        while block := stream.read(_BLOCK):
            lines += block.count(b"\n")
            if (found := block.rfind(b"\n")) >= 0:
                last = place + found + 1
            place += len(block)
    return lines, last


def _opened(filesystem: pafs.FileSystem, path: str, start: int, end: int) -> Any:
    """A stream over a file's bytes from ``start`` to ``end``; of a compressed file over all, unpacked."""
    codec = _codec(path)
    if codec is not None:
        return filesystem.open_input_stream(path, compression=codec)
    return filesystem.open_input_file(path).get_stream(start, end - start)


def _codec(path: str) -> str | None:
    return _COMPRESSED.get(os.path.splitext(path.lower())[1])


def _cut(file: str, error: Exception) -> MalformedText:
    return MalformedText(
        f"{file} cannot be read to its end.", why=f"{type(error).__name__}: {error}", fix="Fetch it again."
    )


def _is_whole(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _shown(line: bytes) -> str:
    """A line as text; bytes that are none are shown by their numbers."""
    return line.rstrip(b"\r").decode("utf-8", "backslashreplace")
