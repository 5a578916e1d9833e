"""What a rank does with XGBoost: its rows into a quantile matrix, then the estimator's own ``fit``.

Source: https://xgboost.readthedocs.io/en/stable/tutorials/external_memory.html (iterators) and
https://xgboost.readthedocs.io/en/stable/python/python_api.html#module-xgboost.collective.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import xgboost as xgb
from xgboost import collective
from xgboost.tracker import RabitTracker

from parquetry.boosting.checkpoints import Checkpoint
from parquetry.boosting.queries import query_weights
from parquetry.classical.tree_bins import Float32Array
from parquetry.errors import GangLost

if TYPE_CHECKING:
    from parquetry.boosting.child import Rank

_COLLECTIVE_SECONDS = 300  # that a rank waits for another inside a round
LEARNED = ("_Booster", "n_classes_", "objective", "evals_result_")


@dataclass(frozen=True, eq=False)
class Train:
    """A rank's training.

    Parameters
    ----------
    estimator : XGBModel
    points : list of ndarray of float32
        A feature's values between which to cut; see :func:`parquetry.boosting.cuts.points`.
    names : list of str or None
        Of X's columns, where they have any.
    types : list of str or None
        XGBoost's word for each column's type.
    categories : dict of int to list
        Of the columns that hold some.
    labels : ndarray
        A target that the estimator's own ``fit`` may look at: each class once.
    key : str
        What tells this fit from others, for its checkpoints.
    """

    estimator: Any
    points: list[Float32Array]
    names: list[str] | None
    types: list[str] | None
    categories: dict[int, pa.Array]
    labels: Any
    key: str

    def __call__(self, rank: Rank) -> dict[str, Any] | None:
        with xgb.config_context(verbosity=0):
            reference = self._reference(rank)
            train = self._matrix(rank, "train", reference)
            valid = self._matrix(rank, "validation", train) if rank.has("validation") else None
        with self._together(rank):
            fitted = self._fitted(rank, train, valid)
        return {k: v for k, v in vars(fitted).items() if k in LEARNED} if rank.rank == 0 else None

    def _fitted(self, rank: Rank, train: Any, valid: Any) -> Any:
        estimator = self.estimator
        checkpoint = Checkpoint.of(rank, self.key)
        model, done, before = self._resumed(rank, checkpoint)
        estimator.callbacks = [*(estimator.callbacks or []), _Rounds(rank, checkpoint, done, before)]
        estimator.n_jobs = rank.threads
        if done:
            estimator.n_estimators = estimator.get_num_boosting_rounds() - done
        # Instead of building matrices of the little that it is shown, its own fit takes ours.
        estimator._create_dmatrix = lambda ref, **_: train if ref is None else valid
        estimator._create_ltr_dmatrix = estimator._create_dmatrix
        x = np.zeros((len(self.labels), len(self.points)), dtype=np.float32)
        arguments: dict[str, Any] = {"verbose": False, "xgb_model": model}
        if valid is not None:
            arguments["eval_set"] = [(x.copy(), self.labels)]
        if rank.view("train").group is not None:
            arguments["group"] = [len(x)]
            if valid is not None:
                arguments["eval_group"] = [[len(x)]]
        estimator.fit(x, self.labels, **arguments)
        estimator._Booster.set_attr(**dict.fromkeys(("parquetry_key", "parquetry_history")))
        if before:
            estimator.evals_result_ = joined(before, getattr(estimator, "evals_result_", {}))
        return estimator

    def _resumed(self, rank: Rank, checkpoint: Checkpoint | None) -> tuple[Any, int, dict[str, Any]]:
        """The trees of the last checkpoint, their number, and their history, the same on every rank."""
        if checkpoint is None or self.estimator.early_stopping_rounds or self.estimator.callbacks:
            return None, 0, {}
        kept = checkpoint.read() if rank.rank == 0 else None
        told = rank.all_gather("" if kept is None else base64.b64encode(kept).decode())[0]
        if not told:
            return None, 0, {}
        model = xgb.Booster(model_file=bytearray(base64.b64decode(told)))
        return model, model.num_boosted_rounds(), json.loads(model.attr("parquetry_history") or "{}")

    @contextlib.contextmanager
    def _together(self, rank: Rank) -> Iterator[None]:
        if rank.world == 1:
            yield
            return
        tracker = None
        if rank.rank == 0:
            tracker = RabitTracker(n_workers=rank.world, host_ip=rank.host, sortby="task")
            tracker.start()
        told = rank.all_gather(json.dumps(tracker.worker_args()) if tracker is not None else "")[0]
        arguments = json.loads(told)
        try:
            with collective.CommunicatorContext(
                **arguments, dmlc_task_id=f"{rank.rank:08d}", dmlc_timeout=_COLLECTIVE_SECONDS
            ):
                if collective.get_rank() != rank.rank:
                    raise GangLost(f"XGBoost numbers rank {rank.rank} as {collective.get_rank()}.")
                yield
        except xgb.core.XGBoostError as error:
            raise GangLost(_first_line(error)) from error
        if tracker is not None:
            tracker.wait_for(timeout=60)

    def _reference(self, rank: Rank) -> Any:
        """A matrix of nothing but the points, from which the others take their cuts."""
        rows = max(map(len, self.points), default=1)
        x = np.full((rows, len(self.points)), np.nan, dtype=np.float32)
        for i, values in enumerate(self.points):
            x[: len(values), i] = values
        return xgb.QuantileDMatrix(
            self._dressed(x),
            np.zeros(rows, dtype=np.float32),
            feature_names=self.names,
            feature_types=self.types,
            max_bin=self.bins,
            nthread=rank.threads,
            enable_categorical=True,
        )

    @property
    def bins(self) -> int:
        """The most bins of a feature."""
        return self.estimator.max_bin or 256

    def _matrix(self, rank: Rank, name: str, reference: Any) -> Any:
        shards = _Shards(self, rank, name)
        return xgb.QuantileDMatrix(
            shards, max_bin=self.bins, nthread=rank.threads, ref=reference, enable_categorical=True
        )

    def _dressed(self, x: Any) -> Any:
        """A matrix as XGBoost should see it: a frame where columns hold categories."""
        if not self.categories:
            return x
        import pandas as pd

        columns = {}
        for i, name in enumerate(self.names or []):
            values = x[:, i]
            if i in self.categories:
                codes = np.nan_to_num(values, nan=-1).astype(np.int64)
                values = pd.Categorical.from_codes(codes, categories=pd.Index(self.categories[i].to_pandas()))
            columns[name] = values
        return pd.DataFrame(columns)


class _Shards(xgb.DataIter):
    """A rank's rows, one batch after another, as often as XGBoost asks for them."""

    def __init__(self, train: Train, rank: Rank, name: str) -> None:
        self._train, self._rank, self._name = train, rank, name
        self._batches: Iterator[dict[str, Any]] = iter(())
        super().__init__()

    def reset(self) -> None:
        self._batches = rows_of(self._rank, self._name)

    def next(self, input_data: Any) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        x = batch.pop("data")
        input_data(
            data=self._train._dressed(x), feature_names=self._train.names, feature_types=self._train.types, **batch
        )
        return True


def rows_of(rank: Rank, name: str) -> Iterator[dict[str, Any]]:
    """What XGBoost takes of each batch: ``data``, ``label``, ``weight``, ``qid``."""
    # A rank without a block of its own (few validation blocks) takes its share of the rows of each.
    sliced = not all(rank.blocks_of_each(name))
    batches = (_taken(b, rank if sliced else None) for b in rank.batches(name, of_all=sliced))
    if rank.view(name).group is None:
        yield from (_named(*parts) for parts in batches)
        return
    for x, y, w, g in whole_groups(batches):
        starts = np.flatnonzero(np.append(True, g[1:] != g[:-1]))
        yield _named(x, y, query_weights(w, starts)) | {"qid": np.unique(g, return_inverse=True)[1]}


def _taken(batch: Any, rank: Rank | None) -> tuple[Any, Any, Any, Any]:
    n = batch.num_rows
    chosen = slice(0, n) if rank is None else slice(n * rank.rank // rank.world, n * (rank.rank + 1) // rank.world)
    y = batch.arrays["y"][:, chosen]
    weights, groups = batch.weights, batch.arrays.get("g")
    return (
        batch.matrix[chosen],
        y[0] if len(y) == 1 else y.T,
        None if weights is None else weights[chosen],
        None if groups is None else groups[chosen],
    )


def _named(x: Any, y: Any, w: Any, _: Any = None) -> dict[str, Any]:
    return {"data": x, "label": y} | ({} if w is None else {"weight": w})


def whole_groups(batches: Iterable[tuple[Any, Any, Any, Any]]) -> Iterator[tuple[Any, Any, Any, Any]]:
    """The same rows cut anew, so that no query's rows fall into two batches."""
    held: list[tuple[Any, Any, Any, Any]] = []
    for parts in batches:
        g = parts[3]
        changes = np.flatnonzero(g[1:] != g[:-1]) + 1
        if held and g[0] != held[-1][3][-1]:
            yield _stacked(held)
            held = []
        last = int(changes[-1]) if len(changes) else 0
        if last:
            yield _stacked([*held, _part(parts, slice(0, last))])
            held = []
        held.append(_part(parts, slice(last, len(g)), copied=True))
    if held:
        yield _stacked(held)


def _part(parts: tuple[Any, Any, Any, Any], rows: slice, *, copied: bool = False) -> tuple[Any, Any, Any, Any]:
    x, y, w, g = (None if p is None else p[rows].copy() if copied else p[rows] for p in parts)
    return x, y, w, g


def _stacked(parts: list[tuple[Any, Any, Any, Any]]) -> tuple[Any, Any, Any, Any]:
    if len(parts) == 1:
        return parts[0]
    from scipy import sparse

    xs = [p[0] for p in parts]
    x = sparse.vstack(xs).tocsr() if hasattr(xs[0], "tocsr") else np.concatenate(xs)
    y, w, g = (None if parts[0][i] is None else np.concatenate([p[i] for p in parts]) for i in (1, 2, 3))
    return x, y, w, g


class _Rounds(xgb.callback.TrainingCallback):
    """Tells the supervisor of each round, and keeps the trees from time to time."""

    def __init__(self, rank: Rank, checkpoint: Checkpoint | None, done: int, before: dict[str, Any]) -> None:
        self._rank, self._checkpoint, self._done, self._before = rank, checkpoint, done, before

    def after_iteration(self, model: Any, epoch: int, evals_log: Any) -> bool:
        rounds = self._done + epoch + 1
        self._rank.done(rounds)
        if self._checkpoint is not None and rounds % self._rank.gang.checkpoint_every == 0:
            history = json.dumps(joined(self._before, evals_log))
            model.set_attr(parquetry_history=history)
            if self._rank.rank == 0:
                self._checkpoint.write(bytes(model.save_raw()))
        return False


def joined(before: dict[str, Any], after: Any) -> dict[str, Any]:
    """Two parts of a history, one after the other."""
    return {
        name: {metric: [*before.get(name, {}).get(metric, []), *map(float, scores)] for metric, scores in of.items()}
        for name, of in after.items()
    } or before


def _first_line(error: Exception) -> str:
    return str(error).split("\nStack trace", maxsplit=1)[0].strip().splitlines()[0]
