"""Contracts: inferred from all values, saved, edited, applied again."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from parquetry.errors import BadConfig, DatasetNotFound, SchemaDrift
from parquetry.foundation import casting
from parquetry.foundation.conclusions import concluded
from parquetry.foundation.contract import Column, Contract, as_contract
from parquetry.foundation.inference import look, merged
from parquetry.foundation.ingest import ingest
from parquetry.foundation.ways import Rules


def inferred(*batches: list[str], **rules: Any) -> Column:
    states = [{"x": look(pa.chunked_array([pa.array(b, pa.string())]), Rules(**rules))} for b in batches]
    total = states[0]
    for more in states[1:]:
        total = merged(total, more)
    return concluded(total, Rules(**rules)).columns[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", "-2", "+3", " 4 "], {"dtype": "int64"}),
        (["1", "2.5", ".5", "1e3"], {"dtype": "float64"}),
        (["007", "12"], {"dtype": "text"}),
        (["0", "0.5"], {"dtype": "float64"}),
        (["true", "FALSE"], {"dtype": "bool"}),
        (["2020-01-02", "2020-02-29"], {"dtype": "date"}),
        (["2020-01-02", "2020-02-30"], {"dtype": "text"}),
        (["2020-01-02 03:04:05", "2020-01-02T03:04"], {"dtype": "timestamp"}),
        (["2020-01-02T03:04:05Z"], {"dtype": "timestamp_utc"}),
        (["1", "NA", "?"], {"dtype": "int64", "missing": ["", "?", "NA"], "nullable": True}),
        (["x", "NA"], {"dtype": "text", "missing": [""], "nullable": False}),
        (["1,234.5", "7"], {"dtype": "float64", "thousands": ","}),
        (["1.234,5", "7"], {"dtype": "float64", "thousands": ".", "decimal": ","}),
        (["1,5", "12,25"], {"dtype": "float64", "decimal": ",", "thousands": ""}),
        (["1 234", "5"], {"dtype": "int64", "thousands": " "}),
        (["€ 5", "€7"], {"dtype": "int64", "strip": ["€"]}),
        (["1,234", "5,678"], {"dtype": "text"}),
        (["13/1/2020", "1/2/2020"], {"dtype": "date", "date_format": "%d/%m/%Y"}),
        (["1/13/2020 8:05", "1/2/2020 17:00"], {"dtype": "timestamp", "date_format": "%m/%d/%Y %H:%M"}),
        (["1/2/2020", "3/4/2020"], {"dtype": "text"}),
        (["13/1/2020", "1/13/2020"], {"dtype": "text"}),
        (["3-Apr-2020", "31-Dec-2019"], {"dtype": "date", "date_format": "%d-%b-%Y"}),
        (["12345678901234567890", "1"], {"dtype": "text"}),
        (["", ""], {"dtype": "text", "nullable": True, "note": "no values"}),
    ],
)
def test_what_is_inferred(values, expected):
    column = inferred(values)
    assert {name: getattr(column, name) for name in expected} == expected
    # Cut anywhere, the same; and a contract that has been inferred takes all values that it was inferred from.
    for i in range(1, len(values)):
        assert inferred(values[:i], values[i:]) == column
    assert not casting.read(pa.array(values), column)[1].any()


def test_rules_of_the_user():
    assert inferred(["1,234"], decimal=",").decimal == ","
    assert inferred(["12345678901234567890"], beyond_64_bits="float64").dtype == "float64"
    assert inferred(["1", "NA"], marks=()).dtype == "text"


def test_ambiguity_is_told():
    assert "day and month" in str(inferred(["1/2/2020"]).note)
    assert "decimal or thousands" in str(inferred(["1,234"]).note)
    assert "64 bits" in str(inferred(["12345678901234567890"]).note)


def test_it_is_saved_edited_and_read_again(tmp_path):
    column = Column(name="when", source="Date", dtype="date", date_format="%d/%m/%Y", min="2020-01-01", note="x")
    contract = Contract(columns=[column, Column(name="yes", dtype="bool", true_words=["yes"], false_words=["no"])],
                        unique=[["when", "yes"]], others="drop")  # fmt: skip
    contract.save(tmp_path / "c.yaml")
    assert Contract.load(tmp_path / "c.yaml") == contract == as_contract(tmp_path / "c.yaml")
    assert "seen is what was found" in (tmp_path / "c.yaml").read_text()
    assert contract.lines()[0] == "when  date; min 2020-01-01; date_format %d/%m/%Y; x"
    with pytest.raises(DatasetNotFound):
        Contract.load(tmp_path / "none.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: [{name: a, dtype: int}]", "'int' is no dtype. Did you mean 'int64'"),
        ("columns: [{name: a, dtyp: int64}]", "dtyp"),
        ("columns: [{name: a}, {name: A}]", "stands there twice"),
        ("columns: [{name: a, dtype: bool, true_words: [yes]}]", "quotation marks"),
        ("columns: [{name: a, dtype: date, min: soon}]", "'soon' is no date"),
        ("columns: [{name: a, date_format: '%Y'}]", "is for a date"),
        ("columns: [{name: a}]\nunique: [[b]]", "unique names 'b'"),
        ("columns: []", "without columns"),
        ("columns: {", "not YAML"),
    ],
)
def test_what_is_wrong_with_a_contract_is_said(tmp_path, text, message):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(BadConfig, match=message):
        Contract.load(tmp_path / "c.yaml")


def test_every_kind_of_breach(tmp_path, local):
    lines = ("a;b;c;d", "1;x;yes;1", ";x;no;2", "3;z;yes;3", "9;x;maybe;4", "4;x;yes;1", "5;x;no;1,5", "-1;x;no;6")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    contract = {
        "columns": [
            {"name": "n", "source": "a", "dtype": "int64", "nullable": False, "min": 0, "max": 8},
            {"name": "b", "categories": ["x", "y"]},
            {"name": "c", "dtype": "bool", "true_words": ["yes"], "false_words": ["no"]},
            {"name": "d", "dtype": "decimal(5, 2)", "decimal": ",", "unique": True},
        ]
    }
    done = ingest(tmp_path / "t.csv", tmp_path / "out", contract=contract, engine=local)
    frame = done.quarantine.to_pandas()
    assert list(zip(frame["row"], frame["reason"], strict=True)) == [
        (3, "n: a value is missing, and none may be (nullable: false)"),
        (4, "b: none of the 2 values allowed ('x', 'y') (found 'z')"),
        (5, "n: above 8, which is the greatest allowed (found 9)"),
        (6, "d: not the first row with its value, which must be unique (found 1.00)"),
        (8, "n: below 0, which is the least allowed (found -1)"),
    ]
    assert "n: above 8, which is the greatest allowed" in done.reasons  # what differs from row to row is not counted
    assert done.dataset.schema.names == ["n", "b", "c", "d"]
    assert [str(v) for v in done.dataset.to_pandas()["d"]] == ["1.00", "1.50"]


def test_source_and_contract_must_have_the_same_columns(tmp_path, local):
    (tmp_path / "t.csv").write_text("price,extra\n1,2\n")
    with pytest.raises(SchemaDrift, match=r"'prise'.*Did you mean 'price'"):
        ingest(tmp_path / "t.csv", tmp_path / "out", contract={"columns": [{"name": "prise"}]}, engine=local)
    one = {"columns": [{"name": "price", "dtype": "int64"}]}
    with pytest.raises(SchemaDrift, match="'extra'"):
        ingest(tmp_path / "t.csv", tmp_path / "out", contract=one, engine=local)
    done = ingest(tmp_path / "t.csv", tmp_path / "out", contract={**one, "others": "drop"}, engine=local)
    assert done.dataset.schema.names == ["price"]


@pytest.mark.parametrize(
    ("words", "form", "expected"),
    [
        (["30/02/2020", "3/4/2020"], "%d/%m/%Y", [None, dt.date(2020, 4, 3)]),
        (["31/12/1969", None], "%d/%m/%Y", [dt.date(1969, 12, 31), None]),
        (["3-Apr-20", "3-Foo-20"], "%d-%b-%y", [dt.date(2020, 4, 3), None]),
    ],
)
def test_dates_of_a_format(words, form, expected):
    column = Column(name="x", dtype="date", date_format=form)
    assert casting.read(pa.array(words), column)[0].to_pylist() == expected


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([*"12345678", "n.k."], "1 of 9 values look like no number, the first 'n.k.'; say dtype: float64"),
        (["1,5", "2,5", "3.000,5", "4,5", "-", "approx"], "1 of 5 values look like no number, the first 'approx'"),
        (["2024-01-0" + d for d in "123456789"] + ["soon"], "1 of 10 values look like no date, the first 'soon'"),
        (["2024-02-28", "2024-02-29", "2024-02-30"], "all values look like dates, and no one way reads them all"),
        (["01234", "45678", "98765"], None),
        (["a1", "b2", "c3", "4"], None),
        (["3", "4", "five", "six"], None),
        ([*"12345678"], None),
    ],
)
def test_a_slip_that_makes_a_column_a_text_is_told(tmp_path, local, values, says):
    (tmp_path / "t.csv").write_text("x;y\n" + "".join(f"{v};k\n" for v in values))
    column = ingest(tmp_path / "t.csv", tmp_path / "out", engine=local).contract.columns[0]
    assert (column.note or "")[: len(says or column.note or "")] == (says or "")
    if says:
        assert column.dtype == "text"
