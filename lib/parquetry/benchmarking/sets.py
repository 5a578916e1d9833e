"""The data of a benchmark: Parquet files of float64 columns, generated or copied once, then kept."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from joblib import Parallel, delayed

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, OutputNotWritable
from parquetry.view import is_numeric

ROW_GROUP = 122_880
GROUPS_A_FILE = 8
WARM_UP_ROWS = 20_000
CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
_NOISE = 0.5


@dataclass(frozen=True)
class BenchmarkSet:
    """Where the rows lie and what their columns are for.

    Attributes
    ----------
    path, warm_up : str
        Folders of Parquet files; ``warm_up`` holds a few rows of the same kind.
    features : tuple of str
    target : str
    rows : int
    codec : str
    origin : str
        One sentence for the reader of a report.
    """

    path: str
    warm_up: str
    features: tuple[str, ...]
    target: str
    rows: int
    codec: str
    origin: str

    @property
    def files(self) -> list[str]:
        """The Parquet files, in order."""
        return [str(p) for p in sorted(Path(self.path).glob("*.parquet"))]


def generate(
    folder: str | os.PathLike[str], rows: int, features: int, *, codec: str = "zstd", seed: int = 0
) -> BenchmarkSet:
    """A set of standard normal features and a target that is linear in them, plus noise.

    The rows depend on ``seed`` and the row group's number alone. A set that is there is used again.

    Parameters
    ----------
    folder : path
        Where sets are kept, one folder each.
    rows, features : int
    codec : {"zstd", "snappy", "gzip", "lz4", "none"}, default "zstd"
    seed : int, default 0

    Raises
    ------
    OutputNotWritable
    """
    _check(rows, features, codec)
    names = tuple(f"x{j}" for j in range(features))
    weights = np.random.default_rng(seed).normal(size=features)

    def build(home: Path) -> None:
        groups = [(i, min(ROW_GROUP, rows - start)) for i, start in enumerate(range(0, rows, ROW_GROUP))]
        files = min(len(groups), max(2, -(-len(groups) // GROUPS_A_FILE)))
        parts = [groups[len(groups) * i // files : len(groups) * (i + 1) // files] for i in range(files)]
        work = [
            delayed(_write_file)(home / "rows" / f"part-{i:04d}.parquet", part, weights, codec, seed)
            for i, part in enumerate(parts)
        ]
        warm = [(len(groups) + i, WARM_UP_ROWS // 2) for i in range(2)]
        work += [
            delayed(_write_file)(home / "warm-up" / f"part-{i:04d}.parquet", [group], weights, codec, seed)
            for i, group in enumerate(warm)
        ]
        Parallel(n_jobs=2, backend="threading")(work)

    home = _built_once(Path(folder) / f"{rows}x{features}-{codec}-seed{seed}", build)
    size = f"{rows:,} rows of {features} standard normal features, y linear plus noise"
    origin = f"generated (synthetic): {size}, {codec}, seed {seed}"
    return _described(home, names, "y", rows, codec, origin)


def copy(folder: str | os.PathLike[str], data: Dataset, *, target: str, exclude: list[str], codec: str) -> BenchmarkSet:
    """A user's own rows, rewritten as float64 in the generated sets' layout; numeric columns only.

    Raises
    ------
    UnknownColumn, BadParameter, OutputNotWritable
    """
    data.require([target], "target column")
    data.require(exclude, "column")
    data.require_rows()
    names = tuple(c for c in data.columns if c not in (target, *exclude) and is_numeric(data.full_schema.field(c).type))
    if not names or not is_numeric(data.full_schema.field(target).type):
        raise BadParameter(
            f"{data.uri} has no numeric features beside a numeric target {target!r}.",
            fix="Name another --target, or exclude fewer columns.",
        )
    columns = (*names, target)
    schema = pa.schema([(c, pa.float64()) for c in columns])

    def build(home: Path) -> None:
        with pq.ParquetWriter(home / "rows" / "part-0000.parquet", schema, compression=codec) as writer:
            for table in data.select(columns).batches():
                writer.write_table(table.cast(schema), row_group_size=ROW_GROUP)
        first = next(iter(data.select(columns).batches())).slice(0, WARM_UP_ROWS)
        pq.write_table(first.cast(schema), home / "warm-up" / "part-0000.parquet", compression=codec)

    key = data.select(columns).fingerprint[:16]
    home = _built_once(Path(folder) / f"copy-{key}-{codec}", build)
    return _described(home, names, target, data.num_rows, codec, f"{data.uri}, its numeric columns as float64, {codec}")


def read_ahead(data: BenchmarkSet) -> None:
    """Bring the files into the machine's page cache, so that nobody pays for being first."""
    for name in data.files:
        with open(name, "rb") as file:
            while file.read(2**24):
                pass


def _check(rows: int, features: int, codec: str) -> None:
    if rows < 1 or features < 1:
        raise BadParameter(f"rows={rows}, features={features} is no set.", fix="Pass 1 or more of each.")
    if codec not in CODECS:
        raise BadParameter(f"codec={codec!r} is not known.", fix=f"Choose from {', '.join(CODECS)}.")


def _write_file(
    path: Path, groups: list[tuple[int, int]], weights: npt.NDArray[np.float64], codec: str, seed: int
) -> None:
    schema = pa.schema([(f"x{j}", pa.float64()) for j in range(len(weights))] + [("y", pa.float64())])
    with pq.ParquetWriter(path, schema, compression=codec) as writer:
        for index, count in groups:
            writer.write_table(pa.table(list(_columns(index, count, weights, seed)), schema), row_group_size=ROW_GROUP)


def _columns(index: int, count: int, weights: npt.NDArray[np.float64], seed: int) -> Iterator[pa.Array]:
    rng = np.random.default_rng([seed, index])
    y = np.full(count, 1.0)
    for weight in weights:
        x = rng.normal(size=count)
        y += weight * x
        yield pa.array(x)
    yield pa.array(y + rng.normal(scale=_NOISE, size=count))


def _built_once(home: Path, build: Callable[[Path], None]) -> Path:
    """The folder, built beside its place and renamed: one that is there is whole."""
    if home.is_dir():
        return home
    partial = home.with_name(f".{home.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        for part in ("rows", "warm-up"):
            (partial / part).mkdir(parents=True)
        build(partial)
        if not home.is_dir():
            partial.rename(home)
    except OSError as error:
        raise OutputNotWritable(
            f"The benchmark's data cannot be written to {home}.", why=str(error), fix="Name another folder with --data."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return home


def _described(home: Path, names: tuple[str, ...], target: str, rows: int, codec: str, origin: str) -> BenchmarkSet:
    path = home.absolute()
    return BenchmarkSet(str(path / "rows"), str(path / "warm-up"), names, target, rows, codec, origin)
