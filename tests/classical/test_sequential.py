"""What learns row by row on one worker: SGD and its kin, and MiniBatchKMeans."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import (
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.linear_model._sgd_fast import (
    EpsilonInsensitive,
    Hinge,
    ModifiedHuber,
    SquaredEpsilonInsensitive,
    SquaredHinge,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parity import assert_same_learned
from parquetry.classical import kmeans as kmeans_module
from parquetry.classical import sequential as sequential_module
from parquetry.classical.sequential import pieces
from parquetry.classical.sgd import losses
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, TooBigForOneNode

pytestmark = pytest.mark.filterwarnings("ignore:Class PassiveAggressive:FutureWarning")
N, WIDTH = 1000, 4
FEATURES = [f"x{i}" for i in range(WIDTH)]


@pytest.fixture
def data(write_parquet: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> pqy.Dataset:
    """Classes as text and as numbers, a regression target, weights of which some are 0; small pieces."""
    monkeypatch.setattr("parquetry.classical.sgd.PIECE_ROWS", 137)
    rng = np.random.default_rng(4)
    part = rng.choice(3, N, p=[0.6, 0.3, 0.1])
    x = rng.normal(size=(N, WIDTH)) + 2 * np.eye(3, WIDTH)[part]
    weights = np.where(np.arange(N) // 150 == 2, 0.0, rng.integers(0, 4, N) * 0.5)
    columns = {f"x{i}": c for i, c in enumerate(x.T)}
    columns |= {"kind": np.array(["ant", "bee", "cat"])[part], "flag": part > 0, "w": weights}
    columns["y"] = x @ np.arange(1, WIDTH + 1) + rng.normal(size=N)
    return pqy.open_dataset(write_parquet(pa.table(columns), files=3, row_group_size=110))


def fit_both(estimator: Any, data: pqy.Dataset, engine: Any, target: str | None, weight: str | None = None) -> Any:
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=engine)
    given = {} if weight is None else {"sample_weight": frame[weight]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = clone(estimator).fit(frame[FEATURES], None if target is None else frame[target].to_numpy(), **given)
    return ours, theirs, frame


def assert_same_model(ours: Any, theirs: Any, x: Any) -> None:
    """What is learned, and what is predicted; the loss is an object that has no equality."""
    if hasattr(theirs, "_loss_function_"):
        assert type(ours._loss_function_) is type(theirs._loss_function_)
    for model in (ours, theirs):
        vars(model).pop("_loss_function_", None)
    assert_same_learned(ours, theirs, rtol=1e-9)
    if hasattr(theirs, "classes_"):
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    else:
        np.testing.assert_allclose(ours.predict(x), theirs.predict(x), rtol=1e-9)


IN_ORDER = {"shuffle": False, "tol": None, "max_iter": 3}
STEPS = [
    (SGDClassifier(**IN_ORDER), "kind"),
    (SGDClassifier(loss="log_loss", alpha=0.01, class_weight="balanced", **IN_ORDER), "kind"),
    (SGDClassifier(loss="modified_huber", alpha=0.05, class_weight={True: 3.0}, **IN_ORDER), "flag"),
    (SGDClassifier(loss="squared_hinge", penalty=None, learning_rate="constant", **IN_ORDER), "flag"),
    (Perceptron(**IN_ORDER), "kind"),
    (Perceptron(penalty="l2", class_weight="balanced", **IN_ORDER), "flag"),
    (SGDRegressor(**IN_ORDER), "y"),
    (SGDClassifier(loss="hinge", learning_rate="pa1", eta0=0.1, penalty=None, **IN_ORDER), "flag"),
    (SGDRegressor(loss="huber", average=50, **IN_ORDER), "y"),
]


@pytest.mark.parametrize(("estimator", "target"), STEPS, ids=[str(e)[:60] for e, _ in STEPS])
@pytest.mark.parametrize("weight", [None, "w"])
def test_the_steps_of_fit_in_order(local: Any, data: Any, estimator: Any, target: str, weight: str | None) -> None:
    ours, theirs, frame = fit_both(estimator, data, local, target, weight)
    # A piece whose rows weigh nothing leaves its trace in the last digits at most.
    assert_same_model(ours, theirs, frame[FEATURES])
    assert ours.get_params() == theirs.get_params()
    assert ours.fit_report_["placement"] == "sequential"
    assert "3 epochs" in ours.fit_report_["steps"][0]["why"]


@pytest.mark.parametrize(
    ("kind", "target"), [(PassiveAggressiveClassifier, "flag"), (PassiveAggressiveRegressor, "y")], ids=str
)
def test_passive_aggressive(local: Any, data: Any, kind: Any, target: str) -> None:
    ours, theirs, frame = fit_both(kind(**IN_ORDER), data, local, target)
    assert_same_model(ours, theirs, frame[FEATURES])
    with pytest.raises(BadParameter, match="takes no sample weights"):
        pqy.fit(kind(), data, target=target, features=FEATURES, sample_weight="w", engine=local)


@pytest.mark.parametrize(
    ("estimator", "target"),
    [
        (SGDClassifier(random_state=0, loss="log_loss"), "kind"),
        (SGDClassifier(random_state=0, penalty="elasticnet", alpha=0.01), "flag"),
        (Perceptron(random_state=0), "kind"),
        (SGDRegressor(random_state=0), "y"),
        (SGDRegressor(loss="epsilon_insensitive", learning_rate="pa1", eta0=0.01, random_state=0), "y"),
    ],
    ids=lambda v: str(v)[:60],
)
def test_it_stops_about_where_fit_stops(local: Any, data: Any, estimator: Any, target: str) -> None:
    ours, theirs, frame = fit_both(estimator, data, local, target)
    assert 5 <= ours.n_iter_ < 1000
    assert ours.t_ == ours.n_iter_ * N + 1
    x, y = frame[FEATURES], frame[target]
    assert ours.score(x, y) > theirs.score(x, y) - 0.06
    again = pqy.fit(clone(estimator), data, target=target, features=FEATURES, engine=local)
    assert again.coef_.tobytes() == ours.coef_.tobytes()


def test_losses_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    y, scores = rng.choice([-1.0, 1.0], 50), rng.normal(scale=2, size=50)
    numbers = rng.normal(scale=2, size=50)
    cases = [
        (SGDClassifier(loss="hinge"), Hinge(1.0), y),
        (SGDClassifier(loss="squared_hinge"), SquaredHinge(1.0), y),
        (SGDClassifier(loss="modified_huber"), ModifiedHuber(), y),
        (Perceptron(), Hinge(0.0), y),
        (SGDRegressor(loss="epsilon_insensitive", epsilon=0.3), EpsilonInsensitive(0.3), numbers),
        (SGDRegressor(loss="squared_epsilon_insensitive", epsilon=0.3), SquaredEpsilonInsensitive(0.3), numbers),
    ]
    for model, loss, truth in cases:
        expected = [loss.py_loss(p, t) for p, t in zip(scores, truth, strict=True)]
        np.testing.assert_allclose(losses(model, truth[:, None], scores[:, None])[:, 0], expected, err_msg=str(model))
    for name, expected in (
        ("log_loss", np.log1p(np.exp(-y * scores))),
        ("squared_error", 0.5 * (y - scores) ** 2),
        ("huber", np.where(abs(y - scores) <= 0.5, 0.5 * (y - scores) ** 2, 0.5 * abs(y - scores) - 0.125)),
    ):
        model = SGDClassifier(loss=name, epsilon=0.5)
        np.testing.assert_allclose(losses(model, y[:, None], scores[:, None])[:, 0], expected)


def test_what_partial_fit_cannot_do_falls_back(local: Any, data: Any) -> None:
    for estimator, why in (
        (SGDClassifier(early_stopping=True, random_state=0), "early_stopping"),
        (SGDClassifier(learning_rate="adaptive", eta0=0.1, random_state=0), "adaptive"),
        (SGDClassifier(average=True, random_state=0), "average="),
    ):
        ours, theirs, _ = fit_both(estimator, data, local, "kind")
        np.testing.assert_allclose(ours.coef_, theirs.coef_)
        assert ours.fit_report_["placement"] == "single-node"
        assert why in ours.fit_report_["steps"][0]["why"]


def test_sparse_rows_in_a_pipeline(local: Any, data: Any) -> None:
    frame = data.to_pandas()
    estimator = make_pipeline(OneHotEncoder(), SGDClassifier(**IN_ORDER))
    ours = pqy.fit(estimator, data, target="flag", features=["kind"], engine=local)
    theirs = clone(estimator).fit(frame[["kind"]], frame["flag"])
    np.testing.assert_allclose(ours[-1].coef_, theirs[-1].coef_, rtol=1e-9)


def test_not_converged(local: Any, data: Any) -> None:
    with pytest.warns(ConvergenceWarning, match="Maximum number of iteration reached"):
        pqy.fit(SGDRegressor(max_iter=2), data, target="y", features=FEATURES, engine=local)


def test_the_same_bits_on_every_engine(data: Any, local: Any, dask_engine: Any, spark_engine: Any) -> None:
    bits = set()
    for engine in (local, dask_engine, spark_engine):
        estimator = SGDRegressor(max_iter=3, tol=None, random_state=0)
        steps = pqy.fit(estimator, data, target="y", features=FEATURES, engine=engine)
        batches = pqy.fit(MiniBatchKMeans(3, random_state=0, batch_size=128), data, features=FEATURES, engine=engine)
        bits.add(steps.coef_.tobytes() + batches.cluster_centers_.tobytes() + batches.labels_.tobytes())
    assert len(bits) == 1


def test_pieces_do_not_depend_on_blocks() -> None:
    class Batch:
        def __init__(self, x: np.ndarray) -> None:
            self.matrix, self.y_floats, self.weights, self.arrays = x, [x[:, 0]], None, {"y": None}

    rows = np.arange(40.0).reshape(20, 2)
    for edges in ([0, 20], [0, 1, 2, 19, 20], [0, 7, 14, 20]):
        cut = list(pieces((Batch(rows[a:b]) for a, b in pairwise(edges)), 7))
        assert [p.size for p in cut] == [7, 7, 6]
        np.testing.assert_array_equal(np.concatenate([p.x for p in cut]), rows)
        np.testing.assert_array_equal(np.concatenate([p.y for p in cut]), rows[:, 0])
        assert all(p.x.flags.c_contiguous for p in cut)
    assert sequential_module.PIECE_ROWS == 16_384


def test_bad_input(local: Any, data: Any, write_parquet: Any) -> None:
    x = np.arange(300.0)
    bad = {
        "x": np.where(x == 222, np.nan, x),
        "y": x,
        "one": np.ones(300),
        "text": ["a"] * 300,
        "w": x - 5,
        "huge": x * 1e305,
    }
    folder = write_parquet(pa.table(bad), "bad")
    with pytest.raises(
        NonFiniteValues, match=r"SGDRegressor: column 'x' holds NaN.*part-1.parquet, row group 0, row 72"
    ):
        pqy.fit(SGDRegressor(), folder, target="y", features=["x"], engine=local)
    with pytest.raises(NonFiniteValues, match="column 'x' holds NaN"):
        pqy.fit(SGDRegressor(), folder, target="x", features=["y"], engine=local)
    with pytest.raises(DegenerateColumn, match="one class only"):
        pqy.fit(SGDClassifier(), folder, target="text", features=["y"], engine=local)
    with pytest.raises(BadParameter, match="sample weights must be non-negative"):
        pqy.fit(SGDRegressor(), folder, target="y", features=["one"], sample_weight="w", engine=local)
    with pytest.raises(BadParameter, match=r"Floating-point under-/overflow occurred.*StandardScaler"):
        pqy.fit(SGDRegressor(), folder, target="w", features=["huge"], engine=local)
    for estimator, message in ((SGDClassifier(alpha=0.0), "alpha must be > 0"), (SGDClassifier(loss="best"), "loss")):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, target="kind", features=FEATURES, engine=local)
    with pytest.raises(BadParameter, match="needs a target"):
        pqy.fit(SGDClassifier(), data, features=FEATURES, engine=local)
    with pytest.raises(BadParameter, match="takes one target, not 2"):
        pqy.fit(SGDRegressor(), data, target=["y", "w"], features=FEATURES, engine=local)


# --- MiniBatchKMeans --------------------------------------------------------------------------------
@pytest.mark.parametrize("weight", [None, "w"])
@pytest.mark.parametrize("init", ["k-means++", "random", "given", "function"])
def test_mini_batches(local: Any, data: Any, init: str, weight: str | None) -> None:
    x = data.to_pandas()[FEATURES].to_numpy()
    first = {"given": x[[0, 300, 900]], "function": lambda rows, k, random_state: rows[:k]}.get(init, init)
    n_init = 3 if isinstance(first, str) else 1
    estimator = MiniBatchKMeans(3, init=first, n_init=n_init, batch_size=100, max_iter=15, random_state=0)
    ours, theirs, frame = fit_both(estimator, data, local, None, weight)
    weights = None if weight is None else frame[weight]
    best = KMeans(3, n_init=10, random_state=0).fit(x, sample_weight=weights)
    assert ours.inertia_ < 1.25 * best.inertia_
    for name in (n for n in vars(theirs) if n.endswith("_")):
        assert type(getattr(ours, name)) is type(getattr(theirs, name)), name
        assert getattr(getattr(ours, name), "dtype", None) == getattr(getattr(theirs, name), "dtype", None), name
    np.testing.assert_array_equal(ours.labels_, ours.predict(frame[FEATURES]))
    np.testing.assert_allclose(ours.inertia_, -ours.score(frame[FEATURES], sample_weight=weights))
    assert ours.fit_report_["placement"] == "sequential"
    assert ours.n_iter_ == int(np.ceil(ours.n_steps_ * 100 / N))
    ours.partial_fit(frame[FEATURES])


def test_steps_are_scikit_learns_over_consecutive_rows(local: Any, data: Any) -> None:
    """One epoch of mini-batches in order is partial_fit over the same rows, called one after another."""
    x = data.to_pandas()[FEATURES].to_numpy()
    settings = {"init": x[[0, 300, 900]], "n_init": 1, "batch_size": 100, "max_iter": 1, "reassignment_ratio": 0.0}
    ours = pqy.fit(MiniBatchKMeans(3, **settings), data, features=FEATURES, engine=local)
    theirs = MiniBatchKMeans(3, **settings)
    for start in range(0, N, 100):
        theirs.partial_fit(x[start : start + 100])
    assert ours.n_steps_ == theirs.n_steps_ == 10
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=1e-9)
    np.testing.assert_allclose(ours._counts, theirs._counts)


def test_mini_batches_of_other_kinds(local: Any, data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = data.to_pandas()
    plain = MiniBatchKMeans(3, compute_labels=False, random_state=0, batch_size=100, tol=1e-3)
    ours = pqy.fit(plain, data, features=FEATURES, engine=local)
    assert not hasattr(ours, "labels_")
    assert ours.inertia_ == pytest.approx(-ours.score(frame[FEATURES]), rel=0.2)
    scaled = make_pipeline(StandardScaler(), MiniBatchKMeans(3, random_state=0))
    assert pqy.fit(scaled, data, features=FEATURES, engine=local)[-1].inertia_ > 0
    sparse = make_pipeline(OneHotEncoder(), MiniBatchKMeans(3, random_state=0))
    assert pqy.fit(sparse, data, features=["kind"], engine=local)[-1].inertia_ == pytest.approx(0, abs=1e-9)
    # Many columns, few of which a row fills: the rows drawn for first centers stay sparse.
    assert pqy.fit(sparse, data, features=["kind"], engine=local, memory="100KiB")[-1].cluster_centers_.shape == (3, 3)
    with pytest.raises(TooBigForOneNode, match="3 centers of 4 features, and the rows drawn for them"):
        pqy.fit(MiniBatchKMeans(3), data, features=FEATURES, engine=local, memory="100KiB")
    monkeypatch.setattr("parquetry.classical.minibatch.LABEL_ROWS", 10)
    monkeypatch.setattr(kmeans_module, "LABEL_ROWS", 10)
    left_out = pqy.fit(MiniBatchKMeans(3, random_state=0), data, features=FEATURES, engine=local)
    assert not hasattr(left_out, "labels_")
    why = left_out.fit_report_["steps"][0]["why"]
    assert "one worker" in why
    assert why.endswith("labels_ is left out above 10 rows; predict gives them.")


def test_mini_batches_refuse(local: Any, data: Any) -> None:
    for estimator, message in (
        (MiniBatchKMeans(N + 1), "n_clusters=1,001 and only 1,000 rows"),
        (MiniBatchKMeans(3, batch_size=0), "batch_size"),
        (MiniBatchKMeans(3, init=np.zeros((2, WIDTH)), n_init=1), "init has the shape"),
    ):
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, features=FEATURES, engine=local)
