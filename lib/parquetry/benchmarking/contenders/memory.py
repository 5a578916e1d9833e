"""pandas reads everything, scikit-learn fits: what most people do while it fits into memory."""

from __future__ import annotations

import os
from typing import Any

from parquetry.benchmarking.contenders.base import Contender, first_centers, weights
from parquetry.benchmarking.rows import (
    BOOSTED_DEPTH,
    CLUSTERS,
    DEPTH,
    FOLDS,
    PENALTIES,
    ROUNDS,
    ROUNDS_BOOSTED,
    TOLERANCE,
    TREES,
)
from parquetry.benchmarking.sets import BenchmarkSet


class PandasSklearn(Contender):
    """``pandas.read_parquet``, then scikit-learn's own ``fit`` on the array."""

    def prepare(self) -> None:
        self.model = fit_linear(self.data, self.data.warm_up)

    def linear(self, path: str) -> list[float]:
        return weights(fit_linear(self.data, path))

    def standardize(self, path: str) -> list[float]:
        from sklearn.preprocessing import StandardScaler

        model = StandardScaler().fit(_read(path, [*self.data.features]))
        return [*model.mean_, *model.scale_]

    def predict(self, path: str, to: str) -> list[float]:
        import pandas as pd

        os.makedirs(to)
        predictions = self.model.predict(_read(path, [*self.data.features]).to_numpy())
        pd.DataFrame({"prediction": predictions}).to_parquet(os.path.join(to, "part-0.parquet"))
        return []

    def ingest(self, path: str, to: str) -> list[float]:
        import pandas as pd

        os.makedirs(to)
        frames = [pd.read_csv(os.path.join(path, n), parse_dates=["when"]) for n in sorted(os.listdir(path))]
        pd.concat(frames).to_parquet(os.path.join(to, "part-0.parquet"))
        return []

    def logistic(self, path: str) -> list[float]:
        return weights(logistic_estimator().fit(*_rows(self.data, path, self.data.label)))

    def pca(self, path: str) -> list[float]:
        from sklearn.decomposition import PCA

        return [*PCA().fit(_read(path, [*self.data.features]).to_numpy()).explained_variance_]

    def kmeans(self, path: str) -> list[float]:
        x = _read(path, [*self.data.features]).to_numpy()
        return [kmeans_estimator(first_centers(self.data)).fit(x).inertia_ / self.data.rows]

    def ridge_grid(self, path: str) -> list[float]:
        from sklearn.linear_model import Ridge
        from sklearn.model_selection import GridSearchCV

        search = GridSearchCV(Ridge(), {"alpha": list(PENALTIES)}, cv=FOLDS)
        search.fit(*_rows(self.data, path, self.data.target))
        return [search.best_params_["alpha"], *weights(search.best_estimator_)]

    def tree(self, path: str) -> list[float]:
        return [*tree_estimator().fit(*_rows(self.data, path, self.data.label)).feature_importances_]

    def forest(self, path: str) -> list[float]:
        return [*forest_estimator(self.workers).fit(*_rows(self.data, path, self.data.label)).feature_importances_]

    def xgboost(self, path: str) -> list[float]:
        frame = _read(path, [*self.data.features, self.data.label])
        x, y = frame[list(self.data.features)], frame[self.data.label]
        return total_gains(xgboost_estimator(self.workers).fit(x, y), self.data)

    def profile_pass(self, path: str) -> list[float]:
        frame = _read(path, [*self.data.features])
        frame.corr()
        found = frame.agg(["mean", "std", "min", "max", "skew", "kurt", "nunique"])
        return [float(v) for v in found.iloc[:4].to_numpy().T.ravel()]

    def profile(self, path: str) -> list[float]:
        frame = _read(path, [*self.data.features])
        frame.corr()
        found = frame.describe()
        return [float(v) for v in found.loc[["mean", "std", "25%", "50%", "75%"]].to_numpy().T.ravel()]

    def text(self, path: str) -> list[float]:
        frame = _read(path, [*self.data.features, self.data.label])
        model = text_estimator().fit(frame[self.data.features[0]], frame[self.data.label].to_numpy())
        return [float(len(model[0].vocabulary_))]


def fit_linear(data: BenchmarkSet, path: str) -> Any:
    """A linear regression, fitted in memory."""
    from sklearn.linear_model import LinearRegression

    return LinearRegression().fit(*_rows(data, path, data.target))


def logistic_estimator() -> Any:
    """The logistic regression that scikit-learn and Parquetry fit."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(tol=TOLERANCE, max_iter=1000)


def kmeans_estimator(centers: Any) -> Any:
    """The k-means that they fit: a fixed number of iterations from the same centers."""
    from sklearn.cluster import KMeans

    return KMeans(CLUSTERS, init=centers, n_init=1, max_iter=ROUNDS, tol=0.0)


def tree_estimator() -> Any:
    """The decision tree that they fit."""
    from sklearn.tree import DecisionTreeClassifier

    return DecisionTreeClassifier(max_depth=DEPTH, random_state=0)


def forest_estimator(workers: int) -> Any:
    """The random forest that they fit."""
    from sklearn.ensemble import RandomForestClassifier

    return RandomForestClassifier(TREES, max_depth=DEPTH, random_state=0, n_jobs=workers)


def xgboost_estimator(threads: int) -> Any:
    """The booster that XGBoost and Parquetry fit."""
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=ROUNDS_BOOSTED, max_depth=BOOSTED_DEPTH, n_jobs=threads)


def total_gains(model: Any, data: BenchmarkSet) -> list[float]:
    """Each feature's share of the gain of all splits of an XGBoost model."""
    gains = model.get_booster().get_score(importance_type="total_gain")
    total = sum(gains.values())
    return [gains.get(name, 0.0) / total for name in data.features]


def text_estimator() -> Any:
    """The text pipeline that they fit."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(TfidfVectorizer(), LogisticRegression())


def _rows(data: BenchmarkSet, path: str, target: str) -> tuple[Any, Any]:
    frame = _read(path, [*data.features, target])
    return frame[list(data.features)].to_numpy(), frame[target].to_numpy()


def _read(path: str, columns: list[str]) -> Any:
    import pandas as pd

    return pd.read_parquet(path, columns=columns)
