"""StandardScaler and MinMaxScaler against scikit-learn's own fit of the same rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.decomposition import FactorAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, WrongColumnType

STANDARD = {
    "both": StandardScaler(),
    "scale only": StandardScaler(with_mean=False),
    "center only": StandardScaler(with_std=False),
    "neither": StandardScaler(with_mean=False, with_std=False),
}
MIN_MAX = {"unit": MinMaxScaler(), "wide": MinMaxScaler(feature_range=(-3, 5)), "clipped": MinMaxScaler(clip=True)}
SCALERS = {**STANDARD, **MIN_MAX}


@pytest.mark.parametrize("scaler", SCALERS.values(), ids=SCALERS.keys())
@pytest.mark.parametrize("kind", parity.KINDS)
def test_equals_scikit_learn(kind, scaler, write_parquet, local):
    folder = write_parquet(parity.numbers(kind), files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(scaler, folder, local)
    parity.assert_same_learned(ours, theirs)
    # One unit in the last place of a mean of 1e9 is 1.2e-7, and each fit may round it the other way.
    parity.assert_same_output(ours, theirs, x, rtol=3e-7 if kind == "offset" else parity.RTOL)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1


@pytest.mark.parametrize("layout", parity.LAYOUTS.values(), ids=parity.LAYOUTS.keys())
@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()], ids=["standard", "min-max"])
def test_every_engine(scaler, layout, write_parquet, engine):
    folder = write_parquet(parity.numbers("gaps"), **layout)
    ours, theirs, x = parity.fit_both(scaler, folder, engine)
    parity.assert_same_learned(ours, theirs)
    parity.assert_same_output(ours, theirs, x)


@pytest.mark.parametrize("kind", ["plain", "gaps", "integers", "offset"])
@pytest.mark.parametrize("scaler", STANDARD.values(), ids=STANDARD.keys())
def test_weights(kind, scaler, write_parquet, local):
    table = parity.numbers(kind)
    weights = np.random.default_rng(3).integers(0, 4, table.num_rows).astype(float)
    folder = write_parquet(table.append_column("w", pa.array(weights)), row_group_size=53)
    ours, theirs, _ = parity.fit_both(scaler, folder, local, sample_weight="w")
    # scikit-learn sums a weighted, centered column in one go: its own rounding shows at 1e-11.
    parity.assert_same_learned(ours, theirs, rtol=1e-10)


def test_offset_of_a_billion_loses_no_digit(write_parquet, engine):
    table = parity.numbers("offset", 5_000)
    folder = write_parquet(table, files=3, row_group_size=37)
    scaler = pqy.fit(StandardScaler(), pqy.open_dataset(folder), engine=engine)
    exact = np.array([np.var(c.to_numpy().astype(np.longdouble)) for c in table.columns], dtype=np.float64)
    np.testing.assert_allclose(scaler.var_, exact, rtol=1e-13)


def test_sparse_from_an_encoder(write_parquet, engine):
    folder = write_parquet(parity.texts(), row_group_size=41)
    pipeline = make_pipeline(OneHotEncoder(min_frequency=30), StandardScaler(with_mean=False))
    ours, theirs, x = parity.fit_both(pipeline, folder, engine, features=["word", "gappy"])
    parity.assert_same_learned(ours[-1], theirs[-1])
    parity.assert_same(ours.transform(x), theirs.transform(x), "transform")


def test_behind_another_step_there_are_no_names(write_parquet, local):
    folder = write_parquet(parity.numbers("gaps"))
    pipeline = make_pipeline(StandardScaler(), MinMaxScaler())
    ours, theirs, _ = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-1], theirs[-1])
    assert not hasattr(ours[-1], "feature_names_in_")


def test_names_behind_a_step_that_gives_frames(write_parquet, local):
    folder = write_parquet(parity.numbers("gaps"))
    pipeline = make_pipeline(StandardScaler(), MinMaxScaler()).set_output(transform="pandas")
    ours, theirs, _ = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-1], theirs[-1])
    assert ours[-1].feature_names_in_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("scaler", [StandardScaler(), StandardScaler(with_std=False), MinMaxScaler()])
def test_infinity_is_refused_with_its_place(scaler, write_parquet, engine):
    values = np.arange(400.0)
    values[[230, 350]] = np.inf, -np.inf
    folder = write_parquet(pa.table({"a": np.ones(400), "b": values}), files=2, row_group_size=15)
    with pytest.raises(NonFiniteValues, match=r"'b' holds infinity.*part-1\.parquet, row group 2, row 0") as caught:
        pqy.fit(scaler, folder, engine=engine)
    assert type(scaler).__name__ in str(caught.value)


def test_infinity_in_a_row_without_weight_is_refused(write_parquet, local):
    folder = write_parquet({"a": [1.0, np.inf, 2.0], "w": [1.0, 0.0, 1.0]}, files=1)
    with pytest.raises(NonFiniteValues, match="row group 0, row 1"):
        pqy.fit(StandardScaler(), folder, sample_weight="w", engine=local)


BAD = {
    "text": (StandardScaler(), {"t": ["a", "b"]}, {}, WrongColumnType, "'t' is string"),
    "range": (MinMaxScaler(feature_range=(1, 0)), {"a": [1.0, 2.0]}, {}, BadParameter, "smaller than maximum"),
    "parameter": (StandardScaler(with_mean="no"), {"a": [1.0, 2.0]}, {}, BadParameter, "with_mean"),
    "negative weight": (
        StandardScaler(),
        {"a": [1.0, 2.0], "w": [1.0, -1.0]},
        {"sample_weight": "w"},
        BadParameter,
        "non-negative",
    ),
    "weight NaN": (
        StandardScaler(),
        {"a": [1.0, 2.0], "w": [1.0, np.nan]},
        {"sample_weight": "w"},
        NonFiniteValues,
        "'sample_weight' holds NaN, .*row group 0, row 1",
    ),
    "no weight": (
        StandardScaler(),
        {"a": [1.0, 2.0], "w": [0.0, 0.0]},
        {"sample_weight": "w"},
        DegenerateColumn,
        "add up to zero",
    ),
}


@pytest.mark.parametrize(("scaler", "table", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(scaler, table, arguments, kind, says, write_parquet, local):
    with pytest.raises(kind, match=says):
        pqy.fit(scaler, write_parquet(table, files=1), engine=local, **arguments)


@pytest.mark.parametrize("scaler", [StandardScaler(), MinMaxScaler()])
def test_sparse_that_cannot_be(scaler, write_parquet, local):
    folder = write_parquet(parity.texts())
    with pytest.raises(BadParameter, match="sparse"):
        pqy.fit(make_pipeline(OneHotEncoder(), scaler), folder, features=["word"], engine=local)


def test_text_behind_a_step_is_refused_by_name(write_parquet, local):
    from sklearn.impute import SimpleImputer

    folder = write_parquet(parity.texts())
    pipeline = make_pipeline(SimpleImputer(strategy="most_frequent"), StandardScaler())
    with pytest.raises(WrongColumnType, match="column 'x1' holds object"):
        pqy.fit(pipeline, folder, features=["whole", "word"], engine=local)


def test_a_class_of_its_own_falls_back(write_parquet, local):
    class Mine(StandardScaler):
        pass

    folder = write_parquet(parity.numbers("plain"))
    for estimator in (Mine(), FactorAnalysis()):
        assert pqy.fit(estimator, folder, engine=local).fit_report_["placement"] == "single-node"
