"""Linear and quadratic discriminant analysis against scikit-learn's own fits of the same rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import clone
from sklearn.covariance import OAS
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parity
import parquetry as pqy
from parquetry.errors import BadParameter, DegenerateColumn, NonFiniteValues, TooBigForOneNode, WrongColumnType

LDA, QDA = LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
N, K = 600, 5
FEATURES = [f"x{i}" for i in range(K)]


def well(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    spread = rng.normal(size=(3, K, K))
    return np.einsum("ni,nij->nj", rng.normal(size=(len(k), K)), spread[k % 3]) + np.outer(k, np.arange(K) - 1.5)


def far_from_zero(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    return 1e6 + well(rng, k)


def constant_column(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    x = well(rng, k)
    x[:, 2] = 7.25
    return x


def collinear(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    x = well(rng, k)
    x[:, 4] = x[:, 0] - 2 * x[:, 1]
    return x


def nearly_collinear(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    x = well(rng, k)
    x[:, 4] = x[:, 0] + 2e-3 * rng.normal(size=len(k))
    return x


def uneven_scales(rng: np.random.Generator, k: np.ndarray) -> np.ndarray:
    return well(rng, k) * 10.0 ** np.arange(-2, 3)


def table(shape: Any = well, *, classes: int = 3, n: int = N) -> pa.Table:
    """Classes of uneven size."""
    rng = np.random.default_rng(9)
    share = np.arange(1, classes + 1) ** (1.5 if classes < 10 else 0.3)
    k = np.append(np.arange(classes), rng.choice(classes, n - classes, p=share / share.sum()))
    x = shape(rng, k)
    return pa.table(
        {
            **{f: x[:, i] for i, f in enumerate(FEATURES)},
            "word": pa.array(np.array([f"class {i:02d}" for i in range(classes)])[k]),
            "whole": pa.array(k * 10, pa.int32()),
            "flag": k == 0,
            "weight": np.ones(n),
        }
    )


def align_signs(ours: Any, theirs: Any, columns: int | None = None) -> None:
    """Axes have no sign of their own: ours are turned to scikit-learn's; what has no length is left out."""
    if hasattr(theirs, "scalings_") and isinstance(theirs.scalings_, np.ndarray):
        for model in (ours, theirs):
            model.scalings_ = np.ascontiguousarray(model.scalings_[:, :columns])
        ours.scalings_ *= np.sign((ours.scalings_ * theirs.scalings_).sum(axis=0))
    if hasattr(theirs, "rotations_"):
        pairs = zip(ours.rotations_, theirs.rotations_, strict=True)
        ours.rotations_ = [mine * np.sign((mine * other).sum(axis=0)) for mine, other in pairs]


LDAS = {
    "svd": LinearDiscriminantAnalysis(),
    "svd covariance": LinearDiscriminantAnalysis(store_covariance=True),
    "svd priors": LinearDiscriminantAnalysis(priors=[0.2, 0.5, 0.3], store_covariance=True),
    "svd one": LinearDiscriminantAnalysis(n_components=1),
    "lsqr": LinearDiscriminantAnalysis(solver="lsqr"),
    "lsqr shrunk": LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.3),
    "lsqr auto": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "eigen": LinearDiscriminantAnalysis(solver="eigen"),
    "eigen shrunk": LinearDiscriminantAnalysis(solver="eigen", shrinkage=0.5, priors=[0.1, 0.1, 0.8]),
    "eigen auto": LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto", priors=[0.3, 0.3, 0.4]),
}


SHAPES = [well, far_from_zero, constant_column, collinear, nearly_collinear, uneven_scales]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", LDAS)
def test_lda_parity(name: str, shape: Any, write_parquet: Any, local: Any) -> None:
    estimator = LDAS[name]
    if shape in (constant_column, collinear) and estimator.solver != "svd" and estimator.shrinkage is None:
        pytest.skip("a singular covariance has no one solution")
    folder = write_parquet(table(shape), files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(estimator, folder, local, target="word", features=FEATURES)
    # How many digits there are to agree on: scikit-learn's own end at the condition.
    rtol = {far_from_zero: 1e-7, nearly_collinear: 1e-8, uneven_scales: 1e-8}.get(shape, 1e-9)
    align_signs(ours, theirs, ours._max_components)
    parity.assert_same_learned(ours, theirs, rtol)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    # Without the overall mean taken off, a million of it leaves four digits, there and here.
    lost = shape is far_from_zero and estimator.solver != "svd"
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=5e-3 if lost else 1e-6)
    assert ours._max_components == theirs._max_components
    if estimator.solver != "lsqr" and shape is not far_from_zero:
        np.testing.assert_allclose(ours.transform(x), theirs.transform(x), rtol=1e-6, atol=1e-6)
        assert list(ours.get_feature_names_out()) == list(theirs.get_feature_names_out())
    assert ours.fit_report_["passes"] == 2 + (estimator.shrinkage == "auto") + (
        shape is nearly_collinear and estimator.solver == "svd"
    )


QDAS = {
    "svd": QuadraticDiscriminantAnalysis(),
    "svd covariance": QuadraticDiscriminantAnalysis(store_covariance=True, reg_param=0.2),
    "priors": QuadraticDiscriminantAnalysis(priors=[0.2, 0.5, 0.3]),
    "eigen": QuadraticDiscriminantAnalysis(solver="eigen", store_covariance=True),
    "eigen shrunk": QuadraticDiscriminantAnalysis(solver="eigen", shrinkage=0.2),
    "eigen auto": QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto", store_covariance=True),
}


@pytest.mark.parametrize("shape", [well, far_from_zero, nearly_collinear], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", QDAS)
def test_qda_parity(name: str, shape: Any, write_parquet: Any, local: Any) -> None:
    estimator = clone(QDAS[name]).set_params(tol=1e-8)
    folder = write_parquet(table(shape), files=3, row_group_size=37)
    ours, theirs, x = parity.fit_both(estimator, folder, local, target="word", features=FEATURES)
    align_signs(ours, theirs)
    rtol = {far_from_zero: 1e-7, nearly_collinear: 1e-8}.get(shape, 1e-9)
    parity.assert_same_learned(ours, theirs, rtol)
    for mine, other in zip(ours.scalings_, theirs.scalings_, strict=True):
        # Small variances count as much as large ones in the end.
        np.testing.assert_allclose(mine, other, rtol=1e-6)
    np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)
    assert ours.fit_report_["passes"] == 2 + (estimator.shrinkage == "auto")


ALL = {
    "lda": LinearDiscriminantAnalysis(store_covariance=True),
    "lda lsqr": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "lda eigen": LinearDiscriminantAnalysis(solver="eigen"),
    "qda": QuadraticDiscriminantAnalysis(store_covariance=True),
    "qda eigen": QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto", store_covariance=True),
}


@pytest.mark.parametrize("kind", ["one block", "two classes", "20 classes", "narrow", "whole", "one column", "tiny"])
@pytest.mark.parametrize("name", ALL)
def test_other_data(name: str, kind: str, write_parquet: Any, local: Any) -> None:
    target, features, rows = "whole", FEATURES, table()
    if kind == "two classes":
        target = "flag"
    elif kind == "20 classes":
        rows = table(classes=20, n=1500)
    elif kind == "narrow":
        rows = pa.table({**{f: rows[f].cast(pa.float32()) for f in FEATURES}, "whole": rows["whole"]})
    elif kind == "whole":
        rows = pa.table({**{f: np.round(np.asarray(rows[f])).astype(int) for f in FEATURES}, "whole": rows["whole"]})
    elif kind == "one column":
        features = ["x3"]
    elif kind == "tiny":
        rows, features = table(n=40), ["x0", "x1"]
    folder = write_parquet(rows, **parity.LAYOUTS["one block" if kind == "one block" else "many blocks"])
    ours, theirs, x = parity.fit_both(ALL[name], folder, local, target=target, features=features)
    align_signs(ours, theirs, getattr(ours, "_max_components", None))
    parity.assert_same_learned(ours, theirs, 2e-4 if kind == "narrow" else 1e-9)
    if kind != "narrow":
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))


def test_one_class_is_as_it_is_in_scikit_learn(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(classes=1), row_group_size=60)
    ours, theirs, x = parity.fit_both(LinearDiscriminantAnalysis(), folder, local, target="word", features=FEATURES)
    parity.assert_same_learned(ours, theirs, 1e-9)
    assert ours.transform(x).shape == theirs.transform(x).shape == (N, 0)
    with pytest.raises(DegenerateColumn, match="holds one class only"):
        pqy.fit(QuadraticDiscriminantAnalysis(), folder, target="word", features=FEATURES, engine=local)


def test_a_column_constant_in_every_class_is_constant_whatever_its_rounding(write_parquet: Any, local: Any) -> None:
    rows = table()
    level = np.where(np.asarray(rows["flag"]), 0.1, 0.7)
    folder = write_parquet(rows.set_column(0, "x0", pa.array(level)), row_group_size=37)
    ours = pqy.fit(LinearDiscriminantAnalysis(), folder, target="word", features=FEATURES, engine=local)
    without = pqy.fit(LinearDiscriminantAnalysis(), folder, target="word", features=FEATURES[1:], engine=local)
    np.testing.assert_allclose(ours.coef_[:, 0], 0.0, atol=1e-12)
    np.testing.assert_allclose(ours.coef_[:, 1:], without.coef_, rtol=1e-9, atol=1e-9)


def test_priors_that_do_not_add_up_are_scaled_with_a_warning(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table())
    estimator = LinearDiscriminantAnalysis(priors=[1.0, 2.0, 1.0])
    with pytest.warns(UserWarning, match="Renormalizing"):
        ours, theirs, _ = parity.fit_both(estimator, folder, local, target="word", features=FEATURES)
    np.testing.assert_array_equal(ours.priors_, theirs.priors_)


@pytest.mark.parametrize(
    "estimator",
    [
        LinearDiscriminantAnalysis(solver="eigen", covariance_estimator=OAS()),
        QuadraticDiscriminantAnalysis(solver="eigen", covariance_estimator=OAS()),
    ],
    ids=["lda", "qda"],
)
def test_a_covariance_estimator_falls_back_and_says_why(estimator: Any, write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table())
    ours, theirs, x = parity.fit_both(estimator, folder, local, target="word", features=FEATURES)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x))
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "single-node"
    assert "covariance_estimator" in report["why"]


def test_all_engines_give_the_same_bits(local: Any, dask_engine: Any, spark_engine: Any, write_parquet: Any) -> None:
    folder = write_parquet(table(nearly_collinear), files=3, row_group_size=37)
    found = []
    for engine in (local, dask_engine, spark_engine):
        arguments = {"target": "word", "features": FEATURES, "engine": engine}
        lda = pqy.fit(LinearDiscriminantAnalysis(), folder, **arguments)
        shrunk = QuadraticDiscriminantAnalysis(solver="eigen", shrinkage="auto")
        qda = pqy.fit(make_pipeline(StandardScaler(), shrunk), folder, **arguments)[-1]
        arrays = [lda.coef_, lda.scalings_, lda.intercept_, *qda.rotations_, *qda.scalings_]
        found.append([a.tobytes() for a in arrays])
    assert found[1:] == [found[0]] * 2


def test_as_a_transformer_inside_a_pipeline(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table(), row_group_size=37)
    pipeline = make_pipeline(StandardScaler(), LDA(n_components=2), QDA())
    ours, theirs, x = parity.fit_both(pipeline, folder, local, target="word", features=FEATURES)
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-9)


BAD = {
    "weights": (LDA(), {"sample_weight": "weight"}, BadParameter, "takes no sample weights"),
    "weights of qda": (QDA(), {"sample_weight": "weight"}, BadParameter, "takes no sample weights"),
    "shrunk svd": (LDA(shrinkage=0.1), {}, BadParameter, "shrinkage does not work with solver='svd'"),
    "shrunk qda": (QDA(shrinkage=0.1), {}, BadParameter, "shrinkage does not work with solver='svd'"),
    "estimator": (LDA(covariance_estimator=OAS()), {}, BadParameter, "covariance_estimator does not work"),
    "both": (
        LDA(solver="lsqr", shrinkage=0.1, covariance_estimator=OAS()), {}, BadParameter, "both shrinkage and",
    ),
    "solver": (LDA(solver="qr"), {}, BadParameter, "solver"),
    "components": (LDA(n_components=3), {}, BadParameter, r"n_components=3 is above 2.*n_classes - 1"),
    "priors": (LDA(priors=[0.5, 0.5]), {}, BadParameter, "one of each of the 3 classes"),
    "negative priors": (LDA(priors=[0.5, -0.5, 1.0]), {}, BadParameter, "must be non-negative"),
    "memory": (LDA(), {"memory": 2000}, TooBigForOneNode, "1 times the products of 5 features"),
    "memory of qda": (QDA(), {"memory": 2000}, TooBigForOneNode, "3 times the products of 5 features"),
    "text": (LDA(), {"features": ["x0", "word"], "target": "flag"}, WrongColumnType, "'word' is string"),
    "several targets": (LDA(), {"target": ["word", "flag"]}, BadParameter, "takes one target"),
}  # fmt: skip


@pytest.mark.parametrize(("estimator", "arguments", "kind", "says"), BAD.values(), ids=BAD.keys())
def test_bad_input(estimator: Any, arguments: Any, kind: Any, says: str, write_parquet: Any, local: Any) -> None:
    with pytest.raises(kind, match=says):
        pqy.fit(
            estimator, write_parquet(table()), engine=local, **{"target": "word", "features": FEATURES, **arguments}
        )


def test_degenerate_data(write_parquet: Any, local: Any) -> None:
    def refused(says: str, estimator: Any, rows: Any, features: Any = FEATURES) -> None:
        folder = write_parquet(rows, says[:20].replace(" ", "-"), row_group_size=50)
        with pytest.raises(DegenerateColumn, match=says):
            pqy.fit(estimator, folder, target="word", features=features, engine=local)

    refused("as many classes as rows: 6", LDA(), table(classes=6, n=6))
    refused("has no inverse", LDA(solver="eigen"), table(constant_column))
    rows = table()
    refused("no feature varies", LDA(), rows.set_column(0, "x0", pa.array(np.full(N, 2.5))), ["x0"])
    refused("class 'class 00' has 1 rows", QDA(), table(n=60).slice(0, 60).filter(keep_one(table(n=60))))
    refused("covariance of class 'class 00' is not of full rank", QDA(), table(constant_column))
    refused("Raise shrinkage", QDA(solver="eigen"), table(constant_column))


def keep_one(rows: pa.Table) -> pa.Array:
    """All rows but those of the first class after its first."""
    first = np.asarray(rows["flag"])
    return pa.array(~first | (np.cumsum(first) == 1))


@pytest.mark.parametrize("estimator", [LDA(), QDA()], ids=["lda", "qda"])
def test_bad_values_are_named_with_their_place(estimator: Any, write_parquet: Any, local: Any) -> None:
    rows = table()
    x = np.array(rows["x2"]).copy()
    x[[404, 405]] = np.nan
    folder = write_parquet(rows.set_column(2, "x2", pa.array(x, from_pandas=False)))
    with pytest.raises(NonFiniteValues, match=r"'x2' holds NaN, first in .*part-1\.parquet, row group 1, row 4"):
        pqy.fit(estimator, folder, target="word", features=FEATURES, engine=local)


def test_sparse_x_is_refused_as_in_scikit_learn(write_parquet: Any, local: Any) -> None:
    folder = write_parquet(table())
    pipeline = make_pipeline(OneHotEncoder(), LDA())
    with pytest.raises(WrongColumnType, match=r"does not take sparse X.*sparse_output=False"):
        pqy.fit(pipeline, folder, target="word", features=["whole"], engine=local)
