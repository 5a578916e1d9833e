"""The catalogue: where a set comes from, in which order, and that it says so."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.server
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline

from parquetry import catalogue, generators
from parquetry.errors import BadParameter, DownloadFailed, OutputNotWritable
from parquetry.tabular_input import open_input

CONTENT = b"a,b\n1,2\n3,4\n"
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path / "cache"))
    for name in ("PARQUETRY_DATA", "PARQUETRY_OFFLINE", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def entry() -> catalogue.Entry:
    """The real entry with content of our own, and an address that nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return dataclasses.replace(
        catalogue.entry("california_housing"),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        bytes=len(CONTENT),
        rows=500,
        url=f"http://127.0.0.1:{port}/housing.csv",
    )


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server whose folder holds housing.csv, and a wrong and a long file."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "housing.csv").write_bytes(CONTENT)
    (folder / "wrong.csv").write_bytes(b"<html>log in first</html>")
    (folder / "long.csv").write_bytes(CONTENT * 1000)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_real_copy_is_taken_and_checked(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("PARQUETRY_DATA", str(tmp_path))
    path = tmp_path / entry.folder / entry.file
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    found = catalogue.find(entry)
    assert (found.path, found.synthetic) == (path, False)
    assert "verified" in found.origin


def test_a_changed_copy_is_an_error(entry, tmp_path, monkeypatch):
    monkeypatch.setenv("PARQUETRY_DATA", str(tmp_path))
    (tmp_path / entry.folder).mkdir()
    (tmp_path / entry.folder / entry.file).write_bytes(CONTENT + b"5,6\n")
    with pytest.raises(DownloadFailed, match="SHA-256") as caught:
        catalogue.find(entry)
    assert entry.file in str(caught.value)
    assert "--input" in str(caught.value)


def test_a_download_is_kept_in_the_cache(entry, served, tmp_path):
    entry = dataclasses.replace(entry, url=f"{served}/housing.csv")
    found = catalogue.find(entry)
    assert not found.synthetic
    assert found.path.read_bytes() == CONTENT
    assert found.path.is_relative_to(tmp_path / "cache")
    assert [p.name for p in found.path.parent.iterdir()] == [entry.file]
    again = catalogue.find(dataclasses.replace(entry, url="http://127.0.0.1:9/gone"))
    assert (again.path, again.synthetic) == (found.path, False)


@pytest.mark.parametrize("file", ["wrong.csv", "long.csv", "missing.csv"])
def test_another_file_is_never_taken(entry, served, file):
    found = catalogue.find(dataclasses.replace(entry, url=f"{served}/{file}"))
    assert found.synthetic
    assert file in found.origin


def test_a_spoiled_cache_is_not_used(entry, served):
    entry = dataclasses.replace(entry, url=f"{served}/housing.csv")
    found = catalogue.find(entry)
    found.path.write_bytes(b"spoiled")
    assert catalogue.find(entry).path.read_bytes() == CONTENT


def test_a_set_without_an_address_is_generated_and_says_so(entry):
    entry = dataclasses.replace(entry, url="")
    assert "no public address" in catalogue.where_from(entry)
    found = catalogue.find(entry)
    assert found.synthetic
    assert "no public address" in found.origin


def test_offline_falls_through_to_the_generator_and_says_so(entry, caplog):
    started = time.perf_counter()
    found = catalogue.find(entry)
    assert time.perf_counter() - started < 5
    assert found.synthetic
    assert found.origin.startswith("SYNTHETIC")
    assert entry.url in found.origin
    assert "SYNTHETIC" in caplog.text
    assert pq.read_metadata(found.path).num_rows == entry.rows


def test_a_silent_server_is_given_up(entry):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.perf_counter()
        found = catalogue.find(dataclasses.replace(entry, url=f"http://127.0.0.1:{silent.getsockname()[1]}/x"))
        assert time.perf_counter() - started < 5
    assert found.synthetic


def test_downloads_can_be_forbidden(entry, served, monkeypatch):
    entry = dataclasses.replace(entry, url=f"{served}/housing.csv")
    assert catalogue.find(entry, allow_download=False).synthetic
    monkeypatch.setenv("PARQUETRY_OFFLINE", "1")
    assert catalogue.find(entry).synthetic


def test_rows_come_from_the_generator(entry):
    found = catalogue.find(entry, rows=1234, seed=5)
    assert found.synthetic
    assert pq.read_metadata(found.path).num_rows == 1234
    with pytest.raises(BadParameter, match="rows=0"):
        catalogue.find(entry, rows=0)


def test_an_unknown_set_gets_the_nearest_name():
    with pytest.raises(BadParameter, match="Did you mean 'california_housing'"):
        catalogue.find("california_houses")


def test_a_cache_that_cannot_be_written(entry, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputNotWritable, match="PARQUETRY_CACHE"):
        catalogue.find(entry, rows=10)


def test_generated_rows_have_the_schema_and_can_be_learned(tmp_path):
    entry = catalogue.entry("california_housing")
    path = tmp_path / "rows.parquet"
    generators.write(generators.named(entry.generator), path, rows=20_000, seed=0)
    metadata = pq.read_metadata(path)
    assert metadata.num_row_groups > 1
    schema = pq.read_schema(path)
    assert [(f.name, str(f.type)) for f in schema] == [(c.name, c.type) for c in entry.columns]
    rows = pd.read_parquet(path)
    assert 0.005 < rows.pop("total_bedrooms").isna().mean() < 0.015
    assert set(rows["ocean_proximity"]) == {"<1H OCEAN", "INLAND", "NEAR OCEAN", "NEAR BAY", "ISLAND"}
    assert rows["longitude"].between(-124.4, -114.1).all()
    assert rows["latitude"].between(32.5, 42.0).all()
    y = rows.pop("median_house_value")
    x = pd.get_dummies(rows)
    assert 0.5 < LinearRegression().fit(x, y).score(x, y) < 0.9


def test_the_generator_is_decided_by_its_seed(tmp_path):
    make = generators.named("california_housing")
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        generators.write(make, tmp_path / name, rows=5_000, seed=seed)
    a, b, c = (pq.read_table(tmp_path / n) for n in "abc")
    assert a.equals(b)
    assert not a.equals(c)
    with pytest.raises(BadParameter, match="Did you mean"):
        generators.named("california_house")


def test_generated_messages_have_the_schema_and_can_be_told_apart(tmp_path):
    entry = catalogue.entry("sms_spam")
    path = tmp_path / "rows.parquet"
    generators.write(generators.named(entry.generator), path, rows=6_000, seed=0)
    assert [(f.name, str(f.type)) for f in pq.read_schema(path)] == [(c.name, c.type) for c in entry.columns]
    rows = pd.read_parquet(path)
    assert rows["label"].isin(["ham", "spam"]).all()
    assert 0.11 < (rows["label"] == "spam").mean() < 0.16
    assert rows["text"].str.len().min() > 5
    train, test = rows[:4_500], rows[4_500:]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression(C=30)).fit(train["text"], train["label"] == "spam")
    assert 0.9 < f1_score(test["label"] == "spam", model.predict(test["text"])) < 0.995
    again = tmp_path / "again.parquet"
    generators.write(generators.named("sms_spam"), again, rows=6_000, seed=0)
    assert pq.read_table(path).equals(pq.read_table(again))


def test_row_groups_are_bounded(tmp_path):
    generators.write(generators.named("california_housing"), tmp_path / "x", rows=300_001, seed=0)
    metadata = pq.read_metadata(tmp_path / "x")
    sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    assert sum(sizes) == 300_001
    assert max(sizes) <= generators.ROWS_A_PIECE


def test_the_documentation_is_the_catalogue():
    assert (ROOT / "data" / "README.md").read_text(encoding="utf-8") == catalogue.as_markdown()


def test_the_real_set_is_as_described(real_data):
    entry = catalogue.entry("california_housing")
    path = real_data / entry.folder / entry.file
    if not path.is_file():
        pytest.skip(f"{path} is not there.")
    assert (catalogue.file_digest(path), path.stat().st_size) == (entry.sha256, entry.bytes)
    rows = pd.read_csv(path)
    assert list(rows.columns) == [c.name for c in entry.columns]
    assert len(rows) == entry.rows


def test_a_set_of_many_files_is_taken_whole_or_not_at_all(tmp_path, served, monkeypatch):
    folder = tmp_path / "served"
    parts = (("housing.csv", hashlib.sha256(CONTENT).hexdigest()),)
    listed = "".join(f"{digest}  {name}\n" for name, digest in parts)
    monkeypatch.setattr(catalogue.Entry, "parts", parts)
    many = dataclasses.replace(
        catalogue.entry("online_retail"), url=served, sha256=hashlib.sha256(listed.encode()).hexdigest(), rows=500
    )
    found = catalogue.find(many)
    assert not found.synthetic
    assert [p.name for p in found.path.iterdir()] == ["housing.csv"]
    assert catalogue.find(many).origin.startswith("real copy from the cache")
    (found.path / "more.csv").write_text("a\n1\n")
    monkeypatch.setenv("PARQUETRY_OFFLINE", "1")
    assert catalogue.find(many).synthetic
    monkeypatch.setenv("PARQUETRY_DATA", str(found.path.parents[1]))
    with pytest.raises(DownloadFailed, match="is not the online_retail of the catalogue"):
        catalogue.find(many)
    for name in ("PARQUETRY_DATA", "PARQUETRY_OFFLINE"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(catalogue.Entry, "parts", (*parts, ("missing.csv", "0" * 64)))
    monkeypatch.setenv("PARQUETRY_CACHE", str(tmp_path / "other"))
    assert catalogue.find(many).synthetic
    assert not list((tmp_path / "other").glob("real/*/*"))
    assert folder.is_dir()


def test_the_real_online_retail(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARQUETRY_DATA", str(real_data))
    found = catalogue.find("online_retail")
    assert (found.synthetic, len(list(found.path.iterdir()))) == (False, len(found.entry.parts))


def test_the_real_messages_are_as_described(real_data, tmp_path):
    entry = catalogue.entry("sms_spam")
    path = real_data / entry.folder / entry.file
    if not path.is_file():
        pytest.skip(f"{path} is not there.")
    assert (catalogue.file_digest(path), path.stat().st_size) == (entry.sha256, entry.bytes)
    rows = open_input(path, tmp_path, entry.layout).to_pandas()
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(rows) == entry.rows == 5_574
    assert (rows["label"] + "\t" + rows["text"]).tolist() == lines
    assert (rows["label"] == "spam").sum() == 747
