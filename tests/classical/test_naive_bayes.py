"""The naive Bayes classifiers against scikit-learn's own fits of the same rows."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.naive_bayes import BernoulliNB, CategoricalNB, ComplementNB, GaussianNB, MultinomialNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder

import parity
import parquetry as pqy
from parquetry.classical import class_counts
from parquetry.errors import (
    BadParameter,
    NegativeValues,
    NonFiniteValues,
    TooBigForOneNode,
    TooManyCategories,
    WrongColumnType,
)

FEATURES = ["a", "b", "c", "d"]
COUNTS = [f"n{i}" for i in range(4)]


def table(n: int = 700, *, offset: float = 0.0, classes: int = 3) -> pa.Table:
    """Four numbers, four counts, targets of several types, weights with zeros."""
    rng = np.random.default_rng(17)
    share = np.arange(1, classes + 1) ** 2.0
    k = np.append(np.arange(classes), rng.choice(classes, n - classes, p=share / share.sum()))
    x = rng.normal(size=(n, 4)) * [1.0, 0.1, 30.0, 2.0] + k[:, None] * [1.0, 0.2, -4.0, 0.0] + offset
    counts = rng.poisson(1.0 + k[:, None] * [0.5, 0.0, 1.0, 2.0])
    return pa.table(
        {
            **{name: x[:, i] for i, name in enumerate(FEATURES)},
            **{f"n{i}": counts[:, i] for i in range(4)},
            "word": pa.array(np.array([f"class {i:02d}" for i in range(classes)])[k]),
            "whole": pa.array(k * 10, pa.int32()),
            "flag": k == 0,
            "weight": np.where(rng.random(n) < 0.2, 0.0, rng.uniform(0, 3, n)),
        }
    )


GAUSSIAN = {
    "plain": GaussianNB(),
    "smooth": GaussianNB(var_smoothing=0.1),
    "rough": GaussianNB(var_smoothing=0.0),
    "priors": GaussianNB(priors=[0.5, 0.2, 0.3]),
}
DISCRETE = {
    "multinomial": MultinomialNB(),
    "multinomial alpha": MultinomialNB(alpha=[0.1, 1.0, 2.0, 0.0], fit_prior=False),
    "bernoulli": BernoulliNB(),
    "bernoulli above 1": BernoulliNB(binarize=1.0, alpha=0.3),
    "bernoulli raw": BernoulliNB(binarize=None, alpha=20.0),
    "complement": ComplementNB(),
    "complement norm": ComplementNB(norm=True, class_prior=[0.2, 0.3, 0.5]),
    "categorical": CategoricalNB(),
    "categorical wide": CategoricalNB(min_categories=40, alpha=0.5),
    "categorical each": CategoricalNB(min_categories=[1, 30, 2, 3]),
}


def assert_same_predictions(ours: Any, theirs: Any, x: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
        np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("target", ["word", "whole"])
@pytest.mark.parametrize("weight", [None, "weight"], ids=["alike", "weighted"])
@pytest.mark.parametrize("layout", parity.LAYOUTS)
@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussian(name: str, layout: str, weight: Any, target: str, write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(), **parity.LAYOUTS[layout])
    arguments = {"target": target, "sample_weight": weight, "features": FEATURES}
    ours, theirs, x = parity.fit_both(GAUSSIAN[name], folder, local, **arguments)
    parity.assert_same_learned(ours, theirs, 1e-12)
    assert_same_predictions(ours, theirs, x)
    assert ours.fit_report_["passes"] == 2
    # A model fitted here can be taken further, as scikit-learn's own.
    if weight is None:
        y = pqy.open_dataset(folder).to_pandas()[target].to_numpy()
        parity.assert_same_learned(ours.partial_fit(x, y), theirs.partial_fit(x, y), 1e-12)


@pytest.mark.parametrize("kind", ["constant", "whole", "narrow", "decimals", "tiny", "flag", "many classes"])
def test_gaussian_on_other_data(kind: str, write_parquet: Any, local: Any) -> None:
    features, target, rows = FEATURES, "word", table()
    if kind == "constant":
        rows = rows.set_column(0, "a", pa.array(np.full(700, 0.1)))
    elif kind == "whole":
        features = COUNTS
    elif kind == "narrow":
        rows = pa.table({**{f: rows[f].cast(pa.float32()) for f in FEATURES}, "word": rows["word"]})
    elif kind == "decimals":
        quarters = {f: pa.array(np.round(np.asarray(rows[f]) * 4) / 4).cast(pa.decimal128(12, 2)) for f in FEATURES}
        rows = pa.table({**quarters, "word": rows["word"]})
    elif kind == "tiny":
        rows = table(5)
    elif kind == "flag":
        target = "flag"
    else:
        rows = table(900, classes=40)
    folder = write_parquet(rows, files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(GaussianNB(), folder, local, target=target, features=features)
    parity.assert_same_learned(ours, theirs, 1e-5 if kind == "narrow" else 1e-11)
    if kind not in ("narrow", "constant"):
        assert_same_predictions(ours, theirs, x)


def test_gaussian_far_from_zero_with_classes_far_apart(write_parquet: Any, local: Any) -> None:
    """Means of 1e9, deviations of 1, one class somewhere else altogether: no digit is lost."""
    rng = np.random.default_rng(5)
    k = rng.integers(0, 3, 900)
    x = np.array([1e9, -1e9, 5.0])[k] + rng.normal(size=900)
    folder = write_parquet({"x": x, "k": k}, files=3, row_group_size=23)
    ours = pqy.fit(GaussianNB(var_smoothing=0.0), folder, target="k", engine=local)
    for i, center in enumerate([1e9, -1e9, 5.0]):
        # Taking off a center that is exact leaves numpy all digits.
        mine = x[k == i] - center
        np.testing.assert_allclose(ours.var_[i], mine.var(), rtol=1e-12)
        np.testing.assert_allclose(ours.theta_[i], center + mine.mean(), rtol=1e-15)


def test_a_class_without_weight(write_parquet: Any, local: Any) -> None:
    rows = table()
    weight = np.where(np.array(rows["whole"]) == 10, 0.0, 1.5)
    folder = write_parquet(rows.set_column(rows.num_columns - 1, "weight", pa.array(weight)), row_group_size=31)
    for estimator, features in ((GaussianNB(), FEATURES), (MultinomialNB(), COUNTS)):
        arguments = {"target": "word", "sample_weight": "weight", "features": features}
        with np.errstate(divide="ignore"):
            ours, theirs, _ = parity.fit_both(estimator, folder, local, **arguments)
        parity.assert_same_learned(ours, theirs, 1e-12)


@pytest.mark.parametrize("weight", [None, "weight"], ids=["alike", "weighted"])
@pytest.mark.parametrize("target", ["word", "whole"])
@pytest.mark.parametrize("name", DISCRETE)
def test_discrete(name: str, target: str, weight: Any, write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(), files=3, row_group_size=37)
    arguments = {"target": target, "sample_weight": weight, "features": COUNTS}
    with np.errstate(divide="ignore", invalid="ignore"):
        ours, theirs, x = parity.fit_both(DISCRETE[name], folder, local, **arguments)
    parity.assert_same_learned(ours, theirs, 1e-12)
    assert_same_predictions(ours, theirs, x)
    assert ours.fit_report_["passes"] == 2


@pytest.mark.parametrize("classes", [1, 2, 40])
@pytest.mark.parametrize("estimator", [GaussianNB(), MultinomialNB(), ComplementNB(), CategoricalNB()], ids=str)
def test_one_two_and_many_classes(estimator: Any, classes: int, write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(800, classes=classes), row_group_size=90)
    ours, theirs, x = parity.fit_both(estimator, folder, local, target="word", features=COUNTS)
    parity.assert_same_learned(ours, theirs, 1e-12)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


@pytest.mark.parametrize("weight", [None, "weight"], ids=["alike", "weighted"])
@pytest.mark.parametrize(
    "estimator", [MultinomialNB(), BernoulliNB(), BernoulliNB(binarize=None), ComplementNB(norm=True)], ids=str
)
def test_sparse(estimator: Any, weight: Any, write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(), row_group_size=80)
    frame = pqy.open_dataset(folder).to_pandas()
    pipeline = make_pipeline(OneHotEncoder(), estimator)
    arguments = {"target": "word", "features": COUNTS}
    ours = pqy.fit(pipeline, folder, engine=local, sample_weight=weight, **arguments)
    wide = ours[0].transform(frame[COUNTS])
    theirs = clone(estimator).fit(wide, frame["word"], None if weight is None else frame[weight])
    parity.assert_same_learned(ours[-1], theirs, 1e-12)
    np.testing.assert_array_equal(ours.predict(frame[COUNTS]), theirs.predict(wide))


def test_a_small_alpha_is_raised_with_a_warning(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table())
    estimator = MultinomialNB(alpha=0.0, force_alpha=False)
    with pytest.warns(UserWarning, match="alpha too small") as caught:
        ours = pqy.fit(estimator, folder, target="word", features=COUNTS, engine=local)
    assert len(caught) == 1
    frame = pqy.open_dataset(folder).to_pandas()
    with pytest.warns(UserWarning, match="alpha too small"):
        theirs = clone(estimator).fit(frame[COUNTS], frame["word"])
    parity.assert_same_learned(ours, theirs, 1e-12)


def test_all_engines_give_the_same_bits(local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any) -> None:
    folder = write_parquet(table(offset=1e6), files=3, row_group_size=37)
    found = []
    for engine in (local, dask_engine, spark_engine):
        arguments = {"target": "word", "sample_weight": "weight", "engine": engine}
        gaussian = pqy.fit(GaussianNB(), folder, features=FEATURES, **arguments)
        categorical = pqy.fit(CategoricalNB(), folder, features=COUNTS, **arguments)
        complement = pqy.fit(ComplementNB(), folder, features=COUNTS, **arguments)
        arrays = [gaussian.theta_, gaussian.var_, complement.feature_log_prob_, *categorical.feature_log_prob_]
        found.append([a.tobytes() for a in arrays])
    assert found[1:] == [found[0]] * 2


@pytest.mark.parametrize("estimator", [MultinomialNB(), ComplementNB(), CategoricalNB()], ids=str)
def test_values_below_zero_are_named_with_their_place(estimator: Any, write_parquet: Any, local: Any) -> None:
    x = np.ones((300, 3))
    x[[203, 204], 1] = -2.0
    folder = write_parquet({**{f"x{i}": x[:, i] for i in range(3)}, "y": np.arange(300) % 2})
    place = r"'x1' holds a value below zero, first in .*part-1\.parquet, row group 0, row 53"
    with pytest.raises(NegativeValues, match=place) as caught:
        pqy.fit(estimator, folder, target="y", engine=local)
    assert caught.value.fix
    if not isinstance(estimator, CategoricalNB):
        pipeline = make_pipeline(FunctionTransformer(sparse.csr_matrix), estimator)
        with pytest.raises(NegativeValues, match=place):
            pqy.fit(pipeline, folder, target="y", engine=local)
    # Where nothing is counted, nothing is refused.
    pqy.fit(BernoulliNB(), folder, target="y", features=["x1", "x2"], engine=local)


@pytest.mark.parametrize("estimator", [GaussianNB(), MultinomialNB(), BernoulliNB(), CategoricalNB()], ids=str)
@pytest.mark.parametrize(("bad", "says"), [(np.nan, "NaN"), (np.inf, "infinity")])
def test_non_finite_values_are_named_with_their_place(
    estimator: Any, bad: float, says: str, write_parquet: Any, local: Any
) -> None:
    x = np.ones((300, 3))
    x[[203, 260], 1] = bad
    folder = write_parquet({**{f"x{i}": x[:, i] for i in range(3)}, "y": np.arange(300) % 2})
    with pytest.raises(NonFiniteValues, match=rf"'x1' holds {says}, first in .*part-1\.parquet, row group 0, row 53"):
        pqy.fit(estimator, folder, target="y", engine=local)


def test_category_codes_are_cut_to_whole_numbers_as_scikit_learn_does(write_parquet: Any, local: Any) -> None:
    folder = write_parquet({"x": [0.9, 1.2, -0.5, 3.0], "y": [0, 1, 0, 1]}, files=1)
    ours, theirs, _ = parity.fit_both(CategoricalNB(), folder, local, target="y")
    parity.assert_same_learned(ours, theirs, 1e-12)


def test_category_codes_that_are_too_large(write_parquet: Any, local: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(class_counts.CategoryCounts.__init__, "__kwdefaults__", {"limit": 50})
    folder = write_parquet({"x": np.arange(100), "y": np.arange(100) % 2}, row_group_size=9)
    with pytest.raises(TooManyCategories, match="CategoricalNB: column 'x' has category codes above 50"):
        pqy.fit(CategoricalNB(), folder, target="y", engine=local)


BAD = {
    "two targets": (GaussianNB(), {"target": ["word", "flag"]}, BadParameter, "takes one target, not 2"),
    "no target": (MultinomialNB(), {}, BadParameter, "needs a target"),
    "fractions": (GaussianNB(), {"target": "a", "features": ["b"]}, WrongColumnType, "holds fractions"),
    "priors": (GaussianNB(priors=[0.5, 0.5]), {"target": "word"}, BadParameter, "match number of classes"),
    "priors' sum": (GaussianNB(priors=[0.5, 0.5, 0.5]), {"target": "word"}, BadParameter, "sum of the priors"),
    "negative priors": (GaussianNB(priors=[0.5, 1.0, -0.5]), {"target": "word"}, BadParameter, "non-negative"),
    "class_prior": (MultinomialNB(class_prior=[1.0]), {"target": "word"}, BadParameter, "match number of classes"),
    "alphas": (MultinomialNB(alpha=[1.0]), {"target": "word"}, BadParameter, "n_features"),
    "alpha": (BernoulliNB(alpha=-1.0), {"target": "word"}, BadParameter, "alpha"),
    "min_categories": (CategoricalNB(min_categories=[1.5] * 4), {"target": "word"}, BadParameter, "min_categories"),
    "smoothing": (GaussianNB(var_smoothing=-1.0), {"target": "word"}, BadParameter, "var_smoothing"),
    "memory": (GaussianNB(), {"target": "word", "memory": 100}, TooBigForOneNode, "4 features of 3 classes"),
    "memory of counts": (MultinomialNB(), {"target": "word", "memory": 100}, TooBigForOneNode, "4 features of 3"),
    "text": (GaussianNB(), {"target": "flag", "features": ["word"]}, WrongColumnType, "'word' is string"),
}  # fmt: skip


@pytest.mark.parametrize(("estimator", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(estimator: Any, arguments: Any, kind: Any, says: str, write_parquet: Any, local: Any) -> None:
    features = FEATURES if isinstance(estimator, GaussianNB) else COUNTS
    with pytest.raises(kind, match=says):
        pqy.fit(estimator, write_parquet(table()), engine=local, **{"features": features, **arguments})


@pytest.mark.parametrize("estimator", [GaussianNB(), MultinomialNB(), CategoricalNB()], ids=str)
def test_bad_weights(estimator: Any, write_parquet: Any, local: Any) -> None:
    n = 200
    columns = {"x": np.ones(n), "y": np.arange(n) % 2, "below": np.linspace(-1, 9, n), "zero": np.zeros(n)}
    folder = write_parquet(columns)
    for weight in ("below", "zero"):
        with pytest.raises(BadParameter, match="weights must be non-negative"):
            pqy.fit(estimator, folder, target="y", features=["x"], sample_weight=weight, engine=local)


@pytest.mark.parametrize("estimator", [GaussianNB(), CategoricalNB()], ids=str)
def test_sparse_x_is_refused_where_scikit_learn_refuses_it(estimator: Any, write_parquet: Any, local: Any) -> None:
    pipeline = make_pipeline(OneHotEncoder(), estimator)
    with pytest.raises(WrongColumnType, match="does not take sparse X"):
        pqy.fit(pipeline, write_parquet(table()), target="word", features=COUNTS, engine=local)


def test_a_missing_label_is_refused(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(pa.table({"x": [1.0, 2.0, 3.0], "y": ["a", None, "b"]}), files=1)
    with pytest.raises(NonFiniteValues, match="'y' holds a missing value"):
        pqy.fit(GaussianNB(), folder, target="y", engine=local)
