"""Reduction and the fixed tree: one pass over the blocks, the same on every engine.

Blocks travel in bundles; a bundle's blocks are merged one after another, bundles in groups of
``FAN_IN``, those groups again in groups of ``FAN_IN``, and so on. Bundles and groups come from
the footers alone, never from the number of workers, so results are identical bit for bit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from parquetry.dataset import Block, Dataset

if TYPE_CHECKING:
    from parquetry.view import Batch, View

State = TypeVar("State")
Result = TypeVar("Result")
Bundle = tuple[Block, ...]

FAN_IN = 16
BUNDLE_BYTES = 64 * 2**20
_MAX_BUNDLES = 4096


class Reduction(ABC, Generic[State, Result]):
    """An algorithm's single pass over the rows: engine-free, deterministic, its state small.

    A subclass gives ``partial`` and ``merge``, and ``finish`` where the result is not the state.
    States are pickled between workers: plain arrays, numbers and tuples.
    """

    @abstractmethod
    def partial(self, batch: Batch) -> State:
        """The state of a batch of rows (at least one row)."""

    @abstractmethod
    def merge(self, left: State, right: State) -> State:
        """The state of both; ``left`` holds the earlier rows. May change ``left`` in place."""

    def finish(self, state: State) -> Result:
        """The result, computed once, on the driver."""
        return state  # type: ignore[return-value]


def bundles(dataset: Dataset, columns: Sequence[str]) -> list[Bundle]:
    """The dataset's blocks in consecutive bundles of about ``BUNDLE_BYTES`` each.

    Above 4096 bundles they grow with the data instead, so that a scheduler never sees millions
    of tasks. Memory is not touched by a bundle's size: its blocks are read one at a time.
    """
    share = dataset.byte_share(columns)
    blocks = [b for b in dataset.blocks if b.num_rows]
    sizes = [max(b.nbytes * share, 8.0 * b.num_rows) for b in blocks]
    target = max(float(BUNDLE_BYTES), sum(sizes) / _MAX_BUNDLES)
    out: list[list[Block]] = []
    filled = target
    for block, size in zip(blocks, sizes, strict=True):
        if filled + size / 2 > target:
            out.append([])
            filled = 0.0
        out[-1].append(block)
        filled += size
    return [tuple(bundle) for bundle in out]


class TreeMerge:
    """Merges states in the fixed tree as they arrive in order, holding few of them at a time."""

    def __init__(self, merge: Callable[[Any, Any], Any]) -> None:
        self._merge = merge
        self._levels: list[list[Any]] = []

    def add(self, state: Any) -> None:
        """Take the next state."""
        level = 0
        while True:
            if level == len(self._levels):
                self._levels.append([])
            self._levels[level].append(state)
            if len(self._levels[level]) < FAN_IN:
                return
            state = fold(self._merge, self._levels[level])
            self._levels[level] = []
            level += 1

    def result(self) -> Any:
        """The state of everything taken."""
        carry: list[Any] = []
        for level in self._levels:
            group = level + carry
            carry = [fold(self._merge, group)] if group else []
        return carry[0] if carry else None


def fold(merge: Callable[[Any, Any], Any], states: Sequence[Any]) -> Any:
    """One group of states merged from left to right; None stands for "no rows"."""
    total = None
    for state in states:
        total = merge_optional(merge, total, state)
    return total


def merge_optional(merge: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """``merge`` where either side may be None, for a part without rows."""
    if left is None or right is None:
        return right if left is None else left
    return merge(left, right)


@dataclass(frozen=True)
class Cached:
    """How a worker reads a cached view: the reader of its own columns, and its key.

    Parameters
    ----------
    reader : Reader
    key : CacheKey
    """

    reader: Any
    key: Any


@dataclass(frozen=True)
class PassTask:
    """Several reductions over one read of a bundle; the states travel together in a list.

    Parameters
    ----------
    reader : Reader
        Of the columns of all views that are not cached.
    parts : tuple of (Reduction, View)
    cached : dict of int to Cached
        For the parts whose view is cached, by the part's position.
    """

    reader: Any
    parts: tuple[tuple[Reduction[Any, Any], View], ...]
    cached: dict[int, Cached] = field(default_factory=dict)

    @property
    def holds_gil(self) -> bool:
        """Whether rows go through Python code, so that an engine does better with processes than with threads."""
        return any(self._in_python(i) for i in range(len(self.parts)))

    def __call__(self, bundle: Bundle) -> list[Any]:
        states: list[Any] = [None] * len(self.parts)
        stored = [i for i in range(len(self.parts)) if i not in self.cached]
        for block in bundle:
            if stored:
                self._read(block, stored, states)
            for shared in self._by_view():
                self._read_cached(block, shared, states)
        return states

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        """Merge the states one by one."""
        return [
            merge_optional(reduction.merge, a, b) for (reduction, _), a, b in zip(self.parts, left, right, strict=True)
        ]

    def _in_python(self, i: int) -> bool:
        from parquetry.block_cache import is_kept
        from parquetry.through import holds_gil

        reduction, view = self.parts[i]
        if getattr(reduction, "holds_gil", False) or holds_gil(reduction):
            return True
        # What a cached view has kept comes as arrays: its steps are not run again.
        if i in self.cached and is_kept(self.cached[i].key):
            return False
        return any(map(holds_gil, view.steps))

    def _read(self, block: Block, places: list[int], states: list[Any]) -> None:
        for table, rows in self.reader.read(block):
            batches: dict[int, Batch | None] = {}
            for i in places:
                view = self.parts[i][1]
                # Reductions that share a view share its batch, and what it has computed.
                if id(view) not in batches:
                    batches[id(view)] = view.batch(table, rows, block)
                batch = batches[id(view)]
                if batch is not None:
                    self._take(i, batch, states)

    def _read_cached(self, block: Block, places: list[int], states: list[Any]) -> None:
        from parquetry.block_cache import cached_batches

        source = self.cached[places[0]]
        for batch in cached_batches(source.reader, block, self.parts[places[0]][1], source.key):
            for i in places:
                self._take(i, batch, states)
            del batch  # its memory takes the next one

    def _take(self, i: int, batch: Any, states: list[Any]) -> None:
        reduction = self.parts[i][0]
        states[i] = merge_optional(reduction.merge, states[i], reduction.partial(batch))

    def _by_view(self) -> list[list[int]]:
        groups: dict[int, list[int]] = {}
        for i in self.cached:
            groups.setdefault(id(self.parts[i][1]), []).append(i)
        return list(groups.values())
