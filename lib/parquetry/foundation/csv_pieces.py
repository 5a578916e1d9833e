"""Reading the pieces of text files: Arrow's parser on whole records, the careful way where that does not do.

The careful way splits the bytes into records itself, sets aside those that cannot be read, and
gives the rest to the same parser as texts. Rows are counted by the automaton of ``csv_scan``, apart
from the parser, and both must find the same number.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs

from parquetry.errors import MalformedText
from parquetry.foundation import casting
from parquetry.foundation.csv_cuts import STRETCH, Cut, TextFile, too_long
from parquetry.foundation.csv_dialect import Dialect
from parquetry.foundation.csv_scan import GOOD, REASONS, Records, freer, split
from parquetry.foundation.reasons import with_value, wrong_fields
from parquetry.foundation.sources import REJECTS, Parsed, Positions, rejects

if TYPE_CHECKING:
    from parquetry.foundation.contract import Column, Contract

CODECS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
_EXPANSION_FROM = 2**28
_LONGEST_RAW = 2**20


@dataclass(frozen=True)
class CsvPiece:
    """Whole records of a file, by their place in it."""

    filesystem: pafs.FileSystem
    text: TextFile
    cut: Cut
    columns: tuple[str, ...]

    @property
    def file(self) -> str:
        """The file's name as the user knows it."""
        return self.text.name

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.cut.stop - self.cut.start

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """All of its rows at once: it is bounded."""
        with self.filesystem.open_input_file(self.text.path) as stream:
            data = stream.read_at(self.size, self.cut.start)
        block = _Block(data, self.text.name, self.text.dialect, self.columns, self.cut.line)
        yield block.parsed(contract, self.cut.rows if self.cut.clean else -1)


@dataclass(frozen=True)
class StreamPiece:
    """A whole file that can only be read from its beginning: compressed, or in characters of 16 or 32 bits.

    Parameters
    ----------
    expansion : int
        How many times larger than itself the file may become, past its first 256 MiB.
    """

    filesystem: pafs.FileSystem
    text: TextFile
    codec: str | None
    columns: tuple[str, ...]
    expansion: int
    stretch: int = STRETCH

    @property
    def file(self) -> str:
        """The file's name as the user knows it."""
        return self.text.name

    @property
    def size(self) -> int:
        """Its bytes, as they lie there."""
        return self.text.size

    def read(self, contract: Contract | None) -> Iterator[Parsed]:
        """Its rows, a stretch at a time."""
        dialect, longest = self.text.dialect, self.text.longest
        rest, line, skip = b"", dialect.line, dialect.start
        chunks = self._chunks()
        final = False
        while not final:
            chunk = next(chunks, None)
            final = chunk is None
            if chunk is not None and skip:
                chunk, skip = chunk[skip:], max(0, skip - len(chunk))
            data = rest + (chunk or b"")
            records = split(data, dialect.marks, final=final, limit=longest)
            whole, rest = data[: records.consumed], data[records.consumed :]
            if len(rest) > longest + self.stretch:
                raise too_long(self.file, f"line {line + records.line:,}", longest)
            if whole:
                yield _Block(whole, self.file, dialect, self.columns, line).careful(contract, records)
                line += records.line

    def _chunks(self) -> Iterator[bytes]:
        decoder = codecs.getincrementaldecoder(self.text.dialect.encoding)() if self.text.dialect.wide else None
        total = 0
        with reading(self.file), opened(self.filesystem, self.text.path, self.codec) as stream:
            while chunk := stream.read(self.stretch):
                total += len(chunk)
                if self.codec and total > max(_EXPANSION_FROM, self.expansion * self.text.size):
                    raise MalformedText(
                        f"{self.file} becomes more than {self.expansion} times as large as it is.",
                        why=f"{self.text.size:,} bytes have become {total:,} so far, as those of a zip bomb do.",
                        fix="If it is no bomb, allow it with expansion=, as in expansion=2000.",
                    )
                yield decoder.decode(chunk).encode() if decoder else chunk
            if decoder and (tail := decoder.decode(b"", True)):  # noqa: FBT003
                yield tail.encode()


@contextmanager
def opened(filesystem: pafs.FileSystem, path: str, codec: str | None) -> Iterator[Any]:
    """A file's decompressed bytes; what is cut short raises at its end."""
    with filesystem.open_input_stream(path, compression=None) as raw:
        if codec == "gzip":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield stream
        elif codec == "bz2":
            with bz2.BZ2File(raw) as stream:
                yield stream
        elif codec:
            with pa.CompressedInputStream(raw, codec) as stream:
                yield stream
        else:
            yield raw


@contextmanager
def reading(name: str) -> Iterator[None]:
    """The errors of decompression and decoding, as typed ones that name the file."""
    try:
        yield
    except (EOFError, zlib.error, OSError, UnicodeError, pa.ArrowException) as error:
        raise MalformedText(
            f"{name} cannot be read to its end.",
            why=f"{error}.",
            fix="Fetch it again, or check what kind of file it is.",
        ) from error


@dataclass(frozen=True)
class _Block:
    """Bytes of whole records, and how to read them."""

    data: bytes
    file: str
    dialect: Dialect
    columns: tuple[str, ...]
    line: int

    def parsed(self, contract: Contract | None, rows: int) -> Parsed:
        """The rows; ``rows`` is how many there are, or -1 where something may be wrong with some."""
        if rows >= 0:
            found = self._fast(contract, rows)
            if found is not None:
                return found
        return self.careful(contract, split(self.data, self.dialect.marks))

    def careful(self, contract: Contract | None, records: Records) -> Parsed:
        """The rows of records that have been split already."""
        reasons = self._reasons(records)
        good = (
            np.array([r is None for r in reasons], dtype=bool) if reasons else np.ones(len(records.starts), dtype=bool)
        )
        if not reasons:
            found = self._fast(contract, len(records.starts), records)
            if found is not None:
                return found
        starts, ends = records.starts[good], records.ends[good]
        table = self._texts(self._kept(records, good), int(good.sum()))
        lines = records.lines[good] + self.line
        return Parsed(
            table,
            self._bad(records, reasons, np.flatnonzero(~good)),
            len(records.starts),
            lambda at: lines[at],
            lambda at: self._raw(starts[at], ends[at]),
        )

    def _fast(self, contract: Contract | None, rows: int, records: Records | None = None) -> Parsed | None:
        """Arrow's own parser with the contract's types; None where it refuses anything."""
        try:
            text = self._utf8(self.data)
            types, marks, nulls, done = _told(contract, self.columns, freer(text))
            table = self._parse(text, types, marks, nulls)
        except (pa.ArrowInvalid, UnicodeDecodeError):
            return None
        if table.num_rows != rows or not _known_years(table, done):
            return None
        once: list[Records] = [records] if records else []

        def found() -> Records:
            if not once:
                once.append(split(self.data, self.dialect.marks))
            return once[0]

        return Parsed(
            table,
            REJECTS.empty_table(),
            rows,
            lambda at: found().lines[at] + self.line,
            lambda at: self._raw(found().starts[at], found().ends[at]),
            done,
        )

    def _texts(self, data: bytes, rows: int) -> pa.Table:
        if not rows:
            return pa.table({name: pa.array([], pa.string()) for name in self.columns})
        table = self._parse(self._utf8(data), dict.fromkeys(self.columns, pa.string()), [], nulls=False)
        if table.num_rows != rows:
            raise MalformedText(
                f"{self.file}, lines from {self.line:,}: {rows:,} rows counted, {table.num_rows:,} parsed.",
                why="Every row must be accounted for.",
                fix="Say delimiter=, quote= or escape= as they are in the file.",
            )
        return table

    def _parse(self, text: bytes, types: dict[str, pa.DataType], marks: list[str], nulls: bool) -> pa.Table:
        quote = self.dialect.quote
        return pacsv.read_csv(
            pa.BufferReader(text),
            read_options=pacsv.ReadOptions(
                use_threads=False, column_names=list(self.dialect.names), block_size=max(len(text) + 1, 2**16)
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=self.dialect.delimiter,
                quote_char=quote or False,
                double_quote=bool(quote),
                escape_char=self.dialect.escape or False,
                newlines_in_values=bool(quote),
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=types,
                include_columns=list(self.columns),
                null_values=marks,
                strings_can_be_null=nulls,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
                check_utf8=True,
            ),
        )

    def _utf8(self, data: bytes) -> bytes:
        encoding = "utf-8" if self.dialect.wide else self.dialect.encoding
        return data if encoding == "utf-8" or data.isascii() else data.decode(encoding).encode()

    def _reasons(self, records: Records) -> list[str | None]:
        """Why each record cannot be read; an empty list where all can."""
        width = len(self.dialect.names)
        broken = (records.flags != GOOD) | (records.fields != width)
        undecoded = self._undecodable(records)
        if not broken.any() and not undecoded:
            return []
        reasons: list[str | None] = [None] * len(records.starts)
        for at, why in undecoded.items():
            reasons[at] = why
        for at in np.flatnonzero(broken).tolist():
            flag = int(records.flags[at])
            wrong = with_value(wrong_fields(width), int(records.fields[at]))
            reasons[at] = REASONS[flag] if flag != GOOD else wrong
        return reasons

    def _undecodable(self, records: Records) -> dict[int, str]:
        """The records that are not in the file's encoding."""
        encoding = "utf-8" if self.dialect.wide else self.dialect.encoding
        if self.data.isascii() and encoding != "utf-7":
            return {}
        found: dict[int, str] = {}
        place = 0
        view = memoryview(self.data)
        while place < len(self.data):
            try:
                codecs.decode(view[place:], encoding)
                break
            except UnicodeDecodeError as error:
                bad = place + error.start
                at = int(np.searchsorted(records.starts, bad, side="right")) - 1
                found[max(at, 0)] = f"not {encoding}: {error.reason}"
                place = int(records.starts[at + 1]) if at + 1 < len(records.starts) else len(self.data)
        return found

    def _kept(self, records: Records, good: npt.NDArray[np.bool_]) -> bytes:
        """The bytes of the good records, blank lines among them included."""
        if good.all():
            return self.data
        stops = np.append(records.starts[1:], len(self.data))
        edges = np.flatnonzero(np.diff(np.concatenate([[False], good, [False]])))
        view = memoryview(self.data)
        runs = zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)
        return b"".join(view[records.starts[a] : stops[b - 1]] for a, b in runs)

    def _bad(self, records: Records, reasons: list[str | None], at: Positions) -> pa.Table:
        if not len(at):
            return REJECTS.empty_table()
        raw = self._raw(records.starts[at], records.ends[at])
        return rejects(self.file, records.lines[at] + self.line, raw, [str(reasons[i]) for i in at.tolist()])

    def _raw(self, starts: Positions, ends: Positions) -> list[str]:
        """The raw text; bytes that are no text are shown in hexadecimal, and what is very long is cut."""
        encoding = "utf-8" if self.dialect.wide else self.dialect.encoding
        out = []
        for a, b in zip(starts.tolist(), ends.tolist(), strict=True):
            text = self.data[a : min(b, a + _LONGEST_RAW)].decode(encoding, "backslashreplace")
            out.append(text if b - a <= _LONGEST_RAW else f"{text}… ({b - a:,} bytes)")
        return out


def _told(
    contract: Contract | None, columns: tuple[str, ...], unsafe: frozenset[str] = frozenset()
) -> tuple[dict[str, pa.DataType], list[str], bool, frozenset[str]]:
    """What Arrow's parser is told: types, missing marks, whether texts may be missing; and what is then done.

    It has one list of marks for all columns: those that have others are read as texts, and so are
    those of a dtype that it might read more freely than the contract.
    """
    if contract is None:
        return dict.fromkeys(columns, pa.string()), [], False, frozenset()
    plain = [c for c in contract.columns if (casting.plain(c) and c.dtype not in unsafe) or casting.plain_boolean(c)]
    usual = Counter(tuple(c.missing) for c in plain).most_common(1)
    marks = list(usual[0][0]) if usual else [""]
    direct: list[Column] = [c for c in plain if c.missing == marks]
    typed = {c.name for c in direct}
    texts = [c for c in contract.columns if c.name not in typed]
    nulls = all(c.missing == marks for c in texts)
    types = {c.source_name: c.arrow_type(pa.string()) for c in direct}
    done = set(types) | ({c.source_name for c in texts if c.dtype == "text"} if nulls else set())
    return {**dict.fromkeys(columns, pa.string()), **types}, marks, nulls, frozenset(done)


def _known_years(table: pa.Table, done: frozenset[str]) -> bool:
    """Whether the dates that Arrow has parsed are those that the contract takes."""
    # To ask a table for a column by name takes as long as it has columns.
    columns = (column for name, column in zip(table.column_names, table.columns, strict=True) if name in done)
    return all(casting.within_years(column).null_count == column.null_count for column in columns)
