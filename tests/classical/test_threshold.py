"""Thresholds by cost, and the mistakes that they leave, against counting by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import f1_score, precision_score, recall_score
from sklearn.model_selection import FixedThresholdClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import parquetry as pqy
from parquetry.classical.mistakes import worst_mistakes
from parquetry.classical.threshold import GRID, cost_curve, scores_of_class, two_classes
from parquetry.errors import BadParameter, DegenerateColumn, UnknownColumn
from parquetry.foundation.plots_decisions import cost_picture

N = 700
COSTS = {"cost_missed": 4.0, "cost_lost": 1.0}


@pytest.fixture
def loans(write_parquet: Callable[..., Path]) -> Path:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=N), rng.normal(size=N)
    bad = a + b + rng.normal(0, 1.2, N) > 1.3
    table = {"a": a, "b": b, "state": np.where(bad, "bad", "good"), "id": np.arange(N), "w": rng.uniform(0.1, 3.0, N)}
    return write_parquet(pa.table(table), files=3, row_group_size=41)


@pytest.fixture
def model(loans: Path, local: Any) -> Any:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression())
    return pqy.fit(pipeline, loans, target="state", features=["a", "b"], engine=local)


def frame(loans: Path) -> pd.DataFrame:
    return pqy.open_dataset(loans).to_pandas()


@pytest.mark.parametrize("positive", ["bad", "good"])
@pytest.mark.parametrize("weight", [None, "w"])
def test_costs_are_those_counted_row_by_row(positive, weight, loans, model, local):
    curve = cost_curve(model, loans, target="state", positive=positive, sample_weight=weight, engine=local, **COSTS)
    rows = frame(loans)
    share = model.predict_proba(rows[["a", "b"]])[:, list(model.classes_).index(positive)]
    truth = (rows["state"] == positive).to_numpy()
    w = np.ones(N) if weight is None else rows["w"].to_numpy()
    for i in range(0, len(GRID), 150):
        taken = share >= GRID[i]
        assert curve.missed[i] == pytest.approx(w[truth & ~taken].sum(), abs=1e-9)
        assert curve.lost[i] == pytest.approx(w[~truth & taken].sum(), abs=1e-9)
    expected = (4.0 * curve.missed + curve.lost) / w.sum()
    np.testing.assert_allclose(curve.cost, expected)
    assert curve.at(curve.best)["cost_per_1000"] == pytest.approx(1000 * expected.min())
    assert 0.5 in GRID
    assert curve.best < 0.5


def test_the_threshold_follows_the_cost(loans, model, local):
    def best(missed: float, lost: float) -> float:
        found = cost_curve(
            model, loans, target="state", positive="bad", cost_missed=missed, cost_lost=lost, engine=local
        )
        return found.best

    thresholds = [best(1, 50), best(1, 3), best(1, 1), best(3, 1), best(50, 1)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert len(set(thresholds)) == 5
    assert best(1, 0) == pytest.approx(GRID[0], abs=1e-2)


def test_every_engine_chooses_the_same(loans, model, local, engine):
    curves = [
        cost_curve(model, loans, target="state", positive="bad", sample_weight="w", engine=e, **COSTS)
        for e in (local, engine)
    ]
    assert curves[0].cost.tobytes() == curves[1].cost.tobytes()
    wrong = [
        worst_mistakes(model, loans, target="state", columns=["id", "a"], most=5, engine=e) for e in (local, engine)
    ]
    assert wrong[0] == wrong[1]


@pytest.mark.parametrize(
    ("missed", "side", "height"), [(400.0, "left", -26), (1.5, "right", -12), (0.002, "right", -26)]
)
def test_the_label_of_the_chosen_threshold_is_within_the_picture(loans, model, local, missed, side, height):
    costs = {"cost_missed": missed, "cost_lost": 1.0}
    curve = cost_curve(model, loans, target="state", positive="bad", engine=local, **costs)
    axes = cost_picture(curve, curve.best).figure.axes[0]
    (chosen,) = [text for text in axes.texts if "chosen" in text.get_text()]
    assert (chosen.get_horizontalalignment(), chosen.xyann[1]) == (side, height)


def test_scores_of_a_class(loans, model, local):
    rows = frame(loans)
    found = scores_of_class(pqy.evaluate(model, loans, target="state", engine=local), "bad", **COSTS)
    truth, guess = rows["state"], model.predict(rows[["a", "b"]])
    for name, score in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        assert found[f"bad_{name}"] == pytest.approx(score(truth, guess, pos_label="bad"))
    assert found["missed"] == ((truth == "bad") & (guess == "good")).sum()
    assert found["lost"] == ((truth == "good") & (guess == "bad")).sum()
    assert found["cost_per_1000"] == pytest.approx(1000 * (4 * found["missed"] + found["lost"]) / N)


def test_the_mistakes_are_all_counted_and_the_surest_kept(loans, model, local):
    rows = frame(loans)
    share = pd.DataFrame(model.predict_proba(rows[["a", "b"]]), columns=model.classes_)
    guess = model.predict(rows[["a", "b"]])
    found = worst_mistakes(model, loans, target="state", columns=["id", "state"], most=4, engine=local)
    assert list(found) == [("bad", "good"), ("good", "bad")]
    for (truth, taken), kind in found.items():
        wrong = rows[(rows["state"] == truth) & (guess == taken)]
        assert kind.count == len(wrong)
        sure = share.loc[wrong.index, taken].sort_values(ascending=False)
        assert [m.values for m in kind.worst] == [(i, truth) for i in rows.loc[sure.index[:4], "id"]]
        np.testing.assert_allclose([m.sure for m in kind.worst], sure[:4])
    none = worst_mistakes(model, loans, target="state", columns=[], most=0, engine=local)
    assert all(kind.count and not kind.worst for kind in none.values())
    plain = pqy.fit(RidgeClassifier(), loans, target="state", features=["a", "b"], engine=local)
    assert worst_mistakes(plain, loans, target="state", columns=[], engine=local)["bad", "good"].worst[0].sure == 1.0


# --- FixedThresholdClassifier ---------------------------------------------------------------
@pytest.mark.parametrize("method", ["predict_proba", "decision_function", "auto"])
def test_a_fixed_threshold_is_fitted_and_predicts_as_scikit_learn_does(method, loans, local, tmp_path):
    threshold = 0.3 if method != "decision_function" else -0.8
    inner = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-12, max_iter=1000))
    fixed = FixedThresholdClassifier(inner, threshold=threshold, pos_label="bad", response_method=method)
    rows = frame(loans)
    ours = pqy.fit(fixed, loans, target="state", features=["a", "b"], engine=local)
    theirs = clone(fixed).fit(rows[["a", "b"]], rows["state"])
    expected = theirs.predict(rows[["a", "b"]])
    assert (ours.predict(rows[["a", "b"]]) == expected).all()
    assert vars(ours).keys() - {"fit_report_"} == vars(theirs).keys()
    written = pqy.predict(ours, loans, to=tmp_path / "out", engine=local).to_pandas()["prediction"]
    assert (written == expected).all()
    shares = pqy.predict(ours, loans, to=tmp_path / "shares", method="predict_proba", engine=local).to_pandas()
    np.testing.assert_allclose(shares["probability_bad"], theirs.predict_proba(rows[["a", "b"]])[:, 0], rtol=1e-5)


def test_a_frozen_model_is_not_fitted_again_nor_changed(loans, model, local):
    before = set(vars(model))
    frozen = FrozenEstimator(model)
    fixed = FixedThresholdClassifier(frozen, threshold=0.2, pos_label="bad")
    ours = pqy.fit(fixed, loans, target="state", features=["a", "b"], engine=local)
    assert ours.fit_report_["passes"] == 0
    assert ours.estimator_.estimator is model
    assert set(vars(model)) == before
    alone = pqy.fit(frozen, loans, target="state", features=["a", "b"], engine=local)
    assert alone.fit_report_["passes"] == 0
    assert not hasattr(frozen, "fit_report_") or frozen.fit_report_ is model.fit_report_
    rows = frame(loans)[["a", "b"]]
    share = model.predict_proba(rows)[:, 0]
    assert (ours.predict(rows) == np.where(share >= 0.2, "bad", "good")).all()
    assert pqy.evaluate(alone, loans, target="state", engine=local) == pqy.evaluate(
        model, loans, target="state", engine=local
    )


# --- bad input ------------------------------------------------------------------------------
def test_what_is_wrong_is_said(loans, model, local):
    arguments = {"target": "state", "engine": local}
    with pytest.raises(BadParameter, match="'ugly' is no class"):
        cost_curve(model, loans, positive="ugly", **arguments, **COSTS)
    with pytest.raises(BadParameter, match="The costs are -1"):
        cost_curve(model, loans, positive="bad", cost_missed=-1, cost_lost=1, **arguments)
    plain = pqy.fit(RidgeClassifier(), loans, features=["a"], **arguments)
    with pytest.raises(BadParameter, match="does not part two classes"):
        cost_curve(plain, loans, positive="bad", **arguments, **COSTS)
    with pytest.raises(UnknownColumn, match="shown column"):
        worst_mistakes(model, loans, columns=["text"], **arguments)
    with pytest.raises(BadParameter, match=r"no class 'god' in the target.*--positive.*Did you mean 'good'"):
        two_classes(model, "god")
    nobody = pqy.fit(DummyClassifier(), loans, target="id", features=["a"], engine=local)
    with pytest.raises(BadParameter, match="There are 700 classes"):
        two_classes(nobody, "7")
    assert two_classes(model, "bad") == ("good", "bad")


def test_rows_of_one_class_choose_no_threshold(loans, model, local, write_parquet):
    rows = frame(loans)
    for label, message in (("bad", "holds 'bad' only"), ("good", "No row of 'state' is 'bad'")):
        folder = write_parquet(rows[rows["state"] == label], label)
        with pytest.raises(DegenerateColumn, match=message):
            cost_curve(model, folder, target="state", positive="bad", engine=local, **COSTS)


@pytest.mark.parametrize(
    ("pos_label", "target", "message"),
    [("ugly", "state", "a threshold|A threshold"), (None, "state", "which of"), (1, "id", "A threshold parts two")],
)
def test_a_fixed_threshold_needs_its_class(pos_label, target, message, loans, local):
    fixed = FixedThresholdClassifier(DummyClassifier(), threshold=0.3, pos_label=pos_label)
    with pytest.raises(BadParameter, match=message):
        pqy.fit(fixed, loans, target=target, features=["a", "b"], engine=local)
