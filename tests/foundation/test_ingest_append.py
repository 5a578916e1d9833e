"""Appending: two ingests at once, and one that is run again, lose nothing and make no row twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import parquetry as pqy
from parquetry.commit import CommittedWrite
from parquetry.errors import BadParameter, OutputNotWritable, WriteConflict
from parquetry.foundation import ingest_work
from parquetry.foundation.ingest import ingest

LOOSE = {"columns": [{"name": "id", "dtype": "int64"}, {"name": "word"}]}
KEYED = {"columns": [{"name": "id", "dtype": "int64", "unique": True}, {"name": "word"}]}


def write(folder: Path, name: str, ids: range) -> Path:
    (folder / name).write_text("id,word\n" + "".join(f"{i},w{i}\n" for i in ids) + "x,bad\n", encoding="utf-8")
    return folder / name


def ids(place: Any) -> list[int]:
    return sorted(pqy.open_dataset(place).to_pandas()["id"].tolist())


@pytest.fixture
def at_the_end(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let something happen once, when an ingest has done its work and has not committed it."""

    def let(happen: Any) -> None:
        plain = ingest_work.reconcile
        waiting = [happen]

        def reconcile(total: Any) -> None:
            if waiting:
                waiting.pop()()
            plain(total)

        monkeypatch.setattr(ingest_work, "reconcile", reconcile)

    return let


@pytest.mark.parametrize("begun", [True, False])
def test_two_at_once_both_append(local: Any, tmp_path: Path, at_the_end: Any, begun: bool) -> None:
    out = tmp_path / "out"
    if begun:
        ingest(write(tmp_path, "0.csv", range(5)), out, contract=LOOSE, engine=local)
    first, second = write(tmp_path, "1.csv", range(5, 30)), write(tmp_path, "2.csv", range(20, 40))
    options = {"contract": LOOSE, "engine": local, "mode": "append"}
    at_the_end(lambda: ingest(second, out, **options))
    if begun:
        assert ingest(first, out, **options).rows_in == 26
        assert ids(out) == sorted([*range(5), *range(5, 30), *range(20, 40)])
        assert pqy.open_dataset(f"{out}-quarantine").num_rows == 3
    else:  # both would have made the table: the later one is told, and can be run again
        with pytest.raises(WriteConflict, match="the commit was refused"):
            ingest(first, out, **options)
        assert ids(out) == list(range(20, 40))


def test_two_at_once_in_two_threads(local: Any, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest(write(tmp_path, "0.csv", range(5)), out, contract=LOOSE, engine=local)
    sources = [write(tmp_path, f"{k}.csv", range(100 * k, 100 * k + 50)) for k in (1, 2)]

    def append(source: Path) -> int:
        with pqy.open_engine("local", workers=1) as engine:
            return ingest(source, out, contract=LOOSE, engine=engine, mode="append").accepted

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(append, sources)) == [50, 50]
    assert ids(out) == [*range(5), *range(100, 150), *range(200, 250)]


@pytest.mark.parametrize("begun", [True, False])
def test_where_keys_are_unique_the_later_one_is_refused(
    local: Any, tmp_path: Path, at_the_end: Any, begun: bool
) -> None:
    out = tmp_path / "out"
    if begun:
        ingest(write(tmp_path, "0.csv", range(5)), out, contract=KEYED, engine=local)
    first, second = write(tmp_path, "1.csv", range(30)), write(tmp_path, "2.csv", range(20, 40))
    options = {"contract": KEYED, "engine": local, "mode": "append"}
    at_the_end(lambda: ingest(second, out, **options))
    with pytest.raises(WriteConflict, match="Somebody else committed to the table first"):
        ingest(first, out, **options)
    before = [*range(5), *range(20, 40)] if begun else [*range(20, 40)]
    assert ids(out) == before
    aside = pqy.open_dataset(f"{out}-quarantine").num_rows
    again = ingest(first, out, **options)
    assert again.rows_in == again.accepted + again.quarantined == 31
    assert ids(out) == list(range(40))
    # What was set aside by the ingest that was refused is not there twice.
    assert pqy.open_dataset(f"{out}-quarantine").num_rows == aside + again.quarantined
    assert not [p for p in out.iterdir() if p.name.startswith("_writing-")]


def test_a_run_is_not_appended_again(local: Any, tmp_path: Path) -> None:
    out, source = tmp_path / "out", write(tmp_path, "1.csv", range(9))
    options = {"engine": local, "mode": "append", "run_id": "2024-05-01"}
    first = ingest(source, out, contract=LOOSE, **options)
    again = ingest(source, out, contract=LOOSE, **options)
    assert (again.rows_in, again.accepted, again.quarantined, again.files) == (10, 9, 1, 1)
    assert (again.reasons, again.contract) == (first.reasons, first.contract)
    assert "committed before" in again.notes[0]
    assert (ids(out), again.quarantine.num_rows) == (list(range(9)), 1)
    options["run_id"] = "2024-05-02"
    assert ingest(source, out, contract=LOOSE, **options).accepted == 9
    assert ids(out) == sorted([*range(9), *range(9)])
    with pytest.raises(BadParameter, match="appended to a Delta table"):
        ingest(source, tmp_path / "new", engine=local, run_id="a")


def test_a_run_that_was_cut_off_between_its_two_commits(
    local: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, source = tmp_path / "out", write(tmp_path, "1.csv", range(9))
    options = {"contract": LOOSE, "engine": local, "mode": "append", "run_id": "night"}
    plain = CommittedWrite.commit

    def cut_off(write: CommittedWrite, *rest: Any) -> None:
        if write.uri == str(out):
            raise OutputNotWritable("The connection is lost.")
        plain(write, *rest)

    monkeypatch.setattr(CommittedWrite, "commit", cut_off)
    with pytest.raises(OutputNotWritable):
        ingest(source, out, **options)
    assert pqy.open_dataset(f"{out}-quarantine").num_rows == 1
    monkeypatch.setattr(CommittedWrite, "commit", plain)
    done = ingest(source, out, **options)
    assert (done.accepted, done.quarantined, ids(out)) == (9, 1, list(range(9)))
    assert pqy.open_dataset(f"{out}-quarantine").num_rows == 1
