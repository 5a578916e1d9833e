"""What a dashboard needs to answer its filters by itself: sums in cells, and sets of cells for what cannot be summed.

Sales add up over months, regions and categories; different customers do not: one who bought in two
regions is one. So each customer's set of cells is kept (equal sets once, with a count), and the page
counts the sets that meet a filter. No customer can be told from it, and its size is bounded; where
the bound does not hold, the figure is not to be had under a filter, and the page says so.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.errors import TooBigForDriver
from parquetry.foundation.sales import NAMES, PARTS, SUMS, write_summed

if TYPE_CHECKING:
    from parquetry.engine import Engine

OTHERS = "(all others)"
CELLS = 100_000
"""Most cells of period, weekday, region and category."""
PRODUCT_CELLS = 60_000
"""Most cells of product, month, region and category; fewer products are told apart where there are more."""
PRODUCTS = 2_000
"""Most products told apart."""
VISITS = 500_000
"""Most rows of customer (or order), month, region and category that the driver takes."""
ENTRIES = 150_000
"""Most entries in the page's sets of cells."""


@dataclass(frozen=True)
class Folded:
    """The names that are told apart; all others are one.

    Attributes
    ----------
    names : tuple of str
        From the largest sales down; :data:`OTHERS` comes last where there are others.
    whole : bool
        Whether there are no others.
    """

    names: tuple[str, ...]
    whole: bool

    @classmethod
    def of(cls, ranked: Dataset, name: str, most: int) -> Folded:
        """The ``most`` largest names of a table that :func:`parquetry.foundation.pareto.ranked_table` made."""
        found: list[str] = []
        for batch in ranked.select([name]).batches():
            found += batch.column(name).to_pylist()[: most - len(found)]
            if len(found) == most:
                break
        whole = ranked.num_rows <= most
        return cls(tuple(found) if whole else (*found, OTHERS), whole)

    def expression(self, name: str) -> Any:
        """The column with the others folded."""
        import narwhals as nw

        column = nw.col(name)
        kept = [n for n in self.names if n != OTHERS]
        folded = column if self.whole else nw.when(column.is_in(kept)).then(column).otherwise(nw.lit(OTHERS))
        return folded.alias(name)

    def codes(self, column: pa.ChunkedArray) -> np.ndarray:
        """Each value's position in ``names``."""
        at = {n: i for i, n in enumerate(self.names)}
        last = len(self.names) - 1
        encoded = column.combine_chunks().dictionary_encode()
        mapping = np.array([at.get(v, last) for v in encoded.dictionary.to_pylist()], np.int64)
        return mapping[encoded.indices.to_numpy(zero_copy_only=False)] if len(mapping) else np.zeros(0, np.int64)


@dataclass(frozen=True)
class Cube:
    """Everything that the page computes from, as lists of whole numbers; money is in ten-thousandths.

    Attributes
    ----------
    regions, categories, products : Folded
    cells : dict of str to ndarray
        ``month``, ``region``, ``category``: what a cell's number means.
    sums : dict of str to ndarray
        ``cell``, ``period``, ``weekday``, ``sales``, ``profit``, ``lines``.
    by_product : dict of str to ndarray
        ``product``, ``cell``, ``sales``.
    sets : dict of str to list of int, or None
        For ``customer`` and ``order``: count, size, cells, count, size, cells, …; None where too many.
    """

    regions: Folded
    categories: Folded
    products: Folded
    cells: dict[str, np.ndarray]
    sums: dict[str, np.ndarray]
    by_product: dict[str, np.ndarray]
    sets: dict[str, list[int] | None] = field(default_factory=dict)

    def totals(self, *, profit: bool) -> dict[str, float | int]:
        """Sales, profit where there is one (both in money), and lines."""
        sums = {name: int(self.sums[name].sum()) for name in SUMS}
        gained = {"profit": sums["profit"] / PARTS} if profit else {}
        return {"sales": sums["sales"] / PARTS, **gained, "lines": sums["lines"]}

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        arrays = [*self.cells.values(), *self.sums.values(), *self.by_product.values()]
        return sum(len(a) for a in arrays) + sum(len(s or []) for s in self.sets.values())


def sales_cube(
    engine: Engine,
    grouped: Dataset,
    ranked: dict[str, Dataset],
    to: str | os.PathLike[str],
    *,
    groups: int,
    visits: dict[str, Dataset],
) -> Cube:
    """Make the cube; its two tables are committed in the folder ``to``.

    Parameters
    ----------
    grouped : Dataset
        What :func:`parquetry.foundation.sales.grouped_sales` gives.
    ranked : dict
        The tables by ``region``, ``category`` and ``product``, the largest sales first.
    groups : int
        How many regions, and how many categories, are told apart.
    visits : dict
        For ``customer`` and ``order``, where there are such.

    Raises
    ------
    TooBigForDriver
        More than :data:`CELLS` cells.
    """
    folder = os.fspath(to)
    regions, categories = (Folded.of(ranked[name], name, groups) for name in NAMES[:2])
    folded = engine.scan(grouped).with_columns(regions.expression("region"), categories.expression("category"))
    keys = ["month", "period", "weekday", "region", "category"]
    cube = write_summed(engine, folded, keys, f"{folder}/cube")
    if cube.num_rows > CELLS:
        raise TooBigForDriver(
            f"The dashboard's cube would have {cube.num_rows:,} cells; {CELLS:,} are allowed.",
            why=f"{len(regions.names)} regions and {len(categories.names)} categories are told apart in each period.",
            fix="Lower --groups, take a coarser --grain, or take fewer years.",
        )
    products, by_product = _product_cells(engine, folded, ranked["product"], f"{folder}/product_cube")
    table = _read(cube)
    number, cells = _numbered(table, regions, categories)
    sums = {"cell": number[1], **{n: table.column(n).to_numpy() for n in ("period", "weekday", *SUMS)}}
    mapping = number[0]
    fine = _read(by_product)
    found = {
        "product": products.codes(fine.column("product")),
        "cell": _cell_of(fine, regions, categories, mapping),
        "sales": fine.column("sales").to_numpy(),
    }
    sets = {role: _sets(each, regions, categories, mapping) for role, each in visits.items()}
    return Cube(regions, categories, products, cells, sums, found, sets)


def _product_cells(engine: Engine, folded: Any, ranked: Dataset, to: str) -> tuple[Folded, Dataset]:
    """As many products as the bounds allow."""
    most = PRODUCTS
    while True:
        products = Folded.of(ranked, "product", most)
        frame = folded.with_columns(products.expression("product"))
        found = write_summed(engine, frame, ["product", "month", "region", "category"], to, mode="overwrite")
        if found.num_rows <= PRODUCT_CELLS or most == 1:
            return products, found
        # Cells are about in proportion to products; a little below, so that one more try mostly does.
        most = max(1, min(most // 2, len(products.names), int(0.8 * most * PRODUCT_CELLS / found.num_rows)))


Keys = dict[tuple[int, int, int], int]


def _numbered(
    table: pa.Table, regions: Folded, categories: Folded
) -> tuple[tuple[Keys, np.ndarray], dict[str, np.ndarray]]:
    """Numbers for the cells: by what they are, and for each row of the table; and what they are by number."""
    rows = _rows(table, regions, categories)
    different, inverse = np.unique(rows, axis=0, return_inverse=True)
    mapping = {(m, r, c): i for i, (m, r, c) in enumerate(different.tolist())}
    cells = dict(zip(("month", "region", "category"), different.T, strict=True))
    return (mapping, inverse.reshape(-1)), cells


def _rows(table: pa.Table, regions: Folded, categories: Folded) -> np.ndarray:
    month = table.column("month").to_numpy()
    return np.column_stack([month, regions.codes(table.column("region")), categories.codes(table.column("category"))])


def _cell_of(table: pa.Table, regions: Folded, categories: Folded, mapping: Keys) -> np.ndarray:
    rows = _rows(table, regions, categories).tolist()
    return np.array([mapping[m, r, c] for m, r, c in rows], np.int64)


def _sets(visits: Dataset, regions: Folded, categories: Folded, mapping: Keys) -> list[int] | None:
    """Equal sets of cells, counted, in one order; None where there are too many."""
    if visits.num_rows > VISITS:
        return None
    table = _read(visits)
    cell = _cell_of(table, regions, categories, mapping)
    who = table.column("who").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
    different = np.unique(np.column_stack([who, cell]), axis=0)
    edges = np.flatnonzero(np.diff(different[:, 0])) + 1
    counted = Counter(tuple(part.tolist()) for part in np.split(different[:, 1], edges) if len(part))
    if sum(len(cells) for cells in counted) > ENTRIES:
        return None
    return [n for cells, count in sorted(counted.items()) for n in (count, len(cells), *cells)]


def _read(dataset: Dataset) -> pa.Table:
    return pa.concat_tables([dataset.schema.empty_table(), *dataset.batches()])
