"""Searches across what others fit: cross-fitted encoders, boosters with their options, columns of text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import TargetEncoder
from xgboost import XGBClassifier

import parquetry as pqy
from parquetry.boosting import importances
from parquetry.errors import BadParameter, NotExportable
from parquetry.fitting import Pass, drive, together
from parquetry.reduction import Reduction
from parquetry.view import View

FEATURES = ["town", "p", "q"]
FOLDS = KFold(3)


def rows(n: int = 900, *, towns: int = 90) -> pd.DataFrame:
    """A text of many values, which the target depends on: an encoding that is not cross-fitted overfits."""
    rng = np.random.default_rng(4)
    town = rng.permutation(np.arange(n) % towns)
    p, q = rng.normal(size=(2, n))
    y = p + rng.normal(size=towns)[town] + rng.normal(size=n)
    texts = [f"t{i}" for i in town]
    return pd.DataFrame(
        {"town": texts, "p": p, "q": q, "y": y, "late": (y > 0).astype(int), "query": np.arange(n) // 9}
    )


def encoding(last: Any) -> Pipeline:
    branch = ("town", TargetEncoder(cv=KFold(4)), ["town"])
    return Pipeline([("code", ColumnTransformer([branch], remainder="passthrough")), ("last", last)])


@pytest.mark.parametrize(
    ("last", "grid", "target", "given"),
    [
        (LogisticRegression(tol=1e-9), {"last__C": [0.1, 10.0]}, "late", {}),
        (Ridge(), {"last__alpha": [0.1, 10.0], "code__town__smooth": ["auto", 5.0]}, "y", {}),
        (GaussianNB(), {"last__var_smoothing": [1e-9, 0.1]}, "late", {"memory": 250_000}),
    ],
    ids=["batched", "gram", "streamed"],
)
def test_candidates_learn_from_cross_fitted_rows(
    local: Any, write_parquet: Callable[..., Path], last: Any, grid: Any, target: str, given: Any
) -> None:
    frame = rows()
    search = GridSearchCV(encoding(last), grid, cv=FOLDS)
    ours = pqy.fit(search, write_parquet(frame), target=target, features=FEATURES, engine=local, **given)
    theirs = clone(search).fit(frame[FEATURES], frame[target])
    assert ours.fit_report_["steps"][-1]["placement"] == "distributed"
    for name in ("mean_test_score", "rank_test_score"):
        np.testing.assert_allclose(ours.cv_results_[name], theirs.cv_results_[name], rtol=1e-9)


def test_validation_and_gang_hold_for_each_fit(local: Any, write_parquet: Callable[..., Path], tmp_path: Path) -> None:
    frame, other = rows(), rows(300)
    train, validation = write_parquet(frame), write_parquet(other, "validation")
    model = LGBMRegressor(n_estimators=60, early_stopping_round=2, learning_rate=0.5, verbose=-1)
    search, folds = GridSearchCV(model, {"num_leaves": [4]}, cv=KFold(2), refit=False), KFold(2)
    given = {"target": "y", "features": ["p", "q"], "engine": local, "gang": 1, "resume": tmp_path / "journal"}
    ours = pqy.fit(search, train, validation=validation, **given)
    exact = clone(model).set_params(deterministic=True, force_col_wise=True, n_jobs=1)
    for k, (learned, held) in enumerate(folds.split(frame)):
        part, rest = frame.iloc[learned], frame.iloc[held]
        own = clone(exact).set_params(num_leaves=4)
        own.fit(part[["p", "q"]], part["y"], eval_X=other[["p", "q"]], eval_y=other["y"])
        assert own.best_iteration_ < 60
        score = own.score(rest[["p", "q"]], rest["y"])
        np.testing.assert_allclose(ours.cv_results_[f"split{k}_test_score"][0], score, rtol=1e-9)
    shuffled = write_parquet(other.assign(y=other["y"].to_numpy()[::-1]), "another")
    again = pqy.fit(search, train, validation=shuffled, **given)
    assert (again.cv_results_["mean_test_score"] != ours.cv_results_["mean_test_score"]).any()


def test_boosters_take_text_in_a_search_and_its_best_answers(
    local: Any, write_parquet: Callable[..., Path], tmp_path: Path
) -> None:
    frame = rows(600, towns=4)
    data = write_parquet(frame)
    model = LGBMClassifier(n_estimators=4, num_leaves=4, verbose=-1, deterministic=True, force_col_wise=True)
    search = GridSearchCV(model, {"learning_rate": [0.4]}, cv=KFold(2))
    ours = pqy.fit(search, data, target="late", features=FEATURES, engine=local, gang=1)
    categories = frame[FEATURES].astype({"town": "category"})
    theirs = clone(search).fit(categories, frame["late"])
    np.testing.assert_allclose(ours.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-12)
    found = pqy.evaluate(ours, data, target="late", engine=local)
    assert found["accuracy"] == pytest.approx(theirs.score(categories, frame["late"]), rel=1e-12)
    gains = dict(zip(FEATURES, theirs.best_estimator_.booster_.feature_importance("gain"), strict=True))
    assert importances(ours)["gain"] == pytest.approx(gains)
    with pytest.raises(NotExportable, match="columns of text"):
        pqy.save(ours, tmp_path / "model")


def test_rankers_are_searched_by_query(local: Any, write_parquet: Callable[..., Path]) -> None:
    frame = rows().assign(rank=lambda f: np.clip(f["y"].round(), 0, 3).astype(int))
    model = LGBMRanker(n_estimators=3, num_leaves=4, verbose=-1, deterministic=True, force_col_wise=True)
    search = GridSearchCV(model, {"learning_rate": [0.4]}, cv=GroupKFold(2), scoring=nearness, refit=False)
    data, given = write_parquet(frame), {"target": "rank", "features": ["p", "q"], "engine": local, "groups": "query"}
    ours = pqy.fit(search, data, group="query", gang=1, **given)
    for k, (learned, held) in enumerate(GroupKFold(2).split(frame, groups=frame["query"])):
        part, rest = frame.iloc[learned], frame.iloc[held]
        sizes = part.groupby("query").size()
        own = clone(model).set_params(learning_rate=0.4).fit(part[["p", "q"]], part["rank"], group=sizes)
        score = nearness(own, rest[["p", "q"]], rest["rank"])
        np.testing.assert_allclose(ours.cv_results_[f"split{k}_test_score"][0], score, rtol=1e-9)
    own = clone(model).set_params(learning_rate=0.4)
    alone = pqy.cross_validate(own, data, group="query", gang=1, cv=GroupKFold(2), scoring=nearness, **given)
    np.testing.assert_allclose(alone["test_score"].mean(), ours.cv_results_["mean_test_score"][0], rtol=1e-12)
    with pytest.raises(BadParameter, match=r"(?s)all of the 2 fits failed.*ranks within queries"):
        pqy.fit(search, data, **given)


def nearness(model: Any, x: Any, y: Any) -> float:
    return float(np.corrcoef(model.predict(x), y)[0, 1])


class Rows(Reduction[int, int]):
    """How many rows there are."""

    def partial(self, batch: Any) -> int:
        return int(batch.num_rows)

    def merge(self, left: int, right: int) -> int:
        return left + right


def test_passes_over_two_datasets_share_no_read(local: Any, write_parquet: Callable[..., Path]) -> None:
    views = [View(pqy.open_dataset(write_parquet(rows(n), f"of {n}")), ("p",)) for n in (900, 360)]

    def count(view: View) -> Any:
        (found,) = yield [Pass(Rows(), view)]
        return found

    assert drive(together([count(view) for view in views]), local, verb="count") == [900, 360]


def test_a_group_is_no_feature_to_the_block_cache(write_parquet: Callable[..., Path]) -> None:
    view = View(pqy.open_dataset(write_parquet(rows())), ("p", "q")).cached()
    train, test = view.dataset.split(test=0.5, seed=0)
    views = [view, replace(view, group="query"), replace(view, features=("p", "q", "query"))]
    views += [replace(view, dataset=train), replace(view, dataset=test)]
    assert len({each.cache_key for each in views}) == len(views)


@pytest.mark.parametrize(
    ("model", "given", "said"),
    [
        (LGBMClassifier(), {"group": "query"}, "LGBMClassifier does not rank within queries"),
        (CatBoostClassifier(), {"group": "query"}, "CatBoostClassifier does not rank within queries"),
        (LGBMRanker(), {"groups": "query"}, "queries of a ranker are named with group="),
        (GridSearchCV(Ridge(), {}, cv=GroupKFold(2)), {"group": "query"}, "folds' groups are named with groups="),
        (GridSearchCV(XGBClassifier(), {}, cv=GroupKFold(2)), {"group": "query"}, "column with groups="),
        (GridSearchCV(XGBClassifier(), {}, cv=2), {"gang": 0}, "world=0 is out of range"),
        (GridSearchCV(CatBoostClassifier(cat_features=["p"]), {"depth": [1]}), {}, "cannot be cloned"),
    ],
    ids=["lightgbm", "catboost", "ranker", "linear", "xgboost", "gang", "list"],
)
def test_refusals(local: Any, write_parquet: Callable[..., Path], model: Any, given: Any, said: str) -> None:
    with pytest.raises(BadParameter, match=said):
        pqy.fit(model, write_parquet(rows()), target="late", features=["p", "q"], engine=local, **given)


def test_validation_rows_are_encoded_by_all_rows_of_the_fit(local: Any, write_parquet: Callable[..., Path]) -> None:
    frame, other = rows(), rows(300)
    booster = LGBMRegressor(n_estimators=60, early_stopping_round=2, learning_rate=0.5, num_leaves=8, verbose=-1)
    given = {"target": "y", "features": FEATURES, "engine": local, "gang": 1}
    validation = write_parquet(other, "validation", files=1, row_group_size=300)
    ours = pqy.fit(encoding(booster), write_parquet(frame), validation=validation, **given)
    code = clone(ours["code"])
    learned = code.fit_transform(frame[FEATURES], frame["y"])
    own = clone(booster).set_params(deterministic=True, force_col_wise=True, n_jobs=1)
    own.fit(learned, frame["y"], eval_X=code.transform(other[FEATURES]), eval_y=other["y"])
    history = (model.evals_result_["valid_0"]["l2"] for model in (ours["last"], own))
    np.testing.assert_allclose(*history, rtol=1e-9)


def test_cross_validate_tells_where_it_has_fitted(write_parquet: Callable[..., Path], local: Any, caplog: Any) -> None:
    path = write_parquet(rows(90))
    caplog.set_level("INFO", logger="parquetry.tuning")
    for model, told in ((Ridge(), "cross_validate: distributed. Candidates"), (GaussianNB(), "single-node. ")):
        caplog.clear()
        pqy.cross_validate(model, path, target="late", features=["p", "q"], cv=3, engine=local)
        assert told in caplog.text
