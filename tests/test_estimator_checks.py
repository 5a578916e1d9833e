"""scikit-learn's own checks, run over ``fit`` for every class that has a Fitter."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from parquetry import registry
from parquetry.testing.estimator import on_parquet

META = {"ColumnTransformer", "FeatureUnion", "Pipeline", "TransformedTargetRegressor"}


def estimators() -> list[Any]:
    kinds = sorted(registry.entries(), key=lambda kind: kind.__name__)
    return [on_parquet(kind()) for kind in kinds if kind.__name__ not in META]


CONSTANT_TARGET = "One row has a constant target, which fit refuses."
CLOSED_FORM = "A closed form counts no iterations; scikit-learn leaves its own Ridge out of this check, too."
NO_ROWS_READ = "Nothing is learned from the rows, so none is read; transform refuses what fit would."
EXPECTED: dict[str, dict[str, str]] = {
    "AdditiveChi2Sampler": dict.fromkeys(
        ("check_estimators_nan_inf", "check_fit_non_negative", "check_positive_only_tag_during_fit"), NO_ROWS_READ
    ),
    "DummyRegressor": {"check_fit2d_1sample": CONSTANT_TARGET},
    "LinearRegression": {"check_fit2d_1sample": CONSTANT_TARGET},
    "LinearSVR": {"check_fit2d_1sample": CONSTANT_TARGET},
    "PolynomialCountSketch": {"check_estimators_nan_inf": NO_ROWS_READ},
    "RBFSampler": {"check_estimators_nan_inf": NO_ROWS_READ},
    "Ridge": {"check_fit2d_1sample": CONSTANT_TARGET, "check_non_transformer_estimators_n_iter": CLOSED_FORM},
    "SkewedChi2Sampler": {"check_estimators_nan_inf": NO_ROWS_READ},
}
"""Checks that must fail, with the reason; one that passes after all is an error."""


def expected(estimator: Any) -> dict[str, str]:
    return EXPECTED.get(type(estimator).__name__, {})


@parametrize_with_checks(estimators(), expected_failed_checks=expected, xfail_strict=True)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
