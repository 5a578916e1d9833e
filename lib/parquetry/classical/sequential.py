"""Sequential fits: one worker walks through all rows in order, in bounded memory.

What learns row by row (``partial_fit``) cannot be split over workers without becoming another
algorithm. It runs on one worker of the engine, reads one block at a time, and says so: the placement
in the report is ``"sequential"``. Epochs after the first read the block cache.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.block_cache import CacheKey, cached_batches
from parquetry.dataset import Block
from parquetry.engine import Engine
from parquetry.fitting import Fitting, Work
from parquetry.reduction import Bundle, bundles
from parquetry.view import Batch, FloatArray, View

PIECE_ROWS = 16_384

Batches = Callable[[], Iterator[Any]]
"""Gives all batches of a view anew, in order."""


@dataclass(frozen=True, eq=False)
class Walk(Work):
    """Work: ``walker(batches)`` on one worker.

    Parameters
    ----------
    walker : callable
        Takes :data:`Batches`, gives the result; it must be picklable.
    view : View
        Cached where it is walked through more than once.
    label : str
        What the task is called in dashboards.
    """

    walker: Callable[[Batches], Any]
    view: View
    label: str

    def run(self, engine: Engine, verb: str) -> Any:
        """Walk, and give the result."""
        view = self.view
        reader = view.dataset.select(view.columns).reader(batch_rows=view.batch_rows)
        key = None if view.prepare is None else view.cache_key
        task = _WalkTask(reader, replace(view, dataset=None), key, self.walker)  # type: ignore[arg-type]
        items = [bundles(view.dataset, view.columns)]
        return next(iter(engine.map(task, items, label=f"{verb}-{self.label}-sequential")))


@dataclass(frozen=True)
class _WalkTask:
    reader: Any
    view: View
    key: CacheKey | None
    walker: Callable[[Batches], Any]

    def __call__(self, bundle_list: Sequence[Bundle]) -> Any:
        def batches() -> Iterator[Any]:
            for bundle in bundle_list:
                for block in bundle:
                    yield from self._read(block)

        return self.walker(batches)

    def _read(self, block: Block) -> Iterator[Any]:
        if self.key is not None:
            yield from cached_batches(self.reader, block, self.view, self.key)
            return
        for table, rows in self.reader.read(block):
            yield Batch(table, rows, block, self.view)


@dataclass(frozen=True)
class Piece:
    """Some consecutive rows.

    Attributes
    ----------
    x : ndarray (C-contiguous) or csr_matrix of shape (n_rows, n_features)
    y, weights : ndarray of shape (n_rows,), or None
    """

    x: Any
    y: FloatArray | None
    weights: FloatArray | None

    @property
    def size(self) -> int:
        """How many rows there are."""
        return int(self.x.shape[0])


def pieces(batches: Iterator[Any], size: int) -> Iterator[Piece]:
    """The rows in pieces of ``size``, whatever the blocks' sizes; the last one may be shorter."""
    waiting: list[Piece] = []
    count = 0
    for batch in batches:
        y = batch.y_floats[0] if "y" in batch.arrays else None
        whole, start = Piece(batch.matrix, y, batch.weights), 0
        while start < whole.size:
            stop = min(whole.size, start + size - count)
            waiting.append(_rows(whole, slice(start, stop)))
            count, start = count + stop - start, stop
            if count == size:
                yield _joined(waiting)
                waiting, count = [], 0
    if waiting:
        yield _joined(waiting)


def report_sequential(fitting: Fitting, epochs: int, how: str = "partial_fit") -> None:
    """Say in the report that one worker did it, and in how many epochs."""
    fitting.report.placement = "sequential"
    fitting.report.why = f"{how} in block order on one worker, block by block; {epochs} epoch{'s' * (epochs != 1)}."


def _rows(piece: Piece, part: slice) -> Piece:
    y = None if piece.y is None else piece.y[part]
    return Piece(piece.x[part], y, None if piece.weights is None else piece.weights[part])


def _joined(parts: Sequence[Piece]) -> Piece:
    y, weights = _column([p.y for p in parts]), _column([p.weights for p in parts])
    if hasattr(parts[0].x, "tocsr"):
        from scipy import sparse

        return Piece(sparse.vstack([p.x for p in parts]).tocsr(), y, weights)
    return Piece(np.ascontiguousarray(np.concatenate([p.x for p in parts])), y, weights)


def _column(values: list[Any]) -> FloatArray | None:
    return None if values[0] is None else np.concatenate(values)
