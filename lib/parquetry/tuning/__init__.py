"""Stage 3: searches over parameters and cross-validation, whatever fits the candidates.

The public names are loaded on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {"Hyperband": "hyperband", "PartialFits": "partial_fits", "cross_validate": "cross_validation"}

__all__ = ["Hyperband", "PartialFits", "cross_validate"]

if TYPE_CHECKING:
    from parquetry.tuning.cross_validation import cross_validate
    from parquetry.tuning.hyperband import Hyperband
    from parquetry.tuning.partial_fits import PartialFits


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parquetry.tuning' has no attribute {name!r}")
    return getattr(importlib.import_module(f"parquetry.tuning.{_HOME[name]}"), name)
