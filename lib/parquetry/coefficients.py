"""The weights of a fitted linear model, with the names of the features that they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np

from parquetry.errors import BadParameter

INTERCEPT = "(intercept)"


def named_coefficients(model: Any) -> dict[str, float]:
    """The intercept, then each feature's weight, in the model's own order.

    Parameters
    ----------
    model : fitted Pipeline or linear model
        With one target, or two classes: the weights then speak for the second one. The names are
        those that the last transformer gives to its outputs.

    Raises
    ------
    BadParameter
        The model has no weights, or has several targets.
    """
    last = model[-1] if hasattr(model, "steps") else model
    weights = np.asarray(getattr(last, "coef_", np.zeros((0, 0))))
    if weights.ndim == 2 and len(weights) == 1 and len(getattr(last, "classes_", ())) == 2:
        weights = weights[0]
    if weights.ndim != 1:
        raise BadParameter(
            f"{type(last).__name__} has no single row of weights.", fix="Pass a fitted linear model of one target."
        )
    names, intercept = _names(model, last), float(np.ravel(last.intercept_)[0])
    return {INTERCEPT: intercept, **{str(n): float(w) for n, w in zip(names, weights, strict=True)}}


def _names(model: Any, last: Any) -> list[str]:
    if not hasattr(model, "steps") or len(model) == 1:
        return [str(n) for n in last.feature_names_in_]
    names = [str(n) for n in model[:-1].get_feature_names_out()]
    # A ColumnTransformer puts its branches' names in front: they go where names stay distinct.
    branches = tuple(f"{name}__" for name in getattr(model[-2], "named_transformers_", ()))
    short = [n.split("__", 1)[1] if n.startswith(branches) else n for n in names] if branches else names
    return short if len(set(short)) == len(short) else names
