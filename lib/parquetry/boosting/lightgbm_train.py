"""One rank's part of a LightGBM training: its rows, the network, and the rounds.

Training is LightGBM's own (``tree_learner="data"``): ranks add up their histograms over LightGBM's
own sockets, and every rank grows the same trees. Validation rows are held and scored by rank 0,
which tells the others each round, so that all stop at the same one and every metric is exact.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from multiprocessing.connection import Client, Listener
from typing import TYPE_CHECKING, Any

import numpy as np
from lightgbm import early_stopping, record_evaluation
from lightgbm.basic import Booster, Dataset, EvalResult, LightGBMError, _c_str, _InnerPredictor, _safe_call
from lightgbm.callback import CallbackEnv, EarlyStopException
from lightgbm.libpath import _LIB

from parquetry.boosting.checkpoints import Checkpoint
from parquetry.boosting.lightgbm_data import Rows, complete, streamed
from parquetry.boosting.lightgbm_params import refused, value, without
from parquetry.boosting.queries import Parts, whole_queries
from parquetry.errors import EngineLost
from parquetry.rows import combined_mask

if TYPE_CHECKING:
    from parquetry.boosting.child import Rank

_PORTS = (20_000, 32_000)  # below those that a system gives to callers of others
_BIND_TRIES = 5
_WAIT_MINUTES = 1
_OF_THE_NETWORK = ("socket", "connect", "binding", "bind ", "network", "linkers", "machine list")

QUERIES = "train-queries"
"""The share of a ranker that holds the query ids alone."""

Results = list[Any]


@dataclass(frozen=True)
class Stopping:
    """When training stops early: LightGBM's own ``early_stopping``."""

    rounds: int
    first_metric_only: bool = False
    min_delta: Any = 0.0


@dataclass
class Trained:
    """What rank 0 brings home.

    Attributes
    ----------
    booster : lightgbm.Booster
    history : dict
        LightGBM's ``evals_result_``.
    """

    booster: Booster
    history: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Training:
    """What every rank runs.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    bins : bytes
        What ``lightgbm_data.reference`` gave.
    params : mapping
        LightGBM's, but for those of the network.
    rounds : int
    names : tuple of str or None
        Of X's columns.
    categories : list or None
        The categories of each column of text, in order.
    objective : callable or None
        Takes raw predictions and a Dataset, gives gradients and hessians.
    metrics : tuple of callable
        Take predictions and a Dataset, give name, value and whether more is better.
    stopping : Stopping or None
    key : str
        What tells this fit from others, for its checkpoints.
    queries : mapping of str to mapping
        Of a ranker, for each share: what ``QueryEdges`` has found.
    """

    who: str
    bins: bytes
    params: Mapping[str, Any]
    rounds: int
    names: tuple[str, ...] | None = None
    categories: list[Any] | None = None
    objective: Callable[..., Any] | None = None
    metrics: tuple[Callable[..., Any], ...] = ()
    stopping: Stopping | None = None
    key: str = ""
    queries: Mapping[str, Mapping[int, int]] = field(default_factory=dict)

    def __call__(self, rank: Rank) -> Trained | str:
        params = {**self.params, "num_threads": rank.threads}
        if rank.world > 1:
            learner = value(params, "tree_learner", "serial")
            params = without(params, "tree_learner") | {"num_machines": rank.world, "pre_partition": True}
            params["tree_learner"] = "data" if learner == "serial" else learner
        checkpoint = Checkpoint.of(rank, self.key)
        try:
            kept = _resumed(rank, checkpoint)
            train = self._read(rank, "train", self.bins, params, kept)
            valid = None
            if rank.has("validation") and rank.rank == 0:
                valid = self._read(rank, "validation", train, params, kept)
            with _network(rank), _told(rank, needed=rank.has("validation")) as tell:
                trained = self._rounds(Round(rank, params, tell, checkpoint, kept), train, valid)
        except LightGBMError as error:
            if any(word in str(error).lower() for word in _OF_THE_NETWORK):
                raise EngineLost(f"{self.who}: rank {rank.rank} has lost the others.", why=str(error)) from error
            raise refused(self.who, error) from error
        return _same_everywhere(rank, trained)

    def _read(
        self, rank: Rank, name: str, bins: bytes | Dataset, params: Mapping[str, Any], kept: Kept | None
    ) -> Dataset:
        """Stream a share into a Dataset: this rank's rows, or all of them for validation."""
        parts = self._parts(rank, name)
        count = self._count(rank, name)
        beside = _Beside(np.empty(count, dtype=np.float32))

        def matrices() -> Iterator[Any]:
            for x, y, w, g in parts:
                beside.take(y, w, g)
                if kept is not None:
                    beside.scores.append(kept.booster.predict(x, raw_score=True, num_threads=rank.threads))
                yield x

        data = complete(streamed(bins, count, matrices(), params), beside.rows(), self.names, self.categories)
        data._predictor = None if kept is None else kept.predictor
        return data

    def _parts(self, rank: Rank, name: str) -> Iterator[Parts]:
        """The rows of this rank, queries whole; or all rows for validation."""
        if name == "train" and self.queries:
            return whole_queries(rank, name, dict(self.queries[name]), _Taken(rank.view(name).group))
        taken = _Taken(rank.view(name).group)
        return map(taken, rank.batches(name, of_all=name == "validation"))

    def _count(self, rank: Rank, name: str) -> int:
        """How many rows ``_parts`` will give: LightGBM wants to know beforehand."""
        if name == "train" and self.queries:
            # The ids alone are in the block cache.
            return sum(len(g) for *_, g in whole_queries(rank, QUERIES, dict(self.queries[name]), _ids))
        filters = rank._shares[name].reader.row_filters
        total = 0
        for block in rank.blocks(name, of_all=name == "validation"):
            mask = combined_mask(filters, block.name, block.row_group, block.num_rows)
            total += block.num_rows if mask is None else int(mask.sum())
        return total

    def _rounds(self, now: Round, train: Dataset, valid: Dataset | None) -> Trained:
        booster = Booster(params=dict(now.params), train_set=train)
        if valid is not None:
            booster.add_valid(valid, "valid_0")
        booster.best_iteration = 0
        history: dict[str, Any] = {}
        seen: list[Results] = []
        results: Results = []
        callbacks = self._callbacks(history)
        try:
            for i in range(self.rounds):
                if now.kept is not None and i < len(now.kept.history):
                    results = now.kept.history[i]
                else:
                    booster.update(fobj=self.objective)
                    now.rank.done(i + 1)
                    results = now.tell(lambda: booster.eval_valid(list(self.metrics)) if valid is not None else [])
                seen.append(list(results))
                for callback in callbacks:
                    callback(CallbackEnv(booster, dict(now.params), i, 0, self.rounds, results))
                now.keep(booster, seen)
        except EarlyStopException as stopped:
            booster.best_iteration = stopped.best_iteration + 1
            results = list(stopped.best_score)
        booster.best_score = defaultdict(OrderedDict)
        for result in results:
            booster.best_score[result.dataset_name][result.metric_name] = result.metric_value
        booster.model_from_string(booster.model_to_string()).free_dataset()
        if now.checkpoint is not None and now.rank.rank == 0:
            now.checkpoint.remove()
        return Trained(booster, history)

    def _callbacks(self, history: dict[str, Any]) -> list[Callable[[CallbackEnv], None]]:
        found: list[Callable[[CallbackEnv], None]] = [record_evaluation(history)]
        if self.stopping is not None:
            stop = self.stopping
            options = {"first_metric_only": stop.first_metric_only, "min_delta": stop.min_delta, "verbose": False}
            found.append(early_stopping(stop.rounds, **options))
        return found


Tell = Callable[[Callable[[], Results]], Results]
"""Gives rank 0's results to all: it is handed what computes them, which only rank 0 calls."""


@dataclass(frozen=True, eq=False)
class Kept:
    """The trees of a checkpoint, and what was told after each of their rounds."""

    booster: Booster
    history: list[Results]

    @cached_property
    def predictor(self) -> _InnerPredictor:
        """By which LightGBM puts the trees in front of those that follow."""
        return _InnerPredictor.from_booster(self.booster, pred_parameter={})


@dataclass(frozen=True, eq=False)
class Round:
    """What the rounds of a rank have at hand."""

    rank: Rank
    params: Mapping[str, Any]
    tell: Tell
    checkpoint: Checkpoint | None
    kept: Kept | None

    def keep(self, booster: Booster, seen: list[Results]) -> None:
        """Write a checkpoint, where one is due."""
        due = self.checkpoint is not None and len(seen) % self.rank.gang.checkpoint_every == 0
        known = 0 if self.kept is None else len(self.kept.history)
        if self.checkpoint is None or not due or self.rank.rank or len(seen) <= known:
            return
        told = [[list(result)[:4] for result in results] for results in seen]
        text = booster.model_to_string(num_iteration=-1)
        self.checkpoint.write(json.dumps({"history": told, "model": text}).encode())


def _resumed(rank: Rank, checkpoint: Checkpoint | None) -> Kept | None:
    """The last checkpoint, the same on every rank."""
    if checkpoint is None:
        return None
    content = checkpoint.read() if rank.rank == 0 else None
    told = rank.all_gather("" if content is None else content.decode())[0]
    if not told:
        return None
    found = json.loads(told)
    history = [[EvalResult(*result) for result in results] for results in found["history"]]
    return Kept(Booster(model_str=found["model"]), history)


@dataclass
class _Beside:
    """Labels, weights, queries and scores of the rows that stream by."""

    label: Any
    seen: int = 0
    weights: list[Any] = field(default_factory=list)
    queries: list[Any] = field(default_factory=list)
    scores: list[Any] = field(default_factory=list)

    def take(self, y: Any, weights: Any, ids: Any) -> None:
        """Those of the next rows."""
        self.label[self.seen : self.seen + len(y)] = y
        self.seen += len(y)
        if weights is not None:
            self.weights.append(weights.astype(np.float32))
        if ids is not None:
            self.queries.append(np.array(ids))

    def rows(self) -> Rows:
        """All of them."""
        weights, scores = (np.concatenate(p) if p else None for p in (self.weights, self.scores))
        group = None
        if self.queries:
            ids = np.concatenate(self.queries)
            starts = np.flatnonzero(np.append(True, ids[1:] != ids[:-1]))
            group = np.diff(np.append(starts, len(ids))).astype(np.int32)
        return Rows(self.label, weights, group, scores)


@dataclass(frozen=True)
class _Taken:
    """X, y, weights and query ids of a batch."""

    group: str | None

    def __call__(self, batch: Any) -> Parts:
        ids = None if self.group is None else batch.table.column(self.group).to_numpy()
        return batch.matrix, batch.y_floats[0], batch.weights, ids


def _ids(batch: Any) -> Parts:
    ids = batch.arrays["g"]
    return ids, ids, None, ids


def _same_everywhere(rank: Rank, trained: Trained) -> Trained | str:
    """What rank 0 brings home, once it is known that every rank has grown the same trees."""
    digest = hashlib.sha256(trained.booster.model_to_string().encode()).hexdigest()
    if rank.world > 1 and len(set(rank.all_gather(digest))) > 1:
        raise EngineLost(
            "The ranks have grown different trees.",
            why="Their processors, or their versions of LightGBM, differ.",
            fix="Install the same packages on all workers.",
        )
    return digest if rank.rank else trained


# --- the network -----------------------------------------------------------------------------
@contextlib.contextmanager
def _network(rank: Rank) -> Iterator[None]:
    """LightGBM's own network between the ranks, for the time of a training."""
    if rank.world == 1:
        yield
        return
    address = _address(rank.host)
    with _free_port(address) as port:
        machines = rank.all_gather(f"{address}:{port}")
    _link(",".join(machines), port, rank.world)
    try:
        yield
    finally:
        _LIB.LGBM_NetworkFree()


def _link(machines: str, port: int, world: int) -> None:
    """Not by way of parameters, which would make the ports a part of the model's text."""
    for left in range(_BIND_TRIES, 0, -1):
        try:
            _safe_call(
                _LIB.LGBM_NetworkInit(
                    _c_str(machines), ctypes.c_int(port), ctypes.c_int(_WAIT_MINUTES), ctypes.c_int(world)
                )
            )
            return
        except LightGBMError as error:
            # Somebody took the port in the moment between. The others keep knocking for a while.
            if "bind" not in str(error).lower() or left == 1:
                raise
            time.sleep(0.5)


def _address(host: str) -> str:
    """A host as LightGBM looks for it among the addresses of its own machine."""
    address = socket.gethostbyname(host)
    return "127.0.0.1" if address.startswith("127.") else address


@contextlib.contextmanager
def _free_port(address: str) -> Iterator[int]:
    """A port that nobody listens on, held for as long as the others have not chosen theirs."""
    chooser = np.random.default_rng()
    with socket.socket() as held:
        for _ in range(1000):
            port = int(chooser.integers(*_PORTS))
            with contextlib.suppress(OSError):
                held.bind((address, port))
                yield port
                return
    raise EngineLost(f"No port of {address} from {_PORTS[0]} to {_PORTS[1]} is free.")


@contextlib.contextmanager
def _told(rank: Rank, *, needed: bool) -> Iterator[Tell]:
    """A line from rank 0 to every other rank."""
    if not needed or rank.world == 1:
        yield lambda compute: compute() if needed else []
        return
    address = _address(rank.host)
    if rank.rank:
        place, port, told = rank.all_gather("")[0].split()
        with Client((place, int(port)), authkey=bytes.fromhex(told)) as line:
            yield lambda _: _heard(line)
        return
    key = os.urandom(16)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(Listener((address, 0), authkey=key, backlog=rank.world))
        rank.all_gather(f"{address} {listener.address[1]} {key.hex()}")
        lines = [stack.enter_context(listener.accept()) for _ in range(rank.world - 1)]

        def tell(compute: Callable[[], Results]) -> Results:
            results = compute()
            for line in lines:
                line.send(results)
            return results

        yield tell


def _heard(line: Any) -> Results:
    try:
        results: Results = line.recv()
    except (EOFError, OSError) as error:
        raise EngineLost("Rank 0 has ended.") from error
    return results
