"""The report: one HTML file that needs nothing else, and a table on the console."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Template

    from parquetry.run import Run, Scores, Table

METRIC_NAMES = {
    "r2": "R²",
    "rmse": "RMSE",
    "mae": "MAE",
    "mape": "MAPE",
    "rmsle": "RMSLE",
    "precision": "precision, mean of classes",
    "recall": "recall, mean of classes",
    "f1": "F1, mean of classes",
    "precision_weighted": "precision, weighted",
    "recall_weighted": "recall, weighted",
    "f1_weighted": "F1, weighted",
    "average_precision": "average precision",
    "missed": "missed",
    "lost": "false alarms",
    "cost_per_1000": "cost per 1,000 rows",
    "mcc": "Matthews correlation",
    "cohen_kappa": "Cohen's kappa",
    "brier": "Brier score",
    "calinski_harabasz": "Calinski-Harabasz",
    "davies_bouldin": "Davies-Bouldin",
    "silhouette_rows": "silhouette, rows looked at",
    "roc_auc": "ROC AUC",
    "roc_auc_weighted": "ROC AUC, weighted",
    "roc_auc_error": "ROC AUC wrong by at most",
    "average_precision_error": "average precision wrong by at most",
    "rows": "rows",
}
_BOUNDS = {"roc_auc_error", "average_precision_error"}  # nothing to tell where they are zero
_AGREEMENT = {
    "rows": "rows compared",
    "disagreements": "rows that disagree",
    "rounded": "rows that differ by the rounding of their inputs to float32",
    "max_absolute": "largest difference",
    "max_relative": "largest relative difference",
    "rtol": "relative difference that rounding explains",
    "scale": "usual size of a prediction",
    "first": "first row that disagrees",
}
_FIGURE = re.compile(r"[-+]?[\d.,]+(e[-+]?\d+)?( ?%)?|-|nan|inf|", re.IGNORECASE)
_SAME_AS_ACCURACY = {"precision_micro", "recall_micro", "f1_micro"}
_PACKAGES = ("parquetry", "scikit-learn", "numpy", "pyarrow", "pandas", "onnx", "onnxruntime", "skl2onnx", "skops")
_ENGINE_PACKAGES = {"dask": "dask", "distributed": "distributed", "pyspark": "pyspark"}


def html(run: Run) -> str:
    """The report of a run; everything that is shown is escaped but our own pictures."""
    return template("report.html.j2").render(
        run=run,
        contents=run.contents,
        settings=_settings(run),
        metrics=metric_rows(run.contents.scores),
        fits=[(name, _fit_facts(fit), fit.get("steps", [])) for name, fit in run.contents.fits.items()],
        agreement=[
            (_AGREEMENT.get(k, _words(k)), number(v)) for k, v in run.contents.agreement.items() if v is not None
        ],
        sides=_sides,
        is_broad=_is_broad,
        versions=versions(),
        profile=_profile(run),
        number=number,
    )


def _profile(run: Run) -> dict[str, Any] | None:
    from parquetry.foundation.profile_page import page_parts

    return None if run.contents.profile is None else page_parts(run.contents.profile)


def show(run: Run) -> None:
    """The run's end on the console: where the data came from, the metrics, and where all of it is."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(soft_wrap=True)
    label = Text("SYNTHETIC DATA: figures say nothing about the real set. ", "bold black on yellow")
    console.print(Text.assemble("\n", label if run.contents.synthetic else "", "Data: ", run.contents.origin))
    scores = run.contents.scores
    if scores:
        table = RichTable(
            title=f"{run.job}, {run.seconds:.1f} s on {run.engine.get('name', '-')}", title_justify="left"
        )
        table.add_column("metric")
        for s in scores:
            table.add_column(Text(_heading(s)), justify="right", style="dim" if s.baseline else "bold")
        for name, values in metric_rows(scores):
            table.add_row(Text(name), *values)
        console.print(table)
    console.print(Text(f"Report: {run.folder / 'report.html'}"))


def metric_rows(scores: list[Scores]) -> list[tuple[str, list[str]]]:
    """A row a metric: its name, and one text a model."""
    found = dict.fromkeys(
        k
        for s in scores
        for k, v in s.values.items()
        if isinstance(v, (int, float)) and k not in _SAME_AS_ACCURACY and not (k in _BOUNDS and v == 0.0)
    )
    names = sorted(found, key=lambda name: name == "rows")  # the number of rows last, the rest as given
    return [(_metric_name(n), [number(s.values.get(n), n) for s in scores]) for n in names]


def _metric_name(name: str) -> str:
    """``recall of spam`` for ``spam_recall``."""
    label, _, measure = name.rpartition("_")
    if name not in METRIC_NAMES and label and measure in ("precision", "recall", "f1"):
        return f"{'F1' if measure == 'f1' else measure} of {label}"
    return METRIC_NAMES.get(name, _words(name))


def number(value: Any, name: str = "") -> str:
    """A value as people read it: 70,123 or 0.6438; R² with four digits, MAPE, a ratio, as percent."""
    if isinstance(value, int):
        return f"{value:,}" if not isinstance(value, bool) else "yes" if value else "no"
    if not isinstance(value, float):
        return (
            "-" if value is None else ", ".join(map(number, value)) if isinstance(value, (list, tuple)) else str(value)
        )
    if name in ("r2", "mape"):
        return f"{value:.1%}" if name == "mape" else f"{value:z.4f}"
    if value and not 1e-4 <= abs(value) < 1e15:
        return f"{value:.3e}"
    return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:,.4g}"


def versions() -> list[tuple[str, str]]:
    """Python, the platform, and the packages that took part."""
    used = [p for module, p in _ENGINE_PACKAGES.items() if module in sys.modules]
    found = [("python", platform.python_version()), ("platform", f"{platform.system()} {platform.machine()}")]
    for package in (*_PACKAGES, *used):
        try:
            found.append((package, importlib.metadata.version(package)))
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@cache
def template(name: str) -> Template:
    """A page's template by its file's name; what it shows is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("parquetry", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["heading"] = _heading
    return environment.get_template(name)


def _settings(run: Run) -> list[tuple[str, str, str]]:
    shown = run.config.model_dump(mode="json")
    return [(name, number(value), run.sources.get(name, "default")) for name, value in shown.items()]


def _fit_facts(fit: dict[str, Any]) -> str:
    parts = [
        str(fit.get("placement", "")),
        f"{fit['passes']} {'pass' if fit['passes'] == 1 else 'passes'}" if "passes" in fit else "",
        f"{fit['rows']:,} rows" if "rows" in fit else "",
        f"{fit['seconds']:.2f} s" if "seconds" in fit else "",
        f"{fit['engine']}, {fit.get('parallelism', 1)} at once" if "engine" in fit else "",
    ]
    return " · ".join(p for p in parts if p)


def _heading(scores: Scores) -> str:
    return f"{scores.model} (baseline)" if scores.baseline else scores.model


def _sides(table: Table) -> list[str]:
    """The class of each column's cells: "n", set at the right, for figures; "t" for texts."""
    return ["n" if all(_is_figure(row[i]) for row in table.rows) else "t" for i in range(len(table.columns))]


def _is_broad(svg: str) -> bool:
    """Whether a picture is so much wider than high that half a page makes its letters small."""
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    return box is not None and float(box[1]) > 2 * float(box[2])


def _is_figure(value: Any) -> bool:
    return value is None or isinstance(value, (int, float)) or _FIGURE.fullmatch(str(value)) is not None


def _words(name: str) -> str:
    return name.replace("_", " ")
