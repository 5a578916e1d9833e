"""GaussianMixture against scikit-learn's own fit of the same rows from the same parameters."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parity import assert_same_learned
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode

N, WIDTH = 800, 3
KINDS = ("full", "tied", "diag", "spherical")


def mixed(rng: np.random.Generator) -> np.ndarray:
    parts = rng.choice(3, N, p=[0.5, 0.3, 0.2])
    means = np.array([[0, 0, 0], [4, 3, 0], [0, 5, 6.0]])
    bent = np.array([[1, 0.4, 0], [0, 1, -0.3], [0, 0, 0.7]])
    return means[parts] + (rng.normal(size=(N, WIDTH)) * np.array([1.0, 0.5, 2.0])[parts, None]) @ bent


def uneven_scales(rng: np.random.Generator) -> np.ndarray:
    return mixed(rng) * 10.0 ** np.arange(-2, 1)


def constant_column(rng: np.random.Generator) -> np.ndarray:
    x = mixed(rng)
    x[:, 1] = 0.25
    return x


def shifted(rng: np.random.Generator) -> np.ndarray:
    return mixed(rng) + 500.0


@pytest.fixture
def rows(write_parquet: Callable[..., Path]) -> Callable[..., tuple[pqy.Dataset, np.ndarray]]:
    def make(shape: Any = mixed, **layout: Any) -> tuple[pqy.Dataset, np.ndarray]:
        x = shape if isinstance(shape, np.ndarray) else shape(np.random.default_rng(2))
        table = pa.table({f"x{i}": column for i, column in enumerate(x.T)})
        layout = layout or {"files": 3, "row_group_size": 110}
        return pqy.open_dataset(write_parquet(table, f"rows-{abs(hash(x.tobytes()))}", **layout)), x

    return make


def given(kind: str, x: np.ndarray, k: int = 3) -> dict[str, Any]:
    """Parameters to start from: three of the rows, and the precision of all rows."""
    covariance = np.cov(x.T) + 1e-3 * np.eye(x.shape[1])
    full = np.linalg.inv(covariance)
    precisions = {
        "full": np.stack([full] * k),
        "tied": full,
        "diag": np.stack([1 / np.diag(covariance)] * k),
        "spherical": np.full(k, x.shape[1] / np.trace(covariance)),
    }
    return {
        "covariance_type": kind,
        "weights_init": np.arange(1, k + 1) / np.arange(1, k + 1).sum(),
        "means_init": x[[3, 90, 400]][:k],
        "precisions_init": precisions[kind],
    }


def fit_both(estimator: Any, data: pqy.Dataset, engine: Any) -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return pqy.fit(estimator, data, engine=engine), clone(estimator).fit(data.to_pandas())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [mixed, uneven_scales, constant_column, shifted], ids=lambda f: f.__name__)
def test_the_same_steps_from_the_same_parameters(local: Any, rows: Any, shape: Any, kind: str) -> None:
    data, x = rows(shape)
    for settings in ({"tol": 1e-4}, {"tol": 0.0, "max_iter": 7}, {"reg_covar": 0.01}):
        ours, theirs = fit_both(GaussianMixture(3, **given(kind, x), **settings), data, local)
        assert ours.n_iter_ == theirs.n_iter_ > 1
        assert_same_learned(ours, theirs, rtol=1e-6)
        frame = data.to_pandas()
        np.testing.assert_array_equal(ours.predict(frame), theirs.predict(frame))
        np.testing.assert_allclose(ours.score_samples(frame), theirs.score_samples(frame), rtol=1e-6, atol=1e-6)
        assert ours.fit_report_["passes"] == ours.n_iter_ + 1


@pytest.mark.parametrize("kind", KINDS)
def test_one_block_and_one_component(local: Any, rows: Any, kind: str) -> None:
    data, _ = rows(mixed, files=1, row_group_size=10_000)
    ours, theirs = fit_both(GaussianMixture(1, covariance_type=kind, random_state=0), data, local)
    assert_same_learned(ours, theirs, rtol=1e-9)


@pytest.mark.parametrize("how", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("kind", KINDS)
def test_drawn_starts(local: Any, rows: Any, kind: str, how: str) -> None:
    data, _ = rows()
    estimator = GaussianMixture(3, covariance_type=kind, init_params=how, n_init=3, random_state=1, max_iter=40)
    ours, theirs = fit_both(estimator, data, local)
    assert set(vars(theirs)) <= set(vars(ours)) | {"_sklearn_output_config"}
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert getattr(ours, name).shape == getattr(theirs, name).shape
    # The bound never falls, and ends about where scikit-learn's ends or higher.
    assert (np.diff(ours.lower_bounds_) > -1e-6).all()
    assert ours.lower_bound_ == max(ours.lower_bounds_) > theirs.lower_bound_ - 0.15
    again = pqy.fit(clone(estimator), data, engine=local)
    assert again.means_.tobytes() == ours.means_.tobytes()


def test_kmeans_start_is_scikit_learns(local: Any, rows: Any) -> None:
    """Where k-means has one optimum, the mixture has the same start and takes the same steps."""
    x = np.random.default_rng(0).normal(size=(N, 2)) + np.array([[0, 0], [30, 0], [0, 30]])[np.arange(N) % 3]
    data, _ = rows(x)
    for kind in KINDS:
        ours, theirs = fit_both(GaussianMixture(3, covariance_type=kind, random_state=0), data, local)
        order, other = (np.lexsort(m.means_.T.round(3)) for m in (ours, theirs))
        np.testing.assert_allclose(ours.means_[order], theirs.means_[other], rtol=1e-6)
        np.testing.assert_allclose(ours.weights_[order], theirs.weights_[other], rtol=1e-6)
        assert ours.n_iter_ == theirs.n_iter_
        np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_some_parameters_given(local: Any, rows: Any, kind: str) -> None:
    x = np.random.default_rng(0).normal(size=(N, 2)) + np.array([[0, 0], [30, 0], [0, 30]])[np.arange(N) % 3]
    data, _ = rows(x)
    means = np.array([[1.0, 1.0], [25, 0], [0, 25]])
    estimator = GaussianMixture(3, covariance_type=kind, means_init=means, random_state=0, tol=1e-8, max_iter=300)
    ours, theirs = fit_both(estimator, data, local)
    np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=1e-6)


def test_one_row_a_component_is_scikit_learns_start(local: Any, rows: Any) -> None:
    """max_iter=0 leaves the start: components on single rows, with scikit-learn's tiny shares and variances."""
    data, x = rows()
    for kind in KINDS:
        estimator = GaussianMixture(3, covariance_type=kind, init_params="random_from_data", max_iter=0, random_state=0)
        ours, _ = fit_both(estimator, data, local)
        chosen = [int(np.argmin(((x - mean) ** 2).sum(axis=1))) for mean in ours.means_]
        theirs = clone(estimator)
        resp = np.zeros((N, 3))
        resp[chosen, range(3)] = 1
        theirs._initialize(x, resp)
        for name in ("weights_", "means_", "covariances_", "precisions_cholesky_"):
            np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-7, atol=1e-12, err_msg=name)
        assert ours.n_iter_ == 0
        assert ours.lower_bound_ == -np.inf


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_zero_loses_nothing(local: Any, rows: Any, kind: str) -> None:
    """scikit-learn does not center and is lost at a mean of 1e9; the same rows near zero tell what is right."""
    near, x = rows(mixed(np.random.default_rng(2)).round(3))
    far, _ = rows(x + 1e9)
    settings = given(kind, x)
    here = pqy.fit(GaussianMixture(3, **settings), near, engine=local)
    settings["means_init"] = settings["means_init"] + 1e9
    there = pqy.fit(GaussianMixture(3, **settings), far, engine=local)
    assert here.n_iter_ == there.n_iter_
    np.testing.assert_allclose(there.means_ - 1e9, here.means_, atol=1e-5)
    np.testing.assert_allclose(there.covariances_, here.covariances_, rtol=1e-4, atol=1e-5)


def test_the_same_bits_on_every_engine(rows: Any, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    data, _ = rows()
    estimator = GaussianMixture(2, random_state=4, max_iter=2, init_params="k-means++")
    models = []
    for engine in (local, dask_engine, spark_engine):
        with pytest.warns(ConvergenceWarning):
            models.append(pqy.fit(estimator, data, engine=engine))
    assert len({m.means_.tobytes() + m.covariances_.tobytes() for m in models}) == 1


def test_float32(local: Any, write_parquet: Any) -> None:
    x = mixed(np.random.default_rng(2)).astype(np.float32)
    data = pqy.open_dataset(write_parquet(pa.table({f"x{i}": c for i, c in enumerate(x.T)})))
    narrow = {k: v.astype(np.float32) for k, v in given("full", x).items() if k != "covariance_type"}
    for settings in (narrow, given("full", x.astype(np.float64)), {"random_state": 0}):
        ours, theirs = fit_both(GaussianMixture(3, **settings, max_iter=5, tol=0), data, local)
        for name in ("weights_", "means_", "covariances_", "precisions_"):
            assert getattr(ours, name).dtype == getattr(theirs, name).dtype
        if "random_state" not in settings:
            np.testing.assert_allclose(ours.means_, theirs.means_, rtol=1e-2, atol=1e-3)


def test_pipeline(local: Any, rows: Any) -> None:
    data, x = rows(uneven_scales)
    settings = given("full", StandardScaler().fit_transform(x))
    ours, theirs = fit_both(make_pipeline(StandardScaler(), GaussianMixture(3, **settings)), data, local)
    assert_same_learned(ours[-1], theirs[-1], rtol=1e-6)


def test_not_converged(local: Any, rows: Any) -> None:
    data, x = rows()
    with pytest.warns(ConvergenceWarning, match=r"the last of 3 iterations still changed.*increase max_iter"):
        model = pqy.fit(GaussianMixture(3, **given("full", x), max_iter=3, tol=1e-12), data, engine=local)
    assert not model.converged_


def test_bad_input(local: Any, rows: Any, write_parquet: Any, houses: Path) -> None:
    data, x = rows()
    settings = given("full", x)
    for estimator, message in (
        (GaussianMixture(N + 1), "n_components=801 and only 800 rows"),
        (GaussianMixture(3, tol=-1.0), "tol"),
        (GaussianMixture(3, means_init=x[:2]), "means"),
        (GaussianMixture(3, weights_init=[0.5, 0.4, 0.3]), "weights"),
        (GaussianMixture(3, **{**settings, "precisions_init": -settings["precisions_init"]}), "positive-definite"),
        (GaussianMixture(3, **settings, max_iter=0), "max_iter=0"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, engine=local)
    flat, _ = rows(constant_column)
    with pytest.raises(BadParameter, match="ill-defined empirical covariance"):
        pqy.fit(GaussianMixture(2, reg_covar=0.0, random_state=0), flat, engine=local)
    with pytest.raises(BadParameter, match="takes no sparse X"):
        pqy.fit(make_pipeline(OneHotEncoder(), GaussianMixture(2)), houses, features=["place"], engine=local)
    with pytest.raises(BadParameter, match="takes no sample weights"):
        pqy.fit(GaussianMixture(2), data, features=["x0", "x1"], sample_weight="x2", engine=local)
    with pytest.raises(TooBigForOneNode, match="covariances of 3 features"):
        pqy.fit(GaussianMixture(700), data, engine=local, memory="100KiB")
    hole = write_parquet(pa.table({"x": np.where(np.arange(300) == 250, np.nan, 1.0)}), "hole")
    with pytest.raises(NonFiniteValues, match=r"GaussianMixture: column 'x' holds NaN.*row group 1, row 0"):
        pqy.fit(GaussianMixture(2), hole, engine=local)
