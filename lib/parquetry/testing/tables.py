"""Tables for the conformance suite: small, awkward, and always in several files and row groups."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_ROWS = 12_000
_FILES = 5


def write_mixed_table(folder: str | os.PathLike[str], *, rows: int = _ROWS, seed: int = 0) -> Path:
    """Write a table of numbers, gaps, integers, flags and text with a numeric target ``y``.

    Columns: ``huge`` (mean 1e9, deviation 1), ``gappy`` (5 % null), ``count`` (integer), ``flag``,
    ``kind`` (text with rare values and nulls), ``weight`` (positive), ``late`` (0 or 1), ``y``.
    The files' row groups differ in size, and one of them is empty.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    rows : int, default 12_000
    seed : int, default 0

    Returns
    -------
    Path
        The folder.
    """
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    table = _table(rows, np.random.default_rng(seed))
    edges = np.linspace(0, rows, _FILES + 1).astype(int)
    for i in range(_FILES):
        part = table.slice(edges[i], edges[i + 1] - edges[i])
        with pq.ParquetWriter(target / f"part-{i}.parquet", table.schema) as writer:
            writer.write_table(part, row_group_size=100 + 37 * i)
            if i == 1:
                writer.write_table(table.slice(0, 0))
    return target


def _table(rows: int, rng: np.random.Generator) -> pa.Table:
    huge = 1e9 + rng.normal(size=rows)
    gappy = rng.normal(size=rows)
    count = rng.poisson(4, rows)
    flag = rng.random(rows) < 0.3
    kind = rng.choice(["ash", "birch", "cedar", "oak", "rare"], rows, p=[0.4, 0.3, 0.2, 0.09, 0.01])
    y = 3 * (huge - 1e9) - 2 * gappy + 0.5 * count + flag + (kind == "oak") + rng.normal(size=rows)
    return pa.table(
        {
            "huge": huge,
            "gappy": pa.array(gappy, mask=rng.random(rows) < 0.05),
            "count": count,
            "flag": flag,
            "kind": pa.array(kind, mask=rng.random(rows) < 0.02),
            "weight": rng.uniform(0.5, 2.0, rows),
            "late": (y > np.median(y)).astype(np.int64),
            "y": y,
        }
    )
