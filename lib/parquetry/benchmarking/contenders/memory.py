"""pandas reads everything, scikit-learn fits: what most people do while it fits into memory."""

from __future__ import annotations

import os
from typing import Any

from parquetry.benchmarking.contenders.base import Contender, first_centers, weights
from parquetry.benchmarking.rows import (
    CANDIDATES,
    CLUSTERS,
    DEPTH,
    FOLDS,
    PENALTIES,
    ROUNDS,
    STAGES,
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

    def search(self, path: str) -> list[float]:
        found = boosting_search(self.workers).fit(*_rows(self.data, first_file(path), self.data.label))
        return [found.best_score_]

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


def boosting_search(workers: int) -> Any:
    """The search that scikit-learn and Parquetry make."""
    from scipy.stats import loguniform, randint
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import RandomizedSearchCV

    model = HistGradientBoostingClassifier(max_iter=STAGES, early_stopping=False, random_state=0)
    chances = {
        "learning_rate": loguniform(0.03, 0.5),
        "max_leaf_nodes": randint(8, 48),
        "min_samples_leaf": randint(5, 100),
        "l2_regularization": loguniform(1e-3, 10.0),
    }
    return RandomizedSearchCV(model, chances, n_iter=CANDIDATES, cv=FOLDS, random_state=0, n_jobs=workers)


def first_file(path: str) -> str:
    """The first Parquet file of a folder: about a million rows of the generated set."""
    return os.path.join(path, min(name for name in os.listdir(path) if name.endswith(".parquet")))


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
