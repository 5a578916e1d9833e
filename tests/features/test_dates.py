"""Date parts against pandas, in a table and in a pipeline."""

from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, UnknownColumn, WrongColumnType
from parquetry.features.dates import PARTS, add_date_parts, date_parts

N = 200


@pytest.fixture
def folder(write_parquet):
    rng = np.random.default_rng(0)
    start = np.datetime64("2019-12-20", "us")
    at = start + rng.integers(0, 5 * 10**7, N) * np.timedelta64(1, "s")
    gaps = rng.random(N) < 0.1
    table = pa.table(
        {
            "at": pa.array(at, mask=gaps),
            "day": pa.array(at.astype("datetime64[D]")),
            "instant": pa.array(at, pa.timestamp("us", tz="UTC")),
            "hour": np.arange(N),
            "y": rng.normal(size=N),
        }
    )
    return write_parquet(table, row_group_size=37)


def test_parts_of_a_table(folder, tmp_path, local):
    frame = pqy.open_dataset(folder).to_pandas()
    made = add_date_parts(
        folder, ["at", "day"], parts=PARTS, since="2020-01-01", to=tmp_path / "out", engine=local
    ).to_pandas()
    pd.testing.assert_frame_equal(made[frame.columns], frame)
    for name in ("at", "day"):
        times = pd.to_datetime(frame[name])
        expected = {part: getattr(times.dt, part) for part in ("year", "quarter", "month", "day", "hour", "minute")}
        expected |= {"week": times.dt.isocalendar().week, "weekday": times.dt.day_of_week + 1}
        expected |= {
            "day_of_year": times.dt.day_of_year,
            "is_weekend": (times.dt.day_of_week >= 5).where(times.notna()),
        }
        expected |= {"days_since": (times - pd.Timestamp("2020-01-01")) / pd.Timedelta(days=1)}
        for part, turn, first in (("month", 12, 1), ("weekday", 7, 1), ("day_of_year", 366, 1), ("hour", 24, 0)):
            angle = 2 * np.pi * (expected[part].astype(float) - first) / turn
            expected |= {f"{part}_sin": np.sin(angle), f"{part}_cos": np.cos(angle)}
        for part, values in expected.items():
            found = made[f"{name}_{part}"].astype(float).to_numpy()
            np.testing.assert_allclose(found, values.astype(float).to_numpy(), atol=1e-12, err_msg=part)
    assert pqy.open_dataset(tmp_path / "out").schema.field("at_is_weekend").type == pa.bool_()


def test_instants_on_a_clock(folder, tmp_path, local):
    out = add_date_parts(
        folder, ["instant"], parts=["hour", "day"], timezone="Asia/Tokyo", to=tmp_path / "out", engine=local
    ).to_pandas()
    local_time = out["instant"].dt.tz_convert("Asia/Tokyo")
    assert out["instant_hour"].tolist() == local_time.dt.hour.tolist()
    assert out["instant_day"].tolist() == local_time.dt.day.tolist()


def test_a_step_of_a_pipeline(folder, tmp_path, local):
    settings = {"parts": ["month_cycle", "weekday", "days_since"], "since": date(2020, 1, 1)}
    step = FunctionTransformer(date_parts, kw_args=settings)
    pipeline = make_pipeline(step, LinearRegression())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, features=["day"], target="y")
    np.testing.assert_allclose(ours.predict(x), theirs.predict(x), atol=1e-9)
    predicted = pqy.predict(ours, folder, to=tmp_path / "out", engine=local).to_pandas()
    np.testing.assert_allclose(predicted["prediction"], theirs.predict(x), atol=1e-9)
    assert ours.fit_report_["placement"] == "distributed"


BAD = {
    "part": ({"parts": ["decade"]}, BadParameter, "decade"),
    "since": ({"parts": ["days_since"]}, BadParameter, "go together"),
    "no day": ({"parts": ["days_since"], "since": "yesterday"}, BadParameter, "yesterday"),
    "clock": ({"timezone": "Mars/Phobos"}, BadParameter, "Mars/Phobos"),
    "column": ({"columns": ["att"]}, UnknownColumn, "date column 'att'"),
    "number": ({"columns": ["y"]}, WrongColumnType, "'y' is double, neither dates"),
    "string": ({"columns": "at"}, BadParameter, "Pass a list"),
}


@pytest.mark.parametrize(("changes", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(changes, kind, says, folder, tmp_path, local):
    given = {"columns": ["at"], "to": tmp_path / "out", "engine": local, **changes}
    with pytest.raises(kind, match=says):
        add_date_parts(folder, given.pop("columns"), **given)
    assert not (tmp_path / "out").exists()


def test_a_datetime_counts_from_its_day(folder):
    x = pqy.open_dataset(folder).to_pandas()[["day"]]
    for since in (datetime(2020, 1, 1, 15, tzinfo=UTC), "2020-01-01"):
        assert date_parts(x, ["days_since"], since=since).iloc[0, 0] == (x["day"][0] - date(2020, 1, 1)).days
