"""Where jobs are found: the folder ``jobs`` here, that of a clone, or what the package installed.

Jobs are scripts, not modules of the library; a wheel carries them as data files.
"""

from __future__ import annotations

import ast
import importlib.metadata
from collections.abc import Iterator
from pathlib import Path

_INSTALLED = "share/parquetry/jobs/"


def available() -> dict[str, Path]:
    """All jobs by name; the first place that has a name wins."""
    found: dict[str, Path] = {}
    for path in _scripts():
        if path.stem not in found and _is_job(path):
            found[path.stem] = path
    return dict(sorted(found.items()))


def find(name: str) -> Path | None:
    """The script of a job: by name, or a path to a file of one's own; None where there is none."""
    if name.endswith(".py"):
        return Path(name) if Path(name).is_file() else None
    return available().get(name)


def first_line(path: Path) -> str:
    """What a job says of itself in the first line of its docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def name_in_docs(path: Path) -> str:
    """How a job's docstring names its script: ``jobs/classical/house_prices.py``."""
    return f"jobs/{path.parent.name}/{path.name}"


def _scripts() -> Iterator[Path]:
    for folder in (Path.cwd() / "jobs", Path(__file__).parents[2] / "jobs"):
        yield from sorted(folder.glob("*/*.py"))
    try:
        files = importlib.metadata.files("parquetry") or []
    except importlib.metadata.PackageNotFoundError:
        return
    for file in sorted(str(f.locate()) for f in files if _INSTALLED in f.as_posix() and f.suffix == ".py"):
        yield Path(file).resolve()


def _is_job(path: Path) -> bool:
    try:
        return "run_job(" in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
