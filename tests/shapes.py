"""Features of every kind that linear models must get right: easy, collinear, constant, far from zero, uneven."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Shape = Callable[[np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Shapes:
    """Makers of matrices of one size; each is told by its name.

    Parameters
    ----------
    rows, columns : int
    offset : float, default 1e9
        How far ``far`` is from zero, with a deviation of 1.
    gap : float, default 1e-4
        How far apart the collinear columns of ``nearly_collinear`` are.
    """

    rows: int
    columns: int
    offset: float = 1e9
    gap: float = 1e-4

    def well(self, rng: np.random.Generator) -> np.ndarray:
        return rng.normal(size=(self.rows, self.columns))

    def far(self, rng: np.random.Generator) -> np.ndarray:
        return self.offset + self.well(rng)

    def nearly_collinear(self, rng: np.random.Generator) -> np.ndarray:
        x = self.well(rng)
        x[:, -1] = x[:, 0] + self.gap * rng.normal(size=self.rows)
        return x

    def collinear(self, rng: np.random.Generator) -> np.ndarray:
        x = self.well(rng)
        x[:, -1] = x[:, 0] - 2 * x[:, 1]
        return x

    def constant_column(self, rng: np.random.Generator) -> np.ndarray:
        x = self.well(rng)
        x[:, 3] = 7.25
        return x

    def uneven_scales(self, rng: np.random.Generator) -> np.ndarray:
        return self.well(rng) * 10.0 ** np.arange(-2, self.columns - 2)
