"""The profile against pandas and SciPy on the same rows, and against itself on every engine."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import io
import json
import math
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from scipy import stats
from scipy.stats.contingency import association

import parquetry as pqy
from parquetry import cli
from parquetry.foundation import distinct, grids
from parquetry.foundation.profile_results import Alert
from parquetry.reduction import bundles

N = 4_000
DESCRIBED = ("plain", "gappy", "skewed", "offset", "count", "constant", "infinite", "money")


def table(n: int = N, seed: int = 3) -> pa.Table:
    """Every kind of column: gaps, infinities, texts with blanks, dates, decimals, nested, constant, empty."""
    rng = np.random.default_rng(seed)
    gap = rng.random(n) < 0.15
    plain = rng.normal(size=n)
    gappy = np.where(rng.random(n) < 0.1, np.nan, plain + rng.normal(size=n))
    infinite = rng.gamma(2.0, size=n)
    infinite[:5], infinite[5:7] = np.inf, -np.inf
    label = np.where(plain + rng.normal(size=n) > 0, "yes", "no")
    cents = [Decimal(int(v)) / 100 for v in rng.integers(-500, 10_000, n)]
    return pa.table(
        {
            "plain": plain,
            "gappy": pa.array(gappy, mask=gap),
            "skewed": rng.lognormal(0.0, 1.5, n),
            "offset": 1e9 + rng.normal(size=n),
            "count": pa.array(rng.integers(-2, 6, n), pa.int32(), mask=gap),
            "constant": np.full(n, 2.5),
            "infinite": infinite,
            "money": pa.array(cents, pa.decimal128(12, 2)),
            "empty": pa.nulls(n, pa.float64()),
            "place": pa.array(rng.choice(["coast ", " hills", "", "  ", "Süd"], n), mask=gap),
            "id": [f"user-{i}" for i in range(n)],
            "day": pa.array(rng.integers(18_000, 18_400, n).astype("datetime64[D]"), mask=gap),
            "at": pa.array(rng.integers(0, 10**15, n), pa.timestamp("us", tz="UTC")),
            "flag": pa.array(rng.random(n) < 0.3, mask=gap),
            "tags": pa.array([[1, 2]] * n, mask=gap),
            "copy": np.where(label == "yes", 7, 8),
            "label": label,
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import pyarrow.parquet as pq

    home = tmp_path_factory.mktemp("profile")
    rows = table()
    for i in range(2):
        pq.write_table(rows.slice(i * N // 2, N // 2), home / f"part-{i}.parquet", row_group_size=300)
    return home


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    return table().to_pandas()


@pytest.fixture(scope="module")
def exact(folder: Path) -> Any:
    return pqy.profile(folder, target="label")


# --- columns -----------------------------------------------------------------------------------
@pytest.mark.parametrize("name", DESCRIBED)
def test_numbers_are_those_of_pandas(name: str, exact: Any, frame: pd.DataFrame) -> None:
    values = frame[name].astype(float)
    finite = values[np.isfinite(values)]
    found = exact[name]
    assert (found.count, found.missing, found.rows) == (values.count(), values.isna().sum(), N)
    numbers = found.numbers
    assert numbers.mean == pytest.approx(finite.mean(), rel=1e-13)
    assert numbers.variance == pytest.approx(finite.var(), rel=1e-10 if name != "offset" else 1e-7)
    assert numbers.deviation == pytest.approx(math.sqrt(numbers.variance))
    loose = {"rel": 1e-9, "abs": 1e-6 if name == "offset" else 1e-9, "nan_ok": True}
    assert numbers.skew == pytest.approx(finite.skew(), **loose)
    assert numbers.kurtosis == pytest.approx(finite.kurt(), **loose)
    assert (numbers.zeros, numbers.negatives) == ((values == 0).sum(), (values < 0).sum())
    assert (numbers.infinities_below, numbers.infinities_above) == ((values == -np.inf).sum(), (values == np.inf).sum())
    assert (float(found.minimum), float(found.maximum)) == (values.min(), values.max())
    assert found.distinct.exact
    assert found.distinct.count == values.nunique()
    counts = values.value_counts()
    assert [t.count for t in found.top] == counts.to_list()[: len(found.top)]
    assert all(counts[float(t.value)] == t.count for t in found.top)


@pytest.mark.parametrize("name", [*DESCRIBED, "day"])
def test_quantiles_are_those_of_numpy(name: str, exact: Any, frame: pd.DataFrame) -> None:
    found = exact[name].quantiles
    assert set(found.errors) == {0.0}
    if name == "day":
        assert found.values[2] == str(pd.to_datetime(frame["day"]).quantile(0.5).date())
        return
    values = frame[name].astype(float).dropna()
    assert list(found.values) == pytest.approx(np.quantile(values[np.isfinite(values)], found.q), rel=0.02)
    if name != "infinite":
        assert list(found.values) == pytest.approx(np.quantile(values, found.q), rel=1e-15)
        low, high = np.quantile(values, [0.25, 0.75])
        outliers = exact[name].outliers
        assert (outliers.low, outliers.high) == pytest.approx((low - 1.5 * (high - low), high + 1.5 * (high - low)))
        assert (outliers.count, outliers.error) == (((values < outliers.low) | (values > outliers.high)).sum(), 0)


def test_histograms_count_every_finite_value(exact: Any, frame: pd.DataFrame) -> None:
    for name in DESCRIBED:
        bins = exact[name].histogram
        values = frame[name].astype(float).to_numpy()
        values = values[np.isfinite(values)]
        assert len(bins.counts) <= 64
        np.testing.assert_array_equal(np.histogram(values, bins.edges)[0], bins.counts, err_msg=name)
        assert sum(bins.counts) == len(values)


def test_texts(exact: Any, frame: pd.DataFrame) -> None:
    values = frame["place"].dropna()
    found = exact["place"]
    texts = found.texts
    assert (found.missing, found.distinct.count, found.distinct.exact) == (frame["place"].isna().sum(), 5, True)
    assert {t.value: t.count for t in found.top} == values.value_counts().to_dict()
    assert (texts.characters.minimum, texts.characters.maximum) == (0, 6)
    assert texts.characters.mean == pytest.approx(values.str.len().mean())
    assert texts.bytes.mean == pytest.approx(values.str.encode("utf-8").str.len().mean())
    expected = [(values == v).sum() for v in ("", "  ", " hills", "coast ")]
    assert [texts.empty, texts.blank, texts.leading_space, texts.trailing_space] == expected


def test_times_booleans_and_nested_columns(exact: Any, frame: pd.DataFrame) -> None:
    days = frame["day"].dropna()
    assert (exact["day"].minimum, exact["day"].maximum) == (str(days.min()), str(days.max()))
    assert exact["at"].minimum == pd.Timestamp(frame["at"].min()).to_pydatetime().isoformat()
    assert exact["at"].top == ()
    assert dt.date.fromisoformat(exact["day"].top[0].value) in set(days)
    flags = frame["flag"].dropna().astype(bool)
    assert {t.value: t.count for t in exact["flag"].top} == flags.value_counts().to_dict()
    assert exact["flag"].numbers.mean == pytest.approx(flags.mean())
    tags = exact["tags"]
    assert (tags.kind, tags.count, tags.numbers, tags.distinct) == ("nested", frame["tags"].notna().sum(), None, None)
    assert "tags" in exact.notes[0]
    assert (exact["empty"].count, exact["empty"].minimum, exact["empty"].histogram) == (0, None, None)


KINDS: dict[str, Any] = {
    "decimal256": (pa.array([Decimal(1), None, Decimal(3)], pa.decimal256(50, 2)), "decimal", "3.00"),
    "uint64": (pa.array([2**64 - 1, 1, None], pa.uint64()), "integer", 2**64 - 1),
    "int8": (pa.array([-128, 127, None], pa.int8()), "integer", 127),
    "float16": (pa.array(np.array([1.5, -2.0, np.nan], np.float16)), "float", 1.5),
    "nan": (pa.array([math.nan, 0.5, None], from_pandas=False), "float", 0.5),
    "infinite": (pa.array([math.inf, math.inf, math.inf, -math.inf]), "float", math.inf),
    "binary": (pa.array([b"a", None, b""]), "binary", None),
    "fixed": (pa.array([b"ab", None], pa.binary(2)), "binary", None),
    "coded": (pa.array(["a", None, "b"]).dictionary_encode(), "text", None),
    "large": (pa.array(["a", None, "b"], pa.large_string()), "text", None),
    "view": (pa.array(["a", None, "b"]).cast(pa.string_view()), "text", None),
    "time": (pa.array([1, None, 86_399_000], pa.time32("ms")), "time", "23:59:59"),
    "duration": (pa.array([1, None, 90_000_000], pa.duration("us")), "time", "0:01:30"),
    "zone": (pa.array([0, None], pa.timestamp("s", tz="Europe/Berlin")), "time", "1970-01-01T01:00:00+01:00"),
    "null": (pa.nulls(3), "nested", None),
    "empty": (pa.nulls(3, pa.int32()), "integer", None),
    "one": (pa.array([7]), "integer", 7),
}


@pytest.mark.parametrize("name", KINDS)
def test_every_type(name: str, write_parquet: Any, local: Any) -> None:
    values, kind, most = KINDS[name]
    found = pqy.profile(write_parquet(pa.table({"v": values}), row_group_size=2), engine=local)
    seen, nans = found["v"], {"float16": 1, "nan": 1}.get(name, 0)
    assert (seen.kind, seen.nulls, seen.nans, seen.missing) == (kind, values.null_count, nans, values.null_count + nans)
    assert str(seen.maximum) == str(most)
    if kind != "nested":
        assert (seen.distinct.count, seen.distinct.exact) == (len(set(values.to_pylist()) - {None}) - nans, True)
    json.dumps(found.to_dict(), allow_nan=False)
    if name == "infinite":
        assert seen.quantiles.values[2:] == (math.inf,) * 3  # between two infinities


def test_columns_that_are_not_looked_at_tell_no_duplicates(write_parquet: Any, local: Any) -> None:
    found = pqy.profile(write_parquet({"tags": [[1], [2]]}), engine=local)
    assert (found.duplicates.count, found.duplicates.exact) == (0, False)
    assert "duplicates" not in {a.what for a in found.alerts}


def test_row_groups_without_rows(tmp_path: Path, local: Any) -> None:
    rows = pa.table({"v": [1.0, 2.0, None], "t": ["a", "b", None]})
    with pa.parquet.ParquetWriter(tmp_path / "x.parquet", rows.schema) as writer:
        for part in (rows, rows.schema.empty_table(), rows):
            writer.write_table(part)
    found = pqy.profile(tmp_path / "x.parquet", engine=local)
    assert (found.rows, found["v"].count, found["t"].nulls) == (6, 4, 2)


def test_whole_numbers_are_exact_past_what_floats_hold(write_parquet: Any, local: Any) -> None:
    big = [2**62 + 1, 2**62 + 2, -(2**63), 2**62 + 1]
    data = write_parquet(
        {"i": pa.array(big), "u": pa.array([2**64 - 1, 1, 2, 1], pa.uint64())}, files=1, row_group_size=2
    )
    found = pqy.profile(data, engine=local)
    assert (found["i"].minimum, found["i"].maximum, found["i"].distinct.count) == (-(2**63), 2**62 + 2, 3)
    assert (found["i"].top[0].value, found["i"].top[0].count) == (2**62 + 1, 2)
    assert found["u"].maximum == 2**64 - 1
    far = write_parquet({"at": pa.array([0, 2**62], pa.timestamp("us"))}, "far", files=1)
    assert pqy.profile(far, engine=local)["at"].maximum == str(2**62)


@pytest.mark.parametrize("row_group_size", [7_001, 40_000])
def test_a_large_mean_does_not_spoil_the_variance(row_group_size: int, write_parquet: Any, local: Any) -> None:
    rng = np.random.default_rng(5)
    values = 1e9 + rng.normal(size=80_000)
    found = pqy.profile(write_parquet({"x": values}, row_group_size=row_group_size), quantiles="none", engine=local)[
        "x"
    ]
    exact = (values - 1e9).astype(np.longdouble)
    assert found.numbers.variance == pytest.approx(float(exact.var(ddof=1)), rel=1e-12)
    assert found.numbers.skew == pytest.approx(float(stats.skew(exact, bias=False)), rel=1e-7, abs=1e-9)
    assert found.numbers.kurtosis == pytest.approx(float(stats.kurtosis(exact, bias=False)), rel=1e-7, abs=1e-9)


# --- many distinct values ----------------------------------------------------------------------
def test_many_values_are_estimated_within_what_is_stated(write_parquet: Any, local: Any) -> None:
    rng = np.random.default_rng(8)
    n = 60_000
    often = rng.random(n) < 0.2
    values = np.where(often, 42, rng.integers(0, 2**40, n))
    words = [f"w{v}" for v in values]
    found = pqy.profile(
        write_parquet({"v": values, "w": words, "f": values * 0.5}, row_group_size=10_000), engine=local
    )
    truth = len(np.unique(values))
    # So many floats are held for their quantiles.
    assert (found["f"].distinct.count, found["f"].distinct.exact) == (truth, True)
    for column in (found["v"], found["w"]):
        assert not column.distinct.exact
        assert abs(column.distinct.count - truth) < 4 * column.distinct.error * truth
        top, least = column.top[0], often.sum()
        assert str(top.value) in ("42", "w42")
        assert least - column.top_error <= top.count <= least
        assert column.top_error <= n / 1024
    assert found.duplicates.exact
    assert found.duplicates.count == n - truth


def test_estimate_against_datasketches() -> None:
    import datasketches

    from parquetry.foundation.profile_kernels import add_hashes

    theirs, registers = datasketches.hll_sketch(14), np.zeros(2**14, np.uint8)
    rng, seen = np.random.default_rng(1), 0
    for n in (10, 1_000, 20_000, 100_000):
        for value in range(seen, n):
            theirs.update(value)
        add_hashes(rng.integers(0, 2**64, n - seen, dtype=np.uint64), registers)
        seen = n
        assert distinct.estimate(registers) == pytest.approx(n, rel=4 * 1.04 / 128)
        assert distinct.estimate(registers) == pytest.approx(theirs.get_estimate(), rel=6 * 1.04 / 128)


@pytest.mark.parametrize(
    "ends", [(-3.0, 5.0), (1e9, 1e9 + 1e-6), (-1e308, 1e308), (0.0, 5e-324), (7.0, 7.0), (1e-300, 1e300)]
)
def test_grids_of_any_range_merge_without_error(ends: tuple[float, float]) -> None:
    rng = np.random.default_rng(2)
    low, high = ends
    values = low * (1 - rng.random(3_000)) + high * rng.random(3_000) if ends[0] < 0 else rng.uniform(*ends, 3_000)
    values = np.clip(values, low, high)
    parts = [grids.grid_of(p, float(p.min()), float(p.max())) for p in np.array_split(values, 7)]
    whole = grids.grid_of(values, float(values.min()), float(values.max()))
    for order in (parts, parts[::-1]):
        merged = order[0]
        for part in order[1:]:
            merged = grids.merged(merged, part)
        assert (merged.exponent, merged.start) == (whole.exponent, whole.start)
        np.testing.assert_array_equal(merged.counts, whole.counts)
    assert whole.counts.sum() == 3_000
    assert len(whole.counts) <= grids.CELLS


def test_sketched_quantiles_keep_their_bound(write_parquet: Any, local: Any) -> None:
    rng = np.random.default_rng(9)
    n = 150_000
    columns = {
        "normal": rng.normal(1e6, 1.0, n),
        "heavy": rng.lognormal(0, 3, n),
        "mixed": rng.normal(size=n) ** 3,
        "far": np.where(rng.random(n) < 0.001, np.inf, rng.random(n)),
        "zeros": np.where(rng.random(n) < 0.6, rng.choice([-0.0, 0.0], n), rng.normal(size=n)),
        "tiny": np.where(rng.random(n) < 0.5, -5e-324, rng.random(n) * 1e300),
        **{f"more{i}": rng.random(n) for i in range(14)},
    }
    tmp_data = write_parquet(columns, row_group_size=50_000)
    found = pqy.profile(tmp_data, quantiles="sketch", engine=local)
    assert found.reads == 2
    for name in ("normal", "heavy", "mixed", "far"):
        q = found[name].quantiles
        truth = np.sort(columns[name])[np.round(np.array(q.q) * (n - 1)).astype(int)]
        np.testing.assert_array_less(np.abs(np.array(q.values) - truth), np.array(q.errors) + 1e-3 * np.abs(truth))
        assert max(q.errors) > 0
        outliers = found[name].outliers
        outside = ((columns[name] < outliers.low) | (columns[name] > outliers.high)).sum()
        assert abs(outliers.count - outside) <= outliers.error
    whole = pqy.profile(tmp_data, engine=local)
    for name, values in columns.items():
        expected = (
            np.quantile(values[np.isfinite(values)], [0.25, 0.5, 0.75])
            if name == "far"
            else np.quantile(values, [0.25, 0.5, 0.75])
        )
        np.testing.assert_allclose(whole[name].quantiles.values[1:4], expected, rtol=5e-3 if name == "far" else 1e-15)
    expected = pd.DataFrame(columns).replace(np.inf, np.nan).rank().corr().to_numpy()
    np.testing.assert_allclose(np.array(found.spearman.values), expected, atol=2e-3)
    assert 0 < max(found.spearman.errors) < 0.05


# --- pairs -------------------------------------------------------------------------------------
def test_correlations(exact: Any, frame: pd.DataFrame) -> None:
    numbers = frame[list(exact.pearson.columns)].astype(float).replace([np.inf, -np.inf], np.nan)
    centered = numbers - numbers.mean()  # pandas loses digits at a mean of 1e9
    np.testing.assert_allclose(exact.pearson.values, centered.corr().to_numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(exact.spearman.values, numbers.rank().corr().to_numpy(), rtol=1e-9, atol=1e-9)
    assert set(exact.spearman.errors) == {0.0}
    complete = numbers[["plain", "skewed"]]
    i, j = (exact.spearman.columns.index(c) for c in complete)
    assert exact.spearman.values[i][j] == pytest.approx(stats.spearmanr(complete).statistic, abs=1e-12)


def test_cramers_v(exact: Any, frame: pd.DataFrame) -> None:
    names = exact.cramers_v.columns
    assert set(names) == {"count", "place", "flag", "copy", "label"}
    for i, a in enumerate(names):
        for j, b in enumerate(names[:i]):
            counted = pd.crosstab(frame[a], frame[b]).to_numpy()
            assert exact.cramers_v.values[i][j] == pytest.approx(association(counted, method="cramer"), rel=1e-12)


def test_target_of_classes(exact: Any, frame: pd.DataFrame) -> None:
    view = exact.target
    assert (view.target, view.classes) == ("label", ("no", "yes")) or view.classes == ("yes", "no")
    columns = {c.column: c for c in view.columns}
    assert "tags" not in columns
    rates = frame.groupby("count", dropna=False)["label"].apply(lambda s: (s == "yes").mean())
    found = {g.label: g.shares[view.classes.index("yes")] for g in columns["count"].groups}
    expected = {"missing" if np.isnan(k) else str(int(k)): v for k, v in rates.items()}
    assert found == pytest.approx(expected)
    assert len(columns["plain"].groups) == 10
    assert sum(g.rows for g in columns["plain"].groups) == N
    shares = [g.shares[view.classes.index("yes")] for g in columns["plain"].groups]
    assert shares[0] < 0.15 < 0.85 < shares[-1]
    assert (columns["copy"].determines, columns["copy"].strength) == (True, pytest.approx(1.0))
    assert not columns["place"].determines


def test_target_of_numbers(folder: Path, frame: pd.DataFrame, local: Any) -> None:
    found = pqy.profile(folder, target="plain", features=["label", "place", "gappy"], engine=local)
    assert found.target.classes == ()
    groups = {c.column: {g.label: g for g in c.groups} for c in found.target.columns}
    truth = frame["plain"]
    for value, part in frame.groupby("label")["plain"]:
        group = groups["label"][value]
        assert (group.rows, group.mean, group.deviation) == pytest.approx((part.count(), part.mean(), part.std()))
    missing = truth[frame["place"].isna()]
    assert (groups["place"]["missing"].rows, groups["place"]["missing"].mean) == (
        len(missing),
        pytest.approx(missing.mean()),
    )
    means = frame.groupby("label")["plain"].transform("mean")
    eta = np.sqrt(((means - truth.mean()) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    assert found.target.columns[0].strength == pytest.approx(eta)


def test_alerts(exact: Any) -> None:
    found = {(a.column, a.what) for a in exact.alerts}
    expected = {
        ("constant", "constant"), ("empty", "empty"), ("id", "unique"), ("infinite", "infinite"), ("skewed", "skewed"),
        ("skewed", "outliers"), ("place", "blanks"), ("copy", "leak"), ("tags", "nested"),
    }  # fmt: skip
    assert expected <= found
    assert {c for c, what in found if what == "leak"} == {"copy"}
    assert ("plain", "outliers") not in found
    assert "" not in {c for c, _ in found}


def test_leaks_and_duplicates(write_parquet: Any, local: Any) -> None:
    rng = np.random.default_rng(4)
    y = rng.normal(size=500)
    data = {"y": y, "twice": 2 * y + 1e-6, "cube": y**3, "other": rng.normal(size=500)}
    rows = pa.concat_tables([pa.table(data), pa.table(data).slice(0, 20)])
    found = pqy.profile(write_parquet(rows), target="y", engine=local)
    assert {a.column for a in found.alerts if a.what == "leak"} == {"twice", "cube"}
    assert (found.duplicates.count, found.duplicates.exact) == (20, True)
    assert any(a.what == "duplicates" for a in found.alerts)


# --- one profile -------------------------------------------------------------------------------
def test_one_read_gives_what_one_read_can(folder: Path, exact: Any, local: Any) -> None:
    found = pqy.profile(folder, target="label", quantiles="none", engine=local)
    assert (found.reads, found.spearman, found.cramers_v, found.target) == (1, None, None, None)
    assert "One read" in found.notes[-1]
    assert found.pearson == exact.pearson or str(found.pearson) == str(exact.pearson)
    assert found["plain"].numbers == exact["plain"].numbers
    assert found["plain"].histogram == exact["plain"].histogram


def test_json_knows_no_nan(exact: Any) -> None:
    found = json.loads(exact.to_json())
    columns = {c["name"]: c for c in found["columns"]}
    assert columns["empty"]["numbers"]["mean"] is None
    assert columns["infinite"]["maximum"] == "inf"
    assert columns["money"]["minimum"] == str(exact["money"].minimum)
    assert found["rows"] == N


def test_splits_and_features(folder: Path, local: Any) -> None:
    train, test = pqy.open_dataset(folder).split(test=0.3, seed=1)
    parts = [pqy.profile(d, features=["plain"], quantiles="none", engine=local) for d in (train, test)]
    assert sum(p.rows for p in parts) == N
    assert [c.name for c in parts[0].columns] == ["plain"]
    assert parts[0].pearson is None


def test_bad_input(folder: Path, write_parquet: Any, local: Any) -> None:
    with pytest.raises(pqy.errors.UnknownColumn, match="Did you mean 'label'"):
        pqy.profile(folder, target="labl", engine=local)
    with pytest.raises(pqy.errors.UnknownColumn, match="skew"):
        pqy.profile(folder, features=["skew"], engine=local)
    with pytest.raises(pqy.errors.BadParameter, match="'exact', 'sketch', 'none'"):
        pqy.profile(folder, quantiles="some", engine=local)
    with pytest.raises(pqy.errors.BadParameter, match="one column"):
        pqy.profile(folder, target=["label"], engine=local)
    with pytest.raises(pqy.errors.EmptyDataset):
        pqy.profile(write_parquet({"a": pa.array([], pa.int64())}, files=1), engine=local)
    with pytest.raises(pqy.errors.TooBigForDriver, match="17 columns"):
        pqy.profile(folder, memory="1MiB", engine=local)


def test_the_same_bits_on_every_engine(
    write_parquet: Any, local: Any, dask_engine: Any, spark_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parquetry.reduction.BUNDLE_BYTES", 20_000)  # several tasks a read
    data = pqy.open_dataset(write_parquet(table(600), files=2, row_group_size=100))
    assert 2 < len(list(bundles(data, data.columns))) < 6
    found = [pqy.profile(data, target="label", engine=e) for e in (local, dask_engine, spark_engine)]
    monkeypatch.setattr("parquetry.foundation.profile_loops.ENOUGH", -1)  # all loops compiled
    found.append(pqy.profile(data, target="label", engine=local))
    texts = [json.dumps({**p.to_dict(), "engine": "", "seconds": 0}, sort_keys=True) for p in found]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    assert [p.engine for p in found] == ["local", "dask", "spark", "local"]


def test_real_sets(real_data: Path, tmp_path: Path, local: Any) -> None:
    sets = {
        "titanic/train.csv": ("Survived", "Age"),
        "california-housing/housing.csv": ("median_house_value", "total_bedrooms"),
    }
    for name, (target, gappy) in sets.items():
        if not (real_data / name).is_file():
            pytest.skip(f"There is no {name} in PARQUETRY_DATA.")
        frame = pd.read_csv(real_data / name)
        frame.to_parquet(tmp_path / "rows.parquet", row_group_size=5_000)
        found = pqy.profile(tmp_path / "rows.parquet", target=target, engine=local)
        seen = found[gappy]
        assert (seen.missing, seen.numbers.mean) == (frame[gappy].isna().sum(), pytest.approx(frame[gappy].mean()))
        assert seen.quantiles.values[2] == frame[gappy].median()
        assert [c.distinct.count for c in found.columns if c.distinct.exact] == [
            frame[c.name].nunique() for c in found.columns if c.distinct.exact
        ]
        assert {c.column for c in found.target.columns} == set(frame.columns) - {target}


# --- its page and its verb -----------------------------------------------------------------------
def test_page_needs_nothing_else(exact: Any, tmp_path: Path) -> None:
    from parquetry.foundation.profile_page import html, save_profile

    page = save_profile(exact, tmp_path / "out")
    text = page.read_text()
    assert re.findall(r'(?:src|href)="(?!#|data:)', text) == []
    assert "<script" not in text
    assert text.count("<svg") >= 14
    anchors = set(re.findall(r'href="#([\w-]+)"', text))
    assert {"alerts", "overview", "column-1", "column-17", "target"} <= anchors
    assert anchors <= set(re.findall(r'id="([\w-]+)"', text))
    assert "prefers-color-scheme: dark" in text
    assert "width=device-width" in text
    held = re.search(r'download="profile.json" href="data:application/json;base64,([^"]+)"', text)
    assert held is not None
    assert json.loads(base64.b64decode(held.group(1))) == exact.to_dict()
    lines = pd.read_csv(tmp_path / "out" / "columns.csv")
    assert lines["name"].to_list() == [c.name for c in exact.columns]
    assert lines["numbers_mean"][0] == pytest.approx(exact["plain"].numbers.mean)
    with pytest.raises(pqy.errors.OutputExists):
        save_profile(exact, tmp_path / "out")
    rude = dataclasses.replace(exact, data="<b>x", alerts=(Alert("plain", "leak", "<script>alert(1)</script>"),))
    assert "<script" not in html(rude)


def test_verb(folder: Path, tmp_path: Path, capsys: Any) -> None:
    def call(*words: str) -> tuple[int, Any]:
        with pytest.raises(SystemExit) as end:
            cli.main(("profile", *words, "--json"))
        return int(end.value.code or 0), json.loads(capsys.readouterr().out.splitlines()[-1])

    code, found = call(str(folder), "--target=label", "--quantiles", "none", "--to", str(tmp_path / "page"))
    assert (code, found["exit_code"], found["rows"], found["reads"]) == (0, 0, N, 1)
    assert (tmp_path / "page" / "profile.html").is_file()
    assert call(str(folder), "--target", "labl")[1]["error"] == "UnknownColumn"
    assert [call(*words)[0] for words in ((), ("a", "b"), (str(folder), "--taget", "x"), (str(folder), "--to"))] == [
        2
    ] * 4


def test_ten_thousand_columns(tmp_path: Path, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from parquetry.foundation import profile_page

    monkeypatch.setattr(profile_page, "MOST_PICTURES", 2)  # a picture takes 0.1 s
    rng = np.random.default_rng(0)
    words = pa.array([f"w{i % 5}" for i in range(12)])
    columns = {f"c{i}": words if i % 4 == 3 else rng.normal(size=12) for i in range(10_000)}
    columns["c8"] = np.full(12, 7.0)
    columns["c9998"] = np.full(12, 7.0)
    pa.parquet.write_table(pa.table(columns), tmp_path / "wide.parquet")
    found = pqy.profile(tmp_path / "wide.parquet", quantiles="none", engine=local)
    assert [c.name for c in found.columns] == list(columns)
    assert found.notes[0] == "Correlations are those of the first 256 of 7,500 columns of numbers."
    assert len(found.pearson.columns) == 256
    assert found["c9997"].numbers.mean == pytest.approx(columns["c9997"].mean(), rel=1e-12)
    assert {a.column for a in found.alerts if a.what == "constant"} == {"c8", "c9998"}
    page = profile_page.html(found)
    assert len(page) < 12 * 2**20
    assert page.count("<svg") == 2 + len([m for m in (found.pearson, found.cramers_v) if m is not None])
    assert page.count('<h3 id="column-') == profile_page.MOST_SHOWN
    for note in ("The first 1,000 of 10,000 columns.", "The first 2 of 10,000 columns have a picture."):
        assert note in page
    assert "The first 40 of 256 columns." in page
    assert "profile.json (too large for this page" in page
    lines = pd.read_csv(io.BytesIO(base64.b64decode(re.search(r"data:text/csv;base64,([^\"]+)", page).group(1))))
    assert len(lines) == 10_000
