"""Who survived: clean, encode, and compare five kinds of models, each searched for within every fold.

    python jobs/boosting/titanic.py
    python jobs/boosting/titanic.py --engine dask --workers 2
    spark-submit --master spark://HOST:7077 jobs/boosting/titanic.py --output out/spark

With no --input it runs on the passengers of the Titanic (real where a copy can be had, else generated
and labeled so). With --input it takes any table with a target of 0 and 1; clean it with --recipe.
"""

from __future__ import annotations

from pathlib import Path

from catboost import CatBoostClassifier
from lightgbm import LGBMClassifier
from pydantic import Field
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from xgboost import XGBClassifier

import parquetry as pqy
from parquetry.agreement import agreement
from parquetry.boosting import importances
from parquetry.boosting.nested import nested_folds, over_folds
from parquetry.columns import choose_columns
from parquetry.config import JobConfig
from parquetry.engine import Engine
from parquetry.foundation.plots_classification import classification_pictures
from parquetry.foundation.plots_models import folds_picture, permutation_picture
from parquetry.job import run_job
from parquetry.run import Run
from parquetry.tabular_input import open_job_input

SHARED = {"random_state": 0, "n_jobs": 1}
MODELS = {
    "logistic regression": (LogisticRegression(max_iter=1_000), {"C": [0.1, 1.0]}),
    "random forest": (RandomForestClassifier(100, min_samples_leaf=2, **SHARED), {"max_depth": [6, 9]}),
    "XGBoost": (XGBClassifier(n_estimators=120, learning_rate=0.05, **SHARED), {"max_depth": [3, 4]}),
    "LightGBM": (
        LGBMClassifier(n_estimators=120, learning_rate=0.05, min_child_samples=10, verbose=-1, **SHARED),
        {"num_leaves": [7, 15]},
    ),
    "CatBoost": (
        CatBoostClassifier(120, 0.1, verbose=False, allow_writing_files=False, random_seed=0, thread_count=1),
        {"depth": [4, 6]},
    ),
}
TITLES = {"Mlle": "Miss", "Ms": "Miss", "Mme": "Mrs"}
RECIPE = [
    {"text": {"columns": ["Name"], "regex": [{"pattern": r"^.*, *([^.]*)\..*$", "to": r"\1"}], "replace": TITLES}},
    {"categories": {"columns": ["Name"], "min_share": 0.03, "other": "rare"}},
    {"text": {"columns": ["Cabin"], "regex": [{"pattern": "^(.).*$", "to": r"\1"}]}},
    {"rename": {"columns": {"Name": "Title", "Cabin": "Deck"}}},
    {"missing": {"columns": ["Deck", "Embarked"], "fill": "constant", "value": "unknown"}},
    {"drop": {"columns": ["PassengerId", "Ticket"]}},
]


class Config(JobConfig):
    """Survival: five kinds of models beside the most frequent class."""

    target: str = Field("Survived", description="The column to predict: 0 or 1.")
    recipe: Path | None = Field(None, description="A recipe (YAML) that cleans your own table.")
    folds: int = Field(5, ge=2, le=20, description="Each model is scored on so many folds.")
    inner: int = Field(3, ge=2, le=20, description="Each search chooses by so many folds of the others' rows.")


def run(config: Config, engine: Engine, run: Run) -> None:
    """Clean, search within every fold, compare, fit the best on all rows, save and show."""
    data = open_job_input(config, run, default="titanic")
    recipe = config.recipe or (RECIPE if config.input is None else None)
    if recipe is not None:
        cleaned = pqy.clean(data, recipe, to=run.path("clean"), engine=engine)
        run.event("clean", rows_in=cleaned.rows_in, rows_out=cleaned.rows_out)
        data = cleaned.dataset
    columns = choose_columns(data, target=config.target, features=config.features, exclude=config.exclude, binary=True)
    given = {"target": config.target, "features": columns.features, "engine": engine}
    dealt = {"folds": config.folds, "seed": config.seed}

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    words = OneHotEncoder(handle_unknown="ignore")
    prepare = ColumnTransformer([("numbers", numbers, columns.numeric), ("words", words, columns.text)])
    searches, found = {}, {}
    for name, (model, grid) in MODELS.items():
        pipeline = make_pipeline(prepare, model)
        choices = {f"{pipeline.steps[-1][0]}__{parameter}": values for parameter, values in grid.items()}
        searches[name] = GridSearchCV(pipeline, choices, cv=config.inner, scoring="accuracy")
        found[name] = nested_folds(searches[name], data, **given, **dealt)
        run.metrics(name, over_folds(found[name]))
    nobody = over_folds(nested_folds(DummyClassifier(strategy="most_frequent"), data, **given, **dealt))
    run.metrics("most frequent class", nobody, baseline=True)
    accuracy = {name: over_folds(folds)["accuracy"] for name, folds in found.items()}
    best = max(accuracy, key=lambda name: accuracy[name])
    run.note(f"{best} is best: accuracy {accuracy[best]:.3f} over {config.folds} folds that no search has seen.")

    model = pqy.fit(searches[best], data, **given)
    run.fitted(best, model)
    saved = pqy.save(model.best_estimator_, run.path("model"), metrics=over_folds(found[best]))
    run.agreement(agreement(saved, data, model=model, engine=engine))

    scores = {name: [fold.scores["accuracy"] for fold in folds] for name, folds in found.items()}
    first = found[best][0]
    grown = importances(first.model, first.held_out, kinds="permutation", target=config.target, engine=engine)
    compared = folds_picture(scores, "accuracy", means=accuracy, baseline=nobody["accuracy"])
    shown = [compared, *classification_pictures(first.scores, config.target), permutation_picture(grown["permutation"])]
    for picture in shown:
        run.plot(picture.figure, picture.title, picture.caption)
    rows = [[name, i + 1, f"{f.scores['accuracy']:.3f}", f.chosen] for name in found for i, f in enumerate(found[name])]
    run.table("Folds", ["model", "fold", "accuracy", "chosen"], rows, "What each search has chosen without the fold.")


if __name__ == "__main__":
    run_job(run, Config)
