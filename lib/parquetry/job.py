"""run_job: from flags to a finished Run, with exit codes that a scheduler understands.

0: done. 1: it failed, and one clear message says why. 2: the settings are wrong, and all that is
wrong is listed. 130: interrupted.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from parquetry.config import JobConfig, help_text, read_config
from parquetry.engine import Engine, open_engine
from parquetry.errors import BadConfig, ParquetryError
from parquetry.run import Run

ConfigType = TypeVar("ConfigType", bound=JobConfig)
Work = Callable[[Any, Engine, Run], None]

log = logging.getLogger("parquetry")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes
    ----------
    code : int
        The exit code.
    folder : pathlib.Path or None
        The run's folder, where there is one.
    summary : dict
        What ``metrics.json`` holds, or ``{"error": …, "message": …}``.
    """

    code: int
    folder: Path | None = None
    summary: dict[str, Any] = field(default_factory=dict)


class JobExit(SystemExit):
    """The end of a job's process; ``outcome`` says how it went."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome.code)


def run_job(run: Work, config: type[JobConfig], arguments: Sequence[str] | None = None) -> NoReturn:
    """A job's last line: read the settings, open the engine, run the job, end the process.

    Parameters
    ----------
    run : callable
        ``run(config, engine, run)``, the job itself.
    config : subclass of JobConfig
    arguments : sequence of str, default None
        Flags; None for those of the command line.
    """
    raise JobExit(execute(run, config, sys.argv[1:] if arguments is None else arguments))


def execute(work: Work, kind: type[ConfigType], arguments: Sequence[str]) -> Outcome:
    """Run a job and say how it ended; nothing is raised but what the interpreter itself raises."""
    name = Path(work.__code__.co_filename).stem
    if "--help" in arguments or "-h" in arguments:
        print(help_text(kind, command=_command(work), about=work.__globals__.get("__doc__") or ""))
        return Outcome(0)
    try:
        config, sources = read_config(kind, arguments)
    except BadConfig as error:
        return _failed(error, 2)
    if "engine" not in sources and launched_by_spark_submit():
        config, sources = config.model_copy(update={"engine": "spark"}), {**sources, "engine": "spark-submit"}
    with _console_log(config.log_level), _sigterm_ends_cleanly():
        return _supervised(work, name, config, sources)


def launched_by_spark_submit() -> bool:
    """Whether this process is a Spark driver: then Spark is the engine, unless another is named."""
    if os.environ.get("PYSPARK_GATEWAY_PORT"):
        return True
    spark = sys.modules.get("pyspark.sql")
    return spark is not None and spark.SparkSession.getActiveSession() is not None


def _supervised(work: Work, name: str, config: JobConfig, sources: dict[str, str]) -> Outcome:
    run: Run | None = None
    try:
        run = Run(name, config, sources=sources)
        with run:
            _work(work, config, run)
    except ParquetryError as error:
        return _failed(error, 1, run, _with_input(error, config, run))
    except KeyboardInterrupt as error:
        return _failed(error, 130, run, "Interrupted.")
    except Exception as error:  # noqa: BLE001 (the job's own code: shown with its traceback)
        traceback.print_exc()
        return _failed(error, 1, run, f"The job stopped on {type(error).__name__}: {error}")
    from parquetry import report

    report.show(run)
    return Outcome(0, run.folder, {**run.summary(), "folder": str(run.folder)})


def _work(work: Work, config: JobConfig, run: Run) -> None:
    with open_engine(config.engine, workers=config.workers, memory=config.memory) as engine:
        run.engine = {"name": engine.name, "parallelism": engine.parallelism}
        run.event("engine", **run.engine)
        work(config, engine, run)


def _with_input(error: ParquetryError, config: JobConfig, run: Run | None) -> str:
    """The error's message with the user's file in the place of its converted copy, which is gone; else ""."""
    if run is None or run.converted not in str(error):
        return ""
    source = f"{config.input or 'the data set'} (as it was converted to Parquet)"
    return f"{type(error).__name__}: {str(error).replace(run.converted, source)}"


def _failed(error: BaseException, code: int, run: Run | None = None, message: str = "") -> Outcome:
    text = message or str(error)
    sys.stdout.flush()
    label = "" if code == 130 else f"{type(error).__name__}: "
    lines = [text if message else f"{label}{text}"]
    if run is not None and run.failed:
        lines.append(f"Nothing was left but the log: {run.failed_log}")
    print("\n".join(lines), file=sys.stderr)
    return Outcome(code, None, {"error": type(error).__name__, "message": text})


def _command(work: Work) -> str:
    """How this job was launched: ``parquetry run`` says so in the script's ``__command__``."""
    return str(work.__globals__.get("__command__") or f"python {shlex.quote(sys.argv[0])}")


class _Console(logging.StreamHandler[Any]):
    """A stream that may be closed before the job ends (``job.py | head``), which is no error of the job's."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 (logging's name)
        if not isinstance(sys.exc_info()[1], BrokenPipeError):
            super().handleError(record)


@contextlib.contextmanager
def _console_log(level: str) -> Iterator[None]:
    """Parquetry's log on standard output while a job runs; warnings on standard error."""
    quiet, loud = _Console(sys.stdout), _Console(sys.stderr)
    quiet.addFilter(lambda record: record.levelno < logging.WARNING)
    loud.setLevel(logging.WARNING)
    before, propagate = log.level, log.propagate
    log.setLevel(level.upper())
    log.propagate = False
    for handler in (quiet, loud):
        log.addHandler(handler)
    try:
        yield
    finally:
        for handler in (quiet, loud):
            log.removeHandler(handler)
        log.setLevel(before)
        log.propagate = propagate


@contextlib.contextmanager
def _sigterm_ends_cleanly() -> Iterator[None]:
    """A scheduler's SIGTERM ends the job as Ctrl-C does, so that nothing half-made stays."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
