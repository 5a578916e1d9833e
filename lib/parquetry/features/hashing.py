"""FeatureHasher: named values to columns by their hash; it learns nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.feature_extraction import FeatureHasher

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import Columns, View

_TRIED = 8


@fitter(FeatureHasher, passes="0", exact="nothing is learned", matrices=False)
def fit_feature_hasher(hasher: Any, view: View, _fitting: Fitting) -> Asking:
    """Its parameters are checked, and that the first rows are what it takes.

    As in scikit-learn a row is a mapping of names to values (``input_type="dict"``), or a list of
    pairs or of strings, and no row of a table: put ``FunctionTransformer(rows_as_mappings)`` in front of it (or a
    function of your own that gives an array of such rows), which makes ``"color=red"`` of a text and keeps
    numbers as they are.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.feature_extraction.FeatureHasher.html
    """
    yield from ()
    checked(hasher, hasher._validate_params)
    head = next(iter(view.head_batches(_TRIED))).X
    if isinstance(head, Columns) or np.ndim(head) != 1 or hasattr(head, "iloc"):
        raise BadParameter(
            "FeatureHasher: X is a table.",
            why="Each row has to be a mapping of names to values, or a list of pairs or of strings.",
            fix="Put FunctionTransformer(rows_as_mappings) in front of it, from parquetry.features.hashing.",
        )
    checked(hasher, lambda: hasher.transform(head))
    return checked(hasher, lambda: hasher.fit(None))


def rows_as_mappings(x: Any) -> Any:
    """Rows of a table as mappings of its columns' names to values, for ``FeatureHasher(input_type="dict")``.

    Missing values are left out: they have no column of their own.

    Parameters
    ----------
    x : DataFrame or array of shape (n_rows, n_columns)
        The columns of an array are called ``x0`` and so on.

    Returns
    -------
    ndarray of object, shape (n_rows,)
        One dict a row.
    """
    import pandas as pd

    frame = x if hasattr(x, "iloc") else pd.DataFrame(np.asarray(x), columns=[f"x{i}" for i in range(x.shape[1])])
    names = [str(name) for name in frame.columns]
    known = frame.notna().to_numpy()
    lists = [frame.iloc[:, i].tolist() for i in range(len(names))]
    out = np.empty(len(frame), dtype=object)
    for row, values in enumerate(zip(*lists, strict=True)):
        found: Mapping[str, Any] = {n: v for n, v, k in zip(names, values, known[row], strict=True) if k}
        out[row] = found
    return out
