"""Who is measured: the bare scan, Parquetry on each engine, and its peers as their users write them.

A contender is opened, does its work on a few rows to warm up, and is then timed from a folder of
Parquet to the answer. What it imports is imported in its own process only.
"""

from __future__ import annotations

from parquetry.benchmarking.contenders.base import Contender
from parquetry.benchmarking.contenders.boosters import XGBoostDask, XGBoostSpark
from parquetry.benchmarking.contenders.daskml import DaskML
from parquetry.benchmarking.contenders.duck import DuckDB
from parquetry.benchmarking.contenders.memory import PandasSklearn
from parquetry.benchmarking.contenders.mllib import SparkMLlib
from parquetry.benchmarking.contenders.ours import OursDask, OursLocal, OursSpark
from parquetry.benchmarking.contenders.scan import Scan

CONTENDERS: dict[str, type[Contender]] = {
    "scan": Scan,
    "ours-local": OursLocal,
    "ours-dask": OursDask,
    "ours-spark": OursSpark,
    "spark-mllib": SparkMLlib,
    "dask-ml": DaskML,
    "pandas-sklearn": PandasSklearn,
    "duckdb": DuckDB,
    "xgboost-spark": XGBoostSpark,
    "xgboost-dask": XGBoostDask,
}
