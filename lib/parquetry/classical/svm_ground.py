"""What the searches of a support vector machine share, and those of squared losses.

The first pass over the features keeps them in the block cache, finds their moments and takes a
sample of the rows. Its solution is where the search over all rows starts.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from parquetry.classical.logistic_ground import SAMPLE_ROWS, SAMPLE_VALUES, Ground, Searching, run_here
from parquetry.classical.logistic_model import MatrixModel, Model
from parquetry.classical.logistic_penalty import Form, Gauge, Penalty, Terms
from parquetry.classical.logistic_sample import (
    Sample,
    SampleCurvature,
    SampleModel,
    SampleRows,
    StoredEntries,
    diagonal_ratio,
    sample_rows,
)
from parquetry.classical.logistic_solver import Answer, Ask, Found, Problem, run_searches
from parquetry.classical.logistic_start import LogisticArrays, Scale, head_shift
from parquetry.classical.logistic_sums import Chunk
from parquetry.classical.logistic_task import fits_one_task, solved_in_one_task
from parquetry.classical.svm_losses import Margin, SquaredLosses, bends, cached_target, outer_sums
from parquetry.errors import BadParameter, TooBigForOneNode
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Finite, shown_names
from parquetry.reduction import FAN_IN
from parquetry.view import FloatArray, View

MATRIX = 1024
"""With so many coefficients the driver holds second derivatives."""

_NEWTON_VALUES = 2**16  # so many second derivatives cost little more than a gradient
_SAMPLE_TOL = 1e-3  # the sample's own error is larger
_SAMPLE_ITERATIONS = 50
_FEWEST_UPDATES, _MOST_UPDATES = 30, 200  # past steps, of two vectors each

PrepareFor = Callable[[FloatArray | None], LogisticArrays]


@dataclass(frozen=True, eq=False)
class MarginGround(Ground):
    """What all searches of a fit stand on; every model has one row of coefficients.

    Parameters
    ----------
    margin : Margin
    """

    margin: Margin

    def search_squared(self, terms: Terms, fitting: Fitting) -> Searching:
        """The minimum of each model's squared loss; the models share their passes."""
        starts = [self.model_of_sample(terms, model) for model in range(self.margin.count)]
        if fits_one_task(self):
            starts = yield from solved_in_one_task(self, partial(_models_of_sample, terms=terms), fitting)
        found: list[Found] = []
        at_once = self.most_at_once()
        for first in range(0, self.margin.count, at_once):
            found += yield from self._search_some(terms, first, starts[first : first + at_once])
        return found

    def _search_some(self, terms: Terms, first: int, starts: list[FloatArray]) -> Searching:
        problems = [self._problem(terms, first + i, start, len(starts)) for i, start in enumerate(starts)]
        return run_searches(problems, lambda asked: self.evaluate([(first + i, ask) for i, ask in asked]))

    def _problem(self, terms: Terms, model: int, start: FloatArray, count: int) -> Problem:
        penalty = self.penalty(terms)
        updates = min(_MOST_UPDATES, max(_FEWEST_UPDATES, self.memory // (128 * self.size * count)))
        models = MarginModels(self, model, penalty, as_matrix=self._holds_matrices(count), updates=updates)
        patience = self.patience(count)
        newton = patience == 0 and count * self.size**2 <= _NEWTON_VALUES
        return Problem(
            (start,), penalty, patience, Gauge(1, penalty), models, self.tol, self.form.max_iter, newton=newton
        )

    def _losses(self, asked: list[tuple[int, Ask]]) -> SquaredLosses:
        points = [point for _, ask in asked for point in ask.points]
        models = np.array([model for model, ask in asked for _ in ask.points])
        curved = [i < ask.curved for _, ask in asked for i in range(len(ask.points))]
        coefs = self.scale.cached(np.stack(points))[:, None]
        diagonal = any(ask.diagonal for _, ask in asked)
        return SquaredLosses(self.margin, coefs, models, curved=np.flatnonzero(curved).tolist(), diagonal=diagonal)

    def model_of_sample(self, terms: Terms, model: int) -> FloatArray:
        """The model of the sample alone, drawn a little to 0 where the sample is not all of the data."""
        weight = self.sample.weight
        if not weight > 0 or self.form.max_iter < 1:
            return self.null.ravel()
        own = self.penalty(terms)
        pull = 0.0 if self.whole else self.scale.width / max(1, self.sample.num_rows)
        penalty = Penalty(own.l1, own.l2 + pull, None, own.bond)
        matrices = self._holds_matrices(1)

        def evaluate(asked: list[tuple[int, Ask]]) -> Generator[Any, Any, list[list[Answer]]]:
            yield from ()
            own_model = [(model, ask) for _, ask in asked]
            return self._answers(own_model, self._losses(own_model).partial(self.sample), weight)

        problem = Problem(
            (self.null.ravel(),),
            penalty,
            0 if matrices else np.inf,
            Gauge(1, penalty),
            MarginModels(self, model, penalty, as_matrix=False, own=True),
            self.tol if self.whole else _SAMPLE_TOL,
            _SAMPLE_ITERATIONS,
            newton=matrices,
            renew=True,
        )
        (found,) = run_here(run_searches([problem], evaluate))
        return np.asarray(found.point)

    def _holds_matrices(self, count: int) -> bool:
        return self.size <= MATRIX and 8 * 3 * count * self.size**2 <= self.memory // 4


class MarginModels:
    """Makes quadratic models of a sample; the first one says how it differs from all rows.

    Parameters
    ----------
    ground : MarginGround
    model : int
    penalty : Penalty
    as_matrix : bool
        Whether the second derivatives are held as a matrix.
    own : bool, default False
        Whether the search is on the sample alone.
    updates : int, default 30
        From how many steps a model learns that has no matrix.
    """

    def __init__(
        self,
        ground: MarginGround,
        model: int,
        penalty: Penalty,
        *,
        as_matrix: bool,
        own: bool = False,
        updates: int = _FEWEST_UPDATES,
    ) -> None:
        self.ground, self.model, self.penalty = ground, model, penalty
        self.as_matrix, self.own, self.updates = as_matrix, own, updates
        self._ratio: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, point: FloatArray, diagonal: FloatArray) -> Model:
        """The model at a point; ``diagonal`` is that of all rows at the first one."""
        sample = MarginCurvature(self.ground, self.model, point)
        own = sample.diagonal()
        if self.own:
            self._ratio = np.ones_like(own), np.zeros_like(own)
        elif self._ratio is None:
            # Without any row inside its margin the sample says nothing.
            nothing = np.zeros_like(own), diagonal
            self._ratio = diagonal_ratio(sample, diagonal) if sample.rows else nothing
        ratio, rest = self._ratio
        if not self.as_matrix:
            return LearningModel(sample, ratio, rest, self.penalty, self.updates)
        return MatrixModel(sample.matrix() * np.outer(ratio, ratio) + np.diag(rest + self.penalty.l2))


class LearningModel(SampleModel):
    """A model that learns from more steps than a sample's usually needs.

    Which rows are inside their margins changes from step to step: a wide model that forgets what it
    has learned begins anew.

    Parameters
    ----------
    sample, ratio, rest, penalty
        As :class:`~parquetry.classical.logistic_sample.SampleModel` takes them.
    updates : int
        From how many steps it learns.
    """

    def __init__(
        self, sample: SampleCurvature, ratio: FloatArray, rest: FloatArray, penalty: Penalty, updates: int
    ) -> None:
        super().__init__(sample, ratio, rest, penalty, Gauge(1, penalty))
        self._updates = updates

    def update(self, step: FloatArray, change: FloatArray) -> bool:
        super().update(step, change)
        return len(self._pairs) < self._updates


class MarginCurvature(SampleCurvature):
    """Products with the second derivatives of the mean squared loss of a sample.

    Parameters
    ----------
    ground : MarginGround
    model : int
    point : ndarray of shape (width,)
    """

    def __init__(self, ground: MarginGround, model: int, point: FloatArray) -> None:
        self._scale = ground.scale
        every = sample_chunk(ground.sample)
        models = np.array([model])
        excess = ground.margin.excess(models, every, every.scores(self._scale.cached(point[None])))
        bent = bends(excess, ground.margin.weights(models, every))[0]
        active = np.flatnonzero(bent)
        self._weights = bent[active] / ground.sample.weight
        self._rows = Chunk(every.x[active] if every.sparse else every.x[:, active], every.codes[active], None, None)

    def product(self, direction: FloatArray) -> FloatArray:
        """The second derivatives times a direction."""
        scores = self._rows.scores(self._scale.cached(direction[None]))
        return self._scale.gradient(self._rows.products(scores * self._weights)).ravel()

    def matrix(self) -> FloatArray:
        """The second derivatives."""
        x = np.ascontiguousarray(self._rows.x.toarray().T) if self._rows.sparse else self._rows.x
        return self._scale.curvature(outer_sums(x, self._weights), 1)

    def _bends(self) -> FloatArray:
        return np.asarray(self._weights[None])


def prepared_margins(
    form: Form, view: View, margin: Margin, prepare: PrepareFor, fitting: Fitting, *, lasso: bool = False
) -> Generator[list[Any], list[Any], MarginGround]:
    """Fill the cache, find the scale, take the sample: one pass.

    Parameters
    ----------
    form : Form
    view : View
        Its target encoded, for classes.
    margin : Margin
    prepare : callable
        Makes what the cached view keeps, given the shift of the columns.
    fitting : Fitting
    lasso : bool, default False
        Whether there is an L1 penalty: its corners are where the original columns have them.
    """
    _require_room(form.who, view.width + 1, fitting.memory)
    shift = None if lasso else head_shift(view)
    cached = view.cached(prepare(shift))
    weighted = view.sample_weight is not None
    moments = Moments(form.who, shown_names(view), nan=False, weighted=weighted, extremes=False)
    values = min(SAMPLE_VALUES, fitting.memory // 128)
    most = sample_rows(view, values, 4 * margin.count, SAMPLE_ROWS)
    sampling = Sample(view.dataset, rows=most, values=values)
    works = [Pass(moments, cached), Pass(sampling, cached), Pass(StoredEntries(), cached)]
    if margin.positive is None:
        works.append(Pass(Finite(form.who, view.target, values=cached_target), cached))
    found, sample, entries, *_ = yield works
    weight = float(found.weight[0])
    if not weight > 0:
        raise BadParameter(f"{form.who}: no row has any weight.", fix="Mend the weight column, or leave it out.")
    scale = Scale.of(found, shift, intercept=form.intercept or not lasso, centered=not lasso)
    null = np.zeros((1, scale.width))
    memory, total = fitting.memory, view.dataset.num_rows
    return MarginGround(form, cached, scale, 1, weight, 0.0, not lasso, sample, null, memory, total, entries, margin)


def _models_of_sample(ground: MarginGround, terms: Terms) -> list[FloatArray]:
    return [ground.model_of_sample(terms, model) for model in range(ground.margin.count)]


def _require_room(who: str, size: int, memory: int) -> None:
    needed = 8 * size * (3 * FAN_IN + 70)
    if needed > memory // 2:
        raise TooBigForOneNode(
            f"{who}: {size:,} coefficients need {needed / 2**30:.2f} GiB on the driver and in a merge; "
            f"{memory / 2 / 2**30:.2f} GiB are allowed.",
            why="A model's coefficients, gradients and past steps are held at once.",
            fix="Use fewer features, or allow more with memory=.",
        )


def sample_chunk(sample: SampleRows) -> Chunk:
    """All rows of a sample as one chunk."""
    sparse = hasattr(sample.matrix, "tocsr")
    return Chunk(sample.matrix if sparse else sample.matrix.T, sample.arrays["y"], sample.weights, None)
