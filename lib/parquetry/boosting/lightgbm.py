"""LGBMClassifier, LGBMRegressor and LGBMRanker: LightGBM's own distributed training, in a gang.

Each rank streams its rows into LightGBM's bins and keeps those alone. With one rank the model is that
of LightGBM's own ``fit`` of the same rows (with ``deterministic=True, force_col_wise=True``), to the
last bit. With more it depends on their number, in its last digits, and on nothing else of the engine.

Source: https://lightgbm.readthedocs.io/en/latest/Parallel-Learning-Guide.html
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from lightgbm.sklearn import _EvalFunctionWrapper
from sklearn.preprocessing import LabelEncoder

from parquetry.boosting import lightgbm_params as parameters
from parquetry.boosting.categories import coded
from parquetry.boosting.gang import Gang, GangWork
from parquetry.boosting.lightgbm_data import BinSample, sampled_rows
from parquetry.boosting.lightgbm_train import Stopping, Trained, Training
from parquetry.classical.labels import Classes, encoded, learn_classes
from parquetry.classical.row_weights import RowWeights
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, DegenerateColumn
from parquetry.features.surrogate import require_numbers
from parquetry.fitting import Asking, Fitting, Pass
from parquetry.foundation.counts import Counts
from parquetry.foundation.positions import Position, earliest, first_non_finite, refusal
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import Batch, View

_SAMPLE_SHARE = 8  # of the memory that a worker may use, for the rows on which bins are based
_LINEAR = "linear_tree=True keeps every row as floats, and LightGBM grows such trees in one process only."


def _is_numeric(model: Any) -> bool:
    return not model.booster_.pandas_categorical


@fitter(
    LGBMClassifier,
    LGBMRegressor,
    LGBMRanker,
    passes="1 for the bins, with the target's, then each rank reads its rows; columns of text 1 more",
    exact="LightGBM's own fit to the last bit at world=1; its own distributed training on the same bins else",
    matrices=_is_numeric,
    single_node="linear_tree=True",
)
def fit_lightgbm(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Settle classes, categories and bins, train in a gang, and set what LightGBM's own ``fit`` sets.

    ``n_jobs``, where it is a number above 0, is the threads of each rank; else each has one.
    ``metric=`` may hold functions as LightGBM's ``eval_metric`` takes them. Columns of text are
    categories, as a pandas frame of category columns would have them.
    """
    who = type(estimator).__name__
    parameters.check_names(estimator)
    if parameters.value(estimator.get_params(), "linear_tree"):
        return (yield from fitting.gather(estimator, view, _LINEAR))
    gang, validation = Gang.of(fitting.options.take("gang")), fitting.options.take("validation")
    ranks = isinstance(estimator, LGBMRanker)
    if ranks and fitting.options.take("group") is None:
        raise BadParameter(f"{who} needs to know which rows belong to one query.", fix="Pass group='column'.")
    view, categories = yield from coded(who, view)
    require_numbers(estimator, view)
    seen, classes = yield from _with_target(estimator, view)
    plan = _planned(estimator, seen, categories, classes, validated=validation is not None)
    rows = sampled_rows(seen.dataset.num_rows, _most_rows(seen, plan, fitting.memory), plan.params)
    views = {"train": seen}
    if validation is not None:
        views["validation"] = yield from _validation_view(who, seen, validation, classes)
    (bins,) = yield [Pass(BinSample(seen, rows, plan.params), _features_alone(seen))]
    training = replace(plan, bins=bins)
    jobs = estimator.n_jobs
    threads = int(jobs) if isinstance(jobs, int | np.integer) and jobs > 0 else 1
    (outcome,) = yield [GangWork(who, training, views, gang, threads)]
    based = seen.dataset.num_rows if rows is None else len(rows)
    fitting.report.why = f"{outcome.said}; bins from {based:,} rows"
    return _fitted(estimator, seen, outcome.results[0])


def _with_target(estimator: Any, view: View) -> Generator[list[Any], list[Any], tuple[View, Classes | None]]:
    """The view as LightGBM is to see it: class codes and class weights, or a target that has been looked at."""
    who = type(estimator).__name__
    if len(view.target) != 1:
        raise BadParameter(f"{who} takes one target, not {len(view.target)}.", fix="Pass target='column'.")
    if isinstance(estimator, LGBMClassifier):
        (classes,) = yield from learn_classes(estimator, view, least=2)
        codes = np.arange(len(classes.values))
        weights = estimator.class_weight
        estimator._le = LabelEncoder().fit(classes.values)
        estimator._class_map = dict(zip(classes.values, codes, strict=True))
        estimator._classes, estimator._n_classes = estimator._le.classes_, len(codes)
        if isinstance(weights, dict):
            estimator._class_weight = {estimator._class_map[k]: v for k, v in weights.items()}
        elif weights is not None:
            estimator._class_weight = weights
        return encoded(view, [classes], weights, by_rows=True), classes
    works = [Pass(_Targets(who, view.target[0]), _target_alone(view))]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), _target_alone(view)))
    yield works
    return view, None


def _planned(
    estimator: Any, view: View, categories: dict[int, Any], classes: Classes | None, *, validated: bool
) -> Training:
    """The training, but for the bins; every parameter has been looked at."""
    who = type(estimator).__name__
    params = estimator._process_params(stage="fit")
    chosen = params.get("metric")
    metrics = [m for m in (chosen if isinstance(chosen, list | tuple | set) else [chosen]) if m is not None]
    params["metric"] = [m for m in metrics if not callable(m)] or ["none"]
    objective = params["objective"] if callable(params["objective"]) else None
    if objective is not None:
        params["objective"] = "none"
    # Which of the two is faster LightGBM would find out by the clock; and then sums differ in their last bits.
    params.setdefault("deterministic", True)
    if not parameters.value(params, "force_row_wise"):
        params.setdefault("force_col_wise", True)
    params = parameters.category_columns(who, params, view.names, view.width, list(categories))
    n_classes = 0 if classes is None else len(classes.values)
    parameters.check_values(estimator, params, view.width, n_classes)
    rounds = int(parameters.value(params, "num_iterations", estimator.n_estimators))
    if rounds < 1:
        raise BadParameter(f"{who}: n_estimators={rounds} grows no tree.", fix="Pass 1 or more.")
    return Training(
        who,
        b"",
        {**parameters.without(params, "early_stopping_round", "num_iterations"), "num_iterations": rounds},
        rounds,
        view.names,
        [values.to_pylist() for values in categories.values()],
        objective,
        tuple(_EvalFunctionWrapper(m) for m in metrics if callable(m)),
        _stopping(who, params, validated=validated),
    )


def _stopping(who: str, params: dict[str, Any], *, validated: bool) -> Stopping | None:
    patience = parameters.value(params, "early_stopping_round")
    if not patience or int(patience) <= 0:
        return None
    if not validated:
        raise BadParameter(
            f"{who}: early_stopping_round={patience} needs rows that the trees do not see.",
            fix="Pass validation=, as one of the two parts that data.split() gives.",
        )
    least = parameters.value(params, "early_stopping_min_delta", 0.0)
    return Stopping(int(patience), bool(parameters.value(params, "first_metric_only")), least)


def _validation_view(
    who: str, view: View, validation: Dataset, classes: Classes | None
) -> Generator[list[Any], list[Any], View]:
    """The validation rows in the same roles, their target looked at; class weights are for training alone."""
    seen = replace(view, dataset=validation, weight_step=None)
    if classes is None:
        yield [Pass(_Targets(who, view.target[0], may_be_constant=True), _target_alone(seen))]
        return seen
    plain = replace(_target_alone(seen), target_step=None)
    (counted,) = yield [Pass(Counts(who, view.target, target=True), plain)]
    known = set(classes.values.tolist())
    strange = [v for v in counted[0].values.to_pylist() if v not in known]
    if strange or counted[0].missing_at is not None:
        raise BadParameter(
            f"{who}: validation= holds the label {strange[0]!r}, which the training rows do not."
            if strange
            else f"{who}: validation= holds a missing label.",
            fix="Split anew, so that every class is among the training rows.",
        )
    return seen


def _features_alone(view: View) -> View:
    return replace(view, target=(), sample_weight=None, target_step=None, weight_step=None, group=None)


def _target_alone(view: View) -> View:
    return replace(view, features=(), steps=(), step_names=None, group=None)


def _most_rows(view: View, plan: Training, memory: int) -> int:
    """How many rows the bins are based on: as many as LightGBM's own fit takes, if memory allows."""
    wanted = int(parameters.value(plan.params, "bin_construct_sample_cnt", 200_000))
    return max(1, min(wanted, int(memory / _SAMPLE_SHARE / view.row_bytes)))


def _fitted(estimator: Any, view: View, trained: Trained) -> Any:
    """What LightGBM's own ``fit`` sets."""
    booster = trained.booster
    estimator.n_features_in_ = view.width
    estimator._Booster = booster
    estimator._n_features = booster.num_feature()
    estimator._fitted_with_feature_names = view.names is not None
    estimator._evals_result = trained.history
    estimator._best_iteration, estimator._best_score = booster.best_iteration, booster.best_score
    if isinstance(estimator, LGBMRanker):
        estimator._eval_at = (1, 2, 3, 4, 5)
    estimator.fitted_ = True
    return estimator


@dataclass
class _Extremes:
    least: float
    greatest: float
    bad: Position | None


class _Targets(Reduction[_Extremes, None]):
    """Refuses a target that is missing or infinite somewhere, or the same everywhere."""

    label = "target"

    def __init__(self, who: str, name: str, *, may_be_constant: bool = False) -> None:
        self.who, self.name, self.may_be_constant = who, name, may_be_constant

    def partial(self, batch: Batch) -> _Extremes:
        y = batch.y_floats[0]
        return _Extremes(float(y.min()), float(y.max()), first_non_finite(batch, [y], nan=True))

    def merge(self, left: _Extremes, right: _Extremes) -> _Extremes:
        bad = earliest([left.bad, right.bad])
        return _Extremes(min(left.least, right.least), max(left.greatest, right.greatest), bad)

    def finish(self, state: _Extremes) -> None:
        if state.bad is not None:
            raise refusal(state.bad, [self.name], self.who)
        if state.least == state.greatest and not self.may_be_constant:
            raise DegenerateColumn(
                f"{self.who}: the target {self.name!r} holds no other value than {state.least!r}.",
                why="There is nothing to predict.",
                fix="Check that this is the right column.",
            )
