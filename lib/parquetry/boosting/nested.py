"""Nested searches: each fold is scored by a search that has not seen it.

Source: Cawley & Talbot, "On over-fitting in model selection and subsequent selection bias in
performance evaluation", JMLR 11 (2010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.dataset import Dataset
from parquetry.fitting import fit
from parquetry.scoring import evaluate

if TYPE_CHECKING:
    from parquetry.engine import Engine

MEASURES = ("accuracy", "balanced_accuracy", "f1", "mcc", "roc_auc", "average_precision", "log_loss", "brier")


@dataclass(frozen=True, eq=False)
class Fold:
    """One fold of a nested search.

    Attributes
    ----------
    model : fitted search
        Of the other folds' rows.
    held_out : Dataset
        The fold's own rows.
    scores : dict
        What ``evaluate`` gives for them.
    """

    model: Any
    held_out: Dataset
    scores: dict[str, Any]

    @property
    def chosen(self) -> dict[str, Any]:
        """The parameters that the search has chosen, by their last name."""
        found = getattr(self.model, "best_params_", {})
        return {name.rpartition("__")[2]: value for name, value in found.items()}


def nested_folds(
    search: Any,
    data: Dataset,
    *,
    target: str,
    features: Sequence[str] | None = None,
    folds: int = 5,
    seed: int = 0,
    engine: Engine | None = None,
) -> list[Fold]:
    """Fit a search (or any estimator) without each fold in turn, and score it on that fold.

    Parameters
    ----------
    search : scikit-learn search or estimator
    data : Dataset
    target : str
    features : sequence of str, default None
    folds : int, default 5
        Dealt by row, the same rows on every engine.
    seed : int, default 0
    engine : Engine, default None
    """
    found = []
    for train, held_out in data.folds(folds, seed=seed):
        model = fit(search, train, target=target, features=features, engine=engine)
        found.append(Fold(model, held_out, evaluate(model, held_out, target=target, engine=engine)))
    return found


def over_folds(folds: Sequence[Fold]) -> dict[str, float]:
    """Each measure's mean over the folds, by their rows."""
    rows = [fold.scores["rows"] for fold in folds]
    told = [m for m in MEASURES if all(fold.scores.get(m) is not None for fold in folds)]
    means = {m: float(np.average([fold.scores[m] for fold in folds], weights=rows)) for m in told}
    return {"rows": float(sum(rows)), **means}
