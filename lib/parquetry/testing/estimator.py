"""``fit`` as an estimator: arrays in, written to Parquet, fitted through an engine.

So scikit-learn's own checks can be run over every class that has a distributed fit::

    from sklearn.utils.estimator_checks import parametrize_with_checks

    @parametrize_with_checks([on_parquet(LinearRegression()), on_parquet(KMeans(n_init=1))])
    def test_checks(estimator, check):
        check(estimator)

It is for tests and small arrays: everything is written to a temporary folder and read back.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from parquetry import registry

ROW_GROUP = 37
"""Rows of a row group: even small arrays become several blocks."""


def on_parquet(estimator: Any) -> Any:
    """An estimator with the same parameters whose ``fit`` goes through Parquet and ``parquetry.fit``.

    Parameters
    ----------
    estimator : estimator
        Of a class that has a Fitter.

    Returns
    -------
    estimator
        Of a subclass of the same name (some checks go by names); all other methods are
        scikit-learn's own.
    """
    kind: Any = type(estimator)
    return _subclass(kind)(**estimator.get_params(deep=False))


class _Facade:
    """What the subclasses share. ``kind`` is scikit-learn's own class."""

    kind: Any

    def fit_through(self, X: Any, y: Any, sample_weight: Any) -> Any:
        """Write the arrays, fit the plain class on them, take over what it has learned."""
        from parquetry.fitting import fit

        parameters: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        x, y, names = _validated(self, X, y)
        table, roles = _table(x, y, sample_weight)
        with tempfile.TemporaryDirectory(prefix="parquetry-arrays-") as folder:
            pq.write_table(table, Path(folder) / "rows.parquet", row_group_size=ROW_GROUP)
            fitted = fit(self.kind(**parameters), folder, engine=_engine(), **roles)
        for name, value in vars(fitted).items():
            learned = name[0] == "_" or name[-1] == "_"
            if learned and name not in parameters and name not in ("fit_report_", "feature_names_in_"):
                setattr(self, name, value)
        if names is not None:
            self.feature_names_in_ = names
        return self

    def fit_transform(self, X: Any, y: Any = None, **arguments: Any) -> Any:
        """``fit``, then ``transform``: some classes take a road of their own here."""
        return self.fit(X, y, **arguments).transform(X)  # type: ignore[attr-defined]

    def fit_predict(self, X: Any, y: Any = None, **arguments: Any) -> Any:
        """``fit``, then ``predict``."""
        return self.fit(X, y, **arguments).predict(X)  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:
    """The subclasses by name, so that fitted facades can be pickled."""
    for kind in registry.entries():
        if name == kind.__name__:
            return _subclass(kind)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _engine() -> Any:
    """One for all fits: a few small blocks are read one after another, without a pool of threads for each pass."""
    from parquetry.engine import open_engine

    return open_engine("local", workers=1)


@cache
def _subclass(kind: Any) -> Any:
    from sklearn.utils.validation import has_fit_parameter

    def fit(self: Any, X: Any, y: Any = None) -> Any:
        return self.fit_through(X, y, None)

    def fit_weighted(self: Any, X: Any, y: Any = None, sample_weight: Any = None) -> Any:
        return self.fit_through(X, y, sample_weight)

    methods: dict[str, Any] = {"kind": kind, "__module__": __name__, "__doc__": kind.__doc__}
    methods["fit"] = fit_weighted if has_fit_parameter(kind(), "sample_weight") else fit
    for name in ("fit_transform", "fit_predict"):
        if hasattr(kind, name):
            methods[name] = getattr(_Facade, name)
    methods["fit_through"] = _Facade.fit_through
    return type(kind.__name__, (kind,), methods)


def _validated(estimator: Any, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """X and y in the shapes that ``fit`` takes; what their values may be is left to ``parquetry.fit``."""
    from sklearn.utils import get_tags
    from sklearn.utils.validation import _check_y, _get_feature_names, check_array, check_consistent_length

    names = _get_feature_names(X)
    tags = get_tags(estimator)
    frame = hasattr(X, "iloc")
    wanted = tags.input_tags
    checked = check_array(
        X,
        accept_sparse=wanted.sparse,
        dtype=None if wanted.string or wanted.categorical else "numeric",
        ensure_all_finite=False,
        input_name="X",
        estimator=estimator,
    )
    # Some could do without y, with another score function: with their own they need it.
    scored = hasattr(estimator, "score_func")
    if y is None and (tags.target_tags.required or scored):
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, but the target y is None."
        )
    if y is not None and (tags.target_tags.required or scored):
        labels = tags.classifier_tags
        several = tags.target_tags.two_d_labels or (labels is not None and labels.multi_label)
        multi = tags.target_tags.multi_output or (several and np.asarray(y).ndim == 2 and np.asarray(y).shape[1] > 1)
        y = _check_y(y, multi_output=multi, estimator=estimator) if not _is_text(y) else np.asarray(y)
        check_consistent_length(checked, y)
    elif y is not None:
        y = None
    return (X if frame else checked), y, names


def _is_text(y: Any) -> bool:
    return np.asarray(y).dtype.kind in "OUS"


def _table(x: Any, y: Any, weights: Any) -> tuple[pa.Table, dict[str, Any]]:
    columns: dict[str, Any] = {}
    dense = x.toarray() if hasattr(x, "toarray") else x
    if hasattr(dense, "iloc"):
        columns |= {str(c): dense[c] for c in dense.columns}
    else:
        columns |= {f"x{i}": np.ascontiguousarray(dense[:, i]) for i in range(dense.shape[1])}
    roles: dict[str, Any] = {"features": list(columns)}
    if y is not None:
        targets = np.asarray(y)
        targets = targets.reshape(len(targets), -1)
        roles["target"] = [f"target {i}" for i in range(targets.shape[1])]
        columns |= {name: targets[:, i] for i, name in enumerate(roles["target"])}
    if weights is not None:
        from sklearn.utils.validation import _check_sample_weight

        columns["weight"] = _check_sample_weight(weights, np.empty((dense.shape[0], 1)), dtype=np.float64)
        roles["sample_weight"] = "weight"
    try:
        return pa.table({name: pa.array(values) for name, values in columns.items()}), roles
    except pa.ArrowInvalid as error:
        raise TypeError(f"A column's argument must be a string or a number: {error}") from error
