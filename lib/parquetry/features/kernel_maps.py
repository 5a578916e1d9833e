"""Approximate kernel maps: Nystroem from some rows of the data, the others from the number of columns alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    PolynomialCountSketch,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.utils import check_random_state

from parquetry.classical.folds import IntArray, _starts_by_row
from parquetry.errors import TooBigForOneNode
from parquetry.features.surrogate import checked, is_sparse, require_numbers, surrogate, zeros
from parquetry.fitting import Asking, Fitting, Pass, _stack
from parquetry.foundation.moments import Moments, MomentsState
from parquetry.foundation.positions import Finite, shown_names
from parquetry.reading import BATCH_MULTIPLE
from parquetry.reduction import FAN_IN, Reduction
from parquetry.registry import fitter
from parquetry.rows import row_hashes
from parquetry.view import Batch, View

MOST_PERMUTED = 10_000_000
"""Up to so many rows the basis is scikit-learn's own, drawn from a permutation of all row numbers."""

_PRECOMPUTED = "kernel='precomputed' takes a square matrix whose columns are the rows."


@fitter(
    Nystroem,
    passes="1",
    exact=f"the same basis rows up to {MOST_PERMUTED:,} rows, attributes to 1e-9; beyond, rows by hash",
    matrices=True,
    single_node="kernel='precomputed'",
)
def fit_nystroem(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Kernel map from a basis of ``n_components`` rows, drawn by ``random_state``.

    Up to 10 million rows, NumPy's permutation of the row numbers picks the very rows that scikit-learn
    picks. It holds all row numbers at once, so that beyond, the rows with the smallest hashes
    are the basis; ``random_state`` salts the hash. The rows are fetched in one pass, which
    also refuses NaN and infinity, and scikit-learn's own ``fit`` on them does the rest.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.kernel_approximation.Nystroem.html
    """
    require_numbers(estimator, view)
    checked(estimator, estimator._validate_params)
    checked(estimator, clone(estimator)._get_kernel_params)
    if isinstance(estimator.kernel, str) and estimator.kernel == "precomputed":
        return (yield from fitting.gather(estimator, view, _PRECOMPUTED))
    rows = view.dataset.num_rows
    size = min(rows, estimator.n_components)
    _require_room(view, size, fitting.memory)
    random = check_random_state(estimator.random_state)
    starts = _starts_by_row(view)
    if rows <= MOST_PERMUTED:
        chosen = np.asarray(random.permutation(rows)[:size], dtype=np.int64)
        picked = yield from _passed(estimator, view, PickPlaces(np.sort(chosen), starts))
    else:
        picked = yield from _passed(estimator, view, PickHashes(f"nystroem-{random.randint(2**31)}", size))
        chosen = np.array([starts[b][row // BATCH_MULTIPLE][0] + offset for b, row, offset in picked.places])
    order = np.argsort(np.argsort(chosen)) if rows <= MOST_PERMUTED else np.arange(size)
    _fit_on_basis(estimator, _taken(_stack(picked.parts), order))
    estimator.component_indices_ = chosen
    return estimator


@fitter(
    RBFSampler,
    AdditiveChi2Sampler,
    SkewedChi2Sampler,
    PolynomialCountSketch,
    passes="0 (RBFSampler with gamma='scale': 1)",
    exact="equal to the last bit; gamma='scale' to 1e-12",
    matrices=lambda e: not isinstance(e, AdditiveChi2Sampler),  # of integers it makes integers
)
def fit_random_map(estimator: Any, view: View, _fitting: Fitting) -> Asking:
    """Random features of a kernel: only X's number of columns and type are learned, and ``random_state``.

    The rows are not looked at: values that a map does not take are refused by ``transform``.

    Source: https://scikit-learn.org/stable/modules/kernel_approximation.html
    """
    require_numbers(estimator, view)
    x = zeros(view) if is_sparse(view) else surrogate(view, [[0, 1]] * view.width)
    if not (isinstance(estimator, RBFSampler) and isinstance(estimator.gamma, str)):
        checked(estimator, lambda: estimator.fit(x))
        return estimator
    checked(estimator, estimator._validate_params)
    (moments,) = yield [Pass(Moments("RBFSampler", shown_names(view), nan=False, extremes=False), view)]
    spread = _overall_variance(moments)
    gamma = 1.0 / (view.width * spread) if spread != 0 else 1.0
    chosen, estimator.gamma = estimator.gamma, gamma
    checked(estimator, lambda: estimator.fit(x))
    estimator.gamma = chosen
    return estimator


@dataclass
class Picked:
    """Chosen rows, in order.

    Attributes
    ----------
    parts : list of DataFrame, ndarray or CSR matrix
    hashes : ndarray of uint64 of shape (n_rows,)
        By which they were chosen; empty where they were chosen by their place.
    places : list of tuple of int
        Each row's block, the first row of its batch in the row group, and its place in the batch.
    """

    parts: list[Any]
    hashes: Any
    places: list[tuple[int, int, int]]


class PickPlaces(Reduction[Picked, Picked]):
    """Brings rows whose places among all rows are known.

    Parameters
    ----------
    wanted : ndarray of int64
        Sorted.
    starts : dict of int to ndarray
        For each block and each part of ``BATCH_MULTIPLE`` positions in it, how many rows stand before it.
    """

    label = "basis"

    def __init__(self, wanted: IntArray, starts: dict[int, IntArray]) -> None:
        self.wanted, self.starts = wanted, starts

    def partial(self, batch: Batch) -> Picked:
        first = self.starts[batch.block.index][int(batch.rows[0]) // BATCH_MULTIPLE][0]
        low, high = np.searchsorted(self.wanted, [first, first + batch.num_rows])
        here = self.wanted[low:high] - first
        return Picked([_rows_of(batch, here)] if len(here) else [], np.empty(0, np.uint64), [])

    def merge(self, left: Picked, right: Picked) -> Picked:
        return Picked(left.parts + right.parts, left.hashes, [])


class PickHashes(Reduction[Picked, Picked]):
    """Brings the rows with the smallest hashes.

    Parameters
    ----------
    salt : str
    count : int
    """

    label = "basis"

    def __init__(self, salt: str, count: int) -> None:
        self.salt, self.count = salt, count

    def partial(self, batch: Batch) -> Picked:
        block = batch.block
        hashes = row_hashes(block.name, block.row_group, block.num_rows, self.salt)[batch.rows]
        here = np.argsort(hashes, kind="stable")[: self.count]
        places = [(block.index, int(batch.rows[0]), int(i)) for i in here]
        return Picked([_rows_of(batch, here)], hashes[here], places)

    def merge(self, left: Picked, right: Picked) -> Picked:
        hashes, places = np.concatenate([left.hashes, right.hashes]), left.places + right.places
        order = np.argsort(hashes, kind="stable")[: self.count]
        part = _taken(_stack(left.parts + right.parts), order)
        return Picked([part], hashes[order], [places[i] for i in order])


def _rows_of(batch: Batch, here: Any) -> Any:
    """Some of a batch's rows in the form that scikit-learn's ``fit`` gets; no others go through the steps."""
    return Batch(batch.table.take(here), batch.rows[here], batch.block, batch.view).named_X


def _taken(x: Any, order: Any) -> Any:
    return x.iloc[order] if hasattr(x, "iloc") else x[order]


def _passed(estimator: Any, view: View, reduction: Reduction[Picked, Picked]) -> Any:
    """One pass for the rows, and the refusal of values that are not finite."""
    who, names = type(estimator).__name__, shown_names(view)
    finite: Reduction[Any, Any] = Finite(who, names)
    if is_sparse(view):
        finite = Moments(who, names, nan=False, squares=False, extremes=False)
    picked, _ = yield [Pass(reduction, view), Pass(finite, view)]
    return picked


class _InOrder(np.random.RandomState):
    """Leaves rows in their order: they are drawn already."""

    def permutation(self, x: Any) -> Any:
        return np.arange(x)


def _fit_on_basis(estimator: Any, basis: Any) -> None:
    chosen, estimator.random_state = estimator.random_state, _InOrder()
    checked(estimator, lambda: estimator.fit(basis))
    estimator.random_state = chosen


def _require_room(view: View, size: int, memory: int) -> None:
    needed = 8 * (4 * size**2 + size * view.width * (2 + FAN_IN))
    if needed > memory:
        raise TooBigForOneNode(
            f"Nystroem: {size:,} components of {view.width:,} features need {needed / 2**30:.2f} GiB on the driver; "
            f"{memory / 2**30:.2f} GiB are allowed.",
            why="The kernel of all pairs of components and its singular vectors are held at once.",
            fix="Use fewer components, or allow more with memory=.",
        )


def _overall_variance(moments: MomentsState) -> float:
    """Of all values of X, whatever their column."""
    mean = moments.mean + moments.rest
    overall = float(mean.mean())
    return float((moments.m2 / moments.weight + (mean - overall) ** 2).mean())
