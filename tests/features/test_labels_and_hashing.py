"""LabelEncoder, LabelBinarizer, MultiLabelBinarizer and FeatureHasher against scikit-learn's own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.feature_extraction import FeatureHasher
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, LabelBinarizer, LabelEncoder, MultiLabelBinarizer

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, WrongColumnType
from parquetry.features.hashing import rows_as_mappings


def table():
    rng = np.random.default_rng(0)
    found, n = parity.texts(), 400
    more = {
        "tags": [list(rng.choice(["a", "b", "c", "dd"], rng.integers(0, 3))) for _ in range(n)],
        "numbers": [rng.integers(0, 9, 2).tolist() for _ in range(n)],
        "gaps": [None if i == 60 else ["a"] for i in range(n)],
        "i1": rng.integers(0, 2, n),
        "i2": rng.integers(0, 2, n),
        "y": rng.normal(size=n),
    }
    return pa.table({**dict(zip(found.column_names, found.columns, strict=True)), **more})


@pytest.fixture
def folder(write_parquet):
    return write_parquet(table(), files=2, row_group_size=37)


@pytest.mark.parametrize("encoder", [LabelEncoder(), LabelBinarizer(), LabelBinarizer(neg_label=-1)], ids=str)
@pytest.mark.parametrize("target", ["word", "whole", "sure"])
def test_labels(encoder, target, folder, local):
    frame = pqy.open_dataset(folder).to_pandas()
    ours = pqy.fit(encoder, folder, target=target, features=["y"], engine=local)
    theirs = clone(encoder).fit(frame[target].to_numpy())
    parity.assert_same_learned(ours, theirs)
    parity.assert_same(ours.transform(frame[target]), theirs.transform(frame[target]), "transform")


def test_labels_with_gaps_and_several_columns(folder, local):
    frame = pqy.open_dataset(folder).to_pandas()
    for target in ("gappy", "number", "level"):
        ours = pqy.fit(LabelEncoder(), folder, target=target, features=["y"], engine=local)
        parity.assert_same_learned(ours, LabelEncoder().fit(frame[target].to_numpy()))
    ours = pqy.fit(LabelBinarizer(), folder, target=["i1", "i2"], features=["y"], engine=local)
    parity.assert_same_learned(ours, LabelBinarizer().fit(frame[["i1", "i2"]].to_numpy()))


def test_several_labels_a_row(folder, local):
    frame = pqy.open_dataset(folder).to_pandas()
    for target in ("tags", "numbers"):
        ours = pqy.fit(MultiLabelBinarizer(), folder, target=target, features=["y"], engine=local)
        theirs = MultiLabelBinarizer().fit(frame[target])
        parity.assert_same_learned(ours, theirs)
        np.testing.assert_array_equal(ours.transform(frame[target]), theirs.transform(frame[target]))
    given = MultiLabelBinarizer(classes=["dd", "c", "b", "a"])
    ours = pqy.fit(given, folder, target="tags", features=["y"], engine=local)
    assert ours.classes_.tolist() == ["dd", "c", "b", "a"]


def test_hashed_rows(folder, local):
    pipeline = make_pipeline(FunctionTransformer(rows_as_mappings), FeatureHasher(32), LinearRegression())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, features=["word", "gappy", "level"], target="y")
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-6)
    assert ours.fit_report_["placement"] == "distributed"
    rows = rows_as_mappings(x)
    assert rows[0] == {"word": x["word"][0], **({} if x["gappy"].isna()[0] else {"gappy": x["gappy"][0]})}


BAD = {
    "no target": (LabelEncoder(), {"target": None}, BadParameter, "LabelEncoder needs a target"),
    "gap": (LabelBinarizer(), {"target": "number"}, NonFiniteValues, "column 'number' holds a missing value"),
    "two": (LabelEncoder(), {"target": ["i1", "i2"]}, BadParameter, "y should be a 1d array"),
    "parameter": (LabelBinarizer(neg_label=2), {"target": "word"}, BadParameter, "neg_label=2 must be strictly"),
    "no lists": (MultiLabelBinarizer(), {"target": "word"}, WrongColumnType, "not one column of lists"),
    "list": (MultiLabelBinarizer(), {"target": "gaps"}, NonFiniteValues, "'gaps' holds .*row group 1, row 23"),
    "a table": (FeatureHasher(), {}, BadParameter, "FeatureHasher: X is a table"),
    "width": (FeatureHasher(n_features=0), {}, BadParameter, "n_features"),
}


@pytest.mark.parametrize(("encoder", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(encoder, arguments, kind, says, folder, local):
    with pytest.raises(kind, match=says):
        pqy.fit(encoder, folder, engine=local, **{"features": ["y"], **arguments})
