"""Parquetry: plain scikit-learn models fitted on Parquet of any size, on a laptop, Dask or Spark.

The public names are loaded on first use, so that ``import parquetry`` costs nothing and imports
no engine.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "open_dataset": "dataset",
    "Dataset": "dataset",
    "Block": "dataset",
    "Reduction": "reduction",
    "open_engine": "engine",
    "clean": "foundation.clean",
    "fit": "fitting",
    "cross_validate": "tuning.cross_validation",
    "predict": "scoring",
    "evaluate": "scoring",
    "profile": "foundation.profile",
    "Profile": "foundation.profile",
    "save": "artefact",
    "load": "artefact",
    "ingest": "foundation.ingest",
    "Contract": "foundation.contract",
    "ParquetryError": "errors",
}

__all__ = [*_HOME, "__version__"]

if TYPE_CHECKING:
    from parquetry.artefact import load, save
    from parquetry.dataset import Block, Dataset, open_dataset
    from parquetry.engine import open_engine
    from parquetry.errors import ParquetryError
    from parquetry.fitting import fit
    from parquetry.foundation.clean import clean
    from parquetry.foundation.contract import Contract
    from parquetry.foundation.ingest import ingest
    from parquetry.foundation.profile import Profile, profile
    from parquetry.reduction import Reduction
    from parquetry.scoring import evaluate, predict
    from parquetry.tuning.cross_validation import cross_validate


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'parquetry' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"parquetry.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
