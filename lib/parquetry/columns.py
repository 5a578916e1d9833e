"""Which columns a job works on: roles by Arrow type, and columns that nothing can be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, DegenerateColumn, WrongColumnType
from parquetry.view import is_numeric


@dataclass(frozen=True)
class Roles:
    """A job's feature columns by what they hold, in the dataset's order.

    Attributes
    ----------
    numeric : list of str
        Integers, floats and decimals.
    text : list of str
        Strings and booleans: categories.
    left_out : dict of str to str
        Columns that are neither (dates, nested ones), with their type.
    """

    numeric: list[str]
    text: list[str]
    left_out: dict[str, str]

    @property
    def features(self) -> list[str]:
        """All feature columns: numeric, then text."""
        return [*self.numeric, *self.text]


def choose_columns(
    dataset: Dataset,
    *,
    target: str,
    features: Sequence[str] | None = None,
    exclude: Sequence[str] = (),
    binary: bool = False,
) -> Roles:
    """The feature columns of a job and their roles, checked against the footers.

    Parameters
    ----------
    dataset : Dataset
    target : str
    features : sequence of str, default None
        None for all columns but the target.
    exclude : sequence of str, default ()
    zero_or_one : bool, default False
        Whether the target has to be 0 and 1, or false and true.

    Raises
    ------
    UnknownColumn
        A name that the dataset does not have.
    BadParameter
        The target is among the features, or no feature is left.
    WrongColumnType
        The target has to be 0 and 1, and is not; or a column that was asked for holds neither numbers nor text.
    DegenerateColumn
        A column is all null or constant; see :func:`check_columns`.
    """
    dataset.require([target], "target column")
    if binary:
        _check_zero_or_one(dataset, target)
    dataset.require(features or (), "feature column")
    dataset.require(exclude, "excluded column")
    if features is not None and target in features:
        raise BadParameter(
            f"{target!r} is both a feature and the target.",
            why="A model that sees its target has learned nothing.",
            fix="Leave it out of --features.",
        )
    named = [c for c in (dataset.columns if features is None else features) if c != target and c not in exclude]
    kinds = {c: dataset.full_schema.field(c).type for c in dict.fromkeys(named)}
    numeric = [c for c, kind in kinds.items() if is_numeric(kind) and not pa.types.is_boolean(kind)]
    text = [c for c, kind in kinds.items() if pa.types.is_boolean(kind) or pa.types.is_string(kind)]
    left_out = {c: str(kind) for c, kind in kinds.items() if c not in numeric and c not in text}
    if features is not None and left_out:
        name, kind = next(iter(left_out.items()))
        raise WrongColumnType(
            f"Feature {name!r} is {kind}.",
            why="A feature here is a number or a text.",
            fix="Leave it out of --features.",
        )
    if not numeric and not text:
        raise BadParameter("There is no feature column left.", fix="Check --features and --exclude.")
    check_columns(dataset, [*numeric, *text])
    return Roles(numeric, text, left_out)


def _check_zero_or_one(dataset: Dataset, target: str) -> None:
    kind, stats = dataset.full_schema.field(target).type, dataset.footer.stats.get(target)
    numbers = is_numeric(kind) and stats is not None and stats.minimum is not None and stats.maximum is not None
    low, high = (stats.minimum, stats.maximum) if numbers and stats is not None else (0, 1)
    beyond = low < 0 or high > 1
    if beyond or not (is_numeric(kind) or pa.types.is_boolean(kind)):
        found = f"reaches from {low} to {high}" if beyond else f"is {kind}"
        raise WrongColumnType(
            f"The target {target!r} {found}.",
            why="The models here are compared on a target of 0 and 1.",
            fix="Name another one with --target, or number its labels with --recipe: "
            f"steps: [{{text: {{columns: [{target}], replace: {{'yes': '1', 'no': '0'}}}}}}, "
            f"{{types: {{columns: {{{target}: integer}}}}}}]",
        )


def check_columns(dataset: Dataset, columns: Sequence[str]) -> None:
    """Refuse columns that are null or the same in every row; the footers tell, nothing is read.

    Raises
    ------
    DegenerateColumn
        Naming all of them, with ``--exclude`` as the way out.
    """
    wrong = {name: why for name in columns if (why := _degenerate(dataset, name))}
    if wrong:
        listed = "; ".join(f"{name!r} is {why}" for name, why in wrong.items())
        raise DegenerateColumn(
            f"{dataset.uri}: {listed}.",
            why="There is nothing to learn from a column that never varies.",
            fix=f"Leave {'it' if len(wrong) == 1 else 'them'} out: --exclude {','.join(wrong)}",
        )


def _degenerate(dataset: Dataset, name: str) -> str:
    stats = dataset.footer.stats.get(name)
    if stats is None or not dataset.footer.num_rows:
        return ""
    if stats.nulls == dataset.footer.num_rows:
        return "null in every row"
    constant = stats.complete and stats.nulls == 0 and stats.minimum is not None and stats.minimum == stats.maximum
    return f"{stats.minimum!r} in every row" if constant else ""
