"""LogisticRegressionCV against scikit-learn's own fit of the same rows, with a tight tolerance there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.model_selection import KFold, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parity import assert_same
from parquetry.classical import logistic_cv, logistic_ground
from parquetry.errors import BadParameter, DegenerateColumn

N, K = 700, 4
FEATURES = [f"x{i}" for i in range(K)]
NEW: dict[str, Any] = {"use_legacy_attributes": False, "l1_ratios": (0.0,), "scoring": "neg_log_loss"}


@pytest.fixture
def rows(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    def make(classes: int = 2, *, even: bool = False) -> pqy.Dataset:
        rng = np.random.default_rng(8)
        x = rng.normal(size=(N, K))
        if not even:
            x = x * [1.0, 5.0, 1.0, 0.3] + [0.0, 0.0, 3.0, 0.0]
        scores = ((x - x.mean(axis=0)) / x.std(axis=0)) @ rng.normal(size=(K, classes))
        codes = (scores + 1.5 * rng.gumbel(size=(N, classes))).argmax(axis=1)
        table = {f"x{i}": x[:, i] for i in range(K)}
        table |= {"y": codes, "word": np.array(["no", "yes", "perhaps"])[codes], "w": rng.uniform(0, 3, N)}
        return pqy.open_dataset(write_parquet(pa.table(table), f"cv-{classes}", files=2, row_group_size=90))

    return make


@pytest.fixture(params=[120, 32_768], ids=["sample of some rows", "sample of all rows"])
def sample(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", request.param)


def both(
    estimator: Any, data: pqy.Dataset, engine: Any, *, target: str = "y", weight: str | None = None, **more: Any
) -> tuple[Any, Any]:
    frame = data.to_pandas(limit=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=engine, **more)
    solver = "newton-cholesky" if estimator.solver == "lbfgs" else estimator.solver
    theirs = clone(estimator).set_params(tol=1e-9 if solver == "liblinear" else 1e-11, max_iter=50_000, solver=solver)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(frame[FEATURES], frame[target].to_numpy(), None if weight is None else frame[weight].to_numpy())
    return ours, theirs


def assert_same_fit(ours: Any, theirs: Any, rtol: float = 1e-6) -> None:
    """Every learned attribute: type, shape, dtype, keys, values; iterations are our own."""
    for name in [k for k in vars(theirs) if k.endswith("_")]:
        mine, other = getattr(ours, name), getattr(theirs, name)
        if name == "n_iter_":
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
            assert (mine >= 1).all()
        elif isinstance(other, dict):
            assert [(type(k), k) for k in mine] == [(type(k), k) for k in other], name
            for key, value in other.items():
                assert_same(mine[key], value, f"{name}[{key}]", rtol)
        else:
            assert_same(mine, other, name, rtol)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "weight"),
    [
        (LogisticRegressionCV(), None),
        (LogisticRegressionCV(Cs=4, cv=3, class_weight="balanced", scoring="accuracy"), "w"),
        (LogisticRegressionCV(Cs=[0.01, 10.0, 0.3], cv=KFold(4), **NEW), "w"),
        (LogisticRegressionCV(Cs=[0.01, 1], cv=StratifiedKFold(3), refit=False, fit_intercept=False, **NEW), None),
        (
            LogisticRegressionCV(Cs=[0.1, 2.0], cv=3, refit=False, scoring="neg_log_loss", class_weight={"yes": 3.0}),
            "w",
        ),
        (LogisticRegressionCV(Cs=[0.5, np.inf], cv=3, **NEW), None),
    ],
    ids=["default", "balanced", "KFold", "no refit, no intercept", "no refit, legacy", "no penalty"],
)
def test_parity(local: Any, rows: Any, sample: None, classes: int, estimator: Any, weight: str | None) -> None:
    ours, theirs = both(estimator, rows(classes), local, target="word", weight=weight)
    assert_same_fit(ours, theirs)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] <= 16


def test_equal_models_have_equal_scores_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    n, models = 4097, 7
    arrays = {"y": np.floor(rng.uniform(0, 2, n)), "fold": np.zeros(n), "w": rng.uniform(0, 3, n)}
    matrix, plain = np.asfortranarray(rng.normal(size=(n, 2))), SimpleNamespace(weight_step=None)
    batch = SimpleNamespace(matrix=matrix, arrays=arrays, num_rows=n, view=plain)
    coefs = np.tile([1.0, -2.0, 0.1], (models, 1, 1))
    for scoring in ("accuracy", "neg_log_loss"):
        sums = logistic_cv.HeldOutScores(coefs, np.zeros(models), scoring).partial(batch)
        # The first of equal penalties is chosen: rounding must not make another one the best.
        assert len(set(sums[0].tolist())) == 1
        assert 0 < abs(sums[0, 0]) < 3 * sums[1, 0]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize(("refit", "classes"), [(True, 2), (False, 2), (True, 3)])
def test_elastic_net(local: Any, rows: Any, sample: None, refit: bool, classes: int, legacy: bool) -> None:
    estimator = LogisticRegressionCV(
        Cs=[0.05, 0.2], l1_ratios=np.array([0.2, 0.8]), solver="saga", cv=3, refit=refit,
        scoring="neg_log_loss", use_legacy_attributes=legacy,
    )  # fmt: skip
    ours, theirs = both(estimator, rows(classes, even=True), local)
    if classes == 3:
        # saga leaves some number in all intercepts; no probability depends on it.
        theirs.intercept_ = theirs.intercept_ - theirs.intercept_.mean()
        paths = theirs.coefs_paths_
        for path in [np.stack(list(paths.values()), axis=-2)] if legacy else [paths]:
            path[..., -1] -= path[..., -1].mean(axis=-1, keepdims=True)
            if legacy:
                theirs.coefs_paths_ = dict(zip(paths, np.moveaxis(path, -2, 0), strict=True))
    assert_same_fit(ours, theirs)


def test_liblinear_and_a_penalty_by_name(local: Any, rows: Any, sample: None) -> None:
    data = rows(even=True)
    lasso = LogisticRegressionCV(Cs=[0.05, 0.2], penalty="l1", solver="liblinear", cv=3, use_legacy_attributes=False)
    for estimator in (lasso, LogisticRegressionCV(Cs=3, solver="liblinear", intercept_scaling=3.0, **NEW)):
        ours, theirs = both(estimator, data, local)
        assert_same_fit(ours, theirs, rtol=1e-5)


def test_sparse_features_and_a_pipeline(local: Any, write_parquet: Any, sample: None) -> None:
    rng = np.random.default_rng(4)
    codes = {"x0": rng.integers(0, 30, 900), "x1": rng.integers(0, 5, 900)}
    y = rng.random(900) < 1 / (1 + np.exp(-rng.normal(size=30)[codes["x0"]] + 0.3 * codes["x1"]))
    data = pqy.open_dataset(write_parquet(pa.table({**codes, "y": y})))
    search = LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, **NEW)
    ours = pqy.fit(make_pipeline(OneHotEncoder(), search), data, target="y", engine=local)
    hot = OneHotEncoder().fit_transform(data.to_pandas()[["x0", "x1"]])
    theirs = clone(search).set_params(solver="newton-cg", tol=1e-12).fit(hot, y)
    np.testing.assert_allclose(ours[-1].coefs_paths_, theirs.coefs_paths_, atol=1e-6)
    np.testing.assert_allclose(ours[-1].scores_, theirs.scores_, atol=1e-8)
    np.testing.assert_allclose(ours[-1].coef_, theirs.coef_, atol=1e-6)


def test_groups_where_the_memory_does_not_hold_all_models(local: Any, rows: Any) -> None:
    data = rows(3)
    search = LogisticRegressionCV(Cs=4, cv=3, **NEW)
    whole = pqy.fit(search, data, target="y", features=FEATURES, engine=local)
    parts = pqy.fit(search, data, target="y", features=FEATURES, engine=local, memory=200_000)
    assert parts.fit_report_["passes"] > whole.fit_report_["passes"]
    np.testing.assert_allclose(parts.coefs_paths_, whole.coefs_paths_, atol=1e-7)
    np.testing.assert_allclose(parts.scores_, whole.scores_, atol=1e-8)


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, rows: Any) -> None:
    search = LogisticRegressionCV(Cs=[0.01, 1.0], cv=3, **NEW)

    def bits(engine: Any) -> list[bytes]:
        model = pqy.fit(search, rows, target="y", features=FEATURES, sample_weight="w", engine=engine)
        return [a.tobytes() for a in (model.coef_, model.coefs_paths_, model.scores_, model.n_iter_)]

    rows = rows(3)
    expected = bits(local)
    assert bits(dask_engine) == expected
    assert bits(spark_engine) == expected


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"scoring": "roc_auc"}, "scoring='roc_auc' is no sum"),
        ({"cv": ShuffleSplit(2, random_state=0)}, "cv=ShuffleSplit"),
        ({"cv": KFold(3, shuffle=True, random_state=0)}, "cv=KFold"),
    ],
)
def test_what_needs_all_rows_is_gathered_and_says_why(local: Any, rows: Any, changes: Any, why: str) -> None:
    search = LogisticRegressionCV(Cs=2, **{**NEW, **changes})
    data = rows(even=True)
    ours = pqy.fit(search, data, target="y", features=FEATURES, engine=local)
    frame = data.to_pandas()
    theirs = clone(search).fit(frame[FEATURES], frame["y"])
    np.testing.assert_allclose(ours.coef_, theirs.coef_)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert why in report["why"]


def test_warnings(local: Any, rows: Any, write_parquet: Any) -> None:
    data = rows()
    with pytest.warns(FutureWarning, match="default value for l1_ratios will change"):
        pqy.fit(LogisticRegressionCV(Cs=2, cv=2), data, target="y", features=FEATURES, engine=local)
    with pytest.warns(ConvergenceWarning, match=r"did not converge in \d+ of 4 fits: after 1 iterations"):
        pqy.fit(LogisticRegressionCV(Cs=2, cv=2, max_iter=1, **NEW), data, target="y", features=FEATURES, engine=local)
    apart = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(-50.0, 50.0), "y": np.arange(100) >= 50})))
    with pytest.warns(ConvergenceWarning, match="perfectly separable .* in 2 of 4 fits"):
        model = pqy.fit(LogisticRegressionCV(Cs=[1.0, np.inf], cv=2, **NEW), apart, target="y", engine=local)
    assert np.isfinite(model.coefs_paths_).all()


def test_bad_parameters(local: Any, rows: Any, write_parquet: Any) -> None:
    data = rows()
    for changes, message in (
        ({"Cs": [1.0, -1.0]}, "must be positive numbers"),
        ({"Cs": []}, "must be positive numbers"),
        ({"cv": 600}, "cv=600 folds"),
        ({"l1_ratios": [0.5]}, "supports only 'l2' or None penalties"),
        ({"l1_ratios": [1.5], "solver": "saga"}, "between 0 and 1"),
        ({"refit": "maybe"}, "'refit' parameter"),
    ):
        search = LogisticRegressionCV(**{**NEW, **changes})
        with pytest.raises(BadParameter, match=message):
            pqy.fit(search, data, target="y", features=FEATURES, engine=local)
    one = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(50.0), "y": np.ones(50, dtype=int)}), "one"))
    with pytest.raises(DegenerateColumn, match="one class only"):
        pqy.fit(LogisticRegressionCV(**NEW), one, target="y", engine=local)
