"""The best split of every node of a pass, from histograms, as scikit-learn's own splitters choose it.

Splits stand between bins that have rows in the node; thresholds are the middle between them;
missing values are tried on both sides; what ``min_samples_leaf`` and ``min_weight_fraction_leaf``
forbid is left out. Of equally good splits the first one wins: that of the first feature, the
lowest threshold, missing values to the right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_histograms import Channels
from parquetry.view import FloatArray

IntArray = npt.NDArray[np.int64]
_Side = tuple[Any, Any, list[Any]]  # rows, weight and sums on one side of splits

EPSILON = float(np.finfo(np.float64).eps)
CLOSE = np.float32(1e-7)
"""scikit-learn does not split between values that are not further apart."""

_NOISE = 1e-14  # of sums whose addends have 48 bits
_AT_ONCE = 2**18  # numbers
_OF_EACH = ("worth", "constant", "code", "threshold", "missing_left", "count", "weight")
_WIDTHS = (4, 16, 64, 256)


# --- criteria -------------------------------------------------------------------------------
class Criterion(ABC):
    """Impurity of nodes, and worth of splits, of many nodes at once.

    ``sums`` is of shape ``(n_sums, ...)``: the weight of each class of each output, or the sums
    of each output and of the squares of all.
    """

    def __init__(self, channels: Channels) -> None:
        self.channels = channels

    def sums(self, counts: Any, stored: Any) -> tuple[FloatArray, list[FloatArray]]:
        """Weights, and sums in full, from the channels of a pass."""
        channels = self.channels
        if not channels.n_classes:
            weights = stored[0].astype(np.float64) if channels.weighted else counts.astype(np.float64)
            return weights, [s.astype(np.float64) for s in stored[int(channels.weighted) :]]
        full = [s.astype(np.float64) for s in stored]
        return sum(full[: channels.n_classes[0]], np.zeros(counts.shape)), full

    @abstractmethod
    def impurity(self, weight: Any, sums: Any) -> Any:
        """Of nodes with these sums."""

    def proxy(self, left_weight: Any, left: Any, right_weight: Any, right: Any) -> Any:
        """Rises with the worth of a split."""
        return -right_weight * self.impurity(right_weight, right) - left_weight * self.impurity(left_weight, left)


class Gini(Criterion):
    """1 less the squared shares of the classes, averaged over outputs."""

    def impurity(self, weight: Any, sums: Any) -> Any:
        total: Any = 0.0
        place = 0
        for n_classes in self.channels.n_classes:
            squares: Any = 0.0
            for own in sums[place : place + n_classes]:
                squares = squares + own * own
            total = total + (1.0 - squares / (weight * weight))
            place += n_classes
        return total / self.channels.n_outputs


class Entropy(Criterion):
    """Shannon's entropy in bits, averaged over outputs."""

    def impurity(self, weight: Any, sums: Any) -> Any:
        total: Any = 0.0
        for own in sums:
            share = own / weight
            total = total - np.where(own > 0.0, share * (np.log(share) / np.log(2.0)), 0.0)
        return total / self.channels.n_outputs


class SquaredError(Criterion):
    """The variance, averaged over outputs; 0 where rounding leaves nothing else."""

    def impurity(self, weight: Any, sums: Any) -> Any:
        *outputs, squares = sums
        mean_square = squares / weight
        variance = mean_square
        for own in outputs:
            variance = variance - (own / weight) ** 2
        return np.where(variance > _NOISE * mean_square, variance, 0.0) / self.channels.n_outputs

    def proxy(self, left_weight: Any, left: Any, right_weight: Any, right: Any) -> Any:
        a = sum((own * own for own in left[:-1]), np.zeros(np.shape(left_weight)))
        b = sum((own * own for own in right[:-1]), np.zeros(np.shape(right_weight)))
        return a / left_weight + b / right_weight


CRITERIA: dict[str, type[Criterion]] = {
    "gini": Gini,
    "entropy": Entropy,
    "log_loss": Entropy,
    "squared_error": SquaredError,
}


# --- splits ---------------------------------------------------------------------------------
@dataclass
class NodeTable:
    """What a pass has found of the nodes that wanted histograms.

    A pair is a node and one of its features.

    Attributes
    ----------
    count : ndarray of shape (n_nodes,)
    weight : ndarray of shape (n_nodes,)
    sums : list of ndarray of shape (n_nodes,)
    least_weight : ndarray of shape (n_nodes,)
        What either side of a split must weigh.
    pair_node, pair_feature, pair_start : ndarray of shape (n_pairs,)
    pair_chance : ndarray of shape (n_pairs, 2), or None
        For random splits: where in the node's range of values, and which side for missing ones.
    counts, stored : ndarrays of shape (n_cells,) and (n_channels, n_cells)
        As the pass gives them.
    scale : list of ndarray of shape (n_nodes,), or None
        Weights of the classes, by which sums are multiplied.
    """

    count: IntArray
    weight: FloatArray
    sums: list[FloatArray]
    least_weight: FloatArray
    pair_node: IntArray
    pair_feature: IntArray
    pair_start: IntArray
    pair_chance: Any
    counts: IntArray
    stored: Any
    scale: list[FloatArray] | None


@dataclass
class Splits:
    """The best split of each pair, later of each node.

    Attributes
    ----------
    worth : ndarray
        The criterion's proxy; -inf where there is no split.
    constant : ndarray of bool
        Whether the feature has one value in the node.
    code : ndarray of int
        The last bin on the left.
    threshold : ndarray of float
    missing_left : ndarray of bool
    count, weight, sums
        Of the left side.
    """

    worth: FloatArray
    constant: npt.NDArray[np.bool_]
    code: IntArray
    threshold: FloatArray
    missing_left: npt.NDArray[np.bool_]
    count: IntArray
    weight: FloatArray
    sums: list[FloatArray]

    @classmethod
    def empty(cls, n: int, n_sums: int) -> Splits:
        """No splits yet."""
        return cls(
            np.full(n, -np.inf),
            np.zeros(n, bool),
            np.zeros(n, np.int64),
            np.zeros(n),
            np.zeros(n, bool),
            np.zeros(n, np.int64),
            np.zeros(n),
            [np.zeros(n) for _ in range(n_sums)],
        )

    def put(self, places: Any, other: Splits) -> None:
        """Write some others over these."""
        for name in _OF_EACH:
            getattr(self, name)[places] = getattr(other, name)
        for own, given in zip(self.sums, other.sums, strict=True):
            own[places] = given

    def take(self, places: Any) -> Splits:
        """Those at some places."""
        taken = {name: getattr(self, name)[places] for name in _OF_EACH}
        return Splits(**taken, sums=[s[places] for s in self.sums])


def best_of_pairs(table: NodeTable, criterion: Criterion, bins: Bins, min_samples_leaf: int) -> Splits:
    """The best split of each pair."""
    splits = Splits.empty(len(table.pair_node), len(table.sums))
    for pairs, width in _groups(table, bins):
        splits.put(pairs, _Cells(table, criterion, bins, pairs, width).best(min_samples_leaf))
    return splits


def _groups(table: NodeTable, bins: Bins) -> Iterator[tuple[IntArray, int]]:
    """Pairs of about as many bins together, few enough at a time."""
    n_bins = np.array([len(v) for v in bins.values])[table.pair_feature]
    low = 0
    for width in _WIDTHS:
        pairs = np.flatnonzero((n_bins > low) & (n_bins <= width))
        low = width
        if len(pairs):
            widest = int(n_bins[pairs].max())
            step = max(1, _AT_ONCE // (widest * (4 + len(table.sums))))
            for start in range(0, len(pairs), step):
                yield pairs[start : start + step], widest


class _Cells:
    """The histograms of some pairs, as arrays of shape ``(n_pairs, n_bins)``."""

    def __init__(self, table: NodeTable, criterion: Criterion, bins: Bins, pairs: IntArray, width: int) -> None:
        self.table, self.criterion, self.bins, self.pairs, self.width = table, criterion, bins, pairs, width
        self.node, self.feature = table.pair_node[pairs], table.pair_feature[pairs]
        n_bins = np.array([len(v) for v in bins.values])[self.feature]
        places = table.pair_start[pairs][:, None] + np.arange(width)
        inside = np.arange(width) < n_bins[:, None]
        absent = bins.missing[self.feature]
        at = np.where(absent, table.pair_start[pairs] + n_bins, 0)
        places[~inside] = 0
        self.counts = np.where(inside, table.counts[places], 0)
        self.missing = np.where(absent, table.counts[at], 0)
        weights, sums = self._scaled(self.counts, np.where(inside, table.stored[:, places], 0))
        self.missing_weight, self.missing_sums = self._scaled(self.missing, np.where(absent, table.stored[:, at], 0))
        self.left_count = np.cumsum(self.counts, axis=1)
        self.left_weight = np.cumsum(weights, axis=1)
        self.left_sums = [np.cumsum(s, axis=1) for s in sums]
        values = bins.table[:, :width][self.feature]
        self.values = np.where(inside, values, np.float32(np.inf))
        self._find_neighbors()

    def _scaled(self, counts: Any, stored: Any) -> tuple[FloatArray, list[FloatArray]]:
        weights, sums = self.criterion.sums(counts, stored)
        if self.table.scale is None:
            return weights, sums
        shape = (-1,) + (1,) * (counts.ndim - 1)
        sums = [s * scale[self.node].reshape(shape) for s, scale in zip(sums, self.table.scale, strict=True)]
        return sum(sums, np.zeros(counts.shape)), sums

    def _find_neighbors(self) -> None:
        """For each bin with rows, the next one; and the first and last of each pair."""
        width = self.width
        occupied = self.counts > 0
        here = np.where(occupied, np.arange(width), width)
        nearest = np.minimum.accumulate(here[:, ::-1], axis=1)[:, ::-1]
        self.following = np.concatenate([nearest[:, 1:], np.full((len(nearest), 1), width)], axis=1)
        self.occupied = occupied
        self.first = np.minimum(nearest[:, 0], width - 1)
        self.last = np.maximum(np.where(occupied, np.arange(width), -1).max(axis=1), 0)
        rows = np.arange(len(self.pairs))
        self.low, self.high = self.values[rows, self.first], self.values[rows, self.last]
        empty = ~occupied.any(axis=1)
        self.constant = empty | ((self.high <= self.low + CLOSE) & (self.missing == 0))

    def best(self, min_samples_leaf: int) -> Splits:
        """The best split of each pair."""
        if self.table.pair_chance is not None:
            found = self._random(min_samples_leaf)
        else:
            found = self._exhaustive(min_samples_leaf)
        found.constant = self.constant
        found.worth[self.constant] = -np.inf
        return found

    def _exhaustive(self, min_samples_leaf: int) -> Splits:
        everything = np.arange(len(self.pairs))
        reach = np.take_along_axis(self.values, np.minimum(self.following, self.width - 1), axis=1)
        between = self.occupied & (self.following < self.width) & (reach > self.values + CLOSE)
        # All rows that have a value on the left, those without on the right.
        apart = self.occupied & (self.missing > 0)[:, None] & (np.arange(self.width) == self.last[:, None])
        found = self._best_side(everything, between | apart, min_samples_leaf, missing_left=False)
        with_missing = np.flatnonzero(self.missing > 0)
        if len(with_missing):
            other = self._best_side(with_missing, between[with_missing], min_samples_leaf, missing_left=True)
            better = other.worth > found.worth[with_missing]
            found.put(with_missing[better], other.take(better))
        return found

    def _best_side(self, rows: IntArray, allowed: Any, min_samples_leaf: int, *, missing_left: bool) -> Splits:
        sides = np.full(len(rows), missing_left)
        left = (self.left_count[rows], self.left_weight[rows], [s[rows] for s in self.left_sums])
        worth = self._worth(rows, self._joined(rows, *left, sides), min_samples_leaf)
        worth[~allowed] = -np.inf
        code = np.argmax(worth, axis=1)
        after = self.following[rows, code]
        low = self.values[rows, code].astype(np.float64)
        high = self.values[rows, np.minimum(after, self.width - 1)].astype(np.float64)
        threshold = np.where(after < self.width, low / 2.0 + high / 2.0, np.inf)
        return self._split(rows, code, threshold, sides, worth[np.arange(len(rows)), code])

    def _random(self, min_samples_leaf: int) -> Splits:
        """One threshold a pair, uniform between the least and the largest value."""
        rows = np.arange(len(self.pairs))
        chance = self.table.pair_chance[self.pairs]
        low, high = self.low.astype(np.float64), self.high.astype(np.float64)
        threshold = chance[:, 0] * (high - low) + low
        threshold = np.where(threshold >= high, low, threshold)
        code = np.maximum((self.values <= threshold[:, None]).sum(axis=1) - 1, 0)
        sides = (self.missing > 0) & (chance[:, 1] < 0.5)
        worth = self._worth(rows, self._left_of(rows, code, sides), min_samples_leaf)
        return self._split(rows, code, threshold, sides, worth)

    def _worth(self, rows: IntArray, left_side: _Side, min_samples_leaf: int) -> FloatArray:
        """The proxy of splits, -inf where a side would be too small."""
        table, node = self.table, self.node[rows]
        left_count, left_weight, left = left_side
        shape = (-1,) + (1,) * (left_weight.ndim - 1)
        right_weight = table.weight[node].reshape(shape) - left_weight
        right = [total[node].reshape(shape) - own for total, own in zip(table.sums, left, strict=True)]
        with np.errstate(divide="ignore", invalid="ignore"):
            worth = np.asarray(self.criterion.proxy(left_weight, left, right_weight, right))
        right_count = table.count[node].reshape(shape) - left_count
        least = table.least_weight[node].reshape(shape)
        small = (left_count < min_samples_leaf) | (right_count < min_samples_leaf)
        worth[small | (left_weight < least) | (right_weight < least) | np.isnan(worth)] = -np.inf
        return worth

    def _left_of(self, rows: IntArray, code: IntArray, sides: Any) -> _Side:
        """What lies on the left of a split after one bin a pair."""
        sums = [s[rows, code] for s in self.left_sums]
        return self._joined(rows, self.left_count[rows, code], self.left_weight[rows, code], sums, sides)

    def _joined(self, rows: IntArray, count: Any, weight: Any, sums: list[Any], sides: Any) -> _Side:
        """The same with the rows that lack the feature, where they go left."""
        if not sides.any():
            return count, weight, sums
        shape = (-1,) + (1,) * (count.ndim - 1)
        more = [
            own + np.where(sides, absent[rows], 0.0).reshape(shape)
            for own, absent in zip(sums, self.missing_sums, strict=True)
        ]
        extra = np.where(sides, self.missing_weight[rows], 0.0).reshape(shape)
        return count + np.where(sides, self.missing[rows], 0).reshape(shape), weight + extra, more

    def _split(self, rows: IntArray, code: IntArray, threshold: FloatArray, sides: Any, worth: FloatArray) -> Splits:
        """Splits of some pairs, with what lies on their left."""
        count, weight, sums = self._left_of(rows, code, sides)
        # Where nothing was missing, a later missing value goes where most rows went.
        most = count > self.table.count[self.node[rows]] - count
        missing_left = np.where(self.missing[rows] > 0, sides, most)
        return Splits(worth, np.zeros(len(rows), bool), code, threshold, missing_left, count, weight, sums)


def on_edges(bins: Bins, feature: IntArray, threshold: FloatArray) -> FloatArray:
    """The thresholds of some splits; where bins hold several values, the edge that each stands for."""
    out = threshold.copy()
    for f in np.unique(feature[~bins.exact[feature] & np.isfinite(threshold)]):
        here = np.flatnonzero((feature == f) & np.isfinite(threshold))
        last = np.searchsorted(bins.values[f], threshold[here], side="right") - 1
        # Above the last bin there is no edge: only missing values go right.
        out[here] = np.append(bins.edges[f], np.inf)[last]
    return out
