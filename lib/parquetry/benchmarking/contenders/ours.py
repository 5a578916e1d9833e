"""Parquetry on each of its engines: scikit-learn's own classes through ``fit``."""

from __future__ import annotations

from typing import Any

from parquetry.benchmarking.contenders import memory
from parquetry.benchmarking.contenders.base import Contender, first_centers, weights
from parquetry.benchmarking.rows import FOLDS, PENALTIES


class Ours(Contender):
    """Parquetry on one of its engines."""

    engine_name: str

    def open(self) -> None:
        from parquetry.engine import open_engine

        self.engine = open_engine(self.engine_name, workers=self.workers, memory=self.memory, progress=False)

    def close(self) -> None:
        self.engine.close()

    def prepare(self) -> None:
        from sklearn.linear_model import LinearRegression

        self.model = self._fit(LinearRegression(), self.data.warm_up, target=self.data.target)

    def linear(self, path: str) -> list[float]:
        from sklearn.linear_model import LinearRegression

        return weights(self._fit(LinearRegression(), path, target=self.data.target))

    def standardize(self, path: str) -> list[float]:
        from sklearn.preprocessing import StandardScaler

        model = self._fit(StandardScaler(), path)
        return [*model.mean_, *model.scale_]

    def predict(self, path: str, to: str) -> list[float]:
        from parquetry.scoring import predict

        predict(self.model, path, to=to, engine=self.engine)
        return []

    def ingest(self, path: str, to: str) -> list[float]:
        from parquetry.foundation.ingest import ingest

        # Inferred from the few rows of the warm-up: what is timed has its contract.
        done = ingest(path, to, contract=getattr(self, "contract", None), engine=self.engine)
        self.contract = done.contract
        return []

    def logistic(self, path: str) -> list[float]:
        return weights(self._fit(memory.logistic_estimator(), path, target=self.data.label))

    def pca(self, path: str) -> list[float]:
        from sklearn.decomposition import PCA

        return [*self._fit(PCA(), path).explained_variance_]

    def kmeans(self, path: str) -> list[float]:
        return [self._fit(memory.kmeans_estimator(first_centers(self.data)), path).inertia_ / self.data.rows]

    def ridge_grid(self, path: str) -> list[float]:
        from sklearn.linear_model import RidgeCV

        model = self._fit(RidgeCV(alphas=PENALTIES, cv=FOLDS), path, target=self.data.target)
        return [model.alpha_, *weights(model)]

    def tree(self, path: str) -> list[float]:
        model = self._fit(memory.tree_estimator(), path, target=self.data.label)
        return [*model.feature_importances_]

    def forest(self, path: str) -> list[float]:
        model = self._fit(memory.forest_estimator(self.workers), path, target=self.data.label)
        return [*model.feature_importances_]

    def xgboost(self, path: str) -> list[float]:
        return memory.total_gains(self._fit(memory.xgboost_estimator(1), path, target=self.data.label), self.data)

    def text(self, path: str) -> list[float]:
        from parquetry.fitting import fit

        pipeline = memory.text_estimator()
        model = fit(pipeline, path, features=list(self.data.features), target=self.data.label, engine=self.engine)
        return [float(len(model[0].vocabulary_))]

    def profile_pass(self, path: str) -> list[float]:
        columns = self._profile(path, "none").columns
        return [v for c in columns for v in (c.numbers.mean, c.numbers.deviation, c.minimum, c.maximum)]

    def profile(self, path: str) -> list[float]:
        columns = self._profile(path, "exact").columns
        return [v for c in columns for v in (c.numbers.mean, c.numbers.deviation, *c.quantiles.values[1:4])]

    def _profile(self, path: str, quantiles: str) -> Any:
        from parquetry.foundation.profile import profile

        return profile(path, features=list(self.data.features), quantiles=quantiles, engine=self.engine)

    def _fit(self, estimator: Any, path: str, target: str | None = None) -> Any:
        from parquetry.fitting import fit

        return fit(estimator, path, target=target, features=list(self.data.features), engine=self.engine)


class OursLocal(Ours):
    """Parquetry on this machine, with threads."""

    engine_name = "local"


class OursDask(Ours):
    """Parquetry on a Dask cluster of this machine, a process for each worker."""

    engine_name = "dask"


class OursSpark(Ours):
    """Parquetry on Spark's ``local[workers]``."""

    engine_name = "spark"
