"""``parquetry ingest``, ``profile``, ``clean`` and ``doctor``: their flags, and what they say.

What takes time to import is imported by the verb that needs it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Final

from parquetry.command_line import Argument, Flag, Misuse, Result, Verb

_ENGINE: Final = (
    Flag("--engine", "NAME", "local, dask, spark, or the address of a cluster", "local"),
    Flag("--workers", "NUMBER", "how many tasks run at once; without it, one a core", kind=int),
    Flag("--memory", "SIZE", "of one worker, as in 4GiB; without it, a share of the machine's"),
)
_MODE: Final = Flag(
    "--mode", "MODE", "what becomes of a table that is there", "fail", choices=("fail", "append", "overwrite")
)


def _engine(given: dict[str, Any]) -> Any:
    from parquetry.engine import open_engine

    return open_engine(given["engine"], workers=given["workers"], memory=given["memory"])


_PARQUET: Final = Argument("PATH", "a Parquet file, folder or glob, or a Delta table")
_INSIDE: Final = (
    Flag("--sheet", "NAME", "of a workbook: its name, or its number from 1"),
    Flag("--header-row", "NUMBER", "of a workbook: the row of the columns' names, from 1", kind=int, least=1),
    Flag("--table", "NAME", "of a database"),
)


# --- ingest ---------------------------------------------------------------------------------
def _ingest(given: dict[str, Any]) -> Result:
    if given["to"] is None and not given["infer_only"]:
        raise Misuse("ingest: TO is missing.", fix=f"As in: {INGEST.usage}; --infer-only needs none.")
    folder = os.path.dirname(given["save_contract"] or "") or "."
    if not os.path.isdir(folder):
        raise Misuse(f"ingest: --save-contract: there is no folder {folder!r}.", fix="Make it, or name another.")
    if given["header"] is not None and given["header_row"] is not None:
        raise Misuse("ingest: --header and --header-row go against each other.", fix="Leave one of them out.")
    options = {
        "delimiter": "\t" if given["delimiter"] in ("tab", "\\t") else given["delimiter"],
        "header": {"yes": True, "no": False, None: given["header_row"]}[given["header"]],
        **{name: given[name] for name in ("quote", "encoding", "expansion", "sheet", "table")},
    }
    with _engine(given) as engine:
        return Result(0, (_inferred if given["infer_only"] else _ingested)(given, options, engine))


def _inferred(given: dict[str, Any], options: dict[str, Any], engine: Any) -> dict[str, Any]:
    from parquetry.foundation.inference import infer
    from parquetry.foundation.sources import open_source
    from parquetry.foundation.ways import Rules

    source = open_source(given["source"], engine=engine, **options)
    contract = infer(source, source.pieces(engine), engine, Rules(decimal=given["decimal"]))
    for line in (*source.notes, *contract.lines()):
        print(line)
    if given["save_contract"]:
        contract.save(given["save_contract"])
    return {"contract": contract.model_dump(mode="json"), "notes": [*source.notes, *contract.notes]}


def _ingested(given: dict[str, Any], options: dict[str, Any], engine: Any) -> dict[str, Any]:
    from parquetry.foundation.ingest import ingest

    names = ("contract", "on_bad", "max_bad", "format", "mode", "quarantine", "decimal", "run_id")
    done = ingest(given["source"], given["to"], engine=engine, **{n: given[n] for n in names}, **options)
    # The contract's own notes stand in its lines.
    for line in (*(n for n in done.notes if n not in done.contract.notes), *done.contract.lines(), *done.lines()):
        print(line)
    if done.quarantine is not None:
        first = done.quarantine.head(1).to_dict("records")[0]
        print(f"The first, {first['file']}, line {first['row']:,}: {first['reason']}. It reads {first['raw'][:80]!r}.")
        print(f"Rejected rows, with the reason of each: {done.quarantine.uri}")
    if given["save_contract"]:
        done.contract.save(given["save_contract"])
    return done.summary()


INGEST: Final = Verb(
    "ingest",
    "Bring any table in as Parquet, and account for every row.",
    _ingest,
    (
        Argument("SOURCE", "a file, folder, glob or database"),
        Argument("TO", "where the dataset goes; not needed with --infer-only", optional=True),
    ),
    (
        Flag("--contract", "C.yaml", "what the rows must be; without it, it is inferred from all values"),
        Flag("--save-contract", "C.yaml", "write the contract there, to be edited and passed again"),
        Flag("--infer-only", "", "infer and show the contract; write no data"),
        Flag("--on-bad", "WAY", "what becomes of a bad row", "quarantine", choices=("quarantine", "fail")),
        Flag("--max-bad", "1%", "the most rows that may be quarantined, as a number or a share"),
        Flag("--quarantine", "PATH", "where rejected rows go; else TO-quarantine"),
        Flag("--format", "FORMAT", "a Delta table or a plain folder", "delta", choices=("delta", "parquet")),
        _MODE,
        Flag("--run-id", "ID", "with --mode append: what was appended under it before is not appended again"),
        Flag("--delimiter", "CHARACTER", "between fields; 'tab' for a tab"),
        Flag("--quote", "CHARACTER", "around fields; '' where quotation marks are a part of the text",
             may_be_empty=True),
        Flag("--header", "WORD", "whether the first line names the columns", choices=("yes", "no")),
        Flag("--encoding", "NAME", "as in utf-8, cp1252"),
        Flag("--decimal", "MARK", "the decimal mark of numbers", choices=(".", ",")),
        Flag("--expansion", "NUMBER", "how many times larger a compressed file may become", kind=int),
        *_INSIDE,
        *_ENGINE,
    ),
)  # fmt: skip


# --- profile --------------------------------------------------------------------------------
def _profile(given: dict[str, Any]) -> Result:
    from parquetry.foundation.brought_in import brought_in
    from parquetry.foundation.profile import profile
    from parquetry.foundation.profile_page import save_profile, show_profile

    options = {name: given[name] for name in ("contract", "sheet", "table") if given[name] is not None}
    options |= {} if given["header_row"] is None else {"header": given["header_row"]}
    with _engine(given) as engine, brought_in(given["path"], engine, **options) as (data, ingested):
        found = profile(
            data, target=given["target"], features=given["features"], quantiles=given["quantiles"], engine=engine
        )
    notes = () if ingested is None else (f"{ingested.lines()[0]}.", *ingested.notes)
    found = replace(found, data=given["path"], notes=(*notes, *found.notes))
    show_profile(found)
    if given["to"] is not None:
        print(f"Page: {save_profile(found, given['to'])}")
    counts = {} if ingested is None else {"ingest": ingested.summary()}
    return Result(0, {**found.to_dict(), **counts})


PROFILE: Final = Verb(
    "profile",
    "Know a table: every column, correlations, what to look at.",
    _profile,
    (Argument("PATH", "Parquet or Delta, read where it is, or what ingest takes, brought in first"),),
    (
        Flag("--target", "COLUMN", "a column along which all others are looked at"),
        Flag("--features", "A,B", "the columns to profile; without it, all", kind=list),
        Flag("--quantiles", "WAY", "exact: 2 to 6 reads; sketch: 2, with a bound; none: 1", "exact",
             choices=("exact", "sketch", "none")),
        Flag("--to", "FOLDER", "leave a page with pictures and the numbers there"),
        Flag("--contract", "C.yaml", "of what is brought in: what its rows must be"),
        *_INSIDE,
        *_ENGINE,
    ),
)  # fmt: skip


# --- clean ----------------------------------------------------------------------------------
def _clean(given: dict[str, Any]) -> Result:
    from parquetry.foundation.clean import clean
    from parquetry.foundation.cleaning.recipe import Recipe

    if given["no_dropped"] and given["dropped"] is not None:
        raise Misuse("clean: --dropped and --no-dropped go against each other.", fix="Leave one of them out.")
    dropped = False if given["no_dropped"] else given["dropped"] or True
    recipe = Recipe.of(given["recipe"])
    with _engine(given) as engine:
        found = clean(given["path"], recipe, to=given["to"], engine=engine, dropped=dropped, mode=given["mode"])
    if given["learned"] is not None:
        found.recipe.save(given["learned"])
    for line in _lines(found):
        print(line)
    places = {"output": given["to"], "dropped": None if found.dropped is None else found.dropped.uri}
    return Result(0, {**places, "learned": given["learned"], **found.summary()})


def _lines(found: Any) -> list[str]:
    lines = [f"{found.rows_in:,} rows in = {found.rows_out:,} rows out + {found.rows_dropped:,} dropped"]
    for step in found.steps:
        lost = step["rows_dropped"]
        parts = [f"{lost:,} {'row' if lost == 1 else 'rows'} dropped"] if lost else []
        for what in ("cells", "outliers", "failed", "unseen"):
            parts += [
                f"{column}: {n:,} {what.removesuffix('s') if n == 1 else what}"
                for column, n in step.get(what, {}).items()
            ]
        lines.append(f"  {step['step']:<20} {', '.join(parts) or 'nothing to do'}")
    if found.dropped is not None:
        lines.append(f"Dropped rows, as they came in, and why: {found.dropped.uri}")
    return lines


CLEAN: Final = Verb(
    "clean",
    "Clean data by a recipe, and account for every row and cell.",
    _clean,
    (
        _PARQUET,
        Argument("TO", "where the clean table goes"),
    ),
    (
        Flag("--recipe", "FILE", "YAML with the steps, or what --learned has written", required=True),
        Flag("--learned", "FILE", "write the recipe there with what it has learned, for new data"),
        Flag("--dropped", "PATH", "where dropped rows go; else TO.dropped"),
        Flag("--no-dropped", "", "dropped rows are counted, and kept nowhere"),
        _MODE,
        *_ENGINE,
    ),
)


# --- doctor ---------------------------------------------------------------------------------
def _doctor(given: dict[str, Any]) -> Result:
    from parquetry.foundation.doctor import examine
    from parquetry.foundation.mending import mend

    path, version = given["path"], given["version"]
    found = examine(path, version=version)
    print(found.text())
    value: dict[str, Any] = {"diagnosis": found.to_dict()}
    if given["fix"] is not None:
        with _engine(given) as engine:
            done = mend(path, given["fix"], engine=engine, version=version)
        found = examine(done.to)
        print(f"\n{done.rows:,} rows, the same in the copy (SHA-256 {done.digest[:16]}…).\n{found.text()}")
        value |= {"mended": done.to_dict(), "after": found.to_dict()}
    return Result(0 if found.healthy else 3, value)


DOCTOR: Final = Verb(
    "doctor",
    "What makes Parquet slow or unsafe, and a sound copy of it.",
    _doctor,
    (_PARQUET,),
    (
        Flag("--fix", "TO", "write a sound copy there, as a Delta table; PATH is never changed"),
        Flag("--version", "NUMBER", "of a Delta table; without it, the newest", kind=int, least=0),
        *_ENGINE,
    ),
    more=lambda: "exit code: 0 where it (or the copy) is healthy, notes aside; 3 where it is not.",
)

VERBS: Final = (INGEST, PROFILE, CLEAN, DOCTOR)
