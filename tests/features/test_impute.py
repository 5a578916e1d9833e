"""SimpleImputer against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, TooManyCategories, WrongColumnType
from parquetry.foundation import counts

STRATEGIES = ("mean", "median", "most_frequent", "constant")
OPTIONS = {
    "plain": {},
    "indicator": {"add_indicator": True},
    "kept": {"keep_empty_features": True},
    "kept with indicator": {"keep_empty_features": True, "add_indicator": True},
}


@pytest.mark.filterwarnings("ignore:Skipping features without any observed values")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", [k for k in parity.KINDS if k != "booleans"])
def test_numbers_equal_scikit_learn(kind, strategy, options, write_parquet, local):
    folder = write_parquet(parity.numbers(kind), files=3, row_group_size=37)
    imputer = SimpleImputer(strategy=strategy, **options)
    ours, theirs, x = parity.fit_both(imputer, folder, local)
    # scikit-learn adds up float32 columns in float32.
    rtol = 1e-5 if kind == "narrow" and strategy == "mean" else parity.RTOL
    parity.assert_same_learned(ours, theirs, rtol)
    parity.assert_same_output(ours, theirs, x, rtol)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


@pytest.mark.parametrize("layout", parity.LAYOUTS.values(), ids=parity.LAYOUTS.keys())
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_engine(strategy, layout, write_parquet, engine):
    folder = write_parquet(parity.numbers("gaps"), **layout)
    ours, theirs, x = parity.fit_both(SimpleImputer(strategy=strategy, add_indicator=True), folder, engine)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


def test_median_is_exact_where_it_takes_more_passes(write_parquet, engine):
    table = parity.numbers("gaps", 150_000)
    folder = write_parquet(table, files=3, row_group_size=20_000)
    ours, theirs, _ = parity.fit_both(SimpleImputer(strategy="median"), folder, engine)
    np.testing.assert_array_equal(ours.statistics_, theirs.statistics_)
    assert ours.fit_report_["passes"] > 1


TEXTS = {
    "text": ["word", "gappy"],
    "text and numbers": ["gappy", "number", "whole", "level"],
    "booleans with nulls": ["flag"],
    "text and booleans": ["flag", "sure", "gappy"],
    "dates": ["day"],
    "dates and text": ["day", "gappy"],
}


@pytest.mark.parametrize("options", [{}, {"add_indicator": True}], ids=["plain", "indicator"])
@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
@pytest.mark.parametrize("features", TEXTS.values(), ids=TEXTS.keys())
def test_objects_equal_scikit_learn(features, strategy, options, write_parquet, engine):
    folder = write_parquet(parity.texts(), files=3, row_group_size=31)
    ours, theirs, x = parity.fit_both(SimpleImputer(strategy=strategy, **options), folder, engine, features=features)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("features", [["number", "whole"], ["sure", "level"], ["flag", "whole"], ["sure", "whole"]])
def test_mixed_numbers(features, strategy, write_parquet, local):
    folder = write_parquet(parity.texts(), files=3, row_group_size=31)
    ours, theirs, x = parity.fit_both(SimpleImputer(strategy=strategy), folder, local, features=features)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


MARKERS = {
    "zero": ({"missing_values": 0}, ["whole", "also"]),
    "minus one": ({"missing_values": -1.0}, ["whole", "real"]),
    "a value that is not there": ({"missing_values": 77}, ["whole"]),
    "text": ({"missing_values": "oak", "strategy": "most_frequent"}, ["word"]),
    "text by a constant": ({"missing_values": "oak", "strategy": "constant", "fill_value": "?"}, ["word"]),
    "most frequent but the marker": ({"missing_values": 0, "strategy": "most_frequent"}, ["whole", "also"]),
    "median but the marker": ({"missing_values": 0, "strategy": "median", "add_indicator": True}, ["whole", "real"]),
    "None": ({"missing_values": None, "strategy": "most_frequent"}, ["flag"]),
    "NA": ({"missing_values": pd.NA, "strategy": "most_frequent"}, ["flag", "gappy"]),
    "NA in numbers": ({"missing_values": pd.NA, "strategy": "mean"}, ["level"]),
}


@pytest.mark.parametrize(("options", "features"), MARKERS.values(), ids=MARKERS.keys())
def test_other_missing_values(options, features, write_parquet, engine):
    rng = np.random.default_rng(2)
    table = parity.texts().drop_columns(["whole"])
    columns = {"whole": rng.integers(-1, 3, 400), "also": rng.integers(0, 2, 400)}
    columns["real"] = rng.integers(-1, 3, 400).astype(float)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    folder = write_parquet(table, row_group_size=29)
    ours, theirs, x = parity.fit_both(SimpleImputer(**options), folder, engine, features=features)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


@pytest.mark.parametrize("values", [[3, 1, 1, 3, 2], [5.5, -0.0, 0.0, 5.5, 9.0]], ids=["integers", "floats"])
def test_ties_go_to_the_smallest(values, write_parquet, local):
    folder = write_parquet({"a": values, "t": list("xbbxa")}, row_group_size=1)
    ours, theirs, _ = parity.fit_both(SimpleImputer(strategy="most_frequent"), folder, local)
    parity.assert_same_learned(ours, theirs)
    ours, theirs, _ = parity.fit_both(SimpleImputer(strategy="most_frequent"), folder, local, features=["a"])
    parity.assert_same_learned(ours, theirs)


def test_integers_with_nulls_in_some_blocks_only(write_parquet, engine):
    # A block without nulls is int64 in pandas, one with them is float64.
    table = pa.table({"a": pa.array([1, 2, 2, 4, 5, None, None, 8], pa.int64())})
    folder = write_parquet(table, row_group_size=2)
    for strategy in STRATEGIES:
        model = pqy.fit(make_pipeline(SimpleImputer(strategy=strategy), StandardScaler()), folder, engine=engine)
        frame = pqy.open_dataset(folder).to_pandas()
        theirs = make_pipeline(SimpleImputer(strategy=strategy), StandardScaler()).fit(frame)
        parity.assert_same_learned(model[0], theirs[0])
        parity.assert_same_learned(model[1], theirs[1])


@pytest.mark.parametrize("strategy", ["most_frequent", "constant"])
def test_text_then_an_encoder(strategy, write_parquet, engine):
    folder = write_parquet(parity.texts(), row_group_size=31)
    pipeline = make_pipeline(SimpleImputer(strategy=strategy), OneHotEncoder(min_frequency=0.05))
    ours, theirs, x = parity.fit_both(pipeline, folder, engine, features=["word", "gappy"])
    parity.assert_same_learned(ours[1], theirs[1])
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")


@pytest.mark.parametrize("features", [["whole"], ["whole", "number"], ["level"]])
def test_numbers_then_an_encoder(features, write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=31)
    pipeline = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder())
    ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=features)
    parity.assert_same_learned(ours[1], theirs[1])
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("frames", [False, True], ids=["arrays", "frames"])
def test_behind_another_step(frames, strategy, write_parquet, local):
    folder = write_parquet(parity.numbers("gaps"), row_group_size=31)
    pipeline = make_pipeline(StandardScaler(), SimpleImputer(strategy=strategy, add_indicator=True))
    if frames:
        pipeline.set_output(transform="pandas")
    ours, theirs, _ = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[1], theirs[1])


def largest(values):
    return values.max()


def test_a_function_as_strategy_is_fitted_on_one_node(write_parquet, engine):
    folder = write_parquet(parity.numbers("gaps"), row_group_size=31)
    ours, theirs, _ = parity.fit_both(SimpleImputer(strategy=largest), folder, engine)
    parity.assert_same_learned(ours, theirs)
    (step,) = ours.fit_report_["steps"]
    assert step["placement"] == "single-node"
    assert "function" in step["why"]


def test_sparse_is_fitted_on_one_node(write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=31)
    pipeline = make_pipeline(OneHotEncoder(), SimpleImputer())
    ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=["word"])
    parity.assert_same_learned(ours[1], theirs[1])
    assert "sparse" in ours.fit_report_["steps"][-1]["why"]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_infinity_is_refused_with_its_place(strategy, write_parquet, engine):
    values = np.arange(200.0)
    values[[130, 131, 170]] = np.nan, np.inf, np.inf
    folder = write_parquet({"a": np.ones(200), "b": values}, row_group_size=20)
    with pytest.raises(NonFiniteValues, match=r"SimpleImputer: column 'b' holds infinity.*part-1.*group 1, row 11"):
        pqy.fit(SimpleImputer(strategy=strategy), folder, engine=engine)


NOT_MISSING = {
    "NaN where -1 is missing": ({"missing_values": -1}, {"a": [1.0, 2.0, -1.0, np.nan]}, "group 0, row 1"),
    "null where -1 is missing": (
        {"missing_values": -1, "strategy": "median"}, {"a": pa.array([1, -1, None, 3])}, "group 0, row 0",
    ),
    "null where a text is missing": (
        {"missing_values": "", "strategy": "most_frequent"}, {"a": ["", "x", "x", None]}, "group 0, row 1",
    ),
    "null where None is missing": (
        {"missing_values": None, "strategy": "constant"}, {"a": ["", "x", None, None]}, "group 0, row 0",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "table", "place"), NOT_MISSING.values(), ids=NOT_MISSING.keys())
def test_a_gap_that_is_not_the_missing_value(options, table, place, write_parquet, local):
    folder = write_parquet(pa.table(table))
    with pytest.raises(NonFiniteValues, match=rf"'a' holds a missing value.*part-1\.parquet, row {place}"):
        pqy.fit(SimpleImputer(**options), folder, engine=local)


BAD = {
    "mean of text": ({}, {"t": ["a", "b"]}, WrongColumnType, "'t' is string"),
    "median of text": ({"strategy": "median"}, {"t": ["a", "b"]}, WrongColumnType, "'t' is string"),
    "strategy": ({"strategy": "mode"}, {"a": [1.0, 2.0]}, BadParameter, "strategy"),
    "text marks numbers": ({"missing_values": "?"}, {"a": [1.0, 2.0]}, BadParameter, "both numerical"),
    "text fills numbers": ({"strategy": "constant", "fill_value": "?"}, {"a": [1.0, 2.0]}, BadParameter, "fill_value"),
    "number fills integers": (
        {"strategy": "constant", "fill_value": 0.5}, {"a": [1, 2]}, BadParameter, "cannot be cast",
    ),
    "booleans": ({"strategy": "most_frequent"}, {"a": [True, False]}, BadParameter, "dtype bool"),
}  # fmt: skip


@pytest.mark.parametrize(("options", "table", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(options, table, kind, says, write_parquet, local):
    with pytest.raises(kind, match=says):
        pqy.fit(SimpleImputer(**options), write_parquet(table, files=1), engine=local)


def test_too_many_categories(write_parquet, local, monkeypatch):
    monkeypatch.setattr(counts.Counts.__init__, "__kwdefaults__", {"target": False, "weighted": False, "limit": 50})
    folder = write_parquet({"id": np.arange(100)}, row_group_size=9)
    with pytest.raises(TooManyCategories, match="SimpleImputer: column 'id' has more than 50"):
        pqy.fit(SimpleImputer(strategy="most_frequent"), folder, engine=local)


@pytest.mark.parametrize("imputer", [KNNImputer(n_neighbors=3), IterativeImputer(max_iter=3, random_state=0)])
def test_imputers_that_look_at_other_rows_are_gathered_or_told_what_scales(imputer, write_parquet, local):
    folder = write_parquet(parity.numbers("gaps", 120), row_group_size=37)
    ours, theirs, x = parity.fit_both(imputer, folder, local)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), rtol=1e-9)
    assert ours.fit_report_["placement"] == "single-node"
    assert type(imputer).__name__ in ours.fit_report_["steps"][0]["why"]
    with pytest.raises(TooBigForOneNode, match=r"use SimpleImputer\(add_indicator=True\), which scales"):
        pqy.fit(imputer, folder, engine=local, memory=1_000)
