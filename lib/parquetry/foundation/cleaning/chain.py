"""Steps run over some rows, with every row and cell accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from parquetry.commit import common_schema, fitted
from parquetry.dataset import Block
from parquetry.errors import EmptyDataset, WrongColumnType
from parquetry.foundation.cleaning.keyed import row_numbers
from parquetry.foundation.cleaning.step import ROWS_A_BLOCK, Context, Learned, Step, called, step_errors
from parquetry.reduction import Reduction, merge_optional
from parquetry.relational_order import NumberedRows
from parquetry.view import Batch, View

Tally = Counter[tuple[str, str]]


@dataclass(frozen=True)
class Link:
    """A step with what it needs to work.

    Parameters
    ----------
    number : int
        Its place in the recipe, from 0.
    step : Step
    learned : dict
    patch : NumberedRows or None, default None
        What a keyed step has found.
    """

    number: int
    step: Step
    learned: Learned
    patch: NumberedRows | None = None


@dataclass
class Outcome:
    """Some rows after all steps.

    Attributes
    ----------
    table : pyarrow.Table
    numbers : ndarray of int64
        Of the rows that are left.
    dropped : list of (step's number, ndarray of int64)
        The positions, among the rows that came in, of those that each step has dropped.
    given : pyarrow.Table
        The rows as they came in.
    tallies : dict of int to Counter
        By step: ``("rows_in", "")``, ``("rows_dropped", "")``, ``("rows_touched", "")``, and
        ``("cells", column)`` and so on.
    """

    table: pa.Table
    numbers: npt.NDArray[np.int64]
    dropped: list[tuple[int, npt.NDArray[np.int64]]]
    given: pa.Table
    tallies: dict[int, Tally]


@dataclass(frozen=True)
class Chain:
    """Steps in order; small, and travels to the workers.

    Parameters
    ----------
    links : tuple of Link
    """

    links: tuple[Link, ...] = ()

    def __call__(self, table: pa.Table, block: Block, rows: npt.NDArray[np.int64]) -> Outcome:
        """Run the steps over rows of a block, given their positions in it."""
        given = table = _common(table, block)
        numbers, places = row_numbers(block, rows), np.arange(len(rows))
        dropped, tallies = [], {}
        for link in self.links:
            context = Context(link.learned, len(numbers), block, numbers, _part(link.patch, numbers))
            with step_errors(called(link.number, link.step.kind), block, context):
                table = link.step.apply(table, context)
            tally = context.counts
            tally["rows_in", ""] += len(numbers)
            keep = context.keep
            if keep is not None and not keep.all():
                dropped.append((link.number, places[~keep]))
                table, numbers, places = table.filter(pa.array(keep)), numbers[keep], places[keep]
                context.touched = context.touched[keep]
            tally["rows_dropped", ""] += context.num_rows - len(numbers)
            tally["rows_touched", ""] += int(np.count_nonzero(context.touched))
            tallies[link.number] = tally
        return Outcome(table, numbers, dropped, given, tallies)

    def schema_after(self, schema: pa.Schema) -> pa.Schema:
        """The schema that comes out."""
        schema = common_schema(schema)
        for link in self.links:
            schema = link.step.schema_after(schema, link.learned)
        return schema

    def needed(self, schema: pa.Schema, wanted: Iterable[str]) -> tuple[Chain, tuple[str, ...]]:
        """The links without which some columns would come out otherwise, and the columns to read.

        Parameters
        ----------
        schema : pyarrow.Schema
            Of what goes in.
        wanted : names of columns
        """
        columns, kept = set(wanted), []
        for link in reversed(self.links):
            touched = link.step.touches(schema)
            if touched is None:
                return self, tuple(schema.names)
            if link.step.drops or columns & set(touched):
                step = link.step.narrowed(columns)
                kept.append(replace(link, step=step))
                columns |= set(step.reads(schema))
        if not columns <= set(schema.names):
            # A step adds one of them: which, is not told.
            return self, tuple(schema.names)
        # Something must be read for the rows to be counted.
        chosen = tuple(n for n in schema.names if n in columns) or tuple(schema.names[:1])
        return Chain(tuple(reversed(kept))), chosen


def _common(table: pa.Table, block: Block) -> pa.Table:
    """The rows in types that every engine knows."""
    try:
        return fitted(table, common_schema(table.schema))
    except WrongColumnType as error:
        raise WrongColumnType(f"{block.where}: {error.fact}", why=error.why, fix=error.fix) from error


def _part(patch: NumberedRows | None, numbers: npt.NDArray[np.int64]) -> pa.Table | None:
    if patch is None or not len(numbers):
        return None
    return patch.between(int(numbers[0]), int(numbers[-1]))


class OfStep(Reduction[Any, Any]):
    """A reduction that a step has asked for: its errors name the step.

    Parameters
    ----------
    reduction : Reduction
    step : str
        As :func:`called` has it.
    """

    def __init__(self, reduction: Reduction[Any, Any], step: str) -> None:
        self.reduction, self.step = reduction, step

    def partial(self, batch: Batch) -> Any:
        with step_errors(self.step, batch.block):
            return self.reduction.partial(batch)

    def merge(self, left: Any, right: Any) -> Any:
        with step_errors(self.step):
            return self.reduction.merge(left, right)

    def finish(self, state: Any) -> Any:
        with step_errors(self.step):
            return self.reduction.finish(state)


class Behind(Reduction[list[Any], list[Any]]):
    """Several reductions over what a chain makes of the rows.

    Parameters
    ----------
    chain : Chain
    parts : sequence of (OfStep, View)
        The view says which columns of the chain's output are X.
    """

    label = "learn"

    def __init__(self, chain: Chain, parts: Sequence[tuple[OfStep, View]]) -> None:
        self.chain, self.parts = chain, tuple(parts)

    def partial(self, batch: Batch) -> list[Any]:
        found = self.chain(batch.table, batch.block, batch.rows)
        if not len(found.numbers):
            return [None] * len(self.parts)
        rows = found.numbers & (ROWS_A_BLOCK - 1)
        inner: dict[int, Batch] = {}
        return [
            r.partial(inner.setdefault(id(v), Batch(found.table.select(list(v.features)), rows, batch.block, v)))
            for r, v in self.parts
        ]

    def merge(self, left: list[Any], right: list[Any]) -> list[Any]:
        return [
            merge_optional(reduction.merge, a, b) for (reduction, _), a, b in zip(self.parts, left, right, strict=True)
        ]

    def finish(self, state: list[Any]) -> list[Any]:
        if any(s is None for s in state):
            raise EmptyDataset(
                f"{self.parts[0][0].step}: no row is left to learn from.",
                why="The steps before have dropped them all.",
                fix="Mend the recipe.",
            )
        return [reduction.finish(s) for (reduction, _), s in zip(self.parts, state, strict=True)]
