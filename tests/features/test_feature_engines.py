"""Encoders, selections and relational features: the same on every engine, bit for bit."""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import numpy as np
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import RFECV, SelectKBest, f_classif, f_regression
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OrdinalEncoder, TargetEncoder

import parquetry as pqy
from parity import texts
from parquetry.features import by_key
from parquetry.features.dates import add_date_parts
from parquetry.features.groups import group_measures
from parquetry.features.windows import MEASURES, lags, rolling


def table(n=1200):
    rng = np.random.default_rng(1)
    found = texts(n).drop_columns(["level"])  # of NaN, which is not equal to itself
    more = {f"x{i}": rng.normal(size=n) for i in range(3)}
    more |= {"y": rng.normal(size=n) + more["x0"], "id": pa.array([f"{i}" for i in rng.integers(0, 300, n)])}
    more |= {"at": pa.array(np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, n) * np.timedelta64(1, "s"))}
    return pa.table({**dict(zip(found.column_names, found.columns, strict=True)), **more})


def learned(data, engine, place):
    """What is learned, by name; and the predictions."""
    encode = make_column_transformer(
        (TargetEncoder(), ["id", "gappy"]), (OrdinalEncoder(max_categories=4), ["word", "flag"])
    )
    numbers, fit = ["x0", "x1", "x2"], partial(pqy.fit, data=data, engine=engine)
    model = fit(make_pipeline(encode, LinearRegression()), features=["id", "gappy", "word", "flag"], target="y")
    labelled = fit(TargetEncoder(), features=["id"], target="word")
    found = {f"encoding {i}": e for i, e in enumerate(model[0].transformers_[0][1].encodings_ + labelled.encodings_)}
    found |= {"mean": labelled.target_mean_, "coefficients": model[1].coef_}
    found |= {f"categories {i}": c for i, c in enumerate(model[0].transformers_[1][1].categories_)}
    found["labels"] = fit(LabelEncoder(), features=numbers, target="word").classes_
    for score, target in ((f_classif, "word"), (f_regression, "y")):
        found[score.__name__] = fit(SelectKBest(score, k=1), features=numbers, target=target).scores_
    searched = fit(RFECV(LinearRegression(), cv=2, min_features_to_select=2), features=numbers, target="y")
    found |= {"scores": searched.cv_results_["mean_test_score"], "ranking": searched.ranking_}
    predicted = pqy.predict(model, data, to=place / "predictions", engine=engine)
    return found | {"predictions": predicted.to_pandas()["prediction"].to_numpy()}


def made(data, engine, place):
    by, values = ["word", "flag"], ["x0", "number"]
    yield lags(data, ["x0", "word"], by=by, order=["at"], periods=[1, -1], to=place / "lags", engine=engine)
    span = {"span": timedelta(days=1), "measures": MEASURES}
    yield rolling(data, values, by=by, order=["at"], to=place / "rolling", engine=engine, **span)
    yield group_measures(data, values, by=by, measures=MEASURES, to=place / "groups", engine=engine)
    parts = ["week", "hour_cycle", "is_weekend"]
    yield add_date_parts(data, ["at", "day"], parts=parts, to=place / "dates", engine=engine)


def content(found):
    return [pa.concat_tables(list(f.batches())).combine_chunks() for f in found]


def test_same_on_every_engine(write_parquet, local, dask_engine, spark_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(by_key, "BUCKET_BYTES", 50_000)
    data = pqy.open_dataset(write_parquet(table(), files=2, row_group_size=300))
    numbers, tables = [], []
    for engine in (local, dask_engine, spark_engine):
        place = tmp_path / engine.name
        numbers.append(learned(data, engine, place))
        tables.append(content(made(data, engine, place)))
    for other in (1, 2):
        for name, values in numbers[0].items():
            found = numbers[other][name]
            assert found.dtype == values.dtype, name
            same = found.tolist() == values.tolist() if values.dtype == object else found.tobytes() == values.tobytes()
            assert same or name.startswith("categories"), name
            assert str(found.tolist()) == str(values.tolist()), name  # NaN is not equal to itself
        assert all(a.equals(b) for a, b in zip(tables[other], tables[0], strict=True))
