"""What of a model's scores is read at a glance, and what is drawn: curves belong in a file of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CURVES = ("roc_curve", "precision_recall_curve", "gains", "calibration")
"""The entries of a classifier's scores that hold many points."""
_WIDEST_MATRIX = 50


def split_curves(scores: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The scores without what is long, and what is long: curves, and a large confusion matrix.

    Those of several outputs are split one by one; the second dict is empty where nothing is long.
    """
    short: dict[str, Any] = {}
    long: dict[str, Any] = {}
    for name, value in scores.items():
        if name in CURVES or (name == "confusion_matrix" and value is not None and len(value) > _WIDEST_MATRIX):
            long[name] = value
        elif name == "per_output" and isinstance(value, Mapping):
            parts = {output: split_curves(part) for output, part in value.items()}
            short[name] = {output: part[0] for output, part in parts.items()}
            if any(part[1] for part in parts.values()):
                long[name] = {output: part[1] for output, part in parts.items()}
        else:
            short[name] = value
    return short, long


def class_table(scores: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The scores of each class as the columns and rows of a table."""
    each = scores["per_class"]
    names = list(next(iter(each.values())))
    return ["class", *(name.replace("_", " ") for name in names)], [
        [label, *(entry[name] for name in names)] for label, entry in each.items()
    ]
