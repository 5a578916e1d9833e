"""Fits by partial_fit: one worker streams the rows in the order of the blocks, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from sklearn.decomposition import IncrementalPCA

from parquetry.classical.inputs import float_type
from parquetry.classical.refusals import first_not_finite, refuse, refuse_weights
from parquetry.classical.sequential import Batches, Walk, report_sequential
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View


@fitter(
    IncrementalPCA,
    passes="1",
    exact="its own partial_fit over the same batches",
    matrices=True,
    placement="sequential",
)
def fit_incremental_pca(pca: Any, view: View, fitting: Fitting) -> Asking:
    """The same batches of ``batch_size`` rows that scikit-learn's own ``fit`` would cut, one after another.

    It is sequential by nature, so one worker does it all, whatever the engine, and holds one batch
    at a time. PCA gives the exact components, in parallel.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.decomposition.IncrementalPCA.html
    """
    checked(pca, pca._validate_params)
    refuse_weights(pca, view)
    require_numbers(pca, view)
    if pca.n_components is not None and pca.n_components > min(view.width, view.dataset.num_rows):
        raise BadParameter(
            f"IncrementalPCA: n_components={pca.n_components} is above the {view.width:,} columns or the "
            f"{view.dataset.num_rows:,} rows.",
            fix="Ask for fewer components.",
        )
    pca.batch_size_ = 5 * view.width if pca.batch_size is None else pca.batch_size
    report_sequential(fitting, 1)
    (fitted,) = yield [Walk(_PartialFits(pca, shown_names(view), float_type(view)), view, "IncrementalPCA")]
    set_inputs(fitted, view)
    return fitted


@dataclass(frozen=True)
class _PartialFits:
    pca: Any
    names: tuple[str, ...]
    dtype: Any

    def __call__(self, batches: Batches) -> Any:
        pca = self.pca
        # A last batch that is too small to hold the components goes with the one before it.
        for rows in _cut(self._matrices(batches()), pca.batch_size_, pca.n_components or 0):
            checked(pca, partial(pca.partial_fit, rows, check_input=False))
        return pca

    def _matrices(self, batches: Iterator[Batch]) -> Iterator[Any]:
        for batch in batches:
            bad = first_not_finite(batch)
            if bad is not None:
                refuse(bad, self.names, "IncrementalPCA")
            matrix = batch.matrix
            dense = matrix.tocsr() if hasattr(matrix, "tocsr") else np.asarray(matrix)
            for start in range(0, batch.num_rows, _PIECE):
                piece = dense[start : start + _PIECE]
                yield np.array(piece.toarray() if hasattr(piece, "toarray") else piece, dtype=self.dtype, order="C")


_PIECE = 1_024


def _cut(pieces: Iterator[FloatArray], size: int, least: int) -> Iterator[FloatArray]:
    """Rows in batches of ``size``, the last one larger where less than ``least`` rows would remain."""
    waiting: list[FloatArray] = []
    count = 0
    for piece in pieces:
        waiting.append(piece)
        count += len(piece)
        if count < size + least:
            continue
        rows = np.concatenate(waiting)
        start = 0
        while count - start >= size + least:
            yield rows[start : start + size].copy()
            start += size
        waiting, count = [rows[start:]], count - start
    if count:
        yield np.concatenate(waiting)
