"""evaluate for clusterers and mixtures against scikit-learn's metrics, on every engine."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.cluster import DBSCAN, BisectingKMeans, KMeans, MiniBatchKMeans
from sklearn.linear_model import LinearRegression
from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score, silhouette_score
from sklearn.mixture import GaussianMixture
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parquetry.classical.cluster_metrics import calinski_harabasz, davies_bouldin, evaluate_clusters
from parquetry.errors import BadParameter, NonFiniteValues
from parquetry.fit_checks import make_view

N = 800
FEATURES = ["x0", "x1", "x2"]
MODELS = [
    KMeans(4, random_state=0),
    make_pipeline(StandardScaler(), KMeans(3, random_state=0)),
    make_pipeline(StandardScaler(), "passthrough", BisectingKMeans(5, random_state=0)),
    MiniBatchKMeans(3, random_state=0),
    GaussianMixture(3, random_state=0),
]


@pytest.fixture
def data(write_parquet: Callable[..., Path]) -> pqy.Dataset:
    rng = np.random.default_rng(9)
    x = rng.normal(size=(N, 3)) + np.array([[0, 0, 0], [5, 0, 90], [0, 6, 40]])[rng.integers(0, 3, N)]
    table = pa.table({**{f"x{i}": c for i, c in enumerate(x.T)}, "w": rng.integers(0, 4, N)})
    return pqy.open_dataset(write_parquet(table, files=2, row_group_size=130))


def seen_by_last(model: Any, frame: Any) -> tuple[Any, np.ndarray]:
    """X as the last step gets it, and the labels."""
    x = model[:-1].transform(frame) if hasattr(model, "steps") else frame
    return x, model.predict(frame)


@pytest.mark.parametrize("model", MODELS, ids=lambda m: str(m)[:40])
def test_metrics(local: Any, data: Any, model: Any) -> None:
    fitted = pqy.fit(model, data, features=FEATURES, engine=local)
    scores = pqy.evaluate(fitted, data, features=FEATURES, engine=local)
    x, labels = seen_by_last(fitted, data.to_pandas()[FEATURES])
    assert scores["rows"] == scores["silhouette_rows"] == N
    assert scores["sizes"] == np.bincount(labels).tolist()
    assert scores["clusters"] == len(set(labels))
    for name, metric in (
        ("calinski_harabasz", calinski_harabasz_score),
        ("davies_bouldin", davies_bouldin_score),
        ("silhouette", silhouette_score),
    ):
        np.testing.assert_allclose(scores[name], metric(x, labels), rtol=1e-9, err_msg=name)
    last = fitted[-1] if hasattr(fitted, "steps") else fitted
    if hasattr(last, "inertia_"):
        np.testing.assert_allclose(scores["inertia"], last.inertia_, rtol=1e-9)
    else:
        assert "inertia" not in scores
        np.testing.assert_allclose(scores["log_likelihood"], fitted.score(x), rtol=1e-9)
        np.testing.assert_allclose([scores["aic"], scores["bic"]], [fitted.aic(x), fitted.bic(x)], rtol=1e-9)
    json.dumps(scores, allow_nan=False)


@pytest.mark.parametrize("model", MODELS[1:], ids=lambda m: str(m)[:40])
def test_weights_count_as_repeated_rows(local: Any, data: Any, model: Any) -> None:
    fitted = pqy.fit(model, data, features=FEATURES, engine=local)
    scores = pqy.evaluate(fitted, data, features=FEATURES, sample_weight="w", engine=local)
    frame = data.to_pandas()
    repeated = frame.loc[frame.index.repeat(frame["w"]), FEATURES]
    x, labels = seen_by_last(fitted, repeated)
    np.testing.assert_allclose(scores["calinski_harabasz"], calinski_harabasz_score(x, labels), rtol=1e-9)
    np.testing.assert_allclose(scores["davies_bouldin"], davies_bouldin_score(x, labels), rtol=1e-9)
    if "inertia" in scores:
        np.testing.assert_allclose(scores["inertia"], -fitted.score(repeated), rtol=1e-9)
    else:
        np.testing.assert_allclose([scores["log_likelihood"], scores["bic"]], [fitted.score(x), fitted.bic(x)])
    assert scores["rows"] == N


def test_the_same_on_every_engine(data: Any, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    model = pqy.fit(KMeans(3, random_state=0), data, features=FEATURES, engine=local)
    found = [
        pqy.evaluate(model, data, features=FEATURES, sample_weight="w", engine=e)
        for e in (local, dask_engine, spark_engine)
    ]
    assert found[0] == found[1] == found[2]


def test_the_silhouette_is_of_a_stated_sample(local: Any, data: Any) -> None:
    model = pqy.fit(KMeans(3, random_state=0), data, features=FEATURES, engine=local)
    view = make_view(data, target=None, features=FEATURES)
    found = [evaluate_clusters(model, view, local, silhouette_rows=300) for _ in range(2)]
    assert found[0] == found[1]
    assert found[0]["silhouette_rows"] == 300
    full = evaluate_clusters(model, view, local)
    assert found[0]["silhouette"] == pytest.approx(full["silhouette"], abs=0.05)
    assert found[0]["silhouette"] != full["silhouette"]
    assert found[0]["davies_bouldin"] == full["davies_bouldin"]


def test_far_from_zero(local: Any, data: Any, write_parquet: Any) -> None:
    """Moments are taken about the centers, so that a mean of 1e9 costs nothing."""
    frame = data.to_pandas()[FEATURES].round(3)
    model = KMeans(3, init=frame.to_numpy()[:3], n_init=1).fit(frame)
    near = evaluate_clusters(model, make_view(write_parquet(frame, "near"), target=None, features=None), local)
    model.cluster_centers_ = model.cluster_centers_ + 2.0**30
    model.predict = lambda x: np.argmin(((np.asarray(x)[:, None] - model.cluster_centers_) ** 2).sum(axis=2), axis=1)
    far = evaluate_clusters(model, make_view(write_parquet(frame + 2.0**30, "far"), target=None, features=None), local)
    for name in ("inertia", "calinski_harabasz", "davies_bouldin", "silhouette"):
        np.testing.assert_allclose(far[name], near[name], rtol=1e-5, err_msg=name)


def test_sparse_rows(local: Any, write_parquet: Any) -> None:
    rng = np.random.default_rng(5)
    data = pqy.open_dataset(
        write_parquet(pa.table({"a": rng.choice(list("abcd"), 300), "b": rng.choice(list("xy"), 300)}))
    )
    model = pqy.fit(make_pipeline(OneHotEncoder(), KMeans(3, random_state=0)), data, engine=local)
    scores = pqy.evaluate(model, data, engine=local)
    x, labels = seen_by_last(model, data.to_pandas())
    np.testing.assert_allclose(scores["inertia"], model[-1].inertia_)
    np.testing.assert_allclose(scores["calinski_harabasz"], calinski_harabasz_score(x.toarray(), labels))
    np.testing.assert_allclose(scores["davies_bouldin"], davies_bouldin_score(x.toarray(), labels))
    np.testing.assert_allclose(scores["silhouette"], silhouette_score(x, labels))


def test_one_cluster_has_no_comparison(local: Any, data: Any) -> None:
    model = pqy.fit(KMeans(1), data, features=FEATURES, engine=local)
    scores = pqy.evaluate(model, data, features=FEATURES, engine=local)
    assert set(scores) == {"rows", "clusters", "sizes", "inertia"}
    np.testing.assert_allclose(scores["inertia"], model.inertia_)


def test_degenerate_clusters() -> None:
    means, weights = np.array([[0.0], [3.0]]), np.array([2.0, 2.0])
    assert calinski_harabasz(weights, means, np.zeros(2)) == 1.0
    assert davies_bouldin(np.zeros(2), means) == 0.0
    assert davies_bouldin(np.ones(2), np.zeros((2, 1))) == 0.0
    assert davies_bouldin(np.ones(2), means) == pytest.approx(2 / 3)


def test_refusals(local: Any, data: Any, write_parquet: Any) -> None:
    frame = data.to_pandas()[FEATURES]
    for model, message in (
        (LinearRegression(), "LinearRegression needs a target"),
        (StandardScaler(), "neither predicts numbers nor classes nor clusters"),
        (DBSCAN(), "DBSCAN cannot tell the cluster of a row that it has not been fitted on"),
        (KMeans(3), "not fitted yet"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.evaluate(model, data, features=FEATURES, engine=local)
    model = pqy.fit(KMeans(3, random_state=0), data, features=FEATURES, engine=local)
    hole = write_parquet(frame.assign(x1=frame["x1"].mask(frame.index == 555)), "hole")
    with pytest.raises(NonFiniteValues, match=r"evaluate: column 'x1' holds NaN.*part-1.parquet, row group 1, row 55"):
        pqy.evaluate(model, hole, engine=local)
    bad = write_parquet(frame.assign(w=-1.0), "weights")
    with pytest.raises(BadParameter, match="evaluate: sample weights must be non-negative"):
        pqy.evaluate(model, bad, features=FEATURES, sample_weight="w", engine=local)
