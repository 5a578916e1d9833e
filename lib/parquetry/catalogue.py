"""The catalogue of data sets: what they are, and where a copy comes from.

A real copy is taken where ``PARQUETRY_DATA`` has one, else from the cache, else from its public
address; each is checked by its SHA-256. Without any of them the generator makes rows of the same
schema, which are always labeled synthetic.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import logging
import os
import shutil
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from parquetry.errors import BadParameter, DownloadFailed, OutputNotWritable, did_you_mean

if TYPE_CHECKING:
    from parquetry.tabular_input import Layout

DATA_VARIABLE = "PARQUETRY_DATA"
CACHE_VARIABLE = "PARQUETRY_CACHE"
OFFLINE_VARIABLE = "PARQUETRY_OFFLINE"
_CONNECT_SECONDS = 4.0  # name lookup, connection and first answer together
_DOWNLOAD_SECONDS = 120.0
_CHUNK = 2**20

log = logging.getLogger("parquetry.catalogue")


@dataclass(frozen=True)
class Column:
    """A column as the catalogue describes it; ``unit`` is "" where it has none."""

    name: str
    type: str
    unit: str = ""
    meaning: str = ""


@dataclass(frozen=True)
class Entry:
    """One data set of the catalogue."""

    name: str
    title: str
    folder: str
    file: str
    url: str
    sha256: str
    bytes: int
    rows: int
    source: str
    license: str
    target: str
    generator: str
    columns: tuple[Column, ...]
    manifest: str = ""
    """For a set of many files: the resource that lists them, in the form of ``sha256sum``."""

    layout: Layout | None = None
    """How the real copy is written, where its own first line does not say it."""

    @property
    def parts(self) -> tuple[tuple[str, str], ...]:
        """Name and SHA-256 of each file of a set that is a folder."""
        text = resources.files("parquetry").joinpath("data", self.manifest).read_text(encoding="utf-8")
        return tuple((line[66:], line[:64]) for line in text.splitlines())

    @property
    def units(self) -> dict[str, str]:
        """The unit of each column that has one."""
        return {c.name: c.unit for c in self.columns if c.unit}


@dataclass(frozen=True)
class Found:
    """A data set's copy on this machine.

    Attributes
    ----------
    path : pathlib.Path
        A CSV file or a folder of them (real), or a Parquet file (generated).
    synthetic : bool
        Whether it was generated.
    origin : str
        Where it came from, in words, for console and report.
    entry : Entry
    """

    path: Path
    synthetic: bool
    origin: str
    entry: Entry


@cache
def entries() -> dict[str, Entry]:
    """The whole catalogue, by name."""
    text = resources.files("parquetry").joinpath("data/catalogue.yaml").read_text(encoding="utf-8")
    return {name: _entry(name, fields) for name, fields in yaml.safe_load(text).items()}


def entry(name: str) -> Entry:
    """One entry.

    Raises
    ------
    BadParameter
        There is none of that name.
    """
    if name not in entries():
        raise BadParameter(f"The catalogue has no data set {name!r}.", fix=did_you_mean(name, entries()))
    return entries()[name]


def find(name: str | Entry, *, allow_download: bool | None = None, seed: int = 0, rows: int | None = None) -> Found:
    """A copy of a data set, real if there is one, else generated and labeled so.

    Parameters
    ----------
    name : str or Entry
    allow_download : bool, default None
        None allows it unless ``PARQUETRY_OFFLINE`` is set.
    seed : int, default 0
        Of the generator; a real copy has none.
    rows : int, default None
        A number of rows is only to be had from the generator, so it is used even where there is
        a real copy; None takes the real copy, or generates as many rows as it has.

    Raises
    ------
    BadParameter
        The catalogue has no such set.
    DownloadFailed
        The copy under ``PARQUETRY_DATA`` is not the file that the catalogue describes.
    OutputNotWritable
        The cache folder cannot be written.
    """
    wanted = name if isinstance(name, Entry) else entry(name)
    if rows is not None:
        return _generated(wanted, seed, rows, f"{rows:,} rows were asked for")
    given = _given(wanted) or _cached(wanted)
    if given is not None:
        return given
    if not wanted.url:
        return _generated(wanted, seed, wanted.rows, "there is no copy here, and it has no public address")
    offline = bool(os.environ.get(OFFLINE_VARIABLE))
    if offline if allow_download is None else not allow_download:
        return _generated(wanted, seed, wanted.rows, "there is no copy here and downloads are off")
    try:
        return _downloaded(wanted)
    except DownloadFailed as error:
        return _generated(wanted, seed, wanted.rows, f"{error.fact} {error.why}".strip().rstrip("."))


def where_from(wanted: Entry) -> str:
    """Where ``find`` would take a set from, in one line; nothing is fetched or checked."""
    root = os.environ.get(DATA_VARIABLE)
    if root and (Path(root) / wanted.folder / wanted.file).exists():
        return f"{DATA_VARIABLE}: {Path(root) / wanted.folder / wanted.file}"
    if _cache_path(wanted).exists():
        return f"cache: {_cache_path(wanted)}"
    if not wanted.url:
        return "generator (synthetic): no copy here, and it has no public address"
    if os.environ.get(OFFLINE_VARIABLE):
        return f"generator (synthetic): no copy here, and {OFFLINE_VARIABLE} is set"
    return f"download: {wanted.url}; the generator (synthetic) where that fails"


def cache_folder() -> Path:
    """Where fetched and generated sets are kept: ``PARQUETRY_CACHE``, or the user's cache."""
    own = os.environ.get(CACHE_VARIABLE)
    return Path(own) if own else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parquetry"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def content_digest(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of its files' list as ``sha256sum *`` prints it."""
    if path.is_file():
        return file_digest(path)
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith("."))
    lines = [f"{file_digest(p)}  {p.name}\n" for p in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def as_markdown() -> str:
    """The catalogue as the text of ``data/README.md``."""
    parts = [
        resources.files("parquetry").joinpath("templates/catalogue_head.md.j2").read_text(encoding="utf-8").rstrip()
    ]
    return "\n\n".join([*parts, *(_section(e) for e in entries().values())]) + "\n"


def _entry(name: str, fields: dict[str, Any]) -> Entry:
    columns = tuple(Column(column, **about) for column, about in fields.pop("columns").items())
    from parquetry.tabular_input import Layout

    form = fields.pop("layout", None)
    layout = None if form is None else Layout(form["delimiter"], tuple(c.name for c in columns), form["quotes"])
    return Entry(name=name, columns=columns, layout=layout, **fields)


def _given(wanted: Entry) -> Found | None:
    root = os.environ.get(DATA_VARIABLE)
    if not root:
        return None
    path = Path(root) / wanted.folder / wanted.file
    if not path.exists():
        log.info("%s has no %s/%s.", DATA_VARIABLE, wanted.folder, wanted.file)
        return None
    digest = content_digest(path)
    if digest != wanted.sha256:
        raise DownloadFailed(
            f"{path} is not the {wanted.name} of the catalogue: its SHA-256 is {digest}, not {wanted.sha256}.",
            why="Results on another file would not compare.",
            fix=f"Put the original there, unset {DATA_VARIABLE}, or pass the file with --input.",
        )
    return Found(path=path, synthetic=False, origin=f"real copy under {DATA_VARIABLE}, SHA-256 verified", entry=wanted)


def _cache_path(wanted: Entry) -> Path:
    return cache_folder() / "real" / wanted.folder / wanted.file


def _cached(wanted: Entry) -> Found | None:
    path = _cache_path(wanted)
    if not path.exists():
        return None
    if content_digest(path) != wanted.sha256:
        log.warning("The cached %s does not match its digest and is not used.", path)
        return None
    return Found(path=path, synthetic=False, origin="real copy from the cache, SHA-256 verified", entry=wanted)


def _downloaded(wanted: Entry) -> Found:
    log.info("Fetching %s from %s …", wanted.name, wanted.url)
    path = _cache_path(wanted)
    if wanted.manifest:
        _write_whole(path, lambda part: _download_parts(wanted, part))
    else:
        content = _fetched(wanted.url, wanted.sha256, limit=wanted.bytes)
        _write_whole(path, lambda part: part.write_bytes(content))
    return Found(path=path, synthetic=False, origin=f"real copy from {wanted.url}, SHA-256 verified", entry=wanted)


def _download_parts(wanted: Entry, folder: Path) -> None:
    folder.mkdir()
    for name, digest in wanted.parts:
        (folder / name).write_bytes(_fetched(f"{wanted.url}/{name}", digest, limit=wanted.bytes))


def _fetched(url: str, sha256: str, *, limit: int) -> bytes:
    content = _fetch(url, limit=limit)
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise DownloadFailed(
            f"{url} gave another file than the catalogue's.", why=f"Its SHA-256 begins with {digest[:12]}."
        )
    return content


def _fetch(url: str, *, limit: int) -> bytes:
    """The content of an address; at most ``limit`` bytes and one more, so that too many show."""
    deadline = time.monotonic() + _DOWNLOAD_SECONDS
    try:
        with _connect(url) as answer:
            parts: list[bytes] = []
            while sum(map(len, parts)) <= limit and (part := answer.read(min(_CHUNK, limit + 1))):
                parts.append(part)
                if time.monotonic() > deadline:
                    raise TimeoutError(f"not done after {_DOWNLOAD_SECONDS:.0f} s")
            return b"".join(parts)
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise DownloadFailed(f"{url} could not be fetched:", why=f"{reason}.") from error


def _connect(url: str) -> Any:
    """Open an address. A name lookup knows no timeout, so it all runs in a thread beside us."""
    outcome: list[Any] = []

    def connect() -> None:
        try:
            outcome.append(urllib.request.urlopen(url, timeout=_CONNECT_SECONDS))  # noqa: S310 (the catalogue's own)
        except (OSError, ValueError, http.client.HTTPException) as error:
            outcome.append(error)

    thread = threading.Thread(target=connect, name="parquetry-download", daemon=True)
    thread.start()
    thread.join(_CONNECT_SECONDS)
    if not outcome:
        raise urllib.error.URLError(f"no answer within {_CONNECT_SECONDS:.0f} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def _generated(wanted: Entry, seed: int, rows: int, because: str) -> Found:
    from parquetry import generators

    if rows < 1:
        raise BadParameter(f"rows={rows} is not a number of rows.", fix="Pass 1 or more.")
    make = generators.named(wanted.generator)
    name = f"rows-{rows}-seed-{seed}-v{generators.VERSION}.parquet"
    path = cache_folder() / "synthetic" / wanted.folder / name
    if not path.is_file():
        _write_whole(path, lambda part: generators.write(make, part, rows=rows, seed=seed))
    log.warning("SYNTHETIC data: %s is generated, because %s.", wanted.name, because)
    return Found(
        path=path, synthetic=True, origin=f"SYNTHETIC, generated with seed {seed}, because {because}", entry=wanted
    )


def _write_whole(path: Path, write: Any) -> None:
    """Write beside the path, then rename: nobody ever sees half a file."""
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(part)
        part.replace(path)
    except DownloadFailed:
        raise
    except OSError as error:
        raise OutputNotWritable(
            f"{path} cannot be written.", why=str(error), fix=f"Name another folder in {CACHE_VARIABLE}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(part) if part.is_dir() else part.unlink()


def _section(e: Entry) -> str:
    facts = [
        ("real copy", f"`$PARQUETRY_DATA/{e.folder}/{e.file}`"),
        ("public address", f"<{e.url}>" if e.url else "none of just these rows"),
        (
            "SHA-256",
            f"`{e.sha256}`{f' of `lib/parquetry/data/{e.manifest}`, the list of its files' if e.manifest else ''}",
        ),
        ("size", f"{e.bytes:,} bytes, {e.rows:,} rows{f', {len(e.parts)} files' if e.manifest else ''}"),
        *([("form", _form(e.layout))] if e.layout else []),
        ("source", e.source),
        ("license", e.license),
        ("target", f"`{e.target}`"),
        ("generator", f"`parquetry.generators.{e.generator}` (same schema; always labeled synthetic)"),
    ]
    lines = [f"## {e.name}", "", f"{e.title}.", "", "| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts)]
    lines += ["", "| column | type | unit | meaning |", "|---|---|---|---|"]
    lines += [f"| `{c.name}` | {c.type} | {c.unit or '-'} | {c.meaning} |" for c in e.columns]
    return "\n".join(lines)


def _form(layout: Layout) -> str:
    between = {"\t": "tabs", ",": "commas"}.get(layout.delimiter, repr(layout.delimiter))
    return (
        f"{between} between values, no header line{'' if layout.quotes else '; quotation marks are part of the text'}"
    )


if __name__ == "__main__":
    print(as_markdown(), end="")
