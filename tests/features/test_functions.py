"""FunctionTransformer: fitted on the first rows, and only where the function works row by row."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, WrongColumnType


def doubled(x, by=2.0):
    return x * by


def ratio(x):
    return pd.DataFrame({"ratio": x["a"] / (1 + x["b"]), "a": x["a"]})


def initials(x):
    return x.apply(lambda column: column.str[:1])


def centered(x):
    return x - x.mean(axis=0)


def without_negatives(x):
    return x[x["a"] > 0]


def total(x):
    return float(x["a"].sum())


def broken(x):
    return x["no such column"]


FUNCTIONS = {
    "identity": (None, {}),
    "log": (np.log1p, {"inverse_func": np.expm1, "check_inverse": False}),
    "arguments": (doubled, {"kw_args": {"by": 3.0}}),
    "frame": (ratio, {}),
    "names": (doubled, {"feature_names_out": "one-to-one"}),
    "validated": (doubled, {"validate": True}),
    "inverse": (doubled, {"inverse_func": lambda x: x / 2}),
}


@pytest.mark.parametrize(("function", "options"), FUNCTIONS.values(), ids=FUNCTIONS.keys())
def test_equals_scikit_learn(function, options, write_parquet, engine):
    table = {"a": np.linspace(0.0, 9.0, 300), "b": np.arange(300.0) % 7}
    folder = write_parquet(table, row_group_size=23)
    ours, theirs, x = parity.fit_both(FunctionTransformer(function, **options), folder, engine)
    parity.assert_same_learned(ours, theirs)
    pd.testing.assert_frame_equal(pd.DataFrame(ours.transform(x)), pd.DataFrame(theirs.transform(x)))
    assert ours.fit_report_["passes"] == bool(options.get("validate"))


def test_in_front_of_a_scaler(write_parquet, engine):
    folder = write_parquet({"a": np.linspace(0.0, 9.0, 300), "b": np.arange(300.0) % 7}, row_group_size=23)
    ours, theirs, _ = parity.fit_both(make_pipeline(FunctionTransformer(ratio), StandardScaler()), folder, engine)
    np.testing.assert_allclose(ours[1].mean_, theirs[1].mean_, rtol=1e-12)
    np.testing.assert_allclose(ours[1].var_, theirs[1].var_, rtol=1e-12)


def test_text(write_parquet, local):
    folder = write_parquet(parity.texts())
    transformer = pqy.fit(FunctionTransformer(initials), folder, features=["gappy"], engine=local)
    assert transformer.feature_names_in_.tolist() == ["gappy"]


def test_functions_that_are_no_inverses_are_told(write_parquet, local):
    folder = write_parquet({"a": np.linspace(1.0, 9.0, 300)})
    transformer = FunctionTransformer(doubled, inverse_func=doubled)
    with pytest.warns(UserWarning, match="not strictly inverse"):
        pqy.fit(transformer, folder, engine=local)


@pytest.mark.parametrize("function", [centered, without_negatives, total], ids=lambda f: f.__name__)
def test_what_does_not_work_row_by_row_is_refused(function, write_parquet, local):
    folder = write_parquet({"a": np.linspace(-1.0, 9.0, 300)})
    with pytest.raises(BadParameter, match=rf"{function.__name__} does not work row by row"):
        pqy.fit(FunctionTransformer(function), folder, engine=local)


def test_a_function_that_fails(write_parquet, local):
    with pytest.raises(BadParameter, match=r"broken fails on the first rows\. KeyError: 'no such column'"):
        pqy.fit(FunctionTransformer(broken), write_parquet({"a": [1.0, 2.0]}), engine=local)


def test_validate_reads_all_rows(write_parquet, engine):
    values = np.ones(300)
    values[170] = np.nan
    folder = write_parquet({"a": np.ones(300), "b": values}, row_group_size=10)
    with pytest.raises(NonFiniteValues, match=r"column 'b' holds NaN.*part-1\.parquet, row group 2, row 0"):
        pqy.fit(FunctionTransformer(doubled, validate=True), folder, engine=engine)


def test_validate_of_text(write_parquet, local):
    with pytest.raises(WrongColumnType, match="'t' is string"):
        pqy.fit(FunctionTransformer(validate=True), write_parquet({"t": ["a", "b"]}), engine=local)


def test_bad_parameter(write_parquet, local):
    with pytest.raises(BadParameter, match="validate"):
        pqy.fit(FunctionTransformer(validate="yes"), write_parquet({"a": [1.0, 2.0]}), engine=local)


def test_one_row(write_parquet, local):
    transformer = pqy.fit(FunctionTransformer(doubled), write_parquet({"a": [1.0]}, files=1), engine=local)
    assert transformer.n_features_in_ == 1


def test_names_go_through_a_function_of_frames(engine: Any, houses: Path) -> None:
    """scikit-learn's scaler sees names behind such a function: so does ours, and no step warns of any."""
    data = pqy.open_dataset(houses)
    pipeline = make_pipeline(FunctionTransformer(np.log1p, feature_names_out="one-to-one"), StandardScaler())
    columns = ["area", "rooms"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ours = pqy.fit(pipeline, data, features=columns, engine=engine)
        theirs = clone(pipeline).fit(data.to_pandas()[columns])
        assert list(ours[-1].feature_names_in_) == list(theirs[-1].feature_names_in_) == columns
        np.testing.assert_allclose(
            ours.transform(data.to_pandas()[columns]), theirs.transform(data.to_pandas()[columns]), rtol=1e-9
        )
