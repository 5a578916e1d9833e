"""Run: the folder that a job leaves, whole or not at all.

It is built as a hidden sibling of its final place and renamed at the end. A job that fails leaves
no folder, only a ``.failed`` file beside it with its events and the traceback.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import time
import traceback
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import yaml

from parquetry.config import JobConfig
from parquetry.errors import BadParameter, OutputExists, OutputNotWritable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from parquetry.foundation.profile_results import Profile

_MARKS = ("config.yaml", "events.jsonl")  # what tells a run's folder from any other

log = logging.getLogger("parquetry.run")


@dataclass(frozen=True)
class Scores:
    """The metrics of one model; ``baseline`` for the one that it must beat."""

    model: str
    values: dict[str, Any]
    baseline: bool = False


@dataclass(frozen=True)
class Plot:
    """A picture of the report: an ``<svg>`` element, and the name of its PNG file."""

    title: str
    caption: str
    svg: str
    file: str


@dataclass(frozen=True)
class Table:
    """A table of the report."""

    title: str
    columns: list[str]
    rows: list[list[Any]]
    caption: str = ""
    first: bool = False
    text: bool = False


@dataclass
class Contents:
    """What the report shows."""

    origin: str = ""
    synthetic: bool = False
    scores: list[Scores] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    fits: dict[str, dict[str, Any]] = field(default_factory=dict)
    agreement: dict[str, Any] = field(default_factory=dict)
    profile: Profile | None = None


class Run:
    """A job's output folder; a context manager.

    Parameters
    ----------
    job : str
        The job's name.
    config : JobConfig
        Its ``output`` names the folder; None for ``runs/<job>/<UTC time>-<short id>``.
    sources : mapping, default None
        Where each setting came from.

    Attributes
    ----------
    folder : pathlib.Path
        Where the run will be, and is after the end.
    contents : Contents
        What the report will show.
    units : dict of str to str
        The units of columns, where they are known.
    converted : str
        Where a text table is converted to; it goes with a run that fails.

    Raises
    ------
    OutputExists, OutputNotWritable
        At once, before any work.
    """

    def __init__(self, job: str, config: JobConfig, *, sources: Mapping[str, str] | None = None) -> None:
        self.job, self.config, self.sources = job, config, dict(sources or {})
        self.id = uuid.uuid4().hex[:8]
        self.started = datetime.now(UTC)
        self.seconds = 0.0
        self.contents = Contents()
        self.units: dict[str, str] = {}
        self.engine: dict[str, Any] = {}
        self.folder = self._place(config)
        self.failed_log = self.folder.with_name(f"{self.folder.name}.failed")
        self._building = self.folder.with_name(f".{self.folder.name}.{self.id}.partial")
        self.converted = str(self._building / "input" / "rows.parquet")
        self._clock = time.perf_counter()
        self._open = False
        self.failed = False
        self._check()

    # --- what a job writes --------------------------------------------------------------------
    def path(self, name: str) -> Path:
        """A path in the run's folder, which is still being built; its parent exists."""
        path = self._building / name
        if not path.resolve().is_relative_to(self._building.resolve()):
            raise BadParameter(f"{name!r} lies outside the run's folder.", fix="Pass a relative name, as 'model'.")
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def event(self, event: str, /, **fields: Any) -> None:
        """Note something that happened: a line of ``events.jsonl``, and of the console."""
        moment = datetime.now(UTC).isoformat(timespec="milliseconds")
        with (self._building / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": moment, "event": event, **fields}, default=str) + "\n")
        shown = "  ".join(f"{k} {_short(v)}" for k, v in fields.items() if v is not None and v != {})
        log.info("%s  %s", f"{event:<10}", shown)

    def origin(self, text: str, *, synthetic: bool = False, units: Mapping[str, str] | None = None) -> None:
        """Where the data came from; synthetic data is labeled in the report and on the console."""
        self.contents.origin, self.contents.synthetic = text, synthetic
        self.units.update(units or {})
        self.event("data", origin=text, synthetic=synthetic)

    def metrics(self, model: str, values: Mapping[str, Any], *, baseline: bool = False) -> None:
        """The metrics of a model, a column of the report's table; its curves go to a file in ``curves/``."""
        from parquetry.metrics.summary import split_curves

        shown, curves = split_curves(values)
        self.contents.scores.append(Scores(model, shown, baseline))
        if curves:
            self.write_json(f"curves/{len(self.contents.scores):02d}-{_slug(model)}.json", curves)
        self.event("metrics", model=model, **{k: v for k, v in shown.items() if isinstance(v, (int, float))})

    def fitted(self, name: str, model: Any) -> None:
        """How a model was fitted: its ``fit_report_`` goes to the events and the report."""
        report = dict(model.fit_report_)
        self.contents.fits[name] = report
        self.event(
            "fit", model=name, **{k: report[k] for k in ("placement", "passes", "rows", "seconds") if k in report}
        )

    def agreement(self, result: Mapping[str, Any]) -> None:
        """How the exported model's predictions compare with the model's own."""
        self.contents.agreement = dict(result)
        self.event("agreement", **self.contents.agreement)

    def plot(self, figure: Figure, title: str, caption: str = "") -> None:
        """Keep a figure: a PNG file under ``plots/``, and a picture in the report."""
        from parquetry.foundation import plots

        file = f"plots/{len(self.contents.plots) + 1:02d}-{_slug(title)}.png"
        plots.save_png(figure, self.path(file))
        self.contents.plots.append(Plot(title, caption, plots.as_svg(figure, title), file))

    def table(
        self,
        title: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[Any]],
        caption: str = "",
        *,
        first: bool = False,
        text: bool = False,
    ) -> None:
        """A table for the report; ``first`` puts it before the pictures, ``text`` is for words more than numbers."""
        self.contents.tables.append(Table(title, list(columns), [list(row) for row in rows], caption, first, text))

    def profile(self, found: Profile) -> None:
        """A profile of the data: its alerts come first in the report; also ``profile.json`` and ``columns.csv``."""
        from parquetry.foundation.profile_page import as_csv

        self.contents.profile = found
        self.path("profile.json").write_text(found.to_json(), encoding="utf-8")
        self.path("columns.csv").write_text(as_csv(found), encoding="utf-8")
        self.event("profile", rows=found.rows, columns=len(found.columns), alerts=len(found.alerts), reads=found.reads)

    def note(self, text: str) -> None:
        """A sentence that the reader should not miss: in the report, and on the console."""
        self.contents.notes.append(text)
        self.event("note", text=text)

    def write_json(self, name: str, value: Any) -> Path:
        """Write a value as a JSON file of the run; floats keep every digit."""
        path = self.path(name)
        path.write_text(json.dumps(value, indent=2, default=str, ensure_ascii=False) + "\n", encoding="utf-8")
        return path

    def summary(self) -> dict[str, Any]:
        """The run in one JSON object: what ``metrics.json`` holds."""
        return {
            "job": self.job,
            "id": self.id,
            "started": self.started.isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "engine": self.engine,
            "data": {"origin": self.contents.origin, "synthetic": self.contents.synthetic},
            "metrics": {s.model: s.values for s in self.contents.scores},
            "baselines": [s.model for s in self.contents.scores if s.baseline],
            "onnx_agreement": self.contents.agreement,
        }

    # --- the folder's life --------------------------------------------------------------------
    def __enter__(self) -> Self:
        try:
            self._building.mkdir(parents=True)
        except OSError as error:
            raise _not_writable(self.folder, error) from error
        self._open = True
        settings = self.config.model_dump(mode="json")
        text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
        (self._building / "config.yaml").write_text(text, encoding="utf-8")
        self.event("start", job=self.job, run=self.id, settings_from=self.sources)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._fail(error)
            return
        try:
            self._finish()
        except BaseException as late:
            self._fail(late)
            raise

    def _finish(self) -> None:
        from parquetry import report

        self.seconds = time.perf_counter() - self._clock
        self.write_json("metrics.json", self.summary())
        self.path("report.html").write_text(report.html(self), encoding="utf-8")
        self.event("done", seconds=round(self.seconds, 3))
        old = self.folder.with_name(f".{self.folder.name}.{self.id}.old")
        if self.folder.exists():
            self.folder.rename(old)
        try:
            self._building.rename(self.folder)
        except OSError:
            if old.exists():
                old.rename(self.folder)
            raise
        self._open = False
        shutil.rmtree(old, ignore_errors=True)
        self.failed_log.unlink(missing_ok=True)

    def _fail(self, error: BaseException) -> None:
        if not self._open:
            return
        self._open, self.failed = False, True
        events = self._building / "events.jsonl"
        told = events.read_text(encoding="utf-8") if events.exists() else ""
        trace = "".join(traceback.format_exception(error))
        shutil.rmtree(self._building, ignore_errors=True)
        try:
            self.failed_log.write_text(f"{told}\n{trace}", encoding="utf-8")
        except OSError as second:
            log.warning("The log of the failure could not be written: %s", second)

    def _place(self, config: JobConfig) -> Path:
        if config.output is None:
            stamp = self.started.strftime("%Y%m%dT%H%M%SZ")
            return Path.cwd() / "runs" / self.job / f"{stamp}-{self.id}"
        text = os.fspath(config.output)
        if re.match(r"[a-z0-9+.-]+:/", text):
            url = re.sub(r":/+", "://", text, count=1)  # pathlib has made one slash of two
            raise BadParameter(
                f"--output {url} is not a local path.",
                why="A run's folder is renamed into place, which object stores cannot do.",
                fix="Name a folder, on a shared disk where the workers are other machines, and copy it afterwards.",
            )
        return Path(text).expanduser().absolute()

    def _check(self) -> None:
        if (self.folder.is_symlink() or self.folder.exists()) and not _is_empty_folder(self.folder):
            replaceable = self._is_replaceable()
            if not self.config.overwrite:
                raise OutputExists(
                    f"{self.folder} is already there.",
                    fix="Name another folder with --output, or replace it with --overwrite."
                    if replaceable
                    else "Name another folder with --output.",
                )
            if not replaceable:
                raise OutputExists(
                    f"{self.folder} is not a run's folder and is not replaced.",
                    why=f"A run's folder holds {' and '.join(_MARKS)}.",
                    fix="Name another folder with --output, or remove this one yourself.",
                )
        parent = self.folder.parent
        while not parent.exists() and parent != parent.parent:
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise _not_writable(self.folder, f"{parent} is not a folder that may be written")

    def _is_replaceable(self) -> bool:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return False
        return all((self.folder / mark).is_file() for mark in _MARKS)


def _not_writable(folder: Path, reason: Any) -> OutputNotWritable:
    return OutputNotWritable(
        f"The run's folder {folder} cannot be made.", why=f"{reason}.", fix="Name another one with --output."
    )


def _is_empty_folder(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "plot"


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return ", ".join(f"{k}: {_short(v)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_short, value))
    return f"{value:,.6g}" if isinstance(value, float) else str(value)
