"""An ONNX model that takes a frame, an Arrow table or a dict of columns, and predicts.

Needs onnxruntime and pyarrow, and nothing of scikit-learn: this is what a server imports.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.errors import ArtefactCorrupt, BadParameter, UnknownColumn, WrongColumnType, did_you_mean
from parquetry.view import float_column, is_numeric

Rows = Any
"""A pandas frame, an Arrow table or record batch, or a dict of columns (or of one row's values)."""

NULL_TEXT = "<NA>"
"""What a null of a text column is fed as, since an ONNX string cannot be null."""


def open_session(content: bytes) -> Any:
    """An onnxruntime session on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised; nothing need be printed as well
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def runtime_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises: its errors share no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return tuple(getattr(state, name) for name in names)


class OnnxModel:
    """A model that onnxruntime runs on one thread, so that results do not depend on cores.

    Numbers and booleans are fed as float32, nulls among them as NaN; text as it is, nulls among
    it as ``"<NA>"``. Each column is one input of shape ``(n_rows, 1)``.

    Parameters
    ----------
    content : bytes
        The bytes of ``model.onnx``.

    Attributes
    ----------
    inputs : list of str
        The columns that it reads.
    outputs : list of str
        ``["prediction"]``, ``["label", "probabilities"]``, or what a transformer gives.
    """

    def __init__(self, content: bytes) -> None:
        try:
            self._session = open_session(content)
        except runtime_errors() as error:
            raise ArtefactCorrupt(
                "onnxruntime cannot open the model.", why=str(error), fix="Save it again with this version."
            ) from error
        self._kinds = {i.name: i.type for i in self._session.get_inputs()}
        facts = self._session.get_modelmeta().custom_metadata_map
        self._label_type = facts.get("label_type", "")
        self._rows_at_once = int(facts.get("rows_at_once", 0))
        self.inputs = list(self._kinds)
        self.outputs = [o.name for o in self._session.get_outputs()]

    def predict(self, rows: Rows) -> npt.NDArray[Any]:
        """Predictions of shape ``(n_rows,)``, or ``(n_rows, n_targets)``; labels for classifiers.

        Raises
        ------
        UnknownColumn
            An input column is missing.
        WrongColumnType
            A column holds text where the model takes numbers, or the other way round.
        """
        first = self.run(rows)[self.outputs[0]]
        if self._label_type == "bool":
            return first.astype(bool)
        return first[:, 0] if first.ndim == 2 and first.shape[1] == 1 and len(self.outputs) == 1 else first

    def predict_proba(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Probabilities of the classes, shape ``(n_rows, n_classes)``.

        Raises
        ------
        BadParameter
            The model is no classifier with probabilities.
        """
        if len(self.outputs) < 2:
            raise BadParameter("The model gives no probabilities.", fix="Use predict.")
        return np.asarray(self.run(rows)[self.outputs[1]])

    def run(self, rows: Rows) -> dict[str, npt.NDArray[Any]]:
        """All outputs by name.

        Raises
        ------
        UnknownColumn, WrongColumnType
            As for :meth:`predict`.
        BadParameter
            The model refuses a value, such as a category that a strict encoder has not seen.
        """
        columns = _columns(rows)
        feeds = {}
        for name, kind in self._kinds.items():
            if name not in columns:
                raise UnknownColumn(f"The rows have no column {name!r}.", fix=did_you_mean(name, columns))
            feeds[name] = _fed(name, columns[name], kind)
        try:
            answers = self._answers(feeds)
        except runtime_errors() as error:
            raise BadParameter(
                "The ONNX model refuses the rows.",
                why=str(error),
                fix="An encoder with handle_unknown='error' refuses categories that it has not seen.",
            ) from error
        return {name: np.asarray(answer) for name, answer in zip(self.outputs, answers, strict=True)}

    def _answers(self, feeds: dict[str, Any]) -> list[Any]:
        rows = max(map(len, feeds.values()), default=0)
        if not 0 < self._rows_at_once < rows:
            return list(self._session.run(None, feeds))
        # A graph that counts words holds a number for each word and row: it is given few rows at once.
        starts = range(0, rows, self._rows_at_once)
        parts = [
            self._session.run(None, {k: v[start : start + self._rows_at_once] for k, v in feeds.items()})
            for start in starts
        ]
        return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _columns(rows: Rows) -> dict[str, Any]:
    """The columns by name: Arrow arrays or pandas Series."""
    if isinstance(rows, (pa.Table, pa.RecordBatch)):
        return dict(zip(rows.schema.names, rows.columns, strict=True))
    if hasattr(rows, "iloc"):
        return {str(name): rows[name] for name in rows.columns}
    import pandas as pd

    lists = {name: v if np.ndim(v) else [v] for name, v in rows.items()}
    return {str(name): column for name, column in pd.DataFrame(lists).items()}


def _fed(name: str, column: Any, kind: str) -> npt.NDArray[Any]:
    arrow = isinstance(column, (pa.Array, pa.ChunkedArray))
    if kind == "tensor(string)":
        texts = _arrow_text(name, column) if arrow else _pandas_text(name, column)
        return texts.reshape(-1, 1)
    numbers = _arrow_numbers(name, column, kind) if arrow else _pandas_numbers(name, column, kind)
    return numbers.reshape(-1, 1)


def _arrow_text(name: str, column: Any) -> npt.NDArray[Any]:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not (_is_text(column.type) or pa.types.is_null(column.type)):
        raise _wrong(name, str(column.type), "text")
    if column.null_count:
        column = column.cast(pa.large_string()).fill_null(NULL_TEXT)
    texts = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return np.asarray(texts, dtype=object)


def _pandas_text(name: str, column: Any) -> npt.NDArray[Any]:
    values = np.asarray(column.astype(object), dtype=object)
    missing = np.asarray(column.isna())
    wrong = next((v for v in values[~missing] if not isinstance(v, str)), None)
    if wrong is not None:
        raise _wrong(name, type(wrong).__name__, "text")
    return np.where(missing, NULL_TEXT, values).astype(object)


def _arrow_numbers(name: str, column: Any, kind: str) -> npt.NDArray[Any]:
    if not (is_numeric(column.type) or pa.types.is_null(column.type)):
        raise _wrong(name, str(column.type), "a number")
    if kind == "tensor(int64)":
        _refuse_nulls(name, column.null_count)
        whole: npt.NDArray[Any] = np.asarray(column.cast(pa.int64()))
        return whole
    chunked = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    return _float32(float_column(chunked))


def _pandas_numbers(name: str, column: Any, kind: str) -> npt.NDArray[Any]:
    try:
        if kind == "tensor(int64)":
            _refuse_nulls(name, int(column.isna().sum()))
            return np.asarray(column.to_numpy(dtype=np.int64))
        return _float32(column.to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise _wrong(name, str(column.dtype), "a number") from error


def _float32(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    # What is too large for float32 becomes infinity, as it does in any server that feeds it.
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _refuse_nulls(name: str, nulls: int) -> None:
    if nulls:
        raise WrongColumnType(
            f"Column {name!r} has {nulls:,} nulls.",
            why="The model takes it as whole numbers, and was fitted on a column without nulls.",
            fix="Fill them, or fit again on data that has nulls.",
        )


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _wrong(name: str, got: str, wanted: str) -> WrongColumnType:
    fix = "Pass the type that the card names."
    return WrongColumnType(f"Column {name!r} is {got}; the model takes {wanted}.", fix=fix)
