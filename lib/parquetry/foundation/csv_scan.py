"""Where the records of delimited text begin and end: one strict automaton, compiled.

It knows quotation marks, doubled or escaped ones inside them, and line ends of all three kinds. A
quotation mark inside an unquoted value is a character like any other; after a closing one only a
delimiter or a line end may follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

RECORD, START, UNQUOTED, QUOTED, CLOSED, ESCAPED, SPOILED = 0, 1, 2, 3, 4, 5, 6
"""States: at the start of a record; of a value; in one; in quotation marks; after them; after an escape; in a
line that cannot be read."""
GOOD, AFTER_QUOTE, UNTERMINATED, IN_REACH, HOLDS_NUL = 0, 1, 2, 3, 4
REASONS = {
    AFTER_QUOTE: "text after a closing quotation mark",
    UNTERMINATED: "a quotation mark that opens and never closes",
    IN_REACH: "a stray quotation mark after one that never closes",
    HOLDS_NUL: "holds a NUL byte",
}
_LF, _CR = 10, 13
Bytes = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Marks:
    """The characters that have a meaning, as bytes; -1 for one that there is not."""

    delimiter: int
    quote: int = 34
    escape: int = -1


@dataclass(frozen=True)
class Records:
    """The records of some bytes, blank lines left out.

    Attributes
    ----------
    starts, ends : arrays of int64
        Where each begins, and where its line end begins.
    fields, flags, lines : arrays of int64
        How many values; what is wrong with it (``GOOD`` where nothing is); its first line, from 0.
    consumed : int
        Bytes up to the end of the last whole record.
    line : int
        Lines up to there.
    """

    starts: Integers
    ends: Integers
    fields: Integers
    flags: Integers
    lines: Integers
    consumed: int
    line: int


@njit(cache=True, nogil=True)
def survey(  # noqa: C901, PLR0912 (one automaton)
    buf: Bytes, delimiter: int, quote: int, escape: int, state: int
) -> tuple[int, int, int, int, int, int]:
    """Run the automaton over whole lines and count.

    Parameters
    ----------
    buf : array of uint8
        Begins after a line end, and ends with one (or with the file).
    delimiter, quote, escape : int
    state : {RECORD, QUOTED}
        Whether the first byte lies outside or inside of quotation marks.

    Returns
    -------
    tuple of int
        The state after the last byte (SPOILED where the text does not fit the automaton, and the
        rest is then not counted); records that end here; where the first record after the first
        record end begins (-1: none ends); lines up to there; lines; NUL bytes.
    """
    records, first, first_line, lines, nuls = 0, -1, 0, 0, 0
    n = len(buf)
    i = 0
    while i < n:
        byte = buf[i]
        if state == QUOTED:
            if byte == escape:
                state = ESCAPED
            elif byte == quote:
                state = CLOSED
            elif byte == _LF:
                lines += 1
            elif byte == 0:
                nuls += 1
        elif state == ESCAPED:
            state = QUOTED
            lines += byte == _LF
        elif byte in (_LF, _CR):
            if byte == _CR and i + 1 < n and buf[i + 1] == _LF:
                i += 1
            lines += 1
            records += state != RECORD
            state = RECORD
            if first < 0:
                first, first_line = i + 1, lines
        elif byte == delimiter:
            state = START
        elif byte == quote:
            if state in (RECORD, START, CLOSED):
                state = QUOTED
        elif state == CLOSED:
            return SPOILED, records, first, first_line, lines, nuls
        else:
            nuls += byte == 0
            state = UNQUOTED
        i += 1
    return state, records, first, first_line, lines, nuls


@njit(cache=True, nogil=True)
def _split(  # noqa: C901, PLR0912, PLR0915 (one automaton)
    buf: Bytes, delimiter: int, quote: int, escape: int, final: bool, limit: int,
    starts: Integers, ends: Integers, fields: Integers, flags: Integers, lines: Integers,
) -> tuple[int, int, int]:  # fmt: skip
    count, i, n, state, line = 0, 0, len(buf), RECORD, 0
    begin, begin_line, width, stray, nul = 0, 0, 1, False, False
    first_end, first_next, reach = -1, -1, -1
    while True:
        failed = GOOD
        if i >= n:
            if state == RECORD or not (final or n - begin > limit):
                break
            if state in (QUOTED, ESCAPED) and (final or first_end >= 0):
                failed = UNTERMINATED
            elif not final:
                break
        elif state == CLOSED and buf[i] not in (delimiter, _LF, _CR) and buf[i] != quote:
            failed = AFTER_QUOTE
        if failed and first_end >= 0:
            # The quotation mark was left open: its first line is set aside, and the rest is read anew.
            starts[count], ends[count], fields[count] = begin, first_end, width
            flags[count], lines[count] = UNTERMINATED, begin_line
            count += 1
            reach = max(reach, i)
            i, line, state = first_next, begin_line + 1, RECORD
            begin, begin_line, width, stray, nul, first_end = i, line, 1, False, False, -1
            continue
        if failed and i < n:
            state = SPOILED
        byte = buf[i] if i < n else _LF
        if i < n and state == QUOTED:
            if byte == escape:
                state = ESCAPED
            elif byte == quote:
                state = CLOSED
            elif byte == _LF:
                line += 1
                if first_end < 0:
                    first_end, first_next = i - (i > begin and buf[i - 1] == _CR), i + 1
            nul = nul or byte == 0
        elif i < n and state == ESCAPED:
            state = QUOTED
            line += byte == _LF
        elif byte in (_LF, _CR):
            end = min(i, n)
            if byte == _CR and i + 1 < n and buf[i + 1] == _LF:
                i += 1
            line += 1
            if state != RECORD:
                flag = GOOD
                if state == SPOILED:
                    flag = AFTER_QUOTE
                elif failed:
                    flag = UNTERMINATED
                elif nul:
                    flag = HOLDS_NUL
                elif stray and begin < reach:
                    flag = IN_REACH
                starts[count], ends[count], fields[count] = begin, end, width
                flags[count], lines[count] = flag, begin_line
                count += 1
            state = RECORD
            begin, begin_line, width, stray, nul, first_end = min(i + 1, n), line, 1, False, False, -1
        elif state == SPOILED:
            pass
        elif byte == delimiter:
            width += 1
            state = START
        elif byte == quote:
            if state in (RECORD, START, CLOSED):
                state = QUOTED
            else:
                stray = True
        else:
            nul = nul or byte == 0
            state = UNQUOTED
        i += 1
    return count, begin, begin_line


def as_array(data: Any) -> Bytes:
    """Bytes as an array, without a copy."""
    return np.frombuffer(data, dtype=np.uint8)


def split(data: Any, marks: Marks, *, final: bool = True, limit: int = 2**62) -> Records:
    """The records of bytes that begin at the start of one.

    A record that cannot be read is its first line alone, so that one open quotation mark does not
    swallow what follows; a line in its reach that has a stray mark is set aside as well.

    Parameters
    ----------
    data : bytes-like
    marks : Marks
    final : bool, default True
        Whether the file ends here; else what follows the last line end is left for the next call.
    limit : int
        Bytes after which a quotation mark counts as left open.
    """
    buf = as_array(data)
    most = int(np.count_nonzero(buf == _LF) + np.count_nonzero(buf == _CR)) + 1
    arrays = [np.empty(most, dtype=np.int64) for _ in range(5)]
    count, consumed, line = _split(buf, marks.delimiter, marks.quote, marks.escape, final, limit, *arrays)
    starts, ends, fields, flags, lines = (a[:count] for a in arrays)
    return Records(starts, ends, fields, flags, lines, int(consumed), int(line))


def freer(text: bytes) -> frozenset[str]:
    """The dtypes whose numbers Arrow's parser might read more freely than a contract, somewhere in a text."""
    hexadecimal, payload = _freer(np.frombuffer(text, dtype=np.uint8))
    return frozenset(dtype for dtype, count in (("int64", hexadecimal), ("float64", payload)) if count)


@njit(cache=True, nogil=True)
def _freer(data: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """How often there is ``0x``, and ``nan(``'s end. It does not stop early: so it takes many bytes at once."""
    hexadecimal = payload = 0
    for i in range(1, len(data)):
        hexadecimal += (data[i] | 32 == 120) & (data[i - 1] == 48)
        payload += (data[i] == 40) & (data[i - 1] | 32 == 110)
    return hexadecimal, payload
