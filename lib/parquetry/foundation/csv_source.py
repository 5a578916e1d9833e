"""CSV and its kin as a source: one file or thousands, compressed or not, each with a dialect of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.errors import BadParameter, EmptyDataset, SchemaDrift
from parquetry.foundation.csv_cuts import LONGEST, STRETCH, TextFile, cut
from parquetry.foundation.csv_dialect import SAMPLE, Dialect, Told, detect
from parquetry.foundation.csv_pieces import CODECS, CsvPiece, StreamPiece, opened, reading

if TYPE_CHECKING:
    from parquetry.engine import Engine

EXPANSION = 250
"""How many times larger than itself a compressed file may become; real tables reach 50."""
_LISTED = 5
_MANY = 64
"""Files that one task looks at."""


@dataclass(frozen=True)
class Csv:
    """Delimited text: the files of a path, a folder or a glob, in order of name.

    Attributes
    ----------
    filesystem : pyarrow.fs.FileSystem
    texts : tuple of TextFile
        In order; the first one's dialect is the one that is shown.
    empty : tuple of str
        Files that hold nothing.
    stretch : int
        Bytes of a piece.
    expansion : int
    """

    filesystem: pafs.FileSystem
    texts: tuple[TextFile, ...]
    empty: tuple[str, ...]
    stretch: int
    expansion: int
    kind: str = "csv"

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str],
        *,
        delimiter: str | None = None,
        quote: str | None = None,
        escape: str | None = None,
        header: bool | None = None,
        encoding: str | None = None,
        names: Sequence[str] | None = None,
        longest: int = LONGEST,
        stretch: int = STRETCH,
        expansion: int = EXPANSION,
        engine: Engine | None = None,
    ) -> Csv:
        """Look at the beginning of each file.

        Parameters
        ----------
        source : path or URL
        delimiter, quote, escape : str, default None
            One character each; None to find out. ``quote=""`` where quotation marks are a part of the text.
        header : bool, default None
            Whether the first line names the columns.
        encoding : str, default None
            Python's name; None to find out.
        names : sequence of str, default None
            The columns' names.
        longest : int, default 16 MiB
            Bytes that a line, or a value in quotation marks, may have.
        stretch : int, default 32 MiB
            Bytes that a piece has about.
        expansion : int, default 250
            How many times larger than itself a compressed file may become.
        engine : Engine, default None
            What looks at many files at once; None looks at one after another.

        Raises
        ------
        EmptyDataset
            No file, or only files that hold nothing.
        SchemaDrift
            A file has other columns than the first.
        MalformedText, BadParameter, DatasetNotFound, AccessDenied
        """
        told = Told(delimiter, quote, escape, header, encoding, tuple(names) if names is not None else None).check()
        if longest < 1 or stretch < 1 or expansion < 1:
            raise BadParameter("longest, stretch and expansion are numbers of 1 or more.", fix="Leave them out.")
        filesystem, path = storage.resolve(source)
        _, files = storage.list_files(filesystem, path)
        if not files:
            raise EmptyDataset(f"There is no file in {os.fspath(source)}.", fix="Check the path.")
        texts, empty = _look(filesystem, files, os.fspath(source), told, longest, engine)
        if not texts:
            raise EmptyDataset(
                f"{os.fspath(source)} holds no rows: {len(empty)} empty files.", fix="Check where they come from."
            )
        return cls(filesystem, tuple(texts), tuple(empty), stretch, expansion)

    @property
    def dialect(self) -> Dialect:
        """How the first file is written."""
        return self.texts[0].dialect

    @property
    def schema(self) -> pa.Schema:
        """All columns, as strings."""
        return pa.schema([(name, pa.string()) for name in self.dialect.names])

    @property
    def files(self) -> tuple[str, ...]:
        """The files' names."""
        return tuple(t.name for t in self.texts)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found out about them."""
        d = self.dialect
        header = "a header" if d.header else "no header"
        quotes = f"quotes {d.quote}" if d.quote else "no quotes"
        found = [f"delimiter {d.delimiter!r}, {quotes}, {header}, {d.encoding}, line ends {d.line_ends}", *d.notes]
        if self.empty:
            more = ", …" if len(self.empty) > _LISTED else ""
            found.append(f"{len(self.empty):,} files hold nothing: {', '.join(self.empty[:_LISTED])}{more}")
        others = [t for t in self.texts[1:] if replace(t.dialect, start=0) != replace(d, start=0)]
        found += [f"{t.name} is written in another way: {_told(t.dialect)}" for t in others[:_LISTED]]
        if len(others) > _LISTED:
            found.append(f"{len(others) - _LISTED:,} more files are written in another way than the first")
        return tuple(found)

    def pieces(self, engine: Engine) -> Sequence[CsvPiece | StreamPiece]:
        """Stretches of whole records; a file that can only be read from its beginning is one piece."""
        columns = self.dialect.names
        whole = [t for t in self.texts if _codec(t.path) is None and not t.dialect.wide]
        cuts = {t.path: (t, c) for t, c in cut(whole, self.filesystem, engine, stretch=self.stretch)}
        pieces: list[CsvPiece | StreamPiece] = []
        for text in self.texts:
            if text.path in cuts:
                settled, found = cuts[text.path]
                pieces += [CsvPiece(self.filesystem, settled, c, columns) for c in found if c.stop > c.start]
            else:
                codec = _codec(text.path)
                pieces.append(StreamPiece(self.filesystem, text, codec, columns, self.expansion, self.stretch))
        return pieces


def _told(d: Dialect) -> str:
    return f"delimiter {d.delimiter!r}, {'a' if d.header else 'no'} header, {d.encoding}, line ends {d.line_ends}"


def _codec(path: str) -> str | None:
    return next((codec for suffix, codec in CODECS.items() if path.lower().endswith(suffix)), None)


def _look(
    filesystem: pafs.FileSystem, files: Sequence[str], source: str, told: Told, longest: int, engine: Engine | None
) -> tuple[list[TextFile], list[str]]:
    """The files with their dialects, and those that hold nothing."""
    names = [source if len(files) == 1 else file for file in files]
    infos = filesystem.get_file_info(list(files))
    found: list[Dialect | None] = []
    for file, name in zip(files, names, strict=True):  # the first that holds something tells how the others may be
        found.append(_LookTask(filesystem, told)((file, name)))
        if found[-1] is not None:
            break
    task, rest = _LookTask(filesystem, told, found[-1]), list(zip(files, names, strict=True))[len(found) :]
    if engine is not None and len(rest) >= _MANY:
        groups = [rest[i : i + _MANY] for i in range(0, len(rest), _MANY)]
        found += [d for group in engine.map(task.all_of, groups, label="look") for d in group]
    else:
        found += map(task, rest)
    texts: list[TextFile] = []
    for file, name, info, dialect in zip(files, names, infos, found, strict=True):
        if dialect is not None:
            if texts:
                _same_columns(texts[0], dialect, name)
            texts.append(TextFile(file, name, int(info.size), dialect, longest, told.encoding is None))
    return texts, [name for name, dialect in zip(names, found, strict=True) if dialect is None]


@dataclass(frozen=True)
class _LookTask:
    """Looks at a file's beginning; ``first`` is the dialect of the first file."""

    filesystem: pafs.FileSystem
    told: Told
    first: Dialect | None = None

    def __call__(self, file: tuple[str, str]) -> Dialect | None:
        path, name = file
        with reading(name), opened(self.filesystem, path, _codec(path)) as stream:
            sample = stream.read(SAMPLE)
        try:
            return _dialect(sample, name, self.told, self.first)
        except EmptyDataset:
            return None

    def all_of(self, files: Sequence[tuple[str, str]]) -> list[Dialect | None]:
        """One file after another."""
        return [self(file) for file in files]


def _dialect(sample: bytes, name: str, told: Told, first: Dialect | None) -> Dialect:
    """A file's own dialect; few rows say little, so a file with the first one's header is read like it."""
    whole = len(sample) < SAMPLE
    if first is None or first.wide:
        return detect(sample, name, told, whole=whole)
    # Encoding and line ends are the file's own; an empty file says so here.
    like = Told(first.delimiter, first.quote, first.escape, told.header, told.encoding, told.names)
    if first.header:
        again = detect(sample, name, replace(like, header=True), whole=whole) if told.header is None else None
        return again if again is not None and again.given == first.given else detect(sample, name, told, whole=whole)
    again = detect(sample, name, replace(like, header=False), whole=whole)
    return again if len(again.names) == len(first.names) else detect(sample, name, told, whole=whole)


def _same_columns(first: TextFile, dialect: Dialect, name: str) -> None:
    if set(dialect.names) != set(first.dialect.names) or len(dialect.names) != len(first.dialect.names):
        raise SchemaDrift(
            f"{name} has the columns {list(dialect.names)}, and {first.name} has {list(first.dialect.names)}.",
            why="The files of one input must have the same header.",
            fix="Mend the file, or convert them one by one.",
        )
