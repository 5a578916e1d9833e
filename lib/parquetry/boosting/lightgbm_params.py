"""LightGBM's parameters, looked at before any work: of a name that it does not know LightGBM itself only warns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lightgbm.basic import Booster, Dataset, LightGBMError, _ConfigAliases

from parquetry.errors import BadParameter, UnknownColumn, did_you_mean

_OF_THE_NETWORK = ("machines", "machine_list_filename", "local_listen_port", "num_machines", "time_out")
_METRICS = (
    "l1",
    "l2",
    "rmse",
    "quantile",
    "mape",
    "huber",
    "fair",
    "poisson",
    "gamma",
    "gamma_deviance",
    "tweedie",
    "r2",
    "ndcg",
    "map",
    "auc",
    "average_precision",
    "binary_logloss",
    "binary_error",
    "auc_mu",
    "multi_logloss",
    "multi_error",
    "cross_entropy",
    "cross_entropy_lambda",
    "kullback_leibler",
)
_NO_METRIC = ("", "none", "null", "custom", "na")
_TINY, _WIDE = 64, 256  # rows of a trial, and its columns that hold anything


def value(params: Mapping[str, Any], name: str, default: Any = None) -> Any:
    """A parameter, under whatever name LightGBM knows it by."""
    found = [params[alias] for alias in _ConfigAliases.get_sorted(name) if params.get(alias) is not None]
    return found[0] if found else default


def without(params: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """The parameters without these, under whatever name."""
    gone = _ConfigAliases.get(*names)
    return {k: v for k, v in params.items() if k not in gone}


def check_names(estimator: Any) -> None:
    """Refuse parameters that LightGBM does not know, and those that are not the user's to set here.

    Raises
    ------
    BadParameter
    """
    who = type(estimator).__name__
    known = sorted({alias for names in _ConfigAliases._get_all_param_aliases().values() for alias in names})
    own = set(type(estimator)().get_params())
    for name in estimator.get_params():
        if name not in own and name not in known:
            raise BadParameter(
                f"{who}: LightGBM has no parameter {name!r}.",
                why="It would warn, and train without it.",
                fix=did_you_mean(name, sorted({*known, *own})),
            )
    for name in _OF_THE_NETWORK:
        if value(estimator.get_params(), name) is not None:
            raise BadParameter(
                f"{who}: {name}= is set by the gang.",
                why="Which process runs where is known only once they run.",
                fix="Leave it out, and pass gang= for the number of processes.",
            )
    learner = value(estimator.get_params(), "tree_learner")
    if learner in ("feature", "feature_parallel"):
        raise BadParameter(
            f"{who}: tree_learner={learner!r} needs all rows in every process.",
            why="Here each process holds its own rows.",
            fix="Leave it out, or take 'voting' for thousands of features.",
        )


def check_values(
    estimator: Any, params: Mapping[str, Any], names: Sequence[str] | None, width: int, classes: int
) -> None:
    """Let LightGBM itself look at the values, on a few made-up rows.

    Raises
    ------
    BadParameter
        In LightGBM's words.
    """
    who = type(estimator).__name__
    rng = np.random.default_rng(0)
    params = {**params, "verbosity": -1, "num_threads": 1}
    try:
        label: Any = np.arange(_TINY) % max(classes, 2)
        group = [_TINY] if "Ranker" in who else None
        # Some objectives take no zero: of the trial's labels none is.
        label = label if classes or group else label + 1.0
        data = Dataset(
            _made_up(rng, width),
            label=label,
            group=group,
            params=dict(params),
            feature_name="auto" if names is None else list(names),
        )
        Booster(params=params, train_set=data)
    except (LightGBMError, ValueError, TypeError) as error:
        raise refused(who, error) from error
    for metric in params.get("metric") or ():
        plain = str(metric).lower().partition("@")[0]
        if plain not in _NO_METRIC and not _is_metric(plain, params, data):
            raise BadParameter(
                f"{who}: LightGBM has no metric {metric!r}.",
                why="It would train without it.",
                fix=did_you_mean(str(metric), _METRICS),
            )


def refused(who: str, error: BaseException) -> BadParameter:
    """LightGBM's own refusal, without the place in its source."""
    told = str(error).strip().partition(" at /")[0].replace("Check failed: ", "it must hold that ")
    return BadParameter(f"{who}: LightGBM refuses: {told}.", fix="Change the parameter, or the target.")


def category_columns(
    who: str, params: Mapping[str, Any], names: Sequence[str] | None, width: int, texts: Sequence[int]
) -> dict[str, Any]:
    """The parameters with every categorical column as a number: those that are named, and columns of text.

    Raises
    ------
    UnknownColumn
    """
    given = value(params, "categorical_feature", [])
    if isinstance(given, str):
        given = [] if given == "auto" else given.removeprefix("name:").split(",")
    known = list(names or [])
    found = set(texts)
    for column in given:
        number = int(column) if str(column).isdigit() else known.index(column) if column in known else -1
        if not 0 <= number < width:
            raise UnknownColumn(
                f"{who}: categorical_feature names {column!r}, which is no feature.",
                fix=did_you_mean(str(column), known) if known else f"Number them from 0 to {width - 1}.",
            )
        found.add(number)
    rest = without(params, "categorical_feature")
    return {**rest, "categorical_column": sorted(found)} if found else rest


def _made_up(rng: np.random.Generator, width: int) -> Any:
    """A few rows; of many columns most are zero."""
    if width <= _WIDE:
        return rng.normal(size=(_TINY, width))
    from scipy import sparse

    first = sparse.csr_matrix(rng.normal(size=(_TINY, _WIDE)))
    return sparse.hstack([first, sparse.csr_matrix((_TINY, width - _WIDE))]).tocsr()


def _is_metric(name: str, params: Mapping[str, Any], data: Dataset) -> bool:
    """Whether LightGBM computes something under this name: it says nothing of names that it does not know."""
    try:
        trial = Booster(params={**params, "metric": [name]}, train_set=data)
        return bool(trial.eval_train())
    except LightGBMError:
        return True  # known, and not for such rows
