"""What ``parquetry profile`` reads: Parquet and Delta in place, CSV, Excel and the like ingested for the time being."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parquetry.dataset import Dataset, open_dataset
from parquetry.errors import BadParameter, ParquetryError
from parquetry.foundation.sources import kind_of_name, source_kind

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.ingest import Ingested


@contextmanager
def brought_in(path: str, engine: Engine, **options: Any) -> Iterator[tuple[Dataset, Ingested | None]]:
    """The rows at ``path``: Parquet and Delta where they are, others in a folder that goes afterwards.

    Parameters
    ----------
    path : str
    engine : Engine
    **options
        Of :func:`parquetry.ingest`: ``contract``, ``sheet``, ``header``, ``table``. With any of them
        Parquet is brought in, too.
    """
    in_place = None if options else _in_place(path)
    if in_place is not None:
        yield in_place, None
        return
    from parquetry.foundation.ingest import ingest

    with tempfile.TemporaryDirectory(prefix="parquetry-profile-") as folder:
        done = ingest(path, Path(folder) / "rows", engine=engine, **options)
        # Errors name what the user has named, not a folder that is gone.
        yield replace(done.dataset, uri=path), done


def _in_place(path: str) -> Dataset | None:
    """The Parquet or Delta that is there, whatever lies beside it and whatever its name; None for another source."""
    try:
        kind = source_kind(path)
    except BadParameter:  # files of several kinds: Parquet is read, as everywhere
        return open_dataset(path)
    if kind == "csv" and kind_of_name(path) is None:
        with suppress(ParquetryError):
            return open_dataset(path)
    return open_dataset(path) if kind in ("parquet", "delta") else None
