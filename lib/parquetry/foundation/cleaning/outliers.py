"""Outliers: values outside of bounds that training has learned; flagged, clipped, dropped or set missing.

Sources: Tukey, "Exploratory Data Analysis" (1977) for the quartiles' range; Iglewicz and Hoaglin,
"How to Detect and Handle Outliers" (1993) for the median absolute deviation.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from parquetry.errors import DegenerateColumn
from parquetry.fitting import Asking, Pass
from parquetry.foundation.cleaning.step import (
    ColumnStep,
    Context,
    Learned,
    Mask,
    is_real,
    nulled,
    replaced,
    taken,
    values_view,
)
from parquetry.foundation.moments import Moments
from parquetry.foundation.quantiles import exact_quantiles
from parquetry.view import Batch, FloatArray, float_column

_USUAL = {"iqr": 1.5, "zscore": 3.0, "mad": 3.5, "quantile": 0.0}
_NORMAL = 1.482602218505602  # standard deviations in a median absolute deviation of normal values
_EVERYTHING = (-np.inf, np.inf)
Bounds = list[tuple[float, float]]


class Outliers(ColumnStep):
    """Values outside of bounds; missing ones are none.

    Parameters
    ----------
    columns : list of str, default None
        None is every column of numbers; decimals are none here.
    method : {"iqr", "zscore", "mad", "quantile"}, default "iqr"
        Bounds are ``k`` ranges outside of the quartiles; ``k`` standard deviations (of all values,
        ``ddof=0``) from the mean; ``k`` times 1.4826 median absolute deviations from the median;
        or the quantiles ``low`` and ``high``. A value on a bound is inside.
    k : float, default None
        None is 1.5 (iqr), 3 (zscore) or 3.5 (mad).
    low, high : float, default 0.01 and 0.99
    action : {"flag", "clip", "drop", "missing"}, default "flag"
        Flag adds ``<column>_outlier``. Whole numbers stay whole: they are clipped to the nearest
        one inside of the bounds.
    no_spread : {"fail", "keep"}, default "fail"
        A column without spread (all values missing, all the same, or most of them) raises
        DegenerateColumn, or has no outliers.
    """

    kind: ClassVar[str] = "outliers"
    wanted: ClassVar[str] = "numbers (cast it first)"
    method: Literal["iqr", "zscore", "mad", "quantile"] = "iqr"
    k: float | None = Field(None, gt=0, allow_inf_nan=False)
    low: float = Field(0.01, ge=0, le=1)
    high: float = Field(0.99, ge=0, le=1)
    action: Literal["flag", "clip", "drop", "missing"] = "flag"
    no_spread: Literal["fail", "keep"] = "fail"

    @model_validator(mode="after")
    def _sensible(self) -> Outliers:
        if self.low >= self.high:
            raise ValueError("low must be below high")
        if self.method == "quantile" and self.k is not None:
            raise ValueError("k does not belong to method: quantile; use low and high")
        if self.method != "quantile" and {"low", "high"} & self.model_fields_set:
            raise ValueError("low and high belong to method: quantile")
        return self

    @property
    def learns(self) -> bool:
        return True

    @property
    def drops(self) -> bool:
        return self.action == "drop"

    def fits(self, kind: pa.DataType) -> bool:
        return is_real(kind)

    def problems(self, schema: pa.Schema) -> Iterator[str]:
        yield from super().problems(schema)
        if self.action == "flag":
            yield from taken([f"{c}_outlier" for c in self.chosen(schema)], schema)

    def touches(self, schema: pa.Schema) -> tuple[str, ...] | None:
        return self.chosen(schema) if self.action in ("clip", "missing") else ()

    def reads(self, schema: pa.Schema) -> tuple[str, ...]:
        return self.chosen(schema)

    def placeholder(self, schema: pa.Schema) -> Learned:
        return {c: [0.0, 0.0] for c in self.chosen(schema)}

    def learn(self, schema: pa.Schema) -> Asking:
        names = self.chosen(schema)
        if not names:
            return {}
        bounds: Bounds = yield from self._bounds(names)
        if self.action == "clip":
            _require_inside(schema, names, bounds)
        return {n: [float(low), float(high)] for n, (low, high) in zip(names, bounds, strict=True)}

    def _bounds(self, names: Sequence[str]) -> Generator[list[Any], list[Any], Bounds]:
        view, k = values_view(names), _USUAL[self.method] if self.k is None else self.k
        if self.method == "zscore":
            (moments,) = yield [Pass(Moments("outliers", names, extremes=False), view)]
            spreads = self._spreads(names, np.sqrt(moments.variance), "standard deviation")
            return [_around(m, k * s) for m, s in zip(moments.mean_or_nan, spreads, strict=True)]
        if self.method == "mad":
            middles = [float(q[0]) for q in (yield from exact_quantiles(view))]
            deviations = _Deviations(tuple(middles))
            found = yield from exact_quantiles(view, values=deviations)
            spreads = self._spreads(names, np.array([q[0] for q in found]), "median absolute deviation")
            return [_around(m, k * _NORMAL * s) for m, s in zip(middles, spreads, strict=True)]
        ends = (0.25, 0.75) if self.method == "iqr" else (self.low, self.high)
        pairs = [(float(low), float(high)) for low, high in (yield from exact_quantiles(view, q=ends))]
        if self.method == "quantile":
            spreads = self._spreads(names, np.array([np.nan if np.isnan(low) else 1.0 for low, _ in pairs]), "quantile")
            return [
                (low, high) if np.isfinite(s) else _EVERYTHING for (low, high), s in zip(pairs, spreads, strict=True)
            ]
        spreads = self._spreads(names, np.array([high - low for low, high in pairs]), "quartiles' range")
        return [
            (low - k * s, high + k * s) if np.isfinite(s) else _EVERYTHING
            for (low, high), s in zip(pairs, spreads, strict=True)
        ]

    def _spreads(self, names: Sequence[str], spreads: FloatArray, what: str) -> FloatArray:
        """The spreads, infinite where there is none and that is allowed."""
        if self.no_spread == "keep":
            return np.where(np.isnan(spreads) | (spreads == 0), np.inf, spreads)
        _require_spread(names, spreads, what)
        return spreads

    def apply(self, table: pa.Table, context: Context) -> pa.Table:
        for name in self.chosen(table.schema):
            column = context.column(table, name)
            low, high = context.learned[name]
            values = float_column(pa.chunked_array([column]))
            outside: Mask = (values < low) | (values > high)
            if self.action == "drop":
                context.keep = ~outside if context.keep is None else context.keep & ~outside
                context.changed(name, outside, "outliers")
                continue
            if self.action == "flag":
                context.changed(name, outside, "outliers")
                table = table.append_column(f"{name}_outlier", pa.array(outside))
                continue
            context.changed(name, outside)
            new = nulled(column, outside) if self.action == "missing" else _clipped(column, values, outside, low, high)
            table = replaced(table, name, new)
        return table


def _around(middle: float, reach: float) -> tuple[float, float]:
    return (middle - reach, middle + reach) if np.isfinite(reach) else _EVERYTHING


class _Deviations:
    """The absolute deviations of X's columns from their medians."""

    def __init__(self, middles: tuple[float, ...]) -> None:
        self.middles = middles

    def __call__(self, batch: Batch) -> list[FloatArray]:
        return [np.abs(column - middle) for column, middle in zip(batch.floats, self.middles, strict=True)]


def _clipped(column: pa.Array, values: FloatArray, outside: Mask, low: float, high: float) -> pa.Array:
    if not outside.any():
        return column
    if pa.types.is_integer(column.type):
        low, high = np.ceil(low), np.floor(high)
    clipped = pa.array(np.clip(values[outside], low, high)).cast(column.type, safe=False)
    return pc.replace_with_mask(column, pa.array(outside), clipped)


def _require_inside(schema: pa.Schema, names: Sequence[str], bounds: Bounds) -> None:
    """There is no whole number to clip to between 1.2 and 1.8."""
    for name, (low, high) in zip(names, bounds, strict=True):
        if pa.types.is_integer(schema.field(name).type) and np.ceil(low) > np.floor(high):
            raise DegenerateColumn(
                f"Column {name!r} is of whole numbers, and none lies between the bounds {low:g} and {high:g}.",
                fix="Cast it to a number first, or choose wider bounds.",
            )


def _require_spread(names: Sequence[str], spreads: FloatArray, what: str) -> None:
    for name, spread in zip(names, spreads, strict=True):
        if np.isnan(spread):
            raise DegenerateColumn(
                f"Column {name!r} has no {what}: all its values are missing.",
                fix="Leave it out of the step, or set no_spread: keep.",
            )
        if spread == 0:
            raise DegenerateColumn(
                f"Column {name!r} has a {what} of zero.",
                why="Most of its values are the same, so every other one would be an outlier.",
                fix="Leave it out of the step, use method: quantile, or set no_spread: keep.",
            )
