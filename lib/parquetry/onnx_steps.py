"""Fitted models taken apart for the conversion: their chain of steps, and what their inputs are.

The caller's model is never touched: containers are copied, steps shared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parquetry.errors import BadParameter

_NUMBERS = ("bool", "int", "uint", "half", "float", "double", "decimal", "null")
_TEXTS = ("string", "large_string", "string_view", "str", "object")


def input_types(model: Any) -> dict[str, str]:
    """Column names and Arrow types of X: from the fit report, else as far as the steps tell.

    A model that Parquetry has not fitted knows its names, not its types: a column is taken as
    text where its first step has learned text from it, and as a number otherwise.
    """
    report = getattr(model, "fit_report_", None)
    if report is not None:
        return dict(report["inputs"])
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        count = getattr(model, "n_features_in_", None)
        if count is None:
            raise BadParameter(f"{type(model).__name__} is not fitted.", fix="Fit it first: parquetry.fit(…).")
        names = [f"x{i}" for i in range(count)]
    text = set()
    for _, step in flattened(model, ""):
        text = _text_positions(step, list(range(len(names))))
        break
    return {str(name): "string" if i in text else "double" for i, name in enumerate(names)}


def predictor(model: Any) -> Any:
    """The step that predicts, inside Pipelines, searches and target transforms; else the last one."""
    steps = [step for _, step in flattened(model, "")]
    return next((step for step in reversed(steps) if hasattr(step, "predict")), steps[-1])


def chain_of(steps: list[tuple[str, Any]], width: int) -> list[tuple[str, Any]]:
    """The steps as the converter gets them: the first one takes one named input a column."""
    path, first = steps[0]
    if hasattr(first, "predict"):
        return [(path, _first_transformer("passthrough", width)), *steps]
    return [(path, _first_transformer(first, width)), *((p, _prepared(s)) for p, s in steps[1:])]


# --- taking the model apart -----------------------------------------------------------------
def flattened(model: Any, path: str, *, last: bool = True) -> Iterator[tuple[str, Any]]:
    """``(path, step)`` of the chain that a model is, with inner Pipelines and target transforms unrolled."""
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.feature_selection import RFE
    from sklearn.frozen import FrozenEstimator
    from sklearn.model_selection import FixedThresholdClassifier
    from sklearn.pipeline import Pipeline

    from parquetry.onnx_converters import InverseTarget
    from parquetry.onnx_encoders import Chosen

    model = getattr(model, "best_estimator_", model)
    if isinstance(model, Pipeline):
        for i, (name, step) in enumerate(model.steps):
            if step is not None and not (isinstance(step, str) and step == "passthrough"):
                yield from flattened(step, f"{path}{name} > ", last=last and i == len(model.steps) - 1)
    elif isinstance(model, RFE):
        yield path.removesuffix(" > ") or type(model).__name__, Chosen(model.get_support(indices=True).tolist())
        if last:  # it predicts by what it has chosen the columns with
            yield from flattened(model.estimator_, f"{path}estimator > ")
    elif isinstance(model, TransformedTargetRegressor):
        yield from flattened(model.regressor_, f"{path}regressor > ")
        yield f"{path}transformer", InverseTarget(model.transformer_)
    elif isinstance(model, FrozenEstimator):
        yield from flattened(model.estimator, path)
    elif isinstance(model, FixedThresholdClassifier):
        # Its threshold comes in at the end of the graph: see onnx_threshold.
        yield from flattened(getattr(model, "estimator_", model.estimator), path)
    else:
        yield path.removesuffix(" > ") or type(model).__name__, model


def _prepared(step: Any) -> Any:
    """A step for the conversion: containers copied, columns as positions, words as transformers."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline
    from sklearn.preprocessing import FunctionTransformer, TargetEncoder

    from parquetry.onnx_encoders import TargetCategories

    if type(step) is TargetEncoder:
        return TargetCategories(step)
    if isinstance(step, str):
        return FunctionTransformer()
    if isinstance(step, Pipeline):
        chain = [(n, _prepared(s)) for n, s in step.steps if s is not None and not isinstance(s, str)]
        return Pipeline(chain or [("same", FunctionTransformer())])
    if isinstance(step, FeatureUnion):
        kept = [(n, _prepared(t)) for n, t in step.transformer_list if not (isinstance(t, str) and t == "drop")]
        return FeatureUnion(kept, transformer_weights=step.transformer_weights)
    if isinstance(step, ColumnTransformer):
        chosen = copy.copy(step)
        chosen.transformers_ = [(n, _prepared(t), positions) for n, t, positions in _branches(step)]
        return chosen
    return step


def _branches(transformer: Any) -> list[tuple[str, Any, list[int]]]:
    """``(name, fitted transformer, column positions)`` of the branches that give anything."""
    positions = transformer._transformer_to_input_indices
    return [
        (name, fitted, list(positions[name]))
        for name, fitted, _ in transformer.transformers_
        if len(positions[name]) and not (isinstance(fitted, str) and fitted == "drop")
    ]


def _first_transformer(step: Any, width: int) -> Any:
    """The step that meets the named inputs: a ColumnTransformer, made for it where it is none."""
    from sklearn.compose import ColumnTransformer

    if isinstance(step, ColumnTransformer):
        return _prepared(step)
    every = list(range(width))
    whole = ColumnTransformer([("inputs", step, every)])
    whole.transformers_ = [("inputs", _prepared(step), every)]
    whole.sparse_output_ = False
    return whole


def leaves_of(step: Any, path: str) -> Iterator[tuple[str, Any]]:
    """``(path, estimator)`` of what a step is made of."""
    for attribute in ("transformers_", "steps", "transformer_list"):
        if hasattr(step, attribute):
            for item in getattr(step, attribute):
                yield from leaves_of(item[1], f"{path} > {item[0]}")
            return
    if not isinstance(step, str):
        yield path, step


# --- inputs ---------------------------------------------------------------------------------
def graph_types(steps: list[tuple[str, Any]], inputs: Mapping[str, str]) -> dict[str, str]:
    """``"float"``, ``"text"``, ``"whole"`` or ``"other"`` (a date, say) for each input."""
    kinds = {name: _kind(kind) for name, kind in inputs.items()}
    whole = _whole_positions(steps[0][1], list(range(len(kinds))))
    return {n: "whole" if i in whole and k == "float" else k for i, (n, k) in enumerate(kinds.items())}


def _kind(arrow_type: str) -> str:
    inner = arrow_type.split("values=", 1)[1] if arrow_type.startswith("dictionary<") else arrow_type
    if inner.startswith(_TEXTS):
        return "text"
    return "float" if inner.startswith(_NUMBERS) else "other"


def _meeting(step: Any, positions: list[int]) -> Iterator[tuple[Any, list[int]]]:
    """``(leaf, columns)``: the leaves that meet the inputs as they are, with their columns."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import FeatureUnion, Pipeline

    if isinstance(step, ColumnTransformer):
        for _, inner, chosen in _branches(step):
            yield from _meeting(inner, [positions[i] for i in chosen])
    elif isinstance(step, FeatureUnion):
        for _, inner in step.transformer_list:
            yield from _meeting(inner, positions)
    elif isinstance(step, Pipeline):
        yield from _meeting(step.steps[0][1], positions)
    elif not isinstance(step, str) and step is not None:
        yield step, positions


def _text_positions(step: Any, positions: list[int]) -> set[int]:
    found = set()
    for leaf, columns in _meeting(step, positions):
        learned = getattr(leaf, "categories_", None) or [[v] for v in getattr(leaf, "statistics_", [])]
        found |= {c for c, values in zip(columns, learned, strict=False) if any(isinstance(v, str) for v in values)}
    return found


def _whole_positions(step: Any, positions: list[int]) -> set[int]:
    """Columns of whole numbers that float32 could not tell apart, where an encoder meets them."""
    from parquetry.onnx_one_hot import FLOAT32_WHOLE

    leaves = list(_meeting(step, positions))
    found: set[int] = set()
    for leaf, columns in leaves:
        for column, values in zip(columns, getattr(leaf, "categories_", ()), strict=False):
            kind = np.asarray(values)
            if (
                kind.dtype.kind in "iu"
                and len(kind)
                and max(abs(int(kind.min())), abs(int(kind.max()))) > FLOAT32_WHOLE
            ):
                found.add(column)
    shared = {c for leaf, columns in leaves if not hasattr(leaf, "categories_") for c in columns}
    return found - shared
