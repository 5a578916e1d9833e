"""Growth, moving averages, the season, and spans to compare."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from parquetry.errors import BadParameter
from parquetry.foundation.cohorts import cohort_step
from parquetry.foundation.pareto import Ranked, abc_classes
from parquetry.foundation.sales import PARTS, Facts, month_number, month_start
from parquetry.foundation.trends import Trended, growth, moved, moving_average, seasonal_index, windows


def facts(first: str, last: str) -> Facts:
    return Facts(10, 10, dt.date.fromisoformat(first), dt.date.fromisoformat(last), 0)


def test_growth_and_averages_are_those_of_pandas():
    values = np.random.default_rng(0).uniform(1, 9, 40)
    series = pd.Series(values)
    for lag in (1, 12):
        np.testing.assert_allclose(growth(values, lag), series.pct_change(lag), rtol=1e-12)
    for size in (3, 12, 41):
        np.testing.assert_allclose(moving_average(values, size), series.rolling(size).mean(), rtol=1e-12)


def test_growth_has_no_meaning_from_zero_or_below():
    found = growth(np.array([0.0, 5.0, -2.0, 4.0]), 1)
    assert np.isnan(found[[0, 1, 3]]).all()
    assert found[2] == pytest.approx(-1.4)


def test_the_season_is_found_under_a_trend():
    season = 1 + 0.5 * np.sin(2 * np.pi * np.arange(12) / 12)
    values = np.linspace(100, 200, 60) * np.tile(np.roll(season, -3), 5)
    np.testing.assert_allclose(seasonal_index(values, 3), season, atol=0.015)  # the trend within a year is left in it
    assert seasonal_index(values[:35], 3) is None
    assert seasonal_index(np.zeros(60), 0) is None


def test_months_without_sales_are_there_and_months_in_part_are_marked():
    first = month_number(dt.date(2020, 11, 1))
    table = pa.table(
        {"period": [first, first + 3], "sales": [PARTS, 3 * PARTS], "profit": [0, -PARTS], "lines": [1, 2]}
    )
    found = Trended(facts("2020-11-20", "2021-02-27"), orders={first: 1}, customers=None)(table).to_pandas()
    assert found["month"].astype(str).tolist() == ["2020-11-01", "2020-12-01", "2021-01-01", "2021-02-01"]
    assert found["sales"].tolist() == [1.0, 0.0, 0.0, 3.0]
    assert found["whole"].tolist() == [False, True, True, True]
    assert found["orders"].tolist() == [1, 0, 0, 0]
    assert "customers" not in found
    assert found["change"].isna().tolist() == [True, False, True, True]


@pytest.mark.parametrize(
    ("first", "last", "now", "before"),
    [
        ("2014-01-03", "2017-12-30", ("2017-01", "2017-12"), ("2016-01", "2016-12")),
        ("2010-12-01", "2011-12-09", ("2011-06", "2011-11"), ("2010-12", "2011-05")),
        ("2020-01-20", "2020-04-15", ("2020-03", "2020-03"), ("2020-02", "2020-02")),
        ("2020-01-20", "2020-03-15", None, None),
    ],
)
def test_spans_are_of_whole_months(first, last, now, before):
    found = windows(facts(first, last))
    if now is None:
        assert found is None
        return
    named = [tuple(f"{month_start(m):%Y-%m}" for m in span) for span in (found.now, found.before)]
    assert named == [now, before]
    assert found.in_words().startswith("Now: ")


def test_movers_go_from_the_largest_gain_to_the_largest_loss():
    table = pa.table({"product": ["b", "a", "new"], "now": [5, 1, 9], "before": [10, 1, 0]})
    found = moved(table).to_pandas()
    assert found["product"].tolist() == ["new", "a", "b"]
    assert found["growth"].isna().tolist() == [True, False, False]
    assert found["growth"].tolist()[1:] == [0.0, -0.5]


def test_classes_of_pareto():
    assert abc_classes(np.array([80, 10, 5, 5, 0, -3])) == ["A", "B", "B", "C", "C", "C"]
    assert abc_classes(np.array([100])) == ["A"]
    assert abc_classes(np.array([0, -1])) == ["C", "C"]
    with pytest.raises(BadParameter, match="borders"):
        abc_classes(np.array([1]), 0.9, 0.5)


def test_ranks_break_ties_by_name_and_losses_take_nothing_off():
    table = pa.table({"x": ["b", "a", "c"], "sales": [50, 50, -40], "profit": [1, 2, 3], "lines": [1, 1, 1]})
    found = Ranked("x")(table).to_pandas()
    assert found["x"].tolist() == ["a", "b", "c"]
    assert found["running_share"].tolist() == [0.5, 1.0, 1.0]
    assert found["class"].tolist() == ["A", "A", "C"]


def test_cohorts_fit_a_picture():
    assert [cohort_step(m) for m in (1, 18, 19, 72, 73)] == [1, 1, 3, 3, 12]
