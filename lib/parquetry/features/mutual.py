"""Mutual information of many rows, by bins: another estimate than scikit-learn's, and said so.

scikit-learn's own looks for each row's nearest neighbors among all rows (Kraskov, Stögbauer &
Grassberger 2004; Ross 2014), after it has added noise to every value. That needs all rows at once, so up
to 100,000 rows it is asked itself, on one worker that holds them. Beyond, each feature is cut at its exact quantiles
into 32 bins of as many rows (fewer where values repeat), a target of numbers likewise; the information
between bins, in nats, is counted over all rows, and what chance alone would give it (Miller 1955) is
taken off: ``(bins - 1) * (bins of the target - 1) / (2 * rows)``. Bins hide what happens within them, so the
estimate is mostly a little lower. Dependences are ranked alike; p-values there are none in either.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from parquetry.classical.refusals import require_memory
from parquetry.errors import WrongColumnType
from parquetry.features.surrogate import is_sparse
from parquetry.fitting import Fitting, Pass, together
from parquetry.foundation.positions import Finite, shown_names, targets
from parquetry.foundation.quantiles import exact_quantiles
from parquetry.reduction import Reduction
from parquetry.view import FloatArray, View

MOST_ROWS = 100_000
BINS = 32

IntArray = npt.NDArray[np.int64]


def why_gathered(view: View) -> str:
    """Why mutual information is asked of scikit-learn itself."""
    if view.dataset.num_rows <= MOST_ROWS:
        return f"Mutual information of up to {MOST_ROWS:,} rows is scikit-learn's own, by nearest neighbors."
    return "Mutual information with settings of one's own is scikit-learn's, by nearest neighbors of all rows."


def mutual_information(
    estimator: Any, view: View, fitting: Fitting, *, classes: int | None
) -> Generator[list[Any], list[Any], FloatArray]:
    """The information in nats that each feature has of the target, by bins; shape ``(n_features,)``.

    Parameters
    ----------
    estimator : object
        Named in errors.
    view : View
        Its target encoded where it is one of classes.
    fitting : Fitting
        Its report tells of the bins.
    classes : int or None
        None for a target of numbers.
    """
    who = type(estimator).__name__
    if is_sparse(view):
        raise WrongColumnType(
            f"{who}: mutual information of a sparse X is not distributed.",
            why=f"There are more than {MOST_ROWS:,} rows, or more than one worker holds.",
            fix="Score with chi2, or make X dense.",
        )
    require_memory(
        estimator,
        fitting,
        8 * view.width * BINS * (classes or BINS),
        f"{view.width:,} features in {BINS} bins",
        "Use fewer features or classes, or allow more with memory=.",
    )
    _tell(who, fitting)
    finite = Pass(Finite(who, shown_names(view)), view)
    yield [finite] if classes is not None else [finite, Pass(Finite(who, view.target, values=targets), view)]
    q = tuple(i / BINS for i in range(1, BINS))
    asked = [exact_quantiles(view, q=q)] + ([exact_quantiles(view, q=q, values=targets)] if classes is None else [])
    x, *y = yield from together(asked)
    y_edges = None if classes is not None else np.unique(y[0].lower[0])
    edges = [np.unique(lower) for lower in x.lower]
    (counts,) = yield [Pass(Contingency(edges, y_edges, classes or BINS), view)]
    return np.array([information(table) for table in counts])


def _tell(who: str, fitting: Fitting) -> None:
    fitting.report.why = (
        f"Mutual information is estimated by {BINS} bins of equal numbers of rows, not by nearest neighbors as in "
        f"scikit-learn, which gets up to {MOST_ROWS:,} rows, as far as one worker holds them."
    )
    warnings.warn(f"{who}: {fitting.report.why}", UserWarning, stacklevel=2)


class Contingency(Reduction[list[IntArray], list[IntArray]]):
    """How many rows are in each bin of each feature and of the target.

    Parameters
    ----------
    edges : sequence of ndarray
        Where each feature's bins end, the edge itself belonging to the lower one.
    y_edges : ndarray or None
        The same of the target; None where it is encoded as classes.
    width : int
        The most bins, or the classes, of the target.
    """

    label = "contingency"

    def __init__(self, edges: Sequence[FloatArray], y_edges: FloatArray | None, width: int) -> None:
        self.edges, self.y_edges, self.width = list(edges), y_edges, width

    def partial(self, batch: Any) -> list[IntArray]:
        y = np.asarray(batch.y_floats[0])
        codes = y.astype(np.int64) if self.y_edges is None else np.searchsorted(self.y_edges, y)
        found = []
        for column, edges in zip(batch.floats, self.edges, strict=True):
            places = np.searchsorted(edges, column) * self.width + codes
            counts = np.bincount(places, minlength=(len(edges) + 1) * self.width)
            found.append(counts.reshape(len(edges) + 1, self.width))
        return found

    def merge(self, left: list[IntArray], right: list[IntArray]) -> list[IntArray]:
        return [a + b for a, b in zip(left, right, strict=True)]


def information(table: IntArray) -> float:
    """Mutual information of a table of counts in nats, less its bias; not below zero."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    total = float(table.sum())
    there = table > 0
    expected = np.outer(rows, columns)[there] / total
    plain = float((table[there] * np.log(table[there] / expected)).sum()) / total
    bias = (np.count_nonzero(rows) - 1) * (np.count_nonzero(columns) - 1) / (2 * total)
    return max(0.0, plain - bias)
