"""Delta tables as sources: the files that a table's log names, and how to find the table."""

from __future__ import annotations

import os
import posixpath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from parquetry import storage
from parquetry.errors import BadParameter, CorruptBlock, NotParquet

_UNREADABLE_FEATURES = {"deletionVectors", "columnMapping"}


def delta_files(
    uri: str,
    filesystem: pafs.FileSystem,
    path: str,
    version: int | None,
    storage_options: dict[str, str] | None,
) -> tuple[dict[str, dict[str, Any]], pa.Schema]:
    """A Delta table's files with their partition values, and the table's schema.

    Files come in order of their commits, then of name: what was appended comes last.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        table = DeltaTable(
            table_uri(uri, filesystem, path), version=version, storage_options=store_options(storage_options)
        )
    except OSError as error:
        raise storage.denied(uri, error) from error
    except (DeltaError, ValueError) as error:
        raise CorruptBlock(
            f"{uri}: the Delta log cannot be read.", why=str(error), fix="Check version= and the log."
        ) from error
    _refuse_unreadable(table, uri)
    names = list(table.metadata().partition_columns)
    schema = pa.schema(table.schema().to_arrow())
    actions = pa.table(table.get_add_actions(flatten=True))
    rows = actions.to_pylist()
    files = {
        posixpath.join(path, unquote(row["path"])): {n: row.get(f"partition.{n}") for n in names}
        for row in sorted(rows, key=lambda row: (row["modification_time"], row["path"]))
    }
    # Readers find partition columns last, whatever their place in the log.
    columns = [*(n for n in schema.names if n not in names), *names]
    return files, pa.schema([schema.field(n) for n in columns])


def table_uri(uri: str, filesystem: pafs.FileSystem, path: str) -> str:
    """How deltalake, which has filesystems of its own, finds a table."""
    if storage.is_local(filesystem):
        return path
    if "://" in uri:
        return uri
    if filesystem.type_name in ("s3", "gcs", "abfs"):
        return f"{filesystem.type_name}://{path}"
    raise BadParameter(
        f"{uri!r} is a Delta table, and its log cannot be read through filesystem=.",
        why=f"The Delta log is read by its URL, and {filesystem.type_name!r} has none.",
        fix="Pass the table's whole URL (s3://…), with storage_options= where it needs them.",
    )


def store_options(given: dict[str, str] | None = None) -> dict[str, str] | None:
    """What deltalake's store has to be told, beside what it takes from the environment.

    An S3 endpoint of ``http://`` is taken at its word; deltalake by itself wants that said twice.
    """
    options = dict(given or {})
    endpoint = options.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL", "")
    if endpoint.startswith("http://") and "AWS_ALLOW_HTTP" not in os.environ:
        options.setdefault("AWS_ALLOW_HTTP", "true")
    return options or None


def _refuse_unreadable(table: Any, uri: str) -> None:
    features = set(table.protocol().reader_features or ())
    used = sorted(features & _UNREADABLE_FEATURES)
    if used:
        raise NotParquet(
            f"{uri} uses Delta's {used[0]}.",
            why="Its Parquet files alone do not say which rows or names count.",
            fix="Rewrite it without (REORG TABLE … APPLY (PURGE), or CREATE TABLE … AS SELECT).",
        )
