"""A gang's training as a Fitter asks for it: which rank reads what, and what happens when one is lost.

Ranks read consecutive blocks, balanced by rows; which ones comes from the footers and from the
number of ranks alone. So a model depends on its data, its parameters and ``world``, and on nothing
of the engine.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.boosting.supervisor import Supervise
from parquetry.dataset import Block, Dataset
from parquetry.errors import BadParameter, EngineLost, GangLost, NotEnoughSlots, TooBigForOneNode
from parquetry.fitting import Work
from parquetry.view import Batch, View

if TYPE_CHECKING:
    from parquetry.engine import Engine, SupportsGang

_RETURN_SECONDS = 40.0  # that a gang which starts again waits for workers that were lost

Training = Any
"""What a rank's process runs: a picklable callable that is given a :class:`~parquetry.boosting.child.Rank`."""


@dataclass(frozen=True)
class Gang:
    """How the training of a boosted model is spread over processes; ``fit`` takes it as ``gang=``.

    Parameters
    ----------
    world : int or None, default None
        How many processes (ranks) train together. The model depends on it, in its last digits, and
        on nothing else of the engine. None takes the engine's parallelism, and no more than there
        are blocks: then engines of another size give another model, and ``fit_report_`` says so.
    silence : float, default 30.0
        Seconds after which a rank that gives no sign of life is taken for lost. It gives one each second, but
        while a function of your own (an objective, a metric) holds Python's lock.
    retries : int, default 0
        How often a gang that has lost a rank starts again, from the last checkpoint if there is one.
    checkpoint : str or None, default None
        A file that rank 0's machine can write and read (on a cluster a shared folder or an object
        store), where the trees so far are kept.
    checkpoint_every : int, default 10
        Rounds between two checkpoints.
    """

    world: int | None = None
    silence: float = 30.0
    retries: int = 0
    checkpoint: str | None = None
    checkpoint_every: int = 10

    def __post_init__(self) -> None:
        for name, value, least in (
            ("world", self.world, 1),
            ("retries", self.retries, 0),
            ("checkpoint_every", self.checkpoint_every, 1),
        ):
            if value is not None and (not isinstance(value, int | np.integer) or value < least):
                raise BadParameter(
                    f"gang=: {name}={value!r} is out of range.",
                    why="It counts the processes that train together." if name == "world" else "",
                    fix=f"Pass a whole number from {least} on.",
                )
        if not self.silence > 0:
            raise BadParameter(f"gang=: silence={self.silence!r} is out of range.", fix="Pass seconds above 0.")

    @classmethod
    def of(cls, given: Gang | int | None) -> Gang:
        """What ``fit`` was given as ``gang=``: a Gang, a number of ranks, or None."""
        return given if isinstance(given, Gang) else cls(world=given)


@dataclass(frozen=True, eq=False)
class Share:
    """A view's rows as the ranks read them.

    Parameters
    ----------
    reader : Reader
    view : View
        Without its dataset.
    key : CacheKey or None
        Where the view is cached.
    blocks : tuple of tuple of Block
        Each rank's, in order of rank.
    """

    reader: Any
    view: View
    key: Any
    blocks: tuple[tuple[Block, ...], ...]

    @classmethod
    def of(cls, view: View, world: int) -> Share:
        """A view's blocks dealt out to ``world`` ranks; a rank may get none where there are fewer blocks."""
        reader = view.dataset.select(view.columns).reader(batch_rows=view.batch_rows)
        key = None if view.prepare is None else view.cache_key
        return cls(reader, replace(view, dataset=None), key, dealt(view.dataset, world))  # type: ignore[arg-type]

    def batches(self, blocks: Sequence[Block]) -> Iterator[Any]:
        """The rows of some blocks: a Batch each, or a CachedBatch where the view is cached."""
        from parquetry.block_cache import cached_batches

        for block in blocks:
            if self.key is not None:
                yield from cached_batches(self.reader, block, self.view, self.key)
                continue
            for table, rows in self.reader.read(block):
                yield Batch(table, rows, block, self.view)


@dataclass(frozen=True)
class Outcome:
    """What a gang has given.

    Attributes
    ----------
    results : list
        Of each rank, in order.
    world : int
        How many ranks there were.
    starts : int
        How often the gang was started; 1 where no rank was lost.
    """

    results: list[Any]
    world: int
    starts: int

    @property
    def said(self) -> str:
        """A sentence for the fit's report."""
        again = "" if self.starts == 1 else f"; started {self.starts} times, as a rank was lost"
        return f"trained by a gang of {self.world} (world={self.world}){again}"


@dataclass(frozen=True, eq=False)
class GangWork(Work):
    """Work for ``drive``: a training that all ranks of a gang run at the same time.

    Parameters
    ----------
    name : str
        The estimator, for labels and errors.
    training : callable
        Runs in each rank's process and is given its Rank; what it returns comes back, in order of rank.
    views : mapping of str to View
        What the ranks read. The first one, ``"train"``, bounds the number of ranks.
    gang : Gang
    threads : int, default 1
        Of each rank. It is not taken from the engine: sums over several threads differ in their last bits.
    needs : float, default 0.0
        Bytes that all ranks together hold of the data.
    memory : int or None, default None
        Bytes that one rank may take.
    """

    name: str
    training: Training
    views: Mapping[str, View]
    gang: Gang = field(default_factory=Gang)
    threads: int = 1
    needs: float = 0.0
    memory: int | None = None

    def run(self, engine: Engine, verb: str) -> Outcome:
        from parquetry.engine import SupportsGang

        if not isinstance(engine, SupportsGang):
            raise NotEnoughSlots(
                f"{self.name}: the engine {engine.name!r} runs no gangs.",
                why="The ranks of a boosted model's training must run at the same time.",
                fix="Use the local, dask or spark engine.",
            )
        world = self._world(engine)
        self._check_memory(world)
        shares = {name: Share.of(view, world) for name, view in self.views.items()}
        label = f"{verb}-{self.name}-gang"
        for start in range(1 + self.gang.retries):
            task = Supervise.of(self.training, shares, self.gang, self.threads, label, start)
            try:
                return Outcome(self._run(engine, task, world, label, again=start > 0), world, start + 1)
            except EngineLost as error:
                if start == self.gang.retries:
                    raise self._lost(error) from error
        raise AssertionError("not reached")

    def _run(self, engine: SupportsGang, task: Supervise, world: int, label: str, *, again: bool) -> list[Any]:
        """Run the gang; where it is started again, a worker that was lost has time to come back."""
        end = time.monotonic() + (_RETURN_SECONDS if again else 0.0)
        while True:
            try:
                return engine.gang(task, world, label=label)
            except NotEnoughSlots:
                if time.monotonic() > end:
                    raise
                time.sleep(1.0)

    def _world(self, engine: Engine) -> int:
        most = sum(1 for _, rows in counted(self.views["train"].dataset) if rows)
        if self.gang.world is None:
            return max(1, min(engine.parallelism, most))
        if self.gang.world > most:
            raise BadParameter(
                f"{self.name}: world={self.gang.world} ranks, and only {most} blocks (row groups) with rows.",
                why="A rank without rows has nothing to train on.",
                fix=f"Lower world to {most} or less, or write the data with smaller row groups.",
            )
        return self.gang.world

    def _check_memory(self, world: int) -> None:
        share = self.needs / world
        if self.memory is not None and share > self.memory:
            raise TooBigForOneNode(
                f"{self.name}: each of {world} ranks would hold {share / 2**20:,.0f} MiB of binned rows, and may take "
                f"{self.memory / 2**20:,.0f} MiB.",
                why="A rank keeps its rows in memory, a byte or two a value, while it trains.",
                fix="Raise world (gang=) with more workers, give workers more memory, or fit on a sample.",
            )

    def _lost(self, error: EngineLost) -> GangLost:
        checkpoint = self.gang.checkpoint
        kept = f"The trees so far are in {checkpoint}. " if checkpoint else ""
        again = "gang=Gang(retries=…, checkpoint=…) starts again by itself. If memory ran out, give workers more."
        return GangLost(error.fact, why=error.why, fix=error.fix or kept + again)


def counted(dataset: Dataset) -> list[tuple[Block, int]]:
    """Every block with its number of rows after splits and folds; nothing is read."""
    if not dataset.row_filters:
        return [(b, b.num_rows) for b in dataset.blocks]
    return [(b, int(np.count_nonzero(dataset._mask(b)))) for b in dataset.blocks]


def dealt(dataset: Dataset, world: int) -> tuple[tuple[Block, ...], ...]:
    """The blocks with rows in ``world`` consecutive parts of about as many rows each.

    No part is empty where there are as many blocks as parts.
    """
    blocks = [(b, n) for b, n in counted(dataset) if n]
    ends = np.cumsum([n for _, n in blocks]) if blocks else np.zeros(0, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    cuts = [0]
    for rank in range(1, world):
        cut = int(np.argmin(np.abs(ends - total * rank / world))) + 1 if len(ends) else 0
        least, most = cuts[-1] + 1, len(blocks) - (world - rank)
        cuts.append(max(min(max(cut, least), most), cuts[-1]))
    cuts.append(len(blocks))
    return tuple(tuple(b for b, _ in blocks[a:z]) for a, z in pairwise(cuts))
