"""What ``fit`` is given, checked before any work: names, types, and an estimator that can go to the workers."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Iterable, Sequence
from typing import Any

import cloudpickle
import pyarrow as pa

from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, DegenerateColumn, StepNotPicklable, WrongColumnType
from parquetry.view import View, is_numeric


def make_view(
    data: Dataset | str | os.PathLike[str],
    *,
    target: str | Sequence[str] | None,
    features: Sequence[str] | None,
    sample_weight: str | None = None,
    group: str | None = None,
    beside: Sequence[str] = (),
) -> View:
    """A view from the arguments that users give, with every name checked.

    The columns ``beside`` it are no features unless they are named.
    """
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    targets = () if target is None else (target,) if isinstance(target, str) else tuple(target)
    dataset.require(targets, "target column")
    if sample_weight is not None:
        dataset.require([sample_weight], "weight column")
    if group is not None:
        dataset.require([group], "group column")
    apart = {*targets, sample_weight, group}
    dataset.require(beside, "column")
    if features is None:
        features = [c for c in dataset.columns if c not in apart and c not in beside]
    elif isinstance(features, str):
        raise BadParameter(f"features={features!r} is one string.", fix=f"Pass a list: features=[{features!r}].")
    dataset.require(features, "feature column")
    leaked = [c for c in features if c in apart]
    if leaked:
        raise BadParameter(
            f"{leaked[0]!r} is both a feature and the target, weight or group.",
            why="A model that sees its target has learned nothing.",
            fix="Leave it out of features=.",
        )
    if not features:
        raise BadParameter("There is no feature column left.", fix="Name some with features=.")
    if len(set(features)) < len(features):
        raise BadParameter(f"A column is named twice in features={list(features)}.", fix="Name each once.")
    return View(dataset, tuple(features), targets, sample_weight, group=group)


def require_estimator(estimator: Any) -> None:
    """Raise BadParameter where an estimator is a class, or no estimator at all."""
    if isinstance(estimator, type):
        raise BadParameter(
            f"{estimator.__name__} is a class, not an estimator.",
            why="Its parameters are not known yet.",
            fix=f"Call it: {estimator.__name__}().",
        )
    if not (hasattr(estimator, "fit") and hasattr(estimator, "get_params")):
        raise BadParameter(
            f"{estimator!r:.80} is no estimator.",
            why="It has no fit and get_params, as scikit-learn's estimators have.",
            fix="Pass one of scikit-learn's estimators, or a Pipeline of them.",
        )


def check_view(view: View, estimator: Any) -> None:
    """What can be known to be wrong from the footers alone, as typed errors."""
    from sklearn.base import is_regressor

    dataset = view.dataset
    dataset.require_rows()
    for name in view.features:
        kind = dataset.full_schema.field(name).type
        if pa.types.is_nested(kind):
            raise WrongColumnType(
                f"Feature {name!r} is {kind}.",
                why="A feature holds one value a row.",
                fix="Unnest it first, or leave it out with features=.",
            )
    for name in (*view.features, *view.target):
        _refuse_all_null(dataset, name)
    if view.sample_weight is not None and not is_numeric(dataset.full_schema.field(view.sample_weight).type):
        raise WrongColumnType(f"The weight column {view.sample_weight!r} is not numeric.", fix="Name a numeric column.")
    if is_regressor(estimator):
        for name in view.target:
            _check_regression_target(dataset, name, estimator)
    if is_regressor(estimator) and not view.target:
        raise BadParameter(f"{class_name(estimator)} needs a target.", fix="Pass target='column'.")


def check_picklable(estimator: Any) -> None:
    """Raise StepNotPicklable, naming the step, where an estimator cannot go to a worker."""
    for name, step in [*_named_steps(estimator), (class_name(estimator), estimator)]:
        try:
            cloudpickle.dumps(step)
        except (TypeError, pickle.PicklingError, AttributeError, RecursionError, OSError) as error:
            raise StepNotPicklable(
                f"Step {name!r} cannot be sent to the workers.",
                why=f"{type(error).__name__}: {error}",
                fix="Keep open files, locks and connections out of it; open them inside the function.",
            ) from error


def validation_rows(data: Dataset | str | os.PathLike[str] | None, view: View) -> Dataset | None:
    """The validation rows, with the columns that the fit reads and of the same types."""
    if data is None:
        return None
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    dataset.require(view.columns, "column (of validation=)")
    dataset.require_rows()
    for name in view.columns:
        ours, theirs = view.dataset.full_schema.field(name).type, dataset.full_schema.field(name).type
        if ours != theirs:
            raise WrongColumnType(
                f"Column {name!r} is {theirs} in validation= and {ours} in the data.",
                fix="Write both with the same types.",
            )
    return dataset


def cloned(estimator: Any) -> Any:
    """An unfitted copy; raises StepNotPicklable where a parameter cannot be copied."""
    from sklearn.base import clone

    try:
        return clone(estimator)
    except RuntimeError:
        # CatBoost's constructor copies lists, which clone takes for a change: a copy of the whole does as well.
        return copy.deepcopy(estimator)
    except TypeError as error:
        raise StepNotPicklable(
            f"{class_name(estimator)} cannot be cloned.",
            why=str(error),
            fix="Keep open files, locks and connections out of its parameters; pass an estimator, not a class.",
        ) from error


def _refuse_all_null(dataset: Dataset, name: str) -> None:
    stats = dataset.footer.stats.get(name)
    stored = dataset.footer.num_rows
    if stats is not None and stats.nulls is not None and stats.nulls == stored and stored:
        raise DegenerateColumn(
            f"Column {name!r} of {dataset.uri} is null in all {stored:,} rows.",
            why="There is nothing to learn from it.",
            fix="Leave it out: features= (or --exclude for a job).",
        )


def _check_regression_target(dataset: Dataset, name: str, estimator: Any) -> None:
    kind = dataset.full_schema.field(name).type
    if not is_numeric(kind):
        raise WrongColumnType(
            f"The target {name!r} is {kind}.",
            why=f"{class_name(_last(estimator))} is a regressor and needs a number.",
            fix="Name a numeric column, or use a classifier.",
        )
    stats = dataset.footer.stats.get(name)
    constant = stats is not None and stats.complete and stats.nulls == 0 and stats.minimum == stats.maximum
    if constant and stats is not None and stats.minimum is not None:
        raise DegenerateColumn(
            f"The target {name!r} holds no other value than {stats.minimum!r}.",
            why="There is nothing to predict.",
            fix="Check that this is the right column.",
        )


def _named_steps(estimator: Any) -> Iterable[tuple[str, Any]]:
    for attribute in ("steps", "transformers", "transformer_list"):
        for item in getattr(estimator, attribute, ()):
            yield item[0], item[1]


def _last(estimator: Any) -> Any:
    """What a Pipeline ends with; any other estimator itself."""
    return _last(estimator.steps[-1][1]) if getattr(estimator, "steps", None) else estimator


def class_name(estimator: Any) -> str:
    """How errors and reports name an estimator."""
    return type(estimator).__name__
