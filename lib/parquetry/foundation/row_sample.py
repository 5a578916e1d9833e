"""A stated sample of rows for a picture: bounded, drawn by hash, the same rows on every engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from parquetry.dataset import Dataset
from parquetry.engine import Engine
from parquetry.errors import BadParameter
from parquetry.fit_checks import make_view
from parquetry.fitting import run_pass
from parquetry.reduction import Reduction
from parquetry.view import Batch, FloatArray, float_column

MOST_ROWS = 5_000
"""Rows of a sample, at most: more could not be told apart in a picture."""


@dataclass(frozen=True)
class Sample:
    """Some rows.

    Attributes
    ----------
    values : ndarray of float64, shape (n_sample, n_columns)
        In the data's order; missing values are NaN.
    labels : tuple of str or None
        Of the column that names classes; empty without one.
    """

    values: FloatArray
    labels: tuple[str | None, ...] = ()


class _Rows(Reduction[Sample, Sample]):
    """The rows themselves, of a dataset that has been cut down to a sample."""

    label = "sample"

    def __init__(self, columns: Sequence[str], classes: str | None) -> None:
        self.columns, self.classes = tuple(columns), classes

    def partial(self, batch: Batch) -> Sample:
        values = np.column_stack([float_column(batch.table.column(name)) for name in self.columns])
        found = [] if self.classes is None else batch.table.column(self.classes).to_pylist()
        return Sample(values, tuple(None if v is None else str(v) for v in found))

    def merge(self, left: Sample, right: Sample) -> Sample:
        return Sample(np.vstack([left.values, right.values]), left.labels + right.labels)


def sample_rows(
    data: Dataset, columns: Sequence[str], *, rows: int, classes: str | None = None, seed: int = 0, engine: Engine
) -> Sample:
    """Some rows of columns of numbers, read by the workers.

    Parameters
    ----------
    data : Dataset
    columns : sequence of str
        Columns of numbers or booleans.
    rows : int
        How many, at most ``MOST_ROWS``; all where there are no more.
    classes : str, default None
        A column whose values name classes.
    seed : int, default 0
    engine : Engine
    """
    if rows > MOST_ROWS:
        raise BadParameter(f"A sample of {rows:,} rows is too large.", fix=f"Ask for at most {MOST_ROWS:,}.")
    wanted = list(dict.fromkeys([*columns, *([classes] if classes is not None else [])]))
    view = make_view(data.sample(rows, seed=seed), target=None, features=wanted)
    found: Sample = run_pass(engine, [(_Rows(columns, classes), view)], label="sample")[0]
    return found
