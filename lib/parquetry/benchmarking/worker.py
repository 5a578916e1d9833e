"""The fresh process of one contender: ``python -m parquetry.benchmarking.worker ORDER RESULT``.

It reads its order as JSON, and writes what it has measured so far as JSON after every repetition.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import sys
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parquetry.benchmarking.sets import BenchmarkSet


@dataclass(frozen=True)
class Order:
    """What one process has to do.

    Attributes
    ----------
    row : str
        The work: one of ``rows.ROWS``.
    contender : str
        One of ``contenders.CONTENDERS``.
    data : BenchmarkSet
    repeat, workers : int
    memory : int or None
    peer_python : str or None, default None
        The interpreter of a peer that has an environment of its own.
    """

    row: str
    contender: str
    data: BenchmarkSet
    repeat: int
    workers: int
    memory: int | None
    peer_python: str | None = None

    def to_json(self) -> str:
        """The order as the worker reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """The inverse of ``to_json``."""
        values: dict[str, Any] = json.loads(text)
        data = values.pop("data")
        return cls(data=BenchmarkSet(**{**data, "features": tuple(data["features"])}), **values)


def work(order: Order, result: Path) -> None:
    """Open the contender, warm it up, time it, and keep ``result`` up to date.

    What ``predict`` writes goes beside ``result``, and is removed outside the timing.
    """
    to, cache = os.path.join(result.parent, "predictions"), os.path.join(result.parent, "cache")
    found: dict[str, Any] = {"seconds": [], "answer": [], "error": None}
    contender = None
    try:
        _hold_to_cores(order.workers)
        # Engines of ours keep decoded blocks on disk: each repetition begins without any.
        os.environ["PARQUETRY_CACHE_DIR"] = cache
        from parquetry.benchmarking.contenders import CONTENDERS

        contender = CONTENDERS[order.contender](order.data, order.workers, order.memory, order.peer_python)
        contender.open()
        if order.row == "predict":
            contender.prepare()
        _once(contender, order.row, order.data.warm_up, to)
        for _ in range(order.repeat):
            _empty(cache)
            seconds, found["answer"] = _once(contender, order.row, order.data.path, to)
            found["seconds"].append(seconds)
            _save(found, result)
    except Exception as error:  # noqa: BLE001 (whatever goes wrong in a contender is its result)
        traceback.print_exc()
        found["error"] = f"{type(error).__name__}: {error}"
    _save(found, result)
    if contender is not None:
        contender.close()


def _once(contender: Any, row: str, path: str, to: str) -> tuple[float, list[float]]:
    gc.collect()
    started = time.perf_counter()
    answer = contender.take(row, path, to)
    seconds = time.perf_counter() - started
    if os.path.isdir(to):
        answer = _written(to)
        shutil.rmtree(to)
    return seconds, [float(v) for v in answer]


def _empty(folder: str) -> None:
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        os.unlink(os.path.join(folder, name))


def _written(path: str) -> list[float]:
    """What tells two sets of predictions, or of ingested rows, apart: how many, mean, deviation, least and greatest."""
    import numpy as np
    import pyarrow.parquet as pq

    names = pq.read_schema(next(iter(sorted(Path(path).rglob("*.parquet"))))).names
    column = "prediction" if "prediction" in names else "amount"
    values = np.concatenate(
        [pq.read_table(p, columns=[column])[column].to_numpy() for p in sorted(Path(path).rglob("*.parquet"))]
    )
    return [len(values), values.mean(), values.std(), values.min(), values.max()]


def _hold_to_cores(count: int) -> None:
    """Everybody gets the same number of cores, whatever thread pools it brings."""
    import pyarrow as pa

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])
    pa.set_cpu_count(count)


def _save(found: dict[str, Any], path: Path) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(found), encoding="utf-8")
    partial.replace(path)


if __name__ == "__main__":
    work(Order.from_json(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
