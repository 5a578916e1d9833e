"""scan → write: values, types and gaps come through every engine's own frames as they were."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import narwhals as nw
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.commit import storable


def delicate() -> pa.Table:
    """Values that floats, NumPy's types or plain text would change; the second row is all null."""
    moments = [1_767_323_045_000_006, None, -2_208_988_800_000_000, 1]
    return pa.table(
        {
            "id": pa.array([0, 1, 2, 3]),
            "whole": pa.array([2**53 + 1, None, -(2**62) - 1, 2**63 - 1]),
            "small": pa.array([1, None, -3, 4], pa.int16()),
            "unsigned": pa.array([2**63 - 1, None, 0, 1], pa.uint64()),
            "level": pa.array([1.5, None, float("nan"), -0.0]),
            "flag": pa.array([True, None, False, True]),
            "price": pa.array([Decimal("1.23"), None, Decimal("-99999999999999.99"), Decimal(0)], pa.decimal128(18, 2)),
            "wide": pa.array([Decimal("12345678901234567890.123456789012345678"), None, Decimal(0), Decimal(1)]),
            "day": pa.array([dt.date(2026, 1, 2), None, dt.date(1900, 1, 1), dt.date(2300, 1, 1)]),
            "moment": pa.array(moments, pa.timestamp("us", tz="UTC")),
            "zoned": pa.array([1_767_323_045_006, None, 0, 1], pa.timestamp("ms", tz="Europe/Berlin")),
            "naive": pa.array(moments, pa.timestamp("us")),
            "text": pa.array(["a", None, "", "ü" * 1_000], pa.large_string()),
            "raw": pa.array([b"a", None, b"\x00\xff", b""]),
            "list": pa.array([[1, None], None, [], [2**53 + 1]]),
            "pair": pa.array([{"a": 2**53 + 1, "b": None}, None, {"a": None, "b": "x"}, {"a": 1, "b": ""}]),
        }
    )


@pytest.fixture
def delicate_data(write_parquet: Callable[..., Path]) -> pqy.Dataset:
    return pqy.open_dataset(write_parquet(delicate(), files=2, row_group_size=1))


def rows(dataset: pqy.Dataset) -> pa.Table:
    return pa.concat_tables(dataset.batches()).sort_by("id")


def test_a_scan_is_written_as_it_was_read(engine: Any, delicate_data: pqy.Dataset, tmp_path: Path) -> None:
    written = rows(engine.write(engine.scan(delicate_data), str(tmp_path / "out")))
    expected = delicate().cast(storable(delicate().schema))
    for name in expected.schema.names:
        assert written.schema.field(name).type.equals(expected.schema.field(name).type)
        # Compared as text: NaN is not equal to itself, and 0.0 is equal to -0.0.
        assert repr(written.column(name).to_pylist()) == repr(expected.column(name).to_pylist()), name
    assert written.schema.names == expected.schema.names


def test_expressions_keep_digits_and_types(engine: Any, delicate_data: pqy.Dataset, tmp_path: Path) -> None:
    frame = engine.scan(delicate_data.select(["id", "whole", "day"]))
    chosen = frame.filter(nw.col("whole") > 2**53).select("id", "day", more=nw.col("whole") - 1)
    written = rows(engine.write(chosen, str(tmp_path / "out")))
    assert written.column("more").to_pylist() == [2**53, 2**63 - 2]
    assert written.schema.field("day").type == pa.date32()
