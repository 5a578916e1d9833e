"""The metrics of a regressor, streaming and exact.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html#regression-metrics
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from parquetry.errors import BadParameter, WrongColumnType
from parquetry.fitting import Pass, drive
from parquetry.foundation.moments import two_sum
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.foundation.tallies import CAP, Tallies, quantiles
from parquetry.metrics.weights import RowWeights
from parquetry.reduction import Reduction
from parquetry.through import apply
from parquetry.view import Batch, FloatArray, View, is_numeric

ERROR_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
FEWEST = 1024
"""Cells that each output's errors have, however many outputs there are."""
_EPSILON = float(np.finfo(np.float64).eps)  # scikit-learn's floor in MAPE


@dataclass(frozen=True, eq=False)
class Applied:
    """A view's step: X becomes the model's predictions, one column an output."""

    model: Any

    def __call__(self, x: Any) -> Any:
        values = np.asarray(apply(self.model, "predict", x), dtype=np.float64)
        return values.reshape(-1, 1) if values.ndim == 1 else values


def evaluate_regressor(model: Any, view: View, engine: Any) -> dict[str, Any]:
    """The regression metrics of a model over a view; outputs are averaged with equal weight."""
    found: dict[str, Any] = drive(regressor_metrics(model, view), engine, verb="evaluate")
    return found


def regressor_metrics(
    model: Any, view: View, *, ranked: bool = True
) -> Generator[list[Any], list[Any], dict[str, Any]]:
    """The metrics of a model over a view.

    Parameters
    ----------
    model : fitted regressor
    view : View
    ranked : bool, default True
        Whether the errors' quantiles are wanted, and the median among them; NaN else.
    """
    for name in view.target:
        kind = view.dataset.full_schema.field(name).type
        if not is_numeric(kind):
            raise WrongColumnType(f"The target {name!r} is {kind}.", why="The model predicts numbers.")
    seen = replace(view, steps=(*view.steps, Applied(model)), step_names=None)
    if seen.width != len(view.target):
        raise BadParameter(
            f"The model predicts {seen.width} outputs; the target has "
            f"{len(view.target)} column{'s' if len(view.target) > 1 else ''}.",
            fix="Name the columns that it was fitted on, in their order, with target=.",
        )
    return (yield from _regression(seen, ranked=ranked))


# --- sums of errors -------------------------------------------------------------------------
@dataclass
class ErrorSums:
    """Weighted sums over rows; arrays of shape ``(n_outputs,)``, or with the moments' two rows."""

    rows: int
    weight: float
    absolute: FloatArray
    squared: FloatArray
    relative: FloatArray
    logarithmic: FloatArray
    largest: FloatArray
    mean: FloatArray
    """Of the target, and of the error."""
    rest: FloatArray
    """What the mean's rounding leaves out: far from zero that is much beside the differences of means."""
    spread: FloatArray
    """The centered sums of squares of both."""
    first_bad: Position | None = None


class RegressionErrors(Reduction[ErrorSums, ErrorSums]):
    """Sums of errors, and centered sums of squares merged pairwise.

    Parameters
    ----------
    target : sequence of str
        Names of the targets, for errors.
    """

    label = "regression-errors"

    def __init__(self, target: Sequence[str]) -> None:
        self.names = [*target, *(f"prediction of {name}" for name in target)]

    def partial(self, batch: Batch) -> ErrorSums:
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        truth, guess = np.stack(batch.y_floats), np.stack(batch.floats)
        error = truth - guess
        size = np.abs(error)
        weight = float(weights.sum())
        mean, rest, spread = zip(*(_moments(values, weights, weight) for values in (truth, error)), strict=True)
        state = ErrorSums(
            batch.num_rows,
            weight,
            size @ weights,
            (error * error) @ weights,
            (size / np.maximum(np.abs(truth), _EPSILON)) @ weights,
            _logarithmic(truth, guess) @ weights,
            size.max(axis=1),
            np.stack(mean),
            np.stack(rest),
            np.stack(spread),
        )
        if not np.isfinite(size.sum()):
            state.first_bad = first_non_finite(batch, [*truth, *guess], nan=True)
        return state

    def merge(self, left: ErrorSums, right: ErrorSums) -> ErrorSums:
        weight = left.weight + right.weight
        delta = (right.mean - left.mean) + (right.rest - left.rest)
        share = right.weight / weight if weight else 0.0
        mean, rest = two_sum(left.mean, left.rest + delta * share)
        return ErrorSums(
            left.rows + right.rows,
            weight,
            left.absolute + right.absolute,
            left.squared + right.squared,
            left.relative + right.relative,
            left.logarithmic + right.logarithmic,
            np.maximum(left.largest, right.largest),
            mean,
            rest,
            left.spread + right.spread + delta * delta * left.weight * share,
            earliest([left.first_bad, right.first_bad]),
        )

    def finish(self, state: ErrorSums) -> ErrorSums:
        if state.first_bad is not None:
            raise refusal(state.first_bad, self.names, "evaluate")
        return state


def _moments(values: FloatArray, weights: FloatArray, weight: float) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Weighted means, what their rounding leaves out, and centered sums of squares of rows of values."""
    # Around its first value a constant has a spread of zero, to the last bit.
    first = values[:, 0]
    shifted = values - first[:, None]
    shift = shifted @ weights / weight if weight else np.zeros(len(values))
    centered = shifted - shift[:, None]
    return *two_sum(first, shift), (centered * centered) @ weights


def _logarithmic(truth: FloatArray, guess: FloatArray) -> FloatArray:
    """Squared differences of logarithms; NaN where a value has none."""
    with np.errstate(all="ignore"):
        difference = np.log1p(truth) - np.log1p(guess)
    allowed = np.minimum(truth, guess).min(axis=1, keepdims=True) > -1
    return np.where(allowed, difference * difference, np.nan)


def errors_by_size(batch: Batch) -> list[FloatArray]:
    """The size of each output's errors, then the errors themselves: truth less prediction."""
    errors = [y - p for y, p in zip(batch.y_floats, batch.floats, strict=True)]
    return [*(np.abs(e) for e in errors), *errors]


# --- the metrics ----------------------------------------------------------------------------
def _regression(view: View, *, ranked: bool) -> Generator[list[Any], list[Any], dict[str, Any]]:
    outputs = len(view.target)
    cap = max(FEWEST, CAP // (2 * outputs))
    if ranked and view.dataset.num_rows > cap:
        view = view.cached()  # the quantiles may need another pass: the model need not predict again
    works = [Pass(RegressionErrors(view.target), view)]
    if view.sample_weight is not None:
        works.insert(0, Pass(RowWeights(view.sample_weight), view))
    if ranked:
        *_, sums, tallies = yield [*works, Pass(Tallies(errors_by_size, cap), view)]
        found = yield from quantiles(tallies, view, q=ERROR_QUANTILES, values=errors_by_size, cap=cap)
    else:
        *_, sums = yield works
        found = np.full((2 * outputs, len(ERROR_QUANTILES)), np.nan)
    medians = found[:outputs, ERROR_QUANTILES.index(0.5)]
    each = [_metrics(sums, i, float(medians[i]), found[outputs + i].tolist()) for i in range(outputs)]
    if outputs == 1:
        return {"rows": sums.rows, **each[0]}
    return {"rows": sums.rows, **_averages(each), "per_output": dict(zip(view.target, each, strict=True))}


def _metrics(sums: ErrorSums, i: int, median: float, spread: list[float]) -> dict[str, Any]:
    """The metrics of one output."""
    squared, logarithmic = float(sums.squared[i] / sums.weight), float(sums.logarithmic[i] / sums.weight)
    enough = sums.rows > 1
    return {
        "r2": _explained(float(sums.squared[i]), float(sums.spread[0, i])) if enough else None,
        "rmse": float(np.sqrt(squared)),
        "mae": float(sums.absolute[i] / sums.weight),
        "mape": float(sums.relative[i] / sums.weight),
        "median_absolute_error": median,
        "max_error": float(sums.largest[i]),
        "explained_variance": _explained(float(sums.spread[1, i]), float(sums.spread[0, i])),
        "rmsle": None if np.isnan(logarithmic) else float(np.sqrt(logarithmic)),
        "error_quantiles": {str(q): value for q, value in zip(ERROR_QUANTILES, spread, strict=True)},
    }


def _averages(each: list[dict[str, Any]]) -> dict[str, Any]:
    """The plain mean over the outputs; None where it is undefined for one of them."""
    names = [name for name in each[0] if name != "error_quantiles"]
    values = {name: [metrics[name] for metrics in each] for name in names}
    return {name: None if None in found else float(np.mean(found)) for name, found in values.items()}


def _explained(left_over: float, spread: float) -> float:
    if spread == 0.0:
        return 1.0 if left_over == 0.0 else 0.0
    return 1.0 - left_over / spread
