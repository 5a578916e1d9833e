"""Encoders, selections and relational features: the same on every engine, bit for bit."""

from __future__ import annotations

import warnings
from datetime import timedelta
from functools import partial

import cloudpickle
import numpy as np
import pyarrow as pa
from sklearn.compose import make_column_transformer
from sklearn.feature_selection import RFE, RFECV, SelectFromModel, SelectKBest, f_classif, f_regression
from sklearn.feature_selection import mutual_info_regression as information
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OrdinalEncoder, TargetEncoder

import parquetry as pqy
from parity import texts
from parquetry.features import by_key, mutual, univariate
from parquetry.features.dates import add_date_parts
from parquetry.features.groups import group_measures
from parquetry.features.windows import MEASURES, lags, rolling


def table(n=1200):
    rng = np.random.default_rng(1)
    found = texts(n)
    more = {f"x{i}": rng.normal(size=n) for i in range(3)}
    more |= {"y": rng.normal(size=n) + more["x0"], "id": pa.array([f"{i}" for i in rng.integers(0, 300, n)])}
    more |= {"at": pa.array(np.datetime64("2024-01-01", "us") + rng.integers(0, 10**6, n) * np.timedelta64(1, "s"))}
    return pa.table({**dict(zip(found.column_names, found.columns, strict=True)), **more})


def fits(data, engine):
    encode = make_column_transformer(
        (TargetEncoder(), ["id", "gappy"]), (OrdinalEncoder(max_categories=4), ["word", "flag"])
    )
    numbers, fit = ["x0", "x1", "x2"], partial(pqy.fit, data=data, engine=engine)
    model = fit(make_pipeline(encode, LinearRegression()), features=["id", "gappy", "word", "flag"], target="y")
    labelled = fit(TargetEncoder(), features=["id"], target="word")
    yield [*model[0].transformers_[0][1].encodings_, *labelled.encodings_, labelled.target_mean_, model[1].coef_]
    yield [c.tolist() for c in model[0].transformers_[1][1].categories_]
    yield fit(LabelEncoder(), features=numbers, target="word").classes_.tolist()
    for score, target in ((f_classif, "word"), (f_regression, "y"), (information, "y")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = fit(SelectKBest(score, k=1), features=numbers, target=target)
        yield [found.scores_, found.pvalues_]
    yield fit(SelectFromModel(LinearRegression()), features=numbers, target="y").estimator_.coef_
    yield fit(RFE(LinearRegression(), n_features_to_select=2), features=numbers, target="y").estimator_.coef_
    searched = fit(RFECV(LinearRegression(), cv=2, min_features_to_select=2), features=numbers, target="y")
    yield [searched.cv_results_["mean_test_score"], searched.ranking_]


def tables(data, engine, place):
    by, values = ["word", "flag"], ["x0", "number"]
    yield lags(data, ["x0", "word"], by=by, order=["at"], periods=[1, -1], to=place / "lags", engine=engine)
    span = {"span": timedelta(days=1), "measures": MEASURES}
    yield rolling(data, values, by=by, order=["at"], to=place / "rolling", engine=engine, **span)
    yield group_measures(data, values, by=by, measures=MEASURES, to=place / "groups", engine=engine)
    encode = make_column_transformer((TargetEncoder(), ["id"]), (OrdinalEncoder(max_categories=4), ["word", "flag"]))
    model = pqy.fit(
        make_pipeline(encode, SelectKBest(f_regression, k=2), LinearRegression()),
        data,
        features=["id", "word", "flag"],
        target="y",
        engine=engine,
    )
    yield pqy.predict(model, data, to=place / "predictions", engine=engine)
    parts = ["week", "hour_cycle", "is_weekend"]
    yield add_date_parts(data, ["at", "day"], parts=parts, to=place / "dates", engine=engine)


def content(found):
    return [pa.concat_tables(list(f.batches())).combine_chunks() for f in found]


def test_same_on_every_engine(write_parquet, local, dask_engine, spark_engine, tmp_path, monkeypatch):
    monkeypatch.setattr(by_key, "BUCKET_BYTES", 20_000)
    for module in (mutual, univariate):
        monkeypatch.setattr(module, "MOST_ROWS", 1000)
    data = pqy.open_dataset(write_parquet(table(), files=2, row_group_size=300))
    learned, made = [], []
    for engine in (local, dask_engine, spark_engine):
        place = tmp_path / engine.name
        learned.append([cloudpickle.dumps(part) for part in fits(data, engine)])
        made.append(content(tables(data, engine, place)))
    for name, engine in (("Dask", 1), ("Spark", 2)):
        assert learned[engine] == learned[0], name
        assert all(a.equals(b) for a, b in zip(made[engine], made[0], strict=True)), name
