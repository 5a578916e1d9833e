"""FunctionTransformer: it learns nothing, so the first rows are enough."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.preprocessing import FunctionTransformer

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import is_missing
from parquetry.foundation.positions import Finite, shown_names
from parquetry.registry import fitter
from parquetry.view import View

_HEAD = 100  # rows; scikit-learn's own check of the inverse looks at about as many


@fitter(
    FunctionTransformer,
    passes="0 (1 with validate=True)",
    exact="nothing is learned",
    matrices=False,
)
def fit_function_transformer(transformer: Any, view: View, _fitting: Fitting) -> Asking:
    """Fit on the first rows; see that the function works row by row, as batches need it.

    With ``validate=True`` all rows are read, as scikit-learn does, to refuse NaN and infinity.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.FunctionTransformer.html
    """
    checked(transformer, transformer._validate_params)
    if transformer.validate:
        require_numbers(transformer, view)
        yield [Pass(Finite("FunctionTransformer", shown_names(view)), view)]
    head = view.head(_HEAD)
    _require_row_by_row(transformer, head)
    checked(transformer, lambda: transformer.fit(head))
    return transformer


def _require_row_by_row(transformer: Any, head: Any) -> None:
    """Raise BadParameter where a row's result depends on the rows beside it."""
    rows = head.shape[0]
    half = rows // 2
    if transformer.func is None:
        return
    whole = _called(transformer, head)
    part = _called(transformer, head[:half]) if half else None
    if _rows(whole) != rows or (half and not (_rows(part) == half and _same(whole[:half], part))):
        raise BadParameter(
            f"FunctionTransformer: {transformer._get_function_name()} does not work row by row.",
            why="On the first rows it gives a row another value, or another place, when it sees fewer rows; "
            "here it sees the data batch by batch.",
            fix="Use a function of single rows; a transformer that learns over all rows has a fit of its own.",
        )


def _called(transformer: Any, x: Any) -> Any:
    try:
        return transformer.func(x.copy(), **(transformer.kw_args or {}))
    except Exception as error:
        raise BadParameter(
            f"FunctionTransformer: {transformer._get_function_name()} fails on the first rows.",
            why=f"{type(error).__name__}: {error}",
            fix="It gets a DataFrame of the columns, or an array behind another step.",
        ) from error


def _rows(result: Any) -> int:
    shape = getattr(result, "shape", None)
    return int(shape[0]) if shape else -1


def _same(left: Any, right: Any) -> bool:
    if hasattr(left, "tocsr"):
        left, right = left.toarray(), right.toarray()
    left, right = np.asarray(left), np.asarray(right)
    if left.shape != right.shape:
        return False
    try:
        left, right = left.astype(np.float64), right.astype(np.float64)
    except (TypeError, ValueError):
        return all(
            a is b or a == b or (is_missing(a) and is_missing(b)) for a, b in zip(left.flat, right.flat, strict=True)
        )
    # Vector instructions may round the last bits of a row in another way.
    return bool(np.allclose(left, right, rtol=1e-9, atol=0.0, equal_nan=True))
