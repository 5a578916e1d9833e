"""The rows that a classifier gets wrong: how many, and those of which it was surest."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.dataset import Dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter
from parquetry.fit_checks import check_picklable, make_view
from parquetry.fitting import run_pass
from parquetry.reduction import Reduction
from parquetry.scoring import model_features
from parquetry.through import apply
from parquetry.view import Batch

if TYPE_CHECKING:
    from parquetry.engine import Engine

Kind = tuple[Any, Any]
"""The true class, and the one that was predicted."""


@dataclass(frozen=True)
class Mistake:
    """A row that was predicted wrongly.

    Attributes
    ----------
    sure : float
        The probability that the model gave to its own, wrong class; 1.0 where it gives none.
    block, row : int
        The row's place: the block's number, and the row's in it.
    values : tuple
        What the columns that were asked for hold.
    """

    sure: float
    block: int
    row: int
    values: tuple[Any, ...]


@dataclass
class Mistakes:
    """The mistakes of one kind.

    Attributes
    ----------
    count : int
    worst : list of Mistake
        Those of which the model was surest, at most as many as were asked for.
    """

    count: int
    worst: list[Mistake]


def worst_mistakes(
    model: Any,
    data: Dataset | str | os.PathLike[str],
    *,
    target: str,
    columns: Sequence[str],
    most: int = 20,
    features: Sequence[str] | None = None,
    engine: Engine | str | None = None,
) -> dict[Kind, Mistakes]:
    """The rows that a classifier predicts wrongly, by their true and their predicted class, in one pass.

    Parameters
    ----------
    model : fitted classifier
    data : Dataset, path or URL
    target : str
    columns : sequence of str
        Whose values are kept of each row.
    most : int, default 20
        How many rows of each kind are kept.
    features : sequence of str, default None
    engine : Engine or what ``open_engine`` takes, default None

    Returns
    -------
    dict of (truth, predicted) to Mistakes
        In order of the classes; a kind of which there is none is left out.
    """
    if most < 0:
        raise BadParameter(f"most={most} is not a number of rows.", fix="Pass 0 or more.")
    view = make_view(data, target=target, features=model_features(model, features))
    view.dataset.require_rows()
    view.dataset.require(columns, "shown column")
    check_picklable(model)
    # Read beside the target, and otherwise left alone.
    seen = replace(view, target=(target, *(c for c in columns if c != target)))
    with borrowed_engine(engine) as running:
        (found,) = run_pass(running, [(WorstMistakes(model, target, tuple(columns), most), seen)], label="mistakes")
    order = {label: i for i, label in enumerate(np.asarray(model.classes_).tolist())}
    return dict(sorted(found.items(), key=lambda item: tuple(order.get(label, len(order)) for label in item[0])))


class WorstMistakes(Reduction[dict[Kind, Mistakes], dict[Kind, Mistakes]]):
    """Counts mistakes by kind, and keeps a few rows of each.

    Parameters
    ----------
    model : fitted classifier
    target : str
    columns : tuple of str
    most : int
    """

    label = "mistakes"

    def __init__(self, model: Any, target: str, columns: tuple[str, ...], most: int) -> None:
        self.model, self.target, self.columns, self.most = model, target, columns, most

    def partial(self, batch: Batch) -> dict[Kind, Mistakes]:
        truth = batch.table.column(self.target).to_pandas().to_numpy()
        guess = np.asarray(apply(self.model, "predict", batch.X))
        wrong = np.flatnonzero(truth != guess)
        sure = self._sure(batch, guess)
        values = batch.table.select(list(self.columns)).take(wrong).to_pydict()
        found: dict[Kind, Mistakes] = {}
        for i, row in enumerate(wrong.tolist()):
            shown = tuple(values[c][i] for c in self.columns)
            mistake = Mistake(float(sure[row]), batch.block.index, int(batch.rows[row]), shown)
            kind = (truth[row : row + 1].tolist()[0], guess[row : row + 1].tolist()[0])
            held = found.setdefault(kind, Mistakes(0, []))
            held.count += 1
            held.worst.append(mistake)
        return {kind: self._bounded(held) for kind, held in found.items()}

    def merge(self, left: dict[Kind, Mistakes], right: dict[Kind, Mistakes]) -> dict[Kind, Mistakes]:
        for kind, more in right.items():
            held = left.setdefault(kind, Mistakes(0, []))
            left[kind] = self._bounded(Mistakes(held.count + more.count, held.worst + more.worst))
        return left

    def _sure(self, batch: Batch, guess: Any) -> Any:
        if not hasattr(self.model, "predict_proba"):
            return np.ones(batch.num_rows)
        shares = np.asarray(apply(self.model, "predict_proba", batch.X))
        position = {label: i for i, label in enumerate(np.asarray(self.model.classes_).tolist())}
        return shares[np.arange(len(shares)), [position[label] for label in guess.tolist()]]

    def _bounded(self, held: Mistakes) -> Mistakes:
        ordered = sorted(held.worst, key=lambda m: (-m.sure, m.block, m.row))
        return Mistakes(held.count, ordered[: self.most])
