"""Texts as values: the parser's own way and the careful one take the same, value by value."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pytest

from parquetry.foundation import casting
from parquetry.foundation.contract import DTYPES, Column, Contract
from parquetry.foundation.csv_dialect import Dialect
from parquetry.foundation.csv_pieces import _Block
from parquetry.foundation.ingest import ingest
from parquetry.foundation.json_lines import JsonLines

NUMBERS = (
    "0", "1", "007", "1.5", "1.", ".5", ".", "1e5", "1E-3", "1e", "e1", "1e400", "1e-400", "0x1F", "0X1f", "0x", "1f",
    "0b1", "1_000", "1,000", "12L", "$1", "1%", "nan", "NaN", "nan(1)", "NAN(abc)", "inf", "Infinity", "INFINITY",
    "infin", "true", "TRUE", "tRuE", "false", "9223372036854775807", "9223372036854775808",
    "123456789012345678901234567890", "\u0661\u0662", "\xbd", "1\xa0000",
)  # fmt: skip
DATES = (
    "2020-01-01", "2020-1-1", "2020-02-30", "2019-02-29", "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01",
    "20200101", "2020/01/01", "1500-06-01", "2262-04-12", "2020-13-01",
)  # fmt: skip
TIMES = (
    "", "T00", "T0000", "T23:59:59", "T24:00:00", " 00:00", " 23:59:60", " 1:02", " 12:00:00.1", "T12:00:00.123456",
    "T12:00:00.1234567", "x",
)  # fmt: skip
ZONES = ("", "Z", "z", "+01:00", "-0130", "+01", " UTC", "-23:59")


def ugly() -> list[str]:
    """Values that somebody's file has had, and random ones of the same characters."""
    signed = [f"{sign}{n}" for n, sign in product(NUMBERS, ("", "+", "-", "--", "+-"))]
    blank = [f"{before}{n}{after}" for n, (before, after) in product(NUMBERS, ((" ", ""), ("", "\t"), ("\u00a0", "")))]
    dated = [f"{d}{t}{z}" for d, t, z in product(DATES, ("", "T00", " 23:59:59"), ("", "Z", "+01:00"))]
    dated += [f"2020-02-29{t}{z}" for t, z in product(TIMES, ZONES)]
    rng = np.random.default_rng(5)
    letters = list("0123456789+-.eExX_ ()naif:TZ/\u0663\u00a0")
    drawn = ["".join(rng.choice(letters, size=rng.integers(1, 7))) for _ in range(400)]
    return list(dict.fromkeys([*signed, *blank, *dated, *drawn, "", " ", "NA"]))


def plain(values: pa.Array) -> list[object]:
    """Dates as numbers: Python does not know them all."""
    kind = values.type
    whole = pa.int64() if pa.types.is_timestamp(kind) else pa.int32() if pa.types.is_date(kind) else None
    return (values if whole is None else values.view(whole)).to_pylist()


@pytest.mark.parametrize("dtype", [*DTYPES, "decimal(10, 2)"])
def test_both_ways_take_the_same_values(dtype):
    column = Column(name="x", dtype=dtype, missing=["", "NA"])
    contract = Contract(columns=[column])
    dialect = Dialect(("x",), ",", '"', "", header=False, encoding="utf-8", start=0, line=1)
    values = ugly()
    found, bad = casting.read(pa.array([*values, "no value at all"]), column)
    careful = list(zip(map(repr, plain(found)), bad.tolist(), strict=True))
    assert sum(not b for b in bad) > 4, "nothing is taken"
    by_parser = 0
    for text, wanted in zip(values, careful, strict=False):
        alone, wrong = casting.read(pa.array([text]), column)
        assert (repr(plain(alone)[0]), bool(wrong[0])) == wanted, f"{text!r} alone"
        parsed = _Block(f'"{text}"\n'.encode(), "f", dialect, ("x",), 1).parsed(contract, 1)
        applied = contract.apply(parsed, "f")
        by_parser += "x" in parsed.done
        got = ("None", True) if applied.rejected.num_rows else (repr(plain(applied.accepted["x"].chunk(0))[0]), False)
        assert got == wanted, f"{text!r} in a file"
    assert by_parser > 4 or dtype in ("text", "decimal(10, 2)")


@pytest.mark.parametrize("dtype", ["int64", "float64", "bool", "text"])
def test_numbers_of_json_are_the_same_beside_others(tmp_path, local, dtype):
    values = ["1", "-1", "-0", "1.0", "1e5", "1e400", "1e-400", "9223372036854775807", "9223372036854775808", "true"]
    values += ['"1"', '"0x1F"', '" 2"', '"nan"', '"true"', '"TRUE"', "null", '""', '"x"', "[1, 2]", '{"a": 1.50}']
    contract = Contract.model_validate({"columns": [{"name": "x", "dtype": dtype}]})

    def read(lines: list[str]) -> list[tuple[str, bool]]:
        path = tmp_path / "t.jsonl"
        path.write_text("".join(f'{{"x": {v}}}\n' for v in lines))
        (piece,) = JsonLines.open(path, columns=["x"]).pieces(local)
        out = []
        for parsed in piece.read(contract):
            applied = contract.apply(parsed, "f")
            taken = dict(zip(applied.kept.tolist(), applied.accepted["x"].to_pylist(), strict=True))
            out += [(repr(taken.get(i)), i not in taken) for i in range(parsed.table.num_rows)]
        return out

    together = read([*values, '{"b": [1, {"c": "no value"}]}'])[:-1]
    assert together == [read([value])[0] for value in values]


def test_hexadecimal_digits_are_no_number(tmp_path, local):
    source = tmp_path / "t.csv"
    source.write_text("address,n,note\n0x10,1,0x1F\n0x20,2,b\n")
    done = ingest(source, tmp_path / "out", engine=local)
    assert [c.dtype for c in done.contract.columns] == ["text", "int64", "text"]
    asked = {"columns": [{"name": "address", "dtype": "int64"}, {"name": "n", "dtype": "int64"}, {"name": "note"}]}
    done = ingest(source, tmp_path / "asked", contract=asked, engine=local)
    assert (done.accepted, done.reasons) == (0, {"address: not a whole number": 2})
