"""RidgeCV and RidgeClassifierCV against scikit-learn's own fit: leaving out rows, leaving out folds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge, RidgeClassifierCV, RidgeCV
from sklearn.metrics import make_scorer, r2_score
from sklearn.model_selection import GridSearchCV, KFold, LeaveOneOut, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode
from regressions import (
    FEATURES,
    SHAPES,
    assert_same_model,
    far,
    fit_both,
    nearly_collinear,
    table,
    uneven_scales,
    well,
)

ALPHAS = [0.01, 1.0, 30.0, 1000.0]
REGRESSORS = [
    RidgeCV(ALPHAS),
    RidgeCV(ALPHAS, fit_intercept=False),
    RidgeCV(ALPHAS, scoring="r2"),
    RidgeCV(ALPHAS, scoring="neg_root_mean_squared_error"),
    RidgeCV(ALPHAS, scoring="neg_mean_absolute_error", fit_intercept=False),
    RidgeCV(ALPHAS, cv=5),
    RidgeCV([1, 10, 100], cv=KFold(3), fit_intercept=False),
    RidgeCV(ALPHAS, cv=4, scoring="neg_root_mean_squared_error"),
    RidgeCV(ALPHAS, cv=3, scoring="neg_mean_squared_error", fit_intercept=False),
    RidgeCV(ALPHAS, cv=3, scoring="neg_mean_absolute_error"),
]
CLASSIFIERS = [
    RidgeClassifierCV([0.1, 10.0, 300.0]),
    RidgeClassifierCV([0.1, 10.0], fit_intercept=False, class_weight="balanced"),
    RidgeClassifierCV([0.1, 300.0, 3000.0], cv=4, class_weight="balanced"),
    RidgeClassifierCV([0.1, 300.0], cv=KFold(3), scoring="accuracy"),
]


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


def tolerance(shape: Any, estimator: Any) -> float:
    """What scikit-learn's own digits allow: its leave-one-out squares the condition number."""
    if shape is far and not estimator.fit_intercept:
        return 1e-3
    return 1e-7 if shape in (uneven_scales, nearly_collinear, far) else 1e-9


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
@pytest.mark.parametrize("weight", [None, "mass"])
def test_parity(local: Any, rows: Any, shape: Any, estimator: Any, weight: str | None) -> None:
    target = ["y", "z"] if "mean" in str(estimator.scoring) else "y"
    ours, theirs = fit_both(estimator, rows(shape), local, target=target, weight=weight)
    assert_same_model(ours, theirs, tolerance(shape, estimator))
    report = ours.fit_report_
    assert report["placement"] == "distributed"
    by_rows = estimator.cv is None or estimator.scoring == "neg_mean_absolute_error"
    refined = 4 if shape is nearly_collinear else 0
    assert 1 + by_rows <= report["passes"] <= 1 + by_rows + refined
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("shape", [well, far], ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
@pytest.mark.parametrize("target", ["two", "four", ["flag", "mark"]], ids=str)
@pytest.mark.parametrize("weight", [None, "weight"])
def test_classifiers(local: Any, rows: Any, shape: Any, estimator: Any, target: Any, weight: str | None) -> None:
    if shape is far and not estimator.fit_intercept:
        estimator = clone(estimator).set_params(fit_intercept=True)
    data = rows(shape)
    ours, theirs = fit_both(estimator, data, local, target=target, weight=weight)
    assert_same_model(ours, theirs, 1e-9 if shape is well else 1e-7)
    x = data.to_pandas()[FEATURES]
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 3 + (estimator.cv == 4 and isinstance(target, str))


def test_a_penalty_for_each_target(local: Any, rows: Any) -> None:
    data = rows(uneven_scales)
    for estimator in (
        RidgeCV(ALPHAS, alpha_per_target=True),
        RidgeCV(ALPHAS, alpha_per_target=True, scoring="r2", fit_intercept=False),
    ):
        ours, theirs = fit_both(estimator, data, local, target=["y", "z"], weight="mass")
        assert_same_model(ours, theirs, 1e-7)
        assert ours.alpha_.shape == (2,)
    ours, theirs = fit_both(RidgeCV(ALPHAS, alpha_per_target=True), data, local, target="y")
    assert_same_model(ours, theirs, 1e-7)


@pytest.mark.parametrize("fit_intercept", [True, False])
def test_leaving_out_rows_one_by_one_gives_the_same_scores(local: Any, write_parquet: Any, fit_intercept: bool) -> None:
    few = table(nearly_collinear).slice(0, 90)
    frame = few.to_pandas()
    estimator = RidgeCV([0.5, 50.0], fit_intercept=fit_intercept)
    ours = pqy.fit(estimator, write_parquet(few, row_group_size=20), target="y", features=FEATURES, engine=local)
    grid = {"alpha": [0.5, 50.0]}
    search = GridSearchCV(
        Ridge(fit_intercept=fit_intercept), grid, cv=LeaveOneOut(), scoring="neg_mean_squared_error"
    ).fit(frame[FEATURES], frame["y"])
    assert ours.alpha_ == search.best_params_["alpha"]
    np.testing.assert_allclose(ours.best_score_, search.best_score_, rtol=1e-10)


def test_a_row_of_no_weight_counts_for_nothing(local: Any, rows: Any, write_parquet: Any) -> None:
    data = rows()
    kept = write_parquet(table().filter(np.asarray(table()["weight"]) > 0), "kept")
    for scoring in ("r2", "neg_mean_absolute_error"):
        estimator = RidgeCV(ALPHAS, scoring=scoring)
        arguments = {"target": "y", "features": FEATURES, "sample_weight": "weight", "engine": local}
        ours, without = pqy.fit(estimator, data, **arguments), pqy.fit(estimator, kept, **arguments)
        np.testing.assert_allclose(ours.best_score_, without.best_score_, rtol=1e-12)
        np.testing.assert_allclose(ours.coef_, without.coef_, rtol=1e-12)
    ours, theirs = fit_both(RidgeCV(ALPHAS), data, local, target="y", weight="weight")
    assert_same_model(ours, theirs)


def test_far_from_zero_no_digit_is_lost(local: Any, write_parquet: Any) -> None:
    found = table()
    columns = {name: found[name].to_numpy() + (1e9 if name in FEATURES else 0.0) for name in (*FEATURES, "y", "z")}
    data = pqy.open_dataset(write_parquet(pa.table(columns), row_group_size=90))
    frame = data.to_pandas()
    for estimator in (RidgeCV(ALPHAS), RidgeCV(ALPHAS, cv=5), RidgeCV(ALPHAS, cv=3, scoring="neg_mean_absolute_error")):
        ours = pqy.fit(estimator, data, target=["y", "z"], features=FEATURES, engine=local)
        theirs = clone(estimator).fit(frame[FEATURES] - 1e9, frame[["y", "z"]])
        assert_same_model(ours, theirs, 1e-11, apart=("intercept_",))


@pytest.mark.parametrize(
    ("estimator", "target"),
    [(RidgeCV(ALPHAS, alpha_per_target=True), ["y", "z"]), (RidgeClassifierCV(ALPHAS, cv=3), "four")],
    ids=str,
)
def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, rows: Any, estimator: Any, target: Any
) -> None:
    data, bits = rows(nearly_collinear), []
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight="weight", engine=engine)
        parts = (model.coef_, model.intercept_, model.alpha_, model.best_score_)
        bits.append([np.asarray(part).tobytes() for part in parts])
    assert bits[0] == bits[1] == bits[2]


def test_sparse_features(local: Any, houses: Any) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()[["place", "rooms"]]
    price = data.to_pandas()["price"]
    for estimator in (RidgeCV(ALPHAS), RidgeCV(ALPHAS, fit_intercept=False), RidgeCV(ALPHAS, cv=3)):
        pipeline = make_pipeline(OneHotEncoder(), clone(estimator))
        ours = pqy.fit(pipeline, data, target="price", features=["place", "rooms"], engine=local)
        theirs = clone(estimator).fit(ours[0].transform(frame).toarray(), price)
        assert_same_model(ours[1], theirs)


def test_classes_that_a_fold_never_sees(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2))
    columns = {"a": x[:, 0], "b": x[:, 1], "one": np.repeat([0, 1, 2], 100), "two": np.repeat([5, 7], [100, 200])}
    data = pqy.open_dataset(write_parquet(pa.table(columns), row_group_size=40))
    frame = data.to_pandas()
    for target, cv in (("one", KFold(3)), ("two", KFold(3)), ("two", KFold(2))):
        estimator = RidgeClassifierCV([1.0, 10.0], cv=cv)
        ours = pqy.fit(estimator, data, target=target, features=["a", "b"], engine=local)
        theirs = clone(estimator).fit(frame[["a", "b"]], frame[target])
        assert_same_model(ours, theirs)


def test_one_row_a_fold_and_one_block(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    small = pa.table({"a": rng.normal(size=9), "b": rng.normal(size=9), "y": rng.normal(size=9)})
    data = pqy.open_dataset(write_parquet(small, files=1))
    frame = data.to_pandas()
    for estimator in (RidgeCV(ALPHAS, cv=9, scoring="neg_mean_squared_error"), RidgeCV(ALPHAS), RidgeCV(ALPHAS, cv=2)):
        ours = pqy.fit(estimator, data, target="y", engine=local)
        assert_same_model(ours, clone(estimator).fit(frame[["a", "b"]], frame["y"]))
        assert ours.fit_report_["placement"] == "distributed"
    # R² of one row is no number, for scikit-learn either: the first penalty is taken.
    ours = pqy.fit(RidgeCV([30.0, 1.0], cv=9), data, target="y", engine=local)
    assert np.isnan(ours.best_score_)
    assert ours.alpha_ == 30.0


def test_an_exact_fit_measures_its_errors_row_by_row(local: Any, write_parquet: Any) -> None:
    x = np.random.default_rng(0).normal(size=(400, 3))
    columns = {f"x{i}": x[:, i] for i in range(3)}
    data = pqy.open_dataset(write_parquet(pa.table({**columns, "y": x @ [1.0, 2.0, 3.0]}), row_group_size=50))
    frame = data.to_pandas()
    estimator = RidgeCV([1e-2, 1e-4, 1.0], cv=4, scoring="neg_mean_squared_error")
    ours = pqy.fit(estimator, data, target="y", engine=local)
    theirs = clone(estimator).fit(frame[["x0", "x1", "x2"]], frame["y"])
    assert_same_model(ours, theirs, apart=("intercept_", "best_score_"))
    np.testing.assert_allclose(ours.best_score_, theirs.best_score_, rtol=1e-6)
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, atol=1e-15)
    assert ours.fit_report_["passes"] == 2


@pytest.mark.parametrize(
    ("estimator", "target", "why"),
    [
        (RidgeCV(ALPHAS, store_cv_results=True), "y", "store_cv_results=True"),
        (RidgeCV(ALPHAS, cv=KFold(3, shuffle=True, random_state=0)), "y", "cv="),
        (RidgeCV(ALPHAS, cv=3, scoring="neg_median_absolute_error"), "y", "scoring="),
        (RidgeCV(ALPHAS, scoring=make_scorer(r2_score)), "y", "scoring="),
        (RidgeClassifierCV(ALPHAS, cv=3, scoring="f1_macro"), "four", "scoring="),
        (RidgeClassifierCV(ALPHAS, store_cv_results=True), "four", "store_cv_results=True"),
    ],
    ids=str,
)
def test_what_needs_all_rows_is_gathered_and_says_why(
    local: Any, rows: Any, estimator: Any, target: str, why: str
) -> None:
    ours, theirs = fit_both(estimator, rows(), local, target=target)
    assert_same_model(ours, theirs, 0.0)
    assert hasattr(ours, "cv_results_") == estimator.store_cv_results
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert why in report["why"]


def test_no_more_rows_than_features(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    wide = pa.table({**{f"x{i}": rng.normal(size=8) for i in range(9)}, "y": rng.normal(size=8)})
    ours = pqy.fit(RidgeCV(), write_parquet(wide, row_group_size=3), target="y", engine=local)
    assert ours.fit_report_["placement"] == "single-node"
    assert "no more rows than features" in ours.fit_report_["steps"][0]["why"]


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (RidgeCV([0.0, 1.0]), "must be above 0"),
        (RidgeCV([-1.0, 1.0], cv=3), "must be 0 or more"),
        (RidgeCV([]), "no list of numbers"),
        (RidgeCV([[1.0, 2.0]]), "no list of numbers"),
        (RidgeCV(cv=3, alpha_per_target=True), "alpha_per_target=True works with cv=None"),
        (RidgeCV(cv=3, store_cv_results=True), "store_cv_results=True works with cv=None"),
        (RidgeCV(gcv_mode="magic"), "gcv_mode"),
        (RidgeCV(cv=10_000), "cv=10000 folds"),
    ],
    ids=str,
)
def test_bad_parameters(local: Any, rows: Any, estimator: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        pqy.fit(estimator, rows(), target="y", features=FEATURES, engine=local)


def test_folds_by_class_of_a_number_are_scikit_learns_own_refusal(local: Any, rows: Any) -> None:
    with pytest.raises(Exception, match="Supported target types"):
        pqy.fit(RidgeCV(cv=StratifiedKFold(3)), rows(), target="y", features=FEATURES, engine=local)


def test_bad_rows(local: Any, write_parquet: Any) -> None:
    x = np.arange(500.0)
    columns = {"x": x, "gap": np.where(x == 433, np.nan, x), "y": x**0.5, "label": ["a"] * 250 + ["b"] * 250}
    folder = write_parquet(pa.table({**columns, "sign": np.where(x == 7, -1.0, 1.0)}))
    for estimator, target in ((RidgeCV(), "y"), (RidgeCV(cv=3), "y"), (RidgeClassifierCV(), "label")):
        with pytest.raises(NonFiniteValues, match=r"'gap' holds NaN.*part-1.parquet, row group 1, row 83"):
            pqy.fit(estimator, folder, target=target, features=["x", "gap"], engine=local)
        with pytest.raises(BadParameter, match="must be non-negative"):
            pqy.fit(estimator, folder, target=target, features=["x"], sample_weight="sign", engine=local)
    with pytest.raises(TooBigForOneNode, match=r"1 features need .* 3 Gram matrices"):
        pqy.fit(RidgeCV(cv=3), folder, target="y", features=["x"], engine=local, memory=1_000)


@pytest.mark.parametrize("seed", range(4))
def test_of_penalties_with_the_same_predictions_the_first_is_taken(local: Any, write_parquet: Any, seed: int) -> None:
    """They are right on the same rows, so that their weighted scores may not differ by a rounding."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(300, len(FEATURES)))
    columns = {
        **{name: x[:, i] for i, name in enumerate(FEATURES)},
        "two": (x[:, 0] > rng.normal(size=300)).astype(int),
    }
    data = pqy.open_dataset(write_parquet({**columns, "weight": rng.uniform(0.2, 3.0, 300)}, row_group_size=41))
    estimator = RidgeClassifierCV(alphas=(1e-7, 1e-6, 1e-5, 1e-4, 1e-3), cv=3)
    ours = pqy.fit(estimator, data, target="two", features=FEATURES, sample_weight="weight", engine=local)
    assert ours.alpha_ == 1e-7
