"""What a table must be: names, types, missing marks, ranges, categories, uniqueness.

A contract is inferred from all values, printed, saved as YAML, edited by hand and applied again.
It is the only place where a text becomes a number or a date, so whatever was decided can be read.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

DTYPES = ("text", "int64", "float64", "bool", "date", "timestamp", "timestamp_utc")
"""What a column of text can become, beside ``decimal(precision, scale)``."""


class Column(BaseModel):
    """What one column must be.

    Attributes
    ----------
    name : str
        In the dataset.
    source : str, default None
        In the source, where it is another.
    dtype : str
        One of ``DTYPES``, ``decimal(P, S)``, or ``own``: the source's own type (of Parquet, Delta, SQL), as it is.
    nullable : bool, default True
    missing : list of str, default [""]
        Texts that stand for a missing value.
    min, max : default None
        Bounds, both allowed; dates as ISO text.
    categories : list, default None
        The only values allowed.
    unique : bool, default False
        Of rows with the same value the first is kept.
    date_format : str, default None
        ``strptime`` format of dates and timestamps that are not ISO 8601, as in ``%d/%m/%Y``.
    decimal : str, default "."
        The decimal mark.
    thousands : str, default ""
        The mark between groups of three digits.
    strip : list of str, default []
        What is taken off around numbers: currency signs, percent signs, units.
    true, false : list of str
        The words of a boolean; upper and lower case are the same.
    note : str, default None
        What was seen and not decided, for people.
    seen : dict, default {}
        What inference saw (least, greatest, missing, …); not checked.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    source: str | None = None
    dtype: str = "text"
    nullable: bool = True
    missing: list[str] = Field(default_factory=lambda: [""])
    min: Any = None
    max: Any = None
    categories: list[Any] | None = None
    unique: bool = False
    date_format: str | None = None
    decimal: Literal[".", ","] = "."
    thousands: str = ""
    strip: list[str] = Field(default_factory=list)
    true: list[str] = Field(default_factory=lambda: ["true"])
    false: list[str] = Field(default_factory=lambda: ["false"])
    note: str | None = None
    seen: dict[str, Any] = Field(default_factory=dict)


class Contract(BaseModel):
    """What a table must be.

    Attributes
    ----------
    columns : list of Column
    unique : list of list of str, default []
        Sets of columns that together tell every row from all others; the first row is kept.
    others : {"refuse", "drop"}, default "refuse"
        What becomes of columns of the source that are not in the contract.
    """

    model_config = ConfigDict(extra="forbid")

    columns: list[Column]
    unique: list[list[str]] = Field(default_factory=list)
    others: Literal["refuse", "drop"] = "refuse"
