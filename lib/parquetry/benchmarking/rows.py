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
QUANTILES = 1_000
ROUNDS_BOOSTED, BOOSTED_DEPTH, BOOSTED_LEAVES = 100, 6, 63
CANDIDATES, STAGES = 20, 10
"""Of the search, and boosting iterations of each of its fits."""
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
    data : {"numbers", "texts", "tables", "keys"}
        Which generated set it runs on.
    reads : {"features", "target", "label"}
        The features alone, or with the numeric target or the label.
    """

    name: str
    what: str
    data: Literal["numbers", "texts", "tables", "keys"] = "numbers"
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
        Row("quantiles", f"{QUANTILES:,} exact quantiles of all features (QuantileTransformer)"),
        Row("power", "the most likely lambda of all features (PowerTransformer)"),
        Row("predict", "predictions written as Parquet"),
        Row("logistic", f"logistic regression to a gradient of {TOLERANCE:g}", reads="label"),
        Row("pca", "principal components, all of them"),
        Row("kmeans", f"k-means, {CLUSTERS} clusters, {ROUNDS} iterations from the same centers"),
        Row("ridge-grid", f"ridge, {len(PENALTIES)} penalties x {FOLDS} folds", reads="target"),
        Row("tree", f"a decision tree of depth {DEPTH}", reads="label"),
        Row("forest", f"a forest of {TREES} trees of depth {DEPTH}", reads="label"),
        Row("xgboost", f"XGBoost, {ROUNDS_BOOSTED} trees of depth {BOOSTED_DEPTH}", reads="label"),
        Row("lightgbm", f"LightGBM, {ROUNDS_BOOSTED} trees of depth {BOOSTED_DEPTH}", reads="label"),
        Row(
            "search",
            f"random search of histogram boosting of {STAGES} trees, {CANDIDATES} candidates x {FOLDS} folds, "
            "on the first file",
            reads="label",
        ),
        Row("profile-pass", "profile of all features in one read, without quantiles"),
        Row("profile", "profile of all features with exact quartiles and correlations"),
        Row("text", "TF-IDF and logistic regression on short texts", data="texts", reads="label"),
        Row("encode", "a target encoder over 1,000,000 distinct keys", data="keys", reads="target"),
        Row("ingest", "CSV to Parquet, every row checked against a contract", data="tables"),
    )
}
