"""scikit-learn's scores by their names, from metrics that stream over the rows.

A score that is no sum over rows, or a caller's own function, is given the fold's rows on one worker.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier, is_regressor
from sklearn.metrics import check_scoring, get_scorer, get_scorer_names
from sklearn.metrics._scorer import _MultimetricScorer, _PassthroughScorer

from parquetry.errors import BadParameter, did_you_mean
from parquetry.features.surrogate import checked
from parquetry.fitting import together
from parquetry.metrics.classification import classifier_metrics
from parquetry.metrics.regression import regressor_metrics
from parquetry.tuning.partial_fits import PartialFits
from parquetry.view import FloatArray, View

Metrics = Mapping[str, Any]
Score = Callable[[Metrics], float]

_RANKING = ("decision_function", "predict_proba")


@dataclass(frozen=True)
class Streamed:
    """A score that streams.

    Parameters
    ----------
    methods : tuple of str
        The first of these that a model has is asked; as in scikit-learn's scorer.
    score : callable
        Takes the metrics of :mod:`parquetry.metrics`.
    ranked : bool, default False
        Whether it looks at the order of scores, or of errors.
    """

    methods: tuple[str, ...]
    score: Score
    ranked: bool = False


def check_scorers(owner: Any, scoring: Any) -> None:
    """Raise BadParameter, with the nearest name, for a score that scikit-learn does not have."""
    names = [scoring] if isinstance(scoring, str) else scoring if isinstance(scoring, list | tuple | set) else ()
    if isinstance(scoring, Mapping):
        names = [value for value in scoring.values() if isinstance(value, str)]
    for name in names:
        if isinstance(name, str) and name not in get_scorer_names():
            raise BadParameter(
                f"{type(owner).__name__}: scoring={name!r} names no score.", fix=did_you_mean(name, get_scorer_names())
            )


def streamed_scores(scorer: Any, estimator: Any, targets: int) -> dict[str, Streamed] | None:
    """What to stream for a scorer, by name ("score" for a single one); None where it cannot be streamed."""
    if targets == 0:
        return None
    scorers = scorer._scorers if isinstance(scorer, _MultimetricScorer) else {"score": scorer}
    found = {name: _streamed(each, estimator) for name, each in scorers.items()}
    if any(each is None for each in found.values()):
        return None
    kind = "classifier" if is_classifier(estimator) else "regressor" if is_regressor(estimator) else ""
    table = {"classifier": _classification(), "regressor": _regression()}.get(kind, {})
    if not all(name in table for name in found.values()) or (kind == "classifier" and targets > 1):
        return None
    if targets > 1 and "neg_max_error" in found.values():
        return None
    return {name: table[str(each)] for name, each in found.items()}


def scores_of(
    model: Any, view: View, streamed: Mapping[str, Streamed]
) -> Generator[list[Any], list[Any], dict[str, float]]:
    """The scores of a fitted model over a view, in the passes that all of them share."""
    asked: dict[str, list[str]] = {}
    for name, each in streamed.items():
        asked.setdefault(_method(model, each), []).append(name)
    works = []
    for method, names in asked.items():
        ranked = any(streamed[name].ranked for name in names)
        if is_regressor(model):
            works.append(regressor_metrics(model, view, ranked=ranked))
        else:
            works.append(classifier_metrics(model, view, method, ranked=ranked))
    answers = yield from together(works)
    found = {
        name: streamed[name].score(metrics)
        for names, metrics in zip(asked.values(), answers, strict=True)
        for name in names
    }
    return {name: found[name] for name in streamed}


def weighted(view: View, *, by: bool) -> View:
    """A view for scoring, with its weights or without."""
    return view if by else replace(view, sample_weight=None)


def _method(model: Any, streamed: Streamed) -> str:
    found = next((m for m in streamed.methods if hasattr(model, m)), None)
    if found is None:
        raise BadParameter(f"{type(model).__name__} has none of the attributes: {', '.join(streamed.methods)}.")
    return found


def _streamed(scorer: Any, estimator: Any) -> str | None:
    """scikit-learn's name of a scorer, or None."""
    if isinstance(scorer, _PassthroughScorer):
        return _own_score(estimator)
    return _names().get(repr(scorer))


@cache
def _names() -> dict[str, str]:
    return {repr(get_scorer(name)): name for name in get_scorer_names()}


def _own_score(estimator: Any) -> str | None:
    """What an estimator's own ``score`` is, where it has not been changed."""
    while hasattr(estimator, "steps") or isinstance(estimator, PartialFits):
        estimator = estimator.estimator if isinstance(estimator, PartialFits) else estimator.steps[-1][1]
    score = getattr(type(estimator), "score", None)
    if score is ClassifierMixin.score:
        return "accuracy"
    if score is RegressorMixin.score:
        return "r2"
    inner = getattr(estimator, "estimator", None)
    if hasattr(estimator, "refit") and hasattr(estimator, "scoring") and inner is not None:
        scorer = checked(estimator, lambda: check_scoring(inner, estimator.scoring))
        return None if isinstance(scorer, _MultimetricScorer) else _streamed(scorer, inner)
    return None


# --- from the metrics of parquetry.evaluate -------------------------------------------------
@cache
def _regression() -> dict[str, Streamed]:
    def of(name: str, sign: float = 1.0, power: float = 1.0, *, ranked: bool = False) -> Streamed:
        return Streamed(("predict",), _Of(name, sign, power), ranked)

    return {
        "r2": of("r2"),
        "explained_variance": of("explained_variance"),
        "neg_mean_squared_error": of("rmse", -1.0, 2.0),
        "neg_root_mean_squared_error": of("rmse", -1.0),
        "neg_mean_absolute_error": of("mae", -1.0),
        "neg_mean_absolute_percentage_error": of("mape", -1.0),
        "neg_median_absolute_error": of("median_absolute_error", -1.0, ranked=True),
        "neg_max_error": of("max_error", -1.0),
        "neg_mean_squared_log_error": of("rmsle", -1.0, 2.0),
        "neg_root_mean_squared_log_error": of("rmsle", -1.0),
    }


@dataclass(frozen=True)
class _Of:
    """A regression score: a metric, to a power, with a sign; of several outputs the mean."""

    name: str
    sign: float
    power: float

    def __call__(self, metrics: Metrics) -> float:
        each = metrics.get("per_output")
        values = [part[self.name] for part in each.values()] if each else [metrics[self.name]]
        if None in values and self.name == "rmsle":
            raise BadParameter("A value is -1 or less, and has no logarithm.")
        return float(np.mean([np.nan if v is None else self.sign * v**self.power for v in values]))


@cache
def _classification() -> dict[str, Streamed]:
    labels, probable = ("predict",), ("predict_proba",)
    table = {
        "accuracy": Streamed(labels, lambda m: m["accuracy"]),
        "balanced_accuracy": Streamed(labels, lambda m: m["balanced_accuracy"]),
        "matthews_corrcoef": Streamed(labels, lambda m: m["mcc"]),
        "neg_log_loss": Streamed(probable, lambda m: -m["log_loss"]),
        "neg_brier_score": Streamed(probable, lambda m: -m["brier"]),
        "roc_auc": Streamed(_RANKING, _area_of_two, ranked=True),
        "roc_auc_ovr": Streamed(probable, lambda m: _area(m, "roc_auc"), ranked=True),
        "roc_auc_ovr_weighted": Streamed(probable, _area_by_rows, ranked=True),
        "average_precision": Streamed(_RANKING, lambda m: _area(m, "average_precision"), ranked=True),
    }
    for name in ("precision", "recall", "f1", "jaccard"):
        table[name] = Streamed(labels, _Averaged(name, "binary"))
        for average in ("macro", "micro", "weighted"):
            table[f"{name}_{average}"] = Streamed(labels, _Averaged(name, average))
    return table


def _area_of_two(metrics: Metrics) -> float:
    if len(metrics["classes"]) != 2:
        raise BadParameter("multi_class must be in ('ovo', 'ovr'): roc_auc is for two classes.")
    return _area(metrics, "roc_auc")


def _area_by_rows(metrics: Metrics) -> float:
    return _area(metrics, "roc_auc_weighted" if len(metrics["classes"]) > 2 else "roc_auc")


def _area(metrics: Metrics, name: str) -> float:
    value = metrics[name]
    return float("nan") if value is None else float(value)


@dataclass(frozen=True)
class _Averaged:
    """Precision, recall, F1 or Jaccard's index of the positive class 1, or an average over classes."""

    name: str
    average: str

    def __call__(self, metrics: Metrics) -> float:
        matrix = np.asarray(metrics["confusion_matrix"], dtype=np.float64)
        hits, truths, guesses = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        if self.average == "micro":
            return float(self._ratios(hits.sum(), truths.sum(), guesses.sum()))
        each = self._ratios(hits, truths, guesses)
        if self.average == "weighted":
            return float(each @ truths / truths.sum())
        if self.average == "macro":
            return float(each[(truths > 0) | (guesses > 0)].mean())
        classes = metrics["classes"]
        if len(classes) > 2 or 1 not in classes:
            raise BadParameter(
                f"pos_label=1 is no class of {classes[:10]}."
                if len(classes) < 3
                else "Target is multiclass but average='binary'.",
                fix=f"Choose another average, as '{self.name}_macro'.",
            )
        return float(each[classes.index(1)])

    def _ratios(self, hits: Any, truths: Any, guesses: Any) -> FloatArray:
        part, whole = {
            "precision": (hits, guesses),
            "recall": (hits, truths),
            "f1": (2 * hits, truths + guesses),
            "jaccard": (hits, truths + guesses - hits),
        }[self.name]
        part, whole = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
        ratios: FloatArray = np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
        return ratios
