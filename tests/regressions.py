"""Rows for linear models, easy and hard, and the comparison with scikit-learn's own fit of the same rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import clone

import parquetry as pqy
from parity import assert_same
from shapes import Shapes

N, K = 700, 5
FEATURES = [f"x{i}" for i in range(K)]


_OF = Shapes(N, K, offset=1e6, gap=1e-3)
well, far, nearly_collinear, collinear, constant_column, uneven_scales = (
    _OF.well,
    _OF.far,
    _OF.nearly_collinear,
    _OF.collinear,
    _OF.constant_column,
    _OF.uneven_scales,
)
SHAPES = (well, far, nearly_collinear, collinear, constant_column, uneven_scales)


def table(shape: Callable[[np.random.Generator], np.ndarray] = well) -> pa.Table:
    """Features, targets y and z, labels of two and of four classes, two flags, weights with and without zeros."""
    rng = np.random.default_rng(5)
    x = shape(rng)
    spread = x.std(axis=0)
    u = (x - x.mean(axis=0)) / np.where(spread > 1e-9, spread, 1.0)
    y = u @ np.arange(1, K + 1) + 3 + 2 * rng.normal(size=N)
    z = u @ np.arange(K, 0, -1) - 1 + rng.normal(size=N)
    unsure = y + 6 * rng.normal(size=N)
    return pa.table(
        {
            **{f"x{i}": x[:, i] for i in range(K)},
            "y": y,
            "z": z,
            "two": np.where(unsure > 9, "yes", "no"),
            "four": np.digitize(unsure, [-6.0, 1.0, 8.0]) * 10,
            "flag": (y > 3).astype(int),
            "mark": (z > 1).astype(int),
            "mass": rng.uniform(0.1, 3.0, N),
            "weight": np.where(rng.random(N) < 0.1, 0.0, rng.uniform(0.1, 3.0, N)),
        }
    )


def fit_both(
    estimator: Any, data: pqy.Dataset, engine: Any, *, target: Any, weight: str | None = None
) -> tuple[Any, Any]:
    """Our fit, and scikit-learn's own fit of the same rows."""
    frame = data.to_pandas()
    ours = pqy.fit(estimator, data, target=target, features=FEATURES, sample_weight=weight, engine=engine)
    given = {} if weight is None else {"sample_weight": frame[weight].to_numpy()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Copies: some of scikit-learn's fits center a frame's own values.
        theirs = clone(estimator).fit(frame[FEATURES].copy(), frame[target].copy(), **given)
    return ours, theirs


def assert_same_model(ours: Any, theirs: Any, rtol: float = 1e-9, *, apart: tuple[str, ...] = ()) -> None:
    """Every attribute that scikit-learn has learned, but for those set apart: type, shape, dtype, values."""
    learned = [k for k in vars(theirs) if k.endswith("_") or k == "_label_binarizer"]
    assert "coef_" in learned
    for name in learned:
        assert hasattr(ours, name), name
        if name not in apart:
            assert_same(getattr(ours, name), getattr(theirs, name), name, rtol)
