"""Sparse rows that fit into one task: the minimum is that of passes, whatever the engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC, LinearSVR

import parquetry as pqy
from parquetry.classical import logistic_ground, logistic_task, svm_ground
from parquetry.classical.logistic_sums import Chunk, chunks, squared

ROWS = 3_000
CODES = ["x0", "x1", "x2"]
ESTIMATORS = {
    "binary": (LogisticRegression(C=2.0), "two", "w"),
    "class weights": (LogisticRegression(class_weight="balanced"), "three", None),
    "lasso": (LogisticRegression(C=0.5, l1_ratio=1.0, solver="saga"), "two", "w"),
    "penalized intercept": (LogisticRegression(solver="liblinear"), "two", None),
    "classes": (LinearSVC(class_weight={0: 2.0}), "three", "w"),
    "regression": (LinearSVR(loss="squared_epsilon_insensitive", dual=False, epsilon=0.1), "number", "w"),
}


@pytest.fixture
def coded(write_parquet: Any, monkeypatch: pytest.MonkeyPatch) -> pqy.Dataset:
    """Codes that make some hundred columns, and a sample that does not hold all rows."""
    monkeypatch.setattr(logistic_ground, "SAMPLE_ROWS", 500)
    monkeypatch.setattr(svm_ground, "SAMPLE_ROWS", 500)
    rng = np.random.default_rng(8)
    codes = {name: np.minimum(rng.zipf(1.4, ROWS), 150) for name in CODES}
    effects = rng.normal(size=(3, 151))
    number = sum(effects[i, c] for i, c in enumerate(codes.values())) + rng.normal(size=ROWS)
    two, three = number > 0.3, np.digitize(number, [-1.0, 1.0])
    weights = rng.integers(0, 3, ROWS).astype(float)
    table = pa.table({**codes, "number": number, "two": two, "three": three, "w": weights})
    return pqy.open_dataset(write_parquet(table, row_group_size=ROWS // 6))


def fitted(kind: str, data: pqy.Dataset, engine: Any, **settings: Any) -> Any:
    estimator, target, weight = ESTIMATORS[kind]
    model = make_pipeline(OneHotEncoder(), clone(estimator))
    return pqy.fit(model, data, target=target, features=CODES, sample_weight=weight, engine=engine, **settings)


def learned(model: Any) -> np.ndarray[Any, Any]:
    return np.append(np.ravel(model[-1].coef_), model[-1].intercept_)


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_task_and_passes_find_the_same_minimum(
    local: Any, coded: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    here = fitted(kind, coded, local)
    report = here.fit_report_["steps"][-1]
    assert "One task holds all sparse rows" in report["why"]
    assert report["passes"] <= 5
    monkeypatch.setattr(logistic_task, "TASK_BYTES", 0)
    passed = fitted(kind, coded, local)
    assert passed.fit_report_["steps"][-1]["why"] == ""
    assert here[-1].n_iter_ <= passed[-1].n_iter_
    np.testing.assert_allclose(learned(here), learned(passed), rtol=0, atol=1e-7 * np.abs(learned(passed)).max())
    np.testing.assert_array_equal(learned(here) == 0, learned(passed) == 0)


def test_parity_with_scikit_learn(local: Any, coded: Any) -> None:
    ours = fitted("binary", coded, local)
    frame = pa.concat_tables(coded.batches()).to_pandas()
    x = OneHotEncoder().fit_transform(frame[CODES]).toarray()
    theirs = LogisticRegression(C=2.0, solver="newton-cholesky", tol=1e-11)
    theirs.fit(x, frame["two"], sample_weight=frame["w"])
    np.testing.assert_allclose(ours[-1].coef_, theirs.coef_, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(ours.predict(frame[CODES]), theirs.predict(x))


def test_rows_that_take_more_than_the_memory_allows_are_passed_over(local: Any, coded: Any) -> None:
    assert fitted("binary", coded, local, memory="1MiB").fit_report_["steps"][-1]["why"] == ""


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, coded: Any) -> None:
    bits = [learned(fitted("class weights", coded, engine)).tobytes() for engine in (local, dask_engine, spark_engine)]
    assert len(set(bits)) == 1


def test_chunks_of_sparse_rows_are_what_slices_are() -> None:
    class Rows:
        matrix = sparse.random(700, 40, density=0.1, format="csr", random_state=0)
        arrays = {"y": np.arange(700)}
        num_rows = 700

    parts: list[Chunk] = list(chunks(Rows(), 2**20, weights=None))
    assert len(parts) > 1
    assert abs(sparse.vstack([part.x for part in parts]) - Rows.matrix).nnz == 0
    assert abs(squared(Rows.matrix) - Rows.matrix.multiply(Rows.matrix)).max() == 0


def test_a_place_that_is_stored_twice_is_squared_as_its_sum() -> None:
    twice = sparse.csr_matrix((np.array([1.0, 2.0]), np.array([3, 3]), np.array([0, 2])), shape=(1, 5))
    assert squared(twice).toarray()[0, 3] == 9.0
