"""XGBoost's own ways to train on a cluster, on the engines that Parquetry opens for itself."""

from __future__ import annotations

from typing import Any

from parquetry.benchmarking.contenders.base import Contender
from parquetry.benchmarking.contenders.memory import total_gains
from parquetry.benchmarking.rows import BOOSTED_DEPTH, ROUNDS_BOOSTED

_MEMORY = 4 * 2**30  # in Spark's own default of 1 GiB five million rows do not fit


class _OnEngine(Contender):
    """What is run on an engine."""

    engine_name: str
    least_memory: int | None = None

    def open(self) -> None:
        from parquetry.engine import open_engine

        memory = self.memory or self.least_memory
        self.engine: Any = open_engine(self.engine_name, workers=self.workers, memory=memory, progress=False)

    def close(self) -> None:
        self.engine.close()


class XGBoostSpark(_OnEngine):
    """``xgboost.spark`` over ``spark.read.parquet``, a task a core."""

    engine_name, least_memory = "spark", _MEMORY

    def xgboost(self, path: str) -> list[float]:
        from xgboost.spark import SparkXGBClassifier

        estimator = SparkXGBClassifier(
            features_col=list(self.data.features),
            label_col=self.data.label,
            num_workers=self.workers,
            n_estimators=ROUNDS_BOOSTED,
            max_depth=BOOSTED_DEPTH,
        )
        frame = self.engine.session.read.parquet(path)
        return total_gains(estimator.fit(frame), self.data)


class XGBoostDask(_OnEngine):
    """``xgboost.dask`` over ``dask.dataframe.read_parquet``."""

    engine_name = "dask"

    def xgboost(self, path: str) -> list[float]:
        import dask.dataframe as dd
        from xgboost.dask import DaskXGBClassifier

        frame = dd.read_parquet(path, columns=[*self.data.features, self.data.label])
        estimator = DaskXGBClassifier(n_estimators=ROUNDS_BOOSTED, max_depth=BOOSTED_DEPTH)
        estimator.client = self.engine.client
        return total_gains(estimator.fit(frame[list(self.data.features)], frame[self.data.label]), self.data)
