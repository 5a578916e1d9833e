"""The ``parquetry`` command: what is not a job, and ``run`` for what is.

Exit codes are those of :mod:`parquetry.job`. Every verb takes ``--json`` and then prints one JSON
object as its last line.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from parquetry import __version__
from parquetry.errors import ParquetryError, did_you_mean

# Only what every call needs is imported here: the command must answer at once.


@dataclass(frozen=True)
class Result:
    """What a verb did: an exit code, and the object that ``--json`` prints."""

    code: int
    value: dict[str, Any]


@dataclass(frozen=True)
class Verb:
    """A verb: how to call it, what it does, and the function that does it."""

    usage: str
    meaning: str
    act: Callable[[list[str]], Result]


class Misuse(ParquetryError, ValueError):
    """The command line names no verb or job, or has the wrong arguments: exit code 2."""


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point; ends the process with the verb's exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    words = [w for w in given if w != "--json"]
    try:
        result = _act(words)
    except ParquetryError as error:
        print(error, file=sys.stderr)
        code = 2 if isinstance(error, Misuse) else 1
        result = Result(code, {"error": type(error).__name__, "message": str(error)})
    if as_json:
        sys.stdout.flush()
        print(json.dumps({"exit_code": result.code, **result.value}, default=str))
    sys.exit(result.code)


def _act(words: list[str]) -> Result:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help())
        return Result(0 if words else 2, {})
    name, rest = words[0], words[1:]
    name = {"--version": "version", "-V": "version"}.get(name, name)
    if name not in VERBS:
        raise Misuse(f"There is no verb {name!r}.", why=did_you_mean(name, VERBS), fix="All of them: parquetry --help.")
    if rest[:1] in (["-h"], ["--help"]):
        print(f"usage: {VERBS[name].usage}\n\n{VERBS[name].meaning}")
        if name in ("run", "copy"):
            print(_job_list())
        if name == "ingest":
            from parquetry.foundation.ingest_command import flags

            print(flags())
        return Result(0, {})
    return VERBS[name].act(rest)


def _run(rest: list[str]) -> Result:
    import runpy

    from parquetry.job import JobExit

    path = _job(rest[:1], "run")
    name = rest[0]
    before = sys.argv
    sys.argv = [str(path), *rest[1:]]
    try:
        # As __main__, just as "python job.py" runs it, so that workers treat its functions alike.
        runpy.run_path(str(path), init_globals={"__command__": f"parquetry run {name}"}, run_name="__main__")
    except JobExit as end:
        return Result(end.outcome.code, end.outcome.summary)
    finally:
        sys.argv = before
    raise Misuse(f"{path} ended without run_job(run, Config).", fix="See a job that comes along: parquetry copy.")


def _copy(rest: list[str]) -> Result:
    from parquetry import jobs
    from parquetry.errors import OutputExists, OutputNotWritable

    path = _job(rest[:1], "copy")
    if len(rest) != 2 or not rest[1].endswith(".py"):
        raise Misuse("copy takes a job and the file to make.", fix=f"As in: {VERBS['copy'].usage}")
    target = Path(rest[1])
    if target.exists():
        raise OutputExists(f"{target} is already there.", fix="Name another file, or remove this one.")
    text = path.read_text(encoding="utf-8").replace(jobs.name_in_docs(path), target.as_posix())
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(f"{target} cannot be written.", why=str(error), fix="Name another file.") from error
    print(f"{target} is yours. Run it: python {target}")
    return Result(0, {"job": rest[0], "file": str(target)})


def _data(rest: list[str]) -> Result:
    from rich.console import Console

    from parquetry import catalogue

    _no_more(rest, "data")
    console = Console(soft_wrap=True, markup=False, highlight=False)
    rows = []
    for entry in catalogue.entries().values():
        where = catalogue.where_from(entry)
        console.print(f"{entry.name}: {entry.title}; {entry.rows:,} rows, target {entry.target}")
        console.print(f"    {where}")
        rows.append({"name": entry.name, "rows": entry.rows, "target": entry.target, "where": where})
    return Result(0, {"data": rows})


def _profile(rest: list[str]) -> Result:
    from parquetry.foundation.profile import profile
    from parquetry.foundation.profile_page import save_profile, show_profile

    words, flags = _split(rest, ("--target", "--quantiles", "--engine", "--to"), "profile")
    found = profile(
        _one_path(words, "profile"),
        target=flags.get("--target"),
        quantiles=flags.get("--quantiles", "exact"),
        engine=flags.get("--engine", "local"),
    )
    show_profile(found)
    if "--to" in flags:
        print(f"Page: {save_profile(found, flags['--to'])}")
    return Result(0, found.to_dict())


def _split(rest: list[str], flags: Sequence[str], verb: str) -> tuple[list[str], dict[str, str]]:
    """Words, and the values of flags (``--to x`` or ``--to=x``)."""
    words: list[str] = []
    found: dict[str, str] = {}
    left = iter(rest)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("--"):
            words.append(word)
        elif name not in flags:
            raise Misuse(f"{verb} has no flag {name}.", why=did_you_mean(name, flags), fix=VERBS[verb].usage)
        else:
            found[name] = value if equals else next(left, "")
            if not found[name]:
                raise Misuse(f"{name} needs a value.", fix=f"As in: {VERBS[verb].usage}")
    return words, found


def _one_path(words: list[str], verb: str) -> str:
    if len(words) != 1:
        raise Misuse(f"{verb} takes one path.", fix=f"As in: {VERBS[verb].usage}")
    return words[0]


def _clean(rest: list[str]) -> Result:
    from parquetry.foundation.clean_command import clean_command

    if len(rest) < 2 or any(w.startswith("-") for w in rest[:2]):
        raise Misuse("clean takes the data and the place to write to.", fix=f"As in: {VERBS['clean'].usage}")
    return Result(0, clean_command(rest[0], rest[1], rest[2:]))


def _doctor(rest: list[str]) -> Result:
    from parquetry.foundation.doctor import examine
    from parquetry.foundation.mending import mend

    words, flags = _split(rest, ("--fix", "--engine"), "doctor")
    path = _one_path(words, "doctor")
    found = examine(path)
    print(found.text())
    value: dict[str, Any] = {"diagnosis": found.to_dict()}
    if "--fix" in flags:
        done = mend(path, flags["--fix"], engine=flags.get("--engine"))
        after = examine(done.to)
        print(f"\n{done.rows:,} rows, the same in the copy (SHA-256 {done.digest[:16]}…).\n{after.text()}")
        value |= {"mended": done.to_dict(), "after": after.to_dict()}
        found = after
    return Result(0 if found.healthy else 3, value)


def _ingest(rest: list[str]) -> Result:
    from parquetry.foundation.ingest_command import command

    return Result(0, command(rest, VERBS["ingest"].usage))


def _version(rest: list[str]) -> Result:
    _no_more(rest, "version")
    print(f"parquetry {__version__} (Python {platform.python_version()})")
    return Result(0, {"version": __version__, "python": platform.python_version()})


def _job(words: Sequence[str], verb: str) -> Path:
    from parquetry import jobs

    if not words or words[0].startswith("-"):
        raise Misuse("Which job?", why=_job_list(), fix=f"\nAs in: {VERBS[verb].usage}")
    found = jobs.find(words[0])
    if found is None:
        if words[0].endswith(".py"):
            raise Misuse(f"There is no file {words[0]!r}.", fix="Check the path, or name a job that comes along.")
        known = jobs.available()
        raise Misuse(f"There is no job {words[0]!r}.", why=did_you_mean(words[0], known), fix=f"All: parquetry {verb}.")
    return found


def _job_list() -> str:
    from parquetry import jobs

    lines = [f"  {name:<18} {jobs.first_line(path)}" for name, path in jobs.available().items()]
    return "\n".join(["\njobs:", *(lines or ["  none found"])])


def _no_more(rest: Sequence[str], verb: str) -> None:
    if rest:
        raise Misuse(f"{verb} takes no {rest[0]!r}.", fix=f"As in: {VERBS[verb].usage}")


def _help() -> str:
    lines = [f"  {v.usage:<36} {v.meaning}" for v in VERBS.values()]
    closing = "Every verb takes --json: one JSON object as its last line. More on one: parquetry VERB --help."
    return "\n".join(["usage: parquetry VERB …", "", *lines, "", closing])


VERBS: Final = {
    "run": Verb("parquetry run JOB [flags]", "Run a job; its own flags: parquetry run JOB --help.", _run),
    "copy": Verb("parquetry copy JOB FILE.py", "Your own copy of a job, to change as you like.", _copy),
    "profile": Verb(
        "parquetry profile PATH [--target COLUMN] [--quantiles exact|sketch|none] [--engine ENGINE] [--to FOLDER]",
        "Know a table, CSV or Excel too: columns, correlations, target, what to look at; --to leaves a page.",
        _profile,
    ),
    "clean": Verb(
        "parquetry clean PATH TO --recipe FILE",
        "Clean data by a recipe: [--engine E] [--workers N] [--memory S] [--learned FILE] [--mode M] [--no-dropped].",
        _clean,
    ),
    "data": Verb("parquetry data", "The catalogue of data sets, and where each would come from.", _data),
    "doctor": Verb(
        "parquetry doctor PATH [--fix TO]",
        "What makes Parquet slow or unsafe, and a sound copy of it; exit code 0: healthy (notes aside), 3: sick.",
        _doctor,
    ),
    "ingest": Verb("parquetry ingest SOURCE TO [flags]", "Bring a table in, and account for every row.", _ingest),
    "version": Verb("parquetry version", "The versions of Parquetry and Python.", _version),
}
