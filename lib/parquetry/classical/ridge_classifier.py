"""RidgeClassifier: classes as targets of -1 and 1, then ridge regression on one Gram matrix."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import LabelBinarizer

from parquetry.classical.gram import GramState
from parquetry.classical.inputs import in_linear_type
from parquetry.classical.labels import Classes, encoded, learn_classes
from parquetry.classical.linear import gram_of, penalties, ridge_coef
from parquetry.classical.moment_rows import fit_on_moments, set_intercept
from parquetry.features.surrogate import checked, require_numbers, set_inputs
from parquetry.fitting import Asking, Fitting
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import FloatArray, View


@dataclass(frozen=True, eq=False)
class Signs:
    """Class codes as targets of -1 and 1, one against the rest; of two classes the second is 1.

    Parameters
    ----------
    tables : tuple of ndarray of shape (n_classes, n_signs)
        For each target column, the row of signs of each code.
    several : bool
        Whether there are several target columns (labels that do not exclude each other).
    """

    tables: tuple[FloatArray, ...]
    several: bool

    @property
    def count(self) -> int:
        """How many targets of -1 and 1 there are."""
        return sum(table.shape[1] for table in self.tables)

    def over(self, reduction: Reduction[Any, Any]) -> Reduction[Any, Any]:
        """A reduction of numbers over a view of class codes: it sees these targets."""
        return _OverSigns(reduction, self)

    def of(self, batch: Any) -> list[FloatArray]:
        """The targets of a batch whose own targets are codes, one array each."""
        return [
            column[codes.astype(np.intp)]
            for table, codes in zip(self.tables, batch.y_floats, strict=True)
            for column in np.ascontiguousarray(table.T)
        ]


class _OverSigns(Reduction[Any, Any]):
    """A reduction of numbers over a view of class codes."""

    def __init__(self, inner: Reduction[Any, Any], signs: Signs) -> None:
        self.inner, self.signs = inner, signs
        self.label = str(getattr(inner, "label", type(inner).__name__))

    def partial(self, batch: Any) -> Any:
        signed: Any = _Signed(batch, self.signs)
        return self.inner.partial(signed)

    def merge(self, left: Any, right: Any) -> Any:
        return self.inner.merge(left, right)

    def finish(self, state: Any) -> Any:
        return self.inner.finish(state)


class _Signed:
    """A batch of class codes with targets of -1 and 1 in their place."""

    def __init__(self, batch: Any, signs: Signs) -> None:
        self._batch, self._signs = batch, signs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batch, name)

    @cached_property
    def y_floats(self) -> list[FloatArray]:
        """One array of -1 and 1 a target."""
        return self._signs.of(self._batch)


@fitter(
    RidgeClassifier,
    passes="2 (up to 6 if ill-conditioned)",
    exact="same solution to 1e-9 (positive=True: the same steps)",
    matrices=True,
)
def fit_ridge_classifier(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Ridge regression on -1 and 1, one target a class; several target columns are labels of their own.

    The first pass finds the classes, from the target alone. Every solver name is accepted; all
    reach the one optimum.

    Source: https://scikit-learn.org/stable/modules/linear_model.html#classification
    """
    checked(estimator, estimator._validate_params)
    require_numbers(estimator, view)
    seen, signs, _ = yield from learn_signs(estimator, view)
    alphas = penalties(estimator, signs.count)
    gram = yield from gram_of(estimator, seen, fitting, targets=signs)
    if estimator.positive:
        own = estimator.get_params()
        ridge = Ridge(**{name: own[name] for name in Ridge().get_params()})
        fit_on_moments(ridge, gram, view, per_row=False)
        coef, n_iter, solver = np.atleast_2d(ridge.coef_), ridge.n_iter_, ridge.solver_
    else:
        solution = yield from ridge_coef(gram, seen, alphas, fit_intercept=estimator.fit_intercept, targets=signs)
        solver = "cholesky" if estimator.solver == "auto" else estimator.solver
        coef, n_iter = np.ascontiguousarray(solution.T), None
    estimator.coef_, estimator.n_iter_, estimator.solver_ = coef, n_iter, solver
    set_classifier(estimator, gram, view)
    return in_linear_type(estimator, view)


def set_classifier(estimator: Any, gram: GramState, view: View) -> None:
    """Intercepts and names; the coefficients of two classes become a row, beside one intercept in an array."""
    set_intercept(estimator, gram, view.width)
    if len(estimator.coef_) == 1:
        estimator.coef_ = estimator.coef_[0]
    set_inputs(estimator, view)


def learn_signs(estimator: Any, view: View) -> Generator[list[Any], list[Any], tuple[View, Signs, list[Classes]]]:
    """The view with codes for labels, their signs, and the classes; sets the label binarizer and ``classes_``."""
    classes = yield from learn_classes(estimator, view)
    binarizer = LabelBinarizer(pos_label=1, neg_label=-1)
    if len(classes) == 1:
        binarizer.fit(classes[0].values)
        tables = [binarizer.transform(classes[0].values).astype(np.float64)]
    else:
        rows = max(2, *(len(c.values) for c in classes))
        # Every class of every column at least once, for scikit-learn's own look at the kind of target.
        checked(estimator, lambda: binarizer.fit(np.column_stack([np.resize(c.values, rows) for c in classes])))
        tables = [np.where(c.values == 0, -1.0, c.values.astype(np.float64))[:, None] for c in classes]
    estimator._label_binarizer = binarizer
    estimator.classes_ = binarizer.classes_
    seen = encoded(view, classes, estimator.class_weight or None, by_rows=True)
    return seen, Signs(tuple(tables), len(classes) > 1), classes
