"""XGBoost's scikit-learn estimators: bins by one pass of ours, trees by XGBoost's own gang."""

# ruff: noqa: PD011 (values are those of Classes and of sketches, not of frames)
from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Generator
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import xgboost as xgb
from sklearn.base import clone, is_classifier

from parquetry.boosting.cuts import Quantiles, Rows, Targets, points
from parquetry.boosting.gang import Gang, GangWork, Outcome
from parquetry.boosting.queries import QueryEdges
from parquetry.boosting.xgboost_training import Train
from parquetry.classical.labels import Classes, encoded, learn_classes
from parquetry.classical.row_weights import RowWeights
from parquetry.errors import BadParameter, DegenerateColumn, did_you_mean
from parquetry.features.surrogate import require_numbers
from parquetry.fitting import Pass
from parquetry.foundation.counts import Counts
from parquetry.foundation.positions import shown_names
from parquetry.registry import fitter
from parquetry.view import View, is_numeric

_MOST_CATEGORIES = 100_000
_EXACT = (
    "XGBoost's own training with our bins; the same bytes on every engine at the same world; "
    "AUC within 0.001 of its own fit"
)
_ALIASES = ("eta", "lambda", "alpha", "min_split_loss", "seed")
_HERE = {"nthread": "n_jobs", "num_boost_round": "n_estimators", "num_rounds": "n_estimators"}
"""Names of XGBoost's own interface, and what they are called in its scikit-learn one."""


def _matrices(model: Any) -> bool:
    return not model.enable_categorical


@fitter(
    xgb.XGBClassifier,
    xgb.XGBRegressor,
    xgb.XGBRanker,
    xgb.XGBRFClassifier,
    xgb.XGBRFRegressor,
    passes="1 (regressors), 2 (classifiers), and the gang's",
    exact=_EXACT,
    matrices=_matrices,
    single_node='booster="gblinear", tree_method="exact" or "approx"',
    check=lambda estimator: _check_names(estimator),  # noqa: PLW0108 (that one is defined below)
)
def fit_xgboost(estimator: Any, view: View, fitting: Any) -> Generator[list[Any], list[Any], Any]:
    """Fit an XGBoost estimator.

    The ranks of a gang read consecutive blocks, balanced by rows, into quantile matrices (a byte a
    value), with ``n_jobs`` threads each (None is one). The model depends on the data, the
    parameters, ``world`` and ``n_jobs``, and on nothing of the engine. Bins are equal shares of the
    rows: sample weights do not move them. Custom metrics are averaged over the ranks.
    """
    who = type(estimator).__name__
    _check_parameters(estimator, view, fitting)
    _tried(estimator, *_plain_example(estimator, view), view, fitting.options.validation is not None)
    own_way = _not_by_histograms(estimator)
    if own_way:
        fitting.options.check_used(f"{who} with {own_way.split(' ')[0]}")
        return (yield from fitting.gather(estimator, view, own_way))
    categories = yield from _categories(estimator, view)
    if not categories:
        require_numbers(estimator, view)
    seen, classes = view, None
    if is_classifier(estimator):
        classes = yield from _classes(estimator, view)
        seen = encoded(view, [classes])
    names = shown_names(view)
    rows = Rows(estimator.missing, categories, view.group)
    seen = seen.cached(rows)
    sketch, queries = yield from _surveyed(estimator, seen, names)
    frame, labels = _example(view, categories, classes, sketch)
    types = _tried(estimator, frame, labels, view, fitting.options.validation is not None)
    bins = estimator.max_bin or 256
    trained = clone(estimator)
    views = {"train": seen}
    validation = fitting.options.take("validation")
    if validation is not None:
        views["validation"] = seen.over(validation)
        if view.group is not None:
            (queries["validation"],) = yield [Pass(QueryEdges(who, view.group), views["validation"])]
    training = Train(
        trained,
        _cut_points(sketch, categories, types, bins),
        None if view.names is None else list(view.names),
        types,
        categories,
        labels,
        _key(estimator, view, validation),
        queries,
    )
    gang = Gang.of(fitting.options.take("gang"))
    outcome: Outcome
    (outcome,) = yield [
        GangWork(
            who,
            training,
            views,
            gang,
            threads=estimator.n_jobs or 1,
            needs=sum(view.dataset.num_rows for view in views.values()) * _row_bytes(view.width, bins, classes),
            memory=fitting.memory,
        )
    ]
    fitting.report.why = outcome.said
    for name, value in outcome.results[0].items():
        setattr(estimator, name, value)
    # The ranks' threads were the gang's; the model's are its user's again.
    estimator.get_booster().set_param({"nthread": estimator.n_jobs or 0})
    return estimator


# --- before any work ----------------------------------------------------------------------------
def _check_parameters(estimator: Any, view: View, fitting: Any) -> None:
    who = type(estimator).__name__
    options = fitting.options
    ranker = isinstance(estimator, xgb.XGBRanker)
    if not view.target:
        raise BadParameter(f"{who} needs a target.", fix="Pass target='column'.")
    if len(view.target) > 1 and (ranker or is_classifier(estimator)):
        raise BadParameter(f"{who}: {len(view.target)} target columns.", fix="Name one.")
    if ranker and options.take("group") is None:
        raise BadParameter(f"{who} ranks within queries.", fix="Pass group='column of query ids'.")
    if not ranker and options.group is not None:
        raise BadParameter(f"{who} does not rank within queries.", fix="Leave group= out, or use XGBRanker.")
    if estimator.early_stopping_rounds is not None and options.validation is None:
        raise BadParameter(
            f"{who}: early_stopping_rounds={estimator.early_stopping_rounds} needs rows to be scored on.",
            fix="Pass validation=: train, validation = data.split(test=0.1).",
        )
    _check_placement(estimator, who)
    _check_names(estimator)


def _check_placement(estimator: Any, who: str) -> None:
    threads = estimator.n_jobs
    if threads is not None and (not isinstance(threads, int | np.integer) or threads < 1):
        raise BadParameter(
            f"{who}: n_jobs={threads!r} does not say how many threads each rank uses.",
            why="The model must not depend on the cores of a machine.",
            fix="Pass a number from 1 on, or None for one.",
        )
    if estimator.device not in (None, "cpu"):
        raise BadParameter(f"{who}: device={estimator.device!r}.", why="A gang trains on CPUs.", fix="Leave it out.")
    for callback in estimator.callbacks or ():
        if isinstance(callback, xgb.callback.TrainingCheckPoint):
            raise BadParameter(
                f"{who}: TrainingCheckPoint would write on each rank's own machine.",
                fix="Pass gang=Gang(checkpoint='path', checkpoint_every=10).",
            )


def _check_names(estimator: Any) -> None:
    who = type(estimator).__name__
    if isinstance(estimator.n_estimators, int) and estimator.n_estimators < 0:
        raise BadParameter(
            f"{who}: n_estimators={estimator.n_estimators}.",
            why="XGBoost itself would train no tree, and say nothing.",
            fix="Pass a number from 0 on.",
        )
    known = sorted({*estimator.get_params(), *_ALIASES} - set(getattr(estimator, "kwargs", {})))
    for name in getattr(estimator, "kwargs", {}):
        if name in _HERE or name not in _native_names():
            raise BadParameter(
                f"{who} has no parameter {name!r}.",
                why="XGBoost itself would only warn of it.",
                fix=did_you_mean(_HERE.get(name, name), known),
            )


def _native_names() -> set[str]:
    """Every parameter that XGBoost's own configuration knows, and the other names of some."""
    names = set(_ALIASES)

    def collect(node: Any) -> None:
        if isinstance(node, dict):
            names.update(node)
            for value in node.values():
                collect(value)
        if isinstance(node, list):
            for value in node:
                collect(value)

    for extra in ({}, {"booster": "dart"}, {"tree_method": "hist"}):
        booster = xgb.train(extra, xgb.DMatrix(np.zeros((2, 1)), np.zeros(2)), 1)
        collect(json.loads(booster.save_config()))
    return names | {"rate_drop", "skip_drop", "sample_type", "normalize_type", "one_drop"} | {
        "tweedie_variance_power", "huber_slope", "quantile_alpha", "lambdarank_pair_method",
        "lambdarank_num_pair_per_sample", "lambdarank_normalization", "lambdarank_score_normalization",
        "lambdarank_unbiased", "lambdarank_bias_norm", "ndcg_exp_gain", "max_cached_hist_node",
        "disable_default_eval_metric", "seed_per_iteration", "refresh_leaf", "process_type", "updater",
    }  # fmt: skip


def _not_by_histograms(estimator: Any) -> str:
    if estimator.booster == "gblinear":
        return 'booster="gblinear" takes its rows whole, not in bins'
    if estimator.tree_method in ("exact", "approx"):
        return f"tree_method={estimator.tree_method!r} does not work on bins"
    return ""


def _tried(estimator: Any, frame: Any, labels: Any, view: View, validated: bool) -> list[str] | None:
    """The estimator's own fit of a few rows without meaning: it refuses what it refuses; X's types as it names them."""
    who = type(estimator).__name__
    trial = clone(estimator).set_params(n_estimators=1, n_jobs=1, callbacks=None, verbosity=0)
    arguments: dict[str, Any] = {"group": [len(frame)]} if view.group is not None else {}
    if validated:
        arguments["eval_set"] = [(frame.copy(), labels.copy())]
        if view.group is not None:
            arguments["eval_group"] = [[len(frame)]]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trial.fit(frame, labels, verbose=False, **arguments)
    except Exception as error:
        first = re.sub(r"^\[\d\d:\d\d:\d\d\] \S+: ?", "", str(error).strip()).splitlines()[0]
        raise BadParameter(
            f"{who}: {first}", why="XGBoost's own fit of a few rows refuses it.", fix="Change the parameter."
        ) from error
    types: list[str] | None = trial.get_booster().feature_types
    return types


def _example(view: View, categories: dict[int, Any], classes: Classes | None, sketch: Any) -> tuple[Any, Any]:
    """A few rows without meaning, of X's names and types, and a target that holds each class."""
    rows = max(4, 0 if classes is None else len(classes.values))
    labels: Any = np.linspace(0.1, 1.0, rows)
    if classes is not None or view.group is not None:
        labels = np.arange(rows) % (2 if classes is None else len(classes.values))
    if len(view.target) > 1:
        labels = np.stack([labels] * len(view.target)).T
    import pandas as pd

    if view.names is None:
        return np.zeros((rows, view.width), dtype=np.float32), labels
    head = view.head(2) if view.steps else None
    columns: dict[str, Any] = {}
    for i, name in enumerate(view.names):
        if i in categories:
            values = categories[i].to_pandas()
            columns[name] = pd.Categorical.from_codes(np.zeros(rows, dtype=int), categories=pd.Index(values))
            continue
        kind = _kind(view, i) if head is None else head.dtypes.iloc[i]
        gaps = head is None and sketch[i].missing and _has_nulls(view, i)
        if not isinstance(kind, np.dtype) or kind.kind not in "iufb" or (kind.kind in "iub" and gaps):
            kind = np.dtype(np.float64)
        columns[name] = np.zeros(rows, dtype=kind)
    return pd.DataFrame(columns), labels


def _plain_example(estimator: Any, view: View) -> tuple[Any, Any]:
    """The same before anything has been read: numbers alone, and two classes (three for many)."""
    import pandas as pd

    classes = 3 if str(estimator.objective).startswith("multi:") else 2
    x = np.zeros((6, view.width), dtype=np.float32)
    labels: Any = np.linspace(0.1, 1.0, 6)
    if is_classifier(estimator) or view.group is not None:
        labels = np.arange(6) % classes
    if len(view.target) > 1:
        labels = np.stack([labels] * len(view.target)).T
    return (x if view.names is None else pd.DataFrame(x, columns=list(view.names))), labels


def _kind(view: View, i: int) -> Any:
    stored = view.dataset.full_schema.field(view.features[i]).type
    return pa.array([], stored).to_pandas().dtype


def _has_nulls(view: View, i: int) -> bool:
    """Whether pandas would read a column of whole numbers as floats; what the file does not tell counts as yes."""
    stats = view.dataset.footer.stats.get(view.features[i])
    return stats is None or stats.nulls is None or stats.nulls > 0


# --- passes -------------------------------------------------------------------------------------
def _classes(estimator: Any, view: View) -> Generator[list[Any], list[Any], Classes]:
    (classes,) = yield from learn_classes(estimator, view, least=2)
    expected = np.arange(len(classes.values))
    if classes.values.dtype.kind not in "iufb" or not bool((classes.values == expected).all()):
        raise BadParameter(
            f"{type(estimator).__name__}: the classes are {classes.values.tolist()[:10]}, "
            f"not {expected.tolist()[:10]}.",
            why="XGBoost's classifiers take the numbers from 0 on, and know no others.",
            fix="Number the classes first (LabelEncoder, or a CASE in the query).",
        )
    return classes


def _categories(estimator: Any, view: View) -> Generator[list[Any], list[Any], dict[int, Any]]:
    """The categories of each text or dictionary column, in order, where the estimator takes categories."""
    schema = view.dataset.full_schema
    found = [i for i, f in enumerate(view.features) if not is_numeric(schema.field(f).type)]
    if not estimator.enable_categorical or view.steps or not found:
        return {}
    for i in found:
        kind = schema.field(view.features[i]).type
        values = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not (pa.types.is_string(values) or pa.types.is_large_string(values)):
            raise BadParameter(
                f"{type(estimator).__name__}: column {view.features[i]!r} is {kind}.",
                why="Categories are texts.",
                fix="Write it as text, or as a number.",
            )
    texts = replace(view.select(found), target=(), sample_weight=None)
    names = [view.features[i] for i in found]
    (counts,) = yield [Pass(Counts(type(estimator).__name__, names, limit=_MOST_CATEGORIES), texts)]
    for name, column in zip(names, counts, strict=True):
        if not len(column.values):
            raise DegenerateColumn(f"Column {name!r} is null in all rows.", fix="Leave it out with features=.")
    return {i: column.values.cast(pa.large_string()) for i, column in zip(found, counts, strict=True)}


def _surveyed(
    estimator: Any, view: View, names: tuple[str, ...]
) -> Generator[list[Any], list[Any], tuple[Any, dict[str, dict[int, int]]]]:
    """One pass over all rows, which leaves them in the block cache: the sketch of every feature, and refusals."""
    who = type(estimator).__name__
    works = [Pass(Quantiles(who, names, estimator.max_bin or 256), view), Pass(Targets(who, view.target), view)]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), view))
    if view.group is not None:
        works.append(Pass(QueryEdges(who, view.group), view))
    sketch, ranges, *more = yield works
    if all(low == high for low, high in ranges):
        raise DegenerateColumn(
            f"{who}: the target {view.target[0]!r} holds no other value than {ranges[0][0]!r}.",
            why="There is nothing to predict.",
            fix="Check that this is the right column.",
        )
    return sketch, {"train": more[-1]} if view.group is not None else {}


def _cut_points(sketch: Any, categories: dict[int, Any], types: list[str] | None, bins: int) -> list[Any]:
    """Where to cut each feature; between all categories of one that holds some, whether a row has them or not."""
    found = [points(column, bins) for column in sketch]
    for i, kind in enumerate(types or ()):
        if kind == "c":
            count = len(categories[i]) if i in categories else int(sketch[i].values.max(initial=0)) + 1
            found[i] = np.arange(count, dtype=np.float32)
    return found


def _row_bytes(width: int, bins: int, classes: Classes | None) -> float:
    """Of a row in a rank's memory: its bins, label, weight and node, and for each class gradient, margin and score."""
    outputs = 1 if classes is None or len(classes.values) < 3 else len(classes.values)
    return width * (1 if bins <= 256 else 2) + 16 + 20 * outputs


def _key(estimator: Any, view: View, validation: Any) -> str:
    digest = hashlib.sha256(cloudpickle.dumps(sorted((k, repr(v)) for k, v in estimator.get_params().items())))
    for dataset in (view.dataset, validation):
        digest.update(b"" if dataset is None else dataset.fingerprint.encode())
    digest.update(json.dumps([view.features, view.target, view.sample_weight, view.group]).encode())
    return digest.hexdigest()[:24]
