"""One Gram state a fold: the states of subsets of the rows, and errors read from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

import parquetry as pqy
from parquetry.classical.folds import row_folds
from parquetry.classical.gram import Gram
from parquetry.classical.gram_folds import FoldGram
from parquetry.classical.held_out import HeldOut, LinearPath, score, squared_errors
from parquetry.classical.labels import encoded, learn_classes
from parquetry.classical.ridge_path import ridge_path, spectrum
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive
from regressions import FEATURES, K, N, collinear, far, table, uneven_scales, well


@pytest.fixture
def rows(write_parquet: Any) -> Callable[..., pqy.Dataset]:
    def make(shape: Any = well) -> pqy.Dataset:
        return pqy.open_dataset(write_parquet(table(shape), shape.__name__, files=3, row_group_size=90))

    return make


def fold_states(view: Any, cv: Any, *, by_class: bool) -> Any:
    """The folds and their Gram states; by class, those of the codes."""
    seen, n_classes = view, None
    if by_class:
        classes = yield from learn_classes(LogisticRegression(), view)
        seen, n_classes = encoded(view, classes), len(classes[0].values)
    folds = yield from row_folds(Ridge(), seen, cv, n_classes=n_classes)
    gram = Gram("Ridge", FEATURES, view.target)
    found = yield [Pass(FoldGram(gram, folds), seen), Pass(gram, seen)]
    return folds, seen, *found


def moments(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.average(x, axis=0, weights=w)
    return mean, (x - mean).T @ ((x - mean) * w[:, None])


@pytest.mark.parametrize("by_class", [False, True], ids=["by row", "by class"])
@pytest.mark.parametrize("weight", [None, "weight"])
def test_states_are_those_of_the_folds(
    local: Any, rows: Any, by_class: bool, weight: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parquetry.classical.gram._CHUNK", 32)
    data = rows()
    frame = data.to_pandas()
    target, cv = ("four", StratifiedKFold(4)) if by_class else ("y", KFold(4))
    view = make_view(data, target=target, features=FEATURES, sample_weight=weight)
    _, _, grams, alone = drive(fold_states(view, cv, by_class=by_class), local, verb="test")
    y = frame[target].to_numpy() / 10 if by_class else frame[target].to_numpy()
    x = np.column_stack([frame[FEATURES].to_numpy(), y])
    w = np.ones(N) if weight is None else frame[weight].to_numpy()
    splits = list(cv.split(x, frame[target]))
    for k, (train, test) in enumerate(splits):
        for state, chosen in ((grams.folds[k], test), (grams.others[k], train)):
            mean, products = moments(x[chosen], w[chosen])
            assert state.rows == len(chosen)
            np.testing.assert_allclose(state.weight, w[chosen].sum(), rtol=1e-12)
            np.testing.assert_allclose(state.mean, mean, atol=1e-13)
            np.testing.assert_allclose(state.products, products, atol=1e-10)
    assert len(grams.folds) == len(grams.others) == len(splits)
    np.testing.assert_allclose(grams.total.products, alone.products, rtol=1e-12, atol=1e-9)


def test_a_fold_far_smaller_than_the_rest_keeps_its_digits(local: Any, rows: Any) -> None:
    data = rows(far)
    frame = data.to_pandas()
    view = make_view(data, target="y", features=FEATURES)
    _, _, grams, _ = drive(fold_states(view, KFold(N // 2), by_class=False), local, verb="test")
    x = np.column_stack([frame[FEATURES] - 1e6, frame["y"]])
    pair = x[4:6] - x[4:6].mean(axis=0)
    np.testing.assert_allclose(grams.folds[2].products, pair.T @ pair, rtol=1e-13)


@pytest.mark.parametrize("shape", [well, far, uneven_scales, collinear], ids=lambda f: f.__name__)
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_errors_from_states_are_those_of_the_rows(local: Any, rows: Any, shape: Any, fit_intercept: bool) -> None:
    data = rows(shape)
    frame = data.to_pandas()
    view = make_view(data, target=["y", "z"], features=FEATURES, sample_weight="weight")
    folds, seen, grams, _ = drive(fold_states(view, KFold(3), by_class=False), local, verb="test")
    alphas = np.array([0.0, 2.0, 500.0]) if shape is well else np.array([0.1, 2.0, 500.0])
    paths = [ridge_path(state, K, alphas, fit_intercept=fit_intercept) for state in grams.others]
    (sums,) = drive(ask(Pass(HeldOut(folds, paths), seen)), local, verb="test")
    x, y, w = (frame[c].to_numpy() for c in (FEATURES, ["y", "z"], "weight"))
    for k, (train, test) in enumerate(KFold(3).split(x)):
        from_states = squared_errors(grams.folds[k], paths[k])
        np.testing.assert_allclose(from_states, sums[0, k], rtol=1e-6 if shape is far else 1e-10)
        for a, alpha in enumerate(alphas):
            if shape is far and not fit_intercept:
                continue  # scikit-learn itself has few digits there
            model = Ridge(alpha, fit_intercept=fit_intercept).fit(x[train], y[train], w[train])
            errors = y[test] - model.predict(x[test])
            np.testing.assert_allclose(from_states[:, a], w[test] @ errors**2, rtol=1e-8)
            np.testing.assert_allclose(sums[1, k, :, a], w[test] @ np.abs(errors), rtol=1e-7)


def ask(work: Any) -> Any:
    return (yield [work])


def test_row_by_row_in_small_chunks_and_sparse(local: Any, houses: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parquetry.classical.held_out._CHUNK_VALUES", 1)
    data = pqy.open_dataset(houses)
    frame = data.to_pandas()
    encoder = pqy.fit(make_pipeline(OneHotEncoder()), data, features=["place", "rooms"], engine=local)
    view = make_view(data, target="price", features=["place", "rooms"]).through(encoder)
    folds = drive(row_folds(Ridge(), view, 3), local, verb="test")
    x, y = encoder.transform(frame[["place", "rooms"]]).toarray(), frame["price"].to_numpy()
    coef = np.random.default_rng(0).normal(size=(x.shape[1], 1, 2))
    mean = np.append(x.mean(axis=0), y.mean())
    path = LinearPath(coef, mean, np.zeros_like(mean))
    (sums,) = drive(ask(Pass(HeldOut(folds, [path] * 3), view)), local, verb="test")
    residual = (y - mean[-1])[:, None] - (x - mean[:-1]) @ coef[:, 0]
    for k, (_, test) in enumerate(KFold(3).split(x)):
        np.testing.assert_allclose(sums[0, k, 0], (residual[test] ** 2).sum(axis=0), rtol=1e-10)
        np.testing.assert_allclose(sums[1, k, 0], np.abs(residual[test]).sum(axis=0), rtol=1e-10)


def test_the_spectrum_of_uneven_scales_keeps_small_directions(local: Any, rows: Any) -> None:
    data = rows(uneven_scales)
    view = make_view(data, target="y", features=FEATURES)
    _, _, _, gram = drive(fold_states(view, KFold(2), by_class=False), local, verb="test")
    x = data.to_pandas()[FEATURES].to_numpy()
    values, vectors = spectrum(gram, K)
    singular = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)
    np.testing.assert_allclose(np.sqrt(values), singular[::-1], rtol=1e-11)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(K), atol=1e-14)


def test_r2_of_what_never_varies() -> None:
    from parquetry.classical.gram import GramState

    state = GramState(4, 4.0, np.zeros(3), np.zeros(3), np.diag([1.0, 1.0, 0.0]))
    errors = np.array([[0.0, 2.0]])
    assert score("r2", errors, state, 2).tolist() == [[1.0, 0.0]]
    assert score("neg_mean_squared_error", errors, state, 2).tolist() == [[0.0, -0.5]]
    assert np.isnan(score("r2", errors, GramState(1, 1.0, state.mean, state.rest, state.products), 2)).all()
