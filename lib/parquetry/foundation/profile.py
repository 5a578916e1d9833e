"""Profile: know a table of any size, all columns at once, in one read or a few.

The first read gives everything about columns by themselves and Pearson's correlations. A second
one gives what can be asked only then: ranks, contingency tables, the target along each column;
exact quantiles share it, and need a few more.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, TooBigForDriver
from parquetry.fit_checks import make_view
from parquetry.fitting import Pass, drive, together
from parquetry.foundation import alerts, cells, distinct, grids
from parquetry.foundation.cells import Order
from parquetry.foundation.correlations import MOST_COLUMNS, PairMoments
from parquetry.foundation.profile_columns import ColumnFacts, ColumnState, Facts
from parquetry.foundation.profile_kinds import (
    MEASURED,
    NUMBERS,
    TEXTS,
    Floats,
    Planned,
    moment_of,
    plan,
    value_of_float,
)
from parquetry.foundation.profile_relations import MOST_PAIRED, Relations, as_matrix, correlated, label_of, relations
from parquetry.foundation.profile_results import (
    Bins,
    ColumnProfile,
    Distinct,
    Lengths,
    Numbers,
    Profile,
    Quantiles,
    Texts,
    TopValue,
)
from parquetry.foundation.quantiles import refine
from parquetry.foundation.radix import FirstHistogram, Histogram
from parquetry.view import View

if TYPE_CHECKING:
    from parquetry.engine import Engine

__all__ = ["Profile", "profile"]

Q = (0.05, 0.25, 0.5, 0.75, 0.95)
SHOWN_BINS = 64
SHOWN_VALUES = 10
_COLUMN_BYTES = 2**17  # of state, while two of them are merged
_WAYS = ("exact", "sketch", "none")


def profile(
    data: Dataset | str | os.PathLike[str],
    *,
    target: str | None = None,
    features: Sequence[str] | None = None,
    quantiles: str = "exact",
    engine: Engine | str | None = None,
    memory: str | int | None = None,
) -> Profile:
    """Everything that is worth knowing of a table before any model, from data of any size.

    Parameters
    ----------
    data : Dataset, path or URL
    target : str, default None
        A column along which all others are looked at, and which none should tell.
    features : sequence of str, default None
        The columns to profile; None for all. The target is profiled too.
    quantiles : {"exact", "sketch", "none"}, default "exact"
        ``"exact"``: 2 to 6 reads of the data, mostly 2 or 3. ``"sketch"``: 2 reads, each quantile with a bound.
        ``"none"``: 1 read, without quantiles, outliers, Spearman's correlation, Cramér's V and the target's view.
    engine : Engine or what ``open_engine`` takes, default None
        None is the local engine.
    memory : str or int, default None
        Most bytes that the profile's state may take; None is the engine's own bound.

    Returns
    -------
    Profile
        The same to the last bit on every engine. Exact but for what says its error: distinct values beyond
        2,047 of a column (HyperLogLog, 0.8 %), counts of frequent values then (Misra-Gries), and ranks of more
        values than are held, for Spearman's correlation.

    Raises
    ------
    EmptyDataset, UnknownColumn, BadParameter, TooBigForDriver
        Before any work is scheduled.

    Notes
    -----
    Missing values are nulls and NaN. Mean, variance, skew, kurtosis and correlations are of finite values; infinities
    are counted, and take part in extremes and quantiles; a quantile between an infinity and another value is NaN.
    Decimals are seen as float64, but for their extremes; whole numbers beyond 2**53 too, but for their extremes and
    their distinct and frequent values. So a quantile that is called exact is that of these float64.
    Spearman's correlation is exact where all finite values of both columns are held, each with its count (up to
    2,047 distinct ones a column). Beyond, rows of one cell of a column's histogram count as tied, and the error
    stated for a column is the root mean square of what its ranks are wrong by if the rest is spread evenly over
    each cell, over the ranks' deviation: what is to be expected, and no bound for the worst arrangement.
    """
    from parquetry.engine import borrowed_engine, parse_bytes

    started = time.perf_counter()
    if quantiles not in _WAYS:
        raise BadParameter(f"quantiles={quantiles!r} is not known.", fix=f"Pass one of {', '.join(map(repr, _WAYS))}.")
    view = _view(data, target, features)
    columns = plan(view.dataset.full_schema, view.features)
    with borrowed_engine(engine) as running:
        _check_size(columns, running.memory if memory is None else parse_bytes(memory))
        found: Profile = drive(_profiled(view, columns, target, quantiles), running, verb="profile")
        seconds = round(time.perf_counter() - started, 3)
        return replace(found, data=view.dataset.uri, engine=running.name, seconds=seconds)


def _view(data: Any, target: str | None, features: Sequence[str] | None) -> View:
    """All columns as features, in the table's order; every name checked."""
    if target is not None and not isinstance(target, str):
        raise BadParameter(f"target={target!r} is not one column.", fix="Name one.")
    given = make_view(data, target=None, features=features)
    if target is not None:
        given.dataset.require([target], "target column")
    given.dataset.require_rows()
    names = given.features if target in (None, *given.features) else (*given.features, str(target))
    return View(given.dataset, names)


def _check_size(columns: tuple[Planned, ...], memory: int) -> None:
    needed = len(columns) * _COLUMN_BYTES
    if needed > memory:
        raise TooBigForDriver(
            f"The profile of {len(columns):,} columns takes about {needed / 2**20:,.0f} MiB, "
            f"more than {memory / 2**20:,.0f} MiB.",
            why="What is known of each column is held in memory.",
            fix="Name fewer columns with features=, or raise memory=.",
        )


# --- the reads ------------------------------------------------------------------------------
def _profiled(
    view: View, columns: tuple[Planned, ...], target: str | None, way: str
) -> Generator[list[Any], list[Any], Profile]:
    reads = [1]
    numeric = correlated(columns)
    ordered = Floats(tuple(p for p in columns if p.kind in MEASURED and p.kind != "boolean"))
    works = [Pass(ColumnFacts(columns, view.dataset.num_rows), view)]
    works += [Pass(PairMoments(Floats(numeric)), view)] if numeric else []
    works += [Pass(FirstHistogram(ordered), view)] if way != "none" else []
    facts, *more = yield works
    pearson = as_matrix(numeric, more[0]) if numeric else None
    radix: list[Histogram] = more[-1] if way != "none" else []
    orders = _orders(columns, facts, dict(zip((p.name for p in ordered.columns), radix, strict=False)))
    related, known = Relations(), dict[str, Quantiles]()
    if way == "sketch":
        related = yield from _counted(relations(view, columns, facts, orders, target), reads)
        known = {p.name: cells.sketched(orders[p.name], Q) for p in ordered.columns}
    elif way == "exact":
        known_cells = [orders[p.name] for p in ordered.columns]
        search = refine(radix, view, q=Q, values=ordered, hint=lambda i, rank: cells.bracket(known_cells[i], i, rank))
        asking = [relations(view, columns, facts, orders, target), search]
        related, exact = yield from _counted(together(asking), reads)
        known = {
            p.name: Quantiles(Q, tuple(v.tolist()), (0.0,) * len(Q))
            for p, v in zip(ordered.columns, exact, strict=True)
        }
    seen = _columns(columns, facts, orders, known)
    duplicates = _duplicates(facts, columns)
    matrices = (pearson, related.spearman, related.cramers_v)
    found = alerts.alerts_of(seen, duplicates, facts.rows, target=target, view=related.target, matrices=matrices)
    notes = _notes(columns, related, way)
    return Profile(facts.rows, seen, duplicates, *matrices, related.target, found, notes, reads[0])


def _counted(asking: Generator[list[Any], list[Any], Any], reads: list[int]) -> Generator[list[Any], list[Any], Any]:
    """The same questions and answers; each is a read."""
    try:
        asked = next(asking)
        while True:
            reads[0] += 1
            asked = asking.send((yield asked))
    except StopIteration as stop:
        return stop.value


def _orders(columns: tuple[Planned, ...], facts: Facts, radix: dict[str, Histogram]) -> dict[str, Order]:
    measured = [(p, s) for p, s in zip(columns, facts.columns, strict=True) if p.kind in MEASURED]
    return {
        p.name: cells.order_of(p, s.frequent, s.grid, radix.get(p.name), int(counters[2]))
        for (p, s), counters in zip(measured, facts.counters, strict=True)
        if s.frequent is not None
    }


def _notes(columns: tuple[Planned, ...], related: Relations, way: str) -> tuple[str, ...]:
    numbers = sum(p.kind in NUMBERS for p in columns)
    nested = [p.name for p in columns if p.kind == "nested"]
    notes = []
    if nested:
        notes.append(f"Counted only, and left out of duplicates: {', '.join(nested)}.")
    if numbers > MOST_COLUMNS:
        notes.append(f"Correlations are those of the first {MOST_COLUMNS} of {numbers:,} columns of numbers.")
    if related.cramers_v is not None and len(related.cramers_v.columns) == MOST_PAIRED:
        notes.append(f"Cramér's V is that of the first {MOST_PAIRED} columns with few values.")
    if way == "none":
        notes.append("One read: no quantiles, outliers, Spearman's correlation, Cramér's V and target's view.")
    return tuple(notes)


# --- from states to results -----------------------------------------------------------------
def _columns(
    columns: tuple[Planned, ...], facts: Facts, orders: dict[str, Order], quantiles: dict[str, Quantiles]
) -> tuple[ColumnProfile, ...]:
    found, measured = [], _all_numbers(facts)
    for planned, state in zip(columns, facts.columns, strict=True):
        if planned.kind in MEASURED:
            order, known = orders[planned.name], quantiles.get(planned.name)
            found.append(_measured(planned, state, facts.rows, next(measured), order, known))
        else:
            found.append(_other(planned, state, facts.rows))
    return tuple(found)


def _other(planned: Planned, state: ColumnState, rows: int) -> ColumnProfile:
    count = rows - state.nulls
    base = ColumnProfile(planned.name, str(planned.type), planned.kind, rows, count, state.nulls, state.nulls, 0)
    if planned.kind not in TEXTS:
        return base
    texts = None
    if state.texts is not None:
        t = state.texts
        lengths = [Lengths(low, high, total / count) for low, high, total in (t.nbytes, t.characters)]
        characters = lengths[1] if planned.kind == "text" else None
        texts = Texts(lengths[0], characters, t.empty, t.blank, t.leading, t.trailing, t.invalid)
    return replace(base, distinct=_distinct(state, count), texts=texts, **_top(planned, state))


def _all_numbers(facts: Facts) -> Iterator[tuple[Numbers, int, tuple[float, float]]]:
    """Of each measured column: its moments and counts, how many values it lacks, and its extremes."""
    shape = facts.shape
    columns = (shape.mean, np.sqrt(shape.variance), shape.variance, shape.skew, shape.kurtosis)
    moments = np.stack(columns, axis=1).tolist()
    ends = zip(shape.base.minimum.tolist(), shape.base.maximum.tolist(), strict=True)
    counts = facts.counters[:, [1, 0, 2, 3]].tolist()  # zeros, negatives, infinities below and above
    missing = facts.counters[:, 4].tolist()
    for known, counted, gone, extremes in zip(moments, counts, missing, ends, strict=True):
        yield Numbers(*known, *counted), gone, extremes


def _measured(
    planned: Planned,
    state: ColumnState,
    rows: int,
    known: tuple[Numbers, int, tuple[float, float]],
    order: Order,
    quantiles: Quantiles | None,
) -> ColumnProfile:
    numbers, missing, extremes = known
    count = rows - missing
    outliers = None
    if quantiles is not None and count and planned.kind != "time":
        outliers = cells.outliers(order, quantiles.values[1], quantiles.values[3])
    nulls = state.nulls
    # Floats that are all held are told exactly; integers may be more than their floats.
    held = order if planned.kind in ("float", "decimal") and order.exact else None
    return ColumnProfile(
        name=planned.name,
        type=str(planned.type),
        kind=planned.kind,
        rows=rows,
        count=count,
        missing=missing,
        nulls=nulls,
        nans=missing - nulls,
        distinct=_distinct(state, count, held),
        **_extremes(planned, state, *extremes),
        **(_top(planned, state) if held is None else _held_top(planned, held)),
        numbers=numbers,
        histogram=_histogram(planned, state),
        quantiles=_dated(planned, quantiles) if count else None,
        outliers=outliers,
    )


def _extremes(planned: Planned, state: ColumnState, low: float, high: float) -> dict[str, Any]:
    if state.extremes is not None:
        least, most = state.extremes
        if planned.kind == "time":
            least, most = moment_of(planned, least), moment_of(planned, most)
        return {"minimum": least, "maximum": most}
    if low > high:
        return {}
    return (
        {"minimum": bool(low), "maximum": bool(high)}
        if planned.kind == "boolean"
        else {"minimum": low, "maximum": high}
    )


def _distinct(state: ColumnState, count: int, held: Order | None = None) -> Distinct | None:
    if held is not None and held.values is not None:
        return Distinct(len(held.values), exact=True, error=0.0)
    if state.frequent is None or state.registers is None:
        return None
    if state.frequent.exact:
        return Distinct(len(state.frequent.keys), exact=True, error=0.0)
    about = round(distinct.estimate(state.registers))
    # More than are held, and no more than there are values.
    return Distinct(
        min(max(about, len(state.frequent.keys)), count), exact=False, error=distinct.relative_error(state.registers)
    )


def _top(planned: Planned, state: ColumnState) -> dict[str, Any]:
    frequent = state.frequent
    if frequent is None:
        return {}
    places = [i for i in frequent.most(SHOWN_VALUES).tolist() if frequent.exact or frequent.counts[i] > frequent.lost]
    values = [label_of(planned, state, int(frequent.keys[i])) for i in places]
    top = tuple(TopValue(v, int(frequent.counts[i])) for v, i in zip(values, places, strict=True))
    return {"top": top, "top_error": frequent.lost}


def _held_top(planned: Planned, order: Order) -> dict[str, Any]:
    if order.values is None or order.counts is None:
        return {}
    places = np.lexsort((order.values, -order.counts))[:SHOWN_VALUES]
    values = [value_of_float(planned, float(order.values[i])) for i in places]
    return {"top": tuple(TopValue(v, int(order.counts[i])) for v, i in zip(values, places, strict=True))}


def _dated(planned: Planned, quantiles: Quantiles | None) -> Quantiles | None:
    """Quantiles of times as dates and times."""
    if planned.kind != "time" or quantiles is None:
        return quantiles
    return replace(quantiles, values=tuple(moment_of(planned, v) for v in quantiles.values))


def _histogram(planned: Planned, state: ColumnState) -> Bins | None:
    if state.grid is None or not len(state.grid.counts):
        return None
    finest = 0 if planned.kind in ("integer", "time") else -1000
    grid = grids.at_most(state.grid, SHOWN_BINS, finest=finest)
    edges = grid.edges
    if grid.low == grid.high:
        reach = max(0.5, abs(float(np.spacing(grid.low))))
        edges = np.array([grid.low - reach, grid.low + reach])
    return Bins(tuple(edges.tolist()), tuple(grid.counts.tolist()))


def _duplicates(facts: Facts, columns: tuple[Planned, ...]) -> Distinct:
    if all(p.kind == "nested" for p in columns):
        return Distinct(0, exact=False, error=1.0)  # no column is looked at
    if facts.row_hashes is not None:
        return Distinct(facts.rows - len(facts.row_hashes), exact=True, error=0.0)
    about = min(facts.rows, round(distinct.estimate(facts.row_registers)))
    return Distinct(facts.rows - about, exact=False, error=distinct.relative_error(facts.row_registers))
