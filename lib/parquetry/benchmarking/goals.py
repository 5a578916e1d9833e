"""What the benchmark should show on the machine that it was set for: two cores, 5 million rows of 20 columns."""

from __future__ import annotations

from parquetry.benchmarking.results import Goal

GOALS = (
    Goal("linear, local: over the bare scan, at most 1.3", "linear", "ours-local", "scan", at_most=1.3),
    Goal("linear, Dask: over local, at most 1.5", "linear", "ours-dask", "ours-local", at_most=1.5),
    Goal("linear: MLlib over ours on Spark, at least 8", "linear", "spark-mllib", "ours-spark", at_least=8.0),
    Goal("linear: pandas over ours on Spark, at least 3", "linear", "pandas-sklearn", "ours-spark", at_least=3.0),
    Goal("linear, local: peak MiB, at most 1,024", "linear", "ours-local", value="driver_mib", at_most=1024.0),
    Goal("logistic: MLlib over ours on Spark, at least 5", "logistic", "spark-mllib", "ours-spark", at_least=5.0),
    Goal("logistic: pandas over local, at least 1.5", "logistic", "pandas-sklearn", "ours-local", at_least=1.5),
    Goal("logistic: dask-ml over ours on Dask, at least 3", "logistic", "dask-ml", "ours-dask", at_least=3.0),
    Goal("pca: MLlib over ours on Spark, at least 8", "pca", "spark-mllib", "ours-spark", at_least=8.0),
    Goal("pca: pandas over local, at least 3", "pca", "pandas-sklearn", "ours-local", at_least=3.0),
    Goal("pca: dask-ml over ours on Dask, at least 3", "pca", "dask-ml", "ours-dask", at_least=3.0),
    Goal("kmeans: MLlib over ours on Spark, at least 8", "kmeans", "spark-mllib", "ours-spark", at_least=8.0),
    Goal("kmeans: pandas over local, at least 2", "kmeans", "pandas-sklearn", "ours-local", at_least=2.0),
    Goal("kmeans: dask-ml over ours on Dask, at least 3", "kmeans", "dask-ml", "ours-dask", at_least=3.0),
    Goal("ridge grid: MLlib over ours on Spark, at least 20", "ridge-grid", "spark-mllib", "ours-spark", at_least=20.0),
    Goal("ridge grid: pandas over local, at least 30", "ridge-grid", "pandas-sklearn", "ours-local", at_least=30.0),
    Goal("tree: MLlib over ours on Spark, at least 3", "tree", "spark-mllib", "ours-spark", at_least=3.0),
    Goal("forest: MLlib over ours on Spark, at least 3", "forest", "spark-mllib", "ours-spark", at_least=3.0),
    Goal(
        "XGBoost in memory, and its read: local over it, at most 1.15",
        "xgboost",
        "ours-local",
        "pandas-sklearn",
        at_most=1.15,
    ),
    Goal(
        "XGBoost: xgboost.spark over ours on Spark, at least 1.5",
        "xgboost",
        "xgboost-spark",
        "ours-spark",
        at_least=1.5,
    ),
    Goal("XGBoost: xgboost.dask over ours on Dask, at least 1", "xgboost", "xgboost-dask", "ours-dask", at_least=1.0),
    Goal(
        "profile in one read, local: over the bare scan, at most 3", "profile-pass", "ours-local", "scan", at_most=3.0
    ),
    Goal("profile, local: over the bare scan, at most 8", "profile", "ours-local", "scan", at_most=8.0),
    Goal("profile, local: peak MiB, at most 1,024", "profile", "ours-local", value="driver_mib", at_most=1024.0),
    Goal("profile: Spark over ours on Spark, at least 10", "profile", "spark-mllib", "ours-spark", at_least=10.0),
    Goal("text: MLlib over ours on Spark, at least 3", "text", "spark-mllib", "ours-spark", at_least=3.0),
    Goal("text: pandas over local, at least 1.5", "text", "pandas-sklearn", "ours-local", at_least=1.5),
    Goal("ingest: DuckDB over local, at least 0.7", "ingest", "duckdb", "ours-local", at_least=0.7),
    Goal("import parquetry: seconds, at most 0.3", "import", "parquetry", at_most=0.3),
)
