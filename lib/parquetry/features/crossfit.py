"""The folds of a cross-fitted step: which rows are encoded by what the other folds have told."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import KFold, StratifiedKFold, check_cv

from parquetry.classical.folds import Folds, _contiguous, _starts_by_row
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fitting import Fitting, Pass
from parquetry.reduction import Reduction
from parquetry.rows import RowFilter, combined_mask, hashes_at, row_hashes
from parquetry.view import View

MOST_DEALT = 10_000_000
"""Up to so many rows scikit-learn's own splitter deals them out; it holds a number for each of them."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class HashFolds:
    """Folds by a hash of each row's place: about equal, and the same on every engine.

    Parameters
    ----------
    count : int
    salt : str
    """

    count: int
    salt: str

    def of(self, batch: Any) -> IntArray:
        """The fold of each row of a batch, shape ``(n_rows,)``."""
        hashes = hashes_at(batch.block.name, batch.block.row_group, batch.rows, self.salt)
        return _fold_of(hashes, self.count)


def _fold_of(hashes: npt.NDArray[np.uint64], count: int) -> IntArray:
    """The upper half of a product's bits: no fold is likelier than another by more than 2**-32."""
    return np.asarray(((hashes >> np.uint64(32)) * np.uint64(count)) >> np.uint64(32), dtype=np.int64)


@dataclass(frozen=True, eq=False)
class DealtFolds:
    """Folds as a splitter has dealt them out.

    Parameters
    ----------
    count : int
    dealt : dict of int to ndarray
        For each block, the fold of every position in its row group.
    """

    count: int
    dealt: dict[int, npt.NDArray[Any]]

    @classmethod
    def by_hash(cls, count: int, dataset: Dataset) -> DealtFolds:
        """The same folds as :class:`HashFolds`, row by row."""
        dealt = {}
        for block in dataset.blocks:
            hashes = row_hashes(block.name, block.row_group, block.num_rows, "cross-fit")
            dealt[block.index] = _fold_of(hashes, count).astype(np.uint16)
        return cls(count, dealt)

    def of(self, batch: Any) -> IntArray:
        """The fold of each row of a batch, shape ``(n_rows,)``."""
        return np.asarray(self.dealt[batch.block.index][batch.rows], dtype=np.int64)


@dataclass(frozen=True)
class FoldFilter(RowFilter):
    """Keeps the rows of one fold, or those of all others.

    Parameters
    ----------
    salt, low, high, inside
        As of a RowFilter; they tell this filter from others.
    dealt : dict of (str, int) to ndarray
        For each file and row group, the fold of every position.
    """

    dealt: Any = field(default=None, compare=False, repr=False)

    @classmethod
    def kept(cls, dataset: Dataset, folds: DealtFolds, fold: int, *, inside: bool) -> Dataset:
        """The dataset's rows of a fold, or all others."""
        named = {(b.name, b.row_group): folds.dealt[b.index] for b in dataset.blocks}
        digest = hashlib.sha256(repr(sorted(named)).encode())
        for _, numbers in sorted(named.items()):
            digest.update(numbers.tobytes())
        own = cls(f"folds-{digest.hexdigest()}", fold, fold + 1, inside, named)
        return replace(dataset, row_filters=(*dataset.row_filters, own))

    def mask(self, file: str, row_group: int, num_rows: int) -> npt.NDArray[np.bool_]:
        """True for the rows that stay; shape ``(num_rows,)``."""
        own = np.asarray(self.dealt[file, row_group] == self.low)
        return own if self.inside else ~own


def crossing(
    encoder: Any, view: View, fitting: Fitting, *, by_class: bool
) -> Generator[list[Any], list[Any], HashFolds | DealtFolds | Folds]:
    """The folds of ``cv=`` for an encoder that is cross-fitted.

    Shuffling without a seed takes any folds: here by a hash. With one, or without shuffling,
    scikit-learn's own splitter deals the rows out, up to 10 million of them; beyond that a plain
    ``KFold`` is told by the row's number, and all others go by the hash, salted with the seed.

    Parameters
    ----------
    encoder : estimator
        With ``cv``, ``shuffle`` and ``random_state``.
    view : View
        Its target encoded as numbers.
    fitting : Fitting
    by_class : bool
        Whether the target is one of classes.

    Raises
    ------
    BadParameter
        ``cv`` does not deal out each row once, or needs more than the target.
    """
    cv, rows = _splitter(encoder, by_class=by_class), view.dataset.num_rows
    plain = type(cv) in (KFold, StratifiedKFold)
    if plain and cv.shuffle and cv.random_state is None:
        return HashFolds(cv.n_splits, "cross-fit")
    if rows > MOST_DEALT:
        if type(cv) is KFold and not cv.shuffle:
            return Folds(cv.n_splits, _contiguous(rows, cv.n_splits), _starts_by_row(view), by_class=False)
        if not plain:
            raise BadParameter(
                f"{type(encoder).__name__}: cv={cv} deals {rows:,} rows out at once.",
                why=f"Up to {MOST_DEALT:,} rows are dealt out by scikit-learn's own splitter.",
                fix="Pass a number as cv, KFold or StratifiedKFold.",
            )
        fitting.report.why = f"Beyond {MOST_DEALT:,} rows the folds go by a hash of the row's place."
        return HashFolds(cv.n_splits, f"cross-fit-{cv.random_state}")
    return (yield from dealt_folds(encoder, cv, view))  # type: ignore[return-value]


def dealt_folds(
    estimator: Any, cv: Any, view: View, *, whole: bool = True
) -> Generator[list[Any], list[Any], DealtFolds | None]:
    """The folds of scikit-learn's own splitter, which sees the target (in one pass) where it may need it.

    Parameters
    ----------
    estimator : object
        Named in errors.
    cv : splitter
    view : View
        Its target encoded as numbers.
    whole : bool, default True
        Raise BadParameter where a row is in no fold or in several; else the result is None then.
    """
    y = None
    if type(cv) is not KFold:
        (parts,) = yield [Pass(_TargetNumbers(), replace(view, features=(), steps=(), step_names=None))]
        y = np.concatenate([part for _, part in sorted(parts.items())])
    found = checked(estimator, lambda: _dealt(cv, view, view.dataset.num_rows, y))
    if found is None and whole:
        raise BadParameter(
            f"{type(estimator).__name__}: the folds of cv={cv} do not hold each row exactly once.",
            why="Validation indices from `cv` must cover each sample index exactly once with no overlap.",
            fix="Pass a number, KFold or StratifiedKFold.",
        )
    return found  # type: ignore[no-any-return]


def _splitter(encoder: Any, *, by_class: bool) -> Any:
    settings: dict[str, Any] = {"shuffle": True}
    for name in ("shuffle", "random_state"):
        if getattr(encoder, name, "deprecated") != "deprecated":
            settings[name] = getattr(encoder, name)
    if not settings["shuffle"]:
        settings.pop("random_state", None)
    cv = encoder.cv
    if isinstance(cv, KFold | StratifiedKFold):
        return cv
    y = np.array([0, 1]) if by_class else np.array([0.5, 1.5, 2.5])
    return checked(encoder, lambda: check_cv(cv, y, classifier=by_class, **settings))


def _dealt(cv: Any, view: View, rows: int, y: Any) -> DealtFolds | None:
    folds = np.zeros(rows, dtype=np.uint16)
    seen = np.zeros(rows, dtype=np.int64)
    count, complete = 0, True
    for k, (train, test) in enumerate(cv.split(np.zeros((rows, 1)), y)):
        folds[test] = k
        seen[test] += 1
        count, complete = k + 1, complete and len(train) + len(test) == rows
    if not (complete and (seen == 1).all()):
        return None
    dealt, start = {}, 0
    for block in view.dataset.blocks:
        mask = combined_mask(view.dataset.row_filters, block.name, block.row_group, block.num_rows)
        places = np.arange(block.num_rows) if mask is None else np.flatnonzero(mask)
        dealt[block.index] = np.zeros(block.num_rows, dtype=folds.dtype)
        dealt[block.index][places] = folds[start : start + len(places)]
        start += len(places)
    return DealtFolds(count, dealt)


class _TargetNumbers(Reduction[dict[int, Any], dict[int, Any]]):
    """The target of all rows, by block: for a splitter that deals rows out by it."""

    label = "target-for-folds"

    def partial(self, batch: Any) -> dict[int, Any]:
        return {batch.block.index: batch.y_floats[0]}

    def merge(self, left: dict[int, Any], right: dict[int, Any]) -> dict[int, Any]:
        found = dict(left)
        for block, y in right.items():
            found[block] = np.concatenate([found[block], y]) if block in found else y
        return found
