"""Where ingested rows go: the accepted and the rejected, each committed whole or not at all."""

from __future__ import annotations

import os
import posixpath
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.commit import CommittedWrite, Part, PartWriter, storable
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, OutputExists, OutputNotWritable

FORMATS = ("delta", "parquet")
_FORMULA = r"^[=+\-@\t\r]"
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


class Output(Protocol):
    """A place for one table: parts are written by workers and appear together."""

    def run(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[Part]]) -> None:
        """Let ``write`` make the parts; they appear when it ends, and go when it fails."""


class FolderWrite:
    """A plain folder of Parquet files, written beside its place and renamed.

    Parameters
    ----------
    path : str
        On this machine, or a disk that all workers share.
    mode : {"fail", "overwrite"}

    Raises
    ------
    OutputExists, BadParameter
        At once, before any work.
    """

    def __init__(self, path: str | os.PathLike[str], mode: str) -> None:
        self.filesystem, self.folder = storage.resolve(path)
        if not storage.is_local(self.filesystem):
            raise BadParameter(
                f"{os.fspath(path)!r} cannot become a plain folder of Parquet.",
                why="A folder is renamed into place, and an object store cannot rename one.",
                fix="Use format='delta', whose log makes the commit.",
            )
        if mode not in ("fail", "overwrite"):
            raise BadParameter(
                f"mode={mode!r} is not for a plain folder of Parquet.",
                fix="Use 'fail' or 'overwrite', or format='delta'.",
            )
        self.token = uuid.uuid4().hex[:12]
        if os.path.lexists(self.folder):
            self._require_replaceable(mode)

    def _require_replaceable(self, mode: str) -> None:
        names = os.listdir(self.folder) if os.path.isdir(self.folder) else None
        if names is not None and (not names or (mode == "overwrite" and all(n.endswith(".parquet") for n in names))):
            return
        raise OutputExists(
            f"There is something at {self.folder!r} already.",
            why="" if mode == "fail" else "It is no folder of Parquet files alone, so it is not replaced.",
            fix="Choose another path, or remove it." if mode == "overwrite" else "Pass mode='overwrite'.",
        )

    def run(self, schema: pa.Schema, write: Callable[[PartWriter], Iterable[Part]]) -> None:
        """Let ``write`` make the parts, then rename the folder; what failed is removed."""
        parent, own = os.path.split(self.folder)
        staging = os.path.join(parent, f".{own}.{self.token}.partial")
        writer = PartWriter(self.filesystem, staging, storable(schema), self.token)
        marker = os.path.join(staging, f"_writing-{self.token}")
        try:
            os.makedirs(staging)
            with open(marker, "wb"):
                pass
            named = {part.path for part in write(writer)}
            os.unlink(marker)
            # No log names the parts here: what a lost worker's first try has left must not be read as rows.
            for name in set(os.listdir(staging)) - named:
                os.unlink(os.path.join(staging, name))
            if not named:
                pq.write_table(writer.schema.empty_table(), os.path.join(staging, "part-00000000.parquet"))
            self._rename(staging)
        except OSError as error:
            raise not_writable(self.folder, error) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _rename(self, staging: str) -> None:
        old = f"{staging}.old"
        if os.path.lexists(self.folder):
            os.replace(self.folder, old)
        try:
            os.replace(staging, self.folder)
        except OSError:
            with suppress(OSError):
                os.replace(old, self.folder)
            raise
        shutil.rmtree(old, ignore_errors=True)


def output(
    path: str | os.PathLike[str], form: str, mode: str, run_id: str | None = None
) -> CommittedWrite | FolderWrite:
    """The place for a table.

    Raises
    ------
    BadParameter
        For a format that there is not; for a run id where nothing is appended to a Delta table.
    """
    if form not in FORMATS:
        raise BadParameter(f"format={form!r} is not known.", fix="Use 'delta' or 'parquet'.")
    if run_id is not None and (mode, form) != ("append", "delta"):
        raise BadParameter(
            f"run_id={run_id!r} is for rows that are appended to a Delta table.",
            why="mode='fail' and mode='overwrite' never make rows twice.",
            fix="Leave it out, or pass mode='append'.",
        )
    return CommittedWrite(path, mode, run_id=run_id) if form == "delta" else FolderWrite(path, mode)


def not_writable(where: str, error: OSError) -> OutputNotWritable:
    """The typed form of a disk that is full, or that refuses."""
    return OutputNotWritable(
        f"{where} could not be written to its end.",
        why=f"{error}",
        fix="Make room or choose another place, and run it again: nothing half-written is left.",
    )


@contextmanager
def writing(where: str) -> Iterator[None]:
    """Errors of the disk as typed ones."""
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputNotWritable | OutputExists):
            raise
        raise not_writable(where, error) from error


def remove_parts(filesystem: pafs.FileSystem, folder: str, parts: Iterable[Part]) -> None:
    """Remove files that a later try has replaced."""
    for part in parts:
        with suppress(FileNotFoundError):
            filesystem.delete_file(posixpath.join(folder, part.path))


def opened_output(path: str | os.PathLike[str]) -> Dataset:
    """What has been written."""
    return open_dataset(path)


def escaped_formulas(table: pa.Table) -> pa.Table:
    """Texts that a spreadsheet would run as formulas with an apostrophe before them; numbers stay as they are.

    References
    ----------
    OWASP, CSV injection: https://owasp.org/www-community/attacks/CSV_Injection
    """
    for i, column in enumerate(table.columns):
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            risky = pc.match_substring_regex(column, _FORMULA)
            risky = pc.and_(risky, pc.invert(pc.match_substring_regex(column, _NUMBER)))
            quoted = pc.binary_join_element_wise(pa.scalar("'", column.type), column, pa.scalar("", column.type))
            table = table.set_column(i, table.field(i), pc.if_else(risky, quoted, column))
    return table


def export_csv(dataset: Dataset | str, path: str | os.PathLike[str], *, escape_formulas: bool = True) -> int:
    """Write a dataset as one CSV file for a spreadsheet, a block at a time.

    Parameters
    ----------
    dataset : Dataset or path
        Rows, or what was quarantined.
    path : path
        A local file, which appears when it is whole.
    escape_formulas : bool, default True
        Put an apostrophe before texts that begin like a formula.

    Returns
    -------
    int
        Rows.

    Raises
    ------
    OutputNotWritable
    """
    source = open_dataset(dataset) if isinstance(dataset, str | os.PathLike) else dataset
    reader, rows = source.reader(), 0
    partial = f"{os.fspath(path)}.{uuid.uuid4().hex[:8]}.partial"
    with writing(os.fspath(path)):
        try:
            with pacsv.CSVWriter(partial, source.schema) as writer:
                for table in reader.read_all(source.blocks):
                    writer.write_table(escaped_formulas(table) if escape_formulas else table)
                    rows += table.num_rows
            os.replace(partial, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(partial)
    return rows
