"""OneHotEncoder from the counts of distinct values: one pass for all columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import OneHotEncoder
from sklearn.utils._encode import _check_unknown, _encode

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, is_sparse, set_inputs, surrogate
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import ColumnCounts, Counts
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View


@fitter(OneHotEncoder, passes="1", exact="equal", matrices=False)
def fit_one_hot_encoder(encoder: Any, view: View, _fitting: Fitting) -> Asking:
    """Categories, infrequent ones and dropped ones, from every distinct value and its count.

    scikit-learn's own encoder is fitted on the distinct values; what depends on how often they
    are there is then settled by its own methods on the true counts.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.OneHotEncoder.html
    """
    require_categories(encoder, view)
    (columns,) = yield [Pass(Counts("OneHotEncoder", shown_names(view)), view)]
    checked(encoder, lambda: _fit(encoder, view, columns))
    set_inputs(encoder, view)
    return encoder


def require_categories(encoder: Any, view: View) -> None:
    """Refuse what is wrong with an encoder of categories whatever the rows hold."""
    who = type(encoder).__name__
    checked(encoder, encoder._validate_params)
    if is_sparse(view):
        raise BadParameter(
            f"{who} does not take sparse input.",
            why="It encodes every value, zeros too.",
            fix="Encode the columns before the step that makes them sparse.",
        )
    for name, given in (("categories", encoder.categories), ("drop", getattr(encoder, "drop", None))):
        if given is not None and not isinstance(given, str) and len(given) != view.width:
            raise BadParameter(
                f"{who}: {name} has {len(given)} entries for {view.width} columns.", fix="Give one a column."
            )


def _fit(encoder: Any, view: View, columns: list[ColumnCounts]) -> None:
    complete = [column.complete() for column in columns]
    x = surrogate(view, [values for values, _ in complete])
    encoder._fit(x, handle_unknown=encoder.handle_unknown, ensure_all_finite="allow-nan")
    if encoder._infrequent_enabled:
        seen, _, _ = encoder._check_X(x, ensure_all_finite="allow-nan")
        counts = [
            _category_counts(given, counted, categories)
            for given, (_, counted), categories in zip(seen, complete, encoder.categories_, strict=True)
        ]
        encoder._fit_infrequent_category_mapping(columns[0].rows, counts, {})
        _refuse_infrequent_drop(encoder)
    encoder._set_drop_idx()
    encoder._n_features_outs = encoder._compute_n_features_outs()


def _refuse_infrequent_drop(encoder: Any) -> None:
    """What scikit-learn refuses, too; its own message fails on categories of text."""
    if encoder.drop is None or isinstance(encoder.drop, str):
        return
    for i, (dropped, infrequent) in enumerate(zip(encoder.drop, encoder.infrequent_categories_, strict=True)):
        if infrequent is not None and dropped in infrequent.tolist():
            raise BadParameter(
                f"OneHotEncoder: unable to drop category {dropped!r} of column {i}: it is infrequent.",
                why="It is merged with other infrequent categories.",
                fix="Drop another one, or lower min_frequency.",
            )


def _category_counts(
    seen: npt.NDArray[Any], counts: npt.NDArray[np.int64], categories: npt.NDArray[Any]
) -> npt.NDArray[np.int64]:
    """The rows of each category; ``seen`` are the distinct values as scikit-learn sees them."""
    seen = seen[: len(counts)]
    _, known = _check_unknown(seen, categories, return_mask=True)
    out = np.zeros(len(categories), dtype=np.int64)
    if known.any():
        np.add.at(out, _encode(seen[known], uniques=categories, check_unknown=False), counts[known])
    return out
