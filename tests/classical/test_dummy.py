"""The dummy baselines against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.compose import TransformedTargetRegressor
from sklearn.dummy import DummyClassifier, DummyRegressor

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, TooManyCategories
from parquetry.foundation import counts

REGRESSORS = {
    "mean": DummyRegressor(),
    "median": DummyRegressor(strategy="median"),
    "quantile": DummyRegressor(strategy="quantile", quantile=0.07),
    "middle quantile": DummyRegressor(strategy="quantile", quantile=0.5),
    "last quantile": DummyRegressor(strategy="quantile", quantile=1.0),
    "constant": DummyRegressor(strategy="constant", constant=3),
}
CLASSIFIERS = {
    "prior": DummyClassifier(),
    "most frequent": DummyClassifier(strategy="most_frequent"),
    "stratified": DummyClassifier(strategy="stratified", random_state=0),
    "uniform": DummyClassifier(strategy="uniform", random_state=0),
}
N = 400


def data():
    rng = np.random.default_rng(4)
    return pa.table(
        {
            "x": rng.normal(size=N),
            "t": rng.choice(["u", "v"], N),
            "real": rng.gamma(2.0, size=N),
            "offset": 1e9 + rng.normal(size=N),
            "whole": rng.integers(-3, 9, N),
            "narrow": pa.array(rng.normal(size=N).astype(np.float32)),
            "flag": rng.random(N) < 0.3,
            "word": rng.choice(["oak", "ash", "elm"], N, p=[0.6, 0.3, 0.1]),
            "w": rng.integers(0, 4, N).astype(float),
        }
    )


@pytest.mark.parametrize("target", ["real", "offset", "whole", "narrow"])
@pytest.mark.parametrize("dummy", REGRESSORS.values(), ids=REGRESSORS.keys())
def test_regressor_equals_scikit_learn(dummy, target, write_parquet, local):
    folder = write_parquet(data(), files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(dummy, folder, local, target=target, features=["x", "t"])
    # scikit-learn adds up a float32 target in float32.
    parity.assert_same_learned(ours, theirs, rtol=1e-6 if target == "narrow" else parity.RTOL)
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-6 if target == "narrow" else parity.RTOL)
    if dummy.strategy != "mean":
        np.testing.assert_array_equal(ours.constant_, theirs.constant_)
    assert ours.fit_report_["placement"] == "distributed"


@pytest.mark.parametrize("dummy", REGRESSORS.values(), ids=REGRESSORS.keys())
def test_regressor_on_every_engine(dummy, write_parquet, engine):
    folder = write_parquet(data(), row_group_size=23)
    ours, theirs, _ = parity.fit_both(dummy, folder, engine, target="real", features=["x"])
    parity.assert_same_learned(ours, theirs)


@pytest.mark.parametrize("strategy", ["mean", "median"])
def test_several_targets(strategy, write_parquet, engine):
    folder = write_parquet(data(), row_group_size=23)
    frame = pqy.open_dataset(folder).to_pandas()
    ours = pqy.fit(DummyRegressor(strategy=strategy), folder, target=["real", "whole"], features=["x"], engine=engine)
    theirs = DummyRegressor(strategy=strategy).fit(frame[["x"]], frame[["real", "whole"]].to_numpy())
    parity.assert_same_learned(ours, theirs)


@pytest.mark.parametrize("dummy", REGRESSORS.values(), ids=REGRESSORS.keys())
def test_weighted_regressor(dummy, write_parquet, engine):
    folder = write_parquet(data(), row_group_size=23)
    ours, theirs, _ = parity.fit_both(dummy, folder, engine, target="real", features=["x"], sample_weight="w")
    parity.assert_same_learned(ours, theirs)
    alone = dummy.strategy in ("median", "quantile")
    assert ours.fit_report_["placement"] == ("single-node" if alone else "distributed")


def test_with_a_transformed_target(write_parquet, local):
    folder = write_parquet(data(), row_group_size=23)
    model = TransformedTargetRegressor(DummyRegressor(), func=np.log, inverse_func=np.exp)
    ours, theirs, x = parity.fit_both(model, folder, local, target="real", features=["x"])
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-12)


@pytest.mark.parametrize("target", ["word", "whole", "flag", "narrow"])
@pytest.mark.parametrize("dummy", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_classifier_equals_scikit_learn(dummy, target, write_parquet, local):
    folder = write_parquet(data(), files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(dummy, folder, local, target=target, features=["x", "t"])
    parity.assert_same_learned(ours, theirs)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_array_equal(ours.predict_proba(x), theirs.predict_proba(x))
    assert ours.fit_report_["passes"] == 1


@pytest.mark.parametrize("weight", [None, "w"], ids=["alike", "weighted"])
@pytest.mark.parametrize("dummy", CLASSIFIERS.values(), ids=CLASSIFIERS.keys())
def test_classifier_on_every_engine(dummy, weight, write_parquet, engine):
    folder = write_parquet(data(), row_group_size=23)
    ours, theirs, _ = parity.fit_both(dummy, folder, engine, target="word", features=["x"], sample_weight=weight)
    parity.assert_same_learned(ours, theirs)


def test_classifier_of_several_targets(write_parquet, engine):
    folder = write_parquet(data(), row_group_size=23)
    frame = pqy.open_dataset(folder).to_pandas()
    ours = pqy.fit(DummyClassifier(), folder, target=["whole", "flag"], features=["x"], engine=engine)
    y = np.column_stack([frame["whole"].to_numpy(), frame["flag"].to_numpy()])
    parity.assert_same_learned(ours, DummyClassifier().fit(frame[["x"]], y))


def test_classifier_by_a_constant(write_parquet, local):
    folder = write_parquet(data(), row_group_size=23)
    dummy = DummyClassifier(strategy="constant", constant="elm")
    ours, theirs, x = parity.fit_both(dummy, folder, local, target="word", features=["x"])
    parity.assert_same_learned(ours, theirs)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.parametrize("strategy", ["mean", "median", "constant"])
@pytest.mark.parametrize(("bad", "says"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_regressor_refuses_a_target_with_its_place(bad, says, strategy, write_parquet, engine):
    y = np.arange(300.0)
    y[[181, 260]] = bad
    folder = write_parquet({"x": np.zeros(300), "y": y}, row_group_size=10)
    with pytest.raises(NonFiniteValues, match=rf"'y' holds {says}.*part-1\.parquet, row group 3, row 1"):
        pqy.fit(DummyRegressor(strategy=strategy, constant=1.0), folder, target="y", engine=engine)


def test_classifier_refuses_a_target_with_gaps(write_parquet, engine):
    folder = write_parquet(pa.table({"x": [0.0] * 4, "y": ["a", "b", "a", None]}))
    with pytest.raises(NonFiniteValues, match=r"'y' holds a missing value.*part-1\.parquet, row group 0, row 1"):
        pqy.fit(DummyClassifier(), folder, target="y", engine=engine)


BAD = {
    "strategy": (DummyRegressor(strategy="mode"), "y", {}, BadParameter, "strategy"),
    "no constant": (DummyRegressor(strategy="constant"), "y", {}, BadParameter, "Constant target value has to be"),
    "no quantile": (DummyRegressor(strategy="quantile"), "y", {}, BadParameter, "specify the desired"),
    "quantile": (DummyRegressor(strategy="quantile", quantile=7), "y", {}, BadParameter, "quantile"),
    "no target": (DummyRegressor(), None, {}, BadParameter, "needs a target"),
    "no weight": (DummyRegressor(), "y", {"sample_weight": "zero"}, DegenerateColumn, "add up to zero"),
    "negative weight": (DummyRegressor(), "y", {"sample_weight": "below"}, BadParameter, "non-negative"),
    "gap in a weight": (DummyRegressor(), "y", {"sample_weight": "gap"}, NonFiniteValues, "NaN.*row group 0, row 1"),
    "class not there": (
        DummyClassifier(strategy="constant", constant="z"), "c", {}, BadParameter, "must be present in the training",
    ),
    "no class": (DummyClassifier(strategy="constant"), "c", {}, BadParameter, "needs a constant"),
    "no target of classes": (DummyClassifier(), None, {}, BadParameter, "needs a target"),
    "no weight of classes": (DummyClassifier(), "c", {"sample_weight": "zero"}, BadParameter, "not all zero"),
    "negative weight of a class": (DummyClassifier(), "c", {"sample_weight": "below"}, BadParameter, "non-negative"),
    "weight of classes": (DummyClassifier(), "c", {"sample_weight": "gap"}, NonFiniteValues, "'gap' holds NaN"),
}  # fmt: skip


@pytest.mark.parametrize(("dummy", "target", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(dummy, target, arguments, kind, says, write_parquet, local):
    table = {
        "x": [0.0, 0.0], "y": [1.0, 2.0], "c": ["a", "b"], "zero": [0.0, 0.0], "below": [-1.0, 2.0],
        "gap": [1.0, np.nan],
    }  # fmt: skip
    folder = write_parquet(table, files=1)
    with pytest.raises(kind, match=says):
        pqy.fit(dummy, folder, target=target, features=["x"], engine=local, **arguments)


def test_too_many_classes(write_parquet, local, monkeypatch):
    monkeypatch.setattr(counts.Counts.__init__, "__kwdefaults__", {"target": False, "weighted": False, "limit": 50})
    folder = write_parquet({"x": np.zeros(100), "y": np.arange(100)}, row_group_size=9)
    with pytest.raises(TooManyCategories, match="DummyClassifier: column 'y' has more than 50"):
        pqy.fit(DummyClassifier(), folder, target="y", engine=local)
