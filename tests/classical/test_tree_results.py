"""What a fitted tree or forest has: attributes, methods, ONNX; and what goes to a single node, or is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from onnxruntime import InferenceSession
from skl2onnx import to_onnx
from sklearn.base import clone, is_classifier
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.svm import SVC, NuSVR
from sklearn.tree import (
    DecisionTreeClassifier,
    DecisionTreeRegressor,
    ExtraTreeClassifier,
    ExtraTreeRegressor,
    export_text,
)

import parquetry as pqy
from parquetry.classical import trees
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForDriver, TooBigForOneNode, WrongColumnType
from tree_parity import (
    FEATURES,
    continuous,
    few_values,
    fit_both,
)

ALL = [
    DecisionTreeClassifier(max_depth=4),
    ExtraTreeClassifier(max_depth=4),
    RandomForestClassifier(3, max_depth=4),
    ExtraTreesClassifier(3, max_depth=4),
    DecisionTreeRegressor(max_depth=4),
    ExtraTreeRegressor(max_depth=4),
    RandomForestRegressor(3, max_depth=4),
    ExtraTreesRegressor(3, max_depth=4),
]
UNKNOWN = {"tree_", "estimators_", "fit_report_"}


@pytest.mark.parametrize("estimator", ALL, ids=lambda e: type(e).__name__)
def test_all_attributes_and_methods(local: Any, tree_data: Any, trees_grow: Any, estimator: Any) -> None:
    trees_grow("histograms and rows")
    for target in ("d" if is_classifier(estimator) else "y", ["c", "e"] if is_classifier(estimator) else ["y", "z"]):
        columns = few_values(600)
        columns["e"] = (columns["d"] == "yes").astype(int)
        data = tree_data(columns, rows=100 + len(target))
        ours, theirs = fit_both(clone(estimator).set_params(random_state=3), data, local, target)
        learned = {k for k in vars(theirs) if k.endswith("_")}
        assert {k for k in vars(ours) if k.endswith("_")} == learned | {"fit_report_"}
        for name in sorted(learned - UNKNOWN):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert type(mine) is type(other), name
            assert str(mine) == str(other), name
        x = data.to_pandas()[FEATURES]
        for name in ("predict", "predict_proba", "apply"):
            if hasattr(theirs, name):
                mine, other = getattr(ours, name)(x), getattr(theirs, name)(x)
                assert type(mine) is type(other)
                for a, b in zip(mine, other, strict=True) if isinstance(mine, list) else [(mine, other)]:
                    assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(ours)).predict(x), ours.predict(x))
        path = ours.decision_path(x)
        path = path[0] if isinstance(path, tuple) else path
        assert path.sum() > 600
        importances = ours.feature_importances_
        assert importances.sum() == pytest.approx(1)
        tree = ours if hasattr(ours, "tree_") else ours.estimators_[0]
        assert f"x{tree.tree_.feature[0]}" in export_text(tree, feature_names=FEATURES).splitlines()[0]


@pytest.mark.parametrize("estimator", [ALL[0], ALL[4], ALL[2], ALL[6]], ids=lambda e: type(e).__name__)
def test_onnx_agrees_with_predict(local: Any, tree_data: Any, trees_grow: Any, estimator: Any) -> None:
    trees_grow("histograms")
    target = "c" if is_classifier(estimator) else "y"
    data = tree_data()
    model = pqy.fit(clone(estimator).set_params(random_state=0), data, target=target, features=FEATURES, engine=local)
    frame = data.to_pandas()[FEATURES]
    x = frame.to_numpy().astype(np.float32)
    content = to_onnx(model, x[:1]).SerializeToString()
    (first, *_) = InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"X": x})
    np.testing.assert_allclose(np.ravel(first), model.predict(frame), rtol=1e-5)


def test_few_rows_are_scikit_learns_own_fit(local: Any, tree_data: Any) -> None:
    data = tree_data(continuous(1_000))
    for estimator in (DecisionTreeRegressor(max_features=2), RandomForestRegressor(3, oob_score=True)):
        ours, theirs = fit_both(estimator.set_params(random_state=0), data, local, "y", "weight")
        x = data.to_pandas()[FEATURES]
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        (report,) = ours.fit_report_["steps"]
        assert report["placement"] == "single-node"
        assert "fit of 1,000 rows is exact" in report["why"]


@pytest.mark.parametrize(
    ("estimator", "target", "why"),
    [
        (DecisionTreeRegressor(criterion="absolute_error", max_depth=2), "y", "absolute_error"),
        (RandomForestRegressor(2, criterion="poisson", max_depth=2), "z2", "poisson"),
        (DecisionTreeClassifier(monotonic_cst=[1, 0, 0, 0, 0]), "d", "monotonic_cst"),
        (RandomForestClassifier(2, class_weight="balanced_subsample"), ["c", "e"], "balanced_subsample"),
    ],
    ids=["absolute error", "poisson", "monotonic", "subsamples of two targets"],
)
def test_what_falls_back_says_why(
    local: Any, tree_data: Any, trees_grow: Any, estimator: Any, target: Any, why: str
) -> None:
    trees_grow("histograms")
    columns = few_values(300)
    columns["e"], columns["z2"] = (columns["d"] == "yes").astype(int), np.abs(columns["z"])
    data = tree_data(columns)
    ours, theirs = fit_both(estimator.set_params(random_state=0), data, local, target)
    x = data.to_pandas()[FEATURES]
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert why in report["why"]


def test_over_budget_the_error_names_what_scales(local: Any, tree_data: Any) -> None:
    data = tree_data()
    for estimator, target, relatives in (
        (SVC(), "c", ("Nystroem", "LinearSVC")),
        (NuSVR(), "y", ("Nystroem", "LinearSVR")),
        (HistGradientBoostingClassifier(), "c", ("RandomForestClassifier", "ExtraTreesClassifier")),
        (HistGradientBoostingRegressor(), "y", ("RandomForestRegressor", "XGBoost")),
    ):
        with pytest.raises(TooBigForOneNode, match=type(estimator).__name__) as caught:
            pqy.fit(estimator, data, target=target, features=FEATURES, engine=local, memory="10KB")
        assert all(name in caught.value.fix for name in relatives)


def test_more_nodes_than_the_memory_holds(local: Any, tree_data: Any, trees_grow: Any) -> None:
    trees_grow("histograms")
    with pytest.raises(TooBigForDriver, match=r"its trees have more than .* nodes") as caught:
        pqy.fit(DecisionTreeRegressor(), tree_data(), target="y", features=FEATURES, engine=local, memory="10KB")
    assert "max_depth" in caught.value.fix


def test_too_many_features_and_classes_for_histograms(
    local: Any, tree_data: Any, trees_grow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees_grow("histograms")
    monkeypatch.setattr(trees, "_NODE_BYTES", 1_000)
    model = pqy.fit(DecisionTreeClassifier(max_depth=2), tree_data(), target="c", features=FEATURES, engine=local)
    assert "too many features or classes" in model.fit_report_["steps"][0]["why"]


# --- bad input ------------------------------------------------------------------------------
@pytest.mark.parametrize("few", [True, False])
def test_bad_parameters_and_targets(local: Any, tree_data: Any, trees_grow: Any, few: bool) -> None:
    if not few:
        trees_grow("histograms")
    columns = few_values(300)
    columns["minus"], columns["zero"], columns["e"] = columns["weight"] - 1, np.zeros(300), columns["c"][::-1].copy()
    data = tree_data(columns)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (DecisionTreeClassifier(max_depth=0), {"target": "c"}, "max_depth"),
        (DecisionTreeClassifier(class_weight={"a": 1.0}), {"target": "c"}, "class_weight"),
        (RandomForestClassifier(oob_score=True, bootstrap=False), {"target": "c"}, "only available if bootstrap"),
        (RandomForestRegressor(bootstrap=False, max_samples=0.5), {"target": "y"}, "bootstrap=False"),
        (RandomForestClassifier(oob_score=True), {"target": ["c", "e"]}, "cannot be used to compute OOB"),
        (DecisionTreeRegressor(max_features="all"), {"target": "y"}, "max_features"),
        (DecisionTreeClassifier(), {}, "needs a target"),
        (DecisionTreeRegressor(), {"target": "y", "sample_weight": "minus"}, "non-negative and not all zero"),
        (DecisionTreeClassifier(), {"target": "c", "sample_weight": "zero"}, "non-negative and not all zero"),
    ]
    if not few:
        empty = RandomForestRegressor(50, max_samples=1, random_state=0)
        cases.append((empty, {"target": "y"}, "holds no row of any weight"))
    for estimator, arguments, message in cases:
        with pytest.raises(BadParameter, match=message):
            pqy.fit(estimator, data, features=FEATURES, engine=local, **arguments)
    with pytest.raises(WrongColumnType, match="holds fractions"):
        pqy.fit(DecisionTreeClassifier(), data, target="y", features=FEATURES, engine=local)
    with pytest.raises(WrongColumnType, match="'d' is string"):
        pqy.fit(DecisionTreeClassifier(), data, target="c", features=["d"], engine=local)


def test_values_that_are_refused_are_named(local: Any, tree_data: Any, trees_grow: Any) -> None:
    trees_grow("histograms")
    for value, what, estimator in (
        (np.inf, "holds infinity", DecisionTreeRegressor()),
        (1e39, "too large for float32", RandomForestRegressor(2)),
        (np.nan, "holds NaN", ExtraTreeRegressor(splitter="best")),
    ):
        columns = few_values(400)
        columns["x2"][[333, 350]] = value
        data = tree_data(columns, rows=100 + len(what))
        with pytest.raises(NonFiniteValues, match=rf"'x2'.* {what}.*part-1.parquet"):
            pqy.fit(estimator, data, target="y", features=FEATURES, engine=local)
