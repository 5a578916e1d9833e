"""Normalizer, Binarizer and PolynomialFeatures: they work row by row and learn nothing but X's width."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
from sklearn.preprocessing import Binarizer, Normalizer, PolynomialFeatures

from parquetry.errors import TooBigForOneNode
from parquetry.features.surrogate import checked, is_sparse, require_numbers, surrogate, zeros
from parquetry.fitting import Asking, Fitting
from parquetry.reading import BATCH_MULTIPLE
from parquetry.registry import fitter
from parquetry.view import View


@fitter(Normalizer, PolynomialFeatures, passes="0", exact="nothing is learned", matrices=True)
@fitter(Binarizer, passes="0", exact="nothing is learned", matrices=False)  # of integers it makes integers
def fit_row_wise(transformer: Any, view: View, fitting: Fitting) -> Asking:
    """Fit on a stand-in: only X's columns are learned, and the rows are not looked at.

    Values that the transformer does not take are refused by ``transform``.

    Raises
    ------
    TooBigForOneNode
        The polynomials of the smallest batch would not fit the memory budget.

    Source: https://scikit-learn.org/stable/modules/preprocessing.html
    """
    require_numbers(transformer, view)
    x = zeros(view) if is_sparse(view) else stand_in(view)
    checked(transformer, lambda: transformer.fit(x))
    if isinstance(transformer, PolynomialFeatures) and not is_sparse(view):
        _require_room(transformer, fitting.memory)
    yield from ()  # a Fitter is a generator, and this one asks for nothing
    return transformer


def stand_in(view: View) -> Any:
    """Two rows of X in its own types."""
    if view.steps:
        return zeros(view)
    kinds = [view.dataset.full_schema.field(f).type for f in view.features]
    return surrogate(view, [[False, True] if pa.types.is_boolean(kind) else [0, 1] for kind in kinds])


def _require_room(polynomial: Any, memory: int) -> None:
    needed = 8 * BATCH_MULTIPLE * polynomial._n_out_full
    if needed > memory:
        raise TooBigForOneNode(
            f"PolynomialFeatures: {polynomial.n_features_in_:,} features make {polynomial._n_out_full:,}; "
            f"{BATCH_MULTIPLE:,} rows of them need {needed / 2**30:.2f} GiB, and {memory / 2**30:.2f} GiB are allowed.",
            why="A batch has at least so many rows.",
            fix="Lower degree, set interaction_only=True, select features first, or use PolynomialCountSketch.",
        )
