"""The sample of the rows that a logistic search starts from, and the second derivatives that it gives."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np

from parquetry.block_cache import Arrays
from parquetry.classical.logistic_model import MatrixModel, Model
from parquetry.classical.logistic_penalty import Bond, Gauge, Penalty
from parquetry.classical.logistic_start import Scale
from parquetry.classical.logistic_sums import Chunk, Losses, binomial, multinomial, squared
from parquetry.dataset import Dataset
from parquetry.reduction import Reduction
from parquetry.rows import GOLDEN
from parquetry.view import FloatArray, View

MOST_UPDATES = 30
"""Past steps that a model of a sample remembers."""
TASK_BYTES = 256 * 2**20
"""So many bytes of sparse rows at most are held by one task."""
_SHOWN = 10.0  # rows of a sample in which a column must show itself for its products to count
_INNER = 1e-3  # relative residual at which an iterative solution of the model is good enough
_MOST_INNER = 1000


class SampleRows:
    """Sampled rows; they answer what :class:`~parquetry.classical.logistic_sums.Losses` asks of a batch.

    Parameters
    ----------
    matrix : ndarray or CSR matrix of shape (n_rows, n_features)
    arrays : dict of str to ndarray
    """

    def __init__(self, matrix: Any, arrays: Arrays) -> None:
        self.matrix, self.arrays = matrix, arrays

    @property
    def num_rows(self) -> int:
        """How many."""
        return int(self.matrix.shape[0])

    @property
    def weights(self) -> Any:
        """Sample weights, or None."""
        return self.arrays.get("w")

    @property
    def weight(self) -> float:
        """The weights added up."""
        return float(self.num_rows if self.weights is None else self.weights.sum())


class Sample(Reduction[list[Arrays], SampleRows]):
    """Some rows from all over the data: which ones follows from their places alone.

    Parameters
    ----------
    dataset : Dataset
    rows : int
        About so many in all.
    values : int
        At most about so many stored values of X in all.
    """

    label = "sample"

    def __init__(self, dataset: Dataset, *, rows: int, values: int) -> None:
        self.total, self.rows, self.values = dataset.num_rows, rows, values
        lengths = [block.num_rows for block in dataset.blocks]
        starts = [0, *accumulate(lengths)][:-1]
        self.starts = {block.index: start for block, start in zip(dataset.blocks, starts, strict=True)}

    def partial(self, batch: Any) -> list[Arrays]:
        chosen, matrix = self._chosen(batch), batch.matrix
        if hasattr(matrix, "tocsr"):
            # However full the rows are, a batch gives no more than its share of the values.
            share = self.values * batch.num_rows / self.total
            filled = np.cumsum(np.diff(matrix.indptr)[chosen])
            chosen = chosen[: int(np.searchsorted(filled, share, side="right"))]
            x = matrix[chosen]
        else:
            x = matrix.T.take(chosen, axis=1)
        return [{"X": x, **{k: v[chosen] for k, v in batch.arrays.items() if not k.startswith("X")}}]

    def merge(self, left: list[Arrays], right: list[Arrays]) -> list[Arrays]:
        return left + right

    def finish(self, state: list[Arrays]) -> SampleRows:
        from scipy import sparse

        parts = [arrays["X"] for arrays in state]
        x = sparse.vstack(parts).tocsr() if hasattr(parts[0], "tocsr") else np.concatenate(parts, axis=1).T
        rest = {k: np.concatenate([arrays[k] for arrays in state]) for k in state[0] if k != "X"}
        return SampleRows(x, rest)

    def _chosen(self, batch: Any) -> Any:
        if self.total <= self.rows:
            return np.arange(batch.num_rows)
        places = (self.starts[batch.block.index] + batch.rows).astype(np.uint64)
        # Multiples of 2^64 / golden ratio are spread evenly, whatever the rows' period.
        bound = np.uint64(int(self.rows / self.total * 2**64))
        return np.flatnonzero(places * GOLDEN < bound)


class StoredEntries(Reduction[int, int]):
    """How many numbers a sparse X stores in all; 0 for a dense one."""

    label = "stored-entries"

    def partial(self, batch: Any) -> int:
        matrix = batch.matrix
        return int(matrix.nnz) if hasattr(matrix, "tocsr") else 0

    def merge(self, left: int, right: int) -> int:
        return left + right


def sample_rows(view: View, values: int, more: int, most: int) -> int:
    """How many rows ``values`` numbers hold: a row's own, as few as a sparse X stores, and so many more.

    No more than ``most`` where X is dense, or where one task takes all rows: else each further row spares
    a wide search some passes.
    """
    own = min(view.width, view.row_bytes / 8.0)
    room = max(1, int(values / (own + more)))
    few = own == view.width or view.row_bytes * view.dataset.num_rows <= TASK_BYTES
    return min(most, room) if few else room


class SampleModel(Model):
    """A model whose ``B`` is that of a sample of the rows, scaled as :func:`diagonal_ratio` says.

    Parameters
    ----------
    sample : SampleCurvature
    ratio, rest : ndarray of shape (size,)
    penalty : Penalty
    gauge : Gauge
    """

    def __init__(
        self, sample: SampleCurvature, ratio: FloatArray, rest: FloatArray, penalty: Penalty, gauge: Gauge
    ) -> None:
        self._sample, self._ratio, self._rest, self._l2, self._gauge = sample, ratio, rest, penalty.l2, gauge
        bends = ratio**2 * sample.diagonal() + rest
        self._held = gauge.bends(bends)
        self._bends = np.maximum(bends + penalty.l2, np.finfo(float).tiny)
        self._pairs: list[tuple[FloatArray, float, FloatArray, float]] = []

    def product(self, direction: FloatArray) -> FloatArray:
        # Factors that differ by class would mix in what no gradient can show.
        own = self._gauge.without(direction)
        out = self._gauge.without(self._ratio * self._sample.product(self._ratio * own) + self._rest * own)
        out = out + self._l2 * direction + self._gauge.product(self._held, direction)
        for along, bend, change, rise in self._pairs:
            out += change * (change @ direction / rise) - along * (along @ direction / bend)
        return np.asarray(out)

    def update(self, step: FloatArray, change: FloatArray) -> bool:
        along = self.product(step)
        bend, rise = float(step @ along), float(step @ change)
        if bend > 0 and rise > 1e-10 * bend:
            self._pairs.append((along, bend, change, rise))
        return len(self._pairs) < MOST_UPDATES

    def minimum(self, point: FloatArray, slope: FloatArray, penalty: Penalty) -> FloatArray:
        if penalty.l1.any():
            return self._shrunken(point, slope, penalty.l1)
        if penalty.bond is None:
            return point + self._conjugate(slope)
        return point + self._tied_step(point, slope, penalty.bond)

    def _tied_step(self, point: FloatArray, slope: FloatArray, bond: Bond) -> FloatArray:
        """The step within the bond; what the bond holds in balance is left out before anything is solved."""
        normals, off = bond.normals, bond.normals.T @ point
        force = -(normals.T @ slope) if bond.give == 0.0 else off / bond.give
        free = self._conjugate(slope + normals @ force)
        along = np.column_stack([self._conjugate(-normal) for normal in normals.T])
        room = bond.give * np.eye(normals.shape[1]) + normals.T @ along
        astray = normals.T @ free + (off if bond.give == 0.0 else 0.0)
        return free - along @ np.linalg.solve(room, astray)

    def _conjugate(self, gradient: FloatArray) -> FloatArray:
        """Conjugate gradients, preconditioned by the diagonal."""
        d = np.zeros_like(gradient)
        residual = -gradient
        z = residual / self._bends
        direction, size = z.copy(), float(residual @ z)
        enough = _INNER**2 * size
        for _ in range(_MOST_INNER):
            if size <= enough or size == 0.0:
                break
            along = self.product(direction)
            bend = float(direction @ along)
            if bend <= 0:
                break
            d += (size / bend) * direction
            residual -= (size / bend) * along
            z = residual / self._bends
            before, size = size, float(residual @ z)
            direction = z + (size / before) * direction
        return d

    def _shrunken(self, point: FloatArray, gradient: FloatArray, l1: FloatArray) -> FloatArray:
        """FISTA with restarts (Beck & Teboulle, 2009; O'Donoghue & Candès, 2015) in the diagonal's metric."""
        metric = self._bends * self._largest_ratio()
        u, ahead, momentum = point.copy(), point.copy(), 1.0
        first = None
        before: tuple[FloatArray, FloatArray] | None = None
        for _ in range(_MOST_INNER):
            slope = gradient + self.product(ahead - point)
            if before is not None:
                # The bound was found by few iterations: where it is too low, steps would grow without end.
                along, rise = ahead - before[0], slope - before[1]
                bend = float(rise @ along)
                if not bend >= 0.0:
                    break  # rounding in what was learned from steps: there is no minimum ahead
                while float((metric * along) @ along) < bend:
                    metric, momentum = 2.0 * metric, 1.0
            before = ahead, slope
            free = ahead - slope / metric
            new = np.sign(free) * np.maximum(np.abs(free) - l1 / metric, 0.0)
            step = new - u
            if float((metric * (ahead - new)) @ step) > 0:
                momentum = 1.0
            following = (1.0 + np.sqrt(1.0 + 4.0 * momentum**2)) / 2.0
            ahead = new + ((momentum - 1.0) / following) * step
            u, momentum = new, following
            moved = float(np.sqrt((metric * step) @ step))
            first = moved if first is None else max(first, moved)
            if moved <= 1e-2 * _INNER * first:
                break
        return u

    def _largest_ratio(self) -> float:
        """A bound of ``d'Bd / d'Dd``, ``D`` the diagonal: power iterations from a fixed start."""
        root = np.sqrt(self._bends)
        direction = np.cos(np.arange(1, len(root) + 1))
        value = 1.0
        for _ in range(30):
            direction /= np.linalg.norm(direction)
            direction = self.product(direction / root) / root
            value = float(np.linalg.norm(direction))
        return 1.1 * max(value, 1e-3)


def diagonal_ratio(sample: SampleCurvature, wanted: FloatArray) -> tuple[FloatArray, FloatArray]:
    """What turns a sample's second derivatives into about those of all rows: factors, and a rest on the diagonal.

    The diagonal becomes that of all rows. Products of two columns are shrunk, the more the fewer rows
    of the sample a column shows itself in, or the fewer rows there are for all columns: what meets there
    by chance is not collinear.
    """
    own = sample.diagonal()
    scarce = (len(own) / sample.rows) ** 3
    noise = np.clip((_SHOWN / sample.effective_rows()) ** 2, min(1.0, scarce), 1.0)
    noise = np.where(own > 1e-3 * wanted, noise, 1.0)
    kept = (1.0 - noise) * wanted
    ratio = np.sqrt(np.divide(kept, own, out=np.zeros_like(kept), where=own > 0))
    return ratio, noise * wanted


class SampleCurvature:
    """Products with the second derivatives of the mean loss of a sample.

    Parameters
    ----------
    sample : SampleRows
    scale : Scale
    point : ndarray of shape (n_rows_of_coefs, width)
    """

    def __init__(self, sample: SampleRows, scale: Scale, point: FloatArray) -> None:
        self._shape, self._scale = point.shape, scale
        matrix = sample.matrix
        sparse = hasattr(matrix, "tocsr")
        self._rows = Chunk(matrix if sparse else matrix.T, sample.arrays["y"], sample.weights, None)
        scores = self._rows.scores(scale.cached(point))[None]
        codes = self._rows.codes
        _, _, shares = binomial(scores[:, 0], codes) if len(point) == 1 else multinomial(scores, codes)
        self._shares = shares[0]
        weights = np.ones(sample.num_rows) if sample.weights is None else sample.weights
        self._weights = weights / weights.sum()

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._weights)

    def product(self, direction: FloatArray) -> FloatArray:
        """The second derivatives times a direction of ``n_rows_of_coefs * width`` numbers."""
        scores = self._rows.scores(self._scale.cached(direction.reshape(self._shape)))
        bent = self._shares * scores
        if len(scores) == 1:
            bent -= self._shares * bent
        else:
            bent -= self._shares * bent.sum(axis=0)
        return self._scale.gradient(self._rows.products(bent * self._weights)).ravel()

    def diagonal(self) -> FloatArray:
        """Of the second derivatives."""
        return self._scale.diagonal(self._rows.squares(self._bends())).ravel()

    def effective_rows(self) -> FloatArray:
        """How many equal rows would tell as much of each column: few where few rows make up its diagonal."""
        rows, bends = self._rows, self._bends()
        square = Chunk(squared(rows.x), rows.codes, None, None)
        once, twice = square.products(bends), square.squares(bends**2)
        twice = np.delete(twice, np.s_[once.shape[1] - 1 : -1], axis=1)
        found = np.divide(once**2, twice, out=np.ones_like(once), where=twice > 0)
        return np.maximum(found[:, : self._scale.width], 1.0).ravel()

    def _bends(self) -> FloatArray:
        return np.asarray(self._shares * (1.0 - self._shares) * self._weights)


class SampledModels:
    """Makes models of a sample; the first one says how it differs from all rows.

    Parameters
    ----------
    sample : SampleRows
    scale : Scale
    rows : int
        Rows of coefficients.
    penalty : Penalty
    gauge : Gauge
    as_matrix : bool
        Whether the second derivatives are held as a matrix.
    alone : bool, default False
        Whether the sample is all that is looked at: then it differs in nothing.
    """

    def __init__(
        self,
        sample: SampleRows,
        scale: Scale,
        rows: int,
        penalty: Penalty,
        gauge: Gauge,
        *,
        as_matrix: bool,
        alone: bool = False,
    ) -> None:
        self.sample, self.scale, self.rows = sample, scale, rows
        self.penalty, self.gauge, self.as_matrix, self.alone = penalty, gauge, as_matrix, alone
        self._ratio: tuple[FloatArray, FloatArray] | None = None

    def __call__(self, point: FloatArray, diagonal: FloatArray) -> Model:
        """The model at a point; ``diagonal`` is that of all rows at the first one."""
        shaped = point.reshape(self.rows, self.scale.width)
        sample = SampleCurvature(self.sample, self.scale, shaped)
        if self.alone:
            self._ratio = np.ones(len(point)), np.zeros(len(point))
        elif self._ratio is None:
            self._ratio = diagonal_ratio(sample, diagonal)
        ratio, rest = self._ratio
        if not self.as_matrix:
            return SampleModel(sample, ratio, rest, self.penalty, self.gauge)
        matrix = self._matrix(shaped) * np.outer(ratio, ratio) + np.diag(rest)
        matrix = self.gauge.without(self.gauge.without(matrix).T)
        held = self.gauge.matrix(ratio**2 * sample.diagonal() + rest)
        return MatrixModel(matrix + np.diag(self.penalty.l2) + held)

    def _matrix(self, point: FloatArray) -> FloatArray:
        """Second derivatives of the sample's mean loss."""
        sums = Losses(self.scale.cached(point)[None], curved=(0,)).partial(self.sample)
        assert sums.curvature is not None  # noqa: S101
        return self.scale.curvature(sums.curvature[0], self.rows) / self.sample.weight
