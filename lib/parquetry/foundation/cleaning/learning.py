"""From a recipe to a chain: what each step learns, and the patches of those that look at keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from threadpoolctl import threadpool_limits

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter, common_schema
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import DegenerateColumn
from parquetry.fitting import Asking, Pass, run_pass, together
from parquetry.foundation.cleaning.chain import Behind, Chain, Link, OfStep
from parquetry.foundation.cleaning.keyed import KeyedStep, order_columns, staged
from parquetry.foundation.cleaning.recipe import Recipe, bad_recipe
from parquetry.foundation.cleaning.step import ROWS_A_BLOCK, Step, called, step_errors
from parquetry.reduction import Bundle, bundles
from parquetry.relational_order import NumberedRows, write_numbered
from parquetry.relational_windows import ROW
from parquetry.view import View

if TYPE_CHECKING:
    from parquetry.engine import Engine


def prepare(recipe: Recipe, data: Dataset, engine: Engine, scratch: str) -> tuple[Recipe, Chain]:
    """The recipe with all that it has learned from the data (or had learned before), and the chain of its steps.

    Parameters
    ----------
    recipe : Recipe
    data : Dataset
    engine : Engine
    scratch : str
        A folder that every worker can reach, for patches; see :func:`scratch_folder`.
    """
    schema = common_schema(data.schema)
    learned = recipe.learned is not None
    if not learned:
        recipe = replace(recipe, columns={f.name: str(f.type) for f in schema}, learned=({},) * len(recipe.steps))
    chain, known = Chain(), set(range(len(recipe.steps))) if learned else set[int]()
    for i in range(len(recipe.steps)):
        _require_sound(recipe, i, schema)
        if i not in known:
            group = _learners(recipe, i, schema)
            recipe = _learn(recipe, group, chain, data, engine)
            known |= {i, *(j for j, _, _ in group)}
        step, values = recipe.steps[i].settled(schema), (recipe.learned or ())[i]
        recipe = recipe.with_step(i, recipe.steps[i].remembered(schema), values)
        patch = None
        if isinstance(step, KeyedStep) and step.keyed:
            with step_errors(called(i, step.kind)):
                patch = _patch(step, schema, chain, data, engine, f"{scratch}/step-{i + 1}")
        chain = Chain((*chain.links, Link(i, step, values, patch)))
        schema = step.schema_after(schema, values)
    return recipe, chain


@contextmanager
def scratch_folder(to: str, token: str) -> Iterator[str]:
    """A folder beside the output, gone at the end."""
    scratch = f"{to.rstrip('/')}.working-{token}"
    try:
        yield scratch
    finally:
        filesystem, folder = storage.resolve(scratch)
        with suppress(OSError):
            filesystem.delete_dir(folder)


def _require_sound(recipe: Recipe, i: int, schema: pa.Schema) -> None:
    """What was sound before may not be so now: a column may have been dropped for what the data holds."""
    found = [f"{called(i, recipe.steps[i].kind)}: {p}" for p in recipe.steps[i].problems(schema)]
    if found:
        raise bad_recipe("After the steps before, the recipe", found)


def _learners(recipe: Recipe, start: int, schema: pa.Schema) -> list[tuple[int, Step, pa.Schema]]:
    """The steps, from one on, that can learn from the same rows: none between changes what another learns from."""
    first, touched = schema, set[str]()
    group: list[tuple[int, Step, pa.Schema]] = []
    for j in range(start, len(recipe.steps)):
        step = recipe.steps[j]
        if any(True for _ in step.problems(schema)):
            break
        step = step.settled(schema)
        wanted = set(step.learns_from(schema))
        alike = all(name in first.names and first.field(name).type == schema.field(name).type for name in wanted)
        if step.learns and alike and not wanted & touched:
            group.append((j, step, schema))
        changed = step.touches(schema)
        if changed is None or step.drops:
            break
        touched |= set(changed)
        schema = step.schema_after(schema)
    return group


def _learn(
    recipe: Recipe, group: list[tuple[int, Step, pa.Schema]], chain: Chain, data: Dataset, engine: Engine
) -> Recipe:
    """Let the steps learn together; passes that they ask for at one moment share one read."""
    if not group:
        return recipe
    wanted = [name for _, step, schema in group for name in step.learns_from(schema)]
    shorter, columns = chain.needed(common_schema(data.schema), wanted)
    outer = View(data, columns)
    asking = together([_asked(step.learn(schema), called(i, step.kind)) for i, step, schema in group])
    label = f"clean-learn-{'+'.join(dict.fromkeys(step.kind for _, step, _ in group))}"
    answers: list[Any] | None = None
    with threadpool_limits(1):
        while True:
            try:
                works = next(asking) if answers is None else asking.send(answers)
            except StopIteration as stop:
                found = stop.value
                break
            behind = Behind(shorter, [(work.reduction, work.view) for work in works])
            (answers,) = run_pass(engine, [(behind, outer)], label=label)
    for (i, _, _), values in zip(group, found, strict=True):
        recipe = recipe.with_step(i, recipe.steps[i], values)
    return recipe


def _asked(asking: Asking, step: str) -> Asking:
    """What a step asks for, with its errors, and those of its passes, in its name."""
    answers: list[Any] | None = None
    while True:
        with step_errors(step):
            try:
                works = next(asking) if answers is None else asking.send(answers)
            except StopIteration as stop:
                return stop.value
        answers = yield [Pass(OfStep(work.reduction, step), work.view) for work in works]


def _patch(
    step: KeyedStep, schema: pa.Schema, chain: Chain, data: Dataset, engine: Engine, place: str
) -> NumberedRows | None:
    """What a keyed step has found, committed in order of row number; None where there is nothing to look at."""
    values = step.values(schema)
    shorter, columns = chain.needed(common_schema(data.schema), (*step.by, *step.ordered, *values))
    chosen = data.select(columns)
    output = CommittedWrite(f"{place}-staged", "fail")
    kind = staged(step, shorter.schema_after(chosen.schema).empty_table(), pa.array([], pa.int64()).to_numpy())[
        0
    ].schema

    def write(writer: PartWriter) -> list[Part]:
        task = _StageTask(chosen.reader(), shorter, step, writer)
        items = list(enumerate(bundles(chosen, chosen.columns)))
        parts: list[Part] = []
        for found, refused in engine.map(task, items, label=f"clean-keys-{step.kind}"):
            if refused is not None:
                _refuse_key(step, data, refused)
            parts += found
        return parts

    output.run(kind, write)
    rows = open_dataset(f"{place}-staged")
    if not rows.num_rows:
        return None
    frame = step.window(engine.scan(rows), order_columns(step), [f"value{i}" for i in range(len(values))])
    return write_numbered(engine, frame, place, number=ROW)


def _refuse_key(step: KeyedStep, data: Dataset, number: int) -> None:
    block = next(b for b in data.blocks if b.index == number // ROWS_A_BLOCK)
    raise DegenerateColumn(
        f"A key of {', '.join(step.by)} is missing, first in {block.where}, row {number % ROWS_A_BLOCK}.",
        why="Whether rows without a key belong together is not known.",
        fix="Set missing_keys: keep (they are left alone) or equal (they are one group).",
    )


@dataclass(frozen=True)
class _StageTask:
    """Writes what decides about the rows of a bundle; tells the first row that fails for want of a key."""

    reader: Any
    chain: Chain
    step: KeyedStep
    writer: PartWriter

    def __call__(self, numbered: tuple[int, Bundle]) -> tuple[list[Part], int | None]:
        index, bundle = numbered
        refused: list[int] = []

        def tables() -> Iterator[pa.Table]:
            for block in bundle:
                for table, rows in self.reader.read(block):
                    found = self.chain(table, block, rows)
                    stage, first = staged(self.step, found.table, found.numbers)
                    if first is not None:
                        refused.append(first)
                    yield stage

        parts = self.writer.write(index, tables())
        return parts, min(refused, default=None)
