"""The work of an ingest: bundles of pieces read, judged and written by tasks, and all of it added up.

A task is one pure function of its bundle; the driver adds counts, looks for keys that come again, and
commits both tables or neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from parquetry.commit import CommittedWrite, Part, PartWriter
from parquetry.dataset import Dataset
from parquetry.errors import RowsUnaccounted
from parquetry.foundation.contract import Applied, Contract
from parquetry.foundation.ingest_counts import Limit, Outcome, check_limit, reconcile
from parquetry.foundation.quarantine import FolderWrite, remove_parts, writing
from parquetry.foundation.reasons import again, in_short, with_value
from parquetry.foundation.sources import REJECTS, Parsed, Piece, rejects
from parquetry.foundation.uniqueness import KeyFiles, hash_ranges, keep_present, keyed

if TYPE_CHECKING:
    from parquetry.engine import Engine


@dataclass(frozen=True)
class Work:
    """What is to be done, and by whom.

    Attributes
    ----------
    engine : Engine
    bundles : list of tuple of Piece
        A task each.
    contract : Contract
    limit : Limit
    present : Dataset or None
        The table that rows are added to, where its keys matter.
    """

    engine: Engine
    bundles: list[tuple[Piece, ...]]
    contract: Contract
    limit: Limit
    present: Dataset | None = None


class _AllGood(Exception):
    """No error: the way to leave a write that nothing came of."""

    def __init__(self, total: Outcome) -> None:
        self.total = total


def written(
    work: Work, schema: pa.Schema, accepted: CommittedWrite | FolderWrite, rejected: CommittedWrite | FolderWrite
) -> Outcome:
    """Write both tables: what is set aside appears first, so no accepted row is seen without it."""
    done: list[Outcome] = []

    def write(writer: PartWriter) -> list[Part]:
        def write_aside(aside: PartWriter) -> list[Part]:
            done.append(_run(work, writer, aside))
            if isinstance(accepted, CommittedWrite):
                accepted.require_unchanged()
                accepted.record["parquetry.counts"] = done[0].counts()
            if not done[0].rejected and getattr(rejected, "mode", "fail") != "overwrite":
                raise _AllGood(done[0])
            return done[0].aside

        try:
            with writing(rejected.folder):
                rejected.run(REJECTS, write_aside)
        except _AllGood as good:
            return good.total.parts
        return done[0].parts

    with writing(accepted.folder):
        accepted.run(schema, write)
    return done[0]


def _run(work: Work, writer: PartWriter, aside: PartWriter) -> Outcome:
    keys = KeyFiles(writer.filesystem, writer.folder, writer.token) if work.contract.keys else None
    # Measures and moments seldom repeat: looking for their distinct values takes a tenth of all time and saves nothing.
    measures = (pa.types.is_floating, pa.types.is_integer, pa.types.is_timestamp)
    coded = tuple(f.name for f in writer.schema if not any(check(f.type) for check in measures))
    writer = replace(writer, dictionary=coded)
    before = 0
    if keys is not None and work.present is not None:
        keys, before = keep_present(work.present, writer.schema, keys, work.contract.keys, work.engine)
    task = _IngestTask(work.contract, writer, aside, keys, stop=work.limit.first)
    outcomes: list[Outcome] = []
    total = Outcome()
    for outcome in work.engine.map(task, list(enumerate(work.bundles)), label="ingest") if work.bundles else ():
        outcomes.append(outcome)
        total.add(outcome)
        check_limit(work.limit, total, None)
    if keys is not None:
        total = _without_doubles(work, task, keys, outcomes, total.keys + before)
    check_limit(work.limit, total, total.rows_in)
    reconcile(total)
    return total


def _without_doubles(work: Work, task: _IngestTask, keys: KeyFiles, outcomes: list[Outcome], count: int) -> Outcome:
    """Find the rows whose key has been there before, and write their bundles anew without them."""
    ranges = hash_ranges(count, len(work.bundles))
    found = {b for bundles in work.engine.map(keys.find_doubles, ranges, label="ingest-unique") for b in bundles}
    again = replace(task, ranges=len(ranges))
    if found:
        items = [(i, work.bundles[i]) for i in sorted(found)]
        for (i, _), outcome in zip(items, work.engine.map(again, items, label="ingest-again"), strict=True):
            remove_parts(task.writer.filesystem, task.writer.folder, outcomes[i].parts)
            remove_parts(task.aside.filesystem, task.aside.folder, outcomes[i].aside)
            outcomes[i] = outcome
    keys.remove(len(work.bundles), len(ranges))
    total = Outcome()
    for outcome in outcomes:
        total.add(outcome)
    return total


@dataclass(frozen=True)
class _IngestTask:
    """Reads a bundle of pieces, and writes what is accepted and what is not."""

    contract: Contract
    writer: PartWriter
    aside: PartWriter
    keys: KeyFiles | None
    stop: bool
    ranges: int = 0

    def __call__(self, numbered: tuple[int, tuple[Piece, ...]]) -> Outcome:
        index, pieces = numbered
        outcome = Outcome()
        hashes: list[pa.Table] = []
        doubles = self.keys.doubles(index, self.ranges) if self.keys is not None and self.ranges else {}
        rejected = _Rejected(self.aside, index)
        with writing(self.writer.folder):
            outcome.parts = self.writer.write(index, self._accepted(pieces, outcome, rejected, hashes, doubles))
            outcome.aside = rejected.finish()
            if self.keys is not None and not self.ranges:
                outcome.keys = self.keys.write_keys(index, hashes)
        return outcome

    def _accepted(
        self,
        pieces: Sequence[Piece],
        outcome: Outcome,
        rejected: _Rejected,
        hashes: list[pa.Table],
        doubles: dict[int, int],
    ) -> Iterator[pa.Table]:
        first_row = 0
        for piece in pieces:
            for parsed in piece.read(self.contract):
                applied = self.contract.apply(parsed, piece.file)
                rows = applied.accepted.num_rows
                if self.keys is not None and not self.ranges:
                    hashes.append(keyed(applied.accepted, self.contract.keys, first_row))
                if doubles:
                    applied = _drop(applied, parsed, piece.file, first_row, doubles, self.contract.keys)
                first_row += rows
                _account(outcome, applied, parsed, piece.file)
                rejected.add(applied.rejected)
                if self.stop and outcome.first:
                    return
                yield applied.accepted


def _drop(
    applied: Applied,
    parsed: Parsed,
    file: str,
    first_row: int,
    doubles: dict[int, int],
    keys: Sequence[tuple[str, ...]],
) -> Applied:
    """The same without the rows whose key has been there before."""
    here = np.array(
        sorted(r for r in doubles if first_row <= r < first_row + applied.accepted.num_rows), dtype=np.int64
    )
    if not len(here):
        return applied
    at = applied.kept[here - first_row]
    values = applied.accepted.take(pa.array(here - first_row))
    told = [_again(keys[doubles[r]], values.slice(i, 1)) for i, r in enumerate(here.tolist())]
    rejected = pa.concat_tables([applied.rejected, rejects(file, parsed.lines(at), parsed.raw(at), told)])
    stay = np.ones(applied.accepted.num_rows, dtype=bool)
    stay[here - first_row] = False
    return Applied(applied.accepted.filter(pa.array(stay)), rejected.sort_by("row"), applied.kept[stay])


def _account(outcome: Outcome, applied: Applied, parsed: Parsed, file: str) -> None:
    accepted, rejected = applied.accepted.num_rows, applied.rejected.num_rows
    if accepted + rejected != parsed.rows_in:
        raise RowsUnaccounted(
            f"{file}: {parsed.rows_in:,} rows in, but {accepted:,} accepted and {rejected:,} rejected.",
            why="Every row must be accounted for.",
            fix="Nothing was written. Please report it with the file.",
        )
    outcome.rows_in += parsed.rows_in
    outcome.accepted += accepted
    outcome.rejected += rejected
    if rejected:
        outcome.reasons.update(in_short(r) for r in applied.rejected["reason"].to_pylist())
        if outcome.first is None:
            row = applied.rejected.slice(0, 1).to_pylist()[0]
            outcome.first = (
                f"{row['file']}, line {row['row']:,} cannot be taken: {row['reason']}. It reads {row['raw'][:80]!r}."
            )


def _again(names: tuple[str, ...], row: pa.Table) -> str:
    return with_value(again(names), *(row.column(name)[0].as_py() for name in names))


class _Rejected:
    """Rejected rows on their way into files: written in batches, so that many of them take no more memory."""

    def __init__(self, writer: PartWriter, index: int) -> None:
        self._writer, self._index = writer, index
        self._waiting: list[pa.Table] = []
        self._parts: list[Part] = []
        self._nbytes = 0

    def add(self, table: pa.Table) -> None:
        """Take some."""
        if table.num_rows:
            self._waiting.append(table)
            self._nbytes += table.nbytes
            if self._nbytes > 2**26:
                self._flush()

    def _flush(self) -> None:
        self._parts += self._writer.write(self._index, self._waiting)
        self._waiting, self._nbytes = [], 0

    def finish(self) -> list[Part]:
        """Write the rest; the parts."""
        self._flush()
        return self._parts
