"""Steps that widen X: batches get fewer rows, the same ones on every engine, and results stay."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.compose import TransformedTargetRegressor
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler

import parquetry as pqy
from parquetry import view as views
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.metrics.regression import Applied
from parquetry.reduction import Reduction
from parquetry.view import WIDE_BYTES, Batch

WORDS = 50
NUMBERS = ["a", "b"]


@pytest.fixture
def wide_data(write_parquet: Callable[..., Path]) -> pqy.Dataset:
    rng = np.random.default_rng(2)
    n = 3_000
    words = rng.permutation(np.arange(n) % WORDS)
    table = {
        "a": rng.normal(size=n),
        "b": rng.normal(size=n),
        "word": words.astype(str),
        "y": words + rng.normal(size=n),
    }
    return pqy.open_dataset(write_parquet(pa.table(table), files=1, row_group_size=n))


def rows(width: float) -> int:
    return int(WIDE_BYTES / width) // 1024 * 1024


def test_only_steps_bound_a_batch(wide_data: pqy.Dataset) -> None:
    numbers, words = (make_view(wide_data, target="y", features=f) for f in (NUMBERS, ["word"]))
    assert numbers.batch_rows is None
    assert words.batch_rows is None
    x = wide_data.to_pandas()
    dense = words.through(OneHotEncoder(sparse_output=False).fit(x[["word"]]))
    assert dense.batch_rows == rows(8 * WORDS)
    sparse = words.through(OneHotEncoder().fit(x[["word"]]))
    assert sparse.batch_rows == rows(12)
    both = make_pipeline(PolynomialFeatures(9), PCA(1)).fit(x[NUMBERS])
    assert numbers.through(both[0]).through(both[1]).batch_rows == rows(8 * 55)
    assert numbers.through(both).batch_rows == rows(8 * 55), "also where the wide step is inside a pipeline"


def test_what_a_model_makes_of_x_counts(wide_data: pqy.Dataset) -> None:
    x = wide_data.to_pandas()
    view = make_view(wide_data, target=None, features=NUMBERS)
    model = make_pipeline(StandardScaler(), PolynomialFeatures(9), LinearRegression())
    for regressor in (model, TransformedTargetRegressor(model)):
        applied = Applied(clone(regressor).fit(x[NUMBERS], x["y"]))
        assert replace(view, steps=(applied,)).batch_rows == rows(8 * 55)


def test_a_step_that_fails_on_the_first_rows_bounds_nothing(wide_data: pqy.Dataset) -> None:
    def broken(_: Any) -> Any:
        raise ValueError("broken on purpose")

    view = make_view(wide_data, target=None, features=NUMBERS)
    assert replace(view, steps=(broken,)).batch_rows is None


class Largest(Reduction[int, int]):
    label = "largest"

    def partial(self, batch: Batch) -> int:
        return batch.num_rows

    def merge(self, left: int, right: int) -> int:
        return max(left, right)


@pytest.mark.parametrize("sparse_output", [False, True])
def test_batches_of_a_pass_are_bounded(
    engine: Any, wide_data: pqy.Dataset, monkeypatch: pytest.MonkeyPatch, sparse_output: bool
) -> None:
    view = make_view(wide_data, target="y", features=["word"])
    wide = view.through(OneHotEncoder(sparse_output=sparse_output).fit(wide_data.to_pandas()[["word"]]))
    monkeypatch.setattr(views, "WIDE_BYTES", 1_500 * 8 * WORDS)
    expected = int(1_500 * 8 * WORDS / 12) // 1024 * 1024 if sparse_output else 1024
    assert run_pass(engine, [(Largest(), view)], label="narrow") == [3_000]
    assert run_pass(engine, [(Largest(), view), (Largest(), wide)], label="wide") == [min(3_000, expected)] * 2


def test_results_stay(engine: Any, wide_data: pqy.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fitted in one pass, gathered and predicted, in batches of a few rows."""
    monkeypatch.setattr(views, "WIDE_BYTES", 1_500 * 8 * WORDS)
    frame = wide_data.to_pandas()
    for last in (Ridge(), RandomForestRegressor(n_estimators=2, max_depth=3, random_state=0)):
        pipeline = make_pipeline(OneHotEncoder(sparse_output=False), FunctionTransformer(), last)
        ours = pqy.fit(pipeline, wide_data, target="y", features=["word"], engine=engine)
        expected = clone(pipeline).fit(frame[["word"]], frame["y"]).predict(frame[["word"]])
        written = pqy.predict(ours, wide_data, to=tmp_path / type(last).__name__, engine=engine)
        np.testing.assert_allclose(written.to_pandas()["prediction"], expected, rtol=1e-9)


def test_predictions_are_made_in_bounded_batches(
    local: Any, wide_data: pqy.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []

    def noted(x: Any) -> Any:
        seen.append(len(x))
        return np.asarray(x)

    model = make_pipeline(FunctionTransformer(noted), PolynomialFeatures(9), LinearRegression())
    model.fit(wide_data.to_pandas()[NUMBERS].to_numpy(), wide_data.to_pandas()["y"])
    monkeypatch.setattr(views, "WIDE_BYTES", 1_500 * 8 * 55)
    seen.clear()
    pqy.predict(model, wide_data, to=tmp_path / "out", features=NUMBERS, engine=local)
    assert max(seen) == 1024


def test_a_batch_is_freed_at_once(wide_data: pqy.Dataset) -> None:
    """Without the collector's help: else the rows of many blocks would be held at a time."""
    view = make_view(wide_data, target="y", features=NUMBERS)
    gc.disable()
    try:
        batch = next(iter(view.head_batches(64)))
        assert len(batch.floats) == len(batch.X.names)
        left = weakref.ref(batch)
        del batch
        assert left() is None
    finally:
        gc.enable()
