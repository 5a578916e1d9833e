"""Searches that go wrong: wrong names, candidates that raise, and a search that is stopped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV, RandomizedSearchCV
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from xgboost import XGBClassifier

import parquetry as pqy
from parquetry.engine import Engine
from parquetry.errors import BadParameter, NonFiniteValues, TaskFailed, TooBigForOneNode, UnknownColumn
from parquetry.tuning.journal import FILE, digest
from searches import FEATURES, STREAMED, assert_same_search, rows, search_both

TREE = DecisionTreeClassifier(random_state=0)


@pytest.fixture
def data(write_parquet: Callable[..., Path]) -> Path:
    return write_parquet(rows(), files=3, row_group_size=70)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        (GridSearchCV(TREE, {"max_dept": [1]}), "no parameter 'max_dept'.*Did you mean 'max_depth'"),
        (
            GridSearchCV(make_pipeline(StandardScaler(), TREE), {"decisiontreclassifier__max_depth": [1]}),
            "Did you mean 'decisiontreeclassifier__max_depth'",
        ),
        (GridSearchCV(make_pipeline(StandardScaler(), TREE), {"standardscaler__with_men": [1]}), "'with_men'"),
        (RandomizedSearchCV(TREE, {"max_depht": [1, 2]}, n_iter=1), "Did you mean 'max_depth'"),
        (GridSearchCV(make_pipeline(TREE), {"tree__max_depth": [1]}), "'decisiontreeclassifier'.*tree.*__max_depth'"),
        (GridSearchCV(make_pipeline(TREE), {"max_depth": [1]}), "Did you mean 'decisiontreeclassifier__max_depth'"),
        (GridSearchCV(make_pipeline(XGBClassifier()), {"xgbclassifier__max_dept": [1]}), "Did you mean 'max_depth'"),
        (HalvingGridSearchCV(TREE, {"max_depth": [1]}, resource="max_dept"), "'n_samples', or.*mean 'max_depth'"),
        (GridSearchCV(TREE, {"max_depth": []}), "non-empty"),
        (GridSearchCV(TREE, []), "grid is empty"),
        (GridSearchCV(TREE, {"max_depth": [1]}, scoring="acuracy"), "Did you mean 'accuracy'"),
        (GridSearchCV(TREE, {"max_depth": [1]}, scoring=["f1", "roc_auk"], refit="f1"), "Did you mean 'roc_auc'"),
        (GridSearchCV(TREE, {"max_depth": [1]}, scoring=["f1", "recall"]), "refit"),
        (GridSearchCV(TREE, {"max_depth": [1]}, error_score="none"), "error_score"),
    ],
)
def test_what_is_wrong_is_told_before_any_work(write_parquet: Any, search: Any, message: str) -> None:
    with pytest.raises(BadParameter, match=f"(?s){message}"):
        pqy.fit(search, write_parquet(rows(60)), target="late", features=FEATURES, engine=Idle())


class Idle(Engine):
    """An engine that nobody may use."""

    name, parallelism, memory = "idle", 1, 2**30

    def map(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("Work was scheduled.")

    def reduce(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("Work was scheduled.")

    def scan(self, *_: Any) -> Any:
        raise AssertionError("Work was scheduled.")

    def write(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("Work was scheduled.")

    def close(self) -> None:
        pass


@pytest.mark.parametrize(("memory", "error_score"), [(None, np.nan), (STREAMED, -3)])
def test_a_candidate_that_raises_has_the_error_score_and_its_traceback_is_told(
    local: Any, data: Path, memory: Any, error_score: float
) -> None:
    estimators = [
        (GaussianNB(), "var_smoothing", [1e-9, -1.0, 1.0], "late"),
        (LogisticRegression(tol=1e-9), "C", [0.1, -1.0, 5.0], "late"),
        (make_pipeline(StandardScaler(), Ridge()), "ridge__alpha", [0.1, -1.0, 5.0], "y"),
        (Ridge(), "alpha", [0.1, -1.0, 5.0], "y"),
    ]
    for estimator, name, values, target in estimators:
        search = GridSearchCV(estimator, {name: values}, cv=3, error_score=error_score, return_train_score=True)
        with pytest.warns(FitFailedWarning, match="(?s)3 fits failed out of a total of 9.*Traceback.*-1.0"):
            ours, theirs = search_both(search, data, local, target, memory=memory)
        for kind in ("test", "train"):
            found, wanted = (s.cv_results_[f"mean_{kind}_score"] for s in (ours, theirs))
            np.testing.assert_allclose(found, wanted, rtol=0.01)
        np.testing.assert_array_equal(ours.cv_results_["rank_test_score"] == 3, [False, True, False])


@pytest.mark.parametrize("memory", [None, STREAMED])
def test_a_candidate_that_raises_stops_the_search_if_asked_to(local: Any, data: Path, memory: Any) -> None:
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [1.0, -1.0]}, error_score="raise")
    with pytest.raises((TaskFailed, BadParameter), match="'var_smoothing' parameter of GaussianNB"):
        pqy.fit(search, data, target="late", features=FEATURES, engine=local, memory=memory)


@pytest.mark.parametrize("memory", [None, STREAMED])
def test_all_candidates_fail(local: Any, data: Path, memory: Any) -> None:
    search = GridSearchCV(GaussianNB(), {"var_smoothing": [-2.0, -1.0]}, cv=2)
    with pytest.raises(BadParameter, match=r"(?s)all of the 4 fits failed.*Traceback"):
        pqy.fit(search, data, target="late", features=FEATURES, engine=local, memory=memory)


def test_a_score_that_fails_is_the_error_score(local: Any, data: Path) -> None:
    for memory in (None, STREAMED):
        search = GridSearchCV(GaussianNB(), {"var_smoothing": [0.1, 1.0]}, scoring="f1", cv=2)
        with pytest.warns(UserWarning, match="non-finite"):
            found = pqy.fit(search, data, target="kind", features=FEATURES, engine=local, memory=memory)
        assert np.isnan(found.cv_results_["mean_test_score"]).all()


def test_what_does_not_fit_anywhere(local: Any, data: Path) -> None:
    search = GridSearchCV(SVC(), {"C": [1.0]})
    with pytest.raises(TooBigForOneNode, match="no distributed fit for SVC"):
        pqy.fit(search, data, target="late", features=FEATURES, engine=local, memory=STREAMED)
    with pytest.raises(TooBigForOneNode, match="no distributed fit for SVC"):
        pqy.cross_validate(SVC(), data, target="late", features=FEATURES, engine=local, memory=STREAMED)


def test_missing_targets(local: Any, write_parquet: Any) -> None:
    table = rows(200).to_pandas()
    table.loc[150, "y"] = np.nan
    table["kind"] = table["kind"].where(table.index != 33, None)
    folder = write_parquet(table, files=1, row_group_size=100)
    for estimator, target, place in (
        (DecisionTreeRegressor(), "y", "row group 1, row 50"),
        (TREE, "kind", "row group 0, row 33"),
    ):
        search = GridSearchCV(estimator, {"max_depth": [1]})
        with pytest.raises(NonFiniteValues, match=f"'{target}'.*{place}"):
            pqy.fit(search, folder, target=target, features=FEATURES, engine=local)
    with pytest.raises(UnknownColumn, match=r"'shops'.*Did you mean 'shop'"):
        pqy.cross_validate(TREE, folder, target="kind", groups="shops", engine=local)


# --- a search that is stopped ---------------------------------------------------------------
class Counted(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Writes a line for each fit; the process ends at once where there are ``most``."""

    def __init__(self, log: str = "", most: int = 1000, depth: int = 1) -> None:
        self.log, self.most, self.depth = log, most, depth

    def fit(self, x: Any, y: Any) -> Counted:
        with open(self.log, "a+") as file:
            file.write(f"{self.depth}\n")
            file.flush()
            file.seek(0)
            done = len(file.readlines())
        if done == self.most:
            os.kill(os.getpid(), signal.SIGKILL)
        self.model_ = DecisionTreeClassifier(max_depth=self.depth, random_state=0).fit(x, y)
        self.classes_ = self.model_.classes_
        return self

    def predict(self, x: Any) -> Any:
        return self.model_.predict(x)


_STOPPED = """
import sys
import parquetry as pqy
from sklearn.model_selection import GridSearchCV
from test_tuning_faults import FEATURES, Counted
data, log, folder = sys.argv[1:]
search = GridSearchCV(Counted(log, 8), {"depth": [1, 2, 3, 4]}, cv=3)
with pqy.open_engine("local", workers=1) as engine:
    pqy.fit(search, data, target="late", features=FEATURES, engine=engine, resume=folder)
"""


def test_a_search_that_was_killed_goes_on_from_its_finished_fits(local: Any, data: Path, tmp_path: Path) -> None:
    log, folder = tmp_path / "fits.txt", tmp_path / "journal"
    found = subprocess.run(
        [sys.executable, "-c", _STOPPED, str(data), str(log), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        capture_output=True,
        check=False,
    )
    assert found.returncode == -signal.SIGKILL, found.stderr.decode()[-2000:]
    assert len(log.read_text().splitlines()) == 8
    journal = folder / FILE
    assert len(journal.read_text().splitlines()) == 7
    with journal.open("a") as file:
        file.write('{"key": "cut sho')
    search = GridSearchCV(Counted(str(log), 8), {"depth": [1, 2, 3, 4]}, cv=3)
    ours = pqy.fit(search, data, target="late", features=FEATURES, engine=local, resume=folder)
    fits_now = log.read_text().splitlines()[8:]
    assert len(fits_now) == 12 - 7 + 1  # those that were not finished, and the best one again
    frame = pqy.open_dataset(data).to_pandas()
    theirs = GridSearchCV(Counted(str(tmp_path / "other.txt")), {"depth": [1, 2, 3, 4]}, cv=3)
    assert_same_search(ours, theirs.fit(frame[FEATURES], frame["late"]))
    # Other data, folds or scores are other fits.
    search = GridSearchCV(Counted(str(log), 1000), {"depth": [1, 2]}, cv=2, refit=False)
    pqy.fit(search, data, target="late", features=FEATURES, engine=local, resume=folder)
    assert len(log.read_text().splitlines()) == 8 + 6 + 4


@pytest.mark.parametrize(
    "search",
    [
        GridSearchCV(GaussianNB(), {"var_smoothing": [1e-9, 1.0]}, cv=2, error_score=-1.0),
        GridSearchCV(LogisticRegression(), {"C": [0.1, 1.0]}, cv=2, scoring="neg_log_loss"),
    ],
    ids=["distributed", "in the same passes"],
)
def test_what_is_done_is_not_done_again(local: Any, data: Path, tmp_path: Path, search: Any) -> None:
    given = {"target": "late", "features": FEATURES, "engine": local, "memory": STREAMED, "resume": tmp_path}
    first = pqy.fit(search, data, **given)
    again = pqy.fit(search, data, **given)
    assert again.fit_report_["passes"] < first.fit_report_["passes"]
    for name in ("mean_test_score", "mean_fit_time", "mean_score_time"):
        np.testing.assert_array_equal(again.cv_results_[name], first.cv_results_[name])


def test_resume_needs_a_folder(local: Any, data: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    search = GridSearchCV(TREE, {"max_depth": [1]}, cv=2)
    with pytest.raises(BadParameter, match="is a file"):
        pqy.fit(search, data, target="late", features=FEATURES, engine=local, resume=file)
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / FILE).write_text("{}\n")
    with pytest.raises(BadParameter, match="line 1 notes no fit"):
        pqy.fit(search, data, target="late", features=FEATURES, engine=local, resume=tmp_path / "journal")
    with pytest.raises(BadParameter, match="return_estimator=True"):
        pqy.cross_validate(TREE, data, target="late", engine=local, resume=tmp_path, return_estimator=True)


def test_digests_tell_values_apart() -> None:
    values = [1, 1.0, "1", True, None, [1], (1,), {1}, {"a": 1}, {"a": 2}, np.arange(3), np.arange(3.0), TREE, Ridge()]
    values += [Ridge(alpha=2), lambda x: x + 1, lambda x: x + 2, Ridge, np.random.RandomState(1)]
    assert len({digest(v) for v in values}) == len(values)
    assert digest(DecisionTreeClassifier(random_state=0)) == digest(TREE)
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_warnings_are_not_errors(local: Any, data: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pqy.fit(GridSearchCV(TREE, {"max_depth": [1]}), data, target="late", features=FEATURES, engine=local)
