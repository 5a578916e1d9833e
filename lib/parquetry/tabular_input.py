"""What a job reads: Parquet and Delta as they are; CSV, TSV and workbooks (one file or many) converted to Parquet once.

The conversion is careful rather than clever: the header gives the names, every value is read as
text first, and a column gets the narrowest type that all of its values have. Nothing is guessed
from a sample and no line is skipped.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from parquetry import storage
from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, MalformedText, OutputNotWritable, ParquetryError

if TYPE_CHECKING:
    from parquetry.config import JobConfig
    from parquetry.foundation.contract import Contract
    from parquetry.foundation.csv_source import Csv
    from parquetry.foundation.excel import Excel
    from parquetry.foundation.sources import Piece
    from parquetry.run import Run

TEXT_SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")
WORKBOOK_SUFFIXES = (".xls", ".xlsx", ".xlsm", ".xlsb", ".ods")
ROWS_A_GROUP = 65_536


@dataclass(frozen=True)
class Layout:
    """How a text table is written, where its file does not say so itself.

    Parameters
    ----------
    delimiter : str
    names : tuple of str
        The columns' names: the file has no header line.
    quotes : bool, default True
        Whether quotation marks enclose values; False where they are a part of the text.
    """

    delimiter: str
    names: tuple[str, ...]
    quotes: bool = True


@dataclass(frozen=True)
class Converted:
    """What a conversion did: every row that came in went out."""

    path: Path
    rows: int
    types: dict[str, str]


def open_input(
    source: str | os.PathLike[str],
    scratch: str | os.PathLike[str],
    layout: Layout | None = None,
    *,
    sheet: str | None = None,
    header_row: int | None = None,
) -> Dataset:
    """Open a job's input.

    Parameters
    ----------
    source : path or URL
        Parquet (file, folder, glob), a Delta table, CSV or TSV, also gzipped, or workbooks: a file,
        or a folder or glob of files with one header, whose rows follow each other in order of
        name. Of a workbook the only sheet is read, or the one that is clearly the largest.
    scratch : path
        A folder for what has to be converted; ``rows.parquet`` is written there. The name is the
        same for every input, so the same rows are split the same way wherever they came from.
    layout : Layout, default None
        Of a text table without a header; its file may have any name.
    sheet : str, default None
        Of a workbook: its name, or its number from 1.
    header_row : int, default None
        Of a workbook: the row of the columns' names, from 1; None looks for it.

    Returns
    -------
    Dataset
        Over the source, or over the converted copy (whose ``uri`` is still the source's name).

    Raises
    ------
    MalformedText
        A line does not fit the header, or is not UTF-8.
    SchemaDrift
        Two text files have other columns.
    BadParameter
        A sheet or a header's row of what is no workbook, or of one that has none such.
    DatasetNotFound, EmptyDataset, NotParquet, …
        As :func:`parquetry.open_dataset` does.
    """
    if (sheet is not None or header_row is not None) and not _all_end_with(os.fspath(source), WORKBOOK_SUFFIXES):
        raise BadParameter(
            f"{os.fspath(source)} is no workbook.",
            why="Only a workbook has a sheet and a header's row.",
            fix="Leave them out.",
        )
    if layout is None and not _is_text(os.fspath(source)):
        return open_dataset(source)
    target = Path(scratch) / "rows.parquet"
    converted = convert(source, target, layout, sheet=sheet, header_row=header_row)
    return replace(open_dataset(converted.path), uri=os.fspath(source))


def open_job_input(
    config: JobConfig,
    run: Run,
    *,
    default: str,
    rows: int | None = None,
    sheet: str | None = None,
    header_row: int | None = None,
) -> Dataset:
    """The data of a job: its ``--input``, else the catalogue's set ``default``, or so many generated rows of it."""
    from parquetry import catalogue

    if config.input is not None and rows is not None:
        raise BadParameter(
            f"{rows:,} rows are to be generated, and {config.input} is given.", fix="Leave out one of the two."
        )
    if config.input is not None:
        run.origin(f"{config.input}, given by the user")
        dataset = open_input(config.input, run.path("input"), sheet=sheet, header_row=header_row)
    else:
        found = catalogue.find(default, seed=config.seed, rows=rows)
        run.origin(f"{found.entry.title}: {found.origin}", synthetic=found.synthetic, units=found.entry.units)
        dataset = open_input(found.path, run.path("input"), None if found.synthetic else found.entry.layout)
    if dataset.ignored:
        run.note(f"{len(dataset.ignored)} files beside the data are not Parquet and were left out.")
    run.event("input", rows=dataset.num_rows, columns=len(dataset.columns), row_groups=len(dataset.blocks))
    return dataset


def convert(
    source: str | os.PathLike[str],
    target: Path,
    layout: Layout | None = None,
    *,
    sheet: str | None = None,
    header_row: int | None = None,
) -> Converted:
    """Convert CSV or TSV files, or workbooks, to one Parquet file with row groups of 65,536 rows.

    Read as :func:`parquetry.foundation.ingest.ingest` reads them, with a contract inferred from all
    values, and the first row that breaks it ends the conversion. Without a layout the first line
    names the columns.

    Raises
    ------
    MalformedText, MalformedWorkbook, SchemaDrift, DatasetNotFound, EmptyDataset, OutputNotWritable, BadParameter
    """
    from parquetry.engine import borrowed_engine
    from parquetry.foundation.inference import infer
    from parquetry.foundation.ways import Rules

    opened = _open_text(source, layout, sheet, header_row)
    with borrowed_engine(None) as engine:
        pieces = opened.pieces(engine)
        # A job's own words for missing values stay what they are: texts.
        contract = infer(opened, pieces, engine, Rules(marks=(), beyond_64_bits="float64"))
        schema = contract.arrow_schema(opened.schema)
        rows = _write_groups(_accepted(pieces, contract), schema, target)
    return Converted(target, rows, {f.name: str(f.type) for f in schema})


def _open_text(
    source: str | os.PathLike[str], layout: Layout | None, sheet: str | None, header_row: int | None
) -> Csv | Excel:
    from parquetry.foundation.csv_source import Csv
    from parquetry.foundation.excel import Excel

    if layout is None and _all_end_with(os.fspath(source), WORKBOOK_SUFFIXES):
        return Excel.open(source, sheet=sheet, header=header_row)
    if layout is not None:
        quote = '"' if layout.quotes else ""
        return Csv.open(
            source, delimiter=layout.delimiter, names=layout.names, header=False, quote=quote, encoding="utf-8"
        )
    opened = Csv.open(source, header=True, encoding="utf-8")
    for file in opened.texts:
        lowered = [name.lower() for name in file.dialect.given if name]
        twice = next((name for name in file.dialect.given if lowered.count(name.lower()) > 1), None)
        if twice is not None:
            raise _malformed(file.name, 1, f"The column name {twice!r} stands there more than once.")
    return opened


def _accepted(pieces: Sequence[Piece], contract: Contract) -> Iterator[pa.Table]:
    """The rows of all pieces; the first that breaks the contract raises."""
    for piece in pieces:
        for parsed in piece.read(contract):
            applied = contract.apply(parsed, piece.file)
            if applied.rejected.num_rows:
                bad = applied.rejected.slice(0, 1).to_pylist()[0]
                raise _malformed(bad["file"], bad["row"], f"The reason: {bad['reason']}. It reads {bad['raw'][:80]!r}.")
            yield applied.accepted


def _is_text(source: str) -> bool:
    """Whether a source is to be converted: by its own suffix, or by that of all files in a folder or glob."""
    return _all_end_with(source, TEXT_SUFFIXES) or _all_end_with(source, WORKBOOK_SUFFIXES)


def _all_end_with(source: str, suffixes: tuple[str, ...]) -> bool:
    if source.lower().endswith(suffixes):
        return True
    filesystem, path = storage.resolve(source)
    if path.lower().endswith(storage.PARQUET_SUFFIXES):
        return False
    _, files = storage.list_files(filesystem, path)
    return bool(files) and all(f.lower().endswith(suffixes) for f in files)


def _write_groups(tables: Iterator[pa.Table], schema: pa.Schema, target: Path) -> int:
    """Write tables of any size as row groups of exactly 65,536 rows, the last one shorter; no file where it fails."""
    rows = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(target, schema, compression="zstd") as writer:
            waiting: list[pa.Table] = []
            for table in tables:
                waiting.append(table)
                rows += table.num_rows
                if sum(t.num_rows for t in waiting) >= ROWS_A_GROUP:
                    joined = pa.concat_tables(waiting)
                    whole = joined.num_rows // ROWS_A_GROUP * ROWS_A_GROUP
                    writer.write_table(joined.slice(0, whole), row_group_size=ROWS_A_GROUP)
                    waiting = [joined.slice(whole)]
            if waiting and sum(t.num_rows for t in waiting):
                writer.write_table(pa.concat_tables(waiting), row_group_size=ROWS_A_GROUP)
    except BaseException as error:
        with suppress(OSError):
            target.unlink(missing_ok=True)
        if isinstance(error, OSError) and not isinstance(error, ParquetryError):
            raise OutputNotWritable(f"{target} cannot be written.", why=str(error)) from error
        raise
    return rows


def _malformed(source: Any, line: int, why: str) -> MalformedText:
    return MalformedText(
        f"{source}, line {line:,} cannot be read.", why=why, fix="Mend the line, or save the file again as UTF-8 CSV."
    )
