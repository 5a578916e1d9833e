"""First centers: rows drawn by a hash of their place, and k-means||.

A row's luck is a hash of (file, row group, row, salt), so the draw is the same on every engine.
Rows are drawn without replacement, in proportion to their weight (times their squared distance from
what was drawn before): the rows of the largest ``weight / -log(luck)``. P. S. Efraimidis and P. G.
Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97 (2006).

k-means||: B. Bahmani, B. Moseley, A. Vattani, R. Kumar and S. Vassilvitskii, "Scalable K-Means++",
PVLDB 5 (2012). A round here draws a fixed number of rows; and before the candidates are clustered on
the driver, each is moved to the mean of the rows nearest to it, which makes their weighted inertia
that of the rows, up to a constant.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from parquetry.classical.lloyd import ClusterSums, Geometry, Run
from parquetry.classical.points import Chunk, chunks, least_distances
from parquetry.classical.top_rows import TopRows, merged, offered
from parquetry.fitting import Pass
from parquetry.reduction import Reduction
from parquetry.rows import hashes_at
from parquetry.view import FloatArray

OVERSAMPLING = 2
ROUNDS = 4  # of drawing, the first of which knows no distances
_MANY = 200_000  # candidates times clusters: above, they are clustered from one start instead of ten


@dataclass(frozen=True, eq=False)
class Draw:
    """What to draw.

    Parameters
    ----------
    salt : str
        Another salt is another draw.
    count : int
        How many rows.
    known : ndarray of shape (n_known, n_features), or None
        Rows drawn before: a row's chance grows with its squared distance from them.
    node : int or None, default None
        The leaf to draw from; None for all rows.
    """

    salt: str
    count: int
    known: FloatArray | None = None
    node: int | None = None


class DrawRows(Reduction[list[TopRows], list[TopRows]]):
    """Draws rows at random without replacement; gives them less the mean, one TopRows a draw."""

    label = "draw"

    def __init__(self, geometry: Geometry, draws: Sequence[Draw]) -> None:
        self.mean, self.router, self.draws = geometry.mean, geometry.router, tuple(draws)

    def partial(self, batch: Any) -> list[TopRows]:
        state = [TopRows.none(len(self.mean)) for _ in self.draws]
        for chunk in chunks(batch, self.mean, self.router):
            for i, draw in enumerate(self.draws):
                for piece in chunk.of(draw.node).pieces(1 if draw.known is None else len(draw.known)):
                    state[i] = offered(state[i], piece, _keys(piece, draw), draw.count)
        return state

    def merge(self, left: list[TopRows], right: list[TopRows]) -> list[TopRows]:
        return [merged(a, b, draw.count) for a, b, draw in zip(left, right, self.draws, strict=True)]


def _keys(piece: Chunk, draw: Draw) -> FloatArray:
    keys = luck(piece, draw.salt)
    np.log(keys, out=keys)
    np.divide(-1.0 if piece.weights is None else -piece.weights, keys, out=keys)
    if draw.known is not None:
        keys *= least_distances(piece.points, draw.known)
        keys[keys == 0] = -1.0  # a row that is already there is not drawn again
    return keys


def luck(piece: Chunk, salt: str) -> FloatArray:
    """A uniform number between 0 and 1, both excluded, for each row; shape ``(n_rows,)``."""
    hashes: npt.NDArray[np.uint64] = hashes_at(piece.block.name, piece.block.row_group, piece.rows, salt)
    return np.asarray(((hashes >> np.uint64(11)) + 0.5) * 2.0**-53)


def seeds(random_state: Any, count: int) -> list[int]:
    """Seeds of several starts, from what scikit-learn takes as ``random_state``."""
    return [int(s) for s in check_random_state(random_state).randint(2**31 - 1, size=count)]


@dataclass
class Start:
    """One start of k-means||.

    Parameters
    ----------
    seed : int
    n_clusters : int
        The most clusters that its candidates must do for.
    node : int or None, default None
        The leaf to start in; None for all rows.
    salt : str, default ""
        Tells starts of the same seed apart.
    candidates : ndarray of shape (n_candidates, n_features)
        What has been drawn.
    """

    seed: int
    n_clusters: int
    node: int | None = None
    salt: str = ""
    candidates: FloatArray | None = None

    def draw(self, number: int) -> Draw:
        """What to draw in a round."""
        salt = f"k-means||-{self.seed}-{self.salt}-{number}"
        return Draw(salt, OVERSAMPLING * self.n_clusters, self.candidates, self.node)

    def take(self, drawn: TopRows) -> None:
        """Add what a round has drawn."""
        rows = drawn.dense
        self.candidates = rows if self.candidates is None else np.vstack([self.candidates, rows])


def candidates(geometry: Geometry, starts: Sequence[Start]) -> Generator[list[Any], list[Any], list[FloatArray]]:
    """The remaining rounds of starts that have their first rows; then each candidate's cell.

    Returns
    -------
    list of ndarray of shape (n_candidates, n_features + 1)
        For each start the sums of the rows nearest to each candidate and, last, their weight.
    """
    for number in range(1, ROUNDS):
        (found,) = yield [Pass(DrawRows(geometry, [s.draw(number) for s in starts]), geometry.view)]
        for start, drawn in zip(starts, found, strict=True):
            start.take(drawn)
    runs = [Run(_some(start), start.node) for start in starts]
    (cells,) = yield [Pass(ClusterSums(geometry, runs), geometry.view)]
    return list(cells)


def clustered(cells: FloatArray, n_clusters: int, seed: int) -> FloatArray:
    """First centers: the candidates' cells clustered by weighted k-means++ and Lloyd's iterations."""
    weights = cells[:, -1]
    heavy = weights > 0
    points = cells[heavy, :-1] / weights[heavy, None]
    if len(points) <= n_clusters:
        # Fewer distinct rows than clusters: what is more stays empty.
        return np.resize(points, (n_clusters, points.shape[1]))
    n_init = 10 if len(points) * n_clusters <= _MANY else 1
    model = KMeans(n_clusters, n_init=n_init, random_state=seed, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(points, sample_weight=weights[heavy])
    return np.asarray(model.cluster_centers_)


def _some(start: Start) -> FloatArray:
    if start.candidates is None:
        raise ValueError("The first round has not been drawn.")
    return start.candidates
