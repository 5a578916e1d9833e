"""The partition doctor: what makes a folder of Parquet slow or unsafe, from its footers alone.

``examine`` reads footers and listings, no rows, so thousands of files take seconds; ``mend`` writes
a sound copy on any engine (:mod:`parquetry.foundation.mending`). The original is never touched.
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow.fs as pafs

from parquetry import footers, storage
from parquetry.errors import BadParameter, DatasetNotFound
from parquetry.foundation.file_facts import FileFacts, read_facts
from parquetry.foundation.findings import Finding, Folder, size
from parquetry.foundation.symptoms import judged

_LEFTOVER = ("_writing-", "_probe-", "_temporary", ".part-", "_committed_", "_started_")
_LONG_LOG = 100  # commits since the last checkpoint, each of which is read at every opening


@dataclass(frozen=True)
class Diagnosis:
    """What ``examine`` found.

    Attributes
    ----------
    path : str
    kind : {"parquet", "delta"}
    files, rows, row_groups : int
        Of the files that can be read.
    nbytes : int
        Stored bytes.
    findings : list of Finding
        Problems first.
    """

    path: str
    kind: str
    files: int
    rows: int
    row_groups: int
    nbytes: int
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether there is no problem; notes do not count."""
        return not any(f.severity == "problem" for f in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {**asdict(self), "healthy": self.healthy}

    def text(self) -> str:
        """All of it in words."""
        head = (
            f"{self.path}: {self.kind}, files: {self.files:,}, row groups: {self.row_groups:,}, rows: {self.rows:,}, "
            f"{size(self.nbytes)}"
        )
        lines = [head, *(_in_words(f) for f in self.findings)]
        if self.healthy:
            lines.append("Healthy." if not self.findings else "Healthy; the notes are worth knowing.")
        return "\n".join(lines)


def examine(
    path: str | os.PathLike[str],
    *,
    version: int | None = None,
    filesystem: Any = None,
    storage_options: dict[str, str] | None = None,
) -> Diagnosis:
    """Look at Parquet data and say what is wrong with it.

    Parameters
    ----------
    path : path or URL
        A file, a folder, a glob, or a Delta table.
    version : int, default None
        Of a Delta table; None for the newest.
    filesystem, storage_options
        As :func:`parquetry.open_dataset` takes them.

    Returns
    -------
    Diagnosis

    Raises
    ------
    DatasetNotFound, AccessDenied, CorruptBlock, NotParquet
        There is nothing to look at, or the Delta log cannot be read. A single bad file is a finding.
    """
    patient = admit(path, version=version, filesystem=filesystem, storage_options=storage_options)
    files = patient.folder.files
    return Diagnosis(
        path=os.fspath(path),
        kind="parquet" if patient.delta is None else "delta",
        files=len(files),
        rows=sum(f.rows for f in files),
        row_groups=sum(len(f.groups) for f in files),
        nbytes=patient.folder.stored,
        findings=judged_all(patient),
    )


@dataclass(frozen=True)
class Patient:
    """A dataset that is being looked at: where it lies, its facts, each file's partition values."""

    uri: str
    filesystem: pafs.FileSystem
    base: str
    folder: Folder
    values: dict[str, dict[str, Any]]
    table_schema: Any = None
    delta: tuple[Finding, ...] | None = None


def judged_all(patient: Patient) -> list[Finding]:
    """The findings of footers and of the Delta log, problems first."""
    found = [*judged(patient.folder), *(patient.delta or ())]
    return sorted(found, key=lambda f: f.severity != "problem")


def admit(
    path: str | os.PathLike[str], *, version: int | None, filesystem: Any, storage_options: dict[str, str] | None
) -> Patient:
    """List the files of a dataset and read their footers."""
    uri = os.fspath(path)
    fs, place = storage.resolve(uri, filesystem)
    if footers.is_delta(fs, place):
        return _admit_delta(uri, fs, place, version, storage_options)
    if version is not None:
        raise BadParameter(f"version={version} was asked of {uri!r}, which is no Delta table.", fix="Leave it out.")
    base, found = storage.list_files(fs, place)
    named = [f for f in found if f.lower().endswith(storage.PARQUET_SUFFIXES)]
    # As open_dataset has it: what is asked for by name, or has no suffix at all, is tried as it is.
    paths = found if place not in (base, base + "/") or not named else named
    if not paths:
        raise DatasetNotFound(f"There is no Parquet file in {uri!r}.", fix="Check the path.")
    facts, unreadable = read_facts(fs, paths)
    partition = footers.hive_partitions(base)
    values = {f: partition(f) for f in paths}
    listed, taken = _listing(fs, place), set(paths)
    folder = Folder(
        files=facts,
        unreadable=unreadable,
        stray=[(f, listed.get(f, 0)) for f in found if f not in taken],
        leftovers=[(f, n) for f, n in listed.items() if _is_leftover(posixpath.relpath(f, base))],
        partitions={f: tuple(v) for f, v in values.items()},
        local=storage.is_local(fs),
    )
    return Patient(uri, fs, base, folder, values)


def _admit_delta(
    uri: str, fs: pafs.FileSystem, place: str, version: int | None, options: dict[str, str] | None
) -> Patient:
    from parquetry.delta import delta_files

    values, schema = delta_files(uri, fs, place, version, options)
    facts, unreadable = read_facts(fs, list(values))
    listed = _listing(fs, place)
    marks = [(f, n) for f, n in listed.items() if _is_leftover(posixpath.relpath(f, place))]
    folder = Folder(files=facts, unreadable=unreadable, leftovers=marks, local=storage.is_local(fs))
    log = {posixpath.basename(f) for f in listed if f"{place}/_delta_log/" in f}
    found = [*_unnamed(listed, set(values), facts), *_long_log(log, folder)]
    return Patient(uri, fs, place, folder, values, schema, tuple(found))


def _unnamed(listed: dict[str, int], named: set[str], facts: Sequence[FileFacts]) -> list[Finding]:
    """Files on the disk that this version of a Delta table does not name: old versions, and failed writes."""
    data = {f: n for f, n in listed.items() if f.lower().endswith(storage.PARQUET_SUFFIXES)}
    old = {f: n for f, n in data.items() if f not in named and "/_delta_log/" not in f}
    if not old:
        return []
    nbytes, live = sum(old.values()), sum(f.size for f in facts)
    # Some history is what Delta is for; more of it than data is what vacuum is for.
    heavy = nbytes > live or len(old) > 10 * max(1, len(named))
    return [
        Finding(
            "tombstones",
            "problem" if heavy else "note",
            f"{len(old):,} Parquet files ({size(nbytes)}) belong to old versions or to failed writes; the table "
            f"itself has {len(named):,} ({size(live)}).",
            f"They take {size(nbytes)} of the disk, and whoever reads the folder as plain Parquet counts their rows.",
            "DeltaTable(path).vacuum(full=True) removes them; older versions cannot be read afterwards.",
            nbytes=nbytes,
            count=len(old),
            files=tuple(sorted(old)[:5]),
        )
    ]


def _long_log(log: set[str], folder: Folder) -> list[Finding]:
    checkpoints = [int(n[:20]) for n in log if n[:20].isdigit() and ".checkpoint" in n]
    last = max(checkpoints, default=-1)
    commits = [n for n in log if n.endswith(".json") and n[:20].isdigit() and int(n[:20]) > last]
    if len(commits) <= _LONG_LOG:
        return []
    seconds = len(commits) * folder.open_seconds
    return [
        Finding(
            "long-log",
            "problem",
            f"The Delta log has {len(commits):,} commits since its last checkpoint.",
            f"All are read at every opening: about {seconds:.2g} s.",
            "DeltaTable(path).create_checkpoint(), and fewer, larger appends.",
            seconds=seconds,
            count=len(commits),
        )
    ]


def _listing(fs: pafs.FileSystem, place: str) -> dict[str, int]:
    """Every file below a folder with its size, bookkeeping and all; nothing below a file or a glob."""
    if storage.stat(fs, place).type != pafs.FileType.Directory:
        return {}
    with suppress(OSError):
        infos = fs.get_file_info(pafs.FileSelector(place, recursive=True))
        return {i.path: int(i.size or 0) for i in infos if i.type == pafs.FileType.File}
    return {}


def _is_leftover(relative: str) -> bool:
    parts = relative.split("/")
    if "_delta_log" in parts or parts[-1].endswith(".crc"):
        return False
    return any(part.startswith(_LEFTOVER) for part in parts) or parts[-1].endswith((".tmp", ".inprogress"))


def _in_words(finding: Finding) -> str:
    files = "".join(f"\n      {f}" for f in finding.files[:3])
    more = f"\n      … and {finding.count - 3:,} more" if len(finding.files) > 3 else ""
    sign = "problem" if finding.severity == "problem" else "note"
    return f"  {sign} {finding.kind}: {finding.what}\n    costs: {finding.cost}\n    mend:  {finding.mend}{files}{more}"
