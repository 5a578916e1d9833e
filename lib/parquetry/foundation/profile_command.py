"""``parquetry profile``: what it does with the flags; CSV, Excel and the like are brought in first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parquetry.dataset import Dataset, open_dataset
from parquetry.engine import open_engine
from parquetry.errors import BadParameter, ParquetryError
from parquetry.foundation.profile import profile
from parquetry.foundation.profile_page import save_profile, show_profile
from parquetry.foundation.sources import kind_of_name, source_kind

if TYPE_CHECKING:
    from parquetry.engine import Engine
    from parquetry.foundation.ingest import Ingested


def command(path: str, flags: Mapping[str, str]) -> dict[str, Any]:
    """Profile what is at ``path``; print it; give it for ``--json``.

    Parameters
    ----------
    path : str
        Parquet or Delta, read where it is; or what ``parquetry ingest`` takes, brought in to a folder that
        goes afterwards. What was set aside is counted and told.
    flags : mapping
        ``target``, ``quantiles``, ``engine``, ``to``; of what is brought in also ``contract``, ``sheet``, ``table``.
    """
    with open_engine(flags.get("engine", "local")) as engine, _opened(path, flags, engine) as (data, ingested):
        found = profile(
            data, target=flags.get("target"), quantiles=flags.get("quantiles", "exact"), engine=engine
        )  # fmt: skip
    found = replace(found, data=path)
    if ingested is not None:
        found = replace(found, notes=(f"{ingested.lines()[0]}.", *ingested.notes, *found.notes))
    show_profile(found)
    if "to" in flags:
        print(f"Page: {save_profile(found, flags['to'])}")
    rows = {} if ingested is None else {"ingest": _counts(ingested)}
    return {**found.to_dict(), **rows}


@contextmanager
def _opened(path: str, flags: Mapping[str, str], engine: Engine) -> Iterator[tuple[Dataset, Ingested | None]]:
    options = {name: flags[name] for name in ("contract", "sheet", "table") if name in flags}
    in_place = None if options else _in_place(path)
    if in_place is not None:
        yield in_place, None
        return
    from parquetry.foundation.ingest import ingest

    with tempfile.TemporaryDirectory(prefix="parquetry-profile-") as folder:
        done = ingest(path, Path(folder) / "rows", engine=engine, **options)
        yield done.dataset, done


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


def _counts(done: Ingested) -> dict[str, Any]:
    return {name: getattr(done, name) for name in ("rows_in", "accepted", "quarantined", "files", "reasons")}
