"""Which features a model uses: what it says itself, what shuffling a feature costs, and SHAP values.

All that needs rows runs block by block on the engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from parquetry.boosting.categories import as_known
from parquetry.dataset import Dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter, did_you_mean
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.reduction import Reduction
from parquetry.scoring import model_features
from parquetry.through import apply, as_given, best_of, transform
from parquetry.view import Batch, Columns, FloatArray, View

if TYPE_CHECKING:
    from parquetry.engine import Engine

KINDS = ("gain", "total_gain", "weight", "cover", "total_cover", "permutation", "shap")
_TINY = np.finfo(np.float64).tiny


def importances(
    model: Any,
    data: Dataset | str | os.PathLike[str] | None = None,
    *,
    kinds: Sequence[str] = ("gain",),
    target: str | None = None,
    features: Sequence[str] | None = None,
    sample_weight: str | None = None,
    repeats: int = 3,
    seed: int = 0,
    engine: Engine | str | None = None,
) -> dict[str, dict[str, float]]:
    """How much each feature counts.

    Parameters
    ----------
    model : fitted XGBoost, LightGBM or CatBoost estimator, or a pipeline that ends in one
        Or a fitted search for one. ``permutation`` takes any fitted classifier or regressor.
    data : Dataset, path or URL, default None
        The rows for ``permutation`` and ``shap``.
    kinds : sequence of str, default ("gain",)
        ``gain``, ``total_gain``, ``weight`` (the number of splits), ``cover``, ``total_cover``: what
        the trees themselves say (LightGBM: ``gain`` and ``weight``; CatBoost: ``gain``, its own
        measure). ``permutation``: by how much the loss grows when a stored column is shuffled
        (within each batch of rows, up to 64 MiB of one row group), the mean of ``repeats``; the loss
        is the log loss of classifiers and the mean squared error of regressors. ``shap``: the mean
        absolute SHAP value, in units of the margin (Lundberg & Lee, "A unified approach to
        interpreting model predictions", 2017); several classes are added up.
    target : str, default None
        For ``permutation``.
    features : sequence of str, default None
        X's columns; None takes those that the model was fitted on.
    sample_weight : str, default None
    repeats, seed : int, default 3 and 0
    engine : Engine or what ``open_engine`` takes, default None

    Returns
    -------
    dict of str to dict of str to float
        For each kind, a number for each feature, largest first.
    """
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    _check(kinds, data, target, repeats)
    best = best_of(model)
    found = {k: _told_by_trees(best, k) for k in kinds if k not in ("permutation", "shap")}
    if data is not None and len(found) < len(kinds):
        chosen = model_features(model, features)
        view = make_view(data, target=target, features=chosen, sample_weight=sample_weight)
        works: list[tuple[Reduction[Any, Any], View]] = []
        if "permutation" in kinds:
            works.append((Permutation(model, view, repeats, seed), view))
        if "shap" in kinds:
            works.append((MeanShap(best, shap_names(best, view)), view))
        with borrowed_engine(engine) as running:
            done = run_pass(running, works, label=f"importances-{type(model).__name__}")
        found |= dict(zip([k for k in ("permutation", "shap") if k in kinds], done, strict=True))
    return {k: dict(sorted(found[k].items(), key=lambda pair: -pair[1])) for k in kinds}


def _check(kinds: Sequence[str], data: Any, target: str | None, repeats: int) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise BadParameter(f"kinds: {kind!r} is not known.", fix=did_you_mean(kind, KINDS))
    if {"permutation", "shap"} & set(kinds) and data is None:
        raise BadParameter("Permutation importances and SHAP values need rows.", fix="Pass data=.")
    if "permutation" in kinds and target is None:
        raise BadParameter("Permutation importances need a target.", fix="Pass target='column'.")
    if repeats < 1:
        raise BadParameter(f"repeats={repeats!r} is not a number of repeats.", fix="Pass 1 or more.")


# --- what the trees say -----------------------------------------------------------------------
def _told_by_trees(model: Any, kind: str) -> dict[str, float]:
    last = final(model)
    if _package(last) == "xgboost":
        booster = last.get_booster()
        names = booster.feature_names or [f"f{i}" for i in range(booster.num_features())]
        scores = booster.get_score(importance_type=kind)
        return {n: float(np.sum(scores.get(n, 0.0))) for n in names}
    if _package(last) == "lightgbm" and kind in ("gain", "weight"):
        values = last.booster_.feature_importance("gain" if kind == "gain" else "split")
        return dict(zip(last.booster_.feature_name(), map(float, values), strict=True))
    if _package(last) == "catboost" and kind == "gain":
        return dict(zip(last.feature_names_, map(float, last.get_feature_importance()), strict=True))
    raise BadParameter(
        f"{type(last).__name__} does not tell {kind!r} of its features.",
        fix="kinds=['permutation'] asks any model.",
    )


# --- shuffled columns ---------------------------------------------------------------------------
@dataclass
class _Losses:
    """Sums of weights, of the losses, and of those with each column shuffled: ``(n_features, repeats)``."""

    weight: float
    loss: float
    shuffled: FloatArray


class Permutation(Reduction[_Losses, dict[str, float]]):
    """By how much the mean loss grows when a column is shuffled among the rows of a batch.

    Parameters
    ----------
    model : fitted classifier or regressor
    view : View
    repeats, seed : int
    """

    label = "permutation"

    def __init__(self, model: Any, view: View, repeats: int, seed: int) -> None:
        from sklearn.base import is_classifier

        self.model, self.repeats, self.seed = model, repeats, seed
        self.features, self.classifies = view.features, is_classifier(model)

    def partial(self, batch: Batch) -> _Losses:
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        table, where = batch.stored.table, batch.stored.where
        shuffled = np.zeros((len(self.features), self.repeats))
        for i, name in enumerate(self.features):
            for repeat in range(self.repeats):
                order = np.random.default_rng(
                    [self.seed, batch.block.index, int(batch.rows[0]), i, repeat]
                ).permutation(batch.num_rows)
                mixed = table.set_column(i, name, table.column(i).take(pa.array(order)))
                shuffled[i, repeat] = float(self._losses(Columns(mixed, where), batch) @ weights)
        return _Losses(float(weights.sum()), float(self._losses(batch.stored, batch) @ weights), shuffled)

    def merge(self, left: _Losses, right: _Losses) -> _Losses:
        return _Losses(left.weight + right.weight, left.loss + right.loss, left.shuffled + right.shuffled)

    def finish(self, state: _Losses) -> dict[str, float]:
        grown = (state.shuffled.mean(axis=1) - state.loss) / state.weight
        return dict(zip(self.features, map(float, grown), strict=True))

    def _losses(self, x: Columns, batch: Batch) -> FloatArray:
        if not self.classifies:
            guess = np.asarray(apply(self.model, "predict", x), dtype=np.float64)
            return np.asarray((guess - batch.y_floats[0]) ** 2)
        shares = np.asarray(apply(self.model, "predict_proba", x), dtype=np.float64)
        codes = np.searchsorted(self.model.classes_, batch.y)
        of_truth = shares[np.arange(len(codes)), np.minimum(codes, shares.shape[1] - 1)]
        return np.asarray(-np.log(np.maximum(of_truth, _TINY)))


# --- SHAP values --------------------------------------------------------------------------------
class MeanShap(Reduction[tuple[float, FloatArray], dict[str, float]]):
    """The mean absolute SHAP value of each feature.

    Parameters
    ----------
    model : fitted booster's estimator, or a pipeline that ends in one
    names : sequence of str
        Of the features that the booster sees.
    """

    label = "shap"

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        self.model, self.names = model, tuple(names)

    def partial(self, batch: Batch) -> tuple[float, FloatArray]:
        weights = np.ones(batch.num_rows) if batch.weights is None else batch.weights
        values = shap_values(self.model, batch.X)
        sizes = np.abs(values).sum(axis=1) if values.ndim == 3 else np.abs(values)
        return float(weights.sum()), weights @ sizes[:, :-1]

    def merge(self, left: Any, right: Any) -> Any:
        return left[0] + right[0], left[1] + right[1]

    def finish(self, state: tuple[float, FloatArray]) -> dict[str, float]:
        return dict(zip(self.names, map(float, state[1] / state[0]), strict=True))


def shap_values(model: Any, x: Any) -> FloatArray:
    """SHAP values of some rows, the expected value last.

    Parameters
    ----------
    model : fitted booster's estimator, or a pipeline that ends in one
    x : Columns, DataFrame or ndarray

    Returns
    -------
    ndarray of shape (n_rows, n_features + 1), or (n_rows, n_classes, n_features + 1)
    """
    last, x = _before_last(model, x)
    own: dict[str, Callable[[Any, Any], Any]] = {"xgboost": _of_xgboost, "lightgbm": _of_lightgbm, "catboost": _of_cat}
    if _package(last) not in own:
        raise BadParameter(
            f"There are no SHAP values of {type(last).__name__}.",
            why="They come from the boosters' own code.",
            fix="kinds=['permutation'] asks any model.",
        )
    return np.asarray(own[_package(last)](last, x), dtype=np.float64)


def _of_xgboost(model: Any, x: Any) -> Any:
    import xgboost as xgb

    booster, x = model.get_booster(), as_given(x)
    named = hasattr(x, "columns")
    x = as_known(model, x) if model.enable_categorical else x
    matrix = xgb.DMatrix(
        x,
        missing=model.missing,
        enable_categorical=model.enable_categorical,
        nthread=1,
        feature_names=None if named else booster.feature_names,
        feature_types=None if named else booster.feature_types,
    )
    last = getattr(model, "best_iteration", None) if model.early_stopping_rounds else None
    rounds = (0, 0) if last is None else (0, last + 1)
    return booster.predict(matrix, pred_contribs=True, iteration_range=rounds)


def _of_lightgbm(model: Any, x: Any) -> Any:
    from parquetry.boosting.lightgbm import call_lightgbm

    values = call_lightgbm(model, "predict", x, pred_contrib=True)
    width = model.n_features_in_ + 1
    return values if values.shape[1] == width else values.reshape(len(values), -1, width)


def _of_cat(model: Any, x: Any) -> Any:
    from catboost import Pool

    from parquetry.boosting.catboost import as_frame

    x = as_frame(x) if isinstance(x, Columns) else as_given(x)
    return model.get_feature_importance(
        Pool(x, cat_features=model.get_cat_feature_indices()), type="ShapValues", thread_count=1
    )


def shap_names(model: Any, view: View) -> tuple[str, ...]:
    """The names of the features that the booster sees."""
    if not _steps(model):
        return tuple(view.features)
    _, x = _before_last(model, next(iter(view.head_batches(2))).X)
    if hasattr(x, "columns"):
        return tuple(map(str, x.columns))
    try:
        return tuple(map(str, model[:-1].get_feature_names_out(list(view.features))))
    except (AttributeError, ValueError):
        return tuple(f"x{i}" for i in range(x.shape[1]))


def final(model: Any) -> Any:
    """The estimator at the end of a pipeline, or the model itself."""
    steps = _steps(model)
    return final(steps[-1][1]) if steps else model


def _steps(model: Any) -> list[tuple[str, Any]]:
    return list(getattr(model, "steps", []))


def _before_last(model: Any, x: Any) -> tuple[Any, Any]:
    for _, step in _steps(model)[:-1]:
        x = transform(step, x)
    steps = _steps(model)
    return _before_last(steps[-1][1], x) if steps else (model, x)


def _package(model: Any) -> str:
    return type(model).__module__.partition(".")[0]
