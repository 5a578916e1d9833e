"""The partition doctor: every sickness is found and named, a sound copy is sound, and has the same rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

import parquetry as pqy
from parquetry import cli, storage
from parquetry.errors import (
    BadParameter,
    CorruptBlock,
    DatasetNotFound,
    EmptyDataset,
    OutputExists,
    ParquetryError,
    SchemaDrift,
    WrongColumnType,
)
from parquetry.foundation import doctor, findings, mending, symptoms, symptoms_groups
from parquetry.foundation.doctor import Diagnosis, examine
from parquetry.foundation.findings import Finding
from parquetry.foundation.mending import mend
from parquetry.foundation.row_digest import RowDigest

ROWS = 40_000


def rows(n: int = ROWS, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table({"id": np.arange(n), "x": rng.normal(size=n), "place": rng.choice(["coast", "hills"], n)})


def save(table: pa.Table, path: Path, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    pq.write_table(table, path, **{"compression": "zstd", "use_dictionary": ["place"], **options})
    return path.parent


def found(diagnosis: Diagnosis, kind: str) -> Finding:
    kinds = {f.kind: f for f in diagnosis.findings}
    assert kind in kinds, diagnosis.text()
    assert kinds[kind].what in diagnosis.text()
    return kinds[kind]


def kinds(diagnosis: Diagnosis, severity: str = "problem") -> set[str]:
    return {f.kind for f in diagnosis.findings if f.severity == severity}


def test_a_sound_dataset_is_healthy(tmp_path: Path) -> None:
    folder = save(rows(), tmp_path / "d" / "a.parquet", write_page_index=True)
    diagnosis = examine(folder)
    assert (diagnosis.findings, diagnosis.healthy) == ([], True)
    assert (diagnosis.files, diagnosis.rows, diagnosis.row_groups) == (1, ROWS, 1)
    assert diagnosis.nbytes == (folder / "a.parquet").stat().st_size
    assert examine(folder / "a.parquet").healthy
    assert examine(f"{folder}/*.parquet").healthy


def test_small_files(tmp_path: Path) -> None:
    for i in range(30):
        save(rows(100, i), tmp_path / f"{i:03}.parquet")
    finding = found(examine(tmp_path), "small-files")
    assert (finding.count, finding.severity) == (30, "problem")
    assert finding.seconds == pytest.approx(29 * findings.OPEN_SECONDS[True])
    assert finding.nbytes > 29 * 500
    assert finding.files[0] == str(tmp_path / "000.parquet")
    assert "29 files more" in finding.cost


def test_row_groups_that_are_huge_skewed_small_or_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(rows(), tmp_path / "small" / "a.parquet", row_group_size=1_000)
    finding = found(examine(tmp_path / "small"), "small-row-groups")
    assert (finding.count, "1,000 on average" in finding.what) == (40, True)
    # What is left over at a file's end is no sickness.
    save(rows(), tmp_path / "rest" / "a.parquet", row_group_size=39_000)
    assert kinds(examine(tmp_path / "rest")) == set()

    with pq.ParquetWriter(_made(tmp_path / "empty" / "a.parquet"), rows().schema, compression="zstd") as writer:
        writer.write_table(rows())
        writer.write_table(rows().slice(0, 0))
    finding = found(examine(tmp_path / "empty"), "empty-blocks")
    assert finding.count == 1

    monkeypatch.setattr(symptoms_groups, "SMALL_GROUP", 1_000)
    with pq.ParquetWriter(_made(tmp_path / "skew" / "a.parquet"), rows().schema, compression="zstd") as writer:
        for n in (10_000, 10_000, 10_000, 400_000):
            writer.write_table(rows(n))
    finding = found(examine(tmp_path / "skew"), "skewed-row-groups")
    assert finding.count == 1
    assert finding.seconds > 0
    monkeypatch.setattr(symptoms_groups, "HUGE_GROUP", 2**20)
    finding = found(examine(tmp_path / "skew"), "huge-row-groups")
    assert (finding.count, "1 of 4" in finding.what) == (1, True)
    assert "skewed-row-groups" not in kinds(examine(tmp_path / "skew"))


def _made(path: Path) -> Path:
    path.parent.mkdir()
    return path


def test_files_that_are_empty_broken_or_strangers(tmp_path: Path) -> None:
    save(rows(), tmp_path / "a.parquet")
    save(rows().slice(0, 0), tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-50])
    (tmp_path / "d.parquet").write_bytes(b"")
    (tmp_path / "notes.csv").write_text("a,b\n")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "_temporary" / "0").mkdir(parents=True)
    (tmp_path / "_temporary" / "0" / "part").write_bytes(b"12345")
    diagnosis = examine(tmp_path)
    assert kinds(diagnosis) == {"empty-files", "unreadable-files", "stray-files", "leftovers"}
    assert found(diagnosis, "empty-files").files == (str(tmp_path / "b.parquet"),)
    broken = found(diagnosis, "unreadable-files")
    assert broken.files == (str(tmp_path / "c.parquet"), str(tmp_path / "d.parquet"))
    assert "is an empty file" in broken.what
    assert found(diagnosis, "stray-files").files == (str(tmp_path / "notes.csv"),)
    assert found(diagnosis, "leftovers").nbytes == 5
    with pytest.raises(ParquetryError, match=r"c\.parquet"):
        mend(tmp_path, tmp_path.parent / "out")


def test_mixed_schemas_and_partitions(tmp_path: Path) -> None:
    table = rows(100)
    for i in range(3):
        save(table, tmp_path / "d" / f"{i}.parquet")
    # Another order, and another encoding of the same type, are no difference.
    save(table.select(["x", "place", "id"]), tmp_path / "d" / "3.parquet")
    odd = (
        table.drop_columns("x").set_column(0, "id", table.column("id").cast(pa.int32())).append_column("z", table["x"])
    )
    save(odd, tmp_path / "d" / "4.parquet")
    finding = found(examine(tmp_path / "d"), "mixed-schemas")
    assert finding.files == (str(tmp_path / "d" / "4.parquet"),)
    for sign in ("'x' is missing", "'id' is int32, not int64", "'z' is there in addition"):
        assert sign in finding.what
    for year in (2020, 2021):
        save(table, tmp_path / "h" / f"year={year}" / "a.parquet")
    save(table, tmp_path / "h" / "b.parquet")
    assert "partition folders []" in found(examine(tmp_path / "h"), "mixed-schemas").what


def test_files_in_turn_of_two_schemas_are_told_apart_in_one_thread_or_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(40):
        table = rows(10, i)
        nested = pa.array([{"x": 1.0, "y": "a"}] * 10)
        save(table if i % 3 else table.append_column("pair", nested).drop_columns("x"), tmp_path / f"{i:02d}.parquet")
    one = examine(tmp_path)
    mixed = found(one, "mixed-schemas")
    assert mixed.count == 14
    assert "'x' is missing, 'pair' is there in addition" in mixed.what
    monkeypatch.setattr(storage, "_AT_ONCE", 0.0)  # as if the disk let one wait
    assert examine(tmp_path) == one
    plain = [tmp_path / f"{i:02d}.parquet" for i in range(40) if i % 3]
    assert pqy.open_dataset(plain).num_rows == 260
    with pytest.raises(SchemaDrift, match="column 'x' is missing"):
        pqy.open_dataset([*plain, tmp_path / "00.parquet"])


def test_codecs_statistics_page_index_and_dictionaries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(rows(), tmp_path / "a" / "a.parquet")
    save(rows(), tmp_path / "a" / "b.parquet", compression="none", write_statistics=["id"])
    diagnosis = examine(tmp_path / "a")
    finding = found(diagnosis, "mixed-codecs")
    assert "ZSTD" in finding.what
    assert "UNCOMPRESSED" in finding.what
    finding = found(diagnosis, "missing-statistics")
    assert finding.files == (str(tmp_path / "a" / "b.parquet"),)
    assert "2 columns ('x', 'place')" in finding.what
    assert finding.nbytes > 100_000
    assert found(diagnosis, "no-page-index").severity == "note"

    numbers = np.random.default_rng(0).integers(0, 2**62, ROWS)
    texts = pa.table({"key": [f"{i:x}" for i in numbers]})
    save(texts, tmp_path / "b" / "a.parquet", use_dictionary=True, dictionary_pagesize_limit=200_000)
    finding = found(examine(tmp_path / "b"), "dictionary-fallback")
    assert (finding.severity, "'key'" in finding.what, finding.nbytes > 0) == ("note", True, True)
    monkeypatch.setattr(symptoms, "SMALL_FILE", 2**19)
    save(texts, tmp_path / "c" / "a.parquet", use_dictionary=False, compression="none")
    assert found(examine(tmp_path / "c"), "uncompressed").severity == "note"


def test_values_that_no_writer_gives_statistics_of_are_no_sickness(tmp_path: Path) -> None:
    odd = pa.table(
        {"nan": [float("nan")] * 3, "null": pa.nulls(3), "long": ["x" * 10_000] * 3, "nested": [[1], [], None]}
    )
    assert kinds(examine(save(odd, tmp_path / "d" / "a.parquet"))) == set()


def test_order(tmp_path: Path) -> None:
    table = rows(100_000)
    when = pa.array(np.arange(100_000), pa.timestamp("s"))
    shuffled = table.drop_columns("id").append_column("when", when).take(np.random.default_rng(0).permutation(100_000))
    save(shuffled, tmp_path / "a" / "a.parquet", row_group_size=10_000)
    finding = found(examine(tmp_path / "a"), "overlapping-row-groups")
    assert (finding.severity, "'when'" in finding.what) == ("note", True)
    assert finding.nbytes > 0.4 * (tmp_path / "a" / "a.parquet").stat().st_size
    save(shuffled.sort_by("when"), tmp_path / "b" / "a.parquet", row_group_size=10_000)
    assert "overlapping-row-groups" not in kinds(examine(tmp_path / "b"), "note")
    told = [pq.SortingColumn(2)]
    save(shuffled, tmp_path / "c" / "a.parquet", row_group_size=10_000, sorting_columns=told)
    assert found(examine(tmp_path / "c"), "broken-order").count == 1
    save(shuffled.sort_by("when"), tmp_path / "d" / "a.parquet", row_group_size=10_000, sorting_columns=told)
    assert kinds(examine(tmp_path / "d")) == set()


def test_delta_tables(local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t"
    for i in range(12):
        local.write(rows(100, i), path, mode="append" if i else "fail")
    diagnosis = examine(path)
    assert (diagnosis.kind, diagnosis.rows, kinds(diagnosis)) == ("delta", 1_200, {"small-files"})
    assert examine(path, version=3).rows == 400
    DeltaTable(path).optimize.compact()
    (path / "_writing-abc").write_bytes(b"")
    monkeypatch.setattr(doctor, "_LONG_LOG", 5)
    diagnosis = examine(path)
    assert kinds(diagnosis) == {"tombstones", "long-log", "leftovers"}
    finding = found(diagnosis, "tombstones")
    assert (finding.count, finding.nbytes > 0, "vacuum" in finding.mend) == (12, True, True)
    assert found(diagnosis, "long-log").count == 13
    DeltaTable(path).create_checkpoint()
    assert "long-log" not in kinds(examine(path))


def sick(folder: Path) -> Path:
    """Many small files of mixed schemas, codecs and row groups; the rows are numbered in their order."""
    rng, start = np.random.default_rng(0), 0
    for i, n in enumerate((300, 0, 1, 7_000, 20_000, 500)):
        values = np.arange(start, start + n)
        table = pa.table(
            {
                "id": pa.array(values, pa.int32() if i % 2 else pa.int64()),
                "x": pa.array(rng.normal(size=n), mask=rng.random(n) < 0.1),
                "deep": pa.array([[{"a": int(v) % 3, "b": None if v % 5 else "t"}] * (v % 3) for v in values], DEEP),
                "when": pa.array(values, pa.timestamp("ms")),
            }
        )
        if i == 3:
            table = table.drop_columns("x").append_column("more", pa.array([f"é{v}" for v in values]))
        codec = "snappy" if i % 2 else "zstd"
        save(table, folder / f"k={i % 2}" / f"{i}.parquet", compression=codec, row_group_size=900, use_dictionary=False)
        start += n
    return folder


DEEP = pa.list_(pa.struct([("a", pa.int64()), ("b", pa.string())]))


def test_a_sound_copy_on_every_engine(
    tmp_path: Path, local: Any, dask_engine: Any, spark_engine: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sick(tmp_path / "sick")
    before = {p: p.read_bytes() for p in folder.rglob("*.parquet")}
    assert kinds(examine(folder)) >= {"small-files", "small-row-groups", "mixed-schemas", "mixed-codecs", "empty-files"}
    monkeypatch.setattr(mending, "TARGET_FILE", 100_000)  # several tasks
    copies = [mend(folder, tmp_path / e.name, engine=e) for e in (local, dask_engine, spark_engine)]
    order = [i for k in (0, 1) for i in range(6) if i % 2 == k]
    starts = np.cumsum([0, 300, 0, 1, 7_000, 20_000, 500])
    ids = [v for i in order for v in range(starts[i], starts[i + 1])]
    tables = []
    for copy in copies:
        assert (copy.rows, copy.digest) == (27_801, copies[0].digest)
        assert copy.files[0] == 6
        assert copy.files[1] > 1
        tables.append(pa.concat_tables(copy.dataset.batches()))
        assert tables[-1].equals(tables[0])
    assert tables[0].column("id").to_pylist() == ids
    assert tables[0].column("k").to_pylist() == [0] * 20_301 + [1] * 7_500
    assert {f.name: str(f.type) for f in tables[0].schema}["id"] == "int64"
    assert tables[0].column("more").null_count == 27_801 - 7_000
    assert {p: p.read_bytes() for p in folder.rglob("*.parquet")} == before
    monkeypatch.undo()
    whole = mend(folder, tmp_path / "whole", engine=local)
    assert examine(whole.to).healthy
    assert (whole.files, whole.row_groups[1]) == ((6, 1), 1)
    assert pa.concat_tables(whole.dataset.batches()).equals(tables[0])


def test_a_copy_that_differs_is_not_committed(tmp_path: Path, local: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    save(rows(1_000), tmp_path / "d" / "a.parquet")
    real = RowDigest.watch

    def tampered(self: RowDigest, tables: Any) -> Any:
        for table in real(self, tables):
            yield table.set_column(1, "x", pa.nulls(table.num_rows, pa.float64()))

    monkeypatch.setattr(RowDigest, "watch", tampered)
    with pytest.raises(CorruptBlock, match="is not what was read"):
        mend(tmp_path / "d", tmp_path / "out", engine=local)
    assert not (tmp_path / "out").exists()


def test_what_cannot_be_mended(tmp_path: Path, local: Any) -> None:
    folder = save(rows(100), tmp_path / "d" / "a.parquet")
    for place in (folder, folder / "in", tmp_path):
        with pytest.raises(BadParameter, match="never changed"):
            mend(folder, place, engine=local)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").write_text("mine")
    with pytest.raises(OutputExists):
        mend(folder, tmp_path / "taken", engine=local)
    save(pa.table({"id": [2**60], "x": ["text"], "place": ["coast"]}), folder / "b.parquet")
    with pytest.raises(SchemaDrift, match=r"b\.parquet: column 'x' is string, but elsewhere double"):
        mend(folder, tmp_path / "out", engine=local)
    save(pa.table({"id": [0.5], "x": [0.5], "place": ["coast"]}), folder / "b.parquet")
    save(pa.table({"id": [2**60 + 1], "x": [0.5], "place": ["coast"]}), folder / "c.parquet")
    with pytest.raises(WrongColumnType, match=r"c\.parquet"):
        mend(folder, tmp_path / "out", engine=local)
    with pytest.raises(EmptyDataset):
        mend(save(rows(0), tmp_path / "e" / "a.parquet"), tmp_path / "out", engine=local)
    with pytest.raises(DatasetNotFound):
        examine(tmp_path / "none")
    assert not (tmp_path / "out").exists()


def test_the_digest_sees_values_and_their_order_and_no_chunks() -> None:
    table = pa.table(
        {
            "f": pa.array([0.5, float("nan"), None, -0.0] * 5_000),
            "s": ["a", None, "", "é"] * 5_000,
            "b": [True, None, False, False] * 5_000,
            "l": [[1, None], [], None, [3]] * 5_000,
            "m": pa.array([[("k", 1)], None, [], [("a", None)]] * 5_000, pa.map_(pa.string(), pa.int8())),
            "d": pa.array(["x", "y", None, "x"] * 5_000).dictionary_encode(),
            "st": [{"a": 1}, None, {"a": None}, {"a": 2}] * 5_000,
            "fs": pa.array([b"12", None, b"34", b"56"] * 5_000, pa.binary(2)),
        }
    )

    def digest(*tables: pa.Table) -> str:
        out = RowDigest()
        assert sum(t.num_rows for t in out.watch(tables)) == out.rows
        return out.hexdigest()

    whole = digest(table)
    assert digest(*(table.slice(i, 777) for i in range(0, 20_000, 777))) == whole
    assert digest(table.slice(0, 0), table.slice(0, 9_000), table.slice(9_000)) == whole
    others = [table.slice(1), table.take([1, 0, *range(2, 20_000)])]
    for i, name in enumerate(table.column_names):
        column = pa.concat_arrays([table.column(name).slice(0, 19_999).combine_chunks(), pa.nulls(1, table[name].type)])
        others.append(table.set_column(i, name, column))
    others.append(table.set_column(0, "f", pa.array([0.5, float("nan"), None, 0.0] * 5_000)))
    assert len({whole, *map(digest, others)}) == len(others) + 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def call(*words: str) -> tuple[int, dict[str, Any], str]:
        with pytest.raises(SystemExit) as end:
            cli.main(["doctor", *words, "--json"])
        out = capsys.readouterr().out
        return int(end.value.code or 0), json.loads(out.splitlines()[-1]), out

    folder = sick(tmp_path / "sick")
    code, value, out = call(str(folder))
    assert (code, value["exit_code"], value["diagnosis"]["healthy"]) == (3, 3, False)
    assert "problem small-files" in out
    code, value, out = call(str(folder), f"--fix={tmp_path / 'out'}", "--engine", "local")
    assert (code, value["mended"]["rows"], value["after"]["healthy"]) == (0, 27_801, True)
    assert pqy.open_dataset(tmp_path / "out").num_rows == 27_801
    assert call(str(tmp_path / "out"))[0] == 0
    assert call(str(tmp_path / "none"))[0] == 1
    for words in ((), ("a", "b"), ("a", "--fix"), ("a", "--fxi", "b")):
        assert call(*words)[0] == 2
