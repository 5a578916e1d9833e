"""Sample weights as a whole: their sum, and a refusal of those that make no sense."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from parquetry.errors import BadParameter
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
        if state.least < 0 or state.total <= 0:
            raise BadParameter(
                f"{self.who}: sample weights must be non-negative and not all zero; the least is "
                f"{state.least!r}, their sum {state.total!r}.",
                fix="Mend the weight column, or leave sample_weight out.",
            )
        return state
