"""Spark MLlib with its default settings and 4 GiB, on the session that Parquetry opens for itself."""

from __future__ import annotations

from typing import Any

from parquetry.benchmarking.contenders.base import Contender
from parquetry.benchmarking.rows import CLUSTERS, DEPTH, FOLDS, PENALTIES, QUANTILES, ROUNDS, TREES

_MEMORY = 4 * 2**30  # in Spark's own default of 1 GiB its CrossValidator does not fit


class SparkMLlib(Contender):
    """``pyspark.ml`` over ``spark.read.parquet``, columns gathered by a VectorAssembler."""

    def open(self) -> None:
        from parquetry.engine import open_engine

        memory = self.memory or _MEMORY
        self.engine: Any = open_engine("spark", workers=self.workers, memory=memory, progress=False)

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

    def quantiles(self, path: str) -> list[float]:
        """Approximate ones, to a ten-thousandth of the rows: exact ones are a sort of each column."""
        frame = self.engine.session.read.parquet(path)
        wanted = [i / (QUANTILES - 1) for i in range(QUANTILES)]
        return [v for row in frame.approxQuantile(list(self.data.features), wanted, 1e-4) for v in row]

    def predict(self, path: str, to: str) -> list[float]:
        self.model.transform(self._vectors(path)).select("prediction").write.parquet(to)
        return []

    def logistic(self, path: str) -> list[float]:
        from pyspark.ml.classification import LogisticRegression

        # Its penalty is on the mean loss: scikit-learn's C=1 is regParam = 1 / rows.
        estimator = LogisticRegression(labelCol=self.data.label, regParam=1 / self.data.rows, standardization=False)
        model = estimator.fit(self._vectors(path))
        return [*model.coefficients.toArray(), model.intercept]

    def pca(self, path: str) -> list[float]:
        from pyspark.ml.feature import PCA

        model = PCA(k=len(self.data.features), inputCol="features", outputCol="components").fit(self._vectors(path))
        return [*model.explainedVariance.toArray()]

    def kmeans(self, path: str) -> list[float]:
        from pyspark.ml.clustering import KMeans

        # It takes no centers to begin with: the cheapest of its own ways, and the same number of iterations.
        model = KMeans(k=CLUSTERS, maxIter=ROUNDS, tol=0.0, initMode="random", seed=0).fit(self._vectors(path))
        return [model.summary.trainingCost / self.data.rows]

    def ridge_grid(self, path: str) -> list[float]:
        from pyspark.ml.evaluation import RegressionEvaluator
        from pyspark.ml.regression import LinearRegression
        from pyspark.ml.tuning import CrossValidator, ParamGridBuilder

        ridge = LinearRegression(labelCol=self.data.target)
        grid = ParamGridBuilder().addGrid(ridge.regParam, [p / self.data.rows for p in PENALTIES]).build()
        evaluator = RegressionEvaluator(labelCol=self.data.target)
        search = CrossValidator(
            estimator=ridge, estimatorParamMaps=grid, evaluator=evaluator, numFolds=FOLDS, parallelism=self.workers
        )
        best: Any = search.fit(self._vectors(path)).bestModel
        return [best.getRegParam() * self.data.rows, *best.coefficients.toArray(), best.intercept]

    def tree(self, path: str) -> list[float]:
        from pyspark.ml.classification import DecisionTreeClassifier

        model = DecisionTreeClassifier(labelCol=self.data.label, maxDepth=DEPTH).fit(self._vectors(path))
        return [*model.featureImportances.toArray()]

    def forest(self, path: str) -> list[float]:
        from pyspark.ml.classification import RandomForestClassifier

        forest = RandomForestClassifier(labelCol=self.data.label, maxDepth=DEPTH, numTrees=TREES, seed=0)
        return [*forest.fit(self._vectors(path)).featureImportances.toArray()]

    def text(self, path: str) -> list[float]:
        from pyspark.ml import Pipeline
        from pyspark.ml.classification import LogisticRegression
        from pyspark.ml.feature import IDF, CountVectorizer, RegexTokenizer

        rows = self.data.rows
        stages: list[Any] = [
            RegexTokenizer(inputCol=self.data.features[0], outputCol="words", pattern=r"\b\w\w+\b", gaps=False),
            CountVectorizer(inputCol="words", outputCol="counts"),
            IDF(inputCol="counts", outputCol="features"),
            LogisticRegression(labelCol=self.data.label, regParam=1 / rows, standardization=False),
        ]
        frame = self.engine.session.read.parquet(path)
        counter: Any = Pipeline(stages=stages).fit(frame).stages[1]
        return [float(len(counter.vocabulary))]

    def profile_pass(self, path: str) -> list[float]:
        frame = self.engine.session.read.parquet(path).select(*self.data.features)
        rows = {row["summary"]: row for row in frame.summary("mean", "stddev", "min", "max").collect()}
        return [float(rows[k][name]) for name in self.data.features for k in ("mean", "stddev", "min", "max")]

    def profile(self, path: str) -> list[float]:
        frame = self.engine.session.read.parquet(path).select(*self.data.features)
        rows = {row["summary"]: row for row in frame.summary().collect()}
        quartiles = frame.approxQuantile(list(self.data.features), [0.25, 0.5, 0.75], 0.001)
        means = [[float(rows[k][name]) for k in ("mean", "stddev")] for name in self.data.features]
        return [v for pair, q in zip(means, quartiles, strict=True) for v in (*pair, *q)]

    def _fit_linear(self, path: str) -> Any:
        from pyspark.ml.regression import LinearRegression

        return LinearRegression(featuresCol="features", labelCol=self.data.target).fit(self._vectors(path))

    def _vectors(self, path: str) -> Any:
        from pyspark.ml.feature import VectorAssembler

        frame = self.engine.session.read.parquet(path)
        return VectorAssembler(inputCols=list(self.data.features), outputCol="features").transform(frame)
