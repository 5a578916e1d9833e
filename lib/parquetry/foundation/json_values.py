"""The values of JSON objects, as ingest reads them: numbers as they are written, row by row or many rows at once."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pj

from parquetry.foundation.reasons import with_value
from parquetry.foundation.sources import Parsed, Positions, rejects

if TYPE_CHECKING:
    from parquetry.foundation.contract import Column, Contract

_FAST = {"int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
_NOT_NAN = (b"NaN", b"Infinity", b"\0")


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


class Refused(ValueError):
    """Why a line is rejected."""


def parsed_lines(
    file: str, text: bytes, lines: list[bytes], numbers: Positions, names: Sequence[str], contract: Contract | None
) -> Parsed:
    """Objects as rows.

    Parameters
    ----------
    file : str
    text : bytes
        All of ``lines``.
    lines : list of bytes
        An object each; blank ones are no rows.
    numbers : array of int64
        Their lines in the file.
    names : sequence of str
        The columns.
    contract : Contract or None
    """
    filled = np.flatnonzero([bool(line) and not line.isspace() for line in lines])
    table = None if contract is None else fast(text, lines, len(filled), names, contract)
    bad, kept = rejects(file, [], [], []), filled
    strings: set[str] = set()
    if table is None:
        columns = _columns(names, contract)
        known = None if contract is not None and contract.others == "drop" else frozenset(columns)
        rows, good, refused = [], [], []
        for i in filled.tolist():
            try:
                rows.append(row_of(lines[i], known, strings if contract is None else None))
                good.append(i)
            except Refused as why:
                refused.append((int(numbers[i]), shown(lines[i]), str(why)))
        table = pa.table({n: pa.array([r.get(n) for r in rows], pa.string()) for n in columns})
        kept = np.array(good, dtype=np.int64)
        if refused:
            bad = rejects(file, *(list(x) for x in zip(*refused, strict=True)))

    def line_of(rows: Positions) -> Positions:
        found: Positions = numbers[kept[rows]]
        return found

    def raw(rows: Positions) -> list[str]:
        return [shown(lines[i]) for i in kept[rows]]

    return Parsed(table, bad, len(filled), line_of, raw, strings=frozenset(strings))


def _columns(names: Sequence[str], contract: Contract | None) -> list[str]:
    more = [] if contract is None else [c.source or c.name for c in contract.columns]
    return list(dict.fromkeys((*names, *more)))


def row_of(line: bytes, known: frozenset[str] | None, strings: set[str] | None = None) -> dict[str, str | None]:
    """One line's values as text; ``known`` are the keys that it may have, None for any.

    The keys of its texts, but for blank ones, are added to ``strings``.
    """
    values = parse_line(line)
    if known is not None and not known.issuperset(values):
        more = next(k for k in values if k not in known)
        raise Refused(with_value("a key that is not among the columns", more))
    if strings is not None:
        strings.update(k for k, v in values.items() if type(v) is str and v.strip())
    return {k: v if type(v) is str else as_text(v) for k, v in values.items()}


def parse_line(line: bytes) -> dict[str, Any]:
    """One line's object; numbers as they are written. Raises ValueError with the reason."""
    try:
        value = _DECODER.decode(line.decode("utf-8").strip())
    except UnicodeDecodeError as error:
        raise Refused(f"not UTF-8 (byte {error.start + 1})") from error
    except json.JSONDecodeError as error:
        raise Refused(f"not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError as error:
        raise Refused("nested too deep") from error
    if not isinstance(value, dict):
        raise Refused(f"not a JSON object, but {'a number' if isinstance(value, _Number) else _kind(value)}")
    if b"\\u" in line and b"\\ud" in line.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            raise Refused("half of a surrogate pair, which is no character") from error
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


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise Refused(with_value("a key that is there twice", twice))
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


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def shown(line: bytes) -> str:
    """A line as text; bytes that are none are shown by their numbers."""
    return line.rstrip(b"\r").decode("utf-8", "backslashreplace")
