"""What a table must be: names, types, missing marks, ranges, categories, uniqueness.

A contract is inferred from all values, printed, saved as YAML, edited by hand and applied again.
It is the only place where a text becomes a number or a date, so whatever was decided can be read.
"""

from __future__ import annotations

import datetime as dt
import os
import pathlib
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from parquetry.errors import BadConfig, BadParameter, DatasetNotFound, OutputNotWritable, SchemaDrift, did_you_mean
from parquetry.foundation import casting
from parquetry.foundation.reasons import Reasons, beyond, missing, no_category, unread
from parquetry.foundation.sources import REJECTS, Parsed, rejects

DTYPES = ("text", "int64", "float64", "bool", "date", "timestamp", "timestamp_utc")
"""What a column of text can become, beside ``decimal(precision, scale)``."""
_HEAD = """# What the table must be. Edit it and pass it again: rows that break it are set aside, with the reason.
# dtype: text, int64, float64, bool, date, timestamp, timestamp_utc, decimal(P, S), own (the source's own type).
# Of a column also: missing, nullable, min, max, categories, unique, date_format, decimal, thousands, strip.
# seen is what was found; it is not checked.
"""


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
        Of rows with the same value the first is kept; missing values are not compared.
    date_format : str, default None
        ``strptime`` format of dates and timestamps that are not ISO 8601, as in ``%d/%m/%Y``.
    decimal : {".", ","}, default "."
        The decimal mark.
    thousands : str, default ""
        The mark between groups of three digits.
    strip : list of str, default []
        What is taken off around numbers: currency signs, percent signs, units.
    true_words, false_words : list of str
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
    thousands: str = Field(default="", max_length=1)
    strip: list[str] = Field(default_factory=list)
    true_words: list[str] = Field(default_factory=lambda: ["true"])
    false_words: list[str] = Field(default_factory=lambda: ["false"])
    note: str | None = None
    seen: dict[str, Any] = Field(default_factory=dict)

    @field_validator("dtype")
    @classmethod
    def _known(cls, value: str) -> str:
        if value != "own" and casting.arrow_type(value) is None:
            raise ValueError(f"{value!r} is no dtype. {did_you_mean(value, [*DTYPES, 'decimal(18, 2)', 'own'])}")
        return value

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.thousands and self.thousands == self.decimal:
            raise ValueError(f"{self.name}: thousands and decimal are both {self.decimal!r}")
        if self.date_format is not None and self.dtype not in ("date", "timestamp", "timestamp_utc"):
            raise ValueError(f"{self.name}: a date_format is for a date or a timestamp; its dtype is {self.dtype}")
        for bound in (self.min, self.max, *(self.categories or ())):
            if bound is not None and self.dtype != "own":
                self.as_value(bound)
        return self

    @property
    def source_name(self) -> str:
        """Its name in the source."""
        return self.source if self.source is not None else self.name

    def arrow_type(self, own: pa.DataType) -> pa.DataType:
        """Its Arrow type, where the source's own is ``own``."""
        kind = casting.arrow_type(self.dtype)
        return own if kind is None else kind

    def as_value(self, value: Any) -> Any:
        """A bound or category, as a value of the column; ValueError where it is none."""
        try:
            if self.dtype == "date":
                return value if type(value) is dt.date else dt.date.fromisoformat(str(value))
            if self.dtype.startswith("timestamp"):
                return dt.datetime.fromisoformat(str(value))
            return pa.scalar(value, casting.arrow_type(self.dtype)).as_py()
        except (ValueError, TypeError, pa.ArrowException) as error:
            raise ValueError(f"{self.name}: {value!r} is no {self.dtype}") from error


@dataclass(frozen=True)
class Applied:
    """What a contract made of a batch.

    Attributes
    ----------
    accepted : pyarrow.Table
        With the contract's columns and types.
    rejected : pyarrow.Table
        With the schema ``sources.REJECTS``; what the reader itself rejected included.
    kept : array of int64
        The positions of the accepted rows in the batch.
    """

    accepted: pa.Table
    rejected: pa.Table
    kept: npt.NDArray[np.int64]


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

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        names = [c.name for c in self.columns]
        if not names:
            raise ValueError("a contract without columns")
        lowered = [n.lower() for n in names]
        twice = (
            next((n for n in names if lowered.count(n.lower()) > 1), None) if len(set(lowered)) < len(names) else None
        )
        if twice is not None:
            raise ValueError(f"the column {twice!r} stands there twice; upper and lower case are the same")
        for name in (n for key in self.unique for n in key):
            if name not in names:
                raise ValueError(f"unique names {name!r}, which is no column. {did_you_mean(name, names)}")
        return self

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The sets of columns that must be unique."""
        return list(dict.fromkeys([*((c.name,) for c in self.columns if c.unique), *map(tuple, self.unique)]))

    @property
    def notes(self) -> list[str]:
        """What was seen and not decided."""
        return [f"{c.name}: {c.note}" for c in self.columns if c.note]

    def arrow_schema(self, source: pa.Schema) -> pa.Schema:
        """The dataset's schema.

        Raises
        ------
        SchemaDrift
            The source lacks a column, or has one that the contract does not know.
        """
        wanted = [c.source_name for c in self.columns]
        kinds = dict(zip(source.names, source.types, strict=True))
        for name in wanted:
            if name not in kinds:
                raise SchemaDrift(
                    f"The contract has a column {name!r}, and the source has none of this name.",
                    why=did_you_mean(name, source.names),
                    fix="Mend the contract; its source= names a column that is called otherwise in the source.",
                )
        more = sorted(set(source.names) - set(wanted))
        if more and self.others == "refuse":
            raise SchemaDrift(
                f"The source has {len(more)} columns unknown to the contract: {', '.join(map(repr, more[:5]))}.",
                why="Nothing is dropped unless the contract says so.",
                fix="Add them to the contract, or say others: drop in it.",
            )
        return pa.schema([(c.name, c.arrow_type(kinds[c.source_name])) for c in self.columns])

    def apply(self, parsed: Parsed, file: str) -> Applied:
        """Accept or reject each row of a batch; the first reason counts. Uniqueness takes all rows and comes later."""
        reasons = Reasons(parsed.table.num_rows)
        arrays = []
        for column in self.columns:
            array = parsed.table.column(column.source_name)
            array = array.chunk(0) if array.num_chunks == 1 else array.combine_chunks()
            arrays.append(_checked(array, column, reasons, done=column.source_name in parsed.done))
        table = pa.table(arrays, names=[c.name for c in self.columns])
        kept = reasons.kept
        if kept is None:
            return Applied(table, parsed.bad, np.arange(table.num_rows))
        broken = reasons.broken
        set_aside = rejects(file, parsed.lines(broken), parsed.raw(broken), reasons.told())
        rejected = pa.concat_tables([parsed.bad, set_aside]).sort_by("row") if parsed.bad.num_rows else set_aside
        return Applied(table.take(pa.array(kept)), rejected, kept)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as YAML.

        Raises
        ------
        OutputNotWritable
        """
        try:
            pathlib.Path(path).write_text(self.to_yaml(), encoding="utf-8")
        except OSError as error:
            raise OutputNotWritable(f"{path} cannot be written.", why=str(error), fix="Name another file.") from error

    def to_yaml(self) -> str:
        """It as YAML, without what is as by default."""
        import yaml

        columns = []
        for column in self.columns:
            said = {"dtype": column.dtype, **column.model_dump(mode="json", exclude_defaults=True)}
            said["missing"] = column.missing
            columns.append({"name": said.pop("name"), **said})
        whole: dict[str, Any] = {"columns": columns}
        if self.unique:
            whole["unique"] = self.unique
        whole["others"] = self.others
        return _HEAD + str(yaml.safe_dump(whole, sort_keys=False, allow_unicode=True, width=110))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Contract:
        """Read it from YAML.

        Raises
        ------
        DatasetNotFound, BadConfig
            There is no such file; it is no contract, and everything that is wrong with it.
        """
        import yaml

        try:
            text = pathlib.Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise DatasetNotFound(f"{path} cannot be read.", why=str(error), fix="Check the path.") from error
        try:
            return cls.model_validate(yaml.safe_load(text))
        except yaml.YAMLError as error:
            raise BadConfig(f"{path} is not YAML.", why=str(error), fix="Mend it.") from error
        except ValidationError as error:
            said = [f"{'.'.join(map(str, e['loc'])) or 'contract'}: {e['msg']}" for e in error.errors()]
            raise BadConfig(
                f"{path} is no contract: {'; '.join(said)}.",
                fix="Words such as yes, no and null stand in quotation marks where a text is meant.",
            ) from error

    def lines(self) -> list[str]:
        """It for people: a line for each column."""
        width = max(len(c.name) for c in self.columns[:200])
        out = []
        for c in self.columns[:200]:
            words = [c.dtype if c.nullable else f"{c.dtype}, never missing"]
            words += [f"missing: {', '.join(repr(m) for m in c.missing)}"] if c.missing not in ([""], []) else []
            words += [
                f"{name} {getattr(c, name)}" for name in ("min", "max", "date_format") if getattr(c, name) is not None
            ]
            words += [f"decimal {c.decimal!r}"] if c.decimal != "." else []
            words += [f"thousands {c.thousands!r}"] if c.thousands else []
            words += [f"without {' '.join(c.strip)}"] if c.strip else []
            words += [f"one of {c.categories}"] if c.categories is not None else []
            words += ["unique"] if c.unique else []
            words += [c.note] if c.note else []
            out.append(f"{c.name:<{width}}  {'; '.join(words)}")
        more = len(self.columns) - len(out)
        return out + ([f"… and {more:,} more columns"] if more else [])


def as_contract(given: Any) -> Contract | None:
    """A contract from what a user passes: one, a path of YAML, a dict, or None."""
    if given is None or isinstance(given, Contract):
        return given
    if isinstance(given, dict):
        try:
            return Contract.model_validate(given)
        except ValidationError as error:
            raise BadConfig("This is no contract.", why=str(error)) from error
    if isinstance(given, str | os.PathLike):
        return Contract.load(given)
    raise BadParameter(f"A {type(given).__name__} is no contract.", fix="Pass a Contract, or the path of its YAML.")


def _checked(array: pa.Array, column: Column, reasons: Reasons, *, done: bool) -> pa.Array:
    kind = column.arrow_type(array.type)
    if not done and pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not done and (_is_text(array.type) or array.type != kind):
        given, texts = array, array if _is_text(array.type) else _as_text(array, kind)
        if isinstance(texts, tuple):
            array, bad = texts
        elif column.dtype == "own":
            bad = np.zeros(len(array), dtype=bool)
        else:
            array, bad = casting.read(pc.cast(texts, pa.string()), column)
        reasons.add(bad, unread(column.name, column.dtype, column.date_format), given)
    if not column.nullable and array.null_count:
        # What could not be read is null too, and has its reason already.
        reasons.add(casting.as_mask(pc.is_null(array)), missing(column.name))
    _check_values(array, column, reasons)
    return array


def _as_text(array: pa.Array, kind: pa.DataType) -> Any:
    """A typed source's values in another type, with what does not fit; or as text, where that is the way."""
    try:
        return pc.cast(array, kind), np.zeros(len(array), dtype=bool)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return pc.cast(array, pa.string())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _check_values(array: pa.Array, column: Column, reasons: Reasons) -> None:
    for bound, wrong, word in ((column.min, pc.less, "below"), (column.max, pc.greater, "above")):
        if bound is not None:
            limit = pa.scalar(column.as_value(bound) if column.dtype != "own" else bound, array.type)
            mask = pc.fill_null(wrong(array, limit), False)  # noqa: FBT003
            reasons.add(casting.as_mask(mask), beyond(column.name, word, bound), array)
    if column.categories is not None:
        allowed = [column.as_value(c) if column.dtype != "own" else c for c in column.categories]
        known = pc.is_in(array, pa.array(allowed, array.type))
        mask = casting.as_mask(pc.and_(pc.is_valid(array), pc.invert(known)))
        reasons.add(mask, no_category(column.name, column.categories), array)


def no_rejects() -> pa.Table:
    """An empty table of rejected rows."""
    return REJECTS.empty_table()
