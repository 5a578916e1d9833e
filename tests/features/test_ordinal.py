"""OrdinalEncoder against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, TooManyCategories, UnknownCategory

WORDS = ["ash", "beech", "elm", "fir", "oak", "yew"]
KNOWN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}
OPTIONS = {
    "plain": {},
    "missing code": {"encoded_missing_value": -2},
    "whole numbers": {"dtype": np.int32, "encoded_missing_value": -1},
    "unknown": KNOWN,
    "unknown is NaN": {**KNOWN, "unknown_value": np.nan},
    "count": {"min_frequency": 30, **KNOWN},
    "share": {"min_frequency": 0.12},
    "most": {"max_categories": 3, "encoded_missing_value": 40},
    "one code": {"max_categories": 1, **KNOWN},
}
FEATURES = {
    "texts": ["word", "gappy"],
    "numbers": ["number", "whole", "level"],
    "booleans": ["flag", "sure"],
    "all": ["word", "gappy", "number", "whole", "level", "flag", "sure"],
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("features", FEATURES.values(), ids=FEATURES.keys())
def test_equals_scikit_learn(features, options, write_parquet, local):
    folder = write_parquet(parity.texts(), files=3, row_group_size=23)
    ours, theirs, x = parity.fit_both(OrdinalEncoder(**options), folder, local, features=features)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)
    assert ours._missing_indices == theirs._missing_indices
    assert ours.fit_report_["passes"] == 1
    if ours._infrequent_enabled:
        parity.assert_same(ours.infrequent_categories_, theirs.infrequent_categories_, "infrequent_categories_")


GIVEN = {
    "in another order": (["word"], {"categories": [WORDS[::-1]]}),
    "more than are there": (["word"], {"categories": [[*WORDS, "zelkova"]], "max_categories": 3}),
    "fewer": (["word"], {"categories": [WORDS[:3]], "min_frequency": 30, **KNOWN}),
    "numbers": (["whole"], {"categories": [[0, 1, 2, 9]]}),
    "texts with NaN": (["gappy"], {"categories": [[*WORDS, np.nan]], "min_frequency": 40}),
}


@pytest.mark.parametrize(("features", "options"), GIVEN.values(), ids=GIVEN.keys())
def test_given_categories(features, options, write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    ours, theirs, x = parity.fit_both(OrdinalEncoder(**options), folder, local, features=features)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


def test_categories_as_a_dictionary_column_and_behind_a_step(write_parquet, local):
    table = parity.texts()
    coded = table.set_column(0, "word", table.column("word").dictionary_encode())
    folder = write_parquet(coded, row_group_size=23)
    ours, theirs, x = parity.fit_both(OrdinalEncoder(), folder, local, features=["word"])
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")
    behind = make_pipeline(SimpleImputer(strategy="most_frequent"), OrdinalEncoder(max_categories=4))
    ours, theirs, x = parity.fit_both(behind, folder, local, features=["gappy", "whole"])
    parity.assert_same_learned(ours[1], theirs[1])
    parity.assert_same_output(ours, theirs, x)


def test_an_unknown_category_is_named_with_its_place(write_parquet, local):
    table = pa.table({"word": WORDS * 20, "number": np.arange(120) % 7, "y": np.arange(120.0)})
    model = pqy.fit(make_pipeline(OrdinalEncoder(), LinearRegression()), write_parquet(table), target="y", engine=local)
    for name, value, column in (("word", "larch", 0), ("number", 9, 1)):
        values = table.column(name).to_pylist()
        values[57] = value
        folder = write_parquet(table.set_column(column, name, pa.array(values)), f"new-{name}", row_group_size=25)
        with pytest.raises(UnknownCategory, match=rf"OrdinalEncoder: column '{name}' .* {value!r}.*group 2, row 7"):
            pqy.predict(model, folder, to=str(folder) + "-out", engine=local)


BAD = {
    "parameter": ({"handle_unknown": "skip"}, BadParameter, "handle_unknown"),
    "unknown value": ({"handle_unknown": "use_encoded_value", "unknown_value": 2}, BadParameter, "already used"),
    "no unknown value": ({"handle_unknown": "use_encoded_value"}, BadParameter, "unknown_value should be"),
    "missing code": ({"encoded_missing_value": 1}, BadParameter, "already used to encode"),
    "whole numbers": ({"dtype": np.int64}, BadParameter, "There are missing values in features"),
    "categories short": ({"categories": [["a"]]}, BadParameter, "categories has 1 entries for 2 columns"),
    "unknown": ({"categories": [WORDS, WORDS[:2]]}, BadParameter, "Found unknown categories"),
}


@pytest.mark.parametrize(("options", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(options, kind, says, write_parquet, local):
    folder = write_parquet(parity.texts(), row_group_size=23)
    with pytest.raises(kind, match=says):
        pqy.fit(OrdinalEncoder(**options), folder, features=["word", "gappy"], engine=local)


def test_more_categories_than_the_memory_holds(write_parquet, local):
    folder = write_parquet({"word": ["a"] * 9000, "id": [f"{i:06d}" for i in range(9000)]}, row_group_size=1000)
    with pytest.raises(
        TooManyCategories, match="OrdinalEncoder: with the categories of column 'id' a state takes more than 0 MiB"
    ):
        pqy.fit(OrdinalEncoder(), folder, engine=local, memory="1MiB")
    assert len(pqy.fit(OrdinalEncoder(), folder, engine=local, memory="64MiB").categories_[1]) == 9000
