"""Lasso, ElasticNet, their multi-task and cross-validated forms against scikit-learn's own fit, step for step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    ElasticNet,
    ElasticNetCV,
    Lasso,
    LassoCV,
    MultiTaskElasticNet,
    MultiTaskElasticNetCV,
    MultiTaskLasso,
    MultiTaskLassoCV,
)
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType
from regressions import (
    FEATURES,
    SHAPES,
    K,
    assert_same_model,
    constant_column,
    far,
    fit_both,
    table,
    uneven_scales,
    well,
)

GAP = ("dual_gap_",)
"""A difference of nearly equal numbers: compared on the scale of the target's variance."""

ONE = [
    Lasso(alpha=0.1),
    Lasso(alpha=0.02, precompute=True, tol=1e-10),
    Lasso(alpha=0.3, fit_intercept=False),
    ElasticNet(alpha=0.1, l1_ratio=0.3),
    ElasticNet(alpha=0.5, l1_ratio=0.0, tol=1e-3),
    ElasticNet(alpha=0.1, positive=True, selection="random", random_state=3, tol=1e-10),
    MultiTaskLasso(alpha=0.2),
    MultiTaskElasticNet(alpha=0.1, l1_ratio=0.7, fit_intercept=False),
]
CROSS_VALIDATED = [
    LassoCV(alphas=15),
    LassoCV(alphas=[0.5, 0.01, 0.1], cv=KFold(3), fit_intercept=False, precompute=False),
    LassoCV(alphas=6, positive=True, selection="random", random_state=1, cv=2, tol=1e-10),
    ElasticNetCV(l1_ratio=[0.2, 0.9], alphas=6, cv=4),
    ElasticNetCV(l1_ratio=0.5, alphas=[0.1, 1.0], eps=1e-2),
    MultiTaskLassoCV(alphas=5, cv=3),
    MultiTaskElasticNetCV(alphas=[0.3], l1_ratio=[0.3, 0.6], cv=3),
]


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


def target_of(estimator: Any) -> Any:
    return ["y", "z"] if "MultiTask" in type(estimator).__name__ else "y"


def assert_same_gap(ours: Any, theirs: Any, data: pqy.Dataset) -> None:
    variance = float(data.to_pandas()[["y", "z"]].var().max())
    np.testing.assert_allclose(ours.dual_gap_, theirs.dual_gap_, rtol=1e-6, atol=1e-9 * variance)
    assert type(ours.dual_gap_) is type(theirs.dual_gap_)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", ONE + CROSS_VALIDATED, ids=str)
@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_parity(local: Any, rows: Any, shape: Any, estimator: Any, weight: str | None) -> None:
    data = rows(shape)
    ours, theirs = fit_both(estimator, data, local, target=target_of(estimator), weight=weight)
    # scikit-learn may draw a constant column, which its rounding leaves at 1e-16; here it is 0 and never drawn.
    drawn = estimator.selection == "random" and shape is constant_column
    assert_same_model(ours, theirs, 1e-7 if drawn else 1e-9, apart=(*GAP, "n_iter_") if drawn else GAP)
    assert_same_gap(ours, theirs, data)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("estimator", [Lasso(alpha=0.1), ElasticNet(alpha=0.1, fit_intercept=False)], ids=str)
def test_several_targets_each_for_itself(local: Any, rows: Any, estimator: Any) -> None:
    data = rows()
    ours, theirs = fit_both(estimator, data, local, target=["y", "z"])
    assert_same_model(ours, theirs, apart=GAP)
    assert_same_gap(ours, theirs, data)


@pytest.mark.parametrize("estimator", [ElasticNetCV(l1_ratio=[0.3, 0.8], alphas=8, cv=3), MultiTaskLasso(alpha=0.1)])
def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, rows: Any, estimator: Any
) -> None:
    data, bits = rows(uneven_scales), []
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(
            estimator, data, target=target_of(estimator), features=FEATURES, sample_weight="weight", engine=engine
        )
        bits.append([model.coef_.tobytes(), np.float64(model.dual_gap_).tobytes(), np.asarray(model.n_iter_).tobytes()])
        bits[-1].append(getattr(model, "mse_path_", model.coef_).tobytes())
    assert bits[0] == bits[1] == bits[2]


def test_far_from_zero_no_digit_is_lost(local: Any, write_parquet: Any) -> None:
    columns = {name: column.to_numpy() for name, column in zip(table().column_names, table().columns, strict=True)}
    moved = {name: column + 1e9 if name in FEATURES else column for name, column in columns.items()}
    data = pqy.open_dataset(write_parquet(pa.table(moved), row_group_size=90))
    frame = data.to_pandas()
    for estimator in (LassoCV(alphas=9), ElasticNet(alpha=0.1)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        theirs = clone(estimator).fit(frame[FEATURES] - 1e9, frame["y"])
        assert_same_model(ours, theirs, apart=(*GAP, "intercept_"))
        np.testing.assert_allclose(ours.intercept_, theirs.intercept_ - 1e9 * theirs.coef_.sum(), rtol=1e-13)


@pytest.mark.parametrize("seed", range(4))
def test_what_a_fold_leaves_of_a_constant_column_may_lie_below_zero(local: Any, write_parquet: Any, seed: int) -> None:
    """0.1 has no exact mean, and rows without weight make the rounding of each fold's sums its own."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, K))
    x[:, 1] = 0.1
    weight = np.where(rng.random(300) < 0.3, 0.0, rng.uniform(0.2, 3.0, 300))
    columns = {**{name: x[:, i] for i, name in enumerate(FEATURES)}, "y": x[:, 0] + rng.normal(size=300)}
    data = pqy.open_dataset(write_parquet({**columns, "weight": weight}, row_group_size=41))
    estimator = LassoCV(cv=3, alphas=5)
    ours, theirs = fit_both(estimator, data, local, target="y", weight="weight")
    assert_same_model(ours, theirs, 1e-7, apart=(*GAP, "n_iter_"))


def test_an_almost_exact_fit_measures_its_errors_row_by_row(local: Any, write_parquet: Any) -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    data = pqy.open_dataset(write_parquet(pa.table({**columns, "y": x @ [1.0, 2.0, 3.0]}), row_group_size=50))
    estimator = LassoCV(alphas=[1e-1, 1e-5, 1e-6], tol=1e-12, cv=4)
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target="y", engine=local)
    theirs = clone(estimator).fit(frame[["x0", "x1", "x2"]], frame["y"])
    np.testing.assert_allclose(ours.mse_path_, theirs.mse_path_, rtol=1e-7)
    assert ours.alpha_ == theirs.alpha_ == 1e-6
    assert ours.fit_report_["passes"] == 2


def test_one_block_and_fewer_rows_than_features(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    small = pa.table({**{f"x{i}": rng.normal(size=12) for i in range(20)}, "y": rng.normal(size=12)})
    data = pqy.open_dataset(write_parquet(small, files=1, row_group_size=100))
    frame = data.to_pandas()
    for estimator in (Lasso(alpha=0.05), LassoCV(alphas=7, cv=3), ElasticNet(alpha=0.1)):
        ours = pqy.fit(estimator, data, target="y", engine=local)
        theirs = clone(estimator).fit(frame.drop(columns="y"), frame["y"])
        assert_same_model(ours, theirs, 1e-8, apart=GAP)


@pytest.mark.parametrize(
    "estimator",
    [Lasso(alpha=50.0, tol=1e-12), LassoCV(alphas=5, cv=3, tol=1e-12), ElasticNet(alpha=1.0, tol=1e-12)],
    ids=str,
)
def test_sparse_features(local: Any, houses: Any, estimator: Any) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()[["place", "rooms"]]
    ours = pqy.fit(
        make_pipeline(OneHotEncoder(), clone(estimator)),
        data,
        target="price",
        features=["place", "rooms"],
        engine=local,
    )
    dense = ours[0].transform(frame).toarray()
    theirs = clone(estimator).fit(dense, data.to_pandas()["price"])
    np.testing.assert_allclose(ours[1].coef_, theirs.coef_, rtol=1e-6, atol=1e-6 * np.abs(theirs.coef_).max())
    if hasattr(theirs, "mse_path_"):
        np.testing.assert_allclose(ours[1].mse_path_, theirs.mse_path_, rtol=1e-7)


def test_behind_a_scaler(local: Any, rows: Any) -> None:
    data = rows(far)
    frame = data.to_pandas()
    pipeline = make_pipeline(StandardScaler(), LassoCV(alphas=10))
    ours = pqy.fit(pipeline, data, target="y", features=FEATURES, engine=local)
    theirs = clone(pipeline).fit(frame[FEATURES], frame["y"])
    np.testing.assert_allclose(ours[1].mse_path_, theirs[1].mse_path_, rtol=1e-8)
    assert not hasattr(ours[1], "feature_names_in_")


def test_no_convergence_is_scikit_learns_own_warning(local: Any, rows: Any) -> None:
    with pytest.warns(ConvergenceWarning, match=r"Duality gap: .*tolerance"):
        model = pqy.fit(Lasso(alpha=1e-4, max_iter=1), rows(), target="y", features=FEATURES, engine=local)
    assert model.n_iter_ == 1


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (LassoCV(alphas=4, cv=KFold(3, shuffle=True, random_state=0)), "cv="),
        (LassoCV(alphas=4, cv=[(np.arange(300), np.arange(300, 500))]), "cv="),
        (Lasso(alpha=0.1, precompute=np.eye(K)), "precompute="),
    ],
    ids=["shuffled", "pairs", "gram"],
)
def test_what_needs_all_rows_is_gathered_and_says_why(local: Any, rows: Any, estimator: Any, why: str) -> None:
    data = rows()
    frame = data.to_pandas()
    try:
        theirs = clone(estimator).fit(frame[FEATURES].copy(), frame["y"].copy())
    except ValueError as error:
        with pytest.raises(Exception, match=str(error)[:20]):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        return
    ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert why in report["why"]


@pytest.mark.parametrize(
    ("estimator", "target", "message"),
    [
        (Lasso(alpha=-1.0), "y", "'alpha' parameter of Lasso"),
        (ElasticNet(l1_ratio=2), "y", "l1_ratio"),
        (MultiTaskLasso(), "y", "MultiTaskLasso has one target only"),
        (MultiTaskElasticNetCV(), "y", "MultiTaskElasticNetCV has one target only"),
        (LassoCV(), ["y", "z"], "LassoCV has 2 targets. Use MultiTaskLassoCV"),
        (LassoCV(alphas=[-1.0, 1.0]), "y", r"alphas\[0\]"),
        (ElasticNetCV(l1_ratio=0), "y", "l1_ratio=0"),
        (LassoCV(cv=1), "y", "'cv' parameter of LassoCV"),
        (LassoCV(cv=10_000), "y", "cv=10000"),
    ],
    ids=str,
)
def test_bad_parameters(local: Any, rows: Any, estimator: Any, target: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        pqy.fit(estimator, rows(), target=target, features=FEATURES, engine=local)


def test_stratified_folds_of_a_number_are_scikit_learns_own_refusal(local: Any, rows: Any) -> None:
    with pytest.raises(Exception, match="Supported target types"):
        pqy.fit(LassoCV(cv=StratifiedKFold(3)), rows(), target="y", features=FEATURES, engine=local)


def test_bad_rows(local: Any, write_parquet: Any) -> None:
    x = np.arange(500.0)
    gap = np.where(x == 433, np.inf, x)
    sign = np.where(x == 7, -1.0, 1.0)
    late = np.where(x < 450, 0.0, 1.0)
    columns = {"x": x, "gap": gap, "text": ["a"] * 500, "y": x**0.5, "sign": sign, "late": late}
    folder = write_parquet(pa.table(columns))
    for estimator in (Lasso(), LassoCV(alphas=3)):
        with pytest.raises(NonFiniteValues, match=r"'gap' holds infinity.*part-1.parquet, row group 1, row 83"):
            pqy.fit(estimator, folder, target="y", features=["x", "gap"], engine=local)
        with pytest.raises(WrongColumnType, match="'text' is string"):
            pqy.fit(estimator, folder, target="y", features=["x", "text"], engine=local)
        with pytest.raises(BadParameter, match="must be non-negative"):
            pqy.fit(estimator, folder, target="y", features=["x"], sample_weight="sign", engine=local)
    with pytest.raises(BadParameter, match=r"in a fold.*add up to zero"):
        pqy.fit(LassoCV(alphas=3), folder, target="y", features=["x"], sample_weight="late", engine=local)


def test_too_many_folds_for_the_memory(local: Any, rows: Any) -> None:
    data = rows()
    with pytest.raises(TooBigForOneNode, match=r"5 features need .* 40 Gram matrices"):
        pqy.fit(LassoCV(cv=40), data, target="y", features=FEATURES, engine=local, memory=100_000)
    pqy.fit(LassoCV(cv=4, alphas=3), data, target="y", features=FEATURES, engine=local, memory=100_000)
