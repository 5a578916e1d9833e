"""Stage 3: making features: scale, impute, encode, select; dates, lags, windows and measures of groups.

The functions that make columns of a table are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "add_date_parts": "dates",
    "date_parts": "dates",
    "group_measures": "groups",
    "rows_as_mappings": "hashing",
    "lags": "windows",
    "rolling": "windows",
}

__all__ = ["add_date_parts", "date_parts", "group_measures", "lags", "rolling", "rows_as_mappings"]

if TYPE_CHECKING:
    from parquetry.features.dates import add_date_parts, date_parts
    from parquetry.features.groups import group_measures
    from parquetry.features.hashing import rows_as_mappings
    from parquetry.features.windows import lags, rolling


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parquetry.features' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"parquetry.features.{_HOME[name]}"), name)
    globals()[name] = value
    return value
