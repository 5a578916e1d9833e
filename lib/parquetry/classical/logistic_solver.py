"""The search for a logistic model's coefficients: few passes, each of them a Newton-like step.

A search is a generator: it asks for losses and gradients at points and is sent the answers, so that
many searches share each pass. Its steps go to the minimum of a quadratic model plus the L1 penalty
(proximal Newton: Lee, Sun & Saunders, 2014). Where a step does not lower the objective, the next
question is for several shorter ones at once.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.logistic_model import MatrixModel, Model
from parquetry.classical.logistic_penalty import Gauge, Penalty
from parquetry.fitting import together
from parquetry.view import FloatArray

_SHARES = (0.5, 0.25, 0.1, 0.03, 0.01, 1e-3)
"""Of a step that went too far: all are looked at in one pass."""
_SUFFICIENT = 1e-4  # Armijo's share of the decrease that the model expects
_NOISE = 1e-10  # relative decrease of the objective that rounding may hide
_ROUNDING = 1e-18  # relative decrease below which nothing is left to gain
_NOTHING_LEFT = 1e-12  # mean loss and penalty below which every row is as good as certain
_NEAR = 0.1  # relative step below which the speed of convergence tells what is left
_POOR = 0.3  # steps that shrink less than so call for new second derivatives


@dataclass(frozen=True)
class Ask:
    """A question: the mean loss and its gradient at points.

    Parameters
    ----------
    points : sequence of ndarray of shape (size,)
    curved : int, default 0
        Of how many points, from the first on, second derivatives are wanted.
    diagonal : bool, default False
        Whether their diagonal is.
    """

    points: Sequence[FloatArray]
    curved: int = 0
    diagonal: bool = False


@dataclass(frozen=True)
class Answer:
    """The mean loss of one point, its gradient, and what else was asked for."""

    loss: float
    gradient: FloatArray
    curvature: FloatArray | None = None
    diagonal: FloatArray | None = None


@dataclass(frozen=True)
class Problem:
    """What a search looks for, and how.

    Parameters
    ----------
    starts : sequence of ndarray of shape (size,)
        The best of them is the start.
    penalty : Penalty
    patience : float
        Questions after which second derivatives over all rows are asked for where steps shrink slowly, and
        so many again before the next time; inf for never. Until then a sample's do.
    gauge : Gauge
    model : callable
        Takes a point and the diagonal over all rows, gives a model made of a sample.
    tol : float
        The relative size of the error in a point's numbers at which the search ends.
    max_iter : int
        The most questions.
    separable_below : float, default 0.0
        A mean loss below it proves that the classes are separable and the objective has no minimum.
    bounded : bool, default True
        Whether every coefficient is penalized, so that there is a minimum.
    newton : bool, default False
        Whether they are asked for at every point.
    renew : bool, default False
        Whether a model of a sample costs nothing and is made anew after every step.
    """

    starts: Sequence[FloatArray]
    penalty: Penalty
    patience: float
    gauge: Gauge
    model: Callable[[FloatArray, FloatArray], Model]
    tol: float
    max_iter: int
    separable_below: float = 0.0
    bounded: bool = True
    newton: bool = False
    renew: bool = False


@dataclass
class Found:
    """What a search ended with.

    Attributes
    ----------
    point : ndarray of shape (size,)
    iterations : int
        Questions that were asked.
    steepness : float
        The largest component of the last gradient.
    trouble : str
        Why it ended early: "", "iterations", "separable", "stalled".
    curvature : ndarray of shape (size, size) or None
        The last second derivatives over all rows, penalty included.
    """

    point: FloatArray
    iterations: int
    steepness: float
    trouble: str = ""
    curvature: FloatArray | None = None


class _Search:
    """The state of one search."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.point: FloatArray = problem.starts[0]
        self.value, self.slope = np.inf, np.zeros(0)
        self.model: Any = None
        self.fresh = False  # the model's second derivatives are those of this very point
        self.curvature: FloatArray | None = None
        self.diagonal: FloatArray | None = None
        self.iterations = 0
        self.exact_from = problem.patience
        self.step: FloatArray | None = None  # the last one, where it was taken in full
        self.size = np.inf

    def ask(self, points: Sequence[FloatArray], curved: int) -> Generator[Ask, list[Answer], list[Answer]]:
        """Ask; second derivatives of the first points are wanted if it is time for them."""
        curved = curved if self.iterations >= self.exact_from else 0
        self.iterations += 1
        if curved:
            self.exact_from = self.iterations - 1 + self.problem.patience
        answers = yield Ask(points, curved, self.model is None and not curved)
        return answers

    def objective(self, point: FloatArray, answer: Answer) -> float:
        value = answer.loss + self.problem.penalty.value(point)
        return value if np.isfinite(value) else np.inf

    def move(self, point: FloatArray, answer: Answer) -> None:
        """Take a point as the new one, and learn from its answer."""
        penalty = self.problem.penalty
        slope = answer.gradient + penalty.slope(point)
        step = point - self.point
        if answer.diagonal is not None:
            self.diagonal = answer.diagonal
        if answer.curvature is not None:
            bends = np.diag(answer.curvature)
            self.curvature = answer.curvature + np.diag(penalty.l2)
            self.model = MatrixModel(self.curvature + self.problem.gauge.matrix(bends))
            self.fresh = True
        elif self.model is None or self.problem.renew or not self.model.update(step, slope - self.slope):
            self.renew(point)
        else:
            self.fresh = False
        self.point, self.slope, self.value = point, slope, self.objective(point, answer)

    def renew(self, point: FloatArray) -> None:
        assert self.diagonal is not None  # noqa: S101
        self.model = self.problem.model(point, self.diagonal)
        self.fresh = True

    def found(self, point: FloatArray, trouble: str = "") -> Found:
        steepness = self.problem.penalty.steepness(self.point, self.slope)
        return Found(point, self.iterations, steepness, trouble, self.curvature)


def search(problem: Problem) -> Generator[Ask, list[Answer], Found]:
    """Look for the minimum of the mean loss plus the penalty."""
    state = _Search(problem)
    if problem.max_iter < 1:
        state.slope = np.full_like(state.point, np.nan)
        return state.found(np.zeros_like(state.point), "iterations")
    answers = yield from state.ask(problem.starts, 1)
    best = int(np.argmin([state.objective(p, a) for p, a in zip(problem.starts, answers, strict=True)]))
    state.point = problem.starts[best]
    if answers[best].curvature is None and answers[0].curvature is not None:
        answers[best : best + 1] = yield from state.ask([state.point], 1)
    state.move(state.point, answers[best])
    while True:
        # Where the model is only nearly solved, or its factors differ by class, the gauge is only nearly kept.
        target = problem.gauge.without(state.model.minimum(state.point, state.slope, problem.penalty))
        step = target - state.point
        size = _largest(step) / max(1.0, _largest(state.point), _largest(target))
        ratio = size / state.size if state.step is not None else 1.0
        expected = min(problem.penalty.expected(state.point, target, state.slope), 0.0)
        away = not problem.bounded and _runs_away(state, step, ratio, expected)
        if away or state.value < max(problem.separable_below, _NOTHING_LEFT):
            return state.found(state.point, "separable")
        if _error_after(state, size, ratio) <= problem.tol:
            return state.found(target)
        if ratio > 0.5 and -expected <= _ROUNDING * max(state.value, np.finfo(float).tiny):
            return state.found(state.point)
        if state.iterations >= problem.max_iter:
            return state.found(state.point, "iterations")
        poor = size > _NEAR if state.step is None else ratio > _POOR
        state.step, state.size = step, size
        moved = yield from _advance(state, target, expected, poor=poor)
        if not moved:
            return state.found(state.point, "stalled" if -expected > _NOISE * state.value else "")


def _largest(point: FloatArray) -> float:
    return float(np.abs(point).max(initial=0.0))


def _error_after(state: _Search, size: float, ratio: float) -> float:
    """About the relative error of a point once its step is taken, from how fast steps have shrunk.

    A fixed model's steps shrink by one factor; Newton's own shrink quadratically.
    """
    if ratio > 0.5 or state.size > _NEAR:
        return size
    newton = state.fresh and state.problem.newton
    return min(size, size * (ratio**2 if newton else ratio / (1.0 - ratio)))


def _runs_away(state: _Search, step: FloatArray, ratio: float, expected: float) -> bool:
    """Whether steps go on and on in one direction while the objective hardly falls any more."""
    if state.step is None or ratio <= 0.5 or -expected > _NOISE * max(state.value, _NOISE):
        return False
    lengths = float(np.linalg.norm(step) * np.linalg.norm(state.step))
    return bool(lengths > 0 and step @ state.step > 0.9 * lengths)


def _advance(state: _Search, target: FloatArray, expected: float, *, poor: bool) -> Generator[Ask, list[Answer], bool]:
    """Take the step, or the best of several shorter ones; False where none of them lowers the objective."""
    newton = state.problem.newton
    (answer,) = yield from state.ask([target], int(newton or poor))
    value = state.objective(target, answer)
    hidden = -expected <= _NOISE * state.value
    if value <= state.value + _SUFFICIENT * expected or (hidden and value <= state.value * (1.0 + _NOISE)):
        state.move(target, answer)
        return True
    step, state.step = target - state.point, None
    points = [state.point + share * step for share in _SHARES]
    answers = yield from state.ask(points, len(points) if newton else 0)
    values = [state.objective(p, a) for p, a in zip(points, answers, strict=True)]
    best = int(np.argmin(values))
    if values[best] < state.value:
        state.move(points[best], answers[best])
        return True
    if state.fresh:
        return False
    if state.curvature is None and state.diagonal is not None:
        state.renew(state.point)
        return True
    state.exact_from = min(state.exact_from, state.iterations)
    (answer,) = yield from state.ask([state.point], 1)
    state.move(state.point, answer)
    return True


def run_searches(
    problems: Sequence[Problem], evaluate: Callable[[list[tuple[int, Ask]]], Generator[Any, Any, list[list[Answer]]]]
) -> Generator[Any, Any, list[Found]]:
    """Run searches in step: what they ask at one moment is evaluated together.

    Parameters
    ----------
    problems : sequence of Problem
    evaluate : callable
        Takes the questions, each with its problem's position; a generator that returns the answers.
    """
    shared = together([_numbered(i, search(problem)) for i, problem in enumerate(problems)])
    answers: Any = None
    while True:
        try:
            asked = shared.send(answers)
        except StopIteration as stop:
            found: list[Found] = stop.value
            return found
        answers = yield from evaluate(asked)


def _numbered(i: int, searching: Generator[Ask, list[Answer], Found]) -> Generator[list[Any], list[Any], Found]:
    """A search's questions, each with the search's position."""
    answers: Any = None
    while True:
        try:
            ask = searching.send(answers)
        except StopIteration as stop:
            found: Found = stop.value
            return found
        (answers,) = yield [(i, ask)]
