"""The out-of-bag score of a forest: one pass, each row seen by the trees that did not draw it."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from parquetry.block_cache import CachedBatch
from parquetry.classical.tree_bins import Bins
from parquetry.classical.tree_codes import chunks
from parquetry.classical.tree_routes import Route
from parquetry.classical.tree_samples import Bootstrap
from parquetry.errors import BadParameter
from parquetry.fitting import Pass
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View

_AT_ONCE = 16_384  # rows

MOST_NUMBERS = 8_000_000
"""So many predictions come to the driver as an attribute; beyond it is the score alone."""


def check_oob(forest: Any, n_classes: Sequence[int]) -> None:
    """Raise BadParameter where scikit-learn has no out-of-bag score."""
    if not forest.bootstrap:
        raise BadParameter("Out of bag estimation only available if bootstrap=True", fix="Set bootstrap=True.")
    if len(n_classes) > 1 and any(n > 2 for n in n_classes):
        raise BadParameter(
            "The type of target cannot be used to compute OOB estimates.",
            why="scikit-learn has none for several targets of more than two classes.",
            fix="Leave oob_score out.",
        )


def set_oob_score(
    forest: Any, view: View, bins: Bins, bootstrap: Bootstrap, classes: Sequence[Any], target: tuple[Any, float]
) -> Generator[list[Any], list[Any], None]:
    """Set ``oob_score_`` and, where it is not too large, what it is made of.

    Parameters
    ----------
    forest : fitted forest
    view : View
        Cached, as the forest was grown on it.
    bins : Bins
    bootstrap : Bootstrap
    classes : sequence of Classes
        Of each target column; empty for regression.
    target : (ndarray or None, float)
        By what the cached target is shifted and scaled.
    """
    width = max((len(c.values) for c in classes), default=1)
    size = view.dataset.num_rows * width * len(view.target)
    keep = size <= MOST_NUMBERS
    if callable(forest.oob_score) and not keep:
        raise BadParameter(
            f"oob_score is a function, which needs all {size:,} predictions at once.",
            why=f"At most {MOST_NUMBERS:,} come to the driver.",
            fix="Set oob_score=True.",
        )
    task = _OutOfBag(forest, bins, bootstrap, width, bool(classes), target, keep=keep)
    (found,) = yield [Pass(task, view)]
    if found.unseen:
        warnings.warn(
            "Some inputs do not have OOB scores. This probably means too few trees were used to compute any "
            "reliable OOB estimates.",
            UserWarning,
            stacklevel=2,
        )
    if keep:
        _set_predictions(forest, found, bool(classes))
    forest.oob_score_ = found.score(bool(classes)) if not callable(forest.oob_score) else _own_score(forest, found)


def _set_predictions(forest: Any, found: _OutOfBagState, classes: bool) -> None:
    predicted = np.concatenate(found.predictions)  # (n_rows, n_outputs, width)
    if classes:
        predicted = np.moveaxis(predicted, 1, 2)
        forest.oob_decision_function_ = predicted[..., 0] if predicted.shape[-1] == 1 else predicted
    else:
        forest.oob_prediction_ = predicted[:, 0, 0] if predicted.shape[1] == 1 else predicted[:, :, 0]


def _own_score(forest: Any, found: _OutOfBagState) -> Any:
    y = np.concatenate(found.targets)
    if hasattr(forest, "oob_decision_function_"):
        return forest.oob_score(y, np.argmax(forest.oob_decision_function_, axis=1))
    return forest.oob_score(y, forest.oob_prediction_)


@dataclass
class _OutOfBagState:
    """Rows, those that no tree left out, those predicted right; squared errors, moments; predictions."""

    rows: int
    unseen: int
    right: int
    squared_error: FloatArray
    mean: FloatArray
    squares: FloatArray
    predictions: list[FloatArray]
    targets: list[FloatArray]

    def score(self, classes: bool) -> float:
        """The accuracy, or R² averaged over the outputs."""
        if classes:
            return self.right / self.rows
        with np.errstate(divide="ignore", invalid="ignore"):
            each = 1.0 - self.squared_error / self.squares
        each = np.where(self.squares > 0, each, np.where(self.squared_error > 0, 0.0, 1.0))
        return float(each.mean())


class _OutOfBag(Reduction[_OutOfBagState, _OutOfBagState]):
    """Averages, for each row, the trees that did not draw it."""

    label = "out-of-bag"

    def __init__(
        self,
        forest: Any,
        bins: Bins,
        bootstrap: Bootstrap,
        width: int,
        classes: bool,
        target: tuple[Any, float],
        *,
        keep: bool,
    ) -> None:
        self.bootstrap, self.width, self.classes, self.target, self.keep = bootstrap, width, classes, target, keep
        self.trees = [(int(t.random_state), _route(t.tree_, bins), t.tree_.value) for t in forest.estimators_]

    def partial(self, batch: CachedBatch) -> _OutOfBagState:  # type: ignore[override]
        states = []
        begin = 0
        for codes in chunks(batch.arrays):
            for start in range(0, len(codes), _AT_ONCE):
                rows = np.arange(start, min(start + _AT_ONCE, len(codes)), dtype=np.uint32)
                states.append(self._some(batch, codes, rows, slice(begin + start, begin + start + len(rows))))
            begin += len(codes)
        return reduce(self.merge, states)

    def merge(self, left: _OutOfBagState, right: _OutOfBagState) -> _OutOfBagState:
        rows = left.rows + right.rows
        delta = right.mean - left.mean
        return _OutOfBagState(
            rows,
            left.unseen + right.unseen,
            left.right + right.right,
            left.squared_error + right.squared_error,
            left.mean + delta * (right.rows / rows),
            left.squares + right.squares + delta**2 * (left.rows * right.rows / rows),
            left.predictions + right.predictions,
            left.targets + right.targets,
        )

    def _some(self, batch: CachedBatch, codes: Any, rows: Any, here: slice) -> _OutOfBagState:
        y = batch.arrays["y"][:, here].astype(np.float64).T
        if self.target[0] is not None:
            y = y * self.target[1] + self.target[0]
        weights = batch.arrays.get("w")
        weights = None if weights is None else weights[here]
        predicted = np.zeros((*y.shape, self.width))
        seen = np.zeros(len(y), dtype=np.int64)
        for seed, route, value in self.trees:
            out = np.flatnonzero(self.bootstrap.counts(seed, batch.block, batch.rows[here], weights) == 0)
            predicted[out] += value[route.told.take(route.follow(codes, rows[out]))]
            seen[out] += 1
        unseen = int((seen == 0).sum())
        predicted /= np.maximum(seen, 1)[:, None, None]
        right = int((predicted.argmax(axis=2) == y).all(axis=1).sum()) if self.classes else 0
        error = ((predicted[:, :, 0] - y) ** 2).sum(axis=0)
        mean = y.mean(axis=0)
        squares = ((y - mean) ** 2).sum(axis=0)
        kept = ([predicted], [y if y.shape[1] > 1 else y[:, 0]]) if self.keep else ([], [])
        return _OutOfBagState(len(y), unseen, right, error, mean, squares, *kept)


def _route(tree: Any, bins: Bins) -> Route:
    """A finished tree on codes; rows are told the number of their leaf."""
    inner = tree.children_left >= 0
    order = np.empty(tree.node_count, dtype=np.int64)
    # The two children of a node stand together: the root, then pairs in the order of their parents.
    order[0] = 0
    order[1::2], order[2::2] = tree.children_left[inner], tree.children_right[inner]
    left = np.zeros(tree.node_count, dtype=np.int64)
    left[inner] = 1 + 2 * np.arange(int(inner.sum()))
    code = np.zeros(tree.node_count, dtype=np.int64)
    code[inner] = bins.codes_of(tree.feature[inner], tree.threshold[inner])
    missing_code = bins.missing_code if bins.missing.any() else None
    sides = tree.missing_go_to_left.astype(bool)
    return Route.of(
        inner[order],
        tree.feature[order],
        code[order],
        sides[order],
        left[order],
        order,
        int(tree.max_depth),
        missing_code,
    )
