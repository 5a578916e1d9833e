"""Bad input: a typed error that names the thing and a way out, before any work is scheduled."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.local import LocalFileSystem
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import parquetry as pqy
from parquetry import errors
from parquetry.engine import Engine

NUMBERS = ["area", "rooms"]


class NothingScheduled(Engine):
    """Fails the test when it is given work."""

    name, parallelism, memory = "none", 1, 2**30

    def reduce(self, *_: Any, **__: Any) -> Any:
        pytest.fail("work was scheduled")

    map = scan = write = reduce

    def close(self) -> None:
        """There is nothing to close."""


def refuse(kind: type[errors.ParquetryError], call: Callable[..., Any], *named: str) -> errors.ParquetryError:
    """``call`` raises ``kind``; the message names each of ``named``, and a way out."""
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    for text in named:
        assert str(text) in str(error), f"{text!r} is not named in: {error}"
    assert error.fix, f"no way out in: {error}"
    return error


def fit(estimator: Any, data: Any, **roles: Any) -> Any:
    return pqy.fit(estimator, data, engine=NothingScheduled(), **roles)


def table_at(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


# --- paths and files ------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["folder/none", "none.parquet", "folder/*.parquet", "none/*/x.parquet"])
def test_missing_path(tmp_path: Path, form: str) -> None:
    (tmp_path / "folder").mkdir()
    error = refuse(errors.DatasetNotFound, lambda: pqy.open_dataset(tmp_path / form), form)
    assert str(tmp_path) in error.fix, "the nearest folder that exists is named"
    assert isinstance(error, FileNotFoundError)


@pytest.mark.parametrize("source", [[], "", "memory://nothing/here"])
def test_nothing_named(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refuse(errors.DatasetNotFound, lambda: pqy.open_dataset(source))


def test_unknown_scheme() -> None:
    refuse(errors.BadParameter, lambda: pqy.open_dataset("nowhere://a/b"), "nowhere://a/b")


def test_folder_without_parquet(tmp_path: Path) -> None:
    refuse(errors.DatasetNotFound, lambda: pqy.open_dataset(tmp_path), tmp_path)
    (tmp_path / "notes.txt").write_text("nothing to see")
    refuse(errors.NotParquet, lambda: pqy.open_dataset(tmp_path), "notes.txt")


@pytest.mark.parametrize("name", ["houses.csv", "houses.parquet"])
def test_csv_given_as_parquet(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("area,rooms,price\n1,2,3\n")
    for source in (tmp_path, tmp_path / name):
        refuse(errors.NotParquet, lambda source=source: pqy.open_dataset(source), name, "area,rooms", "CSV")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", errors.NotParquet),
        (b"PAR1", errors.CorruptBlock),
        (b"\x00" * 100, errors.NotParquet),
        (b"\n\n\n", errors.NotParquet),
        (b"PAR1" + b"\xff" * 50 + b"\xff\xff\xff\x7fPAR1", errors.CorruptBlock),
        (b"PAR1" + b"\x00" * 4 + b"\x00\x00\x00\x00PAR1", errors.CorruptBlock),
    ],
)
def test_files_that_are_not_parquet(tmp_path: Path, content: bytes, kind: type[errors.ParquetryError]) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    refuse(kind, lambda: pqy.open_dataset(tmp_path), "a.parquet")


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_file(houses: Path, kept: float) -> None:
    file = houses / "part-1.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    refuse(errors.CorruptBlock, lambda: pqy.open_dataset(houses), "part-1.parquet")


def test_unreadable_file() -> None:
    """Root may read anything, so the filesystem itself says no."""

    class Locked(LocalFileSystem):  # type: ignore[misc]
        def _open(self, path: str, *_: Any, **__: Any) -> Any:
            raise PermissionError(errno.EACCES, "Permission denied", path)

    filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(Locked(skip_instance_cache=True)))
    refuse(errors.AccessDenied, lambda: pqy.open_dataset(__file__, filesystem=filesystem), __file__)


# --- schemas and columns --------------------------------------------------------------------
@pytest.mark.parametrize(
    ("second", "column", "found"),
    [
        ({"a": ["text"], "b": [1.0]}, "a", "string"),
        ({"a": pa.array([1], pa.int32()), "b": [1.0]}, "a", "int32"),
        ({"a": [1]}, "b", "missing"),
        ({"a": [1], "b": [1.0], "c": [True]}, "c", "bool"),
    ],
)
def test_schema_drift(tmp_path: Path, second: dict[str, Any], column: str, found: str) -> None:
    table_at(tmp_path / "1.parquet", {"a": [1], "b": [1.0]})
    table_at(tmp_path / "2.parquet", second)
    refuse(errors.SchemaDrift, lambda: pqy.open_dataset(tmp_path), "1.parquet", "2.parquet", f"{column!r}", found)


def test_partition_folders_of_different_depth(tmp_path: Path) -> None:
    table_at(tmp_path / "a.parquet", {"x": [1]})
    table_at(tmp_path / "k=1" / "a.parquet", {"x": [1]})
    refuse(errors.SchemaDrift, lambda: pqy.open_dataset(tmp_path), "k=1")


def test_column_named_twice_in_a_file(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), tmp_path / "a.parquet")
    refuse(errors.SchemaDrift, lambda: pqy.open_dataset(tmp_path), "'a'")


def test_unknown_columns_get_the_nearest_name(houses: Path) -> None:
    data = pqy.open_dataset(houses)
    calls: list[Callable[[], Any]] = [
        lambda: data.select(["Pirce"]),
        lambda: data.drop(["Pirce"]),
        lambda: pqy.open_dataset(houses, columns=["Pirce"]),
        lambda: fit(LinearRegression(), data, target="Pirce"),
        lambda: fit(LinearRegression(), data, target="area", features=["Pirce"]),
        lambda: fit(LinearRegression(), data, target="area", sample_weight="Pirce"),
    ]
    for call in calls:
        error = refuse(errors.UnknownColumn, call, "'Pirce'", houses)
        assert error.fix == "Did you mean 'price'?"
    refuse(errors.UnknownColumn, lambda: data.select(["zzz"]), "'area'")


def test_target_of_the_wrong_type(houses: Path) -> None:
    call = lambda: fit(LinearRegression(), houses, target="place", features=NUMBERS)  # noqa: E731
    refuse(errors.WrongColumnType, call, "'place'", "string", "LinearRegression")
    piped = lambda: fit(make_pipeline(StandardScaler(), Ridge()), houses, target="place", features=NUMBERS)  # noqa: E731
    refuse(errors.WrongColumnType, piped, "Ridge is a regressor")


@pytest.mark.parametrize(("given", "named"), [(Ridge, "Ridge()"), ("ridge", "'ridge'"), (None, "None")])
def test_what_is_no_estimator(houses: Path, given: Any, named: str) -> None:
    refuse(errors.BadParameter, lambda: fit(given, houses, target="price"), named)


def test_weight_of_the_wrong_type(houses: Path) -> None:
    call = lambda: fit(Ridge(), houses, target="price", features=NUMBERS, sample_weight="place")  # noqa: E731
    refuse(errors.WrongColumnType, call, "'place'")


def test_feature_of_the_wrong_type(houses: Path) -> None:
    refuse(errors.WrongColumnType, lambda: fit(LinearRegression(), houses, target="price"), "'place'", "string")


def test_nested_feature(tmp_path: Path) -> None:
    file = table_at(tmp_path / "a.parquet", {"x": [[1.0], [2.0]], "y": [1.0, 2.0]})
    refuse(errors.WrongColumnType, lambda: fit(LinearRegression(), file, target="y"), "'x'", "list")


@pytest.mark.parametrize("role", ["feature", "target"])
def test_column_without_a_value(tmp_path: Path, role: str) -> None:
    nothing = pa.nulls(6, pa.float64())
    columns = {
        "x": nothing if role == "feature" else np.arange(6.0),
        "y": nothing if role == "target" else np.arange(6.0),
    }
    file = table_at(tmp_path / "a.parquet", columns, row_group_size=2)
    refuse(errors.DegenerateColumn, lambda: fit(LinearRegression(), file, target="y"), "null in all 6 rows", str(file))


def test_constant_target(write_parquet: Callable[..., Path]) -> None:
    folder = write_parquet({"x": np.arange(300.0), "y": np.full(300, 7.0)})
    refuse(
        errors.DegenerateColumn, lambda: fit(LinearRegression(), folder, target="y"), "'y'", "no other value than 7.0"
    )


def test_empty_dataset(tmp_path: Path) -> None:
    none = pa.array([], pa.float64())
    file = table_at(tmp_path / "a.parquet", {"x": none, "y": none})
    refuse(errors.EmptyDataset, lambda: fit(LinearRegression(), file, target="y"), str(file))
    model = LinearRegression().fit([[1.0], [2.0]], [1.0, 2.0])
    refuse(
        errors.EmptyDataset, lambda: pqy.evaluate(model, file, target="y", features=["x"], engine=NothingScheduled())
    )
    to = tmp_path / "out"
    refuse(errors.EmptyDataset, lambda: pqy.predict(model, file, to=to, features=["x"], engine=NothingScheduled()))
    assert not to.exists()


def test_empty_part_of_a_dataset(tmp_path: Path) -> None:
    file = table_at(tmp_path / "a.parquet", {"x": [1.0, 2.0], "y": [1.0, 2.0]})
    parts = [p for seed in range(20) for p in pqy.open_dataset(file).split(test=0.01, seed=seed) if p.num_rows == 0]
    refuse(errors.EmptyDataset, lambda: fit(LinearRegression(), parts[0], target="y"), "split")


# --- values that only the work itself can find: the same error on every engine ------------------
@pytest.mark.parametrize(("value", "shown"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
@pytest.mark.parametrize("column", ["x1", "y"])
def test_values_that_the_estimator_refuses(
    engine: Any, write_parquet: Callable[..., Path], value: float, shown: str, column: str
) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=2_000) for name in ("x0", "x1", "y")}
    columns[column][[1_234, 1_235, 1_999]] = value
    folder = write_parquet(columns)
    error = refuse(
        errors.NonFiniteValues,
        lambda: pqy.fit(LinearRegression(), folder, target="y", engine=engine),
        f"{column!r}",
        shown,
        "part-1.parquet",
        "row group 2",
        "row 34",
    )
    assert "LinearRegression" in str(error)


def test_infinity_where_nan_is_accepted(engine: Any, write_parquet: Callable[..., Path]) -> None:
    values = np.arange(1_000.0)
    values[0] = np.nan
    values[777] = np.inf
    folder = write_parquet({"x": values})
    call = lambda: pqy.fit(StandardScaler(), folder, engine=engine)  # noqa: E731
    refuse(errors.NonFiniteValues, call, "'x'", "infinity", "part-1.parquet", "row group 2", "row 77")


def corrupted(folder: Path, file: str, row_group: int) -> Path:
    """The folder, with bytes flipped inside one row group of one file."""
    path = folder / file
    chunk = pq.read_metadata(path).row_group(row_group).column(0)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    content = bytearray(path.read_bytes())
    for i in range(start, start + chunk.total_compressed_size):
        content[i] ^= 0xFF
    path.write_bytes(content)
    return folder


def test_corrupt_row_group(engine: Any, houses: Path) -> None:
    folder = corrupted(houses, "part-1.parquet", 3)
    data = pqy.open_dataset(folder)
    call = lambda: pqy.fit(LinearRegression(), data, target="price", features=NUMBERS, engine=engine)  # noqa: E731
    error = refuse(errors.CorruptBlock, call, "part-1.parquet", "row group 3")
    assert type(error) is errors.CorruptBlock
    refuse(errors.CorruptBlock, data.to_pandas, "part-1.parquet", "row group 3")


def test_flipped_bit_that_only_a_checksum_shows(tmp_path: Path) -> None:
    options = {"compression": "none", "use_dictionary": False, "write_page_checksum": True, "row_group_size": 500}
    file = table_at(tmp_path / "a.parquet", {"x": np.arange(1_000.0)}, **options)
    chunk = pq.read_metadata(file).row_group(1).column(0)
    content = bytearray(file.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size - 3] ^= 1
    file.write_bytes(content)
    refuse(errors.CorruptBlock, pqy.open_dataset(file).to_pandas, "a.parquet", "row group 1")


def test_file_that_went_away(engine: Any, houses: Path) -> None:
    data = pqy.open_dataset(houses)
    (houses / "part-1.parquet").unlink()
    call = lambda: pqy.fit(LinearRegression(), data, target="price", features=NUMBERS, engine=engine)  # noqa: E731
    refuse(errors.DatasetNotFound, call, "part-1.parquet")


# --- the files that broke other readers ---------------------------------------------------------
def read_whole(path: Path) -> int:
    return sum(table.num_rows for table in pqy.open_dataset(path).batches())


BAD = {
    "ARROW-GH-41317.parquet": errors.CorruptBlock,
    "ARROW-GH-41321.parquet": errors.CorruptBlock,
    "ARROW-GH-43605.parquet": None,  # valid by the specification: readers that refused it were mended
    "ARROW-GH-45185.parquet": errors.CorruptBlock,
    "ARROW-GH-47662.parquet": errors.CorruptBlock,
    "ARROW-RS-GH-6229-DICTHEADER.parquet": errors.CorruptBlock,
    "ARROW-RS-GH-6229-LEVELS.parquet": errors.CorruptBlock,
    "PARQUET-1481.parquet": errors.CorruptBlock,
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", BAD)
def test_bad_data(real_data: Path, name: str) -> None:
    path, kind = real_data / "parquet-testing" / "bad_data" / name, BAD[name]
    if kind is None:
        assert read_whole(path) == pq.read_metadata(path).num_rows
    else:
        refuse(kind, lambda: read_whole(path), name)


def test_bad_data_is_complete(real_data: Path) -> None:
    assert {p.name for p in (real_data / "parquet-testing" / "bad_data").glob("*.parquet")} == set(BAD)


def test_bad_data_on_every_engine(engine: Any, real_data: Path, tmp_path: Path) -> None:
    data = pqy.open_dataset(real_data / "parquet-testing" / "bad_data" / "ARROW-RS-GH-6229-LEVELS.parquet")
    call = lambda: engine.write(data, str(tmp_path / "out"))  # noqa: E731
    refuse(errors.CorruptBlock, call, "LEVELS.parquet", "row group 0")
    assert not (tmp_path / "out").exists()


@pytest.mark.timeout(300)
def test_every_file_of_parquet_testing_reads_or_gives_a_typed_error(real_data: Path) -> None:
    """One bad file must not take the process with it: those with encrypted columns once did."""
    refused = {}
    for path in sorted((real_data / "parquet-testing" / "data").rglob("*.parquet*")):
        if path.name == "large_string_map.brotli.parquet":
            continue  # one row of two texts of 2 GiB: 4 GiB of memory to find that Arrow cannot hold it
        try:
            assert read_whole(path) == pqy.open_dataset(path).num_rows
        except errors.ParquetryError as error:
            refused[path.name] = error
    assert all(error.fix and name in str(error) for name, error in refused.items())
    kinds = {name: type(error) for name, error in refused.items()}
    odd = {name: kind for name, kind in kinds.items() if ".encrypted" not in name}
    assert odd == {
        "datapage_v1-corrupt-checksum.parquet": errors.CorruptBlock,
        "incorrect_map_schema.parquet": errors.CorruptBlock,
        "rle-dict-uncompressed-corrupt-checksum.parquet": errors.CorruptBlock,
    }
    assert {kind for name, kind in kinds.items() if name not in odd} == {errors.NotParquet}


# --- steps that cannot travel -------------------------------------------------------------------
def locked_function() -> Callable[[Any], Any]:
    lock = threading.Lock()

    def work(x: Any) -> Any:
        with lock:
            return x

    return work


class OpensFile(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A step of a user's own that holds an open file."""

    def __init__(self, file: Any = None) -> None:
        self.file = file

    def fit(self, x: Any, y: Any = None) -> OpensFile:
        return self


def test_step_with_a_lock(houses: Path) -> None:
    model = make_pipeline(FunctionTransformer(locked_function()), LinearRegression())
    call = lambda: fit(model, houses, target="price", features=NUMBERS)  # noqa: E731
    refuse(errors.StepNotPicklable, call, "'functiontransformer'", "lock")


def test_step_with_an_open_file(houses: Path, tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as file:
        model = make_pipeline(OpensFile(file), LinearRegression())
        call = lambda: fit(model, houses, target="price", features=NUMBERS)  # noqa: E731
        refuse(errors.StepNotPicklable, call, "'opensfile'")


def test_a_frame_is_no_dataset(houses: Path) -> None:
    frame = pqy.open_dataset(houses).head(5)
    refuse(errors.BadParameter, lambda: fit(LinearRegression(), frame, target="price"), "DataFrame", "to_parquet")
    refuse(errors.BadParameter, lambda: fit(LinearRegression(), 3, target="price"), "int")


def test_a_model_that_is_not_fitted(houses: Path, tmp_path: Path) -> None:
    model = make_pipeline(StandardScaler(), LinearRegression())
    for call in (
        lambda: pqy.predict(model, houses, to=tmp_path / "out", features=NUMBERS, engine=NothingScheduled()),
        lambda: pqy.evaluate(model, houses, target="price", features=NUMBERS, engine=NothingScheduled()),
    ):
        refuse(errors.BadParameter, call, "Pipeline is not fitted", "parquetry.fit")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("bad", "told"), [(np.inf, "infinity"), (np.nan, "NaN")])
def test_values_that_a_model_refuses_are_told_by_their_place(local: Any, tmp_path: Path, bad: float, told: str) -> None:
    rows = {"word": ["a"] * 100, "area": np.arange(100.0), "price": np.arange(100.0)}
    good = table_at(tmp_path / "good.parquet", rows)
    model = make_pipeline(StandardScaler(), LinearRegression())
    fitted = pqy.fit(model, good, target="price", features=["area"], engine=local)
    rows["area"][77] = bad
    data = table_at(tmp_path / "bad.parquet", rows, row_group_size=50)
    named = (f"'area' holds {told}", str(data), "row group 1, row 27")
    for call in (
        lambda: pqy.evaluate(fitted, data, target="price", engine=local),
        lambda: pqy.predict(fitted, data, to=tmp_path / "out", engine=local),
    ):
        refuse(errors.NonFiniteValues, call, *named)
    if told == "NaN":  # what the scaler lets through has its name still
        call = lambda: pqy.fit(model, data, target="price", features=["area"], engine=local)  # noqa: E731
        refuse(errors.NonFiniteValues, call, "LinearRegression", *named)


def test_a_date_is_not_to_be_encoded(tmp_path: Path) -> None:
    days = np.arange(20).astype("datetime64[s]")
    data = table_at(tmp_path / "days.parquet", {"day": days, "y": np.arange(20.0)})
    refuse(errors.WrongColumnType, lambda: fit(LinearRegression(), data, target="y"), "'day'", "days since a date")


def test_messages_are_sentences() -> None:
    assert (
        str(errors.ParquetryError("A fact.", why="[Errno 1] Refused", fix="Try.")) == "A fact. [Errno 1] Refused. Try."
    )
    assert str(errors.ParquetryError("Wrong: ", fix="\nSee --help.")) == "Wrong:\nSee --help."
    assert str(errors.ParquetryError("A fact.", fix="Run it: make x")) == "A fact. Run it: make x"
    assert errors.did_you_mean("hous", ["house_prices", "spam_filter"]) == "Did you mean 'house_prices'?"


# --- outputs ------------------------------------------------------------------------------------
@pytest.fixture
def model(houses: Path, local: Any) -> Any:
    return pqy.fit(LinearRegression(), houses, target="price", features=NUMBERS, engine=local)


def predict(model: Any, houses: Path, to: Path | str) -> Any:
    return pqy.predict(model, houses, to=to, engine=NothingScheduled())


@pytest.mark.parametrize("what", ["table", "folder", "file"])
def test_output_exists(model: Any, houses: Path, local: Any, tmp_path: Path, what: str) -> None:
    to = tmp_path / "out"
    if what == "table":
        pqy.predict(model, houses, to=to, engine=local)
    elif what == "folder":
        table_at(to / "mine.parquet", {"precious": [1]})
    else:
        to.write_text("precious")
    before = {p: p.read_bytes() for p in [to, *to.rglob("*")] if p.is_file()}
    refuse(errors.OutputExists, lambda: predict(model, houses, to), str(to))
    assert {p: p.read_bytes() for p in [to, *to.rglob("*")] if p.is_file()} == before


@pytest.mark.parametrize("mode", ["overwrite", "append"])
def test_what_is_no_table_is_not_replaced_either(model: Any, houses: Path, tmp_path: Path, mode: str) -> None:
    table_at(tmp_path / "out" / "mine.parquet", {"precious": [1]})
    call = lambda: pqy.predict(model, houses, to=tmp_path / "out", mode=mode, engine=NothingScheduled())  # noqa: E731
    refuse(errors.OutputExists, call, "not a Delta table")


def test_unknown_mode(model: Any, houses: Path, tmp_path: Path) -> None:
    call = lambda: pqy.predict(model, houses, to=tmp_path / "o", mode="replace", engine=NothingScheduled())  # noqa: E731
    refuse(errors.BadParameter, call, "'replace'", "overwrite")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that not even root may write to")
def test_no_write_permission(model: Any, houses: Path) -> None:
    """Root may write wherever a mode bit forbids it, so the place is one of the kernel's own."""
    for place in ("/proc/parquetry-out", "/sys/parquetry-out"):
        refuse(errors.OutputNotWritable, lambda place=place: predict(model, houses, place), place)


def test_output_below_a_file(model: Any, houses: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuse(errors.OutputNotWritable, lambda: predict(model, houses, tmp_path / "file" / "out"), "file")


def test_model_and_data_that_do_not_fit_leave_nothing_behind(model: Any, houses: Path, tmp_path: Path) -> None:
    to = tmp_path / "out"
    with pytest.raises(ValueError, match="rooms"):
        pqy.predict(model, houses, to=to, features=["area", "place"], engine=NothingScheduled())
    assert not to.exists()


# --- engines ------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["sparks", "Local", "", "http://x:1", "localhost:8786"])
def test_unknown_engine(where: str) -> None:
    refuse(errors.UnknownEngine, lambda: pqy.open_engine(where), repr(where))


def test_something_that_is_no_engine(houses: Path) -> None:
    refuse(errors.UnknownEngine, lambda: pqy.open_engine(42), "int")
    call = lambda: pqy.fit(LinearRegression(), houses, target="price", features=NUMBERS, engine="flink")  # noqa: E731
    refuse(errors.UnknownEngine, call, "'flink'")


def test_engine_name_with_a_slip() -> None:
    assert "'spark'" in str(refuse(errors.UnknownEngine, lambda: pqy.open_engine("sparc")))


@pytest.mark.parametrize("settings", [{"workers": 0}, {"memory": "lots"}, {"memory": 0}, {"memory": "1.2.3G"}])
def test_engine_settings(settings: dict[str, Any]) -> None:
    refuse(errors.BadParameter, lambda: pqy.open_engine("local", **settings), next(iter(settings)))


@pytest.mark.parametrize(
    ("where", "package", "extra"), [("dask", "distributed", "dask"), ("spark", "pyspark", "spark")]
)
def test_missing_extra(monkeypatch: pytest.MonkeyPatch, where: str, package: str, extra: str) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    named = (package, "-m pip install -e", f"[{extra}]'")  # of this clone: a package of the name may be another's
    refuse(errors.MissingDependency, lambda: pqy.open_engine(where), *named)
    with pqy.open_engine("local") as engine:
        assert engine.name == "local"


def test_java_missing(monkeypatch: pytest.MonkeyPatch, houses: Path, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    for where in ("spark", "local[2]", "spark://localhost:7077"):
        refuse(errors.JavaMissing, lambda where=where: pqy.open_engine(where), "Java 17", "openjdk")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "none"))
    refuse(errors.JavaMissing, lambda: pqy.open_engine("spark"), "JAVA_HOME")
    model = pqy.fit(LinearRegression(), houses, target="price", features=NUMBERS, engine="local")
    assert model.coef_.shape == (2,)


HAS_JAVA = shutil.which("java") is not None or "JAVA_HOME" in os.environ
NEEDS_JAVA = pytest.mark.skipif(not HAS_JAVA, reason="Spark needs Java 17, which is not here.")
SCHEMES = ["tcp", "sc", pytest.param("spark", marks=NEEDS_JAVA)]
OPEN = """
import os, sys, time
import parquetry
from parquetry.engines import dask, spark
from parquetry.errors import EngineUnreachable
dask._CONNECT_SECONDS, spark._START_SECONDS = 3, 10.0  # enough to see that it ends
started = time.monotonic()
try:
    parquetry.open_engine(sys.argv[1])
except EngineUnreachable as error:
    assert sys.argv[1] in str(error) and error.fix
    print(round(time.monotonic() - started, 1), flush=True)
os._exit(0)  # a client that still waits does not count
"""


@pytest.mark.parametrize("scheme", SCHEMES)
def test_nobody_listens(scheme: str) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"{scheme}://127.0.0.1:{closed.getsockname()[1]}"
        started = time.monotonic()
        refuse(errors.EngineUnreachable, lambda: pqy.open_engine(address), address)
        assert time.monotonic() - started <= 30


def test_somebody_listens_and_never_answers() -> None:
    """In fresh processes: one that has a Spark session already would be given that. All at once: each waits long."""
    schemes = ["tcp", "sc", *(["spark"] if HAS_JAVA else [])]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = [
            subprocess.Popen(
                [sys.executable, "-W", "ignore", "-c", OPEN, f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for scheme in schemes
        ]
        ends = [process.communicate(timeout=90) for process in started]
    for output, error in ends:
        assert output.strip(), error
        assert float(output) <= 30


@pytest.mark.parametrize("address", ["tcp://no-such-host.invalid:8786", "spark://no-such-host.invalid:7077"])
def test_host_that_does_not_exist(address: str) -> None:
    started = time.monotonic()
    refuse(errors.EngineUnreachable, lambda: pqy.open_engine(address), address)
    assert time.monotonic() - started <= 30


@pytest.mark.parametrize("address", ["spark://", "sc://", "tcp://"])
def test_address_without_a_host(address: str) -> None:
    with pytest.raises(errors.ParquetryError):
        pqy.open_engine(address)
