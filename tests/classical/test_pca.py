"""PCA, IncrementalPCA and TruncatedSVD against scikit-learn's own fits of the same rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.decomposition import PCA, IncrementalPCA, TruncatedSVD
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import parity
import parquetry as pqy
from parquetry.classical import eigenspace, svd
from parquetry.errors import BadParameter, NonFiniteValues, TooBigForOneNode, WrongColumnType

N, K = 700, 6
LEARNED = ("components_", "explained_variance_", "explained_variance_ratio_", "singular_values_")


def well(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(N, K)) @ np.diag([5.0, 3.0, 2.0, 1.0, 0.5, 0.2]) @ rng.normal(size=(K, K))


def far_from_zero(rng: np.random.Generator) -> np.ndarray:
    return 1e9 + well(rng)


def constant_column(rng: np.random.Generator) -> np.ndarray:
    x = well(rng)
    x[:, 3] = 0.1
    return x


def uneven_scales(rng: np.random.Generator) -> np.ndarray:
    return well(rng) * 10.0 ** np.arange(-2, 4)


def nearly_collinear(rng: np.random.Generator) -> np.ndarray:
    x = well(rng)
    x[:, 5] = x[:, 0] + 1e-5 * rng.normal(size=N)
    return x


def tiny(rng: np.random.Generator) -> np.ndarray:
    return well(rng)[:8]


def fewer_rows_than_columns(rng: np.random.Generator) -> np.ndarray:
    return well(rng)[:4]


SHAPES = (well, far_from_zero, constant_column, uneven_scales, nearly_collinear, tiny)


@pytest.fixture
def write(write_parquet: Callable[..., Path]) -> Callable[..., Path]:
    def make(shape: Callable[[np.random.Generator], np.ndarray], **layout: Any) -> Path:
        x = shape(np.random.default_rng(3))
        columns = {f"x{i}": x[:, i] for i in range(x.shape[1])}
        return write_parquet(pa.table(columns), shape.__name__, **{"files": 3, "row_group_size": 60, **layout})

    return make


def exact(estimator: PCA) -> PCA:
    """The solver that takes X itself apart, with which all others should agree."""
    return clone(estimator).set_params(svd_solver="full")


def assert_same_spectrum(ours: Any, theirs: Any, rtol: float = 1e-9) -> None:
    """Every number relative to itself, and so the small ones too."""
    for name in LEARNED[1:]:
        np.testing.assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=rtol, err_msg=name)


PCAS = {
    "all": PCA(),
    "two": PCA(2),
    "none": PCA(0),
    "share": PCA(0.9),
    "mle": PCA("mle"),
    "whiten": PCA(3, whiten=True),
    "full": PCA(svd_solver="full"),
    "products": PCA(4, svd_solver="covariance_eigh"),
    "arpack": PCA(3, svd_solver="arpack"),
    "randomized": PCA(3, svd_solver="randomized", random_state=0),
}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", PCAS)
def test_pca_parity(name: str, shape: Any, write: Any, local: Any) -> None:
    folder = write(shape)
    x = pqy.open_dataset(folder).to_pandas()
    ours = pqy.fit(PCAS[name], folder, engine=local)
    theirs = exact(PCAS[name]).fit(x)
    assert ours._fit_svd_solver == clone(PCAS[name]).fit(x)._fit_svd_solver
    if shape is constant_column and name in ("all", "full"):
        # The direction of no variance has a sign of its own.
        ours.components_[-1] *= np.sign(ours.components_[-1] @ theirs.components_[-1])
    if shape is constant_column and name == "mle":
        # All but the direction of no variance are kept: what is left is rounding.
        assert max(ours.noise_variance_, theirs.noise_variance_) < 1e-30
        theirs.noise_variance_ = ours.noise_variance_
    # At 1e9 what scikit-learn subtracts as the mean is off by 1e-7.
    parity.assert_same_learned(ours, theirs, 1e-7 if shape is far_from_zero else 1e-9)
    kept = theirs.explained_variance_ > 1e-25
    rtol = 1e-8 if shape in (nearly_collinear, far_from_zero) else 1e-9
    np.testing.assert_allclose(ours.explained_variance_[kept], theirs.explained_variance_[kept], rtol=rtol)
    if name not in ("none", "all", "full") or shape is not constant_column:
        scale = np.abs(theirs.transform(x)).max(initial=1.0)
        np.testing.assert_allclose(ours.transform(x), theirs.transform(x), atol=1e-6 * scale)


@pytest.mark.parametrize("estimator", [PCA(), PCA(2, svd_solver="covariance_eigh"), PCA(2)], ids=str)
def test_pca_of_fewer_rows_than_columns(estimator: PCA, write: Any, local: Any) -> None:
    folder = write(fewer_rows_than_columns, row_group_size=2)
    x = pqy.open_dataset(folder).to_pandas()
    ours, theirs = pqy.fit(estimator, folder, engine=local), clone(estimator).fit(x)
    # Four rows have three directions; a fourth one is noise.
    ours.components_, theirs.components_ = ours.components_[:3], theirs.components_[:3]
    parity.assert_same_learned(ours, theirs, 1e-9)


def test_pca_takes_a_second_pass_only_where_digits_ask_for_it(write: Any, local: Any) -> None:
    assert pqy.fit(PCA(), write(well), engine=local).fit_report_["passes"] == 1
    # Columns of uneven scales are told apart without it.
    assert pqy.fit(PCA(), write(uneven_scales), engine=local).fit_report_["passes"] == 1
    folder = write(nearly_collinear)
    assert pqy.fit(PCA(2), folder, engine=local).fit_report_["passes"] == 1
    assert pqy.fit(PCA(), folder, engine=local).fit_report_["passes"] == 2


def test_small_components_keep_their_digits(local: Any, write_parquet: Any) -> None:
    """Variances from 1 down to 1e-20 in directions that lie across the columns."""
    rng = np.random.default_rng(8)
    deviations = 10.0 ** -np.arange(0, 12, 2)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    x = (rng.normal(size=(500, 6)) * deviations) @ turn
    folder = write_parquet({f"x{i}": x[:, i] for i in range(6)}, row_group_size=70)
    ours, theirs = pqy.fit(PCA(), folder, engine=local), PCA(svd_solver="full").fit(x)
    # A singular value of 1e-10 of the largest has 6 digits in float64, whoever computes it.
    error = np.abs(ours.singular_values_ / theirs.singular_values_ - 1)
    assert (error < 1e-15 / deviations * 10).all()
    for mine, other in zip(ours.components_[:5], theirs.components_[:5], strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-6)


def test_a_split_is_fitted_on_its_own_rows(write: Any, local: Any) -> None:
    train, test = pqy.open_dataset(write(well)).split(test=0.3, seed=1)
    for part in (train, test):
        x = part.to_pandas()
        for estimator in (PCA(), TruncatedSVD(3, algorithm="arpack"), IncrementalPCA(3, batch_size=40)):
            ours = pqy.fit(estimator, part, engine=local)
            parity.assert_same_learned(ours, clone(estimator).fit(x), 1e-9)


def test_narrow_columns(write_parquet: Any, local: Any) -> None:
    for estimator in (PCA(2), TruncatedSVD(2, algorithm="arpack"), IncrementalPCA(2)):
        folder = write_parquet(parity.numbers("narrow"), type(estimator).__name__, row_group_size=90)
        ours, theirs, x = parity.fit_both(estimator, folder, local)
        parity.assert_same_learned(ours, theirs, 1e-5)
        assert ours.transform(x).dtype == theirs.transform(x).dtype


@pytest.mark.parametrize("estimator", [PCA(2), TruncatedSVD(2, algorithm="arpack")], ids=str)
@pytest.mark.parametrize("kind", ["plain", "whole", "decimals"])
def test_column_types(estimator: Any, kind: str, write_parquet: Any, local: Any) -> None:
    table = parity.numbers(kind)
    if kind == "decimals":
        table = table.drop("c").append_column("d", pa.array(np.arange(600) ** 1.5))
    folder = write_parquet(table, row_group_size=90)
    ours, theirs, x = parity.fit_both(estimator, folder, local)
    parity.assert_same_learned(ours, theirs, 1e-9)
    parity.assert_same_output(ours, theirs, x, 1e-9)


def one_hot_data(write_parquet: Any, levels: int = 30, rows: int = 900) -> Path:
    rng = np.random.default_rng(2)
    share = np.arange(1, levels + 1) ** 1.0
    columns = {c: rng.choice(levels, rows, p=share / share.sum()) for c in ("a", "b")}
    return write_parquet(pa.table(columns), f"one-hot-{levels}", files=3, row_group_size=120)


@pytest.mark.parametrize(
    "estimator",
    [PCA(4), PCA(4, svd_solver="covariance_eigh"), TruncatedSVD(4, algorithm="arpack"), TruncatedSVD(5)],
    ids=str,
)
def test_sparse(estimator: Any, write_parquet: Any, local: Any) -> None:
    folder = one_hot_data(write_parquet)
    pipeline = make_pipeline(OneHotEncoder(), estimator)
    ours, theirs, x = parity.fit_both(pipeline, folder, local)
    assert sparse.issparse(ours[0].transform(x))
    if isinstance(estimator, TruncatedSVD):
        theirs[-1].set_params(algorithm="arpack").fit(theirs[0].transform(x))
    parity.assert_same_learned(ours[-1], theirs[-1], 1e-9)
    parity.assert_same_output(ours, theirs, x, 1e-9)


SVDS = {"two": TruncatedSVD(2), "arpack": TruncatedSVD(4, algorithm="arpack"), "most": TruncatedSVD(5)}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", SVDS)
def test_truncated_svd_parity(name: str, shape: Any, write: Any, local: Any) -> None:
    folder = write(shape)
    x = pqy.open_dataset(folder).to_pandas()
    ours = pqy.fit(SVDS[name], folder, engine=local)
    theirs = clone(SVDS[name]).set_params(algorithm="arpack").fit(x)
    if shape is far_from_zero:
        # All but the first singular value are below 1e-9 of it: 16 digits hold no more than these.
        np.testing.assert_allclose(ours.singular_values_[0], theirs.singular_values_[0], rtol=1e-12)
        np.testing.assert_allclose(ours.components_[0], theirs.components_[0], atol=1e-12)
        _, values, _ = np.linalg.svd((x - x.mean()).to_numpy())
        assert ours.singular_values_[1] == pytest.approx(values[0], rel=0.5)
        return
    parity.assert_same_learned(ours, theirs, 1e-9)
    assert_same_spectrum(ours, theirs, 1e-7 if shape in (nearly_collinear, uneven_scales) else 1e-9)
    parity.assert_same_output(ours, theirs, x, 1e-9)


@pytest.mark.parametrize("algorithm", ["arpack", "randomized"])
@pytest.mark.parametrize("is_sparse", [False, True], ids=["dense", "sparse"])
def test_wide_svd_is_searched_for(
    algorithm: str, is_sparse: bool, write_parquet: Any, local: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(svd, "_MOST_PRODUCTS", 10)
    folder = one_hot_data(write_parquet, levels=40)
    estimator = TruncatedSVD(5, algorithm=algorithm, n_iter=7, random_state=1)
    ours, theirs, x = parity.fit_both(make_pipeline(OneHotEncoder(sparse_output=is_sparse), estimator), folder, local)
    wide = theirs[0].transform(x)
    best = TruncatedSVD(5, algorithm="arpack").fit(wide)
    parity.assert_same_learned(ours[-1], best, 1e-9 if algorithm == "arpack" else 1e-6)
    # As many passes over X bring it at least as near as scikit-learn's power iterations.
    error = np.abs(ours[-1].singular_values_ - best.singular_values_).max()
    assert error <= np.abs(theirs[-1].singular_values_ - best.singular_values_).max() + 1e-12
    if algorithm == "randomized":
        assert ours.fit_report_["steps"][-1]["passes"] <= 9


def test_wide_pca_is_searched_for_beyond_the_memory(write_parquet: Any, local: Any) -> None:
    folder = one_hot_data(write_parquet, levels=40)
    pipeline = make_pipeline(OneHotEncoder(), PCA(3, random_state=0))
    ours = pqy.fit(pipeline, folder, engine=local, memory=500_000)
    theirs = clone(pipeline).fit(pqy.open_dataset(folder).to_pandas())
    parity.assert_same_learned(ours[-1], theirs[-1], 1e-8)
    assert ours.fit_report_["steps"][-1]["passes"] > 2
    with pytest.raises(TooBigForOneNode, match="PCA: the products of 78 features") as caught:
        pqy.fit(make_pipeline(OneHotEncoder(), PCA()), folder, engine=local, memory=500_000)
    assert "n_components" in caught.value.fix
    with pytest.raises(TooBigForOneNode, match="13 directions of 78 features"):
        pqy.fit(pipeline, folder, engine=local, memory=50_000)


def test_a_search_restarts_when_the_memory_is_full_and_gives_up_with_a_warning(
    write_parquet: Any, local: Any, monkeypatch: Any
) -> None:
    folder = one_hot_data(write_parquet, levels=40)
    monkeypatch.setattr(svd, "_MOST_PRODUCTS", 10)
    monkeypatch.setattr(eigenspace, "_MOST_BLOCKS", 3)
    estimator = TruncatedSVD(3, algorithm="arpack", n_oversamples=4)
    pipeline = make_pipeline(OneHotEncoder(), estimator)
    ours, theirs, _ = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-1], theirs[-1], 1e-9)
    monkeypatch.setattr(eigenspace, "_PATIENCE", 3)
    with pytest.warns(ConvergenceWarning, match=r"TruncatedSVD: after 3 passes the residual is .* Raise n_oversamples"):
        pqy.fit(pipeline, folder, engine=local)


@pytest.mark.parametrize(
    "estimator",
    [
        IncrementalPCA(),
        IncrementalPCA(3),
        IncrementalPCA(4, batch_size=50, whiten=True),
        IncrementalPCA(5, batch_size=7),
    ],
    ids=str,
)
@pytest.mark.parametrize("layout", parity.LAYOUTS)
def test_incremental_pca(estimator: Any, layout: str, write: Any, local: Any) -> None:
    folder = write(well, **parity.LAYOUTS[layout])
    ours, theirs, x = parity.fit_both(estimator, folder, local)
    parity.assert_same_learned(ours, theirs, 1e-12)
    parity.assert_same_output(ours, theirs, x, 1e-12)
    (report,) = ours.fit_report_["steps"]
    assert report["placement"] == "sequential"
    assert "in block order" in report["why"]


def test_incremental_pca_of_sparse_rows(write_parquet: Any, local: Any) -> None:
    folder = one_hot_data(write_parquet)
    pipeline = make_pipeline(OneHotEncoder(), IncrementalPCA(3, batch_size=130))
    ours, theirs, _ = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-1], theirs[-1], 1e-9)


def test_all_engines_give_the_same_bits(local: Any, dask_engine: Any, spark_engine: Any, write: Any) -> None:
    folder = write(nearly_collinear)
    pipeline = make_pipeline(StandardScaler(), PCA())
    fits = [
        [pqy.fit(e, folder, engine=engine) for e in (pipeline, TruncatedSVD(3), IncrementalPCA(3, batch_size=200))]
        for engine in (local, dask_engine, spark_engine)
    ]
    for name in LEARNED:
        first, *others = [
            [getattr(e[-1] if hasattr(e, "steps") else e, name).tobytes() for e in fitted] for fitted in fits
        ]
        assert others == [first, first], name


def test_the_fitted_step_works_inside_a_pipeline(write: Any, local: Any) -> None:
    """Later steps see rows through it as float matrices."""
    folder = write(well)
    pipeline = make_pipeline(PCA(4), TruncatedSVD(3, algorithm="arpack"), StandardScaler(), IncrementalPCA(2))
    ours, theirs, x = parity.fit_both(pipeline, folder, local)
    parity.assert_same_learned(ours[-2], theirs[-2], 1e-9)
    np.testing.assert_allclose(ours.transform(x), theirs.transform(x), atol=1e-8)


BAD = {
    "too many": (PCA(9), {}, "n_components=9 must be between 0 and 6"),
    "arpack": (PCA(6, svd_solver="arpack"), {}, "must be between 1 and 5"),
    "share by arpack": (PCA(0.5, svd_solver="arpack"), {}, "must be between 1 and 5"),
    "mle by arpack": (PCA("mle", svd_solver="arpack"), {}, "'mle' does not work"),
    "word": (PCA("most"), {}, "n_components"),
    "solver": (PCA(svd_solver="qr"), {}, "svd_solver"),
    "weights": (PCA(), {"features": ["x0", "x1"], "sample_weight": "x2"}, "PCA takes no sample weights"),
    "svd of all by arpack": (TruncatedSVD(6, algorithm="arpack"), {}, "must be at most 5"),
    "svd of too many": (TruncatedSVD(7), {}, "must be at most 6"),
    "svd of one column": (TruncatedSVD(1), {"features": ["x0"]}, "X has 1 feature"),
    "incremental": (IncrementalPCA(7), {}, "n_components=7 is above the 6 columns"),
    "incremental batch": (IncrementalPCA(4, batch_size=3), {}, "first partial_fit"),
}


@pytest.mark.parametrize(("estimator", "arguments", "says"), BAD.values(), ids=BAD.keys())
def test_bad_parameters(estimator: Any, arguments: Any, says: str, write: Any, local: Any) -> None:
    with pytest.raises(BadParameter, match=says):
        pqy.fit(estimator, write(well), engine=local, **arguments)


def test_sparse_x_and_the_solver(write_parquet: Any, local: Any) -> None:
    with pytest.raises(BadParameter, match="does not take sparse X"):
        pqy.fit(make_pipeline(OneHotEncoder(), PCA(2, svd_solver="full")), one_hot_data(write_parquet), engine=local)


@pytest.mark.parametrize("estimator", [PCA(), TruncatedSVD(2), IncrementalPCA(2)], ids=str)
def test_bad_values_are_named_with_their_place(estimator: Any, write_parquet: Any, local: Any) -> None:
    x = np.random.default_rng(0).normal(size=(300, 4))
    x[[203, 260], 2] = [np.inf, np.nan]
    folder = write_parquet({f"x{i}": x[:, i] for i in range(4)})
    with pytest.raises(NonFiniteValues, match=r"'x2' holds infinity.*part-1\.parquet, row group 0, row 53"):
        pqy.fit(estimator, folder, engine=local)
    with pytest.raises(WrongColumnType, match="'t' is string"):
        pqy.fit(estimator, write_parquet({"a": [0.0, 1.0], "t": ["a", "b"]}, "text"), engine=local)


def test_bad_values_of_sparse_x(write_parquet: Any, local: Any, monkeypatch: Any) -> None:
    from sklearn.preprocessing import FunctionTransformer

    x = np.random.default_rng(0).normal(size=(300, 4))
    x[203, 2] = np.nan
    folder = write_parquet({f"x{i}": x[:, i] for i in range(4)})
    for products in (1024, 1):
        monkeypatch.setattr(svd, "_MOST_PRODUCTS", products)
        pipeline = make_pipeline(FunctionTransformer(sparse.csr_matrix), TruncatedSVD(2))
        with pytest.raises(NonFiniteValues, match=r"'x2' holds NaN.*part-1\.parquet, row group 0, row 53"):
            pqy.fit(pipeline, folder, engine=local)


def test_overflow_is_told(write_parquet: Any, local: Any) -> None:
    folder = write_parquet({"a": [1e200, -1e200, 3e200], "b": [1.0, 2.0, 4.0]}, files=1)
    with pytest.raises(NonFiniteValues, match="overflow"):
        pqy.fit(PCA(), folder, engine=local)
