"""What to use in the place of an estimator that one node cannot fit: its nearest relative that scales."""

from __future__ import annotations

from typing import Any

_FORESTS = "{0} or {1}, which scale, as do the boosted trees of XGBoost and LightGBM"
_KERNEL = "make_pipeline(Nystroem(), {0}()), which scales: a kernel needs every pair of rows, Nystroem a sample of them"
_IMPUTER = (
    "SimpleImputer(add_indicator=True), which scales: {0}, and whether that is worth it, a sample of the rows can tell"
)
_ADVICE = {
    "IterativeImputer": _IMPUTER.format("each round fits a model of every column on all others"),
    "KNNImputer": _IMPUTER.format("the nearest neighbors of a row may be any rows"),
    "SVC": _KERNEL.format("LinearSVC"),
    "NuSVC": _KERNEL.format("LinearSVC"),
    "SVR": _KERNEL.format("LinearSVR"),
    "NuSVR": _KERNEL.format("LinearSVR"),
    "CatBoostClassifier": "LGBMClassifier or XGBClassifier, whose trees grow in several processes",
    "CatBoostRegressor": "LGBMRegressor or XGBRegressor, whose trees grow in several processes",
    "CatBoostRanker": "LGBMRanker or XGBRanker, whose trees grow in several processes",
    "KernelRidge": _KERNEL.format("Ridge"),
    "HistGradientBoostingClassifier": _FORESTS.format("RandomForestClassifier", "ExtraTreesClassifier"),
    "HistGradientBoostingRegressor": _FORESTS.format("RandomForestRegressor", "ExtraTreesRegressor"),
    "GradientBoostingClassifier": _FORESTS.format("RandomForestClassifier", "ExtraTreesClassifier"),
    "GradientBoostingRegressor": _FORESTS.format("RandomForestRegressor", "ExtraTreesRegressor"),
}


def scaling_advice(estimator: Any) -> str:
    """The nearest relative that scales, as the end of a sentence; empty where none is known."""
    return next((_ADVICE[kind.__name__] for kind in type(estimator).__mro__ if kind.__name__ in _ADVICE), "")
