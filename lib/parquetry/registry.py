"""Which estimator class is fitted by which Fitter.

A Fitter is a generator function ``fit(estimator, view, fitting)``: it yields lists of
:class:`~parquetry.fitting.Pass` (and the like), gets their results back, and returns the fitted
estimator. It is registered for one exact class: a subclass may have changed ``fit``, and is then
fitted by its own code.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

FitterFunction = Callable[[Any, Any, Any], Generator[list[Any], list[Any], Any]]

_MODULES = (
    "parquetry.composing",
    "parquetry.features.bins",
    "parquetry.features.functions",
    "parquetry.features.hashing",
    "parquetry.features.impute",
    "parquetry.features.kernel_maps",
    "parquetry.features.max_abs",
    "parquetry.features.onehot",
    "parquetry.features.power",
    "parquetry.features.quantile",
    "parquetry.features.robust",
    "parquetry.features.row_wise",
    "parquetry.features.scale",
    "parquetry.features.splines",
    "parquetry.features.variance",
    "parquetry.features.labels",
    "parquetry.features.model_selection",
    "parquetry.features.ordinal",
    "parquetry.features.target_encoder",
    "parquetry.features.univariate",
    "parquetry.classical.bayesian_ridge",
    "parquetry.classical.bisecting",
    "parquetry.classical.discriminant",
    "parquetry.features.text",
    "parquetry.classical.dummy",
    "parquetry.classical.elastic_net",
    "parquetry.classical.elastic_net_cv",
    "parquetry.classical.incremental",
    "parquetry.classical.kmeans",
    "parquetry.classical.lars",
    "parquetry.classical.linear",
    "parquetry.classical.logistic",
    "parquetry.classical.logistic_cv",
    "parquetry.classical.minibatch",
    "parquetry.classical.mixture",
    "parquetry.classical.naive_bayes",
    "parquetry.classical.pca",
    "parquetry.classical.ridge_classifier",
    "parquetry.classical.ridge_cv",
    "parquetry.classical.sgd",
    "parquetry.classical.svd",
    "parquetry.classical.svm",
    "parquetry.classical.target",
    "parquetry.classical.trees",
    "parquetry.tuning.partial_fits",
    "parquetry.tuning.search",
)
_OPTIONAL = {
    "catboost": "parquetry.boosting.catboost",
    "lightgbm": "parquetry.boosting.lightgbm",
    "xgboost": "parquetry.boosting.xgboost",
}
"""Modules with the Fitters of packages that are extras: loaded when an estimator of theirs comes by."""
_ENTRIES: dict[type, Entry] = {}
BAR = r"\|"  # a bar of its own would end a table's cell


@dataclass(frozen=True)
class Entry:
    """One row of the table of what runs where.

    Parameters
    ----------
    kind : type
        The estimator's class.
    fit : generator function
    passes : str
        How many passes over the data it takes.
    exact : str
        What the learned attributes equal, and how closely.
    matrices : bool, or callable that takes a fitted estimator
        Whether a float matrix gives the same results as a frame of numbers.
    single_node : str, default ""
        The parameters with which it falls back to a single node.
    placement : {"distributed", "sequential", "single node"}, default "distributed"
        Where it runs: over all workers, on one that streams the blocks in order, or on one that holds the rows.
    call : callable or None, default None
        ``call(model, method, x)`` in the place of ``model.method(x)`` on a worker, where plain X is not what
        the model takes: columns of text as categories, say.
    check : callable or None, default None
        Refuses parameters that the class itself would take without a word; searches ask it of each candidate.
    """

    kind: type
    fit: FitterFunction
    passes: str
    exact: str
    matrices: bool | Callable[[Any], bool]
    single_node: str = ""
    placement: str = "distributed"
    call: Callable[[Any, str, Any], Any] | None = None
    check: Callable[[Any], None] | None = None


def fitter(
    *kinds: type,
    passes: str,
    exact: str,
    matrices: bool | Callable[[Any], bool],
    single_node: str = "",
    placement: str = "distributed",
    call: Callable[[Any, str, Any], Any] | None = None,
    check: Callable[[Any], None] | None = None,
) -> Callable[[FitterFunction], FitterFunction]:
    """Register a Fitter for one or more classes; see :class:`Entry`."""

    def register(function: FitterFunction) -> FitterFunction:
        for kind in kinds:
            _ENTRIES[kind] = Entry(kind, function, passes, exact, matrices, single_node, placement, call, check)
        return function

    return register


def find(estimator: Any) -> Entry | None:
    """The entry for an estimator's exact class, or None."""
    own = _OPTIONAL.get(type(estimator).__module__.partition(".")[0])
    for module in _MODULES if own is None else (*_MODULES, own):
        importlib.import_module(module)
    return _ENTRIES.get(type(estimator))


def is_optional(estimator: Any) -> bool:
    """Whether an estimator is of a package that is an extra."""
    return type(estimator).__module__.partition(".")[0] in _OPTIONAL


def entries() -> dict[type, Entry]:
    """All entries; loads the modules that hold fitters, those of extras where these are installed."""
    for module in _MODULES:
        importlib.import_module(module)
    for package, module in _OPTIONAL.items():
        if importlib.util.find_spec(package) is not None:
            importlib.import_module(module)
    return _ENTRIES


def works_on_matrices(estimator: Any) -> bool:
    """Whether an estimator takes a float matrix in the place of a frame of numbers."""
    entry = find(estimator)
    if entry is None:
        return False
    return entry.matrices(estimator) if callable(entry.matrices) else entry.matrices


def markdown_table() -> str:
    """The table of what runs where, as it stands in the README."""
    lines = [
        "| estimator | placement | engines | passes over the data | against scikit-learn | falls back to one node |",
        "|---|---|---|---|---|---|",
    ]
    for entry in sorted(entries().values(), key=lambda e: (_family(e.kind), e.kind.__name__)):
        cells = (
            f"`{_family(entry.kind)}.{entry.kind.__name__}`",
            entry.placement,
            "local, Dask, Spark",
            entry.passes,
            entry.exact,
            entry.single_node or "never",
        )
        lines.append(f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |")
    lines.append(
        "| any other | single node, within `memory=`, and said so | local, Dask, Spark | 1 | its own fit | always |"
    )
    return "\n".join(lines)


def _family(kind: type) -> str:
    """The part of scikit-learn that a class belongs to, or its package."""
    package, _, inner = kind.__module__.partition(".")
    return inner.partition(".")[0] if package == "sklearn" else package
