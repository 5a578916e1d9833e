"""What the searches of a logistic fit share: the cached rows, their scale, a sample, and the passes.

The first pass over the features keeps them in the block cache, finds their moments and takes a
sample of the rows. The model is fitted to the sample on the driver, and that is where the search
over all rows starts: two or three passes are left.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.classical.folds import Folds
from parquetry.classical.labels import Classes
from parquetry.classical.logistic_model import null_directions
from parquetry.classical.logistic_penalty import Bond, Form, Gauge, Penalty, Terms
from parquetry.classical.logistic_sample import (
    MOST_UPDATES,
    Sample,
    SampledModels,
    SampleRows,
    StoredEntries,
    sample_rows,
)
from parquetry.classical.logistic_solver import Answer, Ask, Found, Problem, run_searches
from parquetry.classical.logistic_start import LogisticArrays, Scale, head_shift
from parquetry.classical.logistic_sums import NO_FOLD, Losses, LossSums
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode
from parquetry.fitting import Fitting, Pass
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import shown_names
from parquetry.reduction import FAN_IN
from parquetry.view import FloatArray, View

SAMPLE_ROWS = 32_768
"""About so many rows are in the sample; data of no more rows are solved on it, and then looked at once."""

SAMPLE_VALUES = 2**22
"""So many stored values of X at most, 32 MiB."""

_NEWTON = 64  # with so few coefficients second derivatives cost little more than a gradient
_CURVED = 256  # with so few they are worth a pass from the start
_MOST_CURVED = 2048  # with so few they are, where a sample's do not help
_MATRIX = 1024  # with so few the driver holds the sample's
_SAMPLE_WORK = 1e10  # multiplications for those: about half a second
_SAMPLE_TOL = 1e-3  # the sample's own error is larger
_SAMPLE_ITERATIONS = 50


Searching = Generator[list[Any], list[Any], list[Found]]


@dataclass(frozen=True, eq=False)
class Ground:
    """What all searches of a fit stand on.

    Parameters
    ----------
    form : Form
    view : View
        Cached.
    scale : Scale
    rows : int
        Rows of coefficients: 1 for two classes, else one a class.
    weight : float
        All weights added up.
    least_loss : float
        The mean loss below which every row must be told apart.
    bonded : bool
        Whether an intercept that is not free, or none, is fitted as a bond in centered columns.
    sample : SampleRows
    null : ndarray of shape (rows, width)
        The model without features.
    memory : int
    num_rows : int
        Of the data.
    entries : int
        What a sparse X stores in all; 0 for a dense one.
    """

    form: Form
    view: View
    scale: Scale
    rows: int
    weight: float
    least_loss: float
    bonded: bool
    sample: SampleRows
    null: FloatArray
    memory: int
    num_rows: int
    entries: int

    @property
    def size(self) -> int:
        """Numbers in one model."""
        return self.rows * self.scale.width

    @property
    def whole(self) -> bool:
        """Whether the sample holds all rows."""
        return self.sample.num_rows == self.num_rows

    def penalty(self, terms: Terms) -> Penalty:
        """Of the original coefficients, as a penalty of points; the mean loss is what it is added to."""
        strength = 0.0 if np.isinf(terms.c) else 1.0 / (terms.c * self.weight)
        across = np.zeros((self.rows, self.scale.width))
        across[:, : len(self.scale.deviation)] = 1.0 / self.scale.deviation
        if self.form.intercept_scaling is not None and not self.bonded:
            across[:, -1] = 1.0 / self.form.intercept_scaling
        flat = across.ravel()
        l1, l2 = strength * terms.l1_ratio * flat, strength * (1.0 - terms.l1_ratio) * flat**2
        # A penalty of nothing ties nothing.
        tied = self.bonded and (strength > 0 or not self.form.intercept)
        return Penalty(l1, l2, bond=self._bond(strength) if tied else None)

    def _bond(self, strength: float) -> Bond:
        """Ties the intercept of centered columns to what it is in the original ones: 0, or penalized."""
        normal = np.append(-self.scale.center / self.scale.deviation, 1.0)
        length = float(np.linalg.norm(normal))
        normals: FloatArray = np.kron(np.eye(self.rows), (normal / length)[:, None]).astype(np.float64)
        scaling = self.form.intercept_scaling
        return Bond(normals, 0.0 if scaling is None else scaling**2 / (strength * length**2))

    def most_at_once(self) -> int:
        """How many searches the memory holds."""
        return max(1, self.memory // 2 // _search_bytes(self.size, self.rows, self.sample.num_rows))

    def patience(self, count: int) -> float:
        """After how many questions so many searches ask for second derivatives over all rows.

        Those cost about as much as ``size / 30`` gradients: so many are tried first.
        """
        if self.size > _MOST_CURVED or 8 * count * self.size**2 * FAN_IN > self.memory // 4:
            return np.inf
        return 0 if self.size <= _CURVED else self.size // 30

    def holds_matrices(self, count: int) -> bool:
        """Whether the driver is to hold so many matrices of second derivatives."""
        return self.size <= _MATRIX and 8 * 3 * count * self.size**2 <= self.memory // 4

    @property
    def tol(self) -> float:
        """The relative error of a point's numbers at which a search ends."""
        return max(1e-4 * self.form.tol, 1e-12)

    def problem(self, terms: Terms, starts: Sequence[FloatArray], count: int) -> Problem:
        """What one of ``count`` searches over all rows looks for."""
        penalty = self.penalty(terms)
        gauge = Gauge(self.rows, penalty)
        free = not (penalty.l1 + penalty.l2).reshape(self.rows, -1)[:, : len(self.scale.deviation)].any()
        return Problem(
            starts,
            penalty,
            self.patience(count),
            gauge,
            SampledModels(self.sample, self.scale, self.rows, penalty, gauge, as_matrix=self.holds_matrices(count)),
            self.tol,
            self.form.max_iter,
            self.least_loss if free else 0.0,
            bounded=not free,
            newton=count == 1 and self.size <= _NEWTON and self.patience(count) == 0,
        )

    def evaluate(self, asked: list[tuple[int, Ask]]) -> Generator[list[Any], list[Any], list[list[Answer]]]:
        """Answer questions by one pass; each comes with the fold that it leaves out."""
        (sums,) = yield [Pass(self._losses(asked), self.view)]
        return self._answers(asked, sums, self.weight)

    def solve(self, terms: Sequence[Terms], starts: Sequence[Sequence[FloatArray]]) -> Searching:
        """Search over all rows for several models at once, each from the best of its starts."""
        problems = [self.problem(t, s, len(terms)) for t, s in zip(terms, starts, strict=True)]
        return run_searches(problems, lambda asked: self.evaluate([(terms[i].fold, ask) for i, ask in asked]))

    def starts(self, terms: Sequence[Terms]) -> list[tuple[FloatArray, ...]]:
        """Where searches may start: the sample's solution, found from its neighbor's; or without features."""
        found: list[Any] = [None] * len(terms)
        before: dict[float, FloatArray] = {}
        for i in sorted(range(len(terms)), key=lambda i: terms[i].c):
            start = before.get(terms[i].l1_ratio, self.null.ravel())
            found[i] = before[terms[i].l1_ratio] = self.sample_solution(terms[i], start)
        return [(start,) if self.whole else (start, self.null.ravel()) for start in found]

    def original(self, found: Found, terms: Terms) -> tuple[FloatArray, FloatArray]:
        """A search's result as coefficients ``(rows, n_features)`` and intercepts ``(rows,)``."""
        both = self._both(found.point.reshape(self.rows, -1))
        if np.isinf(terms.c) and found.curvature is not None:
            # Without a penalty, directions that the data do not have are free: the shortest solution,
            # as gradient steps from zero would find it.
            along = self._both(null_directions(self._shared_curvature(found.curvature)).T).T
            both = both - (along @ np.linalg.lstsq(along, both.T, rcond=None)[0]).T
        if not self.form.intercept:
            return both, np.zeros(self.rows)
        coef, intercept = both[:, :-1], both[:, -1]
        return coef, intercept - intercept.mean() if self.rows > 1 else intercept

    def _both(self, points: FloatArray) -> FloatArray:
        """Points ``(n, width)`` as original coefficients, and the intercept in the last column if there is one."""
        coef, intercept = self.scale.original(points)
        return np.column_stack([coef, intercept]) if self.form.intercept else coef

    def _shared_curvature(self, curvature: FloatArray) -> FloatArray:
        """Of all classes together, ``(width, width)``: no direction that the bond forbids counts as free."""
        width = self.scale.width
        blocks = curvature.reshape(self.rows, width, self.rows, width)
        shared = np.asarray(np.einsum("kikj->ij", blocks))
        if self.bonded and not self.form.intercept:
            normal = self._bond(0.0).normals[:width, 0]
            shared = shared + np.outer(normal, normal) * np.diag(shared).max()
        return shared

    def _losses(self, asked: list[tuple[int, Ask]]) -> Losses:
        points = [point for _, ask in asked for point in ask.points]
        folds = [fold for fold, ask in asked for _ in ask.points]
        curved = [i < ask.curved for _, ask in asked for i in range(len(ask.points))]
        coefs = self.scale.cached(np.stack(points).reshape(len(points), self.rows, self.scale.width))
        held_out = np.array(folds) if any(fold != NO_FOLD for fold in folds) else None
        diagonal = any(ask.diagonal for _, ask in asked)
        return Losses(coefs, held_out, curved=np.flatnonzero(curved).tolist(), diagonal=diagonal)

    def _answers(self, asked: list[tuple[int, Ask]], sums: LossSums, weight: float) -> list[list[Answer]]:
        answers: list[list[Answer]] = []
        place = bent = 0
        for _, ask in asked:
            own = []
            for i in range(len(ask.points)):
                curvature = diagonal = None
                if i < ask.curved and sums.curvature is not None:
                    curvature = self.scale.curvature(sums.curvature[bent], self.rows) / weight
                    bent += 1
                if ask.diagonal and sums.diagonal is not None:
                    diagonal = self.scale.diagonal(sums.diagonal[place]).ravel() / weight
                gradient = self.scale.gradient(sums.gradient[place]).ravel() / weight
                own.append(Answer(float(sums.loss[place]) / weight, gradient, curvature, diagonal))
                place += 1
            answers.append(own)
        return answers

    def sample_solution(self, terms: Terms, start: FloatArray) -> FloatArray:
        """The model of the sample alone.

        Where it is not all of the data, it is drawn a little to the model without features: a sample
        may be separable, or miss a class, where the data are not.
        """
        whole, weight = self.whole, self.sample.weight
        if not weight > 0:
            return self.null.ravel()
        own = self.penalty(terms)
        pull = 0.0 if whole else self.scale.width / max(1, self.sample.num_rows)
        penalty = Penalty(own.l1, own.l2 + pull, self.null.ravel(), own.bond)
        gauge = Gauge(self.rows, penalty)
        matrices = self.holds_matrices(1)

        def evaluate(asked: list[tuple[int, Ask]]) -> Generator[Any, Any, list[list[Answer]]]:
            yield from ()
            everywhere = [(NO_FOLD, ask) for _, ask in asked]
            return self._answers(everywhere, self._losses(everywhere).partial(self.sample), weight)

        problem = Problem(
            (start,),
            penalty,
            0 if matrices else np.inf,
            gauge,
            SampledModels(self.sample, self.scale, self.rows, penalty, gauge, as_matrix=False, alone=True),
            self.tol if whole else _SAMPLE_TOL,
            _SAMPLE_ITERATIONS,
            self.least_loss if whole and np.isinf(terms.c) else 0.0,
            bounded=not (whole and np.isinf(terms.c)),
            newton=matrices,
            renew=True,
        )
        (found,) = run_here(run_searches([problem], evaluate))
        return np.asarray(found.point)


def prepared(
    form: Form,
    view: View,
    classes: Classes,
    class_weight: FloatArray,
    fitting: Fitting,
    *,
    lasso: bool,
    folds: Folds | None = None,
) -> Generator[list[Any], list[Any], Ground]:
    """Fill the cache, find the scale, take the sample: one pass.

    Parameters
    ----------
    form : Form
    view : View
        Its target encoded, class weights among the weights.
    classes : Classes
    class_weight : ndarray of shape (n_classes,)
    fitting : Fitting
    lasso : bool
        Whether there is an L1 penalty.
    folds : Folds or None
        Of a cross-validation.

    Raises
    ------
    TooBigForOneNode
        One model alone takes more than the memory allows.
    NonFiniteValues
        NaN or infinity in a feature: column and first position.
    BadParameter
        A weight is negative, or none is positive.
    """
    # An L1 penalty of the intercept, or of a column that stands for it, has corners where the original
    # columns have them.
    centered = form.free or not lasso
    rows = 1 if len(classes.values) == 2 else len(classes.values)
    shift = head_shift(view) if centered else None
    cached = view.cached(LogisticArrays(shift, len(classes.values), folds))
    weighted = view.sample_weight is not None or view.weight_step is not None
    moments = Moments(form.who, shown_names(view), nan=False, weighted=weighted, extremes=False)
    values, most = _sample_size(form.who, rows, view, fitting.memory)
    sampling = Sample(view.dataset, rows=most, values=values)
    found, sample, entries = yield [Pass(r, cached) for r in (moments, sampling, StoredEntries())]
    weight = float(found.weight[0])
    _refuse_bad_moments(form.who, view, weight, found.m2)
    scale = Scale.of(found, shift, intercept=form.intercept or centered, centered=centered)
    null = np.zeros((rows, scale.width))
    if form.free:
        null[:, -1] = _log_shares(classes, class_weight)
    # Every row's loss is below log 2 where it is told apart from all other classes: the sum proves it.
    least = np.log(2.0) * (found.least_weight if weighted else 1.0) / weight
    bonded, total = centered and not form.free, view.dataset.num_rows
    return Ground(form, cached, scale, rows, weight, least, bonded, sample, null, fitting.memory, total, entries)


def _sample_size(who: str, rows: int, view: View, memory: int) -> tuple[int, int]:
    """The most values and rows of a sample; raises TooBigForOneNode where one model alone takes too much."""
    size = rows * (view.width + 1)
    needed = _search_bytes(size, rows, 1)
    if needed > memory // 2:
        raise TooBigForOneNode(
            f"{who}: {size:,} coefficients need {needed / 2**30:.2f} GiB on the driver and in a merge; "
            f"{memory / 2 / 2**30:.2f} GiB are allowed.",
            why="The coefficients of all classes, their gradients and past steps are held at once.",
            fix="Use fewer features or classes, or allow more with memory=.",
        )
    values = min(SAMPLE_VALUES, memory // 128)
    work = int(_SAMPLE_WORK / size**2) if size <= _MATRIX else view.dataset.num_rows
    return values, min(work, sample_rows(view, values, 4 * rows, SAMPLE_ROWS))


def _refuse_bad_moments(who: str, view: View, weight: float, squares: FloatArray) -> None:
    if not weight > 0:
        raise BadParameter(f"{who}: no row has any weight.", fix="Mend the weight column, or class_weight.")
    overflowing = np.flatnonzero(~np.isfinite(squares))
    if len(overflowing):
        raise NonFiniteValues(
            f"{who}: the squares of column {shown_names(view)[overflowing[0]]!r} overflow float64.",
            why="Some values are beyond 1e154.",
            fix="Scale the column first.",
        )


def _search_bytes(size: int, rows: int, sample_rows: int) -> int:
    """What a search holds: gradients that meet in a merge, past steps, and the sample's shares."""
    return 8 * size * (3 * FAN_IN + 2 * MOST_UPDATES + 10) + 8 * rows * sample_rows


def _log_shares(classes: Classes, class_weight: FloatArray) -> FloatArray:
    mass = classes.weights * class_weight
    logs: FloatArray = np.log(np.maximum(mass, 1e-12 * mass.sum()))
    return logs[1:] - logs[:1] if len(logs) == 2 else logs - logs.mean()


def run_here(searching: Generator[Any, Any, list[Found]]) -> list[Found]:
    """The result of searches that need no pass."""
    try:
        next(searching)
    except StopIteration as stop:
        found: list[Found] = stop.value
        return found
    raise RuntimeError("A search on the sample asked for a pass.")
