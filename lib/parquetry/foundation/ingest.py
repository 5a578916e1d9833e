"""Ingest: any table in, a committed dataset out, and every row accounted for.

A source is cut into pieces by its content; each piece is read, checked against the contract and
written by one pure function; the driver adds up counts and commits. Rows in are rows accepted and
rows quarantined, or nothing is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from parquetry.commit import CommittedWrite
from parquetry.dataset import Dataset
from parquetry.engine import borrowed_engine
from parquetry.errors import BadParameter
from parquetry.foundation.contract import Contract, as_contract
from parquetry.foundation.inference import bundled, infer
from parquetry.foundation.ingest_counts import Limit
from parquetry.foundation.ingest_work import Work, written
from parquetry.foundation.quarantine import opened_output, output
from parquetry.foundation.sources import Piece, Source, open_source
from parquetry.foundation.ways import Rules

ON_BAD = ("quarantine", "fail")
_SHOWN = 10


@dataclass(frozen=True)
class Ingested:
    """What an ingest did.

    Attributes
    ----------
    rows_in, accepted, quarantined : int
        ``rows_in`` is ``accepted + quarantined``.
    files : int
    reasons : dict of str to int
        How many rows were quarantined for each, the most frequent first.
    contract : Contract
        The one that was applied, inferred or given.
    dataset : Dataset
    quarantine : Dataset or None
        The rejected rows: ``file``, ``row`` (its line, from 1), ``raw``, ``reason``; None where there are none.
    notes : tuple of str
        What was found out or assumed about the source, and what was not decided.
    """

    rows_in: int
    accepted: int
    quarantined: int
    files: int
    reasons: dict[str, int]
    contract: Contract
    dataset: Dataset
    quarantine: Dataset | None
    notes: tuple[str, ...] = ()

    def summary(self) -> dict[str, Any]:
        """It as plain values, for JSON."""
        return {
            "rows_in": self.rows_in,
            "accepted": self.accepted,
            "quarantined": self.quarantined,
            "files": self.files,
            "reasons": self.reasons,
            "notes": list(self.notes),
            "dataset": self.dataset.uri,
            "quarantine": self.quarantine.uri if self.quarantine is not None else None,
            "columns": {f.name: str(f.type) for f in self.dataset.schema},
        }

    def lines(self) -> list[str]:
        """It for people; the first line is the reconciliation."""
        total = (
            f"{self.rows_in:,} rows in = {self.accepted:,} accepted + {self.quarantined:,} quarantined, "
            f"from {self.files:,} {'file' if self.files == 1 else 'files'}"
        )
        out = [total]
        out += [f"  {count:>10,}  {reason}" for reason, count in list(self.reasons.items())[:_SHOWN]]
        if len(self.reasons) > _SHOWN:
            out.append(f"  and {len(self.reasons) - _SHOWN:,} more reasons")
        return out


def ingest(
    source: str | os.PathLike[str] | Source,
    to: str | os.PathLike[str],
    *,
    contract: Contract | dict[str, Any] | str | os.PathLike[str] | None = None,
    engine: Any = None,
    on_bad: str = "quarantine",
    max_bad: float | str | None = None,
    format: str = "delta",  # noqa: A002 (as everywhere else)
    mode: str = "fail",
    quarantine: str | os.PathLike[str] | None = None,
    decimal: str | None = None,
    run_id: str | None = None,
    **options: Any,
) -> Ingested:
    """Bring a table in.

    Parameters
    ----------
    source : path, URL or Source
        See :func:`parquetry.foundation.sources.open_source`.
    to : path or URL
        Where the dataset goes.
    contract : Contract, dict or path of YAML, default None
        What the rows must be; None to infer it from all values.
    engine : Engine, name or address, default None
        None for the local engine.
    on_bad : {"quarantine", "fail"}, default "quarantine"
        What becomes of a row that breaks the contract, or cannot be read.
    max_bad : int, float or str, default None
        The most rows that may be quarantined: a number, or a share as ``"1%"``.
    format : {"delta", "parquet"}, default "delta"
    mode : {"fail", "append", "overwrite"}, default "fail"
        What becomes of a table that is there; ``"append"`` is for Delta only. Keys that must be unique are
        then compared with those of the rows that are there when the ingest begins, which stay as they are; where
        another write is committed before this one ends, it is refused (``WriteConflict``). Without such keys, two
        ingests that append at once both do.
    quarantine : path or URL, default None
        Where rejected rows go; None for ``to`` with ``-quarantine`` behind it.
    decimal : {".", ","}, default None
        The decimal mark of numbers, where they do not show it.
    run_id : str, default None
        With ``mode="append"``, a name for this ingest: run again under it, as a scheduler does after a lost
        connection, it gives what the first one told and adds no row.
    **options
        Of the source: ``delimiter``, ``quote``, ``escape``, ``header``, ``encoding``, ``names``,
        ``longest`` and ``expansion`` of text tables, ``sheet`` of workbooks, ``table`` of databases.

    Returns
    -------
    Ingested

    Raises
    ------
    BadRows
        With ``on_bad="fail"`` for the first bad row, else for more than ``max_bad``.
    EmptyDataset, SchemaDrift, MalformedText, BadParameter, BadConfig, OutputExists, OutputNotWritable, …
        Nothing is written then.
    """
    if on_bad not in ON_BAD:
        raise BadParameter(f"on_bad={on_bad!r} is not known.", fix="Use 'quarantine' or 'fail'.")
    limit = Limit.of(0 if on_bad == "fail" else max_bad, first=on_bad == "fail")
    given = as_contract(contract)
    aside = os.fspath(quarantine) if quarantine is not None else f"{os.fspath(to).rstrip('/')}-quarantine"
    accepted, rejected = output(to, format, mode, run_id), output(aside, format, mode, run_id)
    if isinstance(accepted, CommittedWrite) and (before := accepted.recorded) is not None:
        return _told_before(before, to, aside)
    with borrowed_engine(engine) as chosen:
        opened = open_source(source, engine=chosen, **options) if isinstance(source, str | os.PathLike) else source
        if given is not None:
            given.arrow_schema(opened.schema)
        pieces = opened.pieces(chosen)
        agreed = given or infer(opened, pieces, chosen, Rules(decimal=decimal))
        present = None
        if isinstance(accepted, CommittedWrite) and mode == "append":
            accepted = CommittedWrite(to, mode, run_id=run_id, alone=bool(agreed.keys))
            accepted.record = _record(agreed, len(opened.files), (*opened.notes, *agreed.notes))
            present = opened_output(to) if agreed.keys and accepted.exists else None
        work = Work(chosen, list(bundled(pieces)), agreed, limit, present)
        total = written(work, agreed.arrow_schema(opened.schema), accepted, rejected)
    aside_set = opened_output(aside) if total.rejected else None
    reasons = dict(sorted(total.reasons.items(), key=lambda item: (-item[1], item[0])))
    return Ingested(
        total.rows_in, total.accepted, total.rejected, len(opened.files), reasons, agreed,
        opened_output(to), aside_set, (*_latest_notes(opened, pieces), *agreed.notes),
    )  # fmt: skip


_RECORD, _COUNTS = "parquetry.ingest", "parquetry.counts"


def _record(contract: Contract, files: int, notes: tuple[str, ...]) -> dict[str, str]:
    """What a table's log keeps of an ingest beside its counts, which come when it ends."""
    return {_RECORD: json.dumps({"contract": contract.model_dump(mode="json"), "files": files, "notes": notes})}


def _told_before(record: dict[str, str], to: str | os.PathLike[str], aside: str) -> Ingested:
    """What the ingest told that has been committed under the same run id."""
    said, counts = json.loads(record[_RECORD]), json.loads(record[_COUNTS])
    return Ingested(
        rows_in=counts["rows_in"],
        accepted=counts["accepted"],
        quarantined=counts["rejected"],
        files=said["files"],
        reasons=dict(counts["reasons"]),
        contract=Contract.model_validate(said["contract"]),
        dataset=opened_output(to),
        quarantine=opened_output(aside) if counts["rejected"] else None,
        notes=("this run was committed before; nothing was added", *said["notes"]),
    )


def _latest_notes(source: Source, pieces: Sequence[Piece]) -> tuple[str, ...]:
    """The source's notes; a file's encoding may have been found out only when its pieces were cut."""
    first: dict[str, tuple[str, ...]] = {}
    for piece in pieces:
        text = getattr(piece, "text", None)
        if text is not None:
            first.setdefault(text.name, text.dialect.notes)
    later = [f"{name}: {note}" for name, notes in first.items() for note in notes if "after the beginning" in note]
    return (*source.notes, *later[:5])
