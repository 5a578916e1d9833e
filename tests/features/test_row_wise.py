"""Normalizer, Binarizer and PolynomialFeatures: nothing is learned from the rows, and none is read."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Binarizer, FunctionTransformer, Normalizer, PolynomialFeatures

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, TooBigForOneNode, WrongColumnType
from parquetry.fit_checks import make_view

ESTIMATORS = {
    "l2": Normalizer(),
    "max": Normalizer(norm="max"),
    "binary": Binarizer(threshold=0.5),
    "quadratic": PolynomialFeatures(),
    "cubic": PolynomialFeatures((2, 3), include_bias=False, order="F"),
    "products": PolynomialFeatures(interaction_only=True),
}


@pytest.mark.parametrize("kind", ["plain", "whole", "narrow", "constant"])
def test_equals_scikit_learn(kind, write_parquet, local):
    folder = write_parquet(parity.numbers(kind, 200), files=2, row_group_size=61)
    for estimator in ESTIMATORS.values():
        ours, theirs, x = parity.fit_both(estimator, folder, local)
        assert {k: v for k, v in vars(ours).items() if k != "fit_report_" and k != "feature_names_in_"} == {
            k: v for k, v in vars(theirs).items() if k != "feature_names_in_"
        }
        parity.assert_same_output(ours, theirs, x)
        np.testing.assert_array_equal(ours.get_feature_names_out(), theirs.get_feature_names_out())
        assert ours.fit_report_["passes"] == 0
        assert ours.fit_report_["placement"] == "distributed"


@pytest.mark.parametrize("estimator", [Normalizer("l1"), Binarizer(), PolynomialFeatures(2, include_bias=False)])
def test_sparse(estimator, write_parquet, local):
    table = parity.numbers("whole", 200)
    folder = write_parquet(table, row_group_size=61)
    ours, theirs, x = parity.fit_both(make_pipeline(FunctionTransformer(csr_matrix), estimator), folder, local)
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")


def test_polynomials_go_through_in_small_batches(write_parquet, local):
    """35 columns make 8,435: the rows of a large batch would not fit, and are taken a part at a time."""
    rng = np.random.default_rng(0)
    table = {f"c{i}": rng.normal(size=5_000) for i in range(35)}
    folder = write_parquet({**table, "y": table["c0"]}, files=1, row_group_size=5_000)
    model = pqy.fit(PolynomialFeatures(3), folder, features=list(table), engine=local)
    assert model.n_output_features_ == 8_436
    view = make_view(pqy.open_dataset(folder), target=None, features=list(table)).through(model)
    assert view.batch_rows == 1_024
    fitted = pqy.fit(make_pipeline(PolynomialFeatures(2), LinearRegression()), folder, target="y", engine=local,
                     features=["c0", "c1"])  # fmt: skip
    assert pqy.evaluate(fitted, folder, target="y", engine=local)["r2"] == pytest.approx(1.0)


def test_polynomials_that_no_batch_could_hold(write_parquet, local):
    folder = write_parquet({f"c{i}": [1.0, 2.0] for i in range(60)}, files=1)
    with pytest.raises(TooBigForOneNode, match=r"60 features make 90,858,768;.*PolynomialCountSketch"):
        pqy.fit(PolynomialFeatures(6), folder, engine=local, memory="1GiB")


BAD = {
    "text": (Normalizer(), {"t": ["a", "b"]}, WrongColumnType, "'t' is string"),
    "norm": (Normalizer(norm="l3"), {"a": [1.0, 2.0]}, BadParameter, "norm"),
    "degree": (PolynomialFeatures((3, 2)), {"a": [1.0, 2.0]}, BadParameter, "min_degree <= max_degree"),
    "nothing": (PolynomialFeatures(0, include_bias=False), {"a": [1.0, 2.0]}, BadParameter, "empty output"),
    "threshold": (Binarizer(threshold="x"), {"a": [1.0, 2.0]}, BadParameter, "threshold"),
}


@pytest.mark.parametrize(("estimator", "table", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(estimator, table, kind, says, write_parquet, local):
    with pytest.raises(kind, match=says):
        pqy.fit(estimator, write_parquet(table, files=1), engine=local)
