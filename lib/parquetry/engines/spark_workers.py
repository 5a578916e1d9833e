"""What makes a Spark worker process ready for its next task: imports done, and out of the garbage collector's sight."""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Iterator

import pyarrow as pa

_TASK_MODULES = ("pyarrow.parquet", "scipy.sparse", "sklearn.base", "parquetry.view", "parquetry.through")
_known = 0  # modules that this process had when its objects were last frozen


def wake(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Import what most tasks are made of; the batches go on as they are."""
    for module in _TASK_MODULES:
        importlib.import_module(module)
    settle()
    yield from batches


def settle() -> None:
    """Freeze the objects of the modules that have been imported since the last call, if there are any.

    PySpark collects garbage after every task, and only then takes the next: over all that NumPy and
    scikit-learn have brought, that takes longer than most tasks. What is frozen is not looked at.
    """
    global _known  # noqa: PLW0603 (of this process)
    if len(sys.modules) > _known:
        gc.collect()
        gc.freeze()
        _known = len(sys.modules)
