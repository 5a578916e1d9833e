"""Boosting: XGBoost, LightGBM and CatBoost models, trained by a gang of processes on any engine."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Gang": "gang",
    "importances": "importance",
    "rounds_used": "rounds",
    "settled": "rounds",
    "small_steps": "rounds",
}

__all__ = ["Gang", "importances", "rounds_used", "settled", "small_steps"]

if TYPE_CHECKING:
    from parquetry.boosting.gang import Gang
    from parquetry.boosting.importance import importances
    from parquetry.boosting.rounds import rounds_used, settled, small_steps


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parquetry.boosting' has no attribute {name!r}")
    return getattr(importlib.import_module(f"parquetry.boosting.{_HOME[name]}"), name)
