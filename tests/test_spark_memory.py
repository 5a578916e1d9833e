"""What one Spark task may use: sizes as Spark writes them, and where they come from."""

from __future__ import annotations

from typing import Any

import pytest

from parquetry.engine import machine_memory
from parquetry.engines.spark_memory import spark_bytes, task_memory
from parquetry.errors import BadParameter

KIB, MIB, GIB, TIB = 2**10, 2**20, 2**30, 2**40


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("0", 0),
        ("1073741824", GIB),
        ("7b", 7),
        ("2k", 2 * KIB),
        ("2kb", 2 * KIB),
        ("2KiB", 2 * KIB),
        ("512m", 512 * MIB),
        ("512MB", 512 * MIB),
        ("512Mi", 512 * MIB),
        ("4g", 4 * GIB),
        ("4G", 4 * GIB),
        (" 4 gb ", 4 * GIB),
        ("4GiB", 4 * GIB),
        ("1t", TIB),
        ("1tb", TIB),
        ("1p", 1024 * TIB),
    ],
)
def test_sizes(size: str, expected: int) -> None:
    assert spark_bytes(size) == expected


def test_a_bare_number_counts_the_settings_own_unit() -> None:
    assert spark_bytes("512", unit=MIB) == 512 * MIB
    assert spark_bytes("512k", unit=MIB) == 512 * KIB


@pytest.mark.parametrize("size", ["", "lots", "1.5g", "-1g", "1 g b", "1x", "bb"])
def test_what_spark_does_not_know_is_refused(size: str) -> None:
    with pytest.raises(BadParameter, match="not a size that Spark knows"):
        spark_bytes(size)


CLUSTER = "spark://host:7077"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"master": "local[4]"}, machine_memory() // 8),
        ({"master": "local[*]", "executor.memory": "1g"}, machine_memory() // 8),
        ({"master": CLUSTER}, GIB),
        ({"master": "yarn"}, GIB),
        ({"master": "k8s://https://host"}, GIB),
        ({}, GIB),
        ({"master": CLUSTER, "executor.memory": "6g"}, 6 * GIB),
        ({"master": CLUSTER, "executor.memory": "6g", "executor.cores": "4"}, 6 * GIB // 4),
        ({"master": "yarn", "executor.memory": "6g", "executor.memoryOverhead": "2048"}, 8 * GIB),
        ({"master": "yarn", "executor.memory": "6g", "executor.pyspark.memory": "3072"}, 3 * GIB),
        ({"master": "local-cluster[2,1,1024]"}, GIB),
        ({"master": "local-cluster[ 2 , 4 , 2048 ]"}, GIB // 2),
        ({"master": "local-cluster[2,2,4096]", "executor.memory": "2g", "executor.cores": "1"}, 2 * GIB),
    ],
    ids=str,
)
def test_memory_of_a_task(settings: dict[str, str], expected: int) -> None:
    assert task_memory({f"spark.{k}": v for k, v in settings.items()}.get, 4) == expected


def test_a_sessions_own_settings(spark_engine: Any) -> None:
    """``local-cluster[2,1,1024]``: an executor with one core and 1024 MiB."""
    assert spark_engine.memory == GIB
