"""OrdinalEncoder from the counts of distinct values: one pass for all columns."""

from __future__ import annotations

from typing import Any

from sklearn.preprocessing import OrdinalEncoder

from parquetry.features.category_stats import CategoryStats, sorted_values
from parquetry.features.onehot import _category_counts, require_categories
from parquetry.features.surrogate import checked, set_inputs, surrogate
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View


@fitter(OrdinalEncoder, passes="1", exact="equal", matrices=False)
def fit_ordinal_encoder(encoder: Any, view: View, fitting: Fitting) -> Asking:
    """Each column's categories in order, and which of them are infrequent.

    scikit-learn's own encoder is fitted on the distinct values, with the true number of rows of each. A column of
    1,000,000 distinct texts fits into 2 GiB; the categories of a column may take a sixteenth of
    the memory bound, since so many states meet in a merge, and beyond that ``TooManyCategories`` is raised.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.preprocessing.OrdinalEncoder.html
    """
    require_categories(encoder, view)
    names = shown_names(view)
    (parts,) = yield [Pass(CategoryStats("OrdinalEncoder", names, memory=fitting.memory), view)]
    found = [sorted_values(part, 1) for part in parts]
    counted = _Counted(**encoder.get_params(deep=False))
    counted.counts, counted.rows = [counts for _, counts, _ in found], view.dataset.num_rows
    x = surrogate(view, [values for values, _, _ in found])
    checked(encoder, lambda: counted.fit(x))
    for name, value in vars(counted).items():
        if name not in ("counts", "rows"):
            setattr(encoder, name, value)
    set_inputs(encoder, view)
    return encoder


class _Counted(OrdinalEncoder):
    """scikit-learn's own encoder, told how many rows each value of X stands for."""

    counts: Any = ()
    rows = 0

    def _fit(self, X: Any, **settings: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._fit(X, **settings)
        if self._infrequent_enabled:
            seen, _, _ = self._check_X(X, ensure_all_finite="allow-nan")
            counts = [_category_counts(s, c, k) for s, c, k in zip(seen, self.counts, self.categories_, strict=True)]
            self._fit_infrequent_category_mapping(self.rows, counts, found["missing_indices"])
        return found
