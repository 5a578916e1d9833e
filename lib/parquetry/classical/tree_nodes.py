"""The nodes of all trees of a fit, as columns of one growing table; they live on the driver."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble._hist_gradient_boosting.common import PREDICTOR_RECORD_DTYPE

from parquetry.classical.tree_histograms import NOWHERE

IntArray = npt.NDArray[np.int64]

WAITING, LEAF, SPLIT = 0, 1, 2

_COLUMNS: dict[str, tuple[Any, Any]] = {
    "tree": (np.int64, 0),
    "parent": (np.int64, -1),
    "depth": (np.int64, 0),
    "state": (np.int8, WAITING),
    "left": (np.int64, -1),
    "feature": (np.int64, -2),
    "code": (np.int64, 0),
    "threshold": (np.float64, -2.0),
    "missing_left": (np.bool_, False),
    "count": (np.int64, 0),
    "weight": (np.float64, 0.0),
    "impurity": (np.float64, np.inf),
    "improvement": (np.float64, 0.0),
    "key": (np.uint64, 0),
    "tries": (np.int64, 0),
}


class Nodes:
    """Columns of nodes by name; the right child of a node stands just behind the left one.

    Parameters
    ----------
    value_shape : tuple of int
        Of what a node predicts.
    """

    def __init__(self, value_shape: tuple[int, ...]) -> None:
        self.size = 0
        self._columns = {name: np.full(0, fill, dtype=kind) for name, (kind, fill) in _COLUMNS.items()}
        self._columns["value"] = np.zeros((0, *value_shape))

    def __getattr__(self, name: str) -> Any:
        columns = self.__dict__.get("_columns", {})
        if name not in columns:
            raise AttributeError(name)
        return columns[name][: self.size]

    def add(self, n: int, **values: Any) -> IntArray:
        """Append nodes; their numbers."""
        stop = self.size + n
        if stop > len(self._columns["tree"]):
            room = max(1024, 2 * stop)
            for name, column in self._columns.items():
                fill = _COLUMNS[name][1] if name in _COLUMNS else 0.0
                larger = np.full((room, *column.shape[1:]), fill, dtype=column.dtype)
                larger[: self.size] = column[: self.size]
                self._columns[name] = larger
        numbers = np.arange(self.size, stop)
        self.size = stop
        for name, value in values.items():
            self._columns[name][numbers] = value
        return numbers


def routes(nodes: Nodes, wanted: IntArray, places: IntArray) -> dict[int, Any]:
    """For each tree of the wanted nodes, scikit-learn's records of the way to them.

    Parameters
    ----------
    nodes : Nodes
    wanted : ndarray of shape (n_wanted,)
        Numbers of nodes, tree by tree.
    places : ndarray of shape (n_wanted,)
        What rows that reach them are to be told.

    Returns
    -------
    dict of int to ndarray, or None where the wanted node is the root
    """
    on_the_way = np.zeros(nodes.size, dtype=bool)
    above = wanted
    while len(above):
        on_the_way[above] = True
        above = nodes.parent[above]
        above = np.unique(above[above >= 0])
        above = above[~on_the_way[above]]
    told = np.full(nodes.size, NOWHERE, dtype=np.int64)
    told[wanted] = places
    numbers = np.flatnonzero(on_the_way)
    numbers = numbers[np.argsort(nodes.tree[numbers], kind="stable")]
    trees, starts = np.unique(nodes.tree[numbers], return_index=True)
    ends = [*starts[1:].tolist(), len(numbers)]
    return {
        int(tree): _route(nodes, numbers[start:end], told) for tree, start, end in zip(trees, starts, ends, strict=True)
    }


def _route(nodes: Nodes, numbers: IntArray, told: IntArray) -> Any:
    """Records of some nodes of one tree, in order of number; the root comes first."""
    if len(numbers) == 1:
        return None
    records = np.zeros(len(numbers) + 1, dtype=PREDICTOR_RECORD_DTYPE)
    leads_on = np.append(told[numbers] == NOWHERE, [False])
    records["is_leaf"] = ~leads_on
    records["value"] = np.append(told[numbers], [NOWHERE])
    inner = numbers[leads_on[:-1]]
    for field, child in (("left", nodes.left[inner]), ("right", nodes.left[inner] + 1)):
        place = np.searchsorted(numbers, child)
        known = numbers[np.minimum(place, len(numbers) - 1)] == child
        records[field][leads_on] = np.where(known, place, len(numbers))  # the last record is where others end
    records["feature_idx"][leads_on] = nodes.feature[inner]
    records["bin_threshold"][leads_on] = nodes.code[inner]
    records["missing_go_to_left"][leads_on] = nodes.missing_left[inner]
    return records
