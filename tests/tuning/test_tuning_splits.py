"""Folds against those that scikit-learn's splitters give the gathered rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    LeaveOneGroupOut,
    LeavePGroupsOut,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedGroupKFold,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    cross_validate,
)
from sklearn.naive_bayes import GaussianNB
from sklearn.tree import DecisionTreeRegressor

import parquetry as pqy
from parquetry.classical.folds import FloatsAndFolds
from parquetry.errors import BadParameter, DegenerateColumn, TooBigForOneNode
from parquetry.fit_checks import make_view
from parquetry.tuning.row_sets import ListedFolds, RowSet, part_of
from searches import FEATURES, STREAMED, rows

SPLITTERS = [
    3,
    KFold(3, shuffle=True, random_state=1),
    StratifiedKFold(3),
    StratifiedKFold(4, shuffle=True, random_state=2),
    RepeatedKFold(n_splits=2, n_repeats=2, random_state=0),
    RepeatedStratifiedKFold(n_splits=2, n_repeats=2, random_state=0),
    ShuffleSplit(2, random_state=0),
    StratifiedShuffleSplit(2, random_state=0),
    TimeSeriesSplit(3),
    PredefinedSplit(np.arange(600) % 3 - 1),
    GroupKFold(3),
    GroupKFold(2, shuffle=True, random_state=0),
    StratifiedGroupKFold(3),
    LeaveOneGroupOut(),
    LeavePGroupsOut(5),
    GroupShuffleSplit(2, random_state=0),
    [(np.arange(400), np.arange(400, 600)), (np.arange(100, 600), np.arange(100))],
]


@pytest.fixture
def data(write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(rows(), files=3, row_group_size=70)


@pytest.mark.parametrize("cv", SPLITTERS, ids=lambda cv: type(cv).__name__)
def test_the_same_rows(local: Any, data: Path, cv: Any) -> None:
    frame = pqy.open_dataset(data).to_pandas()
    grouped = "Group" in type(cv).__name__
    given = {"groups": "shop"} if grouped else {}
    theirs = cross_validate(
        GaussianNB(), frame[FEATURES], frame["kind"], cv=cv, groups=frame["shop"] if grouped else None,
        return_indices=True,
    )  # fmt: skip
    for memory in (None, STREAMED):
        ours = pqy.cross_validate(
            GaussianNB(), data, target="kind", features=FEATURES, cv=cv, return_indices=True, memory=memory,
            engine=local, **given,
        )  # fmt: skip
        assert ours.keys() == theirs.keys()
        for kind in ("train", "test"):
            for mine, other in zip(ours["indices"][kind], theirs["indices"][kind], strict=True):
                np.testing.assert_array_equal(mine, other)
        np.testing.assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-12)


def test_an_order_column_deals_rows_by_time(local: Any, data: Path) -> None:
    frame = pqy.open_dataset(data).to_pandas().sort_values("day")
    theirs = cross_validate(GaussianNB(), frame[FEATURES], frame["kind"], cv=TimeSeriesSplit(3))
    for memory in (None, STREAMED):
        ours = pqy.cross_validate(
            GaussianNB(), data, target="kind", features=FEATURES, cv=TimeSeriesSplit(3), order="day", memory=memory,
            engine=local,
        )  # fmt: skip
        np.testing.assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-12)


def test_a_regressors_folds_by_class(local: Any, data: Path) -> None:
    frame = pqy.open_dataset(data).to_pandas()
    tree = DecisionTreeRegressor(max_depth=2)
    for cv in (StratifiedKFold(3), 3):
        theirs = cross_validate(tree, frame[FEATURES], frame["late"], cv=cv)
        ours = pqy.cross_validate(tree, data, target="late", features=FEATURES, cv=cv, engine=local)
        np.testing.assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-12)


def test_folds_of_a_part_of_the_data(local: Any, data: Path) -> None:
    train, _ = pqy.open_dataset(data).split(test=0.4, seed=3)
    frame = train.to_pandas()
    theirs = cross_validate(GaussianNB(), frame[FEATURES], frame["kind"], cv=3)
    for memory in (None, STREAMED):
        ours = pqy.cross_validate(
            GaussianNB(), train, target="kind", features=FEATURES, cv=3, memory=memory, engine=local
        )
        np.testing.assert_allclose(ours["test_score"], theirs["test_score"], rtol=1e-12)


def test_groups_and_order_are_no_features_unless_named(local: Any, data: Path) -> None:
    chosen = pqy.open_dataset(data).select(["p", "q", "late", "shop", "day"])
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=GroupKFold(2))
    found = pqy.fit(search, chosen, target="late", groups="shop", order="day", engine=local)
    assert list(found.best_estimator_.feature_names_in_) == ["p", "q"]


def test_row_sets_are_parts_of_a_dataset(data: Path) -> None:
    dataset = pqy.open_dataset(data)
    frame = dataset.to_pandas()
    for numbers in (np.arange(0, 600, 7), np.array([5, 3, 599]), np.arange(0)):
        chosen = RowSet.of(numbers, 600)
        np.testing.assert_array_equal(chosen.numbers, numbers)
        part = part_of(dataset, chosen)
        assert part.num_rows == len(numbers)
        np.testing.assert_array_equal(part.to_pandas()["day"], frame["day"].iloc[np.sort(numbers)])
    assert part_of(dataset, RowSet.of([1], 600)).fingerprint != part_of(dataset, RowSet.of([2], 600)).fingerprint
    with pytest.raises(BadParameter, match="more than once"):
        part_of(dataset, RowSet.of([4, 4, 9], 600))


def test_listed_folds_answer_like_folds_by_row(data: Path) -> None:
    _, half = pqy.open_dataset(data).split(test=0.5, seed=1)
    tests = [RowSet.of(np.arange(k, half.num_rows, 3), half.num_rows) for k in range(3)]
    folds = ListedFolds.of_tests(half, tests)
    view = make_view(half, target="y", features=FEATURES)
    seen = []
    for batch in view.head_batches(1000):
        of = folds.of(batch)
        for k, here in folds.parts(batch):
            assert (of[here] == k).all()
        assert (FloatsAndFolds(folds)(batch)["fold"] == of).all()
        seen.append(of)
    np.testing.assert_array_equal(np.concatenate(seen), np.arange(half.num_rows) % 3)


def test_bad_folds(local: Any, data: Path, write_parquet: Any) -> None:
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]})
    cases: list[tuple[Any, Any, Any]] = [
        (GroupKFold(3), {}, "GroupKFold needs groups"),
        (GroupKFold(30), {"groups": "shop"}, "number of splits n_splits=30 greater than the number of groups: 6"),
        (1000, {}, "n_splits=1000"),
        ([(np.arange(5), np.arange(700, 702))], {}, "names row 701 of 600"),
        ([(np.arange(5), np.arange(0))], {}, "0 to be scored on"),
    ]
    for cv, given, message in cases:
        with pytest.raises(BadParameter, match=message):
            pqy.fit(search.set_params(cv=cv), data, target="kind", features=FEATURES, engine=local, **given)
    for target, cv, message in (("kind", 1, "k-fold .* got n_splits=1"), (None, 2, "GaussianNB needs a target")):
        with pytest.raises(BadParameter, match=f"cross_validate: {message}"):
            pqy.cross_validate(GaussianNB(), data, target=target, features=FEATURES, cv=cv, engine=local)
    with pytest.raises(BadParameter, match="groups= is for searches"):
        pqy.fit(GaussianNB(), data, target="kind", groups="shop", engine=local)
    with pytest.raises(TooBigForOneNode, match="folds of 600 rows"):
        pqy.fit(search.set_params(cv=3), data, target="kind", features=FEATURES, memory=1000, engine=local)
    table = rows().to_pandas()
    table.loc[5, "shop"] = None
    folder = write_parquet(table, "gaps")
    with pytest.raises(DegenerateColumn, match="'shop' of groups= has missing values"):
        pqy.fit(
            search.set_params(cv=GroupKFold(2)), folder, target="kind", features=FEATURES, groups="shop", engine=local
        )


class ByValue:
    """A splitter that looks at the rows themselves."""

    def split(self, x: Any, y: Any = None, groups: Any = None) -> Any:
        low = np.flatnonzero(x["p"].to_numpy() < 0)
        yield low, np.setdiff1d(np.arange(len(x)), low)

    def get_n_splits(self, x: Any = None, y: Any = None, groups: Any = None) -> int:
        return 1


def test_a_splitter_of_ones_own_gets_the_rows_or_is_refused(local: Any, data: Path) -> None:
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9]}, cv=ByValue())
    found = pqy.fit(search, data, target="kind", features=FEATURES, engine=local)
    (report,) = found.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert "splitter of its own" in report["why"]
    with pytest.raises(TooBigForOneNode):
        pqy.fit(search, data, target="kind", features=FEATURES, engine=local, memory=1000)
    with pytest.raises(BadParameter, match="groups=, order= and resume="):
        pqy.fit(search, data, target="kind", features=FEATURES, engine=local, order="day")
    with pytest.raises(BadParameter, match="splitter of its own"):
        pqy.cross_validate(GaussianNB(), data, target="kind", features=FEATURES, cv=ByValue(), engine=local)
