"""Sample weights as a whole, and what sums of weighted products may be: refusals of what makes no sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.errors import BadParameter, NonFiniteValues
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.reduction import Reduction


@dataclass
class WeightSums:
    """Of all rows' weights.

    Attributes
    ----------
    total, least : float
    first_bad : Position or None
        The first that is not finite.
    """

    total: float
    least: float
    first_bad: Position | None


class RowWeights(Reduction[WeightSums, WeightSums]):
    """The sum of the sample weights, which must be finite, non-negative and not all zero.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    name : str
        The weight column, for errors.
    """

    label = "weights"

    def __init__(self, who: str, name: str) -> None:
        self.who, self.name = who, name

    def partial(self, batch: Any) -> WeightSums:
        bad = first_non_finite(batch, [batch.weights], nan=True)
        return WeightSums(float(batch.weights.sum()), float(batch.weights.min()), bad)

    def merge(self, left: WeightSums, right: WeightSums) -> WeightSums:
        bad = earliest([left.first_bad, right.first_bad])
        return WeightSums(left.total + right.total, min(left.least, right.least), bad)

    def finish(self, state: WeightSums) -> WeightSums:
        if state.first_bad is not None:
            raise refusal(state.first_bad, [self.name], self.who)
        require_weights(self.who, state.least, state.total)
        return state


def require_weights(who: str, least: float, total: float) -> None:
    """Refuse weights of which one is negative, or that add up to nothing.

    Parameters
    ----------
    who : str
        The estimator, for errors.
    least, total : float
        The smallest weight, and the sum of all.

    Raises
    ------
    BadParameter
    """
    if least < 0 or not total > 0:
        raise BadParameter(
            f"{who}: sample weights must be non-negative and not all zero; the least is {least!r}, their sum "
            f"{total!r}.",
            fix="Mend the weight column, or leave sample_weight out.",
        )


def require_products(who: str, products: Any) -> None:
    """Refuse products of columns that are beyond float64, where every value by itself is finite.

    Raises
    ------
    NonFiniteValues
    """
    if not np.isfinite(products).all():
        raise NonFiniteValues(
            f"{who}: the products of the columns overflow float64.",
            why="Some values are beyond 1e154.",
            fix="Scale the columns first.",
        )
