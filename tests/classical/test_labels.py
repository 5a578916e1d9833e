"""Classes, codes and class weights as scikit-learn has them; labels that no classifier can use."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

import parquetry as pqy
from parquetry.classical.labels import class_weights, encoded, learn_classes
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, ParquetryError, WrongColumnType
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from parquetry.reduction import Reduction

N = 700


class Seen(Reduction[Any, Any]):
    """Codes and weights of all rows."""

    label = "seen"

    def partial(self, batch: Any) -> Any:
        return np.stack([*batch.y_floats, *([] if batch.weights is None else [batch.weights])])

    def merge(self, left: Any, right: Any) -> Any:
        return np.concatenate([left, right], axis=1)


def table() -> pa.Table:
    rng = np.random.default_rng(0)
    word = rng.choice(["yes", "no", "perhaps"], N, p=[0.1, 0.6, 0.3])
    return pa.table(
        {
            "x": rng.normal(size=N),
            "word": word,
            "number": rng.choice([3, -1, 7], N),
            "flag": rng.random(N) < 0.2,
            "float": rng.choice([0.0, 2.0], N),
            "category": pa.array(word).dictionary_encode(),
            "weight": rng.uniform(0, 2, N),
        }
    )


def labels_of(view: Any, class_weight: Any, *, by_rows: bool) -> Any:
    classes = yield from learn_classes(LogisticRegression(), view)
    (found,) = yield [Pass(Seen(), encoded(view, classes, class_weight, by_rows=by_rows))]
    return classes, found


@pytest.mark.parametrize("target", ["word", "number", "flag", "float", "category"])
def test_classes_codes_and_weights(engine: Any, write_parquet: Any, target: str) -> None:
    data = pqy.open_dataset(write_parquet(table()))
    frame = data.to_pandas()
    y, w = np.asarray(frame[target]), frame["weight"].to_numpy()
    view = make_view(data, target=target, features=["x"], sample_weight="weight")
    (classes,), seen = drive(labels_of(view, "balanced", by_rows=False), engine, verb="test")
    values, codes = np.unique(y, return_inverse=True)
    assert classes.values.tolist() == values.tolist()
    np.testing.assert_array_equal(classes.counts, np.bincount(codes))
    np.testing.assert_array_equal(seen[0], codes)
    theirs = compute_class_weight("balanced", classes=values, y=y, sample_weight=w)
    np.testing.assert_allclose(seen[1], w * theirs[codes], rtol=1e-12)


def test_counting_classes_reads_no_feature(write_parquet: Any) -> None:
    view = make_view(write_parquet(table()), target="word", features=["x", "number"], sample_weight="weight")
    asked = next(learn_classes(LogisticRegression(), view))
    assert {c for work in asked for c in work.view.columns} == {"word", "weight"}


def test_class_weights_by_rows_and_by_name(local: Any, write_parquet: Any) -> None:
    data = pqy.open_dataset(write_parquet(table()))
    frame = data.to_pandas()
    view = make_view(data, target=["word", "number"], features=["x"])
    classes, seen = drive(labels_of(view, "balanced", by_rows=True), local, verb="test")
    theirs = compute_sample_weight("balanced", frame[["word", "number"]].to_numpy(dtype=object))
    np.testing.assert_allclose(seen[2], theirs, rtol=1e-12)
    (by_name,) = class_weights(classes[:1], {"yes": 5.0})
    assert by_name.tolist() == [1.0, 1.0, 5.0]
    for wrong in ({"yess": 5.0}, "balance"):
        with pytest.raises(BadParameter, match="class_weight"):
            class_weights(classes[:1], wrong)


@pytest.mark.parametrize(
    ("column", "error", "message"),
    [
        (pa.array(["a"] * 200), DegenerateColumn, "one class only: 'a'"),
        (pa.array(["a", None] * 100), NonFiniteValues, "'y' holds a missing value.*row 1"),
        (pa.array([0.0, 0.5] * 100), WrongColumnType, "fractions, as .0.5."),
        (pa.array([0.0, np.nan] * 100), NonFiniteValues, "'y' holds a missing value"),
    ],
)
def test_labels_that_no_classifier_can_use(
    local: Any, write_parquet: Any, column: Any, error: type[ParquetryError], message: str
) -> None:
    data = pqy.open_dataset(write_parquet(pa.table({"x": np.arange(200.0), "y": column})))
    view = make_view(data, target="y", features=["x"])
    with pytest.raises(error, match=message) as caught:
        drive(learn_classes(LogisticRegression(), view, least=2), local, verb="test")
    assert caught.value.why


@pytest.mark.parametrize(
    ("weight", "error", "message"),
    [
        (np.nan, NonFiniteValues, "'w' holds NaN.*row 3"),
        (np.inf, NonFiniteValues, "'w' holds infinity.*row 3"),
        (-1.0, BadParameter, r"non-negative.*the least is -1\.0"),
    ],
)
def test_weights_that_no_classifier_can_use(
    local: Any, write_parquet: Any, weight: float, error: type[ParquetryError], message: str
) -> None:
    # A class's other weights hide a negative one in their sum.
    table = pa.table({"x": np.arange(8.0), "y": ["a", "b"] * 4, "w": [5.0, 5.0, 5.0, weight] + [5.0] * 4})
    view = make_view(write_parquet(table), target="y", features=["x"], sample_weight="w")
    with pytest.raises(error, match=message):
        drive(learn_classes(LogisticRegression(), view), local, verb="test")
