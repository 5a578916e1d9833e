"""The few rows with the largest keys: what is drawn at random, or lies farthest away.

Ties go to the row that comes first, so the same rows are found on every engine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.points import Chunk
from parquetry.view import FloatArray


@dataclass
class TopRows:
    """Rows, largest key first.

    Attributes
    ----------
    keys : ndarray of shape (n,)
    blocks, places : ndarray of shape (n,)
        Where the rows stand: the block's position in the dataset, the row's in the row group.
    x : ndarray or csr_matrix of shape (n, n_features)
    weights : ndarray of shape (n,)
    labels : ndarray of shape (n,)
        The row's cluster, where one was given.
    """

    keys: FloatArray
    blocks: npt.NDArray[np.int64]
    places: npt.NDArray[np.int64]
    x: Any
    weights: FloatArray
    labels: npt.NDArray[np.intp]

    @classmethod
    def none(cls, width: int) -> TopRows:
        """No rows of ``width`` features."""
        whole = np.zeros(0, dtype=np.int64)
        return cls(np.zeros(0), whole, whole, np.zeros((0, width)), np.zeros(0), np.zeros(0, dtype=np.intp))

    @property
    def dense(self) -> FloatArray:
        """The rows as an array."""
        return np.asarray(self.x.toarray() if hasattr(self.x, "toarray") else self.x)


def offered(top: TopRows, chunk: Chunk, keys: FloatArray, count: int, labels: Any = None) -> TopRows:
    """The ``count`` largest of what there is and a later chunk's rows; a negative key is no offer."""
    least = top.keys[-1] if len(top.keys) >= count else -1.0
    found = np.flatnonzero(keys > least if least >= 0 else keys >= 0)
    if not len(found):
        return top
    if len(found) > count:
        found = np.sort(found[np.argsort(-keys[found], kind="stable")[:count]])
    new = TopRows(
        keys[found],
        np.full(len(found), chunk.block.index, dtype=np.int64),
        chunk.rows[found],
        chunk.points.rows(found),
        np.ones(len(found)) if chunk.weights is None else chunk.weights[found],
        np.zeros(len(found), dtype=np.intp) if labels is None else labels[found],
    )
    return merged(top, new, count)


def merged(left: TopRows, right: TopRows, count: int) -> TopRows:
    """The ``count`` largest of both."""
    both = {
        name: np.concatenate([getattr(left, name), getattr(right, name)])
        for name in ("keys", "blocks", "places", "weights", "labels")
    }
    order = np.lexsort((both["places"], both["blocks"], -both["keys"]))[:count]
    return TopRows(x=_stacked(left.x, right.x)[order], **{name: values[order] for name, values in both.items()})


def _stacked(above: Any, below: Any) -> Any:
    parts = [part for part in (above, below) if part.shape[0]] or [above]
    if hasattr(parts[0], "tocsr"):
        from scipy import sparse

        return sparse.vstack(parts).tocsr()
    return np.concatenate(parts)
