"""What is measured: the bare scan, Parquetry on each engine, and its peers as their users write them.

A contender is opened, does its work on a few rows to warm up, and is then timed from a folder of
Parquet to the answer. What it imports is imported in its own process only.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from parquetry.benchmarking.sets import BenchmarkSet

ROWS = ("linear", "standardize", "predict")
"""Linear regression; means and deviations of all features; predictions written as Parquet."""


class Contender(ABC):
    """One side of the comparison.

    Parameters
    ----------
    data : BenchmarkSet
    workers : int
        Threads or cores that it may use.
    memory : int or None
        Bytes for one worker, where the contender has such a setting.
    """

    def __init__(self, data: BenchmarkSet, workers: int, memory: int | None) -> None:
        self.data, self.workers, self.memory = data, workers, memory

    def open(self) -> None:  # noqa: B027 (most have nothing to do here)
        """Start what runs the work; not timed."""

    def prepare(self) -> None:  # noqa: B027 (most have nothing to do here)
        """Fit the model that ``predict`` uses, on the few rows of the warm-up; not timed."""

    @abstractmethod
    def linear(self, path: str) -> list[float]:
        """Fit a linear regression: its weights, then its intercept."""

    @abstractmethod
    def standardize(self, path: str) -> list[float]:
        """Fit a standard scaler: the means, then the deviations."""

    @abstractmethod
    def predict(self, path: str, to: str) -> list[float]:
        """Write predictions as Parquet to a new folder; what was written is looked at afterwards."""

    def close(self) -> None:  # noqa: B027 (most have nothing to do here)
        """End what ``open`` has started."""


class Scan(Contender):
    """The limit: the same columns of the same row groups read by as many threads, and dropped."""

    def linear(self, path: str) -> list[float]:
        return self._scan(path, [*self.data.features, self.data.target])

    def standardize(self, path: str) -> list[float]:
        return self._scan(path, list(self.data.features))

    def predict(self, path: str, to: str) -> list[float]:
        return self._scan(path, list(self.data.features))

    def _scan(self, path: str, columns: list[str]) -> list[float]:
        names = sorted(os.path.join(path, n) for n in os.listdir(path) if n.endswith(".parquet"))
        footers = [(name, pq.read_metadata(name)) for name in names]
        groups = [(name, footer, i) for name, footer in footers for i in range(footer.num_row_groups)]

        def read(group: tuple[str, Any, int]) -> int:
            name, footer, index = group
            with pq.ParquetFile(name, metadata=footer, memory_map=False, pre_buffer=False) as file:
                return int(file.read_row_group(index, columns=columns, use_threads=False).num_rows)

        with ThreadPoolExecutor(self.workers) as pool:
            sum(pool.map(read, groups))
        return []


class Ours(Contender):
    """Parquetry on one of its engines."""

    engine_name: str

    def open(self) -> None:
        from parquetry.engine import open_engine

        self.engine = open_engine(self.engine_name, workers=self.workers, memory=self.memory, progress=False)

    def close(self) -> None:
        self.engine.close()

    def prepare(self) -> None:
        self.model = self._fit_linear(self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        return _weights(self._fit_linear(path))

    def standardize(self, path: str) -> list[float]:
        from sklearn.preprocessing import StandardScaler

        from parquetry.fitting import fit

        model = fit(StandardScaler(), path, features=list(self.data.features), engine=self.engine)
        return [*model.mean_, *model.scale_]

    def predict(self, path: str, to: str) -> list[float]:
        from parquetry.scoring import predict

        predict(self.model, path, to=to, engine=self.engine)
        return []

    def _fit_linear(self, path: str) -> Any:
        from sklearn.linear_model import LinearRegression

        from parquetry.fitting import fit

        data = self.data
        return fit(LinearRegression(), path, target=data.target, features=list(data.features), engine=self.engine)


class OursLocal(Ours):
    """Parquetry on this machine, with threads."""

    engine_name = "local"


class OursDask(Ours):
    """Parquetry on a Dask cluster of this machine, a process for each worker."""

    engine_name = "dask"


class OursSpark(Ours):
    """Parquetry on Spark's ``local[workers]``."""

    engine_name = "spark"


class SparkMLlib(Contender):
    """``pyspark.ml`` with its default settings, on the session that Parquetry opens for itself."""

    def open(self) -> None:
        from parquetry.engine import open_engine

        self.engine: Any = open_engine("spark", workers=self.workers, memory=self.memory, progress=False)

    def close(self) -> None:
        self.engine.close()

    def prepare(self) -> None:
        self.model = self._fit_linear(self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        model = self._fit_linear(path)
        return [*model.coefficients.toArray(), model.intercept]

    def standardize(self, path: str) -> list[float]:
        from pyspark.ml.feature import StandardScaler

        model = StandardScaler(inputCol="features", outputCol="scaled", withMean=True).fit(self._vectors(path))
        return [*model.mean.toArray(), *model.std.toArray()]

    def predict(self, path: str, to: str) -> list[float]:
        self.model.transform(self._vectors(path)).select("prediction").write.parquet(to)
        return []

    def _fit_linear(self, path: str) -> Any:
        from pyspark.ml.regression import LinearRegression

        return LinearRegression(featuresCol="features", labelCol=self.data.target).fit(self._vectors(path))

    def _vectors(self, path: str) -> Any:
        from pyspark.ml.feature import VectorAssembler

        frame = self.engine.session.read.parquet(path)
        return VectorAssembler(inputCols=list(self.data.features), outputCol="features").transform(frame)


class DaskML(Contender):
    """dask-ml with its default settings, on the cluster that Parquetry opens for itself."""

    def open(self) -> None:
        from parquetry.engine import open_engine

        self.engine: Any = open_engine("dask", workers=self.workers, memory=self.memory, progress=False)

    def close(self) -> None:
        self.engine.close()

    def prepare(self) -> None:
        # ParallelPostFit is for a model that was fitted on one machine.
        self.model = _fit_in_memory(self.data, self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        import dask.dataframe as dd
        from dask_ml.linear_model import LinearRegression

        data = self.data
        # Its solver reads the rows many times. On an array that still hangs on read_parquet it stops with "lost
        # dependencies" (dask-ml 2025.1.0 on current Dask); with the frame in the workers' memory it works.
        frame = dd.read_parquet(path, columns=[*data.features, data.target]).persist()
        lengths = tuple(frame.map_partitions(len).compute())
        x = frame[list(data.features)].to_dask_array(lengths=lengths)
        y = frame[data.target].to_dask_array(lengths=lengths)
        model = LinearRegression().fit(x, y)
        return [*model.coef_, model.intercept_]

    def standardize(self, path: str) -> list[float]:
        import dask.dataframe as dd
        from dask_ml.preprocessing import StandardScaler

        model = StandardScaler().fit(dd.read_parquet(path, columns=list(self.data.features)))
        return [*np.asarray(model.mean_), *np.asarray(model.scale_)]

    def predict(self, path: str, to: str) -> list[float]:
        import dask.dataframe as dd
        from dask_ml.wrappers import ParallelPostFit

        x = dd.read_parquet(path, columns=list(self.data.features)).to_dask_array()
        dd.from_dask_array(ParallelPostFit(self.model).predict(x), columns=["prediction"]).to_parquet(to)
        return []


class PandasSklearn(Contender):
    """pandas reads everything, scikit-learn fits."""

    def prepare(self) -> None:
        self.model = _fit_in_memory(self.data, self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        return _weights(_fit_in_memory(self.data, path))

    def standardize(self, path: str) -> list[float]:
        import pandas as pd
        from sklearn.preprocessing import StandardScaler

        model = StandardScaler().fit(pd.read_parquet(path, columns=list(self.data.features)))
        return [*model.mean_, *model.scale_]

    def predict(self, path: str, to: str) -> list[float]:
        import pandas as pd

        frame = pd.read_parquet(path, columns=list(self.data.features))
        os.makedirs(to)
        predictions = self.model.predict(frame.to_numpy())
        pd.DataFrame({"prediction": predictions}).to_parquet(os.path.join(to, "part-0.parquet"))
        return []


CONTENDERS: dict[str, type[Contender]] = {
    "scan": Scan,
    "ours-local": OursLocal,
    "ours-dask": OursDask,
    "ours-spark": OursSpark,
    "spark-mllib": SparkMLlib,
    "dask-ml": DaskML,
    "pandas-sklearn": PandasSklearn,
}


def _fit_in_memory(data: BenchmarkSet, path: str) -> Any:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    frame = pd.read_parquet(path, columns=[*data.features, data.target])
    return LinearRegression().fit(frame[list(data.features)].to_numpy(), frame[data.target].to_numpy())


def _weights(model: Any) -> list[float]:
    return [*model.coef_, model.intercept_]
