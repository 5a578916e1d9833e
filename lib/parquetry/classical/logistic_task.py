"""Sparse rows that fit into one task: there the search goes on in memory, without a pass for every step.

A wide text model takes many cheap steps: their passes cost more than their sums. What the workers have
made of the rows lies in the block cache; one task maps it, and finds the minimum over all rows. A pass
over all of them then proves it, as it would any other start.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from parquetry.block_cache import CacheKey, cached_batches
from parquetry.classical.logistic_ground import Ground
from parquetry.classical.logistic_sample import TASK_BYTES, SampleRows
from parquetry.engine import Engine
from parquetry.fitting import Fitting, Work
from parquetry.reduction import Bundle, bundles
from parquetry.view import View

_TOGETHER = 3  # the rows in parts, the rows put together, and what a step makes of them
_SHARPER = 0.1  # the pass that proves the minimum sees it by a sample's second derivatives

GroundType = TypeVar("GroundType", bound=Ground)


def fits_one_task(ground: Ground) -> bool:
    """Whether all rows are to be brought into one task: sparse, few enough, and not in the sample already."""
    most = min(TASK_BYTES, ground.memory // (2 * _TOGETHER))
    return 0 < row_bytes(ground) <= most and not ground.whole and ground.form.max_iter > 0


def row_bytes(ground: Ground) -> int:
    """What all sparse rows take: numbers, their columns, and a few numbers a row; 0 for dense ones."""
    return 12 * ground.entries + 8 * (3 + 4 * ground.rows) * ground.num_rows if ground.entries else 0


def solved_in_one_task(
    ground: GroundType, solve: Callable[[GroundType], Any], fitting: Fitting
) -> Generator[list[Any], list[Any], Any]:
    """What ``solve`` finds on a ground whose sample is all rows, in one task; the report says it.

    Parameters
    ----------
    ground : Ground
    solve : callable
        Picklable; takes the ground.
    fitting : Fitting
    """
    megabytes = row_bytes(ground) / 2**20
    fitting.report.why = (
        f"One task holds all sparse rows, {megabytes:.3g} MiB, and takes the steps; a pass proves them."
    )
    form = replace(ground.form, tol=_SHARPER * ground.form.tol)
    bare = replace(ground, form=form, view=None, sample=None)  # type: ignore[arg-type]
    (solved,) = yield [_Solving(solve, bare, ground.view)]
    return solved


@dataclass(frozen=True, eq=False)
class _Solving(Work):
    """Work: a cached view's rows, as the passes before have left them, and what ``solve`` finds on them."""

    solve: Callable[[Any], Any]
    ground: Ground
    view: View

    def run(self, engine: Engine, verb: str) -> Any:
        view = self.view
        # The reader of a pass: so the blocks in the cache are found.
        reader = view.dataset.select(view.columns).reader()
        task = _Solver(self.solve, self.ground, reader, replace(view, dataset=None), view.cache_key)  # type: ignore[arg-type]
        (solved,) = engine.map(task, [bundles(view.dataset, view.columns)], label=f"{verb}-steps-in-one-task")
        return solved


@dataclass(frozen=True, eq=False)
class _Solver:
    solve: Callable[[Any], Any]
    ground: Ground
    reader: Any
    view: View
    key: CacheKey

    def __call__(self, bundle_list: Sequence[Bundle]) -> Any:
        return self.solve(replace(self.ground, sample=self._rows(bundle_list)))

    def _rows(self, bundle_list: Sequence[Bundle]) -> SampleRows:
        from scipy import sparse

        blocks = [block for bundle in bundle_list for block in bundle]
        batches = [batch for block in blocks for batch in cached_batches(self.reader, block, self.view, self.key)]
        kept = [{k: v for k, v in batch.arrays.items() if not k.startswith("X")} for batch in batches]
        rest = {k: np.concatenate([arrays[k] for arrays in kept]) for k in kept[0]}
        return SampleRows(sparse.vstack([batch.matrix for batch in batches]).tocsr(), rest)
