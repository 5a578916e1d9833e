"""The profile's second read: what can be asked only once every column is known by itself.

Ranks, contingency tables and the target along each column; exact quantiles share the read.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np

from parquetry.fitting import Pass
from parquetry.foundation.cells import Order, even_edges, ranks
from parquetry.foundation.correlations import MOST_COLUMNS, Categories, Contingency, PairMoments, Ranked
from parquetry.foundation.profile_columns import ColumnState, Facts
from parquetry.foundation.profile_kinds import MEASURED, NUMBERS, TEXTS, Floats, Planned, moment_of, value_of
from parquetry.foundation.profile_results import Matrix, TargetColumn, TargetGroup, TargetView
from parquetry.foundation.target_view import Groups, Table, TargetTables, strength
from parquetry.view import FloatArray, View

MOST_CATEGORIES = 64
"""Distinct values of a column of texts up to which it is a category."""
MOST_CODES = 20
"""The same for integers."""
MOST_PAIRED = 64
"""Columns in the matrix of Cramér's V."""
BINS = 10
"""Bins of about equally many rows, along which a target is looked at; or so many frequent values."""


@dataclass(frozen=True)
class Relations:
    """What the second read has found."""

    spearman: Matrix | None = None
    cramers_v: Matrix | None = None
    target: TargetView | None = None


def correlated(columns: tuple[Planned, ...]) -> tuple[Planned, ...]:
    """The columns of the matrices of Pearson's and Spearman's correlation."""
    found = tuple(p for p in columns if p.kind in NUMBERS)[:MOST_COLUMNS]
    return found if len(found) > 1 else ()


def as_matrix(columns: tuple[Planned, ...], values: FloatArray, errors: tuple[float, ...] = ()) -> Matrix:
    """A matrix in the form of a result."""
    return Matrix(tuple(p.name for p in columns), tuple(map(tuple, values.tolist())), errors)


def relations(
    view: View, columns: tuple[Planned, ...], facts: Facts, orders: dict[str, Order], target: str | None
) -> Generator[list[Any], list[Any], Relations]:
    """Ask for what the columns' own facts allow, in one read; none where nothing can be asked."""
    states = {p.name: s for p, s in zip(columns, facts.columns, strict=True)}
    works: dict[str, Pass] = {}
    numeric = correlated(columns)
    ranked = tuple(ranks(orders[p.name]) for p in numeric)
    if numeric:
        works["spearman"] = Pass(PairMoments(Ranked(Floats(numeric), ranked)), view)
    paired = [c for p in columns if (c := _categories(p, states[p.name])) is not None][:MOST_PAIRED]
    if len(paired) > 1:
        works["cramers_v"] = Pass(Contingency(paired), view)
    tables = None if target is None else _target_tables(columns, states, orders, facts, target)
    if tables is not None:
        works["target"] = Pass(tables, view)
    if not works:
        return Relations()
    answers = yield list(works.values())
    found = dict(zip(works, answers, strict=True))
    errors = tuple(r.error for r in ranked)
    return Relations(
        as_matrix(numeric, found["spearman"], errors) if numeric else None,
        as_matrix(tuple(c.column for c in paired), found["cramers_v"]) if "cramers_v" in found else None,
        None if tables is None else _target_view(tables, found["target"], states),
    )


def _categories(planned: Planned, state: ColumnState) -> Categories | None:
    """A column as categories, where its values are few and all known."""
    most = {"text": MOST_CATEGORIES, "boolean": 2, "integer": MOST_CODES}.get(planned.kind, 0)
    frequent = state.frequent
    if frequent is None or not frequent.exact or not 2 <= len(frequent.keys) <= most:
        return None
    return Categories(planned, frequent.keys)


# --- the target -----------------------------------------------------------------------------
def _target_tables(
    columns: tuple[Planned, ...],
    states: dict[str, ColumnState],
    orders: dict[str, Order],
    facts: Facts,
    target: str,
) -> TargetTables | None:
    """The tables to count; None for a target without classes and without numbers."""
    planned = next(p for p in columns if p.name == target)
    classes = _categories(planned, states[target])
    if classes is None and planned.kind not in NUMBERS:
        return None
    groups = [_groups(p, states[p.name], orders.get(p.name)) for p in columns if p.name != target]
    measured = [p.name for p in columns if p.kind in MEASURED]
    center = 0.0 if classes is not None else float(facts.shape.mean[measured.index(target)])
    kept = [g for g in groups if g is not None]
    return TargetTables(kept, classes or planned, center if np.isfinite(center) else 0.0) if kept else None


def _groups(planned: Planned, state: ColumnState, order: Order | None) -> Groups | None:
    frequent = state.frequent
    if frequent is None:
        return None
    if frequent.exact and len(frequent.keys) <= 2 * BINS:
        return Groups(planned, keys=frequent.keys)
    if order is not None:
        return Groups(planned, edges=even_edges(order, BINS))
    return Groups(planned, keys=np.sort(frequent.keys[frequent.most(BINS)]))


def _target_view(tables: TargetTables, found: list[Table], states: dict[str, ColumnState]) -> TargetView:
    target = tables.target
    classes = isinstance(target, Categories)
    names: tuple[Any, ...] = ()
    planned = target.column if isinstance(target, Categories) else target
    if isinstance(target, Categories):
        names = tuple(label_of(planned, states[planned.name], int(k)) for k in target.keys)
    columns = []
    for groups, table in zip(tables.groups, found, strict=True):
        labels = [*_labels(groups, states[groups.column.name]), "other values", "missing"]
        rows = table[:, :-1].sum(axis=1) if classes else table[:, 0]
        shown = tuple(
            _group(label, table[i], tables.center, classes=classes) for i, label in enumerate(labels) if rows[i]
        )
        whole = groups.keys is not None and not rows[len(groups)]
        determines = whole and _determined(table[: len(groups)], classes=classes)
        columns.append(TargetColumn(groups.column.name, shown, strength(table, classes=classes), determines))
    return TargetView(planned.name, names, tuple(columns))


def _group(label: str, row: FloatArray, center: float, *, classes: bool) -> TargetGroup:
    if classes:
        n = int(row[:-1].sum())
        return TargetGroup(label, n, shares=tuple((row[:-1] / n).tolist()))
    n, total, squares = int(row[0]), float(row[1]), float(row[2])
    rest = max(0.0, squares - total * total / n)
    return TargetGroup(label, n, center + total / n, float(np.sqrt(rest / (n - 1))) if n > 1 else float("nan"))


def _determined(table: Table, *, classes: bool) -> bool:
    """Whether every group has one value of the target, and they are not all the same."""
    if classes:
        there = table[:, :-1]
        there = there[there.sum(axis=1) > 0]
        single = ((there > 0).sum(axis=1) == 1).all()
        return bool(single and (there.sum(axis=0) > 0).sum() > 1 and len(there) < there.sum())
    rows = table[table[:, 0] > 0]
    if len(rows) < 2 or len(rows) >= rows[:, 0].sum():
        return False
    within = rows[:, 2] - rows[:, 1] ** 2 / rows[:, 0]
    spread = rows[:, 2].sum() - rows[:, 1].sum() ** 2 / rows[:, 0].sum()
    return bool(spread > 0 and within.sum() <= 1e-12 * spread)


def label_of(planned: Planned, state: ColumnState, key: int) -> Any:
    """What a key stands for: a text of its own column, or a value."""
    frequent = state.frequent
    if planned.kind in TEXTS and frequent is not None:
        return frequent.texts[int(np.searchsorted(frequent.keys, np.uint64(key)))].as_py()
    return value_of(planned, key)


def _labels(groups: Groups, state: ColumnState) -> list[str]:
    planned = groups.column
    if groups.keys is not None:
        return [str(label_of(planned, state, int(k))) for k in groups.keys]
    edges = [] if groups.edges is None else groups.edges.tolist()
    shown = [str(moment_of(planned, e)) if planned.kind == "time" else f"{e:.6g}" for e in edges]
    ends = [*([")"] * (len(shown) - 2)), "]"]
    return [f"[{a}, {b}{end}" for a, b, end in zip(shown, shown[1:], ends, strict=False)]
