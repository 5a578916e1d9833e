"""What every engine must do, as one test class, and digests of results that must be the same.

``python -m parquetry.testing.conformance --engine dask --workers 3`` prints the digests as JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parquetry.dataset import Dataset, open_dataset
from parquetry.engine import Engine, Member, SupportsGang, open_engine
from parquetry.errors import NotEnoughSlots, OutputExists, TaskFailed, UnknownColumn
from parquetry.fitting import fit
from parquetry.reduction import TreeMerge
from parquetry.scoring import evaluate, predict
from parquetry.testing.tables import write_mixed_table

_NUMBERS = ["huge", "gappy", "count", "flag"]
_FEATURES = [*_NUMBERS, "kind"]
_ITEM_COUNTS = (1, 2, 16, 17, 260)  # around the fan-in of the merge tree, and over two levels


def digests(engine: Engine, folder: str | os.PathLike[str], scratch: str | os.PathLike[str]) -> dict[str, str]:
    """SHA-256 of the bits of every kind of result over the mixed table.

    Two engines conform when they give the same digests, whatever their number of workers.

    Parameters
    ----------
    engine : Engine
    folder : path
        Where :func:`write_mixed_table` wrote.
    scratch : path
        An empty folder that the engine's workers can write to.
    """
    data = open_dataset(folder)
    train, test = data.split(test=0.25, seed=7)
    model = fit(_pipeline(), train, target="y", features=_FEATURES, engine=engine)
    weighted = fit(
        _ridge(), train, target=["y", "huge"], features=["gappy", "count"], sample_weight="weight", engine=engine
    )
    scores = evaluate(model, test, target="y", engine=engine)
    written = predict(model, test, to=Path(scratch) / "predictions", keys=["y", "kind"], engine=engine)
    return {
        "pipeline": _sha(_learned(model)),
        "weighted": _sha(_learned(weighted)),
        "scores": _sha(json.dumps(scores, sort_keys=True).encode()),
        "predictions": _sha(_rows(written)),
        "reduce": _sha(repr(_order_sensitive_sum(engine, 40)).encode()),
    }


class EngineConformance:
    """Subclass it, give the fixture ``engine``, and pytest runs every test against that engine."""

    @pytest.fixture
    def engine(self) -> Engine:
        """The engine under test; a subclass must give it."""
        pytest.fail("The subclass has no fixture 'engine'.")

    @pytest.fixture
    def table(self, tmp_path: Path) -> Path:
        """The mixed table."""
        return write_mixed_table(tmp_path / "mixed")

    def test_facts(self, engine: Engine) -> None:
        assert engine.name
        assert engine.parallelism >= 1
        assert engine.memory > 2**20

    @pytest.mark.parametrize("n", [0, 1, 50])
    def test_map_gives_results_in_order(self, engine: Engine, n: int) -> None:
        assert list(engine.map(_square, list(range(n)), label="map")) == [i * i for i in range(n)]

    def test_map_carries_closures(self, engine: Engine) -> None:
        offset = 41
        assert list(engine.map(lambda item: item + offset, [1, 2], label="map")) == [42, 43]

    @pytest.mark.parametrize("n", _ITEM_COUNTS)
    def test_reduce_merges_in_the_fixed_tree(self, engine: Engine, n: int) -> None:
        tree = TreeMerge(_add)
        for i in range(n):
            tree.add(_uneven(i))
        assert engine.reduce(_uneven, _add, list(range(n)), label="reduce") == tree.result()

    def test_typed_errors_come_back_as_they_are(self, engine: Engine) -> None:
        with pytest.raises(UnknownColumn, match="no column 'q'") as caught:
            list(engine.map(_raise_typed, [1], label="typed"))
        assert caught.value.fix == "Name another."

    def test_other_errors_name_the_work_and_show_the_trace(self, engine: Engine) -> None:
        with pytest.raises(TaskFailed, match="boom: a task raised ZeroDivisionError") as caught:
            engine.reduce(_invert, _add, [1.0, 0.0], label="boom")
        assert "_invert" in caught.value.fix

    def test_results_are_the_local_engines_bit_for_bit(self, engine: Engine, table: Path, tmp_path: Path) -> None:
        with open_engine("local", workers=1) as oracle:
            expected = digests(oracle, table, tmp_path / "local")
        assert digests(engine, table, tmp_path / "engine") == expected

    def test_scan_and_write(self, engine: Engine, table: Path, tmp_path: Path) -> None:
        import narwhals as nw

        data = open_dataset(table)
        frame = engine.scan(data.select(["count", "kind"])).filter(nw.col("count") > 6)
        path = str(tmp_path / "many")
        written = engine.write(frame, path)
        rows = data.to_pandas()
        expected = rows[rows["count"] > 6]
        assert written.num_rows == len(expected)
        assert written.to_pandas()["count"].sum() == expected["count"].sum()
        with pytest.raises(OutputExists):
            engine.write(frame, path)
        assert engine.write(frame, path, mode="append").num_rows == 2 * len(expected)
        assert engine.write(frame, path, mode="overwrite").num_rows == len(expected)

    def test_scan_and_write_a_split(self, engine: Engine, table: Path, tmp_path: Path) -> None:
        _, test = open_dataset(table).select(["huge", "kind"]).split(test=0.1, seed=3)
        direct = engine.write(test, str(tmp_path / "direct"))
        scanned = engine.write(engine.scan(test), str(tmp_path / "scanned"))
        expected = test.to_pandas()
        assert direct.to_pandas().equals(expected)
        assert sorted(scanned.to_pandas()["huge"]) == sorted(expected["huge"])

    def test_gang_members_meet(self, engine: Engine) -> None:
        if not isinstance(engine, SupportsGang):
            pytest.skip(f"The {engine.name} engine declares no gang.")
        size = min(2, engine.parallelism)
        met = engine.gang(_meet_twice, size, label="gang")
        names = [f"member {rank}" for rank in range(size)]
        assert [parts[:3] for parts in met] == [(rank, names, names[::-1]) for rank in range(size)]
        for _, _, _, host, together in met:
            assert host
            assert together

    def test_gang_needs_enough_slots(self, engine: Engine) -> None:
        if not isinstance(engine, SupportsGang):
            pytest.skip(f"The {engine.name} engine declares no gang.")
        with pytest.raises(NotEnoughSlots, match="needs 1000 slots"):
            engine.gang(_meet_twice, 1000, label="crowd")


def main() -> None:
    """Print the digests of an engine as one line of JSON."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--engine", default="local", help="what open_engine takes (default: local)")
    parser.add_argument("--workers", type=int, default=None, help="number of workers (default: one a core)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = write_mixed_table(Path(folder) / "mixed")
        with open_engine(arguments.engine, workers=arguments.workers) as engine:
            found = digests(engine, table, Path(folder) / "scratch")
            print(json.dumps({"engine": engine.name, "workers": engine.parallelism, "digests": found}))


def _pipeline() -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    words = OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=0.05)
    columns = ColumnTransformer([("numbers", numbers, _NUMBERS), ("words", words, ["kind"])])
    return make_pipeline(columns, LinearRegression())


def _ridge() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(), Ridge(alpha=2.0))


def _learned(model: Any) -> bytes:
    """The bytes of everything that a pipeline has learned, in a fixed order."""
    return b"\n".join(_state(step) for _, step in model.steps)


def _state(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        body = repr(value.tolist()).encode() if value.dtype == object else value.tobytes()
        return f"{value.dtype}{value.shape}".encode() + body
    if isinstance(value, float):
        return value.hex().encode()
    if isinstance(value, (list, tuple)):
        return b",".join(_state(v) for v in value)
    if hasattr(value, "get_params"):
        learned = {k: v for k, v in vars(value).items() if k.endswith("_") and not k.startswith("_")}
        return b";".join(k.encode() + _state(learned[k]) for k in sorted(learned) if k != "fit_report_")
    return repr(value).encode() if isinstance(value, (str, int, bool, type(None), slice, dict)) else b""


def _rows(dataset: Dataset) -> bytes:
    return b"".join(repr(table.to_pydict()).encode() for table in dataset.batches())


def _order_sensitive_sum(engine: Engine, n: int) -> float:
    return float(engine.reduce(_uneven, _add, list(range(n)), label="reduce"))


def _sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _square(item: int) -> int:
    return item * item


def _uneven(item: int) -> float:
    # Terms of such different sizes that another order of adding gives other bits.
    return float(10.0 ** (item % 17)) / (item + 3.7)


def _add(left: float, right: float) -> float:
    return left + right


def _invert(item: float) -> float:
    return 1 / item


def _raise_typed(_: int) -> None:
    raise UnknownColumn("There is no column 'q'.", fix="Name another.")


def _meet_twice(member: Member) -> tuple[int, list[str], list[str], str, bool]:
    together = member.together()
    first = member.all_gather(f"member {member.rank}")
    second = member.all_gather(first[-1 - member.rank])
    return member.rank, first, second, member.host, together


if __name__ == "__main__":
    main()
