"""scikit-learn's own checks, run over ``fit`` for every class that has a Fitter."""

from __future__ import annotations

import warnings
from typing import Any

from sklearn.base import is_regressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from parquetry import registry
from parquetry.testing.estimator import on_parquet

META = {
    "ColumnTransformer", "FeatureUnion", "FixedThresholdClassifier", "FrozenEstimator", "GridSearchCV",
    "HalvingGridSearchCV", "HalvingRandomSearchCV", "Hyperband", "PartialFits", "Pipeline", "RFE", "RFECV",
    "RandomizedSearchCV", "SelectFromModel", "TransformedTargetRegressor",
}  # fmt: skip
"""What is made of other estimators; those are checked."""
TEXTS = {"CountVectorizer", "FeatureHasher", "HashingVectorizer", "TfidfVectorizer"}
"""They take texts or mappings, and scikit-learn's checks give tables."""
LABELS = {"LabelBinarizer", "LabelEncoder", "MultiLabelBinarizer"}
"""They take y alone; scikit-learn has no checks for them."""


SEVERAL = {"MultiTaskElasticNet", "MultiTaskElasticNetCV", "MultiTaskLasso", "MultiTaskLassoCV"}
"""They want several targets, and scikit-learn's checks give one."""

SETTINGS = {"LogisticRegressionCV": {"cv": 3}}
"""As scikit-learn sets its own for these checks, whose smallest data have three rows of a class."""

CONSTANT_TARGET = "One row has a constant target, which fit refuses."
CLOSED_FORM = "A closed form counts no iterations; scikit-learn leaves its own class out of this check, too."
BY_PLACE = "What is drawn, or the order that counts, goes by the rows' places: other rows are other places."
UNREAD = "Nothing is learned from the rows, so fit does not read them; transform refuses such values."
IN_ORDER = "Rows are taken in their order, unshuffled, and the check's classes come one after the other."
FEW_ROWS = "The error names the rows and the parameter in words of its own."
WEIGHTS = ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data")
EXPECTED: dict[str, dict[str, str]] = {
    **{
        name: dict.fromkeys(WEIGHTS, BY_PLACE)
        for name in (
            "BisectingKMeans", "KMeans", "MiniBatchKMeans", "Perceptron", "RandomForestClassifier",
            "RandomForestRegressor", "SGDClassifier", "SGDRegressor",
        )
    },
    "AdditiveChi2Sampler": dict.fromkeys(
        ("check_estimators_nan_inf", "check_fit_non_negative", "check_positive_only_tag_during_fit"), UNREAD
    ),
    "Binarizer": {"check_estimators_nan_inf": UNREAD},
    "GaussianMixture": {"check_fit2d_1sample": FEW_ROWS},
    "Normalizer": {"check_estimators_nan_inf": UNREAD},
    "PassiveAggressiveClassifier": {"check_class_weight_classifiers": IN_ORDER},
    "PolynomialCountSketch": {"check_estimators_nan_inf": UNREAD},
    "PolynomialFeatures": {"check_estimators_nan_inf": UNREAD},
    "RBFSampler": {"check_estimators_nan_inf": UNREAD},
    "Ridge": {"check_non_transformer_estimators_n_iter": CLOSED_FORM},
    "RidgeClassifier": {"check_non_transformer_estimators_n_iter": CLOSED_FORM},
    "SkewedChi2Sampler": {"check_estimators_nan_inf": UNREAD},
}  # fmt: skip
"""Checks that must fail, with the reason; one that passes after all is an error."""


def estimators() -> list[Any]:
    kinds = sorted(registry.entries(), key=lambda kind: kind.__name__)
    # Those of other packages do not pass all of these checks by themselves.
    own = [kind for kind in kinds if kind.__module__.startswith("sklearn.")]
    chosen = [kind for kind in own if kind.__name__ not in META | TEXTS | LABELS | SEVERAL]
    return [on_parquet(kind(**SETTINGS.get(kind.__name__, {}))) for kind in chosen]


def expected(estimator: Any) -> dict[str, str]:
    found = EXPECTED.get(type(estimator).__name__, {})
    return {**found, "check_fit2d_1sample": CONSTANT_TARGET} if is_regressor(estimator) else found


@parametrize_with_checks(estimators(), expected_failed_checks=expected, xfail_strict=True)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
