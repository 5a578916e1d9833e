"""The README is true: its example runs as written, its table is what the registry says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer

from parquetry.registry import markdown_table

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_table_is_generated_from_the_registry() -> None:
    found = re.search(r"<!-- begin: .* -->\n(.*)\n<!-- end -->", README, re.DOTALL)
    assert found is not None
    assert found.group(1) == markdown_table()


def test_files_that_it_names_are_there() -> None:
    root = Path(__file__).parent.parent
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (root / target).exists(), target
    for block in re.findall(r"^  ?(\S+\.py)\s", README, re.MULTILINE):
        assert (root / "lib" / "parquetry" / block).exists(), block


def test_contents_name_every_section_in_order_and_lines_are_short() -> None:
    plain = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    sections = re.findall(r"^## (.*)$", plain, re.MULTILINE)
    assert re.findall(r"\[([^]]+)\]\(#[^)]+\)", plain.partition("\n## ")[0]) == sections
    links = re.findall(r"\]\(#([^)]+)\)", README)
    assert set(links) == {name.lower().replace(" ", "-") for name in sections}
    assert [line for line in README.splitlines() if len(line) > 125 and not line.startswith("|")] == []


@pytest.fixture
def lake() -> Iterator[dict[str, str]]:
    """An S3 server of our own with ``s3://lake/flights``; gives the environment that leads to it."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    store = pafs.S3FileSystem(
        access_key="test",
        secret_key="test",
        endpoint_override=f"{host}:{port}",
        scheme="http",
        allow_bucket_creation=True,
    )
    store.create_dir("lake")
    rng = np.random.default_rng(0)
    for i in range(2):
        distance, delay = rng.gamma(2.0, 400.0, 500), rng.normal(5.0, 20.0, 500)
        late = (delay + 0.01 * distance + rng.normal(0, 5, 500) > 15).astype(np.int64)
        table = pa.table({"distance": distance, "departure_delay": delay, "late": late})
        pq.write_table(table, f"lake/flights/part-{i}.parquet", filesystem=store, row_group_size=200)
    yield {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ALLOW_HTTP": "true",
    }
    server.stop()


@pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17, which this machine does not have.")
def test_example_runs_as_written(lake: dict[str, str], tmp_path: Path) -> None:
    example = re.search(r"## An example\n```python\n(.*?)```", README, re.DOTALL)
    assert example is not None
    script = tmp_path / "example.py"
    script.write_text(
        example.group(1)
        + "print(scores['accuracy'], type(model).__name__, model[-1].coef_.shape)\n"
        + "print(pqy.open_dataset('s3://lake/predictions').num_rows == scores['rows'])\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env={**os.environ, **lake},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = done.stdout.strip().splitlines()[-2:]
    accuracy, kind, *shape = first.split()
    assert float(accuracy) > 0.8
    assert kind == "Pipeline"
    assert "".join(shape) == "(1,2)"
    assert second == "True"
    assert sorted(p.name for p in (tmp_path / "runs/flights/model").iterdir()) == [
        "card.json",
        "model.onnx",
        "model.skops",
    ]


def test_make_features_runs_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.search(r"## Make features\n.*?```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    rng, n = np.random.default_rng(0), 500
    columns = {"shop": rng.choice(["a", "b"], n), "product": rng.choice(["p", "q"], n)}
    days = np.datetime64("2024-01-01") + rng.integers(0, 300, n)
    table = pa.table({**columns, "day": days, "sold": rng.integers(0, 9, n), "price": rng.random(n)})
    (tmp_path / "lake" / "sales").mkdir(parents=True)
    pq.write_table(table, tmp_path / "lake" / "sales" / "part-0.parquet", row_group_size=70)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(found.group(1), names)
    new = [c for c in names["sales"].columns if c not in table.column_names]
    said = re.findall(r"\w+_(?:lag\d|by_product|week|month_sin)", found.group(1).split("by =")[1])
    assert set(said) <= set(new)
    assert names["sales"].num_rows == n


def test_know_your_data_runs_as_written(tmp_path: Path) -> None:
    found = re.search(r"## Know your data\n```sh\n(.*?)```\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    command = f"parquetry() {{ {sys.executable} -c 'from parquetry.cli import main; main()' \"$@\"; }}\nset -e\n"
    words = (["bash", "-c", command + found.group(1)], [sys.executable, "-c", found.group(2)])
    said, out = (subprocess.run(w, cwd=tmp_path, check=True, capture_output=True, text=True).stdout for w in words)
    for line in ("5 rows in = 5 accepted + 0 quarantined", "Page: ", "5 rows in = 4 rows out + 1 dropped", "Healthy."):
        assert line in said
    assert (tmp_path / "out" / "orders" / "profile.html").is_file()
    counted, profiled, cleaned = out.splitlines()
    assert counted.startswith("5 5 0")
    assert "1 row repeats an earlier one" in profiled
    assert cleaned.startswith("5 4 1 ")
