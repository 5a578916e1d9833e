"""Text made uniform: Unicode form, blanks, case, replacements."""

from __future__ import annotations

import unicodedata
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parquetry.foundation.cleaning.step import (
    ColumnStep,
    Context,
    differs,
    is_text,
    mask_of,
    nulled,
    replaced,
)


class Pattern(BaseModel):
    r"""A regular expression, and what its matches become.

    Parameters
    ----------
    pattern : str
        In RE2's syntax (https://github.com/google/re2/wiki/Syntax).
    to : str, default ""
        ``\1`` is what the first group matched.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    pattern: str
    to: str = ""

    @model_validator(mode="after")
    def _sensible(self) -> Pattern:
        try:
            pc.replace_substring_regex(pa.array(["text"]), self.pattern, self.to)
        except pa.ArrowException as error:
            raise ValueError(f"{self.pattern!r} is no regular expression ({error})") from error
        return self


class Text(ColumnStep):
    """Text is made uniform, in the order of these parameters.

    Parameters
    ----------
    columns : list of str, default None
        None is every column of text.
    unicode : {"NFC", "NFD", "NFKC", "NFKD"}, default None
    strip : bool, default False
        Without blanks at both ends (whatever Unicode calls white space).
    collapse : bool, default False
        Runs of blanks, tabs and line ends become one blank.
    case : {"lower", "upper", "title"}, default None
    regex : list of {pattern, to}, default ()
    replace : dict, default {}
        Whole values: old value: new value.
    empty_is_missing : bool, default False
        A text of no characters becomes null.
    """

    kind: ClassVar[str] = "text"
    wanted: ClassVar[str] = "text"
    unicode: Literal["NFC", "NFD", "NFKC", "NFKD"] | None = None
    strip: bool = False
    collapse: bool = False
    case: Literal["lower", "upper", "title"] | None = None
    regex: tuple[Pattern, ...] = ()
    replace: dict[str, str] = Field(default={})
    empty_is_missing: bool = False

    @model_validator(mode="after")
    def _sensible(self) -> Text:
        wanted = (self.unicode, self.strip, self.collapse, self.case, self.regex, self.replace, self.empty_is_missing)
        if not any(wanted):
            raise ValueError("nothing is to be done; name unicode, strip, collapse, case, regex or replace")
        return self

    def fits(self, kind: pa.DataType) -> bool:
        return is_text(kind)

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.chosen(table.schema):
            column = context.column(table, name)
            new = self._normal(column)
            context.changed(name, differs(column, new))
            table = replaced(table, name, new)
        return table

    def _normal(self, column: Any) -> Any:
        if self.unicode is not None:
            column = _normalized(column, self.unicode)
        if self.strip:
            column = pc.utf8_trim_whitespace(column)
        if self.collapse:
            column = pc.replace_substring_regex(column, r"[\s\p{Z}]+", " ")
        if self.case is not None:
            column = {"lower": pc.utf8_lower, "upper": pc.utf8_upper, "title": pc.utf8_title}[self.case](column)
        for step in self.regex:
            column = pc.replace_substring_regex(column, step.pattern, step.to)
        column = mapped(column, self.replace) if self.replace else column
        return nulled(column, mask_of(pc.equal(column, ""))) if self.empty_is_missing else column


def _normalized(column: pa.Array, form: Literal["NFC", "NFD", "NFKC", "NFKD"]) -> pa.Array:
    """Unicode's normal form, by Python: Arrow's own (25.0) leaves NFC and NFKC decomposed."""
    if pc.all(pc.string_is_ascii(column)).as_py() in (True, None):
        return column
    encoded = column.dictionary_encode()
    values = [unicodedata.normalize(form, v) for v in encoded.dictionary.to_pylist()]
    return pa.array(values, column.type).take(encoded.indices)


def mapped(column: pa.Array, names: dict[str, str]) -> pa.Array:
    """Whole values put in the place of others; those without a new one stay."""
    places = pc.index_in(column, value_set=pa.array(list(names), column.type))
    return pc.coalesce(pa.array(list(names.values()), column.type).take(places), column)


class Categories(ColumnStep):
    """Categories grouped: by a mapping, and rare ones into one.

    Parameters
    ----------
    columns : list of str, default None
        None is every column of text.
    mapping : dict, default {}
        Category: its group; others stay.
    min_share : float, default None
        Categories of a smaller share of the values (missing ones left out) are rare.
    top : int, default None
        All but so many of the most frequent ones are rare; of equal ones those that come first in
        order of the text stay.
    other : str, default "other"
        What rare categories become, and those that training has not seen; these are counted as
        ``unseen``. With a mapping alone, those that it does not name are counted, and stay.
    """

    kind: ClassVar[str] = "categories"
    wanted: ClassVar[str] = "text (cast it first)"
    mapping: dict[str, str] = Field(default={})
    min_share: float | None = Field(None, gt=0, lt=1)
    top: int | None = Field(None, ge=1)
    other: str = "other"

    @model_validator(mode="after")
    def _sensible(self) -> Categories:
        if not self.mapping and not self.learns:
            raise ValueError("name mapping, min_share or top")
        return self

    @property
    def learns(self) -> bool:
        return self.min_share is not None or self.top is not None

    def fits(self, kind: pa.DataType) -> bool:
        return is_text(kind)

    def placeholder(self, schema: pa.Schema) -> dict[str, Any]:
        return {c: {"kept": [], "rare": []} for c in self.chosen(schema)} if self.learns else {}

    def learn(self, schema: pa.Schema) -> Any:
        from parquetry.fitting import Pass
        from parquetry.foundation.cleaning.missing import LIMIT
        from parquetry.foundation.cleaning.step import values_view
        from parquetry.foundation.counts import Counts

        names = self.chosen(schema)
        if not (names and self.learns):
            return {}
        (counted,) = yield [Pass(Counts("categories", names, limit=LIMIT), values_view(names))]
        return {n: self._split(c.values.to_pylist(), c.counts) for n, c in zip(names, counted, strict=True)}

    def _split(self, values: list[str], counts: Any) -> dict[str, list[str]]:
        """Which values stay and which are rare, each sorted, the mapping done."""
        tally: dict[str, int] = {}
        for value, count in zip(values, counts.tolist(), strict=True):
            group = self.mapping.get(value, value)
            tally[group] = tally.get(group, 0) + count
        total = sum(tally.values())
        kept = sorted(tally, key=lambda v: (-tally[v], v))[: self.top]
        if self.min_share is not None:
            kept = [v for v in kept if tally[v] >= self.min_share * total]
        return {"kept": sorted(kept), "rare": sorted(set(tally) - set(kept))}

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.chosen(table.schema):
            column = context.column(table, name)
            new = mapped(column, self.mapping) if self.mapping else column
            valid = mask_of(column.is_valid())
            if self.learns:
                known = context.learned[name]
                kept = mask_of(pc.is_in(new, value_set=pa.array(known["kept"], new.type)))
                rare = mask_of(pc.is_in(new, value_set=pa.array(known["rare"], new.type)))
                new = pc.if_else(pa.array(valid & ~kept), pa.scalar(self.other, new.type), new)
                context.changed(name, valid & ~kept & ~rare, "unseen")
            else:
                groups = pa.array([*self.mapping, *self.mapping.values()], new.type)
                context.changed(name, valid & ~mask_of(pc.is_in(column, value_set=groups)), "unseen")
            context.changed(name, np.asarray(differs(column, new)))
            table = replaced(table, name, new)
        return table
