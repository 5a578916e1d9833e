"""Decision trees and forests over all rows, as scikit-learn's own tree objects.

The tree is the one that scikit-learn grows on features rounded to at most 255 bins: a feature of
255 distinct values or fewer is not rounded at all, any other loses nothing but where between two
quantiles 1/255 apart a threshold stands. One pass finds the bins, one more for every level the
splits of all nodes of all trees at once; where few rows are left in a node, they come home and
scikit-learn's own builder finishes them. Of splits that are equally good the first feature's is
taken, where scikit-learn lets chance decide.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from dataclasses import dataclass, replace
from math import ceil
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier, RandomForestRegressor
from sklearn.ensemble._bootstrap import _get_n_samples_bootstrap
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor, ExtraTreeClassifier, ExtraTreeRegressor
from sklearn.utils import check_random_state, get_tags

from parquetry.classical.labels import Classes, class_weights, encoded, learn_classes
from parquetry.classical.row_weights import require_weights
from parquetry.classical.tree_bins import Bins, Sketch
from parquetry.classical.tree_build import Rules, assembled
from parquetry.classical.tree_codes import TreeArrays
from parquetry.classical.tree_growth import Growth, Plan
from parquetry.classical.tree_histograms import Channels, cells_of
from parquetry.classical.tree_oob import check_oob, set_oob_score
from parquetry.classical.tree_samples import Bootstrap
from parquetry.errors import BadParameter
from parquetry.features.surrogate import checked, is_sparse, require_numbers, zeros
from parquetry.fitting import Asking, Fitting, Pass, together
from parquetry.foundation.moments import Moments
from parquetry.foundation.positions import Finite, shown_names, targets, weight_column
from parquetry.reduction import Reduction
from parquetry.registry import fitter
from parquetry.view import Batch, FloatArray, View

SMALL_ROWS = 8_192
"""So few rows are gathered: scikit-learn's own fit of them is exact, and quicker."""

_NODE_BYTES = 48 * 2**20  # what one node's histograms may take
_NODES = 4_000_000  # of the trees that grow at once: 400 MiB
_WHOLE = 2.0**24  # whole numbers up to here are exact in float32
_SINGLE = (
    "8,192 rows or fewer; criterion='absolute_error' or 'poisson'; monotonic_cst; balanced_subsample of several targets"
)
_EXACT = "scikit-learn's own tree on at most 255 bins a feature; equal for up to 255 distinct values"


@fitter(
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
    passes="1, and 1 for each level (up to the level where few rows are left)",
    exact=_EXACT,
    matrices=True,
    single_node=_SINGLE,
)
def fit_tree(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """A decision tree: greedy splits of all rows between bins.

    ``splitter="random"`` draws each threshold uniformly between the node's least and largest
    value, as scikit-learn does; in a feature of more than 255 distinct values it then moves to
    the nearest edge of a bin below. ``max_features`` are drawn by each node's own random numbers.

    Source: https://scikit-learn.org/stable/modules/tree.html
    """
    facts = yield from _learned(estimator, view, fitting)
    if not isinstance(facts, _Facts):
        return facts
    seed = estimator.random_state
    if not isinstance(seed, Integral):
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
    yield from _grown(estimator, [estimator], [int(seed)], facts, None, fitting.memory)
    return estimator


@fitter(
    RandomForestClassifier,
    RandomForestRegressor,
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    passes="1, and 1 for each level (more for many trees: a pass holds 16 to 32 MiB of histograms)",
    exact=f"each tree: {_EXACT}; other bootstrap samples",
    matrices=True,
    single_node=_SINGLE,
)
def fit_forest(estimator: Any, view: View, fitting: Fitting) -> Asking:
    """A forest: all trees grow in the same passes.

    A bootstrap sample draws each row a Poisson number of times, which follows from the tree's
    ``random_state`` and the row's place (see :mod:`parquetry.classical.tree_samples`); sample and
    class weights are, as in scikit-learn, the odds of being drawn. ``estimators_samples_`` is not
    there. ``oob_score_`` takes another pass; ``oob_decision_function_`` and ``oob_prediction_``
    are there up to 8 million numbers.

    Source: https://scikit-learn.org/stable/modules/ensemble.html#forest
    """
    facts = yield from _learned(estimator, view, fitting)
    if not isinstance(facts, _Facts):
        return facts
    for name in ("_n_samples", "_n_samples_bootstrap", "_sample_weight"):
        vars(estimator).pop(name, None)  # they would tell of samples that were not drawn
    bootstrap = yield from _bootstrap(estimator, facts)
    seeds = [int(tree.random_state) for tree in estimator.estimators_]
    view = yield from _grown(estimator, estimator.estimators_, seeds, facts, bootstrap, fitting.memory)
    if estimator.oob_score and bootstrap is not None:
        yield from set_oob_score(estimator, view, facts.bins, bootstrap, facts.classes, (facts.shift, facts.scale))
    return estimator


# --- what must be known first ---------------------------------------------------------------
@dataclass
class _Facts:
    """What the first pass tells.

    Attributes
    ----------
    view : View
        Its target encoded, for classes.
    bins : Bins
    classes : list of Classes
        Of each target column; empty for regression.
    weights : _WeightFacts or None
    shift : ndarray of shape (n_outputs,), or None
    scale : float
    """

    view: View
    bins: Bins
    classes: list[Classes]
    weights: _WeightFacts | None
    shift: FloatArray | None = None
    scale: float = 1.0

    @property
    def n_classes(self) -> tuple[int, ...]:
        """Of each target column."""
        return tuple(len(c.values) for c in self.classes)

    @property
    def total_weight(self) -> float:
        """The sum of the sample weights; the number of rows without them."""
        return float(self.view.dataset.num_rows) if self.weights is None else self.weights.total


def _learned(estimator: Any, view: View, fitting: Fitting) -> Generator[list[Any], list[Any], Any]:
    """The facts, and scikit-learn's own fit of a stand-in; or the fitted estimator, where a single node does it."""
    who = type(estimator).__name__
    checked(estimator, estimator._validate_params)
    if not view.target:
        raise BadParameter(f"{who} needs a target.", fix="Pass target='column'.")
    require_numbers(estimator, view)
    why = _not_distributed(estimator, view)
    if why:
        return (yield from fitting.gather(estimator, view, why))
    nan = bool(get_tags(estimator).input_tags.allow_nan) and not is_sparse(view)
    about_y = learn_classes(estimator, view) if is_classifier(estimator) else _target_facts(who, view)
    y, x = yield from together([about_y, _feature_facts(who, view, nan)])
    facts = _Facts(view, Bins.of(x[0]), [], x[1])
    if is_classifier(estimator):
        facts.classes, facts.view = y, encoded(view, y)
    else:
        facts.shift, facts.scale = y
    fresh = clone(estimator)
    _stand_in_fit(estimator, view, facts)
    why = _better_gathered(estimator, facts, fitting)
    return (yield from fitting.gather(fresh, view, why)) if why else facts


def _better_gathered(estimator: Any, facts: _Facts, fitting: Fitting) -> str:
    """Why a single node had better fit it; empty where it had not."""
    view, rows = facts.view, facts.view.dataset.num_rows
    if rows <= SMALL_ROWS and 24 * rows * (view.width + len(view.target) + 1) <= fitting.memory:
        return f"scikit-learn's own fit of {rows:,} rows is exact."
    weighted = facts.weights is not None or getattr(estimator, "bootstrap", False)
    channels = Channels(facts.n_classes, len(view.target), weighted, whole=True, most=rows)
    needed = channels.cell_bytes * sum(len(c) for c in cells_of(facts.bins))
    if needed > _NODE_BYTES:
        return f"The histograms of one node take {needed / 2**20:,.0f} MiB: there are too many features or classes."
    return ""


def _not_distributed(estimator: Any, view: View) -> str:
    """Why a single node must fit it; empty where it need not."""
    if estimator.criterion in ("absolute_error", "poisson"):
        return f"criterion={estimator.criterion!r} needs the node's targets in order, or their logarithms."
    if estimator.monotonic_cst is not None:
        return "monotonic_cst bounds each node by what lies beside it."
    several = len(view.target) > 1 and getattr(estimator, "bootstrap", False)
    if several and getattr(estimator, "class_weight", None) == "balanced_subsample":
        return "class_weight='balanced_subsample' of several targets weighs each tree's rows anew."
    return ""


def _feature_facts(who: str, view: View, nan: bool) -> Generator[list[Any], list[Any], Any]:
    works = [Pass(Sketch(who, shown_names(view), nan=nan), view)]
    if view.sample_weight is not None:
        name = str(view.sample_weight)
        works += [Pass(_Weights(who), view), Pass(Finite(who, [name], values=weight_column), view)]
    sketch, *more = yield works
    return sketch, more[0] if more else None


def _target_facts(who: str, view: View) -> Generator[list[Any], list[Any], tuple[FloatArray, float]]:
    """The target's middle and size, so rounded that whole numbers stay whole."""
    (found,) = yield [Pass(Moments(who, view.target, values=targets, nan=False), view)]
    spread = np.sqrt(found.variance)
    grain = 2.0 ** np.floor(np.log2(np.where(spread > 0, spread, 1.0)))
    with np.errstate(over="ignore", invalid="ignore"):
        shift = np.rint(found.mean / grain) * grain
    shift = np.where(np.isfinite(shift), shift, found.mean)
    size = float(np.maximum(np.abs(found.minimum - shift), np.abs(found.maximum - shift)).max())
    return shift, float(np.ldexp(1.0, min(1023, int(np.ceil(np.log2(size)))))) if size > 0 else 1.0


@dataclass
class _WeightFacts:
    """The least weight, the sum, and whether all are whole numbers."""

    least: float
    total: float
    whole: bool


class _Weights(Reduction[_WeightFacts, _WeightFacts]):
    """Looks at the sample weights, and refuses negative ones."""

    label = "weights"

    def __init__(self, who: str) -> None:
        self.who = who

    def partial(self, batch: Batch) -> _WeightFacts:
        w = np.asarray(batch.weights)
        whole = bool((w == np.floor(w)).all() and w.max() <= _WHOLE)
        return _WeightFacts(float(w.min()), float(w.sum()), whole)

    def merge(self, left: _WeightFacts, right: _WeightFacts) -> _WeightFacts:
        whole = left.whole and right.whole
        return _WeightFacts(min(left.least, right.least), left.total + right.total, whole)

    def finish(self, state: _WeightFacts) -> _WeightFacts:
        # What is not finite is told by another reduction, with its position.
        if not np.isnan(state.total):
            require_weights(self.who, state.least, state.total)
        return state


# --- scikit-learn's own fit of a stand-in ---------------------------------------------------
def _stand_in_fit(estimator: Any, view: View, facts: _Facts) -> None:
    """Fit a few rows of zeros: names, classes, parameters and a forest's trees are settled by that."""
    if facts.classes:
        rows = max(2, *facts.n_classes)
        columns = [c.values[np.arange(rows) % len(c.values)] for c in facts.classes]
        y = columns[0] if len(columns) == 1 else np.column_stack(columns)
    else:
        rows = 2
        y = np.zeros(rows) if len(view.target) == 1 else np.zeros((rows, len(view.target)))
    x = zeros(view, rows)
    oob = getattr(estimator, "oob_score", False)
    if oob:
        check_oob(estimator, facts.n_classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if oob:
            estimator.oob_score = False
        checked(estimator, lambda: estimator.fit(x, y))
        if oob:
            estimator.oob_score = oob


# --- growing --------------------------------------------------------------------------------
def _bootstrap(forest: Any, facts: _Facts) -> Generator[list[Any], list[Any], Bootstrap | None]:
    """How a forest draws its rows; its class weights enter the odds, and so the view's weights."""
    if not forest.bootstrap:
        return None
    class_weight = getattr(forest, "class_weight", None)
    total = facts.weights.total if facts.weights is not None else None
    if class_weight is not None and class_weight != "balanced_subsample":
        who = type(forest).__name__
        facts.view = encoded(replace(facts.view, target_step=None), facts.classes, class_weight)
        (found,) = yield [Pass(_Weights(who), facts.view)]
        total = found.total
    rows = facts.view.dataset.num_rows
    weights = None if total is None else np.array([total])
    drawn = _get_n_samples_bootstrap(rows, forest.max_samples, weights)
    return Bootstrap(drawn, rows if total is None else total, weighted=total is not None)


def _grown(
    estimator: Any, trees: list[Any], seeds: list[int], facts: _Facts, bootstrap: Bootstrap | None, memory: int
) -> Generator[list[Any], list[Any], View]:
    """Grow all trees and put them into scikit-learn's estimators; the cached view."""
    view, weigh = _class_weighing(estimator, facts, bootstrap)
    weighted = bootstrap is not None or view.sample_weight is not None or view.weight_step is not None
    given = facts.weights is None or facts.weights.whole
    whole = bootstrap is not None or (view.weight_step is None and given)
    rows = view.dataset.num_rows
    most = max(rows, 2.0 * bootstrap.drawn if bootstrap is not None else facts.total_weight)
    rules = _rules(trees[0], facts, rows)
    shift = None if facts.shift is None else facts.shift[:, None]
    cached = view.cached(TreeArrays(facts.bins, max(facts.n_classes, default=0), shift, facts.scale))
    plan = Plan(
        who=type(estimator).__name__,
        rules=rules,
        bins=facts.bins,
        channels=Channels(facts.n_classes, rules.n_outputs, weighted, whole, most),
        seeds=seeds,
        n_rows=rows,
        bootstrap=bootstrap,
        class_weights=weigh,
        shift=facts.shift,
        scale=facts.scale,
        memory=memory,
    )
    at_once = max(1, _NODES // rules.most_nodes(rows))
    for start in range(0, len(trees), at_once):
        here = slice(start, start + at_once)
        nodes = yield from Growth(replace(plan, seeds=seeds[here])).grow(cached)
        order = np.argsort(nodes.tree, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(nodes.tree))[:-1])
        for tree, own in zip(trees[here], members, strict=True):
            tree.tree_ = assembled(rules, nodes, own)
            tree._prune_tree()
        plan = replace(plan, memory=plan.memory - nodes.size * nodes.node_bytes)
    return cached


def _class_weighing(estimator: Any, facts: _Facts, bootstrap: Bootstrap | None) -> tuple[View, Any]:
    """Where class weights enter: with the rows, or (one target) by multiplying the classes' sums."""
    class_weight = getattr(estimator, "class_weight", None)
    if class_weight is None:
        return facts.view, None
    if bootstrap is not None:
        return facts.view, _balanced if class_weight == "balanced_subsample" else None
    # A tree's "balanced" counts rows, a forest's adds up sample weights.
    by_rows = not hasattr(estimator, "estimators_")
    if len(facts.classes) > 1 or 0.0 in class_weights(facts.classes, class_weight, by_rows=by_rows)[0]:
        return encoded(replace(facts.view, target_step=None), facts.classes, class_weight, by_rows=by_rows), None
    (vector,) = class_weights(facts.classes, class_weight, by_rows=by_rows)
    return facts.view, _Given(vector)


def _balanced(sums: FloatArray) -> FloatArray:
    """Balanced weights of the classes in a tree's own sample."""
    present = sums > 0
    share = sums.sum() / present.sum()
    weights: FloatArray = np.divide(share, sums, out=np.zeros_like(sums), where=present)
    return weights


@dataclass(frozen=True, eq=False)
class _Given:
    """The same weights of the classes for every sample."""

    vector: FloatArray

    def __call__(self, _: FloatArray) -> FloatArray:
        return self.vector


def _rules(tree: Any, facts: _Facts, rows: int) -> Rules:
    """A tree's parameters as numbers, as scikit-learn's own fit makes them."""

    def number(value: Any) -> int:
        return int(value) if isinstance(value, Integral) else ceil(value * rows)

    leaf = number(tree.min_samples_leaf)
    return Rules(
        n_features=tree.n_features_in_,
        n_outputs=len(facts.view.target),
        n_classes=facts.n_classes,
        criterion=tree.criterion,
        random_splits=tree.splitter == "random",
        max_features=int(tree.max_features_),
        max_depth=np.iinfo(np.int32).max if tree.max_depth is None else int(tree.max_depth),
        min_samples_split=max(2, number(tree.min_samples_split), 2 * leaf),
        min_samples_leaf=leaf,
        min_weight_fraction_leaf=float(tree.min_weight_fraction_leaf),
        min_impurity_decrease=float(tree.min_impurity_decrease),
        max_leaf_nodes=None if tree.max_leaf_nodes is None else int(tree.max_leaf_nodes),
    )
