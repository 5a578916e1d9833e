"""What a profile is: plain frozen dataclasses, and their form as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Distinct:
    """How many distinct values there are.

    Attributes
    ----------
    count : int
    exact : bool
    error : float
        Else the standard error, as a share of the count (HyperLogLog).
    """

    count: int
    exact: bool
    error: float


@dataclass(frozen=True)
class TopValue:
    """A frequent value: ``count`` is never too high, and too low by at most ``ColumnProfile.top_error``."""

    value: Any
    count: int


@dataclass(frozen=True)
class Bins:
    """A histogram of finite values: bins are closed on the left, the last one on both sides.

    Attributes
    ----------
    edges : tuple of float
        Whole multiples of a power of two, so that counts of any parts add up exactly.
    counts : tuple of int
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Quantiles:
    """Quantiles of the values that are not missing, infinities among them.

    Attributes
    ----------
    q : tuple of float
    values : tuple of float, or of str for times
        As ``numpy.quantile`` has them; times as ISO 8601, rounded to the type's own unit.
    errors : tuple of float
        What each may be wrong by, at most; 0 where it is exact. Of times in the type's own unit.
    """

    q: tuple[float, ...]
    values: tuple[Any, ...]
    errors: tuple[float, ...]


@dataclass(frozen=True)
class Outliers:
    """Values beyond 1.5 interquartile ranges from the quartiles (Tukey).

    Attributes
    ----------
    low, high : float
        The fences.
    count : int
    error : int
        What the count may be wrong by, at most; 0 where it is exact.
    """

    low: float
    high: float
    count: int
    error: int


@dataclass(frozen=True)
class Numbers:
    """Of a column of numbers or times (in the type's own unit since 1970); mean and what follows are of finite values.

    Attributes
    ----------
    mean, deviation, variance, skew, kurtosis : float
        As pandas has them: variance over ``n - 1``; skew and (excess) kurtosis adjusted.
    zeros, negatives : int
    infinities_below, infinities_above : int
    """

    mean: float
    deviation: float
    variance: float
    skew: float
    kurtosis: float
    zeros: int
    negatives: int
    infinities_below: int
    infinities_above: int


@dataclass(frozen=True)
class Lengths:
    """The least, the greatest and the mean length."""

    minimum: int
    maximum: int
    mean: float


@dataclass(frozen=True)
class Texts:
    r"""Of a column of texts, or of bytes (which have no characters).

    Attributes
    ----------
    bytes, characters : Lengths
        Bytes are those of UTF-8.
    empty, blank : int
        Of no characters; of white space alone.
    leading_space, trailing_space : int
        Others that begin or end with white space.
    invalid : int
        Texts with bytes that are no UTF-8; these are shown as ``\xff``.
    """

    bytes: Lengths
    characters: Lengths | None
    empty: int
    blank: int
    leading_space: int
    trailing_space: int
    invalid: int = 0


@dataclass(frozen=True)
class Alert:
    """Something to look at.

    Attributes
    ----------
    column : str
    what : str
        ``constant``, ``unique``, ``empty``, ``missing``, ``cardinality``, ``skewed``, ``outliers``, ``infinite``,
        ``zeros``, ``blanks``, ``encoding``, ``leak``, ``nested`` or ``duplicates`` (of no column).
    text : str
        A sentence.
    """

    column: str
    what: str
    text: str


@dataclass(frozen=True)
class ColumnProfile:
    """What is known of one column.

    Attributes
    ----------
    name, type, kind : str
    rows, count, missing, nulls, nans : int
        ``count`` values are there; ``missing`` is nulls and NaN together.
    distinct : Distinct or None
    minimum, maximum : object
        In the column's own terms: exact integers and decimals, ISO dates and times.
    top : tuple of TopValue
    top_error : int
        What a count in ``top`` may be too low by, at most (and so how frequent a value may be that is not there).
    numbers : Numbers or None
    texts : Texts or None
    histogram : Bins or None
    quantiles : Quantiles or None
    outliers : Outliers or None
    """

    name: str
    type: str
    kind: str
    rows: int
    count: int
    missing: int
    nulls: int
    nans: int
    distinct: Distinct | None = None
    minimum: Any = None
    maximum: Any = None
    top: tuple[TopValue, ...] = ()
    top_error: int = 0
    numbers: Numbers | None = None
    texts: Texts | None = None
    histogram: Bins | None = None
    quantiles: Quantiles | None = None
    outliers: Outliers | None = None


@dataclass(frozen=True)
class Matrix:
    """One number for each pair of columns, NaN where there is none.

    Attributes
    ----------
    columns : tuple of str
    values : tuple of tuples of float
    errors : tuple of float
        What each column's ranks are wrong by (root mean square, where values lie evenly inside the cells of
        its histogram), as a share of their deviation; a correlation of two columns is then wrong by no more than
        about the sum of both. 0 where they are exact.
    """

    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    errors: tuple[float, ...] = ()


@dataclass(frozen=True)
class TargetGroup:
    """The target over some rows.

    Attributes
    ----------
    label : str
        A value, a bin, ``"other values"`` or ``"missing"``.
    rows : int
        Rows with a target.
    mean, deviation : float or None
        Of a target of numbers.
    shares : tuple of float
        Of each class of another target.
    """

    label: str
    rows: int
    mean: float | None = None
    deviation: float | None = None
    shares: tuple[float, ...] = ()


@dataclass(frozen=True)
class TargetColumn:
    """The target along one column.

    Attributes
    ----------
    column : str
    groups : tuple of TargetGroup
    strength : float
        Cramér's V (classes) or the correlation ratio (numbers) of these groups.
    determines : bool
        Whether each value of the column goes with one value of the target only.
    """

    column: str
    groups: tuple[TargetGroup, ...]
    strength: float
    determines: bool


@dataclass(frozen=True)
class TargetView:
    """The target along every column.

    Attributes
    ----------
    target : str
    classes : tuple
        Its values where they are few; empty for a target of numbers.
    columns : tuple of TargetColumn
    """

    target: str
    classes: tuple[Any, ...]
    columns: tuple[TargetColumn, ...]


@dataclass(frozen=True)
class Profile:
    """What is known of a table.

    Attributes
    ----------
    rows : int
    columns : tuple of ColumnProfile
    duplicates : Distinct
        Rows that repeat an earlier one. Where it is not exact, ``error`` is a share of all rows.
    pearson, spearman, cramers_v : Matrix or None
    target : TargetView or None
    alerts : tuple of Alert
    notes : tuple of str
        What was left out or bounded.
    reads : int
        How often the data were read.
    data, engine, seconds
        Where it came from and how long it took; no part of the comparison of two profiles.
    """

    rows: int
    columns: tuple[ColumnProfile, ...]
    duplicates: Distinct
    pearson: Matrix | None = None
    spearman: Matrix | None = None
    cramers_v: Matrix | None = None
    target: TargetView | None = None
    alerts: tuple[Alert, ...] = ()
    notes: tuple[str, ...] = ()
    reads: int = 1
    data: str = field(default="", compare=False)
    engine: str = field(default="", compare=False)
    seconds: float = field(default=0.0, compare=False)

    def __getitem__(self, name: str) -> ColumnProfile:
        """A column's profile by name; KeyError where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        """All of it as what JSON knows: NaN becomes None, an infinity a text, a date ISO 8601."""
        found: dict[str, Any] = plain(self)
        return found

    def to_json(self) -> str:
        """The same as a text."""
        return json.dumps(self.to_dict(), allow_nan=False, ensure_ascii=False)


def plain(value: Any) -> Any:
    """A value as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value) if isinstance(value, Decimal) else value
