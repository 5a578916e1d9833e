"""Passing rows through fitted transformers on a worker.

Where every column is numeric and the transformer works on numbers, rows go through as a float
matrix. A pandas frame is built only for a transformer that needs names or text, and only of the
columns that it gets.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from inspect import getattr_static
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from parquetry.view import Column, Columns


@dataclass(frozen=True, eq=False)
class Through:
    """A view's step: X through one fitted transformer."""

    transformer: Any

    def __call__(self, x: Any) -> Any:
        return transform(self.transformer, x)


@dataclass(frozen=True, eq=False)
class Select:
    """A view's step: some columns of X, by position."""

    columns: tuple[int, ...]

    def __call__(self, x: Any) -> Any:
        return select(x, self.columns)


@dataclass(frozen=True, eq=False)
class Single:
    """A view's step: one column of X by itself, by position; X then has one dimension."""

    column: int

    def __call__(self, x: Any) -> Any:
        return single(x, self.column)


class InTraining(ABC):
    """What stands in for a fitted transformer while later steps are fitted.

    It gives the rows that it was fitted on other values than any other rows, as scikit-learn's
    ``fit_transform`` does where that is not ``fit`` and ``transform``; so it needs to know which
    rows they are.
    """

    @property
    @abstractmethod
    def fitted(self) -> Any:
        """The transformer itself, for all other rows."""

    @abstractmethod
    def rows_through(self, x: Any, batch: Any) -> Any:
        """``fit_transform``'s values of X's rows, which stand at ``batch.rows`` of ``batch.block``."""


def for_other_rows(transformer: Any) -> Any:
    """What rows that are not those of the fit go through: the fitted transformer, and all of its parts."""
    from parquetry.composing import with_parts

    if isinstance(transformer, InTraining):
        return transformer.fitted
    return with_parts(transformer, for_other_rows)


_READ: ContextVar[Any] = ContextVar("parquetry_batch", default=None)


def being_read() -> Any:
    """The batch whose rows go through the steps of a view in this thread; None outside of that."""
    return _READ.get()


@contextmanager
def reading(batch: Any) -> Iterator[None]:
    """Within it, ``being_read()`` gives this batch."""
    token = _READ.set(batch)
    try:
        yield
    finally:
        _READ.reset(token)


def single(x: Any, column: int) -> Any:
    """One column of X by itself, whatever form it has."""
    if isinstance(x, Columns):
        return x.column(column)
    return x.iloc[:, column] if hasattr(x, "iloc") else x[:, column]


def select(x: Any, columns: Sequence[int]) -> Any:
    """Some columns of X, whatever form it has."""
    if isinstance(x, Columns):
        return x.select(columns)
    if hasattr(x, "iloc"):
        return x.iloc[:, list(columns)]
    return x[:, list(columns)]


def as_matrix(x: Any) -> Any:
    """X as a float64 array or a SciPy sparse matrix."""
    if isinstance(x, Columns):
        return x.matrix
    if hasattr(x, "toarray"):
        return x
    return np.asarray(x, dtype=np.float64)


def as_given(x: Any) -> Any:
    """X as scikit-learn would get it from a user: a frame for stored columns, a series for a single one."""
    if isinstance(x, Column):
        return x.series
    return x.frame if isinstance(x, Columns) else x


def takes_texts(estimator: Any) -> bool:
    """Whether what X meets first is a text vectorizer, which takes one text a row and no table."""
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    for attribute in ("steps", "transformer_list"):
        parts = getattr(estimator, attribute, None)
        if parts:
            return takes_texts(parts[0][1])
    inner = getattr(estimator, "estimator", None)
    if inner is not None and not isinstance(inner, str):
        return takes_texts(inner)
    return isinstance(estimator, CountVectorizer | HashingVectorizer)


def holds_gil(holder: Any) -> bool:
    """Whether rows go through Python code, one after another: then processes are faster than threads.

    Parameters
    ----------
    holder : object
        A fitted estimator, or what holds one: a view's step, a reduction.
    """
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer

    from parquetry.features import tokens

    for attribute in ("steps", "transformer_list", "transformers_"):
        parts = getattr(holder, attribute, None)
        if parts:
            return any(holds_gil(part[1]) for part in parts)
    for attribute in ("estimator_", "estimator", "model", "transformer", "output"):
        inner = getattr(holder, attribute, None)
        if inner is not None and not isinstance(inner, str | type):
            return holds_gil(inner)
    return isinstance(holder, CountVectorizer | HashingVectorizer) and tokens.holds_gil(holder)


def transform(transformer: Any, x: Any) -> Any:
    """``transformer.transform(X)``, by the fastest road that gives the same values."""
    from sklearn.compose import ColumnTransformer
    from sklearn.feature_extraction.text import CountVectorizer, HashingVectorizer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, TargetEncoder

    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return x
    if isinstance(transformer, CountVectorizer | HashingVectorizer):
        return _through_texts(transformer, x)
    if isinstance(transformer, InTraining):
        return transformer.rows_through(x, being_read())
    if _wants_frames(transformer):
        return transformer.transform(as_given(x))
    if type(transformer) is Pipeline:
        for _, step in transformer.steps:
            x = transform(step, x)
        return x
    own = {
        ColumnTransformer: _through_columns,
        FeatureUnion: _through_union,
        OneHotEncoder: _through_categories,
        OrdinalEncoder: _through_categories,
        TargetEncoder: _through_categories,
    }.get(type(transformer))
    return call(transformer, "transform", x) if own is None else own(transformer, x)


def call(estimator: Any, method: str, x: Any) -> Any:
    """``estimator.method(X)``; an estimator of numbers gets a matrix, without names."""
    from parquetry.registry import find, works_on_matrices

    entry = find(estimator)
    if entry is not None and entry.call is not None:
        return entry.call(estimator, method, x)
    if works_on_matrices(estimator):
        if isinstance(x, Columns) and x.numeric:
            return getattr(nameless(estimator), method)(x.matrix)
        if isinstance(x, np.ndarray):
            return getattr(nameless(estimator), method)(x)
    if isinstance(x, Columns) and len(x.names) == 1 and takes_texts(estimator):
        x = x.column(0)
    if getattr(estimator, "enable_categorical", False):
        return _with_categories(estimator, method, as_given(x))
    return getattr(estimator, method)(as_given(x))


def _with_categories(estimator: Any, method: str, x: Any) -> Any:
    from parquetry.boosting.categories import as_known

    return getattr(estimator, method)(as_known(estimator, x))


def apply(model: Any, method: str, x: Any) -> Any:
    """``model.method(X)`` with the steps of a Pipeline taken by the fast road."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier
    from sklearn.pipeline import Pipeline

    if method == "transform":
        return transform(model, x)
    while type(model) is FrozenEstimator or best_of(model) is not model:
        model = model.estimator if type(model) is FrozenEstimator else best_of(model)
    if type(model) is Pipeline:
        for _, step in model.steps[:-1]:
            x = transform(step, x)
        return apply(model.steps[-1][1], method, x)
    if type(model) is TransformedTargetRegressor and method == "predict":
        return _predict_transformed(model, x)
    if type(model) is FixedThresholdClassifier:
        return _by_threshold(model, method, x)
    return call(model, method, x)


def best_of(model: Any) -> Any:
    """A fitted search's best model, where that is what answers; any other model itself."""
    from sklearn.model_selection._search import BaseSearchCV

    if not isinstance(model, BaseSearchCV):
        return model
    # Looked up by itself, the method is another object each time.
    own = getattr_static(type(model), "predict") is getattr_static(BaseSearchCV, "predict")
    return getattr(model, "best_estimator_", model) if own else model


def widest_row(steps: Sequence[Any], x: Any) -> float:
    """The most bytes that a row of X takes as a matrix on its way through a view's steps.

    Parameters
    ----------
    steps : sequence of callables
    x : Columns
        The first rows, before any step; what is stored does not count.
    """
    most = 0.0
    for step in steps:
        inner = getattr(step, "transformer", getattr(step, "model", None))
        most = max([most, *(_row_bytes(part) for part in _stages(inner, x))])
        x = step(x)
        most = max(most, _row_bytes(x))
    return most


def _stages(model: Any, x: Any) -> Iterator[Any]:
    """X before the last step of each pipeline inside a fitted model, and after each earlier one."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.pipeline import Pipeline

    if type(model) is TransformedTargetRegressor:
        yield from _stages(model.regressor_, x)
    if type(model) is Pipeline:
        for _, step in model.steps[:-1]:
            yield from _stages(step, x)
            x = transform(step, x)
            yield x
        yield from _stages(model.steps[-1][1], x)


def _row_bytes(x: Any) -> float:
    """An index and a value for each stored value of a sparse row; a float for each cell of a dense one."""
    if isinstance(x, Columns | Column) or len(x.shape) < 2:
        return 0.0
    return float(12 * x.nnz / max(1, x.shape[0]) if hasattr(x, "nnz") else 8 * x.shape[1])


def nameless(estimator: Any) -> Any:
    """A shallow copy that does not expect names, so that it takes arrays without a warning."""
    if "feature_names_in_" not in getattr(estimator, "__dict__", {}):
        return estimator  # it has no names, or answers from its model: XGBoost then takes arrays as they are
    bare = copy.copy(estimator)
    del bare.feature_names_in_
    return bare


def output_names(transformer: Any, first_rows: Callable[[], Any]) -> tuple[str, ...] | None:
    """The names of a transformer's output columns where it gives frames, else None.

    Parameters
    ----------
    transformer : fitted transformer
    first_rows : callable
        Gives X of some rows: a function gives a frame for a frame, or whatever else it likes.
    """
    if _wants_frames(transformer) and not takes_texts(transformer):
        return tuple(transformer.get_feature_names_out())
    if not _is_function(transformer):
        return None
    found = transform(transformer, first_rows())
    return tuple(str(name) for name in found.columns) if hasattr(found, "columns") else None


def _is_function(transformer: Any) -> bool:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import FunctionTransformer

    if type(transformer) is Pipeline:
        return bool(transformer.steps) and _is_function(transformer.steps[-1][1])
    return type(transformer) is FunctionTransformer


def _wants_frames(transformer: Any) -> bool:
    """Whether ``set_output(transform="pandas")`` (or the global setting) is on."""
    from sklearn import get_config

    own = getattr(transformer, "_sklearn_output_config", {}).get("transform")
    chosen = own if own is not None else get_config()["transform_output"]
    return chosen not in (None, "default")


def through_parts(transformer: Any, x: Any) -> list[Any]:
    """What each branch of a fitted ColumnTransformer makes of its columns, in order."""
    positions, weights = transformer._transformer_to_input_indices, transformer.transformer_weights or {}
    parts = []
    for name, fitted, columns in transformer.transformers_:
        if len(positions[name]) and not (isinstance(fitted, str) and fitted == "drop"):
            chosen = single(x, positions[name][0]) if np.isscalar(columns) else select(x, positions[name])
            part = transform(fitted, chosen)
            if name in weights:
                part = as_matrix(part) * weights[name]
            parts.append(_plain_array(part) if isinstance(part, Columns) else part)
    return parts


def _through_texts(vectorizer: Any, x: Any) -> Any:
    from parquetry.features.text import vectorized

    return vectorized(vectorizer, x)


def _through_categories(encoder: Any, x: Any) -> Any:
    from parquetry.features.category_codes import through_categories

    return through_categories(encoder, x)


def _through_columns(transformer: Any, x: Any) -> Any:
    return _side_by_side(through_parts(transformer, x), _rows(x), sparse=transformer.sparse_output_)


def _through_union(union: Any, x: Any) -> Any:
    kept = [(name, t) for name, t in union.transformer_list if not (isinstance(t, str) and t == "drop")]
    weights = union.transformer_weights or {}
    parts = [transform(t, x) * weights.get(name, 1) if name in weights else transform(t, x) for name, t in kept]
    return _side_by_side(parts, _rows(x), sparse=any(hasattr(p, "toarray") for p in parts))


def _side_by_side(parts: list[Any], rows: int, *, sparse: bool) -> Any:
    if not parts:
        return np.zeros((rows, 0))
    if sparse:
        from scipy import sparse as sp

        return sp.hstack([sp.csr_matrix(as_matrix(p)) for p in parts]).tocsr()
    dense = [p.toarray() if hasattr(p, "toarray") else p for p in parts]
    return np.hstack([_plain_array(p) for p in dense])


def _plain_array(x: Any) -> Any:
    if isinstance(x, Columns):
        return x.matrix if x.numeric else x.frame.to_numpy()
    return np.asarray(x)


def _rows(x: Any) -> int:
    return int(x.table.num_rows) if isinstance(x, Columns) else int(x.shape[0])


def _predict_transformed(model: Any, x: Any) -> Any:
    prediction = apply(model.regressor_, "predict", x)
    column = prediction.reshape(-1, 1) if prediction.ndim == 1 else prediction
    back = model.transformer_.inverse_transform(column)
    narrow = model._training_dim == 1 and back.ndim == 2 and back.shape[1] == 1
    return back.squeeze(axis=1) if narrow else back


def _by_threshold(model: Any, method: str, x: Any) -> Any:
    """scikit-learn's own ``predict`` on scores that the inner model gives by the fast road."""
    inner = getattr(model, "estimator_", model.estimator)
    if method != "predict":
        return apply(inner, method, x)
    bare = copy.copy(model)
    bare.estimator_ = _Scored(inner)
    return bare.predict(x)


class _Scored(ClassifierMixin, BaseEstimator):
    """A classifier whose scores come by the fast road."""

    def __init__(self, model: Any) -> None:
        self.model, self.classes_ = model, model.classes_
        for method in ("predict_proba", "decision_function"):
            if hasattr(model, method):
                setattr(self, method, _scores(model, method))

    def fit(self, x: Any, y: Any) -> _Scored:
        return self


def _scores(model: Any, method: str) -> Callable[[Any], Any]:
    def scores(x: Any) -> Any:
        return apply(model, method, x)

    scores.__name__ = method  # scikit-learn asks a method for its name
    return scores
