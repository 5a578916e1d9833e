"""CatBoostClassifier, CatBoostRegressor and CatBoostRanker: trained on one worker, served on all of them.

CatBoost has no training that is spread over processes outside of its own Spark package, so its rows
are gathered where they fit; predictions and scores stream like those of any other model.

Source: https://catboost.ai/docs/en/concepts/python-reference_catboostclassifier
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from catboost import CatBoostClassifier, CatBoostError, CatBoostRanker, CatBoostRegressor, Pool

from parquetry.boosting.category_codes import is_category
from parquetry.boosting.cuts import Targets
from parquetry.boosting.queries import QueryEdges, QueryIds
from parquetry.classical.labels import learn_classes
from parquetry.classical.row_weights import RowWeights
from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, DegenerateColumn
from parquetry.fitting import Asking, Fitting, Gather, Pass, _GatherTask
from parquetry.reduction import bundles
from parquetry.registry import fitter
from parquetry.single_node import check_gathered, gathered_bytes
from parquetry.through import as_given
from parquetry.view import Columns, View, is_numeric, not_numeric

WHY = "CatBoost trains in one process: what it trains on a cluster with is its own Spark package, a jar."
MISSING = "nan"
"""What stands for a missing text: CatBoost takes none as it is."""
_SPEAKS = ("verbose", "silent", "logging_level", "verbose_eval")


def call_catboost(model: Any, method: str, x: Any) -> Any:
    """``model.method(x)`` on a worker: texts whole, on the one thread that a task has; labels as one column."""
    found = getattr(model, method)(as_frame(x) if isinstance(x, Columns) else as_given(x), thread_count=1)
    narrow = method == "predict" and np.ndim(found) == 2 and found.shape[1] == 1
    return found[:, 0] if narrow else found


@fitter(
    CatBoostClassifier,
    CatBoostRegressor,
    CatBoostRanker,
    passes="1 of the target, and the rows once",
    exact="its own fit",
    matrices=False,
    single_node="always",
    placement="single node",
    call=call_catboost,
)
def fit_catboost(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """Gather the rows on one worker, if they fit, and call CatBoost's own ``fit`` there.

    Columns of text are categories, in which a missing value is the text ``"nan"``; ``validation=``
    is its ``eval_set``. It writes no files and prints nothing, unless its parameters say so.
    """
    who, options = type(estimator).__name__, fitting.options
    ranks = isinstance(estimator, CatBoostRanker)
    if ranks and options.take("group") is None:
        raise BadParameter(f"{who} ranks within queries.", fix="Pass group='column of query ids'.")
    if not ranks and options.group is not None:
        raise BadParameter(f"{who} does not rank within queries.", fix="Leave group= out, or use CatBoostRanker.")
    if len(view.target) != 1:
        raise BadParameter(f"{who} takes one target, not {len(view.target)}.", fix="Pass target='column'.")
    if options.gang is not None:
        raise BadParameter(f"{who}: gang= was given.", why=WHY, fix="Use LGBM… or XGB…, which a gang trains.")
    validation: Dataset | None = options.take("validation")
    _check_types(who, view)
    extra = None if validation is None else view.over(validation)
    check_gathered(estimator, view, fitting.memory - (0 if extra is None else gathered_bytes(extra)), WHY)
    yield from _looked_at(estimator, view)
    fitting.report.placement, fitting.report.why = "single-node", WHY
    texts = tuple(i for i, f in enumerate(view.features) if not view.steps and is_category(_type(view, f)))
    fit = CatBoostFit(estimator, texts, view.group is not None, None if extra is None else _Kept.of(_shaped(extra)))
    (fitted,) = yield [Gather(fit, _shaped(view))]
    return fitted


@dataclass(frozen=True, eq=False)
class _Kept:
    """Other rows that the worker reads: what reads them, how, and which."""

    task: Any
    bundles: list[Any]

    @classmethod
    def of(cls, view: View) -> _Kept:
        reader = view.dataset.select(view.columns).reader(batch_rows=view.batch_rows)
        task = _GatherTask(reader, replace(view, dataset=None), _Taker())  # type: ignore[arg-type]
        return cls(task, bundles(view.dataset, view.columns))

    def read(self) -> tuple[Any, Any, Any]:
        """X, y and weights or None."""
        found: tuple[Any, Any, Any] = self.task(self.bundles)
        return found


class _Taker:
    """Stands in for an estimator, and gives back what its ``fit`` is given."""

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> tuple[Any, Any, Any]:
        return x, y, sample_weight


@dataclass(frozen=True, eq=False)
class CatBoostFit:
    """CatBoost's own ``fit`` on the worker that has the rows.

    Parameters
    ----------
    model : CatBoost
    texts : tuple of int
        The columns of text, by position.
    grouped : bool
        Whether the last column is that of query ids.
    validation : _Kept or None
    """

    model: Any
    texts: tuple[int, ...]
    grouped: bool
    validation: _Kept | None

    def fit(self, x: Any, y: Any, sample_weight: Any = None) -> Any:
        model = self.model
        arguments: dict[str, Any] = {}
        if not any(model.get_param(name) is not None for name in _SPEAKS):
            arguments["verbose"] = False
        x, group = self._parted(x)
        categories = self._categories(x)
        if group is not None:
            arguments["group_id"] = group
        if self.validation is not None:
            seen, labels, weights = self.validation.read()
            seen, queries = self._parted(seen)
            arguments["eval_set"] = Pool(seen, labels, cat_features=categories, weight=weights, group_id=queries)
        with _set_for_now(model, self._settings(categories)):
            try:
                model.fit(x, y, sample_weight=sample_weight, **arguments)
            except CatBoostError as error:
                told = str(error).strip().splitlines()[0].rpartition(": ")[2]
                raise BadParameter(
                    f"{type(model).__name__} refuses: {told}.", fix="Change the parameter, or the columns."
                ) from error
        return model

    def _categories(self, x: Any) -> list[int] | None:
        """The columns that are named, and those of text."""
        columns = [str(c) for c in x.columns] if hasattr(x, "columns") else []
        named = self.model.get_param("cat_features") or []
        found = {columns.index(c) if isinstance(c, str) and c in columns else c for c in named} | set(self.texts)
        return sorted(found, key=str) or None

    def _settings(self, categories: list[int] | None) -> dict[str, Any]:
        """Parameters that hold for this fit only: columns of text, and no folder of logs where a worker runs."""
        found: dict[str, Any] = {"cat_features": categories} if self.texts else {}
        if all(self.model.get_param(name) is None for name in ("allow_writing_files", "train_dir")):
            found["allow_writing_files"] = False
        return found

    def _parted(self, x: Any) -> tuple[Any, Any]:
        return (x.iloc[:, :-1], x.iloc[:, -1].to_numpy()) if self.grouped else (x, None)


@contextlib.contextmanager
def _set_for_now(model: Any, settings: dict[str, Any]) -> Iterator[None]:
    """Parameters set for a while: the model keeps those that it was given."""
    before = dict(model._init_params)
    model.set_params(**settings)
    yield
    model._init_params.clear()
    model._init_params.update(before)


def _looked_at(estimator: Any, view: View) -> Generator[list[Any], list[Any], None]:
    """Refuse a target that is missing, infinite or the same everywhere, and queries that are not in order."""
    who = type(estimator).__name__
    alone = replace(view, features=(), steps=(), step_names=None, group=None)
    if isinstance(estimator, CatBoostClassifier):
        yield from learn_classes(estimator, view, least=2)
        return
    works = [Pass(Targets(who, view.target), alone)]
    if view.sample_weight is not None:
        works.append(Pass(RowWeights(who, view.sample_weight), alone))
    if view.group is not None:
        works.append(Pass(QueryEdges(who, view.group), replace(alone, group=view.group).cached(QueryIds(view.group))))
    (((low, high),), *_) = yield works
    if low == high:
        raise DegenerateColumn(
            f"{who}: the target {view.target[0]!r} holds no other value than {low!r}.",
            why="There is nothing to predict.",
            fix="Check that this is the right column.",
        )


def _check_types(who: str, view: View) -> None:
    if view.steps and view.group is not None:
        raise BadParameter(f"{who}: group= after other steps.", fix="Fit the ranker by itself, on prepared columns.")
    if view.steps:
        return
    for name in view.features:
        kind = _type(view, name)
        if not (is_numeric(kind) or is_category(kind)):
            raise not_numeric(name, kind)


def _type(view: View, name: str) -> pa.DataType:
    return view.dataset.full_schema.field(name).type


def _shaped(view: View) -> View:
    """The rows as CatBoost takes them: texts whole, and query ids as the last column."""
    if view.steps:
        return view
    features = view.features if view.group is None else (*view.features, view.group)
    return replace(view, features=features, steps=(as_frame,), step_names=features, group=None)


def as_frame(x: Columns) -> Any:
    """Stored columns as a frame in which no text is missing."""
    table = x.table
    for i, field in enumerate(table.schema):
        if is_category(field.type):
            column = table.column(i)
            if pa.types.is_dictionary(field.type):
                column = column.cast(field.type.value_type)
            table = table.set_column(i, field.name, pc.fill_null(column.cast(pa.string()), MISSING))
    return table.to_pandas()
