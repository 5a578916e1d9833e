"""KMeans against scikit-learn's own fit of the same rows from the same centers; its draws; bad input."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parity import LAYOUTS, assert_same_learned
from parquetry.classical import kmeans as module
from parquetry.classical.kmeans_curve import elbow, kmeans_curve
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType

N, WIDTH = 700, 4
FEATURES = [f"x{i}" for i in range(WIDTH)]


def blobs(rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
    centers = rng.uniform(-6, 6, (5, WIDTH))
    return centers[rng.integers(0, 5, N)] + spread * rng.normal(size=(N, WIDTH))


def overlapping(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, WIDTH))


def far_from_zero(rng: np.random.Generator) -> np.ndarray:
    return 1e9 + blobs(rng)


def uneven_scales(rng: np.random.Generator) -> np.ndarray:
    return blobs(rng) * 10.0 ** np.arange(-2, 2)


def constant_column(rng: np.random.Generator) -> np.ndarray:
    x = blobs(rng)
    x[:, 2] = 7.25
    return x


def collinear(rng: np.random.Generator) -> np.ndarray:
    x = blobs(rng)
    x[:, 3] = x[:, 0] - 2 * x[:, 1]
    return x


def imbalanced(rng: np.random.Generator) -> np.ndarray:
    x = rng.normal(size=(N, WIDTH))
    x[:3] += 40
    return x


def many_columns(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, WIDTH)) + 3 * rng.integers(0, 2, (N, WIDTH))


SHAPES = [blobs, overlapping, far_from_zero, uneven_scales, constant_column, collinear, imbalanced, many_columns]


@pytest.fixture
def rows(write_parquet: Callable[..., Path]) -> Callable[..., tuple[pqy.Dataset, np.ndarray, np.ndarray]]:
    """A data set of a shape, its X, and its weights, some of which are 0."""

    def make(shape: Any = blobs, **layout: Any) -> tuple[pqy.Dataset, np.ndarray, np.ndarray]:
        rng = np.random.default_rng(11)
        x = shape if isinstance(shape, np.ndarray) else shape(rng)
        weights = rng.integers(0, 4, len(x)) * 0.5
        table = pa.table({**{f"x{i}": column for i, column in enumerate(x.T)}, "w": weights})
        layout = layout or {"files": 3, "row_group_size": 97}
        return pqy.open_dataset(write_parquet(table, f"rows-{len(x)}-{x.shape[1]}", **layout)), x, weights

    return make


def fit_both(estimator: Any, data: pqy.Dataset, engine: Any, weight: str | None = None) -> tuple[Any, Any, Any]:
    frame = data.to_pandas()
    features = [c for c in frame.columns if c != "w"]
    ours = pqy.fit(estimator, data, features=features, sample_weight=weight, engine=engine)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = clone(estimator).fit(frame[features], sample_weight=None if weight is None else frame[weight])
    return ours, theirs, frame[features]


@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
def test_the_same_steps_from_the_same_centers(local: Any, rows: Any, shape: Any, weight: str | None) -> None:
    data, x, _ = rows(shape)
    for k, tol in ((1, 1e-4), (4, 1e-4), (7, 0.0)):
        estimator = KMeans(k, init=x[5 : 5 + k], n_init=1, tol=tol)
        ours, theirs, frame = fit_both(estimator, data, local, weight)
        assert ours.n_iter_ == theirs.n_iter_ > 1
        assert_same_learned(ours, theirs, rtol=1e-9)
        if shape is not far_from_zero:  # scikit-learn's own predict does not center, and is lost there
            np.testing.assert_array_equal(ours.predict(frame), theirs.labels_)
            np.testing.assert_allclose(ours.transform(frame), theirs.transform(frame), rtol=1e-6, atol=1e-6)
        assert ours.fit_report_["placement"] == "distributed"
        assert ours.fit_report_["passes"] == ours.n_iter_ + 2


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_and_algorithms(local: Any, rows: Any, layout: Any) -> None:
    data, x, _ = rows(blobs, **layout)
    for algorithm in ("lloyd", "elkan"):
        for max_iter in (1, 3):
            estimator = KMeans(6, init=x[:6], n_init=1, tol=0, max_iter=max_iter, algorithm=algorithm)
            ours, theirs, _ = fit_both(estimator, data, local)
            assert_same_learned(ours, theirs, rtol=1e-9)


def test_steps_are_cut_alike_with_many_rows_and_centers(local: Any, rows: Any) -> None:
    """More rows than a chunk, and more centers than a table of distances takes at once."""
    rng = np.random.default_rng(0)
    data, _, _ = rows(rng.normal(size=(40_000, 3)).round(1), files=1, row_group_size=30_000)
    for k in (3, 80):
        estimator = KMeans(k, init=rng.normal(size=(k, 3)), n_init=1, max_iter=4, tol=0)
        ours, theirs, _ = fit_both(estimator, data, local)
        # Rounded rows lie exactly between two centers now and then: rounding decides there, here as in scikit-learn.
        assert np.count_nonzero(ours.labels_ != theirs.labels_) <= 4
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-6)
        assert ours.n_iter_ == theirs.n_iter_


def test_an_empty_cluster_goes_to_the_farthest_row(local: Any, rows: Any) -> None:
    data, x, _ = rows(blobs)
    away = np.full((1, WIDTH), 1e4)
    for weight in (None, "w"):
        ours, theirs, _ = fit_both(KMeans(4, init=np.vstack([x[:3], away]), n_init=1), data, local, weight)
        assert_same_learned(ours, theirs, rtol=1e-9)
    # With several at once scikit-learn leaves open which of them gets which row.
    ours, theirs, _ = fit_both(KMeans(5, init=np.vstack([x[:2], away, 2 * away, -away]), n_init=1), data, local)
    np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-9)
    np.testing.assert_allclose(np.sort(ours.cluster_centers_, axis=0), np.sort(theirs.cluster_centers_, axis=0))


def test_float32_and_integers(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(3)
    x = blobs(rng)
    narrow = pa.table({f"x{i}": pa.array(c.astype(np.float32)) for i, c in enumerate(x.T)})
    whole = pa.table({f"x{i}": pa.array((c * 3).astype(np.int64)) for i, c in enumerate(x.T)})
    for name, table, rtol in (("narrow", narrow, 1e-5), ("whole", whole, 1e-9)):
        data = pqy.open_dataset(write_parquet(table, name))
        init = data.to_pandas().to_numpy()[:4]
        ours, theirs, _ = fit_both(KMeans(4, init=init, n_init=1), data, local)
        assert_same_learned(ours, theirs, rtol=rtol)


def test_sparse_rows(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(5)
    words = pa.table(
        {f"w{i}": rng.choice(list("abcdefgh"), 400, p=[0.3, 0.2, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05]) for i in range(3)}
    )
    data = pqy.open_dataset(write_parquet(words))
    frame = data.to_pandas()
    encoder = OneHotEncoder().fit(frame)
    assert sparse.issparse(encoder.transform(frame))
    init = encoder.transform(frame).toarray()[[0, 7, 19]] + rng.normal(size=(3, 24)) * 0.01
    estimator = make_pipeline(OneHotEncoder(), KMeans(3, init=init, n_init=1, tol=1e-6))
    ours = pqy.fit(estimator, data, engine=local)
    theirs = clone(estimator).fit(frame)
    assert_same_learned(ours[-1], theirs[-1], rtol=1e-9)
    for init in ("k-means++", "random"):
        drawn = pqy.fit(clone(estimator).set_params(kmeans__init=init, kmeans__random_state=1), data, engine=local)
        assert drawn[-1].inertia_ < 1.2 * theirs[-1].inertia_


def test_pipeline_scales_first(local: Any, rows: Any) -> None:
    data, x, _ = rows(uneven_scales)
    init = StandardScaler().fit_transform(x)[:4]
    estimator = make_pipeline(StandardScaler(), KMeans(4, init=init, n_init=1))
    ours = pqy.fit(estimator, data, features=FEATURES, engine=local)
    theirs = clone(estimator).fit(data.to_pandas()[FEATURES])
    assert_same_learned(ours[-1], theirs[-1], rtol=1e-9)


@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("weight", [None, "w"])
def test_drawn_centers_reach_what_scikit_learn_reaches(local: Any, rows: Any, init: str, weight: str | None) -> None:
    data, _, _ = rows(blobs)
    found = {}
    for seed in range(2):
        n_init = 12 if init == "random" else 4
        ours, theirs, _ = fit_both(KMeans(5, init=init, n_init=n_init, random_state=seed), data, local, weight)
        np.testing.assert_allclose(ours.inertia_, theirs.inertia_, rtol=1e-3)
        again = pqy.fit(clone(ours), data, features=FEATURES, sample_weight=weight, engine=local)
        assert again.cluster_centers_.tobytes() == ours.cluster_centers_.tobytes()
        found[seed] = ours.cluster_centers_.tobytes()
    assert len(set(found.values())) > 1
    one = pqy.fit(KMeans(5, init=init, random_state=0), data, features=FEATURES, sample_weight=weight, engine=local)
    starts = 10 if init == "random" else 1
    assert one._n_init == starts


def test_more_starts_take_no_more_passes_than_the_longest(local: Any, rows: Any) -> None:
    data, _, _ = rows(overlapping)
    one = [pqy.fit(KMeans(4, random_state=s, max_iter=5, tol=0), data, features=FEATURES, engine=local) for s in (1, 2)]
    many = pqy.fit(KMeans(4, random_state=1, n_init=8, max_iter=5, tol=0), data, features=FEATURES, engine=local)
    assert many.fit_report_["passes"] <= max(m.fit_report_["passes"] for m in one) + 1
    assert many.inertia_ <= min(m.inertia_ for m in one) * 1.05


def test_the_same_bits_on_every_engine(rows: Any, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    data, _, _ = rows(overlapping)
    estimator = KMeans(3, n_init=2, random_state=5, max_iter=3, tol=0)
    bits = set()
    for engine in (local, dask_engine, spark_engine):
        model = pqy.fit(estimator, data, features=FEATURES, sample_weight="w", engine=engine)
        parts = (model.cluster_centers_, model.labels_, np.array([model.inertia_, model.n_iter_]))
        bits.add(b"".join(part.tobytes() for part in parts))
    assert len(bits) == 1


def test_fewer_distinct_rows_than_clusters(local: Any, rows: Any) -> None:
    # Their mean is exact: no distance is a rounding error that would make a row the farthest.
    data, x, _ = rows(np.repeat([[0.0, 0], [4, 0], [0, 4], [4, 4]], [48, 48, 48, 48], axis=0))
    for init in ("k-means++", "random", x[[70, 0, 40, 40, 150, 0]]):
        with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(4\) found smaller than n_clusters \(6\)"):
            ours = pqy.fit(KMeans(6, init=init, n_init=1, random_state=0), data, features=["x0", "x1"], engine=local)
        assert ours.inertia_ == pytest.approx(0, abs=1e-20)
        assert len(set(ours.labels_)) == 4
    with pytest.warns(ConvergenceWarning):
        theirs = KMeans(6, init=init, n_init=1).fit(x)
    assert_same_learned(ours, theirs, rtol=1e-12)


def test_as_many_clusters_as_rows(local: Any, rows: Any) -> None:
    data, _, _ = rows(np.arange(12.0).reshape(6, 2) ** 2)
    model = pqy.fit(KMeans(6, random_state=0), data, features=["x0", "x1"], engine=local)
    assert model.inertia_ == pytest.approx(0, abs=1e-9)
    with pytest.raises(BadParameter, match="KMeans: n_clusters=7 and only 6 rows"):
        pqy.fit(KMeans(7), data, features=["x0", "x1"], engine=local)


def test_labels_are_kept_within_a_bound_only(local: Any, rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data, x, _ = rows(blobs)
    full = pqy.fit(KMeans(4, init=x[:4], n_init=1), data, features=FEATURES, engine=local)
    monkeypatch.setattr(module, "LABEL_ROWS", N - 1)
    model = pqy.fit(KMeans(4, init=x[:4], n_init=1), data, features=FEATURES, engine=local)
    assert not hasattr(model, "labels_")
    assert model.inertia_ == full.inertia_
    assert model.fit_report_["steps"][0]["why"] == "labels_ is left out above 699 rows; predict gives them."


def test_a_function_as_init_is_given_all_rows_on_one_node(local: Any, rows: Any) -> None:
    data, _, _ = rows(blobs)
    ours, theirs, _ = fit_both(KMeans(3, init=lambda x, k, random_state: x[:k], n_init=1), data, local)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_)
    assert ours.fit_report_["placement"] == "single-node"
    assert "function as init" in ours.fit_report_["steps"][0]["why"]


def test_bad_values(local: Any, rows: Any, write_parquet: Any, houses: Path) -> None:
    _, x, _ = rows(blobs)
    table = {f"x{i}": column.copy() for i, column in enumerate(x.T)}
    table["x2"][[500, 600]] = [np.inf, np.nan]
    folder = write_parquet(pa.table(table), "holes")
    with pytest.raises(
        NonFiniteValues, match=r"KMeans: column 'x2' holds infinity.*part-1.parquet, row group 1, row 50"
    ):
        pqy.fit(KMeans(3), folder, engine=local)
    with pytest.raises(WrongColumnType, match="KMeans: Column 'place' is string"):
        pqy.fit(KMeans(3), houses, engine=local)
    weights = {
        "negative": np.linspace(-1, 1, N),
        "zero": np.zeros(N),
        "missing": np.where(np.arange(N) == 5, np.nan, 1.0),
    }
    folder = write_parquet(pa.table({"x": x[:, 0], **weights}), "weights")
    for name in ("negative", "zero"):
        with pytest.raises(BadParameter, match="sample weights must be non-negative and not all zero"):
            pqy.fit(KMeans(3), folder, features=["x"], sample_weight=name, engine=local)
    with pytest.raises(NonFiniteValues, match="column 'missing' holds NaN"):
        pqy.fit(KMeans(3), folder, features=["x"], sample_weight="missing", engine=local)


def test_bad_parameters(local: Any, rows: Any) -> None:
    data, x, _ = rows(blobs)
    for estimator, message in (
        (KMeans(0), "n_clusters"),
        (KMeans(3, init="nearest"), "init"),
        (KMeans(3, init=x[:4], n_init=1), r"init has the shape \(4, 4\); \(3, 4\) is needed"),
        (KMeans(3, init=x[:3, :2], n_init=1), r"init has the shape \(3, 2\)"),
        (KMeans(3, init=np.full((3, WIDTH), np.nan), n_init=1), "NaN"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, features=FEATURES, engine=local)
    with pytest.warns(RuntimeWarning, match="performing only one init"):
        pqy.fit(KMeans(3, init=x[:3], n_init=5), data, features=FEATURES, engine=local)
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
        assert pqy.fit(KMeans(1, algorithm="elkan"), data, features=FEATURES, engine=local)._algorithm == "lloyd"
    with pytest.raises(TooBigForOneNode, match="600 centers of 4 features, and the rows drawn for them"):
        pqy.fit(KMeans(600), data, features=FEATURES, engine=local, memory="1MiB")


# --- the curve ------------------------------------------------------------------------------------
@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_curve(local: Any, rows: Any, init: str) -> None:
    corners = np.vstack([np.zeros((1, WIDTH)), 9 * np.eye(WIDTH)])
    data, x, weights = rows(lambda rng: corners[rng.integers(0, 5, N)] + rng.normal(size=(N, WIDTH)))
    curve = kmeans_curve(
        KMeans(init=init, n_init=5, random_state=0),
        data,
        range(1, 9),
        features=FEATURES,
        sample_weight="w",
        engine=local,
    )
    assert curve.ks == tuple(range(1, 9))
    assert curve.elbow == 5 == curve.ks[int(np.nanargmax(curve.calinski_harabasz))]
    for k, inertia in zip(curve.ks, curve.inertia, strict=True):
        model = curve.models[k]
        assert model.n_clusters == len(model.cluster_centers_) == k
        theirs = KMeans(k, n_init=10, random_state=0).fit(x, sample_weight=weights)
        assert inertia <= theirs.inertia_ * 1.1
        score = -model.score(data.to_pandas()[FEATURES], sample_weight=weights)
        np.testing.assert_allclose(inertia, score, rtol=1e-9)
    scores = pqy.evaluate(curve.models[5], data, features=FEATURES, sample_weight="w", engine=local)
    np.testing.assert_allclose(scores["calinski_harabasz"], curve.calinski_harabasz[4], rtol=1e-4)


def test_curve_of_a_pipeline(local: Any, rows: Any) -> None:
    data, _, _ = rows(uneven_scales)
    curve = kmeans_curve(make_pipeline(StandardScaler(), KMeans(random_state=0)), data.drop("w"), (2, 5), engine=local)
    frame = data.to_pandas()[FEATURES]
    assert -curve.models[5].score(frame) == pytest.approx(curve.inertia[1], rel=1e-9)
    assert curve.models[2][0].mean_ is curve.models[5][0].mean_


def test_curve_refuses(local: Any, rows: Any) -> None:
    data, x, _ = rows(blobs)
    for estimator, ks, message in (
        (StandardScaler(), (2, 3), "StandardScaler is no KMeans"),
        (KMeans(init=x[:2], n_init=1), (2, 3), "given centers"),
        (KMeans(), (), "no numbers of clusters"),
        (KMeans(), (0, 2), "no numbers of clusters"),
        (KMeans(), (2, N + 1), "only 700 rows"),
    ):
        with pytest.raises(BadParameter, match=message):
            kmeans_curve(estimator, data, ks, features=FEATURES, engine=local)


def test_elbow() -> None:
    assert elbow([1, 2, 3, 4, 5], [100, 60, 10, 8, 6]) == 3
    assert elbow([4], [1.0]) == 4
    assert elbow([2, 3], [5.0, 5.0]) == 2
