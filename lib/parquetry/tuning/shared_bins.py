"""Histogram gradient boosting: features are binned once for all candidates that learn from the same rows.

scikit-learn bins anew in every fit. Bins depend on the rows and on few parameters, so the candidates
of a search nearly always share them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline

from parquetry.tuning.journal import digest

_BINNED = (HistGradientBoostingClassifier, HistGradientBoostingRegressor)


class SharedBins:
    """Takes the place of an estimator's ``_bin_data`` for one fit.

    Parameters
    ----------
    estimator : HistGradientBoostingClassifier or Regressor
    path : callable
        Tells which rows are fitted, and what they went through.
    find, keep : callable
        Look for what was binned before, and keep it.
    """

    def __init__(
        self, estimator: Any, path: Callable[[], tuple[str, ...]], find: Callable[..., Any], keep: Callable[..., Any]
    ) -> None:
        self.estimator, self.path, self.find, self.keep = estimator, path, find, keep

    def __call__(self, x: Any, sample_weight: Any, is_training_data: bool) -> Any:
        own = type(self.estimator)._bin_data
        if not is_training_data or not isinstance(self.estimator.random_state, int):
            return own(self.estimator, x, sample_weight, is_training_data)
        mapper, own_params = self.estimator._bin_mapper, self.estimator.get_params()
        # The rows themselves follow from the path, from how many are held back, and the weights from the classes'.
        rows = [own_params.get(name) for name in ("early_stopping", "validation_fraction", "class_weight")]
        key = (*self.path(), "bins", digest((mapper, rows, x.shape, sample_weight is None)))
        known = self.find(key)
        if known is None:
            known = own(self.estimator, x, sample_weight, is_training_data), mapper
            self.keep(key, known)
        binned, self.estimator._bin_mapper = known
        return binned


def binned_part(estimator: Any) -> Any:
    """The estimator itself, or the last step of a pipeline, where it bins its features; else None."""
    last = estimator.steps[-1][1] if type(estimator) is Pipeline else estimator
    return last if type(last) in _BINNED else None
