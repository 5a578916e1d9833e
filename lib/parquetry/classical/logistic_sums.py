"""Loss, gradient and curvature of logistic models, summed over the rows, for many models in one pass.

Two classes have one row of coefficients and the binomial loss; more have a row a class and the
multinomial loss. A model may leave out one fold of the rows: so cross-validation shares its passes.

Source: https://scikit-learn.org/stable/modules/linear_model.html#logistic-regression
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.reduction import Reduction
from parquetry.view import FloatArray

NO_FOLD = -1
"""The fold of a model that is fitted on all rows."""

_CHUNK_VALUES = 2**18  # 2 MiB of float64, all that is made of a chunk included: what a core's own cache holds
_MOST_ROWS = 8192
_MOST_SPARSE_ROWS = 65_536
_FEWEST_ROWS = 128
_OVERFLOW = 700.0  # exp() of more is near the largest float64


@dataclass(frozen=True)
class Chunk:
    """Some rows that are worked on at once.

    Parameters
    ----------
    x : ndarray of shape (n_features, n_rows), or CSR matrix of shape (n_rows, n_features)
    codes : ndarray of shape (n_rows,)
        Each row's class.
    weights : ndarray of shape (n_rows,) or None
    folds : ndarray of shape (n_rows,) or None
    """

    x: Any
    codes: Any
    weights: FloatArray | None
    folds: Any

    def scores(self, coefs: FloatArray) -> FloatArray:
        """``x`` times coefficients of shape ``(n, n_features + 1)``, the last one the offset: ``(n, n_rows)``."""
        along = np.ascontiguousarray((self.x @ coefs[:, :-1].T).T) if self.sparse else coefs[:, :-1] @ self.x
        along += coefs[:, -1:]
        return np.asarray(along)

    def products(self, values: FloatArray) -> FloatArray:
        """Sums over the rows of ``values`` (``(n, n_rows)``) times ``[x, 1]``: ``(n, n_features + 1)``."""
        along = (self.x.T @ values.T).T if self.sparse else values @ self.x.T
        return np.column_stack([along, values.sum(axis=1)])

    def squares(self, values: FloatArray) -> FloatArray:
        """Sums over the rows of ``values`` times ``[x², x, 1]``: ``(n, 2 n_features + 1)``."""
        square = squared(self.x)
        along = (square.T @ values.T).T if self.sparse else values @ square.T
        return np.column_stack([along, self.products(values)])

    def take(self, rows: Any) -> Chunk:
        """Some of its rows."""
        return Chunk(
            self.x[rows] if self.sparse else self.x[:, rows],
            self.codes[rows],
            None if self.weights is None else self.weights[rows],
            None if self.folds is None else self.folds[rows],
        )

    @property
    def sparse(self) -> bool:
        """Whether ``x`` is a CSR matrix."""
        return not isinstance(self.x, np.ndarray)


def squared(x: Any) -> Any:
    """Every number squared; of a CSR matrix the places are shared."""
    if isinstance(x, np.ndarray):
        return x * x
    # A place that is stored twice counts as the sum.
    return _like(x, x.data * x.data) if x.has_canonical_format else x.multiply(x).tocsr()


def _like(x: Any, data: FloatArray) -> Any:
    square = x.__class__((data, x.indices, x.indptr), shape=x.shape)
    square.has_canonical_format = True
    return square


def _some_rows(x: Any, rows: slice) -> Any:
    """Consecutive rows of a CSR matrix, without a copy of what is stored."""
    start, stop = int(x.indptr[rows.start]), int(x.indptr[rows.stop])
    places = x.indptr[rows.start : rows.stop + 1] - x.indptr[rows.start]
    return x.__class__((x.data[start:stop], x.indices[start:stop], places), shape=(len(places) - 1, x.shape[1]))


def chunks(batch: Any, row_values: int, *, weights: Any) -> Iterator[Chunk]:
    """The rows of a cached batch, so many at once that a core's cache holds them.

    Parameters
    ----------
    batch : CachedBatch
        With ``y`` as class codes and, for cross-validation, ``fold``.
    row_values : int
        How many floats are made of a row.
    weights : ndarray of shape (n_rows,) or None
    """
    matrix, codes, folds = batch.matrix, batch.arrays["y"], batch.arrays.get("fold")
    sparse = hasattr(matrix, "tocsr")
    step = int(min(_MOST_ROWS, max(_FEWEST_ROWS, _CHUNK_VALUES // max(1, row_values))))
    if sparse:
        # Every chunk's products fill as many numbers as there are columns, however few the rows store.
        step = max(step, min(_MOST_SPARSE_ROWS, matrix.shape[1] // 2))
    for start in range(0, batch.num_rows, step):
        rows = slice(start, min(start + step, batch.num_rows))
        yield Chunk(
            _some_rows(matrix, rows) if sparse else matrix[rows].T,
            codes[rows],
            None if weights is None else weights[rows],
            None if folds is None else folds[rows],
        )


@dataclass
class LossSums:
    """What :class:`Losses` finds; the first axis is the model.

    Attributes
    ----------
    loss : ndarray of shape (n_models,)
    gradient : ndarray of shape (n_models, n_rows_of_coefs, n_features + 1)
        By coefficient, the last one the offset.
    diagonal : ndarray of shape (n_models, n_rows_of_coefs, 2 * n_features + 1) or None
        The curvature times ``[x², x, 1]``.
    curvature : ndarray of shape (n_curved, size, size) or None
        Second derivatives, ``size`` being that of a model's gradient.
    """

    loss: FloatArray
    gradient: FloatArray
    diagonal: FloatArray | None = None
    curvature: FloatArray | None = None


class Losses(Reduction[LossSums, LossSums]):
    """Weighted sums of loss, gradient and, where asked for, second derivatives.

    Parameters
    ----------
    coefs : ndarray of shape (n_models, n_rows_of_coefs, n_features + 1)
        In the columns as they are cached; the last coefficient is the offset.
    held_out : ndarray of int of shape (n_models,), or None
        The fold that each model leaves out; ``NO_FOLD`` for none.
    curved : sequence of int, default ()
        The models whose second derivatives are wanted.
    diagonal : bool, default False
        Whether the diagonal of the second derivatives is wanted of every model.
    """

    label = "loss"

    def __init__(self, coefs: FloatArray, held_out: Any = None, *, curved: Any = (), diagonal: bool = False) -> None:
        self.coefs, self.held_out = np.ascontiguousarray(coefs), held_out
        self.curved, self.diagonal = tuple(curved), diagonal

    def partial(self, batch: Any) -> LossSums:
        models, rows_of_coefs, width = self.coefs.shape
        sums = self._nothing()
        expanded = rows_of_coefs * width if self.curved else width * (1 + self.diagonal)
        for chunk in chunks(batch, width + expanded + 4 * models * rows_of_coefs, weights=batch.weights):
            if self.curved and chunk.sparse:
                # Curvature is asked for with few columns only.
                dense = np.ascontiguousarray(chunk.x.toarray().T)
                chunk = Chunk(dense, chunk.codes, chunk.weights, chunk.folds)  # noqa: PLW2901
            self._add(chunk, sums)
        return sums

    def merge(self, left: LossSums, right: LossSums) -> LossSums:
        left.loss += right.loss
        left.gradient += right.gradient
        if left.diagonal is not None and right.diagonal is not None:
            left.diagonal += right.diagonal
        if left.curvature is not None and right.curvature is not None:
            left.curvature += right.curvature
        return left

    def _nothing(self) -> LossSums:
        models, rows, width = self.coefs.shape
        return LossSums(
            np.zeros(models),
            np.zeros(self.coefs.shape),
            np.zeros((models, rows, 2 * width - 1)) if self.diagonal else None,
            np.zeros((len(self.curved), rows * width, rows * width)) if self.curved else None,
        )

    def _add(self, chunk: Chunk, sums: LossSums) -> None:
        models, rows, width = self.coefs.shape
        scores = chunk.scores(self.coefs.reshape(-1, width)).reshape(models, rows, -1)
        weights = self._weights(chunk)
        loss, slopes, shares = binomial(scores[:, 0], chunk.codes) if rows == 1 else multinomial(scores, chunk.codes)
        if weights is not None:
            loss *= weights
            slopes *= weights[:, None]
        sums.loss += loss.sum(axis=1)
        sums.gradient += chunk.products(slopes.reshape(models * rows, -1)).reshape(models, rows, width)
        if sums.diagonal is not None:
            bends = shares * (1.0 - shares) if weights is None else shares * (1.0 - shares) * weights[:, None]
            sums.diagonal += chunk.squares(bends.reshape(models * rows, -1)).reshape(models, rows, -1)
        if sums.curvature is not None:
            for place, model in enumerate(self.curved):
                own = None if weights is None else weights[model if len(weights) > 1 else 0]
                sums.curvature[place] += curvature(chunk.x, shares[model], own)

    def _weights(self, chunk: Chunk) -> FloatArray | None:
        """Shape ``(n_models, n_rows)`` or ``(1, n_rows)``: 0 for the rows that a model leaves out."""
        if self.held_out is None or chunk.folds is None:
            return None if chunk.weights is None else chunk.weights[None, :]
        kept = np.asarray(chunk.folds[None, :] != self.held_out[:, None], dtype=np.float64)
        return kept if chunk.weights is None else kept * chunk.weights


def binomial(scores: FloatArray, codes: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Loss, its slope by the score, and the share of the wrong class, for two classes.

    All from ``e = exp(margin of the wrong class)``, so that a row that is well told apart keeps the
    digits of its small loss and slope.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_rows)
        Overwritten.
    codes : ndarray of shape (n_rows,)

    Returns
    -------
    loss : ndarray of shape (n_models, n_rows)
    slopes, shares : ndarray of shape (n_models, 1, n_rows)
    """
    signs = codes.astype(np.float64)
    signs *= -2.0
    signs += 1.0
    wrong = np.multiply(scores, signs, out=scores)
    beyond = bool(wrong.max(initial=0.0) > _OVERFLOW)
    plain = wrong.copy() if beyond else None
    if beyond:
        np.minimum(wrong, _OVERFLOW, out=wrong)
    power = np.exp(wrong, out=wrong)
    loss = np.log1p(power)
    shares = np.divide(power, 1.0 + power, out=power)
    if plain is not None:
        np.maximum(loss, plain, out=loss)
    return loss, (shares * signs)[:, None, :], shares[:, None, :]


def multinomial(scores: FloatArray, codes: Any) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Loss, its slopes by the scores, and each class's share.

    Parameters
    ----------
    scores : ndarray of shape (n_models, n_classes, n_rows)
        Overwritten.
    codes : ndarray of shape (n_rows,)

    Returns
    -------
    loss : ndarray of shape (n_models, n_rows)
    slopes, shares : ndarray of shape (n_models, n_classes, n_rows)
    """
    truth = codes.astype(np.intp)[None, None, :]
    scores -= scores.max(axis=1, keepdims=True)
    own = np.take_along_axis(scores, np.broadcast_to(truth, (len(scores), 1, truth.shape[-1])), axis=1)
    shares = np.exp(scores, out=scores)
    total = shares.sum(axis=1, keepdims=True)
    shares /= total
    loss = (np.log(total) - own)[:, 0]
    slopes = shares.copy()
    here = np.broadcast_to(truth, own.shape)
    np.put_along_axis(slopes, here, 0.0, axis=1)
    # The share of all other classes, not 1 minus the own one: a small rest keeps its digits.
    np.put_along_axis(slopes, here, -slopes.sum(axis=1, keepdims=True), axis=1)
    return loss, slopes, shares


def curvature(x: FloatArray, shares: FloatArray, weights: FloatArray | None) -> FloatArray:
    """Second derivatives of one model's loss, summed over the rows.

    Parameters
    ----------
    x : ndarray of shape (n_features, n_rows)
    shares : ndarray of shape (1 or n_classes, n_rows)
    weights : ndarray of shape (n_rows,) or None

    Returns
    -------
    ndarray of shape (size, size)
        Coefficients in the order of ``(n_rows_of_coefs, n_features + 1)``.
    """
    width, classes = len(x) + 1, len(shares)
    if classes == 1:
        bend = shares[0] * (1.0 - shares[0])
        return _outer_sums(x, [np.sqrt(bend if weights is None else bend * weights)])
    roots = shares if weights is None else shares * np.sqrt(weights)
    minus = _outer_sums(x, list(roots)).reshape(classes, width, classes, width)
    for k in range(classes):
        # Rows of shares add up to 1, so a class's own block is minus all others: nothing cancels.
        minus[k, :, k, :] = 0.0
        minus[k, :, k, :] = -minus[k].sum(axis=1)
    return -minus.reshape(classes * width, classes * width)


def _outer_sums(x: FloatArray, factors: list[FloatArray]) -> FloatArray:
    """``Z Z'`` for ``Z`` the rows of ``[x, 1]`` times each factor: BLAS's symmetric product."""
    width, rows = len(x) + 1, x.shape[1]
    z = np.empty((len(factors), width, rows))
    for part, factor in zip(z, factors, strict=True):
        np.multiply(x, factor, out=part[:-1])
        part[-1] = factor
    flat = z.reshape(-1, rows)
    return np.asarray(flat @ flat.T)
