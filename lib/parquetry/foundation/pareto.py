"""Pareto and ABC: which few names make most of the sales.

Source: F. R. Dickie, "ABC inventory analysis shoots for dollars, not pennies", Factory Management
and Maintenance 109 (1951) 92-94.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter
from parquetry.foundation.sales import PARTS, write_summed

if TYPE_CHECKING:
    from parquetry.engine import Engine

CLASSES = ("A", "B", "C")


@dataclass(frozen=True)
class Ranked:
    """The names by their sales, with shares and classes; for ``write_sorted``.

    Parameters
    ----------
    name : str
        The column of the names.
    a, b : float
        A is what makes the first ``a`` of the sales, B what comes until ``b``, C the rest.
    """

    name: str
    a: float = 0.8
    b: float = 0.95

    def __call__(self, table: pa.Table) -> pa.Table:
        table = table.sort_by([("sales", "descending"), (self.name, "ascending")])
        sales = table.column("sales").to_numpy()
        share, running = shares(sales)
        kinds = abc_classes(sales, self.a, self.b)
        return pa.table(
            {
                "rank": pa.array(np.arange(1, len(sales) + 1), pa.int64()),
                self.name: table.column(self.name).cast(pa.string()),
                "sales": sales / PARTS,
                "profit": table.column("profit").to_numpy() / PARTS,
                "lines": table.column("lines").cast(pa.int64()),
                "share": share,
                "running_share": running,
                "class": pa.array(kinds, pa.string()),
            }
        )


def shares(sales: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each one's share of all sales above zero, and the running sum; what lost money has a share of zero.

    Parameters
    ----------
    sales : ndarray of int64
        From the largest down.
    """
    gains = np.maximum(sales, 0)
    total = int(gains.sum())
    if not total:
        return np.zeros(len(sales)), np.zeros(len(sales))
    return gains / total, np.cumsum(gains) / total


def abc_classes(sales: np.ndarray, a: float = 0.8, b: float = 0.95) -> list[str]:
    """The class of each: A until the running share *before* it reaches ``a``, B until ``b``, then C.

    So the one that takes the sum past a border still belongs to the class before it, and the
    largest is always an A. What has no sales above zero is a C.
    """
    if not 0 < a < b < 1:
        raise BadParameter(f"a={a} and b={b} are no borders of classes.", fix="Use 0 < a < b < 1.")
    share, running = shares(sales)
    before = running - share
    kinds = np.where(before < a - 1e-12, 0, np.where(before < b - 1e-12, 1, 2))
    kinds[sales <= 0] = 2
    return [CLASSES[k] for k in kinds]


def ranked_table(engine: Engine, grouped: Dataset, name: str, to: str | os.PathLike[str]) -> Dataset:
    """Sales by ``region``, ``category`` or ``product``, the largest first, committed.

    Returns
    -------
    Dataset
        ``rank``, the name, ``sales``, ``profit``, ``lines``, ``share``, ``running_share``, ``class``.

    Raises
    ------
    TooBigForOneNode
        The names do not fit one worker.
    """
    return write_summed(engine, grouped, [name], to, Ranked(name))


def abc_counts(ranked: Dataset) -> dict[str, int]:
    """How many names with sales above zero each class has, and under ``total`` their sales in ten-thousandths."""
    found = dict.fromkeys((*CLASSES, "total"), 0)
    for batch in ranked.select(["sales", "class"]).batches():
        sales, kinds = batch.column("sales").to_numpy(), np.array(batch.column("class").to_pylist())
        found["total"] += int(np.rint(np.maximum(sales, 0) * PARTS).sum())
        for kind in CLASSES:
            found[kind] += int(np.count_nonzero((kinds == kind) & (sales > 0)))
    return found
