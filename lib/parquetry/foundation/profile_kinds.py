"""What kind of column the profile sees in each Arrow type, and how its values become numbers and keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.foundation.profile_loops import hash_texts
from parquetry.view import Batch, FloatArray, float_column

KeyArray = npt.NDArray[np.uint64]

NUMBERS = ("integer", "float", "decimal", "boolean")
"""Kinds of which there is arithmetic."""
MEASURED = (*NUMBERS, "time")
"""Kinds that have an order and a distance: they are also seen as floats."""
TEXTS = ("text", "binary")


@dataclass(frozen=True)
class Planned:
    """A column of the profile.

    Attributes
    ----------
    name : str
    kind : {"integer", "float", "decimal", "boolean", "time", "text", "binary", "nested"}
        ``"nested"`` stands for every other type: its values are counted and named, no more.
    type : pyarrow.DataType
    """

    name: str
    kind: str
    type: pa.DataType


def plan(schema: pa.Schema, names: Sequence[str]) -> tuple[Planned, ...]:
    """The kind of each column."""
    return tuple(Planned(name, kind_of(schema.field(name).type), schema.field(name).type) for name in names)


def kind_of(kind: pa.DataType) -> str:
    """The kind of a type."""
    checks = (
        ("boolean", pa.types.is_boolean),
        ("integer", pa.types.is_integer),
        ("float", pa.types.is_floating),
        ("decimal", pa.types.is_decimal),
        ("time", lambda k: pa.types.is_temporal(k) and not pa.types.is_interval(k)),
        ("text", lambda k: pa.types.is_string(k) or pa.types.is_large_string(k)),
        ("binary", lambda k: pa.types.is_binary(k) or pa.types.is_fixed_size_binary(k)),
    )
    return next((name for name, check in checks if check(kind)), "nested")


# --- numbers --------------------------------------------------------------------------------
def whole_numbers(column: pa.ChunkedArray, planned: Planned) -> pa.ChunkedArray:
    """A column of integers, booleans or times as whole numbers."""
    if planned.kind == "boolean":
        return column.cast(pa.uint8())
    if planned.kind == "time":
        return column.cast(pa.int32() if planned.type.bit_width == 32 else pa.int64())
    return column


def floats_of(batch: Batch, planned: Planned) -> FloatArray:
    """A measured column of a batch as float64, missing values as NaN; worked out once a batch."""
    kept: dict[str, FloatArray] = batch.__dict__.setdefault("_profile_floats", {})
    if planned.name not in kept:
        column = batch.table.column(planned.name)
        kept[planned.name] = float_column(whole_numbers(column, planned) if planned.kind == "time" else column)
    return kept[planned.name]


@dataclass(frozen=True)
class Floats:
    """Gives some measured columns of a batch as float arrays: what quantiles and histograms take."""

    columns: tuple[Planned, ...]

    def __call__(self, batch: Batch) -> list[FloatArray]:
        return [floats_of(batch, planned) for planned in self.columns]


def keys_of(batch: Batch, planned: Planned) -> KeyArray:
    """What tells a measured column's values apart; anything where there is none.

    Integers and times by all their 64 bits, floats and decimals by those of their float64.
    """
    if planned.kind in ("float", "decimal"):
        return np.ascontiguousarray(floats_of(batch, planned)).view(np.uint64)
    column = whole_numbers(batch.table.column(planned.name), planned)
    if column.type != pa.uint64():
        column = column.cast(pa.int64())
    if column.null_count:
        column = pc.fill_null(column, 0)
    return np.ascontiguousarray(column.to_numpy()).view(np.uint64)


def value_of(planned: Planned, key: int) -> Any:
    """The value that a key stands for."""
    if planned.kind in ("float", "decimal"):
        return value_of_float(planned, float(np.uint64(key).view(np.float64)))
    if planned.type == pa.uint64():
        return key
    number = int(np.uint64(key).view(np.int64))
    if planned.kind == "boolean":
        return bool(number)
    return moment_of(planned, number) if planned.kind == "time" else number


def value_of_float(planned: Planned, value: float) -> Any:
    """A float in its column's own terms: a decimal where that is one."""
    if planned.kind != "decimal":
        return value
    return Decimal(value).quantize(Decimal(1).scaleb(-planned.type.scale), context=Context(prec=100))


def moment_of(planned: Planned, number: float) -> str:
    """The date or time that a whole number stands for, as ISO 8601 (a duration as text).

    One beyond the year 9999 has no such form: the number itself is given.
    """
    whole = pa.array([round(number)], pa.int32() if planned.type.bit_width == 32 else pa.int64())
    try:
        value = whole.cast(planned.type)[0].as_py()
    except (ValueError, OverflowError):
        return str(round(number))
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)


# --- texts ----------------------------------------------------------------------------------
@dataclass(frozen=True)
class Coded:
    """A column of texts by its distinct ones.

    Attributes
    ----------
    values : pyarrow.Array
        Distinct texts of the batch.
    hashes : ndarray of uint64
        Of each of them.
    codes : ndarray of int64, shape (n_rows,)
        Which one each row has; -1 for none.
    """

    values: pa.Array
    hashes: KeyArray
    codes: npt.NDArray[np.int64]


def coded(batch: Batch, planned: Planned) -> Coded:
    """A text column of a batch by its distinct texts; worked out once a batch."""
    kept: dict[str, Coded] = batch.__dict__.setdefault("_profile_codes", {})
    if planned.name not in kept:
        column = batch.table.column(planned.name)
        column = column.cast(pa.string() if planned.kind == "text" else pa.binary())
        encoded = column.combine_chunks().dictionary_encode()
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
        values = pa.concat_arrays([encoded.dictionary])  # from its first byte on
        _, offsets, data = values.buffers()
        ends = np.frombuffer(offsets, dtype=np.int32)[values.offset : values.offset + len(values) + 1]
        stored = np.frombuffer(data, dtype=np.uint8) if data is not None and data.size else np.zeros(1, np.uint8)
        kept[planned.name] = Coded(values, hash_texts(ends, stored), codes)
    return kept[planned.name]


def row_keys(batch: Batch, planned: Planned) -> tuple[KeyArray, npt.NDArray[np.bool_]]:
    """Each row's key, and whether it has a value."""
    if planned.kind in TEXTS:
        found = coded(batch, planned)
        if not len(found.hashes):
            return np.zeros(len(found.codes), dtype=np.uint64), found.codes >= 0
        return found.hashes[np.maximum(found.codes, 0)], found.codes >= 0
    keys = keys_of(batch, planned)
    if planned.kind in ("float", "decimal"):
        keys = np.where(keys == np.uint64(1 << 63), np.uint64(0), keys)
    return keys, ~np.isnan(floats_of(batch, planned))
