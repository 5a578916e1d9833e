"""The data of a benchmark: Parquet files of numbers or of short texts, generated or copied once, then kept."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from joblib import Parallel, delayed

from parquetry.dataset import Dataset
from parquetry.errors import BadParameter, OutputNotWritable
from parquetry.view import is_numeric

ROW_GROUP = 122_880
GROUPS_A_FILE = 8
WARM_UP_ROWS = 20_000
CODECS = ("zstd", "snappy", "gzip", "lz4", "none")
LABEL = "label"
_NOISE = 0.5
_WORDS = 30_000
_KEYS = 1_000_000


@dataclass(frozen=True)
class BenchmarkSet:
    """Where the rows lie and what their columns are for.

    Attributes
    ----------
    path, warm_up : str
        Folders of Parquet files; ``warm_up`` holds a few rows of the same kind.
    features : tuple of str
    target : str
        A number; "" in a set of texts.
    rows : int
    codec : str
    origin : str
        One sentence for the reader of a report.
    label : str
        0 or 1.
    """

    path: str
    warm_up: str
    features: tuple[str, ...]
    target: str
    rows: int
    codec: str
    origin: str
    label: str = LABEL

    @property
    def files(self) -> list[str]:
        """The Parquet or CSV files, in order."""
        return [str(p) for p in sorted(Path(self.path).iterdir()) if p.suffix in (".parquet", ".csv")]


def generate(
    folder: str | os.PathLike[str], rows: int, features: int, *, codec: str = "zstd", seed: int = 0
) -> BenchmarkSet:
    """A set of standard normal features, a target that is linear in them plus noise, and a label by its odds.

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
    schema = pa.schema([*((name, pa.float64()) for name in names), ("y", pa.float64()), (LABEL, pa.int64())])

    def table(index: int, count: int) -> pa.Table:
        return pa.table(list(_columns(index, count, weights, seed)), schema)

    home = _built_once(
        Path(folder) / f"{rows}x{features}-labeled-{codec}-seed{seed}",
        lambda home: _write_files(home, rows, table, codec),
    )
    size = f"{rows:,} rows of {features} standard normal features, y linear plus noise, a label by the odds of y"
    origin = f"generated (synthetic): {size}, {codec}, seed {seed}"
    return _described(home, names, "y", rows, codec, origin)


def generate_texts(folder: str | os.PathLike[str], rows: int, *, codec: str = "zstd", seed: int = 0) -> BenchmarkSet:
    """A set of short texts of about ten words, and a label that some of the words make likely.

    The words follow Zipf's law over 30,000 made-up words.

    Raises
    ------
    OutputNotWritable
    """
    _check(rows, 1, codec)
    words, odds = _vocabulary(seed)

    def table(index: int, count: int) -> pa.Table:
        rng = np.random.default_rng([seed, index])
        lengths = 3 + rng.poisson(7, count)
        ends = np.cumsum(lengths)
        chosen = np.minimum((_WORDS ** rng.random(int(ends[-1])) - 1).astype(np.int64), _WORDS - 1)
        score = np.add.reduceat(odds[chosen], ends - lengths) / np.sqrt(lengths)
        label = (rng.random(count) < 1 / (1 + np.exp(-3 * score))).astype(np.int64)
        texts = [" ".join(part) for part in np.split(words[chosen], ends[:-1])]
        return pa.table({"text": texts, LABEL: label})

    home = _built_once(
        Path(folder) / f"texts-{rows}-{codec}-seed{seed}", lambda home: _write_files(home, rows, table, codec)
    )
    origin = f"generated (synthetic): {rows:,} texts of about 10 words, a label by their words, {codec}, seed {seed}"
    return _described(home, ("text",), "", rows, codec, origin)


def generate_tables(folder: str | os.PathLike[str], rows: int, *, codec: str = "none", seed: int = 0) -> BenchmarkSet:
    """CSV files of sales as a shop exports them: numbers, a date, texts of which some repeat; 12 million rows are 1 GB.

    ``codec`` is not used: the files are plain text.

    Raises
    ------
    OutputNotWritable
    """
    _check(rows, 1, codec)
    cities = pa.array(["Berlin", "Paris", "New York", "São Paulo", "Tokyo"])

    def table(index: int, count: int) -> pa.Table:
        rng = np.random.default_rng([seed, index])
        seconds = rng.integers(0, 10**8, count).astype("timedelta64[s]")
        columns = {
            "id": np.arange(count) + index * ROW_GROUP,
            "x": rng.normal(size=count),
            "y": rng.normal(size=count).round(3),
            "quantity": rng.integers(0, 1000, count),
            "amount": rng.gamma(2, 50, count).round(2),
            "city": cities.take(pa.array(rng.integers(0, len(cities), count))),
            "when": np.datetime64("2020-01-01T00:00:00") + seconds,
            "paid": rng.random(count) < 0.5,
            "customer": np.char.add("c", rng.integers(100_000, 200_000, count).astype(str)),
        }
        return pa.table(columns)

    home = _built_once(
        Path(folder) / f"tables-{rows}-seed{seed}", lambda home: _write_files(home, rows, table, "none", suffix=".csv")
    )
    origin = f"generated (synthetic): {rows:,} sales as CSV, seed {seed}"
    return _described(home, ("amount",), "", rows, "none", origin)


def generate_keys(folder: str | os.PathLike[str], rows: int, *, codec: str = "zstd", seed: int = 0) -> BenchmarkSet:
    """A set of keys, each of 1,000,000 about as often, and a number that they tell something about.

    Raises
    ------
    OutputNotWritable
    """
    _check(rows, 1, codec)

    def table(index: int, count: int) -> pa.Table:
        rng = np.random.default_rng([seed, index])
        key = rng.integers(0, _KEYS, count)
        y = key % 97 / 97 + rng.normal(scale=_NOISE, size=count)
        return pa.table({"key": np.char.add("user-", np.char.zfill(key.astype(str), 7)), "y": y, LABEL: key % 2})

    home = _built_once(
        Path(folder) / f"keys-{rows}-{codec}-seed{seed}", lambda home: _write_files(home, rows, table, codec)
    )
    origin = f"generated (synthetic): {rows:,} rows of up to {_KEYS:,} keys, y by them and noise, {codec}, seed {seed}"
    return _described(home, ("key",), "y", rows, codec, origin)


def copy(folder: str | os.PathLike[str], data: Dataset, *, target: str, exclude: list[str], codec: str) -> BenchmarkSet:
    """A user's own rows, rewritten as float64 in the generated sets' layout; numeric columns only.

    The label is whether the target lies above the median of the first rows.

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
    label = _unused(LABEL, columns)

    def labeled(table: pa.Table, middle: float) -> pa.Table:
        above = (table.column(target).to_numpy() > middle).astype(np.int64)
        return table.append_column(label, pa.array(above))

    def build(home: Path) -> None:
        first = next(iter(data.select(columns).batches())).cast(schema)
        middle = float(np.nanmedian(first.column(target).to_numpy()))
        labeled_schema = schema.append(pa.field(label, pa.int64()))
        with pq.ParquetWriter(home / "rows" / "part-0000.parquet", labeled_schema, compression=codec) as writer:
            for table in data.select(columns).batches():
                writer.write_table(labeled(table.cast(schema), middle), row_group_size=ROW_GROUP)
        some = labeled(first.slice(0, WARM_UP_ROWS), middle)
        pq.write_table(some, home / "warm-up" / "part-0000.parquet", compression=codec)

    key = data.select(columns).fingerprint[:16]
    home = _built_once(Path(folder) / f"copy-labeled-{key}-{codec}", build)
    origin = f"{data.uri}, its numeric columns as float64, {codec}"
    return _described(home, names, target, data.num_rows, codec, origin, label)


GENERATORS = {"texts": generate_texts, "tables": generate_tables, "keys": generate_keys}
"""How the sets are made that are no numbers, by their kind."""


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


def _write_files(
    home: Path, rows: int, table: Callable[[int, int], pa.Table], codec: str, suffix: str = ".parquet"
) -> None:
    """Whole row groups in several files, and a few more rows of the same kind to warm up on."""
    groups = [(i, min(ROW_GROUP, rows - start)) for i, start in enumerate(range(0, rows, ROW_GROUP))]
    files = min(len(groups), max(2, -(-len(groups) // GROUPS_A_FILE)))
    parts = [groups[len(groups) * i // files : len(groups) * (i + 1) // files] for i in range(files)]
    warm = [[(len(groups) + i, WARM_UP_ROWS // 2)] for i in range(2)]
    named = [("rows", i, part) for i, part in enumerate(parts)] + [("warm-up", i, part) for i, part in enumerate(warm)]
    Parallel(n_jobs=2, backend="threading")(
        delayed(_write_file)(home / folder / f"part-{i:04d}{suffix}", part, table, codec) for folder, i, part in named
    )


def _write_file(path: Path, groups: list[tuple[int, int]], table: Callable[[int, int], pa.Table], codec: str) -> None:
    first = table(*groups[0])
    if path.suffix == ".csv":
        with pacsv.CSVWriter(path, first.schema, write_options=pacsv.WriteOptions(quoting_style="needed")) as text:
            text.write_table(first)
            for index, count in groups[1:]:
                text.write_table(table(index, count))
        return
    with pq.ParquetWriter(path, first.schema, compression=codec) as writer:
        writer.write_table(first, row_group_size=ROW_GROUP)
        for index, count in groups[1:]:
            writer.write_table(table(index, count), row_group_size=ROW_GROUP)


def _vocabulary(seed: int) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.float64]]:
    """Made-up words, the commonest first, and how much each speaks for the label."""
    rng = np.random.default_rng(seed)
    syllables = np.array([a + b for a in "bdfgklmnprst" for b in ("a", "e", "i", "o", "u")])
    parts = [syllables[(np.arange(_WORDS) // len(syllables) ** i) % len(syllables)] for i in range(3)]
    words = np.char.add(np.char.add(parts[0], parts[1]), parts[2])
    return words, np.where(rng.random(_WORDS) < 0.2, rng.normal(size=_WORDS), 0.0)


def _columns(index: int, count: int, weights: npt.NDArray[np.float64], seed: int) -> Iterator[pa.Array]:
    rng = np.random.default_rng([seed, index])
    y = np.full(count, 1.0)
    for weight in weights:
        x = rng.normal(size=count)
        y += weight * x
        yield pa.array(x)
    chance = 1 / (1 + np.exp(-(y - 1.0) / 2))
    yield pa.array(y + rng.normal(scale=_NOISE, size=count))
    yield pa.array((rng.random(count) < chance).astype(np.int64))


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


def _unused(name: str, columns: Sequence[str]) -> str:
    while name in columns:
        name += "_"
    return name


def _described(
    home: Path, names: tuple[str, ...], target: str, rows: int, codec: str, origin: str, label: str = LABEL
) -> BenchmarkSet:
    path = home.absolute()
    return BenchmarkSet(str(path / "rows"), str(path / "warm-up"), names, target, rows, codec, origin, label)
