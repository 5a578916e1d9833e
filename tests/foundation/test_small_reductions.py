"""What is counted for pictures: missing values at once, rows over time, a sample; the same bits on three engines."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import parquetry as pqy
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.foundation.missing_together import MissingTogether
from parquetry.foundation.row_sample import MOST_ROWS, sample_rows
from parquetry.foundation.times import TimeCounts, calendar_of
from parquetry.reduction import bundles

ROWS = 4_000


def rows() -> pa.Table:
    rng = np.random.default_rng(3)
    a, b, c = (np.where(rng.random(ROWS) < share, np.nan, rng.normal(size=ROWS)) for share in (0.1, 0.3, 0.01))
    b[np.isnan(a)] = np.nan
    a[7], a[11] = np.inf, 1e300
    when = np.datetime64("2019-12-28T22:00:00", "us") + rng.integers(0, 90 * 86_400_000_000, ROWS).astype("m8[us]")
    texts = [None if v is None else f"w{v}" for v in np.where(rng.random(ROWS) < 0.2, None, rng.integers(0, 4, ROWS))]
    when_known = pa.array(when, mask=rng.random(ROWS) < 0.05)
    return pa.table({"a": a, "b": b, "c": c, "when": when_known, "day": when_known.cast(pa.date32()), "text": texts})


def found_on(engine: Any, data: pqy.Dataset) -> list[Any]:
    calendars = {"when": calendar_of("2019-12-28T22:00:00", "2020-03-27T22:00:00"), "day": None}
    calendars["day"] = calendar_of("2019-12-28", "2020-03-27")
    view = make_view(data, target=None, features=None)
    works = [
        (MissingTogether(["a", "b", "c", "text", "when"]), view),
        (TimeCounts("when", calendars["when"], "a"), view),
        (TimeCounts("day", calendars["day"], "b"), view),
    ]
    sample = sample_rows(data, ["c", "a"], rows=50, classes="text", seed=4, engine=engine)
    return [*run_pass(engine, works, label="pictures"), sample]


def bits(found: list[Any]) -> list[bytes]:
    together, when, day, sample = found
    rhythms = [[r.counts, r.sums, r.known, *r.seasons.values()] for r in (when, day)]
    arrays = [together.pairs, *rhythms[0], *rhythms[1], sample.values]
    patterns = [(sorted(names), count) for names, count in together.patterns]
    return [
        *(np.ascontiguousarray(a).tobytes() for a in arrays),
        pickle.dumps([patterns, together.others, sample.labels]),
    ]


def test_the_same_bits_on_every_engine(
    write_parquet: Any, local: Any, dask_engine: Any, spark_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 60_000)  # several tasks a pass
    table = rows()
    data = pqy.open_dataset(write_parquet(table, files=2, row_group_size=500))
    assert 2 < len(list(bundles(data, data.columns))) < 9
    ours, dask, spark = (found_on(e, data) for e in (local, dask_engine, spark_engine))
    assert bits(ours) == bits(dask) == bits(spark)

    together, when, day, sample = ours
    frame = table.to_pandas()
    gone = frame[["a", "b", "c", "text", "when"]].isna().to_numpy()
    np.testing.assert_array_equal(together.pairs, gone.T.astype(int) @ gone.astype(int))
    assert sum(n for _, n in together.patterns) + together.others == ROWS
    assert dict(together.patterns)[frozenset()] == (~gone.any(axis=1)).sum()
    known = frame[frame["when"].notna()]
    assert when.counts.sum() == day.counts.sum() == len(known)
    finite = known[np.isfinite(known["a"])]
    daily = finite.groupby(finite["when"].dt.date)["a"].sum()
    assert when.calendar.step == "day"
    np.testing.assert_allclose(when.sums[when.known > 0], daily, rtol=1e-12)
    np.testing.assert_array_equal(when.seasons["hour of the day"], np.bincount(known["when"].dt.hour, minlength=24))
    np.testing.assert_array_equal(
        day.seasons["day of the week"], np.bincount(known["when"].dt.day_of_week, minlength=7)
    )
    assert sample.values.shape == (50, 2)
    assert len(sample.labels) == 50
    pairs = set(zip(frame["c"].fillna(-9), frame["a"].fillna(-9), strict=True))
    assert {tuple(np.nan_to_num(v, nan=-9, posinf=np.inf)) for v in sample.values} <= pairs
    with pytest.raises(pqy.errors.BadParameter, match="too large"):
        sample_rows(data, ["a"], rows=MOST_ROWS + 1, engine=local)
