"""Filter spam: words weighed by tf-idf, a linear classifier, and a threshold chosen for what mistakes cost.

    python jobs/classical/spam_filter.py
    python jobs/classical/spam_filter.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/classical/spam_filter.py --output out/spark

With no --input it runs on the SMS Spam Collection (real where a copy can be had, else generated and
labeled so). With --input it takes any table with a column of texts and one of two labels.
"""

from __future__ import annotations

from pydantic import Field, model_validator
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline

import parquetry as pqy
from parquetry.agreement import agreement
from parquetry.classical.mistakes import worst_mistakes
from parquetry.classical.threshold import cost_curve, scores_of_class, two_classes
from parquetry.coefficients import INTERCEPT, named_coefficients
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation import plots_classification, plots_decisions
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input


class Config(JobConfig):
    """Spam: the texts, the labels, and what a mistake costs."""

    text: str = Field("text", description="The column of texts.")
    target: str = Field("label", description="The column of labels: one of two.")
    positive: str = Field("spam", description="The label of what is to be filtered out.")
    cost_missed_spam: float = Field(1.0, ge=0, description="What it costs to let one spam message through.")
    cost_lost_ham: float = Field(3.0, ge=0, description="What it costs to filter out one good message.")
    test: float = Field(0.2, gt=0, lt=1, description="The share of the rows that is kept for the test.")
    validation: float = Field(0.25, gt=0, lt=1, description="The share of the others that chooses the threshold.")

    @model_validator(mode="after")
    def _texts_alone(self) -> Config:
        if self.features or self.exclude:
            raise ValueError("--features and --exclude mean nothing here: --text names the one column that is read")
        return self


def run(config: Config, engine: Engine, run: Run) -> None:
    """Fit, choose the threshold, score, predict, save and show."""
    data = open_job_input(config, run, default="sms_spam")
    columns = {"target": config.target, "features": [config.text]}
    costs = {"cost_missed": config.cost_missed_spam, "cost_lost": config.cost_lost_ham}
    train, test = data.split(test=config.test, seed=config.seed)
    part, validation = train.split(test=config.validation, seed=config.seed + 1)
    run.event("split", train=train.num_rows, test=test.num_rows, validation=validation.num_rows)

    nobody = pqy.fit(DummyClassifier(strategy="most_frequent"), train, engine=engine, **columns)
    ham, spam = two_classes(nobody, config.positive)
    # Words of one letter and pairs of words: short messages have little else to go by.
    words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    pipeline = make_pipeline(words, LogisticRegression(C=30.0, max_iter=1_000))
    trial = pqy.fit(pipeline, part, engine=engine, **columns)
    run.fitted("trial", trial)
    curve = cost_curve(trial, validation, positive=spam, engine=engine, **costs, **columns)
    run.event("threshold", chosen=curve.best, **curve.at(curve.best))

    usual = pqy.fit(pipeline, train, engine=engine, **columns)
    run.fitted("tf-idf and logistic regression", usual)
    decides = FixedThresholdClassifier(FrozenEstimator(usual), threshold=curve.best, pos_label=spam)
    model = pqy.fit(decides, train, engine=engine, **columns)

    scores = {}
    for name, fitted in ((f"threshold {curve.best:.3g}", model), ("threshold 0.5", usual), ("majority", nobody)):
        found = pqy.evaluate(fitted, test, target=config.target, engine=engine)
        scores[name] = {**scores_of_class(found, spam, **costs), **found}
        run.metrics(name, scores[name], baseline=fitted is nobody)
    chosen, default, _ = scores.values()
    run.note(
        f"Threshold {curve.best:.3g} costs {chosen['cost_per_1000']:.4g} per 1,000 rows of the test, 0.5 costs "
        f"{default['cost_per_1000']:.4g}: a missed {spam!r} is {config.cost_missed_spam:g}, a lost {ham!r} "
        f"{config.cost_lost_ham:g}. It was chosen on {validation.num_rows:,} other rows."
    )

    predictions = pqy.predict(model, test, to=run.path("predictions"), keys=[config.text, config.target], engine=engine)
    run.event("predict", rows=predictions.num_rows)
    saved = pqy.save(model, run.path("model"), metrics=chosen)
    run.agreement(agreement(saved, test, model=model, engine=engine))

    wrong = worst_mistakes(model, test, target=config.target, columns=[config.text], engine=engine)
    for (truth, guess), kind in wrong.items():
        title = f"{truth} taken for {guess}"
        for mistake in kind.worst[:5]:
            run.event("mistake", kind=title, probability=mistake.sure, text=mistake.values[0])
        rows = [[f"{m.sure:.3f}", m.values[0]] for m in kind.worst]
        run.table(title, [f"probability of {guess}", "text"], rows, f"The surest {len(rows)} of {kind.count:,}.")

    weights = named_coefficients(usual)
    run.write_json("coefficients.json", weights)
    del weights[INTERCEPT]
    for picture in (
        *plots_classification.classification_pictures(chosen, config.target),
        plots_decisions.cost_picture(curve, curve.best),
        plots_decisions.words_picture(weights, *map(str, usual.classes_)),
    ):
        run.plot(picture.figure, picture.title, picture.caption)


if __name__ == "__main__":
    run_job(run, Config)
