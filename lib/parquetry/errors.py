"""Every error that Parquetry raises on purpose.

Each one states the fact (what was wrong and where), the reason, and the way out; each is a
:class:`ParquetryError`, so ``except ParquetryError`` catches them all.
"""

from __future__ import annotations

import difflib
import shlex
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TRACE_LINES = 12
_ENDS = (".", "!", "?", ":", ";", "…")


class ParquetryError(Exception):
    """Base class of all errors raised on purpose.

    Parameters
    ----------
    fact : str
        What is wrong, naming the file, block, column or parameter.
    why : str, default ""
        The reason.
    fix : str, default ""
        What to do next.
    """

    def __init__(self, fact: str, *, why: str = "", fix: str = "") -> None:
        self.fact, self.why, self.fix = fact, why, fix
        super().__init__(_sentences([part for part in (fact, why, fix) if part]))

    def __reduce__(self) -> tuple[Any, ...]:
        # Errors travel from workers to the driver: pickle must keep the keyword-only parts.
        return (_rebuild, (type(self), self.fact, self.why, self.fix))


def _sentences(parts: list[str]) -> str:
    """Sentences after each other: a reason that another library gave often lacks its period."""
    text = parts[0] if parts else ""
    for part in parts[1:]:
        text = text.rstrip()
        if part.startswith("\n"):
            text += part
        else:
            text += f"{'' if text.endswith(_ENDS) else '.'} {part}"
    return text


def _rebuild(kind: type[ParquetryError], fact: str, why: str, fix: str) -> ParquetryError:
    return kind(fact, why=why, fix=fix)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``Did you mean 'x'?`` for the nearest known name, else a short list of the known ones."""
    names = list(known)
    lowered = {n.lower(): n for n in names}
    near = difflib.get_close_matches(name.lower(), list(lowered), n=1)
    if not near and len(name) > 2:
        begun = [n for n in lowered if n.startswith(name.lower())]
        near = begun if len(begun) == 1 else []
    if near:
        return f"Did you mean {lowered[near[0]]!r}?"
    shown = ", ".join(repr(n) for n in names[:10])
    return f"Known: {shown}{', …' if len(names) > 10 else ''}."


# --- reading -------------------------------------------------------------------------------
class DatasetNotFound(ParquetryError, FileNotFoundError):
    """The path does not exist, or holds no Parquet file."""


class NotParquet(ParquetryError, ValueError):
    """A file is not Parquet (a CSV given as Parquet, say)."""


class MalformedText(ParquetryError, ValueError):
    """A text table has a line that cannot be read; the message names file and line."""


class MalformedWorkbook(ParquetryError, ValueError):
    """A file is no Excel workbook, is damaged or locked, or unpacks to more than can be read."""


class CorruptBlock(ParquetryError, ValueError):
    """A footer or a row group cannot be decoded."""


class DatabaseUnavailable(ParquetryError, ConnectionError):
    """A database cannot be opened, is locked, or refuses a query."""


class SchemaDrift(ParquetryError, ValueError):
    """Two files of one dataset disagree on a column."""


class EmptyDataset(ParquetryError, ValueError):
    """There is no row to work on."""


class BadRows(ParquetryError, ValueError):
    """Rows break their contract, and more of them than was allowed; nothing was written."""


class RowsUnaccounted(ParquetryError, RuntimeError):
    """Rows in are not rows accepted and rows quarantined: nothing was written."""


class AccessDenied(ParquetryError, PermissionError):
    """The path exists, but may not be read."""


# --- columns and values ---------------------------------------------------------------------
class UnknownColumn(ParquetryError, KeyError):
    """A column is named that the dataset does not have."""

    __str__ = Exception.__str__  # KeyError would show the message in quotation marks


class WrongColumnType(ParquetryError, TypeError):
    """A column's type does not fit its role."""


class ContinuousTarget(WrongColumnType, ValueError):
    """A classifier's target holds measurements."""


class DegenerateColumn(ParquetryError, ValueError):
    """A column is entirely null, or a target never varies."""


class NonFiniteValues(ParquetryError, ValueError):
    """NaN or infinity where the estimator refuses them."""


class NegativeValues(ParquetryError, ValueError):
    """Values below zero where the estimator takes counts or category codes."""


class TooManyCategories(ParquetryError, ValueError):
    """A column has more distinct values than a worker should hold."""


# --- size -----------------------------------------------------------------------------------
class TooBigForOneNode(ParquetryError, MemoryError):
    """A single-node fit or a result would not fit the memory budget."""


class TooBigForDriver(ParquetryError, MemoryError):
    """A call would bring more rows to the driver than it allowed."""


# --- fitting --------------------------------------------------------------------------------
class BadParameter(ParquetryError, ValueError):
    """An argument or an estimator's parameter is out of its range."""


class StepNotPicklable(ParquetryError, TypeError):
    """A step cannot be sent to the workers."""


class TaskFailed(ParquetryError, RuntimeError):
    """A task raised an error of its own; the message holds the worker's traceback."""


# --- engines --------------------------------------------------------------------------------
class UnknownEngine(ParquetryError, ValueError):
    """``open_engine`` was given something that names no engine."""


class EngineUnreachable(ParquetryError, ConnectionError):
    """Nobody answers at the scheduler's or master's address."""


class UnguardedScript(ParquetryError, RuntimeError):
    """A script starts worker processes on being imported, and each of them imports the script."""


class EngineLost(ParquetryError, ConnectionError):
    """The engine's scheduler or workers went away during the work."""


class GangLost(EngineLost):
    """A rank of a gang was lost in the middle of its work, and the gang with it."""


class NotEnoughSlots(ParquetryError, RuntimeError):
    """A gang needs more slots at once than the engine has."""


class MissingDependency(ParquetryError, ImportError):
    """An optional package is not installed."""


class JavaMissing(ParquetryError, RuntimeError):
    """Spark needs a Java runtime and there is none."""


# --- output ---------------------------------------------------------------------------------
class OutputExists(ParquetryError, FileExistsError):
    """The output is already there and may not be replaced."""


class OutputNotWritable(ParquetryError, PermissionError):
    """The output's place may not be written to."""


class WriteConflict(ParquetryError, RuntimeError):
    """Somebody else committed to the same table first."""


# --- artefacts, jobs, catalogue -------------------------------------------------------------
class ArtefactCorrupt(ParquetryError, ValueError):
    """A saved model's files are missing or do not match their digests."""


class UntrustedArtefact(ParquetryError, ValueError):
    """A saved model holds types that were not named as trusted."""


class NotExportable(ParquetryError, ValueError):
    """A model, or a part of one, has no ONNX or skops form."""


class BadConfig(ParquetryError, ValueError):
    """A job's flags, file or environment hold wrong settings; all are listed."""


class BadRecipe(ParquetryError, ValueError):
    """A cleaning recipe is wrong, or does not fit the columns; all that is wrong is listed."""


class BadValue(ParquetryError, ValueError):
    """A value cannot be read as what a cleaning step makes of it."""


class DownloadFailed(ParquetryError, ConnectionError):
    """A catalogue data set could not be fetched, or its digest does not match."""


def missing(package: str, extra: str, need: str) -> MissingDependency:
    """The error for a package that belongs to an extra: which, why, and how to get it."""
    clone = Path(__file__).parents[2]
    source = f"-e '{clone}[{extra}]'" if (clone / "pyproject.toml").is_file() else f"'parquetry[{extra}]'"
    return MissingDependency(
        f"The package {package!r} is not installed.",
        why=f"It is needed {need}.",
        fix=f"Install it with: {shlex.quote(sys.executable)} -m pip install {source}",
    )


def failed(error: BaseException, label: str) -> TaskFailed:
    """The typed form of an error that a task raised by itself."""
    trace = "".join(traceback.format_exception(error)).strip().splitlines()
    return TaskFailed(
        f"{label}: a task raised {type(error).__name__}: {error}",
        fix="The worker's traceback ends:\n" + "\n".join(trace[-_TRACE_LINES:]),
    )
