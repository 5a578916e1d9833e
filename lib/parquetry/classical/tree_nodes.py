"""The nodes of all trees of a fit, as columns of one growing table; they live on the driver."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.tree_routes import NOWHERE, Route

IntArray = npt.NDArray[np.int64]

WAITING, LEAF, SPLIT = 0, 1, 2

_COLUMNS: dict[str, tuple[Any, Any]] = {
    "tree": (np.int32, 0),
    "parent": (np.int32, -1),
    "depth": (np.int32, 0),
    "state": (np.int8, WAITING),
    "left": (np.int32, -1),
    "feature": (np.int32, -2),
    "code": (np.int16, 0),
    "threshold": (np.float64, -2.0),
    "missing_left": (np.bool_, False),
    "count": (np.int64, 0),
    "weight": (np.float64, 0.0),
    "impurity": (np.float64, np.inf),
    "improvement": (np.float64, 0.0),
    "key": (np.uint64, 0),
    "tries": (np.int16, 0),
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

    @property
    def node_bytes(self) -> int:
        """What a node takes."""
        return sum(c.itemsize * int(np.prod(c.shape[1:])) for c in self._columns.values())

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


def routes(nodes: Nodes, wanted: IntArray, places: IntArray, missing_code: int | None) -> dict[int, Route | None]:
    """For each tree of the wanted nodes, the way to them.

    Parameters
    ----------
    nodes : Nodes
    wanted : ndarray of shape (n_wanted,)
        Numbers of nodes.
    places : ndarray of shape (n_wanted,)
        What rows that reach them are to be told.
    missing_code : int or None
        The code of missing values, where there are any.

    Returns
    -------
    dict of int to Route, or to None where the wanted node is the root
    """
    on_the_way = np.zeros(nodes.size, dtype=bool)
    above = wanted
    while len(above):
        on_the_way[above] = True
        above = nodes.parent[above]
        above = np.unique(above[above >= 0])
        above = above[~on_the_way[above]]
    told = np.full(nodes.size, NOWHERE, dtype=np.uint16)
    told[wanted] = places
    numbers = np.flatnonzero(on_the_way)
    numbers = numbers[np.argsort(nodes.tree[numbers], kind="stable")]
    trees, starts = np.unique(nodes.tree[numbers], return_index=True)
    groups = np.split(numbers, starts[1:])
    return {
        int(tree): None if len(own) == 1 else _route(nodes, own, told, missing_code)
        for tree, own in zip(trees, groups, strict=True)
    }


def _route(nodes: Nodes, numbers: IntArray, told: Any, missing_code: int | None) -> Route:
    """Through some nodes of one tree, in order of number: the root is the first, pairs stand together."""
    # Both children of a node on the way are needed, for a row may go to either.
    inner = numbers[told[numbers] == NOWHERE]
    everything = np.unique(np.concatenate([numbers[:1], nodes.left[inner], nodes.left[inner] + 1]))
    leads_on = np.isin(everything, inner, assume_unique=True)
    return Route.of(
        leads_on,
        nodes.feature[everything],
        nodes.code[everything],
        nodes.missing_left[everything],
        np.searchsorted(everything, nodes.left[everything]),
        told[everything],
        int(nodes.depth[everything].max()),
        missing_code,
    )
