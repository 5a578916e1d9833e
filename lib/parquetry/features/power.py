"""PowerTransformer: the most likely lambda of every column, in two passes."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from scipy import optimize, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import PowerTransformer, StandardScaler
from sklearn.preprocessing._data import _is_constant_feature

from parquetry.classical.inputs import float_type
from parquetry.classical.refusals import require_dense
from parquetry.errors import DegenerateColumn, NegativeValues
from parquetry.features.power_sums import BinnedPowers, Grid, Likelihood, Spread, Spreads
from parquetry.features.scale import _set_standard
from parquetry.features.surrogate import checked, set_inputs
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.moments import Moments, MomentsState
from parquetry.foundation.positions import Position, shown_names
from parquetry.registry import fitter
from parquetry.view import FloatArray, View

_WHO = "PowerTransformer"
_COLUMNS = 128  # whose sums a state holds: 6 MiB
_ROUNDS = 8
_TOLERANCE = 1.48e-8  # SciPy's own
_BRACKET = (-2.0, 2.0)


@fitter(
    PowerTransformer,
    passes="2 (1 more for each 128 columns; 1 more where values are far apart)",
    exact="lambdas to 1e-6, as near as their likelihood tells them apart",
    matrices=True,
)
def fit_power_transformer(transformer: Any, view: View, _fitting: Fitting) -> Asking:
    """The lambda of each column that makes it most normal, by maximum likelihood, NaN left out.

    The second pass counts powers of logarithms in bins, from which the likelihood at any lambda, and
    the mean and variance of the transformed column, follow to rounding; SciPy's own search runs on
    them. A constant column's lambda is 1 (Yeo-Johnson), with NaN in it too, where scikit-learn's
    search ends somewhere.

    Raises
    ------
    NegativeValues
        Box-Cox and a value that is not positive.
    DegenerateColumn
        A column without any value; with Box-Cox also a constant one.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.PowerTransformer.html
    """
    require_dense(transformer, view)
    checked(transformer, transformer._validate_params)
    box_cox, names = transformer.method == "box-cox", shown_names(view)
    moments, spread = yield [Pass(Moments(_WHO, names), view), Pass(Spreads(box_cox=box_cox), view)]
    constant = _require_sound(moments, spread, names, box_cox=box_cox)
    lambdas = np.ones(len(names), dtype=float_type(view))
    mean, variance = moments.mean + moments.rest, moments.variance
    varying = np.flatnonzero(~constant).tolist()
    for start in range(0, len(varying), _COLUMNS):
        chosen = varying[start : start + _COLUMNS]
        found = yield from _most_likely(view, chosen, spread, box_cox=box_cox)
        for j, (lam, likelihood) in zip(chosen, found, strict=True):
            lambdas[j] = lam
            mean[j], variance[j] = likelihood.transformed(float(lambdas[j]), 0 if box_cox else 2)
    transformer.lambdas_ = lambdas
    set_inputs(transformer, view)
    if transformer.standardize:
        transformer._scaler = _scaler(moments, mean, variance)
    return transformer


def _require_sound(moments: MomentsState, spread: Spread, names: tuple[str, ...], *, box_cox: bool) -> Any:
    """Refuse what has no lambda; gives which columns are constant."""
    if spread.refused is not None:
        raise _not_positive(spread.refused, names)
    empty = np.flatnonzero(moments.count == 0)
    constant = (moments.minimum == moments.maximum) | _is_constant_feature(
        moments.variance, moments.mean_or_nan, moments.count
    )
    useless = empty if len(empty) else np.flatnonzero(constant) if box_cox else empty
    if len(useless):
        state = "has no value" if len(empty) else "is constant"
        raise DegenerateColumn(
            f"{_WHO}: column {names[useless[0]]!r} {state}.",
            why="Column must not be all nan." if len(empty) else "Data must not be constant for Box-Cox.",
            fix="Leave it out.",
        )
    return constant


def _not_positive(at: Position, names: tuple[str, ...]) -> NegativeValues:
    return NegativeValues(
        f"{_WHO}: column {names[at.column]!r} holds {at.what}, first in {at.path}, row group {at.row_group}, "
        f"row {at.row}.",
        why="The Box-Cox transformation can only be applied to strictly positive data.",
        fix="Use method='yeo-johnson', or shift the column.",
    )


# --- lambdas --------------------------------------------------------------------------------
def _most_likely(view: View, columns: list[int], spread: Spread, *, box_cox: bool) -> Any:
    """Lambda and likelihood of some columns, by one pass, and more for those whose bins were too wide."""
    grids = {j: _grids(j, spread) for j in columns}
    found: dict[int, tuple[float, Likelihood]] = {}
    shift = 0 if box_cox else 2
    for _ in range(_ROUNDS):
        asked = [grid for j in grids for grid in grids[j]]
        (sums,) = yield [Pass(BinnedPowers(asked, box_cox=box_cox), view)]
        given = iter(sums)
        finer: dict[int, list[Grid]] = {}
        for j, own in grids.items():
            mean_log = float(spread.total[j].sum() / spread.count[j].sum())
            likelihood = Likelihood(own, [next(given) for _ in own], mean_log)
            found[j] = _maximum(likelihood, spread, j, box_cox=box_cox), likelihood
            wanted = likelihood.widen(found[j][0], shift)
            if wanted is not None and wanted != own:
                finer[j] = wanted
        grids = finer
        if not grids:
            break
    else:
        warnings.warn(
            f"{_WHO}: the lambdas of {len(grids)} columns are rough: their values are too far apart.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return [found[j] for j in columns]


def _grids(j: int, spread: Spread) -> list[Grid]:
    sides = [side for side in (0, 1) if spread.count[j, side]]
    ends = [(float(spread.least[j, side]), float(spread.most[j, side])) for side in sides]
    return [Grid(j, side, low, high, low, high) for side, (low, high) in zip(sides, ends, strict=True)]


def _maximum(likelihood: Likelihood, spread: Spread, j: int, *, box_cox: bool) -> float:
    """SciPy's own search for the column's lambda, over our likelihood."""
    if box_cox:
        lam = float(optimize.brent(likelihood.loss, args=(0,), brack=_BRACKET))
        ends = np.exp(np.array([spread.least[j, 1], spread.most[j, 1]]))
        # SciPy holds lambda to where the largest value does not overflow.
        found = stats.boxcox_normmax(ends, method="mle", optimizer=lambda _: optimize.OptimizeResult(x=lam))
        return float(found)
    low, high = _bounds(spread, j)
    return float(optimize.fminbound(likelihood.loss, low, high, args=(2,), xtol=_TOLERANCE))


def _bounds(spread: Spread, j: int) -> tuple[float, float]:
    """Between which SciPy searches Yeo-Johnson's lambda: half of a float's exponents, for 20 times the data."""
    facts = np.finfo(np.float64)
    largest = math.expm1(max(-spread.least[j, 0] if spread.count[j, 0] else 0.0, spread.most[j, 1], 0.0))
    reach = math.log1p(20 * largest)
    low = (math.log(facts.tiny) - math.log(facts.eps)) / 2 / reach
    high = (math.log(facts.max) + math.log(facts.eps)) / 2 / reach
    if not spread.count[j, 1]:
        return 2 - high, 2 - low
    if spread.count[j, 0]:
        return max(2 - high, low), min(2 - low, high)
    return low, high


def _scaler(moments: MomentsState, mean: FloatArray, variance: FloatArray) -> Any:
    """The scaler behind the transformation, which ``transform`` uses."""
    scaler = StandardScaler(copy=False).set_output(transform="default")
    scaler.fit(np.zeros((2, len(mean))))
    weight = moments.count.astype(np.float64)
    zeros = np.zeros(len(mean))
    state = MomentsState(moments.rows, moments.count, weight, mean, zeros, variance * weight, zeros, zeros)
    _set_standard(scaler, state, weighted=False)
    return scaler
