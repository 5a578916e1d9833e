"""LinearSVC and LinearSVR against scikit-learn's own liblinear on the same rows, on every engine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.kernel_approximation import Nystroem
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC, LinearSVC, LinearSVR

import parquetry as pqy
from parity import assert_same_learned, fit_both
from parquetry.classical import logistic_ground, svm_ground, svm_kinks
from parquetry.classical.svm_interior import hinge_minimum
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, TooBigForOneNode, WrongColumnType

N, K = 400, 4
FEATURES = [f"x{i}" for i in range(K)]
TIGHT: dict[str, Any] = {"tol": 1e-10, "max_iter": 1_000_000, "random_state": 0}


def well(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K))


def off_center(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K)) + np.array([3.0, 0.0, -2.0, 0.0])


def collinear(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 3] = x[:, 0] - 2 * x[:, 1]
    return x


def constant_column(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, K))
    x[:, 2] = 1.25
    return x


def uneven_scales(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K)) * np.array([0.1, 1.0, 3.0, 10.0])


DATA = [well, off_center, collinear, constant_column, uneven_scales]
CLASSIFIERS = [
    LinearSVC(C=0.1, **TIGHT),
    LinearSVC(C=0.1, penalty="l1", **TIGHT),
    LinearSVC(C=0.1, loss="hinge", **TIGHT),
    LinearSVC(C=0.1, fit_intercept=False, **TIGHT),
    LinearSVC(C=0.1, loss="hinge", fit_intercept=False, **TIGHT),
    LinearSVC(C=0.1, intercept_scaling=5.0, class_weight="balanced", **TIGHT),
    LinearSVC(C=0.1, loss="hinge", intercept_scaling=5.0, class_weight={0: 0.5, 1: 2.0, 2: 3.0}, **TIGHT),
    LinearSVC(
        C=0.1, penalty="l1", intercept_scaling=3.0, class_weight={0: 0.5, 1: 2.0}, **{**TIGHT, "max_iter": 50_000}
    ),
]
REGRESSORS = [
    LinearSVR(C=0.1, **TIGHT),
    LinearSVR(C=0.1, epsilon=0.7, intercept_scaling=2.0, **TIGHT),
    LinearSVR(C=0.1, epsilon=0.7, fit_intercept=False, **TIGHT),
    LinearSVR(C=0.1, epsilon=0.7, loss="squared_epsilon_insensitive", **TIGHT),
    LinearSVR(C=0.1, loss="squared_epsilon_insensitive", fit_intercept=False, **TIGHT),
]


def columns(shape: Callable[[np.random.Generator], np.ndarray] = well) -> dict[str, Any]:
    rng = np.random.default_rng(3)
    x = shape(rng)
    seen = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 0.1)
    score = seen @ np.array([1.0, -0.5, 0.8, 0.3]) + rng.normal(size=N)
    return {
        **{name: x[:, i] for i, name in enumerate(FEATURES)},
        "two": np.where(score > 1.5, "yes", "no"),  # about one row in five
        "three": np.digitize(score, [-0.6, 0.9]),
        "y": 2.0 * score + 1.0,
        "weight": np.where(rng.random(N) < 0.1, 0.0, rng.uniform(0.2, 2.0, N)),
    }


@pytest.fixture
def svm_data(write_parquet: Callable[..., Any]) -> Callable[..., Any]:
    def make(shape: Callable[[np.random.Generator], np.ndarray] = well, **layout: Any) -> Any:
        return write_parquet(pa.table(columns(shape)), shape.__name__, **(layout or {"files": 2, "row_group_size": 90}))

    return make


@pytest.fixture
def small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample and bands of few rows, so that all rows are searched."""
    for module in (logistic_ground, svm_ground):
        monkeypatch.setattr(module, "SAMPLE_ROWS", 100)
    monkeypatch.setattr(svm_kinks, "_BAND_VALUES", 1500)


def assert_same_fit(ours: Any, theirs: Any, x: Any, tolerance: float = 1e-6) -> None:
    """Every attribute but ``n_iter_``, which counts other things, and every prediction."""
    assert type(ours.n_iter_) is type(theirs.n_iter_)
    assert ours.n_iter_ >= 1
    theirs.n_iter_ = ours.n_iter_
    assert_same_learned(ours, theirs, rtol=tolerance)
    if hasattr(ours, "classes_"):
        scores = theirs.decision_function(x)
        # Two hinges may tie: their support vectors stand at -1 exactly.
        best = np.abs(scores)[:, None] if scores.ndim == 1 else np.diff(np.sort(scores, axis=1)[:, -2:], axis=1)
        clear = best[:, 0] > 1e-6
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(ours.predict(x)[clear], theirs.predict(x)[clear])
    else:
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-5)


def objective(model: Any, x: Any, y: Any, weight: Any = 1.0) -> float:
    """liblinear's, of a hinge for two classes or of a regression."""
    if isinstance(model, LinearSVC):
        z = np.maximum(0.0, 1.0 - np.where(y == model.classes_[1], 1.0, -1.0) * model.decision_function(x))
    else:
        z = np.maximum(0.0, np.abs(y - model.predict(x)) - model.epsilon)
    b = np.asarray(model.intercept_) / model.intercept_scaling
    return float(0.5 * ((model.coef_**2).sum() + (b**2).sum()) + model.C * (weight * z).sum())


@pytest.mark.parametrize("shape", DATA, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=str)
def test_classes(local: Any, svm_data: Any, shape: Any, estimator: Any) -> None:
    folder = svm_data(shape)
    for target in ("two", "three"):
        if target == "two" and isinstance(estimator.class_weight, dict):
            estimator = clone(estimator).set_params(class_weight={"yes": 3.0, "no": 0.5})
        elif isinstance(estimator.class_weight, dict):
            estimator = clone(estimator).set_params(class_weight={0: 0.5, 1: 2.0, 2: 3.0})
        for weight in (None, "weight"):
            ours, theirs, x = fit_both(estimator, folder, local, target=target, features=FEATURES, sample_weight=weight)
            assert ours.fit_report_["placement"] == "distributed"
            if shape is collinear and estimator.penalty == "l1":
                # Not unique: what one coefficient loses others take over at the same penalty.
                np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)
                np.testing.assert_allclose(np.abs(ours.coef_).sum(axis=1), np.abs(theirs.coef_).sum(axis=1), atol=1e-6)
            else:
                assert_same_fit(ours, theirs, x)


@pytest.mark.parametrize("shape", DATA, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", REGRESSORS, ids=str)
def test_regression(local: Any, svm_data: Any, shape: Any, estimator: Any) -> None:
    folder = svm_data(shape)
    for weight in (None, "weight"):
        ours, theirs, x = fit_both(estimator, folder, local, target="y", features=FEATURES, sample_weight=weight)
        assert_same_fit(ours, theirs, x)
        assert ours.fit_report_["placement"] == "distributed"


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("estimator", [*CLASSIFIERS[:6], *REGRESSORS[1:]], ids=str)
@pytest.mark.parametrize("shape", [well, off_center], ids=lambda f: f.__name__)
def test_more_rows_than_the_sample_and_the_bands_hold(local: Any, svm_data: Any, estimator: Any, shape: Any) -> None:
    folder = svm_data(shape)
    targets = ("y",) if isinstance(estimator, LinearSVR) else ("two", "three")
    for target in targets:
        ours, theirs, x = fit_both(estimator, folder, local, target=target, features=FEATURES, sample_weight="weight")
        assert_same_fit(ours, theirs, x)
        assert ours.n_iter_ >= 2


@pytest.mark.usefixtures("small_sample")
def test_a_class_so_rare_that_the_hinge_never_names_it(local: Any, svm_data: Any) -> None:
    # Every row of the rest then lies on its kink, more of them than a band holds.
    folder = svm_data()
    estimator = LinearSVC(loss="hinge", C=0.01, class_weight={"yes": 0.05}, **TIGHT)
    ours, theirs, x = fit_both(estimator, folder, local, target="two", features=FEATURES)
    assert np.abs(ours.coef_).max() < 1e-2
    y = pqy.open_dataset(folder).to_pandas()["two"]
    weight = np.where(y == "yes", 0.05, 1.0)
    assert objective(ours, x, y, weight) <= objective(theirs, x, y, weight) * (1 + 1e-9)
    assert_same_fit(ours, theirs, x)


@pytest.mark.usefixtures("small_sample")
def test_many_equal_rows_on_a_kink(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, (900, 2)).astype(float)
    y = (x[:, 0] + x[:, 1] + rng.integers(0, 2, 900) > 2).astype(int)
    folder = write_parquet(pa.table({"a": x[:, 0], "b": x[:, 1], "y": y}), files=2, row_group_size=200)
    ours, theirs, seen = fit_both(LinearSVC(loss="hinge", C=1.0, **TIGHT), folder, local, target="y")
    assert objective(ours, seen, y) <= objective(theirs, seen, y) * (1 + 1e-9)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
def test_sparse_features_and_wide_ones(local: Any, write_parquet: Any, loss: str) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 30, 600), rng.integers(0, 5, 600)
    y = ((a % 3 == 0) + (b > 2) + rng.normal(size=600) > 1).astype(int)
    table = pa.table({"a": a.astype(str), "b": b.astype(str), "y": y})
    folder = write_parquet(table, files=2, row_group_size=150)
    pipeline = make_pipeline(OneHotEncoder(), LinearSVC(loss=loss, C=0.3, **TIGHT))
    ours, theirs, x = fit_both(pipeline, folder, local, target="y")
    np.testing.assert_allclose(ours[-1].coef_, theirs[-1].coef_, atol=1e-6)
    np.testing.assert_allclose(ours[-1].intercept_, theirs[-1].intercept_, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("matrix", [0, 64])
def test_without_second_derivatives_over_all_rows(
    local: Any, svm_data: Any, monkeypatch: pytest.MonkeyPatch, matrix: int
) -> None:
    monkeypatch.setattr(logistic_ground, "_MOST_CURVED", 0)
    monkeypatch.setattr(svm_ground, "MATRIX", matrix)
    folder = svm_data(off_center)
    estimators = [CLASSIFIERS[0], CLASSIFIERS[1], REGRESSORS[3]]
    for estimator in estimators:
        target = "y" if isinstance(estimator, LinearSVR) else "three"
        ours, theirs, x = fit_both(estimator, folder, local, target=target, features=FEATURES)
        assert_same_fit(ours, theirs, x)


@pytest.mark.parametrize("layout", [{"files": 1, "row_group_size": 10_000}, {"files": 4, "row_group_size": 13}])
def test_one_block_and_many(local: Any, svm_data: Any, layout: Any) -> None:
    folder = svm_data(well, **layout)
    for estimator, target in ((CLASSIFIERS[0], "three"), (CLASSIFIERS[2], "three"), (REGRESSORS[1], "y")):
        ours, theirs, x = fit_both(estimator, folder, local, target=target, features=FEATURES)
        assert_same_fit(ours, theirs, x)


def test_few_rows(local: Any, write_parquet: Any) -> None:
    table = pa.table({"a": [0.0, 1.0, 2.5, 3.0], "b": [1.0, 0.0, 1.0, 0.5], "y": [0, 0, 1, 1]})
    folder = write_parquet(table, files=2, row_group_size=1)
    for estimator in (LinearSVC(**TIGHT), LinearSVC(loss="hinge", **TIGHT), LinearSVR(**TIGHT)):
        ours, theirs, x = fit_both(estimator, folder, local, target="y")
        assert_same_fit(ours, theirs, x)


def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, svm_data: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (logistic_ground, svm_ground):
        monkeypatch.setattr(module, "SAMPLE_ROWS", 100)
    folder = svm_data(off_center)
    cases: list[tuple[Any, str]] = [
        (LinearSVC(C=0.1), "three"),
        (LinearSVC(C=0.1, loss="hinge"), "two"),
        (LinearSVR(C=0.1, epsilon=0.3), "y"),
    ]
    for estimator, target in cases:
        fitted = [
            pqy.fit(estimator, folder, target=target, features=FEATURES, sample_weight="weight", engine=engine)
            for engine in (local, dask_engine, spark_engine)
        ]
        for other in fitted[1:]:
            assert other.coef_.tobytes() == fitted[0].coef_.tobytes()
            assert other.intercept_.tobytes() == fitted[0].intercept_.tobytes()
            assert other.n_iter_ == fitted[0].n_iter_


def test_a_kernel_approximation_and_a_linear_machine(local: Any, svm_data: Any) -> None:
    folder = svm_data(uneven_scales)
    pipeline = make_pipeline(
        StandardScaler(), Nystroem(gamma=0.3, n_components=20, random_state=4), LinearSVC(C=0.5, **TIGHT)
    )
    ours, theirs, x = fit_both(pipeline, folder, local, target="three", features=FEATURES)
    assert [step["placement"] for step in ours.fit_report_["steps"]] == ["distributed"] * 3
    np.testing.assert_array_equal(ours[1].component_indices_, theirs[1].component_indices_)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-6)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_crammer_and_singer_go_to_one_node(local: Any, svm_data: Any) -> None:
    estimator = LinearSVC(multi_class="crammer_singer", random_state=0)
    ours, theirs, _ = fit_both(estimator, svm_data(), local, target="three", features=FEATURES)
    np.testing.assert_array_equal(ours.coef_, theirs.coef_)
    (step,) = ours.fit_report_["steps"]
    assert step["placement"] == "single-node"
    assert "crammer_singer" in step["why"]


def test_kernel_machines_stay_on_one_node(local: Any, svm_data: Any) -> None:
    model = pqy.fit(SVC(), svm_data(), target="three", features=FEATURES, engine=local)
    assert model.fit_report_["placement"] == "single-node"


@pytest.mark.parametrize(
    ("estimator", "message"),
    [
        (LinearSVC(penalty="l1", loss="hinge"), "The combination of penalty='l1' and loss='hinge' is not supported"),
        (LinearSVC(loss="hinge", dual=False), "not supported when dual=False"),
        (LinearSVC(penalty="l1", dual=True), "not supported when dual=True"),
        (LinearSVC(C=0.0), "'C' parameter"),
        (LinearSVC(intercept_scaling=0.0), "'intercept_scaling' parameter"),
        (LinearSVC(class_weight={"no": 1.0, "never": 2.0}), "never"),
    ],
    ids=str,
)
def test_what_scikit_learn_refuses(local: Any, svm_data: Any, estimator: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=message):
        pqy.fit(estimator, svm_data(), target="two", features=FEATURES, engine=local)


def test_too_many_coefficients_for_the_driver(local: Any, svm_data: Any) -> None:
    with pytest.raises(TooBigForOneNode, match="LinearSVC: 5 coefficients need"):
        pqy.fit(LinearSVC(), svm_data(), target="two", features=FEATURES, engine=local, memory=4_000)


def test_bad_input(local: Any, write_parquet: Any) -> None:
    n = 300
    x = np.arange(float(n))
    bad = x.copy()
    bad[[233, 250]] = [np.nan, np.inf]
    table = {"x": x, "bad": bad, "one": np.zeros(n, int), "two": np.arange(n) % 2, "w": x - 5, "no": np.zeros(n)}
    folder = write_parquet(pa.table({**table, "text": ["a"] * n}))
    for estimator in (LinearSVC(), LinearSVR(), LinearSVR(loss="squared_epsilon_insensitive")):
        with pytest.raises(NonFiniteValues, match=r"'bad' holds NaN.*part-1.parquet, row group 0, row 83"):
            pqy.fit(estimator, folder, target="two", features=["x", "bad"], engine=local)
        for weight in ("w", "no"):
            with pytest.raises(BadParameter, match="weight"):
                pqy.fit(estimator, folder, target="two", features=["x"], sample_weight=weight, engine=local)
        with pytest.raises(WrongColumnType, match="'text' is string"):
            pqy.fit(estimator, folder, target="two", features=["text"], engine=local)
        with pytest.raises(BadParameter, match="takes one target"):
            pqy.fit(estimator, folder, target=["two", "x"], features=["no"], engine=local)
    with pytest.raises(DegenerateColumn, match="one class only"):
        pqy.fit(LinearSVC(), folder, target="one", features=["x"], engine=local)
    with pytest.raises(NonFiniteValues, match="'bad' holds NaN"):
        pqy.fit(LinearSVR(), folder, target="bad", features=["x"], engine=local)


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("estimator", [LinearSVC(max_iter=1), LinearSVC(loss="hinge", max_iter=1)], ids=str)
def test_a_search_that_is_cut_short_says_so(local: Any, svm_data: Any, estimator: Any) -> None:
    with pytest.warns(ConvergenceWarning, match="did not converge.*Raise max_iter"):
        model = pqy.fit(estimator, svm_data(), target="three", features=FEATURES, engine=local)
    assert model.n_iter_ == 1


def test_default_tolerance_is_quiet_and_close(local: Any, svm_data: Any) -> None:
    folder = svm_data()
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        for estimator in (LinearSVC(C=0.1), LinearSVC(C=0.1, loss="hinge")):
            loose = pqy.fit(estimator, folder, target="three", features=FEATURES, engine=local)
            tight = pqy.fit(
                clone(estimator).set_params(**TIGHT), folder, target="three", features=FEATURES, engine=local
            )
            np.testing.assert_allclose(loose.coef_, tight.coef_, atol=1e-7)


def test_the_interior_point_method_meets_the_conditions_of_a_minimum() -> None:
    rng = np.random.default_rng(0)
    rows, offsets, weights = rng.normal(size=(300, 5)), rng.normal(size=300), rng.uniform(0, 2, 300)
    matrix = np.diag([1.0, 10.0, 1e-3, 1.0, 1.0])
    u = hinge_minimum(rows, offsets, weights, matrix, np.zeros(5), np.zeros(5))
    away = offsets - rows @ u
    on = np.abs(away) < 1e-8
    rest = matrix @ u - rows[away > 1e-8].T @ weights[away > 1e-8]
    force, *_ = np.linalg.lstsq(rows[on].T, rest, rcond=None)
    np.testing.assert_allclose(rows[on].T @ force, rest, atol=1e-8)
    assert (force > 0).all()
    assert (force < weights[on]).all()
