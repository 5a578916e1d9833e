"""A regressor's metrics against scikit-learn's on all rows at once, for given predictions."""

from __future__ import annotations

import json
import sys
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.stats import _weighted_percentile

import parquetry as pqy
from parquetry.errors import BadParameter, NonFiniteValues
from parquetry.metrics import regression

N = 1_200
LAYOUTS = {"one block": {"files": 1, "row_group_size": 10_000}, "many blocks": {"files": 3, "row_group_size": 70}}


class Given(RegressorMixin, BaseEstimator):
    """Predicts what stands in X."""

    def predict(self, X: Any) -> Any:
        values = np.asarray(X)
        return values[:, 0] if values.shape[1] == 1 else values


def case(kind: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(1)
    y = rng.gamma(2.0, size=N)
    guess = y + rng.normal(size=N) * 0.3
    if kind == "positive":
        return y, np.abs(guess)
    if kind == "offset":
        return y + 1e9, guess + 1e9
    if kind == "zeros":
        return np.where(rng.random(N) < 0.3, 0.0, y), guess
    if kind == "perfect":
        return y, y.copy()
    if kind == "constant":
        return np.full(N, 0.1), guess
    if kind == "shifted":
        return y, y + 0.5
    if kind == "ties":
        return np.round(y), np.round(guess)
    return y - 1, guess - 1


KINDS = ("plain", "positive", "offset", "zeros", "perfect", "constant", "shifted", "ties")


def weights_of(kind: str) -> Any:
    rng = np.random.default_rng(2)
    whole = rng.integers(0, 4, N).astype(float)
    return {"none": None, "whole": whole, "real": rng.uniform(0, 2, N) * (whole > 0)}[kind]


def expected(y: Any, guess: Any, w: Any) -> dict[str, Any]:
    rest = {"sample_weight": w}
    return {
        "r2": metrics.r2_score(y, guess, **rest),
        "rmse": metrics.root_mean_squared_error(y, guess, **rest),
        "mae": metrics.mean_absolute_error(y, guess, **rest),
        "mape": metrics.mean_absolute_percentage_error(y, guess, **rest),
        "median_absolute_error": metrics.median_absolute_error(y, guess, **rest),
        "max_error": metrics.max_error(y, guess),
        "explained_variance": metrics.explained_variance_score(y, guess, **rest),
        "rmsle": metrics.root_mean_squared_log_error(y, guess, **rest) if min(y.min(), guess.min()) > -1 else None,
    }


def assert_close(found: dict[str, Any], wanted: dict[str, Any], rtol: float) -> None:
    for name, value in wanted.items():
        if value is None:
            assert found[name] is None, name
        else:
            assert found[name] == pytest.approx(float(value), rel=rtol, abs=1e-14), name


@pytest.fixture
def few_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the data were much larger: the quantiles take several passes, over the cache."""
    monkeypatch.setattr(regression, "CAP", 40)
    monkeypatch.setattr(regression, "FEWEST", 40)


@pytest.mark.parametrize("layout", list(LAYOUTS))
@pytest.mark.parametrize("weighted", ["none", "whole", "real"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_target(local: Any, write_parquet: Any, request: Any, kind: str, weighted: str, layout: str) -> None:
    y, guess = case(kind)
    w = weights_of(weighted)
    if layout == "many blocks":
        request.getfixturevalue("few_cells")
    table = pa.table({"y": y, "x": guess, **({} if w is None else {"w": w})})
    folder = write_parquet(table, **LAYOUTS[layout])
    weight = None if w is None else "w"
    found = pqy.evaluate(Given(), folder, target="y", features=["x"], sample_weight=weight, engine=local)
    json.dumps(found, allow_nan=False)
    wanted = expected(y, guess, w)
    if kind in ("constant", "shifted"):
        # scikit-learn's own mean of a constant is off by its rounding, and so is what it divides by it.
        wanted |= {"r2": 0.0} if kind == "constant" else {}
        wanted |= {"explained_variance": {"constant": 0.0, "shifted": 1.0}[kind]}
    assert_close(found, wanted, 1e-7 if kind == "offset" else 1e-11)
    q = regression.ERROR_QUANTILES
    assert list(found["error_quantiles"]) == [str(share) for share in q]
    mass = np.ones(N) if w is None else w
    spread = _weighted_percentile(y - guess, mass, np.array(q) * 100, average=True)
    assert list(found["error_quantiles"].values()) == (spread + 0.0).tolist()
    assert found["rows"] == N


@pytest.mark.parametrize("weighted", ["none", "real"])
def test_several_targets(local: Any, write_parquet: Any, weighted: str) -> None:
    pairs = {kind: case(kind) for kind in ("positive", "zeros", "plain")}
    w = weights_of(weighted)
    table = pa.table(
        {
            **{kind: y for kind, (y, _) in pairs.items()},
            **{f"x {kind}": guess for kind, (_, guess) in pairs.items()},
            **({} if w is None else {"w": w}),
        }
    )
    found = pqy.evaluate(
        Given(),
        write_parquet(table),
        target=list(pairs),
        features=[f"x {kind}" for kind in pairs],
        sample_weight=None if w is None else "w",
        engine=local,
    )
    json.dumps(found, allow_nan=False)
    each = {kind: expected(y, guess, w) for kind, (y, guess) in pairs.items()}
    for kind, wanted in each.items():
        assert_close(found["per_output"][kind], wanted, 1e-11)
        assert "0.5" in found["per_output"][kind]["error_quantiles"]
    for name in each["plain"]:
        values = [wanted[name] for wanted in each.values()]
        assert_close(found, {name: None if None in values else np.mean(values)}, 1e-11)


def test_one_row(local: Any, write_parquet: Any) -> None:
    found = pqy.evaluate(Given(), write_parquet(pa.table({"y": [2.0], "x": [3.0]}), files=1), target="y", engine=local)
    assert found["r2"] is None
    assert (found["rmse"], found["max_error"], found["error_quantiles"]["0.5"]) == (1.0, 1.0, -1.0)


@pytest.mark.parametrize(
    ("columns", "error", "message"),
    [
        ({"x": np.where(np.arange(N) == 900, np.nan, 1.0)}, NonFiniteValues, r"'prediction of y' holds NaN.*part-1"),
        ({"y": np.where(np.arange(N) == 7, np.inf, 1.0)}, NonFiniteValues, r"'y' holds infinity.*part-0.*row 7\b"),
        ({"w": np.where(np.arange(N) == 7, -1.0, 1.0)}, BadParameter, r"'w' holds a negative value.*row 7\b"),
        ({"w": np.zeros(N)}, BadParameter, r"'w' are all zero"),
    ],
)
def test_bad_values(
    local: Any, write_parquet: Any, columns: dict[str, Any], error: type[Exception], message: str
) -> None:
    table = pa.table({"y": np.arange(N) / 7, "x": np.ones(N), "w": np.ones(N), **columns})
    with pytest.raises(error, match=message):
        pqy.evaluate(Given(), write_parquet(table), target="y", features=["x"], sample_weight="w", engine=local)


def test_as_many_targets_as_outputs(local: Any, write_parquet: Any) -> None:
    table = pa.table({"y": np.ones(10), "x": np.ones(10), "z": np.ones(10)})
    with pytest.raises(BadParameter, match="predicts 2 outputs; the target has 1 column"):
        pqy.evaluate(Given(), write_parquet(table), target="y", engine=local)


def test_the_same_bits_on_every_engine(
    local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any, few_cells: None
) -> None:
    cloudpickle.register_pickle_by_value(sys.modules[__name__])
    y, guess = case("plain")
    folder = write_parquet(pa.table({"y": y, "x": guess, "w": weights_of("real")}), row_group_size=70)
    ours, dask, spark = (
        pqy.evaluate(Given(), folder, target="y", features=["x"], sample_weight="w", engine=engine)
        for engine in (local, dask_engine, spark_engine)
    )
    assert dask == ours
    assert spark == ours


def test_variances_far_from_zero_keep_their_digits_however_many_blocks_there_are(
    local: Any, write_parquet: Any
) -> None:
    rng = np.random.default_rng(0)
    y, far = 1e9 + rng.normal(size=N), rng.normal(size=N)
    folder = write_parquet(pa.table({"guess": far, "y": y}), files=3, row_group_size=23)
    ours = pqy.evaluate(Given(), folder, target="y", features=["guess"], engine=local)
    assert ours["r2"] == pytest.approx(metrics.r2_score(y, far), rel=1e-12)
    expected = metrics.explained_variance_score(y, far)
    assert ours["explained_variance"] == pytest.approx(expected, rel=1e-12, abs=1e-12)
