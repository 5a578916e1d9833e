"""clean: a recipe of steps over rows of any number, every row and cell accounted for.

What steps learn comes from Reductions, what they do is done to Arrow rows on the worker, and what
needs rows of one key together is found by the engine's own windows (:mod:`.cleaning.keyed`). So
rows keep their order, and are the same on every engine, to the last bit.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.commit import ROWS_A_GROUP, CommittedWrite, Part, PartWriter, common_schema, storable
from parquetry.dataset import Block, Dataset, open_dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter, ParquetryError, WrongColumnType
from parquetry.foundation.cleaning.chain import Chain, Outcome, Tally
from parquetry.foundation.cleaning.learning import prepare, scratch_folder
from parquetry.foundation.cleaning.recipe import Recipe
from parquetry.reduction import Bundle, bundles

if TYPE_CHECKING:
    from parquetry.engine import Engine

_FILES_A_BUNDLE = 10_000
_PLACE = ("file", "row_group", "row", "step")


@dataclass(frozen=True)
class Cleaned:
    """What :func:`clean` did.

    Attributes
    ----------
    dataset : Dataset
        The committed rows, in the order of the data.
    recipe : Recipe
        With what it has learned: ``recipe.save("learned.yaml")`` for new data.
    dropped : Dataset or None
        The rows that steps have dropped, as they came in, with ``dropped_file``, ``dropped_row_group``,
        ``dropped_row`` and ``dropped_step``; None where no step may drop any, or they were not wanted.
    rows_in, rows_out, rows_dropped : int
        The first is the sum of the others: checked before anything is committed.
    steps : list of dict
        For each step ``step``, ``rows_in``, ``rows_dropped``, ``rows_touched``, and by column
        ``cells`` (changed), ``failed`` (to convert, now missing), ``outliers``, ``unseen``
        (categories), where there are any.
    """

    dataset: Dataset
    recipe: Recipe
    dropped: Dataset | None
    rows_in: int
    rows_out: int
    rows_dropped: int
    steps: list[dict[str, Any]]

    def summary(self) -> dict[str, Any]:
        """The counts as plain numbers, lists and dicts."""
        counts = {"rows_in": self.rows_in, "rows_out": self.rows_out, "rows_dropped": self.rows_dropped}
        return {**counts, "steps": self.steps}


def clean(
    data: Dataset | str | os.PathLike[str],
    recipe: Recipe | str | os.PathLike[str] | Mapping[str, Any] | Sequence[Any],
    *,
    to: str | os.PathLike[str],
    engine: Engine | str | None = None,
    dropped: bool | str | os.PathLike[str] = True,
    mode: str = "fail",
) -> Cleaned:
    """Clean data by a recipe, and commit the rows as a table: whole or not at all.

    Parameters
    ----------
    data : Dataset, path or URL
    recipe : Recipe, path of a YAML file, mapping, or list of steps
        As ``[{"missing": {"columns": ["age"], "fill": "median"}}, "duplicates"]``. The steps are
        ``mark_missing``, ``missing``, ``outliers``, ``duplicates``, ``types``, ``numbers``,
        ``units``, ``text``, ``categories``, ``dates``, ``rename``, ``select``, ``drop`` and
        ``filter``; each is told in :mod:`parquetry.foundation.cleaning`. A recipe that was learned
        before is applied as it is: nothing is learned anew.
    to : path or URL
        Where the Delta table is written.
    engine : Engine or what ``open_engine`` takes, default None
        None is the local engine.
    dropped : bool, path or URL, default True
        Where dropped rows go: True is ``<to>.dropped``, False nowhere (they are counted only).
    mode : {"fail", "append", "overwrite"}, default "fail"

    Returns
    -------
    Cleaned

    Raises
    ------
    BadRecipe
        With everything that is wrong: unknown steps, parameters and columns, types that a step
        does not take, or a recipe learned on other columns. Before any work.
    WrongColumnType
        The rows that come out, or are dropped, have a type that no table can hold. Before any work.
    BadValue, DegenerateColumn, TooManyCategories, NonFiniteValues
        A value cannot be read as a step demands; nothing can be learned; a key is missing.
    TaskFailed
        A step has met what it was not made for. Every error of a step names it, by number and name.
    """
    dataset = data if isinstance(data, Dataset) else open_dataset(data)
    found, path = Recipe.of(recipe), os.fspath(to).rstrip("/")
    schema = found.check(common_schema(dataset.schema), dataset.uri)
    dataset.require_rows()
    if not any(step.learns and step.touches(schema) is None for step in found.steps):
        storable(schema)  # else it is learned which columns there will be
    output = CommittedWrite(path, mode)
    beside = _beside(path, dropped, found, dataset, mode)
    with borrowed_engine(engine) as running, scratch_folder(path, output.token) as scratch:
        learned, chain = prepare(found, dataset, running, scratch)
        tallies = _write(dataset, chain, running, output, beside)
    steps = [_shown(i, step.kind, tallies[i]) for i, step in enumerate(learned.steps)]
    lost = sum(s["rows_dropped"] for s in steps)
    left_out = None if beside is None else open_dataset(beside.uri)
    return Cleaned(open_dataset(path), learned, left_out, dataset.num_rows, dataset.num_rows - lost, lost, steps)


def _beside(
    path: str, dropped: bool | str | os.PathLike[str], recipe: Recipe, dataset: Dataset, mode: str
) -> CommittedWrite | None:
    if dropped is False or not recipe.drops:
        return None
    place = f"{path}.dropped" if dropped is True else os.fspath(dropped).rstrip("/")
    if place == path:
        raise BadParameter("Dropped rows would go where the others go.", fix="Name another place with dropped=.")
    taken = [f"dropped_{p}" for p in _PLACE if f"dropped_{p}" in dataset.columns]
    if taken:
        raise BadParameter(
            f"Column {taken[0]!r} has the name of one that tells where a dropped row was.", fix="Rename it first."
        )
    try:
        storable(_dropped_schema(dataset))
    except WrongColumnType as error:
        raise WrongColumnType(
            f"Dropped rows are kept as they came in. {error.fact}", fix="Pass dropped=False (--no-dropped)."
        ) from error
    return CommittedWrite(place, mode)


def _write(
    dataset: Dataset, chain: Chain, engine: Engine, output: CommittedWrite, beside: CommittedWrite | None
) -> list[Tally]:
    """Write the rows and those that are dropped; commit these first, so that no row is ever in neither table."""
    tallies: list[Tally] = [Counter() for _ in chain.links]

    def run(writer: PartWriter, dropped: PartWriter | None) -> tuple[list[Part], list[Part]]:
        task = _CleanTask(dataset.reader(), chain, writer, dropped)
        parts: list[Part] = []
        lost: list[Part] = []
        for kept, left_out, counts in engine.map(
            task, list(enumerate(bundles(dataset, dataset.columns))), label="clean"
        ):
            parts, lost = parts + kept, lost + left_out
            for i, tally in counts.items():
                tallies[i].update(tally)
        _require_all(dataset, parts, lost, tallies, kept=dropped is not None)
        return parts, lost

    def write(writer: PartWriter) -> list[Part]:
        if beside is None:
            return run(writer, None)[0]
        found: list[list[Part]] = []

        def write_dropped(dropped: PartWriter) -> list[Part]:
            parts, lost = run(writer, dropped)
            found.append(parts)
            return lost

        beside.run(_dropped_schema(dataset), write_dropped)
        return found[0]

    new = beside is not None and not _is_there(beside)
    try:
        output.run(chain.schema_after(dataset.schema), write)
    except ParquetryError:
        if beside is not None and new:
            _remove(beside)
        raise
    return tallies


def _is_there(write: CommittedWrite) -> bool:
    return bool(write.filesystem.get_file_info(write.folder).type != pafs.FileType.NotFound)


def _remove(write: CommittedWrite) -> None:
    filesystem, folder = storage.resolve(write.uri)
    with suppress(OSError):
        filesystem.delete_dir(folder)


def _require_all(
    dataset: Dataset, parts: Sequence[Part], lost: Sequence[Part], tallies: Sequence[Tally], *, kept: bool
) -> None:
    """Every row is written or dropped by a step, and every dropped row that is kept is written."""
    dropped = sum(tally["rows_dropped", ""] for tally in tallies)
    out = sum(p.rows for p in parts)
    if out + dropped != dataset.num_rows or (kept and sum(p.rows for p in lost) != dropped):
        raise ParquetryError(
            f"{dataset.uri}: of {dataset.num_rows:,} rows {out:,} were written and {dropped:,} dropped.",
            why="Rows in must be rows out and rows dropped; nothing has been committed.",
            fix="The data may have changed while it was read: run it again.",
        )


@dataclass(frozen=True)
class _CleanTask:
    """Cleans the rows of a bundle; gives the files of those that stay and of those that do not, and the counts."""

    reader: Any
    chain: Chain
    writer: PartWriter
    dropped: PartWriter | None

    def __call__(self, numbered: tuple[int, Bundle]) -> tuple[list[Part], list[Part], dict[int, Tally]]:
        index, bundle = numbered
        lost = _Lost(self.dropped, index, [link.step.kind for link in self.chain.links])
        tallies: dict[int, Tally] = {link.number: Counter() for link in self.chain.links}

        def tables() -> Iterator[pa.Table]:
            for block in bundle:
                for table, rows in self.reader.read(block):
                    found = self.chain(table, block, rows)
                    for i, tally in found.tallies.items():
                        tallies[i].update(tally)
                    lost.take(found, block, rows)
                    yield found.table

        parts = self.writer.write(index, tables())
        lost.flush()
        return parts, lost.parts, tallies


class _Lost:
    """Dropped rows of one bundle, written when they are many and at the end."""

    def __init__(self, writer: PartWriter | None, index: int, kinds: Sequence[str]) -> None:
        self.writer, self.index, self.kinds = writer, index * _FILES_A_BUNDLE, list(kinds)
        self.parts: list[Part] = []
        self._waiting: list[pa.Table] = []

    def take(self, found: Outcome, block: Block, rows: Any) -> None:
        """The rows that a batch has lost, in their order."""
        if self.writer is None or not found.dropped:
            return
        pieces = []
        for number, places in found.dropped:
            table = found.given.take(pa.array(places))
            count, step = len(places), f"{number + 1} {self.kinds[number]}"
            columns = (
                pa.array([block.name] * count, pa.string()),
                pa.array([block.row_group] * count, pa.int64()),
                pa.array(rows[places], pa.int64()),
                pa.array([step] * count, pa.string()),
            )
            for name, column in zip(_PLACE, columns, strict=True):
                table = table.append_column(f"dropped_{name}", column)
            pieces.append(table)
        self._waiting.append(pa.concat_tables(pieces).sort_by("dropped_row"))
        if sum(t.num_rows for t in self._waiting) >= ROWS_A_GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.writer is not None and self._waiting:
            # Each time under a number of its own: the files' names keep the order.
            self.parts += self.writer.write(self.index, self._waiting)
            self.index += 1
            self._waiting = []


def _dropped_schema(dataset: Dataset) -> pa.Schema:
    kinds = (pa.string(), pa.int64(), pa.int64(), pa.string())
    extra = [pa.field(f"dropped_{name}", kind) for name, kind in zip(_PLACE, kinds, strict=True)]
    return pa.schema([*common_schema(dataset.schema), *extra])


def _shown(i: int, kind: str, tally: Tally) -> dict[str, Any]:
    """A step's counts as plain numbers."""
    shown: dict[str, Any] = {"step": f"{i + 1} {kind}"}
    for what in ("rows_in", "rows_dropped", "rows_touched"):
        shown[what] = tally[what, ""]
    for what in ("cells", "failed", "outliers", "unseen"):
        by_column = {column: n for (w, column), n in sorted(tally.items()) if w == what and n}
        if by_column:
            shown[what] = by_column
    return shown
