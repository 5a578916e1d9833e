"""Predict house prices: one scikit-learn pipeline, from raw rows to an ONNX model and a report.

    python jobs/classical/house_prices.py
    python jobs/classical/house_prices.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/classical/house_prices.py --output out/spark

With no --input it runs on California housing (real where a copy can be had, else generated and
labeled so). With --input it takes any table with a numeric target.
"""

from __future__ import annotations

from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parquetry as pqy
from parquetry.agreement import agreement
from parquetry.coefficients import named_coefficients
from parquetry.columns import choose_columns
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation import plots
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input


class Config(JobConfig):
    """House prices: a linear model beside the mean."""

    target: str = Field("median_house_value", description="The column to predict: a number.")
    test: float = Field(0.2, gt=0, lt=1, description="The share of the rows that is kept for the test.")


def run(config: Config, engine: Engine, run: Run) -> None:
    """Fit, score, predict, save and show."""
    data = open_job_input(config, run, default="california_housing")
    columns = choose_columns(data, target=config.target, features=config.features, exclude=config.exclude)
    for name, kind in columns.left_out.items():
        run.note(f"Column {name!r} was left out: it is {kind}, neither number nor text.")
    train, test = data.split(test=config.test, seed=config.seed)
    run.event("split", train=train.num_rows, test=test.num_rows)

    numeric = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    prepare = ColumnTransformer(
        [
            ("numeric", numeric, columns.numeric),
            ("text", OneHotEncoder(handle_unknown="ignore"), columns.text),
        ]
    )
    pipeline = make_pipeline(prepare, LinearRegression())
    model = pqy.fit(pipeline, train, target=config.target, features=columns.features, engine=engine)
    run.fitted("linear regression", model)
    mean = pqy.fit(DummyRegressor(), train, target=config.target, features=columns.features, engine=engine)
    run.fitted("mean", mean)

    scores = pqy.evaluate(model, test, target=config.target, engine=engine)
    run.metrics("linear regression", scores)
    run.metrics("mean", pqy.evaluate(mean, test, target=config.target, engine=engine), baseline=True)

    predictions = pqy.predict(model, test, to=run.path("predictions"), keys=[config.target], engine=engine)
    run.event("predict", rows=predictions.num_rows)
    saved = pqy.save(model, run.path("model"), metrics=scores)
    run.agreement(agreement(saved, test, model=model, engine=engine))

    weights = named_coefficients(model)
    run.write_json("coefficients.json", weights)
    unit = run.units.get(config.target, "")
    for picture in plots.regression_pictures(
        model, train, test, target=config.target, rmse=scores["rmse"], engine=engine, unit=unit
    ):
        run.plot(picture.figure, picture.title, picture.caption)
    largest = plots.coefficient_picture(weights, unit=unit)
    run.plot(largest.figure, largest.title, largest.caption)
    run.table("Coefficients", ["feature", "weight"], list(weights.items()), "Of scaled numbers and of categories.")


if __name__ == "__main__":
    run_job(run, Config)
