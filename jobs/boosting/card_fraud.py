"""Find fraudulent card payments: boosted trees, rated by precision and recall, cut where mistakes cost least.

    python jobs/boosting/card_fraud.py
    python jobs/boosting/card_fraud.py --engine dask --workers 2 --generate 10000000
    spark-submit --master spark://HOST:7077 jobs/boosting/card_fraud.py --booster lightgbm --output out/spark

With no --input it runs on card payments of 2013 (real where there is a copy, else generated and labeled
so; --generate makes any number of rows). With --input it takes any table of numbers with a label of two.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parquetry.agreement import agreement
from parquetry.boosting import importances, rounds_used, settled, small_steps
from parquetry.classical.threshold import cost_curve, scores_of_class, two_classes
from parquetry.columns import choose_columns
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation import plots, plots_classification, plots_decisions
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input


class Config(JobConfig):
    """Frauds: the label, the booster, and what a mistake costs."""

    target: str = Field("Class", description="The column of labels: one of two.")
    positive: str = Field("1", description="The label of a fraud.")
    booster: Literal["xgboost", "lightgbm"] = Field("xgboost", description="Whose trees (xgboost: labels 0 and 1).")
    trees: int = Field(600, ge=1, description="The most trees; how many are used is found on the validation rows.")
    world: int | None = Field(None, ge=1, description="Processes that train together; the model depends on it.")
    cost_missed_fraud: float = Field(120.0, gt=0, description="What it costs to let one fraud through.")
    cost_false_alarm: float = Field(5.0, gt=0, description="What it costs to stop one honest payment.")
    test: float = Field(0.2, gt=0, lt=1, description="The share of the rows that is kept for the test.")
    validation: float = Field(0.25, gt=0, lt=1, description="The share of the others that chooses trees and threshold.")
    folds: int = Field(5, ge=0, description="Folds that rate the trees once more, by average precision; 0 or 1: none.")
    generate: int | None = Field(None, ge=100, description="Generate so many rows in place of the real ones.")


def run(config: Config, engine: Engine, run: Run) -> None:
    """Fit, choose trees and threshold, score, explain, predict, save and show."""
    data = open_job_input(config, run, default="card_fraud", rows=config.generate)
    chosen = choose_columns(data, target=config.target, features=config.features, exclude=config.exclude)
    for name in [*chosen.left_out, *chosen.text]:
        run.note(f"Column {name!r} was left out: it holds no numbers.")
    columns = {"target": config.target, "features": chosen.numeric}
    costs = {"cost_missed": config.cost_missed_fraud, "cost_lost": config.cost_false_alarm}
    train, test = data.split(test=config.test, seed=config.seed)
    part, validation = train.split(test=config.validation, seed=config.seed + 1)
    run.event("split", train=train.num_rows, test=test.num_rows, validation=validation.num_rows)

    nobody = pqy.fit(DummyClassifier(strategy="prior"), train, engine=engine, **columns)
    _, fraud = two_classes(nobody, config.positive)
    plain = make_pipeline(SimpleImputer(strategy="median"), StandardScaler(), LogisticRegression())
    linear = pqy.fit(plain, train, engine=engine, **columns)  # trees need no imputing
    run.fitted("logistic regression", linear)
    steps = small_steps(config.booster, config.trees, config.seed)
    trial = pqy.fit(steps, part, validation=validation, gang=config.world, engine=engine, **columns)
    run.fitted("trial", trial)
    curve = cost_curve(trial, validation, positive=fraud, engine=engine, **costs, **columns)
    count = rounds_used(trial)
    run.event("chosen on validation rows", trees=count, threshold=curve.best, **curve.at(curve.best))

    boosted = pqy.fit(settled(trial), train, gang=config.world, engine=engine, **columns)
    run.fitted(config.booster, boosted)
    if config.folds > 1:
        cv = StratifiedKFold(config.folds, shuffle=True, random_state=config.seed)
        folds = pqy.cross_validate(settled(trial), data, cv=cv, scoring="average_precision", engine=engine, **columns)
        area = folds["test_score"]
        run.event("cross-validated", average_precision=float(area.mean()), least=float(area.min()), folds=config.folds)
    decides = FixedThresholdClassifier(FrozenEstimator(boosted), threshold=curve.best, pos_label=fraud)
    model = pqy.fit(decides, train, engine=engine, **columns)

    scores = {}
    rated = {f"{config.booster}, threshold {curve.best:.3g}": model, f"{config.booster}, threshold 0.5": boosted}
    for name, fitted in {**rated, "logistic regression": linear, "shares of the classes": nobody}.items():
        found = pqy.evaluate(fitted, test, target=config.target, engine=engine)
        scores[name] = {**scores_of_class(found, fraud, **costs), **found}
        run.metrics(name, scores[name], baseline=fitted is nobody)
    best, usual, *_ = scores.values()
    run.note(
        f"Cut at {curve.best:.3g}, mistakes cost {best['cost_per_1000']:,.2f} per 1,000 rows of the test; cut at 0.5, "
        f"{usual['cost_per_1000']:,.2f}. A missed fraud costs {config.cost_missed_fraud:g}, a false alarm "
        f"{config.cost_false_alarm:g}. The cut and {count} trees were chosen on {validation.num_rows:,} other rows."
    )

    predictions = pqy.predict(model, test, to=run.path("predictions"), keys=[config.target], engine=engine)
    run.event("predict", rows=predictions.num_rows)
    saved = pqy.save(model, run.path("model"), metrics=best)
    run.agreement(agreement(saved, test, model=model, engine=engine))

    counts = importances(boosted, test, kinds=["gain", "shap"], engine=engine)
    run.write_json("importances.json", counts)
    for picture in (
        *plots_classification.classification_pictures(best, config.target),
        plots_decisions.cost_picture(curve, curve.best),
        plots.importance_picture(counts["shap"], "shap"),
    ):
        run.plot(picture.figure, picture.title, picture.caption)


if __name__ == "__main__":
    run_job(run, Config)
