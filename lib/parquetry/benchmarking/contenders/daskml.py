"""dask-ml with its default settings, on the cluster that Parquetry opens for itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from parquetry.benchmarking.contenders import memory
from parquetry.benchmarking.contenders.base import Contender, first_centers
from parquetry.benchmarking.rows import CLUSTERS, ROUNDS, TOLERANCE


class DaskML(Contender):
    """``dask_ml`` over ``dask.dataframe.read_parquet``; it has no trees and no ridge over folds."""

    def open(self) -> None:
        from parquetry.engine import open_engine

        self.engine: Any = open_engine("dask", workers=self.workers, memory=self.memory, progress=False)

    def close(self) -> None:
        self.engine.close()

    def prepare(self) -> None:
        # ParallelPostFit is for a model that was fitted on one machine.
        self.model = memory.fit_linear(self.data, self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        from dask_ml.linear_model import LinearRegression

        model = LinearRegression().fit(*self._arrays(path, self.data.target))
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

    def logistic(self, path: str) -> list[float]:
        from dask_ml.linear_model import LogisticRegression

        # Of its solvers, lbfgs is the one that can reach such a gradient.
        model = LogisticRegression(solver="lbfgs", C=1.0, tol=TOLERANCE).fit(*self._arrays(path, self.data.label))
        return [*np.ravel(model.coef_), *np.ravel(model.intercept_)]

    def pca(self, path: str) -> list[float]:
        from dask_ml.decomposition import PCA

        model = PCA(n_components=len(self.data.features), svd_solver="tsqr").fit(self._arrays(path))
        return [*np.asarray(model.explained_variance_)]

    def kmeans(self, path: str) -> list[float]:
        from dask_ml.cluster import KMeans

        model = KMeans(n_clusters=CLUSTERS, init=first_centers(self.data), max_iter=ROUNDS, tol=0.0)
        return [float(model.fit(self._arrays(path)).inertia_) / self.data.rows]

    def _arrays(self, path: str, target: str | None = None) -> Any:
        """X, or X and y, in the workers' memory.

        Over arrays that still hang on read_parquet its solvers stop with "lost dependencies", and so does any use of
        a frame read with few of its columns (dask-ml 2025.1.0 on current Dask): all columns are read, and kept.
        """
        import dask.dataframe as dd

        frame = dd.read_parquet(path).persist()
        lengths = tuple(frame.map_partitions(len).compute())
        x = frame[list(self.data.features)].to_dask_array(lengths=lengths)
        return x if target is None else (x, frame[target].to_dask_array(lengths=lengths))
