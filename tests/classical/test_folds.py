"""Folds by row are the folds that scikit-learn's own splitters give."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, StratifiedKFold

import parquetry as pqy
from parquetry.classical.folds import Folds, row_folds, splits_by_row
from parquetry.classical.labels import encoded, learn_classes
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from parquetry.reduction import Reduction
from parquetry.view import View


class Collected(Reduction[list, list]):
    """The folds of all rows, in order."""

    label = "collected"

    def __init__(self, folds: Folds) -> None:
        self.folds = folds

    def partial(self, batch: Any) -> list:
        by_part = np.full(batch.num_rows, -1)
        for k, rows in self.folds.parts(batch):
            by_part[rows] = k
        # Row by row and part by part are the same.
        np.testing.assert_array_equal(by_part, self.folds.of(batch))
        return [by_part]

    def merge(self, left: list, right: list) -> list:
        return left + right


def folds_of(view: View, cv: Any, *, classifier: bool) -> Any:
    estimator = LogisticRegression()
    seen, n_classes = view, None
    if classifier:
        classes = yield from learn_classes(estimator, view)
        seen, n_classes = encoded(view, classes), len(classes[0].values)
    folds = yield from row_folds(estimator, seen, cv, n_classes=n_classes)
    (found,) = yield [Pass(Collected(folds), seen)]
    return np.concatenate(found)


def theirs(cv: Any, y: Any) -> np.ndarray:
    out = np.empty(len(y), dtype=np.int64)
    for i, (_, test) in enumerate(cv.split(np.zeros((len(y), 1)), y)):
        out[test] = i
    return out


@pytest.fixture
def labeled(write_parquet: Any) -> pqy.Dataset:
    rng = np.random.default_rng(3)
    labels = rng.choice(["c", "a", "b"], 5_003, p=[0.1, 0.6, 0.3])
    table = pa.table({"x": rng.normal(size=5_003), "y": labels})
    return pqy.open_dataset(write_parquet(table, files=3, row_group_size=1_500))


@pytest.mark.parametrize("k", [2, 5, 7])
@pytest.mark.parametrize("narrowed", [False, True], ids=["all rows", "a split"])
def test_folds_are_scikit_learns(engine: Any, labeled: Any, k: int, narrowed: bool) -> None:
    data = labeled.split(test=0.3, seed=1)[0] if narrowed else labeled
    y = data.to_pandas()["y"].to_numpy()
    view = make_view(data, target="y", features=["x"])
    for cv, own, classifier in (
        (k, StratifiedKFold(k), True),
        (KFold(k), KFold(k), True),
        (k, KFold(k), False),
        (StratifiedKFold(k), StratifiedKFold(k), True),
    ):
        found = drive(folds_of(view, cv, classifier=classifier), engine, verb="test")
        np.testing.assert_array_equal(found, theirs(own, y))


def test_batches_within_a_row_group_give_the_same_folds(
    local: Any, labeled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parquetry.reading.BATCH_BYTES", 10_000)
    view = make_view(labeled, target="y", features=["x"])
    found = drive(folds_of(view, 5, classifier=True), local, verb="test")
    np.testing.assert_array_equal(found, theirs(StratifiedKFold(5), labeled.to_pandas()["y"].to_numpy()))


def test_which_splitters_are_taken() -> None:
    assert all(splits_by_row(cv) for cv in (None, 3, KFold(4), StratifiedKFold(4)))
    assert not splits_by_row(KFold(4, shuffle=True, random_state=0))
    assert not splits_by_row([([0], [1])])
    assert splits_by_row(KFold(4), by_class=False)
    assert not splits_by_row(StratifiedKFold(4), by_class=False)


def test_too_many_folds(local: Any, labeled: Any) -> None:
    view = make_view(labeled, target="y", features=["x"])
    for cv in (1, 6_000, 4_000):
        with pytest.raises(BadParameter, match=f"cv={cv} folds"):
            drive(folds_of(view, cv, classifier=True), local, verb="test")
