"""One test body, every engine: engines are started on first use, once a test session."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import parquetry as pqy

pytest_plugins = ["clusters", "tree_parity"]
ENGINES = ("local", "dask", "spark")
WORKERS = 2


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The block cache of this test session; set before an engine's workers start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARQUETRY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def dask_engine() -> Iterator[Any]:
    with pqy.open_engine("dask", workers=WORKERS, memory="4GiB") as engine:
        yield engine


@pytest.fixture(scope="session")
def spark_engine() -> Iterator[Any]:
    """Spark's own little cluster of separate processes, started once for the whole session."""
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        pytest.skip("Spark needs Java 17, which this machine does not have.")
    with pqy.open_engine(f"local-cluster[{WORKERS},1,1024]") as engine:
        engine.session.sparkContext.setLogLevel("OFF")
        yield engine


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Each engine in turn; workers get the test module's own functions by value."""
    if request.module.__name__ not in cloudpickle.list_registry_pickle_by_value():
        cloudpickle.register_pickle_by_value(request.module)
    if request.param == "local":
        with pqy.open_engine("local", workers=WORKERS) as opened:
            yield opened
    else:
        yield request.getfixturevalue(f"{request.param}_engine")


@pytest.fixture
def local() -> Iterator[Any]:
    """The local engine, for what does not depend on an engine."""
    with pqy.open_engine("local", workers=WORKERS) as opened:
        yield opened


@pytest.fixture
def write_parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write a table as several files with several row groups each; gives the folder."""

    def write(table: Any, name: str = "data", *, files: int = 2, row_group_size: int = 100) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        table = pa.table(table) if isinstance(table, dict) else table
        arrow = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table, preserve_index=False)
        edges = [arrow.num_rows * i // files for i in range(files + 1)]
        for i in range(files):
            part = arrow.slice(edges[i], edges[i + 1] - edges[i])
            pq.write_table(part, folder / f"part-{i}.parquet", row_group_size=row_group_size)
        return folder

    return write


@pytest.fixture
def houses(write_parquet: Callable[..., Path]) -> Path:
    """1,000 small houses: numbers with gaps, an integer, a text, a price; 2 files, 10 row groups."""
    rng = np.random.default_rng(0)
    n = 1_000
    area = rng.gamma(4.0, 30.0, n)
    rooms = rng.integers(1, 9, n)
    age = rng.uniform(0, 90, n)
    place = rng.choice(["coast", "hills", "town"], n, p=[0.2, 0.3, 0.5])
    price = 900 * area + 12_000 * rooms - 300 * age + 40_000 * (place == "coast") + rng.normal(0, 9_000, n)
    gaps = rng.random(n) < 0.05
    table = pa.table(
        {
            "area": pa.array(area),
            "rooms": pa.array(rooms),
            "age": pa.array(np.where(gaps, 0.0, age), mask=gaps),
            "place": pa.array(place),
            "price": pa.array(price),
        }
    )
    return write_parquet(table, "houses")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets that PARQUETRY_DATA names."""
    folder = os.environ.get("PARQUETRY_DATA")
    if not folder:
        pytest.skip("PARQUETRY_DATA is not set: the real data sets are not here.")
    return Path(folder).resolve()
