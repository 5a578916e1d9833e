"""Fitters of what is made of other estimators: Pipeline, ColumnTransformer, FeatureUnion.

Each part is fitted by its own Fitter. The branches of a ColumnTransformer or a FeatureUnion run
in step, so that their passes share one read of the data.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked
from parquetry.fitting import Asking, Fitting, Pass, together
from parquetry.reduction import Reduction
from parquetry.registry import find, fitter
from parquetry.through import takes_texts, through_parts
from parquetry.view import Batch, View

_AS_PARTS = "as their parts"


@fitter(Pipeline, passes=_AS_PARTS, exact=_AS_PARTS, matrices=False)
def fit_pipeline(pipeline: Any, view: View, fitting: Fitting) -> Asking:
    """Fit a step, see the data through it, fit the next.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.pipeline.Pipeline.html
    """
    fitted: list[tuple[str, Any]] = []
    last = len(pipeline.steps) - 1
    for i, (name, step) in enumerate(pipeline.steps):
        if step is None or step == "passthrough":
            fitted.append((name, step))
            continue
        # scikit-learn passes weights to the step that they are meant for: here the last one.
        seen = view if i == last else replace(view, sample_weight=None)
        fitted.append((name, (yield from fitting.step(step, seen, name))))
        if i < last:
            view = view.through(fitting.in_training(fitted[-1][1]))
    pipeline.steps = fitted
    return pipeline


@fitter(FeatureUnion, passes=_AS_PARTS, exact=_AS_PARTS, matrices=False)
def fit_feature_union(union: Any, view: View, fitting: Fitting) -> Asking:
    """Fit all parts on the same data, in the same passes.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.pipeline.FeatureUnion.html
    """
    named = [(name, t) for name, t in union.transformer_list if t not in ("drop", "passthrough")]
    fitted = yield from together([fitting.step(t, view, name) for name, t in named])
    done = dict(zip((name for name, _ in named), fitted, strict=True))
    union.transformer_list = [(name, done.get(name, t)) for name, t in union.transformer_list]
    return union


@fitter(ColumnTransformer, passes=_AS_PARTS, exact=_AS_PARTS, matrices=False)
def fit_column_transformer(transformer: Any, view: View, fitting: Fitting) -> Asking:
    """Fit each branch on its columns, all branches in the same passes.

    scikit-learn's own ``ColumnTransformer.fit`` works out which branch gets which columns, on the
    first rows and with stand-ins for the branches; it then takes the fitted branches as frozen.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.compose.ColumnTransformer.html
    """
    head = view.head()
    branches = _branches(transformer, head)
    fitted = yield from together(
        [
            fitting.step(clone(t), view.column(columns[0]) if alone else view.select(columns), name)
            for name, t, columns, alone in branches
        ]
    )
    done = {name: f for (name, _, _, _), f in zip(branches, fitted, strict=True)}
    complete = _assembled(transformer, done, head)
    complete.sparse_output_ = yield from _choose_sparse(complete, view)
    return complete


_PARTS = {Pipeline: "steps", FeatureUnion: "transformer_list", ColumnTransformer: "transformers_"}


def with_parts(fitted: Any, change: Callable[[Any], Any]) -> Any:
    """What is made of fitted parts, with each part changed; itself where no part is another one then.

    Parameters
    ----------
    fitted : fitted estimator
    change : callable
        Takes a part and gives one.
    """
    attribute = _PARTS.get(type(fitted))
    if attribute is None:
        return fitted
    parts = getattr(fitted, attribute)
    changed = [(name, part if _is_word(part) else change(part), *rest) for name, part, *rest in parts]
    if all(new[1] is old[1] for new, old in zip(changed, parts, strict=True)):
        return fitted
    other = copy.copy(fitted)
    setattr(other, attribute, changed)
    return other


class _StandIn(TransformerMixin, BaseEstimator):
    """Takes a branch's place while the columns are worked out."""

    def fit(self, x: Any, y: Any = None) -> _StandIn:
        return self

    def transform(self, x: Any) -> Any:
        return np.zeros((len(x), 1))

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        return np.asarray(["stand_in"], dtype=object)


@fitter(FrozenEstimator, passes="0", exact="nothing is learned", matrices=False)
def fit_frozen_estimator(frozen: Any, _view: View, _fitting: Fitting) -> Asking:
    """The estimator as it was fitted before.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.frozen.FrozenEstimator.html
    """
    yield from ()
    # A frozen estimator is its own clone, and the caller's own is not to be changed.
    return copy.copy(checked(frozen, lambda: frozen.fit(None, None)))


@fitter(FixedThresholdClassifier, passes="as its estimator", exact="as its estimator", matrices=False)
def fit_fixed_threshold(classifier: Any, view: View, fitting: Fitting) -> Asking:
    """The classifier within; what the threshold is compared with is scikit-learn's own affair.

    Source: https://scikit-learn.org/stable/modules/generated/sklearn.model_selection.FixedThresholdClassifier.html
    """
    checked(classifier, classifier._validate_params)
    inner = yield from fitting.step(clone(classifier.estimator), view, "estimator")
    classes = inner.classes_.tolist()
    known = classes if classifier.pos_label is None else [classifier.pos_label]
    if len(classes) != 2 or not (set(known) <= set(classes)):
        raise BadParameter(
            f"FixedThresholdClassifier: the classes are {classes[:10]}, pos_label={classifier.pos_label!r}.",
            why="A threshold parts two classes, of which pos_label is one.",
            fix="Name one of two classes.",
        )
    if classifier.pos_label is None and set(classes) not in ({0, 1}, {-1, 1}):
        raise BadParameter(
            f"FixedThresholdClassifier: which of {classes} is the positive class?", fix="Name it with pos_label=."
        )
    classifier.estimator_ = inner
    for name in ("n_features_in_", "feature_names_in_"):
        if hasattr(inner, name):
            setattr(classifier, name, getattr(inner, name))
    return classifier


def _branches(transformer: Any, head: Any) -> list[tuple[str, Any, list[int], bool]]:
    """``(name, unfitted transformer, column positions, whether a column is given alone)`` of each branch to fit."""
    own = {name: t for name, t, _ in transformer.transformers}
    skeleton = clone(transformer)
    skeleton.transformers = [(n, t if _is_word(t) else _StandIn(), c) for n, t, c in transformer.transformers]
    if not _is_word(transformer.remainder):
        skeleton.remainder = _StandIn()
        own["remainder"] = transformer.remainder
    skeleton.set_output(transform="default").fit(head)
    positions = skeleton._transformer_to_input_indices
    found = [
        (name, own[name], list(positions[name]), bool(np.isscalar(columns)))
        for name, stand_in, columns in skeleton.transformers_
        if isinstance(stand_in, _StandIn) and len(positions[name])
    ]
    for name, t, columns, alone in found:
        _require_dimensions(name, t, [str(head.columns[i]) if hasattr(head, "columns") else i for i in columns], alone)
    return found


def _require_dimensions(name: str, transformer: Any, columns: list[Any], alone: bool) -> None:
    """Refuse a column's name where a list is due, and a list where texts are due: both would fail in scikit-learn."""
    if takes_texts(transformer) and not alone:
        raise BadParameter(
            f"The branch {name!r} of the ColumnTransformer gets the table of {columns}.",
            why="A text vectorizer takes one text a row; of a table scikit-learn would give it the columns' names.",
            fix=f"Name the column alone, without a list: {columns[0]!r}.",
        )
    if alone and not takes_texts(transformer) and _wants_table(transformer):
        raise BadParameter(
            f"The branch {name!r} of the ColumnTransformer gets the column {columns[0]!r} alone.",
            why=f"{type(transformer).__name__} takes a table.",
            fix=f"Name the column in a list: [{columns[0]!r}].",
        )


def _wants_table(transformer: Any) -> bool:
    """Whether what X meets first is one of the transformers with a fit here that take tables only."""
    if isinstance(transformer, Pipeline):
        return _wants_table(transformer.steps[0][1])
    kind = type(transformer)
    return kind not in (FunctionTransformer, FeatureUnion) and find(transformer) is not None


def _assembled(transformer: Any, done: dict[str, Any], head: Any) -> Any:
    """A ColumnTransformer fitted on the head with the fitted branches frozen in, then thawed."""
    complete = clone(transformer)
    complete.transformers = [
        (n, FrozenEstimator(done[n]) if n in done else t, c) for n, t, c in transformer.transformers
    ]
    if "remainder" in done:
        complete.remainder = FrozenEstimator(done["remainder"])
    complete.fit(head)
    complete.transformers_ = [(n, done.get(n, t), c) for n, t, c in complete.transformers_]
    complete.transformers, complete.remainder = transformer.transformers, transformer.remainder
    return complete


def _choose_sparse(transformer: Any, view: View) -> Asking:
    """Whether the output is sparse, by its density over all rows, as scikit-learn decides it."""
    parts = through_parts(transformer, next(iter(view.head_batches(2))).X)
    dense = sum(p.shape[1] for p in parts if not hasattr(p, "tocsr"))
    least = dense / max(1, sum(p.shape[1] for p in parts))
    # Where the dense parts alone are dense enough, no pass is needed to know.
    if all(not hasattr(p, "tocsr") for p in parts) or least >= transformer.sparse_threshold:
        return False
    (counts,) = yield [Pass(_Density(transformer), view)]
    stored, cells = counts
    return bool(stored / cells < transformer.sparse_threshold)


class _Density(Reduction[tuple[int, int], tuple[int, int]]):
    """Counts stored values and cells of a ColumnTransformer's parts."""

    label = "density"

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer

    def partial(self, batch: Batch) -> tuple[int, int]:
        parts = through_parts(self.transformer, batch.X)
        stored = sum(int(p.nnz) if hasattr(p, "nnz") else int(np.prod(p.shape)) for p in parts)
        return stored, sum(int(np.prod(p.shape)) for p in parts)

    def merge(self, left: tuple[int, int], right: tuple[int, int]) -> tuple[int, int]:
        return left[0] + right[0], left[1] + right[1]


def _is_word(transformer: Any) -> bool:
    return isinstance(transformer, str)
