"""What every class with a Fitter refuses: values that are not finite, weights that make no sense, mixed labels."""

from __future__ import annotations

import warnings
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.base import is_classifier, is_regressor
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.validation import has_fit_parameter

import parquetry as pqy
from parquetry import registry
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, SchemaDrift

N = 90
BAD_ROW = 47  # row 7 of the third row group
UNREAD = {"DummyClassifier", "DummyRegressor", "CatBoostClassifier", "CatBoostRegressor"}
"""They do not look at X, as scikit-learn's own; or, CatBoost's, take infinity for the largest value."""
FEW = {"n_estimators": 2, "cv": 3}


def predictors() -> list[Any]:
    found = []
    for kind in sorted(registry.entries(), key=lambda kind: kind.__name__):
        if any(p.default is p.empty for p in signature(kind).parameters.values()):
            continue  # it is made of others, which are asked themselves
        if kind.__name__.endswith("Ranker"):
            continue  # it needs queries
        estimator = kind()
        if is_classifier(estimator) or is_regressor(estimator):
            few = {name: value for name, value in FEW.items() if name in estimator.get_params()}
            found.append(estimator.set_params(**few))
    return found


def columns(estimator: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    x = np.abs(np.round(2 * rng.normal(size=(N, 3))))
    score = x @ [1.0, -1.0, 0.5] + rng.normal(size=N)
    y = (score > np.median(score)).astype(int) if is_classifier(estimator) else score
    return {**{f"x{i}": x[:, i] for i in range(3)}, "y": y, "z": score[::-1].copy()}


def fit(estimator: Any, table: dict[str, Any], folder: Path, engine: Any, **arguments: Any) -> Any:
    path = folder / "rows.parquet"
    pq.write_table(pa.table(table), path, row_group_size=20)
    target = ["y", "z"] if type(estimator).__name__.startswith("MultiTask") else "y"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pqy.fit(estimator, path, target=target, features=["x0", "x1", "x2"], engine=engine, **arguments)


@pytest.mark.parametrize("estimator", predictors(), ids=lambda e: type(e).__name__)
def test_infinity_is_refused_with_its_place(local: Any, tmp_path: Path, estimator: Any) -> None:
    table = columns(estimator)
    table["x1"][BAD_ROW] = np.inf
    if type(estimator).__name__ in UNREAD:
        assert fit(estimator, table, tmp_path, local).n_features_in_ == 3
        return
    with pytest.raises(NonFiniteValues, match=r"'x1'.*rows\.parquet, row group 2, row 7"):
        fit(estimator, table, tmp_path, local)


@pytest.mark.parametrize("estimator", predictors(), ids=lambda e: type(e).__name__)
def test_weights_that_make_no_sense_are_refused(local: Any, tmp_path: Path, estimator: Any) -> None:
    """Also one negative weight among so many others that every sum is positive."""
    table = columns(estimator)
    for weight in (np.where(np.arange(N) == BAD_ROW, -0.5, 2.0), np.zeros(N)):
        with pytest.raises((BadParameter, DegenerateColumn), match=r"(?i)weight"):
            fit(estimator, {**table, "weight": weight}, tmp_path, local, sample_weight="weight")
    for value in (np.nan, np.inf):
        if has_fit_parameter(estimator, "sample_weight"):
            weight = np.where(np.arange(N) == BAD_ROW, value, 1.0)
            with pytest.raises((NonFiniteValues, BadParameter), match=r"(?i)weight|finite"):
                fit(estimator, {**table, "weight": weight}, tmp_path, local, sample_weight="weight")


def test_labels_of_mixed_type_are_refused_before_any_pass(local: Any, tmp_path: Path) -> None:
    """A column has one type; two files can disagree, and then both are named."""
    x = np.arange(40.0)
    pq.write_table(pa.table({"x": x, "y": np.arange(40) % 2}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"x": x, "y": np.where(x > 9, "one", "two")}), tmp_path / "b.parquet")
    with pytest.raises(
        SchemaDrift, match=r"b\.parquet: column 'y' is string, but in .*a\.parquet it is int64"
    ) as caught:
        pqy.fit(GaussianNB(), tmp_path, target="y", engine=local)
    assert caught.value.fix
