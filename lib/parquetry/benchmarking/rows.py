"""The rows of the benchmark: what is fitted, on which kind of data, reading which columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parquetry.benchmarking.sets import BenchmarkSet

PENALTIES = tuple(10.0 ** (i / 4 - 2) for i in range(20))
"""The grid of the ridge row."""
FOLDS = 5
CLUSTERS, ROUNDS = 8, 20
TREES, DEPTH = 50, 10
ROUNDS_BOOSTED, BOOSTED_DEPTH = 100, 6
TOLERANCE = 1e-6
"""The largest entry of the logistic loss's mean gradient at which a fit may stop."""


@dataclass(frozen=True)
class Row:
    """One row of the benchmark.

    Attributes
    ----------
    name : str
    what : str
        For people.
    data : {"numbers", "texts", "tables"}
        Which generated set it runs on.
    reads : {"features", "target", "label"}
        The features alone, or with the numeric target or the label.
    """

    name: str
    what: str
    data: Literal["numbers", "texts", "tables"] = "numbers"
    reads: Literal["features", "target", "label"] = "features"

    def columns(self, data: BenchmarkSet) -> list[str]:
        """The columns that every contender has to read."""
        more = {"features": [], "target": [data.target], "label": [data.label]}
        return [*data.features, *more[self.reads]]


ROWS = {
    row.name: row
    for row in (
        Row("linear", "linear regression", reads="target"),
        Row("standardize", "means and deviations of all features"),
        Row("predict", "predictions written as Parquet"),
        Row("logistic", f"logistic regression to a gradient of {TOLERANCE:g}", reads="label"),
        Row("pca", "principal components, all of them"),
        Row("kmeans", f"k-means, {CLUSTERS} clusters, {ROUNDS} iterations from the same centers"),
        Row("ridge-grid", f"ridge, {len(PENALTIES)} penalties x {FOLDS} folds", reads="target"),
        Row("tree", f"a decision tree of depth {DEPTH}", reads="label"),
        Row("forest", f"a forest of {TREES} trees of depth {DEPTH}", reads="label"),
        Row("xgboost", f"XGBoost, {ROUNDS_BOOSTED} trees of depth {BOOSTED_DEPTH}", reads="label"),
        Row("profile-pass", "profile of all features in one read, without quantiles"),
        Row("profile", "profile of all features with exact quartiles and correlations"),
        Row("text", "TF-IDF and logistic regression on short texts", data="texts", reads="label"),
        Row("ingest", "CSV to Parquet, every row checked against a contract", data="tables"),
    )
}
