"""LogisticRegression against scikit-learn's own fit of the same rows, with a tight tolerance there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.callback import ProgressBar
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parity import assert_same, assert_same_learned
from parquetry.classical import logistic_ground
from parquetry.errors import (
    BadParameter,
    DegenerateColumn,
    NonFiniteValues,
    ParquetryError,
    TooBigForOneNode,
    WrongColumnType,
)
from shapes import Shapes

N, K = 900, 6
FEATURES = [f"x{i}" for i in range(K)]
LAYOUT = {"files": 3, "row_group_size": 120}


_OF = Shapes(N, K)
well, nearly_collinear, collinear, constant_column, uneven_scales = (
    _OF.well,
    _OF.nearly_collinear,
    _OF.collinear,
    _OF.constant_column,
    _OF.uneven_scales,
)


def rare_values(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 2] = rng.random(N) < 0.06
    x[:, 4] *= rng.random(N) < 0.05
    return x


DATA = [well, nearly_collinear, collinear, constant_column, uneven_scales, rare_values]


@pytest.fixture
def rows(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    """Rows of a shape whose classes overlap; fewer of the first class where ``rare`` is less than 1."""

    def make(shape: Any = well, classes: int = 2, *, rare: float = 1.0, layout: Any = LAYOUT) -> pqy.Dataset:
        rng = np.random.default_rng(5)
        x = shape(rng)
        spread = np.maximum(x.std(axis=0), 1e-9)
        scores = ((x - x.mean(axis=0)) / spread) @ rng.normal(size=(K, classes))
        scores[:, 0] += np.log(rare)
        codes = (scores + 1.5 * rng.gumbel(size=(N, classes))).argmax(axis=1)
        table = {f"x{i}": x[:, i] for i in range(K)}
        table |= {"y": codes, "word": np.array(["no", "yes", "perhaps", "never"])[codes], "w": rng.uniform(0, 3, N)}
        return pqy.open_dataset(write_parquet(pa.table(table), f"{shape.__name__}-{classes}-{rare}", **layout))

    return make


@pytest.fixture(params=[100, 32_768], ids=["sample of some rows", "sample of all rows"])
def sample(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", request.param)
    return int(request.param)


@pytest.fixture
def some(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample of some of the rows."""
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", 150)


def both(
    estimator: Any, data: pqy.Dataset, engine: Any, *, target: str = "y", weight: str | None = None, **reference: Any
) -> tuple[Any, Any, Any]:
    """Our fit, scikit-learn's own with a tight tolerance, and X."""
    frame = data.to_pandas(limit=None)
    names = [c for c in frame.columns if c.startswith("x")]
    ours = pqy.fit(estimator, data, target=target, features=names, sample_weight=weight, engine=engine)
    reference.setdefault("solver", "newton-cholesky" if estimator.solver == "lbfgs" else estimator.solver)
    tol = 1e-9 if reference["solver"] == "liblinear" else 1e-11
    theirs = clone(estimator).set_params(tol=tol, max_iter=50_000, **reference)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs.fit(frame[names], frame[target].to_numpy(), None if weight is None else frame[weight].to_numpy())
    return ours, theirs, frame[names]


def assert_same_fit(ours: Any, theirs: Any, x: Any, rtol: float = 1e-6) -> None:
    """Every learned attribute and every prediction; iterations are our own, in the same form."""
    iterations = ours.n_iter_
    assert iterations.shape == theirs.n_iter_.shape
    assert iterations.dtype == theirs.n_iter_.dtype
    assert (iterations >= 1).all()
    if theirs.solver == "saga" and len(theirs.classes_) > 2:
        theirs.intercept_ = theirs.intercept_ - theirs.intercept_.mean()
    ours.n_iter_ = theirs.n_iter_
    assert_same_learned(ours, theirs, rtol)
    ours.n_iter_ = iterations
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=100 * rtol)


@pytest.mark.parametrize("shape", DATA, ids=lambda f: f.__name__)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(),
        LogisticRegression(C=np.inf),
        LogisticRegression(C=20.0, fit_intercept=False),
        LogisticRegression(C=0.01, class_weight="balanced"),
    ],
    ids=str,
)
def test_parity(local: Any, rows: Any, sample: int, shape: Any, classes: int, estimator: Any) -> None:
    data = rows(shape, classes)
    ours, theirs, x = both(estimator, data, local, weight="w" if estimator.class_weight else None)
    assert_same_fit(ours, theirs, x)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] <= (3 if sample > N else 9)
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("solver", ["lbfgs", "newton-cg", "newton-cholesky", "sag", "saga"])
def test_every_solver_reaches_the_one_optimum(local: Any, rows: Any, solver: str) -> None:
    data = rows(classes=3)
    ours, theirs, x = both(LogisticRegression(solver=solver), data, local, weight="w", solver="newton-cholesky")
    theirs.solver = solver
    assert_same_fit(ours, theirs, x)


@pytest.mark.parametrize(
    ("shape", "classes"), [(well, 2), (well, 3), (constant_column, 2), (constant_column, 3), (nearly_collinear, 2)]
)
@pytest.mark.parametrize("l1_ratio", [1.0, 0.4])
@pytest.mark.parametrize("intercept", [True, False])
def test_l1_and_elastic_net(
    local: Any, rows: Any, sample: int, shape: Any, classes: int, l1_ratio: float, intercept: bool
) -> None:
    data = rows(shape, classes)
    estimator = LogisticRegression(C=0.05, l1_ratio=l1_ratio, solver="saga", fit_intercept=intercept)
    ours, theirs, x = both(estimator, data, local, weight="w")
    assert_same_fit(ours, theirs, x)
    np.testing.assert_array_equal(ours.coef_ != 0, theirs.coef_ != 0)
    assert l1_ratio < 1 or (ours.coef_ == 0).any()


@pytest.mark.parametrize(
    "estimator",
    [
        LogisticRegression(solver="liblinear", C=0.1),
        LogisticRegression(solver="liblinear", C=0.1, intercept_scaling=5.0, class_weight={0: 2.0}),
        LogisticRegression(solver="liblinear", fit_intercept=False, dual=True),
        LogisticRegression(solver="liblinear", C=0.05, l1_ratio=1.0, intercept_scaling=2.0),
        LogisticRegression(solver="liblinear", C=0.05, l1_ratio=1.0, fit_intercept=False),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [well, constant_column, uneven_scales], ids=lambda f: f.__name__)
def test_liblinear_penalizes_the_intercept(local: Any, rows: Any, sample: int, shape: Any, estimator: Any) -> None:
    # Without an intercept and an L1 penalty its objective is everybody's, and others get nearer to the optimum.
    other = not estimator.fit_intercept and estimator.l1_ratio == 0.0
    solver = "newton-cholesky" if other else "liblinear"
    ours, theirs, x = both(estimator, rows(shape), local, weight="w", dual=False, solver=solver)
    if not estimator.fit_intercept:
        assert type(ours.intercept_) is float
        ours.intercept_, theirs.intercept_ = np.zeros(1), np.zeros(1)
    assert_same_fit(ours, theirs, x, rtol=2e-6)


def test_imbalanced_words_in_other_layouts(local: Any, rows: Any, some: None) -> None:
    layouts = [{"files": 1, "row_group_size": 10_000}, {"files": 4, "row_group_size": 17}]
    for i, layout in enumerate(layouts):
        data = rows(classes=3 + i, rare=0.02, layout=layout)
        estimator = LogisticRegression(class_weight={"no": 5.0})
        ours, theirs, x = both(estimator, data, local, target="word", weight="w")
        assert_same_fit(ours, theirs, x)
        assert ours.classes_.dtype == object


def far_objective(model: Any, x: np.ndarray, y: np.ndarray, c: float, scaling: float) -> float:
    """scikit-learn's objective, computed with more digits than it has itself."""
    scores = x.astype(np.longdouble) @ model.coef_[0].astype(np.longdouble) + np.asarray(model.intercept_)
    loss = np.logaddexp(0, np.where(y == 1, -scores, scores)).sum()
    return float(c * loss + 0.5 * (model.coef_**2).sum() + 0.5 * float(np.square(model.intercept_ / scaling).sum()))


def test_a_mean_far_from_zero_costs_no_digits(local: Any, rows: Any, some: None, write_parquet: Any) -> None:
    frame = rows().to_pandas()
    far = frame.assign(**{name: frame[name] + 1e9 for name in FEATURES})
    data = pqy.open_dataset(write_parquet(pa.Table.from_pandas(far), "far"))
    x, y = far[FEATURES].to_numpy(), far["y"].to_numpy()
    for c in (1.0, np.inf):
        ours = pqy.fit(LogisticRegression(C=c), data, target="y", features=FEATURES, engine=local)
        # What scikit-learn finds when it is given the columns less their offset, which a double hardly holds.
        theirs = LogisticRegression(C=c, solver="newton-cholesky", tol=1e-11).fit(x - 1e9, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(ours.predict(far[FEATURES]), theirs.predict(x - 1e9))
    for estimator in (LogisticRegression(C=0.1, solver="liblinear"), LogisticRegression(C=0.1, fit_intercept=False)):
        ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
        theirs = clone(estimator).set_params(tol=1e-10, max_iter=10_000).fit(x, y)
        found, reference = (far_objective(m, x, y, 0.1, 1.0) for m in (ours, theirs))
        assert found <= reference * (1 + 1e-9)


@pytest.mark.parametrize("kind", ["float32", "int16", "bool", "one feature"])
def test_types(local: Any, write_parquet: Any, some: None, kind: str) -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(400, 1 if kind == "one feature" else 3))
    y = (x.sum(axis=1) + rng.normal(size=400)) > 0
    narrow = {"int16": np.rint(3 * x), "bool": x > 0}.get(kind, x).astype("float64" if "one" in kind else kind)
    data = pqy.open_dataset(write_parquet(pa.table({**{f"x{i}": c for i, c in enumerate(narrow.T)}, "y": y})))
    ours, theirs, frame = both(LogisticRegression(), data, local)
    assert_same_fit(ours, theirs, frame, rtol=1e-4 if kind == "float32" else 1e-6)


def test_few_rows(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(1)
    table = {**{f"x{i}": rng.normal(size=6) for i in range(9)}, "y": [0, 1, 2, 0, 1, 2]}
    data = pqy.open_dataset(write_parquet(pa.table(table), row_group_size=2))
    ours, theirs, x = both(LogisticRegression(), data, local)
    assert_same_fit(ours, theirs, x)


def wide_rows(write_parquet: Any, n: int, width: int, classes: int) -> pqy.Dataset:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(n, width)) @ (np.eye(width) + rng.normal(size=(width, width)) / np.sqrt(width))
    codes = (x @ rng.normal(size=(width, classes)) / np.sqrt(width) + rng.gumbel(size=(n, classes))).argmax(axis=1)
    table = pa.table({**{f"x{i}": c for i, c in enumerate(x.T)}, "y": codes})
    return pqy.open_dataset(write_parquet(table, row_group_size=n // 8))


@pytest.mark.parametrize(("width", "classes"), [(80, 2), (300, 2), (45, 7)])
def test_many_coefficients(
    local: Any, write_parquet: Any, monkeypatch: pytest.MonkeyPatch, width: int, classes: int
) -> None:
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", 2_000)
    data = wide_rows(write_parquet, 4_000, width, classes)
    ours, theirs, x = both(LogisticRegression(C=0.1), data, local, solver="newton-cg")
    theirs.solver = "lbfgs"
    assert_same_fit(ours, theirs, x)
    assert ours.fit_report_["passes"] <= 25


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_without_matrices_of_second_derivatives(
    local: Any, write_parquet: Any, monkeypatch: pytest.MonkeyPatch, l1_ratio: float
) -> None:
    for name in ("_CURVED", "_MOST_CURVED", "_MATRIX"):
        monkeypatch.setattr(logistic_ground, name, 10)
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", 1_000)
    data = wide_rows(write_parquet, 3_000, 20, 3)
    solver = "saga" if l1_ratio else "lbfgs"
    ours, theirs, x = both(LogisticRegression(C=0.02, l1_ratio=l1_ratio, solver=solver), data, local)
    assert_same_fit(ours, theirs, x)
    np.testing.assert_array_equal(ours.coef_ != 0, theirs.coef_ != 0)
    bonded, without, _ = both(LogisticRegression(C=0.1, fit_intercept=False), data, local, solver="newton-cg")
    assert_same_fit(bonded, without, x)


@pytest.mark.parametrize("l1_ratio", [0.0, 1.0])
def test_sparse_features(local: Any, write_parquet: Any, some: None, l1_ratio: float) -> None:
    rng = np.random.default_rng(4)
    codes = {f"x{i}": np.minimum(rng.zipf(1.5, 2_000), 400) for i in range(3)}
    effects = rng.normal(size=(3, 401))
    score = sum(effects[i, c] for i, c in enumerate(codes.values()))
    data = pqy.open_dataset(write_parquet(pa.table({**codes, "y": rng.random(2_000) < 1 / (1 + np.exp(-score))})))
    solver = LogisticRegression(C=0.5, l1_ratio=l1_ratio, solver="saga" if l1_ratio else "lbfgs")
    ours = pqy.fit(make_pipeline(OneHotEncoder(), solver), data, target="y", engine=local)
    frame = data.to_pandas()
    hot = OneHotEncoder().fit_transform(frame[list(codes)])
    tight = {"solver": "saga", "tol": 1e-9} if l1_ratio else {"solver": "newton-cg", "tol": 1e-12}
    theirs = clone(solver).set_params(max_iter=20_000, **tight).fit(hot, frame["y"])
    np.testing.assert_allclose(ours[-1].coef_, theirs.coef_, atol=2e-6)
    np.testing.assert_allclose(ours[-1].intercept_, theirs.intercept_, atol=2e-6)
    np.testing.assert_array_equal(ours[-1].coef_ != 0, theirs.coef_ != 0)
    assert {r["placement"] for r in ours.fit_report_["steps"]} == {"distributed"}


def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, rows: Any, write_parquet: Any
) -> None:
    data = rows(classes=3)
    rng = np.random.default_rng(0)
    n = 40_000  # more than the sample, so that passes find what the sample cannot know
    big = {"x0": rng.normal(size=n), "x1": rng.normal(size=n) + 1e6, "w": rng.uniform(0, 2, n)}
    big["y"] = (big["x0"] + rng.normal(size=n) > 0).astype(np.int64)
    large = pqy.open_dataset(write_parquet(pa.table(big), "large", row_group_size=3_000))
    lasso = LogisticRegression(C=0.05, l1_ratio=1.0, solver="saga", class_weight="balanced")

    def bits(engine: Any) -> list[bytes]:
        three = pqy.fit(lasso, data, target="word", features=FEATURES, sample_weight="w", engine=engine)
        two = pqy.fit(LogisticRegression(), large, target="y", features=["x0", "x1"], sample_weight="w", engine=engine)
        assert two.n_iter_[0] > 1
        return [a.tobytes() for m in (three, two) for a in (m.coef_, m.intercept_, m.n_iter_)]

    expected = bits(local)
    assert bits(dask_engine) == expected
    assert bits(spark_engine) == expected
    with pqy.open_engine("local", workers=3) as more:
        assert bits(more) == expected


# --- where there is no optimum, or it is not reached -----------------------------------------
@pytest.mark.parametrize("classes", [2, 3])
def test_separable_classes_warn_and_do_not_diverge(local: Any, write_parquet: Any, sample: int, classes: int) -> None:
    x = np.random.default_rng(0).normal(size=(600, 2))
    y = np.digitize(x[:, 0], [0.0] if classes == 2 else [-0.5, 0.5])
    data = pqy.open_dataset(write_parquet(pa.table({"x0": x[:, 0], "x1": x[:, 1], "y": y})))
    with pytest.warns(ConvergenceWarning, match="perfectly separable .* no finite optimum.*finite C"):
        ours = pqy.fit(LogisticRegression(C=np.inf), data, target="y", engine=local)
    assert np.isfinite(ours.coef_).all()
    assert ours.fit_report_["passes"] < 25
    np.testing.assert_array_equal(ours.predict(data.to_pandas()[["x0", "x1"]]), y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        penalized, theirs, frame = both(LogisticRegression(C=100.0), data, local)
    assert_same_fit(penalized, theirs, frame)


def test_a_value_that_only_one_class_has(local: Any, rows: Any, sample: int, write_parquet: Any) -> None:
    frame = rows().to_pandas().assign(x5=lambda f: (f["y"] == 1) & (f["x0"] > 1.2))
    data = pqy.open_dataset(write_parquet(frame, "quasi"))
    with pytest.warns(ConvergenceWarning, match="separable along some direction"):
        ours = pqy.fit(LogisticRegression(C=np.inf), data, target="y", features=FEATURES, engine=local)
    # The other coefficients have their own optimum: that of the rows which the value does not decide.
    rest = frame[~frame["x5"]]
    theirs = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-11).fit(rest[FEATURES[:5]], rest["y"])
    np.testing.assert_allclose(ours.coef_[:, :5], theirs.coef_, atol=1e-5)
    assert 10 < ours.coef_[0, 5] < 100


def test_a_class_without_weight(local: Any, rows: Any, write_parquet: Any) -> None:
    frame = rows().to_pandas().assign(w=lambda f: np.where(f["y"] == 1, 0.0, 1.0))
    data = pqy.open_dataset(write_parquet(frame, "weightless"))
    with pytest.warns(ConvergenceWarning, match="every class has weight"):
        ours = pqy.fit(LogisticRegression(), data, target="y", features=FEATURES, sample_weight="w", engine=local)
    assert (ours.predict(frame[FEATURES]) == 0).all()
    assert np.isfinite(ours.intercept_).all()


def test_not_converged(local: Any, rows: Any, some: None) -> None:
    data = rows(uneven_scales, 3)
    with pytest.warns(
        ConvergenceWarning,
        match=r"did not converge: after 1 iterations the largest .* gradient is \d\.\de-0\d.*max_iter",
    ):
        ours = pqy.fit(LogisticRegression(max_iter=1), data, target="y", features=FEATURES, engine=local)
    assert ours.n_iter_.tolist() == [1]
    with pytest.warns(ConvergenceWarning, match="after 0 iterations"):
        none = pqy.fit(LogisticRegression(max_iter=0), data, target="y", features=FEATURES, engine=local)
    assert not none.coef_.any()


def test_tol_is_a_bound_of_the_coefficients_error(local: Any, rows: Any, some: None) -> None:
    data = rows(classes=3)
    fits = [
        pqy.fit(LogisticRegression(tol=tol), data, target="y", features=FEATURES, engine=local)
        for tol in (1e-9, 1e-4, 1.0)
    ]
    errors = [np.abs(m.coef_ - fits[0].coef_).max() for m in fits]
    assert errors[1] <= 1e-7
    assert errors[2] <= 1e-3
    passes = [m.fit_report_["passes"] for m in fits]
    assert passes == sorted(passes, reverse=True)


def test_warm_start_changes_nothing(local: Any, rows: Any) -> None:
    data = rows()
    fitted = LogisticRegression(warm_start=True)
    fitted.coef_, fitted.intercept_ = np.full((1, K), 9.0), np.full(1, 9.0)
    ours = pqy.fit(fitted, data, target="y", features=FEATURES, engine=local)
    plain = pqy.fit(LogisticRegression(), data, target="y", features=FEATURES, engine=local)
    assert ours.coef_.tobytes() == plain.coef_.tobytes()
    assert (fitted.coef_ == 9.0).all()


def test_deprecated_parameters_mean_what_they_do_in_scikit_learn(local: Any, rows: Any) -> None:
    data = rows()
    for estimator in (
        LogisticRegression(penalty=None),
        LogisticRegression(penalty="l1", C=0.05, l1_ratio=1.0, solver="liblinear"),
        LogisticRegression(penalty="elasticnet", C=0.05, l1_ratio=0.5, solver="saga"),
    ):
        with pytest.warns(FutureWarning, match="'penalty' was deprecated"):
            ours, theirs, x = both(estimator, data, local)
        assert_same_fit(ours, theirs, x, rtol=2e-6)


# --- bad input ------------------------------------------------------------------------------
def test_bad_columns(local: Any, write_parquet: Any) -> None:
    n = 300
    x = np.random.default_rng(0).normal(size=n)
    gap = x.copy()
    gap[[170, 250]] = [np.nan, np.inf]
    weight = np.ones(n)
    weight[3] = -1.0
    columns = {
        "x": x, "gap": gap, "text": ["a"] * n, "y": x > 0, "one": np.ones(n, dtype=int), "real": x,
        "mixed": pa.array(["a", None] * (n // 2)), "negative": weight, "zero": np.zeros(n),
    }  # fmt: skip
    data = pqy.open_dataset(write_parquet(pa.table(columns)))
    cases: list[tuple[dict[str, Any], type[ParquetryError], str]] = [
        ({"target": "one"}, DegenerateColumn, "holds one class only: 1"),
        ({"target": "real"}, WrongColumnType, "holds fractions"),
        ({"target": "mixed"}, NonFiniteValues, "column 'mixed' holds a missing value"),
        ({"features": ["x", "gap"]}, NonFiniteValues, r"'gap' holds NaN.*part-1.parquet, row group 0, row 20"),
        ({"features": ["x", "text"]}, WrongColumnType, "Column 'text' is string"),
        ({"sample_weight": "negative"}, BadParameter, "non-negative.*the least is -1"),
        ({"sample_weight": "zero"}, BadParameter, "not all zero"),
        ({"target": ["y", "one"]}, BadParameter, "takes one target, not 2"),
        ({"target": None}, BadParameter, "needs a target"),
    ]
    for arguments, error, message in cases:
        with pytest.raises(error, match=message):
            pqy.fit(LogisticRegression(), data, engine=local, **{"target": "y", "features": ["x"], **arguments})


def test_values_whose_squares_overflow(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(pa.table({"x": np.linspace(-1e200, 1e200, 99), "y": np.arange(99) % 2})))
    with pytest.raises(NonFiniteValues, match="squares of column 'x' overflow"):
        pqy.fit(LogisticRegression(), data, target="y", engine=local)


def test_bad_parameters(local: Any, rows: Any) -> None:
    data = rows(classes=3)
    for estimator, message in (
        (LogisticRegression(C=-1.0), "'C' parameter"),
        (LogisticRegression(l1_ratio=1.0), "supports only 'l2' or None penalties"),
        (LogisticRegression(solver="liblinear"), "liblinear' does not fit 3 classes"),
        (LogisticRegression(class_weight={"maybe": 2.0}), "'maybe', which is no class"),
        (LogisticRegression(solver="best"), "'solver' parameter"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)


def test_memory(local: Any, rows: Any) -> None:
    data = rows(classes=3)
    with pytest.raises(TooBigForOneNode, match=r"21 coefficients need .* GiB") as caught:
        pqy.fit(LogisticRegression(), data, target="y", features=FEATURES, engine=local, memory=20_000)
    assert "memory=" in caught.value.fix
    # Where the matrices do not fit, the road without them does.
    tight = pqy.fit(LogisticRegression(), data, target="y", features=FEATURES, engine=local, memory=80_000)
    roomy = pqy.fit(LogisticRegression(), data, target="y", features=FEATURES, engine=local)
    np.testing.assert_allclose(tight.coef_, roomy.coef_, atol=1e-7)
    assert tight.fit_report_["passes"] > roomy.fit_report_["passes"]


def test_callbacks_are_left_to_scikit_learn(local: Any, rows: Any) -> None:
    estimator = LogisticRegression().set_callbacks(ProgressBar())
    ours = pqy.fit(estimator, rows(), target="y", features=FEATURES, engine=local)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert "Callbacks" in report["why"]


def test_more_classes_than_the_sample_shows(local: Any, write_parquet: Any, some: None) -> None:
    rng = np.random.default_rng(6)
    y = np.minimum(rng.geometric(0.3, 1_500), 9)
    x = rng.normal(size=(1_500, 2)) + 0.2 * y[:, None]
    data = pqy.open_dataset(write_parquet(pa.table({"x0": x[:, 0], "x1": x[:, 1], "y": y})))
    ours, theirs, frame = both(LogisticRegression(), data, local)
    assert_same_fit(ours, theirs, frame)
    assert_same(ours.classes_, np.arange(1, 10), "classes_")
