"""OneHotEncoder against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, TooManyCategories
from parquetry.foundation import counts
from parquetry.through import transform
from parquetry.view import Columns

WORDS = ["ash", "beech", "elm", "fir", "oak", "yew"]
OPTIONS = {
    "plain": {},
    "dense": {"sparse_output": False, "dtype": np.float32},
    "ignore": {"handle_unknown": "ignore"},
    "infrequent if exist": {"handle_unknown": "infrequent_if_exist", "min_frequency": 20},
    "warn": {"handle_unknown": "warn", "max_categories": 3},
    "first": {"drop": "first"},
    "if binary": {"drop": "if_binary"},
    "if binary, grouped": {"drop": "if_binary", "max_categories": 2},
    "first, grouped": {"drop": "first", "min_frequency": 0.1},
    "count": {"min_frequency": 30},
    "share": {"min_frequency": 0.12},
    "most": {"max_categories": 3},
    "only one": {"max_categories": 1},
    "count and most": {"min_frequency": 5, "max_categories": 4},
}
FEATURES = {
    "text": ["word"],
    "text with nulls": ["gappy", "word"],
    "numbers": ["number", "whole", "level"],
    "booleans": ["flag", "sure"],
    "dates": ["day"],
    "all": ["word", "gappy", "number", "whole", "level", "flag", "sure"],
}


def outputs_agree(ours, theirs, x):
    """Our encoder gives what scikit-learn's gives, block by block on a worker's road too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.transform(x)
        parity.assert_same(ours.transform(x), expected, "transform")
        table = pa.Table.from_pandas(x, preserve_index=False).replace_schema_metadata(None)
        parts = [transform(ours, Columns(table.slice(i, 31))) for i in range(0, len(x), 31)]
    dense = [p.toarray() if hasattr(p, "toarray") else p for p in parts]
    np.testing.assert_array_equal(
        np.concatenate(dense), expected.toarray() if hasattr(expected, "toarray") else expected
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES.keys())
def test_equals_scikit_learn(features, options, write_parquet, local):
    folder = write_parquet(parity.texts(), files=3, row_group_size=23)
    ours, theirs, x = parity.fit_both(OneHotEncoder(**options), folder, local, features=features)
    parity.assert_same_learned(ours, theirs)
    assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()
    assert ours.fit_report_["passes"] == 1
    if features != ["day"]:
        outputs_agree(ours, theirs, x)
    if ours._infrequent_enabled:
        parity.assert_same(ours.infrequent_categories_, theirs.infrequent_categories_, "infrequent_categories_")
        parity.assert_same(
            ours._default_to_infrequent_mappings, theirs._default_to_infrequent_mappings, "infrequent mapping"
        )


@pytest.mark.parametrize("layout", parity.LAYOUTS.values(), ids=parity.LAYOUTS.keys())
@pytest.mark.parametrize("options", [{}, {"min_frequency": 0.1, "drop": "first"}], ids=["plain", "grouped"])
def test_every_engine(options, layout, write_parquet, engine):
    folder = write_parquet(parity.texts(), **layout)
    ours, theirs, x = parity.fit_both(OneHotEncoder(**options), folder, engine, features=FEATURES["all"])
    parity.assert_same_learned(ours, theirs)
    outputs_agree(ours, theirs, x)


GIVEN = {
    "words": (["word"], {"categories": [WORDS]}),
    "in another order": (["word"], {"categories": [WORDS[::-1]], "drop": ["fir"]}),
    "more than are there": (["word"], {"categories": [[*WORDS, "zelkova"]], "max_categories": 3}),
    "fewer, ignored": (["word"], {"categories": [WORDS[:3]], "handle_unknown": "ignore", "min_frequency": 30}),
    "numbers": (["whole"], {"categories": [[0, 1, 2, 9]], "min_frequency": 1}),
    "numbers with NaN": (["level"], {"categories": [[0.0, 1.5, 2.5, np.nan]], "max_categories": 2}),
    "text with NaN": (["gappy"], {"categories": [[*WORDS, np.nan]], "min_frequency": 40}),
    "two columns": (["word", "whole"], {"categories": [WORDS, [0, 1, 2]], "drop": ["oak", 0]}),
}


@pytest.mark.parametrize(("features", "options"), GIVEN.values(), ids=GIVEN.keys())
def test_given_categories(features, options, write_parquet, engine):
    folder = write_parquet(parity.texts(), row_group_size=23)
    ours, theirs, x = parity.fit_both(OneHotEncoder(**options), folder, engine, features=features)
    parity.assert_same_learned(ours, theirs)
    outputs_agree(ours, theirs, x)


@pytest.mark.parametrize("drop", [["oak", None], ["oak", False], ["fir", True]])
def test_dropped_by_name(drop, write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    ours, theirs, x = parity.fit_both(OneHotEncoder(drop=drop), folder, local, features=["word", "flag"])
    parity.assert_same_learned(ours, theirs)
    outputs_agree(ours, theirs, x)


def test_dropping_nan(write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    encoder = OneHotEncoder(drop=[np.nan, np.nan])
    ours, theirs, _ = parity.fit_both(encoder, folder, local, features=["gappy", "level"])
    parity.assert_same_learned(ours, theirs)


def test_in_a_column_transformer_with_numbers(write_parquet, engine):
    folder = write_parquet(parity.texts(), row_group_size=23)
    both = make_column_transformer(
        (OneHotEncoder(max_categories=4), ["word", "gappy"]), (StandardScaler(), ["whole", "level"])
    )
    ours, theirs, x = parity.fit_both(both, folder, engine)
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")
    assert ours.fit_report_["placement"] == "distributed"


def test_behind_a_step_that_gives_frames(write_parquet, local):
    from sklearn.impute import SimpleImputer

    folder = write_parquet(parity.texts(), row_group_size=23)
    pipeline = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(sparse_output=False))
    pipeline.set_output(transform="pandas")
    ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=["word", "gappy"])
    parity.assert_same_learned(ours[1], theirs[1])


BAD = {
    "parameter": ({"handle_unknown": "skip"}, BadParameter, "handle_unknown"),
    "categories short": ({"categories": [["a"]]}, BadParameter, "categories has 1 entries for 2 columns"),
    "drop short": ({"drop": ["oak"]}, BadParameter, "drop has 1 entries for 2 columns"),
    "drop unknown": ({"drop": ["oak", "no"]}, BadParameter, "not found in the training"),
    "drop infrequent": (
        {"drop": ["beech", "oak"], "min_frequency": 60},
        BadParameter,
        "unable to drop category 'beech'",
    ),
    "unknown": ({"categories": [WORDS, WORDS[:2]]}, BadParameter, "Found unknown categories"),
    "twice": ({"categories": [[*WORDS, "oak"], WORDS]}, BadParameter, "duplicate"),
}


@pytest.mark.parametrize(("options", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(options, kind, says, write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    with pytest.raises(kind, match=says):
        pqy.fit(OneHotEncoder(**options), folder, features=["word", "gappy"], engine=local)


def test_unknown_categories_are_warned_of_where_scikit_learn_does(write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    for options in ({"handle_unknown": "warn"}, {"handle_unknown": "ignore", "drop": "first"}):
        encoder = pqy.fit(OneHotEncoder(**options), folder, features=["word"], engine=local)
        with pytest.warns(UserWarning, match="Found unknown categories in columns"):
            found = transform(encoder, Columns(pa.table({"word": ["oak", "larch"]})))
        assert found.toarray()[1].sum() == 0


def test_sparse_input(write_parquet, local):
    folder = write_parquet(parity.texts())
    with pytest.raises(BadParameter, match="sparse input"):
        pqy.fit(make_pipeline(OneHotEncoder(), OneHotEncoder()), folder, features=["word"], engine=local)


def test_too_many_categories(write_parquet, local, monkeypatch):
    monkeypatch.setattr(counts.Counts.__init__, "__kwdefaults__", {"target": False, "weighted": False, "limit": 50})
    folder = write_parquet({"word": ["a"] * 100, "id": np.arange(100)}, row_group_size=9)
    with pytest.raises(TooManyCategories, match="OneHotEncoder: column 'id' has more than 50"):
        pqy.fit(OneHotEncoder(), folder, engine=local)
