"""Where text files are cut: at the ends of records, found in one pass over all bytes by the engine.

Each task looks at whole lines of one stretch of a file, as if they began outside of quotation
marks, and as if they began inside. The driver then follows the states
from stretch to stretch. Only a file whose quotation marks do not add up is walked through from its
beginning, by one task.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from parquetry.errors import MalformedText
from parquetry.foundation.csv_dialect import Dialect, guess_encoding
from parquetry.foundation.csv_scan import (
    CLOSED,
    ESCAPED,
    QUOTED,
    RECORD,
    SPOILED,
    START,
    UNQUOTED,
    Marks,
    as_array,
    split,
    survey,
)

if TYPE_CHECKING:
    from parquetry.engine import Engine

STRETCH = 32 * 2**20
"""Bytes of a piece: two or three row groups, and what a task holds in memory a few times."""
LONGEST = 16 * 2**20
"""Bytes of the longest line, and of the longest value in quotation marks, by default."""
_LOOK = 2**18
_STRANGE_LINES = 100
Counts = tuple[int, int, int, int, int, int]
_STRANGE = re.compile(rb"[^\n]*[\x80-\xff][^\n]*")


@dataclass(frozen=True)
class TextFile:
    """A text file that can be read anywhere: not compressed, ASCII one byte a character."""

    path: str
    name: str
    size: int
    dialect: Dialect
    longest: int = LONGEST
    guessed: bool = False


@dataclass(frozen=True)
class Cut:
    """A stretch of whole records.

    Attributes
    ----------
    start, stop : int
        In bytes.
    line : int
        Its first line, from 1.
    rows : int
        How many records it has, blank lines perhaps included; -1 where they are to be counted when it is read.
    clean : bool
        Whether all of its quotation marks add up and it holds no NUL byte.
    """

    start: int
    stop: int
    line: int
    rows: int
    clean: bool


@dataclass(frozen=True)
class _Stretch:
    """What one task found in one stretch of whole lines; counts as in ``csv_scan.survey``."""

    start: int
    stop: int
    outside: Counts
    inside: Counts | None
    quotes: bool
    ascii: bool
    utf8: bool
    strange: tuple[bytes, ...]


@dataclass(frozen=True)
class _SurveyTask:
    filesystem: pafs.FileSystem

    def __call__(self, items: Sequence[tuple[int, TextFile, int, int]]) -> list[tuple[int, _Stretch]]:
        return [(index, self._one(file, start, stop)) for index, file, start, stop in items]

    def _one(self, file: TextFile, start: int, stop: int) -> _Stretch:
        with self.filesystem.open_input_file(file.path) as stream:
            begin = start if start == file.dialect.start else line_start(stream, file, start)
            end = file.size if stop >= file.size else line_start(stream, file, stop)
            data = stream.read_at(max(0, end - begin), begin)
        return _seen(data, begin, begin + len(data), file.dialect.marks)


def line_start(stream: Any, file: TextFile, at: int) -> int:
    """The first line that begins at a byte or after it.

    Raises
    ------
    MalformedText
        There is none within the longest line.
    """
    mark = b"\r" if file.dialect.line_ends == "CR" else b"\n"
    place = at - 1
    while place < file.size:
        data = stream.read_at(min(_LOOK, file.size - place), place)
        found = data.find(mark)
        if found >= 0:
            return int(place + found + 1)
        place += len(data)
        if place - at > file.longest:
            raise too_long(file.name, f"byte {at:,}", file.longest)
    return file.size


def too_long(name: str, where: str, longest: int) -> MalformedText:
    """The error for a line that memory should not hold."""
    return MalformedText(
        f"{name}: a line at {where} is longer than {longest:,} bytes.",
        why="A value of that length is more than a worker should hold, and mostly a sign of a broken file.",
        fix="Mend the file, or allow it with longest=BYTES.",
    )


def _seen(data: bytes, start: int, stop: int, marks: Marks) -> _Stretch:
    plain = data.isascii()
    utf8 = plain or is_utf8(data)
    strange: tuple[bytes, ...] = ()
    if not utf8:
        strange = tuple(m.group()[:500] for _, m in zip(range(_STRANGE_LINES), _STRANGE.finditer(data)))
    quotes = marks.quote >= 0 and marks.quote in data
    outside = (None if quotes else _counted(data)) or _survey(data, marks, RECORD)
    # Most often it is spoiled at the first mark, and so costs nothing.
    inside = _survey(data, marks, QUOTED) if quotes else None
    return _Stretch(start, stop, outside, inside, quotes, plain, utf8, strange)


def is_utf8(data: bytes) -> bool:
    """Whether bytes are UTF-8, by Arrow's check, which is ten times as fast as decoding them."""
    ends = pa.py_buffer(np.array([0, len(data)], dtype=np.int64))
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, pa.py_buffer(data)]).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _survey(data: bytes, marks: Marks, state: int) -> Counts:
    """The automaton's counts; what ends with the file, without a line end, is a record too."""
    counts = survey(as_array(data), marks.delimiter, marks.quote, marks.escape, state)
    end, rows, first, first_line, lines, nuls = map(int, counts)
    if end in (START, UNQUOTED, CLOSED):
        end, rows = RECORD, rows + 1
    return QUOTED if end == ESCAPED else end, rows, first, first_line, lines, nuls


def _counted(data: bytes) -> Counts | None:
    """The same counts without quotation marks, where there is no other line end.

    To look for blank lines would cost more than all the rest: where there are any, fewer rows are
    parsed than were counted here, and the piece is then counted again by the automaton.
    """
    if b"\r" in data:
        return None
    lines = data.count(b"\n")
    rows = lines + (len(data) > 0 and not data.endswith(b"\n"))
    return RECORD, rows, data.find(b"\n") + 1, 1, lines, data.count(b"\0")


def cut(
    files: Sequence[TextFile], filesystem: pafs.FileSystem, engine: Engine, *, stretch: int = STRETCH
) -> list[tuple[TextFile, list[Cut]]]:
    """The pieces of text files, in order; and the files, whose encoding may turn out to be another.

    Parameters
    ----------
    files : sequence of TextFile
    filesystem : pyarrow.fs.FileSystem
    engine : Engine
    stretch : int, default ``STRETCH``

    Raises
    ------
    MalformedText
        A line is longer than the longest allowed.
    """
    items = [
        (i, file, start, min(start + stretch, file.size))
        for i, file in enumerate(files)
        for start in range(file.dialect.start, file.size, stretch)
    ]
    found: list[list[_Stretch]] = [[] for _ in files]
    bundles = list(bundled(items, stretch))
    for results in engine.map(_SurveyTask(filesystem), bundles, label="ingest-survey") if bundles else ():
        for index, seen in results:
            found[index].append(seen)
    settled = [_with_encoding(file, seen) for file, seen in zip(files, found, strict=True)]
    cuts = [_follow(file, seen, 2 * stretch + file.longest) for file, seen in zip(settled, found, strict=True)]
    odd = [i for i, c in enumerate(cuts) if c is None]
    walk = _WalkTask(filesystem, stretch)
    if odd:
        walks = engine.map(walk, [settled[i] for i in odd], label="ingest-walk")
        cuts = [next(walks) if c is None else c for c in cuts]
    return [(file, c or []) for file, c in zip(settled, cuts, strict=True)]


def bundled(
    items: Sequence[tuple[int, TextFile, int, int]], most: int
) -> Iterator[list[tuple[int, TextFile, int, int]]]:
    """Consecutive stretches of small files together."""
    bundle: list[tuple[int, TextFile, int, int]] = []
    size = 0
    for item in items:
        if bundle and size + item[3] - item[2] > most:
            yield bundle
            bundle, size = [], 0
        bundle.append(item)
        size += item[3] - item[2] + 4096
    if bundle:
        yield bundle


def _with_encoding(file: TextFile, seen: Sequence[_Stretch]) -> TextFile:
    """The file with another encoding, where it was taken for UTF-8 by its beginning and is not."""
    if not file.guessed or file.dialect.encoding != "utf-8" or all(s.utf8 for s in seen):
        return file
    if any(s.utf8 and not s.ascii for s in seen):
        return file
    guess = guess_encoding([line for s in seen for line in s.strange][:_STRANGE_LINES])
    if guess == "utf-8":
        return file
    notes = (*file.dialect.notes, f"encoding {guess}, guessed from a line after the beginning")
    return replace(file, dialect=replace(file.dialect, encoding=guess, notes=notes))


def _follow(file: TextFile, seen: Sequence[_Stretch], most: int) -> list[Cut] | None:
    """The cuts, from stretch to stretch; None where the quotation marks do not add up."""
    cuts: list[Cut] = []
    state, line = RECORD, file.dialect.line
    for s in seen:
        counts = s.outside if state == RECORD else s.inside
        if state == QUOTED and not s.quotes:
            counts = (QUOTED, 0, -1, 0, s.outside[4], s.outside[5])
        if counts is None or counts[0] == SPOILED:
            return None
        end, rows, first, first_line, lines, nuls = counts
        if state == RECORD:
            cuts.append(Cut(s.start, s.stop, line, rows, nuls == 0))
        else:
            # A record that began in an earlier stretch ends here, or goes on.
            last, ends = cuts[-1], first >= 0 or end == RECORD
            stop = s.start + first if first >= 0 else s.stop
            cuts[-1] = replace(last, stop=stop, rows=last.rows + ends, clean=last.clean and nuls == 0)
            if stop < s.stop:
                cuts.append(Cut(stop, s.stop, line + first_line, rows - 1, nuls == 0))
        if cuts[-1].stop - cuts[-1].start > most:
            return None  # a value in quotation marks that is longer than any may be
        state = end
        line += lines
    return cuts if state == RECORD else None


@dataclass(frozen=True)
class _WalkTask:
    """Walks through a file whose quotation marks do not add up, and cuts it where records end."""

    filesystem: pafs.FileSystem
    stretch: int

    def __call__(self, file: TextFile) -> list[Cut]:
        cuts: list[Cut] = []
        place, line = file.dialect.start, file.dialect.line
        with self.filesystem.open_input_file(file.path) as stream:
            while place < file.size:
                data = stream.read_at(min(self.stretch + file.longest, file.size - place), place)
                final = place + len(data) >= file.size
                records = split(data, file.dialect.marks, final=final, limit=file.longest)
                if not records.consumed:
                    if not final:
                        raise too_long(file.name, f"line {line:,}", file.longest)
                    break
                cuts.append(Cut(place, place + records.consumed, line, -1, clean=False))
                place, line = place + records.consumed, line + records.line
        return cuts
