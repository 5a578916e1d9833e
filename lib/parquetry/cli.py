"""The ``parquetry`` command: what is not a job, and ``run`` for what is.

Exit codes are those of :mod:`parquetry.job`. Every verb takes ``--json`` and then prints one JSON
object as its last line.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from parquetry import __version__
from parquetry.command_line import Argument, Misuse, Result, Verb, columns
from parquetry.errors import ParquetryError, did_you_mean
from parquetry.foundation import commands

# Only what every call needs is imported here: the command must answer at once.
_HELP: Final = ("-h", "--help")


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
    if not words or words[0] in (*_HELP, "help"):
        print(_help())
        return Result(0 if words else 2, {})
    name, rest = words[0], words[1:]
    name = {"--version": "version", "-V": "version"}.get(name, name)
    if name not in VERBS:
        raise Misuse(f"There is no verb {name!r}.", why=did_you_mean(name, VERBS), fix="All of them: parquetry --help.")
    verb = VERBS[name]
    # A job's own --help is the job's.
    if any(word in _HELP for word in (rest[:1] if verb.passes_on else rest)):
        print(verb.help())
        return Result(0, {})
    return verb.act(verb.read(rest))


def _run(given: dict[str, Any]) -> Result:
    import runpy

    from parquetry.errors import missing
    from parquetry.job import JobExit

    path = _job(given["words"], RUN)
    name = given["words"][0]
    before = sys.argv
    sys.argv = [str(path), *given["rest"]]
    try:
        # As __main__, just as "python job.py" runs it, so that workers treat its functions alike.
        runpy.run_path(str(path), init_globals={"__command__": f"parquetry run {name}"}, run_name="__main__")
    except JobExit as end:
        return Result(end.outcome.code, end.outcome.summary)
    except ModuleNotFoundError as error:
        if error.name not in ("xgboost", "lightgbm", "catboost"):
            raise
        raise missing(error.name, "boosting", f"by the job {name}") from error
    finally:
        sys.argv = before
    raise Misuse(f"{path} ended without run_job(run, Config).", fix="See one that comes along: parquetry copy --help.")


def _copy(given: dict[str, Any]) -> Result:
    from parquetry import jobs
    from parquetry.errors import OutputExists, OutputNotWritable

    job, name = given["job"], given["file.py"]
    path = _job([job], COPY)
    if not name.endswith(".py"):
        raise Misuse(f"copy makes a script, and {name!r} does not end with .py.", fix=f"As in: {COPY.usage}")
    target = Path(name)
    if target.exists():
        raise OutputExists(f"{target} is already there.", fix="Name another file, or remove this one.")
    text = path.read_text(encoding="utf-8").replace(jobs.name_in_docs(path), target.as_posix())
    try:
        target.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OutputNotWritable(f"{target} cannot be written.", why=str(error), fix="Name another file.") from error
    print(f"{target} is yours. Run it: python {target}")
    return Result(0, {"job": job, "file": str(target)})


def _data(_given: dict[str, Any]) -> Result:
    from rich.console import Console

    from parquetry import catalogue

    console = Console(soft_wrap=True, markup=False, highlight=False)
    rows = []
    for entry in catalogue.entries().values():
        where = catalogue.where_from(entry)
        console.print(f"{entry.name}: {entry.title}; {entry.rows:,} rows, target {entry.target}")
        console.print(f"    {where}")
        rows.append({"name": entry.name, "rows": entry.rows, "target": entry.target, "where": where})
    return Result(0, {"data": rows})


def _version(_given: dict[str, Any]) -> Result:
    print(f"parquetry {__version__} (Python {platform.python_version()})")
    return Result(0, {"version": __version__, "python": platform.python_version()})


def _job(words: Sequence[str], verb: Verb) -> Path:
    from parquetry import jobs

    if not words or words[0].startswith("-"):
        raise Misuse("Which job?", why=f"\n{_job_list()}", fix=f"\nAs in: {verb.usage}")
    found = jobs.find(words[0])
    if found is None:
        if words[0].endswith(".py"):
            raise Misuse(f"There is no file {words[0]!r}.", fix="Check the path, or name a job that comes along.")
        known = jobs.available()
        raise Misuse(
            f"There is no job {words[0]!r}.", why=did_you_mean(words[0], known), fix=f"All: parquetry {verb.name}."
        )
    return found


def _job_list() -> str:
    from parquetry import jobs

    found = [(name, jobs.first_line(path)) for name, path in jobs.available().items()]
    return "\n".join(["jobs:", *(columns(found) or ["  none found"])])


def _help() -> str:
    lines = columns([(v.usage.removeprefix("parquetry "), v.meaning) for v in VERBS.values()], 40)
    closing = "Every verb takes --json: one JSON object as its last line. More on one: parquetry VERB --help."
    return "\n".join(["usage: parquetry VERB …", "", *lines, "", closing])


_JOB: Final = Argument("JOB", "the name of a job, or the path of its script")
RUN: Final = Verb(
    "run", "Run a job; its own flags: parquetry run JOB --help.", _run, (_JOB,), more=_job_list, passes_on=True
)
COPY: Final = Verb(
    "copy",
    "Your own copy of a job, to change as you like.",
    _copy,
    (_JOB, Argument("FILE.py", "the file to make")),
    more=_job_list,
)
DATA: Final = Verb("data", "The catalogue of data sets, and where each would come from.", _data)
VERSION: Final = Verb("version", "The versions of Parquetry and Python.", _version)
VERBS: Final = {verb.name: verb for verb in (*commands.VERBS, RUN, COPY, DATA, VERSION)}
