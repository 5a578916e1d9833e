"""KBinsDiscretizer and SplineTransformer against scikit-learn's own fit, weighted too."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, SplineTransformer

import parity
import parquetry as pqy
from learned import assert_same_features
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType

BINS = {
    "quantiles": KBinsDiscretizer(),
    "quantiles, ordinal": KBinsDiscretizer(n_bins=[3, 9, 4], encode="ordinal", quantile_method="linear"),
    "quantiles, closest": KBinsDiscretizer(n_bins=7, quantile_method="closest_observation", dtype=np.float32),
    "uniform": KBinsDiscretizer(n_bins=6, strategy="uniform", encode="onehot-dense"),
    "k-means": KBinsDiscretizer(n_bins=4, strategy="kmeans", encode="ordinal"),
}
SPLINES = {
    "uniform": SplineTransformer(),
    "uniform, error": SplineTransformer(n_knots=3, degree=1, extrapolation="error"),
    "quantiles": SplineTransformer(knots="quantile", degree=2, extrapolation="linear", include_bias=False),
    "quantiles, periodic": SplineTransformer(knots="quantile", n_knots=6, extrapolation="periodic"),
    "given": SplineTransformer(knots=[[-1, -1, -2], [0, 1, 0], [2, 3, 5]], extrapolation="continue"),
    "sparse": SplineTransformer(n_knots=4, sparse_output=True),
}
KINDS = ("plain", "whole", "constant", "offset", "narrow")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Feature:UserWarning", "ignore:Bins:UserWarning")
def test_equals_scikit_learn(kind, write_parquet, local):
    folder = write_parquet(parity.numbers(kind, 300), files=2, row_group_size=61)
    rtol = 1e-6 if kind in ("offset", "narrow") else 1e-9
    for name, estimator in {**BINS, **SPLINES}.items():
        if kind == "constant" and name == "quantiles, periodic":
            continue  # scikit-learn's own transform fails on it
        ours, theirs, x = parity.fit_both(estimator, folder, local)
        assert_same_features(ours, theirs, rtol)
        # A spline of knots a billion away from zero has few digits in it.
        parity.assert_same_output(ours, theirs, x, rtol=1e-4 if kind == "offset" else rtol)
        assert ours.fit_report_["placement"] == "distributed", name
        np.testing.assert_array_equal(ours.get_feature_names_out(), theirs.get_feature_names_out())


WEIGHTED = {
    "bins, averaged": KBinsDiscretizer(n_bins=6),
    "bins, inverted": KBinsDiscretizer(n_bins=5, quantile_method="inverted_cdf", encode="ordinal"),
    "bins, uniform": KBinsDiscretizer(n_bins=4, strategy="uniform"),
    "bins, k-means": KBinsDiscretizer(n_bins=3, strategy="kmeans"),
    "knots, uniform": SplineTransformer(),
    "knots, quantiles": SplineTransformer(knots="quantile", n_knots=7),
    "knots, given": SplineTransformer(knots=[[-1, -1, -2], [0, 1, 0], [2, 3, 5]]),
}


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("kind", ["plain", "whole"])
def test_weights(kind, whole, write_parquet, local):
    table = parity.numbers(kind, 300)
    rng = np.random.default_rng(3)
    weights = rng.integers(0, 4, 300).astype(float) if whole else rng.gamma(2.0, size=300)
    weights[int(np.argmax(table["a"].to_numpy()))] = 0.0  # an extreme that does not count
    folder = write_parquet(table.append_column("w", pa.array(weights)), row_group_size=53)
    for estimator in WEIGHTED.values():
        ours, theirs, _ = parity.fit_both(estimator, folder, local, sample_weight="w")
        assert_same_features(ours, theirs, 1e-9)


def test_missing_values_between_knots(write_parquet, local):
    folder = write_parquet(parity.numbers("empty column", 300), row_group_size=53)
    for knots in ("uniform", "quantile"):
        spline = SplineTransformer(knots=knots, handle_missing="zeros")
        ours, theirs, x = parity.fit_both(spline, folder, local, features=["a", "c"])
        assert_same_features(ours, theirs)
        parity.assert_same_output(ours, theirs, x)
    ours, theirs, _ = parity.fit_both(SplineTransformer(handle_missing="zeros"), folder, local)
    assert_same_features(ours, theirs)
    gaps = write_parquet(parity.numbers("gaps", 300), "gaps", row_group_size=53)
    for knots in ("uniform", "quantile"):
        ours, theirs, x = parity.fit_both(SplineTransformer(knots=knots, handle_missing="zeros"), gaps, local)
        assert_same_features(ours, theirs)
        parity.assert_same_output(ours, theirs, x)


def test_skewed_columns_leave_clusters_empty_on_the_way(write_parquet, local):
    rng = np.random.default_rng(0)
    table = {"a": rng.lognormal(0, 2, 200), "b": np.repeat(rng.normal(size=10), 20)}
    folder = write_parquet(table, row_group_size=53)
    ours, theirs, _ = parity.fit_both(KBinsDiscretizer(n_bins=5, strategy="kmeans"), folder, local)
    assert_same_features(ours, theirs, 1e-9)
    assert 3 <= ours.fit_report_["passes"] <= 301


def test_edges_of_all_rows_whatever_the_subsample(write_parquet, local):
    folder = write_parquet(parity.numbers("plain"))
    sampled = pqy.fit(KBinsDiscretizer(subsample=50, random_state=0), folder, engine=local)
    whole, theirs, _ = parity.fit_both(KBinsDiscretizer(subsample=None), folder, local)
    for own, other, one in zip(sampled.bin_edges_, whole.bin_edges_, theirs.bin_edges_, strict=True):
        np.testing.assert_array_equal(own, other)
        np.testing.assert_array_equal(own, one)


def test_behind_and_before_other_steps(write_parquet, local):
    table = parity.numbers("plain", 300)
    folder = write_parquet(table.append_column("y", pa.array(np.sin(table["a"].to_numpy()))), row_group_size=53)
    for estimator in (SplineTransformer(sparse_output=True), KBinsDiscretizer(n_bins=3)):
        pipeline = make_pipeline(estimator, Ridge(tol=1e-12))
        ours, theirs, x = parity.fit_both(pipeline, folder, local, target="y")
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("estimator", "says"),
    [
        (KBinsDiscretizer(n_bins=5), "Bins whose width are too small .* in feature 0 are removed"),
        (KBinsDiscretizer(n_bins=5, strategy="uniform"), "Feature 1 is constant and will be replaced with 0"),
    ],
)
def test_what_scikit_learn_warns_of(estimator, says, write_parquet, local):
    folder = write_parquet({"a": [0.0] * 40 + [1.0] * 10, "b": [2.0] * 50})
    with pytest.warns(UserWarning, match=says):
        pqy.fit(estimator, folder, engine=local)


NUMBERS = {"a": [1.0, 2.0, 3.0], "b": [1.0, np.nan, 3.0]}
WEIGHTS = {"a": [1.0, 2.0, 3.0], "w": [1.0, 1.0, -1.0]}
BAD = {
    "text": (KBinsDiscretizer(), {"t": ["a", "b"]}, {}, WrongColumnType, "'t' is string"),
    "NaN": (KBinsDiscretizer(), NUMBERS, {}, NonFiniteValues, "'b' holds NaN.*row 1"),
    "NaN, uniform": (KBinsDiscretizer(strategy="uniform"), NUMBERS, {}, NonFiniteValues, "'b' holds NaN.*row 1"),
    "too few bins": (KBinsDiscretizer(n_bins=1), NUMBERS, {}, BadParameter, "n_bins"),
    "bins of three": (KBinsDiscretizer(n_bins=[2, 3, 4]), NUMBERS, {}, BadParameter, "n_bins must be a scalar"),
    "half a bin": (KBinsDiscretizer(n_bins=[2, 2.5]), NUMBERS, {}, BadParameter, "invalid number of bins"),
    "more bins than rows": (
        KBinsDiscretizer(n_bins=9, strategy="kmeans"), {"a": [1.0, 2.0, 3.0]}, {}, BadParameter, "3 rows",
    ),
    "weighted method": (
        KBinsDiscretizer(quantile_method="linear"), WEIGHTS, {"sample_weight": "w"}, BadParameter, "no sample weights",
    ),
    "negative weight, given knots": (
        SplineTransformer(knots=[[0.0], [1.0]]), WEIGHTS, {"sample_weight": "w"}, BadParameter, "non-negative",
    ),
    "more bins than fit": (
        KBinsDiscretizer(n_bins=9_000_000), WEIGHTS, {"memory": "100MiB"}, TooBigForOneNode, "9,000,001 quantiles",
    ),
    "negative weight": (KBinsDiscretizer(), WEIGHTS, {"sample_weight": "w"}, BadParameter, "non-negative"),
    "knots, NaN": (SplineTransformer(), NUMBERS, {}, NonFiniteValues, "'b' holds NaN.*row 1"),
    "knots, infinity": (
        SplineTransformer(handle_missing="zeros"), {"a": [1.0, np.inf]}, {}, NonFiniteValues, "infinity",
    ),
    "unsorted knots": (SplineTransformer(knots=[[1.0], [0.0]]), {"a": [1.0, 2.0]}, {}, BadParameter, "sorted"),
    "too few knots": (
        SplineTransformer(n_knots=2, extrapolation="periodic"), {"a": [1.0, 2.0]}, {}, BadParameter, "degree < n_knots",
    ),
    "one row": (SplineTransformer(), {"a": [1.0]}, {}, BadParameter, "minimum of 2"),
}  # fmt: skip


@pytest.mark.parametrize(("estimator", "table", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(estimator, table, arguments, kind, says, write_parquet, local):
    with pytest.raises(kind, match=says):
        pqy.fit(estimator, write_parquet(table, files=1), engine=local, **arguments)
