"""Recipes as YAML: every step with every parameter off its default comes back equal, and does the same."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import BaseModel

import parquetry as pqy
from parquetry.errors import BadRecipe
from parquetry.foundation.cleaning.learning import prepare
from parquetry.foundation.cleaning.recipe import KINDS, Recipe

DAY, TIME = dt.date(1900, 1, 1), dt.datetime(2024, 3, 5, 12, 30)  # noqa: DTZ001
ROWS: dict[str, list[dict[str, Any]]] = {
    "mark_missing": [{"columns": ["x", "w", "day", "when"], "values": [-200.0, 7, "?", DAY, TIME]}],
    "missing": [
        {"columns": ["x", "w"], "fill": "constant", "value": {"x": 1.5, "w": "?"}, "indicator": True},
        {"columns": ["x", "w", "money"], "fill": "backward", "by": ["k"], "missing_keys": "keep", "limit": 1,
         "order": [{"column": "when", "descending": True}, "n"]},
        {"columns": ["x", "w"], "drop": "rows", "how": "all"},
        {"columns": ["x", "w"], "drop": "columns", "above": 0.1},
        {"columns": ["x"], "fill": "mean"},
        {"columns": ["w", "day", "when", "zoned", "money", "yes", "n"], "fill": "mode"},
    ],
    "outliers": [
        {"columns": ["x", "n"], "method": "quantile", "low": 0.1, "high": 0.8, "action": "clip"},
        {"columns": ["x", "same"], "method": "mad", "k": 2.5, "action": "drop", "no_spread": "keep"},
    ],
    "duplicates": [{"by": ["k", "w"], "order": [{"column": "w2", "descending": True}, "n"], "keep": "last",
                    "missing_keys": "equal"}],
    "types": [{"columns": {"w": "integer", "n": "text", "when": "date"}, "on_failure": "missing"}],
    "numbers": [
        {"columns": ["t"], "decimal": ",", "thousands": ".", "currency": ["€", "EUR"], "percent": True,
         "units": {"kg": 1.0, "g": 0.001}, "without_unit": 2.0, "on_failure": "missing"},
        {"columns": ["t"], "currency": True, "on_failure": "missing"},
    ],
    "units": [{"columns": {"x": {"factor": 1.8, "offset": 32.0, "to": "f"}}}],
    "text": [{"columns": ["w"], "unicode": "NFKC", "strip": True, "collapse": True, "case": "title",
              "regex": [{"pattern": r"(\pL+)-(\d)", "to": r"\2 \1"}], "replace": {"A": "b"},
              "empty_is_missing": True}],
    "categories": [{"columns": ["w"], "mapping": {"a": "g"}, "min_share": 0.2, "top": 2, "other": "rest"}],
    "dates": [{"columns": ["d"], "format": ["%d/%m/%Y %H:%M", "iso"], "to": "date", "timezone": "Europe/Berlin",
               "ambiguous": "latest", "parts": ["year", "week"], "on_failure": "missing"}],
    "rename": [{"columns": {"x": "y"}}],
    "select": [{"columns": ["n", "x"]}],
    "drop": [{"columns": ["x", "w"]}],
    "filter": [
        {"match": "any", "where": [["x", "==", 1.5], ["n", "<", 1], ["money", ">", 0.99], ["w", "in", ["a"]],
                                   ["w", "matches", "^[?b]$"], ["day", "between", [DAY, dt.date(2023, 1, 1)]]]},
        {"where": [["w", "!=", "a"], ["x", "<=", 2], ["when", ">=", TIME], ["n", "not_in", [1, 2]],
                   ["yes", "is_present"], ["zoned", "is_missing"], ["w2", "contains", ""]]},
    ],
}  # fmt: skip
CASES = [(kind, i) for kind, cases in ROWS.items() for i in range(len(cases))]


def table(n: int = 60) -> pa.Table:
    rng = np.random.default_rng(4)
    gaps = lambda: rng.random(n) < 0.3  # noqa: E731
    day = np.where(rng.random(n) < 0.3, np.datetime64(DAY), np.datetime64("2024-01-01") + rng.integers(0, 3, n))
    when = np.datetime64(TIME, "us") + rng.integers(0, 9, n).astype("timedelta64[h]")
    words = rng.choice(["a", "B", " ü-1 ", "", "?", "7"], n)
    return pa.table(
        {
            "x": pa.array(rng.choice([-200.0, 1.5, 2.0, 0.1 + 0.2, 1e6], n), mask=gaps()),
            "n": rng.integers(0, 8, n),
            "same": np.ones(n),
            "k": pa.array(rng.integers(0, 9, n), mask=gaps()),
            "w": pa.array(words, mask=gaps()),
            "w2": words,
            "t": rng.choice(["1.234,5 €", "5 kg", "70 g", "3 %", "EUR 2", "$ 3", "?"], n),
            "d": rng.choice(["31/12/2023 23:30", "2024-02-30", "2024-02-03", "31/03/2024 02:30"], n),
            "day": pa.array(day.astype("datetime64[D]"), mask=gaps()),
            "when": pa.array(when, mask=gaps()),
            "zoned": pa.array(when, mask=gaps()).cast(pa.timestamp("us", tz="Europe/Berlin")),
            "money": pa.array([Decimal(i % 5) / 4 if i % 3 else None for i in range(n)], pa.decimal128(10, 2)),
            "yes": pa.array(rng.random(n) < 0.5, mask=gaps()),
        }
    )


def models(value: Any) -> Iterator[BaseModel]:
    """A step, and what stands within it."""
    if isinstance(value, BaseModel):
        yield value
        value = dict(value)
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ():
        yield from models(part)


def test_every_parameter_of_every_step_has_a_row() -> None:
    assert set(ROWS) == set(KINDS)
    changed: dict[type[BaseModel], set[str]] = {}
    for kind, cases in ROWS.items():
        for model in models([KINDS[kind].model_validate(case) for case in cases]):
            fields = type(model).model_fields.items()
            changed.setdefault(type(model), set()).update(n for n, f in fields if getattr(model, n) != f.default)
    assert {
        kind: set(kind.model_fields) - found for kind, found in changed.items() if set(kind.model_fields) - found
    } == {}
    ops = {condition[1] for case in ROWS["filter"] for condition in case["where"]}
    assert len(ops) == 13


@pytest.mark.parametrize(("kind", "i"), CASES, ids=[f"{kind}-{i}" for kind, i in CASES])
def test_recipes_survive_yaml(local: Any, write_parquet: Any, tmp_path: Path, kind: str, i: int) -> None:
    given = Recipe.of([{kind: ROWS[kind][i]}])
    (tmp_path / "given.yaml").write_text(given.to_yaml())
    assert Recipe.of(tmp_path / "given.yaml") == given
    data = pqy.open_dataset(write_parquet(table(), row_group_size=20))
    given.check(data.schema)
    learned, first = prepare(given, data, local, str(tmp_path / "first"))
    learned.save(tmp_path / "learned.yaml")
    read = Recipe.of(tmp_path / "learned.yaml")
    assert read == learned
    assert read.to_yaml() == learned.to_yaml()
    again, second = prepare(read, data, local, str(tmp_path / "second"))
    assert again == learned
    done = 0
    for block in data.blocks:
        for rows, numbers in data.reader().read(block):
            one, other = (chain(rows, block, numbers) for chain in (first, second))
            assert one.table.equals(other.table)
            assert (one.tallies, one.numbers.tolist()) == (other.tallies, other.numbers.tolist())
            done += not one.given.equals(one.table)
    assert done  # the step does something to these rows


def test_what_an_order_may_look_like() -> None:
    alone, listed = (Recipe.of([{"duplicates": {"by": ["k"], "order": order}}]) for order in ("t", ["t"]))
    assert alone == listed
    assert Recipe.of([{"duplicates": {"by": ["k"], "order": {"column": "t"}}}]) == alone
    with pytest.raises(BadRecipe, match=r"step 1 \(duplicates\): there is no parameter 'order\.0\.descend'"):
        Recipe.of([{"duplicates": {"by": ["k"], "order": [{"column": "t", "descend": True}]}}])
    with pytest.raises(BadRecipe, match="limit belongs to fill: forward or backward"):
        Recipe.of([{"missing": {"fill": "mean", "limit": 3}}])
