"""What an ingest counts: rows in, accepted and set aside; what is too much; and that all of it adds up."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field

from parquetry.commit import Part
from parquetry.errors import BadParameter, BadRows, EmptyDataset, RowsUnaccounted

_RECORDED = 1_000  # reasons that a log keeps


@dataclass(frozen=True)
class Limit:
    """How many bad rows are too many.

    Attributes
    ----------
    count, share : int and float, default None
    first : bool
        Whether the first bad row is told, as it is one too many.
    """

    count: int | None = None
    share: float | None = None
    first: bool = False

    @classmethod
    def of(cls, given: float | str | None, *, first: bool) -> Limit:
        """A limit from ``100``, ``0.01`` or ``"1%"``."""
        if given is None:
            return cls()
        text = str(given).strip()
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(%?)", text)
        if match is None or isinstance(given, bool):
            raise BadParameter(f"max_bad={given!r} is no limit.", fix="Pass a number of rows, or a share as '1%'.")
        value = float(match[1])
        if match[2] or not value.is_integer():
            share = value / 100 if match[2] else value
            if share > 1:
                raise BadParameter(f"max_bad={given!r} is more than all rows.", fix="Pass a share as '1%'.")
            return cls(None, share, first)
        return cls(int(value), None, first)

    def exceeded(self, bad: int, rows: int | None) -> bool:
        """Whether so many are too many; a share is judged when all rows are known."""
        if self.count is not None and bad > self.count:
            return True
        return self.share is not None and rows is not None and bad > self.share * rows


@dataclass
class Outcome:
    """What one task, or all of them, did."""

    rows_in: int = 0
    accepted: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    parts: list[Part] = field(default_factory=list)
    aside: list[Part] = field(default_factory=list)
    first: str | None = None
    keys: int = 0

    def counts(self) -> str:
        """The counts as JSON, for a table's log; the most frequent reasons first."""
        reasons = sorted(self.reasons.items(), key=lambda item: (-item[1], item[0]))[:_RECORDED]
        return json.dumps(
            {"rows_in": self.rows_in, "accepted": self.accepted, "rejected": self.rejected, "reasons": reasons}
        )

    def add(self, other: Outcome) -> None:
        """Take another's counts and parts."""
        self.rows_in += other.rows_in
        self.accepted += other.accepted
        self.rejected += other.rejected
        self.reasons.update(other.reasons)
        self.parts += other.parts
        self.aside += other.aside
        self.first = self.first or other.first
        self.keys += other.keys


def check_limit(limit: Limit, total: Outcome, rows: int | None) -> None:
    """Refuse more bad rows than are allowed; ``rows`` are all of them, None while they are not known.

    Raises
    ------
    BadRows
    """
    if not limit.exceeded(total.rejected, rows):
        return
    if limit.first:
        raise BadRows(
            f"{total.first}", fix="Mend the row or the contract, or set such rows aside with on_bad='quarantine'."
        )
    allowed = f"{limit.share:.4g} of all rows" if limit.share is not None else f"{limit.count:,} rows"
    common = "; ".join(f"{count:,} x {reason}" for reason, count in total.reasons.most_common(3))
    raise BadRows(
        f"{total.rejected:,} of {total.rows_in:,} rows break the contract; max_bad allows {allowed}.",
        why=f"{common}. The first: {total.first}",
        fix="Mend the source or the contract, or raise max_bad.",
    )


def reconcile(total: Outcome) -> None:
    """Refuse to commit rows that do not add up.

    Raises
    ------
    RowsUnaccounted, EmptyDataset
    """
    written = sum(p.rows for p in total.parts), sum(p.rows for p in total.aside)
    if total.rows_in != total.accepted + total.rejected or written != (total.accepted, total.rejected):
        raise RowsUnaccounted(
            f"{total.rows_in:,} rows in, but {total.accepted:,} accepted and {total.rejected:,} quarantined "
            f"({written[0]:,} and {written[1]:,} written).",
            why="Every row must be accounted for.",
            fix="Nothing was written. Please report it with the file.",
        )
    if not total.rows_in:
        raise EmptyDataset("The source has a header and no rows.", fix="Check the files.")
