"""PartialFits: what learns by ``partial_fit``, as an estimator that learns for a number of calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import signature
from itertools import islice
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.utils import get_tags
from sklearn.utils._param_validation import HasMethods, Interval
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, validate_data

from parquetry.classical.labels import encoded, learn_classes
from parquetry.classical.sequential import Batches, Walk, pieces
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.registry import fitter
from parquetry.view import View


def _inner_has(name: str) -> Any:
    def has(self: Any) -> bool:
        getattr(self.estimator_ if hasattr(self, "estimator_") else self.estimator, name)
        return True

    return has


class PartialFits(MetaEstimatorMixin, BaseEstimator):
    """Learns from one chunk of rows after another, by ``partial_fit``, for a number of calls.

    After the last chunk the first one follows again. With ``calls`` as its resource a halving search
    or :class:`~parquetry.tuning.Hyperband` gives more of them to the better candidates.

    Parameters
    ----------
    estimator : estimator with ``partial_fit``
    calls : int, default 10
    chunk_rows : int, default 10_000
        Rows of a chunk; the last one may have fewer.

    Attributes
    ----------
    estimator_ : estimator
    classes_ : ndarray of shape (n_classes,)
        Of a classifier.
    n_features_in_, feature_names_in_
        As scikit-learn has them.
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "estimator": [HasMethods(["partial_fit"])],
        "calls": [Interval(Integral, 1, None, closed="left")],
        "chunk_rows": [Interval(Integral, 1, None, closed="left")],
    }

    def __init__(self, estimator: Any, *, calls: int = 10, chunk_rows: int = 10_000) -> None:
        self.estimator, self.calls, self.chunk_rows = estimator, calls, chunk_rows

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> PartialFits:
        """Learn from rows in memory."""
        self._validate_params()
        x = validate_data(self, X, accept_sparse="csr", dtype=np.float64)
        target = None if y is None else np.asarray(y)
        classes = np.unique(target) if target is not None and is_classifier(self.estimator) else None

        def chunks() -> Iterator[tuple[Any, Any, Any]]:
            for start in range(0, x.shape[0], self.chunk_rows):
                here = slice(start, start + self.chunk_rows)
                yield x[here], *(None if part is None else part[here] for part in (target, sample_weight))

        self.estimator_ = learned(self.estimator, _around(chunks), self.calls, classes)
        if classes is not None:
            self.classes_ = classes
        return self

    def _asked(self, method: str, x: Any, *args: Any, **kwargs: Any) -> Any:
        check_is_fitted(self)
        x = validate_data(self, x, accept_sparse="csr", dtype=np.float64, reset=False)
        return getattr(self.estimator_, method)(x, *args, **kwargs)

    @available_if(_inner_has("predict"))
    def predict(self, X: Any) -> Any:
        """Its estimator's predictions."""
        return self._asked("predict", X)

    @available_if(_inner_has("predict_proba"))
    def predict_proba(self, X: Any) -> Any:
        """Its estimator's probabilities."""
        return self._asked("predict_proba", X)

    @available_if(_inner_has("decision_function"))
    def decision_function(self, X: Any) -> Any:
        """Its estimator's decision function."""
        return self._asked("decision_function", X)

    @available_if(_inner_has("transform"))
    def transform(self, X: Any) -> Any:
        """Its estimator's output."""
        return self._asked("transform", X)

    @available_if(_inner_has("score"))
    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """Its estimator's score."""
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        return self._asked("score", X, y, **weights)

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), get_tags(self.estimator)
        tags.estimator_type = inner.estimator_type
        tags.classifier_tags, tags.regressor_tags = inner.classifier_tags, inner.regressor_tags
        tags.input_tags.sparse = inner.input_tags.sparse
        return tags


def learned(estimator: Any, chunks: Iterator[tuple[Any, Any, Any]], calls: int, classes: Any) -> Any:
    """A clone of an estimator after so many calls of ``partial_fit``.

    Parameters
    ----------
    estimator : estimator
    chunks : iterator of (x, y or None, weights or None)
    calls : int
    classes : ndarray or None
    """
    model = clone(estimator)
    for i, (x, y, weights) in enumerate(islice(chunks, calls)):
        given = {} if weights is None else {"sample_weight": weights}
        if i == 0 and classes is not None and _takes(model, "classes"):
            given["classes"] = classes
        model.partial_fit(x, y, **given) if y is not None else model.partial_fit(x, **given)
    return model


def _takes(model: Any, name: str) -> bool:
    """Whether ``partial_fit`` takes an argument."""
    return name in signature(model.partial_fit).parameters


@fitter(
    PartialFits,
    passes="calls divided by the number of chunks",
    exact="the same chunks and calls",
    matrices=True,
    placement="sequential",
)
def fit_partial_fits(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Learn chunk by chunk on one worker that streams the rows in order, in bounded memory.

    Source: https://scikit-learn.org/stable/computing/scaling_strategies.html#incremental-learning
    """
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    classes = None
    if is_classifier(estimator.estimator):
        (found,) = yield from learn_classes(estimator, view)
        view, classes = encoded(view, [found]), found.values
    fitting.report.placement = "sequential"
    fitting.report.why = f"partial_fit {estimator.calls} times, on one worker that reads the rows in order."
    walker = _Walker(estimator.estimator, estimator.calls, estimator.chunk_rows, classes)
    (model,) = yield [Walk(walker, view.cached(), type(estimator).__name__)]
    estimator.estimator_ = model
    if classes is not None:
        estimator.classes_ = classes
    set_inputs(estimator, view)
    return estimator


@dataclass(frozen=True)
class _Walker:
    estimator: Any
    calls: int
    chunk_rows: int
    classes: Any

    def __call__(self, batches: Batches) -> Any:
        def chunks() -> Iterator[tuple[Any, Any, Any]]:
            for piece in pieces(batches(), self.chunk_rows):
                y = piece.y
                if y is not None and self.classes is not None:
                    y = self.classes[y.astype(np.intp)]
                yield np.ascontiguousarray(piece.x) if isinstance(piece.x, np.ndarray) else piece.x, y, piece.weights

        return learned(self.estimator, _around(chunks), self.calls, self.classes)


def _around(chunks: Any) -> Iterator[tuple[Any, Any, Any]]:
    """The chunks again and again."""
    while True:
        yield from chunks()
