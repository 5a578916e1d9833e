"""Learned attributes of feature transformers that NumPy cannot compare: arrays of arrays, and splines."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from scipy.interpolate import BSpline
from sklearn.base import BaseEstimator

import parity


def assert_same_features(ours: Any, theirs: Any, rtol: float = parity.RTOL) -> None:
    """As :func:`parity.assert_same_learned`, for bins and splines too."""
    ours, theirs = copy.copy(ours), copy.copy(theirs)
    for name in ("bin_edges_", "bsplines_"):
        if hasattr(theirs, name):
            mine, other = (_plain(e.__dict__.pop(name)) for e in (ours, theirs))
            assert type(mine) is type(other)
            for i, (a, b) in enumerate(zip(mine, other, strict=True)):
                parity.assert_same(a, b, f"{name}[{i}]", rtol)
    for name in ("_encoder", "_scaler"):
        assert hasattr(ours, name) == hasattr(theirs, name), name
        if hasattr(theirs, name):
            parity.assert_same_learned(getattr(ours, name), getattr(theirs, name), rtol)
    parity.assert_same_learned(ours, theirs, rtol)


def bits(value: Any) -> Any:
    """Everything that a fitted estimator has learned, to the last bit, in a form that can be compared and hashed."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, np.ndarray | list | tuple):
        return tuple(bits(v) for v in value)
    if isinstance(value, BSpline):
        return bits(value.t), bits(value.c), value.k
    if isinstance(value, BaseEstimator):
        return tuple((k, bits(v)) for k, v in sorted(vars(value).items()) if k != "fit_report_")
    return repr(value)


def _plain(values: Any) -> Any:
    if isinstance(values, np.ndarray):
        return list(values)
    return [(s.t, s.c, s.k, s.extrapolate) for s in values]
