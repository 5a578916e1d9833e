"""What a profile points at: columns that say nothing, say too much, or are not what they seem."""

from __future__ import annotations

from collections.abc import Iterator

from parquetry.foundation.profile_results import Alert, ColumnProfile, Distinct, Matrix, TargetView

NEARLY_ALL = 0.95
MANY_MISSING = 0.2
MANY_ZEROS = 0.5
MANY_CATEGORIES = 50
SKEWED = 2.0
MANY_OUTLIERS = 0.01
LEAK = 0.99
"""A correlation with the target, or a strength of it, from which a column is suspected."""


def alerts_of(
    columns: tuple[ColumnProfile, ...],
    duplicates: Distinct,
    rows: int,
    *,
    target: str | None,
    view: TargetView | None,
    matrices: tuple[Matrix | None, ...],
) -> tuple[Alert, ...]:
    """All alerts, in the order of the columns; those of whole rows last."""
    found = [alert for column in columns for alert in _of_column(column, target)]
    if target is not None:
        found += _leaks(target, view, matrices)
    if duplicates.count > 3 * duplicates.error * rows:
        about = "" if duplicates.exact else "about "
        told = "1 row repeats" if duplicates.count == 1 else f"{duplicates.count:,} rows repeat"
        found.append(Alert("", "duplicates", f"{about}{told} an earlier one"))
    return tuple(found)


def _of_column(column: ColumnProfile, target: str | None) -> Iterator[Alert]:
    def alert(what: str, text: str) -> Alert:
        return Alert(column.name, what, text)

    if column.count == 0:
        yield alert("empty", "has no value at all")
        return
    share = column.missing / column.rows
    if share >= NEARLY_ALL:
        yield alert("missing", f"is missing in {share:.1%} of the rows: nearly all")
    elif share >= MANY_MISSING:
        yield alert("missing", f"is missing in {share:.1%} of the rows")
    if column.distinct is None:
        yield alert("nested", f"is {column.type}: its values are counted, and not looked into")
        return
    yield from _of_distinct(column, column.distinct, target)
    yield from _of_numbers(column)
    texts = column.texts
    if texts is not None and texts.blank + texts.leading_space + texts.trailing_space:
        spaces = texts.blank + texts.leading_space + texts.trailing_space
        yield alert("blanks", f"begins or ends with white space, or is nothing else, in {spaces:,} rows")
    if texts is not None and texts.invalid:
        yield alert("encoding", f"has bytes that are no UTF-8 in {texts.invalid:,} rows")


def _of_distinct(column: ColumnProfile, distinct: Distinct, target: str | None) -> Iterator[Alert]:
    if distinct.count == 1:
        yield Alert(column.name, "constant", "holds one value only")
    elif column.kind in ("integer", "text", "binary") and column.count > 1:
        if distinct.count >= column.count * (1 - 3 * distinct.error):
            probably = "" if distinct.exact else "probably "
            yield Alert(column.name, "unique", f"is {probably}another value in every row: an identifier?")
        elif column.kind == "text" and distinct.count > MANY_CATEGORIES and column.name != target:
            yield Alert(column.name, "cardinality", f"has {distinct.count:,} distinct values")


def _of_numbers(column: ColumnProfile) -> Iterator[Alert]:
    numbers = column.numbers
    if numbers is None or column.kind in ("boolean", "time"):
        return
    infinities = numbers.infinities_below + numbers.infinities_above
    if infinities:
        yield Alert(column.name, "infinite", f"is infinite in {infinities:,} rows")
    few = column.distinct is not None and column.distinct.count <= 2
    if numbers.zeros >= MANY_ZEROS * column.count and not few:
        yield Alert(column.name, "zeros", f"is zero in {numbers.zeros / column.count:.1%} of its values")
    if abs(numbers.skew) > SKEWED:
        yield Alert(column.name, "skewed", f"is skewed: {numbers.skew:.3g}")
    outliers = column.outliers
    if outliers is not None and outliers.count - outliers.error > MANY_OUTLIERS * column.count:
        share = outliers.count / column.count
        yield Alert(column.name, "outliers", f"lies beyond 1.5 interquartile ranges in {share:.1%} of its values")


def _leaks(target: str, view: TargetView | None, matrices: tuple[Matrix | None, ...]) -> list[Alert]:
    """At most one alert a column: the strongest reason first."""
    found: dict[str, Alert] = {}
    for seen in () if view is None else view.columns:
        if seen.determines:
            found[seen.column] = Alert(seen.column, "leak", f"tells {target!r}: each of its values goes with one of it")
        elif seen.strength >= LEAK:
            found[seen.column] = Alert(seen.column, "leak", f"tells {target!r} almost: strength {seen.strength:.4f}")
    for matrix in matrices:
        if matrix is None or target not in matrix.columns:
            continue
        row = matrix.values[matrix.columns.index(target)]
        for name, value in zip(matrix.columns, row, strict=True):
            if name != target and abs(value) >= LEAK:
                found.setdefault(name, Alert(name, "leak", f"correlates with {target!r}: {value:.4f}"))
    return list(found.values())
