"""A few rows with the moments of many: the rows themselves, BayesianRidge, Lars and LassoLars on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import BayesianRidge, Lars, LassoLars
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.classical.gram import Gram
from parquetry.classical.moment_rows import moment_rows
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from regressions import (
    FEATURES,
    SHAPES,
    K,
    assert_same_model,
    constant_column,
    far,
    fit_both,
    nearly_collinear,
    table,
    uneven_scales,
    well,
)


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


def gram_of(view: Any) -> Any:
    (gram,) = yield [Pass(Gram("test", FEATURES, view.target), view)]
    return gram


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_the_moments_are_the_same(local: Any, rows: Any, shape: Any, fit_intercept: bool) -> None:
    data = rows(shape)
    frame = data.to_pandas()
    view = make_view(data, target=["y", "z"], features=FEATURES, sample_weight="weight")
    x, y = moment_rows(drive(gram_of(view), local, verb="test"), K, fit_intercept=fit_intercept)
    assert x.shape == (K + 2 + (not fit_intercept), K)
    few = np.hstack([x, y])
    many, w = frame[[*FEATURES, "y", "z"]].to_numpy(), frame["weight"].to_numpy()
    many = many - np.average(many, axis=0, weights=w) * fit_intercept
    expected = many.T @ (many * w[:, None]) / w.sum()
    # Each product to the digits of its own columns, whatever their scale.
    size = np.sqrt(expected.diagonal())
    size[size < 1e-9] = 1.0
    size = np.outer(size, size)
    np.testing.assert_allclose(few.T @ few / len(few) / size, expected / size, rtol=0, atol=1e-11)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize(
    "estimator",
    [
        BayesianRidge(),
        BayesianRidge(compute_score=True, alpha_init=2.0, lambda_init=0.5, max_iter=4),
        BayesianRidge(compute_score=True, tol=1e-2, fit_intercept=False),
    ],
    ids=str,
)
def test_bayesian_ridge(local: Any, rows: Any, shape: Any, weight: str | None, estimator: Any) -> None:
    data = rows(shape)
    ours, theirs = fit_both(estimator, data, local, target="y", weight=weight)
    hard = shape in (far, constant_column, nearly_collinear)
    assert_same_model(ours, theirs, 1e-6 if hard else 1e-9)
    x = data.to_pandas()[FEATURES]
    for mine, other in zip(ours.predict(x, return_std=True), theirs.predict(x, return_std=True), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    assert ours.alpha_init == estimator.alpha_init
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


@pytest.mark.parametrize("shape", [well, far, constant_column, uneven_scales], ids=lambda f: f.__name__)
@pytest.mark.parametrize("target", ["y", ["y", "z"]], ids=str)
@pytest.mark.parametrize(
    "estimator",
    [
        Lars(),
        Lars(n_nonzero_coefs=3, precompute=False, fit_path=False),
        LassoLars(alpha=0.1),
        LassoLars(alpha=0.01, positive=True, fit_intercept=False),
    ],
    ids=str,
)
def test_lars(local: Any, rows: Any, shape: Any, target: Any, estimator: Any) -> None:
    ours, theirs = fit_both(estimator, rows(shape), local, target=target)
    assert_same_model(ours, theirs, 1e-8)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, rows: Any) -> None:
    data, bits = rows(uneven_scales), []
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(BayesianRidge(), data, target="y", features=FEATURES, sample_weight="weight", engine=engine)
        lars = pqy.fit(LassoLars(alpha=0.1), data, target="y", features=FEATURES, engine=engine)
        bits.append([np.asarray(part).tobytes() for part in (model.coef_, model.sigma_, lars.coef_path_)])
    assert bits[0] == bits[1] == bits[2]


def test_sparse_features_too(local: Any, houses: Any) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    for estimator in (BayesianRidge(), LassoLars(alpha=50.0)):
        pipeline = make_pipeline(OneHotEncoder(), clone(estimator))
        ours = pqy.fit(pipeline, data, target="price", features=["place"], engine=local)
        theirs = clone(estimator).fit(ours[0].transform(frame[["place"]]).toarray(), frame["price"])
        np.testing.assert_allclose(ours[1].coef_, theirs.coef_, rtol=1e-6)


def test_jitter_is_gathered_and_says_why(local: Any, rows: Any) -> None:
    ours, theirs = fit_both(Lars(jitter=1e-3, random_state=0), rows(), local, target="y")
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert "jitter=" in report["why"]


@pytest.mark.parametrize(
    ("estimator", "arguments", "message"),
    [
        (BayesianRidge(), {"target": ["y", "z"]}, "BayesianRidge has 2 targets"),
        (BayesianRidge(tol=-1.0), {"target": "y"}, "'tol' parameter"),
        (LassoLars(alpha=-1.0), {"target": "y"}, "'alpha' parameter"),
        (Lars(), {"target": "y", "sample_weight": "weight"}, "Lars takes no sample weights"),
    ],
    ids=str,
)
def test_bad_parameters(local: Any, rows: Any, estimator: Any, arguments: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        pqy.fit(estimator, rows(), features=FEATURES, engine=local, **arguments)


def test_fewer_rows_than_features(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    wide = pa.table({**{f"x{i}": rng.normal(size=8) for i in range(11)}, "y": rng.normal(size=8)})
    data = pqy.open_dataset(write_parquet(wide, row_group_size=3))
    frame = data.to_pandas()
    for estimator in (BayesianRidge(compute_score=True, max_iter=5, tol=1e-12), LassoLars(alpha=0.05)):
        ours = pqy.fit(estimator, data, target="y", engine=local)
        assert_same_model(ours, clone(estimator).fit(frame.drop(columns="y"), frame["y"]), 1e-7)
