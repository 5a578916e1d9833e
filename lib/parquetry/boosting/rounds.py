"""How many rounds of boosting a fitted model uses, and the same model with so many and no early stop."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

_STOPS = ("early_stopping_rounds", "early_stopping_round")  # XGBoost's name, LightGBM's


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
