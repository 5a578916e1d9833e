"""The search and its quadratic models by themselves, on a few rows in memory."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np
import pytest
from scipy import optimize
from sklearn._loss.loss import HalfBinomialLoss, HalfMultinomialLoss
from sklearn.linear_model._linear_loss import LinearModelLoss

from parquetry.classical.logistic_model import MatrixModel, lasso_minimum, null_directions
from parquetry.classical.logistic_penalty import Bond, Gauge, Penalty
from parquetry.classical.logistic_sample import SampledModels, SampleRows
from parquetry.classical.logistic_solver import Answer, Ask, Problem, run_searches
from parquetry.classical.logistic_start import Scale
from parquetry.classical.logistic_sums import NO_FOLD, Losses

WIDTH = 5


class Bench:
    """Rows in memory, looked at as a pass would; it notes what it was asked."""

    def __init__(self, classes: int, n: int = 400) -> None:
        rng = np.random.default_rng(classes)
        x = rng.normal(size=(n, WIDTH - 1))
        scores = x @ rng.normal(size=(WIDTH - 1, classes)) + rng.gumbel(size=(n, classes))
        self.rows = 1 if classes == 2 else classes
        self.sample = SampleRows(np.asfortranarray(x), {"y": scores.argmax(axis=1).astype(np.uint8)})
        ones = np.ones(WIDTH - 1)
        self.scale = Scale(0 * ones, 0 * ones, ones, intercept=True)
        self.asked: list[Ask] = []

    def search(self, start: float, l1: float, **how: Any) -> Any:
        size = self.rows * WIDTH
        penalized = np.tile(np.append(np.ones(WIDTH - 1), 0.0), self.rows)
        penalty = Penalty(l1 * penalized, 0.01 * penalized)
        gauge = Gauge(self.rows, penalty)
        models = SampledModels(
            self.sample, self.scale, self.rows, penalty, gauge, as_matrix=how.pop("as_matrix", False)
        )
        rng = np.random.default_rng(1)
        first = gauge.without(start * rng.normal(size=size))
        problem = Problem((first,), penalty, how.pop("patience", 0), gauge, models, 1e-10, 60, **how)
        searching = run_searches([problem], self.evaluate)
        with pytest.raises(StopIteration) as stop:
            next(searching)
        (found,) = stop.value.value
        return found, penalty

    def look(self, point: np.ndarray) -> Answer:
        with pytest.raises(StopIteration) as stop:
            next(self.evaluate([(0, Ask([point]))]))
        ((answer,),) = stop.value.value
        self.asked.pop()
        return answer

    def evaluate(self, asked: list[tuple[int, Ask]]) -> Generator[Any, Any, list[list[Answer]]]:
        yield from ()
        ((_, ask),) = asked
        self.asked.append(ask)
        coefs = self.scale.cached(np.stack(ask.points).reshape(len(ask.points), self.rows, WIDTH))
        sums = Losses(coefs, None, curved=range(ask.curved), diagonal=ask.diagonal).partial(self.sample)
        n = self.sample.num_rows
        out = []
        for i in range(len(ask.points)):
            curvature = self.scale.curvature(sums.curvature[i], self.rows) / n if i < ask.curved else None
            diagonal = self.scale.diagonal(sums.diagonal[i]).ravel() / n if ask.diagonal else None
            gradient = self.scale.gradient(sums.gradient[i]).ravel() / n
            out.append(Answer(float(sums.loss[i]) / n, gradient, curvature, diagonal))
        return [out]


WAYS: dict[str, dict[str, Any]] = {
    "Newton": {"newton": True},
    "exact where needed": {},
    "exact late": {"patience": 6},
    "the sample's matrix": {"patience": np.inf, "as_matrix": True},
    "the sample's products": {"patience": np.inf},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("l1", [0.0, 0.02])
@pytest.mark.parametrize("start", [0.0, 30.0])
def test_every_way_leads_to_the_minimum_from_anywhere(way: str, classes: int, l1: float, start: float) -> None:
    bench = Bench(classes)
    found, penalty = bench.search(start, l1, **WAYS[way])
    assert found.trouble == ""
    answer = bench.look(found.point)
    slope = answer.gradient + penalty.slope(found.point)
    assert penalty.steepness(found.point, slope) < 1e-8
    assert start == 0.0 or any(len(ask.points) > 1 for ask in bench.asked), "a step from so far goes too far"


def test_iterations_are_questions() -> None:
    bench = Bench(2)
    found, _ = bench.search(5.0, 0.0, newton=True)
    assert found.iterations == len(bench.asked)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_scikit_learns(classes: int, weighted: bool) -> None:
    rng = np.random.default_rng(0)
    bench = Bench(classes)
    weights = rng.uniform(0, 2, 400) if weighted else None
    if weighted:
        bench.sample.arrays["w"] = weights
    y = bench.sample.arrays["y"].astype(np.float64)
    base = HalfBinomialLoss() if classes == 2 else HalfMultinomialLoss(n_classes=classes)
    model = LinearModelLoss(base_loss=base, fit_intercept=True)
    points = rng.normal(size=(3, bench.rows, WIDTH))
    sums = Losses(points, None, curved=(1, 2), diagonal=True).partial(bench.sample)
    total = 400.0 if weights is None else weights.sum()
    x = np.ascontiguousarray(bench.sample.matrix)
    for i, point in enumerate(points):
        coef = point[0] if classes == 2 else np.asfortranarray(point)
        loss, gradient = model.loss_gradient(coef, x, y, weights, 0.0)
        np.testing.assert_allclose(sums.loss[i] / total, loss, rtol=1e-12)
        np.testing.assert_allclose(sums.gradient[i].ravel() / total, np.ravel(gradient), atol=1e-13)
        if i == 0:
            continue
        _, hessian, _ = model.gradient_hessian(coef, x, y, weights, 0.0)
        ours = sums.curvature[i - 1].reshape(bench.rows, WIDTH, bench.rows, WIDTH) / total
        theirs = hessian.reshape(WIDTH, bench.rows, WIDTH, bench.rows) if classes > 2 else hessian
        theirs = np.transpose(theirs, (1, 0, 3, 2)) if classes > 2 else theirs[None, :, None, :]
        np.testing.assert_allclose(ours, theirs, atol=1e-13)
        squares = sums.diagonal[i][:, np.r_[: WIDTH - 1, 2 * WIDTH - 2]] / total
        np.testing.assert_allclose(squares, np.einsum("kiki->ki", ours), atol=1e-13)


def test_rows_told_apart_keep_the_digits_of_a_small_loss() -> None:
    sample = SampleRows(np.array([[1.0], [-1.0]]), {"y": np.array([1, 0], dtype=np.uint8)})
    for far in (40.0, 600.0, 5000.0):
        sums = Losses(np.array([[[far, 0.0]], [[-far, 0.0]]]), None).partial(sample)
        with np.errstate(under="ignore"):
            expected = 2 * np.exp(-far)
        np.testing.assert_allclose(sums.loss[0], expected, rtol=1e-10 if far < 700 else 1, atol=1e-300)
        np.testing.assert_allclose(sums.gradient[0, 0, 0], -expected, rtol=1e-10, atol=1e-300)
        np.testing.assert_allclose(sums.loss[1], 2 * far, rtol=1e-12)
    three = SampleRows(np.array([[1.0]]), {"y": np.array([2], dtype=np.uint8)})
    sums = Losses(np.array([[[0.0, 0.0], [0.0, 0.0], [50.0, 0.0]]]), None).partial(three)
    np.testing.assert_allclose(sums.gradient[0, 2, 0], -2 * np.exp(-50.0), rtol=1e-10)


def test_a_model_leaves_out_its_fold() -> None:
    bench = Bench(3)
    bench.sample.arrays["fold"] = np.arange(400) % 4
    point = np.random.default_rng(0).normal(size=(1, 3, WIDTH))
    sums = Losses(np.repeat(point, 3, axis=0), np.array([0, NO_FOLD, 2]), curved=(0, 1)).partial(bench.sample)
    for i, fold in ((0, 0), (1, NO_FOLD), (2, 2)):
        kept = np.flatnonzero(bench.sample.arrays["fold"] != fold)
        rows = SampleRows(bench.sample.matrix[kept], {"y": bench.sample.arrays["y"][kept]})
        alone = Losses(point, None, curved=(0,)).partial(rows)
        np.testing.assert_allclose(sums.loss[i], alone.loss[0], rtol=1e-12)
        np.testing.assert_allclose(sums.gradient[i], alone.gradient[0], atol=1e-12)
        if i < 2:
            np.testing.assert_allclose(sums.curvature[i], alone.curvature[0], atol=1e-12)


@pytest.mark.parametrize("collinear", [False, True])
@pytest.mark.parametrize("strength", [1e-3, 0.3, 3.0, 100.0])
def test_lasso_minimum(strength: float, collinear: bool) -> None:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(30, 12))
    if collinear:
        root[:, 3] = root[:, 4]
    # A slope that rows can give: it is the same for columns that are.
    matrix, point, slope = root.T @ root / 30, rng.normal(size=12), root.T @ rng.normal(size=30) / 10
    l1 = strength * np.where(np.arange(12) == 11, 0.0, rng.uniform(0.5, 1.5, 12))
    u = lasso_minimum(matrix, point, slope, l1)
    gradient = slope + matrix @ (u - point)
    np.testing.assert_allclose(gradient[u != 0], -(l1 * np.sign(u))[u != 0], atol=1e-8)
    assert (np.abs(gradient[u == 0]) <= l1[u == 0] + 1e-8).all()
    assert strength < 100 or not u[:-1].any()


def test_a_bond_is_kept() -> None:
    rng = np.random.default_rng(2)
    root = rng.normal(size=(20, 5))
    matrix, point, slope = root.T @ root, rng.normal(size=5), rng.normal(size=5)
    normal = rng.normal(size=(5, 1))
    normal /= np.linalg.norm(normal)
    none = np.zeros(5)
    for give in (0.0, 1e-6, 0.3, 1e9):
        bond = Bond(normal, give)
        u = MatrixModel(matrix.copy()).minimum(point, slope, Penalty(none, none, bond=bond))

        def objective(v: Any, bond: Bond = bond) -> float:
            d = v - point
            return float(slope @ d + 0.5 * d @ matrix @ d + bond.value(v))

        if give == 0.0:
            assert abs(float(normal[:, 0] @ u)) < 1e-12
            constraint = {"type": "eq", "fun": lambda v: normal[:, 0] @ v}
            best = optimize.minimize(objective, point, constraints=[constraint], method="SLSQP", tol=1e-14)
        else:
            best = optimize.minimize(objective, u, tol=1e-12)
        assert objective(u) <= best.fun + 1e-9 * (1 + abs(best.fun))


def test_null_directions() -> None:
    x = np.random.default_rng(0).normal(size=(50, 4)) * [1.0, 1e3, 1e-3, 1.0]
    x[:, 3] = x[:, 0] + 1e-3 * x[:, 1]
    null = null_directions(x.T @ x)
    assert null.shape == (4, 1)
    np.testing.assert_allclose(x @ null, 0.0, atol=1e-10 * np.abs(null).max() * 1e3)
    assert null_directions(np.eye(3)).shape == (3, 0)
