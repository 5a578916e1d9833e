"""The features of order and power on every engine: the same bits; and their ONNX form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.feature_selection import VarianceThreshold
from sklearn.linear_model import Ridge
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import (
    Binarizer,
    KBinsDiscretizer,
    MaxAbsScaler,
    Normalizer,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
)

import parquetry as pqy
from learned import bits
from parquetry.artefact import load_onnx, read_card
from parquetry.errors import NotExportable

N = 3_000


def table() -> pa.Table:
    rng = np.random.default_rng(8)
    plain = {"a": rng.normal(size=N), "b": rng.gamma(2.0, size=N), "c": 1e4 + rng.normal(size=N)}
    return pa.table({**plain, "d": rng.integers(0, 7, N), "y": plain["a"] ** 2, "w": rng.integers(0, 3, N) * 1.0})


def everything() -> Any:
    """All of them at once: what they ask for at the same moment shares a read."""
    branches = [
        ("robust", RobustScaler(), ["a", "c"]),
        ("largest", MaxAbsScaler(), ["b"]),
        ("quantiles", QuantileTransformer(n_quantiles=200), ["a", "d"]),
        ("power", PowerTransformer(), ["b", "d"]),
        ("bins", KBinsDiscretizer(n_bins=4), ["c"]),
        ("clusters", KBinsDiscretizer(n_bins=2, strategy="kmeans", encode="ordinal"), ["d"]),
        ("splines", SplineTransformer(knots="quantile"), ["a", "b"]),
        ("varying", make_pipeline(VarianceThreshold(0.1), PolynomialFeatures(2), Normalizer()), ["a", "d"]),
        ("binary", Binarizer(), ["a"]),
    ]
    return make_pipeline(ColumnTransformer(branches), FeatureUnion([("all", MaxAbsScaler())]), Ridge())


@pytest.fixture
def small_states(monkeypatch):
    """Few values in a state, so that quantiles take several passes; the workers' own limits are what is pickled."""
    from parquetry.foundation import ranks

    monkeypatch.setattr(ranks, "MOST_KEPT", 500)


def test_the_same_bits_on_every_engine(small_states, write_parquet, local, dask_engine, spark_engine):
    folder = write_parquet(table(), files=2, row_group_size=401)
    dataset, features = pqy.open_dataset(folder), ["a", "b", "c", "d"]
    found = [
        pqy.fit(everything(), dataset, target="y", features=features, engine=engine)
        for engine in (local, dask_engine, spark_engine)
    ]
    assert found[0].fit_report_["placement"] == "distributed"
    frame = dataset.to_pandas(limit=None)
    np.testing.assert_allclose(
        found[0].predict(frame[features]), everything().fit(frame[features], frame["y"]).predict(frame[features]),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    assert len({bits(model) for model in found}) == 1


def test_weighted_bits_on_every_engine(write_parquet, local, dask_engine, spark_engine):
    folder = write_parquet(table(), files=2, row_group_size=401)
    seen = set()
    for engine in (local, dask_engine, spark_engine):
        for estimator in (KBinsDiscretizer(), SplineTransformer(knots="quantile")):
            model = pqy.fit(estimator, folder, features=["a", "b"], sample_weight="w", engine=engine)
            seen.add(bits(model))
    assert len(seen) == 2


EXPORTED = {
    "robust": (RobustScaler(), 1e-6),
    "robust, uncentered": (RobustScaler(with_centering=False), 1e-6),
    "largest": (MaxAbsScaler(clip=True), 1e-6),
    "normalized": (Normalizer(), 1e-6),
    "binary": (Binarizer(threshold=0.5), 0.0),
    "uniform": (QuantileTransformer(n_quantiles=150), 1e-6),
    "power": (PowerTransformer(), 1e-5),
    "power, unscaled": (PowerTransformer(standardize=False), 1e-5),
    "bins": (KBinsDiscretizer(), 0.0),
    "codes": (KBinsDiscretizer(n_bins=[3, 4, 5], encode="ordinal", strategy="kmeans"), 0.0),
    **{
        f"splines, {way}": (SplineTransformer(n_knots=4, extrapolation=way, include_bias=bias), 1e-6)
        for way, bias in (("constant", True), ("linear", False), ("continue", True), ("periodic", False))
    },
    "hats": (SplineTransformer(degree=1, knots="quantile"), 1e-6),
    "polynomials": (PolynomialFeatures(3, include_bias=False), 1e-6),
    "varying": (VarianceThreshold(0.5), 1e-6),
}


@pytest.mark.parametrize(("estimator", "rtol"), EXPORTED.values(), ids=EXPORTED.keys())
@pytest.mark.filterwarnings("ignore:Feature:UserWarning")
def test_onnx_form(estimator, rtol, write_parquet, local, tmp_path):
    rng = np.random.default_rng(1)
    # What float32 holds exactly: what is compared is the graph, not its inputs' rounding.
    columns = {"a": rng.normal(size=400), "b": rng.gamma(2.0, size=400), "k": np.full(400, 2.5)}
    columns["b"][:100] = 1.5
    data = {name: v.astype(np.float32).astype(np.float64) for name, v in columns.items()}
    folder = write_parquet(data, row_group_size=151)
    model = pqy.fit(estimator, folder, engine=local)
    pqy.save(model, tmp_path / "model")
    session = load_onnx(tmp_path / "model")
    frame = pqy.open_dataset(folder).to_pandas(limit=None)
    if not isinstance(estimator, MaxAbsScaler | PowerTransformer):
        frame = pd.concat([frame, (frame * 1.5 - 0.25).astype(np.float32)])  # beyond what was seen, too
    expected = model.transform(frame)
    expected = expected.toarray() if hasattr(expected, "toarray") else np.asarray(expected)
    found = session.run(frame)["transformed"]
    np.testing.assert_allclose(found, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (QuantileTransformer(n_quantiles=9, output_distribution="normal"), "no inverse of the normal distribution"),
        (SplineTransformer(extrapolation="error"), "cannot refuse a value beyond the knots"),
    ],
)
def test_what_has_no_onnx_form_is_saved_by_skops(estimator, why, write_parquet, local, tmp_path):
    folder = write_parquet(table().select(["a", "b"]), row_group_size=401)
    model = pqy.fit(estimator, folder, engine=local)
    with pytest.raises(NotExportable, match=why):
        pqy.save(model, tmp_path / "model")
    with pytest.warns(UserWarning, match=why):
        pqy.save(model, tmp_path / "model", onnx="skip")
    frame = pqy.open_dataset(folder).to_pandas(limit=None)
    loaded = pqy.load(tmp_path / "model", trusted=read_card(tmp_path / "model")["untrusted_types"])
    np.testing.assert_array_equal(loaded.transform(frame), model.transform(frame))
