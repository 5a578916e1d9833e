"""``parquetry clean``: the verb's flags, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parquetry.config import flag_name, read_flags
from parquetry.engine import open_engine
from parquetry.errors import BadConfig
from parquetry.foundation.clean import Cleaned, clean
from parquetry.foundation.cleaning.recipe import Recipe


class CleanFlags(BaseModel):
    """The flags of the verb."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    recipe: Path
    engine: str = "local"
    workers: int | None = Field(None, ge=1)
    memory: str | None = None
    learned: Path | None = None
    mode: Literal["fail", "append", "overwrite"] = "fail"
    dropped: bool = True


def clean_command(path: str, to: str, words: Sequence[str]) -> dict[str, Any]:
    """Clean what is at ``path`` into a table at ``to``; says what each step did, and gives it as a dict.

    Raises
    ------
    BadConfig
        Listing all flags that are wrong.
    """
    given = read_flags(CleanFlags, words)
    problems, flags = list(given.problems), None
    try:
        flags = CleanFlags(**given.values)
    except ValidationError as error:
        for e in error.errors():
            name = flag_name(str(e["loc"][0]))
            told = "is required" if e["type"] == "missing" else f"is {e['input']!r}: {e['msg']}"
            problems.append(f"{name} {told}.")
    if problems or flags is None:
        raise BadConfig(f"parquetry clean: {' '.join(problems)}", fix="All flags: parquetry clean --help.")
    recipe = Recipe.of(flags.recipe)
    with open_engine(flags.engine, workers=flags.workers, memory=flags.memory) as engine:
        found = clean(path, recipe, to=to, engine=engine, dropped=flags.dropped, mode=flags.mode)
    if flags.learned is not None:
        found.recipe.save(flags.learned)
    for line in _lines(found):
        print(line)
    places = {"output": to, "dropped": None if found.dropped is None else found.dropped.uri}
    return {**places, "learned": None if flags.learned is None else str(flags.learned), **found.summary()}


def _lines(found: Cleaned) -> list[str]:
    lines = [f"{found.rows_in:,} rows in = {found.rows_out:,} rows out + {found.rows_dropped:,} dropped"]
    for step in found.steps:
        parts = [f"{step['rows_dropped']:,} rows dropped"] if step["rows_dropped"] else []
        for what in ("cells", "outliers", "failed", "unseen"):
            parts += [f"{column}: {n:,} {what}" for column, n in step.get(what, {}).items()]
        lines.append(f"  {step['step']:<20} {', '.join(parts) or 'nothing to do'}")
    if found.dropped is not None:
        lines.append(f"Dropped rows, as they came in, and why: {found.dropped.uri}")
    return lines
