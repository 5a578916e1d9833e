"""Sample weights that no metric can use are refused, with the place of the first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from parquetry.errors import BadParameter
from parquetry.foundation.positions import Position, earliest, first_non_finite, position_of, refusal
from parquetry.reduction import Reduction
from parquetry.view import Batch


@dataclass
class Weighed:
    """What is known of the weights."""

    total: float
    not_finite: Position | None
    negative: Position | None


class RowWeights(Reduction[Weighed, None]):
    """Learns nothing; refuses weights that are not finite, negative, or all zero.

    Parameters
    ----------
    name : str
        The column of weights, for errors.
    """

    label = "weights"

    def __init__(self, name: str) -> None:
        self.name = name

    def partial(self, batch: Batch) -> Weighed:
        weights = batch.weights
        if weights is None:
            raise TypeError("The view has no weights.")
        total = float(weights.sum())
        negative = position_of(batch, weights < 0, 0, "a negative value")
        return Weighed(total, None if np.isfinite(total) else first_non_finite(batch, [weights], nan=True), negative)

    def merge(self, left: Weighed, right: Weighed) -> Weighed:
        return Weighed(
            left.total + right.total,
            earliest([left.not_finite, right.not_finite]),
            earliest([left.negative, right.negative]),
        )

    def finish(self, state: Weighed) -> None:
        if state.not_finite is not None:
            raise refusal(state.not_finite, [self.name], "evaluate")
        at = state.negative
        if at is not None:
            raise BadParameter(
                f"evaluate: the weight column {self.name!r} holds a negative value, first in {at.path}, "
                f"row group {at.row_group}, row {at.row}.",
                why="A row cannot count for less than nothing.",
                fix="Mend the column, or leave sample_weight out.",
            )
        if not state.total > 0:
            raise BadParameter(
                f"evaluate: the weights in {self.name!r} are all zero.", fix="Mend the column, or leave it out."
            )
