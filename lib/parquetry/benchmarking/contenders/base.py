"""What a contender is: opened, warmed up, then timed from a folder of Parquet to the answer."""

from __future__ import annotations

from abc import ABC
from typing import Any

import numpy as np

from parquetry.benchmarking.rows import CLUSTERS
from parquetry.benchmarking.sets import BenchmarkSet


class Contender(ABC):  # noqa: B024 (which rows it offers is its own affair)
    """One side of the comparison: a method for each row that it offers, named like the row.

    Parameters
    ----------
    data : BenchmarkSet
    workers : int
        Threads or cores that it may use.
    memory : int or None
        Bytes for one worker, where the contender has such a setting.
    peer_python : str or None, default None
        The interpreter of a peer that has an environment of its own.
    """

    def __init__(self, data: BenchmarkSet, workers: int, memory: int | None, peer_python: str | None = None) -> None:
        self.data, self.workers, self.memory, self.peer_python = data, workers, memory, peer_python

    @classmethod
    def offers(cls, row: str) -> bool:
        """Whether it has what the row measures."""
        return hasattr(cls, method_of(row))

    @classmethod
    def missing(cls, _peer_python: str | None) -> str | None:
        """What it needs that is not installed, and how to get it; None where all is there."""
        return None

    def open(self) -> None:  # noqa: B027 (most have nothing to do here)
        """Start what runs the work; not timed."""

    def prepare(self) -> None:  # noqa: B027 (most have nothing to do here)
        """Fit the model that ``predict`` uses, on the few rows of the warm-up; not timed."""

    def take(self, row: str, path: str, to: str) -> list[float]:
        """Do a row's work on a folder; ``predict`` and ``ingest`` write to ``to``."""
        method = getattr(self, method_of(row))
        answer: list[float] = method(path, to) if row in ("predict", "ingest") else method(path)
        return answer

    def close(self) -> None:  # noqa: B027 (most have nothing to do here)
        """End what ``open`` has started."""


def method_of(row: str) -> str:
    """The name of the method that does a row's work."""
    return row.replace("-", "_")


def first_centers(data: BenchmarkSet) -> Any:
    """The centers that every k-means starts from; shape ``(CLUSTERS, n_features)``."""
    return np.random.default_rng(0).normal(size=(CLUSTERS, len(data.features)))


def weights(model: Any) -> list[float]:
    """A linear model's coefficients, then its intercept."""
    return [*np.ravel(model.coef_), *np.ravel(model.intercept_)]
