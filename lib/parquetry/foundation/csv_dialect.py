"""How a text table is written, found out from its beginning: encoding, delimiter, quotes, header, line ends.

What the beginning does not settle is noted, never silently guessed; every finding can be overruled.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from parquetry.errors import BadParameter, EmptyDataset, MalformedText
from parquetry.foundation.csv_header import cells_of, is_header, made_up, usable_names
from parquetry.foundation.csv_scan import GOOD, Marks, split

SAMPLE = 2**18
"""Bytes of a file's beginning that are looked at."""
DELIMITERS = (",", ";", "\t", "|")
_ROWS = 100
_SHORT = 2**16
_TOO_FEW = 16
"""Characters beyond ASCII under which no statistics can tell code pages apart: the commonest one is taken."""
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Dialect:
    """How one file is written.

    Attributes
    ----------
    names : tuple of str
        The columns; made up where there is no header, made different where two are the same.
    delimiter, quote, escape : str
        Single characters; ``""`` for none.
    header : bool
        Whether the first record names the columns.
    encoding : str
    start, line : int
        Where the first row begins, in bytes (characters are counted as UTF-8 where the file is
        decoded first), and its line, from 1.
    line_ends : str
        ``"LF"``, ``"CRLF"``, ``"CR"``, or several of them, as seen in the beginning.
    notes : tuple of str
        What was assumed or changed.
    """

    names: tuple[str, ...]
    delimiter: str
    quote: str
    escape: str
    header: bool
    encoding: str
    start: int
    line: int
    line_ends: str = "LF"
    notes: tuple[str, ...] = ()
    given: tuple[str, ...] = field(default=(), compare=False)

    @property
    def marks(self) -> Marks:
        """Its characters as bytes."""
        return Marks(*(ord(c) if c else -1 for c in (self.delimiter, self.quote, self.escape)))

    @property
    def wide(self) -> bool:
        """Whether its characters have to be decoded before anything can be found in them."""
        return wide(self.encoding)


@dataclass(frozen=True)
class Told:
    """What the user says about text tables; None where it is to be found out.

    Attributes
    ----------
    delimiter, encoding : str
    quote : str
        ``""`` where quotation marks are a part of the text.
    escape : str
    header : bool
    names : tuple of str
        The columns' names, instead of those of a header.
    """

    delimiter: str | None = None
    quote: str | None = None
    escape: str | None = None
    header: bool | None = None
    encoding: str | None = None
    names: tuple[str, ...] | None = None

    def check(self) -> Told:
        """Raise BadParameter for what cannot be; gives itself."""
        if not (self.header is None or isinstance(self.header, bool)):
            raise BadParameter(
                f"header={self.header!r}: a row of names by its number is for workbooks.",
                fix="Say whether the first line names the columns: header=True, --header yes.",
            )
        for name in ("delimiter", "quote", "escape"):
            value = getattr(self, name)
            if value is not None and (len(value) > 1 or not value.isascii() or value in ("\n", "\r")):
                raise BadParameter(f"{name}={value!r} is not a single ASCII character.", fix="Pass one, as in ';'.")
        if self.delimiter == "":
            raise BadParameter("delimiter='' separates nothing.", fix="Pass one character, as in ';'.")
        if self.encoding is not None:
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise BadParameter(
                    f"encoding={self.encoding!r} is not known.", fix="Python's names: 'utf-8', 'cp1252', 'shift_jis' …"
                ) from error
        return self


def wide(encoding: str) -> bool:
    """Whether ASCII characters take more than a byte in an encoding."""
    return codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))


def detect(sample: bytes, name: str, told: Told, *, whole: bool) -> Dialect:
    """The dialect of a file.

    Parameters
    ----------
    sample : bytes
        The file's beginning, decompressed.
    name : str
        The file's, for errors; ``.tsv`` and ``.tab`` say what the delimiter is.
    told : Told
    whole : bool
        Whether the sample is the whole file.

    Raises
    ------
    EmptyDataset
        The file holds nothing.
    MalformedText
        Its first line is not text.
    """
    encoding, bom, notes = _encoding(sample, told)
    text = sample[bom:]
    if len(text) > _SHORT and (b"\n" in text[:_SHORT] or b"\r" in text[:_SHORT]) and not wide(encoding):
        text, whole = text[:_SHORT], False
    if wide(encoding):
        text = text.decode(encoding, "replace").encode()
    if not text.strip():
        raise EmptyDataset(f"{name} holds nothing.", fix="Check the file; leave it out if it is meant to be empty.")
    head = text.partition(b"\n")[0].partition(b"\r")[0]
    if b"\0" in head:
        raise MalformedText(
            f"{name}, line 1 cannot be read.",
            why="It holds a NUL byte: it is not text.",
            fix="Say encoding='utf-16' if it is that, or check what kind of file it is.",
        )
    delimiter, quote, escape, found = _characters(text, name, told, whole=whole)
    ends = _line_ends(text)
    dialect = Dialect((), delimiter, quote, escape, header=True, encoding=encoding, start=bom, line=1, line_ends=ends)
    dialect = replace(dialect, notes=(*notes, *found))
    return _with_header(dialect, text, name, told, bom=0 if wide(encoding) else bom, whole=whole)


def _encoding(sample: bytes, told: Told) -> tuple[str, int, list[str]]:
    """The encoding, the length of the byte order mark, and what was assumed."""
    for mark, encoding in _BOMS:
        if sample.startswith(mark) and (told.encoding is None or encoding in codecs.lookup(told.encoding).name):
            # The codecs of 16 and 32 bits take the mark themselves, to know the order of bytes.
            return encoding, 0 if wide(encoding) else len(mark), [f"encoding {encoding}, by its byte order mark"]
    if told.encoding is not None:
        return codecs.lookup(told.encoding).name, 0, []
    guess = guess_encoding([sample])
    return guess, 0, [f"encoding {guess}, guessed"] if guess != "utf-8" else []


def guess_encoding(samples: Sequence[bytes]) -> str:
    """``utf-8`` where it can be; else what charset-normalizer makes of the lines that are not ASCII.

    Bytes that are UTF-8 but for few lines are taken for UTF-8: those lines are set aside later.
    """
    joined = b"\n".join(samples)
    if joined.count(0) * 3 > len(joined):  # every other byte of most texts in UTF-16
        return "utf-16-le" if joined[1:2] == b"\0" else "utf-16-be"
    if joined.isascii():
        return "utf-8"
    lines = [line for line in joined.splitlines() if not line.isascii()]
    good = sum(_is_utf8(line) for line in lines[:-1]) + (not _is_utf8(lines[-1]) and len(lines) == 1 and _cut(lines[0]))
    if good or _is_utf8(lines[0]):
        return "utf-8"
    from charset_normalizer import from_bytes

    few = sum(byte > 127 for byte in b"".join(lines[:1000])) < _TOO_FEW
    best = None if few else from_bytes(b"\n".join(lines[:1000]), cp_isolation=list(_COMMON)).best()
    return codecs.lookup(best.encoding).name if best is not None else "cp1252"


_COMMON = (
    "cp1252",
    "latin_1",
    "cp1250",
    "cp1251",
    "cp1253",
    "cp1254",
    "cp437",
    "shift_jis",
    "gb18030",
    "big5",
    "euc_kr",
)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cut(line: bytes) -> bool:
    """Whether a line is UTF-8 but for a character that the end of the sample has cut."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return error.start >= len(line) - 3 and error.start > 0 and not line[: error.start].isascii()
    return True


def _line_ends(text: bytes) -> str:
    pairs, feeds, returns = text.count(b"\r\n"), text.count(b"\n"), text.count(b"\r")
    counts = {"CRLF": pairs, "LF": feeds - pairs, "CR": returns - pairs}
    return " and ".join(name for name, count in counts.items() if count) or "LF"


def _characters(text: bytes, name: str, told: Told, *, whole: bool) -> tuple[str, str, str, list[str]]:
    """Delimiter, quote and escape: those under which most records have the same number of values."""
    tabs = any(part in ("tsv", "tab") for part in name.lower().split(".")[1:])
    delimiters = (told.delimiter,) if told.delimiter is not None else (("\t",) if tabs else DELIMITERS)
    quotes = (told.quote,) if told.quote is not None else _quotes(text, delimiters)
    escape = told.escape or ""
    if not escape and told.escape is None and text.count(b'\\"') > 1 and b'\\",' not in text:
        escape = "\\"
    scores = []
    for rank, delimiter in enumerate(delimiters):
        for order, quote in enumerate(quotes):
            marks = Marks(*(ord(c) if c else -1 for c in (delimiter, quote, escape)))
            width, share, errors = _fit(text, marks, whole=whole)
            scores.append(((width > 1, share - errors, min(width, 3)), -order, -rank, delimiter, quote, width))
    scores.sort(key=lambda s: s[:3], reverse=True)
    _, _, _, delimiter, quote, width = scores[0]
    notes = []
    rivals = [s[3] for s in scores[1:] if s[0] == scores[0][0] and s[3] != delimiter and width > 1]
    if rivals and told.delimiter is None:
        notes.append(f"delimiter {delimiter!r}, though {rivals[0]!r} fits as well; say delimiter= if it is the other")
    if escape:
        notes.append(f"quotation marks escaped by {escape!r}")
    return delimiter, quote, escape, notes


def _quotes(text: bytes, delimiters: Sequence[str]) -> tuple[str, ...]:
    """What may be the quotation mark: the usual one, unless it encloses no value and is left open again and again."""
    if b'"' in text:
        if _enclosed(text, b'"', 1):
            return ('"',)
        opened = [split(text, Marks(ord(d)), limit=2**20).flags for d in delimiters]
        return ("",) if min(int((flags != GOOD).sum()) for flags in opened) > 2 else ('"',)
    return ('"', "'") if _enclosed(text, b"'", 4) else ('"',)


def _enclosed(text: bytes, mark: bytes, least: int) -> bool:
    """Whether values stand between two marks, at least so many."""
    pattern = rb"(?:^|[,;\t|\n\r])M[^M\n]*M(?=[,;\t|\r\n]|$)".replace(b"M", mark)
    return sum(1 for _ in zip(range(least), re.finditer(pattern, text), strict=False)) >= least


def _fit(text: bytes, marks: Marks, *, whole: bool) -> tuple[int, float, float]:
    """The commonest number of values, the share of records that have it, and the share that cannot be read."""
    records = split(text, marks, final=whole or (b"\n" not in text and b"\r" not in text), limit=2**20)
    fields, flags = records.fields[:_ROWS], records.flags[:_ROWS]
    good = fields[flags == GOOD]
    if not len(fields):
        return 1, 0.0, 1.0
    if not len(good):
        return 1, 0.0, 1.0
    values, counts = _unique(good.tolist())
    width = values[counts.index(max(counts))]
    return width, max(counts) / len(fields), float((flags != GOOD).mean())


def _unique(values: list[int]) -> tuple[list[int], list[int]]:
    known = sorted(set(values), reverse=True)
    return known, [values.count(v) for v in known]


def _with_header(dialect: Dialect, text: bytes, name: str, told: Told, *, bom: int, whole: bool) -> Dialect:
    records = split(text, dialect.marks, final=True, limit=2**20)
    # The last record of a sample may be cut.
    keep = slice(0, -1) if not whole and len(records.starts) > 1 else slice(None)
    starts, ends = records.starts[keep][:_ROWS].tolist(), records.ends[keep][:_ROWS].tolist()
    flags = records.flags[keep].tolist()
    cells = [cells_of(text[a:b], dialect) for a, b in zip(starts, ends, strict=True)]
    if flags[0] != GOOD and told.header is not False:
        raise MalformedText(
            f"{name}, line {records.lines[0] + 1} cannot be read, and it should name the columns.",
            why="A quotation mark in it is not closed, or text follows one.",
            fix="Mend the line, or say quote='' where quotation marks are a part of the text.",
        )
    header, notes = told.header, list(dialect.notes)
    if header is None and told.names is not None:
        header = [c.strip() for c in cells[0]] == list(told.names)
    if header is None:
        header, note = is_header(cells)
        notes += [note] if note else []
    after = records.starts.tolist()[1] if len(records.starts) > 1 else len(text)
    start, line = (
        (after, int(records.lines[1]) + 1 if len(records.lines) > 1 else records.line + 1) if header else (0, 1)
    )
    given = tuple(c.strip() for c in cells[0]) if header else ()
    names = told.names or (usable_names(given, notes) if header else made_up(cells))
    return replace(
        dialect, names=tuple(names), header=header, start=start + bom, line=line, notes=tuple(notes), given=given
    )
