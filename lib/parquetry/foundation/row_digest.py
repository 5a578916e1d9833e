"""A digest of rows: equal rows in equal order give equal digests, whatever the chunks they come in.

Values are compared bit by bit, so NaN equals NaN and -0.0 differs from 0.0; what lies in memory
under a null does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_ROWS = 8_192
_TEXTS = (
    pa.types.is_string,
    pa.types.is_binary,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_binary_view,
)


class RowDigest:
    """Takes tables as they stream by.

    Attributes
    ----------
    rows : int
    """

    def __init__(self) -> None:
        self.rows = 0
        self._hash = hashlib.sha256()
        self._waiting: list[pa.Table] = []
        self._held = 0

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The same tables, each looked at as it goes by."""
        for table in tables:
            self.add(table)
            yield table

    def add(self, table: pa.Table) -> None:
        """Take the next rows."""
        self.rows += table.num_rows
        self._waiting.append(table)
        self._held += table.num_rows
        if self._held < _ROWS:
            return
        rows = pa.concat_tables(self._waiting)
        whole = self._held // _ROWS * _ROWS
        for start in range(0, whole, _ROWS):
            self._window(rows.slice(start, _ROWS))
        self._waiting, self._held = [rows.slice(whole)], self._held - whole

    def hexdigest(self) -> str:
        """The digest of all rows taken; the last ones are counted in, so nothing may follow."""
        if self._held:
            self._window(pa.concat_tables(self._waiting))
            self._waiting, self._held = [], 0
        return self._hash.hexdigest()

    def _window(self, rows: pa.Table) -> None:
        for name, column in zip(rows.column_names, rows.columns, strict=True):
            self._hash.update(f"{name}\0{column.type}\0{len(column)}\0".encode())
            _feed(self._hash, column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))


def _feed(digest: Any, array: pa.Array) -> None:
    """One array's values into a digest, level by level where it is nested."""
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_dictionary(kind):
        _feed(digest, array.dictionary_decode() if pa.types.is_dictionary(kind) else array.storage)
        return
    digest.update(np.packbits(array.is_valid().to_numpy(zero_copy_only=False)).tobytes())
    if pa.types.is_struct(kind):
        for part in array.flatten():
            _feed(digest, part)
    elif pa.types.is_map(kind):
        entries = pa.struct([pa.field("key", kind.key_type), pa.field("value", kind.item_type)])
        _feed(digest, array.cast(pa.list_(entries)))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        lengths = pc.fill_null(pc.list_value_length(array), 0)
        digest.update(lengths.to_numpy(zero_copy_only=False).tobytes())
        _feed(digest, array.flatten())  # leaves out what lies under a null
    elif not pa.types.is_null(kind):
        _feed_plain(digest, array)


def _feed_plain(digest: Any, array: pa.Array) -> None:
    kind = array.type
    if any(check(kind) for check in _TEXTS):
        array = array.cast(pa.large_binary())
    if pa.types.is_large_binary(array.type):
        digest.update(pc.fill_null(pc.binary_length(array), 0).to_numpy(zero_copy_only=False).tobytes())
        kept = array.drop_null()
        _, offsets, data = kept.buffers()
        ends = np.frombuffer(offsets, np.int64)[kept.offset : kept.offset + len(kept) + 1] if len(kept) else [0, 0]
        digest.update(memoryview(data)[int(ends[0]) : int(ends[-1])] if data is not None else b"")
        return
    kept = array.drop_null()
    if pa.types.is_boolean(kind):
        digest.update(np.packbits(kept.to_numpy(zero_copy_only=False)).tobytes())
        return
    width = kind.bit_width // 8
    data = kept.buffers()[1]
    digest.update(b"" if data is None else memoryview(data)[kept.offset * width : (kept.offset + len(kept)) * width])
