"""What the parity tests share: tables of many kinds, and comparison with scikit-learn's own fit."""

from __future__ import annotations

import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.base import BaseEstimator, clone

import parquetry as pqy

RTOL = 1e-12
"""Learned numbers agree to this, relative to the larger of 1 and the attribute's largest value."""


def numbers(kind: str, n: int = 600) -> pa.Table:
    """A table of three number columns of one kind."""
    rng = np.random.default_rng(7)
    plain = {"a": rng.normal(size=n), "b": rng.gamma(2.0, size=n), "c": rng.uniform(-5, 5, n)}
    if kind == "gaps":
        plain["b"] = np.where(rng.random(n) < 0.2, np.nan, plain["b"])
        return pa.table({**plain, "c": pa.array(plain["c"], mask=rng.random(n) < 0.1)})
    if kind == "constant":
        return pa.table({**plain, "b": np.full(n, 0.1), "c": np.full(n, 1e9)})
    if kind == "integers":
        whole = {k: rng.integers(-4, 5, n) for k in plain}
        return pa.table({**whole, "b": pa.array(whole["b"], pa.int32(), mask=rng.random(n) < 0.3)})
    if kind == "whole":
        return pa.table({k: pa.array(rng.integers(0, 9, n), pa.int16()) for k in plain})
    if kind == "offset":
        return pa.table({k: 1e9 + rng.normal(size=n) for k in plain})
    if kind == "narrow":
        return pa.table({k: pa.array(v.astype(np.float32)) for k, v in plain.items()})
    if kind == "empty column":
        return pa.table({**plain, "b": np.full(n, np.nan)})
    if kind == "decimals":
        quarters = [Decimal(int(v)) / 4 for v in rng.integers(-9, 9, n)]
        gaps = pa.array(quarters, pa.decimal128(10, 2), mask=rng.random(n) < 0.1)
        return pa.table({**plain, "b": pa.array(quarters, pa.decimal128(10, 2)), "c": gaps})
    if kind == "booleans":
        return pa.table(
            {**plain, "b": rng.random(n) < 0.5, "c": pa.array(rng.random(n) < 0.5, mask=rng.random(n) < 0.2)}
        )
    return pa.table(plain)


KINDS = ("plain", "gaps", "constant", "integers", "whole", "offset", "narrow", "empty column", "decimals", "booleans")
LAYOUTS = {"one block": {"files": 1, "row_group_size": 10_000}, "many blocks": {"files": 3, "row_group_size": 37}}


def texts(n: int = 400) -> pa.Table:
    """Text with and without nulls, an integer with nulls, booleans with nulls, a float with NaN, dates."""
    rng = np.random.default_rng(11)
    gap = rng.random(n) < 0.15
    words = rng.choice(["oak", "ash", "elm", "yew", "fir", "beech"], n, p=[0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    levels = rng.choice([1.5, 2.5, -0.0, 0.0], n)
    return pa.table(
        {
            "word": pa.array(words),
            "gappy": pa.array(words[::-1], mask=gap),
            "number": pa.array(rng.integers(0, 5, n), mask=gap[::-1]),
            "whole": pa.array(rng.integers(0, 3, n)),
            "level": pa.array(np.where(gap, np.nan, levels)),
            "flag": pa.array(rng.random(n) < 0.3, mask=gap),
            "sure": pa.array(rng.random(n) < 0.3),
            "day": pa.array(rng.integers(18_000, 18_004, n).astype("datetime64[D]")),
        }
    )


def fit_both(estimator: Any, folder: Any, engine: Any, **arguments: Any) -> tuple[Any, Any, Any]:
    """Our fit, scikit-learn's own fit of the same rows, and those rows' X."""
    dataset = pqy.open_dataset(folder)
    frame = dataset.to_pandas(limit=None)
    target, weight = arguments.get("target"), arguments.get("sample_weight")
    features = arguments.setdefault("features", [c for c in frame.columns if c not in (target, weight)])
    given = {} if target is None else {"y": frame[target].to_numpy()}
    if weight is not None:
        given["sample_weight"] = frame[weight].to_numpy()
    ours = pqy.fit(estimator, dataset, engine=engine, **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = clone(estimator).fit(frame[features], **given)
    return ours, theirs, frame[features]


def assert_same_learned(ours: Any, theirs: Any, rtol: float = RTOL) -> None:
    """Every attribute that scikit-learn has learned: its type, shape, dtype and values."""
    learned = [k for k in vars(theirs) if k.endswith("_") or k in ("_fit_dtype", "_fill_dtype", "_n_features_outs")]
    assert learned
    for name in learned:
        assert hasattr(ours, name), name
        assert_same(getattr(ours, name), getattr(theirs, name), name, rtol)


def assert_same(ours: Any, theirs: Any, name: str, rtol: float = RTOL) -> None:
    """Two values, arrays, estimators or lists of them are the same."""
    assert type(ours) is type(theirs), f"{name}: {type(ours)} is not {type(theirs)}"
    if isinstance(theirs, BaseEstimator):
        assert_same_learned(ours, theirs, rtol)
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs), name
        for i, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, other, f"{name}[{i}]", rtol)
    elif hasattr(theirs, "tocsr"):
        assert_same(ours.toarray(), theirs.toarray(), name, rtol)
    elif isinstance(theirs, np.ndarray):
        assert_same_array(ours, theirs, name, rtol)
    elif isinstance(theirs, float | np.floating):
        np.testing.assert_allclose(ours, theirs, rtol=rtol, err_msg=name)
    else:
        assert ours == theirs, name


def assert_same_array(ours: Any, theirs: Any, name: str, rtol: float = RTOL) -> None:
    """Same shape, dtype and values; floats to ``rtol`` of the larger of 1 and the largest."""
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} is not {theirs.shape}"
    assert ours.dtype == theirs.dtype, f"{name}: {ours.dtype} is not {theirs.dtype}"
    if theirs.dtype.kind == "f":
        finite = np.abs(theirs[np.isfinite(theirs)])
        scale = max(1.0, float(finite.max())) if finite.size else 1.0
        np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=rtol * scale, err_msg=name)
    elif theirs.dtype == object:
        for mine, other in zip(ours.ravel(), theirs.ravel(), strict=True):
            both_nan = isinstance(mine, float) and isinstance(other, float) and mine != mine and other != other
            assert both_nan or (type(mine) is type(other) and mine == other), f"{name}: {mine!r} is not {other!r}"
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


def assert_same_output(ours: Any, theirs: Any, x: Any, rtol: float = RTOL) -> None:
    """``transform`` gives the same, through ours on a worker's road and through scikit-learn's."""
    from parquetry.through import transform
    from parquetry.view import Columns

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = theirs.transform(x)
        assert_same(ours.transform(x), expected, "transform", rtol)
        table = pa.Table.from_pandas(x, preserve_index=False).replace_schema_metadata(None)
        fast = transform(ours, Columns(table))
    fast, expected = (v.toarray() if hasattr(v, "toarray") else np.asarray(v) for v in (fast, expected))
    if expected.dtype.kind == "f":
        # The worker's road is in float64 throughout, so that a float32 column differs by its rounding.
        rtol = max(rtol, 1e-6) if expected.dtype == np.float32 else rtol
        assert_same_array(np.asarray(fast, expected.dtype), expected, "worker's transform", rtol)
    else:
        assert_same_array(fast, expected, "worker's transform", rtol)
