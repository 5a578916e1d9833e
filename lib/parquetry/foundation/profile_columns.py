"""The profile's one pass: everything that is known of each column by itself, and of whole rows.

State a column: about 50 KiB, whatever the number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from parquetry.foundation import distinct, grids
from parquetry.foundation.distinct import Frequent, KeyArray, Registers
from parquetry.foundation.grids import Grid
from parquetry.foundation.profile_kinds import MEASURED, TEXTS, Planned, coded, floats_of, keys_of, whole_numbers
from parquetry.foundation.profile_loops import SUMS, add_hashes, add_to_rows, chunk_sums, expect, scan_keys
from parquetry.foundation.shape import Shape, merge_shapes, shape_of_chunks
from parquetry.reduction import Reduction
from parquetry.rows import finalized
from parquetry.view import Batch, FloatArray

ROOM = 1_024
"""Values of a column that are counted one by one, at least; all of them while there are fewer than twice as many."""
_PRECISION = 14  # registers: 2**14, a standard error of 0.8 %
_WIDE_PRECISION = 11  # of tables with very many columns: 2.3 %
WIDE = 1_000
ROWS_EXACT = 2**16
"""Whole rows that are held by their hashes, so that duplicates are counted exactly."""
_ROW_PRECISION = 16
_SHOWN = 200  # characters that are kept of a text


@dataclass
class TextState:
    """Lengths and blanks of a column of texts; ``[minimum, maximum, sum]`` for each length."""

    nbytes: list[int]
    characters: list[int]
    empty: int
    blank: int
    leading: int
    trailing: int
    invalid: int = 0


@dataclass
class ColumnState:
    """What is known of one column.

    Attributes
    ----------
    nulls : int
    registers : ndarray of uint8 or None
        HyperLogLog; None for a nested column.
    frequent : Frequent or None
    extremes : tuple or None
        Least and greatest value where floats would round them: integers, decimals, times.
    grid : Grid or None
    texts : TextState or None
    """

    nulls: int
    registers: Registers | None = None
    frequent: Frequent | None = None
    extremes: tuple[Any, Any] | None = None
    grid: Grid | None = None
    texts: TextState | None = None


@dataclass
class Facts:
    """What the pass has found.

    Attributes
    ----------
    rows : int
    shape : Shape
        Moments of the measured columns, in their order.
    counters : ndarray of int64, shape (n_measured, 5)
        Negative values, zeros, infinities below and above, NaN (nulls are among them).
    columns : list of ColumnState
    row_hashes : ndarray of uint64 or None
        Distinct hashes of whole rows, while they are few.
    row_registers : ndarray of uint8
    """

    rows: int
    shape: Shape
    counters: npt.NDArray[np.int64]
    columns: list[ColumnState]
    row_hashes: KeyArray | None
    row_registers: Registers


class ColumnFacts(Reduction[Facts, Facts]):
    """Everything about columns by themselves.

    Parameters
    ----------
    columns : tuple of Planned
    rows : int, default 0
        How many there are, as far as it is known.
    """

    label = "profile"

    def __init__(self, columns: tuple[Planned, ...], rows: int = 0) -> None:
        self.columns = columns
        self.values = rows * len(columns)
        self.registers = 1 << (_PRECISION if len(columns) <= WIDE else _WIDE_PRECISION)
        self.room = ROOM if len(columns) <= WIDE else ROOM // 4

    def partial(self, batch: Batch) -> Facts:
        expect(self.values)
        rows = np.zeros(batch.num_rows, dtype=np.uint64)
        states, sums = [], []
        for planned in self.columns:
            if planned.kind in MEASURED:
                # All of a column's loops one after the other, while it lies in the core's cache.
                sums.append(chunk_sums(floats_of(batch, planned)))
                states.append(self._measured(batch, planned, sums[-1], rows))
            elif planned.kind in TEXTS:
                states.append(self._text(batch, planned, rows))
            else:
                states.append(ColumnState(batch.table.column(planned.name).null_count))
        rows = finalized(rows)
        registers = np.zeros(1 << _ROW_PRECISION, dtype=np.uint8)
        add_hashes(rows, registers)
        chunks = np.stack(sums, axis=1) if sums else np.zeros((0, 0, SUMS))
        shape = shape_of_chunks(chunks)
        counters = chunks[:, :, 6:11].sum(axis=0).astype(np.int64)
        held = np.unique(rows) if len(rows) <= ROWS_EXACT else None
        return Facts(len(rows), shape, counters, states, held, registers)

    def merge(self, left: Facts, right: Facts) -> Facts:
        held = None
        if left.row_hashes is not None and right.row_hashes is not None:
            held = np.union1d(left.row_hashes, right.row_hashes)
            held = held if len(held) <= ROWS_EXACT else None
        return Facts(
            left.rows + right.rows,
            merge_shapes(left.shape, right.shape),
            left.counters + right.counters,
            [self._merged(a, b) for a, b in zip(left.columns, right.columns, strict=True)],
            held,
            np.maximum(left.row_registers, right.row_registers),
        )

    def _measured(self, batch: Batch, planned: Planned, sums: FloatArray, rows: KeyArray) -> ColumnState:
        values = floats_of(batch, planned)
        registers = np.zeros(self.registers, dtype=np.uint8)
        floats = planned.kind in ("float", "decimal")
        keys, counts, lost = scan_keys(keys_of(batch, planned), values, registers, rows, self.room, signed_zero=floats)
        found = distinct.frequent(keys, counts, self.room, lost=lost)
        column = batch.table.column(planned.name)
        extremes = None
        if planned.kind in ("integer", "time", "decimal") and column.null_count < len(column):
            both = pc.min_max(whole_numbers(column, planned))
            extremes = (both["min"].as_py(), both["max"].as_py())
        grid = None if planned.kind == "boolean" else _grid(values, sums)
        return ColumnState(column.null_count, registers, found, extremes, grid)

    def _text(self, batch: Batch, planned: Planned, rows: KeyArray) -> ColumnState:
        found = coded(batch, planned)
        add_to_rows(found.codes, found.hashes, rows)
        registers = np.zeros(self.registers, dtype=np.uint8)
        add_hashes(found.hashes, registers)
        counts = np.bincount(found.codes + 1, minlength=len(found.hashes) + 1).astype(np.int64)
        nulls, counts = int(counts[0]), counts[1:]
        texts, invalid = _readable(found.values, planned)
        summary = distinct.frequent(found.hashes, counts, self.room, texts=texts)
        # What is shown of a text is cut: a value of many megabytes must not travel in a state.
        summary.texts = _cut(summary.texts, planned)
        about = _text_state(texts, _numbers(pc.binary_length(found.values)), counts, planned)
        if about is not None:
            about.invalid = int(counts[invalid].sum())
        return ColumnState(nulls, registers, summary, texts=about)

    def _merged(self, left: ColumnState, right: ColumnState) -> ColumnState:
        out = ColumnState(left.nulls + right.nulls)
        if left.registers is not None and right.registers is not None:
            out.registers = np.maximum(left.registers, right.registers)
        if left.frequent is not None and right.frequent is not None:
            out.frequent = distinct.merged(left.frequent, right.frequent, self.room)
        pairs = [e for e in (left.extremes, right.extremes) if e is not None]
        if pairs:
            out.extremes = (min(p[0] for p in pairs), max(p[1] for p in pairs))
        if left.grid is not None and right.grid is not None:
            out.grid = grids.merged(left.grid, right.grid)
        out.texts = _merged_texts(left.texts, right.texts)
        return out


def _grid(values: FloatArray, sums: FloatArray) -> Grid:
    low, high = float(sums[:, 11].min()), float(sums[:, 12].max())
    if sums[:, 8:10].any():
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (np.inf, -np.inf)
    return grids.grid_of(values, low, high)


def _cut(values: pa.Array, planned: Planned) -> pa.Array:
    if planned.kind == "text":
        return pc.utf8_slice_codeunits(values, 0, _SHOWN)
    return pc.binary_slice(values, 0, _SHOWN)


def _readable(values: pa.Array, planned: Planned) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    r"""Texts as UTF-8, bytes that are none written as ``\xff``; and the places of those that had such bytes."""
    none = np.empty(0, dtype=np.int64)
    if planned.kind != "text":
        return values, none
    try:
        values.validate(full=True)
    except pa.ArrowInvalid:
        # Read as bytes: they may not be looked at as texts.
        length, (_, offsets, data) = len(values), values.buffers()
        raw = pa.Array.from_buffers(pa.binary(), length, [None, offsets, data], offset=values.offset).to_pylist()
        read = [text.decode("utf-8", "backslashreplace") for text in raw]
        spoiled = [i for i, text in enumerate(raw) if text != read[i].encode()]
        return pa.array(read, pa.string()), np.array(spoiled, dtype=np.int64)
    return values, none


def _text_state(
    values: pa.Array, nbytes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], planned: Planned
) -> TextState | None:
    if not len(values):
        return None
    empty = int(counts[nbytes == 0].sum())
    if planned.kind == "binary":
        return TextState(_lengths(nbytes, counts), [0, 0, 0], empty, 0, 0, 0)
    characters = _numbers(pc.utf8_length(values))
    left = _numbers(pc.utf8_length(pc.utf8_ltrim_whitespace(values)))
    right = _numbers(pc.utf8_length(pc.utf8_rtrim_whitespace(values)))
    blank = (left == 0) & (characters > 0)
    leading, trailing = (left < characters) & ~blank, (right < characters) & ~blank
    sums = [int(counts[mask].sum()) for mask in (blank, leading, trailing)]
    return TextState(_lengths(nbytes, counts), _lengths(characters, counts), empty, *sums)


def _numbers(lengths: pa.Array) -> npt.NDArray[np.int64]:
    numbers: npt.NDArray[np.int64] = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _lengths(lengths: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]) -> list[int]:
    return [int(lengths.min()), int(lengths.max()), int((lengths * counts).sum())]


def _merged_texts(left: TextState | None, right: TextState | None) -> TextState | None:
    if left is None or right is None:
        return left or right
    both = [
        [min(a[0], b[0]), max(a[1], b[1]), a[2] + b[2]]
        for a, b in ((left.nbytes, right.nbytes), (left.characters, right.characters))
    ]
    names = ("empty", "blank", "leading", "trailing", "invalid")
    return TextState(both[0], both[1], *(getattr(left, n) + getattr(right, n) for n in names))
