"""Nystroem and the random kernel maps against scikit-learn's own fit of the same rows, on every engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.kernel_approximation import (
    AdditiveChi2Sampler,
    Nystroem,
    PolynomialCountSketch,
    RBFSampler,
    SkewedChi2Sampler,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parity import LAYOUTS, assert_same, assert_same_learned, assert_same_output, fit_both, numbers
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType
from parquetry.features import kernel_maps


def overlap(a: np.ndarray, b: np.ndarray, scale: float = 1.0) -> float:
    return float(scale * np.minimum(a, b).sum())


NYSTROEMS = [
    Nystroem(n_components=20, random_state=0),
    Nystroem(n_components=7, gamma=0.2, random_state=3),
    Nystroem(kernel="polynomial", degree=2, coef0=1.0, n_components=9, random_state=1),
    Nystroem(kernel="laplacian", n_components=12, random_state=2),
    Nystroem(kernel=overlap, kernel_params={"scale": 0.5}, n_components=5, random_state=0),
    Nystroem(n_components=6, random_state=np.random.RandomState(5)),
]
MAPS = [
    RBFSampler(random_state=0),
    RBFSampler(gamma="scale", n_components=11, random_state=1),
    SkewedChi2Sampler(skewedness=20.0, n_components=8, random_state=2),
    PolynomialCountSketch(degree=3, coef0=1.0, n_components=9, random_state=3),
]


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("kind", ["plain", "constant", "whole", "narrow"])
@pytest.mark.parametrize("estimator", NYSTROEMS, ids=lambda e: f"{e.kernel}-{e.n_components}")
def test_nystroem(local: Any, write_parquet: Any, estimator: Any, kind: str, layout: Any) -> None:
    folder = write_parquet(numbers(kind, 200), **layout)
    ours, theirs, x = fit_both(estimator, folder, local)
    assert_same_learned(ours, theirs, rtol=1e-9)
    assert ours.fit_report_["placement"] == "distributed"
    assert ours.fit_report_["passes"] == 1
    assert str(ours.random_state) == str(estimator.random_state)
    if kind == "plain" and not callable(estimator.kernel):
        assert_same_output(ours, theirs, x, rtol=1e-6)


@pytest.mark.parametrize("estimator", [*MAPS, AdditiveChi2Sampler()], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("kind", ["plain", "whole", "narrow"])
def test_random_maps(local: Any, write_parquet: Any, estimator: Any, kind: str) -> None:
    table = numbers(kind, 200)
    if isinstance(estimator, AdditiveChi2Sampler):
        table = pa.table({name: np.abs(table[name].to_numpy()) for name in table.column_names})
    ours, theirs, x = fit_both(estimator, write_parquet(table), local)
    assert_same_learned(ours, theirs, rtol=1e-6 if kind == "narrow" else 1e-12)
    assert ours.fit_report_["passes"] == (getattr(estimator, "gamma", None) == "scale")
    assert getattr(ours, "gamma", None) == getattr(estimator, "gamma", None)
    assert_same_output(ours, theirs, x, rtol=1e-6)


def test_rows_of_a_split_and_steps_before(local: Any, write_parquet: Any) -> None:
    folder = write_parquet(numbers("plain", 500), files=3, row_group_size=60)
    train, _ = pqy.open_dataset(folder).split(test=0.3, seed=1)
    pipeline = make_pipeline(StandardScaler(), Nystroem(n_components=15, random_state=0))
    ours = pqy.fit(pipeline, train, engine=local)
    theirs = clone(pipeline).fit(train.to_pandas(limit=None))
    assert_same(ours[-1].component_indices_, theirs[-1].component_indices_, "component_indices_")
    np.testing.assert_allclose(ours[-1].components_, theirs[-1].components_, atol=1e-12)


def test_row_groups_that_are_read_in_batches(local: Any, write_parquet: Any) -> None:
    table = pa.table({"x": np.arange(60_000.0), "wide": ["x" * 4_000] * 60_000})
    folder = write_parquet(table, files=1, row_group_size=60_000)
    pipeline = make_pipeline(Nystroem(n_components=50, random_state=0))
    ours, theirs, _ = fit_both(pipeline, folder, local, features=["x"])
    assert_same(ours[0].components_, theirs[0].components_, "components_")


def test_sparse_rows(local: Any, write_parquet: Any) -> None:
    words = np.random.default_rng(0).choice(list("abcdef"), (300, 2))
    folder = write_parquet(pa.table({"one": words[:, 0], "two": words[:, 1]}))
    for last in (Nystroem(n_components=8, random_state=0), RBFSampler(gamma="scale", random_state=0)):
        ours, theirs, _ = fit_both(make_pipeline(OneHotEncoder(), last), folder, local)
        assert_same_learned(ours[-1], theirs[-1], rtol=1e-9)


def test_more_components_than_rows(local: Any, write_parquet: Any) -> None:
    folder = write_parquet(numbers("plain", 30), row_group_size=7)
    with pytest.warns(UserWarning, match="n_components > n_samples"):
        ours = pqy.fit(Nystroem(n_components=50, random_state=0), folder, engine=local)
    with pytest.warns(UserWarning, match="n_components > n_samples"):
        theirs = Nystroem(n_components=50, random_state=0).fit(pqy.open_dataset(folder).to_pandas())
    assert_same_learned(ours, theirs, rtol=1e-9)


def test_beyond_the_bound_rows_are_drawn_by_hash(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_maps, "MOST_PERMUTED", 100)
    folder = write_parquet(numbers("plain", 400), files=3, row_group_size=50)
    frame = pqy.open_dataset(folder).to_pandas()
    fitted = [
        pqy.fit(Nystroem(n_components=12, random_state=0), folder, engine=engine)
        for engine in (local, dask_engine, spark_engine)
    ]
    for model in fitted:
        np.testing.assert_array_equal(model.components_, frame.to_numpy()[model.component_indices_])
        assert model.normalization_.tobytes() == fitted[0].normalization_.tobytes()
    assert len(set(fitted[0].component_indices_.tolist())) == 12
    other = pqy.fit(Nystroem(n_components=12, random_state=1), folder, engine=local)
    assert set(other.component_indices_.tolist()) != set(fitted[0].component_indices_.tolist())
    rest = Nystroem(n_components=12, random_state=0).fit(fitted[0].components_)
    np.testing.assert_allclose(
        np.sort(np.linalg.eigvalsh(fitted[0].normalization_)), np.sort(np.linalg.eigvalsh(rest.normalization_))
    )


def test_the_same_bits_on_every_engine(local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any) -> None:
    folder = write_parquet(numbers("plain", 400), files=3, row_group_size=50)
    pipeline = make_pipeline(StandardScaler(), Nystroem(n_components=12, random_state=0))
    fitted = [pqy.fit(pipeline, folder, engine=engine)[-1] for engine in (local, dask_engine, spark_engine)]
    for other in fitted[1:]:
        assert other.normalization_.tobytes() == fitted[0].normalization_.tobytes()
        assert other.components_.tobytes() == fitted[0].components_.tobytes()


def test_precomputed_kernels_go_to_one_node(local: Any, write_parquet: Any) -> None:
    x = np.random.default_rng(0).normal(size=(20, 4))
    kernel = x @ x.T
    folder = write_parquet(pa.table({f"k{i}": kernel[:, i] for i in range(20)}), row_group_size=5)
    estimator = Nystroem(kernel="precomputed", n_components=20, random_state=0)
    ours, theirs, _ = fit_both(estimator, folder, local)
    assert_same_learned(ours, theirs, rtol=1e-9)
    assert ours.fit_report_["placement"] == "single-node"


def test_bad_input(local: Any, write_parquet: Any) -> None:
    x = np.arange(300.0)
    x[233] = np.nan
    folder = write_parquet(pa.table({"x": x, "whole": np.arange(300), "text": ["a"] * 300}))
    with pytest.raises(NonFiniteValues, match=r"Nystroem: column 'x' holds NaN.*row group 0, row 83"):
        pqy.fit(Nystroem(n_components=3, random_state=0), folder, features=["x"], engine=local)
    for estimator in (Nystroem(), RBFSampler()):
        with pytest.raises(WrongColumnType, match="'text' is string"):
            pqy.fit(estimator, folder, features=["text"], engine=local)
    for estimator, message in (
        (Nystroem(n_components=0), "'n_components' parameter"),
        (Nystroem(kernel=overlap, gamma=1.0), "Don't pass gamma"),
        (RBFSampler(gamma=-1.0), "'gamma' parameter"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, folder, features=["whole"], engine=local)
    with pytest.raises(TooBigForOneNode, match="300 components"):
        pqy.fit(Nystroem(n_components=300), folder, features=["whole"], engine=local, memory="1MiB")
