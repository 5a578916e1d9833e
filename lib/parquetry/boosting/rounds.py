"""Rounds of boosting: an estimator that finds how many it needs, and the same one with so many and no early stop."""

from __future__ import annotations

import importlib.util
from typing import Any

from sklearn.base import clone

from parquetry.errors import missing

_STOPS = ("early_stopping_rounds", "early_stopping_round")  # XGBoost's name, LightGBM's
_PATIENCE = 50  # rounds without a better score


def small_steps(package: str, trees: int, seed: int) -> Any:
    """A classifier of two classes whose every small step sees a part of the rows and columns, and that stops early.

    It is scored on the rows of ``fit(..., validation=)`` by the area under precision and recall,
    which rare classes ask for.

    Parameters
    ----------
    package : {"xgboost", "lightgbm"}
    trees : int
        The most rounds.
    seed : int
    """
    shared: dict[str, Any] = {"n_estimators": trees, "learning_rate": 0.05, "subsample": 0.8, "colsample_bytree": 0.6}
    if importlib.util.find_spec(package) is None:
        raise missing(package, "boosting", "for its boosted trees")
    if package == "xgboost":
        from xgboost import XGBClassifier

        stops: dict[str, Any] = {"early_stopping_rounds": _PATIENCE, "eval_metric": "aucpr"}
        return XGBClassifier(max_depth=4, random_state=seed, **stops, **shared)
    from lightgbm import LGBMClassifier

    stops = {"early_stopping_round": _PATIENCE, "metric": "average_precision"}
    return LGBMClassifier(num_leaves=15, subsample_freq=1, random_state=seed, verbose=-1, **stops, **shared)


def rounds_used(model: Any) -> int:
    """Rounds whose trees ``predict`` uses: up to the best one where the training has stopped early.

    Parameters
    ----------
    model : fitted XGBoost or LightGBM estimator
    """
    if type(model).__module__.startswith("lightgbm"):
        return int(model.best_iteration_ or model.booster_.current_iteration())
    if model.early_stopping_rounds is not None:
        return int(model.best_iteration) + 1
    return int(model.get_booster().num_boosted_rounds())


def settled(model: Any) -> Any:
    """An unfitted estimator with the rounds that an early stop has found: to be fitted on all rows."""
    own = {name: None for name in _STOPS if name in model.get_params()}
    return clone(model).set_params(n_estimators=rounds_used(model), **own)
