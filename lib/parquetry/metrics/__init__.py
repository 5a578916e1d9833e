"""Metrics of predictions, streaming and exact: what ``evaluate`` computes.

Definitions: https://scikit-learn.org/stable/modules/model_evaluation.html
"""

from parquetry.metrics.classification import evaluate_classifier
from parquetry.metrics.regression import evaluate_regressor

__all__ = ["evaluate_classifier", "evaluate_regressor"]
