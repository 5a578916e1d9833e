"""LinearRegression and Ridge against scikit-learn's own fit of the same rows, on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.classical.linear import Gradient
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType
from parquetry.fit_checks import make_view
from parquetry.view import Batch
from shapes import Shapes

N, K = 900, 6
FEATURES = [f"x{i}" for i in range(K)]


_OF = Shapes(N, K)
well, far_from_zero, nearly_collinear, collinear, constant_column, uneven_scales = (
    _OF.well,
    _OF.far,
    _OF.nearly_collinear,
    _OF.collinear,
    _OF.constant_column,
    _OF.uneven_scales,
)
DATA = [well, far_from_zero, nearly_collinear, collinear, constant_column, uneven_scales]
ESTIMATORS = [
    LinearRegression(),
    LinearRegression(fit_intercept=False),
    Ridge(),
    Ridge(alpha=100.0, fit_intercept=False),
    Ridge(alpha=1e-3, solver="svd"),
]


@pytest.fixture
def linear_data(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    def make(shape: Callable[[np.random.Generator], np.ndarray] = well) -> pqy.Dataset:
        rng = np.random.default_rng(5)
        x = shape(rng)
        centered = x - x.mean(axis=0)
        columns = {f"x{i}": x[:, i] for i in range(K)}
        columns["y"] = centered @ np.arange(1, K + 1) + 3 + rng.normal(size=N)
        columns["z"] = centered @ np.arange(K, 0, -1) - 1 + rng.normal(size=N)
        columns["weight"] = rng.uniform(0.0, 3.0, N)
        return pqy.open_dataset(write_parquet(pa.table(columns), shape.__name__, files=3, row_group_size=120))

    return make


def assert_same_fit(ours: Any, theirs: Any, x: Any, tolerance: float = 1e-9) -> None:
    """Coefficients, intercepts and predictions within ``tolerance`` of their size."""
    assert ours.coef_.shape == theirs.coef_.shape
    assert np.shape(ours.intercept_) == np.shape(theirs.intercept_)
    assert type(ours.intercept_) is type(theirs.intercept_)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=tolerance, atol=tolerance * np.abs(theirs.coef_).max())
    expected = theirs.predict(x)
    np.testing.assert_allclose(ours.predict(x), expected, rtol=0, atol=tolerance * np.abs(np.asarray(x)).max())
    assert ours.n_features_in_ == theirs.n_features_in_
    assert list(ours.feature_names_in_) == list(theirs.feature_names_in_)


@pytest.mark.parametrize("shape", DATA, ids=lambda f: f.__name__)
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
def test_parity(local: Any, linear_data: Any, shape: Any, estimator: Any) -> None:
    data = linear_data(shape)
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
    theirs = clone(estimator).fit(frame[FEATURES], frame["y"])
    # Where columns are nearly collinear, scikit-learn's own digits end at eps times the condition.
    hard = shape is nearly_collinear or (shape is far_from_zero and not estimator.fit_intercept)
    assert_same_fit(ours, theirs, frame[FEATURES], tolerance=1e-7 if hard else 1e-9)
    assert not hasattr(estimator, "coef_")


@pytest.mark.parametrize("estimator", [LinearRegression(), Ridge(alpha=2.0), Ridge(alpha=[1.0, 50.0])], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_weights_and_targets_on_every_engine(engine: Any, linear_data: Any, estimator: Any, weighted: bool) -> None:
    data = linear_data()
    frame = data.to_pandas()
    weight = "weight" if weighted else None
    ours = pqy.fit(estimator, data, target=["y", "z"], features=FEATURES, sample_weight=weight, engine=engine)
    theirs = clone(estimator).fit(frame[FEATURES], frame[["y", "z"]], frame["weight"] if weighted else None)
    assert_same_fit(ours, theirs, frame[FEATURES])
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


def test_rank_and_singular_values(local: Any, linear_data: Any) -> None:
    for shape in (well, collinear, constant_column):
        data = linear_data(shape)
        frame = data.to_pandas()
        ours = pqy.fit(LinearRegression(), data, target="y", features=FEATURES, engine=local)
        theirs = LinearRegression().fit(frame[FEATURES], frame["y"])
        assert ours.rank_ == theirs.rank_
        np.testing.assert_allclose(ours.singular_, theirs.singular_, atol=2e-8 * theirs.singular_[0])


def test_ill_conditioned_fits_take_refinement_passes_and_say_so(local: Any, linear_data: Any) -> None:
    data = linear_data(nearly_collinear)
    model = pqy.fit(LinearRegression(), data, target="y", features=FEATURES, engine=local)
    assert 2 <= model.fit_report_["passes"] <= 5


def test_fewer_rows_than_features(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(0)
    table = pa.table({**{f"x{i}": rng.normal(size=5) for i in range(9)}, "y": rng.normal(size=5)})
    data = pqy.open_dataset(write_parquet(table, row_group_size=2))
    frame = data.to_pandas()
    ours = pqy.fit(LinearRegression(), data, target="y", engine=local)
    theirs = LinearRegression().fit(frame.drop(columns="y"), frame["y"])
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-8, atol=1e-10)


def test_sparse_features(engine: Any, houses: Path) -> None:
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), Ridge(alpha=0.5))
    ours = pqy.fit(pipeline, data, target="price", features=["place", "rooms"], engine=engine)
    theirs = clone(pipeline).fit(frame[["place", "rooms"]], frame["price"])
    assert sparse.issparse(ours[0].transform(frame[["place", "rooms"]]))
    # scikit-learn's sparse solver is iterative: its own tolerance is 1e-4.
    np.testing.assert_allclose(ours[-1].coef_, theirs[-1].coef_, rtol=1e-3, atol=1e-3 * np.abs(theirs[-1].coef_).max())


@pytest.fixture
def mixed(write_parquet: Callable[..., Path]) -> Callable[..., pqy.Dataset]:
    """A column far from zero, one with rare gaps, a constant, words; in row groups where the gaps differ."""

    def make(row_group_size: int = 70) -> pqy.Dataset:
        rng = np.random.default_rng(8)
        huge, rare = 1e9 + rng.normal(size=N), (5 + rng.normal(size=N)) * (rng.random(N) > 0.02)
        word = rng.choice(["ash", "oak", "yew"], N)
        y = 3 * (huge - 1e9) - rare + 2.0 * (word == "oak") + rng.normal(size=N)
        numbers = {"huge": huge, "rare": rare, "same": np.full(N, 4.0)}
        rest = {"y": y, "z": y**2, "weight": rng.uniform(0.0, 3.0, N)}
        table = pa.table({**numbers, "word": word, **rest})
        return pqy.open_dataset(write_parquet(table, f"mixed-{row_group_size}", row_group_size=row_group_size))

    return make


def sparse_columns() -> ColumnTransformer:
    words = OneHotEncoder()
    return ColumnTransformer([("words", words, ["word"])], remainder="passthrough", sparse_threshold=1.0)


@pytest.mark.filterwarnings("ignore:An ill-conditioned matrix")
@pytest.mark.parametrize("row_group_size", [7, 70, 10_000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "estimator",
    [LinearRegression(), Ridge(alpha=0.5), Ridge(alpha=2.0, fit_intercept=False)],
    ids=["least squares", "ridge", "ridge through the origin"],
)
def test_a_sparse_column_far_from_zero_keeps_its_digits(
    local: Any, mixed: Any, estimator: Any, weighted: bool, row_group_size: int
) -> None:
    data = mixed(row_group_size)
    frame = data.to_pandas()
    features, weight = ["huge", "rare", "same", "word"], "weight" if weighted else None
    pipeline = make_pipeline(sparse_columns(), estimator)
    ours = pqy.fit(pipeline, data, target=["y", "z"], features=features, sample_weight=weight, engine=local)
    x = ours[0].transform(frame[features])
    assert sparse.issparse(x)
    theirs = clone(estimator).fit(x.toarray(), frame[["y", "z"]], frame["weight"] if weighted else None)
    scale = np.abs(theirs.coef_).max()
    np.testing.assert_allclose(ours[-1].coef_, theirs.coef_, rtol=1e-9, atol=1e-9 * scale)
    np.testing.assert_allclose(ours[-1].predict(x), theirs.predict(x.toarray()), rtol=1e-9, atol=1e-9 * 1e9 * scale)


def test_sparse_and_dense_refinements_agree(mixed: Any) -> None:
    """X'W(y - Xw) at a solution, of a batch with gaps, full columns and weights; also of one without any gap."""
    data, rng = mixed(70), np.random.default_rng(0)
    features = ("huge", "rare", "same", "word")
    view = make_view(data, target=["y", "z"], features=features, sample_weight="weight")
    columns = sparse_columns().fit(data.to_pandas()[list(features)])
    seen = view.through(columns)
    batch = next(iter(seen.head_batches(70)))
    dense = Batch(batch.table, batch.rows, batch.block, replace(seen, steps=(*seen.steps, Dense())))
    for first, second in ((batch, dense), (gapless(batch, seen), gapless(dense, seen))):
        coef, mean = rng.normal(size=(first.matrix.shape[1], 2)), np.append(np.mean(second.floats, axis=1), [1.0, 2.0])
        left, right = (Gradient(coef, mean).partial(b) for b in (first, second))
        np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-9 * np.abs(right).max())


class Dense:
    def __call__(self, x: Any) -> Any:
        return x.toarray() if sparse.issparse(x) else x


class Numbers:
    """Only the columns without a gap."""

    def __call__(self, x: Any) -> Any:
        return x[:, [3, 5]]


def gapless(batch: Batch, view: Any) -> Batch:
    return Batch(batch.table, batch.rows, batch.block, replace(view, steps=(*batch.view.steps, Numbers())))


def test_a_refused_value_in_a_sparse_column_is_named(local: Any, write_parquet: Any) -> None:
    x = np.arange(500.0)
    x[[333, 420]] = [np.inf, np.nan]
    table = pa.table({"word": np.arange(500).astype(str), "x": x, "y": np.arange(500.0) ** 0.5})
    columns = ColumnTransformer([("words", OneHotEncoder(), ["word"]), ("x", "passthrough", ["x"])], sparse_threshold=1)
    pipeline = make_pipeline(columns, LinearRegression())
    with pytest.raises(NonFiniteValues, match=r"'x__x' holds infinity.*part-1.parquet, row group 0, row 83"):
        pqy.fit(pipeline, write_parquet(table), target="y", features=["word", "x"], engine=local)


def test_non_finite_values_are_named_with_their_first_position(engine: Any, write_parquet: Any) -> None:
    x = np.arange(500.0)
    x[[333, 420]] = [np.inf, np.nan]
    folder = write_parquet(pa.table({"x": x, "y": np.arange(500.0) ** 0.5}))
    with pytest.raises(NonFiniteValues, match=r"'x' holds infinity.*part-1.parquet, row group 0, row 83") as caught:
        pqy.fit(LinearRegression(), folder, target="y", engine=engine)
    assert caught.value.fix


def test_missing_targets_are_refused(local: Any, write_parquet: Any) -> None:
    folder = write_parquet(pa.table({"x": np.arange(300.0), "y": pa.array([None, *np.arange(299.0)])}))
    with pytest.raises(NonFiniteValues, match=r"column 'y' holds NaN.*row 0"):
        pqy.fit(LinearRegression(), folder, target="y", engine=local)


def test_bad_weights(local: Any, write_parquet: Any) -> None:
    n = 300
    columns = {"x": np.arange(float(n)), "y": np.arange(float(n)) ** 2, "w": np.linspace(-1, 1, n), "zero": np.zeros(n)}
    folder = write_parquet(pa.table({**columns, "text": ["a"] * n}))
    for weight in ("w", "zero"):
        with pytest.raises(BadParameter, match="sample weights must be non-negative and not all zero"):
            pqy.fit(LinearRegression(), folder, target="y", features=["x"], sample_weight=weight, engine=local)
    with pytest.raises(WrongColumnType, match="weight column 'text' is not numeric"):
        pqy.fit(LinearRegression(), folder, target="y", features=["x"], sample_weight="text", engine=local)


def test_text_features_are_refused_before_any_work(local: Any, houses: Path) -> None:
    with pytest.raises(WrongColumnType, match="LinearRegression: Column 'place' is string") as caught:
        pqy.fit(LinearRegression(), houses, target="price", engine=local)
    assert "OneHotEncoder" in caught.value.fix


def test_parameters(local: Any, linear_data: Any) -> None:
    data = linear_data()
    for estimator, message in (
        (Ridge(alpha=[1.0, 2.0, 3.0]), "3 penalties for 1 targets"),
        (Ridge(solver="lbfgs"), "lbfgs"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)


def test_too_many_features_for_the_memory(local: Any, linear_data: Any) -> None:
    with pytest.raises(TooBigForOneNode, match="6 features need"):
        pqy.fit(LinearRegression(), linear_data(), target="y", features=FEATURES, engine=local, memory=1000)
