"""How much memory a Spark task may use, from the session's own settings."""

from __future__ import annotations

import re
from collections.abc import Callable

from parquetry.engine import machine_memory
from parquetry.errors import BadParameter

_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_DEFAULT = "1g"  # of spark.executor.memory
_MIB = 2**20
_LOCAL_CLUSTER = re.compile(r"local-cluster\[\s*\d+\s*,\s*(\d+)\s*,\s*(\d+)\s*]")

Setting = Callable[[str], str | None]


def task_memory(setting: Setting, parallelism: int) -> int:
    """Bytes that one task may use.

    Parameters
    ----------
    setting : callable
        Gives a setting of the session by its name, or None.
    parallelism : int
        Tasks that run at the same time.
    """
    master = setting("spark.master") or ""
    cluster = _LOCAL_CLUSTER.fullmatch(master)
    if master.startswith("local") and cluster is None:
        # Tasks are processes of this machine, beside a JVM that has its own part.
        return machine_memory() // (2 * parallelism)
    cores, size = ("1", _DEFAULT) if cluster is None else (cluster[1], f"{cluster[2]}m")
    return _executor_memory(setting, size) // int(setting("spark.executor.cores") or cores)


def spark_bytes(size: str, *, unit: int = 1) -> int:
    """Bytes from a size as Spark writes it: ``512m``, ``2gb``, ``4GiB``; each unit is 1024 of the one below.

    Parameters
    ----------
    size : str
    unit : int, default 1
        What a number without a unit counts; Spark has settings in bytes and settings in MiB.

    See https://spark.apache.org/docs/latest/configuration.html#spark-properties
    """
    match = re.fullmatch(r"\s*(\d+)\s*(b|([kmgtp])(b|i|ib)?)?\s*", size.lower())
    if match is None:
        raise BadParameter(
            f"{size!r} is not a size that Spark knows.", fix="Write the session's setting as '512m' or '4g'."
        )
    return int(match[1]) * (1024 ** _POWERS[match[3] or ""] if match[2] else unit)


def _executor_memory(setting: Setting, default: str) -> int:
    """Of all tasks of one executor: Python's own where it has a limit, else the JVM's and what is beside it."""
    python = setting("spark.executor.pyspark.memory")
    if python:
        return spark_bytes(python, unit=_MIB)
    beside = setting("spark.executor.memoryOverhead")
    return spark_bytes(setting("spark.executor.memory") or default) + (spark_bytes(beside, unit=_MIB) if beside else 0)
