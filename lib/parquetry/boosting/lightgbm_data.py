"""LightGBM's binned data, filled from batches: no process holds its rows as floats.

The edges of the bins are settled once, from the rows that LightGBM itself would look at, and go to
every rank as a few kilobytes. So bins are the same whoever reads which rows, and with one rank they
are those of LightGBM's own ``fit``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from lightgbm.basic import ZERO_THRESHOLD, Dataset, _c_str, _param_dict_to_str, _safe_call
from lightgbm.libpath import _LIB

from parquetry.classical.folds import _starts_by_row
from parquetry.reading import BATCH_MULTIPLE
from parquetry.reduction import Reduction
from parquetry.view import View

CHUNK_ROWS = 16_384
_INT32_MAX = 2**31 - 1
_FLOAT64, _INT32 = 1, 2  # LightGBM's numbers for types

IntArray = npt.NDArray[np.int64]
Params = Mapping[str, Any]


def sampled_rows(rows: int, most: int, params: Params) -> IntArray | None:
    """The numbers of the rows on which the bins are based, ascending; None for all rows.

    They are those that LightGBM's own ``fit`` draws, up to the 2**31 rows that it can count.
    """
    if rows <= most:
        return None
    if rows > _INT32_MAX:
        return np.unique(np.random.default_rng(int(params.get("data_random_seed", 1))).integers(0, rows, most))
    drawn, count = np.empty(most, dtype=np.int32), ctypes.c_int32()
    options = _c_str(_param_dict_to_str({**params, "bin_construct_sample_cnt": most}))
    _safe_call(_LIB.LGBM_SampleIndices(ctypes.c_int32(rows), options, _address(drawn), ctypes.byref(count)))
    return drawn[: count.value].astype(np.int64)


class BinSample(Reduction[list[Any], bytes]):
    """Gathers the rows on which the bins are based, and settles the bins: LightGBM's own, as bytes.

    Parameters
    ----------
    view : View
        Whose X is a matrix.
    chosen : ndarray of int64 or None
        The numbers of the rows, ascending; None for all.
    params : mapping
        LightGBM's, under any of its names.
    """

    label = "bins"

    def __init__(self, view: View, chosen: IntArray | None, params: Params) -> None:
        self.rows, self.width, self.params = view.dataset.num_rows, view.width, dict(params)
        self.chosen = chosen
        self.starts: dict[int, IntArray] = {} if chosen is None else _starts_by_row(view)

    def partial(self, batch: Any) -> list[Any]:
        if self.chosen is None:
            return [batch.matrix]
        first = int(self.starts[batch.block.index][int(batch.rows[0]) // BATCH_MULTIPLE][0])
        low, high = np.searchsorted(self.chosen, [first, first + batch.num_rows])
        # Rows are copied out: the rest of the batch is let go.
        return [batch.matrix[self.chosen[low:high] - first]] if high > low else []

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        left.extend(right)
        return left

    def finish(self, state: list[Any]) -> bytes:
        return reference(list(_columns(state, self.width)), sum(x.shape[0] for x in state), self.rows, self.params)


def reference(columns: Sequence[tuple[Any, Any]], sampled: int, rows: int, params: Params) -> bytes:
    """The bins of every column, as LightGBM writes them down for other processes.

    Parameters
    ----------
    columns : sequence of (values, rows)
        Of each column the sampled values that are not zero (float64), and their places in the sample (int32).
        LightGBM sorts them in place.
    sampled, rows : int
        Rows of the sample, and of all the data.
    params : mapping
    """
    count = len(columns)
    values = (ctypes.c_void_p * count)(*(v.ctypes.data for v, _ in columns))
    places = (ctypes.c_void_p * count)(*(i.ctypes.data for _, i in columns))
    lengths = np.array([len(v) for v, _ in columns], dtype=np.int32)
    handle, options = ctypes.c_void_p(), _c_str(_param_dict_to_str({**params, "verbosity": -1}))
    _safe_call(
        _LIB.LGBM_DatasetCreateFromSampledColumn(
            ctypes.cast(values, ctypes.c_void_p),
            ctypes.cast(places, ctypes.c_void_p),
            ctypes.c_int32(count),
            _address(lengths),
            ctypes.c_int32(sampled),
            ctypes.c_int32(1),
            ctypes.c_int64(rows),
            options,
            ctypes.byref(handle),
        )
    )
    try:
        return _written_down(handle)
    finally:
        _safe_call(_LIB.LGBM_DatasetFree(handle))


def _written_down(handle: ctypes.c_void_p) -> bytes:
    buffer, length = ctypes.c_void_p(), ctypes.c_int32()
    _safe_call(_LIB.LGBM_DatasetSerializeReferenceToBinary(handle, ctypes.byref(buffer), ctypes.byref(length)))
    content, value = bytearray(length.value), ctypes.c_uint8()
    where, read = ctypes.byref(value), _LIB.LGBM_ByteBufferGetAt
    try:
        for i in range(length.value):  # LightGBM gives it byte by byte
            read(buffer, ctypes.c_int32(i), where)
            content[i] = value.value
    finally:
        _safe_call(_LIB.LGBM_ByteBufferFree(buffer))
    return bytes(content)


def _columns(parts: list[Any], width: int) -> Iterator[tuple[Any, Any]]:
    """What is not zero of each column, NaN included, and where it stands."""
    if parts and hasattr(parts[0], "tocsr"):
        from scipy import sparse

        together = sparse.vstack(parts).tocsc()
        together.sort_indices()
        for j in range(width):
            one = slice(together.indptr[j], together.indptr[j + 1])
            yield _not_zero(together.data[one], together.indices[one])
        return
    every = np.arange(sum(len(x) for x in parts), dtype=np.int32)
    for j in range(width):
        yield _not_zero(np.concatenate([x[:, j] for x in parts]), every)


def _not_zero(values: Any, places: Any) -> tuple[Any, Any]:
    kept = (np.abs(values) > ZERO_THRESHOLD) | np.isnan(values)
    return np.array(values[kept], dtype=np.float64), np.array(places[kept], dtype=np.int32)


@dataclass
class Rows:
    """What of some rows LightGBM takes beside X.

    Attributes
    ----------
    label : ndarray of float32, shape (n_rows,)
    weight : ndarray of float32, shape (n_rows,), or None
    group : ndarray of int32 or None
        How many rows each query has, in order.
    scores : ndarray of float64, shape (n_rows, n_trees_a_round), or None
        What the model so far gives.
    """

    label: Any
    weight: Any = None
    group: Any = None
    scores: Any = None


def streamed(bins: bytes | Dataset, rows: int, matrices: Iterable[Any], params: Params) -> Dataset:
    """A LightGBM Dataset, filled with matrices as they come; labels and names are still missing.

    Parameters
    ----------
    bins : bytes or Dataset
        What ``reference`` gave, or a Dataset with the same bins.
    rows : int
        How many there will be.
    matrices : iterable of ndarray or CSR matrix
    params : mapping
        LightGBM's.
    """
    data = Dataset(None, params=dict(params))
    handle = ctypes.c_void_p()
    if isinstance(bins, Dataset):
        _safe_call(_LIB.LGBM_DatasetCreateByReference(bins._handle, ctypes.c_int64(rows), ctypes.byref(handle)))
    else:
        _safe_call(
            _LIB.LGBM_DatasetCreateFromSerializedReference(
                bins,
                ctypes.c_int32(len(bins)),
                ctypes.c_int64(rows),
                ctypes.c_int32(1),
                _c_str(_param_dict_to_str(dict(params))),
                ctypes.byref(handle),
            )
        )
    data._handle = handle
    for matrix in matrices:
        _push(data, matrix)
    # It comes with scores of zero, with which LightGBM would leave out the average that it begins with.
    data.set_field("init_score", None)
    return data


def complete(data: Dataset, rows: Rows, names: Sequence[str] | None, categories: Sequence[Any] | None) -> Dataset:
    """Give a filled Dataset its labels and the like, and the columns' names."""
    data.set_label(rows.label)
    if rows.weight is not None:
        data.set_weight(rows.weight)
    if rows.group is not None:
        data.set_group(rows.group)
    if rows.scores is not None:
        data.set_init_score(rows.scores.ravel(order="F"))
    data.pandas_categorical = None if names is None else list(categories or [])
    data.set_feature_name("auto" if names is None else list(names))
    data.feature_name = data.get_feature_name()
    return data


def _push(data: Dataset, matrix: Any) -> None:
    if not hasattr(matrix, "tocsr"):
        for start in range(0, len(matrix), CHUNK_ROWS):
            data._push_rows(np.ascontiguousarray(matrix[start : start + CHUNK_ROWS], dtype=np.float64))
        return
    csr = matrix.tocsr()
    starts, columns = csr.indptr.astype(np.int32), csr.indices.astype(np.int32, copy=False)
    values = csr.data.astype(np.float64, copy=False)
    _safe_call(
        _LIB.LGBM_DatasetPushRowsByCSR(
            data._handle,
            _address(starts),
            ctypes.c_int(_INT32),
            _address(columns),
            _address(values),
            ctypes.c_int(_FLOAT64),
            ctypes.c_int64(len(starts)),
            ctypes.c_int64(len(values)),
            ctypes.c_int64(csr.shape[1]),
            ctypes.c_int64(data._start_row),
        )
    )
    data._start_row += csr.shape[0]


def _address(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
