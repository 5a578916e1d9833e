"""TargetEncoder against scikit-learn's own fit, and later steps against those behind its ``fit_transform``."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GroupKFold, KFold, PredefinedSplit, ShuffleSplit, StratifiedKFold
from sklearn.pipeline import FeatureUnion, make_pipeline, make_union
from sklearn.preprocessing import StandardScaler, TargetEncoder

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues, TooManyCategories, WrongColumnType
from parquetry.features import crossfit
from parquetry.through import transform
from parquetry.view import Columns

TARGETS = ("measured", "far", "binary", "label", "three", "score")
OPTIONS = {"auto": {}, "no smoothing": {"smooth": 0.0}, "smooth": {"smooth": 3.5}}
FEATURES = {
    "texts": ["word", "gappy"],
    "numbers": ["number", "whole", "level"],
    "booleans": ["flag", "sure"],
}


def table(n=400):
    rng = np.random.default_rng(3)
    found = parity.texts(n)
    level = np.array([len(word) for word in found.column("word").to_pylist()], dtype=float)
    columns = {
        "measured": level + rng.normal(size=n),
        "far": 1e9 + level + rng.normal(size=n),
        "binary": rng.random(n) < level / 8,
        "label": np.where(rng.random(n) < level / 8, "yes", "no"),
        "three": rng.choice(["a", "b", "c"], n, p=[0.6, 0.3, 0.1]),
        "score": rng.integers(0, 4, n).astype(float),
    }
    return pa.table({**dict(zip(found.column_names, found.columns, strict=True)), **columns})


@pytest.fixture
def folder(write_parquet):
    return write_parquet(table(), files=3, row_group_size=23)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize("target", TARGETS)
def test_equals_scikit_learn(target, options, folder, local):
    for features in FEATURES.values():
        ours, theirs, x = parity.fit_both(TargetEncoder(**options), folder, local, features=features, target=target)
        # At a mean of 1e9 scikit-learn's own sums keep fewer digits of the variance.
        rtol = 1e-9 if target == "far" else 1e-11
        parity.assert_same_learned(ours, theirs, rtol)
        parity.assert_same_output(ours, theirs, x, rtol)
        assert ours.get_feature_names_out().tolist() == theirs.get_feature_names_out().tolist()


@pytest.mark.parametrize("target", ["measured", "binary", "three"])
def test_given_categories(target, folder, local):
    encoder = TargetEncoder(categories=[["ash", "oak", "yew", "zelkova"]])
    ours, theirs, x = parity.fit_both(encoder, folder, local, features=["word"], target=target)
    parity.assert_same_learned(ours, theirs, 1e-11)
    parity.assert_same_output(ours, theirs, x, 1e-11)


def test_a_type_that_is_told(folder, local):
    for target, kind in (("score", "continuous"), ("binary", "binary"), ("three", "multiclass"), ("score", "binary")):
        encoder = TargetEncoder(target_type=kind)
        ours, theirs, _ = parity.fit_both(encoder, folder, local, features=["word"], target=target)
        parity.assert_same_learned(ours, theirs, 1e-11)


CROSSED = {
    "KFold": KFold(4),
    "shuffled": KFold(4, shuffle=True, random_state=3),
    "stratified": StratifiedKFold(3),
    "stratified, shuffled": StratifiedKFold(3, shuffle=True, random_state=0),
    "predefined": PredefinedSplit(np.arange(400) % 7 % 3),
}


@pytest.mark.parametrize("cv", CROSSED.values(), ids=CROSSED.keys())
@pytest.mark.parametrize("target", ["measured", "label", "three"])
def test_later_steps_see_cross_fitted_rows(target, cv, folder, local, monkeypatch):
    if target == "measured" and isinstance(cv, StratifiedKFold):
        pytest.skip("scikit-learn stratifies by classes only.")
    encoder = make_column_transformer((TargetEncoder(cv=cv), ["word", "gappy"]), (StandardScaler(), ["whole"]))
    pipeline = make_pipeline(encoder, StandardScaler())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, features=["word", "gappy", "whole"], target=target)
    # The scaler has learned from the rows that fit_transform gives; the encoder is that of all rows.
    parity.assert_same(ours[1].mean_, theirs[1].mean_, "mean_", 1e-11)
    parity.assert_same(ours[1].var_, theirs[1].var_, "var_", 1e-11)
    parity.assert_same_output(ours, theirs, x, 1e-10)


def test_the_deprecated_parameters(folder, local):
    for settings in ({"shuffle": False}, {"random_state": 5}):
        pipeline = make_pipeline(TargetEncoder(**settings), StandardScaler())
        ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=["word"], target="binary")
        parity.assert_same(ours[1].mean_, theirs[1].mean_, "mean_", 1e-11)


def test_wherever_the_encoder_stands(folder, local):
    encoder = TargetEncoder(cv=KFold(4))
    for pipeline in (
        make_pipeline(make_union(encoder, make_pipeline(SimpleImputer(strategy="most_frequent"), encoder))),
        make_pipeline(encoder, FeatureUnion([("same", "passthrough"), ("scaled", StandardScaler())])),
        make_pipeline(make_pipeline(encoder, "passthrough")),
    ):
        whole = make_pipeline(pipeline, StandardScaler())
        ours, theirs, _ = parity.fit_both(whole, folder, local, features=["word", "gappy"], target="measured")
        parity.assert_same(ours[1].mean_, theirs[1].mean_, "mean_", 1e-11)
        parity.assert_same(ours[1].var_, theirs[1].var_, "var_", 1e-11)


def test_frames_between_the_steps(folder, local):
    pipeline = make_pipeline(TargetEncoder(cv=KFold(4)), StandardScaler()).set_output(transform="pandas")
    ours, theirs, _ = parity.fit_both(pipeline, folder, local, features=["word", "gappy"], target="three")
    parity.assert_same(ours[1].var_, theirs[1].var_, "var_", 1e-11)
    assert ours[1].feature_names_in_.tolist() == theirs[1].feature_names_in_.tolist()


def test_noise_does_not_become_a_feature(write_parquet, local):
    rng = np.random.default_rng(0)
    rows = pa.table({"id": [f"{i // 2:05d}" for i in range(4000)], "y": rng.normal(size=4000)})
    folder = write_parquet(rows, row_group_size=300)
    # Of two rows of each category one tells of the other: encodings of all rows would fit the noise.
    model = pqy.fit(make_pipeline(TargetEncoder(), LinearRegression()), folder, target="y", engine=local)
    encoder = pqy.fit(TargetEncoder(), folder, target="y", engine=local)
    x = transform(encoder, Columns(rows.select(["id"])))
    leaked = LinearRegression().fit(x, rows.column("y").to_numpy())
    assert leaked.score(x, rows.column("y").to_numpy()) > 0.4
    assert abs(model[-1].coef_[0]) < 0.2 < leaked.coef_[0]
    np.testing.assert_array_equal(model[0].encodings_[0], encoder.encodings_[0])
    assert model.fit_report_["steps"][0]["placement"] == "distributed"


def test_many_rows_are_dealt_out_by_hash(folder, local, monkeypatch):
    monkeypatch.setattr(crossfit, "MOST_DEALT", 100)
    cv = StratifiedKFold(3, shuffle=True, random_state=0)
    model = pqy.fit(
        make_pipeline(TargetEncoder(cv=cv), StandardScaler()), folder, features=["word"], target="binary", engine=local
    )
    assert "hash" in model.fit_report_["steps"][0]["why"]
    ours, theirs, _ = parity.fit_both(
        make_pipeline(TargetEncoder(cv=KFold(4)), StandardScaler()), folder, local, features=["word"], target="measured"
    )
    parity.assert_same(ours[1].mean_, theirs[1].mean_, "mean_", 1e-11)
    with pytest.raises(BadParameter, match="deals 400 rows out at once"):
        pqy.fit(TargetEncoder(cv=CROSSED["predefined"]), folder, features=["word"], target="binary", engine=local)


def test_folds_of_a_split(folder, local):
    train, _ = pqy.open_dataset(folder).split(test=0.3, seed=1)
    frame = train.to_pandas()
    pipeline = make_pipeline(TargetEncoder(cv=StratifiedKFold(3)), StandardScaler())
    ours = pqy.fit(pipeline, train, features=["word"], target="three", engine=local)
    theirs = pipeline.fit(frame[["word"]], frame["three"])
    parity.assert_same(ours[1].mean_, theirs[1].mean_, "mean_", 1e-11)


BAD = {
    "no target": ({}, {"target": None}, BadParameter, "needs one target"),
    "parameter": ({"smooth": -1.0}, {}, BadParameter, "smooth"),
    "overlap": ({"cv": ShuffleSplit(3)}, {}, BadParameter, "hold each row exactly once"),
    "groups": ({"cv": GroupKFold(3)}, {}, BadParameter, "groups"),
    "folds": ({"cv": 1}, {}, BadParameter, "must be an int in the range"),
    "type": ({"target_type": "continuous"}, {"target": "three"}, WrongColumnType, "is string"),
    "two classes": ({"target_type": "multiclass"}, {"target": "label"}, BadParameter, "has the classes"),
    "gap": ({}, {"target": "level"}, NonFiniteValues, "column 'level' holds NaN, first in .*row group 0, row 0"),
    "memory": ({}, {"memory": "4KiB"}, TooManyCategories, "a state takes more than"),
}


@pytest.mark.parametrize(("options", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(options, arguments, kind, says, folder, local):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        with pytest.raises(kind, match=says):
            pqy.fit(
                TargetEncoder(**options),
                folder,
                features=["word"],
                engine=local,
                **{"target": "binary", **arguments},
            )


def test_fewer_rows_than_folds(write_parquet, local):
    folder = write_parquet({"word": ["a", "b"], "y": [0.5, 1.7]})
    assert pqy.fit(TargetEncoder(), folder, target="y", engine=local).target_mean_ == pytest.approx(1.1)
    with pytest.raises(BadParameter, match="one of 5 folds holds all rows"):
        pqy.fit(make_pipeline(TargetEncoder(), LinearRegression()), folder, target="y", engine=local)
