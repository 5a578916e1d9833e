"""A recipe: steps as YAML has them, checked all at once, and what they have learned."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from parquetry.errors import BadRecipe, OutputNotWritable, did_you_mean
from parquetry.foundation.cleaning.amounts import Numbers, Units
from parquetry.foundation.cleaning.casting import Types
from parquetry.foundation.cleaning.columns import Drop, Filter, Rename, Select
from parquetry.foundation.cleaning.dates import Dates
from parquetry.foundation.cleaning.keyed import Duplicates
from parquetry.foundation.cleaning.missing import MarkMissing, Missing
from parquetry.foundation.cleaning.outliers import Outliers
from parquetry.foundation.cleaning.step import Learned, Step, called, step_errors
from parquetry.foundation.cleaning.texts import Categories, Text

_ALL: tuple[type[Step], ...] = (
    MarkMissing,
    Missing,
    Outliers,
    Duplicates,
    Types,
    Numbers,
    Units,
    Text,
    Categories,
    Dates,
    Rename,
    Select,
    Drop,
    Filter,
)
KINDS: Final[dict[str, type[Step]]] = {kind.kind: kind for kind in _ALL}
"""The steps by the names that recipes call them."""


@dataclass(frozen=True)
class Recipe:
    """Steps in order; learned, once it has been run.

    Parameters
    ----------
    steps : tuple of Step
    learned : tuple of dict or None, default None
        What each step has learned; None for a recipe that has yet to learn.
    columns : dict or None, default None
        The columns that it was learned on, and their types.
    """

    steps: tuple[Step, ...]
    learned: tuple[Learned, ...] | None = None
    columns: Mapping[str, str] | None = None

    @classmethod
    def of(cls, given: Any) -> Recipe:
        """A recipe from what a user has: a Recipe, a YAML file's path, a mapping, or a list of steps.

        Raises
        ------
        BadRecipe
            Listing everything that is wrong.
        """
        if isinstance(given, Recipe):
            return given
        if isinstance(given, (str, os.PathLike)):
            return cls._parsed(_loaded(given), os.fspath(given))
        return cls._parsed(given, "the recipe")

    @classmethod
    def _parsed(cls, given: Any, source: str) -> Recipe:
        body = {"steps": given} if isinstance(given, Sequence) and not isinstance(given, str) else given
        if not isinstance(body, Mapping) or not isinstance(body.get("steps"), Sequence) or not body["steps"]:
            raise BadRecipe(
                f"{source} holds no steps.", fix="Write them as a list: 'steps: [- missing: {fill: mean}]'."
            )
        problems = [
            f"there is no part {key!r} of a recipe. {did_you_mean(str(key), ('steps', 'learned'))}".strip()
            for key in body
            if key not in ("steps", "learned")
        ]
        steps: list[Step] = []
        for number, item in enumerate(body["steps"], start=1):
            found = _step(item, number)
            if isinstance(found, Step):
                steps.append(found)
            else:
                problems += found
        if problems:
            raise bad_recipe(source, problems)
        recipe = cls(tuple(steps))
        return recipe if body.get("learned") is None else _with_learned(recipe, body["learned"], source)

    @property
    def drops(self) -> bool:
        """Whether a step may drop rows."""
        return any(step.drops for step in self.steps)

    def to_yaml(self) -> str:
        """The recipe as YAML, with what it has learned; ``Recipe.of`` reads it back, to the last bit."""
        body: dict[str, Any] = {"steps": [{s.kind: _written(s)} for s in self.steps]}
        if self.learned is not None:
            body["learned"] = {"columns": dict(self.columns or {}), "values": [dict(v) for v in self.learned]}
        text: str = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=120)
        return text

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the recipe as a YAML file, whole or not at all."""
        path = Path(path)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(self.to_yaml(), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise OutputNotWritable(f"{path} cannot be written.", why=str(error), fix="Name another file.") from error

    def check(self, schema: pa.Schema, source: str = "the data") -> pa.Schema:
        """The schema that comes out, as far as it is known before anything is learned.

        Raises
        ------
        BadRecipe
            Listing all that is wrong. After a step that is wrong the others are still looked at,
            as if it did nothing.
        """
        problems = list(self._changed_types(schema))
        for i, step in enumerate(self.steps):
            known = None if self.learned is None else self.learned[i]
            found = [f"{called(i, step.kind)}: {p}" for p in step.problems(schema)]
            problems += found
            if not found:
                with step_errors(called(i, step.kind)):
                    schema = step.settled(schema).schema_after(schema, known)
        if problems:
            learned = " It was learned on other columns." if self.learned is not None else ""
            raise bad_recipe(f"The recipe does not go with {source}.{learned} It", problems, self._fix(schema))
        return schema

    def _fix(self, schema: pa.Schema) -> str:
        """What to do where new data lack a column that the recipe was learned on."""
        if self.learned is None or set(self.columns or {}) <= set(schema.names):
            return ""
        return (
            "A step without `columns` was learned for all columns that it takes, a target among them: take those that "
            "new data lack out of its `columns` in the saved recipe, or name its columns and learn again."
        )

    def _changed_types(self, schema: pa.Schema) -> Iterator[str]:
        for name, kind in (self.columns or {}).items():
            if name in schema.names and str(schema.field(name).type) != kind:
                yield f"column {name!r} is {schema.field(name).type}; it was {kind} where the recipe was learned"

    def with_step(self, i: int, step: Step, learned: Learned) -> Recipe:
        """The recipe with one step settled and learned."""
        known = list(self.learned or ({},) * len(self.steps))
        known[i] = learned
        return replace(self, steps=(*self.steps[:i], step, *self.steps[i + 1 :]), learned=tuple(known))


def bad_recipe(source: str, problems: Sequence[str], fix: str = "") -> BadRecipe:
    """One error for everything that is wrong."""
    start = source if source.endswith("It") else f"{source[:1].upper()}{source[1:]}"
    count = "one fault" if len(problems) == 1 else f"{len(problems)} faults"
    return BadRecipe(f"{start} has {count}:" + "".join(f"\n  - {p}" for p in problems), fix=fix and f"\n{fix}")


def _loaded(path: str | os.PathLike[str]) -> Any:
    try:
        return yaml.safe_load(Path(path).expanduser().read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise BadRecipe(
            f"The recipe {os.fspath(path)} cannot be read.", why=str(error), fix="Check its path."
        ) from error
    except yaml.YAMLError as error:
        raise BadRecipe(f"{os.fspath(path)} is not YAML.", why=" ".join(str(error).split())) from error


def _step(item: Any, number: int) -> Step | list[str]:
    """The step that an entry of the list stands for, or what is wrong with it."""
    item = {item: {}} if isinstance(item, str) else item
    if not isinstance(item, Mapping) or len(item) != 1:
        return [f"step {number} is not written as 'name: {{parameters}}'"]
    ((name, parameters),) = item.items()
    if name not in KINDS:
        return [f"step {number}: there is no step {name!r}. {did_you_mean(str(name), KINDS)}".strip()]
    if not isinstance(parameters, Mapping | None):
        return [f"step {number} ({name}): its parameters are not written as 'name: value'"]
    kind = KINDS[name]
    try:
        return kind.model_validate(dict(parameters or {}))
    except ValidationError as error:
        # A list whose only entry is wrong is also said to be too short.
        others = {e["loc"][:1] for e in error.errors() if e["type"] != "too_short"}
        faults = [e for e in error.errors() if e["type"] != "too_short" or e["loc"][:1] not in others]
        return [f"step {number} ({name}): {_fault(e, kind)}" for e in faults]


def _fault(error: ErrorDetails, kind: type[Step]) -> str:
    where = ".".join(str(part) for part in error["loc"])
    message = error["msg"].removeprefix("Value error, ").rstrip(".")
    message = f"{message[:1].lower()}{message[1:]}"
    if error["type"] == "extra_forbidden":
        return f"there is no parameter {where!r}. {did_you_mean(where, kind.model_fields)}".strip()
    if error["type"] == "missing":
        return f"the parameter {where!r} is needed"
    return message if not where else f"{where} is {error['input']!r}: {message}"


def _written(step: Step) -> dict[str, Any]:
    """A step's parameters that are not the defaults, as YAML holds them."""
    found: dict[str, Any] = step.model_dump(exclude_defaults=True)
    if "where" in found:
        found["where"] = [[v for v in (c["column"], c["op"], c.get("value")) if v is not None] for c in found["where"]]
    listed: dict[str, Any] = _lists(found)
    return listed


def _lists(value: Any) -> Any:
    """Tuples as lists, which is all that YAML knows."""
    if isinstance(value, dict):
        return {k: _lists(v) for k, v in value.items()}
    return [_lists(v) for v in value] if isinstance(value, (list, tuple)) else value


def _with_learned(recipe: Recipe, learned: Any, source: str) -> Recipe:
    """The recipe with what a file says that it has learned."""
    values = learned.get("values") if isinstance(learned, Mapping) else None
    columns = learned.get("columns") if isinstance(learned, Mapping) else None
    if not isinstance(values, list) or not isinstance(columns, Mapping) or len(values) != len(recipe.steps):
        raise bad_recipe(source, ["what it has learned is not complete; learn it again"])
    problems = []
    for number, (step, known) in enumerate(zip(recipe.steps, values, strict=True), start=1):
        wanted = set(step.placeholder(pa.schema([]))) if step.learns else set()
        if not isinstance(known, Mapping) or not wanted <= set(known):
            missing = sorted(wanted - set(known if isinstance(known, Mapping) else ()))
            problems.append(f"step {number} ({step.kind}): nothing is learned of {', '.join(missing)}; learn it again")
    if problems:
        raise bad_recipe(source, problems)
    return replace(recipe, learned=tuple(dict(v) for v in values), columns=dict(columns))
