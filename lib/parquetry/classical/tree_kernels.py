"""The inner loops of trees over uint8 codes, compiled; imported only where a tree grows.

A row's codes stand together, 20 features in a third of a cache line. Rows are led down a tree four
at a time, so that one waits for memory while the others step. Then they are sorted by node, so
that the histograms of one node stay in a core's own cache while its rows are added up, and each
row adds to a cell all that belongs there, side by side. Rows are added in ascending order, one after
the other, so the bits of a sum follow from the rows alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # as in parquetry.rows
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_27, _30, _31, _32 = np.uint64(27), np.uint64(30), np.uint64(31), np.uint64(32)


def compiled(function: Callable[..., Any]) -> Any:
    """Compile at the first call, or load what an earlier process has compiled.

    What is compiled is kept beside this file, or in the user's own cache where that cannot be written
    (``NUMBA_CACHE_DIR`` names another folder). Where neither can, each process compiles for itself.
    """
    try:
        return numba.njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder can be written
        return numba.njit(nogil=True)(function)


def frozen(array: Any) -> Any:
    """A view that cannot be written. What the block cache gives cannot; for what can, all would be compiled again."""
    view = array.view()
    view.flags.writeable = False
    return view


@compiled
def draw(rows, key, reached, least, counts):  # type: ignore[no-untyped-def]
    """How often each row is drawn: the number of ``reached`` that its own random number is not below.

    Parameters
    ----------
    rows : ndarray of int64, shape (n_rows,)
    key : uint64
    reached : ndarray of uint32, ascending
        The chances of at most 0, 1, 2 … times, of ``2**32``.
    least : ndarray of uint8, shape (256,)
        The result for the smallest number with each upper byte.
    counts : ndarray of uint32, shape (n_rows,)
        The result.
    """
    most = len(reached)
    for i in range(len(rows)):
        z = np.uint64(rows[i]) * _GOLDEN + key + _GOLDEN
        z = (z ^ (z >> _30)) * _FIRST
        z = (z ^ (z >> _27)) * _SECOND
        drawn = np.uint32((z ^ (z >> _31)) >> _32)
        count = np.int64(least[drawn >> np.uint32(24)])
        while count < most and drawn >= reached[count]:
            count += 1
        counts[i] = count


@compiled
def present(weights, rows):  # type: ignore[no-untyped-def]
    """Write the places of the weights that are not zero to ``rows`` (uint32); how many there are."""
    found = np.uint64(0)
    for i in range(len(weights)):
        rows[found] = i
        found += np.uint64(weights[i] != 0)
    return found


@compiled
def lead(codes, rows, feature, last, turn, left, depth, ends):  # type: ignore[no-untyped-def]
    """Lead rows from the root as many steps as the tree is deep; where each ends goes to ``ends``.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n_all_rows, n_features)
    rows : ndarray of uint32, shape (n_rows,)
    feature, last, turn, left : ndarrays of uint32, uint8, uint8 and uint32, shape (n_nodes,)
        As in ``Route``; ``turn`` may be empty.
    depth : int
    ends : ndarray of uint32, shape (n_rows,)
    """
    turned = len(turn) > 0
    four = len(rows) // 4 * 4
    for j in range(0, four, 4):
        r0, r1, r2, r3 = rows[j], rows[j + 1], rows[j + 2], rows[j + 3]
        n0 = n1 = n2 = n3 = np.uint32(0)
        if turned:
            for _ in range(depth):
                right = np.uint8(codes[r0, feature[n0]] + turn[n0]) > last[n0]
                n0 = np.uint32(left[n0] + np.uint32(right))
                right = np.uint8(codes[r1, feature[n1]] + turn[n1]) > last[n1]
                n1 = np.uint32(left[n1] + np.uint32(right))
                right = np.uint8(codes[r2, feature[n2]] + turn[n2]) > last[n2]
                n2 = np.uint32(left[n2] + np.uint32(right))
                right = np.uint8(codes[r3, feature[n3]] + turn[n3]) > last[n3]
                n3 = np.uint32(left[n3] + np.uint32(right))
        else:
            for _ in range(depth):
                n0 = np.uint32(left[n0] + np.uint32(codes[r0, feature[n0]] > last[n0]))
                n1 = np.uint32(left[n1] + np.uint32(codes[r1, feature[n1]] > last[n1]))
                n2 = np.uint32(left[n2] + np.uint32(codes[r2, feature[n2]] > last[n2]))
                n3 = np.uint32(left[n3] + np.uint32(codes[r3, feature[n3]] > last[n3]))
        ends[j], ends[j + 1], ends[j + 2], ends[j + 3] = n0, n1, n2, n3
    for j in range(four, len(rows)):
        row, node = rows[j], np.uint32(0)
        for _ in range(depth):
            code = codes[row, feature[node]]
            if turned:
                code = np.uint8(code + turn[node])
            node = np.uint32(left[node] + np.uint32(code > last[node]))
        ends[j] = node


@compiled
def sort_by_node(rows, ends, told, edges, order):  # type: ignore[no-untyped-def]
    """Write rows to ``order`` by the node that each is told, stably; those told of none stand last.

    Parameters
    ----------
    rows, ends : ndarrays of uint32, shape (n_rows,)
    told : ndarray of uint16
    edges : ndarray of int64, shape (n_nodes + 1,)
        Where the rows of each node begin and end.
    order : ndarray of uint32, shape (n_rows,)
    """
    n_nodes = np.uint32(len(edges) - 1)
    place = np.zeros(n_nodes + 2, dtype=np.int64)
    for j in range(len(rows)):
        place[min(np.uint32(told[ends[j]]), n_nodes) + np.uint32(1)] += 1
    for node in range(1, n_nodes + 2):
        place[node] += place[node - 1]
    edges[:] = place[: n_nodes + 1]
    for j in range(len(rows)):
        own = min(np.uint32(told[ends[j]]), n_nodes)
        order[place[own]] = rows[j]
        place[own] += 1


@compiled
def count_classes(codes, order, edges, features, starts, lost, lost_at, y, cells):  # type: ignore[no-untyped-def]
    """Count the rows of each class in the cells of their nodes.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n_all_rows, n_features)
    order, edges
        As ``sort_by_node`` leaves them.
    features, starts, lost_at : ndarrays of uint32, uint64 and uint64, shape (n_nodes, n_drawn)
        The features of each node, where their cells begin, and the cells of missing values.
    lost : int
        The code of missing values; 256 where there are none.
    y : ndarray of unsigned numbers, shape (n_all_rows,)
    cells : ndarray of shape (n_cells, n_classes)
    """
    for node in range(features.shape[0]):
        for j in range(edges[node], edges[node + 1]):
            row = order[j]
            own = y[row]
            for f in range(features.shape[1]):
                code = codes[row, features[node, f]]
                cell = starts[node, f] + np.uint64(code)
                if code == lost:
                    cell = lost_at[node, f]
                cells[cell, own] += 1


@compiled
def weigh_classes(codes, order, edges, features, starts, lost, lost_at, y, w, cells):  # type: ignore[no-untyped-def]
    """The same with weights; cells hold the number of rows, then the weight of each class."""
    for node in range(features.shape[0]):
        for j in range(edges[node], edges[node + 1]):
            row = order[j]
            own, weight = np.uint64(y[row]) + np.uint64(1), w[row]
            for f in range(features.shape[1]):
                code = codes[row, features[node, f]]
                cell = starts[node, f] + np.uint64(code)
                if code == lost:
                    cell = lost_at[node, f]
                cells[cell, 0] += 1
                cells[cell, own] += weight


@compiled
def add_values(codes, order, edges, features, starts, lost, lost_at, values, w, cells):  # type: ignore[no-untyped-def]
    """The same with any values of a row, shape ``(n_all_rows, n_values)``; ``w`` may be empty."""
    own = np.empty(values.shape[1], dtype=cells.dtype)
    for node in range(features.shape[0]):
        for j in range(edges[node], edges[node + 1]):
            row = order[j]
            for k in range(len(own)):
                own[k] = values[row, k] * w[row] if len(w) else values[row, k]
            for f in range(features.shape[1]):
                code = codes[row, features[node, f]]
                cell = starts[node, f] + np.uint64(code)
                if code == lost:
                    cell = lost_at[node, f]
                cells[cell, 0] += 1
                for k in range(len(own)):
                    cells[cell, k + 1] += own[k]


@compiled
def put(places, values, cells):  # type: ignore[no-untyped-def]
    """Add each row's values, shape ``(n_rows, n_channels)``, at its places, shape ``(n_rows, n_drawn)``."""
    for i in range(places.shape[0]):
        for f in range(places.shape[1]):
            for k in range(values.shape[1]):
                cells[places[i, f], k] += values[i, k]
