"""RobustScaler, MaxAbsScaler, QuantileTransformer and VarianceThreshold against scikit-learn's own fit."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
from scipy.sparse import csr_matrix
from sklearn.dummy import DummyClassifier
from sklearn.feature_selection import VarianceThreshold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, QuantileTransformer, RobustScaler

import parity
import parquetry as pqy
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    NegativeValues,
    NonFiniteValues,
    TooBigForOneNode,
    WrongColumnType,
)

DENSE = {
    "robust": RobustScaler(),
    "robust, another range": RobustScaler(quantile_range=(0.0, 90.5), unit_variance=False),
    "robust, unit variance": RobustScaler(quantile_range=(10.0, 77.7), unit_variance=True),
    "robust, centered": RobustScaler(with_scaling=False),
    "robust, neither": RobustScaler(with_scaling=False, with_centering=False),
    "largest": MaxAbsScaler(),
    "largest, clipped": MaxAbsScaler(clip=True),
    "uniform": QuantileTransformer(n_quantiles=97),
    "normal": QuantileTransformer(n_quantiles=40, output_distribution="normal", subsample=None),
    "variance": VarianceThreshold(),
    "variance above": VarianceThreshold(0.3),
}
KINDS = [k for k in parity.KINDS if k != "plain"]


@pytest.mark.parametrize("kind", KINDS)
def test_equals_scikit_learn(kind, write_parquet, local):
    folder = write_parquet(parity.numbers(kind, 300), files=2, row_group_size=61)
    for name, estimator in DENSE.items():
        ours, theirs, x = parity.fit_both(estimator, folder, local)
        parity.assert_same_learned(ours, theirs)
        parity.assert_same_output(ours, theirs, x, rtol=3e-7 if kind == "offset" else parity.RTOL)
        assert ours.fit_report_["placement"] == "distributed", name
        np.testing.assert_array_equal(ours.get_feature_names_out(), theirs.get_feature_names_out())


def test_more_rows_than_a_state_holds(write_parquet, local):
    """Several passes over cached blocks, a row group larger than a chunk, and one of a few rows."""
    rng = np.random.default_rng(0)
    table = {f"c{i}": rng.gamma(0.5 + i, size=90_000) for i in range(12)}
    folder = write_parquet(table, files=1, row_group_size=70_000)
    for estimator in (RobustScaler(), QuantileTransformer(n_quantiles=1_000, subsample=None)):
        ours, theirs, _ = parity.fit_both(estimator, folder, local)
        parity.assert_same_learned(ours, theirs)
        assert 2 <= ours.fit_report_["passes"] <= 6


def test_quantiles_of_all_rows_whatever_the_subsample(write_parquet, local):
    folder = write_parquet(parity.numbers("gaps"))
    sampled = pqy.fit(QuantileTransformer(n_quantiles=50, subsample=60, random_state=0), folder, engine=local)
    whole, theirs, _ = parity.fit_both(QuantileTransformer(n_quantiles=50, subsample=None), folder, local)
    np.testing.assert_array_equal(sampled.quantiles_, whole.quantiles_)
    np.testing.assert_array_equal(sampled.quantiles_, theirs.quantiles_)


def sparse_table(*, signed: bool) -> pa.Table:
    rng = np.random.default_rng(3)
    full = rng.gamma(1.0, size=(500, 4)) * (rng.choice([-1, 1], (500, 4)) if signed else 1)
    full[rng.random((500, 4)) < [0.0, 0.3, 0.9, 1.0]] = 0.0
    full[::50, 1] = np.nan
    return pa.table({f"c{i}": full[:, i] for i in range(4)})


SPARSE = {
    "robust": (RobustScaler(with_centering=False), True),
    "largest": (MaxAbsScaler(), True),
    "quantiles": (QuantileTransformer(n_quantiles=60), False),
    "quantiles, stored alone": (QuantileTransformer(n_quantiles=60, ignore_implicit_zeros=True), True),
    "variance": (VarianceThreshold(), True),
    "variance above": (VarianceThreshold(0.2), True),
}


@pytest.mark.parametrize(("estimator", "signed"), SPARSE.values(), ids=SPARSE.keys())
def test_sparse(estimator, signed, write_parquet, local):
    folder = write_parquet(sparse_table(signed=signed), row_group_size=71)
    pipeline = make_pipeline(FunctionTransformer(csr_matrix), estimator)
    ours, theirs, x = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-1], theirs[-1])
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")
    assert ours.fit_report_["placement"] == "distributed"


def test_what_scikit_learn_warns_of(write_parquet, local):
    folder = write_parquet(parity.numbers("plain", 30))
    with pytest.warns(UserWarning, match="greater than the total number of samples"):
        found = pqy.fit(QuantileTransformer(), folder, engine=local)
    assert found.n_quantiles_ == 30
    with pytest.warns(UserWarning, match="takes effect only with sparse"):
        pqy.fit(QuantileTransformer(n_quantiles=5, ignore_implicit_zeros=True), folder, engine=local)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pqy.fit(QuantileTransformer(n_quantiles=5), folder, engine=local)


INFINITE = {"a": [1.0, 2.0, np.inf], "b": [1.0, 2.0, 3.0]}
BAD = {
    "text": (RobustScaler(), {"t": ["a", "b"]}, WrongColumnType, "'t' is string"),
    "range": (RobustScaler(quantile_range=(80.0, 20.0)), INFINITE, BadParameter, "quantile range"),
    "above 100": (RobustScaler(quantile_range=(0.0, 120.0)), INFINITE, BadParameter, "quantile range"),
    "parameter": (MaxAbsScaler(clip="no"), INFINITE, BadParameter, "clip"),
    "robust, infinity": (RobustScaler(), INFINITE, NonFiniteValues, "'a' holds infinity.*row 2"),
    "robust, infinity unused": (
        RobustScaler(with_centering=False, with_scaling=False), INFINITE, NonFiniteValues, "'a' holds infinity",
    ),
    "largest, infinity": (MaxAbsScaler(), INFINITE, NonFiniteValues, "'a' holds infinity.*row 2"),
    "quantiles, infinity": (QuantileTransformer(n_quantiles=2), INFINITE, NonFiniteValues, "'a' holds infinity"),
    "variance, infinity": (VarianceThreshold(), INFINITE, NonFiniteValues, "'a' holds infinity"),
    "too many": (QuantileTransformer(n_quantiles=9, subsample=8), INFINITE, BadParameter, "n_quantiles=9 is more"),
    "none": (QuantileTransformer(n_quantiles=0), INFINITE, BadParameter, "n_quantiles"),
    "nothing varies": (VarianceThreshold(), {"a": [0.1] * 7, "b": [2.0] * 7}, DegenerateColumn, "no feature"),
    "negative threshold": (VarianceThreshold(-1.0), INFINITE, BadParameter, "threshold"),
}  # fmt: skip


@pytest.mark.parametrize(("estimator", "table", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(estimator, table, kind, says, write_parquet, local):
    with pytest.raises(kind, match=f"(?i){says}"):
        pqy.fit(estimator, write_parquet(table, files=1), engine=local)


def test_more_quantiles_than_fit(write_parquet, local):
    folder = write_parquet({f"c{i}": np.arange(3_000.0) for i in range(20)}, row_group_size=500)
    quantiles = QuantileTransformer(n_quantiles=3_000)
    with pytest.raises(TooBigForOneNode, match="3,000 quantiles of 20 columns"):
        pqy.fit(quantiles, folder, engine=local, memory="4MiB")


def test_a_text_target_is_left_alone(write_parquet, local):
    """What several passes read again is X alone."""
    rows = 60_000
    table = {f"c{i}": np.random.default_rng(i).normal(size=rows) for i in range(20)}
    folder = write_parquet({**table, "y": np.where(table["c0"] > 0, "up", "down")}, row_group_size=30_000)
    pipeline = make_pipeline(RobustScaler(), DummyClassifier())
    model = pqy.fit(pipeline, folder, target="y", engine=local)
    np.testing.assert_array_equal(model[0].center_, [np.median(v) for v in table.values()])


def test_sparse_that_cannot_be(write_parquet, local):
    folder = write_parquet(sparse_table(signed=True), row_group_size=71)
    with pytest.raises(BadParameter, match="center sparse"):
        pqy.fit(make_pipeline(FunctionTransformer(csr_matrix), RobustScaler()), folder, engine=local)
    quantiles = QuantileTransformer(n_quantiles=9)
    with pytest.raises(NegativeValues, match=r"column 'x0' holds a value below zero, first in .*row group 0, row"):
        pqy.fit(make_pipeline(FunctionTransformer(csr_matrix), quantiles), folder, engine=local)
