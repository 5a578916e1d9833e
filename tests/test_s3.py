"""S3, against a server in this process: the same rows, the same commits, typed errors."""

from __future__ import annotations

import http.client
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from sklearn.linear_model import LinearRegression

import parquetry as pqy
from parquetry.errors import AccessDenied, DatasetNotFound, NotParquet, OutputExists, OutputNotWritable

boto3 = pytest.importorskip("boto3")
s3fs = pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")

ROWS = 1_000
NUMBERS = ["area", "rooms"]


@pytest.fixture(scope="session")
def moto() -> Iterator[str]:
    """The server's URL."""
    running = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def lake(moto: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A fresh bucket; the environment leads there, as it does for the AWS tools."""
    for name in ("AWS_PROFILE", "AWS_ALLOW_HTTP", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    settings = {
        "AWS_ENDPOINT_URL": moto,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    store = boto3.resource("s3", endpoint_url=moto)
    bucket = store.create_bucket(Bucket="lake")
    yield "s3://lake"
    bucket.objects.delete()
    bucket.delete()


@pytest.fixture
def filesystem(moto: str) -> pafs.S3FileSystem:
    """With its credentials in it: so it reaches workers that were started before the server."""
    return pafs.S3FileSystem(endpoint_override=moto, access_key="somebody", secret_key="secret", region="us-east-1")


@pytest.fixture
def remote(lake: str, houses: Path, filesystem: pafs.S3FileSystem) -> str:
    """The houses, on S3."""
    for file in sorted(houses.iterdir()):
        pafs.copy_files(str(file), f"lake/houses/{file.name}", destination_filesystem=filesystem)
    return f"{lake}/houses"


def keys(moto: str) -> set[str]:
    found = boto3.resource("s3", endpoint_url=moto).Bucket("lake").objects.all()
    return {o.key for o in found if not o.key.endswith("/")}


@pytest.mark.parametrize("form", ["", "/", "/part-*.parquet", "/*", "/part-[01].parquet"])
def test_open(remote: str, houses: Path, form: str) -> None:
    data, here = pqy.open_dataset(f"{remote}{form}"), pqy.open_dataset(houses)
    assert data.to_pandas().equals(here.to_pandas())
    assert data.fingerprint == here.fingerprint
    assert data.split(seed=3)[1].to_pandas().equals(here.split(seed=3)[1].to_pandas())


def test_open_a_file_and_a_list(remote: str, houses: Path) -> None:
    files = [f"{remote}/part-{i}.parquet" for i in range(2)]
    assert pqy.open_dataset(files).to_pandas().equals(pqy.open_dataset(houses).to_pandas())
    assert pqy.open_dataset(files[1]).num_rows == ROWS // 2


def test_open_through_s3fs_and_a_given_filesystem(
    remote: str, houses: Path, moto: str, filesystem: pafs.S3FileSystem
) -> None:
    expected = pqy.open_dataset(houses).to_pandas()
    other = s3fs.S3FileSystem(endpoint_url=moto, skip_instance_cache=True)
    assert pqy.open_dataset(remote, filesystem=other).to_pandas().equals(expected)
    assert pqy.open_dataset("lake/houses", filesystem=filesystem).to_pandas().equals(expected)


def test_fit_evaluate_and_predict(remote: str, houses: Path, local: Any, moto: str) -> None:
    train, test = pqy.open_dataset(remote).split(seed=0)
    here = pqy.open_dataset(houses).split(seed=0)[0]
    model = pqy.fit(LinearRegression(), train, target="price", features=NUMBERS, engine=local)
    same = pqy.fit(LinearRegression(), here, target="price", features=NUMBERS, engine=local)
    assert model.coef_.tobytes() == same.coef_.tobytes()
    assert pqy.evaluate(model, test, target="price", engine=local)["rows"] == test.num_rows
    written = pqy.predict(model, test, to="s3://lake/out", keys=["price"], engine=local)
    frame = written.to_pandas()
    np.testing.assert_allclose(frame["prediction"], model.predict(test.to_pandas()[NUMBERS]), rtol=1e-12)
    assert frame["price"].tolist() == test.to_pandas()["price"].tolist()
    assert not [k for k in keys(moto) if "_writing" in k or "_probe" in k]


def test_modes_and_versions(lake: str, local: Any) -> None:
    path = f"{lake}/tables/t"
    local.write(pa.table({"id": [1, 2]}), path)
    with pytest.raises(OutputExists):
        local.write(pa.table({"id": [3]}), path)
    local.write(pa.table({"id": [3]}), path, mode="append")
    assert local.write(pa.table({"id": [9]}), path, mode="overwrite").to_pandas()["id"].tolist() == [9]
    found = [pqy.open_dataset(path, version=v).to_pandas()["id"].tolist() for v in range(3)]
    assert found == [[1, 2], [1, 2, 3], [9]]


def test_a_failed_write_leaves_nothing(remote: str, local: Any, moto: str) -> None:
    class Broken:
        def predict(self, x: Any) -> Any:
            if len(np.asarray(x)) > 2:  # the two rows that show the output's types go well
                raise RuntimeError("broken on purpose")
            return np.zeros(len(np.asarray(x)))

    before = keys(moto)
    with pytest.raises(pqy.ParquetryError, match="broken on purpose"):
        pqy.predict(Broken(), remote, to="s3://lake/out", features=NUMBERS, engine=local)
    assert keys(moto) == before


def test_somebody_elses_delta_table(lake: str, moto: str, filesystem: pafs.S3FileSystem) -> None:
    options = {"AWS_ENDPOINT_URL": moto, "AWS_ALLOW_HTTP": "true"}
    table = pa.table({"id": [1, 2, 3], "k": ["a", "x y", None]})
    write_deltalake(f"{lake}/theirs", table, partition_by=["k"], storage_options=options)
    for source, settings in (
        (f"{lake}/theirs", {}),
        (f"{lake}/theirs", {"storage_options": options}),
        ("lake/theirs", {"filesystem": filesystem}),
    ):
        data = pqy.open_dataset(source, **settings)
        assert pa.concat_tables(data.batches()).sort_by("id").equals(table)


def test_every_engine_reads_through_the_filesystem_that_it_is_given(
    engine: Any, remote: str, houses: Path, filesystem: pafs.S3FileSystem
) -> None:
    data = pqy.open_dataset("lake/houses", filesystem=filesystem)
    model = pqy.fit(LinearRegression(), data, target="price", features=NUMBERS, engine=engine)
    same = pqy.fit(LinearRegression(), houses, target="price", features=NUMBERS)
    assert model.coef_.tobytes() == same.coef_.tobytes()


# --- what goes wrong ----------------------------------------------------------------------------
@pytest.mark.parametrize("path", ["s3://no-such-bucket/houses", "s3://lake/none", "s3://lake/houses/*.none"])
def test_nothing_there(remote: str, path: str) -> None:
    with pytest.raises(DatasetNotFound) as caught:
        pqy.open_dataset(path)
    assert caught.value.fix
    assert path.removeprefix("s3://") in str(caught.value)


def test_not_parquet(lake: str, moto: str) -> None:
    boto3.client("s3", endpoint_url=moto).put_object(Bucket="lake", Key="c/a.csv", Body=b"a,b\n1,2\n")
    with pytest.raises(NotParquet, match="CSV"):
        pqy.open_dataset(f"{lake}/c")


def test_write_to_a_bucket_that_is_not_there(lake: str, local: Any) -> None:
    with pytest.raises(OutputNotWritable) as caught:
        local.write(pa.table({"id": [1]}), "s3://no-such-bucket/out")
    assert caught.value.fix


def ask_for_valid_keys(moto: str, *, after: int) -> None:
    """From how many requests on the server looks at who asks."""
    connection = http.client.HTTPConnection(moto.removeprefix("http://"))
    connection.request("POST", "/moto-api/reset-auth", body=str(after).encode())
    assert connection.getresponse().status == 200
    connection.close()


def test_wrong_credentials(remote: str, moto: str, local: Any) -> None:
    local.write(pa.table({"id": [1]}), "s3://lake/table")
    ask_for_valid_keys(moto, after=0)
    try:
        for path in (remote, "s3://lake/table", "s3://lake/houses/*.parquet"):
            with pytest.raises(AccessDenied) as caught:
                pqy.open_dataset(path)
            assert "credentials" in caught.value.fix
        with pytest.raises((OutputNotWritable, AccessDenied)) as refused:
            local.write(pa.table({"id": [1]}), "s3://lake/out")
        assert refused.value.fix
    finally:
        ask_for_valid_keys(moto, after=2**31)


@pytest.fixture
def refusing() -> Iterator[str]:
    """A store that lets nobody in who does not sign; moto fails with 500 where it should."""

    class Refusal(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(500 if "Authorization" in self.headers else 403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Nothing to the console."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as store:
        thread = Thread(target=store.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{store.server_port}"
        store.shutdown()
        thread.join()


def test_missing_credentials(lake: str, refusing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", refusing)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(AccessDenied) as caught:
        pqy.open_dataset(f"{lake}/houses")
    assert "credentials" in caught.value.fix


def test_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    monkeypatch.setitem(sys.modules, "adlfs", None)
    with pytest.raises(pqy.ParquetryError, match="adlfs") as caught:
        pqy.open_dataset("abfs://container/path")
    assert caught.value.fix


def test_rows_are_written_by_arrow_and_read_by_others(lake: str, local: Any, filesystem: pafs.S3FileSystem) -> None:
    written = local.write(pa.table({"id": [1, 2, 3]}), f"{lake}/plain")
    assert pq.read_table(written.blocks[0].path, filesystem=filesystem).column("id").to_pylist() == [1, 2, 3]
