"""LGBMClassifier, LGBMRegressor and LGBMRanker: LightGBM's own distributed training, in a gang.

Each rank streams its rows into LightGBM's bins and keeps those alone. With one rank the model is that
of LightGBM's own ``fit`` of the same rows (with ``deterministic=True, force_col_wise=True``), to the
last bit. With more it depends on their number, in its last digits, and on nothing else of the engine.

Source: https://lightgbm.readthedocs.io/en/latest/Parallel-Learning-Guide.html
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
from lightgbm import LGBMClassifier, LGBMRanker, LGBMRegressor
from lightgbm.sklearn import _EvalFunctionWrapper
from sklearn.preprocessing import LabelEncoder

from parquetry.boosting import lightgbm_params as parameters
from parquetry.boosting.category_codes import CategoryCodes, coded, is_category
from parquetry.boosting.cuts import Targets
from parquetry.boosting.gang import Gang, GangWork, Outcome
from parquetry.boosting.lightgbm_data import BinSample, sampled_rows
from parquetry.boosting.lightgbm_train import QUERIES, Stopping, Trained, Training
from parquetry.boosting.queries import QueryEdges, QueryIds
from parquetry.classical.labels import Classes, encoded, learn_classes
from parquetry.classical.row_weights import RowWeights
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, DegenerateColumn
from parquetry.features.surrogate import require_numbers
from parquetry.fitting import Asking, Fitting, Pass, together
from parquetry.foundation.counts import Counts
from parquetry.registry import fitter
from parquetry.through import as_given
from parquetry.view import Columns, View

_SAMPLE_SHARE = 8  # of the memory that a worker may use, for the rows on which bins are based
_LINEAR = "linear_tree=True keeps every row as floats, and LightGBM grows such trees in one process only."


def call_lightgbm(model: Any, method: str, x: Any, **options: Any) -> Any:
    """``model.method(x)`` on a worker: texts as categories, on the one thread that a task has."""
    bare = copy.copy(model)
    # It would warn of every array that it has names and the array has none.
    bare._fitted_with_feature_names, bare.n_jobs = False, 1
    categories = model.booster_.pandas_categorical or []
    if isinstance(x, Columns):
        places = [i for i, f in enumerate(x.table.schema) if is_category(f.type)]
        if len(places) == len(categories):
            x = CategoryCodes({i: pa.array(c) for i, c in zip(places, categories, strict=True)})(x)
    return getattr(bare, method)(as_given(x), **options)


@fitter(
    LGBMClassifier,
    LGBMRegressor,
    LGBMRanker,
    passes="1 for the bins, with the target's, then each rank reads its rows; columns of text 1 more",
    exact="LightGBM's own fit to the last bit at world=1; its own distributed training on the same bins else",
    matrices=False,
    single_node="linear_tree=True",
    call=call_lightgbm,
    check=parameters.check_names,
)
def fit_lightgbm(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Settle classes, categories and bins, train in a gang, and set what LightGBM's own ``fit`` sets.

    ``n_jobs``, where it is a number above 0, is the threads of each rank; else each has one.
    ``metric=`` may hold functions as LightGBM's ``eval_metric`` takes them (the fitted model's is then
    ``"custom"``, or what else it held: LightGBM could not predict with functions). Columns of text are
    categories, as a pandas frame of category columns would have them.
    """
    who = type(estimator).__name__
    _check(estimator, view, fitting)
    if parameters.value(estimator.get_params(), "linear_tree"):
        return (yield from fitting.gather(estimator, view, _LINEAR))
    gang, validation = Gang.of(fitting.options.take("gang")), fitting.options.take("validation")
    # Categories and the target are told by one read.
    found = yield from together([coded(who, view), _with_target(estimator, view)])
    (codes, categories), (roles, classes, queries) = found
    seen = replace(codes, target_step=roles.target_step, weight_step=roles.weight_step)
    plan = _planned(estimator, seen, categories, classes, gang, validation)
    views = {"train": seen}
    if queries:
        views[QUERIES] = _ids_alone(seen)
    held = 0.0
    if validation is not None:
        views["validation"] = yield from _validation_view(who, seen, validation, classes)
        held = validation.num_rows * _row_bytes(seen, plan)
    rows = sampled_rows(seen.dataset.num_rows, _most_rows(seen, plan, fitting.memory), plan.params)
    (bins,) = yield [Pass(BinSample(seen, rows, plan.params), _features_alone(seen))]
    training = replace(plan, bins=bins, queries={"train": queries} if queries else {})
    outcome: Outcome
    (outcome,) = yield [
        GangWork(
            who,
            training,
            views,
            gang,
            threads=_threads(estimator) or 1,
            needs=seen.dataset.num_rows * _row_bytes(seen, plan),
            memory=max(1, int(fitting.memory - held)),
        )
    ]
    fitting.report.why = f"{outcome.said}; bins from {seen.dataset.num_rows if rows is None else len(rows):,} rows"
    return _fitted(estimator, seen, plan, outcome.results[0])


def _check(estimator: Any, view: View, fitting: Fitting) -> None:
    """Refuse what can be known to be wrong before anything is read."""
    who = type(estimator).__name__
    parameters.check_names(estimator)
    if len(view.target) != 1:
        raise BadParameter(f"{who} takes one target, not {len(view.target)}.", fix="Pass target='column'.")
    if isinstance(estimator, LGBMRanker) and fitting.options.take("group") is None:
        raise BadParameter(f"{who} ranks within queries.", fix="Pass group='column of query ids'.")
    if not isinstance(estimator, LGBMRanker) and fitting.options.group is not None:
        raise BadParameter(f"{who} does not rank within queries.", fix="Leave group= out, or use LGBMRanker.")
    for i, name in enumerate(view.features if not view.steps else ()):
        kind = view.dataset.full_schema.field(name).type
        if not is_category(kind):
            require_numbers(estimator, view.select([i]))
    if view.steps:
        require_numbers(estimator, view)
    threads = _threads(estimator)
    if threads is not None and (not isinstance(threads, int | np.integer) or threads < 1):
        raise BadParameter(
            f"{who}: n_jobs={threads!r} does not say how many threads each rank uses.",
            why="The model must not depend on the cores of a machine.",
            fix="Pass a number from 1 on, or None for one.",
        )


def _threads(estimator: Any) -> Any:
    """``n_jobs``, under whatever name."""
    return parameters.value(estimator.get_params(), "num_threads")


def _with_target(
    estimator: Any, view: View
) -> Generator[list[Any], list[Any], tuple[View, Classes | None, dict[int, int]]]:
    """The view as LightGBM is to see it: class codes and class weights, or a target that has been looked at."""
    who = type(estimator).__name__
    if not isinstance(estimator, LGBMClassifier):
        (low, high), queries = yield from _looked_at(who, view)
        if low == high:
            raise DegenerateColumn(
                f"{who}: the target {view.target[0]!r} holds no other value than {low!r}.",
                why="There is nothing to predict.",
                fix="Check that this is the right column.",
            )
        return view, None, queries
    (classes,) = yield from learn_classes(estimator, view, least=2)
    estimator._le = LabelEncoder().fit(classes.values)
    estimator._classes, estimator._n_classes = estimator._le.classes_, len(classes.values)
    estimator._class_map = dict(zip(estimator._classes, np.arange(estimator._n_classes), strict=True))
    weights = estimator.class_weight
    seen = encoded(view, [classes], weights, by_rows=True)
    if isinstance(weights, dict):
        weights = {estimator._class_map[k]: v for k, v in weights.items() if k in estimator._class_map}
    estimator._class_weight = weights
    return seen, classes, {}


def _looked_at(who: str, view: View) -> Generator[list[Any], list[Any], tuple[tuple[float, float], dict[int, int]]]:
    """The least and the largest target, and the last query of each block; refuses what is amiss."""
    alone = _target_alone(view)
    works = [Pass(Targets(who, view.target), alone)]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), alone))
    if view.group is not None:
        works.append(Pass(QueryEdges(who, view.group), _ids_alone(view)))
    ((extremes,), *more) = yield works
    return extremes, more[-1] if view.group is not None else {}


def _planned(
    estimator: Any,
    view: View,
    categories: dict[int, Any],
    classes: Classes | None,
    gang: Gang,
    validation: Dataset | None,
) -> Training:
    """The training, but for the bins; every parameter has been looked at."""
    who = type(estimator).__name__
    if isinstance(estimator, LGBMRanker):
        estimator._eval_at = (1, 2, 3, 4, 5)
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
    parameters.check_values(estimator, params, view.names, view.width, n_classes)
    rounds = int(parameters.value(params, "num_iterations", estimator.n_estimators))
    if rounds < 1:
        raise BadParameter(f"{who}: n_estimators={rounds} grows no tree.", fix="Pass 1 or more.")
    boosting = parameters.value(params, "boosting")
    if gang.checkpoint is not None and boosting in ("dart", "rf", "random_forest"):
        raise BadParameter(
            f"{who}: boosting_type={boosting!r} has no checkpoints.",
            why="Trees that are grown may change later, or do not add up.",
            fix="Leave checkpoint= out of the Gang.",
        )
    return Training(
        who,
        b"",
        {**parameters.without(params, "num_iterations"), "num_iterations": rounds},
        rounds,
        view.names,
        [values.to_pylist() for values in categories.values()],
        objective,
        tuple(_EvalFunctionWrapper(m) for m in metrics if callable(m)),
        _stopping(who, params, validated=validation is not None),
        _key(estimator, view, validation),
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
    seen = replace(view.over(validation), weight_step=None)
    if classes is None:
        yield from _looked_at(f"{who} (validation=)", seen)
        return seen
    (counted,) = yield [Pass(Counts(who, view.target, target=True), replace(_target_alone(seen), target_step=None))]
    column, known = counted[0], set(classes.values.tolist())
    values = column.values if isinstance(column.values, list) else column.values.to_pylist()
    strange = [repr(v) for v in values if v not in known] + ["nothing (null)"] * (column.missing_at is not None)
    if strange:
        raise BadParameter(
            f"{who}: the target of validation= holds {strange[0]}, which is no class of the training rows.",
            fix="Split anew, so that every class is among the training rows.",
        )
    return seen


def _features_alone(view: View) -> View:
    return replace(view, target=(), sample_weight=None, target_step=None, weight_step=None, group=None)


def _target_alone(view: View) -> View:
    return replace(view, features=(), steps=(), step_names=None, group=None)


def _ids_alone(view: View) -> View:
    return replace(_target_alone(view), target=(), group=view.group).cached(QueryIds(str(view.group)))


def _row_bytes(view: View, plan: Training) -> float:
    """Of a row in a rank's memory: its bins, label, weight and place, and for each tree of a round what it is told."""
    bins = int(parameters.value(plan.params, "max_bin", 255))
    trees = int(parameters.value(plan.params, "num_class", 1))
    return min(view.width * (1 if bins <= 256 else 2), view.row_bytes) + 16 + 16 * trees


def _most_rows(view: View, plan: Training, memory: int) -> int:
    """How many rows the bins are based on: as many as LightGBM's own fit takes, if memory allows."""
    wanted = int(parameters.value(plan.params, "bin_construct_sample_cnt", 200_000))
    return max(1, min(wanted, int(memory / _SAMPLE_SHARE / view.row_bytes)))


def _fitted(estimator: Any, view: View, plan: Training, trained: Trained) -> Any:
    """What LightGBM's own ``fit`` sets."""
    booster = trained.booster
    estimator.n_features_in_ = view.width
    estimator._Booster = booster
    estimator._n_features = booster.num_feature()
    estimator._fitted_with_feature_names = view.names is not None
    estimator._evals_result = trained.history
    estimator._best_iteration, estimator._best_score = booster.best_iteration, booster.best_score
    if plan.metrics:
        # LightGBM's predict hands every parameter on, and refuses functions among them.
        estimator.set_params(metric=[m for m in plan.params["metric"] if m != "none"] or "custom")
    estimator.fitted_ = True
    return estimator


def _key(estimator: Any, view: View, validation: Dataset | None) -> str:
    """What tells this fit from others, for its checkpoints."""
    digest = hashlib.sha256(cloudpickle.dumps(sorted((k, repr(v)) for k, v in estimator.get_params().items())))
    for dataset in (view.dataset, validation):
        digest.update(b"" if dataset is None else dataset.fingerprint.encode())
    digest.update(repr((view.features, view.target, view.sample_weight, view.group)).encode())
    return digest.hexdigest()[:24]
