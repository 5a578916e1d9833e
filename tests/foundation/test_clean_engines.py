"""One recipe of all steps on the three engines: the same rows, counts and learned recipe; nothing lost."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import parquetry as pqy
from parquetry.errors import BadValue
from parquetry.foundation.cleaning.recipe import KINDS

STEPS: list[Any] = [
    {"mark_missing": {"columns": ["temp"], "values": [-200]}},
    {"text": {"columns": ["city"], "unicode": "NFKC", "strip": True, "collapse": True, "case": "lower"}},
    {"types": {"columns": {"id": "integer", "flag": "boolean"}, "on_failure": "missing"}},
    {"numbers": {"columns": ["weight"], "units": {"kg": 1, "g": 0.001}, "on_failure": "missing"}},
    {"units": {"columns": {"temp": {"factor": 1.8, "offset": 32, "to": "fahrenheit"}}}},
    {"dates": {"columns": ["seen"], "format": "%d.%m.%Y %H:%M", "timezone": "Europe/Berlin",
               "ambiguous": "earliest", "parts": ["month"]}},
    {"missing": {"columns": ["temp"], "fill": "forward", "by": ["city"], "order": ["seen"], "limit": 2,
                 "indicator": True}},
    {"missing": {"columns": ["place"], "fill": "backward", "by": ["city", "flag"],
                 "order": ["seen", {"column": "temp", "descending": True}], "missing_keys": "equal"}},
    {"missing": {"columns": ["weight"], "fill": "median"}},
    {"missing": {"columns": ["temp", "fahrenheit"], "fill": "mean"}},
    {"missing": {"columns": ["place"], "fill": "mode"}},
    {"missing": {"drop": "columns", "above": 0.9}},
    {"outliers": {"columns": ["temp"], "method": "mad", "action": "clip"}},
    {"outliers": {"columns": ["fahrenheit"], "method": "zscore", "k": 2, "action": "drop"}},
    {"outliers": {"columns": ["weight"], "method": "iqr", "action": "flag"}},
    "duplicates",
    {"duplicates": {"by": ["city", "seen"], "keep": "none"}},
    {"duplicates": {"by": ["id"], "order": [{"column": "city", "descending": True}], "keep": "last",
                    "missing_keys": "keep"}},
    {"categories": {"columns": ["place"], "top": 3}},
    {"rename": {"columns": {"city": "town"}}},
    {"drop": {"columns": ["flag"]}},
    {"select": {"columns": ["id", "town", "place", "temp", "temp_missing", "weight", "weight_outlier", "seen",
                            "seen_month"]}},
    {"filter": {"where": [["temp", ">", 5], ["town", "in", ["rome", "köln"]]], "match": "any"}},
]  # fmt: skip


def rows(n: int = 900, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    gaps = lambda share: rng.random(n) < share  # noqa: E731
    ids = [str(i) for i in rng.integers(0, n, n)]
    day, month, hour = rng.integers(1, 29, n), rng.integers(1, 13, n), rng.integers(0, 24, n)
    temp = np.where(gaps(0.1), -200.0, rng.normal(12, 8, n))
    table = pa.table(
        {
            "id": pa.array(np.where(gaps(0.02), "x", ids), mask=gaps(0.02)),
            "city": rng.choice(
                ["Rome ", " rome", "Köln", "ko\u0308ln".replace("ko", "KO"), "\uff30aris", "New  York"], n
            ),
            "place": pa.array(rng.choice(list("abcdef"), n, p=[0.4, 0.3, 0.1, 0.1, 0.05, 0.05]), mask=gaps(0.3)),
            "temp": pa.array(temp, mask=gaps(0.05)),
            "weight": rng.choice(
                ["5 kg", "900 g", "12.5 kg", "70 kg", "7", ""], n, p=[0.3, 0.3, 0.3, 0.01, 0.05, 0.04]
            ),
            "flag": pa.array(rng.choice(["yes", "No", "1", "?"], n)),
            "seen": [f"{d}.{m:02d}.2024 {h:02d}:30" for d, m, h in zip(day, month, hour, strict=True)],
            "empty": pa.nulls(n, pa.float64()),
        }
    )
    return pa.concat_tables([table, table.slice(n // 2, 50)])


def test_all_steps_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 20_000)  # several bundles of several row groups
    monkeypatch.setattr("parquetry.relational_order.RANGE_BYTES", 3_000)  # several ranges of what keyed steps find
    assert {next(iter(s)) if isinstance(s, dict) else s for s in STEPS} == set(KINDS)
    data = pqy.open_dataset(write_parquet(rows(), files=2, row_group_size=120))
    found = {}
    for engine in (local, dask_engine, spark_engine):
        out = tmp_path / engine.name
        done = pqy.clean(data, STEPS, to=out / "train", engine=engine)
        assert {p.name for p in out.iterdir()} == {"train", "train.dropped"}
        assert done.dropped is not None
        assert done.rows_in == data.num_rows == done.dataset.num_rows + done.dropped.num_rows
        found[engine.name] = (read(done.dataset), read(done.dropped), done.summary(), done.recipe.to_yaml())
    ours = found["local"]
    steps = ours[2]["steps"]
    assert all(step["rows_dropped"] for step in steps if step["step"].split()[1] in ("filter", "duplicates"))
    assert all(step["rows_touched"] for step in steps[:4] + steps[5:11])
    for name in ("dask", "spark"):
        for mine, theirs in zip(ours, found[name], strict=True):
            assert mine == theirs, name


NEW_STEPS: list[Any] = [
    {"mark_missing": {"values": [-200]}},
    {"text": {"columns": ["city"], "unicode": "NFKC", "strip": True, "case": "lower"}},
    {"missing": {"columns": ["temp"], "fill": "mean", "indicator": True}},
    {"missing": {"columns": ["place"], "fill": "mode"}},
    {"missing": {"drop": "columns"}},
    {"outliers": {"columns": ["temp"], "method": "quantile", "action": "clip"}},
    {"categories": {"columns": ["place", "weight"], "min_share": 0.1}},
    {"duplicates": {"by": "id", "order": {"column": "temp", "descending": True}, "missing_keys": "keep"}},
]


def test_what_was_learned_is_applied_to_new_data_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, tmp_path: Path
) -> None:
    data = write_parquet(rows(300, seed=2))
    pqy.clean(data, NEW_STEPS, to=tmp_path / "first", engine=local).recipe.save(tmp_path / "learned.yaml")
    strange = rows(200, seed=3).set_column(2, "place", pa.array(["elsewhere", None] * 125))
    new = write_parquet(strange, "new", row_group_size=70)
    wrong = [{"rename": {"columns": {"id": "key"}}}, {"types": {"columns": {"key": "integer"}}}]
    found, said = {}, set()
    for engine in (local, dask_engine, spark_engine):
        done = pqy.clean(new, tmp_path / "learned.yaml", to=tmp_path / engine.name, engine=engine)
        assert done.dropped is not None
        found[engine.name] = (read(done.dataset), read(done.dropped), done.summary(), done.recipe.to_yaml())
        with pytest.raises(BadValue, match=r"^step 2 \(types\): Column 'key' holds 'x'.*part-0.*row \d+\.") as error:
            pqy.clean(new, wrong, to=tmp_path / "none", engine=engine)
        said.add(str(error.value))
    ours = found["local"]
    assert ours[2]["steps"][6]["unseen"]["place"] == 125
    assert all(step["rows_touched"] or step["rows_dropped"] for step in ours[2]["steps"][:4] + ours[2]["steps"][5:])
    assert found["dask"] == ours
    assert found["spark"] == ours
    assert len(said) == 1


def kinds(n: int = 120) -> pa.Table:
    """A column of each type, with gaps."""
    rng = np.random.default_rng(7)
    counts = rng.integers(0, 100, n)
    times = np.datetime64("2024-03-31T00:30", "ms") + counts.astype("timedelta64[h]")
    zoned = pa.array(times).cast(pa.timestamp("ns", tz="America/New_York"))
    columns = {
        **{f"{kind}": pa.array(counts).cast(kind) for kind in (pa.int8(), pa.uint16(), pa.uint64(), pa.float32())},
        "money": pa.array([Decimal(int(v)) / 8 for v in counts], pa.decimal128(18, 3)),
        "yes": pa.array(counts % 2 == 0),
        "coded": pa.array([f"tè {v}" for v in counts]).dictionary_encode(),
        "bytes": pa.array([str(v).encode() for v in counts]),
        "day": pa.array(times.astype("datetime64[D]")),
        "local": pa.array(times),
        "zoned": zoned,
    }
    holes = {name: pc.if_else(pa.array(rng.random(n) < 0.5), column, None) for name, column in columns.items()}
    order = pa.array([Decimal(int(v)) / 4 for v in rng.integers(-9, 9, n)], pa.decimal128(9, 2))
    return pa.table({"k": rng.integers(0, 5, n), "o": order, **holes})


def test_values_of_every_type_are_filled_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, tmp_path: Path
) -> None:
    data = write_parquet(kinds(), row_group_size=25)
    order = {"column": "o", "descending": True}
    step = {"missing": {"fill": "backward", "by": "k", "order": order, "limit": 2}}
    found = {e.name: read(pqy.clean(data, [step], to=tmp_path / e.name, engine=e).dataset)
             for e in (local, dask_engine, spark_engine)}  # fmt: skip
    frame = kinds().select(["k", "o", "int8"]).to_pandas().sort_values("o", ascending=False, kind="stable")
    theirs = frame.groupby("k")["int8"].bfill(limit=2).sort_index()
    assert found["local"].column("int8").to_pandas().equals(theirs)
    assert all(column.null_count < 40 for column in found["local"].columns)
    assert found["dask"].equals(found["local"])
    assert found["spark"].equals(found["local"])


def read(data: Any) -> pa.Table:
    """The rows in their order, without the borders of files and row groups."""
    return pa.concat_tables([data.schema.empty_table(), *data.batches()]).combine_chunks()
