"""Forests: each tree against scikit-learn's own on its sample, the samples, and out-of-bag scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone, is_classifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
)
from sklearn.utils import compute_sample_weight

import parquetry as pqy
from parquetry.classical import tree_oob
from parquetry.classical.tree_samples import Bootstrap
from parquetry.errors import BadParameter
from tree_parity import (
    FEATURES,
    N,
    assert_consistent,
    assert_same_tree,
    continuous,
    drawn,
    few_values,
    fit_both,
)

FORESTS: dict[str, tuple[Any, Any, str | None]] = {
    "classes": (RandomForestClassifier(max_features=None), "c", None),
    "classes, odds": (RandomForestClassifier(max_features=None, class_weight="balanced"), "c", "weight"),
    "subsamples": (RandomForestClassifier(max_features=None, class_weight="balanced_subsample"), "c", None),
    "two targets": (RandomForestClassifier(max_features=None, class_weight="balanced"), ["c", "e"], None),
    "numbers": (RandomForestRegressor(max_samples=0.4), "y", None),
    "numbers, odds": (RandomForestRegressor(), ["y", "z"], "weight"),
    "no bootstrap": (RandomForestClassifier(max_features=None, bootstrap=False, class_weight="balanced"), "c", "whole"),
    "extra": (ExtraTreesClassifier(max_features=None), "c", None),
}


@pytest.mark.parametrize(
    ("case", "way"),
    [
        *((case, "histograms") for case in FORESTS),
        *((c, "histograms and rows") for c in ("subsamples", "numbers, odds")),
    ],
)
def test_each_tree_is_scikit_learns_own_on_its_sample(
    local: Any, tree_data: Any, trees_grow: Any, case: str, way: str
) -> None:
    trees_grow(way)
    columns = few_values(missing=case == "classes")
    columns["e"] = (columns["d"] == "yes").astype(int)
    forest, target, weight = FORESTS[case]
    forest = forest.set_params(n_estimators=2, max_depth=5, min_samples_leaf=4, random_state=5)
    data = tree_data(columns)
    ours, theirs = fit_both(forest, data, local, target, weight)
    frame = data.to_pandas()
    for tree, other in zip(ours.estimators_, theirs.estimators_, strict=True):
        assert tree.get_params() == other.get_params()
        if case == "extra":
            assert_consistent(tree.tree_, frame[FEATURES], (frame["c"] == 0).to_numpy().astype(float))
            continue
        odds = theirs._sample_weight
        counts = odds
        if forest.bootstrap:
            total = N if odds is None else odds.sum()
            bootstrap = Bootstrap(theirs._n_samples_bootstrap, total, weighted=odds is not None)
            counts = drawn(data, tree.random_state, bootstrap, odds)
            if getattr(forest, "class_weight", None) == "balanced_subsample":
                indices = np.repeat(np.arange(N), counts.astype(int))
                counts = counts * compute_sample_weight("balanced", frame[target], indices=indices)
        own = clone(other).set_params(max_features=None, class_weight=None) if is_classifier(forest) else clone(other)
        own.fit(frame[FEATURES], frame[target].to_numpy(), sample_weight=counts)
        assert_same_tree(tree.tree_, own.tree_)
    assert ours.fit_report_["placement"] == "distributed"


def test_counts_are_poisson_and_odds_are_weights(tree_data: Any) -> None:
    data = tree_data({"x0": np.zeros(40_000)}, rows=5_000)
    counts = drawn(data, 7, Bootstrap(40_000, 40_000, weighted=False))
    expected = 40_000 * np.exp(-1) / np.array([1, 1, 2, 6, 24])
    found = np.bincount(counts.astype(int), minlength=5)[:5]
    assert (np.abs(found - expected) < 4.5 * np.sqrt(expected)).all()
    assert np.abs(np.corrcoef(counts, drawn(data, 8, Bootstrap(40_000, 40_000, weighted=False)))[0, 1]) < 0.02
    weights = np.repeat([0.0, 1.0, 3.0, 200.0], 10_000)
    counts = drawn(data, 7, Bootstrap(2 * int(weights.sum()), weights.sum(), weighted=True), weights).reshape(4, -1)
    np.testing.assert_allclose(counts.mean(axis=1), [0, 2, 6, 400], rtol=0.03)
    np.testing.assert_allclose(counts.var(axis=1), [0, 2, 6, 400], rtol=0.08)
    assert drawn(data, 7, Bootstrap(100 * 40_000, 40_000, weighted=False)).mean() == pytest.approx(100, rel=0.01)


@pytest.mark.parametrize("target", ["c", "y", ["y", "z"], ["e", "f"]], ids=str)
def test_out_of_bag_score(local: Any, tree_data: Any, trees_grow: Any, target: Any) -> None:
    trees_grow("histograms and rows")
    columns = few_values(missing=True)
    columns["e"], columns["f"] = (columns["d"] == "yes").astype(int), (columns["c"] == 1).astype(int)
    kind = RandomForestRegressor if "y" in target else RandomForestClassifier
    forest = kind(30, max_depth=4, oob_score=True, random_state=0)
    data = tree_data(columns)
    ours, theirs = fit_both(forest, data, local, target)
    x = data.to_pandas()[FEATURES].to_numpy().astype(np.float32)
    total: Any = 0.0
    seen = np.zeros(N)
    for tree in ours.estimators_:
        out = drawn(data, tree.random_state, Bootstrap(N, N, weighted=False)) == 0
        predicted = ours._get_oob_predictions(tree, x)
        total = total + predicted * out[:, None, None]
        seen += out
    expected = (total / np.maximum(seen, 1)[:, None, None]).squeeze()
    name = "oob_prediction_" if "y" in target else "oob_decision_function_"
    assert getattr(ours, name).shape == getattr(theirs, name).shape
    np.testing.assert_allclose(getattr(ours, name), expected, rtol=1e-12, atol=1e-12)
    assert ours.oob_score_ == pytest.approx(theirs.oob_score_, abs=0.05)


def test_out_of_bag_score_is_scikit_learns_of_the_same_predictions(
    local: Any, tree_data: Any, trees_grow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sklearn.metrics import accuracy_score, balanced_accuracy_score, r2_score

    trees_grow("histograms")
    data = tree_data()
    frame = data.to_pandas()
    few = RandomForestClassifier(2, max_depth=4, oob_score=True, random_state=0)
    with pytest.warns(UserWarning, match="do not have OOB scores"):
        model = pqy.fit(few, data, target="c", features=FEATURES, engine=local)
    assert model.oob_score_ == accuracy_score(frame["c"], model.oob_decision_function_.argmax(axis=1))
    own = RandomForestClassifier(20, max_depth=4, oob_score=balanced_accuracy_score, random_state=0)
    model = pqy.fit(own, data, target="c", features=FEATURES, engine=local)
    assert model.oob_score_ == balanced_accuracy_score(frame["c"], model.oob_decision_function_.argmax(axis=1))
    numbers = RandomForestRegressor(20, max_depth=4, oob_score=True, random_state=0)
    model = pqy.fit(numbers, data, target=["y", "z"], features=FEATURES, engine=local)
    assert model.oob_score_ == pytest.approx(r2_score(frame[["y", "z"]], model.oob_prediction_), rel=1e-12)
    monkeypatch.setattr(tree_oob, "MOST_NUMBERS", 100)
    large = pqy.fit(numbers, data, target=["y", "z"], features=FEATURES, engine=local)
    assert large.oob_score_ == model.oob_score_
    assert not hasattr(large, "oob_prediction_")
    with pytest.raises(BadParameter, match="oob_score is a function, which needs all"):
        pqy.fit(own, data, target="c", features=FEATURES, engine=local)


def test_continuous_features_cost_little(local: Any, tree_data: Any, trees_grow: Any) -> None:
    """At most 255 thresholds a feature: within 0.015 of scikit-learn's own accuracy and R² on other rows."""
    trees_grow("histograms and rows")
    columns = continuous(6_000)
    data = tree_data({k: v[:4_000] for k, v in columns.items()}, rows=700)
    x = pa.table({f: columns[f][4_000:] for f in FEATURES}).to_pandas()
    for estimator in (
        DecisionTreeClassifier(max_depth=6, random_state=0),
        DecisionTreeRegressor(max_depth=7, random_state=0),
        RandomForestClassifier(20, max_depth=8, random_state=0),
        RandomForestRegressor(10, max_depth=7, max_features=0.5, random_state=0),
        ExtraTreesRegressor(20, max_depth=8, random_state=0),
    ):
        target = "c" if is_classifier(estimator) else "y"
        ours, theirs = fit_both(estimator, data, local, target)
        scores = [m.score(x, columns[target][4_000:]) for m in (ours, theirs)]
        assert scores[0] > scores[1] - 0.015, (estimator, scores)
        if hasattr(estimator, "n_estimators"):
            np.testing.assert_allclose(ours.feature_importances_, theirs.feature_importances_, atol=0.05)
